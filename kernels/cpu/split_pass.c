/* split_pass.c - a pass of a decomposition in plain C (ops_solve.h). */
#include "cpu.h"
#include "kernels/factor.h"
#include "kernels/fmt_table.h"

enum { BEHIND = 16 }; /* numbers after a matrix, which products may read */

/* L less Q into q, which holds Q; the sum of what is lost. */
static double lost(const bl_split_pass_args *a, const float *left, const float *q)
{
    const int64_t out = a->w.dim[0], in = a->w.dim[1];
    const float *f = bl_cpu_at(&a->importance);
    double all = 0;
    for (int64_t i = 0; i < out; i++) {
        double sum = 0;
        for (int64_t j = i * in; j < (i + 1) * in; j++) {
            const double d = (double)left[j] - q[j];
            sum += (f ? (double)f[j] : 1) * d * d;
        }
        all += sum;
    }
    return all;
}

bl_status bl_cpu_split_pass(bl_backend *be, const bl_split_pass_args *a, bl_err *e)
{
    bl_status st = bl_check_split_pass(a, e);
    if (st != BL_OK) return st;
    const int64_t out = a->w.dim[0], in = a->w.dim[1], n = out * in, rank = a->a.buf ? a->a.dim[0] : 0;
    const float *w = bl_cpu_at(&a->w), *rows = bl_cpu_at(&a->rows), *cols = bl_cpu_at(&a->cols);
    float *left = bl_new((size_t)n + BEHIND, sizeof *left, e), *q = bl_new((size_t)n + BEHIND, sizeof *q, e),
          *b = bl_new((size_t)(out * rank), sizeof *b, e);
    if (!left || !q || !b) {
        st = BL_E_NOMEM;
        goto out;
    }
    memcpy(left, w, (size_t)n * sizeof *left);
    for (int64_t i = 0; i < out * rank; i++) b[i] = -((const float *)bl_cpu_at(&a->b))[i];
    if (rank) BL_TRY(bl_factor_product(be, b, bl_cpu_at(&a->a), out, rank, in, true, true, left, e));
    if (a->format) BL_TRY(bl_lq_kept(a->format, &a->shape, left, q, e));
    if (a->cost) *a->cost = lost(a, left, q);
    if (a->left.buf) memcpy(bl_cpu_at(&a->left), left, (size_t)n * sizeof *left);
    if (!a->x.buf) goto out;
    for (int64_t i = 0; i < out; i++)
        for (int64_t j = 0; j < in; j++) {
            const float r = w[i * in + j] - q[i * in + j];
            q[i * in + j] = rows ? r * (rows[i] * cols[j]) : r;
        }
    st = bl_factor_product(be, bl_cpu_at(&a->x), q, a->x.dim[0], out, in, a->back, false, bl_cpu_at(&a->y), e);
out:
    bl_free(b);
    bl_free(q);
    bl_free(left);
    return st;
}
