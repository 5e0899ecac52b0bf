/* reassemble.cu - permutations with sums: a copy of the rows, then one thread for each sum; back, one for each row, as
 * an input may be in several sums. */
#include "device.cuh"
#include "reassemble.h"

static void copy(bl_stream s, const float *x, float *y, int64_t ld, int64_t rows, int64_t in)
{
    const int64_t f = (int64_t)sizeof *x;
    bl_cu_gather(s, x, ld * f, y, ld * f, in * f, NULL, NULL, rows);
}

__global__ void sums(const float *x, float *y, int64_t ld, const int32_t *m, int64_t n, int64_t rows)
{
    EACH(i, rows * n)
    {
        const int64_t k = i % n;
        const float *row = x + i / n * ld;
        if (k && m[3 * k - 3] == m[3 * k]) continue;
        float sum = row[m[3 * k + 1]] / (float)m[3 * k + 2];
        for (int64_t j = k + 1; j < n && m[3 * j] == m[3 * k]; j++) sum += row[m[3 * j + 1]] / (float)m[3 * j + 2];
        y[i / n * ld + m[3 * k]] = sum;
    }
}
void bl_cu_reassemble_rows(bl_stream s, const float *x, float *y, int64_t ld, const int32_t *m, int64_t n, int64_t rows,
                           int64_t in)
{
    if (!rows) return;
    copy(s, x, y, ld, rows, in);
    sums<<<blocks_for(rows * n, 256), 256, 0, s>>>(x, y, ld, m, n, rows);
}

__global__ void back(const float *dy, float *dx, int64_t ld, const int32_t *m, int64_t n, int64_t rows)
{
    EACH(r, rows)
    {
        const float *y = dy + r * ld;
        float *x = dx + r * ld;
        for (int64_t k = 0; k < n; k++) x[m[3 * k]] = 0;
        for (int64_t k = 0; k < n; k++) x[m[3 * k + 1]] += y[m[3 * k]] / (float)m[3 * k + 2];
    }
}
void bl_cu_reassemble_back(bl_stream s, const float *dy, float *dx, int64_t ld, const int32_t *m, int64_t n,
                           int64_t rows, int64_t in)
{
    if (!rows) return;
    copy(s, dy, dx, ld, rows, in);
    back<<<blocks_for(rows, 64), 64, 0, s>>>(dy, dx, ld, m, n, rows);
}
