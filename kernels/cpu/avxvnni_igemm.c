/* avxvnni_igemm.c - products in integers of many rows where the CPU has dot products of bytes and no AVX-512: the tiles
 * of avx2_igemm.h. */
#include "avx2.h"
#include "avx2_igemm.h"

static bool of_integers(const bl_backend *be, const bl_linear_args *a, const bl_weight *w)
{
    return ((const bl_cpu *)be->own)->vnni && bl_igemm_fits(be, BL_ISA_AVXVNNI, a, w, TILE_OUT, false);
}
static bool of_blocks(const bl_backend *be, const bl_linear_args *a, const bl_weight *w)
{
    return ((const bl_cpu *)be->own)->vnni && bl_igemm_fits(be, BL_ISA_AVXVNNI, a, w, TILE_OUT, true);
}

BL_IGEMM(avxvnni, 0.15, 0.02)
