/* gradients.c - forward through all blocks, the loss, and back. */
#include "gradients.h"
#include "narrow.h"
#include "taught.h"
#include <math.h>
#include <string.h>

static bool counts(const bl_train_batch *b, int32_t seq, int32_t token)
{
    return token > b->start[seq] && (!b->mask || b->mask[token]);
}

int64_t bl_train_batch_tokens(const bl_train_batch *b)
{
    int64_t n = 0;
    for (int32_t s = 0; s < b->n_seq; s++)
        for (int32_t i = b->start[s]; i < b->start[s + 1]; i++) n += counts(b, s, i);
    return n;
}

/* ---- what the blocks ask ---- */
static bl_status product(void *ctx, bl_model *m, int64_t block, bl_role role, int64_t row0, bl_tensor x, bl_tensor y,
                         bool accumulate, bl_err *e)
{
    (void)m;
    return bl_effective_forward(ctx, bl_effective_of(ctx, block, role), row0, x, y, accumulate, e);
}

static bl_status linear_grads(void *ctx, bl_model *m, int64_t block, const bl_role *role, int n, bl_tensor x,
                              const bl_tensor *y, const bl_tensor *dy, bl_tensor dx, bool accumulate, bl_err *e)
{
    bl_effective *w[BL_LINEAR_MOST];
    (void)m;
    for (int i = 0; i < n; i++) w[i] = bl_effective_of(ctx, block, role[i]);
    return bl_effectives_backward(ctx, w, n, x, y, dy, dx, accumulate, e);
}

static bl_tensor norm_grad(void *ctx, bl_model *m, int64_t block, bl_role role)
{
    const bl_trainable *t = ctx;
    const bl_norm *n = bl_model_norm(m, block, role);
    int at = t->norm[n == &m->norm ? m->n_norms : (size_t)(n - m->norms)];
    return at < 0 ? (bl_tensor){0} : t->param[at].grad;
}

bl_block_hooks bl_trainable_hooks(bl_trainable *t) { return (bl_block_hooks){.product = product, .ctx = t}; }

bl_block_grads bl_trainable_grads(bl_trainable *t)
{
    return (bl_block_grads){
        .linears = linear_grads, .norm = norm_grad, .product = product, .ctx = t, .work = &t->room.work};
}

/* The lowest block in which something is trained, -1: the embedding is, n_layers: nothing below the head. */
static int64_t lowest(bl_trainable *t)
{
    int64_t low = t->m->config.n_layers;
    for (size_t i = 0; i < t->n; i++) {
        const bl_effective *w = &t->w[i];
        bool trained = w->rule || w->bias >= 0 || w->adapter >= 0;
        if (trained && w->linear->role == BL_ROLE_EMBED) return -1;
        if (trained && w->linear->block >= 0) low = BL_MIN(low, w->linear->block);
    }
    for (size_t i = 0; i < t->m->n_norms; i++)
        if (t->norm[i] >= 0) low = BL_MIN(low, t->m->norms[i].block);
    return low;
}

/* ---- a pass ---- */
typedef struct pass {
    bl_trainable *t;
    bl_model *m;
    bl_backend *be;
    int64_t rows, n; /* of the batch; tokens that count */
    bool learn;      /* gradients are wanted */
    bl_batch batch;
    int32_t *past, *slot, *target;
    int64_t *want; /* rows that predict tokens that count */
    bl_kv *kv;
    bl_tape *tape;      /* the room's: of the block at hand, or of each from `low` on */
    int64_t low;        /* the lowest block that is gone back through */
    bl_pass_room *room; /* the trainable's */
    bl_tensor stream, t_ids, t_target, t_want;
} pass;

static bl_tensor input_of(const pass *p, int64_t block)
{
    bl_dtype act = p->be->act;
    uint64_t each = (uint64_t)(p->rows * p->m->config.dim) * bl_dtype_bytes(act);
    return bl_tensor_2d(p->room->inputs, (uint64_t)block * each, act, p->rows, p->m->config.dim);
}

static bl_status copy(const pass *p, bl_tensor from, bl_tensor to, bl_err *e)
{
    return p->be->ops->gather(p->be, &(bl_gather_args){.src = from, .dst = to, .n = from.dim[0]}, e);
}

static bl_status prepare_back(pass *p, uint64_t each, bl_err *e)
{
    const int64_t n = p->m->config.n_layers;
    bl_status st = BL_OK;
    p->low = BL_MAX(lowest(p->t), 0);
    if (!p->room->tape && !(p->room->tape = bl_new((size_t)n, sizeof *p->tape, e))) return BL_E_NOMEM;
    p->tape = p->room->tape;
    for (int64_t b = p->low; p->t->keep && b < n; b++) BL_TRY(bl_tape_fit(p->m, p->rows, &p->tape[b], e));
    if (p->t->keep) goto out;
    BL_TRY(bl_tape_fit(p->m, p->rows, &p->tape[0], e));
    BL_TRY(bl_buffer_fit(p->be, &p->room->inputs, (uint64_t)n * each, e));
out:
    return st;
}

static bl_status prepare(pass *p, const bl_train_batch *b, bl_err *e)
{
    bl_status st = BL_OK;
    const bl_config *c = &p->m->config;
    uint64_t each = (uint64_t)(p->rows * c->dim) * bl_dtype_bytes(p->be->act);
    int64_t k = 0;

    if (!(p->past = bl_new((size_t)b->n_seq, sizeof *p->past, e)) ||
        !(p->slot = bl_new((size_t)b->n_seq, sizeof *p->slot, e)) ||
        !(p->target = bl_new((size_t)p->n, sizeof *p->target, e)) ||
        !(p->want = bl_new((size_t)p->n, sizeof *p->want, e))) {
        st = BL_E_NOMEM;
        goto out;
    }
    for (int32_t s = 0; s < b->n_seq; s++)
        for (int32_t i = b->start[s]; i < b->start[s + 1]; i++)
            if (counts(b, s, i)) {
                p->target[k] = b->ids[i];
                p->want[k++] = i - 1;
            }
    BL_TRY(bl_kv_new(p->m, p->rows, b->n_seq, true, BL_KV_ACT, &p->kv, e));
    for (int32_t s = 0; s < b->n_seq; s++)
        BL_TRY(bl_kv_slot(p->kv, b->start[s + 1] - b->start[s], -1, 0, &p->slot[s], e));
    p->batch = (bl_batch){.ids = b->ids, .n_seq = b->n_seq, .start = b->start, .past = p->past, .slot = p->slot};
    BL_TRY(bl_buffer_fit(p->be, &p->room->stream, each, e));
    p->stream = bl_tensor_2d(p->room->stream, 0, p->be->act, p->rows, c->dim);
    if (p->learn) BL_TRY(prepare_back(p, each, e));
    BL_TRY(bl_buffer_fit(p->be, &p->room->lists, (uint64_t)p->n * 12 + (uint64_t)p->rows * 4, e));
    bl_buffer *lists = p->room->lists;
    p->t_want = bl_tensor_1d(lists, 0, BL_I64, p->n);
    p->t_target = bl_tensor_1d(lists, (uint64_t)p->n * 8, BL_I32, p->n);
    p->t_ids = bl_tensor_1d(lists, (uint64_t)p->n * 12, BL_I32, p->rows);
    BL_TRY(p->be->ops->upload(p->be, &p->t_want, p->want, e));
    BL_TRY(p->be->ops->upload(p->be, &p->t_target, p->target, e));
    BL_TRY(p->be->ops->upload(p->be, &p->t_ids, b->ids, e));
out:
    return st;
}

static void release(pass *p)
{
    bl_kv_free(p->kv);
    bl_free(p->past);
    bl_free(p->slot);
    bl_free(p->target);
    bl_free(p->want);
}

/* A wide device reads the whole head for each chunk: an eighth of the pass at once, whole tiles of its products, is
 * little beside the rest. */
int64_t bl_loss_rows(const bl_model *m, int64_t rows, int64_t n)
{
    int64_t most = bl_logits_rows(m);
    if (m->be->wide > 1) most = BL_MAX(most, (rows / 8 + 127) / 128 * 128);
    return BL_MIN(most, n);
}

/* Buffers of the loss, parts of one. */
typedef struct ends {
    bl_tensor nll, kl;               /* f64 [n]; the second beside a teacher alone */
    bl_tensor dp, same;              /* f64 [n], i32 [n]; where tokens count differently alone, as count and flat */
    bl_tensor last, normed, d;       /* act [n, dim] */
    bl_tensor taught;                /* act [n, dim], the teacher's states */
    bl_tensor count;                 /* f32 [n], how much a token counts */
    uint64_t flat;                   /* where logits of no preference are */
    uint64_t logits, narrow, theirs; /* where a chunk's logits are; their gradient in act, where that is not f32; the
                                        teacher's logits */
    uint64_t bytes;
} ends;

static uint64_t place(uint64_t *at, uint64_t bytes)
{
    const uint64_t here = *at;
    *at += (bytes + 63) / 64 * 64;
    return here;
}

static ends ends_of(const pass *p, bl_buffer *b, int64_t most, int64_t columns)
{
    const bool taught = p->t->teacher && p->learn;
    const bl_dtype act = p->be->act;
    const int64_t n = p->n, dim = p->m->config.dim;
    const uint64_t states = (uint64_t)(n * dim) * bl_dtype_bytes(act),
                   logits = (uint64_t)(most * columns) * sizeof(float),
                   narrow = act == BL_F32 ? 0 : (uint64_t)(most * columns) * bl_dtype_bytes(act);
    ends x = {0};
    uint64_t at = 0;
    x.nll = bl_tensor_1d(b, place(&at, (uint64_t)n * 8), BL_F64, n);
    x.last = bl_tensor_2d(b, place(&at, states), act, n, dim);
    x.normed = bl_tensor_2d(b, place(&at, states), act, n, dim);
    x.d = bl_tensor_2d(b, place(&at, states), act, n, dim);
    x.logits = place(&at, logits);
    x.narrow = place(&at, narrow);
    if (taught) {
        x.kl = bl_tensor_1d(b, place(&at, (uint64_t)n * 8), BL_F64, n);
        x.taught = bl_tensor_2d(b, place(&at, states), act, n, dim);
        x.theirs = place(&at, logits);
        if (p->t->unsure) {
            x.dp = bl_tensor_1d(b, place(&at, (uint64_t)n * 8), BL_F64, n);
            x.same = bl_tensor_1d(b, place(&at, (uint64_t)n * 4), BL_I32, n);
            x.count = bl_tensor_1d(b, place(&at, (uint64_t)n * 4), BL_F32, n);
            x.flat = place(&at, logits);
        }
    }
    x.bytes = at + 64;
    return x;
}

/* The divergence of logits p from q, rows r .. r + n, f64 on the host too where that is asked for. */
static bl_status divergence(pass *p, const ends *x, bl_tensor of, bl_tensor from, int64_t r, double *host, bl_err *e)
{
    bl_backend *be = p->be;
    const int64_t n = of.dim[0];
    const bl_tensor kl = bl_tensor_part(x->kl, r, n);
    bl_status st = be->ops->kl_div(be,
                                   &(bl_kl_div_args){.p = of,
                                                     .q = from,
                                                     .vocab = p->m->config.vocab,
                                                     .target = bl_tensor_part(p->t_target, r, n),
                                                     .kl = kl,
                                                     .dp = bl_tensor_part(x->dp, r, n),
                                                     .same = bl_tensor_part(x->same, r, n)},
                                   e);
    return st == BL_OK && host ? be->ops->download(be, &kl, host, e) : st;
}

/* taught_chunk where tokens count differently: f of each, from the entropies, which are ln of the vocabulary less the
 * divergence from none preferred. The gradient is (a + f b) (q - 1) - f b (p - 1), *dy f32 or act as y is kept. */
static bl_status unsure_chunk(pass *p, const ends *x, bl_tensor y, bl_tensor t, bl_tensor *dy, int64_t r, double a,
                              double b, bl_err *e)
{
    bl_backend *be = p->be;
    const int64_t n = y.dim[0], vocab = p->m->config.vocab;
    const double most = log((double)vocab);
    const bl_tensor flat = bl_tensor_2d(p->room->work, x->flat, BL_F32, n, y.dim[1]),
                    target = bl_tensor_part(p->t_target, r, n), kl = bl_tensor_part(x->kl, r, n),
                    count = bl_tensor_part(x->count, r, n);
    double *f = bl_new(2 * (size_t)n, sizeof *f, e), *other = f + n;
    float *by = bl_new((size_t)n, sizeof *by, e);
    bl_status st = BL_OK;
    bl_tensor dt;
    if (!f || !by) {
        st = BL_E_NOMEM;
        goto out;
    }
    BL_TRY(be->ops->fill(be, &flat, 0, e));
    BL_TRY(divergence(p, x, t, flat, r, f, e));
    BL_TRY(divergence(p, x, y, flat, r, other, e));
    for (int64_t i = 0; i < n; i++)
        f[i] = pow(fmax(1 - f[i] / most, 0) * fmax(1 - other[i] / most, 0), p->t->power) + p->t->even;
    BL_TRY(divergence(p, x, t, y, r, other, e));
    for (int64_t i = 0; i < n; i++) other[i] *= f[i];
    BL_TRY(be->ops->upload(be, &kl, other, e));
    BL_TRY(be->ops->loss_grad(
        be, &(bl_loss_grad_args){.logits = t, .vocab = vocab, .target = target, .scale = -1, .grad = t}, e));
    for (int64_t i = 0; i < n; i++) by[i] = (float)(f[i] * b);
    BL_TRY(be->ops->upload(be, &count, by, e));
    BL_TRY(be->ops->scale(be, &(bl_scale_args){.x = t, .y = t, .rows = count}, e));
    BL_TRY(be->ops->loss_grad(
        be,
        &(bl_loss_grad_args){
            .logits = y, .vocab = vocab, .target = target, .scale = 1, .grad = y, .nll = bl_tensor_part(x->nll, r, n)},
        e));
    for (int64_t i = 0; i < n; i++) by[i] = (float)(a + f[i] * b);
    BL_TRY(be->ops->upload(be, &count, by, e));
    BL_TRY(be->ops->scale(be, &(bl_scale_args){.x = y, .y = y, .rows = count}, e));
    BL_TRY(bl_effective_act(p->t, BL_WORK_BACK, t, 1, &dt, e));
    BL_TRY(bl_effective_act(p->t, BL_WORK_LOW, y, 1, dy, e));
    BL_TRY(be->ops->add(be, &(bl_add_args){.x = dt, .y = *dy}, e));
out:
    bl_free(f);
    bl_free(by);
    return st;
}

/* The gradient of a chunk's logits y, rows r .. r + n, beside a teacher. */
static bl_status taught_chunk(pass *p, const ends *x, bl_tensor y, bl_tensor *dy, int64_t r, double a, double b,
                              bl_err *e)
{
    const int64_t n = y.dim[0];
    const bl_tensor t = bl_tensor_2d(p->room->work, x->theirs, BL_F32, n, y.dim[1]);
    bl_status st = BL_OK;
    if (bl_teacher_top(p->t->teacher)) BL_TRY(bl_teacher_beside(p->t->teacher, r, y, t, e));
    else BL_TRY(bl_teacher_logits(p->t->teacher, x->taught, r, n, t, e));
    if (p->t->unsure) return unsure_chunk(p, x, y, t, dy, r, a, b, e);
    BL_TRY(p->be->ops->loss_grad(p->be,
                                 &(bl_loss_grad_args){.logits = y,
                                                      .vocab = p->m->config.vocab,
                                                      .target = bl_tensor_part(p->t_target, r, n),
                                                      .scale = a,
                                                      .grad = *dy,
                                                      .nll = bl_tensor_part(x->nll, r, n),
                                                      .theirs = t,
                                                      .toward = b,
                                                      .kl = bl_tensor_part(x->kl, r, n)},
                                 e));
out:
    return st;
}

/* The sum over the wanted rows of a list. */
static bl_status summed(pass *p, bl_tensor list, double *sum, bl_err *e)
{
    double *each = bl_new((size_t)p->n, sizeof *each, e);
    if (!each) return BL_E_NOMEM;
    bl_status st = p->be->ops->download(p->be, &list, each, e);
    *sum = 0;
    for (int64_t i = 0; st == BL_OK && i < p->n; i++) *sum += each[i];
    bl_free(each);
    return st;
}

/* The loss of the wanted rows, and its gradient to the residual stream after the last block, in its place. */
static bl_status loss(pass *p, double scale, double *out, bl_err *e)
{
    bl_backend *be = p->be;
    const bl_config *c = &p->m->config;
    const bl_trainable *t = p->t;
    bl_effective *head = bl_effective_of(p->t, -1, p->m->head.weight.format ? BL_ROLE_HEAD : BL_ROLE_EMBED);
    const bool taught = t->teacher && p->learn;
    const double rows = (double)BL_MAX(t->sequences, 1), a = taught ? t->ce * scale : scale,
                 b = taught ? t->kl / rows : 0;
    int64_t most = bl_loss_rows(p->m, p->rows, p->n), columns = head->linear->out;
    double nll, kl = 0;
    bl_status st = BL_OK;

    BL_TRY(bl_buffer_fit(be, &p->room->work, ends_of(p, NULL, most, columns).bytes, e));
    const ends x = ends_of(p, p->room->work, most, columns);
    if (taught) {
        bl_batch whole = p->batch;
        whole.want = p->want;
        whole.n_want = p->n;
        if (bl_teacher_top(t->teacher))
            BL_TRY(bl_teacher_tops(t->teacher, &whole, x.taught,
                                   bl_tensor_2d(p->room->work, x.theirs, BL_F32, BL_MIN(most, p->n), columns), e));
        else BL_TRY(bl_teacher_states(t->teacher, &whole, x.taught, e));
    }
    BL_TRY(be->ops->gather(be, &(bl_gather_args){.src = p->stream, .dst = x.last, .from = p->t_want, .n = p->n}, e));
    BL_TRY(be->ops->rmsnorm(
        be, &(bl_rmsnorm_args){.x = x.last, .weight = p->m->norm.weight, .y = x.normed, .eps = c->eps}, e));
    for (int64_t r = 0, n; r < p->n; r += n) {
        n = BL_MIN(p->n - r, most);
        bl_tensor y = bl_tensor_2d(p->room->work, x.logits, BL_F32, n, columns), h = bl_tensor_rows(x.normed, r, n);
        bl_tensor dy = be->act == BL_F32 ? y : bl_tensor_2d(p->room->work, x.narrow, be->act, n, columns);
        BL_TRY(bl_effective_forward(p->t, head, r, h, y, false, e));
        if (taught) BL_TRY(taught_chunk(p, &x, y, &dy, r, a, b, e));
        else
            BL_TRY(be->ops->loss_grad(be,
                                      &(bl_loss_grad_args){.logits = y,
                                                           .vocab = c->vocab,
                                                           .target = bl_tensor_part(p->t_target, r, n),
                                                           .scale = scale,
                                                           .grad = dy,
                                                           .nll = bl_tensor_part(x.nll, r, n)},
                                      e));
        if (p->learn) BL_TRY(bl_effective_backward(p->t, head, h, dy, bl_tensor_rows(x.d, r, n), false, e));
    }
    BL_TRY(summed(p, x.nll, &nll, e));
    if (taught) BL_TRY(summed(p, x.kl, &kl, e));
    *out = taught ? t->ce * nll + b * kl / scale : nll;
    if (!p->learn) goto out;
    BL_TRY(be->ops->rmsnorm_grad(be,
                                 &(bl_rmsnorm_grad_args){.x = x.last,
                                                         .weight = p->m->norm.weight,
                                                         .dy = x.d,
                                                         .dx = x.d,
                                                         .dweight = norm_grad(p->t, p->m, -1, BL_ROLE_NORM),
                                                         .eps = c->eps},
                                 e));
    BL_TRY(be->ops->fill(be, &p->stream, 0, e));
    BL_TRY(be->ops->gather(be, &(bl_gather_args){.src = x.d, .dst = p->stream, .to = p->t_want, .n = p->n}, e));
out:
    return st;
}

/* Where a pass leaves what the way back through a block reads; NULL: nowhere. Wide devices take all rows of a block at
 * once, which needs the room of a tape, so blocks that none is kept for use that of a later one. */
static bl_tape *tape_of(const pass *p, int64_t block)
{
    const int64_t n = p->m->config.n_layers;
    if (!p->learn || (p->t->keep && p->low >= n)) return NULL;
    if (p->be->wide <= 1 && (p->t->keep ? block < p->low : block < n - 1)) return NULL;
    return &p->tape[p->t->keep ? BL_MAX(block, p->low) : 0];
}

static bl_status forward(pass *p, const bl_block_hooks *hooks, bl_err *e)
{
    bl_status st = BL_OK;
    BL_TRY(p->be->ops->embed(p->be, &(bl_embed_args){.w = &p->m->embed.weight, .ids = p->t_ids, .y = p->stream}, e));
    for (int64_t b = 0; b < p->m->config.n_layers; b++) {
        if (bl_interrupted()) return bl_fail(e, BL_E_INTERRUPTED, "interrupted");
        if (p->learn && !p->t->keep) BL_TRY(copy(p, p->stream, input_of(p, b), e));
        bl_tape *tape = tape_of(p, b), lent;
        if (tape && (p->t->keep ? b < p->low : b < p->m->config.n_layers - 1)) { /* it is written again */
            lent = *tape;
            lent.x = lent.mid = (bl_tensor){0};
            tape = &lent;
        }
        BL_TRY(bl_narrow_enter(p->t, b, false, e));
        BL_TRY(bl_block_forward(p->m, b, &p->batch, p->kv, p->stream, hooks, tape, e));
    }
out:
    return st;
}

static bl_status backward(pass *p, const bl_block_hooks *hooks, bl_err *e)
{
    const bl_block_grads grads = bl_trainable_grads(p->t);
    bl_block_hooks again = *hooks;
    int64_t low = lowest(p->t);
    bl_status st = BL_OK;

    again.until = BL_ROLE_BIT(BL_ROLE_DOWN); /* nothing reads what a block puts out */
    for (int64_t b = p->m->config.n_layers - 1; b >= BL_MAX(low, 0); b--) {
        if (bl_interrupted() && !p->t->stepping) /* what has made its step cannot make it again */
            return bl_fail(e, BL_E_INTERRUPTED, "interrupted");
        bl_tape *tape = &p->tape[p->t->keep ? b : 0];
        BL_TRY(bl_narrow_enter(p->t, b, true, e));
        if (!p->t->keep && b < p->m->config.n_layers - 1) /* the last block's is there */
            BL_TRY(bl_block_forward(p->m, b, &p->batch, p->kv, input_of(p, b), &again, tape, e));
        BL_TRY(bl_block_backward(p->m, b, &p->batch, p->kv, tape, p->stream, b > low, &grads, e));
        BL_TRY(bl_narrow_leave(p->t, b, e));
    }
    if (low < 0) {
        const bl_effective *w = bl_effective_of(p->t, -1, BL_ROLE_EMBED);
        BL_TRY(p->be->ops->embed_grad(
            p->be, &(bl_embed_grad_args){.ids = p->t_ids, .dy = p->stream, .dw = p->t->param[w->param[0]].grad}, e));
    }
out:
    return st;
}

static bl_status check(const bl_trainable *t, const bl_train_batch *b, bl_err *e)
{
    static const size_t ops[] = {BL_OP(loss_grad), BL_OP(embed_grad), BL_OP(dropout), 0};
    bl_status st = BL_OK;
    BL_TRY(bl_check_ops(t->m->be, ops, e));
    if (!t->n_params) return bl_fail(e, BL_E_INTERNAL, "nothing of the model is trained");
    for (int32_t i = 0; i < b->start[b->n_seq]; i++)
        if (b->ids[i] < 0 || b->ids[i] >= t->m->config.vocab)
            return bl_fail(e, BL_E_FORMAT, "token id %d is outside the vocabulary of %lld", (int)b->ids[i],
                           (long long)t->m->config.vocab);
out:
    return st;
}

bl_status bl_gradients(bl_trainable *t, const bl_train_batch *b, double scale, double *nll, bl_err *e)
{
    pass p = {.t = t,
              .m = t->m,
              .be = t->m->be,
              .room = &t->room,
              .rows = b->start[b->n_seq],
              .n = bl_train_batch_tokens(b),
              .learn = true};
    const bl_block_hooks hooks = bl_trainable_hooks(t);
    double sum = 0;
    bl_status st = BL_OK;

    BL_TRY(check(t, b, e));
    t->pass++;
    bl_made_begin(t);
    if (p.n) {
        BL_TRY(prepare(&p, b, e));
        BL_TRY(bl_kept_begin(t, p.rows, e));
        BL_TRY(forward(&p, &hooks, e));
        BL_TRY(loss(&p, scale, &sum, e));
        BL_TRY(backward(&p, &hooks, e));
    }
    *nll = sum;
out:
    bl_made_end(t);
    bl_kept_end(t);
    release(&p);
    return st;
}

bl_status bl_loss(bl_trainable *t, const bl_train_batch *b, double *nll, bl_err *e)
{
    pass p = {
        .t = t, .m = t->m, .be = t->m->be, .room = &t->room, .rows = b->start[b->n_seq], .n = bl_train_batch_tokens(b)};
    const bl_block_hooks hooks = bl_trainable_hooks(t);
    double sum = 0;
    bl_status st = BL_OK;

    t->still = true;
    bl_made_begin(t);
    BL_TRY(check(t, b, e));
    if (p.n) {
        BL_TRY(prepare(&p, b, e));
        BL_TRY(forward(&p, &hooks, e));
        BL_TRY(loss(&p, 0, &sum, e));
    }
    *nll = sum;
out:
    t->still = false;
    bl_made_end(t);
    release(&p);
    return st;
}
