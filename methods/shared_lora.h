/* shared_lora.h - the options of methods that train low-rank adapters. */
#ifndef BL_METHODS_SHARED_LORA_H
#define BL_METHODS_SHARED_LORA_H
#include "harness/method.h"
#include "harness/train/effective.h"

typedef struct bl_lora_opts {
    int64_t rank;
    double alpha, dropout;
    const char *targets;
    bool rslora;
} bl_lora_opts;
/* clang-format off */
#define BL_LORA_ROWS(type, member) \
    {"rank", BL_OPT_INT, .min = 1, .max = 65536, .def.i = 8, .at = offsetof(type, member.rank), .arg = "N", \
     .doc = "of the adapters"}, \
    {"alpha", BL_OPT_REAL, .min = 0, .max = 65536, .def.r = 16, .at = offsetof(type, member.alpha), .arg = "X", \
     .doc = "an adapter is scaled by alpha / rank"}, \
    {"dropout", BL_OPT_REAL, .min = 0, .max = 0.99, .at = offsetof(type, member.dropout), .arg = "P", \
     .doc = "share of an adapter's inputs that are dropped in training"}, \
    {"targets", BL_OPT_TEXT, .def.s = "all", .at = offsetof(type, member.targets), .arg = "q_proj:v_proj", \
     .doc = "the linears that get an adapter; all: those of the blocks"}, \
    {"rslora", BL_OPT_BOOL, .at = offsetof(type, member.rslora), .doc = "scaled by alpha / sqrt(rank)"}
/* clang-format on */

/* BL_E_CONFIG, naming it, for a target that no linear of a block is called. */
bl_status bl_lora_check(const bl_lora_opts *o, bl_err *e);
/* A linear of an outline gets the adapter that it will have, without buffers. */
void bl_lora_predict(const bl_lora_opts *o, bl_linear *lin);
/* New adapters as the options say. */
bl_status bl_lora_learns(const bl_method_run *r, const bl_lora_opts *o, bl_trainable *t, bl_err *e);
#endif
