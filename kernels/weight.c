/* weight.c - a weight on a backend: the parts of its format in one buffer.
 *
 * Parts begin at multiples of 64 bytes, and 64 bytes after the last one belong to the buffer too, so a kernel may load
 * a whole vector at the end of any part.
 */
#include "ops.h"

enum { ALIGN = 64, AFTER = 64 };

bl_status bl_weight_new(bl_backend *be, const bl_format *f, const bl_shape *g, bl_weight *out, bl_err *e)
{
    bl_status st = BL_OK;
    bl_weight w = {.format = f, .shape = *g};
    bl_part_spec spec[BL_MAX_PARTS];
    uint64_t at[BL_MAX_PARTS], end = 0;

    BL_TRY(f->check(f, g, e)); /* the bytes of all parts fit 63 bits, so the sums below cannot wrap */
    w.n_parts = f->parts(f, g, spec);
    for (int i = 0; i < w.n_parts; i++) {
        at[i] = (end + ALIGN - 1) / ALIGN * ALIGN;
        end = at[i] + (uint64_t)spec[i].rows * (uint64_t)spec[i].cols * bl_dtype_bytes(spec[i].dtype);
    }
    BL_TRY(be->ops->buffer_new(be, end + AFTER, &w.owned, e));
    for (int i = 0; i < w.n_parts; i++)
        w.part[i] = bl_tensor_2d(w.owned, at[i], spec[i].dtype, spec[i].rows, spec[i].cols);
    *out = w;
out:
    return st;
}

void bl_weight_free(bl_weight *w)
{
    if (!w) return;
    if (w->owned) w->owned->backend->ops->buffer_free(w->owned);
    *w = (bl_weight){0};
}

uint64_t bl_weight_bytes(const bl_weight *w) { return w->format ? bl_format_bytes(w->format, &w->shape) : 0; }
