/* taught.c - the model as it was, beside the one that is trained: its distribution is what the loss compares with
 * (gradients.h).
 */
#include "taught.h"
#include "topk.h"
#include "kernels/base/hash.h"
#include <string.h>

struct bl_teacher {
    bl_checkpoint *c; /* lent */
    bl_model *m;
    int64_t most, used; /* rows of states that are kept, at most and now */
    bl_buffer *states;  /* act [most, dim]; NULL before the first */
    struct known {      /* of the tokens of a sequence and which of its rows are wanted */
        bl_hash of;
        int64_t row;
    } * known; /* by their hashes */
    size_t n_known, cap_known;
    bl_topk top; /* k 0: states are kept */
    size_t cap_id, cap_value, cap_other, cap_row;
    int64_t *row; /* of the batch at hand, in top */
    bl_buffer *room;
};

bl_status bl_train_taught(bl_trainable *t, bl_checkpoint *c, double kl, double ce, bl_err *e)
{
    static const size_t ops[] = {BL_OP(kl_div), BL_OP(add), 0};
    bl_status st = BL_OK;
    int64_t b = 0;
    bl_teacher *k = NULL;
    BL_TRY(bl_check_ops(t->m->be, ops, e));
    if (!(kl >= 0) || !(ce >= 0) || !(kl + ce > 0))
        return bl_fail(e, BL_E_CONFIG, "kl is %g and ce %g; a loss has one of them above 0", kl, ce);
    if (!(k = bl_new(1, sizeof *k, e))) return BL_E_NOMEM;
    k->c = c;
    BL_TRY(bl_model_open(c, t->m->be, &(bl_model_opts){.max_len = bl_model_max_len(t->m)}, &k->m, e));
    for (; b < k->m->config.n_layers; b++) BL_TRY(bl_block_acquire(k->m, b, e));
    t->teacher = k;
    t->kl = kl;
    t->ce = ce;
    return BL_OK;
out:
    while (k && k->m && b > 0) bl_block_release(k->m, --b);
    if (k) bl_model_close(k->m);
    bl_free(k);
    return st;
}

bl_status bl_train_unsure(bl_trainable *t, double power, double even, bl_err *e)
{
    bl_status st = bl_check_op(t->m->be, t->m->be->ops->scale, "scale", e);
    if (st != BL_OK) return st;
    if (!t->teacher) return bl_fail(e, BL_E_INTERNAL, "there is no teacher to be unsure with");
    if (!(power >= 0) || !(even >= 0))
        return bl_fail(e, BL_E_CONFIG, "power is %g and even %g; neither is negative", power, even);
    t->unsure = true;
    t->power = power;
    t->even = even;
    return BL_OK;
}

void bl_teacher_free(bl_teacher *k)
{
    if (!k) return;
    for (int64_t b = 0; b < k->m->config.n_layers; b++) bl_block_release(k->m, b);
    k->m->be->ops->buffer_free(k->states);
    k->m->be->ops->buffer_free(k->room);
    bl_model_close(k->m);
    bl_free(k->known);
    bl_free(k->top.id);
    bl_free(k->top.value);
    bl_free(k->top.other);
    bl_free(k->row);
    bl_free(k);
}

void bl_teacher_keep(bl_teacher *k, int64_t tokens)
{
    const uint64_t each = (uint64_t)k->m->config.dim * bl_dtype_bytes(k->m->be->act);
    if (k->top.k) return;
    k->m->be->ops->buffer_free(k->states);
    k->states = NULL;
    k->n_known = 0;
    k->used = 0;
    k->most = (uint64_t)tokens <= BL_TEACHER_MOST / each ? tokens : 0;
}

uint64_t bl_teacher_keeps(const bl_teacher *k)
{
    return (uint64_t)(k->most * k->m->config.dim) * bl_dtype_bytes(k->m->be->act);
}

/* The first of what is known whose hash is not less. */
static size_t place_of(const bl_teacher *k, bl_hash h)
{
    size_t low = 0, high = k->n_known;
    while (low < high) {
        const size_t mid = (low + high) / 2;
        const bl_hash *at = &k->known[mid].of;
        if (at->hi < h.hi || (at->hi == h.hi && at->lo < h.lo)) low = mid + 1;
        else high = mid;
    }
    return low;
}

static bl_status add_known(bl_teacher *k, bl_hash h, int64_t row, bl_err *e)
{
    const size_t i = place_of(k, h);
    bl_status st = bl_grow(&k->known, &k->cap_known, k->n_known + 1, sizeof *k->known, e);
    if (st != BL_OK) return st;
    memmove(k->known + i + 1, k->known + i, (k->n_known - i) * sizeof *k->known);
    k->known[i] = (struct known){.of = h, .row = row};
    k->n_known++;
    return BL_OK;
}

/* The wanted rows of sequence s are *n from *at on; returns what tells it from others. */
static bl_status sequence(const bl_batch *b, int32_t s, int64_t *at, int64_t *n, bl_hash *out, bl_err *e)
{
    bl_hasher *h = bl_hasher_new(e);
    if (!h) return BL_E_NOMEM;
    *at += *n;
    *n = 0;
    bl_hash_u64(h, (uint64_t)(b->start[s + 1] - b->start[s]));
    bl_hash_add(h, b->ids + b->start[s], (size_t)(b->start[s + 1] - b->start[s]) * sizeof *b->ids);
    for (; *at + *n < b->n_want && b->want[*at + *n] < b->start[s + 1]; ++*n)
        bl_hash_u64(h, (uint64_t)(b->want[*at + *n] - b->start[s]));
    *out = bl_hasher_end(h);
    return BL_OK;
}

static bl_tensor kept_rows(const bl_teacher *k, int64_t row, int64_t n)
{
    const bl_backend *be = k->m->be;
    return bl_tensor_rows(bl_tensor_2d(k->states, 0, be->act, k->most, k->m->config.dim), row, n);
}

/* States of all sequences out of what is kept; *all: none is missing. */
static bl_status recall(bl_teacher *k, const bl_batch *b, bl_tensor hidden, bool *all, bl_err *e)
{
    bl_backend *be = k->m->be;
    bl_status st = BL_OK;
    int64_t at = 0, n = 0;
    bl_hash h;
    *all = k->used > 0;
    for (int32_t s = 0; *all && s < b->n_seq; s++) {
        BL_TRY(sequence(b, s, &at, &n, &h, e));
        const size_t i = place_of(k, h);
        *all = i < k->n_known && bl_hash_equal(k->known[i].of, h);
        if (!*all || !n) continue;
        BL_TRY(be->ops->gather(
            be,
            &(bl_gather_args){.src = kept_rows(k, k->known[i].row, n), .dst = bl_tensor_rows(hidden, at, n), .n = n},
            e));
    }
out:
    return st;
}

static bl_status remember(bl_teacher *k, const bl_batch *b, bl_tensor hidden, bl_err *e)
{
    bl_backend *be = k->m->be;
    bl_status st = BL_OK;
    int64_t at = 0, n = 0;
    bl_hash h;
    if (!k->states) BL_TRY(be->ops->buffer_new(be, bl_teacher_keeps(k) + 64, &k->states, e));
    for (int32_t s = 0; s < b->n_seq; s++) {
        BL_TRY(sequence(b, s, &at, &n, &h, e));
        const size_t i = place_of(k, h);
        if (k->used + n > k->most || (i < k->n_known && bl_hash_equal(k->known[i].of, h))) continue;
        if (n)
            BL_TRY(be->ops->gather(
                be, &(bl_gather_args){.src = bl_tensor_rows(hidden, at, n), .dst = kept_rows(k, k->used, n), .n = n},
                e));
        BL_TRY(add_known(k, h, k->used, e));
        k->used += n;
    }
out:
    return st;
}

bl_status bl_teacher_states(bl_teacher *k, const bl_batch *b, bl_tensor hidden, bl_err *e)
{
    bl_status st = BL_OK;
    bl_kv *kv = NULL;
    int32_t *slot = NULL;
    bl_batch own = *b;
    bool there = false;

    if (k->most) BL_TRY(recall(k, b, hidden, &there, e));
    if (there) goto out;
    if (!(slot = bl_new((size_t)b->n_seq, sizeof *slot, e))) return BL_E_NOMEM;
    BL_TRY(bl_kv_new(k->m, b->start[b->n_seq], b->n_seq, true, BL_KV_ACT, &kv, e));
    for (int32_t s = 0; s < b->n_seq; s++) BL_TRY(bl_kv_slot(kv, b->start[s + 1] - b->start[s], -1, 0, &slot[s], e));
    own.slot = slot;
    BL_TRY(bl_forward(k->m, &own, kv, hidden, e));
    if (k->most) BL_TRY(remember(k, b, hidden, e));
out:
    bl_kv_free(kv);
    bl_free(slot);
    return st;
}

/* ---- the most likely tokens in the place of states ---- */
bl_status bl_train_topk(bl_trainable *t, int64_t top, bl_err *e)
{
    const int64_t vocab = t->m->config.vocab;
    if (!t->teacher || t->unsure) return bl_fail(e, BL_E_INTERNAL, "there is no teacher of which some logits are kept");
    if (top < 1 || top > vocab)
        return bl_fail(e, BL_E_CONFIG, "topk is %lld; the vocabulary has %lld tokens", (long long)top,
                       (long long)vocab);
    t->teacher->top.k = top;
    return BL_OK;
}

int64_t bl_teacher_top(const bl_teacher *k) { return k->top.k; }

/* Rows at .. at + n of the states, a chunk of logits at a time, as rows k->used on. */
static bl_status take_rows(bl_teacher *k, bl_tensor hidden, int64_t at, int64_t n, bl_tensor logits, bl_err *e)
{
    bl_backend *be = k->m->be;
    const int64_t vocab = k->m->config.vocab, columns = logits.dim[1], most = logits.dim[0];
    const size_t all = (size_t)(k->used + n), top = (size_t)k->top.k;
    bl_status st = BL_OK;
    float *x = bl_new((size_t)(BL_MIN(most, n) * columns), sizeof *x, e);
    if (!x) return BL_E_NOMEM;
    BL_TRY(bl_grow(&k->top.id, &k->cap_id, all * top, sizeof *k->top.id, e));
    BL_TRY(bl_grow(&k->top.value, &k->cap_value, all * top, sizeof *k->top.value, e));
    BL_TRY(bl_grow(&k->top.other, &k->cap_other, all, sizeof *k->top.other, e));
    for (int64_t r = 0, m; r < n; r += m) {
        m = BL_MIN(n - r, most);
        const bl_tensor y = bl_tensor_rows(logits, 0, m);
        BL_TRY(bl_logits(k->m, hidden, at + r, m, y, e));
        BL_TRY(be->ops->download(be, &y, x, e));
        for (int64_t i = 0; i < m; i++) bl_topk_take(&k->top, k->used + r + i, x + i * columns, vocab);
    }
    k->used += n;
out:
    bl_free(x);
    return st;
}

bl_status bl_teacher_tops(bl_teacher *k, const bl_batch *b, bl_tensor hidden, bl_tensor logits, bl_err *e)
{
    bl_status st = BL_OK;
    int64_t at = 0, n = 0;
    bl_hash h;
    bool there = false;
    BL_TRY(bl_grow(&k->row, &k->cap_row, (size_t)b->n_want + 1, sizeof *k->row, e));
    for (int32_t s = 0; s < b->n_seq; s++) {
        BL_TRY(sequence(b, s, &at, &n, &h, e));
        size_t i = place_of(k, h);
        if (!(i < k->n_known && bl_hash_equal(k->known[i].of, h))) {
            if (!there) BL_TRY(bl_teacher_states(k, b, hidden, e));
            there = true;
            const int64_t row = k->used;
            BL_TRY(take_rows(k, hidden, at, n, logits, e));
            BL_TRY(add_known(k, h, row, e));
            i = place_of(k, h);
        }
        for (int64_t r = 0; r < n; r++) k->row[at + r] = k->known[i].row + r;
    }
out:
    return st;
}

bl_status bl_teacher_beside(bl_teacher *k, int64_t row0, bl_tensor learner, bl_tensor logits, bl_err *e)
{
    bl_backend *be = k->m->be;
    bl_status st = bl_buffer_fit(be, &k->room, bl_topk_room(learner.dim[0], k->top.k), e);
    return st != BL_OK ? st
                       : bl_topk_logits(be, &k->top, k->row + row0, learner, k->m->config.vocab, k->room, logits, e);
}

bl_status bl_teacher_logits(bl_teacher *k, bl_tensor hidden, int64_t row0, int64_t rows, bl_tensor logits, bl_err *e)
{
    return bl_logits(k->m, hidden, row0, rows, logits, e);
}
