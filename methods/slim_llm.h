/* slim_llm.h - the two halves of SliM-LLM: widths of slabs (slim_llm_widths.c), rounding (slim_llm_round.c). */
#ifndef BL_METHODS_SLIM_LLM_H
#define BL_METHODS_SLIM_LLM_H
#include "harness/method.h"

typedef struct bl_slim {
    int bits;         /* N */
    int64_t group;    /* columns of a slab */
    bool mixed;       /* widths differ */
    bool search;      /* ranges are searched */
    double lambda;    /* of salient weights in that search */
    bl_dtype scale;   /* type that scales are stored in */
    double *salience; /* out, may be NULL: [slabs] */
    double *kl;       /* out, may be NULL: [slabs / 2], by candidate from 1 on */
} bl_slim;

/* What the slabs of w f32 [out, in], contiguous, are to have: N - 1 bits the p least salient, N + 1 the p most salient,
 * p where the outputs for x act [rows, in] are nearest. u f32 [in, in] the factor of the inverse second moments
 * (bl_moments_factor). widths [slabs]. */
bl_status bl_slim_widths(const bl_method_run *r, bl_tensor w, bl_tensor u, bl_tensor x, const bl_slim *how,
                         uint8_t *widths, bl_err *e);
/* w becomes values of those widths; scale and zero f32 [out, slabs], of one bit mean |w| and the mean; *loss the sum of
 * e^2 / 2. */
bl_status bl_slim_round(const bl_method_run *r, bl_tensor w, bl_tensor u, const uint8_t *widths, const bl_slim *how,
                        bl_tensor scale, bl_tensor zero, double *loss, bl_err *e);
#endif
