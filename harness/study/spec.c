/* spec.c - reads a study's specification: a JSON file, command line options, or both. */
#include "spec_impl.h"
#include "kernels/base/fs.h"
#include "harness/data/sources.h"
#include <fnmatch.h>
#include <stdlib.h>
#include <string.h>

typedef struct reader {
    const bl_program *program;
    bl_spec *spec;
    const char *name; /* of the document, for sentences */
} reader;

static const char *const keys[] = {
    "models",        "methods", "tasks",           "seeds",        "calib",      "train",     "limit",  "sample",
    "out",           "data",    "threads",         "batch_tokens", "batch_size", "stream",    "no_bos", "kernel_ref",
    "deterministic", "kl",      "allow_nonfinite", "tokenizer",    "device",     "mem_limit", "kv",     NULL};

const bl_spec_from bl_spec_nothing = {.limit = -1,
                                      .sample = -1,
                                      .threads = -1,
                                      .batch_tokens = -1,
                                      .batch_size = -1,
                                      .mem_limit = -1,
                                      .calib_n = -1,
                                      .calib_seqlen = -1,
                                      .calib_seed = -1};

/* ---- lists ---- */

bl_status bl_spec_room(bl_arena *a, void *list, size_t n, size_t size, bl_err *e)
{
    void *old, *more;
    if (n && (n & (n - 1))) return BL_OK;
    if (!(more = bl_alloc(a, n ? 2 * n : 1, size, e))) return BL_E_NOMEM;
    memcpy(&old, list, sizeof old);
    if (n) memcpy(more, old, n * size);
    memcpy(list, &more, sizeof more);
    return BL_OK;
}

const char *bl_spec_path(bl_spec *s, const char *text, size_t n, bl_err *e)
{
    const char *home = getenv("HOME");
    char *copy = bl_arena_str(s->arena, text, n, e), *joined;

    if (!copy || *copy != '~' || (copy[1] && copy[1] != '/') || !home || !*home) return copy;
    if (!(joined = bl_format_text(e, "%s%s", home, copy + 1))) return NULL;
    copy = bl_arena_str(s->arena, joined, strlen(joined), e);
    bl_free(joined);
    return copy;
}

static bl_status add_model(reader *r, const char *text, size_t n, bl_err *e)
{
    bl_spec *s = r->spec;
    bl_status st = BL_OK;
    if (n == 0) return bl_fail(e, BL_E_CONFIG, "%s: a model name is empty", r->name);
    BL_TRY(bl_spec_room(s->arena, &s->model, s->n_models, sizeof *s->model, e));
    if (!(s->model[s->n_models] = bl_spec_path(r->spec, text, n, e))) {
        st = BL_E_NOMEM;
        goto out;
    }
    s->n_models++;
out:
    return st;
}

static bl_status task_options(const bl_task *t, const void *opts, bl_arena *a, const char **out, bl_err *e)
{
    bl_status st = BL_OK;
    bl_text text = {0}, value = {0};
    bl_json_out o = {.t = &text};
    bl_json_object(&o, NULL);
    for (const bl_opt *row = t->opts; row && row->type != BL_OPT_END; row++) {
        bl_text_free(&value);
        BL_TRY(bl_opt_print(row, opts, &value));
        if (row->type == BL_OPT_CHOICE || row->type == BL_OPT_TEXT)
            bl_json_add_str(&o, row->name, value.s ? value.s : "");
        else bl_json_add_text(&o, row->name, value.s ? value.s : "null");
    }
    bl_json_end(&o);
    BL_TRY(bl_text_check(&text, e));
    if (!(*out = bl_arena_str(a, text.s, text.n, e))) st = BL_E_NOMEM;
out:
    bl_text_free(&text);
    bl_text_free(&value);
    return st;
}

enum { NOT_SAID = -1, MOST_ITEMS = 1000000000 };

/* "@200", "@~200": which items. */
static bl_status task_items(const reader *r, const char *text, const char *at, bl_task_choice *c, bl_err *e)
{
    bool drawn = at[1] == '~';
    const char *digits = at + 1 + drawn;
    int64_t n = 0;

    for (const char *d = digits; *d; d++) {
        if (*d < '0' || *d > '9' || n > MOST_ITEMS / 10) n = NOT_SAID;
        if (n == NOT_SAID) break;
        n = 10 * n + (*d - '0');
    }
    if (!*digits || n == NOT_SAID)
        return bl_fail(e, BL_E_CONFIG, "%s: task %s: after @ comes a number of items, or ~ and one, up to %d", r->name,
                       text, MOST_ITEMS);
    c->limit = drawn ? 0 : n;
    c->sample = drawn ? n : 0;
    return BL_OK;
}

static bl_status add_task(reader *r, const char *text, const bl_json *options, bl_err *e)
{
    bl_status st = BL_OK;
    bl_spec *s = r->spec;
    bl_task_choice c = {.limit = NOT_SAID, .sample = NOT_SAID};
    char where[160], name[160];
    const char *at = strchr(text, '@');

    snprintf(name, sizeof name, "%.*s", (int)BL_MIN(at ? (size_t)(at - text) : strlen(text), sizeof name - 1), text);
    if (at) BL_TRY(task_items(r, text, at, &c, e));
    BL_TRY(bl_program_task(r->program, name, &c.task, &c.name, e));
    if (!(c.name = bl_arena_str(s->arena, c.name, strlen(c.name), e))) {
        st = BL_E_NOMEM;
        goto out;
    }
    if (!(c.opts = bl_alloc(s->arena, 1, c.task->opts_size ? c.task->opts_size : 1, e))) {
        st = BL_E_NOMEM;
        goto out;
    }
    if (c.task->opts) bl_opt_defaults(c.task->opts, c.opts);
    snprintf(where, sizeof where, "%s: task %s", r->name, c.name);
    for (const bl_json *o = options ? bl_json_first(options) : NULL; o; o = bl_json_next(o)) {
        if (!c.task->opts) {
            st = bl_fail(e, BL_E_CONFIG, "%s has no options, but '%s' is given", where, bl_json_key(o));
            goto out;
        }
        BL_TRY(bl_opt_set_json(c.task->opts, c.opts, bl_json_key(o), o, where, e));
    }
    BL_TRY(task_options(c.task, c.opts, s->arena, &c.options, e));
    BL_TRY(bl_spec_room(s->arena, &s->task, s->n_tasks, sizeof *s->task, e));
    s->task[s->n_tasks++] = c;
out:
    return st;
}

/* A name, or a glob for all tasks of such a name: 'arc_*', 'mmlu*@50'. */
static bl_status add_tasks(reader *r, const char *text, const bl_json *options, bl_err *e)
{
    bl_status st = BL_OK;
    const char *at = strchr(text, '@');
    char *glob;
    size_t found = 0;

    if (!text[strcspn(text, "*?[")]) return add_task(r, text, options, e);
    if (!(glob = bl_strndup(text, at ? (size_t)(at - text) : strlen(text), e))) return BL_E_NOMEM;
    for (size_t i = 0; r->program->tasks[i]; i++)
        for (size_t k = 0; r->program->tasks[i]->names[k]; k++) {
            const char *name = r->program->tasks[i]->names[k];
            char one[200];
            if (fnmatch(glob, name, 0)) continue;
            found++;
            snprintf(one, sizeof one, "%s%s", name, at ? at : "");
            BL_TRY(add_task(r, one, options, e));
        }
    if (!found)
        st = bl_fail(e, BL_E_CONFIG, "%s: no task is called like '%s'; see: bitladder list tasks", r->name, glob);
out:
    bl_free(glob);
    return st;
}

static bl_status add_seed(reader *r, uint64_t seed, bl_err *e)
{
    bl_spec *s = r->spec;
    bl_status st = bl_spec_room(s->arena, &s->seed, s->n_seeds, sizeof *s->seed, e);
    if (st == BL_OK) s->seed[s->n_seeds++] = seed;
    return st;
}

static bl_status add_data(reader *r, const char *text, size_t n, bl_err *e)
{
    bl_data_dirs *d = &r->spec->data;
    if (d->n == BL_COUNT(d->dir))
        return bl_fail(e, BL_E_CONFIG, "%s: more than %zu data directories", r->name, BL_COUNT(d->dir));
    if (!(d->dir[d->n] = bl_spec_path(r->spec, text, n, e))) return BL_E_NOMEM;
    if (!bl_is_dir(d->dir[d->n]))
        return bl_fail(e, BL_E_CONFIG, "%s: data: there is no directory '%s'", r->name, d->dir[d->n]);
    d->n++;
    return BL_OK;
}

/* Calls add for every piece of a comma separated list. */
static bl_status each(reader *r, const char *list, bl_status (*add)(reader *, const char *, size_t, bl_err *),
                      bl_err *e)
{
    bl_status st = BL_OK;
    for (const char *p = list;; p++) {
        size_t n = strcspn(p, ",");
        BL_TRY(add(r, p, n, e));
        p += n;
        if (!*p) break;
    }
out:
    return st;
}
/* Bytes of the first piece of a list of paths: the longest that exists, else up to the first comma. */
static size_t path_piece(const char *list)
{
    size_t best = strcspn(list, ",");
    for (size_t n = best; list[n];) {
        n += 1 + strcspn(list + n + 1, ",");
        char *path = bl_strndup(list, n, NULL);
        if (path && bl_exists(path)) best = n;
        bl_free(path);
    }
    return best;
}
static bl_status each_path(reader *r, const char *list, bl_status (*add)(reader *, const char *, size_t, bl_err *),
                           bl_err *e)
{
    bl_status st = BL_OK;
    for (const char *p = list;; p++) {
        size_t n = path_piece(p);
        BL_TRY(add(r, p, n, e));
        p += n;
        if (!*p) break;
    }
out:
    return st;
}
static bl_status method_piece(reader *r, const char *text, size_t n, bl_err *e)
{
    char *copy = bl_arena_str(r->spec->arena, text, n, e);
    return copy ? bl_spec_method_text(r->spec, r->program->methods, copy, e) : BL_E_NOMEM;
}
static bl_status task_piece(reader *r, const char *text, size_t n, bl_err *e)
{
    char *copy = bl_arena_str(r->spec->arena, text, n, e);
    return copy ? add_tasks(r, copy, NULL, e) : BL_E_NOMEM;
}
static bl_status seed_piece(reader *r, const char *text, size_t n, bl_err *e)
{
    uint64_t v = 0;
    if (n == 0 || n > 19)
        return bl_fail(e, BL_E_CONFIG, "%s: seed '%.*s' is not in 0..9007199254740992", r->name, (int)n, text);
    for (size_t i = 0; i < n; i++) {
        if (text[i] < '0' || text[i] > '9')
            return bl_fail(e, BL_E_CONFIG, "%s: seed '%.*s' is not a whole number", r->name, (int)n, text);
        v = v * 10 + (uint64_t)(text[i] - '0');
    }
    if (v > (1ull << 53))
        return bl_fail(e, BL_E_CONFIG, "%s: seed '%.*s' is not in 0..9007199254740992", r->name, (int)n, text);
    return add_seed(r, v, e);
}

/* ---- the document ---- */

/* `v` is one text or number, or a list of them: calls one() for each. */
static bl_status one_or_list(reader *r, const bl_json *v, bl_status (*one)(reader *, const bl_json *, bl_err *),
                             bl_err *e)
{
    bl_status st = BL_OK;
    if (bl_json_kind(v) != BL_JSON_ARRAY) return one(r, v, e);
    if (bl_json_size(v) == 0)
        return bl_fail(e, BL_E_CONFIG, "%s: the list '%s' is empty", r->name, bl_json_key(v) ? bl_json_key(v) : "");
    for (const bl_json *c = bl_json_first(v); c; c = bl_json_next(c)) BL_TRY(one(r, c, e));
out:
    return st;
}
static bl_status json_model(reader *r, const bl_json *v, bl_err *e)
{
    bl_status st = BL_OK;
    const char *s;
    BL_TRY(bl_json_str(v, &s, e));
    BL_TRY(add_model(r, s, strlen(s), e));
out:
    return st;
}
static bl_status json_method(reader *r, const bl_json *v, bl_err *e)
{
    bl_status st = BL_OK;
    const char *s;
    if (bl_json_kind(v) == BL_JSON_OBJECT) return bl_spec_method_object(r->spec, r->program->methods, r->name, v, e);
    BL_TRY(bl_json_str(v, &s, e));
    BL_TRY(bl_spec_method_text(r->spec, r->program->methods, s, e));
out:
    return st;
}
static bl_status json_task(reader *r, const bl_json *v, bl_err *e)
{
    bl_status st = BL_OK;
    const char *s;
    if (bl_json_kind(v) == BL_JSON_OBJECT) {
        const bl_json *options = bl_json_first(v);
        if (bl_json_size(v) != 1 || bl_json_kind(options) != BL_JSON_OBJECT)
            return bl_fail(e, BL_E_CONFIG, "%s: a task is a text or an object with one key, {\"name\": {options}}",
                           r->name);
        return add_tasks(r, bl_json_key(options), options, e);
    }
    BL_TRY(bl_json_str(v, &s, e));
    BL_TRY(add_tasks(r, s, NULL, e));
out:
    return st;
}
static bl_status json_seed(reader *r, const bl_json *v, bl_err *e)
{
    bl_status st = BL_OK;
    int64_t n;
    BL_TRY(bl_json_int(v, &n, e));
    if (n < 0) return bl_fail(e, BL_E_CONFIG, "%s: seed %lld is negative", r->name, (long long)n);
    BL_TRY(add_seed(r, (uint64_t)n, e));
out:
    return st;
}
static bl_status json_data(reader *r, const bl_json *v, bl_err *e)
{
    bl_status st = BL_OK;
    const char *s;
    BL_TRY(bl_json_str(v, &s, e));
    BL_TRY(add_data(r, s, strlen(s), e));
out:
    return st;
}

static bl_status count_of(reader *r, const bl_json *doc, const char *key, int64_t *out, bl_err *e)
{
    bl_status st = BL_OK;
    const bl_json *v = bl_json_get(doc, key);
    int64_t n;
    if (!v) return BL_OK;
    BL_TRY(bl_json_int(v, &n, e));
    if (n < 0) return bl_fail(e, BL_E_CONFIG, "%s: '%s' is %lld, expected 0 or more", r->name, key, (long long)n);
    *out = n;
out:
    return st;
}
/* A number for all tasks, or {"task": number}; the tasks are read. The command line wins, over the names of tasks that
 * it leaves out too. */
static bl_status items_of(reader *r, const bl_json *doc, const char *key, const bl_spec_from *from, int64_t *out,
                          bl_err *e)
{
    bl_status st = BL_OK;
    const bl_json *v = doc ? bl_json_get(doc, key) : NULL;
    if (!v || from->limit >= 0 || from->sample >= 0) return BL_OK;
    if (bl_json_kind(v) != BL_JSON_OBJECT) return count_of(r, doc, key, out, e);
    for (const bl_json *t = bl_json_first(v); t; t = bl_json_next(t)) {
        int64_t n = 0;
        size_t found = 0;
        BL_TRY(count_of(r, v, bl_json_key(t), &n, e));
        for (size_t i = 0; i < r->spec->n_tasks; i++) {
            bl_task_choice *c = &r->spec->task[i];
            if (strcmp(c->name, bl_json_key(t))) continue;
            found++;
            if (c->limit != NOT_SAID) continue; /* the name of the task says it */
            c->limit = strcmp(key, "limit") ? 0 : n;
            c->sample = strcmp(key, "limit") ? n : 0;
        }
        if (!found && !from->task) {
            st = bl_fail(e, BL_E_CONFIG, "%s: '%s' names %s, which is no task of this study", r->name, key,
                         bl_json_key(t));
            goto out;
        }
    }
out:
    return st;
}

/* Tasks that do not say which items are used. */
static bl_status items_of_all(bl_spec *s, const char *name, bl_err *e)
{
    if (s->limit > 0 && s->sample > 0)
        return bl_fail(e, BL_E_CONFIG, "%s: limit %lld and sample %lld: items are the first ones or drawn, not both",
                       name, (long long)s->limit, (long long)s->sample);
    for (size_t i = 0; i < s->n_tasks; i++) {
        if (s->task[i].limit != NOT_SAID) continue;
        s->task[i].limit = s->limit;
        s->task[i].sample = s->sample;
    }
    return BL_OK;
}

static bl_status flag_of(const bl_json *doc, const char *key, bool *out, bl_err *e)
{
    const bl_json *v = bl_json_get(doc, key);
    return v ? bl_json_bool(v, out, e) : BL_OK;
}
static bl_status text_of(reader *r, const bl_json *doc, const char *key, const char **out, bl_err *e)
{
    bl_status st = BL_OK;
    const char *s;
    if (!bl_json_get(doc, key)) return BL_OK;
    BL_TRY(bl_json_get_str(doc, key, &s, e));
    if (!(*out = bl_arena_str(r->spec->arena, s, strlen(s), e))) st = BL_E_NOMEM;
out:
    return st;
}

static bl_status path_in(reader *r, const bl_json *doc, const char *key, const char **out, bl_err *e)
{
    bl_status st;
    const char *text = NULL;
    BL_TRY(text_of(r, doc, key, &text, e));
    if (text && !(*out = bl_spec_path(r->spec, text, strlen(text), e))) st = BL_E_NOMEM;
out:
    return st;
}

static bl_status calib_named(reader *r, const char *text, bl_err *e)
{
    const bl_source *s;
    bl_status st;
    if (bl_source_own_path(text)) {
        r->spec->calib.data = bl_arena_str(r->spec->arena, text, strlen(text), e);
        return r->spec->calib.data ? BL_OK : BL_E_NOMEM;
    }
    st = bl_source_for_calibration(text, &s, e);
    if (st != BL_OK) bl_within(e, "%s", r->name);
    else r->spec->calib.data = s->id;
    return st;
}

static bl_status calib_of(reader *r, const bl_json *doc, bl_err *e)
{
    static const char *const known[] = {"data", "n", "seqlen", "seed", NULL};
    bl_status st = BL_OK;
    bl_calib_choice *c = &r->spec->calib;
    const bl_json *v = bl_json_get(doc, "calib");
    if (!v) return BL_OK;
    if (bl_json_kind(v) != BL_JSON_OBJECT) return bl_fail(e, BL_E_CONFIG, "%s: 'calib' is not an object", r->name);
    BL_TRY(bl_json_only(v, known, e));
    BL_TRY(path_in(r, v, "data", &c->data, e));
    BL_TRY(count_of(r, v, "n", &c->n, e));
    BL_TRY(count_of(r, v, "seqlen", &c->seqlen, e));
    BL_TRY(count_of(r, v, "seed", &c->seed, e));
    if (c->data) BL_TRY(calib_named(r, c->data, e));
out:
    return st;
}

static bl_status train_of(reader *r, const bl_json *doc, bl_err *e)
{
    bl_status st = BL_OK;
    bl_spec *s = r->spec;
    const bl_json *v = bl_json_get(doc, "train");
    char where[160];
    if (!v) return BL_OK;
    if (bl_json_kind(v) != BL_JSON_OBJECT) return bl_fail(e, BL_E_CONFIG, "%s: 'train' is not an object", r->name);
    snprintf(where, sizeof where, "%s: train", r->name);
    BL_TRY(bl_spec_train_read(s, where, v, e));
out:
    return st;
}

static bl_status kv_of(reader *r, const bl_json *doc, bl_kv_format *out, bl_err *e)
{
    bl_status st = BL_OK;
    const char *name = NULL;
    BL_TRY(text_of(r, doc, "kv", &name, e));
    if (!name) goto out;
    for (int i = 0; bl_kv_formats[i]; i++)
        if (strcmp(bl_kv_formats[i], name) == 0) {
            *out = (bl_kv_format)i;
            goto out;
        }
    st = bl_fail(e, BL_E_CONFIG, "%s: 'kv' is \"%s\", expected act, int8, int4, int3 or int2", r->name, name);
out:
    return st;
}

static bl_status document(reader *r, const bl_json *doc, const bl_spec_from *from, bl_err *e)
{
    bl_status st = BL_OK;
    bl_spec *s = r->spec;
    bool kl = true;
    const bl_json *v;

    if (bl_json_kind(doc) != BL_JSON_OBJECT) return bl_fail(e, BL_E_CONFIG, "%s: a study is a JSON object", r->name);
    BL_TRY(bl_json_only(doc, keys, e));
    if (!from->model && (v = bl_json_get(doc, "models"))) BL_TRY(one_or_list(r, v, json_model, e));
    if (!from->method && (v = bl_json_get(doc, "methods"))) BL_TRY(one_or_list(r, v, json_method, e));
    if (!from->task && (v = bl_json_get(doc, "tasks"))) BL_TRY(one_or_list(r, v, json_task, e));
    if (!from->seed && (v = bl_json_get(doc, "seeds"))) BL_TRY(one_or_list(r, v, json_seed, e));
    if ((v = bl_json_get(doc, "data")) && (bl_json_kind(v) != BL_JSON_ARRAY || bl_json_size(v) > 0))
        BL_TRY(one_or_list(r, v, json_data, e));
    BL_TRY(calib_of(r, doc, e));
    BL_TRY(train_of(r, doc, e));
    BL_TRY(count_of(r, doc, "threads", &s->threads, e));
    BL_TRY(count_of(r, doc, "batch_tokens", &s->batch_tokens, e));
    BL_TRY(count_of(r, doc, "batch_size", &s->batch_size, e));
    BL_TRY(count_of(r, doc, "mem_limit", &s->mem_limit, e));
    BL_TRY(kv_of(r, doc, &s->kv, e));
    BL_TRY(flag_of(doc, "stream", &s->stream, e));
    BL_TRY(flag_of(doc, "no_bos", &s->no_bos, e));
    BL_TRY(flag_of(doc, "kernel_ref", &s->kernel_ref, e));
    BL_TRY(flag_of(doc, "deterministic", &s->deterministic, e));
    BL_TRY(flag_of(doc, "allow_nonfinite", &s->allow_nonfinite, e));
    BL_TRY(flag_of(doc, "kl", &kl, e));
    s->no_kl = !kl;
    BL_TRY(path_in(r, doc, "out", &s->out, e));
    BL_TRY(path_in(r, doc, "tokenizer", &s->tokenizer, e));
    BL_TRY(text_of(r, doc, "device", &s->device, e));
out:
    return st;
}

/* ---- --set k=v: a method's option in every method that has it, else a key of the spec ---- */

/* The nearest option of the methods of this study; NULL. */
static const char *near_option(const bl_spec *s, const char *name)
{
    const char *names[256];
    size_t k = 0;
    for (size_t i = 0; i < s->n_methods; i++)
        for (int j = 0; j < s->method[i].n; j++) {
            const bl_opt *o = s->method[i].stage[j].method->opts;
            for (; o && o->type != BL_OPT_END && k < BL_COUNT(names) - 1; o++) names[k++] = o->name;
        }
    names[k] = NULL;
    return bl_nearest(name, names);
}

static bl_status set_one(reader *r, const char *text, size_t n, bl_err *e)
{
    bl_status st = BL_OK;
    bl_spec *s = r->spec;
    char *pair = bl_arena_str(s->arena, text, n, e), *value = pair ? strchr(pair, '=') : NULL;
    bool used = false;

    if (!pair) return BL_E_NOMEM;
    if (!value || value == pair) return bl_fail(e, BL_E_CONFIG, "--set %s: expected name=value", pair);
    *value++ = 0;
    for (size_t i = 0; i < s->n_methods; i++) {
        st = bl_chain_set(&s->method[i], pair, value, &used, e);
        if (st != BL_OK) {
            bl_within(e, "--set");
            return st;
        }
    }
    if (!used && s->trains && strncmp(pair, "train.", 6) == 0) {
        BL_TRY(bl_spec_train_set(s, pair + 6, value, e));
        used = true;
    }
    if (!used) {
        char *end;
        long long v = strtoll(value, &end, 10);
        bool number = *value && !*end && v >= 0;
        struct {
            const char *key;
            int64_t *at;
        } counts[] = {{"calib.n", &s->calib.n},
                      {"calib.seqlen", &s->calib.seqlen},
                      {"calib.seed", &s->calib.seed},
                      {"limit", &s->limit},
                      {"sample", &s->sample},
                      {"threads", &s->threads},
                      {"batch_tokens", &s->batch_tokens},
                      {"batch_size", &s->batch_size}};
        for (size_t i = 0; i < BL_COUNT(counts); i++)
            if (strcmp(counts[i].key, pair) == 0) {
                if (!number)
                    return bl_fail(e, BL_E_CONFIG, "--set %s=%s: expected a whole number, 0 or more", pair, value);
                *counts[i].at = v;
                used = true;
            }
    }
    if (!used) {
        const char *near = near_option(s, pair);
        st = near ? bl_fail(e, BL_E_CONFIG, "--set %s: no method of this study has that option; did you mean %s?", pair,
                            near)
                  : bl_fail(e, BL_E_CONFIG, "--set %s: no method of this study has that option", pair);
    }
out:
    return st;
}

/* All of them first: what one option means can depend on another. */
static bl_status set_all(reader *r, const char *list, bl_err *e)
{
    bl_status st = BL_OK;
    BL_TRY(each(r, list, set_one, e));
    for (size_t i = 0; i < r->spec->n_methods; i++) {
        st = bl_chain_renew(&r->spec->method[i], e);
        if (st != BL_OK) {
            bl_within(e, "--set %s", list);
            goto out;
        }
    }
out:
    return st;
}

/* A study without a base is compared with the one that its directory has. */
static bl_status add_base(reader *r, bl_err *e)
{
    bl_status st;
    bl_spec *s = r->spec;
    for (size_t i = 0; i < s->n_methods; i++)
        if (bl_chain_as_stored(&s->method[i])) return BL_OK;
    if (bl_program_method(r->program, "base", &(const bl_method *){0}, NULL) != BL_OK) return BL_OK;
    if ((st = bl_spec_method_text(r->spec, r->program->methods, "base", e)) != BL_OK) return st;
    s->n_methods--;
    s->base_after = true;
    return BL_OK;
}

bl_status bl_spec_from_json(const bl_program *p, const bl_json *doc, const bl_spec_from *from, bl_spec *out, bl_err *e)
{
    bl_status st = BL_OK;
    bl_spec s = {0};
    reader r = {.program = p, .spec = &s, .name = from->file ? from->file : "command line"};

    s.calib.n = BL_CALIB_WINDOWS;
    bl_opt_defaults(bl_train_rows, &s.train);
    BL_TRY(bl_arena_new(&s.arena, e));
    if (doc) BL_TRY(document(&r, doc, from, e));
    r.name = "command line";
    if (from->model) BL_TRY(each_path(&r, from->model, add_model, e));
    if (from->method) BL_TRY(each(&r, from->method, method_piece, e));
    if (from->task) BL_TRY(each(&r, from->task, task_piece, e));
    if (from->seed) BL_TRY(each(&r, from->seed, seed_piece, e));
    r.name = from->file ? from->file : "command line";
    BL_TRY(items_of(&r, doc, "limit", from, &s.limit, e));
    BL_TRY(items_of(&r, doc, "sample", from, &s.sample, e));
    r.name = "command line";
    if (from->data) { /* directories of the command line come first */
        bl_data_dirs of_file = s.data;
        s.data.n = 0;
        BL_TRY(each_path(&r, from->data, add_data, e));
        for (size_t i = 0; i < of_file.n; i++) BL_TRY(add_data(&r, of_file.dir[i], strlen(of_file.dir[i]), e));
    }
    struct {
        int64_t from, *to;
    } counts[] = {{from->limit, &s.limit},           {from->sample, &s.sample},
                  {from->threads, &s.threads},       {from->batch_tokens, &s.batch_tokens},
                  {from->batch_size, &s.batch_size}, {from->mem_limit, &s.mem_limit},
                  {from->calib_n, &s.calib.n},       {from->calib_seqlen, &s.calib.seqlen},
                  {from->calib_seed, &s.calib.seed}};
    for (size_t i = 0; i < BL_COUNT(counts); i++)
        if (counts[i].from >= 0) *counts[i].to = counts[i].from;
    struct {
        const char *from, **to;
    } texts[] = {{from->out, &s.out}, {from->tokenizer, &s.tokenizer}, {from->device, &s.device}};
    for (size_t i = 0; i < BL_COUNT(texts); i++)
        if (texts[i].from && !(*texts[i].to = bl_arena_str(s.arena, texts[i].from, strlen(texts[i].from), e))) {
            st = BL_E_NOMEM;
            goto out;
        }
    if (from->kv != BL_KV_ACT) s.kv = from->kv;
    s.stream |= from->stream;
    s.no_bos |= from->no_bos;
    s.kernel_ref |= from->kernel_ref;
    s.deterministic |= from->deterministic;
    if (s.kernel_ref && !s.device) s.device = "cpu"; /* the reference is there alone */
    s.no_kl |= from->no_kl;
    s.allow_nonfinite |= from->allow_nonfinite;

    if (!s.n_models) {
        st = bl_fail(e, BL_E_CONFIG, "%s: no model; give --model or \"models\"",
                     from->file ? from->file : "command line");
        goto out;
    }
    if (!s.n_methods) {
        st = bl_fail(e, BL_E_CONFIG, "%s: no method; give --method or \"methods\"",
                     from->file ? from->file : "command line");
        goto out;
    }
    if (!s.n_tasks) {
        st = bl_fail(e, BL_E_CONFIG, "%s: no task; give --task or \"tasks\"", from->file ? from->file : "command line");
        goto out;
    }
    if (from->calib) BL_TRY(calib_named(&r, from->calib, e));
    if (s.calib.n == 0) {
        st = bl_fail(e, BL_E_CONFIG, "%s: calibration needs at least 1 window", from->file ? from->file : r.name);
        goto out;
    }
    if (!s.n_seeds) BL_TRY(add_seed(&r, 0, e));
    if (from->set) BL_TRY(set_all(&r, from->set, e));
    BL_TRY(bl_spec_train_check(&s, from->file ? from->file : r.name, e));
    BL_TRY(items_of_all(&s, from->file ? from->file : r.name, e));
    BL_TRY(add_base(&r, e));
    *out = s;
    s = (bl_spec){0};
out:
    bl_spec_free(&s);
    return st;
}

bl_status bl_spec_read(const bl_program *p, const bl_spec_from *from, bl_spec *out, bl_err *e)
{
    bl_status st = BL_OK;
    bl_json *doc = NULL;
    if (from->file) BL_TRY(bl_json_read(from->file, 16 << 20, BL_JSON_COMMENTS, &doc, e));
    BL_TRY(bl_spec_from_json(p, doc, from, out, e));
out:
    bl_json_free(doc);
    return st;
}

bl_status bl_spec_parse(const bl_program *p, const char *text, size_t n, const bl_spec_from *from, bl_spec *out,
                        bl_err *e)
{
    bl_status st = BL_OK;
    bl_json *doc = NULL;
    BL_TRY(bl_json_parse(text, n, from->file ? from->file : "spec", BL_JSON_COMMENTS, &doc, e));
    BL_TRY(bl_spec_from_json(p, doc, from, out, e));
out:
    bl_json_free(doc);
    return st;
}

void bl_spec_free(bl_spec *s)
{
    if (!s || !s->arena) return;
    for (size_t i = 0; i < s->n_methods + s->base_after; i++) bl_chain_free(&s->method[i]);
    bl_arena_free(s->arena);
    *s = (bl_spec){0};
}
