/* merge.c - adapters beside weights become part of them: W + s B A in fp32, then the format that is asked for. After a
 * base of four bits W is what its codes mean (Dettmers et al. 2023: the adapters learned beside that, not beside the
 * weights that were rounded). */
#include "shared_weight.h"

typedef struct opts {
    int as;
} opts;
static const char *const formats[] = {"bf16", "fp16", "fp32", NULL};
static const bl_opt rows[] = {
    {"as", BL_OPT_CHOICE, .choices = formats, .at = offsetof(opts, as), .doc = "what the sum is rounded to"}, {0}};

/* Outputs that DoRA scales. */
static bool only_scales(const bl_linear *l)
{
    for (int i = 0; i < l->n_after; i++)
        if (l->transform[l->n_transforms + i].kind != BL_T_SCALE) return false;
    return true;
}

static bl_status check(const bl_method_run *r, bl_err *e)
{
    bool any = false;
    for (size_t i = 0; i < r->model->n_linears; i++) {
        const bl_linear *l = &r->model->linears[i];
        if (!l->n_adapters) continue;
        any = true;
        if (l->n_transforms || !only_scales(l))
            return bl_fail(e, BL_E_UNSUPPORTED, "%s: its adapter reads inputs that its weight sees transformed",
                           l->name);
    }
    return any ? BL_OK : bl_fail(e, BL_E_CONFIG, "no linear has an adapter; merge follows what adds some, like lora");
}

static bl_status layer(const bl_method_run *r, bl_linear *lin, bl_layer_stat *stat, bl_err *e)
{
    const opts *o = r->opts;
    bl_status st = BL_OK;
    const bl_shape shape = {.out = lin->out, .in = lin->in};
    bl_weight sum = {0};

    if (!lin->n_adapters) return BL_OK;
    BL_TRY(bl_weight_new(r->be, bl_format_find("fp32"), &shape, &sum, e));
    BL_TRY(r->ops->unpack(r->be, &(bl_unpack_args){.w = &lin->weight, .rows = lin->out, .y = sum.part[0]}, e));
    for (int i = 0; i < lin->n_after; i++)
        BL_TRY(r->ops->scale(r->be,
                             &(bl_scale_args){.x = sum.part[0], .y = sum.part[0], .rows = lin->transform[i].data}, e));
    for (int i = 0; i < lin->n_adapters; i++) BL_TRY(bl_lowrank_add(r, &lin->adapter[i], sum.part[0], e));
    BL_TRY(r->ops->sync(r->be, e)); /* before the old weight goes */
    bl_linear_set_weight(lin, &sum);
    bl_linear_clear_adapters(lin);
    if (lin->n_after) bl_linear_clear_transforms(lin);
    BL_TRY(bl_method_pack(r, lin, bl_format_find(formats[o->as]), &shape, BL_RANGE_OWN, false, stat, e));
out:
    bl_weight_free(&sum);
    return st;
}

static bool predict(const bl_method_run *r, bl_linear *lin, const bl_format **format, bl_shape *shape)
{
    if (!lin->n_adapters) return false;
    bl_linear_clear_adapters(lin);
    bl_linear_clear_transforms(lin);
    *format = bl_format_find(formats[((const opts *)r->opts)->as]);
    *shape = (bl_shape){.out = lin->out, .in = lin->in};
    return true;
}

static const size_t ops[] = {BL_OP(scale), 0};

const bl_method bl_method_merge = {
    .name = "merge",
    .version = 1,
    .title = "Merged adapters",
    .cite = "Hu et al. 2021, arXiv 2106.09685, section 4.1",
    .doc = "W + s B A, its rows scaled as dora learned, in the place of W with its adapters, in bf16 unless another "
           "format is asked for. A last stage: "
           "lora+rank=8+merge; rounded again: qlora+merge+rtn:w4.",
    .ops = ops,
    .opts = rows,
    .opts_size = sizeof(opts),
    .check = check,
    .layer = layer,
    .predict = predict,
};
