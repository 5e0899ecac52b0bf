/* QuIP's rounding against its authors' code: weights and damped second moments as they were before it. */
#include "golden_file.h"
#include "method_run.h"
#include "methods/quip.h"
#include <math.h>

static bl_err e;

static const struct {
    const char *pre, *name; /* of the weight and its moments, of the case */
    bl_quip_rounding how;
    int bits, passes;
} cases[] = {
    {"q.incoh0", "q.w2.incoh0.near", BL_QUIP_NEAR, 2, 0},
    {"q.incoh0", "q.w2.incoh0.ldlq", BL_QUIP_LDLQ, 2, 0},
    {"q.incoh0", "q.w2.incoh0.ldlq_greedy3", BL_QUIP_GREEDY, 2, 3},
    {"q.incoh0", "q.w2.incoh0.ldlqRG5", BL_QUIP_RG, 2, 5},
    {"q.incoh0", "q.w2.incoh0.allbal4", BL_QUIP_ALLBAL, 2, 4},
    {"q.incoh0", "q.w4.incoh0.allbal2", BL_QUIP_ALLBAL, 4, 2},
    {"q.incoh1", "q.w2.incoh1.near", BL_QUIP_NEAR, 2, 0},
    {"q.incoh1", "q.w2.incoh1.ldlq", BL_QUIP_LDLQ, 2, 0},
    {"q.plain", "q.w3.plain.near", BL_QUIP_NEAR, 3, 0},
    {"q.plain", "q.w3.plain.ldlq", BL_QUIP_LDLQ, 3, 0},
    {"q.plain", "q.w3.plain.ldlqRG5", BL_QUIP_RG, 3, 5},
    {"q.plain", "q.w3.plain.allbal4", BL_QUIP_ALLBAL, 3, 4},
    {"down.incoh0", "down.w2.incoh0.ldlq", BL_QUIP_LDLQ, 2, 0},
    {"down.incoh0", "down.w2.incoh0.ldlq_greedy2", BL_QUIP_GREEDY, 2, 2},
    {"down.incoh0", "down.w2.incoh0.ldlqRG4", BL_QUIP_RG, 2, 4},
};

static bl_tensor upload(bl_backend *be, bl_dtype type, const void *v, int64_t rows, int64_t cols)
{
    bl_buffer *b;
    assert_ok(be->ops->buffer_new(be, (uint64_t)(rows * cols) * bl_dtype_bytes(type), &b, &e));
    bl_tensor t = bl_tensor_2d(b, 0, type, rows, cols);
    if (v) assert_ok(be->ops->upload(be, &t, v, &e));
    return t;
}

/* One scale for all, the middle of the codes for zero; or one of each for every row. */
static void grid_of(const golden *g, size_t c, int64_t out, float *step, float *zero)
{
    char key[64];
    float levels = (float)((1 << cases[c].bits) - 1);
    snprintf(key, sizeof key, "%s.scale", cases[c].name);
    const float *scale = golden_need(g, key, "F32", -1);
    snprintf(key, sizeof key, "%s.zero", cases[c].name);
    const float *zeros = golden_get(g, key, "F32", NULL, NULL);
    for (int64_t r = 0; r < out; r++) {
        step[r] = zeros ? scale[r] : 2 * scale[0] / levels;
        zero[r] = zeros ? zeros[r] : levels / 2;
    }
}

static double proxy(const double *h, const float *w, const float *v, int64_t out, int64_t in)
{
    double sum = 0;
    for (int64_t r = 0; r < out; r++)
        for (int64_t i = 0; i < in; i++) {
            double t = 0;
            for (int64_t j = 0; j < in; j++) t += h[i * in + j] * ((double)w[r * in + j] - v[r * in + j]);
            sum += t * ((double)w[r * in + i] - v[r * in + i]);
        }
    return sum;
}

static void compare(const golden *g, const golden *weights, size_t c)
{
    char key[64];
    int ndim;
    int64_t dim[8], differ = 0;
    float step[128], zero[128];
    double damped;
    method_run m;
    snprintf(key, sizeof key, "%s.W", cases[c].pre);
    const float *w = golden_get(g, key, "F32", &ndim, dim);
    if (!w) w = weights ? golden_get(weights, "q.weight", "F32", &ndim, dim) : NULL;
    snprintf(key, sizeof key, "%s.codes", cases[c].name);
    const int8_t *codes = golden_get(g, key, "I8", NULL, NULL);
    if (!w || !codes) return; /* not in the small file */
    int64_t out = dim[0], in = dim[1];
    grid_of(g, c, out, step, zero);
    method_open(&m, "quip:w2", w, out, in);
    snprintf(key, sizeof key, "%s.H_upper", cases[c].pre);
    const float *upper = golden_need(g, key, "F32", in * (in + 1) / 2);
    bl_tensor h = upload(m.be, BL_F64, NULL, in, in), t = upload(m.be, BL_F32, w, out, in),
              s = upload(m.be, BL_F32, step, out, 1), z = upload(m.be, BL_F32, zero, out, 1);
    double *moments = h.buf->data;
    for (int64_t i = 0; i < in; i++)
        for (int64_t j = i; j < in; j++) moments[i * in + j] = moments[j * in + i] = *upper++;
    assert_ok(bl_quip_round(&m.run, t, h, s, z, cases[c].bits, cases[c].how, cases[c].passes, 0, &damped, &e));
    assert_true(damped == 0); /* it is in H */
    const float *v = t.buf->data;
    for (int64_t i = 0; i < out * in; i++) {
        float code = v[i] / step[i / in] + zero[i / in];
        assert_true(fabsf(code - rintf(code)) < 1e-3f && code > -0.1f && code < (float)(1 << cases[c].bits) - 0.9f);
        differ += (int)rintf(code) != codes[i];
    }
    if (getenv("BL_SHOW"))
        print_message("%s: %lld of %lld codes\n", cases[c].name, (long long)differ, (long long)(out * in));
    if (differ * 100 > out * in)
        fail_msg("%s: %lld of %lld codes differ", cases[c].name, (long long)differ, (long long)(out * in));
    snprintf(key, sizeof key, "%s.proxy", cases[c].name);
    const double *want = golden_get(g, key, "F64", NULL, NULL);
    double got = proxy(moments, w, v, out, in);
    /* a row may part where a weight is halfway between codes: theirs goes up, ours to the even one */
    if (want && fabs(got / want[0] - 1) > (differ ? 2e-3 : 1e-3))
        fail_msg("%s: proxy %g, wanted %g", cases[c].name, got, want[0]);
    m.be->ops->buffer_free(h.buf);
    m.be->ops->buffer_free(t.buf);
    m.be->ops->buffer_free(s.buf);
    m.be->ops->buffer_free(z.buf);
    method_close(&m);
}

static void codes_are_those_of_the_authors(void **state)
{
    golden g, weights;
    bool all = getenv("BITLADDER_GOLDEN");
    (void)state;
    golden_open(&g, golden_path("ptq/quip.safetensors"));
    if (all) golden_open(&weights, test_path("BITLADDER_GOLDEN", "ptq/gptq.safetensors"));
    for (size_t c = 0; c < BL_COUNT(cases); c++) compare(&g, all ? &weights : NULL, c);
    if (all) golden_close(&weights);
    golden_close(&g);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(codes_are_those_of_the_authors)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
