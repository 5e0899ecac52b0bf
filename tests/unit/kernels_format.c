/* Dtypes, halves, geometry, bit layout, fits and tables, by examples that can be checked on paper. */
#include "test.h"
#include "data/formats_low.h"
#include "kernels/format.h"
#include "kernels/ops.h"
#include <math.h>

static bl_err e;

#define assert_close(got, want, within)                                                                                \
    do {                                                                                                               \
        double g_ = (got), w_ = (want);                                                                                \
        if (!(fabs(g_ - w_) <= (within))) fail_msg("%s is %.17g, wanted %.17g", #got, g_, w_);                         \
    } while (0)

/* ---- tensors ---- */
static void dtypes_have_names_and_sizes(void **state)
{
    (void)state;
    assert_string_equal(bl_dtype_name(BL_BF16), "BF16");
    assert_int_equal(bl_dtype_bytes(BL_I16), 2);
    assert_int_equal(bl_dtype_bytes(BL_BOOL), 1);
    assert_int_equal(bl_dtype_bytes(BL_F64), 8);
}

static void views_count_rows_and_bytes(void **state)
{
    (void)state;
    bl_buffer b = {0};
    bl_tensor t = bl_tensor_2d(&b, 64, BL_F16, 5, 7), r = bl_tensor_rows(t, 2, 3);
    assert_int_equal(bl_tensor_count(&t), 35);
    assert_int_equal(bl_tensor_bytes(&t), 70);
    assert_int_equal(r.offset, 64 + 2 * 14);
    assert_int_equal(bl_tensor_count(&r), 21);
    bl_tensor none = {0}, line = bl_tensor_1d(&b, 0, BL_F64, 9);
    assert_int_equal(bl_tensor_count(&none), 0);
    assert_int_equal(bl_tensor_bytes(&line), 72);
}

static void every_half_survives_a_round_trip(void **state)
{
    (void)state;
    for (unsigned h = 0; h < 65536; h++) {
        float f = bl_f16_to_f32((uint16_t)h), b = bl_bf16_to_f32((uint16_t)h);
        if (isnan(f)) assert_true(isnan(bl_f16_to_f32(bl_f32_to_f16(f))));
        else assert_int_equal(bl_f32_to_f16(f), h);
        if (isnan(b)) assert_true(isnan(bl_bf16_to_f32(bl_f32_to_bf16(b))));
        else assert_int_equal(bl_f32_to_bf16(b), h);
    }
}

static void halves_round_to_nearest_even(void **state)
{
    (void)state;
    static const struct {
        float f;
        uint16_t half, bf16;
    } rows[] = {
        {1.0f, 0x3c00, 0x3f80},
        {-2.0f, 0xc000, 0xc000},
        {65504.0f, 0x7bff, 0x4780},
        {65519.996f, 0x7bff, 0x4780},
        {65520.0f, 0x7c00, 0x4780},
        {1e30f, 0x7c00, 0x714a},
        {0x1p-24f, 0x0001, 0x3380},
        {0x1p-25f, 0x0000, 0x3300},
        {0x1.01p-25f, 0x0001, 0x3300},
        {1 + 0x1p-11f, 0x3c00, 0x3f80},
        {1 + 3 * 0x1p-11f, 0x3c02, 0x3f80},
        {1 + 0x1p-8f, 0x3c04, 0x3f80},
        {1 + 3 * 0x1p-8f, 0x3c0c, 0x3f82},
        {0x1.ffcp-15f, 0x0400, 0x3880},
        {-0.0f, 0x8000, 0x8000},
        {INFINITY, 0x7c00, 0x7f80},
        {0x1.fffffep127f, 0x7c00, 0x7f80},
    };
    for (size_t i = 0; i < BL_COUNT(rows); i++) {
        if (bl_f32_to_f16(rows[i].f) != rows[i].half)
            fail_msg("%a as half is %04x, wanted %04x", (double)rows[i].f, bl_f32_to_f16(rows[i].f), rows[i].half);
        if (bl_f32_to_bf16(rows[i].f) != rows[i].bf16)
            fail_msg("%a as bfloat16 is %04x, wanted %04x", (double)rows[i].f, bl_f32_to_bf16(rows[i].f), rows[i].bf16);
    }
}

/* ---- registry and geometry ---- */
static void formats_are_found_by_name_and_number(void **state)
{
    (void)state;
    const bl_format *f, *g;
    size_t i = 0;
    for (; (f = bl_format_at(i)); i++) {
        assert_ptr_equal(bl_format_find(f->name), f);
        if (f->ggml_type >= 0) assert_ptr_equal(bl_format_ggml(f->ggml_type), f);
        assert_true(f->doc && *f->doc && f->check && f->parts && f->unpack);
        for (size_t j = 0; j < i; j++) {
            g = bl_format_at(j);
            assert_string_not_equal(f->name, g->name);
        }
    }
    assert_true(i >= 40);
    assert_null(bl_format_find("int9"));
    assert_null(bl_format_ggml(4));
    assert_null(bl_format_ggml(-1));
    assert_string_equal(bl_format_ggml(12)->name, "q4_k");
}

static void refuses_geometry_that_cannot_be(void **state)
{
    (void)state;
    const int64_t huge = INT64_C(1) << 40, most = INT64_MAX;
    const struct {
        const char *format;
        bl_shape g;
        const char *phrase;
    } rows[] = {
        {"int4", {.out = 4, .in = 64, .group = 0}, "group 0"},
        {"int4", {.out = 4, .in = 64, .group = -1}, "group -1"},
        {"int4", {.out = 4, .in = 64, .group = 65}, "1..64"},
        {"int4", {.out = 0, .in = 64, .group = 16}, "no elements"},
        {"int4", {.out = 4, .in = 0, .group = 16}, "no elements"},
        {"int4", {.out = -4, .in = 64, .group = 16}, "no elements"},
        {"int4", {.out = 4, .in = 64, .group = 16, .scale = BL_I8}, "F16, BF16 or F32"},
        {"int4", {.out = 4, .in = 64, .group = 16, .zero = (bl_zero)7}, "zero point 7"},
        {"int4", {.out = 4, .in = 64, .group = 16, .double_quant = true}, "double_quant"},
        {"int4", {.out = huge, .in = huge, .group = 16}, "too large"},
        {"int1", {.out = huge, .in = 1 << 24, .group = 1 << 24}, "too large"},
        {"int8", {.out = most, .in = most, .group = most}, "too large"},
        {"int8", {.out = 1, .in = most, .group = 1}, "too large"},
        {"int1", {.out = 4, .in = 64, .group = 16, .zero = BL_ZERO_PACKED}, "no zero point"},
        {"nf4", {.out = 4, .in = 64, .group = 16, .zero = BL_ZERO_I16}, "no zero point"},
        {"nf4", {.out = 4, .in = 64, .group = 0}, "group 0"},
        {"nf4", {.out = most, .in = 8, .group = 1, .double_quant = true}, "too large"},
        {"fp16", {.out = 4, .in = 64, .group = 64}, "group 64"},
        {"fp16", {.out = 4, .in = 64, .zero = BL_ZERO_PACKED}, "no zero point"},
        {"fp32", {.out = most / 2, .in = 2}, "too large"},
        {"q4_0", {.out = 4, .in = 63}, "whole blocks of 32"},
        {"q4_k", {.out = 4, .in = 128}, "whole blocks of 256"},
        {"q4_0", {.out = 4, .in = 64, .group = 32}, "group 32"},
        {"q8_0", {.out = 1, .in = most - 31}, "too large"},
    };
    for (size_t i = 0; i < BL_COUNT(rows); i++) {
        const bl_format *f = bl_format_find(rows[i].format);
        assert_refused(f->check(f, &rows[i].g, &e), BL_E_CONFIG, rows[i].phrase);
    }
}

static void bits_per_weight_are_the_published_ones(void **state)
{
    (void)state;
    static const struct {
        const char *format;
        int64_t group;
        bl_zero zero;
        bool dq;
        bl_dtype scale;
        double bits;
    } rows[] = {
        {"int4", 128, BL_ZERO_NONE, false, BL_F16, 4.125},
        {"int4", 128, BL_ZERO_PACKED, false, BL_F16, 4.15625},
        {"int4", 128, BL_ZERO_I16, false, BL_F16, 4.25},
        {"int4", 64, BL_ZERO_PACKED, false, BL_F16, 4.3125},
        {"int3", 128, BL_ZERO_NONE, false, BL_F16, 3.125},
        {"int2", 128, BL_ZERO_PACKED, false, BL_F16, 2.140625},
        {"int4", 4096, BL_ZERO_NONE, false, BL_F16, 4.00390625},
        {"int1", 128, BL_ZERO_NONE, false, BL_F16, 1.125},
        {"int8", 128, BL_ZERO_NONE, false, BL_F32, 8.25},
        {"nf4", 64, BL_ZERO_NONE, false, BL_F32, 4.5},
        {"nf4", 64, BL_ZERO_NONE, true, BL_F32, 4 + 8.0 / 64 + 32.0 / (64 * 256) + 32.0 / (4096.0 * 4096)},
        {"fp16", 0, BL_ZERO_NONE, false, BL_F32, 16},
        {"q4_1", 0, BL_ZERO_NONE, false, BL_F32, 5},
        {"q8_0", 0, BL_ZERO_NONE, false, BL_F32, 8.5},
        {"q4_k", 0, BL_ZERO_NONE, false, BL_F32, 4.5},
        {"q6_k", 0, BL_ZERO_NONE, false, BL_F32, 6.5625},
        {"iq1_s", 0, BL_ZERO_NONE, false, BL_F32, 1.5625},
        {"nvfp4", 0, BL_ZERO_NONE, false, BL_F32, 4.5},
        {"q1_0", 0, BL_ZERO_NONE, false, BL_F32, 1.125},
        {"q2_0", 0, BL_ZERO_NONE, false, BL_F32, 2.25},
    };
    for (size_t i = 0; i < BL_COUNT(rows); i++) {
        bl_shape g = {.out = 4096,
                      .in = 4096,
                      .group = rows[i].group,
                      .zero = rows[i].zero,
                      .scale = rows[i].scale,
                      .double_quant = rows[i].dq};
        assert_ok(bl_format_find(rows[i].format)->check(bl_format_find(rows[i].format), &g, &e));
        assert_close(bl_format_bits(bl_format_find(rows[i].format), &g), rows[i].bits, 1e-12);
    }
    bl_shape short_group = {.out = 1, .in = 100, .group = 64};
    assert_int_equal(bl_shape_groups(&short_group), 2);
    assert_true(bl_shape_ragged(&short_group));
    short_group.in = 128;
    assert_false(bl_shape_ragged(&short_group));
}

/* ---- integers ---- */
static void codes_are_low_bits_first(void **state)
{
    (void)state;
    const bl_format *f = bl_format_find("int3");
    bl_shape g = {.out = 2, .in = 9, .group = 9, .scale = BL_F16};
    float w[18], one[2] = {1, 1}, y[9];
    uint8_t codes[8];
    uint16_t scales[2];
    void *part[] = {codes, scales};
    for (int i = 0; i < 18; i++) w[i] = (float)(i % 9 % 8 - 4); /* codes 0 1 2 3 4 5 6 7 0 */
    assert_ok(bl_int_encode(f, &g, w, NULL, one, NULL, part, &e));
    static const uint8_t want[8] = {0x88, 0xc6, 0xfa, 0x00, 0x88, 0xc6, 0xfa, 0x00};
    assert_memory_equal(codes, want, 8);
    assert_int_equal(scales[1], 0x3c00);
    f->unpack(f, &g, (const void *const *)part, 1, 0, 9, y);
    assert_memory_equal(y, w + 9, sizeof y);
}

static void zeros_are_packed_or_int16(void **state)
{
    (void)state;
    const bl_format *f = bl_format_find("int4");
    float w[6] = {1, 2, 3, 4, 5, 6}, scale[3] = {1, 1, 1}, zero[3] = {2, 15, 7}, y[6], got[3];
    uint8_t codes[3], packed[2];
    int16_t wide[3];
    float scales[3];
    bl_shape g = {.out = 1, .in = 6, .group = 2, .scale = BL_F32, .zero = BL_ZERO_PACKED};

    assert_ok(bl_int_encode(f, &g, w, NULL, scale, zero, (void *[]){codes, scales, packed}, &e));
    assert_int_equal(packed[0], 0xf2);
    assert_int_equal(packed[1], 0x07);
    assert_int_equal(codes[0], 0x43); /* 1 + 2, 2 + 2 */
    assert_int_equal(codes[1], 0xff); /* 3 + 15 clips */
    assert_int_equal(codes[2], 0xdc);

    g.zero = BL_ZERO_I16;
    zero[1] = -300;
    zero[0] = 0;
    scale[1] = 0.01f;
    assert_ok(bl_int_encode(f, &g, w, NULL, scale, zero, (void *[]){codes, scales, wide}, &e));
    assert_int_equal(wide[1], -300);
    f->unpack(f, &g, (const void *const[]){codes, scales, wide}, 0, 2, 2, y);
    assert_close(y[0], 3, 1e-6); /* 300 hundredths are code 0 */
    assert_close(y[1], 3.15, 1e-6);
    bl_int_decode(f, &g, (const void *const[]){codes, scales, wide}, 0, NULL, NULL, got);
    assert_memory_equal(got, zero, sizeof got);
}

static void one_bit_is_sign_times_mean_magnitude(void **state)
{
    (void)state;
    const bl_format *f = bl_format_find("int1");
    bl_shape g = {.out = 1, .in = 4, .group = 4, .scale = BL_F16};
    float w[4] = {-1, 0, -0.0f, 3}, y[4];
    uint8_t code;
    uint16_t scale;
    assert_ok(f->pack(f, &g, w, (void *[]){&code, &scale}, &e));
    assert_int_equal(code, 0x0e); /* the sign of 0 is + */
    f->unpack(f, &g, (const void *const[]){&code, &scale}, 0, 0, 4, y);
    assert_memory_equal(y, ((float[]){-1, 1, 1, 1}), sizeof y);
}

static void fits_follow_their_rules(void **state)
{
    (void)state;
    static const struct {
        bl_fit_range *fit;
        float w[4];
        int qmax;
        float scale, zero;
    } rows[] = {
        {bl_fit_zero, {0, 0, 0, 0}, 15, 2.0f / 15, 7}, /* -1..1; 1 / (2/15) is below 7.5 in float */
        {bl_fit_zero, {1, 2, 3, 1.5f}, 15, 0.2f, 0},   /* contains 0 */
        {bl_fit_zero, {-3, -2, -1, -3}, 15, 0.2f, 15},
        {bl_fit_minmax, {1, 2, 2.5f, 1.5f}, 15, 0.1f, -10}, /* outside the codes */
        {bl_fit_minmax, {0, 0, 0, 0}, 15, 1e-5f, 0},
        {bl_fit_minmax, {5, 5, 5, 5}, 15, 5e-4f, -10000}, /* grows until the zero point fits */
        {bl_fit_clip, {1, 2, 2.5f, 1.5f}, 15, 0.1f, 0},   /* the top will clip */
        {bl_fit_clip, {0, 0, 0, 0}, 15, 1e-5f / 15, 0},
        {bl_fit_symmetric, {-3, 1, 2, 0}, 7, 1, 4},
        {bl_fit_symmetric, {-3, 1, 2, 0}, 255, 3.0f / 127, 128},
        {bl_fit_symmetric, {0, 0, 0, 0}, 15, 1, 8},
        {bl_fit_symmetric, {-3, 1, 2, 0}, 3, 3, 2},
        {bl_fit_full, {-3, 1, 2, 0}, 15, 0.4f, 8},
        {bl_fit_full, {0, 0, 0, 0}, 3, 2.0f / 3, 2},
        {bl_fit_sign, {-3, 1, 2, 0}, 1, 1.5f, 0},
        /* exact on the grid of the whole range */
        {bl_fit_zero_mse, {0, 1, 2, 3}, 3, 1, 0},
        {bl_fit_symmetric_mse, {-3, 1, 2, 0}, 7, 1, 4},
    };
    for (size_t i = 0; i < BL_COUNT(rows); i++) {
        float s, z;
        rows[i].fit(rows[i].w, 4, rows[i].qmax, &s, &z);
        if (fabsf(s / rows[i].scale - 1) > 1e-6f || z != rows[i].zero)
            fail_msg("row %zu: %g, %g; wanted %g, %g", i, (double)s, (double)z, (double)rows[i].scale,
                     (double)rows[i].zero);
    }
}

/* The search against the definition, in double: no other p of the grid has a smaller sum of |w^ - w|^2.4. */
static void a_shrunk_range_has_the_least_error_of_its_grid(void **state)
{
    static bl_fit_range *const plain[] = {bl_fit_zero, bl_fit_minmax, bl_fit_clip, bl_fit_symmetric, bl_fit_full},
                               *const search[] = {bl_fit_zero_mse, bl_fit_minmax_mse, bl_fit_clip_mse,
                                                  bl_fit_symmetric_mse, bl_fit_full_mse};
    (void)state;
    for (size_t f = 0; f < BL_COUNT(plain); f++)
        for (int bits = 2; bits <= 4; bits++)
            for (int row = 0; row < 20; row++) {
                float w[75], lo = INFINITY, hi = -INFINITY, s, z, got_s, got_z;
                double least = INFINITY, got = 0;
                int qmax = (1 << bits) - 1;
                for (int i = 0; i < 75; i++) {
                    w[i] = sinf((float)(i * i + 31 * row)) * (i == 7 ? 4.0f : 1.0f) + 0.2f;
                    lo = fminf(lo, w[i]);
                    hi = fmaxf(hi, w[i]);
                }
                search[f](w, 75, qmax, &got_s, &got_z);
                for (int k = -1; k < 80; k++) {
                    double error = 0, p = 1 - 0.01 * k;
                    if (k < 0) s = got_s, z = got_z;
                    else plain[f]((float[]){(float)p * lo, (float)p * hi}, 2, qmax, &s, &z);
                    for (int i = 0; i < 75; i++) {
                        double q = fmin(fmax(rint((double)w[i] / s) + z, 0), qmax);
                        error += pow(fabs((q - z) * s - w[i]), 2.4);
                    }
                    if (k < 0) got = error;
                    else least = fmin(least, error);
                }
                if (got > least * (1 + 1e-5)) fail_msg("rule %zu, %d bits: %g, the least is %g", f, bits, got, least);
            }
}

static void sixteen_bits_are_within_half_a_step(void **state)
{
    (void)state;
    float w[256], s, z;
    for (int i = 0; i < 256; i++) w[i] = sinf((float)i * 1.7f) + 0.3f;
    bl_fit_zero(w, 256, 65535, &s, &z);
    for (int i = 0; i < 256; i++) {
        double q = rint((double)w[i] / s) + z;
        assert_true(q >= -1 && q <= 65536);
        assert_true(fabs((q - z) * s - w[i]) <= 0.5 * s * (1 + 1e-6));
    }
}

static bl_status encode8(const char *format, const float w[8], bl_fit_range *fit, bl_dtype scale, bl_zero zero,
                         const float *given_zero, float y[8])
{
    const bl_format *f = bl_format_find(format);
    bl_shape g = {.out = 2, .in = 4, .group = 4, .scale = scale, .zero = zero};
    _Alignas(8) uint8_t codes[8], scales[8], zeros[8];
    void *part[] = {codes, scales, zeros};
    float one[2] = {1, 1};
    bl_status st = bl_int_encode(f, &g, w, fit, fit ? NULL : one, given_zero, part, &e);
    for (int r = 0; st == BL_OK && r < 2; r++) f->unpack(f, &g, (const void *const *)part, r, 0, 4, y + 4 * r);
    return st;
}

static void tiny_scales_stay_finite_and_huge_ones_are_refused(void **state)
{
    (void)state;
    float y[8], tiny[8] = {1e-9f, -1e-9f, 0, 0, 1e-38f, 1e-45f, 0, -1e-45f}, huge[8] = {1, 2, 3, 4, 1, 2, 3, 2e6f};
    static const char *const formats[] = {"int1", "int2", "int4", "int8"};
    for (size_t f = 0; f < BL_COUNT(formats); f++)
        for (bl_dtype s = BL_F32; s <= BL_BF16; s++) {
            assert_ok(encode8(formats[f], tiny, f ? bl_fit_zero : bl_fit_sign, s, f ? BL_ZERO_PACKED : BL_ZERO_NONE,
                              NULL, y));
            for (int i = 0; i < 8; i++) assert_true(fabsf(y[i]) <= 1e-7f);
        }
    uint8_t codes[8];
    uint16_t scales[2];
    bl_shape g = {.out = 2, .in = 4, .group = 4, .scale = BL_F16};
    assert_ok(
        bl_int_encode(bl_format_find("int4"), &g, tiny, bl_fit_symmetric, NULL, NULL, (void *[]){codes, scales}, &e));
    assert_true(scales[0] == 1 && scales[1] == 1); /* the smallest half, not 0 */
    assert_refused(encode8("int4", huge, bl_fit_zero, BL_F16, BL_ZERO_PACKED, NULL, y), BL_E_NUMERIC,
                   "row 1, group 0: the scale 133333 does not fit F16");
    assert_ok(encode8("int4", huge, bl_fit_zero, BL_BF16, BL_ZERO_PACKED, NULL, y));
    huge[0] = -3e38f;
    huge[1] = 3e38f;
    assert_refused(encode8("int4", huge, bl_fit_zero, BL_F32, BL_ZERO_PACKED, NULL, y), BL_E_NUMERIC, "scale inf");
}

static void refuses_what_cannot_be_stored(void **state)
{
    (void)state;
    float y[8], w[8] = {1, 2, 3, 4, 5, 6, 7, 8}, bad[2] = {0, 16}, half[2] = {0.5f, 0};
    assert_refused(encode8("int4", w, NULL, BL_F32, BL_ZERO_PACKED, bad, y), BL_E_NUMERIC,
                   "row 1, group 0: zero point 16 cannot be stored in a code");
    assert_refused(encode8("int4", w, NULL, BL_F32, BL_ZERO_I16, half, y), BL_E_NUMERIC, "zero point 0.5");
    assert_refused(encode8("int4", w, NULL, BL_F32, BL_ZERO_NONE, bad, y), BL_E_NUMERIC, "symmetric");
    assert_refused(encode8("int4", w, bl_fit_minmax, BL_F32, BL_ZERO_PACKED, NULL, y), BL_E_NUMERIC, "zero point -5");
    w[6] = NAN;
    assert_refused(encode8("int4", w, bl_fit_zero, BL_F32, BL_ZERO_PACKED, NULL, y), BL_E_NUMERIC,
                   "row 1, column 2 is nan");

    static const char *const others[] = {"fp32", "fp16", "bf16", "nf4", "fp8_e4m3", "q4_0", "q8_0"};
    for (size_t i = 0; i < BL_COUNT(others); i++) {
        const bl_format *f = bl_format_find(others[i]);
        float x[64] = {0};
        _Alignas(8) uint8_t a[256], b[256];
        bl_shape g = {.out = 2, .in = 32, .group = f->kind == BL_FMT_TABLE ? 16 : 0};
        x[32 + 17] = -INFINITY;
        assert_refused(f->pack(f, &g, x, (void *[]){a, b}, &e), BL_E_NUMERIC, "row 1, column 17 is -inf");
        x[32 + 17] = 3e38f;
        if (f->block || !strcmp(others[i], "fp16"))
            assert_refused(f->pack(f, &g, x, (void *[]){a, b}, &e), BL_E_NUMERIC, "too large");
    }
}

static void no_memory_is_an_error_and_not_a_crash(void **state)
{
    (void)state;
    float y[8], w[8] = {1, 2, 3, 4, 5, 6, 7, 8};
    for (uint64_t n = 1; n <= 2; n++) {
        bl_alloc_fail_at(n, false);
        bl_status st = encode8("int4", w, bl_fit_zero, BL_F32, BL_ZERO_PACKED, NULL, y);
        bl_alloc_fail_at(0, false);
        assert_int_equal(st, BL_E_NOMEM);
    }
    const bl_format *f = bl_format_find("nf4");
    bl_shape g = {.out = 2, .in = 4, .group = 4, .double_quant = true};
    uint8_t a[64], b[64];
    float c[4], d[4];
    for (uint64_t n = 1; n <= 2; n++) {
        bl_alloc_fail_at(n, false);
        bl_status st = f->pack(f, &g, w, (void *[]){a, b, c, d}, &e);
        bl_alloc_fail_at(0, false);
        assert_int_equal(st, BL_E_NOMEM);
    }
}

/* ---- tables ---- */
static double normal_quantile(double p)
{
    double lo = -10, hi = 10;
    for (int i = 0; i < 200; i++) {
        double x = (lo + hi) / 2;
        if (0.5 * erfc(-x / sqrt(2)) < p) lo = x;
        else hi = x;
    }
    return lo;
}

static int ascending(const void *a, const void *b)
{
    return (*(const double *)a > *(const double *)b) - (*(const double *)a < *(const double *)b);
}

static void normal_floats_are_quantiles(void **state)
{
    (void)state;
    const double d = 1 - (1 / 30.0 + 1 / 32.0) / 2;
    for (int b = 2; b <= 8; b = b == 4 ? 8 : b + 1) {
        char name[8];
        double v[256];
        int n = 0, half = 1 << (b - 1);
        snprintf(name, sizeof name, "nf%u", (unsigned)b % 100);
        for (int i = 0; i < half; i++) v[n++] = normal_quantile(d + (0.5 - d) * i / half);
        for (int i = 0; i < half - 1; i++) v[n++] = -normal_quantile(d + (0.5 - d) * i / (half - 1));
        v[n++] = 0;
        qsort(v, (size_t)n, sizeof *v, ascending);
        const float *table = bl_format_find(name)->table;
        for (int i = 0; i < n; i++) assert_close(table[i], v[i] / v[n - 1], b == 4 ? 2.5e-7 : 4e-8);
        assert_true(table[half - 1] == 0 && table[0] == -1 && table[n - 1] == 1);
    }
}

static void the_dynamic_map_is_midpoints_times_powers_of_ten(void **state)
{
    (void)state;
    double v[256];
    int n = 0;
    for (int i = 0; i < 7; i++)
        for (int j = 0; j < 1 << i; j++) {
            double m = (0.1 + 0.9 * (j + 0.5) / (1 << i)) * pow(10, i - 6);
            v[n++] = m;
            v[n++] = -m;
        }
    v[n++] = 0;
    v[n++] = 1;
    assert_int_equal(n, 256);
    qsort(v, 256, sizeof *v, ascending);
    for (int i = 0; i < 256; i++) assert_close(bl_format_find("dyn8")->table[i], v[i], 6e-8);
}

static void fp8_is_e4m3(void **state)
{
    (void)state;
    const bl_format *f = bl_format_find("fp8_e4m3");
    const float *t = f->table;
    for (int c = 0; c < 256; c++) {
        int exponent = c >> 3 & 15, m = c & 7;
        double v = exponent ? ldexp(1 + m / 8.0, exponent - 7) : ldexp(m / 8.0, -6);
        if ((c & 127) == 127) assert_true(isnan(t[c]));
        else assert_true(t[c] == (float)(c & 128 ? -v : v));
    }
    /* ties to the even code; nothing becomes a negative zero; scale 1 because of 448 */
    static const struct {
        float w;
        uint8_t code;
    } rows[] = {
        {448, 0x7e},          {1.0625f, 0x38},   {1.1875f, 0x3a},
        {-1.0625f, 0xb8},     {-1.1875f, 0xba},  {0x1p-10f, 0x00},
        {3 * 0x1p-10f, 0x02}, {-0x1p-10f, 0x00}, {-3 * 0x1p-10f, 0x82},
        {1.07f, 0x39},        {-448, 0xfe},      {0, 0},
        {-0.0f, 0},           {240, 0x77},       {17, 0x58},
        {19, 0x5a},
    };
    float w[16], y[16];
    uint8_t codes[16];
    uint16_t scale;
    bl_shape g = {.out = 1, .in = 16, .group = 16, .scale = BL_F16};
    for (int i = 0; i < 16; i++) w[i] = rows[i].w;
    assert_ok(f->pack(f, &g, w, (void *[]){codes, &scale}, &e));
    assert_int_equal(scale, 0x3c00);
    for (int i = 0; i < 16; i++)
        if (codes[i] != rows[i].code) fail_msg("%g is code %02x, wanted %02x", (double)w[i], codes[i], rows[i].code);
    f->unpack(f, &g, (const void *const[]){codes, &scale}, 0, 0, 16, y);
    assert_true(y[5] == 0 && !signbit(y[5]));
}

static void tables_reproduce_their_own_values(void **state)
{
    (void)state;
    static const char *const names[] = {"nf2", "nf3", "nf4", "nf8", "fp4"};
    for (size_t i = 0; i < BL_COUNT(names); i++) {
        const bl_format *f = bl_format_find(names[i]);
        int n = 1 << f->bits;
        float w[512] = {0}, y[256];
        uint8_t codes[512];
        float scales[2];
        bl_shape g = {.out = 2, .in = n, .group = n, .scale = BL_F32};
        for (int c = 0; c < n; c++) w[c] = 3 * f->table[c]; /* the second row is zeros */
        assert_ok(f->pack(f, &g, w, (void *[]){codes, scales}, &e));
        for (int r = 0; r < 2; r++) {
            f->unpack(f, &g, (const void *const[]){codes, scales}, r, 0, n, y);
            for (int c = 0; c < n; c++) assert_close(y[c], w[n * r + c], 1e-6);
        }
        assert_true(scales[0] == 3 && scales[1] == 0);
    }
}

static void groups_of_zeros_stay_zero_when_scales_are_quantized(void **state)
{
    (void)state;
    static const char *const names[] = {"nf2", "nf4", "fp4", "nf8", "fp8_e4m3", "dyn8"};
    for (size_t i = 0; i < BL_COUNT(names); i++) {
        const bl_format *f = bl_format_find(names[i]);
        bl_shape g = {.out = 1, .in = 32, .group = 16, .double_quant = true};
        float w[32] = {0}, y[32], scales2[1], offset;
        uint8_t codes[32], scales[2];
        for (int k = 16; k < 32; k++) w[k] = (float)(k - 24);
        assert_ok(f->pack(f, &g, w, (void *[]){codes, scales, scales2, &offset}, &e));
        f->unpack(f, &g, (const void *const[]){codes, scales, scales2, &offset}, 0, 0, 32, y);
        for (int k = 0; k < 16; k++) assert_true(y[k] == 0);
    }
}

/* ---- blocks ---- */
static void q8_0_by_hand(void **state)
{
    (void)state;
    const bl_format *f = bl_format_find("q8_0");
    bl_shape g = {.out = 1, .in = 32};
    float w[32], y[32];
    uint8_t block[34];
    for (int k = 0; k < 32; k++) w[k] = (float)(k - 16);
    w[0] = -127;
    w[1] = 0.5f; /* half away from zero */
    assert_ok(f->pack(f, &g, w, (void *[]){block}, &e));
    assert_true(block[0] == 0x00 && block[1] == 0x3c && block[2] == 0x81 && block[3] == 1 && block[33] == 15);
    f->unpack(f, &g, (const void *const[]){block}, 0, 0, 32, y);
    w[1] = 1;
    assert_memory_equal(y, w, sizeof w);
}

static void assert_block(const char *name, const uint8_t *bytes, const float *want, int64_t n)
{
    const bl_format *f = bl_format_find(name);
    float y[128];
    assert_non_null(f);
    f->unpack(f, &(bl_shape){.out = 1, .in = n}, (const void *const[]){bytes}, 0, 0, n, y);
    for (int64_t i = 0; i < n; i++)
        if (y[i] != want[i]) fail_msg("%s: weight %lld is %.9g, wanted %.9g", name, (long long)i, y[i], want[i]);
}

static void blocks_of_few_bits_are_read_as_ggml_reads_them(void **state)
{
    (void)state;
    assert_ptr_equal(bl_format_ggml(40), bl_format_find("nvfp4"));
    assert_ptr_equal(bl_format_ggml(41), bl_format_find("q1_0"));
    assert_ptr_equal(bl_format_ggml(42), bl_format_find("q2_0"));
    assert_block("nvfp4", nvfp4_bytes, nvfp4_values, BL_COUNT(nvfp4_values));
    assert_block("q1_0", q1_0_bytes, q1_0_values, BL_COUNT(q1_0_values));
    assert_block("q2_0", q2_0_bytes, q2_0_values, BL_COUNT(q2_0_values));
    for (int s = 0; s < 256; s++) {
        uint8_t block[36] = {(uint8_t)s, 0, 0, 0, 2};
        const bl_format *f = bl_format_find("nvfp4");
        float y[64];
        f->unpack(f, &(bl_shape){.out = 1, .in = 64}, (const void *const[]){block}, 0, 0, 64, y);
        if (y[0] != nvfp4_scales[s]) fail_msg("scale %d is %.9g, wanted %.9g", s, y[0], nvfp4_scales[s]);
    }
}

/* 2^(e - 128) times the doubled integers, so that 1/2 at the largest exponent is a number, and the least is subnormal.
 */
static void mxfp4_at_both_ends_of_its_exponent(void **state)
{
    static const struct {
        uint8_t e, code;
        float value;
    } rows[] = {{255, 0, 0},       {255, 1, 0x1p127f}, {255, 9, -0x1p127f}, {254, 2, 0x1p127f},
                {1, 1, 0x1p-127f}, {0, 1, 0x1p-128f},  {0, 7, 0x1.8p-125f}, {0, 15, -0x1.8p-125f}};
    (void)state;
    for (size_t i = 0; i < BL_COUNT(rows); i++) {
        const uint8_t block[17] = {rows[i].e, rows[i].code};
        float want[32] = {rows[i].value};
        assert_block("mxfp4", block, want, 32);
    }
}

/* ---- weights ---- */
static uint64_t handed_out;
static bl_status give(bl_backend *be, uint64_t bytes, bl_buffer **out, bl_err *err)
{
    if (bytes > 1 << 20) return bl_fail(err, BL_E_DEVMEM, "no room");
    bl_buffer *b = malloc(sizeof *b);
    *b = (bl_buffer){.backend = be, .bytes = bytes, .data = malloc(bytes)};
    handed_out += bytes;
    *out = b;
    return BL_OK;
}
static void take(bl_buffer *b)
{
    if (!b) return;
    handed_out -= b->bytes;
    free(b->data);
    free(b);
}

static void parts_of_a_weight_are_aligned_and_readable_after(void **state)
{
    (void)state;
    static const bl_ops ops = {.buffer_new = give, .buffer_free = take};
    bl_backend be = {.ops = &ops};
    bl_shape g = {.out = 5, .in = 83, .group = 64, .zero = BL_ZERO_PACKED, .scale = BL_F16};
    bl_weight w = {0};
    const bl_format *f = bl_format_find("int3");

    assert_ok(bl_weight_new(&be, f, &g, &w, &e));
    assert_int_equal(w.n_parts, 3);
    uint64_t end = 0;
    for (int i = 0; i < w.n_parts; i++) {
        assert_int_equal(w.part[i].offset % 64, 0);
        assert_true(w.part[i].offset >= end);
        end = w.part[i].offset + bl_tensor_bytes(&w.part[i]);
        assert_true(end + 64 <= w.owned->bytes);
    }
    assert_int_equal(bl_weight_bytes(&w), 5 * 32 + 5 * 2 * 2 + 5);
    assert_int_equal(bl_weight_bytes(&w), bl_format_bytes(f, &g));
    bl_weight_free(&w);
    assert_null(w.format);
    bl_weight_free(&w);
    bl_weight_free(NULL);
    assert_int_equal(handed_out, 0);
    assert_int_equal(bl_weight_bytes(&w), 0);

    g.group = 0;
    assert_refused(bl_weight_new(&be, f, &g, &w, &e), BL_E_CONFIG, "group 0");
    g = (bl_shape){.out = 4096, .in = 4096, .group = 64};
    assert_refused(bl_weight_new(&be, f, &g, &w, &e), BL_E_DEVMEM, "no room");
    assert_null(w.owned);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(dtypes_have_names_and_sizes),
        cmocka_unit_test(views_count_rows_and_bytes),
        cmocka_unit_test(every_half_survives_a_round_trip),
        cmocka_unit_test(halves_round_to_nearest_even),
        cmocka_unit_test(formats_are_found_by_name_and_number),
        cmocka_unit_test(refuses_geometry_that_cannot_be),
        cmocka_unit_test(bits_per_weight_are_the_published_ones),
        cmocka_unit_test(codes_are_low_bits_first),
        cmocka_unit_test(zeros_are_packed_or_int16),
        cmocka_unit_test(one_bit_is_sign_times_mean_magnitude),
        cmocka_unit_test(fits_follow_their_rules),
        cmocka_unit_test(a_shrunk_range_has_the_least_error_of_its_grid),
        cmocka_unit_test(sixteen_bits_are_within_half_a_step),
        cmocka_unit_test(tiny_scales_stay_finite_and_huge_ones_are_refused),
        cmocka_unit_test(refuses_what_cannot_be_stored),
        cmocka_unit_test(no_memory_is_an_error_and_not_a_crash),
        cmocka_unit_test(normal_floats_are_quantiles),
        cmocka_unit_test(the_dynamic_map_is_midpoints_times_powers_of_ten),
        cmocka_unit_test(fp8_is_e4m3),
        cmocka_unit_test(tables_reproduce_their_own_values),
        cmocka_unit_test(groups_of_zeros_stay_zero_when_scales_are_quantized),
        cmocka_unit_test(q8_0_by_hand),
        cmocka_unit_test(blocks_of_few_bits_are_read_as_ggml_reads_them),
        cmocka_unit_test(mxfp4_at_both_ends_of_its_exponent),
        cmocka_unit_test(parts_of_a_weight_are_aligned_and_readable_after),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
