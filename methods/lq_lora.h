/* lq_lora.h - the configurations of lq-lora, and the information that weights its errors. */
#ifndef BL_METHODS_LQ_LORA_H
#define BL_METHODS_LQ_LORA_H
#include "harness/method.h"
#include "harness/train/effective.h"
#include "kernels/split.h"

enum { BL_LQ_CONFIGS = 243 };
/* b, b0, b1, B0, B1 of Guo et al. 2023, section 3.2: formats nf<bits>_lq and the rest of their shape. */
typedef struct bl_lq_config {
    int bits, scale_bits;
    bl_dtype scale;
    int64_t group, scale_group;
} bl_lq_config;
/* The grid of the paper, 243 of them, or a ninth of it: maxima in bf16, 256 scales share one, and scales of 2, 4 and 8
 * bits in the place of 2, 3 and 4. */
size_t bl_lq_grid(bool whole, bl_lq_config out[BL_LQ_CONFIGS]);
const bl_format *bl_lq_format(const bl_lq_config *c);
bl_shape bl_lq_shape(const bl_lq_config *c, const bl_linear *l); /* a group is no longer than a row */
/* Stored bits. */
double bl_lq_size(const bl_lq_config *c, const bl_linear *l);
/* The configuration of linear `l` where nothing is known of the weights but their number: for all linears the one of
 * most bits that a budget of `bits` a weight has room for, and the next for the first of them, as many as it goes. */
const bl_lq_config *bl_lq_guess(const bl_model *m, const bl_linear *l, double bits, const bl_lq_config *grid, size_t n);

/* Of each linear of the blocks, by its place in the model: the mean over windows of the squared gradient of the nll of
 * a window, [out, in] on the host (the diagonal of the empirical Fisher information). The weights become f32, with the
 * values that they have. bl_lq_lists_free. */
bl_status bl_lq_fisher(const bl_method_run *r, float ***out, bl_err *e);
void bl_lq_lists_free(const bl_model *m, float **f);
#endif
