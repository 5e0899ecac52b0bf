/* calibrate_store.c - the residual stream of all windows between two blocks: on the backend, or in a file where that
 * would be more than it may hold.
 *
 * A device computes while the host reads and writes: what is given is written, and what is taken next is read, when the
 * caller says that there is work for the device (bl_calib_store_ahead).
 */
#include "calibrate_impl.h"
#include "kernels/base/fs.h"

typedef struct piece { /* rows of the file on the host */
    char *bytes;
    size_t room;
    int64_t row0, rows; /* rows 0: of none */
} piece;
struct bl_calib_store {
    bl_backend *be;
    int64_t rows, dim;
    bl_buffer *all; /* act [rows, dim], or */
    bl_scratch *file;
    piece read, unwritten;
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

static size_t bytes_of(const bl_calib_store *s, int64_t rows) /* in the file */
{
    return (size_t)(rows * s->dim) * bl_dtype_bytes(s->be->act);
}

static void drop(bl_backend *be, piece *p)
{
    if (be->ops->host_new) be->ops->host_free(be, p->bytes);
    else bl_free(p->bytes);
    *p = (piece){0};
}

static bl_status make_room(bl_calib_store *s, piece *p, int64_t rows, bl_err *e)
{
    bl_backend *be = s->be;
    const size_t bytes = bytes_of(s, rows);
    void *host = NULL;
    bl_status st = BL_OK;
    p->rows = 0;
    if (bytes <= p->room) return BL_OK;
    drop(be, p);
    if (be->ops->host_new) BL_TRY(be->ops->host_new(be, bytes, &host, e));
    else if (!(host = bl_new(bytes, 1, e))) return BL_E_NOMEM;
    p->bytes = host;
    p->room = bytes;
out:
    return st;
}

static bl_status write_back(bl_calib_store *s, bl_err *e)
{
    piece *p = &s->unwritten;
    const int64_t rows = p->rows;
    p->rows = 0;
    return rows ? bl_scratch_put(s->file, bytes_of(s, p->row0), p->bytes, bytes_of(s, rows), e) : BL_OK;
}

static bool has(const piece *p, int64_t row0, int64_t rows) { return p->row0 == row0 && p->rows == rows; }

bl_status bl_calib_store_ahead(bl_calib_store *s, int64_t row0, int64_t rows, bl_err *e)
{
    bl_status st = BL_OK;
    if (s->all) return BL_OK;
    BL_TRY(write_back(s, e));
    if (!rows || has(&s->read, row0, rows)) return BL_OK;
    BL_TRY(make_room(s, &s->read, rows, e));
    BL_TRY(bl_scratch_get(s->file, bytes_of(s, row0), s->read.bytes, bytes_of(s, rows), e));
    s->read.row0 = row0;
    s->read.rows = rows;
out:
    return st;
}

bl_status bl_calib_store_take(bl_calib_store *s, int64_t row0, bl_tensor x, bl_err *e)
{
    bl_status st = BL_OK;
    const int64_t rows = x.dim[0];
    if (s->all) return copy(s, rows_of(s, row0, rows), x, e);
    if (!has(&s->read, row0, rows)) BL_TRY(bl_calib_store_ahead(s, row0, rows, e));
    st = s->be->ops->upload(s->be, &x, s->read.bytes, e);
out:
    return st;
}

bl_status bl_calib_store_give(bl_calib_store *s, int64_t row0, bl_tensor x, bl_err *e)
{
    bl_status st = BL_OK;
    piece *p = &s->unwritten;
    const int64_t rows = x.dim[0];
    if (s->all) return copy(s, x, rows_of(s, row0, rows), e);
    BL_TRY(write_back(s, e));
    BL_TRY(make_room(s, p, rows, e));
    BL_TRY(s->be->ops->download(s->be, &x, p->bytes, e));
    p->row0 = row0;
    p->rows = rows;
    if (s->read.row0 < row0 + rows && row0 < s->read.row0 + s->read.rows) s->read.rows = 0; /* it is another now */
out:
    return st;
}

void bl_calib_store_free(bl_calib_store *s)
{
    if (!s) return;
    s->be->ops->buffer_free(s->all);
    bl_scratch_close(s->file);
    drop(s->be, &s->read);
    drop(s->be, &s->unwritten);
    bl_free(s);
}
