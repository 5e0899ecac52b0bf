/* avxvnni_lanes.c - products in integers of up to eight rows with weights in the layout of lanes.h, where the CPU has
 * dot products of bytes and no AVX-512. */
#include "avx2.h"
#include "avx2_lanes.h"

BL_LANES_INTEGERS(avxvnni, BL_ISA_AVXVNNI, 0.015)
