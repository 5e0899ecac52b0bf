/* adapter.cu - what adapters are made of (ops_adapter.h): a warp a row of B, a block a group of outputs. Compiled
 * without contraction: the bits of plain C, but for sums, which go by threads. */
#include "device.cuh"

__global__ void dora_rows(bl_cu_dora a)
{
    int64_t o = (int64_t)blockIdx.x * (blockDim.x / WARP) + threadIdx.x / WARP;
    int lane = threadIdx.x % WARP;
    if (o >= a.out) return;
    const float *b = a.b + o * a.ldb;
    double sum = 0;
    for (int64_t k = lane; k < a.rank; k += WARP) {
        double along = 0;
        for (int64_t j = 0; j < a.rank; j++) along += (double)a.gram[k * a.ldg + j] * b[j];
        sum += a.scale * b[k] * (2 * (double)a.cross[k * a.ldc + o] + a.scale * along);
    }
    sum = warp_sum(sum) + a.sq[o];
    float norm = sum > 0 ? (float)sqrt(sum) : 0, by = norm > 0 ? (a.m[o] == 0 ? a.least : a.m[o]) / norm : 0;
    if (lane == 0) {
        a.norm[o] = norm;
        a.by[o] = by;
    }
    for (int64_t k = lane; k < a.rank; k += WARP) a.y[o * a.ldy + k] = by * b[k];
}
void bl_cu_dora_rows(bl_stream s, const bl_cu_dora *a)
{
    if (a->out) dora_rows<<<(unsigned)((a->out + 7) / 8), 256, 0, s>>>(*a);
}

enum { DORA_ROWS = 128, DORA_LINES = 8 };
int64_t bl_cu_dora_parts(int64_t rows) { return (rows + DORA_ROWS - 1) / DORA_ROWS; }

template <int V> __device__ __forceinline__ void bf16s(const uint16_t *x, float v[V])
{
    if (V == 1) {
        v[0] = from_bf16(*x);
        return;
    }
    const uint2 u = *(const uint2 *)x;
    const uint32_t two[2] = {u.x, u.y};
#pragma unroll
    for (int i = 0; i < V; i++) v[i] = from_bf16((uint16_t)(two[i / 2] >> 16 * (i % 2)));
}

/* parts [.., out]: of a run of rows the sums of dy (y - bias); V outputs a lane, each warp every eighth row. */
template <int V> __global__ void dora_parts(bl_cu_dora_grad a)
{
    __shared__ float part[DORA_LINES][V][WARP];
    const int lane = threadIdx.x % WARP, warp = threadIdx.x / WARP;
    const int64_t o = ((int64_t)blockIdx.x * WARP + lane) * V, r0 = (int64_t)blockIdx.y * DORA_ROWS,
                  end = r0 + DORA_ROWS < a.rows ? r0 + DORA_ROWS : a.rows;
    float sum[V] = {0}, bias[V] = {0}, y[V], dy[V];
    for (int i = 0; a.bias && o < a.out && i < V; i++) bias[i] = a.bias[o + i];
    for (int64_t r = r0 + warp; o < a.out && r < end; r += DORA_LINES) {
        bf16s<V>(a.y + r * a.ldy + o, y);
        bf16s<V>(a.dy + r * a.lddy + o, dy);
#pragma unroll
        for (int i = 0; i < V; i++) sum[i] = fmaf(y[i] - bias[i], dy[i], sum[i]);
    }
    for (int i = 0; i < V; i++) part[warp][i][lane] = sum[i];
    __syncthreads();
    if (warp || o >= a.out) return;
    for (int i = 0; i < V; i++) {
        for (int k = 1; k < DORA_LINES; k++) sum[i] += part[k][i][lane];
        a.parts[(int64_t)blockIdx.y * a.out + o + i] = sum[i];
    }
}
__global__ void dora_back(bl_cu_dora_grad a, int64_t parts)
{
    EACH(i, a.out * a.rank)
    {
        const int64_t o = i / a.rank, k = i - o * a.rank;
        double sum = 0;
        a.db[o * a.lddb + k] += a.by[o] * a.of_b[o * a.ldb + k];
        if (k) continue;
        for (int64_t j = 0; j < parts; j++) sum += a.parts[j * a.out + o];
        a.dm[o] += (float)(sum / (a.m[o] == 0 ? a.least : a.m[o]));
    }
}
void bl_cu_dora_back(bl_stream s, const bl_cu_dora_grad *a)
{
    const int64_t parts = bl_cu_dora_parts(a->rows);
    const bool fours = (a->out | a->ldy | a->lddy) % 4 == 0 && ((uintptr_t)a->y | (uintptr_t)a->dy) % 8 == 0;
    const int64_t each = fours ? 4 * WARP : WARP;
    const dim3 grid((unsigned)((a->out + each - 1) / each), (unsigned)parts);
    if (!a->out) return;
    if (parts && fours) dora_parts<4><<<grid, DORA_LINES * WARP, 0, s>>>(*a);
    else if (parts) dora_parts<1><<<grid, DORA_LINES * WARP, 0, s>>>(*a);
    dora_back<<<blocks_for(a->out * a->rank, 256), 256, 0, s>>>(*a, parts);
}

__global__ void pool_out(const float *x, int64_t ldx, float *y, int64_t ldy, int64_t rank, int64_t in, int64_t group,
                         float by)
{
    EACH(i, rank * in) y[i / in * ldy + i % in] = by * x[i / in * ldx + i % in / group];
}
void bl_cu_pool(bl_stream s, const float *x, int64_t ldx, float *y, int64_t ldy, int64_t rank, int64_t in,
                int64_t group, float by)
{
    if (rank * in) pool_out<<<blocks_for(rank * in, 256), 256, 0, s>>>(x, ldx, y, ldy, rank, in, group, by);
}

/* A warp a group. */
__global__ void pool_back(const float *dy, int64_t lddy, float *dx, int64_t lddx, int64_t rank, int64_t in,
                          int64_t groups, int64_t group, double by)
{
    int64_t at = (int64_t)blockIdx.x * (blockDim.x / WARP) + threadIdx.x / WARP, k = at / groups, j = at % groups;
    int lane = threadIdx.x % WARP;
    if (k >= rank) return;
    int64_t end = (j + 1) * group < in ? (j + 1) * group : in;
    double sum = 0;
    for (int64_t i = j * group + lane; i < end; i += WARP) sum += dy[k * lddy + i];
    sum = warp_sum(sum);
    if (lane == 0) dx[k * lddx + j] += (float)(by * sum);
}
void bl_cu_pool_back(bl_stream s, const float *dy, int64_t lddy, float *dx, int64_t lddx, int64_t rank, int64_t in,
                     int64_t groups, int64_t group, double by)
{
    if (rank * groups)
        pool_back<<<(unsigned)((rank * groups + 7) / 8), 256, 0, s>>>(dy, lddy, dx, lddx, rank, in, groups, group, by);
}

static __device__ bool on_band(int64_t i, int64_t j, int64_t group, bool tall)
{
    return tall ? i / group == j : j / group == i;
}
__global__ void band_on(const float *x, int64_t ldx, float *y, int64_t ldy, const float *beta, int64_t m, int64_t n,
                        int64_t group, double by, bool tall)
{
    float more = (float)(by * *beta);
    EACH(at, m * n)
    {
        int64_t i = at / n, j = at % n;
        y[i * ldy + j] = on_band(i, j, group, tall) ? x[i * ldx + j] + more : x[i * ldx + j];
    }
}
void bl_cu_band(bl_stream s, const float *x, int64_t ldx, float *y, int64_t ldy, const float *beta, int64_t m,
                int64_t n, int64_t group, double by, bool tall)
{
    if (m * n) band_on<<<blocks_for(m * n, 256), 256, 0, s>>>(x, ldx, y, ldy, beta, m, n, group, by, tall);
}

__global__ void added(const float *dy, int64_t lddy, float *dx, int64_t lddx, int64_t m, int64_t n)
{
    EACH(at, m * n)
    {
        const int64_t i = at / n, j = at - i * n;
        dx[i * lddx + j] += dy[i * lddy + j];
    }
}
/* One block over the band alone: the sum is one number. */
__global__ void band_back(const float *dy, int64_t lddy, float *dbeta, int64_t m, int64_t n, int64_t group, double by,
                          bool tall)
{
    __shared__ double tmp[33];
    const int64_t along = tall ? m : n, across = tall ? n : m;
    double sum = 0;
    for (int64_t at = threadIdx.x; at < along && at / group < across; at += blockDim.x)
        sum += tall ? dy[at * lddy + at / group] : dy[at / group * lddy + at];
    sum = block_sum(sum, tmp);
    if (threadIdx.x == 0) *dbeta += (float)(by * sum);
}
void bl_cu_band_back(bl_stream s, const float *dy, int64_t lddy, float *dx, int64_t lddx, float *dbeta, int64_t m,
                     int64_t n, int64_t group, double by, bool tall)
{
    if (!(m * n)) return;
    added<<<blocks_for(m * n, 256), 256, 0, s>>>(dy, lddy, dx, lddx, m, n);
    band_back<<<1, 1024, 0, s>>>(dy, lddy, dbeta, m, n, group, by, tall);
}
