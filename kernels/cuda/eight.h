/* eight.h - products of activations of 8 bits on devices of compute capability 9.0, as C sees them; see whole.cu
 * and launch.h. */
#ifndef BL_KERNELS_CUDA_EIGHT_H
#define BL_KERNELS_CUDA_EIGHT_H
#include "launch.h"
#ifdef __cplusplus
extern "C" {
#endif
enum { BL_CU_EIGHT_CHUNK = 128, BL_CU_EIGHT_TILE = 256 }; /* numbers of k; what every tile of rows divides */
/* Rows of x as codes, integers of -127 .. 127 or e4m3, a scale each, as shared memory has them. */
typedef struct bl_cu_eight {
    uint8_t *codes; /* [chunks of 128][rows, up to whole tiles][128] */
    float *scale;   /* [rows]; NaN where a row has a number that is none */
    int *sum;       /* [rows] of integers */
    int64_t rows, padded, in;
    bool floats; /* codes are e4m3 */
    bool apart;  /* in each 32 numbers of k even ones come before odd ones: for weights of 4 bits */
} bl_cu_eight;
/* Weights of int8 and int4 of one scale a row or, without zeros, groups of whole chunks; fp8_e4m3 */
bool bl_cu_whole_takes(const bl_cu_weight *w);
/* Bytes that the members of `to` need, and its other members; those with addresses are set by the caller. */
uint64_t bl_cu_whole_plan(const bl_cu_weight *w, int64_t rows, bl_cu_eight *to);
void bl_cu_whole_place(bl_cu_eight *to, void *space);
/* max|x| / 127, of e4m3 / 448, is the scale of a row, half to even; x bf16 or f32 */
void bl_cu_whole_codes(bl_stream s, const void *x, bool f32, int64_t ldx, const bl_cu_eight *to);
/* y (+)= x wt: sums of codes less zeros times codes are exact, then times the scale of the weight and that of the row.
 * Sums of e4m3 over 128 numbers of k are those of the tensor cores, over all of them of f32. False: the driver does not
 * describe the weight as a tensor, or nothing was launched. */
bool bl_cu_whole_product(bl_stream s, const bl_cu_weight *w, const bl_cu_eight *x, void *y, bool f32, int64_t ldy,
                         bool accumulate, int sms);
#ifdef __cplusplus
}
#endif
#endif
