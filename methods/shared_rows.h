/* shared_rows.h - weights on the host, rounded row by row on all threads. */
#ifndef BL_METHODS_SHARED_ROWS_H
#define BL_METHODS_SHARED_ROWS_H
#include "harness/method.h"

/* What columns first .. first + n of a row lose goes into those from `open` on: row[j] -= sum over i of
 * lost[i] u[first + i, j]; u f32 [in, in], host. */
void bl_rows_hand_on(float *row, const float *lost, const float *u, int64_t in, int64_t first, int64_t n, int64_t open);
/* A scale or mean as its type stores it. */
float bl_rows_stored(bl_dtype type, double v);

/* Weight, factor and diagonal on the host: what such methods begin with. Weights of inputs that never came are 0, as in
 * GPTQ. In the arena `scratch`. */
typedef struct bl_rows {
    int64_t out, in;
    float *w, *u; /* [out, in], [in, in] */
    double damp;  /* what the factor took */
} bl_rows;
bl_status bl_rows_begin(const bl_method_run *r, const bl_linear *lin, bl_tensor h, double damp, bl_rows *k, bl_err *e);
/* The weight of `lin` becomes w, in a format whose given parts (those not NULL, as they are stored) and scales and
 * means [out, terms] are there; mean NULL: it has none. Fills mse, nmse and out_nmse of `stat`. */
bl_status bl_rows_store(const bl_method_run *r, bl_linear *lin, const bl_rows *k, const bl_format *f, const bl_shape *g,
                        const void *const given[BL_MAX_PARTS], const float *scale, const float *mean, int64_t terms,
                        bl_tensor h, bl_layer_stat *stat, bl_err *e);
#endif
