/* windows.h - windows of a text drawn as the published calibration scripts draw them.
 *
 * GPTQ's loaders, which most quantizers copied, seed Python's generator and take random.randint(0, n - seqlen - 1) for
 * every window of a text of n tokens. The same seed gives the same windows here (MT19937, Matsumoto and Nishimura 1998;
 * seeding and randint as CPython 3.11 has them).
 *
 *     bl_py_random r;
 *     bl_py_seed(&r, 0);
 *     int64_t first = bl_py_randint(&r, 0, n - seqlen - 1);
 */
#ifndef BL_HARNESS_DATA_WINDOWS_H
#define BL_HARNESS_DATA_WINDOWS_H
#include "kernels/base/bl.h"

typedef struct bl_py_random {
    uint32_t state[624];
    int at;
} bl_py_random;
void bl_py_seed(bl_py_random *r, uint64_t seed);                         /* random.seed(seed) */
int64_t bl_py_randint(bl_py_random *r, int64_t lowest, int64_t highest); /* random.randint: both ends included */
#endif
