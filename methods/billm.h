/* billm.h - what BiLLM does to the weight of a linear: searches in billm_search.c, rounding in billm_round.c. */
#ifndef BL_METHODS_BILLM_H
#define BL_METHODS_BILLM_H
#include "kernels/format.h"

enum { BL_BILLM_COLUMNS = 50, BL_BILLM_SPLITS = 81, BL_BILLM_TERMS = 4 };

/* s [rows, n]: what the weights of a block matter. salient [n] becomes 1 in the k columns of the largest sum of |s|
 * that, with two signs a weight in both parts, leave the least squared error of s; 1 <= k < BL_BILLM_COLUMNS and n.
 * error [BL_BILLM_COLUMNS]: the mean squared one by k, may be NULL. */
bl_status bl_billm_columns(const float *s, int64_t rows, int64_t n, uint8_t *salient, double *error, bl_err *e);
/* *threshold of |s|: outside salient columns weights below it and the others, each with one sign, leave the least
 * squared error of s, among 81 quantiles 0.10 ... 0.90 of |s| with 0 in salient columns. */
bl_status bl_billm_split(const float *s, int64_t rows, int64_t n, const uint8_t *salient, float *threshold, bl_err *e);

typedef struct bl_billm {
    int64_t group;    /* columns of a block */
    bool magnitude;   /* weights matter by themselves, not by w^2 / U_jj^2 */
    bl_dtype scale;   /* type that scales and means are stored in */
    float *threshold; /* out, may be NULL: [blocks] */
} bl_billm;
/* w f32 [rows, in], host, becomes values of the format sign_split with salient [in], one byte a column, scale and mean
 * [rows, 4 blocks]; u f32 [in, in] the factor of the inverse second moments (bl_moments_factor). */
bl_status bl_billm_round(float *w, const float *u, int64_t rows, int64_t in, const bl_billm *how, uint8_t *salient,
                         float *scale, float *mean, bl_err *e);
#endif
