/* avx2_backward.c - pieces of the gradients with AVX2. Those of rows and of weights have the bits of ref_backward.c;
 * attention goes over keys in blocks, the reference over queries. */
#include "avx2_math.h"
#include "backward.h"

/* ---- dw ---- */
/* 6 outputs by 16 inputs over `rows` rows; dy in a panel [rows][6]. */
BL_INLINE void product(const float *dy, const float *x, int64_t rows, __m256 sum[BL_DW_TALL][2])
{
#pragma GCC unroll 6
    for (int o = 0; o < BL_DW_TALL; o++) sum[o][0] = sum[o][1] = _mm256_setzero_ps();
    for (int64_t r = 0; r < rows; r++, x += BL_DW_COLS, dy += BL_DW_TALL) {
        const __m256 x0 = _mm256_loadu_ps(x), x1 = _mm256_loadu_ps(x + 8);
#pragma GCC unroll 6
        for (int o = 0; o < BL_DW_TALL; o++) {
            const __m256 v = _mm256_broadcast_ss(dy + o);
            sum[o][0] = _mm256_fmadd_ps(v, x0, sum[o][0]);
            sum[o][1] = _mm256_fmadd_ps(v, x1, sum[o][1]);
        }
    }
}

void bl_avx2_weight_grad(const bl_weight_grad_args *a, int64_t r0, int64_t rows, int64_t o0, int64_t outs,
                         const float *panels, float *scratch)
{
    int64_t in = a->x.dim[1], tall = (outs + BL_DW_TALL - 1) / BL_DW_TALL;
    const float alpha = (float)a->alpha;
    float *db = bl_cpu_at(&a->db);
    for (int64_t t = 0; t < tall; t++)
        for (int64_t r = 0; r < rows; r++) {
            const float *dy = bl_cpu_row(&a->dy, r0 + r) + o0 + t * BL_DW_TALL;
            for (int64_t o = 0; o < BL_DW_TALL; o++)
                scratch[(t * rows + r) * BL_DW_TALL + o] = t * BL_DW_TALL + o < outs ? dy[o] : 0;
        }
    for (int64_t o = 0; db && o < outs; o++) {
        float sum = 0;
        for (int64_t r = 0; r < rows; r++) sum += scratch[(o / BL_DW_TALL * rows + r) * BL_DW_TALL + o % BL_DW_TALL];
        db[o0 + o] = fmaf(alpha, sum, db[o0 + o]);
    }
    for (int64_t i = 0; i < in; i += BL_DW_COLS)
        for (int64_t t = 0; t < tall; t++) {
            __m256 sum[BL_DW_TALL][2];
            float v[BL_DW_COLS];
            product(scratch + t * rows * BL_DW_TALL, panels + i * rows, rows, sum);
            for (int64_t o = t * BL_DW_TALL; o < BL_MIN(outs, (t + 1) * BL_DW_TALL); o++) {
                float *dw = bl_cpu_row(&a->dw, o0 + o) + i;
                _mm256_storeu_ps(v, sum[o % BL_DW_TALL][0]);
                _mm256_storeu_ps(v + 8, sum[o % BL_DW_TALL][1]);
                for (int64_t j = 0; j < BL_MIN(in - i, BL_DW_COLS); j++) dw[j] = fmaf(alpha, v[j], dw[j]);
            }
        }
}

/* ---- attention ---- */
enum { KEYS = BL_BACK_KEYS };

/* Heads are filled up with zeros to whole vectors: dim8 of them. */
static int64_t up8(int64_t n) { return (n + 7) / 8 * 8; }
size_t bl_avx2_attention_grad_space(int64_t head_dim)
{
    return (size_t)(5 * KEYS * up8(head_dim) + 3 * up8(head_dim) + 2 * KEYS) * sizeof(float);
}

/* s[0 .. KEYS) = row of dim numbers times mt [dim][KEYS]. */
BL_INLINE void times(const float *row, const float *mt, int64_t dim, float *s)
{
    __m256 acc[KEYS / 8];
#pragma GCC unroll 8
    for (int j = 0; j < KEYS / 8; j++) acc[j] = _mm256_setzero_ps();
    for (int64_t d = 0; d < dim; d++, mt += KEYS) {
        const __m256 v = _mm256_broadcast_ss(row + d);
#pragma GCC unroll 8
        for (int j = 0; j < KEYS / 8; j++) acc[j] = _mm256_fmadd_ps(v, _mm256_loadu_ps(mt + 8 * j), acc[j]);
    }
#pragma GCC unroll 8
    for (int j = 0; j < KEYS / 8; j++) _mm256_storeu_ps(s + 8 * j, acc[j]);
}

/* y += s [n] times m [n][dim8]. */
BL_INLINE void gather_into(const float *s, const float *m, int64_t n, int64_t dim8, float *y)
{
    int64_t d = 0;
    for (; d + 32 <= dim8; d += 32) {
        __m256 acc[4];
#pragma GCC unroll 4
        for (int v = 0; v < 4; v++) acc[v] = _mm256_loadu_ps(y + d + 8 * v);
        for (int64_t j = 0; j < n; j++) {
            const __m256 by = _mm256_broadcast_ss(s + j);
#pragma GCC unroll 4
            for (int v = 0; v < 4; v++) acc[v] = _mm256_fmadd_ps(by, _mm256_loadu_ps(m + j * dim8 + d + 8 * v), acc[v]);
        }
#pragma GCC unroll 4
        for (int v = 0; v < 4; v++) _mm256_storeu_ps(y + d + 8 * v, acc[v]);
    }
    for (; d < dim8; d += 8) {
        __m256 acc = _mm256_loadu_ps(y + d);
        for (int64_t j = 0; j < n; j++)
            acc = _mm256_fmadd_ps(_mm256_broadcast_ss(s + j), _mm256_loadu_ps(m + j * dim8 + d), acc);
        _mm256_storeu_ps(y + d, acc);
    }
}

/* m [n][dim8] += st x, m2 += tt y: what a query gives to each key. */
BL_INLINE void scatter(const float *s, const float *x, float *m, const float *t, const float *y, float *m2, int64_t n,
                       int64_t dim8)
{
    for (int64_t j = 0; j < n; j++) {
        const __m256 sj = _mm256_broadcast_ss(s + j), tj = _mm256_broadcast_ss(t + j);
        for (int64_t d = 0; d < dim8; d += 8) {
            float *a = m + j * dim8 + d, *b = m2 + j * dim8 + d;
            _mm256_storeu_ps(a, _mm256_fmadd_ps(sj, _mm256_loadu_ps(x + d), _mm256_loadu_ps(a)));
            _mm256_storeu_ps(b, _mm256_fmadd_ps(tj, _mm256_loadu_ps(y + d), _mm256_loadu_ps(b)));
        }
    }
}

static void padded(const float *x, int64_t dim, int64_t dim8, float *to)
{
    memcpy(to, x, (size_t)dim * sizeof *to);
    memset(to + dim, 0, (size_t)(dim8 - dim) * sizeof *to);
}

typedef struct block { /* of keys: rows and, [dim][KEYS], columns */
    float *kt, *vt, *k, *dk, *dv;
    int64_t n, dim8;
} block;

static void load_block(const bl_attention_grad_args *a, int64_t row, int64_t kv, bool values, block *b)
{
    int64_t dim = a->head_dim;
    for (int64_t j = 0; j < KEYS; j++) {
        const float *k = j < b->n ? bl_cpu_row(&a->k, row + j) + kv * dim : NULL,
                    *v = j < b->n ? bl_cpu_row(&a->v, row + j) + kv * dim : NULL;
        for (int64_t d = 0; d < dim; d++) {
            b->kt[d * KEYS + j] = k ? k[d] : 0;
            if (values) b->vt[d * KEYS + j] = v ? v[d] : 0;
        }
        if (k && values) padded(k, dim, b->dim8, b->k + j * b->dim8);
    }
}

/* Largest score and sum of e^(score - largest) of every query, block after block of keys. */
static void sums(const bl_attention_grad_args *a, int64_t first, int64_t n, int64_t kv, float *top, float *sum,
                 block *b, float *s)
{
    int64_t dim = a->head_dim, group = a->heads / a->kv_heads;
    const __m256 scale = _mm256_set1_ps((float)a->scale);
    for (int64_t i = 0; i < group * n; i++) {
        top[i] = -INFINITY;
        sum[i] = 0;
    }
    for (int64_t k0 = 0; k0 < n; k0 += KEYS) {
        b->n = BL_MIN(n - k0, KEYS);
        load_block(a, first + k0, kv, false, b);
        for (int64_t h = 0; h < group; h++)
            for (int64_t r = k0; r < n; r++) {
                float *m = top + h * n + r, most = *m, lane[8];
                int64_t keys = BL_MIN(r - k0 + 1, b->n);
                times(bl_cpu_row(&a->q, first + r) + (kv * group + h) * dim, b->kt, dim, s);
                for (int64_t j = 0; j < KEYS; j += 8)
                    _mm256_storeu_ps(s + j, _mm256_mul_ps(_mm256_loadu_ps(s + j), scale));
                for (int64_t j = keys; j < KEYS; j++) s[j] = -INFINITY;
                for (int64_t j = 0; j < keys; j++) most = s[j] > most ? s[j] : most;
                __m256 l = _mm256_setzero_ps();
                for (int64_t j = 0; j < KEYS; j += 8)
                    l = _mm256_add_ps(l, bl_exp8(_mm256_sub_ps(_mm256_loadu_ps(s + j), _mm256_set1_ps(most))));
                _mm256_storeu_ps(lane, l);
                sum[h * n + r] = sum[h * n + r] * bl_exp(*m - most) + bl_tree8(lane);
                *m = most;
            }
    }
}

static void query(const bl_attention_grad_args *a, int64_t row, int64_t head, int64_t keys, float top, float sum,
                  const block *b, float *rows, float *s)
{
    int64_t dim = a->head_dim, dim8 = b->dim8;
    float *q = rows, *dy = q + dim8, *dq = dy + dim8, *dp = s + KEYS, *at = bl_cpu_row(&a->dq, row) + head * dim,
          given = 0;
    const float *y = bl_cpu_row(&a->y, row) + head * dim;
    padded(bl_cpu_row(&a->q, row) + head * dim, dim, dim8, q);
    padded(bl_cpu_row(&a->dy, row) + head * dim, dim, dim8, dy);
    padded(at, dim, dim8, dq);
    for (int64_t d = 0; d < dim; d++) given = fmaf(dy[d], y[d], given);
    times(q, b->kt, dim, s);
    times(dy, b->vt, dim, dp);
    const __m256 scale = _mm256_set1_ps((float)a->scale), m = _mm256_set1_ps(top), l = _mm256_set1_ps(1 / sum),
                 g = _mm256_set1_ps(given);
    for (int64_t j = 0; j < KEYS; j += 8) {
        __m256 p = bl_exp8(_mm256_sub_ps(_mm256_mul_ps(_mm256_loadu_ps(s + j), scale), m));
        p = _mm256_mul_ps(_mm256_and_ps(p, _mm256_castsi256_ps(bl_first(keys - j))), l);
        _mm256_storeu_ps(s + j, p);
        _mm256_storeu_ps(dp + j, _mm256_mul_ps(_mm256_mul_ps(p, _mm256_sub_ps(_mm256_loadu_ps(dp + j), g)), scale));
    }
    gather_into(dp, b->k, keys, dim8, dq);
    scatter(dp, q, b->dk, s, dy, b->dv, keys, dim8);
    memcpy(at, dq, (size_t)dim * sizeof *at);
}

void bl_avx2_attention_grad(const bl_attention_grad_args *a, int64_t first, int64_t n, int64_t kv, float *state,
                            float *scratch)
{
    int64_t dim = a->head_dim, dim8 = up8(dim), group = a->heads / a->kv_heads;
    float *top = state, *sum = top + group * n;
    block b = {.kt = scratch, .dim8 = dim8};
    b.vt = b.kt + KEYS * dim8;
    b.k = b.vt + KEYS * dim8;
    b.dk = b.k + KEYS * dim8;
    b.dv = b.dk + KEYS * dim8;
    float *rows = b.dv + KEYS * dim8, *s = rows + 3 * dim8;
    sums(a, first, n, kv, top, sum, &b, s);
    for (int64_t r = 0; r < n; r++)
        memset(bl_cpu_row(&a->dq, first + r) + kv * group * dim, 0, (size_t)(group * dim) * sizeof(float));
    for (int64_t k0 = 0; k0 < n; k0 += KEYS) {
        b.n = BL_MIN(n - k0, KEYS);
        load_block(a, first + k0, kv, true, &b);
        memset(b.dk, 0, (size_t)(2 * KEYS * dim8) * sizeof(float)); /* and dv after it */
        for (int64_t r = k0; r < n; r++)
            for (int64_t h = 0; h < group; h++)
                query(a, first + r, kv * group + h, BL_MIN(r - k0 + 1, b.n), top[h * n + r], sum[h * n + r], &b, rows,
                      s);
        for (int64_t j = 0; j < b.n; j++) {
            memcpy(bl_cpu_row(&a->dk, first + k0 + j) + kv * dim, b.dk + j * dim8, (size_t)dim * sizeof(float));
            memcpy(bl_cpu_row(&a->dv, first + k0 + j) + kv * dim, b.dv + j * dim8, (size_t)dim * sizeof(float));
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
