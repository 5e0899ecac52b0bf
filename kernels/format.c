/* format.c - the registry of number formats and what all of them share. */
#include "format_impl.h"
#include <inttypes.h>
#include <math.h>

#define BL_FORMAT(id) extern const bl_format bl_format_##id;
#include "formats.def"
#undef BL_FORMAT

static const bl_format *const formats[] = {
#define BL_FORMAT(id) &bl_format_##id,
#include "formats.def"
#undef BL_FORMAT
};

const bl_format *bl_format_at(size_t i) { return i < BL_COUNT(formats) ? formats[i] : NULL; }

const bl_format *bl_format_find(const char *name)
{
    for (size_t i = 0; i < BL_COUNT(formats); i++)
        if (!strcmp(formats[i]->name, name)) return formats[i];
    return NULL;
}

const bl_format *bl_format_ggml(int type)
{
    for (size_t i = 0; i < BL_COUNT(formats); i++)
        if (type >= 0 && formats[i]->ggml_type == type) return formats[i];
    return NULL;
}

/* ---- shape ---- */
int64_t bl_shape_groups(const bl_shape *g) { return g->group < 1 ? 0 : g->in / g->group + (g->in % g->group != 0); }
bool bl_shape_ragged(const bl_shape *g) { return g->group > 0 && g->in % g->group != 0; }

uint64_t bl_format_bytes(const bl_format *f, const bl_shape *g)
{
    bl_part_spec spec[BL_MAX_PARTS];
    int64_t total = 0, n; /* signed: offsets are int64_t elsewhere */
    int parts = f->parts(f, g, spec);

    for (int i = 0; i < parts; i++)
        if (spec[i].rows < 0 || spec[i].cols < 0 || __builtin_mul_overflow(spec[i].rows, spec[i].cols, &n) ||
            __builtin_mul_overflow(n, (int64_t)bl_dtype_bytes(spec[i].dtype), &n) ||
            __builtin_add_overflow(total, n, &total))
            return 0;
    return (uint64_t)total;
}

double bl_format_bits(const bl_format *f, const bl_shape *g)
{
    return 8.0 * (double)bl_format_bytes(f, g) / ((double)g->out * (double)g->in);
}

bl_status bl_fmt_check(const bl_format *f, const bl_shape *g, bl_err *e)
{
    bool grouped = f->kind == BL_FMT_INT || f->kind == BL_FMT_TABLE || f->kind == BL_FMT_CODES;
    int64_t n;

    if (g->out < 1 || g->in < 1)
        return bl_fail(e, BL_E_CONFIG, "%s: a weight of %" PRId64 " x %" PRId64 " has no elements", f->name, g->out,
                       g->in);
    if (grouped && (g->group < 1 || g->group > g->in))
        return bl_fail(e, BL_E_CONFIG, "%s: group %" PRId64 " is not in 1..%" PRId64 " (the inputs)", f->name, g->group,
                       g->in);
    if (!grouped && g->group != 0)
        return bl_fail(e, BL_E_CONFIG, "%s: group %" PRId64 ", but this format has no groups to choose; expected 0",
                       f->name, g->group);
    if (grouped && g->scale != BL_F16 && g->scale != BL_BF16 && g->scale != BL_F32)
        return bl_fail(e, BL_E_CONFIG, "%s: scales cannot be %s; expected F16, BF16 or F32", f->name,
                       bl_dtype_name(g->scale));
    if (g->zero < BL_ZERO_NONE || g->zero > BL_ZERO_MIDDLE)
        return bl_fail(e, BL_E_CONFIG, "%s: unknown kind of zero point %d", f->name, (int)g->zero);
    if (g->zero != BL_ZERO_NONE && (f->kind != BL_FMT_INT || (f->bits == 1 && g->zero != BL_ZERO_FLOAT)))
        return bl_fail(e, BL_E_CONFIG, "%s: this format has no zero point", f->name);
    if (g->double_quant && f->kind != BL_FMT_TABLE)
        return bl_fail(e, BL_E_CONFIG, "%s: scales of this format cannot be quantized again (double_quant)", f->name);
    if (g->salient < 0 || (g->salient && !f->salient))
        return bl_fail(e, BL_E_CONFIG, "%s: %" PRId64 " salient weights, expected %s", f->name, g->salient,
                       f->salient ? "0 or more" : "none in this format");
    if ((g->scale_bits || g->scale_group) && !f->coded_scales)
        return bl_fail(e, BL_E_CONFIG, "%s: scales of this format are not coded, nothing is to be chosen of it",
                       f->name);
    if ((g->scale_bits && (g->scale_bits < 2 || g->scale_bits > 8)) || g->scale_group < 0)
        return bl_fail(e, BL_E_CONFIG,
                       "%s: scales of %d bits, %" PRId64 " of which share a maximum; expected 2..8 bits", f->name,
                       g->scale_bits, g->scale_group);
    if (f->kind == BL_FMT_BLOCK && g->in % f->block)
        return bl_fail(e, BL_E_CONFIG, "%s: %" PRId64 " inputs are not whole blocks of %d", f->name, g->in, f->block);
    if (__builtin_mul_overflow(g->out, g->in, &n) || bl_format_bytes(f, g) == 0)
        return bl_fail(e, BL_E_CONFIG, "%s: a weight of %" PRId64 " x %" PRId64 " is too large", f->name, g->out,
                       g->in);
    return BL_OK;
}

/* ---- what formats share ---- */
int64_t bl_fmt_all_groups(const bl_shape *g)
{
    int64_t all;
    return __builtin_mul_overflow(g->out, bl_shape_groups(g), &all) ? -1 : all;
}

bl_status bl_fmt_rows(int64_t rows, size_t room, bool threads, bl_fmt_row *row, const void *ctx, bl_err *e)
{
    int64_t bad = rows;
    bool fits = true;
#pragma omp parallel if (threads) reduction(min : bad) reduction(&& : fits)
    {
        void *own = bl_new(room, 1, NULL);
        fits = own != NULL;
#pragma omp for schedule(static)
        for (int64_t r = 0; r < rows; r++)
            if (own && bad > r && row(ctx, r, own, NULL) != BL_OK) bad = r;
        bl_free(own);
    }
    if (!fits) return bl_fail(e, BL_E_NOMEM, "no memory for the codes of a row");
    if (bad == rows) return BL_OK;
    void *own = bl_new(room, 1, e);
    bl_status st = own ? row(ctx, bad, own, e) : BL_E_NOMEM;
    bl_free(own);
    return st;
}

bl_status bl_fmt_pack_fit(const bl_format *f, const bl_shape *g, const float *w, int each, bl_fmt_fit *fit,
                          void *const part[], bl_err *e)
{
    bl_status st = BL_OK;
    float *scale = NULL, *second = NULL;
    BL_TRY(f->check(f, g, e));
    const int64_t groups = bl_shape_groups(g), all = g->out * groups;
    if (!(scale = bl_new((size_t)(all * each), sizeof *scale, e)) ||
        !(second = bl_new((size_t)(all * each), sizeof *second, e))) {
        st = BL_E_NOMEM;
        goto out;
    }
    for (int64_t i = 0; i < all; i++) {
        const int64_t k = i % groups * g->group;
        fit(w + i / groups * g->in + k, BL_MIN(g->group, g->in - k), scale + i * each, second + i * each);
    }
    BL_TRY(f->encode(f, g, w, scale, second, part, e));
out:
    bl_free(scale);
    bl_free(second);
    return st;
}

/* ---- codes ---- */
void bl_codes_read(const uint8_t *row, int b, int64_t k, int64_t n, uint8_t *q)
{
    int64_t i = 0;

    while (i < n && (k + i) % 8) {
        q[i] = bl_code_at(row, b, k + i);
        i++;
    }
    const uint8_t *p = row + (k + i) / 8 * b;
    switch (b) { /* a constant width lets the compiler unroll */
                 /* clang-format off */
#define EIGHTS(B)                                                                                                      \
    case B:                                                                                                            \
        for (; i + 8 <= n; i += 8, p += B) bl_codes_read8(p, B, q + i);                                                \
        break;
    EIGHTS(1) EIGHTS(2) EIGHTS(3) EIGHTS(4) EIGHTS(5) EIGHTS(6) EIGHTS(7)
#undef EIGHTS
    case 8:
        if (i < n) memcpy(q + i, row + k + i, (size_t)(n - i));
        i = BL_MAX(i, n);
        break;
        /* clang-format on */
    }
    for (; i < n; i++) q[i] = bl_code_at(row, b, k + i);
}

void bl_codes_write(uint8_t *row, int b, int64_t n, const uint8_t *q)
{
    for (int64_t i = 0; i < n; i += 8) {
        int m = (int)BL_MIN(n - i, 8), bytes = (m * b + 7) / 8;
        uint64_t v = 0;
        for (int j = 0; j < m; j++) v |= (uint64_t)q[i + j] << j * b;
        for (int j = 0; j < bytes; j++) *row++ = (uint8_t)(v >> 8 * j);
    }
}

/* ---- scales ---- */
float bl_scale_put(void *scales, bl_dtype t, int64_t i, float s, bool keep)
{
    if (t == BL_F32) {
        if (keep && s == 0) s = 0x1p-149f;
        memcpy((char *)scales + 4 * i, &s, 4);
        return s;
    }
    uint16_t h = t == BL_F16 ? bl_f32_to_f16(s) : bl_f32_to_bf16(s);
    if (keep && (h & 0x7fff) == 0) h |= 1;
    memcpy((char *)scales + 2 * i, &h, 2);
    return t == BL_F16 ? bl_f16_to_f32(h) : bl_bf16_to_f32(h);
}

bool bl_all_finite(const float *w, int64_t n)
{
    uint32_t bad[8] = {0}, any = 0, u[8];
    int64_t i = 0;

    for (; i + 8 <= n; i += 8) {
        memcpy(u, w + i, sizeof u);
        for (int j = 0; j < 8; j++) bad[j] |= (u[j] & 0x7f800000) == 0x7f800000;
    }
    for (int j = 0; j < 8; j++) any |= bad[j];
    for (; i < n; i++) any |= !isfinite(w[i]);
    return !any;
}

bl_status bl_fail_nonfinite(const bl_format *f, const float *w, int64_t row, int64_t k0, int64_t n, bl_err *e)
{
    int64_t i = 0;
    while (i + 1 < n && isfinite(w[i])) i++;
    return bl_fail(e, BL_E_NUMERIC, "%s: the weight at row %" PRId64 ", column %" PRId64 " is %g", f->name, row, k0 + i,
                   (double)w[i]);
}

bl_status bl_fail_scale(const bl_format *f, const bl_shape *g, int64_t row, int64_t group, float s, bl_err *e)
{
    return bl_fail(e, BL_E_NUMERIC,
                   "%s: row %" PRId64 ", group %" PRId64 ": the scale %g does not fit %s; choose bf16 or fp32 scales",
                   f->name, row, group, (double)s, bl_dtype_name(g->scale));
}
