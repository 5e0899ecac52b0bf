/* narrow.c - see narrow.h. */
#include "narrow.h"
#include "kernels/dense.h"

enum { COLS = 1024 }; /* a block's numbers are a matrix of so many columns */

/* ---- places ---- */
static int64_t block_of(const bl_trainable *t, size_t param)
{
    for (size_t i = 0; i < t->n_linears; i++)
        if (t->w[i].adapter >= 0 && (t->w[i].a == (int)param || t->w[i].b == (int)param)) return t->w[i].linear->block;
    return -1;
}

/* Numbers from the beginning of a block's to those of the next parameter. */
static int64_t room_of(const bl_trained *p) { return (bl_tensor_count(&p->value) + 31) / 32 * 32; }

int64_t bl_narrow_blocks(const bl_trainable *t) { return t->narrow.rows ? t->m->config.n_layers : 1; }

void bl_narrow_params(const bl_trainable *t, int64_t block, size_t *first, size_t *end)
{
    const size_t each = t->n_params / (size_t)bl_narrow_blocks(t);
    *first = (size_t)block * each;
    *end = *first + each;
}

/* A block's part of what is kept, or the room that is for all of them. */
static bl_tensor part(const bl_trainable *t, bl_buffer *b, bl_dtype type, int64_t block)
{
    const uint64_t each = (uint64_t)(t->narrow.rows * COLS) * bl_dtype_bytes(type);
    return bl_tensor_2d(b, (uint64_t)block * each, type, t->narrow.rows, COLS);
}

/* ---- between the two types ---- */
static bl_status widen(bl_trainable *t, const bl_narrow_part *n, int64_t block, bl_err *e)
{
    const bl_weight w = bl_weight_of(part(t, n->kept, BL_BF16, block));
    return t->m->be->ops->unpack(
        t->m->be, &(bl_unpack_args){.w = &w, .rows = t->narrow.rows, .y = part(t, n->room, BL_F32, 0)}, e);
}

/* To nearest. Rows as activations where these are bf16: no other op rounds on the device. */
static bl_status round_to(bl_trainable *t, const bl_narrow_part *n, int64_t block, bl_err *e)
{
    bl_backend *be = t->m->be;
    const bl_tensor from = part(t, n->room, BL_F32, 0), to = part(t, n->kept, BL_BF16, block);
    bl_weight w;
    if (be->act != BL_BF16) {
        w = bl_weight_of(to);
        const bl_status st = be->ops->pack(be, &(bl_pack_args){.x = from, .w = &w, .rule = BL_RANGE_OWN}, e);
        if (st != BL_E_NUMERIC) return st;
        return bl_fail(e, st, "block %lld: an adapter or its gradient is not finite", (long long)block);
    }
    w = bl_weight_of(from);
    return be->ops->embed(
        be, &(bl_embed_args){.w = &w, .ids = bl_tensor_1d(t->narrow.ids, 0, BL_I32, t->narrow.rows), .y = to}, e);
}

bl_status bl_narrow_enter(bl_trainable *t, int64_t block, bool back, bl_err *e)
{
    bl_status st = BL_OK;
    if (!t->narrow.rows) return BL_OK;
    if (t->narrow.value.kept && t->narrow.block != block) BL_TRY(widen(t, &t->narrow.value, block, e));
    t->narrow.block = block;
    if (t->narrow.grad.kept && back) BL_TRY(widen(t, &t->narrow.grad, block, e));
out:
    return st;
}

bl_status bl_narrow_leave(bl_trainable *t, int64_t block, bl_err *e)
{
    return t->narrow.grad.kept ? round_to(t, &t->narrow.grad, block, e) : BL_OK;
}

bl_status bl_narrow_stepped(bl_trainable *t, int64_t block, bl_err *e)
{
    bl_status st = BL_OK;
    if (t->narrow.value.kept) BL_TRY(round_to(t, &t->narrow.value, block, e));
    bl_narrow_changed(t); /* the room has what it was before it was rounded */
    st = bl_narrow_leave(t, block, e);
out:
    return st;
}

void bl_narrow_changed(bl_trainable *t) { t->narrow.block = -1; }

uint64_t bl_narrow_bytes(const bl_trainable *t, bool gradients)
{
    const bl_narrow_part *n = gradients ? &t->narrow.grad : &t->narrow.value;
    return n->kept ? n->kept->bytes + n->room->bytes : 0;
}

/* ---- beginning ---- */
/* New adapters of the same linears in every block, and nothing else. */
static bool fits(const bl_trainable *t)
{
    const size_t blocks = (size_t)t->m->config.n_layers, each = t->n_params / blocks;
    if (!t->lora.rank || t->block >= 0 || !t->n_params || t->n_params % blocks) return false;
    for (size_t i = 0; i < t->n; i++)
        if (t->w[i].form || t->w[i].rule || t->w[i].first[0] || t->w[i].bias >= 0) return false;
    for (size_t i = 0; i < t->n_params; i++)
        if (block_of(t, i) != (int64_t)(i / each) || t->param[i].own ||
            room_of(&t->param[i]) != room_of(&t->param[i % each]))
            return false;
    return true;
}

static bl_status new_part(bl_trainable *t, bl_narrow_part *n, bl_err *e)
{
    bl_backend *be = t->m->be;
    const uint64_t numbers = (uint64_t)(t->narrow.rows * COLS);
    bl_status st = BL_OK;
    BL_TRY(be->ops->buffer_new(be, (uint64_t)t->m->config.n_layers * numbers * 2, &n->kept, e));
    BL_TRY(be->ops->buffer_new(be, numbers * sizeof(float) + 64, &n->room, e));
    const bl_tensor all = part(t, n->room, BL_F32, 0);
    BL_TRY(be->ops->fill(be, &all, 0, e)); /* between parameters nothing is written */
out:
    return st;
}

/* Rows of a matrix in their order. */
static bl_status number_rows(bl_trainable *t, bl_err *e)
{
    bl_backend *be = t->m->be;
    bl_status st = BL_OK;
    int32_t *ids = bl_new((size_t)t->narrow.rows, sizeof *ids, e);
    if (!ids) return BL_E_NOMEM;
    for (int64_t i = 0; i < t->narrow.rows; i++) ids[i] = (int32_t)i;
    BL_TRY(be->ops->buffer_new(be, (uint64_t)t->narrow.rows * sizeof *ids, &t->narrow.ids, e));
    const bl_tensor all = bl_tensor_1d(t->narrow.ids, 0, BL_I32, t->narrow.rows);
    BL_TRY(be->ops->upload(be, &all, ids, e));
    BL_TRY(be->ops->sync(be, e)); /* before they go */
out:
    bl_free(ids);
    return st;
}

/* The same elements, elsewhere. */
static bl_tensor moved(bl_tensor x, bl_buffer *b, int64_t at, bl_dtype type)
{
    return bl_tensor_2d(b, (uint64_t)at * bl_dtype_bytes(type), type, x.dim[0], x.dim[1]);
}

static bl_status copy(bl_trainable *t, bl_tensor from, bl_tensor to, bl_err *e)
{
    return t->m->be->ops->gather(t->m->be, &(bl_gather_args){.src = from, .dst = to, .n = from.dim[0]}, e);
}

/* The model's A or B that a parameter is. */
static bl_tensor *of_model(bl_trainable *t, size_t param)
{
    for (size_t i = 0; i < t->n_linears; i++) {
        const bl_effective *w = &t->w[i];
        if (w->adapter < 0) continue;
        if (w->a == (int)param) return &w->linear->adapter[w->adapter].a;
        if (w->b == (int)param) return &w->linear->adapter[w->adapter].b;
    }
    return NULL;
}

/* Parameters of a block go into the room, where they are f32, and what is kept of them is rounded. */
static bl_status move_block(bl_trainable *t, int64_t block, bl_err *e)
{
    bl_backend *be = t->m->be;
    bl_status st = BL_OK;
    const int64_t before = block * t->narrow.rows * COLS;
    int64_t at = 0;
    size_t first, end;
    bl_narrow_params(t, block, &first, &end);
    for (size_t i = first; i < end; i++) {
        bl_trained *p = &t->param[i];
        if (t->narrow.value.kept) {
            const bl_tensor to = moved(p->value, t->narrow.value.room, at, BL_F32);
            BL_TRY(copy(t, p->value, to, e));
            p->kept = moved(p->value, t->narrow.value.kept, before + at, BL_BF16);
            BL_TRY(be->ops->sync(be, e)); /* before it goes */
            be->ops->buffer_free(p->value.buf);
            p->value = *of_model(t, i) = to;
        }
        if (t->narrow.grad.kept) p->grad = moved(p->grad, t->narrow.grad.room, at, BL_F32);
        at += room_of(p);
    }
    BL_TRY(bl_narrow_stepped(t, block, e));
out:
    return st;
}

bl_status bl_train_narrow(bl_trainable *t, bool values, bool gradients, bl_err *e)
{
    bl_status st = BL_OK;
    int64_t n = 0;
    if (!values && !gradients) return BL_OK;
    if (!fits(t))
        return bl_fail(e, BL_E_CONFIG,
                       "adapters and gradients in bf16 are for methods that train new adapters of the same linears in "
                       "every block, and "
                       "nothing else");
    for (size_t i = 0; i < t->n_params / (size_t)t->m->config.n_layers; i++) n += room_of(&t->param[i]);
    t->narrow.rows = (n + COLS - 1) / COLS;
    bl_narrow_changed(t);
    BL_TRY(number_rows(t, e));
    for (size_t i = 0; gradients && i < t->n_params; i++) { /* zeros, which make room */
        t->m->be->ops->buffer_free(t->param[i].grad.buf);
        t->param[i].grad.buf = NULL;
    }
    if (values) BL_TRY(new_part(t, &t->narrow.value, e));
    if (gradients) BL_TRY(new_part(t, &t->narrow.grad, e));
    for (int64_t b = 0; b < t->m->config.n_layers; b++) BL_TRY(move_block(t, b, e));
out:
    return st;
}

/* ---- the end ---- */
bl_status bl_narrow_end(bl_trainable *t, bl_err *e)
{
    bl_status st = BL_OK;
    if (!t->narrow.value.kept) return BL_OK;
    for (size_t i = 0; i < t->n_params; i++) { /* there are no more steps, and there is room for what stays */
        bl_trained *p = &t->param[i];
        t->m->be->ops->buffer_free(p->moments);
        p->moments = NULL;
        p->m = p->v = p->m_max = p->v_max = (bl_tensor){0};
    }
    for (int64_t b = 0; b < t->m->config.n_layers; b++) {
        size_t first, end;
        BL_TRY(bl_narrow_enter(t, b, false, e));
        bl_narrow_params(t, b, &first, &end);
        for (size_t i = first; i < end; i++) {
            bl_trained *p = &t->param[i];
            bl_tensor own;
            if (!p->kept.ndim) continue;
            BL_TRY(bl_trained_tensor(t->m->be, p->value.dim[0], p->value.dim[1], &own, e));
            *of_model(t, i) = own; /* and the model's to free */
            BL_TRY(copy(t, p->value, own, e));
            p->value = own;
            p->kept = (bl_tensor){0};
        }
    }
out:
    return st;
}

void bl_narrow_free(bl_trainable *t)
{
    const bl_ops *o = t->m->be->ops;
    for (size_t i = 0; i < t->n_params; i++) {
        if (t->param[i].kept.ndim) *of_model(t, i) = (bl_tensor){0}; /* of a training that failed */
        if (t->narrow.grad.kept && t->param[i].grad.buf == t->narrow.grad.room) t->param[i].grad.buf = NULL;
    }
    bl_narrow_part *const parts[] = {&t->narrow.value, &t->narrow.grad};
    for (size_t k = 0; k < BL_COUNT(parts); k++) {
        o->buffer_free(parts[k]->kept);
        o->buffer_free(parts[k]->room);
        *parts[k] = (bl_narrow_part){0};
    }
    o->buffer_free(t->narrow.ids);
    t->narrow.ids = NULL;
    t->narrow.rows = 0;
}
