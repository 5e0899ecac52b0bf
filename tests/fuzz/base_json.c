/* base_json.c - any bytes, with both flags: refused with a sentence, or read, written and read again as the same text.
 */
#include "kernels/base/json.h"
#include <stdlib.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n);

static void must(bool ok)
{
    if (!ok) abort();
}

/* Asks every getter of every value; the sentences are built and thrown away. */
static void ask(const bl_json *v, int depth)
{
    static const char *const known[] = {"a", "model", "vocab", NULL};
    bl_err e = {0};
    int64_t i;
    double r;
    bool b;
    const char *s;
    const bl_json *k;
    int right = 0;
    must(depth <= 64);
    if (bl_json_int(v, &i, &e) == BL_OK) must(i >= -(INT64_C(1) << 53) && i <= INT64_C(1) << 53);
    right += bl_json_real(v, &r, &e) == BL_OK;
    right += bl_json_bool(v, &b, &e) == BL_OK;
    right += bl_json_str(v, &s, &e) == BL_OK;
    bl_json_type kind = bl_json_kind(v);
    must(right == (kind == BL_JSON_NUMBER || kind == BL_JSON_BOOL || kind == BL_JSON_STRING));
    bl_json_need(v, "a", &k, &e);
    bl_json_get_int(v, "model", &i, &e);
    bl_json_only(v, known, &e);
    size_t n = 0;
    for (const bl_json *c = bl_json_first(v); c; c = bl_json_next(c), n++) {
        must((bl_json_key(c) != NULL) == (kind == BL_JSON_OBJECT));
        ask(c, depth + 1);
    }
    must(n == bl_json_size(v));
}

static void try(const uint8_t *data, size_t n, bl_json_flags f)
{
    bl_err e = {0};
    bl_json *j, *again = NULL;
    if (bl_json_parse((const char *)data, n, "fuzz", f, &j, &e) != BL_OK) {
        must(e.status == BL_E_FORMAT && strncmp(e.text, "fuzz: ", 6) == 0);
        return;
    }
    ask(j, 0);
    bl_text a = {0}, b = {0};
    bl_json_put_node(&a, j);
    must(!a.failed && bl_json_parse(a.s, a.n, "again", BL_JSON_PLAIN, &again, &e) == BL_OK);
    bl_json_put_node(&b, again);
    must(strcmp(a.s, b.s) == 0);
    bl_json_free(j);
    bl_json_free(again);
    bl_text_free(&a);
    bl_text_free(&b);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n)
{
    try(data, n, BL_JSON_PLAIN);
    try(data, n, BL_JSON_COMMENTS);
    return 0;
}
