/* embed.c - the vector of a text: the mean of the final normed states of its tokens. Texts go through the model
 * together, as many as a pass has rows for. */
#include "score_impl.h"
#include <string.h>

enum { MOST_TEXTS = 256, MOST_ROWS = 4096 }; /* of a pass: short texts are many; more rows only take memory */

typedef struct part {
    bl_ids ids;
    int64_t skip; /* a BOS in front does not count, unless it is all there is */
} part;

/* Adds the mean of rows[from, to) to out. */
static void add_mean(const bl_backend *be, const void *rows, int64_t from, int64_t to, int64_t dim, double *out)
{
    for (int64_t i = from; i < to; i++)
        for (int64_t d = 0; d < dim; d++) {
            size_t at = (size_t)(i * dim + d);
            double v = be->act == BL_F32 ? ((const float *)rows)[at] : bl_bf16_to_f32(((const uint16_t *)rows)[at]);
            out[d] += v / (double)(to - from);
        }
}

/* One pass: n texts of `rows` tokens in all. */
static bl_status run_pass(bl_engine *g, const part *p, int64_t n, int64_t rows, bl_arena *a, double *out, bl_err *e)
{
    bl_status st = BL_OK;
    bl_backend *be = g->m->be;
    bl_kv *kv = NULL;
    bl_buffer *buf = NULL;
    int64_t dim = g->m->config.dim, at = 0, *want = bl_alloc(a, (size_t)rows, sizeof *want, e);
    int32_t *ids = bl_alloc(a, (size_t)rows, sizeof *ids, e), *start = bl_alloc(a, (size_t)n + 1, sizeof *start, e),
            *past = bl_alloc(a, (size_t)n, sizeof *past, e), *slot = bl_alloc(a, (size_t)n, sizeof *slot, e);
    void *host = bl_alloc(a, (size_t)(rows * dim), bl_dtype_bytes(be->act), e);

    if (!want || !ids || !start || !past || !slot || !host) return BL_E_NOMEM;
    BL_TRY(bl_kv_new(g->m, rows, (int32_t)n, true, g->m->kv, &kv, e));
    for (int64_t i = 0; i < n; i++) {
        memcpy(ids + at, p[i].ids.id, p[i].ids.n * sizeof *ids);
        start[i] = (int32_t)at;
        at += (int64_t)p[i].ids.n;
        BL_TRY(bl_kv_slot(kv, (int64_t)p[i].ids.n, -1, 0, &slot[i], e));
    }
    start[n] = (int32_t)at;
    for (int64_t i = 0; i < rows; i++) want[i] = i;
    BL_TRY(be->ops->buffer_new(be, (uint64_t)rows * (uint64_t)dim * bl_dtype_bytes(be->act), &buf, e));
    bl_tensor hidden = bl_tensor_2d(buf, 0, be->act, rows, dim);
    BL_TRY(bl_forward(
        g->m,
        &(bl_batch){
            .ids = ids, .n_seq = (int32_t)n, .start = start, .past = past, .slot = slot, .want = want, .n_want = rows},
        kv, hidden, e));
    g->tokens += rows;
    BL_TRY(be->ops->download(be, &hidden, host, e));
    for (int64_t i = 0; i < n; i++) add_mean(be, host, start[i] + p[i].skip, start[i + 1], dim, out + i * dim);
out:
    be->ops->buffer_free(buf);
    bl_kv_free(kv);
    return st;
}

bl_status bl_engine_embed(bl_engine *g, const char *const *text, int64_t n, double *out, bl_err *e)
{
    bl_status st = BL_OK;
    bl_arena *a = NULL;
    part p[MOST_TEXTS];
    int64_t dim = g->m->config.dim, rows = 0, k = 0, most = BL_MIN(MOST_TEXTS, g->most_seqs),
            room = BL_MIN(MOST_ROWS, g->most_rows);

    memset(out, 0, (size_t)(n * dim) * sizeof *out);
    BL_TRY(bl_arena_new(&a, e));
    bl_mark mark = bl_arena_mark(a);
    for (int64_t i = 0; i < n; i++) {
        part next = {0};
        bl_prompt prompt = bl_prompt_new(a);
        if (bl_interrupted()) {
            st = bl_fail(e, BL_E_INTERRUPTED, "interrupted");
            goto out;
        }
        bl_quote(&prompt, text[i]);
        BL_TRY(bl_engine_prompt_ids(g, &prompt, 0, a, &next.ids, NULL, e));
        next.skip = next.ids.n > 1 && next.ids.id[0] == bl_tokenizer_bos(g->t);
        if (k && (k == most || rows + (int64_t)next.ids.n > room)) {
            BL_TRY(run_pass(g, p, k, rows, a, out + (i - k) * dim, e));
            bl_arena_release(a, mark); /* what the next text's ids were in, too */
            k = rows = 0;
            i--;
            continue;
        }
        p[k++] = next;
        rows += (int64_t)next.ids.n;
    }
    if (k) BL_TRY(run_pass(g, p, k, rows, a, out + (n - k) * dim, e));
out:
    bl_arena_free(a);
    return st;
}
