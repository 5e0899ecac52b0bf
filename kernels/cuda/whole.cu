/* whole.cu - y = x wt where both are bytes as they are stored, on Hopper: codes of 8 bits times signed bytes in
 * integers, and e4m3 times e4m3.
 *
 * Nothing is decoded: a tile of codes comes by a tensor map, rows of x were written once as shared memory has them, and
 * both go to the tensor cores from there. In each 128 numbers of k, a chunk:
 *
 *     integers  y = s_row s_out (sum q x - zero sum x), exact
 *     e4m3      y = s_row sum over chunks of s_out (sum of the chunk); the tensor cores keep some 14 bits of a sum, so
 *               that of a chunk is all that they make, and the sum over chunks is one of f32
 *
 * A block does 128 outputs with two groups of four warps, and N rows of x at a time; one thread more copies. Two blocks
 * have the same rows of x, of which each copies a half into both. Blocks stay and take tiles in turn; while sums leave,
 * the next chunks are on their way.
 */
#include "bytes.cuh"
#include "eight.h"
#include "weight.cuh"
#include <cuda.h>
#include <cuda_fp8.h>

static constexpr int CHUNK = BL_CU_EIGHT_CHUNK, TILE_OUT = 128, CONSUMERS = 2 * 128, THREADS = CONSUMERS + 128,
                     PIECE = 16, MOST_IN = 1 << 15; /* sums of 255 x 127 stay in 31 bits */
static constexpr int TOP_E4M3 = 448;

static bool floats(const bl_cu_weight *w) { return w->kind == BL_CU_TABLE && w->e4m3; }

bool bl_cu_whole_takes(const bl_cu_weight *w)
{
#if BL_CUDA_HOPPER
    const bool built = true;
#else
    const bool built = false;
#endif
    const bool whole = w->group >= w->in, ints = w->kind == BL_CU_INT && w->bits == 8 && w->zero_type <= 1;
    return built && (floats(w) ? whole || w->group % CHUNK == 0 : ints && whole && w->in <= MOST_IN) &&
           w->in % PIECE == 0 && w->scale_type <= 2;
}

uint64_t bl_cu_whole_plan(const bl_cu_weight *w, int64_t rows, bl_cu_eight *to)
{
    const int64_t tile = rows <= 32 ? 32 : BL_CU_EIGHT_TILE;
    *to = (bl_cu_eight){};
    to->rows = rows;
    to->padded = (rows + tile - 1) / tile * tile;
    to->in = w->in;
    to->floats = floats(w);
    return (uint64_t)((w->in + CHUNK - 1) / CHUNK * to->padded * CHUNK + to->padded * 8);
}

/* ---- x ---- */
/* 16 numbers as they are stored. */
template <bool F32> struct stored {
    uint4 v[F32 ? 4 : 2];
    __device__ __forceinline__ void read(const uint8_t *from)
    {
#pragma unroll
        for (int i = 0; i < (F32 ? 4 : 2); i++) v[i] = ((const uint4 *)from)[i];
    }
    __device__ __forceinline__ float at(int i) const
    {
        const int each = F32 ? 4 : 8, j = i % each / (F32 ? 1 : 2);
        const uint4 &q = v[i / each];
        const uint32_t two = j == 0 ? q.x : j == 1 ? q.y : j == 2 ? q.z : q.w;
        return __uint_as_float(F32 ? two : i % 2 ? two & 0xffff0000u : two << 16);
    }
};

/* A block for a row, a thread for 16 numbers of it at a time, the first of which it keeps; those past the end are
 * zeros.
 */
template <bool FLOATS, bool F32>
__global__ void __launch_bounds__(256) bytes_of_rows(const void *x, int64_t ldx, bl_cu_eight to)
{
    enum { KEPT = F32 ? 1 : 4 };
    __shared__ float tmp[33];
    __shared__ int all[33];
    const int64_t row = blockIdx.x, size = F32 ? 4 : 2;
    const uint8_t *from = (const uint8_t *)x + row * ldx * size;
    const int pieces = (int)(to.in + CHUNK - 1) / CHUNK * (CHUNK / PIECE), mine = (int)to.in / PIECE;
    stored<F32> kept[KEPT], v;
    float top = 0;
    auto more = [&]() { /* infinity: a number that is none */
#pragma unroll
                        for (int e = 0; e < PIECE; e++) {
                            const float a = fabsf(v.at(e));
                            top = fmaxf(top, isfinite(a) ? a : CUDART_INF_F);
                        }
    };
#pragma unroll
    for (int n = 0; n < KEPT; n++) {
        const int i = threadIdx.x + n * 256;
        if (i >= mine) continue;
        kept[n].read(from + (int64_t)i * PIECE * size);
        v = kept[n];
        more();
    }
    for (int i = threadIdx.x + KEPT * 256; i < mine; i += 256) {
        v.read(from + (int64_t)i * PIECE * size);
        more();
    }
    top = block_max(top, tmp);
    const bool odd = isinf(top);
    float scale = top / (FLOATS ? TOP_E4M3 : 127);
    if (!(scale > 0)) scale = 1;
    const float inverse = 1 / scale;
    int sum = 0;
    auto put = [&](int i) {
        uint32_t word[4] = {0, 0, 0, 0};
#pragma unroll
        for (int e = 0; e < PIECE; e++) {
            const float u = i < mine && !odd ? v.at(e) : 0, c = FLOATS && !isinf(inverse) ? u * inverse : u / scale;
            int q;
            if (FLOATS) q = __nv_cvt_float_to_fp8(c, __NV_SATFINITE, __NV_E4M3);
            else {
                q = (int)fminf(fmaxf(rintf(c), -127), 127);
                sum += q;
            }
            word[e / 4] |= (uint32_t)(q & 255) << e % 4 * 8;
        }
        *(uint4 *)(to.codes + ((int64_t)(i / 8) * to.padded + row) * CHUNK +
                   (i % 8 ^ row % 8) * PIECE) = make_uint4(word[0], word[1], word[2], word[3]);
    };
#pragma unroll
    for (int n = 0; n < KEPT; n++) {
        const int i = threadIdx.x + n * 256;
        v = kept[n];
        if (i < pieces) put(i);
    }
    for (int i = threadIdx.x + KEPT * 256; i < pieces; i += 256) {
        if (i < mine) v.read(from + (int64_t)i * PIECE * size);
        put(i);
    }
    if (!FLOATS) {
        for (int o = 16; o; o /= 2) sum += __shfl_xor_sync(0xffffffffu, sum, o);
        if (threadIdx.x % WARP == 0) all[threadIdx.x / WARP] = sum;
        __syncthreads();
    }
    if (threadIdx.x) return;
    if (!FLOATS) {
        for (int i = 1; i < (int)blockDim.x / WARP; i++) sum += all[i];
        to.sum[row] = sum;
    }
    to.scale[row] = odd ? CUDART_NAN_F : scale;
}

void bl_cu_whole_codes(bl_stream s, const void *x, bool f32, int64_t ldx, const bl_cu_eight *to)
{
    const unsigned rows = (unsigned)to->rows;
    if (!rows) return;
    if (to->floats && f32) bytes_of_rows<true, true><<<rows, 256, 0, s>>>(x, ldx, *to);
    else if (to->floats) bytes_of_rows<true, false><<<rows, 256, 0, s>>>(x, ldx, *to);
    else if (f32) bytes_of_rows<false, true><<<rows, 256, 0, s>>>(x, ldx, *to);
    else bytes_of_rows<false, false><<<rows, 256, 0, s>>>(x, ldx, *to);
}

/* ---- the product ---- */
template <int N, int SET> struct whole {
    static constexpr int W_BYTES = TILE_OUT * CHUNK, X_BYTES = N * CHUNK, STAGE = W_BYTES + X_BYTES; /* of a chunk */
    static constexpr int STAGES = N == 256 ? 4 : N == 128 ? 6 : 8;
    static constexpr int AT_ONCE = N < 64 ? N : 64; /* rows of sums on their way out */
    static constexpr int OUT_BYTES = 2 * AT_ONCE * 64 * 4;
    static constexpr int SHARED = 1024 + STAGES * STAGE + OUT_BYTES + 2 * STAGES * 8;
};
struct whole_to {
    void *y;
    int64_t ldy;
    bool f32, accumulate;
    int row_tiles, tiles; /* of N rows; all, each for a set of blocks */
};

#ifdef __CUDA_ARCH_FEAT_SM90_ALL
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
static __device__ __forceinline__ void arrive_at(uint32_t b, int rank) /* the barrier of a block of the set */
{
    asm volatile("{.reg .b32 r;\n"
                 "mapa.shared::cluster.u32 r, %0, %1;\n"
                 "mbarrier.arrive.shared::cluster.b64 _, [r];}" ::"r"(b),
                 "r"(rank)
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
static __device__ __forceinline__ void copy_tile(uint32_t to, const CUtensorMap *map, int k, int out, uint32_t b)
{
    asm volatile("cp.async.bulk.tensor.2d.shared::cluster.global.tile.mbarrier::complete_tx::bytes "
                 "[%0], [%1, {%2, %3}], [%4];" ::"r"(to),
                 "l"(map), "r"(k), "r"(out), "r"(b)
                 : "memory");
}
#endif

/* FLOATS: e4m3, else integers. GROUPS: scales of groups of whole chunks. */
template <bool FLOATS, bool GROUPS, int N, int SET>
__global__ void __launch_bounds__(THREADS, 1)
    whole_rows(const __grid_constant__ CUtensorMap map, bl_cu_weight w, bl_cu_eight x, whole_to to)
{
#ifdef __CUDA_ARCH_FEAT_SM90_ALL
    typedef whole<N, SET> C;
    typedef typename std::conditional<FLOATS, float, int>::type sum_t;
    enum { SUMS = N / 2, STEP = FLOATS && N > 128 ? 128 : N }; /* rows of a product */
    extern __shared__ uint8_t raw[];
    const uint32_t base = (shared_at(raw) + 1023) & ~1023u, room = base + C::STAGES * C::STAGE,
                   full = room + C::OUT_BYTES, empty = full + 8 * C::STAGES;
    const int chunks = (int)((w.in + CHUNK - 1) / CHUNK), warp = threadIdx.x / WARP, lane = threadIdx.x % WARP;
    const int rank = SET > 1 ? rank_in_set() : 0, first = blockIdx.x / SET, step = gridDim.x / SET;
    if (threadIdx.x == 0) {
        for (int i = 0; i < C::STAGES; i++) {
            barrier_open(full + 8 * i, 1);
            barrier_open(empty + 8 * i, SET * CONSUMERS / WARP);
        }
        asm volatile("fence.mbarrier_init.release.cluster;" ::: "memory");
    }
    __syncthreads();
    set_sync<SET>();

    if (warp >= CONSUMERS / WARP) {
        asm volatile("setmaxnreg.dec.sync.aligned.u32 40;");
        if (threadIdx.x == CONSUMERS) {
            int slot = 0, turn = 0;
            for (int tile = first; tile < to.tiles; tile += step) {
                const int row0 = tile % to.row_tiles * N, out0 = (tile / to.row_tiles * SET + rank) * TILE_OUT;
                const uint8_t *from = x.codes + ((int64_t)row0 + rank * (N / SET)) * CHUNK;
                for (int c = 0; c < chunks; c++, from += x.padded * CHUNK) {
                    const uint32_t at = base + slot * C::STAGE, b = full + 8 * slot;
                    if (turn) barrier_await(empty + 8 * slot, (turn - 1) & 1);
                    barrier_expect(b, C::STAGE);
                    copy_tile(at, &map, c * CHUNK, out0, b);
                    if (SET > 1)
                        copy_to_set<SET>(at + C::W_BYTES + rank * (C::X_BYTES / SET), from, C::X_BYTES / SET, b);
                    else copy_bulk(at + C::W_BYTES, from, C::X_BYTES, b);
                    if (++slot == C::STAGES) {
                        slot = 0;
                        turn++;
                    }
                }
            }
        }
        __syncwarp();
        set_sync<SET>();
        return;
    }

    asm volatile("setmaxnreg.inc.sync.aligned.u32 232;");
    const int g = lane / 4, t = lane % 4, half = warp / 4;
    const bool straight = !to.accumulate && to.ldy % 8 == 0 && (uintptr_t)to.y % 16 == 0; /* whole vectors of y */
    int slot = 0, turn = 0;
    auto leave = [&](int which) {
        if (lane < SET) {
            if (SET > 1) arrive_at(empty + 8 * which, lane);
            else barrier_arrive(empty + 8 * which);
        }
    };
    for (int tile = first; tile < to.tiles; tile += step) {
        const int row0 = tile % to.row_tiles * N;
        const int64_t out0 = (int64_t)(tile / to.row_tiles * SET + rank) * TILE_OUT, o = out0 + warp * 16 + g;
        auto scale_of = [&](int i, int64_t group) {
            const int64_t at = min(o + 8 * i, w.out - 1) * w.groups + group;
            if (w.scale_type == 0) return __ldg((const float *)w.scales + at);
            const uint16_t h = __ldg((const uint16_t *)w.scales + at);
            return w.scale_type == 1 ? from_f16(h) : from_bf16(h);
        };
        sum_t sum[STEP / 2];
        float total[FLOATS ? SUMS : 1];
#pragma unroll
        for (int i = 0; i < STEP / 2; i++) sum[i] = 0;
#pragma unroll
        for (int i = 0; i < (FLOATS ? SUMS : 1); i++) total[i] = 0;
        const int each_group = GROUPS ? (int)(w.group / CHUNK) : 1;
        int last = slot;
#pragma unroll 1
        for (int c = 0; c < chunks; c++) {
            const uint32_t at = base + slot * C::STAGE;
            const uint64_t a = wgmma_lines(at + half * 64 * CHUNK), b = wgmma_lines(at + C::W_BYTES);
            float by[2] = {1, 1};
            if (GROUPS) {
                by[0] = scale_of(0, c / each_group);
                by[1] = scale_of(1, c / each_group);
            }
            barrier_await(full + 8 * slot, turn & 1);
            if constexpr (FLOATS) {
#pragma unroll
                for (int h = 0; h < N / STEP; h++) {
#pragma unroll
                    for (int i = 0; i < STEP / 2; i++) asm volatile("" : "+f"(sum[i])::"memory");
                    wgmma_begin();
#pragma unroll
                    for (int s = 0; s < 4; s++)
                        whole_of<true, STEP>::run(sum, a + 2 * s, b + h * (STEP * CHUNK >> 4) + 2 * s, s > 0);
                    wgmma_commit();
                    wgmma_await<0>();
#pragma unroll
                    for (int i = 0; i < STEP / 2; i++) asm volatile("" : "+f"(sum[i])::"memory");
                    if (h == N / STEP - 1) leave(slot);
#pragma unroll
                    for (int i = 0; i < STEP / 2; i++) {
                        float &all = total[FLOATS ? h * (STEP / 2) + i : 0];
                        all = GROUPS ? fmaf(sum[i], by[i / 2 % 2], all) : all + sum[i];
                    }
                }
            } else {
                wgmma_begin();
#pragma unroll
                for (int s = 0; s < 4; s++) whole_of<false, STEP>::run(sum, a + 2 * s, b + 2 * s, c + s > 0);
                wgmma_commit();
                wgmma_await<1>();
                if (c > 0) leave(last);
                last = slot;
            }
            if (++slot == C::STAGES) {
                slot = 0;
                turn++;
            }
        }
        if constexpr (!FLOATS) {
            wgmma_await<0>();
#pragma unroll
            for (int i = 0; i < SUMS; i++) asm volatile("" : "+r"(sum[i])::"memory");
            leave(last);
        }

        /* ---- out, some rows at a time: [rows of x][64 outputs of a group of warps], pieces turned to keep banks apart
         */
        float by[2] = {1, 1};
        int zero[2] = {0, 0};
#pragma unroll
        for (int i = 0; i < 2 && !GROUPS; i++) {
            by[i] = scale_of(i, 0);
            if (!FLOATS) zero[i] = stored_zero(w, min(o + 8 * i, w.out - 1), 0);
        }
        const uint32_t mine = room + half * C::AT_ONCE * 256;
        const int who = threadIdx.x % 128;
        const int64_t o1 = out0 + half * 64 + who % 8 * 8; /* eight outputs of a row */
        const int left = (int)max((int64_t)0, min(w.out - o1, (int64_t)8));
#pragma unroll
        for (int part = 0; part < N / C::AT_ONCE; part++) {
            asm volatile("bar.sync %0, 128;" ::"r"(2 + half) : "memory");
#pragma unroll
            for (int m = 0; m < C::AT_ONCE / 8; m++) {
                const int n = part * (C::AT_ONCE / 8) + m;
                const int64_t row = row0 + 8 * n + 2 * t; /* of rows past the last too: they go nowhere */
                const float2 s = __ldg((const float2 *)(x.scale + row));
                const int2 of_x = FLOATS ? make_int2(0, 0) : __ldg((const int2 *)(x.sum + row));
#pragma unroll
                for (int j = 0; j < 4; j++) {
                    const int i = 4 * n + j, k = j / 2;
                    float v;
                    if constexpr (FLOATS) v = total[i] * by[k];
                    else v = (float)(sum[i] - zero[k] * (j % 2 ? of_x.y : of_x.x)) * by[k];
                    const int line = 8 * m + 2 * t + j % 2, place = (warp % 4 * 16 + g + 8 * k) ^ t * 8;
                    asm volatile("st.shared.f32 [%0], %1;" ::"r"(mine + (line * 64 + place) * 4),
                                 "f"(v * (j % 2 ? s.y : s.x))
                                 : "memory");
                }
            }
            asm volatile("bar.sync %0, 128;" ::"r"(2 + half) : "memory");
            if (to.f32 && straight && out0 + half * 64 + 64 <= w.out) { /* whole lines, four numbers a thread */
                const int q = who % 16 * 4;
#pragma unroll 4
                for (int r = who / 16; r < C::AT_ONCE; r += 8) {
                    const int64_t m = row0 + part * C::AT_ONCE + r;
                    float4 v;
                    asm volatile("ld.shared.v4.f32 {%0, %1, %2, %3}, [%4];"
                                 : "=f"(v.x), "=f"(v.y), "=f"(v.z), "=f"(v.w)
                                 : "r"(mine + (r * 64 + (q ^ r / 2 % 4 * 8)) * 4)
                                 : "memory");
                    if (m < x.rows) *(float4 *)((float *)to.y + m * to.ldy + out0 + half * 64 + q) = v;
                }
                continue;
            }
#pragma unroll 1
            for (int r = who / 8; r < C::AT_ONCE; r += 16) {
                const int64_t m = row0 + part * C::AT_ONCE + r;
                if (m >= x.rows || left <= 0) continue;
                const uint32_t place = mine + (r * 64 + ((who % 8 * 8) ^ r / 2 % 4 * 8)) * 4;
                float v[8];
#pragma unroll
                for (int q = 0; q < 2; q++)
                    asm volatile("ld.shared.v4.f32 {%0, %1, %2, %3}, [%4];"
                                 : "=f"(v[4 * q]), "=f"(v[4 * q + 1]), "=f"(v[4 * q + 2]), "=f"(v[4 * q + 3])
                                 : "r"(place + 16 * q)
                                 : "memory");
                const int64_t put = m * to.ldy + o1;
                if (left == 8 && !to.f32 && straight) {
                    uint32_t two[4];
#pragma unroll
                    for (int q = 0; q < 4; q++) two[q] = to_bf16(v[2 * q]) | (uint32_t)to_bf16(v[2 * q + 1]) << 16;
                    *(uint4 *)((uint16_t *)to.y + put) = make_uint4(two[0], two[1], two[2], two[3]);
                    continue;
                }
#pragma unroll
                for (int q = 0; q < 8; q++)
                    if (q < left) put_sum(to.y, to.f32, put + q, v[q], to.accumulate);
            }
        }
    }
    set_sync<SET>();
#endif
}

/* ---- launches ---- */
template <bool FLOATS, bool GROUPS, int N, int SET>
static bool launch(bl_stream s, const CUtensorMap *map, const bl_cu_weight *w, const bl_cu_eight *x, whole_to to,
                   int sms)
{
    typedef whole<N, SET> C;
    static_assert(C::SHARED <= 227 << 10, "shared memory");
    to.row_tiles = (int)((x->rows + N - 1) / N);
    to.tiles = (int)((w->out + TILE_OUT * SET - 1) / (TILE_OUT * SET)) * to.row_tiles;
    static int most; /* sets of blocks that the device holds: its multiprocessors come in groups that no set leaves */
    cudaLaunchAttribute set = {};
    cudaLaunchConfig_t how = {};
    set.id = cudaLaunchAttributeClusterDimension;
    set.val.clusterDim.x = SET;
    set.val.clusterDim.y = set.val.clusterDim.z = 1;
    how.blockDim = dim3(THREADS);
    how.dynamicSmemBytes = C::SHARED;
    how.stream = s;
    how.attrs = &set;
    how.numAttrs = 1;
    cudaFuncSetAttribute(whole_rows<FLOATS, GROUPS, N, SET>, cudaFuncAttributeMaxDynamicSharedMemorySize, C::SHARED);
    how.gridDim = dim3((unsigned)(sms / SET * SET));
    if (!most) {
        most = sms / SET;
        if (SET > 1 &&
            (cudaOccupancyMaxActiveClusters(&most, whole_rows<FLOATS, GROUPS, N, SET>, &how) != cudaSuccess ||
             most < 1)) {
            most = sms / SET;
            (void)cudaGetLastError();
        }
    }
    const int sets = to.tiles < most ? to.tiles : most;
    how.gridDim = dim3((unsigned)(sets * SET));
    return cudaLaunchKernelEx(&how, whole_rows<FLOATS, GROUPS, N, SET>, *map, *w, *x, to) == cudaSuccess;
}

/* Rows of codes as a tensor of bytes, in boxes of TILE_OUT x CHUNK with pieces of 16 bytes turned as the product wants
 * them; what is outside is zeros. */
static bool map_of(const bl_cu_weight *w, CUtensorMap *to)
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
    const cuuint64_t size[2] = {(cuuint64_t)w->in, (cuuint64_t)w->out}, ld[1] = {(cuuint64_t)w->row_bytes};
    const cuuint32_t box[2] = {CHUNK, TILE_OUT}, one[2] = {1, 1};
    return ((encode_fn *)encode)(to, CU_TENSOR_MAP_DATA_TYPE_UINT8, 2, (void *)w->codes, size, ld, box, one,
                                 CU_TENSOR_MAP_INTERLEAVE_NONE, CU_TENSOR_MAP_SWIZZLE_128B,
                                 CU_TENSOR_MAP_L2_PROMOTION_L2_256B, CU_TENSOR_MAP_FLOAT_OOB_FILL_NONE) == CUDA_SUCCESS;
}

template <bool FLOATS, bool GROUPS>
static bool by_rows(bl_stream s, const CUtensorMap *map, const bl_cu_weight *w, const bl_cu_eight *x,
                    const whole_to *to, int sms)
{
    const int64_t outs = (w->out + TILE_OUT - 1) / TILE_OUT, blocks = outs * ((x->rows + 255) / 256);
    if (x->rows <= 32) return launch<FLOATS, GROUPS, 32, 1>(s, map, w, x, *to, sms);
    if (x->rows <= 128 || blocks < sms) return launch<FLOATS, GROUPS, 128, 1>(s, map, w, x, *to, sms);
    return launch<FLOATS, GROUPS, 256, 2>(s, map, w, x, *to, sms);
}

bool bl_cu_whole_product(bl_stream s, const bl_cu_weight *w, const bl_cu_eight *x, void *y, bool f32, int64_t ldy,
                         bool accumulate, int sms)
{
    const whole_to to = {y, ldy, f32, accumulate, 0, 0};
    CUtensorMap map;
    if (x->rows < 1) return true;
    if (!map_of(w, &map)) return false;
    if (!x->floats) return by_rows<false, false>(s, &map, w, x, &to, sms);
    if (w->group >= w->in) return by_rows<true, false>(s, &map, w, x, &to, sms);
    return by_rows<true, true>(s, &map, w, x, &to, sms);
}
