/* avxvnni_igemv.c - products in integers of a row or two where the CPU has dot products of bytes and no AVX-512. */
#include "avx2.h"
#include "avx2_igemv.h"

BL_IGEMV(avxvnni, BL_ISA_AVXVNNI, 0.055)
