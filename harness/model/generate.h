/* generate.h - greedy and seeded sampled decoding of several prompts at once, with stop strings.
 *
 * Stops are matched on the decoded bytes as they come (linear time, also when a stop spans tokens or a token holds more
 * than the stop) and cut from the text.
 */
#ifndef BL_HARNESS_MODEL_GENERATE_H
#define BL_HARNESS_MODEL_GENERATE_H
#include "model.h"
#include "harness/tokenizer/tokenizer.h"

typedef struct bl_gen_request {
    const int32_t *ids;
    int64_t n; /* prompt, BOS included where wanted */
    const char *const *stop;
    int n_stops;
    int64_t max_new;
    double temperature, top_p;
    uint64_t seed;   /* temperature 0: greedy; u of step k comes from (seed, k) */
    bool ignore_end; /* end tokens are tokens like others */
} bl_gen_request;
typedef struct bl_gen_reply {
    int32_t *ids;
    int64_t n; /* new ids; an end token is not among them */
    char *text;
    size_t n_text;  /* decoded, stop string cut, special tokens left out; valid UTF-8 without NUL */
    double *margin; /* [n] top-1 minus top-2 logit; NULL unless asked */
    bool ended;     /* false only after an interrupt: nothing else of it is there */
    bool hit_limit; /* max_new or the model's length came before an end token or a stop string */
} bl_gen_reply;
/* Replies live in the arena. A reply does not depend on what else is decoded with it. A beginning that the prompts
 * share is computed once. `t` may be NULL: no text, no stops, only the config's end token. max_rows: KV rows that may
 * be used at once (one prompt alone may use more). BL_E_INTERRUPTED between steps: replies that had come to their end
 * are whole. */
bl_status bl_generate(bl_model *m, const bl_tokenizer *t, const bl_gen_request *req, int64_t n, int64_t max_rows,
                      bool margins, bl_arena *a, bl_gen_reply *out, bl_err *e);
#endif
