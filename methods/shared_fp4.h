/* shared_fp4.h - what the methods with 4-bit floats share: which linears, inputs turned in blocks, activations. */
#ifndef BL_METHODS_SHARED_FP4_H
#define BL_METHODS_SHARED_FP4_H
#include "harness/method.h"

typedef struct bl_fp4_opts {
    int rule; /* index of a row's `rules` */
    bool head, embeddings, activations;
    int64_t rotate;
} bl_fp4_opts;
/* clang-format off */
#define BL_FP4_TURN_ROWS(type, least, most_of) \
    {"rotate", BL_OPT_INT, .min = least, .max = 65536, .def.i = least, .at = offsetof(type, rotate), .arg = "N", \
     .doc = "inputs are turned by Hadamard matrices in blocks of N, or of the largest power of two in N and "    \
            "the width; " \
            most_of}, \
    {"activations", BL_OPT_BOOL, .at = offsetof(type, activations), \
     .doc = "the inputs of linears become 4-bit floats too, each token by its own range"}
#define BL_FP4_ROWS(type, names, words) \
    {"rule", BL_OPT_CHOICE, .choices = names, .at = offsetof(type, rule), .doc = words}, \
    BL_FP4_TURN_ROWS(type, 0, "0: they are not"), \
    {"head", BL_OPT_BOOL, .at = offsetof(type, head), .doc = "quantize lm_head too"}, \
    {"embeddings", BL_OPT_BOOL, .at = offsetof(type, embeddings), .doc = "quantize the token embeddings too"}
/* clang-format on */

/* Block linears always; the ends of the model when asked. One table that serves as both is quantized when either is. */
bool bl_fp4_takes(const bl_method_run *r, const bl_fp4_opts *o, const bl_linear *lin);

/* The blocks of that many inputs in which `lin` is turned: the largest power of two that divides n and its width; 1:
 * it is not. */
int64_t bl_fp4_block(const bl_linear *lin, int64_t n);
/* Hx in the place of x and W Ht in the place of W, H = diag of Hadamard matrices of order b / sqrt(b): the weight
 * becomes fp32 and the linear gets the transform. b = 1: nothing. */
bl_status bl_fp4_turn(const bl_method_run *r, bl_linear *lin, int64_t b, bl_err *e);
/* The same of a linear of an outline, without buffers. */
bl_status bl_fp4_turn_outline(bl_linear *lin, int64_t b);
/* Inputs in 4-bit floats, BL_E_UNSUPPORTED where the backend has none. For the hook `check`, which may run without one.
 */
bl_status bl_fp4_check(const bl_method_run *r, bool activations, bl_err *e);
#endif
