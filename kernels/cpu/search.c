/* search.c - the index of kernels/index.h. Rows go in pieces to the threads of the backend; each row answers all
 * queries of a group while its codes are in the cache, and a piece keeps what it found apart, so that threads change
 * nothing. */
#include "search.h"
#include "cpu.h"
#include <inttypes.h>

enum { PIECE = 2048, TOGETHER = 8, CODE = 127 }; /* rows of a piece, queries of a group, largest code of a row */

struct bl_index {
    bl_backend *be;
    bl_search_steps steps;
    const float *rows;
    int64_t n, dim, width, pieces; /* width: of a row of codes, a multiple of 16, zeros after dim */
    int8_t *codes;
    float *scale, *size, *off; /* s; s |c| and |r|, not smaller than they are */
};

/* ---- one row, in plain C ------------------------------------------------------------------------- */

bool bl_ref_row_codes(const float *x, int64_t n, int8_t *c, float *scale, double *size, double *off)
{
    float most = 0, check = 0;
    double squares[8] = {0}, left[8] = {0};
    for (int64_t d = 0; d < n; d++) {
        check += x[d] * 0; /* not 0 where one is not finite */
        most = fmaxf(most, fabsf(x[d]));
    }
    float s = most / CODE, by = s > 0 ? 1 / s : 0;
    if (check != 0 || !isfinite(by)) by = s = 0;
    for (int64_t d = 0; d < n; d++) {
        float q = rintf(x[d] * by);
        q = q > CODE ? CODE : q < -CODE ? -CODE : q;
        c[d] = (int8_t)q;
        double value = (double)s * q, rest = x[d] - value;
        squares[d % 8] += value * value;
        left[d % 8] += rest * rest;
    }
    *scale = s;
    *size = bl_tree8d(squares);
    *off = bl_tree8d(left);
    return check == 0;
}

int32_t bl_ref_sum_codes(const int8_t *c, const int16_t *d, int64_t width)
{
    int32_t sum = 0;
    for (int64_t i = 0; i < width; i++) sum += (int32_t)c[i] * d[i];
    return sum;
}

double bl_ref_score(const float *x, const float *q, int64_t n)
{
    double sum[8] = {0};
    for (int64_t d = 0; d < n; d++) sum[d % 8] += (double)x[d] * q[d];
    return bl_tree8d(sum);
}

static float up(double v) { return nextafterf((float)v, INFINITY); } /* not below v */

/* ---- making -------------------------------------------------------------------------------------- */

typedef struct making {
    bl_index *x;
    int64_t *bad; /* of each piece: a row that is not finite; -1 */
} making;

static void make_piece(void *ctx, int64_t i)
{
    const making *m = ctx;
    bl_index *x = m->x;
    m->bad[i] = -1;
    for (int64_t r = i * PIECE; r < BL_MIN(x->n, (i + 1) * PIECE); r++) {
        const float *row = x->rows + r * x->dim;
        int8_t *c = x->codes + r * x->width;
        double size, off;
        if (!x->steps.row_codes(row, x->dim, c, &x->scale[r], &size, &off)) {
            m->bad[i] = r;
            return;
        }
        x->size[r] = up(sqrt(size) * (1 + 1e-12));
        x->off[r] = up(sqrt(off) * (1 + 1e-12));
    }
}

bl_status bl_index_new(bl_backend *be, const float *rows, int64_t n, int64_t dim, bl_index **out, bl_err *e)
{
    bl_status st = BL_OK;
    making m = {0};
    bl_index *x = bl_new(1, sizeof *x, e);
    if (!x) return BL_E_NOMEM;
    x->be = be;
    x->rows = rows;
    x->n = n;
    x->dim = dim;
    x->width = (dim + 15) / 16 * 16;
    x->pieces = (n + PIECE - 1) / PIECE;
    x->steps = (bl_search_steps){bl_ref_row_codes, bl_ref_sum_codes, bl_ref_score};
    if (strcmp(be->ops->name, "cpu") != 0) {
        st = bl_fail(e, BL_E_UNSUPPORTED, "backend %s has no index of vectors", be->ops->name);
        goto out;
    }
#if defined(BL_HAVE_X86)
    if (((const bl_cpu *)be->own)->isa >= BL_ISA_AVX2)
        x->steps = (bl_search_steps){bl_avx2_row_codes, bl_avx2_sum_codes, bl_avx2_score};
#endif
    if (!(x->codes = bl_new((size_t)n, (size_t)x->width, e)) || !(x->scale = bl_new((size_t)n, sizeof *x->scale, e)) ||
        !(x->size = bl_new((size_t)n, sizeof *x->size, e)) || !(x->off = bl_new((size_t)n, sizeof *x->off, e)) ||
        !(m.bad = bl_new((size_t)x->pieces, sizeof *m.bad, e))) {
        st = BL_E_NOMEM;
        goto out;
    }
    m.x = x;
    if (n) BL_TRY(be->ops->each(be, &(bl_each_args){.n = x->pieces, .piece = make_piece, .ctx = &m}, e));
    for (int64_t i = 0; i < x->pieces; i++)
        if (m.bad[i] >= 0) {
            st = bl_fail(e, BL_E_NUMERIC, "vector %" PRId64 " holds a value that is not finite", m.bad[i]);
            goto out;
        }
    *out = x;
    x = NULL;
out:
    bl_free(m.bad);
    bl_index_free(x);
    return st;
}

void bl_index_free(bl_index *x)
{
    if (!x) return;
    bl_free(x->codes);
    bl_free(x->scale);
    bl_free(x->size);
    bl_free(x->off);
    bl_free(x);
}

/* ---- looking in full ----------------------------------------------------------------------------- */

static double score_of(const bl_index *x, const float *q, int64_t row)
{
    return x->steps.score(x->rows + row * x->dim, q, x->dim);
}

static bool before(bl_near a, bl_near b) { return a.score != b.score ? a.score > b.score : a.row < b.row; }

/* list[0..n) are the best so far, the best first; returns how many there are then. */
static int64_t put(bl_near *list, int64_t n, int64_t k, bl_near new)
{
    int64_t i = n < k ? n : k - 1;
    if (n == k && !before(new, list[i])) return n;
    for (; i > 0 && before(new, list[i - 1]); i--) list[i] = list[i - 1];
    list[i] = new;
    return n < k ? n + 1 : k;
}

/* The best of the lists of all pieces. */
static void join(const bl_near *lists, const int64_t *n, int64_t pieces, int64_t stride, int64_t k, bl_near *out)
{
    int64_t have = 0;
    for (int64_t p = 0; p < pieces; p++)
        for (int64_t i = 0; i < n[p * stride]; i++) have = put(out, have, k, lists[p * stride * k + i]);
    for (; have < k; have++) out[have] = (bl_near){-1, 0};
}

/* ---- looking in 8 bits --------------------------------------------------------------------------- */

typedef struct query {
    const float *q;
    int16_t *d;        /* [width] */
    double t, u, size; /* step; |u| and |q|, not smaller than they are */
    double slack; /* rounding of all sums, for vectors of length 1: each term of a score and of the bound may be off
                     by 2^-53 of itself for every sum or product that it goes through */
    double least; /* L */
} query;

typedef struct search {
    const bl_index *x;
    query query[TOGETHER];
    int64_t m, k;
    float *most;   /* [TOGETHER, n] the largest score that a row can have */
    bl_near *list; /* [pieces, TOGETHER, k] */
    int64_t *have; /* [pieces, TOGETHER] */
    int64_t *looked;
} search;

static void code_query(const bl_index *x, const float *q, query *out)
{
    int64_t limit = BL_MIN((int64_t)INT16_MAX, INT32_MAX / (CODE * x->width));
    float most = 0;
    double off = 0, size = 0;
    for (int64_t d = 0; d < x->dim; d++) most = fmaxf(most, fabsf(q[d]));
    double t = most / (double)limit;
    for (int64_t d = 0; d < x->dim; d++) {
        double code = t > 0 ? rint(q[d] / t) : 0;
        code = code > (double)limit ? (double)limit : code < (double)-limit ? (double)-limit : code;
        out->d[d] = (int16_t)code;
        off += (q[d] - t * code) * (q[d] - t * code);
        size += (double)q[d] * q[d];
    }
    for (int64_t d = x->dim; d < x->width; d++) out->d[d] = 0;
    out->q = q;
    out->t = t;
    out->u = sqrt(off) * (1 + 1e-12);
    out->size = sqrt(size) * (1 + 1e-12);
    out->slack = ((double)x->dim + 16) * 0x1p-52;
}

static void coarse_piece(void *ctx, int64_t i)
{
    const search *s = ctx;
    const bl_index *x = s->x;
    int64_t have[TOGETHER] = {0};
    for (int64_t r = i * PIECE; r < BL_MIN(x->n, (i + 1) * PIECE); r++) {
        const int8_t *c = x->codes + r * x->width;
        for (int64_t j = 0; j < s->m; j++) {
            const query *q = &s->query[j];
            double about = (double)x->scale[r] * q->t * x->steps.sum_codes(c, q->d, x->width);
            double by = x->size[r] * q->u + x->off[r] * q->size + q->slack * ((double)x->size[r] + x->off[r]) * q->size;
            s->most[j * x->n + r] = up(about + by);
            have[j] = put(s->list + (i * TOGETHER + j) * s->k, have[j], s->k, (bl_near){r, about - by});
        }
    }
    for (int64_t j = 0; j < s->m; j++) s->have[i * TOGETHER + j] = have[j];
}

static void fine_piece(void *ctx, int64_t i)
{
    const search *s = ctx;
    const bl_index *x = s->x;
    s->looked[i] = 0;
    for (int64_t j = 0; j < s->m; j++) {
        const query *q = &s->query[j];
        const float *most = s->most + j * x->n;
        int64_t have = 0;
        for (int64_t r = i * PIECE; r < BL_MIN(x->n, (i + 1) * PIECE); r++) {
            if (most[r] < q->least) continue;
            have = put(s->list + (i * TOGETHER + j) * s->k, have, s->k, (bl_near){r, score_of(x, q->q, r)});
            s->looked[i]++;
        }
        s->have[i * TOGETHER + j] = have;
    }
}

static void full_piece(void *ctx, int64_t i)
{
    const search *s = ctx;
    for (int64_t j = 0; j < s->m; j++) {
        int64_t have = 0;
        for (int64_t r = i * PIECE; r < BL_MIN(s->x->n, (i + 1) * PIECE); r++)
            have = put(s->list + (i * TOGETHER + j) * s->k, have, s->k, (bl_near){r, score_of(s->x, s->query[j].q, r)});
        s->have[i * TOGETHER + j] = have;
    }
}

static bl_status run(search *s, void (*piece)(void *ctx, int64_t i), bl_err *e)
{
    bl_backend *be = s->x->be;
    return be->ops->each(be, &(bl_each_args){.n = s->x->pieces, .piece = piece, .ctx = s}, e);
}

static bl_status group(search *s, bool coarse, bl_near *out, int64_t *whole, bl_err *e)
{
    bl_status st = BL_OK;
    const bl_index *x = s->x;
    if (coarse) {
        BL_TRY(run(s, coarse_piece, e));
        for (int64_t j = 0; j < s->m; j++) {
            bl_near *best = out + j * s->k;
            join(s->list + j * s->k, s->have + j, x->pieces, TOGETHER, s->k, best);
            s->query[j].least = best[s->k - 1].row < 0 ? -INFINITY : best[s->k - 1].score;
        }
    }
    BL_TRY(run(s, coarse ? fine_piece : full_piece, e));
    for (int64_t j = 0; j < s->m; j++) join(s->list + j * s->k, s->have + j, x->pieces, TOGETHER, s->k, out + j * s->k);
    for (int64_t i = 0; coarse && whole && i < x->pieces; i++) *whole += s->looked[i];
out:
    return st;
}

static bl_status find(const bl_index *x, const float *query, int64_t m, int64_t k, bool coarse, bl_near *out,
                      int64_t *whole, bl_err *e)
{
    bl_status st = BL_OK;
    search s = {.x = x, .k = k};
    int16_t *codes = bl_new((size_t)(TOGETHER * x->width), sizeof *codes, e);
    size_t lists = (size_t)(x->pieces * TOGETHER);

    if (whole) *whole = 0;
    if (!codes || !(s.most = bl_new((size_t)(coarse ? BL_MIN(m, TOGETHER) * x->n : 0), sizeof *s.most, e)) ||
        !(s.list = bl_new(lists * (size_t)k, sizeof *s.list, e)) || !(s.have = bl_new(lists, sizeof *s.have, e)) ||
        !(s.looked = bl_new((size_t)x->pieces, sizeof *s.looked, e))) {
        st = BL_E_NOMEM;
        goto out;
    }
    for (int64_t i = 0; i < m; i += s.m) {
        s.m = BL_MIN(m - i, TOGETHER);
        for (int64_t j = 0; j < s.m; j++) {
            const float *q = query + (i + j) * x->dim;
            for (int64_t d = 0; d < x->dim; d++)
                if (!isfinite(q[d])) {
                    st = bl_fail(e, BL_E_NUMERIC, "query %" PRId64 " holds a value that is not finite", i + j);
                    goto out;
                }
            s.query[j].d = codes + j * x->width;
            code_query(x, q, &s.query[j]);
        }
        BL_TRY(group(&s, coarse, out + i * k, whole, e));
    }
out:
    bl_free(codes);
    bl_free(s.most);
    bl_free(s.list);
    bl_free(s.have);
    bl_free(s.looked);
    return st;
}

bl_status bl_index_find(const bl_index *x, const float *query, int64_t m, int64_t k, bl_near *out, int64_t *whole,
                        bl_err *e)
{
    return find(x, query, m, k, true, out, whole, e);
}

bl_status bl_index_scan(const bl_index *x, const float *query, int64_t m, int64_t k, bl_near *out, bl_err *e)
{
    return find(x, query, m, k, false, out, NULL, e);
}
