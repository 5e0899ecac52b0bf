/* hash.h - content fingerprints: XXH3-128.
 *
 *     bl_hasher *h = bl_hasher_new(e);
 *     if (!h) return BL_E_NOMEM;
 *     bl_hash_add(h, data, n);
 *     bl_hash_text(h, "rtn");                 // length in front, so that "ab","c" differs from "a","bc"
 *     bl_hash id = bl_hasher_end(h);          // frees h
 */
#ifndef BL_KERNELS_BASE_HASH_H
#define BL_KERNELS_BASE_HASH_H
#include "bl.h"

typedef struct bl_hash {
    uint64_t hi, lo;
} bl_hash;
typedef struct bl_hasher bl_hasher;
bl_hasher *bl_hasher_new(bl_err *e); /* NULL: no memory */
void bl_hash_add(bl_hasher *h, const void *p, size_t n);
void bl_hash_text(bl_hasher *h, const char *s); /* NULL counts as absent, unlike "" */
void bl_hash_u64(bl_hasher *h, uint64_t v);
void bl_hash_of(bl_hasher *h, bl_hash v);
bl_hash bl_hasher_end(bl_hasher *h);
bl_hash bl_hash_bytes(const void *p, size_t n);
bool bl_hash_equal(bl_hash a, bl_hash b);
void bl_hash_hex(bl_hash h, char out[33]); /* 32 lower-case digits */
const char *bl_hash_version(void);         /* "xxHash 0.8.1" */
#endif
