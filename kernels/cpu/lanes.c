/* lanes.c - weights into the layout of lanes.h, and single rows out of it in plain C; and the decoders of a weight that
 * know both layouts. */
#include "lanes.h"
#include "kernels/format_impl.h"
#include <omp.h>

bool bl_lanes_fit(const bl_format *f, const bl_shape *g)
{
    bool table = f->kind == BL_FMT_TABLE && f->bits <= 4 && !g->double_quant;
    bool integer = f->kind == BL_FMT_INT && (f->bits > 1 || g->zero == BL_ZERO_NONE);
    return (table || integer) && g->out % BL_BAND == 0 && g->in % BL_RUN == 0 &&
           (g->group % BL_RUN == 0 || g->group >= g->in);
}

/* Bytes of a row of part i, which has a row for each output. */
static int64_t row_bytes(const bl_tensor *t) { return t->dim[1] * (int64_t)bl_dtype_bytes(t->dtype); }

static uint8_t code_at(const uint32_t *run, int bits, int64_t lane, int k)
{
    int width[3], n = bl_lanes_planes(bits, width), at = 0;
    unsigned code = 0;
    for (int i = 0; i < n; run += BL_BAND * width[i], at += width[i], i++)
        code |=
            (run[bl_lanes_word(width[i], k) * BL_BAND + lane] >> bl_lanes_shift(width[i], k) & ((1u << width[i]) - 1))
            << at;
    return (uint8_t)code;
}

/* The rows of a band in `from` to their places in `to`. Four codes are a word with a byte each, that is a quad. */
static inline __attribute__((always_inline)) void turn_as(int bits, int64_t in, const uint8_t *from, int64_t bytes,
                                                          uint32_t *to)
{
    for (int64_t k = 0; k < in; k += BL_RUN)
        for (int64_t lane = 0; lane < BL_BAND; lane++) {
            const uint8_t *p = from + lane * bytes + k / 8 * bits;
            uint8_t q[BL_RUN];
            uint32_t quad[BL_RUN / 4];
#pragma GCC unroll 4
            for (int i = 0; i < BL_RUN; i += 8) {
                uint64_t v = 0;
                memcpy(&v, p + i / 8 * bits, (size_t)bits);
#pragma GCC unroll 8
                for (int j = 0; j < 8; j++) q[i + j] = (uint8_t)(v >> j * bits & ((1u << bits) - 1));
            }
            memcpy(quad, q, sizeof quad);
            uint32_t *word = to + k / BL_RUN * bits * BL_BAND + lane;
            int known = 0;
#pragma GCC unroll 4
            for (int plane = 8; plane; plane /= 2) {
                if (!(bits & plane)) continue;
                const int parts = 8 / plane; /* of a word */
#pragma GCC unroll 8
                for (int w = 0; w < plane; w++, word += BL_BAND) {
                    uint32_t v = 0;
#pragma GCC unroll 8
                    for (int t = 0; t < parts; t++)
                        v |= (quad[w * parts + t] >> known & ((1u << plane) - 1) * 0x01010101u) << plane * t;
                    *word = v;
                }
                known += plane;
            }
        }
}
static void turn_codes(int bits, int64_t in, const uint8_t *from, int64_t bytes, uint32_t *to)
{
    switch (bits) {
#define BITS(b)                                                                                                        \
    case b: turn_as(b, in, from, bytes, to); break;
        BITS(1)
        BITS(2) BITS(3) BITS(4) BITS(5) BITS(6) BITS(7) BITS(8)
#undef BITS
    }
}
static void turn_numbers(int64_t size, int64_t groups, const uint8_t *from, uint8_t *to)
{
    for (int64_t lane = 0; lane < BL_BAND; lane++)
        for (int64_t i = 0; i < groups; i++)
            memcpy(to + (i * BL_BAND + lane) * size, from + (lane * groups + i) * size, (size_t)size);
}
static void turn_zeros(int bits, int64_t groups, const uint8_t *from, int64_t bytes, uint8_t *to)
{
    for (int64_t i = 0; i < groups; i++) {
        uint8_t q[BL_BAND];
        for (int64_t lane = 0; lane < BL_BAND; lane++) q[lane] = bl_code_at(from + lane * bytes, bits, i);
        bl_codes_write(to + i * 2 * bits, bits, BL_BAND, q);
    }
}

bl_status bl_cpu_prepare(bl_backend *be, bl_weight *w, bl_err *e)
{
    const bl_cpu *c = be->own;
    const bl_shape *g = &w->shape;
    int64_t groups = g->group ? bl_shape_groups(g) : 0, bands = g->out / BL_BAND;
    int bits = w->format->bits, threads = bl_cpu_threads(be, (double)g->out * (double)g->in);
    if (c->isa < BL_ISA_AVX2 || w->layout || !bl_lanes_fit(w->format, g)) return BL_OK;
    for (int i = 0; i < w->n_parts; i++) {
        int64_t bytes = row_bytes(&w->part[i]);
        uint8_t *space = bl_new((size_t)(threads * BL_BAND * bytes), 1, e), *all = bl_cpu_at(&w->part[i]);
        if (!space) return BL_E_NOMEM;
#pragma omp parallel for schedule(static) num_threads(threads)
        for (int64_t b = 0; b < bands; b++) {
            uint8_t *to = all + b * BL_BAND * bytes, *from = space + omp_get_thread_num() * BL_BAND * bytes;
            memcpy(from, to, (size_t)(BL_BAND * bytes));
            if (i == 0) turn_codes(bits, g->in, from, bytes, (uint32_t *)(void *)to);
            else if (i == 2 && g->zero == BL_ZERO_PACKED) turn_zeros(bits, groups, from, bytes, to);
            else turn_numbers((int64_t)bl_dtype_bytes(w->part[i].dtype), groups, from, to);
        }
        bl_free(space);
    }
    w->layout = BL_LAYOUT_LANES;
    return BL_OK;
}

/* ---- a row in plain C ---- */
static void codes_of(const bl_weight *w, int64_t row, int64_t k0, int64_t n, uint8_t *q)
{
    int bits = w->format->bits;
    const uint8_t *band = (const uint8_t *)bl_cpu_at(&w->part[0]) + row / BL_BAND * BL_BAND * row_bytes(&w->part[0]);
    for (int64_t k = k0; k < k0 + n; k++)
        q[k - k0] = code_at((const uint32_t *)(const void *)band + k / BL_RUN * bits * BL_BAND, bits, row % BL_BAND,
                            (int)(k % BL_RUN));
}

static float scale_of(const bl_weight *w, int64_t row, int64_t groups, int64_t i)
{
    return bl_scale_at(bl_cpu_at(&w->part[1]), w->shape.scale,
                       row / BL_BAND * BL_BAND * groups + i * BL_BAND + row % BL_BAND);
}

static float zero_of(const bl_weight *w, int64_t row, int64_t groups, int64_t i)
{
    const int bits = w->format->bits;
    const uint8_t *part = bl_cpu_at(&w->part[2]);
    int64_t first = row / BL_BAND * BL_BAND, lane = row % BL_BAND, at = first * groups + i * BL_BAND + lane;
    switch (w->shape.zero) {
    case BL_ZERO_NONE: return (float)(1 << (bits - 1));
    case BL_ZERO_PACKED: return bl_code_at(part + first * row_bytes(&w->part[2]) + i * 2 * bits, bits, lane);
    case BL_ZERO_I16: return ((const int16_t *)(const void *)part)[at];
    case BL_ZERO_FLOAT: return bl_scale_at(part, w->shape.scale, at);
    case BL_ZERO_MIDDLE: break;
    }
    return (float)((1 << bits) - 1) / 2;
}

void bl_cpu_unpack(const bl_weight *w, int64_t row, int64_t k0, int64_t n, float *dst)
{
    const bl_format *f = w->format;
    const bl_shape *g = &w->shape;
    const void *part[BL_MAX_PARTS];
    bl_cpu_parts(w, part);
    if (!w->layout) {
        f->unpack(f, g, part, row, k0, n, dst);
        return;
    }
    int64_t groups = bl_shape_groups(g);
    bool integer = f->kind == BL_FMT_INT, sign = integer && f->bits == 1;
    for (int64_t k = k0; k < k0 + n; k++) {
        uint8_t q;
        float s = scale_of(w, row, groups, k / g->group);
        codes_of(w, row, k, 1, &q);
        dst[k - k0] = sign      ? (float)(2 * q - 1) * s
                      : integer ? ((float)q - zero_of(w, row, groups, k / g->group)) * s
                                : f->table[q] * s;
    }
}

void bl_cpu_int_decode(const bl_weight *w, int64_t row, uint8_t *codes, float *scale, float *zero)
{
    const void *part[BL_MAX_PARTS];
    int64_t groups = bl_shape_groups(&w->shape);
    bl_cpu_parts(w, part);
    if (!w->layout) {
        bl_int_decode(w->format, &w->shape, part, row, codes, scale, zero);
        return;
    }
    codes_of(w, row, 0, w->shape.in, codes);
    for (int64_t i = 0; i < groups; i++) {
        scale[i] = scale_of(w, row, groups, i);
        zero[i] = w->format->bits == 1 ? 0 : zero_of(w, row, groups, i);
    }
}
