/* model.c - the weights of a model: named linears, norms, embedding and head; blocks that come and go when streaming.
 */
#include "model_impl.h"
#include <string.h>

enum {
    CHUNK_BYTES = 64 << 20,
    LEAST_CHUNK = 256,
    MOST_CHUNK = 1024, /* activations of the rows that go through a block together */
    PASS_ROWS = 2048
};
/* Residual stream, hidden states, keys and values of a streaming pass: a third of what is resident anyway, within these
 * bounds. */
#define STREAM_PASS_LEAST (64ull << 20)
#define STREAM_PASS_MOST  (768ull << 20)

static const char *const part_names[BL_LINEARS_PER_BLOCK] = {"q_proj",    "k_proj",  "v_proj",   "o_proj",
                                                             "gate_proj", "up_proj", "down_proj"};

/* ---- one linear ---- */
bl_status bl_linear_apply(bl_backend *be, const bl_linear *l, bl_tensor x, bl_tensor y, bool accumulate, bl_err *e)
{
    return be->ops->linear(be,
                           &(bl_linear_args){.x = x,
                                             .w = {&l->weight},
                                             .y = {y},
                                             .t = l->transform,
                                             .n_t = l->n_transforms,
                                             .act = l->act,
                                             .adapter = l->adapter,
                                             .accumulate = accumulate},
                           e);
}

bl_status bl_linear_dense(bl_backend *be, const bl_linear *l, bl_tensor *out, bl_err *e)
{
    bl_status st = BL_OK;
    bl_buffer *b = NULL;
    bl_tensor t;

    BL_TRY(be->ops->buffer_new(be, (uint64_t)l->in * (uint64_t)l->out * sizeof(float), &b, e));
    t = bl_tensor_2d(b, 0, BL_F32, l->out, l->in);
    BL_TRY(be->ops->unpack(be, &(bl_unpack_args){.w = &l->weight, .row0 = 0, .rows = l->out, .y = t}, e));
    *out = t;
    b = NULL;
out:
    be->ops->buffer_free(b);
    return st;
}

void bl_linear_set_weight(bl_linear *l, bl_weight *w)
{
    bl_weight_free(&l->weight);
    l->weight = *w;
    *w = (bl_weight){0};
}

/* ---- blocks ---- */
static bl_status load_block(bl_model *m, int64_t block, bl_err *e)
{
    bl_status st = BL_OK;
    for (int i = 0; i < BL_LINEARS_PER_BLOCK; i++) {
        bl_linear *l = &m->linears[block * BL_LINEARS_PER_BLOCK + i];
        if (!l->weight.format)
            BL_TRY(bl_checkpoint_load(m->ckpt, m->own->stored[block * BL_LINEARS_PER_BLOCK + i], m->be, &l->weight, e));
    }
out:
    if (st != BL_OK) bl_within(e, "block %lld", (long long)block);
    return st;
}

static void drop_block(bl_model *m, int64_t block)
{
    for (int i = 0; i < BL_LINEARS_PER_BLOCK; i++) bl_weight_free(&m->linears[block * BL_LINEARS_PER_BLOCK + i].weight);
}

bl_status bl_block_acquire(bl_model *m, int64_t block, bl_err *e)
{
    bl_status st = load_block(m, block, e);

    if (st != BL_OK) {
        if (m->stream && !m->own->users[block]) drop_block(m, block);
        return st;
    }
    m->own->users[block]++;
    if (m->stream && block + 1 < m->config.n_layers)
        for (int i = 0; i < BL_LINEARS_PER_BLOCK; i++)
            bl_checkpoint_want(m->ckpt, m->own->stored[(block + 1) * BL_LINEARS_PER_BLOCK + i]);
    return BL_OK;
}

void bl_block_release(bl_model *m, int64_t block)
{
    if (--m->own->users[block] == 0 && m->stream) drop_block(m, block);
}

/* ---- open and close ---- */
static bl_status find(bl_checkpoint *c, const char *name, const bl_stored **out, bl_err *e)
{
    *out = bl_checkpoint_find(c, name);
    return *out ? BL_OK : bl_fail(e, BL_E_FORMAT, "%s: tensor '%s' is missing", bl_checkpoint_path(c), name);
}

static bl_status name_linears(bl_model *m, bl_err *e)
{
    const bl_config *c = &m->config;
    int64_t q = c->n_heads * c->head_dim, kv = c->n_kv_heads * c->head_dim;
    int64_t in[] = {c->dim, c->dim, c->dim, q, c->dim, c->dim, c->ffn_dim},
            out[] = {q, kv, kv, c->dim, c->ffn_dim, c->ffn_dim, c->dim};
    bl_status st = BL_OK;

    for (size_t i = 0; i < m->n_linears; i++) {
        size_t part = i % BL_LINEARS_PER_BLOCK, block = i / BL_LINEARS_PER_BLOCK;
        bl_linear *l = &m->linears[i];
        const bl_stored *s;
        char name[sizeof l->name + 8];
        snprintf(l->name, sizeof l->name, "model.layers.%zu.%s.%s", block, part < 4 ? "self_attn" : "mlp",
                 part_names[part]);
        snprintf(name, sizeof name, "%s.weight", l->name);
        BL_TRY(find(m->ckpt, name, &s, e));
        if (s->shape.in != in[part] || s->shape.out != out[part]) {
            st = bl_fail(e, BL_E_FORMAT, "%s: tensor '%s' is [%lld, %lld], expected [%lld, %lld]",
                         bl_checkpoint_path(m->ckpt), name, (long long)s->shape.out, (long long)s->shape.in,
                         (long long)out[part], (long long)in[part]);
            goto out;
        }
        l->part = part_names[part];
        l->block = (int64_t)block;
        l->in = in[part];
        l->out = out[part];
        l->act = s->act;
        m->own->stored[i] = s;
    }
out:
    return st;
}

bl_tensor bl_model_norm(const bl_model *m, int64_t i)
{
    return bl_tensor_1d(m->own->norms, (uint64_t)(i * m->config.dim) * sizeof(float), BL_F32, m->config.dim);
}

static bl_status load_norms(bl_model *m, bl_err *e)
{
    static const char *const kind[] = {"input_layernorm", "post_attention_layernorm"};
    int64_t dim = m->config.dim, n = 2 * m->config.n_layers + 1;
    bl_status st = BL_OK;
    float *row = NULL;

    BL_TRY(m->be->ops->buffer_new(m->be, (uint64_t)(n * dim) * sizeof *row, &m->own->norms, e));
    if (!(row = bl_new((size_t)dim, sizeof *row, e))) {
        st = BL_E_NOMEM;
        goto out;
    }
    for (int64_t i = 0; i < n; i++) {
        char name[96];
        const bl_stored *s;
        bl_tensor t = bl_model_norm(m, i);
        if (i + 1 < n) snprintf(name, sizeof name, "model.layers.%lld.%s.weight", (long long)(i / 2), kind[i % 2]);
        else snprintf(name, sizeof name, "model.norm.weight");
        BL_TRY(find(m->ckpt, name, &s, e));
        BL_TRY(bl_checkpoint_dense(m->ckpt, s, 0, 1, row, e));
        BL_TRY(m->be->ops->upload(m->be, &t, row, e));
        BL_TRY(m->be->ops->sync(m->be, e));
    }
out:
    bl_free(row);
    return st;
}

static bl_status load_ends(bl_model *m, bl_err *e)
{
    bl_status st = BL_OK;
    const bl_stored *s;

    BL_TRY(find(m->ckpt, "model.embed_tokens.weight", &s, e));
    BL_TRY(bl_checkpoint_load(m->ckpt, s, m->be, &m->embed, e));
    if (m->config.tied) goto out;
    BL_TRY(find(m->ckpt, "lm_head.weight", &s, e));
    BL_TRY(bl_checkpoint_load(m->ckpt, s, m->be, &m->head, e));
out:
    return st;
}

static int64_t most_rows(const bl_config *c)
{
    int64_t q = c->n_heads * c->head_dim, kv = c->n_kv_heads * c->head_dim;
    int64_t row = 4 * (c->dim + BL_MAX(2 * q + 2 * kv + c->dim, 2 * c->ffn_dim));
    return BL_MIN(BL_MAX(CHUNK_BYTES / row, LEAST_CHUNK), MOST_CHUNK);
}

bl_status bl_model_open(bl_checkpoint *c, bl_backend *be, const bl_model_opts *o, bl_model **out, bl_err *e)
{
    bl_status st = BL_OK;
    bl_model *m = NULL;
    bl_model_own *own;

    BL_TRY(bl_checkpoint_verify(c, e));
    if (!(m = bl_new(1, sizeof *m, e)) || !(own = m->own = bl_new(1, sizeof *own, e))) {
        st = BL_E_NOMEM;
        goto out;
    }
    m->config = *bl_checkpoint_config(c);
    m->ckpt = c;
    m->be = be;
    m->stream = o && o->stream;
    m->n_linears = (size_t)m->config.n_layers * BL_LINEARS_PER_BLOCK;
    own->max_len = o && o->max_len > 0 ? o->max_len : m->config.max_len;
    own->chunk_rows = most_rows(&m->config);
    if (!(m->linears = bl_new(m->n_linears, sizeof *m->linears, e)) ||
        !(own->stored = bl_new(m->n_linears, sizeof *own->stored, e)) ||
        !(own->users = bl_new((size_t)m->config.n_layers, sizeof *own->users, e)) ||
        !(own->inv_freq = bl_new((size_t)m->config.head_dim / 2, sizeof *own->inv_freq, e))) {
        st = BL_E_NOMEM;
        goto out;
    }
    bl_rope_frequencies(&m->config, own->inv_freq);
    BL_TRY(name_linears(m, e));
    BL_TRY(load_norms(m, e));
    BL_TRY(load_ends(m, e));
    for (int64_t b = 0; b < m->config.n_layers && !m->stream; b++) BL_TRY(load_block(m, b, e));
    *out = m;
    m = NULL;
out:
    bl_model_close(m);
    return st;
}

void bl_model_close(bl_model *m)
{
    if (!m) return;
    for (size_t i = 0; i < m->n_linears && m->linears; i++) bl_weight_free(&m->linears[i].weight);
    bl_weight_free(&m->embed);
    bl_weight_free(&m->head);
    if (m->own) {
        m->be->ops->buffer_free(m->own->norms);
        m->be->ops->buffer_free(m->own->rope);
        m->be->ops->buffer_free(m->own->residual);
        m->be->ops->buffer_free(m->own->work);
        bl_free((void *)m->own->stored);
        bl_free(m->own->users);
        bl_free(m->own->inv_freq);
        bl_pass_plan_free(m->be, &m->own->plan);
        bl_free(m->own);
    }
    bl_free(m->linears);
    bl_free(m);
}

/* ---- sizes ---- */
double bl_model_bits(const bl_model *m)
{
    double bytes = 0, weights = 0;
    for (size_t i = 0; i < m->n_linears; i++) {
        const bl_stored *s = m->own->stored[i];
        bytes += (double)bl_format_bytes(s->format, &s->shape);
        weights += (double)s->shape.out * (double)s->shape.in;
    }
    return bytes * 8 / weights;
}

uint64_t bl_model_bytes(const bl_model *m) { return bl_checkpoint_bytes(m->ckpt); }
int64_t bl_model_max_len(const bl_model *m) { return m->own->max_len; }

int64_t bl_pass_tokens(const bl_model *m)
{
    uint64_t row = 4 * (uint64_t)(2 * m->config.dim + 2 * m->config.n_kv_heads * m->config.head_dim), bytes;

    if (!m->stream) return PASS_ROWS;
    bytes = bl_weight_bytes(&m->embed) + bl_weight_bytes(&m->head);
    for (int i = 0; i < BL_LINEARS_PER_BLOCK; i++)
        bytes += bl_format_bytes(m->own->stored[i]->format, &m->own->stored[i]->shape);
    bytes = BL_MIN(BL_MAX(bytes / 3, STREAM_PASS_LEAST), STREAM_PASS_MOST);
    return BL_MAX((int64_t)(bytes / row), PASS_ROWS);
}

bl_status bl_buffer_fit(bl_backend *be, bl_buffer **b, uint64_t bytes, bl_err *e)
{
    if (*b && (*b)->bytes >= bytes) return BL_OK;
    be->ops->buffer_free(*b);
    *b = NULL;
    return be->ops->buffer_new(be, bytes, b, e);
}
