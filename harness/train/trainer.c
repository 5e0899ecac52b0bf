/* trainer.c - steps of training, one after another. */
#include "trainer.h"
#include "taught.h"
#include "kernels/base/fs.h"
#include "kernels/base/rng.h"
#include <math.h>
#include <string.h>

/* Rows of one pass, one after another. */
typedef struct gathered {
    int32_t *ids, *start;
    uint8_t *mask;
    size_t cap_ids, cap_mask, cap_start;
    bl_train_batch b;
} gathered;

int64_t bl_row_at(bl_row_order *o, int64_t at)
{
    const int64_t epoch = at / o->n;
    if (!o->of) return at % o->n;
    if (epoch != o->epoch) {
        bl_rng g = bl_rng_at(o->seed, bl_rng_key("order of training", (uint64_t)epoch), 0);
        for (int64_t k = 0; k < o->n; k++) { /* Fisher and Yates, from the inside */
            int64_t other = (int64_t)bl_rng_below(&g, (uint64_t)k + 1);
            o->of[k] = o->of[other];
            o->of[other] = k;
        }
        o->epoch = epoch;
    }
    return o->of[at % o->n];
}

static const char *source(const bl_samples *d) { return d->path ? d->path : "made-up text"; }

/* Row i of the step after those that were made. */
static int64_t row_at(bl_trainer *r, int64_t i)
{
    r->order.n = r->data->n_rows;
    return bl_row_at(&r->order, r->step * r->batch + i);
}

static bl_status add_row(const bl_samples *d, int64_t row, gathered *g, int64_t *n_seq, bl_err *e)
{
    bl_status st = BL_OK;
    int64_t first = d->row[row], last = d->row[row + 1];
    int64_t tokens = *n_seq ? g->start[*n_seq] : 0, from = d->start[first], len = d->start[last] - from;
    if (tokens + len > INT32_MAX)
        return bl_fail(e, BL_E_CONFIG, "a pass of more than %d tokens; spread a step over more passes", INT32_MAX);
    BL_TRY(bl_grow(&g->ids, &g->cap_ids, (size_t)(tokens + len), sizeof *g->ids, e));
    BL_TRY(bl_grow(&g->mask, &g->cap_mask, (size_t)(tokens + len), sizeof *g->mask, e));
    BL_TRY(bl_grow(&g->start, &g->cap_start, (size_t)(*n_seq + last - first + 1), sizeof *g->start, e));
    memcpy(g->ids + tokens, d->ids + from, (size_t)len * sizeof *g->ids);
    memcpy(g->mask + tokens, d->mask + from, (size_t)len);
    g->start[0] = 0;
    for (int64_t s = first; s < last; s++) g->start[++*n_seq] = (int32_t)(tokens + d->start[s + 1] - from);
out:
    return st;
}

static void as_batch(gathered *g, int64_t n_seq)
{
    g->b = (bl_train_batch){.ids = g->ids, .n_seq = (int32_t)n_seq, .start = g->start, .mask = g->mask};
}

static bl_status gather(bl_trainer *r, int64_t from, int64_t n, gathered *g, bl_err *e)
{
    bl_status st = BL_OK;
    int64_t n_seq = 0;
    for (int64_t i = 0; i < n; i++) BL_TRY(add_row(r->data, row_at(r, from + i), g, &n_seq, e));
    as_batch(g, n_seq);
out:
    return st;
}

static int64_t counted(bl_trainer *r)
{
    int64_t n = 0;
    for (int64_t i = 0; i < r->batch; i++) n += bl_samples_counted(r->data, row_at(r, i));
    return n;
}

/* The mean nll of the validation text, in passes as large as those of a step. */
static bl_status validate(bl_trainer *r, gathered *g, double *out, bl_err *e)
{
    bl_status st = BL_OK;
    const bl_samples *d = r->valid;
    int64_t each = r->batch / r->passes, n = 0;
    double sum = 0, nll;
    for (int64_t row = 0; row < d->n_rows; row += each) {
        int64_t n_seq = 0;
        for (int64_t i = row; i < BL_MIN(row + each, d->n_rows); i++) BL_TRY(add_row(d, i, g, &n_seq, e));
        as_batch(g, n_seq);
        BL_TRY(bl_loss(r->t, &g->b, &nll, e));
        n += bl_train_batch_tokens(&g->b);
        sum += nll;
    }
    *out = sum / (double)n;
out:
    return st;
}

bl_status bl_trainer_counts(const bl_trainer *r, int64_t step, int64_t n, bl_err *e)
{
    if (n) return BL_OK;
    return bl_fail(e, BL_E_CONFIG, "%s: step %lld: none of its tokens counts", source(r->data), (long long)step + 1);
}

static bl_status one_step(bl_trainer *r, gathered *g, bl_err *e)
{
    bl_status st = BL_OK;
    int64_t n = counted(r), each = r->batch / r->passes;
    double sum = 0, nll;
    bl_train_point p = {.lr = r->lr * bl_schedule_factor(&r->schedule, r->step + 1), .valid = NAN};

    BL_TRY(bl_trainer_counts(r, r->step, n, e));
    if (bl_trainable_steps(r->t)) {
        BL_TRY(bl_adamw_moments(&r->optimizer, r->t, e));
        r->t->stepping = &r->optimizer;
        r->t->stepping_rate = p.lr;
    }
    for (int64_t k = 0; k < r->passes; k++) {
        BL_TRY(gather(r, k * each, each, g, e));
        r->tokens += g->b.start[g->b.n_seq];
        if (!bl_train_batch_tokens(&g->b)) continue;
        st = bl_gradients(r->t, &g->b, 1 / (double)n, &nll, e);
        if (st == BL_E_NUMERIC) bl_within(e, "step %lld", (long long)r->step + 1);
        if (st != BL_OK) goto out;
        sum += nll;
    }
    p.loss = sum / (double)n;
    if (!isfinite(p.loss)) return bl_fail(e, BL_E_NUMERIC, "step %lld: the loss is not finite", (long long)r->step + 1);
    BL_TRY(bl_adamw_step(&r->optimizer, r->t, p.lr, &p.grad_norm, e));
    BL_TRY(bl_grow(&r->curve, &r->cap_curve, (size_t)r->step + 1, sizeof *r->curve, e));
    r->curve[r->step++] = p;
    bool due = r->step == r->steps || (r->valid_every > 0 && r->step % r->valid_every == 0);
    if (!r->valid || !due) goto out;
    BL_TRY(validate(r, g, &p.valid, e));
    r->curve[r->step - 1] = p;
    if (!isfinite(p.valid))
        st = bl_fail(e, BL_E_NUMERIC, "step %lld: the loss of the validation text is not finite", (long long)r->step);
out:
    return st;
}

static bl_status lengths(const bl_trainer *r, const bl_samples *d, bl_err *e)
{
    int64_t most = bl_model_max_len(r->t->m);
    for (int64_t i = 0; i < d->n; i++)
        if (d->start[i + 1] - d->start[i] > most)
            return bl_fail(e, BL_E_CONFIG, "%s: sample %lld has %lld tokens; the model takes %lld", source(d),
                           (long long)i + 1, (long long)(d->start[i + 1] - d->start[i]), (long long)most);
    return BL_OK;
}

static bl_status check(const bl_trainer *r, bl_err *e)
{
    bl_status st = BL_OK;
    int64_t n = 0;
    if (r->batch < 1 || r->passes < 1 || r->batch % r->passes)
        return bl_fail(e, BL_E_CONFIG, "a step of %lld samples cannot be spread over %lld passes", (long long)r->batch,
                       (long long)r->passes);
    if (!r->make) BL_TRY(lengths(r, r->data, e));
    if (!r->valid) goto out;
    BL_TRY(lengths(r, r->valid, e));
    for (int64_t i = 0; i < r->valid->n_rows; i++) n += bl_samples_counted(r->valid, i);
    if (!n) st = bl_fail(e, BL_E_CONFIG, "%s: no token of the validation text counts", source(r->valid));
out:
    return st;
}

/* A teacher keeps what it made of a text that comes again. */
static void keep_taught(const bl_trainer *r)
{
    int64_t n = 0;
    if (!r->t->teacher || r->make || r->steps * r->batch <= r->data->n_rows) return;
    for (int64_t i = 0; i < r->data->n_rows; i++) n += bl_samples_counted(r->data, i);
    bl_teacher_keep(r->t->teacher, n);
}

bl_status bl_trainer_page(bl_trainer *r, bl_err *e)
{
    bl_backend *be = r->t->m->be;
    bl_device_info info;
    bl_train_memory m;
    uint64_t limit = be->opts.memory_limit, page = 0;
    bl_status st = BL_OK;

    if (!limit && be->ops->host_new) {
        be->ops->device_info(be, &info);
        limit = info.memory_bytes;
    }
    limit -= limit / 32; /* a plan is near, not exact */
    keep_taught(r);
    BL_TRY(bl_trainer_memory(r, &m, e));
    r->planned = bl_train_memory_sum(&m);
    if (!limit || r->planned <= limit) goto out;
    if (r->t->teacher) {
        bl_teacher_keep(r->t->teacher, 0);
        BL_TRY(bl_trainer_memory(r, &m, e));
        r->planned = bl_train_memory_sum(&m);
        if (r->planned <= limit) goto out;
    }
    for (size_t i = 0; i < r->t->n_params; i++) page = BL_MAX(page, bl_adamw_bytes(&r->optimizer, &r->t->param[i]));
    const uint64_t rest = r->planned - m.optimizer + page;
    r->optimizer.paged = true;
    r->optimizer.resident = limit - BL_MIN(limit, rest);
    r->planned = rest + r->optimizer.resident;
out:
    return st;
}

/* What the run was planned to need, before what it was that did not fit. */
static bl_status too_large(uint64_t planned, bl_err *e)
{
    const bl_err why = *e;
    char text[32];
    bl_bytes_text(planned, text);
    return bl_fail(e, BL_E_DEVMEM,
                   "training was planned to need %s; more --accumulate or a shorter --seqlen need less: %s", text,
                   why.text);
}

bl_status bl_trainer_run(bl_trainer *r, bl_err *e)
{
    bl_status st = BL_OK;
    gathered g = {0};

    BL_TRY(check(r, e));
    if (r->state) bl_clean_beside(r->state, ".tmp."); /* of processes that were killed */
    if (!r->make && r->data->shuffled && !r->order.of) {
        r->order = (bl_row_order){.seed = r->seed, .epoch = -1};
        if (!(r->order.of = bl_new((size_t)r->data->n_rows, sizeof *r->order.of, e))) return BL_E_NOMEM;
    }
    r->t->sequences = r->batch;
    r->t0 = bl_now();
    r->tokens = 0;
    while (r->step < r->steps) {
        if (bl_interrupted()) {
            if (r->state) BL_TRY(bl_trainer_save(r, e));
            st = bl_fail(e, BL_E_INTERRUPTED, "interrupted after step %lld of %lld%s%s", (long long)r->step,
                         (long long)r->steps, r->state ? "; --resume goes on from " : "", r->state ? r->state : "");
            goto out;
        }
        if (r->make) {
            st = r->make(r->make_ctx, r->step, &r->data, e);
            if (st == BL_E_INTERRUPTED) continue;
            if (st != BL_OK) goto out;
            BL_TRY(lengths(r, r->data, e));
        }
        const uint32_t pass = r->t->pass;
        st = one_step(r, &g, e);
        if (st == BL_E_INTERRUPTED) { /* within the step: it is made again */
            r->t->pass = pass;
            continue;
        }
        if (st != BL_OK) goto out;
        if (r->state && r->save_every > 0 && r->step % r->save_every == 0) BL_TRY(bl_trainer_save(r, e));
        if (r->told) BL_TRY(r->told(r->ctx, r, e));
    }
out:
    if (st == BL_E_DEVMEM && e && r->planned) st = too_large(r->planned, e);
    bl_trainable_rest(r->t);
    bl_free(g.ids);
    bl_free(g.mask);
    bl_free(g.start);
    return st;
}

void bl_trainer_end(bl_trainer *r)
{
    bl_free(r->curve);
    bl_free(r->order.of);
    r->curve = NULL;
    r->order.of = NULL;
    r->cap_curve = 0;
}

void bl_trainer_line(const bl_trainer *r, char out[160])
{
    const bl_train_point *p = &r->curve[r->step - 1];
    double seconds = bl_now() - r->t0, rate = (double)r->tokens / (seconds > 0 ? seconds : 1);
    double each = (double)r->tokens > 0 ? seconds / (double)r->tokens : 0; /* of a token */
    double left = each * (double)r->data->start[r->data->n] / (double)r->data->n_rows * (double)r->batch *
                  (double)(r->steps - r->step);
    char valid[40] = "";
    if (isfinite(p->valid)) snprintf(valid, sizeof valid, ", %.4g on valid", p->valid);
    snprintf(out, 160, "step %lld of %lld  loss %.4g%s  lr %.3g  %.0f tokens/s, %.0f s left", (long long)r->step,
             (long long)r->steps, p->loss, valid, p->lr, rate, left);
}
