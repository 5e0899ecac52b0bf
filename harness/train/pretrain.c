/* pretrain.c - random weights, and texts that are made as they are needed. */
#include "pretrain.h"
#include "harness/data/lessons.h"
#include "kernels/base/rng.h"
#include <math.h>
#include <string.h>

/* ---- weights ---- */
static bl_status set(bl_trainable *t, const bl_trained *p, double deviation, double mean, uint64_t seed, bl_err *e)
{
    bl_status st = BL_OK;
    int64_t n = bl_tensor_count(&p->value);
    bl_rng r = bl_rng_at(seed, bl_rng_key(p->name, 0), 0);
    float *x = bl_new((size_t)n, sizeof *x, e);
    if (!x) return BL_E_NOMEM;
    for (int64_t i = 0; i < n; i++) x[i] = (float)(deviation > 0 ? mean + deviation * bl_rng_normal(&r) : mean);
    st = bl_trained_put(t, p, x, e);
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
out:
    return st;
}

/* ---- texts ---- */
static bl_status add(bl_pretrain_texts *p, int64_t i, const bl_text *text, bl_err *e)
{
    bl_samples *s = &p->s;
    bl_status st = BL_OK;
    int64_t at = s->start[i], n = (int64_t)text->n + 2;
    BL_TRY(bl_grow(&s->ids, &p->cap_ids, (size_t)(at + n), sizeof *s->ids, e));
    BL_TRY(bl_grow(&s->mask, &p->cap_mask, (size_t)(at + n), sizeof *s->mask, e));
    s->ids[at] = s->ids[at + n - 1] = 0;
    for (size_t k = 0; k < text->n; k++) s->ids[at + 1 + (int64_t)k] = bl_lesson_token(text->s[k]);
    memset(s->mask + at, 1, (size_t)n);
    s->start[i + 1] = at + n;
    s->row[i + 1] = i + 1;
out:
    return st;
}

bl_status bl_pretrain_step(void *texts, int64_t step, const bl_samples **data, bl_err *e)
{
    bl_pretrain_texts *p = texts;
    bl_samples *s = &p->s;
    bl_status st = BL_OK;
    bl_text text = {0};
    if (!s->start && (!(s->start = bl_new((size_t)p->batch + 1, sizeof *s->start, e)) ||
                      !(s->row = bl_new((size_t)p->batch + 1, sizeof *s->row, e))))
        return BL_E_NOMEM;
    for (int64_t i = 0; i < p->batch; i++) {
        if (bl_interrupted()) {
            st = bl_fail(e, BL_E_INTERRUPTED, "interrupted");
            goto out;
        }
        text.n = 0;
        BL_TRY(bl_lesson_document(p->seed, (uint64_t)(step * p->batch + i), &text, e));
        BL_TRY(add(p, i, &text, e));
    }
    s->n = s->n_rows = p->batch;
    *data = s;
out:
    bl_text_free(&text);
    return st;
}

void bl_pretrain_texts_free(bl_pretrain_texts *t) { bl_samples_free(&t->s); }
