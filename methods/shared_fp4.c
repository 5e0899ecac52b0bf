/* shared_fp4.c - which linears become 4-bit floats, and inputs that are turned in blocks before that. */
#include "shared_fp4.h"
#include "shared_weight.h"

bool bl_fp4_takes(const bl_method_run *r, const bl_fp4_opts *o, const bl_linear *lin)
{
    return bl_takes_linear(r, lin, o->head, o->embeddings);
}

int64_t bl_fp4_block(const bl_linear *lin, int64_t n)
{
    int64_t width = bl_linear_width(lin), b = 1;
    if (n < 1 || lin->block < 0) return 1;
    while (n % (2 * b) == 0 && width % (2 * b) == 0) b *= 2;
    return b;
}

static bl_transform transform_of(const bl_linear *lin, bl_tensor ones)
{
    int64_t n = bl_linear_width(lin);
    return (bl_transform){.kind = BL_T_HADAMARD, .in = n, .out = n, .data = ones};
}

bl_status bl_fp4_turn(const bl_method_run *r, bl_linear *lin, int64_t b, bl_err *e)
{
    bl_status st = BL_OK;
    int64_t in = bl_linear_width(lin);
    bl_tensor dense = {0}, ones = {0};
    bl_weight w = {0};
    if (b == 1) return BL_OK;
    BL_TRY(bl_linear_dense(r->be, lin, &dense, e));
    BL_TRY(bl_weight_new(r->be, bl_format_find("fp32"), &(bl_shape){.out = lin->out, .in = in}, &w, e));
    bl_tensor x = bl_tensor_2d(dense.buf, dense.offset, BL_F32, lin->out * in / b, b),
              y = bl_tensor_2d(w.part[0].buf, w.part[0].offset, BL_F32, lin->out * in / b, b);
    BL_TRY(r->ops->hadamard(r->be, &(bl_hadamard_args){.x = x, .y = y}, e));
    BL_TRY(bl_vector_new(r, BL_F32, b, &ones, e));
    BL_TRY(r->ops->fill(r->be, &ones, 1, e));
    BL_TRY(r->ops->sync(r->be, e));
    bl_transform t = transform_of(lin, ones);
    BL_TRY(bl_linear_add_transform(lin, &t, e));
    ones = (bl_tensor){0}; /* the linear's now */
    bl_linear_set_weight(lin, &w);
out:
    bl_weight_free(&w);
    bl_matrix_free(r, &dense);
    bl_matrix_free(r, &ones);
    return st;
}

bl_status bl_fp4_turn_outline(bl_linear *lin, int64_t b)
{
    bl_transform t = transform_of(lin, bl_tensor_1d(NULL, 0, BL_F32, b));
    return b == 1 ? BL_OK : bl_linear_add_transform(lin, &t, NULL);
}

bl_status bl_fp4_check(const bl_method_run *r, bool activations, bl_err *e)
{
    if (!activations || !r->be || r->ops->act_fp4) return BL_OK;
    return bl_fail(e, BL_E_UNSUPPORTED, "activations that are 4-bit floats are not there on %s", r->ops->name);
}
