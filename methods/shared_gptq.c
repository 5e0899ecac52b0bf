/* shared_gptq.c - what the options of GPTQ mean. */
#include "shared_gptq.h"
#include "harness/quant/calibrate.h"
#include <inttypes.h>

enum { RANGE_ZERO, RANGE_MINMAX, RANGE_RESTRICTED };
const char *const bl_gptq_ranges[] = {"zero", "minmax", "restricted", NULL};
const char *const bl_gptq_scales[] = {"fp16", "fp32", NULL};

void bl_gptq_settle(void *options)
{
    bl_gptq *o = options;
    if (o->q.wbits == 1) { /* neither zero point nor range */
        o->q.symmetric = o->mse = false;
        o->range = RANGE_ZERO;
    }
    if (o->q.symmetric ? o->range == RANGE_MINMAX : o->range == RANGE_RESTRICTED) o->range = RANGE_ZERO;
    if (o->q.group < 0) o->static_groups = o->group_aware = false; /* the one group of a row is the whole row */
}

bl_solve bl_gptq_solve(const bl_gptq *o, int64_t out, int64_t in)
{
    static const bl_range_rule plain[] = {BL_RANGE_ZERO, BL_RANGE_MINMAX, BL_RANGE_ZERO},
                               symmetric[] = {BL_RANGE_FULL, BL_RANGE_FULL, BL_RANGE_SYMMETRIC};
    char name[8];
    bool one = o->q.wbits == 1;
    snprintf(name, sizeof name, "int%d", (int)o->q.wbits);
    return (bl_solve){.format = bl_format_find(name),
                      .shape = {.out = out,
                                .in = in,
                                .group = o->q.group < 0 ? in : o->q.group,
                                .zero = o->q.symmetric || one      ? BL_ZERO_NONE
                                        : o->range == RANGE_MINMAX ? BL_ZERO_I16
                                                                   : BL_ZERO_PACKED,
                                .scale = o->scale ? BL_F32 : BL_F16},
                      .rule = one ? BL_RANGE_SIGN : (o->q.symmetric ? symmetric : plain)[o->range],
                      .mse = o->mse,
                      .order = o->act_order     ? BL_SOLVE_ACT
                               : o->group_aware ? BL_SOLVE_GROUPS
                                                : BL_SOLVE_NATURAL,
                      .static_groups = o->static_groups,
                      .damp = o->damp,
                      .block = o->block};
}

bl_status bl_gptq_check(const bl_method_run *r, bl_err *e) /* a millisecond now saves hours later */
{
    const bl_gptq *o = r->opts;
    if (o->act_order && o->group_aware)
        return bl_fail(e, BL_E_CONFIG,
                       "method %s: act-order and group-aware are two orders of the same columns; choose one",
                       r->method->name);
    return BL_OK;
}

bl_status bl_gptq_layer(const bl_method_run *r, bl_linear *lin, const bl_solve *s, bl_layer_stat *stat, bl_err *e)
{
    const bl_gptq *o = r->opts;
    bl_status st = BL_OK;
    bl_tensor h;

    BL_TRY(bl_calib_hessian(r->calib, lin, &h, e));
    BL_TRY(bl_solve_gptq(r, lin, h, s, stat, e));
    if (o->q.abits > 0) bl_linear_set_act(lin, bl_quant_act(&o->q));
out:
    return st;
}

bl_status bl_gptq_base_layer(const bl_method_run *r, bl_linear *lin, bl_layer_stat *stat, bl_err *e)
{
    bl_solve s = bl_gptq_solve(r->opts, lin->out, bl_linear_width(lin));
    s.block = 128;
    return bl_gptq_layer(r, lin, &s, stat, e);
}

const size_t bl_gptq_ops[] = {BL_OP(permute),    BL_OP(diagonal), BL_OP(quad_form), BL_OP(cholesky_inverse),
                              BL_OP(gptq_sweep), BL_OP(scale),    BL_OP(sq_error),  0};

bool bl_gptq_sequential(const bl_method_run *r) { return ((const bl_gptq *)r->opts)->true_sequential; }

bool bl_gptq_predict(const bl_method_run *r, bl_linear *lin, const bl_format **format, bl_shape *shape)
{
    if (lin->block < 0) return false;
    bl_solve s = bl_gptq_solve(r->opts, lin->out, bl_linear_width(lin));
    if (bl_solve_permutes(&s) &&
        bl_linear_add_transform(lin,
                                &(bl_transform){.kind = BL_T_PERMUTE,
                                                .in = s.shape.in,
                                                .out = s.shape.in,
                                                .data = bl_tensor_1d(NULL, 0, BL_I32, s.shape.in)},
                                NULL) != BL_OK)
        return false;
    *format = s.format;
    *shape = s.shape;
    return true;
}

void bl_gptq_notes(const bl_method_run *r, const bl_layer_stat *layer, int64_t n, bl_text *out)
{
    double most = ((const bl_gptq *)r->opts)->damp;
    int64_t raised = 0;
    for (int64_t i = 0; i < n; i++) {
        raised += layer[i].damp > ((const bl_gptq *)r->opts)->damp;
        most = BL_MAX(most, layer[i].damp);
    }
    if (raised) bl_text_addf(out, "damping raised to %g in %" PRId64 " of %" PRId64 " layers", most, raised, n);
}

double bl_gptq_work(const bl_method_run *r, const bl_linear *lin)
{
    (void)r;
    return bl_solve_work(lin->out, bl_linear_width(lin));
}
