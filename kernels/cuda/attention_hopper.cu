/* attention_hopper.cu - causal attention and its gradient on compute capability 9.0, heads of up to 128 numbers.
 *
 * A block has two or three times 64 rows of a sequence and a head: a group of warps copies tiles of the other side into
 * shared memory, a few ahead; the other groups have 64 rows each and compute, in turn (after Shah et al. 2024, arXiv
 * 2407.08608, section 3.1). A group goes over tiles that its mask leaves something of, tiles aligned at position 0, so
 * what a row gets does not depend on the other rows of the call.
 *
 *     forward  rows of queries; over the keys before them
 *     dq       the same once more, with the rows' sums of exponentials, which dk and dv need, as a by-product:
 *              dq = scale / l sum_k e_k (dy . v_k - dy . y) k,  l = sum_k e_k
 *     dk dv    rows of keys; over the queries after them, of all heads that share the keys; where these blocks would
 *              not fill the device, two or four of a cluster have some of the heads each, and their sums are added
 *
 * Where the forward pass has left the rows' sums, dk and dv come first, by as many heads of keys at a time as there is
 * room for the gradient of their scores, in bf16 as products read it; dq is then one product of it instead of three.
 *
 * Each owns what it writes: the result is the same every time.
 */
#include "hopper.cuh"
#include "hopper.h"

/* By what sums of DIM numbers leave of the registers: computing groups, and registers of a thread. */
template <int DIM> struct plan {
    enum {
        GROUPS = DIM <= 64 ? 3 : 2,
        ROWS = GROUPS * GROUP_ROWS,
        THREADS = (GROUPS + 1) * GROUP,
        STAGES = 4,
        LOADING = 24,
        COMPUTING = DIM <= 64 ? 160 : 240,
        KEY_GROUPS = 2,
        KEY_ROWS = KEY_GROUPS * GROUP_ROWS,
        KEY_THREADS = (KEY_GROUPS + 1) * GROUP,
        KEY_COMPUTING = 240,
        KEYS_HELD = DIM <= 64, /* keys and values of a group are in its registers, else in shared memory */
        FORWARD_KEYS = DIM <= 64 ? 64 : 128,
        FORWARD_STAGES = DIM <= 64 ? 4 : 3,
        FORWARD_LOADING = DIM <= 64 ? 32 : 40,
        FORWARD_COMPUTING = DIM <= 64 ? 160 : 232
    };
};

#ifdef BL_HOPPER
template <int STAGES> struct pipeline {
    uint64_t full[STAGES], empty[STAGES], once;
};
template <int STAGES>
static __device__ __forceinline__ uint32_t pipeline_new(pipeline<STAGES> *p, int groups, void *shared)
{
    if (threadIdx.x == 0) {
        for (int i = 0; i < STAGES; i++) {
            barrier_new(p->full + i, GROUP);
            barrier_new(p->empty + i, (unsigned)groups * (GROUP / WARP));
        }
        barrier_new(&p->once, GROUP);
        asm volatile("fence.mbarrier_init.release.cluster;" ::: "memory");
    }
    __syncthreads();
    return (shared_at(shared) + 1023) / 1024 * 1024;
}
template <int STAGES> static __device__ __forceinline__ void wait_full(pipeline<STAGES> *p, int i)
{
    barrier_wait(p->full + i % STAGES, i / STAGES % 2);
    written_for_products();
}
template <int STAGES> static __device__ __forceinline__ void wait_empty(pipeline<STAGES> *p, int i)
{
    if (i >= STAGES) barrier_wait(p->empty + i % STAGES, (i / STAGES - 1) % 2);
}
template <int STAGES> static __device__ __forceinline__ void release(pipeline<STAGES> *p, int i)
{
    __syncwarp(); /* all lanes have read */
    if (threadIdx.x % WARP == 0) barrier_arrive(p->empty + i % STAGES);
}
/* Computing groups begin a tile in turn: one has its products while others are at their exponentials. */
template <int GROUPS> static __device__ __forceinline__ void turn_begin(int group)
{
    asm volatile("bar.sync %0, %1;" ::"r"(1 + group), "n"(2 * GROUP) : "memory");
}
template <int GROUPS> static __device__ __forceinline__ void turn_end(int group)
{
    asm volatile("bar.arrive %0, %1;" ::"r"(1 + (group + 1) % GROUPS), "n"(2 * GROUP) : "memory");
}
/* Tiles from .. to - 1 are not for this group. */
template <int GROUPS, bool TURNS, int STAGES>
static __device__ __forceinline__ void pass(pipeline<STAGES> *p, int group, int from, int to)
{
    for (int i = from; i < to; i++) {
        if (TURNS) {
            turn_begin<GROUPS>(group);
            turn_end<GROUPS>(group);
        }
        barrier_wait(p->full + i % STAGES, i / STAGES % 2);
        release(p, i);
    }
}

/* Where rows of a cache are, of positions asked for in rising order. */
struct cursor {
    const int64_t *seg;
    int64_t end, shift; /* of the segment: the first position after it; row - position */
};
static __device__ __forceinline__ void enter(cursor *c, const int64_t *seg, int64_t first)
{
    c->seg = seg;
    c->end = first + seg[1];
    c->shift = seg[0] - first;
}
static __device__ __forceinline__ int64_t row_at(cursor *c, int64_t p)
{
    while (p >= c->end) enter(c, c->seg + 2, c->end);
    return p + c->shift;
}
#endif

#ifdef BL_HOPPER
/* The logarithm of what 64 rows are divided by, to base 2. */
static __device__ __forceinline__ void write_sums(float *to, int rows, const float (&m)[2], const float (&l)[2],
                                                  float by)
{
#pragma unroll
    for (int i = 0; i < 2; i++) {
        int r = threadIdx.x % GROUP / WARP * 16 + threadIdx.x % WARP / 4 + 8 * i;
        if (threadIdx.x % 4 == 0 && r < rows) to[r] = m[i] * by + log2f(l[i]);
    }
}
#endif

template <int DIM>
__global__ void __launch_bounds__(plan<DIM>::THREADS, 1) attend_hopper(bl_cu_attention a, float *sums)
{
#ifdef BL_HOPPER
    typedef plan<DIM> P;
    enum { N = P::FORWARD_KEYS, STAGES = P::FORWARD_STAGES, ROWS = P::ROWS, TILE_BYTES = N * DIM * 2 };
    extern __shared__ uint8_t shared[];
    __shared__ pipeline<STAGES> pipe;
    int seq, tile, head = blockIdx.x, kv = head / (a.heads / a.kv_heads), dim = a.head_dim;
    if (!find_tile(a.start, a.n_seq, gridDim.y - 1 - blockIdx.y, ROWS, &seq, &tile)) return;
    uint32_t at = pipeline_new(&pipe, P::GROUPS, shared);
    int row0 = a.start[seq] + tile * ROWS, rows = min(a.start[seq + 1] - row0, (int)ROWS);
    int pos0 = a.past[seq] + tile * ROWS, keys = pos0 + rows, tiles = (keys + N - 1) / N;
    int group = threadIdx.x / GROUP - 1;

    if (group < 0) {
        enum { EACH_ROW = DIM / 8, STEP = GROUP / EACH_ROW };
        registers_fewer<P::FORWARD_LOADING>();
        int t = threadIdx.x, c = t % EACH_ROW, r0 = t / EACH_ROW;
        const uint16_t *k = (const uint16_t *)a.k + (int64_t)kv * dim, *v = (const uint16_t *)a.v + (int64_t)kv * dim;
        uint32_t to = at + c / 8 * N * PANEL_ROW + r0 * PANEL_ROW + (c % 8 ^ r0 % 8) * 16;
        cursor where;
        enter(&where, a.seg + 2 * (int64_t)a.seg_start[seq], 0);
        for (int i = 0; i < tiles; i++) {
            int p = i * N;
            int64_t row = row_at(&where, p);
            uint32_t sk = i % STAGES * 2 * TILE_BYTES;
            wait_empty(&pipe, i);
            if (min(p + N, keys) <= where.end) { /* rows one after another */
                copy_tile<DIM, N>(at + sk, k + row * a.ldk, a.ldk, keys - p, dim, t);
                copy_tile<DIM, N>(at + sk + TILE_BYTES, v + row * a.ldv, a.ldv, keys - p, dim, t);
            } else {
#pragma unroll 1
                for (int r = 0; r < N / STEP; r++) {
                    bool there = p + r0 + r * STEP < keys && 8 * c < dim;
                    if (there) row = row_at(&where, p + r0 + r * STEP);
                    copy16(to + sk + r * STEP * PANEL_ROW, k + row * a.ldk + (there ? 8 * c : 0), there ? 16 : 0);
                    copy16(to + sk + TILE_BYTES + r * STEP * PANEL_ROW, v + row * a.ldv + (there ? 8 * c : 0),
                           there ? 16 : 0);
                }
            }
            barrier_arrive_copied(pipe.full + i % STAGES);
        }
    } else {
        registers_more<P::FORWARD_COMPUTING>();
        if (group == P::GROUPS - 1) turn_end<P::GROUPS>(group);
        row0 += group * GROUP_ROWS;
        pos0 += group * GROUP_ROWS;
        rows = min(rows - group * GROUP_ROWS, (int)GROUP_ROWS);
        int mine = rows > 0 ? (pos0 + rows + N - 1) / N : 0;
        int p0 = pos0 + threadIdx.x % GROUP / WARP * 16 + threadIdx.x % WARP / 4;
        const float by = a.scale * 1.44269504088896341f; /* exponentials in base 2 */
        float o[DIM / 8][4], m[2] = {-CUDART_INF_F, -CUDART_INF_F}, l[2] = {0, 0}, shrink[2];
        uint32_t q[DIM / 16][4];
        read_rows<DIM>(q, a.q + (int64_t)row0 * a.ldq + (int64_t)head * dim, a.ldq, rows, dim);
#pragma unroll
        for (int i = 0; i < DIM / 8; i++) o[i][0] = o[i][1] = o[i][2] = o[i][3] = 0;
        float s[N / 8][4];
        uint32_t p[N / 16][4];
        if (mine) {
            wait_full(&pipe, 0);
            turn_begin<P::GROUPS>(group);
            products_begin();
            scores<DIM, N>(s, q, at);
            products_commit();
            turn_end<P::GROUPS>(group);
            products_wait<0>();
            settled(s);
            soften<N>(s, m, l, shrink, 0, p0, N - 1 > pos0, by);
            narrow(p, s);
        }
        for (int i = 1; i < mine; i++) { /* scores of a tile while the one before is summed */
            uint32_t sk = at + i % STAGES * 2 * TILE_BYTES, before = at + (i - 1) % STAGES * 2 * TILE_BYTES;
            wait_full(&pipe, i);
            settled(o);
            turn_begin<P::GROUPS>(group);
            products_begin();
            scores<DIM, N>(s, q, sk);
            products_commit();
            weigh<DIM, N>(o, p, before + TILE_BYTES);
            products_commit();
            turn_end<P::GROUPS>(group);
            products_wait<1>();
            settled(s);
            soften<N>(s, m, l, shrink, i * N, p0, i * N + N - 1 > pos0, by);
            products_wait<0>();
            settled(o);
            release(&pipe, i - 1);
#pragma unroll
            for (int n = 0; n < DIM / 8; n++)
#pragma unroll
                for (int j = 0; j < 4; j++) o[n][j] *= shrink[j / 2];
            narrow(p, s);
        }
        if (mine) {
            settled(o);
            products_begin();
            weigh<DIM, N>(o, p, at + (mine - 1) % STAGES * 2 * TILE_BYTES + TILE_BYTES);
            products_commit();
            products_wait<0>();
            settled(o);
            release(&pipe, mine - 1);
        }
        pass<P::GROUPS, true>(&pipe, group, mine, tiles);
        l[0] = quad_sum(l[0]);
        l[1] = quad_sum(l[1]);
        write_rows<DIM>(a.y + (int64_t)row0 * a.ldy + (int64_t)head * dim, a.ldy, rows, dim, o, 1 / l[0], 1 / l[1]);
        if (sums) write_sums(sums + head * a.rows + row0, rows, m, l, by);
    }
#endif
}

template <int DIM> __global__ void __launch_bounds__(plan<DIM>::THREADS, 1) grad_queries_hopper(bl_cu_attention_grad a)
{
#ifdef BL_HOPPER
    typedef plan<DIM> P;
    enum { N = GROUP_ROWS, STAGES = P::STAGES, ROWS = P::ROWS, TILE_BYTES = N * DIM * 2 };
    extern __shared__ uint8_t shared[];
    __shared__ pipeline<STAGES> pipe;
    int seq, tile, head = blockIdx.x, kv = head / (a.heads / a.kv_heads), dim = a.head_dim;
    if (!find_tile(a.start, a.n_seq, gridDim.y - 1 - blockIdx.y, ROWS, &seq, &tile)) return;
    uint32_t at = pipeline_new(&pipe, P::GROUPS, shared);
    int first = a.start[seq], row0 = first + tile * ROWS, rows = min(a.start[seq + 1] - row0, (int)ROWS);
    int pos0 = tile * ROWS, keys = pos0 + rows, tiles = (keys + N - 1) / N, group = threadIdx.x / GROUP - 1;

    if (group < 0) {
        registers_fewer<P::LOADING>();
        const uint16_t *k = a.k + first * a.ldk + (int64_t)kv * dim, *v = a.v + first * a.ldv + (int64_t)kv * dim;
        for (int i = 0; i < tiles; i++, k += N * a.ldk, v += N * a.ldv) {
            uint32_t sk = at + i % STAGES * 2 * TILE_BYTES;
            wait_empty(&pipe, i);
            copy_tile<DIM, N>(sk, k, a.ldk, keys - i * N, dim, threadIdx.x);
            copy_tile<DIM, N>(sk + TILE_BYTES, v, a.ldv, keys - i * N, dim, threadIdx.x);
            barrier_arrive_copied(pipe.full + i % STAGES);
        }
    } else {
        registers_more<P::COMPUTING>();
        row0 += group * GROUP_ROWS;
        pos0 += group * GROUP_ROWS;
        rows = min(rows - group * GROUP_ROWS, (int)GROUP_ROWS);
        int mine = rows > 0 ? (pos0 + rows + N - 1) / N : 0;
        int lane = threadIdx.x % WARP, r0 = threadIdx.x % GROUP / WARP * 16;
        const float by = a.scale * 1.44269504088896341f;
        float o[DIM / 8][4], m[2] = {-CUDART_INF_F, -CUDART_INF_F}, l[2] = {0, 0}, shrink[2], given[2];
        uint32_t q[DIM / 16][4], dy[DIM / 16][4];
        read_rows<DIM>(q, a.q + (int64_t)row0 * a.ldq + (int64_t)head * dim, a.ldq, rows, dim);
        read_rows<DIM>(dy, a.dy + (int64_t)row0 * a.lddy + (int64_t)head * dim, a.lddy, rows, dim);
        {
            uint32_t y[DIM / 16][4];
            read_rows<DIM>(y, a.y + (int64_t)row0 * a.ldy + (int64_t)head * dim, a.ldy, rows, dim);
#pragma unroll
            for (int i = 0; i < 2; i++) {
                float sum = 0;
#pragma unroll
                for (int k = 0; k < DIM / 16; k++)
#pragma unroll
                    for (int j = i; j < 4; j += 2) {
                        sum = fmaf(__uint_as_float(y[k][j] << 16), __uint_as_float(dy[k][j] << 16), sum);
                        sum = fmaf(__uint_as_float(y[k][j] & 0xffff0000u), __uint_as_float(dy[k][j] & 0xffff0000u),
                                   sum);
                    }
                given[i] = quad_sum(sum);
            }
        }
#pragma unroll
        for (int i = 0; i < DIM / 8; i++) o[i][0] = o[i][1] = o[i][2] = o[i][3] = 0;
        for (int i = 0; i < mine; i++) {
            uint32_t sk = at + i % STAGES * 2 * TILE_BYTES;
            float s[N / 8][4], dp[N / 8][4];
            uint32_t ds[N / 16][4];
            wait_full(&pipe, i);
            products_begin();
            scores<DIM, N>(s, q, sk);
            products_commit();
            scores<DIM, N>(dp, dy, sk + TILE_BYTES);
            products_commit();
            products_wait<1>();
            settled(s);
            soften<N>(s, m, l, shrink, i * N, pos0 + r0 + lane / 4, i * N + N - 1 > pos0, by);
#pragma unroll
            for (int n = 0; n < DIM / 8; n++)
#pragma unroll
                for (int j = 0; j < 4; j++) o[n][j] *= shrink[j / 2];
            products_wait<0>();
            settled(dp);
#pragma unroll
            for (int n = 0; n < N / 8; n++)
#pragma unroll
                for (int j = 0; j < 4; j++) dp[n][j] = s[n][j] * (dp[n][j] - given[j / 2]);
            narrow(ds, dp);
            settled(o);
            products_begin();
            weigh<DIM, N>(o, ds, sk);
            products_commit();
            products_wait<0>();
            settled(o);
            release(&pipe, i);
        }
        pass<P::GROUPS, false>(&pipe, group, mine, tiles);
        l[0] = quad_sum(l[0]);
        l[1] = quad_sum(l[1]);
        write_rows<DIM>(a.dq + (int64_t)row0 * a.lddq + (int64_t)head * dim, a.lddq, rows, dim, o, a.scale / l[0],
                        a.scale / l[1]);
        write_sums(a.sums + head * a.rows + row0, rows, m, l, by);
#pragma unroll
        for (int i = 0; i < 2; i++) {
            int r = r0 + lane / 4 + 8 * i;
            if (lane % 4 == 0 && r < rows) a.given[head * a.rows + row0 + r] = given[i];
        }
    }
#endif
}

#ifdef BL_HOPPER
static __device__ __forceinline__ void cluster_meet(void)
{
    asm volatile("barrier.cluster.arrive.release;\nbarrier.cluster.wait.acquire;" ::: "memory");
}
static __device__ __forceinline__ float of_block(uint32_t at, int block)
{
    float v;
    asm volatile("{.reg .b32 r;\nmapa.shared::cluster.u32 r, %1, %2;\nld.shared::cluster.f32 %0, [r];}"
                 : "=f"(v)
                 : "r"(at), "r"(block)
                 : "memory");
    return v;
}
/* The sums d of the first of `split` blocks of a cluster become those of all, by way of shared memory at `at`. */
template <int N, int THREADS>
static __device__ __forceinline__ void gather_sums(float (&d)[N][4], uint32_t at, int part, int split)
{
    at += (threadIdx.x - GROUP) * sizeof(float);
    if (part)
#pragma unroll
        for (int i = 0; i < 4 * N; i++)
            asm volatile("st.shared.f32 [%0], %1;" ::"r"(at + i * THREADS * (uint32_t)sizeof(float)),
                         "f"(d[i / 4][i % 4])
                         : "memory");
    cluster_meet();
    for (int other = 1; other < split && !part; other++)
#pragma unroll
        for (int i = 0; i < 4 * N; i++) d[i / 4][i % 4] += of_block(at + i * THREADS * (uint32_t)sizeof(float), other);
}
#endif

#ifdef BL_HOPPER
/* Of `each` rows: all sequences' longest first, and a block that may be past the end of its own. */
static __device__ __forceinline__ bool take_tile(const bl_cu_attention_grad &a, int block, int each, int *seq,
                                                 int *tile)
{
    *seq = block % a.n_seq;
    *tile = block / a.n_seq;
    return *tile * each < a.start[*seq + 1] - a.start[*seq];
}
/* The gradient of 64 scores of a query group with 64 keys of a head, as its product with the keys reads it: a warp has
 * 16 queries, one after another 16 keys, and a lane four pairs of them. */
static __device__ __forceinline__ uint4 *kept_tile(const bl_cu_attention_grad &a, const bl_cu_kept &kept, int seq,
                                                   int head, int queries, int keys)
{
    const int of_kv = a.heads / a.kv_heads, at = seq * kept.kv_n * of_kv + head - kept.kv0 * of_kv;
    return (uint4 *)kept.at + (at * kept.tiles + queries * (queries + 1) / 2 + keys) * (BL_CU_KEPT_TILE / 16);
}
static __device__ __forceinline__ uint32_t turned(uint32_t v)
{
    uint32_t t;
    asm volatile("movmatrix.sync.aligned.m8n8.trans.b16 %0, %1;" : "=r"(t) : "r"(v));
    return t;
}
#endif

template <int DIM, bool KEEPS>
__global__ void __launch_bounds__(plan<DIM>::KEY_THREADS, 1)
    grad_keys_hopper(bl_cu_attention_grad a, int split, bl_cu_kept to)
{
#ifdef BL_HOPPER
    typedef plan<DIM> P;
    enum { N = GROUP_ROWS, STAGES = P::STAGES, ROWS = P::KEY_ROWS, TILE_BYTES = N * DIM * 2, STAGE = 2 * TILE_BYTES };
    extern __shared__ uint8_t shared[];
    __shared__ pipeline<STAGES> pipe;
    __shared__ __align__(16) float numbers[STAGES][2][N];
    int seq, tile, kv = (KEEPS ? to.kv0 : 0) + blockIdx.x / split, part = blockIdx.x % split,
                   of_kv = a.heads / a.kv_heads / split, head0 = (kv * split + part) * of_kv, dim = a.head_dim;
    if (!(KEEPS ? take_tile(a, blockIdx.y, ROWS, &seq, &tile)
                : find_tile(a.start, a.n_seq, blockIdx.y, ROWS, &seq, &tile)))
        return; /* all blocks of a cluster */
    uint32_t at = pipeline_new(&pipe, P::KEY_GROUPS, shared);
    int first = a.start[seq], all = a.start[seq + 1] - first, k0 = tile * ROWS, keys = min(all - k0, (int)ROWS);
    int tiles = (all - k0 + N - 1) / N, group = threadIdx.x / GROUP - 1; /* tiles of queries of one head */
    uint32_t sk = at, sv = at + ROWS * DIM * 2;
    const uint16_t *k = a.k + (first + k0) * a.ldk + (int64_t)kv * dim,
                   *v = a.v + (first + k0) * a.ldv + (int64_t)kv * dim;
    if (!P::KEYS_HELD) at += 2 * ROWS * DIM * 2;

    if (group < 0) {
        int t = threadIdx.x;
        registers_fewer<P::LOADING>();
        if (!P::KEYS_HELD) {
            copy_tile<DIM, ROWS>(sk, k, a.ldk, keys, dim, t);
            copy_tile<DIM, ROWS>(sv, v, a.ldv, keys, dim, t);
            barrier_arrive_copied(&pipe.once);
        }
        for (int i = 0; i < of_kv * tiles; i++) {
            int head = head0 + i / tiles, q0 = k0 + i % tiles * N, row = first + q0;
            uint32_t sq = at + i % STAGES * STAGE;
            wait_empty(&pipe, i);
            copy_tile<DIM, N>(sq, a.q + row * a.ldq + (int64_t)head * dim, a.ldq, all - q0, dim, t);
            copy_tile<DIM, N>(sq + TILE_BYTES, a.dy + row * a.lddy + (int64_t)head * dim, a.lddy, all - q0, dim, t);
            const float *from = (t < N ? a.sums : a.given) + head * a.rows + row;
            copy4(shared_at(&numbers[i % STAGES][t / N][t % N]), q0 + t % N < all ? from + t % N : from,
                  q0 + t % N < all ? 4 : 0);
            barrier_arrive_copied(pipe.full + i % STAGES);
        }
        for (int i = 0; split > 1 && i < 4; i++) cluster_meet();
    } else {
        registers_more<P::KEY_COMPUTING>();
        if (group == P::KEY_GROUPS - 1) turn_end<P::KEY_GROUPS>(group);
        int lane = threadIdx.x % WARP;
        const float by = a.scale * 1.44269504088896341f;
        float dk[DIM / 8][4], dv[DIM / 8][4];
#pragma unroll
        for (int i = 0; i < DIM / 8; i++)
#pragma unroll
            for (int j = 0; j < 4; j++) dk[i][j] = dv[i][j] = 0;
        k0 += group * GROUP_ROWS;
        keys = min(keys - group * GROUP_ROWS, (int)GROUP_ROWS);
        sk += group * GROUP_ROWS * PANEL_ROW;
        sv += group * GROUP_ROWS * PANEL_ROW;
        int key = threadIdx.x % GROUP / WARP * 16 + lane / 4; /* this thread's keys: this and that + 8 */
        uint32_t held[2][DIM / 16][4];
        if (P::KEYS_HELD) {
            read_rows<DIM>(held[0], k + group * GROUP_ROWS * a.ldk, a.ldk, keys, dim);
            read_rows<DIM>(held[1], v + group * GROUP_ROWS * a.ldv, a.ldv, keys, dim);
        } else {
            barrier_wait(&pipe.once, 0);
            written_for_products();
        }
        for (int h = 0; h < of_kv; h++) {
            int skip = keys > 0 ? group : tiles; /* tiles of queries before our keys */
            pass<P::KEY_GROUPS, true>(&pipe, group, h * tiles, h * tiles + skip);
            for (int above = skip; above < tiles; above++) { /* the first crosses the diagonal */
                int i = h * tiles + above;
                uint32_t sq = at + i % STAGES * STAGE;
                float s[N / 8][4], dp[N / 8][4];
                uint32_t p[N / 16][4];
                wait_full(&pipe, i);
                turn_begin<P::KEY_GROUPS>(group);
                products_begin();
                if (P::KEYS_HELD) scores<DIM, N>(s, held[0], sq);
                else scores<DIM, ROWS>(s, sk, sq);
                products_commit();
                if (P::KEYS_HELD) scores<DIM, N>(dp, held[1], sq + TILE_BYTES);
                else scores<DIM, ROWS>(dp, sv, sq + TILE_BYTES);
                products_commit();
                turn_end<P::KEY_GROUPS>(group);
                products_wait<1>();
                settled(s);
                const float2 *sum = (const float2 *)numbers[i % STAGES][0] + lane % 4,
                             *given = (const float2 *)numbers[i % STAGES][1] + lane % 4;
                if (above == skip)
#pragma unroll
                    for (int n = 0; n < N / 8; n++)
#pragma unroll
                        for (int j = 0; j < 4; j++)
                            if (key + j / 2 * 8 > n * 8 + lane % 4 * 2 + j % 2) s[n][j] = -CUDART_INF_F;
#pragma unroll
                for (int n = 0; n < N / 8; n++) {
                    float2 less = sum[n * 4];
#pragma unroll
                    for (int j = 0; j < 4; j++) s[n][j] = exp2_fast(fmaf(s[n][j], by, j % 2 ? -less.y : -less.x));
                }
                narrow(p, s);
                settled(dv);
                products_begin();
                weigh<DIM, N>(dv, p, sq + TILE_BYTES);
                products_commit();
                products_wait<1>();
                settled(dp);
#pragma unroll
                for (int n = 0; n < N / 8; n++) {
                    float2 less = given[n * 4];
#pragma unroll
                    for (int j = 0; j < 4; j++) dp[n][j] = s[n][j] * (dp[n][j] - (j % 2 ? less.y : less.x));
                }
                uint32_t ds[N / 16][4];
                uint4 kept[KEEPS ? N / 16 : 1];
                narrow(ds, dp);
                if (KEEPS)
#pragma unroll
                    for (int k = 0; k < N / 16; k++)
                        kept[k] = make_uint4(turned(ds[k][0]), turned(ds[k][2]), turned(ds[k][1]), turned(ds[k][3]));
                settled(dk);
                products_begin();
                weigh<DIM, N>(dk, ds, sq);
                products_commit();
                if (KEEPS) {
                    uint4 *here = kept_tile(a, to, seq, head0 + h, tile * P::KEY_GROUPS + above,
                                            tile * P::KEY_GROUPS + group) +
                                  threadIdx.x % GROUP;
#pragma unroll
                    for (int k = 0; k < N / 16; k++) here[k * GROUP] = kept[k];
                }
                products_wait<0>();
                settled(dk);
                settled(dv);
                release(&pipe, i);
            }
        }
        if (split > 1) { /* stages of all are used up, sums of keys are there and have been read, and of values */
            enum { THREADS = P::KEY_GROUPS * GROUP, BYTES = DIM / 2 * THREADS * 4 };
            static_assert(2 * BYTES <= STAGES * STAGE, "sums take the room of the stages");
            cluster_meet();
            gather_sums<DIM / 8, THREADS>(dk, at, part, split);
            gather_sums<DIM / 8, THREADS>(dv, at + BYTES, part, split);
            cluster_meet();
            if (part) return;
        }
        write_rows<DIM>(a.dk + (first + k0) * a.lddk + (int64_t)kv * dim, a.lddk, keys, dim, dk, a.scale, a.scale);
        write_rows<DIM>(a.dv + (first + k0) * a.lddv + (int64_t)kv * dim, a.lddv, keys, dim, dv, 1, 1);
    }
#endif
}

/* dq = scale ds k of what grad_keys_hopper has kept */
template <int DIM>
__global__ void __launch_bounds__(plan<DIM>::THREADS, 1) sum_queries_hopper(bl_cu_attention_grad a, bl_cu_kept kept)
{
#ifdef BL_HOPPER
    typedef plan<DIM> P;
    enum { N = GROUP_ROWS, STAGES = P::STAGES, ROWS = P::ROWS, TILE_BYTES = N * DIM * 2, AHEAD = 4 };
    extern __shared__ uint8_t shared[];
    __shared__ pipeline<STAGES> pipe;
    const int of_kv = a.heads / a.kv_heads, head = kept.kv0 * of_kv + blockIdx.x, kv = head / of_kv, dim = a.head_dim;
    int seq, tile;
    if (!take_tile(a, gridDim.y - 1 - blockIdx.y, ROWS, &seq, &tile)) return;
    uint32_t at = pipeline_new(&pipe, P::GROUPS, shared);
    int first = a.start[seq], row0 = first + tile * ROWS, rows = min(a.start[seq + 1] - row0, (int)ROWS);
    int keys = tile * ROWS + rows, tiles = (keys + N - 1) / N, group = threadIdx.x / GROUP - 1;

    if (group < 0) {
        registers_fewer<P::LOADING>();
        const uint16_t *k = a.k + first * a.ldk + (int64_t)kv * dim;
        for (int i = 0; i < tiles; i++, k += N * a.ldk) {
            wait_empty(&pipe, i);
            copy_tile<DIM, N>(at + i % STAGES * TILE_BYTES, k, a.ldk, keys - i * N, dim, threadIdx.x);
            barrier_arrive_copied(pipe.full + i % STAGES);
        }
    } else {
        registers_more<P::COMPUTING>();
        const int queries = tile * P::GROUPS + group, t = threadIdx.x % GROUP;
        row0 += group * GROUP_ROWS;
        rows = min(rows - group * GROUP_ROWS, (int)GROUP_ROWS);
        const int mine = rows > 0 ? queries + 1 : 0;
        const uint4 *from = kept_tile(a, kept, seq, head, queries, 0) + t / WARP * (N / 16 * WARP) + t % WARP;
        float o[DIM / 8][4];
        uint32_t ds[AHEAD][N / 16][4]; /* of this tile and those that come */
        auto read = [&](uint32_t(&to)[N / 16][4], int i) {
#pragma unroll
            for (int k = 0; k < N / 16; k++) {
                const uint4 v = i < mine ? __ldcs(from + i * (BL_CU_KEPT_TILE / 16) + k * WARP)
                                         : make_uint4(0, 0, 0, 0);
                to[k][0] = v.x, to[k][1] = v.y, to[k][2] = v.z, to[k][3] = v.w;
            }
        };
#pragma unroll
        for (int i = 0; i < AHEAD; i++) read(ds[i], i);
#pragma unroll
        for (int i = 0; i < DIM / 8; i++) o[i][0] = o[i][1] = o[i][2] = o[i][3] = 0;
        for (int i0 = 0; i0 < mine; i0 += AHEAD)
#pragma unroll
            for (int j = 0; j < AHEAD; j++) {
                const int i = i0 + j;
                if (i >= mine) break;
                wait_full(&pipe, i);
                settled(o);
                products_begin();
                weigh<DIM, N>(o, ds[j], at + i % STAGES * TILE_BYTES);
                products_commit();
                products_wait<0>();
                settled(o);
                release(&pipe, i);
                read(ds[j], i + AHEAD);
            }
        pass<P::GROUPS, false>(&pipe, group, mine, tiles);
        write_rows<DIM>(a.dq + (int64_t)row0 * a.lddq + (int64_t)head * dim, a.lddq, rows, dim, o, a.scale, a.scale);
    }
#endif
}

/* given = dy . y of a row and a head, by 16 threads */
__global__ void given_rows(bl_cu_attention_grad a)
{
    enum { EACH = 16 };
    const int64_t i = ((int64_t)blockIdx.x * blockDim.x + threadIdx.x) / EACH, row = i / a.heads;
    const int head = (int)(i % a.heads), d = threadIdx.x % EACH * 8;
    float sum = 0;
    if (row < a.rows && d < a.head_dim) {
        const uint4 u = *(const uint4 *)(a.y + row * a.ldy + (int64_t)head * a.head_dim + d),
                    v = *(const uint4 *)(a.dy + row * a.lddy + (int64_t)head * a.head_dim + d);
        const uint32_t y[4] = {u.x, u.y, u.z, u.w}, dy[4] = {v.x, v.y, v.z, v.w};
#pragma unroll
        for (int j = 0; j < 4; j++) {
            sum = fmaf(__uint_as_float(y[j] << 16), __uint_as_float(dy[j] << 16), sum);
            sum = fmaf(__uint_as_float(y[j] & 0xffff0000u), __uint_as_float(dy[j] & 0xffff0000u), sum);
        }
    }
#pragma unroll
    for (int o = EACH / 2; o; o /= 2) sum += __shfl_xor_sync(0xffffffffu, sum, o);
    if (row < a.rows && threadIdx.x % EACH == 0) a.given[head * a.rows + row] = sum;
}

static bool whole(const void *p, int64_t ld) { return ld % 8 == 0 && (uintptr_t)p % 16 == 0; }

static dim3 tiles(int heads, int64_t rows, int n_seq, int each)
{
    return dim3((unsigned)heads, (unsigned)((rows + each - 1) / each + n_seq));
}

template <int DIM> static void forward(bl_stream s, const bl_cu_attention *a, float *sums)
{
    typedef plan<DIM> P;
    int bytes = 1024 + 2 * P::FORWARD_STAGES * P::FORWARD_KEYS * DIM * 2;
    cudaFuncSetAttribute(attend_hopper<DIM>, cudaFuncAttributeMaxDynamicSharedMemorySize, bytes);
    attend_hopper<DIM><<<tiles(a->heads, a->rows, a->n_seq, P::ROWS), P::THREADS, (unsigned)bytes, s>>>(*a, sums);
}

/* Blocks of `each` rows, as take_tile deals them. */
static dim3 taken(int heads, const bl_cu_attention_grad *a, const bl_cu_kept *k, int each)
{
    return dim3((unsigned)heads, (unsigned)((k->longest + each - 1) / each * a->n_seq));
}

template <int DIM, bool KEEPS>
static void grad_keys(bl_stream s, const bl_cu_attention_grad *a, const bl_cu_kept *to, int bytes)
{
    enum { FILL = 256 }; /* a device, those of few queries beside those of many */
    const dim3 grid = KEEPS ? taken(to->kv_n, a, to, plan<DIM>::KEY_ROWS)
                            : tiles(a->kv_heads, a->rows, a->n_seq, plan<DIM>::KEY_ROWS);
    const int64_t blocks = (int64_t)grid.x * (KEEPS ? grid.y : grid.y - a->n_seq);
    int split = 1;
    while (split < 4 && blocks * split < FILL && a->heads / a->kv_heads % (2 * split) == 0) split *= 2;
    cudaLaunchAttribute cluster = {};
    cluster.id = cudaLaunchAttributeClusterDimension;
    cluster.val.clusterDim.x = (unsigned)split;
    cluster.val.clusterDim.y = cluster.val.clusterDim.z = 1;
    cudaLaunchConfig_t c = {};
    c.gridDim = dim3(grid.x * (unsigned)split, grid.y);
    c.blockDim = dim3(plan<DIM>::KEY_THREADS);
    c.dynamicSmemBytes = (size_t)bytes;
    c.stream = s;
    c.attrs = &cluster;
    c.numAttrs = split > 1 ? 1 : 0;
    cudaFuncSetAttribute(grad_keys_hopper<DIM, KEEPS>, cudaFuncAttributeMaxDynamicSharedMemorySize, bytes);
    cudaLaunchKernelEx(&c, grad_keys_hopper<DIM, KEEPS>, *a, split, *to);
}

template <int DIM> static void backward(bl_stream s, const bl_cu_attention_grad *a)
{
    typedef plan<DIM> P;
    int q = 1024 + 2 * P::STAGES * GROUP_ROWS * DIM * 2, k = q + (P::KEYS_HELD ? 0 : 2 * P::KEY_ROWS * DIM * 2);
    cudaFuncSetAttribute(grad_queries_hopper<DIM>, cudaFuncAttributeMaxDynamicSharedMemorySize, q);
    grad_queries_hopper<DIM><<<tiles(a->heads, a->rows, a->n_seq, P::ROWS), P::THREADS, (unsigned)q, s>>>(*a);
    const bl_cu_kept none = {};
    grad_keys<DIM, false>(s, a, &none, k);
}

template <int DIM> static void backward_kept(bl_stream s, const bl_cu_attention_grad *a, bl_cu_kept kept)
{
    typedef plan<DIM> P;
    const int tile = GROUP_ROWS * DIM * 2, q = 1024 + P::STAGES * tile,
              k = 1024 + 2 * P::STAGES * tile + (P::KEYS_HELD ? 0 : 2 * P::KEY_ROWS * DIM * 2), each = kept.kv_n;
    cudaFuncSetAttribute(sum_queries_hopper<DIM>, cudaFuncAttributeMaxDynamicSharedMemorySize, q);
    given_rows<<<(unsigned)((a->rows * a->heads * 16 + 255) / 256), 256, 0, s>>>(*a);
    for (; kept.kv0 < a->kv_heads; kept.kv0 += each) {
        kept.kv_n = a->kv_heads - kept.kv0 < each ? a->kv_heads - kept.kv0 : each;
        grad_keys<DIM, true>(s, a, &kept, k);
        const dim3 grid = taken(kept.kv_n * (a->heads / a->kv_heads), a, &kept, P::ROWS);
        sum_queries_hopper<DIM><<<grid, P::THREADS, (unsigned)q, s>>>(*a, kept);
    }
}

bool bl_cu_hopper(void)
{
#if BL_CUDA_HOPPER
    static int of = -1, major, minor; /* of the device that was asked last */
    int device = 0;
    cudaGetDevice(&device);
    if (device != of) {
        cudaDeviceGetAttribute(&major, cudaDevAttrComputeCapabilityMajor, device);
        cudaDeviceGetAttribute(&minor, cudaDevAttrComputeCapabilityMinor, of = device);
    }
    return major == 9 && minor == 0;
#else
    return false;
#endif
}

bool bl_cu_attention_summed(bl_stream s, const bl_cu_attention *a, float *sums)
{
    if (!bl_cu_hopper() || a->k_scale || a->head_dim <= 32 || a->head_dim > 128 || a->head_dim % 8) return false;
    if (!whole(a->q, a->ldq) || !whole(a->k, a->ldk) || !whole(a->v, a->ldv) || !whole(a->y, a->ldy)) return false;
    if (!a->rows || !a->n_seq) return true;
    if (a->head_dim <= 64) forward<64>(s, a, sums);
    else forward<128>(s, a, sums);
    return true;
}

bool bl_cu_attention_hopper(bl_stream s, const bl_cu_attention *a) { return bl_cu_attention_summed(s, a, NULL); }

static bool takes(const bl_cu_attention_grad *a)
{
    return bl_cu_hopper() && a->head_dim > 32 && a->head_dim <= 128 && a->head_dim % 8 == 0 && whole(a->q, a->ldq) &&
           whole(a->k, a->ldk) && whole(a->v, a->ldv) && whole(a->y, a->ldy) && whole(a->dy, a->lddy) &&
           whole(a->dq, a->lddq) && whole(a->dk, a->lddk) && whole(a->dv, a->lddv);
}

bool bl_cu_attention_grad_hopper(bl_stream s, const bl_cu_attention_grad *a)
{
    if (!takes(a)) return false;
    if (!a->rows || !a->n_seq) return true;
    if (a->head_dim <= 64) backward<64>(s, a);
    else backward<128>(s, a);
    return true;
}

bool bl_cu_attention_grad_kept(bl_stream s, const bl_cu_attention_grad *a, const bl_cu_kept *kept)
{
    if (!takes(a) || a->head_dim <= 64) return false;
    if (a->rows && a->n_seq) backward_kept<128>(s, a, *kept);
    return true;
}
