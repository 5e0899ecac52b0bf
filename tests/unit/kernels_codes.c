/* What a device's kernels decode codes with (kernels/fmt_codes_decode.h), on the host: the bits of format->unpack. */
#include "test.h"
#include "kernels/base/rng.h"
#include "kernels/fmt_codes_decode.h"
#include <math.h>

static bl_err e;

/* Any bytes that a file may have; numbers are finite, so that bits can be compared. */
static void *random_part(const bl_part_spec *p, bl_rng *r)
{
    int64_t n = p->rows * p->cols;
    uint8_t *b = malloc((size_t)n * 4 + 64);
    for (int64_t i = 0; i < n * (int64_t)bl_dtype_bytes(p->dtype) + 64; i++) b[i] = (uint8_t)bl_rng_u32(r);
    for (int64_t i = 0; i < n; i++) {
        float v = (float)bl_rng_normal(r);
        if (p->dtype == BL_F32) ((float *)(void *)b)[i] = v;
        if (p->dtype == BL_F16) ((uint16_t *)(void *)b)[i] = bl_f32_to_f16(v);
        if (p->dtype == BL_BF16) ((uint16_t *)(void *)b)[i] = bl_f32_to_bf16(v);
        if (p->dtype == BL_I32) ((int32_t *)(void *)b)[i] = (int32_t)(bl_rng_u32(r) % 300) - 20;
        if (!strcmp(p->name, "widths")) b[i] = (uint8_t)(bl_rng_u32(r) % 9);
    }
    return b;
}

static bl_codes_kind kind_of(const bl_format *f, bl_zero zero)
{
    if (f->kind == BL_FMT_CODES) return f->codes;
    return zero == BL_ZERO_FLOAT ? BL_CODES_FLOAT : zero == BL_ZERO_MIDDLE ? BL_CODES_MIDDLE : BL_CODES_NONE;
}

static void compare(const bl_format *f, const bl_shape *g, bl_rng *r)
{
    bl_part_spec spec[BL_MAX_PARTS];
    int n = f->parts(f, g, spec);
    const void *part[BL_MAX_PARTS] = {0};
    float table[256];
    bl_codes_weight w = {.kind = kind_of(f, g->zero),
                         .bits = f->bits,
                         .scale_type = g->scale == BL_F32   ? 0
                                       : g->scale == BL_F16 ? 1
                                                            : 2,
                         .out = g->out,
                         .in = g->in,
                         .group = g->group,
                         .salient = g->salient,
                         .scale_bits = bl_shape_scale_bits(g),
                         .scale_group = bl_shape_scale_group(g),
                         .e4m3 = table,
                         .table = f->table,
                         .map = bl_format_find("dyn8")->table};
    memcpy(table, bl_format_find("fp8_e4m3")->table, sizeof table);
    for (int i = 0; i < n; i++) w.part[i] = part[i] = random_part(&spec[i], r);
    for (int64_t row = 0; row < g->out; row++)
        for (int64_t k = 0; k < g->in; k += BL_CODES_RUN) {
            int m = (int)BL_MIN(g->in - k, BL_CODES_RUN);
            float want[BL_CODES_RUN], got[BL_CODES_RUN];
            f->unpack(f, g, part, row, k, m, want);
            bl_codes_decode(&w, row, k, m, got);
            if (memcmp(want, got, (size_t)m * sizeof *got))
                fail_msg("%s, group %d, row %d: weights from %d on differ", f->name, (int)g->group, (int)row, (int)k);
        }
    for (int i = 0; i < n; i++) free((void *)(uintptr_t)part[i]);
}

static void codes_are_decoded_as_unpack_does(void **state)
{
    static const int64_t groups[] = {16, 24, 64, 200};
    static const bl_dtype scales[] = {BL_F16, BL_BF16, BL_F32};
    bl_rng r = bl_rng_at(1, bl_rng_key("codes", 0), 0);
    const bl_format *f;
    int seen = 0;
    (void)state;
    for (size_t i = 0; (f = bl_format_at(i)) != NULL; i++)
        for (size_t k = 0; k < BL_COUNT(groups) * BL_COUNT(scales); k++)
            for (int zero = f->kind == BL_FMT_INT ? BL_ZERO_FLOAT : BL_ZERO_NONE;
                 zero <= (f->kind == BL_FMT_INT ? BL_ZERO_MIDDLE : BL_ZERO_NONE); zero++) {
                bl_shape g = {.out = 5,
                              .in = 200,
                              .group = groups[k / BL_COUNT(scales)],
                              .zero = (bl_zero)zero,
                              .scale = scales[k % BL_COUNT(scales)],
                              .salient = f->salient ? 7 : 0};
                if (kind_of(f, g.zero) == BL_CODES_NONE || f->check(f, &g, &e) != BL_OK) continue;
                compare(f, &g, &r);
                seen++;
                if (!f->coded_scales) continue;
                g.scale_bits = 3;
                g.scale_group = 4;
                compare(f, &g, &r);
            }
    assert_true(seen > 200);
}

static void every_format_with_codes_of_its_own_says_how(void **state)
{
    const bl_format *f;
    (void)state;
    for (size_t i = 0; (f = bl_format_at(i)) != NULL; i++)
        assert_int_equal(f->kind == BL_FMT_CODES, f->codes != BL_CODES_NONE);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(codes_are_decoded_as_unpack_does),
        cmocka_unit_test(every_format_with_codes_of_its_own_says_how),
    };
    return cmocka_run_group_tests_name("kernels_codes", tests, NULL, NULL);
}
