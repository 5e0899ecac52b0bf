/* calibrate_store.c - the residual stream of all windows between two blocks: on the backend, or in a file where that
 * would be more than it may hold. */
#include "calibrate_impl.h"
#include "kernels/base/fs.h"

struct bl_calib_store {
    bl_backend *be;
    int64_t rows, dim;
    bl_buffer *all; /* act [rows, dim], or */
    bl_scratch *file;
    char *host; /* of the rows that go to or from the file */
    size_t room;
};

/* Bytes it may take on the backend: with a limit what that leaves; without one a quarter of a memory that the host does
 * not share, where going to a file and back would take longer than the block. */
static uint64_t allowed(bl_backend *be, uint64_t others)
{
    uint64_t now, peak, limit = be->opts.memory_limit;
    bl_device_info info;
    if (!limit && !be->ops->host_new) return BL_CALIB_RESIDENT;
    if (!limit) {
        be->ops->device_info(be, &info);
        return info.memory_bytes / 4;
    }
    be->ops->memory(be, &now, &peak);
    return limit > now + others ? limit - now - others : 0;
}

bl_status bl_calib_store_new(bl_backend *be, int64_t rows, int64_t dim, const char *beside, uint64_t others,
                             bl_calib_store **out, bl_err *e)
{
    bl_status st = BL_OK;
    uint64_t bytes = (uint64_t)(rows * dim) * bl_dtype_bytes(be->act);
    bl_calib_store *s = bl_new(1, sizeof *s, e);

    if (!s) return BL_E_NOMEM;
    *s = (bl_calib_store){.be = be, .rows = rows, .dim = dim};
    if (!beside || bytes <= allowed(be, others)) BL_TRY(be->ops->buffer_new(be, bytes, &s->all, e));
    else BL_TRY(bl_scratch_open(beside, bytes, &s->file, e));
    *out = s;
    s = NULL;
out:
    bl_calib_store_free(s);
    return st;
}

static bl_status copy(const bl_calib_store *s, bl_tensor from, bl_tensor to, bl_err *e)
{
    return s->be->ops->gather(s->be, &(bl_gather_args){.src = from, .dst = to, .n = from.dim[0]}, e);
}

static bl_tensor rows_of(const bl_calib_store *s, int64_t row0, int64_t n)
{
    return bl_tensor_rows(bl_tensor_2d(s->all, 0, s->be->act, s->rows, s->dim), row0, n);
}

static uint64_t place(const bl_calib_store *s, int64_t row) /* in the file */
{
    return (uint64_t)(row * s->dim) * bl_dtype_bytes(s->be->act);
}

static bl_status make_room(bl_calib_store *s, size_t bytes, bl_err *e)
{
    return bl_grow(&s->host, &s->room, bytes, 1, e);
}

bl_status bl_calib_store_take(bl_calib_store *s, int64_t row0, bl_tensor x, bl_err *e)
{
    bl_status st = BL_OK;
    size_t bytes = bl_tensor_bytes(&x);

    if (s->all) return copy(s, rows_of(s, row0, x.dim[0]), x, e);
    BL_TRY(make_room(s, bytes, e));
    BL_TRY(bl_scratch_get(s->file, place(s, row0), s->host, bytes, e));
    BL_TRY(s->be->ops->upload(s->be, &x, s->host, e));
    BL_TRY(s->be->ops->sync(s->be, e)); /* the host's bytes are used again */
out:
    return st;
}

bl_status bl_calib_store_give(bl_calib_store *s, int64_t row0, bl_tensor x, bl_err *e)
{
    bl_status st = BL_OK;
    size_t bytes = bl_tensor_bytes(&x);

    if (s->all) return copy(s, x, rows_of(s, row0, x.dim[0]), e);
    BL_TRY(make_room(s, bytes, e));
    BL_TRY(s->be->ops->download(s->be, &x, s->host, e));
    BL_TRY(s->be->ops->sync(s->be, e));
    BL_TRY(bl_scratch_put(s->file, place(s, row0), s->host, bytes, e));
out:
    return st;
}

void bl_calib_store_free(bl_calib_store *s)
{
    if (!s) return;
    s->be->ops->buffer_free(s->all);
    bl_scratch_close(s->file);
    bl_free(s->host);
    bl_free(s);
}
