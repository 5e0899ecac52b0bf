/* chat.c - templates of conversations by name, and which of them a checkpoint's own is. */
#include "chat.h"
#include "tokenizer_impl.h"
#include <string.h>

#define CHATML_USER         "<|im_start|>user\n"
#define CHATML_REPLY        "<|im_end|>\n<|im_start|>assistant\n"
#define CHATML_AGAIN        "", "<|im_end|>\n" CHATML_USER
#define CHATML_SYSTEM(text) "<|im_start|>system\n" text "<|im_end|>\n" CHATML_USER
#define SMOLLM2             "You are a helpful AI assistant named SmolLM, trained by Hugging Face"
#define QWEN25              "You are Qwen, created by Alibaba Cloud. You are a helpful assistant."
#define QWEN2               "You are a helpful assistant."
#define QWEN15              "You are a helpful assistant"
#define LLAMA3_USER         "<|start_header_id|>user<|end_header_id|>\n\n"
#define LLAMA3_REPLY        "<|eot_id|><|start_header_id|>assistant<|end_header_id|>\n\n"
#define LLAMA3_AGAIN        "", "<|eot_id|>" LLAMA3_USER
#define LLAMA31_SYSTEM                                                                                                 \
    "<|start_header_id|>system<|end_header_id|>\n\nCutting Knowledge Date: December 2023\nToday Date: 26 Jul 2024\n\n" \
    "<|eot_id|>"

/* The first that fits counts. What a family's template says without a system message is in `before`. */
static const bl_chat chats[] = {
    {"smollm2", CHATML_SYSTEM(SMOLLM2), CHATML_REPLY, CHATML_AGAIN, false, false, {"<|im_start|>", SMOLLM2}, {"tools"}},
    {"qwen2.5",
     CHATML_SYSTEM(QWEN25),
     CHATML_REPLY,
     CHATML_AGAIN,
     false,
     false,
     {"<|im_start|>", QWEN25},
     {"enable_thinking"}},
    {"qwen2",
     CHATML_SYSTEM(QWEN2),
     CHATML_REPLY,
     CHATML_AGAIN,
     false,
     false,
     {"<|im_start|>", QWEN2 "<|im_end|>"},
     {"enable_thinking", "Qwen, "}},
    {"qwen1.5",
     CHATML_SYSTEM(QWEN15),
     CHATML_REPLY,
     CHATML_AGAIN,
     false,
     false,
     {"<|im_start|>", QWEN15 "<|im_end|>"},
     {"enable_thinking"}},
    {"qwen3",
     CHATML_USER,
     CHATML_REPLY,
     CHATML_AGAIN,
     false,
     false,
     {"<|im_start|>", "enable_thinking", "</think>"},
     {"You are a ", "You are Qwen", "assistant\\n<think>", "'<think>\\n' }}", "'<think>\n' }}"}},
    {"chatml",
     CHATML_USER,
     CHATML_REPLY,
     CHATML_AGAIN,
     false,
     false,
     {"<|im_start|>", "<|im_end|>"},
     {"You are", "<think>", "You're", "date", "<|im_start|>system"}},
    /* LLaMA 3.1's date is a constant. LLaMA 3.2's is what the caller gives as date_string, else that of the day where
     * the renderer has a clock, else the same constant: it is given here, so that a prompt is the same on every day. A
     * template that only has that of the day is none of these. */
    {"llama3.1",
     LLAMA31_SYSTEM LLAMA3_USER,
     LLAMA3_REPLY,
     LLAMA3_AGAIN,
     true,
     true,
     {"<|start_header_id|>", "Cutting Knowledge Date: December 2023", "26 Jul 2024", "trim"},
     {"strftime_now"}},
    {"llama3.2",
     LLAMA31_SYSTEM LLAMA3_USER,
     LLAMA3_REPLY,
     LLAMA3_AGAIN,
     true,
     true,
     {"Cutting Knowledge Date: December 2023", "if not date_string is defined", "strftime_now(\"%d %b %Y\")",
      "set date_string = \"26 Jul 2024\""},
     {"You are"}},
    {"llama3",
     LLAMA3_USER,
     LLAMA3_REPLY,
     LLAMA3_AGAIN,
     true,
     true,
     {"'<|start_header_id|>' + message['role'] + '<|end_header_id|>", "message['content'] | trim", "<|eot_id|>"},
     {"Cutting Knowledge", "You are", "strftime_now", "date", "UNSAFE", "<|start_header_id|>system"}},
    {"llama2",
     "[INST] ",
     " [/INST]",
     " ",
     " </s><s>[INST] ",
     true,
     true,
     {"bos_token + '[INST] ' + content.strip() + ' [/INST]'", "<<SYS>>"},
     {"[AVAILABLE_TOOLS]"}},
    {"mistral-tekken",
     "[INST]",
     "[/INST]",
     "",
     "</s>[INST]",
     false,
     false,
     {"\"[INST]\"", "\"[/INST]\"", "[AVAILABLE_TOOLS]"},
     {"[SYSTEM_PROMPT]"}},
    {"mistral-v3",
     "[INST] ",
     "[/INST]",
     " ",
     "</s>[INST] ",
     false,
     true,
     {"\"[INST] \"", "\"[/INST]\"", "[AVAILABLE_TOOLS]"},
     {"[SYSTEM_PROMPT]"}},
    {"mistral-v1",
     " [INST] ",
     " [/INST]",
     " ",
     " </s> [INST] ",
     false,
     false,
     {"' [INST] ' + message['content'] + ' [/INST]'"},
     {"<<SYS>>"}},
    {"mistral",
     "[INST] ",
     " [/INST]",
     "",
     "</s> [INST] ",
     false,
     false,
     {"'[INST] ' + message['content'] + ' [/INST]'", "eos_token + ' '"},
     {"<<SYS>>", "[AVAILABLE_TOOLS]", "[SYSTEM_PROMPT]"}},
    {"mixtral",
     "[INST] ",
     " [/INST]",
     "",
     "</s>[INST] ",
     false,
     false,
     {"'[INST] ' + message['content'] + ' [/INST]'"},
     {"<<SYS>>", "[AVAILABLE_TOOLS]", "[SYSTEM_PROMPT]", "eos_token + ' '"}},
};

/* Texts as they are distributed: of each, conversations of one message and of two were rendered with jinja2 and are
 * the same as what is said here. */
static const struct {
    const char *hash, *name;
} compared[] = {
    {"4adb1f81f5c508ea24f6d97f87d647f5", "llama2"},         /* Llama-2-13b-chat-hf */
    {"276bc5228eb011513ec23d8d21f962b0", "llama2"},         /* hf-internal-testing/llama-tokenizer */
    {"09facc0e4aa943189799ad6e2dea0594", "llama3"},         /* Meta-Llama-3-8B-Instruct */
    {"8f20b9eda669ce10b97891b7adc1beb8", "llama3"},         /* the same, which always opens a reply */
    {"0c2fe941e01674f5a8344fceb19d98ce", "llama3.1"},       /* Llama-3.1-8B-Instruct */
    {"0f755a597d4eb9dd41032903ea170582", "llama3.2"},       /* Llama-3.2-1B-Instruct */
    {"70bf874ad98f31f4b7f52373b11c60d7", "mistral"},        /* Mistral-7B-Instruct-v0.1 */
    {"f395fc5daa794129a5d004210ebce758", "mixtral"},        /* Mixtral-8x7B-Instruct-v0.1 */
    {"9436379226e4001b11cfaab721dff7f2", "mistral-v1"},     /* Mistral-7B-Instruct-v0.3 with spaces */
    {"e4ecf9f516b59c8e1a382f7b55f0b080", "mistral-tekken"}, /* Mistral-Nemo-Instruct-2407 */
    {"e172667461b75b81f40d3b263dcc40bf", "qwen1.5"},        /* Qwen1.5-72B-Chat */
    {"c63bde148c12b98b639547fe4d33fa67", "qwen2.5"},        /* Qwen2.5 and its Coder */
    {"4457e3d12b367a860283f874ff58d644", "qwen3"},          /* Qwen3-0.6B */
    {"98f63cc3d421d28f99ab995e9629dacd", "smollm2"},        /* SmolLM2-135M-Instruct */
    {"f0a6a8278439fdb056191e205a440263", "chatml"},         /* ChatML */
    {"dec8569071f8a2423907c0c56d05a68f", "chatml"},         /* zephyr-7b-gemma-v0.1, internlm2-chat-7b */
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

const bl_chat *bl_chat_of_hash(bl_hash h)
{
    char hex[33];
    bl_hash_hex(h, hex);
    for (size_t i = 0; i < BL_COUNT(compared); i++)
        if (!strcmp(compared[i].hash, hex)) return named(compared[i].name);
    return NULL;
}

const bl_chat *bl_chat_of(const char *template_text)
{
    const bl_chat *c = bl_chat_of_hash(bl_hash_bytes(template_text, strlen(template_text)));
    if (c) return c;
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
