/* forward.c - a batch through all blocks.
 *
 *     x = embed(ids); every block (block.h); hidden = norm(x)
 *
 * All rows of a batch go through block b before any goes through b+1. In the last block, rows that are not wanted only
 * leave keys and values.
 */
#include "model_impl.h"
#include "size.h"
#include <math.h>
#include <string.h>

/* A row of activations as f32. */
static bl_status download(bl_backend *be, bl_tensor row, float *out, bl_err *e)
{
    bl_status st = be->ops->download(be, &row, out, e);
    if (st == BL_OK && row.dtype == BL_BF16)
        for (int64_t i = bl_tensor_count(&row) - 1; i >= 0; i--) { /* from the end: it grows in place */
            uint16_t h;
            memcpy(&h, (const char *)out + 2 * i, sizeof h);
            out[i] = bl_bf16_to_f32(h);
        }
    return st;
}

/* What the backend does of a pass. */
static bl_status compute(bl_pass *p, bl_err *e)
{
    bl_model *m = p->m;
    bl_status st = BL_OK;

    BL_TRY(bl_end_acquire(m, &m->embed, e));
    BL_TRY(m->be->ops->embed(m->be, &(bl_embed_args){.w = &m->embed.weight, .ids = p->p->t_ids, .y = p->x}, e));
    bl_end_release(m, &m->embed);
    for (int64_t block = 0; block < m->config.n_layers; block++) {
        if (m->watch && block) m->watch(m->watch_ctx, block); /* the first was told, replayed or not */
        else if (!m->watch && bl_interrupted()) {
            st = bl_fail(e, BL_E_INTERRUPTED, "interrupted");
            goto out;
        }
        if (p->trace)
            BL_TRY(download(m->be, bl_tensor_rows(p->x, p->trace_row, 1), p->trace + block * m->config.dim, e));
        BL_TRY(bl_block_acquire(m, block, e));
        p->narrow = block + 1 == m->config.n_layers && !p->by_list; /* a step wants all its rows */
        st = bl_pass_block(p, block, e);
        if (st == BL_OK) bl_block_ahead(m, block + 1);
        if (st == BL_OK && m->stream) st = p->be->ops->sync(p->be, e); /* before its weights go */
        bl_block_release(m, block);
        if (st != BL_OK) goto out;
    }
    bl_tensor wanted = bl_tensor_rows(p->hidden, 0, p->b->n_want);
    const bl_rmsnorm_args last = {p->by_list ? p->x : wanted, m->norm.weight, wanted, m->config.eps};
    if (p->b->n_want) BL_TRY(m->be->ops->rmsnorm(m->be, &last, e));
out:
    if (st != BL_OK) bl_block_forget_ahead(m);
    return st;
}

/* A step of decoding: a row of each sequence, all of them wanted. */
static bool is_step(const bl_batch *b)
{
    for (int32_t s = 0; s < b->n_seq; s++)
        if (b->start[s + 1] - b->start[s] != 1) return false;
    return b->n_want == b->n_seq;
}

/* Tokens that the backend has, in place of those of the lists. */
static bl_status put_ids(bl_pass *p, bl_tensor ids, bl_err *e)
{
    bl_pass_plan *plan = &p->m->own->plan;
    const int64_t n = ids.dim[0];
    const bl_tensor from = bl_tensor_2d(ids.buf, ids.offset, BL_I32, n, 1),
                    to = bl_tensor_2d(plan->t_ids.buf, plan->t_ids.offset, BL_I32, n, 1);
    plan->staged = 0; /* the lists are not what was uploaded any more */
    return p->m->be->ops->gather(p->m->be, &(bl_gather_args){.src = from, .dst = to, .n = n}, e);
}

/* trace (may be NULL): f32 host [n_layers + 1, dim] of row `row`, which is the only wanted one. */
static bl_status forward(bl_model *m, const bl_batch *b, bl_kv *kv, bl_tensor ids, bl_tensor hidden, int64_t row,
                         float *trace, bl_err *e)
{
    int64_t dim = m->config.dim;
    bl_pass p = {.m = m, .b = b, .kv = kv, .hidden = hidden, .trace = trace, .trace_row = row};
    bl_status st = BL_OK;

    if (b->n_seq == 0 || b->start[b->n_seq] == 0) return BL_OK;
    BL_TRY(bl_pass_prepare(&p, e));
    if (ids.buf) BL_TRY(put_ids(&p, ids, e));
    BL_TRY(
        bl_buffer_fit(m->be, &m->own->residual, (uint64_t)(b->start[b->n_seq] * dim) * bl_dtype_bytes(m->be->act), e));
    p.x = bl_tensor_2d(m->own->residual, 0, m->be->act, b->start[b->n_seq], dim);
    if (m->watch) m->watch(m->watch_ctx, 0);
    if (m->be->ops->graph_begin && !m->stream && !trace && is_step(b)) BL_TRY(bl_replay_pass(&p, compute, e));
    else BL_TRY(compute(&p, e));
    if (trace) BL_TRY(download(m->be, hidden, trace + m->config.n_layers * dim, e));
    for (int32_t s = 0; s < b->n_seq; s++)
        kv->slot[b->slot[s]].len = b->past[s] - kv->slot[b->slot[s]].parent_len + b->start[s + 1] - b->start[s];
out:
    return st;
}

bl_status bl_forward(bl_model *m, const bl_batch *b, bl_kv *kv, bl_tensor hidden, bl_err *e)
{
    return forward(m, b, kv, (bl_tensor){0}, hidden, 0, NULL, e);
}

bl_status bl_forward_picked(bl_model *m, const bl_batch *b, bl_kv *kv, bl_tensor ids, bl_tensor hidden, bl_err *e)
{
    return forward(m, b, kv, ids, hidden, 0, NULL, e);
}

bl_status bl_forward_trace(bl_model *m, const bl_batch *b, bl_kv *kv, int64_t row, float *trace, bl_err *e)
{
    bl_batch one = *b;
    bl_buffer *buf = NULL;
    bl_status st = BL_OK;

    one.want = &row;
    one.n_want = 1;
    BL_TRY(m->be->ops->buffer_new(m->be, (uint64_t)m->config.dim * bl_dtype_bytes(m->be->act), &buf, e));
    BL_TRY(forward(m, &one, kv, (bl_tensor){0}, bl_tensor_2d(buf, 0, m->be->act, 1, m->config.dim), row, trace, e));
out:
    m->be->ops->buffer_free(buf);
    return st;
}

/* ---- logits ---- */
int64_t bl_logits_rows(const bl_model *m) { return bl_head_rows(&m->config); }

bl_status bl_logits(bl_model *m, bl_tensor hidden, int64_t row0, int64_t rows, bl_tensor logits, bl_err *e)
{
    bl_linear *head = m->head.weight.format ? &m->head : &m->embed;
    bl_status st = bl_end_acquire(m, head, e); /* it stays until the next pass */
    if (st != BL_OK) return st;
    return bl_linear_apply(m->be, head, bl_tensor_rows(hidden, row0, rows), bl_tensor_rows(logits, 0, rows), false, e);
}
