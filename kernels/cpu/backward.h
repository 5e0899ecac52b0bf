/* backward.h - pieces of the gradients that one thread does with AVX2: what backward.c hands out. */
#ifndef BL_KERNELS_CPU_BACKWARD_H
#define BL_KERNELS_CPU_BACKWARD_H
#include "avx2.h"

/* ---- dw += alpha dyt x: x in panels of 16 columns, panel[in / 16][rows][16], the last filled up with zeros ---- */
enum { BL_DW_COLS = 16, BL_DW_TALL = 6, BL_DW_OUTS = 48 };
/* Outputs o0 .. o0 + outs of `rows` <= BL_GRAD_ROWS rows of dy from row r0 on; scratch f32 [rows * BL_DW_OUTS]. */
void bl_avx2_weight_grad(const bl_weight_grad_args *a, int64_t r0, int64_t rows, int64_t o0, int64_t outs,
                         const float *panels, float *scratch);

/* ---- attention: all queries of the heads that share one head of keys, of one sequence ---- */
size_t bl_avx2_attention_grad_space(int64_t head_dim); /* bytes of scratch */
/* Rows first .. first + n; state f32 [2, heads of the group, n]. */
void bl_avx2_attention_grad(const bl_attend_steps *steps, const bl_attention_grad_args *a, int64_t first, int64_t n,
                            int64_t kv, float *state, float *scratch);

/* ---- rows ---- */
void bl_avx2_rope_grad(float *x, const float *c, const float *s, int64_t width, int64_t head_dim);
void bl_avx2_swiglu_grad(const float *g, const float *u, const float *dy, float *dg, float *du, int64_t n);
void bl_avx2_softmax_grad(const float *x, int64_t n, float top, float factor, float *grad); /* e^(x - top) factor */
/* s and (s^3 / n) (x . (w dy)) of rmsnorm_grad, and its dx. */
void bl_avx2_rmsnorm_sums(const float *x, const float *w, const float *dy, int64_t n, double eps, float *scale,
                          float *back);
void bl_avx2_rmsnorm_dx(const float *x, const float *w, const float *dy, int64_t n, float scale, float back, float *dx,
                        bool accumulate);
void bl_avx2_fma(float by, const float *x, const float *y, float *sum, int64_t n); /* sum += (by x) y */
#endif
