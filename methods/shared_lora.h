/* shared_lora.h - the options of methods that train low-rank adapters. */
#ifndef BL_METHODS_SHARED_LORA_H
#define BL_METHODS_SHARED_LORA_H
#include "harness/method.h"
#include "harness/train/effective.h"

typedef struct bl_lora_opts {
    int64_t rank;
    double alpha, dropout;
    const char *targets;
    bool rslora, dora;
    int init; /* bl_lora_init */
} bl_lora_opts;
typedef enum bl_lora_init { BL_INIT_ZERO, BL_INIT_PISSA, BL_INIT_OLORA } bl_lora_init;
extern const char *const bl_lora_inits[]; /* by bl_lora_init; NULL after the last */
/* clang-format off */
#define BL_LORA_ROWS(type, member) BL_LORA_ROWS_OF(type, member, 8, 16)
#define BL_LORA_ROWS_OF(type, member, of_rank, of_alpha) \
    {"rank", BL_OPT_INT, .min = 1, .max = 65536, .def.i = (of_rank), .at = offsetof(type, member.rank), \
     .arg = "N", .doc = "of the adapters"}, \
    {"alpha", BL_OPT_REAL, .min = 0, .max = 65536, .def.r = (of_alpha), .at = offsetof(type, member.alpha), \
     .arg = "X", .doc = "an adapter is scaled by alpha / rank"}, \
    {"dropout", BL_OPT_REAL, .min = 0, .max = 0.99, .at = offsetof(type, member.dropout), .arg = "P", \
     .doc = "share of an adapter's inputs that are dropped in training"}, \
    {"targets", BL_OPT_TEXT, .def.s = "all", .at = offsetof(type, member.targets), .arg = "q_proj:v_proj", \
     .doc = "the linears that get an adapter; all: those of the blocks"}, \
    {"rslora", BL_OPT_BOOL, .at = offsetof(type, member.rslora), .doc = "scaled by alpha / sqrt(rank)"}
#define BL_LORA_INIT_ROW(type, member) \
    {"init", BL_OPT_CHOICE, .choices = bl_lora_inits, .at = offsetof(type, member.init), \
     .doc = "zero: B is 0; a part of the weight, which keeps the rest: its largest singular triples (pissa), the " \
            "first columns and rows of its QR factors (olora)"}
#define BL_LORA_DORA_ROW(type, member) \
    {"dora", BL_OPT_BOOL, .at = offsetof(type, member.dora), \
     .doc = "the length of each row of W + s B A is learned beside it (DoRA)"}
/* clang-format on */

/* The linears that get an adapter as BL_ROLE_BITs, 0: all; BL_E_CONFIG as below. */
bl_status bl_lora_targets(const bl_lora_opts *o, uint32_t *out, bl_err *e);
/* BL_E_CONFIG, naming it, for a target that no linear of a block is called; with `init`, as bl_lora_needs_dense. */
bl_status bl_lora_check(const bl_method_run *r, const bl_lora_opts *o, bl_err *e);
/* Adapters that begin as a part of the weight, which `what` asks for, need dense weights (BL_E_UNSUPPORTED) of no
 * smaller rank, and a scale above 0 (BL_E_CONFIG). */
bl_status bl_lora_needs_dense(const bl_method_run *r, const bl_lora_opts *o, const char *what, bl_err *e);
/* A linear of an outline gets the adapter that it will have, without buffers. */
void bl_lora_predict(const bl_lora_opts *o, bl_linear *lin);
/* How the weight beside adapters is stored: format and shape of a linear's; rounded again and again, `rounds` times, to
 * the rest that the adapter leaves, the adapter to what rounding left (LoftQ); once: the rest alone is rounded. */
typedef struct bl_lora_base {
    const bl_format *format;
    bl_shape (*shape)(const void *opts, const bl_linear *l);
    const void *opts;
    bl_range_rule rule;
    int rounds; /* 0: the adapter is a part of the weight itself */
} bl_lora_base;
/* A linear's weight as it is, to the host; and what adapters leave of it from there, in a format. */
bl_status bl_lora_dense(const bl_method_run *r, const bl_linear *l, float *host, bl_err *e);
bl_status bl_lora_store(const bl_method_run *r, bl_linear *l, const float *rest, const bl_format *format,
                        const bl_shape *shape, bl_range_rule rule, bl_err *e);
/* New adapters as the options say, on weights as they are (NULL) or stored so. */
bl_status bl_lora_learns(const bl_method_run *r, const bl_lora_opts *o, const bl_lora_base *base, bl_trainable *t,
                         bl_err *e);
#endif
