/* awq.c - AWQ: input channels that see large activations are scaled up before rounding, so that their weights lose
 * less, and what is before them is scaled down (Lin et al. 2023, arXiv 2306.00978).
 *
 *     s = mean|x|^r, r = 0, 1/20, ... 19/20, whichever gives the least |f(W') - f(W)|^2, W' = Q(W diag(s)) diag(1/s)
 *
 * for the linears that read one input together, f what they are judged by: q, k and v by the output of the attention,
 * gate and up by that of the MLP, o and down by their own. The four searches see the block as it came; then the scales
 * go into the weights, their inverses into the norm before (q k v, gate up), into up (down), into v (o). Where that is
 * not exact - o where several query heads share a value head, inputs that are turned while the model runs - they are a
 * transform of the linear. Last, each group of each row is clipped where that brings the outputs nearer, except in q
 * and k, and rounded.
 */
#include "awq.h"
#include "harness/model/block.h"
#include "harness/quant/calibrate.h"
#include "shared_weight.h"
#include <math.h>
#include <string.h>

typedef struct opts {
    bl_quant q;
    int scale;
    bool duo, clip, online, round;
    int64_t grid;
} opts;

static const char *const scales[] = {"fp16", "fp32", NULL};
static const bl_opt rows[] = {
    BL_QUANT_ROWS(opts, q),
    {"scale", BL_OPT_CHOICE, .choices = scales, .def.choice = 0, .at = offsetof(opts, scale),
     .doc = "type that scales are stored in"},
    {"duo", BL_OPT_BOOL, .at = offsetof(opts, duo),
     .doc = "s = mean|x|^r / (mean|w|^(1-r) + 1e-4), mean|w| relative to the group's largest (AutoAWQ's default)"},
    {"clip", BL_OPT_BOOL, .def.b = true, .at = offsetof(opts, clip), .doc = "search for ranges too"},
    {"online", BL_OPT_BOOL, .def.b = true, .at = offsetof(opts, online),
     .doc = "scales that nothing before takes up are applied while the model runs"},
    {"round", BL_OPT_BOOL, .def.b = true, .at = offsetof(opts, round),
     .doc =
         "round too; without it weights are scaled and clipped for a stage after it: awq:w4+round=false+gptq:w4, which "
         "may be written awq:w4+solver=gptq"},
    {"grid", BL_OPT_INT, .min = 1, .max = BL_AWQ_MOST, .def.i = 20, .at = offsetof(opts, grid), .arg = "N",
     .doc = "exponents that are tried, 0 to (N - 1) / N"},
    {0}};

/* Activations are rounded by the stage that rounds the weights. */
static void settle(void *opts_)
{
    opts *o = opts_;
    if (!o->round) o->q.abits = o->q.act_group = 0;
}

/* ---- what is searched together ---- */

typedef struct group {
    bl_role reader[3]; /* BL_N_ROLES after the last */
    bl_role before;    /* the norm or the linear that takes up 1 / s */
} group;
static const group groups[BL_AWQ_PLACES] = {
    [BL_AWQ_ATTN] = {{BL_ROLE_Q, BL_ROLE_K, BL_ROLE_V}, BL_ROLE_ATTN_NORM},
    [BL_AWQ_O] = {{BL_ROLE_O, BL_N_ROLES}, BL_ROLE_V},
    [BL_AWQ_MLP] = {{BL_ROLE_GATE, BL_ROLE_UP, BL_N_ROLES}, BL_ROLE_MLP_NORM},
    [BL_AWQ_DOWN] = {{BL_ROLE_DOWN, BL_N_ROLES}, BL_ROLE_UP},
};

/* The scales of its input are applied while the model runs. */
static bool is_online(const bl_model *m, const bl_linear *lin)
{
    if (lin->role == BL_ROLE_O) return lin->n_transforms || m->config.n_kv_heads != m->config.n_heads;
    return lin->role == BL_ROLE_DOWN && lin->n_transforms;
}

static void target(const opts *o, const bl_linear *lin, const bl_format **format, bl_shape *shape)
{
    bl_int_target(lin, o->q.wbits, o->q.group, o->q.symmetric, o->scale ? BL_F32 : BL_F16, format, shape);
}
/* What it leaves. */
static void result(const opts *o, const bl_linear *lin, const bl_format **format, bl_shape *shape)
{
    target(o, lin, format, shape);
    if (o->round) return;
    *format = bl_format_find("fp32");
    *shape = (bl_shape){.out = lin->out, .in = shape->in};
}
static bl_range_rule rule_of(const opts *o) { return o->q.symmetric ? BL_RANGE_SYMMETRIC : BL_RANGE_CLIP; }

static bl_status check(const bl_method_run *r, bl_err *e)
{
    for (size_t i = 0; i < r->model->n_linears; i++) {
        const bl_linear *lin = &r->model->linears[i];
        if (lin->n_adapters || lin->n_after ||
            (lin->n_transforms && lin->role != BL_ROLE_O && lin->role != BL_ROLE_DOWN))
            return bl_fail(e, BL_E_UNSUPPORTED, "%s has transforms or adapters; awq comes before what adds them",
                           lin->name);
    }
    return BL_OK;
}

/* ---- the search ---- */

/* A linear whose weight stands aside while others are tried. */
typedef struct reader {
    bl_linear *lin;
    bl_weight kept, tried, packed;
    bl_tensor dense;
} reader;

typedef struct search {
    const bl_method_run *r;
    const opts *o;
    int64_t block, in;
    bl_awq_place place;
    reader reader[3];
    int n;
    const double *mean_x;
    double *mean_w; /* duo */
    bl_tensor x, want, got, gate, up;
} search;

static bl_linear *linear(const search *s, bl_role role) { return bl_model_linear(s->r->model, s->block, role); }

/* Sums over the rows of w [out, in] of |w| over the largest of its group. */
static void sum_relative(const float *w, int64_t out, int64_t in, int64_t group, double *sum)
{
    for (int64_t r = 0; r < out; r++, w += in)
        for (int64_t k = 0; k < in; k += group) {
            int64_t n = BL_MIN(group, in - k);
            float most = 0;
            for (int64_t j = k; j < k + n; j++) most = fmaxf(most, fabsf(w[j]));
            for (int64_t j = k; j < k + n; j++) sum[j] += fabsf(w[j]) / (most + 1e-6f);
        }
}

static bl_status mean_weight(search *s, bl_err *e)
{
    bl_status st = BL_OK;
    int64_t all = 0, group = s->o->q.group < 0 ? s->in : s->o->q.group;
    float *w = NULL;
    if (!(s->mean_w = bl_alloc(s->r->scratch, (size_t)s->in, sizeof *s->mean_w, e))) return BL_E_NOMEM;
    for (int i = 0; i < s->n; i++) {
        int64_t out = s->reader[i].lin->out;
        bl_free(w);
        if (!(w = bl_new((size_t)(out * s->in), sizeof *w, e))) return BL_E_NOMEM;
        BL_TRY(s->r->ops->download(s->r->be, &s->reader[i].dense, w, e));
        sum_relative(w, out, s->in, group, s->mean_w);
        all += out;
    }
    for (int64_t j = 0; j < s->in; j++) s->mean_w[j] /= (double)all;
out:
    bl_free(w);
    return st;
}

/* s of a grid point: the largest times the least is 1. */
static void scales_at(const search *s, int64_t point, float *v)
{
    double r = (double)point / (double)s->o->grid, most = 0, least = INFINITY;
    for (int64_t j = 0; j < s->in; j++) {
        double a = pow(s->mean_x[j], r);
        if (s->mean_w) a /= pow(s->mean_w[j], 1 - r) + 1e-4;
        v[j] = (float)fmax(a, 1e-4);
        most = fmax(most, v[j]);
        least = fmin(least, v[j]);
    }
    for (int64_t j = 0; j < s->in; j++) v[j] = (float)(v[j] / sqrt(most * least));
}

/* The readers' weights become what Q makes of W diag(s), times diag(1 / s). */
static bl_status try_scales(search *s, const float *v, bl_err *e)
{
    bl_status st = BL_OK;
    const bl_ops *ops = s->r->ops;
    bl_backend *be = s->r->be;
    bl_tensor by = {0}, back = {0};
    float *inverse = bl_new((size_t)s->in, sizeof *inverse, e);
    if (!inverse) return BL_E_NOMEM;
    for (int64_t j = 0; j < s->in; j++) inverse[j] = 1 / v[j];
    BL_TRY(bl_list_new(s->r, v, s->in, &by, e));
    BL_TRY(bl_list_new(s->r, inverse, s->in, &back, e));
    for (int i = 0; i < s->n; i++) {
        reader *k = &s->reader[i];
        bl_tensor w = k->tried.part[0];
        BL_TRY(ops->scale(be, &(bl_scale_args){.x = k->dense, .y = w, .cols = by}, e));
        BL_TRY(ops->pack(be, &(bl_pack_args){.x = w, .w = &k->packed, .rule = rule_of(s->o)}, e));
        BL_TRY(ops->unpack(be, &(bl_unpack_args){.w = &k->packed, .rows = k->lin->out, .y = w}, e));
        BL_TRY(ops->scale(be, &(bl_scale_args){.x = w, .y = w, .cols = back}, e));
    }
    BL_TRY(ops->sync(be, e));
out:
    bl_free(inverse);
    bl_matrix_free(s->r, &by);
    bl_matrix_free(s->r, &back);
    return st;
}

/* What the place is judged by, with the weights that the readers have now. */
static bl_status output(search *s, bl_tensor y, bl_err *e)
{
    bl_status st = BL_OK;
    const bl_ops *ops = s->r->ops;
    bl_backend *be = s->r->be;
    switch (s->place) {
    case BL_AWQ_ATTN: /* with the input of the block, which is the same for all */
        return bl_calib_residual(s->r->calib, BL_ROLES_AFTER_MLP_NORM, y, e);
    case BL_AWQ_MLP:
        BL_TRY(bl_linears_apply(be, (const bl_linear *const[]){linear(s, BL_ROLE_GATE), linear(s, BL_ROLE_UP)}, 2, s->x,
                                (const bl_tensor[]){s->gate, s->up}, e));
        BL_TRY(ops->swiglu(be, &(bl_swiglu_args){.gate = s->gate, .up = s->up, .y = s->gate}, e));
        BL_TRY(bl_linear_apply(be, linear(s, BL_ROLE_DOWN), s->gate, y, false, e));
        break;
    default: /* x is as after the transforms */
        BL_TRY(ops->linear(be, &(bl_linear_args){.x = s->x, .w = {&s->reader[0].lin->weight}, .y = {y}}, e));
    }
out:
    return st;
}

static bl_status open_search(search *s, bl_err *e)
{
    bl_status st = BL_OK;
    const bl_method_run *r = s->r;
    bl_dtype act = r->be->act;
    bl_calib_channels channels;

    for (; s->n < 3 && groups[s->place].reader[s->n] != BL_N_ROLES; s->n++)
        s->reader[s->n].lin = linear(s, groups[s->place].reader[s->n]);
    s->in = bl_linear_width(s->reader[0].lin);
    for (int i = 0; i < s->n; i++) {
        reader *k = &s->reader[i];
        const bl_format *f;
        bl_shape g;
        target(s->o, k->lin, &f, &g);
        BL_TRY(bl_linear_dense(r->be, k->lin, &k->dense, e));
        BL_TRY(bl_weight_new(r->be, f, &g, &k->packed, e));
        BL_TRY(
            bl_weight_new(r->be, bl_format_find("fp32"), &(bl_shape){.out = k->lin->out, .in = s->in}, &k->tried, e));
    }
    BL_TRY(bl_calib_channel(r->calib, s->reader[0].lin, &channels, e));
    s->mean_x = channels.mean_abs;
    if (s->o->duo) BL_TRY(mean_weight(s, e));
    BL_TRY(bl_calib_inputs(r->calib, s->reader[0].lin, &s->x, e));
    int64_t rows_out = s->x.dim[0],
            width = s->place == BL_AWQ_DOWN || s->place == BL_AWQ_O ? s->reader[0].lin->out : r->model->config.dim;
    if (s->place == BL_AWQ_ATTN) rows_out = bl_calib_residual_rows(r->calib);
    BL_TRY(bl_matrix_new(r, act, rows_out, width, &s->want, e));
    BL_TRY(bl_matrix_new(r, act, rows_out, width, &s->got, e));
    if (s->place != BL_AWQ_MLP) goto out;
    BL_TRY(bl_matrix_new(r, act, rows_out, r->model->config.ffn_dim, &s->gate, e));
    BL_TRY(bl_matrix_new(r, act, rows_out, r->model->config.ffn_dim, &s->up, e));
out:
    return st;
}

static void close_search(search *s)
{
    bl_tensor *all[] = {&s->want, &s->got, &s->gate, &s->up};
    for (int i = 0; i < s->n; i++) {
        bl_weight_free(&s->reader[i].tried);
        bl_weight_free(&s->reader[i].packed);
        bl_matrix_free(s->r, &s->reader[i].dense);
    }
    for (size_t i = 0; i < BL_COUNT(all); i++) bl_matrix_free(s->r, all[i]);
}

static void swap(search *s) /* the readers' own weights and those that are tried */
{
    for (int i = 0; i < s->n; i++) {
        bl_weight w = s->reader[i].lin->weight;
        s->reader[i].lin->weight = s->reader[i].tried;
        s->reader[i].tried = w;
    }
}

bl_status bl_awq_search(const bl_method_run *r, int64_t block, bl_awq_place place, bl_awq_found *out, bl_err *e)
{
    bl_status st = BL_OK;
    search s = {.r = r, .o = r->opts, .block = block, .place = place};
    bool swapped = false;
    float *v = NULL;

    BL_TRY(open_search(&s, e));
    if (!(v = bl_alloc(r->scratch, (size_t)s.in, sizeof *v, e)) ||
        !(out->s = bl_alloc(r->scratch, (size_t)s.in, sizeof *out->s, e))) {
        st = BL_E_NOMEM;
        goto out;
    }
    BL_TRY(output(&s, s.want, e));
    for (int64_t i = 0; i < s.o->grid; i++) {
        double error;
        scales_at(&s, i, v);
        BL_TRY(try_scales(&s, v, e));
        swap(&s);
        swapped = true;
        BL_TRY(output(&s, s.got, e));
        BL_TRY(r->ops->sq_error(r->be, &(bl_sq_error_args){.x = s.got, .y = s.want, .sum = &error}, e));
        BL_TRY(r->ops->sync(r->be, e));
        swap(&s);
        swapped = false;
        if (!isfinite(error)) {
            st = bl_fail(e, BL_E_NUMERIC, "%s: what it makes of the calibration text is not finite",
                         s.reader[0].lin->name);
            goto out;
        }
        out->loss[i] = error / (double)bl_tensor_count(&s.got);
        if (i && !(out->loss[i] < out->loss[out->best])) continue;
        out->best = (int)i;
        memcpy(out->s, v, (size_t)s.in * sizeof *v);
    }
    bl_log(BL_LOG_DEBUG, "%s: r = %d/%d, loss %g, without scales %g", s.reader[0].lin->name, out->best, (int)s.o->grid,
           out->loss[out->best], out->loss[0]);
out:
    if (swapped) swap(&s);
    close_search(&s);
    return st;
}

/* ---- the block ---- */

/* The scales into the readers, their inverses into what is before them. */
static bl_status apply(const bl_method_run *r, int64_t block, bl_awq_place place, const float *s, bl_err *e)
{
    bl_status st = BL_OK;
    const group *g = &groups[place];
    bl_model *m = r->model;
    const bl_linear *first = bl_model_linear(m, block, g->reader[0]);
    int64_t in = bl_linear_width(first);
    bool online = is_online(m, first);
    bl_tensor data = {0};
    float *inverse = bl_new((size_t)in, sizeof *inverse, e);

    if (!inverse) return BL_E_NOMEM;
    for (int64_t j = 0; j < in; j++) inverse[j] = 1 / s[j];
    BL_TRY(bl_calib_divide(r->calib, first, s, e));
    for (int i = 0; i < 3 && g->reader[i] != BL_N_ROLES; i++) {
        bl_linear *lin = bl_model_linear(m, block, g->reader[i]);
        BL_TRY(bl_linear_rescale(r, lin, NULL, s, e));
        if (!online) continue;
        BL_TRY(bl_list_new(r, inverse, in, &data, e));
        BL_TRY(bl_linear_add_transform(lin, &(bl_transform){.kind = BL_T_SCALE, .in = in, .out = in, .data = data}, e));
        data = (bl_tensor){0}; /* the linear's now */
    }
    if (online) goto out;
    if (bl_roles[g->before].kind == BL_KIND_NORM) BL_TRY(bl_norm_divide(r, bl_model_norm(m, block, g->before), s, e));
    else BL_TRY(bl_linear_rescale(r, bl_model_linear(m, block, g->before), inverse, NULL, e));
out:
    bl_free(inverse);
    bl_matrix_free(r, &data);
    return st;
}

static bl_status block(const bl_method_run *r, int64_t b, bl_err *e)
{
    bl_status st = BL_OK;
    const opts *o = r->opts;
    bl_mark mark = bl_arena_mark(r->scratch);
    bl_awq_found found[BL_AWQ_PLACES] = {0};

    for (int p = 0; p < BL_AWQ_PLACES; p++) {
        const bl_linear *first = bl_model_linear(r->model, b, groups[p].reader[0]);
        if (o->online || !is_online(r->model, first)) BL_TRY(bl_awq_search(r, b, (bl_awq_place)p, &found[p], e));
    }
    for (int p = 0; p < BL_AWQ_PLACES; p++)
        if (found[p].s) BL_TRY(apply(r, b, (bl_awq_place)p, found[p].s, e));
out:
    bl_arena_release(r->scratch, mark);
    return st;
}

/* ---- one linear ---- */

static bl_status layer(const bl_method_run *r, bl_linear *lin, bl_layer_stat *stat, bl_err *e)
{
    bl_status st = BL_OK;
    const opts *o = r->opts;
    const bl_format *f, *stored;
    bl_shape g, kept;
    bl_tensor dense = {0}, before = {0}, h = {0}, x;
    bl_weight packed = {0};

    target(o, lin, &f, &g);
    result(o, lin, &stored, &kept);
    BL_TRY(bl_linear_dense(r->be, lin, &dense, e));
    BL_TRY(bl_linear_dense(r->be, lin, &before, e));
    BL_TRY(bl_matrix_new(r, BL_F64, g.in, g.in, &h, e));
    BL_TRY(r->ops->fill(r->be, &h, 0, e));
    BL_TRY(bl_calib_inputs(r->calib, lin, &x, e));
    BL_TRY(r->ops->hessian(r->be, &(bl_hessian_args){.x = x, .h = h, .alpha = 1}, e));
    if (o->clip && lin->role != BL_ROLE_Q && lin->role != BL_ROLE_K)
        BL_TRY(r->ops->clip_search(r->be,
                                   &(bl_clip_search_args){.w = dense,
                                                          .h = h,
                                                          .group = g.group,
                                                          .bits = f->bits,
                                                          .rule = rule_of(o),
                                                          .scale_type = g.scale,
                                                          .steps = 20,
                                                          .tries = 10},
                                   e));
    BL_TRY(bl_weight_new(r->be, stored, &kept, &packed, e));
    BL_TRY(r->ops->pack(r->be, &(bl_pack_args){.x = dense, .w = &packed, .rule = o->round ? rule_of(o) : BL_RANGE_OWN},
                        e));
    BL_TRY(bl_weight_error(r, before, &packed, h, stat, e));
    bl_linear_set_weight(lin, &packed);
    if (o->q.abits > 0) bl_linear_set_act(lin, bl_quant_act(&o->q));
out:
    bl_weight_free(&packed);
    bl_matrix_free(r, &dense);
    bl_matrix_free(r, &before);
    bl_matrix_free(r, &h);
    return st;
}

static bool predict(const bl_method_run *r, bl_linear *lin, const bl_format **format, bl_shape *shape)
{
    const opts *o = r->opts;
    int64_t in = bl_linear_width(lin);
    if (lin->block < 0) return false;
    if (o->online && is_online(r->model, lin) &&
        bl_linear_add_transform(
            lin, &(bl_transform){.kind = BL_T_SCALE, .in = in, .out = in, .data = bl_tensor_1d(NULL, 0, BL_F32, in)},
            NULL) != BL_OK)
        return false;
    result(o, lin, format, shape);
    return true;
}

/* Measured beside products. */
static double work(const bl_method_run *r, const bl_linear *lin)
{
    (void)r;
    return 1.2e5 * (double)lin->out * (double)lin->in;
}

static const size_t ops[] = {BL_OP(hessian), BL_OP(quad_form), BL_OP(scale), BL_OP(sq_error), BL_OP(clip_search), 0};

const bl_method bl_method_awq = {
    .name = "awq",
    .version = 2,
    .title = "AWQ",
    .cite = "Lin et al.: AWQ: Activation-aware Weight Quantization, MLSys 2024, arXiv:2306.00978",
    .doc = "Scales up the inputs that see large activations before rounding, then clips ranges; both searched by what "
           "they do to outputs.",
    .deviates =
        "Searches look at 1,024 tokens of the calibration text (of whole windows for the attention); means of |x| at "
        "all.\n"
        "The input of o_proj is scaled while the model runs where query heads share a value head, and that of a linear "
        "with transforms; the paper leaves these out, as +online=false does.\n"
        "Scales are rounded to their stored type before codes are chosen; zero points are packed integers.",
    .wbits = 0x1fc, /* 2..8 */
    .needs = BL_NEED_CHANNELS | BL_NEED_INPUTS,
    .opts = rows,
    .opts_size = sizeof(opts),
    .settle = settle,
    .original_inputs = true,
    .check = check,
    .ops = ops,
    .block = block,
    .layer = layer,
    .predict = predict,
    .work = work,
};
