/* backward.c - gradients back through a block: the forward pass of block.c from its end.
 *
 *     d: gradient of the residual stream. Both halves add to it what came through them:
 *     d += norm'(gate' dgate + up' dup)        dgate, dup = swiglu'(down' d)
 *     d += norm'(q' dq + k' dk + v' dv)        dq, dk, dv = attention'(o' d), turned back
 */
#include "backward.h"
#include "model_impl.h"
#include "kernels/dense.h"
#include <math.h>

static bl_status transposed(bl_backend *be, const bl_weight *w, bl_tensor dy, bl_tensor dx, bool accumulate, bl_err *e)
{
    return be->ops->linear(
        be, &(bl_linear_args){.x = dy, .w = {w}, .y = {dx}, .transpose = true, .accumulate = accumulate}, e);
}

bl_status bl_linear_input_grad(bl_backend *be, const bl_linear *l, bl_tensor dy, bl_tensor dx, bool accumulate,
                               bl_err *e)
{
    bl_status st = BL_OK;
    bl_buffer *b = NULL, *before = NULL;
    const bl_tensor after = dy;
    int64_t rank = 0;

    if (l->act.bits)
        return bl_fail(e, BL_E_UNSUPPORTED, "%s: there is no gradient through quantized activations", l->name);
    if (l->n_after) {
        BL_TRY(bl_check_op(be, be->ops->transform_grad, "transform_grad", e));
        BL_TRY(be->ops->buffer_new(be, (uint64_t)bl_tensor_count(&dy) * bl_dtype_bytes(be->act) + 64, &before, e));
        bl_tensor turned = bl_tensor_2d(before, 0, be->act, dy.dim[0], dy.dim[1]);
        BL_TRY(be->ops->transform_grad(
            be,
            &(bl_transform_grad_args){.dy = dy, .dx = turned, .t = l->transform + l->n_transforms, .n_t = l->n_after},
            e));
        dy = turned;
    }
    if (l->n_transforms) {
        int64_t width = l->weight.shape.in;
        BL_TRY(bl_check_op(be, be->ops->transform_grad, "transform_grad", e));
        BL_TRY(be->ops->buffer_new(be, (uint64_t)(dy.dim[0] * width) * bl_dtype_bytes(dx.dtype), &b, e));
        bl_tensor turned = bl_tensor_2d(b, 0, dx.dtype, dy.dim[0], width);
        BL_TRY(transposed(be, &l->weight, dy, turned, false, e));
        BL_TRY(be->ops->transform_grad(
            be,
            &(bl_transform_grad_args){
                .dy = turned, .dx = dx, .t = l->transform, .n_t = l->n_transforms, .accumulate = accumulate},
            e));
        be->ops->buffer_free(b);
        b = NULL;
    } else BL_TRY(transposed(be, &l->weight, dy, dx, accumulate, e));
    dy = after;
    for (int i = 0; i < l->n_adapters; i++) rank = BL_MAX(rank, l->adapter[i].a.dim[0]);
    if (rank) BL_TRY(be->ops->buffer_new(be, (uint64_t)((dy.dim[0] + 1) * rank) * sizeof(float) + 128, &b, e));
    for (int i = 0; i < l->n_adapters; i++) { /* dx += scale (dy B) A */
        const bl_lowrank *a = &l->adapter[i];
        const int64_t n = a->b.dim[1];
        bl_tensor h = bl_tensor_2d(b, ((uint64_t)rank * sizeof(float) + 63) / 64 * 64, be->act, dy.dim[0], n);
        bl_transform by = {.kind = BL_T_SCALE, .in = n, .out = n, .data = bl_tensor_1d(b, 0, BL_F32, n)};
        BL_TRY(be->ops->fill(be, &by.data, (double)a->scale, e));
        BL_TRY(bl_dense_product(be, a->b, dy, h, true, false, e));
        BL_TRY(be->ops->transform(be, &(bl_transform_args){.x = h, .y = h, .t = &by, .n_t = 1}, e));
        BL_TRY(bl_dense_product(be, a->a, h, dx, true, true, e));
    }
out:
    be->ops->buffer_free(b);
    be->ops->buffer_free(before);
    return st;
}

typedef struct back {
    bl_pass p;
    const bl_tape *t;
    const bl_block_grads *g;
    bl_tensor d, start;
    int64_t rows;
    bl_buffer *work;
    uint64_t at;
} back;

static bl_tensor work(back *b, int64_t rows, int64_t cols)
{
    bl_dtype act = b->p.m->be->act;
    bl_tensor t = bl_tensor_2d(b->work, b->at, act, rows, cols);
    b->at += ((uint64_t)(rows * cols) * bl_dtype_bytes(act) + 63) / 64 * 64;
    return t;
}

static bl_status linears(const back *b, const bl_role *role, int n, bl_tensor x, const bl_tensor *y,
                         const bl_tensor *dy, bl_tensor dx, bl_err *e)
{
    return b->g->linears(b->g->ctx, b->p.m, b->p.block, role, n, x, y, dy, dx, false, e);
}

static bl_status linear(const back *b, bl_role role, bl_tensor x, bl_tensor dy, bl_tensor dx, bl_err *e)
{
    return linears(b, &role, 1, x, NULL, &dy, dx, e);
}

static bl_tensor norm_grad(const back *b, bl_role role)
{
    return b->g->norm ? b->g->norm(b->g->ctx, b->p.m, b->p.block, role) : (bl_tensor){0};
}

/* dx of a norm with input x, onto dx or in its place; and its weight's. */
static bl_status norm(const back *b, bl_role role, bl_tensor x, bl_tensor dy, bl_tensor dx, bool accumulate, bl_err *e)
{
    return b->p.be->ops->rmsnorm_grad(b->p.be,
                                      &(bl_rmsnorm_grad_args){.x = x,
                                                              .weight = bl_model_norm(b->p.m, b->p.block, role)->weight,
                                                              .dy = dy,
                                                              .dx = dx,
                                                              .dweight = norm_grad(b, role),
                                                              .eps = b->p.m->config.eps,
                                                              .accumulate = accumulate},
                                      e);
}

static bl_status mlp(back *b, bl_err *e)
{
    const bl_tape *t = b->t;
    const bl_config *c = &b->p.m->config;
    bl_status st = BL_OK;
    b->at = 0;
    bl_tensor dgate = work(b, b->rows, c->ffn_dim), dup = work(b, b->rows, c->ffn_dim), dh = work(b, b->rows, c->dim);

    BL_TRY(linear(b, BL_ROLE_DOWN, t->act, b->d, dgate, e));
    BL_TRY(b->p.be->ops->swiglu_grad(
        b->p.be, &(bl_swiglu_grad_args){.gate = t->gate, .up = t->up, .dy = dgate, .dgate = dgate, .dup = dup}, e));
    BL_TRY(linears(b, (const bl_role[]){BL_ROLE_GATE, BL_ROLE_UP}, 2, t->mlp_in, (bl_tensor[]){t->gate, t->up},
                   (bl_tensor[]){dgate, dup}, dh, e));
    BL_TRY(norm(b, BL_ROLE_MLP_NORM, t->mid, dh, b->d, true, e));
out:
    return st;
}

/* From the gradient of queries or keys as attention read them to that of their product, which is made again where a
 * norm needs it. */
static bl_status heads(back *b, bl_role role, bl_role norm_role, bl_tensor d, bl_tensor again, bl_err *e)
{
    const bl_pass *p = &b->p;
    int64_t head = p->m->config.head_dim, n = d.dim[0] * (d.dim[1] / head);
    bl_tensor each = bl_tensor_2d(d.buf, d.offset, d.dtype, n, head);
    const bl_transform turn = {.kind = BL_T_HADAMARD, .in = head, .out = head};
    bl_status st = BL_OK;

    if (p->m->config.turned_keys) {
        bl_tensor to = bl_tensor_2d(again.buf, again.offset, again.dtype, n, head);
        BL_TRY(p->be->ops->transform_grad(p->be, &(bl_transform_grad_args){.dy = each, .dx = to, .t = &turn, .n_t = 1},
                                          e));
        BL_TRY(p->be->ops->gather(p->be, &(bl_gather_args){.src = to, .dst = each, .n = n}, e));
    }
    BL_TRY(p->be->ops->rope_grad(
        p->be, &(bl_rope_args){.x = d, .head_dim = head, .pos = p->p->t_pos, .cos = p->cos, .sin = p->sin}, e));
    if (bl_has_role(&p->m->config, norm_role)) {
        if (b->g->product) BL_TRY(b->g->product(b->g->ctx, p->m, p->block, role, 0, b->t->attn_in, again, false, e));
        else BL_TRY(bl_linear_apply(p->be, bl_model_linear(p->m, p->block, role), b->t->attn_in, again, false, e));
        BL_TRY(norm(b, norm_role, bl_tensor_2d(again.buf, again.offset, again.dtype, n, head), each, each, false, e));
    }
out:
    return st;
}

static int64_t longest(const bl_batch *b)
{
    int64_t most = 0;
    for (int32_t s = 0; s < b->n_seq; s++) most = BL_MAX(most, b->start[s + 1] - b->start[s]);
    return most;
}

static bl_status attention(back *b, bool below, bl_err *e)
{
    const bl_tape *t = b->t;
    const bl_config *c = &b->p.m->config;
    bool on = below || norm_grad(b, BL_ROLE_ATTN_NORM).buf;
    bl_status st = BL_OK;
    b->at = 0;
    bl_tensor dy = work(b, b->rows, b->p.q_dim), dq = work(b, b->rows, b->p.q_dim), dk = work(b, b->rows, b->p.kv_dim),
              dv = work(b, b->rows, b->p.kv_dim), dh = work(b, b->rows, c->dim);

    BL_TRY(linear(b, BL_ROLE_O, t->attn_out, b->d, dy, e));
    BL_TRY(b->p.be->ops->attention_grad(b->p.be,
                                        &(bl_attention_grad_args){.sums = t->sums,
                                                                  .longest = longest(b->p.b),
                                                                  .q = t->q,
                                                                  .k = t->k,
                                                                  .v = t->v,
                                                                  .y = t->attn_out,
                                                                  .dy = dy,
                                                                  .dq = dq,
                                                                  .dk = dk,
                                                                  .dv = dv,
                                                                  .heads = c->n_heads,
                                                                  .kv_heads = c->n_kv_heads,
                                                                  .head_dim = c->head_dim,
                                                                  .scale = 1 / sqrt((double)c->head_dim),
                                                                  .n_seq = b->p.b->n_seq,
                                                                  .start = b->start},
                                        e));
    BL_TRY(heads(b, BL_ROLE_Q, BL_ROLE_Q_NORM, dq, dy, e)); /* dy has been read */
    BL_TRY(heads(b, BL_ROLE_K, BL_ROLE_K_NORM, dk, bl_tensor_2d(dy.buf, dy.offset, dy.dtype, b->rows, b->p.kv_dim), e));
    if (!on) dh = (bl_tensor){0};
    BL_TRY(linears(b, (const bl_role[]){BL_ROLE_Q, BL_ROLE_K, BL_ROLE_V}, 3, t->attn_in, (bl_tensor[]){{0}, {0}, t->v},
                   (bl_tensor[]){dq, dk, dv}, dh, e));
    if (on) BL_TRY(norm(b, BL_ROLE_ATTN_NORM, t->x, dh, b->d, true, e));
out:
    return st;
}

static bl_status check(const bl_model *m, const bl_batch *b, bl_err *e)
{
    static const size_t ops[] = {BL_OP(weight_grad),    BL_OP(rmsnorm_grad), BL_OP(rope_grad),
                                 BL_OP(attention_grad), BL_OP(swiglu_grad),  0};
    bl_status st = BL_OK;

    BL_TRY(bl_check_ops(m->be, ops, e));
    for (int32_t s = 0; s < b->n_seq; s++)
        if (b->past[s]) return bl_fail(e, BL_E_INTERNAL, "a sequence with a past has no gradient");
    if (m->config.turned_keys) BL_TRY(bl_check_op(m->be, m->be->ops->transform_grad, "transform_grad", e));
out:
    return st;
}

uint64_t bl_block_backward_bytes(const bl_model *m, int64_t rows)
{
    const bl_config *c = &m->config;
    int64_t q = bl_width_of(c, BL_WIDTH_Q), kv = bl_width_of(c, BL_WIDTH_KV);
    int64_t most = BL_MAX(2 * c->ffn_dim, 2 * q + 2 * kv) + c->dim;
    return (uint64_t)(rows * most) * bl_dtype_bytes(m->be->act) + 5 * 64;
}

bl_status bl_block_backward(bl_model *m, int64_t block, const bl_batch *b, bl_kv *kv, const bl_tape *t, bl_tensor dx,
                            bool below, const bl_block_grads *g, bl_err *e)
{
    bl_buffer *start = NULL, *own = NULL, **room = g->work ? g->work : &own;
    bl_status st = BL_OK;
    back k = {
        .p = {.m = m, .b = b, .kv = kv, .tape = t, .block = block, .be = m->blocks[block].be}, .t = t, .g = g, .d = dx};

    if (b->n_seq == 0 || b->start[b->n_seq] == 0) return BL_OK;
    BL_TRY(check(m, b, e));
    k.rows = b->start[b->n_seq];
    BL_TRY(bl_pass_prepare(&k.p, e));
    BL_TRY(bl_buffer_fit(m->be, room, bl_block_backward_bytes(m, k.rows), e));
    k.work = *room;
    BL_TRY(m->be->ops->buffer_new(m->be, (uint64_t)(b->n_seq + 1) * sizeof *b->start, &start, e));
    k.start = bl_tensor_1d(start, 0, BL_I32, b->n_seq + 1);
    BL_TRY(m->be->ops->upload(m->be, &k.start, b->start, e));
    BL_TRY(mlp(&k, e));
    BL_TRY(attention(&k, below, e));
out:
    if (st != BL_OK) bl_within(e, "gradient of block %lld", (long long)block);
    m->be->ops->buffer_free(own);
    m->be->ops->buffer_free(start);
    return st;
}
