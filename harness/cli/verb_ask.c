/* verb_ask.c - the exact prompt of one item, its ids and the right answer: the debugging verb. */
#include "session.h"
#include <stdlib.h>
#include <string.h>

typedef struct opts {
    bl_cli_common common;
    bl_cli_model m;
    const char *model, *data;
} opts;
static const bl_opt rows[] = {
    {"model", BL_OPT_TEXT, .at = offsetof(opts, model), .arg = "MODEL", .doc = "shows token ids too"},
    {"data", BL_OPT_TEXT, .at = offsetof(opts, data), .arg = "DIR",
     .doc = "where data sets are, before BITLADDER_DATA"},
    {"tokenizer", BL_OPT_TEXT, .at = offsetof(opts, m.tokenizer), .arg = "FILE",
     .doc = "tokenizer of a model that carries none"},
    {"no-bos", BL_OPT_BOOL, .at = offsetof(opts, m.no_bos), .doc = "put no BOS in front"},
    BL_COMMON_ROWS(opts, common),
    {0}};

typedef struct view {
    bl_text t;
    bool json;
    bl_session *s;
    bl_arena *a;
} view; /* s: NULL without --model */

static void spans(const bl_prompt *p, bl_text *t)
{
    for (size_t i = 0; i < p->n; i++) bl_text_addn(t, p->span[i].text, p->span[i].n);
}

static void ids(view *v, const int32_t *id, int64_t n, int64_t scored)
{
    if (v->json) bl_text_add(&v->t, ", \"ids\": [");
    else if (scored) bl_text_addf(&v->t, "ids (%lld, the last %lld scored):", (long long)n, (long long)scored);
    else bl_text_addf(&v->t, "ids (%lld):", (long long)n);
    for (int64_t i = 0; i < n; i++) {
        if (v->json) bl_text_addf(&v->t, "%s%d", i ? "," : "", id[i]);
        else
            bl_text_addf(&v->t, "%s %d%s", scored && i == n - scored ? " |" : "", id[i],
                         id[i] == bl_tokenizer_bos(v->s->tokenizer) ? "<BOS>" : "");
    }
    bl_text_add(&v->t, v->json ? "]" : "\n");
    if (v->json) bl_text_addf(&v->t, ", \"scored\": %lld", (long long)scored);
}

static void text(view *v, const char *key, const char *s, size_t n)
{
    if (v->json) {
        bl_text_addf(&v->t, ", \"%s\": ", key);
        bl_json_put_str(&v->t, s, n);
    } else {
        bl_text_addf(&v->t, "%s: ", key);
        bl_json_put_str(&v->t, s, n);
        bl_text_add(&v->t, "\n");
    }
}

static bl_status show_pairs(view *v, const bl_request *r, bl_err *e)
{
    bl_status st = BL_OK;
    for (int i = 0; i < r->n_pairs; i++) {
        bl_text c = {0};
        bl_scored_ids si = {0};
        if (v->json) bl_text_add(&v->t, i ? ", {\"pair\": " : ", \"pairs\": [{\"pair\": ");
        if (v->json) bl_text_addf(&v->t, "%d", i);
        else bl_text_addf(&v->t, "-- choice %d\n", i);
        spans(&r->pair[i].context, &c);
        text(v, "context", c.s ? c.s : "", c.n);
        bl_text_free(&c);
        text(v, "continuation", r->pair[i].continuation, strlen(r->pair[i].continuation));
        if (v->s) {
            BL_TRY(bl_engine_pair_ids(v->s->engine, &r->pair[i], v->a, &si, e));
            ids(v, si.ids, si.n, si.scored);
        }
        if (v->json) bl_text_add(&v->t, "}");
    }
    if (v->json) bl_text_add(&v->t, "]");
out:
    return st;
}

static bl_status show_prompt(view *v, const bl_request *r, bl_err *e)
{
    bl_status st = BL_OK;
    bl_text c = {0};
    bl_ids list = {0};
    bool cut;
    spans(&r->prompt, &c);
    text(v, "prompt", c.s ? c.s : "", c.n);
    bl_text_free(&c);
    bl_text_add(&v->t, v->json ? ", \"stops\": [" : "stops:");
    for (int i = 0; i < r->n_stops; i++) {
        bl_text_add(&v->t, !v->json ? " " : i ? ", " : "");
        bl_json_put_str(&v->t, r->stop[i], strlen(r->stop[i]));
    }
    bl_text_add(&v->t, v->json ? "]" : "\n");
    if (v->json) bl_text_addf(&v->t, ", \"max_new\": %lld", (long long)r->max_new);
    else bl_text_addf(&v->t, "at most %lld new tokens\n", (long long)r->max_new);
    if (v->s) {
        BL_TRY(bl_engine_prompt_ids(v->s->engine, &r->prompt, r->max_new, v->a, &list, &cut, e));
        ids(v, list.id, (int64_t)list.n, 0);
    }
out:
    return st;
}

static bl_status show(view *v, const bl_request *r, bl_err *e)
{
    static const char *const kinds[] = {"done", "pairs", "rolling", "window", "generate"};
    bl_status st = BL_OK;
    bl_scored_ids si;
    if (v->json) bl_text_addf(&v->t, ", \"kind\": \"%s\"", kinds[r->kind]);
    else bl_text_addf(&v->t, "request: %s\n", kinds[r->kind]);
    switch (r->kind) {
    case BL_ASK_DONE: break;
    case BL_ASK_PAIRS: return show_pairs(v, r, e);
    case BL_ASK_GENERATE: return show_prompt(v, r, e);
    case BL_ASK_ROLLING: text(v, "text", r->text, r->n_text); /* fall through */
    case BL_ASK_WINDOW:
        if (!v->s) break;
        BL_TRY(bl_engine_text_ids(v->s->engine, r, v->a, &si, e));
        ids(v, si.ids, si.n, si.scored);
    }
out:
    return st;
}

/* Item of a stream: a window of tokens. */
static bl_status show_window(view *v, const char *name, const bl_task_data *d, int64_t item, bl_err *e)
{
    bl_status st = BL_OK;
    int64_t windows;
    bl_request r = {.kind = BL_ASK_WINDOW,
                    .text = d->stream,
                    .n_text = d->n_stream,
                    .length = d->length,
                    .rule = d->rule,
                    .index = item};
    if (!v->s) return bl_fail(e, BL_E_CONFIG, "%s is cut into windows of tokens; give --model MODEL", name);
    BL_TRY(bl_engine_windows(v->s->engine, d->stream, d->n_stream, d->length, d->rule, &windows, e));
    if (d->max_windows > 0) windows = BL_MIN(windows, d->max_windows);
    if (item >= windows) {
        st = bl_fail(e, BL_E_CONFIG, "item %lld of %s: expected a number in 0..%lld", (long long)item, name,
                     (long long)windows - 1);
        goto out;
    }
    if (v->json)
        bl_text_addf(&v->t, "{\"task\": \"%s\", \"item\": %lld, \"items\": %lld", name, (long long)item,
                     (long long)windows);
    else
        bl_text_addf(&v->t, "%s, window %lld of %lld, %lld tokens each\n", name, (long long)item, (long long)windows,
                     (long long)d->length);
    BL_TRY(show(v, &r, e));
out:
    return st;
}

static bl_status run(const bl_program *p, const void *options, const bl_args *args, int *exit_code, bl_err *e)
{
    bl_status st = BL_OK;
    const opts *o = options;
    bl_session s = {0};
    bl_arena *a = NULL;
    const bl_task *task;
    const char *name;
    char *end;
    long long item = strtoll(args->pos[1], &end, 10);
    bool number = args->pos[1][0] >= '0' && args->pos[1][0] <= '9' && !*end;
    view v = {.json = o->common.json};
    (void)exit_code;

    BL_TRY(bl_program_task(p, args->pos[0], &task, &name, e));
    BL_TRY(bl_arena_new(&a, e));
    v.a = a;
    bl_data_dirs dirs = {0};
    if (o->data) dirs.dir[dirs.n++] = o->data;
    void *topts = bl_alloc(a, 1, task->opts_size ? task->opts_size : 1, e);
    if (!topts) {
        st = BL_E_NOMEM;
        goto out;
    }
    if (task->opts) bl_opt_defaults(task->opts, topts);
    bl_task_data data = {.arena = a};
    BL_TRY(task->load(&(bl_task_load){.name = name, .opts = topts, .dirs = &dirs}, &data, e));
    if (!number || (data.n >= 0 && item >= data.n)) {
        st = data.n >= 0 ? bl_fail(e, BL_E_CONFIG, "item '%s' of %s: expected a number in 0..%lld", args->pos[1], name,
                                   (long long)data.n - 1)
                         : bl_fail(e, BL_E_CONFIG, "item '%s' of %s: expected the number of a window, 0 or more",
                                   args->pos[1], name);
        goto out;
    }
    if (o->model) {
        BL_TRY(bl_session_open(&s, o->model, &o->m, o->common.threads, e));
        v.s = &s;
    }
    if (data.n < 0) BL_TRY(show_window(&v, name, &data, item, e));
    else {
        bl_request r = {0};
        bl_turn turn = {.arena = a};
        BL_TRY(task->ask(&data, item, &turn, &r, e));
        if (v.json)
            bl_text_addf(&v.t, "{\"task\": \"%s\", \"item\": %lld, \"items\": %lld", name, item, (long long)data.n);
        else bl_text_addf(&v.t, "%s, item %lld of %lld\n", name, item, (long long)data.n);
        BL_TRY(show(&v, &r, e));
        const char *gold = task->gold ? task->gold(&data, item) : NULL;
        if (gold) text(&v, "gold", gold, strlen(gold));
    }
    if (v.json) bl_text_add(&v.t, "}\n");
    BL_TRY(bl_output(NULL, &v.t, e));
out:
    bl_text_free(&v.t);
    bl_session_close(&s);
    bl_arena_free(a);
    return st;
}

const bl_verb bl_verb_ask = {
    .name = "ask",
    .args = "TASK ITEM",
    .line = "the exact prompt of one item, token ids, the right answer",
    .doc = "Shows what the model is asked in item ITEM (from 0) of TASK, exactly as it is sent, and the right answer; "
           "with --model also the token ids and which of them are scored.",
    .example = "bitladder ask arc_challenge 17 --model SmolLM2-135M-Instruct.Q4_1.gguf",
    .opts = rows,
    .opts_size = sizeof(opts),
    .min_args = 2,
    .max_args = 2,
    .computes = true,
    .run = run,
};
