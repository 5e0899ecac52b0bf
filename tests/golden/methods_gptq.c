/* One linear through GPTQ against gptqmodel and llmcompressor: their H, their weights, their options. */
#include "golden_file.h"
#include "method_run.h"
#include "methods/shared_solve.h"
#include <math.h>

typedef struct row {
    const char *layer, *library, *name;
    int bits, group;
    bool symmetric;
    bl_solve_order order;
    bool fixed, mse; /* static groups */
    double damp;     /* 0: 0.01 */
    int block;       /* 0: 128 */
} row;

#define GM "gptqmodel"
#define LC "llmcompressor" /* its grid is always static */
static const row rows[] = {
    {"q", GM, "w4pc", .bits = 4, .group = -1},
    {"q", GM, "w3g32", .bits = 3, .group = 32},
    {"q", GM, "w2g32", .bits = 2, .group = 32},
    {"q", GM, "w4g64_sym", .bits = 4, .group = 64, .symmetric = true},
    {"q", GM, "w8pc_sym", .bits = 8, .group = -1, .symmetric = true},
    {"q", GM, "w3g32_static", .bits = 3, .group = 32, .fixed = true},
    {"q", GM, "w3g32_act", .bits = 3, .group = 32, .order = BL_SOLVE_ACT},
    {"q", GM, "w3g32_act_static", .bits = 3, .group = 32, .order = BL_SOLVE_ACT, .fixed = true},
    {"q", GM, "w3g32_gar", .bits = 3, .group = 32, .order = BL_SOLVE_GROUPS},
    {"q", GM, "w3g32_damp10", .bits = 3, .group = 32, .damp = 0.1},
    {"q", GM, "w3g32_mse", .bits = 3, .group = 32, .mse = true},
    {"q", GM, "w3g32_block32", .bits = 3, .group = 32, .block = 32},
    {"q", GM, "w3g48", .bits = 3, .group = 48},
    {"q", GM, "w3pc_block32", .bits = 3, .group = -1, .block = 32},
    {"q_dead", GM, "w4g32", .bits = 4, .group = 32},
    {"q_dead", GM, "w4g32_act", .bits = 4, .group = 32, .order = BL_SOLVE_ACT},
    {"q_spike", GM, "w2g32", .bits = 2, .group = 32},
    {"q_spike", GM, "w2g32_act", .bits = 2, .group = 32, .order = BL_SOLVE_ACT},
    {"q_spike", GM, "w2g32_act_static", .bits = 2, .group = 32, .order = BL_SOLVE_ACT, .fixed = true},
    {"down", GM, "w4g128", .bits = 4, .group = 128},
    {"down", GM, "w3g64", .bits = 3, .group = 64},
    {"down", GM, "w3g256", .bits = 3, .group = 256},
    {"down", GM, "w2g64_act", .bits = 2, .group = 64, .order = BL_SOLVE_ACT},
    {"down", GM, "w3g64_static", .bits = 3, .group = 64, .fixed = true},
    {"down", GM, "w4pc_sym", .bits = 4, .group = -1, .symmetric = true},
    {"smol_k", GM, "w4g64", .bits = 4, .group = 64},
    {"smol_k", GM, "w4g64_static", .bits = 4, .group = 64, .fixed = true},
    {"smol_k", GM, "w3g64", .bits = 3, .group = 64},
    {"smol_k", GM, "w3g192_act", .bits = 3, .group = 192, .order = BL_SOLVE_ACT},
    {"smol_k", GM, "w4g128_ragged", .bits = 4, .group = 128},
    {"q", LC, "w4pc", .bits = 4, .group = -1},
    {"q", LC, "w3g32", .bits = 3, .group = 32, .fixed = true},
    {"q", LC, "w3g32_act", .bits = 3, .group = 32, .order = BL_SOLVE_ACT, .fixed = true},
    {"q", LC, "w4g64_sym", .bits = 4, .group = 64, .symmetric = true, .fixed = true},
    {"q", LC, "w3g32_sym_act", .bits = 3, .group = 32, .symmetric = true, .order = BL_SOLVE_ACT, .fixed = true},
    {"q_spike", LC, "w2g32_act", .bits = 2, .group = 32, .order = BL_SOLVE_ACT, .fixed = true},
    {"down", LC, "w3g64", .bits = 3, .group = 64, .fixed = true},
    {"down", LC, "w4pc_sym", .bits = 4, .group = -1, .symmetric = true},
    {"smol_k", LC, "w3g64_act", .bits = 3, .group = 64, .order = BL_SOLVE_ACT, .fixed = true},
    {"smol_k", LC, "w4g64", .bits = 4, .group = 64, .fixed = true},
};

static const void *part_of(const golden *g, const row *c, const char *what, const char *dtype)
{
    char key[96];
    snprintf(key, sizeof key, "%s.%s.%s.%s", c->layer, c->library, c->name, what);
    return golden_get(g, key, dtype, NULL, NULL);
}

/* H as a matrix on the backend, from its upper triangle. */
static bl_tensor hessian(const golden *g, const char *layer, bl_backend *be, int64_t n)
{
    bl_err e = {0};
    char key[48];
    bl_buffer *b;
    snprintf(key, sizeof key, "%s.hessian_upper", layer);
    const float *upper = golden_need(g, key, "F32", n * (n + 1) / 2);
    assert_ok(be->ops->buffer_new(be, (uint64_t)(n * n) * 8, &b, &e));
    double *h = b->data;
    for (int64_t i = 0; i < n; i++)
        for (int64_t j = i; j < n; j++) h[i * n + j] = h[j * n + i] = *upper++;
    return bl_tensor_2d(b, 0, BL_F64, n, n);
}

/* tr(D H Dt) without the inputs that never came. */
static double output_error(const float *w, const float *v, const double *h, int64_t out, int64_t n)
{
    double sum = 0, d[576];
    for (int64_t r = 0; r < out; r++) {
        for (int64_t i = 0; i < n; i++) d[i] = h[i * n + i] == 0 ? 0 : (double)w[r * n + i] - v[r * n + i];
        for (int64_t i = 0; i < n; i++) {
            double t = 0;
            for (int64_t j = 0; j < n; j++) t += h[i * n + j] * d[j];
            sum += d[i] * t;
        }
    }
    return sum;
}

static void compare(const golden *g, const row *c)
{
    bl_err e = {0};
    char key[48];
    int ndim;
    int64_t dim[8], out, in, differ = 0, off_scale = 0;
    method_run m;
    snprintf(key, sizeof key, "%s.weight", c->layer[0] == 'q' ? "q" : c->layer);
    const float *w = golden_get(g, key, "F32", &ndim, dim);
    assert_non_null(w);
    out = dim[0];
    in = dim[1];
    method_open(&m, "rtn:w4pc", w, out, in);
    snprintf(key, sizeof key, "int%d", c->bits);
    bl_solve s = {.format = bl_format_find(key),
                  .shape = {.out = out,
                            .in = in,
                            .group = c->group < 0 ? in : c->group,
                            .scale = BL_F32,
                            .zero = c->symmetric ? BL_ZERO_NONE : BL_ZERO_PACKED},
                  .rule = c->symmetric ? BL_RANGE_FULL : BL_RANGE_ZERO,
                  .mse = c->mse,
                  .order = c->order,
                  .static_groups = c->fixed,
                  .damp = c->damp > 0 ? c->damp : 0.01,
                  .block = c->block ? c->block : 128};
    int64_t groups = bl_shape_groups(&s.shape), group = s.shape.group;
    bl_tensor h = hessian(g, c->layer, m.be, in);
    assert_ok(bl_solve_gptq(&m.run, &m.lin, h, &s, &m.stat, &e));

    /* where column i of the stored weight was */
    bool kept = c->order == BL_SOLVE_ACT && !c->fixed;
    const int32_t *perm = NULL;
    assert_int_equal(m.lin.n_transforms, kept);
    if (kept) {
        perm = (const int32_t *)((char *)m.lin.transform[0].data.buf->data + m.lin.transform[0].data.offset);
        const int32_t *want = part_of(g, c, "perm", "I32");
        const double *d = h.buf->data;
        for (int64_t i = 0; i < in; i++)
            assert_true(d[perm[i] * (in + 1)] == d[want[i] * (in + 1)]); /* ties are free */
    }
    float *stored = method_dense(&m), *v = bl_alloc(m.scratch, (size_t)(out * in), sizeof *v, &e);
    for (int64_t r = 0; r < out; r++)
        for (int64_t i = 0; i < in; i++) v[r * in + (perm ? perm[i] : i)] = stored[r * in + i];

    const float *scale = part_of(g, c, "scale", "F32");
    const int16_t *zero = part_of(g, c, "zero", "I16");
    const uint8_t *u8 = strcmp(c->library, GM) ? NULL : part_of(g, c, "codes", "U8");
    const int16_t *i16 = u8 ? NULL : part_of(g, c, "codes", "I16");
    const int32_t *g_idx = kept ? part_of(g, c, "g_idx", "I32") : NULL;
    const void *part[BL_MAX_PARTS];
    method_parts(&m, part);
    for (int64_t r = 0; r < out; r++) {
        uint8_t code[576];
        float sc[32], ze[32];
        bl_int_decode(m.lin.weight.format, &m.lin.weight.shape, part, r, code, sc, ze);
        for (int64_t k = 0; k < groups; k++) off_scale += fabsf(sc[k] / scale[r * groups + k] - 1) > 1e-5f;
        for (int64_t i = 0; i < in; i++) {
            int64_t at = perm ? perm[i] : i, k = g_idx ? g_idx[at] : at / group;
            int want = (u8 ? u8[r * in + at] : i16[r * in + at]) - zero[r * groups + k];
            differ += code[i] - (int)ze[i / group] != want;
        }
    }
    double error = output_error(w, v, h.buf->data, out, in), want = *(const double *)part_of(g, c, "error", "F64");
    if (getenv("BL_SHOW"))
        print_message("%s.%s.%s: %lld of %lld codes, %lld of %lld scales differ, error %.6g / %.6g\n", c->layer,
                      c->library, c->name, (long long)differ, (long long)(out * in), (long long)off_scale,
                      (long long)(out * groups), error, want);
    if (differ * 1000 > out * in || off_scale * 100 > out * groups || fabs(error / want - 1) > 1e-3)
        fail_msg("%s.%s.%s: %lld of %lld codes, %lld of %lld scales differ, error %.6g, wanted %.6g", c->layer,
                 c->library, c->name, (long long)differ, (long long)(out * in), (long long)off_scale,
                 (long long)(out * groups), error, want);
    /* and the statistics say so */
    double power = output_error(w, bl_alloc(m.scratch, (size_t)(out * in), sizeof *v, &e), h.buf->data, out, in);
    assert_true(fabs(m.stat.out_nmse * power / error - 1) < 1e-3);
    assert_true(m.stat.damp == s.damp);
    m.be->ops->buffer_free(h.buf);
    method_close(&m);
}

/* Cases of a file; how many there were. */
static int compare_all(const char *path)
{
    golden g;
    int n = 0;
    golden_open(&g, path);
    for (size_t i = 0; i < BL_COUNT(rows); i++) {
        if (!part_of(&g, &rows[i], "scale", "F32")) continue;
        compare(&g, &rows[i]);
        n++;
    }
    golden_close(&g);
    return n;
}

static void codes_are_those_of_two_libraries(void **state)
{
    (void)state;
    BL_NEEDS("BITLADDER_GOLDEN");
    assert_int_equal(compare_all(test_path("BITLADDER_GOLDEN", "ptq/gptq.safetensors")), BL_COUNT(rows));
}

/* Eight rows of one weight, kept with the tests; its metadata says where they are from. */
static void codes_of_eight_rows_are_gptqmodels(void **state)
{
    (void)state;
    assert_int_equal(compare_all(BL_SOURCE_DIR "/tests/data/gptq.safetensors"), 6);
}

/* H from the inputs: 2 / sequences x xt; theirs counts tokens. */
static void second_moments_are_gptqmodels(void **state)
{
    bl_err e = {0};
    bl_backend *be;
    bl_buffer *bx, *bh;
    (void)state;
    BL_NEEDS("BITLADDER_GOLDEN");
    golden g;
    golden_open(&g, test_path("BITLADDER_GOLDEN", "ptq/gptq.safetensors"));
    assert_ok(bl_backend_open(&(bl_backend_opts){.threads = 2}, &be, &e));
    assert_ok(be->ops->buffer_new(be, 256 * 128 * 4, &bx, &e));
    assert_ok(be->ops->buffer_new(be, 128 * 128 * 8, &bh, &e));
    bl_tensor x = bl_tensor_2d(bx, 0, BL_F32, 256, 128), h = bl_tensor_2d(bh, 0, BL_F64, 128, 128);
    assert_ok(be->ops->upload(be, &x, golden_need(&g, "q.x", "F32", 4 * 64 * 128), &e));
    assert_ok(be->ops->fill(be, &h, 0, &e));
    assert_ok(be->ops->hessian(be, &(bl_hessian_args){.x = x, .h = h, .alpha = 2.0 / 256}, &e));
    const float *want = golden_need(&g, "q.hessian_upper", "F32", 128 * 129 / 2);
    const double *got = bh->data;
    double most = 0;
    for (int i = 0; i < 128 * 129 / 2; i++) most = fmax(most, fabsf(want[i]));
    for (int i = 0; i < 128; i++)
        for (int j = i; j < 128; j++) assert_true(fabs(got[i * 128 + j] - *want++) <= 1e-5 * most);
    be->ops->buffer_free(bx);
    be->ops->buffer_free(bh);
    bl_backend_close(be);
    golden_close(&g);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(codes_of_eight_rows_are_gptqmodels),
        cmocka_unit_test(codes_are_those_of_two_libraries),
        cmocka_unit_test(second_moments_are_gptqmodels),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
