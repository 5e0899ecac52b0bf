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
 * +-0.1 / 1.8481, the first whose codes have the largest entropy (the published search, 100 steps to a side). From one
 * shift to the next hardly a weight changes its code, so the search goes by those that do. Codes come from the exact
 * scale and shift, not from those that will be read. The table's largest value is 1: `scale` of the shape is not used.
 */
#include "fmt_table.h"
#include <math.h>
#include <stdlib.h>
#include <string.h>

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
/* Ascending, by how many weights go before each: no branch that could be guessed wrong, and four at a time. */
static void sort(const float *v, int n, float *to)
{
    for (int i = 0; i < n; i++) {
        const float x = v[i];
        int before = 0;
#pragma omp simd reduction(+ : before)
        for (int j = 0; j < i; j++) before += v[j] <= x;
#pragma omp simd reduction(+ : before)
        for (int j = i + 1; j < n; j++) before += v[j] < x;
        to[before] = x;
    }
}

static int ascending(const void *a, const void *b)
{
    const float x = *(const float *)a, y = *(const float *)b;
    return (x > y) - (x < y);
}

enum { KNOWN = 129 }; /* numbers whose n log2 n is at hand */

/* A group in order and what is tried of it: (x - shift) inverse is what codes are of. */
typedef struct tries {
    const bl_codebook *t;
    const double *known;
    const float *sorted;
    int64_t n;
    float middle, shift[TRIES], inverse[TRIES];
} tries;

static double repeated(const tries *s, int64_t c) { return c < KNOWN ? s->known[c] : (double)c * log2((double)c); }

/* Weight x is above bound i at try k; the later the try, the fewer are. */
static bool above(const tries *s, int i, float x, int k) { return s->t->bound[i] < (x - s->shift[k]) * s->inverse[k]; }

/* Sum of c log2 c over how many weights have each code: the smaller, the more they tell. end: where each code ended for
 * the try before, 0 at first; tries come in order, so it is near. */
static double repeats(const tries *s, int k, int64_t end[256])
{
    double sum = 0;
    int64_t before = 0;
    for (int i = 0; before < s->n; i++) {
        int64_t at = s->n; /* the first that is above the bound */
        if (i + 1 < s->t->span) {
            for (at = BL_MAX(end[i], before); at > before && above(s, i, s->sorted[at - 1], k);) at--;
            while (at < s->n && !above(s, i, s->sorted[at], k)) at++;
            end[i] = at;
        }
        sum += repeated(s, at - before);
        before = at;
    }
    return sum;
}

/* The first of the best sums: one that is less by more than rounding. */
typedef struct best {
    double least;
    int at;
} best;
static void see(best *b, double sum, int k)
{
    if (!(sum < b->least - 1e-9)) return;
    b->least = sum;
    b->at = k;
}

static int each_try(const tries *s)
{
    best b = {INFINITY, 0};
    int64_t end[256] = {0};
    for (int k = 0; k < TRIES; k++) see(&b, repeats(s, k, end), k);
    return b.at;
}

/* ---- the same by what changes: a weight crosses a bound once, downwards, and few do ---- */
enum { CROSS_MOST = 128, CROSS_SPAN = 16 }; /* weights of a group, codes */

/* The first try at which x is not above bound i, TRIES if it always is: near the shift s with (x - s) / top = bound,
 * top the larger distance to the ends. */
static int crosses(const tries *s, int i, float x)
{
    const float bound = s->t->bound[i], low = s->sorted[0], high = s->sorted[s->n - 1];
    float at = (x - bound * high) / (1 - bound);
    if (at > 0.5f * (low + high)) at = (x + bound * low) / (1 + bound);
    const float f = (at - s->middle) / (s->shift[TRIES - 1] - s->shift[0]) * (TRIES - 1) + SIDE;
    int k = f < 0 ? 0 : f > TRIES ? TRIES : (int)f;
    while (k > 0 && !above(s, i, x, k - 1)) k--;
    while (k < TRIES && above(s, i, x, k)) k++;
    return k;
}

static int each_crossing(const tries *s)
{
    int16_t first[TRIES], next[CROSS_SPAN * CROSS_MOST]; /* crossings of a try: bound by bound */
    uint8_t bound[CROSS_SPAN * CROSS_MOST];
    int64_t count[CROSS_SPAN] = {0}, at = 0;
    int n = 0;
    best b = {INFINITY, 0};
    double sum = 0;
    memset(first, 0xff, sizeof first);
    for (int i = 0; i < s->t->span; i++) {
        const int64_t before = at;
        if (i + 1 == s->t->span) at = s->n;
        while (at < s->n && !above(s, i, s->sorted[at], 0)) at++;
        count[i] = at - before;
        sum += repeated(s, count[i]);
        for (int64_t j = at; j < s->n; j++, n++) {
            const int k = crosses(s, i, s->sorted[j]);
            if (k == TRIES) break;
            bound[n] = (uint8_t)i;
            next[n] = first[k];
            first[k] = (int16_t)n;
        }
    }
    see(&b, sum, 0);
    for (int k = 1; k < TRIES; k++) {
        if (first[k] < 0) continue;
        for (int c = first[k]; c >= 0; c = next[c]) {
            int64_t *to = &count[bound[c]];
            sum -= s->known[to[0]] + s->known[to[1]];
            to[0]++;
            to[1]--; /* the bounds above it came before */
            sum += s->known[to[0]] + s->known[to[1]];
        }
        see(&b, sum, k);
    }
    return b.at;
}

static inline float larger(float a, float b) { return a > b ? a : b; } /* of numbers: fmaxf would be a call */

/* The shift of a group; `sorted` has room for it. f: of the tries, in shares of the largest distance to the median. */
static float best_shift(const bl_codebook *t, const float *w, int64_t n, const double known[KNOWN],
                        const float f[TRIES], float *sorted)
{
    tries s = {.t = t, .known = known, .sorted = sorted, .n = n};
    if (n <= CROSS_MOST) sort(w, (int)n, sorted);
    else {
        memcpy(sorted, w, (size_t)n * sizeof *w);
        qsort(sorted, (size_t)n, sizeof *sorted, ascending);
    }
    const float low = sorted[0], high = sorted[n - 1], middle = sorted[(n - 1) / 2],
                reach = larger(middle - low, high - middle);
    if (reach == 0) return middle;
    s.middle = middle;
#pragma omp simd
    for (int i = 0; i < TRIES; i++) {
        const float shift = middle + f[i] * reach;
        s.shift[i] = shift;
        s.inverse[i] = 1 / larger(shift - low, high - shift);
    }
    /* steps are far above what rounding does to a weight, so each crosses a bound but once */
    const bool fine = reach >= larger(fabsf(low), fabsf(high)) / 256 && reach > 1e-30f;
    return s.shift[fine && n <= CROSS_MOST && t->span <= CROSS_SPAN ? each_crossing(&s) : each_try(&s)];
}

typedef struct packing {
    const bl_format *format;
    const bl_shape *g;
    const float *w;
    void *const *part;
    bl_codebook t;
    double known[KNOWN];
    float f[TRIES];       /* of the shifts that are tried */
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
        if (!bl_all_finite(x, n)) return bl_fail_nonfinite(p->format, x, r, k, n, e);
        const float shift = best_shift(&p->t, x, n, p->known, p->f, sorted);
        float top = 0;
        for (int64_t j = 0; j < n; j++) top = fmaxf(top, fabsf(x[j] - shift));
        const float inverse = 1 / top;
        for (int64_t j = 0; j < n; j++)
            q[k + j] = top == 0 || isinf(inverse) ? p->t.zero : bl_codebook_code(&p->t, (x[j] - shift) * inverse);
        p->scale[at] = top;
        p->shift[at] = shift;
    }
    bl_codes_write((uint8_t *)p->part[0] + r * bl_code_bytes(g->in, p->format->bits), p->format->bits, g->in, q);
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
    packing p = {.format = f, .g = g, .w = w, .part = part};
    const float width = (float)(0.1 * 0.5410872368978237), step = 2 * width / (TRIES - 1);

    BL_TRY(f->check(f, g, e));
    bl_codebook_init(&p.t, f->table, 1 << f->bits);
    for (int i = 1; i < KNOWN; i++) p.known[i] = i * log2(i);
    for (int i = 0; i < TRIES; i++)
        p.f[i] = i <= SIDE ? -width + step * (float)i : width - step * (float)(TRIES - 1 - i);
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
