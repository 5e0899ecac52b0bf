/* host.c - what the processor does for the device: pieces of work on the host's memory, and packing into formats that
 * no kernel packs, whose tensors are copied there and back. */
#include "cuda.h"

bl_status bl_cuda_processor(bl_backend *be, bl_backend **out, bl_err *e)
{
    bl_status st = BL_OK;
    bl_cuda *c = be->own;
    if (!c->processor)
        st = bl_backend_open(&(bl_backend_opts){.device = "cpu", .threads = be->opts.threads}, &c->processor, e);
    *out = c->processor;
    return st;
}

/* The tensors of a call on the device and on the processor. */
enum { MOST = 8 };
typedef struct mirrored {
    bl_backend *be, *processor;
    int n;
    const bl_tensor *there[MOST];
    bl_tensor here[MOST];
} mirrored;

/* *out is t on the processor, with its numbers; no tensor stays none. */
static bl_status take(mirrored *m, const bl_tensor *t, bl_tensor *out, bl_err *e)
{
    bl_status st = BL_OK;
    bl_buffer *b;
    *out = *t;
    if (!t->buf) return BL_OK;
    BL_TRY(m->processor->ops->buffer_new(m->processor, bl_tensor_bytes(t), &b, e));
    *out = *t;
    out->buf = b;
    out->offset = 0;
    m->there[m->n] = t;
    m->here[m->n++] = *out;
    BL_TRY(bl_cuda_download(m->be, t, b->data, e));
out:
    return st;
}

static bl_status give(const mirrored *m, const bl_tensor *t, const bl_tensor *here, bl_err *e)
{
    return t->buf ? bl_cuda_upload(m->be, t, (const char *)here->buf->data + here->offset, e) : BL_OK;
}

static void drop(mirrored *m)
{
    for (int i = 0; i < m->n; i++) m->processor->ops->buffer_free(m->here[i].buf);
}

/* Pieces work on the host's memory anyway. */
bl_status bl_cuda_each(bl_backend *be, const bl_each_args *a, bl_err *e)
{
    bl_backend *processor;
    bl_status st = bl_cuda_processor(be, &processor, e);
    return st == BL_OK ? processor->ops->each(processor, a, e) : st;
}

/* Some parts of a weight may be there before it is packed: those that say which columns are stored in another way. */
bl_status bl_cuda_pack_there(bl_backend *be, const bl_pack_args *a, bl_err *e)
{
    bl_status st = BL_OK;
    mirrored m = {.be = be};
    bl_pack_args h = *a;
    bl_weight w = {0};
    BL_TRY(bl_cuda_processor(be, &m.processor, e));
    BL_TRY(take(&m, &a->x, &h.x, e));
    BL_TRY(take(&m, &a->scale, &h.scale, e));
    BL_TRY(take(&m, &a->zero, &h.zero, e));
    BL_TRY(take(&m, &a->importance, &h.importance, e));
    BL_TRY(bl_weight_new(m.processor, a->w->format, &a->w->shape, &w, e));
    for (int i = 0; i < w.n_parts; i++)
        BL_TRY(bl_cuda_download(be, &a->w->part[i], (char *)w.part[i].buf->data + w.part[i].offset, e));
    h.w = &w;
    BL_TRY(m.processor->ops->pack(m.processor, &h, e));
    for (int i = 0; i < w.n_parts; i++) BL_TRY(give(&m, &a->w->part[i], &w.part[i], e));
out:
    bl_weight_free(&w);
    drop(&m);
    return st;
}
