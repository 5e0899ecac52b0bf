/* grid.c - weights on a grid that is learned, as a rule: LSQ, EfficientQAT, L4Q, LR-QAT, OmniQuant, LLM-QAT, DB-LLM
 * (bl_grid_kind of ops_train.h).
 *
 * Parameters: of STEP, AFFINE, LARGEST and PLANES the weights themselves, in the linear, unless they are frozen; of
 * OFFSET and INSIDE the factors A and B, and the linear keeps what they are added to. Then the scales, and offsets
 * where the kind has some. The weight that is kept at the end is what products were computed with, bit for bit: codes
 * are read off it with scales as the ops round them.
 */
#include "effective.h"
#include "kernels/base/rng.h"
#include "kernels/dense.h"
#include "kernels/grid_both.h"
#include <math.h>
#include <string.h>

static bool has_factors(const bl_grid *g) { return g->kind == BL_GRID_OFFSET || g->kind == BL_GRID_INSIDE; }

typedef struct parts { /* the parameters of a linear */
    const bl_trained *weight, *a, *b, *scale, *offset;
} parts;

static parts parts_of(const bl_trainable *t, const bl_effective *w)
{
    const bl_trained *p[BL_RULE_PARAMS] = {NULL};
    for (int i = 0; i < w->n_params; i++) p[i] = &t->param[w->param[i]];
    if (has_factors(&w->grid)) return (parts){.a = p[0], .b = p[1], .scale = p[2], .offset = p[3]};
    const int k = w->frozen ? 0 : 1;
    return (parts){.weight = w->frozen ? NULL : p[0],
                   .scale = bl_grid_has_scale(w->grid.kind) ? p[k] : NULL,
                   .offset = bl_grid_has_offset(w->grid.kind) ? p[k + 1] : NULL};
}

static bl_tensor value_of(const bl_trained *p) { return p ? p->value : (bl_tensor){0}; }
static bl_tensor grad_of(const bl_trained *p) { return p ? p->grad : (bl_tensor){0}; }

/* What is rounded: the weights that are learned or, frozen, of the linear, or in y those as they are scaled, or those
 * and what the factors add. */
static bl_status before(bl_trainable *t, const bl_effective *w, bl_tensor y, bl_tensor *x, bl_err *e)
{
    bl_backend *be = t->m->be;
    const parts p = parts_of(t, w);
    bl_status st = BL_OK;
    bl_tensor b;
    *x = p.weight ? p.weight->value : y;
    if (p.weight) return BL_OK;
    if (w->frozen) {
        const bl_tensor as_it_is = w->linear->weight.part[0];
        const bl_scaled *by = w->scaled;
        *x = by ? y : as_it_is;
        if (!by) return BL_OK;
        return be->ops->scale(be, &(bl_scale_args){.x = as_it_is, .y = y, .rows = by->rows, .cols = by->cols}, e);
    }
    BL_TRY(be->ops->unpack(be, &(bl_unpack_args){.w = &w->linear->weight, .rows = w->linear->out, .y = y}, e));
    BL_TRY(bl_effective_act(t, BL_WORK_ACT, p.b->value, w->low_rank, &b, e));
    BL_TRY(bl_dense_product(be, p.a->value, b, y, true, true, e));
out:
    return st;
}

/* Where activations are narrow: the weight that factors are beside, and they, become values, or what goes back to both
 * and to the scales, at once. */
static bool at_once(const bl_trainable *t, const bl_effective *w)
{
    return t->m->be->act != BL_F32 && has_factors(&w->grid) && bl_merged_grid_takes(&w->linear->weight, &w->grid);
}

static bl_status merged(bl_trainable *t, const bl_effective *w, bl_tensor y, bl_tensor dy, bl_err *e)
{
    const parts p = parts_of(t, w);
    return t->m->be->ops->merged_grid(t->m->be,
                                      &(bl_merged_grid_args){.w = &w->linear->weight,
                                                             .a = p.a->value,
                                                             .b = p.b->value,
                                                             .by = w->low_rank,
                                                             .scale = value_of(p.scale),
                                                             .offset = value_of(p.offset),
                                                             .y = y,
                                                             .dy = dy,
                                                             .dscale = dy.buf ? grad_of(p.scale) : (bl_tensor){0},
                                                             .doffset = dy.buf ? grad_of(p.offset) : (bl_tensor){0},
                                                             .alpha = w->low_rank,
                                                             .grid = w->grid},
                                      e);
}

static bl_status make(bl_trainable *t, bl_effective *w, bl_tensor y, bl_err *e)
{
    const parts p = parts_of(t, w);
    bl_status st = BL_OK;
    bl_tensor x;
    if (at_once(t, w)) return merged(t, w, y, (bl_tensor){0}, e);
    BL_TRY(before(t, w, y, &x, e));
    BL_TRY(t->m->be->ops->grid(
        t->m->be,
        &(bl_grid_args){.w = x, .scale = value_of(p.scale), .offset = value_of(p.offset), .y = y, .grid = w->grid}, e));
out:
    return st;
}

/* g = dL/d(what is rounded): dA = s Bt g, dB = s g At. */
static bl_status to_factors(bl_trainable *t, const parts *p, bl_tensor g, bl_err *e)
{
    bl_backend *be = t->m->be;
    bl_status st = BL_OK;
    if (g.dtype == BL_F32) BL_TRY(bl_effective_act(t, BL_WORK_ACT, g, 1, &g, e));
    BL_TRY(
        be->ops->weight_grad(be, &(bl_weight_grad_args){.x = g, .dy = p->b->value, .dw = p->a->grad, .alpha = 1}, e));
    BL_TRY(bl_dense_product(be, p->a->value, g, p->b->grad, false, true, e));
out:
    return st;
}

static bl_status chain(bl_trainable *t, bl_effective *w, bl_tensor dw, bl_err *e)
{
    const parts p = parts_of(t, w);
    bl_status st = BL_OK;
    bl_tensor x, y = {0};
    if (dw.dtype != BL_F32) {
        BL_TRY(merged(t, w, dw, dw, e));
        return to_factors(t, &p, dw, e);
    }
    if (!p.weight) BL_TRY(bl_effective_room(t, BL_WORK_W, w->linear->out, w->linear->in, &y, e));
    BL_TRY(before(t, w, y, &x, e));
    BL_TRY(t->m->be->ops->grid_grad(t->m->be,
                                    &(bl_grid_grad_args){.w = x,
                                                         .scale = value_of(p.scale),
                                                         .offset = value_of(p.offset),
                                                         .dy = dw,
                                                         .dw = p.weight ? p.weight->grad : dw,
                                                         .dscale = grad_of(p.scale),
                                                         .doffset = grad_of(p.offset),
                                                         .alpha = has_factors(&w->grid) ? w->low_rank : 1,
                                                         .grid = w->grid},
                                    e));
    if (has_factors(&w->grid)) BL_TRY(to_factors(t, &p, dw, e));
    if (w->scaled)
        BL_TRY(t->m->be->ops->scale_grad(t->m->be,
                                         &(bl_scale_grad_args){.x = w->linear->weight.part[0],
                                                               .dy = dw,
                                                               .rows = w->scaled->rows,
                                                               .cols = w->scaled->cols,
                                                               .drows = w->scaled->drows,
                                                               .dcols = w->scaled->dcols},
                                         e));
out:
    return st;
}

/* ---- what is kept ---- */
static bl_status new_matrix(bl_backend *be, int64_t rows, int64_t cols, bl_tensor *out, bl_err *e)
{
    bl_buffer *b;
    bl_status st = be->ops->buffer_new(be, (uint64_t)(rows * cols) * sizeof(float) + 64, &b, e);
    if (st == BL_OK) *out = bl_tensor_2d(b, 0, BL_F32, rows, cols);
    return st;
}

/* From a dense y [out, in] of the backend and scales and zeros of the host. */
static bl_status pack_given(bl_backend *be, bl_tensor y, const float *scale, const float *zero, const bl_format *f,
                            const bl_shape *shape, bl_weight *out, bl_err *e)
{
    const int64_t groups = bl_shape_groups(shape);
    bl_tensor s = {0}, z = {0};
    bl_weight kept = {0};
    bl_status st = BL_OK;
    BL_TRY(new_matrix(be, shape->out, groups, &s, e));
    BL_TRY(be->ops->upload(be, &s, scale, e));
    if (zero) {
        BL_TRY(new_matrix(be, shape->out, groups, &z, e));
        BL_TRY(be->ops->upload(be, &z, zero, e));
    }
    BL_TRY(bl_weight_new(be, f, shape, &kept, e));
    BL_TRY(be->ops->pack(be, &(bl_pack_args){.x = y, .w = &kept, .rule = BL_RANGE_GIVEN, .scale = s, .zero = z}, e));
    BL_TRY(be->ops->sync(be, e));
    *out = kept;
    kept = (bl_weight){0};
out:
    bl_weight_free(&kept);
    be->ops->buffer_free(s.buf);
    be->ops->buffer_free(z.buf);
    return st;
}

/* Scales and zeros of the host, as the ops use them. y: room for what is rounded, whose ends some kinds look at. */
static bl_status as_used(bl_trainable *t, const bl_effective *w, bl_tensor y, float *scale, float *zero, bl_err *e)
{
    bl_backend *be = t->m->be;
    const bl_grid *g = &w->grid;
    const parts p = parts_of(t, w);
    const int64_t out = w->linear->out, in = w->linear->in, groups = (in + g->group - 1) / g->group;
    float *host = NULL;
    bl_tensor x;
    bl_status st = BL_OK;
    if (p.scale) BL_TRY(be->ops->download(be, &p.scale->value, scale, e));
    if (p.offset) BL_TRY(be->ops->download(be, &p.offset->value, zero, e));
    if (bl_grid_sees_ends(g->kind)) {
        if (!(host = bl_new((size_t)(out * in), sizeof *host, e))) return BL_E_NOMEM;
        BL_TRY(before(t, w, y, &x, e));
        BL_TRY(be->ops->download(be, &x, host, e));
    }
    for (int64_t i = 0; i < out * groups; i++) {
        bl_grid_ends ends = {0};
        const int64_t first = i / groups * in + i % groups * g->group, n = BL_MIN(g->group, in - i % groups * g->group);
        for (int64_t k = first; host && k < first + n; k++) {
            ends.lo = fminf(ends.lo, host[k]);
            ends.hi = fmaxf(ends.hi, host[k]);
        }
        const bl_grid_group as = host ? bl_grid_between(g->kind, g->bits, g->half, scale[i], zero[i], &ends)
                                      : bl_grid_of(g->kind, g->bits, g->half, scale[i], zero[i]);
        scale[i] = as.s;
        zero[i] = as.z;
    }
out:
    bl_free(host);
    return st;
}

static bl_status store(bl_trainable *t, bl_effective *w, bl_weight *out, bl_err *e)
{
    bl_backend *be = t->m->be;
    const bl_grid *g = &w->grid;
    const bl_linear *l = w->linear;
    const bl_shape shape = {.out = l->out,
                            .in = l->in,
                            .group = g->group,
                            .zero = g->kind == BL_GRID_AFFINE || g->kind == BL_GRID_CLIP ? BL_ZERO_PACKED
                                    : g->kind == BL_GRID_OFFSET                          ? BL_ZERO_FLOAT
                                                                                         : BL_ZERO_NONE,
                            .scale = g->half ? BL_F16 : BL_F32};
    const size_t n = (size_t)(l->out * bl_shape_groups(&shape));
    float *scale = bl_new(n, sizeof *scale, e), *zero = bl_new(n, sizeof *zero, e);
    char name[8];
    bl_status st = BL_OK;
    bl_tensor y;

    if (!scale || !zero) {
        st = BL_E_NOMEM;
        goto out;
    }
    BL_TRY(bl_effective_room(t, BL_WORK_W, l->out, l->in, &y, e));
    BL_TRY(as_used(t, w, y, scale, zero, e));
    BL_TRY(make(t, w, y, e));
    if (g->kind == BL_GRID_PLANES) snprintf(name, sizeof name, "planes");
    else snprintf(name, sizeof name, "int%d", g->bits);
    BL_TRY(pack_given(be, y, scale, bl_grid_has_offset(g->kind) ? zero : NULL, bl_format_find(name), &shape, out, e));
out:
    bl_free(scale);
    bl_free(zero);
    if (st != BL_OK) bl_within(e, "%s", l->name);
    return st;
}

static const bl_weight_rule on_grid = {.name = "grid", .make = make, .as_act = at_once, .chain = chain, .store = store};

/* ---- where it begins ---- */
typedef struct start { /* rows of a weight on the host */
    const float *w;
    int64_t out, in, groups;
    bl_grid g;
    float *scale, *offset, open;
    bool span, least;
} start;

static float step_of(const float *w, int64_t n, float high)
{
    double sum = 0;
    for (int64_t i = 0; i < n; i++) sum += fabs((double)w[i]);
    return sum > 0 ? (float)(2 * (sum / (double)n) / sqrt((double)high)) : 1;
}

static float covering(const float *w, int64_t n, float high)
{
    float lo = 0, hi = 0;
    for (int64_t i = 0; i < n; i++) {
        lo = fminf(lo, w[i]);
        hi = fmaxf(hi, w[i]);
    }
    float s = fmaxf(lo / (-high - 1), hi / high);
    return s > 0 ? s : 1;
}

/* The codes from the least to the largest of a group, 0 among them: the step, and the offset of code 0 in OFFSET. */
static void spanning(const float *w, int64_t n, float high, float *scale, float *offset)
{
    float lo = 0, hi = 0;
    for (int64_t i = 0; i < n; i++) {
        lo = fminf(lo, w[i]);
        hi = fmaxf(hi, w[i]);
    }
    const float s = (hi - lo) / (2 * high + 1);
    *scale = s > 0 ? s : 1;
    *offset = s > 0 ? lo + (high + 1) * s : 0;
}

/* The same of that share of the range, in steps of a fiftieth, that loses least in squares. All shares at once, each
 * with a sum of its own, which is what vectors can do. */
static void shrunk(const float *w, int64_t n, float high, float *scale, float *offset)
{
    enum { SHARES = 50, LEAST_SHARE = 10, TRIED = SHARES - LEAST_SHARE + 1, ROOM = (TRIED + 7) / 8 * 8 };
    const float magic = 12582912.0f; /* 1.5 x 2^23: no code is so far that a fraction stays (grid_both.h) */
    float step, zero, s[ROOM], o[ROOM], lost[ROOM] = {0};
    int least = 0;
    spanning(w, n, high, &step, &zero);
    for (int k = 0; k < ROOM; k++) {
        const float share = (float)BL_MAX(SHARES - k, LEAST_SHARE);
        s[k] = step * share / SHARES;
        o[k] = zero * share / SHARES;
    }
    for (int64_t i = 0; i < n; i++)
        for (int k = 0; k < ROOM; k++) {
            const float v = ((w[i] - o[k]) / s[k] + magic) - magic, up = v > -high - 1 ? v : -high - 1,
                        d = (up < high ? up : high) * s[k] + o[k] - w[i];
            lost[k] += d * d;
        }
    for (int k = 1; k < TRIED; k++)
        if (lost[k] < lost[least]) least = k;
    *scale = s[least];
    *offset = o[least];
}

static void start_row(void *ctx, int64_t r)
{
    const start *s = ctx;
    const float high = (float)((1 << (s->g.bits - 1)) - 1);
    for (int64_t k = 0; k < s->groups; k++) {
        const float *w = s->w + r * s->in + k * s->g.group;
        const int64_t n = BL_MIN(s->g.group, s->in - k * s->g.group);
        float *scale = &s->scale[r * s->groups + k], *offset = &s->offset[r * s->groups + k];
        *offset = 0;
        if (s->g.kind == BL_GRID_CLIP) *scale = *offset = s->open;
        else if (s->g.kind == BL_GRID_LARGEST) continue;
        else if (s->g.kind == BL_GRID_PLANES) bl_planes_fit(w, n, scale, offset);
        else if (s->g.kind == BL_GRID_STEP) *scale = step_of(w, n, high);
        else if (s->g.kind == BL_GRID_OFFSET && s->span) spanning(w, n, high, scale, offset);
        else if (s->g.kind == BL_GRID_OFFSET && s->least) shrunk(w, n, high, scale, offset);
        else if (s->g.kind == BL_GRID_OFFSET) *scale = covering(w, n, high);
        else bl_fit_zero(w, n, (1 << s->g.bits) - 1, scale, offset);
    }
}

const char *const bl_phis[] = {"fixed8", "int", "bf16", "fp32", NULL};

/* P of INSIDE, w / s on the backend, becomes the weight of the linear. */
static bl_status keep_steps(bl_trainable *t, bl_linear *l, bl_tensor p, const bl_grid *g, bl_phi phi, bl_err *e)
{
    bl_backend *be = t->m->be;
    const bool whole = phi == BL_PHI_INT, dense = phi == BL_PHI_BF16 || phi == BL_PHI_F32;
    const bl_shape shape = {.out = l->out, .in = l->in, .group = dense ? 0 : l->in, .scale = BL_F32};
    const int bits = whole ? g->bits : 8;
    bl_weight kept = {0};
    float *scale = NULL;
    char name[8];
    bl_status st = BL_OK;

    snprintf(name, sizeof name, "int%d", bits);
    if (dense) {
        BL_TRY(bl_weight_new(be, bl_format_find(phi == BL_PHI_BF16 ? "bf16" : "fp32"), &shape, &kept, e));
        BL_TRY(be->ops->pack(be, &(bl_pack_args){.x = p, .w = &kept, .rule = BL_RANGE_OWN}, e));
        BL_TRY(be->ops->sync(be, e));
    } else {
        if (!(scale = bl_new((size_t)l->out, sizeof *scale, e))) return BL_E_NOMEM;
        for (int64_t r = 0; r < l->out; r++) scale[r] = whole ? 1 : (float)(1.0 / (1 << (8 - g->bits)));
        BL_TRY(pack_given(be, p, scale, NULL, bl_format_find(name), &shape, &kept, e));
    }
    bl_linear_set_weight(l, &kept);
out:
    bl_weight_free(&kept);
    bl_free(scale);
    return st;
}

static bl_status add(bl_trainable *t, bl_effective *w, const char *part, bl_tensor *own, double rate, bl_err *e)
{
    const int at = w->n_params;
    bl_status st = bl_trained_add(t, w->linear->name, part, *own, &w->param[at], e);
    if (st != BL_OK) return st;
    t->param[w->param[at]].own = own->buf;
    t->param[w->param[at]].rate = rate;
    own->buf = NULL;
    w->n_params++;
    return BL_OK;
}

static bl_status add_factors(bl_trainable *t, bl_effective *w, const bl_grid_learned *o, bl_err *e)
{
    bl_backend *be = t->m->be;
    bl_linear *l = w->linear;
    bl_tensor a = {0}, b = {0};
    bl_status st = BL_OK;
    BL_TRY(new_matrix(be, o->rank, l->in, &a, e));
    BL_TRY(new_matrix(be, l->out, o->rank, &b, e));
    BL_TRY(be->ops->fill(be, &b, 0, e));
    BL_TRY(bl_effective_uniform(be, a, 1 / sqrt((double)l->in), o->seed, bl_rng_key("lora", (uint64_t)(w - t->w)), e));
    BL_TRY(add(t, w, "lora_A", &a, 1, e));
    BL_TRY(add(t, w, "lora_B", &b, 1, e));
    w->low_rank = o->alpha / (double)o->rank;
out:
    be->ops->buffer_free(a.buf);
    be->ops->buffer_free(b.buf);
    return st;
}

/* Scales and offsets of all rows of a dense weight of the backend. */
static bl_status start_on_host(bl_backend *be, start *s, bl_tensor dense, bl_tensor scale, bl_tensor offset, bl_err *e)
{
    const size_t n = (size_t)(s->out * s->in), groups = (size_t)(s->out * s->groups);
    bl_status st = BL_OK;
    float *host = bl_new(n, sizeof *host, e);
    s->scale = bl_new(groups, sizeof *s->scale, e);
    s->offset = bl_new(groups, sizeof *s->offset, e);
    s->w = host;
    if (!host || !s->scale || !s->offset) {
        st = BL_E_NOMEM;
        goto out;
    }
    BL_TRY(be->ops->download(be, &dense, host, e));
    BL_TRY(be->ops->each(be, &(bl_each_args){.n = s->out, .piece = start_row, .ctx = s}, e));
    BL_TRY(be->ops->upload(be, &scale, s->scale, e));
    BL_TRY(be->ops->upload(be, &offset, s->offset, e));
    BL_TRY(be->ops->sync(be, e)); /* before they go */
out:
    bl_free(host);
    bl_free(s->scale);
    bl_free(s->offset);
    return st;
}

static bl_status learn(bl_trainable *t, bl_effective *w, const bl_grid_learned *o, bl_err *e)
{
    bl_backend *be = t->m->be;
    bl_linear *l = w->linear;
    bl_status st = BL_OK;
    bl_tensor dense = {0}, scale = {0}, offset = {0};
    start s = {.out = l->out,
               .in = l->in,
               .g = o->grid,
               .open = o->open != 0 ? (float)o->open : 4,
               .span = o->span,
               .least = o->least};

    if (s.g.group < 1) s.g.group = l->in;
    s.groups = (l->in + s.g.group - 1) / s.g.group;
    if (l->n_transforms || l->act.bits || l->n_adapters || l->n_after)
        return bl_fail(e, BL_E_UNSUPPORTED, "%s has %s; its weight cannot be trained", l->name,
                       l->n_adapters ? "an adapter" : "transformed or quantized inputs or outputs");
    w->frozen = o->grid.kind == BL_GRID_CLIP || (o->grid.kind == BL_GRID_PLANES && o->frozen);
    if (has_factors(&s.g)) BL_TRY(bl_linear_dense(be, l, &dense, e));
    else {
        bl_tensor value;
        BL_TRY(bl_effective_dense(t, w, &value, e));
        if (!w->frozen) BL_TRY(bl_trained_add(t, l->name, "weight", value, &w->param[w->n_params++], e));
        dense = value;
    }
    BL_TRY(new_matrix(be, l->out, s.groups, &scale, e));
    BL_TRY(new_matrix(be, l->out, s.groups, &offset, e));
    if (s.g.kind == BL_GRID_INSIDE) {
        BL_TRY(be->ops->step_search(
            be,
            &(bl_step_search_args){
                .w = dense, .scale = scale, .bits = s.g.bits, .group = s.g.group, .within = o->phi == BL_PHI_FIXED8},
            e));
        BL_TRY(keep_steps(t, l, dense, &s.g, o->phi, e));
    } else BL_TRY(start_on_host(be, &s, dense, scale, offset, e));
    if (has_factors(&s.g)) BL_TRY(add_factors(t, w, o, e));
    if (bl_grid_has_scale(s.g.kind)) BL_TRY(add(t, w, "scale", &scale, o->rate > 0 ? o->rate : 1, e));
    if (bl_grid_has_offset(s.g.kind)) BL_TRY(add(t, w, "offset", &offset, o->rate > 0 ? o->rate : 1, e));
    w->grid = s.g;
    w->rule = &on_grid;
out:
    if (has_factors(&s.g)) be->ops->buffer_free(dense.buf);
    be->ops->buffer_free(scale.buf);
    be->ops->buffer_free(offset.buf);
    return st;
}

bl_status bl_train_grid(bl_trainable *t, const bl_grid_learned *o, bl_err *e)
{
    static const size_t ops[] = {BL_OP(grid), BL_OP(grid_grad), BL_OP(each), 0};
    bl_status st = BL_OK;
    if (o->grid.bits < 2 || o->grid.bits > 8)
        return bl_fail(e, BL_E_CONFIG, "bits is %d; a grid is learned of 2 to 8", o->grid.bits);
    if (has_factors(&o->grid) && o->rank < 1)
        return bl_fail(e, BL_E_CONFIG, "rank is %lld; factors have at least one", (long long)o->rank);
    BL_TRY(bl_check_ops(t->m->be, ops, e));
    for (size_t i = 0; i < t->n_linears; i++) BL_TRY(learn(t, &t->w[i], o, e));
out:
    return st;
}

/* ---- scales alone ---- */
static int scales_part(const bl_weight *w)
{
    bl_part_spec spec[BL_MAX_PARTS];
    const int n = w->format->kind == BL_FMT_INT ? w->format->parts(w->format, &w->shape, spec) : 0;
    for (int i = 0; i < n; i++)
        if (strcmp(spec[i].name, "scales") == 0) return i;
    return -1;
}

/* ds = sum of dW (code - zero): what the weight is where all scales are 1. */
static bl_status to_scales(bl_trainable *t, bl_effective *w, bl_tensor dw, bl_err *e)
{
    bl_backend *be = t->m->be;
    const bl_trained *p = &t->param[w->param[0]];
    bl_weight codes = w->linear->weight;
    bl_status st = BL_OK;
    bl_tensor ones, y;
    BL_TRY(bl_effective_room(t, BL_WORK_COLS, p->value.dim[0], p->value.dim[1], &ones, e));
    BL_TRY(be->ops->fill(be, &ones, 1, e));
    codes.part[scales_part(&codes)] = ones;
    BL_TRY(bl_effective_room(t, BL_WORK_W, w->linear->out, w->linear->in, &y, e));
    BL_TRY(be->ops->unpack(be, &(bl_unpack_args){.w = &codes, .rows = w->linear->out, .y = y}, e));
    BL_TRY(be->ops->grid_grad(
        be,
        &(bl_grid_grad_args){.w = y, .scale = ones, .dy = dw, .dw = dw, .dscale = p->grad, .alpha = 1, .grid = w->grid},
        e));
out:
    return st;
}

/* The same codes and zeros with scales of another type. */
static bl_status retype(bl_backend *be, const bl_weight *from, bl_dtype type, bl_weight *out, bl_err *e)
{
    bl_shape shape = from->shape;
    const int64_t groups = bl_shape_groups(&shape);
    void *part[BL_MAX_PARTS] = {NULL};
    float *scale = NULL, *zero = NULL;
    bl_tensor y = {0};
    bl_status st = BL_OK;

    for (int i = 0; i < from->n_parts; i++) {
        if (!(part[i] = bl_new(bl_tensor_bytes(&from->part[i]) + 64, 1, e))) {
            st = BL_E_NOMEM;
            goto out;
        }
        BL_TRY(be->ops->download(be, &from->part[i], part[i], e));
    }
    if (!(scale = bl_new((size_t)(shape.out * groups), sizeof *scale, e)) ||
        !(zero = bl_new((size_t)(shape.out * groups), sizeof *zero, e))) {
        st = BL_E_NOMEM;
        goto out;
    }
    for (int64_t r = 0; r < shape.out; r++)
        bl_int_decode(from->format, &shape, (const void *const *)part, r, NULL, scale + r * groups, zero + r * groups);
    BL_TRY(new_matrix(be, shape.out, shape.in, &y, e));
    BL_TRY(be->ops->unpack(be, &(bl_unpack_args){.w = from, .rows = shape.out, .y = y}, e));
    shape.scale = type;
    BL_TRY(pack_given(be, y, scale, shape.zero == BL_ZERO_NONE ? NULL : zero, from->format, &shape, out, e));
out:
    for (int i = 0; i < BL_MAX_PARTS; i++) bl_free(part[i]);
    bl_free(scale);
    bl_free(zero);
    be->ops->buffer_free(y.buf);
    return st;
}

static bl_status store_scales(bl_trainable *t, bl_effective *w, bl_weight *out, bl_err *e)
{
    bl_status st = retype(t->m->be, &w->linear->weight, w->stored, out, e);
    if (st != BL_OK) bl_within(e, "%s", w->linear->name);
    return st;
}

static const bl_weight_rule scales_only = {.name = "scales", .chain = to_scales, .store = store_scales};

bl_status bl_train_scales(bl_trainable *t, bl_err *e)
{
    static const size_t ops[] = {BL_OP(grid_grad), 0};
    bl_status st = BL_OK;
    bl_weight kept = {0};
    BL_TRY(bl_check_ops(t->m->be, ops, e));
    for (size_t i = 0; i < t->n_linears; i++) {
        bl_effective *w = &t->w[i];
        bl_linear *l = w->linear;
        const bl_weight *was = &l->weight;
        const bool whole = was->shape.zero == BL_ZERO_NONE || was->shape.zero == BL_ZERO_PACKED;
        const int bits = was->format->bits + (was->shape.zero == BL_ZERO_PACKED);
        if (scales_part(was) < 0 || !whole || was->format->bits < 2 || bits > 8 || l->n_transforms || l->n_after ||
            l->act.bits || l->n_adapters)
            return bl_fail(e, BL_E_UNSUPPORTED,
                           "%s is %s%s; scales are learned of integers of 2 to 7 bits with whole zeros, of 8 without",
                           l->name, was->format->name,
                           l->n_transforms || l->n_after || l->act.bits || l->n_adapters
                               ? " with transforms, adapters or quantized inputs"
                               : "");
        w->stored = was->shape.scale;
        BL_TRY(retype(t->m->be, was, BL_F32, &kept, e));
        bl_linear_set_weight(l, &kept);
        BL_TRY(bl_trained_add(t, l->name, "scale", l->weight.part[scales_part(&l->weight)], &w->param[0], e));
        w->n_params = 1;
        w->grid = (bl_grid){.kind = BL_GRID_INSIDE, .bits = bits, .group = l->weight.shape.group};
        w->rule = &scales_only;
    }
out:
    bl_weight_free(&kept);
    return st;
}
