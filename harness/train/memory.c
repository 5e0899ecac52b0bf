/* memory.c - what a run of training takes, from shapes alone but for what is in memory already. */
#include "narrow.h"
#include "trainer.h"
#include "taught.h"
#include "topk.h"
#include "harness/model/size.h"

/* ---- what a pass takes ---- */
static bool read_alike(const bl_effective *a, const bl_effective *b)
{
    if (!b || a->linear->block != b->linear->block || a->linear->block < 0) return false;
    const uint32_t both = BL_ROLE_BIT(a->linear->role) | BL_ROLE_BIT(b->linear->role);
    return bl_roles_of_one_input(both) == both;
}

/* What products with trained weights keep between passes and steps. */
static uint64_t kept_by_products(const bl_trainable *t, int64_t rows)
{
    uint64_t dropped = 0, low = 0, grad = 0, made = 0, narrow = 0, a = 0, b = 0, rounded = 0, subspace = 0, held = 0;
    const bl_effective *before = NULL;
    int64_t beside = 0;          /* columns of the inner products of adapters that read the same input, */
    uint64_t of_a = 0, of_b = 0; /* and the gradients of theirs that forms make others of */
    bool alike = false;
    const uint64_t act = bl_dtype_bytes(t->m->be->act);
    for (size_t i = 0; i < t->n; i++) {
        const bl_effective *w = &t->w[i];
        const uint64_t in = (uint64_t)w->linear->in;
        if (w->adapter >= 0 && w->dropout > 0) dropped = BL_MAX(dropped, (uint64_t)rows * in * act);
        if (w->adapter >= 0) {
            const int64_t width = bl_lowrank_width(w->linear->adapter[w->adapter].a.dim[0]);
            alike = read_alike(w, before);
            beside = alike ? beside + width : width;
            low = BL_MAX(low, (uint64_t)(rows * beside) * act);
            before = w;
        }
        if (w->linear->act.bits) { /* inputs, and the gradient of those */
            dropped = BL_MAX(dropped, (uint64_t)rows * in * act);
            rounded = BL_MAX(rounded, (uint64_t)rows * in * act);
        }
        const uint64_t n = in * (uint64_t)w->linear->out;
        if (w->form) {
            const bl_lowrank *l = &w->linear->adapter[w->adapter];
            of_a = (alike ? of_a : 0) + (t->param[w->a].own ? bl_tensor_bytes(&l->a) : 0);
            of_b = (alike ? of_b : 0) + (t->param[w->b].own ? bl_tensor_bytes(&l->b) : 0);
            a = BL_MAX(a, of_a);
            b = BL_MAX(b, of_b);
        }
        if (!w->rule || !w->rule->chain) continue;
        if (bl_effective_narrow(t, w)) {
            narrow = BL_MAX(narrow, n * act);
            continue;
        }
        grad = BL_MAX(grad, n * sizeof(float));
        made = BL_MAX(made, n * sizeof(float));
        if (w->low_rank > 0) narrow = BL_MAX(narrow, n * (act < sizeof(float) ? act : 0));
    }
    for (size_t i = 0; i < t->n_params; i++) { /* R and U of a step in a subspace, and both as activations */
        const bl_trained *p = &t->param[i];
        const uint64_t whole = (uint64_t)bl_tensor_count(&p->value) * sizeof(float);
        if (p->packed) made = BL_MAX(made, whole);
        if (!p->grad.buf) grad = BL_MAX(grad, whole);
        if (!p->low.rank) continue;
        const uint64_t n = (uint64_t)(p->low.rank * BL_MAX(p->value.dim[0], p->value.dim[1]));
        a = BL_MAX(a, n * sizeof(float));
        b = BL_MAX(b, n * sizeof(float));
        if (p->low.bits)
            subspace = BL_MAX(subspace,
                              (uint64_t)(p->low.rank * BL_MIN(p->value.dim[0], p->value.dim[1])) * sizeof(float));
        if (act == sizeof(float)) continue;
        narrow = BL_MAX(narrow, (uint64_t)bl_tensor_count(&p->value) * act);
        dropped = BL_MAX(dropped, n * act);
    }
    for (int64_t k = 0; k < t->m->config.n_layers; k++) held = BL_MAX(held, bl_made_bytes(t, k));
    return dropped + low + grad + made + held + narrow + a + b + rounded + subspace + bl_kept_bytes(t, rows);
}

/* Of the gradient of outputs before they were transformed, where the weight does not do that. */
static uint64_t turned_back(const bl_trainable *t, int64_t rows)
{
    uint64_t most = 0;
    for (size_t i = 0; i < t->n; i++)
        if (t->w[i].linear->n_after && !bl_made_by(t, &t->w[i]))
            most = BL_MAX(most, (uint64_t)(rows * t->w[i].linear->out));
    return most * bl_dtype_bytes(t->m->be->act);
}

/* Buffers of a pass of `rows` tokens of which n count; valid: some passes leave nothing for a way back. */
static uint64_t activations(const bl_trainable *t, int64_t rows, int64_t n, bool valid)
{
    const bl_config *c = &t->m->config;
    bl_backend *be = t->m->be;
    const uint64_t act = bl_dtype_bytes(be->act), states = (uint64_t)(rows * c->dim) * act,
                   layers = (uint64_t)c->n_layers, tape = bl_tape_bytes(t->m, rows);
    const int64_t chunk = BL_MIN(rows, bl_chunk_rows(c)), logits = bl_loss_rows(t->m, rows, n);
    const uint64_t of_logits = (uint64_t)(logits * c->vocab) * (sizeof(float) + (be->act == BL_F32 ? 0 : act)),
                   kv = bl_kv_view_bytes(be, &(bl_kv_shape){BL_KV_ACT, rows, 1, c->n_kv_heads, c->head_dim});
    uint64_t ends = 3 * (uint64_t)(n * c->dim) * act + (uint64_t)n * sizeof(double) + of_logits, kept = 0;
    if (t->teacher) { /* its states and logits; its keys, values and residual stream, which it keeps */
        const uint64_t theirs = (uint64_t)(logits * c->vocab) * sizeof(float);
        ends += (uint64_t)(n * c->dim) * act + (uint64_t)n * 8 + theirs + kv;
        kept = states + (uint64_t)(chunk * bl_chunk_row_bytes(c)) + bl_teacher_keeps(t->teacher);
        if (bl_teacher_top(t->teacher)) kept += bl_topk_room(BL_MIN(logits, n), bl_teacher_top(t->teacher));
        if (t->unsure) ends += theirs + (uint64_t)n * 16;
        if (t->unsure && be->act != BL_F32) kept += 2 * (uint64_t)(logits * c->vocab) * act;
    }
    return states + (t->keep ? layers * tape : layers * states + tape) + (uint64_t)rows * 16 + kv + kept +
           (valid || be->wide <= 1 ? (uint64_t)(chunk * bl_chunk_row_bytes(c)) : 0) + kept_by_products(t, rows) +
           BL_MAX(ends, bl_block_backward_bytes(t->m, rows)) + turned_back(t, rows); /* the two in one, which stays */
}

/* ---- the largest pass ---- */
typedef struct largest {
    const bl_trainable *t;
    int64_t rows, n; /* most of any pass */
    uint64_t bytes;
    bool valid;
} largest;

static void see(largest *l, int64_t rows, int64_t n)
{
    if (rows > l->rows || n > l->n) l->bytes = BL_MAX(l->bytes, activations(l->t, rows, n, l->valid));
    l->rows = BL_MAX(l->rows, rows);
    l->n = BL_MAX(l->n, n);
}

static void add_row(const bl_samples *d, int64_t row, int64_t *rows, int64_t *n)
{
    *rows += d->start[d->row[row + 1]] - d->start[d->row[row]];
    *n += bl_samples_counted(d, row);
}

/* Passes over a text in its order. */
static void see_text(largest *l, const bl_samples *d, int64_t each)
{
    for (int64_t row = 0; row < d->n_rows; row += each) {
        int64_t rows = 0, n = 0;
        for (int64_t i = row; i < BL_MIN(row + each, d->n_rows); i++) add_row(d, i, &rows, &n);
        see(l, rows, n);
    }
}

/* Those that the steps will make, as the trainer draws them; of a long run its first epochs, which have seen each row
 * a hundred times. */
static bl_status see_steps(largest *l, const bl_trainer *r, bl_err *e)
{
    const bl_samples *d = r->data;
    const int64_t each = r->batch / r->passes, most = BL_MAX(100 * d->n_rows / r->batch, 1),
                  end = BL_MIN(r->steps, r->step + most);
    bl_row_order order = {.n = d->n_rows, .seed = r->seed, .epoch = -1};
    bl_status st = BL_OK;
    if (d->shuffled && !(order.of = bl_new((size_t)d->n_rows, sizeof *order.of, e))) return BL_E_NOMEM;
    for (int64_t step = r->step, at = step * r->batch; step < end; step++) {
        int64_t counted = 0;
        for (int64_t pass = 0; pass < r->passes; pass++) {
            int64_t rows = 0, n = 0;
            for (int64_t i = 0; i < each; i++) add_row(d, bl_row_at(&order, at++), &rows, &n);
            see(l, rows, n);
            counted += n;
        }
        BL_TRY(bl_trainer_counts(r, step, counted, e)); /* not after a day */
    }
out:
    bl_free(order.of);
    return st;
}

/* ---- scratch of the backend ---- */
static bl_status scratch(const bl_trainer *r, int64_t rows, uint64_t *out, bl_err *e)
{
    const bl_trainable *t = r->t;
    const bl_ops *ops = t->m->be->ops;
    bl_train_scratch_args a = {.rows = rows,
                               .dim = t->m->config.dim,
                               .heads = t->m->config.n_heads,
                               .head_dim = t->m->config.head_dim,
                               .n = t->n};
    *out = 0;
    if (!ops->train_scratch) return BL_OK;
    if (!(a.of = bl_new(t->n, sizeof *a.of, e))) return BL_E_NOMEM;
    for (size_t i = 0; i < t->n; i++) {
        const bl_effective *w = &t->w[i];
        a.of[i].w = &w->linear->weight;
        a.of[i].rank = w->adapter < 0 ? 0 : w->linear->adapter[w->adapter].a.dim[0];
        a.of[i].bias = w->bias >= 0;
        a.of[i].scaled = w->linear->n_after == 1 && w->linear->transform[w->linear->n_transforms].kind == BL_T_SCALE;
        a.of[i].turned = w->linear->n_after > 0 && !a.of[i].scaled;
    }
    size_t first, end; /* the norm is of so many at once */
    bl_narrow_params(t, 0, &first, &end);
    for (size_t i = first; i < end; i++)
        if (t->param[i].grad.buf) {
            a.gradients += bl_tensor_count(&t->param[i].grad);
            a.n_gradients++;
        }
    *out = ops->train_scratch(t->m->be, &a);
    bl_free(a.of);
    return BL_OK;
}

bl_status bl_trainer_memory(const bl_trainer *r, bl_train_memory *out, bl_err *e)
{
    bl_status st = BL_OK;
    const bl_trainable *t = r->t;
    uint64_t now;
    bl_train_memory m = {.adapters = bl_narrow_bytes(t, false), .gradients = bl_narrow_bytes(t, true)};
    largest l = {.t = t, .valid = r->valid};

    for (size_t i = 0; i < t->n_params; i++) {
        if (t->param[i].grad.buf && !t->narrow.grad.kept) m.gradients += bl_tensor_bytes(&t->param[i].grad);
        if (t->param[i].own) m.adapters += t->param[i].own->bytes;
    }
    for (size_t i = 0; i < t->n; i++)
        if (t->w[i].adapter >= 0 && !t->narrow.value.kept) {
            const bl_lowrank *a = &t->w[i].linear->adapter[t->w[i].adapter];
            m.adapters += bl_tensor_bytes(&a->a) + bl_tensor_bytes(&a->b);
        }
    m.optimizer = bl_adamw_resident(&r->optimizer, t, &m.paged);
    t->m->be->ops->memory(t->m->be, &now, &m.before);
    for (size_t i = 0; i < t->n_params; i++) /* of a run that goes on */
        if (t->param[i].moments) now -= BL_MIN(now, t->param[i].moments->bytes);
    if (t->page) now -= BL_MIN(now, t->page->bytes);
    m.weights = now - BL_MIN(now, m.adapters + m.gradients); /* all that is there already */

    if (r->make) see_text(&l, r->data, r->batch / r->passes);
    else BL_TRY(see_steps(&l, r, e));
    if (r->valid) see_text(&l, r->valid, r->batch / r->passes);
    BL_TRY(scratch(r, l.rows, &m.scratch, e));
    m.activations = l.bytes;
    *out = m;
out:
    return st;
}

uint64_t bl_train_memory_sum(const bl_train_memory *m)
{
    return m->weights + m->adapters + m->gradients + m->optimizer + m->activations + m->scratch;
}

uint64_t bl_train_memory_most(const bl_train_memory *m) { return BL_MAX(bl_train_memory_sum(m), m->before); }

void bl_train_memory_line(const bl_train_memory *m, char out[320])
{
    const uint64_t bytes[] = {
        m->weights, m->adapters, m->gradients, m->optimizer, m->activations, m->scratch, bl_train_memory_most(m),
        m->paged};
    char text[BL_COUNT(bytes)][32];
    for (size_t i = 0; i < BL_COUNT(bytes); i++) bl_bytes_text(bytes[i], text[i]);
    int n = snprintf(out, 320, "memory: weights %s, adapters %s, gradients %s, optimizer %s, activations %s", text[0],
                     text[1], text[2], text[3], text[4]);
    if (m->scratch) n += snprintf(out + n, 320 - (size_t)n, ", scratch %s", text[5]);
    n += snprintf(out + n, 320 - (size_t)n, "; %s %s", text[6],
                  m->before <= bl_train_memory_sum(m) ? "in all" : "were taken before the first step");
    if (m->paged) snprintf(out + n, 320 - (size_t)n, ", and %s of the optimizer in the host's memory", text[7]);
}
