/* gen_text.h - the text of a reply as its tokens come, and where a stop string cuts it. */
#ifndef BL_HARNESS_MODEL_GEN_TEXT_H
#define BL_HARNESS_MODEL_GEN_TEXT_H
#include "harness/tokenizer/tokenizer.h"

typedef struct bl_gen_stop bl_gen_stop;
typedef struct bl_gen_range {
    size_t from, to;
} bl_gen_range;
typedef struct bl_gen_text {
    bl_text stream; /* bytes of all new tokens, special ones included: a stop may be the text of one */
    bl_gen_range *special;
    size_t n_special, cap_special; /* where those are */
    bl_gen_stop *stop;
    int n_stops;
    size_t cut; /* where the first stop begins; SIZE_MAX: none yet */
} bl_gen_text;
/* The strings stay the caller's until bl_gen_text_free; an empty one stops nothing. */
bl_status bl_gen_text_begin(bl_gen_text *x, const char *const *stop, int n, bl_err *e);
bl_status bl_gen_text_add(bl_gen_text *x, const bl_tokenizer *t, int32_t id, bl_err *e);
/* Up to the cut, without special tokens; what is not UTF-8, and NUL, is U+FFFD. In the arena. */
bl_status bl_gen_text_end(bl_gen_text *x, bl_arena *a, char **out, size_t *n, bl_err *e);
void bl_gen_text_free(bl_gen_text *x);
#endif
