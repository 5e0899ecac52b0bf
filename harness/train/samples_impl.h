/* samples_impl.h - what readers of training files share: sequences are added one after another. */
#ifndef BL_HARNESS_TRAIN_SAMPLES_IMPL_H
#define BL_HARNESS_TRAIN_SAMPLES_IMPL_H
#include "samples.h"
#include "kernels/base/json.h"

typedef struct bl_samples_reader {
    bl_samples s;
    size_t cap_start, cap_ids, cap_mask;
    const bl_samples_opts *o;
    bool all; /* sequences of which no token counts too; else they are passed over, and counted */
} bl_samples_reader;
/* A new sequence of n tokens; the first `seqlen` of them. BL_E_FORMAT for an id that the model lacks. */
bl_status bl_samples_add(bl_samples_reader *r, const int32_t *ids, const uint8_t *mask, int64_t n, bl_err *e);
/* Of an example whose answer, called `what`, is empty: BL_E_FORMAT where such ones are refused, else whether it is left
 * out, and counted then. */
bl_status bl_samples_empty(bl_samples_reader *r, const char *what, bool *left_out, bl_err *e);
bool bl_samples_blank(const char *s, size_t n); /* white space alone */
/* BL_E_FORMAT where a row has not the keys of format f; it says which it has, and of which format they are. */
bl_status bl_samples_keys(const bl_json *row, bl_sample_format f, bl_err *e);
bl_status bl_samples_text(bl_samples_reader *r, const char *path, bl_sample_format f, bl_err *e);
#endif
