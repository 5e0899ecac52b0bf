/* checkpoint_gguf.c - any bytes: refused with a sentence, or every key and tensor is inside the file and can be asked
 * for. */
#include "harness/checkpoint/gguf.h"
#include "harness/checkpoint/checkpoint_impl.h"
#include <stdlib.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n);

static volatile unsigned sum; /* so that reading is not optimized away */

static void must(bool ok)
{
    if (!ok) abort();
}

static void ask(const bl_gguf *g, const bl_gguf_value *v, bl_arena *a)
{
    bl_err e = {0};
    int64_t i;
    double r;
    const char *s;
    int right = 0;
    must(bl_gguf_find(g, v->key) == v);
    right += bl_gguf_int(g, v->key, &i, &e) == BL_OK;
    right += bl_gguf_real(g, v->key, &r, &e) == BL_OK;
    right += bl_gguf_text(g, v->key, a, &s, &e) == BL_OK;
    must(right <= 1);
    if (v->type == BL_GGUF_ARRAY && v->item == BL_GGUF_STRING) {
        const uint8_t *cursor = v->at;
        for (uint64_t k = 0; k < v->n; k++) {
            uint64_t len;
            const char *p = bl_gguf_next_string(&cursor, &len);
            for (uint64_t j = 0; j < len; j++) sum += (unsigned char)p[j];
        }
    }
}

/* The same bytes as a model: refused, or every weight can be decoded. */
static void as_model(const uint8_t *data, size_t n)
{
    bl_err e = {0};
    bl_map m = {.data = data, .size = n, .fd = -1, .path = "fuzz"};
    bl_checkpoint c = {.map = &m, .n_maps = 1, .path = "fuzz", .name = "fuzz"};
    must(bl_arena_new(&c.arena, &e) == BL_OK);
    if (bl_read_gguf(&c, &e) == BL_OK)
        for (size_t i = 0; i < c.n && c.stored[i].shape.in <= 4096; i++) {
            float row[4096];
            must(bl_checkpoint_dense(&c, &c.stored[i], c.stored[i].shape.out - 1, 1, row, &e) == BL_OK);
        }
    else must(e.text[0] != 0);
    bl_gguf_close(c.gguf);
    bl_free(c.stored);
    bl_arena_free(c.arena);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n)
{
    bl_err e = {0};
    bl_gguf *g = NULL;
    bl_arena *a = NULL;
    as_model(data, n);
    if (bl_gguf_parse(data, n, "fuzz", &g, &e) != BL_OK) {
        must(e.text[0] != 0 && g == NULL);
        return 0;
    }
    must(bl_arena_new(&a, &e) == BL_OK);
    for (size_t i = 0; i < bl_gguf_count(g); i++) ask(g, bl_gguf_at(g, i), a);
    uint64_t end = 0;
    for (size_t i = 0; i < bl_gguf_tensor_count(g); i++) {
        bl_gguf_tensor *t = bl_gguf_tensor_at(g, i);
        must(bl_gguf_tensor_find(g, t->name) == t && t->bytes > 0 && t->offset >= end && t->bytes <= n &&
             t->offset <= n - t->bytes);
        end = t->offset + t->bytes;
    }
    int64_t none;
    must(bl_gguf_int(g, "\xff", &none, &e) == BL_E_MISSING && !bl_gguf_tensor_find(g, "\xff"));
    bl_arena_free(a);
    bl_gguf_close(g);
    return 0;
}
