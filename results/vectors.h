/* vectors.h - the vectors of texts in a file: HDF5, checked and written like a shard (record.h).
 *
 *     /vectors    f32 [n, dim], rows of unit length
 *     /entries    the text of each row, as JSON: what a search answers with
 *     made/by, made/hash, made/field   which program state made them: its name, the hash of all that could change a
 *                 vector, and the field of an entry that the vector is of
 */
#ifndef BL_RESULTS_VECTORS_H
#define BL_RESULTS_VECTORS_H
#include "kernels/base/hash.h"

typedef struct bl_vectors {
    int64_t n, dim;
    const float *row; /* [n, dim] */
    const char *const *entry;
    const char *by, *field;
    bl_hash hash;
} bl_vectors;
bl_status bl_vectors_write(const char *path, const bl_vectors *v, bl_err *e);
/* In the arena. BL_E_CORRUPT, BL_E_FORMAT where it is no such file. */
bl_status bl_vectors_read(const char *path, bl_arena *a, bl_vectors *out, bl_err *e);
#endif
