/* int4.cu - harness/bench/outside.h on a GPU: weights of 4 bits, two a byte, times rows of bf16; a warp an output.
 *
 *     nvcc -O3 -arch=native -shared -Xcompiler -fPIC -I harness/bench -o int4-cuda.so examples/outside/int4.cu
 *     bitladder bench kernels --device cuda --outside ./int4-cuda.so --group 128
 *
 * With -DPLANTED_PERCENT=N that many of a hundred outputs are done twice: the same y, later. With -DPLANTED_ERROR=E
 * every y is off by that part of it.
 */
#include "outside.h"
#include <cuda_bf16.h>
#include <cuda_runtime.h>
#include <stdlib.h>
#include <string.h>

#ifndef PLANTED_PERCENT
#define PLANTED_PERCENT 0
#endif
#ifndef PLANTED_ERROR
#define PLANTED_ERROR 0
#endif
enum { WARPS = 8, CODES = 32 /* of a lane at a time */, STEP = 32 * CODES };

typedef struct made {
    int64_t out, in, group, groups, copies;
    uint8_t *codes; /* [copies, out, in / 2] low half first, on the device */
    float2 *scales; /* [copies, out, groups] scale, and zero times scale */
} made;

static __host__ __device__ int most(int out) { return out + out * PLANTED_PERCENT / 100; }

static __global__ void __launch_bounds__(WARPS * 32)
    product(const uint8_t *codes, const float2 *scales, int out, int in, int group, int rows, const __nv_bfloat16 *x,
            float *y)
{
    const int lane = threadIdx.x % 32, groups = (in + group - 1) / group;
    const int64_t r = blockIdx.y;
    int o = blockIdx.x * WARPS + threadIdx.x / 32;
    if (o >= most(out)) return;
    if (o >= out) o -= out;
    const uint8_t *w = codes + (int64_t)o * (in / 2);
    const float2 *s = scales + (int64_t)o * groups;
    float sum = 0;
    for (int k = lane * CODES; k < in; k += STEP) {
        const uint4 v = *(const uint4 *)(w + k / 2);
        const uint32_t four[4] = {v.x, v.y, v.z, v.w};
        const float2 by = s[k / group];
        for (int i = 0; i < CODES; i += 2) {
            const uint32_t two = four[i / 8] >> i % 8 * 4;
            const float2 xs = __bfloat1622float2(*(const __nv_bfloat162 *)(x + r * in + k + i));
            sum += ((two & 15) * by.x - by.y) * xs.x + ((two >> 4 & 15) * by.x - by.y) * xs.y;
        }
    }
    for (int i = 16; i; i /= 2) sum += __shfl_xor_sync(0xffffffffu, sum, i);
    if (lane == 0) y[r * out + o] = sum * (1 + (float)PLANTED_ERROR);
}

extern "C" {

const char *bl_outside_name(void) { return "outside_int4_cuda"; }

void bl_outside_release(void *p)
{
    made *m = (made *)p;
    if (!m) return;
    cudaFree(m->codes);
    cudaFree(m->scales);
    free(m);
}

void *bl_outside_prepare(const bl_outside_case *c)
{
    if (c->version != BL_OUTSIDE_VERSION || strcmp(c->device, "cuda") != 0 || c->bits != 4 || c->in % CODES ||
        c->group % CODES)
        return NULL;
    made *m = (made *)calloc(1, sizeof *m);
    const int64_t groups = (c->in + c->group - 1) / c->group;
    const size_t n = (size_t)(c->out * c->in / 2), n_s = (size_t)(c->out * groups);
    uint8_t *codes = (uint8_t *)malloc(n);
    float2 *scales = (float2 *)malloc(n_s * sizeof *scales);
    bool done = m && codes && scales;
    if (done) {
        *m = (made){c->out, c->in, c->group, groups, c->copies, NULL, NULL};
        for (size_t i = 0; i < n; i++) codes[i] = (uint8_t)(c->codes[2 * i] | c->codes[2 * i + 1] << 4);
        for (size_t i = 0; i < n_s; i++) scales[i] = make_float2(c->scales[i], c->scales[i] * c->zeros[i]);
        done = cudaMalloc((void **)&m->codes, n * (size_t)c->copies) == cudaSuccess &&
               cudaMalloc((void **)&m->scales, n_s * (size_t)c->copies * sizeof *scales) == cudaSuccess;
    }
    for (int64_t k = 0; done && k < c->copies; k++)
        done = cudaMemcpy(m->codes + (size_t)k * n, codes, n, cudaMemcpyHostToDevice) == cudaSuccess &&
               cudaMemcpy(m->scales + (size_t)k * n_s, scales, n_s * sizeof *scales, cudaMemcpyHostToDevice) ==
                   cudaSuccess;
    free(codes);
    free(scales);
    if (done) return m;
    bl_outside_release(m);
    return NULL;
}

double bl_outside_bytes(const void *p)
{
    const made *m = (const made *)p;
    return (double)m->out * (double)m->in / 2 + 8.0 * (double)m->out * (double)m->groups;
}

int bl_outside_run(void *p, int64_t copy, int64_t rows, const void *x, void *y, void *stream)
{
    const made *m = (const made *)p;
    const dim3 grid((unsigned)((most((int)m->out) + WARPS - 1) / WARPS), (unsigned)rows);
    product<<<grid, WARPS * 32, 0, (cudaStream_t)stream>>>(
        m->codes + copy * m->out * (m->in / 2), m->scales + copy * m->out * m->groups, (int)m->out, (int)m->in,
        (int)m->group, (int)rows, (const __nv_bfloat16 *)x, (float *)y);
    return cudaPeekAtLastError() != cudaSuccess;
}
}
