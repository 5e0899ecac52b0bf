/* verb_duel.c - a model judges pairs of recorded answers: each pair in both orders, one line a question, as FastChat's
 * llm_judge writes them, for `verdicts`. */
#include "duel.h"
#include "rows.h"
#include "session.h"
#include "harness/data/reader.h"
#include "harness/items.h"
#include "kernels/base/json.h"
#include <fnmatch.h>
#include <stdio.h>
#include <string.h>

enum { BY_TEXT, BY_LETTERS };
static const char *const ways[] = {"text", "letters", NULL};
typedef struct opts {
    bl_cli_common common;
    bl_cli_model m;
    const char *model, *task, *against, *prompts, *reference, *data;
    int64_t max_new;
    int read;
} opts;
static const bl_opt rows[] = {
    {"model", BL_OPT_TEXT, .at = offsetof(opts, model), .arg = "MODEL", .doc = "the judge"},
    {"task", BL_OPT_TEXT, .at = offsetof(opts, task), .arg = "TASK", .doc = "only answers of this task; globs allowed"},
    {"against", BL_OPT_TEXT, .at = offsetof(opts, against), .arg = "METHOD",
     .doc = "only pairs with this method, as it is typed in run; all pairs otherwise"},
    {"prompts", BL_OPT_TEXT, .at = offsetof(opts, prompts), .arg = "FILE",
     .doc = "what the judge is asked: judge_prompts.jsonl of FastChat; found in the data otherwise"},
    {"reference", BL_OPT_TEXT, .at = offsetof(opts, reference), .arg = "FILE",
     .doc = "answers that the judge is shown for questions of math, reasoning and coding, as FastChat has them"},
    {"read", BL_OPT_CHOICE, .choices = ways, .at = offsetof(opts, read),
     .doc = "what counts: the verdict at the end of what the judge writes, or which of A, B and C (a tie) is likeliest "
            "after \"[[\""},
    {"max-new", BL_OPT_INT, .min = 1, .max = 4096, .def.i = 512, .at = offsetof(opts, max_new), .arg = "N",
     .doc = "most new tokens that the judge writes"},
    {"data", BL_OPT_TEXT, .at = offsetof(opts, data), .arg = "DIR",
     .doc = "where data sets are, before BITLADDER_DATA: questions are read from them"},
    BL_MODEL_ROWS(opts, m),
    BL_COMMON_ROWS(opts, common),
    {0}};

/* An answer of FastChat's by the number of its question. */
typedef struct reference {
    int64_t question;
    const char *text;
} reference;

typedef struct court {
    const opts *o;
    const bl_program *program;
    bl_session s;
    bl_data_dirs dirs;
    bl_judge_prompts prompts;
    reference *reference;
    size_t n_references, cap_references;
    bool chat;
    int64_t judged, cut; /* questions; prompts that were longer than the judge reads */
    bl_text long_ones;   /* which these were of */
    bl_arena *arena;
} court;

/* ---- reference answers ---- */
/* {"question_id", "choices": [{"turns": [answer, …]}]} */
static bl_status add_reference(void *ctx, const bl_json *row, bl_err *e)
{
    court *c = ctx;
    bl_status st = BL_OK;
    const bl_json *choices, *turns;
    const char *s;
    int64_t id;

    BL_TRY(bl_json_get_int(row, "question_id", &id, e));
    BL_TRY(bl_json_need(row, "choices", &choices, e));
    if (bl_json_kind(choices) != BL_JSON_ARRAY || bl_json_kind(bl_json_first(choices)) != BL_JSON_OBJECT) {
        st = bl_fail(e, BL_E_FORMAT, "'choices' is no list of answers");
        goto out;
    }
    BL_TRY(bl_json_need(bl_json_first(choices), "turns", &turns, e));
    if (bl_json_kind(turns) != BL_JSON_ARRAY || !bl_json_first(turns)) {
        st = bl_fail(e, BL_E_FORMAT, "'turns' is no list of answers");
        goto out;
    }
    BL_TRY(bl_json_str(bl_json_first(turns), &s, e));
    BL_TRY(bl_grow(&c->reference, &c->cap_references, c->n_references + 1, sizeof *c->reference, e));
    c->reference[c->n_references] = (reference){id, bl_arena_str(c->arena, s, strlen(s), e)};
    if (!c->reference[c->n_references++].text) st = BL_E_NOMEM;
out:
    return st;
}

/* FastChat shows the judge a reference in these categories (llm_judge/common.py). */
static const char *reference_of(const court *c, const bl_sample *s, int64_t question)
{
    static const char *const categories[] = {"math", "reasoning", "coding"};
    bool wanted = false;
    for (size_t k = 0; k < BL_COUNT(categories); k++) wanted = wanted || (s->group && !strcmp(s->group, categories[k]));
    for (size_t k = 0; wanted && c->prompts.with_reference.name && k < c->n_references; k++)
        if (c->reference[k].question == question) return c->reference[k].text;
    return NULL;
}

/* ---- one question ---- */
typedef struct round {
    int64_t question;
    const bl_judge_prompt *prompt;
    bl_request request[2]; /* the second: the answers change places */
} round;

static bl_status ask(const court *c, const bl_judge_prompt *p, const bl_duel *d, bl_arena *a, bl_request *out,
                     bl_err *e)
{
    static const char *const letters[] = {"A", "B", "C"};
    bl_prompt prompt = bl_judge_ask(p, d, a);
    bl_pair *pair;

    prompt.chat = c->chat;
    if (!c->chat) bl_say(&prompt, "\n\n");
    bl_reply_begins(&prompt);
    if (c->o->read == BY_TEXT) {
        *out = (bl_request){.kind = BL_ASK_GENERATE, .prompt = prompt, .max_new = c->o->max_new};
        return BL_OK;
    }
    bl_say(&prompt, "[[");
    if (prompt.failed) return bl_fail(e, BL_E_NOMEM, "no memory for a prompt");
    if (!(pair = bl_alloc(a, BL_COUNT(letters), sizeof *pair, e))) return BL_E_NOMEM;
    for (size_t k = 0; k < BL_COUNT(letters); k++)
        pair[k] = (bl_pair){.context = prompt, .continuation = letters[k], .chars = 1, .bytes = 1};
    *out = (bl_request){.kind = BL_ASK_PAIRS, .pair = pair, .n_pairs = BL_COUNT(letters)};
    return BL_OK;
}

/* Who won, `first` is the model whose answer was A. A judge that did not see all of its prompt said nothing. */
static const char *winner(const court *c, const bl_reply *r, int first)
{
    static const char *const names[] = {"model_1", "model_2", "tie", "error"};
    bl_judged said = r->truncated               ? BL_JUDGED_NOTHING
                     : c->o->read == BY_LETTERS ? bl_judged_letters(r)
                                                : bl_judged_text(r->text ? r->text : "");
    if (said == BL_JUDGED_A || said == BL_JUDGED_B) return names[(said == BL_JUDGED_A) ? first : !first];
    return names[said];
}

static void name_of(const bl_cell *c, char out[512]) { snprintf(out, 512, "%.200s/%.300s", c->model, c->method); }

static void put_verdict(const court *c, const round *r, const bl_cell *const cell[2], const bl_reply *reply, bl_text *t)
{
    bl_json_out j = {.t = t, .compact = true};
    char name[2][512], way[256];

    snprintf(way, sizeof way, "%.200s%s", r->prompt->name, c->o->read == BY_LETTERS ? ", likeliest letter" : "");
    for (int k = 0; k < 2; k++) name_of(cell[k], name[k]);
    bl_json_object(&j, NULL);
    bl_json_add_int(&j, "question_id", r->question);
    bl_json_add_str(&j, "model_1", name[0]);
    bl_json_add_str(&j, "model_2", name[1]);
    bl_json_add_str(&j, "g1_winner", winner(c, &reply[0], 0));
    bl_json_add_str(&j, "g2_winner", winner(c, &reply[1], 1));
    bl_json_array(&j, "judge");
    bl_json_add_str(&j, NULL, bl_checkpoint_name(c->s.ckpt));
    bl_json_add_str(&j, NULL, way);
    bl_json_end(&j);
    if (c->o->read == BY_TEXT) {
        bl_json_add_str(&j, "g1_judgment", reply[0].text ? reply[0].text : "");
        bl_json_add_str(&j, "g2_judgment", reply[1].text ? reply[1].text : "");
    }
    bl_json_add_int(&j, "turn", 1);
    for (int k = 0; k < 2; k++)
        if (reply[k].truncated) bl_json_add_bool(&j, k ? "g2_too_long" : "g1_too_long", true);
    bl_json_end(&j);
    bl_text_add(t, "\n");
}

/* "82 of m/base and m/rtn:w3g64", "83 of … in one order" */
static void list_long(court *c, const round *r, const bl_cell *const cell[2], const bl_reply *reply)
{
    char name[2][512];
    if (!reply[0].truncated && !reply[1].truncated) return;
    for (int k = 0; k < 2; k++) name_of(cell[k], name[k]);
    bl_text_addf(&c->long_ones, "%s%lld of %s and %s%s", c->long_ones.n ? "; " : "", (long long)r->question, name[0],
                 name[1], reply[0].truncated && reply[1].truncated ? "" : " in one order");
}

/* ---- two cells ---- */
/* An answer to an instruction: its value is the number of its question. */
static bool answers(const bl_cell *c)
{
    return c->n_samples > 0 && c->sample[0].n_values == 1 && c->sample[0].n_replies > 0;
}

static bool meet(const bl_cell *a, const bl_cell *b)
{
    return !strcmp(a->task, b->task) && a->seed == b->seed &&
           (strcmp(a->model, b->model) != 0 || strcmp(a->method, b->method) != 0);
}

enum { ROUNDS = 16 }; /* questions at a time */

static bl_status judge_batch(court *c, const round *r, int n, const bl_cell *const cell[2], bl_arena *a, bl_err *e)
{
    bl_status st = BL_OK;
    bl_request req[2 * ROUNDS] = {0};
    bl_reply reply[2 * ROUNDS] = {0};
    bl_text t = {0};

    for (int k = 0; k < 2 * n; k++) req[k] = r[k / 2].request[k % 2];
    BL_TRY(bl_engine_replies(c->s.engine, req, 2 * n, a, reply, e));
    for (int k = 0; k < 2 * n; k++) c->cut += reply[k].truncated;
    for (int k = 0; k < n; k++) {
        put_verdict(c, &r[k], cell, &reply[2 * k], &t);
        list_long(c, &r[k], cell, &reply[2 * k]);
    }
    c->judged += n;
    BL_TRY(bl_output(NULL, &t, e));
    fflush(stdout);
out:
    bl_text_free(&t);
    return st;
}

/* All questions that both have answered. */
static bl_status judge_pair(court *c, const bl_cell *const cell[2], bl_err *e)
{
    bl_status st = BL_OK;
    bl_items *items = NULL;
    bl_arena *a = NULL;
    round r[ROUNDS];
    int n = 0;

    BL_TRY(bl_arena_new(&a, e));
    BL_TRY(bl_items_open(c->program, cell[0], &c->dirs, &items, e));
    bl_mark mark = bl_arena_mark(a);
    for (int64_t i = 0, k = 0; i < cell[0]->n_samples; i++) {
        const bl_sample *x = &cell[0]->sample[i], *y;
        bl_item item;
        while (k < cell[1]->n_samples && cell[1]->sample[k].id < x->id) k++;
        if (k == cell[1]->n_samples || (y = &cell[1]->sample[k])->id != x->id || !x->n_replies || !y->n_replies)
            continue;
        BL_TRY(bl_items_get(items, x->id, a, &item, e));
        round *to = &r[n];
        to->question = (int64_t)x->value[0];
        bl_duel d = {item.question, {x->reply[0], y->reply[0]}, reference_of(c, x, to->question)};
        to->prompt = d.reference ? &c->prompts.with_reference : &c->prompts.general;
        BL_TRY(ask(c, to->prompt, &d, a, &to->request[0], e));
        d.answer[0] = y->reply[0];
        d.answer[1] = x->reply[0];
        BL_TRY(ask(c, to->prompt, &d, a, &to->request[1], e));
        if (++n < ROUNDS) continue;
        BL_TRY(judge_batch(c, r, n, cell, a, e));
        bl_arena_release(a, mark);
        n = 0;
    }
    if (n) BL_TRY(judge_batch(c, r, n, cell, a, e));
out:
    if (st != BL_OK) bl_within(e, "%s and %s", cell[0]->key, cell[1]->key);
    bl_items_close(items);
    bl_arena_free(a);
    return st;
}

static bl_status prepare(court *c, bl_err *e)
{
    static const char *const files[] = {"instruct_eval/judge_prompts.jsonl", "judge_prompts.jsonl", NULL};
    bl_status st = BL_OK;
    const char *path = c->o->prompts;
    const bl_chat *chat;

    BL_TRY(bl_data_option(c->o->data, &c->dirs, e));
    if (!path)
        BL_TRY(bl_data_find(&c->dirs, files, "judge_prompts.jsonl of lm-sys/FastChat, llm_judge; or say --prompts FILE",
                            c->arena, &path, NULL, e));
    BL_TRY(bl_judge_prompts_read(path, c->arena, &c->prompts, e));
    if (c->o->reference) BL_TRY(bl_rows_each(c->o->reference, add_reference, c, e));
    BL_TRY(bl_session_open(&c->s, c->o->model, &c->o->m, c->o->common.threads, e));
    st = bl_tokenizer_chat(c->s.tokenizer, &chat, e);
    c->chat = st == BL_OK;
    if (st != BL_E_UNSUPPORTED) goto out;
    st = BL_OK;
    fprintf(stderr, "bitladder: the judge is asked without a chat template: %s\n", e->text);
    *e = (bl_err){0};
out:
    return st;
}

static bl_status run(const bl_program *p, const void *options, const bl_args *args, int *exit_code, bl_err *e)
{
    bl_status st = BL_OK;
    const opts *o = options;
    court c = {.o = o, .program = p};
    bl_cell *all;
    size_t n;

    if (!o->model) return bl_fail(e, BL_E_CONFIG, "duel needs --model MODEL, the judge");
    BL_TRY(bl_arena_new(&c.arena, e));
    BL_TRY(bl_cells_read(args->pos[0], c.arena, &all, &n, exit_code, e));
    size_t pairs = 0;
    for (int judging = 0; judging < 2; judging++) { /* nothing is loaded for nothing */
        if (judging && !pairs)
            st = bl_fail(e, BL_E_MISSING, "%s: no two rows%s%s with answers to the same instructions", args->pos[0],
                         o->against ? ", one of them " : "", o->against ? o->against : "");
        if (st == BL_OK && judging) st = prepare(&c, e);
        for (size_t i = 0; i < n && st == BL_OK; i++)
            for (size_t k = i + 1; k < n && st == BL_OK; k++) {
                const bl_cell *const cell[] = {&all[i], &all[k]};
                if (!answers(cell[0]) || !answers(cell[1]) || !meet(cell[0], cell[1])) continue;
                if (o->task && fnmatch(o->task, cell[0]->task, 0) != 0) continue;
                if (o->against && !bl_method_fits(p, o->against, cell[0]->method) &&
                    !bl_method_fits(p, o->against, cell[1]->method))
                    continue;
                pairs++;
                if (judging) st = judge_pair(&c, cell, e);
            }
    }
    if (st == BL_OK && !c.judged)
        st = bl_fail(e, BL_E_MISSING, "%s: no question that two rows have answered", args->pos[0]);
    if (st == BL_OK && c.cut == 2 * c.judged)
        st = bl_fail(
            e, BL_E_CONFIG,
            "the judge %s reads %lld tokens, and each of the %lld prompts is longer: it judged nothing; expected a "
            "model that reads more, or shorter answers",
            bl_checkpoint_name(c.s.ckpt), (long long)bl_config_reach(bl_checkpoint_config(c.s.ckpt)), (long long)c.cut);
    else if (st == BL_OK && c.cut)
        fprintf(
            stderr,
            "bitladder: %lld of %lld prompts are longer than the %lld tokens that the judge reads: their verdicts are "
            "errors, which count for nobody (question_id %s)\n",
            (long long)c.cut, (long long)(2 * c.judged), (long long)bl_config_reach(bl_checkpoint_config(c.s.ckpt)),
            c.long_ones.s ? c.long_ones.s : "");
out:
    bl_session_close(&c.s);
    bl_free(c.reference);
    bl_text_free(&c.long_ones);
    bl_arena_free(c.arena);
    return st;
}

const bl_verb bl_verb_duel = {
    .name = "duel",
    .args = "DIR",
    .line = "a model judges pairs of answers to instructions",
    .doc =
        "Shows a judge, any model, the answers that two rows of DIR gave to the same instruction (vicuna_bench, koala, "
        "...), in both orders, and writes who won as FastChat's llm_judge does: JSON lines with question_id, model_1, "
        "model_2, g1_winner, g2_winner, where g2 is the other order; bitladder verdicts makes strengths of them. The "
        "judge is asked through its chat template where it has one that is known. Of a "
        "conversation the first replies are judged. A verdict that cannot be read, or "
        "that was given on a prompt too long for the judge, is an error and counts for nobody; such prompts are "
        "listed at the end, and marked g1_too_long and g2_too_long. Exit 1 when all of them are too long.",
    .example = "bitladder duel runs/a --model judge.gguf --read letters > pairs.jsonl && bitladder verdicts "
               "pairs.jsonl",
    .opts = rows,
    .opts_size = sizeof(opts),
    .min_args = 1,
    .max_args = 1,
    .computes = true,
    .run = run,
};
