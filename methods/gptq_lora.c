/* gptq_lora.c - low-rank adapters beside integers that GPTQ rounded: the baseline that methods with a merge of their
 * own are compared with (as in Guo et al. 2023; GPTQ: Frantar et al. 2022).
 */
#include "shared_gptq.h"
#include "shared_lora.h"

typedef struct opts {
    bl_gptq gptq; /* first: the hooks of GPTQ read it */
    bl_lora_opts lora;
} opts;
static const bl_opt rows[] = {
    BL_GPTQ_BASE_ROWS(opts, gptq, 4, 128),
    {"symmetric", BL_OPT_BOOL, .at = offsetof(opts, gptq.q.symmetric), .doc = "no zero point"},
    {"act-order", BL_OPT_BOOL, .at = offsetof(opts, gptq.act_order),
     .doc = "columns in order of their inputs' size, largest first (desc_act)"},
    BL_LORA_ROWS_OF(opts, lora, 64, 16),
    {0}};

static bl_status check(const bl_method_run *r, bl_err *e)
{
    bl_status st = bl_gptq_check(r, e);
    return st == BL_OK ? bl_lora_check(r, &((const opts *)r->opts)->lora, e) : st;
}

static bl_status learns(const bl_method_run *r, bl_trainable *t, bl_err *e)
{
    return bl_lora_learns(r, &((const opts *)r->opts)->lora, NULL, t, e);
}

static bool predict(const bl_method_run *r, bl_linear *lin, const bl_format **format, bl_shape *shape)
{
    bool known = bl_gptq_predict(r, lin, format, shape);
    bl_lora_predict(&((const opts *)r->opts)->lora, lin);
    return known;
}

const bl_method bl_method_gptq_lora = {
    .name = "gptq-lora",
    .version = 1,
    .title = "Low-rank adapters on a GPTQ base",
    .cite = "Frantar et al. 2022, arXiv 2210.17323; the baseline of Guo et al. 2023, arXiv 2311.12023",
    .doc = "Weights as gptq rounds them, in groups of 128, then adapters beside them that are trained; the chain "
           "gptq:w4g128+lora has every option of both.",
    .deviates =
        "adapters and gradients are fp32 unless --adapter-type bf16, --gradient-type bf16 are said, moments fp32 "
        "or 8 bits",
    .wbits = 0x11c, /* 2, 3, 4, 8 */
    .needs = BL_NEED_HESSIAN | BL_NEED_TRAINING,
    .ops = bl_gptq_ops,
    .opts = rows,
    .opts_size = sizeof(opts),
    .settle = bl_gptq_settle,
    .check = check,
    .layer = bl_gptq_base_layer,
    .sequential = bl_gptq_sequential,
    .learns = learns,
    .predict = predict,
    .notes = bl_gptq_notes,
    .work = bl_gptq_work,
};
