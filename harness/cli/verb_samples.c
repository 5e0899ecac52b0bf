/* verb_samples.c - the single items behind a number: what was asked, what was picked, what is right. */
#include "session.h"
#include "rows.h"
#include "harness/items.h"
#include "results/cell.h"
#include <fnmatch.h>
#include <string.h>

typedef struct opts {
    bl_cli_common common;
    const char *task, *method, *flipped, *data, *out;
    bool wrong;
    int format;
} opts;
enum { JSONL, JSON, TEXT, FASTCHAT, FEEDBACK };
static const char *const formats[] = {"jsonl", "json", "text", "fastchat", "feedback", NULL};
static const bl_opt rows[] = {
    {"task", BL_OPT_TEXT, .at = offsetof(opts, task), .arg = "TASK", .doc = "only this task; globs allowed"},
    {"method", BL_OPT_TEXT, .at = offsetof(opts, method), .arg = "METHOD",
     .doc = "only this method, as it is typed in run; globs allowed"},
    {"wrong", BL_OPT_BOOL, .at = offsetof(opts, wrong), .doc = "only items whose first score is 0"},
    {"flipped", BL_OPT_TEXT, .at = offsetof(opts, flipped), .arg = "BASE",
     .doc =
         "only items that are right in one of BASE (a method) and this cell, wrong in the other, with both picks and "
         "the direction: lost or gained"},
    {"data", BL_OPT_TEXT, .at = offsetof(opts, data), .arg = "DIR",
     .doc = "where data sets are, before BITLADDER_DATA: question and choices are read from them"},
    {"format", BL_OPT_CHOICE, .choices = formats, .at = offsetof(opts, format),
     .doc = "jsonl: a line each; json: one list, as --json; text: for people; fastchat: replies to one task "
            "as its llm_judge reads answers; feedback: questions with the answer if its score is 0.5 or more, else the "
            "right "
            "one, to train on (alpaca) and to join a store (faq, sciq, pubmedqa, boolq)"},
    {"output", BL_OPT_TEXT, .at = offsetof(opts, out), .arg = "FILE", .letter = 'o',
     .doc = "write there instead of standard output"},
    BL_COMMON_ROWS(opts, common),
    {0}};

/* Metrics of the cell's task: those that are means of a score name the scores. */
typedef struct scores {
    const bl_metric *metric;
    int n;
} scores;

/* One item on its way out. */
typedef struct shown {
    const bl_cell *cell;
    const scores *scores;
    const bl_sample *sample, *base; /* base: the same item of the other cell; NULL */
    const char *base_method;
    const bl_item *item; /* NULL: the data are not there */
} shown;

static int count_means(const scores *k)
{
    int n = 0;
    for (int i = 0; i < k->n; i++) n += k->metric[i].agg == BL_AGG_MEAN;
    return n;
}

static bool is_right(const bl_sample *s) { return s->score[0] > 0.5; }
static const char *direction(const shown *s) { return is_right(s->base) ? "lost" : "gained"; }

/* ---- json ---- */
static void print_texts(bl_json_out *j, const char *name, const char *const *text, int n)
{
    if (!n) return;
    bl_json_array(j, name);
    for (int i = 0; i < n; i++) bl_json_add_str(j, NULL, text[i]);
    bl_json_end(j);
}

static void print_scores(const scores *k, const bl_sample *s, bl_json_out *j)
{
    bl_json_object(j, "scores");
    for (int i = 0; i < k->n; i++) {
        const bl_metric *m = &k->metric[i];
        if (m->agg != BL_AGG_MEAN || m->macro || m->a + BL_MAX(m->steps, 1) > s->n_scores) continue;
        if (!m->steps) {
            bl_json_add_real(j, m->name, s->score[m->a]);
            continue;
        }
        bl_json_array(j, m->name);
        for (int step = 0; step < m->steps; step++) bl_json_add_real(j, NULL, s->score[m->a + step]);
        bl_json_end(j);
    }
    bl_json_end(j);
}

/* Choice i of the item in words; nothing for -1 and where the data are not there. */
static void print_choice(const shown *w, const char *name, int i, bl_json_out *j)
{
    if (w->item && i >= 0 && i < w->item->n_choices) bl_json_add_str(j, name, w->item->choice[i]);
}

static void print_base(const shown *w, bl_json_out *j)
{
    const bl_sample *b = w->base;
    bl_json_add_str(j, "direction", direction(w));
    bl_json_object(j, "against");
    bl_json_add_str(j, "method", w->base_method);
    bl_json_add_int(j, "pick", b->pick);
    print_choice(w, "pick_text", b->pick, j);
    print_scores(w->scores, b, j);
    print_texts(j, "answers", b->answer, b->n_answers);
    print_texts(j, "replies", b->reply, b->n_replies);
    bl_json_end(j);
}

static void print_sample(const shown *w, bl_json_out *j)
{
    const bl_sample *s = w->sample;
    bl_json_object(j, NULL);
    bl_json_add_str(j, "cell", w->cell->key);
    bl_json_add_int(j, "id", s->id);
    if (s->group) bl_json_add_str(j, "group", s->group);
    if (w->item && *w->item->question) bl_json_add_str(j, "question", w->item->question);
    if (w->item) print_texts(j, "choices", w->item->choice, w->item->n_choices);
    bl_json_add_int(j, "pick", s->pick);
    print_choice(w, "pick_text", s->pick, j);
    bl_json_add_int(j, "gold", s->gold);
    if (w->item && w->item->gold) bl_json_add_str(j, "gold_text", w->item->gold);
    else print_choice(w, "gold_text", s->gold, j);
    bl_json_add_int(j, "tokens", s->tokens);
    print_scores(w->scores, s, j);
    bl_json_array(j, "values");
    for (int i = 0; i < s->n_values; i++) bl_json_add_real(j, NULL, s->value[i]);
    bl_json_end(j);
    bl_json_array(j, "flags");
    for (int i = 0; bl_sample_flag_name(i); i++)
        if (s->flags >> i & 1) bl_json_add_str(j, NULL, bl_sample_flag_name(i));
    bl_json_end(j);
    print_texts(j, "answers", s->answer, s->n_answers);
    print_texts(j, "replies", s->reply, s->n_replies);
    if (w->base) print_base(w, j);
    bl_json_end(j);
}

/* ---- for people ---- */
/* Lines after the first stand below it. */
static void put_block(bl_text *t, const char *name, const char *text)
{
    bl_text_addf(t, "  %-9s ", name);
    for (; *text; text++) {
        bl_text_addn(t, text, 1);
        if (*text == '\n') bl_text_add(t, "            ");
    }
    bl_text_add(t, "\n");
}

static void put_answer(bl_text *t, const char *who, const bl_sample *s)
{
    for (int i = 0; i < s->n_answers; i++) put_block(t, who, s->answer[i] ? s->answer[i] : "no answer found");
    for (int i = 0; i < s->n_replies && !s->n_answers; i++) put_block(t, who, s->reply[i]);
}

static void put_sample(const shown *w, bl_text *t)
{
    const bl_sample *s = w->sample;
    const bl_item *item = w->item;

    bl_text_addf(t, "%s, item %lld: ", w->cell->key, (long long)s->id);
    if (w->base) bl_text_addf(t, "%s against %s\n", direction(w), w->base_method);
    else bl_text_add(t, s->n_scores ? is_right(s) ? "right\n" : "wrong\n" : "\n");
    if (item && *item->question) put_block(t, "question", item->question);
    for (int i = 0; i < s->n_choices; i++) {
        char name[24];
        snprintf(name, sizeof name, "%s%d", i == s->gold ? "right " : "", i);
        put_block(t, name, item && i < item->n_choices ? item->choice[i] : "");
    }
    if (s->pick >= 0) bl_text_addf(t, "  %-9s %d\n", "picked", s->pick);
    if (w->base && w->base->pick >= 0) bl_text_addf(t, "  %-9s %d by %s\n", "", w->base->pick, w->base_method);
    if (s->n_choices) goto out;
    if (item && item->gold) put_block(t, "right", item->gold);
    put_answer(t, "answer", s);
    if (w->base) put_answer(t, w->base_method, w->base);
out:
    bl_text_add(t, "\n");
}

/* ---- choosing ---- */
static const bl_cell *partner(const bl_cell *all, size_t n, const bl_cell *c, const char *method)
{
    for (size_t i = 0; i < n; i++) {
        const bl_cell *b = &all[i];
        if (strcmp(b->method, method) == 0 && strcmp(b->model, c->model) == 0 && strcmp(b->task, c->task) == 0 &&
            b->seed == c->seed && b->limit == c->limit && b->drawn == c->drawn && b != c)
            return b;
    }
    return NULL;
}

/* Why nothing was shown, by the first choice that left nothing. */
static bl_status nothing_fits(const bl_program *p, const opts *o, const char *dir, const bl_cell *all, size_t n,
                              bl_err *e)
{
    size_t of_task = 0, of_method = 0, of_base = 0;
    bl_text t = {0};
    bl_status st;

    for (size_t i = 0; i < n; i++) {
        const bl_cell *c = &all[i];
        bool task = !o->task || fnmatch(o->task, c->task, 0) == 0;
        bool method = !o->method || bl_method_fits(p, o->method, c->method);
        of_task += task;
        of_method += task && method;
        of_base += task && o->flipped && bl_method_fits(p, o->flipped, c->method);
    }
    const char *what = !of_task ? "task" : "method";
    if (n == 0) bl_text_addf(&t, "%s: no results", dir);
    else if (of_task && of_method && (!o->flipped || of_base))
        bl_text_addf(&t, "%s: no item of these cells is right or wrong", dir);
    else {
        const bool by_task = o->task && of_task; /* a method is looked for among the cells of the task */
        bl_text_addf(&t, "%s: no cell of %zu%s%s has the %s '%s'; there are:", dir, of_task ? of_task : n,
                     by_task ? " of " : "", by_task ? o->task : "", what,
                     !of_task     ? o->task
                     : !of_method ? o->method
                                  : o->flipped);
        for (size_t i = 0; i < n; i++) {
            const char *name = !of_task ? all[i].task : all[i].method;
            bool seen = by_task && fnmatch(o->task, all[i].task, 0) != 0;
            for (size_t k = 0; k < i && !seen; k++)
                seen = (!by_task || !fnmatch(o->task, all[k].task, 0)) &&
                       !strcmp(!of_task ? all[k].task : all[k].method, name);
            if (!seen) bl_text_addf(&t, " %s", name);
        }
    }
    st = bl_text_check(&t, e);
    if (st == BL_OK) st = bl_fail(e, BL_E_MISSING, "%s", t.s);
    bl_text_free(&t);
    return st;
}

/* An answer as FastChat writes and reads it (llm_judge, model_answer/MODEL.jsonl); the question's number is the
 * one value of an instruction's sample, else that of the item. */
static void print_answer(const bl_cell *c, const bl_sample *s, bl_json_out *j)
{
    char hash[33], id[64], model[512];
    bl_hash_hex(c->hash, hash);
    snprintf(id, sizeof id, "%.16s-%lld", hash, (long long)s->id);
    snprintf(model, sizeof model, "%.200s/%.300s", c->model, c->method);
    bl_json_object(j, NULL);
    bl_json_add_int(j, "question_id", s->n_values == 1 ? (int64_t)s->value[0] : s->id);
    bl_json_add_str(j, "answer_id", id);
    bl_json_add_str(j, "model_id", model);
    bl_json_array(j, "choices");
    bl_json_object(j, NULL);
    bl_json_add_int(j, "index", 0);
    print_texts(j, "turns", s->reply, s->n_replies);
    bl_json_end(j);
    bl_json_end(j);
    bl_json_end(j);
}

/* A user's mark, made up of the score: what is marked well stays, for the others the right answer is there. */
static bl_status put_rated(const shown *w, const char *why, bl_text *t, bl_err *e)
{
    static const double well = 0.5;
    const bl_sample *s = w->sample;
    if ((!s->n_answers && !s->n_choices) || !s->n_scores) return BL_OK;
    if (!w->item || !w->item->gold)
        return bl_fail(e, BL_E_MISSING, "%s: feedback needs questions and right answers%s%s", w->cell->key,
                       *why ? ": " : "", why);
    const char *asked = w->item->alone ? w->item->alone : w->item->question;
    if (!*asked)
        return bl_fail(e, BL_E_UNSUPPORTED, "%s: feedback needs a question, and here the choices have it",
                       w->cell->key);
    bool good = s->score[0] >= well && (!s->n_answers || s->answer[0]); /* a choice that is right is the right one */
    const char *answer = good && s->n_answers ? s->answer[0] : w->item->gold;
    bl_json_out j = {.t = t, .compact = true};
    bl_json_object(&j, NULL);
    bl_json_add_str(&j, "question", asked);
    bl_json_add_str(&j, "answer", answer);
    bl_json_add_int(&j, "rating", good ? 1 : -1);
    bl_json_add_str(&j, "instruction", w->item->question);
    bl_json_add_str(&j, "output", answer);
    bl_json_end(&j);
    bl_text_add(t, "\n");
    return BL_OK;
}

static bool is_asked_for(const bl_program *p, const opts *o, const bl_cell *c)
{
    return (!o->task || !fnmatch(o->task, c->task, 0)) && (!o->method || bl_method_fits(p, o->method, c->method));
}

/* The items of one cell that are asked for, printed. */
static bl_status show_cell(const bl_program *p, const opts *o, const bl_cell *c, const bl_cell *b, const scores *k,
                           const bl_data_dirs *dirs, bl_json_out *list, bl_text *t, bl_err *e)
{
    bl_status st = BL_OK;
    bl_items *items = NULL;
    bl_arena *a = NULL;
    bl_err why = {0};

    BL_TRY(bl_arena_new(&a, e));
    if (bl_items_open(p, c, dirs, &items, &why) != BL_OK && o->format == TEXT)
        fprintf(stderr, "bitladder: %s: no question and no choices: %s\n", c->key, why.text);
    for (int64_t m = 0; m < c->n_samples; m++) {
        const bl_sample *s = &c->sample[m];
        bl_mark mark = bl_arena_mark(a);
        bl_item item;
        shown w = {.cell = c, .scores = k, .sample = s, .base_method = b ? b->method : NULL};
        if ((o->wrong || b) && !s->n_scores) continue;
        if (o->wrong && is_right(s)) continue;
        if (b && (m >= b->n_samples || b->sample[m].id != s->id || !b->sample[m].n_scores ||
                  is_right(&b->sample[m]) == is_right(s)))
            continue;
        if (b) w.base = &b->sample[m];
        if (items && bl_items_get(items, s->id, a, &item, NULL) == BL_OK) w.item = &item;
        if (o->format == FEEDBACK && !list) {
            BL_TRY(put_rated(&w, why.text, t, e));
        } else if (o->format == FASTCHAT && !list) {
            bl_json_out line = {.t = t};
            if (!s->n_replies) continue;
            print_answer(c, s, &line);
            bl_text_add(t, "\n");
        } else if (o->format == TEXT && !list) put_sample(&w, t);
        else {
            bl_json_out line = {.t = t};
            print_sample(&w, list ? list : &line);
            if (!list) bl_text_add(t, "\n");
        }
        bl_arena_release(a, mark);
    }
out:
    bl_items_close(items);
    bl_arena_free(a);
    return st;
}

/* Numbers of questions are of a task: answers to two of them in one file would be taken for each other; and what is
 * marked of a round of feedback may not bring along what the round is measured on. */
static bl_status of_one_task(const bl_program *p, const opts *o, const char *dir, const bl_cell *c, size_t n, bl_err *e)
{
    const char *task = NULL, *other = NULL;
    for (size_t i = 0; i < n; i++) {
        if (!is_asked_for(p, o, &c[i]) || !c[i].n_samples) continue;
        other = c[i].task;
        if (!c[i].sample[0].n_replies && (o->format != FEEDBACK || !c[i].sample[0].n_choices)) continue;
        if (task && strcmp(task, c[i].task) != 0)
            return bl_fail(e, BL_E_CONFIG,
                           "%s has replies of %s and of %s; a file of answers is of one task: say --task", dir, task,
                           c[i].task);
        task = c[i].task;
    }
    if (other && !task)
        return bl_fail(e, BL_E_CONFIG, "%s has no replies of %s, expected a task that asks for some", dir, other);
    return BL_OK;
}

static bl_status run(const bl_program *p, const void *options, const bl_args *args, int *exit_code, bl_err *e)
{
    bl_status st = BL_OK;
    const opts *o = options;
    size_t n = 0, n_shown = 0;
    bool list = o->common.json || o->format == JSON;
    bl_arena *a = NULL;
    bl_data_dirs dirs;
    bl_cell *all = NULL;
    bl_text t = {0};
    bl_json_out all_lines = {.t = &t};

    BL_TRY(bl_data_option(o->data, &dirs, e));
    BL_TRY(bl_arena_new(&a, e));
    if (list) bl_json_lines(&all_lines, NULL);
    BL_TRY(bl_cells_read(args->pos[0], a, &all, &n, exit_code, e));
    if ((o->format == FASTCHAT || o->format == FEEDBACK) && !list) BL_TRY(of_one_task(p, o, args->pos[0], all, n, e));
    for (size_t i = 0; i < n; i++) {
        const bl_cell *c = &all[i], *b = NULL;
        const bl_task *task;
        const char *task_name;
        scores k = {0};
        if (!is_asked_for(p, o, c)) continue;
        for (size_t m = 0; o->flipped && m < n && !b; m++)
            if (bl_method_fits(p, o->flipped, all[m].method)) b = partner(all, n, c, all[m].method);
        if (o->flipped && (!b || strcmp(b->method, c->method) == 0)) continue;
        if (bl_program_task(p, c->task, &task, &task_name, NULL) == BL_OK)
            k.metric = bl_task_metrics(task, task_name, &k.n);
        if ((o->wrong || o->flipped) && !count_means(&k)) continue; /* perplexity: no item is right or wrong */
        n_shown++;
        BL_TRY(show_cell(p, o, c, b, &k, &dirs, list ? &all_lines : NULL, &t, e));
    }
    if (list) {
        bl_json_end(&all_lines);
        bl_text_add(&t, "\n");
    }
    if (!n_shown) {
        st = nothing_fits(p, o, args->pos[0], all, n, e);
        goto out;
    }
    BL_TRY(bl_output(o->out, &t, e));
out:
    bl_text_free(&t);
    bl_arena_free(a);
    return st;
}

const bl_verb bl_verb_samples = {
    .name = "samples",
    .args = "DIR",
    .line = "the single items behind a number, as JSON lines",
    .doc =
        "Prints the recorded items of the cells in DIR: question and choices (from the data), picks, the right answer, "
        "scores, log-likelihoods, replies. An item is right when its first score is above one half.",
    .example = "bitladder samples runs/a --task piqa --method rtn:w3g64 --flipped base --format text",
    .opts = rows,
    .opts_size = sizeof(opts),
    .min_args = 1,
    .max_args = 1,
    .run = run,
};
