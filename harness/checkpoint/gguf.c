/* gguf.c - the header of a GGUF file, version 2 or 3: typed keys, then tensor descriptions, then aligned tensor bytes.
 *
 *     "GGUF" | u32 version | u64 tensors | u64 keys
 *     key:    text name | u32 type | value             text: u64 length, bytes
 *                                                      array: u32 item type, u64 length, items
 *     tensor: text name | u32 dims | u64 dim[dims] | u32 type | u64 offset
 *                                                      offset: from the data's beginning, aligned
 *
 * Every length is compared with what is left of the file before anything is allocated or touched.
 */
#include "gguf.h"
#include "checkpoint_impl.h"
#include "kernels/base/utf8.h"
#include <inttypes.h>
#include <stdlib.h>

enum { MAX_KEYS = 65536, MAX_TENSORS = 131072, MAX_KEY = 65535, MAX_NAME = 1024 };
enum { LEAST_KEY = 8 + 1 + 4 + 1, LEAST_TENSOR = 8 + 1 + 4 + 8 + 4 + 8 }; /* bytes of the smallest record */

struct bl_gguf {
    bl_arena *arena;
    bl_map map; /* when opened by path */
    bool mapped;
    const char *name;
    bl_gguf_value *kv;
    uint32_t *kv_sorted;
    size_t n_kv;
    bl_gguf_tensor *t;
    uint32_t *t_sorted;
    size_t n_t;
    const uint8_t *metadata;
    uint64_t metadata_bytes;
};

static const struct {
    const char *name;
    unsigned bytes;
} types[] = {
    [BL_GGUF_U8] = {"u8", 1},       [BL_GGUF_I8] = {"i8", 1},     [BL_GGUF_U16] = {"u16", 2},
    [BL_GGUF_I16] = {"i16", 2},     [BL_GGUF_U32] = {"u32", 4},   [BL_GGUF_I32] = {"i32", 4},
    [BL_GGUF_F32] = {"f32", 4},     [BL_GGUF_BOOL] = {"bool", 1}, [BL_GGUF_STRING] = {"text", 0},
    [BL_GGUF_ARRAY] = {"array", 0}, [BL_GGUF_U64] = {"u64", 8},   [BL_GGUF_I64] = {"i64", 8},
    [BL_GGUF_F64] = {"f64", 8},
};

/* Types of other programs' files, for the sentence that refuses them. */
static const char *const ggml_names[] = {
    "F32",        "F16",        "Q4_0",       "Q4_1",  "Q4_2",     "Q4_3",     "Q5_0",     "Q5_1",    "Q8_0",
    "Q8_1",       "Q2_K",       "Q3_K",       "Q4_K",  "Q5_K",     "Q6_K",     "Q8_K",     "IQ2_XXS", "IQ2_XS",
    "IQ3_XXS",    "IQ1_S",      "IQ4_NL",     "IQ3_S", "IQ2_S",    "IQ4_XS",   "I8",       "I16",     "I32",
    "I64",        "F64",        "IQ1_M",      "BF16",  "Q4_0_4_4", "Q4_0_4_8", "Q4_0_8_8", "TQ1_0",   "TQ2_0",
    "IQ4_NL_4_4", "IQ4_NL_4_8", "IQ4_NL_8_8", "MXFP4", "NVFP4",    "Q1_0",     "Q2_0",
};

typedef struct scan {
    const uint8_t *p;
    uint64_t at, n;
    const char *file;
    bl_err *e;
} scan;

static uint64_t left(const scan *s) { return s->n - s->at; }

static bl_status need(const scan *s, uint64_t n, const char *what)
{
    if (n <= left(s)) return BL_OK;
    return bl_fail(s->e, BL_E_FORMAT, "%s: %s needs %" PRIu64 " bytes at byte %" PRIu64 ", the file has %" PRIu64,
                   s->file, what, n, s->at, s->n);
}

static bl_status get_u32(scan *s, const char *what, uint32_t *out)
{
    bl_status st = need(s, 4, what);
    if (st == BL_OK) {
        *out = bl_u32_at(s->p + s->at);
        s->at += 4;
    }
    return st;
}

static bl_status get_u64(scan *s, const char *what, uint64_t *out)
{
    bl_status st = need(s, 8, what);
    if (st == BL_OK) {
        *out = bl_u64_at(s->p + s->at);
        s->at += 8;
    }
    return st;
}

static bl_status get_text(scan *s, const char *what, const uint8_t **p, uint64_t *n)
{
    bl_status st = get_u64(s, what, n);
    if (st != BL_OK) return st;
    if (*n > left(s))
        return bl_fail(s->e, BL_E_FORMAT,
                       "%s: %s has length %" PRIu64 " at byte %" PRIu64 ", %" PRIu64 " bytes are left", s->file, what,
                       *n, s->at, left(s));
    *p = s->p + s->at;
    s->at += *n;
    return BL_OK;
}

/* A key or tensor name, with a NUL after it. */
static bl_status get_name(scan *s, bl_gguf *g, const char *what, uint64_t max, const char **out)
{
    const uint8_t *p;
    uint64_t n;
    bl_status st = get_text(s, what, &p, &n);
    if (st != BL_OK) return st;
    if (n == 0) return bl_fail(s->e, BL_E_FORMAT, "%s: %s at byte %" PRIu64 " is empty", s->file, what, s->at);
    if (n > max)
        return bl_fail(s->e, BL_E_FORMAT, "%s: %s has %" PRIu64 " bytes, at most %" PRIu64 " are read", s->file, what,
                       n, max);
    if (bl_utf8_bad((const char *)p, n) < n || memchr(p, 0, n))
        return bl_fail(s->e, BL_E_FORMAT, "%s: %s before byte %" PRIu64 " is not UTF-8 text", s->file, what, s->at);
    *out = bl_arena_str(g->arena, (const char *)p, n, s->e);
    return *out ? BL_OK : BL_E_NOMEM;
}

static bl_status check_bools(const scan *s, const bl_gguf_value *v, uint64_t n)
{
    for (uint64_t i = 0; i < n; i++)
        if (v->at[i] > 1) return bl_fail(s->e, BL_E_FORMAT, "%s: key '%s': a bool is %d", s->file, v->key, v->at[i]);
    return BL_OK;
}

static bl_status get_value(scan *s, bl_gguf_value *v)
{
    bl_status st = BL_OK;
    uint32_t type, item;
    BL_TRY(get_u32(s, v->key, &type));
    if (type > BL_GGUF_F64)
        return bl_fail(s->e, BL_E_FORMAT, "%s: key '%s': unknown type %" PRIu32, s->file, v->key, type);
    v->type = type;
    v->item = type;
    if (type == BL_GGUF_STRING) return get_text(s, v->key, &v->at, &v->n);
    if (type != BL_GGUF_ARRAY) {
        BL_TRY(need(s, types[type].bytes, v->key));
        v->at = s->p + s->at;
        v->n = 1;
        s->at += types[type].bytes;
        return type == BL_GGUF_BOOL ? check_bools(s, v, 1) : BL_OK;
    }
    BL_TRY(get_u32(s, v->key, &item));
    BL_TRY(get_u64(s, v->key, &v->n));
    if (item > BL_GGUF_F64)
        return bl_fail(s->e, BL_E_FORMAT, "%s: key '%s': array of unknown type %" PRIu32, s->file, v->key, item);
    if (item == BL_GGUF_ARRAY) return bl_fail(s->e, BL_E_FORMAT, "%s: key '%s': array of arrays", s->file, v->key);
    v->item = item;
    v->at = s->p + s->at;
    uint64_t least = item == BL_GGUF_STRING ? 8 : types[item].bytes;
    if (v->n > left(s) / least)
        return bl_fail(s->e, BL_E_FORMAT,
                       "%s: key '%s': array of %" PRIu64 " items of type %s, %" PRIu64 " bytes are left", s->file,
                       v->key, v->n, types[item].name, left(s));
    if (item != BL_GGUF_STRING) {
        s->at += v->n * least;
        return item == BL_GGUF_BOOL ? check_bools(s, v, v->n) : BL_OK;
    }
    for (uint64_t i = 0; i < v->n; i++) {
        const uint8_t *p;
        uint64_t n;
        BL_TRY(get_text(s, v->key, &p, &n));
    }
out:
    return st;
}

static bl_status get_tensor(scan *s, bl_gguf *g, bl_gguf_tensor *t, uint64_t align, uint64_t *data)
{
    bl_status st = BL_OK;
    uint32_t ndim, type;
    uint64_t offset;
    BL_TRY(get_name(s, g, "a tensor name", MAX_NAME, &t->name));
    BL_TRY(get_u32(s, t->name, &ndim));
    if (ndim < 1 || ndim > 4)
        return bl_fail(s->e, BL_E_FORMAT, "%s: tensor '%s' has %" PRIu32 " dimensions, expected 1 to 4", s->file,
                       t->name, ndim);
    t->ndim = (int)ndim;
    uint64_t n = 1;
    for (uint32_t i = 0; i < ndim; i++) {
        BL_TRY(get_u64(s, t->name, &t->dim[i]));
        if (t->dim[i] == 0)
            return bl_fail(s->e, BL_E_FORMAT, "%s: tensor '%s': dimension %" PRIu32 " is 0", s->file, t->name, i);
        if (t->dim[i] > INT64_MAX || __builtin_mul_overflow(n, t->dim[i], &n) || n > INT64_MAX)
            return bl_fail(s->e, BL_E_FORMAT, "%s: tensor '%s': shape is too large", s->file, t->name);
    }
    BL_TRY(get_u32(s, t->name, &type));
    BL_TRY(get_u64(s, t->name, &offset));
    t->format = type <= INT32_MAX ? bl_format_ggml((int)type) : NULL;
    if (!t->format)
        return bl_fail(s->e, BL_E_FORMAT, "%s: tensor '%s': type %" PRIu32 " (%s) is not read", s->file, t->name, type,
                       type < BL_COUNT(ggml_names) ? ggml_names[type] : "unknown");

    /* bytes = n / block * block_bytes; a block never spans rows */
    uint64_t block = 1, block_bytes = 4;
    if (t->format->kind == BL_FMT_BLOCK) {
        block = (uint64_t)t->format->block;
        block_bytes = (uint64_t)t->format->block_bytes;
    } else block_bytes = (uint64_t)t->format->bits / 8;
    if (t->dim[0] % block)
        return bl_fail(s->e, BL_E_FORMAT,
                       "%s: tensor '%s': rows of %" PRIu64 " weights are not a multiple of the block of %" PRIu64
                       " of %s",
                       s->file, t->name, t->dim[0], block, t->format->name);
    if (__builtin_mul_overflow(n / block, block_bytes, &t->bytes))
        return bl_fail(s->e, BL_E_FORMAT, "%s: tensor '%s': shape is too large", s->file, t->name);
    if (offset % align)
        return bl_fail(s->e, BL_E_FORMAT, "%s: tensor '%s': offset %" PRIu64 " is not a multiple of %" PRIu64, s->file,
                       t->name, offset, align);
    if (offset != *data)
        return bl_fail(s->e, BL_E_FORMAT, "%s: tensor '%s': offset %" PRIu64 ", expected %" PRIu64, s->file, t->name,
                       offset, *data);
    t->offset = offset;
    uint64_t end, rest;
    if (__builtin_add_overflow(offset, t->bytes, &end) ||
        __builtin_add_overflow(end, (align - end % align) % align, &rest))
        return bl_fail(s->e, BL_E_FORMAT, "%s: tensor '%s': %" PRIu64 " bytes at %" PRIu64 " are too many", s->file,
                       t->name, t->bytes, offset);
    if (end > s->n)
        return bl_fail(s->e, BL_E_FORMAT,
                       "%s: truncated: tensor '%s' ends at byte %" PRIu64 " of the data, the file has %" PRIu64,
                       s->file, t->name, end, s->n);
    *data = rest;
out:
    return st;
}

static int key_order(const void *a, const void *b, void *kv)
{
    const bl_gguf_value *v = kv;
    return strcmp(v[*(const uint32_t *)a].key, v[*(const uint32_t *)b].key);
}

static int tensor_order(const void *a, const void *b, void *t)
{
    const bl_gguf_tensor *v = t;
    return strcmp(v[*(const uint32_t *)a].name, v[*(const uint32_t *)b].name);
}

static uint32_t *sorted(bl_gguf *g, size_t n, void *base, int (*order)(const void *, const void *, void *), bl_err *e)
{
    uint32_t *s = bl_alloc(g->arena, n, sizeof *s, e);
    if (!s) return NULL;
    for (size_t i = 0; i < n; i++) s[i] = (uint32_t)i;
    if (n) qsort_r(s, n, sizeof *s, order, base);
    return s;
}

static bl_status keys(scan *s, bl_gguf *g, uint64_t n)
{
    bl_status st = BL_OK;
    uint64_t from = s->at;
    if (!(g->kv = bl_alloc(g->arena, n, sizeof *g->kv, s->e))) return BL_E_NOMEM;
    for (g->n_kv = 0; g->n_kv < n; g->n_kv++) {
        bl_gguf_value *v = &g->kv[g->n_kv];
        BL_TRY(get_name(s, g, "a key", MAX_KEY, &v->key));
        BL_TRY(get_value(s, v));
    }
    g->metadata = s->p + from;
    g->metadata_bytes = s->at - from;
    if (!(g->kv_sorted = sorted(g, n, g->kv, key_order, s->e))) return BL_E_NOMEM;
    for (size_t i = 1; i < n; i++)
        if (!strcmp(g->kv[g->kv_sorted[i - 1]].key, g->kv[g->kv_sorted[i]].key))
            return bl_fail(s->e, BL_E_FORMAT, "%s: key '%s' appears twice", s->file, g->kv[g->kv_sorted[i]].key);
out:
    return st;
}

static bl_status tensors(scan *s, bl_gguf *g, uint64_t n, uint64_t align)
{
    bl_status st = BL_OK;
    uint64_t data = 0;
    if (!(g->t = bl_alloc(g->arena, n, sizeof *g->t, s->e))) return BL_E_NOMEM;
    for (g->n_t = 0; g->n_t < n; g->n_t++) BL_TRY(get_tensor(s, g, &g->t[g->n_t], align, &data));
    if (!(g->t_sorted = sorted(g, n, g->t, tensor_order, s->e))) return BL_E_NOMEM;
    for (size_t i = 1; i < n; i++)
        if (!strcmp(g->t[g->t_sorted[i - 1]].name, g->t[g->t_sorted[i]].name))
            return bl_fail(s->e, BL_E_FORMAT, "%s: tensor '%s' appears twice", s->file, g->t[g->t_sorted[i]].name);
    if (n == 0) return BL_OK;

    uint64_t pad = (align - s->at % align) % align;
    if (pad > left(s)) return bl_fail(s->e, BL_E_FORMAT, "%s: the file ends before its tensor data", s->file);
    s->at += pad;
    for (size_t i = 0; i < n; i++) {
        bl_gguf_tensor *t = &g->t[i];
        if (t->offset > left(s) || t->bytes > left(s) - t->offset)
            return bl_fail(s->e, BL_E_FORMAT,
                           "%s: truncated: tensor '%s' ends at byte %" PRIu64 " of the data, the file has %" PRIu64,
                           s->file, t->name, t->offset + t->bytes, left(s));
        t->offset += s->at;
    }
    uint64_t end = g->t[n - 1].offset + g->t[n - 1].bytes;
    if (s->n - end >= align)
        return bl_fail(s->e, BL_E_FORMAT, "%s: %" PRIu64 " bytes after the last tensor", s->file, s->n - end);
out:
    return st;
}

static bl_status parse(bl_gguf *g, const uint8_t *p, uint64_t n, const char *name, bl_err *e)
{
    bl_status st = BL_OK;
    scan s = {.p = p, .n = n, .file = name, .e = e};
    uint32_t version;
    uint64_t n_t, n_kv, align = 32;

    if (n < 4 || memcmp(p, "GGUF", 4)) return bl_fail(e, BL_E_FORMAT, "%s: does not begin with 'GGUF'", name);
    s.at = 4;
    BL_TRY(get_u32(&s, "the version", &version));
    if (version == __builtin_bswap32(2) || version == __builtin_bswap32(3))
        return bl_fail(e, BL_E_FORMAT, "%s: big-endian GGUF; only little-endian files are read", name);
    if (version != 2 && version != 3)
        return bl_fail(e, BL_E_FORMAT, "%s: GGUF version %" PRIu32 ", expected 2 or 3", name, version);
    BL_TRY(get_u64(&s, "the number of tensors", &n_t));
    BL_TRY(get_u64(&s, "the number of keys", &n_kv));
    if (n_kv > MAX_KEYS || n_kv > left(&s) / LEAST_KEY)
        return bl_fail(e, BL_E_FORMAT,
                       "%s: truncated or damaged: %" PRIu64 " keys do not fit %" PRIu64 " bytes (at most %d are read)",
                       name, n_kv, left(&s), MAX_KEYS);
    if (n_t > MAX_TENSORS || n_t > left(&s) / LEAST_TENSOR)
        return bl_fail(e, BL_E_FORMAT,
                       "%s: truncated or damaged: %" PRIu64 " tensors do not fit %" PRIu64
                       " bytes (at most %d are read)",
                       name, n_t, left(&s), MAX_TENSORS);
    BL_TRY(bl_arena_new(&g->arena, e));
    if (!(g->name = bl_arena_str(g->arena, name, strlen(name), e))) return BL_E_NOMEM;
    BL_TRY(keys(&s, g, n_kv));
    const bl_gguf_value *a = bl_gguf_find(g, "general.alignment");
    if (a) {
        if (a->type != BL_GGUF_U32)
            return bl_fail(e, BL_E_FORMAT, "%s: general.alignment has type %s, expected u32", name,
                           types[a->type].name);
        align = bl_u32_at(a->at);
        if (align == 0 || align & (align - 1))
            return bl_fail(e, BL_E_FORMAT, "%s: general.alignment is %" PRIu64 ", expected a power of two", name,
                           align);
    }
    BL_TRY(tensors(&s, g, n_t, align));
out:
    return st;
}

bl_status bl_gguf_parse(const uint8_t *p, uint64_t n, const char *name, bl_gguf **out, bl_err *e)
{
    bl_gguf *g = bl_new(1, sizeof *g, e);
    if (!g) return BL_E_NOMEM;
    bl_status st = parse(g, p, n, name, e);
    if (st == BL_OK) *out = g;
    else bl_gguf_close(g);
    return st;
}

bl_status bl_gguf_open(const char *path, bl_gguf **out, bl_err *e)
{
    bl_status st = BL_OK;
    bl_gguf *g = bl_new(1, sizeof *g, e);
    if (!g) return BL_E_NOMEM;
    BL_TRY(bl_map_open(path, &g->map, e));
    g->mapped = true;
    BL_TRY(parse(g, g->map.data, g->map.size, path, e));
    *out = g;
    g = NULL;
out:
    bl_gguf_close(g);
    return st;
}

void bl_gguf_close(bl_gguf *g)
{
    if (!g) return;
    if (g->mapped) bl_map_close(&g->map);
    bl_arena_free(g->arena);
    bl_free(g);
}

size_t bl_gguf_count(const bl_gguf *g) { return g->n_kv; }
const bl_gguf_value *bl_gguf_at(const bl_gguf *g, size_t i) { return &g->kv[i]; }
size_t bl_gguf_tensor_count(const bl_gguf *g) { return g->n_t; }
bl_gguf_tensor *bl_gguf_tensor_at(bl_gguf *g, size_t i) { return &g->t[i]; }
void bl_gguf_metadata(const bl_gguf *g, const uint8_t **p, uint64_t *n)
{
    *p = g->metadata;
    *n = g->metadata_bytes;
}

const bl_gguf_value *bl_gguf_find(const bl_gguf *g, const char *key)
{
    for (size_t lo = 0, hi = g->n_kv; lo < hi;) {
        size_t mid = (lo + hi) / 2;
        const bl_gguf_value *v = &g->kv[g->kv_sorted[mid]];
        int d = strcmp(v->key, key);
        if (d == 0) return v;
        if (d < 0) lo = mid + 1;
        else hi = mid;
    }
    return NULL;
}

bl_gguf_tensor *bl_gguf_tensor_find(bl_gguf *g, const char *name)
{
    for (size_t lo = 0, hi = g->n_t; lo < hi;) {
        size_t mid = (lo + hi) / 2;
        bl_gguf_tensor *t = &g->t[g->t_sorted[mid]];
        int d = strcmp(t->name, name);
        if (d == 0) return t;
        if (d < 0) lo = mid + 1;
        else hi = mid;
    }
    return NULL;
}

static bl_status present(const bl_gguf *g, const char *key, const bl_gguf_value **out, bl_err *e)
{
    *out = bl_gguf_find(g, key);
    return *out ? BL_OK : bl_fail(e, BL_E_MISSING, "%s: key '%s' is missing", g->name, key);
}

/* One integer of a value or of an array; *fits false: it needs all 64 bits. False: not an integer type. */
static bool integer(bl_gguf_type type, const uint8_t *p, int64_t *out, bool *fits)
{
    *fits = true;
    switch (type) {
    case BL_GGUF_U8: *out = p[0]; return true;
    case BL_GGUF_I8: *out = (int8_t)p[0]; return true;
    case BL_GGUF_U16: *out = p[0] | p[1] << 8; return true;
    case BL_GGUF_I16: *out = (int16_t)(p[0] | p[1] << 8); return true;
    case BL_GGUF_U32: *out = bl_u32_at(p); return true;
    case BL_GGUF_I32: *out = (int32_t)bl_u32_at(p); return true;
    case BL_GGUF_I64: *out = (int64_t)bl_u64_at(p); return true;
    case BL_GGUF_U64:
        *fits = bl_u64_at(p) <= INT64_MAX;
        *out = (int64_t)bl_u64_at(p);
        return true;
    default: return false;
    }
}

bl_status bl_gguf_int(const bl_gguf *g, const char *key, int64_t *out, bl_err *e)
{
    const bl_gguf_value *v;
    bool fits;
    bl_status st = present(g, key, &v, e);
    if (st != BL_OK) return st;
    if (!integer(v->type, v->at, out, &fits))
        return bl_fail(e, BL_E_FORMAT, "%s: key '%s' has type %s, expected a whole number", g->name, key,
                       types[v->type].name);
    if (!fits) return bl_fail(e, BL_E_FORMAT, "%s: key '%s' is %" PRIu64, g->name, key, bl_u64_at(v->at));
    return BL_OK;
}

bl_status bl_gguf_int_each(const bl_gguf *g, const char *key, int64_t n, int64_t *out, bl_err *e)
{
    const bl_gguf_value *v = bl_gguf_find(g, key);
    if (!v || v->type != BL_GGUF_ARRAY) return bl_gguf_int(g, key, out, e);
    if (n < 1 || v->n != (uint64_t)n)
        return bl_fail(e, BL_E_FORMAT,
                       "%s: key '%s' has %" PRIu64 " numbers, expected one for each of %" PRId64 " layers", g->name,
                       key, v->n, n);
    for (uint64_t i = 0; i < v->n; i++) {
        int64_t x;
        bool fits;
        if (!integer(v->item, v->at + i * types[v->item].bytes, &x, &fits) || !fits)
            return bl_fail(e, BL_E_FORMAT, "%s: key '%s' is an array of type %s, expected whole numbers", g->name, key,
                           types[v->item].name);
        if (i && x != *out)
            return bl_fail(e, BL_E_FORMAT,
                           "%s: key '%s' is %" PRId64 " for layer 0 and %" PRId64 " for layer %" PRIu64
                           "; only layers of one shape are read",
                           g->name, key, *out, x, i);
        *out = x;
    }
    return BL_OK;
}

bl_status bl_gguf_real(const bl_gguf *g, const char *key, double *out, bl_err *e)
{
    const bl_gguf_value *v;
    bl_status st = present(g, key, &v, e);
    if (st != BL_OK) return st;
    if (v->type == BL_GGUF_F32) {
        float f;
        memcpy(&f, v->at, 4);
        *out = f;
        return BL_OK;
    }
    if (v->type == BL_GGUF_F64) {
        memcpy(out, v->at, 8);
        return BL_OK;
    }
    return bl_fail(e, BL_E_FORMAT, "%s: key '%s' has type %s, expected f32", g->name, key, types[v->type].name);
}

bl_status bl_gguf_bool(const bl_gguf *g, const char *key, bool *out, bl_err *e)
{
    const bl_gguf_value *v;
    bl_status st = present(g, key, &v, e);
    if (st != BL_OK) return st;
    if (v->type != BL_GGUF_BOOL)
        return bl_fail(e, BL_E_FORMAT, "%s: key '%s' has type %s, expected bool", g->name, key, types[v->type].name);
    *out = v->at[0];
    return BL_OK;
}

bl_status bl_gguf_text(const bl_gguf *g, const char *key, bl_arena *a, const char **out, bl_err *e)
{
    const bl_gguf_value *v;
    bl_status st = present(g, key, &v, e);
    if (st != BL_OK) return st;
    if (v->type != BL_GGUF_STRING)
        return bl_fail(e, BL_E_FORMAT, "%s: key '%s' has type %s, expected text", g->name, key, types[v->type].name);
    if (memchr(v->at, 0, v->n) || bl_utf8_bad((const char *)v->at, v->n) < v->n)
        return bl_fail(e, BL_E_FORMAT, "%s: key '%s' is not UTF-8 text", g->name, key);
    const char *s = bl_arena_str(a, (const char *)v->at, v->n, e);
    if (!s) return BL_E_NOMEM;
    *out = s;
    return BL_OK;
}

const char *bl_gguf_next_string(const uint8_t **cursor, uint64_t *n)
{
    const uint8_t *p = *cursor;
    *n = bl_u64_at(p);
    *cursor = p + 8 + *n;
    return (const char *)p + 8;
}
