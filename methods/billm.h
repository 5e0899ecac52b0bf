/* billm.h - what BiLLM does to the weight of a linear: searches in billm_search.c, rounding in billm_round.c. */
#ifndef BL_METHODS_BILLM_H
#define BL_METHODS_BILLM_H
#include "shared_rows.h"

enum { BL_BILLM_COLUMNS = 50, BL_BILLM_SPLITS = 81, BL_BILLM_TERMS = 4 };

/* s [rows, n]: what the weights of a block matter. salient [n] becomes 1 in the k columns of the largest sum of |s|
 * that, with two signs a weight in both parts, leave the least squared error of s; 1 <= k <= most, BL_BILLM_COLUMNS - 1
 * and n - 1. error [BL_BILLM_COLUMNS]: the mean squared one by k, may be NULL. */
bl_status bl_billm_columns(bl_backend *be, const float *s, int64_t rows, int64_t n, int64_t most, uint8_t *salient,
                           double *error, bl_err *e);
/* *threshold of |s|: outside salient columns weights below it and the others, each with one sign, leave the least
 * squared error of s, among 81 quantiles 0.10 ... 0.90 of |s| with 0 in salient columns. `of_salient`: the same inside
 * them, with two signs, among quantiles of |s| there without zeros; candidates whose errors differ by less than 1e-7 of
 * the whole are equal, and the first of equal ones wins. */
bl_status bl_billm_split(bl_backend *be, const float *s, int64_t rows, int64_t n, const uint8_t *salient,
                         bool of_salient, float *threshold, bl_err *e);

typedef struct bl_billm {
    int64_t group;    /* columns of a block */
    bool magnitude;   /* weights matter by themselves, not by w^2 / U_jj^2 */
    bl_dtype scale;   /* type that scales and means are stored in */
    float *threshold; /* out, may be NULL: [blocks] */
} bl_billm;
/* What the weights of the n columns from `first` on matter: s [rows, n]. */
void bl_billm_matter(const bl_rows *k, int64_t first, int64_t n, bool magnitude, float *s);
/* k->w becomes values of the format sign_split with salient [in], one byte a column, scale and mean [rows, 4 blocks].
 */
bl_status bl_billm_round(bl_backend *be, bl_rows *k, const bl_billm *how, uint8_t *salient, float *scale, float *mean,
                         bl_err *e);
#endif
