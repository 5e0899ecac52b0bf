/* q_galore.c - every weight is trained in eight bits, with eight-bit moments within subspaces of four (Zhang et al.
 * 2024).
 *
 * The weights of the blocks are int8 in groups along the inputs and nothing else: no copy of more bits is kept. In the
 * backward pass, as soon as the gradient G of one is there,
 *
 *     R = G Pt, P the first singular vectors of a gradient in 4 bits;  u of AdamW on R, its moments in 8 bits
 *     W <- round(W + scale u P), up or down by chance, range and zero of each group anew
 *
 * and G is gone. P is found anew every so many steps, and twice as seldom once five of its first vectors have hardly
 * turned. Embedding, head and norms take AdamW's steps after the pass, with moments of 8 bits.
 */
#include "harness/quant/dense.h"
#include "harness/train/effective.h"

typedef struct opts {
    int64_t group, rank, every, bits;
    double scale, same;
} opts;
static const bl_opt rows[] = {
    {"group", BL_OPT_INT, .min = 8, .max = 65536, .def.i = 256, .at = offsetof(opts, group), .arg = "N",
     .doc = "weights that share a scale; all of a row that has less"},
    {"rank", BL_OPT_INT, .min = 1, .max = 65536, .def.i = 128, .at = offsetof(opts, rank), .arg = "N",
     .doc = "of the subspaces; all of a matrix that has less"},
    {"every", BL_OPT_INT, .min = 1, .max = 1 << 30, .def.i = 200, .at = offsetof(opts, every), .arg = "N",
     .doc = "steps that a subspace stays at first"},
    {"step-scale", BL_OPT_REAL, .min = 1e-6, .max = 1000, .def.r = 0.25, .at = offsetof(opts, scale), .arg = "X",
     .doc = "learning rate in subspaces, as a share of the others'"},
    {"subspace-bits", BL_OPT_INT, .min = 0, .max = 8, .def.i = 4, .at = offsetof(opts, bits), .arg = "0..8",
     .doc = "that a subspace is kept in, in groups of 256; 0: fp32"},
    {"same", BL_OPT_REAL, .min = 0, .max = 1, .def.r = 0.4, .at = offsetof(opts, same), .arg = "X",
     .doc = "mean cosine of five first vectors with those before them from which "
            "on a subspace stays twice as long; 0: it never does"},
    {0}};

static bl_status check(const bl_method_run *r, bl_err *e)
{
    const opts *o = r->opts;
    return o->bits == 1
               ? bl_fail(e, BL_E_CONFIG, "subspace-bits: directions need at least 2 bits; 0 keeps them in fp32")
               : BL_OK;
}

static bl_status learns(const bl_method_run *r, bl_trainable *t, bl_err *e)
{
    const opts *o = r->opts;
    return bl_train_packed(
        t,
        &(bl_low){
            .rank = o->rank, .every = o->every, .scale = o->scale, .near = 768, .bits = (int)o->bits, .same = o->same},
        o->group, r->seed, e);
}

static bool predict(const bl_method_run *r, bl_linear *lin, const bl_format **format, bl_shape *shape)
{
    const opts *o = r->opts;
    const bool end = lin->role == BL_ROLE_EMBED || lin->role == BL_ROLE_HEAD;
    bl_predict_dense(lin, end ? "fp32" : "int8", format, shape);
    if (end) return true;
    shape->group = BL_MIN(o->group, lin->in);
    shape->zero = BL_ZERO_PACKED;
    shape->scale = BL_BF16;
    return true;
}

const bl_method bl_method_q_galore = {
    .name = "q-galore",
    .version = 3,
    .title = "Weights of eight bits, gradients in subspaces of four",
    .cite = "Zhang et al. 2024, arXiv 2407.08296",
    .doc =
        "Every parameter is trained; the blocks' weights are integers of 8 bits in training too, rounded by chance "
        "after each step, which is made within the backward pass, layer by layer, when a weight's gradient is there. "
        "With accumulate above 1 gradients are kept until the last pass. When a subspace is found anew its moments "
        "stay as they are: neither reset nor turned into the new one.",
    .deviates = "embedding, head, norms and gradients are fp32, not bf16\n"
                "groups of weights end with a row, as codes of 4 bits are packed; the authors keep one in a byte\n"
                "singular vectors of matrices of 768 and more on a side are near ones, in two passes",
    .needs = BL_NEED_TRAINING,
    .opts = rows,
    .opts_size = sizeof(opts),
    .check = check,
    .learns = learns,
    .packs_first = true,
    .predict = predict,
    .wants_head = bl_wants_head,
};
