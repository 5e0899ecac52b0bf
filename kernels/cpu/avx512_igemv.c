/* avx512_igemv.c - products in integers of a row or two where the CPU has dot products of bytes. */
#include "avx2.h"
#include "avx2_igemv.h"

BL_IGEMV(avx512, BL_ISA_AVX512, 0.05)
