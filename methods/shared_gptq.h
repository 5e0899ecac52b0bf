/* shared_gptq.h - the options of GPTQ and what they mean: one method for `gptq`, and for those that change what its
 * sweep is given. */
#ifndef BL_METHODS_SHARED_GPTQ_H
#define BL_METHODS_SHARED_GPTQ_H
#include "shared_solve.h"

typedef struct bl_gptq {
    bl_quant q;
    int range, scale;
    bool act_order, static_groups, group_aware, true_sequential, mse;
    double damp;
    int64_t block;
} bl_gptq;

extern const char *const bl_gptq_ranges[], *const bl_gptq_scales[]; /* as `range` and `scale` count them */
/* clang-format off */
#define BL_GPTQ_ROWS(type, member)                                                                                     \
    BL_QUANT_ROWS(type, member.q),                                                                                     \
    {"range", BL_OPT_CHOICE, .choices = bl_gptq_ranges, .def.choice = 0, .at = offsetof(type, member.range),           \
     .doc = "zero: contains 0, symmetric 2 max|w| / (2^b - 1); minmax: as the group is; restricted: symmetric, "       \
            "max|w| / (2^(b-1) - 1)"},                                                                                 \
    {"scale", BL_OPT_CHOICE, .choices = bl_gptq_scales, .def.choice = 0, .at = offsetof(type, member.scale),           \
     .doc = "type that scales are stored in"},                                                                         \
    {"act-order", BL_OPT_BOOL, .at = offsetof(type, member.act_order),                                                 \
     .doc = "columns in order of their inputs' size, largest first (desc_act)"},                                       \
    {"static-groups", BL_OPT_BOOL, .at = offsetof(type, member.static_groups),                                         \
     .doc = "ranges of groups from the weight before anything is rounded"},                                            \
    {"group-aware", BL_OPT_BOOL, .at = offsetof(type, member.group_aware),                                             \
     .doc = "act-order with groups of neighbours kept whole (act_group_aware)"},                                       \
    {"true-sequential", BL_OPT_BOOL, .at = offsetof(type, member.true_sequential),                                     \
     .doc = "inputs inside a block are gathered anew after each step: q k v, o, gate up, down"},                       \
    {"mse", BL_OPT_BOOL, .at = offsetof(type, member.mse), .doc = "ranges are shrunk to the least sum |w^ - w|^2.4"},  \
    {"damp", BL_OPT_REAL, .min = 0, .max = 1, .def.r = 0.01, .at = offsetof(type, member.damp), .arg = "D",            \
     .doc = "added to the diagonal of H, relative to its mean; tenfold where that is not enough"},                     \
    {"block", BL_OPT_INT, .min = 1, .max = 65536, .def.i = 128, .at = offsetof(type, member.block), .arg = "N",        \
     .doc = "columns whose errors are handed on together"}
/* Those of methods that train beside a base that GPTQ rounded: columns in their order, ranges that contain 0. */
#define BL_GPTQ_BASE_ROWS(type, member, bits, size)                                                                    \
    {"wbits", BL_OPT_INT, .min = 2, .max = 8, .def.i = (bits), .at = offsetof(type, member.q.wbits), .arg = "2|3|4|8", \
     .doc = "bits of a weight"},                                                                                       \
    {"group", BL_OPT_INT, .min = -1, .max = 65536, .def.i = (size), .at = offsetof(type, member.q.group), .arg = "N",  \
     .doc = "weights that share a scale; -1: one scale a row"},                                                        \
    {"damp", BL_OPT_REAL, .min = 0, .max = 1, .def.r = 0.01, .at = offsetof(type, member.damp), .arg = "D",            \
     .doc = "added to the diagonal of H, relative to its mean; tenfold where that is not enough"}
/* clang-format on */

/* The hooks of bl_method with these names, of a method whose options begin with a bl_gptq. */
void bl_gptq_settle(void *options);
bl_status bl_gptq_check(const bl_method_run *r, bl_err *e);
bool bl_gptq_sequential(const bl_method_run *r);
bool bl_gptq_predict(const bl_method_run *r, bl_linear *lin, const bl_format **format, bl_shape *shape);
void bl_gptq_notes(const bl_method_run *r, const bl_layer_stat *layer, int64_t n, bl_text *out);
double bl_gptq_work(const bl_method_run *r, const bl_linear *lin);
/* What they ask of the weight of a linear. */
bl_solve bl_gptq_solve(const bl_gptq *o, int64_t out, int64_t in);
/* Most of a hook `layer`: the sweep, and activations as the options say. */
bl_status bl_gptq_layer(const bl_method_run *r, bl_linear *lin, const bl_solve *s, bl_layer_stat *stat, bl_err *e);
/* All of one, for BL_GPTQ_BASE_ROWS. */
bl_status bl_gptq_base_layer(const bl_method_run *r, bl_linear *lin, bl_layer_stat *stat, bl_err *e);
extern const size_t bl_gptq_ops[]; /* that the sweep runs, for bl_method.ops */
#endif
