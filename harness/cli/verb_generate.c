/* verb_generate.c - continues prompts: one text, or JSON lines {"prompt": ...}. */
#include "own_text.h"
#include "session.h"
#include <string.h>

typedef struct opts {
    bl_cli_common common;
    bl_cli_model m;
    bl_cli_make make;
    const char *model, *prompt, *stop;
    int64_t max_new, seed, own;
    double temperature, top_p;
} opts;
static const bl_opt rows[] = {
    {"model", BL_OPT_TEXT, .at = offsetof(opts, model), .arg = "MODEL",
     .doc = "directory, .gguf, llama2.c .bin, org/name"},
    {"prompt", BL_OPT_TEXT, .at = offsetof(opts, prompt), .arg = "TEXT", .doc = "instead of FILE"},
    {"own", BL_OPT_INT, .min = 0, .max = 1 << 30, .at = offsetof(opts, own), .arg = "N",
     .doc =
         "instead of FILE: N texts of the model's own, of up to max-new tokens, as JSON lines {\"ids\": ...} that "
         "finetune takes: a token of the vocabulary, two to four that are likeliest, the rest drawn at --temperature, "
         "1 where it is 0"},
    BL_MAKE_ROWS(opts, make),
    {"max-new", BL_OPT_INT, .min = 1, .max = 1 << 20, .def.i = 128, .at = offsetof(opts, max_new), .arg = "N",
     .doc = "most new tokens"},
    {"temperature", BL_OPT_REAL, .min = 0, .max = 100, .at = offsetof(opts, temperature), .arg = "T",
     .doc = "0: greedy"},
    {"top-p", BL_OPT_REAL, .min = 0, .max = 1, .def.r = 1, .at = offsetof(opts, top_p), .arg = "P",
     .doc = "sample from the most likely tokens that hold this much"},
    {"seed", BL_OPT_INT, .min = 0, .max = 9007199254740992.0, .at = offsetof(opts, seed), .arg = "N",
     .doc = "of sampling"},
    {"stop", BL_OPT_TEXT, .at = offsetof(opts, stop), .arg = "TEXT", .doc = "ends the reply and is cut from it"},
    BL_SPECIAL_ROW(opts, m),
    BL_MODEL_ROWS(opts, m),
    BL_COMMON_ROWS(opts, common),
    {0}};

static void request_of(const opts *o, const char *prompt, bl_arena *a, bl_request *out)
{
    *out = (bl_request){.kind = BL_ASK_GENERATE,
                        .prompt = bl_prompt_new(a),
                        .stop = &o->stop,
                        .n_stops = o->stop != NULL,
                        .max_new = o->max_new,
                        .temperature = o->temperature,
                        .top_p = o->top_p,
                        .seed = (uint64_t)o->seed};
    bl_quote(&out->prompt, prompt);
}

static void tell(const void *kept, const bl_reply *r, bl_text *t)
{
    bl_json_out j = {.t = t};
    (void)kept;
    bl_json_object(&j, NULL);
    bl_json_add_str(&j, "text", r->text);
    bl_json_add_int(&j, "new_tokens", r->new_tokens);
    bl_json_add_bool(&j, "hit_limit", r->hit_limit);
    bl_json_end(&j);
    bl_text_add(t, "\n");
}

static bl_status ask(void *ctx, const bl_json *line, bl_arena *a, void *kept, bl_request *out, bl_err *e)
{
    static const char *const keys[] = {"prompt", NULL};
    bl_status st = BL_OK;
    const char *text;
    (void)kept;
    BL_TRY(bl_json_only(line, keys, e));
    BL_TRY(bl_json_get_str(line, "prompt", &text, e));
    request_of(ctx, text, a, out);
out:
    return st;
}

static bl_status one_text(bl_session *s, const opts *o, const char *prompt, bl_err *e)
{
    bl_status st = BL_OK;
    bl_arena *a = NULL;
    bl_request req;
    bl_reply reply = {0};
    bl_text t = {0};
    BL_TRY(bl_arena_new(&a, e));
    request_of(o, prompt, a, &req);
    BL_TRY(bl_engine_replies(s->engine, &req, 1, a, &reply, e));
    if (o->common.json) tell(NULL, &reply, &t);
    else bl_text_addf(&t, "%s\n", reply.text);
    BL_TRY(bl_output(NULL, &t, e));
out:
    bl_text_free(&t);
    bl_arena_free(a);
    return st;
}

static bl_status own(bl_session *s, const opts *o, bl_err *e)
{
    bl_text t = {0};
    bl_status st = bl_own_texts(s->model, s->tokenizer,
                                &(bl_own_text){.n = o->own,
                                               .length = o->max_new,
                                               .temperature = o->temperature > 0 ? o->temperature : 1,
                                               .top_p = o->top_p,
                                               .seed = (uint64_t)o->seed},
                                &t, e);
    if (st == BL_OK) st = bl_output(NULL, &t, e);
    bl_text_free(&t);
    return st;
}

/* A prompt that is no JSON: text, without the newline that a shell puts after it. */
static bl_status plain(bl_lines *l, bl_err *e)
{
    if (l->n && l->text[l->n - 1] == '\n') l->text[--l->n] = 0;
    if (l->n && l->text[l->n - 1] == '\r') l->text[--l->n] = 0;
    return bl_text_is_utf8(l->name, l->text, l->n, e);
}

static bl_status run(const bl_program *p, const void *options, const bl_args *args, int *exit_code, bl_err *e)
{
    static const bl_line_io io = {.batch = 256, .ask = ask, .tell = tell};
    bl_status st = BL_OK;
    const opts *o = options;
    bl_session s = {0};
    bl_lines lines = {0};
    (void)exit_code;

    if (!o->model) return bl_fail(e, BL_E_CONFIG, "generate needs --model MODEL");
    if ((args->n_pos != 0) + (o->prompt != NULL) + (o->own > 0) != 1)
        return bl_fail(e, BL_E_CONFIG, "generate needs FILE or --prompt TEXT%s; see: bitladder generate --help",
                       o->own      ? ", or --own alone"
                       : o->prompt ? ", not both"
                                   : "");
    if (o->own) {
        BL_TRY(bl_session_make(&s, p, o->model, &o->m, &o->make, o->common.threads, e));
        BL_TRY(own(&s, o, e));
        goto out;
    }
    if (!o->prompt) BL_TRY(bl_lines_open(args->pos[0], &lines, e));
    else BL_TRY(bl_text_is_utf8("--prompt", o->prompt, strlen(o->prompt), e));
    BL_TRY(bl_session_make(&s, p, o->model, &o->m, &o->make, o->common.threads, e));
    if (o->prompt) BL_TRY(one_text(&s, o, o->prompt, e));
    else if (lines.text[strspn(lines.text, " \t\r\n")] == '{')
        BL_TRY(bl_lines_answer(&lines, s.engine, &io, (void *)(uintptr_t)o, e));
    else {
        BL_TRY(plain(&lines, e));
        BL_TRY(one_text(&s, o, lines.text, e));
    }
out:
    bl_lines_close(&lines);
    bl_session_close(&s);
    return st;
}

const bl_verb bl_verb_generate = {
    .name = "generate",
    .args = "[FILE|-]",
    .line = "continues a prompt, greedily or sampled",
    .doc =
        "Continues the text of FILE or of --prompt, or each line {\"prompt\": ...} of it (then one JSON line each is "
        "printed). "
        "Special "
        "tokens that a prompt spells, such as <|im_start|>, are text unless --special is given; a reply ends at every "
        "end token that the model's files name. With --own the model writes what it is later trained on, as LLM-QAT "
        "does: "
        "bitladder generate --model M --own 1000 --max-new 256 > own.jsonl, then finetune M --method llm-qat:w4a8 "
        "--data "
        "own.jsonl.",
    .example = "echo 'Once upon a time' | bitladder generate --model stories.gguf --max-new 64 -",
    .opts = rows,
    .opts_size = sizeof(opts),
    .max_args = 1,
    .computes = true,
    .run = run,
};
