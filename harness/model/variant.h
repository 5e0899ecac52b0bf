/* variant.h - writes the state of a model as a directory that every verb loads, without the source.
 *
 *     bl_variant *v;
 *     BL_TRY(bl_variant_begin(dir, source, &(bl_stage){ .text = "rtn:w4g64", .options = json }, 1, &v, e));
 *     BL_TRY(bl_variant_block(v, model, block, e));    // every block, in order, while it is acquired
 *     BL_TRY(bl_variant_ends(v, model, e));            // embedding, final norm, head; the tokenizer
 *     BL_TRY(bl_variant_commit(v, e)); v = NULL;       // by rename of the whole directory
 * out: bl_variant_drop(v);
 *
 * Everything is written from the model: weights in the format they have, transforms, activation rules, adapters, biases
 * and norms. variant_parts.h says what the directory holds.
 */
#ifndef BL_HARNESS_MODEL_VARIANT_H
#define BL_HARNESS_MODEL_VARIANT_H
#include "model.h"

typedef struct bl_variant bl_variant;
/* Refuses a `dir` that exists and is not empty, and a `dir` that is the source (R89). */
bl_status bl_variant_place(const char *dir, const bl_checkpoint *source, bl_err *e);
/* `stages` are those that were applied to `source`; they follow the source's own in bitladder.json. A stage's `options`
 * is a JSON value, NULL: {}. bl_variant_place comes first. */
bl_status bl_variant_begin(const char *dir, bl_checkpoint *source, const bl_stage *stages, int n, bl_variant **out,
                           bl_err *e);
bl_status bl_variant_block(bl_variant *v, bl_model *m, int64_t block, bl_err *e);
bl_status bl_variant_ends(bl_variant *v, bl_model *m, bl_err *e);
/* What happened in the last of `stages`, for who reads its numbers. */
bl_status bl_variant_note(bl_variant *v, const char *note, bl_err *e);
/* The calibration text of the last of `stages` (bl_stage). */
bl_status bl_variant_saw(bl_variant *v, const char *calibration, bl_hash text, bl_err *e);
/* One more file of the directory (layers.json). */
bl_status bl_variant_file(bl_variant *v, const char *name, const void *p, size_t n, bl_err *e);
/* Going on where an interrupted writer of the same state stopped, if the last of `stages` has a hash: the blocks that
 * it kept are there already, and the next one to write is the one after them. Keeping follows bl_variant_block; `more`
 * is what the caller wants to know then. */
bl_status bl_variant_keep(bl_variant *v, int64_t block, const char *more, bl_err *e);
int64_t bl_variant_left(const bl_variant *v);                    /* how many are there */
const char *bl_variant_more(const bl_variant *v, int64_t block); /* of one of them; lent */
/* Those blocks, with the ends of m, as a model: to be closed before v. */
bl_status bl_variant_view(const bl_variant *v, bl_model *m, bl_checkpoint **out, bl_err *e);
void bl_variant_leave(bl_variant *v); /* in the place of bl_variant_drop: what was kept stays for who goes on */
uint64_t bl_variant_bytes(const bl_variant *v); /* tensor bytes so far; after bl_variant_ends: bl_model_bytes */
bl_status bl_variant_commit(bl_variant *v, bl_err *e);
void bl_variant_drop(bl_variant *v); /* removes what was written; NULL is fine */
#endif
