/* json.h - checked JSON over cJSON: exact integers, unique keys, known depth, valid UTF-8.
 *
 *     bl_json *j = NULL;
 *     int64_t layers;
 *     BL_TRY(bl_json_read(path, 1 << 20, BL_JSON_PLAIN, &j, e));      // or bl_json_parse(text, n, "spec", ...)
 *     BL_TRY(bl_json_get_int(j, "num_hidden_layers", &layers, e));     // "config.json: 'num_hidden_layers' is missing"
 *     for (const bl_json *c = bl_json_first(j); c; c = bl_json_next(c)) puts(bl_json_key(c));
 * out:
 *     bl_json_free(j);
 *
 * Every sentence begins with the document and the path inside: "config.json: model.layers[3].x: found 2.5, expected an
 * integer"; that of a text that is no JSON with line and column.
 *
 * Refused: byte order mark, invalid UTF-8, NUL and \u0000, lone surrogates, keys that come twice, numbers that are not
 * finite or not JSON (01, +1, 1.) or longer than 63 characters, text after the value, depth over 64, more than 8
 * million values. Keys are case-sensitive.
 */
#ifndef BL_KERNELS_BASE_JSON_H
#define BL_KERNELS_BASE_JSON_H
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
bl_status bl_json_parse_most(const char *text, size_t n, const char *name, bl_json_flags f, size_t most, bl_json **out,
                             bl_err *e); /* at most so many values: some 150 bytes of memory each */
void bl_json_free(bl_json *root);        /* NULL is fine */

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
bl_status bl_json_get_bool(const bl_json *obj, const char *key, bool *out, bl_err *e);
bl_status bl_json_get_str(const bl_json *obj, const char *key, const char **out, bl_err *e);
/* Every key of obj is in `known` (NULL-terminated), else BL_E_CONFIG with the nearest name. */
bl_status bl_json_only(const bl_json *obj, const char *const *known, bl_err *e);

/* Writing values: appended to a text. Strings are escaped; NUL and bytes that are not UTF-8 become U+FFFD. Numbers are
 * %.17g and read back as the same bits; what is not finite is written as null and sets `failed`. */
void bl_json_put_str(bl_text *t, const char *s, size_t n); /* with quotes */
void bl_json_put_real(bl_text *t, double v);
void bl_json_put_node(bl_text *t, const bl_json *v); /* compact */

/* Writing documents: brackets, commas and keys in their places.
 *
 *     bl_text t = {0};
 *     bl_json_out o = {.t = &t};
 *     bl_json_object(&o, NULL);                     // {
 *     bl_json_add_str(&o, "model", "tiny");         // "model": "tiny"
 *     bl_json_lines(&o, "layers");                  // , "layers": [ with each element on its own line
 *     bl_json_add_real(&o, NULL, 0.5);              // elements have no key
 *     bl_json_end(&o);                              // ]
 *     bl_json_end(&o);                              // }
 *     BL_TRY(bl_text_check(&t, e));
 * out:
 *     bl_text_free(&t);
 */
typedef struct bl_json_out {
    bl_text *t;
    int depth;             /* open brackets, at most 64; the rest is bl_json_*'s own */
    uint64_t array, lines; /* bit d: the bracket at depth d is an array, has its elements on lines */
    bool comma;            /* an element came before */
    bool compact;          /* no space after comma and colon */
} bl_json_out;
void bl_json_object(bl_json_out *o, const char *key); /* key NULL: the document, or an element of an array */
void bl_json_array(bl_json_out *o, const char *key);
void bl_json_lines(bl_json_out *o, const char *key);
/* Elements, a line each, of an array whose brackets are written elsewhere; bl_json_add_text puts `t` between them. */
bl_json_out bl_json_elements(bl_text *t);
void bl_json_end(bl_json_out *o);                                     /* closes the innermost bracket */
void bl_json_add_str(bl_json_out *o, const char *key, const char *s); /* NULL: null */
void bl_json_add_strn(bl_json_out *o, const char *key, const char *s, size_t n);
void bl_json_add_int(bl_json_out *o, const char *key, int64_t v);
void bl_json_add_real(bl_json_out *o, const char *key, double v);
void bl_json_add_maybe(bl_json_out *o, const char *key, double v); /* null when not finite: not known */
void bl_json_add_bool(bl_json_out *o, const char *key, bool v);
void bl_json_add_node(bl_json_out *o, const char *key, const bl_json *v);
void bl_json_add_text(bl_json_out *o, const char *key, const char *json); /* JSON already written */

const char *bl_json_version(void); /* "cJSON 1.7.15" */
#endif
