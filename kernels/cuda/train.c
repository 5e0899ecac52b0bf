/* train.c - dropout, optimizer steps and learned step sizes on the device (ops_train.h). */
#include "cuda.h"
#include <math.h>

bl_status bl_cuda_dropout(bl_backend *be, const bl_dropout_args *a, bl_err *e)
{
    bl_status st = bl_check_dropout(be, a, e);
    bl_cuda *c = be->own;
    if (st != BL_OK) return st;
    bl_cu_dropout(c->now, bl_cuda_at(&a->x), a->x.stride[0], bl_cuda_at(&a->y), a->y.stride[0], a->x.dim[0],
                  a->x.dim[1], a->row0, a->p, a->key, a->stream, a->accumulate);
    return bl_cuda_launched(be, "dropout", e);
}

bl_status bl_cuda_round_random(bl_backend *be, const bl_round_random_args *a, bl_err *e)
{
    bl_status st = bl_check_round_random(a, e);
    bl_cuda *c = be->own;
    bl_cu_weight w;
    if (st != BL_OK) return st;
    BL_TRY(bl_cuda_weight(be, a->w, &w, e));
    bl_cu_round_random(c->now, bl_cuda_at(&a->x), &w, bl_cuda_at(&a->w->part[0]), a->key, a->stream);
    st = bl_cuda_launched(be, "round_random", e);
out:
    return st;
}

/* Of AdamW: what a parameter keeps of itself, how far its moments move it, what second moments are divided by. */
static float kept(const bl_adamw_args *o) { return (float)(1 - o->lr * o->decay); }
static float stride(const bl_adamw_args *o) { return (float)(o->lr / (1 - pow(o->beta1, (double)o->step))); }
static float spread(const bl_adamw_args *o) { return (float)sqrt(1 - pow(o->beta2, (double)o->step)); }

/* n of them, as many in a launch as its arguments hold. */
bl_status bl_cuda_adamw_all(bl_backend *be, const bl_adamw_all_args *a, bl_err *e)
{
    bl_status st = bl_check_adamw_all(a, e);
    bl_cuda *c = be->own;
    bl_cu_adamw_all k;
    if (st != BL_OK) return st;
    for (size_t i = 0; i < a->n; i += (size_t)k.count) {
        const bl_adamw_args *o = a->of + i;
        k = (bl_cu_adamw_all){.count = (int)BL_MIN(a->n - i, (size_t)BL_CU_ADAMW_MOST),
                              .b1 = (float)o->beta1,
                              .b2 = (float)o->beta2,
                              .new1 = (float)(1 - o->beta1),
                              .new2 = (float)(1 - o->beta2),
                              .by = (float)o->grad_scale,
                              .eps = (float)o->eps,
                              .root = spread(o),
                              .clear = a->clear};
        for (int j = 0; j < k.count; j++, o++) {
            k.of[j].p = bl_cuda_at(&o->p);
            k.of[j].grad = bl_cuda_at(&o->grad);
            k.of[j].m = bl_cuda_at(&o->m);
            k.of[j].v = bl_cuda_at(&o->v);
            k.of[j].n = bl_tensor_count(&o->p);
            k.of[j].shrink = kept(o);
            k.of[j].step = stride(o);
            k.of[j].first = k.blocks;
            k.blocks += (unsigned)((k.of[j].n + BL_CU_ADAMW_PIECE - 1) / BL_CU_ADAMW_PIECE);
        }
        bl_cu_adamw_steps(c->now, &k);
    }
    return bl_cuda_launched(be, "adamw", e);
}

bl_status bl_cuda_adamw(bl_backend *be, const bl_adamw_args *a, bl_err *e)
{
    return bl_cuda_adamw_all(be, &(bl_adamw_all_args){.of = a, .n = 1}, e);
}

static int64_t pieces(const bl_tensor *x) { return (bl_tensor_count(x) + BL_CU_SUMS_PIECE - 1) / BL_CU_SUMS_PIECE; }

bl_status bl_cuda_sq_sums(bl_backend *be, const bl_sq_sums_args *a, bl_err *e)
{
    bl_status st = BL_OK;
    bl_cuda *c = be->own;
    bl_cu_sums k;
    int64_t most = 0;
    void *parts;
    BL_TRY(bl_check_sq_sums(a, e));
    for (size_t i = 0; i < a->n; i++) most += pieces(&a->x[i]);
    BL_TRY(bl_cuda_need(be, BL_SCRATCH_SOLVE, (uint64_t)most * sizeof(double), &parts, e));
    for (size_t i = 0; i < a->n; i += (size_t)k.count) {
        k = (bl_cu_sums){.count = (int)BL_MIN(a->n - i, (size_t)BL_CU_SUMS_MOST),
                         .parts = parts,
                         .to = (double *)bl_cuda_at(&a->to) + i};
        for (int j = 0; j < k.count; j++) {
            k.of[j].x = bl_cuda_at(&a->x[i + (size_t)j]);
            k.of[j].n = bl_tensor_count(&a->x[i + (size_t)j]);
            k.of[j].first = k.blocks;
            k.blocks += (unsigned)pieces(&a->x[i + (size_t)j]);
        }
        bl_cu_sq_sums(c->now, &k);
    }
    BL_TRY(bl_cuda_launched(be, "sq_sums", e));
out:
    return st;
}

bl_status bl_cuda_adamw8(bl_backend *be, const bl_adamw8_args *a, bl_err *e)
{
    bl_status st = bl_check_adamw8(a, e);
    bl_cuda *c = be->own;
    bl_cu_adamw8 k;
    if (st != BL_OK) return st;
    for (size_t i = 0; i < a->n; i += (size_t)k.count) {
        const bl_adamw8_one *one = a->of + i;
        const bl_adamw_args *o = &one->how;
        k = (bl_cu_adamw8){.count = (int)BL_MIN(a->n - i, (size_t)BL_CU_ADAMW8_MOST),
                           .m_table = bl_cuda_at(&a->m_table),
                           .v_table = bl_cuda_at(&a->v_table),
                           .b1 = (float)o->beta1,
                           .b2 = (float)o->beta2,
                           .new1 = 1 - (float)o->beta1,
                           .new2 = 1 - (float)o->beta2,
                           .by = (float)o->grad_scale,
                           .eps = (float)o->eps,
                           .root = spread(o),
                           .clear = a->clear};
        for (int j = 0; j < k.count; j++, one++) {
            o = &one->how;
            k.of[j].p = bl_cuda_at(&o->p);
            k.of[j].grad = bl_cuda_at(&o->grad);
            k.of[j].m = bl_cuda_at(&o->m);
            k.of[j].v = bl_cuda_at(&o->v);
            k.of[j].m_max = bl_cuda_at(&one->m_max);
            k.of[j].v_max = bl_cuda_at(&one->v_max);
            k.of[j].n = bl_tensor_count(&o->p);
            k.of[j].shrink = kept(o);
            k.of[j].step = stride(o);
            k.of[j].first = k.blocks;
            k.blocks += (unsigned)((k.of[j].n + BL_CU_ADAMW8_PIECE - 1) / BL_CU_ADAMW8_PIECE);
        }
        bl_cu_adamw8_steps(c->now, &k);
    }
    return bl_cuda_launched(be, "adamw8", e);
}

bl_status bl_cuda_grid(bl_backend *be, const bl_grid_args *a, bl_err *e)
{
    bl_status st = bl_check_grid(a, e);
    bl_cuda *c = be->own;
    if (st != BL_OK) return st;
    bl_cu_grid(c->now, &(bl_cu_grid_args){.w = bl_cuda_at(&a->w),
                                          .scale = a->scale.buf ? bl_cuda_at(&a->scale) : NULL,
                                          .offset = a->offset.buf ? bl_cuda_at(&a->offset) : NULL,
                                          .y = bl_cuda_at(&a->y),
                                          .ldw = a->w.stride[0],
                                          .lds = a->scale.stride[0],
                                          .ldo = a->offset.stride[0],
                                          .ldy = a->y.stride[0],
                                          .rows = a->w.dim[0],
                                          .in = a->w.dim[1],
                                          .groups = (a->w.dim[1] + a->grid.group - 1) / a->grid.group,
                                          .group = a->grid.group,
                                          .kind = (int)a->grid.kind,
                                          .bits = a->grid.bits,
                                          .half = a->grid.half});
    return bl_cuda_launched(be, "grid", e);
}

bl_status bl_cuda_grid_grad(bl_backend *be, const bl_grid_grad_args *a, bl_err *e)
{
    bl_status st = bl_check_grid_grad(a, e);
    bl_cuda *c = be->own;
    if (st != BL_OK) return st;
    bl_cu_grid_back(c->now, &(bl_cu_grid_args){.w = bl_cuda_at(&a->w),
                                               .scale = a->scale.buf ? bl_cuda_at(&a->scale) : NULL,
                                               .offset = a->offset.buf ? bl_cuda_at(&a->offset) : NULL,
                                               .dy = bl_cuda_at(&a->dy),
                                               .y = bl_cuda_at(&a->dw),
                                               .dscale = a->dscale.buf ? bl_cuda_at(&a->dscale) : NULL,
                                               .doffset = a->doffset.buf ? bl_cuda_at(&a->doffset) : NULL,
                                               .ldw = a->w.stride[0],
                                               .lds = a->scale.stride[0],
                                               .ldo = a->offset.stride[0],
                                               .ldy = a->dw.stride[0],
                                               .lddy = a->dy.stride[0],
                                               .ldds = a->dscale.stride[0],
                                               .lddo = a->doffset.stride[0],
                                               .rows = a->w.dim[0],
                                               .in = a->w.dim[1],
                                               .groups = (a->w.dim[1] + a->grid.group - 1) / a->grid.group,
                                               .group = a->grid.group,
                                               .kind = (int)a->grid.kind,
                                               .bits = a->grid.bits,
                                               .half = a->grid.half,
                                               .by = (float)a->alpha});
    return bl_cuda_launched(be, "grid_grad", e);
}

bl_status bl_cuda_step_search(bl_backend *be, const bl_step_search_args *a, bl_err *e)
{
    bl_status st = bl_check_step_search(a, e);
    bl_cuda *c = be->own;
    if (st != BL_OK) return st;
    bl_cu_step_search(c->now, bl_cuda_at(&a->w), a->w.stride[0], bl_cuda_at(&a->scale), a->scale.stride[0], a->w.dim[0],
                      a->w.dim[1], a->group, a->bits, a->within);
    return bl_cuda_launched(be, "step_search", e);
}

bl_status bl_cuda_merged_grid(bl_backend *be, const bl_merged_grid_args *a, bl_err *e)
{
    bl_status st = BL_OK;
    bl_cuda *c = be->own;
    void *parts = NULL;
    bl_cu_weight w;
    BL_TRY(bl_check_merged_grid(be, a, e));
    BL_TRY(bl_cuda_weight(be, a->w, &w, e));
    const int64_t group = BL_MIN(a->grid.group, w.in);
    if (a->dy.buf && bl_cu_merged_apart(group))
        BL_TRY(bl_cuda_need(be, BL_SCRATCH_SOLVE, (uint64_t)(w.out * (w.in / 8)) * 2 * sizeof(float), &parts, e));
    bl_cu_merged_grid(c->now, &w,
                      &(bl_cu_merged){.a = bl_cuda_at(&a->a),
                                      .b = bl_cuda_at(&a->b),
                                      .rank = a->a.dim[0],
                                      .by = (float)a->by,
                                      .alpha = (float)a->alpha,
                                      .scale = bl_cuda_at(&a->scale),
                                      .offset = bl_cuda_at(&a->offset),
                                      .dy = bl_cuda_at(&a->dy),
                                      .lds = a->scale.stride[0],
                                      .ldo = a->offset.stride[0],
                                      .y = bl_cuda_at(&a->y),
                                      .parts = parts,
                                      .dscale = bl_cuda_at(&a->dscale),
                                      .doffset = bl_cuda_at(&a->doffset),
                                      .ldds = a->dscale.stride[0],
                                      .lddo = a->doffset.stride[0],
                                      .group = group,
                                      .inside = a->grid.kind == BL_GRID_INSIDE,
                                      .bits = a->grid.bits,
                                      .half = a->grid.half,
                                      .f32 = a->y.dtype == BL_F32});
    st = bl_cuda_launched(be, "merged_grid", e);
out:
    return st;
}
