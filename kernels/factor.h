/* factor.h - a matrix as a product of two narrow ones, on the host: what adapters begin with.
 *
 *     static float w[96 * 128], a[8 * 128], b[96 * 8];
 *     BL_TRY(bl_factor_svd(w, 96, 128, 8, a, b, e));      // b a is the nearest to w of rank 8
 *
 * bl_factor_svd and bl_factor_qr are in f64 on one thread, so the same bits on any number of them. 1 <= rank <=
 * min(out, in), else BL_E_CONFIG.
 */
#ifndef BL_KERNELS_FACTOR_H
#define BL_KERNELS_FACTOR_H
#include "kernels/base/rng.h"
#include "ops.h"

/* The singular triples k < rank of w = sum of s_k u_k v_kt, the largest first: a_k = sqrt(s_k) v_k, b_k = sqrt(s_k)
 * u_k. The largest element of v_k is positive. By the eigenvectors of the smaller of w wt and wt w, so triples below
 * 1e-7 of the largest are noise. */
bl_status bl_factor_svd(const float *w, int64_t out, int64_t in, int64_t rank, float *a, float *b, bl_err *e);
/* w = q r by Householder reflections: the first columns of q in b, the first rows of r in a; signs are LAPACK's. */
bl_status bl_factor_qr(const float *w, int64_t out, int64_t in, int64_t rank, float *a, float *b, bl_err *e);
/* Near bl_factor_svd, and faster: the triples of w within the span of w wt ... w times `basis` [width, in], a row a
 * vector, after so many passes >= 1 of products with w and wt (Halko, Martinsson, Tropp 2011, arXiv 0909.4061,
 * algorithms 4.4 and 5.1); width = bl_factor_width is a little more than the rank. The basis is left as what was found:
 * for a matrix near this one a single pass from there is enough. In f32, on all threads, the same bits on any number:
 * products are of `cpu`, a CPU backend, which reads up to 64 bytes after w and the basis; NULL: of OpenBLAS. */
int64_t bl_factor_width(int64_t out, int64_t in, int64_t rank);
bl_status bl_factor_svd_near(bl_backend *cpu, const float *w, int64_t out, int64_t in, int64_t rank, int passes,
                             float *basis, float *a, float *b, bl_err *e);
/* The same of a matrix that is elsewhere: y [k, out] = x [k, in] wt, or with `back` y [k, in] = x [k, out] w. */
typedef bl_status bl_factor_times(void *ctx, const float *x, int64_t k, bool back, float *y, bl_err *e);
bl_status bl_factor_svd_by(bl_factor_times *times, void *ctx, int64_t out, int64_t in, int64_t rank, int passes,
                           float *basis, float *a, float *b, bl_err *e);
/* What that is made of, on one thread where OpenBLAS has one: k rows of n numbers become an orthonormal basis of their
 * span, the leading ones first, tau [k] is room; and with w near qt z, q [k, out] of orthonormal rows, z [k, in], the
 * triples of that product. */
bl_status bl_factor_orthonormal(float *x, int64_t k, int64_t n, float *tau, bl_err *e);
bl_status bl_factor_triples(const float *q, const float *z, int64_t out, int64_t in, int64_t k, int64_t rank, float *a,
                            float *b, bl_err *e);
/* y (+)= x wt of w [rows, cols] on the host, x [n, cols]; turned: x w, x [n, rows]. Reads up to 64 bytes after w. */
bl_status bl_factor_product(bl_backend *cpu, const float *x, const float *w, int64_t n, int64_t rows, int64_t cols,
                            bool turned, bool accumulate, float *y, bl_err *e);
/* Normal numbers of r to begin with, to be freed; NULL: no memory. */
float *bl_factor_draw(int64_t out, int64_t in, int64_t rank, bl_rng r, bl_err *e);
/* The same from those. */
bl_status bl_factor_svd_drawn(const float *w, int64_t out, int64_t in, int64_t rank, int passes, bl_rng r, float *a,
                              float *b, bl_err *e);
/* left = w - scale b a, each element in f64 and rounded once. */
void bl_factor_rest(const float *w, int64_t out, int64_t in, int64_t rank, const float *a, const float *b, double scale,
                    float *left);
#endif
