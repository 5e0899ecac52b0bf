/* shared_solve.h - rounding a linear against the second moments of its inputs: what gptq does to one layer, and what
 * others build on. */
#ifndef BL_METHODS_SHARED_SOLVE_H
#define BL_METHODS_SHARED_SOLVE_H
#include "harness/method.h"

/* The order in which columns are rounded. */
typedef enum bl_solve_order {
    BL_SOLVE_NATURAL,
    BL_SOLVE_ACT,   /* by the diagonal of H, largest first (desc_act) */
    BL_SOLVE_GROUPS /* groups by their largest diagonal, inside a group by diagonal (group-aware, act_group_aware) */
} bl_solve_order;

typedef struct bl_solve {
    const bl_format *format; /* int2 .. int8 */
    bl_shape shape;          /* group, zero and scale as stored */
    bl_range_rule rule;
    bool mse;
    bl_solve_order order;
    bool static_groups; /* ranges from the weight as it comes, groups of neighbouring inputs */
    double damp;        /* added to the diagonal of H, relative to its mean */
    int64_t block;
    bl_tensor mismatch; /* of the inputs against the original ones (bl_calib_mismatch), made up for too; none: no */
    double alpha;       /* how much of it */
} bl_solve;

bool bl_solve_permutes(const bl_solve *s); /* columns are stored in the order in which they are rounded */
/* The weight of `lin` is replaced by its rounded self, h f64 [in, in] the second moments of its inputs after its
 * transforms. Columns taken in order of their diagonal with groups along that order are stored so, after a permutation
 * of the inputs that becomes a transform of the linear. Where the damped H is not positive definite, the damping is
 * raised tenfold, up to 1; BL_E_NUMERIC when that is not enough. Fills mse, nmse, out_nmse and damp of `stat`. */
bl_status bl_solve_gptq(const bl_method_run *r, bl_linear *lin, bl_tensor h, const bl_solve *s, bl_layer_stat *stat,
                        bl_err *e);
/* Flops of it on one linear, as of products among many rows (method.h, `work`). */
double bl_solve_work(int64_t out, int64_t in);
#endif
