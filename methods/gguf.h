/* gguf.h - which block type a weight gets in a file of llama.cpp's. */
#ifndef BL_METHODS_GGUF_H
#define BL_METHODS_GGUF_H
#include "harness/method.h"

/* Names of types, then those that only mixtures have; NULL-terminated. */
extern const char *const bl_gguf_types[];
enum { BL_GGUF_Q4_K = 9 }; /* index of the default */
bool bl_gguf_only_mixed(int type);

/* The type of a linear with rows of that many weights: `type` itself, or in a mixture what llama.cpp's quantizer gives
 * it in a file of that name; where blocks do not divide the rows, the type that it takes instead. `importance`: whether
 * weights are weighed, which some mixtures depend on. */
const bl_format *bl_gguf_type_of(int type, bool mixed, bool importance, const bl_model *m, const bl_linear *lin,
                                 int64_t width);
#endif
