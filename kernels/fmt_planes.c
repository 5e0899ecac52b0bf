/* fmt_planes.c - planes: the sum of two planes of bits, each with a number of the group (DB-LLM, Chen et al. 2024,
 * arXiv 2402.11960).
 *
 *     planes   [out, 2 ceil(in / 8)]   a bit a weight, low bits first: those of the first plane, then of the second
 *     scales   [out, groups]           F16, BF16 or F32: of the first
 *     seconds  [out, groups]           likewise, of the second
 *
 * value = b1 scale + b2 second. `encode` takes the second numbers for zeros.
 */
#include "format_impl.h"
#include <math.h>

static int parts(const bl_format *f, const bl_shape *g, bl_part_spec out[BL_MAX_PARTS])
{
    const int64_t groups = bl_shape_groups(g);
    (void)f;
    out[0] = (bl_part_spec){"planes", BL_U8, g->out, 2 * bl_code_bytes(g->in, 1)};
    out[1] = (bl_part_spec){"scales", g->scale, g->out, groups};
    out[2] = (bl_part_spec){"seconds", g->scale, g->out, groups};
    return 3;
}

static void unpack(const bl_format *f, const bl_shape *g, const void *const part[], int64_t row, int64_t k0, int64_t n,
                   float *dst)
{
    const int64_t bytes = bl_code_bytes(g->in, 1), groups = bl_shape_groups(g);
    const uint8_t *first = (const uint8_t *)part[0] + row * 2 * bytes, *second = first + bytes;
    float a = 0, b = 0;
    int64_t group = -1;
    (void)f;
    for (int64_t k = k0; k < k0 + n; k++) {
        if (k / g->group != group) {
            group = k / g->group;
            a = bl_scale_at(part[1], g->scale, row * groups + group);
            b = bl_scale_at(part[2], g->scale, row * groups + group);
        }
        dst[k - k0] = (bl_code_at(first, 1, k) ? a : 0) + (bl_code_at(second, 1, k) ? b : 0);
    }
}

/* Of 0, a, b, a + b the nearest, the first of equals: bit 0 for a, bit 1 for b. */
static int nearest(float w, float a, float b)
{
    const float value[4] = {0, a, b, a + b};
    int best = 0;
    for (int c = 1; c < 4; c++)
        if (fabsf(value[c] - w) < fabsf(value[best] - w)) best = c;
    return best;
}

static bl_status encode(const bl_format *f, const bl_shape *g, const float *w, const float *scale, const float *zero,
                        void *const part[], bl_err *e)
{
    bl_status st = BL_OK;
    const int64_t groups = bl_shape_groups(g), bytes = bl_code_bytes(g->in, 1);
    uint8_t *q = NULL;
    BL_TRY(bl_fmt_check(f, g, e));
    if (!(q = bl_new(2 * (size_t)g->in, 1, e))) return BL_E_NOMEM;
    for (int64_t r = 0; r < g->out; r++) {
        const float *x = w + r * g->in;
        float a = 0, b = 0;
        if (!bl_all_finite(x, g->in)) {
            st = bl_fail_nonfinite(f, x, r, 0, g->in, e);
            goto out;
        }
        for (int64_t k = 0; k < g->in; k++) {
            const int64_t at = r * groups + k / g->group;
            if (k % g->group == 0) {
                a = bl_scale_put(part[1], g->scale, at, scale[at], false);
                b = bl_scale_put(part[2], g->scale, at, zero[at], false);
                if (!isfinite(a) || !isfinite(b)) {
                    st = bl_fail_scale(f, g, r, k / g->group, isfinite(a) ? zero[at] : scale[at], e);
                    goto out;
                }
            }
            const int c = nearest(x[k], a, b);
            q[k] = c & 1;
            q[g->in + k] = (uint8_t)(c >> 1);
        }
        uint8_t *row = (uint8_t *)part[0] + r * 2 * bytes;
        bl_codes_write(row, 1, g->in, q);
        bl_codes_write(row + bytes, 1, g->in, q + g->in);
    }
out:
    bl_free(q);
    return st;
}

/* Of 2 s and -s, s in steps of a twentieth of half the largest magnitude, either sign, those with the least squared
 * error of the group: integers of 2 bits, of which the larger side has two. */
void bl_planes_fit(const float *w, int64_t n, float *scale, float *second)
{
    enum { STEPS = 20 };
    float most = 0;
    double least = INFINITY;
    for (int64_t i = 0; i < n; i++) most = fmaxf(most, fabsf(w[i]));
    *scale = most > 0 ? most : 1;
    *second = -*scale / 2;
    for (int k = 2 * STEPS; k > 0 && most > 0; k--) {
        const float s = (k > STEPS ? -0.5f : 0.5f) * most * (float)((k - 1) % STEPS + 1) / STEPS;
        double sum = 0;
        for (int64_t i = 0; i < n; i++) {
            const float x = fminf(fmaxf(rintf(w[i] / s), -1), 2) * s - w[i];
            sum += (double)x * x;
        }
        if (sum < least) {
            least = sum;
            *scale = 2 * s;
            *second = -s;
        }
    }
}

static bl_status pack(const bl_format *f, const bl_shape *g, const float *w, void *const part[], bl_err *e)
{
    return bl_fmt_pack_fit(f, g, w, 1, bl_planes_fit, part, e);
}

const bl_format bl_format_planes = {.name = "planes",
                                    .doc = "the sum of two planes of bits, each with a number of the group",
                                    .check = bl_fmt_check,
                                    .encode = encode,
                                    BL_FORMAT_OF_CODES(2, BL_CODES_PLANES)};
