/* backward.cu - gradients that go row by row, column by column or element by element. Sums over rows are in f32: runs
 * of PART_ROWS, and those in order, so they are the same every time. */
#include "device.cuh"

enum { PART_ROWS = 512, COLUMNS = 32, LINES = 8 };

int64_t bl_cu_parts(int64_t rows) { return (rows + PART_ROWS - 1) / PART_ROWS; }

/* parts [.., n]: sums over a run of rows of dy, or of by x dy. */
template <typename T>
__global__ void column_parts(const T *dy, int64_t ldy, const uint16_t *x, int64_t ldx, const float *by, int64_t rows,
                             int64_t n, float *parts)
{
    __shared__ float tmp[LINES][COLUMNS];
    int64_t c = (int64_t)blockIdx.x * COLUMNS + threadIdx.x, r0 = (int64_t)blockIdx.y * PART_ROWS,
            end = r0 + PART_ROWS < rows ? r0 + PART_ROWS : rows;
    float sum = 0;
    if (c < n)
        for (int64_t r = r0 + threadIdx.y; r < end; r += LINES) {
            float v = sizeof(T) == 4 ? (float)dy[r * ldy + c] : from_bf16((uint16_t)dy[r * ldy + c]);
            sum = x ? fmaf(by[r] * from_bf16(x[r * ldx + c]), v, sum) : sum + v;
        }
    tmp[threadIdx.y][threadIdx.x] = sum;
    __syncthreads();
    if (threadIdx.y || c >= n) return;
    for (int i = 1; i < LINES; i++) sum += tmp[i][threadIdx.x];
    parts[blockIdx.y * n + c] = sum;
}

__global__ void column_join(const float *parts, int64_t count, int64_t n, float alpha, float *to)
{
    EACH(c, n)
    {
        float sum = 0;
        for (int64_t i = 0; i < count; i++) sum += parts[i * n + c];
        to[c] = fmaf(alpha, sum, to[c]);
    }
}

static dim3 column_grid(int64_t rows, int64_t n)
{
    return dim3((unsigned)((n + COLUMNS - 1) / COLUMNS), (unsigned)bl_cu_parts(rows));
}

void bl_cu_bias_grad(bl_stream s, const void *dy, bool f32, int64_t ldy, int64_t rows, int64_t n, float alpha,
                     float *parts, float *db)
{
    dim3 block(COLUMNS, LINES);
    if (!rows) return;
    if (f32) column_parts<<<column_grid(rows, n), block, 0, s>>>((const float *)dy, ldy, NULL, 0, NULL, rows, n, parts);
    else column_parts<<<column_grid(rows, n), block, 0, s>>>((const uint16_t *)dy, ldy, NULL, 0, NULL, rows, n, parts);
    column_join<<<blocks_for(n, 256), 256, 0, s>>>(parts, bl_cu_parts(rows), n, alpha, db);
}

/* ---- eight neighbours ---- */
/* `whole`: rows are whole vectors, which are aligned; else the last of a row may be cut. */
static __device__ __forceinline__ void eight(uint4 v, float f[8])
{
    const uint16_t *h = (const uint16_t *)&v;
#pragma unroll
    for (int j = 0; j < 8; j++) f[j] = from_bf16(h[j]);
}

static __device__ __forceinline__ void eight(const float *p, float f[8])
{
    const float4 lo = ((const float4 *)p)[0], hi = ((const float4 *)p)[1];
    f[0] = lo.x, f[1] = lo.y, f[2] = lo.z, f[3] = lo.w;
    f[4] = hi.x, f[5] = hi.y, f[6] = hi.z, f[7] = hi.w;
}

static __device__ __forceinline__ void take8(const uint16_t *p, int64_t left, bool whole, float f[8])
{
    if (whole) {
        eight(*(const uint4 *)p, f);
        return;
    }
#pragma unroll
    for (int j = 0; j < 8; j++) f[j] = j < left ? from_bf16(p[j]) : 0;
}

static __device__ __forceinline__ void give8(uint16_t *p, int64_t left, bool whole, const float f[8])
{
    if (whole) {
        uint4 v;
        uint16_t *h = (uint16_t *)&v;
#pragma unroll
        for (int j = 0; j < 8; j++) h[j] = to_bf16(f[j]);
        *(uint4 *)p = v;
        return;
    }
#pragma unroll
    for (int j = 0; j < 8; j++)
        if (j < left) p[j] = to_bf16(f[j]);
}

static bool are_whole(const uint16_t *p, int64_t ld, int64_t n)
{
    return !p || ((uintptr_t)p % 16 == 0 && ld % 8 == 0 && n % 8 == 0);
}

/* ---- norm ---- */
enum { NORM_THREADS = 128, NORM_BLOCKS = 4, NORM_SMS = 132 }; /* blocks of a multiprocessor, and of those so many */

/* A block a row: dx (or none), and scale [rows], 1 / rms(x), where column_parts asks for it. The second reading of a
 * row finds it in the cache. */
__global__ void __launch_bounds__(NORM_THREADS) norm_rows(bl_cu_norm_grad a, bool whole)
{
    __shared__ float tmp[33];
    const int64_t row = blockIdx.x;
    const uint16_t *x = a.x + row * a.ldx, *dy = a.dy + row * a.lddy;
    float square = 0, dot = 0;
    for (int64_t i = 8 * threadIdx.x; i < a.dim; i += 8 * NORM_THREADS) {
        float v[8], d[8];
        take8(x + i, a.dim - i, whole, v);
        take8(dy + i, a.dim - i, whole, d);
#pragma unroll
        for (int j = 0; j < 8; j++) {
            square = fmaf(v[j], v[j], square);
            dot = fmaf(v[j], whole || i + j < a.dim ? a.w[i + j] * d[j] : 0, dot);
        }
    }
    square = block_sum(square, tmp);
    dot = block_sum(dot, tmp);
    const float s = 1.0f / sqrtf(square / (float)a.dim + a.eps), b = s * s * s / (float)a.dim * dot;
    if (threadIdx.x == 0) a.scale[row] = s;
    if (!a.dx) return;
    uint16_t *out = a.dx + row * a.lddx;
    for (int64_t i = 8 * threadIdx.x; i < a.dim; i += 8 * NORM_THREADS) {
        float v[8], d[8], o[8];
        take8(x + i, a.dim - i, whole, v);
        take8(dy + i, a.dim - i, whole, d);
        if (a.accumulate) take8(out + i, a.dim - i, whole, o);
#pragma unroll
        for (int j = 0; j < 8; j++) {
            float g = fmaf(-b, v[j], s * (whole || i + j < a.dim ? a.w[i + j] * d[j] : 0));
            o[j] = a.accumulate ? o[j] + g : g;
        }
        give8(out + i, a.dim - i, whole, o);
    }
}

/* norm_rows for whole rows of up to 8 NORM_THREADS CHUNKS numbers, which are read once and stay as they are stored: the
 * fewer registers a block takes, the more of them read at the same time. A block has every gridDim.x-th row, so that
 * weights, which are twice as wide, are read once for many. */
template <int CHUNKS> __global__ void __launch_bounds__(NORM_THREADS, NORM_BLOCKS) norm_rows_once(bl_cu_norm_grad a)
{
    enum { WARPS = NORM_THREADS / WARP };
    __shared__ float2 sums[2][WARPS]; /* of a row and of the one before */
    float w[CHUNKS][8] = {};
#pragma unroll
    for (int c = 0; c < CHUNKS; c++)
        if (8 * (NORM_THREADS * c + (int)threadIdx.x) < a.dim) eight(a.w + 8 * (NORM_THREADS * c + threadIdx.x), w[c]);
    int turn = 0;
    for (int64_t row = blockIdx.x; row < a.rows; row += gridDim.x, turn ^= 1) {
        const uint16_t *x = a.x + row * a.ldx, *dy = a.dy + row * a.lddy;
        uint16_t *out = a.dx + row * a.lddx;
        uint4 v[CHUNKS] = {}, d[CHUNKS] = {}, o[CHUNKS] = {};
        float square = 0, dot = 0;
#pragma unroll
        for (int c = 0; c < CHUNKS; c++) {
            const int i = 8 * (NORM_THREADS * c + threadIdx.x);
            if (i >= a.dim) continue;
            v[c] = *(const uint4 *)(x + i);
            d[c] = *(const uint4 *)(dy + i);
            if (a.accumulate) o[c] = *(const uint4 *)(out + i);
        }
#pragma unroll
        for (int c = 0; c < CHUNKS; c++) {
            float f[8], g[8];
            eight(v[c], f);
            eight(d[c], g);
#pragma unroll
            for (int j = 0; j < 8; j++) {
                square = fmaf(f[j], f[j], square);
                dot = fmaf(f[j], w[c][j] * g[j], dot);
            }
        }
        square = warp_sum(square);
        dot = warp_sum(dot);
        if (threadIdx.x % WARP == 0) sums[turn][threadIdx.x / WARP] = make_float2(square, dot);
        __syncthreads();
        square = dot = 0;
#pragma unroll
        for (int i = 0; i < WARPS; i++) {
            square += sums[turn][i].x;
            dot += sums[turn][i].y;
        }
        const float s = 1.0f / sqrtf(square / (float)a.dim + a.eps), b = s * s * s / (float)a.dim * dot;
#pragma unroll
        for (int c = 0; c < CHUNKS; c++) {
            const int i = 8 * (NORM_THREADS * c + threadIdx.x);
            float f[8], g[8], to[8];
            if (i >= a.dim) continue;
            eight(v[c], f);
            eight(d[c], g);
            eight(o[c], to);
#pragma unroll
            for (int j = 0; j < 8; j++) to[j] += fmaf(-b, f[j], s * (w[c][j] * g[j]));
            give8(out + i, 8, true, to);
        }
    }
}

/* dx (or none) and parts of dw (or none) in one reading: a block has a run of `each` rows, a warp every sixteenth of
 * them, a lane eight columns of each 256. Rows are whole vectors. */
template <int CHUNKS, bool DW>
__global__ void __launch_bounds__(512, DW ? 1 : 2) norm_runs(bl_cu_norm_grad a, int each, float *parts)
{
    enum { WARPS = 16, WIDE = 8 * WARP };
    __shared__ float sums[WIDE * CHUNKS];
    const int lane = threadIdx.x % WARP, warp = threadIdx.x / WARP;
    const int64_t r0 = (int64_t)blockIdx.x * each, end = r0 + each < a.rows ? r0 + each : a.rows;
    float dw[CHUNKS][8] = {};
    for (int64_t r = r0 + warp; r < end; r += WARPS) {
        const uint16_t *x = a.x + r * a.ldx, *dy = a.dy + r * a.lddy;
        uint16_t *out = a.dx + r * a.lddx;
        uint4 v[CHUNKS] = {}, d[CHUNKS] = {}, o[CHUNKS] = {};
        float square = 0, dot = 0;
#pragma unroll
        for (int c = 0; c < CHUNKS; c++) {
            const int i = WIDE * c + 8 * lane;
            if (i >= a.dim) continue;
            v[c] = *(const uint4 *)(x + i);
            d[c] = *(const uint4 *)(dy + i);
            if (a.dx && a.accumulate) o[c] = *(const uint4 *)(out + i);
        }
#pragma unroll
        for (int c = 0; c < CHUNKS; c++) {
            const int i = WIDE * c + 8 * lane;
            float f[8], g[8], w[8];
            if (i >= a.dim) continue;
            eight(v[c], f);
            eight(d[c], g);
            eight(a.w + i, w);
#pragma unroll
            for (int j = 0; j < 8; j++) {
                square = fmaf(f[j], f[j], square);
                dot = fmaf(f[j], w[j] * g[j], dot);
            }
        }
        square = warp_sum(square);
        dot = warp_sum(dot);
        const float s = 1.0f / sqrtf(square / (float)a.dim + a.eps), b = s * s * s / (float)a.dim * dot;
#pragma unroll
        for (int c = 0; c < CHUNKS; c++) {
            const int i = WIDE * c + 8 * lane;
            float f[8], g[8], w[8], to[8];
            if (i >= a.dim) continue;
            eight(v[c], f);
            eight(d[c], g);
            eight(a.w + i, w);
            eight(o[c], to);
#pragma unroll
            for (int j = 0; j < 8; j++) {
                to[j] += fmaf(-b, f[j], s * (w[j] * g[j]));
                if (DW) dw[c][j] = fmaf(s * f[j], g[j], dw[c][j]);
            }
            if (a.dx) give8(out + i, 8, true, to);
        }
    }
    if (!a.dw) return;
    for (int k = 0; k < WARPS; k++) { /* one after another */
#pragma unroll
        for (int c = 0; c < CHUNKS; c++)
#pragma unroll
            for (int j = 0; j < 8; j++) {
                float *sum = sums + WIDE * c + 8 * lane + j;
                if (warp == k) *sum = k ? *sum + dw[c][j] : dw[c][j];
            }
        __syncthreads();
    }
    for (int i = threadIdx.x; i < a.dim; i += 512) parts[blockIdx.x * a.dim + i] = sums[i];
}

void bl_cu_rmsnorm_grad(bl_stream s, const bl_cu_norm_grad *a)
{
    float *parts = a->scale + a->rows;
    const int each = a->dw ? PART_ROWS : 16;
    const unsigned runs = (unsigned)((a->rows + each - 1) / each);
    bl_cu_norm_grad sums = *a;
    bool whole = are_whole(a->x, a->ldx, a->dim) && are_whole(a->dy, a->lddy, a->dim) &&
                 are_whole(a->dx, a->lddx, a->dim) && (uintptr_t)a->w % 16 == 0;
    if (!a->rows) return;
    if (whole && a->dim <= 1024) {
#define RUN(chunks)                                                                                                    \
    a->dw ? norm_runs<chunks, true><<<runs, 512, 0, s>>>(*a, each, parts)                                              \
          : norm_runs<chunks, false><<<runs, 512, 0, s>>>(*a, each, parts)
        if (a->dim <= 256) RUN(1);
        else if (a->dim <= 768) RUN(3);
        else RUN(4);
#undef RUN
        if (a->dw) column_join<<<blocks_for(a->dim, 32), 32, 0, s>>>(parts, runs, a->dim, 1, a->dw);
        return;
    }
    if (a->dw) { /* before dx, which may be dy */
        sums.dx = NULL;
        norm_rows<<<(unsigned)a->rows, NORM_THREADS, 0, s>>>(sums, whole);
        column_parts<<<column_grid(a->rows, a->dim), dim3(COLUMNS, LINES), 0, s>>>(a->dy, a->lddy, a->x, a->ldx,
                                                                                   a->scale, a->rows, a->dim, parts);
        column_join<<<blocks_for(a->dim, 256), 256, 0, s>>>(parts, bl_cu_parts(a->rows), a->dim, 1, a->dw);
    }
    if (a->dx && whole && a->dim <= 4 * 8 * NORM_THREADS)
        norm_rows_once<4><<<(unsigned)min(a->rows, (int64_t)NORM_BLOCKS * NORM_SMS), NORM_THREADS, 0, s>>>(*a);
    else if (a->dx) norm_rows<<<(unsigned)a->rows, NORM_THREADS, 0, s>>>(*a, whole);
}

/* ---- gate ---- */
__global__ void swiglu_back(const uint16_t *gate, int64_t ldg, const uint16_t *up, int64_t ldu, const uint16_t *dy,
                            int64_t ldy, uint16_t *dgate, int64_t lddg, uint16_t *dup, int64_t lddu, int64_t rows,
                            int64_t n, bool whole)
{
    const int64_t eights = (n + 7) / 8;
    EACH(i, rows * eights)
    {
        int64_t r = i / eights, k = i % eights * 8;
        float g[8], u[8], d[8], a[8], b[8];
        take8(gate + r * ldg + k, n - k, whole, g);
        take8(up + r * ldu + k, n - k, whole, u);
        take8(dy + r * ldy + k, n - k, whole, d);
#pragma unroll
        for (int j = 0; j < 8; j++) {
            float s = logistic(g[j]);
            a[j] = u[j] * s * fmaf(g[j], 1.0f - s, 1.0f) * d[j];
            b[j] = g[j] * s * d[j];
        }
        give8(dgate + r * lddg + k, n - k, whole, a);
        give8(dup + r * lddu + k, n - k, whole, b);
    }
}

void bl_cu_swiglu_grad(bl_stream s, const uint16_t *gate, int64_t ldg, const uint16_t *up, int64_t ldu,
                       const uint16_t *dy, int64_t ldy, uint16_t *dgate, int64_t lddg, uint16_t *dup, int64_t lddu,
                       int64_t rows, int64_t n)
{
    bool whole = are_whole(gate, ldg, n) && are_whole(up, ldu, n) && are_whole(dy, ldy, n) &&
                 are_whole(dgate, lddg, n) && are_whole(dup, lddu, n);
    if (rows)
        swiglu_back<<<blocks_for(rows * ((n + 7) / 8), 256), 256, 0, s>>>(gate, ldg, up, ldu, dy, ldy, dgate, lddg, dup,
                                                                          lddu, rows, n, whole);
}

/* ---- embedding ---- */
enum { FOUND = 1024, EMBED_THREADS = 256, EMBED_COLUMNS = 128 };

/* How often each token is there. */
__global__ void count_tokens(const int32_t *ids, int64_t rows, int64_t vocab, int32_t *counts)
{
    EACH(i, rows)
    {
        if (ids[i] >= 0 && ids[i] < vocab) atomicAdd(counts + ids[i], 1);
    }
}

/* A block a token that is there, and EMBED_COLUMNS columns: it collects the rows that have it, in order, and adds them
 * up. */
__global__ void embed_back(const int32_t *ids, int64_t rows, const int32_t *there, const uint16_t *dy, int64_t ldy,
                           int64_t dim, float *dw, int64_t ldw)
{
    if (!there[blockIdx.x]) return;
    __shared__ int32_t found[FOUND];
    __shared__ int counts[EMBED_THREADS / WARP];
    int warp = threadIdx.x / WARP, lane = threadIdx.x % WARP, n = 0;
    float *to = dw + blockIdx.x * ldw;
    for (int64_t r0 = 0; r0 < rows; r0 += EMBED_THREADS) {
        int64_t r = r0 + threadIdx.x;
        bool ours = r < rows && ids[r] == (int32_t)blockIdx.x;
        unsigned votes = __ballot_sync(0xffffffffu, ours);
        int before = 0, all = 0;
        if (lane == 0) counts[warp] = __popc(votes);
        __syncthreads();
        for (int w = 0; w < EMBED_THREADS / WARP; w++) {
            before += w < warp ? counts[w] : 0;
            all += counts[w];
        }
        if (ours) found[n + before + __popc(votes & ((1u << lane) - 1))] = (int32_t)r;
        n += all;
        __syncthreads();
        if (n <= FOUND - EMBED_THREADS && r0 + EMBED_THREADS < rows) continue;
        const int64_t c = (int64_t)blockIdx.y * EMBED_COLUMNS + threadIdx.x;
        if (threadIdx.x < EMBED_COLUMNS && c < dim && n) {
            float sum = to[c];
#pragma unroll 8
            for (int i = 0; i < n; i++) sum += from_bf16(dy[found[i] * ldy + c]);
            to[c] = sum;
        }
        n = 0;
        __syncthreads();
    }
}

void bl_cu_embed_grad(bl_stream s, const int32_t *ids, int64_t rows, const uint16_t *dy, int64_t ldy, int64_t dim,
                      float *dw, int64_t ldw, int64_t vocab, int32_t *counts)
{
    if (!rows || !vocab) return;
    bl_cu_fill(s, counts, sizeof *counts, 0, vocab);
    count_tokens<<<blocks_for(rows, 256), 256, 0, s>>>(ids, rows, vocab, counts);
    embed_back<<<dim3((unsigned)vocab, (unsigned)((dim + EMBED_COLUMNS - 1) / EMBED_COLUMNS)), EMBED_THREADS, 0, s>>>(
        ids, rows, counts, dy, ldy, dim, dw, ldw);
}

/* ---- loss ---- */
/* Four neighbours of a row, minus infinity after its end; `whole`: the row is whole vectors, which are aligned. */
static __device__ __forceinline__ void take4(const float *x, int64_t left, bool whole, float f[4])
{
    if (whole && left >= 4) {
        const float4 v = *(const float4 *)x;
        f[0] = v.x;
        f[1] = v.y;
        f[2] = v.z;
        f[3] = v.w;
        return;
    }
#pragma unroll
    for (int j = 0; j < 4; j++) f[j] = j < left ? x[j] : -CUDART_INF_F;
}

/* A block a row, which is read twice. Every thread adds its exponentials, less the largest so far, in f32 runs of 64,
 * those in double. */
__global__ void loss_back(const float *logits, int64_t ld, int64_t vocab, int64_t columns, const int32_t *target,
                          double scale, void *grad, bool f32, int64_t ldg, double *nll, bool whole)
{
    enum { RUN = 16 };
    __shared__ double tmp[33];
    __shared__ float tops[33];
    const int64_t first = 4 * threadIdx.x, step = 4 * (int64_t)blockDim.x;
    const float *x = logits + blockIdx.x * ld;
    const bool fours = !f32 && ldg % 4 == 0 && (uintptr_t)grad % 8 == 0;
    int32_t goal = target[blockIdx.x];
    float top = -CUDART_INF_F, bad = 0, aim = goal >= 0 ? x[goal] : 0,
          v[4]; /* before grad is written, which may be x */
    double sum = 0;
    for (int64_t i = first; i < vocab;) {
        float run = 0;
        for (int k = 0; k < RUN && i < vocab; k++, i += step) {
            take4(x + i, vocab - i, whole, v);
            const float most = fmaxf(fmaxf(v[0], v[1]), fmaxf(v[2], v[3]));
            if (most > top) {
                const float less = expf(top - most);
                run *= less;
                sum *= less;
                top = most;
            }
#pragma unroll
            for (int j = 0; j < 4; j++) {
                run += expf(v[j] - top);
                if (i + j < vocab && !isfinite(v[j])) bad = 1;
            }
        }
        sum += run;
    }
    const float most = block_max(top, tops);
    bad = block_max(bad, tops);
    sum = block_sum(top > -CUDART_INF_F ? sum * expf(top - most) : 0, tmp);
    top = most;
    double by = goal < 0 ? 0 : scale;
    if (nll && threadIdx.x == 0) nll[blockIdx.x] = bad ? CUDART_NAN : goal < 0 ? 0 : log(sum) + ((double)top - aim);
    float factor = bad ? CUDART_NAN_F : (float)(by / sum);
    for (int64_t i = first; i < columns; i += step) {
        take4(x + i, vocab - i, whole, v);
#pragma unroll
        for (int j = 0; j < 4; j++)
            v[j] = i + j < vocab ? expf(v[j] - top) * factor - (i + j == goal ? (float)by : 0) : 0;
        if (fours && i + 4 <= columns) {
            const ushort4 narrow = {to_bf16(v[0]), to_bf16(v[1]), to_bf16(v[2]), to_bf16(v[3])};
            *(ushort4 *)((uint16_t *)grad + blockIdx.x * ldg + i) = narrow;
            continue;
        }
#pragma unroll
        for (int j = 0; j < 4; j++)
            if (i + j < columns) put_sum(grad, f32, blockIdx.x * ldg + i + j, v[j], false);
    }
}

/* A largest value so far and the sum of exponentials less it. */
struct so_far {
    float top;
    double sum;
};
/* What e^-top of before becomes when v joins. */
static __device__ __forceinline__ float raised(so_far *s, float v)
{
    if (!(v > s->top)) return 1;
    const float less = expf(s->top - v);
    s->top = v;
    s->sum *= less;
    return less;
}

/* The same beside a model that is followed; the sum of e^(t - top) (t - x) is in double. */
__global__ void followed_back(bl_cu_followed a)
{
    __shared__ double tmp[33];
    __shared__ float tops[33];
    const int64_t first = 4 * threadIdx.x, step = 4 * (int64_t)blockDim.x;
    const float *x = a.logits + blockIdx.x * a.ld, *t = a.theirs + blockIdx.x * a.ldt;
    const int32_t goal = a.target[blockIdx.x];
    const float aim = goal >= 0 ? x[goal] : 0; /* before grad is written, which may be x */
    so_far ours = {-CUDART_INF_F, 0}, them = {-CUDART_INF_F, 0};
    double cross = 0;
    float v[4], w[4], bad = 0;
    for (int64_t i = first; i < a.vocab; i += step) {
        take4(x + i, a.vocab - i, a.whole, v);
        take4(t + i, a.vocab - i, a.whole, w);
        raised(&ours, fmaxf(fmaxf(v[0], v[1]), fmaxf(v[2], v[3])));
        cross *= raised(&them, fmaxf(fmaxf(w[0], w[1]), fmaxf(w[2], w[3])));
        float run[2] = {0, 0};
#pragma unroll
        for (int j = 0; j < 4; j++) {
            if (i + j >= a.vocab) continue;
            const float e = expf(w[j] - them.top);
            run[0] += expf(v[j] - ours.top);
            run[1] += e;
            cross += (double)e * (w[j] - v[j]);
            if (!isfinite(v[j]) || !isfinite(w[j])) bad = 1;
        }
        ours.sum += run[0];
        them.sum += run[1];
    }
    const float topx = block_max(ours.top, tops), topt = block_max(them.top, tops);
    bad = block_max(bad, tops);
    const double zx = block_sum(ours.top > -CUDART_INF_F ? ours.sum * expf(ours.top - topx) : 0, tmp),
                 of_t = them.top > -CUDART_INF_F ? expf(them.top - topt) : 0, zt = block_sum(them.sum * of_t, tmp);
    cross = block_sum(of_t > 0 ? cross * of_t : 0, tmp);
    const double by = goal < 0 ? 0 : a.scale, toward = goal < 0 ? 0 : a.toward;
    if (threadIdx.x == 0) {
        if (a.nll) a.nll[blockIdx.x] = bad ? CUDART_NAN : goal < 0 ? 0 : log(zx) + ((double)topx - aim);
        a.kl[blockIdx.x] = bad ? CUDART_NAN : goal < 0 ? 0 : cross / zt - (topt + log(zt)) + (topx + log(zx));
    }
    const float fx = bad ? CUDART_NAN_F : (float)((by + toward) / zx), ft = bad ? CUDART_NAN_F : (float)(toward / zt);
    for (int64_t i = first; i < a.columns; i += step) {
        take4(x + i, a.vocab - i, a.whole, v);
        take4(t + i, a.vocab - i, a.whole, w);
#pragma unroll
        for (int j = 0; j < 4; j++)
            v[j] = i + j < a.vocab ? expf(v[j] - topx) * fx - expf(w[j] - topt) * ft - (i + j == goal ? (float)by : 0)
                                   : 0;
#pragma unroll
        for (int j = 0; j < 4; j++)
            if (i + j < a.columns) put_sum(a.grad, a.f32, blockIdx.x * a.ldg + i + j, v[j], false);
    }
}
void bl_cu_followed_grad(bl_stream s, const bl_cu_followed *a, int64_t rows)
{
    if (rows) followed_back<<<(unsigned)rows, a->columns <= 512 ? 64 : 1024, 0, s>>>(*a);
}

void bl_cu_loss_grad(bl_stream s, const float *logits, int64_t ld, int64_t rows, int64_t vocab, int64_t columns,
                     const int32_t *target, double scale, void *grad, bool f32, int64_t ldg, double *nll)
{
    if (rows)
        loss_back<<<(unsigned)rows, columns <= 512 ? 64 : 1024, 0, s>>>(
            logits, ld, vocab, columns, target, scale, grad, f32, ldg, nll, (uintptr_t)logits % 16 == 0 && ld % 4 == 0);
}

/* ---- transforms ---- */
/* An input may be taken more than once, or never: a thread a row, so that its sums are in order. */
__global__ void permute_back(const float *dy, int64_t ldy, float *dx, int64_t ldx, const int32_t *from, int64_t rows,
                             int64_t in, int64_t out)
{
    EACH(r, rows)
    {
        float *x = dx + r * ldx;
        for (int64_t i = 0; i < in; i++) x[i] = 0;
        for (int64_t i = 0; i < out; i++) x[from[i]] += dy[r * ldy + i];
    }
}
void bl_cu_permute_back(bl_stream s, const float *dy, int64_t ldy, float *dx, int64_t ldx, const int32_t *from,
                        int64_t rows, int64_t in, int64_t out)
{
    if (rows) permute_back<<<blocks_for(rows, 64), 64, 0, s>>>(dy, ldy, dx, ldx, from, rows, in, out);
}

__global__ void put_rows(const float *x, int64_t ldx, void *y, bool f32, int64_t ldy, int64_t rows, int64_t n,
                         bool accumulate)
{
    EACH(i, rows * n) put_sum(y, f32, i / n * ldy + i % n, x[i / n * ldx + i % n], accumulate);
}
void bl_cu_put_rows(bl_stream s, const float *x, int64_t ldx, void *y, bool f32, int64_t ldy, int64_t rows, int64_t n,
                    bool accumulate)
{
    if (rows) put_rows<<<blocks_for(rows * n, 256), 256, 0, s>>>(x, ldx, y, f32, ldy, rows, n, accumulate);
}
