/* device.cuh - what the kernels share: bf16, sums over a warp and a block, results, grids that cover n. */
#ifndef BL_KERNELS_CUDA_DEVICE_CUH
#define BL_KERNELS_CUDA_DEVICE_CUH
#include "launch.h"
#include <cuda_bf16.h>
#include <cuda_fp16.h>
#include <math_constants.h>

enum { WARP = 32, MOST_BLOCKS = 65535 };

static __device__ __forceinline__ float from_bf16(uint16_t h) { return __uint_as_float((uint32_t)h << 16); }
static __device__ __forceinline__ uint16_t to_bf16(float f) { return __bfloat16_as_ushort(__float2bfloat16_rn(f)); }
static __device__ __forceinline__ float from_f16(uint16_t h) { return __half2float(__ushort_as_half(h)); }
static __device__ __forceinline__ uint16_t to_f16(float f) { return __half_as_ushort(__float2half_rn(f)); }

/* Within a few last places of f32, where a division of its own takes longer than all else. */
static __device__ __forceinline__ float logistic(float g) { return __fdividef(1.0f, 1.0f + __expf(-g)); }
static __device__ __forceinline__ float silu(float g) { return g * logistic(g); }

static __device__ __forceinline__ float warp_sum(float v)
{
    for (int o = 16; o; o /= 2) v += __shfl_xor_sync(0xffffffffu, v, o);
    return v;
}
static __device__ __forceinline__ double warp_sum(double v)
{
    for (int o = 16; o; o /= 2) v += __shfl_xor_sync(0xffffffffu, v, o);
    return v;
}
static __device__ __forceinline__ float warp_max(float v)
{
    for (int o = 16; o; o /= 2) v = fmaxf(v, __shfl_xor_sync(0xffffffffu, v, o));
    return v;
}
/* Over a block of at most 1024 threads, a multiple of 32; every thread gets it. `tmp` holds 33. */
template <typename T> static __device__ __forceinline__ T block_sum(T v, T *tmp)
{
    int warps = (int)blockDim.x / WARP, lane = threadIdx.x % WARP;
    v = warp_sum(v);
    __syncthreads();
    if (lane == 0) tmp[threadIdx.x / WARP] = v;
    __syncthreads();
    if (threadIdx.x < WARP) {
        v = warp_sum(lane < warps ? tmp[lane] : (T)0);
        if (lane == 0) tmp[32] = v;
    }
    __syncthreads();
    return tmp[32];
}
static __device__ __forceinline__ float block_max(float v, float *tmp)
{
    int warps = (int)blockDim.x / WARP, lane = threadIdx.x % WARP;
    v = warp_max(v);
    __syncthreads();
    if (lane == 0) tmp[threadIdx.x / WARP] = v;
    __syncthreads();
    if (threadIdx.x < WARP) {
        v = warp_max(lane < warps ? tmp[lane] : -CUDART_INF_F);
        if (lane == 0) tmp[32] = v;
    }
    __syncthreads();
    return tmp[32];
}

/* ---- launches before and after this one ---- */
static __device__ __forceinline__ void let_next_begin()
{
#if __CUDA_ARCH__ >= 900
    asm volatile("griddepcontrol.launch_dependents;");
#endif
}
static __device__ __forceinline__ void wait_for_last()
{
#if __CUDA_ARCH__ >= 900
    asm volatile("griddepcontrol.wait;" ::: "memory");
#endif
}
/* What a small kernel that is launched early does first, in every block: so the one after it, and all before it, have
 * their order. */
static __device__ __forceinline__ void take_turn()
{
    let_next_begin();
    wait_for_last();
}
/* Launches a kernel that may begin before the one before it ends, where the device can: it waits for it by itself. */
bool bl_cu_early(void);
template <typename... P, typename... A>
static void launch_early(void (*kernel)(P...), dim3 grid, dim3 block, size_t shared, bl_stream s, A... a)
{
    cudaLaunchAttribute early = {};
    cudaLaunchConfig_t c = {};
    early.id = cudaLaunchAttributeProgrammaticStreamSerialization;
    early.val.programmaticStreamSerializationAllowed = 1;
    c.gridDim = grid;
    c.blockDim = block;
    c.dynamicSmemBytes = shared;
    c.stream = s;
    c.attrs = &early;
    c.numAttrs = bl_cu_early() ? 1 : 0;
    cudaLaunchKernelEx(&c, kernel, P(a)...);
}

/* y[at] (+)= v */
static __device__ __forceinline__ void put_sum(void *y, bool f32, int64_t at, float v, bool accumulate)
{
    if (f32) ((float *)y)[at] = accumulate ? ((float *)y)[at] + v : v;
    else ((uint16_t *)y)[at] = to_bf16(accumulate ? from_bf16(((uint16_t *)y)[at]) + v : v);
}

/* Blocks of `each` threads that cover n, as many as a grid should have; kernels stride. */
static inline unsigned blocks_for(int64_t n, int each)
{
    int64_t b = (n + each - 1) / each;
    return (unsigned)(b < 1 ? 1 : b > MOST_BLOCKS ? MOST_BLOCKS : b);
}
#define EACH(i, n)                                                                                                     \
    for (int64_t i = (int64_t)blockIdx.x * blockDim.x + threadIdx.x; i < (n); i += (int64_t)gridDim.x * blockDim.x)
#endif
