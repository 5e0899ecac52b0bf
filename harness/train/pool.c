/* pool.c - adapters that read means, or sums, of groups of inputs (QA-LoRA, Xu et al. 2023, arXiv 2309.14717): all
 * inputs of a group of the weight's share the number A[k, group], so that s B A is a number for each output and group,
 * and the weight takes it into its zero points:
 *
 *     scale (q - zero) x + s (B A) p x = scale (q - zero') x,    zero' = zero - s (B A) p / scale,
 *
 * p being 1 / group for means (the published code), of a short last group too, and 1 for sums (the paper's equation 5).
 * zero' is no integer: it is kept as a number of the type of the scales.
 */
#include "effective.h"
#include "kernels/base/rng.h"
#include <math.h>

static bl_status make(bl_trainable *t, bl_effective *w, bl_err *e)
{
    return t->m->be->ops->pool(
        t->m->be,
        &(bl_pool_args){
            .x = t->param[w->a].value, .y = w->linear->adapter[w->adapter].a, .group = w->group, .by = w->share},
        e);
}

static bl_status chain(bl_trainable *t, bl_effective *w, bl_tensor y, bl_tensor dy, bl_tensor da, bl_tensor db,
                       bl_err *e)
{
    (void)y;
    (void)dy;
    (void)db; /* B is learned as it is */
    return t->m->be->ops->pool_grad(
        t->m->be, &(bl_pool_grad_args){.dy = da, .dx = t->param[w->a].grad, .group = w->group, .by = w->share}, e);
}

static bl_status taken(bl_backend *be, const bl_tensor *t, void **out, bl_err *e)
{
    bl_status st = BL_OK;
    void *host = bl_new((size_t)bl_tensor_bytes(t) + 64, 1, e);
    if (!host) return BL_E_NOMEM;
    BL_TRY(be->ops->download(be, t, host, e));
    *out = host;
    host = NULL;
out:
    bl_free(host);
    return st;
}

/* The zero points with the adapter in them, as numbers of type `type`. */
static void merged_zeros(const bl_linear *l, const void *const part[], const float *a, const float *b, int64_t rank,
                         double by, bl_dtype type, float *scale, float *zero, void *to)
{
    const bl_weight *w = &l->weight;
    const int64_t groups = bl_shape_groups(&w->shape);
    for (int64_t o = 0; o < l->out; o++) {
        bl_int_decode(w->format, &w->shape, part, o, NULL, scale, zero);
        for (int64_t j = 0; j < groups; j++) {
            double sum = 0;
            for (int64_t k = 0; k < rank; k++) sum += (double)b[o * rank + k] * a[k * groups + j];
            double z = scale[j] == 0 ? zero[j] : zero[j] - by * sum / scale[j];
            bl_dtype_put(type, z, (char *)to + (size_t)(o * groups + j) * bl_dtype_bytes(type));
        }
    }
}

static bl_status store(bl_trainable *t, bl_effective *w, bl_err *e)
{
    bl_backend *be = t->m->be;
    bl_linear *l = w->linear;
    const bl_lowrank *a = &l->adapter[w->adapter];
    bl_shape shape = l->weight.shape;
    const int64_t groups = bl_shape_groups(&shape), rank = a->a.dim[0];
    bl_status st = BL_OK;
    void *part[BL_MAX_PARTS] = {NULL}, *of_a = NULL, *of_b = NULL;
    float *scale = NULL, *zeros = NULL;
    char *numbers = NULL;
    bl_weight kept = {0};

    shape.zero = BL_ZERO_FLOAT;
    for (int i = 0; i < l->weight.n_parts; i++) BL_TRY(taken(be, &l->weight.part[i], &part[i], e));
    BL_TRY(taken(be, &t->param[w->a].value, &of_a, e));
    BL_TRY(taken(be, &t->param[w->b].value, &of_b, e));
    if (!(scale = bl_new((size_t)groups, sizeof *scale, e)) || !(zeros = bl_new((size_t)groups, sizeof *zeros, e)) ||
        !(numbers = bl_new((size_t)(l->out * groups), bl_dtype_bytes(shape.scale), e))) {
        st = BL_E_NOMEM;
        goto out;
    }
    merged_zeros(l, (const void *const *)part, of_a, of_b, rank, (double)a->scale * w->share, shape.scale, scale, zeros,
                 numbers);
    BL_TRY(bl_weight_new(be, l->weight.format, &shape, &kept, e));
    BL_TRY(be->ops->upload(be, &kept.part[0], part[0], e)); /* codes and scales stay */
    BL_TRY(be->ops->upload(be, &kept.part[1], part[1], e));
    BL_TRY(be->ops->upload(be, &kept.part[2], numbers, e));
    BL_TRY(be->ops->sync(be, e)); /* before they go */
    bl_linear_set_weight(l, &kept);
    bl_linear_clear_adapters(l);
    w->adapter = -1;
    w->form = NULL;
out:
    bl_weight_free(&kept);
    bl_free(numbers);
    bl_free(zeros);
    bl_free(scale);
    bl_free(of_a);
    bl_free(of_b);
    for (int i = 0; i < BL_MAX_PARTS; i++) bl_free(part[i]);
    return st;
}

static const bl_adapter_rule merging = {.name = "pool", .make = make, .chain = chain, .store = store},
                             beside = {.name = "pool", .make = make, .chain = chain};

static bl_status learn(bl_trainable *t, bl_effective *w, bool means, bool merge, uint64_t seed, bl_err *e)
{
    const bl_linear *l = w->linear;
    const bl_shape *s = &l->weight.shape;
    const int64_t rank = l->adapter[w->adapter].a.dim[0], groups = bl_shape_groups(s);
    const bool ints = l->weight.format->kind == BL_FMT_INT && l->weight.format->bits > 1;
    bl_status st = BL_OK;

    if (!ints || s->zero == BL_ZERO_MIDDLE || l->n_transforms || l->n_after || l->act.bits || w->adapter)
        return bl_fail(e, BL_E_UNSUPPORTED, "%s is %s%s; pooled adapters go into the zero points of plain integers",
                       l->name, l->weight.format->name,
                       w->adapter                      ? " with another adapter"
                       : l->n_transforms || l->n_after ? " with transformed inputs or outputs"
                                                       : "");
    w->group = s->group;
    w->share = means ? 1 / (double)s->group : 1;
    w->form = merge ? &merging : &beside;
    BL_TRY(bl_effective_replace(t, w->a, rank, groups, e));
    const double bound = sqrt(6 / (double)(rank + groups)); /* Xavier's, as in the published code */
    BL_TRY(bl_effective_uniform(t->m->be, t->param[w->a].value, bound, seed, bl_rng_key("pooled", (uint64_t)(w - t->w)),
                                e));
    BL_TRY(make(t, w, e));
out:
    return st;
}

bl_status bl_train_pooled(bl_trainable *t, bool means, bool merge, bl_err *e)
{
    static const size_t ops[] = {BL_OP(pool), BL_OP(pool_grad), 0};
    bl_status st = BL_OK;
    BL_TRY(bl_check_ops(t->m->be, ops, e));
    for (size_t i = 0; i < t->n; i++)
        if (t->w[i].adapter >= 0) BL_TRY(learn(t, &t->w[i], means, merge, t->lora.seed, e));
    t->base_is_own = true;
    t->base_takes_in = merge;
out:
    return st;
}
