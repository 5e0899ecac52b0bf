/* shared_weight.c - matrices on the backend, scaled weights, and the error of a stored one. */
#include "shared_weight.h"
#include "kernels/dense.h"

bl_status bl_matrix_new(const bl_method_run *r, bl_dtype type, int64_t rows, int64_t cols, bl_tensor *out, bl_err *e)
{
    bl_buffer *b;
    bl_status st = r->ops->buffer_new(r->be, (uint64_t)(rows * cols) * bl_dtype_bytes(type), &b, e);
    if (st == BL_OK) *out = bl_tensor_2d(b, 0, type, rows, cols);
    return st;
}

bl_status bl_vector_new(const bl_method_run *r, bl_dtype type, int64_t n, bl_tensor *out, bl_err *e)
{
    bl_buffer *b;
    bl_status st = r->ops->buffer_new(r->be, (uint64_t)n * bl_dtype_bytes(type), &b, e);
    if (st == BL_OK) *out = bl_tensor_1d(b, 0, type, n);
    return st;
}

bl_status bl_list_new(const bl_method_run *r, const float *v, int64_t n, bl_tensor *out, bl_err *e)
{
    bl_tensor t;
    bl_status st = bl_vector_new(r, BL_F32, n, &t, e);
    if (st != BL_OK) return st;
    st = r->ops->upload(r->be, &t, v, e);
    if (st == BL_OK) *out = t;
    else r->ops->buffer_free(t.buf);
    return st;
}

void bl_matrix_free(const bl_method_run *r, bl_tensor *t)
{
    r->ops->buffer_free(t->buf);
    *t = (bl_tensor){0};
}

static bl_status rescale_bias(const bl_method_run *r, bl_linear *lin, const float *rows, bl_err *e)
{
    bl_status st = BL_OK;
    bl_tensor bias = {0};
    float *v = bl_new((size_t)lin->out, sizeof *v, e);
    if (!v) return BL_E_NOMEM;
    BL_TRY(r->ops->download(r->be, &lin->bias, v, e));
    for (int64_t i = 0; i < lin->out; i++) v[i] *= rows[i];
    BL_TRY(bl_list_new(r, v, lin->out, &bias, e));
    bl_linear_set_bias(lin, bias);
out:
    bl_free(v);
    return st;
}

bl_status bl_linear_rescale(const bl_method_run *r, bl_linear *lin, const float *rows, const float *cols, bl_err *e)
{
    bl_status st = BL_OK;
    bl_tensor dense = {0}, by_rows = {0}, by_cols = {0};
    bl_weight w = {0};
    bl_shape shape = {.out = lin->out, .in = bl_linear_width(lin)};

    if (rows) BL_TRY(bl_list_new(r, rows, shape.out, &by_rows, e));
    if (cols) BL_TRY(bl_list_new(r, cols, shape.in, &by_cols, e));
    BL_TRY(bl_linear_dense(r->be, lin, &dense, e));
    BL_TRY(bl_weight_new(r->be, bl_format_find("fp32"), &shape, &w, e));
    BL_TRY(r->ops->scale(r->be, &(bl_scale_args){.x = dense, .y = w.part[0], .rows = by_rows, .cols = by_cols}, e));
    BL_TRY(r->ops->sync(r->be, e));
    if (rows && lin->bias.ndim) BL_TRY(rescale_bias(r, lin, rows, e));
    bl_linear_set_weight(lin, &w);
out:
    bl_weight_free(&w);
    bl_matrix_free(r, &dense);
    bl_matrix_free(r, &by_rows);
    bl_matrix_free(r, &by_cols);
    return st;
}

bl_status bl_lowrank_add(const bl_method_run *r, const bl_lowrank *a, bl_tensor w, bl_err *e)
{
    bl_status st = BL_OK;
    bl_backend *be = r->be;
    int64_t rank = a->a.dim[0], out = a->b.dim[0];
    uint64_t wide = ((uint64_t)(out * rank) * sizeof(float) + 63) / 64 * 64;
    bl_buffer *buf = NULL;

    BL_TRY(be->ops->buffer_new(be, wide + (uint64_t)rank * sizeof(float), &buf, e));
    bl_tensor b = bl_tensor_2d(buf, 0, be->act, out, rank), s = bl_tensor_1d(buf, wide, BL_F32, rank);
    BL_TRY(be->ops->fill(be, &s, (double)a->scale, e));
    BL_TRY(be->ops->scale(be, &(bl_scale_args){.x = a->b, .y = b, .cols = s}, e));
    BL_TRY(bl_dense_product(be, a->a, b, w, true, true, e));
    BL_TRY(be->ops->sync(be, e)); /* before buf goes */
out:
    be->ops->buffer_free(buf);
    return st;
}

bl_status bl_norm_divide(const bl_method_run *r, bl_norm *norm, const float *s, bl_err *e)
{
    bl_status st = BL_OK;
    int64_t n = bl_tensor_count(&norm->weight);
    bl_tensor t = {0};
    float *v = bl_new((size_t)n, sizeof *v, e);
    if (!v) return BL_E_NOMEM;
    BL_TRY(r->ops->download(r->be, &norm->weight, v, e));
    for (int64_t i = 0; i < n; i++) v[i] /= s[i];
    BL_TRY(bl_list_new(r, v, n, &t, e));
    bl_norm_set(norm, t);
out:
    bl_free(v);
    return st;
}

bl_status bl_plain_linears(const bl_method_run *r, uint32_t roles, const char *why, bl_err *e)
{
    for (size_t i = 0; i < r->model->n_linears; i++) {
        const bl_linear *l = &r->model->linears[i];
        if (roles && !(roles & BL_ROLE_BIT(l->role))) continue;
        if (l->n_transforms || l->n_after || l->n_adapters || l->act.bits)
            return bl_fail(e, BL_E_UNSUPPORTED, "%s has %s; %s", l->name,
                           l->n_adapters ? "an adapter" : "transformed or quantized inputs or outputs", why);
    }
    return BL_OK;
}

void bl_int_target(const bl_linear *lin, int64_t wbits, int64_t group, bool symmetric, bl_dtype scale,
                   const bl_format **format, bl_shape *shape)
{
    char name[8];
    const int64_t in = bl_linear_width(lin);
    snprintf(name, sizeof name, "int%d", (int)wbits);
    *format = bl_format_find(name);
    *shape = (bl_shape){.out = lin->out,
                        .in = in,
                        .group = group > 0 ? group : in,
                        .zero = symmetric ? BL_ZERO_NONE : BL_ZERO_PACKED,
                        .scale = scale};
}

bool bl_takes_linear(const bl_method_run *r, const bl_linear *lin, bool head, bool embeddings)
{
    if (lin->block >= 0) return true;
    if (lin->role == BL_ROLE_HEAD) return head;
    return embeddings || (head && !r->model->head.weight.format);
}

bool bl_int_of_block(const bl_linear *lin, int64_t wbits, int64_t group, bool symmetric, bl_dtype scale,
                     const bl_format **format, bl_shape *shape)
{
    if (lin->block < 0) return false;
    bl_int_target(lin, wbits, group, symmetric, scale, format, shape);
    return true;
}

bl_status bl_weight_error(const bl_method_run *r, bl_tensor before, const bl_weight *after, bl_tensor h,
                          bl_layer_stat *stat, bl_err *e)
{
    bl_status st = BL_OK;
    int64_t out = before.dim[0], in = before.dim[1];
    bl_tensor now = {0};
    double error, power, out_error, out_power;

    BL_TRY(bl_matrix_new(r, BL_F32, out, in, &now, e));
    BL_TRY(r->ops->unpack(r->be, &(bl_unpack_args){.w = after, .rows = out, .y = now}, e));
    BL_TRY(r->ops->sq_error(r->be, &(bl_sq_error_args){.x = before, .y = now, .sum = &error}, e));
    BL_TRY(r->ops->sq_error(r->be, &(bl_sq_error_args){.x = before, .sum = &power}, e));
    if (h.buf) {
        BL_TRY(r->ops->quad_form(r->be, &(bl_quad_form_args){.x = before, .y = now, .h = h, .sum = &out_error}, e));
        BL_TRY(r->ops->quad_form(r->be, &(bl_quad_form_args){.x = before, .h = h, .sum = &out_power}, e));
    }
    BL_TRY(r->ops->sync(r->be, e));
    stat->mse = error / ((double)out * (double)in);
    stat->nmse = power > 0 ? error / power : 0;
    if (h.buf) stat->out_nmse = out_power > 0 ? out_error / out_power : 0;
out:
    bl_matrix_free(r, &now);
    return st;
}
