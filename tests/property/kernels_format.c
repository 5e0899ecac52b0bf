/* What holds for every format of the registry, on random weights of many shapes. Parts are allocated to the byte, so a
 * sanitizer build sees any access outside them. */
#include "test.h"
#include "kernels/base/rng.h"
#include "kernels/format.h"
#include <math.h>

static bl_err e;

typedef struct packed {
    const bl_format *f;
    bl_shape g;
    int n;
    bl_part_spec spec[BL_MAX_PARTS];
    void *part[BL_MAX_PARTS];
} packed;

static size_t part_bytes(const packed *p, int i)
{
    return (size_t)(p->spec[i].rows * p->spec[i].cols) * bl_dtype_bytes(p->spec[i].dtype);
}

static packed packed_new(const bl_format *f, bl_shape g)
{
    packed p = {.f = f, .g = g};
    assert_ok(f->check(f, &g, &e));
    p.n = f->parts(f, &g, p.spec);
    for (int i = 0; i < p.n; i++) {
        p.part[i] = malloc(part_bytes(&p, i));
        memset(p.part[i], 0xa5, part_bytes(&p, i)); /* every byte must be written */
    }
    return p;
}

static void packed_free(packed *p)
{
    for (int i = 0; i < p->n; i++) free(p->part[i]);
}
static const void *const *parts_of(const packed *p) { return (const void *const *)p->part; }

static float *unpacked(const packed *p)
{
    float *y = malloc((size_t)(p->g.out * p->g.in) * sizeof *y);
    for (int64_t r = 0; r < p->g.out; r++) p->f->unpack(p->f, &p->g, parts_of(p), r, 0, p->g.in, y + r * p->g.in);
    return y;
}

static float *gaussian(uint64_t seed, int64_t n, double sigma)
{
    bl_rng r = bl_rng_at(seed, bl_rng_key("kernels_format", 0), 0);
    float *w = malloc((size_t)n * sizeof *w);
    for (int64_t i = 0; i < n; i++) w[i] = (float)(sigma * bl_rng_normal(&r));
    return w;
}

static double relative_mse(const float *y, const float *w, int64_t n)
{
    double d = 0, s = 0;
    for (int64_t i = 0; i < n; i++) {
        d += ((double)y[i] - w[i]) * ((double)y[i] - w[i]);
        s += (double)w[i] * w[i];
    }
    return d / s;
}

/* ---- shapes and variants that a format can have ---- */
static const struct {
    int64_t out, in, group;
} shapes[] = {
    {1, 1, 1},     {3, 7, 7},     {2, 83, 64}, {5, 100, 17},   {4, 576, 64},
    {3, 320, 128}, {2, 512, 512}, {7, 33, 16}, {2, 1000, 300},
};
typedef void geometry_test(const bl_format *f, bl_shape g);

static void each_geometry(const bl_format *f, geometry_test *test)
{
    static const bl_dtype scales[] = {BL_F16, BL_BF16, BL_F32};
    for (size_t s = 0; s < BL_COUNT(shapes); s++) {
        bl_shape g = {.out = shapes[s].out, .in = shapes[s].in, .group = shapes[s].group, .scale = scales[s % 3]};
        if (f->kind == BL_FMT_BLOCK) g.in = (g.in + f->block - 1) / f->block * f->block;
        if (f->kind == BL_FMT_BLOCK || f->kind == BL_FMT_DENSE) g.group = 0;
        if (f->kind == BL_FMT_CODES && f->check(f, &g, NULL) != BL_OK) /* whole bytes of any width */
            g.group = BL_MIN((g.group + 7) / 8 * 8, g.in);
        test(f, g);
        if (f->salient) {
            bl_shape some = g;
            some.salient = BL_MIN((g.out * g.in + 9) / 10, g.group);
            test(f, some);
        }
        if (f->coded_scales) {
            bl_shape some = g;
            some.scale_bits = 3;
            some.scale_group = 5;
            test(f, some);
        }
        for (int z = BL_ZERO_PACKED; f->kind == BL_FMT_INT && z <= BL_ZERO_MIDDLE; z++) {
            g.zero = (bl_zero)z;
            if (f->bits > 1 || z == BL_ZERO_FLOAT) test(f, g);
        }
        if (f->kind == BL_FMT_TABLE) {
            g.double_quant = true;
            test(f, g);
        }
    }
}

static void each_format(geometry_test *test)
{
    const bl_format *f;
    for (size_t i = 0; (f = bl_format_at(i)); i++) each_geometry(f, test);
}

/* By the format's own rule, else by search. */
static bl_status pack(const bl_format *f, const bl_shape *g, const float *w, void *const part[])
{
    return f->pack ? f->pack(f, g, w, part, &e) : f->pack_least(f, g, w, NULL, part, &e);
}

static packed random_packed(const bl_format *f, bl_shape g, float **w)
{
    packed p = packed_new(f, g);
    *w = gaussian(11, g.out * g.in, 0.05);
    assert_ok(pack(f, &g, *w, p.part));
    return p;
}

/* ---- tests ---- */
static void bytes_are_those_of_the_parts(const bl_format *f, bl_shape g)
{
    bl_part_spec spec[BL_MAX_PARTS];
    uint64_t sum = 0;
    int n = f->parts(f, &g, spec);
    assert_in_range(n, 1, BL_MAX_PARTS);
    for (int i = 0; i < n; i++) sum += (uint64_t)(spec[i].rows * spec[i].cols) * bl_dtype_bytes(spec[i].dtype);
    assert_true(bl_format_bytes(f, &g) == sum);
    assert_true(bl_format_bits(f, &g) == 8.0 * (double)sum / (double)(g.out * g.in));
    assert_true(bl_format_bits(f, &g) >= f->bits);
}
static void bits_per_weight_are_bytes_stored(void **state)
{
    (void)state;
    each_format(bytes_are_those_of_the_parts);
}

/* Worst relative error of a format on Gaussian weights, rows as groups included; 1 bit leaves 36%. Bits of blocks count
 * their scales. */
static double worst_mse(const bl_format *f)
{
    static const double worst[9] = {1, 0.5, 0.8, 0.12, 0.035, 0.006, 0.002, 0.002, 0.002};
    if (f->kind == BL_FMT_DENSE) return f->bits == 32 ? 0 : 1e-5;
    return worst[f->kind == BL_FMT_BLOCK ? f->bits - 1 : f->bits];
}
static void survives(const bl_format *f, bl_shape g)
{
    float *w;
    packed p = random_packed(f, g, &w);
    float *y = unpacked(&p);
    for (int64_t i = 0; i < g.out * g.in; i++)
        if (!isfinite(y[i])) fail_msg("%s: weight %lld decodes to %g", f->name, (long long)i, (double)y[i]);
    double mse = relative_mse(y, w, g.out * g.in);
    if (g.out * g.in > 100 && mse > worst_mse(f))
        fail_msg("%s [%lld, %lld] group %lld: relative error %g", f->name, (long long)g.out, (long long)g.in,
                 (long long)g.group, mse);
    free(y);
    free(w);
    packed_free(&p);
}
static void every_format_survives_pack_and_unpack(void **state)
{
    (void)state;
    each_format(survives);
}

static void partial_equals_whole(const bl_format *f, bl_shape g)
{
    static const int64_t from[] = {0, 1, 5, 8, 31, 63, 64, 65, 200, 255}, count[] = {1, 2, 7, 8, 9, 33, 64, 300};
    float *w;
    packed p = random_packed(f, g, &w);
    float *y = unpacked(&p), part[300];
    for (size_t i = 0; i < BL_COUNT(from); i++)
        for (size_t j = 0; j < BL_COUNT(count); j++) {
            int64_t n = BL_MIN(count[j], g.in - from[i]), r = g.out - 1;
            if (n < 1) continue;
            f->unpack(f, &g, parts_of(&p), r, from[i], n, part);
            if (memcmp(part, y + r * g.in + from[i], (size_t)n * sizeof *part))
                fail_msg("%s: columns %lld + %lld differ from the whole row", f->name, (long long)from[i],
                         (long long)n);
        }
    free(y);
    free(w);
    packed_free(&p);
}
static void part_of_a_row_equals_the_whole(void **state)
{
    (void)state;
    each_format(partial_equals_whole);
}

static void writes_everything(const bl_format *f, bl_shape g)
{
    float *w;
    packed a = random_packed(f, g, &w), b = packed_new(f, g);
    for (int i = 0; i < b.n; i++) memset(b.part[i], 0, part_bytes(&b, i));
    assert_ok(pack(f, &g, w, b.part));
    for (int i = 0; i < b.n; i++)
        if (memcmp(a.part[i], b.part[i], part_bytes(&a, i)))
            fail_msg("%s: part %s depends on what was in memory", f->name, a.spec[i].name);
    free(w);
    packed_free(&a);
    packed_free(&b);
}
static void every_byte_of_every_part_is_written(void **state)
{
    (void)state;
    each_format(writes_everything);
}

/* Scales or zeros of a format that has one of each for a group. */
static float *stored_numbers(const packed *p, int part)
{
    int64_t n = p->spec[part].rows * p->spec[part].cols;
    float *v = malloc((size_t)n * sizeof *v);
    for (int64_t i = 0; i < n; i++) {
        const uint16_t *h = (const uint16_t *)p->part[part] + i;
        v[i] = p->spec[part].dtype == BL_F32   ? ((const float *)p->part[part])[i]
               : p->spec[part].dtype == BL_F16 ? bl_f16_to_f32(*h)
                                               : bl_bf16_to_f32(*h);
    }
    return v;
}

/* A decoded weight packed again gives the same values, where the scale is found again from the values: dense, tables
 * (the largest weight is kept), one bit, symmetric blocks; a search may miss it by a little. Integers are packed again
 * with the scales and zeros they had. */
static void idempotent(const bl_format *f, bl_shape g)
{
    float *w;
    if (g.double_quant || f->table == bl_format_find("dyn8")->table) return;
    bl_part_spec spec[BL_MAX_PARTS];
    if (f->kind == BL_FMT_CODES && (f->parts(f, &g, spec) > 3 || !f->encode))
        return; /* widths are a method's: methods_slim_llm.c; nvfp4_tensor: golden/kernels_fp4.c */
    packed p = random_packed(f, g, &w), again = packed_new(f, g);
    float *y = unpacked(&p);
    bool given = f->kind == BL_FMT_CODES || (f->kind == BL_FMT_INT && (f->bits > 1 || g.zero == BL_ZERO_FLOAT));
    if (f->kind == BL_FMT_CODES) {
        float *s = stored_numbers(&p, 1), *z = stored_numbers(&p, 2);
        assert_ok(f->encode(f, &g, y, s, z, again.part, &e));
        free(s);
        free(z);
    } else if (given) {
        int64_t groups = bl_shape_groups(&g);
        float *s = malloc((size_t)(g.out * groups) * sizeof *s), *z = malloc((size_t)(g.out * groups) * sizeof *z);
        for (int64_t r = 0; r < g.out; r++) bl_int_decode(f, &g, parts_of(&p), r, NULL, s + r * groups, z + r * groups);
        assert_ok(bl_int_encode(f, &g, y, NULL, s, z, again.part, &e));
        free(s);
        free(z);
    } else assert_ok(pack(f, &g, y, again.part));
    float *y2 = unpacked(&again);
    double mse = relative_mse(y2, y, g.out * g.in);
    bool exact = f->kind == BL_FMT_DENSE || given;
    if (exact ? mse != 0 : mse > (f->kind == BL_FMT_BLOCK && !f->pack ? 5e-3 : 1e-6))
        fail_msg("%s: a second pack moves the weights by %g", f->name, mse);
    free(y2);
    free(y);
    free(w);
    packed_free(&again);
    packed_free(&p);
}
static double weighted_error(const packed *p, const float *w, const float *importance)
{
    float *y = unpacked(p);
    double sum = 0;
    for (int64_t i = 0; i < p->g.out * p->g.in; i++)
        sum += importance[i % p->g.in] * ((double)y[i] - w[i]) * ((double)y[i] - w[i]);
    free(y);
    return sum;
}

/* A search that looks at importance is nearer by it than one that does not, and that is nearer than a rule. */
static void searched(const bl_format *f, bl_shape g)
{
    if (!f->pack_least || g.out * g.in > 2048) return;
    float *w = gaussian(5, g.out * g.in, 10), *uneven = gaussian(6, g.in, 1),
          *even = malloc((size_t)g.in * sizeof *even), *scaled = malloc((size_t)(g.out * g.in) * sizeof *scaled);
    packed alike = packed_new(f, g), same = packed_new(f, g), by = packed_new(f, g), rule = packed_new(f, g);
    for (int64_t k = 0; k < g.in; k++) {
        uneven[k] = expf(2 * uneven[k]);
        even[k] = 0.25f;
    }
    assert_ok(f->pack_least(f, &g, w, NULL, alike.part, &e));
    assert_ok(f->pack_least(f, &g, w, even, same.part, &e));
    assert_ok(f->pack_least(f, &g, w, uneven, by.part, &e));
    double all_alike = weighted_error(&alike, w, even), all_same = weighted_error(&same, w, even),
           by_importance = weighted_error(&by, w, uneven), without = weighted_error(&alike, w, uneven);
    if (fabs(all_alike - all_same) > 1e-3 * all_alike)
        fail_msg("%s: importance that is even everywhere gives an error of %g instead of %g", f->name, all_same,
                 all_alike);
    if (by_importance > 1.0001 * without)
        fail_msg("%s: weighted error %g, found without importance %g", f->name, by_importance, without);
    if (f->pack) {
        assert_ok(f->pack(f, &g, w, rule.part, &e));
        if (weighted_error(&rule, w, even) < all_alike * 0.9999)
            fail_msg("%s: its rule is nearer than the search", f->name);
    }
    if (f != bl_format_find("nvfp4")) { /* its scales are no power of two apart */
        for (int64_t i = 0; i < g.out * g.in; i++) scaled[i] = 8 * w[i];
        assert_ok(f->pack_least(f, &g, scaled, NULL, same.part, &e));
        float *y = unpacked(&alike), *z = unpacked(&same);
        for (int64_t i = 0; i < g.out * g.in; i++)
            if (z[i] != 8 * y[i])
                fail_msg("%s: weight %lld times 8 gives %.9g, not 8 x %.9g", f->name, (long long)i, (double)z[i],
                         (double)y[i]);
        free(y);
        free(z);
    }
    free(w);
    free(uneven);
    free(even);
    free(scaled);
    packed_free(&alike);
    packed_free(&same);
    packed_free(&by);
    packed_free(&rule);
}
static void searched_blocks_are_nearest_by_what_counts(void **state)
{
    (void)state;
    each_format(searched);
}

/* Dead inputs, rows of zeros, one weight alone, ends of the range of floats. */
static void searched_blocks_take_any_finite_weight(void **state)
{
    (void)state;
    static const float size[] = {0, 1e-42f, 1e-30f, 1e-7f, 1, 3e4f};
    const bl_format *f;
    for (size_t i = 0; (f = bl_format_at(i)); i++)
        for (size_t s = 0; f->pack_least && s < BL_COUNT(size); s++)
            for (int kind = 0; kind < 3; kind++) {
                bl_shape g = {.out = 1, .in = 256, .group = f->kind == BL_FMT_BLOCK ? 0 : 16, .scale = BL_F32};
                packed p = packed_new(f, g);
                float *w = gaussian(3, 256, 0.3), importance[256] = {0};
                for (int k = 0; k < 256; k++) {
                    w[k] = kind == 0 ? size[s] : kind == 1 ? (k == 77 ? -size[s] : 0) : size[s] * w[k];
                    importance[k] = k % 3 ? 1e-20f : 0;
                }
                assert_ok(f->pack_least(f, &g, w, kind == 2 ? (float[256]){0} : importance, p.part, &e));
                float *y = unpacked(&p);
                for (int k = 0; k < 256; k++)
                    if (!isfinite(y[k]) || fabsf(y[k]) > 4 * size[s] + 1e-6f)
                        fail_msg("%s: %g became %g", f->name, (double)w[k], (double)y[k]);
                free(y);
                free(w);
                packed_free(&p);
            }
}

static void packing_again_changes_nothing(void **state)
{
    (void)state;
    each_format(idempotent);
}

static void half_a_step(const bl_format *f, bl_shape g)
{
    if (f->kind != BL_FMT_INT || f->bits == 1) return;
    float *w, scale[64], zero[64];
    packed p = random_packed(f, g, &w);
    float *y = unpacked(&p);
    int qmax = (1 << f->bits) - 1;
    for (int64_t r = 0; r < g.out; r++) {
        bl_int_decode(f, &g, parts_of(&p), r, NULL, scale, zero);
        for (int64_t k = 0; k < g.in; k++) {
            double s = scale[k / g.group], z = zero[k / g.group], x = w[r * g.in + k], d = fabs(y[r * g.in + k] - x);
            double lo = (-z - 0.5) * s, hi = (qmax - z + 0.5) * s;
            bool clipped = x < lo || x > hi; /* by rounding of the zero point or of the stored scale only */
            if (d > (clipped ? 1.05 : 0.5 + 1e-5) * s) fail_msg("%s: error %g with a scale of %g", f->name, d, s);
        }
    }
    free(y);
    free(w);
    packed_free(&p);
}
static void integers_are_within_half_a_step(void **state)
{
    (void)state;
    each_format(half_a_step);
}

/* ---- Gaussian weights: relative errors that are known from simulation ---- */
static double gaussian_mse(const char *name, int64_t group, bl_zero zero, bl_fit_range *fit, bl_dtype scale)
{
    enum { OUT = 400, IN = 1024 };
    static float *w;
    if (!w) w = gaussian(5, OUT * IN, 1);
    packed p = packed_new(
        bl_format_find(name),
        (bl_shape){.out = OUT, .in = IN, .group = group < 0 ? IN : group, .zero = zero, .scale = scale});
    assert_ok(fit ? bl_int_encode(p.f, &p.g, w, fit, NULL, NULL, p.part, &e) : p.f->pack(p.f, &p.g, w, p.part, &e));
    float *y = unpacked(&p);
    double mse = relative_mse(y, w, OUT * IN);
    free(y);
    packed_free(&p);
    return mse;
}

static void gaussian_errors_are_the_known_ones(void **state)
{
    (void)state;
    static const struct {
        const char *name;
        bl_zero zero;
        bl_fit_range *fit;
        double want, within;
    } rows[] = {
        {"int4", BL_ZERO_I16, bl_fit_minmax, 0.0101, 0.02},
        {"int3", BL_ZERO_I16, bl_fit_minmax, 0.0467, 0.02},
        {"int2", BL_ZERO_I16, bl_fit_minmax, 0.253, 0.02},
        {"int4", BL_ZERO_NONE, bl_fit_symmetric, 0.0138, 0.02},
        {"int3", BL_ZERO_NONE, bl_fit_symmetric, 0.0747, 0.02},
        {"int2", BL_ZERO_NONE, bl_fit_symmetric, 0.589, 0.02},
        {"int1", BL_ZERO_NONE, bl_fit_sign, 1 - 2 / 3.14159265358979,
         0.02}, /* 1 - E|w|^2 / E w^2, less what 128 samples fit */
    };
    for (size_t i = 0; i < BL_COUNT(rows); i++) {
        double got = gaussian_mse(rows[i].name, 128, rows[i].zero, rows[i].fit, BL_F32);
        if (fabs(got / rows[i].want - 1) > rows[i].within)
            fail_msg("%s, row %zu: relative error %.5f, wanted %.5f", rows[i].name, i, got, rows[i].want);
    }
}

static void error_falls_with_bits_and_rises_with_the_group(void **state)
{
    (void)state;
    static const int64_t groups[] = {16, 64, 128, -1};
    for (int sym = 0; sym < 2; sym++)
        for (int b = 2; b <= 8; b++) {
            char name[8], less[8];
            snprintf(name, sizeof name, "int%d", b);
            snprintf(less, sizeof less, "int%d", b - 1);
            double last = 0;
            for (size_t i = 0; i < BL_COUNT(groups); i++) {
                bl_zero z = sym ? BL_ZERO_NONE : BL_ZERO_PACKED;
                double mse = gaussian_mse(name, groups[i], z, NULL, BL_F16);
                assert_true(mse > last);
                /* in long groups two bits that reach the largest weight are worse than the mean magnitude of one */
                if (b > 2) assert_true(mse < gaussian_mse(less, groups[i], z, NULL, BL_F16));
                last = mse;
            }
        }
}

static void normal_floats_beat_integers_on_gaussian_weights(void **state)
{
    (void)state;
    assert_true(gaussian_mse("nf4", 64, BL_ZERO_NONE, NULL, BL_F16) <
                gaussian_mse("int4", 64, BL_ZERO_NONE, NULL, BL_F16));
    assert_true(gaussian_mse("nf4", 64, BL_ZERO_NONE, NULL, BL_F16) <
                gaussian_mse("fp4", 64, BL_ZERO_NONE, NULL, BL_F16));
    assert_true(gaussian_mse("nf3", 64, BL_ZERO_NONE, NULL, BL_F16) <
                gaussian_mse("int3", 64, BL_ZERO_NONE, NULL, BL_F16));
    assert_true(gaussian_mse("nf8", 64, BL_ZERO_NONE, NULL, BL_F16) <
                gaussian_mse("fp8_e4m3", 64, BL_ZERO_NONE, NULL, BL_F16));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(bits_per_weight_are_bytes_stored),
        cmocka_unit_test(every_format_survives_pack_and_unpack),
        cmocka_unit_test(part_of_a_row_equals_the_whole),
        cmocka_unit_test(every_byte_of_every_part_is_written),
        cmocka_unit_test(packing_again_changes_nothing),
        cmocka_unit_test(searched_blocks_are_nearest_by_what_counts),
        cmocka_unit_test(searched_blocks_take_any_finite_weight),
        cmocka_unit_test(integers_are_within_half_a_step),
        cmocka_unit_test(gaussian_errors_are_the_known_ones),
        cmocka_unit_test(error_falls_with_bits_and_rises_with_the_group),
        cmocka_unit_test(normal_floats_beat_integers_on_gaussian_weights),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
