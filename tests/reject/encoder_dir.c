/* encoder_dir.c - directories that are no text encoder, or not one that is read here: tests/data/encoder with one file
 * changed. */
#include "test.h"
#include "harness/encoder/encoder.h"
#include "kernels/base/fs.h"

static bl_err e;
static char dir[4096];
static bl_backend *be;

static int set_up(void **state)
{
    (void)state;
    snprintf(dir, sizeof dir, "%s", test_dir());
    return bl_backend_open(&(bl_backend_opts){.device = "cpu", .threads = 1}, &be, &e) != BL_OK;
}
static int tear_down(void **state)
{
    (void)state;
    bl_backend_close(be);
    return bl_remove_tree(dir, &e) != BL_OK;
}

static void put(const char *name, const char *text, size_t n)
{
    char to[4300];
    snprintf(to, sizeof to, "%s/%s", dir, name);
    assert_ok(bl_write_file(to, text, n, &e));
}

/* All files as they are, but `find` in `file` is `with`; `with` NULL: the file is not there. */
static void make(const char *file, const char *find, const char *with)
{
    static const char *const files[] = {"config.json", "model.safetensors", "tokenizer.json",
                                        "sentence_bert_config.json"};
    char path[4300], *text;
    size_t n;
    assert_ok(bl_remove_tree(dir, &e));
    assert_ok(bl_make_dirs(dir, &e));
    for (size_t i = 0; i < BL_COUNT(files); i++) {
        bool here = !strcmp(files[i], file);
        if (here && !with) continue;
        snprintf(path, sizeof path, "%s/tests/data/encoder/%s", BL_SOURCE_DIR, files[i]);
        assert_ok(bl_read_file(path, 1 << 20, &text, &n, &e));
        char *at = here ? memmem(text, n, find, strlen(find)) : NULL;
        bl_text t = {0};
        if (here) assert_non_null(at);
        bl_text_addn(&t, text, at ? (size_t)(at - text) : n);
        if (at) {
            bl_text_add(&t, with);
            bl_text_addn(&t, at + strlen(find), n - (size_t)(at - text) - strlen(find));
        }
        put(files[i], t.s, t.n);
        bl_text_free(&t);
        bl_free(text);
    }
}

static void what_is_no_encoder_is_refused_with_file_and_field(void **state)
{
    static const struct {
        const char *file, *find, *with;
        bl_status status;
        const char *says;
    } rows[] = {
        {"config.json", "", NULL, BL_E_MISSING, "no config.json; an encoder is a directory"},
        {"config.json", "\"bert\"", "\"mpnet\"", BL_E_UNSUPPORTED, "config.json: 'model_type' is 'mpnet'; 'bert'"},
        {"config.json", "\"gelu\"", "\"gelu_new\"", BL_E_UNSUPPORTED, "'hidden_act' is 'gelu_new'"},
        {"config.json", "\"hidden_size\": 24", "\"hidden_size\": 25", BL_E_FORMAT, "width 25 with 3 heads"},
        {"config.json", "\"hidden_size\": 24", "\"hidden_size\": 27", BL_E_FORMAT, "is [82, 24], expected [82, 27]"},
        {"config.json", "\"hidden_size\": 24", "\"hidden_size\": -3", BL_E_FORMAT,
         "'hidden_size' is -3, expected 1 to"},
        {"config.json", "\"num_hidden_layers\": 2", "\"num_hidden_layers\": 3", BL_E_FORMAT,
         "tensor 'encoder.layer.2.attention.self.query.weight' is missing"},
        {"config.json", "\"vocab_size\": 82", "\"vocab_size\": 81", BL_E_FORMAT, "82 tokens, but the model has 81"},
        {"config.json", "1e-12", "0", BL_E_FORMAT, "'layer_norm_eps' is 0"},
        {"sentence_bert_config.json", "40", "49", BL_E_FORMAT,
         "'max_seq_length' is 49, expected 3 to the 48 positions"},
        {"tokenizer.json", "", NULL, BL_E_MISSING, "neither tokenizer.json nor vocab.txt"},
        {"tokenizer.json", "\"BertProcessing\"", "\"ByteLevel\"", BL_E_UNSUPPORTED, "no token goes after a text"},
        {"tokenizer.json", "\"[SEP]\",\n      3", "\"[SEP]\",\n      300", BL_E_FORMAT,
         "'sep' of BertProcessing has id 300"},
        {"tokenizer.json", "\"BertPreTokenizer\"", "\"Whitespace\"", BL_E_UNSUPPORTED, "pre-tokenizer 'Whitespace'"},
        {"tokenizer.json", "\"unk_token\": \"[UNK]\"", "\"unk_token\": \"[NIX]\"", BL_E_FORMAT, "'[NIX]' is not in"},
        {"model.safetensors", "", NULL, BL_E_MISSING, "model.safetensors"},
        {"model.safetensors", "\"embeddings.LayerNorm.bias\":{\"dtype\":\"F32\"",
         "\"embeddings.LayerNorm.bias\":{\"dtype\":\"I32\"", BL_E_FORMAT, "has dtype I32; F32, F16 and BF16 are read"},
    };
    (void)state;
    bl_encoder *x = NULL;
    for (size_t i = 0; i < BL_COUNT(rows); i++) {
        make(rows[i].file, rows[i].find, rows[i].with);
        assert_refused(bl_encoder_open(dir, be, &x, &e), rows[i].status, rows[i].says);
        assert_non_null(strstr(e.text, dir));
    }
    make("config.json", "bert", "bert");
    assert_ok(bl_encoder_open(dir, be, &x, &e));
    bl_encoder_close(x);
}

static void another_pooling_is_refused(void **state)
{
    static const char cls[] = "{\"pooling_mode_cls_token\": true, \"pooling_mode_mean_tokens\": false}";
    char path[4300];
    bl_encoder *x = NULL;
    (void)state;
    make("config.json", "bert", "bert");
    snprintf(path, sizeof path, "%s/1_Pooling", dir);
    assert_ok(bl_make_dirs(path, &e));
    put("1_Pooling/config.json", cls, strlen(cls));
    assert_refused(bl_encoder_open(dir, be, &x, &e), BL_E_UNSUPPORTED, "'pooling_mode_cls_token' is true");
}

static void a_vocabulary_without_its_special_tokens_is_refused(void **state)
{
    bl_encoder *x = NULL;
    (void)state;
    make("tokenizer.json", "", NULL);
    put("vocab.txt", "[UNK]\n[CLS]\ncat\n", 16);
    assert_refused(bl_encoder_open(dir, be, &x, &e), BL_E_FORMAT, "vocab.txt: no line is '[SEP]'");
    put("vocab.txt", "[UNK]\n[CLS]\n[SEP]\ncat\ncat\n", 26);
    assert_refused(bl_encoder_open(dir, be, &x, &e), BL_E_FORMAT, "vocab.txt");
}

static void opening_survives_the_failure_of_every_allocation(void **state)
{
    bl_encoder *x = NULL;
    bl_status st = BL_E_NOMEM;
    uint64_t n = 1;
    (void)state;
    make("config.json", "bert", "bert");
    for (; st != BL_OK && n < 5000; n++) {
        bl_alloc_fail_at(n, false);
        st = bl_encoder_open(dir, be, &x, &e);
        bl_alloc_fail_at(0, false);
        assert_true(st == BL_OK || st == BL_E_NOMEM);
    }
    assert_int_equal(st, BL_OK);
    assert_true(n > 100);
    bl_encoder_close(x);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(what_is_no_encoder_is_refused_with_file_and_field),
        cmocka_unit_test(another_pooling_is_refused),
        cmocka_unit_test(a_vocabulary_without_its_special_tokens_is_refused),
        cmocka_unit_test(opening_survives_the_failure_of_every_allocation),
    };
    return cmocka_run_group_tests(tests, set_up, tear_down);
}
