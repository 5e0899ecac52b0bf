/* variant_parts.h - what the writer and the reader of a quantized directory agree on. */
#ifndef BL_VARIANT_PARTS_H
#define BL_VARIANT_PARTS_H
#include "checkpoint.h"

#define BL_VARIANT_SCHEMA "bitladder-model"
enum { BL_VARIANT_VERSION = 1 };

extern const char *const bl_zero_names[];  /* by bl_zero, NULL-terminated */
extern const char *const bl_scale_names[]; /* by bl_dtype: F32, F16, BF16 */
extern const char *const bl_unit_names[];  /* by bl_act_unit */

/* Name of a part's tensor: "<weight>.codes"; a dense weight keeps its own. */
void bl_part_name(const bl_stored *t, const bl_part_spec *part, char *out, size_t n);
#endif
