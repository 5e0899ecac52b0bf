/* backward.h - pieces of the gradients that one thread does with AVX2: what backward.c hands out. */
#ifndef BL_KERNELS_CPU_BACKWARD_H
#define BL_KERNELS_CPU_BACKWARD_H
#include "avx2.h"

/* ---- dw += alpha dyt x ---- */
enum { BL_OUTER_TALL = 12, BL_OUTER_WIDE = 32, BL_BIAS_RUN = 64 };
typedef struct bl_outer_steps { /* out[t * wide + j] = sum over the rows r of b[r * ldb + t] v[r * ldv + j]: sums[k] of
                                   k numbers of b, `wide` of v */
    int64_t tall, wide;
    void (*sums[BL_OUTER_TALL + 1])(const float *b, int64_t ldb, const float *v, int64_t ldv, int64_t rows, float *out);
} bl_outer_steps;
extern const bl_outer_steps bl_outer_avx2, bl_outer_avx512;
/* Floats of scratch: a strip of rows, and sums with eight rows more than there are. */
enum { BL_OUTER_SPACE = (BL_GRAD_ROWS + BL_OUTER_TALL + 8) * BL_OUTER_WIDE };
/* `wide` columns of x from v0 on, or, turned, of dy, with all of the other, over all rows. */
void bl_avx2_weight_grad(const bl_outer_steps *s, const bl_weight_grad_args *a, bool turned, int64_t v0,
                         float *scratch);
void bl_avx2_bias_grad(const bl_weight_grad_args *a, int64_t o0, int64_t n); /* of n <= BL_BIAS_RUN outputs */

/* ---- attention: all queries of the heads that share one head of keys, of one sequence ---- */
size_t bl_avx2_attention_grad_space(int64_t head_dim); /* bytes of scratch */
/* Rows first .. first + n; state f32 [3, heads of the group, n]. */
void bl_avx2_attention_grad(const bl_attend_steps *steps, const bl_attention_grad_args *a, int64_t first, int64_t n,
                            int64_t kv, float *state, float *scratch);

/* ---- rows ---- */
void bl_avx2_rope_grad(float *x, const float *c, const float *s, int64_t width, int64_t head_dim);
void bl_avx2_swiglu_grad(const float *g, const float *u, const float *dy, float *dg, float *du, int64_t n);
/* g = e^(x - topx) and t = e^(t - topt); their sums, and that of e^(t - topt) (t - x), t as it was. g may be x. */
void bl_avx2_follow(const float *x, float *g, float *t, int64_t n, float topx, float topt, double sum[3]);
void bl_avx2_apart(float *g, float ours, const float *t, float theirs, int64_t n);          /* g = ours g - theirs t */
void bl_avx2_softmax_grad(const float *x, int64_t n, float top, float factor, float *grad); /* e^(x - top) factor */
/* s and (s^3 / n) (x . (w dy)) of rmsnorm_grad, and its dx. */
void bl_avx2_rmsnorm_sums(const float *x, const float *w, const float *dy, int64_t n, double eps, float *scale,
                          float *back);
void bl_avx2_rmsnorm_dx(const float *x, const float *w, const float *dy, int64_t n, float scale, float back, float *dx,
                        bool accumulate);
void bl_avx2_fma(float by, const float *x, const float *y, float *sum, int64_t n); /* sum += (by x) y */
#endif
