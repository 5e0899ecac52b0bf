/* shared_solve.c - one linear through GPTQ's sweep: dead inputs, order of columns, damping, groups, storage. */
#include "shared_solve.h"
#include "shared_moments.h"
#include "shared_weight.h"
#include <inttypes.h>
#include <math.h>
#include <stdlib.h>

typedef struct work {
    const bl_method_run *r;
    const bl_solve *s;
    int64_t out, in, groups;
    double *diag; /* [in], of an input that is always zero 1, as the published code has it */
    bool *dead;   /* [in] */
    bool any_dead;
    double mean;
    int32_t *perm; /* [in] column swept at step i; NULL: natural order */
    bool kept;     /* columns are stored in the order of the sweep */
    double damp, loss;
    bl_tensor w, u, scale, zero, order, back, group_of; /* on the backend, in the order of the sweep */
} work;

static bl_status upload_list(const work *k, const int32_t *list, bl_tensor *out, bl_err *e)
{
    bl_status st = bl_vector_new(k->r, BL_I32, k->in, out, e);
    if (st != BL_OK) return st;
    return k->r->ops->upload(k->r->be, out, list, e);
}

/* *t becomes itself with its columns taken from the list. */
static bl_status permute(const work *k, bl_tensor *t, bl_tensor cols, bl_err *e)
{
    bl_tensor y;
    bl_status st = bl_matrix_new(k->r, t->dtype, t->dim[0], t->dim[1], &y, e);
    if (st != BL_OK) return st;
    st = k->r->ops->permute(k->r->be, &(bl_permute_args){.x = *t, .y = y, .cols = cols}, e);
    bl_matrix_free(k->r, t);
    *t = y;
    return st;
}

/* ---- what H says of the inputs ---- */

static bl_status look_at(work *k, bl_tensor h, bl_err *e)
{
    if (!(k->diag = bl_alloc(k->r->scratch, (size_t)k->in, sizeof *k->diag, e)) ||
        !(k->dead = bl_alloc(k->r->scratch, (size_t)k->in, sizeof *k->dead, e)))
        return BL_E_NOMEM;
    bl_status st = bl_moments_diagonal(k->r, h, k->diag, &k->mean, e);
    if (st != BL_OK) return st;
    for (int64_t i = 0; i < k->in; i++) {
        k->dead[i] = k->diag[i] == 0;
        k->any_dead |= k->dead[i];
        if (k->dead[i]) k->diag[i] = 1;
    }
    return BL_OK;
}

typedef struct ranked {
    double group, value; /* largest of its group; its own */
    int64_t first;       /* column its group begins at */
    int32_t column;
} ranked;

/* Largest first; groups stay together, equal ones keep their order. */
static int by_rank(const void *a, const void *b)
{
    const ranked *x = a, *y = b;
    if (x->group != y->group) return x->group < y->group ? 1 : -1;
    if (x->first != y->first) return x->first < y->first ? -1 : 1;
    if (x->value != y->value) return x->value < y->value ? 1 : -1;
    return x->column < y->column ? -1 : 1;
}

bool bl_solve_permutes(const bl_solve *s)
{
    return s->order == BL_SOLVE_ACT && !s->static_groups && bl_shape_groups(&s->shape) > 1;
}

static bl_status choose_order(work *k, bl_err *e)
{
    bl_status st = BL_OK;
    const bl_solve *s = k->s;
    int64_t group = s->order == BL_SOLVE_GROUPS ? s->shape.group : k->in;
    ranked *all = NULL;
    int32_t *of = NULL;

    if (s->order == BL_SOLVE_NATURAL) return BL_OK;
    if (!(k->perm = bl_alloc(k->r->scratch, (size_t)k->in, sizeof *k->perm, e)) ||
        !(all = bl_new((size_t)k->in, sizeof *all, e)) || !(of = bl_new((size_t)k->in, sizeof *of, e))) {
        st = BL_E_NOMEM;
        goto out;
    }
    for (int64_t i = 0; i < k->in; i++) {
        int64_t first = i / group * group;
        double most = 0;
        for (int64_t j = first; j < BL_MIN(first + group, k->in); j++) most = fmax(most, k->diag[j]);
        all[i] = (ranked){.group = most, .value = k->diag[i], .first = first, .column = (int32_t)i};
    }
    qsort(all, (size_t)k->in, sizeof *all, by_rank);
    for (int64_t i = 0; i < k->in; i++) k->perm[i] = all[i].column;
    k->kept = bl_solve_permutes(s);
    BL_TRY(upload_list(k, k->perm, &k->order, e));
    if (k->kept) goto out; /* groups along the order of the sweep */
    for (int64_t i = 0; i < k->in; i++) of[i] = (int32_t)(k->perm[i] / s->shape.group);
    BL_TRY(upload_list(k, of, &k->group_of, e));
    for (int64_t i = 0; i < k->in; i++) of[k->perm[i]] = (int32_t)i;
    BL_TRY(upload_list(k, of, &k->back, e));
out:
    bl_free(all);
    bl_free(of);
    return st;
}

/* ---- solving ---- */

/* Columns of x whose inputs never came, or the others; the rest of y is 0. `perm`: the order they have in x; NULL:
 * their own. */
static bl_status keep(const work *k, bool dead, const int32_t *perm, bl_tensor x, bl_tensor y, bl_err *e)
{
    bl_status st = BL_OK;
    bl_tensor by = {0};
    float *one = bl_new((size_t)k->in, sizeof *one, e);
    if (!one) return BL_E_NOMEM;
    for (int64_t i = 0; i < k->in; i++) one[i] = k->dead[perm ? perm[i] : i] == dead;
    BL_TRY(bl_list_new(k->r, one, k->in, &by, e));
    BL_TRY(k->r->ops->scale(k->r->be, &(bl_scale_args){.x = x, .y = y, .cols = by}, e));
    BL_TRY(k->r->ops->sync(k->r->be, e));
out:
    bl_free(one);
    bl_matrix_free(k->r, &by);
    return st;
}

/* What the inputs lost in the layers before goes into the weight and the factor (kernels/ops_solve.h). */
static bl_status fold_mismatch(work *k, bl_err *e)
{
    bl_status st = BL_OK;
    const bl_ops *ops = k->r->ops;
    bl_tensor c = k->s->mismatch, ordered = {0};
    if (k->perm) {
        BL_TRY(bl_matrix_new(k->r, BL_F64, k->in, k->in, &ordered, e));
        BL_TRY(ops->permute(k->r->be, &(bl_permute_args){.x = c, .y = ordered, .rows = k->order, .cols = k->order}, e));
        c = ordered;
    }
    BL_TRY(
        ops->mismatch_fold(k->r->be, &(bl_mismatch_fold_args){.c = c, .u = k->u, .w = k->w, .alpha = k->s->alpha}, e));
    BL_TRY(ops->sync(k->r->be, e));
out:
    bl_matrix_free(k->r, &ordered);
    return st;
}

static bl_status sweep(work *k, bl_err *e)
{
    bl_status st = BL_OK;
    const bl_solve *s = k->s;
    if (k->perm) BL_TRY(permute(k, &k->w, k->order, e));
    if (s->mismatch.buf) BL_TRY(fold_mismatch(k, e));
    BL_TRY(bl_matrix_new(k->r, BL_F32, k->out, k->groups, &k->scale, e));
    BL_TRY(bl_matrix_new(k->r, BL_F32, k->out, k->groups, &k->zero, e));
    BL_TRY(k->r->ops->gptq_sweep(k->r->be,
                                 &(bl_gptq_sweep_args){.w = k->w,
                                                       .u = k->u,
                                                       .group_of = k->group_of,
                                                       .group = s->shape.group,
                                                       .fit_first = s->static_groups,
                                                       .bits = s->format->bits,
                                                       .rule = s->rule,
                                                       .mse = s->mse,
                                                       .scale_type = s->shape.scale,
                                                       .block = s->block,
                                                       .scale = k->scale,
                                                       .zero = k->zero,
                                                       .loss = &k->loss},
                                 e));
    BL_TRY(k->r->ops->sync(k->r->be, e));
out:
    return st;
}

static bl_status sq_error(const work *k, bl_tensor x, bl_tensor y, double *sum, bl_err *e)
{
    return k->r->ops->sq_error(k->r->be, &(bl_sq_error_args){.x = x, .y = y, .sum = sum}, e);
}

/* D = W - W^ of the weight as it came, its columns as they are stored by now, and the rounded one; of dead inputs
 * apart, whose D costs nothing at the output. */
static bl_status measure(const work *k, bl_tensor before, double power, bl_layer_stat *stat, bl_err *e)
{
    bl_status st = BL_OK;
    bl_tensor none = {0}, part = {0}, now = {0};
    double all, alive, dead = 0, sum, shift = k->damp * k->mean;
    BL_TRY(sq_error(k, before, k->w, &all, e));
    BL_TRY(sq_error(k, before, none, &sum, e));
    alive = all;
    if (k->any_dead) {
        const int32_t *perm = k->kept ? k->perm : NULL;
        BL_TRY(bl_matrix_new(k->r, BL_F32, k->out, k->in, &part, e));
        BL_TRY(bl_matrix_new(k->r, BL_F32, k->out, k->in, &now, e));
        BL_TRY(keep(k, true, perm, k->w, now, e));
        BL_TRY(sq_error(k, now, none, &dead, e)); /* of the 0 that was swept */
        BL_TRY(keep(k, false, perm, k->w, now, e));
        BL_TRY(keep(k, false, perm, before, part, e));
        BL_TRY(sq_error(k, part, now, &alive, e));
    }
    stat->mse = all / ((double)k->out * (double)k->in);
    stat->nmse = sum > 0 ? all / sum : 0;
    stat->damp = k->damp;
    /* tr(D (H + shift I) Dt) = 2 loss, in which H has a 1 for a dead input */
    stat->out_nmse = power > 0 ? fmax(2 * k->loss - shift * alive - (1 + shift) * dead, 0) / power : 0;
out:
    bl_matrix_free(k->r, &part);
    bl_matrix_free(k->r, &now);
    return st;
}

/* Of inputs as they are, where what was swept is not all that was lost. */
static bl_status measure_output(const work *k, bl_tensor before, bl_tensor h, double power, bl_layer_stat *stat,
                                bl_err *e)
{
    bl_status st = BL_OK;
    bl_tensor ordered = {0};
    double sum;
    if (k->kept) {
        BL_TRY(bl_matrix_new(k->r, BL_F64, k->in, k->in, &ordered, e));
        BL_TRY(k->r->ops->permute(k->r->be,
                                  &(bl_permute_args){.x = h, .y = ordered, .rows = k->order, .cols = k->order}, e));
        h = ordered;
    }
    BL_TRY(k->r->ops->quad_form(k->r->be, &(bl_quad_form_args){.x = before, .y = k->w, .h = h, .sum = &sum}, e));
    BL_TRY(k->r->ops->sync(k->r->be, e));
    stat->out_nmse = power > 0 ? sum / power : 0;
out:
    bl_matrix_free(k->r, &ordered);
    return st;
}

static bl_status store(work *k, bl_linear *lin, bl_err *e)
{
    bl_status st = BL_OK;
    bl_weight packed = {0};
    BL_TRY(bl_weight_new(k->r->be, k->s->format, &k->s->shape, &packed, e));
    BL_TRY(k->r->ops->pack(
        k->r->be, &(bl_pack_args){.x = k->w, .w = &packed, .rule = BL_RANGE_GIVEN, .scale = k->scale, .zero = k->zero},
        e));
    BL_TRY(k->r->ops->sync(k->r->be, e));
    if (k->kept) {
        BL_TRY(bl_linear_add_transform(
            lin, &(bl_transform){.kind = BL_T_PERMUTE, .in = k->in, .out = k->in, .data = k->order}, e));
        k->order = (bl_tensor){0}; /* the linear's now */
    }
    bl_linear_set_weight(lin, &packed);
out:
    bl_weight_free(&packed);
    return st;
}

bl_status bl_solve_gptq(const bl_method_run *r, bl_linear *lin, bl_tensor h, const bl_solve *s, bl_layer_stat *stat,
                        bl_err *e)
{
    bl_status st = BL_OK;
    work k = {.r = r, .s = s, .out = s->shape.out, .in = s->shape.in, .groups = bl_shape_groups(&s->shape)};
    bl_mark mark = bl_arena_mark(r->scratch);
    bl_tensor before = {0}, *all[] = {&k.w, &k.u, &k.scale, &k.zero, &k.order, &k.back, &k.group_of, &before};
    double power = 0;

    BL_TRY(look_at(&k, h, e));
    BL_TRY(choose_order(&k, e));
    BL_TRY(bl_linear_dense(r->be, lin, &k.w, e));
    BL_TRY(r->ops->quad_form(r->be, &(bl_quad_form_args){.x = k.w, .h = h, .sum = &power}, e));
    BL_TRY(bl_matrix_new(r, BL_F32, k.out, k.in, &before, e));
    BL_TRY(r->ops->permute(r->be, &(bl_permute_args){.x = k.w, .y = before, .cols = k.kept ? k.order : (bl_tensor){0}},
                           e));
    /* Weights of inputs that never came are of no use and would only widen the ranges: they become 0. */
    if (k.any_dead) BL_TRY(keep(&k, false, NULL, k.w, k.w, e));
    BL_TRY(bl_matrix_new(r, BL_F32, k.in, k.in, &k.u, e));
    BL_TRY(bl_moments_factor(r, h, k.order, k.mean, s->damp, k.u, &k.damp, e));
    BL_TRY(sweep(&k, e));
    if (k.perm && !k.kept) BL_TRY(permute(&k, &k.w, k.back, e));
    BL_TRY(measure(&k, before, power, stat, e));
    if (s->mismatch.buf) BL_TRY(measure_output(&k, before, h, power, stat, e));
    BL_TRY(store(&k, lin, e));
out:
    for (size_t i = 0; i < BL_COUNT(all); i++) bl_matrix_free(k.r, all[i]);
    bl_arena_release(r->scratch, mark);
    return st;
}

double bl_solve_work(int64_t out, int64_t in)
{
    /* Measured beside f32 products: output power and sweep, n rows at a time; the factor, in doubles on one thread. */
    static const double rows = 7, factor = 4;
    double n = (double)in;
    return n * n * (rows * (double)out + factor * n);
}
