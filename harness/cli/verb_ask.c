/* verb_ask.c - the exact prompt of one item, its ids and the right answer: the debugging verb. */
#include "cli/session.h"
#include <stdlib.h>
#include <string.h>

typedef struct opts { bl_cli_common common; bl_cli_model m; const char *model, *data; } opts;
static const bl_opt rows[] = {
    { "model", BL_OPT_TEXT, .at = offsetof(opts, model), .arg = "MODEL", .doc = "shows token ids too" },
    { "data",  BL_OPT_TEXT, .at = offsetof(opts, data),  .arg = "DIR", .doc = "where data sets are, before BITLADDER_DATA" },
    { "tokenizer", BL_OPT_TEXT, .at = offsetof(opts, m.tokenizer), .arg = "FILE", .doc = "tokenizer of a model that carries none" },
    { "no-bos", BL_OPT_BOOL, .at = offsetof(opts, m.no_bos), .doc = "put no BOS in front" },
    BL_COMMON_ROWS(opts, common),
    { 0 }
};

typedef struct view { bl_text t; bool json; const bl_tokenizer *tokenizer; bl_session *s; bl_arena *a; } view;

static void spans(const bl_prompt *p, bl_text *t)
{
    for (size_t i = 0; i < p->n; i++) bl_text_addn(t, p->span[i].text, p->span[i].n);
}

static void ids(view *v, const char *key, const int32_t *id, int64_t n, int64_t scored)
{
    if (v->json) bl_text_addf(&v->t, ", \"%s\": [", key);
    else bl_text_addf(&v->t, "%s (%lld, the last %lld scored):", key, (long long)n, (long long)scored);
    for (int64_t i = 0; i < n; i++) {
        if (v->json) bl_text_addf(&v->t, "%s%d", i ? "," : "", id[i]);
        else bl_text_addf(&v->t, "%s %d%s", !v->json && scored && i == n - scored ? " |" : "", id[i], id[i] == bl_tokenizer_bos(v->tokenizer) ? "<BOS>" : "");
    }
    bl_text_add(&v->t, v->json ? "]" : "\n");
    if (v->json && scored >= 0) bl_text_addf(&v->t, ", \"scored\": %lld", (long long)scored);
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
        bl_text c = { 0 };
        bl_scored_ids si = { 0 };
        if (v->json) bl_text_add(&v->t, i ? ", {\"pair\": " : ", \"pairs\": [{\"pair\": ");
        if (v->json) bl_text_addf(&v->t, "%d", i);
        else bl_text_addf(&v->t, "-- choice %d\n", i);
        spans(&r->pair[i].context, &c);
        text(v, "context", c.s ? c.s : "", c.n);
        bl_text_free(&c);
        text(v, "continuation", r->pair[i].continuation, strlen(r->pair[i].continuation));
        if (v->s) {
            BL_TRY(bl_engine_pair_ids(v->s->engine, &r->pair[i], v->a, &si, e));
            ids(v, "ids", si.ids, si.n, si.scored);
        }
        if (v->json) bl_text_add(&v->t, "}");
    }
    if (v->json) bl_text_add(&v->t, "]");
out:
    return st;
}

static bl_status show(view *v, const bl_request *r, bl_err *e)
{
    static const char *const kinds[] = { "done", "pairs", "rolling", "window", "generate" };
    bl_status st = BL_OK;
    bl_text c = { 0 };
    if (v->json) bl_text_addf(&v->t, ", \"kind\": \"%s\"", kinds[r->kind]);
    else bl_text_addf(&v->t, "request: %s\n", kinds[r->kind]);
    if (r->kind == BL_ASK_PAIRS) st = show_pairs(v, r, e);
    if (r->kind == BL_ASK_ROLLING || r->kind == BL_ASK_WINDOW) text(v, "text", r->text, r->n_text);
    if (r->kind == BL_ASK_GENERATE) {
        spans(&r->prompt, &c);
        text(v, "prompt", c.s ? c.s : "", c.n);
        for (int i = 0; i < r->n_stops; i++) text(v, "stop", r->stop[i], strlen(r->stop[i]));
        if (v->s) {
            bl_ids list = { 0 };
            bool cut;
            st = bl_engine_prompt_ids(v->s->engine, &r->prompt, r->max_new, v->a, &list, &cut, e);
            if (st == BL_OK) ids(v, "ids", list.id, (int64_t)list.n, 0);
        }
    }
    bl_text_free(&c);
    return st;
}

static bl_status run(const bl_program *p, const void *options, const bl_args *args, int *exit_code, bl_err *e)
{
    bl_status st = BL_OK;
    const opts *o = options;
    bl_session s = { 0 };
    bl_arena *a = NULL;
    const bl_task *task;
    const char *name;
    char *end;
    long long item = strtoll(args->pos[1], &end, 10);
    view v = { .json = o->common.json };
    (void)exit_code;

    BL_TRY(bl_program_task(p, args->pos[0], &task, &name, e));
    BL_TRY(bl_arena_new(&a, e));
    v.a = a;
    bl_data_dirs dirs = { 0 };
    if (o->data) dirs.dir[dirs.n++] = o->data;
    void *topts = bl_alloc(a, 1, task->opts_size ? task->opts_size : 1, e);
    if (!topts) { st = BL_E_NOMEM; goto out; }
    if (task->opts) bl_opt_defaults(task->opts, topts);
    bl_task_data data = { .arena = a };
    BL_TRY(task->load(&(bl_task_load){ .name = name, .opts = topts, .dirs = &dirs }, &data, e));
    if (*end || item < 0 || (data.n >= 0 && item >= data.n)) {
        st = bl_fail(e, BL_E_CONFIG, "item '%s' of %s: expected a number in 0..%lld", args->pos[1], name, (long long)data.n - 1);
        goto out;
    }
    if (o->model) {
        BL_TRY(bl_session_open(&s, o->model, &o->m, o->common.threads, e));
        v.s = &s;
        v.tokenizer = s.tokenizer;
    }
    bl_request r = { 0 };
    if (data.n < 0) {
        int64_t windows;
        if (!v.s) { st = bl_fail(e, BL_E_CONFIG, "%s is cut into windows of tokens; give --model MODEL", name); goto out; }
        BL_TRY(bl_engine_windows(s.engine, data.stream, data.n_stream, data.length, data.rule, &windows, e));
        if (item >= windows) { st = bl_fail(e, BL_E_CONFIG, "item %lld of %s: it has %lld windows", item, name, (long long)windows); goto out; }
        bl_ids list = { 0 };
        st = bl_encode(s.tokenizer, data.stream, data.n_stream, o->m.no_bos ? 0 : BL_ENCODE_BOS, &list, e);
        if (st == BL_OK) {
            if (v.json) bl_text_addf(&v.t, "{\"task\": \"%s\", \"item\": %lld, \"windows\": %lld", name, item, (long long)windows);
            else bl_text_addf(&v.t, "%s, window %lld of %lld, %lld tokens each\n", name, item, (long long)windows, (long long)data.length);
            ids(&v, "ids", list.id + item * data.length, data.length, data.length - 1);
        }
        bl_ids_free(&list);
    } else {
        bl_turn turn = { .arena = a };
        BL_TRY(task->ask(&data, item, &turn, &r, e));
        if (v.json) bl_text_addf(&v.t, "{\"task\": \"%s\", \"item\": %lld", name, item);
        else bl_text_addf(&v.t, "%s, item %lld of %lld\n", name, item, (long long)data.n);
        BL_TRY(show(&v, &r, e));
        const char *gold = task->gold ? task->gold(&data, item) : NULL;
        if (gold) text(&v, "gold", gold, strlen(gold));
    }
    if (v.json) bl_text_add(&v.t, "}\n");
    if (st == BL_OK) st = bl_output(NULL, &v.t, e);
out:
    bl_text_free(&v.t);
    bl_session_close(&s);
    bl_arena_free(a);
    return st;
}

const bl_verb bl_verb_ask = {
    .name = "ask", .args = "TASK ITEM", .line = "the exact prompt of one item, token ids, the right answer",
    .example = "bitladder ask arc_challenge 17 --model SmolLM2-135M-Instruct.Q4_1.gguf", .opts = rows, .opts_size = sizeof(opts), .min_args = 2, .max_args = 2, .run = run,
};
