/* ref_solve.c - the solving ops (ops_solve.h) as their formulas say. */
#include "solve.h"

bl_status bl_ref_permute(bl_backend *be, const bl_permute_args *a, bl_err *e)
{
    bl_status st = bl_check_permute(a, e);
    const int32_t *rows = bl_cpu_at(&a->rows), *cols = bl_cpu_at(&a->cols);
    (void)be;
    if (st != BL_OK) return st;
    for (int64_t i = 0; i < a->y.dim[0] && rows; i++)
        if (rows[i] < 0 || rows[i] >= a->x.dim[0]) return bl_fail(e, BL_E_INTERNAL, "permute: a row is out of range");
    for (int64_t j = 0; j < a->y.dim[1] && cols; j++)
        if (cols[j] < 0 || cols[j] >= a->x.dim[1])
            return bl_fail(e, BL_E_INTERNAL, "permute: a column is out of range");
    for (int64_t i = 0; i < a->y.dim[0]; i++) {
        int64_t from = rows ? rows[i] : i;
        if (a->x.dtype == BL_F32) {
            const float *x = (const float *)bl_cpu_at(&a->x) + from * a->x.stride[0];
            float *y = (float *)bl_cpu_at(&a->y) + i * a->y.stride[0];
            for (int64_t j = 0; j < a->y.dim[1]; j++) y[j] = x[cols ? cols[j] : j];
        } else {
            const double *x = (const double *)bl_cpu_at(&a->x) + from * a->x.stride[0];
            double *y = (double *)bl_cpu_at(&a->y) + i * a->y.stride[0];
            for (int64_t j = 0; j < a->y.dim[1]; j++) y[j] = x[cols ? cols[j] : j];
        }
    }
    return BL_OK;
}

bl_status bl_ref_diagonal(bl_backend *be, const bl_diagonal_args *a, bl_err *e)
{
    bl_status st = bl_check_diagonal(a, e);
    const double *x = bl_cpu_at(&a->x);
    double *y = bl_cpu_at(&a->y);
    (void)be;
    for (int64_t i = 0; st == BL_OK && i < a->y.dim[0]; i++) y[i] = x[i * a->y.dim[0] + i];
    return st;
}

bl_status bl_ref_hessian(bl_backend *be, const bl_hessian_args *a, bl_err *e)
{
    bl_status st = bl_check_hessian(be, a, e);
    int64_t n = a->x.dim[1];
    double *h = bl_cpu_at(&a->h);
    if (st != BL_OK) return st;
    for (int64_t i = 0; i < n; i++)
        for (int64_t j = i; j < n; j++) {
            double sum = 0;
            for (int64_t r = 0; r < a->x.dim[0]; r++) {
                const float *x = bl_cpu_row(&a->x, r);
                sum += (double)x[i] * x[j];
            }
            h[i * n + j] += a->alpha * sum;
            h[j * n + i] = h[i * n + j];
        }
    return BL_OK;
}

bl_status bl_ref_mismatch(bl_backend *be, const bl_mismatch_args *a, bl_err *e)
{
    bl_status st = bl_check_mismatch(be, a, e);
    int64_t n = a->x.dim[1];
    double *c = bl_cpu_at(&a->c);
    if (st != BL_OK) return st;
    for (int64_t i = 0; i < n; i++)
        for (int64_t j = 0; j < n; j++) {
            double sum = 0;
            for (int64_t r = 0; r < a->x.dim[0]; r++) {
                const float *x0 = bl_cpu_row(&a->x0, r), *x = bl_cpu_row(&a->x, r);
                sum += (double)(x0[i] - x[i]) * x[j];
            }
            c[i * n + j] += a->alpha * sum;
        }
    return BL_OK;
}

/* x (I - p) = x, from the first column on; p above its diagonal. */
static void times_inverse(const double *p, int64_t n, double *x)
{
    for (int64_t j = 0; j < n; j++)
        for (int64_t i = 0; i < j; i++) x[j] += x[i] * p[i * n + j];
}

bl_status bl_ref_mismatch_fold(bl_backend *be, const bl_mismatch_fold_args *a, bl_err *e)
{
    bl_status st = bl_check_mismatch_fold(a, e);
    int64_t n = a->w.dim[1];
    const double *c = bl_cpu_at(&a->c);
    float *u = bl_cpu_at(&a->u), *w = bl_cpu_at(&a->w);
    double *t = NULL, *p = NULL, *x = NULL;
    (void)be;
    if (st != BL_OK) return st;
    if (!(t = bl_new((size_t)(n * n), sizeof *t, e)) || !(p = bl_new((size_t)(n * n), sizeof *p, e)) ||
        !(x = bl_new((size_t)n, sizeof *x, e))) {
        st = BL_E_NOMEM;
        goto out;
    }
    for (int64_t i = 0; i < n; i++)
        for (int64_t j = i + 1; j < n; j++)
            for (int64_t k = j; k < n; k++) t[i * n + j] += a->alpha * c[i * n + k] * u[j * n + k];
    for (int64_t i = 0; i < n; i++)
        for (int64_t j = i + 1; j < n; j++)
            for (int64_t k = i + 1; k <= j; k++) p[i * n + j] += t[i * n + k] * u[k * n + j];
    for (int64_t r = 0; r < a->w.dim[0]; r++) {
        for (int64_t j = 0; j < n; j++) x[j] = w[r * n + j];
        times_inverse(p, n, x);
        for (int64_t j = 0; j < n; j++) w[r * n + j] = (float)x[j];
    }
    for (int64_t i = 0; i < n; i++) {
        for (int64_t j = 0; j < n; j++) x[j] = j > i ? u[i * n + j] : 0;
        times_inverse(p, n, x);
        for (int64_t j = i + 1; j < n; j++) u[i * n + j] = (float)x[j];
    }
out:
    bl_free(t);
    bl_free(p);
    bl_free(x);
    return st;
}

/* H = R Rt with R upper triangular, found from the last row upwards; then H^-1 = ut u with u = R^-1. */
bl_status bl_ref_cholesky_inverse(bl_backend *be, const bl_cholesky_inverse_args *a, bl_err *e)
{
    bl_status st = BL_OK;
    int64_t n = a->h.dim[0];
    const double *h = bl_cpu_at(&a->h);
    double *r = NULL, *v = NULL; /* v[j, k] = u[k, j] */
    (void)be;
    BL_TRY(bl_check_cholesky_inverse(a, e));
    if (!(r = bl_new((size_t)(n * n), sizeof *r, e)) || !(v = bl_new((size_t)(n * n), sizeof *v, e))) {
        st = BL_E_NOMEM;
        goto out;
    }
    for (int64_t j = n - 1; j >= 0; j--)
        for (int64_t i = j; i >= 0; i--) {
            double sum = h[i * n + j];
            if (i == j) sum = (sum == 0 ? 1 : sum) + a->shift;
            for (int64_t k = j + 1; k < n; k++) sum -= r[i * n + k] * r[j * n + k];
            if (i == j && !(sum > 0 && isfinite(sum))) {
                st = bl_fail(e, BL_E_NUMERIC, "the matrix is not positive definite: pivot %lld is %g", (long long)j,
                             sum);
                goto out;
            }
            r[i * n + j] = i == j ? sqrt(sum) : sum / r[j * n + j];
        }
    for (int64_t j = 0; j < n; j++) {
        v[j * n + j] = 1 / r[j * n + j];
        for (int64_t i = j - 1; i >= 0; i--) {
            double sum = 0;
            for (int64_t k = i + 1; k <= j; k++) sum += r[i * n + k] * v[j * n + k];
            v[j * n + i] = -sum / r[i * n + i];
        }
    }
    for (int64_t i = 0; i < n; i++)
        for (int64_t j = 0; j < n; j++) {
            if (a->u.dtype == BL_F64) ((double *)bl_cpu_at(&a->u))[i * n + j] = v[j * n + i];
            else ((float *)bl_cpu_at(&a->u))[i * n + j] = (float)v[j * n + i];
        }
out:
    bl_free(r);
    bl_free(v);
    return st;
}

bl_status bl_ref_quad_form(bl_backend *be, const bl_quad_form_args *a, bl_err *e)
{
    bl_status st = bl_check_quad_form(a, e);
    int64_t n = a->x.dim[1];
    const double *h = bl_cpu_at(&a->h);
    double sum = 0;
    (void)be;
    if (st != BL_OK) return st;
    for (int64_t r = 0; r < a->x.dim[0]; r++) {
        const float *x = bl_cpu_row(&a->x, r), *y = a->y.buf ? bl_cpu_row(&a->y, r) : NULL;
        for (int64_t i = 0; i < n; i++) {
            double t = 0;
            for (int64_t j = 0; j < n; j++) t += h[i * n + j] * (y ? (double)x[j] - y[j] : x[j]);
            sum += (y ? (double)x[i] - y[i] : x[i]) * t;
        }
    }
    *a->sum = sum;
    return BL_OK;
}

/* ---- the column sweep ---- */

float bl_cpu_stored_scale(float s, bl_dtype type)
{
    if (type == BL_F32) return s;
    float r = type == BL_F16 ? bl_f16_to_f32(bl_f32_to_f16(s)) : bl_bf16_to_f32(bl_f32_to_bf16(s));
    return r == 0 ? type == BL_F16 ? 0x1p-24f : 0x1p-133f : r; /* the smallest of its type: it is divided by */
}

int64_t bl_cpu_sweep_group(const bl_gptq_sweep_args *a, int64_t column)
{
    const int32_t *of = bl_cpu_at(&a->group_of);
    return of ? of[column] : column / a->group;
}

/* Fits group k of a row of w to n of its columns. */
static void fit(const bl_gptq_sweep_args *a, int64_t row, int64_t k, const float *columns, int64_t n)
{
    float *scale = bl_cpu_row(&a->scale, row) + k;
    bl_cpu_fit(a->rule, a->mse)(columns, n, (1 << a->bits) - 1, scale, bl_cpu_row(&a->zero, row) + k);
    *scale = bl_cpu_stored_scale(*scale, a->scale_type);
}

void bl_cpu_sweep_fit_next(const bl_gptq_sweep_args *a, int64_t row, int64_t column, const float *w, int64_t stride,
                           float *tmp)
{
    int64_t k = bl_cpu_sweep_group(a, column), n = 0;
    for (int64_t i = column; i < a->w.dim[1] && bl_cpu_sweep_group(a, i) == k; i++) tmp[n++] = w[i * stride];
    fit(a, row, k, tmp, n);
}

void bl_cpu_sweep_fit_first(const bl_gptq_sweep_args *a, int64_t row, float *tmp)
{
    const float *w = bl_cpu_row(&a->w, row);
    for (int64_t k = 0; k < a->scale.dim[1]; k++) {
        int64_t n = 0;
        for (int64_t i = 0; i < a->w.dim[1]; i++)
            if (bl_cpu_sweep_group(a, i) == k) tmp[n++] = w[i];
        if (n) fit(a, row, k, tmp, n);
    }
}

bl_status bl_cpu_sweep_check(const bl_gptq_sweep_args *a, double loss, bl_err *e)
{
    if (!isfinite(loss))
        return bl_fail(e, BL_E_NUMERIC, "the sweep left the range of float: the Hessian is too badly conditioned");
    if (a->loss) *a->loss = loss;
    return BL_OK;
}

/* The nearest value of the grid; SIGN: the scale with the sign of x (0 counts as +). */
static float nearest(const bl_gptq_sweep_args *a, float x, float s, float z)
{
    float qmax = (float)((1 << a->bits) - 1), whole = rintf(z), q;
    if (a->rule == BL_RANGE_SIGN) return x >= 0 ? s : -s;
    q = rintf(x / s + (z - whole)) + whole; /* a zero between codes */
    q = q < 0 ? 0 : q;
    q = q > qmax ? qmax : q;
    return (q - z) * s;
}

static double sweep_row(const bl_gptq_sweep_args *a, int64_t row, float *w1, float *err, float *tmp)
{
    int64_t in = a->w.dim[1];
    float *w = bl_cpu_row(&a->w, row);
    const float *scale = bl_cpu_row(&a->scale, row), *zero = bl_cpu_row(&a->zero, row);
    double loss = 0;
    bool given = a->rule == BL_RANGE_GIVEN;
    if (a->fit_first && !given) bl_cpu_sweep_fit_first(a, row, tmp);
    int64_t last = a->count ? a->first + a->count : in;
    for (int64_t i1 = a->first; i1 < last; i1 += a->block) {
        int64_t i2 = BL_MIN(i1 + a->block, last);
        memcpy(w1, w + i1, (size_t)(i2 - i1) * sizeof *w1);
        for (int64_t i = i1; i < i2; i++) {
            const float *u = bl_cpu_row(&a->u, i);
            int64_t k = bl_cpu_sweep_group(a, i);
            if (!a->fit_first && !given && (i == a->first || k != bl_cpu_sweep_group(a, i - 1)))
                bl_cpu_sweep_fit_next(a, row, i, w, 1, tmp); /* W, not W1: as the block began */
            float x = w1[i - i1], v = nearest(a, x, scale[k], zero[k]), ei = (x - v) / u[i]; /* e = (w - w^) / U_ii */
            for (int64_t j = i + 1; j < i2; j++) w1[j - i1] = fmaf(-ei, u[j], w1[j - i1]);
            loss += (double)ei * ei;
            err[i - i1] = ei;
            w1[i - i1] = v;
        }
        memcpy(w + i1, w1, (size_t)(i2 - i1) * sizeof *w1);
        for (int64_t i = i1; i < i2; i++) {
            const float *u = bl_cpu_row(&a->u, i);
            for (int64_t j = i2; j < in; j++) w[j] = fmaf(-err[i - i1], u[j], w[j]);
        }
    }
    return loss / 2;
}

bl_status bl_ref_gptq_sweep(bl_backend *be, const bl_gptq_sweep_args *a, bl_err *e)
{
    bl_status st = BL_OK;
    float *tmp = NULL;
    size_t in = (size_t)a->w.dim[1];
    double loss = 0;
    (void)be;
    BL_TRY(bl_check_gptq_sweep(a, e));
    if (!(tmp = bl_new(3 * in, sizeof *tmp, e))) {
        st = BL_E_NOMEM;
        goto out;
    }
    for (int64_t r = 0; r < a->w.dim[0]; r++) loss += sweep_row(a, r, tmp, tmp + in, tmp + 2 * in);
    st = bl_cpu_sweep_check(a, loss, e);
out:
    bl_free(tmp);
    return st;
}
