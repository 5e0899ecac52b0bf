/* variant.c - the writer of a saved model.
 *
 * A block's parameters are listed with their tensors, then the header of its file is known and everything is written
 * once, in order. All files go to DIR.tmp.<pid>, each synced; renaming that directory is the commit.
 */
#include "variant_impl.h"
#include "harness/checkpoint/variant_parts.h"
#include "kernels/base/fs.h"
#include <errno.h>
#include <inttypes.h>
#include <limits.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum { CHUNK = 4 << 20 };

/* ---- beginning ---- */
bl_status bl_variant_place(const char *dir, const bl_checkpoint *source, bl_err *e)
{
    char real[PATH_MAX];
    char **names = NULL;
    size_t n = 0;
    if (*dir == 0) return bl_fail(e, BL_E_CONFIG, "no output directory is given");
    if (!bl_exists(dir)) return BL_OK;
    if (realpath(dir, real) && !strcmp(real, bl_checkpoint_path(source)))
        return bl_fail(e, BL_E_CONFIG, "output path %s is the model itself", dir);
    if (!bl_is_dir(dir)) return bl_fail(e, BL_E_CONFIG, "output path %s exists and is not a directory", dir);
    bl_status st = bl_dir_list(dir, &names, &n, e);
    bl_list_free(names, n);
    if (st == BL_OK && n > 0) return bl_fail(e, BL_E_CONFIG, "output directory %s exists and is not empty", dir);
    return st;
}

static bl_status make_temp(bl_variant *v, bl_err *e)
{
    bl_status st = BL_OK;
    bool taken;
    BL_TRY(bl_remove_tree(v->temp, e)); /* of an earlier process that had our pid */
    BL_TRY(bl_variant_adopt(v, &taken, e));
    if (taken) BL_TRY(bl_variant_recall(v, e));
    else BL_TRY(bl_make_dirs(v->temp, e));
out:
    return st;
}

static bl_status put_stage(bl_json_out *j, const bl_stage *s, bl_err *e)
{
    bl_status st = BL_OK;
    bl_json *options = NULL;
    const char *text = s->options ? s->options : "{}";
    BL_TRY(bl_json_parse(text, strlen(text), "method options", BL_JSON_PLAIN, &options, e));
    bl_json_object(j, NULL);
    bl_json_add_str(j, "text", s->text);
    bl_json_add_str(j, "hash", s->hash);
    bl_json_add_node(j, "options", options);
    if (s->note) bl_json_add_str(j, "note", s->note);
    if (s->calibration) bl_json_add_str(j, "calibration", s->calibration);
    if (s->calibration_text) bl_json_add_str(j, "calibration_text", s->calibration_text);
    bl_json_end(j);
out:
    bl_json_free(options);
    return st;
}

static bl_status keep_text(bl_variant *v, const char **text, bl_err *e)
{
    if (!*text) return BL_OK;
    *text = bl_arena_str(v->arena, *text, strlen(*text), e);
    return *text ? BL_OK : BL_E_NOMEM;
}

/* The source's stages, then those that follow. */
static bl_status keep_stages(bl_variant *v, const bl_stage *stages, int n, bl_err *e)
{
    bl_status st = BL_OK;
    int before;
    const bl_stage *source = bl_checkpoint_stages(v->source, &before);
    BL_TRY(bl_arena_new(&v->arena, e));
    if (!(v->stage = bl_alloc(v->arena, (size_t)(before + n), sizeof *v->stage, e))) return BL_E_NOMEM;
    for (int i = 0; i < before + n; i++) {
        bl_stage *s = &v->stage[v->n_stages++];
        *s = i < before ? source[i] : stages[i - before];
        BL_TRY(keep_text(v, &s->text, e));
        BL_TRY(keep_text(v, &s->hash, e));
        BL_TRY(keep_text(v, &s->options, e));
        BL_TRY(keep_text(v, &s->note, e));
        BL_TRY(keep_text(v, &s->calibration, e));
        BL_TRY(keep_text(v, &s->calibration_text, e));
    }
out:
    return st;
}

static bl_status put_stages(const bl_variant *v, bl_text *t, bl_err *e)
{
    bl_status st = BL_OK;
    bl_json_out j = {.t = t, .compact = true};
    bl_json_lines(&j, NULL);
    for (int i = 0; i < v->n_stages; i++) BL_TRY(put_stage(&j, &v->stage[i], e));
    bl_json_end(&j);
    st = bl_text_check(t, e);
out:
    return st;
}

bl_status bl_variant_note(bl_variant *v, const char *note, bl_err *e)
{
    bl_stage *s = &v->stage[v->n_stages - 1];
    s->note = note;
    return keep_text(v, &s->note, e);
}

bl_status bl_variant_saw(bl_variant *v, const char *calibration, bl_hash text, bl_err *e)
{
    bl_stage *s = &v->stage[v->n_stages - 1];
    char hex[33];
    bl_hash_hex(text, hex);
    s->calibration = calibration;
    s->calibration_text = hex;
    bl_status st = keep_text(v, &s->calibration, e);
    return st == BL_OK ? keep_text(v, &s->calibration_text, e) : st;
}

bl_status bl_variant_begin(const char *dir, bl_checkpoint *source, const bl_stage *stages, int n, bl_variant **out,
                           bl_err *e)
{
    bl_status st = bl_variant_place(dir, source, e);
    if (st != BL_OK) return st;
    bl_variant *v = bl_new(1, sizeof *v, e);
    if (!v) return BL_E_NOMEM;
    v->source = source;
    v->config = *bl_checkpoint_config(source);
    v->buf_bytes = CHUNK;
    if (!(v->dir = bl_bare_dir(dir, e)) || !(v->buf = bl_new(CHUNK, 1, e)) ||
        !(v->temp = bl_format_text(e, "%s.tmp.%ld", v->dir, (long)getpid()))) {
        st = BL_E_NOMEM;
        goto out;
    }
    BL_TRY(keep_stages(v, stages, n, e));
    BL_TRY(make_temp(v, e));
    *out = v;
    v = NULL;
out:
    bl_variant_drop(v);
    return st;
}

/* ---- what a parameter is ---- */
static bl_status add_piece(bl_variant *v, const char *name, bl_tensor t, const bl_format *as, bl_err *e)
{
    bl_status st = bl_grow(&v->piece, &v->cap, v->n + 1, sizeof *v->piece, e);
    if (st != BL_OK) return st;
    piece *p = &v->piece[v->n++];
    *p = (piece){.t = t, .as = as};
    snprintf(p->name, sizeof p->name, "%s", name);
    return BL_OK;
}

/* Opens the entry of a parameter. */
static void put_shape(bl_json_out *j, const char *name, const bl_format *f, const bl_shape *g)
{
    bl_json_object(j, NULL);
    bl_json_add_str(j, "name", name);
    bl_json_add_str(j, "format", f->name);
    bl_json_add_int(j, "out", g->out);
    bl_json_add_int(j, "in", g->in);
    bl_json_add_int(j, "group", g->group);
    bl_json_add_str(j, "zero", bl_zero_names[g->zero]);
    bl_json_add_str(j, "scale", bl_scale_names[g->scale]);
    bl_json_add_bool(j, "double_quant", g->double_quant);
    if (g->salient) bl_json_add_int(j, "salient", g->salient);
    if (g->scale_bits) bl_json_add_int(j, "scale_bits", g->scale_bits);
    if (g->scale_group) bl_json_add_int(j, "scale_group", g->scale_group);
}

static bl_status put_vector(bl_variant *v, bl_text *t, const char *name, const bl_tensor *x, const bl_format *f,
                            bl_err *e)
{
    bl_json_out j = bl_json_elements(t);
    j.compact = true;
    put_shape(&j, name, f, &(bl_shape){.out = 1, .in = x->dim[0]});
    bl_json_end(&j);
    return add_piece(v, name, *x, f, e);
}

static void put_act(bl_json_out *j, const bl_actq *a)
{
    bl_json_object(j, "act");
    bl_json_add_int(j, "bits", a->bits);
    bl_json_add_bool(j, "symmetric", a->symmetric);
    bl_json_add_str(j, "unit", bl_unit_names[a->unit]);
    bl_json_add_int(j, "group", a->group);
    bl_json_add_real(j, "scale", a->scale);
    bl_json_add_real(j, "zero", a->zero);
    bl_json_end(j);
}

static bl_status put_transforms(bl_variant *v, bl_json_out *j, const char *name, const bl_linear *l, bl_err *e)
{
    bl_status st = BL_OK;
    char tensor[192];
    int n = l->n_transforms + l->n_after;
    if (!n) return BL_OK;
    if (l->n_after) bl_json_add_int(j, "after", l->n_after); /* the last ones are of the output */
    bl_json_array(j, "transforms");
    for (int i = 0; i < n; i++) {
        const bl_transform *x = &l->transform[i];
        bl_json_object(j, NULL);
        bl_json_add_str(j, "kind", bl_transform_names[x->kind]);
        bl_json_add_int(j, "in", x->in);
        bl_json_add_int(j, "out", x->out);
        bl_json_array(j, "shape");
        for (int d = 0; d < x->data.ndim; d++) bl_json_add_int(j, NULL, x->data.dim[d]);
        bl_json_end(j);
        bl_json_end(j);
        if (!x->data.ndim) continue;
        bl_extra_name(name, "transform", i, "", tensor, sizeof tensor);
        BL_TRY(add_piece(v, tensor, x->data, NULL, e));
    }
    bl_json_end(j);
out:
    return st;
}

static bl_status add_parts(bl_variant *v, const char *name, const bl_weight *w, bl_err *e)
{
    bl_status st = BL_OK;
    bl_part_spec spec[BL_MAX_PARTS];
    char tensor[192];
    w->format->parts(w->format, &w->shape, spec);
    for (int p = 0; p < w->n_parts; p++) {
        bl_part_name(name, w->format, &spec[p], tensor, sizeof tensor);
        BL_TRY(add_piece(v, tensor, w->part[p], NULL, e));
    }
out:
    return st;
}

static bl_status put_adapters(bl_variant *v, bl_json_out *j, const char *name, const bl_linear *l, bl_err *e)
{
    bl_status st = BL_OK;
    char tensor[192];
    if (!l->n_adapters) return BL_OK;
    bl_json_array(j, "adapters");
    for (int i = 0; i < l->n_adapters; i++) {
        const bl_lowrank *a = &l->adapter[i];
        const bl_weight *w = bl_linear_packed(l, i);
        bl_json_object(j, NULL);
        bl_json_add_int(j, "rank", a->a.dim[0]);
        bl_json_add_real(j, "scale", a->scale);
        if (w) bl_json_array(j, "packed");
        for (int k = 0; k < 2; k++) {
            bl_extra_name(name, "adapter", i, k ? ".b" : ".a", tensor, sizeof tensor);
            if (!w) {
                BL_TRY(add_piece(v, tensor, k ? a->b : a->a, NULL, e));
                continue;
            }
            put_shape(j, tensor, w[k].format, &w[k].shape);
            bl_json_end(j);
            BL_TRY(add_parts(v, tensor, &w[k], e));
        }
        if (w) bl_json_end(j);
        bl_json_end(j);
    }
    bl_json_end(j);
out:
    return st;
}

static bl_status put_linear(bl_variant *v, bl_text *t, const bl_linear *l, bl_err *e)
{
    bl_status st = BL_OK;
    const bl_weight *w = &l->weight;
    char name[128];

    if (!bl_linear_resident(l)) return bl_fail(e, BL_E_INTERNAL, "writing %s: %s is not in memory", v->dir, l->name);
    if (w->layout) return bl_fail(e, BL_E_INTERNAL, "writing %s: %s is in a layout of the backend", v->dir, l->name);
    if (w->shape.out != l->out || w->shape.in != bl_linear_width(l))
        return bl_fail(e, BL_E_INTERNAL,
                       "writing %s: %s is [%" PRId64 ", %" PRId64 "], expected [%" PRId64 ", %" PRId64 "]", v->dir,
                       l->name, w->shape.out, w->shape.in, l->out, bl_linear_width(l));
    if (l->n_transforms + l->n_after > BL_MOST_EXTRAS || l->n_adapters > BL_MOST_EXTRAS)
        return bl_fail(e, BL_E_INTERNAL, "writing %s: %s has more than %d transforms or adapters", v->dir, l->name,
                       BL_MOST_EXTRAS);
    snprintf(name, sizeof name, "%s.weight", l->name);
    bl_json_out j = bl_json_elements(t);
    j.compact = true;
    put_shape(&j, name, w->format, &w->shape);
    BL_TRY(add_parts(v, name, w, e));
    if (l->act.bits) put_act(&j, &l->act);
    BL_TRY(put_transforms(v, &j, name, l, e));
    BL_TRY(put_adapters(v, &j, name, l, e));
    bl_json_end(&j);
out:
    return st;
}

static bl_status put_norm(bl_variant *v, bl_text *t, const bl_norm *n, bl_err *e)
{
    char name[128];
    if (!n->weight.buf) return bl_fail(e, BL_E_INTERNAL, "writing %s: %s is not in memory", v->dir, n->name);
    snprintf(name, sizeof name, "%s.weight", n->name);
    return put_vector(v, t, name, &n->weight, n->format, e);
}

/* The entry of one role of a block: a linear, its bias, or a norm. */
static bl_status put_role(bl_variant *v, bl_model *m, int64_t block, bl_role role, bl_err *e)
{
    char name[128];
    const bl_linear *l = bl_model_linear(m, block, bl_roles[role].of);
    const bl_norm *n = bl_model_norm(m, block, role);
    switch (bl_roles[role].kind) {
    case BL_KIND_LINEAR: return l ? put_linear(v, &v->blocks, l, e) : BL_OK;
    case BL_KIND_NORM: return n ? put_norm(v, &v->blocks, n, e) : BL_OK;
    case BL_KIND_BIAS:
        if (!l || !l->bias.buf) return BL_OK;
        v->config.roles |= BL_ROLE_BIT(role);
        snprintf(name, sizeof name, "%s.bias", l->name);
        return put_vector(v, &v->blocks, name, &l->bias, l->bias_format, e);
    default: return BL_OK;
    }
}

/* ---- bytes ---- */
static bl_status room(bl_variant *v, uint64_t bytes, bl_err *e)
{
    if (bytes <= v->buf_bytes) return BL_OK;
    void *p = bl_resize(v->buf, bytes, 1, e);
    if (!p) return BL_E_NOMEM;
    v->buf = p;
    v->buf_bytes = bytes;
    return BL_OK;
}

static bl_dtype dtype_of(const piece *p)
{
    bl_part_spec spec[BL_MAX_PARTS];
    if (!p->as) return p->t.dtype;
    p->as->parts(p->as, &(bl_shape){.out = 1, .in = p->t.dim[0]}, spec);
    return spec[0].dtype;
}

static uint64_t bytes_of(const piece *p) { return (uint64_t)bl_tensor_count(&p->t) * bl_dtype_bytes(dtype_of(p)); }

static bl_status write_as_it_is(bl_variant *v, bl_writer *w, const piece *p, bl_err *e)
{
    bl_status st = BL_OK;
    int64_t n = bl_tensor_count(&p->t), step = (int64_t)(v->buf_bytes / bl_dtype_bytes(p->t.dtype));
    bl_tensor flat = bl_tensor_1d(p->t.buf, p->t.offset, p->t.dtype, n);
    for (int64_t i = 0; i < n; i += step) {
        bl_tensor some = bl_tensor_part(flat, i, BL_MIN(step, n - i));
        BL_TRY(p->t.buf->backend->ops->download(p->t.buf->backend, &some, v->buf, e));
        bl_hash_add(v->hash, v->buf, bl_tensor_bytes(&some));
        BL_TRY(bl_writer_add(w, v->buf, bl_tensor_bytes(&some), e));
    }
out:
    return st;
}

/* A vector in its dense format. Values that came from that format are the same bits again. */
static bl_status write_vector(bl_variant *v, bl_writer *w, const piece *p, bl_err *e)
{
    bl_status st = BL_OK;
    uint64_t floats = bl_tensor_bytes(&p->t), bytes = bytes_of(p);
    bl_shape g = {.out = 1, .in = p->t.dim[0]};
    BL_TRY(room(v, floats + bytes, e));
    void *packed = v->buf + floats;
    BL_TRY(p->t.buf->backend->ops->download(p->t.buf->backend, &p->t, v->buf, e));
    BL_TRY(p->as->pack(p->as, &g, (const float *)v->buf, &packed, e));
    bl_hash_add(v->hash, packed, bytes);
    BL_TRY(bl_writer_add(w, packed, bytes, e));
out:
    if (st != BL_OK) bl_within(e, "writing %s: %s", v->dir, p->name);
    return st;
}

/* The tensors' names and places; padded with spaces, so that tensor bytes begin at a multiple of 64. */
static void put_header(bl_variant *v, bl_text *h)
{
    uint64_t at = 0;
    bl_json_out j = {.t = h, .compact = true};
    bl_json_object(&j, NULL);
    bl_json_object(&j, "__metadata__");
    bl_json_add_str(&j, "format", BL_VARIANT_SCHEMA);
    bl_json_end(&j);
    for (size_t i = 0; i < v->n; i++) {
        const piece *p = &v->piece[i];
        bl_json_object(&j, p->name);
        bl_json_add_str(&j, "dtype", bl_dtype_name(dtype_of(p)));
        bl_json_array(&j, "shape");
        for (int d = 0; d < p->t.ndim; d++) bl_json_add_int(&j, NULL, p->t.dim[d]);
        bl_json_end(&j);
        bl_json_array(&j, "data_offsets");
        bl_json_add_int(&j, NULL, (int64_t)at);
        bl_json_add_int(&j, NULL, (int64_t)(at + bytes_of(p)));
        bl_json_end(&j);
        bl_json_end(&j);
        at += bytes_of(p);
    }
    bl_json_end(&j);
    for (size_t pad = (64 - (h->n + 8) % 64) % 64; pad > 0; pad--) bl_text_add(h, " ");
}

/* What was written, for whoever reads it. */
static void put_sum(bl_variant *v, const char *name, bl_hash hash)
{
    char hex[33];
    bl_json_out j = bl_json_elements(&v->sums);
    j.compact = true;
    bl_hash_hex(hash, hex);
    bl_json_object(&j, NULL);
    bl_json_add_str(&j, "name", name);
    bl_json_add_str(&j, "hash", hex);
    bl_json_end(&j);
}

/* File `i` of the directory from the pieces at hand. */
static bl_status write_pieces(bl_variant *v, int64_t i, bl_err *e)
{
    bl_status st = BL_OK;
    bl_text h = {0};
    bl_writer *w = NULL;
    char name[64], *path;
    bl_variant_file_name(i, v->config.n_layers, name);
    if (!(path = bl_join(v->temp, name, e))) return BL_E_NOMEM;
    put_header(v, &h);
    BL_TRY(bl_text_check(&h, e));
    BL_TRY(bl_writer_open(path, &w, e));
    BL_TRY(bl_writer_add(w, &(uint64_t){h.n}, 8, e));
    BL_TRY(bl_writer_add(w, h.s, h.n, e));
    for (size_t k = 0; k < v->n; k++) {
        const piece *p = &v->piece[k];
        if (!(v->hash = bl_hasher_new(e))) {
            st = BL_E_NOMEM;
            goto out;
        }
        st = p->as ? write_vector(v, w, p, e) : write_as_it_is(v, w, p, e);
        put_sum(v, p->name, bl_hasher_end(v->hash));
        if (st != BL_OK) goto out;
        v->bytes += bytes_of(p);
    }
    BL_TRY(bl_writer_commit(w, e));
    w = NULL;
out:
    v->n = 0;
    bl_writer_drop(w);
    bl_text_free(&h);
    bl_free(path);
    return st;
}

static bl_status in_turn(const bl_variant *v, int64_t block, bl_err *e)
{
    if (block == v->next) return BL_OK;
    return bl_fail(e, BL_E_INTERNAL, "writing %s: block %" PRId64 " is written, expected %" PRId64 " of %" PRId64,
                   v->dir, block, v->next, v->config.n_layers);
}

bl_status bl_variant_block(bl_variant *v, bl_model *m, int64_t block, bl_err *e)
{
    bl_status st = in_turn(v, block, e);
    if (st != BL_OK) return st;
    v->n = 0;
    v->params = v->blocks.n;
    v->tensors = v->sums.n;
    for (int role = 0; role < BL_N_ROLES; role++)
        if (bl_roles[role].block) BL_TRY(put_role(v, m, block, (bl_role)role, e));
    BL_TRY(write_pieces(v, block, e));
    v->next++;
out:
    return st;
}

uint64_t bl_variant_bytes(const bl_variant *v) { return v->bytes; }

/* ---- the tokenizer ---- */
bl_status bl_variant_file(bl_variant *v, const char *name, const void *p, size_t n, bl_err *e)
{
    char *to = bl_join(v->temp, name, e);
    if (!to) return BL_E_NOMEM;
    bl_status st = bl_write_file(to, p, n, e);
    bl_free(to);
    return st;
}

bl_status bl_variant_ends(bl_variant *v, bl_model *m, bl_err *e)
{
    bl_status st = in_turn(v, v->config.n_layers, e);
    uint32_t roles = v->config.roles;
    int64_t layers = v->config.n_layers;
    if (st != BL_OK) return st;
    v->config = m->config;
    v->config.n_layers = layers;
    v->config.roles |= roles;
    v->config.tied = !m->head.weight.format;
    v->n = 0;
    if (m->embed.bias.ndim || m->embed.n_transforms || m->embed.n_after || m->embed.n_adapters || m->embed.act.bits ||
        m->head.bias.ndim)
        return bl_fail(e, BL_E_INTERNAL, "writing %s: an embedding has nothing but its weight, and a head no bias",
                       v->dir);
    BL_TRY(put_linear(v, &v->embed, &m->embed, e));
    BL_TRY(put_norm(v, &v->rest, &m->norm, e));
    if (!v->config.tied) BL_TRY(put_linear(v, &v->rest, &m->head, e));
    BL_TRY(write_pieces(v, v->config.n_layers, e));
    BL_TRY(bl_checkpoint_copy_tokenizer(v->source, v->temp, e));
    BL_TRY(bl_checkpoint_unchanged(v->source, e));
    v->next++;
out:
    return st;
}

/* ---- the end ---- */
bl_status bl_variant_list(bl_variant *v, bl_err *e)
{
    bl_status st = BL_OK;
    bl_text t = {0}, config = {0}, stages = {0};
    bl_json_out j = {.t = &t, .compact = true};
    const char *source = bl_checkpoint_began(v->source);
    char *path = bl_join(v->temp, "bitladder.json", e);
    if (!path) return BL_E_NOMEM;
    bl_config_put(&config, &v->config);
    BL_TRY(bl_text_check(&config, e));
    BL_TRY(put_stages(v, &stages, e));
    bl_json_object(&j, NULL);
    bl_json_add_str(&j, "schema", BL_VARIANT_SCHEMA);
    bl_json_add_int(&j, "schema_version", BL_VARIANT_VERSION);
    bl_json_add_str(&j, "tool_version", BL_VERSION);
    bl_json_add_str(&j, "source", source);
    bl_json_add_text(&j, "stages", stages.s);
    bl_json_add_text(&j, "config", config.s);
    bl_json_add_int(&j, "tensor_bytes", (int64_t)v->bytes);
    bl_json_array(&j, "parameters"); /* written block by block, collected in order */
    const bl_text *const parts[] = {&v->embed, &v->blocks, &v->rest};
    for (size_t i = 0; i < BL_COUNT(parts); i++)
        if (parts[i]->n) bl_json_add_text(&j, NULL, parts[i]->s);
    bl_json_end(&j);
    bl_json_array(&j, "tensors");
    bl_json_add_text(&j, NULL, v->sums.s);
    bl_json_end(&j);
    bl_json_end(&j);
    BL_TRY(bl_text_check(&t, e));
    bl_variant_seal(&t);
    BL_TRY(bl_text_check(&t, e));
    BL_TRY(bl_write_file(path, t.s, t.n, e));
out:
    bl_text_free(&stages);
    bl_text_free(&config);
    bl_text_free(&t);
    bl_free(path);
    return st;
}

bl_status bl_variant_commit(bl_variant *v, bl_err *e)
{
    bl_status st = in_turn(v, v->config.n_layers + 1, e);
    if (st != BL_OK) return st;
    BL_TRY(bl_text_check(&v->embed, e));
    BL_TRY(bl_text_check(&v->blocks, e));
    BL_TRY(bl_text_check(&v->rest, e));
    BL_TRY(bl_text_check(&v->sums, e));
    bl_variant_forget(v);
    BL_TRY(bl_variant_list(v, e));
    bl_fault_point("before-rename", v->dir);
    BL_TRY(bl_rename(v->temp, v->dir, e));
    bl_free(v->temp);
    v->temp = NULL; /* nothing to remove any more */
    bl_variant_drop(v);
out:
    return st;
}

void bl_variant_drop(bl_variant *v)
{
    if (!v) return;
    if (v->temp) (void)bl_remove_tree(v->temp, NULL);
    bl_text_free(&v->embed);
    bl_text_free(&v->sums);
    bl_text_free(&v->blocks);
    bl_text_free(&v->rest);
    bl_free(v->temp);
    bl_free(v->dir);
    bl_arena_free(v->arena);
    bl_free(v->piece);
    bl_free(v->buf);
    bl_free(v);
}
