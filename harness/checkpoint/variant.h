/* variant.h - writes a quantized model as a directory that every verb loads, without the source.
 *
 *     bl_variant *v;
 *     BL_TRY(bl_variant_begin(dir, source, "rtn:w4g64", method_json, &v, e));
 *     BL_TRY(bl_variant_add(v, name, be, &weight, &act, e));  // for every linear of every block
 *     BL_TRY(bl_variant_copy_rest(v, e));                     // every weight not added, as stored, and the tokenizer
 *     BL_TRY(bl_variant_commit(v, e)); v = NULL;              // by rename of the whole directory
 * out: bl_variant_drop(v);
 *
 * The directory holds model.safetensors (one tensor per part: `<name>.codes`, `.scales`, …; dense weights under their
 * own name), bitladder.json (schema, config, method, formats and geometry of each weight, activation settings) and the
 * tokenizer's files.
 */
#ifndef BL_VARIANT_H
#define BL_VARIANT_H
#include "checkpoint.h"
#include "kernels/base/json.h"

typedef struct bl_variant bl_variant;
/* `method` is the method text; `options` is a JSON object of all its options, kept in bitladder.json. Refuses a `dir`
 * that exists and is not empty, and a `dir` that is the source (R89). */
bl_status bl_variant_begin(const char *dir, bl_checkpoint *source, const char *method, const char *options,
                           bl_variant **out, bl_err *e);
/* `name` as in checkpoint.h ("model.layers.0.mlp.up_proj.weight"). */
bl_status bl_variant_add(bl_variant *v, const char *name, bl_backend *be, const bl_weight *w, const bl_actq *act,
                         bl_err *e);
bl_status bl_variant_copy_rest(bl_variant *v, bl_err *e);
/* One more file of the directory (layers.json). */
bl_status bl_variant_file(bl_variant *v, const char *name, const void *p, size_t n, bl_err *e);
uint64_t bl_variant_bytes(const bl_variant *v); /* tensor bytes so far: packed_bytes once copy_rest is done */
bl_status bl_variant_commit(bl_variant *v, bl_err *e);
void bl_variant_drop(bl_variant *v); /* removes what was written; NULL is fine */
#endif
