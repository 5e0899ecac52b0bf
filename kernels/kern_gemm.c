/* kern_gemm.c - three rows of x and more: weights are decoded once into a panel in cache; code in cpu/avx2_gemm.c and
 * cpu/avx512_gemm.c. */
#include "kernel_impl.h"

#define ROW(fmt)                                                                                                       \
    BL_KERN_ROW(gemm_##fmt##_avx2, #fmt, "panels of decoded weights, tiles of 3 rows by 4 outputs", 0, false,          \
                bl_kern_run_avx2, bl_kern_avx2(be) && s->rows > 2);                                                    \
    BL_KERN_ROW(gemm_##fmt##_avx512, #fmt, "panels of decoded weights, tiles of 6 rows by 8 outputs", 0, false,        \
                bl_kern_run, bl_kern_avx512(be) && s->rows > 2)
ROW(fp32);
ROW(fp16);
ROW(bf16);
ROW(int8);
ROW(int7);
ROW(int6);
ROW(int5);
ROW(int4);
ROW(int3);
ROW(int2);
ROW(int1);
ROW(nf8);
ROW(nf4);
ROW(nf3);
ROW(nf2);
ROW(fp8_e4m3);
ROW(fp4);
ROW(q4_0);
ROW(q4_1);
ROW(q5_0);
ROW(q5_1);
ROW(q8_0);
