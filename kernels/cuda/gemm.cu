/* gemm.cu - y = x wt of bf16 matrices on tensor cores, accumulated in f32: one order of operations for each output,
 * whatever the number of rows in the call, which cuBLAS does not promise.
 *
 * A block does 128 x 128 outputs, each of its 8 warps 32 x 64; k goes in steps of 32 through three stages of shared
 * memory. What is past an edge is zero.
 */
#include "tile.cuh"

enum { BM = 128, BN = 128, BK = 32, STAGES = 3, LD = BK + 8, GEMM_THREADS = 256 };
enum { STAGE = (BM + BN) * LD }; /* numbers */

/* Rows row0.. of a matrix [rows, k] at columns k0 .. k0 + BK into shared memory; what is outside becomes zero. */
template <bool WHOLE>
static __device__ __forceinline__ void fetch(uint16_t *to, const uint16_t *from, int64_t ld, int64_t row0, int64_t rows,
                                             int64_t k0, int64_t k)
{
    for (int i = threadIdx.x; i < 128 * (BK / 8); i += GEMM_THREADS) {
        int r = i / (BK / 8), c = i % (BK / 8) * 8;
        uint16_t *p = to + r * LD + c;
        int64_t row = row0 + r, col = k0 + c;
        if (WHOLE) {
            int bytes = row < rows && col < k ? 16 : 0; /* k is a multiple of 8 */
            const uint16_t *g = from + (bytes ? row * ld + col : 0);
            copy16(shared_at(p), g, bytes);
        } else {
#pragma unroll
            for (int j = 0; j < 8; j++) p[j] = row < rows && col + j < k ? from[row * ld + col + j] : 0;
        }
    }
}

template <bool WHOLE>
__global__ void __launch_bounds__(GEMM_THREADS)
    gemm_tiles(const uint16_t *x, int64_t ldx, const uint16_t *w, int64_t ldw, int64_t rows, int64_t out, int64_t in,
               void *y, bool f32, int64_t ldy, bool accumulate)
{
    extern __shared__ __align__(16) uint16_t shared[];
    int64_t m0 = (int64_t)blockIdx.y * BM, n0 = (int64_t)blockIdx.x * BN;
    int warp = threadIdx.x / WARP, lane = threadIdx.x % WARP, wm = warp / 2 * 32, wn = warp % 2 * 64;
    int steps = (int)((in + BK - 1) / BK);
    float acc[2][8][4];
#pragma unroll
    for (int i = 0; i < 2; i++)
#pragma unroll
        for (int j = 0; j < 8; j++) acc[i][j][0] = acc[i][j][1] = acc[i][j][2] = acc[i][j][3] = 0;

    for (int t = 0; t < STAGES - 1; t++) {
        if (t < steps) {
            fetch<WHOLE>(shared + t * STAGE, x, ldx, m0, rows, (int64_t)t * BK, in);
            fetch<WHOLE>(shared + t * STAGE + BM * LD, w, ldw, n0, out, (int64_t)t * BK, in);
        }
        copies_commit();
    }
    for (int t = 0; t < steps; t++) {
        copies_wait<STAGES - 2>();
        __syncthreads();
        const uint16_t *sx = shared + t % STAGES * STAGE, *sw = sx + BM * LD;
        int next = t + STAGES - 1;
        if (next < steps) {
            uint16_t *to = shared + next % STAGES * STAGE;
            fetch<WHOLE>(to, x, ldx, m0, rows, (int64_t)next * BK, in);
            fetch<WHOLE>(to + BM * LD, w, ldw, n0, out, (int64_t)next * BK, in);
        }
        copies_commit();
#pragma unroll
        for (int k = 0; k < BK; k += 16) {
            uint32_t a[2][4];
#pragma unroll
            for (int i = 0; i < 2; i++) load4(a[i], sx + (wm + i * 16 + lane % 16) * LD + k + lane / 16 * 8);
#pragma unroll
            for (int j = 0; j < 4; j++) {
                uint32_t b[4];
                load4(b, sw + (wn + j * 16 + lane % 8 + lane / 16 * 8) * LD + k + lane / 8 % 2 * 8);
#pragma unroll
                for (int i = 0; i < 2; i++)
#pragma unroll
                    for (int h = 0; h < 2; h++) mma(acc[i][2 * j + h], a[i], b[2 * h], b[2 * h + 1]);
            }
        }
    }
#pragma unroll
    for (int i = 0; i < 2; i++)
#pragma unroll
        for (int j = 0; j < 8; j++)
#pragma unroll
            for (int e = 0; e < 4; e++) {
                int64_t r = m0 + wm + i * 16 + lane / 4 + e / 2 * 8, c = n0 + wn + j * 8 + lane % 4 * 2 + e % 2;
                if (r >= rows || c >= out) continue;
                put_sum(y, f32, r * ldy + c, acc[i][j][e], accumulate);
            }
}

void bl_cu_gemm(bl_stream s, const uint16_t *x, int64_t ldx, const uint16_t *w, int64_t ldw, int64_t rows, int64_t out,
                int64_t in, void *y, bool f32, int64_t ldy, bool accumulate)
{
    int bytes = STAGES * STAGE * (int)sizeof(uint16_t);
    bool whole = in % 8 == 0 && ldx % 8 == 0 && ldw % 8 == 0 && ((uintptr_t)x | (uintptr_t)w) % 16 == 0;
    if (!rows) return;
    dim3 grid((unsigned)((out + BN - 1) / BN), (unsigned)((rows + BM - 1) / BM));
    if (whole) {
        cudaFuncSetAttribute(gemm_tiles<true>, cudaFuncAttributeMaxDynamicSharedMemorySize, bytes);
        gemm_tiles<true><<<grid, GEMM_THREADS, bytes, s>>>(x, ldx, w, ldw, rows, out, in, y, f32, ldy, accumulate);
    } else {
        cudaFuncSetAttribute(gemm_tiles<false>, cudaFuncAttributeMaxDynamicSharedMemorySize, bytes);
        gemm_tiles<false><<<grid, GEMM_THREADS, bytes, s>>>(x, ldx, w, ldw, rows, out, in, y, f32, ldy, accumulate);
    }
}
