/* index.c - the checks of the ops whose index arrays the CPU can read: positions, ids, targets and rows inside their
 * range. */
#include "cpu.h"
#include <inttypes.h>

bl_status bl_cpu_check_rope(const bl_backend *be, const bl_rope_args *a, bl_err *e)
{
    bl_status st = bl_check_rope(be, a, e);
    const int32_t *pos = bl_cpu_at(&a->pos);
    for (int64_t i = 0; st == BL_OK && i < a->x.dim[0]; i++)
        if (pos[i] < 0 || pos[i] >= a->cos.dim[0])
            st = bl_fail(e, BL_E_INTERNAL, "rope: position %" PRId32 " is not in 0..%" PRId64, pos[i],
                         a->cos.dim[0] - 1);
    return st;
}

bl_status bl_cpu_check_kv_append(const bl_backend *be, const bl_kv_append_args *a, bl_err *e)
{
    bl_status st = bl_check_kv_append(be, a, e);
    const int64_t *to = bl_cpu_at(&a->to), *tail = bl_cpu_at(&a->tail);
    for (int64_t i = 0, n = bl_tensor_count(&a->to); st == BL_OK && i < n; i++) {
        if (to[i] < 0 || to[i] >= a->kv.rows)
            st = bl_fail(e, BL_E_INTERNAL, "kv_append: row %" PRId64 " is outside the cache of %" PRId64, to[i],
                         a->kv.rows);
        else if (tail && (tail[i] < 0 || tail[i] >= a->kv.k_tail.dim[0] || (tail[i] - to[i]) % BL_KV_GROUP))
            st = bl_fail(e, BL_E_INTERNAL,
                         "kv_append: row %" PRId64 " of the last keys is not that of cache row %" PRId64, tail[i],
                         to[i]);
    }
    return st;
}

bl_status bl_cpu_check_attention(const bl_backend *be, const bl_attention_args *a, bl_err *e)
{
    bl_status st = bl_check_attention(be, a, e);
    bl_cpu_seqs l;
    if (st != BL_OK || !a->n_seq) return st;
    l = bl_cpu_seqs_of(a);
    if (l.start[0] < 0 || l.start[a->n_seq] > a->q.dim[0])
        return bl_fail(e, BL_E_INTERNAL, "attention: the sequences have more rows than q");
    if (l.seg_start[0] < 0 || l.seg_start[a->n_seq] > a->seg.dim[0])
        return bl_fail(e, BL_E_INTERNAL, "attention: the sequences have more segments than there are");
    for (int32_t s = 0; s < a->n_seq; s++) {
        int64_t n = (int64_t)l.start[s + 1] - l.start[s], have = 0;
        if (n < 0 || l.past[s] < 0 || l.seg_start[s + 1] < l.seg_start[s])
            return bl_fail(e, BL_E_INTERNAL, "attention: a sequence has a negative length");
        for (int32_t i = l.seg_start[s]; i < l.seg_start[s + 1]; i++) {
            if (l.seg[i].len < 0 || l.seg[i].row < 0 || l.seg[i].row + l.seg[i].len > a->kv.rows)
                return bl_fail(e, BL_E_INTERNAL, "attention: a segment is outside the cache");
            have += l.seg[i].len;
        }
        if (have != l.past[s] + n)
            return bl_fail(e, BL_E_INTERNAL,
                           "attention: sequence %" PRId32 ": segments hold %" PRId64 " positions, %" PRId64 " expected",
                           s, have, l.past[s] + n);
        if (!l.own || !n) continue;
        const bl_kv_own *o = &l.own[s];
        if (o->first < 0 || o->first > l.past[s] || o->row < 0 || o->row + l.past[s] + n - o->first > a->fresh.dim[0] ||
            o->tail < 0 || o->tail % BL_KV_GROUP || o->tail + BL_KV_GROUP > a->kv.k_tail.dim[0])
            return bl_fail(e, BL_E_INTERNAL, "attention: sequence %" PRId32 ": its last keys are not there", s);
    }
    return BL_OK;
}

static bool rows_ok(const bl_tensor *list, int64_t n, int64_t rows)
{
    const int64_t *row = bl_cpu_at(list);
    for (int64_t i = 0; row && i < n; i++)
        if (row[i] < 0 || row[i] >= rows) return false;
    return true;
}

bl_status bl_cpu_check_gather(const bl_backend *be, const bl_gather_args *a, bl_err *e)
{
    bl_status st = bl_check_gather(be, a, e);
    if (st == BL_OK && (!rows_ok(&a->from, a->n, a->src.dim[0]) || !rows_ok(&a->to, a->n, a->dst.dim[0])))
        st = bl_fail(e, BL_E_INTERNAL, "gather: a row number is out of range");
    return st;
}

bl_status bl_cpu_check_embed(const bl_backend *be, const bl_embed_args *a, bl_err *e)
{
    bl_status st = bl_check_embed(be, a, e);
    const int32_t *ids = bl_cpu_at(&a->ids);
    for (int64_t i = 0; st == BL_OK && i < a->y.dim[0]; i++)
        if (ids[i] < 0 || ids[i] >= a->w->shape.out)
            st = bl_fail(e, BL_E_INTERNAL, "embed: token id %" PRId32 " is not in 0..%" PRId64, ids[i],
                         a->w->shape.out - 1);
    return st;
}

static bool targets_ok(const bl_tensor *list, int64_t rows, int64_t vocab, int32_t least)
{
    const int32_t *target = bl_cpu_at(list);
    for (int64_t i = 0; target && i < rows; i++)
        if (target[i] < least || target[i] >= vocab) return false;
    return true;
}

bl_status bl_cpu_check_loss(const bl_backend *be, const bl_loss_args *a, bl_err *e)
{
    bl_status st = bl_check_loss(be, a, e);
    if (st == BL_OK && !targets_ok(&a->target, a->logits.dim[0], a->vocab, -1))
        st = bl_fail(e, BL_E_INTERNAL, "loss: a target is out of range");
    return st;
}

bl_status bl_cpu_check_loss_grad(const bl_backend *be, const bl_loss_grad_args *a, bl_err *e)
{
    bl_status st = bl_check_loss_grad(be, a, e);
    if (st == BL_OK && !targets_ok(&a->target, a->logits.dim[0], a->vocab, -1))
        st = bl_fail(e, BL_E_INTERNAL, "loss_grad: a target is out of range");
    return st;
}

bl_status bl_cpu_check_embed_grad(const bl_backend *be, const bl_embed_grad_args *a, bl_err *e)
{
    bl_status st = bl_check_embed_grad(be, a, e);
    if (st == BL_OK && !targets_ok(&a->ids, a->dy.dim[0], a->dw.dim[0], 0))
        st = bl_fail(e, BL_E_INTERNAL, "embed_grad: a token id is out of range");
    return st;
}

bl_status bl_cpu_check_attention_grad(const bl_backend *be, const bl_attention_grad_args *a, bl_err *e)
{
    bl_status st = bl_check_attention_grad(be, a, e);
    const int32_t *start = bl_cpu_at(&a->start);
    if (st != BL_OK || !a->n_seq) return st;
    if (start[0] < 0 || start[a->n_seq] > a->q.dim[0])
        return bl_fail(e, BL_E_INTERNAL, "attention_grad: the sequences have more rows than q");
    for (int32_t s = 0; s < a->n_seq; s++)
        if (start[s + 1] < start[s])
            return bl_fail(e, BL_E_INTERNAL, "attention_grad: a sequence has a negative length");
    return BL_OK;
}

bl_status bl_cpu_check_kl_div(const bl_backend *be, const bl_kl_div_args *a, bl_err *e)
{
    bl_status st = bl_check_kl_div(be, a, e);
    if (st == BL_OK && !targets_ok(&a->target, a->p.dim[0], a->vocab, 0))
        st = bl_fail(e, BL_E_INTERNAL, "kl_div: a target is out of range");
    return st;
}
