/* json.h - checked JSON over cJSON: exact integers, unique keys, known depth, valid UTF-8.
 *
 *     bl_json *j;
 *     BL_TRY(bl_json_read(path, BL_JSON_PLAIN, &j, e));          // or bl_json_parse(text, n, "spec", …)
 *     int64_t n;
 *     BL_TRY(bl_json_int(bl_json_get(j, "num_hidden_layers"), &n, e));   // NULL: "config.json: 'num_hidden_layers' is
 * missing" for (const bl_json *c = bl_json_first(j); c; c = bl_json_next(c)) … bl_json_key(c) … bl_json_free(j);
 *
 * Every sentence opens with the document and the path inside: "config.json: model.layers[3].x: found 2.5, expected an
 * integer".
 *
 * Refused: byte order mark, invalid UTF-8, NUL and \u0000, lone surrogates, duplicate keys, numbers that are not finite
 * or not JSON (leading zeros, "+1") or longer than 63 characters, trailing text, depth over 64, more than 8 million
 * nodes. Keys are case-sensitive.
 */
#ifndef BL_JSON_H
#define BL_JSON_H
#include "bl.h"

typedef struct bl_json bl_json; /* a node; the root owns the document */
typedef enum bl_json_flags {
    BL_JSON_PLAIN = 0,
    BL_JSON_COMMENTS = 1 /* "//" to end of line and trailing commas are accepted */
} bl_json_flags;
typedef enum bl_json_type {
    BL_JSON_NULL,
    BL_JSON_BOOL,
    BL_JSON_NUMBER,
    BL_JSON_STRING,
    BL_JSON_ARRAY,
    BL_JSON_OBJECT
} bl_json_type;

bl_status bl_json_parse(const char *text, size_t n, const char *name, bl_json_flags f, bl_json **out,
                        bl_err *e); /* `name` opens every sentence */
bl_status bl_json_read(const char *path, uint64_t max_bytes, bl_json_flags f, bl_json **out, bl_err *e);
void bl_json_free(bl_json *root); /* NULL is fine */

bl_json_type bl_json_kind(const bl_json *v);
const bl_json *bl_json_get(const bl_json *obj,
                           const char *key);    /* NULL when absent or `obj` is not an object; linear */
const bl_json *bl_json_first(const bl_json *v); /* child of array or object; NULL */
const bl_json *bl_json_next(const bl_json *v);
const char *bl_json_key(const bl_json *v); /* name inside its object, else NULL */
size_t bl_json_size(const bl_json *v);     /* children */

/* Typed getters: a wrong type (or v == NULL) is BL_E_FORMAT naming the path inside the document. `need` makes the
 * "is missing" sentence when obj has no such key. */
bl_status bl_json_need(const bl_json *obj, const char *key, const bl_json **out, bl_err *e);
bl_status bl_json_int(const bl_json *v, int64_t *out,
                      bl_err *e); /* integral and |v| <= 2^53, written without fraction or exponent */
bl_status bl_json_real(const bl_json *v, double *out, bl_err *e);
bl_status bl_json_bool(const bl_json *v, bool *out, bl_err *e);
bl_status bl_json_str(const bl_json *v, const char **out, bl_err *e);                    /* lent */
bl_status bl_json_get_int(const bl_json *obj, const char *key, int64_t *out, bl_err *e); /* need + int */
bl_status bl_json_get_real(const bl_json *obj, const char *key, double *out, bl_err *e);
bl_status bl_json_get_str(const bl_json *obj, const char *key, const char **out, bl_err *e);
/* Every key of obj is in `known` (NULL-terminated), else BL_E_CONFIG with the nearest name. */
bl_status bl_json_only(const bl_json *obj, const char *const *known, bl_err *e);

/* Writing: appended to a text. Strings are escaped; numbers are %.17g and read back as the same bits; not-finite is
 * refused (writes null, sets failed). */
void bl_json_put_str(bl_text *t, const char *s,
                     size_t n); /* with quotes; NUL and bytes that are not UTF-8 become U+FFFD */
void bl_json_put_real(bl_text *t, double v);
void bl_json_put_node(bl_text *t, const bl_json *v); /* compact */
#endif
