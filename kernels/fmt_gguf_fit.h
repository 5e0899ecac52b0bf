/* fmt_gguf_fit.h - the block of a GGUF format whose weights are nearest: least sum over the block of
 *
 *     importance[k] (w[k] - w^[k])^2
 *
 * where the importance of an input is, as a rule, its mean square over calibration text: the diagonal of the Hessian,
 * which llama.cpp calls importance matrix. Found by search, so that nothing here is a rule of the format; none of it is
 * ggml's code, whose searches weigh with importance x sqrt(mean w^2 + w^2) instead.
 *
 * Two kinds of blocks, of sub-blocks each:
 *     scaled     w ~ d step[i] value[code]      value: a level or a point of a grid; step: what scales may be
 *     affine     w ~ d s[i] code - e m[i]
 *
 * Each sub-block first gets the scale it would like best: from several starts, codes are the nearest and the scale
 * least squares of them. Then d is chosen from a range of candidates for which all like scales are near, each sub-block
 * choosing between its two neighbouring steps with codes made anew; last, d is least squares of all codes, again and
 * again while that helps.
 */
#ifndef BL_KERNELS_FMT_GGUF_FIT_H
#define BL_KERNELS_FMT_GGUF_FIT_H
#include "fmt_gguf.h"

/* The block at hand. Weights are divided by `unit`, a power of two, so that the largest is near 1; importance is
 * relative to its mean, and never 0. */
typedef struct bl_fit_in {
    const float *w, *o;
    float unit;
} bl_fit_in;
/* Fills a block; false: a scale does not fit fp16. */
typedef bool bl_block_least(const bl_fit_in *in, uint8_t *block);
bl_status bl_block_pack_least(const bl_format *f, const bl_shape *g, const float *w, const float *importance,
                              void *const part[], bl_block_least *least, bl_err *e);

/* ---- values a code may stand for ---- */
typedef struct bl_match {
    float error, wq, qq; /* sum of o (w - s q)^2, o w q, o q^2 */
} bl_match;
typedef struct bl_codebook bl_codebook;
/* The nearest values at scale s of the n weights of a sub-block; code: one a weight or a point, may be NULL. */
typedef void bl_matcher(const bl_codebook *c, const float *w, const float *o, float s, uint32_t *code, bl_match *m);
struct bl_codebook {
    int n; /* weights of a sub-block */
    bl_matcher *nearest;
    float top;          /* largest magnitude of a value */
    float from, to;     /* scales tried at first: max |w| / top, times these and what is between */
    int starts;         /* how many */
    bool turns;         /* the values are others with their sign turned: negative scales are tried too */
    int low, high;      /* bl_nearest_integer: the integers between; code: from low */
    const float *mid;   /* bl_nearest_level: halfway between neighbours */
    const float *level; /* ascending; code: index */
    int levels;
    const uint16_t *point; /* grids: ascending */
    int points, per_code;  /* per_code: weights that a code stands for */
    bool even;             /* the number of minus signs of eight weights is even */
    int per_shift;         /* iq1: weights that are shifted together */
};
bl_matcher bl_nearest_integer, bl_nearest_level;
extern const float bl_iq4_values[16], bl_iq4_mid[15]; /* levels of iq4_nl and iq4_xs, and half way between */
/* Grids. code: number of the point, signs from bit 16 (set: minus); iq1: bit 16 set: shifted down. */
bl_matcher bl_nearest_iq1, bl_nearest_iq2, bl_nearest_iq3;

/* ---- scaled ---- */
enum { BL_FIT_SUBS = 16 };
typedef struct bl_scaled {
    const bl_codebook *codes;
    int subs, steps;
    const float *step; /* ascending */
    bool fixed;        /* d is 1 */
} bl_scaled;
typedef struct bl_scaled_fit {
    uint16_t d; /* fp16 */
    int step[BL_FIT_SUBS];
    uint32_t code[BL_BLOCK_MAX]; /* of all sub-blocks, one after another */
} bl_scaled_fit;
bool bl_fit_scaled(const bl_scaled *how, const bl_fit_in *in, bl_scaled_fit *out);

/* ---- affine ---- */
typedef struct bl_affine {
    int subs, n;    /* sub-blocks, and weights of one */
    int qmax, smax; /* largest code; largest s and m. smax 0: one sub-block, w ~ d code + m with m of any sign */
} bl_affine;
typedef struct bl_affine_fit {
    uint16_t d, e; /* fp16; smax 0: e is m */
    int s[BL_FIT_SUBS], m[BL_FIT_SUBS];
    uint8_t code[BL_BLOCK_MAX];
} bl_affine_fit;
bool bl_fit_affine(const bl_affine *how, const bl_fit_in *in, bl_affine_fit *out);
#endif
