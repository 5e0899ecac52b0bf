/* kern_integer.c - products in integers: activations quantized per token, exact sums per group; code in
 * cpu/avx2_igemm.c and cpu/avx512_igemm.c. */
#include "kernel_impl.h"

/* Groups that the integer path takes: whole vectors of 16, or the whole row. */
static bool groups_fit(const bl_kernel_shape *s)
{
    return (s->group <= 0 || s->group >= s->in || s->group % 16 == 0) && s->in <= 32768;
}

#define ROW(id, w, act)                                                                                                \
    BL_KERN_ROW(gemm_##id##_avx2, "int" #w, #w "-bit weights, " #act "-bit activations per token, exact integer sums", \
                act, true, bl_kern_run_avx2, bl_kern_avx2(be) && groups_fit(s));                                       \
    BL_KERN_ROW(gemm_##id##_avx512, "int" #w,                                                                          \
                #w "-bit weights, " #act "-bit activations per token, exact integer sums", act, true, bl_kern_run,     \
                bl_kern_avx512(be) && groups_fit(s))
ROW(w8a8, 8, 8);
ROW(w6a8, 6, 8);
ROW(w4a8, 4, 8);
ROW(w3a8, 3, 8);
ROW(w2a8, 2, 8);
ROW(w1a8, 1, 8);
ROW(w4a4, 4, 4);
