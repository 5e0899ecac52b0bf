/* json_put.c - writing JSON: escaped strings, numbers that read back as the same bits. */
#include "json_impl.h"
#include "utf8.h"
#include <inttypes.h>
#include <math.h>
#include <string.h>

/* Bytes that are not UTF-8, and NUL, which our own reader refuses, become U+FFFD. */
void bl_json_put_str(bl_text *t, const char *s, size_t n)
{
    bl_text_addn(t, "\"", 1);
    size_t valid = bl_utf8_bad(s, n), from = 0;
    for (size_t i = 0; i < n;) {
        if (i == valid) { /* one bad byte; where does the next valid run end? */
            bl_text_addn(t, s + from, i - from);
            bl_text_add(t, "\xef\xbf\xbd");
            from = ++i;
            valid = i + bl_utf8_bad(s + i, n - i);
            continue;
        }
        uint8_t b = (uint8_t)s[i];
        if (b >= 0x20 && b != '"' && b != '\\') {
            i++;
            continue;
        }
        bl_text_addn(t, s + from, i - from);
        static const char shorts[][2] = {{'"', '"'},  {'\\', '\\'}, {'\n', 'n'}, {'\r', 'r'},
                                         {'\t', 't'}, {'\b', 'b'},  {'\f', 'f'}};
        size_t k = 0;
        while (k < BL_COUNT(shorts) && (uint8_t)shorts[k][0] != b) k++;
        if (k < BL_COUNT(shorts)) bl_text_addf(t, "\\%c", shorts[k][1]);
        else if (b == 0) bl_text_add(t, "\xef\xbf\xbd");
        else bl_text_addf(t, "\\u%04x", b);
        from = ++i;
    }
    bl_text_addn(t, s + from, n - from);
    bl_text_addn(t, "\"", 1);
}

void bl_json_put_real(bl_text *t, double v)
{
    char number[40];
    if (!isfinite(v)) {
        bl_text_add(t, "null");
        t->failed = true;
        return;
    }
    bl_real_print(number, v);
    bl_text_add(t, number);
}

void bl_json_put_node(bl_text *t, const bl_json *v)
{
    bool object = v->kind == BL_JSON_OBJECT;
    switch (bl_json_kind(v)) {
    case BL_JSON_NULL: bl_text_add(t, "null"); break;
    case BL_JSON_BOOL: bl_text_add(t, v->v.truth ? "true" : "false"); break;
    case BL_JSON_NUMBER: bl_json_put_real(t, v->v.number); break;
    case BL_JSON_STRING: bl_json_put_str(t, v->v.text, v->n); break;
    case BL_JSON_ARRAY:
    case BL_JSON_OBJECT:
        bl_text_addn(t, object ? "{" : "[", 1);
        for (const bl_json *k = bl_json_first(v); k; k = bl_json_next(k)) {
            if (object) {
                bl_json_put_str(t, k->key, strlen(k->key));
                bl_text_addn(t, ":", 1);
            }
            bl_json_put_node(t, k);
            if (k->skip) bl_text_addn(t, ",", 1);
        }
        bl_text_addn(t, object ? "}" : "]", 1);
    }
}

/* ---- documents ---------------------------------------------------------------------------------- */
/* What stands in front of a value: comma, line, key. */
static void before(bl_json_out *o, const char *key)
{
    bool lines = o->depth > 0 && (o->lines >> (o->depth - 1) & 1);
    if (o->comma) bl_text_add(o->t, lines || o->compact ? "," : ", ");
    if (lines) bl_text_add(o->t, "\n ");
    if (key) {
        bl_json_put_str(o->t, key, strlen(key));
        bl_text_add(o->t, o->compact ? ":" : ": ");
    }
    o->comma = true;
}

static void begin(bl_json_out *o, const char *key, bool array, bool lines)
{
    before(o, key);
    bl_text_add(o->t, array ? "[" : "{");
    if (o->depth == 64) {
        o->t->failed = true;
        return;
    }
    uint64_t bit = UINT64_C(1) << o->depth++;
    o->array = array ? o->array | bit : o->array & ~bit;
    o->lines = lines ? o->lines | bit : o->lines & ~bit;
    o->comma = false;
}

void bl_json_object(bl_json_out *o, const char *key) { begin(o, key, false, false); }
void bl_json_array(bl_json_out *o, const char *key) { begin(o, key, true, false); }
void bl_json_lines(bl_json_out *o, const char *key) { begin(o, key, true, true); }

bl_json_out bl_json_elements(bl_text *t)
{
    return (bl_json_out){.t = t, .depth = 1, .array = 1, .lines = 1, .comma = t->n > 0};
}

void bl_json_end(bl_json_out *o)
{
    uint64_t bit = UINT64_C(1) << --o->depth;
    if (o->comma && (o->lines & bit)) bl_text_add(o->t, "\n");
    bl_text_add(o->t, o->array & bit ? "]" : "}");
    o->comma = true;
}

void bl_json_add_strn(bl_json_out *o, const char *key, const char *s, size_t n)
{
    before(o, key);
    bl_json_put_str(o->t, s, n);
}

void bl_json_add_text(bl_json_out *o, const char *key, const char *json)
{
    before(o, key);
    bl_text_add(o->t, json);
}

void bl_json_add_str(bl_json_out *o, const char *key, const char *s)
{
    if (s) bl_json_add_strn(o, key, s, strlen(s));
    else bl_json_add_text(o, key, "null");
}

void bl_json_add_int(bl_json_out *o, const char *key, int64_t v)
{
    before(o, key);
    bl_text_addf(o->t, "%" PRId64, v);
}

void bl_json_add_real(bl_json_out *o, const char *key, double v)
{
    before(o, key);
    bl_json_put_real(o->t, v);
}

void bl_json_add_maybe(bl_json_out *o, const char *key, double v)
{
    if (isfinite(v)) bl_json_add_real(o, key, v);
    else bl_json_add_text(o, key, "null");
}

void bl_json_add_bool(bl_json_out *o, const char *key, bool v) { bl_json_add_text(o, key, v ? "true" : "false"); }

void bl_json_add_node(bl_json_out *o, const char *key, const bl_json *v)
{
    before(o, key);
    bl_json_put_node(o->t, v);
}
