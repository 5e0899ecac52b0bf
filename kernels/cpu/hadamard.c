/* hadamard.c - the Hadamard transform (kernels/hadamard.h) of rows in f32, as an input transform, and in f64, for
 * rotating weights. Sums and differences of pairs for the power of two, then a product with the factor of +-1. Compiled
 * with -O3; whatever vectors the compiler uses, every output is the same sequence of operations.
 */
#include "kernels/hadamard.h"
#include "cpu.h"

enum { WIDE = 16, MOST_ORDER = 172 };

/* The transform of Sylvester's matrix of order m on x[0..m). */
static void sylvester(float *x, int64_t m)
{
    for (int64_t h = 1; h < m; h *= 2)
        for (int64_t i = 0; i < m; i += 2 * h)
            for (int64_t j = i; j < i + h; j++) {
                float a = x[j], b = x[j + h];
                x[j] = a + b;
                x[j + h] = a - b;
            }
}

void bl_cpu_hadamard_row(float *x, int64_t n, bool transposed)
{
    int64_t order = bl_hadamard_order(n), m = n / order;
    const int8_t *f = bl_hadamard_factor(order);
    float norm = (float)(1 / sqrt((double)n)), t[MOST_ORDER][WIDE];
    for (int64_t a = 0; a < order; a++) sylvester(x + a * m, m);
    for (int64_t b = 0; b < m && order > 1; b += WIDE) {
        int64_t wide = BL_MIN(WIDE, m - b);
        for (int64_t a = 0; a < order; a++) {
            memset(t[a], 0, sizeof t[a]);
            memcpy(t[a], x + a * m + b, (size_t)wide * sizeof *x);
        }
        for (int64_t a = 0; a < order; a++) {
            float y[WIDE] = {0};
            for (int64_t c = 0; c < order; c++)
                for (int j = 0; j < WIDE; j++) y[j] += (float)f[transposed ? c * order + a : a * order + c] * t[c][j];
            memcpy(x + a * m + b, y, (size_t)wide * sizeof *x);
        }
    }
    for (int64_t i = 0; i < n; i++) x[i] *= norm;
}

/* ---- the op: WIDE rows side by side, t[n][WIDE], in double ---- */

static double at(const bl_tensor *t, int64_t r, int64_t i)
{
    int64_t k = r * t->stride[0] + i * t->stride[1];
    return t->dtype == BL_F64 ? ((const double *)bl_cpu_at(t))[k] : ((const float *)bl_cpu_at(t))[k];
}

static void put(const bl_tensor *t, int64_t r, int64_t i, double v)
{
    int64_t k = r * t->stride[0] + i * t->stride[1];
    if (t->dtype == BL_F64) ((double *)bl_cpu_at(t))[k] = v;
    else ((float *)bl_cpu_at(t))[k] = (float)v;
}

static void rows_at_once(const bl_hadamard_args *a, int64_t row0, int64_t rows, double (*t)[WIDE], double (*u)[WIDE])
{
    int64_t n = a->x.dim[1], order = bl_hadamard_order(n), m = n / order;
    const int8_t *f = bl_hadamard_factor(order);
    const float *before = bl_cpu_at(&a->before), *after = bl_cpu_at(&a->after);
    double norm = 1 / sqrt((double)n);
    for (int64_t i = 0; i < n; i++) {
        double s = before ? before[i] : 1;
        for (int64_t r = 0; r < WIDE; r++) t[i][r] = r < rows ? s * at(&a->x, row0 + r, i) : 0;
    }
    for (int64_t h = 1; h < m; h *= 2)
        for (int64_t i = 0; i < n; i += 2 * h)
            for (int64_t j = i; j < i + h; j++)
                for (int r = 0; r < WIDE; r++) {
                    double p = t[j][r], q = t[j + h][r];
                    t[j][r] = p + q;
                    t[j + h][r] = p - q;
                }
    for (int64_t b = 0; b < m && order > 1; b++) {
        for (int64_t k = 0; k < order; k++) {
            double y[WIDE] = {0};
            for (int64_t c = 0; c < order; c++)
                for (int r = 0; r < WIDE; r++)
                    y[r] += (double)f[a->transposed ? c * order + k : k * order + c] * t[c * m + b][r];
            memcpy(u[k], y, sizeof y);
        }
        for (int64_t k = 0; k < order; k++) memcpy(t[k * m + b], u[k], sizeof u[k]);
    }
    for (int64_t i = 0; i < n; i++) {
        double s = after ? norm * after[i] : norm;
        for (int64_t r = 0; r < rows; r++) put(&a->y, row0 + r, i, s * t[i][r]);
    }
}

bl_status bl_cpu_hadamard(bl_backend *be, const bl_hadamard_args *a, bl_err *e)
{
    bl_status st = bl_check_hadamard(a, e);
    const bl_cpu *c = be->own;
    int64_t n = a->x.dim[1], tiles = (a->x.dim[0] + WIDE - 1) / WIDE;
    double(*space)[WIDE];
    if (st != BL_OK) return st;
    size_t each = (size_t)n + MOST_ORDER;
    int threads = (int)BL_MAX(BL_MIN(c->threads, tiles), 1);
    if (!(space = bl_new((size_t)threads * each, sizeof *space, e))) return BL_E_NOMEM;
    bl_hadamard_factor(1); /* built before the threads ask */
#pragma omp parallel for schedule(static, 1) num_threads(threads)
    for (int k = 0; k < threads; k++) /* a thread's share of the tiles */
        for (int64_t i = k; i < tiles; i += threads)
            rows_at_once(a, i * WIDE, BL_MIN(WIDE, a->x.dim[0] - i * WIDE), space + (size_t)k * each,
                         space + (size_t)k * each + n);
    bl_free(space);
    return BL_OK;
}
