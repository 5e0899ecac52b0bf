/* encode.cu - the ops of text encoders (ops_encode.h). bf16 is rounded once, when it is written. */
#include "device.cuh"
#include "search.h"

/* A block a row, sums in double. */
__global__ void layernorm_rows(const uint16_t *x, int64_t ldx, const float *w, const float *b, uint16_t *y, int64_t ldy,
                               int64_t n, double eps)
{
    __shared__ double tmp[33];
    x += blockIdx.x * ldx;
    y += blockIdx.x * ldy;
    double mean = 0, square = 0;
    for (int64_t i = threadIdx.x; i < n; i += blockDim.x) mean += from_bf16(x[i]);
    mean = block_sum(mean, tmp) / (double)n;
    for (int64_t i = threadIdx.x; i < n; i += blockDim.x) {
        const double d = from_bf16(x[i]) - mean;
        square += d * d;
    }
    const double scale = 1 / sqrt(block_sum(square, tmp) / (double)n + eps);
    for (int64_t i = threadIdx.x; i < n; i += blockDim.x)
        y[i] = to_bf16((float)((from_bf16(x[i]) - mean) * scale) * w[i] + b[i]);
}
void bl_cu_layernorm(bl_stream s, const uint16_t *x, int64_t ldx, const float *w, const float *b, uint16_t *y,
                     int64_t ldy, int64_t rows, int64_t n, double eps)
{
    if (rows) layernorm_rows<<<(unsigned)rows, n <= 512 ? 128 : 256, 0, s>>>(x, ldx, w, b, y, ldy, n, eps);
}

__global__ void gelu_all(const uint16_t *x, int64_t ldx, uint16_t *y, int64_t ldy, int64_t rows, int64_t n)
{
    EACH(i, rows * n)
    {
        const int64_t r = i / n, k = i % n;
        const float v = from_bf16(x[r * ldx + k]);
        y[r * ldy + k] = to_bf16(0.5f * v * (1 + erff(v * 0.70710678118654752440f)));
    }
}
void bl_cu_gelu(bl_stream s, const uint16_t *x, int64_t ldx, uint16_t *y, int64_t ldy, int64_t rows, int64_t n)
{
    if (rows * n) gelu_all<<<blocks_for(rows * n, 256), 256, 0, s>>>(x, ldx, y, ldy, rows, n);
}
