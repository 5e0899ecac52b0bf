/* eight.cu - y = x wt with activations of 8 bits and weights of 8 or 4, in integers, on Hopper.
 *
 * Layout of weights: as format.h has it. In each 128 numbers of k, a chunk, lane t of four takes 32 neighbouring codes
 * of a row. Codes become signed bytes by one instruction for four: those of 8 bits less 128, those of 4 bits less 8 and
 * times 16, which the sum is divided by. Which numbers of k meet is free as long as both operands agree: x is written
 * once in the order in which weights are decoded, as shared memory has it, so that a tile of a chunk is one bulk copy.
 *
 *     y = s_row ((sum (q - mid) x - (zero - mid) sum x) s_out)       one scale an output
 *     y = s_row (sum over groups of (sum (q - mid) x) s_out,group)   groups of whole chunks, symmetric
 *
 * A block does 128 outputs with two groups of four warps, and N rows of x; four more warps copy. Sums leave through
 * shared memory, so that rows of y are written in runs.
 */
#include "bytes.cuh"
#include "eight.h"
#include "weight.cuh"

static constexpr int CHUNK = BL_CU_EIGHT_CHUNK, TILE_OUT = 128, CONSUMERS = 2 * 128, THREADS = CONSUMERS + 128,
                     EACH = 32, MOST_IN = 1 << 15; /* sums of less zeros stay in 31 bits */

/* Rows of x in a block. */
static inline int tile_rows(const bl_cu_weight *w, int64_t rows)
{
    return rows <= 32 ? 32 : w->group >= w->in ? 256 : 128;
}

bool bl_cu_eight_takes(const bl_cu_weight *w)
{
#if BL_CUDA_HOPPER
    const bool built = true;
#else
    const bool built = false;
#endif
    bool whole = w->group >= w->in, chunks = w->group % CHUNK == 0 && w->zero_type == 0;
    return built && w->kind == BL_CU_INT && (w->bits == 8 || w->bits == 4) && w->zero_type <= 1 && (whole || chunks) &&
           w->in % EACH == 0 && w->in <= MOST_IN && (w->scale_type == 1 || w->scale_type == 2);
}

uint64_t bl_cu_eight_plan(const bl_cu_weight *w, int64_t rows, bl_cu_eight *to)
{
    int64_t tile = tile_rows(w, rows);
    *to = (bl_cu_eight){};
    to->rows = rows;
    to->tile = (int)tile;
    to->padded = (rows + tile - 1) / tile * tile;
    to->in = w->in;
    to->bits = w->bits;
    return (uint64_t)((w->in + CHUNK - 1) / CHUNK * to->padded * CHUNK + to->padded * 8);
}

void bl_cu_eight_place(bl_cu_eight *to, void *space)
{
    to->codes = (uint8_t *)space;
    to->scale = (float *)(to->codes + (to->in + CHUNK - 1) / CHUNK * to->padded * CHUNK);
    to->sum = (int *)(to->scale + to->padded);
}

/* ---- x ---- */
/* 32 numbers of a chunk, eight from each of four places. */
template <bool F32> static __device__ __forceinline__ void read_eight(const void *x, float v[8])
{
    if (F32) {
        *(float4 *)v = *(const float4 *)x;
        *(float4 *)(v + 4) = *((const float4 *)x + 1);
        return;
    }
    uint4 four = *(const uint4 *)x;
    const uint32_t two[4] = {four.x, four.y, four.z, four.w};
#pragma unroll
    for (int i = 0; i < 4; i++) {
        v[2 * i] = __uint_as_float(two[i] << 16);
        v[2 * i + 1] = __uint_as_float(two[i] & 0xffff0000u);
    }
}

/* A block for a row. Thread s of four of a chunk takes numbers 32 u + 8 s .. + 7 of it, u = 0 .. 3, which are what lane
 * u decodes for step s: of 4 bits even ones first, then odd ones, of 8 bits the first four, then the others. */
template <bool F32> __global__ void __launch_bounds__(256) codes_of_rows(const void *x, int64_t ldx, bl_cu_eight to)
{
    __shared__ float tmp[33];
    __shared__ int all[33];
    const int64_t row = blockIdx.x, size = F32 ? 4 : 2;
    const uint8_t *from = (const uint8_t *)x + row * ldx * size;
    const int parts = (int)(to.in + CHUNK - 1) / CHUNK * 4, in = (int)to.in;
    float top = 0, odd = 0;
    for (int i = threadIdx.x; i < parts; i += blockDim.x)
#pragma unroll
        for (int u = 0; u < 4; u++) {
            int k = i / 4 * CHUNK + 32 * u + 8 * (i % 4);
            float v[8];
            if (k >= in) continue;
            read_eight<F32>(from + k * size, v);
#pragma unroll
            for (int e = 0; e < 8; e++) {
                top = fmaxf(top, fabsf(v[e]));
                odd = isfinite(v[e]) ? odd : 1;
            }
        }
    top = block_max(top, tmp);
    odd = block_max(odd, tmp);
    float scale = top / 127;
    if (!(scale > 0)) scale = 1;
    int sum = 0;
    for (int i = threadIdx.x; i < parts; i += blockDim.x) {
        uint32_t piece[2][4];
#pragma unroll
        for (int u = 0; u < 4; u++) {
            int k = i / 4 * CHUNK + 32 * u + 8 * (i % 4);
            float v[8] = {0, 0, 0, 0, 0, 0, 0, 0};
            if (k < in) read_eight<F32>(from + k * size, v);
            uint32_t word[2] = {0, 0};
#pragma unroll
            for (int e = 0; e < 8; e++) {
                float c = fminf(fmaxf(rintf(v[e] / scale), -127), 127);
                int q = odd != 0 ? 0 : (int)c;
                sum += q;
                if (to.bits == 4) word[e % 2] |= (uint32_t)(q & 255) << e / 2 * 8;
                else word[e / 4] |= (uint32_t)(q & 255) << e % 4 * 8;
            }
            piece[0][u] = word[0];
            piece[1][u] = word[1];
        }
        uint8_t *line = to.codes + ((int64_t)(i / 4) * to.padded + row) * CHUNK;
#pragma unroll
        for (int h = 0; h < 2; h++)
            *(uint4 *)(line + ((2 * (i % 4) + h) ^ (row % 8)) * 16) = make_uint4(piece[h][0], piece[h][1], piece[h][2],
                                                                                 piece[h][3]);
    }
    for (int o = 16; o; o /= 2) sum += __shfl_xor_sync(0xffffffffu, sum, o);
    if (threadIdx.x % WARP == 0) all[threadIdx.x / WARP] = sum;
    __syncthreads();
    if (threadIdx.x) return;
    for (int i = 1; i < (int)blockDim.x / WARP; i++) sum += all[i];
    to.sum[row] = sum;
    to.scale[row] = odd != 0 ? CUDART_NAN_F : scale;
}

void bl_cu_eight_codes(bl_stream s, const void *x, bool f32, int64_t ldx, const bl_cu_eight *to)
{
    if (!to->rows) return;
    if (f32) codes_of_rows<true><<<(unsigned)to->rows, 256, 0, s>>>(x, ldx, *to);
    else codes_of_rows<false><<<(unsigned)to->rows, 256, 0, s>>>(x, ldx, *to);
}

/* ---- the product ---- */
template <int BITS, bool GROUPS, int N> struct eight {
    static constexpr int ROW = 16 * BITS, W_BYTES = TILE_OUT * ROW, X_BYTES = N * CHUNK; /* of a chunk */
    static constexpr int PIECES = BITS;                                                  /* of 16 bytes of a row */
    static constexpr int STAGE = W_BYTES + X_BYTES;
    static constexpr int STAGES = N == 256 ? 4 : 5;
    static constexpr int LINE = 64 + 4; /* numbers of a row of sums on their way out, four to keep banks apart */
    static constexpr int OUT_BYTES = 2 * N * LINE * 4;
    static constexpr int ROOM = STAGES * STAGE > OUT_BYTES ? STAGES *STAGE : OUT_BYTES;
    static constexpr int SHARED = 1024 + ROOM + 2 * STAGES * 8;
};

/* Register r of four of step s: what 8 words v (4 of 4 bits) of a row hold. */
template <int BITS> static __device__ __forceinline__ uint32_t four_bytes(const uint32_t *v, int s, int high)
{
    if (BITS == 8) return v[2 * s + high] ^ 0x80808080u;
    return ((high ? v[s] : v[s] << 4) & 0xf0f0f0f0u) ^ 0x80808080u;
}

struct eight_to {
    void *y;
    int64_t ldy;
    bool f32, accumulate;
};

template <int BITS, bool GROUPS, int N>
__global__ void __launch_bounds__(THREADS, 1) eight_rows(bl_cu_weight w, bl_cu_eight x, eight_to to)
{
#ifdef __CUDA_ARCH_FEAT_SM90_ALL
    typedef eight<BITS, GROUPS, N> C;
    enum { SUMS = N / 2 };
    extern __shared__ uint8_t raw[];
    const uint32_t base = (shared_at(raw) + 1023) & ~1023u, full = base + C::ROOM, empty = full + 8 * C::STAGES;
    const int chunks = (int)((w.in + CHUNK - 1) / CHUNK), warp = threadIdx.x / WARP, lane = threadIdx.x % WARP;
    const int64_t row0 = (int64_t)blockIdx.x * N, out0 = (int64_t)blockIdx.y * TILE_OUT;
    if (threadIdx.x == 0) {
        for (int i = 0; i < C::STAGES; i++) {
            barrier_open(full + 8 * i, 128 + 1);
            barrier_open(empty + 8 * i, CONSUMERS / WARP);
        }
        asm volatile("fence.mbarrier_init.release.cluster;" ::: "memory");
    }
    __syncthreads();

    if (warp >= CONSUMERS / WARP) { /* weights piece by piece, x as a whole */
        asm volatile("setmaxnreg.dec.sync.aligned.u32 56;");
        const int t = threadIdx.x - CONSUMERS, piece = t % C::PIECES, first = t / C::PIECES;
        const int left = (int)min(w.out - out0, (int64_t)TILE_OUT) - first; /* rows that are there */
        int more = (int)w.row_bytes - piece * 16;                           /* bytes of a row */
        const uint8_t *from = w.codes + (out0 + first) * w.row_bytes + piece * 16;
        const int64_t step = 128 / C::PIECES * w.row_bytes;
        const uint32_t in_stage = first * C::ROW + (BITS == 8 ? piece ^ (first & 1) : piece) * 16;
        for (int c = 0; c < chunks; c++, from += C::ROW, more -= C::ROW) {
            const int slot = c % C::STAGES;
            const uint32_t at = base + slot * C::STAGE;
            if (c >= C::STAGES) barrier_await(empty + 8 * slot, (c / C::STAGES - 1) & 1);
            if (t == 0) {
                barrier_expect(full + 8 * slot, C::X_BYTES);
                copy_bulk(at + C::W_BYTES, x.codes + ((int64_t)c * x.padded + row0) * CHUNK, C::X_BYTES,
                          full + 8 * slot);
            }
#pragma unroll
            for (int i = 0; i < C::PIECES; i++) { /* TILE_OUT PIECES / 128 */
                const bool there = i * (128 / C::PIECES) < left && more > 0;
                asm volatile("cp.async.cg.shared.global [%0], [%1], 16, %2;" ::"r"(at + in_stage +
                                                                                   i * (128 / C::PIECES) * C::ROW),
                             "l"(there ? from + i * step : w.codes), "r"(there ? 16 : 0)
                             : "memory");
            }
            asm volatile("cp.async.mbarrier.arrive.noinc.shared::cta.b64 [%0];" ::"r"(full + 8 * slot) : "memory");
        }
        return;
    }

    asm volatile("setmaxnreg.inc.sync.aligned.u32 224;");
    const int g = lane / 4, t = lane % 4, half = warp / 4;
    const int64_t o = out0 + warp * 16 + g; /* and o + 8 */
    const uint32_t mine = (uint32_t)(warp * 16 + g) * C::ROW + t * 4 * BITS;
    const bool f16 = w.scale_type == 1;
    auto scale_of = [&](int i, int64_t group) {
        const int64_t at = min(o + 8 * i, w.out - 1) * w.groups + group;
        const uint16_t h = __ldg((const uint16_t *)w.scales + at);
        return f16 ? from_f16(h) : from_bf16(h);
    };
    int sum[SUMS];
    float total[GROUPS ? SUMS : 1];
#pragma unroll
    for (int i = 0; i < SUMS; i++) sum[i] = 0;
    if (GROUPS)
#pragma unroll
        for (int i = 0; i < (GROUPS ? SUMS : 1); i++) total[i] = 0;
    const int each_group = (int)(w.group / CHUNK);
#pragma unroll 1
    for (int c = 0; c < chunks; c++) {
        const int slot = c % C::STAGES;
        const uint32_t at = base + slot * C::STAGE;
        uint32_t v[2][BITS], a[4][4];
        barrier_await(full + 8 * slot, c / C::STAGES & 1);
#pragma unroll
        for (int i = 0; i < 2; i++)
#pragma unroll
            for (int p = 0; p < BITS / 4; p++)
                asm volatile("ld.shared.v4.u32 {%0, %1, %2, %3}, [%4];"
                             : "=r"(v[i][4 * p]), "=r"(v[i][4 * p + 1]), "=r"(v[i][4 * p + 2]), "=r"(v[i][4 * p + 3])
                             : "r"(at + ((mine + p * 16) ^ (BITS == 8 ? (g & 1) * 16 : 0)) + i * 8 * C::ROW));
#pragma unroll
        for (int s = 0; s < 4; s++)
#pragma unroll
            for (int r = 0; r < 4; r++) a[s][r] = four_bytes<BITS>(v[r % 2], s, r / 2);
        wgmma_await<0>();
        if (!GROUPS && c > 0 && lane == 0) barrier_arrive(empty + 8 * ((c - 1) % C::STAGES));
#pragma unroll
        for (int i = 0; i < 16; i++) asm volatile("" : "+r"(a[i / 4][i % 4]));
        const uint64_t lines = wgmma_lines(at + C::W_BYTES);
        const bool fresh = GROUPS && c % each_group == 0;
        wgmma_begin();
#pragma unroll
        for (int s = 0; s < 4; s++) bytes_of<N>::run(sum, a[s], lines + 2 * s, !(fresh && s == 0));
        wgmma_commit();
        if (GROUPS && ((c + 1) % each_group == 0 || c + 1 == chunks)) { /* a group ends */
            const float by[2] = {scale_of(0, c / each_group), scale_of(1, c / each_group)};
            wgmma_await<0>();
#pragma unroll
            for (int i = 0; i < SUMS; i++) asm volatile("" : "+r"(sum[i])::"memory");
#pragma unroll
            for (int i = 0; i < (GROUPS ? SUMS : 1); i++) {
                const int exact = BITS == 4 ? sum[i] >> 4 : sum[i];
                total[i] = fmaf((float)exact, by[i / 2 % 2], total[i]);
            }
        }
        if (GROUPS) {
            wgmma_await<0>();
            if (lane == 0) barrier_arrive(empty + 8 * slot);
        }
    }
    wgmma_await<0>();
#pragma unroll
    for (int i = 0; i < SUMS; i++) asm volatile("" : "+r"(sum[i])::"memory");

    /* ---- out, through the room that the stages had: [rows of x][64 outputs of a group of warps] ---- */
    asm volatile("bar.sync 1, %0;" ::"n"(CONSUMERS) : "memory");
    const uint32_t room = base + half * N * C::LINE * 4;
    const float *scales = x.scale + row0 + 2 * t;
    const int *sums = x.sum + row0 + 2 * t;
    float by[2] = {1, 1};
    int zero[2] = {0, 0};
    if (!GROUPS)
#pragma unroll
        for (int i = 0; i < 2; i++) {
            by[i] = scale_of(i, 0);
            zero[i] = stored_zero(w, min(o + 8 * i, w.out - 1), 0) - (1 << (BITS - 1));
        }
#pragma unroll
    for (int n = 0; n < N / 8; n++) {
        const float2 s = __ldg((const float2 *)(scales + 8 * n)); /* of rows past the last too: they go nowhere */
        const int2 of_x = GROUPS ? make_int2(0, 0) : __ldg((const int2 *)(sums + 8 * n));
#pragma unroll
        for (int j = 0; j < 4; j++) {
            const int i = 4 * n + j, k = j / 2;
            float out;
            if (GROUPS) out = total[GROUPS ? i : 0];
            else {
                const int exact = BITS == 4 ? sum[i] >> 4 : sum[i];
                out = (float)(exact - zero[k] * (j % 2 ? of_x.y : of_x.x)) * by[k];
            }
            asm volatile("st.shared.f32 [%0], %1;" ::"r"(
                             room + ((8 * n + 2 * t + j % 2) * C::LINE + warp % 4 * 16 + g + 8 * k) * 4),
                         "f"(out * (j % 2 ? s.y : s.x))
                         : "memory");
        }
    }
    asm volatile("bar.sync %0, 128;" ::"r"(2 + half) : "memory");
    const int who = threadIdx.x % 128;
    const int64_t o1 = out0 + half * 64 + who % 8 * 8; /* eight outputs of a row */
    const int left = (int)min(w.out - o1, (int64_t)8);
#pragma unroll 1
    for (int r = who / 8; r < N; r += 16) {
        const int64_t m = row0 + r;
        if (m >= x.rows || left <= 0) continue;
        float v[8];
#pragma unroll
        for (int q = 0; q < 2; q++)
            asm volatile("ld.shared.v4.f32 {%0, %1, %2, %3}, [%4];"
                         : "=f"(v[4 * q]), "=f"(v[4 * q + 1]), "=f"(v[4 * q + 2]), "=f"(v[4 * q + 3])
                         : "r"(room + (r * C::LINE + who % 8 * 8 + 4 * q) * 4)
                         : "memory");
        const int64_t put = m * to.ldy + o1;
        if (left == 8 && !to.accumulate && put % 8 == 0 && (uintptr_t)to.y % 16 == 0) {
            if (to.f32) {
                *(float4 *)((float *)to.y + put) = *(float4 *)v;
                *(float4 *)((float *)to.y + put + 4) = *(float4 *)(v + 4);
            } else {
                uint32_t two[4];
#pragma unroll
                for (int q = 0; q < 4; q++) two[q] = to_bf16(v[2 * q]) | (uint32_t)to_bf16(v[2 * q + 1]) << 16;
                *(uint4 *)((uint16_t *)to.y + put) = make_uint4(two[0], two[1], two[2], two[3]);
            }
            continue;
        }
#pragma unroll
        for (int q = 0; q < 8; q++)
            if (q < left) put_sum(to.y, to.f32, put + q, v[q], to.accumulate);
    }
#endif
}

/* ---- launches ---- */
template <int BITS, bool GROUPS, int N>
static void launch(bl_stream s, const bl_cu_weight *w, const bl_cu_eight *x, const eight_to *to)
{
    typedef eight<BITS, GROUPS, N> C;
    static_assert(C::SHARED <= 227 << 10, "shared memory");
    dim3 grid((unsigned)((x->rows + N - 1) / N), (unsigned)((w->out + TILE_OUT - 1) / TILE_OUT));
    cudaFuncSetAttribute(eight_rows<BITS, GROUPS, N>, cudaFuncAttributeMaxDynamicSharedMemorySize, C::SHARED);
    eight_rows<BITS, GROUPS, N><<<grid, THREADS, C::SHARED, s>>>(*w, *x, *to);
}

void bl_cu_eight_product(bl_stream s, const bl_cu_weight *w, const bl_cu_eight *x, void *y, bool f32, int64_t ldy,
                         bool accumulate)
{
    const eight_to to = {y, ldy, f32, accumulate};
    const int rows = x->tile;
    if (x->rows < 1) return;
    if (w->bits == 8) {
        if (rows == 256) launch<8, false, 256>(s, w, x, &to);
        else if (rows == 128) launch<8, true, 128>(s, w, x, &to);
        else if (w->group >= w->in) launch<8, false, 32>(s, w, x, &to);
        else launch<8, true, 32>(s, w, x, &to);
    } else {
        if (rows == 256) launch<4, false, 256>(s, w, x, &to);
        else if (rows == 128) launch<4, true, 128>(s, w, x, &to);
        else if (w->group >= w->in) launch<4, false, 32>(s, w, x, &to);
        else launch<4, true, 32>(s, w, x, &to);
    }
}
