/* trainer.c - steps of training, one after another. */
#include "trainer.h"
#include <math.h>
#include <string.h>

/* Samples of one pass, one after another. */
typedef struct gathered {
    int32_t *ids, *start;
    uint8_t *mask;
    size_t cap_ids, cap_mask;
    bl_train_batch b;
} gathered;

static int64_t sample_at(const bl_trainer *r, int64_t i) { return (r->step * r->batch + i) % r->data->n; }

static bl_status gather(const bl_trainer *r, int64_t from, int64_t n, gathered *g, bl_err *e)
{
    const bl_samples *d = r->data;
    bl_status st = BL_OK;
    int64_t tokens = 0;
    for (int64_t i = 0; i < n; i++) {
        int64_t s = sample_at(r, from + i), len = d->start[s + 1] - d->start[s];
        if (tokens + len > INT32_MAX)
            return bl_fail(e, BL_E_CONFIG, "a pass of more than %d tokens; spread a step over more passes", INT32_MAX);
        BL_TRY(bl_grow(&g->ids, &g->cap_ids, (size_t)(tokens + len), sizeof *g->ids, e));
        BL_TRY(bl_grow(&g->mask, &g->cap_mask, (size_t)(tokens + len), sizeof *g->mask, e));
        memcpy(g->ids + tokens, d->ids + d->start[s], (size_t)len * sizeof *g->ids);
        memcpy(g->mask + tokens, d->mask + d->start[s], (size_t)len);
        g->start[i] = (int32_t)tokens;
        tokens += len;
    }
    g->start[n] = (int32_t)tokens;
    g->b = (bl_train_batch){.ids = g->ids, .n_seq = (int32_t)n, .start = g->start, .mask = g->mask};
out:
    return st;
}

/* Tokens of a step that count: the first of a sequence has nothing before it. */
static int64_t counted(const bl_trainer *r)
{
    const bl_samples *d = r->data;
    int64_t n = 0;
    for (int64_t i = 0; i < r->batch; i++) {
        int64_t s = sample_at(r, i);
        for (int64_t k = d->start[s] + 1; k < d->start[s + 1]; k++) n += d->mask[k];
    }
    return n;
}

static bl_status one_step(bl_trainer *r, gathered *g, bl_err *e)
{
    bl_status st = BL_OK;
    int64_t n = counted(r), each = r->batch / r->passes;
    double sum = 0, nll;
    bl_train_point p = {.lr = r->lr * bl_schedule_factor(&r->schedule, r->step + 1)};

    if (!n) return bl_fail(e, BL_E_CONFIG, "step %lld: none of its tokens counts", (long long)r->step + 1);
    for (int64_t k = 0; k < r->passes; k++) {
        BL_TRY(gather(r, k * each, each, g, e));
        r->tokens += g->start[each];
        if (!bl_train_batch_tokens(&g->b)) continue;
        BL_TRY(bl_gradients(r->t, &g->b, 1 / (double)n, &nll, e));
        sum += nll;
    }
    p.loss = sum / (double)n;
    if (!isfinite(p.loss)) return bl_fail(e, BL_E_NUMERIC, "step %lld: the loss is not finite", (long long)r->step + 1);
    BL_TRY(bl_adamw_step(&r->optimizer, r->t, p.lr, &p.grad_norm, e));
    BL_TRY(bl_grow(&r->curve, &r->cap_curve, (size_t)r->step + 1, sizeof *r->curve, e));
    r->curve[r->step++] = p;
out:
    return st;
}

static bl_status check(const bl_trainer *r, bl_err *e)
{
    const bl_samples *d = r->data;
    int64_t most = bl_model_max_len(r->t->m);
    if (r->batch < 1 || r->passes < 1 || r->batch % r->passes)
        return bl_fail(e, BL_E_CONFIG, "a step of %lld samples cannot be spread over %lld passes", (long long)r->batch,
                       (long long)r->passes);
    for (int64_t i = 0; i < d->n; i++)
        if (d->start[i + 1] - d->start[i] > most)
            return bl_fail(e, BL_E_CONFIG, "sample %lld has %lld tokens; the model takes %lld", (long long)i + 1,
                           (long long)(d->start[i + 1] - d->start[i]), (long long)most);
    return BL_OK;
}

bl_status bl_trainer_run(bl_trainer *r, bl_err *e)
{
    bl_status st = BL_OK;
    gathered g = {0};

    BL_TRY(check(r, e));
    if (!(g.start = bl_new((size_t)(r->batch / r->passes) + 1, sizeof *g.start, e))) return BL_E_NOMEM;
    r->t0 = bl_now();
    r->tokens = 0;
    while (r->step < r->steps) {
        if (bl_interrupted()) {
            if (r->state) BL_TRY(bl_trainer_save(r, e));
            st = bl_fail(e, BL_E_INTERRUPTED, "interrupted after step %lld of %lld", (long long)r->step,
                         (long long)r->steps);
            goto out;
        }
        BL_TRY(one_step(r, &g, e));
        if (r->state && r->save_every > 0 && r->step % r->save_every == 0) BL_TRY(bl_trainer_save(r, e));
        if (r->told) BL_TRY(r->told(r->ctx, r, e));
    }
out:
    bl_free(g.ids);
    bl_free(g.mask);
    bl_free(g.start);
    return st;
}

void bl_trainer_end(bl_trainer *r)
{
    bl_free(r->curve);
    r->curve = NULL;
    r->cap_curve = 0;
}

void bl_trainer_line(const bl_trainer *r, char out[160])
{
    const bl_train_point *p = &r->curve[r->step - 1];
    double seconds = bl_now() - r->t0, rate = (double)r->tokens / (seconds > 0 ? seconds : 1);
    double each = (double)r->tokens > 0 ? seconds / (double)r->tokens : 0; /* of a token */
    double left = each * (double)r->data->start[r->data->n] / (double)r->data->n * (double)r->batch *
                  (double)(r->steps - r->step);
    snprintf(out, 160, "step %lld of %lld  loss %.4g  lr %.3g  %.0f tokens/s, %.0f s left", (long long)r->step,
             (long long)r->steps, p->loss, p->lr, rate, left);
}
