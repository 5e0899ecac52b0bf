/* memory.c - what a run of training takes, from shapes alone but for what is in memory already. */
#include "trainer.h"
#include "harness/model/size.h"
#include <stdlib.h>

static uint64_t moments(const bl_trained *p, const bl_adamw *o)
{
    uint64_t n = (uint64_t)bl_tensor_count(&p->value);
    if (!bl_adamw_is_eight(o, p)) return 2 * n * sizeof(float);
    return 2 * (n + (n + BL_MOMENT_BLOCK - 1) / BL_MOMENT_BLOCK * sizeof(float));
}

static int down(const void *a, const void *b)
{
    const int64_t *x = a, *y = b;
    return (*x < *y) - (*x > *y);
}

/* The most that `each` rows of a file have together of a number that rows have; they come in any order. */
static int64_t most_of(int64_t *of_row, int64_t n, int64_t each)
{
    int64_t sum = 0;
    qsort(of_row, (size_t)n, sizeof *of_row, down);
    for (int64_t i = 0; i < each; i++) sum += of_row[BL_MIN(i, n - 1)];
    return sum;
}

/* Tokens of the longest pass that there can be, and the most of one that count. */
static bl_status longest_pass(const bl_trainer *r, int64_t *tokens, int64_t *count, bl_err *e)
{
    const bl_samples *all[] = {r->data, r->valid};
    *tokens = *count = 0;
    for (size_t k = 0; k < BL_COUNT(all); k++) {
        const bl_samples *d = all[k];
        if (!d) continue;
        int64_t *len = bl_new((size_t)d->n_rows * 2, sizeof *len, e), *n = len + d->n_rows;
        if (!len) return BL_E_NOMEM;
        for (int64_t i = 0; i < d->n_rows; i++) {
            int64_t from = d->start[d->row[i]], to = d->start[d->row[i + 1]];
            len[i] = to - from;
            for (int64_t t = from; t < to; t++) n[i] += d->mask[t];
        }
        *tokens = BL_MAX(*tokens, most_of(len, d->n_rows, r->batch / r->passes));
        *count = BL_MAX(*count, most_of(n, d->n_rows, r->batch / r->passes));
        bl_free(len);
    }
    return BL_OK;
}

/* What products with trained weights keep between passes and steps. */
static uint64_t kept_by_products(const bl_trainable *t, int64_t rows)
{
    uint64_t dropped = 0, low = 0, weight = 0, act = bl_dtype_bytes(t->m->be->act);
    for (size_t i = 0; i < t->n; i++) {
        const bl_effective *w = &t->w[i];
        const uint64_t in = (uint64_t)w->linear->in;
        if (w->adapter >= 0 && w->dropout > 0) dropped = BL_MAX(dropped, (uint64_t)rows * in * act);
        if (w->adapter >= 0)
            low = BL_MAX(low, (uint64_t)(rows * w->linear->adapter[w->adapter].a.dim[0]) * sizeof(float));
        if (w->rule && w->rule->chain) weight = BL_MAX(weight, in * (uint64_t)w->linear->out * sizeof(float));
    }
    return dropped + low + weight;
}

bl_status bl_trainer_memory(const bl_trainer *r, bl_train_memory *out, bl_err *e)
{
    bl_status st = BL_OK;
    const bl_trainable *t = r->t;
    const bl_config *c = &t->m->config;
    bl_backend *be = t->m->be;
    uint64_t now, act = bl_dtype_bytes(be->act);
    bl_train_memory m = {0};
    int64_t rows, n;

    BL_TRY(longest_pass(r, &rows, &n, e));
    for (size_t i = 0; i < t->n_params; i++) {
        const bl_trained *p = &t->param[i];
        m.gradients += bl_tensor_bytes(&p->grad);
        m.optimizer += moments(p, &r->optimizer);
        if (p->own) m.adapters += p->own->bytes;
    }
    for (size_t i = 0; i < t->n; i++)
        if (t->w[i].adapter >= 0) {
            const bl_lowrank *a = &t->w[i].linear->adapter[t->w[i].adapter];
            m.adapters += bl_tensor_bytes(&a->a) + bl_tensor_bytes(&a->b);
        }
    be->ops->memory(be, &now, NULL);
    m.weights = now - BL_MIN(now, m.adapters + m.gradients); /* all that is there already */

    uint64_t states = (uint64_t)(rows * c->dim) * act, blocks, ends;
    int64_t chunk = BL_MIN(rows, bl_chunk_rows(c)), logits = BL_MIN(n, bl_logits_rows(t->m));
    ends = 3 * (uint64_t)(n * c->dim) * act + (uint64_t)n * sizeof(double) +
           (uint64_t)(logits * c->vocab) * (sizeof(float) + (be->act == BL_F32 ? 0 : act));
    blocks = bl_block_backward_bytes(t->m, rows);
    uint64_t layers = (uint64_t)c->n_layers, tape = bl_tape_bytes(t->m, rows);
    m.activations = states + (t->keep ? layers * tape : layers * states + tape) + (uint64_t)rows * 16 +
                    bl_kv_view_bytes(be, BL_KV_ACT, rows, c->n_kv_heads, c->head_dim) +
                    (uint64_t)(chunk * bl_chunk_row_bytes(c)) + kept_by_products(t, rows) + BL_MAX(ends, blocks);
    *out = m;
out:
    return st;
}

uint64_t bl_train_memory_sum(const bl_train_memory *m)
{
    return m->weights + m->adapters + m->gradients + m->optimizer + m->activations;
}

void bl_train_memory_line(const bl_train_memory *m, char out[320])
{
    const uint64_t bytes[] = {m->weights,   m->adapters,    m->gradients,
                              m->optimizer, m->activations, bl_train_memory_sum(m)};
    char text[BL_COUNT(bytes)][32];
    for (size_t i = 0; i < BL_COUNT(bytes); i++) bl_bytes_text(bytes[i], text[i]);
    snprintf(out, 320, "memory: weights %s, adapters %s, gradients %s, optimizer %s, activations %s; %s in all",
             text[0], text[1], text[2], text[3], text[4], text[5]);
}
