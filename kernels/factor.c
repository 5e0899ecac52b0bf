/* factor.c - singular vectors by the symmetric eigenproblem, and a QR factorization, of LAPACK. */
#include "factor.h"
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
