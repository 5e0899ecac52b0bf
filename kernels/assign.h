/* assign.h - one choice for each of n things, of least cost in all, within a budget of sizes: an integer program
 *
 *     min sum of cost[i][c_i]    with    sum of size[i][c_i] <= budget
 *
 * (LQ-LoRA, Guo et al. 2023, arXiv 2311.12023, section 3.3). cost and size are [n, m]; choice gets c_i in 0..m-1.
 * BL_E_CONFIG when not even the least sizes are within the budget.
 */
#ifndef BL_KERNELS_ASSIGN_H
#define BL_KERNELS_ASSIGN_H
#include "kernels/base/bl.h"

typedef struct bl_assign_done {
    double cost, size; /* of the choice */
    double bound;      /* no choice costs less: that of the relaxation in which one thing may be between two choices */
    double step;       /* the most that a step along the lower hull of any thing changes its cost: the choice is at most
                          that above the bound */
} bl_assign_done;
/* Lagrangian relaxation: along the lower convex hulls of (size, cost), the steps that save most for their size first,
 * as long as they fit. */
bl_status bl_assign(const double *cost, const double *size, size_t n, size_t m, double budget, int *choice,
                    bl_assign_done *out, bl_err *e);
/* The integer program itself, within 1e-6 of its least cost, by GLPK; step and bound as above. BL_E_UNSUPPORTED where
 * that was not there when this program was built. */
bl_status bl_assign_exact(const double *cost, const double *size, size_t n, size_t m, double budget, int *choice,
                          bl_assign_done *out, bl_err *e);
#endif
