/* samples.h - what is trained on: sequences of tokens, and which of them count.
 *
 * JSON lines, {"ids": [5, 9, 2], "mask": [0, 1, 1]}: one sequence a line, in the order of the file, neither packed nor
 * shuffled, so that a run can be compared with any other program's. Without "mask" all count.
 */
#ifndef BL_HARNESS_TRAIN_SAMPLES_H
#define BL_HARNESS_TRAIN_SAMPLES_H
#include "kernels/base/hash.h"

typedef enum bl_sample_format { BL_SAMPLES_IDS } bl_sample_format;
extern const char *const bl_sample_formats[]; /* by bl_sample_format; NULL after the last */

typedef struct bl_samples {
    int64_t n;
    int64_t *start; /* [n + 1] */
    int32_t *ids;   /* [start[n]] */
    uint8_t *mask;  /* [start[n]] 0 or 1 */
    bl_hash hash;   /* of all of it */
} bl_samples;
/* Sequences keep their first `seqlen` tokens; 0: all. BL_E_FORMAT, naming the line, for a line that is something else,
 * an id outside 0..vocab-1, or a file without lines. bl_samples_free. */
bl_status bl_samples_ids(const char *path, int64_t vocab, int64_t seqlen, bl_samples *out, bl_err *e);
void bl_samples_free(bl_samples *s);
#endif
