/* QLLM beside what its authors' code computed: scores of pairs, the losses of all thresholds, which one is chosen, and
 * the channels that come of it. */
#include "golden_file.h"
#include "methods/qllm.h"
#include <math.h>

typedef struct consumer { /* what is rounded and judged, as the published code does it */
    const float *w, *x;   /* [out, n], [rows, n] */
    int64_t out, n, rows;
    int bits;
    bool gated; /* rows of w are those of gate, then those of up */
    float *want, *got, *wr, *xr;
    double loss[64];
    int n_losses;
} consumer;

static void round_rows(float *x, int64_t rows, int64_t n, int bits) /* asymmetric, between the ends of a row */
{
    const float q = (float)((1 << bits) - 1);
    for (int64_t r = 0; r < rows; r++) {
        float *v = x + r * n, lo = v[0], hi = v[0];
        for (int64_t i = 0; i < n; i++) {
            lo = fminf(lo, v[i]);
            hi = fmaxf(hi, v[i]);
        }
        const float s = fmaxf((hi - lo) / q, 1e-5f), z = rintf(-lo / s);
        for (int64_t i = 0; i < n; i++) v[i] = (fminf(fmaxf(rintf(v[i] / s) + z, 0), q) - z) * s;
    }
}

static void product(const consumer *c, const float *w, const float *x, float *y)
{
    const int64_t half = c->out / 2;
    for (int64_t r = 0; r < c->rows; r++) {
        for (int64_t o = 0; o < c->out; o++) {
            double sum = 0;
            for (int64_t j = 0; j < c->n; j++) sum += (double)w[o * c->n + j] * x[r * c->n + j];
            y[r * c->out + o] = (float)sum;
        }
        for (int64_t o = 0; c->gated && o < half; o++) {
            const double g = y[r * c->out + o];
            y[r * c->out + o] = (float)(g / (1 + exp(-g)) * y[r * c->out + half + o]);
        }
    }
}

static void inputs(const consumer *c, const bl_reassembly *k, float *y)
{
    int32_t *m = malloc((size_t)(3 * k->wide) * sizeof *m);
    const int64_t n = bl_qllm_rows(k, m);
    memcpy(y, c->x, (size_t)(c->rows * c->n) * sizeof *y);
    for (int64_t r = 0; r < c->rows; r++) {
        for (int64_t i = 0; i < n; i++) y[r * c->n + m[3 * i]] = 0;
        for (int64_t i = 0; i < n; i++) y[r * c->n + m[3 * i]] += c->x[r * c->n + m[3 * i + 1]] / (float)m[3 * i + 2];
    }
    free(m);
}

static bl_status lost(void *ctx, const bl_reassembly *k, double *loss, bl_err *e)
{
    consumer *c = ctx;
    double sum = 0;
    (void)e;
    bl_qllm_columns(k, c->w, c->out, c->wr);
    inputs(c, k, c->xr);
    round_rows(c->wr, c->out, c->n, c->bits);
    round_rows(c->xr, c->rows, c->n, c->bits);
    product(c, c->wr, c->xr, c->got);
    const int64_t wide = c->gated ? c->out / 2 : c->out;
    for (int64_t r = 0; r < c->rows; r++)
        for (int64_t o = 0; o < wide; o++) {
            const double d = (double)c->got[r * c->out + o] - c->want[r * c->out + o];
            sum += d * d;
        }
    *loss = sum / (double)(c->rows * wide);
    assert_true(c->n_losses < 64);
    c->loss[c->n_losses++] = *loss;
    return BL_OK;
}

static void assert_close(const char *what, double x, double want, double tolerance)
{
    if (!(fabs(x - want) <= tolerance * fabs(want))) fail_msg("%s is %.9g, recorded %.9g", what, x, want);
}

static void assert_scores(const char *what, const float *x, const float *want, int64_t n)
{
    for (int64_t k = 0; k < n; k++)
        if (!(fabs((double)x[k] - want[k]) <= 1e-4 * fabs((double)want[k]) + 1e-5))
            fail_msg("%s: score %lld is %.9g, recorded %.9g", what, (long long)k, (double)x[k], (double)want[k]);
}

/* Every recorded channel, weights and inputs, is one of ours: the order of the result is free. */
static void assert_same_channels(const char *name, const consumer *c, const float *w, const float *x)
{
    bool *taken = calloc((size_t)c->n, sizeof *taken);
    for (int64_t j = 0; j < c->n; j++) {
        bool found = false;
        for (int64_t i = 0; i < c->n && !found; i++) {
            bool same = !taken[i];
            for (int64_t o = 0; o < c->out && same; o++)
                same = fabsf(c->wr[o * c->n + i] - w[o * c->n + j]) <= 1e-6f * (1 + fabsf(w[o * c->n + j]));
            for (int64_t r = 0; r < c->rows && same; r++)
                same = fabsf(c->xr[r * c->n + i] - x[r * c->n + j]) <= 1e-6f * (1 + fabsf(x[r * c->n + j]));
            if (same) taken[i] = found = true;
        }
        if (!found) fail_msg("%s: recorded channel %lld is none of ours", name, (long long)j);
    }
    free(taken);
}

static void channels_are_those_of_its_authors(void **state)
{
    static const struct {
        const char *name, *weights, *weight, *inputs, *input;
        double ratio;
        int bits;
        int64_t out, n;
        bool gated, spiked;
    } rows[] = {{"down.w4a4", "gptq", "down.weight", "awq", "x.down", 0.2, 4, 48, 384, false, false},
                {"down.w6a6", "gptq", "down.weight", "awq", "x.down", 0.05, 6, 48, 384, false, false},
                {"q.w4a4", "gptq", "q.weight", "gptq", "q.x", 0.2, 4, 128, 128, false, true},
                {"gateup.w4a4", "qllm", "gateup.weight", "awq", "x.mlp", 0.2, 4, 96, 128, true, false}};
    enum { ROWS = 64 };
    golden g, from;
    bl_backend *be;
    bl_arena *a;
    bl_err e = {0};
    char key[96];
    (void)state;
    BL_NEEDS("BITLADDER_GOLDEN");
    golden_open(&g, test_path("BITLADDER_GOLDEN", "ptq/qllm.safetensors"));
    assert_ok(bl_backend_open(&(bl_backend_opts){.device = "cpu", .threads = 1}, &be, &e));
    for (size_t i = 0; i < BL_COUNT(rows); i++) {
        const int64_t n = rows[i].n, out = rows[i].out, even = n / 2;
        assert_ok(bl_arena_new(&a, &e));
#define KEY(part)  (snprintf(key, sizeof key, "%s.%s", rows[i].name, part), key)
#define NEW(count) bl_alloc(a, (size_t)(count), sizeof(float), &e)
        snprintf(key, sizeof key, "ptq/%s.safetensors", rows[i].weights);
        golden_open(&from, test_path("BITLADDER_GOLDEN", key));
        float *w = NEW(out * n), *x = NEW(ROWS * n), *turned = NEW(ROWS * n), *sum = NEW(n);
        memcpy(w, golden_need(&from, rows[i].weight, "F32", -1), (size_t)(out * n) * sizeof *w);
        golden_close(&from);
        snprintf(key, sizeof key, "ptq/%s.safetensors", rows[i].inputs);
        golden_open(&from, test_path("BITLADDER_GOLDEN", key));
        memcpy(x, golden_need(&from, rows[i].input, "F32", -1), (size_t)(ROWS * n) * sizeof *x);
        golden_close(&from);
        for (int64_t r = 0; r < ROWS; r++)
            for (int64_t j = 0; j < n; j++) {
                if (rows[i].spiked && j % 17 == 3) x[r * n + j] *= 6;
                turned[j * ROWS + r] = x[r * n + j];
            }
        for (int64_t j = 0; j < n; j++) {
            double all = 0;
            for (int64_t o = 0; o < out; o++) all += w[o * n + j];
            sum[j] = (float)all;
        }
        const bl_qllm_seen seen = {n, ROWS, turned, golden_need(&g, KEY("x_max"), "F32", n), sum};
        float *scores = NEW(even * even);
        const float *want = golden_need(&g, KEY("scores"), "F32", even * even);
        assert_ok(bl_qllm_scores(be, &seen, NULL, n, NULL, scores, &e));
        assert_scores(rows[i].name, scores, want, even * even);

        consumer c = {.w = w,
                      .x = x,
                      .out = out,
                      .n = n,
                      .rows = ROWS,
                      .bits = rows[i].bits,
                      .gated = rows[i].gated,
                      .want = NEW(ROWS * out),
                      .got = NEW(ROWS * out),
                      .wr = NEW(out * n),
                      .xr = NEW(ROWS * n)};
        product(&c, w, x, c.want);
        bl_reassembly k;
        bl_qllm_found found, better;
        int ndim;
        int64_t dim[8];
        assert_ok(bl_qllm_search(be, a, &seen, rows[i].ratio, true, lost, &c, &k, &found, &e));
        const double *losses = golden_get(&g, KEY("losses"), "F64", &ndim, dim);
        assert_true(losses && c.n_losses == dim[0] + 2); /* and without, and what is used */
        for (int64_t l = 0; l < dim[0]; l++) assert_close(KEY("losses"), c.loss[l + 1], losses[l], 1e-3);
        assert_close(KEY("loss_without"), found.none, *(const double *)golden_need(&g, KEY("loss_without"), "F64", 1),
                     1e-3);
        assert_close(KEY("theta"), found.theta, *(const double *)golden_need(&g, KEY("theta"), "F64", 1), 1e-6);
        assert_close(KEY("loss_final"), found.used, *(const double *)golden_need(&g, KEY("loss_final"), "F64", 1),
                     1e-3);
        bl_reassembly never;
        c.n_losses = 0;
        assert_ok(bl_qllm_search(be, a, &seen, rows[i].ratio, false, lost, &c, &never, &better, &e));
        assert_true(better.used == fmin(found.none, found.used) && (never.wide > n) == (found.used < found.none));
        assert_memory_equal(k.copies, golden_need(&g, KEY("copies"), "I32", n), (size_t)n * sizeof *k.copies);
        const int64_t pairs = (k.wide + 1) / 2 * (k.wide / 2);
        if ((want = golden_get(&g, KEY("scores_after"), "F32", &ndim, dim))) { /* of an odd number of places */
            scores = NEW(pairs);
            assert_ok(bl_qllm_scores(be, &seen, k.from, k.wide, k.copies, scores, &e));
            assert_scores(key, scores, want, pairs);
        }
        const int32_t *src = golden_need(&g, KEY("src"), "I32", found.added),
                      *dst = golden_need(&g, KEY("dst"), "I32", found.added);
        for (int64_t p = 0, joined = 0; p < k.wide; p++) {
            joined += k.into[p] != p;
            if (p == k.wide - 1) assert_int_equal(joined, found.added);
        }
        for (int64_t l = 0; l < found.added; l++) assert_int_equal(k.into[2 * src[l]], 2 * dst[l] + 1);
        bl_qllm_columns(&k, w, out, c.wr);
        inputs(&c, &k, c.xr);
        assert_same_channels(rows[i].name, &c, golden_need(&g, KEY("weight_out"), "F32", out * n),
                             golden_need(&g, KEY("x_out"), "F32", ROWS * n));
        bl_arena_free(a);
    }
    bl_backend_close(be);
    golden_close(&g);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(channels_are_those_of_its_authors)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
