/* fmt_dense.c - fp32, fp16 and bf16: one part `weight` [out, in], no scales.
 *
 * Rounding is to nearest, ties to even. A finite weight that the 16-bit type turns into infinity is refused: one such
 * value would make every product of its row infinite.
 */
#include "format_impl.h"
#include <inttypes.h>
#include <math.h>

static bl_dtype dtype_of(const bl_format *f) { return f->bits == 32 ? BL_F32 : f->ggml_type == 1 ? BL_F16 : BL_BF16; }

static int parts(const bl_format *f, const bl_shape *g, bl_part_spec out[BL_MAX_PARTS])
{
    out[0] = (bl_part_spec){"weight", dtype_of(f), g->out, g->in};
    return 1;
}

static void unpack(const bl_format *f, const bl_shape *g, const void *const part[], int64_t row, int64_t k0, int64_t n,
                   float *dst)
{
    int64_t at = row * g->in + k0;
    const uint16_t *h = (const uint16_t *)part[0] + at;

    switch (dtype_of(f)) {
    case BL_F32: memcpy(dst, (const float *)part[0] + at, (size_t)n * sizeof *dst); break;
    case BL_F16:
        for (int64_t i = 0; i < n; i++) dst[i] = bl_f16_to_f32(h[i]);
        break;
    default:
        for (int64_t i = 0; i < n; i++) dst[i] = bl_bf16_to_f32(h[i]);
        break;
    }
}

static bl_status pack(const bl_format *f, const bl_shape *g, const float *w, void *const part[], bl_err *e)
{
    bl_dtype t = dtype_of(f);
    uint16_t *h = part[0];

    for (int64_t r = 0; r < g->out; r++, w += g->in, h += g->in) {
        if (!bl_all_finite(w, g->in)) return bl_fail_nonfinite(f, w, r, 0, g->in, e);
        if (t == BL_F32) {
            memcpy((float *)part[0] + r * g->in, w, (size_t)g->in * sizeof *w);
            continue;
        }
        for (int64_t i = 0; i < g->in; i++) {
            h[i] = t == BL_F16 ? bl_f32_to_f16(w[i]) : bl_f32_to_bf16(w[i]);
            if (!isfinite(t == BL_F16 ? bl_f16_to_f32(h[i]) : bl_bf16_to_f32(h[i])))
                return bl_fail(e, BL_E_NUMERIC,
                               "%s: the weight at row %" PRId64 ", column %" PRId64 " is %g, too large for this format",
                               f->name, r, i, (double)w[i]);
        }
    }
    return BL_OK;
}

#define DENSE(id, n_bits, type, text)                                                                                  \
    const bl_format bl_format_##id = {.name = #id,                                                                     \
                                      .doc = text,                                                                     \
                                      .kind = BL_FMT_DENSE,                                                            \
                                      .bits = n_bits,                                                                  \
                                      .ggml_type = type,                                                               \
                                      .check = bl_fmt_check,                                                           \
                                      .parts = parts,                                                                  \
                                      .unpack = unpack,                                                                \
                                      .pack = pack}
DENSE(fp32, 32, 0, "IEEE single precision");
DENSE(fp16, 16, 1, "IEEE half precision");
DENSE(bf16, 16, 30, "bfloat16: the upper half of a single");
