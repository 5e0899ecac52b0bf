/* sets.cuh - products on Hopper whose operands both come from memory as they are: blocks of two groups of four warps
 * that multiply and one thread that copies, alone or in sets of two that share rows of x; they stay and take tiles of
 * 128 outputs a block in turn.
 */
#ifndef BL_KERNELS_CUDA_SETS_CUH
#define BL_KERNELS_CUDA_SETS_CUH
#include "bytes.cuh"
#include <cuda.h>

static constexpr int LINE = 128 /* bytes of k at a time */, TILE_OUT = 128, CONSUMERS = 2 * 128,
                     THREADS = CONSUMERS + 128;

/* Shared memory of a block with N rows of x at a time. */
template <int N> struct set_room {
    static constexpr int W_BYTES = TILE_OUT * LINE, X_BYTES = N * LINE, STAGE = W_BYTES + X_BYTES; /* of a chunk */
    static constexpr int STAGES = N == 256 ? 4 : N == 128 ? 6 : 8;
    static constexpr int AT_ONCE = N < 64 ? N : 64; /* rows of sums on their way out */
    static constexpr int OUT_BYTES = 2 * AT_ONCE * 64 * 4;
    static constexpr int SHARED = 1024 + STAGES * STAGE + OUT_BYTES + 2 * STAGES * 8;
    static_assert(SHARED <= 227 << 10, "shared memory");
};
struct sums_to {
    void *y;
    int64_t ldy;
    bool f32, accumulate;
    int row_tiles, tiles; /* of N rows; all, each for a set of blocks */
};

#ifdef __CUDA_ARCH_FEAT_SM90_ALL
static __device__ __forceinline__ uint4 shared_read(uint32_t at)
{
    uint4 v;
    asm volatile("ld.shared.v4.u32 {%0, %1, %2, %3}, [%4];"
                 : "=r"(v.x), "=r"(v.y), "=r"(v.z), "=r"(v.w)
                 : "r"(at)
                 : "memory");
    return v;
}
template <int SET> static __device__ __forceinline__ void set_sync()
{
    if (SET > 1) asm volatile("barrier.cluster.arrive.release;\nbarrier.cluster.wait.acquire;" ::: "memory");
}
static __device__ __forceinline__ int rank_in_set()
{
    int r;
    asm("mov.u32 %0, %%cluster_ctarank;" : "=r"(r));
    return r;
}
/* Barriers of the stages, `full` and `empty`, one after another, seen by all blocks of the set. */
template <int SET, int STAGES> static __device__ __forceinline__ void set_begin(uint32_t full)
{
    if (threadIdx.x == 0) {
        for (int i = 0; i < STAGES; i++) {
            barrier_open(full + 8 * i, 1);
            barrier_open(full + 8 * (STAGES + i), SET * CONSUMERS / WARP);
        }
        asm volatile("fence.mbarrier_init.release.cluster;" ::: "memory");
    }
    __syncthreads();
    set_sync<SET>();
}
/* A warp has done with a stage: the barriers of all blocks of the set hear it. */
template <int SET> static __device__ __forceinline__ void set_leave(uint32_t empty, int lane)
{
    if (lane >= SET) return;
    if (SET == 1) barrier_arrive(empty);
    else
        asm volatile("{.reg .b32 r;\n"
                     "mapa.shared::cluster.u32 r, %0, %1;\n"
                     "mbarrier.arrive.shared::cluster.b64 _, [r];}" ::"r"(empty),
                     "r"(lane)
                     : "memory");
}
/* The same bytes to the same place of all blocks of the set, whose barriers count them. */
template <int SET>
static __device__ __forceinline__ void copy_to_set(uint32_t to, const void *from, int bytes, uint32_t b)
{
    asm volatile("cp.async.bulk.shared::cluster.global.mbarrier::complete_tx::bytes.multicast::cluster "
                 "[%0], [%1], %2, [%3], %4;" ::"r"(to),
                 "l"(from), "r"(bytes), "r"(b), "h"((uint16_t)((1 << SET) - 1))
                 : "memory");
}
/* A box of a tensor, from number k of row `row` on. */
static __device__ __forceinline__ void copy_tile(uint32_t to, const CUtensorMap *map, int k, int row, uint32_t b)
{
    asm volatile("cp.async.bulk.tensor.2d.shared::cluster.global.tile.mbarrier::complete_tx::bytes "
                 "[%0], [%1, {%2, %3}], [%4];" ::"r"(to),
                 "l"(map), "r"(k), "r"(row), "r"(b)
                 : "memory");
}
template <int SET>
static __device__ __forceinline__ void copy_tile_to_set(uint32_t to, const CUtensorMap *map, int k, int row, uint32_t b)
{
    asm volatile("cp.async.bulk.tensor.2d.shared::cluster.global.tile.mbarrier::complete_tx::bytes.multicast::cluster "
                 "[%0], [%1, {%2, %3}], [%4], %5;" ::"r"(to),
                 "l"(map), "r"(k), "r"(row), "r"(b), "h"((uint16_t)((1 << SET) - 1))
                 : "memory");
}

/* Eight numbers of bf16 y, one after another at a multiple of 16 bytes, become v, or are added to. */
static __device__ __forceinline__ void put_eight(uint16_t *y, bool accumulate, float v[8])
{
    uint32_t two[4];
    if (accumulate) {
        const uint4 old = *(uint4 *)y;
        const uint32_t was[4] = {old.x, old.y, old.z, old.w};
#pragma unroll
        for (int q = 0; q < 4; q++) {
            v[2 * q] += __uint_as_float(was[q] << 16);
            v[2 * q + 1] += __uint_as_float(was[q] & 0xffff0000u);
        }
    }
#pragma unroll
    for (int q = 0; q < 4; q++) two[q] = to_bf16(v[2 * q]) | (uint32_t)to_bf16(v[2 * q + 1]) << 16;
    *(uint4 *)y = make_uint4(two[0], two[1], two[2], two[3]);
}

/* Sums of a tile out through shared memory at `room`, by half a block: 64 outputs from out0 on, N rows from row0 on.
 * values(n, v): those of outputs lane / 4 of the warp's 16 for rows 8 n + 2 (lane % 4) and the next, then of outputs
 * eight further. Pieces of 16 bytes of shared memory are turned to keep banks apart. */
template <int N, typename V>
static __device__ __forceinline__ void tile_out(V values, uint32_t room, int half, int64_t row0, int64_t rows,
                                                int64_t out0, int64_t out, const sums_to &to)
{
    typedef set_room<N> C;
    enum { NARROW = N < 2 * C::AT_ONCE ? N : 2 * C::AT_ONCE };
    const bool straight = to.ldy % 8 == 0 && (uintptr_t)to.y % 16 == 0; /* eight of y are whole vectors */
    const int who = threadIdx.x % 128, lane = who % WARP, warp = who / WARP;
    const int64_t o1 = out0 + who % 8 * 8; /* eight outputs of a row */
    const int left = (int)max((int64_t)0, min(out - o1, (int64_t)8));
    room += half * C::OUT_BYTES / 2;
    if (!to.f32 && !to.accumulate && straight && out0 + 64 <= out) { /* [rows][64] bf16 */
        const int from = lane / 16 * 8 + lane % 8, piece = warp * 2 + lane / 8 % 2;
#pragma unroll
        for (int part = 0; part < N / NARROW; part++) {
            asm volatile("bar.sync %0, 128;" ::"r"(2 + half) : "memory");
#pragma unroll
            for (int m = 0; m < NARROW / 16; m++) {
                float v[2][4];
                uint32_t two[4];
                values(part * (NARROW / 8) + 2 * m, v[0]);
                values(part * (NARROW / 8) + 2 * m + 1, v[1]);
#pragma unroll
                for (int q = 0; q < 4; q++)
                    two[q] = to_bf16(v[q / 2][q % 2 * 2]) | (uint32_t)to_bf16(v[q / 2][q % 2 * 2 + 1]) << 16;
                asm volatile("stmatrix.sync.aligned.m8n8.x4.trans.shared.b16 [%0], {%1, %2, %3, %4};" ::"r"(
                                 room + (m * 16 + from) * 128 + (piece ^ from % 8) * 16),
                             "r"(two[0]), "r"(two[1]), "r"(two[2]), "r"(two[3])
                             : "memory");
            }
            asm volatile("bar.sync %0, 128;" ::"r"(2 + half) : "memory");
#pragma unroll 4
            for (int r = who / 8; r < NARROW; r += 16) {
                const int64_t m = row0 + part * NARROW + r;
                const uint4 v = shared_read(room + r * 128 + (who % 8 ^ r % 8) * 16);
                if (m < rows) *(uint4 *)((uint16_t *)to.y + m * to.ldy + o1) = v;
            }
        }
        return;
    }
#pragma unroll
    for (int part = 0; part < N / C::AT_ONCE; part++) { /* [rows][64] f32 */
        asm volatile("bar.sync %0, 128;" ::"r"(2 + half) : "memory");
#pragma unroll
        for (int m = 0; m < C::AT_ONCE / 8; m++) {
            float v[4];
            values(part * (C::AT_ONCE / 8) + m, v);
#pragma unroll
            for (int j = 0; j < 4; j++)
                asm volatile(
                    "st.shared.f32 [%0], %1;" ::"r"(
                        room +
                        ((8 * m + lane % 4 * 2 + j % 2) * 64 + (warp * 16 + lane / 4 + j / 2 * 8 ^ lane % 4 * 8)) * 4),
                    "f"(v[j])
                    : "memory");
        }
        asm volatile("bar.sync %0, 128;" ::"r"(2 + half) : "memory");
        if (to.f32 && straight && out0 + 64 <= out) { /* whole lines, four numbers a thread */
#pragma unroll 4
            for (int r = who / 16; r < C::AT_ONCE; r += 8) {
                const int64_t m = row0 + part * C::AT_ONCE + r;
                const uint4 u = shared_read(room + (r * 64 + (who % 16 * 4 ^ r / 2 % 4 * 8)) * 4);
                float4 *y = (float4 *)((float *)to.y + m * to.ldy + out0 + who % 16 * 4),
                       v = make_float4(__uint_as_float(u.x), __uint_as_float(u.y), __uint_as_float(u.z),
                                       __uint_as_float(u.w));
                if (m >= rows) continue;
                if (to.accumulate) v = make_float4(y->x + v.x, y->y + v.y, y->z + v.z, y->w + v.w);
                *y = v;
            }
            continue;
        }
#pragma unroll 1
        for (int r = who / 8; r < C::AT_ONCE; r += 16) {
            const int64_t m = row0 + part * C::AT_ONCE + r;
            if (m >= rows || left <= 0) continue;
            const uint32_t place = room + (r * 64 + (who % 8 * 8 ^ r / 2 % 4 * 8)) * 4;
            const uint4 a = shared_read(place), b = shared_read(place + 16);
            float v[8] = {__uint_as_float(a.x), __uint_as_float(a.y), __uint_as_float(a.z), __uint_as_float(a.w),
                          __uint_as_float(b.x), __uint_as_float(b.y), __uint_as_float(b.z), __uint_as_float(b.w)};
            const int64_t put = m * to.ldy + o1;
            if (left == 8 && straight && !to.f32) {
                put_eight((uint16_t *)to.y + put, to.accumulate, v);
                continue;
            }
#pragma unroll
            for (int q = 0; q < 8; q++)
                if (q < left) put_sum(to.y, to.f32, put + q, v[q], to.accumulate);
        }
    }
}
#endif

/* ---- on the host ---- */
static inline void tiles_of(sums_to *to, int64_t rows, int at_once, int64_t out, int set)
{
    to->row_tiles = (int)((rows + at_once - 1) / at_once);
    to->tiles = (int)((out + TILE_OUT * set - 1) / (TILE_OUT * set)) * to->row_tiles;
}

static inline cudaLaunchConfig_t in_sets(int set, int shared, cudaLaunchAttribute *of)
{
    cudaLaunchConfig_t how = {};
    *of = {};
    of->id = cudaLaunchAttributeClusterDimension;
    of->val.clusterDim.x = (unsigned)set;
    of->val.clusterDim.y = of->val.clusterDim.z = 1;
    how.blockDim = dim3(THREADS);
    how.dynamicSmemBytes = (size_t)shared;
    how.attrs = of;
    how.numAttrs = 1;
    return how;
}
/* Sets of blocks that the device holds, kept in *most, which is 0 at first: its multiprocessors come in groups that no
 * set leaves. */
template <int SET, int SHARED, typename... A> static int sets_there(void (*kernel)(A...), int sms, int *most)
{
    cudaLaunchAttribute set;
    cudaLaunchConfig_t how = in_sets(SET, SHARED, &set);
    if (*most) return *most;
    how.gridDim = dim3((unsigned)(sms / SET * SET));
    cudaFuncSetAttribute(kernel, cudaFuncAttributeMaxDynamicSharedMemorySize, SHARED);
    *most = sms / SET;
    if (SET > 1 && (cudaOccupancyMaxActiveClusters(most, kernel, &how) != cudaSuccess || *most < 1)) {
        *most = sms / SET;
        (void)cudaGetLastError();
    }
    return *most;
}
template <int SET, int SHARED, typename... A>
static bool launch_sets(bl_stream s, void (*kernel)(A...), int tiles, int sms, int *most, A... a)
{
    cudaLaunchAttribute set;
    cudaLaunchConfig_t how = in_sets(SET, SHARED, &set);
    const int there = sets_there<SET, SHARED>(kernel, sms, most);
    how.stream = s;
    how.gridDim = dim3((unsigned)((tiles < there ? tiles : there) * SET));
    return cudaLaunchKernelEx(&how, kernel, a...) == cudaSuccess;
}

/* A matrix [rows, in] as a tensor that comes in boxes of `box_rows` x `box_in` numbers; they are LINE bytes
 * wide, or half of that, and their pieces of 16 bytes where products want them, or where lanes that read words of them
 * do not meet in a bank. What is outside is zeros. Address and `row_bytes` are multiples of 16. */
static bool map_of(CUtensorMapDataType type, const void *at, int64_t in, int64_t rows, int64_t row_bytes, int box_in,
                   int box_rows, CUtensorMap *to)
{
    typedef CUresult encode_fn(CUtensorMap *, CUtensorMapDataType, cuuint32_t, void *, const cuuint64_t *,
                               const cuuint64_t *, const cuuint32_t *, const cuuint32_t *, CUtensorMapInterleave,
                               CUtensorMapSwizzle, CUtensorMapL2promotion, CUtensorMapFloatOOBfill);
    static void *encode;
    cudaDriverEntryPointQueryResult found;
    if (!encode && (cudaGetDriverEntryPointByVersion("cuTensorMapEncodeTiled", &encode, 12000, cudaEnableDefault,
                                                     &found) != cudaSuccess ||
                    found != cudaDriverEntryPointSuccess))
        return false;
    const cuuint64_t size[2] = {(cuuint64_t)in, (cuuint64_t)rows}, ld[1] = {(cuuint64_t)row_bytes};
    const bool line = box_in * (type == CU_TENSOR_MAP_DATA_TYPE_UINT8 ? 1 : 2) == LINE;
    const cuuint32_t box[2] = {(cuuint32_t)box_in, (cuuint32_t)box_rows}, one[2] = {1, 1};
    return ((encode_fn *)encode)(to, type, 2, (void *)at, size, ld, box, one, CU_TENSOR_MAP_INTERLEAVE_NONE,
                                 line ? CU_TENSOR_MAP_SWIZZLE_128B : CU_TENSOR_MAP_SWIZZLE_64B,
                                 CU_TENSOR_MAP_L2_PROMOTION_L2_256B, CU_TENSOR_MAP_FLOAT_OOB_FILL_NONE) == CUDA_SUCCESS;
}
#endif
