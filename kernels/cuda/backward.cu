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

/* ---- norm ---- */
/* A warp a row. `sums`: scale [rows] and what x is taken back by [rows] are written, else read. */
__global__ void norm_rows(const uint16_t *x, int64_t ldx, const float *w, const uint16_t *dy, int64_t lddy,
                          int64_t rows, int64_t dim, float eps, float *scale, float *back, uint16_t *dx, int64_t lddx,
                          bool accumulate, bool sums)
{
    int64_t row = (int64_t)blockIdx.x * (blockDim.x / WARP) + threadIdx.x / WARP;
    int lane = threadIdx.x % WARP;
    if (row >= rows) return;
    const uint16_t *xr = x + row * ldx, *dr = dy + row * lddy;
    if (sums) {
        float square = 0, dot = 0;
        for (int64_t i = lane; i < dim; i += WARP) {
            float v = from_bf16(xr[i]);
            square = fmaf(v, v, square);
            dot = fmaf(v, w[i] * from_bf16(dr[i]), dot);
        }
        square = warp_sum(square);
        dot = warp_sum(dot);
        float s = 1.0f / sqrtf(square / (float)dim + eps);
        if (lane == 0) {
            scale[row] = s;
            back[row] = s * s * s / (float)dim * dot;
        }
        return;
    }
    float s = scale[row], b = back[row];
    uint16_t *out = dx + row * lddx;
    for (int64_t i = lane; i < dim; i += WARP) {
        float d = fmaf(-b, from_bf16(xr[i]), s * (w[i] * from_bf16(dr[i])));
        out[i] = to_bf16(accumulate ? from_bf16(out[i]) + d : d);
    }
}

void bl_cu_rmsnorm_grad(bl_stream s, const bl_cu_norm_grad *a)
{
    unsigned grid = (unsigned)((a->rows + 7) / 8);
    float *back = a->scale + a->rows, *parts = back + a->rows;
    if (!a->rows) return;
    norm_rows<<<grid, 256, 0, s>>>(a->x, a->ldx, a->w, a->dy, a->lddy, a->rows, a->dim, a->eps, a->scale, back, NULL, 0,
                                   false, true);
    if (a->dw) { /* before dx, which may be dy */
        column_parts<<<column_grid(a->rows, a->dim), dim3(COLUMNS, LINES), 0, s>>>(a->dy, a->lddy, a->x, a->ldx,
                                                                                   a->scale, a->rows, a->dim, parts);
        column_join<<<blocks_for(a->dim, 256), 256, 0, s>>>(parts, bl_cu_parts(a->rows), a->dim, 1, a->dw);
    }
    if (a->dx)
        norm_rows<<<grid, 256, 0, s>>>(a->x, a->ldx, a->w, a->dy, a->lddy, a->rows, a->dim, a->eps, a->scale, back,
                                       a->dx, a->lddx, a->accumulate, false);
}

/* ---- gate ---- */
__global__ void swiglu_back(const uint16_t *gate, int64_t ldg, const uint16_t *up, int64_t ldu, const uint16_t *dy,
                            int64_t ldy, uint16_t *dgate, int64_t lddg, uint16_t *dup, int64_t lddu, int64_t rows,
                            int64_t n)
{
    EACH(i, rows * n)
    {
        int64_t r = i / n, k = i % n;
        float g = from_bf16(gate[r * ldg + k]), u = from_bf16(up[r * ldu + k]), d = from_bf16(dy[r * ldy + k]);
        float s = 1.0f / (1.0f + __expf(-g));
        dup[r * lddu + k] = to_bf16(g * s * d);
        dgate[r * lddg + k] = to_bf16(u * s * fmaf(g, 1.0f - s, 1.0f) * d);
    }
}

void bl_cu_swiglu_grad(bl_stream s, const uint16_t *gate, int64_t ldg, const uint16_t *up, int64_t ldu,
                       const uint16_t *dy, int64_t ldy, uint16_t *dgate, int64_t lddg, uint16_t *dup, int64_t lddu,
                       int64_t rows, int64_t n)
{
    if (rows)
        swiglu_back<<<blocks_for(rows * n, 256), 256, 0, s>>>(gate, ldg, up, ldu, dy, ldy, dgate, lddg, dup, lddu, rows,
                                                              n);
}

/* ---- embedding ---- */
enum { FOUND = 1024, EMBED_THREADS = 256 };

/* A block a token: it collects the rows that have it, in order, and adds them up. */
__global__ void embed_back(const int32_t *ids, int64_t rows, const uint16_t *dy, int64_t ldy, int64_t dim, float *dw,
                           int64_t ldw)
{
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
        for (int64_t c = threadIdx.x; c < dim && n; c += EMBED_THREADS) {
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
                      float *dw, int64_t ldw, int64_t vocab)
{
    if (rows && vocab) embed_back<<<(unsigned)vocab, EMBED_THREADS, 0, s>>>(ids, rows, dy, ldy, dim, dw, ldw);
}

/* ---- loss ---- */
__global__ void loss_back(const float *logits, int64_t ld, int64_t vocab, int64_t columns, const int32_t *target,
                          double scale, void *grad, bool f32, int64_t ldg, double *nll)
{
    __shared__ double tmp[33];
    __shared__ float tops[33];
    const float *x = logits + blockIdx.x * ld;
    int32_t goal = target[blockIdx.x];
    float top = -CUDART_INF_F, bad = 0, aim = goal >= 0 ? x[goal] : 0; /* before grad is written, which may be x */
    double sum = 0;
    for (int64_t i = threadIdx.x; i < vocab; i += blockDim.x) {
        top = fmaxf(top, x[i]);
        if (!isfinite(x[i])) bad = 1;
    }
    top = block_max(top, tops);
    bad = block_max(bad, tops);
    for (int64_t i = threadIdx.x; i < vocab; i += blockDim.x) sum += expf(x[i] - top);
    sum = block_sum(sum, tmp);
    double by = goal < 0 ? 0 : scale;
    if (nll && threadIdx.x == 0) nll[blockIdx.x] = bad ? CUDART_NAN : goal < 0 ? 0 : log(sum) + ((double)top - aim);
    float factor = bad ? CUDART_NAN_F : (float)(by / sum);
    for (int64_t i = threadIdx.x; i < columns; i += blockDim.x) {
        float g = i < vocab ? expf(x[i] - top) * factor - (i == goal ? (float)by : 0) : 0;
        put_sum(grad, f32, blockIdx.x * ldg + i, g, false);
    }
}

void bl_cu_loss_grad(bl_stream s, const float *logits, int64_t ld, int64_t rows, int64_t vocab, int64_t columns,
                     const int32_t *target, double scale, void *grad, bool f32, int64_t ldg, double *nll)
{
    if (rows)
        loss_back<<<(unsigned)rows, columns <= 512 ? 64 : 512, 0, s>>>(logits, ld, vocab, columns, target, scale, grad,
                                                                       f32, ldg, nll);
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

__global__ void put_rows(const float *x, int64_t ldx, uint16_t *y, int64_t ldy, int64_t rows, int64_t n,
                         bool accumulate)
{
    EACH(i, rows * n) put_sum(y, false, i / n * ldy + i % n, x[i / n * ldx + i % n], accumulate);
}
void bl_cu_put_rows(bl_stream s, const float *x, int64_t ldx, uint16_t *y, int64_t ldy, int64_t rows, int64_t n,
                    bool accumulate)
{
    if (rows) put_rows<<<blocks_for(rows * n, 256), 256, 0, s>>>(x, ldx, y, ldy, rows, n, accumulate);
}
