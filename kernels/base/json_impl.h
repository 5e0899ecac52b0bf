/* json_impl.h - the node of json.h, shared by its scanner, its tree and its writer.
 *
 * The nodes of a document are one array in document order; the children of a container follow it. Element 0 is the
 * document:
 *
 *     [document] [root] [first child of root] [its first child] ... [second child of root] ...
 */
#ifndef BL_JSON_PARTS_H
#define BL_JSON_PARTS_H
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
    uint8_t whole;     /* number: written without fraction and exponent (1), and beyond 2^53 (2) */
};

enum { BL_JSON_DEPTH = 64, BL_JSON_NODES = 8000000, BL_JSON_DIGITS = 63 };

typedef struct bl_json_scan { /* what a valid text looks like, before anybody else reads it */
    bl_json *node;            /* strings and keys still NULL; bl_free */
    size_t n_nodes, cap;
    size_t pool_bytes; /* enough for all decoded strings and keys */
} bl_json_scan;

/* Checks every byte of s[0..n) (s[n] is NUL) and fills the nodes but for their texts. Comments and trailing commas are
 * blanked in s. */
bl_status bl_json_scan_text(char *s, size_t n, const char *name, bl_json_flags f, bl_json_scan *out, bl_err *e);
#endif
