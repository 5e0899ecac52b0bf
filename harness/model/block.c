/* block.c - one block over the rows of a batch, a chunk at a time.
 *
 * Inside a block rows go chunk by chunk (batch.c), so only the residual stream and the keys and values are as long as
 * the batch. What a row's numbers are depends on its own sequence alone: every op treats rows apart.
 */
#include "block.h"
#include "model_impl.h"
#include <math.h>

uint32_t bl_roles_of_one_input(uint32_t roles)
{
    static const uint32_t inputs[] = {BL_ROLES_AFTER_ATTN_NORM, BL_ROLE_BIT(BL_ROLE_O), BL_ROLES_AFTER_MLP_NORM,
                                      BL_ROLE_BIT(BL_ROLE_DOWN)};
    for (size_t i = 0; i < BL_COUNT(inputs); i++)
        if (roles & inputs[i]) return roles & inputs[i];
    return roles;
}

/* Activations of a chunk: h [rows, dim], then either those of the attention or those of the MLP. */
static bl_tensor work(const bl_pass *p, int64_t *at, int64_t rows, int64_t cols)
{
    bl_dtype act = p->m->be->act;
    bl_tensor t = bl_tensor_2d(p->m->own->work, (uint64_t)*at * bl_dtype_bytes(act), act, rows, cols);
    *at += (rows * cols + 31) / 32 * 32; /* 64-byte starts in any type */
    return t;
}

static int64_t work_values(const bl_pass *p, int64_t rows)
{
    int64_t dim = p->m->config.dim, q = p->q_dim, kv = p->kv_dim, ffn = p->m->config.ffn_dim;
    return rows * (dim + BL_MAX(2 * q + 2 * kv + dim, 2 * ffn)) + 32 * 8;
}

static bl_status normed(const bl_pass *p, bl_tensor x, bl_role role, bl_tensor y, bl_err *e)
{
    const bl_norm *n = bl_model_norm(p->m, p->block, role);
    return p->be->ops->rmsnorm(p->be, &(bl_rmsnorm_args){.x = x, .weight = n->weight, .y = y, .eps = p->m->config.eps},
                               e);
}

static bl_status apply(const bl_pass *p, const bl_tile *c, bl_role role, bl_tensor x, bl_tensor y, bool accumulate,
                       bl_err *e)
{
    if (p->hooks && p->hooks->product)
        return p->hooks->product(p->hooks->ctx, p->m, p->block, role, c->row0, x, y, accumulate, e);
    return bl_linear_apply(p->be, bl_model_linear(p->m, p->block, role), x, y, accumulate, e);
}

static bl_status products(const bl_pass *p, const bl_tile *c, const bl_role *roles, int n, bl_tensor x,
                          const bl_tensor *y, bl_err *e)
{
    const bl_linear *l[BL_LINEAR_MOST];
    bl_status st = BL_OK;
    if (p->hooks && p->hooks->product) {
        for (int i = 0; i < n && st == BL_OK; i++) st = apply(p, c, roles[i], x, y[i], false, e);
        return st;
    }
    for (int i = 0; i < n; i++) l[i] = bl_model_linear(p->m, p->block, roles[i]);
    return bl_linears_apply(p->be, l, n, x, y, e);
}

/* The products of what a norm or a gate makes of x, where nobody else wants to see that and the backend makes it on the
 * way; else *done is false. */
static bl_status directly(const bl_pass *p, const bl_role *roles, int n, bl_tensor x, bl_before before,
                          const bl_tensor *y, bool accumulate, bool *done, bl_err *e)
{
    const bl_linear *l[BL_LINEAR_MOST];
    bl_linear_args a;
    *done = false;
    if (p->hooks || p->tape || p->narrow || (!p->by_list && p->be->wide > 1)) return BL_OK;
    for (int i = 0; i < n; i++) l[i] = bl_model_linear(p->m, p->block, roles[i]);
    if (!bl_linears_prepare(p->be, l, n, x, &before, y, accumulate, &a)) return BL_OK;
    *done = true;
    return p->be->ops->linear(p->be, &a, e);
}

static bl_before norm_of(const bl_pass *p, bl_role role)
{
    return (bl_before){.norm = bl_model_norm(p->m, p->block, role)->weight, .eps = p->m->config.eps};
}

/* Shows the hook what the linears in `roles` read; *done when nothing after it is asked for. */
static bl_status show(const bl_pass *p, const bl_tile *c, uint32_t roles, bl_tensor x, bool *done, bl_err *e)
{
    bl_status st = BL_OK;
    if (!p->hooks) return BL_OK;
    if (p->hooks->input) BL_TRY(p->hooks->input(p->hooks->ctx, p->m, p->block, roles, c->row0, x, e));
    *done = p->hooks->until & roles;
out:
    return st;
}

/* Queries or keys after their product: the norm of each head where the architecture has one, rotary embedding, and the
 * rotation of a model that was turned. */
static bl_status finish_heads(const bl_pass *p, bl_role norm, bl_tensor pos, bl_tensor y, bl_err *e)
{
    bl_status st = BL_OK;
    int64_t head = p->m->config.head_dim;
    bl_tensor heads = bl_tensor_2d(y.buf, y.offset, y.dtype, y.dim[0] * (y.dim[1] / head), head);
    const bl_transform turn = {.kind = BL_T_HADAMARD, .in = head, .out = head};
    if (bl_has_role(&p->m->config, norm)) BL_TRY(normed(p, heads, norm, heads, e));
    BL_TRY(p->be->ops->rope(p->be, &(bl_rope_args){.x = y, .head_dim = head, .pos = pos, .cos = p->cos, .sin = p->sin},
                            e));
    if (p->m->config.turned_keys)
        BL_TRY(p->be->ops->transform(p->be, &(bl_transform_args){.x = heads, .y = heads, .t = &turn, .n_t = 1}, e));
out:
    return st;
}

static bool coded(const bl_pass *p) { return bl_kv_bits(p->cache.format); }

/* The keys and values of the tape are those of the cache, row by row: they serve as the cache. */
static bool taped(const bl_pass *p)
{
    if (!p->tape || p->by_list || p->cache.format != BL_KV_ACT || p->p->n_chunks != 1 || p->p->chunk[0].kv_row != 0)
        return false;
    for (int32_t s = 0; s < p->b->n_seq; s++)
        if (p->b->past[s]) return false;
    return true;
}

/* The attention of all rows of the tape at once leaves what its gradient needs. */
static bool summed(const bl_pass *p) { return taped(p) && p->tape->sums.dim[1] == p->p->chunk[0].rows; }

/* A step of decoding whose heads are only turned: the backend does all that is between the products at once. */
static bool one_step(const bl_pass *p)
{
    const bl_config *f = &p->m->config;
    return p->be->ops->step && p->by_list && !p->tape && !p->narrow && !coded(p) && !f->turned_keys &&
           !bl_has_role(f, BL_ROLE_K_NORM) && !bl_has_role(f, BL_ROLE_Q_NORM);
}

static bl_kv_append_args append_of(const bl_pass *p, const bl_tile *c, bl_tensor k, bl_tensor v)
{
    return (bl_kv_append_args){.kv = p->cache,
                               .k = k,
                               .v = v,
                               .to = bl_tensor_part(p->p->t_kv_row, c->row0, c->rows),
                               .tail = coded(p) ? bl_tensor_part(p->p->t_tail, c->row0, c->rows) : (bl_tensor){0}};
}

/* Keys and values of a chunk, and the queries where all rows go on (else q is no tensor). Where a cache row is made as
 * activations are and the rows are in order, the products and the rotation happen in the cache, else in k and v. */
static bl_status keys_and_values(const bl_pass *p, const bl_tile *c, bl_tensor x, bl_tensor h, bl_tensor k, bl_tensor v,
                                 bl_tensor q, bool *stop, bl_err *e)
{
    static const bl_role roles[] = {BL_ROLE_K, BL_ROLE_V, BL_ROLE_Q};
    bl_tensor pos = bl_tensor_part(p->p->t_pos, c->row0, c->rows);
    bool direct = c->kv_row >= 0 && p->cache.format == BL_KV_ACT && !p->by_list && (!p->tape || taped(p));
    bl_status st = BL_OK;

    if (direct) {
        k = bl_tensor_rows(p->cache.k, c->kv_row, c->rows);
        v = bl_tensor_rows(p->cache.v, c->kv_row, c->rows);
    }
    const bl_tensor y[] = {k, v, q};
    bool done;
    *stop = false;
    BL_TRY(directly(p, roles, 3, x, norm_of(p, BL_ROLE_ATTN_NORM), y, false, &done, e));
    if (!done) {
        BL_TRY(normed(p, x, BL_ROLE_ATTN_NORM, h, e));
        BL_TRY(show(p, c, BL_ROLES_AFTER_ATTN_NORM, h, stop, e));
        if (*stop) goto out;
        BL_TRY(products(p, c, roles, q.buf ? 3 : 2, h, y, e));
    }
    if (one_step(p)) goto out; /* the rest is done with the attention */
    if (q.buf) BL_TRY(finish_heads(p, BL_ROLE_Q_NORM, pos, q, e));
    BL_TRY(finish_heads(p, BL_ROLE_K_NORM, pos, k, e));
    if (!direct) {
        const bl_kv_append_args append = append_of(p, c, k, v);
        BL_TRY(p->be->ops->kv_append(p->be, &append, e));
    }
out:
    return st;
}

/* The keys of a chunk that may be seen as activations are later on: once its own queries have seen those of before. */
static bl_status keep_keys(const bl_pass *p, const bl_tile *c, bl_tensor k, bl_err *e)
{
    if (!coded(p)) return BL_OK;
    return p->be->ops->gather(
        p->be,
        &(bl_gather_args){.src = k,
                          .dst = p->cache.k_tail,
                          .from = bl_tensor_part(p->p->t_keep_from, (int64_t)c->keep, (int64_t)c->n_keep),
                          .to = bl_tensor_part(p->p->t_keep_to, (int64_t)c->keep, (int64_t)c->n_keep),
                          .n = (int64_t)c->n_keep},
        e);
}

static bl_status attend(const bl_pass *p, const bl_tile *c, bool runs, bl_tensor q, bl_tensor k, bl_tensor v,
                        bl_tensor y, bl_err *e)
{
    const bl_config *f = &p->m->config;
    const bl_pass_plan *l = p->p;
    int64_t n = runs ? c->n_runs : c->n_seq, seg = (int64_t)(runs ? c->run_seg : c->seg);
    const bl_attention_args a = {
        .q = q,
        .kv = p->cache,
        .y = y,
        .heads = f->n_heads,
        .scale = 1 / sqrt((double)f->head_dim),
        .n_seq = (int32_t)n,
        .start = bl_tensor_part(l->t_start, (int64_t)(runs ? c->run_start : c->start), n + 1),
        .past = bl_tensor_part(l->t_past, (int64_t)(runs ? c->run : c->seq), n),
        .seg = bl_tensor_rows(l->t_seg, seg, (int64_t)l->n_seg - seg),
        .seg_start = bl_tensor_part(l->t_seg_start, (int64_t)(runs ? c->run_seg_start : c->seg_start), n + 1),
        .fresh = coded(p) ? k : (bl_tensor){0},
        .own = coded(p) ? bl_tensor_rows(l->t_own, (int64_t)(runs ? c->run : c->seq), n) : (bl_tensor){0},
        .sums = summed(p) ? p->tape->sums : (bl_tensor){0}};
    if (one_step(p)) {
        const bl_rope_args turn = {q, f->head_dim, bl_tensor_part(l->t_pos, c->row0, c->rows), p->cos, p->sin};
        return p->be->ops->step(p->be, &(bl_step_args){turn, append_of(p, c, k, v), a}, e);
    }
    return p->be->ops->attention(p->be, &a, e);
}

/* Activations of a chunk in the tape, or in scratch memory when there is none. */
static bl_tensor place(const bl_pass *p, const bl_tensor *taped, const bl_tile *c, int64_t *at, int64_t rows,
                       int64_t cols)
{
    return p->tape ? bl_tensor_rows(*taped, c->row0, rows) : work(p, at, rows, cols);
}

static bl_status keep(const bl_pass *p, const bl_tensor *to, const bl_tile *c, bl_tensor x, bl_err *e)
{
    if (!p->tape || !to->buf) return BL_OK;
    return p->be->ops->gather(
        p->be, &(bl_gather_args){.src = x, .dst = bl_tensor_rows(*to, c->row0, c->rows), .n = c->rows}, e);
}

/* A narrowed pass goes on with the wanted rows alone, which are in p->hidden from here on; others only leave keys and
 * values. */
static bl_status narrow(const bl_pass *p, const bl_tile *c, int64_t *at, bl_tensor *x, bl_tensor *h, bl_err *e)
{
    bl_status st = BL_OK;
    bool all = c->wants == c->rows;
    bl_tensor from = all ? (bl_tensor){0} : bl_tensor_part(p->p->t_from, c->want0, c->wants), some;
    bl_tensor wanted = bl_tensor_rows(p->hidden, c->want0, c->wants);

    BL_TRY(p->be->ops->gather(p->be, &(bl_gather_args){.src = *x, .dst = wanted, .from = from, .n = c->wants}, e));
    *x = wanted;
    if (all) goto out;
    some = work(p, at, c->wants, p->m->config.dim);
    BL_TRY(p->be->ops->gather(p->be, &(bl_gather_args){.src = *h, .dst = some, .from = from, .n = c->wants}, e));
    *h = some;
out:
    return st;
}

static bl_status chunk_through_block(const bl_pass *p, const bl_tile *c, bl_err *e)
{
    const bl_tape *t = p->tape ? p->tape : &(bl_tape){0};
    const bl_config *f = &p->m->config;
    int64_t at = 0, rows = p->narrow ? c->wants : c->rows;
    bl_tensor pos = p->narrow ? bl_tensor_part(p->p->t_want_pos, c->want0, rows)
                              : bl_tensor_part(p->p->t_pos, c->row0, rows);
    bl_tensor x = bl_tensor_rows(p->x, c->row0, c->rows), h = place(p, &t->attn_in, c, &at, c->rows, f->dim);
    int64_t base = at;
    bl_tensor k, v, q = {0}, y, gate, up, act;
    bool done = false;
    bl_status st = BL_OK;

    BL_TRY(keep(p, &t->x, c, x, e));
    k = place(p, &t->k, c, &at, c->rows, p->kv_dim);
    v = place(p, &t->v, c, &at, c->rows, p->kv_dim);
    if (!p->narrow) q = place(p, &t->q, c, &at, rows, p->q_dim);
    BL_TRY(keys_and_values(p, c, x, h, k, v, q, &done, e));
    if (done) goto out;
    if (!rows) {
        st = keep_keys(p, c, k, e);
        goto out;
    }
    if (p->narrow) {
        BL_TRY(narrow(p, c, &at, &x, &h, e));
        q = place(p, &t->q, c, &at, rows, p->q_dim);
        BL_TRY(apply(p, c, BL_ROLE_Q, h, q, false, e));
        BL_TRY(finish_heads(p, BL_ROLE_Q_NORM, pos, q, e));
    }
    y = place(p, &t->attn_out, c, &at, rows, p->q_dim);
    BL_TRY(attend(p, c, p->narrow, q, k, v, y, e));
    BL_TRY(keep_keys(p, c, k, e));
    BL_TRY(show(p, c, BL_ROLE_BIT(BL_ROLE_O), y, &done, e));
    if (done) goto out;
    BL_TRY(apply(p, c, BL_ROLE_O, y, x, true, e));
    BL_TRY(keep(p, &t->mid, c, x, e));

    at = 0;
    h = place(p, &t->mlp_in, c, &at, rows, f->dim);
    at = base;
    gate = place(p, &t->gate, c, &at, rows, f->ffn_dim);
    up = place(p, &t->up, c, &at, rows, f->ffn_dim);
    act = p->tape ? bl_tensor_rows(t->act, c->row0, rows) : gate;
    const bl_role both[] = {BL_ROLE_GATE, BL_ROLE_UP}, down = BL_ROLE_DOWN;
    const bl_tensor to[] = {gate, up};
    BL_TRY(directly(p, both, 2, x, norm_of(p, BL_ROLE_MLP_NORM), to, false, &done, e));
    if (!done) {
        BL_TRY(normed(p, x, BL_ROLE_MLP_NORM, h, e));
        BL_TRY(show(p, c, BL_ROLES_AFTER_MLP_NORM, h, &done, e));
        if (done) goto out;
        BL_TRY(products(p, c, both, 2, h, to, e));
    }
    BL_TRY(directly(p, &down, 1, up, (bl_before){.gate = gate}, &x, true, &done, e));
    if (done) goto out;
    BL_TRY(p->be->ops->swiglu(p->be, &(bl_swiglu_args){.gate = gate, .up = up, .y = act}, e));
    BL_TRY(show(p, c, BL_ROLE_BIT(BL_ROLE_DOWN), act, &done, e));
    if (!done) BL_TRY(apply(p, c, BL_ROLE_DOWN, act, x, true, e));
out:
    return st;
}

bl_status bl_pass_prepare(bl_pass *p, bl_err *e)
{
    bl_model *m = p->m;
    bl_model_own *own = m->own;
    int64_t rows = p->b->start[p->b->n_seq], half = m->config.head_dim / 2, longest = 0, most = 0;
    bl_status st = BL_OK;

    p->q_dim = m->config.n_heads * m->config.head_dim;
    p->kv_dim = m->config.n_kv_heads * m->config.head_dim;
    const bool whole = p->tape && m->be->wide > 1; /* the tape has room for all rows, and weights are decoded once */
    BL_TRY(bl_pass_plan_batch(m, p->b, p->kv, whole ? BL_MAX(rows, 1) : own->chunk_rows, &own->plan, e));
    p->p = &own->plan;
    for (int64_t i = 0; i < rows; i++) longest = BL_MAX(longest, p->p->pos[i] + 1);
    for (size_t i = 0; i < p->p->n_chunks; i++) most = BL_MAX(most, p->p->chunk[i].rows);
    BL_TRY(bl_rope_prepare(m, longest, e));
    if (!whole)
        BL_TRY(bl_buffer_fit(m->be, &own->work, (uint64_t)work_values(p, most) * bl_dtype_bytes(m->be->act), e));
    p->cos = bl_tensor_2d(own->rope, 0, BL_F32, own->rope_len, half);
    p->sin = bl_tensor_2d(own->rope, (uint64_t)(own->rope_len * half) * sizeof(float), BL_F32, own->rope_len, half);
out:
    return st;
}

bl_status bl_pass_block(bl_pass *p, int64_t block, bl_err *e)
{
    bl_status st = BL_OK;
    p->block = block;
    p->be = p->m->blocks[block].be;
    p->cache = bl_kv_layer(p->kv, block);
    if (taped(p)) {
        p->cache.k = p->tape->k;
        p->cache.v = p->tape->v;
        p->cache.rows = p->tape->k.dim[0];
    }
    for (size_t i = 0; i < p->p->n_chunks && st == BL_OK; i++) st = chunk_through_block(p, &p->p->chunk[i], e);
    if (st != BL_OK) bl_within(e, "block %lld", (long long)block);
    return st;
}

bl_status bl_block_forward(bl_model *m, int64_t block, const bl_batch *b, bl_kv *kv, bl_tensor x,
                           const bl_block_hooks *hooks, bl_tape *tape, bl_err *e)
{
    bl_pass p = {.m = m, .b = b, .kv = kv, .x = x, .hooks = hooks, .tape = tape};
    bl_status st = BL_OK;

    if (b->n_seq == 0 || b->start[b->n_seq] == 0) return BL_OK;
    BL_TRY(bl_pass_prepare(&p, e));
    BL_TRY(bl_pass_block(&p, block, e));
    if (tape && !summed(&p)) tape->sums = (bl_tensor){0};
out:
    return st;
}

/* ---- tape ---- */
static uint64_t sums_bytes(const bl_model *m, int64_t rows)
{
    return m->be->wide > 1 ? (uint64_t)(rows * m->config.n_heads) * sizeof(float) : 0;
}

uint64_t bl_tape_bytes(const bl_model *m, int64_t rows)
{
    const bl_config *c = &m->config;
    int64_t q = bl_width_of(c, BL_WIDTH_Q), kv = bl_width_of(c, BL_WIDTH_KV);
    return (uint64_t)(rows * (4 * c->dim + 2 * q + 2 * kv + 3 * c->ffn_dim)) * bl_dtype_bytes(m->be->act) + 11 * 64 +
           sums_bytes(m, rows);
}

bl_status bl_tape_new(const bl_model *m, int64_t rows, bl_tape *out, bl_err *e)
{
    bl_tape t = {0};
    bl_status st = bl_tape_fit(m, rows, &t, e);
    if (st == BL_OK) *out = t;
    return st;
}

bl_status bl_tape_fit(const bl_model *m, int64_t rows, bl_tape *out, bl_err *e)
{
    const bl_config *c = &m->config;
    bl_status st = BL_OK;
    bl_tape t = {.owned = out->owned};
    uint64_t at = 0, size = bl_dtype_bytes(m->be->act);
    const struct {
        bl_tensor *t;
        int64_t cols;
    } all[] = {{&t.x, c->dim},
               {&t.attn_in, c->dim},
               {&t.q, bl_width_of(c, BL_WIDTH_Q)},
               {&t.k, bl_width_of(c, BL_WIDTH_KV)},
               {&t.v, bl_width_of(c, BL_WIDTH_KV)},
               {&t.attn_out, bl_width_of(c, BL_WIDTH_Q)},
               {&t.mid, c->dim},
               {&t.mlp_in, c->dim},
               {&t.gate, c->ffn_dim},
               {&t.up, c->ffn_dim},
               {&t.act, c->ffn_dim}};

    *out = (bl_tape){.owned = t.owned};
    BL_TRY(bl_buffer_fit(m->be, &out->owned, bl_tape_bytes(m, rows), e));
    t.owned = out->owned;
    for (size_t i = 0; i < BL_COUNT(all); i++) {
        *all[i].t = bl_tensor_2d(t.owned, at, m->be->act, rows, all[i].cols);
        at += ((uint64_t)(rows * all[i].cols) * size + 63) / 64 * 64;
    }
    if (sums_bytes(m, rows)) t.sums = bl_tensor_2d(t.owned, at, BL_F32, c->n_heads, rows);
    *out = t;
out:
    return st;
}

void bl_tape_free(const bl_model *m, bl_tape *t)
{
    m->be->ops->buffer_free(t->owned);
    *t = (bl_tape){0};
}
