/* qa_lora.c - adapters that read groups of inputs and end in the zero points of a GPTQ base (Xu et al. 2023,
 * arXiv 2309.14717, section 3.3; what is computed: harness/train/pool.c).
 */
#include "shared_gptq.h"
#include "shared_lora.h"
#include "shared_weight.h"

typedef struct opts {
    bl_gptq gptq; /* first: the hooks of GPTQ read it */
    bl_lora_opts lora;
    int pool;
    bool beside;
} opts;
enum { MEANS };
static const char *const pools[] = {"mean", "sum", NULL};
static const bl_opt rows[] = {
    BL_GPTQ_BASE_ROWS(opts, gptq, 4, 32),
    {"scale", BL_OPT_CHOICE, .choices = bl_gptq_scales, .at = offsetof(opts, gptq.scale),
     .doc = "type that scales, and zero points in the end, are stored in"},
    {"pool", BL_OPT_CHOICE, .choices = pools, .at = offsetof(opts, pool),
     .doc =
         "what an adapter reads of a group of inputs: their mean, as the published code, or their sum, as the paper"},
    {"beside", BL_OPT_BOOL, .at = offsetof(opts, beside),
     .doc = "adapters stay beside the weights in the end, and do not go into zero points"},
    BL_LORA_ROWS_OF(opts, lora, 64, 16),
    {0}};

static bl_status check(const bl_method_run *r, bl_err *e)
{
    const opts *o = r->opts;
    uint32_t targets;
    bl_status st = bl_lora_targets(&o->lora, &targets, e);
    if (st == BL_OK)
        st = bl_plain_linears(r, targets, "a pooled adapter goes into the zero points of a plain linear", e);
    return st;
}

static bl_status learns(const bl_method_run *r, bl_trainable *t, bl_err *e)
{
    const opts *o = r->opts;
    bl_status st = bl_lora_learns(r, &o->lora, NULL, t, e);
    return st == BL_OK ? bl_train_pooled(t, o->pool == MEANS, !o->beside, e) : st;
}

static bool sequential(const bl_method_run *r)
{
    (void)r;
    return true;
}

static bool predict(const bl_method_run *r, bl_linear *lin, const bl_format **format, bl_shape *shape)
{
    const opts *o = r->opts;
    uint32_t targets = 0;
    bool known = bl_gptq_predict(r, lin, format, shape);
    if (o->beside) bl_lora_predict(&o->lora, lin);
    else if (bl_lora_targets(&o->lora, &targets, NULL) == BL_OK && (!targets || targets & BL_ROLE_BIT(lin->role)))
        shape->zero = BL_ZERO_FLOAT;
    return known;
}

const bl_method bl_method_qa_lora = {
    .name = "qa-lora",
    .version = 1,
    .title = "Adapters that end in zero points",
    .cite = "Xu et al. 2023, arXiv 2309.14717",
    .doc =
        "Weights as gptq rounds them, in groups of 32 and step by step, and adapters that read the mean of each group; "
        "they go into the zero points, which are numbers then: nothing stays beside the integers.",
    .deviates =
        "zero points in the end are rounded to the type of the scales, fp16 unless told; dropout acts on inputs, "
        "before they are pooled",
    .wbits = 0x1c, /* 2, 3, 4 */
    .needs = BL_NEED_HESSIAN | BL_NEED_TRAINING,
    .ops = bl_gptq_ops,
    .opts = rows,
    .opts_size = sizeof(opts),
    .check = check,
    .layer = bl_gptq_base_layer,
    .sequential = sequential,
    .learns = learns,
    .predict = predict,
    .notes = bl_gptq_notes,
    .work = bl_gptq_work,
};
