/* tokenizer_chat.c - which conversation template a checkpoint's text is, and where the text is found. */
#include "test.h"
#include "harness/tokenizer/chat.h"
#include "kernels/base/fs.h"
#include <unistd.h>

/* What is characteristic of templates as they are distributed, cut down to it. */
static void templates_are_known_by_what_is_in_them(void **state)
{
    static const struct {
        const char *text, *name; /* NULL: none */
    } rows[] = {
        {"{% for m in messages %}{% if loop.first and m.role != 'system' %}{{ '<|im_start|>system\nYou are a helpful "
         "AI "
         "assistant named SmolLM, trained by Hugging Face<|im_end|>\n' }}{% endif %}",
         "smollm2"},
        {"{{- '<|im_start|>system\\nYou are Qwen, created by Alibaba Cloud. You are a helpful assistant.<|im_end|>\\n' "
         "}}",
         "qwen2.5"},
        {"{{ '<|im_start|>system\nYou are a helpful assistant.<|im_end|>\n' }}", "qwen2"},
        {"{{- '<|im_start|>' }}{%- if enable_thinking is defined %}{{- '<think>\\n\\n</think>\\n\\n' }}", "qwen3"},
        {"{{'<|im_start|>' + message['role'] + '\n' + message['content'] + '<|im_end|>' + '\n'}}", "chatml"},
        {"{{'<|im_start|>system\nYou are a pirate.<|im_end|>\n'}}", NULL}, /* says more than is known */
        {"{% set content = '<|start_header_id|>' + message['role'] + '<|end_header_id|>\n\n'+ message['content'] | "
         "trim + "
         "'<|eot_id|>' %}",
         "llama3"},
        {"{{- \"<|start_header_id|>system<|end_header_id|>\" }}{{- \"Cutting Knowledge Date: December 2023\\n\" }}{%- "
         "set "
         "date_string = \"26 Jul 2024\" %}",
         "llama3.1"},
        {"{{- \"<|start_header_id|>\" }}Cutting Knowledge Date: December 2023{%- set date_string = "
         "strftime_now(\"%d\") "
         "%}26 Jul 2024",
         NULL}, /* the day's date */
        {"{% set content = '<<SYS>>\\n' %}{{ bos_token + '[INST] ' + content.strip() + ' [/INST]' }}", "llama2"},
        {"{{ '[INST] ' + message['content'] + ' [/INST]' }}", "mistral"},
        {"{{- \"[AVAILABLE_TOOLS] [\" }}{{- \"[INST] \" + message[\"content\"] + \"[/INST]\" }}", "mistral-v3"},
        {"{{- \"[AVAILABLE_TOOLS][\" }}{{- \"[INST]\" + message[\"content\"] + \"[/INST]\" }}", "mistral-tekken"},
        {"{{ '<start_of_turn>' }}", NULL},
        {"", NULL},
    };
    (void)state;
    for (size_t i = 0; i < BL_COUNT(rows); i++) {
        const bl_chat *c = bl_chat_of(rows[i].text);
        const char *got = c ? c->name : "none", *want = rows[i].name ? rows[i].name : "none";
        if (strcmp(got, want) != 0) fail_msg("row %zu: %s, wanted %s", i, got, want);
    }
}

/* Each is a template that its own marks pick, so none hides another. */
static void every_template_is_found_by_its_own_marks(void **state)
{
    (void)state;
    for (size_t i = 0; bl_chat_at(i); i++) {
        const bl_chat *c = bl_chat_at(i);
        char text[1024] = "";
        for (size_t k = 0; k < BL_COUNT(c->needs) && c->needs[k]; k++) strcat(text, c->needs[k]);
        assert_ptr_equal(bl_chat_of(text), c);
        assert_true(*c->before && *c->after);
    }
}

/* The conversation of one message as the families' documents print it. */
static void a_message_stands_as_it_is_printed(void **state)
{
    static const struct {
        const char *name, *text;
    } rows[] = {
        {"llama3",
         "<|start_header_id|>user<|end_header_id|>\n\nHi<|eot_id|><|start_header_id|>assistant<|end_header_id|>"
         "\n\n"},
        {"llama2", "[INST] Hi [/INST]"},
        {"mistral-tekken", "[INST]Hi[/INST]"},
        {"chatml", "<|im_start|>user\nHi<|im_end|>\n<|im_start|>assistant\n"},
        {"qwen2.5",
         "<|im_start|>system\nYou are Qwen, created by Alibaba Cloud. You are a helpful assistant.<|im_end|>\n"
         "<|im_start|>user\nHi<|im_end|>\n<|im_start|>assistant\n"},
    };
    (void)state;
    for (size_t i = 0; i < BL_COUNT(rows); i++)
        for (size_t k = 0; bl_chat_at(k); k++) {
            char text[512];
            if (strcmp(bl_chat_at(k)->name, rows[i].name) != 0) continue;
            snprintf(text, sizeof text, "%sHi%s", bl_chat_at(k)->before, bl_chat_at(k)->after);
            assert_string_equal(text, rows[i].text);
        }
}

static void the_text_is_found_in_the_config_or_beside_it(void **state)
{
    static const char tokenizer[] =
        "{\"added_tokens\":[{\"id\":3,\"content\":\"<|im_start|>\",\"special\":true,\"normalized\":false}],\"model\":{"
        "\"type\":\"BPE\",\"vocab\":{\"a\":0,\"b\":1,\"c\":2},\"merges\":[]},\"pre_tokenizer\":null,\"decoder\":null}";
    static const struct {
        const char *config, *file, *name, *says;
    } rows[] = {
        {"{\"chat_template\":\"[INST] '[INST] ' ' [/INST]'\"}", NULL, "mistral", NULL},
        {"{\"chat_template\":[{\"name\":\"rag\",\"template\":\"x\"},{\"name\":\"default\",\"template\":\"'[INST] ' ' "
         "[/INST]' <<SYS>>\"}]}",
         NULL, "llama2", NULL},
        {"{}", "'[INST] ' ' [/INST]'", "mistral", NULL},
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
        cmocka_unit_test(templates_are_known_by_what_is_in_them),
        cmocka_unit_test(every_template_is_found_by_its_own_marks),
        cmocka_unit_test(a_message_stands_as_it_is_printed),
        cmocka_unit_test(the_text_is_found_in_the_config_or_beside_it),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
