/* fmt_gguf_fit.c - the search for d and the steps of scaled and affine blocks. */
#include "fmt_gguf_fit.h"
#include <inttypes.h>
#include <math.h>

enum { CANDIDATES = 48, KEPT = 3, ROUNDS = 6 };

/* ---- blocks of a weight ---- */
static void relative_importance(const float *importance, int64_t n, float *o)
{
    double sum = 0;
    for (int64_t k = 0; importance && k < n; k++) sum += importance[k];
    for (int64_t k = 0; k < n; k++) o[k] = sum > 0 ? (float)((double)importance[k] * (double)n / sum) + 1e-6f : 1;
}

bl_status bl_block_pack_least(const bl_format *f, const bl_shape *g, const float *w, const float *importance,
                              void *const part[], bl_block_least *least, bl_err *e)
{
    bl_status st = f->check(f, g, e);
    uint8_t *b = part[0];
    float o[BL_BLOCK_MAX], x[BL_BLOCK_MAX];

    for (int64_t r = 0; st == BL_OK && r < g->out; r++)
        for (int64_t k = 0; k < g->in; k += f->block, w += f->block, b += f->block_bytes) {
            float most = 0;
            int exponent;
            if (!bl_all_finite(w, f->block)) return bl_fail_nonfinite(f, w, r, k, f->block, e);
            for (int i = 0; i < f->block; i++) most = fmaxf(most, fabsf(w[i]));
            (void)frexpf(most, &exponent);
            float unit = ldexpf(1, BL_MAX(-126, BL_MIN(exponent, 127)));
            for (int i = 0; i < f->block; i++) x[i] = w[i] / unit;
            relative_importance(importance ? importance + k : NULL, f->block, o);
            if (!least(&(bl_fit_in){.w = x, .o = o, .unit = unit}, b))
                return bl_fail(e, BL_E_NUMERIC,
                               "%s: row %" PRId64 ", columns %" PRId64 "..%" PRId64
                               ": the weights are too large for an fp16 scale",
                               f->name, r, k, k + f->block - 1);
        }
    return st;
}

/* d as it is stored; false: it does not fit. */
static bool round_half(float d, float unit, uint16_t *half, float *out)
{
    *half = bl_f32_to_f16(d * unit);
    *out = bl_f16_to_f32(*half) / unit;
    return (*half & 0x7c00) != 0x7c00;
}

static float largest_magnitude(const float *w, int n)
{
    float most = 0;
    for (int i = 0; i < n; i++) most = fmaxf(most, fabsf(w[i]));
    return most;
}

/* ---- scaled ---- */
typedef struct liked {
    float t;    /* the scale */
    bl_match m; /* there */
} liked;

static void try_scale(const bl_codebook *c, const float *w, const float *o, float s, float *gain, float *t)
{
    bl_match m;
    c->nearest(c, w, o, s, NULL, &m);
    if (m.qq > 0 && m.wq * s > 0 && m.wq * m.wq > *gain * m.qq) { /* what least squares takes off the error */
        *gain = m.wq * m.wq / m.qq;
        *t = m.wq / m.qq;
    }
}

static liked like(const bl_codebook *c, const float *w, const float *o)
{
    float most = largest_magnitude(w, c->n), gain = 0;
    liked l = {0}, next;
    for (int k = 0; k < c->starts; k++) {
        float at = c->starts > 1 ? (float)k / (float)(c->starts - 1) : 0;
        float s = most / c->top * (c->from + (c->to - c->from) * at);
        if (s == 0) continue;
        try_scale(c, w, o, s, &gain, &l.t);
        if (c->turns) try_scale(c, w, o, -s, &gain, &l.t);
    }
    c->nearest(c, w, o, l.t, NULL, &l.m);
    for (int k = 0; k < ROUNDS && l.m.qq > 0; k++) {
        next.t = l.m.wq / l.m.qq;
        if (next.t == l.t) break;
        c->nearest(c, w, o, next.t, NULL, &next.m);
        if (next.m.error >= l.m.error) break;
        l = next;
    }
    return l;
}

/* Index of the last step that is not above r; 0 below all. */
static int step_below(const bl_scaled *how, float r)
{
    int lo = 0, hi = how->steps - 1;
    while (lo < hi) {
        int mid = (lo + hi + 1) / 2;
        if (how->step[mid] <= r) lo = mid;
        else hi = mid - 1;
    }
    return lo;
}

/* Error of a sub-block at scale s with its codes kept, but for sum o w^2. */
static float kept_error(const liked *l, float s) { return s * (s * l->m.qq - 2 * l->m.wq); }

static float guess(const bl_scaled *how, const liked *l, float d)
{
    float sum = 0;
    for (int i = 0; i < how->subs; i++) {
        int k = step_below(how, d == 0 ? 0 : l[i].t / d);
        float e = kept_error(&l[i], d * how->step[k]);
        if (k + 1 < how->steps) e = fminf(e, kept_error(&l[i], d * how->step[k + 1]));
        sum += e;
    }
    return sum;
}

typedef struct chosen {
    float error, d;
    uint16_t half;
    int step[BL_FIT_SUBS];
    bl_match m[BL_FIT_SUBS];
} chosen;

/* Every sub-block chooses its step for that d, codes anew. */
static void choose(const bl_scaled *how, const bl_fit_in *in, const liked *l, chosen *x)
{
    const bl_codebook *c = how->codes;
    x->error = 0;
    for (int i = 0; i < how->subs; i++) {
        const float *w = in->w + i * c->n, *o = in->o + i * c->n;
        int k = step_below(how, x->d == 0 ? 0 : l[i].t / x->d), to = BL_MIN(k + 1, how->steps - 1);
        x->m[i].error = INFINITY;
        for (; k <= to; k++) {
            bl_match m;
            c->nearest(c, w, o, x->d * how->step[k], NULL, &m);
            if (m.error >= x->m[i].error) continue;
            x->m[i] = m;
            x->step[i] = k;
        }
        x->error += x->m[i].error;
    }
}

static void attempt(const bl_scaled *how, const bl_fit_in *in, const liked *l, float d, chosen *best)
{
    chosen x;
    for (int round = 0; round < ROUNDS; round++) {
        if (how->fixed) {
            x.d = d;
            x.half = 0;
        } else if (!round_half(d, in->unit, &x.half, &x.d)) return;
        choose(how, in, l, &x);
        if (x.error >= best->error) return;
        *best = x;
        if (how->fixed) return;
        float up = 0, down = 0;
        for (int i = 0; i < how->subs; i++) {
            float s = how->step[x.step[i]];
            up += s * x.m[i].wq;
            down += s * s * x.m[i].qq;
        }
        if (!(down > 0) || up / down == d) return;
        d = up / down;
    }
}

/* The KEPT best of a range of d, by what their steps cost with the codes kept. */
static void attempt_range(const bl_scaled *how, const bl_fit_in *in, const liked *l, float most, chosen *best)
{
    float top = fmaxf(fabsf(how->step[0]), fabsf(how->step[how->steps - 1])), d[CANDIDATES], cost[CANDIDATES];
    bool both = how->step[0] < 0;
    for (int k = 0; k < CANDIDATES; k++) {
        int j = both ? k / 2 : k, n = both ? CANDIDATES / 2 : CANDIDATES;
        d[k] = most / top * (0.75f + 0.75f * (float)j / (float)(n - 1)) * (both && k % 2 ? -1 : 1);
        cost[k] = guess(how, l, d[k]);
    }
    for (int kept = 0; kept < KEPT; kept++) {
        int at = 0;
        for (int k = 1; k < CANDIDATES; k++)
            if (cost[k] < cost[at]) at = k;
        attempt(how, in, l, d[at], best);
        cost[at] = INFINITY;
    }
}

bool bl_fit_scaled(const bl_scaled *how, const bl_fit_in *in, bl_scaled_fit *out)
{
    const bl_codebook *c = how->codes;
    liked l[BL_FIT_SUBS];
    float most = 0;
    chosen best = {.error = INFINITY};
    bl_match m;
    int per = 0;

    for (int i = 0; i < how->subs; i++) {
        l[i] = like(c, in->w + i * c->n, in->o + i * c->n);
        most = fmaxf(most, fabsf(l[i].t));
    }
    if (how->fixed) attempt(how, in, l, 1, &best);
    else if (how->subs > 1 && most > 0) attempt_range(how, in, l, most, &best);
    else attempt(how, in, l, l[0].t / how->step[0], &best);
    if (best.error == INFINITY) return false;

    out->d = best.half;
    per = c->point ? c->per_code : 1;
    for (int i = 0; i < how->subs; i++) {
        out->step[i] = best.step[i];
        c->nearest(c, in->w + i * c->n, in->o + i * c->n, best.d * how->step[best.step[i]], out->code + i * c->n / per,
                   &m);
    }
    return true;
}

/* ---- affine ---- */
typedef struct sums {
    float error, o, w, q, wq, qq; /* sums of o times 1, w, q, w q, q^2 */
} sums;

static void affine_codes(const float *w, const float *o, int n, float s, float m, int qmax, uint8_t *code, sums *x)
{
    const float magic = 0x1.8p23f; /* v + magic has no fraction bits left: rint for |v| < 2^22 */
    float inverse = s > 0 ? 1 / s : 0, top = (float)qmax, error = 0, so = 0, sw = 0, sq = 0, swq = 0, sqq = 0;
    if (!isfinite(inverse)) inverse = 0;
    for (int i = 0; i < n; i++) {
        float v = (w[i] + m) * inverse;
        v = v > 0 ? v : 0;
        v = v < top ? v : top;
        v = (v + magic) - magic;
        float r = w[i] - (s * v - m), oq = o[i] * v;
        error += o[i] * r * r;
        so += o[i];
        sw += o[i] * w[i];
        sq += oq;
        swq += oq * w[i];
        sqq += oq * v;
        if (code) code[i] = (uint8_t)v;
    }
    *x = (sums){error, so, sw, sq, swq, sqq};
}

/* Scale and minimum of least squares for the codes that gave these sums: w ~ s q - m. */
static void least_squares(const sums *x, bool positive, float *s, float *m)
{
    float det = x->o * x->qq - x->q * x->q;
    *s = det > 0 ? (x->o * x->wq - x->q * x->w) / det : 0;
    *m = x->o > 0 ? (*s * x->q - x->w) / x->o : 0;
    if (positive && *m < 0) {
        *m = 0;
        *s = x->qq > 0 ? x->wq / x->qq : 0;
    }
    if (*s < 0) {
        *s = 0;
        *m = x->o > 0 ? -x->w / x->o : 0;
        if (positive && *m < 0) *m = 0;
    }
}

typedef struct line {
    float s, m;
    sums x;
} line;

static line like_affine(const bl_affine *how, const float *w, const float *o)
{
    enum { STARTS = 24 };
    bool positive = how->smax > 0;
    float lo = w[0], hi = w[0];
    for (int i = 1; i < how->n; i++) {
        lo = fminf(lo, w[i]);
        hi = fmaxf(hi, w[i]);
    }
    if (positive) lo = fminf(lo, 0);
    line best = {.m = -lo};
    affine_codes(w, o, how->n, 0, best.m, how->qmax, NULL, &best.x);
    for (int k = 0; k < STARTS; k++) { /* a range of codes from 1 short of all to 1.3 too many */
        float s = (hi - lo) / ((float)how->qmax - 1 + 0.1f * (float)k), m = -lo;
        for (int round = 0; round < ROUNDS && s >= 0; round++) {
            sums x;
            affine_codes(w, o, how->n, s, m, how->qmax, NULL, &x);
            if (x.error < best.x.error) best = (line){s, m, x};
            else if (round > 1) break;
            least_squares(&x, positive, &s, &m);
        }
    }
    return best;
}

/* Error at s, m with the codes kept, but for sum o w^2. */
static float kept_line(const sums *x, float s, float m)
{
    return s * (s * x->qq - 2 * x->wq) + m * (m * x->o + 2 * x->w - 2 * s * x->q);
}

static int nearest_int(float v, int most) { return v > 0 ? BL_MIN((int)(v + 0.5f), most) : 0; }
/* The minimum of least squares beside a scale. */
static int best_min(const sums *x, float s, float e, int most)
{
    return e > 0 && x->o > 0 ? nearest_int((s * x->q - x->w) / (x->o * e), most) : 0;
}

static float guess_lines(const bl_affine *how, const line *l, float d, float e)
{
    float sum = 0;
    for (int i = 0; i < how->subs; i++) {
        int k = d > 0 ? BL_MIN((int)(l[i].s / d), how->smax) : 0, to = BL_MIN(k + 1, how->smax);
        float least = INFINITY;
        for (; k <= to; k++) {
            float s = d * (float)k;
            least = fminf(least, kept_line(&l[i].x, s, e * (float)best_min(&l[i].x, s, e, how->smax)));
        }
        sum += least;
    }
    return sum;
}

typedef struct lines {
    float error, d, e;
    uint16_t half_d, half_e;
    int s[BL_FIT_SUBS], m[BL_FIT_SUBS];
    sums x[BL_FIT_SUBS];
} lines;

static void choose_lines(const bl_affine *how, const bl_fit_in *in, const line *l, lines *x)
{
    x->error = 0;
    for (int i = 0; i < how->subs; i++) {
        const float *w = in->w + i * how->n, *o = in->o + i * how->n;
        int k = x->d > 0 ? BL_MIN((int)(l[i].s / x->d), how->smax) : 0, to = BL_MIN(k + 1, how->smax);
        x->x[i].error = INFINITY;
        for (k = BL_MAX(k - 1, 0); k <= to; k++) {
            float s = x->d * (float)k;
            int middle = best_min(&l[i].x, s, x->e, how->smax);
            for (int m = BL_MAX(middle - 1, 0); m <= BL_MIN(middle + 1, how->smax); m++) {
                sums got;
                affine_codes(w, o, how->n, s, x->e * (float)m, how->qmax, NULL, &got);
                if (got.error >= x->x[i].error) continue;
                x->x[i] = got;
                x->s[i] = k;
                x->m[i] = m;
                if (x->e == 0) break;
            }
        }
        x->error += x->x[i].error;
    }
}

/* d and e of least squares for all codes and steps. */
static bool joint_squares(const bl_affine *how, const lines *x, float *d, float *e)
{
    double dd = 0, de = 0, ee = 0, dw = 0, ew = 0;
    for (int i = 0; i < how->subs; i++) {
        double s = x->s[i], m = x->m[i];
        dd += s * s * x->x[i].qq;
        de += s * m * x->x[i].q;
        ee += m * m * x->x[i].o;
        dw += s * x->x[i].wq;
        ew += m * x->x[i].w;
    }
    double det = dd * ee - de * de;
    if (ee == 0 && dd > 0) {
        *d = (float)(dw / dd);
        *e = 0;
    } else if (det > 1e-9 * dd * ee) {
        *d = (float)((dw * ee - ew * de) / det);
        *e = (float)((dw * de - ew * dd) / det);
    } else return false;
    return *d > 0 && *e >= 0;
}

static void attempt_lines(const bl_affine *how, const bl_fit_in *in, const line *l, float d, float e, lines *best)
{
    lines x;
    for (int round = 0; round < ROUNDS; round++) {
        if (!round_half(d, in->unit, &x.half_d, &x.d) || !round_half(e, in->unit, &x.half_e, &x.e)) return;
        choose_lines(how, in, l, &x);
        if (x.error >= best->error) return;
        *best = x;
        if (!joint_squares(how, &x, &d, &e)) return;
    }
}

static void attempt_lines_range(const bl_affine *how, const bl_fit_in *in, const line *l, lines *best)
{
    enum { N = 16 };
    float s = 0, m = 0, cost[N * N];
    for (int i = 0; i < how->subs; i++) {
        s = fmaxf(s, l[i].s);
        m = fmaxf(m, l[i].m);
    }
    float d = s / (float)how->smax, e = m / (float)how->smax;
#define AT(k) (0.8f + 0.4f * (float)(k) / (N - 1))
    for (int k = 0; k < N * N; k++) cost[k] = guess_lines(how, l, d * AT(k / N), e * AT(k % N));
    attempt_lines(how, in, l, d, e, best);
    for (int kept = 0; kept < KEPT; kept++) {
        int at = 0;
        for (int k = 1; k < N * N; k++)
            if (cost[k] < cost[at]) at = k;
        attempt_lines(how, in, l, d * AT(at / N), e * AT(at % N), best);
        cost[at] = INFINITY;
    }
#undef AT
}

/* One scale and one minimum, both fp16 of their own. */
static bool fit_line(const bl_affine *how, const bl_fit_in *in, const line *l, bl_affine_fit *out)
{
    float best = INFINITY, d = l->s, m = l->m;
    for (int round = 0; round < ROUNDS; round++) {
        sums x;
        uint16_t half_d, half_m;
        float rd, rm;
        if (!round_half(d, in->unit, &half_d, &rd) || !round_half(-m, in->unit, &half_m, &rm)) break;
        affine_codes(in->w, in->o, how->n, rd, -rm, how->qmax, NULL, &x);
        if (x.error >= best) break;
        best = x.error;
        out->d = half_d;
        out->e = half_m;
        affine_codes(in->w, in->o, how->n, rd, -rm, how->qmax, out->code, &x);
        d = rd; /* the minimum of least squares beside the scale as it is stored, then both */
        m = x.o > 0 ? (rd * x.q - x.w) / x.o : m;
        if (round % 2) least_squares(&x, false, &d, &m);
    }
    return best < INFINITY;
}

bool bl_fit_affine(const bl_affine *how, const bl_fit_in *in, bl_affine_fit *out)
{
    line l[BL_FIT_SUBS];
    lines best = {.error = INFINITY};
    for (int i = 0; i < how->subs; i++) l[i] = like_affine(how, in->w + i * how->n, in->o + i * how->n);
    if (!how->smax) return fit_line(how, in, l, out);
    attempt_lines_range(how, in, l, &best);
    if (best.error == INFINITY) return false;
    out->d = best.half_d;
    out->e = best.half_e;
    for (int i = 0; i < how->subs; i++) {
        sums x;
        out->s[i] = best.s[i];
        out->m[i] = best.m[i];
        affine_codes(in->w + i * how->n, in->o + i * how->n, how->n, best.d * (float)best.s[i],
                     best.e * (float)best.m[i], how->qmax, out->code + i * how->n, &x);
    }
    return true;
}
