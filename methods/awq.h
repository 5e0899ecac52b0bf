/* awq.h - AWQ's search for the scales of one input of a block (awq.c), for its tests. */
#ifndef BL_METHODS_AWQ_H
#define BL_METHODS_AWQ_H
#include "harness/method.h"

/* Linears that read one input, and what their scales are judged by. */
typedef enum bl_awq_place {
    BL_AWQ_ATTN, /* q, k, v: the output of the attention */
    BL_AWQ_O,    /* o: its own */
    BL_AWQ_MLP,  /* gate, up: the output of the MLP */
    BL_AWQ_DOWN, /* down: its own */
    BL_AWQ_PLACES
} bl_awq_place;

enum { BL_AWQ_MOST = 100 }; /* grid points */
typedef struct bl_awq_found {
    double loss[BL_AWQ_MOST]; /* mean squared error of the output, by grid point */
    int best;
    float *s; /* [in] of the best point, in r->scratch */
} bl_awq_found;

/* In a hook of a run of awq, the block acquired and its inputs gathered. The block is afterwards as it was. */
bl_status bl_awq_search(const bl_method_run *r, int64_t block, bl_awq_place place, bl_awq_found *out, bl_err *e);
#endif
