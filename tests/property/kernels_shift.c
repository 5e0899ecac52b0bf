/* Shifts that are found by what changes from one to the next are those of trying all of them (kernels/fmt_shift.c). */
#include "kernels/base/rng.h"
#include "kernels/fmt_table.h"
#include "test.h"
#include <math.h>

enum { TRIES = 201, MOST = 200, GROUPS = 400 };

/* The definition: codes of every shift, counted; the first of the largest entropy. */
static void by_definition(const bl_codebook *t, const float *w, int64_t n, uint8_t *code)
{
    const float width = (float)(0.1 * 0.5410872368978237), step = 2 * width / (TRIES - 1);
    float sorted[MOST], best = 0;
    double most = -INFINITY;
    for (int64_t i = 0; i < n; i++) {
        int64_t at = i;
        for (; at > 0 && sorted[at - 1] > w[i]; at--) sorted[at] = sorted[at - 1];
        sorted[at] = w[i];
    }
    const float low = sorted[0], high = sorted[n - 1], middle = sorted[(n - 1) / 2],
                reach = fmaxf(middle - low, high - middle);
    for (int k = 0; reach > 0 && k < TRIES; k++) {
        const float f = k < TRIES / 2 + 1 ? -width + step * (float)k : width - step * (float)(TRIES - 1 - k),
                    shift = middle + f * reach, inverse = 1 / fmaxf(shift - low, high - shift);
        int64_t count[256] = {0};
        double entropy = 0;
        for (int64_t i = 0; i < n; i++) count[bl_codebook_code(t, (w[i] - shift) * inverse)]++;
        for (int c = 0; c < 256; c++)
            if (count[c]) entropy -= (double)count[c] / (double)n * log2((double)count[c] / (double)n);
        if (entropy > most + 1e-10) {
            most = entropy;
            best = shift;
        }
    }
    if (reach == 0) best = middle;
    float top = 0;
    for (int64_t i = 0; i < n; i++) top = fmaxf(top, fabsf(w[i] - best));
    for (int64_t i = 0; i < n; i++)
        code[i] = top == 0 || isinf(1 / top) ? t->zero : bl_codebook_code(t, (w[i] - best) * (1 / top));
}

static float weight_of(int kind, bl_rng *r)
{
    const float u = (float)(bl_rng_uniform(r) * 2 - 1);
    switch (kind) {
    case 0: return 0.02f * (u + (float)(bl_rng_uniform(r) * 2 - 1) + (float)(bl_rng_uniform(r) * 2 - 1));
    case 1: return u * u * u * u * u;
    case 2: return (float)(int)(u * 4) / 8; /* many alike */
    case 3: return 1 + 1e-6f * u;           /* hardly apart, far from 0 */
    case 4: return 3 + u;
    case 5: return 1e-38f * u;
    case 6: return u < 0.9f ? 0 : u; /* an outlier or two */
    default: return 0.125f;
    }
}

static void shifts_are_those_of_trying_all(void **state)
{
    static const char *const names[] = {"nf2_shift", "nf3_shift", "nf4_shift"};
    static const int64_t groups[] = {64, 1, 3, 31, 128, MOST};
    bl_err e = {0};
    bl_rng r = bl_rng_at(7, 7, 7);
    float *w = malloc(GROUPS * MOST * sizeof *w);
    (void)state;
    for (size_t f = 0; f < BL_COUNT(names); f++)
        for (size_t k = 0; k < BL_COUNT(groups); k++) {
            const bl_format *format = bl_format_find(names[f]);
            const int64_t n = groups[k], rows = k ? GROUPS / 10 : GROUPS;
            const bl_shape g = {.out = rows, .in = n, .group = n, .scale = BL_F32};
            bl_part_spec spec[BL_MAX_PARTS];
            void *part[BL_MAX_PARTS];
            bl_codebook t;
            for (int64_t i = 0; i < rows * n; i++) w[i] = weight_of((int)(i / n % 8), &r);
            const int n_parts = format->parts(format, &g, spec);
            for (int i = 0; i < n_parts; i++)
                part[i] = calloc((size_t)(spec[i].rows * spec[i].cols) + 8, bl_dtype_bytes(spec[i].dtype));
            assert_ok(format->pack(format, &g, w, part, &e));
            bl_codebook_init(&t, format->table, 1 << format->bits);
            for (int64_t row = 0; row < rows; row++) {
                uint8_t want[MOST];
                by_definition(&t, w + row * n, n, want);
                for (int64_t i = 0; i < n; i++) {
                    const int got = bl_code_at((const uint8_t *)part[0] + row * spec[0].cols, format->bits, i);
                    if (got != want[i])
                        fail_msg("%s, group of %d, row %d, weight %d: code %d, by trying all %d", names[f], (int)n,
                                 (int)row, (int)i, got, want[i]);
                }
            }
            for (int i = 0; i < n_parts; i++) free(part[i]);
        }
    free(w);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(shifts_are_those_of_trying_all)};
    return cmocka_run_group_tests_name("kernels_shift", tests, NULL, NULL);
}
