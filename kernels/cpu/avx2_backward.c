/* avx2_backward.c - pieces of the gradients with AVX2. Those of rows and of weights have the bits of ref_backward.c;
 * attention goes over keys in blocks, the reference over queries. */
#include "avx2_math.h"
#include "backward.h"

/* ---- dw ---- */
enum { TALL = 6, WIDE = 16 };

BL_INLINE void sums(int tall, const float *b, int64_t ldb, const float *v, int64_t ldv, int64_t rows, float *out)
{
    __m256 sum[TALL][2];
#pragma GCC unroll 6
    for (int t = 0; t < tall; t++) sum[t][0] = sum[t][1] = _mm256_setzero_ps();
    for (int64_t r = 0; r < rows; r++, b += ldb, v += ldv) {
        const __m256 v0 = _mm256_loadu_ps(v), v1 = _mm256_loadu_ps(v + 8);
#pragma GCC unroll 6
        for (int t = 0; t < tall; t++) {
            const __m256 x = _mm256_broadcast_ss(b + t);
            sum[t][0] = _mm256_fmadd_ps(x, v0, sum[t][0]);
            sum[t][1] = _mm256_fmadd_ps(x, v1, sum[t][1]);
        }
    }
#pragma GCC unroll 6
    for (int t = 0; t < tall; t++) {
        _mm256_storeu_ps(out + t * WIDE, sum[t][0]);
        _mm256_storeu_ps(out + t * WIDE + 8, sum[t][1]);
    }
}
#define BY_TALL(n)                                                                                                     \
    static void sums##n(const float *b, int64_t ldb, const float *v, int64_t ldv, int64_t rows, float *out)            \
    {                                                                                                                  \
        sums(n, b, ldb, v, ldv, rows, out);                                                                            \
    }
BY_TALL(1)
BY_TALL(2)
BY_TALL(3)
BY_TALL(4)
BY_TALL(5)
BY_TALL(6)
const bl_outer_steps bl_outer_avx2 = {
    .tall = TALL, .wide = WIDE, .sums = {NULL, sums1, sums2, sums3, sums4, sums5, sums6}};

/* Eight numbers of a row of dw. */
BL_INLINE void add8(float *dw, __m256 alpha, __m256 sum, int64_t n)
{
    const __m256i in = bl_first(n);
    if (n >= 8) _mm256_storeu_ps(dw, _mm256_fmadd_ps(alpha, sum, _mm256_loadu_ps(dw)));
    else _mm256_maskstore_ps(dw, in, _mm256_fmadd_ps(alpha, sum, _mm256_maskload_ps(dw, in)));
}

/* Sums [tall][wide], of which n of a row exist, onto dw from row o0 and column i0 on; turned: its rows are their
 * columns. Room after the sums is read, up to a multiple of eight rows. */
static void onto_dw(const bl_weight_grad_args *a, const float *sum, int64_t tall, int64_t wide, int64_t n, int64_t o0,
                    int64_t i0, bool turned)
{
    const __m256 alpha = _mm256_set1_ps((float)a->alpha);
    if (!turned) {
        for (int64_t t = 0; t < tall; t++)
            for (int64_t j = 0; j < n; j += 8)
                add8(bl_cpu_row(&a->dw, o0 + t) + i0 + j, alpha, _mm256_loadu_ps(sum + t * wide + j), n - j);
        return;
    }
    for (int64_t t = 0; t < tall; t += 8)
        for (int64_t j = 0; j < n; j += 8) {
            const float *row[8];
            float eight[64];
            for (int64_t k = 0; k < 8; k++) row[k] = sum + (t + k) * wide + j;
            bl_transpose8(row, eight, 8);
            for (int64_t k = 0; k < BL_MIN(n - j, 8); k++)
                add8(bl_cpu_row(&a->dw, o0 + j + k) + i0 + t, alpha, _mm256_loadu_ps(eight + 8 * k), tall - t);
        }
}

void bl_avx2_weight_grad(const bl_outer_steps *s, const bl_weight_grad_args *a, bool turned, int64_t v0, float *scratch)
{
    const bl_tensor *v = turned ? &a->dy : &a->x, *b = turned ? &a->x : &a->dy;
    const int64_t n = BL_MIN(v->dim[1] - v0, s->wide), all = b->dim[1];
    float *strip = scratch, *sum = strip + BL_GRAD_ROWS * s->wide;
    for (int64_t r0 = 0; r0 < v->dim[0]; r0 += BL_GRAD_ROWS) {
        const int64_t rows = BL_MIN(v->dim[0] - r0, BL_GRAD_ROWS);
        const float *from = bl_cpu_row(v, r0) + v0;
        int64_t ld = v->stride[0];
        if (n < s->wide || all > s->tall) { /* read more than once, or past the end of a row */
            for (int64_t r = 0; r < rows; r++) {
                float *to = strip + r * s->wide;
                memcpy(to, from + r * ld, (size_t)n * sizeof *to);
                memset(to + n, 0, (size_t)(s->wide - n) * sizeof *to);
            }
            from = strip;
            ld = s->wide;
        }
        for (int64_t t = 0, tall; t < all; t += tall) {
            tall = BL_MIN(all - t, s->tall);
            s->sums[tall](bl_cpu_row(b, r0) + t, b->stride[0], from, ld, rows, sum);
            onto_dw(a, sum, tall, s->wide, n, turned ? v0 : t, turned ? t : v0, turned);
        }
    }
}

void bl_avx2_bias_grad(const bl_weight_grad_args *a, int64_t o0, int64_t n)
{
    float *db = (float *)bl_cpu_at(&a->db) + o0, sum[BL_BIAS_RUN];
    const float alpha = (float)a->alpha;
    for (int64_t r0 = 0; r0 < a->dy.dim[0]; r0 += BL_GRAD_ROWS) {
        memset(sum, 0, sizeof sum);
        for (int64_t r = r0; r < BL_MIN(a->dy.dim[0], r0 + BL_GRAD_ROWS); r++)
            for (int64_t o = 0; o < n; o++) sum[o] += bl_cpu_row(&a->dy, r)[o0 + o];
        for (int64_t o = 0; o < n; o++) db[o] = fmaf(alpha, sum[o], db[o]);
    }
}

/* ---- attention ---- */
/* Tiles of 64 queries of a head by 64 keys: scores and what comes back for them are the two products of attention
 * (bl_attend_steps), and so is what the tile gives to its queries, and, turned, to its keys. Heads are filled up with
 * zeros to whole vectors: dim8 numbers. */
enum { KEYS = BL_ATTEND_BLOCK };

typedef struct grad_tile {
    const bl_attend_steps *steps;
    const bl_attention_grad_args *a;
    int64_t dim8, n, rows;  /* keys and queries of it */
    float *kt, *vt;         /* [dim][KEYS] */
    float *k, *dk, *dv;     /* [KEYS][dim8] */
    float *q, *dy, *dq;     /* [KEYS][dim8]: of the queries */
    float *p, *dp, *turned; /* [KEYS][KEYS] */
} grad_tile;

static int64_t up8(int64_t n) { return (n + 7) / 8 * 8; }
size_t bl_avx2_attention_grad_space(int64_t head_dim)
{
    return (size_t)(8 * KEYS * up8(head_dim) + 3 * KEYS * KEYS) * sizeof(float);
}

/* Some rows of a head, filled up. */
static void rows_of(const bl_tensor *t, int64_t row, int64_t n, int64_t head, int64_t dim, int64_t dim8, float *to)
{
    for (int64_t i = 0; i < n; i++, to += dim8) {
        memcpy(to, bl_cpu_row(t, row + i) + head * dim, (size_t)dim * sizeof *to);
        memset(to + dim, 0, (size_t)(dim8 - dim) * sizeof *to);
    }
}

/* to[j * KEYS + i] = from[i * ld + j] for i < n, zeros up to KEYS, and j < width, a multiple of 8. */
static void turn(const float *from, int64_t n, int64_t width, int64_t ld, float *to)
{
    static const float none[8] = {0};
    for (int64_t i = 0; i < KEYS; i += 8)
        for (int64_t j = 0; j < width; j += 8) {
            const float *row[8];
            for (int64_t k = 0; k < 8; k++) row[k] = i + k < n ? from + (i + k) * ld + j : none;
            bl_transpose8(row, to + j * KEYS + i, KEYS);
        }
}

static void load_keys(grad_tile *t, int64_t row, int64_t kv)
{
    const bl_attention_grad_args *a = t->a;
    rows_of(&a->v, row, t->n, kv, a->head_dim, t->dim8, t->k);
    turn(t->k, t->n, t->dim8, t->dim8, t->vt);
    rows_of(&a->k, row, t->n, kv, a->head_dim, t->dim8, t->k);
    turn(t->k, t->n, t->dim8, t->dim8, t->kt);
}

/* to [rows][KEYS] = scale x m, m [dim][KEYS]. */
static void times(const grad_tile *t, const float *x, const float *m, float scale, float *to)
{
    for (int64_t i = 0, k; i < t->rows; i += k) {
        k = BL_MIN(t->rows - i, t->steps->rows);
        t->steps->scores[k](x + i * t->dim8, m, to + i * KEYS, KEYS, t->a->head_dim, t->dim8, scale);
    }
}
/* y [n][dim8] += s [n][KEYS] times m [sums][dim8]; below: s is zero before its diagonal. */
static void onto(const grad_tile *t, const float *s, int64_t n, const float *m, int64_t sums, bool below, float *y)
{
    for (int64_t i = 0, k; i < n; i += k) {
        k = BL_MIN(n - i, t->steps->rows);
        t->steps->values[k](s + i * KEYS, m, y + i * t->dim8, below ? BL_MIN(i, sums) : 0, sums, t->dim8);
    }
}

/* Keys of the tile that its query i sees; q0, k0: the first of each. */
static int64_t seen(const grad_tile *t, int64_t q0, int64_t k0, int64_t i) { return BL_MIN(q0 + i - k0 + 1, t->n); }

/* Largest score and sum of e^(score - largest) of every query, block after block of keys. */
static void add_sums(const grad_tile *t, int64_t q0, int64_t k0, float *top, float *sum)
{
    const __m256 none = _mm256_set1_ps(-INFINITY);
    times(t, t->q, t->kt, (float)t->a->scale, t->p);
    for (int64_t i = 0; i < t->rows; i++) {
        float *s = t->p + i * KEYS, most = top[i], lane[8];
        const int64_t keys = seen(t, q0, k0, i);
        __m256 m = _mm256_set1_ps(most), l = _mm256_setzero_ps();
        for (int64_t j = 0; j < keys; j += 8) {
            const __m256 v = _mm256_blendv_ps(none, _mm256_loadu_ps(s + j), _mm256_castsi256_ps(bl_first(keys - j)));
            _mm256_storeu_ps(s + j, v);
            m = _mm256_max_ps(v, m);
        }
        _mm256_storeu_ps(lane, m);
        for (int j = 0; j < 8; j++) most = lane[j] > most ? lane[j] : most;
        for (int64_t j = 0; j < keys; j += 8)
            l = _mm256_add_ps(l, bl_exp8(_mm256_sub_ps(_mm256_loadu_ps(s + j), _mm256_set1_ps(most))));
        _mm256_storeu_ps(lane, l);
        sum[i] = sum[i] * bl_exp(top[i] - most) + bl_tree8(lane);
        top[i] = most;
    }
}

/* dy . y of the queries of the tile, which every block of keys takes. */
static void find_given(const grad_tile *t, int64_t row, int64_t head, float *given)
{
    const int64_t dim = t->a->head_dim;
    for (int64_t i = 0; i < t->rows; i++) {
        const float *y = bl_cpu_row(&t->a->y, row + i) + head * dim, *dy = bl_cpu_row(&t->a->dy, row + i) + head * dim;
        __m256 sum = _mm256_setzero_ps();
        for (int64_t d = 0; d < dim; d += 8) {
            const __m256i in = bl_first(dim - d);
            sum = _mm256_fmadd_ps(_mm256_maskload_ps(dy + d, in), _mm256_maskload_ps(y + d, in), sum);
        }
        given[i] = bl_sum1(sum);
    }
}

/* Scores and what comes back for the probabilities, into probabilities and what comes back for the scores. */
static void differentiate(const grad_tile *t, int64_t q0, int64_t k0, const float *top, const float *sum,
                          const float *given)
{
    const __m256 scale = _mm256_set1_ps((float)t->a->scale);
    for (int64_t i = 0; i < t->rows; i++) {
        float *s = t->p + i * KEYS, *dp = t->dp + i * KEYS;
        const int64_t keys = seen(t, q0, k0, i);
        const __m256 m = _mm256_set1_ps(top[i]), l = _mm256_set1_ps(1 / sum[i]), g = _mm256_set1_ps(given[i]);
        for (int64_t j = 0; j < KEYS; j += 8) {
            __m256 p = bl_exp8(_mm256_sub_ps(_mm256_loadu_ps(s + j), m));
            p = _mm256_mul_ps(_mm256_and_ps(p, _mm256_castsi256_ps(bl_first(keys - j))), l);
            _mm256_storeu_ps(s + j, p);
            _mm256_storeu_ps(dp + j, _mm256_mul_ps(_mm256_mul_ps(p, _mm256_sub_ps(_mm256_loadu_ps(dp + j), g)), scale));
        }
    }
}

static void queries(const grad_tile *t, int64_t row, int64_t head, int64_t q0, int64_t k0, const float *top,
                    const float *sum, const float *given)
{
    const bl_attention_grad_args *a = t->a;
    const int64_t dim = a->head_dim;
    const bool below = q0 < k0 + KEYS;
    rows_of(&a->q, row, t->rows, head, dim, t->dim8, t->q);
    rows_of(&a->dy, row, t->rows, head, dim, t->dim8, t->dy);
    rows_of(&a->dq, row, t->rows, head, dim, t->dim8, t->dq);
    times(t, t->q, t->kt, (float)a->scale, t->p);
    times(t, t->dy, t->vt, 1, t->dp);
    differentiate(t, q0, k0, top, sum, given);
    onto(t, t->dp, t->rows, t->k, t->n, false, t->dq);
    for (int64_t i = 0; i < t->rows; i++)
        memcpy(bl_cpu_row(&a->dq, row + i) + head * dim, t->dq + i * t->dim8, (size_t)dim * sizeof(float));
    turn(t->dp, t->rows, KEYS, KEYS, t->turned);
    onto(t, t->turned, t->n, t->q, t->rows, below, t->dk);
    turn(t->p, t->rows, KEYS, KEYS, t->turned);
    onto(t, t->turned, t->n, t->dy, t->rows, below, t->dv);
}

void bl_avx2_attention_grad(const bl_attend_steps *steps, const bl_attention_grad_args *a, int64_t first, int64_t n,
                            int64_t kv, float *state, float *scratch)
{
    int64_t dim = a->head_dim, dim8 = up8(dim), group = a->heads / a->kv_heads, block = KEYS * dim8;
    float *top = state, *sum = top + group * n, *given = sum + group * n;
    grad_tile t = {.steps = steps, .a = a, .dim8 = dim8, .kt = scratch, .vt = scratch + block};
    float **const rest[] = {&t.k, &t.dk, &t.dv, &t.q, &t.dy, &t.dq};
    for (size_t i = 0; i < BL_COUNT(rest); i++) *rest[i] = scratch + (int64_t)(2 + i) * block;
    t.p = scratch + 8 * block;
    t.dp = t.p + KEYS * KEYS;
    t.turned = t.dp + KEYS * KEYS;
    for (int64_t i = 0; i < group * n; i++) {
        top[i] = -INFINITY;
        sum[i] = 0;
    }
    for (int64_t r = 0; r < n; r++)
        memset(bl_cpu_row(&a->dq, first + r) + kv * group * dim, 0, (size_t)(group * dim) * sizeof(float));
    for (int pass = 0; pass < 2; pass++) /* the sums are whole after the last block of keys */
        for (int64_t k0 = 0; k0 < n; k0 += KEYS) {
            t.n = BL_MIN(n - k0, KEYS);
            load_keys(&t, first + k0, kv);
            memset(t.dk, 0, (size_t)(2 * block) * sizeof(float)); /* and dv after it */
            for (int64_t q0 = k0; q0 < n; q0 += KEYS)
                for (int64_t h = 0; h < group; h++) {
                    t.rows = BL_MIN(n - q0, KEYS);
                    const int64_t head = kv * group + h, row = first + q0, at = h * n + q0;
                    if (!pass) rows_of(&a->q, row, t.rows, head, dim, dim8, t.q);
                    if (!pass && k0 == 0) find_given(&t, row, head, given + at);
                    if (!pass) add_sums(&t, q0, k0, top + at, sum + at);
                    else queries(&t, row, head, q0, k0, top + at, sum + at, given + at);
                }
            for (int64_t j = 0; pass && j < t.n; j++) {
                memcpy(bl_cpu_row(&a->dk, first + k0 + j) + kv * dim, t.dk + j * dim8, (size_t)dim * sizeof(float));
                memcpy(bl_cpu_row(&a->dv, first + k0 + j) + kv * dim, t.dv + j * dim8, (size_t)dim * sizeof(float));
            }
        }
}

/* ---- rows ---- */
void bl_avx2_rope_grad(float *x, const float *c, const float *s, int64_t width, int64_t head_dim)
{
    int64_t half = head_dim / 2;
    for (float *end = x + width; x < end; x += head_dim)
        for (int64_t i = 0; i < half; i++) {
            float lo = x[i], hi = x[i + half];
            x[i] = lo * c[i] + hi * s[i];
            x[i + half] = hi * c[i] - lo * s[i];
        }
}

void bl_avx2_swiglu_grad(const float *g, const float *u, const float *dy, float *dg, float *du, int64_t n)
{
    const __m256 one = _mm256_set1_ps(1.0f);
    for (int64_t i = 0; i < n; i += 8) {
        const __m256i in = bl_first(BL_MIN(n - i, 8));
        __m256 gi = _mm256_maskload_ps(g + i, in), ui = _mm256_maskload_ps(u + i, in),
               d = _mm256_maskload_ps(dy + i, in);
        __m256 s = _mm256_div_ps(one, _mm256_add_ps(one, bl_exp8(_mm256_xor_ps(gi, _mm256_set1_ps(-0.0f)))));
        _mm256_maskstore_ps(du + i, in, _mm256_mul_ps(_mm256_mul_ps(gi, s), d));
        s = _mm256_mul_ps(_mm256_mul_ps(ui, s), _mm256_fmadd_ps(gi, _mm256_sub_ps(one, s), one));
        _mm256_maskstore_ps(dg + i, in, _mm256_mul_ps(s, d));
    }
}

void bl_avx2_softmax_grad(const float *x, int64_t n, float top, float factor, float *grad)
{
    const __m256 m = _mm256_set1_ps(top), by = _mm256_set1_ps(factor);
    for (int64_t i = 0; i < n; i += 8) {
        const __m256i in = bl_first(BL_MIN(n - i, 8));
        _mm256_maskstore_ps(grad + i, in, _mm256_mul_ps(bl_exp8(_mm256_sub_ps(_mm256_maskload_ps(x + i, in), m)), by));
    }
}

void bl_avx2_rmsnorm_sums(const float *x, const float *w, const float *dy, int64_t n, double eps, float *scale,
                          float *back)
{
    double sum[8] = {0}, dot[8] = {0};
    int64_t i = 0;
    for (; i + 8 <= n; i += 8)
        for (int j = 0; j < 8; j++) {
            sum[j] += (double)x[i + j] * x[i + j];
            dot[j] += (double)x[i + j] * ((double)w[i + j] * dy[i + j]);
        }
    for (; i < n; i++) {
        sum[i % 8] += (double)x[i] * x[i];
        dot[i % 8] += (double)x[i] * ((double)w[i] * dy[i]);
    }
    double s = 1 / sqrt(bl_tree8d(sum) / (double)n + eps);
    *scale = (float)s;
    *back = (float)(s * s * s / (double)n * bl_tree8d(dot));
}

void bl_avx2_rmsnorm_dx(const float *x, const float *w, const float *dy, int64_t n, float scale, float back, float *dx,
                        bool accumulate)
{
    if (accumulate)
        for (int64_t i = 0; i < n; i++) dx[i] += fmaf(-back, x[i], scale * (w[i] * dy[i]));
    else
        for (int64_t i = 0; i < n; i++) dx[i] = fmaf(-back, x[i], scale * (w[i] * dy[i]));
}

void bl_avx2_fma(float by, const float *x, const float *y, float *sum, int64_t n)
{
    for (int64_t i = 0; i < n; i++) sum[i] = fmaf(by * x[i], y[i], sum[i]);
}
