/* golden_file.h - tensors of a safetensors file by name, for tests that compare with recorded numbers.
 *
 *     golden g;
 *     golden_open(&g, golden_path("formats/gguf.safetensors"));        // fails the test with a sentence
 *     int ndim;
 *     int64_t dim[8];
 *     const float *w = golden_get(&g, "edge.weight", "F32", &ndim, dim);      // NULL: there is no such tensor
 *     const float *v = golden_need(&g, "table.nf4", "F32", 16);               // fails unless it has 16 elements
 *     const char *s = golden_note(&g, "note");                                // of __metadata__; NULL
 *     golden_close(&g);
 *
 * A minimal reader for files that the tests trust; the program has its own, which trusts nothing.
 */
#ifndef BL_TESTS_GOLDEN_FILE_H
#define BL_TESTS_GOLDEN_FILE_H
#include "test.h"
#include "kernels/base/fs.h"
#include "kernels/base/json.h"

typedef struct golden {
    bl_map map;
    bl_json *header;
    const uint8_t *data;
} golden;

/* BITLADDER_GOLDEN/tail where that is set, else the small part of it in tests/data/golden (see its README). */
static inline const char *golden_path(const char *tail)
{
    static char path[8200];
    if (getenv("BITLADDER_GOLDEN")) return test_path("BITLADDER_GOLDEN", tail);
    snprintf(path, sizeof path, "%s/tests/data/golden/%s", BL_SOURCE_DIR, tail);
    return path;
}

static inline void golden_close(golden *g)
{
    bl_json_free(g->header);
    bl_map_close(&g->map);
    memset(g, 0, sizeof *g);
}

/* Always true when it returns: a file that cannot be read fails the test. */
static inline bool golden_open(golden *g, const char *path)
{
    bl_err e = {0};
    uint64_t n = 0;

    memset(g, 0, sizeof *g);
    if (bl_map_open(path, &g->map, &e) != BL_OK) fail_msg("%s", e.text);
    if (g->map.size >= 8) memcpy(&n, g->map.data, 8);
    if (g->map.size < 8 || n > g->map.size - 8) fail_msg("%s: not a safetensors file", path);
    if (bl_json_parse((const char *)g->map.data + 8, (size_t)n, path, BL_JSON_PLAIN, &g->header, &e) != BL_OK)
        fail_msg("%s", e.text);
    g->data = g->map.data + 8 + n;
    return true;
}

/* Address of a tensor, its shape in dim[0 .. *ndim]; NULL when absent. dtype, ndim, dim may be NULL: not asked. Another
 * dtype fails the test. */
static inline const void *golden_get(const golden *g, const char *name, const char *dtype, int *ndim, int64_t dim[8])
{
    bl_err e = {0};
    const bl_json *t = bl_json_get(g->header, name), *at = bl_json_get(t, "data_offsets");
    const char *found = "";
    int64_t from = 0, to = 0, d[8];
    int n = 0;

    if (!t) return NULL;
    if (bl_json_get_str(t, "dtype", &found, &e) != BL_OK) fail_msg("%s: %s", name, e.text);
    if (dtype && strcmp(found, dtype)) fail_msg("%s is %s, wanted %s", name, found, dtype);
    for (const bl_json *c = bl_json_first(bl_json_get(t, "shape")); c && n < 8; c = bl_json_next(c))
        if (bl_json_int(c, &d[n++], &e) != BL_OK) fail_msg("%s: %s", name, e.text);
    if (bl_json_int(bl_json_first(at), &from, &e) != BL_OK ||
        bl_json_int(bl_json_next(bl_json_first(at)), &to, &e) != BL_OK)
        fail_msg("%s: %s", name, e.text);
    if (from < 0 || to < from || (uint64_t)to > g->map.size - (uint64_t)(g->data - g->map.data))
        fail_msg("%s: bytes outside the file", name);
    if (ndim) *ndim = n;
    if (dim) memcpy(dim, d, sizeof *dim * (size_t)n);
    return g->data + from;
}

/* A tensor that must be there with exactly `count` elements (-1: any number). */
static inline const void *golden_need(const golden *g, const char *name, const char *dtype, int64_t count)
{
    int ndim = 0;
    int64_t dim[8], n = 1;
    const void *p = golden_get(g, name, dtype, &ndim, dim);

    if (!p) fail_msg("%s: no tensor '%s'", g->map.path, name);
    for (int i = 0; i < ndim; i++) n *= dim[i];
    if (count >= 0 && n != count)
        fail_msg("%s: '%s' has %lld elements, wanted %lld", g->map.path, name, (long long)n, (long long)count);
    return p;
}

static inline const char *golden_note(const golden *g, const char *key)
{
    const char *s = NULL;
    return bl_json_str(bl_json_get(bl_json_get(g->header, "__metadata__"), key), &s, NULL) == BL_OK ? s : NULL;
}
#endif
