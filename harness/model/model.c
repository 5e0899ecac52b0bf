/* model.c - the weights of a model: named linears, norms, embedding and head; blocks that come and go when streaming.
 */
#include "model_impl.h"
#include "size.h"
#include <string.h>

/* ---- blocks ---- */
static bl_status load_linear(const bl_model *m, bl_backend *be, bl_linear *l, bl_err *e)
{
    bl_status st = bl_linear_load(m->ckpt, be, l, e);
    if (st == BL_OK && !m->as_stored) st = be->ops->prepare(be, &l->weight, e);
    return st;
}

static bl_status load_block(bl_model *m, int64_t block, bl_err *e)
{
    bl_status st = BL_OK;
    const bl_block *b = &m->blocks[block];
    for (int i = 0; i < b->n_linears; i++)
        if (!bl_linear_resident(&b->linear[i])) BL_TRY(load_linear(m, b->be, &b->linear[i], e));
    for (int i = 0; i < b->n_norms; i++)
        if (!b->norm[i].weight.buf) BL_TRY(bl_norm_load(m->ckpt, b->be, &b->norm[i], e));
out:
    if (st != BL_OK) bl_within(e, "block %lld", (long long)block);
    return st;
}

static void drop_block(bl_model *m, int64_t block)
{
    const bl_block *b = &m->blocks[block];
    for (int i = 0; i < b->n_linears; i++) bl_linear_drop(&b->linear[i]);
    for (int i = 0; i < b->n_norms; i++) bl_norm_drop(&b->norm[i]);
}

bl_status bl_end_acquire(bl_model *m, bl_linear *end, bl_err *e)
{
    bl_linear *other = end == &m->embed ? &m->head : &m->embed;
    if (bl_linear_resident(end)) return BL_OK;
    if (m->own->ends_too) bl_linear_drop(other);
    return load_linear(m, m->be, end, e);
}

void bl_end_release(bl_model *m, bl_linear *end)
{
    if (m->own->ends_too) bl_linear_drop(end);
}

void bl_block_forget_ahead(bl_model *m)
{
    bl_model_own *own = m->own;
    if (own->ahead >= 0 && !own->users[own->ahead]) drop_block(m, own->ahead);
    own->ahead = -1;
}

/* What does not work out here, memory above all, is done in acquire or said there. */
void bl_block_ahead(bl_model *m, int64_t block)
{
    bl_model_own *own = m->own;
    bl_backend *be = m->be;
    if (!m->stream || block >= m->config.n_layers || !be->ops->stream_new || own->users[block]) return;
    if (!own->aside && be->ops->stream_new(be, &own->aside, NULL) != BL_OK) return;
    if (!own->loaded && be->ops->event_new(be, &own->loaded, NULL) != BL_OK) return;
    if (be->ops->stream_use(be, own->aside, NULL) != BL_OK) return;
    bl_status st = load_block(m, block, NULL);
    if (st == BL_OK) st = be->ops->event_record(be, own->loaded, NULL);
    own->ahead = block;
    be->ops->stream_use(be, NULL, NULL);
    if (st != BL_OK) bl_block_forget_ahead(m);
}

bl_status bl_block_acquire(bl_model *m, int64_t block, bl_err *e)
{
    bl_status st = BL_OK;

    if (m->own->ahead == block) {
        st = m->be->ops->event_wait(m->be, m->own->loaded, e);
        m->own->ahead = -1;
    }
    if (st == BL_OK) st = load_block(m, block, e);

    if (st != BL_OK) {
        if (m->stream && !m->own->users[block]) drop_block(m, block);
        return st;
    }
    m->own->users[block]++;
    if (m->stream && block + 1 < m->config.n_layers)
        for (int i = 0; i < m->blocks[block + 1].n_linears; i++) {
            const bl_linear *next = &m->blocks[block + 1].linear[i];
            bl_checkpoint_want(m->ckpt, bl_checkpoint_param(m->ckpt, next->role, next->block));
        }
    return BL_OK;
}

void bl_block_release(bl_model *m, int64_t block)
{
    if (--m->own->users[block] == 0 && m->stream) drop_block(m, block);
}

/* ---- by role ---- */
bl_linear *bl_model_linear(bl_model *m, int64_t block, bl_role role)
{
    if (role == BL_ROLE_EMBED) return &m->embed;
    if (role == BL_ROLE_HEAD) return m->head.weight.format ? &m->head : NULL;
    if (block < 0 || block >= m->config.n_layers) return NULL;
    for (int i = 0; i < m->blocks[block].n_linears; i++)
        if (m->blocks[block].linear[i].role == role) return &m->blocks[block].linear[i];
    return NULL;
}

bl_norm *bl_model_norm(bl_model *m, int64_t block, bl_role role)
{
    if (role == BL_ROLE_NORM) return &m->norm;
    if (block < 0 || block >= m->config.n_layers) return NULL;
    for (int i = 0; i < m->blocks[block].n_norms; i++)
        if (m->blocks[block].norm[i].role == role) return &m->blocks[block].norm[i];
    return NULL;
}

const bl_linear *bl_model_head(const bl_model *m) { return m->head.weight.format ? &m->head : &m->embed; }

bl_status bl_model_untie(bl_model *m, bl_err *e)
{
    bl_status st = BL_OK;
    const bl_weight *from = &m->embed.weight;
    bl_weight copy = {0};
    void *host = NULL;

    if (m->head.weight.format) return BL_OK;
    if (m->be) {
        BL_TRY(bl_weight_new(m->be, from->format, &from->shape, &copy, e));
        for (int i = 0; i < from->n_parts; i++) {
            if (!(host = bl_new((size_t)bl_tensor_bytes(&from->part[i]), 1, e))) {
                st = BL_E_NOMEM;
                goto out;
            }
            BL_TRY(m->be->ops->download(m->be, &from->part[i], host, e));
            BL_TRY(m->be->ops->upload(m->be, &copy.part[i], host, e));
            bl_free(host);
            host = NULL;
        }
        bl_linear_set_weight(&m->head, &copy);
    } else {
        m->head.weight.format = from->format;
        m->head.weight.shape = from->shape;
    }
    m->head.in = from->shape.in;
    m->head.out = from->shape.out;
    m->config.tied = false;
out:
    bl_weight_free(&copy);
    bl_free(host);
    return st;
}

/* ---- names, shapes and formats ---- */
/* "model.layers.3.mlp.up_proj" of "….weight" */
static void base_name(char out[96], const char *name)
{
    snprintf(out, 96, "%.*s", (int)(strlen(name) - strlen(".weight")), name);
}

static bl_status find(bl_checkpoint *c, const bl_param *p, const bl_stored **out, bl_err *e)
{
    const bl_stored *s = bl_checkpoint_find(c, p->name);
    if (!s) return bl_fail(e, BL_E_FORMAT, "%s: tensor '%s' is missing", bl_checkpoint_path(c), p->name);
    if (s->shape.out != p->out || (s->shape.in != p->in && !s->n_transforms))
        return bl_fail(e, BL_E_FORMAT, "%s: tensor '%s' is [%lld, %lld], expected [%lld, %lld]", bl_checkpoint_path(c),
                       p->name, (long long)s->shape.out, (long long)s->shape.in, (long long)p->out, (long long)p->in);
    *out = s;
    return BL_OK;
}

static bl_status outline_linear(bl_model *m, bl_role role, int64_t block, bl_linear *l, bl_err *e)
{
    bl_param p;
    const bl_stored *s;
    l->role = role;
    l->block = block;
    if (!bl_param_of(&m->config, role, block, &p)) { /* a tied head */
        snprintf(l->name, sizeof l->name, "%s", bl_roles[role].part);
        l->in = m->config.dim;
        l->out = m->config.vocab;
        return BL_OK;
    }
    bl_status st = find(m->ckpt, &p, &s, e);
    if (st != BL_OK) return st;
    base_name(l->name, p.name);
    l->in = p.in;
    l->out = p.out;
    l->weight.format = s->format;
    l->weight.shape = s->shape;
    l->act = s->act;
    st = bl_linear_outline_extras(l, s, e);
    if ((s = bl_linear_stored_bias(m->ckpt, l)) != NULL) {
        l->bias = bl_tensor_1d(NULL, 0, BL_F32, l->out);
        l->bias_format = s->format->kind == BL_FMT_DENSE ? s->format : bl_format_find("fp32");
    }
    return st;
}

static bl_status outline_norm(bl_model *m, bl_role role, int64_t block, bl_norm *n, bl_err *e)
{
    bl_param p;
    const bl_stored *s;
    if (!bl_param_of(&m->config, role, block, &p))
        return bl_fail(e, BL_E_INTERNAL, "the architecture has no %s", bl_roles[role].part);
    bl_status st = find(m->ckpt, &p, &s, e);
    if (st != BL_OK) return st;
    base_name(n->name, p.name);
    n->role = role;
    n->block = block;
    n->weight = bl_tensor_1d(NULL, 0, BL_F32, p.in);
    n->format = s->format->kind == BL_FMT_DENSE ? s->format : bl_format_find("fp32");
    return BL_OK;
}

static bl_status outline_blocks(bl_model *m, bl_err *e)
{
    bl_status st = BL_OK;
    bl_role linear[BL_N_ROLES], norm[BL_N_ROLES];
    int n_linears = 0, n_norms = 0;

    for (int r = 0; r < BL_N_ROLES; r++) {
        if (!bl_roles[r].block || !bl_has_role(&m->config, (bl_role)r)) continue;
        if (bl_roles[r].kind == BL_KIND_LINEAR) linear[n_linears++] = (bl_role)r;
        if (bl_roles[r].kind == BL_KIND_NORM) norm[n_norms++] = (bl_role)r;
    }
    m->n_linears = (size_t)(m->config.n_layers * n_linears);
    m->n_norms = (size_t)(m->config.n_layers * n_norms);
    if (!(m->blocks = bl_new((size_t)m->config.n_layers, sizeof *m->blocks, e)) ||
        !(m->linears = bl_new(m->n_linears, sizeof *m->linears, e)) ||
        !(m->norms = bl_new(m->n_norms, sizeof *m->norms, e)))
        return BL_E_NOMEM;
    for (int64_t b = 0; b < m->config.n_layers; b++) {
        m->blocks[b] = (bl_block){.be = m->be,
                                  .linear = m->linears + b * n_linears,
                                  .n_linears = n_linears,
                                  .norm = m->norms + b * n_norms,
                                  .n_norms = n_norms};
        for (int i = 0; i < n_linears; i++) BL_TRY(outline_linear(m, linear[i], b, &m->blocks[b].linear[i], e));
        for (int i = 0; i < n_norms; i++) BL_TRY(outline_norm(m, norm[i], b, &m->blocks[b].norm[i], e));
    }
out:
    return st;
}

static bl_status outline(bl_checkpoint *c, bl_backend *be, bl_model **out, bl_err *e)
{
    bl_status st = BL_OK;
    bl_model *m = bl_new(1, sizeof *m, e);
    if (!m) return BL_E_NOMEM;
    m->config = *bl_checkpoint_config(c);
    m->ckpt = c;
    m->be = be;
    BL_TRY(outline_linear(m, BL_ROLE_EMBED, -1, &m->embed, e));
    BL_TRY(outline_blocks(m, e));
    BL_TRY(outline_norm(m, BL_ROLE_NORM, -1, &m->norm, e));
    BL_TRY(outline_linear(m, BL_ROLE_HEAD, -1, &m->head, e));
    *out = m;
    m = NULL;
out:
    bl_model_close(m);
    return st;
}

bl_status bl_head_open(bl_checkpoint *c, bl_backend *be, bl_linear *out, bl_err *e)
{
    bl_status st = BL_OK;
    bl_model m = {.config = *bl_checkpoint_config(c), .ckpt = c};
    bl_linear head = {0};
    BL_TRY(outline_linear(&m, m.config.tied ? BL_ROLE_EMBED : BL_ROLE_HEAD, -1, &head, e));
    BL_TRY(load_linear(&m, be, &head, e));
    *out = head;
    head = (bl_linear){0};
out:
    bl_linear_free(&head);
    return st;
}

bl_status bl_model_outline(bl_checkpoint *c, bl_model **out, bl_err *e) { return outline(c, NULL, out, e); }

/* ---- open and close ---- */
bl_status bl_model_open(bl_checkpoint *c, bl_backend *be, const bl_model_opts *o, bl_model **out, bl_err *e)
{
    bl_status st = BL_OK;
    bl_model *m = NULL;
    bl_model_own *own;

    if (o && bl_kv_bits(o->kv) && bl_kv_bits(o->kv) < 8 && !be->ops->kv_low)
        return bl_fail(e, BL_E_UNSUPPORTED, "keys and values of %d bits are not there on %s; expected act or int8",
                       bl_kv_bits(o->kv), be->ops->name);
    BL_TRY(bl_checkpoint_verify(c, e));
    BL_TRY(outline(c, be, &m, e));
    m->stream = o && o->stream;
    m->later = o && o->later;
    if (!(own = m->own = bl_new(1, sizeof *own, e))) {
        st = BL_E_NOMEM;
        goto out;
    }
    m->kv = o ? o->kv : BL_KV_ACT;
    m->as_stored = o && o->as_stored;
    own->max_len = o && o->max_len > 0 ? o->max_len : bl_config_reach(&m->config);
    own->ahead = -1;
    own->chunk_rows = be->wide * bl_chunk_rows(&m->config);
    if (!(own->users = bl_new((size_t)m->config.n_layers, sizeof *own->users, e)) ||
        !(own->inv_freq = bl_new((size_t)m->config.head_dim / 2, sizeof *own->inv_freq, e))) {
        st = BL_E_NOMEM;
        goto out;
    }
    bl_rope_frequencies(&m->config, 0, own->inv_freq);
    BL_TRY(bl_norm_load(c, be, &m->norm, e));
    uint64_t limit = be->opts.memory_limit, ends = bl_linear_bytes(&m->embed) + bl_linear_bytes(&m->head);
    own->ends_too = m->stream && !m->as_stored && limit && ends > limit / 4;
    if (!own->ends_too) {
        BL_TRY(load_linear(m, be, &m->embed, e));
        if (m->head.weight.format) BL_TRY(load_linear(m, be, &m->head, e));
    }
    for (int64_t b = 0; b < m->config.n_layers && !m->stream && !m->later; b++) BL_TRY(load_block(m, b, e));
    *out = m;
    m = NULL;
out:
    bl_model_close(m);
    return st;
}

void bl_model_close(bl_model *m)
{
    if (!m) return;
    for (size_t i = 0; m->linears && i < m->n_linears; i++) bl_linear_free(&m->linears[i]);
    for (size_t i = 0; m->norms && i < m->n_norms; i++) bl_norm_drop(&m->norms[i]);
    bl_linear_free(&m->embed);
    bl_linear_free(&m->head);
    bl_norm_drop(&m->norm);
    if (m->own) {
        m->be->ops->buffer_free(m->own->rope);
        m->be->ops->buffer_free(m->own->residual);
        m->be->ops->buffer_free(m->own->work);
        bl_replay_free(m->be, m->own->replay);
        if (m->own->loaded) m->be->ops->event_free(m->own->loaded);
        if (m->own->aside) m->be->ops->stream_free(m->own->aside);
        bl_free(m->own->users);
        bl_free(m->own->inv_freq);
        bl_pass_plan_free(m->be, &m->own->plan);
        bl_free(m->own);
    }
    bl_free(m->blocks);
    bl_free(m->linears);
    bl_free(m->norms);
    bl_free(m);
}

/* ---- sizes ---- */
double bl_model_bits(const bl_model *m)
{
    double bytes = 0, weights = 0;
    for (size_t i = 0; i < m->n_linears; i++) {
        bytes += (double)bl_linear_bytes(&m->linears[i]);
        weights += (double)m->linears[i].out * (double)m->linears[i].in;
    }
    return bytes * 8 / weights;
}

static uint64_t norm_bytes(const bl_norm *n)
{
    return bl_format_bytes(n->format, &(bl_shape){.out = 1, .in = n->weight.dim[0]});
}

uint64_t bl_model_bytes(const bl_model *m)
{
    uint64_t n = bl_linear_bytes(&m->embed) + bl_linear_bytes(&m->head) + norm_bytes(&m->norm);
    for (size_t i = 0; i < m->n_linears; i++) n += bl_linear_bytes(&m->linears[i]);
    for (size_t i = 0; i < m->n_norms; i++) n += norm_bytes(&m->norms[i]);
    return n;
}

static bool simulated(const bl_backend *be, const bl_linear *l)
{
    return l->act.bits > 0 && !be->ops->linear_is_integer(be, &(bl_linear_args){.w = {&l->weight}, .act = l->act});
}

const char *bl_model_simulated(const bl_model *m)
{
    bool any = simulated(m->be, bl_model_head(m));
    for (int64_t b = 0; b < m->config.n_layers; b++)
        for (int i = 0; i < m->blocks[b].n_linears; i++) any |= simulated(m->blocks[b].be, &m->blocks[b].linear[i]);
    return any ? "activations" : NULL;
}

void bl_model_rest(bl_model *m)
{
    bl_buffer **const kept[] = {&m->own->residual, &m->own->work};
    for (size_t i = 0; i < BL_COUNT(kept); i++) {
        m->be->ops->buffer_free(*kept[i]);
        *kept[i] = NULL;
    }
}

static bool is_ragged(const bl_linear *l) { return l->weight.format && bl_shape_ragged(&l->weight.shape); }
static bool is_adapted(const bl_linear *l) { return l->n_adapters > 0; }
static bool is_transformed(const bl_linear *l) { return l->n_transforms > 0; }
static bool is_turned(const bl_linear *l) { return l->n_after > 0; }

static void add_note(bl_text *out, const char *text) { bl_text_addf(out, "%s%s", out->n ? "; " : "", text); }

static bool stored_alike(const bl_linear *x, const bl_linear *y)
{
    const bl_shape *a = &x->weight.shape, *b = &y->weight.shape;
    return x->weight.format == y->weight.format &&
           (a->group == b->group || (a->group >= a->in && b->group >= b->in)); /* whole rows */
}

/* What head and embedding are stored as, unless everything is stored as they are. */
static void note_ends(const bl_model *m, bl_text *out)
{
    const bl_linear *last = bl_model_head(m);
    bool same = stored_alike(&m->embed, last), all = same;
    char embed[64], head[64], text[160];

    for (size_t i = 0; i < m->n_linears && all; i++) all = stored_alike(&m->embed, &m->linears[i]);
    if (all) return;
    bl_stored_text(m->embed.weight.format, &m->embed.weight.shape, embed);
    bl_stored_text(last->weight.format, &last->weight.shape, head);
    if (same) snprintf(text, sizeof text, "lm_head and embeddings %s", embed);
    else snprintf(text, sizeof text, "lm_head %s, embeddings %s", head, embed);
    add_note(out, text);
}

void bl_model_notes(const bl_model *m, bl_text *out)
{
    static const struct {
        bool (*of)(const bl_linear *);
        const char *text;
    } rows[] = {
        {is_ragged, "ragged last group"},
        {is_adapted, "adapters beside the weights"},
        {is_transformed, "inputs transformed"},
        {is_turned, "outputs transformed"},
    };
    for (size_t k = 0; k < BL_COUNT(rows); k++) {
        bool any = rows[k].of(&m->embed) || rows[k].of(&m->head);
        for (size_t i = 0; i < m->n_linears; i++) any |= rows[k].of(&m->linears[i]);
        if (any) add_note(out, rows[k].text);
    }
    if (m->config.turned_keys) add_note(out, "queries and keys transformed");
    note_ends(m, out);
}

int64_t bl_model_max_len(const bl_model *m) { return m->own->max_len; }

int64_t bl_pass_tokens(const bl_model *m)
{
    uint64_t resident = bl_linear_bytes(&m->embed) + bl_linear_bytes(&m->head);
    for (int i = 0; i < m->blocks[0].n_linears; i++) resident += bl_linear_bytes(&m->blocks[0].linear[i]);
    return bl_pass_rows(&m->config,
                        &(bl_pass_where){m->stream, resident, m->be->wide, m->be->opts.memory_limit, m->kv});
}
