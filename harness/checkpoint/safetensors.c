/* safetensors.c - the header of a safetensors file.
 *
 *     u64 N | N bytes of JSON, may end in blanks | tensor bytes
 *     { "__metadata__": { text: text }, name: { "dtype": text, "shape": [whole, …], "data_offsets": [begin, end] }, … }
 *
 * The grammar is that small, so the header is read in one pass without building a document: numbers stay exact to 64
 * bits, and a header of the largest allowed size costs no more memory than its tensors.
 */
#include "safetensors.h"
#include "checkpoint_impl.h"
#include <inttypes.h>
#include <stdlib.h>

enum { MAX_TENSORS = 131072, MAX_NAME = 1024, MAX_NOTES = 65536 };
#define MAX_HEADER 100000000u

static const struct {
    const char *name;
    unsigned bits;
    bl_dtype dtype;
} dtypes[] = {
    {"BOOL", 8, BL_BOOL},
    {"U8", 8, BL_U8},
    {"I8", 8, BL_I8},
    {"I16", 16, BL_I16},
    {"I32", 32, BL_I32},
    {"I64", 64, BL_I64},
    {"F16", 16, BL_F16},
    {"BF16", 16, BL_BF16},
    {"F32", 32, BL_F32},
    {"F64", 64, BL_F64},
    {"U16", 16, BL_N_DTYPES},
    {"U32", 32, BL_N_DTYPES},
    {"U64", 64, BL_N_DTYPES},
    {"C64", 64, BL_N_DTYPES},
    {"F8_E5M2", 8, BL_N_DTYPES},
    {"F8_E4M3", 8, BL_N_DTYPES},
    {"F8_E8M0", 8, BL_N_DTYPES},
    {"F8_E4M3FNUZ", 8, BL_N_DTYPES},
    {"F8_E5M2FNUZ", 8, BL_N_DTYPES},
    {"F6_E2M3", 6, BL_N_DTYPES},
    {"F6_E3M2", 6, BL_N_DTYPES},
    {"F4", 4, BL_N_DTYPES},
};

struct bl_safetensors {
    bl_arena *arena;
    bl_st_tensor *t; /* by offset */
    uint32_t *by_name;
    size_t n, cap;
    uint64_t data;
};

typedef struct scan {
    const uint8_t *base, *p, *end;
    const char *file;
    bl_arena *arena;
    bl_err *e;
} scan;

static bl_status wrong(const scan *s, const char *expected)
{
    if (s->p == s->end) return bl_fail(s->e, BL_E_FORMAT, "%s: header ends where %s was expected", s->file, expected);
    return bl_fail(s->e, BL_E_FORMAT, "%s: header byte %td is '%c', expected %s", s->file, s->p - s->base, *s->p,
                   expected);
}

static void blanks(scan *s)
{
    while (s->p < s->end && (*s->p == ' ' || *s->p == '\t' || *s->p == '\n' || *s->p == '\r')) s->p++;
}

static bool next_is(scan *s, char c)
{
    blanks(s);
    if (s->p == s->end || *s->p != (uint8_t)c) return false;
    s->p++;
    return true;
}

static bl_status expect(scan *s, char c)
{
    char what[4] = {'\'', c, '\'', 0};
    return next_is(s, c) ? BL_OK : wrong(s, what);
}

static int hex4(const uint8_t *p)
{
    int v = 0;
    for (int i = 0; i < 4; i++) {
        int c = p[i] | 32, d = p[i] >= '0' && p[i] <= '9' ? p[i] - '0' : c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;
        if (d < 0) return -1;
        v = v * 16 + d;
    }
    return v;
}

/* One escape behind the backslash; the character's UTF-8 goes to `to`, 1 to 4 bytes. 0: not an escape. */
static int escape(scan *s, uint8_t *to)
{
    static const char from[] = "\"\\/bfnrt", into[] = "\"\\/\b\f\n\r\t";
    if (s->p == s->end) return 0;
    const char *at = *s->p ? strchr(from, *s->p) : NULL;
    if (at) {
        *to = (uint8_t)into[at - from];
        s->p++;
        return 1;
    }
    if (*s->p != 'u' || s->end - s->p < 5) return 0;
    int64_t c = hex4(s->p + 1);
    s->p += 5;
    if (c >= 0xd800 && c < 0xdc00) {
        int low = s->end - s->p >= 6 && s->p[0] == '\\' && s->p[1] == 'u' ? hex4(s->p + 2) : -1;
        if (low < 0xdc00 || low > 0xdfff) return 0;
        c = 0x10000 + ((c - 0xd800) << 10) + (low - 0xdc00);
        s->p += 6;
    } else if (c <= 0 || (c >= 0xdc00 && c < 0xe000)) {
        return 0;
    }
    if (c < 0x80) {
        to[0] = (uint8_t)c;
        return 1;
    }
    if (c < 0x800) {
        to[0] = (uint8_t)(0xc0 | c >> 6);
        to[1] = (uint8_t)(0x80 | (c & 63));
        return 2;
    }
    if (c < 0x10000) {
        to[0] = (uint8_t)(0xe0 | c >> 12);
        to[1] = (uint8_t)(0x80 | (c >> 6 & 63));
        to[2] = (uint8_t)(0x80 | (c & 63));
        return 3;
    }
    to[0] = (uint8_t)(0xf0 | c >> 18);
    to[1] = (uint8_t)(0x80 | (c >> 12 & 63));
    to[2] = (uint8_t)(0x80 | (c >> 6 & 63));
    to[3] = (uint8_t)(0x80 | (c & 63));
    return 4;
}

/* A text of at most `max` bytes; NUL cannot occur in it. */
static bl_status text(scan *s, size_t max, const char *what, const char **out)
{
    bl_status st = expect(s, '"');
    if (st != BL_OK) return st;
    const uint8_t *from = s->p;
    while (s->p < s->end && *s->p != '"') {
        if (*s->p < 32)
            return bl_fail(s->e, BL_E_FORMAT, "%s: header: %s holds control character %d", s->file, what, *s->p);
        s->p += *s->p == '\\' && s->end - s->p > 1 ? 2 : 1;
    }
    if (s->p == s->end) return wrong(s, "'\"'");
    size_t n = (size_t)(s->p - from);
    if (n > max)
        return bl_fail(s->e, BL_E_FORMAT, "%s: header: %s has %zu bytes, at most %zu are read", s->file, what, n, max);
    char *to = bl_arena_str(s->arena, (const char *)from, n, s->e);
    if (!to) return BL_E_NOMEM;
    *out = to;
    if (!memchr(from, '\\', n)) {
        s->p++;
        return BL_OK;
    }

    s->p = from;
    uint8_t *w = (uint8_t *)to;
    while (*s->p != '"') {
        if (*s->p != '\\') {
            *w++ = *s->p++;
            continue;
        }
        s->p++;
        int k = escape(s, w);
        if (k == 0) return bl_fail(s->e, BL_E_FORMAT, "%s: header: %s holds an escape that is none", s->file, what);
        w += k;
    }
    *w = 0;
    s->p++;
    return BL_OK;
}

/* A whole number without sign, fraction or exponent. */
static bl_status whole(scan *s, const char *tensor, const char *field, uint64_t *out)
{
    blanks(s);
    const uint8_t *from = s->p;
    uint64_t v = 0;
    bool plain = s->p < s->end && *s->p >= '0' && *s->p <= '9', fits = true;
    while (s->p < s->end && *s->p >= '0' && *s->p <= '9') {
        if (__builtin_mul_overflow(v, 10u, &v) || __builtin_add_overflow(v, (uint64_t)(*s->p - '0'), &v)) fits = false;
        s->p++;
    }
    if (plain && *from == '0' && s->p - from > 1) plain = false;
    const uint8_t *to = s->p;
    while (to < s->end && to - from < 40 && !strchr(", ]}:\t\n\r", *to)) to++;
    if (!plain || to != s->p || !fits)
        return bl_fail(s->e, BL_E_FORMAT, "%s: tensor '%s': %s holds '%.*s', expected a whole number%s", s->file,
                       tensor, field, (int)(to - from), (const char *)from, plain && !fits ? " of 64 bits" : "");
    *out = v;
    return BL_OK;
}

static bl_status dtype(scan *s, bl_st_tensor *t, unsigned *bits)
{
    const char *name;
    bl_status st = text(s, MAX_NAME, "dtype", &name);
    if (st != BL_OK) return st;
    for (size_t i = 0; i < BL_COUNT(dtypes); i++)
        if (!strcmp(name, dtypes[i].name)) {
            *bits = dtypes[i].bits;
            t->dtype = dtypes[i].dtype;
            t->dtype_name = dtypes[i].name;
            return BL_OK;
        }
    return bl_fail(s->e, BL_E_FORMAT, "%s: tensor '%s': unknown dtype '%s'", s->file, t->name, name);
}

static bl_status shape(scan *s, bl_st_tensor *t)
{
    bl_status st = BL_OK;
    BL_TRY(expect(s, '['));
    if (next_is(s, ']')) return BL_OK;
    do {
        uint64_t v;
        if (t->ndim == BL_ST_MAX_DIMS)
            return bl_fail(s->e, BL_E_FORMAT, "%s: tensor '%s' has more than %d dimensions", s->file, t->name,
                           BL_ST_MAX_DIMS);
        BL_TRY(whole(s, t->name, "shape", &v));
        if (v > INT64_MAX)
            return bl_fail(s->e, BL_E_FORMAT, "%s: tensor '%s': dimension %d is %" PRIu64, s->file, t->name, t->ndim,
                           v);
        t->dim[t->ndim++] = (int64_t)v;
    } while (next_is(s, ','));
    BL_TRY(expect(s, ']'));
out:
    return st;
}

/* Bytes that a tensor of this shape occupies; refuses shapes whose size cannot be represented. */
static bl_status shape_bytes(const scan *s, const bl_st_tensor *t, unsigned bits, uint64_t *out)
{
    uint64_t n = 1, all;
    for (int i = 0; i < t->ndim; i++)
        if (__builtin_mul_overflow(n, (uint64_t)t->dim[i], &n))
            return bl_fail(s->e, BL_E_FORMAT, "%s: tensor '%s': shape is too large", s->file, t->name);
    if (__builtin_mul_overflow(n, (uint64_t)bits, &all))
        return bl_fail(s->e, BL_E_FORMAT, "%s: tensor '%s': shape is too large", s->file, t->name);
    if (all % 8)
        return bl_fail(s->e, BL_E_FORMAT, "%s: tensor '%s': %" PRIu64 " elements of %u bits are not whole bytes",
                       s->file, t->name, n, bits);
    *out = all / 8;
    return BL_OK;
}

/* The object of one tensor. `offset` is still counted from the data's beginning. */
static bl_status tensor(scan *s, bl_st_tensor *t)
{
    bl_status st = BL_OK;
    unsigned bits = 0;
    bool have[3] = {0};
    static const char *const fields[] = {"dtype", "shape", "data_offsets"};
    uint64_t begin = 0, end = 0, need = 0;

    BL_TRY(expect(s, '{'));
    if (!next_is(s, '}')) {
        do {
            const char *key;
            size_t f = 0;
            BL_TRY(text(s, MAX_NAME, "a field name", &key));
            while (f < 3 && strcmp(key, fields[f])) f++;
            if (f == 3) return bl_fail(s->e, BL_E_FORMAT, "%s: tensor '%s': unknown field '%s'", s->file, t->name, key);
            if (have[f])
                return bl_fail(s->e, BL_E_FORMAT, "%s: tensor '%s': field '%s' appears twice", s->file, t->name, key);
            have[f] = true;
            BL_TRY(expect(s, ':'));
            if (f == 0) {
                BL_TRY(dtype(s, t, &bits));
            } else if (f == 1) {
                BL_TRY(shape(s, t));
            } else {
                BL_TRY(expect(s, '['));
                BL_TRY(whole(s, t->name, "data_offsets", &begin));
                BL_TRY(expect(s, ','));
                BL_TRY(whole(s, t->name, "data_offsets", &end));
                BL_TRY(expect(s, ']'));
            }
        } while (next_is(s, ','));
        BL_TRY(expect(s, '}'));
    }
    for (size_t f = 0; f < 3; f++)
        if (!have[f])
            return bl_fail(s->e, BL_E_FORMAT, "%s: tensor '%s': field '%s' is missing", s->file, t->name, fields[f]);
    BL_TRY(shape_bytes(s, t, bits, &need));
    if (end < begin)
        return bl_fail(s->e, BL_E_FORMAT, "%s: tensor '%s': bytes %" PRIu64 "..%" PRIu64 " run backwards", s->file,
                       t->name, begin, end);
    if (end - begin != need)
        return bl_fail(s->e, BL_E_FORMAT,
                       "%s: tensor '%s': bytes %" PRIu64 "..%" PRIu64 ", expected %" PRIu64 " bytes from %" PRIu64,
                       s->file, t->name, begin, end, need, begin);
    t->offset = begin;
    t->bytes = need;
out:
    return st;
}

static int text_order(const void *a, const void *b) { return strcmp(*(const char *const *)a, *(const char *const *)b); }

static bl_status metadata(scan *s)
{
    bl_status st = BL_OK;
    const char **keys = NULL, *value;
    size_t n = 0, cap = 0;
    BL_TRY(expect(s, '{'));
    if (next_is(s, '}')) goto out;
    do {
        if (n == MAX_NOTES) {
            st = bl_fail(s->e, BL_E_FORMAT, "%s: __metadata__ has more than %d entries", s->file, MAX_NOTES);
            goto out;
        }
        BL_TRY(bl_grow(&keys, &cap, n + 1, sizeof *keys, s->e));
        BL_TRY(text(s, MAX_HEADER, "__metadata__", &keys[n]));
        n++;
        BL_TRY(expect(s, ':'));
        blanks(s);
        if (s->p < s->end && *s->p != '"') {
            st = bl_fail(s->e, BL_E_FORMAT, "%s: __metadata__: '%s' is not a text", s->file, keys[n - 1]);
            goto out;
        }
        bl_mark mark = bl_arena_mark(s->arena);
        BL_TRY(text(s, MAX_HEADER, "__metadata__", &value));
        bl_arena_release(s->arena, mark); /* only checked */
    } while (next_is(s, ','));
    BL_TRY(expect(s, '}'));
    qsort(keys, n, sizeof *keys, text_order);
    for (size_t i = 1; i < n; i++)
        if (!strcmp(keys[i - 1], keys[i])) {
            st = bl_fail(s->e, BL_E_FORMAT, "%s: __metadata__: '%s' appears twice", s->file, keys[i]);
            goto out;
        }
out:
    bl_free(keys);
    return st;
}

static bl_status tensors(scan *s, bl_safetensors *f)
{
    bl_status st = BL_OK;
    bool noted = false;
    BL_TRY(expect(s, '{'));
    if (next_is(s, '}')) goto out;
    do {
        const char *name;
        BL_TRY(text(s, MAX_NAME, "a tensor name", &name));
        BL_TRY(expect(s, ':'));
        if (!strcmp(name, "__metadata__")) {
            if (noted) return bl_fail(s->e, BL_E_FORMAT, "%s: __metadata__ appears twice", s->file);
            noted = true;
            BL_TRY(metadata(s));
            continue;
        }
        for (const char *c = name; *c; c++)
            if ((unsigned char)*c < 32 || *c == 127)
                return bl_fail(s->e, BL_E_FORMAT, "%s: tensor name '%s' holds a control character", s->file, name);
        if (f->n == MAX_TENSORS) return bl_fail(s->e, BL_E_FORMAT, "%s: more than %d tensors", s->file, MAX_TENSORS);
        BL_TRY(bl_grow(&f->t, &f->cap, f->n + 1, sizeof *f->t, s->e));
        f->t[f->n] = (bl_st_tensor){.name = name};
        BL_TRY(tensor(s, &f->t[f->n]));
        f->n++;
    } while (next_is(s, ','));
    BL_TRY(expect(s, '}'));
out:
    return st;
}

static int offset_order(const void *a, const void *b)
{
    const bl_st_tensor *x = a, *y = b;
    if (x->offset != y->offset) return x->offset < y->offset ? -1 : 1;
    if (x->bytes != y->bytes) return x->bytes < y->bytes ? -1 : 1;
    return strcmp(x->name, y->name);
}

static int name_order(const void *a, const void *b, void *t)
{
    const bl_st_tensor *all = t;
    return strcmp(all[*(const uint32_t *)a].name, all[*(const uint32_t *)b].name);
}

/* Every byte behind the header belongs to exactly one tensor. */
static bl_status cover(bl_safetensors *f, const char *file, uint64_t size, bl_err *e)
{
    uint64_t at = 0;
    if (f->n) qsort(f->t, f->n, sizeof *f->t, offset_order);
    for (size_t i = 0; i < f->n; i++) {
        bl_st_tensor *t = &f->t[i];
        if (t->offset != at)
            return bl_fail(e, BL_E_FORMAT, "%s: tensor '%s' begins at byte %" PRIu64 ", expected %" PRIu64 " (%s)",
                           file, t->name, t->offset, at, t->offset < at ? "overlap" : "hole");
        at += t->bytes;
        if (at > size)
            return bl_fail(e, BL_E_FORMAT,
                           "%s: tensor '%s' ends at byte %" PRIu64 " of the data, the file has %" PRIu64, file, t->name,
                           at, size);
        t->offset += f->data;
    }
    if (at != size) return bl_fail(e, BL_E_FORMAT, "%s: %" PRIu64 " bytes behind the last tensor", file, size - at);
    f->by_name = bl_alloc(f->arena, f->n, sizeof *f->by_name, e);
    if (!f->by_name) return BL_E_NOMEM;
    for (size_t i = 0; i < f->n; i++) f->by_name[i] = (uint32_t)i;
    if (f->n) qsort_r(f->by_name, f->n, sizeof *f->by_name, name_order, f->t);
    for (size_t i = 1; i < f->n; i++)
        if (!strcmp(f->t[f->by_name[i - 1]].name, f->t[f->by_name[i]].name))
            return bl_fail(e, BL_E_FORMAT, "%s: tensor '%s' appears twice", file, f->t[f->by_name[i]].name);
    return BL_OK;
}

bl_status bl_safetensors_parse(const uint8_t *p, uint64_t n, const char *file, bl_safetensors **out, bl_err *e)
{
    bl_status st = BL_OK;
    bl_safetensors *f = NULL;
    scan s = {.file = file, .e = e};

    if (n < 8) return bl_fail(e, BL_E_FORMAT, "%s: %" PRIu64 " bytes, a safetensors file has at least 8", file, n);
    uint64_t header = bl_u64_at(p);
    if (header > n - 8 && __builtin_bswap64(header) <= n - 8)
        return bl_fail(e, BL_E_FORMAT,
                       "%s: header length %" PRIu64 " looks big-endian; safetensors files are little-endian", file,
                       header);
    if (header > MAX_HEADER)
        return bl_fail(e, BL_E_FORMAT, "%s: header of %" PRIu64 " bytes, at most %u are read", file, header,
                       MAX_HEADER);
    if (header > n - 8)
        return bl_fail(e, BL_E_FORMAT, "%s: header of %" PRIu64 " bytes, the file has %" PRIu64, file, header, n);
    s.base = s.p = p + 8;
    s.end = s.p + header;
    if (header == 0 || *s.p != '{') return bl_fail(e, BL_E_FORMAT, "%s: header does not begin with '{'", file);
    if (!bl_utf8_valid(s.p, header)) return bl_fail(e, BL_E_FORMAT, "%s: header is not UTF-8", file);

    if (!(f = bl_new(1, sizeof *f, e))) return BL_E_NOMEM;
    BL_TRY(bl_arena_new(&f->arena, e));
    s.arena = f->arena;
    f->data = 8 + header;
    BL_TRY(tensors(&s, f));
    blanks(&s);
    if (s.p != s.end) {
        st = bl_fail(e, BL_E_FORMAT, "%s: header goes on behind its JSON object", file);
        goto out;
    }
    BL_TRY(cover(f, file, n - f->data, e));
    *out = f;
    f = NULL;
out:
    bl_safetensors_close(f);
    return st;
}

void bl_safetensors_close(bl_safetensors *s)
{
    if (!s) return;
    bl_arena_free(s->arena);
    bl_free(s->t);
    bl_free(s);
}

size_t bl_safetensors_count(const bl_safetensors *s) { return s->n; }
bl_st_tensor *bl_safetensors_at(bl_safetensors *s, size_t i) { return &s->t[i]; }
uint64_t bl_safetensors_data(const bl_safetensors *s) { return s->data; }

bl_st_tensor *bl_safetensors_find(bl_safetensors *s, const char *name)
{
    size_t lo = 0, hi = s->n;
    while (lo < hi) {
        size_t mid = (lo + hi) / 2;
        int d = strcmp(s->t[s->by_name[mid]].name, name);
        if (d == 0) return &s->t[s->by_name[mid]];
        if (d < 0) lo = mid + 1;
        else hi = mid;
    }
    return NULL;
}
