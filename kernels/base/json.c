/* json.c - the tree of a JSON document and its checked getters.
 *
 * The scanner has found the text to be strict JSON and laid out the nodes; cJSON then decodes the texts, and the two
 * must agree on every value. Numbers are the scanner's, because cJSON rounds integers and cuts long ones.
 */
#include "fs.h"
#include "json_impl.h"
#include <cjson/cJSON.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <xxhash.h>

static void use_our_heap(void) { cJSON_InitHooks(&(cJSON_Hooks){bl_small_new, bl_small_free}); }

/* What the last bl_json_get of this thread did not find, so that a getter given NULL can say what is missing. */
static _Thread_local struct {
    const bl_json *in;
    char key[128];
} absent;

/* ---- reading ------------------------------------------------------------------------------------ */
typedef struct fill {
    bl_json *node;
    size_t n, at;
    char *pool;
} fill;

static char *keep(fill *f, const char *s, size_t n)
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

/* Gives node f->at and all below it their texts; false when cJSON saw something else than the scanner. */
static bool take_texts(fill *f, const cJSON *c)
{
    if (f->at >= f->n || kind_of(c) != f->node[f->at].kind) return false;
    bl_json *v = &f->node[f->at++];
    uint32_t n = 0;
    if (c->string) v->key = keep(f, c->string, strlen(c->string));
    if (v->kind == BL_JSON_STRING) {
        v->n = (uint32_t)strlen(c->valuestring);
        v->v.text = keep(f, c->valuestring, v->n);
    }
    if (v->kind != BL_JSON_ARRAY && v->kind != BL_JSON_OBJECT) return true;
    for (const cJSON *k = c->child; k; k = k->next, n++)
        if (!take_texts(f, k)) return false;
    return n == v->n;
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

static bl_status all_keys_are_unique(const bl_json *node, size_t n, bl_err *e)
{
    bl_status st = BL_OK;
    entry *list = NULL;
    size_t cap = 0;
    for (size_t i = 0; i < n; i++)
        if (node[i].kind == BL_JSON_OBJECT) BL_TRY(keys_are_unique(&node[i], &list, &cap, e));
out:
    bl_free(list);
    return st;
}

/* Reads s[0..n), which ends in a NUL and may be written to. */
static bl_status parse(char *s, size_t n, const char *name, bl_json_flags f, bl_json **out, bl_err *e)
{
    static pthread_once_t once = PTHREAD_ONCE_INIT;
    bl_status st = BL_OK;
    bl_json_scan scan = {0};
    cJSON *tree = NULL;

    pthread_once(&once, use_our_heap);
    BL_TRY(bl_json_scan_text(s, n, name, f, &scan, e));
    bl_json *doc = scan.node;
    if (!(doc->key = bl_strdup(name, e)) || !(doc->v.pool = bl_new(scan.pool_bytes + 1, 1, e))) {
        st = BL_E_NOMEM;
        goto out;
    }
    bl_small_failed(true);
    if (!(tree = cJSON_ParseWithLengthOpts(s, n + 1, NULL, true))) {
        st = bl_small_failed(true) ? bl_fail(e, BL_E_NOMEM, "%s: out of memory for %zu values", name, scan.n_nodes - 1)
                                   : bl_fail(e, BL_E_INTERNAL, "%s: valid JSON that cJSON does not read", name);
        goto out;
    }
    fill fi = {.node = doc, .n = scan.n_nodes, .at = 1, .pool = doc->v.pool};
    if (!take_texts(&fi, tree) || fi.at != fi.n) {
        st = bl_fail(e, BL_E_INTERNAL, "%s: two readers disagree about it", name);
        goto out;
    }
    BL_TRY(all_keys_are_unique(doc + 1, scan.n_nodes - 1, e));
    *out = doc + 1;
    scan.node = NULL;
out:
    cJSON_Delete(tree);
    if (scan.node) bl_json_free(scan.node + 1);
    return st;
}

bl_status bl_json_parse(const char *text, size_t n, const char *name, bl_json_flags f, bl_json **out, bl_err *e)
{
    char *copy = n < SIZE_MAX ? bl_new(n + 1, 1, e) : NULL;
    if (!copy) return BL_E_NOMEM;
    if (n) memcpy(copy, text, n);
    bl_status st = parse(copy, n, name, f, out, e);
    bl_free(copy);
    return st;
}

bl_status bl_json_read(const char *path, uint64_t max_bytes, bl_json_flags f, bl_json **out, bl_err *e)
{
    bl_status st = BL_OK;
    char *text = NULL;
    size_t n = 0;
    const char *slash = strrchr(path, '/');
    BL_TRY(bl_read_file(path, max_bytes, &text, &n, e));
    st = parse(text, n, strcmp(path, "-") == 0 ? "standard input" : slash ? slash + 1 : path, f, out, e);
out:
    bl_free(text);
    return st;
}

void bl_json_free(bl_json *root)
{
    if (!root) return;
    absent.in = NULL;
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
bool bl_json_whole(const bl_json *v) { return v->kind == BL_JSON_NUMBER && v->whole; }

const bl_json *bl_json_first(const bl_json *v)
{
    absent.in = NULL;
    return is_container(v) && v->n ? v + 1 : NULL;
}

const bl_json *bl_json_next(const bl_json *v) { return v && v->skip ? v + v->skip : NULL; }

static const bl_json *find(const bl_json *obj, const char *key)
{
    if (!obj || obj->kind != BL_JSON_OBJECT || !obj->n) return NULL;
    for (const bl_json *k = obj + 1; k; k = bl_json_next(k))
        if (strcmp(k->key, key) == 0) return k;
    return NULL;
}

const bl_json *bl_json_get(const bl_json *obj, const char *key)
{
    const bl_json *v = find(obj, key);
    absent.in = NULL;
    if (!v && obj) {
        absent.in = obj;
        snprintf(absent.key, sizeof absent.key, "%s", key);
    }
    return v;
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
    if (!v && absent.in)
        return absent.in->kind == BL_JSON_OBJECT
                   ? refuse(absent.in, BL_E_FORMAT, e, "'%s' is missing, expected %s", absent.key, expected)
                   : wrong(absent.in, "an object", e);
    if (!v) return bl_fail(e, BL_E_FORMAT, "a value is missing, expected %s", expected);
    bl_json_found(v, found);
    return refuse(v, BL_E_FORMAT, e, "found %s, expected %s", found, expected);
}

bl_status bl_json_need(const bl_json *obj, const char *key, const bl_json **out, bl_err *e)
{
    if (!obj || obj->kind != BL_JSON_OBJECT) return wrong(obj, "an object", e);
    const bl_json *v = find(obj, key);
    if (!v) return refuse(obj, BL_E_FORMAT, e, "'%s' is missing", key);
    *out = v;
    return BL_OK;
}

bl_status bl_json_int(const bl_json *v, int64_t *out, bl_err *e)
{
    if (!v || v->kind != BL_JSON_NUMBER) return wrong(v, "an integer", e);
    if (v->whole == 2) return refuse(v, BL_E_FORMAT, e, "an integer beyond 2^53, which cannot be read exactly");
    if (!v->whole) return wrong(v, "an integer, written without fraction and exponent", e);
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
        return near ? refuse(obj, BL_E_CONFIG, e, "unknown key '%.200s'; did you mean %s?", k->key, near)
                    : refuse(obj, BL_E_CONFIG, e, "unknown key '%.200s'", k->key);
    }
    return BL_OK;
}
