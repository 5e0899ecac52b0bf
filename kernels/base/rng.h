/* rng.h - random numbers from a counter and a key (Philox4x32-10, Salmon et al. 2011), so order and threads do not
 * matter.
 *
 *     bl_rng r = bl_rng_at(seed, bl_rng_key("rtn", layer), counter);
 *     double u = bl_rng_uniform(&r);
 */
#ifndef BL_KERNELS_BASE_RNG_H
#define BL_KERNELS_BASE_RNG_H
#include <stdint.h>

void bl_philox(const uint32_t counter[4], const uint32_t key[2], uint32_t out[4]);

typedef struct bl_rng {
    uint64_t seed, stream, counter;
    uint32_t buf[4];
    int left;
} bl_rng;
bl_rng bl_rng_at(uint64_t seed, uint64_t stream, uint64_t counter);
uint64_t bl_rng_key(const char *name, uint64_t n); /* a stream number from a name and an index (XXH3) */
uint32_t bl_rng_u32(bl_rng *r);
double bl_rng_uniform(bl_rng *r);             /* [0, 1), 53 bits */
double bl_rng_normal(bl_rng *r);              /* mean 0, variance 1 (Box-Muller, one value a call) */
uint64_t bl_rng_below(bl_rng *r, uint64_t n); /* 0..n-1, no bias */
#endif
