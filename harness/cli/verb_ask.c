/* verb_ask.c - the exact prompts of one item, step after step, their ids, replies and the right answer: the debugging
 * verb. */
#include "session.h"
#include <stdlib.h>
#include <string.h>

typedef struct opts {
    bl_cli_common common;
    bl_cli_model m;
    const char *model, *data;
} opts;
static const bl_opt rows[] = {{"model", BL_OPT_TEXT, .at = offsetof(opts, model), .arg = "MODEL",
                               .doc = "shows token ids and the model's replies too"},
                              {"data", BL_OPT_TEXT, .at = offsetof(opts, data), .arg = "DIR",
                               .doc = "where data sets are, before BITLADDER_DATA"},
                              {"tokenizer", BL_OPT_TEXT, .at = offsetof(opts, m.tokenizer), .arg = "FILE",
                               .doc = "tokenizer of a model that carries none"},
                              {"no-bos", BL_OPT_BOOL, .at = offsetof(opts, m.no_bos), .doc = "put no BOS in front"},
                              BL_COMMON_ROWS(opts, common),
                              {0}};

typedef struct view {
    bl_text t;
    bl_json_out j; /* into t */
    bool json;
    bl_session *s;
    bl_arena *a;
} view; /* s: NULL without --model */

/* As the model reads it, where there is one. */
static bl_status spans(const view *v, const bl_prompt *q, bl_text *t, bl_err *e)
{
    bl_prompt whole = *q;
    const bl_prompt *p = &whole;
    bl_status st = v->s ? bl_engine_chat(v->s->engine, q, &whole, e) : BL_OK;
    for (size_t i = 0; i < p->n; i++) {
        bl_text_add(t, bl_prompt_between(p, i));
        if (p->fill == i + 1) bl_text_add(t, " ... (as many tokens as \"");
        bl_text_addn(t, p->span[i].text, p->span[i].n);
        if (p->fill == i + 1) bl_text_add(t, "\")");
    }
    return st;
}

static void ids(view *v, const int32_t *id, int64_t n, int64_t scored)
{
    if (v->json) {
        bl_json_array(&v->j, "ids");
        for (int64_t i = 0; i < n; i++) bl_json_add_int(&v->j, NULL, id[i]);
        bl_json_end(&v->j);
        bl_json_add_int(&v->j, "scored", scored);
        return;
    }
    if (scored) bl_text_addf(&v->t, "ids (%lld, the last %lld scored):", (long long)n, (long long)scored);
    else bl_text_addf(&v->t, "ids (%lld):", (long long)n);
    for (int64_t i = 0; i < n; i++)
        bl_text_addf(&v->t, "%s %d%s", scored && i == n - scored ? " |" : "", id[i],
                     id[i] == bl_tokenizer_bos(v->s->tokenizer) ? "<BOS>" : "");
    bl_text_add(&v->t, "\n");
}

static void text(view *v, const char *key, const char *s, size_t n)
{
    if (v->json) {
        bl_json_add_strn(&v->j, key, s, n);
        return;
    }
    bl_text_addf(&v->t, "%s: ", key);
    bl_json_put_str(&v->t, s, n);
    bl_text_add(&v->t, "\n");
}

static bl_status show_pairs(view *v, const bl_request *r, bl_err *e)
{
    bl_status st = BL_OK;
    if (v->json) bl_json_array(&v->j, "pairs");
    for (int i = 0; i < r->n_pairs; i++) {
        bl_text c = {0};
        bl_scored_ids si = {0};
        if (v->json) {
            bl_json_object(&v->j, NULL);
            bl_json_add_int(&v->j, "pair", i);
        } else bl_text_addf(&v->t, "-- choice %d\n", i);
        BL_TRY(spans(v, &r->pair[i].context, &c, e));
        text(v, "context", c.s ? c.s : "", c.n);
        bl_text_free(&c);
        text(v, "continuation", r->pair[i].continuation, strlen(r->pair[i].continuation));
        if (v->s) {
            BL_TRY(bl_engine_pair_ids(v->s->engine, &r->pair[i], v->a, &si, e));
            ids(v, si.ids, si.n, si.scored);
        }
        if (v->json) bl_json_end(&v->j);
    }
    if (v->json) bl_json_end(&v->j);
out:
    return st;
}

/* One of the prompts of a request, and its tokens. */
static bl_status show_prompt(view *v, const bl_request *r, const bl_prompt *p, bl_err *e)
{
    bl_status st = BL_OK;
    bl_text c = {0};
    bl_ids list = {0};
    bool cut;
    BL_TRY(spans(v, p, &c, e));
    text(v, "prompt", c.s ? c.s : "", c.n);
    if (v->s) {
        BL_TRY(bl_engine_prompt_ids(v->s->engine, p, r->max_new, v->a, &list, &cut, e));
        ids(v, list.id, (int64_t)list.n, 0);
    }
out:
    bl_text_free(&c);
    return st;
}

static bl_status show_prompts(view *v, bl_request *r, bl_err *e)
{
    bl_status st = BL_OK;
    bl_prompt *p;
    int n = bl_request_prompts(r, &p);
    if (v->json && r->n_prompts) bl_json_array(&v->j, "prompts");
    for (int k = 0; k < n; k++) {
        if (v->json && r->n_prompts) bl_json_object(&v->j, NULL);
        BL_TRY(show_prompt(v, r, &p[k], e));
        if (v->json && r->n_prompts) bl_json_end(&v->j);
    }
    if (v->json && r->n_prompts) bl_json_end(&v->j);
    if (v->json) {
        bl_json_array(&v->j, "stops");
        for (int i = 0; i < r->n_stops; i++) bl_json_add_str(&v->j, NULL, r->stop[i]);
        bl_json_end(&v->j);
        bl_json_add_int(&v->j, "max_new", r->max_new);
    } else {
        bl_text_add(&v->t, "stops:");
        for (int i = 0; i < r->n_stops; i++) {
            bl_text_add(&v->t, " ");
            bl_json_put_str(&v->t, r->stop[i], strlen(r->stop[i]));
        }
        bl_text_addf(&v->t, "\nat most %lld new tokens\n", (long long)r->max_new);
    }
out:
    return st;
}

static bl_status show(view *v, bl_request *r, bl_err *e)
{
    static const char *const kinds[] = {"done", "pairs", "rolling", "window", "generate", "near"};
    bl_status st = BL_OK;
    bl_scored_ids si;
    if (v->json) bl_json_add_str(&v->j, "kind", kinds[r->kind]);
    else bl_text_addf(&v->t, "request: %s\n", kinds[r->kind]);
    switch (r->kind) {
    case BL_ASK_DONE: break;
    case BL_ASK_PAIRS: return show_pairs(v, r, e);
    case BL_ASK_GENERATE: return show_prompts(v, r, e);
    case BL_ASK_NEAR:
        text(v, "query", r->query, strlen(r->query));
        if (v->json) bl_json_add_int(&v->j, "texts", r->near->n);
        else bl_text_addf(&v->t, "%lld texts\n", (long long)r->near->n);
        break;
    case BL_ASK_ROLLING: text(v, "text", r->text, r->n_text); /* fall through */
    case BL_ASK_WINDOW:
        if (!v->s) break;
        BL_TRY(bl_engine_text_ids(v->s->engine, r, v->a, &si, e));
        ids(v, si.ids, si.n, si.scored);
    }
out:
    return st;
}

/* What the model says; replies of later steps depend on it. */
static void show_reply(view *v, const bl_request *q, const bl_reply *r)
{
    if (q->kind == BL_ASK_GENERATE) {
        if (v->json && q->n_prompts) {
            bl_json_array(&v->j, "replies");
            for (int i = 0; i < r->n; i++) bl_json_add_str(&v->j, NULL, r->texts[i]);
            bl_json_end(&v->j);
            return;
        }
        for (int i = 0; i < r->n; i++) {
            const char *s = r->texts ? r->texts[i] : r->text;
            text(v, "reply", s ? s : "", s ? strlen(s) : 0);
        }
        return;
    }
    if (q->kind == BL_ASK_NEAR) {
        int64_t best = 0;
        for (int64_t i = 1; i < r->n_near; i++)
            if (r->cosine[i] > r->cosine[best]) best = i;
        text(v, "nearest", q->near->n ? q->near->text[best] : "", q->near->n ? strlen(q->near->text[best]) : 0);
        return;
    }
    if (v->json) {
        bl_json_array(&v->j, "nll");
        for (int i = 0; i < r->n; i++) bl_json_add_real(&v->j, NULL, r->nll[i]);
        bl_json_end(&v->j);
        return;
    }
    bl_text_add(&v->t, "nll:");
    for (int i = 0; i < r->n; i++) {
        bl_text_add(&v->t, " ");
        bl_json_put_real(&v->t, r->nll[i]);
    }
    bl_text_add(&v->t, "\n");
}

/* Stands for a reply where no model is given: no text, every choice alike. */
static bl_status empty_reply(const bl_request *q, bl_arena *a, bl_reply *out, bl_err *e)
{
    size_t n = (size_t)(q->kind == BL_ASK_PAIRS ? q->n_pairs : BL_MAX(q->n_prompts, 1));
    const char **texts = bl_alloc(a, n, sizeof *texts, e);
    if (!texts) return BL_E_NOMEM;
    for (size_t i = 0; i < n; i++) texts[i] = "";
    *out = (bl_reply){.kind = q->kind, .n = (int)n, .texts = texts, .text = q->kind == BL_ASK_GENERATE ? "" : NULL};
    if (q->kind == BL_ASK_NEAR) return bl_near_reply(q, a, out, e);
    out->nll = bl_alloc(a, n, sizeof *out->nll, e);
    out->nll_sq = bl_alloc(a, n, sizeof *out->nll_sq, e);
    out->tokens = bl_alloc(a, n, sizeof *out->tokens, e);
    out->greedy = bl_alloc(a, n, sizeof *out->greedy, e);
    out->chars = bl_alloc(a, n, sizeof *out->chars, e);
    out->bytes = bl_alloc(a, n, sizeof *out->bytes, e);
    return out->nll && out->nll_sq && out->tokens && out->greedy && out->chars && out->bytes ? BL_OK : BL_E_NOMEM;
}

/* Every step of an item. Without a model, what follows a reply is asked after an empty one, and says so. */
static bl_status show_steps(view *v, const bl_task *task, bl_task_data *d, int64_t item, bl_err *e)
{
    enum { MOST_SHOWN = 64 };
    bl_status st = BL_OK;
    bl_reply reply[MOST_SHOWN];
    bl_turn turn = {.arena = v->a, .reply = reply};

    for (;;) {
        bl_request r = {0};
        BL_TRY(bl_task_ask(task, d, item, &turn, &r, e));
        if (r.kind == BL_ASK_DONE) break;
        if (turn.step == MOST_SHOWN) {
            if (v->json) {
                bl_json_object(&v->j, NULL);
                bl_json_add_bool(&v->j, "more", true);
                bl_json_end(&v->j);
            } else bl_text_addf(&v->t, "== more than %d steps\n", MOST_SHOWN);
            break;
        }
        if (v->json) {
            bl_json_object(&v->j, NULL);
            bl_json_add_int(&v->j, "step", turn.step);
        } else if (turn.step)
            bl_text_addf(&v->t, "== step %d%s\n", turn.step,
                         v->s ? "" : ", after empty replies; give --model MODEL for the model's own");
        if (v->json && turn.step && !v->s) bl_json_add_bool(&v->j, "after_empty_replies", true);
        BL_TRY(show(v, &r, e));
        if (v->s) {
            BL_TRY(bl_engine_replies(v->s->engine, &r, 1, v->a, &reply[turn.step], e));
            show_reply(v, &r, &reply[turn.step]);
        } else BL_TRY(empty_reply(&r, v->a, &reply[turn.step], e));
        if (v->json) bl_json_end(&v->j);
        turn.n_replies = ++turn.step;
    }
out:
    return st;
}

/* The items there are, and whether `item` is one of them. */
static bl_status count_items(view *v, const bl_task *task, const char *name, bl_task_data *d, const char *text,
                             int64_t *item, int64_t *n, bl_err *e)
{
    bl_status st = BL_OK;
    char *end;

    *item = strtoll(text, &end, 10);
    bool number = text[0] >= '0' && text[0] <= '9' && !*end;
    if (d->n < 0 && !number)
        return bl_fail(e, BL_E_CONFIG, "item '%s' of %s: expected the number of a window, 0 or more", text, name);
    if (d->n < 0 && !v->s) return bl_fail(e, BL_E_CONFIG, "%s is cut into windows of tokens; give --model MODEL", name);
    *n = d->n;
    if (d->n < 0) BL_TRY(bl_engine_items(v->s->engine, task, d, n, e));
    if (*n == 0) st = bl_fail(e, BL_E_FORMAT, "%s has no item", name);
    else if (!number || *item >= *n)
        st = bl_fail(e, BL_E_CONFIG, "item '%s' of %s: expected a number in 0..%lld", text, name, (long long)*n - 1);
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
    int64_t item, n;
    view v = {.json = o->common.json};
    (void)exit_code;

    BL_TRY(bl_program_task(p, args->pos[0], &task, &name, e));
    BL_TRY(bl_arena_new(&a, e));
    v.a = a;
    bl_data_dirs dirs;
    BL_TRY(bl_data_option(o->data, &dirs, e));
    void *topts = bl_alloc(a, 1, task->opts_size ? task->opts_size : 1, e);
    if (!topts) {
        st = BL_E_NOMEM;
        goto out;
    }
    if (task->opts) bl_opt_defaults(task->opts, topts);
    bl_task_data data = {.arena = a};
    BL_TRY(bl_task_read(task, &(bl_task_load){.name = name, .opts = topts, .dirs = &dirs}, &data, e));
    if (data.n >= 0 || !o->model) BL_TRY(count_items(&v, task, name, &data, args->pos[1], &item, &n, e));
    if (o->model) {
        BL_TRY(bl_session_open(&s, o->model, &o->m, o->common.threads, e));
        v.s = &s;
        BL_TRY(count_items(&v, task, name, &data, args->pos[1], &item, &n, e));
    }
    if (v.json) {
        v.j.t = &v.t;
        bl_json_object(&v.j, NULL);
        bl_json_add_str(&v.j, "task", name);
        bl_json_add_int(&v.j, "item", item);
        bl_json_add_int(&v.j, "items", n);
        bl_json_array(&v.j, "steps");
    } else bl_text_addf(&v.t, "%s, item %lld of %lld\n", name, (long long)item, (long long)n);
    BL_TRY(show_steps(&v, task, &data, item, e));
    if (v.json) bl_json_end(&v.j);
    const char *gold = task->gold ? task->gold(&data, item) : NULL;
    if (gold) text(&v, "gold", gold, strlen(gold));
    if (v.json) {
        bl_json_end(&v.j);
        bl_text_add(&v.t, "\n");
    }
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
    .line = "the exact prompts of one item, token ids, replies, the right answer",
    .doc =
        "Shows what the model is asked in item ITEM (from 0) of TASK, exactly as it is sent, step after step, and the "
        "right answer; with --model also the token ids, which of them are scored, and what the model replies.",
    .example = "bitladder ask arc_challenge 17 --model SmolLM2-135M-Instruct.Q4_1.gguf",
    .opts = rows,
    .opts_size = sizeof(opts),
    .min_args = 2,
    .max_args = 2,
    .computes = true,
    .run = run,
};
