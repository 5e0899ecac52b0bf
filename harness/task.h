/* task.h - the contract of a task: text in, text and log-likelihoods out. Tasks never see a token.
 *
 *     load   reads the rows of a data set into bl_task_data
 *     ask    turns row i into the next request, or says done
 *     mark   turns the replies into a sample
 *
 * The harness does everything else: tokens, batches, resume, sample log, uncertainty. tasks/openbookqa.c is a whole
 * one; how one is added: CONTRIBUTING.md.
 */
#ifndef BL_HARNESS_TASK_H
#define BL_HARNESS_TASK_H
#include <float.h>
#include "results/metric.h"
#include "harness/data/reader.h"
#include "kernels/base/span.h"
#include "kernels/base/opt.h"

/* ---- prompts: template and data, kept apart ---- */
typedef struct bl_prompt {
    bl_span *span;
    size_t n, cap;
    bl_arena *arena;
    size_t fill; /* the span so many from 1 on is filled; 0: none */
    bool chat;   /* asked through the model's chat template (chat.h), as one message of the user */
    size_t turn; /* the message ends after so many spans, what follows begins the reply; 0: all are the message */
    size_t
        system; /* the first so many spans say what is to be done: a message of the system where there is a template */
    struct bl_exchange {
        size_t said, again; /* spans up to `said` are a message, those up to `again` what was replied */
    } * exchange;           /* before that message */
    size_t n_exchanges;
    bool turns;  /* worked examples are exchanges */
    bool failed; /* memory ran out; the request is refused for it, so that a task need not look */
} bl_prompt;
bl_prompt bl_prompt_new(bl_arena *a);
void bl_sayn(bl_prompt *p, const char *template_text, size_t n);
void bl_say(bl_prompt *p, const char *template_text); /* special tokens are recognised here only; copied */
void bl_quote(bl_prompt *p, const char *data);
void bl_quoten(bl_prompt *p, const char *data, size_t n);
/* " ..." again and again, as many tokens as `data` has at this place; one a prompt. */
void bl_filln(bl_prompt *p, const char *data, size_t n);

/* What is said from here on begins the model's reply, where it is asked through its chat template. */
void bl_reply_begins(bl_prompt *p);
/* The message so far had a reply, which is said next; then comes another message. */
void bl_reply_was(bl_prompt *p);
void bl_message_again(bl_prompt *p);
/* What was said so far tells what is to be done (MMLU's first line). */
void bl_system_was(bl_prompt *p);
/* A worked example's question was said and its answer follows, after `delimiter`; it has been said, and another
 * question follows after `delimiter`. In a conversation whose worked examples are turns these are a reply and another
 * message, and no delimiter is said. */
void bl_answer_follows(bl_prompt *p, const char *delimiter);
void bl_question_follows(bl_prompt *p, const char *delimiter);

/* ---- requests ---- */
typedef enum bl_ask_kind {
    BL_ASK_DONE,
    BL_ASK_PAIRS,
    BL_ASK_ROLLING,
    BL_ASK_WINDOW,
    BL_ASK_GENERATE,
    BL_ASK_NEAR
} bl_ask_kind;
/* Texts that others are compared with, by vectors: those of the model that is asked, or of a text encoder. */
typedef struct bl_near_texts {
    const char *const *text;
    int64_t n;
    const char *encoder; /* its directory; NULL: the model */
    bool kept;           /* asked about again, by this pointer: the vectors are kept */
} bl_near_texts;
/* The levels of the Quantized Influence Measure that is told beside the cosine (results/qim.h). */
enum { BL_NEAR_RULES = 3 };
extern const int bl_near_levels[BL_NEAR_RULES]; /* 2, 3, 16 */
typedef struct bl_pair {
    bl_prompt context;
    const char *continuation; /* its delimiter space included */
    int64_t chars, bytes;     /* code points and bytes of the choice, without that space */
    bool delimited;           /* that space is ours: none where the continuation begins a reply (bl_task_ask) */
} bl_pair;
typedef enum bl_window_rule { BL_WINDOW_GPTQ, BL_WINDOW_LLAMACPP } bl_window_rule; /* ARCHITECTURE.md, conventions */
typedef struct bl_request {
    bl_ask_kind kind;
    bl_pair *pair;
    int n_pairs; /* PAIRS: one context, n choices, or n contexts */
    const char *text;
    size_t n_text;  /* ROLLING: one document; WINDOW: the whole stream (the same pointer for every window) */
    int64_t length; /* ROLLING, WINDOW: tokens of a window; ROLLING is cut to the model's own length */
    int64_t index;  /* WINDOW: which */
    bool no_bos;    /* ROLLING: the text's own BOS is left out; the prefix token stays */
    bl_window_rule rule;
    bl_prompt prompt;   /* GENERATE */
    bl_prompt *prompts; /* GENERATE: several at once, each answered for itself; n_prompts 0: `prompt` alone */
    int n_prompts;
    const char *const *stop;
    int n_stops; /* strings; cut from the reply */
    int64_t max_new;
    double temperature, top_p;
    uint64_t seed;     /* temperature 0: greedy; of prompt k: seed + k */
    const char *query; /* NEAR: how near is each text of `near` to it? */
    const bl_near_texts *near;
} bl_request;
/* The prompts of a GENERATE request; their number. */
int bl_request_prompts(bl_request *r, bl_prompt **out);
bl_status bl_done(bl_request *out);
/* One context, n choices: puts one space in front of each choice; counts code points and bytes without it. */
bl_status bl_ask_pairs(bl_request *out, bl_prompt context, const char *const *choice, int n, bl_err *e);
/* n contexts, one continuation, in front of which one space is put as well (WinoGrande). */
bl_status bl_ask_contexts(bl_request *out, const bl_prompt *context, int n, const char *continuation, bl_err *e);

/* What a pair has for nll when nothing is left to score (tokens 0, greedy false): worse than every other choice, and a
 * number. lm-evaluation-harness 0.4.13 stops there. Not to be averaged. */
#define BL_NLL_UNSCORED DBL_MAX
typedef struct bl_reply {
    bl_ask_kind kind;                   /* of the request */
    int n;                              /* pairs; prompts of a generation; 1 for the other kinds */
    double *nll;                        /* [n] nats, summed over the scored tokens, >= 0 */
    double *nll_sq;                     /* [n] sum of squares over the tokens */
    int64_t *tokens;                    /* [n] scored */
    bool *greedy;                       /* [n] every scored token is the argmax */
    int64_t *chars, *bytes;             /* [n] of the choice */
    bool truncated, boundary, unscored; /* see BL_SAMPLE_ flags */
    const char *text;                   /* GENERATE: of the first prompt */
    const char *const *texts;           /* GENERATE [n]; NULL where n is 1 */
    bool hit_limit;                     /* GENERATE: of any */
    int64_t new_tokens;                 /* GENERATE: of all */
    int64_t n_near;
    double *cosine, *qim[BL_NEAR_RULES]; /* NEAR: [n_near] each, of the query (x) and each text (y) */
} bl_reply;

/* ---- data and turns ---- */
typedef struct bl_task_data {
    int64_t n;           /* items; -1: the windows of a text (`ask` makes WINDOW requests), which the harness counts */
    int64_t max_windows; /* n == -1: only the first so many are items; 0: all */
    bool chat, turns;    /* the name ends in "+chat", in "+chat+turns" */
    const int *family; /* [n] items of one number begin with the same worked examples: they are asked one after another,
                          so that these are computed once for many; NULL: one order is as good as another */
    const char *note;  /* what a reader of the numbers should know about this file; NULL */
    void *rows;        /* the task's own */
    const char *path;  /* what was read */
    bl_hash hash;      /* of the bytes read */
    bl_arena *arena;   /* lifetime of the data; the harness owns it */
} bl_task_data;
typedef struct bl_turn {
    int step;
    const bl_reply *reply;
    int n_replies;
    bl_arena *arena;
} bl_turn; /* replies so far, in order */

typedef struct bl_task_load {
    const char *name;
    const void *opts;
    const bl_data_dirs *dirs;
    uint64_t seed;
} bl_task_load; /* name as the user wrote it */

typedef struct bl_task {
    const char *const *splits; /* of each name: "test", "validation"; NULL: not said */
    const int *shots;          /* of each name: worked examples in front of a question; NULL: none */
    bool few;                  /* "NAME:5shot" is a name with 5 worked examples in front: bl_task_shots, bl_task_few */
    /* What NAME has in front is none of what NAME:Nshot draws, and what is said to NAME:0shot. NULL: NAME:Nshot of as
     * many as NAME has is NAME. */
    const char *fixed;
    const char *no_chat;      /* why there is no NAME+chat; NULL: there is, asked through the model's chat template */
    const char *const *names; /* what the user may write, NULL-terminated: "arc_easy", "wikitext2:gptq2048" */
    const char *title, *cite, *doc;
    int version; /* raised whenever its numbers could change */
    const bl_metric *metrics;
    int n_metrics;
    /* metrics that depend on the name (perplexity); NULL: `metrics` for all */
    const bl_metric *(*metrics_of)(const char *name, int *n);
    const bl_opt *opts;
    size_t opts_size;
    bl_status (*load)(const bl_task_load *how, bl_task_data *out, bl_err *e);
    bl_status (*ask)(bl_task_data *t, int64_t i, const bl_turn *turn, bl_request *out, bl_err *e);
    /* Scores, values, answers, pick, gold, n_choices, group, in turn->arena; *out is empty before. Texts of replies,
     * tokens and flags are the harness's to say (bl_mark_item). */
    bl_status (*mark)(bl_task_data *t, int64_t i, const bl_turn *turn, bl_sample *out, bl_err *e);
    /* What item i asks, where its first request has more around it; may be NULL. */
    const char *(*question)(bl_task_data *t, int64_t i);
    /* What `ask` of the command line shows as the right answer of item i; may be NULL. */
    const char *(*gold)(bl_task_data *t, int64_t i);
} bl_task;

/* How many worked examples a name asks for by itself, "foo:5shot": 5, of 1 to 64; 0: it does not. *base (may be NULL)
 * is the length of what is before. */
int bl_task_shots(const char *name, size_t *base);

/* Is NAME:5shot a name too? Not where NAME says how many by itself ("mmlu:0shot"). */
bool bl_task_few(const bl_task *t, const char *name);

/* What to put before span i where a conversation is shown as one text: a reply comes after a blank, a message after an
 * empty line. "": nothing. */
const char *bl_prompt_between(const bl_prompt *p, size_t i);
/* A prompt of an item, with worked examples as the name asks for. */
bl_prompt bl_task_prompt(const bl_task_data *d, bl_arena *a);
/* The data of a task under the name that the user wrote, and its requests: what is to go through the model's chat
 * template says so. As lm-evaluation-harness 0.4.13 with apply_chat_template: all that stands in front of a choice is
 * the message of the user, worked examples included ("NAME+chat+turns": they are exchanges before it, its
 * fewshot_as_multiturn), what bl_system_was ended is the system's, and the choice begins the reply, without the
 * delimiter space; where the prompt begins the reply by itself, the space stays. */
bl_status bl_task_read(const bl_task *t, const bl_task_load *how, bl_task_data *out, bl_err *e);
bl_status bl_task_ask(const bl_task *t, bl_task_data *d, int64_t i, const bl_turn *turn, bl_request *out, bl_err *e);

/* The sample of item i: the task's mark, its id, the texts and tokens of all replies, and the flags: truncated,
 * boundary, unscored or hit limit in any reply; tie where the least nll of a request is shared (a task adds its own:
 * acc_norm); no answer where the task found none. */
bl_status bl_mark_item(const bl_task *t, bl_task_data *d, int64_t i, const bl_turn *turn, bl_sample *out, bl_err *e);
#endif
