/* factor.c - singular vectors by the symmetric eigenproblem, and a QR factorization, of LAPACK. */
#include "factor.h"
#include "kernels/cpu/cpu.h"
#include "dense.h"
#include <cblas.h>
#include <lapacke.h>
#include <math.h>

static bl_status check(int64_t out, int64_t in, int64_t rank, bl_err *e)
{
    if (rank >= 1 && rank <= BL_MIN(out, in) && BL_MAX(out, in) <= INT32_MAX) return BL_OK;
    return bl_fail(e, BL_E_CONFIG, "a matrix of %lld x %lld has no %lld factors", (long long)out, (long long)in,
                   (long long)rank);
}

static double *wide(const float *w, int64_t n, bl_err *e)
{
    double *x = bl_new((size_t)n, sizeof *x, e);
    for (int64_t i = 0; x && i < n; i++) x[i] = w[i];
    return x;
}

/* One triple: `v` [small], its singular value, and the vector of the other side, s times `other` [large], into the row
 * or column of each factor. */
static void put(const double *v, const double *other, int64_t small, int64_t large, double s, bool v_is_in, int64_t k,
                int64_t rank, float *a, float *b)
{
    const double root = sqrt(s), *of_in = v_is_in ? v : other, *of_out = v_is_in ? other : v;
    const int64_t in = v_is_in ? small : large, out = v_is_in ? large : small;
    const double by_in = s > 0 ? (v_is_in ? root : 1 / root) : 0, by_out = s > 0 ? (v_is_in ? 1 / root : root) : 0;
    int64_t top = 0;
    for (int64_t i = 0; i < in; i++) top = fabs(of_in[i]) > fabs(of_in[top]) ? i : top;
    const double sign = of_in[top] < 0 ? -1 : 1;
    for (int64_t i = 0; i < in; i++) a[k * in + i] = (float)(sign * by_in * of_in[i]);
    for (int64_t i = 0; i < out; i++) b[i * rank + k] = (float)(sign * by_out * of_out[i]);
}

bl_status bl_factor_svd(const float *w, int64_t out, int64_t in, int64_t rank, float *a, float *b, bl_err *e)
{
    const bool by_in = in <= out; /* eigenvectors of wt w, of the width of the inputs */
    const int64_t small = BL_MIN(in, out), large = BL_MAX(in, out);
    bl_status st = check(out, in, rank, e);
    double *x = NULL, *gram = NULL, *value = NULL, *vector = NULL, *other = NULL;
    lapack_int *support = NULL, found = 0;
    int threads = openblas_get_num_threads();

    if (st != BL_OK) return st;
    openblas_set_num_threads(1);
    if (!(x = wide(w, out * in, e)) || !(gram = bl_new((size_t)(small * small), sizeof *gram, e)) ||
        !(value = bl_new((size_t)small, sizeof *value, e)) || !(other = bl_new((size_t)large, sizeof *other, e)) ||
        !(vector = bl_new((size_t)(small * rank), sizeof *vector, e)) ||
        !(support = bl_new(2 * (size_t)small, sizeof *support, e))) {
        st = BL_E_NOMEM;
        goto out;
    }
    cblas_dsyrk(CblasRowMajor, CblasUpper, by_in ? CblasTrans : CblasNoTrans, (int)small, (int)large, 1, x, (int)in, 0,
                gram, (int)small);
    int bad = LAPACKE_dsyevr(LAPACK_ROW_MAJOR, 'V', 'I', 'U', (lapack_int)small, gram, (lapack_int)small, 0, 0,
                             (lapack_int)(small - rank + 1), (lapack_int)small, 0, &found, value, vector,
                             (lapack_int)rank, support);
    if (bad || found != rank) {
        st = bl_fail(e, BL_E_NUMERIC, "no singular vectors were found (dsyevr: %d)", bad);
        goto out;
    }
    for (int64_t k = 0; k < rank; k++) { /* values come in ascending order, vectors in columns */
        const int64_t from = rank - 1 - k;
        const double s = value[from] > 0 ? sqrt(value[from]) : 0;
        for (int64_t i = 0; i < small; i++) gram[i] = vector[i * rank + from];
        cblas_dgemv(CblasRowMajor, by_in ? CblasNoTrans : CblasTrans, (int)out, (int)in, 1, x, (int)in, gram, 1, 0,
                    other, 1);
        put(gram, other, small, large, s, by_in, k, rank, a, b);
    }
out:
    openblas_set_num_threads(threads);
    bl_free(support);
    bl_free(other);
    bl_free(vector);
    bl_free(value);
    bl_free(gram);
    bl_free(x);
    return st;
}

bl_status bl_factor_qr(const float *w, int64_t out, int64_t in, int64_t rank, float *a, float *b, bl_err *e)
{
    bl_status st = check(out, in, rank, e);
    double *x = NULL, *q = NULL, *r = NULL, *tau = NULL;
    int threads = openblas_get_num_threads();

    if (st != BL_OK) return st;
    openblas_set_num_threads(1);
    if (!(x = wide(w, out * in, e)) || !(q = bl_new((size_t)(out * rank), sizeof *q, e)) ||
        !(r = bl_new((size_t)(rank * in), sizeof *r, e)) || !(tau = bl_new((size_t)rank, sizeof *tau, e))) {
        st = BL_E_NOMEM;
        goto out;
    }
    for (int64_t i = 0; i < out; i++) /* the first columns of q are made of those of w alone */
        for (int64_t k = 0; k < rank; k++) q[i * rank + k] = x[i * in + k];
    int bad = LAPACKE_dgeqrf(LAPACK_ROW_MAJOR, (lapack_int)out, (lapack_int)rank, q, (lapack_int)rank, tau);
    if (!bad)
        bad = LAPACKE_dorgqr(LAPACK_ROW_MAJOR, (lapack_int)out, (lapack_int)rank, (lapack_int)rank, q, (lapack_int)rank,
                             tau);
    if (bad) {
        st = bl_fail(e, BL_E_NUMERIC, "no QR factorization was found (%d)", bad);
        goto out;
    }
    cblas_dgemm(CblasRowMajor, CblasTrans, CblasNoTrans, (int)rank, (int)in, (int)out, 1, q, (int)rank, x, (int)in, 0,
                r, (int)in);
    for (int64_t i = 0; i < rank * in; i++) a[i] = (float)r[i];
    for (int64_t i = 0; i < out * rank; i++) b[i] = (float)q[i];
out:
    openblas_set_num_threads(threads);
    bl_free(tau);
    bl_free(r);
    bl_free(q);
    bl_free(x);
    return st;
}

int64_t bl_factor_width(int64_t out, int64_t in, int64_t rank) { return BL_MIN(rank + 10, BL_MIN(out, in)); }

bl_status bl_factor_orthonormal(float *x, int64_t k, int64_t n, float *tau, bl_err *e)
{
    int bad = LAPACKE_sgeqrf(LAPACK_COL_MAJOR, (lapack_int)n, (lapack_int)k, x, (lapack_int)n, tau);
    if (!bad)
        bad = LAPACKE_sorgqr(LAPACK_COL_MAJOR, (lapack_int)n, (lapack_int)k, (lapack_int)k, x, (lapack_int)n, tau);
    return bad ? bl_fail(e, BL_E_NUMERIC, "no QR factorization was found (%d)", bad) : BL_OK;
}

static bl_tensor host_matrix(bl_buffer *b, const float *x, int64_t rows, int64_t cols)
{
    *b = (bl_buffer){.data = (void *)(uintptr_t)x};
    return bl_tensor_2d(b, 0, BL_F32, rows, cols);
}

bl_status bl_factor_product(bl_backend *cpu, const float *x, const float *w, int64_t n, int64_t rows, int64_t cols,
                            bool turned, bool accumulate, float *y, bl_err *e)
{
    bl_buffer of[3];
    return bl_dense_product(cpu, host_matrix(&of[0], w, rows, cols), host_matrix(&of[1], x, n, turned ? rows : cols),
                            host_matrix(&of[2], y, n, turned ? cols : rows), turned, accumulate, e);
}

/* y [k, out] = x [k, in] wt, or y [k, in] = x [k, out] w: pieces of y on all threads, each one sequence of operations,
 * so that numbers do not depend on how many there are. */
static void product(const float *x, const float *w, int64_t k, int64_t out, int64_t in, bool back, float *y)
{
    enum { PIECE = 512 };
    const int64_t n = back ? in : out, depth = back ? out : in;
#pragma omp parallel for schedule(static) if (n > PIECE)
    for (int64_t at = 0; at < n; at += PIECE)
        cblas_sgemm(CblasRowMajor, CblasNoTrans, back ? CblasNoTrans : CblasTrans, (int)k, (int)BL_MIN(PIECE, n - at),
                    (int)depth, 1, x, (int)depth, back ? w + at : w + at * in, (int)in, 0, y + at, (int)n);
}

bl_status bl_factor_triples(const float *q, const float *z, int64_t out, int64_t in, int64_t k, int64_t rank, float *a,
                            float *b, bl_err *e)
{
    bl_status st = BL_OK;
    double *gram = bl_new((size_t)(k * k), sizeof *gram, e), *value = bl_new((size_t)k, sizeof *value, e);
    float *turn = bl_new((size_t)(k * rank), sizeof *turn, e);
    if (!gram || !value || !turn) {
        st = BL_E_NOMEM;
        goto out;
    }
    for (int64_t i = 0; i < k; i++)
        for (int64_t j = i; j < k; j++) {
            const float *x = z + i * in, *y = z + j * in;
            double sum[8] = {0};
            for (int64_t l = 0; l + 8 <= in; l += 8)
                for (int c = 0; c < 8; c++) sum[c] += (double)x[l + c] * y[l + c];
            for (int64_t l = in / 8 * 8; l < in; l++) sum[l % 8] += (double)x[l] * y[l];
            gram[i * k + j] = bl_tree8d(sum);
        }
    int bad = LAPACKE_dsyev(LAPACK_ROW_MAJOR, 'V', 'U', (lapack_int)k, gram, (lapack_int)k, value);
    if (bad) {
        st = bl_fail(e, BL_E_NUMERIC, "no singular vectors were found (dsyev: %d)", bad);
        goto out;
    }
    for (int side = 0; side < 2; side++) { /* values come in ascending order, vectors in columns */
        for (int64_t j = 0; j < rank; j++) {
            const int64_t from = k - 1 - j;
            const double s = value[from] > 0 ? sqrt(sqrt(value[from])) : 0, by = side ? s : s > 0 ? 1 / s : 0;
            for (int64_t i = 0; i < k; i++) turn[i * rank + j] = (float)(by * gram[i * k + from]);
        }
        if (side)
            cblas_sgemm(CblasRowMajor, CblasTrans, CblasNoTrans, (int)out, (int)rank, (int)k, 1, q, (int)out, turn,
                        (int)rank, 0, b, (int)rank);
        else
            cblas_sgemm(CblasRowMajor, CblasTrans, CblasNoTrans, (int)rank, (int)in, (int)k, 1, turn, (int)rank, z,
                        (int)in, 0, a, (int)in);
    }
out:
    bl_free(turn);
    bl_free(value);
    bl_free(gram);
    return st;
}

/* A matrix of the host. */
typedef struct here {
    bl_backend *cpu;
    const float *w;
    int64_t out, in;
} here;

static bl_status times_here(void *ctx, const float *x, int64_t k, bool back, float *y, bl_err *e)
{
    const here *h = ctx;
    if (h->cpu) return bl_factor_product(h->cpu, x, h->w, k, h->out, h->in, back, false, y, e);
    product(x, h->w, k, h->out, h->in, back, y);
    return BL_OK;
}

bl_status bl_factor_svd_near(bl_backend *cpu, const float *w, int64_t out, int64_t in, int64_t rank, int passes,
                             float *basis, float *a, float *b, bl_err *e)
{
    return bl_factor_svd_by(times_here, &(here){cpu, w, out, in}, out, in, rank, passes, basis, a, b, e);
}

bl_status bl_factor_svd_by(bl_factor_times *times, void *ctx, int64_t out, int64_t in, int64_t rank, int passes,
                           float *basis, float *a, float *b, bl_err *e)
{
    const int64_t k = bl_factor_width(out, in, rank);
    bl_status st = check(out, in, rank, e);
    float *y = NULL, *tau = NULL;
    const int threads = openblas_get_num_threads();

    if (st != BL_OK) return st;
    if (threads > 1) openblas_set_num_threads(1); /* else a team that calls this has done so */
    if (!(y = bl_new((size_t)(k * out) + 16, sizeof *y, e)) || !(tau = bl_new((size_t)k, sizeof *tau, e))) {
        st = BL_E_NOMEM;
        goto out;
    }
    for (int i = 0; i < passes; i++) {
        if (i) BL_TRY(bl_factor_orthonormal(basis, k, in, tau, e));
        BL_TRY(times(ctx, basis, k, false, y, e));
        BL_TRY(bl_factor_orthonormal(y, k, out, tau, e));
        BL_TRY(times(ctx, y, k, true, basis, e));
    }
    st = bl_factor_triples(y, basis, out, in, k, rank, a, b, e);
out:
    if (threads > 1) openblas_set_num_threads(threads);
    bl_free(tau);
    bl_free(y);
    return st;
}

float *bl_factor_draw(int64_t out, int64_t in, int64_t rank, bl_rng r, bl_err *e)
{
    const int64_t n = bl_factor_width(out, in, rank) * in;
    float *basis = bl_new((size_t)n + 16, sizeof *basis, e);
    for (int64_t i = 0; basis && i < n; i++) basis[i] = (float)bl_rng_normal(&r);
    return basis;
}

bl_status bl_factor_svd_drawn(const float *w, int64_t out, int64_t in, int64_t rank, int passes, bl_rng r, float *a,
                              float *b, bl_err *e)
{
    bl_status st = check(out, in, rank, e);
    if (st != BL_OK) return st;
    float *basis = bl_factor_draw(out, in, rank, r, e);
    if (!basis) return BL_E_NOMEM;
    st = bl_factor_svd_near(NULL, w, out, in, rank, passes, basis, a, b, e);
    bl_free(basis);
    return st;
}

void bl_factor_rest(const float *w, int64_t out, int64_t in, int64_t rank, const float *a, const float *b, double scale,
                    float *left)
{
#pragma omp parallel for schedule(static) if (out * in * rank > 1 << 20)
    for (int64_t o = 0; o < out; o++)
        for (int64_t i = 0; i < in; i++) {
            double sum = 0;
            for (int64_t k = 0; k < rank; k++) sum += (double)b[o * rank + k] * a[k * in + i];
            left[o * in + i] = (float)(w[o * in + i] - scale * sum);
        }
}
