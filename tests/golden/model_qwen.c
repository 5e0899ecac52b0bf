/* model_qwen.c - a real Qwen2 (Qwen2.5-Coder-0.5B-Instruct, official GGUF of type Q4_K_M): token ids, log-probabilities
 * of every token and greedy text, against llama.cpp (ids) and transformers 5.24.0 on the dequantized weights (the
 * rest). BITLADDER_QWEN names the file.
 */
#include "model_fixture.h"
#include "kernels/base/fs.h"
#include "kernels/base/json.h"
#include <math.h>

enum { MAX_IDS = 256 };

static bl_json *reference(void)
{
    bl_err e = {0};
    bl_json *j;
    assert_ok(bl_json_read(test_path("BITLADDER_GOLDEN", "qwen2.5-coder-0.5b/reference.json"), 1 << 20, BL_JSON_PLAIN,
                           &j, &e));
    return j;
}

static int64_t ints(const bl_json *list, int32_t *out)
{
    int64_t n = 0, v;
    for (const bl_json *j = bl_json_first(list); j; j = bl_json_next(j)) {
        assert_true(n < MAX_IDS && bl_json_int(j, &v, NULL) == BL_OK);
        out[n++] = (int32_t)v;
    }
    return n;
}

/* The text's own ids equal those recorded; returns how many. */
static int32_t same_ids(const bl_tokenizer *t, const bl_json *row, const char *key, bool special, int32_t *ids)
{
    bl_err e = {0};
    bl_ids got = {0};
    const char *text;
    int64_t n = ints(bl_json_get(row, "ids"), ids);
    assert_ok(bl_json_get_str(row, key, &text, &e));
    assert_ok(bl_encode(t, text, strlen(text), BL_ENCODE_BOS | (special ? BL_ENCODE_SPECIAL : 0), &got, &e));
    assert_int_equal(got.n, n);
    assert_memory_equal(got.id, ids, (size_t)n * sizeof *ids);
    bl_ids_free(&got);
    return (int32_t)n;
}

static double log_probability(const float *logits, int64_t vocab, int32_t id)
{
    double top = logits[0], sum = 0;
    for (int64_t i = 1; i < vocab; i++) top = fmax(top, logits[i]);
    for (int64_t i = 0; i < vocab; i++) sum += exp(logits[i] - top);
    return logits[id] - top - log(sum);
}

static void ids_and_log_probabilities_equal_the_recorded_ones(void **state)
{
    (void)state;
    BL_NEEDS("BITLADDER_GOLDEN");
    BL_NEEDS("BITLADDER_QWEN");
    bl_err e = {0};
    bl_json *j = reference();
    fixture f = fixture_open(getenv("BITLADDER_QWEN"), NULL, 2, false);
    int64_t vocab = f.m->config.vocab, most = bl_logits_rows(f.m);
    float *logits = malloc((size_t)(most * vocab) * sizeof *logits);
    bl_tensor out = fixture_tensor(&f, BL_F32, most, vocab);
    int texts = 0;
    for (const bl_json *t = bl_json_first(bl_json_get(j, "texts")); t; t = bl_json_next(t), texts++) {
        int32_t ids[MAX_IDS], n = same_ids(f.t, t, "text", false, ids), i = 0;
        double sum = 0, want = 0, worst = 0, v;
        bl_tensor hidden = fixture_hidden(&f, ids, n);
        for (const bl_json *l = bl_json_first(bl_json_get(t, "logprob")); l; l = bl_json_next(l), i++) {
            if (i % most == 0) {
                bl_tensor rows = bl_tensor_rows(out, 0, BL_MIN(most, n - i));
                assert_ok(bl_logits(f.m, hidden, i, rows.dim[0], rows, &e));
                assert_ok(f.be->ops->download(f.be, &rows, logits, &e));
            }
            assert_ok(bl_json_real(l, &v, &e));
            double x = log_probability(logits + i % most * vocab, vocab, ids[i + 1]);
            worst = fmax(worst, fabs(x - v));
            sum += x;
            want += v;
        }
        assert_int_equal(i, n - 1);
        print_message("text %d: %d tokens, %.4f nat, recorded %.4f, worst token off by %.1e\n", texts, n, sum, want,
                      worst);
        if (!(fabs(sum - want) <= 0.01)) fail_msg("text %d: %.5f nat, recorded %.5f", texts, sum, want);
        fixture_drop(&f, &hidden);
    }
    assert_int_equal(texts, 4);
    fixture_drop(&f, &out);
    free(logits);
    fixture_close(&f);
    bl_json_free(j);
}

static void greedy_text_equals_the_recorded_one_up_to_the_first_near_tie(void **state)
{
    (void)state;
    BL_NEEDS("BITLADDER_GOLDEN");
    BL_NEEDS("BITLADDER_QWEN");
    static int32_t prompt[8][MAX_IDS], want[8][MAX_IDS];
    static double margin[8][MAX_IDS];
    bl_gen_request req[8];
    bl_gen_reply got[8];
    bl_err e = {0};
    bl_arena *a;
    bl_json *j = reference();
    fixture f = fixture_open(getenv("BITLADDER_QWEN"), NULL, 2, false);
    int64_t n = 0;
    for (const bl_json *g = bl_json_first(bl_json_get(j, "greedy")); g && n < 8; g = bl_json_next(g), n++) {
        int64_t k = 0, length = same_ids(f.t, g, "prompt", true, prompt[n]);
        req[n] = (bl_gen_request){
            .ids = prompt[n], .n = length, .max_new = ints(bl_json_get(g, "new"), want[n]), .ignore_end = true};
        for (const bl_json *m = bl_json_first(bl_json_get(g, "margin")); m; m = bl_json_next(m))
            assert_ok(bl_json_real(m, &margin[n][k++], &e));
    }
    assert_int_equal(n, 3);
    assert_ok(bl_arena_new(&a, &e));
    assert_ok(bl_generate(f.m, NULL, req, n, 4096, true, a, got, &e));
    for (int64_t r = 0; r < n; r++) {
        int64_t k = 0;
        for (; k < req[r].max_new && margin[r][k] >= 1e-3; k++)
            if (got[r].ids[k] != want[r][k])
                fail_msg("prompt %lld, token %lld is %d, recorded %d (margin %g)", (long long)r, (long long)k,
                         (int)got[r].ids[k], (int)want[r][k], margin[r][k]);
        print_message("prompt %lld: %lld of %lld tokens compared\n", (long long)r, (long long)k,
                      (long long)req[r].max_new);
    }
    bl_arena_free(a);
    fixture_close(&f);
    bl_json_free(j);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(ids_and_log_probabilities_equal_the_recorded_ones),
        cmocka_unit_test(greedy_text_equals_the_recorded_one_up_to_the_first_near_tie),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
