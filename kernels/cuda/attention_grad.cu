/* attention_grad.cu - the gradient of causal attention without its scores: they are computed again, tile by tile (as
 * Dao 2023, arXiv 2307.08691, section 3.1.2), on tensor cores: bf16 in, f32 out.
 *
 * Tiles of 64 rows of a sequence. Each of three launches owns what it writes, so the result is the same every time:
 *
 *     rows   for every row and head log2 of the sum of its exponentials, and dy . y
 *     dq     a tile of queries and a head; goes over the keys before it
 *     dk dv  a tile of keys and a head of keys; goes over the queries after it, of all heads that share it
 */
#include "sequence.cuh"

enum { THREADS = TILE_WARPS * WARP };

/* Eight numbers of a head from d on; zeros past the end. `fast`: whole vectors. */
static __device__ __forceinline__ uint4 load8(const uint16_t *p, int dim, int d, bool fast)
{
    uint4 v = {0, 0, 0, 0};
    uint16_t *o = (uint16_t *)&v;
    if (d >= dim) return v;
    if (fast) return *(const uint4 *)(p + d);
#pragma unroll
    for (int j = 0; j < 8; j++) o[j] = d + j < dim ? p[d + j] : 0;
    return v;
}

static __device__ __forceinline__ bool whole(const uint16_t *p, int64_t ld, int dim)
{
    return dim % 8 == 0 && ld % 8 == 0 && (uintptr_t)p % 16 == 0;
}

/* A tile of one head into shared memory; what is past its rows is zero. */
template <int DIM>
static __device__ __forceinline__ void fetch(uint16_t *to, const uint16_t *from, int64_t ld, int64_t row0, int rows,
                                             int head, int dim)
{
    enum { LD = DIM + 8 };
    bool fast = whole(from, ld, dim);
    for (int i = threadIdx.x; i < TILE * (DIM / 8); i += THREADS) {
        int r = i / (DIM / 8), d = i % (DIM / 8) * 8;
        uint4 v = {0, 0, 0, 0};
        if (r < rows) v = load8(from + (row0 + r) * ld + (int64_t)head * dim, dim, d, fast);
        *(uint4 *)(to + r * LD + d) = v;
    }
}

/* s [16 rows of a from row a0, 64 rows of b] = a bt */
template <int DIM>
static __device__ __forceinline__ void scores(float s[TILE / 8][4], const uint16_t *a, int a0, const uint16_t *b)
{
    enum { LD = DIM + 8 };
    int lane = threadIdx.x % WARP;
#pragma unroll
    for (int i = 0; i < TILE / 8; i++) s[i][0] = s[i][1] = s[i][2] = s[i][3] = 0;
#pragma unroll
    for (int k = 0; k < DIM / 16; k++) {
        uint32_t x[4];
        load4(x, a + (a0 + lane % 16) * LD + k * 16 + lane / 16 * 8);
#pragma unroll
        for (int n = 0; n < TILE / 16; n++) {
            uint32_t y[4];
            load4(y, b + (n * 16 + lane % 8 + lane / 16 * 8) * LD + k * 16 + lane / 8 % 2 * 8);
            mma(s[2 * n], x, y[0], y[1]);
            mma(s[2 * n + 1], x, y[2], y[3]);
        }
    }
}

/* o [16, OUT] += bf16(p) [16, 64] b [64, OUT], columns of b from c0 */
template <int DIM, int OUT>
static __device__ __forceinline__ void weigh(float o[OUT / 8][4], const float p[TILE / 8][4], const uint16_t *b, int c0)
{
    enum { LD = DIM + 8 };
    int lane = threadIdx.x % WARP;
#pragma unroll
    for (int k = 0; k < TILE / 16; k++) {
        uint32_t x[4] = {pair(p[2 * k][0], p[2 * k][1]), pair(p[2 * k][2], p[2 * k][3]),
                         pair(p[2 * k + 1][0], p[2 * k + 1][1]), pair(p[2 * k + 1][2], p[2 * k + 1][3])};
#pragma unroll
        for (int n = 0; n < OUT / 16; n++) {
            uint32_t y[4];
            load4_turned(y, b + (k * 16 + lane % 16) * LD + c0 + n * 16 + lane / 16 * 8);
            mma(o[2 * n], x, y[0], y[1]);
            mma(o[2 * n + 1], x, y[2], y[3]);
        }
    }
}

/* Rows r0 + lane / 4 and that + 8 of a tile from row row0 on, columns c0 .. of a head. */
template <int OUT>
static __device__ __forceinline__ void store(uint16_t *to, int64_t ld, int64_t row0, int r0, int rows, int head,
                                             int dim, int c0, const float o[OUT / 8][4], float by)
{
    int lane = threadIdx.x % WARP;
#pragma unroll
    for (int i = 0; i < 2; i++) {
        int r = r0 + lane / 4 + 8 * i;
        if (r >= rows) continue;
        uint16_t *y = to + (row0 + r) * ld + (int64_t)head * dim;
#pragma unroll
        for (int n = 0; n < OUT / 8; n++)
#pragma unroll
            for (int j = 0; j < 2; j++) {
                int d = c0 + n * 8 + lane % 4 * 2 + j;
                if (d < dim) y[d] = to_bf16(o[n][2 * i + j] * by);
            }
    }
}

template <int DIM> __global__ void __launch_bounds__(THREADS) grad_rows(bl_cu_attention_grad a)
{
    enum { LD = DIM + 8 };
    extern __shared__ __align__(16) uint16_t shared[];
    uint16_t *sq = shared, *sk = sq + TILE * LD;
    int seq, tile, head = blockIdx.y, kv = head / (a.heads / a.kv_heads), dim = a.head_dim;
    int warp = threadIdx.x / WARP, lane = threadIdx.x % WARP;
    if (!find_tile(a.start, a.n_seq, blockIdx.x, TILE, &seq, &tile)) return;
    int first = a.start[seq], row0 = first + tile * TILE, rows = min(a.start[seq + 1] - row0, TILE);
    const float by = a.scale * 1.44269504088896341f;
    int p0 = tile * TILE + warp * 16 + lane / 4; /* this thread's positions: p0 and p0 + 8 */
    float m[2] = {-CUDART_INF_F, -CUDART_INF_F}, l[2] = {0, 0};
    fetch<DIM>(sq, a.q, a.ldq, row0, rows, head, dim);
    for (int k0 = 0; k0 <= tile * TILE; k0 += TILE) {
        float s[TILE / 8][4];
        __syncthreads();
        fetch<DIM>(sk, a.k, a.ldk, first + k0, min(a.start[seq + 1] - first - k0, (int)TILE), kv, dim);
        __syncthreads();
        scores<DIM>(s, sq, warp * 16, sk);
        float top[2] = {m[0], m[1]};
        look_back(s, k0, p0, by, top);
#pragma unroll
        for (int i = 0; i < 2; i++) {
            top[i] = fmaxf(top[i], __shfl_xor_sync(0xffffffffu, top[i], 1));
            top[i] = fmaxf(top[i], __shfl_xor_sync(0xffffffffu, top[i], 2));
            if (top[i] == -CUDART_INF_F) top[i] = 0;
            l[i] *= exp2f(m[i] - top[i]);
            m[i] = top[i];
        }
#pragma unroll
        for (int n = 0; n < TILE / 8; n++)
#pragma unroll
            for (int j = 0; j < 4; j++) l[j / 2] += exp2f(s[n][j] - m[j / 2]);
    }
#pragma unroll
    for (int i = 0; i < 2; i++) {
        l[i] += __shfl_xor_sync(0xffffffffu, l[i], 1);
        l[i] += __shfl_xor_sync(0xffffffffu, l[i], 2);
        int r = warp * 16 + lane / 4 + 8 * i;
        if (r < rows && lane % 4 == 0) a.sums[((int64_t)row0 + r) * a.heads + head] = m[i] + log2f(l[i]);
    }
    for (int r = warp; r < rows; r += TILE_WARPS) {
        const uint16_t *y = a.y + (int64_t)(row0 + r) * a.ldy + (int64_t)head * dim,
                       *dy = a.dy + (int64_t)(row0 + r) * a.lddy + (int64_t)head * dim;
        float dot = 0;
        for (int d = lane; d < dim; d += WARP) dot = fmaf(from_bf16(dy[d]), from_bf16(y[d]), dot);
        dot = warp_sum(dot);
        if (lane == 0) a.given[((int64_t)row0 + r) * a.heads + head] = dot;
    }
}

template <int DIM> __global__ void __launch_bounds__(THREADS) grad_queries(bl_cu_attention_grad a)
{
    enum { LD = DIM + 8 };
    extern __shared__ __align__(16) uint16_t shared[];
    uint16_t *sq = shared, *sd = sq + TILE * LD, *sk = sd + TILE * LD, *sv = sk + TILE * LD;
    int seq, tile, head = blockIdx.y, kv = head / (a.heads / a.kv_heads), dim = a.head_dim;
    int warp = threadIdx.x / WARP, lane = threadIdx.x % WARP;
    if (!find_tile(a.start, a.n_seq, blockIdx.x, TILE, &seq, &tile)) return;
    int first = a.start[seq], row0 = first + tile * TILE, rows = min(a.start[seq + 1] - row0, TILE);
    const float by = a.scale * 1.44269504088896341f;
    int r0 = warp * 16 + lane / 4;
    float sum[2], given[2], o[DIM / 8][4];
#pragma unroll
    for (int i = 0; i < 2; i++) {
        int64_t at = ((int64_t)row0 + r0 + 8 * i) * a.heads + head;
        bool there = r0 + 8 * i < rows;
        sum[i] = there ? a.sums[at] : 0;
        given[i] = there ? a.given[at] : 0;
    }
#pragma unroll
    for (int i = 0; i < DIM / 8; i++) o[i][0] = o[i][1] = o[i][2] = o[i][3] = 0;
    fetch<DIM>(sq, a.q, a.ldq, row0, rows, head, dim);
    fetch<DIM>(sd, a.dy, a.lddy, row0, rows, head, dim);
    for (int k0 = 0; k0 <= tile * TILE; k0 += TILE) {
        float s[TILE / 8][4], dp[TILE / 8][4];
        int keys = min(a.start[seq + 1] - first - k0, (int)TILE);
        __syncthreads();
        fetch<DIM>(sk, a.k, a.ldk, first + k0, keys, kv, dim);
        fetch<DIM>(sv, a.v, a.ldv, first + k0, keys, kv, dim);
        __syncthreads();
        scores<DIM>(s, sq, warp * 16, sk);
        scores<DIM>(dp, sd, warp * 16, sv);
#pragma unroll
        for (int n = 0; n < TILE / 8; n++)
#pragma unroll
            for (int j = 0; j < 4; j++) {
                int key = k0 + n * 8 + lane % 4 * 2 + j % 2, i = j / 2;
                float p = key <= tile * TILE + r0 + 8 * i ? exp2f(s[n][j] * by - sum[i]) : 0;
                s[n][j] = p * (dp[n][j] - given[i]);
            }
        weigh<DIM, DIM>(o, s, sk, 0);
    }
    store<DIM>(a.dq, a.lddq, row0, warp * 16, rows, head, dim, 0, o, a.scale);
}

/* Columns of dk and dv: OUT from blockIdx.z * OUT on. */
template <int DIM, int OUT> __global__ void __launch_bounds__(THREADS) grad_keys(bl_cu_attention_grad a)
{
    enum { LD = DIM + 8 };
    extern __shared__ __align__(16) uint16_t shared[];
    uint16_t *sk = shared, *sv = sk + TILE * LD, *sq = sv + TILE * LD, *sd = sq + TILE * LD;
    __shared__ float sum[TILE], given[TILE];
    int seq, tile, kv = blockIdx.y, of_kv = a.heads / a.kv_heads, dim = a.head_dim, c0 = blockIdx.z * OUT;
    int warp = threadIdx.x / WARP, lane = threadIdx.x % WARP;
    if (!find_tile(a.start, a.n_seq, blockIdx.x, TILE, &seq, &tile)) return;
    int first = a.start[seq], all = a.start[seq + 1] - first, k0 = tile * TILE, keys = min(all - k0, (int)TILE);
    const float by = a.scale * 1.44269504088896341f;
    float dk[OUT / 8][4], dv[OUT / 8][4];
#pragma unroll
    for (int i = 0; i < OUT / 8; i++)
#pragma unroll
        for (int j = 0; j < 4; j++) dk[i][j] = dv[i][j] = 0;
    fetch<DIM>(sk, a.k, a.ldk, first + k0, keys, kv, dim);
    fetch<DIM>(sv, a.v, a.ldv, first + k0, keys, kv, dim);
    for (int head = kv * of_kv; head < (kv + 1) * of_kv; head++)
        for (int q0 = k0; q0 < all; q0 += TILE) {
            float s[TILE / 8][4], dp[TILE / 8][4];
            int rows = min(all - q0, (int)TILE);
            __syncthreads();
            fetch<DIM>(sq, a.q, a.ldq, first + q0, rows, head, dim);
            fetch<DIM>(sd, a.dy, a.lddy, first + q0, rows, head, dim);
            if (threadIdx.x < TILE) {
                int64_t at = ((int64_t)first + q0 + threadIdx.x) * a.heads + head;
                sum[threadIdx.x] = threadIdx.x < rows ? a.sums[at] : CUDART_INF_F; /* past the end: nothing */
                given[threadIdx.x] = threadIdx.x < rows ? a.given[at] : 0;
            }
            __syncthreads();
            scores<DIM>(s, sk, warp * 16, sq);
            scores<DIM>(dp, sv, warp * 16, sd);
#pragma unroll
            for (int n = 0; n < TILE / 8; n++)
#pragma unroll
                for (int j = 0; j < 4; j++) {
                    int r = n * 8 + lane % 4 * 2 + j % 2, key = k0 + warp * 16 + lane / 4 + j / 2 * 8;
                    s[n][j] = key <= q0 + r ? exp2f(s[n][j] * by - sum[r]) : 0;
                    dp[n][j] = s[n][j] * (dp[n][j] - given[r]);
                }
            weigh<DIM, OUT>(dv, s, sd, c0);
            weigh<DIM, OUT>(dk, dp, sq, c0);
        }
    store<OUT>(a.dk, a.lddk, first + k0, warp * 16, keys, kv, dim, c0, dk, a.scale);
    store<OUT>(a.dv, a.lddv, first + k0, warp * 16, keys, kv, dim, c0, dv, 1);
}

template <int DIM, int OUT> static void launch(bl_stream s, const bl_cu_attention_grad *a)
{
    size_t tile = TILE * (DIM + 8) * sizeof(uint16_t);
    unsigned tiles = (unsigned)((a->rows + TILE - 1) / TILE + a->n_seq);
    dim3 heads(tiles, (unsigned)a->heads), kv_heads(tiles, (unsigned)a->kv_heads, DIM / OUT);
    cudaFuncSetAttribute(grad_rows<DIM>, cudaFuncAttributeMaxDynamicSharedMemorySize, (int)(2 * tile));
    cudaFuncSetAttribute(grad_queries<DIM>, cudaFuncAttributeMaxDynamicSharedMemorySize, (int)(4 * tile));
    cudaFuncSetAttribute(grad_keys<DIM, OUT>, cudaFuncAttributeMaxDynamicSharedMemorySize, (int)(4 * tile));
    grad_rows<DIM><<<heads, THREADS, 2 * tile, s>>>(*a);
    grad_queries<DIM><<<heads, THREADS, 4 * tile, s>>>(*a);
    grad_keys<DIM, OUT><<<kv_heads, THREADS, 4 * tile, s>>>(*a);
}

size_t bl_cu_attention_grad_shared(int64_t head_dim)
{
    int64_t dim = head_dim <= 32 ? 32 : head_dim <= 64 ? 64 : head_dim <= 128 ? 128 : 256;
    return (size_t)(4 * TILE * (dim + 8)) * sizeof(uint16_t) + 2 * TILE * sizeof(float);
}

void bl_cu_attention_grad_tiles(bl_stream s, const bl_cu_attention_grad *a)
{
    if (!a->rows || !a->n_seq) return;
    if (a->head_dim <= 32) launch<32, 32>(s, a);
    else if (a->head_dim <= 64) launch<64, 64>(s, a);
    else if (a->head_dim <= 128) launch<128, 64>(s, a);
    else launch<256, 64>(s, a);
}
