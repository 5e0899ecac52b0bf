/* kern_gemv.c - one or two rows of x: weights are decoded in registers, four outputs at a time; code in
 * cpu/avx2_formats.c and, for codes of 2 to 4 bits, cpu/avx512_formats.c. */
#include "kernel_impl.h"

#define ROW(fmt)                                                                                                       \
    BL_KERN_ROW(gemv_##fmt##_avx2, #fmt, "one or two rows, weights decoded in registers", 0, false, bl_kern_run_avx2,  \
                bl_kern_avx2(be) && s->rows <= 2)
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

#define WIDE(fmt)                                                                                                      \
    BL_KERN_ROW(gemv_##fmt##_avx512, #fmt, "one or two rows, the values of a group's codes in a register", 0, false,   \
                bl_kern_run, bl_kern_avx512(be) && s->rows <= 2)
WIDE(int4);
WIDE(int3);
WIDE(int2);
WIDE(nf4);
WIDE(nf3);
WIDE(nf2);
WIDE(fp4);
