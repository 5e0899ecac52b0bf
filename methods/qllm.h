/* qllm.h - which channels of an input are taken apart and which become one, for the method and its tests.
 * What bl_qllm_search finds is a transform of the input (bl_qllm_rows) and columns of the weights (bl_qllm_columns).
 */
#ifndef BL_METHODS_QLLM_H
#define BL_METHODS_QLLM_H
#include "kernels/ops.h"

/* Channel j becomes T copies x_j / T with the column of the weight each (disassembly); of others some join another one:
 * mean of x, sum of columns (assembly). Widened by the copies the channels are places 0 .. wide - 1. */
typedef struct bl_reassembly {
    int64_t n, wide;
    int32_t *copies; /* [n] T */
    int32_t *from;   /* [wide] the channel that a place is of */
    int32_t *into;   /* [wide] the place that it joins; itself: none */
    int32_t *to;     /* [wide] where it ends, 0 .. n - 1 */
} bl_reassembly;

typedef struct bl_qllm_seen { /* of calibration text */
    int64_t n, rows;
    const float *x;    /* [n, rows] one channel after another */
    const float *most; /* [n] largest |x|, of all text */
    const float *sum;  /* [n] sums of the columns of all weights that read it */
} bl_qllm_seen;

/* ((sum of w_i + sum of w_k) |x_i - x_k|)^2 of places i = 0, 2, ... and k = 1, 3, ...: [(wide + 1) / 2, wide / 2], the
 * largest float where one is a copy. `from` and `copies` NULL: the channels as they are. */
bl_status bl_qllm_scores(bl_backend *be, const bl_qllm_seen *s, const int32_t *from, int64_t wide,
                         const int32_t *copies, float *scores, bl_err *e);

/* What the reassembled and rounded consumer loses; wide = n: nothing is reassembled. */
typedef bl_status bl_qllm_loss(void *ctx, const bl_reassembly *k, double *loss, bl_err *e);
typedef struct bl_qllm_found {
    double theta, tried; /* channels above theta are taken apart, the loss of that as it was tried; 0, infinity: none */
    double none, used;   /* the loss without, and of *out */
    int64_t added;       /* channels, of the best that was tried */
} bl_qllm_found;
/* The threshold of least loss among those that add at most ratio n channels; *out is in the arena and, unless `always`,
 * nothing where it does not lose less than that. */
bl_status bl_qllm_search(bl_backend *be, bl_arena *a, const bl_qllm_seen *s, double ratio, bool always,
                         bl_qllm_loss *loss, void *ctx, bl_reassembly *out, bl_qllm_found *found, bl_err *e);

/* Rows (to, from, by) of BL_T_PERMUTE, m [wide, 3]; how many there are. */
int64_t bl_qllm_rows(const bl_reassembly *k, int32_t *m);
/* y [out, n] of w [out, n]. */
void bl_qllm_columns(const bl_reassembly *k, const float *w, int64_t out, float *y);
#endif
