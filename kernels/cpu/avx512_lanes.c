/* avx512_lanes.c - products of up to eight rows with weights in the layout of lanes.h, sixteen outputs a vector. */
#include "avx2.h"
#include "avx2_lanes.h"

BL_LANES_FLOATS(avx512, BL_ISA_AVX512, 0.03, 0.02)
BL_LANES_INTEGERS(avx512, BL_ISA_AVX512, 0.005)
