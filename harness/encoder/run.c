/* run.c - texts through an encoder. Texts of about one length share a pass, their tokens row after row without padding;
 * attention of both sides is that of the cache of a language model in which every token sees all of its text: a
 * sequence of one query each, all of whose keys are there. */
#include "encoder_impl.h"
#include <math.h>
#include <stdlib.h>
#include <string.h>

enum { PASS = 1024 }; /* rows, at least one text */

bl_status bl_encoder_open(const char *dir, bl_backend *be, bl_encoder **out, bl_err *e)
{
    bl_status st = BL_OK;
    bl_encoder *x = bl_new(1, sizeof *x, e);
    if (!x) return BL_E_NOMEM;
    x->be = be;
    BL_TRY(enc_read(x, dir, e));
    *out = x;
    x = NULL;
out:
    bl_encoder_close(x);
    return st;
}

static void drop_linear(bl_encoder *x, enc_linear *l)
{
    bl_weight_free(&l->w);
    x->be->ops->buffer_free(l->bias.buf);
}
static void drop_norm(bl_encoder *x, enc_norm *n)
{
    x->be->ops->buffer_free(n->weight.buf);
    x->be->ops->buffer_free(n->bias.buf);
}

void bl_encoder_close(bl_encoder *x)
{
    if (!x) return;
    for (int64_t i = 0; x->layer && i < x->n_layers; i++) {
        enc_layer *l = &x->layer[i];
        enc_linear *all[] = {&l->q, &l->k, &l->v, &l->o, &l->up, &l->down};
        for (size_t k = 0; k < BL_COUNT(all); k++) drop_linear(x, all[k]);
        drop_norm(x, &l->attention);
        drop_norm(x, &l->output);
    }
    drop_norm(x, &x->norm);
    bl_weight_free(&x->word);
    bl_weight_free(&x->position);
    bl_weight_free(&x->type);
    bl_tokenizer_close(x->tokenizer);
    bl_free(x->layer);
    bl_free(x);
}

int64_t bl_encoder_dim(const bl_encoder *x) { return x->dim; }
bl_hash bl_encoder_hash(const bl_encoder *x) { return x->hash; }

typedef struct text_ids {
    bl_ids ids;
    int64_t at; /* place among the texts of the call */
} text_ids;
/* ---- a pass -------------------------------------------------------------------------------------- */

typedef struct pass {
    bl_encoder *x;
    bl_buffer *buf;
    int64_t rows, most, at;                             /* `at`: bytes of the buffer in use */
    bl_tensor ids, pos, type, start, past, seg, seg_at; /* of the tokens, and of the attention */
    bl_tensor h, sum, q, k, v, y, up;                   /* activations */
    void *host;                                         /* act [most, dim] */
    int32_t *i32;                                       /* [4 most + 4]: lists on their way */
    int64_t *i64;                                       /* [2 most] */
} pass;

static bl_tensor room(pass *p, bl_dtype t, int64_t rows, int64_t cols)
{
    bl_tensor v = cols ? bl_tensor_2d(p->buf, (uint64_t)p->at, t, rows, cols)
                       : bl_tensor_1d(p->buf, (uint64_t)p->at, t, rows);
    p->at += ((int64_t)bl_tensor_bytes(&v) + 127) / 64 * 64; /* and 64 bytes that a vector may read */
    return v;
}

static void lay_out(pass *p)
{
    const bl_encoder *x = p->x;
    bl_dtype act = x->be->act;
    int64_t n = p->most;
    p->at = 0;
    p->ids = room(p, BL_I32, n, 0);
    p->pos = room(p, BL_I32, n, 0);
    p->type = room(p, BL_I32, n, 0);
    p->past = room(p, BL_I32, n, 0);
    p->start = room(p, BL_I32, n + 1, 0);
    p->seg_at = room(p, BL_I32, n + 1, 0);
    p->seg = room(p, BL_I64, n, 2);
    p->h = room(p, act, n, x->dim);
    p->sum = room(p, act, n, x->dim);
    p->q = room(p, act, n, x->dim);
    p->k = room(p, act, n, x->dim);
    p->v = room(p, act, n, x->dim);
    p->y = room(p, act, n, x->dim);
    p->up = room(p, act, n, x->ffn);
}

static bl_status pass_new(bl_encoder *x, int64_t most, pass *p, bl_err *e)
{
    bl_status st = BL_OK;
    *p = (pass){.x = x, .most = most};
    lay_out(p);
    BL_TRY(x->be->ops->buffer_new(x->be, (uint64_t)p->at, &p->buf, e));
    lay_out(p);
    if (!(p->host = bl_new((size_t)(most * x->dim), bl_dtype_bytes(x->be->act), e)) ||
        !(p->i32 = bl_new((size_t)most + 1, sizeof *p->i32, e)) ||
        !(p->i64 = bl_new((size_t)most * 2, sizeof *p->i64, e)))
        st = BL_E_NOMEM;
out:
    return st;
}

static void pass_free(pass *p)
{
    if (p->x) p->x->be->ops->buffer_free(p->buf);
    bl_free(p->host);
    bl_free(p->i32);
    bl_free(p->i64);
}

static bl_status list(pass *p, const bl_tensor *t, int64_t n, bl_err *e)
{
    bl_tensor part = bl_tensor_part(*t, 0, n);
    return p->x->be->ops->upload(p->x->be, &part, p->i32, e);
}

/* Ids, positions, and what each row sees: all rows of its text. */
static bl_status upload(pass *p, const text_ids *text, int64_t n, bl_err *e)
{
    bl_status st = BL_OK;
    const bl_ops *ops = p->x->be->ops;
    int64_t rows = 0;
    for (int64_t i = 0; i < n; i++) {
        const bl_ids *t = &text[i].ids;
        memcpy(p->i32 + rows, t->id, t->n * sizeof *t->id);
        rows += (int64_t)t->n;
    }
    p->rows = rows;
    BL_TRY(list(p, &p->ids, rows, e));
    for (int64_t i = 0, r = 0; i < n; i++)
        for (size_t k = 0; k < text[i].ids.n; k++) p->i32[r++] = (int32_t)k;
    BL_TRY(list(p, &p->pos, rows, e));
    for (int64_t i = 0, r = 0; i < n; i++) {
        int64_t row0 = r, len = (int64_t)text[i].ids.n;
        for (; r < row0 + len; r++) {
            p->i32[r] = (int32_t)len - 1;
            p->i64[2 * r] = row0;
            p->i64[2 * r + 1] = len;
        }
    }
    BL_TRY(list(p, &p->past, rows, e));
    bl_tensor seg = bl_tensor_rows(p->seg, 0, rows);
    BL_TRY(ops->upload(p->x->be, &seg, p->i64, e));
    for (int64_t r = 0; r <= rows; r++) p->i32[r] = (int32_t)r;
    BL_TRY(list(p, &p->start, rows + 1, e));
    BL_TRY(list(p, &p->seg_at, rows + 1, e));
    memset(p->i32, 0, (size_t)rows * sizeof *p->i32);
    BL_TRY(list(p, &p->type, rows, e));
out:
    return st;
}

static bl_status add_embedding(pass *p, const bl_weight *w, const bl_tensor *ids, bl_tensor y, bool first, bl_err *e)
{
    bl_status st = BL_OK;
    bl_backend *be = p->x->be;
    bl_tensor to = first ? y : bl_tensor_rows(p->q, 0, p->rows);
    BL_TRY(be->ops->embed(be, &(bl_embed_args){.w = w, .ids = bl_tensor_part(*ids, 0, p->rows), .y = to}, e));
    if (!first) BL_TRY(be->ops->add(be, &(bl_add_args){.x = to, .y = y}, e));
out:
    return st;
}

static bl_status normed(pass *p, const enc_norm *n, bl_tensor x, bl_tensor y, bl_err *e)
{
    bl_backend *be = p->x->be;
    return be->ops->layernorm(
        be, &(bl_layernorm_args){.x = x, .weight = n->weight, .bias = n->bias, .y = y, .eps = p->x->eps}, e);
}

static bl_status product(pass *p, const enc_linear *l, bl_tensor x, bl_tensor y, bool accumulate, bl_err *e)
{
    bl_backend *be = p->x->be;
    return be->ops->linear(
        be, &(bl_linear_args){.x = x, .w = {&l->w}, .bias = {l->bias}, .y = {y}, .accumulate = accumulate}, e);
}

static bl_status through_layer(pass *p, const enc_layer *l, bl_tensor h, bl_err *e)
{
    bl_status st = BL_OK;
    bl_encoder *x = p->x;
    bl_backend *be = x->be;
    int64_t n = p->rows, head = x->dim / x->heads;
    bl_tensor q = bl_tensor_rows(p->q, 0, n), k = bl_tensor_rows(p->k, 0, n), v = bl_tensor_rows(p->v, 0, n),
              y = bl_tensor_rows(p->y, 0, n), up = bl_tensor_rows(p->up, 0, n);

    BL_TRY(be->ops->linear(
        be,
        &(bl_linear_args){
            .x = h, .w = {&l->q.w, &l->k.w, &l->v.w}, .bias = {l->q.bias, l->k.bias, l->v.bias}, .y = {q, k, v}},
        e));
    BL_TRY(be->ops->attention(
        be,
        &(bl_attention_args){
            .q = q,
            .kv = {.format = BL_KV_ACT, .rows = n, .heads = x->heads, .head_dim = head, .k = k, .v = v},
            .y = y,
            .heads = x->heads,
            .scale = 1 / sqrt((double)head),
            .n_seq = (int32_t)n,
            .start = bl_tensor_part(p->start, 0, n + 1),
            .past = bl_tensor_part(p->past, 0, n),
            .seg = bl_tensor_rows(p->seg, 0, n),
            .seg_start = bl_tensor_part(p->seg_at, 0, n + 1)},
        e));
    BL_TRY(product(p, &l->o, y, h, true, e));
    BL_TRY(normed(p, &l->attention, h, h, e));
    BL_TRY(product(p, &l->up, h, up, false, e));
    BL_TRY(be->ops->gelu(be, &(bl_gelu_args){.x = up, .y = up}, e));
    BL_TRY(product(p, &l->down, up, h, true, e));
    BL_TRY(normed(p, &l->output, h, h, e));
out:
    return st;
}

/* The mean over the rows row0 .. row0 + n, of unit length. */
static bl_status pool(const pass *p, int64_t row0, int64_t n, double *mean, float *out, bl_err *e)
{
    const int64_t dim = p->x->dim;
    double square = 0;
    memset(mean, 0, (size_t)dim * sizeof *mean);
    for (int64_t r = row0; r < row0 + n; r++)
        for (int64_t d = 0; d < dim; d++)
            mean[d] += p->x->be->act == BL_F32 ? ((const float *)p->host)[r * dim + d]
                                               : bl_bf16_to_f32(((const uint16_t *)p->host)[r * dim + d]);
    for (int64_t d = 0; d < dim; d++) square += mean[d] * mean[d];
    if (!isfinite(square) || square <= 0)
        return bl_fail(e, BL_E_NUMERIC, "the encoder's states of a text are %s",
                       square <= 0 ? "all zero" : "not finite");
    for (int64_t d = 0; d < dim; d++) out[d] = (float)(mean[d] / sqrt(square));
    return BL_OK;
}

static bl_status run(pass *p, const text_ids *text, int64_t n, double *mean, float *out, bl_err *e)
{
    bl_status st = BL_OK;
    bl_encoder *x = p->x;
    bl_backend *be = x->be;
    BL_TRY(upload(p, text, n, e));
    bl_tensor h = bl_tensor_rows(p->h, 0, p->rows), sum = bl_tensor_rows(p->sum, 0, p->rows);
    BL_TRY(add_embedding(p, &x->word, &p->ids, sum, true, e));
    BL_TRY(add_embedding(p, &x->type, &p->type, sum, false, e));
    BL_TRY(add_embedding(p, &x->position, &p->pos, sum, false, e));
    BL_TRY(normed(p, &x->norm, sum, h, e));
    for (int64_t i = 0; i < x->n_layers; i++) BL_TRY(through_layer(p, &x->layer[i], h, e));
    BL_TRY(be->ops->download(be, &h, p->host, e));
    for (int64_t i = 0, r = 0; i < n; i++) {
        BL_TRY(pool(p, r, (int64_t)text[i].ids.n, mean, out + text[i].at * x->dim, e));
        r += (int64_t)text[i].ids.n;
    }
out:
    return st;
}

/* ---- texts --------------------------------------------------------------------------------------- */

static bl_status encode(const bl_encoder *x, const char *text, bl_ids *out, bl_err *e)
{
    bl_status st = BL_OK;
    size_t n;
    const int32_t *after = bl_tokenizer_after(x->tokenizer, &n);
    BL_TRY(bl_encode(x->tokenizer, text, strlen(text), BL_ENCODE_BOS, out, e));
    if (out->n > (size_t)x->longest - n) out->n = (size_t)x->longest - n;
    for (size_t i = 0; i < n; i++) BL_TRY(bl_ids_push(out, after[i], e));
out:
    return st;
}

static int longer_first(const void *a, const void *b)
{
    const text_ids *x = a, *y = b;
    return x->ids.n != y->ids.n ? (x->ids.n < y->ids.n ? 1 : -1) : x->at < y->at ? -1 : 1;
}

bl_status bl_encoder_embed(bl_encoder *x, const char *const *text, int64_t n, float *out, bl_err *e)
{
    bl_status st = BL_OK;
    text_ids *t = bl_new((size_t)n, sizeof *t, e);
    double *mean = bl_new((size_t)x->dim, sizeof *mean, e);
    pass p = {0};
    int64_t all = 0;

    if (!t || !mean) {
        st = BL_E_NOMEM;
        goto out;
    }
    for (int64_t i = 0; i < n; i++) {
        t[i].at = i;
        BL_TRY(encode(x, text[i], &t[i].ids, e));
        all += (int64_t)t[i].ids.n;
    }
    if (!n) goto out;
    qsort(t, (size_t)n, sizeof *t, longer_first);
    BL_TRY(pass_new(x, BL_MAX(BL_MIN(all, PASS), (int64_t)t[0].ids.n), &p, e));
    for (int64_t i = 0, k; i < n; i = k) {
        int64_t rows = (int64_t)t[i].ids.n;
        for (k = i + 1; k < n && rows + (int64_t)t[k].ids.n <= p.most; k++) rows += (int64_t)t[k].ids.n;
        BL_TRY(run(&p, t + i, k - i, mean, out, e));
    }
out:
    pass_free(&p);
    for (int64_t i = 0; t && i < n; i++) bl_ids_free(&t[i].ids);
    bl_free(t);
    bl_free(mean);
    return st;
}
