/* mid.cuh - y = x wt for 1 to 256 rows of x and packed weights on Hopper: weights are decoded into registers, as the
 * 64-row operand of wgmma, x is the other operand.
 *
 * Layout of weights: as format.h has it. In each 128 numbers of k, a chunk, lane t of four takes 32 neighbouring codes
 * of a row, whose group is one. Which numbers of k meet in an instruction is free as long as both operands agree:
 * `arrange` writes x once, zeros up to a whole tile, in the order in which decoding yields weights and as shared memory
 * has it, so that a step of x is one bulk copy.
 *
 * A weight is (code - zero), exact, times its scale in bf16, rounded to bf16. Values of a table are rounded to bf16. Of
 * few rows decoding is what takes the time, so there, if a chunk has one scale, it goes on the chunk's sums, in f32;
 * and codes of 2 to 4 bits are multiplied as they come, 128 more than they are, or a power of two times, which x makes
 * up for:
 *
 *     sum (q - z) x = sum (128 + 2^p q) x 2^-p - 128 sum x 2^-p - z sum x
 *
 * where `arrange` writes the sums that are taken off, and what is taken off is what sums begin with.
 *
 * A block does 64 G outputs with G warpgroups, and all rows of x; `split` blocks share k where there are few outputs.
 * They are all resident then: each adds up the sums of its share of the rows, in order.
 */
#ifndef BL_KERNELS_CUDA_MID_CUH
#define BL_KERNELS_CUDA_MID_CUH
#include "mid.h"
#include "weight.cuh"
#include "wgmma.cuh"

enum {
    CHUNK_BITS = 7,
    CHUNK = 1 << CHUNK_BITS,
    HALF = 64
}; /* numbers of k: what a lane's 32 codes come from; a line of x */

/* Code e of register r (of 16) that lane t decodes of its 32. */
static __device__ __forceinline__ int code_of_register(int bits, bool table, int r, int e)
{
    if (table || bits == 8) return 2 * r + e;
    switch (bits) {
    case 4: return r / 4 * 8 + r % 4 + 4 * e;
    case 3: return r == 15 ? 30 + e : r / 5 * 10 + r % 5 + 5 * e;
    case 2: return r / 8 * 16 + r % 8 + 8 * e;
    default: return r + 16 * e;
    }
}

/* Codes of register r are taken at 2^p. */
static __device__ __forceinline__ constexpr int power_of_register(int bits, int r)
{
    return bits == 2 ? r % 8 % 3 * 2 : bits == 3 && r != 15 ? r % 5 % 2 * 3 : 0;
}

/* ---- decoding ---- */
static __device__ __forceinline__ uint32_t pair_of(float f)
{
    __nv_bfloat162 v = __floats2bfloat162_rn(f, f);
    return *(uint32_t *)&v;
}
static __device__ __forceinline__ uint32_t times(uint32_t a, uint32_t b)
{
    __nv_bfloat162 v = __hmul2(*(__nv_bfloat162 *)&a, *(__nv_bfloat162 *)&b);
    return *(uint32_t *)&v;
}
/* 128 + n, n < 128, in bf16, twice. */
static __device__ __forceinline__ uint32_t pair_from_128(uint32_t n) { return (n | 0x4300u) * 0x10001u; }
/* Codes in the low bits of both halves, where `mask` has them: bf16 of 128 and what they are there. `from_128`:
 * 0x43004300, in a register, so that one instruction does what takes two with two constants. */
static __device__ __forceinline__ uint32_t two_from_128(uint32_t v, uint32_t mask, uint32_t from_128)
{
    uint32_t q;
    asm("lop3.b32 %0, %1, %2, %3, 0xea;"
        : "=r"(q)
        : "r"(v), "r"(mask * 0x10001u), "r"(from_128)); /* (v & mask) | 128 */
    return q;
}
/* The same, less `less`. */
static __device__ __forceinline__ uint32_t two_codes(uint32_t v, uint32_t mask, uint32_t from_128, uint32_t less)
{
    const uint32_t q = two_from_128(v, mask, from_128);
    __nv_bfloat162 d = __hsub2(*(__nv_bfloat162 *)&q, *(__nv_bfloat162 *)&less);
    return *(uint32_t *)&d;
}

/* Codes of 3 bits: five in each half of a word, ten from bit 30 i of a run on; the last two are in the low bits. */
static __device__ __forceinline__ uint32_t five_and_five(const uint32_t v[3], int i)
{
    uint32_t ten = i == 0   ? v[0]
                   : i == 1 ? __funnelshift_r(v[0], v[1], 30)
                   : i == 2 ? __funnelshift_r(v[1], v[2], 28)
                            : v[2] >> 26 | v[2] >> 29 << 15;
    return (ten & 0x7fffu) | (ten << 1 & 0x7fff0000u);
}

/* What a group's 32 codes v are decoded with: register r of 16 is `scaled` of `bare`, or `shifted` if that is made up
 * for elsewhere. Codes of 2 and 3 bits are taken where they are, at 2^0, 2^2, 2^4 or 2^0, 2^3, if they end below bit 7.
 */
template <int BITS, bool TABLE> struct decoder;

template <> struct decoder<4, false> {
    uint32_t less, scale;
    __device__ __forceinline__ void set(float s, uint32_t z)
    {
        less = pair_from_128(z);
        scale = pair_of(s);
    }
    __device__ __forceinline__ uint32_t bare(const uint32_t v[4], int r, uint32_t fixed) const
    {
        return two_codes(v[r / 4] >> r % 4 * 4, 15, fixed, less);
    }
    static __device__ __forceinline__ uint32_t shifted(const uint32_t v[4], int r, uint32_t fixed)
    {
        return two_from_128(v[r / 4] >> r % 4 * 4, 15, fixed);
    }
    __device__ __forceinline__ uint32_t scaled(uint32_t q, int) const { return times(q, scale); }
};

template <> struct decoder<2, false> {
    uint32_t less[3], scale[3];
    __device__ __forceinline__ void set(float s, uint32_t z)
    {
#pragma unroll
        for (int p = 0; p < 3; p++) {
            less[p] = pair_from_128(z << 2 * p);
            scale[p] = pair_of(s * (1.0f / (1 << 2 * p)));
        }
    }
    __device__ __forceinline__ uint32_t bare(const uint32_t v[2], int r, uint32_t fixed) const
    {
        const int at = r % 8;
        return two_codes(v[r / 8] >> at / 3 * 6, 3u << at % 3 * 2, fixed, less[at % 3]);
    }
    static __device__ __forceinline__ uint32_t shifted(const uint32_t v[2], int r, uint32_t fixed)
    {
        return two_from_128(v[r / 8] >> r % 8 / 3 * 6, 3u << power_of_register(2, r), fixed);
    }
    __device__ __forceinline__ uint32_t scaled(uint32_t q, int r) const { return times(q, scale[r % 8 % 3]); }
};

template <> struct decoder<3, false> {
    uint32_t less[2], scale[2];
    __device__ __forceinline__ void set(float s, uint32_t z)
    {
#pragma unroll
        for (int p = 0; p < 2; p++) {
            less[p] = pair_from_128(z << 3 * p);
            scale[p] = pair_of(s * (1.0f / (1 << 3 * p)));
        }
    }
    __device__ __forceinline__ uint32_t bare(const uint32_t v[3], int r, uint32_t fixed) const
    {
        const int at = r == 15 ? 0 : r % 5;
        return two_codes(five_and_five(v, r / 5) >> at / 2 * 6, 7u << at % 2 * 3, fixed, less[at % 2]);
    }
    static __device__ __forceinline__ uint32_t shifted(const uint32_t v[3], int r, uint32_t fixed)
    {
        const int at = r == 15 ? 0 : r % 5;
        return two_from_128(five_and_five(v, r / 5) >> at / 2 * 6, 7u << power_of_register(3, r), fixed);
    }
    __device__ __forceinline__ uint32_t scaled(uint32_t q, int r) const
    {
        return times(q, scale[r == 15 ? 0 : r % 5 % 2]);
    }
};

template <> struct decoder<1, false> {
    uint32_t minus;
    __device__ __forceinline__ void set(float s, uint32_t) { minus = pair_of(-s); }
    __device__ __forceinline__ uint32_t bare(const uint32_t v[1], int r, uint32_t) const { return v[0] << (15 - r); }
    __device__ __forceinline__ uint32_t scaled(uint32_t q, int) const { return (q & 0x80008000u) ^ minus; }
};

template <> struct decoder<8, false> {
    float less;
    uint32_t scale;
    __device__ __forceinline__ void set(float s, uint32_t z)
    {
        less = __uint_as_float(0x4b000000u | z); /* 2^23 + z */
        scale = pair_of(s);
    }
    __device__ __forceinline__ uint32_t bare(const uint32_t v[8], int r, uint32_t) const
    {
        uint32_t w = v[r / 2];
        float lo = __uint_as_float(__byte_perm(w, 0x4b000000u, 0x7650 + r % 2 * 2)) - less,
              hi = __uint_as_float(__byte_perm(w, 0x4b000000u, 0x7651 + r % 2 * 2)) - less;
        __nv_bfloat162 d = __floats2bfloat162_rn(lo, hi);
        return *(uint32_t *)&d;
    }
    __device__ __forceinline__ uint32_t scaled(uint32_t q, int) const { return times(q, scale); }
};

template <> struct decoder<4, true> {
    uint32_t scale;
    __device__ __forceinline__ void set(float s, uint32_t) { scale = pair_of(s); }
    __device__ __forceinline__ uint32_t bare(const uint32_t v[4], int r, uint32_t fixed) const
    {
        uint32_t two;
        asm volatile("ld.shared.u32 %0, [%1];"
                     : "=r"(two)
                     : "r"(__byte_perm(v[r / 4], 0, 0x4440 + r % 4) * 128 + fixed));
        return two;
    }
    __device__ __forceinline__ uint32_t scaled(uint32_t q, int) const { return times(q, scale); }
};

template <int BYTES> static __device__ __forceinline__ void load_piece(uint32_t *v, uint32_t from)
{
    if (BYTES == 16)
        asm volatile("ld.shared.v4.u32 {%0, %1, %2, %3}, [%4];"
                     : "=r"(v[0]), "=r"(v[1]), "=r"(v[2]), "=r"(v[3])
                     : "r"(from));
    else if (BYTES == 8) asm volatile("ld.shared.v2.u32 {%0, %1}, [%2];" : "=r"(v[0]), "=r"(v[1]) : "r"(from));
    else asm volatile("ld.shared.u32 %0, [%1];" : "=r"(v[0]) : "r"(from));
}

/* ---- what a product does ---- */
/* Whether scales of chunks go on sums; whether codes are shifted then. */
static constexpr bool scales_sums(int bits, int rows) { return rows <= 32 && bits != 1; }
static constexpr bool shifts_codes(int bits, bool table, int rows)
{
    return scales_sums(bits, rows) && !table && bits <= 4;
}

template <int BITS, bool TABLE, int ROWS, int G> struct mid {
    static constexpr int WARPS = 4 * G, CONSUMERS = WARPS * WARP, THREADS = CONSUMERS + 4 * WARP;
    static constexpr int REGISTERS = G == 4 ? 112
                                            : 240; /* of a thread that decodes; 24 of the four warps that ask for x */
    static constexpr int PIECES = (16 * BITS + WARP - 1) / WARP;        /* of 16 bytes, a lane copies of a chunk */
    static constexpr int LOAD = BITS % 4 == 0 ? 16 : BITS == 2 ? 8 : 4; /* bytes that a lane reads at once */
    static constexpr int HALVES = ROWS <= 128 ? 2 : 1;                  /* of a chunk, in a step of x */
    static constexpr int STEP = ROWS * HALF * 2 * HALVES;               /* bytes of x */
    static constexpr int STEPS = ROWS >= 128 ? 5 : ROWS >= 64 ? 4 : 6;
    static constexpr int ROW = 16 * BITS, SLOT = 16 * ROW; /* bytes of a row's chunk, of a warp's 16 */
    static constexpr int DEPTH = BITS >= 3 ? 4 : BITS == 2 ? 6 : 8;
    static constexpr int TABLE_BYTES = TABLE ? 32 << 10 : 0;
    static constexpr bool LATE = scales_sums(BITS, ROWS), SHIFTED = shifts_codes(BITS, TABLE, ROWS);
    static constexpr int SUMS = SHIFTED ? ROWS * 8 : 0; /* bytes of a step: what is taken off */
    static constexpr int SHARED = 1024 + STEPS * STEP + TABLE_BYTES + WARPS * DEPTH * SLOT + 2 * STEPS * 8 +
                                  STEPS * SUMS;
    /* where they are, from `base` on, a multiple of 1 KB */
    static constexpr int TABLE_AT = STEPS * STEP, RINGS_AT = TABLE_AT + TABLE_BYTES,
                         FULL_AT = RINGS_AT + WARPS * DEPTH * SLOT, EMPTY_AT = FULL_AT + 8 * STEPS,
                         SUMS_AT = EMPTY_AT + 8 * STEPS;
};

/* The part of k of a block, in chunks. */
struct part_of_k {
    int begin, end;
    __device__ __forceinline__ part_of_k(int64_t in)
    {
        int chunks = (int)(in / CHUNK);
        begin = (int)blockIdx.y * chunks / (int)gridDim.y;
        end = ((int)blockIdx.y + 1) * chunks / (int)gridDim.y;
    }
};

/* Opens the barriers and fills the table of pairs: pair i in column `lane` of line i. */
template <typename C, bool TABLE>
static __device__ __forceinline__ void open_block(const bl_cu_weight &w, uint32_t base, int warp, int lane)
{
    if (threadIdx.x == 0) {
        for (int i = 0; i < C::STEPS; i++) {
            barrier_open(base + C::FULL_AT + 8 * i, 1);
            barrier_open(base + C::EMPTY_AT + 8 * i, C::WARPS);
        }
        asm volatile("fence.mbarrier_init.release.cluster;" ::: "memory");
    }
    if (TABLE)
        for (int i = warp; i < 256; i += C::WARPS + 4) {
            uint32_t two = to_bf16(w.table[i & 15]) | (uint32_t)to_bf16(w.table[i >> 4]) << 16;
            asm volatile("st.shared.u32 [%0], %1;" ::"r"(base + C::TABLE_AT + (i * WARP + lane) * 4), "r"(two)
                         : "memory");
        }
    __syncthreads();
}

/* One thread asks for x, once the kernel before has written it; sums: of its chunks, NULL: none. */
template <typename C>
static __device__ __forceinline__ void ask_for_x(const uint8_t *x, const uint8_t *sums, part_of_k k, uint32_t base)
{
    wait_for_last();
    asm volatile("fence.proxy.async;" ::: "memory");
    const uint8_t *from = x + (int64_t)k.begin * C::STEP * 2 / C::HALVES;
    for (int i = 0, n = (k.end - k.begin) * 2 / C::HALVES; i < n; i++) {
        int slot = i % C::STEPS;
        if (i >= C::STEPS) barrier_await(base + C::EMPTY_AT + 8 * slot, (i / C::STEPS - 1) & 1);
        barrier_expect(base + C::FULL_AT + 8 * slot, C::STEP + (sums ? C::SUMS : 0));
        copy_bulk(base + slot * C::STEP, from, C::STEP, base + C::FULL_AT + 8 * slot);
        if (C::SUMS && sums)
            copy_bulk(base + C::SUMS_AT + slot * C::SUMS, sums + (int64_t)(k.begin + i) * C::SUMS, C::SUMS,
                      base + C::FULL_AT + 8 * slot);
        from += C::STEP;
    }
}

/* The steps of x as a warp goes through them. */
template <typename C> struct x_steps {
    uint32_t base, slot, phase, done; /* slots in bytes of barriers */
    __device__ __forceinline__ x_steps(uint32_t b) : base(b), slot(0), phase(0), done(0) {}
    __device__ __forceinline__ void await() const { barrier_await(base + C::FULL_AT + slot, phase); }
    __device__ __forceinline__ uint32_t at() const { return base + slot / 8 * C::STEP; }
    __device__ __forceinline__ uint32_t sums() const { return base + C::SUMS_AT + slot / 8 * C::SUMS; }
    __device__ __forceinline__ void next()
    {
        slot += 8;
        if (slot == 8 * C::STEPS) {
            slot = 0;
            phase ^= 1;
        }
    }
    __device__ __forceinline__ void release(int lane) /* nobody of this warp reads the oldest any more */
    {
        if (lane == 0) barrier_arrive(base + C::EMPTY_AT + done);
        done = done == 8 * (C::STEPS - 1) ? 0 : done + 8;
    }
};

/* Codes, scales and zeros of a warp's 16 rows; a lane decodes rows g and g + 8. Rows after the last are read as the
 * last. */
template <typename C, int BITS, bool TABLE> struct warp_weights {
    const uint8_t *from, *zero_row[2];
    const uint16_t *scale_row[2];
    uint32_t off[C::PIECES], to[C::PIECES], read, in_slot, out_slot; /* bytes; `to` and `read` in shared memory */
    int left;                                                        /* chunks to ask for */
    bool has_zeros, half;
    uint32_t scale_next[2], zero_next[2], zero_shift;
    int group_bits;

    __device__ __forceinline__ warp_weights(const bl_cu_weight &w, int bits, int64_t o0, part_of_k k, uint32_t ring,
                                            int lane)
    {
        const int g = lane / 4, t = lane % 4, last = (int)min(w.out - 1 - o0, (int64_t)15);
        from = w.codes + min(o0, w.out - 1) * w.row_bytes + (int64_t)k.begin * C::ROW;
#pragma unroll
        for (int p = 0; p < C::PIECES; p++) {
            int i = p * WARP + lane, row = i / BITS, piece = i % BITS;
            off[p] = (uint32_t)(max(min(row, last), 0) * (int)w.row_bytes + piece * 16);
            to[p] = ring + row * C::ROW +
                    (BITS == 8 ? piece ^ (row & 1) : piece) * 16; /* no two lanes meet in a bank */
        }
        read = ring + g * C::ROW + t * 4 * BITS;
        if (BITS == 8) read ^= (g & 1) * 16;
#pragma unroll
        for (int i = 0; i < 2; i++) {
            int64_t o = min(o0 + g + 8 * i, w.out - 1);
            scale_row[i] = (const uint16_t *)w.scales + o * w.groups;
            zero_row[i] = (const uint8_t *)w.zeros + o * w.zero_bytes;
            asm volatile("" : "+l"(scale_row[i]), "+l"(zero_row[i])); /* computed once */
            zero_next[i] = 0;
        }
        in_slot = out_slot = zero_shift = 0;
        left = k.end - k.begin;
        has_zeros = !TABLE && BITS > 1 && w.zero_type == 1;
        half = w.scale_type == 1;
        group_bits = bits;
        fetch_scales(k.begin * CHUNK + t * 32);
#pragma unroll
        for (int i = 0; i < C::DEPTH - 1; i++) fetch(lane);
    }
    __device__ __forceinline__ void fetch(int lane)
    {
        if (left > 0) {
#pragma unroll
            for (int p = 0; p < C::PIECES; p++)
                if (16 * BITS % WARP == 0 || p * WARP + lane < 16 * BITS)
                    asm volatile("cp.async.cg.shared.global [%0], [%1], 16;" ::"r"(to[p] + in_slot),
                                 "l"(from + off[p]));
            from += C::ROW;
            in_slot = in_slot == (C::DEPTH - 1) * C::SLOT ? 0 : in_slot + C::SLOT;
        } else let_next_begin(); /* there is room on the bus */
        left--;
        asm volatile("cp.async.commit_group;" ::: "memory");
    }
    /* The codes of the next chunk; those of the one after the ring's are asked for. */
    __device__ __forceinline__ void next(uint32_t v[2][BITS], int lane)
    {
        asm volatile("cp.async.wait_group %0;" ::"n"(C::DEPTH - 2) : "memory");
        __syncwarp(); /* the chunk is there, and who read the one before is done */
#pragma unroll
        for (int i = 0; i < 2; i++)
#pragma unroll
            for (int p = 0; p < BITS * 4 / C::LOAD; p++)
                load_piece<C::LOAD>(&v[i][p * C::LOAD / 4], ((read + out_slot) ^ (BITS == 8 ? p * 16 : 0)) +
                                                                i * 8 * C::ROW + (BITS == 8 ? 0 : p * C::LOAD));
        out_slot = out_slot == (C::DEPTH - 1) * C::SLOT ? 0 : out_slot + C::SLOT;
        fetch(lane);
    }
    __device__ __forceinline__ void fetch_scales(int k) /* of the chunk where this lane's codes begin at k */
    {
        uint32_t group = (uint32_t)k >> group_bits;
#pragma unroll
        for (int i = 0; i < 2; i++) scale_next[i] = __ldg(scale_row[i] + group);
        if (has_zeros) {
            zero_shift = group * BITS;
#pragma unroll
            for (int i = 0; i < 2; i++) {
                const uint8_t *z = zero_row[i] + (zero_shift >> 3);
                zero_next[i] = __ldg(z);
                if (BITS == 3) zero_next[i] |= (uint32_t)__ldg(z + 1) << 8;
            }
        }
    }
    __device__ __forceinline__ float scale(int i) const
    {
        return half ? from_f16((uint16_t)scale_next[i]) : from_bf16((uint16_t)scale_next[i]);
    }
    __device__ __forceinline__ uint32_t zero(int i) const
    {
        return has_zeros ? zero_next[i] >> (zero_shift & 7) & ((1u << BITS) - 1) : 1u << (BITS - 1);
    }
};

typedef struct mid_result {
    void *y;
    int64_t ldy;
    int rows;
    bool f32, accumulate;
    float4 *parts;     /* [tile][split][ROWS / 8][CONSUMERS] */
    unsigned *arrived; /* [tile] */
} mid_result;

/* The sums of a block become y, or its part of y: outputs o0 and o0 + 8, rows 8 n + 2 t and the next. */
template <typename C, int ROWS>
static __device__ __forceinline__ void put_block(const mid_result &to, const float (&sum)[ROWS / 2], int64_t o0,
                                                 int64_t out, int t)
{
    enum { EIGHTS = ROWS / 8 };
    const int split = gridDim.y, me = blockIdx.y;
    auto put = [&](int n, const float *four) {
#pragma unroll
        for (int j = 0; j < 4; j++) {
            int m = 8 * n + 2 * t + j % 2;
            int64_t o = o0 + j / 2 * 8;
            if (m < to.rows && o < out) put_sum(to.y, to.f32, m * to.ldy + o, four[j], to.accumulate);
        }
    };
    wait_for_last(); /* what was written before may be y, parts, counters */
    if (split == 1) {
#pragma unroll
        for (int n = 0; n < EIGHTS; n++) put(n, sum + 4 * n);
        return;
    }
    /* Eight rows n belong to one of the blocks; the others give it their sums. */
    const int64_t each = (int64_t)EIGHTS * C::CONSUMERS;
    float4 *all = to.parts + (int64_t)blockIdx.x * split * each + threadIdx.x, *mine = all + me * each;
    unsigned *counter = to.arrived + blockIdx.x;
#pragma unroll
    for (int n = 0; n < EIGHTS; n++)
        if (n * split / EIGHTS != me)
            __stcg(mine + n * C::CONSUMERS, make_float4(sum[4 * n], sum[4 * n + 1], sum[4 * n + 2], sum[4 * n + 3]));
    __threadfence();
    asm volatile("bar.sync 1, %0;" ::"n"(C::CONSUMERS) : "memory");
    if (threadIdx.x == 0) {
        atomicAdd(counter, 1);
        while (*(volatile unsigned *)counter < (unsigned)split) __nanosleep(20);
        __threadfence();
    }
    asm volatile("bar.sync 1, %0;" ::"n"(C::CONSUMERS) : "memory");
#pragma unroll
    for (int n = 0; n < EIGHTS; n++) {
        if (n * split / EIGHTS != me) continue;
        float four[4] = {0, 0, 0, 0};
        for (int i = 0; i < split; i++) {
            float4 of = i == me ? make_float4(sum[4 * n], sum[4 * n + 1], sum[4 * n + 2], sum[4 * n + 3])
                                : __ldcg(all + i * each + n * C::CONSUMERS);
            four[0] += of.x;
            four[1] += of.y;
            four[2] += of.z;
            four[3] += of.w;
        }
        put(n, four);
    }
    asm volatile("bar.sync 1, %0;" ::"n"(C::CONSUMERS) : "memory");
    if (threadIdx.x == 0 && atomicAdd(counter, 1) == 2u * split - 1) *counter = 0; /* all have read */
}

/* ---- the product ---- */
/* What sums of outputs begin with: what is to be taken off, `less` of rows 8 n + 2 t and the next. */
template <int ROWS>
static __device__ __forceinline__ void begin_sums(float (&sum)[ROWS / 2], uint32_t less, const float zero[2], int t)
{
#pragma unroll
    for (int n = 0; n < ROWS / 8; n++) {
        float all[2], by_zero[2];
        asm volatile("ld.shared.v4.f32 {%0, %1, %2, %3}, [%4];"
                     : "=f"(all[0]), "=f"(by_zero[0]), "=f"(all[1]), "=f"(by_zero[1])
                     : "r"(less + (8 * n + 2 * t) * 8));
#pragma unroll
        for (int j = 0; j < 4; j++) sum[4 * n + j] = fmaf(zero[j / 2], by_zero[j % 2], all[j % 2]);
    }
}

/* The block's part of k. LATE: scales go on the sums of a chunk. */
template <typename C, int BITS, bool TABLE, int ROWS, bool LATE>
static __device__ __forceinline__ void multiply(warp_weights<C, BITS, TABLE> &weights, part_of_k k, uint32_t base,
                                                int lane, float (&total)[ROWS / 2])
{
    constexpr bool SHIFTED = LATE && C::SHIFTED;
    x_steps<C> steps(base);
    int scale_at = k.begin * CHUNK + lane % 4 * 32;
    float sum[ROWS / 2], by[2] = {0, 0};
#pragma unroll
    for (int i = 0; i < ROWS / 2; i++) total[i] = sum[i] = 0;
    uint32_t fixed = TABLE ? base + C::TABLE_AT + lane * 4 : 0x43004300u; /* this lane's column, or see two_from_128 */
    asm volatile("" : "+r"(fixed));
    auto add_up = [&]() {
#pragma unroll
        for (int i = 0; i < ROWS / 2; i++) asm volatile("" : "+f"(sum[i])::"memory");
#pragma unroll
        for (int i = 0; i < ROWS / 2; i++) total[i] = LATE ? fmaf(by[i % 4 / 2], sum[i], total[i]) : sum[i];
    };
#pragma unroll 1
    for (int chunk = k.begin; chunk < k.end; chunk++) {
        uint32_t v[2][BITS], a[4][4]; /* codes of two rows; registers of four instructions */
        float by_next[2], zero[2];
        weights.next(v, lane);
        decoder<BITS, TABLE> how[2];
#pragma unroll
        for (int i = 0; i < 2; i++) {
            by_next[i] = weights.scale(i);
            zero[i] = (float)weights.zero(i);
            how[i].set(by_next[i], weights.zero(i));
        }
        scale_at += CHUNK;
        if (chunk + 1 < k.end) weights.fetch_scales(scale_at);
#pragma unroll
        for (int h = 0; h < 2; h++) {
            /* what a code is, while the products before are under way; then, they are done, what it is worth */
#pragma unroll
            for (int j = 0; j < 16; j++) {
                const int r = 8 * h + j / 2;
                if constexpr (SHIFTED) a[j / 4][j % 4] = how[j % 2].shifted(v[j % 2], r, fixed);
                else a[j / 4][j % 4] = how[j % 2].bare(v[j % 2], r, fixed);
            }
            wgmma_await<0>();
            if (LATE && h == 0) add_up();
            if (h == 0 ? chunk > k.begin : C::HALVES == 1) steps.release(lane);
#pragma unroll
            for (int j = 0; j < 16; j++) {
                asm volatile("" : "+r"(a[j / 4][j % 4]));
                if (LATE) continue;
                a[j / 4][j % 4] = how[j % 2].scaled(a[j / 4][j % 4], 8 * h + j / 2);
                asm volatile("" : "+r"(a[j / 4][j % 4]));
            }
            if (h == 0 || C::HALVES == 1) steps.await();
            if (LATE && h == 0) {
                if constexpr (SHIFTED) begin_sums<ROWS>(sum, steps.sums(), zero, lane % 4);
                else
#pragma unroll
                    for (int i = 0; i < ROWS / 2; i++) sum[i] = 0;
                by[0] = by_next[0];
                by[1] = by_next[1];
            }
            uint64_t lines = wgmma_lines(steps.at() + (C::HALVES == 2 ? h * ROWS * HALF * 2 : 0));
            wgmma_begin();
#pragma unroll
            for (int j = 0; j < 4; j++) wgmma_of<ROWS>::run(sum, a[j], lines + 2 * j);
            wgmma_commit();
            if (h == 1 || C::HALVES == 1) steps.next();
        }
    }
    wgmma_await<0>();
    add_up();
}

template <int BITS, bool TABLE, int ROWS, int G>
__global__ void __launch_bounds__(mid<BITS, TABLE, ROWS, G>::THREADS, 1)
    mid_rows(bl_cu_weight w, int group_bits, const uint8_t *x, mid_result to)
{
#ifdef __CUDA_ARCH_FEAT_SM90_ALL
    typedef mid<BITS, TABLE, ROWS, G> C;
    extern __shared__ uint8_t raw[];
    int warp = threadIdx.x / WARP, lane = threadIdx.x % WARP;
    uint32_t base = (shared_at(raw) + 1023) & ~1023u;
    const bool late = C::LATE && group_bits >= CHUNK_BITS;
    part_of_k k(w.in);
    open_block<C, TABLE>(w, base, warp, lane);
    if (warp >= C::WARPS) {
        asm volatile("setmaxnreg.dec.sync.aligned.u32 24;");
        if (warp == C::WARPS && lane == 0) ask_for_x<C>(x, C::SHIFTED && late ? x + w.in * (ROWS * 2) : NULL, k, base);
        return;
    }
    asm volatile("setmaxnreg.inc.sync.aligned.u32 %0;" ::"n"(C::REGISTERS));
    int64_t o0 = (int64_t)blockIdx.x * G * 64 + warp * 16;
    warp_weights<C, BITS, TABLE> weights(w, group_bits, o0, k, base + C::RINGS_AT + warp * C::DEPTH * C::SLOT, lane);
    float total[ROWS / 2];
    if constexpr (C::LATE) {
        if (late) multiply<C, BITS, TABLE, ROWS, true>(weights, k, base, lane, total);
        else multiply<C, BITS, TABLE, ROWS, false>(weights, k, base, lane, total);
    } else multiply<C, BITS, TABLE, ROWS, false>(weights, k, base, lane, total);
    put_block<C, ROWS>(to, total, o0 + lane / 4, w.out, lane % 4);
#endif
}

/* ---- launches ---- */
typedef void mid_launch(bl_stream s, const bl_cu_weight *w, int group_bits, const uint8_t *x, int split,
                        const mid_result *to);
typedef struct mid_instance {
    int rows, outputs; /* of a block */
    mid_launch *launch;
} mid_instance;

template <int BITS, bool TABLE, int ROWS, int G>
static void launch_mid(bl_stream s, const bl_cu_weight *w, int group_bits, const uint8_t *x, int split,
                       const mid_result *to)
{
    typedef mid<BITS, TABLE, ROWS, G> C;
    static_assert(C::SHARED <= 227 << 10, "shared memory");
    cudaFuncSetAttribute(mid_rows<BITS, TABLE, ROWS, G>, cudaFuncAttributeMaxDynamicSharedMemorySize, C::SHARED);
    launch_early(mid_rows<BITS, TABLE, ROWS, G>, dim3((unsigned)((w->out + 64 * G - 1) / (64 * G)), (unsigned)split),
                 C::THREADS, C::SHARED, s, *w, group_bits, x, *to);
}

/* The smallest instance that has room for the rows. */
template <int BITS, bool TABLE> static mid_instance mid_instance_of(int rows)
{
    if (rows <= 16) return {16, 256, launch_mid<BITS, TABLE, 16, 4>};
    if (rows <= 32) return {32, 256, launch_mid<BITS, TABLE, 32, 4>};
    if (rows <= 64) return {64, 256, launch_mid<BITS, TABLE, 64, 4>};
    if (rows <= 128) return {128, 128, launch_mid<BITS, TABLE, 128, 2>}; /* four groups have too few registers */
    return {256, 128, launch_mid<BITS, TABLE, 256, 2>};
}
mid_instance mid_int8(int rows), mid_int4(int rows), mid_int3(int rows), mid_int2(int rows), mid_int1(int rows),
    mid_table4(int rows);
#endif
