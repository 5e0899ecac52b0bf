/* safetensors.c - the header of a safetensors file.
 *
 *     u64 N | N bytes of JSON, may end in spaces | tensor bytes
 *     { "__metadata__": { text: text }, name: { "dtype": text, "shape": [whole, …], "data_offsets": [begin, end] }, … }
 *
 * The rules are those of the reference implementation (safetensors/src/tensor.rs): every byte of the data belongs to
 * exactly one tensor.
 */
#include "safetensors.h"
#include "checkpoint_impl.h"
#include "kernels/base/json.h"
#include <inttypes.h>
#include <stdlib.h>

enum { MAX_TENSORS = 131072, MAX_NAME = 1024, MAX_VALUES = 12 * MAX_TENSORS }; /* a matrix has 8 values */
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
    size_t n;
    uint64_t data;
};

static bl_status dtype(const bl_json *o, const char *file, bl_st_tensor *t, unsigned *bits, bl_err *e)
{
    const char *name;
    bl_status st = bl_json_get_str(o, "dtype", &name, e);
    if (st != BL_OK) return st;
    for (size_t i = 0; i < BL_COUNT(dtypes); i++)
        if (!strcmp(name, dtypes[i].name)) {
            *bits = dtypes[i].bits;
            t->dtype = dtypes[i].dtype;
            t->dtype_name = dtypes[i].name;
            return BL_OK;
        }
    return bl_fail(e, BL_E_FORMAT, "%s: tensor '%s': unknown dtype '%s'", file, t->name, name);
}

/* The list o[key] of at most `most` whole numbers from 0 to 2^53. */
static bl_status wholes(const bl_json *o, const char *key, const char *file, const char *tensor, int64_t *v, int most,
                        int *n, bl_err *e)
{
    bl_status st = BL_OK;
    const bl_json *list = NULL;
    BL_TRY(bl_json_need(o, key, &list, e));
    if (bl_json_kind(list) != BL_JSON_ARRAY || bl_json_size(list) > (size_t)most)
        return bl_fail(e, BL_E_FORMAT, "%s: tensor '%s': '%s' is not a list of at most %d numbers", file, tensor, key,
                       most);
    *n = 0;
    for (const bl_json *c = bl_json_first(list); c; c = bl_json_next(c)) {
        BL_TRY(bl_json_int(c, &v[*n], e));
        if (v[*n] < 0) return bl_fail(e, BL_E_FORMAT, "%s: tensor '%s': '%s' holds %" PRId64, file, tensor, key, v[*n]);
        ++*n;
    }
out:
    return st;
}

/* Bytes that a tensor of this shape occupies; refuses shapes whose size cannot be represented. */
static bl_status shape_bytes(const char *file, const bl_st_tensor *t, unsigned bits, uint64_t *out, bl_err *e)
{
    uint64_t n = 1, all;
    for (int i = 0; i < t->ndim; i++)
        if (__builtin_mul_overflow(n, (uint64_t)t->dim[i], &n))
            return bl_fail(e, BL_E_FORMAT, "%s: tensor '%s': shape is too large", file, t->name);
    if (__builtin_mul_overflow(n, (uint64_t)bits, &all))
        return bl_fail(e, BL_E_FORMAT, "%s: tensor '%s': shape is too large", file, t->name);
    if (all % 8)
        return bl_fail(e, BL_E_FORMAT, "%s: tensor '%s': %" PRIu64 " elements of %u bits are not whole bytes", file,
                       t->name, n, bits);
    *out = all / 8;
    return BL_OK;
}

/* The object of one tensor. `offset` is still counted from the data's beginning. */
static bl_status tensor(const bl_json *o, const char *file, bl_st_tensor *t, bl_err *e)
{
    bl_status st = BL_OK;
    unsigned bits = 0;
    int64_t at[2];
    int n = 0;
    uint64_t need = 0;

    BL_TRY(dtype(o, file, t, &bits, e));
    BL_TRY(wholes(o, "shape", file, t->name, t->dim, BL_ST_MAX_DIMS, &t->ndim, e));
    BL_TRY(wholes(o, "data_offsets", file, t->name, at, 2, &n, e));
    if (n != 2) return bl_fail(e, BL_E_FORMAT, "%s: tensor '%s': %d data_offsets, expected 2", file, t->name, n);
    if (bl_json_size(o) > 3)
        for (const bl_json *k = bl_json_first(o); k; k = bl_json_next(k))
            if (strcmp(bl_json_key(k), "dtype") && strcmp(bl_json_key(k), "shape") &&
                strcmp(bl_json_key(k), "data_offsets"))
                return bl_fail(e, BL_E_FORMAT, "%s: tensor '%s': unknown field '%s'", file, t->name, bl_json_key(k));
    BL_TRY(shape_bytes(file, t, bits, &need, e));
    if (at[1] < at[0])
        return bl_fail(e, BL_E_FORMAT, "%s: tensor '%s': bytes %" PRId64 "..%" PRId64 " run backwards", file, t->name,
                       at[0], at[1]);
    if ((uint64_t)(at[1] - at[0]) != need)
        return bl_fail(e, BL_E_FORMAT,
                       "%s: tensor '%s': bytes %" PRId64 "..%" PRId64 ", expected %" PRIu64 " bytes from %" PRId64,
                       file, t->name, at[0], at[1], need, at[0]);
    t->offset = (uint64_t)at[0];
    t->bytes = need;
out:
    return st;
}

static bl_status metadata(const bl_json *o, bl_err *e)
{
    bl_status st = BL_OK;
    const char *value;
    if (bl_json_kind(o) != BL_JSON_OBJECT) return bl_json_need(o, "", &o, e);
    for (const bl_json *k = bl_json_first(o); k; k = bl_json_next(k)) BL_TRY(bl_json_str(k, &value, e));
out:
    return st;
}

static bl_status tensors(const bl_json *header, const char *file, bl_safetensors *f, bl_err *e)
{
    bl_status st = BL_OK;
    size_t most = bl_json_size(header);
    if (most > MAX_TENSORS + 1) return bl_fail(e, BL_E_FORMAT, "%s: more than %d tensors", file, MAX_TENSORS);
    if (!(f->t = bl_new(most, sizeof *f->t, e))) return BL_E_NOMEM;
    for (const bl_json *k = bl_json_first(header); k; k = bl_json_next(k)) {
        const char *name = bl_json_key(k);
        size_t n = strlen(name);
        if (!strcmp(name, "__metadata__")) {
            BL_TRY(metadata(k, e));
            continue;
        }
        if (n > MAX_NAME)
            return bl_fail(e, BL_E_FORMAT, "%s: a tensor name of %zu bytes, at most %d are read", file, n, MAX_NAME);
        for (const char *c = name; *c; c++)
            if ((unsigned char)*c < 32 || *c == 127)
                return bl_fail(e, BL_E_FORMAT, "%s: tensor name '%s' holds a control character", file, name);
        bl_st_tensor *t = &f->t[f->n];
        if (!(t->name = bl_arena_str(f->arena, name, n, e))) return BL_E_NOMEM;
        BL_TRY(tensor(k, file, t, e));
        f->n++;
    }
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

/* Every byte after the header belongs to exactly one tensor. */
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
    if (at != size) return bl_fail(e, BL_E_FORMAT, "%s: %" PRIu64 " bytes after the last tensor", file, size - at);
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
    bl_json *j = NULL;

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
    if (header == 0 || p[8] != '{') return bl_fail(e, BL_E_FORMAT, "%s: header does not begin with '{'", file);

    if (!(f = bl_new(1, sizeof *f, e))) return BL_E_NOMEM;
    BL_TRY(bl_arena_new(&f->arena, e));
    f->data = 8 + header;
    BL_TRY(bl_json_parse_most((const char *)p + 8, header, file, BL_JSON_PLAIN, MAX_VALUES, &j, e));
    BL_TRY(tensors(j, file, f, e));
    BL_TRY(cover(f, file, n - f->data, e));
    *out = f;
    f = NULL;
out:
    bl_json_free(j);
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
