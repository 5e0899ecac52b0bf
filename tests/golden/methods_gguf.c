/* The type of every weight in llama.cpp's mixtures, as its quantizer gave it (tests/data/gguf_mixtures.py). */
#include "test.h"
#include "kernels/base/json.h"
#include "methods/gguf.h"

enum { LAYERS = 16, DIM = 256 };
static const struct {
    const char *name;
    bl_role role;
} roles[] = {{"token_embd", BL_ROLE_EMBED}, {"output", BL_ROLE_HEAD}, {"attn_q", BL_ROLE_Q},
             {"attn_k", BL_ROLE_K},         {"attn_v", BL_ROLE_V},    {"attn_output", BL_ROLE_O},
             {"ffn_gate", BL_ROLE_GATE},    {"ffn_up", BL_ROLE_UP},   {"ffn_down", BL_ROLE_DOWN}};

/* "2*q5_k 14*q4_k": the type of each block. */
static void compare(const char *what, const bl_model *m, int type, bool importance, bl_role role, const char *text)
{
    int64_t block = 0;
    for (const char *s = text; *s; s += *s == ' ') {
        char name[16];
        int n = 1, used = 0;
        if (role == BL_ROLE_EMBED || role == BL_ROLE_HEAD) assert_int_equal(sscanf(s, "%15s%n", name, &used), 1);
        else assert_int_equal(sscanf(s, "%d*%15s%n", &n, name, &used), 2);
        s += used;
        for (int k = 0; k < n; k++, block++) {
            bl_linear lin = {.role = role, .block = role == BL_ROLE_EMBED || role == BL_ROLE_HEAD ? -1 : block};
            const bl_format *f = bl_gguf_type_of(type, true, importance, m, &lin, DIM);
            if (strcmp(f->name, name))
                fail_msg("%s, block %lld: %s, llama.cpp has %s", what, (long long)block, f->name, name);
        }
    }
    if (role != BL_ROLE_EMBED && role != BL_ROLE_HEAD) assert_int_equal(block, LAYERS);
}

static void mixtures_have_the_types_of_llama_cpp(void **state)
{
    bl_err e = {0};
    bl_json *doc;
    int done = 0;
    (void)state;
    assert_ok(bl_json_read(BL_SOURCE_DIR "/tests/data/gguf_mixtures.json", 1 << 20, BL_JSON_PLAIN, &doc, &e));
    for (int shared = 0; shared < 2; shared++) {
        const bl_json *files;
        bl_model m = {.config = {.n_layers = LAYERS, .n_heads = 8, .n_kv_heads = shared ? 2 : 8, .dim = DIM}};
        m.head.weight.format = bl_format_find("fp32");
        assert_ok(bl_json_need(doc, shared ? "shared" : "alone", &files, &e));
        for (const bl_json *f = bl_json_first(files); f; f = bl_json_next(f), done++) {
            char name[16], what[96];
            int type = 0;
            sscanf(bl_json_key(f), "%15s", name);
            while (bl_gguf_types[type] && strcmp(bl_gguf_types[type], name)) type++;
            if (!bl_gguf_types[type]) fail_msg("there is no %s", name);
            for (size_t i = 0; i < BL_COUNT(roles); i++) {
                const char *text;
                snprintf(what, sizeof what, "%s, %s: %s", shared ? "shared" : "alone", bl_json_key(f), roles[i].name);
                assert_ok(bl_json_get_str(f, roles[i].name, &text, &e));
                compare(what, &m, type, strstr(bl_json_key(f), "weighed") != NULL, roles[i].role, text);
            }
        }
    }
    assert_true(done > 90);
    bl_json_free(doc);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(mixtures_have_the_types_of_llama_cpp)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
