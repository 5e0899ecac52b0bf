/* model_forward.c - logits, losses, hidden states and greedy text of three checkpoints against transformers in float32.
 */
#include "model_fixture.h"
#include "lists.h"
#include "golden_file.h"
#include <math.h>

typedef struct source {
    const char *name, *model, *tokenizer;
    int sequences;
    int64_t new_tokens;
} source;
static const source sources[] = {
    {"stories260k", "stories260K/stories260K.bin", "", 3, 64},
    {"tinystories656k", "tinystories656K", "", 3, 64},
    {"smollm2-135m", "smollm2-135m/SmolLM2-135M-Instruct.Q4_1.gguf", "", 3, 16},
};

static const void *need(const golden *g, int k, const char *what, const char *dtype, int *ndim, int64_t *dim)
{
    char name[64];
    snprintf(name, sizeof name, "%d.%s", k, what);
    const void *p = golden_get(g, name, dtype, ndim, dim);
    if (!p) fail_msg("no %s", name);
    return p;
}

/* Largest difference of x from y, over the largest of y. */
static double distance(const float *x, const float *y, int64_t n)
{
    double d = 0, top = 0;
    for (int64_t i = 0; i < n; i++) {
        d = fmax(d, fabs((double)x[i] - y[i]));
        top = fmax(top, fabs((double)y[i]));
        if (!(x[i] - y[i] == x[i] - y[i])) return INFINITY;
    }
    return d / top;
}

static void compare_sequence(const fixture *f, const source *s, const golden *g, int k)
{
    bl_err e = {0};
    int64_t n[8], positions[8], shape[8], vocab = f->m->config.vocab, dim = f->m->config.dim,
                                          layers = f->m->config.n_layers;
    const int64_t *ids64 = need(g, k, "ids", "I64", NULL, n), *at = need(g, k, "positions", "I64", NULL, positions);
    const float *logits = need(g, k, "logits", "F32", NULL, shape);
    const double *nll = need(g, k, "nll", "F64", NULL, shape), *entropy = need(g, k, "entropy", "F64", NULL, shape);
    const int64_t *argmax = need(g, k, "argmax", "I64", NULL, shape);
    const float *last = need(g, k, "hidden_last", "F32", NULL, shape);
    assert_int_equal(shape[0], layers + 1);
    assert_int_equal(shape[1], dim);

    int32_t *ids = malloc((size_t)n[0] * sizeof *ids), *top = malloc((size_t)n[0] * sizeof *top);
    double *loss = malloc((size_t)n[0] * sizeof *loss);
    float *row = malloc((size_t)vocab * sizeof *row), *trace = malloc((size_t)((layers + 1) * dim) * sizeof *trace);
    for (int64_t i = 0; i < n[0]; i++) ids[i] = (int32_t)ids64[i];
    int64_t most = bl_logits_rows(f->m), near = 0;
    bl_tensor hidden = fixture_hidden(f, ids, (int32_t)n[0]), out = fixture_tensor(f, BL_F32, most, vocab);
    bl_tensor d_nll = fixture_tensor(f, BL_F64, 1, most), d_top = fixture_tensor(f, BL_I32, 1, most);

    for (int64_t r = 0; r < n[0]; r += most) {
        int64_t rows = BL_MIN(most, n[0] - r);
        int32_t *target = malloc((size_t)rows * sizeof *target);
        for (int64_t i = 0; i < rows; i++) target[i] = r + i + 1 < n[0] ? ids[r + i + 1] : -1;
        bl_tensor x = bl_tensor_rows(out, 0, rows), l = bl_tensor_1d(d_nll.buf, 0, BL_F64, rows),
                  a = bl_tensor_1d(d_top.buf, 0, BL_I32, rows);
        assert_ok(bl_logits(f->m, hidden, r, rows, x, &e));
        assert_ok(f->be->ops->loss(
            f->be,
            &(bl_loss_args){
                .logits = x, .vocab = vocab, .target = VIEW_OF(target, BL_I32, rows), .nll = l, .argmax = a},
            &e));
        assert_ok(f->be->ops->download(f->be, &l, loss + r, &e));
        assert_ok(f->be->ops->download(f->be, &a, top + r, &e));
        for (int64_t p = 0; p < positions[0]; p++) {
            if (at[p] < r || at[p] >= r + rows) continue;
            bl_tensor one = bl_tensor_rows(x, at[p] - r, 1);
            assert_ok(f->be->ops->download(f->be, &one, row, &e));
            double far = distance(row, logits + p * vocab, vocab), z = 0, h = 0, most_x = -INFINITY;
            if (!(far <= 1e-4))
                fail_msg("%s: sequence %d, position %lld: logits differ by %g of the largest", s->name, k,
                         (long long)at[p], far);
            for (int64_t i = 0; i < vocab; i++) most_x = fmax(most_x, row[i]);
            for (int64_t i = 0; i < vocab; i++) z += exp(row[i] - most_x);
            for (int64_t i = 0; i < vocab; i++) h -= exp(row[i] - most_x) / z * (row[i] - most_x - log(z));
            if (!(fabs(h - entropy[at[p]]) <= 1e-3))
                fail_msg("%s: sequence %d, position %lld: entropy %g, recorded %g", s->name, k, (long long)at[p], h,
                         entropy[at[p]]);
        }
        free(target);
    }
    for (int64_t i = 0; i + 1 < n[0]; i++)
        if (!(fabs(loss[i] - nll[i]) <= 1e-4))
            fail_msg("%s: sequence %d: nll of token %lld is %.7f, recorded %.7f", s->name, k, (long long)i + 1, loss[i],
                     nll[i]);
    for (int64_t i = 0; i < n[0]; i++) near += top[i] != argmax[i];
    if (near > n[0] / 200)
        fail_msg("%s: sequence %d: %lld of %lld top tokens differ", s->name, k, (long long)near, (long long)n[0]);

    /* A trace is a second pass: for the long sequence of the large model the logits must do. */
    bool traced = n[0] < 100 || layers < 10;
    if (traced) {
        bl_kv *kv;
        int32_t slot, past = 0, start[] = {0, (int32_t)n[0]};
        assert_ok(bl_kv_new(f->m, n[0], 1, true, BL_KV_ACT, &kv, &e));
        assert_ok(bl_kv_slot(kv, n[0], -1, 0, &slot, &e));
        assert_ok(bl_forward_trace(f->m,
                                   &(bl_batch){.ids = ids, .n_seq = 1, .start = start, .past = &past, .slot = &slot},
                                   kv, n[0] - 1, trace, &e));
        bl_kv_free(kv);
    }
    for (int64_t l = 0; traced && l <= layers; l++) {
        double far = distance(trace + l * dim, last + l * dim, dim);
        if (!(far <= 1e-4))
            fail_msg("%s: sequence %d: hidden states %lld differ by %g of the largest", s->name, k, (long long)l, far);
    }
    fixture_drop(f, &hidden);
    fixture_drop(f, &out);
    fixture_drop(f, &d_nll);
    fixture_drop(f, &d_top);
    free(ids);
    free(top);
    free(loss);
    free(row);
    free(trace);
}

static void logits_losses_and_hidden_states_equal_the_recorded_ones(void **state)
{
    (void)state;
    BL_NEEDS("BITLADDER_GOLDEN");
    BL_NEEDS("BITLADDER_MODELS");
    for (size_t i = 0; i < BL_COUNT(sources); i++) {
        char path[64];
        golden g;
        snprintf(path, sizeof path, "%s/forward.safetensors", sources[i].name);
        golden_open(&g, test_path("BITLADDER_GOLDEN", path));
        fixture f = fixture_open(test_path("BITLADDER_MODELS", sources[i].model), sources[i].tokenizer, 2, false);
        for (int k = 0; k < sources[i].sequences; k++) compare_sequence(&f, &sources[i], &g, k);
        fixture_close(&f);
        golden_close(&g);
    }
}

typedef struct recorded {
    int32_t prompt[256], id[64];
    double margin[64];
    int64_t n_prompt, n;
} recorded;

static int64_t ints(const bl_json *list, int32_t *out, int64_t cap)
{
    int64_t n = 0, v;
    for (const bl_json *j = bl_json_first(list); j && n < cap; j = bl_json_next(j)) {
        assert_int_equal(bl_json_int(j, &v, NULL), BL_OK);
        out[n++] = (int32_t)v;
    }
    return n;
}

static void greedy_text_equals_the_recorded_one_up_to_the_first_near_tie(void **state)
{
    (void)state;
    BL_NEEDS("BITLADDER_GOLDEN");
    BL_NEEDS("BITLADDER_MODELS");
    for (size_t i = 0; i < BL_COUNT(sources); i++) {
        static recorded want[8];
        bl_gen_request req[8];
        bl_gen_reply got[8];
        char path[64], *text, *line, *rest;
        size_t size;
        int64_t n = 0;
        bl_err e = {0};
        bl_arena *a;
        snprintf(path, sizeof path, "%s/greedy.jsonl", sources[i].name);
        assert_ok(bl_read_file(test_path("BITLADDER_GOLDEN", path), 1 << 20, &text, &size, &e));
        for (rest = text; (line = strsep(&rest, "\n")) && *line && n < 8; n++) {
            bl_json *j;
            assert_ok(bl_json_parse(line, strlen(line), path, BL_JSON_PLAIN, &j, &e));
            want[n].n_prompt = ints(bl_json_get(j, "ids"), want[n].prompt, 256);
            want[n].n = ints(bl_json_get(j, "new_ids"), want[n].id, 64);
            int64_t k = 0;
            for (const bl_json *m = bl_json_first(bl_json_get(j, "margin")); m; m = bl_json_next(m))
                assert_ok(bl_json_real(m, &want[n].margin[k++], &e));
            req[n] = (bl_gen_request){
                .ids = want[n].prompt, .n = want[n].n_prompt, .max_new = sources[i].new_tokens, .ignore_end = true};
            bl_json_free(j);
        }
        bl_free(text);
        assert_ok(bl_arena_new(&a, &e));
        fixture f = fixture_open(test_path("BITLADDER_MODELS", sources[i].model), sources[i].tokenizer, 2, false);
        assert_ok(bl_generate(f.m, NULL, req, n, 4096, true, a, got, &e));
        for (int64_t r = 0; r < n; r++) {
            assert_int_equal(got[r].n, sources[i].new_tokens);
            assert_true(got[r].hit_limit);
            for (int64_t k = 0; k < got[r].n && want[r].margin[k] >= 1e-3; k++) {
                if (got[r].ids[k] != want[r].id[k])
                    fail_msg("%s: prompt %lld, token %lld is %d, recorded %d (margin %g)", sources[i].name,
                             (long long)r, (long long)k, (int)got[r].ids[k], (int)want[r].id[k], want[r].margin[k]);
                if (fabs(got[r].margin[k] - want[r].margin[k]) > 2e-3)
                    fail_msg("%s: prompt %lld, token %lld: margin %g, recorded %g", sources[i].name, (long long)r,
                             (long long)k, got[r].margin[k], want[r].margin[k]);
            }
        }
        fixture_close(&f);
        bl_arena_free(a);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(logits_losses_and_hidden_states_equal_the_recorded_ones),
        cmocka_unit_test(greedy_text_equals_the_recorded_one_up_to_the_first_near_tie),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
