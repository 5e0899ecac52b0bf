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
#define LLAMA3_SYSTEM       "<|start_header_id|>system<|end_header_id|>\n\n"
#define LLAMA31_SYSTEM      LLAMA3_SYSTEM "Cutting Knowledge Date: December 2023\nToday Date: 26 Jul 2024\n\n"

/* In front of a message of the system, from there to the first of the user, and how. */
#define CHATML_SAID         "<|im_start|>system\n", "<|im_end|>\n" CHATML_USER, BL_CHAT_SYSTEM_APART
#define LLAMA3_SAID(begin)  begin, "<|eot_id|>" LLAMA3_USER, BL_CHAT_SYSTEM_STRIPPED
#define LLAMA2_SAID         "<<SYS>>\n", "\n<</SYS>>\n\n", BL_CHAT_SYSTEM_BEGINS
#define MISTRAL_LAST(begin) begin, "\n\n", BL_CHAT_SYSTEM_LAST
#define MISTRAL_SAID(begin) begin, "\n\n", BL_CHAT_SYSTEM_APART
#define LEFT_OUT            NULL, NULL, BL_CHAT_SYSTEM_APART

/* What a family's template says without a system message is in `before`. */
static const bl_chat chats[] = {
    {"smollm2", CHATML_SYSTEM(SMOLLM2), CHATML_REPLY, CHATML_AGAIN, false, false, CHATML_SAID},
    {"qwen2.5", CHATML_SYSTEM(QWEN25), CHATML_REPLY, CHATML_AGAIN, false, false, CHATML_SAID},
    {"qwen2", CHATML_SYSTEM(QWEN2), CHATML_REPLY, CHATML_AGAIN, false, false, CHATML_SAID},
    {"qwen1.5", CHATML_SYSTEM(QWEN15), CHATML_REPLY, CHATML_AGAIN, false, false, CHATML_SAID},
    {"qwen3", CHATML_USER, CHATML_REPLY, CHATML_AGAIN, false, false, CHATML_SAID},
    {"chatml", CHATML_USER, CHATML_REPLY, CHATML_AGAIN, false, false, CHATML_SAID},
    /* LLaMA 3.1's date is a constant. LLaMA 3.2's is what the caller gives as date_string, else that of the day where
     * the renderer has a clock, else the same constant: it is given here, so that a prompt is the same on every day. */
    {"llama3.1", LLAMA31_SYSTEM "<|eot_id|>" LLAMA3_USER, LLAMA3_REPLY, LLAMA3_AGAIN, true, true,
     LLAMA3_SAID(LLAMA31_SYSTEM)},
    {"llama3.2", LLAMA31_SYSTEM "<|eot_id|>" LLAMA3_USER, LLAMA3_REPLY, LLAMA3_AGAIN, true, true,
     LLAMA3_SAID(LLAMA31_SYSTEM)},
    {"llama3", LLAMA3_USER, LLAMA3_REPLY, LLAMA3_AGAIN, true, true, LLAMA3_SAID(LLAMA3_SYSTEM)},
    {"llama2", "[INST] ", " [/INST]", " ", " </s><s>[INST] ", true, true, LLAMA2_SAID},
    {"mistral-tekken", "[INST]", "[/INST]", "", "</s>[INST]", false, false, MISTRAL_LAST("[INST]")},
    {"mistral-v3", "[INST] ", "[/INST]", " ", "</s>[INST] ", false, true, MISTRAL_LAST("[INST] ")},
    {"mistral-v0.3", "[INST] ", "[/INST]", " ", "</s>[INST] ", false, false, LEFT_OUT},
    {"mistral-v1", " [INST] ", " [/INST]", " ", " </s> [INST] ", false, false, LEFT_OUT},
    {"mistral-v0.2", " [INST] ", " [/INST]", " ", "</s> [INST] ", false, false, MISTRAL_SAID(" [INST] ")},
    {"mistral", "[INST] ", " [/INST]", "", "</s> [INST] ", false, false, LEFT_OUT},
    {"mixtral", "[INST] ", " [/INST]", "", "</s>[INST] ", false, false, LEFT_OUT},
};

/* Texts as they are distributed, by their hash: of each, conversations of one message and of two were rendered with
 * jinja2 and are the same as what is said here; also after a message of the system, but for two texts: LLaMA 3.2's, and
 * LLaMA 3's that always opens a reply, where that message is as in the other texts of their family. A text that is none
 * of these may say anything: one that renames a role has all the tokens of its family. */
static const struct {
    const char *hash, *name;
} compared[] = {
    {"4adb1f81f5c508ea24f6d97f87d647f5", "llama2"},         /* Llama-2-13b-chat-hf */
    {"97d57a60f9ff40458e30cf11bd23649b", "llama2"},         /* in ollama's list */
    {"276bc5228eb011513ec23d8d21f962b0", "llama2"},         /* hf-internal-testing/llama-tokenizer */
    {"09facc0e4aa943189799ad6e2dea0594", "llama3"},         /* Meta-Llama-3-8B-Instruct */
    {"8f20b9eda669ce10b97891b7adc1beb8", "llama3"},         /* the same, which always opens a reply */
    {"0c2fe941e01674f5a8344fceb19d98ce", "llama3.1"},       /* Llama-3.1-8B-Instruct */
    {"0f755a597d4eb9dd41032903ea170582", "llama3.2"},       /* Llama-3.2-1B-Instruct */
    {"70bf874ad98f31f4b7f52373b11c60d7", "mistral"},        /* Mistral-7B-Instruct-v0.1 */
    {"f395fc5daa794129a5d004210ebce758", "mixtral"},        /* Mixtral-8x7B-Instruct-v0.1, Mistral-7B-Instruct-v0.2 */
    {"41483b6734ed0021d40f466f5b2860c8", "mistral-v0.2"},   /* Mistral-7B-Instruct-v0.2 with a system message */
    {"9436379226e4001b11cfaab721dff7f2", "mistral-v1"},     /* Mistral-7B-Instruct-v0.3 with spaces */
    {"745a3db876d82cba411248e379369751", "mistral-v0.3"},   /* Mistral-7B-Instruct-v0.3 with tools */
    {"df3ebcd92fa9a63fc6614466504d495b", "mistral-v3"},     /* Mistral-Large-Instruct-2407 */
    {"e4ecf9f516b59c8e1a382f7b55f0b080", "mistral-tekken"}, /* Mistral-Nemo-Instruct-2407 */
    {"e172667461b75b81f40d3b263dcc40bf", "qwen1.5"},        /* Qwen1.5-72B-Chat */
    {"68c860e7356f7ab320f20c2b5139eaee", "qwen1.5"},        /* in ollama's list */
    {"e580c2da83415028d5d943bd0bd9082f", "qwen2"},          /* in ollama's list */
    {"b2f9f2a38d47921641420706576a45ea", "qwen2"},          /* in ollama's list, with a loop of its own */
    {"c63bde148c12b98b639547fe4d33fa67", "qwen2.5"},        /* Qwen2.5 and its Coder */
    {"4457e3d12b367a860283f874ff58d644", "qwen3"},          /* Qwen3-0.6B */
    {"98f63cc3d421d28f99ab995e9629dacd", "smollm2"},        /* SmolLM2-135M-Instruct */
    {"f0a6a8278439fdb056191e205a440263", "chatml"},         /* ChatML */
    {"577a7fce73f72e1ee2be9fd6966bb5eb", "chatml"},         /* OpenHermes-2.5-Mistral-7B */
    {"a344e8c84fb0282dda206a9e46a4ac01", "chatml"},         /* dolphin-2.5-mixtral-8x7b */
    {"b46a6a757068a7f29f47d07099232147", "chatml"},         /* in ollama's list, with a BOS */
    {"383cca9dbcba1246203ccc43ca77a32e", "chatml"},         /* in ollama's list, with a BOS and a default */
    {"4bfc9d3d5cea4688cb74434bff709dd9", "chatml"},         /* in ollama's list, a role each */
    {"dec8569071f8a2423907c0c56d05a68f", "chatml"},         /* zephyr-7b-gemma-v0.1, internlm2-chat-7b */
};

static const bl_chat *named(const char *name)
{
    size_t i = 0;
    while (i < BL_COUNT(chats) && strcmp(chats[i].name, name) != 0) i++;
    return i < BL_COUNT(chats) ? &chats[i] : NULL;
}

const bl_chat *bl_chat_of_hash(bl_hash h)
{
    char hex[33];
    bl_hash_hex(h, hex);
    for (size_t i = 0; i < BL_COUNT(compared); i++)
        if (!strcmp(compared[i].hash, hex)) return named(compared[i].name);
    return NULL;
}

/* jinja2 reads a line that ends in CR LF as one that ends in LF, and one line end at the end of a text as none: files
 * carry the same text with it and without it. */
bl_status bl_chat_of(const char *template_text, const bl_chat **out, bl_err *e)
{
    bl_status st = BL_OK;
    bl_text t = {0};

    for (const char *s = template_text; *s; s++)
        if (s[0] != '\r' || s[1] != '\n') bl_text_addn(&t, s, 1);
    bl_text_add(&t, t.n && t.s[t.n - 1] == '\n' ? "" : "\n");
    BL_TRY(bl_text_check(&t, e));
    *out = bl_chat_of_hash(bl_hash_bytes(t.s, t.n));
    if (!*out) *out = bl_chat_of_hash(bl_hash_bytes(t.s, t.n - 1));
out:
    bl_text_free(&t);
    return st;
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

    if (t->chat_template) BL_TRY(bl_chat_of(t->chat_template, &c, e));
    for (size_t i = 0; i < BL_COUNT(known) && !t->chat_template && !c; i++)
        if (tok_vocab_find(&t->vocab, known[i].token, strlen(known[i].token)) >= 0) c = named(known[i].name);
    if (c) {
        *out = c;
        goto out;
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
