/* solve.c - the solving ops on all threads. Which thread does a piece of work changes nothing in it; LAPACK runs on one
 * thread, because what it gives depends on how many it has. */
#include "solve.h"
#if defined(BL_HAVE_X86)
#include <cblas.h>
#include <lapacke.h>
#include <omp.h>

/* Rows of x that are put into panels at once. Each tile goes over all of them before it goes to memory. */
enum { AT_ONCE = 8 * BL_MOMENT_ROWS };

/* h += alpha leftt right of matrices as wide as each other; `less` is taken off the left one. Without a left one it is
 * the right one, and h symmetric. */
typedef struct moments {
    const bl_tensor *left, *less, *right;
    const bl_tensor *h;
    double alpha;
} moments;

static void fill_panel(const bl_tensor *x, const bl_tensor *less, int64_t row0, int64_t rows, int64_t panel, float *dst)
{
    enum { P = BL_MOMENT_PANEL };
    int64_t col = panel * P, cols = BL_MAX(BL_MIN(x->dim[1] - col, P), 0);
    for (int64_t r = 0; r < rows; r++, dst += P) {
        const float *v = bl_cpu_row(x, row0 + r) + col;
        if (cols == P) memcpy(dst, v, P * sizeof *dst);
        else
            for (int c = 0; c < P; c++) dst[c] = c < cols ? v[c] : 0;
        if (!less) continue;
        v = bl_cpu_row(less, row0 + r) + col;
        for (int c = 0; c < cols; c++) dst[c] -= v[c];
    }
}

/* Tile (ti, tj) of h from `rows` rows in panels that are `ld` floats apart. */
static void tile_of(const moments *a, bl_moment_tile *tile, const float *left, const float *right, int64_t ld,
                    int64_t rows, int64_t ti, int64_t tj, double (*sum)[BL_MOMENT_TILE])
{
    enum { T = BL_MOMENT_TILE, P = BL_MOMENT_PANEL };
    int64_t n = a->right->dim[1], i0 = ti * T, j0 = tj * T;
    bool upper = !a->left && ti == tj;
    double *h = bl_cpu_at(a->h);
    memset(sum, 0, T * sizeof *sum);
    for (int64_t k = 0; k < rows; k += BL_MOMENT_ROWS)
        tile(left + i0 / P * ld + k * P, right + j0 / P * ld + k * P, ld, BL_MIN(rows - k, BL_MOMENT_ROWS), upper, sum);
    for (int64_t i = i0; i < BL_MIN(i0 + T, n); i++)
        for (int64_t j = upper ? i : j0; j < BL_MIN(j0 + T, n); j++)
            sum[i - i0][j - j0] = h[i * n + j] += a->alpha * sum[i - i0][j - j0];
    if (a->left) return;
    for (int64_t j = j0; j < BL_MIN(j0 + T, n); j++) /* the other triangle; rows of h may share their cache sets */
        for (int64_t i = i0; i < BL_MIN(i0 + T, j); i++) h[j * n + i] = sum[i - i0][j - j0];
}

static bl_status add_moments(bl_cpu *c, const moments *a, bl_err *e)
{
    enum { T = BL_MOMENT_TILE, P = BL_MOMENT_PANEL };
    int64_t side = (a->right->dim[1] + T - 1) / T, tiles = a->left ? side * side : side * (side + 1) / 2,
            n_panels = side * (T / P), all = a->left ? 2 * n_panels : n_panels,
            ld = P * BL_MIN(AT_ONCE, a->right->dim[0]);
    float *right = bl_new((size_t)(all * ld), sizeof *right, e), *left = right;
    if (!right) return BL_E_NOMEM;
    if (a->left) left += n_panels * ld;
    for (int64_t r = 0; r < a->right->dim[0]; r += AT_ONCE) {
        int64_t rows = BL_MIN(a->right->dim[0] - r, AT_ONCE);
#pragma omp parallel num_threads(c->threads)
        {
#pragma omp for schedule(static)
            for (int64_t p = 0; p < all; p++) {
                if (p < n_panels) fill_panel(a->right, NULL, r, rows, p, right + p * ld);
                else fill_panel(a->left, a->less, r, rows, p - n_panels, right + p * ld);
            }
#pragma omp for schedule(dynamic, 1)
            for (int64_t t = 0; t < tiles; t++) {
                int64_t ti = t / side, tj = t % side;
                if (!a->left) {
                    for (tj = 0; (tj + 1) * (tj + 2) / 2 <= t; tj++)
                        ;
                    ti = t - tj * (tj + 1) / 2;
                }
                tile_of(a, c->isa >= BL_ISA_AVX512 ? bl_avx512_moment_tile : bl_avx2_moment_tile, left, right, ld, rows,
                        ti, tj, c->scratch[omp_get_thread_num()]);
            }
        }
    }
    bl_free(right);
    return BL_OK;
}

bl_status bl_fast_hessian(bl_backend *be, const bl_hessian_args *a, bl_err *e)
{
    bl_status st = bl_check_hessian(be, a, e);
    if (st != BL_OK) return st;
    return add_moments(be->own, &(moments){.right = &a->x, .h = &a->h, .alpha = a->alpha}, e);
}

bl_status bl_fast_mismatch(bl_backend *be, const bl_mismatch_args *a, bl_err *e)
{
    bl_status st = bl_check_mismatch(be, a, e);
    if (st != BL_OK) return st;
    return add_moments(be->own,
                       &(moments){.left = &a->x0, .less = &a->x, .right = &a->x, .h = &a->c, .alpha = a->alpha}, e);
}

/* By BLAS on one thread, as LAPACK below. */
bl_status bl_fast_mismatch_fold(bl_backend *be, const bl_mismatch_fold_args *a, bl_err *e)
{
    bl_status st = bl_check_mismatch_fold(a, e);
    int64_t m = a->w.dim[0], n = a->w.dim[1];
    float *u = bl_cpu_at(&a->u), *w = bl_cpu_at(&a->w);
    double *p = NULL, *x = NULL;
    int threads = openblas_get_num_threads(), k = (int)n;
    (void)be;
    if (st != BL_OK) return st;
    if (BL_MAX(m, n) > INT32_MAX)
        return bl_fail(e, BL_E_UNSUPPORTED, "mismatch_fold: %lld by %lld is too large", (long long)m, (long long)n);
    if (!(p = bl_new((size_t)(n * n), sizeof *p, e)) || !(x = bl_new((size_t)(BL_MAX(m, n) * n), sizeof *x, e))) {
        st = BL_E_NOMEM;
        goto out;
    }
    openblas_set_num_threads(1);
    memcpy(p, bl_cpu_at(&a->c), (size_t)(n * n) * sizeof *p);
    for (int64_t i = 0; i < n * n; i++) x[i] = u[i];
    cblas_dtrmm(CblasRowMajor, CblasRight, CblasUpper, CblasTrans, CblasNonUnit, k, k, -a->alpha, x, k, p, k);
    for (int64_t i = 0; i < n; i++)
        for (int64_t j = 0; j <= i; j++) p[i * n + j] = 0;
    cblas_dtrmm(CblasRowMajor, CblasRight, CblasUpper, CblasNoTrans, CblasNonUnit, k, k, 1, x, k, p, k); /* -P */
    for (int64_t i = 0; i < n; i++)
        for (int64_t j = 0; j <= i; j++) x[i * n + j] = 0;
    cblas_dtrsm(CblasRowMajor, CblasRight, CblasUpper, CblasNoTrans, CblasUnit, k, k, 1, p, k, x, k);
    for (int64_t i = 0; i < n; i++)
        for (int64_t j = i + 1; j < n; j++) u[i * n + j] = (float)x[i * n + j];
    for (int64_t i = 0; i < m * n; i++) x[i] = w[i];
    cblas_dtrsm(CblasRowMajor, CblasRight, CblasUpper, CblasNoTrans, CblasUnit, (int)m, k, 1, p, k, x, k);
    for (int64_t i = 0; i < m * n; i++) w[i] = (float)x[i];
    openblas_set_num_threads(threads);
out:
    bl_free(p);
    bl_free(x);
    return st;
}

/* With J the reversal of rows and columns: J H J = L Lt, so H = R Rt with R = J L J upper triangular, and u = R^-1 =
 * J L^-1 J. LAPACK's upper factor by columns is L by rows. */
bl_status bl_fast_cholesky_inverse(bl_backend *be, const bl_cholesky_inverse_args *a, bl_err *e)
{
    bl_status st = bl_check_cholesky_inverse(a, e);
    int64_t n = a->h.dim[0];
    const double *h = bl_cpu_at(&a->h);
    double *r;
    int threads = openblas_get_num_threads();
    (void)be;
    if (st != BL_OK) return st;
    if (n > INT32_MAX) return bl_fail(e, BL_E_UNSUPPORTED, "cholesky_inverse: %lld rows are too many", (long long)n);
    if (!(r = bl_new((size_t)(n * n), sizeof *r, e))) return BL_E_NOMEM;
    for (int64_t i = 0; i < n; i++)
        for (int64_t j = 0; j <= i; j++) r[i * n + j] = h[(n - 1 - i) * n + n - 1 - j];
    for (int64_t i = 0; i < n; i++) r[i * n + i] = (r[i * n + i] == 0 ? 1 : r[i * n + i]) + a->shift;
    openblas_set_num_threads(1);
    int bad = LAPACKE_dpotrf_work(LAPACK_COL_MAJOR, 'U', (int)n, r, (int)n);
    for (int64_t i = 0; !bad && i < n; i++)
        if (!(r[i * n + i] > 0) || !isfinite(r[i * n + i])) bad = (int)i + 1;
    if (!bad) bad = LAPACKE_dtrtri_work(LAPACK_COL_MAJOR, 'U', 'N', (int)n, r, (int)n);
    openblas_set_num_threads(threads);
    if (bad) {
        st = bl_fail(e, BL_E_NUMERIC, "the matrix is not positive definite: pivot %lld", (long long)(n - bad));
        goto out;
    }
    for (int64_t i = 0; i < n; i++)
        for (int64_t j = 0; j < n; j++) {
            double v = j < i ? 0 : r[(n - 1 - i) * n + n - 1 - j];
            if (a->u.dtype == BL_F64) ((double *)bl_cpu_at(&a->u))[i * n + j] = v;
            else ((float *)bl_cpu_at(&a->u))[i * n + j] = (float)v;
        }
out:
    bl_free(r);
    return st;
}

/* Sums of rows, in order. */
static double total(const double *v, int64_t n)
{
    double sum = 0;
    for (int64_t i = 0; i < n; i++) sum += v[i];
    return sum;
}

bl_status bl_fast_quad_form(bl_backend *be, const bl_quad_form_args *a, bl_err *e)
{
    enum { ROWS = 8 };
    bl_status st = bl_check_quad_form(a, e);
    bl_cpu *c = be->own;
    int64_t m = a->x.dim[0], n = a->x.dim[1], tiles = (m + ROWS - 1) / ROWS;
    double(*xt)[ROWS] = NULL, *sum = NULL;
    if (st != BL_OK) return st;
    if (!(sum = bl_new((size_t)(tiles * ROWS), sizeof *sum, e)) ||
        !(xt = bl_new((size_t)c->threads * (size_t)n, sizeof *xt, e))) {
        st = BL_E_NOMEM;
        goto out;
    }
#pragma omp parallel for schedule(dynamic, 1) num_threads(c->threads)
    for (int64_t t = 0; t < tiles; t++) {
        double(*x)[ROWS] = xt + omp_get_thread_num() * n;
        for (int r = 0; r < ROWS; r++) {
            const float *from = t * ROWS + r < m ? bl_cpu_row(&a->x, t * ROWS + r) : NULL,
                        *less = from && a->y.buf ? bl_cpu_row(&a->y, t * ROWS + r) : NULL;
            for (int64_t j = 0; j < n; j++) x[j][r] = from ? from[j] : 0;
            for (int64_t j = 0; j < n && less; j++) x[j][r] -= less[j];
        }
        bl_avx2_quad_form((const double(*)[8])x, bl_cpu_at(&a->h), n, sum + t * ROWS);
    }
    *a->sum = total(sum, m);
out:
    bl_free(sum);
    bl_free(xt);
    return st;
}

bl_status bl_fast_gptq_sweep(bl_backend *be, const bl_gptq_sweep_args *a, bl_err *e)
{
    bl_status st = bl_check_gptq_sweep(a, e);
    bl_cpu *c = be->own;
    int64_t out = a->w.dim[0], tiles = (out + BL_SWEEP_ROWS - 1) / BL_SWEEP_ROWS;
    size_t each = bl_sweep_space(a);
    double *loss = NULL;
    float *space = NULL;
    if (st != BL_OK) return st;
    if (!(loss = bl_new((size_t)out, sizeof *loss, e)) ||
        !(space = bl_new((size_t)c->threads * each, sizeof *space, e))) {
        st = BL_E_NOMEM;
        goto out;
    }
#pragma omp parallel for schedule(dynamic, 1) num_threads(c->threads)
    for (int64_t t = 0; t < tiles; t++)
        bl_avx2_sweep(a, t * BL_SWEEP_ROWS, BL_MIN(out - t * BL_SWEEP_ROWS, BL_SWEEP_ROWS), loss,
                      space + (size_t)omp_get_thread_num() * each);
    st = bl_cpu_sweep_check(a, total(loss, out), e);
out:
    bl_free(loss);
    bl_free(space);
    return st;
}
#endif
