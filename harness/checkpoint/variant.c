/* variant.c - the writer of a quantized directory.
 *
 * Tensor bytes are streamed behind room for the header, which is filled in at the end and padded with blanks, as the
 * format allows. All files go to DIR.tmp.<pid>, each synced; renaming that directory is the commit.
 */
#include "variant.h"
#include "gguf.h"
#include "checkpoint_impl.h"
#include "variant_parts.h"
#include <errno.h>
#include <inttypes.h>
#include <limits.h>
#include <stdlib.h>
#include <unistd.h>

enum { CHUNK = 4 << 20, MAX_COMPANION = 256 << 20 };

struct bl_variant {
    bl_checkpoint *source;
    char *dir, *temp, *method, *options;
    bl_writer *w;         /* model.safetensors */
    uint64_t room, bytes; /* of the header, blanks included; of tensors so far */
    bl_stored *stored;    /* as the source's list; format NULL: not written yet */
    size_t n;
    uint8_t *buf; /* CHUNK, or one row if that is more */
    size_t buf_bytes;
};

/* ---- beginning ---- */
/* Removes DIR.tmp.<pid> of processes that are gone. */
static void clean_temps(const char *dir)
{
    char **names = NULL;
    size_t n = 0;
    const char *slash = strrchr(dir, '/'), *base = slash ? slash + 1 : dir;
    char *parent = slash ? bl_strndup(dir, slash == dir ? 1 : (size_t)(slash - dir), NULL) : bl_strdup(".", NULL);
    if (parent && bl_dir_list(parent, &names, &n, NULL) == BL_OK)
        for (size_t i = 0; i < n; i++) {
            char *end;
            size_t k = strlen(base);
            if (strncmp(names[i], base, k) || strncmp(names[i] + k, ".tmp.", 5)) continue;
            long pid = strtol(names[i] + k + 5, &end, 10);
            if (*end || pid <= 0 || bl_pid_alive(pid)) continue;
            char *path = bl_join(parent, names[i], NULL);
            if (path) (void)bl_remove_tree(path, NULL);
            bl_free(path);
        }
    bl_list_free(names, n);
    bl_free(parent);
}

static bl_status check_target(const char *dir, const bl_checkpoint *source, bl_err *e)
{
    char real[PATH_MAX];
    char **names = NULL;
    size_t n = 0;
    if (*dir == 0) return bl_fail(e, BL_E_CONFIG, "no output directory is given");
    if (!bl_exists(dir)) return BL_OK;
    if (realpath(dir, real) && !strcmp(real, source->path))
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
    char *path = NULL;
    clean_temps(v->dir);
    BL_TRY(bl_remove_tree(v->temp, e)); /* of an earlier process that had our pid */
    BL_TRY(bl_make_dirs(v->temp, e));
    if (!(path = bl_join(v->temp, "model.safetensors", e))) {
        st = BL_E_NOMEM;
        goto out;
    }
    BL_TRY(bl_writer_open(path, &v->w, e));
out:
    bl_free(path);
    return st;
}

/* Blanks for the longest header that could come: every weight in as many parts as there are. */
static bl_status reserve(bl_variant *v, bl_err *e)
{
    bl_status st = BL_OK;
    v->room = 256;
    for (size_t i = 0; i < v->n; i++) v->room += BL_MAX_PARTS * (strlen(v->source->stored[i].name) + 160);
    v->room = (v->room + 63) / 64 * 64 - 8; /* tensor bytes begin at a multiple of 64 */
    memset(v->buf, ' ', BL_MIN(v->buf_bytes, v->room));
    BL_TRY(bl_writer_add(v->w, &v->room, 8, e));
    for (uint64_t at = 0; at < v->room; at += v->buf_bytes)
        BL_TRY(bl_writer_add(v->w, v->buf, BL_MIN(v->buf_bytes, v->room - at), e));
out:
    return st;
}

static bl_status keep_options(bl_variant *v, const char *options, bl_err *e)
{
    bl_status st = BL_OK;
    bl_json *j = NULL;
    bl_text t = {0};
    if (!options) options = "{}";
    BL_TRY(bl_json_parse(options, strlen(options), "method options", BL_JSON_PLAIN, &j, e));
    if (bl_json_kind(j) != BL_JSON_OBJECT) {
        st = bl_fail(e, BL_E_INTERNAL, "method options are not an object");
        goto out;
    }
    bl_json_put_node(&t, j);
    BL_TRY(bl_text_check(&t, e));
    if (!(v->options = bl_strdup(t.s, e))) st = BL_E_NOMEM;
out:
    bl_text_free(&t);
    bl_json_free(j);
    return st;
}

bl_status bl_variant_begin(const char *dir, bl_checkpoint *source, const char *method, const char *options,
                           bl_variant **out, bl_err *e)
{
    bl_status st = check_target(dir, source, e);
    if (st != BL_OK) return st;
    bl_variant *v = bl_new(1, sizeof *v, e);
    if (!v) return BL_E_NOMEM;
    size_t n = strlen(dir);
    while (n > 1 && dir[n - 1] == '/') n--;
    v->source = source;
    v->n = source->n;
    v->buf_bytes = CHUNK;
    if (!(v->dir = bl_strndup(dir, n, e)) || !(v->method = bl_strdup(method, e)) ||
        !(v->stored = bl_new(v->n, sizeof *v->stored, e)) || !(v->buf = bl_new(CHUNK, 1, e)) ||
        !(v->temp = bl_format_text(e, "%s.tmp.%ld", v->dir, (long)getpid()))) {
        st = BL_E_NOMEM;
        goto out;
    }
    BL_TRY(keep_options(v, options, e));
    BL_TRY(make_temp(v, e));
    BL_TRY(reserve(v, e));
    *out = v;
    v = NULL;
out:
    bl_variant_drop(v);
    return st;
}

/* ---- weights ---- */
static bl_status room_for_rows(bl_variant *v, uint64_t row_bytes, bl_err *e)
{
    if (row_bytes <= v->buf_bytes) return BL_OK;
    void *p = bl_resize(v->buf, row_bytes, 1, e);
    if (!p) return BL_E_NOMEM;
    v->buf = p;
    v->buf_bytes = row_bytes;
    return BL_OK;
}

/* Where rows of a part come from. */
typedef bl_status part_rows(void *from, int part, const bl_part_spec *spec, int64_t row0, int64_t rows, void *dst,
                            bl_err *e);

static bl_status write_weight(bl_variant *v, size_t i, const bl_stored *as, part_rows *rows, void *from, bl_err *e)
{
    bl_status st = BL_OK;
    bl_part_spec spec[BL_MAX_PARTS];
    bl_stored t = *as;
    t.rotary_heads = 0;
    t.n_parts = t.format->parts(t.format, &t.shape, spec);
    for (int p = 0; p < t.n_parts; p++) {
        uint64_t row_bytes = (uint64_t)spec[p].cols * bl_dtype_bytes(spec[p].dtype);
        BL_TRY(room_for_rows(v, row_bytes, e));
        int64_t step = row_bytes ? (int64_t)(v->buf_bytes / row_bytes) : spec[p].rows;
        t.part[p] = (bl_extent){0, v->bytes, row_bytes * (uint64_t)spec[p].rows};
        for (int64_t r = 0; r < spec[p].rows; r += step) {
            int64_t n = BL_MIN(step, spec[p].rows - r);
            BL_TRY(rows(from, p, &spec[p], r, n, v->buf, e));
            BL_TRY(bl_writer_add(v->w, v->buf, row_bytes * (uint64_t)n, e));
        }
        v->bytes += t.part[p].bytes;
    }
    v->stored[i] = t;
out:
    return st;
}

typedef struct on_backend {
    bl_backend *be;
    const bl_weight *w;
} on_backend;

static bl_status download_rows(void *from, int part, const bl_part_spec *spec, int64_t row0, int64_t rows, void *dst,
                               bl_err *e)
{
    const on_backend *b = from;
    (void)spec;
    bl_tensor t = bl_tensor_rows(b->w->part[part], row0, rows);
    return b->be->ops->download(b->be, &t, dst, e);
}

typedef struct in_source {
    bl_checkpoint *c;
    const bl_stored *t;
} in_source;

static bl_status source_rows(void *from, int part, const bl_part_spec *spec, int64_t row0, int64_t rows, void *dst,
                             bl_err *e)
{
    const in_source *s = from;
    (void)e;
    bl_rows_read(s->c, s->t, part, spec, row0, rows, dst);
    return BL_OK;
}

bl_status bl_variant_add(bl_variant *v, const char *name, bl_backend *be, const bl_weight *w, const bl_actq *act,
                         bl_err *e)
{
    const bl_stored *t = bl_checkpoint_find(v->source, name);
    if (!t) return bl_fail(e, BL_E_INTERNAL, "writing %s: the source has no weight '%s'", v->dir, name);
    size_t i = (size_t)(t - v->source->stored);
    if (v->stored[i].format) return bl_fail(e, BL_E_INTERNAL, "writing %s: weight '%s' is added twice", v->dir, name);
    if (w->shape.out != t->shape.out || w->shape.in != t->shape.in)
        return bl_fail(e, BL_E_INTERNAL,
                       "writing %s: weight '%s' is [%" PRId64 ", %" PRId64 "], expected [%" PRId64 ", %" PRId64 "]",
                       v->dir, name, w->shape.out, w->shape.in, t->shape.out, t->shape.in);
    bl_stored as = {
        .name = t->name, .format = w->format, .shape = w->shape, .vector = t->vector, .act = act ? *act : (bl_actq){0}};
    return write_weight(v, i, &as, download_rows, &(on_backend){be, w}, e);
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

static bl_status copy_file(bl_variant *v, const char *from, const char *name, bl_err *e)
{
    char *bytes = NULL, *to = bl_join(v->temp, name, e);
    size_t n;
    if (!to) return BL_E_NOMEM;
    bl_status st = bl_read_file(from, MAX_COMPANION, &bytes, &n, e);
    if (st == BL_OK) st = bl_write_file(to, bytes, n, e);
    bl_free(bytes);
    bl_free(to);
    return st;
}

/* A GGUF file of metadata alone. */
static bl_status copy_gguf(bl_variant *v, const char *from, bl_err *e)
{
    bl_status st = BL_OK;
    bl_gguf *g = NULL;
    bl_writer *w = NULL;
    const uint8_t *p;
    uint64_t n, counts[2] = {0};
    char *to = bl_join(v->temp, "tokenizer.gguf", e);
    if (!to) return BL_E_NOMEM;
    BL_TRY(bl_gguf_open(from, &g, e));
    bl_gguf_metadata(g, &p, &n);
    counts[1] = bl_gguf_count(g);
    BL_TRY(bl_writer_open(to, &w, e));
    BL_TRY(bl_writer_add(w, "GGUF\3\0\0\0", 8, e));
    BL_TRY(bl_writer_add(w, counts, sizeof counts, e));
    BL_TRY(bl_writer_add(w, p, n, e));
    BL_TRY(bl_writer_commit(w, e));
    w = NULL;
out:
    bl_writer_drop(w);
    bl_gguf_close(g);
    bl_free(to);
    return st;
}

static bl_status copy_tokenizer(bl_variant *v, bl_err *e)
{
    static const char *const beside[] = {"tokenizer_config.json", "special_tokens_map.json", "added_tokens.json",
                                         "generation_config.json", "chat_template.jinja"};
    bl_status st = BL_OK;
    const char *path;
    bl_tok_kind kind = bl_checkpoint_tokenizer(v->source, &path, NULL);
    if (kind == BL_TOK_NONE) return BL_OK;
    if (kind == BL_TOK_GGUF) return copy_gguf(v, path, e);
    BL_TRY(copy_file(v, path,
                     kind == BL_TOK_JSON  ? "tokenizer.json"
                     : kind == BL_TOK_SPM ? "tokenizer.model"
                                          : "tokenizer.bin",
                     e));
    const char *slash = strrchr(path, '/');
    for (size_t i = 0; i < BL_COUNT(beside); i++) {
        char *from = bl_format_text(e, "%.*s/%s", slash ? (int)(slash - path) : 1, slash ? path : ".", beside[i]);
        if (!from) return BL_E_NOMEM;
        if (bl_exists(from)) st = copy_file(v, from, beside[i], e);
        bl_free(from);
        if (st != BL_OK) return st;
    }
out:
    return st;
}

bl_status bl_variant_copy_rest(bl_variant *v, bl_err *e)
{
    bl_status st = BL_OK;
    for (size_t i = 0; i < v->n; i++) {
        const bl_stored *t = &v->source->stored[i];
        if (v->stored[i].format) continue;
        BL_TRY(write_weight(v, i, t, source_rows, &(in_source){v->source, t}, e));
        for (int p = 0; p < t->n_parts; p++)
            if (t->part[p].file >= 0)
                bl_map_drop(&v->source->map[t->part[p].file], t->part[p].offset, t->part[p].bytes);
    }
    BL_TRY(copy_tokenizer(v, e));
    BL_TRY(bl_checkpoint_unchanged(v->source, e));
out:
    return st;
}

/* ---- the end ---- */
static bl_status write_header(bl_variant *v, bl_err *e)
{
    bl_status st = BL_OK;
    bl_text h = {0};
    bl_text_add(&h, "{\"__metadata__\":{\"format\":\"" BL_VARIANT_SCHEMA "\"}");
    for (size_t i = 0; i < v->n; i++) {
        const bl_stored *t = &v->stored[i];
        bl_part_spec spec[BL_MAX_PARTS];
        char name[192];
        t->format->parts(t->format, &t->shape, spec);
        for (int p = 0; p < t->n_parts; p++) {
            bl_part_name(t, &spec[p], name, sizeof name);
            bl_text_add(&h, ",");
            bl_json_put_str(&h, name, strlen(name));
            bl_text_addf(&h, ":{\"dtype\":\"%s\",\"shape\":[", bl_dtype_name(spec[p].dtype));
            if (!t->vector) bl_text_addf(&h, "%" PRId64 ",", spec[p].rows);
            bl_text_addf(&h, "%" PRId64 "],\"data_offsets\":[%" PRIu64 ",%" PRIu64 "]}", spec[p].cols,
                         t->part[p].offset, t->part[p].offset + t->part[p].bytes);
        }
    }
    bl_text_add(&h, "}");
    BL_TRY(bl_text_check(&h, e));
    if (h.n > v->room) {
        st = bl_fail(e, BL_E_INTERNAL, "writing %s: header of %zu bytes, room for %" PRIu64, v->dir, h.n, v->room);
        goto out;
    }
    BL_TRY(bl_writer_at(v->w, 8, h.s, h.n, e));
out:
    bl_text_free(&h);
    return st;
}

static void put_weight(bl_text *t, const bl_stored *s)
{
    bl_text_addf(t,
                 "  {\"name\":\"%s\",\"format\":\"%s\",\"out\":%" PRId64 ",\"in\":%" PRId64 ",\"group\":%" PRId64
                 ",\"zero\":\"%s\",\"scale\":\"%s\",\"double_quant\":%s",
                 s->name, s->format->name, s->shape.out, s->shape.in, s->shape.group, bl_zero_names[s->shape.zero],
                 bl_scale_names[s->shape.scale], s->shape.double_quant ? "true" : "false");
    if (s->act.bits) {
        bl_text_addf(t, ",\"act\":{\"bits\":%d,\"symmetric\":%s,\"unit\":\"%s\",\"group\":%" PRId64 ",\"scale\":",
                     s->act.bits, s->act.symmetric ? "true" : "false", bl_unit_names[s->act.unit], s->act.group);
        bl_json_put_real(t, s->act.scale);
        bl_text_add(t, ",\"zero\":");
        bl_json_put_real(t, s->act.zero);
        bl_text_add(t, "}");
    }
    bl_text_add(t, "}");
}

static bl_status write_list(bl_variant *v, bl_err *e)
{
    bl_status st = BL_OK;
    bl_text t = {0};
    char *path = bl_join(v->temp, "bitladder.json", e);
    if (!path) return BL_E_NOMEM;
    bl_text_addf(&t,
                 "{\"schema\":\"%s\",\"schema_version\":%d,\"tool_version\":\"%s\",\n \"source\":", BL_VARIANT_SCHEMA,
                 BL_VARIANT_VERSION, BL_VERSION);
    bl_json_put_str(&t, v->source->name, strlen(v->source->name));
    bl_text_add(&t, ",\"source_stored_as\":");
    bl_json_put_str(&t, v->source->stored_as, strlen(v->source->stored_as));
    bl_text_add(&t, ",\n \"method\":");
    bl_json_put_str(&t, v->method, strlen(v->method));
    bl_text_addf(&t, ",\n \"options\":%s,\n \"config\":", v->options);
    bl_config_put(&t, &v->source->config);
    bl_text_addf(&t, ",\n \"tensor_bytes\":%" PRIu64 ",\n \"weights\":[\n", v->bytes);
    for (size_t i = 0; i < v->n; i++) {
        put_weight(&t, &v->stored[i]);
        bl_text_add(&t, i + 1 < v->n ? ",\n" : "\n ]}\n");
    }
    BL_TRY(bl_text_check(&t, e));
    BL_TRY(bl_write_file(path, t.s, t.n, e));
out:
    bl_text_free(&t);
    bl_free(path);
    return st;
}

bl_status bl_variant_commit(bl_variant *v, bl_err *e)
{
    bl_status st = BL_OK;
    for (size_t i = 0; i < v->n; i++)
        if (!v->stored[i].format)
            return bl_fail(e, BL_E_INTERNAL, "writing %s: weight '%s' was not written", v->dir,
                           v->source->stored[i].name);
    BL_TRY(write_header(v, e));
    BL_TRY(bl_writer_commit(v->w, e));
    v->w = NULL;
    BL_TRY(write_list(v, e));
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
    bl_writer_drop(v->w);
    if (v->temp) (void)bl_remove_tree(v->temp, NULL);
    bl_free(v->temp);
    bl_free(v->dir);
    bl_free(v->method);
    bl_free(v->options);
    bl_free(v->stored);
    bl_free(v->buf);
    bl_free(v);
}
