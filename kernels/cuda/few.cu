/* few.cu - y = x wt for at most 32 rows of x and packed weights, on tensor cores: weights are the 16-row operand, eight
 * rows of x the other, so that one row of x costs no more than eight.
 *
 * Layout: as format.h has it, code i of a row in bits [i b, i b + b). Which numbers of k meet in an instruction is free
 * as long as both operands agree: lane t of four takes eight neighbouring codes of each 32, and the 16 bytes of x that
 * belong to them, which makes two steps of 16.
 *
 * Weights: code - zero is exact in bf16 (at most 255); its scale multiplies the f32 sum of the group, so products of
 * integer formats are exact. Values of a table are rounded to bf16.
 *
 * k is shared by the eight warps of a block, in runs; their sums are added in order. A row's bits do not depend on how
 * many rows there are.
 */
#include "tile.cuh"
#include "weight.cuh"

enum { FEW_WARPS = 8, TILE_OUT = 16, CHUNK = 32 };

bool bl_cu_few_takes(const bl_cu_weight *w, int64_t rows)
{
    return rows <= BL_CU_FEW_ROWS && (w->kind == BL_CU_INT || w->kind == BL_CU_TABLE) && w->in % CHUNK == 0 &&
           (w->group % CHUNK == 0 || w->group >= w->in) && w->zero_type <= 1;
}

/* Codes 2 j and 2 j + 1, less their zero, as two bf16. */
template <int BITS, bool TABLE>
static __device__ __forceinline__ uint32_t two_weights(typename codes_of<BITS>::word v, int j, int zero, uint32_t shift,
                                                       const uint16_t *table)
{
    const uint32_t mask = (1u << BITS) - 1;
    uint32_t a = (uint32_t)(v >> 2 * j * BITS) & mask, b = (uint32_t)(v >> (2 * j + 1) * BITS) & mask;
    if (TABLE) return table[a] | (uint32_t)table[b] << 16;
    if (BITS == 1) return 0xbf80bf80u ^ (a << 15 | b << 31); /* -1, 1 */
    if (BITS == 8) return (uint32_t)to_bf16((float)((int)a - zero)) | (uint32_t)to_bf16((float)((int)b - zero)) << 16;
    uint32_t pair = a | b << 16 | 0x43004300u; /* 128 + code */
    __nv_bfloat162 d = __hsub2(*(__nv_bfloat162 *)&pair, *(__nv_bfloat162 *)&shift);
    return *(uint32_t *)&d;
}

/* TILES: of eight rows of x. */
template <int BITS, bool TABLE, int TILES>
__global__ void __launch_bounds__(FEW_WARPS *WARP)
    few_rows(bl_cu_weight w, const uint16_t *x, int64_t ldx, int rows, void *y, bool f32, int64_t ldy, bool accumulate)
{
    enum { AT_ONCE = TILES == 1 ? 4 : 1 };
    __shared__ float sums[FEW_WARPS][TILES][WARP][4];
    __shared__ uint16_t table[TABLE ? 1 << BITS : 1];
    int warp = threadIdx.x / WARP, lane = threadIdx.x % WARP, g = lane / 4, t = lane % 4;
    int64_t o0 = (int64_t)blockIdx.x * TILE_OUT, r[2] = {o0 + g, o0 + g + 8};
    if (TABLE) {
        for (int i = threadIdx.x; i < 1 << BITS; i += FEW_WARPS * WARP) table[i] = to_bf16(w.table[i]);
        __syncthreads();
    }
    for (int i = 0; i < 2; i++)
        if (r[i] >= w.out) r[i] = w.out - 1; /* read, and left out at the end */
    const uint32_t *codes[2] = {(const uint32_t *)(w.codes + r[0] * w.row_bytes),
                                (const uint32_t *)(w.codes + r[1] * w.row_bytes)};
    int chunks = (int)(w.in / CHUNK), each = (chunks + FEW_WARPS - 1) / FEW_WARPS, c = warp * each,
        end = min(c + each, chunks), of_group = (int)(w.group >= w.in ? chunks : w.group / CHUNK);
    float total[TILES][4] = {}, acc[TILES][4];

    while (c < end) {
        int64_t group = c / of_group;
        int stop = min(end, (int)(group + 1) * of_group);
        float s[2];
        int z[2] = {0, 0};
        uint32_t shift[2] = {0, 0};
#pragma unroll
        for (int i = 0; i < 2; i++) {
            s[i] = stored_scale(w, r[i], group);
            if (!TABLE && BITS > 1) {
                z[i] = stored_zero(w, r[i], group);
                shift[i] = 0x10001u * to_bf16((float)(128 + z[i]));
            }
        }
#pragma unroll
        for (int n = 0; n < TILES; n++) acc[n][0] = acc[n][1] = acc[n][2] = acc[n][3] = 0;
        for (; c < stop; c += AT_ONCE) {
            typename codes_of<BITS>::word v[AT_ONCE][2];
            uint4 xs[AT_ONCE][TILES];
#pragma unroll
            for (int k = 0; k < AT_ONCE; k++) {
                int at = min(c + k, stop - 1);
                v[k][0] = eight_codes<BITS>(codes[0] + at * BITS, t);
                v[k][1] = eight_codes<BITS>(codes[1] + at * BITS, t);
#pragma unroll
                for (int n = 0; n < TILES; n++) {
                    xs[k][n] = {0, 0, 0, 0};
                    if (n * 8 + g < rows && c + k < stop)
                        xs[k][n] = *(const uint4 *)(x + (n * 8 + g) * ldx + at * CHUNK + t * 8);
                }
            }
#pragma unroll
            for (int k = 0; k < AT_ONCE; k++) { /* past the end x is zero */
#pragma unroll
                for (int h = 0; h < 2; h++) {
                    uint32_t a[4];
#pragma unroll
                    for (int i = 0; i < 4; i++)
                        a[i] = two_weights<BITS, TABLE>(v[k][i % 2], 2 * h + i / 2, z[i % 2], shift[i % 2], table);
#pragma unroll
                    for (int n = 0; n < TILES; n++)
                        if (n * 8 < rows) mma(acc[n], a, h ? xs[k][n].z : xs[k][n].x, h ? xs[k][n].w : xs[k][n].y);
                }
            }
        }
        c = stop;
#pragma unroll
        for (int n = 0; n < TILES; n++)
#pragma unroll
            for (int j = 0; j < 4; j++) total[n][j] = fmaf(s[j / 2], acc[n][j], total[n][j]);
    }
#pragma unroll
    for (int n = 0; n < TILES; n++)
#pragma unroll
        for (int j = 0; j < 4; j++) sums[warp][n][lane][j] = total[n][j];
    __syncthreads();
    for (int i = threadIdx.x; i < TILES * WARP * 4; i += FEW_WARPS * WARP) {
        int n = i / (WARP * 4), l = i / 4 % WARP, j = i % 4, m = n * 8 + l % 4 * 2 + j % 2;
        int64_t o = o0 + l / 4 + j / 2 * 8;
        float sum = 0;
        if (m >= rows || o >= w.out) continue;
        for (int k = 0; k < FEW_WARPS; k++) sum += sums[k][n][l][j];
        put_sum(y, f32, m * ldy + o, sum, accumulate);
    }
}

template <int TILES>
static void launch(bl_stream s, const bl_cu_weight *w, const uint16_t *x, int64_t ldx, int rows, void *y, bool f32,
                   int64_t ldy, bool accumulate)
{
    unsigned grid = (unsigned)((w->out + TILE_OUT - 1) / TILE_OUT);
#define FEW(bits, table)                                                                                               \
    few_rows<bits, table, TILES><<<grid, FEW_WARPS * WARP, 0, s>>>(*w, x, ldx, rows, y, f32, ldy, accumulate)
    if (w->kind == BL_CU_TABLE) {
        switch (w->bits) {
        case 2: FEW(2, true); return;
        case 3: FEW(3, true); return;
        case 4: FEW(4, true); return;
        default: FEW(8, true); return;
        }
    }
    switch (w->bits) {
    case 1: FEW(1, false); return;
    case 2: FEW(2, false); return;
    case 3: FEW(3, false); return;
    case 4: FEW(4, false); return;
    case 5: FEW(5, false); return;
    case 6: FEW(6, false); return;
    case 7: FEW(7, false); return;
    default: FEW(8, false); return;
    }
#undef FEW
}

void bl_cu_few(bl_stream s, const bl_cu_weight *w, const uint16_t *x, int64_t ldx, int64_t rows, void *y, bool f32,
               int64_t ldy, bool accumulate)
{
    if (rows < 1) return;
    if (rows <= 8) launch<1>(s, w, x, ldx, (int)rows, y, f32, ldy, accumulate);
    else launch<4>(s, w, x, ldx, (int)rows, y, f32, ldy, accumulate);
}
