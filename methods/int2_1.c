/* int2_1.c - adapters that repair what rounding to few bits broke (INT2.1, Chai et al. 2023, arXiv 2306.08162): beside
 * a GPTQ base they are trained towards the distribution of the model as it was, low-rank error correction. Nothing but
 * the packed integers of the base is kept for the way back, as everywhere here (the paper's first part).
 */
#include "shared_gptq.h"
#include "shared_lora.h"
#include "harness/train/taught.h"

typedef struct opts {
    bl_gptq gptq; /* first: the hooks of GPTQ read it */
    bl_lora_opts lora;
    double kl, ce;
    int64_t topk;
} opts;
static const bl_opt rows[] = {
    BL_GPTQ_BASE_ROWS(opts, gptq, 2, 128),
    {"kl", BL_OPT_REAL, .min = 0, .max = 1e6, .def.r = 1, .at = offsetof(opts, kl), .arg = "X",
     .doc = "weight of the divergence from the model as it was, a sum over the tokens of a sequence"},
    {"ce", BL_OPT_REAL, .min = 0, .max = 1e6, .def.r = 200, .at = offsetof(opts, ce), .arg = "X",
     .doc = "weight of the cross-entropy of the next token, a mean over tokens"},
    {"topk", BL_OPT_INT, .min = 0, .max = 1 << 24, .at = offsetof(opts, topk), .arg = "K",
     .doc = "another loss: of that model's logits only those of the K most likely tokens are kept, made once for each "
            "text, and all other tokens count as one; 0: all, computed anew"},
    BL_LORA_ROWS_OF(opts, lora, 32, 128),
    {0}};

static bl_status check(const bl_method_run *r, bl_err *e)
{
    return bl_lora_check(r, &((const opts *)r->opts)->lora, e);
}

static bl_status learns(const bl_method_run *r, bl_trainable *t, bl_err *e)
{
    const opts *o = r->opts;
    bl_status st = bl_lora_learns(r, &o->lora, NULL, t, e);
    if (st == BL_OK) st = bl_train_taught(t, r->model->ckpt, o->kl, o->ce, e);
    return st == BL_OK && o->topk ? bl_train_topk(t, o->topk, e) : st;
}

static bool predict(const bl_method_run *r, bl_linear *lin, const bl_format **format, bl_shape *shape)
{
    bool known = bl_gptq_predict(r, lin, format, shape);
    bl_lora_predict(&((const opts *)r->opts)->lora, lin);
    return known;
}

const bl_method bl_method_int2_1 = {
    .name = "int2.1",
    .version = 2,
    .title = "Adapters that correct few bits",
    .cite = "Chai et al. 2023, arXiv 2306.08162",
    .doc =
        "Weights as gptq rounds them, in groups of 128, and adapters that learn the divergence from the model as this "
        "stage found it and the next token; that model is computed beside, so it takes its memory too; what it makes "
        "of a text that comes again is kept, where that takes no more than 512 MiB. topk=K is a method of its own: K "
        "logits of a token, 8 K bytes of the "
        "host's memory, are the teacher from then on.",
    .deviates =
        "the divergence is of the tokens that count, not of every position; adapters, gradients and moments are "
        "fp32; a loss that is not finite ends the run, where the published code puts 0",
    .wbits = 0x11c, /* 2, 3, 4, 8 */
    .needs = BL_NEED_HESSIAN | BL_NEED_TRAINING,
    .ops = bl_gptq_ops,
    .opts = rows,
    .opts_size = sizeof(opts),
    .check = check,
    .layer = bl_gptq_base_layer,
    .learns = learns,
    .predict = predict,
    .notes = bl_gptq_notes,
    .work = bl_gptq_work,
};
