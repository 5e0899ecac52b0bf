/* fixed.cu - y = x wt of bf16 matrices on Hopper, accumulated in f32, at the speed of large products: one order of
 * operations for each output, whatever the number of rows in the call, which cuBLAS does not promise.
 *
 * k goes in chunks of 64 from the first to the last, each by four instructions of 16, in every tile: how many rows a
 * block does at a time is of no consequence to their bits. Both matrices come by tensor maps; zeros are past an edge.
 */
#include "sets.cuh"

static constexpr int CHUNK = LINE / (int)sizeof(uint16_t);

bool bl_cu_fixed_takes(const uint16_t *x, int64_t ldx, const uint16_t *w, int64_t ldw, int64_t rows, int64_t out,
                       int64_t in)
{
#if BL_CUDA_HOPPER
    const bool built = true;
#else
    const bool built = false;
#endif
    const int64_t most = INT32_MAX - 1024;
    return built && ldx % 8 == 0 && ldw % 8 == 0 && ((uintptr_t)x | (uintptr_t)w) % 16 == 0 && rows < most &&
           out < most && in < most;
}

template <int N, int SET>
__global__ void __launch_bounds__(THREADS, 1)
    fixed_rows(const __grid_constant__ CUtensorMap of_w, const __grid_constant__ CUtensorMap of_x, int rows, int out,
               int in, sums_to to)
{
#ifdef __CUDA_ARCH_FEAT_SM90_ALL
    typedef set_room<N> C;
    enum { SUMS = N / 2, ROWS = N / SET /* of x that a block copies */, BAND = 4 /* row tiles that take turns */ };
    extern __shared__ uint8_t raw[];
    const uint32_t base = (shared_at(raw) + 1023) & ~1023u, room = base + C::STAGES * C::STAGE,
                   full = room + C::OUT_BYTES, empty = full + 8 * C::STAGES;
    const int chunks = (in + CHUNK - 1) / CHUNK, warp = threadIdx.x / WARP, lane = threadIdx.x % WARP;
    const int rank = SET > 1 ? rank_in_set() : 0, first = blockIdx.x / SET, step = gridDim.x / SET;
    const int each = to.tiles / to.row_tiles * BAND; /* tiles of a band */
    auto place = [&](int tile, int *row0, int *out0) {
        const int from = tile / each * BAND, n = min(BAND, to.row_tiles - from);
        *row0 = (from + tile % each % n) * N;
        *out0 = (tile % each / n * SET + rank) * TILE_OUT;
    };
    set_begin<SET, C::STAGES>(full);
    int slot = 0, turn = 0, row0, out0;
    auto next = [&]() {
        if (++slot < C::STAGES) return;
        slot = 0;
        turn++;
    };

    if (warp >= CONSUMERS / WARP) {
        asm volatile("setmaxnreg.dec.sync.aligned.u32 40;");
        if (threadIdx.x == CONSUMERS)
            for (int tile = first; tile < to.tiles; tile += step) {
                place(tile, &row0, &out0);
                for (int c = 0; c < chunks; c++, next()) {
                    const uint32_t at = base + slot * C::STAGE, b = full + 8 * slot;
                    if (turn) barrier_await(empty + 8 * slot, (turn - 1) & 1);
                    barrier_expect(b, C::STAGE);
                    copy_tile(at, &of_w, c * CHUNK, out0, b);
                    if (SET > 1)
                        copy_tile_to_set<SET>(at + C::W_BYTES + rank * (C::X_BYTES / SET), &of_x, c * CHUNK,
                                              row0 + rank * ROWS, b);
                    else copy_tile(at + C::W_BYTES, &of_x, c * CHUNK, row0, b);
                }
            }
        __syncwarp();
        set_sync<SET>();
        return;
    }

    asm volatile("setmaxnreg.inc.sync.aligned.u32 232;");
    const int half = warp / 4;
    for (int tile = first; tile < to.tiles; tile += step) {
        place(tile, &row0, &out0);
        float sum[SUMS];
#pragma unroll
        for (int i = 0; i < SUMS; i++) sum[i] = 0;
        int last = slot;
#pragma unroll 1
        for (int c = 0; c < chunks; c++, next()) {
            const uint32_t at = base + slot * C::STAGE;
            const uint64_t a = wgmma_lines(at + half * 64 * LINE), b = wgmma_lines(at + C::W_BYTES);
            barrier_await(full + 8 * slot, turn & 1);
            wgmma_begin();
#pragma unroll
            for (int s = 0; s < 4; s++) whole_of<OF_BF16, N>::run(sum, a + 2 * s, b + 2 * s, c + s > 0);
            wgmma_commit();
            wgmma_await<1>();
            if (c > 0) set_leave<SET>(empty + 8 * last, lane);
            last = slot;
        }
        wgmma_await<0>();
#pragma unroll
        for (int i = 0; i < SUMS; i++) asm volatile("" : "+f"(sum[i])::"memory");
        set_leave<SET>(empty + 8 * last, lane);
        tile_out<N>(
            [&](int n, float v[4]) {
#pragma unroll
                for (int j = 0; j < 4; j++) v[j] = sum[4 * n + j];
            },
            room, half, row0, rows, out0 + half * 64, out, to);
    }
    set_sync<SET>();
#endif
}

template <int N, int SET>
static bool launch(bl_stream s, const CUtensorMap *of_w, const uint16_t *x, int64_t ldx, int64_t rows, int64_t out,
                   int64_t in, sums_to to, int sms)
{
    static int most;
    CUtensorMap of_x;
    tiles_of(&to, rows, N, out, SET);
    return map_of(CU_TENSOR_MAP_DATA_TYPE_BFLOAT16, x, in, rows, ldx * 2, CHUNK, N / SET, &of_x) &&
           launch_sets<SET, set_room<N>::SHARED>(s, fixed_rows<N, SET>, to.tiles, sms, &most, *of_w, of_x, (int)rows,
                                                 (int)out, (int)in, to);
}

bool bl_cu_fixed(bl_stream s, const uint16_t *x, int64_t ldx, const uint16_t *w, int64_t ldw, int64_t rows, int64_t out,
                 int64_t in, void *y, bool f32, int64_t ldy, bool accumulate, int sms)
{
    const sums_to to = {y, ldy, f32, accumulate, 0, 0};
    const int64_t outs = (out + TILE_OUT - 1) / TILE_OUT, blocks = outs * ((rows + 255) / 256);
    CUtensorMap of_w;
    if (rows < 1) return true;
    if (!map_of(CU_TENSOR_MAP_DATA_TYPE_BFLOAT16, w, in, out, ldw * 2, CHUNK, TILE_OUT, &of_w)) return false;
    if (rows <= 32) return launch<32, 1>(s, &of_w, x, ldx, rows, out, in, to, sms);
    if (rows <= 128 || blocks < sms) return launch<128, 1>(s, &of_w, x, ldx, rows, out, in, to, sms);
    if (outs % 2) return launch<256, 1>(s, &of_w, x, ldx, rows, out, in, to, sms);
    return launch<256, 2>(s, &of_w, x, ldx, rows, out, in, to, sms);
}
