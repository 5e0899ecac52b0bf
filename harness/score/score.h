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
#ifndef BL_HARNESS_SCORE_SCORE_H
#define BL_HARNESS_SCORE_SCORE_H
#include "harness/model/model.h"
#include "harness/task.h"
#include "harness/tokenizer/chat.h"

typedef struct bl_engine bl_engine;
typedef struct bl_engine_opts {
    int64_t batch_tokens; /* rows of one forward pass; 0: chosen from memory */
    int64_t batch_size;   /* most sequences in one pass; 0: no limit */
    bool no_bos;          /* --no-bos: choices and generations; perplexity conventions own theirs */
    bool special;         /* text of special tokens becomes their id in data too, as peers read it */
    int64_t max_len;      /* 0: the model's */
} bl_engine_opts;
/* Can a model of these positions and of this sliding window (0: none) answer such a request at all? What depends on the
 * number of tokens of a text is not known here. */
bl_status bl_request_fits(const bl_request *r, int64_t max_len, int64_t window, bl_err *e);
bl_status bl_engine_new(bl_model *m, bl_tokenizer *t, const bl_engine_opts *o, bl_engine **out, bl_err *e);
void bl_engine_free(bl_engine *g); /* NULL is fine */
/* Told before each block of each pass how much of the running call is done, 0 to 1. A pass that has begun is then
 * finished, interrupt or not. */
typedef void bl_engine_watch(void *ctx, double share);
void bl_engine_set_watch(bl_engine *g, bl_engine_watch *watch, void *ctx); /* NULL: nobody */
/* A text with a token that the model lacks is BL_E_UNSUPPORTED. BL_E_NUMERIC at the first logit that is not finite.
 * BL_E_INTERRUPTED between passes and between steps of decoding: the requests that were answered until then have their
 * replies, the others one of the kind BL_ASK_DONE. On BL_E_DEVMEM the batch is halved inside, down to one. */
bl_status bl_engine_replies(bl_engine *g, const bl_request *req, int64_t n, bl_arena *a, bl_reply *out, bl_err *e);

/* ---- generations that come and go ----
 * What is put is decoded together with what is there already, whenever there is room. The request and the arena, in
 * which the reply will be, stay there until it is taken. */
bl_status bl_engine_put(bl_engine *g, const bl_request *r, int64_t tag, bl_arena *a, bl_err *e);
/* Decodes until one has its reply. BL_E_INTERRUPTED between steps. After an error those that were put are dropped.
 * Pairs and texts may be asked in between, generations not. */
bl_status bl_engine_take(bl_engine *g, int64_t *tag, bl_reply *out, bl_err *e);
void bl_engine_drop(bl_engine *g);               /* all that were put */
int64_t bl_engine_open(const bl_engine *g);      /* put and not taken */
int64_t bl_engine_most_open(const bl_engine *g); /* more than these only wait */

/* The same passes over ids [n, length + 1] whose last `scored` tokens are scored: for timing. */
bl_status bl_engine_score_ids(bl_engine *g, const int32_t *ids, int64_t n, int64_t length, int64_t scored, bl_err *e);
/* Items of a task: its rows, or the windows of its stream. */
bl_status bl_engine_items(bl_engine *g, const bl_task *t, bl_task_data *d, int64_t *out, bl_err *e);
/* How many WINDOW requests a stream has; BL_E_CONFIG when it is shorter than one window (llama.cpp: two). The text is
 * looked at here; the WINDOW requests that follow with the same pointer take it as unchanged. */
bl_status bl_engine_windows(bl_engine *g, const char *text, size_t n, int64_t length, bl_window_rule rule, int64_t *out,
                            bl_err *e);
/* The vectors of n texts: of each the mean of the final normed states of its tokens, without BOS unless there is
 * nothing else; out[n, dim]. Cut on the left where it is longer than the model. BL_E_INTERRUPTED: a signal came. */
bl_status bl_engine_embed(bl_engine *g, const char *const *text, int64_t n, double *out, bl_err *e);
/* Room for the reply of a NEAR request, zeros; in the arena. */
bl_status bl_near_reply(const bl_request *r, bl_arena *a, bl_reply *out, bl_err *e);
int64_t bl_engine_tokens(const bl_engine *g); /* rows that went through the model since new */
/* Rows of a pass. A call with fewer than this leaves the model idle between passes; when streaming, every pass reads
 * every block. */
int64_t bl_engine_pass_tokens(const bl_engine *g);

/* ---- tokens of a request, for `ask` and `score` ---- */
/* A prompt as the model reads it: one that is asked through the chat template has it around, the others are what they
 * are. Spans are the prompt's or in its arena. */
bl_status bl_engine_chat(const bl_engine *g, const bl_prompt *p, bl_prompt *out, bl_err *e);
/* A prompt within one template. */
bl_status bl_chat_prompt(const bl_chat *c, const bl_prompt *p, bl_prompt *out, bl_err *e);
typedef struct bl_scored_ids {
    int32_t *ids;
    int64_t n, scored;
    bool truncated, boundary;
} bl_scored_ids; /* the last `scored` of ids are scored */
bl_status bl_engine_pair_ids(bl_engine *g, const bl_pair *p, bl_arena *a, bl_scored_ids *out, bl_err *e);
/* Of a ROLLING (the whole text, however long) or WINDOW request. */
bl_status bl_engine_text_ids(bl_engine *g, const bl_request *r, bl_arena *a, bl_scored_ids *out, bl_err *e);
/* Cut on the left so that max_new tokens fit after it; ids in the arena. */
bl_status bl_engine_prompt_ids(bl_engine *g, const bl_prompt *p, int64_t max_new, bl_arena *a, bl_ids *out,
                               bool *truncated, bl_err *e);

/* ---- states of the scored tokens, and the distance from a base ----
 * A base keeps the final normed states of its scored tokens; its logits at them are those states through its own head,
 * exact and far smaller than logits. Another model's logits are compared with them where both were fed the same tokens.
 */
typedef struct bl_states {
    bl_hash ids;  /* of the tokens that were fed, and which of them are scored */
    int64_t rows; /* scored tokens: of the first pair, of the second, … */
    void *hidden; /* [rows, dim] in the activation type of the backend */
} bl_states;
typedef struct bl_comparison {
    bool keep;             /* in: own.hidden is wanted */
    const bl_states *base; /* in: the base's states of this request; NULL: it has none */
    int64_t request;       /* out: its place in the call */
    bl_states own;         /* out; rows 0 of a generation */
    bool compared;         /* out: the base was fed the same tokens; else kl, dp and same are NULL */
    double *kl;            /* out [own.rows] sum P (ln P - ln Q), P the base */
    double *dp;            /* out [own.rows] Q - P of the scored token */
    bool *same;            /* out [own.rows] the likeliest token is the same */
} bl_comparison;
/* bl_engine_replies with a comparison for each request; what comes out is in the arena. BL_E_CORRUPT when the base's
 * states are of the same tokens and not as many. */
bl_status bl_engine_compare(bl_engine *g, const bl_request *req, int64_t n, bl_arena *a, bl_reply *out,
                            bl_comparison *cmp, bl_err *e);
/* [vocab, dim], the base's head; lent until the next call. NULL: nothing is compared. */
void bl_engine_set_base(bl_engine *g, const bl_linear *head);
size_t bl_engine_state_bytes(const bl_engine *g); /* of one row of states */
#endif
