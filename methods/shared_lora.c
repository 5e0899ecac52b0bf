/* shared_lora.c - from the options of adapters to adapters. */
#include "shared_lora.h"
#include "shared_weight.h"
#include "harness/checkpoint/peft.h"
#include "kernels/factor.h"
#include <math.h>
#include <string.h>

bl_status bl_lora_targets(const bl_lora_opts *o, uint32_t *out, bl_err *e)
{
    *out = 0;
    if (!strcmp(o->targets, "all")) return BL_OK;
    for (const char *at = o->targets; *at;) {
        size_t n = strcspn(at, ":");
        uint32_t bit = bl_linear_named(at, n);
        if (!bit || *out & bit)
            return bl_fail(e, BL_E_CONFIG, "targets: '%.*s' is no linear of a block, or comes twice", (int)n, at);
        *out |= bit;
        if (at[n] && !at[n + 1])
            return bl_fail(e, BL_E_CONFIG, "targets: found '%s', expected a linear after the last colon", o->targets);
        at += n + (at[n] == ':');
    }
    return BL_OK;
}

const char *const bl_lora_inits[] = {"zero", "pissa", "olora", NULL};

bl_status bl_lora_needs_dense(const bl_method_run *r, const bl_lora_opts *o, const char *what, bl_err *e)
{
    uint32_t targets;
    bl_status st = bl_lora_targets(o, &targets, e);
    if (st != BL_OK) return st;
    if (!(o->alpha > 0)) return bl_fail(e, BL_E_CONFIG, "%s needs an alpha above 0", what);
    for (size_t i = 0; i < r->model->n_linears; i++) {
        const bl_linear *l = &r->model->linears[i];
        if (targets && !(targets & BL_ROLE_BIT(l->role))) continue;
        if (l->weight.format->kind != BL_FMT_DENSE || l->n_transforms || l->n_after || l->act.bits)
            return bl_fail(e, BL_E_UNSUPPORTED, "%s is %s; %s takes a part of dense weights, before they are rounded",
                           l->name, l->weight.format->name, what);
        if (o->rank > BL_MIN(l->in, l->out))
            return bl_fail(e, BL_E_CONFIG, "%s is %lld x %lld; %s has no part of rank %lld", l->name, (long long)l->out,
                           (long long)l->in, what, (long long)o->rank);
    }
    return BL_OK;
}

/* What DoRA asks for: a row of the weight is what makes an output. */
static bl_status plain_linears(const bl_method_run *r, const bl_lora_opts *o, bl_err *e)
{
    uint32_t targets;
    bl_status st = bl_lora_targets(o, &targets, e);
    if (st == BL_OK) st = bl_plain_linears(r, targets, "dora learns the lengths of the rows of a weight alone", e);
    return st;
}

bl_status bl_lora_check(const bl_method_run *r, const bl_lora_opts *o, bl_err *e)
{
    uint32_t targets;
    char what[24];
    bl_status st = o->dora ? plain_linears(r, o, e) : BL_OK;
    if (st != BL_OK) return st;
    if (o->init == BL_INIT_ZERO && !(o->alpha > 0))
        return bl_fail(e, BL_E_CONFIG, "alpha is %g, expected above 0: it is what adapters count", o->alpha);
    if (o->init == BL_INIT_ZERO) return bl_lora_targets(o, &targets, e);
    snprintf(what, sizeof what, "init=%s", bl_lora_inits[o->init]);
    return bl_lora_needs_dense(r, o, what, e);
}

void bl_lora_predict(const bl_lora_opts *o, bl_linear *lin)
{
    uint32_t targets = 0;
    const bl_lowrank a = {.a = bl_tensor_2d(NULL, 0, BL_F32, o->rank, lin->in),
                          .b = bl_tensor_2d(NULL, 0, BL_F32, lin->out, o->rank)};
    const bl_transform by = {
        .kind = BL_T_SCALE, .in = lin->out, .out = lin->out, .data = bl_tensor_1d(NULL, 0, BL_F32, lin->out)};
    if (bl_lora_targets(o, &targets, NULL) != BL_OK || (targets && !(targets & BL_ROLE_BIT(lin->role)))) return;
    (void)bl_linear_add_adapter(lin, &a, NULL); /* without memory a plan says less */
    if (o->dora) (void)bl_linear_add_after(lin, &by, NULL);
}

/* ---- a part of the weight ---- */
/* Buffers of one linear, on the host. */
typedef struct split {
    float *w, *left, *a, *b;
} split;

static void split_free(split *s)
{
    bl_free(s->w);
    bl_free(s->left);
    bl_free(s->a);
    bl_free(s->b);
}

bl_status bl_lora_dense(const bl_method_run *r, const bl_linear *l, float *host, bl_err *e)
{
    bl_tensor dense = {0};
    bl_status st = BL_OK;
    BL_TRY(bl_linear_dense(r->be, l, &dense, e));
    BL_TRY(r->ops->download(r->be, &dense, host, e));
out:
    r->ops->buffer_free(dense.buf);
    return st;
}

bl_status bl_lora_store(const bl_method_run *r, bl_linear *l, const float *rest, const bl_format *format,
                        const bl_shape *shape, bl_range_rule rule, bl_err *e)
{
    bl_status st = BL_OK;
    bl_weight f32 = {0};
    bl_layer_stat stat;
    BL_TRY(bl_weight_new(r->be, bl_format_find("fp32"), &(bl_shape){.out = l->out, .in = l->in}, &f32, e));
    BL_TRY(r->ops->upload(r->be, &f32.part[0], rest, e));
    BL_TRY(r->ops->sync(r->be, e));
    bl_linear_set_weight(l, &f32); /* the linear's now */
    BL_TRY(bl_method_pack(r, l, format, shape, rule, false, &stat, e));
out:
    bl_weight_free(&f32);
    return st;
}

/* The triples of a matrix that is narrow, near ones of others: all of a matrix of 4096 on a side take half a minute. */
static bl_status triples(uint64_t seed, const bl_linear *l, int64_t rank, const float *of, split *s, bl_err *e)
{
    enum { WIDE = 1024, PASSES = 5 };
    if (BL_MIN(l->out, l->in) < WIDE) return bl_factor_svd(of, l->out, l->in, rank, s->a, s->b, e);
    return bl_factor_svd_drawn(of, l->out, l->in, rank, PASSES, bl_rng_at(seed, bl_rng_key("triples", 0), 0), s->a,
                               s->b, e);
}

/* a and b with s B A the part of `of` that an adapter begins as. */
static bl_status part(uint64_t seed, const bl_linear *l, int64_t rank, double scale, bl_lora_init init, const float *of,
                      split *s, bl_err *e)
{
    if (init == BL_INIT_OLORA) return bl_factor_qr(of, l->out, l->in, rank, s->a, s->b, e);
    bl_status st = triples(seed, l, rank, of, s, e);
    const float by = (float)(1 / sqrt(scale));
    for (int64_t i = 0; st == BL_OK && i < rank * l->in; i++) s->a[i] *= by;
    for (int64_t i = 0; st == BL_OK && i < l->out * rank; i++) s->b[i] *= by;
    return st;
}

static bl_status begin(const bl_method_run *r, bl_trainable *t, bl_effective *w, bl_lora_init init,
                       const bl_lora_base *base, bl_err *e)
{
    bl_linear *l = w->linear;
    const int64_t rank = l->adapter[w->adapter].a.dim[0], n = l->out * l->in;
    const double scale = (double)l->adapter[w->adapter].scale;
    const bl_format *stored = l->weight.format;
    const bl_shape plain = {.out = l->out, .in = l->in}, shape = base ? base->shape(base->opts, l) : plain;
    const bl_format *format = base ? base->format : stored;
    const bl_range_rule rule = base ? base->rule : BL_RANGE_OWN;
    bl_status st = BL_OK;
    split s = {0};
    const double t0 = bl_now();

    if (!(s.w = bl_new((size_t)n, sizeof *s.w, e)) || !(s.left = bl_new((size_t)n, sizeof *s.left, e)) ||
        !(s.a = bl_new((size_t)(rank * l->in), sizeof *s.a, e)) ||
        !(s.b = bl_new((size_t)(l->out * rank), sizeof *s.b, e))) {
        st = BL_E_NOMEM;
        goto out;
    }
    BL_TRY(bl_lora_dense(r, l, s.w, e));
    if (!base || !base->rounds) {
        BL_TRY(part(r->seed, l, rank, scale, init, s.w, &s, e));
        bl_factor_rest(s.w, l->out, l->in, rank, s.a, s.b, scale, s.left);
        BL_TRY(bl_lora_store(r, l, s.left, format, &shape, rule, e));
    }
    for (int k = 0; base && k < base->rounds; k++) { /* the weight is rounded first, the adapter found last */
        if (k) bl_factor_rest(s.w, l->out, l->in, rank, s.a, s.b, scale, s.left);
        else memcpy(s.left, s.w, (size_t)n * sizeof *s.w);
        BL_TRY(bl_lora_store(r, l, s.left, format, &shape, rule, e));
        BL_TRY(bl_lora_dense(r, l, s.left, e));
        for (int64_t i = 0; i < n; i++) s.left[i] = s.w[i] - s.left[i];
        BL_TRY(part(r->seed, l, rank, scale, BL_INIT_PISSA, s.left, &s, e));
    }
    BL_TRY(bl_effective_begin(t, w, s.a, s.b, !base, e));
    bl_log(BL_LOG_INFO, "%s: its adapter began within %.2f s", l->name, bl_now() - t0);
out:
    bl_within(e, "%s", l->name);
    split_free(&s);
    return st;
}

bl_status bl_lora_learns(const bl_method_run *r, const bl_lora_opts *o, const bl_lora_base *base, bl_trainable *t,
                         bl_err *e)
{
    bl_lora l = {
        .rank = o->rank, .alpha = o->alpha, .rank_stabilized = o->rslora, .dropout = o->dropout, .seed = r->seed};
    const bool taken = o->init != BL_INIT_ZERO || (base && base->rounds);
    bl_status st = BL_OK;
    bl_layer_stat stat;
    BL_TRY(bl_lora_targets(o, &l.targets, e));
    for (size_t i = 0; base && i < r->model->n_linears; i++) {
        bl_linear *lin = t->w[i].linear;
        const bl_shape shape = base->shape(base->opts, lin);
        BL_TRY(bl_trainable_reach(t, lin->block, e));
        if (taken && (!l.targets || l.targets & BL_ROLE_BIT(lin->role))) continue; /* it is split below */
        BL_TRY(bl_method_pack(r, lin, base->format, &shape, base->rule, false, &stat, e));
    }
    BL_TRY(bl_trainable_reach(t, r->model->config.n_layers - 1, e));
    BL_TRY(bl_train_lora(t, &l, e));
    for (size_t i = 0; taken && i < r->model->n_linears; i++)
        if (t->w[i].adapter >= 0) BL_TRY(begin(r, t, &t->w[i], (bl_lora_init)o->init, base, e));
    if (o->dora) BL_TRY(bl_train_dora(t, e));
out:
    return st;
}
