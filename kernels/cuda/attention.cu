/* attention.cu - causal attention with grouped heads over segments of a cache, memory linear in length.
 *
 * Tiles: 64 rows of a sequence and one head a block, four warps of 16 rows. Keys come in blocks of 64 aligned at
 * position 0; scores and weighted sums on tensor cores (bf16 in, f32 out), softmax online in f32. What a row gets does
 * not depend on the other rows of its tile nor on where in a tile it is: masked keys add exact zeros.
 *
 * Rows, for few rows: one row and one head of keys a block, with all query heads that share it; lanes share a key's
 * dimensions eight at a time. Keys are cut into parts, joined in order by a second kernel. In a step of decoding the
 * rotation of the query and of the newest key, and its way into the cache, are part of it.
 *
 * Keys and values in codes of 8, 4, 3 or 2 bits become bf16 of what they stand for on their way in: nothing is unpacked
 * to memory. Where rows of a tile see keys of a block as activations are, its scores are made twice, with either.
 */
#include "sequence.cuh"

/* Row of the cache that holds position p of a sequence whose segments begin at seg. */
static __device__ __forceinline__ int64_t cache_row(const int64_t *seg, int64_t p)
{
    while (p >= seg[1]) {
        p -= seg[1];
        seg += 2;
    }
    return seg[0] + p;
}

/* Eight numbers of a head in a row, from d on, a multiple of 8; zeros past the end. `fast`: whole vectors. */
static __device__ __forceinline__ uint4 load8(const void *base, int64_t ld, int64_t row, int head, int dim, int d,
                                              bool fast)
{
    uint4 v = {0, 0, 0, 0};
    uint16_t *o = (uint16_t *)&v;
    if (d >= dim) return v;
    const uint16_t *p = (const uint16_t *)base + row * ld + head * dim + d;
    if (fast) return *(const uint4 *)p;
#pragma unroll
    for (int j = 0; j < 8; j++) o[j] = d + j < dim ? p[j] : 0;
    return v;
}

/* Eight packed codes of a head from d on, a multiple of 8, a head's codes at p. */
static __device__ __forceinline__ uint64_t codes8(const uint8_t *p, int bits, int dim, int d)
{
    int bytes = (dim * bits + 7) / 8, at = d / 8 * bits;
    uint64_t codes = 0;
    for (int j = 0; j < bits; j++)
        if (at + j < bytes) codes |= (uint64_t)p[at + j] << 8 * j;
    return codes;
}

/* The same of the keys of a cache: codes become bf16 of what they stand for. */
static __device__ __forceinline__ uint4 key8(const bl_cu_attention &a, int64_t row, int head, int d, bool fast)
{
    const int dim = a.head_dim, bits = a.kv_bits;
    uint4 v = {0, 0, 0, 0};
    uint16_t *o = (uint16_t *)&v;
    if (!bits) return load8(a.k, a.ldk, row, head, dim, d, fast);
    if (d >= dim) return v;
    const uint64_t codes = codes8((const uint8_t *)a.k + row * a.ldk + (int64_t)head * ((dim * bits + 7) / 8), bits,
                                  dim, d);
    const uint16_t *s = (const uint16_t *)a.k_scale + row / BL_CU_KV_GROUP * a.ldks + (int64_t)head * 2 * dim + d;
#pragma unroll
    for (int j = 0; j < 8; j++)
        if (d + j < dim)
            o[j] = to_bf16(fmaf((float)(codes >> bits * j & ((1u << bits) - 1)), from_f16(s[j]), from_f16(s[dim + j])));
    return v;
}

/* And of the values. */
static __device__ __forceinline__ uint4 value8(const bl_cu_attention &a, int64_t row, int head, int d, bool fast)
{
    const int dim = a.head_dim, bits = a.kv_bits;
    uint4 v = {0, 0, 0, 0};
    uint16_t *o = (uint16_t *)&v;
    if (!bits) return load8(a.v, a.ldv, row, head, dim, d, fast);
    if (d >= dim) return v;
    if (bits == 8) {
        const int8_t *p = (const int8_t *)a.v + row * a.ldv + head * dim + d;
        float s = ((const float *)a.v_scale)[row * a.ldvs + head];
#pragma unroll
        for (int j = 0; j < 8; j++) o[j] = d + j < dim ? to_bf16((float)p[j] * s) : 0;
        return v;
    }
    const uint64_t codes = codes8((const uint8_t *)a.v + row * a.ldv + (int64_t)head * ((dim * bits + 7) / 8), bits,
                                  dim, d);
    int groups = (dim + BL_CU_KV_GROUP - 1) / BL_CU_KV_GROUP;
    const uint16_t *s = (const uint16_t *)a.v_scale + row * a.ldvs + (head * groups + d / BL_CU_KV_GROUP) * 2;
    float step = from_f16(s[0]), least = from_f16(s[1]);
#pragma unroll
    for (int j = 0; j < 8; j++)
        o[j] = d + j < dim ? to_bf16(fmaf((float)(codes >> bits * j & ((1u << bits) - 1)), step, least)) : 0;
    return v;
}

/* And of a key that sequence `seq` has as activations are. */
static __device__ __forceinline__ uint4 own8(const bl_cu_attention &a, int seq, int position, int head, int d)
{
    const int64_t tail = a.own[3 * seq], first = a.own[3 * seq + 1], row = a.own[3 * seq + 2];
    if (position >= first) return load8(a.fresh, a.ldf, row + position - first, head, a.head_dim, d, false);
    return load8(a.tail, a.ldt, tail + position % BL_CU_KV_GROUP, head, a.head_dim, d, false);
}

/* First position of the group that a position is in; past all where keys are no codes. */
static __device__ __forceinline__ int own_from(const bl_cu_attention &a, int position)
{
    return a.kv_bits ? position / BL_CU_KV_GROUP * BL_CU_KV_GROUP : INT_MAX;
}

/* Scores of a warp's 16 rows with the keys of a block. */
template <int DIM>
static __device__ __forceinline__ void tile_scores(float s[TILE / 8][4], const uint16_t *q, const uint16_t *k)
{
    enum { LD = DIM + 8 };
    const int lane = threadIdx.x % WARP;
#pragma unroll
    for (int i = 0; i < TILE / 8; i++) s[i][0] = s[i][1] = s[i][2] = s[i][3] = 0;
#pragma unroll
    for (int i = 0; i < DIM / 16; i++) {
        uint32_t x[4];
        load4(x, q + lane % 16 * LD + i * 16 + lane / 16 * 8);
#pragma unroll
        for (int n = 0; n < TILE / 16; n++) { /* 16 keys: two of 8 */
            uint32_t b[4];
            load4(b, k + (n * 16 + lane % 8 + lane / 16 * 8) * LD + i * 16 + lane / 8 % 2 * 8);
            mma(s[2 * n], x, b[0], b[1]);
            mma(s[2 * n + 1], x, b[2], b[3]);
        }
    }
}

template <int DIM> __global__ void __launch_bounds__(TILE_WARPS *WARP) attend_tiles(bl_cu_attention a)
{
    enum { LD = DIM + 8, THREADS = TILE_WARPS * WARP };
    extern __shared__ __align__(16) uint16_t shared[];
    uint16_t *sq = shared, *sk = sq + TILE * LD, *sv = sk + TILE * LD;
    __shared__ int64_t key_row[TILE];
    int seq, tile, head = blockIdx.y, kv = head / (a.heads / a.kv_heads), dim = a.head_dim;
    int warp = threadIdx.x / WARP, lane = threadIdx.x % WARP;
    if (!find_tile(a.start, a.n_seq, blockIdx.x, TILE, &seq, &tile)) return;

    int row0 = a.start[seq] + tile * TILE, rows = min(a.start[seq + 1] - row0, TILE);
    int pos0 = a.past[seq] + tile * TILE; /* of row 0 of the tile */
    const int64_t *seg = a.seg + 2 * (int64_t)a.seg_start[seq];
    bool fast_q = dim % 8 == 0 && a.ldq % 8 == 0 && (uintptr_t)a.q % 16 == 0;
    bool fast_kv = dim % 8 == 0 && a.ldk % 8 == 0 && a.ldv % 8 == 0 && ((uintptr_t)a.k | (uintptr_t)a.v) % 16 == 0;

    for (int i = threadIdx.x; i < TILE * (DIM / 8); i += THREADS) {
        int r = i / (DIM / 8), d = i % (DIM / 8) * 8;
        uint4 v = {0, 0, 0, 0};
        if (r < rows) v = load8(a.q, a.ldq, row0 + r, head, dim, d, fast_q);
        *(uint4 *)(sq + r * LD + d) = v;
    }

    float o[DIM / 8][4], m[2] = {-CUDART_INF_F, -CUDART_INF_F}, l[2] = {0, 0};
#pragma unroll
    for (int i = 0; i < DIM / 8; i++) o[i][0] = o[i][1] = o[i][2] = o[i][3] = 0;
    const float by = a.scale * 1.44269504088896341f; /* exponentials in base 2 */
    int keys = pos0 + rows;
    int r0 = warp * 16 + lane / 4, p0 = pos0 + r0; /* this thread's rows: r0 and r0 + 8 */

    for (int k0 = 0; k0 < keys; k0 += TILE) {
        __syncthreads(); /* the last block has been used */
        if (threadIdx.x < TILE) key_row[threadIdx.x] = k0 + threadIdx.x < keys ? cache_row(seg, k0 + threadIdx.x) : -1;
        __syncthreads();
        for (int i = threadIdx.x; i < TILE * (DIM / 8); i += THREADS) {
            int r = i / (DIM / 8), d = i % (DIM / 8) * 8;
            int64_t row = key_row[r];
            uint4 k = {0, 0, 0, 0}, v = {0, 0, 0, 0};
            if (row >= 0) {
                k = key8(a, row, kv, d, fast_kv);
                v = value8(a, row, kv, d, fast_kv);
            }
            *(uint4 *)(sk + r * LD + d) = k;
            *(uint4 *)(sv + r * LD + d) = v;
        }
        __syncthreads();

        float s[TILE / 8][4];
        tile_scores<DIM>(s, sq + warp * 16 * LD, sk);
        if (k0 + TILE > own_from(a, pos0)) { /* keys that some of the rows see as activations are */
            float own[TILE / 8][4];
            __syncthreads();
            for (int i = threadIdx.x; i < TILE * (DIM / 8); i += THREADS) {
                int r = i / (DIM / 8), d = i % (DIM / 8) * 8;
                uint4 k = {0, 0, 0, 0};
                if (k0 + r >= own_from(a, pos0) && k0 + r < keys) k = own8(a, seq, k0 + r, kv, d);
                *(uint4 *)(sk + r * LD + d) = k;
            }
            __syncthreads();
            tile_scores<DIM>(own, sq + warp * 16 * LD, sk);
#pragma unroll
            for (int n = 0; n < TILE / 8; n++)
#pragma unroll
                for (int j = 0; j < 4; j++)
                    if (k0 + n * 8 + lane % 4 * 2 + j % 2 >= own_from(a, p0 + j / 2 * 8)) s[n][j] = own[n][j];
        }

        float top[2] = {m[0], m[1]};
        look_back(s, k0, p0, by, top);
        float shrink[2];
#pragma unroll
        for (int i = 0; i < 2; i++) {
            top[i] = fmaxf(top[i], __shfl_xor_sync(0xffffffffu, top[i], 1));
            top[i] = fmaxf(top[i], __shfl_xor_sync(0xffffffffu, top[i], 2));
            if (top[i] == -CUDART_INF_F) top[i] = 0; /* nothing but infinities so far */
            shrink[i] = exp2f(m[i] - top[i]);
            m[i] = top[i];
            l[i] *= shrink[i];
        }
#pragma unroll
        for (int i = 0; i < DIM / 8; i++)
#pragma unroll
            for (int j = 0; j < 4; j++) o[i][j] *= shrink[j / 2];
#pragma unroll
        for (int n = 0; n < TILE / 8; n++)
#pragma unroll
            for (int j = 0; j < 4; j++) {
                s[n][j] = exp2f(s[n][j] - m[j / 2]);
                l[j / 2] += s[n][j];
            }
#pragma unroll
        for (int k = 0; k < TILE / 16; k++) { /* 16 keys */
            uint32_t p[4] = {pair(s[2 * k][0], s[2 * k][1]), pair(s[2 * k][2], s[2 * k][3]),
                             pair(s[2 * k + 1][0], s[2 * k + 1][1]), pair(s[2 * k + 1][2], s[2 * k + 1][3])};
#pragma unroll
            for (int n = 0; n < DIM / 16; n++) {
                uint32_t b[4];
                load4_turned(b, sv + (k * 16 + lane % 16) * LD + n * 16 + lane / 16 * 8);
                mma(o[2 * n], p, b[0], b[1]);
                mma(o[2 * n + 1], p, b[2], b[3]);
            }
        }
    }

#pragma unroll
    for (int i = 0; i < 2; i++) {
        l[i] += __shfl_xor_sync(0xffffffffu, l[i], 1);
        l[i] += __shfl_xor_sync(0xffffffffu, l[i], 2);
        int r = r0 + 8 * i;
        if (r >= rows) continue;
        uint16_t *y = a.y + (int64_t)(row0 + r) * a.ldy + (int64_t)head * dim;
        float inv = 1.0f / l[i];
#pragma unroll
        for (int n = 0; n < DIM / 8; n++)
#pragma unroll
            for (int j = 0; j < 2; j++) {
                int d = n * 8 + lane % 4 * 2 + j;
                if (d < dim) y[d] = to_bf16(o[n][2 * i + j] * inv);
            }
    }
}

template <int DIM> static void launch_tiles(bl_stream s, const bl_cu_attention *a)
{
    size_t bytes = 3 * TILE * (DIM + 8) * sizeof(uint16_t);
    dim3 grid((unsigned)((a->rows + TILE - 1) / TILE + a->n_seq), (unsigned)a->heads);
    cudaFuncSetAttribute(attend_tiles<DIM>, cudaFuncAttributeMaxDynamicSharedMemorySize, (int)bytes);
    attend_tiles<DIM><<<grid, TILE_WARPS * WARP, bytes, s>>>(*a);
}

void bl_cu_attention_tiles(bl_stream s, const bl_cu_attention *a)
{
    if (!a->rows || !a->n_seq) return;
    if (a->head_dim <= 32) launch_tiles<32>(s, a);
    else if (a->head_dim <= 64) launch_tiles<64>(s, a);
    else if (a->head_dim <= 128) launch_tiles<128>(s, a);
    else launch_tiles<256>(s, a);
}

/* ---- few rows ---- */

/* Eight numbers of a head from d0 on, all of whose numbers `lanes` lanes have, turned as rope turns them by c and s;
 * first: they are of the first half of the head. */
static __device__ __forceinline__ uint4 turned8(uint4 v, const float c[8], const float s[8], bool first, int lanes)
{
    uint4 other, out;
    other.x = __shfl_xor_sync(0xffffffffu, v.x, lanes / 2);
    other.y = __shfl_xor_sync(0xffffffffu, v.y, lanes / 2);
    other.z = __shfl_xor_sync(0xffffffffu, v.z, lanes / 2);
    other.w = __shfl_xor_sync(0xffffffffu, v.w, lanes / 2);
    const uint16_t *mine = (const uint16_t *)&v, *its = (const uint16_t *)&other;
    uint16_t *to = (uint16_t *)&out;
#pragma unroll
    for (int j = 0; j < 8; j++) {
        const float x = from_bf16(mine[j]), y = from_bf16(its[j]);
        to[j] = to_bf16(first ? x * c[j] - y * s[j] : x * c[j] + y * s[j]);
    }
    return out;
}

bool bl_cu_attention_steps(const bl_cu_attention *a)
{
    const uintptr_t all = (uintptr_t)a->q | (uintptr_t)a->k | (uintptr_t)a->v | (uintptr_t)a->new_k |
                          (uintptr_t)a->new_v | (uintptr_t)a->cos | (uintptr_t)a->sin;
    return !a->kv_bits && a->rows == a->n_seq && (a->head_dim == 64 || a->head_dim == 128 || a->head_dim == 256) &&
           (a->ldq | a->ldk | a->ldv | a->ldnk | a->ldnv) % 8 == 0 && a->ldcos % 4 == 0 && all % 16 == 0;
}

/* lanes: how many share a key, a power of two with 8 * lanes >= head_dim. HEADS: query heads that a block does, with so
 * many warps. part NULL: keys are one part, and what comes out is y. */
template <int HEADS, int WARPS>
__global__ void __launch_bounds__(WARPS *WARP) attend_rows(bl_cu_attention a, int lanes, float *part)
{
    extern __shared__ float merged[]; /* [warps][HEADS][head_dim + 2] */
    int dim = a.head_dim, of_kv = a.heads / a.kv_heads, chunks = (of_kv + HEADS - 1) / HEADS;
    int kv = blockIdx.y / chunks, h0 = kv * of_kv + blockIdx.y % chunks * HEADS;
    int n_heads = min(HEADS, (kv + 1) * of_kv - h0), splits = gridDim.z;
    int64_t row = blockIdx.x;
    let_next_begin();
    if (!a.new_k) wait_for_last(); /* a step: lists and keys before it were there before its first launch */
    int lo = 0, hi = a.n_seq;      /* the sequence with start[seq] <= row < start[seq + 1] */
    while (hi - lo > 1) {
        int mid = (lo + hi) / 2;
        if (a.start[mid] <= row) lo = mid;
        else hi = mid;
    }
    int seq = lo;
    if (row < a.start[seq] || row >= a.start[seq + 1]) return; /* a row of no sequence */
    int keys = a.past[seq] + (int)(row - a.start[seq]) + 1;
    int each = ((keys + splits - 1) / splits + TILE - 1) / TILE * TILE, first = blockIdx.z * each,
        end = min(first + each, keys);
    const int64_t *seg = a.seg + 2 * (int64_t)a.seg_start[seq];
    bool fast_q = dim % 8 == 0 && a.ldq % 8 == 0 && (uintptr_t)a.q % 16 == 0;
    bool fast = dim % 8 == 0 && a.ldk % 8 == 0 && a.ldv % 8 == 0 && ((uintptr_t)a.k | (uintptr_t)a.v) % 16 == 0;
    int lane = threadIdx.x % lanes, group = threadIdx.x / lanes, groups = WARPS * WARP / lanes, d0 = lane * 8;

    float q[HEADS][8], acc[HEADS][8], m[HEADS], l[HEADS];
    uint4 kk, vv, new_k, new_v; /* of the next key; of the newest, where it comes with its query */
    auto fetch = [&](int key) {
        kk = vv = make_uint4(0, 0, 0, 0);
        if (key >= end || (a.new_k && key == keys - 1)) return;
        int64_t at = cache_row(seg, key);
        kk = key >= own_from(a, keys - 1) ? own8(a, seq, key, kv, d0) : key8(a, at, kv, d0, fast);
        vv = value8(a, at, kv, d0, fast);
    };
    fetch(first + group);
    uint4 query[HEADS]; /* all that the kernel before wrote is asked for at once */
    float c8[8], s8[8];
    const bool first_half = d0 < dim / 2;
    if (a.new_k) {
        const int64_t place = a.pos[row] * a.ldcos + d0 % (dim / 2), to = a.to[row];
#pragma unroll
        for (int j = 0; j < 8; j += 4) {
            *(float4 *)(c8 + j) = *(const float4 *)(a.cos + place + j);
            *(float4 *)(s8 + j) = *(const float4 *)(a.sin + place + j);
        }
        wait_for_last();
        new_k = load8(a.new_k, a.ldnk, row, kv, dim, d0, true);
        new_v = load8(a.new_v, a.ldnv, row, kv, dim, d0, true);
#pragma unroll
        for (int h = 0; h < HEADS; h++) query[h] = load8(a.q, a.ldq, row, h0 + min(h, n_heads - 1), dim, d0, fast_q);
        new_k = turned8(new_k, c8, s8, first_half, lanes);
        if (blockIdx.z == 0 && blockIdx.y % chunks == 0 && group == 0) {
            *(uint4 *)((uint16_t *)a.k + to * a.ldk + kv * dim + d0) = new_k;
            *(uint4 *)((uint16_t *)a.v + to * a.ldv + kv * dim + d0) = new_v;
        }
    } else {
#pragma unroll
        for (int h = 0; h < HEADS; h++) query[h] = load8(a.q, a.ldq, row, h0 + min(h, n_heads - 1), dim, d0, fast_q);
    }
#pragma unroll
    for (int h = 0; h < HEADS; h++) {
        const uint4 v = a.new_k ? turned8(query[h], c8, s8, first_half, lanes) : query[h];
#pragma unroll
        for (int j = 0; j < 8; j++) {
            q[h][j] = from_bf16(((uint16_t *)&v)[j]) * a.scale * 1.44269504088896341f;
            acc[h][j] = 0;
        }
        m[h] = -CUDART_INF_F;
        l[h] = 0;
    }
    /* All lanes of a warp go round together: the shuffles need them. */
    for (int k0 = first; k0 < end; k0 += groups) {
        int key = k0 + group;
        float kf[8], vf[8];
        if (a.new_k && key == keys - 1) {
            kk = new_k;
            vv = new_v;
        }
#pragma unroll
        for (int j = 0; j < 8; j++) {
            kf[j] = from_bf16(((uint16_t *)&kk)[j]);
            vf[j] = from_bf16(((uint16_t *)&vv)[j]);
        }
        fetch(key + groups);
#pragma unroll
        for (int h = 0; h < HEADS; h++) {
            float s = 0;
#pragma unroll
            for (int j = 0; j < 8; j++) s = fmaf(q[h][j], kf[j], s);
            for (int o = lanes / 2; o; o /= 2) s += __shfl_xor_sync(0xffffffffu, s, o);
            if (key >= end) continue;
            float top = fmaxf(m[h], s);
            if (top == -CUDART_INF_F) top = 0;
            float shrink = exp2f(m[h] - top), p = exp2f(s - top);
            m[h] = top;
            l[h] = l[h] * shrink + p;
#pragma unroll
            for (int j = 0; j < 8; j++) acc[h][j] = fmaf(p, vf[j], acc[h][j] * shrink);
        }
    }
    const int warp = threadIdx.x / WARP;
#pragma unroll
    for (int h = 0; h < HEADS; h++) {
        for (int o = lanes; o < WARP; o *= 2) { /* the groups of a warp */
            const float its = __shfl_xor_sync(0xffffffffu, m[h], o), top = fmaxf(m[h], its),
                        by = m[h] == -CUDART_INF_F ? 0 : exp2f(m[h] - top),
                        by_its = its == -CUDART_INF_F ? 0 : exp2f(its - top);
            l[h] = l[h] * by + __shfl_xor_sync(0xffffffffu, l[h], o) * by_its;
#pragma unroll
            for (int j = 0; j < 8; j++)
                acc[h][j] = acc[h][j] * by + __shfl_xor_sync(0xffffffffu, acc[h][j], o) * by_its;
            m[h] = top;
        }
        float *o = merged + (warp * HEADS + h) * (dim + 2);
        if (threadIdx.x % WARP >= lanes) continue;
#pragma unroll
        for (int j = 0; j < 8; j++)
            if (d0 + j < dim) o[d0 + j] = acc[h][j];
        if (lane == 0) {
            o[dim] = m[h];
            o[dim + 1] = l[h];
        }
    }
    __syncthreads();
    for (int i = threadIdx.x; i < n_heads * dim; i += WARPS * WARP) {
        int h = i / dim, d = i % dim;
        float top = -CUDART_INF_F, sum = 0, y = 0;
#pragma unroll
        for (int w = 0; w < WARPS; w++) top = fmaxf(top, merged[(w * HEADS + h) * (dim + 2) + dim]);
#pragma unroll
        for (int w = 0; w < WARPS; w++) {
            const float *o = merged + (w * HEADS + h) * (dim + 2);
            float f = o[dim] == -CUDART_INF_F ? 0 : exp2f(o[dim] - top);
            sum += f * o[dim + 1];
            y += f * o[d];
        }
        if (!part) {
            a.y[row * a.ldy + (int64_t)(h0 + h) * dim + d] = to_bf16(y / sum);
            continue;
        }
        float *out = part + ((row * a.heads + h0 + h) * splits + blockIdx.z) * (dim + 2);
        out[d] = y;
        if (d == 0) {
            out[dim] = top;
            out[dim + 1] = sum;
        }
    }
}

__global__ void join_rows(bl_cu_attention a, int splits, const float *part)
{
    int dim = a.head_dim, head = blockIdx.y;
    int64_t row = blockIdx.x;
    take_turn();
    if (row < a.start[0] || row >= a.start[a.n_seq]) return;
    const float *p = part + (row * a.heads + head) * splits * (dim + 2);
    float top = -CUDART_INF_F, sum = 0;
    for (int s = 0; s < splits; s++) top = fmaxf(top, p[s * (dim + 2) + dim]);
    for (int s = 0; s < splits; s++) {
        float mine = p[s * (dim + 2) + dim];
        if (mine != -CUDART_INF_F) sum += exp2f(mine - top) * p[s * (dim + 2) + dim + 1];
    }
    for (int d = threadIdx.x; d < dim; d += blockDim.x) {
        float y = 0;
        for (int s = 0; s < splits; s++) {
            float mine = p[s * (dim + 2) + dim];
            if (mine != -CUDART_INF_F) y += exp2f(mine - top) * p[s * (dim + 2) + d];
        }
        a.y[row * a.ldy + (int64_t)head * dim + d] = to_bf16(y / sum);
    }
}

template <int HEADS, int WARPS> static void launch_rows(bl_stream s, const bl_cu_attention *a, int splits, float *part)
{
    int lanes = 4, of_kv = a->heads / a->kv_heads, chunks = (of_kv + HEADS - 1) / HEADS;
    while (8 * lanes < a->head_dim) lanes *= 2;
    size_t bytes = (size_t)WARPS * HEADS * (size_t)(a->head_dim + 2) * sizeof(float);
    dim3 grid((unsigned)a->rows, (unsigned)(a->kv_heads * chunks), (unsigned)splits);
    launch_early(attend_rows<HEADS, WARPS>, grid, WARPS * WARP, bytes, s, *a, lanes, splits > 1 ? part : NULL);
}

/* Query heads that share keys also share reading them, but where that makes few blocks each has its own. */
void bl_cu_attention_rows(bl_stream s, const bl_cu_attention *a, int splits, float *part)
{
    enum { FEW = 128 };
    if (!a->rows || !a->n_seq) return;
    if (a->heads == a->kv_heads || a->rows * a->heads * splits <= FEW) launch_rows<1, 16>(s, a, splits, part);
    else launch_rows<4, 8>(s, a, splits, part);
    if (splits > 1)
        launch_early(join_rows, dim3((unsigned)a->rows, (unsigned)a->heads), a->head_dim <= 64 ? 64 : 128, 0, s, *a,
                     splits, part);
}
