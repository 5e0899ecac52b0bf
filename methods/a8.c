/* a8.c - weights as they are, activations in 8 bits: what the linears of the blocks read is rounded to integers with
 * one scale for some neighbours, as llama.cpp does before every product.
 *
 *     scale = max|x| / 127 of the group,  code = round(x / scale), half to even
 *
 * Where a weight is of integers or of GGUF blocks that are some (q4_0, q5_0, q8_0, q2_k ... q6_k), products run in
 * integers with exact sums; others see the rounded numbers, and the row says `simulated`.
 */
#include "harness/method.h"

typedef struct opts {
    int64_t group;
    bool zero, head;
} opts;

static const bl_opt rows[] = {
    {"act-group", BL_OPT_INT, .min = 0, .max = 65536, .def.i = 32, .at = offsetof(opts, group), .arg = "N",
     .doc = "activations that share a scale; 0: those of a token"},
    {"zero-point", BL_OPT_BOOL, .at = offsetof(opts, zero),
     .doc = "their range need not be as long on both sides of 0"},
    {"head", BL_OPT_BOOL, .at = offsetof(opts, head), .doc = "those of lm_head too, where it is not the embedding"},
    {0}};

static bl_status layer(const bl_method_run *r, bl_linear *lin, bl_layer_stat *stat, bl_err *e)
{
    const opts *o = r->opts;
    (void)stat;
    (void)e;
    if (lin->block < 0 && lin->role != BL_ROLE_HEAD) return BL_OK;
    bl_linear_set_act(
        lin,
        (bl_actq){.bits = 8, .symmetric = !o->zero, .unit = o->group ? BL_ACT_GROUP : BL_ACT_TOKEN, .group = o->group});
    return BL_OK;
}

static bool wants_head(const bl_method_run *r) { return ((const opts *)r->opts)->head; }

static bl_status check(const bl_method_run *r, bl_err *e)
{
    if (!wants_head(r) || r->model->head.weight.format) return BL_OK;
    return bl_fail(e, BL_E_CONFIG, "a8: head: the head of this model is its embedding, whose input are ids");
}

const bl_method bl_method_a8 = {
    .name = "a8",
    .version = 1,
    .title = "Activations of 8 bits",
    .cite = "ggml-org/llama.cpp: activations of products as Q8_0 and Q8_K",
    .doc =
        "Weights as they are, activations in blocks of 8-bit integers; alone or after any other method: gguf:q4_k+a8.",
    .opts = rows,
    .opts_size = sizeof(opts),
    .check = check,
    .layer = layer,
    .wants_head = wants_head,
};
