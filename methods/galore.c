/* galore.c - every weight is trained, with moments of the gradient within a subspace (Zhao et al. 2024).
 *
 * Of a matrix of a block, with P the first singular vectors of its gradient G on the shorter side, found anew every so
 * many steps:
 *
 *     R = G Pt;  m, v of AdamW from R, which stay when P changes;  W <- W - lr scale (m / (sqrt(v) + eps), corrected) P
 *
 * Embedding, head and norms take AdamW's steps. In 8 bits with eight-bits of the training.
 */
#include "harness/quant/dense.h"
#include "harness/train/effective.h"

typedef struct opts {
    int64_t rank, every;
    double scale;
    bool near;
} opts;
static const bl_opt rows[] = {
    {"rank", BL_OPT_INT, .min = 1, .max = 65536, .def.i = 128, .at = offsetof(opts, rank), .arg = "N",
     .doc = "of the subspaces; all of a matrix that has less"},
    {"every", BL_OPT_INT, .min = 1, .max = 1 << 30, .def.i = 200, .at = offsetof(opts, every), .arg = "N",
     .doc = "steps that a subspace stays"},
    {"step-scale", BL_OPT_REAL, .min = 1e-6, .max = 1000, .def.r = 0.25, .at = offsetof(opts, scale), .arg = "X",
     .doc = "learning rate in subspaces, as a share of the others'"},
    {"near", BL_OPT_BOOL, .at = offsetof(opts, near),
     .doc = "singular vectors near the first ones, from random directions in two passes: sooner where "
            "matrices are wide"},
    {0}};

static bl_status learns(const bl_method_run *r, bl_trainable *t, bl_err *e)
{
    const opts *o = r->opts;
    return bl_train_galore(t, &(bl_low){.rank = o->rank, .every = o->every, .scale = o->scale, .near = o->near ? 1 : 0},
                           e);
}

static bool predict(const bl_method_run *r, bl_linear *lin, const bl_format **format, bl_shape *shape)
{
    (void)r;
    return bl_predict_dense(lin, "fp32", format, shape);
}

const bl_method bl_method_galore = {
    .name = "galore",
    .version = 1,
    .title = "Gradients in subspaces",
    .cite = "Zhao et al. 2024, arXiv 2403.03507",
    .doc = "Every parameter is trained; the optimizer's moments of the blocks' matrices are of their gradients within "
           "subspaces, so that they take little memory. When a subspace is found anew its moments stay as they are: "
           "neither reset nor turned into the new one.",
    .deviates = "weights, gradients and subspaces are fp32, not bf16\n"
                "gradients of all weights are held until the backward pass has ended: no step is made within it, layer "
                "by layer, as q-galore does",
    .needs = BL_NEED_TRAINING,
    .opts = rows,
    .opts_size = sizeof(opts),
    .learns = learns,
    .predict = predict,
    .wants_head = bl_wants_head,
};
