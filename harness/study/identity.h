/* identity.h - the hash of everything that could change a number: of a variant (the quantized model) and of a cell. */
#ifndef BL_IDENTITY_H
#define BL_IDENTITY_H
#include "plan.h"

bl_status bl_identity_variant(bl_checkpoint *c, bl_hash fingerprint, const bl_method_chain *m,
                              const bl_calib_choice *calib, uint64_t seed, bl_hash *out, bl_err *e);
/* Needs the plan's models, tasks and variants. */
bl_status bl_identity_cell(const bl_plan *p, const bl_plan_cell *c, bl_hash *out, bl_err *e);
/* Of the tokenizer's files, without opening it. */
bl_status bl_identity_tokenizer(const bl_checkpoint *c, bl_hash *out, bl_err *e);
#endif
