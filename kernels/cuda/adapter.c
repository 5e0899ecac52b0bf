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
                                          .scale = a->scale});
    return bl_cuda_launched(be, "dora", e);
}

bl_status bl_cuda_dora_grad(bl_backend *be, const bl_dora_grad_args *a, bl_err *e)
{
    bl_status st = bl_check_dora_grad(be, a, e);
    bl_cuda *c = be->own;
    if (st != BL_OK) return st;
    bl_cu_dora_back(c->now, &(bl_cu_dora_grad){.z = bl_cuda_at(&a->z),
                                               .dz = bl_cuda_at(&a->dz),
                                               .f32 = a->dz.dtype == BL_F32,
                                               .b = bl_cuda_at(&a->b),
                                               .dy = bl_cuda_at(&a->dy),
                                               .norm = bl_cuda_at(&a->norm),
                                               .by = bl_cuda_at(&a->by),
                                               .db = bl_cuda_at(&a->db),
                                               .dm = bl_cuda_at(&a->dm),
                                               .ldz = a->z.stride[0],
                                               .lddz = a->dz.stride[0],
                                               .ldb = a->b.stride[0],
                                               .lddy = a->dy.stride[0],
                                               .lddb = a->db.stride[0],
                                               .rows = a->z.dim[0],
                                               .out = a->b.dim[0],
                                               .rank = a->b.dim[1]});
    return bl_cuda_launched(be, "dora_grad", e);
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
