/* batch.c - how a batch goes through the blocks: chunks of rows, their places in the cache, and who sees which keys.
 *
 * A chunk takes the next rows of the batch, whatever sequence they belong to. Rows go through a block in order, so the
 * keys a row needs are there when its chunk is reached: those of earlier chunks, of its own, and of its slot's past.
 *
 *     batch      aaaaaaaaaa bbbb cccccccccccccc          three sequences
 *     chunks     |--------0--------|-----1-----|          c is cut; its second part has the first as its past
 */
#include "model_impl.h"
#include <string.h>

void bl_pass_plan_free(bl_backend *be, bl_pass_plan *p)
{
    be->ops->buffer_free(p->lists);
    bl_free(p->staging);
    bl_free(p->chunk);
    bl_free(p->past);
    bl_free(p->start);
    bl_free(p->seg);
    bl_free(p->seg_start);
    bl_free(p->pos);
    bl_free(p->kv_row);
    bl_free(p->from);
    bl_free(p->want_pos);
    bl_free(p->tail);
    bl_free(p->own);
    bl_free(p->keep_from);
    bl_free(p->keep_to);
}

/* Positions that slot `slot` holds when sequence `seq` of the batch is reached: what earlier sequences bring counts. */
static int64_t held(const bl_batch *b, const bl_kv *kv, int32_t slot, int64_t needed, int32_t seq)
{
    int64_t n = bl_kv_len(kv, slot);
    for (int32_t s = 0; s < seq && n < needed; s++)
        if (b->slot[s] == slot) n = b->past[s] + b->start[s + 1] - b->start[s];
    return n;
}

static bl_status check_batch(const bl_model *m, const bl_batch *b, const bl_kv *kv, bl_err *e)
{
    int64_t rows = b->start[b->n_seq];

    for (int32_t s = 0; s < b->n_seq; s++) {
        int64_t n = b->start[s + 1] - b->start[s], end = b->past[s] + n;
        if (b->slot[s] < 0 || b->slot[s] >= kv->n_slots)
            return bl_fail(e, BL_E_INTERNAL, "sequence %d: there is no slot %d", (int)s, (int)b->slot[s]);
        const bl_kv_part *slot = &kv->slot[b->slot[s]];
        if (n < 0 || b->past[s] < slot->parent_len || b->past[s] > slot->parent_len + slot->len ||
            end > slot->parent_len + slot->cap)
            return bl_fail(e, BL_E_INTERNAL,
                           "sequence %d: positions %lld..%lld do not continue slot %d, which holds %lld of %lld",
                           (int)s, (long long)b->past[s], (long long)end, (int)b->slot[s],
                           (long long)(slot->parent_len + slot->len), (long long)(slot->parent_len + slot->cap));
        const int64_t group = bl_kv_granule(kv->format), len = slot->parent_len + slot->len;
        if (b->past[s] % group && b->past[s] / group != len / group)
            return bl_fail(
                e, BL_E_INTERNAL,
                "sequence %d goes on at position %lld of the %lld in slot %d, inside a group of %lld keys that "
                "are codes by now",
                (int)s, (long long)b->past[s], (long long)len, (int)b->slot[s], (long long)group);
        if (slot->parent >= 0 && held(b, kv, slot->parent, slot->parent_len, s) < slot->parent_len)
            return bl_fail(e, BL_E_INTERNAL,
                           "sequence %d continues slot %d after %lld positions, which are not there yet", (int)s,
                           (int)slot->parent, (long long)slot->parent_len);
        if (m->config.window && end > m->config.window)
            return bl_fail(
                e, BL_E_UNSUPPORTED,
                "a sequence of %lld tokens is longer than the model's sliding window of %lld; attention that "
                "leaves tokens behind is not computed",
                (long long)end, (long long)m->config.window);
        if (end > m->own->max_len)
            return bl_fail(e, BL_E_UNSUPPORTED, "a sequence of %lld tokens does not fit the model's %lld positions",
                           (long long)end, (long long)m->own->max_len);
    }
    for (int64_t i = 0; i < rows && b->ids; i++)
        if (b->ids[i] < 0 || b->ids[i] >= m->config.vocab)
            return bl_fail(e, BL_E_FORMAT, "token id %d is outside the vocabulary of %lld", (int)b->ids[i],
                           (long long)m->config.vocab);
    for (int64_t i = 0; i < b->n_want; i++)
        if (b->want[i] < 0 || b->want[i] >= rows || (i && b->want[i] <= b->want[i - 1]))
            return bl_fail(e, BL_E_INTERNAL, "wanted rows must ascend inside the batch");
    return BL_OK;
}

/* Pages that follow each other are one segment. */
static bl_status add_pages(bl_pass_plan *p, const bl_kv *kv, int32_t slot, int64_t end, bl_err *e)
{
    size_t first = p->n_seg;
    bl_status st = BL_OK;

    for (int64_t at = 0; at < end; at += kv->page_len) {
        int64_t row = bl_kv_row(kv, slot, at), len = BL_MIN(end - at, kv->page_len);
        if (p->n_seg > first && p->seg[p->n_seg - 1].row + p->seg[p->n_seg - 1].len == row) {
            p->seg[p->n_seg - 1].len += len;
            continue;
        }
        BL_TRY(bl_grow(&p->seg, &p->cap_seg, p->n_seg + 1, sizeof *p->seg, e));
        p->seg[p->n_seg++] = (bl_kv_seg){row, len};
    }
out:
    return st;
}

/* Segments that hold positions 0 .. end-1 of a slot, in order. */
static bl_status add_segments(bl_pass_plan *p, const bl_kv *kv, int32_t slot, int64_t end, bl_err *e)
{
    int64_t n = 0;
    bl_status st = BL_OK;

    if (kv->page) return add_pages(p, kv, slot, end, e);
    for (int32_t s = slot; s >= 0; s = kv->slot[s].parent) n++;
    BL_TRY(bl_grow(&p->seg, &p->cap_seg, p->n_seg + (size_t)n, sizeof *p->seg, e));
    n = 0;
    for (int32_t s = slot; s >= 0 && end > 0; s = kv->slot[s].parent) { /* from the end to the beginning */
        const bl_kv_part *o = &kv->slot[s];
        if (end > o->parent_len) p->seg[p->n_seg + (size_t)n++] = (bl_kv_seg){o->row0, end - o->parent_len};
        end = BL_MIN(end, o->parent_len);
    }
    for (int64_t i = 0; i < n / 2; i++) {
        bl_kv_seg t = p->seg[p->n_seg + (size_t)i];
        p->seg[p->n_seg + (size_t)i] = p->seg[p->n_seg + (size_t)(n - 1 - i)];
        p->seg[p->n_seg + (size_t)(n - 1 - i)] = t;
    }
    p->n_seg += (size_t)n;
out:
    return st;
}

/* Row of the last keys of a slot for a position. */
static int64_t tail_row(int32_t slot, int64_t pos) { return (int64_t)slot * BL_KV_GROUP + pos % BL_KV_GROUP; }

/* Of the rows from .. to of a chunk, which are a slot's positions from `pos` on, those of its last group. */
static bl_status add_kept(bl_pass_plan *p, int32_t slot, int64_t pos, int64_t from, int64_t to, bl_err *e)
{
    int64_t last = pos + to - from - 1, n = BL_MIN(last % BL_KV_GROUP + 1, to - from);
    bl_status st = BL_OK;

    BL_TRY(bl_grow(&p->keep_from, &p->cap_keep_from, p->n_keep + (size_t)n, sizeof *p->keep_from, e));
    BL_TRY(bl_grow(&p->keep_to, &p->cap_keep_to, p->n_keep + (size_t)n, sizeof *p->keep_to, e));
    for (int64_t i = n - 1; i >= 0; i--) {
        p->keep_from[p->n_keep] = to - 1 - i;
        p->keep_to[p->n_keep++] = tail_row(slot, last - i);
    }
out:
    return st;
}

/* One more sequence of a chunk or one more run: `rows` rows after `past` positions of `slot`. Its lists begin at `seg`;
 * position `first` of the slot is row `row` of the chunk. */
static bl_status add_sequence(bl_pass_plan *p, const bl_kv *kv, int32_t slot, int64_t past, int64_t rows, size_t seg,
                              int64_t first, int64_t row, bl_err *e)
{
    bl_status st = BL_OK;

    BL_TRY(bl_grow(&p->past, &p->cap_past, p->n_past + 1, sizeof *p->past, e));
    BL_TRY(bl_grow(&p->start, &p->cap_start, p->n_start + 1, sizeof *p->start, e));
    BL_TRY(bl_grow(&p->seg_start, &p->cap_seg_start, p->n_seg_start + 1, sizeof *p->seg_start, e));
    BL_TRY(add_segments(p, kv, slot, past + rows, e));
    if (bl_kv_bits(kv->format)) {
        BL_TRY(bl_grow(&p->own, &p->cap_own, p->n_own + 1, sizeof *p->own, e));
        p->own[p->n_own++] = (bl_kv_own){tail_row(slot, 0), first, row};
    }
    p->past[p->n_past++] = (int32_t)past;
    p->start[p->n_start] = p->start[p->n_start - 1] + (int32_t)rows;
    p->n_start++;
    p->seg_start[p->n_seg_start++] = (int32_t)(p->n_seg - seg);
out:
    return st;
}

/* Opens the lists of a chunk's sequences or runs: both start arrays begin with 0. */
static bl_status open_lists(bl_pass_plan *p, size_t *past, size_t *start, size_t *seg, size_t *seg_start, bl_err *e)
{
    bl_status st = BL_OK;

    BL_TRY(bl_grow(&p->start, &p->cap_start, p->n_start + 1, sizeof *p->start, e));
    BL_TRY(bl_grow(&p->seg_start, &p->cap_seg_start, p->n_seg_start + 1, sizeof *p->seg_start, e));
    *past = p->n_past;
    *start = p->n_start;
    *seg = p->n_seg;
    *seg_start = p->n_seg_start;
    p->start[p->n_start++] = 0;
    p->seg_start[p->n_seg_start++] = 0;
out:
    return st;
}

/* Empty segments after those of a list, so that steps that differ by a page have their lists in the same places
 * (replay.c). */
static bl_status round_segments(bl_pass_plan *p, bl_err *e)
{
    size_t n = (p->n_seg + 255) / 256 * 256;
    bl_status st = BL_OK;
    BL_TRY(bl_grow(&p->seg, &p->cap_seg, n, sizeof *p->seg, e));
    while (p->n_seg < n) p->seg[p->n_seg++] = (bl_kv_seg){0};
out:
    return st;
}

static bl_status add_chunk(const bl_batch *b, const bl_kv *kv, bl_pass_plan *p, int64_t row0, int64_t rows,
                           int32_t *seq, int64_t *want, bl_err *e)
{
    bl_status st = BL_OK;
    bl_tile c = {.row0 = row0, .rows = rows, .want0 = *want, .kv_row = p->kv_row[row0], .keep = p->n_keep};
    int64_t end = row0 + rows;
    int32_t first = *seq;

    for (int64_t i = 1; i < rows; i++)
        if (p->kv_row[row0 + i] != c.kv_row + i) {
            c.kv_row = -1;
            break;
        }

    BL_TRY(open_lists(p, &c.seq, &c.start, &c.seg, &c.seg_start, e));
    for (;;) {
        int64_t from = BL_MAX(b->start[*seq], row0), to = BL_MIN(b->start[*seq + 1], end);
        if (to > from) {
            BL_TRY(add_sequence(p, kv, b->slot[*seq], p->pos[from], to - from, c.seg, p->pos[from], from - row0, e));
            if (bl_kv_bits(kv->format)) BL_TRY(add_kept(p, b->slot[*seq], p->pos[from], from - row0, to - row0, e));
            c.n_seq++;
        }
        if (b->start[*seq + 1] > end || *seq + 1 == b->n_seq) break; /* its other rows belong to the next chunk */
        ++*seq;
    }

    if (kv->page) BL_TRY(round_segments(p, e));
    BL_TRY(open_lists(p, &c.run, &c.run_start, &c.run_seg, &c.run_seg_start, e));
    for (int32_t s = first; *want < b->n_want && b->want[*want] < end;) {
        int64_t w = b->want[*want], n = 1;
        while (b->start[s + 1] <= w) s++;
        while (*want + n < b->n_want && b->want[*want + n] == w + n && w + n < BL_MIN(end, b->start[s + 1])) n++;
        int64_t from = BL_MAX(b->start[s], row0); /* of the sequence in this chunk */
        BL_TRY(add_sequence(p, kv, b->slot[s], p->pos[w], n, c.run_seg, p->pos[from], from - row0, e));
        c.n_runs++;
        for (int64_t i = 0; i < n; i++) {
            p->from[*want + i] = w + i - row0;
            p->want_pos[*want + i] = p->pos[w + i];
        }
        *want += n;
    }
    c.wants = *want - c.want0;
    c.n_keep = p->n_keep - c.keep;
    if (kv->page) BL_TRY(round_segments(p, e));
    BL_TRY(bl_grow(&p->chunk, &p->cap_chunk, p->n_chunks + 1, sizeof *p->chunk, e));
    p->chunk[p->n_chunks++] = c;
out:
    return st;
}

static bl_status upload(bl_model *m, const bl_batch *b, bool coded, bl_pass_plan *p, bl_err *e)
{
    size_t rows = (size_t)b->start[b->n_seq], wants = (size_t)b->n_want, end = 0;
    const struct {
        const void *host;
        bl_tensor *out;
        bl_dtype type;
        size_t n;
    } list[] = {
        {p->seg, &p->t_seg, BL_I64, 2 * p->n_seg},
        {p->kv_row, &p->t_kv_row, BL_I64, rows},
        {p->from, &p->t_from, BL_I64, wants},
        {p->tail, &p->t_tail, BL_I64, coded ? rows : 0},
        {p->own, &p->t_own, BL_I64, 3 * p->n_own},
        {p->keep_from, &p->t_keep_from, BL_I64, p->n_keep},
        {p->keep_to, &p->t_keep_to, BL_I64, p->n_keep},
        {b->ids, &p->t_ids, BL_I32, b->ids ? rows : 0},
        {p->pos, &p->t_pos, BL_I32, rows},
        {p->want_pos, &p->t_want_pos, BL_I32, wants},
        {p->past, &p->t_past, BL_I32, p->n_past},
        {p->start, &p->t_start, BL_I32, p->n_start},
        {p->seg_start, &p->t_seg_start, BL_I32, p->n_seg_start},
    };
    bl_status st = BL_OK;
    bool there = p->staged > 0; /* the lists of the pass before are these */

    for (size_t i = 0; i < BL_COUNT(list); i++) end += list[i].n * bl_dtype_bytes(list[i].type);
    BL_TRY(bl_grow(&p->staging, &p->cap_staging, end, 1, e));
    if (!p->lists || p->staged != end) {
        there = false;
        BL_TRY(bl_buffer_fit(m->be, &p->lists, end, e));
    }
    p->staged = 0;
    end = 0;
    for (size_t i = 0; i < BL_COUNT(list); i++) { /* wide types come first, so each begins at a multiple of its size */
        size_t bytes = list[i].n * bl_dtype_bytes(list[i].type);
        there = there && (!bytes || memcmp(p->staging + end, list[i].host, bytes) == 0);
        if (bytes && !there) memcpy(p->staging + end, list[i].host, bytes);
        *list[i].out = bl_tensor_1d(p->lists, end, list[i].type, (int64_t)list[i].n);
        end += bytes;
    }
    p->t_seg = bl_tensor_2d(p->lists, p->t_seg.offset, BL_I64, (int64_t)p->n_seg, 2);
    p->t_own = bl_tensor_2d(p->lists, p->t_own.offset, BL_I64, (int64_t)p->n_own, 3);
    bl_tensor all = bl_tensor_1d(p->lists, 0, BL_U8, (int64_t)end);
    if (!there) BL_TRY(m->be->ops->upload(m->be, &all, p->staging, e));
    p->staged = end;
out:
    return st;
}

bl_status bl_pass_plan_batch(bl_model *m, const bl_batch *b, bl_kv *kv, int64_t most, bl_pass_plan *p, bl_err *e)
{
    int64_t rows = b->start[b->n_seq], want = 0;
    int32_t seq = 0;
    bl_status st = BL_OK;

    const bool coded = bl_kv_bits(kv->format);
    p->n_chunks = p->n_past = p->n_start = p->n_seg = p->n_seg_start = p->n_own = p->n_keep = 0;
    BL_TRY(check_batch(m, b, kv, e));
    BL_TRY(bl_grow(&p->pos, &p->cap_pos, (size_t)rows, sizeof *p->pos, e));
    BL_TRY(bl_grow(&p->kv_row, &p->cap_kv_row, (size_t)rows, sizeof *p->kv_row, e));
    if (coded) BL_TRY(bl_grow(&p->tail, &p->cap_tail, (size_t)rows, sizeof *p->tail, e));
    BL_TRY(bl_grow(&p->from, &p->cap_from, (size_t)b->n_want, sizeof *p->from, e));
    BL_TRY(bl_grow(&p->want_pos, &p->cap_want_pos, (size_t)b->n_want, sizeof *p->want_pos, e));
    for (int32_t s = 0; s < b->n_seq; s++)
        for (int64_t r = b->start[s]; r < b->start[s + 1]; r++) {
            int64_t pos = b->past[s] + r - b->start[s];
            p->pos[r] = (int32_t)pos;
            p->kv_row[r] = bl_kv_row(kv, b->slot[s], pos);
            if (coded) p->tail[r] = tail_row(b->slot[s], pos);
        }
    for (int64_t n = (rows + most - 1) / most, each = n ? ((rows + n - 1) / n + 47) / 48 * 48 : 0, r = 0; r < rows;
         r += each)
        BL_TRY(add_chunk(b, kv, p, r, BL_MIN(each, rows - r), &seq, &want, e));
    BL_TRY(bl_rope_sequences(m, b, p, e));
    BL_TRY(upload(m, b, coded, p, e));
out:
    return st;
}
