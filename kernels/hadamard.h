/* hadamard.h - Hadamard matrices: entries +-1, H Ht = n I. They exist here for n = 2^k and n = K 2^k with K = 12, 20,
 * 28, 36, 40, 52, 60, 108, 140, 156, 172, which covers the widths of published models.
 *
 * The matrix of n is F kron S: F the factor of order K (1 when n is a power of two), S Sylvester's of order n / K.
 * Factors are those of QuaRot and torchao, so that rotations are interchangeable:
 *
 *     12, 20, 60, 108, 140   Paley I: K - 1 prime, I + S with S skew, from the squares modulo K - 1
 *     28, 36                 Paley II: from the squares modulo 13 and 17
 *     40                     S of order 2 kron 20
 *     52, 156, 172           Williamson: four symmetric circulants (first rows by Baumert and Hall, and Williamson)
 *
 * A factor and its order:
 *
 *     int64_t k = bl_hadamard_order(1536);                // 12
 *     const int8_t *f = bl_hadamard_factor(k);            // [k, k]
 */
#ifndef BL_KERNELS_HADAMARD_H
#define BL_KERNELS_HADAMARD_H
#include <stdint.h>

enum { BL_HADAMARD_MOST = 172 };                 /* K */
int64_t bl_hadamard_order(int64_t n);            /* K; 1: n is a power of two; 0: there is none for n */
const int8_t *bl_hadamard_factor(int64_t order); /* [order, order] of +-1; order as returned above, not 0 */
#endif
