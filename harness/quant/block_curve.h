/* block_curve.h - the curve of blocks that learn one after another: kept with each block, written as that of a run of
 * training (results/curve.h). */
#ifndef BL_HARNESS_QUANT_BLOCK_CURVE_H
#define BL_HARNESS_QUANT_BLOCK_CURVE_H
#include "calibrate.h"
#include "kernels/base/json.h"

/* The steps of a block as an element of a list; nothing where it has none. */
void bl_block_curve_put(const bl_calibration *c, int64_t block, bl_json_out *o);
/* The same, read. */
bl_status bl_block_curve_take(bl_calibration *c, int64_t block, const bl_json *list, bl_err *e);
/* DIR.curve.hdf5 of all steps that were said; nothing where none was. Of `identity` as bl_curve_write; data: the
 * calibration text and its hash. */
bl_status bl_block_curve_write(const bl_calibration *c, const char *dir, bl_hash identity, const char *method,
                               const bl_model *m, const char *data, bl_hash text, bl_err *e);
#endif
