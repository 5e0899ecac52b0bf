/* pretrain.c - random weights, and steps on texts that are made as they are needed. */
#include "pretrain.h"
#include "gradients.h"
#include "harness/data/lessons.h"
#include "kernels/base/rng.h"
#include <inttypes.h>
#include <math.h>

/* ---- weights ---- */
static bl_status set(bl_trainable *t, const bl_trained *p, double deviation, double mean, uint64_t seed, bl_err *e)
{
    bl_backend *be = t->m->be;
    bl_status st = BL_OK;
    int64_t n = bl_tensor_count(&p->value);
    bl_rng r = bl_rng_at(seed, bl_rng_key(p->name, 0), 0);
    float *x = bl_new((size_t)n, sizeof *x, e);
    if (!x) return BL_E_NOMEM;
    for (int64_t i = 0; i < n; i++) x[i] = (float)(deviation > 0 ? mean + deviation * bl_rng_normal(&r) : mean);
    BL_TRY(be->ops->upload(be, &p->value, x, e));
    BL_TRY(be->ops->sync(be, e)); /* before x goes */
out:
    bl_free(x);
    return st;
}

bl_status bl_pretrain_begin(bl_trainable *t, uint64_t seed, bl_err *e)
{
    bl_status st = BL_OK;
    const bl_model *m = t->m;
    double residual = 1 / sqrt(2 * (double)m->config.n_layers);
    for (size_t i = 0; i < t->n; i++) {
        const bl_effective *w = &t->w[i];
        bool writes = w->linear->role == BL_ROLE_O || w->linear->role == BL_ROLE_DOWN;
        BL_TRY(set(t, &t->param[w->param[0]], 0.02 * (writes ? residual : 1), 0, seed, e));
        if (w->bias >= 0) BL_TRY(set(t, &t->param[w->bias], 0, 0, seed, e));
    }
    for (size_t i = 0; i <= m->n_norms; i++) BL_TRY(set(t, &t->param[t->norm[i]], 0, 1, seed, e));
    st = bl_trainable_make(t, e);
out:
    return st;
}

/* ---- texts ---- */
typedef struct batch {
    bl_ids ids;
    int32_t *start; /* [n + 1] */
    size_t n, cap;
    bl_text text;
} batch;

/* Whole texts from p->document on, each between two end tokens. The one that does not fit any more begins the next. */
static bl_status fill(bl_pretrain *p, const bl_model *m, const bl_tokenizer *tokenizer, batch *b, bl_err *e)
{
    bl_status st = BL_OK;
    b->n = b->ids.n = 0;
    for (;;) {
        size_t from = b->ids.n;
        b->text.n = 0;
        BL_TRY(bl_grow(&b->start, &b->cap, b->n + 2, sizeof *b->start, e));
        BL_TRY(bl_lesson_document(p->seed, p->document, &b->text, e));
        BL_TRY(bl_encode(tokenizer, b->text.s, b->text.n, BL_ENCODE_BOS, &b->ids, e));
        BL_TRY(bl_ids_push(&b->ids, bl_tokenizer_bos(tokenizer), e));
        if ((int64_t)(b->ids.n - from) > bl_model_max_len(m)) {
            st = bl_fail(e, BL_E_CONFIG, "text %" PRIu64 " has %zu tokens, the model reads %" PRId64, p->document,
                         b->ids.n - from, bl_model_max_len(m));
            goto out;
        }
        if (b->n && (int64_t)b->ids.n > p->tokens) {
            b->ids.n = from;
            goto out;
        }
        b->start[b->n++] = (int32_t)from;
        b->start[b->n] = (int32_t)b->ids.n;
        p->document++;
    }
out:
    return st;
}

bl_status bl_pretrain_run(bl_pretrain *p, bl_trainable *t, const bl_tokenizer *tokenizer, bl_err *e)
{
    bl_status st = BL_OK;
    batch b = {0};
    int64_t s = 0;
    while (s < p->steps) {
        if (bl_interrupted()) {
            st = bl_fail(e, BL_E_INTERRUPTED, "interrupted after %" PRId64 " of %" PRId64 " steps", s, p->steps);
            goto out;
        }
        s++;
        double nll = 0, norm = 0, lr = p->lr * bl_schedule_factor(&p->schedule, s);
        BL_TRY(fill(p, t->m, tokenizer, &b, e));
        bl_train_batch batch = {.ids = b.ids.id, .n_seq = (int32_t)b.n, .start = b.start};
        double tokens = (double)bl_train_batch_tokens(&batch);
        BL_TRY(bl_gradients(t, &batch, 1 / tokens, &nll, e));
        if (!isfinite(nll)) {
            st = bl_fail(e, BL_E_NUMERIC, "the loss is not finite");
            goto out;
        }
        BL_TRY(bl_adamw_step(&p->optimizer, t, lr, &norm, e));
        if (p->told) BL_TRY(p->told(p->ctx, s, nll / tokens, lr, norm, e));
    }
out:
    if (st == BL_E_NUMERIC) bl_within(e, "step %" PRId64, s);
    bl_text_free(&b.text);
    bl_ids_free(&b.ids);
    bl_free(b.start);
    return st;
}
