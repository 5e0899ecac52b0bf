/* linear.c - the linear op: for every weight the cheapest kernel row that can do it, and together what reads x the same
 * way. */
#include "avx2.h"

/* The weights one after another, each with the input made ready for it alone. */
static bl_status one_by_one(bl_backend *be, const bl_linear_args *a, const bl_kernel_family *const k[], bl_err *e)
{
    bl_status st = BL_OK;
    for (int i = 0; i < bl_linear_weights(a); i++) {
        bl_linear_args one = *a;
        one.w[0] = a->w[i];
        one.w[1] = NULL;
        one.bias[0] = a->bias[i];
        one.y[0] = a->y[i];
        BL_TRY(k[i]->run(k[i], be, &one, e));
    }
out:
    return st;
}

#if defined(__x86_64__)
/* All by families that share the staged input, and all in integers or none. */
static bool share(const bl_kernel_family *const k[], int n)
{
    const bl_cpu_product *first = k[0]->own;
    for (int i = 0; i < n; i++) {
        const bl_cpu_product *p = k[i]->own;
        if (!p || !first || !p->plan != !first->plan) return false;
    }
    return true;
}
#endif

bl_status bl_cpu_linear(bl_backend *be, const bl_linear_args *a, bl_err *e)
{
    const bl_kernel_family *k[BL_LINEAR_MOST];
    int n = bl_linear_weights(a);
    bl_status st = bl_check_linear(be, a, e);
    if (st != BL_OK) return st;
    for (int i = 0; i < n; i++) {
        k[i] = bl_kernel_pick(be, a, a->w[i])->family; /* there is one: plain C takes everything */
        bl_cpu_count_rows(be, a->x.dim[0]);
    }
#if defined(__x86_64__)
    if (share(k, n)) return bl_products(be, a, k, e);
#endif
    return one_by_one(be, a, k, e);
}
