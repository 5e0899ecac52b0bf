/* variant_parts.h - what the writer and the reader of a saved model agree on.
 *
 * A saved model is a directory:
 *
 *     bitladder.json                      source, stages, configuration, what every parameter is, hash of every tensor
 *                                         and of all this
 *     model-00001-of-00031.safetensors    parameters of block 0, and so on
 *     model-00031-of-00031.safetensors    embedding, final norm, head
 *     tokenizer.json, …                   the tokenizer's own files
 *
 * Every part of a parameter is one tensor: "model.layers.0.mlp.up_proj.weight.codes", ".scales", …; a dense weight, a
 * bias and a norm keep their own name. What else belongs to a linear follows its name without ".weight":
 * "model.layers.0.mlp.up_proj.transform.0", ".adapter.0.a", ".adapter.0.b", or of packed ones ".adapter.0.a.codes" and
 * so on. The last `after` transforms are of the output.
 */
#ifndef BL_HARNESS_CHECKPOINT_VARIANT_PARTS_H
#define BL_HARNESS_CHECKPOINT_VARIANT_PARTS_H
#include "checkpoint.h"

#define BL_VARIANT_SCHEMA "bitladder-model"
enum { BL_VARIANT_VERSION = 3 };
enum { BL_MOST_EXTRAS = 64 }; /* transforms of a linear, and adapters of it */

/* NULL-terminated. */
extern const char *const bl_zero_names[];      /* by bl_zero */
extern const char *const bl_scale_names[];     /* by bl_dtype: F32, F16, BF16 */
extern const char *const bl_unit_names[];      /* by bl_act_unit */
extern const char *const bl_transform_names[]; /* by bl_transform_kind */

/* Name of a part's tensor: "<weight>.codes"; a dense weight keeps its own. */
void bl_part_name(const char *name, const bl_format *f, const bl_part_spec *part, char *out, size_t n);
/* "model.layers.0.mlp.up_proj.transform.0", ".adapter.0.a" of "model.layers.0.mlp.up_proj.weight". */
void bl_extra_name(const char *name, const char *what, int i, const char *end, char *out, size_t n);
/* File i of the directory: 0 .. n_layers-1 the blocks, n_layers the rest. */
void bl_variant_file_name(int64_t i, int64_t n_layers, char out[64]);
/* Ends the text of bitladder.json, an object: its last key is the hash of everything before that key. One that is there
 * already is replaced. */
void bl_variant_seal(bl_text *t);
/* The hash in the text is that of the text. `file` opens the sentence. */
bl_status bl_variant_seal_check(const char *text, size_t n, const char *file, bl_err *e);
#endif
