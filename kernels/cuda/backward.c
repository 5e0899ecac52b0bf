/* backward.c - gradients on the device (ops_train.h): dense ones by cuBLAS, the others by a launch or two. */
#include "cuda.h"
#include "reassemble.h"

bl_status bl_cuda_outer(bl_backend *be, const uint16_t *x, int64_t ldx, const uint16_t *dy, int64_t ldy, int64_t rows,
                        int64_t in, int64_t out, double alpha, void *dw, bool f32, int64_t ldw, bool anew, bl_err *e)
{
    bl_status st = BL_OK;
    bl_cuda *c = be->own;
    const float by = (float)alpha, beta = anew ? 0 : 1;
    if (BL_MAX(BL_MAX(rows, out), BL_MAX(in, BL_MAX(BL_MAX(ldx, ldy), ldw))) > INT32_MAX)
        return bl_fail(e, BL_E_UNSUPPORTED, "weight_grad: a product of %lld x %lld x %lld is too large",
                       (long long)rows, (long long)out, (long long)in);
    BL_TRY(bl_cuda_blas(be, e));
    /* By columns, as cuBLAS counts: dwt += alpha xt dy. */
    BL_TRY(bl_cuda_blas_status(c->blas.cublasGemmEx(c->blas.handle, CUBLAS_OP_N, CUBLAS_OP_T, (int)in, (int)out,
                                                    (int)rows, &by, x, CUDA_R_16BF, (int)ldx, dy, CUDA_R_16BF, (int)ldy,
                                                    &beta, dw, f32 ? CUDA_R_32F : CUDA_R_16BF, (int)ldw,
                                                    CUBLAS_COMPUTE_32F, CUBLAS_GEMM_DEFAULT),
                               "weight_grad", e));
out:
    return st;
}

bl_status bl_cuda_weight_grad(bl_backend *be, const bl_weight_grad_args *a, bl_err *e)
{
    bl_status st = BL_OK;
    bl_cuda *c = be->own;
    int64_t rows = a->x.dim[0], in = a->x.dim[1], out = a->dy.dim[1], ld = a->dy.stride[0];
    bool f32 = a->dy.dtype == BL_F32;
    void *dy = bl_cuda_at(&a->dy), *parts, *narrow;

    BL_TRY(bl_check_weight_grad(be, a, e));
    if (!rows) return a->anew && a->dw.buf ? bl_cuda_fill(be, &a->dw, 0, e) : BL_OK;
    if (a->db.buf) {
        BL_TRY(bl_cuda_need(be, BL_SCRATCH_PARTS, (uint64_t)(bl_cu_parts(rows) * out) * sizeof(float), &parts, e));
        bl_cu_bias_grad(c->now, dy, f32, ld, rows, out, (float)a->alpha, parts, bl_cuda_at(&a->db));
        BL_TRY(bl_cuda_launched(be, "weight_grad", e));
    }
    if (!a->dw.buf) return BL_OK;
    if (f32) {
        ld = (out + 7) / 8 * 8;
        BL_TRY(bl_cuda_need(be, BL_SCRATCH_X, (uint64_t)(rows * ld) * sizeof(uint16_t), &narrow, e));
        bl_cu_to_bf16(c->now, dy, a->dy.stride[0], narrow, ld, rows, out, 1);
        BL_TRY(bl_cuda_launched(be, "weight_grad", e));
        dy = narrow;
    }
    BL_TRY(bl_cuda_outer(be, bl_cuda_at(&a->x), a->x.stride[0], dy, ld, rows, in, out, a->alpha, bl_cuda_at(&a->dw),
                         a->dw.dtype == BL_F32, a->dw.stride[0], a->anew, e));
out:
    return st;
}

bl_status bl_cuda_rmsnorm_grad(bl_backend *be, const bl_rmsnorm_grad_args *a, bl_err *e)
{
    bl_status st = BL_OK;
    bl_cuda *c = be->own;
    int64_t rows = a->x.dim[0], dim = a->x.dim[1];
    void *scratch;
    BL_TRY(bl_check_rmsnorm_grad(be, a, e));
    BL_TRY(bl_cuda_need(be, BL_SCRATCH_PARTS, (uint64_t)(rows + dim * bl_cu_parts(rows)) * sizeof(float), &scratch, e));
    bl_cu_rmsnorm_grad(c->now, &(bl_cu_norm_grad){.x = bl_cuda_at(&a->x),
                                                  .dy = bl_cuda_at(&a->dy),
                                                  .dx = bl_cuda_at(&a->dx),
                                                  .w = bl_cuda_at(&a->weight),
                                                  .dw = bl_cuda_at(&a->dweight),
                                                  .scale = scratch,
                                                  .ldx = a->x.stride[0],
                                                  .lddy = a->dy.stride[0],
                                                  .lddx = a->dx.stride[0],
                                                  .rows = rows,
                                                  .dim = dim,
                                                  .eps = (float)a->eps,
                                                  .accumulate = a->accumulate});
    BL_TRY(bl_cuda_launched(be, "rmsnorm_grad", e));
out:
    return st;
}

/* Room for the gradient of scores of some heads of keys, as many as make launches of one size; none where there is
 * too little. */
static bl_status keep_scores(bl_backend *be, const bl_attention_grad_args *a, bl_cu_kept *kept, bl_err *e)
{
    const int64_t tiles = bl_cu_kept_tiles(a->longest);
    const uint64_t each = (uint64_t)(a->n_seq * tiles * (a->heads / a->kv_heads)) * BL_CU_KEPT_TILE,
                   room = bl_cu_kept_room(a->q.dim[0], a->heads, a->head_dim);
    if (!a->sums.buf || !each || room < each || !bl_cu_hopper()) return BL_OK;
    const int64_t fit = (int64_t)BL_MIN(room / each, (uint64_t)a->kv_heads), launches = (a->kv_heads + fit - 1) / fit;
    *kept = (bl_cu_kept){
        .tiles = tiles, .longest = (int32_t)a->longest, .kv_n = (int32_t)((a->kv_heads + launches - 1) / launches)};
    return bl_cuda_need(be, BL_SCRATCH_SLAB, (uint64_t)kept->kv_n * each, &kept->at, e);
}

bl_status bl_cuda_attention_grad(bl_backend *be, const bl_attention_grad_args *a, bl_err *e)
{
    bl_status st = BL_OK;
    bl_cuda *c = be->own;
    uint64_t each = (uint64_t)(a->q.dim[0] * a->heads) * sizeof(float);
    bl_cu_kept kept = {0};
    void *scratch;
    BL_TRY(bl_check_attention_grad(be, a, e));
    if (a->head_dim > BL_CU_HEAD_MOST || bl_cu_attention_grad_shared(a->head_dim) > c->about.sharedMemPerBlockOptin)
        return bl_fail(e, BL_E_UNSUPPORTED, "attention_grad: heads of %lld numbers are too wide for this device",
                       (long long)a->head_dim);
    if (!a->n_seq) return BL_OK;
    BL_TRY(bl_cuda_need(be, BL_SCRATCH_PARTS, 2 * each, &scratch, e));
    const bl_cu_attention_grad k = {.q = bl_cuda_at(&a->q),
                                    .k = bl_cuda_at(&a->k),
                                    .v = bl_cuda_at(&a->v),
                                    .y = bl_cuda_at(&a->y),
                                    .dy = bl_cuda_at(&a->dy),
                                    .dq = bl_cuda_at(&a->dq),
                                    .dk = bl_cuda_at(&a->dk),
                                    .dv = bl_cuda_at(&a->dv),
                                    .sums = scratch,
                                    .given = (float *)scratch + a->q.dim[0] * a->heads,
                                    .ldq = a->q.stride[0],
                                    .ldk = a->k.stride[0],
                                    .ldv = a->v.stride[0],
                                    .ldy = a->y.stride[0],
                                    .lddy = a->dy.stride[0],
                                    .lddq = a->dq.stride[0],
                                    .lddk = a->dk.stride[0],
                                    .lddv = a->dv.stride[0],
                                    .start = bl_cuda_at(&a->start),
                                    .n_seq = a->n_seq,
                                    .heads = (int32_t)a->heads,
                                    .kv_heads = (int32_t)a->kv_heads,
                                    .head_dim = (int32_t)a->head_dim,
                                    .rows = a->q.dim[0],
                                    .scale = (float)a->scale};
    BL_TRY(keep_scores(be, a, &kept, e));
    bl_cu_attention_grad known = k;
    known.sums = bl_cuda_at(&a->sums);
    if (!(kept.at && bl_cu_attention_grad_kept(c->now, &known, &kept)) && !bl_cu_attention_grad_hopper(c->now, &k))
        bl_cu_attention_grad_tiles(c->now, &k);
    BL_TRY(bl_cuda_launched(be, "attention_grad", e));
out:
    return st;
}

bl_status bl_cuda_swiglu_grad(bl_backend *be, const bl_swiglu_grad_args *a, bl_err *e)
{
    bl_status st = bl_check_swiglu_grad(be, a, e);
    bl_cuda *c = be->own;
    if (st != BL_OK) return st;
    bl_cu_swiglu_grad(c->now, bl_cuda_at(&a->gate), a->gate.stride[0], bl_cuda_at(&a->up), a->up.stride[0],
                      bl_cuda_at(&a->dy), a->dy.stride[0], bl_cuda_at(&a->dgate), a->dgate.stride[0],
                      bl_cuda_at(&a->dup), a->dup.stride[0], a->gate.dim[0], a->gate.dim[1]);
    return bl_cuda_launched(be, "swiglu_grad", e);
}

bl_status bl_cuda_embed_grad(bl_backend *be, const bl_embed_grad_args *a, bl_err *e)
{
    bl_status st = BL_OK;
    bl_cuda *c = be->own;
    const int64_t vocab = a->dw.dim[0];
    void *counts;
    BL_TRY(bl_check_embed_grad(be, a, e));
    BL_TRY(bl_cuda_need(be, BL_SCRATCH_PARTS, (uint64_t)vocab * sizeof(int32_t), &counts, e));
    bl_cu_embed_grad(c->now, bl_cuda_at(&a->ids), a->dy.dim[0], bl_cuda_at(&a->dy), a->dy.stride[0], a->dy.dim[1],
                     bl_cuda_at(&a->dw), a->dw.stride[0], vocab, counts);
    BL_TRY(bl_cuda_launched(be, "embed_grad", e));
out:
    return st;
}

bl_status bl_cuda_loss_grad(bl_backend *be, const bl_loss_grad_args *a, bl_err *e)
{
    bl_status st = bl_check_loss_grad(be, a, e);
    bl_cuda *c = be->own;
    if (st != BL_OK) return st;
    if (a->theirs.buf) {
        const int64_t ld = a->logits.stride[0], ldt = a->theirs.stride[0];
        const uintptr_t at = (uintptr_t)bl_cuda_at(&a->logits) | (uintptr_t)bl_cuda_at(&a->theirs);
        bl_cu_followed_grad(c->now,
                            &(bl_cu_followed){.logits = bl_cuda_at(&a->logits),
                                              .theirs = bl_cuda_at(&a->theirs),
                                              .target = bl_cuda_at(&a->target),
                                              .grad = bl_cuda_at(&a->grad),
                                              .nll = bl_cuda_at(&a->nll),
                                              .kl = bl_cuda_at(&a->kl),
                                              .ld = ld,
                                              .ldt = ldt,
                                              .ldg = a->grad.stride[0],
                                              .vocab = a->vocab,
                                              .columns = a->logits.dim[1],
                                              .scale = a->scale,
                                              .toward = a->toward,
                                              .f32 = a->grad.dtype == BL_F32,
                                              .whole = at % 16 == 0 && (ld | ldt) % 4 == 0},
                            a->logits.dim[0]);
        return bl_cuda_launched(be, "loss_grad", e);
    }
    bl_cu_loss_grad(c->now, bl_cuda_at(&a->logits), a->logits.stride[0], a->logits.dim[0], a->vocab, a->logits.dim[1],
                    bl_cuda_at(&a->target), a->scale, bl_cuda_at(&a->grad), a->grad.dtype == BL_F32, a->grad.stride[0],
                    bl_cuda_at(&a->nll));
    return bl_cuda_launched(be, "loss_grad", e);
}

/* One transform turned around, f32 rows from `from` into `to`. */
static bl_status turn_back(bl_backend *be, const bl_transform *t, float *from, float *to, int64_t wide, int64_t rows,
                           bl_err *e)
{
    bl_status st = BL_OK;
    bl_cuda *c = be->own;
    const void *data = bl_cuda_at(&t->data);
    const int8_t *factor;
    switch (t->kind) {
    case BL_T_SCALE:
        bl_cu_gather(c->now, from, wide * (int64_t)sizeof *from, to, wide * (int64_t)sizeof *to,
                     t->in * (int64_t)sizeof *to, NULL, NULL, rows);
        bl_cu_scale_rows(c->now, to, wide, data, rows, t->in);
        break;
    case BL_T_PERMUTE:
        if (t->data.ndim == 2) bl_cu_reassemble_back(c->now, from, to, wide, data, t->data.dim[0], rows, t->in);
        else bl_cu_permute_back(c->now, from, wide, to, wide, data, rows, t->in, t->out);
        break;
    case BL_T_ROTATE: bl_cu_rotate_rows(c->now, from, wide, to, wide, data, t->data.dim[1], true, rows, t->in); break;
    case BL_T_HADAMARD: {
        int64_t n = data ? bl_tensor_count(&t->data) : t->in, order = bl_hadamard_order(n);
        BL_TRY(bl_cuda_factor(be, order, &factor, e));
        for (int64_t k = 0; k < t->in; k += n) {
            bl_cu_hadamard_f32(c->now, from + k, wide, to + k, wide, factor, order, true, rows, n);
            if (data) bl_cu_scale_rows(c->now, to + k, wide, data, rows, n);
        }
        break;
    }
    }
    BL_TRY(bl_cuda_launched(be, "transform_grad", e));
out:
    return st;
}

bl_status bl_cuda_transform_grad(bl_backend *be, const bl_transform_grad_args *a, bl_err *e)
{
    enum { BYTES = 256 << 20 }; /* of rows in f32 that are there at once */
    bl_status st = BL_OK;
    bl_cuda *c = be->own;
    int64_t wide = a->dy.dim[1];
    BL_TRY(bl_check_transform_grad(be, a, e));
    if (bl_cuda_scales_alone(be, a->t, a->n_t, &a->dy, &a->dx, a->accumulate))
        return bl_cuda_launched(be, "transform_grad", e);
    for (int i = 0; i < a->n_t; i++) wide = BL_MAX(wide, a->t[i].in);
    int64_t at_once = BL_MIN(BL_MAX(BYTES / (wide * (int64_t)sizeof(float)), 1), BL_MAX(a->dy.dim[0], 1));
    void *from, *to, *was;
    BL_TRY(bl_cuda_need(be, BL_SCRATCH_ROWS, (uint64_t)(at_once * wide) * sizeof(float), &from, e));
    BL_TRY(bl_cuda_need(be, BL_SCRATCH_ROWS2, (uint64_t)(at_once * wide) * sizeof(float), &to, e));
    for (int64_t r = 0; r < a->dy.dim[0]; r += at_once) {
        int64_t n = BL_MIN(at_once, a->dy.dim[0] - r);
        bl_tensor dy = bl_tensor_rows(a->dy, r, n), dx = bl_tensor_rows(a->dx, r, n);
        bl_cu_to_f32(c->now, bl_cuda_at(&dy), dy.stride[0], from, wide, n, dy.dim[1]);
        for (int i = a->n_t - 1; i >= 0; i--) {
            BL_TRY(turn_back(be, &a->t[i], from, to, wide, n, e));
            was = from;
            from = to;
            to = was;
        }
        bl_cu_put_rows(c->now, from, wide, bl_cuda_at(&dx), false, dx.stride[0], n, dx.dim[1], a->accumulate);
        BL_TRY(bl_cuda_launched(be, "transform_grad", e));
    }
out:
    return st;
}
