/* generate.h - greedy and seeded sampled decoding of many prompts, with stop strings.
 *
 *     bl_decoder *d;
 *     bl_gen_request r = { .ids = (int32_t[]){ 1, 306, 763 }, .n = 3, .max_new = 64 };
 *     bl_gen_reply out;
 *     int64_t tag;
 *     BL_TRY(bl_decoder_new(model, tokenizer, &(bl_decoder_opts){ .rows = 4096 }, &d, e));
 *     BL_TRY(bl_decoder_put(d, &r, 7, arena, &out, e));           // as many as there are, at any time
 *     while (bl_decoder_open(d)) {
 *         BL_TRY(bl_decoder_step(d, e));                          // one pass: a token for each, new prompts too
 *         while (bl_decoder_take(d, &tag)) continue;              // those that came to their end
 *     }
 *     bl_decoder_free(d);
 *
 * Sequences join as soon as there is room and leave when they end. What prompts have in common, with each other and
 * with those that have left, is computed once as long as its keys and values are there. A reply does not depend on any
 * of it: on the CPU to the bit.
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

typedef struct bl_decoder bl_decoder;
typedef struct bl_decoder_opts {
    int64_t rows;      /* of the cache, at most; one prompt alone may use more. As many as are needed are made */
    int64_t sequences; /* decoded at once, at most; 0: chosen */
    int64_t pass_rows; /* of one pass, at most; 0: chosen */
    bool margins;
} bl_decoder_opts;
/* `t` may be NULL: no text, no stops, only the config's end token. */
bl_status bl_decoder_new(bl_model *m, const bl_tokenizer *t, const bl_decoder_opts *o, bl_decoder **out, bl_err *e);
void bl_decoder_free(bl_decoder *d); /* NULL is fine */
/* The ids are copied; stop strings, arena and reply stay there until it is taken. The reply is in the arena. */
bl_status bl_decoder_put(bl_decoder *d, const bl_gen_request *r, int64_t tag, bl_arena *a, bl_gen_reply *out,
                         bl_err *e);
/* Where memory is short it goes on with fewer sequences, down to one. BL_E_NUMERIC at the first logit that is not
 * finite. After an error, an interrupt say, what was put and has not ended is dropped by the caller. */
bl_status bl_decoder_step(bl_decoder *d, bl_err *e);
bool bl_decoder_take(bl_decoder *d, int64_t *tag); /* one that ended; false: none */
void bl_decoder_drop(bl_decoder *d);               /* all that were put; the cache stays */
int64_t bl_decoder_open(const bl_decoder *d);      /* put, and not at their end */
int64_t bl_decoder_rows(const bl_decoder *d);      /* that went through the model since new */
double bl_decoder_share(const bl_decoder *d);      /* of what was put since it was last idle, as good as done */
int64_t bl_decoder_most(const bl_model *m);        /* sequences that are decoded at once where nothing is said */

/* All of them through a decoder of their own. BL_E_INTERRUPTED between steps: replies that had come to their end are
 * whole. */
bl_status bl_generate(bl_model *m, const bl_tokenizer *t, const bl_gen_request *req, int64_t n, int64_t max_rows,
                      bool margins, bl_arena *a, bl_gen_reply *out, bl_err *e);
#endif
