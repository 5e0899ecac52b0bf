/* load.c - stored bytes to the backend, or decoded on the host; rows of rotary weights into half-split order on the
 * way.
 *
 * Adjacent-pair order has row 2j and 2j+1 of a head where half-split has j and j + head/2, so row r of the HF order is
 * read from bl_rotary_row(t, r); of a bias, element r. All else is a copy. Only what is needed is touched, and mapped
 * pages are given back afterwards.
 */
#include "checkpoint_impl.h"

enum { CHUNK = 4 << 20 }; /* bytes of rows that are gathered at a time */

int64_t bl_rotary_row(const bl_stored *t, int64_t r)
{
    if (t->rotary_heads == 0) return r;
    int64_t head = (t->vector ? t->shape.in : t->shape.out) / t->rotary_heads, h = r / head, j = r % head;
    return h * head + (j < head / 2 ? 2 * j : 2 * (j - head / 2) + 1);
}

void bl_part_read(bl_checkpoint *c, const bl_stored *t, int i, uint64_t from, uint64_t n, void *dst)
{
    const bl_extent *x = &t->part[i];
    if (x->file < 0) bl_synth_bytes(c->synth, t, i, from, n, dst);
    else memcpy(dst, c->map[x->file].data + x->offset + from, n);
    c->bytes_read += n;
}

void bl_rows_read(bl_checkpoint *c, const bl_stored *t, int i, const bl_part_spec *spec, int64_t row0, int64_t rows,
                  void *dst)
{
    uint64_t row_bytes = (uint64_t)spec->cols * bl_dtype_bytes(spec->dtype);
    if (t->vector && t->rotary_heads) { /* a bias: each element is a row of its linear */
        row_bytes = bl_dtype_bytes(spec->dtype);
        row0 *= spec->cols;
        rows *= spec->cols;
    }
    if (t->rotary_heads == 0) {
        bl_part_read(c, t, i, (uint64_t)row0 * row_bytes, (uint64_t)rows * row_bytes, dst);
        return;
    }
    for (int64_t r = 0; r < rows; r++)
        bl_part_read(c, t, i, (uint64_t)bl_rotary_row(t, row0 + r) * row_bytes, row_bytes,
                     (uint8_t *)dst + (uint64_t)r * row_bytes);
}

static void drop(const bl_checkpoint *c, const bl_stored *t)
{
    for (int i = 0; i < t->n_parts; i++)
        if (t->part[i].file >= 0) bl_map_drop(&c->map[t->part[i].file], t->part[i].offset, t->part[i].bytes);
}

/* One part, uploaded as it is or gathered in chunks. */
static bl_status load_part(bl_checkpoint *c, const bl_stored *t, int i, const bl_part_spec *spec, bl_backend *be,
                           const bl_tensor *to, bl_err *e)
{
    bl_status st = BL_OK;
    const bl_extent *x = &t->part[i];
    uint8_t *buf = NULL;
    BL_TRY(bl_sum_check(c, x, e));
    if (x->file >= 0 && t->rotary_heads == 0) {
        c->bytes_read += x->bytes;
        return be->ops->upload(be, to, c->map[x->file].data + x->offset, e);
    }
    uint64_t row_bytes = (uint64_t)spec->cols * bl_dtype_bytes(spec->dtype);
    int64_t step = row_bytes >= CHUNK ? 1 : CHUNK / (int64_t)row_bytes;
    step = BL_MIN(step, spec->rows);
    if (!(buf = bl_new((size_t)step, row_bytes, e))) return BL_E_NOMEM;
    for (int64_t r = 0; r < spec->rows; r += step) {
        int64_t n = BL_MIN(step, spec->rows - r);
        bl_tensor rows = bl_tensor_rows(*to, r, n);
        bl_rows_read(c, t, i, spec, r, n, buf);
        BL_TRY(be->ops->upload(be, &rows, buf, e));
        BL_TRY(be->ops->sync(be, e)); /* before buf is used again */
    }
out:
    bl_free(buf);
    return st;
}

bl_status bl_checkpoint_load(bl_checkpoint *c, const bl_stored *t, bl_backend *be, bl_weight *out, bl_err *e)
{
    bl_status st = BL_OK;
    bl_weight w = {0};
    bl_part_spec spec[BL_MAX_PARTS];
    BL_TRY(bl_weight_new(be, t->format, &t->shape, &w, e));
    t->format->parts(t->format, &t->shape, spec);
    for (int i = 0; i < t->n_parts; i++) BL_TRY(load_part(c, t, i, &spec[i], be, &w.part[i], e));
    BL_TRY(be->ops->sync(be, e)); /* the pages are not read after this */
    *out = w;
    w = (bl_weight){0};
out:
    drop(c, t);
    if (st != BL_OK) bl_within(e, "loading %s", t->name);
    bl_weight_free(&w);
    return st;
}

bl_status bl_checkpoint_load_extent(bl_checkpoint *c, const bl_extent *x, bl_backend *be, const bl_tensor *to,
                                    bl_err *e)
{
    bl_status st = BL_OK;
    c->bytes_read += x->bytes;
    BL_TRY(bl_sum_check(c, x, e));
    BL_TRY(be->ops->upload(be, to, c->map[x->file].data + x->offset, e));
    BL_TRY(be->ops->sync(be, e)); /* the pages are not read after this */
    bl_map_drop(&c->map[x->file], x->offset, x->bytes);
out:
    return st;
}

bl_status bl_checkpoint_dense(bl_checkpoint *c, const bl_stored *t, int64_t row0, int64_t rows, float *dst, bl_err *e)
{
    bl_status st = BL_OK;
    bl_part_spec spec[BL_MAX_PARTS];
    void *part[BL_MAX_PARTS] = {0};
    const void *lent[BL_MAX_PARTS] = {0};
    const bl_format *f = t->format;
    uint64_t row_bytes = 0;
    bool by_row = true; /* else some part belongs to all rows: the whole weight is read */

    f->parts(f, &t->shape, spec);
    for (int i = 0; i < t->n_parts; i++) BL_TRY(bl_sum_check(c, &t->part[i], e));
    for (int i = 0; i < t->n_parts; i++) {
        by_row = by_row && spec[i].rows == t->shape.out;
        row_bytes += (uint64_t)spec[i].cols * bl_dtype_bytes(spec[i].dtype);
    }
    int64_t step = !by_row ? t->shape.out : row_bytes >= CHUNK ? 1 : CHUNK / (int64_t)row_bytes;
    step = BL_MIN(step, by_row ? rows : t->shape.out);
    for (int i = 0; i < t->n_parts; i++) {
        uint64_t n = by_row ? (uint64_t)step * (uint64_t)spec[i].cols : (uint64_t)spec[i].rows * (uint64_t)spec[i].cols;
        if (!(lent[i] = part[i] = bl_new(n, bl_dtype_bytes(spec[i].dtype), e))) {
            st = BL_E_NOMEM;
            goto out;
        }
        if (!by_row) bl_part_read(c, t, i, 0, t->part[i].bytes, part[i]);
    }
    if (!by_row) {
        for (int64_t r = 0; r < rows; r++)
            f->unpack(f, &t->shape, lent, row0 + r, 0, t->shape.in, dst + r * t->shape.in);
        goto out;
    }
    for (int64_t r = 0; r < rows; r += step) {
        bl_shape g = t->shape;
        g.out = BL_MIN(step, rows - r);
        for (int i = 0; i < t->n_parts; i++) bl_rows_read(c, t, i, &spec[i], row0 + r, g.out, part[i]);
        for (int64_t k = 0; k < g.out; k++) f->unpack(f, &g, lent, k, 0, g.in, dst + (r + k) * g.in);
    }
out:
    for (int i = 0; i < t->n_parts; i++) bl_free(part[i]);
    return st;
}

static void want(const bl_checkpoint *c, const bl_extent *x)
{
    if (x->file >= 0 && x->bytes) bl_map_want(&c->map[x->file], x->offset, x->bytes);
}

void bl_checkpoint_want(bl_checkpoint *c, const bl_stored *t)
{
    for (int i = 0; i < t->n_parts; i++) want(c, &t->part[i]);
    for (int i = 0; i < t->n_transforms + t->n_after; i++) want(c, &t->transform[i].extent);
    for (int i = 0; i < t->n_adapters; i++) {
        const bl_stored *packed = t->adapter[i].packed;
        want(c, &t->adapter[i].a);
        want(c, &t->adapter[i].b);
        for (int k = 0; packed && k < 2; k++) bl_checkpoint_want(c, &packed[k]);
    }
}
