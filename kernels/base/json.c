/* json.c - the tree of a JSON document and its checked getters.
 *
 * json_check.c refuses what cJSON would accept or change, cJSON reads, and its tree becomes one array of nodes that
 * know their parents, so that a sentence can say where a value is.
 */
#include "fs.h"
#include "json_impl.h"
#include <cjson/cJSON.h>
#include <math.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <xxhash.h>

static void use_our_heap(void) { cJSON_InitHooks(&(cJSON_Hooks){bl_small_new, bl_small_free}); }

/* ---- reading ------------------------------------------------------------------------------------ */
typedef struct fill {
    bl_json *node;
    size_t at; /* nodes so far */
    char *pool;
    const bl_json_facts *facts;
    size_t numbers;
} fill;

static const char *keep(fill *f, const char *s, size_t n)
{
    char *at = f->pool;
    memcpy(at, s, n + 1);
    f->pool += n + 1;
    return at;
}

static int kind_of(const cJSON *c)
{
    switch (c->type & 0xff) {
    case cJSON_NULL: return BL_JSON_NULL;
    case cJSON_True:
    case cJSON_False: return BL_JSON_BOOL;
    case cJSON_Number: return BL_JSON_NUMBER;
    case cJSON_String: return BL_JSON_STRING;
    case cJSON_Array: return BL_JSON_ARRAY;
    case cJSON_Object: return BL_JSON_OBJECT;
    default: return -1;
    }
}

/* Makes node f->at, child of node `up`, and all below it. The check counted values and numbers. */
static void take(fill *f, const cJSON *c, size_t up)
{
    size_t at = f->at++, last = 0;
    bl_json *v = &f->node[at];
    *v = (bl_json){.kind = (uint8_t)kind_of(c), .up = (uint32_t)(at - up)};
    if (c->string) v->key = keep(f, c->string, strlen(c->string));
    if (v->kind == BL_JSON_BOOL) v->v.truth = cJSON_IsTrue(c);
    if (v->kind == BL_JSON_STRING) {
        v->n = (uint32_t)strlen(c->valuestring);
        v->v.text = keep(f, c->valuestring, v->n);
    }
    if (v->kind == BL_JSON_NUMBER) {
        v->v.number = c->valuedouble;
        v->number = f->facts->number[f->numbers++];
    }
    if (v->kind != BL_JSON_ARRAY && v->kind != BL_JSON_OBJECT) return;
    for (const cJSON *k = c->child; k; k = k->next, v->n++) {
        if (last) f->node[last].skip = (uint32_t)(f->at - last);
        last = f->at;
        take(f, k, at);
    }
}

/* ---- places ------------------------------------------------------------------------------------- */
static const bl_json *root_of(const bl_json *v)
{
    while (v->up) v -= v->up;
    return v;
}

static bool is_plain(const char *key)
{
    size_t n = strspn(key, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_-");
    return n > 0 && key[n] == 0;
}

/* "config.json: model.layers[3].x: " */
static void add_place(bl_text *t, const bl_json *v)
{
    const bl_json *chain[BL_JSON_DEPTH + 1];
    int n = 0;
    for (const bl_json *p = v; p->up; p -= p->up) chain[n++] = p;
    const bl_json *root = root_of(v);
    bl_text_addf(t, "%s: ", root[-1].key);
    for (int i = n - 1; i >= 0; i--) {
        const bl_json *p = chain[i], *up = p - p->up;
        size_t index = 0;
        for (const bl_json *k = up + 1; k != p; k += k->skip) index++;
        if (!p->key) bl_text_addf(t, "[%zu]", index);
        else if (is_plain(p->key)) bl_text_addf(t, "%s%s", i == n - 1 ? "" : ".", p->key);
        else bl_text_addf(t, "[\"%s\"]", p->key);
    }
    if (n) bl_text_add(t, ": ");
}

static bl_status refuse(const bl_json *v, bl_status st, bl_err *e, const char *fmt, ...) BL_PRINTF(4, 5);
static bl_status refuse(const bl_json *v, bl_status st, bl_err *e, const char *fmt, ...)
{
    if (!e) return st;
    bl_text t = {0};
    char what[1024];
    va_list ap;
    va_start(ap, fmt);
    vsnprintf(what, sizeof what, fmt, ap);
    va_end(ap);
    add_place(&t, v);
    bl_fail(e, st, "%s%s", t.s ? t.s : "", what);
    bl_text_free(&t);
    return st;
}

/* ---- unique keys -------------------------------------------------------------------------------- */
typedef struct entry {
    uint64_t hash;
    const char *key;
} entry;

static int by_hash(const void *a, const void *b)
{
    const entry *x = a, *y = b;
    return x->hash != y->hash ? (x->hash < y->hash ? -1 : 1) : strcmp(x->key, y->key);
}

static bl_status keys_are_unique(const bl_json *o, entry **list, size_t *cap, bl_err *e)
{
    enum { FEW = 8 };
    size_t n = 0;
    if (o->n <= FEW) {
        for (const bl_json *a = bl_json_first(o); a; a = bl_json_next(a))
            for (const bl_json *b = bl_json_next(a); b; b = bl_json_next(b))
                if (strcmp(a->key, b->key) == 0) return refuse(o, BL_E_FORMAT, e, "key '%.200s' comes twice", a->key);
        return BL_OK;
    }
    if (bl_grow(list, cap, o->n, sizeof **list, e) != BL_OK) return BL_E_NOMEM;
    for (const bl_json *k = bl_json_first(o); k; k = bl_json_next(k))
        (*list)[n++] = (entry){XXH3_64bits(k->key, strlen(k->key)), k->key};
    qsort(*list, n, sizeof **list, by_hash);
    for (size_t i = 1; i < n; i++)
        if (by_hash(&(*list)[i - 1], &(*list)[i]) == 0)
            return refuse(o, BL_E_FORMAT, e, "key '%.200s' comes twice", (*list)[i].key);
    return BL_OK;
}

/* What json_check.c cannot see in the text: equal keys, and numbers that overflow. */
static bl_status check_nodes(const bl_json *node, size_t n, bl_err *e)
{
    bl_status st = BL_OK;
    entry *list = NULL;
    size_t cap = 0;
    for (size_t i = 0; i < n; i++) {
        if (node[i].kind == BL_JSON_OBJECT) BL_TRY(keys_are_unique(&node[i], &list, &cap, e));
        if (node[i].kind == BL_JSON_NUMBER && !isfinite(node[i].v.number)) {
            st = refuse(&node[i], BL_E_FORMAT, e, "the number is not finite");
            goto out;
        }
    }
out:
    bl_free(list);
    return st;
}

/* The sentence for a text that cJSON does not read: its place and what is written around it. */
static bl_status not_json(const char *name, const char *s, size_t n, size_t at, bl_err *e)
{
    size_t from = at = BL_MIN(at, n), to = at;
    if (strspn(s + at, " \t\n\r") == n - at)
        return bl_json_refuse_at(name, s, n, e, "the text ends here, before its value is complete");
    while (from > 0 && at - from < 16 && s[from - 1] != '\n') from--;
    while (to < n && to - at < 16 && s[to] != '\n') to++;
    while (from < at && ((uint8_t)s[from] & 0xc0) == 0x80) from++;
    while (to > at && ((uint8_t)s[to] & 0xc0) == 0x80) to--;
    return bl_json_refuse_at(name, s, at, e, "this is not JSON: %s%.*s%s", from > 0 ? "…" : "", (int)(to - from),
                             s + from, to < n ? "…" : "");
}

/* Reads s[0..n), which ends in a NUL and may be written to. */
static bl_status parse(char *s, size_t n, const char *name, bl_json_flags f, size_t most, bl_json **out, bl_err *e)
{
    static pthread_once_t once = PTHREAD_ONCE_INIT;
    bl_status st = BL_OK;
    bl_json_facts facts = {0};
    cJSON *tree = NULL;
    bl_json *doc = NULL;
    const char *stopped = s;

    pthread_once(&once, use_our_heap);
    BL_TRY(bl_json_check(s, n, name, f, most, &facts, e));
    bl_small_failed(true);
    if (!(tree = cJSON_ParseWithLengthOpts(s, n + 1, &stopped, true))) {
        st = bl_small_failed(true) ? bl_fail(e, BL_E_NOMEM, "%s: out of memory for %zu values", name, facts.n_values)
                                   : not_json(name, s, n, stopped ? (size_t)(stopped - s) : 0, e);
        goto out;
    }
    if (!(doc = bl_new(facts.n_values + 1, sizeof *doc, e)) || !(doc->key = bl_strdup(name, e)) ||
        !(doc->v.pool = bl_new(facts.n_text + 1, 1, e))) {
        st = BL_E_NOMEM;
        goto out;
    }
    fill fi = {.node = doc, .at = 1, .pool = doc->v.pool, .facts = &facts};
    take(&fi, tree, 1); /* the root has no parent */
    cJSON_Delete(tree);
    tree = NULL;
    BL_TRY(check_nodes(doc + 1, facts.n_values, e));
    *out = doc + 1;
    doc = NULL;
out:
    cJSON_Delete(tree);
    bl_free(facts.number);
    if (doc) bl_json_free(doc + 1);
    return st;
}

bl_status bl_json_parse(const char *text, size_t n, const char *name, bl_json_flags f, bl_json **out, bl_err *e)
{
    return bl_json_parse_most(text, n, name, f, BL_JSON_VALUES, out, e);
}

bl_status bl_json_parse_most(const char *text, size_t n, const char *name, bl_json_flags f, size_t most, bl_json **out,
                             bl_err *e)
{
    char *copy = n < SIZE_MAX ? bl_new(n + 1, 1, e) : NULL;
    if (!copy) return BL_E_NOMEM;
    if (n) memcpy(copy, text, n);
    bl_status st = parse(copy, n, name, f, most, out, e);
    bl_free(copy);
    return st;
}

bl_status bl_json_read(const char *path, uint64_t max_bytes, bl_json_flags f, bl_json **out, bl_err *e)
{
    bl_status st = BL_OK;
    char *text = NULL;
    size_t n = 0;
    BL_TRY(bl_read_file(path, max_bytes, &text, &n, e));
    st = parse(text, n, strcmp(path, "-") == 0 ? "standard input" : path, f, BL_JSON_VALUES, out, e);
out:
    bl_free(text);
    return st;
}

void bl_json_free(bl_json *root)
{
    if (!root) return;
    bl_json *doc = root - 1;
    bl_free((char *)(uintptr_t)doc->key);
    bl_free(doc->v.pool);
    bl_free(doc);
}

/* ---- walking ------------------------------------------------------------------------------------ */
bl_json_type bl_json_kind(const bl_json *v) { return v ? (bl_json_type)v->kind : BL_JSON_NULL; }
const char *bl_json_key(const bl_json *v) { return v ? v->key : NULL; }
static bool is_container(const bl_json *v) { return v && (v->kind == BL_JSON_ARRAY || v->kind == BL_JSON_OBJECT); }
size_t bl_json_size(const bl_json *v) { return is_container(v) ? v->n : 0; }
bool bl_json_whole(const bl_json *v) { return v->kind == BL_JSON_NUMBER && v->number != BL_JSON_FRACTION; }

const bl_json *bl_json_first(const bl_json *v) { return is_container(v) && v->n ? v + 1 : NULL; }
const bl_json *bl_json_next(const bl_json *v) { return v && v->skip ? v + v->skip : NULL; }

const bl_json *bl_json_get(const bl_json *obj, const char *key)
{
    if (!obj || obj->kind != BL_JSON_OBJECT || !obj->n) return NULL;
    for (const bl_json *k = obj + 1; k; k = bl_json_next(k))
        if (strcmp(k->key, key) == 0) return k;
    return NULL;
}

/* ---- getters ------------------------------------------------------------------------------------ */
void bl_json_found(const bl_json *v, char out[96])
{
    char number[40];
    switch (bl_json_kind(v)) {
    case BL_JSON_NULL: snprintf(out, 96, "null"); break;
    case BL_JSON_BOOL: snprintf(out, 96, "%s", v->v.truth ? "true" : "false"); break;
    case BL_JSON_NUMBER:
        bl_real_short(number, v->v.number);
        snprintf(out, 96, "%s", number);
        break;
    case BL_JSON_STRING: snprintf(out, 96, v->n > 60 ? "the string \"%.60s…\"" : "the string \"%s\"", v->v.text); break;
    case BL_JSON_ARRAY: snprintf(out, 96, "an array of %u", (unsigned)v->n); break;
    case BL_JSON_OBJECT: snprintf(out, 96, "an object"); break;
    }
}

static bl_status wrong(const bl_json *v, const char *expected, bl_err *e)
{
    char found[96];
    if (!v) return bl_fail(e, BL_E_FORMAT, "a value is missing, expected %s", expected);
    bl_json_found(v, found);
    return refuse(v, BL_E_FORMAT, e, "found %s, expected %s", found, expected);
}

bl_status bl_json_need(const bl_json *obj, const char *key, const bl_json **out, bl_err *e)
{
    if (!obj || obj->kind != BL_JSON_OBJECT) return wrong(obj, "an object", e);
    const bl_json *v = bl_json_get(obj, key);
    if (!v) return refuse(obj, BL_E_FORMAT, e, "'%s' is missing", key);
    *out = v;
    return BL_OK;
}

bl_status bl_json_int(const bl_json *v, int64_t *out, bl_err *e)
{
    if (!v || v->kind != BL_JSON_NUMBER) return wrong(v, "an integer", e);
    if (v->number == BL_JSON_BEYOND)
        return refuse(v, BL_E_FORMAT, e, "an integer beyond 2^53, which cannot be read exactly");
    if (v->number == BL_JSON_FRACTION) return wrong(v, "an integer, written without fraction and exponent", e);
    *out = (int64_t)v->v.number;
    return BL_OK;
}

bl_status bl_json_real(const bl_json *v, double *out, bl_err *e)
{
    if (!v || v->kind != BL_JSON_NUMBER) return wrong(v, "a number", e);
    *out = v->v.number;
    return BL_OK;
}

bl_status bl_json_bool(const bl_json *v, bool *out, bl_err *e)
{
    if (!v || v->kind != BL_JSON_BOOL) return wrong(v, "true or false", e);
    *out = v->v.truth;
    return BL_OK;
}

bl_status bl_json_str(const bl_json *v, const char **out, bl_err *e)
{
    if (!v || v->kind != BL_JSON_STRING) return wrong(v, "a string", e);
    *out = v->v.text;
    return BL_OK;
}

bl_status bl_json_get_int(const bl_json *obj, const char *key, int64_t *out, bl_err *e)
{
    const bl_json *v = NULL;
    bl_status st = bl_json_need(obj, key, &v, e);
    return st == BL_OK ? bl_json_int(v, out, e) : st;
}

bl_status bl_json_get_real(const bl_json *obj, const char *key, double *out, bl_err *e)
{
    const bl_json *v = NULL;
    bl_status st = bl_json_need(obj, key, &v, e);
    return st == BL_OK ? bl_json_real(v, out, e) : st;
}

bl_status bl_json_get_bool(const bl_json *obj, const char *key, bool *out, bl_err *e)
{
    const bl_json *v = NULL;
    bl_status st = bl_json_need(obj, key, &v, e);
    return st == BL_OK ? bl_json_bool(v, out, e) : st;
}

bl_status bl_json_get_str(const bl_json *obj, const char *key, const char **out, bl_err *e)
{
    const bl_json *v = NULL;
    bl_status st = bl_json_need(obj, key, &v, e);
    return st == BL_OK ? bl_json_str(v, out, e) : st;
}

bl_status bl_json_only(const bl_json *obj, const char *const *known, bl_err *e)
{
    if (!obj || obj->kind != BL_JSON_OBJECT) return wrong(obj, "an object", e);
    for (const bl_json *k = bl_json_first(obj); k; k = bl_json_next(k)) {
        size_t i = 0;
        while (known[i] && strcmp(known[i], k->key) != 0) i++;
        if (known[i]) continue;
        const char *near = bl_nearest(k->key, known);
        bl_text list = {0}; /* a few are named; of many the nearest says more */
        for (i = 0; known[i]; i++) bl_text_addf(&list, "%s%s", i ? ", " : "; expected ", known[i]);
        bl_status st = near ? refuse(obj, BL_E_CONFIG, e, "unknown key '%.200s'; did you mean %s?", k->key, near)
                            : refuse(obj, BL_E_CONFIG, e, "unknown key '%.200s'%s", k->key,
                                     list.s && list.n < 120 ? list.s : "");
        bl_text_free(&list);
        return st;
    }
    return BL_OK;
}

const char *bl_json_version(void)
{
    static char text[32];
    snprintf(text, sizeof text, "cJSON %s", cJSON_Version());
    return text;
}
