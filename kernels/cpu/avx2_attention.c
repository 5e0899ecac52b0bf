/* avx2_attention.c - causal attention of a tile: some queries of a sequence, with all heads that share a head of keys.
 *
 * Rows of the tile are (query, head), query first, so the rows that see a block of keys are the last ones. Per block of
 * 64 keys:
 *
 *     kt [dim][64]     the keys, transposed, so 8 keys are a vector and a score is one chain over dim
 *     v  [64][dim8]    the values, dense
 *     s  [48][64]      scores, then probabilities, of a run of rows
 *
 * Scores are tiles of 3 rows by 32 keys, outputs tiles of 3 rows by 32 dims, or what avx512_attention.c does.
 * Arithmetic as in ref_attention.c, to the bit.
 */
#include "avx2.h"
#if defined(__x86_64__)
#include "avx2_math.h"

enum { BLOCK = BL_ATTEND_BLOCK, MOST_ROWS = 384, RUN = 48 };

typedef struct space {
    float *q, *kt, *v, *s, *y, *l, *m;
} space;

static int64_t up8(int64_t n) { return (n + 7) / 8 * 8; }

int64_t bl_attend_rows(const bl_attention_args *a)
{
    int64_t heads = a->heads / a->kv.heads, dim = up8(a->kv.head_dim),
            room = BL_CPU_SCRATCH / 4 - 2 * BLOCK * dim - RUN * BLOCK;
    int64_t rows = BL_MIN(room / (2 * dim + 8 + 1), MOST_ROWS);
    return BL_MAX(rows / heads * heads, 0);
}

static space lay_out(void *scratch, int64_t dim8, int64_t rows)
{
    space p = {.kt = scratch};
    p.v = p.kt + BLOCK * dim8;
    p.s = p.v + BLOCK * dim8;
    p.q = p.s + RUN * BLOCK;
    p.y = p.q + rows * dim8;
    p.l = p.y + rows * dim8;
    p.m = p.l + rows * 8;
    return p;
}

/* dst[i][j] = src[j][i] for 8 x 8; src row j is at src + j * 8. */
BL_INLINE void transpose8(const float *const src[8], float *dst, int64_t ld)
{
    __m256 a[8], b[8];
    for (int i = 0; i < 8; i++) a[i] = _mm256_loadu_ps(src[i]);
    for (int i = 0; i < 8; i += 2) {
        b[i] = _mm256_unpacklo_ps(a[i], a[i + 1]);
        b[i + 1] = _mm256_unpackhi_ps(a[i], a[i + 1]);
    }
    for (int i = 0; i < 8; i += 4) {
        a[i] = _mm256_shuffle_ps(b[i], b[i + 2], 0x44);
        a[i + 1] = _mm256_shuffle_ps(b[i], b[i + 2], 0xee);
        a[i + 2] = _mm256_shuffle_ps(b[i + 1], b[i + 3], 0x44);
        a[i + 3] = _mm256_shuffle_ps(b[i + 1], b[i + 3], 0xee);
    }
    for (int i = 0; i < 4; i++) {
        _mm256_storeu_ps(dst + i * ld, _mm256_permute2f128_ps(a[i], a[i + 4], 0x20));
        _mm256_storeu_ps(dst + (i + 4) * ld, _mm256_permute2f128_ps(a[i], a[i + 4], 0x31));
    }
}

/* Walks the positions of a sequence. */
typedef struct walk {
    const bl_kv_seg *seg;
    int64_t at;
} walk;
static int64_t next_row(walk *w)
{
    while (w->at >= w->seg->len) {
        w->at -= w->seg->len;
        w->seg++;
    }
    return w->seg->row + w->at++;
}

/* Asks for the next key and value, which will be read with the next block. */
BL_INLINE void prefetch_row(const bl_attend *t, walk *w)
{
    const bl_kv_view *kv = &t->a->kv;
    const int64_t row = next_row(w), bytes = bl_kv_code_bytes(kv->format, kv->head_dim, sizeof(float));
    const char *k = (const char *)bl_cpu_at(&kv->k) + row * kv->heads * bytes + t->kv * bytes,
               *v = (const char *)bl_cpu_at(&kv->v) + row * kv->heads * bytes + t->kv * bytes;
    for (int64_t i = 0; i < bytes; i += 64) {
        _mm_prefetch(k + i, _MM_HINT_T1);
        _mm_prefetch(v + i, _MM_HINT_T1);
    }
}

/* The `dim` values of a key or value as f32, and zeros up to dim8. */
BL_INLINE void copy_values(const float *x, float *to, int64_t dim, int64_t dim8)
{
    for (int64_t d = 0; d + 8 <= dim; d += 8) _mm256_storeu_ps(to + d, _mm256_loadu_ps(x + d));
    for (int64_t d = dim / 8 * 8; d < dim8; d++) to[d] = d < dim ? x[d] : 0;
}
BL_INLINE void decode_values(const bl_cpu_kv *x, float *to, int64_t dim, int64_t dim8)
{
    if (x->bits) {
        bl_cpu_kv_unpack(x, dim, to);
        for (int64_t d = dim; d < dim8; d++) to[d] = 0;
        return;
    }
    for (int64_t d = 0; d + 8 <= dim; d += 8) {
        __m256i codes = _mm256_cvtepi8_epi32(_mm_loadl_epi64((const __m128i *)(const void *)(x->codes + d)));
        _mm256_storeu_ps(to + d, _mm256_mul_ps(_mm256_cvtepi32_ps(codes), _mm256_set1_ps(x->scale)));
    }
    for (int64_t d = dim / 8 * 8; d < dim8; d++) to[d] = d < dim ? (float)x->codes[d] * x->scale : 0;
}

/* The next n <= 64 keys, transposed, and values; what is missing to a multiple of 8 keys becomes zero. Coded keys
 * become floats where their values will be. */
static void load_block(const bl_attend *t, walk *w, int64_t n, const space *p)
{
    static const float zeros[8] = {0};
    const bl_kv_view *kv = &t->a->kv;
    const bool coded = kv->format != BL_KV_ACT;
    int64_t dim = kv->head_dim, dim8 = up8(dim);
    for (int64_t j = 0; j < up8(n); j += 8) {
        const float *k[8], *from[8];
        bl_cpu_kv v[8];
        int64_t d = 0;
        for (int64_t i = 0; i < 8; i++) {
            int64_t row = j + i < n ? next_row(w) : -1;
            float *to = p->v + (j + i) * dim8;
            k[i] = NULL;
            if (row < 0) continue;
            const bl_cpu_kv key = bl_cpu_kv_at(kv->format, &kv->k, &kv->k_scale, dim, row, t->kv);
            v[i] = bl_cpu_kv_at(kv->format, &kv->v, &kv->v_scale, dim, row, t->kv);
            k[i] = coded ? to : key.values;
            if (coded) decode_values(&key, to, dim, dim8);
            else copy_values(v[i].values, to, dim, dim8);
        }
        for (; d + 8 <= dim; d += 8) {
            for (int i = 0; i < 8; i++) from[i] = k[i] ? k[i] + d : zeros;
            transpose8(from, p->kt + d * BLOCK + j, BLOCK);
        }
        for (; d < dim; d++)
            for (int i = 0; i < 8; i++) p->kt[d * BLOCK + j + i] = k[i] ? k[i][d] : 0;
        for (int64_t i = 0; i < 8 && coded && k[i]; i++) decode_values(&v[i], p->v + (j + i) * dim8, dim, dim8);
    }
}

/* Scores of `rows` rows with 8 * vectors keys. */
BL_INLINE void scores(int rows, int vectors, const float *q, const float *kt, float *s, int64_t dim, int64_t dim8,
                      float scale)
{
    __m256 acc[3][4];
    const __m256 by = _mm256_set1_ps(scale);
#pragma GCC unroll 3
    for (int r = 0; r < rows; r++)
#pragma GCC unroll 4
        for (int c = 0; c < vectors; c++) acc[r][c] = _mm256_setzero_ps();
    for (int64_t d = 0; d < dim; d++) {
        __m256 b[3];
#pragma GCC unroll 3
        for (int r = 0; r < rows; r++) b[r] = _mm256_broadcast_ss(q + r * dim8 + d);
#pragma GCC unroll 4
        for (int c = 0; c < vectors; c++) {
            __m256 k = _mm256_loadu_ps(kt + d * BLOCK + 8 * c);
#pragma GCC unroll 3
            for (int r = 0; r < rows; r++) acc[r][c] = _mm256_fmadd_ps(b[r], k, acc[r][c]);
        }
    }
#pragma GCC unroll 3
    for (int r = 0; r < rows; r++)
#pragma GCC unroll 4
        for (int c = 0; c < vectors; c++) _mm256_storeu_ps(s + r * BLOCK + 8 * c, _mm256_mul_ps(acc[r][c], by));
}

/* y += p v over the keys from .. to, 8 * vectors dims. */
BL_INLINE void values(int rows, int vectors, const float *s, const float *v, float *y, int64_t from, int64_t to,
                      int64_t dim8)
{
    __m256 acc[3][4];
#pragma GCC unroll 3
    for (int r = 0; r < rows; r++)
#pragma GCC unroll 4
        for (int c = 0; c < vectors; c++) acc[r][c] = _mm256_loadu_ps(y + r * dim8 + 8 * c);
    for (int64_t j = from; j < to; j++) {
        __m256 b[3];
#pragma GCC unroll 3
        for (int r = 0; r < rows; r++) b[r] = _mm256_broadcast_ss(s + r * BLOCK + j);
#pragma GCC unroll 4
        for (int c = 0; c < vectors; c++) {
            __m256 x = _mm256_loadu_ps(v + j * dim8 + 8 * c);
#pragma GCC unroll 3
            for (int r = 0; r < rows; r++) acc[r][c] = _mm256_fmadd_ps(b[r], x, acc[r][c]);
        }
    }
#pragma GCC unroll 3
    for (int r = 0; r < rows; r++)
#pragma GCC unroll 4
        for (int c = 0; c < vectors; c++) _mm256_storeu_ps(y + r * dim8 + 8 * c, acc[r][c]);
}

/* Any number of vectors as fours and a rest. */
#define BY_ROWS(rows)                                                                                                  \
    static void scores##rows(const float *q, const float *kt, float *s, int64_t n, int64_t dim, int64_t dim8,          \
                             float scale)                                                                              \
    {                                                                                                                  \
        for (int64_t j = 0; j < n;) {                                                                                  \
            if (n - j > 16) {                                                                                          \
                scores(rows, 4, q, kt + j, s + j, dim, dim8, scale);                                                   \
                j += 32;                                                                                               \
            } else if (n - j > 8) {                                                                                    \
                scores(rows, 2, q, kt + j, s + j, dim, dim8, scale);                                                   \
                j += 16;                                                                                               \
            } else {                                                                                                   \
                scores(rows, 1, q, kt + j, s + j, dim, dim8, scale);                                                   \
                j += 8;                                                                                                \
            }                                                                                                          \
        }                                                                                                              \
    }                                                                                                                  \
    static void values##rows(const float *s, const float *v, float *y, int64_t from, int64_t to, int64_t dim8)         \
    {                                                                                                                  \
        for (int64_t d = 0; d < dim8 && from < to;) {                                                                  \
            if (dim8 - d >= 32) {                                                                                      \
                values(rows, 4, s, v + d, y + d, from, to, dim8);                                                      \
                d += 32;                                                                                               \
            } else if (dim8 - d >= 16) {                                                                               \
                values(rows, 2, s, v + d, y + d, from, to, dim8);                                                      \
                d += 16;                                                                                               \
            } else {                                                                                                   \
                values(rows, 1, s, v + d, y + d, from, to, dim8);                                                      \
                d += 8;                                                                                                \
            }                                                                                                          \
        }                                                                                                              \
    }
BY_ROWS(1)
BY_ROWS(2)
BY_ROWS(3)

const bl_attend_steps bl_attend_avx2 = {
    .rows = 3, .scores = {NULL, scores1, scores2, scores3}, .values = {NULL, values1, values2, values3}};

BL_INLINE __m256 max_of(__m256 x) /* in all lanes */
{
    x = _mm256_max_ps(x, _mm256_permute2f128_ps(x, x, 1));
    x = _mm256_max_ps(x, _mm256_shuffle_ps(x, x, 0x4e));
    return _mm256_max_ps(x, _mm256_shuffle_ps(x, x, 0xb1));
}

/* Scores of `rows` rows into probabilities: n visible keys of the block, zeros after them; rescales what was summed so
 * far.
 */
BL_INLINE void softmax(int rows, float *s, int64_t n, float *m, float *l, float *y, int64_t dim8)
{
    const __m256 none = _mm256_set1_ps(-INFINITY);
    __m256 top[3], sum[3];
    for (int r = 0; r < rows && n % 8; r++) { /* what is not visible becomes -inf */
        float *end = s + r * BLOCK + n / 8 * 8;
        _mm256_storeu_ps(end, _mm256_blendv_ps(none, _mm256_loadu_ps(end), _mm256_castsi256_ps(bl_first(n % 8))));
    }
#pragma GCC unroll 3
    for (int r = 0; r < rows; r++) top[r] = none;
    for (int64_t j = 0; j < n; j += 8)
#pragma GCC unroll 3
        for (int r = 0; r < rows; r++) top[r] = _mm256_max_ps(_mm256_loadu_ps(s + r * BLOCK + j), top[r]);
#pragma GCC unroll 3
    for (int r = 0; r < rows; r++) {
        const __m256 old = _mm256_set1_ps(m[r]);
        top[r] = _mm256_max_ps(max_of(top[r]), old);
        m[r] = _mm256_cvtss_f32(top[r]);
        const __m256 shrink = bl_exp8_low(_mm256_sub_ps(old, top[r]));
        sum[r] = _mm256_mul_ps(_mm256_loadu_ps(l + 8 * r), shrink);
        if (_mm256_cvtss_f32(shrink) != 1.0f)
            for (int64_t d = 0; d < dim8; d += 8)
                _mm256_storeu_ps(y + r * dim8 + d, _mm256_mul_ps(_mm256_loadu_ps(y + r * dim8 + d), shrink));
    }
    for (int64_t j = 0; j < n; j += 8)
#pragma GCC unroll 3
        for (int r = 0; r < rows; r++) {
            __m256 p = bl_exp8_low(_mm256_sub_ps(_mm256_loadu_ps(s + r * BLOCK + j), top[r]));
            _mm256_storeu_ps(s + r * BLOCK + j, p);
            sum[r] = _mm256_add_ps(sum[r], p);
        }
#pragma GCC unroll 3
    for (int r = 0; r < rows; r++) _mm256_storeu_ps(l + 8 * r, sum[r]);
}
static void softmax3(float *s, int64_t n, float *m, float *l, float *y, int64_t dim8)
{
    softmax(3, s, n, m, l, y, dim8);
}
static void softmax1(float *s, int64_t n, float *m, float *l, float *y, int64_t dim8)
{
    softmax(1, s, n, m, l, y, dim8);
}

void bl_attend_tile(const bl_attend *t, void *scratch)
{
    const bl_attention_args *a = t->a;
    int64_t dim = a->kv.head_dim, dim8 = up8(dim), heads = a->heads / a->kv.heads, rows = t->n * heads;
    int64_t first = t->l->past[t->seq] + t->q0; /* position of the first query */
    const bl_attend_steps *steps = t->steps;
    const space p = lay_out(scratch, dim8, rows);
    walk w = {t->l->seg + t->l->seg_start[t->seq], 0};
    for (int64_t r = 0; r < rows; r++) {
        memcpy(p.q + r * dim8,
               bl_cpu_row(&a->q, t->l->start[t->seq] + t->q0 + r / heads) + (t->kv * heads + r % heads) * dim,
               (size_t)dim * sizeof *p.q);
        p.m[r] = -INFINITY;
    }
    memset(p.y, 0, (size_t)(rows * dim8) * sizeof *p.y);
    memset(p.l, 0, (size_t)(rows * 8) * sizeof *p.l);

    for (int64_t k0 = 0; k0 < first + t->n; k0 += BLOCK) {
        int64_t n = BL_MIN(first + t->n - k0, BLOCK), r0 = BL_MAX(k0 - first, 0) * heads;
        int64_t more = BL_MIN(first + t->n - k0 - n, BLOCK); /* keys of the next block */
        load_block(t, &w, n, &p);
        walk ahead = w;
        for (int64_t r = r0, run; r < rows; r += run) {
            const float *q = p.q + r * dim8;
            float *y = p.y + r * dim8;
            int64_t seen[RUN];
            run = BL_MIN(rows - r, RUN);
            for (int64_t i = 0; i < run; i++) seen[i] = BL_MIN(first + (r + i) / heads + 1 - k0, n);
            for (int64_t i = 0, m; i < run; i += m) {
                m = BL_MIN(run - i, steps->rows);
                steps->scores[m](q + i * dim8, p.kt, p.s + i * BLOCK, n, dim, dim8, (float)a->scale);
            }
            for (int64_t i = 0, m; i < run; i += m) {
                m = i + 3 <= run && seen[i] == seen[i + 2] ? 3 : 1;
                (m == 3 ? softmax3 : softmax1)(p.s + i * BLOCK, seen[i], p.m + r + i, p.l + (r + i) * 8, y + i * dim8,
                                               dim8);
                if (more-- > 0) prefetch_row(t, &ahead);
            }
            for (int64_t i = 0, m; i < run; i += m) {
                m = BL_MIN(run - i, steps->rows);
                steps->values[m](p.s + i * BLOCK, p.v, y + i * dim8, 0, seen[i], dim8); /* the first sees least */
                for (int64_t j = i + 1; j < i + m; j++)
                    steps->values[1](p.s + j * BLOCK, p.v, y + j * dim8, seen[i], seen[j], dim8);
            }
        }
    }
    for (int64_t r = 0; r < rows; r++) {
        float *y = bl_cpu_row(&a->y, t->l->start[t->seq] + t->q0 + r / heads) + (t->kv * heads + r % heads) * dim;
        float sum = bl_sum1(_mm256_loadu_ps(p.l + r * 8));
        int64_t d = 0;
        for (; d + 8 <= dim; d += 8)
            _mm256_storeu_ps(y + d, _mm256_div_ps(_mm256_loadu_ps(p.y + r * dim8 + d), _mm256_set1_ps(sum)));
        for (; d < dim; d++) y[d] = p.y[r * dim8 + d] / sum;
    }
}
#endif
