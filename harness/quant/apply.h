/* apply.h - applies a method to a checkpoint, block by block, and writes the result as a directory. */
#ifndef BL_QUANTIZE_H
#define BL_QUANTIZE_H
#include "harness/program.h"
#include "harness/model/variant.h"

typedef struct bl_quantize_result {
    bl_layer_stat *layer;
    int64_t n_layers; /* in the arena */
    uint64_t packed_bytes;
    double bits, seconds;
    const char *notes;
} bl_quantize_result;
typedef bl_status bl_quantize_progress(void *ctx, int64_t done, int64_t all, bl_err *e);
/* `method` may be base, and is one stage (BL_E_UNSUPPORTED else): every tensor is kept as stored. On failure nothing is
 * left at `dir`. */
bl_status bl_quantize_dir(bl_checkpoint *source, const bl_method_chain *method, uint64_t seed, bl_backend *be,
                          const char *dir, bl_quantize_progress *progress, void *ctx, bl_arena *a,
                          bl_quantize_result *out, bl_err *e);
/* The method's `check` against the shapes of the checkpoint, without weights; also what plan needs: packed bytes and
 * bits. */
bl_status bl_quantize_check(bl_checkpoint *source, const bl_method_chain *method, int64_t *packed_bytes, double *bits,
                            const char **notes, bl_arena *a, bl_err *e);
/* Layers of a directory made by bl_quantize_dir, as recorded in it. */
bl_status bl_quantize_layers(const char *dir, bl_arena *a, bl_layer_stat **out, int64_t *n, double *seconds, bl_err *e);
#endif
