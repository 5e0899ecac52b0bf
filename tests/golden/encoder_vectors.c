/* encoder_vectors.c - a text encoder against transformers 5.24 (tests/data/encoder/record.py): ids, texts of ids and
 * vectors, of a tiny random BERT, and of all-MiniLM-L6-v2 where BITLADDER_MINILM names its directory. */
#include "test.h"
#include "harness/encoder/encoder.h"
#include "harness/tokenizer/tokenizer.h"
#include "kernels/base/fs.h"
#include "kernels/base/json.h"
#include <math.h>

enum { MOST = 32, DIM = 384 };
static const char tiny[] = BL_SOURCE_DIR "/tests/data/encoder";
static bl_err e;

typedef struct recorded {
    bl_json *j;
    const char *text[MOST], *decoded[MOST];
    const bl_json *ids[MOST], *vector[MOST];
    int64_t n;
} recorded;

static recorded read_recorded(const char *name)
{
    char path[4200];
    recorded r = {0};
    snprintf(path, sizeof path, "%s/%s", tiny, name);
    assert_ok(bl_json_read(path, 1 << 22, BL_JSON_PLAIN, &r.j, &e));
    for (const bl_json *v = bl_json_first(r.j); v; v = bl_json_next(v), r.n++) {
        assert_true(r.n < MOST);
        assert_ok(bl_json_get_str(v, "text", &r.text[r.n], &e));
        assert_ok(bl_json_get_str(v, "decoded", &r.decoded[r.n], &e));
        assert_ok(bl_json_need(v, "ids", &r.ids[r.n], &e));
        assert_ok(bl_json_need(v, "vector", &r.vector[r.n], &e));
    }
    assert_true(r.n > 5);
    return r;
}

static bl_backend *cpu(int threads)
{
    bl_backend *be;
    assert_ok(bl_backend_open(&(bl_backend_opts){.device = "cpu", .threads = threads}, &be, &e));
    return be;
}

static void check_ids(const recorded *r, bl_tok_kind kind, const char *dir, const char *file, size_t longest)
{
    bl_tokenizer *t;
    char path[4200];
    snprintf(path, sizeof path, "%s/%s", dir, file);
    assert_ok(bl_tokenizer_open(kind, path, &t, &e));
    for (int64_t i = 0; i < r->n; i++) {
        bl_ids ids = {0};
        size_t n_after, k = 0;
        char *text;
        const int32_t *after = bl_tokenizer_after(t, &n_after);
        assert_int_equal(n_after, 1);
        assert_ok(bl_encode(t, r->text[i], strlen(r->text[i]), BL_ENCODE_BOS, &ids, &e));
        ids.n = BL_MIN(ids.n, longest - 1);
        assert_ok(bl_ids_push(&ids, after[0], &e));
        for (const bl_json *v = bl_json_first(r->ids[i]); v; v = bl_json_next(v), k++) {
            int64_t want;
            assert_ok(bl_json_int(v, &want, &e));
            if (k >= ids.n || ids.id[k] != want) fail_msg("text %d, token %zu: wanted %d", (int)i, k, (int)want);
        }
        assert_int_equal(k, ids.n);
        assert_ok(bl_decode(t, ids.id, ids.n, false, &text, NULL, &e));
        assert_string_equal(text, r->decoded[i]);
        bl_free(text);
        bl_ids_free(&ids);
    }
    bl_tokenizer_close(t);
}

static void check_vectors(const recorded *r, const char *dir)
{
    static float got[MOST * DIM];
    bl_backend *be = cpu(2);
    bl_encoder *x;
    double worst = 0;
    assert_ok(bl_encoder_open(dir, be, &x, &e));
    assert_true(bl_encoder_dim(x) <= DIM);
    assert_ok(bl_encoder_embed(x, r->text, r->n, got, &e));
    for (int64_t i = 0; i < r->n; i++) {
        const float *p = got + i * bl_encoder_dim(x);
        int64_t d = 0;
        for (const bl_json *v = bl_json_first(r->vector[i]); v; v = bl_json_next(v), d++) {
            double want;
            assert_ok(bl_json_real(v, &want, &e));
            worst = fmax(worst, fabs(p[d] - want));
        }
        assert_int_equal(d, bl_encoder_dim(x));
    }
    print_message("%s: at most %.1e from the recorded vectors\n", dir, worst);
    assert_true(worst < 1e-5);
    bl_encoder_close(x);
    bl_backend_close(be);
}

static void a_tiny_encoder_has_the_recorded_ids(void **state)
{
    (void)state;
    recorded r = read_recorded("tiny.json");
    check_ids(&r, BL_TOK_JSON, tiny, "tokenizer.json", 40);
    check_ids(&r, BL_TOK_VOCAB, tiny, "vocab.txt", 40);
    bl_json_free(r.j);
}

static void a_tiny_encoder_has_the_recorded_vectors(void **state)
{
    (void)state;
    recorded r = read_recorded("tiny.json");
    check_vectors(&r, tiny);
    bl_json_free(r.j);
}

/* Padding, order, other texts and threads change nothing; one text of a call is as good as all. */
static void a_vector_does_not_depend_on_the_other_texts_or_on_threads(void **state)
{
    static float all[MOST * DIM], one[DIM];
    bl_backend *be = cpu(2), *single = cpu(1);
    bl_encoder *x, *y;
    (void)state;
    recorded r = read_recorded("tiny.json");
    assert_ok(bl_encoder_open(tiny, be, &x, &e));
    assert_ok(bl_encoder_open(tiny, single, &y, &e));
    int64_t dim = bl_encoder_dim(x);
    assert_ok(bl_encoder_embed(x, r.text, r.n, all, &e));
    for (int64_t i = 0; i < r.n; i++) {
        assert_ok(bl_encoder_embed(y, &r.text[i], 1, one, &e));
        assert_memory_equal(one, all + i * dim, (size_t)dim * sizeof *one);
    }
    assert_ok(bl_encoder_embed(x, NULL, 0, NULL, &e));
    bl_encoder_close(x);
    bl_encoder_close(y);
    bl_backend_close(be);
    bl_backend_close(single);
    bl_json_free(r.j);
}

static void minilm_has_the_recorded_ids_and_vectors(void **state)
{
    (void)state;
    BL_NEEDS("BITLADDER_MINILM");
    recorded r = read_recorded("minilm.json");
    check_ids(&r, BL_TOK_JSON, getenv("BITLADDER_MINILM"), "tokenizer.json", 256);
    check_vectors(&r, getenv("BITLADDER_MINILM"));
    bl_json_free(r.j);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_tiny_encoder_has_the_recorded_ids),
        cmocka_unit_test(a_tiny_encoder_has_the_recorded_vectors),
        cmocka_unit_test(a_vector_does_not_depend_on_the_other_texts_or_on_threads),
        cmocka_unit_test(minilm_has_the_recorded_ids_and_vectors),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
