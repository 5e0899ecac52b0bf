/* span.h - a piece of a prompt. Tasks write spans, tokenizers read them; neither needs to know the other. */
#ifndef BL_KERNELS_BASE_SPAN_H
#define BL_KERNELS_BASE_SPAN_H
#include <stdbool.h>
#include <stddef.h>

typedef struct bl_span {
    const char *text; /* [n] bytes, need not end in a zero */
    size_t n;
    bool data; /* false: template text, in which special tokens are recognised; true: data, which is only text */
} bl_span;
#endif
