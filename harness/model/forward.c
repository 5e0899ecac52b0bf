/* forward.c - the LLaMA blocks over ragged sequences.
 *
 *     x = embed(ids)
 *     x += o_proj(attention(rope(q_proj(h)), rope(k_proj(h)), v_proj(h)))        h = norm(x)
 *     x += down_proj(silu(gate_proj(h)) * up_proj(h))                            h = norm(x)
 *     hidden = norm(x)
 *
 * All rows of a batch go through block b before any goes through b+1; inside a block they go chunk by chunk (plan.c),
 * so only the residual stream and the keys and values are as long as the batch. In the last block, rows that are not
 * wanted only leave keys and values. What a row's numbers are depends on its own sequence alone: every op treats rows
 * apart.
 */
#include "model_impl.h"
#include <math.h>
#include <string.h>

typedef struct pass {
    bl_model *m;
    const bl_batch *b;
    bl_kv *kv;
    const bl_pass_plan *p;
    bl_tensor x; /* residual stream [rows, dim] */
    bl_tensor cos, sin;
    bl_tensor hidden; /* [n_want, dim] */
    bl_backend *be;   /* these of the block at hand */
    bl_kv_view cache;
    int64_t block;
    int64_t q_dim, kv_dim;
} pass;

/* Activations of a chunk: h [rows, dim], then either those of the attention or those of the MLP. */
static bl_tensor work(const pass *p, int64_t *at, int64_t rows, int64_t cols)
{
    bl_dtype act = p->m->be->act;
    bl_tensor t = bl_tensor_2d(p->m->own->work, (uint64_t)*at * bl_dtype_bytes(act), act, rows, cols);
    *at += (rows * cols + 31) / 32 * 32; /* 64-byte starts in any type */
    return t;
}

static int64_t work_values(const pass *p, int64_t rows)
{
    int64_t dim = p->m->config.dim, q = p->q_dim, kv = p->kv_dim, hidden = p->m->config.ffn_dim;
    return rows * (dim + BL_MAX(2 * q + 2 * kv + dim, 2 * hidden)) + 32 * 8;
}

static bl_status normed(const pass *p, bl_tensor x, bl_role role, bl_tensor y, bl_err *e)
{
    const bl_norm *n = bl_model_norm(p->m, p->block, role);
    return p->be->ops->rmsnorm(p->be, &(bl_rmsnorm_args){.x = x, .weight = n->weight, .y = y, .eps = p->m->config.eps},
                               e);
}

static bl_status apply(const pass *p, bl_role role, bl_tensor x, bl_tensor y, bool accumulate, bl_err *e)
{
    return bl_linear_apply(p->be, bl_model_linear(p->m, p->block, role), x, y, accumulate, e);
}

/* Queries or keys: product, the norm of each head where the architecture has one, rotary embedding. */
static bl_status project(const pass *p, bl_role role, bl_role norm, bl_tensor x, bl_tensor pos, bl_tensor y, bl_err *e)
{
    bl_status st = BL_OK;
    int64_t head = p->m->config.head_dim;
    BL_TRY(apply(p, role, x, y, false, e));
    if (bl_has_role(&p->m->config, norm)) {
        bl_tensor heads = bl_tensor_2d(y.buf, y.offset, y.dtype, y.dim[0] * (y.dim[1] / head), head);
        BL_TRY(normed(p, heads, norm, heads, e));
    }
    BL_TRY(p->be->ops->rope(p->be, &(bl_rope_args){.x = y, .head_dim = head, .pos = pos, .cos = p->cos, .sin = p->sin},
                            e));
out:
    return st;
}

/* Keys and values of a chunk. Where a cache row is made as activations are and the rows lie in order, the products and
 * the rotation happen in the cache, else in k and v. */
static bl_status keys_and_values(const pass *p, const bl_tile *c, bl_tensor h, bl_tensor k, bl_tensor v, bl_err *e)
{
    bl_tensor pos = bl_tensor_part(p->p->t_pos, c->row0, c->rows),
              to = bl_tensor_part(p->p->t_kv_row, c->row0, c->rows);
    bool direct = c->kv_row >= 0 && p->cache.format == BL_KV_ACT;
    bl_status st = BL_OK;

    if (direct) {
        k = bl_tensor_rows(p->cache.k, c->kv_row, c->rows);
        v = bl_tensor_rows(p->cache.v, c->kv_row, c->rows);
    }
    BL_TRY(project(p, BL_ROLE_K, BL_ROLE_K_NORM, h, pos, k, e));
    BL_TRY(apply(p, BL_ROLE_V, h, v, false, e));
    if (!direct)
        BL_TRY(p->be->ops->kv_append(p->be, &(bl_kv_append_args){.kv = p->cache, .k = k, .v = v, .to = to}, e));
out:
    return st;
}

static bl_status attend(const pass *p, const bl_tile *c, bool runs, bl_tensor q, bl_tensor y, bl_err *e)
{
    const bl_config *f = &p->m->config;
    const bl_pass_plan *l = p->p;
    int64_t n = runs ? c->n_runs : c->n_seq, seg = (int64_t)(runs ? c->run_seg : c->seg);
    return p->be->ops->attention(
        p->be,
        &(bl_attention_args){
            .q = q,
            .kv = p->cache,
            .y = y,
            .heads = f->n_heads,
            .scale = 1 / sqrt((double)f->head_dim),
            .n_seq = (int32_t)n,
            .start = bl_tensor_part(l->t_start, (int64_t)(runs ? c->run_start : c->start), n + 1),
            .past = bl_tensor_part(l->t_past, (int64_t)(runs ? c->run : c->seq), n),
            .seg = bl_tensor_rows(l->t_seg, seg, (int64_t)l->n_seg - seg),
            .seg_start = bl_tensor_part(l->t_seg_start, (int64_t)(runs ? c->run_seg_start : c->seg_start), n + 1)},
        e);
}

/* One chunk through one block. In the last block, x is the wanted rows of the residual stream, which lie in p->hidden
 * from here on. */
static bl_status chunk_through_block(const pass *p, const bl_tile *c, bl_err *e)
{
    const bl_ops *ops = p->be->ops;
    bool last = p->block + 1 == p->m->config.n_layers, all = c->wants == c->rows;
    int64_t at = 0, rows = last ? c->wants : c->rows;
    bl_tensor pos = last ? bl_tensor_part(p->p->t_want_pos, c->want0, rows)
                         : bl_tensor_part(p->p->t_pos, c->row0, rows);
    bl_tensor x = bl_tensor_rows(p->x, c->row0, c->rows), h = work(p, &at, c->rows, p->m->config.dim);
    int64_t base = at;
    bl_tensor k = work(p, &at, c->rows, p->kv_dim), v = work(p, &at, c->rows, p->kv_dim), q, y, gate, up;
    bl_status st = BL_OK;

    BL_TRY(normed(p, x, BL_ROLE_ATTN_NORM, h, e));
    BL_TRY(keys_and_values(p, c, h, k, v, e));
    if (!rows) goto out;
    if (last) {
        bl_tensor from = all ? (bl_tensor){0} : bl_tensor_part(p->p->t_from, c->want0, rows);
        bl_tensor wanted = bl_tensor_rows(p->hidden, c->want0, rows);
        BL_TRY(ops->gather(p->be, &(bl_gather_args){.src = x, .dst = wanted, .from = from, .n = rows}, e));
        x = wanted;
        if (!all) {
            bl_tensor some = work(p, &at, rows, p->m->config.dim);
            BL_TRY(ops->gather(p->be, &(bl_gather_args){.src = h, .dst = some, .from = from, .n = rows}, e));
            h = some;
        }
    }
    q = work(p, &at, rows, p->q_dim);
    y = work(p, &at, rows, p->q_dim);
    BL_TRY(project(p, BL_ROLE_Q, BL_ROLE_Q_NORM, h, pos, q, e));
    BL_TRY(attend(p, c, last, q, y, e));
    BL_TRY(apply(p, BL_ROLE_O, y, x, true, e));

    at = 0;
    h = work(p, &at, rows, p->m->config.dim);
    at = base;
    gate = work(p, &at, rows, p->m->config.ffn_dim);
    up = work(p, &at, rows, p->m->config.ffn_dim);
    BL_TRY(normed(p, x, BL_ROLE_MLP_NORM, h, e));
    BL_TRY(apply(p, BL_ROLE_GATE, h, gate, false, e));
    BL_TRY(apply(p, BL_ROLE_UP, h, up, false, e));
    BL_TRY(ops->swiglu(p->be, &(bl_swiglu_args){.gate = gate, .up = up, .y = gate}, e));
    BL_TRY(apply(p, BL_ROLE_DOWN, gate, x, true, e));
    if (last) BL_TRY(normed(p, x, BL_ROLE_NORM, x, e));
out:
    return st;
}

static bl_status prepare(pass *p, bl_err *e)
{
    bl_model *m = p->m;
    bl_model_own *own = m->own;
    int64_t rows = p->b->start[p->b->n_seq], half = m->config.head_dim / 2, longest = 0, most = 0;
    bl_status st = BL_OK;

    BL_TRY(bl_pass_plan_batch(m, p->b, p->kv, &own->plan, e));
    p->p = &own->plan;
    for (int64_t i = 0; i < rows; i++) longest = BL_MAX(longest, p->p->pos[i] + 1);
    for (size_t i = 0; i < p->p->n_chunks; i++) most = BL_MAX(most, p->p->chunk[i].rows);
    BL_TRY(bl_rope_prepare(m, longest, e));
    BL_TRY(bl_buffer_fit(m->be, &own->residual, (uint64_t)(rows * m->config.dim) * bl_dtype_bytes(m->be->act), e));
    BL_TRY(bl_buffer_fit(m->be, &own->work, (uint64_t)work_values(p, most) * bl_dtype_bytes(m->be->act), e));
    p->x = bl_tensor_2d(own->residual, 0, m->be->act, rows, m->config.dim);
    p->cos = bl_tensor_2d(own->rope, 0, BL_F32, own->rope_len, half);
    p->sin = bl_tensor_2d(own->rope, (uint64_t)(own->rope_len * half) * sizeof(float), BL_F32, own->rope_len, half);
out:
    return st;
}

/* trace (may be NULL): f32 host [n_layers + 1, dim] of row `row`, which is the only wanted one. */
static bl_status forward(bl_model *m, const bl_batch *b, bl_kv *kv, bl_tensor hidden, int64_t row, float *trace,
                         bl_err *e)
{
    int64_t dim = m->config.dim;
    pass p = {.m = m,
              .b = b,
              .kv = kv,
              .hidden = hidden,
              .q_dim = m->config.n_heads * m->config.head_dim,
              .kv_dim = m->config.n_kv_heads * m->config.head_dim};
    bl_status st = BL_OK;

    if (b->n_seq == 0 || b->start[b->n_seq] == 0) return BL_OK;
    BL_TRY(prepare(&p, e));
    BL_TRY(m->be->ops->embed(m->be, &(bl_embed_args){.w = &m->embed.weight, .ids = p.p->t_ids, .y = p.x}, e));
    for (int64_t block = 0; block < m->config.n_layers; block++) {
        if (bl_interrupted()) {
            st = bl_fail(e, BL_E_INTERRUPTED, "interrupted");
            goto out;
        }
        if (trace) {
            bl_tensor x = bl_tensor_rows(p.x, row, 1);
            BL_TRY(m->be->ops->download(m->be, &x, trace + block * dim, e));
        }
        BL_TRY(bl_block_acquire(m, block, e));
        p.block = block;
        p.be = m->blocks[block].be;
        p.cache = bl_kv_layer(kv, block);
        for (size_t i = 0; i < p.p->n_chunks && st == BL_OK; i++) st = chunk_through_block(&p, &p.p->chunk[i], e);
        if (st == BL_OK && m->stream) st = p.be->ops->sync(p.be, e); /* before its weights go */
        bl_block_release(m, block);
        if (st != BL_OK) {
            bl_within(e, "block %lld", (long long)block);
            goto out;
        }
    }
    if (trace) BL_TRY(m->be->ops->download(m->be, &hidden, trace + m->config.n_layers * dim, e));
    for (int32_t s = 0; s < b->n_seq; s++)
        kv->slot[b->slot[s]].len = b->past[s] - kv->slot[b->slot[s]].parent_len + b->start[s + 1] - b->start[s];
out:
    return st;
}

bl_status bl_forward(bl_model *m, const bl_batch *b, bl_kv *kv, bl_tensor hidden, bl_err *e)
{
    return forward(m, b, kv, hidden, 0, NULL, e);
}

bl_status bl_forward_trace(bl_model *m, const bl_batch *b, bl_kv *kv, int64_t row, float *trace, bl_err *e)
{
    bl_batch one = *b;
    bl_buffer *buf = NULL;
    bl_status st = BL_OK;

    one.want = &row;
    one.n_want = 1;
    BL_TRY(m->be->ops->buffer_new(m->be, (uint64_t)m->config.dim * bl_dtype_bytes(m->be->act), &buf, e));
    BL_TRY(forward(m, &one, kv, bl_tensor_2d(buf, 0, m->be->act, 1, m->config.dim), row, trace, e));
out:
    m->be->ops->buffer_free(buf);
    return st;
}

/* ---- logits ---- */
int64_t bl_logits_rows(const bl_model *m)
{
    return BL_MAX((64ll << 20) / (m->config.vocab * (int64_t)sizeof(float)), 1);
}

bl_status bl_logits(bl_model *m, bl_tensor hidden, int64_t row0, int64_t rows, bl_tensor logits, bl_err *e)
{
    return bl_linear_apply(m->be, bl_model_head(m), bl_tensor_rows(hidden, row0, rows), bl_tensor_rows(logits, 0, rows),
                           false, e);
}
