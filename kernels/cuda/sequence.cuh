/* sequence.cuh - what attention and its gradient share: tiles of 64 rows of a sequence, four warps a block. */
#ifndef BL_KERNELS_CUDA_SEQUENCE_CUH
#define BL_KERNELS_CUDA_SEQUENCE_CUH
#include "tile.cuh"

enum { TILE = 64, TILE_WARPS = 4 };

static __device__ __forceinline__ uint32_t pair(float lo, float hi)
{
    return (uint32_t)to_bf16(lo) | (uint32_t)to_bf16(hi) << 16;
}

/* The sequence and the tile of `each` rows in it that block `block` has: all threads of a warp ask together. False:
 * none. */
static __device__ bool find_tile(const int32_t *start, int n_seq, int block, int each, int *seq, int *tile)
{
    int lane = threadIdx.x % WARP, before = 0;
    for (int s0 = 0; s0 < n_seq; s0 += WARP) {
        int s = s0 + lane, n = s < n_seq ? (start[s + 1] - start[s] + each - 1) / each : 0, sum = n;
        for (int o = 1; o < WARP; o *= 2) {
            int v = __shfl_up_sync(0xffffffffu, sum, o);
            if (lane >= o) sum += v;
        }
        unsigned ours = __ballot_sync(0xffffffffu, before + sum > block);
        if (ours) {
            int l = __ffs((int)ours) - 1;
            *seq = s0 + l;
            *tile = block - before - __shfl_sync(0xffffffffu, sum - n, l);
            return true;
        }
        before += __shfl_sync(0xffffffffu, sum, WARP - 1);
    }
    return false;
}
#endif
