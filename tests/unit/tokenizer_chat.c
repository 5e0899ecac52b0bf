/* tokenizer_chat.c - which conversation template a checkpoint's text is, and where the text is found. */
#include "test.h"
#include "harness/tokenizer/chat.h"
#include "kernels/base/fs.h"
#include <unistd.h>

/* ChatML as it is distributed (OpenHermes-2.5), and what it becomes. */
#define CHATML_(start, role)                                                                                           \
    "{% for message in messages %}{{'" start "' + message['role'] + '\\n' + message['content'] + '<|im_end|>' + "      \
    "'\\n'}}{% endfor %}{% if add_generation_prompt %}{{ '<|im_start|>" role "\\n' }}{% endif %}"
#define CHATML CHATML_("<|im_start|>", "assistant")
/* Mixtral-8x7B-Instruct-v0.1 (Apache-2.0) */
#define MIXTRAL                                                                                                        \
    "{{ bos_token }}{% for message in messages %}{% if (message['role'] == 'user') != (loop.index0 % 2 == 0) %}{{ "    \
    "raise_exception('Conversation roles must alternate user/assistant/user/assistant/...') }}{% endif %}{% if "       \
    "message['role'] == 'user' %}{{ '[INST] ' + message['content'] + ' [/INST]' }}{% elif message['role'] == "         \
    "'assistant' %}{{ message['content'] + eos_token}}{% else %}{{ raise_exception('Only user and assistant roles "    \
    "are supported!') }}{% endif %}{% endfor %}"
static void a_template_is_known_to_the_letter(void **state)
{
    static const struct {
        const char *text, *name; /* NULL: none */
    } rows[] = {
        {CHATML, "chatml"},
        {CHATML "\n", "chatml"}, /* as jinja2 reads it, that is the same */
        {CHATML "\r\n", "chatml"},
        {CHATML "\n\n", NULL},
        {CHATML " ", NULL},
        {MIXTRAL, "mixtral"},
        {CHATML_("<|im_start|>", "bot"), NULL},           /* another role replies */
        {CHATML_("<|im_start|>the_", "assistant"), NULL}, /* all roles have another name */
        {"{% set names = {'user': 'human', 'assistant': 'bot'} %}{% for message in messages %}{{'<|im_start|>' + "
         "names[message['role']] + '\\n' + message['content'] + '<|im_end|>' + '\\n'}}{% endfor %}",
         NULL},
        {"{{'<|im_start|>system\nYou are a pirate.<|im_end|>\n'}}" CHATML, NULL},
        {"{{'<|start_header_id|>' + message['role'] + '<|end_header_id|>\n\n'+ message['content'] | trim + "
         "'<|eot_id|>'}}",
         NULL},
        {"{{ '<start_of_turn>' }}", NULL},
        {"", NULL},
    };
    bl_err e = {0};
    (void)state;
    for (size_t i = 0; i < BL_COUNT(rows); i++) {
        const bl_chat *c;
        assert_ok(bl_chat_of(rows[i].text, &c, &e));
        const char *got = c ? c->name : "none", *want = rows[i].name ? rows[i].name : "none";
        if (strcmp(got, want) != 0) fail_msg("row %zu: %s, wanted %s", i, got, want);
    }
}

/* Texts as they are distributed (in huggingface/huggingface.js, packages/jinja, Future-House/ldp, ollama's
 * template/index.json and llama.cpp's tests; those of LLaMA 2 and 3 as others print them; of SmolLM2 and Qwen2.5-Coder
 * from GGUF files), by their hash, and what jinja2 3.1.6 made
 * of them: one message of the user, " Why?\n", add_generation_prompt, the BOS left out; and what comes to that when it
 * was replied to with " So. " and " And?\n" was said. */
static void a_message_stands_where_the_templates_put_it(void **state)
{
    static const char message[] = " Why?\n", stripped[] = "Why?", reply[] = " So. ", short_reply[] = "So.",
                      other[] = " And?\n", short_other[] = "And?";
    static const struct {
        uint64_t hi, lo;
        const char *rendered, *more;
    } rows[] = {
        {UINT64_C(0x4adb1f81f5c508ea), UINT64_C(0x24f6d97f87d647f5), "[INST] Why? [/INST]",
         " So. </s><s>[INST] And? [/INST]"}, /* Llama-2-13b-chat-hf */
        {UINT64_C(0x276bc5228eb01151), UINT64_C(0x3ec23d8d21f962b0), "[INST] Why? [/INST]",
         " So. </s><s>[INST] And? [/INST]"}, /* hf-internal-testing/llama-tokenizer */
        {UINT64_C(0x09facc0e4aa94318), UINT64_C(0x9799ad6e2dea0594),
         "<|start_header_id|>user<|end_header_id|>\n\nWhy?<|eot_id|><|start_header_id|>assistant<|end_header_id|>\n\n",
         "So.<|eot_id|><|start_header_id|>user<|end_header_id|>\n\nAnd?<|eot_id|><|start_header_id|>assistant<|end_"
         "header_id|>\n\n"}, /* Meta-Llama-3-8B-Instruct */
        {UINT64_C(0x8f20b9eda669ce10), UINT64_C(0xb97891b7adc1beb8),
         "<|start_header_id|>user<|end_header_id|>\n\nWhy?<|eot_id|><|start_header_id|>assistant<|end_header_id|>\n\n",
         "So.<|eot_id|><|start_header_id|>user<|end_header_id|>\n\nAnd?<|eot_id|><|start_header_id|>assistant<|end_"
         "header_id|>\n\n"}, /* the same, which always opens a reply */
        {UINT64_C(0x0c2fe941e01674f5), UINT64_C(0xa8344fceb19d98ce),
         "<|start_header_id|>system<|end_header_id|>\n\nCutting Knowledge Date: December 2023\nToday Date: 26 Jul "
         "2024\n\n<|eot_id|><|start_header_id|>user<|end_header_id|>\n\nWhy?<|eot_id|><|start_header_id|>assistant<|"
         "end_header_id|>\n\n",
         "So.<|eot_id|><|start_header_id|>user<|end_header_id|>\n\nAnd?<|eot_id|><|start_header_id|>assistant<|end_"
         "header_id|>\n\n"}, /* Llama-3.1-8B-Instruct */
        {UINT64_C(0x0f755a597d4eb9dd), UINT64_C(0x41032903ea170582),
         "<|start_header_id|>system<|end_header_id|>\n\nCutting Knowledge Date: December 2023\nToday Date: 26 Jul "
         "2024\n\n<|eot_id|><|start_header_id|>user<|end_header_id|>\n\nWhy?<|eot_id|><|start_header_id|>assistant<|"
         "end_header_id|>\n\n",
         "So.<|eot_id|><|start_header_id|>user<|end_header_id|>\n\nAnd?<|eot_id|><|start_header_id|>assistant<|end_"
         "header_id|>\n\n"}, /* Llama-3.2-1B-Instruct, with date_string="26 Jul 2024" */
        {UINT64_C(0x70bf874ad98f31f4), UINT64_C(0xb7f52373b11c60d7), "[INST]  Why?\n [/INST]",
         " So. </s> [INST]  And?\n [/INST]"}, /* Mistral-7B-Instruct-v0.1 */
        {UINT64_C(0xf395fc5daa794129), UINT64_C(0xa5d004210ebce758), "[INST]  Why?\n [/INST]",
         " So. </s>[INST]  And?\n [/INST]"}, /* Mixtral-8x7B-Instruct-v0.1 */
        {UINT64_C(0x9436379226e4001b), UINT64_C(0x11cfaab721dff7f2), " [INST]  Why?\n [/INST]",
         "  So.  </s> [INST]  And?\n [/INST]"}, /* Mistral-7B-Instruct-v0.3 with spaces */
        {UINT64_C(0xe4ecf9f516b59c8e), UINT64_C(0x1a382f7b55f0b080), "[INST] Why?\n[/INST]",
         " So. </s>[INST] And?\n[/INST]"}, /* Mistral-Nemo-Instruct-2407 */
        {UINT64_C(0xe172667461b75b81), UINT64_C(0xf40d3b263dcc40bf),
         "<|im_start|>system\nYou are a helpful assistant<|im_end|>\n<|im_start|>user\n "
         "Why?\n<|im_end|>\n<|im_start|>assistant\n",
         " So. <|im_end|>\n<|im_start|>user\n And?\n<|im_end|>\n<|im_start|>assistant\n"}, /* Qwen1.5-72B-Chat */
        {UINT64_C(0xc63bde148c12b98b), UINT64_C(0x639547fe4d33fa67),
         "<|im_start|>system\nYou are Qwen, created by Alibaba Cloud. You are a helpful "
         "assistant.<|im_end|>\n<|im_start|>user\n Why?\n<|im_end|>\n<|im_start|>assistant\n",
         " So. <|im_end|>\n<|im_start|>user\n And?\n<|im_end|>\n<|im_start|>assistant\n"}, /* Qwen2.5 and its Coder
                                                                                            */
        {UINT64_C(0x4457e3d12b367a86), UINT64_C(0x0283f874ff58d644),
         "<|im_start|>user\n Why?\n<|im_end|>\n<|im_start|>assistant\n",
         " So. <|im_end|>\n<|im_start|>user\n And?\n<|im_end|>\n<|im_start|>assistant\n"}, /* Qwen3-0.6B */
        {UINT64_C(0x98f63cc3d421d28f), UINT64_C(0x99ab995e9629dacd),
         "<|im_start|>system\nYou are a helpful AI assistant named SmolLM, trained by Hugging "
         "Face<|im_end|>\n<|im_start|>user\n Why?\n<|im_end|>\n<|im_start|>assistant\n",
         " So. <|im_end|>\n<|im_start|>user\n And?\n<|im_end|>\n<|im_start|>assistant\n"}, /* SmolLM2-135M-Instruct */
        {UINT64_C(0xf0a6a8278439fdb0), UINT64_C(0x56191e205a440263),
         "<|im_start|>user\n Why?\n<|im_end|>\n<|im_start|>assistant\n",
         " So. <|im_end|>\n<|im_start|>user\n And?\n<|im_end|>\n<|im_start|>assistant\n"}, /* ChatML */
        {UINT64_C(0xdec8569071f8a242), UINT64_C(0x3907c0c56d05a68f),
         "<|im_start|>user\n Why?\n<|im_end|>\n<|im_start|>assistant\n",
         " So. <|im_end|>\n<|im_start|>user\n And?\n<|im_end|>\n<|im_start|>assistant\n"}, /* zephyr-7b-gemma-v0.1,
                                                                                              internlm2-chat-7b */
        {UINT64_C(0x97d57a60f9ff4045), UINT64_C(0x8e30cf11bd23649b), "[INST] Why? [/INST]",
         " So. </s><s>[INST] And? [/INST]"}, /* LLaMA 2's in ollama's list */
        {UINT64_C(0x41483b6734ed0021), UINT64_C(0xd40f466f5b2860c8), " [INST]  Why?\n [/INST]",
         "  So. </s> [INST]  And?\n [/INST]"}, /* Mistral-7B-Instruct-v0.2 with a system message */
        {UINT64_C(0x745a3db876d82cba), UINT64_C(0x411248e379369751), "[INST]  Why?\n[/INST]",
         "  So. </s>[INST]  And?\n[/INST]"}, /* Mistral-7B-Instruct-v0.3 with tools */
        {UINT64_C(0xdf3ebcd92fa9a63f), UINT64_C(0xc6614466504d495b), "[INST]  Why?\n[/INST]",
         " So.</s>[INST]  And?\n[/INST]"}, /* Mistral-Large-Instruct-2407 */
        {UINT64_C(0x68c860e7356f7ab3), UINT64_C(0x20f20c2b5139eaee),
         "<|im_start|>system\nYou are a helpful assistant<|im_end|>\n<|im_start|>user\n "
         "Why?\n<|im_end|>\n<|im_start|>assistant\n",
         " So. <|im_end|>\n<|im_start|>user\n And?\n<|im_end|>\n<|im_start|>assistant\n"}, /* Qwen1.5's in ollama's list
                                                                                            */
        {UINT64_C(0xe580c2da83415028), UINT64_C(0xd5d943bd0bd9082f),
         "<|im_start|>system\nYou are a helpful assistant.<|im_end|>\n<|im_start|>user\n "
         "Why?\n<|im_end|>\n<|im_start|>assistant\n",
         " So. <|im_end|>\n<|im_start|>user\n And?\n<|im_end|>\n<|im_start|>assistant\n"}, /* Qwen2's in ollama's list
                                                                                            */
        {UINT64_C(0xb2f9f2a38d479216), UINT64_C(0x41420706576a45ea),
         "<|im_start|>system\nYou are a helpful assistant.<|im_end|>\n<|im_start|>user\n "
         "Why?\n<|im_end|>\n<|im_start|>assistant\n",
         " So. <|im_end|>\n<|im_start|>user\n And?\n<|im_end|>\n<|im_start|>assistant\n"}, /* Qwen2's in ollama's list
                                                                                            */
        {UINT64_C(0x577a7fce73f72e1e), UINT64_C(0xe2be9fd6966bb5eb),
         "<|im_start|>user\n Why?\n<|im_end|>\n<|im_start|>assistant\n",
         " So. <|im_end|>\n<|im_start|>user\n And?\n<|im_end|>\n<|im_start|>assistant\n"}, /* OpenHermes-2.5-Mistral-7B
                                                                                            */
        {UINT64_C(0xa344e8c84fb0282d), UINT64_C(0xda206a9e46a4ac01),
         "<|im_start|>user\n Why?\n<|im_end|>\n<|im_start|>assistant\n",
         " So. <|im_end|>\n<|im_start|>user\n And?\n<|im_end|>\n<|im_start|>assistant\n"}, /* dolphin-2.5-mixtral-8x7b
                                                                                            */
        {UINT64_C(0xb46a6a757068a7f2), UINT64_C(0x9f47d07099232147),
         "<|im_start|>user\n Why?\n<|im_end|>\n<|im_start|>assistant\n",
         " So. <|im_end|>\n<|im_start|>user\n And?\n<|im_end|>\n<|im_start|>assistant\n"}, /* ChatML in ollama's list */
        {UINT64_C(0x383cca9dbcba1246), UINT64_C(0x203ccc43ca77a32e),
         "<|im_start|>user\n Why?\n<|im_end|>\n<|im_start|>assistant\n",
         " So. <|im_end|>\n<|im_start|>user\n And?\n<|im_end|>\n<|im_start|>assistant\n"}, /* the same */
        {UINT64_C(0x4bfc9d3d5cea4688), UINT64_C(0xcb74434bff709dd9),
         "<|im_start|>user\n Why?\n<|im_end|>\n<|im_start|>assistant\n",
         " So. <|im_end|>\n<|im_start|>user\n And?\n<|im_end|>\n<|im_start|>assistant\n"}, /* the same */
    };
    (void)state;
    for (size_t i = 0; i < BL_COUNT(rows); i++) {
        const bl_chat *c = bl_chat_of_hash((bl_hash){.hi = rows[i].hi, .lo = rows[i].lo});
        char text[512];
        if (!c) fail_msg("row %zu is not known", i);
        snprintf(text, sizeof text, "%s%s%s", c->before, c->strip ? stripped : message, c->after);
        assert_string_equal(text, rows[i].rendered);
        snprintf(text, sizeof text, "%s%s%s%s%s", c->reply, c->strip_reply ? short_reply : reply, c->again,
                 c->strip ? short_other : other, c->after);
        assert_string_equal(text, rows[i].more);
    }
    assert_null(bl_chat_of_hash((bl_hash){0}));
}

static void the_text_is_found_in_the_config_or_beside_it(void **state)
{
    static const char tokenizer[] =
        "{\"added_tokens\":[{\"id\":3,\"content\":\"<|im_start|>\",\"special\":true,\"normalized\":false}],\"model\":{"
        "\"type\":\"BPE\",\"vocab\":{\"a\":0,\"b\":1,\"c\":2},\"merges\":[]},\"pre_tokenizer\":null,\"decoder\":null}";
    static const struct {
        const char *config, *file, *name, *says;
    } rows[] = {
        {"{\"chat_template\":\"" MIXTRAL "\"}", NULL, "mixtral", NULL},
        {"{\"chat_template\":[{\"name\":\"rag\",\"template\":\"x\"},{\"name\":\"default\",\"template\":\"" MIXTRAL
         "\"}]}",
         NULL, "mixtral", NULL},
        {"{}", CHATML, "chatml", NULL},
        {"{}", NULL, "chatml", NULL}, /* by its token */
        {"{\"chat_template\":\"unheard of\"}", NULL, NULL, "the chat template of the model (hash "},
    };
    bl_err e = {0};
    char path[4300];
    const char *dir = test_dir();
    (void)state;
    for (size_t i = 0; i < BL_COUNT(rows); i++) {
        bl_tokenizer *t;
        const bl_chat *c = NULL;
        snprintf(path, sizeof path, "%s/tokenizer_config.json", dir);
        assert_ok(bl_write_file(path, rows[i].config, strlen(rows[i].config), &e));
        snprintf(path, sizeof path, "%s/chat_template.jinja", dir);
        unlink(path);
        if (rows[i].file) assert_ok(bl_write_file(path, rows[i].file, strlen(rows[i].file), &e));
        snprintf(path, sizeof path, "%s/tokenizer.json", dir);
        assert_ok(bl_write_file(path, tokenizer, sizeof tokenizer - 1, &e));
        assert_ok(bl_tokenizer_open(BL_TOK_JSON, path, &t, &e));
        bl_status st = bl_tokenizer_chat(t, &c, &e);
        if (rows[i].says) assert_refused(st, BL_E_UNSUPPORTED, rows[i].says);
        else {
            assert_int_equal(st, BL_OK);
            assert_string_equal(c->name, rows[i].name);
        }
        bl_tokenizer_close(t);
    }
    assert_ok(bl_remove_tree(dir, &e));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_template_is_known_to_the_letter),
        cmocka_unit_test(a_message_stands_where_the_templates_put_it),
        cmocka_unit_test(the_text_is_found_in_the_config_or_beside_it),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
