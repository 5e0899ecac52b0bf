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
    float norm = sum > 0 ? (float)sqrt(sum) : 0, by = norm > 0 ? a.m[o] / norm : 0;
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

/* 32 outputs a block, each warp every eighth row. */
__global__ void dora_back(bl_cu_dora_grad a)
{
    __shared__ double part[8][WARP];
    int lane = threadIdx.x % WARP, warp = threadIdx.x / WARP;
    int64_t o = (int64_t)blockIdx.x * WARP + lane;
    double sum = 0;
    for (int64_t r = warp; o < a.out && r < a.rows; r += 8) {
        float dz = a.f32 ? ((const float *)a.dz)[r * a.lddz + o] : from_bf16(((const uint16_t *)a.dz)[r * a.lddz + o]);
        sum += (double)a.z[r * a.ldz + o] * dz;
    }
    part[warp][lane] = sum;
    __syncthreads();
    if (warp || o >= a.out) return;
    for (int i = 1; i < 8; i++) sum += part[i][lane];
    for (int64_t k = 0; k < a.rank; k++) {
        float dy = a.dy[o * a.lddy + k];
        sum += (double)a.b[o * a.ldb + k] * dy;
        a.db[o * a.lddb + k] += a.by[o] * dy;
    }
    if (a.norm[o] > 0) a.dm[o] += (float)(sum / a.norm[o]);
}
void bl_cu_dora_back(bl_stream s, const bl_cu_dora_grad *a)
{
    if (a->out) dora_back<<<(unsigned)((a->out + WARP - 1) / WARP), 256, 0, s>>>(*a);
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

/* One block: the sum is one number. */
__global__ void band_back(const float *dy, int64_t lddy, float *dx, int64_t lddx, float *dbeta, int64_t m, int64_t n,
                          int64_t group, double by, bool tall)
{
    __shared__ double tmp[33];
    double sum = 0;
    for (int64_t at = threadIdx.x; at < m * n; at += blockDim.x) {
        int64_t i = at / n, j = at % n;
        float d = dy[i * lddy + j];
        dx[i * lddx + j] += d;
        if (on_band(i, j, group, tall)) sum += d;
    }
    sum = block_sum(sum, tmp);
    if (threadIdx.x == 0) *dbeta += (float)(by * sum);
}
void bl_cu_band_back(bl_stream s, const float *dy, int64_t lddy, float *dx, int64_t lddx, float *dbeta, int64_t m,
                     int64_t n, int64_t group, double by, bool tall)
{
    if (m * n) band_back<<<1, 1024, 0, s>>>(dy, lddy, dx, lddx, dbeta, m, n, group, by, tall);
}
