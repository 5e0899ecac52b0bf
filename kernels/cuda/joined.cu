/* joined.cu - rows of a packed weight with an adapter in them, w + s B A, in bf16: what a product of many rows needs to
 * read anyway, so that it needs no other for the adapter. A warp has 32 rows and, one after another, some strips of 32
 * columns; its rows of B stay in registers as the first operand of the tensor cores. The strip of A is the second one
 * of all warps of a block: they bring it into shared memory together, as its lanes want it, one strip ahead, and codes
 * and scales are read one strip ahead too. Columns of the product are dealt such that a thread gets eight neighbours of
 * a row, and reads four neighbours of a row of A: number n of tile j of four is column n / 2 * 8 + n % 2 * 4 + j.
 */
#include "tile.cuh"
#include "weight.cuh"

enum { WARPS = 8, TILES = 2, WARP_ROWS = 16 * TILES, STRIP = 32, MAP = 256 };

static __device__ __forceinline__ uint32_t two(float low, float high)
{
    __nv_bfloat162 h = __floats2bfloat162_rn(low, high);
    return *(uint32_t *)&h;
}

/* What a thread reads of a strip of the weight: eight codes of four rows, and their scales as they are stored. */
template <int BITS> struct strip_codes {
    typename codes_of<BITS>::word v[2 * TILES];
    uint32_t s[2 * TILES];
    float of[2 * TILES]; /* the scale of a scale */
};
/* Scales are those of the strip before where that is of the same group. */
template <int BITS>
static __device__ __forceinline__ void take(const bl_cu_weight &w, int64_t row0, const int row[2 * TILES], int strip,
                                            int strips_a_group, bool begins, int t, strip_codes<BITS> &to)
{
    const bool scales = begins || strip % strips_a_group == 0;
#pragma unroll
    for (int i = 0; i < 2 * TILES; i++) {
        const int64_t at = row0 + row[i], k = at * w.groups + strip / strips_a_group;
        to.v[i] = eight_codes<BITS>((const uint32_t *)(w.codes + at * w.row_bytes) + strip * BITS, t);
        if (!scales) continue;
        switch (w.scale_type) {
        case 0: to.s[i] = ((const uint32_t *)w.scales)[k]; break;
        case 1:
        case 2: to.s[i] = ((const uint16_t *)w.scales)[k]; break;
        default: to.s[i] = ((const uint8_t *)w.scales)[k], to.of[i] = w.scales2[k / 256];
        }
    }
}
static __device__ __forceinline__ float scale_of(int type, uint32_t s, float of, const float *map, float offset)
{
    switch (type) {
    case 0: return __uint_as_float(s);
    case 1: return from_f16((uint16_t)s);
    case 2: return from_bf16((uint16_t)s);
    default: return map[s] * of + offset;
    }
}

/* Four columns of two rows of A: numbers of lane g, t of a step. */
struct strip_pair {
    float4 even, odd;
};
static __device__ __forceinline__ strip_pair pair_of(const bl_cu_beside &b, int in, int row, int column)
{
    strip_pair p = {};
    if (row >= b.rank) return p;
    p.even = *(const float4 *)(b.a + row * in + column);
    p.odd = *(const float4 *)(b.a + (row + 1) * in + column);
    return p;
}

template <int BITS, bool TABLE, int STEPS>
__global__ void __launch_bounds__(WARPS *WARP, 2)
    join(const bl_cu_weight w, const bl_cu_beside b, int64_t row0, int rows, int strips_each, uint16_t *y, int64_t ldy)
{
    __shared__ float table[TABLE ? 1 << BITS : 1], map[MAP];
    __shared__ uint4 strips_of_a[2][STEPS][2][WARP]; /* of the first and the last eight rows of a step, a lane each */
    const int lane = threadIdx.x % WARP, g = lane / 4, t = lane % 4,
              first = (blockIdx.x * WARPS + threadIdx.x / WARP) * WARP_ROWS, in = (int)w.in, strips = in / STRIP,
              from = blockIdx.y * strips_each, to = min(from + strips_each, strips), rank = (int)b.rank,
              strips_a_group = max((int)w.group / STRIP, 1);
    const bool brings = threadIdx.x < STEPS * 2 * WARP; /* a lane of half of a step */
    const int brought = threadIdx.x / WARP * 8 + 2 * t; /* the first row of A of it */
    const float offset = w.scale_type == 3 ? w.offset[0] : 0;
    int row[2 * TILES];
    uint32_t fb[TILES][STEPS][4];
    if (TABLE)
        for (int i = threadIdx.x; i < 1 << BITS; i += blockDim.x) table[i] = w.table[i];
    if (w.scale_type == 3) map[threadIdx.x] = w.map[threadIdx.x];
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

    strip_codes<BITS> now, next = {};
    strip_pair pair = {};
    take<BITS>(w, row0, row, from, strips_a_group, true, t, next);
    if (brings) pair = pair_of(b, in, brought, from * STRIP + 4 * g);
    for (int strip = from; strip < to; strip++) {
        uint4(*a)[2][WARP] = strips_of_a[strip % 2];
        float sum[TILES][4][4] = {};
        now = next;
        if (brings)
            a[threadIdx.x / (2 * WARP)][threadIdx.x / WARP % 2][lane] = make_uint4(
                two(pair.even.x, pair.odd.x), two(pair.even.y, pair.odd.y), two(pair.even.z, pair.odd.z),
                two(pair.even.w, pair.odd.w));
        if (strip + 1 < to) {
            take<BITS>(w, row0, row, strip + 1, strips_a_group, false, t, next);
            if (brings) pair = pair_of(b, in, brought, (strip + 1) * STRIP + 4 * g);
        }
        __syncthreads(); /* what is read here is written again after the next one */
#pragma unroll
        for (int k = 0; k < STEPS; k++) {
            const uint4 l = a[k][0][lane], h = a[k][1][lane];
            const uint32_t low[4] = {l.x, l.y, l.z, l.w}, high[4] = {h.x, h.y, h.z, h.w};
#pragma unroll
            for (int m = 0; m < TILES; m++)
#pragma unroll
                for (int j = 0; j < 4; j++) mma(sum[m][j], fb[m][k], low[j], high[j]);
        }
#pragma unroll
        for (int i = 0; i < 2 * TILES; i++) {
            const float s = scale_of(w.scale_type, now.s[i], now.of[i], map, offset);
            const int z = TABLE ? 0 : stored_zero(w, row0 + row[i], strip / strips_a_group);
            float f[8];
#pragma unroll
            for (int j = 0; j < 8; j++) {
                const uint32_t q = (uint32_t)(now.v[i] >> j * BITS) & ((1u << BITS) - 1);
                f[j] = (TABLE ? table[q] : (float)((int)q - z)) * s + sum[i / 2][j % 4][i % 2 * 2 + j / 4];
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

/* Strips of a block: as many as make the last of the blocks, two at a time on a processor, end soonest, where rows of B
 * are worth two strips. */
static int64_t strips_each(int64_t high, int64_t strips, int sms)
{
    int64_t best = 1, least = INT64_MAX;
    for (int64_t each = 1; each <= strips; each++) {
        const int64_t blocks = high * ((strips + each - 1) / each), rounds = (blocks + 2 * sms - 1) / (2 * sms);
        if (rounds * (each + 2) >= least) continue;
        least = rounds * (each + 2);
        best = each;
    }
    return best;
}

void bl_cu_join(bl_stream s, const bl_cu_weight *w, const bl_cu_beside *b, int64_t row0, int64_t rows, uint16_t *y,
                int64_t ldy, int sms)
{
    if (!rows) return;
    const int64_t high = (rows + WARPS * WARP_ROWS - 1) / (WARPS * WARP_ROWS), strips = w->in / STRIP,
                  each = strips_each(high, strips, sms);
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
