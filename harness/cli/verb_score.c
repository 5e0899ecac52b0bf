/* verb_score.c - log-likelihoods of requests given as JSON lines. */
#include "session.h"
#include <math.h>
#include <string.h>

typedef struct opts {
    bl_cli_common common;
    bl_cli_model m;
    bl_cli_make make;
    const char *model, *prompt;
} opts;
static const bl_opt rows[] = {
    {"model", BL_OPT_TEXT, .at = offsetof(opts, model), .arg = "MODEL",
     .doc = "directory, .gguf, llama2.c .bin, org/name, synth:SHAPE"},
    {"prompt", BL_OPT_TEXT, .at = offsetof(opts, prompt), .arg = "TEXT", .doc = "a text to score instead of FILE"},
    BL_MAKE_ROWS(opts, make),
    BL_SPECIAL_ROW(opts, m),
    BL_MODEL_ROWS(opts, m),
    BL_COMMON_ROWS(opts, common),
    {0}};

static const char *const keys[] = {"context", "continuation", "text", NULL};

typedef struct scorer {
    bl_session s;
    bool no_bos;
} scorer;

/* One line as a request; kept: the whole sequence, whose last `scored` ids are scored. */
static bl_status ask(void *ctx, const bl_json *line, bl_arena *a, void *kept, bl_request *out, bl_err *e)
{
    scorer *k = ctx;
    bl_session *s = &k->s;
    bl_scored_ids *ids = kept;
    bl_status st = BL_OK;
    const char *text, *context;

    BL_TRY(bl_json_only(line, keys, e));
    if (bl_json_get(line, "text")) {
        if (bl_json_get(line, "context") || bl_json_get(line, "continuation"))
            return bl_fail(e, BL_E_FORMAT, "a request has 'text', or 'context' and 'continuation', not both");
        BL_TRY(bl_json_get_str(line, "text", &text, e));
        char *copy = bl_arena_str(a, text, strlen(text), e);
        if (!copy) {
            st = BL_E_NOMEM;
            goto out;
        }
        *out = (bl_request){.kind = BL_ASK_ROLLING,
                            .text = copy,
                            .n_text = strlen(copy),
                            .length = s->model->config.max_len,
                            .no_bos = k->no_bos};
        BL_TRY(bl_engine_text_ids(s->engine, out, a, ids, e));
    } else {
        bl_pair *pair = bl_alloc(a, 1, sizeof *pair, e);
        if (!pair) return BL_E_NOMEM;
        BL_TRY(bl_json_get_str(line, "context", &context, e));
        BL_TRY(bl_json_get_str(line, "continuation", &text, e));
        pair->context = bl_prompt_new(a);
        if (*context) bl_quote(&pair->context, context);
        if (!(pair->continuation = bl_arena_str(a, text, strlen(text), e))) {
            st = BL_E_NOMEM;
            goto out;
        }
        *out = (bl_request){.kind = BL_ASK_PAIRS, .pair = pair, .n_pairs = 1};
        BL_TRY(bl_engine_pair_ids(s->engine, pair, a, ids, e));
    }
out:
    return st;
}

static void tell(const void *kept, const bl_reply *r, bl_text *t)
{
    const bl_scored_ids *ids = kept;
    bl_json_out j = {.t = t, .compact = true};
    bl_json_object(&j, NULL);
    bl_json_array(&j, "ids");
    for (int64_t i = 0; i < ids->n; i++) bl_json_add_int(&j, NULL, ids->ids[i]);
    bl_json_end(&j);
    bl_json_add_int(&j, "scored", ids->scored);
    bl_json_add_maybe(&j, "loglikelihood", r->unscored ? (double)NAN : r->nll[0] == 0 ? 0 : -r->nll[0]);
    bl_json_add_bool(&j, "is_greedy", r->greedy[0]);
    bl_json_add_bool(&j, "boundary", r->boundary);
    bl_json_add_bool(&j, "truncated", r->truncated);
    bl_json_end(&j);
    bl_text_add(t, "\n");
}

static bl_status run(const bl_program *p, const void *options, const bl_args *args, int *exit_code, bl_err *e)
{
    static const bl_line_io io = {.batch = 64, .kept = sizeof(bl_scored_ids), .ask = ask, .tell = tell};
    bl_status st = BL_OK;
    const opts *o = options;
    scorer k = {.no_bos = o->m.no_bos};
    bl_lines lines = {0};
    (void)exit_code;

    if (!o->model) return bl_fail(e, BL_E_CONFIG, "score needs --model MODEL");
    if ((args->n_pos == 0) == !o->prompt)
        return bl_fail(e, BL_E_CONFIG, "score needs FILE or --prompt TEXT%s; see: bitladder score --help",
                       o->prompt ? ", not both" : "");
    if (!o->prompt) BL_TRY(bl_lines_open(args->pos[0], &lines, e));
    else BL_TRY(bl_lines_of("text", o->prompt, &lines, e));
    BL_TRY(bl_session_make(&k.s, p, o->model, &o->m, &o->make, o->common.threads, e));
    BL_TRY(bl_lines_answer(&lines, k.s.engine, &io, &k, e));
out:
    bl_lines_close(&lines);
    bl_session_close(&k.s);
    return st;
}

const bl_verb bl_verb_score = {
    .name = "score",
    .args = "[FILE|-]",
    .line = "log-likelihoods of requests given as JSON lines",
    .doc = "Reads lines {\"context\": ..., \"continuation\": ...} or {\"text\": ...} and prints one line each, in the "
           "same order: "
           "{\"ids\": [...], \"scored\": k, \"loglikelihood\": x, \"is_greedy\": b, \"boundary\": b, \"truncated\": "
           "b}. The last k of ids are "
           "scored; x in nats, null where a token joins all of the continuation to the context and nothing is left to "
           "score. boundary: some token joins the two; truncated: the beginning was cut off. Special-token text stays "
           "text unless --special is given.",
    .example = "bitladder score --model SmolLM2-135M-Instruct.Q4_1.gguf requests.jsonl",
    .opts = rows,
    .opts_size = sizeof(opts),
    .max_args = 1,
    .computes = true,
    .run = run,
};
