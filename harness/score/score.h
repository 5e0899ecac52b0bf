/* score.h - the engine: requests become replies. The only place between text (tasks) and tokens (model).
 *
 *     bl_engine *g;
 *     BL_TRY(bl_engine_new(model, tokenizer, &(bl_engine_opts){ .batch_tokens = 2048 }, &g, e));
 *     BL_TRY(bl_engine_replies(g, requests, n, arena, replies, e));       // batched; in order of the requests
 *     bl_engine_free(g);
 *
 * Context and continuation are split as lm-evaluation-harness does (0.4.13, api/model.py, TemplateLM._encode_pair): the
 * whole is encoded, its first len(tok(context)) tokens are the context. A reply's bits do not depend on what
 * else is in the batch. Contexts shared by the pairs of a request are computed once.
 */
#ifndef BL_SCORE_H
#define BL_SCORE_H
#include "harness/model/model.h"
#include "harness/task.h"
#include "harness/tokenizer/tokenizer.h"

typedef struct bl_engine bl_engine;
typedef struct bl_engine_opts {
    int64_t batch_tokens; /* rows of one forward pass; 0: chosen from memory */
    int64_t batch_size;   /* most sequences in one pass; 0: no limit */
    bool no_bos;          /* --no-bos: choices and generations; perplexity conventions own theirs */
    bool special;         /* text of special tokens becomes their id in data too, as peers read it */
    int64_t max_len;      /* 0: the model's */
} bl_engine_opts;
bl_status bl_engine_new(bl_model *m, bl_tokenizer *t, const bl_engine_opts *o, bl_engine **out, bl_err *e);
void bl_engine_free(bl_engine *g); /* NULL is fine */
/* A text with a token that the model lacks is BL_E_UNSUPPORTED. BL_E_NUMERIC at the first logit that is not finite.
 * BL_E_INTERRUPTED between passes. On BL_E_DEVMEM the batch is halved inside, down to one. */
bl_status bl_engine_replies(bl_engine *g, const bl_request *req, int64_t n, bl_arena *a, bl_reply *out, bl_err *e);
/* The same passes over ids [n, length + 1] whose last `scored` tokens are scored: for timing. */
bl_status bl_engine_score_ids(bl_engine *g, const int32_t *ids, int64_t n, int64_t length, int64_t scored, bl_err *e);
/* How many WINDOW requests a stream has; BL_E_CONFIG when it is shorter than one window (llama.cpp: two). The text is
 * looked at here; the WINDOW requests that follow with the same pointer take it as unchanged. */
bl_status bl_engine_windows(bl_engine *g, const char *text, size_t n, int64_t length, bl_window_rule rule, int64_t *out,
                            bl_err *e);
int64_t bl_engine_tokens(const bl_engine *g); /* rows that went through the model since new */
/* Rows of a pass. A call with fewer than this leaves the model idle between passes; when streaming, every pass reads
 * every block. */
int64_t bl_engine_pass_tokens(const bl_engine *g);

/* ---- tokens of a request, for `ask` and `score` ---- */
typedef struct bl_scored_ids {
    int32_t *ids;
    int64_t n, scored;
    bool truncated, boundary;
} bl_scored_ids; /* the last `scored` of ids are scored */
bl_status bl_engine_pair_ids(bl_engine *g, const bl_pair *p, bl_arena *a, bl_scored_ids *out, bl_err *e);
/* Of a ROLLING (the whole text, however long) or WINDOW request. */
bl_status bl_engine_text_ids(bl_engine *g, const bl_request *r, bl_arena *a, bl_scored_ids *out, bl_err *e);
/* Cut on the left so that max_new tokens fit behind it; ids in the arena. */
bl_status bl_engine_prompt_ids(bl_engine *g, const bl_prompt *p, int64_t max_new, bl_arena *a, bl_ids *out,
                               bool *truncated, bl_err *e);

/* ---- hidden states at the scored positions, for KL against the base ----
 * While a tap is set, every chunk of scored rows of PAIRS, ROLLING and WINDOW requests is handed over once, with the
 * logits that were just computed from it. A row is known by its request (index into `req` of bl_engine_replies), pair,
 * and position among the scored tokens of that pair. */
typedef struct bl_observed {
    bl_tensor hidden, logits; /* f32 [rows, dim], [rows, vocab]; valid during the call only */
    int64_t rows;
    bl_tensor target;        /* i32 [rows] on the backend: the token that is scored */
    const int64_t *request;  /* [rows] */
    const int32_t *pair;     /* [rows] */
    const int64_t *position; /* [rows] 0, 1, … within the pair */
} bl_observed;
typedef bl_status bl_observer(void *ctx, const bl_observed *t, bl_err *e);
void bl_engine_observe(bl_engine *g, bl_observer *tap, void *ctx); /* NULL: none */
#endif
