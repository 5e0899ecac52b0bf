/* samples.h - what is trained on: sequences of tokens, and which of them count.
 *
 * A pass holds sequences one after another, without padding, and none sees another: a sequence of its own for each
 * example is a packed batch already. `pack` makes steps of equal size: neighbours in the file share a row as long as
 * they fit in `seqlen` tokens.
 */
#ifndef BL_HARNESS_TRAIN_SAMPLES_H
#define BL_HARNESS_TRAIN_SAMPLES_H
#include "harness/tokenizer/tokenizer.h"
#include "kernels/base/hash.h"

typedef enum bl_sample_format {
    BL_SAMPLES_IDS,  /* JSON lines {"ids": [5, 9, 2], "mask": [0, 1, 1]}, a sequence each, in the order of the file, so
                        that a run can be compared with any other program's; without "mask" all count */
    BL_SAMPLES_TEXT, /* plain text, encoded as one string and cut into sequences of `seqlen` tokens; all count */
    BL_SAMPLES_ALPACA, /* {"instruction", "input", "output"}: the template of Stanford Alpaca, with and without input,
                          prompt and output encoded as one string; output and EOS count */
    BL_SAMPLES_CHAT,   /* {"messages": [{"role", "content"}]}, {"conversations": [{"from", "value"}]}, {"text"} or
                          {"input", "output"} with turns "### Human: ... ### Assistant: ..." (OASST as Guanaco has it);
                          what the assistant says counts, and EOS after the last of it */
    BL_SAMPLES_COT     /* {"question", "rationale", "answer"}, or {"question", "answer"} as GSM8K has it:
                          "Q: question\nA: rationale The answer is 5."; all after "A:" counts, and EOS */
} bl_sample_format;
extern const char *const bl_sample_formats[]; /* by bl_sample_format; NULL after the last */
/* What an example is whose answer is white space, or of whose ids the mask counts none. */
typedef enum bl_empty_answer {
    BL_EMPTY_REFUSED, /* the file is, by line */
    BL_EMPTY_LEFT_OUT,
    BL_EMPTY_LEARNED /* as all others: the end comes at once */
} bl_empty_answer;
extern const char *const bl_empty_answers[]; /* by bl_empty_answer; NULL after the last */

typedef struct bl_samples {
    char *path; /* NULL: of no file */
    int64_t n;
    int64_t *start; /* [n + 1] */
    int32_t *ids;   /* [start[n]] */
    uint8_t *mask;  /* [start[n]] 0 or 1 */
    int64_t n_rows;
    int64_t *row;    /* [n_rows + 1] sequences of a row: one, or as many as were packed */
    bool shuffled;   /* rows are taken in an order that the seed says, a new one each time; else in that of the file */
    int64_t skipped; /* examples of which no token counts */
    int64_t empty;   /* that were left out, as their answer is */
    bl_hash hash;    /* of all of it */
} bl_samples;
typedef struct bl_samples_opts {
    const bl_tokenizer *tokenizer; /* of all formats but ids */
    int64_t vocab;                 /* of the model */
    int64_t seqlen;                /* tokens that a sequence keeps; 0: all of ids, 512 of others */
    bool pack;
    bl_empty_answer empty;
} bl_samples_opts;
enum { BL_SAMPLES_LENGTH = 512 };
/* JSON formats are JSON lines or one array, also .gz. BL_E_FORMAT, naming the line, for one that is something else, an
 * empty answer that is refused, an id outside 0..vocab-1, or a file of which no token counts. bl_samples_free. */
bl_status bl_samples_read(const char *path, bl_sample_format f, const bl_samples_opts *o, bl_samples *out, bl_err *e);
void bl_samples_free(bl_samples *s);
/* Tokens of a row that count: the first of a sequence has nothing before it. */
int64_t bl_samples_counted(const bl_samples *s, int64_t row);
#endif
