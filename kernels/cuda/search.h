/* search.h - searches over a whole weight and the ops of text encoders, as launch.h has the other kernels. */
#ifndef BL_KERNELS_CUDA_SEARCH_H
#define BL_KERNELS_CUDA_SEARCH_H
#include "launch.h"
#ifdef __cplusplus
extern "C" {
#endif
/* ---- searches over a whole weight (search.cu); see ops_fit.h ---- */
typedef struct bl_cu_hqq {
    const float *w;                      /* [out, in] */
    float *scale, *zero, *next;          /* [all]; scale: 1 / s until the end */
    double *error;                       /* [all], of the zeros that are there */
    int64_t all, out, in, group, groups; /* groups: of a row */
    bool down, round_zero;
    float qmax, beta, p, least; /* least: errors up to here shrink to 0 */
} bl_cu_hqq;
void bl_cu_hqq_begin(bl_stream s, const bl_cu_hqq *a);
void bl_cu_hqq_step(bl_stream s, const bl_cu_hqq *a); /* writes next and error */
void bl_cu_hqq_end(bl_stream s, const bl_cu_hqq *a);
typedef struct bl_cu_greedy {
    float *w;                  /* [out, in] */
    double *g;                 /* [out, in]: (w - target) H; scratch afterwards */
    const double *h;           /* [in, in] */
    const float *scale, *zero; /* [out] */
    const int32_t *order;      /* [in] */
    int64_t out, in;
    int bits, passes;
} bl_cu_greedy;
void bl_cu_greedy_rows(bl_stream s, const bl_cu_greedy *a);
typedef struct bl_cu_ranges {
    const float *w, *u;  /* [out, n], [n] */
    float *scale, *zero; /* [out] */
    double *salient;     /* scratch, one number; NULL: all count alike */
    int64_t out, n;
    float lambda;
    int bits, scale_type;
} bl_cu_ranges;
void bl_cu_range_search(bl_stream s, const bl_cu_ranges *a);

/* ---- encoders (encode.cu); see ops_encode.h ---- */
void bl_cu_layernorm(bl_stream s, const uint16_t *x, int64_t ldx, const float *w, const float *b, uint16_t *y,
                     int64_t ldy, int64_t rows, int64_t n, double eps);
void bl_cu_gelu(bl_stream s, const uint16_t *x, int64_t ldx, uint16_t *y, int64_t ldy, int64_t rows, int64_t n);
#ifdef __cplusplus
}
#endif
#endif
