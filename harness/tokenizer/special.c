/* special.c - what lies beside a tokenizer file says which tokens open and close a text.
 *
 * tokenizer_config.json, then special_tokens_map.json (tokens by text), then config.json (by id). Absent files and
 * fields are fine. `add_bos_token` counts for the tokenizer classes that obey it.
 */
#include "tokenizer_impl.h"
#include "kernels/base/fs.h"
#include "kernels/base/json.h"
#include <string.h>

#define MAX_BYTES (64u << 20)

/* "bos_token": "<s>" or { "content": "<s>" }; other shapes say nothing. */
static bl_status token(const bl_json *j, const char *key, char **out, bl_err *e)
{
    const bl_json *v = bl_json_get(j, key);
    const char *s;
    if (v && bl_json_kind(v) == BL_JSON_OBJECT) v = bl_json_get(v, "content");
    if (*out || !v || bl_json_kind(v) != BL_JSON_STRING) return BL_OK;
    bl_status st = bl_json_str(v, &s, e);
    if (st != BL_OK) return st;
    return (*out = bl_strdup(s, e)) ? BL_OK : BL_E_NOMEM;
}

static void id(const bl_json *j, const char *key, int64_t *out)
{
    const bl_json *v = bl_json_get(j, key);
    if (v && bl_json_kind(v) == BL_JSON_ARRAY) v = bl_json_first(v); /* several ends: the first is the main one */
    if (v && bl_json_kind(v) == BL_JSON_NUMBER && bl_json_int(v, out, NULL) != BL_OK) *out = -1;
}

static bl_status read_one(const char *dir, const char *name, bl_json **out, bl_err *e)
{
    bl_status st = BL_OK;
    char *path = bl_join(dir, name, e);
    *out = NULL;
    if (!path) return BL_E_NOMEM;
    if (bl_exists(path)) st = bl_json_read(path, MAX_BYTES, BL_JSON_PLAIN, out, e);
    bl_free(path);
    return st;
}

bl_status tok_beside_read(const char *path, tok_beside *out, bl_err *e)
{
    bl_status st = BL_OK;
    const char *slash = strrchr(path, '/'), *class = "";
    tok_beside b = {.add_bos = -1, .bos_id = -1, .eos_id = -1};
    bl_json *j = NULL;
    char *dir = slash ? bl_strndup(path, slash == path ? 1 : (size_t)(slash - path), e) : bl_strdup(".", e);
    if (!dir) return BL_E_NOMEM;

    BL_TRY(read_one(dir, "tokenizer_config.json", &j, e));
    if (j) {
        const bl_json *v = bl_json_get(j, "tokenizer_class");
        if (v && bl_json_kind(v) == BL_JSON_STRING) BL_TRY(bl_json_str(v, &class, e));
        BL_TRY(token(j, "bos_token", &b.bos, e));
        BL_TRY(token(j, "eos_token", &b.eos, e));
        bool add;
        v = bl_json_get(j, "add_bos_token");
        if (v && bl_json_kind(v) == BL_JSON_BOOL && strstr(class, "Llama")) {
            BL_TRY(bl_json_bool(v, &add, e));
            b.add_bos = add;
        }
    }
    bl_json_free(j);
    j = NULL;
    BL_TRY(read_one(dir, "special_tokens_map.json", &j, e));
    if (j) {
        BL_TRY(token(j, "bos_token", &b.bos, e));
        BL_TRY(token(j, "eos_token", &b.eos, e));
    }
    bl_json_free(j);
    j = NULL;
    BL_TRY(read_one(dir, "config.json", &j, e));
    if (j) {
        id(j, "bos_token_id", &b.bos_id);
        id(j, "eos_token_id", &b.eos_id);
    }
    *out = b;
    b = (tok_beside){0};
out:
    tok_beside_free(&b);
    bl_json_free(j);
    bl_free(dir);
    return st;
}

void tok_beside_free(tok_beside *b)
{
    bl_free(b->bos);
    bl_free(b->eos);
    b->bos = b->eos = NULL;
}

static void choose(const tok_vocab *v, const char *text, int64_t by_id, int32_t *out)
{
    int32_t found = text ? tok_vocab_find(v, text, strlen(text)) : -1;
    if (found >= 0) *out = found;
    else if (*out < 0 && tok_vocab_has(v, by_id)) *out = (int32_t)by_id;
}

void tok_beside_apply(bl_tokenizer *t, const tok_beside *b)
{
    choose(&t->vocab, b->bos, b->bos_id, &t->bos);
    choose(&t->vocab, b->eos, b->eos_id, &t->eos);
    if (b->add_bos == 0 && t->n_prefix && t->prefix[0] == t->bos) {
        memmove(t->prefix, t->prefix + 1, --t->n_prefix * sizeof *t->prefix);
    } else if (b->add_bos == 1 && t->bos >= 0 && !t->n_prefix) {
        t->prefix[t->n_prefix++] = t->bos;
    }
}
