/* fmt_nvfp4.c - nvfp4_tensor: e2m1 codes, an e4m3 scale for each group and an fp32 scale of the whole weight (NVIDIA's
 * NVFP4 with groups of 16; the block `nvfp4` of GGUF files has no scale of the weight).
 *
 *     codes    [out, ceil(in / 2)]    4 bits a weight, low first: bit 3 the sign, then 0 1/2 1 3/2 2 3 4 6
 *     scales   [out, groups]          e4m3, never negative
 *     tensor   [1, 1]                 F32
 *
 * value = e2m1[code] scale tensor. By rule: tensor = max |w| / (6 x 448), so that the largest scale is 448; scale = max
 * |w| of the group / 6 / tensor, to the nearest e4m3, half to even; codes likewise. The search keeps the scale of the
 * weight and tries, for each group, every e4m3 scale from half to four thirds of the rule's.
 */
#include "format_impl.h"
#include "fmt_table.h"
#include <math.h>

enum { BITS = 4, NEVER = 0x7f };
static const float value[16] = {0, 0.5f, 1, 1.5f, 2, 3, 4, 6, 0, -0.5f, -1, -1.5f, -2, -3, -4, -6};

static int parts(const bl_format *f, const bl_shape *g, bl_part_spec out[BL_MAX_PARTS])
{
    (void)f;
    out[0] = (bl_part_spec){"codes", BL_U8, g->out, bl_code_bytes(g->in, BITS)};
    out[1] = (bl_part_spec){"scales", BL_U8, g->out, bl_shape_groups(g)};
    out[2] = (bl_part_spec){"tensor", BL_F32, 1, 1};
    return 3;
}

static float scale_of(uint8_t s, float tensor) { return ((s & 0x7f) == NEVER ? 0 : bl_fp8_e4m3[s & 0x7f]) * tensor; }

static void unpack(const bl_format *f, const bl_shape *g, const void *const part[], int64_t row, int64_t k0, int64_t n,
                   float *dst)
{
    const uint8_t *codes = (const uint8_t *)part[0] + row * bl_code_bytes(g->in, BITS),
                  *scales = (const uint8_t *)part[1] + row * bl_shape_groups(g);
    float tensor = bl_scale_at(part[2], BL_F32, 0);
    (void)f;
    for (int64_t k = k0; k < k0 + n; k++)
        *dst++ = value[bl_code_at(codes, BITS, k)] * scale_of(scales[k / g->group], tensor);
}

static void scales(const bl_format *f, const bl_shape *g, const void *const part[], float *dst)
{
    float tensor = bl_scale_at(part[2], BL_F32, 0);
    (void)f;
    for (int64_t i = 0; i < g->out * bl_shape_groups(g); i++) dst[i] = scale_of(((const uint8_t *)part[1])[i], tensor);
}

/* The nearest e4m3 that is not negative, half to the even mantissa. */
static uint8_t e4m3(float v)
{
    int lo = 0, hi = NEVER - 1;
    while (lo < hi) { /* the first that is not below v */
        int mid = (lo + hi) / 2;
        if (bl_fp8_e4m3[mid] < v) lo = mid + 1;
        else hi = mid;
    }
    if (lo == 0 || bl_fp8_e4m3[lo] <= v) return (uint8_t)lo;
    float up = bl_fp8_e4m3[lo] - v, down = v - bl_fp8_e4m3[lo - 1];
    return (uint8_t)(down < up || (down == up && lo % 2) ? lo - 1 : lo);
}

static uint8_t e2m1(float v)
{
    float a = fabsf(bl_e2m1_round(v, true));
    uint8_t k = 0;
    while (value[k] < a) k++;
    return (uint8_t)(k | (v < 0 && k ? 8 : 0));
}

/* Codes at that scale; sum of the weighted squared errors. */
static double encode(const float *w, const float *importance, int64_t n, float scale, uint8_t *q)
{
    double error = 0;
    for (int64_t i = 0; i < n; i++) {
        q[i] = scale > 0 ? e2m1(w[i] / scale) : 0;
        double r = (double)w[i] - value[q[i]] * scale;
        error += r * r * (importance ? importance[i] : 1);
    }
    return error;
}

static bl_status pack_as(const bl_format *f, const bl_shape *g, const float *w, const float *importance, bool search,
                         void *const part[], bl_err *e)
{
    bl_status st = BL_OK;
    int64_t groups = bl_shape_groups(g), bytes = bl_code_bytes(g->in, BITS);
    float most = 0;
    uint8_t *q = NULL, *other = NULL;
    BL_TRY(bl_fmt_check(f, g, e));
    if (!(q = bl_new((size_t)g->in, 1, e)) || !(other = bl_new((size_t)g->group, 1, e))) {
        st = BL_E_NOMEM;
        goto out;
    }
    for (int64_t r = 0; r < g->out; r++) {
        const float *x = w + r * g->in;
        if (!bl_all_finite(x, g->in)) {
            st = bl_fail_nonfinite(f, x, r, 0, g->in, e);
            goto out;
        }
        for (int64_t k = 0; k < g->in; k++) most = fmaxf(most, fabsf(x[k]));
    }
    float tensor = most / (6 * 448);
    if (tensor == 0) tensor = 1;
    memcpy(part[2], &tensor, sizeof tensor);
    for (int64_t r = 0; r < g->out; r++) {
        for (int64_t i = 0; i < groups; i++) {
            int64_t k = i * g->group, n = BL_MIN(g->group, g->in - k);
            const float *x = w + r * g->in + k, *o = importance ? importance + k : NULL;
            float top = 0;
            for (int64_t j = 0; j < n; j++) top = fmaxf(top, fabsf(x[j]));
            uint8_t s = e4m3(top / 6 / tensor);
            double best = encode(x, o, n, bl_fp8_e4m3[s] * tensor, q + k);
            if (search)
                for (int t = e4m3(top / 12 / tensor), to = BL_MIN(e4m3(top / 4.5f / tensor), NEVER - 1); t <= to; t++) {
                    double error = encode(x, o, n, bl_fp8_e4m3[t] * tensor, other);
                    if (error >= best) continue;
                    best = error;
                    s = (uint8_t)t;
                    memcpy(q + k, other, (size_t)n);
                }
            ((uint8_t *)part[1])[r * groups + i] = s;
        }
        bl_codes_write((uint8_t *)part[0] + r * bytes, BITS, g->in, q);
    }
out:
    bl_free(q);
    bl_free(other);
    return st;
}

static bl_status pack(const bl_format *f, const bl_shape *g, const float *w, void *const part[], bl_err *e)
{
    return pack_as(f, g, w, NULL, false, part, e);
}
static bl_status pack_least(const bl_format *f, const bl_shape *g, const float *w, const float *importance,
                            void *const part[], bl_err *e)
{
    return pack_as(f, g, w, importance, true, part, e);
}

static void recode(const bl_format *f, const bl_shape *g, const float *w, void *const part[])
{
    int64_t groups = bl_shape_groups(g), bytes = bl_code_bytes(g->in, BITS);
    float tensor = bl_scale_at(part[2], BL_F32, 0);
    (void)f;
    for (int64_t r = 0; r < g->out; r++) {
        uint8_t *row = (uint8_t *)part[0] + r * bytes;
        memset(row, 0, (size_t)bytes);
        for (int64_t k = 0; k < g->in; k++) {
            float s = scale_of(((const uint8_t *)part[1])[r * groups + k / g->group], tensor);
            row[k / 2] |= (uint8_t)((s > 0 ? e2m1(w[r * g->in + k] / s) : 0) << k % 2 * BITS);
        }
    }
}

void bl_nvfp4_round(float *x, int64_t n)
{
    enum { GROUP = 16 };
    bool finite = bl_all_finite(x, n);
    float most = 0;
    for (int64_t k = 0; k < n; k++) most = fmaxf(most, fabsf(x[k]));
    float tensor = most > 0 ? most / (6 * 448) : 1;
    for (int64_t k = 0; k < n; k += GROUP) {
        int64_t end = BL_MIN(k + GROUP, n);
        float top = 0;
        for (int64_t j = k; j < end && finite; j++) top = fmaxf(top, fabsf(x[j]));
        float s = finite ? bl_fp8_e4m3[e4m3(top / 6 / tensor)] * tensor : 0;
        for (int64_t j = k; j < end; j++) x[j] = !finite ? NAN : s > 0 ? bl_e2m1_round(x[j] / s, true) * s : 0;
    }
}

const bl_format bl_format_nvfp4_tensor = {.name = "nvfp4_tensor",
                                          .doc = "NVFP4: e2m1 in groups, e4m3 scales, an fp32 scale of the weight",
                                          .check = bl_fmt_check,
                                          .pack_least = pack_least,
                                          .scales = scales,
                                          .recode = recode,
                                          BL_FORMAT_OF_CODES(BITS, BL_CODES_NVFP4)};
