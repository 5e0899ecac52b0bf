/* chat.c - templates of conversations by name, and which of them a checkpoint's own is. */
#include "chat.h"
#include "tokenizer_impl.h"
#include <string.h>

#define CHATML_USER         "<|im_start|>user\n"
#define CHATML_REPLY        "<|im_end|>\n<|im_start|>assistant\n"
#define CHATML_SYSTEM(text) "<|im_start|>system\n" text "<|im_end|>\n" CHATML_USER
#define SMOLLM2             "You are a helpful AI assistant named SmolLM, trained by Hugging Face"
#define QWEN25              "You are Qwen, created by Alibaba Cloud. You are a helpful assistant."
#define QWEN2               "You are a helpful assistant."
#define LLAMA3_USER         "<|start_header_id|>user<|end_header_id|>\n\n"
#define LLAMA3_REPLY        "<|eot_id|><|start_header_id|>assistant<|end_header_id|>\n\n"
#define LLAMA31_SYSTEM                                                                                                 \
    "<|start_header_id|>system<|end_header_id|>\n\nCutting Knowledge Date: December 2023\nToday Date: 26 Jul 2024\n\n" \
    "<|eot_id|>"

/* The first that fits counts. What a family's template says without a system message is in `before`. */
static const bl_chat chats[] = {
    {"smollm2", CHATML_SYSTEM(SMOLLM2), CHATML_REPLY, {"<|im_start|>", SMOLLM2}, {"tools"}},
    {"qwen2.5", CHATML_SYSTEM(QWEN25), CHATML_REPLY, {"<|im_start|>", QWEN25}, {"enable_thinking"}},
    {"qwen2", CHATML_SYSTEM(QWEN2), CHATML_REPLY, {"<|im_start|>", QWEN2 "<|im_end|>"}, {"enable_thinking", "Qwen, "}},
    {"qwen3", CHATML_USER, CHATML_REPLY, {"<|im_start|>", "enable_thinking", "</think>"}, {"You are"}},
    {"chatml", CHATML_USER, CHATML_REPLY, {"<|im_start|>", "<|im_end|>"}, {"You are", "<think>", "You're", "date"}},
    /* LLaMA 3.1's date is a constant; a template that takes that of the day is none of these. */
    {"llama3.1",
     LLAMA31_SYSTEM LLAMA3_USER,
     LLAMA3_REPLY,
     {"<|start_header_id|>", "Cutting Knowledge Date: December 2023", "26 Jul 2024"},
     {"strftime_now"}},
    {"llama3",
     LLAMA3_USER,
     LLAMA3_REPLY,
     {"<|start_header_id|>", "<|end_header_id|>", "<|eot_id|>"},
     {"Cutting Knowledge", "You are", "strftime_now", "date"}},
    {"llama2", "[INST] ", " [/INST]", {"'[INST] '", "' [/INST]'", "<<SYS>>"}, {"[AVAILABLE_TOOLS]"}},
    {"mistral-tekken", "[INST]", "[/INST]", {"\"[INST]\"", "\"[/INST]\"", "[AVAILABLE_TOOLS]"}, {"[SYSTEM_PROMPT]"}},
    {"mistral-v3", "[INST] ", "[/INST]", {"\"[INST] \"", "\"[/INST]\"", "[AVAILABLE_TOOLS]"}, {"[SYSTEM_PROMPT]"}},
    {"mistral",
     "[INST] ",
     " [/INST]",
     {"'[INST] '", "' [/INST]'"},
     {"<<SYS>>", "[AVAILABLE_TOOLS]", "[SYSTEM_PROMPT]"}},
};

const bl_chat *bl_chat_at(size_t i) { return i < BL_COUNT(chats) ? &chats[i] : NULL; }

static const bl_chat *named(const char *name)
{
    const bl_chat *c;
    for (size_t i = 0; (c = bl_chat_at(i)) && strcmp(c->name, name) != 0;) i++;
    return c;
}

static bool fits(const bl_chat *c, const char *text)
{
    for (size_t k = 0; k < BL_COUNT(c->needs) && c->needs[k]; k++)
        if (!strstr(text, c->needs[k])) return false;
    for (size_t k = 0; k < BL_COUNT(c->lacks) && c->lacks[k]; k++)
        if (strstr(text, c->lacks[k])) return false;
    return true;
}

const bl_chat *bl_chat_of(const char *template_text)
{
    const bl_chat *c;
    for (size_t i = 0; (c = bl_chat_at(i)) && !fits(c, template_text);) i++;
    return c;
}

bl_status bl_tokenizer_chat(const bl_tokenizer *t, const bl_chat **out, bl_err *e)
{
    static const struct {
        const char *token, *name;
    } known[] = {{"<|start_header_id|>", "llama3"}, {"<|im_start|>", "chatml"}};
    bl_text names = {0};
    const bl_chat *c = NULL;
    bl_status st = BL_OK;
    char hash[33];

    if (t->chat_template) c = bl_chat_of(t->chat_template);
    for (size_t i = 0; i < BL_COUNT(known) && !t->chat_template && !c; i++)
        if (tok_vocab_find(&t->vocab, known[i].token, strlen(known[i].token)) >= 0) c = named(known[i].name);
    if (c) {
        *out = c;
        return BL_OK;
    }
    for (size_t i = 0; i < BL_COUNT(chats); i++) bl_text_addf(&names, "%s%s", i ? ", " : "", chats[i].name);
    BL_TRY(bl_text_check(&names, e));
    if (t->chat_template) {
        bl_hash_hex(bl_hash_bytes(t->chat_template, strlen(t->chat_template)), hash);
        st = bl_fail(e, BL_E_UNSUPPORTED, "the chat template of the model (hash %s) is none of those built in: %s",
                     hash, names.s);
    } else
        st = bl_fail(e, BL_E_UNSUPPORTED,
                     "the model has no chat template, nor a token by which one of those built in is known: %s",
                     names.s);
out:
    bl_text_free(&names);
    return st;
}
