/* GPTAQ's sweep against its authors' code: their second moments and mismatch, their ranges, their codes. Rows of one
 * layer whose 128 columns are one block, where their code and their paper say the same. */
#include "golden_file.h"
#include "kernels/ops.h"
#include <math.h>

enum { N = 128 };
static bl_err e;
static const struct {
    const char *name;
    int bits;
    double alpha;
} cases[] = {
    {"q.w3asym", 3, 0.25},    {"q.w3asym_alpha1", 3, 1},  {"q.w3asym_gptq", 3, 0},
    {"q.w4sym_mse", 4, 0.25}, {"q.w4sym_mse_gptq", 4, 0},
};

static bl_tensor matrix(bl_backend *be, bl_dtype type, int64_t rows, int64_t cols)
{
    bl_buffer *b;
    assert_ok(be->ops->buffer_new(be, (uint64_t)(rows * cols) * bl_dtype_bytes(type), &b, &e));
    return bl_tensor_2d(b, 0, type, rows, cols);
}
static const void *part_of(const golden *g, const char *name, const char *what, const char *type, int64_t n)
{
    char key[64];
    snprintf(key, sizeof key, "%s.%s", name, what);
    return golden_need(g, key, type, n);
}

static void compare(const golden *g, const float *weight, int64_t rows, size_t k, bl_backend *be)
{
    bl_tensor h = matrix(be, BL_F64, N, N), c = matrix(be, BL_F64, N, N), u = matrix(be, BL_F32, N, N),
              w = matrix(be, BL_F32, rows, N), scale = matrix(be, BL_F32, rows, 1), zero = matrix(be, BL_F32, rows, 1);
    bl_tensor all[] = {h, c, u, w, scale, zero};
    const float *upper = golden_need(g, "q.hessian_upper", "F32", N * (N + 1) / 2),
                *cc = golden_need(g, "q.C", "F32", N * N), *s = part_of(g, cases[k].name, "scale", "F32", rows),
                *z = part_of(g, cases[k].name, "zero", "F32", rows);
    const int8_t *code = part_of(g, cases[k].name, "codes", "I8", rows * N);
    double *hd = h.buf->data, mean = 0;
    float *v = w.buf->data;
    int64_t differ = 0;
    for (int i = 0; i < N; i++)
        for (int j = i; j < N; j++) hd[i * N + j] = hd[j * N + i] = *upper++;
    for (int i = 0; i < N; i++) mean += hd[i * N + i] / N;
    for (int i = 0; i < N * N; i++) ((double *)c.buf->data)[i] = cc[i];
    memcpy(v, weight, (size_t)(rows * N) * sizeof *v);
    for (int64_t r = 0; r < rows; r++) { /* symmetric ones have codes below 0 and no zero point */
        ((float *)scale.buf->data)[r] = s[r];
        ((float *)zero.buf->data)[r] = cases[k].bits == 4 ? 8 : z[r];
    }
    assert_ok(be->ops->cholesky_inverse(be, &(bl_cholesky_inverse_args){.h = h, .u = u, .shift = 0.01 * mean}, &e));
    assert_ok(
        be->ops->mismatch_fold(be, &(bl_mismatch_fold_args){.c = c, .u = u, .w = w, .alpha = cases[k].alpha}, &e));
    assert_ok(be->ops->gptq_sweep(be,
                                  &(bl_gptq_sweep_args){.w = w,
                                                        .u = u,
                                                        .group = N,
                                                        .bits = cases[k].bits,
                                                        .rule = BL_RANGE_GIVEN,
                                                        .scale_type = BL_F32,
                                                        .block = 32, /* whichever */
                                                        .scale = scale,
                                                        .zero = zero},
                                  &e));
    for (int64_t i = 0; i < rows * N; i++) {
        int64_t r = i / N;
        differ += (int)lrintf(v[i] / s[r]) != code[i] - (cases[k].bits == 4 ? 0 : (int)z[r]);
    }
    if (differ * 100 > rows * N)
        fail_msg("%s: %lld of %lld codes differ", cases[k].name, (long long)differ, (long long)(rows * N));
    for (size_t i = 0; i < BL_COUNT(all); i++) be->ops->buffer_free(all[i].buf);
}

static void codes_are_those_of_its_authors_whatever_the_block(void **state)
{
    golden g, whole;
    int ndim;
    int64_t dim[8];
    (void)state;
    golden_open(&g, golden_path("ptq/gptaq.safetensors"));
    bool all = getenv("BITLADDER_GOLDEN") != NULL;
    if (all) golden_open(&whole, golden_path("ptq/gptq.safetensors"));
    const float *w = golden_get(all ? &whole : &g, "q.weight", "F32", &ndim, dim);
    assert_non_null(w);
    for (int reference = 0; reference < 2; reference++) {
        bl_backend *be;
        assert_ok(bl_backend_open(&(bl_backend_opts){.device = "cpu", .threads = 2, .reference = reference}, &be, &e));
        for (size_t k = 0; k < BL_COUNT(cases); k++) compare(&g, w, dim[0], k, be);
        bl_backend_close(be);
    }
    golden_close(&g);
    if (all) golden_close(&whole);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(codes_are_those_of_its_authors_whatever_the_block)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
