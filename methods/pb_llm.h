/* pb_llm.h - what PB-LLM does to the weight of a linear (pb_llm_round.c). */
#ifndef BL_METHODS_PB_LLM_H
#define BL_METHODS_PB_LLM_H
#include "shared_rows.h"

typedef struct bl_pb {
    double share;   /* of weights that are salient */
    int64_t group;  /* columns that share a threshold, and in each row a mean and a scale */
    bool magnitude; /* weights matter by their size, not by w^2 / U_jj^2 */
    bool diluted;   /* mean and scale over all columns of a group, with 0 for salient weights, as published */
    bl_dtype scale; /* type that scales and means are stored in */
} bl_pb;

/* Most weights of [out, in] that can be salient: of every group of columns all but the floor of (1 - share) of its
 * weights, and one more. */
int64_t bl_pb_salient(const bl_pb *how, int64_t out, int64_t in);
/* k->w becomes values of the format sign_int8 with salient [out, in], one byte a weight, and scale and mean
 * [out, groups + 1], whose last is the grid of the salient weights of a row. */
bl_status bl_pb_round(const bl_method_run *r, bl_rows *k, const bl_pb *how, uint8_t *salient, float *scale, float *mean,
                      bl_err *e);
#endif
