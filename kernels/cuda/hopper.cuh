/* hopper.cuh - what compute capability 9.0 alone has, for kernels of one loading and two computing groups of four
 * warps: products by a whole group with operands in shared memory (wgmma), and barriers in shared memory.
 *
 * Tiles in shared memory are panels of 64 columns, one after another: [columns / 64][rows][64] bf16, each row of 128
 * bytes with its 16-byte pieces permuted (piece c of row r is at c ^ r % 8), beginning at multiples of 1024 bytes.
 */
#ifndef BL_KERNELS_CUDA_HOPPER_CUH
#define BL_KERNELS_CUDA_HOPPER_CUH
#include "sequence.cuh"

enum { GROUP = 4 * WARP, PANEL_ROW = 128 /* bytes */, GROUP_ROWS = 64 };

#ifdef __CUDA_ARCH_FEAT_SM90_ALL
#define BL_HOPPER 1

/* ---- barriers: counted arrivals, waited for by parity of their phase ---- */
static __device__ __forceinline__ void barrier_new(uint64_t *b, unsigned arrivals)
{
    asm volatile("mbarrier.init.shared::cta.b64 [%0], %1;" ::"r"(shared_at(b)), "r"(arrivals) : "memory");
}
static __device__ __forceinline__ void barrier_arrive(uint64_t *b)
{
    asm volatile("mbarrier.arrive.shared::cta.b64 _, [%0];" ::"r"(shared_at(b)) : "memory");
}
static __device__ __forceinline__ void barrier_wait(uint64_t *b, unsigned parity)
{
    asm volatile(
        "{\n.reg .pred p;\nagain:\nmbarrier.try_wait.parity.shared::cta.b64 p, [%0], %1;\n@!p bra again;\n}\n" ::"r"(
            shared_at(b)),
        "r"(parity)
        : "memory");
}
/* Arrives once what this thread has asked to copy is there. */
static __device__ __forceinline__ void barrier_arrive_copied(uint64_t *b)
{
    asm volatile("cp.async.mbarrier.arrive.noinc.shared::cta.b64 [%0];" ::"r"(shared_at(b)) : "memory");
}
/* As copy16, 4 bytes or none. */
static __device__ __forceinline__ void copy4(uint32_t to, const void *from, int bytes)
{
    asm volatile("cp.async.ca.shared.global [%0], [%1], 4, %2;" ::"r"(to), "l"(from), "r"(bytes) : "memory");
}
/* What ordinary accesses have written is seen by products that come after. */
static __device__ __forceinline__ void written_for_products(void)
{
    asm volatile("fence.proxy.async.shared::cta;" ::: "memory");
}
template <int N> static __device__ __forceinline__ void registers_more(void)
{
    asm volatile("setmaxnreg.inc.sync.aligned.u32 %0;" ::"n"(N));
}
template <int N> static __device__ __forceinline__ void registers_fewer(void)
{
    asm volatile("setmaxnreg.dec.sync.aligned.u32 %0;" ::"n"(N));
}

/* ---- products ---- */
static __device__ __forceinline__ void products_begin(void) { asm volatile("wgmma.fence.sync.aligned;" ::: "memory"); }
static __device__ __forceinline__ void products_commit(void)
{
    asm volatile("wgmma.commit_group.sync.aligned;" ::: "memory");
}
/* All but the last N that were committed are done. */
template <int N> static __device__ __forceinline__ void products_wait(void)
{
    asm volatile("wgmma.wait_group.sync.aligned %0;" ::"n"(N) : "memory");
}
/* Keeps the compiler from moving uses of sums across a wait. */
template <int N> static __device__ __forceinline__ void settled(float (&d)[N][4])
{
#pragma unroll
    for (int i = 0; i < N; i++) asm volatile("" : "+f"(d[i][0]), "+f"(d[i][1]), "+f"(d[i][2]), "+f"(d[i][3])::"memory");
}

/* An operand at a shared address, panels `panel` bytes apart (read only where it is turned). */
static __device__ __forceinline__ uint64_t operand(uint32_t at, uint32_t panel)
{
    return (uint64_t)((at & 0x3ffff) >> 4) | (uint64_t)(panel >> 4) << 16 | (uint64_t)(1024 >> 4) << 32 |
           (uint64_t)1 << 62;
}
#define D4(i) "+f"(d[i][0]), "+f"(d[i][1]), "+f"(d[i][2]), "+f"(d[i][3])
#define D32   D4(0), D4(1), D4(2), D4(3), D4(4), D4(5), D4(6), D4(7)
#define D64   D32, D4(8), D4(9), D4(10), D4(11), D4(12), D4(13), D4(14), D4(15)
#define NAMES32                                                                                                        \
    "%0,%1,%2,%3,%4,%5,%6,%7,%8,%9,%10,%11,%12,%13,%14,%15,%16,%17,%18,%19,%20,%21,%22,%23,%24,%25,%26,%27,%28,%29,"   \
    "%30,%31"
#define NAMES64                                                                                                        \
    NAMES32 ",%32,%33,%34,%35,%36,%37,%38,%39,%40,%41,%42,%43,%44,%45,%46,%47,%48,%49,%50,%51,%52,%53,%54,%55,%56,"    \
            "%57,%58,%59,%60,%61,%62,%63"

/* d [64, 8 N] (+)= a b, a [64, 16] in registers, b [16, 8 N] in shared memory: rows of 8 N (TURNED: of 16). */
template <int TURNED>
static __device__ __forceinline__ void product(float (&d)[8][4], const uint32_t (&a)[4], uint64_t b, int add)
{
    asm volatile(
        "{\n.reg .pred p;\nsetp.ne.b32 p, %37, 0;\nwgmma.mma_async.sync.aligned.m64n64k16.f32.bf16.bf16 {" NAMES32
        "}, {%32,%33,%34,%35}, %36, p, 1, 1, %38;\n}\n"
        : D32
        : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "l"(b), "r"(add), "n"(TURNED));
}
template <int TURNED>
static __device__ __forceinline__ void product(float (&d)[16][4], const uint32_t (&a)[4], uint64_t b, int add)
{
    asm volatile(
        "{\n.reg .pred p;\nsetp.ne.b32 p, %69, 0;\nwgmma.mma_async.sync.aligned.m64n128k16.f32.bf16.bf16 {" NAMES64
        "}, {%64,%65,%66,%67}, %68, p, 1, 1, %70;\n}\n"
        : D64
        : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "l"(b), "r"(add), "n"(TURNED));
}
/* The same with a in shared memory, in rows of 16. */
static __device__ __forceinline__ void product(float (&d)[8][4], uint64_t a, uint64_t b, int add)
{
    asm volatile(
        "{\n.reg .pred p;\nsetp.ne.b32 p, %34, 0;\nwgmma.mma_async.sync.aligned.m64n64k16.f32.bf16.bf16 {" NAMES32
        "}, %32, %33, p, 1, 1, 0, 0;\n}\n"
        : D32
        : "l"(a), "l"(b), "r"(add));
}

/* s [64, N] = a bt, a [64, DIM] in registers, b [N, DIM] a tile */
template <int DIM, int N>
static __device__ __forceinline__ void scores(float (&s)[N / 8][4], const uint32_t (&a)[DIM / 16][4], uint32_t b)
{
#pragma unroll
    for (int k = 0; k < DIM / 16; k++) product<0>(s, a[k], operand(b + k / 4 * N * PANEL_ROW + k % 4 * 32, 16), k > 0);
}
/* s [64, 64] = a bt, a 64 rows of a tile of ROWS */
template <int DIM, int ROWS> static __device__ __forceinline__ void scores(float (&s)[8][4], uint32_t a, uint32_t b)
{
#pragma unroll
    for (int k = 0; k < DIM / 16; k++)
        product(s, operand(a + k / 4 * ROWS * PANEL_ROW + k % 4 * 32, 16),
                operand(b + k / 4 * GROUP_ROWS * PANEL_ROW + k % 4 * 32, 16), k > 0);
}
/* o [64, DIM] += p b, p [64, N] in registers, b [N, DIM] a tile */
template <int DIM, int N>
static __device__ __forceinline__ void weigh(float (&o)[DIM / 8][4], const uint32_t (&p)[N / 16][4], uint32_t b)
{
#pragma unroll
    for (int k = 0; k < N / 16; k++) product<1>(o, p[k], operand(b + k * 16 * PANEL_ROW, N * PANEL_ROW), 1);
}
/* Sums as the first operand of a product. */
template <int N> static __device__ __forceinline__ void narrow(uint32_t (&p)[N / 2][4], const float (&s)[N][4])
{
#pragma unroll
    for (int k = 0; k < N / 2; k++) {
        p[k][0] = pair(s[2 * k][0], s[2 * k][1]);
        p[k][1] = pair(s[2 * k][2], s[2 * k][3]);
        p[k][2] = pair(s[2 * k + 1][0], s[2 * k + 1][1]);
        p[k][3] = pair(s[2 * k + 1][2], s[2 * k + 1][3]);
    }
}

/* ---- tiles ---- */
/* Rows 0 .. rows - 1 of a head into a tile of ROWS, the rest zeros, by the threads t of a group. */
template <int DIM, int ROWS>
static __device__ __forceinline__ void copy_tile(uint32_t to, const uint16_t *from, int64_t ld, int rows, int dim,
                                                 int t)
{
    enum { EACH_ROW = DIM / 8, STEP = GROUP / EACH_ROW };
    int c = t % EACH_ROW, r = t / EACH_ROW, bytes = 8 * c < dim ? 16 : 0;
    const uint16_t *p = from + r * ld + 8 * c;
    to += c / 8 * ROWS * PANEL_ROW + r * PANEL_ROW + (c % 8 ^ r % 8) * 16;
#pragma unroll 4
    for (int i = 0; i < ROWS / STEP; i++, p += STEP * ld) {
        bool there = r + i * STEP < rows && bytes;
        copy16(to + i * STEP * PANEL_ROW, there ? p : from, there ? 16 : 0);
    }
}
/* Rows of a head as the first operand of products: rows lane / 4 and that + 8 of a warp's 16. */
template <int DIM>
static __device__ __forceinline__ void read_rows(uint32_t (&q)[DIM / 16][4], const uint16_t *from, int64_t ld, int rows,
                                                 int dim)
{
    int r = threadIdx.x % GROUP / WARP * 16 + threadIdx.x % WARP / 4, d0 = threadIdx.x % 4 * 2;
#pragma unroll
    for (int k = 0; k < DIM / 16; k++)
#pragma unroll
        for (int j = 0; j < 4; j++) {
            int row = r + j % 2 * 8, d = k * 16 + j / 2 * 8 + d0;
            q[k][j] = row < rows && d < dim ? *(const uint32_t *)(from + row * ld + d) : 0;
        }
}
/* And back: bf16(o * by[row]) */
template <int DIM>
static __device__ __forceinline__ void write_rows(uint16_t *to, int64_t ld, int rows, int dim,
                                                  const float (&o)[DIM / 8][4], float by0, float by1)
{
    int r = threadIdx.x % GROUP / WARP * 16 + threadIdx.x % WARP / 4, d0 = threadIdx.x % 4 * 2;
#pragma unroll
    for (int i = 0; i < 2; i++) {
        if (r + 8 * i >= rows) continue;
        uint16_t *y = to + (r + 8 * i) * ld + d0;
        float by = i ? by1 : by0;
#pragma unroll
        for (int n = 0; n < DIM / 8; n++)
            if (n * 8 < dim) *(uint32_t *)(y + n * 8) = pair(o[n][2 * i] * by, o[n][2 * i + 1] * by);
    }
}
/* Over the four lanes that share a row. */
static __device__ __forceinline__ float quad_max(float v)
{
    v = fmaxf(v, __shfl_xor_sync(0xffffffffu, v, 1));
    return fmaxf(v, __shfl_xor_sync(0xffffffffu, v, 2));
}
static __device__ __forceinline__ float quad_sum(float v)
{
    v += __shfl_xor_sync(0xffffffffu, v, 1);
    return v + __shfl_xor_sync(0xffffffffu, v, 2);
}
static __device__ __forceinline__ float exp2_fast(float x)
{
    float y;
    asm("ex2.approx.ftz.f32 %0, %1;" : "=f"(y) : "f"(x));
    return y;
}

/* Scores s of 64 rows with keys k0 .. k0 + N - 1 become exponentials, the largest of a row and the sum so far kept on
 * (Milakov and Gimelshein 2018); p0: position of this thread's first row; shrink: what older sums are to be times. */
template <int N>
static __device__ __forceinline__ void soften(float (&s)[N / 8][4], float (&m)[2], float (&l)[2], float (&shrink)[2],
                                              int k0, int p0, bool masked, float by)
{
    if (masked)
#pragma unroll
        for (int n = 0; n < N / 8; n++)
#pragma unroll
            for (int j = 0; j < 4; j++)
                if (k0 + n * 8 + (int)threadIdx.x % 4 * 2 + j % 2 > p0 + j / 2 * 8) s[n][j] = -CUDART_INF_F;
#pragma unroll
    for (int i = 0; i < 2; i++) {
        float top = m[i];
#pragma unroll
        for (int n = 0; n < N / 8; n++) top = fmaxf(top, fmaxf(s[n][2 * i], s[n][2 * i + 1]));
        top = quad_max(top);
        float less = top == -CUDART_INF_F ? 0 : top * by;
        shrink[i] = exp2_fast(m[i] * by - less);
        m[i] = top;
        float sum = 0;
#pragma unroll
        for (int n = 0; n < N / 8; n++)
#pragma unroll
            for (int j = 2 * i; j < 2 * i + 2; j++) {
                s[n][j] = exp2_fast(fmaf(s[n][j], by, -less));
                sum += s[n][j];
            }
        l[i] = l[i] * shrink[i] + sum;
    }
}
#endif
#endif
