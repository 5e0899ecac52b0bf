/* whole.cu - y = x wt of weights of bytes or of codes of 4 bits and activations of bytes, on Hopper: in integers, and
 * e4m3 times e4m3.
 *
 * A tile of codes comes by a tensor map, rows of x were written once as shared memory has them, and both go to the
 * tensor cores from there. In each 128 numbers of k, a chunk:
 *
 *     integers            y = s_row s_out (sum q x - zero sum x), exact
 *     integers in groups  y = s_row sum over groups of s_out (sum (q - mid) x), each sum exact
 *     e4m3                y = s_row sum over chunks of s_out (sum of the chunk); the tensor cores keep some 14 bits of
 * a sum, so that of a chunk is all that they make, and the sum over chunks is one of f32
 *
 * Codes of 8 bits of one scale a row are multiplied as they are stored. Those in groups become signed bytes in
 * registers, less 128; those of 4 bits too, less 8 and times 16, which the sum is divided by: a word of eight codes is
 * four even ones and four odd ones, so that in each 32 numbers of x even ones come before odd ones.
 *
 * A block does 128 outputs with two groups of four warps, and N rows of x at a time; one thread more copies. Two blocks
 * have the same rows of x, of which each copies a half into both. Blocks stay and take tiles in turn; while sums leave,
 * the next chunks are on their way.
 */
#include "eight.h"
#include "sets.cuh"
#include "weight.cuh"
#include <cuda_fp8.h>

static constexpr int CHUNK = BL_CU_EIGHT_CHUNK, PIECE = 16, MOST_IN = 1 << 15; /* sums of 255 x 127 stay in
                     31 bits */
static_assert(CHUNK == LINE, "a chunk is a line of shared memory");
static constexpr int TOP_E4M3 = 448;

static bool floats(const bl_cu_weight *w) { return w->kind == BL_CU_TABLE && w->e4m3; }

bool bl_cu_whole_takes(const bl_cu_weight *w)
{
#if BL_CUDA_HOPPER
    const bool built = true;
#else
    const bool built = false;
#endif
    const bool whole = w->group >= w->in, groups = w->group % CHUNK == 0,
               ints = w->kind == BL_CU_INT && (w->bits == 8 || w->bits == 4) && w->in <= MOST_IN &&
                      (whole ? w->zero_type <= 1 : groups && w->zero_type == 0);
    return built && (floats(w) ? whole || groups : ints) && w->in % (w->bits == 4 ? 2 * PIECE : PIECE) == 0 &&
           w->scale_type <= 2;
}

uint64_t bl_cu_whole_plan(const bl_cu_weight *w, int64_t rows, bl_cu_eight *to)
{
    const int64_t tile = rows <= 32 ? 32 : BL_CU_EIGHT_TILE;
    *to = (bl_cu_eight){};
    to->rows = rows;
    to->padded = (rows + tile - 1) / tile * tile;
    to->in = w->in;
    to->floats = floats(w);
    to->apart = w->bits == 4;
    return (uint64_t)((w->in + CHUNK - 1) / CHUNK * to->padded * CHUNK + to->padded * 8);
}

void bl_cu_whole_place(bl_cu_eight *to, void *space)
{
    to->codes = (uint8_t *)space;
    to->scale = (float *)(to->codes + (to->in + CHUNK - 1) / CHUNK * to->padded * CHUNK);
    to->sum = (int *)(to->scale + to->padded);
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
        uint8_t *line = to.codes + ((int64_t)(i / 8) * to.padded + row) * CHUNK;
        if (!to.apart) {
            *(uint4 *)(line + (i % 8 ^ row % 8) * PIECE) = make_uint4(word[0], word[1], word[2], word[3]);
            return;
        }
#pragma unroll
        for (int odd_ones = 0; odd_ones < 2; odd_ones++) {
            const int pick = odd_ones ? 0x7531 : 0x6420, piece = i % 8 / 2 * 2 + odd_ones;
            *(uint2 *)(line + (piece ^ row % 8) * PIECE + i % 2 * 8) = make_uint2(__byte_perm(word[0], word[1], pick),
                                                                                  __byte_perm(word[2], word[3], pick));
        }
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
enum { INT8, INT4, E4M3 };
template <int OF, bool GROUPS, int N> struct kind {
    static constexpr bool FLOATS = OF == E4M3,
                          MADE = OF == INT4 || (OF == INT8 && GROUPS); /* bytes are made of codes, in registers */
    static constexpr int PRODUCT = FLOATS ? OF_E4M3 : OF_INTEGERS;
    static constexpr int STEP = FLOATS && N > 128 ? 128 : N; /* rows of a product */
    static constexpr int TOTALS = FLOATS || GROUPS ? N / 2 : 1, CODES = TILE_OUT * (OF == INT4 ? CHUNK / 2 : CHUNK);
};

#ifdef __CUDA_ARCH_FEAT_SM90_ALL
static __device__ __forceinline__ uint32_t shared_word(uint32_t at)
{
    uint32_t v;
    asm volatile("ld.shared.u32 %0, [%1];" : "=r"(v) : "r"(at) : "memory");
    return v;
}
/* The signed bytes of a warp's 16 rows and a chunk, rows of codes from `at` on, for the four products of it. */
template <int OF> static __device__ __forceinline__ void bytes_of_codes(uint32_t at, uint32_t a[4][4])
{
    const int g = threadIdx.x % WARP / 4, t = threadIdx.x % 4;
#pragma unroll
    for (int i = 0; i < 2; i++)
#pragma unroll
        for (int s = 0; s < 4; s++) {
            if (OF == INT8) {
                const uint32_t row = at + (g + 8 * i) * LINE + t * 4;
                a[s][i] = shared_word(row + (2 * s ^ g) * PIECE) ^ 0x80808080u;
                a[s][2 + i] = shared_word(row + ((2 * s + 1) ^ g) * PIECE) ^ 0x80808080u;
            } else {
                const uint32_t v = shared_word(at + (g + 8 * i) * (LINE / 2) + (s ^ g / 2) * PIECE + t * 4);
                a[s][i] = (v << 4 & 0xf0f0f0f0u) ^ 0x80808080u;
                a[s][2 + i] = (v & 0xf0f0f0f0u) ^ 0x80808080u;
            }
        }
}
/* To a place of the first block of the set. */
static __device__ __forceinline__ void put_in_first(uint32_t at, int v)
{
    asm volatile("{.reg .b32 r;\n"
                 "mapa.shared::cluster.u32 r, %0, 0;\n"
                 "st.shared::cluster.s32 [r], %1;}" ::"r"(at),
                 "r"(v)
                 : "memory");
}
#endif

/* GROUPS: scales of groups of whole chunks. SET: blocks that share rows of x; PARTS: those that share k, exact sums of
 * integers, of one tile. */
template <int OF, bool GROUPS, int N, int SET, int PARTS>
__global__ void __launch_bounds__(THREADS, 1)
    whole_rows(const __grid_constant__ CUtensorMap map, bl_cu_weight w, bl_cu_eight x, sums_to to)
{
#ifdef __CUDA_ARCH_FEAT_SM90_ALL
    typedef set_room<N> C;
    typedef kind<OF, GROUPS, N> K;
    typedef typename std::conditional<K::FLOATS, float, int>::type sum_t;
    static_assert(PARTS == 1 || (SET == 1 && !GROUPS && !K::FLOATS), "sums without an order");
    enum { SUMS = K::STEP / 2, BLOCKS = SET * PARTS };
    extern __shared__ uint8_t raw[];
    const uint32_t base = (shared_at(raw) + 1023) & ~1023u, room = base + C::STAGES * C::STAGE,
                   full = room + C::OUT_BYTES, empty = full + 8 * C::STAGES;
    const int chunks = (int)((w.in + CHUNK - 1) / CHUNK), warp = threadIdx.x / WARP, lane = threadIdx.x % WARP;
    const int among = BLOCKS > 1 ? rank_in_set() : 0, rank = SET > 1 ? among : 0, first = blockIdx.x / BLOCKS,
              step = gridDim.x / BLOCKS;
    const int from_chunk = PARTS > 1 ? chunks * among / PARTS : 0,
              to_chunk = PARTS > 1 ? chunks * (among + 1) / PARTS : chunks;
    set_begin<SET, C::STAGES>(full);
    int slot = 0, turn = 0;
    auto next = [&]() {
        if (++slot < C::STAGES) return;
        slot = 0;
        turn++;
    };

    if (warp >= CONSUMERS / WARP) {
        asm volatile("setmaxnreg.dec.sync.aligned.u32 40;");
        if (threadIdx.x == CONSUMERS)
            for (int tile = first; tile < to.tiles; tile += step) {
                const int row0 = tile % to.row_tiles * N, out0 = (tile / to.row_tiles * SET + rank) * TILE_OUT;
                const uint8_t *from = x.codes + (from_chunk * x.padded + (int64_t)row0 + rank * (N / SET)) * CHUNK;
                for (int c = from_chunk; c < to_chunk; c++, from += x.padded * CHUNK, next()) {
                    const uint32_t at = base + slot * C::STAGE, b = full + 8 * slot;
                    if (turn) barrier_await(empty + 8 * slot, (turn - 1) & 1);
                    barrier_expect(b, K::CODES + C::X_BYTES);
                    copy_tile(at, &map, c * (K::CODES / TILE_OUT), out0, b);
                    if (SET > 1)
                        copy_to_set<SET>(at + C::W_BYTES + rank * (C::X_BYTES / SET), from, C::X_BYTES / SET, b);
                    else copy_bulk(at + C::W_BYTES, from, C::X_BYTES, b);
                }
            }
        __syncwarp();
        for (int i = 0; i < (PARTS > 1 ? 3 : 1); i++) set_sync<BLOCKS>();
        return;
    }

    asm volatile("setmaxnreg.inc.sync.aligned.u32 232;");
    const int g = lane / 4, t = lane % 4, half = warp / 4;
    for (int tile = first; tile < to.tiles; tile += step) {
        const int row0 = tile % to.row_tiles * N;
        const int64_t out0 = (int64_t)(tile / to.row_tiles * SET + rank) * TILE_OUT, o = out0 + warp * 16 + g;
        auto scale_of = [&](int i, int64_t group) {
            const int64_t at = min(o + 8 * i, w.out - 1) * w.groups + group;
            if (w.scale_type == 0) return __ldg((const float *)w.scales + at);
            const uint16_t h = __ldg((const uint16_t *)w.scales + at);
            return w.scale_type == 1 ? from_f16(h) : from_bf16(h);
        };
        auto exact = [](sum_t s) { return OF == INT4 ? (sum_t)((int)s >> 4) : s; };
        sum_t sum[SUMS];
        float total[K::TOTALS];
#pragma unroll
        for (int i = 0; i < SUMS; i++) sum[i] = 0;
#pragma unroll
        for (int i = 0; i < K::TOTALS; i++) total[i] = 0;
        auto settle = [&]() { /* no use of a sum moves across a wait */
#pragma unroll
                              for (int i = 0; i < SUMS; i++)
                                  if constexpr (K::FLOATS) asm volatile("" : "+f"(sum[i])::"memory");
                                  else asm volatile("" : "+r"(sum[i])::"memory");
        };
        const int each_group = GROUPS ? (int)(w.group / CHUNK) : 1;
        int last = slot;
#pragma unroll 1
        for (int c = from_chunk; c < to_chunk; c++, next()) {
            const uint32_t at = base + slot * C::STAGE;
            const uint64_t a = wgmma_lines(at + half * 64 * CHUNK), b = wgmma_lines(at + C::W_BYTES);
            float by[2] = {1, 1};
            if (GROUPS) {
                by[0] = scale_of(0, c / each_group);
                by[1] = scale_of(1, c / each_group);
            }
            barrier_await(full + 8 * slot, turn & 1);
            if constexpr (K::MADE) { /* a chunk is decoded while the one before is multiplied */
                uint32_t bytes[4][4];
                bytes_of_codes<OF>(at + warp * (16 * K::CODES / TILE_OUT), bytes);
                wgmma_await<0>();
                if (c > from_chunk && !GROUPS) set_leave<SET>(empty + 8 * last, lane);
                last = slot;
#pragma unroll
                for (int i = 0; i < 16; i++) asm volatile("" : "+r"(bytes[i / 4][i % 4]));
                wgmma_begin();
#pragma unroll
                for (int s = 0; s < 4; s++)
                    signed_of<N>::run(sum, bytes[s], b + 2 * s,
                                      GROUPS ? c % each_group > 0 || s > 0 : c + s > from_chunk);
                wgmma_commit();
                if (GROUPS) {
                    wgmma_await<0>();
                    settle();
                    set_leave<SET>(empty + 8 * slot, lane);
                    if ((c + 1) % each_group == 0 || c + 1 == chunks)
#pragma unroll
                        for (int i = 0; i < K::TOTALS; i++)
                            total[i] = fmaf((float)exact(sum[i]), by[i / 2 % 2], total[i]);
                }
            } else if constexpr (K::FLOATS) { /* sums of a chunk */
#pragma unroll
                for (int h = 0; h < N / K::STEP; h++) {
                    settle();
                    wgmma_begin();
#pragma unroll
                    for (int s = 0; s < 4; s++)
                        whole_of<K::PRODUCT, K::STEP>::run(sum, a + 2 * s, b + h * (K::STEP * CHUNK >> 4) + 2 * s,
                                                           s > 0);
                    wgmma_commit();
                    wgmma_await<0>();
                    settle();
                    if (h == N / K::STEP - 1) set_leave<SET>(empty + 8 * slot, lane);
#pragma unroll
                    for (int i = 0; i < SUMS; i++) {
                        float &all = total[h * SUMS + i];
                        all = GROUPS ? fmaf((float)sum[i], by[i / 2 % 2], all) : all + sum[i];
                    }
                }
            } else {
                wgmma_begin();
#pragma unroll
                for (int s = 0; s < 4; s++)
                    whole_of<K::PRODUCT, K::STEP>::run(sum, a + 2 * s, b + 2 * s, c + s > from_chunk);
                wgmma_commit();
                wgmma_await<1>();
                if (c > from_chunk) set_leave<SET>(empty + 8 * last, lane);
                last = slot;
            }
        }
        if constexpr (!K::FLOATS && !GROUPS) {
            wgmma_await<0>();
            settle();
            set_leave<SET>(empty + 8 * last, lane);
        }
        if constexpr (PARTS > 1) { /* into the stages of the first of them, which are free once it has its sums */
            set_sync<BLOCKS>();
            const uint32_t to_first = base + (uint32_t)((among - 1) * CONSUMERS * SUMS + threadIdx.x) * 4;
#pragma unroll
            for (int i = 0; i < SUMS; i++)
                if (among) put_in_first(to_first + i * CONSUMERS * 4, (int)sum[i]);
            set_sync<BLOCKS>();
            if (among) break;
#pragma unroll 1
            for (int other = 1; other < PARTS; other++)
#pragma unroll
                for (int i = 0; i < SUMS; i++)
                    sum[i] += *(int *)(raw + (base - shared_at(raw)) +
                                       ((other - 1) * CONSUMERS * SUMS + i * CONSUMERS + threadIdx.x) * 4);
        }

        /* ---- out, some rows at a time ---- */
        float by[2] = {1, 1};
        int zero[2] = {0, 0};
#pragma unroll
        for (int i = 0; i < 2 && !GROUPS; i++) {
            by[i] = scale_of(i, 0);
            if (!K::FLOATS) zero[i] = stored_zero(w, min(o + 8 * i, w.out - 1), 0) - (OF == INT4 ? 8 : 0);
        }
        tile_out<N>(
            [&](int n, float v[4]) {
                const int64_t row = row0 + 8 * n + 2 * t; /* of rows past the last too: they go nowhere */
                const float2 s = __ldg((const float2 *)(x.scale + row));
                const int2 of_x = K::FLOATS || GROUPS ? make_int2(0, 0) : __ldg((const int2 *)(x.sum + row));
#pragma unroll
                for (int j = 0; j < 4; j++) {
                    const int i = 4 * n + j, k = j / 2;
                    if constexpr (GROUPS) v[j] = total[i];
                    else if constexpr (K::FLOATS) v[j] = total[i] * by[k];
                    else v[j] = (float)(exact(sum[i]) - zero[k] * (j % 2 ? of_x.y : of_x.x)) * by[k];
                    v[j] *= j % 2 ? s.y : s.x;
                }
            },
            room, half, row0, x.rows, out0 + half * 64, w.out, to);
    }
    set_sync<BLOCKS>();
#endif
}

/* ---- launches ---- */
template <int OF, bool GROUPS, int N, int SET, int PARTS>
static bool launch(bl_stream s, const CUtensorMap *map, const bl_cu_weight *w, const bl_cu_eight *x, sums_to to,
                   int sms)
{
    static int most;
    tiles_of(&to, x->rows, N, w->out, SET);
    static_assert((PARTS - 1) * CONSUMERS * N / 2 * 4 <= set_room<N>::STAGES * set_room<N>::STAGE, "room for sums");
    if (PARTS > 1 &&
        to.tiles > sets_there<SET * PARTS, set_room<N>::SHARED>(whole_rows<OF, GROUPS, N, SET, PARTS>, sms, &most))
        return launch<OF, GROUPS, N, SET, (PARTS + 1) / 2>(s, map, w, x, to, sms);
    return launch_sets<SET * PARTS, set_room<N>::SHARED>(s, whole_rows<OF, GROUPS, N, SET, PARTS>, to.tiles, sms, &most,
                                                         *map, *w, *x, to);
}

/* Sums of integers in groups and of all of them have no room beside each other for 256 rows. Where tiles are few, exact
 * sums are shared by blocks. */
template <int OF, bool GROUPS>
static bool by_rows(bl_stream s, const bl_cu_weight *w, const bl_cu_eight *x, const sums_to *to, int sms)
{
    constexpr bool whole_ints = OF != E4M3 && !GROUPS, in_halves = OF != E4M3 && GROUPS;
    const int64_t outs = (w->out + TILE_OUT - 1) / TILE_OUT, blocks = outs * ((x->rows + 255) / 256),
                  tiles = outs * (x->rows <= 32 ? 1 : (x->rows + 127) / 128);
    const bool parts = whole_ints && w->in >= 16 * CHUNK;
    CUtensorMap map;
    if (!map_of(CU_TENSOR_MAP_DATA_TYPE_UINT8, w->codes, w->row_bytes, w->out, w->row_bytes,
                kind<OF, GROUPS, 32>::CODES / TILE_OUT, TILE_OUT, &map))
        return false;
    if (x->rows <= 32) {
        if (parts && tiles * 4 <= sms)
            return launch < OF, GROUPS, 32, 1, whole_ints ? 4 : 1 > (s, &map, w, x, *to, sms);
        if (parts && tiles * 2 <= sms)
            return launch < OF, GROUPS, 32, 1, whole_ints ? 2 : 1 > (s, &map, w, x, *to, sms);
        return launch<OF, GROUPS, 32, 1, 1>(s, &map, w, x, *to, sms);
    }
    if (parts && tiles * 4 <= sms) return launch < OF, GROUPS, 128, 1, whole_ints ? 4 : 1 > (s, &map, w, x, *to, sms);
    if (parts && tiles * 2 <= sms) return launch < OF, GROUPS, 128, 1, whole_ints ? 2 : 1 > (s, &map, w, x, *to, sms);
    if (x->rows <= 128 || blocks < sms || in_halves) return launch<OF, GROUPS, 128, 1, 1>(s, &map, w, x, *to, sms);
    return launch < OF, GROUPS, in_halves ? 128 : 256, in_halves ? 1 : 2, 1 > (s, &map, w, x, *to, sms);
}

bool bl_cu_whole_product(bl_stream s, const bl_cu_weight *w, const bl_cu_eight *x, void *y, bool f32, int64_t ldy,
                         bool accumulate, int sms)
{
    const sums_to to = {y, ldy, f32, accumulate, 0, 0};
    const bool groups = w->group < w->in;
    if (x->rows < 1) return true;
    if (x->floats) return (groups ? by_rows<E4M3, true> : by_rows<E4M3, false>)(s, w, x, &to, sms);
    if (w->bits == 4) return (groups ? by_rows<INT4, true> : by_rows<INT4, false>)(s, w, x, &to, sms);
    return (groups ? by_rows<INT8, true> : by_rows<INT8, false>)(s, w, x, &to, sms);
}
