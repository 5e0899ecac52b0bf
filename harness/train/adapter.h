/* adapter.h - trained adapters and the files of peft. */
#ifndef BL_HARNESS_TRAIN_ADAPTER_H
#define BL_HARNESS_TRAIN_ADAPTER_H
#include "effective.h"
#include "harness/checkpoint/peft.h"

/* What is trained begins as the adapters that were read. BL_E_CONFIG, naming it, when rank, scale or a tensor is not
 * that of the adapters that are trained, and when none are. `dir` opens the sentence. */
bl_status bl_adapter_take(bl_trainable *t, const bl_peft *p, const char *dir, bl_err *e);
/* After the last step: adapters are rounded to t->adapters_as, where there is one, and so they are kept. */
bl_status bl_adapter_round(bl_trainable *t, bl_err *e);
/* The two files of the adapters as the model has them, DoRA's as they are trained; nothing is added when there are
 * none. `base`: name of the model. */
bl_status bl_adapter_give(const bl_trainable *t, const char *base, bl_text *config, bl_text *weights, bl_err *e);
/* README.md beside them, for who gives them a base: which weights they were learned beside, where these are not those
 * of the model that peft's configuration names; else nothing. `method`: that of this stage. */
bl_status bl_adapter_base(const bl_trainable *t, const char *method, bl_text *out, bl_err *e);
#endif
