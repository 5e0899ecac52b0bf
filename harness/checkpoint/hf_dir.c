/* hf_dir.c - a Hugging Face directory: config.json, and model.safetensors or model.safetensors.index.json with its
 * shards. */
#include "checkpoint_impl.h"
#include "safetensors.h"
#include <errno.h>
#include <inttypes.h>
#include <limits.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

enum { MAX_SHARDS = 512, MAX_INDEX = 64 << 20 };

typedef struct shard {
    const char *name;
    int file;
    bl_safetensors *st;
} shard;
typedef struct pair {
    const char *tensor, *file;
} pair; /* one line of the index */
typedef struct dir {
    const char *path;
    shard s[MAX_SHARDS];
    size_t n;
    pair *map; /* by tensor; NULL: no index */
    size_t n_map;
} dir;

static int tensor_order(const void *a, const void *b)
{
    return strcmp(((const pair *)a)->tensor, ((const pair *)b)->tensor);
}

/* A link may lead anywhere inside the directory, or into the `blobs` of the hub cache that the directory belongs to. */
static bl_status check_link(const char *root, const char *path, bl_err *e)
{
    struct stat sb;
    char target[PATH_MAX], base[PATH_MAX];
    if (lstat(path, &sb) != 0)
        return bl_fail(e, errno == ENOENT ? BL_E_FORMAT : BL_E_IO, "%s: %s", path, strerror(errno));
    if (!S_ISLNK(sb.st_mode)) return BL_OK;
    if (!realpath(path, target)) return bl_fail(e, BL_E_FORMAT, "%s: %s", path, strerror(errno));
    if (!realpath(root, base)) return bl_fail(e, BL_E_IO, "%s: %s", root, strerror(errno));
    size_t n = strlen(base);
    if (!strncmp(target, base, n) && target[n] == '/') return BL_OK;
    char *snapshots = strrchr(base, '/'); /* HUB/models--org--name/snapshots/COMMIT */
    if (snapshots && snapshots > base) {
        *snapshots = 0;
        char *model = strrchr(base, '/');
        if (model && !strcmp(model, "/snapshots")) {
            strcpy(model, "/blobs/"); /* shorter than what it replaces */
            if (!strncmp(target, base, strlen(base))) return BL_OK;
        }
    }
    return bl_fail(e, BL_E_FORMAT, "%s: link to %s, outside the model directory", path, target);
}

static bl_status add_shard(bl_checkpoint *c, dir *d, const char *name, bl_err *e)
{
    bl_status st = BL_OK;
    char *path = NULL;
    for (size_t i = 0; i < d->n; i++)
        if (!strcmp(d->s[i].name, name)) return BL_OK;
    if (d->n == MAX_SHARDS) return bl_fail(e, BL_E_FORMAT, "%s: more than %d files", d->path, MAX_SHARDS);
    if (!(path = bl_join(d->path, name, e))) return BL_E_NOMEM;
    shard *s = &d->s[d->n];
    if (d->map) BL_TRY(check_link(d->path, path, e));
    BL_TRY(bl_checkpoint_map(c, path, &s->file, e));
    BL_TRY(bl_safetensors_parse(c->map[s->file].data, c->map[s->file].size, c->map[s->file].path, &s->st, e));
    s->name = name;
    d->n++;
out:
    bl_free(path);
    return st;
}

static bl_status check_name(const char *index, const char *tensor, const char *file, bl_err *e)
{
    size_t n = strlen(file);
    if (n == 0 || strchr(file, '/') || !strcmp(file, ".") || !strcmp(file, ".."))
        return bl_fail(e, BL_E_FORMAT, "%s: tensor '%s' is mapped to '%s', expected the name of a file beside it",
                       index, tensor, file);
    if (n < 12 || strcmp(file + n - 12, ".safetensors"))
        return bl_fail(e, BL_E_FORMAT, "%s: tensor '%s' is mapped to '%s', which is not a .safetensors file", index,
                       tensor, file);
    return BL_OK;
}

/* Every tensor of the map is in its file, and every tensor of a file is in the map. */
static bl_status check_index(const dir *d, const char *index, bl_err *e)
{
    for (size_t i = 0; i < d->n; i++)
        for (size_t k = 0; k < bl_safetensors_count(d->s[i].st); k++) {
            const char *name = bl_safetensors_at(d->s[i].st, k)->name;
            const pair *p = bsearch(&(pair){.tensor = name}, d->map, d->n_map, sizeof *d->map, tensor_order);
            if (!p) return bl_fail(e, BL_E_FORMAT, "%s: tensor '%s' of %s is not listed", index, name, d->s[i].name);
            if (strcmp(p->file, d->s[i].name))
                return bl_fail(e, BL_E_FORMAT, "%s: tensor '%s' is in %s, but mapped to %s", index, name, d->s[i].name,
                               p->file);
        }
    for (size_t i = 0; i < d->n_map; i++) {
        size_t k = 0;
        while (strcmp(d->s[k].name, d->map[i].file)) k++;
        if (!bl_safetensors_find(d->s[k].st, d->map[i].tensor))
            return bl_fail(e, BL_E_FORMAT, "%s: tensor '%s' is mapped to %s, which does not have it", index,
                           d->map[i].tensor, d->map[i].file);
    }
    return BL_OK;
}

static bl_status read_index(bl_checkpoint *c, dir *d, const char *path, bl_err *e)
{
    bl_status st = BL_OK;
    bl_json *j = NULL;
    const bl_json *map;
    BL_TRY(bl_json_read(path, MAX_INDEX, BL_JSON_PLAIN, &j, e));
    BL_TRY(bl_json_need(j, "weight_map", &map, e));
    if (bl_json_kind(map) != BL_JSON_OBJECT || bl_json_size(map) == 0) {
        st = bl_fail(e, BL_E_FORMAT, "%s: 'weight_map' is not an object of tensors", path);
        goto out;
    }
    if (!(d->map = bl_new(bl_json_size(map), sizeof *d->map, e))) {
        st = BL_E_NOMEM;
        goto out;
    }
    for (const bl_json *v = bl_json_first(map); v; v = bl_json_next(v)) {
        pair *p = &d->map[d->n_map];
        const char *file, *tensor = bl_json_key(v);
        BL_TRY(bl_json_str(v, &file, e));
        BL_TRY(check_name(path, tensor, file, e));
        p->tensor = bl_arena_str(c->arena, tensor, strlen(tensor), e);
        p->file = bl_arena_str(c->arena, file, strlen(file), e);
        if (!p->tensor || !p->file) {
            st = BL_E_NOMEM;
            goto out;
        }
        d->n_map++;
    }
    qsort(d->map, d->n_map, sizeof *d->map, tensor_order);
    for (size_t i = 0; i < d->n_map; i++)
        if ((st = add_shard(c, d, d->map[i].file, e)) != BL_OK) {
            bl_within(e, "%s", path);
            goto out;
        }
    BL_TRY(check_index(d, path, e));
out:
    bl_json_free(j);
    return st;
}

static bl_st_tensor *find(const dir *d, const char *name, const shard **in)
{
    for (size_t i = 0; i < d->n; i++) {
        bl_st_tensor *t = bl_safetensors_find(d->s[i].st, name);
        if (t) {
            *in = &d->s[i];
            return t;
        }
    }
    return NULL;
}

static const bl_format *dense_format(const bl_st_tensor *t)
{
    return t->dtype == BL_F32    ? bl_format_find("fp32")
           : t->dtype == BL_F16  ? bl_format_find("fp16")
           : t->dtype == BL_BF16 ? bl_format_find("bf16")
                                 : NULL;
}

/* Row r of a dense matrix of the map, whose bytes may begin anywhere, as f32; `raw` has room for it as it is. */
static void decode_row(const bl_checkpoint *c, const bl_st_tensor *t, const shard *in, int64_t r, void *raw, float *dst)
{
    const bl_format *f = dense_format(t);
    bl_shape one = {.out = 1, .in = t->dim[1]};
    uint64_t bytes = (uint64_t)t->dim[1] * bl_dtype_bytes(t->dtype);
    memcpy(raw, c->map[in->file].data + t->offset + (uint64_t)r * bytes, bytes);
    f->unpack(f, &one, &(const void *){raw}, 0, 0, t->dim[1], dst);
}

/* Values of two dense matrices of one shape are the same. */
static bl_status same_values(bl_checkpoint *c, const bl_st_tensor *a, const shard *in_a, const bl_st_tensor *b,
                             const shard *in_b, bool *same, bl_err *e)
{
    bl_status st = BL_OK;
    int64_t n = a->dim[1];
    float *x = NULL;
    *same = true;
    if (a->dtype == b->dtype) {
        const uint8_t *p = c->map[in_a->file].data + a->offset, *q = c->map[in_b->file].data + b->offset;
        *same = memcmp(p, q, a->bytes) == 0;
        goto out;
    }
    if (!(x = bl_new((size_t)n * 3, sizeof *x, e))) return BL_E_NOMEM;
    for (int64_t r = 0; r < a->dim[0] && *same; r++) {
        decode_row(c, a, in_a, r, x + 2 * n, x);
        decode_row(c, b, in_b, r, x + 2 * n, x + n);
        for (int64_t i = 0; i < n && *same; i++) *same = x[i] == x[n + i];
    }
out:
    bl_free(x);
    bl_map_drop(&c->map[in_a->file], a->offset, a->bytes);
    bl_map_drop(&c->map[in_b->file], b->offset, b->bytes);
    return st;
}

static bool is_matrix(const bl_st_tensor *t, const bl_param *s)
{
    return dense_format(t) && t->ndim == 2 && t->dim[0] == s->out && t->dim[1] == s->in;
}

/* A configuration that says "tied" beside a file that holds a head of its own: when both hold the same values it is one
 * table under two names, else the file is right and the two are kept, as transformers 5.24 does (tie_weights). */
static bl_status two_heads(bl_checkpoint *c, dir *d, bl_err *e)
{
    bl_status st = BL_OK;
    bl_param s;
    bool same = false;
    const shard *in = NULL, *other = NULL;
    bl_st_tensor *embed = find(d, bl_roles[BL_ROLE_EMBED].hf, &in), *head = find(d, bl_roles[BL_ROLE_HEAD].hf, &other);
    if (!c->config.tied || !embed || !head || !bl_param_of(&c->config, BL_ROLE_EMBED, -1, &s)) return BL_OK;
    if (is_matrix(embed, &s) && is_matrix(head, &s)) BL_TRY(same_values(c, embed, in, head, other, &same, e));
    if (same) {
        head->used = true;
        return BL_OK;
    }
    c->config.tied = false;
    BL_TRY(bl_checkpoint_note(
        c, BL_LOG_WARN, "config.json ties the head to the embedding, but the file holds another head: both are kept",
        e));
out:
    return st;
}

static bl_status put(bl_checkpoint *c, dir *d, const bl_param *s, bl_err *e)
{
    const shard *in = NULL;
    const char *name = s->name;
    bl_st_tensor *t = find(d, name, &in);
    if (!t && s->role == BL_ROLE_EMBED && c->config.tied) t = find(d, name = bl_roles[BL_ROLE_HEAD].hf, &in);
    if (!t) return bl_fail(e, BL_E_FORMAT, "%s: tensor '%s' is missing", d->path, s->name);
    const char *file = c->map[in->file].path;
    const bl_format *f = dense_format(t);
    if (!f)
        return bl_fail(e, BL_E_FORMAT, "%s: tensor '%s' has dtype %s; F32, F16 and BF16 are read", file, name,
                       t->dtype_name);
    if (s->vector && (t->ndim != 1 || t->dim[0] != s->in))
        return bl_fail(e, BL_E_FORMAT, "%s: tensor '%s' has %d dimensions and %" PRId64 " rows, expected [%" PRId64 "]",
                       file, name, t->ndim, t->dim[0], s->in);
    if (!s->vector && (t->ndim != 2 || t->dim[0] != s->out || t->dim[1] != s->in))
        return bl_fail(e, BL_E_FORMAT,
                       "%s: tensor '%s' is [%" PRId64 ", %" PRId64 "], expected [%" PRId64 ", %" PRId64 "]", file, name,
                       t->dim[0], t->ndim > 1 ? t->dim[1] : 1, s->out, s->in);
    t->used = true;
    bl_stored w = bl_stored_whole(s, f, in->file, t->offset, t->bytes);
    return bl_checkpoint_put(c, &w, e);
}

/* Tables that old exports stored beside the weights; they follow from the config. */
static bool idle(const char *name)
{
    static const char tail[] = ".rotary_emb.inv_freq";
    size_t n = strlen(name);
    return n >= sizeof tail && !strcmp(name + n - (sizeof tail - 1), tail);
}

/* A tensor that the model has no place for: one that config.json switches off, or of another model. */
static bl_status refuse(const bl_checkpoint *c, const char *file, const char *name, bl_err *e)
{
    bl_config all = c->config;
    bl_param s;
    all.roles |= all.arch->may;
    for (size_t i = 0; bl_param_at(&all, i, &s); i++)
        if (!strcmp(s.name, name))
            return bl_fail(e, BL_E_FORMAT, "%s: tensor '%s' is stored, but config.json says that the model has none",
                           file, name);
    return bl_fail(e, BL_E_FORMAT, "%s: tensor '%s' is not part of a %s of %" PRId64 " layers", file, name,
                   c->config.arch->name, c->config.n_layers);
}

typedef struct bytes_of {
    const bl_checkpoint *c;
    const dir *d;
} bytes_of;
static bl_found find_bytes(void *ctx, const char *name)
{
    const bytes_of *b = ctx;
    const shard *in = NULL;
    bl_st_tensor *t = find(b->d, name, &in);
    if (!t) return (bl_found){0};
    const bl_map *m = &b->c->map[in->file];
    return (bl_found){.t = t, .data = m->data + t->offset, .file = m->path};
}

static bl_status weights(bl_checkpoint *c, dir *d, bl_err *e)
{
    bl_status st = BL_OK;
    bl_param s;
    bl_unpacker *u = NULL;
    bytes_of of = {c, d};
    BL_TRY(two_heads(c, d, e));
    if (c->packing.kind) BL_TRY(bl_unpacker_new(c, &c->packing, find_bytes, &of, &u, e));
    for (size_t i = 0; bl_param_at(&c->config, i, &s); i++) {
        bool packed = false;
        if (u) BL_TRY(bl_unpacker_put(u, &s, &packed, e));
        if (!packed) BL_TRY(put(c, d, &s, e));
    }
    if (u) BL_TRY(bl_unpacker_end(u, e));
    for (size_t i = 0; i < d->n; i++)
        for (size_t k = 0; k < bl_safetensors_count(d->s[i].st); k++) {
            const bl_st_tensor *t = bl_safetensors_at(d->s[i].st, k);
            if (t->used || idle(t->name)) continue;
            st = refuse(c, c->map[d->s[i].file].path, t->name, e);
            goto out;
        }
out:
    bl_unpacker_free(u);
    return st;
}

/* Says what else is there, for people who point at the wrong kind of directory. */
static bl_status no_weights(const char *path, bl_err *e)
{
    char **names = NULL;
    size_t n = 0;
    const char *found = NULL;
    if (bl_dir_list(path, &names, &n, NULL) == BL_OK)
        for (size_t i = 0; i < n && !found; i++) {
            const char *dot = strrchr(names[i], '.');
            if (dot && (!strcmp(dot, ".bin") || !strcmp(dot, ".pth") || !strcmp(dot, ".pt") || !strcmp(dot, ".ckpt") ||
                        !strcmp(dot, ".gguf")))
                found = names[i];
        }
    const char *kind = found && strstr(found, ".gguf") ? "give that file itself"
                                                       : "PyTorch pickles are not read: convert it to safetensors";
    if (found && strstr(found, ".bin") && strncmp(found, "pytorch_model", 13))
        kind = "if it is a llama2.c checkpoint, give that file itself";
    bool saved = false; /* by this program */
    for (size_t i = 0; i < n; i++) saved = saved || !strcmp(names[i], "layers.json");
    if (saved)
        bl_fail(e, BL_E_FORMAT,
                "%s: bitladder.json is missing, which says what the files of a saved model are; quantize makes it anew",
                path);
    else if (found)
        bl_fail(e, BL_E_FORMAT,
                "%s: no config.json with model.safetensors or model.safetensors.index.json; found %s (%s)", path, found,
                kind);
    else bl_fail(e, BL_E_FORMAT, "%s: no config.json with model.safetensors or model.safetensors.index.json", path);
    bl_list_free(names, n);
    return BL_E_FORMAT;
}

bl_status bl_read_hfdir(bl_checkpoint *c, const char *path, bl_err *e)
{
    bl_status st = BL_OK;
    char *config = bl_join(path, "config.json", e), *one = bl_join(path, "model.safetensors", e);
    char *index = bl_join(path, "model.safetensors.index.json", e);
    dir *d = bl_new(1, sizeof *d, e);
    if (!config || !one || !index || !d) {
        st = BL_E_NOMEM;
        goto out;
    }
    d->path = path;
    if (!bl_exists(config)) {
        st = no_weights(path, e);
        goto out;
    }
    BL_TRY(bl_hf_config(config, &c->config, e));
    BL_TRY(bl_packing_read(config, &c->packing, e));
    if (bl_exists(one)) BL_TRY(add_shard(c, d, "model.safetensors", e));
    else if (bl_exists(index)) BL_TRY(read_index(c, d, index, e));
    else {
        st = no_weights(path, e);
        goto out;
    }
    BL_TRY(weights(c, d, e));
out:
    for (size_t i = 0; d && i < d->n; i++) bl_safetensors_close(d->s[i].st);
    bl_free(d ? d->map : NULL);
    bl_free(d);
    bl_free(index);
    bl_free(one);
    bl_free(config);
    return st;
}
