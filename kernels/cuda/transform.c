/* transform.c - transforms of rows of activations: T x in f32, and as an op of its own. */
#include "cuda.h"
#include "reassemble.h"

int64_t bl_cuda_widest(const bl_tensor *x, const bl_transform *t, int n_t)
{
    int64_t wide = x->dim[1];
    for (int i = 0; i < n_t; i++) wide = BL_MAX(wide, t[i].out);
    return wide;
}

bl_status bl_cuda_turn(bl_backend *be, float *from, float *to, int64_t wide, int64_t rows, const bl_transform *t,
                       int n_t, float **out, bl_err *e)
{
    bl_status st = BL_OK;
    bl_cuda *c = be->own;
    for (int i = 0; i < n_t; i++) {
        const void *data = bl_cuda_at(&t[i].data);
        const int8_t *factor;
        switch (t[i].kind) {
        case BL_T_SCALE: bl_cu_scale_rows(c->now, from, wide, data, rows, t[i].in); continue;
        case BL_T_PERMUTE:
            if (t[i].data.ndim == 2)
                bl_cu_reassemble_rows(c->now, from, to, wide, data, t[i].data.dim[0], rows, t[i].in);
            else bl_cu_permute_rows(c->now, from, wide, to, wide, data, rows, t[i].out);
            break;
        case BL_T_ROTATE:
            bl_cu_rotate_rows(c->now, from, wide, to, wide, data, t[i].data.dim[1], false, rows, t[i].in);
            break;
        case BL_T_HADAMARD: {
            int64_t n = data ? bl_tensor_count(&t[i].data) : t[i].in, order = bl_hadamard_order(n);
            BL_TRY(bl_cuda_factor(be, order, &factor, e));
            for (int64_t k = 0; k < t[i].in; k += n) {
                if (data) bl_cu_scale_rows(c->now, from + k, wide, data, rows, n);
                bl_cu_hadamard_f32(c->now, from + k, wide, to + k, wide, factor, order, false, rows, n);
            }
            break;
        }
        }
        float *done = to;
        to = from;
        from = done;
    }
    BL_TRY(bl_cuda_launched(be, "transform", e));
    *out = from;
out:
    return st;
}

bl_status bl_cuda_transformed(bl_backend *be, const bl_tensor *x, const bl_transform *t, int n_t, float **out,
                              bl_err *e)
{
    bl_status st = BL_OK;
    bl_cuda *c = be->own;
    int64_t rows = x->dim[0], wide = bl_cuda_widest(x, t, n_t);
    void *a, *b = NULL;
    BL_TRY(bl_cuda_need(be, BL_SCRATCH_ROWS, (uint64_t)(rows * wide) * sizeof(float), &a, e));
    if (n_t) BL_TRY(bl_cuda_need(be, BL_SCRATCH_ROWS2, (uint64_t)(rows * wide) * sizeof(float), &b, e));
    bl_cu_to_f32(c->now, bl_cuda_at(x), x->stride[0], a, wide, rows, x->dim[1]);
    BL_TRY(bl_cuda_turn(be, a, b, wide, rows, t, n_t, out, e));
out:
    return st;
}

bool bl_cuda_scales_alone(bl_backend *be, const bl_transform *t, int n_t, const bl_tensor *x, const bl_tensor *y,
                          bool accumulate)
{
    bl_cuda *c = be->own;
    if (n_t != 1 || t->kind != BL_T_SCALE) return false;
    bl_cu_scale_outputs(c->now, &(bl_cu_scaled){.x = bl_cuda_at(x),
                                                .y = bl_cuda_at(y),
                                                .by = bl_cuda_at(&t->data),
                                                .ldx = x->stride[0],
                                                .ldy = y->stride[0],
                                                .rows = x->dim[0],
                                                .n = x->dim[1],
                                                .accumulate = accumulate});
    return true;
}

bl_status bl_cuda_transform(bl_backend *be, const bl_transform_args *a, bl_err *e)
{
    bl_status st = BL_OK;
    bl_cuda *c = be->own;
    BL_TRY(bl_check_transform(be, a, e));
    if (bl_cuda_scales_alone(be, a->t, a->n_t, &a->x, &a->y, false)) return bl_cuda_launched(be, "transform", e);
    int64_t wide = bl_cuda_widest(&a->x, a->t, a->n_t),
            at_once = BL_MAX(BL_CUDA_INPUT_BYTES / (wide * (int64_t)sizeof(float)), 1);
    for (int64_t r = 0; r < a->x.dim[0]; r += at_once) {
        int64_t n = BL_MIN(at_once, a->x.dim[0] - r);
        bl_tensor x = bl_tensor_rows(a->x, r, n), y = bl_tensor_rows(a->y, r, n);
        float *t;
        BL_TRY(bl_cuda_transformed(be, &x, a->t, a->n_t, &t, e));
        bl_cu_to_bf16(c->now, t, wide, bl_cuda_at(&y), y.stride[0], n, y.dim[1], 1);
        BL_TRY(bl_cuda_launched(be, "transform", e));
    }
out:
    return st;
}
