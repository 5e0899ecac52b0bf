/* fmt_shift.c - nf2_shift nf3_shift nf4_shift: quantiles of a normal distribution about a number of each group, which
 * is chosen so that the codes tell most (IR-QLoRA, Qin et al. 2024, arXiv 2402.05445, section 3.2).
 *
 *     codes   [out, ceil(in b / 8)]    as in nf4
 *     scales  u8 [out groups]          as in nf4 with double_quant: with
 *     scales2 f32 [blocks]             their maximum in blocks of 256 groups
 *     offset  f32 [1]                  and their mean
 *     shifts  u8 [out groups]          signed dynamic map of shift / shifts2
 *     shifts2 f32 [blocks]             max |shift| of 256 groups in row order
 *
 * value = table[code] scale + shift. Of 201 shifts, median + f max|w - median| with f equally spaced over
 * +-0.1 / 1.8481, the first whose codes have the largest entropy (the published search, 100 steps to a side). Codes
 * come from the exact scale and shift, not from those that will be read. The table's largest value is 1: `scale` of the
 * shape is not used.
 */
#include "fmt_table.h"
#include <math.h>
#include <stdlib.h>

enum { SIDE = 100, TRIES = 2 * SIDE + 1 };

static int parts(const bl_format *f, const bl_shape *g, bl_part_spec out[BL_MAX_PARTS])
{
    const int64_t all = bl_fmt_all_groups(g), blocks = bl_fmt_blocks(all, BL_SCALES_BLOCK);
    out[0] = (bl_part_spec){"codes", BL_U8, g->out, bl_code_bytes(g->in, f->bits)};
    out[1] = (bl_part_spec){"scales", BL_U8, 1, all};
    out[2] = (bl_part_spec){"scales2", BL_F32, 1, blocks};
    out[3] = (bl_part_spec){"offset", BL_F32, 1, 1};
    out[4] = (bl_part_spec){"shifts", BL_U8, 1, all};
    out[5] = (bl_part_spec){"shifts2", BL_F32, 1, blocks};
    return 6;
}

static bl_table_group group_at(const bl_shape *g, const void *const part[], int64_t i)
{
    (void)g;
    return (bl_table_group){bl_scale_mapped(part[1], part[2], i) + *(const float *)part[3],
                            bl_scale_mapped(part[4], part[5], i)};
}

static void unpack(const bl_format *f, const bl_shape *g, const void *const part[], int64_t row, int64_t k0, int64_t n,
                   float *dst)
{
    bl_table_unpack(f, g, part, row, k0, n, group_at, dst);
}

/* ---- the search ---- */
static int ascending(const void *a, const void *b)
{
    const float x = *(const float *)a, y = *(const float *)b;
    return (x > y) - (x < y);
}

enum { KNOWN = 129 }; /* numbers whose n log2 n is at hand */

/* Sum of c log2 c over how many of the sorted weights, less the shift, have each code: the smaller, the more they tell.
 * end: where each code ended for the shift before, 0 at first; shifts come in order, so it is near. */
static double repeats(const bl_codebook *t, const float *sorted, int64_t n, float shift, float inverse,
                      const double known[KNOWN], int64_t end[256])
{
    double sum = 0;
    int64_t before = 0;
    for (int i = 0; before < n; i++) {
        int64_t at = n; /* the first that is above the bound */
        if (i + 1 < t->span) {
            const float bound = t->bound[i];
            for (at = BL_MAX(end[i], before); at > before && bound < (sorted[at - 1] - shift) * inverse;) at--;
            while (at < n && !(bound < (sorted[at] - shift) * inverse)) at++;
            end[i] = at;
        }
        const int64_t c = at - before;
        if (c) sum += c < KNOWN ? known[c] : (double)c * log2((double)c);
        before = at;
    }
    return sum;
}

/* The shift of a group; `sorted` has room for it. */
static float best_shift(const bl_codebook *t, const float *w, int64_t n, const double known[KNOWN], float *sorted)
{
    const float width = (float)(0.1 * 0.5410872368978237), step = 2 * width / (TRIES - 1);
    float best = 0;
    double least = INFINITY;
    int64_t end[256] = {0};
    memcpy(sorted, w, (size_t)n * sizeof *w);
    qsort(sorted, (size_t)n, sizeof *sorted, ascending);
    const float middle = sorted[(n - 1) / 2], reach = fmaxf(middle - sorted[0], sorted[n - 1] - middle);
    if (reach == 0) return middle;
    for (int i = 0; i < TRIES; i++) {
        const float f = i <= SIDE ? -width + step * (float)i : width - step * (float)(TRIES - 1 - i);
        const float shift = middle + f * reach, top = fmaxf(shift - sorted[0], sorted[n - 1] - shift);
        const double sum = repeats(t, sorted, n, shift, 1 / top, known, end);
        if (sum < least - 1e-9) { /* the first of equal ones */
            least = sum;
            best = shift;
        }
    }
    return best;
}

typedef struct packing {
    const bl_format *f;
    const bl_shape *g;
    const float *w;
    void *const *part;
    bl_codebook t;
    double known[KNOWN];
    float *scale, *shift; /* [out groups] */
} packing;

/* room: of a group's weights and of a row's codes. */
static bl_status pack_row(const void *ctx, int64_t r, void *room, bl_err *e)
{
    const packing *p = ctx;
    const bl_shape *g = p->g;
    float *sorted = room;
    uint8_t *q = (uint8_t *)(sorted + g->group);
    const int64_t groups = bl_shape_groups(g);
    for (int64_t i = 0; i < groups; i++) {
        const int64_t k = i * g->group, n = BL_MIN(g->group, g->in - k), at = r * groups + i;
        const float *x = p->w + r * g->in + k;
        if (!bl_all_finite(x, n)) return bl_fail_nonfinite(p->f, x, r, k, n, e);
        const float shift = best_shift(&p->t, x, n, p->known, sorted);
        float top = 0;
        for (int64_t j = 0; j < n; j++) top = fmaxf(top, fabsf(x[j] - shift));
        const float inverse = 1 / top;
        for (int64_t j = 0; j < n; j++)
            q[k + j] = top == 0 || isinf(inverse) ? p->t.zero : bl_codebook_code(&p->t, (x[j] - shift) * inverse);
        p->scale[at] = top;
        p->shift[at] = shift;
    }
    bl_codes_write((uint8_t *)p->part[0] + r * bl_code_bytes(g->in, p->f->bits), p->f->bits, g->in, q);
    return BL_OK;
}

static void quantize_shifts(const packing *p)
{
    const int64_t all = p->g->out * bl_shape_groups(p->g);
    bl_codebook map;
    bl_codebook_init(&map, bl_dynamic_map, 256);
    map.coarse = false;
    for (int64_t i = 0; i < all; i += BL_SCALES_BLOCK) {
        const int64_t n = BL_MIN(all - i, BL_SCALES_BLOCK);
        float top = 0;
        for (int64_t j = 0; j < n; j++) top = fmaxf(top, fabsf(p->shift[i + j]));
        for (int64_t j = 0; j < n; j++)
            ((uint8_t *)p->part[4])[i + j] = bl_codebook_code(&map, top > 0 ? p->shift[i + j] / top : 0);
        ((float *)p->part[5])[i / BL_SCALES_BLOCK] = top;
    }
}

static bl_status pack(const bl_format *f, const bl_shape *g, const float *w, void *const part[], bl_err *e)
{
    bl_status st = BL_OK;
    const int64_t all = g->out * bl_shape_groups(g);
    packing p = {.f = f, .g = g, .w = w, .part = part};

    BL_TRY(f->check(f, g, e));
    bl_codebook_init(&p.t, f->table, 1 << f->bits);
    for (int i = 1; i < KNOWN; i++) p.known[i] = i * log2(i);
    p.scale = bl_new((size_t)all, sizeof *p.scale, e);
    p.shift = bl_new((size_t)all, sizeof *p.shift, e);
    if (!p.scale || !p.shift) {
        st = BL_E_NOMEM;
        goto out;
    }
    BL_TRY(bl_fmt_rows(g->out, (size_t)g->group * sizeof *p.scale + (size_t)g->in, g->out * g->in > 1 << 14, pack_row,
                       &p, e));
    bl_scales_double(p.scale, all, part[1], part[2], part[3]);
    quantize_shifts(&p);
out:
    bl_free(p.shift);
    bl_free(p.scale);
    return st;
}

#define SHIFT(b, text)                                                                                                 \
    const bl_format bl_format_nf##b##_shift = {.name = "nf" #b "_shift",                                               \
                                               .doc = text,                                                            \
                                               .table = bl_nf##b,                                                      \
                                               .check = bl_fmt_check,                                                  \
                                               BL_FORMAT_OF_CODES(b, BL_CODES_SHIFT)}
SHIFT(4, "NormalFloat of 16 values about a number of each group, whose codes tell most");
SHIFT(3, "the same with 8 values");
SHIFT(2, "the same with 4 values");
