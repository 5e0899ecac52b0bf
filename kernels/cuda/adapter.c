/* adapter.c - what adapters are made of, on the device (ops_adapter.h). */
#include "cuda.h"

bl_status bl_cuda_dora(bl_backend *be, const bl_dora_args *a, bl_err *e)
{
    bl_status st = bl_check_dora(a, e);
    bl_cuda *c = be->own;
    if (st != BL_OK) return st;
    bl_cu_dora_rows(c->now, &(bl_cu_dora){.sq = bl_cuda_at(&a->sq),
                                          .m = bl_cuda_at(&a->m),
                                          .cross = bl_cuda_at(&a->cross),
                                          .gram = bl_cuda_at(&a->gram),
                                          .b = bl_cuda_at(&a->b),
                                          .norm = bl_cuda_at(&a->norm),
                                          .by = bl_cuda_at(&a->by),
                                          .y = bl_cuda_at(&a->y),
                                          .ldc = a->cross.stride[0],
                                          .ldg = a->gram.stride[0],
                                          .ldb = a->b.stride[0],
                                          .ldy = a->y.stride[0],
                                          .out = a->b.dim[0],
                                          .rank = a->b.dim[1],
                                          .scale = a->scale,
                                          .least = BL_DORA_LEAST});
    return bl_cuda_launched(be, "dora", e);
}

bl_status bl_cuda_dora_grad(bl_backend *be, const bl_dora_grad_args *a, bl_err *e)
{
    bl_status st = BL_OK;
    bl_cuda *c = be->own;
    void *parts;
    BL_TRY(bl_check_dora_grad(be, a, e));
    const int64_t rows = a->y.dim[0], out = a->of_b.dim[0];
    BL_TRY(bl_cuda_need(be, BL_SCRATCH_PARTS, (uint64_t)(bl_cu_dora_parts(rows) * out) * sizeof(float) + 8, &parts, e));
    bl_cu_dora_back(c->now, &(bl_cu_dora_grad){.y = bl_cuda_at(&a->y),
                                               .dy = bl_cuda_at(&a->dy),
                                               .bias = bl_cuda_at(&a->bias),
                                               .m = bl_cuda_at(&a->m),
                                               .by = bl_cuda_at(&a->by),
                                               .of_b = bl_cuda_at(&a->of_b),
                                               .db = bl_cuda_at(&a->db),
                                               .dm = bl_cuda_at(&a->dm),
                                               .parts = parts,
                                               .ldy = a->y.stride[0],
                                               .lddy = a->dy.stride[0],
                                               .ldb = a->of_b.stride[0],
                                               .lddb = a->db.stride[0],
                                               .rows = rows,
                                               .out = out,
                                               .rank = a->of_b.dim[1],
                                               .least = BL_DORA_LEAST});
    st = bl_cuda_launched(be, "dora_grad", e);
out:
    return st;
}

bl_status bl_cuda_pool(bl_backend *be, const bl_pool_args *a, bl_err *e)
{
    bl_status st = bl_check_pool(a, e);
    bl_cuda *c = be->own;
    if (st != BL_OK) return st;
    bl_cu_pool(c->now, bl_cuda_at(&a->x), a->x.stride[0], bl_cuda_at(&a->y), a->y.stride[0], a->y.dim[0], a->y.dim[1],
               a->group, (float)a->by);
    return bl_cuda_launched(be, "pool", e);
}

bl_status bl_cuda_pool_grad(bl_backend *be, const bl_pool_grad_args *a, bl_err *e)
{
    bl_status st = bl_check_pool_grad(a, e);
    bl_cuda *c = be->own;
    if (st != BL_OK) return st;
    bl_cu_pool_back(c->now, bl_cuda_at(&a->dy), a->dy.stride[0], bl_cuda_at(&a->dx), a->dx.stride[0], a->dy.dim[0],
                    a->dy.dim[1], a->dx.dim[1], a->group, a->by);
    return bl_cuda_launched(be, "pool_grad", e);
}

bl_status bl_cuda_band(bl_backend *be, const bl_band_args *a, bl_err *e)
{
    bl_status st = bl_check_band(a, e);
    bl_cuda *c = be->own;
    if (st != BL_OK) return st;
    bl_cu_band(c->now, bl_cuda_at(&a->x), a->x.stride[0], bl_cuda_at(&a->y), a->y.stride[0], bl_cuda_at(&a->beta),
               a->x.dim[0], a->x.dim[1], a->group, a->by, a->tall);
    return bl_cuda_launched(be, "band", e);
}

bl_status bl_cuda_band_grad(bl_backend *be, const bl_band_grad_args *a, bl_err *e)
{
    bl_status st = bl_check_band_grad(a, e);
    bl_cuda *c = be->own;
    if (st != BL_OK) return st;
    bl_cu_band_back(c->now, bl_cuda_at(&a->dy), a->dy.stride[0], bl_cuda_at(&a->dx), a->dx.stride[0],
                    bl_cuda_at(&a->dbeta), a->dy.dim[0], a->dy.dim[1], a->group, a->by, a->tall);
    return bl_cuda_launched(be, "band_grad", e);
}

/* All A one below the other, so that x is read once there and once back, and dx written once; the inner products of
 * adapter i are columns at[i] .. of `work`, first h, then g. */
bl_status bl_cuda_lowrank_grad(bl_backend *be, const bl_lowrank_grad_args *a, bl_err *e)
{
    bl_status st = BL_OK;
    bl_cuda *c = be->own;
    const int64_t rows = a->x.dim[0], in = a->x.dim[1], ld_in = bl_lowrank_width(in), ldx = a->x.stride[0];
    int64_t at[BL_LOWRANK_MOST + 1] = {0}, b_at[BL_LOWRANK_MOST + 1] = {0};
    bl_cu_narrow narrow = {0};
    void *slab;

    BL_TRY(bl_check_lowrank_grad(be, a, e));
    if (!rows) return BL_OK;
    for (int i = 0; i < a->n; i++) {
        const int64_t width = bl_lowrank_width(a->of[i].a.dim[0]);
        at[i + 1] = at[i] + width;
        b_at[i + 1] = b_at[i] + a->of[i].b.dim[0] * width;
    }
    const int64_t all = at[a->n];
    const uint64_t narrowed = (uint64_t)(all * ld_in + b_at[a->n]) * sizeof(uint16_t);
    BL_TRY(bl_cuda_need(be, BL_SCRATCH_SLAB, narrowed + (uint64_t)(all * in) * sizeof(float), &slab, e));
    float *da = (float *)((char *)slab + narrowed); /* of all */
    uint16_t *A = slab, *B = A + all * ld_in, *work = bl_cuda_at(&a->work), *x = bl_cuda_at(&a->x);
    for (int i = 0; i < a->n; i++) {
        const int64_t rank = a->of[i].a.dim[0], width = at[i + 1] - at[i], out = a->of[i].b.dim[0];
        bl_cu_narrow_add(&narrow, bl_cuda_at(&a->of[i].a), a->of[i].a.stride[0], A + at[i] * ld_in, ld_in, rank, width,
                         in, 1);
        bl_cu_narrow_add(&narrow, bl_cuda_at(&a->of[i].b), a->of[i].b.stride[0], B + b_at[i], width, out, out, rank,
                         (float)a->of[i].scale);
    }
    bl_cu_to_bf16_all(c->now, &narrow);
    BL_TRY(bl_cuda_gemm(be, x, ldx, A, ld_in, false, rows, all, in, work, false, all, false, e));
    for (int i = 0; i < a->n; i++)
        BL_TRY(bl_cuda_outer(be, work + at[i], all, bl_cuda_at(&a->of[i].dy), a->of[i].dy.stride[0], rows,
                             a->of[i].a.dim[0], a->of[i].b.dim[0], a->of[i].scale, bl_cuda_at(&a->of[i].db), true,
                             a->of[i].db.stride[0], false, e));
    for (int i = 0; i < a->n; i++) {
        const int64_t rank = a->of[i].a.dim[0], out = a->of[i].b.dim[0], ld = at[i + 1] - at[i];
        BL_TRY(bl_cuda_gemm(be, bl_cuda_at(&a->of[i].dy), a->of[i].dy.stride[0], B + b_at[i], ld, true, rows, out, rank,
                            work + at[i], false, all, false, e));
        if (a->n == 1)
            BL_TRY(bl_cuda_outer(be, x, ldx, work, all, rows, in, rank, 1, bl_cuda_at(&a->of[i].da), true,
                                 a->of[i].da.stride[0], false, e));
    }
    if (a->n > 1) BL_TRY(bl_cuda_outer(be, x, ldx, work, all, rows, in, all, 1, da, true, in, true, e));
    for (int i = 0; a->n > 1 && i < a->n; i++)
        bl_cu_put_rows(c->now, da + at[i] * in, in, bl_cuda_at(&a->of[i].da), true, a->of[i].da.stride[0],
                       a->of[i].a.dim[0], in, true);
    if (a->dx.buf)
        BL_TRY(bl_cuda_gemm(be, work, all, A, ld_in, true, rows, all, in, bl_cuda_at(&a->dx), false, a->dx.stride[0],
                            a->accumulate, e));
    BL_TRY(bl_cuda_launched(be, "lowrank_grad", e));
out:
    return st;
}
