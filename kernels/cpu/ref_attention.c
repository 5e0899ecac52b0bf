/* ref_attention.c - causal attention with grouped heads over segments of a cache, one query and head at a time.
 *
 * Keys come in blocks of 64 aligned at position 0. For a query, with m the largest score so far, l the sums of e^(s -
 * m) (8 interleaved partial sums) and y the weighted sum of values, a block with largest score b does m' = max(m, b);
 * l, y *= e^(m - m');  p = e^(s - m');  l += p;  y += p v, key after key and the result is y / l. What comes before or
 * after a row of q in the call has no influence on its bits.
 */
#include "cpu.h"
#include "kernels/format_impl.h"

enum { BLOCK = 64 };

/* Row of the cache that holds position p of a sequence. */
static int64_t cache_row(const bl_cpu_seqs *l, int32_t seq, int64_t p)
{
    const bl_kv_seg *s = l->seg + l->seg_start[seq];
    while (p >= s->len) p -= s++->len;
    return s->row + p;
}

float bl_cpu_kv_number(const bl_cpu_kv *x, int64_t d, int64_t dim)
{
    if (x->values) return x->values[d];
    if (x->codes) return (float)x->codes[d] * x->scale;
    const uint16_t *step = x->steps + (x->key ? d : d / BL_KV_GROUP * 2), *least = x->key ? step + dim : step + 1;
    return (float)bl_code_at(x->packed, x->bits, d) * bl_f16_to_f32(*step) + bl_f16_to_f32(*least);
}

static void attend(const bl_attention_args *a, const bl_cpu_seqs *s, int32_t seq, int64_t row, int64_t head, float *y)
{
    int64_t dim = a->kv.head_dim, kv = head / (a->heads / a->kv.heads), keys = s->past[seq] + (row - s->start[seq]) + 1;
    const float *q = bl_cpu_row(&a->q, row) + head * dim;
    float m = -INFINITY, l[8] = {0}, p[BLOCK];
    for (int64_t d = 0; d < dim; d++) y[d] = 0;
    for (int64_t k0 = 0; k0 < keys; k0 += BLOCK) {
        int64_t n = BL_MIN(keys - k0, BLOCK);
        float top = m;
        for (int64_t j = 0; j < n; j++) {
            const bl_cpu_kv k = s->own && k0 + j >= (keys - 1) / BL_KV_GROUP * BL_KV_GROUP
                                    ? (bl_cpu_kv){.values = bl_cpu_own_key(a, &s->own[seq], k0 + j, kv)}
                                    : bl_cpu_key(&a->kv, cache_row(s, seq, k0 + j), kv);
            float score = 0;
            for (int64_t d = 0; d < dim; d++) score = fmaf(q[d], bl_cpu_kv_number(&k, d, dim), score);
            p[j] = score * (float)a->scale;
            top = p[j] > top ? p[j] : top;
        }
        float shrink = bl_exp(m - top);
        m = top;
        for (int j = 0; j < 8; j++) l[j] *= shrink;
        for (int64_t d = 0; d < dim; d++) y[d] *= shrink;
        for (int64_t j = 0; j < n; j++) {
            p[j] = bl_exp(p[j] - m);
            l[j % 8] += p[j];
            const bl_cpu_kv v = bl_cpu_value(&a->kv, cache_row(s, seq, k0 + j), kv);
            for (int64_t d = 0; d < dim; d++) y[d] = fmaf(p[j], bl_cpu_kv_number(&v, d, dim), y[d]);
        }
    }
    float sum = bl_tree8(l);
    for (int64_t d = 0; d < dim; d++) y[d] = y[d] / sum;
}

bl_status bl_ref_attention(bl_backend *be, const bl_attention_args *a, bl_err *e)
{
    bl_status st = BL_OK;
    bl_cpu_seqs l = bl_cpu_seqs_of(a);
    BL_TRY(bl_cpu_check_attention(be, a, e));
    for (int32_t s = 0; s < a->n_seq; s++) {
        int64_t rows = l.start[s + 1] - l.start[s], width = a->heads * a->kv.head_dim;
#pragma omp parallel for schedule(dynamic, 1)                                                                          \
    num_threads(bl_cpu_threads(be, (double)rows *(double)(l.past[s] + rows) * (double)width))
        for (int64_t r = l.start[s]; r < l.start[s + 1]; r++)
            for (int64_t h = 0; h < a->heads; h++) attend(a, &l, s, r, h, bl_cpu_row(&a->y, r) + h * a->kv.head_dim);
    }
out:
    return st;
}
