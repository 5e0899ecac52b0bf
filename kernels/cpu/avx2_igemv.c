/* avx2_igemv.c - products in integers of a row or two. */
#include "avx2.h"
#include "avx2_igemv.h"

BL_IGEMV(avx2, BL_ISA_AVX2, 0.06)
