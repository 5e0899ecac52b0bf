/* avx2_attention.c - causal attention of a tile: some queries, with all heads that share a head of keys.
 *
 * Rows of the tile are (query, head), query first, so the rows of a sequence that see a block of keys are its last
 * ones. Keys that all sequences of a tile begin with are read once for all of its rows, then those of each for its own.
 * Per block of 64 keys:
 *
 *     kt [dim][64]     the keys, transposed, so 8 keys are a vector and a score is one chain over dim
 *     v  [64][dim8]    the values, dense
 *     s  [48][64]      scores, then probabilities, of a run of rows
 *     kf [dim][64]     of a cache of codes, the keys that queries of their group see as activations are, turned too
 *
 * Where many sequences bring a few queries each, what they begin with comes first, head by head, and then the keys of
 * each sequence for all heads in turn: a row of the cache holds all of them, and is read while it is near.
 *
 * Scores are tiles of 3 rows by 32 keys, outputs tiles of 3 rows by 32 dims, or what avx512_attention.c does.
 * Arithmetic as in ref_attention.c, to the bit.
 */
#include "avx2.h"
#include "avx2_math.h"
#include "kernels/bare.h"

enum {
    BLOCK = BL_ATTEND_BLOCK,
    MOST_ROWS = 384,
    MOST_SHARED = 96, /* rows of several sequences */
    RUN = 48,
    FEW_QUERIES = 4,
    FEW_ROWS = 12
};

typedef struct space {
    float *q, *kt, *v, *s, *y, *l, *m, *kf;
} space;

static int64_t up8(int64_t n) { return (n + 7) / 8 * 8; }

/* One tile: queries of a sequence, or a few of several that begin with the same keys. */
typedef struct part {
    int32_t seq;
    int64_t q0, n;
} part; /* queries q0 .. q0+n of a sequence */
typedef struct tile {
    const bl_attend_steps *steps;
    const bl_attention_args *a;
    const bl_cpu_seqs *l;
    const part *part;
    int64_t n_parts, kv, kv_ahead; /* its head; heads whose next keys are asked for: 0 this one, else so many */
    bool own;                      /* keys of its parts' own come later, for all heads in turn */
    int64_t shared; /* positions, whole blocks, whose cache rows are those of the first part in all, before any query */
} tile;

/* Most queries times heads of a tile; 0: heads too many or too wide for it. */
static int64_t most_rows(const bl_attention_args *a)
{
    int64_t heads = a->heads / a->kv.heads, dim = up8(a->kv.head_dim),
            room = BL_CPU_SCRATCH / 4 - 3 * BLOCK * dim - RUN * BLOCK;
    int64_t rows = BL_MIN((room - 8) / (2 * dim + 8 + 1), MOST_ROWS);
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
    p.kf = p.m + up8(rows);
    return p;
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

static walk walk_on(walk w, int64_t n) { return (walk){w.seg, w.at + n}; }

/* Asks for the next key and value, which will be read with the next block. */
BL_INLINE void prefetch_row(const tile *t, walk *w)
{
    const bl_kv_view *kv = &t->a->kv;
    const int64_t row = next_row(w), bytes = bl_kv_code_bytes(kv->format, kv->head_dim, sizeof(float)),
                  at = row * kv->heads * bytes + (t->kv_ahead ? 0 : t->kv * bytes);
    const char *k = (const char *)bl_cpu_at(&kv->k) + at, *v = (const char *)bl_cpu_at(&kv->v) + at;
    for (int64_t i = 0; i < BL_MAX(t->kv_ahead, 1) * bytes; i += 64) {
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
/* Eight codes from d on, a multiple of 8. */
BL_INLINE __m256 codes8(const bl_cpu_kv *x, int64_t d)
{
    uint64_t bits = 0;
    if (x->bits == 8) {
        memcpy(&bits, x->packed + d, 8);
        return _mm256_cvtepi32_ps(_mm256_cvtepu8_epi32(_mm_cvtsi64_si128((long long)bits)));
    }
    memcpy(&bits, x->packed + d / 8 * x->bits, (size_t)x->bits);
    const __m256i at = _mm256_mullo_epi32(_mm256_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7), _mm256_set1_epi32(x->bits)),
                  all = _mm256_srlv_epi32(_mm256_set1_epi32((int)(uint32_t)bits), at);
    return _mm256_cvtepi32_ps(_mm256_and_si256(all, _mm256_set1_epi32((1 << x->bits) - 1)));
}
BL_INLINE __m256 halves8(const uint16_t *x)
{
    return _mm256_cvtph_ps(_mm_loadu_si128((const __m128i *)(const void *)x));
}

BL_INLINE void decode_values(const bl_cpu_kv *x, float *to, int64_t dim, int64_t dim8)
{
    int64_t d = 0;
    for (; d + 8 <= dim && x->codes; d += 8) {
        __m256i codes = _mm256_cvtepi8_epi32(_mm_loadl_epi64((const __m128i *)(const void *)(x->codes + d)));
        _mm256_storeu_ps(to + d, _mm256_mul_ps(_mm256_cvtepi32_ps(codes), _mm256_set1_ps(x->scale)));
    }
    for (; d + 8 <= dim && x->key; d += 8)
        _mm256_storeu_ps(
            to + d, _mm256_add_ps(_mm256_mul_ps(codes8(x, d), halves8(x->steps + d)), halves8(x->steps + dim + d)));
    for (; d + 8 <= dim; d += 8) {
        const uint16_t *step = x->steps + d / BL_KV_GROUP * 2;
        _mm256_storeu_ps(to + d, _mm256_add_ps(_mm256_mul_ps(codes8(x, d), _mm256_set1_ps(bl_f16_to_f32(step[0]))),
                                               _mm256_set1_ps(bl_f16_to_f32(step[1]))));
    }
    for (; d < dim; d++) to[d] = bl_cpu_kv_number(x, d, dim);
    for (; d < dim8; d++) to[d] = 0;
}

/* Eight keys become columns of kt; NULL: zeros. */
static void turn8(const float *const k[8], float *kt, int64_t dim)
{
    static const float zeros[8] = {0};
    const float *from[8];
    int64_t d = 0;
    for (; d + 8 <= dim; d += 8) {
        for (int i = 0; i < 8; i++) from[i] = k[i] ? k[i] + d : zeros;
        bl_transpose8(from, kt + d * BLOCK, BLOCK);
    }
    for (; d < dim; d++)
        for (int i = 0; i < 8; i++) kt[d * BLOCK + i] = k[i] ? k[i][d] : 0;
}

/* The next n <= 64 keys, transposed, and values; what is missing to a multiple of 8 keys becomes zero. Coded keys
 * become floats where their values will be. */
static void load_block(const tile *t, walk *w, int64_t n, const space *p)
{
    const bl_kv_view *kv = &t->a->kv;
    const bool coded = kv->format != BL_KV_ACT;
    int64_t dim = kv->head_dim, dim8 = up8(dim);
    for (int64_t j = 0; j < up8(n); j += 8) {
        const float *k[8];
        bl_cpu_kv v[8];
        for (int64_t i = 0; i < 8; i++) {
            int64_t row = j + i < n ? next_row(w) : -1;
            float *to = p->v + (j + i) * dim8;
            k[i] = NULL;
            if (row < 0) continue;
            const bl_cpu_kv key = bl_cpu_key(kv, row, t->kv);
            v[i] = bl_cpu_value(kv, row, t->kv);
            k[i] = coded ? to : key.values;
            if (coded) decode_values(&key, to, dim, dim8);
            else copy_values(v[i].values, to, dim, dim8);
        }
        turn8(k, p->kt + j, dim);
        for (int64_t i = 0; i < 8 && coded && k[i]; i++) decode_values(&v[i], p->v + (j + i) * dim8, dim, dim8);
    }
}

/* Of a cache of codes, the keys of positions k0 .. k0+n-1, at most 64, that a sequence has as activations are;
 * `least`: the first of them. */
static void load_own(const tile *t, const bl_kv_own *own, int64_t least, int64_t k0, int64_t n, const space *p)
{
    for (int64_t j = BL_MAX(least - k0, 0) / 8 * 8; j < n; j += 8) {
        const float *k[8];
        for (int64_t i = 0; i < 8; i++) k[i] = j + i < n ? bl_cpu_own_key(t->a, own, k0 + j + i, t->kv) : NULL;
        turn8(k, p->kf + j, t->a->kv.head_dim);
    }
}

/* Scores of `rows` rows with 8 * vectors keys. */
BL_BARE BL_INLINE void scores(int rows, int vectors, const float *q, const float *kt, float *s, int64_t dim,
                              int64_t dim8, float scale)
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
BL_BARE BL_INLINE void values(int rows, int vectors, const float *s, const float *v, float *y, int64_t from, int64_t to,
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

/* Of rows that are ld numbers apart, from the first number to the last. */
static void watch(const float *x, int64_t rows, int64_t ld, int64_t n)
{
    bl_watch(x, ((rows - 1) * ld + n) * (int64_t)sizeof *x);
}

/* Of n numbers, those that fours of vectors and a rest touch. */
static int64_t touched(int64_t n) { return n % 32 > 16 ? (n + 31) / 32 * 32 : up8(n); }

/* Any number of vectors as fours and a rest. */
#define BY_ROWS(rows)                                                                                                  \
    BL_BARE static void scores##rows(const float *q, const float *kt, float *s, int64_t n, int64_t dim, int64_t dim8,  \
                                     float scale)                                                                      \
    {                                                                                                                  \
        watch(q, rows, dim8, dim);                                                                                     \
        watch(kt, dim, BLOCK, touched(n));                                                                             \
        watch(s, rows, BLOCK, touched(n));                                                                             \
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
    BL_BARE static void values##rows(const float *s, const float *v, float *y, int64_t from, int64_t to, int64_t dim8) \
    {                                                                                                                  \
        if (from < to) {                                                                                               \
            watch(s + from, rows, BLOCK, to - from);                                                                   \
            watch(v + from * dim8, to - from, dim8, dim8);                                                             \
            watch(y, rows, dim8, dim8);                                                                                \
        }                                                                                                              \
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

/* ---- few rows: keys and values are read where they are, each once ---- */

/* Scores of up to 3 rows with n keys, 8 of them turned at a time. */
BL_INLINE void scores_at(int rows, const float *const *k, int64_t n, const float *q, float *s, int64_t dim,
                         int64_t dim8, float scale)
{
    for (int64_t j = 0; j < n; j += 8) {
        const float *at[8], *from[8];
        __m256 acc[3];
        for (int64_t i = 0; i < 8; i++) at[i] = k[BL_MIN(j + i, n - 1)]; /* past the last one, what nobody sees */
#pragma GCC unroll 3
        for (int r = 0; r < rows; r++) acc[r] = _mm256_setzero_ps();
        for (int64_t d = 0; d < dim; d += 8) {
            float t[64];
            for (int i = 0; i < 8; i++) from[i] = at[i] + d;
            bl_transpose8(from, t, 8);
#pragma GCC unroll 8
            for (int i = 0; i < 8; i++)
#pragma GCC unroll 3
                for (int r = 0; r < rows; r++)
                    acc[r] = _mm256_fmadd_ps(_mm256_broadcast_ss(q + r * dim8 + d + i), _mm256_loadu_ps(t + 8 * i),
                                             acc[r]);
        }
#pragma GCC unroll 3
        for (int r = 0; r < rows; r++)
            _mm256_storeu_ps(s + r * BLOCK + j, _mm256_mul_ps(acc[r], _mm256_set1_ps(scale)));
    }
}

/* y += p v over the keys from .. to, 8 * vectors dims from d on. */
BL_INLINE void values_at(int rows, int vectors, const float *s, const float *const *v, int64_t d, float *y,
                         int64_t from, int64_t to, int64_t dim8)
{
    __m256 acc[3][4];
#pragma GCC unroll 3
    for (int r = 0; r < rows; r++)
#pragma GCC unroll 4
        for (int c = 0; c < vectors; c++) acc[r][c] = _mm256_loadu_ps(y + r * dim8 + d + 8 * c);
    for (int64_t j = from; j < to; j++) {
        const float *x = v[j] + d;
#pragma GCC unroll 3
        for (int r = 0; r < rows; r++) {
            const __m256 b = _mm256_broadcast_ss(s + r * BLOCK + j);
#pragma GCC unroll 4
            for (int c = 0; c < vectors; c++) acc[r][c] = _mm256_fmadd_ps(b, _mm256_loadu_ps(x + 8 * c), acc[r][c]);
        }
    }
#pragma GCC unroll 3
    for (int r = 0; r < rows; r++)
#pragma GCC unroll 4
        for (int c = 0; c < vectors; c++) _mm256_storeu_ps(y + r * dim8 + d + 8 * c, acc[r][c]);
}

#define AT_ROWS(rows)                                                                                                  \
    static void scores_at##rows(const float *const *k, int64_t n, const float *q, float *s, int64_t dim, int64_t dim8, \
                                float scale)                                                                           \
    {                                                                                                                  \
        scores_at(rows, k, n, q, s, dim, dim8, scale);                                                                 \
    }                                                                                                                  \
    static void values_at##rows(const float *s, const float *const *v, float *y, int64_t from, int64_t to,             \
                                int64_t dim8)                                                                          \
    {                                                                                                                  \
        int64_t d = 0;                                                                                                 \
        for (; d + 32 <= dim8; d += 32) values_at(rows, 4, s, v, d, y, from, to, dim8);                                \
        for (; d < dim8; d += 8) values_at(rows, 1, s, v, d, y, from, to, dim8);                                       \
    }
AT_ROWS(1)
AT_ROWS(2)
AT_ROWS(3)

static void (*const few_scores[])(const float *const *, int64_t, const float *, float *, int64_t, int64_t,
                                  float) = {NULL, scores_at1, scores_at2, scores_at3};
static void (*const few_values[])(const float *, const float *const *, float *, int64_t, int64_t,
                                  int64_t) = {NULL, values_at1, values_at2, values_at3};

/* One block of n keys for rows of queries that begin at `first`; k0: the first key. */
static void attend_few(const tile *t, const space *p, walk *w, int64_t r_first, int64_t rows, int64_t first, int64_t k0,
                       int64_t n)
{
    const bl_kv_view *kv = &t->a->kv;
    int64_t dim = kv->head_dim, heads = t->a->heads / kv->heads;
    const float *k[BLOCK], *v[BLOCK];
    for (int64_t j = 0; j < n; j++) {
        int64_t row = next_row(w);
        k[j] = bl_cpu_row(&kv->k, row) + t->kv * dim;
        v[j] = bl_cpu_row(&kv->v, row) + t->kv * dim;
    }
    for (int64_t i = BL_MAX(k0 - first, 0) * heads, m; i < rows; i += m) {
        int64_t at = r_first + i, seen = BL_MIN(first + i / heads + 1 - k0, n); /* rows of one query at a time */
        m = BL_MIN(BL_MIN(rows, (i / heads + 1) * heads) - i, 3);
        few_scores[m](k, seen, p->q + at * dim, p->s, dim, dim, (float)t->a->scale);
        (m == 3 ? softmax3 : softmax1)(p->s, seen, p->m + at, p->l + at * 8, p->y + at * dim, dim);
        if (m == 2) softmax1(p->s + BLOCK, seen, p->m + at + 1, p->l + (at + 1) * 8, p->y + (at + 1) * dim, dim);
        few_values[m](p->s, v, p->y + at * dim, 0, seen, dim);
    }
}

/* Scores of rows r .. r+run with the keys of the group that each is in itself, where it begins in the block at k0. */
static void own_scores(const tile *t, const space *p, int64_t r_first, int64_t r, int64_t run, int64_t first,
                       int64_t k0, int64_t n)
{
    const bl_attention_args *a = t->a;
    int64_t dim = a->kv.head_dim, dim8 = up8(dim), heads = a->heads / a->kv.heads;
    for (int64_t i = 0, k; i < run; i += k) {
        int64_t group = (first + (r + i) / heads) / BL_KV_GROUP * BL_KV_GROUP, at = group - k0;
        for (k = 1; k < t->steps->rows && i + k < run && first + (r + i + k) / heads < group + BL_KV_GROUP;) k++;
        if (at >= 0 && at < n)
            t->steps->scores[k](p->q + (r_first + r + i) * dim8, p->kf + at, p->s + i * BLOCK + at,
                                BL_MIN(n - at, BL_KV_GROUP), dim, dim8, (float)a->scale);
    }
}

/* Rows r_first .. of the tile over the keys from .. to, which w walks; `first`: position of the first query. While it
 * computes it asks for the keys of the next block, after the last one for n_after keys of `after`. own: of a cache of
 * codes, where keys may be of the group of a query; else NULL. */
static void attend(const tile *t, const space *p, walk *w, int64_t r_first, int64_t rows, int64_t first, int64_t from,
                   int64_t to, walk after, int64_t n_after, const bl_kv_own *own)
{
    const bl_attention_args *a = t->a;
    const bl_attend_steps *steps = t->steps;
    int64_t dim = a->kv.head_dim, dim8 = up8(dim), heads = a->heads / a->kv.heads;

    for (int64_t k0 = from; k0 < to; k0 += BLOCK) {
        int64_t n = BL_MIN(to - k0, BLOCK), next = BL_MIN(to - k0 - n, BLOCK), r = BL_MAX(k0 - first, 0) * heads;
        walk ahead = walk_on(*w, n);
        if (!next) {
            next = BL_MIN(n_after, BLOCK);
            ahead = after;
        }
        if (rows - r <= FEW_ROWS && a->kv.format == BL_KV_ACT && dim % 8 == 0) {
            for (; next > 0; next--) prefetch_row(t, &ahead);
            attend_few(t, p, w, r_first, rows, first, k0, n);
            continue;
        }
        load_block(t, w, n, p);
        const int64_t least = first / BL_KV_GROUP * BL_KV_GROUP; /* what is seen as activations are */
        const bool mixed = own && k0 + n > least;
        if (mixed) load_own(t, own, least, k0, n, p);
        const int64_t each = (next * 3 + rows - r - 1) / (rows - r); /* for every three rows */
        for (int64_t run; r < rows; r += run) {
            const float *q = p->q + (r_first + r) * dim8;
            float *y = p->y + (r_first + r) * dim8, *m = p->m + r_first + r, *l = p->l + (r_first + r) * 8;
            int64_t seen[RUN];
            run = BL_MIN(rows - r, RUN);
            for (int64_t i = 0; i < run; i++) seen[i] = BL_MIN(first + (r + i) / heads + 1 - k0, n);
            for (int64_t i = 0, k; i < run; i += k) {
                k = BL_MIN(run - i, steps->rows);
                steps->scores[k](q + i * dim8, p->kt, p->s + i * BLOCK, n, dim, dim8, (float)a->scale);
            }
            if (mixed) own_scores(t, p, r_first, r, run, first, k0, n);
            for (int64_t i = 0, k; i < run; i += k) {
                k = i + 3 <= run && seen[i] == seen[i + 2] ? 3 : 1;
                (k == 3 ? softmax3 : softmax1)(p->s + i * BLOCK, seen[i], m + i, l + i * 8, y + i * dim8, dim8);
                for (int64_t j = 0; j < each && next > 0; j++, next--) prefetch_row(t, &ahead);
            }
            for (int64_t i = 0, k; i < run; i += k) {
                k = BL_MIN(run - i, steps->rows);
                steps->values[k](p->s + i * BLOCK, p->v, y + i * dim8, 0, seen[i], dim8); /* the first sees least */
                for (int64_t j = i + 1; j < i + k; j++)
                    steps->values[1](p->s + j * BLOCK, p->v, y + j * dim8, seen[i], seen[j], dim8);
            }
        }
    }
}

static walk walk_of(const tile *t, int32_t seq, int64_t at) { return (walk){t->l->seg + t->l->seg_start[seq], at}; }

static const bl_kv_own *own_of(const tile *t, const part *part) { return t->l->own ? &t->l->own[part->seq] : NULL; }

/* Keys of its own that part i sees. */
static int64_t keys_of(const tile *t, int64_t i)
{
    return t->l->past[t->part[i].seq] + t->part[i].q0 + t->part[i].n - t->shared;
}

/* Rows of head t->kv of queries q0 .. q0+n of a sequence, which is the order of rows in a tile. */
static float *head_row(const tile *t, const bl_tensor *x, const part *part, int64_t r)
{
    int64_t heads = t->a->heads / t->a->kv.heads;
    return bl_cpu_row(x, t->l->start[part->seq] + part->q0 + r / heads) +
           (t->kv * heads + r % heads) * t->a->kv.head_dim;
}

static void begin_rows(const tile *t, const space *p, const part *part, int64_t at, int64_t rows)
{
    int64_t dim = t->a->kv.head_dim, dim8 = up8(dim);
    for (int64_t r = 0; r < rows; r++) {
        memcpy(p->q + (at + r) * dim8, head_row(t, &t->a->q, part, r), (size_t)dim * sizeof *p->q);
        p->m[at + r] = -INFINITY;
    }
    memset(p->y + at * dim8, 0, (size_t)(rows * dim8) * sizeof *p->y);
    memset(p->l + at * 8, 0, (size_t)(rows * 8) * sizeof *p->l);
}

static void end_rows(const tile *t, const space *p, const part *part, int64_t at, int64_t rows)
{
    int64_t dim = t->a->kv.head_dim, dim8 = up8(dim);
    for (int64_t r = 0; r < rows; r++, at++) {
        float *y = head_row(t, &t->a->y, part, r), sum = bl_sum1(_mm256_loadu_ps(p->l + at * 8));
        int64_t d = 0;
        for (; d + 8 <= dim; d += 8)
            _mm256_storeu_ps(y + d, _mm256_div_ps(_mm256_loadu_ps(p->y + at * dim8 + d), _mm256_set1_ps(sum)));
        for (; d < dim; d++) y[d] = p->y[at * dim8 + d] / sum;
    }
}

/* What is known of a row after the keys that several begin with: m and l, and in a->y what is summed of the values. */
typedef struct partly {
    float m, l[8];
} partly;
static partly *partly_of(const tile *t, partly *all, const part *part, int64_t r)
{
    int64_t heads = t->a->heads / t->a->kv.heads;
    return all + (t->l->start[part->seq] + part->q0 + r / heads - t->l->start[0]) * t->a->heads + t->kv * heads +
           r % heads;
}

static void put_partly(const tile *t, const space *p, const part *part, int64_t at, int64_t rows, partly *all)
{
    int64_t dim = t->a->kv.head_dim, dim8 = up8(dim);
    for (int64_t r = 0; r < rows; r++, at++) {
        partly *to = partly_of(t, all, part, r);
        to->m = p->m[at];
        memcpy(to->l, p->l + at * 8, sizeof to->l);
        memcpy(head_row(t, &t->a->y, part, r), p->y + at * dim8, (size_t)dim * sizeof(float));
    }
}

static void get_partly(const tile *t, const space *p, const part *part, int64_t at, int64_t rows, partly *all)
{
    int64_t dim = t->a->kv.head_dim, dim8 = up8(dim);
    for (int64_t r = 0; r < rows; r++, at++) {
        const partly *from = partly_of(t, all, part, r);
        p->m[at] = from->m;
        memcpy(p->l + at * 8, from->l, sizeof from->l);
        memcpy(p->y + at * dim8, head_row(t, &t->a->y, part, r), (size_t)dim * sizeof(float));
    }
}

/* All of it, or, where there is `all`, as far as the parts begin alike. */
static void attend_tile(const tile *t, void *scratch, partly *all)
{
    int64_t heads = t->a->heads / t->a->kv.heads, rows = 0, at = 0;
    space p;
    if (all && !t->shared) return;
    for (int64_t i = 0; i < t->n_parts; i++) rows += t->part[i].n * heads;
    p = lay_out(scratch, up8(t->a->kv.head_dim), rows);
    for (int64_t i = 0; i < t->n_parts; at += t->part[i++].n * heads)
        begin_rows(t, &p, &t->part[i], at, t->part[i].n * heads);

    walk w = walk_of(t, t->part[0].seq, 0), first_keys = w;
    for (int64_t i = BL_MIN(t->shared ? t->shared : keys_of(t, 0), BLOCK); i > 0; i--) prefetch_row(t, &first_keys);
    attend(t, &p, &w, 0, rows, t->shared, 0, t->shared, walk_of(t, t->part[0].seq, t->shared), all ? 0 : keys_of(t, 0),
           NULL);
    at = 0;
    for (int64_t i = 0; i < t->n_parts; at += t->part[i++].n * heads) {
        const part *part = &t->part[i];
        int64_t first = t->l->past[part->seq] + part->q0;
        bool more = i + 1 < t->n_parts;
        if (all) {
            put_partly(t, &p, part, at, part->n * heads, all);
            continue;
        }
        w = walk_of(t, part->seq, t->shared);
        attend(t, &p, &w, at, part->n * heads, first, t->shared, first + part->n,
               walk_of(t, t->part[more ? i + 1 : i].seq, t->shared), more ? keys_of(t, i + 1) : 0, own_of(t, part));
        end_rows(t, &p, part, at, part->n * heads);
    }
}

/* Keys that a part does not share, for all heads. */
typedef struct own {
    const tile *t;
    const part *part;
} own;
static int64_t own_keys(const own *o) { return o->t->l->past[o->part->seq] + o->part->q0 + o->part->n - o->t->shared; }

/* n of them; while one is computed the next keys are asked for, its own and then those of the one after it. */
static void attend_own(const bl_attend_steps *steps, const own *o, int64_t n, void *scratch, partly *all)
{
    for (int64_t i = 0; i < n; i++) {
        const part *part = o[i].part;
        const bl_attention_args *a = o[i].t->a;
        tile t = *o[i].t;
        int64_t kv_heads = a->kv.heads, rows = part->n * (a->heads / kv_heads), keys = own_keys(&o[i]);
        int64_t first = t.l->past[part->seq] + part->q0;
        const space p = lay_out(scratch, up8(a->kv.head_dim), rows * kv_heads);
        walk w = walk_of(&t, part->seq, t.shared), ahead = w;

        t.steps = steps;
        t.kv_ahead = kv_heads;
        for (int64_t j = BL_MIN(keys, BLOCK); i == 0 && j > 0; j--) prefetch_row(&t, &ahead);
        for (t.kv = 0; t.kv < kv_heads; t.kv++) {
            begin_rows(&t, &p, part, t.kv * rows, rows);
            if (t.shared) get_partly(&t, &p, part, t.kv * rows, rows, all);
        }
        for (int64_t k = 0; k < keys; k += BLOCK) {
            int64_t here = BL_MIN(keys - k, BLOCK), next = BL_MIN(keys - k - here, BLOCK), share;
            ahead = walk_on(w, here);
            if (!next && i + 1 < n) {
                next = BL_MIN(own_keys(&o[i + 1]), BLOCK);
                ahead = walk_of(o[i + 1].t, o[i + 1].part->seq, o[i + 1].t->shared);
            }
            share = (next + kv_heads - 1) / kv_heads;
            for (t.kv = 0; t.kv < kv_heads; t.kv++) {
                walk from = w;
                attend(&t, &p, &from, t.kv * rows, rows, first, t.shared + k, t.shared + k + here,
                       walk_on(ahead, t.kv * share), BL_MAX(BL_MIN(share, next - t.kv * share), 0), own_of(&t, part));
            }
            w = walk_on(w, here);
        }
        for (t.kv = 0; t.kv < kv_heads; t.kv++) end_rows(&t, &p, part, t.kv * rows, rows);
    }
}

/* ---- tiles ---- */
/* Positions, in whole blocks and before any query, that two sequences have in the same cache rows. */
static int64_t in_common(const bl_cpu_seqs *l, int32_t a, int32_t b)
{
    const bl_kv_seg *x = l->seg + l->seg_start[a], *y = l->seg + l->seg_start[b];
    int64_t most = BL_MIN(l->past[a], l->past[b]), n = 0, k;
    for (; n < most && x->row == y->row; x++, y++) {
        n += k = BL_MIN(x->len, y->len);
        if (x->len != y->len) break;
    }
    return BL_MIN(n, most) / BLOCK * BLOCK;
}

/* Queries of a tile of several sequences: all tiles as large as each other, as few as keep the threads busy. */
static int64_t few_queries(int64_t queries, int64_t kv_heads, int threads, int64_t most)
{
    int64_t least = threads > 1 ? (2 * threads + kv_heads - 1) / kv_heads : 1, tiles;
    if (most < 1) return 0;
    tiles = BL_MAX(least, (queries + most - 1) / most);
    return (queries + tiles - 1) / tiles;
}

/* Queries of a tile of one sequence: as many as its scratch holds, fewer where the threads would have too few tiles;
 * the late ones of a prompt see more keys than the early ones, so that each thread needs several. */
static int64_t tile_queries(int64_t queries, int64_t kv_heads, int threads, int64_t most)
{
    enum { TILES = 4, LEAST = 16 }; /* of a thread; queries that are worth reading the keys for */
    const int64_t share = queries * kv_heads / (TILES * threads);
    return threads > 1 ? BL_MIN(most, BL_MAX(share, LEAST)) : most;
}

/* Sequences into tiles; few: queries of those that are read together, at most. tile and list hold as many as there can
 * be. */
static int64_t make_tiles(const bl_attention_args *a, const bl_cpu_seqs *l, int64_t most, int64_t few, tile *tiles,
                          part *list)
{
    int64_t n_tiles = 0, n_parts = 0, queries = 0; /* of the last tile */
    for (int32_t s = 0; s < a->n_seq; s++) {
        int64_t n = l->start[s + 1] - l->start[s], common = 0;
        tile *last = n_tiles ? &tiles[n_tiles - 1] : NULL;
        if (last && n && queries + n <= few) common = in_common(l, last->part->seq, s);
        if (common && (last->n_parts == 1 || 2 * common >= last->shared)) {
            last->shared = last->n_parts++ == 1 ? common : BL_MIN(last->shared, common);
            list[n_parts++] = (part){s, 0, n};
            queries += n;
            continue;
        }
        for (int64_t q0 = 0; q0 < n; q0 += most) {
            queries = BL_MIN(n - q0, most);
            tiles[n_tiles++] = (tile){.a = a, .l = l, .part = &list[n_parts], .n_parts = 1};
            list[n_parts++] = (part){s, q0, queries};
        }
    }
    return n_tiles;
}

/* Parts of tiles whose sequences all bring few queries, unless they are too few for the threads. */
static int64_t make_own(const tile *tiles, int64_t n, int64_t most, int64_t least, own *out)
{
    int64_t n_own = 0;
    for (int64_t i = 0; i < n; i++) {
        const tile *t = &tiles[i];
        int64_t k = 0;
        while (k < t->n_parts && t->part[k].n <= BL_MIN(FEW_QUERIES, most)) k++;
        if (k < t->n_parts) continue;
        for (k = 0; k < t->n_parts; k++) out[n_own++] = (own){t, &t->part[k]};
    }
    return n_own < least ? 0 : n_own;
}

typedef struct job {
    const bl_cpu *c;
    const bl_attend_steps *steps;
    const tile *tile;
    const own *own;
    int64_t n, heads, n_own, own_tasks;
    partly *all;
} job;
static void tile_task(void *ctx, int64_t i, int lane)
{
    const job *j = ctx;
    const int64_t at = bl_team_dealt(i, j->n * j->heads, j->c->threads);
    tile t = j->tile[j->n - 1 - at / j->heads]; /* late tiles see most keys */
    t.steps = j->steps;
    t.kv = at % j->heads;
    attend_tile(&t, j->c->scratch[lane], t.own ? j->all : NULL);
}
static void own_task(void *ctx, int64_t i, int lane)
{
    const job *j = ctx;
    int64_t from = j->n_own * i / j->own_tasks, to = j->n_own * (i + 1) / j->own_tasks;
    attend_own(j->steps, j->own + from, to - from, j->c->scratch[lane], j->all);
}

bl_status bl_fast_attention(bl_backend *be, const bl_attention_args *a, bl_err *e)
{
    enum { OWN_TASKS = 4, LEAST_WORK = 20000 }; /* for each thread; that more than one is worth it, which are awake */
    bl_status st = bl_cpu_check_attention(be, a, e);
    bl_cpu *c = be->own;
    bl_cpu_seqs l = bl_cpu_seqs_of(a);
    int64_t heads, most, tall, few, n = 0, n_own;
    int threads;
    tile *tiles = NULL;
    part *list = NULL;
    own *owns = NULL;
    partly *all = NULL;
    double work = 0;
    if (st != BL_OK || !a->n_seq) return st;
    heads = a->heads / a->kv.heads;
    most = most_rows(a) / heads; /* queries of a tile */
    if (most < 1) return bl_ref_attention(be, a, e);
    for (int32_t s = 0; s < a->n_seq; s++) {
        int64_t rows = l.start[s + 1] - l.start[s];
        work += (double)rows * (double)(l.past[s] + rows) * (double)(a->heads * a->kv.head_dim);
    }
    threads = work < LEAST_WORK ? 1 : c->threads;
    tall = tile_queries(l.start[a->n_seq] - l.start[0], a->kv.heads, threads, most);
    for (int32_t s = 0; s < a->n_seq; s++) n += (l.start[s + 1] - l.start[s] + tall - 1) / tall;
    few = few_queries(l.start[a->n_seq] - l.start[0], a->kv.heads, threads, BL_MIN(MOST_SHARED / heads, most));
    if (!(tiles = bl_new((size_t)n, sizeof *tiles, e)) || !(list = bl_new((size_t)n, sizeof *list, e)) ||
        !(owns = bl_new((size_t)n, sizeof *owns, e))) {
        st = BL_E_NOMEM;
        goto out;
    }
    n = make_tiles(a, &l, tall, few, tiles, list);
    n_own = make_own(tiles, n, most / a->kv.heads, 2 * threads, owns);
    for (int64_t i = 0; i < n_own; i++) tiles[owns[i].t - tiles].own = true;
    if (n_own && !(all = bl_new((size_t)((l.start[a->n_seq] - l.start[0]) * a->heads), sizeof *all, e))) {
        st = BL_E_NOMEM;
        goto out;
    }
    job j = {.c = c,
             .steps = c->isa >= BL_ISA_AVX512 ? &bl_attend_avx512 : &bl_attend_avx2,
             .tile = tiles,
             .own = owns,
             .n = n,
             .heads = a->kv.heads,
             .n_own = n_own,
             .own_tasks = BL_MIN(n_own, OWN_TASKS * threads),
             .all = all};
    bl_team_run(c->team, threads, tile_task, &j, n * a->kv.heads);
    if (n_own) bl_team_run(c->team, threads, own_task, &j, j.own_tasks);
out:
    bl_free(tiles);
    bl_free(list);
    bl_free(owns);
    bl_free(all);
    return st;
}
