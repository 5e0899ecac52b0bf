/* embed.c - the vector of a text: the mean of the final normed states of its tokens. */
#include "score_impl.h"
#include <string.h>

static bl_status add_states(bl_engine *g, const bl_tensor *hidden, int64_t from, int64_t n, double *out, bl_err *e)
{
    bl_backend *be = g->m->be;
    int64_t dim = g->m->config.dim;
    size_t size = bl_dtype_bytes(be->act);
    void *host = bl_new((size_t)(n * dim), size, e);
    bl_status st = BL_OK;

    if (!host) return BL_E_NOMEM;
    BL_TRY(be->ops->download(be, hidden, host, e));
    for (int64_t i = from; i < n; i++)
        for (int64_t d = 0; d < dim; d++) {
            size_t at = (size_t)(i * dim + d);
            double v = be->act == BL_F32 ? ((const float *)host)[at] : bl_bf16_to_f32(((const uint16_t *)host)[at]);
            out[d] += v / (double)(n - from);
        }
out:
    bl_free(host);
    return st;
}

bl_status bl_engine_embed(bl_engine *g, const char *text, size_t n, double *out, bl_err *e)
{
    bl_status st = BL_OK;
    bl_backend *be = g->m->be;
    bl_arena *a = NULL;
    bl_kv *kv = NULL;
    bl_buffer *buf = NULL;
    bl_ids ids = {0};
    int64_t dim = g->m->config.dim, *want;
    int32_t slot, past = 0;

    memset(out, 0, (size_t)dim * sizeof *out);
    BL_TRY(bl_arena_new(&a, e));
    bl_prompt p = bl_prompt_new(a);
    bl_quoten(&p, text, n);
    BL_TRY(bl_engine_prompt_ids(g, &p, 0, a, &ids, NULL, e));
    int32_t start[] = {0, (int32_t)ids.n};
    int64_t from = ids.n > 1 && ids.id[0] == bl_tokenizer_bos(g->t); /* without BOS, unless it is all there is */
    if (!(want = bl_alloc(a, ids.n, sizeof *want, e))) {
        st = BL_E_NOMEM;
        goto out;
    }
    for (size_t i = 0; i < ids.n; i++) want[i] = (int64_t)i;
    BL_TRY(bl_kv_new(g->m, (int64_t)ids.n, 1, true, g->m->kv, &kv, e));
    BL_TRY(bl_kv_slot(kv, (int64_t)ids.n, -1, 0, &slot, e));
    BL_TRY(be->ops->buffer_new(be, (uint64_t)ids.n * (uint64_t)dim * bl_dtype_bytes(be->act), &buf, e));
    bl_tensor hidden = bl_tensor_2d(buf, 0, be->act, (int64_t)ids.n, dim);
    BL_TRY(bl_forward(g->m,
                      &(bl_batch){.ids = ids.id,
                                  .n_seq = 1,
                                  .start = start,
                                  .past = &past,
                                  .slot = &slot,
                                  .want = want,
                                  .n_want = (int64_t)ids.n},
                      kv, hidden, e));
    g->tokens += (int64_t)ids.n;
    BL_TRY(add_states(g, &hidden, from, (int64_t)ids.n, out, e));
out:
    be->ops->buffer_free(buf);
    bl_kv_free(kv);
    bl_arena_free(a);
    return st;
}
