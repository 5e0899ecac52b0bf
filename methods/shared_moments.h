/* shared_moments.h - second moments of inputs: their diagonal, and the factor that a sweep over columns takes. */
#ifndef BL_METHODS_SHARED_MOMENTS_H
#define BL_METHODS_SHARED_MOMENTS_H
#include "harness/method.h"

/* diag [n], host, of h f64 [n, n]. *mean of it counts 1 for an input that is always 0, as the published code of GPTQ
 * has it; may be NULL. */
bl_status bl_moments_diagonal(const bl_method_run *r, bl_tensor h, double *diag, double *mean, bl_err *e);
/* u f32 [n, n] with ut u = (h + damp mean I)^-1, rows and columns of h in `order` (i32 [n]; none: as they are). Where
 * that is not positive definite the damping is raised tenfold, up to 1; *damped is what was enough. */
bl_status bl_moments_factor(const bl_method_run *r, bl_tensor h, bl_tensor order, double mean, double damp, bl_tensor u,
                            double *damped, bl_err *e);
#endif
