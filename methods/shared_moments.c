/* shared_moments.c - second moments of inputs: their diagonal, and the factor that a sweep over columns takes. */
#include "shared_moments.h"
#include "shared_weight.h"
#include <math.h>

bl_status bl_moments_diagonal(const bl_method_run *r, bl_tensor h, double *diag, double *mean, bl_err *e)
{
    bl_status st = BL_OK;
    int64_t n = h.dim[0];
    bl_tensor d = {0};
    BL_TRY(bl_vector_new(r, BL_F64, n, &d, e));
    BL_TRY(r->ops->diagonal(r->be, &(bl_diagonal_args){.x = h, .y = d}, e));
    BL_TRY(r->ops->download(r->be, &d, diag, e));
    for (int64_t i = 0; i < n; i++)
        if (!isfinite(diag[i])) {
            st = bl_fail(e, BL_E_NUMERIC, "second moments of the inputs are not finite: %g of input %lld", diag[i],
                         (long long)i);
            goto out;
        }
    if (!mean) goto out;
    *mean = 0;
    for (int64_t i = 0; i < n; i++) *mean += (diag[i] == 0 ? 1 : diag[i]) / (double)n;
out:
    bl_matrix_free(r, &d);
    return st;
}

bl_status bl_moments_factor(const bl_method_run *r, bl_tensor h, bl_tensor order, double mean, double damp, bl_tensor u,
                            double *damped, bl_err *e)
{
    bl_status st = BL_OK;
    bl_tensor p = {0};
    if (order.buf) {
        BL_TRY(bl_matrix_new(r, BL_F64, h.dim[0], h.dim[0], &p, e));
        BL_TRY(r->ops->permute(r->be, &(bl_permute_args){.x = h, .y = p, .rows = order, .cols = order}, e));
    }
    for (;; damp = damp > 0 ? 10 * damp : 0.01) {
        st = r->ops->cholesky_inverse(r->be,
                                      &(bl_cholesky_inverse_args){.h = p.buf ? p : h, .u = u, .shift = damp * mean}, e);
        if (st == BL_OK) st = r->ops->sync(r->be, e);
        if (st != BL_E_NUMERIC || 10 * damp > 1) break;
        bl_log(BL_LOG_INFO, "the second moments with a damping of %g are not positive definite", damp);
    }
    if (st == BL_E_NUMERIC) bl_within(e, "second moments of the inputs, with a damping of %g", damp);
    *damped = damp;
out:
    bl_matrix_free(r, &p);
    return st;
}
