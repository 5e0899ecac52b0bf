/* index.h - the rows of a matrix that have the largest inner product with a query: exact, though most rows are only
 * looked at in 8 bits.
 *
 *     bl_index *index;
 *     BL_TRY(bl_index_new(be, rows, n, dim, &index, e));              // rows f32 [n, dim], lent
 *     BL_TRY(bl_index_find(index, queries, 1, 10, found, NULL, e));
 *     bl_index_free(index);
 *
 * The score of a row is the sum over the columns of the products of two f32, each exact in double, in 8 interleaved
 * chains of double (ops.h). Of equal scores the row that is first wins. The answer is that of looking at all rows in
 * full:
 *
 * A row x is kept as s c + r: codes c of 8 bits, s = max |x| / 127. A query q is t d + u, codes d of up to 16 bits, t
 * so that the sum of c d fits 32 bits. Then x . q = s t (c . d) + s (c . u) + r . q, and by Cauchy and Schwarz
 *
 *     |x . q - s t (c . d)| <= s |c| |u| + |r| |q|,
 *
 * to which the rounding of the sums is added. The norms s |c| and |r| are kept beside the codes, rounded up. So each
 * row has a least and a largest score that it can have. Let L be the k-th largest of the least: k rows have at least L,
 * so a row whose largest score is below L is not among the k first. The others are looked at in full.
 *
 * A query reads a quarter of what the rows are; queries of one call share the reading. Only as many rows are looked at
 * in full as are near: few coordinates that are far larger than the others make the codes coarse, and the answer slow,
 * never wrong.
 *
 * There is no approximate search beside it: Debian 12 packs the C headers of FAISS (libfaiss-dev 1.7.3) without the
 * library behind them, and has no other kept one with a C interface.
 */
#ifndef BL_KERNELS_INDEX_H
#define BL_KERNELS_INDEX_H
#include "ops.h"

typedef struct bl_index bl_index;
typedef struct bl_near {
    int64_t row;
    double score;
} bl_near;
/* On the threads of a CPU backend, which outlives the index; another is BL_E_UNSUPPORTED. BL_E_NUMERIC names a row that
 * is not finite. */
bl_status bl_index_new(bl_backend *be, const float *rows, int64_t n, int64_t dim, bl_index **out, bl_err *e);
void bl_index_free(bl_index *x); /* NULL is fine */
/* The k best rows of each of m queries, f32 [m, dim], the best first: out[m * k], those beyond n rows -1. *whole (may
 * be NULL): rows that were looked at in full, of all queries. */
bl_status bl_index_find(const bl_index *x, const float *query, int64_t m, int64_t k, bl_near *out, int64_t *whole,
                        bl_err *e);
/* The same by looking at all rows in full. */
bl_status bl_index_scan(const bl_index *x, const float *query, int64_t m, int64_t k, bl_near *out, bl_err *e);
#endif
