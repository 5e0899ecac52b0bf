/* arb_llm.h - what ARB-LLM does to the weight of a linear: masks as in billm.h, signs and scales refined in turn
 * (arb_llm_round.c). */
#ifndef BL_METHODS_ARB_LLM_H
#define BL_METHODS_ARB_LLM_H
#include "billm.h"

/* Sets of weights of a block: outside salient columns small and large, with one term; inside with two. */
enum { BL_ARB_SMALL, BL_ARB_LARGE, BL_ARB_SALIENT_SMALL, BL_ARB_SALIENT_LARGE, BL_ARB_SETS };
enum { BL_ARB_ROW = 6, BL_ARB_COLUMN = 4 }; /* numbers as the format sign_outer has them */

typedef struct bl_arb {
    int64_t group;   /* columns of a block */
    int64_t columns; /* that may be salient */
    int rounds;
    bool magnitude; /* as bl_billm */
    bool split;     /* salient columns have two sets too (the paper's column-group bitmap); else the first is all */
    bl_dtype scale; /* type that the numbers are stored in */
    uint8_t *sets;  /* out, may be NULL: [rows, in] */
    double *error;  /* out, may be NULL: [blocks, BL_ARB_SETS, rounds + 1] squared errors */
} bl_arb;
/* k->w becomes values of the format sign_outer with salient [in], one byte a column, row [rows, 6 blocks] and column
 * [in, 4]. */
bl_status bl_arb_round(bl_backend *be, bl_rows *k, const bl_arb *how, uint8_t *salient, float *row, float *column,
                       bl_err *e);
#endif
