/* beside.c - what stands beside a tokenizer file: tokens that are added to it, which of them open and close a text, and
 * the ids that end a generation.
 *
 *     tokenizer_config.json     added_tokens_decoder; bos_token, eos_token, every other ..._token,
 *                               extra_special_tokens, additional_special_tokens; add_bos_token, legacy,
 *                               tokenizer_class
 *     special_tokens_map.json,  when there is no added_tokens_decoder: the map's tokens go before those of the config,
 *     added_tokens.json         the others are added
 *     generation_config.json,   eos_token_id, one or a list: all of them end a generation
 *     chat_template.jinja       what conversations look like, where tokenizer_config.json has no chat_template
 *     config.json               bos_token_id, eos_token_id, where the tokenizer's own files name neither
 *
 * So transformers 4.57 and 5.24 have it: a listed token has the id that its text has in the vocabulary, else the next
 * free one, in the order of the list's ids; one that is in tokenizer.json already takes the flags listed here. Absent
 * files and fields are fine. `add_bos_token` counts for the tokenizer classes that obey it.
 */
#include "tokenizer_impl.h"
#include "kernels/base/fs.h"
#include "kernels/base/json.h"
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#define MAX_BYTES (64u << 20)

/* *out NULL: it is not there. */
static bl_status read_one(const char *dir, const char *name, bl_json **out, bl_err *e)
{
    bl_status st = BL_OK;
    char *path = bl_join(dir, name, e);
    *out = NULL;
    if (!path) return BL_E_NOMEM;
    if (bl_exists(path)) st = bl_json_read(path, MAX_BYTES, BL_JSON_PLAIN, out, e);
    if (st == BL_OK && *out && bl_json_kind(*out) != BL_JSON_OBJECT) {
        st = bl_fail(e, BL_E_FORMAT, "%s: expected an object", path);
        bl_json_free(*out);
        *out = NULL;
    }
    bl_free(path);
    return st;
}

/* ---- tokens -------------------------------------------------------------------------------------- */

static bl_status add(tok_list *l, const tok_added *a, bl_arena *arena, bl_err *e)
{
    bl_status st = BL_OK;
    tok_added copy = *a;
    if (!(copy.text = bl_arena_str(arena, a->text, a->n, e))) return BL_E_NOMEM;
    BL_TRY(bl_grow(&l->token, &l->cap, l->n + 1, sizeof *l->token, e));
    l->token[l->n++] = copy;
out:
    return st;
}

static const tok_added *find(const tok_list *l, const char *s, size_t n)
{
    for (size_t i = 0; i < l->n; i++)
        if (l->token[i].n == n && !memcmp(l->token[i].text, s, n)) return &l->token[i];
    return NULL;
}

/* "<s>" or { "content": "<s>", flags }; what is neither says nothing: *out has no text. */
static bl_status read_token(const bl_json *v, tok_added *out, bl_err *e)
{
    *out = (tok_added){.id = -1, .special = true};
    bl_status st = BL_OK;
    if (v && bl_json_kind(v) == BL_JSON_STRING) {
        BL_TRY(bl_json_str(v, &out->text, e));
        out->n = strlen(out->text);
    } else if (v && bl_json_kind(v) == BL_JSON_OBJECT && bl_json_get(v, "content")) {
        BL_TRY(tok_added_read(v, out, e));
        out->special = true;
    }
out:
    return st;
}

/* A token with a name of its own ("eos_token"); the file read later wins. */
static bl_status name_token(tok_beside *b, const char *key, const bl_json *v, bl_err *e)
{
    static const char *const keys[] = {"bos_token", "eos_token", "unk_token", "sep_token",
                                       "pad_token", "cls_token", "mask_token"};
    bl_status st = BL_OK;
    tok_added a;
    size_t k = 0;
    BL_TRY(read_token(v, &a, e));
    while (k < BL_COUNT(keys) && strcmp(keys[k], key)) k++;
    if (k == 0) b->bos_said = true;
    if (k < BL_COUNT(keys)) b->named[k] = (tok_added){0};
    if (!a.n) return BL_OK;
    if (k == BL_COUNT(keys)) return add(&b->extra, &a, b->arena, e);
    if (!(a.text = bl_arena_str(b->arena, a.text, a.n, e))) return BL_E_NOMEM;
    b->named[k] = a;
out:
    return st;
}

static bl_status extra_tokens(tok_beside *b, const bl_json *list, bl_err *e)
{
    bl_status st = BL_OK;
    for (const bl_json *v = list ? bl_json_first(list) : NULL; /* an object: names of the model's own */
         v; v = bl_json_next(v)) {
        tok_added a;
        BL_TRY(read_token(v, &a, e));
        if (a.n && !find(&b->extra, a.text, a.n)) BL_TRY(add(&b->extra, &a, b->arena, e));
    }
out:
    return st;
}

/* Special tokens of tokenizer_config.json or special_tokens_map.json. */
static bl_status special_tokens(tok_beside *b, const bl_json *j, bl_err *e)
{
    bl_status st = BL_OK;
    for (const bl_json *v = bl_json_first(j); v; v = bl_json_next(v)) {
        const char *key = bl_json_key(v);
        size_t n = strlen(key);
        if (n > 6 && !strcmp(key + n - 6, "_token")) BL_TRY(name_token(b, key, v, e));
    }
    BL_TRY(extra_tokens(b, bl_json_get(j, "additional_special_tokens"), e));
    BL_TRY(extra_tokens(b, bl_json_get(j, "extra_special_tokens"), e));
out:
    return st;
}

static bool is_special(const tok_beside *b, const char *s, size_t n)
{
    for (size_t k = 0; k < BL_COUNT(b->named); k++)
        if (b->named[k].n == n && !memcmp(b->named[k].text, s, n)) return true;
    return find(&b->extra, s, n) != NULL;
}

static int by_id(const void *a, const void *b)
{
    const tok_added *x = a, *y = b;
    return (x->id > y->id) - (x->id < y->id);
}

static bl_status list_token(tok_beside *b, tok_added *a, int64_t id, const char *file, bl_err *e)
{
    if (!a->n) return bl_fail(e, BL_E_FORMAT, "%s: added token %lld is empty", file, (long long)id);
    if (id < 0 || id > INT32_MAX)
        return bl_fail(e, BL_E_FORMAT, "%s: added token '%.60s': id %lld is not between 0 and 2147483647", file,
                       a->text, (long long)id);
    a->id = (int32_t)id;
    return add(&b->listed, a, b->arena, e);
}

/* { "32000": { "content": "<x>", flags } } */
static bl_status listed_by_id(tok_beside *b, const bl_json *list, const char *file, bl_err *e)
{
    bl_status st = BL_OK;
    for (const bl_json *v = bl_json_first(list); v; v = bl_json_next(v)) {
        const char *key = bl_json_key(v) ? bl_json_key(v) : "";
        char *end;
        tok_added a = {0};
        BL_TRY(tok_added_read(v, &a, e));
        errno = 0;
        long long id = strtoll(key, &end, 10);
        if (!*key || *end || errno)
            return bl_fail(e, BL_E_FORMAT, "%s: added_tokens_decoder: '%.60s' is no token id", file, key);
        BL_TRY(list_token(b, &a, id, file, e));
    }
out:
    return st;
}

/* { "<x>": 32000 }; special are those that have a name elsewhere. */
static bl_status listed_by_text(tok_beside *b, const bl_json *j, const char *file, bl_err *e)
{
    bl_status st = BL_OK;
    for (const bl_json *v = bl_json_first(j); v; v = bl_json_next(v)) {
        tok_added a = {.text = bl_json_key(v) ? bl_json_key(v) : ""};
        int64_t id;
        a.n = strlen(a.text);
        a.special = is_special(b, a.text, a.n);
        a.normalized = !a.special;
        BL_TRY(bl_json_int(v, &id, e));
        BL_TRY(list_token(b, &a, id, file, e));
    }
out:
    return st;
}

static bl_status read_config(tok_beside *b, const bl_json *j, bl_err *e)
{
    bl_status st = BL_OK;
    const char *class = "";
    const bl_json *v = bl_json_get(j, "tokenizer_class");
    bool yes;
    if (v && bl_json_kind(v) == BL_JSON_STRING) BL_TRY(bl_json_str(v, &class, e));
    b->llama = strstr(class, "Llama") != NULL;
    v = bl_json_get(j, "add_bos_token");
    if (v && bl_json_kind(v) == BL_JSON_BOOL && b->llama) {
        BL_TRY(bl_json_bool(v, &yes, e));
        b->add_bos = yes;
    }
    static const char *const bert[] = {"do_lower_case", "strip_accents", "tokenize_chinese_chars"};
    int *const said[] = {&b->lower, &b->unmark, &b->cjk};
    for (size_t i = 0; i < BL_COUNT(bert); i++) {
        v = bl_json_get(j, bert[i]);
        if (!v || bl_json_kind(v) != BL_JSON_BOOL) continue;
        BL_TRY(bl_json_bool(v, &yes, e));
        *said[i] = yes;
    }
    v = bl_json_get(j, "legacy");
    if (v && bl_json_kind(v) == BL_JSON_BOOL) {
        BL_TRY(bl_json_bool(v, &yes, e));
        b->prefix_once = !yes;
    }
    BL_TRY(special_tokens(b, j, e));
out:
    return st;
}

/* ---- ids ----------------------------------------------------------------------------------------- */

static void one_id(const bl_json *j, const char *key, int64_t *out)
{
    const bl_json *v = j ? bl_json_get(j, key) : NULL;
    if (v && bl_json_kind(v) == BL_JSON_ARRAY) v = bl_json_first(v); /* several: the first is the main one */
    if (v && bl_json_kind(v) == BL_JSON_NUMBER && bl_json_int(v, out, NULL) != BL_OK) *out = -1;
}

static bl_status all_ids(const bl_json *j, tok_beside *b, bl_err *e)
{
    bl_status st = BL_OK;
    const bl_json *v = j ? bl_json_get(j, "eos_token_id") : NULL;
    bool list = v && bl_json_kind(v) == BL_JSON_ARRAY;
    for (v = list ? bl_json_first(v) : v; v; v = list ? bl_json_next(v) : NULL) {
        int64_t id;
        if (bl_json_kind(v) != BL_JSON_NUMBER || bl_json_int(v, &id, NULL) != BL_OK) continue;
        BL_TRY(bl_grow(&b->end, &b->cap_end, b->n_ends + 1, sizeof *b->end, e));
        b->end[b->n_ends++] = id;
    }
out:
    return st;
}

static bl_status read_ids(tok_beside *b, const char *dir, bl_err *e)
{
    bl_status st = BL_OK;
    bl_json *generation = NULL, *config = NULL;
    BL_TRY(read_one(dir, "generation_config.json", &generation, e));
    BL_TRY(read_one(dir, "config.json", &config, e));
    BL_TRY(all_ids(generation, b, e));
    if (!b->n_ends) BL_TRY(all_ids(config, b, e));
    one_id(config, "bos_token_id", &b->bos_id);
    one_id(config, "eos_token_id", &b->eos_id);
out:
    bl_json_free(generation);
    bl_json_free(config);
    return st;
}

/* The text of the chat template: in the config, one of several by the name "default", or a file of its own. */
static bl_status chat_template(tok_beside *b, const bl_json *config, const char *dir, bl_err *e)
{
    bl_status st = BL_OK;
    const bl_json *v = config ? bl_json_get(config, "chat_template") : NULL, *named;
    const char *name, *text = NULL;
    char *path = NULL, *file = NULL;
    size_t n = 0;

    if (bl_json_kind(v) == BL_JSON_STRING) BL_TRY(bl_json_str(v, &text, e));
    for (named = bl_json_kind(v) == BL_JSON_ARRAY ? bl_json_first(v) : NULL; named && !text;
         named = bl_json_next(named)) {
        BL_TRY(bl_json_get_str(named, "name", &name, e));
        if (!strcmp(name, "default")) BL_TRY(bl_json_get_str(named, "template", &text, e));
    }
    if (!text) {
        if (!(path = bl_join(dir, "chat_template.jinja", e))) {
            st = BL_E_NOMEM;
            goto out;
        }
        if (!bl_exists(path)) goto out;
        BL_TRY(bl_read_file(path, 1 << 20, &file, &n, e));
        text = file;
    } else n = strlen(text);
    if (!(b->chat_template = bl_arena_str(b->arena, text, n, e))) st = BL_E_NOMEM;
out:
    bl_free(path);
    bl_free(file);
    return st;
}

bl_status tok_beside_read(const char *path, const char *model_dir, tok_beside *out, bl_err *e)
{
    bl_status st = BL_OK;
    const char *slash = strrchr(path, '/');
    tok_beside b = {.add_bos = -1, .lower = -1, .unmark = -1, .cjk = -1, .bos_id = -1, .eos_id = -1};
    bl_json *config = NULL, *map = NULL, *added = NULL;
    char *file = NULL, *added_file = NULL;
    char *dir = slash ? bl_strndup(path, slash == path ? 1 : (size_t)(slash - path), e) : bl_strdup(".", e);
    if (!dir) return BL_E_NOMEM;

    if (!(file = bl_join(dir, "tokenizer_config.json", e)) || !(added_file = bl_join(dir, "added_tokens.json", e))) {
        st = BL_E_NOMEM;
        goto out;
    }
    BL_TRY(bl_arena_new(&b.arena, e));
    BL_TRY(read_one(dir, "tokenizer_config.json", &config, e));
    const bl_json *decoder = config ? bl_json_get(config, "added_tokens_decoder") : NULL;
    if (!decoder) {
        BL_TRY(read_one(dir, "special_tokens_map.json", &map, e));
        BL_TRY(read_one(dir, "added_tokens.json", &added, e));
    }
    b.there = config || map;
    if (config) BL_TRY(read_config(&b, config, e));
    if (map) BL_TRY(special_tokens(&b, map, e));
    if (decoder) BL_TRY(listed_by_id(&b, decoder, file, e));
    if (added) BL_TRY(listed_by_text(&b, added, added_file, e));
    if (b.listed.n) qsort(b.listed.token, b.listed.n, sizeof *b.listed.token, by_id);
    BL_TRY(chat_template(&b, config, dir, e));
    BL_TRY(read_ids(&b, model_dir ? model_dir : dir, e));
    *out = b;
    b = (tok_beside){0};
out:
    tok_beside_free(&b);
    bl_json_free(config);
    bl_json_free(map);
    bl_json_free(added);
    bl_free(file);
    bl_free(added_file);
    bl_free(dir);
    return st;
}

void tok_beside_free(tok_beside *b)
{
    bl_free(b->listed.token);
    bl_free(b->extra.token);
    bl_free(b->end);
    bl_arena_free(b->arena);
    *b = (tok_beside){0};
}

/* ---- into the tokenizer -------------------------------------------------------------------------- */

/* Adds one token, or sets the flags of one that is there (`listed`); *id gets its id. */
static bl_status put(bl_tokenizer *t, const tok_added *a, bool listed, const char *file, int32_t *id, bl_err *e)
{
    bl_status st = BL_OK;
    tok_added copy = *a;
    if (t->model == TOK_SCORES) copy.normalized = false; /* sentencepiece takes added tokens out of the text as it is */
    for (size_t i = 0; i < t->n_added; i++) {
        tok_added *old = &t->added[i];
        if (old->n != a->n || memcmp(old->text, a->text, a->n)) continue;
        copy.text = old->text;
        copy.id = *id = old->id;
        if (!listed) return BL_OK;
        *old = copy;
        goto type;
    }
    copy.id = tok_vocab_find(&t->vocab, a->text, a->n);
    if (copy.id < 0) {
        size_t next = t->vocab.n;
        BL_TRY(tok_vocab_add(&t->vocab, (int64_t)next, a->text, a->n, 0, TOK_NORMAL, next, file, e));
        copy.id = (int32_t)next;
    }
    *id = copy.id;
    BL_TRY(tok_add_added(t, &copy, e));
type:
    if (t->vocab.entry[copy.id].type != TOK_UNKNOWN)
        t->vocab.entry[copy.id].type = copy.special ? TOK_CONTROL : TOK_USER;
out:
    return st;
}

bl_status tok_beside_apply(bl_tokenizer *t, const tok_beside *b, const char *file, bl_err *e)
{
    enum { BOS, EOS };
    bl_status st = BL_OK;
    int32_t id, named[BL_COUNT(b->named)];
    if (b->chat_template && !(t->chat_template = bl_arena_str(t->arena, b->chat_template, strlen(b->chat_template), e)))
        return BL_E_NOMEM;
    for (size_t i = 0; i < b->listed.n; i++) {
        BL_TRY(put(t, &b->listed.token[i], true, file, &id, e));
        if (id != b->listed.token[i].id)
            bl_log(BL_LOG_WARN, "tokenizer=%s token='%.60s' listed_id=%d id=%d", file, b->listed.token[i].text,
                   b->listed.token[i].id, id);
    }
    for (size_t k = 0; k < BL_COUNT(named); k++) {
        named[k] = -1;
        if (b->named[k].n) BL_TRY(put(t, &b->named[k], false, file, &named[k], e));
    }
    for (size_t i = 0; i < b->extra.n; i++) BL_TRY(put(t, &b->extra.token[i], false, file, &id, e));

    /* What stands for an empty context is the named BOS, else the named EOS, whatever config.json says. */
    if (named[BOS] >= 0) t->bos = named[BOS];
    else if (b->there && (b->bos_said || (!b->llama && t->model != TOK_SCORES))) t->bos_unnamed = true;
    if (named[EOS] >= 0) t->eos = named[EOS];
    BL_TRY(tok_add_end(t, t->eos, e));
    for (size_t i = 0; i < b->n_ends; i++) BL_TRY(tok_add_end(t, b->end[i], e));
    if (t->bos < 0 && t->eos < 0 && tok_vocab_has(&t->vocab, b->bos_id)) t->bos = (int32_t)b->bos_id;
    if (t->eos < 0 && tok_vocab_has(&t->vocab, b->eos_id)) t->eos = (int32_t)b->eos_id;

    t->prefix_once = b->prefix_once;
    if (b->add_bos == 0 && t->n_prefix && t->prefix[0] == t->bos) {
        memmove(t->prefix, t->prefix + 1, --t->n_prefix * sizeof *t->prefix);
    } else if (b->add_bos == 1 && t->bos >= 0 && !t->n_prefix) {
        t->prefix[t->n_prefix++] = t->bos;
    }
out:
    return st;
}
