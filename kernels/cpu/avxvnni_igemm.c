/* avxvnni_igemm.c - products in integers of many rows where the CPU has dot products of bytes and no AVX-512: the tiles
 * of avx2_igemm.h. */
#include "avx2.h"
#include "avx2_igemm.h"

BL_IGEMM(avxvnni, BL_ISA_AVXVNNI, 0.15, 0.02)
