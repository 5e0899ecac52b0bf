/* score_impl.h - what the files of the engine share: a sequence to feed, and the engine itself. */
#ifndef BL_HARNESS_SCORE_SCORE_IMPL_H
#define BL_HARNESS_SCORE_SCORE_IMPL_H
#include "score.h"
#include "harness/model/generate.h"

/* ids[0..n] of which the first n are fed and the last `scored` of n+1 are predicted: position p predicts ids[p+1]. */
typedef struct bl_scored {
    const int32_t *ids;
    int64_t n, scored;
    int64_t request;
    int32_t pair;
    int64_t position;       /* of its first scored token within the pair */
    int64_t group, longest; /* units of a group go together; the longest of them */
    int64_t family, reach;  /* groups that begin alike are a family; the longest of it */
    int64_t place;          /* of the group in its family: those that begin alike for long are neighbours */
    double nll, nll_sq;
    bool greedy, done;
    bl_comparison *cmp; /* NULL: none */
    int64_t row;        /* of its first scored token in there */
} bl_scored;

/* The tokens of a stream whose windows are asked for one by one. */
typedef struct bl_stream {
    const char *text;
    size_t n;
    bl_hash hash;
    bl_ids ids;
    bool there;
} bl_stream;

/* A request that was put. */
typedef struct bl_put {
    int64_t tag;
    int left; /* prompts without their reply; 0: the place is free */
    bl_reply reply;
    const char **texts; /* those of the reply; NULL: it has none */
    bl_gen_reply *said; /* [reply.n] */
} bl_put;

struct bl_engine {
    bl_model *m;
    bl_tokenizer *t;
    bool no_bos, special;
    int64_t max_len;              /* tokens that can be fed */
    int64_t most_rows, most_seqs; /* of a pass */
    int64_t tokens;
    bl_engine_watch *watch;
    void *watch_ctx;
    double before, part;    /* shares of the call: what is over, what runs */
    bool decoding;          /* the decoder says how much, else it is counted in rows: */
    int64_t all, over, now; /* of what runs, done of it, in the running pass */
    const bl_linear *base_head;
    bl_arena *arena; /* of one call */
    bl_stream stream;
    bl_kv *kv;
    int64_t kv_rows;
    int32_t kv_slots;
    struct bl_near_store *near; /* vectors of texts that are asked about again (near.c) */
    struct bl_near_encoder *encoder;
    bl_buffer *hidden, *chunk, *lists;
    bl_buffer *base; /* states and logits of the base, and what is computed from them */ /* kept between passes */
    bl_decoder *decoder; /* NULL: nothing was generated yet */
    bl_put *put;         /* [cap_put] */
    size_t cap_put;
    int64_t n_put;
};

/* A context's tokens, kept for the pairs that share it. */
typedef struct bl_context_ids {
    const bl_span *asked; /* of the prompt as it was asked, */
    size_t n_asked;
    bl_prompt prompt; /* and as the model reads it */
    const bl_span *span;
    size_t n;
    bl_ids ids;
    bl_span *whole;
    size_t cap; /* the context's spans, and one for a continuation */
} bl_context_ids;
void bl_context_free(bl_context_ids *c);
bl_status bl_engine_pair(bl_engine *g, const bl_pair *p, bl_context_ids *ctx, bl_arena *a, bl_scored_ids *out,
                         bl_err *e);

/* Sequences of the scored part of a request, appended to *u; ids in the arena or in the engine's stream. */
typedef struct bl_scored_list {
    bl_scored *u;
    size_t n, cap;
} bl_scored_list;
bl_status bl_engine_sequences(bl_engine *g, const bl_request *r, int64_t request, bl_arena *a, bl_scored_list *out,
                              bool *truncated, bool *boundary, bl_err *e);

/* What a comparison needs to know of the sequences u[0..n) of one request, and room for what comes out (compare.c). */
bl_status bl_comparison_begin(bl_engine *g, bl_scored *u, size_t n, int64_t request, bl_comparison *cmp, bl_arena *a,
                              bl_err *e);
/* A chunk of scored rows: x [n, dim] their states, logits [n, vocab], target [n]; row[i] of cmp[i], which may be NULL.
 */
bl_status bl_comparison_rows(bl_engine *g, bl_tensor x, bl_tensor logits, bl_tensor target, int64_t n,
                             bl_comparison *const *cmp, const int64_t *row, bl_err *e);

/* Answers the NEAR requests (near.c); what was kept for them goes with the engine. */
bl_status bl_engine_near(bl_engine *g, const bl_request *req, int64_t n, bl_reply *out, bl_err *e);
void bl_engine_near_free(bl_engine *g);

/* Feeds all units and fills nll, nll_sq, greedy, done. */
bl_status bl_engine_pass(bl_engine *g, bl_scored *u, size_t n, bl_err *e);
void bl_engine_shrink(bl_engine *g); /* gives back what is kept between passes */
#endif
