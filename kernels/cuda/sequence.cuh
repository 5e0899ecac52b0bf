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

/* A warp's scores of 16 rows and the keys from k0 on, times `by`: a row at position p0 or p0 + 8 of this thread sees
 * those up to its own. top: the most of each so far. */
static __device__ __forceinline__ void look_back(float (*s)[4], int k0, int p0, float by, float top[2])
{
    const int lane = threadIdx.x % WARP;
#pragma unroll
    for (int n = 0; n < TILE / 8; n++)
#pragma unroll
        for (int j = 0; j < 4; j++) {
            int key = k0 + n * 8 + lane % 4 * 2 + j % 2;
            s[n][j] = key <= p0 + j / 2 * 8 ? s[n][j] * by : -CUDART_INF_F;
            top[j / 2] = fmaxf(top[j / 2], s[n][j]);
        }
}
#endif
