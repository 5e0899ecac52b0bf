/* solve.h - the solving ops of the CPU, in pieces: what their plain and fast forms share, and the pieces of work of one
 * thread that AVX2 and AVX-512 do. */
#ifndef BL_KERNELS_CPU_SOLVE_H
#define BL_KERNELS_CPU_SOLVE_H
#include "cpu.h"

/* ---- the column sweep ---- */
float bl_cpu_stored_scale(float s, bl_dtype type); /* as it will be read; never 0 */
int64_t bl_cpu_sweep_group(const bl_gptq_sweep_args *a, int64_t column);
/* Scale and zero of the group that begins at `column` of a row; w[column * stride] is its first weight, tmp [in]. */
void bl_cpu_sweep_fit_next(const bl_gptq_sweep_args *a, int64_t row, int64_t column, const float *w, int64_t stride,
                           float *tmp);
void bl_cpu_sweep_fit_first(const bl_gptq_sweep_args *a, int64_t row, float *tmp); /* of all groups of a row */
/* What a sweep ends with: BL_E_NUMERIC unless the loss is finite. */
bl_status bl_cpu_sweep_check(const bl_gptq_sweep_args *a, double loss, bl_err *e);
enum { BL_SWEEP_ROWS = 16 };
/* Rows row0 .. row0 + rows <= BL_SWEEP_ROWS, side by side; loss[row] gets the sum of e^2 / 2. space: floats, as many as
 * bl_sweep_space says. */
void bl_avx2_sweep(const bl_gptq_sweep_args *a, int64_t row0, int64_t rows, double *loss, float *space);
static inline size_t bl_sweep_space(const bl_gptq_sweep_args *a)
{
    return (size_t)(BL_SWEEP_ROWS * (a->w.dim[1] + 2 * a->block) + a->w.dim[1]);
}

/* ---- second moments: panels of 16 columns of x, panel[k][16], k over rows; tiles of BL_MOMENT_TILE columns squared
 * ---- */
enum {
    BL_MOMENT_PANEL = 16,
    BL_MOMENT_TILE = 96,
    BL_MOMENT_ROWS = 128 /* whose products are summed in f32 */
};
/* sum[i][j] += of the panels a (columns i) and b (columns j) over `rows` <= BL_MOMENT_ROWS rows; panels of a tile are
 * `ld` floats apart. `upper`: a and b are the same, only j >= i is wanted. */
typedef void bl_moment_tile(const float *a, const float *b, int64_t ld, int64_t rows, bool upper,
                            double sum[BL_MOMENT_TILE][BL_MOMENT_TILE]);
bl_moment_tile bl_avx2_moment_tile, bl_avx512_moment_tile;

/* row h rowt of 8 rows, xt[n][8]; out[8]. */
void bl_avx2_quad_form(const double (*xt)[8], const double *h, int64_t n, double out[8]);
#endif
