/* fmt_table.c - nf2 nf3 nf4 nf8, fp4, fp8_e4m3, dyn8: codes into a fixed table of values, a scale per group of inputs.
 *
 *     codes   [out, ceil(in b / 8)]       as in the integer formats: code i in bits [i b, i b + b) of its row
 *     scales  [out, groups]               F16, BF16 or F32: max |w| / largest value of the table
 *
 * value = table[code] * scale; the code is that of the nearest value to w * (1 / scale), the lower value of two equally
 * near (e4m3: the even code). The largest value is 1, in e4m3 448. A group of zeros has scale 0. Two habits of
 * bitsandbytes on a CPU are kept, so that the codes are the same: fp4 writes what rounds to 0 from above as code 8, its
 * second zero; with the dynamic map w * (1 / scale) is first rounded to 65,536 steps over -1..1, so its smallest values
 * are never used, zero beside larger weights becomes 3e-6 of the scale, and a group of zeros has code 0.
 *
 * With double_quant the scales are themselves coded, as bitsandbytes does it (QLoRA section 3):
 *
 *     scales  u8 [out groups]             signed dynamic map of (scale - offset) / scales2, blocks of 256 scales in
 *                                         row order
 *     scales2 f32 [blocks]                max |scale - offset| of the block
 *     offset  f32 [1]                     mean of all scales
 *
 * The weights' codes then come from the exact float scale, not from the one that will be read; `scale` of the geometry
 * is not used. Bits and codes equal those of bitsandbytes, but for its nibble order: it puts the first of two codes
 * into the high nibble.
 */
#include "fmt_table.h"
#include <math.h>

enum { CHUNK = 256 };

static int parts(const bl_format *f, const bl_shape *g, bl_part_spec out[BL_MAX_PARTS])
{
    const int64_t all = bl_fmt_all_groups(g);

    out[0] = (bl_part_spec){"codes", BL_U8, g->out, bl_code_bytes(g->in, f->bits)};
    if (!g->double_quant) {
        out[1] = (bl_part_spec){"scales", g->scale, g->out, bl_shape_groups(g)};
        return 2;
    }
    out[1] = (bl_part_spec){"scales", BL_U8, 1, all};
    out[2] = (bl_part_spec){"scales2", BL_F32, 1, bl_fmt_blocks(all, BL_SCALES_BLOCK)};
    out[3] = (bl_part_spec){"offset", BL_F32, 1, 1};
    return 4;
}

static bl_table_group group_at(const bl_shape *g, const void *const part[], int64_t i)
{
    return (bl_table_group){g->double_quant ? bl_scale_mapped(part[1], part[2], i) + *(const float *)part[3]
                                            : bl_scale_at(part[1], g->scale, i),
                            -0.0f};
}

static void unpack(const bl_format *f, const bl_shape *g, const void *const part[], int64_t row, int64_t k0, int64_t n,
                   float *dst)
{
    bl_table_unpack(f, g, part, row, k0, n, group_at, dst);
}

void bl_table_unpack(const bl_format *f, const bl_shape *g, const void *const part[], int64_t row, int64_t k0,
                     int64_t n, bl_table_group_at *at, float *dst)
{
    const uint8_t *codes = (const uint8_t *)part[0] + row * bl_code_bytes(g->in, f->bits);
    const int64_t groups = bl_shape_groups(g);
    uint8_t q[CHUNK];

    for (int64_t k = k0, end; k < k0 + n; k = end) {
        const int64_t i = k / g->group;
        const bl_table_group t = at(g, part, row * groups + i);
        float *d = dst + (k - k0);
        end = BL_MIN(BL_MIN(k0 + n, (i + 1) * g->group), k + CHUNK);
        bl_codes_read(codes, f->bits, k, end - k, q);
        for (int64_t j = 0; j < end - k; j++) d[j] = f->table[q[j]] * t.scale + t.shift;
    }
}

/* ---- the nearest code ---- */
void bl_codebook_init(bl_codebook *t, const float *table, int n)
{
    bool e4m3 = table == bl_fp8_e4m3;
    float value[256];
    int m = 0;

    for (int c = 0; c < n; c++) {
        if (isnan(table[c]) || (table[c] == 0 && signbit(table[c]))) continue; /* never chosen */
        int at = m++;
        for (; at > 0 && value[at - 1] > table[c]; at--) {
            value[at] = value[at - 1];
            t->code[at] = t->code[at - 1];
        }
        value[at] = table[c];
        t->code[at] = (uint8_t)c;
    }
    for (t->span = 1; t->span < m;) t->span *= 2;
    for (int i = 0; i + 1 < t->span; i++) t->bound[i] = i + 1 < m ? 0.5f * (value[i] + value[i + 1]) : INFINITY;
    if (e4m3) /* a tie goes up where the upper code is even: its bound belongs to the upper side */
        for (int i = 0; i + 1 < m; i++)
            if (t->code[i + 1] % 2 == 0) t->bound[i] = nextafterf(t->bound[i], -INFINITY);
    t->coarse = false;
    t->zero = bl_codebook_code(t, 0);
    t->coarse = table == bl_dynamic_map;
}

uint8_t bl_codebook_code(const bl_codebook *t, float x)
{
    int at = 0;

    if (t->coarse) {
        float step = fmaf((fminf(fmaxf(x, -1), 1) + 1) * 0.5f, 65535, 0.5f);
        x = 2 * truncf(step) / 65535 - 1;
    }
    for (int half = t->span / 2; half > 0; half /= 2) at += t->bound[at + half - 1] < x ? half : 0;
    return t->code[at];
}

static void encode(const bl_codebook *t, const float *w, int64_t n, float scale, uint8_t *q)
{
    float inverse = 1 / scale;

    if (scale == 0) memset(q, t->coarse ? 0 : t->zero, (size_t)n);
    else if (isinf(inverse))
        for (int64_t i = 0; i < n; i++) q[i] = bl_codebook_code(t, w[i] / scale);
    else
        for (int64_t i = 0; i < n; i++) q[i] = bl_codebook_code(t, w[i] * inverse);
}

static float max_abs(const float *w, int64_t n)
{
    float m = 0;
    for (int64_t i = 0; i < n; i++) m = fabsf(w[i]) > m ? fabsf(w[i]) : m;
    return m;
}

void bl_scales_double(float *s, int64_t n, uint8_t *code, float *tops, float *of_all)
{
    bl_codebook map;
    double sum = 0;

    for (int64_t i = 0; i < n; i++) sum += s[i];
    float mean = (float)(sum / (double)n);
    for (int64_t i = 0; i < n; i++) s[i] -= mean;

    bl_codebook_init(&map, bl_dynamic_map, 256);
    for (int64_t i = 0; i < n; i += BL_SCALES_BLOCK) {
        int64_t m = BL_MIN(n - i, BL_SCALES_BLOCK);
        float top = max_abs(s + i, m);
        encode(&map, s + i, m, top, code + i);
        tops[i / BL_SCALES_BLOCK] = top;
    }
    *of_all = mean;
}

typedef struct packing {
    const bl_format *f;
    const bl_shape *g;
    const float *w;
    void *const *part;
    bl_codebook t;
    float *exact; /* scales, for double_quant */
} packing;

/* room: of a row's codes. */
static bl_status pack_row(const void *ctx, int64_t r, void *room, bl_err *e)
{
    const packing *p = ctx;
    uint8_t *q = room;
    const bl_format *f = p->f;
    const bl_shape *g = p->g;
    const int64_t groups = bl_shape_groups(g), row_bytes = bl_code_bytes(g->in, f->bits);
    const float top = f->table == bl_fp8_e4m3 ? 448 : 1;

    for (int64_t i = 0; i < groups; i++) {
        int64_t k = i * g->group, n = BL_MIN(g->group, g->in - k), at = r * groups + i;
        const float *x = p->w + r * g->in + k;

        if (!bl_all_finite(x, n)) return bl_fail_nonfinite(f, x, r, k, n, e);
        float s = max_abs(x, n) / top;
        if (g->double_quant) p->exact[at] = s;
        else {
            float stored = bl_scale_put(p->part[1], g->scale, at, s, s > 0);
            if (!isfinite(stored)) return bl_fail_scale(f, g, r, i, s, e);
            s = stored;
        }
        if (g->double_quant && s == 0) memset(q + k, p->t.zero, (size_t)n); /* the scale that is read need not be 0 */
        else encode(&p->t, x, n, s, q + k);
    }
    bl_codes_write((uint8_t *)p->part[0] + r * row_bytes, f->bits, g->in, q);
    return BL_OK;
}

static bl_status pack(const bl_format *f, const bl_shape *g, const float *w, void *const part[], bl_err *e)
{
    bl_status st = BL_OK;
    const int64_t all = g->out * bl_shape_groups(g);
    packing p = {.f = f, .g = g, .w = w, .part = part};

    BL_TRY(f->check(f, g, e));
    bl_codebook_init(&p.t, f->table, 1 << f->bits);
    if (!(p.exact = bl_new(g->double_quant ? (size_t)all : 0, sizeof *p.exact, e))) return BL_E_NOMEM;
    BL_TRY(bl_fmt_rows(g->out, (size_t)g->in, g->out * g->in > 1 << 20, pack_row, &p, e));
    if (g->double_quant) bl_scales_double(p.exact, all, part[1], part[2], part[3]);
out:
    bl_free(p.exact);
    return st;
}

/* The nearest e4m3, half to even: a multiple of 2^(exponent - 3), of 2^-9 below 2^-6; what rounds to 0 is 0 without a
 * sign, as no code is that of -0. */
static float nearest_e4m3(float v)
{
    uint32_t bits;
    float step, inverse;
    memcpy(&bits, &v, sizeof bits);
    const uint32_t e = BL_MAX(bits >> 23 & 255, 127 - 6), up = (e - 3) << 23, down = (2 * 127 - (e - 3)) << 23;
    memcpy(&step, &up, sizeof step);
    memcpy(&inverse, &down, sizeof inverse);
    return fmaxf(fminf(rintf(v * inverse) * step, 448), -448) + 0.0f;
}

void bl_fp8_round(float *x, int64_t n)
{
    const bool finite = bl_all_finite(x, n);
    const float scale = max_abs(x, n) / 448, inverse = 1 / scale;
    for (int64_t i = 0; i < n; i++) {
        float v = scale == 0 ? 0 : isinf(inverse) ? x[i] / scale : x[i] * inverse;
        x[i] = finite ? nearest_e4m3(v) * scale : NAN;
    }
}

#define TABLE(id, b, values, text)                                                                                     \
    const bl_format bl_format_##id = {.name = #id,                                                                     \
                                      .doc = text,                                                                     \
                                      .kind = BL_FMT_TABLE,                                                            \
                                      .bits = b,                                                                       \
                                      .ggml_type = -1,                                                                 \
                                      .table = values,                                                                 \
                                      .check = bl_fmt_check,                                                           \
                                      .parts = parts,                                                                  \
                                      .unpack = unpack,                                                                \
                                      .pack = pack}
TABLE(nf2, 2, bl_nf2, "quantiles of a normal distribution, 4 values");
TABLE(nf3, 3, bl_nf3, "quantiles of a normal distribution, 8 values");
TABLE(nf4, 4, bl_nf4, "NormalFloat of QLoRA, 16 values");
TABLE(nf8, 8, bl_nf8, "quantiles of a normal distribution, 256 values");
TABLE(fp4, 4, bl_fp4, "4-bit floats of bitsandbytes");
TABLE(fp8_e4m3, 8, bl_fp8_e4m3, "8-bit floats, 4 exponent and 3 mantissa bits");
TABLE(dyn8, 8, bl_dynamic_map, "signed dynamic map of bitsandbytes, 256 values");
