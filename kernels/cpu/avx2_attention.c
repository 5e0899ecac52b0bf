/* avx2_attention.c - causal attention of a tile: some queries, with all heads that share a head of keys.
 *
 * Rows of the tile are (query, head), query first, so the rows of a sequence that see a block of keys are its last
 * ones. Keys that all sequences of a tile begin with are read once for all of its rows, then those of each for its own.
 * Per block of 64 keys:
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
    int64_t n_parts, kv;
    int64_t shared; /* positions, whole blocks, whose cache rows are those of the first part in all, before any query */
} tile;

/* Most queries times heads of a tile; 0: heads too many or too wide for it. */
static int64_t most_rows(const bl_attention_args *a)
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
BL_INLINE void prefetch_row(const tile *t, walk *w)
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
static void load_block(const tile *t, walk *w, int64_t n, const space *p)
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

/* Rows r_first .. of the tile over the keys from .. to, which w walks; `first`: position of the first query. While it
 * computes it asks for the keys of the next block, after the last one for n_after keys of `after`. */
static void attend(const tile *t, const space *p, walk *w, int64_t r_first, int64_t rows, int64_t first, int64_t from,
                   int64_t to, walk after, int64_t n_after)
{
    const bl_attention_args *a = t->a;
    const bl_attend_steps *steps = t->steps;
    int64_t dim = a->kv.head_dim, dim8 = up8(dim), heads = a->heads / a->kv.heads;

    for (int64_t k0 = from; k0 < to; k0 += BLOCK) {
        int64_t n = BL_MIN(to - k0, BLOCK), next = BL_MIN(to - k0 - n, BLOCK), r = BL_MAX(k0 - first, 0) * heads;
        load_block(t, w, n, p);
        walk ahead = *w;
        if (!next) {
            next = BL_MIN(n_after, BLOCK);
            ahead = after;
        }
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

/* Keys of its own that part i sees. */
static int64_t keys_of(const tile *t, int64_t i)
{
    return t->l->past[t->part[i].seq] + t->part[i].q0 + t->part[i].n - t->shared;
}

static void attend_tile(const tile *t, void *scratch)
{
    const bl_attention_args *a = t->a;
    int64_t dim = a->kv.head_dim, dim8 = up8(dim), heads = a->heads / a->kv.heads, rows = 0, at = 0;
    space p;
    for (int64_t i = 0; i < t->n_parts; i++) rows += t->part[i].n * heads;
    p = lay_out(scratch, dim8, rows);
    for (int64_t i = 0; i < t->n_parts; i++)
        for (int64_t r = 0; r < t->part[i].n * heads; r++, at++) {
            memcpy(p.q + at * dim8,
                   bl_cpu_row(&a->q, t->l->start[t->part[i].seq] + t->part[i].q0 + r / heads) +
                       (t->kv * heads + r % heads) * dim,
                   (size_t)dim * sizeof *p.q);
            p.m[at] = -INFINITY;
        }
    memset(p.y, 0, (size_t)(rows * dim8) * sizeof *p.y);
    memset(p.l, 0, (size_t)(rows * 8) * sizeof *p.l);

    walk w = walk_of(t, t->part[0].seq, 0), first_keys = w;
    for (int64_t i = BL_MIN(t->shared ? t->shared : keys_of(t, 0), BLOCK); i > 0; i--) prefetch_row(t, &first_keys);
    attend(t, &p, &w, 0, rows, t->shared, 0, t->shared, walk_of(t, t->part[0].seq, t->shared), keys_of(t, 0));
    at = 0;
    for (int64_t i = 0; i < t->n_parts; i++) {
        const part *part = &t->part[i];
        int64_t first = t->l->past[part->seq] + part->q0;
        bool more = i + 1 < t->n_parts;
        w = walk_of(t, part->seq, t->shared);
        attend(t, &p, &w, at, part->n * heads, first, t->shared, first + part->n,
               walk_of(t, t->part[more ? i + 1 : i].seq, t->shared), more ? keys_of(t, i + 1) : 0);
        for (int64_t r = 0; r < part->n * heads; r++, at++) {
            float *y = bl_cpu_row(&a->y, t->l->start[part->seq] + part->q0 + r / heads) +
                       (t->kv * heads + r % heads) * dim;
            float sum = bl_sum1(_mm256_loadu_ps(p.l + at * 8));
            int64_t d = 0;
            for (; d + 8 <= dim; d += 8)
                _mm256_storeu_ps(y + d, _mm256_div_ps(_mm256_loadu_ps(p.y + at * dim8 + d), _mm256_set1_ps(sum)));
            for (; d < dim; d++) y[d] = p.y[at * dim8 + d] / sum;
        }
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

typedef struct tiles_of {
    const bl_cpu *c;
    const tile *tile;
    int64_t n, heads;
} tiles_of;
static void attention_task(void *ctx, int64_t i, int lane)
{
    const tiles_of *all = ctx;
    tile t = all->tile[all->n - 1 - i / all->heads]; /* late tiles see most keys: they go first */
    t.steps = all->c->isa >= BL_ISA_AVX512 ? &bl_attend_avx512 : &bl_attend_avx2;
    t.kv = i % all->heads;
    attend_tile(&t, all->c->scratch[lane]);
}

bl_status bl_fast_attention(bl_backend *be, const bl_attention_args *a, bl_err *e)
{
    bl_status st = bl_cpu_check_attention(be, a, e);
    bl_cpu *c = be->own;
    bl_cpu_seqs l = bl_cpu_seqs_of(a);
    int64_t heads, most, few, n = 0;
    tile *tiles = NULL;
    part *list = NULL;
    double work = 0;
    if (st != BL_OK || !a->n_seq) return st;
    heads = a->heads / a->kv.heads;
    most = most_rows(a) / heads; /* queries of a tile */
    if (most < 1) return bl_ref_attention(be, a, e);
    for (int32_t s = 0; s < a->n_seq; s++) {
        int64_t rows = l.start[s + 1] - l.start[s];
        n += (rows + most - 1) / most;
        work += (double)rows * (double)(l.past[s] + rows) * (double)(a->heads * a->kv.head_dim);
    }
    /* So many that all threads are busy. */
    few = (l.start[a->n_seq] - l.start[0]) * a->kv.heads / (2 * bl_cpu_threads(be, work));
    few = BL_MIN(BL_MIN(RUN / heads, most), few);
    if (!(tiles = bl_new((size_t)n, sizeof *tiles, e)) || !(list = bl_new((size_t)n, sizeof *list, e))) {
        st = BL_E_NOMEM;
        goto out;
    }
    n = make_tiles(a, &l, most, few, tiles, list);
    bl_team_run(c->team, bl_cpu_threads(be, work), attention_task, &(tiles_of){c, tiles, n, a->kv.heads},
                n * a->kv.heads);
out:
    bl_free(tiles);
    bl_free(list);
    return st;
}
#endif
