/* joined.cu - rows of a packed weight with an adapter in them, w + s B A, in bf16: what a product of many rows needs to
 * read anyway, so that it needs no other for the adapter. A warp has 32 rows and, one after another, some strips of 32
 * columns; its rows of B stay in registers as the first operand of the tensor cores, A is read as it is stored, by all
 * warps of a block at about the same time. Columns of the product are dealt such that a thread gets eight neighbours of
 * a row, and reads four neighbours of a row of A: number n of tile j of four is column n / 2 * 8 + n % 2 * 4 + j.
 */
#include "tile.cuh"
#include "weight.cuh"

enum { WARPS = 8, TILES = 2, WARP_ROWS = 16 * TILES, STRIP = 32, STRIPS_MOST = 8, ENOUGH_BLOCKS = 528 };

static __device__ __forceinline__ uint32_t two(float low, float high)
{
    __nv_bfloat162 h = __floats2bfloat162_rn(low, high);
    return *(uint32_t *)&h;
}

/* What a thread reads of a strip of the weight: eight codes of four rows. */
template <int BITS> struct strip_codes {
    typename codes_of<BITS>::word v[2 * TILES];
    float s[2 * TILES];
    int z[2 * TILES];
};
template <int BITS, bool TABLE>
static __device__ __forceinline__ void take(const bl_cu_weight &w, int64_t row0, const int row[2 * TILES], int strip,
                                            int t, strip_codes<BITS> &to)
{
    const int group = strip / max((int)w.group / STRIP, 1);
#pragma unroll
    for (int i = 0; i < 2 * TILES; i++) {
        const int64_t at = row0 + row[i];
        to.v[i] = eight_codes<BITS>((const uint32_t *)(w.codes + at * w.row_bytes) + strip * BITS, t);
        to.s[i] = stored_scale(w, at, group);
        to.z[i] = TABLE ? 0 : stored_zero(w, at, group);
    }
}

template <int BITS, bool TABLE, int STEPS>
__global__ void __launch_bounds__(WARPS *WARP, 2)
    join(const bl_cu_weight w, const bl_cu_beside b, int64_t row0, int rows, int strips_each, uint16_t *y, int64_t ldy)
{
    __shared__ float table[TABLE ? 1 << BITS : 1];
    const int lane = threadIdx.x % WARP, g = lane / 4, t = lane % 4,
              first = (blockIdx.x * WARPS + threadIdx.x / WARP) * WARP_ROWS, in = (int)w.in, strips = in / STRIP,
              from = blockIdx.y * strips_each, to = min(from + strips_each, strips), rank = (int)b.rank;
    int row[2 * TILES];
    uint32_t fb[TILES][STEPS][4];
    if (TABLE) {
        for (int i = threadIdx.x; i < 1 << BITS; i += blockDim.x) table[i] = w.table[i];
        __syncthreads();
    }
    if (first >= rows) return;
#pragma unroll
    for (int i = 0; i < 2 * TILES; i++) row[i] = min(first + 8 * i + g, rows - 1);
#pragma unroll
    for (int m = 0; m < TILES; m++)
#pragma unroll
        for (int k = 0; k < STEPS; k++)
#pragma unroll
            for (int c = 0; c < 4; c++) { /* rows g and g + 8 of the first eight k, of the others */
                const int at = 16 * k + c / 2 * 8;
                float2 v = make_float2(0, 0);
                if (at < rank) v = *(const float2 *)(b.b + (row0 + row[2 * m + c % 2]) * rank + at + 2 * t);
                fb[m][k][c] = two(v.x * b.scale, v.y * b.scale);
            }

    for (int strip = from; strip < to; strip++) {
        float sum[TILES][4][4] = {};
        strip_codes<BITS> now;
        take<BITS, TABLE>(w, row0, row, strip, t, now);
#pragma unroll
        for (int k = 0; k < STEPS; k++) {
            const int at = (16 * k + 2 * t) * in + strip * STRIP + 4 * g;
            float4 v[4];
#pragma unroll
            for (int c = 0; c < 4; c++)
                v[c] = 16 * k + c / 2 * 8 < rank ? *(const float4 *)(b.a + at + (c / 2 * 8 + c % 2) * in)
                                                 : make_float4(0, 0, 0, 0);
            const uint32_t low[4] = {two(v[0].x, v[1].x), two(v[0].y, v[1].y), two(v[0].z, v[1].z),
                                     two(v[0].w, v[1].w)},
                           high[4] = {two(v[2].x, v[3].x), two(v[2].y, v[3].y), two(v[2].z, v[3].z),
                                      two(v[2].w, v[3].w)};
#pragma unroll
            for (int m = 0; m < TILES; m++)
#pragma unroll
                for (int j = 0; j < 4; j++) mma(sum[m][j], fb[m][k], low[j], high[j]);
        }
#pragma unroll
        for (int i = 0; i < 2 * TILES; i++) {
            float f[8];
#pragma unroll
            for (int j = 0; j < 8; j++) {
                const uint32_t q = (uint32_t)(now.v[i] >> j * BITS) & ((1u << BITS) - 1);
                f[j] = (TABLE ? table[q] : (float)((int)q - now.z[i])) * now.s[i] +
                       sum[i / 2][j % 4][i % 2 * 2 + j / 4];
            }
            if (first + 8 * i + g < rows) put8(y + (int64_t)(first + 8 * i + g) * ldy + strip * STRIP + 8 * t, f);
        }
    }
}

bool bl_cu_join_takes(const bl_cu_weight *w, const bl_cu_beside *b)
{
    const bool kind = (w->kind == BL_CU_TABLE && w->bits == 4) ||
                      (w->kind == BL_CU_INT && (w->bits == 4 || w->bits == 8));
    return kind && w->in % STRIP == 0 && (w->group % STRIP == 0 || w->group >= w->in) && b->rank % 8 == 0 &&
           b->rank <= 64 && w->in < (1 << 24) && ((uintptr_t)b->a | (uintptr_t)b->b) % 16 == 0;
}

void bl_cu_join(bl_stream s, const bl_cu_weight *w, const bl_cu_beside *b, int64_t row0, int64_t rows, uint16_t *y,
                int64_t ldy)
{
    if (!rows) return;
    const int64_t high = (rows + WARPS * WARP_ROWS - 1) / (WARPS * WARP_ROWS), strips = w->in / STRIP;
    int64_t each = high * strips / ENOUGH_BLOCKS;
    each = each < 1 ? 1 : each > STRIPS_MOST ? STRIPS_MOST : each;
    const dim3 grid((unsigned)high, (unsigned)((strips + each - 1) / each)); /* neighbours read the same of A */
#define RUN(bits, table, steps)                                                                                        \
    join<bits, table, steps><<<grid, WARPS * WARP, 0, s>>>(*w, *b, row0, (int)rows, (int)each, y, ldy)
#define RANKS(bits, table) b->rank <= 16 ? (void)(RUN(bits, table, 1)) : (void)(RUN(bits, table, 4))
    if (w->kind == BL_CU_TABLE) RANKS(4, true);
    else if (w->bits == 4) RANKS(4, false);
    else RANKS(8, false);
#undef RANKS
#undef RUN
}
