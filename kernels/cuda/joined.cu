/* joined.cu - rows of a packed weight with an adapter in them, w + s B A, in bf16: what a product of many rows needs to
 * read anyway, so that it needs no other for the adapter. A warp has 32 rows and, one after another, some strips of 32
 * columns; its rows of B stay in registers as the first operand of the tensor cores. The strip of A is the second one
 * of all warps of a block: they bring it into shared memory together, as its lanes want it, one strip ahead. Codes are
 * copied there two windows ahead, a window being 32 bytes of each row of a block, and scales are read a group ahead.
 * Columns of the product are dealt such that a thread gets eight neighbours of a row, and reads four neighbours of a
 * row of A: number n of tile j of four is column n / 2 * 8 + n % 2 * 4 + j.
 */
#include "hopper.cuh"
#include "hopper.h"
#include "weight.cuh"

enum { WARPS = 8, TILES = 2, WARP_ROWS = 16 * TILES, ROWS = WARPS * WARP_ROWS, STRIP = 32, MAP = 256 };
enum { WINDOW = 32, LINE = WINDOW + 16, DEPTH = 3 }; /* lines of rows do not meet in a bank */

static __device__ __forceinline__ uint32_t two(float low, float high)
{
    __nv_bfloat162 h = __floats2bfloat162_rn(low, high);
    return *(uint32_t *)&h;
}

/* Scales of a thread's four rows, of one group after another: those of the next are read while one is in use. Columns
 * are counted in pieces, of which a group has `whole`. */
template <bool TWICE> struct group_scales {
    uint32_t at[2 * TILES], next[2 * TILES]; /* as they are stored */
    float of[2 * TILES], now[2 * TILES];     /* the scale of a scale */
    int group, left, then, whole;            /* pieces that are left of a group, and of the one after it */
    __device__ __forceinline__ group_scales(const bl_cu_weight &w, const int64_t row[2 * TILES], int from, int columns)
    {
        whole = max((int)w.group / columns, 1);
        group = from / whole;
        left = 0;
        then = whole - from % whole;
#pragma unroll
        for (int i = 0; i < 2 * TILES; i++) at[i] = (uint32_t)(row[i] * w.groups);
        read(w);
    }
    __device__ __forceinline__ void read(const bl_cu_weight &w)
    {
#pragma unroll
        for (int i = 0; i < 2 * TILES; i++) {
            const uint32_t k = at[i] + group;
            if (TWICE) next[i] = ((const uint8_t *)w.scales)[k], of[i] = w.scales2[k / MAP];
            else if (w.scale_type == 0) next[i] = ((const uint32_t *)w.scales)[k];
            else next[i] = ((const uint16_t *)w.scales)[k];
        }
    }
    __device__ __forceinline__ float value(const bl_cu_weight &w, int i, const float *map, float offset) const
    {
        if (TWICE) return map[next[i]] * of[i] + offset;
        return w.scale_type == 0   ? __uint_as_float(next[i])
               : w.scale_type == 1 ? from_f16((uint16_t)next[i])
                                   : from_bf16((uint16_t)next[i]);
    }
    __device__ __forceinline__ void step(const bl_cu_weight &w, const float *map, float offset) /* to the next piece */
    {
        if (left == 0) {
            left = then;
            then = whole;
#pragma unroll
            for (int i = 0; i < 2 * TILES; i++) now[i] = value(w, i, map, offset);
            if (++group < w.groups) read(w);
        }
        left--;
    }
};

/* Rows g and g + 8 of B times what the adapter is, of the first eight k and of the others: the first operand of its
 * products. */
template <int STEPS>
static __device__ __forceinline__ void rows_of_b(const bl_cu_beside &b, const int64_t row[2], int t,
                                                 uint32_t (&f)[STEPS][4])
{
#pragma unroll
    for (int k = 0; k < STEPS; k++)
#pragma unroll
        for (int c = 0; c < 4; c++) {
            const int at = 16 * k + c / 2 * 8;
            float2 v = make_float2(0, 0);
            if (at < (int)b.rank) v = *(const float2 *)(b.b + row[c % 2] * b.rank + at + 2 * t);
            f[k][c] = two(v.x * b.scale, v.y * b.scale);
        }
}

template <int BITS, bool TABLE, bool TWICE, int STEPS>
__global__ void __launch_bounds__(WARPS *WARP, 2)
    join(const bl_cu_weight w, const bl_cu_beside b, int64_t row0, int rows, int strips_each, uint16_t *y, int64_t ldy)
{
    enum { STRIPS = WINDOW / (4 * BITS) }; /* of a window; a block begins with a whole one */
    __shared__ float table[TABLE ? 1 << BITS : 1], map[TWICE ? MAP : 1];
    __shared__ uint4 strips_of_a[2][STEPS][2][WARP]; /* of the first and the last eight rows of a step, a lane each */
    __shared__ __align__(16) uint8_t lines[DEPTH][ROWS * LINE];
    const int lane = threadIdx.x % WARP, g = lane / 4, t = lane % 4, block0 = blockIdx.x * ROWS,
              mine = threadIdx.x / WARP * WARP_ROWS + g, in = (int)w.in, strips = in / STRIP,
              from = blockIdx.y * strips_each, to = min(from + strips_each, strips), rank = (int)b.rank;
    const bool brings = threadIdx.x < STEPS * 2 * WARP; /* a lane of half of a step */
    const int brought = threadIdx.x / WARP * 8 + 2 * t; /* the first row of A of it */
    const float offset = TWICE ? w.offset[0] : 0;
    uint32_t fb[TILES][STEPS][4], put_at[2 * TILES];
    int64_t row[2 * TILES];
    if (TABLE)
        for (int i = threadIdx.x; i < 1 << BITS; i += blockDim.x) table[i] = w.table[i];
    if (TWICE) map[threadIdx.x] = w.map[threadIdx.x];

    /* Two pieces of a window each, of a row and of the one 128 further. */
    const uint8_t *codes[2];
    const int piece = threadIdx.x % 2 * 16, line = threadIdx.x / 2;
#pragma unroll
    for (int i = 0; i < 2; i++)
        codes[i] = w.codes + (row0 + min(block0 + line + i * (ROWS / 2), rows - 1)) * w.row_bytes + piece;
    auto bring = [&](int window) {
        const int64_t at = (int64_t)from * (4 * BITS) + window * WINDOW;
        const uint32_t here = shared_at(lines[window % DEPTH] + line * LINE + piece);
        const bool whole = at + piece < w.row_bytes && window * STRIPS < to - from;
#pragma unroll
        for (int i = 0; i < 2; i++)
            if (whole) copy16(here + i * (ROWS / 2 * LINE), codes[i] + at, 16);
        copies_commit();
    };
    bring(0);
    bring(1);

    const float *a_row = b.a + (int64_t)brought * in + from * STRIP + 4 * g;
    float4 even = {}, odd = {}; /* four columns of two rows of A */
    const bool there = brings && brought < rank;
    if (there) even = *(const float4 *)a_row, odd = *(const float4 *)(a_row + in);
#pragma unroll
    for (int i = 0; i < 2 * TILES; i++) { /* past the end the last row is made again */
        row[i] = row0 + min(block0 + mine + 8 * i, rows - 1);
        put_at[i] = (uint32_t)((row[i] - row0) * ldy + 8 * t);
    }
    group_scales<TWICE> scales(w, row, from, STRIP);
#pragma unroll
    for (int m = 0; m < TILES; m++) rows_of_b(b, row + 2 * m, t, fb[m]);

    uint16_t *out = y + from * STRIP;
    for (int window = 0; window * STRIPS < to - from; window++) {
        copies_wait<1>();
#pragma unroll
        for (int h = 0; h < STRIPS; h++) {
            const int strip = from + window * STRIPS + h;
            if (strip >= to) break;
            uint4(*a)[2][WARP] = strips_of_a[STRIPS == 2 ? h : window % 2];
            float sum[TILES][4][4];
            if (brings)
                a[threadIdx.x / (2 * WARP)][threadIdx.x / WARP % 2][lane] = make_uint4(
                    two(even.x, odd.x), two(even.y, odd.y), two(even.z, odd.z), two(even.w, odd.w));
            a_row += STRIP;
            if (there && strip + 1 < to) even = *(const float4 *)a_row, odd = *(const float4 *)(a_row + in);
            __syncthreads(); /* what is read here is written again after the next one */
            if (h == 0) bring(window + 2);
            scales.step(w, map, offset);
#pragma unroll
            for (int k = 0; k < STEPS; k++) {
                const uint4 l = a[k][0][lane], u = a[k][1][lane];
                const uint32_t low[4] = {l.x, l.y, l.z, l.w}, high[4] = {u.x, u.y, u.z, u.w};
#pragma unroll
                for (int m = 0; m < TILES; m++)
#pragma unroll
                    for (int j = 0; j < 4; j++)
                        if (k) mma(sum[m][j], fb[m][k], low[j], high[j]);
                        else mma_new(sum[m][j], fb[m][k], low[j], high[j]);
            }
            const uint8_t *of = lines[window % DEPTH] + mine * LINE + (h * STRIP + 8 * t) * BITS / 8;
#pragma unroll
            for (int i = 0; i < 2 * TILES; i++) {
                const auto v = *(const typename codes_of<BITS>::word *)(of + 8 * i * LINE);
                const int z = TABLE ? 0 : stored_zero(w, row[i], scales.group - 1);
                float f[8];
#pragma unroll
                for (int j = 0; j < 8; j++) {
                    const uint32_t q = (uint32_t)(v >> j * BITS) & ((1u << BITS) - 1);
                    f[j] = (TABLE ? table[q] : (float)((int)q - z)) * scales.now[i] +
                           sum[i / 2][j % 4][i % 2 * 2 + j / 4];
                }
                put8(out + put_at[i], f);
            }
            out += STRIP;
        }
    }
}

/* The same on compute capability 9.0, by windows of 64 columns: a group of four warps has 128 rows, and its products
 * read the strip of A, which all groups of a block bring together, from shared memory by themselves. Codes are of four
 * bits and stand in a table; groups of scales are whole windows. */
enum { GROUPS_OF_FOUR = 2, HALVES = 2, TALL = GROUPS_OF_FOUR * HALVES * GROUP_ROWS, COLUMNS = 64, RANK = 64 };
enum { TILE_OF_A = RANK * PANEL_ROW, JOIN_SHARED = 1024 + 2 * TILE_OF_A + DEPTH * TALL * LINE };

template <bool TWICE>
__global__ void __launch_bounds__(GROUPS_OF_FOUR *GROUP, 2)
    join_hopper(const bl_cu_weight w, const bl_cu_beside b, int64_t row0, int rows, int each, uint16_t *y, int64_t ldy)
{
#ifdef BL_HOPPER
    enum { STEPS = RANK / 16, THREADS = GROUPS_OF_FOUR * GROUP, TASKS = RANK * 8 / THREADS };
    extern __shared__ uint8_t shared[];
    __shared__ float table[16], map[TWICE ? MAP : 1];
    const uint32_t tiles = (shared_at(shared) + 1023) / 1024 * 1024, lines = tiles + 2 * TILE_OF_A;
    const int lane = threadIdx.x % WARP, g = lane / 4, t = lane % 4, block0 = blockIdx.x * TALL,
              mine = threadIdx.x / GROUP * HALVES * GROUP_ROWS + threadIdx.x % GROUP / WARP * 16 + g, in = (int)w.in,
              from = blockIdx.y * each, n = min(each, in / COLUMNS - from), rank = (int)b.rank;
    const float offset = TWICE ? w.offset[0] : 0;
    uint32_t fb[HALVES][STEPS][4], put_at[2 * HALVES];
    int64_t row[2 * HALVES];
    if (threadIdx.x < 16) table[threadIdx.x] = w.table[threadIdx.x];
    if (TWICE) map[threadIdx.x] = w.map[threadIdx.x];

    /* Two pieces of a window each, of a row and of the one TALL / 2 further. */
    const uint8_t *codes[2];
    const int piece = threadIdx.x % 2 * 16, line = threadIdx.x / 2;
#pragma unroll
    for (int i = 0; i < 2; i++)
        codes[i] = w.codes + (row0 + min(block0 + line + i * (TALL / 2), rows - 1)) * w.row_bytes + from * WINDOW +
                   piece;
    auto bring = [&](int window) {
        const uint32_t here = lines + (window % DEPTH * TALL + line) * LINE + piece;
#pragma unroll
        for (int i = 0; i < 2; i++)
            if (window < n) copy16(here + i * (TALL / 2 * LINE), codes[i] + window * WINDOW, 16);
        copies_commit();
    };
    bring(0);
    bring(1);

    /* Eight neighbours of a row of A each, which are columns 2 t, 2 t + 1 of four pieces of the tile: of the product, a
     * thread gets eight neighbours of a row. */
    const int half = threadIdx.x / 4 % 2, brought = threadIdx.x / 8;
    const float *a_row = b.a + (int64_t)brought * in + from * COLUMNS + half * 32 + 8 * t;
    float4 low[TASKS], high[TASKS];
    auto read_a = [&]() {
#pragma unroll
        for (int i = 0; i < TASKS; i++) {
            const float4 *p = (const float4 *)(a_row + (int64_t)i * (RANK / TASKS) * in);
            const bool there = brought + i * (RANK / TASKS) < rank;
            low[i] = there ? p[0] : make_float4(0, 0, 0, 0);
            high[i] = there ? p[1] : make_float4(0, 0, 0, 0);
        }
        a_row += COLUMNS;
    };
    auto write_a = [&](uint32_t tile) {
#pragma unroll
        for (int i = 0; i < TASKS; i++) {
            const int row = brought + i * (RANK / TASKS);
            const uint32_t v[4] = {two(low[i].x, low[i].y), two(low[i].z, low[i].w), two(high[i].x, high[i].y),
                                   two(high[i].z, high[i].w)};
#pragma unroll
            for (int j = 0; j < 4; j++)
                asm volatile(
                    "st.shared.u32 [%0], %1;" ::"r"(tile + row * PANEL_ROW + (4 * half + j ^ row % 8) * 16 + 4 * t),
                    "r"(v[j])
                    : "memory");
        }
        written_for_products();
    };
    read_a();
#pragma unroll
    for (int i = 0; i < 2 * HALVES; i++) { /* past the end the last row is made again */
        row[i] = row0 + min(block0 + mine + i / 2 * GROUP_ROWS + i % 2 * 8, rows - 1);
        put_at[i] = (uint32_t)((row[i] - row0) * ldy + 8 * t);
    }
    group_scales<TWICE> scales(w, row, from, COLUMNS);
#pragma unroll
    for (int m = 0; m < HALVES; m++) rows_of_b(b, row + 2 * m, t, fb[m]);

    uint16_t *out = y + from * COLUMNS;
    for (int window = 0; window < n; window++, out += COLUMNS) {
        const uint32_t tile = tiles + window % 2 * TILE_OF_A;
        copies_wait<1>();
        write_a(tile);
        if (window + 1 < n) read_a();
        __syncthreads(); /* what is read here is written again after the next one */
        bring(window + 2);
        scales.step(w, map, offset);
        const uint32_t of = lines + (window % DEPTH * TALL + mine) * LINE + 4 * t;
#pragma unroll
        for (int m = 0; m < HALVES; m++) {
            float sum[COLUMNS / 8][4];
            products_begin();
#pragma unroll
            for (int k = 0; k < STEPS; k++)
                product<1>(sum, fb[m][k], operand(tile + k * 16 * PANEL_ROW, TILE_OF_A), k > 0);
            products_commit();
            products_wait<0>();
            settled(sum);
#pragma unroll
            for (int i = 0; i < 2; i++)
#pragma unroll
                for (int h = 0; h < 2; h++) {
                    uint32_t v;
                    asm volatile("ld.shared.u32 %0, [%1];"
                                 : "=r"(v)
                                 : "r"(of + (m * GROUP_ROWS + 8 * i) * LINE + 16 * h)
                                 : "memory");
                    float f[8];
#pragma unroll
                    for (int j = 0; j < 8; j++)
                        f[j] = table[v >> 4 * j & 15] * scales.now[2 * m + i] + sum[4 * h + j / 2][2 * i + j % 2];
                    put8(out + put_at[2 * m + i] + 32 * h, f);
                }
        }
    }
#endif
}

bool bl_cu_join_takes(const bl_cu_weight *w, const bl_cu_beside *b)
{
    const bool kind = (w->kind == BL_CU_TABLE && w->bits == 4) ||
                      (w->kind == BL_CU_INT && (w->bits == 4 || w->bits == 8));
    return kind && w->in % STRIP == 0 && (w->group % STRIP == 0 || w->group >= w->in) && b->rank % 8 == 0 &&
           b->rank <= 64 && w->in < (1 << 24) && w->out * w->groups <= UINT32_MAX &&
           w->out * ((w->in + 7) / 8 * 8) <= UINT32_MAX &&
           ((uintptr_t)b->a | (uintptr_t)b->b | (uintptr_t)w->codes) % 16 == 0;
}

/* Strips of a block, whole windows: as many as make the last of the blocks, two at a time on a processor, end soonest,
 * where what a block begins with is worth three strips. */
static int64_t strips_each(int64_t high, int64_t strips, int whole, int sms)
{
    int64_t best = 1, least = INT64_MAX;
    for (int64_t each = whole; each < strips + whole; each += whole) {
        const int64_t blocks = high * ((strips + each - 1) / each), rounds = (blocks + 2 * sms - 1) / (2 * sms);
        if (rounds * (each + 3) >= least) continue;
        least = rounds * (each + 3);
        best = each;
    }
    return best;
}

void bl_cu_join(bl_stream s, const bl_cu_weight *w, const bl_cu_beside *b, int64_t row0, int64_t rows, uint16_t *y,
                int64_t ldy, int sms)
{
    static_assert((int)TALL == (int)ROWS, "blocks of both are as high");
    if (!rows) return;
    const int64_t high = (rows + ROWS - 1) / ROWS, strips = w->in / STRIP;
    const bool four = bl_cu_hopper() && w->kind == BL_CU_TABLE && w->in % COLUMNS == 0 && b->rank > 16 &&
                      (w->group % COLUMNS == 0 || w->group >= w->in);
    const int64_t each = strips_each(high, strips, four ? 2 : WINDOW / (4 * w->bits), sms);
    const dim3 grid((unsigned)high, (unsigned)((strips + each - 1) / each)); /* neighbours read the same of A */
    if (four) {
        void (*const join)(bl_cu_weight, bl_cu_beside, int64_t, int, int, uint16_t *,
                           int64_t) = w->scale_type == 3 ? join_hopper<true> : join_hopper<false>;
        cudaFuncSetAttribute(join, cudaFuncAttributeMaxDynamicSharedMemorySize, JOIN_SHARED);
        join<<<grid, GROUPS_OF_FOUR * GROUP, JOIN_SHARED, s>>>(*w, *b, row0, (int)rows, (int)each / 2, y, ldy);
        return;
    }
#define RUN(bits, table, twice, steps)                                                                                 \
    join<bits, table, twice, steps><<<grid, WARPS * WARP, 0, s>>>(*w, *b, row0, (int)rows, (int)each, y, ldy)
#define RANKS(bits, table, twice)                                                                                      \
    b->rank <= 16 ? (void)(RUN(bits, table, twice, 1)) : (void)(RUN(bits, table, twice, 4))
    if (w->kind == BL_CU_TABLE && w->scale_type == 3) RANKS(4, true, true);
    else if (w->kind == BL_CU_TABLE) RANKS(4, true, false);
    else if (w->bits == 4) RANKS(4, false, false);
    else RANKS(8, false, false);
#undef RANKS
#undef RUN
}
