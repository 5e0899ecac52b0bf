/* shard_impl.h - what the writer (record.c) and the reader (shard.c) of shards share; nobody outside results/ includes
 * it. */
#ifndef BL_RESULTS_SHARD_IMPL_H
#define BL_RESULTS_SHARD_IMPL_H
#include <hdf5.h>
#include "record.h"

enum { BL_SHARD_SCHEMA = 2, BL_SHARD_HEAD = 512 };

/* The bytes in front of the HDF5 image, little endian, zeros where nothing is said:
 *
 *       0   8  magic
 *       8   4  schema version
 *      16   8  length of the whole file
 *      24  16  XXH3-128 (high, low) of all other bytes of the file, these 512 included
 *      40  16  hash of the cell (high, low)
 *      56  16  XXH3-128 of the cell key
 *      72 440  the cell key for people, cut if it is longer
 */
typedef struct bl_shard_head {
    uint32_t schema;
    uint64_t length;
    bl_hash sum, cell, key;
} bl_shard_head;
void bl_shard_head_put(uint8_t head[BL_SHARD_HEAD], const bl_shard_head *h, const char *key);
/* BL_OK when p[0..n) is a whole, unchanged shard; the hash is verified before anything else is believed. */
bl_status bl_shard_verify(const uint8_t *p, size_t n, const char *name, bl_shard_head *out, bl_err *e);
bl_status bl_shard_sum(const uint8_t head[BL_SHARD_HEAD], const uint8_t *rest, size_t n, bl_hash *out, bl_err *e);

/* Once before the first call of HDF5: its own error printing is switched off. */
void bl_h5_init(void);
/* The sentence, then what HDF5 has on its error stack. */
bl_status bl_h5_fail(bl_err *e, bl_status st, const char *fmt, ...) BL_PRINTF(3, 4);
/* Variable-length UTF-8, H5I_INVALID_HID on failure; closed by the caller. */
hid_t bl_h5_text_type(void);

/* A copy in which every byte that is not part of valid UTF-8 is replaced by U+FFFD; bl_free. */
char *bl_valid_text(const char *s, bl_err *e);
/* "group/sub/name" in two; *group is a copy ("/" for the root), *name points into `where`. */
bl_status bl_where_split(const char *where, char **group, const char **name, bl_err *e);
#endif
