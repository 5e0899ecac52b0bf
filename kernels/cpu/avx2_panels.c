/* avx2_panels.c - how a product of many rows is cut into tasks. */
#include "avx2_panels.h"

void bl_gemm_cut(bl_gemm *g, int64_t rows, int64_t tile_rows, int64_t chunk)
{
    enum { X_BYTES = 1152 * 1024, LEAST_ROWS = 192, MOST_ROWS = 384 }; /* of a block */
    const int64_t in = g->v.w->shape.in, most = BL_MIN(BL_MAX(X_BYTES / (4 * BL_MAX(in, 1)), LEAST_ROWS), MOST_ROWS);
    g->rows = rows;
    g->blocks = (rows + most - 1) / most;
    g->block_rows = ((rows + g->blocks - 1) / g->blocks + tile_rows - 1) / tile_rows * tile_rows;
    g->blocks = (rows + g->block_rows - 1) / g->block_rows;
    g->chunk = chunk;
    g->chunks = (g->v.w->shape.out + chunk - 1) / chunk;
}
