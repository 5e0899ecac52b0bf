/* Floats of 4 and 8 bits as methods: which rows get them, what a factor of the weight does, and that the search finds
 * no worse.
 */
#include "method_run.h"
#include "kernels/base/rng.h"
#include <math.h>

enum { OUT = 6, IN = 96 };

static float *weights(int64_t in, float factor)
{
    float *w = malloc((size_t)(OUT * in) * sizeof *w);
    bl_rng r = bl_rng_at(9, bl_rng_key("methods_fp4", 0), 0);
    for (int64_t i = 0; i < OUT * in; i++) w[i] = factor * (float)bl_rng_normal(&r) * (i % 29 ? 1 : 6);
    return w;
}

/* Parts of the weight that a method made of it; lent until method_close. */
static void apply(method_run *m, const char *method, int64_t in, float factor, const void *part[BL_MAX_PARTS])
{
    const bl_format *f;
    bl_shape g = {0};
    float *w = weights(in, factor);
    method_open(m, method, w, OUT, in);
    assert_true(m->run.method->predict(&m->run, &m->lin, &f, &g)); /* what `plan` counts with */
    bl_linear_clear_transforms(&m->lin);                           /* of the outline */
    method_apply(m);
    assert_ptr_equal(f, m->lin.weight.format);
    assert_true(bl_format_bytes(f, &g) == bl_weight_bytes(&m->lin.weight));
    method_parts(m, part);
    free(w);
}

static void rows_that_32_does_not_divide_are_fp16(void **state)
{
    const void *part[BL_MAX_PARTS];
    method_run m;
    (void)state;
    static const char *const methods[] = {"mxfp4", "mxfp4+rule=ceil", "mxfp4+rule=even", "mxfp4+rule=least"};
    for (size_t i = 0; i < BL_COUNT(methods); i++) {
        apply(&m, methods[i], 40, 0.1f, part);
        assert_string_equal(m.lin.weight.format->name, "fp16");
        float *w = weights(40, 0.1f), *y = method_dense(&m);
        for (int k = 0; k < OUT * 40; k++) assert_true(y[k] == bl_f16_to_f32(bl_f32_to_f16(w[k])));
        free(w);
        method_close(&m);
    }
    apply(&m, "nvfp4", 40, 0.1f, part); /* groups of 16, the last of a row short */
    assert_string_equal(m.lin.weight.format->name, "nvfp4_tensor");
    assert_true(bl_weight_bytes(&m.lin.weight) == OUT * (20 + 3) + 4);
    method_close(&m);
}

/* The exponents take a power of two, the codes stay; an nvfp4 weight takes any factor into its one scale. */
static void a_power_of_two_changes_exponents_only(void **state)
{
    static const char *const methods[] = {"mxfp4", "mxfp4+rule=ceil", "mxfp4+rule=even", "mxfp4+rule=least"};
    const void *a[BL_MAX_PARTS], *b[BL_MAX_PARTS];
    method_run one, eight;
    (void)state;
    for (size_t i = 0; i < BL_COUNT(methods); i++) {
        apply(&one, methods[i], IN, 0.1f, a);
        apply(&eight, methods[i], IN, 0.1f * 8, b);
        const uint8_t *p = a[0], *q = b[0];
        for (int k = 0; k < OUT * IN / 32; k++, p += 17, q += 17) {
            assert_int_equal(p[0] + 3, q[0]);
            assert_memory_equal(p + 1, q + 1, 16);
        }
        method_close(&one);
        method_close(&eight);
    }
    apply(&one, "nvfp4", IN, 0.1f, a);
    apply(&eight, "nvfp4", IN, 0.1f * 8, b);
    assert_memory_equal(a[0], b[0], OUT * IN / 2);
    assert_memory_equal(a[1], b[1], OUT * IN / 16);
    assert_true(*(const float *)a[2] * 8 == *(const float *)b[2]);
    method_close(&one);
    method_close(&eight);
}

static double loss(const char *method)
{
    const void *part[BL_MAX_PARTS];
    method_run m;
    apply(&m, method, IN, 0.1f, part);
    double nmse = m.stat.nmse;
    method_close(&m);
    return nmse;
}

static void the_search_finds_no_worse_than_the_rules(void **state)
{
    (void)state;
    double least = loss("mxfp4+rule=least");
    assert_true(least > 0 && least <= loss("mxfp4") && least <= loss("mxfp4+rule=ceil"));
    assert_true(least <= loss("mxfp4+rule=even") && loss("nvfp4+rule=least") <= loss("nvfp4"));
}

/* W' H x with the inputs turned in blocks is W x, whatever the width of the blocks. */
static void turned_blocks_leave_the_product_as_it_is(void **state)
{
    static const struct {
        const char *method;
        int64_t in, block;
    } rows[] = {{"mxfp4+rotate=32", IN, 32}, {"nvfp4+rotate=128", IN, 32}, {"nvfp4+rotate=16", 40, 8}};
    (void)state;
    for (size_t i = 0; i < BL_COUNT(rows); i++) {
        int64_t in = rows[i].in;
        const void *part[BL_MAX_PARTS];
        method_run m;
        apply(&m, rows[i].method, in, 0.1f, part);
        assert_true(m.lin.n_transforms == 1 && bl_tensor_count(&m.lin.transform[0].data) == rows[i].block);
        float *w = weights(in, 0.1f), *turned = method_dense(&m);
        double scale = 1 / sqrt((double)rows[i].block);
        for (int r = 0; r < OUT; r++) { /* H of order 2^k: entry (i, j) has the sign of the parity of i & j */
            double off = 0, power = 0;
            for (int64_t k = 0; k < in; k++) {
                double want = 0;
                for (int64_t j = 0; j < rows[i].block; j++) {
                    int64_t first = k / rows[i].block * rows[i].block;
                    want += (__builtin_parityll((unsigned long long)((k - first) & j)) ? -scale : scale) *
                            w[r * in + first + j];
                }
                off += pow(want - turned[r * in + k], 2);
                power += want * want;
            }
            assert_true(off < 0.03 * power); /* of 4-bit floats; another order of rows would be off by all of it */
        }
        free(w);
        method_close(&m);
    }
}

/* Inputs in floats of 4 and 8 bits: what a product sees is the row as the format would keep it, and it is simulated. */
static void activations_are_rows_of_the_format(void **state)
{
    static const char *const methods[] = {"mxfp4+activations", "nvfp4+activations", "fp8"};
    static const char *const formats[] = {"mxfp4", "nvfp4_tensor", "fp8_e4m3"};
    static void (*const rounds[])(float *, int64_t) = {bl_mxfp4_round, bl_nvfp4_round, bl_fp8_round};
    static const int64_t groups[] = {0, 16, IN};
    (void)state;
    for (size_t i = 0; i < BL_COUNT(methods); i++) {
        const bl_format *f = bl_format_find(formats[i]);
        const bl_shape g = {.out = 1, .in = IN, .group = groups[i], .scale = BL_F32};
        const void *part[BL_MAX_PARTS];
        uint8_t codes[IN], scales[IN];
        float tensor, row[IN], other[IN];
        void *parts[] = {codes, i == 2 ? (void *)&tensor : scales, &tensor};
        bl_err e = {0};
        method_run m;
        apply(&m, methods[i], IN, 0.1f, part);
        float *x = weights(IN, 3), y[2][OUT], *w = method_dense(&m);
        assert_ok(f->pack(f, &g, x, parts, &e));
        f->unpack(f, &g, (const void *const *)parts, 0, 0, IN, row);
        memcpy(other, x, sizeof other);
        rounds[i](other, IN);
        assert_memory_equal(row, other, sizeof row);
        bl_buffer *bx, *by;
        assert_ok(m.be->ops->buffer_new(m.be, 2 * IN * 4, &bx, &e));
        assert_ok(m.be->ops->buffer_new(m.be, 2 * OUT * 4, &by, &e));
        bl_tensor tx = bl_tensor_2d(bx, 0, BL_F32, 2, IN), ty = bl_tensor_2d(by, 0, BL_F32, 2, OUT);
        assert_ok(m.be->ops->upload(m.be, &tx, x, &e)); /* two rows: each has its own range */
        assert_ok(
            m.be->ops->linear(m.be, &(bl_linear_args){.x = tx, .w = {&m.lin.weight}, .y = {ty}, .act = m.lin.act}, &e));
        assert_ok(m.be->ops->download(m.be, &ty, y, &e));
        for (int r = 0; r < OUT; r++) {
            double want = 0;
            for (int k = 0; k < IN; k++) want += (double)row[k] * w[r * IN + k];
            assert_true(fabs(y[0][r] - want) < 1e-5 * (1 + fabs(want)));
        }
        assert_false(m.be->ops->linear_is_integer(m.be, &(bl_linear_args){.w = {&m.lin.weight}, .act = m.lin.act}));
        m.be->ops->buffer_free(bx);
        m.be->ops->buffer_free(by);
        free(x);
        method_close(&m);
    }
}

/* 448 is the largest e4m3, 2^-9 the least; between them 8 steps for each power of two, ties to the even one, and a
 * value that is no number takes the row. */
static void eight_bit_floats_are_rounded_to_the_nearest(void **state)
{
    float x[] = {448, -432, 17, 17.5f, 19, -1.0625f, 1.1875f, 0x1p-9f, 0x1.8p-10f, 0x1p-10f, -0x1p-10f, 0, 0x1.7p-6f};
    static const float want[] = {448, -448, 16, 18, 20, -1, 1.25f, 0x1p-9f, 0x1p-9f, 0, 0, 0, 0x1.8p-6f};
    float tiny[] = {0x1p-130f, -0x1p-149f, 0}, zeros[] = {0, -0.0f}, bad[] = {1, INFINITY, 2};
    (void)state;
    bl_fp8_round(x, BL_COUNT(x));
    for (size_t i = 0; i < BL_COUNT(x); i++)
        if (x[i] != want[i] || (x[i] == 0 && signbit(x[i]))) fail_msg("%d: %a, not %a", (int)i, x[i], want[i]);
    bl_fp8_round(tiny, 3);
    assert_true(fabsf(tiny[0] / 0x1p-130f - 1) < 0.1f && tiny[2] == 0);
    bl_fp8_round(zeros, 2);
    assert_true(zeros[0] == 0 && zeros[1] == 0);
    bl_fp8_round(bad, 3);
    for (int i = 0; i < 3; i++) assert_true(isnan(bad[i]));
}

/* A scale for each output, or for each group, that takes any factor of the weights; codes are those of 1 / scale. */
static void eight_bit_floats_lose_a_share_of_each_weight(void **state)
{
    static const char *const methods[] = {"fp8", "fp8:g32", "fp8+activations=false"};
    (void)state;
    for (size_t i = 0; i < BL_COUNT(methods); i++) {
        const void *part[BL_MAX_PARTS], *other[BL_MAX_PARTS];
        method_run m, n;
        apply(&m, methods[i], IN, 0.1f, part);
        apply(&n, methods[i], IN, 0.1f * 8, other);
        assert_string_equal(m.lin.weight.format->name, "fp8_e4m3");
        assert_true(m.lin.act.bits == (i == 2 ? 0 : 8) && (i == 2 || m.lin.act.unit == BL_ACT_FP8));
        assert_true(bl_weight_bytes(&m.lin.weight) == OUT * IN + OUT * (i == 1 ? IN / 32 : 1) * 4);
        assert_memory_equal(part[0], other[0], OUT * IN);
        float *w = weights(IN, 0.1f), *y = method_dense(&m);
        for (int r = 0; r < OUT; r++) {
            float top = 0;
            for (int k = 0; k < IN; k++) top = fmaxf(top, fabsf(w[r * IN + k]));
            for (int k = 0; k < IN; k++) {
                float v = w[r * IN + k], off = fabsf(y[r * IN + k] - v);
                assert_true(off <= fabsf(v) / 16 * 1.0001f || off <= top / 448 * 0x1p-10f * 1.0001f);
            }
        }
        free(w);
        method_close(&m);
        method_close(&n);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(rows_that_32_does_not_divide_are_fp16),
        cmocka_unit_test(a_power_of_two_changes_exponents_only),
        cmocka_unit_test(the_search_finds_no_worse_than_the_rules),
        cmocka_unit_test(turned_blocks_leave_the_product_as_it_is),
        cmocka_unit_test(activations_are_rows_of_the_format),
        cmocka_unit_test(eight_bit_floats_are_rounded_to_the_nearest),
        cmocka_unit_test(eight_bit_floats_lose_a_share_of_each_weight),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
