/* stream.cu - y = x wt for at most 16 rows of x and packed weights in groups of 128, as fast as memory gives them:
 * weights go through shared memory in rings that are always full, and into tensor cores as the 16-row operand.
 *
 * Layout: as format.h has it. In each group of 128 lane t of four takes 32 neighbouring codes of a row; which numbers
 * of k meet in an instruction is free as long as both operands agree, so a block arranges x once, in shared memory, for
 * what the unpacking of a word yields.
 *
 * Integers stay integers: one AND takes four codes out of a word, at 2^p. x of a group of 128 becomes integers X of 15
 * bits of its largest, in two digits of 8 bits that are columns of their own; up to two rows have 24 bits and four
 * digits, times 2^(top - p), so that no code is shifted. Sums are exact, and a group's zero is taken off by sum X:
 *
 *     sum (q - z) x = unit (sum q X - z sum X)
 *
 * Values of a table of 16 are rounded to bf16 and looked up two at a time, x is bf16.
 *
 * A block is R tiles of 16 outputs times S parts of k, a warp each; C blocks share k. Sums are added in order, those of
 * a block by the warps of its first part, those of blocks by whoever comes last. Weights that multiply one x are tiles
 * of one launch. Few rows are a matter of microseconds: x is read while the rings fill, and nothing is divided.
 */
#include "tile.cuh"
#include "weight.cuh"

enum { TILE_OUT = 16, GROUP = 128, MOST_WARPS = 16, OWN = 192, MOST_SHARED_K = BL_CU_STREAM_PARTS };
enum { MOST_X = MOST_SHARED_K << 16 }; /* rows * in: a part of k has 128 KB of x */

bool bl_cu_stream_takes(const bl_cu_weight *w, int64_t rows)
{
    bool narrow = w->kind == BL_CU_INT && (w->bits <= 4 || w->bits == 8) && w->zero_type <= 1,
         table = w->kind == BL_CU_TABLE && w->bits == 4;
    return rows <= BL_CU_STREAM_ROWS && rows * w->in <= MOST_X && (narrow || table) && w->in % (2 * GROUP) == 0 &&
           w->group == GROUP && (w->scale_type == 1 || w->scale_type == 2);
}

/* ---- what a word becomes ---- */
enum way { TABLE, NARROW, WIDE }; /* x in bf16; in two digits; in four */

template <int BITS, way WAY> struct codes {
    static constexpr int GROUPS = BITS == 8 || WAY == TABLE ? 1 : 2; /* of a step */
    static constexpr int ROW = GROUPS * 16 * BITS;                   /* bytes of a row in a step */
    static constexpr int PIECES = ROW / 32;                          /* of 16 bytes, a lane */
    static constexpr int STEP = 16 * ROW + 64;                       /* the scales of two groups after the codes */
    /* Steps of a ring; bytes of one, of a warp. */
    static constexpr int DEPTH = WAY == TABLE ? 4
                                 : BITS >= 4  ? 3
                                 : BITS == 3  ? 4
                                 : BITS == 2  ? (WAY == WIDE ? 6 : 4)
                                              : (WAY == WIDE ? 10 : 6);
    static constexpr int RING = DEPTH * STEP;
    static constexpr int ROUND = DEPTH % 2 == 0 ? 2 : BITS == 8 ? 1 : DEPTH; /* steps of a turn of the loop */
    static constexpr int LINE = WAY == TABLE ? 256 : 128;                    /* bytes of a column of x in a group */
    static constexpr int OF_ROW = WAY == TABLE ? 1 : WAY == NARROW ? 2 : 4;  /* columns of a row of x */
    static constexpr int EACH = WAY == TABLE ? 4 : 2;                        /* sums of a lane in a tile of 8 columns */
    /* Integers: register r of 8 has four codes, at 2^power(r); those of four registers from 4 i on are 16 neighbouring
     * ones, or four from each 8, and `local` counts them. */
    static constexpr bool SPREAD = BITS == 1 || BITS == 3;
    static __host__ __device__ constexpr int local(int r, int b)
    {
        return BITS == 8 ? 4 * r + b : BITS == 4 ? r / 2 * 8 + 2 * b + r % 2 : 4 * b + r;
    }
    static __host__ __device__ constexpr int power(int r)
    {
        return WAY == NARROW || BITS == 8 ? 0
               : BITS == 4                ? r % 2 * 4
               : BITS == 2                ? r % 4 * 2
               : BITS == 1                ? r
                                          : (r == 1   ? 3
                                             : r == 3 ? 1
                                             : r == 4 ? 4
                                             : r == 6 ? 2
                                             : r == 7 ? 5
                                                      : 0);
    }
    static constexpr int TOP = WAY == NARROW || BITS == 8 ? 0 : BITS == 4 ? 4 : BITS == 2 ? 6 : BITS == 1 ? 7 : 5;
};

/* Four codes, where they are or, NARROW, in the low bits of their bytes. */
template <way WAY> static __device__ __forceinline__ uint32_t field(uint32_t v, int at, uint32_t mask)
{
    return WAY == NARROW ? v >> at & mask * 0x01010101u : v & (mask << at) * 0x01010101u;
}

/* Register r of a row's 32 codes v, four of them. */
template <int BITS, way WAY> static __device__ __forceinline__ uint32_t four_codes(const uint32_t v[BITS], int r)
{
    if (BITS == 8) return v[r % BITS];
    if (BITS == 4) return field<WAY>(v[r / 2 % BITS], r % 2 * 4, 15);
    if (BITS == 2) return field<WAY>(v[r / 4 % BITS], r % 4 * 2, 3);
    if (BITS == 1) return field<WAY>(v[0], r, 1);
    /* 24 bits a byte lane: bytes 0, 3, 6, 9 of the run, then those after them */
    uint32_t v1 = v[1 % BITS], v2 = v[2 % BITS];
    uint32_t a = __byte_perm(__byte_perm(v[0], v1, 0x0630), v2, 0x5210),
             b = __byte_perm(__byte_perm(v[0], v1, 0x0741), v2, 0x6210),
             c = __byte_perm(__byte_perm(v[0], v1, 0x0052), v2, 0x7410);
    switch (r) {
    case 0: return field<WAY>(a, 0, 7);
    case 1: return field<WAY>(a, 3, 7);
    case 2: return (a >> 6 & 0x03030303u) | (b << 2 & 0x04040404u);
    case 3: return field<WAY>(b, 1, 7);
    case 4: return field<WAY>(b, 4, 7);
    case 5: return (b >> 7 & 0x01010101u) | (c << 1 & 0x06060606u);
    case 6: return field<WAY>(c, 2, 7);
    default: return field<WAY>(c, 5, 7);
    }
}

/* Values of codes 2 r and 2 r + 1; table: this lane's column. */
static __device__ __forceinline__ uint32_t two_values(const uint32_t v[4], int r, uint32_t table)
{
    uint32_t two;
    asm volatile("ld.shared.u32 %0, [%1];" : "=r"(two) : "r"(__byte_perm(v[r / 4], 0, 0x4440 + r % 4) * 128 + table));
    return two;
}

/* c [16, 8] += a [16, 32] b [32, 8] */
static __device__ __forceinline__ void mma_bytes(int c[4], const uint32_t a[4], uint32_t b0, uint32_t b1)
{
    asm volatile("mma.sync.aligned.m16n8k32.row.col.s32.u8.s8.s32 {%0,%1,%2,%3}, {%4,%5,%6,%7}, {%8,%9}, "
                 "{%0,%1,%2,%3};"
                 : "+r"(c[0]), "+r"(c[1]), "+r"(c[2]), "+r"(c[3])
                 : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b0), "r"(b1));
}
/* c = a b */
static __device__ __forceinline__ void mma_bytes_new(int c[4], const uint32_t a[4], uint32_t b0, uint32_t b1)
{
    asm volatile("mma.sync.aligned.m16n8k32.row.col.s32.u8.s8.s32 {%0,%1,%2,%3}, {%4,%5,%6,%7}, {%8,%9}, "
                 "{%10,%10,%10,%10};"
                 : "=r"(c[0]), "=r"(c[1]), "=r"(c[2]), "=r"(c[3])
                 : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b0), "r"(b1), "r"(0));
}

/* Where piece `part` of row r is among those of a step, so that no two lanes that read together meet in a bank. */
template <int BITS, way WAY> static __device__ __forceinline__ int placed(int r, int part)
{
    if (BITS == 8) return part ^ (r & 1);
    if (WAY == TABLE) return part;
    if (BITS == 4) return part ^ (r & 1) * 4;
    if (BITS == 2) return part ^ (r >> 1 & 1) * 2;
    if (BITS == 1) return part ^ (r >> 2 & 1);
    return part; /* 3 bits: turned when read and written in words, see below */
}

/* ---- copies that are waited for ---- */
static __device__ __forceinline__ void copy16_if(bool there, uint32_t to, const void *from)
{
    asm volatile("{.reg .pred p; setp.ne.b32 p, %0, 0; @p cp.async.cg.shared.global [%1], [%2], 16;}" ::"r"((int)there),
                 "r"(to), "l"(from));
}
static __device__ __forceinline__ void copy4_if(bool there, uint32_t to, const void *from)
{
    asm volatile("{.reg .pred p; setp.ne.b32 p, %0, 0; @p cp.async.ca.shared.global [%1], [%2], 4;}" ::"r"((int)there),
                 "r"(to), "l"(from));
}
static __device__ __forceinline__ void commit() { asm volatile("cp.async.commit_group;" ::: "memory"); }
template <int N> static __device__ __forceinline__ void await() /* at most N of what was committed are under way */
{
    asm volatile("cp.async.wait_group %0;" ::"n"(N) : "memory");
}

/* ---- x ---- */
/* Columns are lines of LINE bytes for each group of 128, [piece][lane t] of 16; pieces of odd columns in pairs the
 * other way round, so that the lines that are read together do not meet in a bank. */
template <int BITS, way WAY>
static __device__ __forceinline__ uint4 *piece_of(uint8_t *slab, int column, int groups, int group, int piece, int t)
{
    return (uint4 *)(slab + (column * groups + group) * codes<BITS, WAY>::LINE) + (piece ^ (column & 1)) * 4 + t;
}

/* Where x comes from: as it is, times silu(gate), or its rmsnorm; rounded to bf16 as the ops are that do the same. */
struct source {
    const uint16_t *x, *gate; /* from the first number that is read on */
    const float *norm;
    int64_t ldx, ldg;
    const float *scale; /* norm: of rows */
    /* N neighbours from k on of row n, a multiple of them */
    template <int N> __device__ __forceinline__ void read(uint32_t v[N / 2], int n, int64_t k) const
    {
        if (N == 8) *(uint4 *)v = *(const uint4 *)(x + n * ldx + k);
        else *(uint2 *)v = *(const uint2 *)(x + n * ldx + k);
        if (!gate && !norm) return;
        uint32_t g[N / 2];
        float w[N];
        if (gate && N == 8) *(uint4 *)g = *(const uint4 *)(gate + n * ldg + k);
        else if (gate) *(uint2 *)g = *(const uint2 *)(gate + n * ldg + k);
        else
#pragma unroll
            for (int i = 0; i < N; i += 4) *(float4 *)(w + i) = *(const float4 *)(norm + k + i);
        const float by = gate ? 1.0f : scale[n];
#pragma unroll
        for (int i = 0; i < N / 2; i++) {
            const float lo = __uint_as_float(v[i] << 16), hi = __uint_as_float(v[i] & 0xffff0000u);
            const uint16_t a = to_bf16(gate ? silu(__uint_as_float(g[i] << 16)) * lo : lo * by * w[2 * i]),
                           b = to_bf16(gate ? silu(__uint_as_float(g[i] & 0xffff0000u)) * hi : hi * by * w[2 * i + 1]);
            v[i] = a | (uint32_t)b << 16;
        }
    }
};

/* 1 / sqrt(mean x^2 + eps) of whole rows, to scale; part [rows][MOST_WARPS], where x will be. By all threads of a
 * block. */
static __device__ __forceinline__ void norm_scales(const uint16_t *x, int64_t ldx, int rows, int in, float eps,
                                                   float *part, float *scale, int thread, int threads)
{
    for (int n = 0; n < rows; n++) {
        float sum = 0;
        for (int i = thread; i < in / 8; i += threads) {
            const uint4 v = *(const uint4 *)(x + n * ldx + i * 8);
            const uint16_t *h = (const uint16_t *)&v;
#pragma unroll
            for (int j = 0; j < 8; j++) sum = fmaf(from_bf16(h[j]), from_bf16(h[j]), sum);
        }
        sum = warp_sum(sum);
        if (thread % WARP == 0) part[n * MOST_WARPS + thread / WARP] = sum;
    }
    __syncthreads();
    if (thread < rows) {
        float sum = 0;
        for (int i = 0; i < threads / WARP; i++) sum += part[thread * MOST_WARPS + i];
        scale[thread] = 1.0f / sqrtf(sum / (float)in + eps);
    }
    __syncthreads();
}

/* Pieces of x that a thread arranges, `each` of a row, one in `threads`. */
struct turn {
    int each, n, rest; /* the piece at hand: of row n */
    __device__ __forceinline__ turn(int each, int thread) : each(each), n(0), rest(thread) {}
    __device__ __forceinline__ bool there(int rows)
    {
        for (; rest >= each && n < rows; rest -= each) n++;
        return n < rows;
    }
};

/* bf16: piece i is x of codes 8 i .. 8 i + 7 of the lane's run. `meanwhile` runs once, while x is on its way. */
template <typename M>
static __device__ __forceinline__ void arrange_bf16(const source &from, int rows, int groups, uint8_t *slab, int thread,
                                                    int threads, M meanwhile)
{
    turn at(groups * 16, thread);
    for (bool first = true, there; (there = at.there(rows)) || first; first = false, at.rest += threads) {
        uint32_t v[4];
        if (there) from.read<8>(v, at.n, (int64_t)at.rest * 8);
        if (first) meanwhile();
        if (there)
            *piece_of<4, TABLE>(slab, at.n, groups, at.rest / 16u, at.rest % 4u,
                                at.rest / 4u % 4) = make_uint4(v[0], v[1], v[2], v[3]);
    }
}

/* Of a group and a row, or of a half of 16 bits of one: sum X, what an integer is worth. */
struct __align__(8) worth
{
    int sum;
    float unit;
};

/* Four numbers of four bytes: byte i of all. */
static __device__ __forceinline__ void transpose4(const uint32_t v[4], uint32_t byte[4])
{
    uint32_t ab = __byte_perm(v[0], v[1], 0x5140), cd = __byte_perm(v[2], v[3], 0x5140),
             ab2 = __byte_perm(v[0], v[1], 0x7362), cd2 = __byte_perm(v[2], v[3], 0x7362);
    byte[0] = __byte_perm(ab, cd, 0x5410);
    byte[1] = __byte_perm(ab, cd, 0x7632);
    byte[2] = __byte_perm(ab2, cd2, 0x5410);
    byte[3] = __byte_perm(ab2, cd2, 0x7632);
}

/* A signed digit is a byte of X + 0x80.. less 0x80, so that what is below it has been taken into account. */
template <int BITS, way WAY, typename M>
static __device__ __forceinline__ void arrange_digits(const source &from, int rows, int groups, int tile_rows,
                                                      uint8_t *slab, worth *sums, int thread, int threads, M meanwhile)
{
    typedef codes<BITS, WAY> C;
    const int HALVES = C::OF_ROW / 2, UNIT = WAY == WIDE ? 22 : 13;
    turn at(groups * 8, thread); /* pieces of 16 */
    for (bool first = true;; first = false, at.rest += threads) {
        const bool there = at.there(rows);
        const int n = at.n, group = at.rest / 8u, t = at.rest / 2u % 4, i = at.rest % 2u;
        int sum = 0;
        uint32_t v[8] = {0, 0, 0, 0, 0, 0, 0, 0}, high[4] = {0, 0, 0, 0}, digit[4][4]; /* [register][digit] */
        if (there) {
            const int64_t k = (int64_t)group * GROUP + t * 32;
            if (C::SPREAD)
#pragma unroll
                for (int b = 0; b < 4; b++) from.read<4>(&v[2 * b], n, k + 8 * b + 4 * i);
            else
#pragma unroll
                for (int b = 0; b < 2; b++) from.read<8>(&v[4 * b], n, k + 16 * i + 8 * b);
        }
        if (first) meanwhile();
        if (!__any_sync(0xffffffffu, there)) break;
            /* the largest of the group, as an integer, so that NaN is larger than all */
#pragma unroll
        for (int k = 0; k < 4; k++) high[k] = __vmaxu2(v[k] & 0x7fff7fffu, v[k + 4] & 0x7fff7fffu);
        uint32_t top = __vmaxu2(__vmaxu2(high[0], high[1]), __vmaxu2(high[2], high[3]));
#pragma unroll
        for (int o = 1; o < 8; o *= 2) top = __vmaxu2(top, __shfl_xor_sync(0xffffffffu, top, o));
        top = max(top >> 16, top & 0xffff);
        int e = max((int)(top >> 7), 40) - 127; /* all are below 2^(e + 1) */
        float by = __uint_as_float((uint32_t)(UNIT - e + 127) << 23);
#pragma unroll
        for (int r = 0; r < 4; r++) {
            uint32_t q[4];
#pragma unroll
            for (int b = 0; b < 4; b++) {
                const int k = C::local(r, b);
                float f = __uint_as_float(k % 2 ? v[k / 2] & 0xffff0000u : v[k / 2] << 16);
                if (WAY == WIDE) {
                    int X = __float2int_rn(f * by);
                    sum += X;
                    q[b] = ((uint32_t)X << (C::TOP - (C::power(r) == C::power(4 + r) ? C::power(r)
                                                      : i                            ? C::power(4 + r)
                                                                                     : C::power(r)))) +
                           0x00808080u;
                } else { /* X + 128 in the low bits */
                    q[b] = __float_as_uint(fmaf(f, by, 12582912.0f + 128));
                    sum += (int)(q[b] - 0x4b400080u);
                }
            }
            transpose4(q, digit[r]);
        }
        if (there)
#pragma unroll
            for (int d = 0; d < C::OF_ROW; d++) {
                uint32_t flip = d < C::OF_ROW - 1 ? 0x80808080u : 0;
                *piece_of<BITS, WAY>(slab, n * C::OF_ROW + d, groups, group, i, t) = make_uint4(
                    digit[0][d] ^ flip, digit[1][d] ^ flip, digit[2][d] ^ flip, digit[3][d] ^ flip);
            }
#pragma unroll
        for (int o = 1; o < 8; o *= 2) sum += __shfl_xor_sync(0xffffffffu, sum, o);
        if (there && at.rest % 8u == 0) {
            float unit = top < 0x7f80 ? __uint_as_float((uint32_t)(e - UNIT - C::TOP + 127) << 23) : CUDART_NAN_F;
            worth *to = sums + group * tile_rows + n * HALVES;
            if (WAY == WIDE) {
                to[0] = {(sum & ((1 << (16 - C::TOP)) - 1)) << C::TOP, unit};
                to[1] = {sum >> (16 - C::TOP), unit};
            } else to[0] = {sum, unit};
        }
    }
}

/* ---- the product ---- */
/* The weight that a tile of all is of. */
static __device__ __forceinline__ const bl_cu_stacked_one &of_tile(const bl_cu_stacked &all, int tile)
{
    static_assert(BL_CU_STACKED_MOST == 3, "see below");
    return all.of[(tile >= all.of[1].first) + (tile >= all.of[2].first)];
}

/* What is the same for all lanes of a warp. */
static __device__ __forceinline__ int of_warp(int v) { return __shfl_sync(0xffffffffu, v, 0); }

template <int BITS, way WAY, int TILES>
__global__ void __maxnreg__(TILES == 1 ? 72 : 128)
    stream_rows(const __grid_constant__ bl_cu_stacked all, bl_cu_stream_plan p, const uint16_t *x, int64_t ldx,
                int rows, bool f32, bool accumulate, float *parts, unsigned *arrived)
{
    typedef codes<BITS, WAY> C;
    enum { SUMS = TILES * C::EACH };
    const bl_cu_weight &w = all.like;
    extern __shared__ __align__(128) uint8_t shared[];
    __shared__ bool last;
    __shared__ float scale[BL_CU_STREAM_ROWS];
    /* threads (lane, tile, part of k); the latter two are of a whole warp */
    const int lane = threadIdx.x % WARP, g = lane / 4, t = lane % 4, R = p.R, r = of_warp(threadIdx.y),
              s = of_warp(threadIdx.z), warp = s * R + r, warps = R * p.S, thread = warp * WARP + lane;
    uint8_t *slab = shared + p.table, *sums = slab + p.slab, *ring = sums + p.sums + warp * C::RING;
    /* k in pairs of groups: those of the block from `lowest` on, of the warp from `begin` on */
    auto begin_of = [&](int part) { return part * p.len + min(part, p.longer); };
    const int part = blockIdx.y * p.S + s, lowest = begin_of(blockIdx.y * p.S),
              highest = begin_of(blockIdx.y * p.S + p.S), begin = begin_of(part), tile = blockIdx.x * R + r;
    const bl_cu_stacked_one &of = of_tile(all, tile);
    const int o0 = (tile - of.first) * TILE_OUT,
              left = min((int)of.out - 1 - o0, TILE_OUT); /* rows after the last are read as the last */
    const int steps = left < 0 ? 0 : (begin_of(part + 1) - begin) * (2 / C::GROUPS);

    /* ---- the ring: pieces of this lane, and the scales of row `lane` ---- */
    /* A warp's pieces are neighbours in a step, but for the turns of 3 bits: one place of the ring tells the others. */
    enum { PLACES = BITS == 3 ? C::PIECES : 1, FILL = C::DEPTH - 1, BEFORE_X = 2 };
    uint32_t to[PLACES], off[C::PIECES], ring_at = shared_at(ring);
    const uint8_t *from = of.codes + (int64_t)o0 * (int)w.row_bytes + begin * (2 * 16 * BITS);
    const uint16_t *scale_from = (const uint16_t *)of.scales + (int64_t)(o0 + min(lane, left)) * (int)w.groups +
                                 begin * 2;
#pragma unroll
    for (int j = 0; j < C::PIECES; j++) {
        int i = j * WARP + lane, row = i / (C::ROW / 16), part = i % (C::ROW / 16);
        if (j < PLACES)
            to[j] = ring_at + row * C::ROW +
                    16 * (BITS == 3 ? (part + (row >> 2 & 1) * 3) % 6 : placed<BITS, WAY>(row, part));
        off[j] = (uint32_t)(min(row, left) * (int)w.row_bytes + part * 16);
    }
    const uint32_t scale_to = ring_at + 16 * C::ROW + lane * 4;
    const int scale_steps = lane < TILE_OUT ? steps : 0;
    /* a step, if it is there, `ahead` of `from`, to a slot in bytes */
    auto fetch = [&](int step, int ahead, uint32_t slot) {
#pragma unroll
        for (int j = 0; j < C::PIECES; j++)
            copy16_if(step < steps, (PLACES == 1 ? to[0] + j * (WARP * 16) : to[j % PLACES]) + slot,
                      from + off[j] + ahead * C::ROW);
        copy4_if(step < scale_steps, scale_to + slot, scale_from + (C::GROUPS == 2 ? step : step / 2u) * 2);
        commit();
    };
#pragma unroll
    for (int i = 0; i < BEFORE_X; i++) fetch(i, i, i * C::STEP);
    auto fill = [&]() {
#pragma unroll
        for (int i = BEFORE_X; i < FILL; i++) fetch(i, i, i * C::STEP);
    };

    /* ---- x, once the product before has written it ---- */
    uint32_t table = 0;
    if (WAY == TABLE) { /* pair i of values in column `lane` of line i */
        table = shared_at(shared) + lane * 4;
        const uint32_t value = to_bf16(w.table[lane % 16]);
        for (int i = warp; i < 256; i += warps)
            ((uint32_t *)shared)[i * WARP + lane] = __shfl_sync(0xffffffffu, value, i % 16) |
                                                    __shfl_sync(0xffffffffu, value, i / 16) << 16;
    }
    wait_for_last();
    const int64_t k0 = (int64_t)lowest * 2 * GROUP;
    const source x_of = {x + k0, all.gate ? all.gate + k0 : NULL, all.norm ? all.norm + k0 : NULL, ldx, all.ldg, scale};
    if (all.norm) norm_scales(x, ldx, rows, (int)w.in, all.eps, (float *)slab, scale, thread, warps * WARP);
    if (WAY == TABLE) arrange_bf16(x_of, rows, (highest - lowest) * 2, slab, thread, warps * WARP, fill);
    else
        arrange_digits<BITS, WAY>(x_of, rows, (highest - lowest) * 2, TILES * 4, slab, (worth *)sums, thread,
                                  warps * WARP, fill);
    if (steps < C::DEPTH) let_next_begin();
    from += FILL * C::ROW;
    __syncthreads();

    /* ---- steps ---- */
    const uint8_t *zeros = WAY != TABLE && BITS > 1 && w.zero_type == 1 ? (const uint8_t *)of.zeros + o0 * w.zero_bytes
                                                                        : NULL;
    const uint32_t half_way = 1u << (BITS - 1) | 1u << (C::GROUPS * BITS - 1); /* the zero of all if none are stored */
    uint32_t z_next[2] = {half_way, half_way}; /* of the groups of a step, of both rows */
    int z_bit = begin * 2 * BITS;
    auto fetch_zeros = [&]() {
#pragma unroll
        for (int i = 0; i < 2; i++) {
            const uint8_t *z = zeros + (min(g + 8 * i, left) * (int)w.zero_bytes + (z_bit >> 3));
            uint32_t v = z[0];
            if (BITS == 3) v |= (uint32_t)z[1] << 8;
            z_next[i] = v >> (z_bit & 7);
        }
        z_bit += C::GROUPS * BITS;
    };
    if (zeros && steps) fetch_zeros();
    const bool half = w.scale_type == 1;
    /* pieces of column n 8 + g: 0, 2 from `even` on, 1, 3 from `odd` on; a column that is not there is as the last */
    const uint8_t *even[TILES], *odd[TILES];
    const worth *sum = (const worth *)sums + (begin - lowest) * 2 * TILES * 4 + t;
#pragma unroll
    for (int n = 0; n < TILES; n++) {
        const int m = min(n * 8 + g, rows * C::OF_ROW - 1);
        const uint8_t *line = slab + (m * (highest - lowest) + begin - lowest) * 2 * C::LINE + t * 16;
        even[n] = line + (m & 1) * 64;
        odd[n] = line + 64 - (m & 1) * 64;
    }
    float total[SUMS] = {};
    uint32_t slots = 0, before = FILL * C::STEP; /* of a round; the slot before; bytes */
    /* number u of a round; `step` in all */
    auto product = [&](int step, int u) {
        const uint8_t *slot = ring + slots + u * C::STEP;
        await<C::DEPTH - 2>();
        __syncwarp(); /* the step is there, and who read the one before is done */
        fetch(step + FILL, u, u ? slots + (u - 1) * C::STEP : before);
        if (step + FILL >= steps) let_next_begin(); /* there is room on the bus */
        uint32_t z_now[2] = {z_next[0], z_next[1]}, scale_two[2];
        if (zeros && step + 1 < steps) fetch_zeros();
#pragma unroll
        for (int i = 0; i < 2; i++) scale_two[i] = *(const uint32_t *)(slot + 16 * C::ROW + (g + 8 * i) * 4);
#pragma unroll
        for (int q = 0; q < C::GROUPS; q++) {
            const int group = u * C::GROUPS + q, x_at = group * C::LINE;
            uint32_t v[2][BITS];
#pragma unroll
            for (int i = 0; i < 2; i++) {
                const uint8_t *line = slot + (g + 8 * i) * C::ROW;
                if (BITS == 8) {
                    *(uint4 *)&v[i][0] = *(const uint4 *)(line + placed<BITS, WAY>(g, 2 * t) * 16);
                    *(uint4 *)&v[i][BITS - 4] = *(const uint4 *)(line + placed<BITS, WAY>(g, 2 * t + 1) * 16);
                } else if (BITS == 4) {
                    *(uint4 *)&v[i][0] = *(const uint4 *)(line + placed<BITS, WAY>(g, q * 4 + t) * 16);
                } else if (BITS == 2) {
                    *(uint2 *)&v[i][0] = *(const uint2 *)(line + placed<BITS, WAY>(g, q * 2 + t / 2) * 16 + t % 2 * 8);
                } else if (BITS == 1) {
                    v[i][0] = *(const uint32_t *)(line + placed<BITS, WAY>(g, q) * 16 + t * 4);
                } else {
                    const uint32_t *three = (const uint32_t *)(line + (q ^ (g >> 2 & 1)) * 48 + t * 12);
#pragma unroll
                    for (int j = 0; j < BITS; j++) v[i][j] = three[j];
                }
            }
            float s[2];
#pragma unroll
            for (int i = 0; i < 2; i++) {
                bool high = C::GROUPS == 2 ? q : step & 1;
                uint32_t h = high ? scale_two[i] >> 16 : scale_two[i] & 0xffff;
                s[i] = half ? from_f16((uint16_t)h) : from_bf16((uint16_t)h);
            }
            if (WAY == TABLE) {
                float acc[2][TILES][4]; /* two chains */
#pragma unroll
                for (int i = 0; i < 4; i++) {
                    uint4 xs[TILES];
#pragma unroll
                    for (int n = 0; n < TILES; n++)
                        xs[n] = *(const uint4 *)((i % 2 ? odd[n] : even[n]) + x_at + i / 2 * 128);
#pragma unroll
                    for (int h = 0; h < 2; h++) {
                        uint32_t a[4];
#pragma unroll
                        for (int j = 0; j < 4; j++) a[j] = two_values(v[j % 2], 4 * i + 2 * h + j / 2, table);
#pragma unroll
                        for (int n = 0; n < TILES; n++) {
                            const uint32_t b0 = h ? xs[n].z : xs[n].x, b1 = h ? xs[n].w : xs[n].y;
                            if (i == 0) mma_new(acc[h][n], a, b0, b1);
                            else mma(acc[h][n], a, b0, b1);
                        }
                    }
                }
#pragma unroll
                for (int n = 0; n < TILES; n++)
#pragma unroll
                    for (int j = 0; j < 4; j++)
                        total[n * C::EACH + j] = fmaf(s[j / 2], acc[0][n][j] + acc[1][n][j], total[n * C::EACH + j]);
            } else {
                int acc[TILES][4], zero[2];
#pragma unroll
                for (int i = 0; i < 2; i++) {
                    uint4 xs[TILES];
                    zero[i] = BITS == 1 ? 1 : z_now[i] >> q * BITS & ((1u << BITS) - 1);
#pragma unroll
                    for (int n = 0; n < TILES; n++) xs[n] = *(const uint4 *)((i ? odd[n] : even[n]) + x_at);
#pragma unroll
                    for (int h = 0; h < 2; h++) {
                        uint32_t a[4];
#pragma unroll
                        for (int j = 0; j < 4; j++) a[j] = four_codes<BITS, WAY>(v[j % 2], 4 * i + 2 * h + j / 2);
#pragma unroll
                        for (int n = 0; n < TILES; n++) {
                            const uint32_t b0 = h ? xs[n].z : xs[n].x, b1 = h ? xs[n].w : xs[n].y;
                            if (i + h == 0) mma_bytes_new(acc[n], a, b0, b1);
                            else mma_bytes(acc[n], a, b0, b1);
                        }
                    }
                }
#pragma unroll
                for (int n = 0; n < TILES; n++) {
                    worth of = sum[(group * TILES + n) * 4];
#pragma unroll
                    for (int i = 0; i < 2; i++) { /* +-1 is 2 q - 1 */
                        int exact = (acc[n][2 * i + 1] * 256 + acc[n][2 * i]) * (BITS == 1 ? 2 : 1) - zero[i] * of.sum;
                        total[n * C::EACH + i] = fmaf(s[i] * of.unit, (float)exact, total[n * C::EACH + i]);
                    }
                }
            }
        }
    };
#pragma unroll 1
    for (int step = 0; step < steps; step += C::ROUND) {
#pragma unroll
        for (int u = 0; u < C::ROUND; u++)
            if (!u || step + u < steps) product(step + u, u);
        from += C::ROUND * C::ROW;
        sum += C::ROUND * C::GROUPS * TILES * 4;
#pragma unroll
        for (int n = 0; n < TILES; n++) {
            even[n] += C::ROUND * C::GROUPS * C::LINE;
            odd[n] += C::ROUND * C::GROUPS * C::LINE;
        }
        if (C::ROUND < C::DEPTH) {
            before = slots + (C::ROUND - 1) * C::STEP;
            slots = before == FILL * C::STEP ? 0 : before + C::STEP;
        }
    }
    await<0>();
    if (WAY == WIDE) /* halves of 16 bits in neighbouring lanes */
#pragma unroll
        for (int i = 0; i < 2; i++) {
            total[i] *= t % 2 ? 65536.0f : 1.0f;
            total[i] += __shfl_xor_sync(0xffffffffu, total[i], 1);
        }
    /* row of x and output of sum i of this lane; rows past the end are nobody's */
    auto row_of = [&](int i) {
        return WAY == TABLE  ? i / 4 * 8 + t * 2 + i % 2
               : WAY == WIDE ? (t % 2 ? BL_CU_STREAM_ROWS : t / 2)
                             : i / 2 * 4 + t;
    };
    auto out_of = [&](int i) { return g + (WAY == TABLE ? i / 2 % 2 : i % 2) * 8; };
    /* sum i is of row m of x and output o */
    auto each = [&](auto what) {
#pragma unroll
        for (int i = 0; i < SUMS; i++)
            if (row_of(i) < rows && out_of(i) <= left) what(i, row_of(i), o0 + out_of(i));
    };
    auto put = [&](int i, int m, int o) { put_sum(of.y, f32, m * of.ldy + o, total[i], accumulate); };
    if (p.S > 1) { /* through what were the rings of the other parts */
        const float *of_part = (const float *)ring + lane;
        __syncwarp();
        if (s)
#pragma unroll
            for (int i = 0; i < SUMS; i++) ((float *)ring)[i * WARP + lane] = total[i];
        __syncthreads();
        if (!s)
            for (int other = 1; other < p.S; other++) {
                of_part += R * (C::RING / 4);
#pragma unroll
                for (int i = 0; i < SUMS; i++) total[i] += of_part[i * WARP];
            }
    }
    if (p.C == 1) {
        if (!s) each(put);
        return;
    }
    /* of a part of k, a row and an output, among those of all weights */
    auto part_of = [&](int c, int m, int o) {
        return parts + ((int64_t)c * rows + m) * w.out + of.first * TILE_OUT + o;
    };
    if (!s) each([&](int i, int m, int o) { *part_of(blockIdx.y, m, o) = total[i]; });
    __threadfence();
    __syncthreads();
    if (thread == 0) last = atomicAdd(&arrived[blockIdx.x], 1) == (unsigned)p.C - 1;
    __syncthreads();
    if (!last || s) return;
    __threadfence();
    each([&](int i, int m, int o) {
        total[i] = 0;
        for (int c = 0; c < p.C; c++) total[i] += __ldcg(part_of(c, m, o));
        put(i, m, o);
    });
    if (thread == 0) arrived[blockIdx.x] = 0;
}

/* ---- how the work is shared ---- */
static inline int ceil_of(int64_t a, int64_t b) { return (int)((a + b - 1) / b); }

/* What an instance of the kernel asks for. */
typedef struct instance {
    int tiles, ring, x_bytes, resident; /* of 8 columns; bytes of a ring, of a number of x; warps at once */
    bool table;
    void (*launch)(bl_stream s, const bl_cu_stacked *w, const bl_cu_stream_plan *p, const uint16_t *x, int64_t ldx,
                   int rows, bool f32, bool accumulate, const bl_cu_device *d);
} instance;

/* The least time of a multiprocessor, counted in steps of a warp: the steps of its blocks and what they do to x,
 * beginning and end of a wave of blocks, sums through shared memory, more for those through global memory; few warps at
 * once wait for each other. */
static bl_cu_stream_plan plan_of(const bl_cu_weight *w, int rows, const instance *k, const bl_cu_device *d)
{
    bl_cu_stream_plan best = {};
    double least = 1e30;
    int tiles = ceil_of(w->out, TILE_OUT), pairs = (int)(w->in / (2 * GROUP));
    for (int C = 1; C <= MOST_SHARED_K && C <= pairs; C++)
        for (int R = 1; R <= MOST_WARPS && R <= tiles; R++)
            for (int S = 1; S * R <= MOST_WARPS && S * C <= pairs; S++) {
                bl_cu_stream_plan p = {w->kind, w->bits, rows, w->out, w->in, R, S, C, ceil_of(tiles, R)};
                p.len = pairs / (C * S);
                p.longer = pairs % (C * S);
                int part = S * p.len + (S < p.longer ? S : p.longer), warps = R * S, len = ceil_of(pairs, C * S);
                if (C > 1 && p.grid > BL_CU_STREAM_BLOCKS) continue;
                p.table = k->table ? 32 << 10 : 0;
                p.slab = rows * part * 2 * GROUP * k->x_bytes;
                p.sums = k->table ? 0 : part * 2 * k->tiles * 4 * (int)sizeof(worth);
                p.shared = p.table + p.slab + p.sums + warps * k->ring;
                int fit = (d->shared + 1024) / (p.shared + 1024 + OWN); /* a block has 1 KB of its own */
                if (fit > k->resident / warps) fit = k->resident / warps;
                if (fit < 1) continue;
                int each = ceil_of((int64_t)p.grid * C, d->sms), together = each < fit ? each : fit;
                double cost = (double)each * (warps * len + 0.06 * rows * part * k->x_bytes) +
                              10.0 * ceil_of(each, fit) + (S > 1 ? 4 : 0) + (C > 1 ? 40 + 6 * C : 0);
                cost *= 1 + 3.0 / (together * warps);
                if (cost >= least) continue;
                least = cost;
                best = p;
            }
    return best;
}

template <int BITS, way WAY, int TILES>
static void launch(bl_stream s, const bl_cu_stacked *w, const bl_cu_stream_plan *p, const uint16_t *x, int64_t ldx,
                   int rows, bool f32, bool accumulate, const bl_cu_device *d)
{
    cudaFuncSetAttribute(stream_rows<BITS, WAY, TILES>, cudaFuncAttributeMaxDynamicSharedMemorySize, p->shared);
    launch_early(stream_rows<BITS, WAY, TILES>, dim3((unsigned)p->grid, (unsigned)p->C), dim3(WARP, p->R, p->S),
                 (size_t)p->shared, s, *w, *p, x, ldx, rows, f32, accumulate, d->parts, d->arrived);
}

template <int BITS, way WAY, int TILES> static instance make()
{
    return {TILES,        codes<BITS, WAY>::RING,  WAY == WIDE ? 4 : 2, TILES == 1 ? 28 : 16,
            WAY == TABLE, launch<BITS, WAY, TILES>};
}
template <int BITS> static instance integers(int rows)
{
    return rows <= 2   ? make<BITS, WIDE, 1>()
           : rows <= 4 ? make<BITS, NARROW, 1>()
           : rows <= 8 ? make<BITS, NARROW, 2>()
                       : make<BITS, NARROW, 4>();
}
static instance instance_of(const bl_cu_weight *w, int rows)
{
    if (w->kind == BL_CU_TABLE) return rows <= 8 ? make<4, TABLE, 1>() : make<4, TABLE, 2>();
    switch (w->bits) {
    case 1: return integers<1>(rows);
    case 2: return integers<2>(rows);
    case 3: return integers<3>(rows);
    case 4: return integers<4>(rows);
    default: return integers<8>(rows);
    }
}

const bl_cu_stream_plan *bl_cu_stream_planned(const bl_cu_weight *w, int64_t rows, bl_cu_device *d)
{
    uint64_t at = (uint64_t)(w->out * 31 + w->in) * 31 + (uint64_t)(rows * 16 + w->bits + 8 * w->kind);
    bl_cu_stream_plan *p = &d->plan[(at ^ at >> 7) % BL_CU_STREAM_PLANS];
    if (p->R && p->kind == w->kind && p->bits == w->bits && p->rows == rows && p->out == w->out && p->in == w->in)
        return p;
    instance k = instance_of(w, (int)rows);
    *p = plan_of(w, (int)rows, &k, d);
    return p;
}

bool bl_cu_stream_stack(bl_cu_stacked *all, const bl_cu_weight *w, void *y, int64_t ldy)
{
    bl_cu_weight *to = &all->like;
    if (!all->n) {
        *to = *w;
        to->out = 0;
        for (int i = 0; i < BL_CU_STACKED_MOST; i++) all->of[i].first = INT_MAX;
    } else if (all->n == BL_CU_STACKED_MOST || w->kind != to->kind || w->bits != to->bits || w->in != to->in ||
               w->group != to->group || w->scale_type != to->scale_type || w->zero_type != to->zero_type ||
               w->table != to->table)
        return false;
    all->of[all->n++] = {w->codes, w->scales, w->zeros, y, ldy, w->out, (int)(to->out / TILE_OUT)};
    to->out += (w->out + TILE_OUT - 1) / TILE_OUT * TILE_OUT;
    return true;
}

void bl_cu_stream(bl_stream s, const bl_cu_stacked *all, const bl_cu_stream_plan *p, const uint16_t *x, int64_t ldx,
                  int64_t rows, bool f32, bool accumulate, const bl_cu_device *d)
{
    if (rows >= 1) instance_of(&all->like, (int)rows).launch(s, all, p, x, ldx, (int)rows, f32, accumulate, d);
}
