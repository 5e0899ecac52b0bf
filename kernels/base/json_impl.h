/* json_impl.h - the node of json.h, shared by its tree and its writer, and what is checked before cJSON reads.
 *
 * The nodes of a document are one array in document order; the children of a container follow it. Element 0 is the
 * document:
 *
 *     [document] [root] [first child of root] [its first child] ... [second child of root] ...
 */
#ifndef BL_KERNELS_BASE_JSON_IMPL_H
#define BL_KERNELS_BASE_JSON_IMPL_H
#include "base_impl.h"

struct bl_json {
    union {
        double number;
        const char *text;
        bool truth;
        char *pool;
    } v;               /* document: where all texts are */
    const char *key;   /* document: its name */
    uint32_t up, skip; /* distance to the parent and to the next sibling; 0: none */
    uint32_t n;        /* children; bytes of a string */
    uint8_t kind;      /* bl_json_type */
    uint8_t number;    /* bl_json_number */
};

/* How a number is written, which cJSON does not keep. */
typedef enum bl_json_number { BL_JSON_FRACTION, BL_JSON_WHOLE, BL_JSON_BEYOND } bl_json_number; /* BEYOND 2^53 */

enum { BL_JSON_DEPTH = 64, BL_JSON_VALUES = 8000000, BL_JSON_DIGITS = 63 };

typedef struct bl_json_facts {
    size_t n_values; /* exact for a text that is JSON */
    size_t n_text;   /* bytes that hold all decoded strings and keys with their NULs */
    uint8_t *number; /* bl_json_number of every number in document order; bl_free */
    size_t n_numbers, cap;
} bl_json_facts;

/* Refuses in s[0..n) (s[n] is NUL) what cJSON would accept or change without a word. With BL_JSON_COMMENTS, comments
 * and trailing commas become spaces. The grammar is left to cJSON. */
bl_status bl_json_check(char *s, size_t n, const char *name, bl_json_flags f, size_t most, bl_json_facts *out,
                        bl_err *e);
/* "x.json: line 3, column 7: <sentence>" */
bl_status bl_json_refuse_at(const char *name, const char *s, size_t at, bl_err *e, const char *fmt, ...)
    BL_PRINTF(5, 6);
#endif
