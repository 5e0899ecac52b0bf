/* avx2_solve.c - pieces of the solving ops with AVX2: the column sweep of 16 rows, a tile of second moments, a
 * quadratic form. */
#include "solve.h"
#include <immintrin.h>

#define BL_INLINE static inline __attribute__((always_inline))

/* ---- the column sweep: 16 rows are the lanes of two vectors, so that every lane does what ref_solve.c does ---- */
enum { LANES = BL_SWEEP_ROWS };
typedef struct lanes {
    __m256 a, b;
} lanes;

BL_INLINE lanes load(const float *p) { return (lanes){_mm256_loadu_ps(p), _mm256_loadu_ps(p + 8)}; }
BL_INLINE void store(float *p, lanes v)
{
    _mm256_storeu_ps(p, v.a);
    _mm256_storeu_ps(p + 8, v.b);
}

BL_INLINE __m256 round_to_grid(__m256 x, __m256 s, __m256 z, __m256 qmax)
{
    enum { nearest = _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC };
    __m256 whole = _mm256_round_ps(z, nearest), part = _mm256_sub_ps(z, whole);
    __m256 q = _mm256_add_ps(_mm256_round_ps(_mm256_add_ps(_mm256_div_ps(x, s), part), nearest), whole);
    q = _mm256_max_ps(_mm256_setzero_ps(), q); /* NaN stays */
    q = _mm256_min_ps(qmax, q);
    return _mm256_mul_ps(_mm256_sub_ps(q, z), s);
}

BL_INLINE __m256 scale_with_sign(__m256 x, __m256 s)
{
    __m256 negative = _mm256_cmp_ps(x, _mm256_setzero_ps(), _CMP_NGE_UQ);
    return _mm256_blendv_ps(s, _mm256_sub_ps(_mm256_setzero_ps(), s), negative);
}

BL_INLINE void add_squares(__m256d sum[2], __m256 e)
{
    __m256d lo = _mm256_cvtps_pd(_mm256_castps256_ps128(e)), hi = _mm256_cvtps_pd(_mm256_extractf128_ps(e, 1));
    sum[0] = _mm256_add_pd(sum[0], _mm256_mul_pd(lo, lo));
    sum[1] = _mm256_add_pd(sum[1], _mm256_mul_pd(hi, hi));
}

/* w[c] -= err[i] u[i, c] for `cols` columns, i in order. */
BL_INLINE void spread(float *w, const float *err, int64_t n, const float *u, int64_t ldu, int cols)
{
    lanes acc[6];
#pragma GCC unroll 6
    for (int c = 0; c < cols; c++) acc[c] = load(w + c * LANES);
    for (int64_t i = 0; i < n; i++, u += ldu) {
        lanes e = load(err + i * LANES);
#pragma GCC unroll 6
        for (int c = 0; c < cols; c++) {
            __m256 v = _mm256_broadcast_ss(u + c);
            acc[c].a = _mm256_fnmadd_ps(e.a, v, acc[c].a);
            acc[c].b = _mm256_fnmadd_ps(e.b, v, acc[c].b);
        }
    }
#pragma GCC unroll 6
    for (int c = 0; c < cols; c++) store(w + c * LANES, acc[c]);
}

void bl_avx2_sweep(const bl_gptq_sweep_args *a, int64_t row0, int64_t rows, double *loss, float *space)
{
    int64_t in = a->w.dim[1];
    float *w = space, *w1 = w + LANES * in, *err = w1 + LANES * a->block, *tmp = err + LANES * a->block;
    float scale[LANES], zero[LANES];
    const __m256 qmax = _mm256_set1_ps((float)((1 << a->bits) - 1));
    __m256d sum[4] = {_mm256_setzero_pd(), _mm256_setzero_pd(), _mm256_setzero_pd(), _mm256_setzero_pd()};
    double sums[LANES];

    bool given = a->rule == BL_RANGE_GIVEN;
    for (int64_t r = 0; r < rows && a->fit_first && !given; r++) bl_cpu_sweep_fit_first(a, row0 + r, tmp);
    for (int r = 0; r < LANES; r++) {
        const float *x = r < rows ? bl_cpu_row(&a->w, row0 + r) : NULL;
        for (int64_t j = 0; j < in; j++) w[j * LANES + r] = x ? x[j] : 0;
        scale[r] = 1;
        zero[r] = 0;
    }
    int64_t last = a->count ? a->first + a->count : in;
    for (int64_t i1 = a->first; i1 < last; i1 += a->block) {
        int64_t n = BL_MIN(a->block, last - i1), j = i1 + n;
        memcpy(w1, w + i1 * LANES, (size_t)(n * LANES) * sizeof *w1);
        for (int64_t i = 0; i < n; i++) {
            const float *u = bl_cpu_row(&a->u, i1 + i) + i1;
            int64_t k = bl_cpu_sweep_group(a, i1 + i);
            if (i1 + i == a->first || k != bl_cpu_sweep_group(a, i1 + i - 1))
                for (int64_t r = 0; r < rows; r++) {
                    if (!a->fit_first && !given) bl_cpu_sweep_fit_next(a, row0 + r, i1 + i, w + r, LANES, tmp);
                    scale[r] = bl_cpu_row(&a->scale, row0 + r)[k];
                    zero[r] = bl_cpu_row(&a->zero, row0 + r)[k];
                }
            lanes x = load(w1 + i * LANES), s = load(scale), z = load(zero), v, e;
            const __m256 d = _mm256_broadcast_ss(u + i);
            v.a = a->rule == BL_RANGE_SIGN ? scale_with_sign(x.a, s.a) : round_to_grid(x.a, s.a, z.a, qmax);
            v.b = a->rule == BL_RANGE_SIGN ? scale_with_sign(x.b, s.b) : round_to_grid(x.b, s.b, z.b, qmax);
            e.a = _mm256_div_ps(_mm256_sub_ps(x.a, v.a), d); /* e = (w - w^) / U_ii */
            e.b = _mm256_div_ps(_mm256_sub_ps(x.b, v.b), d);
            add_squares(sum, e.a);
            add_squares(sum + 2, e.b);
            store(err + i * LANES, e);
            store(w1 + i * LANES, v);
            for (int64_t c = i + 1; c < n; c++) {
                lanes y = load(w1 + c * LANES);
                const __m256 uc = _mm256_broadcast_ss(u + c);
                y.a = _mm256_fnmadd_ps(e.a, uc, y.a);
                y.b = _mm256_fnmadd_ps(e.b, uc, y.b);
                store(w1 + c * LANES, y);
            }
        }
        memcpy(w + i1 * LANES, w1, (size_t)(n * LANES) * sizeof *w1);
        const float *u = bl_cpu_row(&a->u, i1);
        for (; j + 6 <= in; j += 6) spread(w + j * LANES, err, n, u + j, in, 6);
        for (; j < in; j++) spread(w + j * LANES, err, n, u + j, in, 1);
    }
    for (int r = 0; r < 4; r++) _mm256_storeu_pd(sums + 4 * r, sum[r]);
    for (int64_t r = 0; r < rows; r++) {
        float *x = bl_cpu_row(&a->w, row0 + r);
        for (int64_t j = 0; j < in; j++) x[j] = w[j * LANES + r];
        loss[row0 + r] = sums[r] / 2;
    }
}

/* ---- second moments: 4 columns by 16 ---- */
BL_INLINE void put(double *sum, __m256 v)
{
    _mm256_storeu_pd(sum, _mm256_add_pd(_mm256_loadu_pd(sum), _mm256_cvtps_pd(_mm256_castps256_ps128(v))));
    _mm256_storeu_pd(sum + 4, _mm256_add_pd(_mm256_loadu_pd(sum + 4), _mm256_cvtps_pd(_mm256_extractf128_ps(v, 1))));
}

void bl_avx2_moment_tile(const float *a, const float *b, int64_t ld, int64_t rows, bool upper,
                         double sum[BL_MOMENT_TILE][BL_MOMENT_TILE])
{
    enum { P = BL_MOMENT_PANEL, TALL = 4 };
    for (int i = 0; i < BL_MOMENT_TILE; i += TALL)
        for (int j = 0; j < BL_MOMENT_TILE; j += P) {
            if (upper && j + P <= i) continue;
            const float *x = a + i / P * ld + i % P, *y = b + j / P * ld;
            __m256 acc[TALL][2];
#pragma GCC unroll 4
            for (int r = 0; r < TALL; r++) acc[r][0] = acc[r][1] = _mm256_setzero_ps();
            for (int64_t k = 0; k < rows; k++, x += P, y += P) {
                const __m256 y0 = _mm256_loadu_ps(y), y1 = _mm256_loadu_ps(y + 8);
#pragma GCC unroll 4
                for (int r = 0; r < TALL; r++) {
                    const __m256 v = _mm256_broadcast_ss(x + r);
                    acc[r][0] = _mm256_fmadd_ps(v, y0, acc[r][0]);
                    acc[r][1] = _mm256_fmadd_ps(v, y1, acc[r][1]);
                }
            }
#pragma GCC unroll 4
            for (int r = 0; r < TALL; r++) {
                put(&sum[i + r][j], acc[r][0]);
                put(&sum[i + r][j + 8], acc[r][1]);
            }
        }
}

/* ---- quadratic form: 8 rows are the lanes of two vectors, 4 rows of h at once ---- */
BL_INLINE void products(const double (*xt)[8], const double *h, int64_t n, int64_t i, int rows, __m256d total[2])
{
    __m256d acc[4][2];
#pragma GCC unroll 4
    for (int r = 0; r < rows; r++) acc[r][0] = acc[r][1] = _mm256_setzero_pd();
    for (int64_t j = 0; j < n; j++) {
        const __m256d x0 = _mm256_loadu_pd(xt[j]), x1 = _mm256_loadu_pd(xt[j] + 4);
#pragma GCC unroll 4
        for (int r = 0; r < rows; r++) {
            const __m256d v = _mm256_broadcast_sd(h + (i + r) * n + j);
            acc[r][0] = _mm256_fmadd_pd(v, x0, acc[r][0]);
            acc[r][1] = _mm256_fmadd_pd(v, x1, acc[r][1]);
        }
    }
#pragma GCC unroll 4
    for (int r = 0; r < rows; r++) {
        total[0] = _mm256_fmadd_pd(_mm256_loadu_pd(xt[i + r]), acc[r][0], total[0]);
        total[1] = _mm256_fmadd_pd(_mm256_loadu_pd(xt[i + r] + 4), acc[r][1], total[1]);
    }
}

void bl_avx2_quad_form(const double (*xt)[8], const double *h, int64_t n, double out[8])
{
    __m256d total[2] = {_mm256_setzero_pd(), _mm256_setzero_pd()};
    int64_t i = 0;
    for (; i + 4 <= n; i += 4) products(xt, h, n, i, 4, total);
    for (; i < n; i++) products(xt, h, n, i, 1, total);
    _mm256_storeu_pd(out, total[0]);
    _mm256_storeu_pd(out + 4, total[1]);
}
