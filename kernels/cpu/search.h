/* search.h - what an index of vectors does with one row (search.c), in plain C and with AVX2; the bits are the same. */
#ifndef BL_KERNELS_CPU_SEARCH_H
#define BL_KERNELS_CPU_SEARCH_H
#include "kernels/index.h"

typedef struct bl_search_steps {
    /* x[n] as s c + r: codes c, s, |s c|^2 and |r|^2; false: x is not finite */
    bool (*row_codes)(const float *x, int64_t n, int8_t *c, float *s, double *size, double *off);
    int32_t (*sum_codes)(const int8_t *c, const int16_t *d, int64_t width); /* c . d; width a multiple of 16 */
    double (*score)(const float *x, const float *q, int64_t n);             /* x . q */
} bl_search_steps;
bool bl_ref_row_codes(const float *x, int64_t n, int8_t *c, float *s, double *size, double *off);
int32_t bl_ref_sum_codes(const int8_t *c, const int16_t *d, int64_t width);
double bl_ref_score(const float *x, const float *q, int64_t n);
bool bl_avx2_row_codes(const float *x, int64_t n, int8_t *c, float *s, double *size, double *off);
int32_t bl_avx2_sum_codes(const int8_t *c, const int16_t *d, int64_t width);
double bl_avx2_score(const float *x, const float *q, int64_t n);
#endif
