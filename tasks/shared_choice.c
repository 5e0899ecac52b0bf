/* shared_choice.c - what multiple-choice tasks share: rows as data sets spell them, and marking. */
#include "shared_choice.h"
#include "harness/data/pytext.h"
#include "kernels/base/rng.h"
#include <inttypes.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

const bl_metric bl_choice_metrics[2] = {
    {.name = "acc", .direction = 1, .headline = true, .percent = true, .agg = BL_AGG_MEAN, .a = 0},
    {.name = "acc_norm", .direction = 1, .headline = true, .percent = true, .agg = BL_AGG_MEAN, .a = 1},
};

const char *const bl_choice_letters[26] = {"A", "B", "C", "D", "E", "F", "G", "H", "I", "J", "K", "L", "M",
                                           "N", "O", "P", "Q", "R", "S", "T", "U", "V", "W", "X", "Y", "Z"};

/* ---- fields ---- */
bl_status bl_choice_text(const bl_json *row, const char *key, bl_arena *a, const char **out, bl_err *e)
{
    bl_status st = BL_OK;
    const char *s, *copy;

    BL_TRY(bl_json_get_str(row, key, &s, e));
    if (!s[strspn(s, " \t\r\n")]) {
        st = bl_fail(e, BL_E_FORMAT, "'%s' is empty, expected a text", key);
        goto out;
    }
    if (!(copy = bl_arena_str(a, s, strlen(s), e))) {
        st = BL_E_NOMEM;
        goto out;
    }
    *out = copy;
out:
    return st;
}

bl_status bl_choice_texts(const bl_json *array, bl_arena *a, const char *const **out, int *n, bl_err *e)
{
    bl_status st = BL_OK;
    const char **text, *s;
    int k = 0;

    if (bl_json_kind(array) != BL_JSON_ARRAY) {
        st = bl_fail(e, BL_E_FORMAT, "the choices are not an array");
        goto out;
    }
    if (!(text = bl_alloc(a, bl_json_size(array), sizeof *text, e))) {
        st = BL_E_NOMEM;
        goto out;
    }
    for (const bl_json *c = bl_json_first(array); c; c = bl_json_next(c)) {
        BL_TRY(bl_json_str(c, &s, e));
        if (!(text[k++] = bl_arena_str(a, s, strlen(s), e))) {
            st = BL_E_NOMEM;
            goto out;
        }
    }
    *out = text;
    *n = k;
out:
    return st;
}

bl_status bl_choice_int(const bl_json *row, const char *key, int64_t *out, bl_err *e)
{
    bl_status st = BL_OK;
    const bl_json *v;
    const char *s;
    char *end;
    bool b;

    BL_TRY(bl_json_need(row, key, &v, e));
    if (bl_json_kind(v) == BL_JSON_BOOL) {
        BL_TRY(bl_json_bool(v, &b, e));
        *out = b;
    } else if (bl_json_kind(v) == BL_JSON_STRING) {
        BL_TRY(bl_json_str(v, &s, e));
        long long i = strtoll(s, &end, 10);
        if (end == s || *end) {
            st = bl_fail(e, BL_E_FORMAT, "'%s' is \"%s\", expected a whole number", key, s);
            goto out;
        }
        *out = i;
    } else {
        BL_TRY(bl_json_int(v, out, e));
    }
out:
    return st;
}

bl_status bl_choice_strip(const char **text, bl_arena *a, bl_err *e)
{
    const char *s = *text;
    size_t n = strlen(s);

    bl_strip(&s, &n);
    return (*text = bl_arena_str(a, s, n, e)) ? BL_OK : BL_E_NOMEM;
}

bl_status bl_choice_line(const char *question, const char *const *choice, int n, bl_arena *a, const char **out,
                         bl_err *e)
{
    bl_status st = BL_OK;
    bl_text t = {0};

    bl_text_addf(&t, "%s Answer Choices:", question);
    for (int c = 0; c < n; c++) bl_text_addf(&t, " (%s) %s", bl_choice_letters[c], choice[c]);
    BL_TRY(bl_text_check(&t, e));
    if (!(*out = bl_arena_str(a, t.s, t.n, e))) st = BL_E_NOMEM;
out:
    bl_text_free(&t);
    return st;
}

/* The options of a row are called opa to opd: a fifth, ope, is not passed over. */
static bl_status no_more_keys(const bl_json *row, const char *const *key, int n, bl_err *e)
{
    for (int i = 0; i < n; i++) {
        char next[32];
        int k = 0;
        snprintf(next, sizeof next, "%s", key[i]);
        next[strlen(next) - 1]++;
        while (k < n && strcmp(key[k], next) != 0) k++;
        if (k < n || bl_json_kind(bl_json_get(row, next)) == BL_JSON_NULL) continue;
        return bl_fail(e, BL_E_FORMAT, "an option '%s', expected %d: %s to %s", next, n, key[0], key[n - 1]);
    }
    return BL_OK;
}

bl_status bl_choice_keys(const bl_json *row, const char *const *key, int n, bl_arena *a, bl_choice *out, bl_err *e)
{
    bl_status st = BL_OK;
    const char **text = bl_alloc(a, (size_t)n, sizeof *text, e);

    if (!text) return BL_E_NOMEM;
    for (int i = 0; i < n; i++) BL_TRY(bl_choice_text(row, key[i], a, &text[i], e));
    BL_TRY(no_more_keys(row, key, n, e));
    out->choice = text;
    out->n_choices = n;
out:
    return st;
}

bl_status bl_choice_number(const bl_json *row, const char *key, int first, int n, bl_choice *out, bl_err *e)
{
    bl_status st = BL_OK;
    int64_t v;

    BL_TRY(bl_choice_int(row, key, &v, e));
    if (v < first || v >= first + n) {
        st = bl_fail(e, BL_E_FORMAT, "'%s' is %" PRId64 ", expected %d to %d", key, v, first, first + n - 1);
        goto out;
    }
    out->gold = (int)v - first;
out:
    return st;
}

bl_status bl_choice_letter(const char *text, const char *what, int n, int *out, bl_err *e)
{
    if (text[0] < 'A' || text[0] >= 'A' + n || text[1])
        return bl_fail(e, BL_E_FORMAT, "%s is \"%s\", expected a letter from A to %c", what, text, 'A' + n - 1);
    *out = text[0] - 'A';
    return BL_OK;
}

/* ---- ARC and OpenBookQA ---- */
/* Position of the answer key in the labels of `array`, which are its texts or, where `member` is given, that of each
 * object in it. */
static bl_status gold_of(const bl_json *array, const char *member, const char *key, int *out, bl_err *e)
{
    bl_status st = BL_OK;
    const bl_json *l, *before;
    const char *s, *other;
    int i = 0, gold = -1;

    for (l = bl_json_first(array); l; l = bl_json_next(l), i++) {
        BL_TRY(member ? bl_json_get_str(l, member, &s, e) : bl_json_str(l, &s, e));
        if (!s[strspn(s, " \t\n")]) {
            st = bl_fail(e, BL_E_FORMAT, "the label of choice %d is empty, expected a text", i);
            goto out;
        }
        for (before = bl_json_first(array); before != l; before = bl_json_next(before)) {
            BL_TRY(member ? bl_json_get_str(before, member, &other, e) : bl_json_str(before, &other, e));
            if (strcmp(s, other)) continue;
            st = bl_fail(e, BL_E_FORMAT, "label \"%s\" comes twice, expected another for every choice", s);
            goto out;
        }
        if (!strcmp(s, key)) gold = i;
    }
    if (gold < 0) st = bl_fail(e, BL_E_FORMAT, "answerKey \"%s\" is none of the %d labels", key, i);
    else *out = gold;
out:
    return st;
}

static bl_status read_original(const bl_json *question, const char *key, bl_arena *a, bl_choice *out, bl_err *e)
{
    bl_status st = BL_OK;
    const bl_json *choices;
    const char **text;

    BL_TRY(bl_choice_text(question, "stem", a, &out->text, e));
    BL_TRY(bl_json_need(question, "choices", &choices, e));
    if (bl_json_kind(choices) != BL_JSON_ARRAY) {
        st = bl_fail(e, BL_E_FORMAT, "the choices are not an array");
        goto out;
    }
    if (!(text = bl_alloc(a, bl_json_size(choices), sizeof *text, e))) {
        st = BL_E_NOMEM;
        goto out;
    }
    for (const bl_json *c = bl_json_first(choices); c; c = bl_json_next(c), out->n_choices++)
        BL_TRY(bl_choice_text(c, "text", a, &text[out->n_choices], e));
    out->choice = text;
    BL_TRY(gold_of(choices, "label", key, &out->gold, e));
out:
    return st;
}

bl_status bl_choice_read_science(const bl_json *row, const char *key, bl_arena *a, bl_choice *out, bl_err *e)
{
    bl_status st = BL_OK;
    const bl_json *choices = bl_json_get(row, "choices"), *labels;
    const char *answer;
    int64_t gold;
    int by_key;

    if (bl_json_kind(bl_json_get(row, "question")) == BL_JSON_OBJECT) {
        BL_TRY(bl_json_get_str(row, "answerKey", &answer, e));
        BL_TRY(read_original(bl_json_get(row, "question"), answer, a, out, e));
        goto out;
    }
    BL_TRY(bl_choice_text(row, key, a, &out->text, e));
    if (!choices) {
        st = bl_fail(e, BL_E_FORMAT, "'choices' is missing");
        goto out;
    }
    if (bl_json_kind(choices) == BL_JSON_OBJECT) {
        BL_TRY(bl_json_get_str(row, "answerKey", &answer, e));
        BL_TRY(bl_choice_texts(bl_json_get(choices, "text"), a, &out->choice, &out->n_choices, e));
        BL_TRY(gold_of(bl_json_get(choices, "label"), NULL, answer, &out->gold, e));
    } else {
        BL_TRY(bl_choice_texts(choices, a, &out->choice, &out->n_choices, e));
        BL_TRY(bl_choice_int(row, "gold", &gold, e));
        out->gold = gold < 0 || gold > INT32_MAX ? -1 : (int)gold;
        if ((labels = bl_json_get(row, "labels")) != NULL && bl_json_get(row, "answerKey")) {
            BL_TRY(bl_json_get_str(row, "answerKey", &answer, e));
            BL_TRY(gold_of(labels, NULL, answer, &by_key, e));
            if (by_key != out->gold)
                st = bl_fail(e, BL_E_FORMAT, "gold is %d, but the answer key \"%s\" is choice %d", out->gold, answer,
                             by_key);
        }
    }
out:
    return st;
}

/* ---- AQuA ---- */
bl_status bl_choice_read_aqua(const bl_json *row, bl_arena *a, bl_choice *out, bl_err *e)
{
    bl_status st = BL_OK;
    const bl_json *options;
    const char *correct, **text;

    BL_TRY(bl_choice_text(row, "question", a, &out->text, e));
    BL_TRY(bl_json_need(row, "options", &options, e));
    BL_TRY(bl_choice_texts(options, a, &out->choice, &out->n_choices, e));
    if (!(text = bl_alloc(a, (size_t)out->n_choices + 1, sizeof *text, e))) {
        st = BL_E_NOMEM;
        goto out;
    }
    for (int c = 0; c < out->n_choices; c++) {
        const char *s = out->choice[c];
        if (s[0] != 'A' + c || s[1] != ')') {
            st = bl_fail(e, BL_E_FORMAT, "option %d is \"%s\", expected \"%c)\" in front of it", c + 1, s, 'A' + c);
            goto out;
        }
        text[c] = s + 2;
    }
    out->choice = text;
    BL_TRY(bl_json_get_str(row, "correct", &correct, e));
    BL_TRY(bl_choice_letter(correct, "'correct'", BL_MAX(out->n_choices, 5), &out->gold, e));
out:
    return st;
}

/* ---- files ---- */
enum { MOST_LETTERS = 26 };

static bl_status check_row(const bl_choice *q, const bl_choice_task *task, bl_err *e)
{
    int most = task->letters ? MOST_LETTERS : INT32_MAX;
    if (task->n_choices && q->n_choices != task->n_choices)
        return bl_fail(e, BL_E_FORMAT, "%d choices, expected %d", q->n_choices, task->n_choices);
    if (q->n_choices < 2 || q->n_choices > most)
        return bl_fail(e, BL_E_FORMAT, "%d choices, expected at least 2%s", q->n_choices,
                       task->letters ? " and at most 26" : "");
    if (!q->unlabelled && (q->gold < 0 || q->gold >= q->n_choices))
        return bl_fail(e, BL_E_FORMAT, "gold %d is not one of the %d choices", q->gold, q->n_choices);
    if (!*q->text) return bl_fail(e, BL_E_FORMAT, "the question is empty");
    for (int c = 0; c < q->n_choices; c++)
        if (!*q->choice[c]) return bl_fail(e, BL_E_FORMAT, "choice %d is empty", c);
    for (int c = 0; c < q->n_choices && task->right_once && !q->unlabelled; c++)
        if (c != q->gold && !strcmp(q->choice[c], q->choice[q->gold]))
            return bl_fail(e, BL_E_FORMAT, "choice %d is \"%s\", as the right one is; expected another", c,
                           q->choice[c]);
    return BL_OK;
}

static bl_status read_row(const void *ctx, int64_t i, const bl_json *row, bl_arena *a, void *out, bl_err *e)
{
    const bl_choice_task *task = ctx;
    const bl_status st = task->read(row, a, out, e);
    (void)i;
    return st == BL_OK ? check_row(out, task, e) : st;
}

/* What a row asks, its choices included. */
static void asked(const void *item, bl_text *out)
{
    const bl_choice *q = item;
    bl_text_addf(out, "%s\x1e%s", q->text, q->more ? q->more : "");
    for (int c = 0; c < q->n_choices; c++) bl_text_addf(out, "\x1e%s", q->choice[c]);
}

bl_status bl_choice_file(const char *path, const bl_choice_task *task, bl_arena *a, bl_choice **row, int64_t *n,
                         bl_hash *hash, bl_err *e)
{
    bl_status st = BL_OK;
    bl_rows_layout layout = task->rows;
    void *list;
    if (task->once) layout.said = asked;
    BL_TRY(bl_rows_items(path, &layout, read_row, task, sizeof **row, a, &list, n, hash, e));
    if (task->beside) BL_TRY(task->beside(path, list, *n, hash, e));
    *row = list;
out:
    return st;
}

/* Of row[n] the first `want` of a random order, without replacement (Fisher and Yates). */
static void draw(bl_choice *row, int64_t n, int want, uint64_t seed)
{
    bl_rng r = bl_rng_at(seed, bl_rng_key("worked examples", 0), 0);
    for (int64_t i = 0; i < want; i++) {
        int64_t at = i + (int64_t)bl_rng_below(&r, (uint64_t)(n - i));
        bl_choice other = row[at];
        row[at] = row[i];
        row[i] = other;
    }
}

static bl_status load_examples(const bl_task_load *how, const bl_choice_task *task, bl_task_data *out,
                               bl_choice_rows *rows, bl_err *e)
{
    bl_status st = BL_OK;
    int want = bl_task_shots(how->name, NULL), drawn = want + task->examples_are_asked;
    bl_choice *row;
    int64_t n;
    bl_hash hash, both[2];
    const char *path;
    bl_choice_task of_examples = *task;

    if (!want) return BL_OK;
    of_examples.once = task->once && task->examples_are_asked;
    BL_TRY(bl_data_find(how->dirs, task->examples, task->where_examples, out->arena, &path, NULL, e));
    BL_TRY(bl_choice_file(path, &of_examples, out->arena, &row, &n, &hash, e));
    if (n < drawn) {
        st = bl_fail(e, BL_E_CONFIG, "%s: %" PRId64 " rows, expected at least %d for the worked examples", path, n,
                     drawn);
        goto out;
    }
    draw(row, n, drawn, how->seed);
    rows->example = row;
    rows->n_examples = want;
    both[0] = out->hash;
    both[1] = hash;
    out->hash = bl_hash_bytes(both, sizeof both);
out:
    return st;
}

bl_status bl_choice_load(const bl_task_load *how, const char *const *names, const char *where,
                         const bl_choice_task *task, bl_task_data *out, bl_err *e)
{
    bl_status st = BL_OK;
    bl_choice_rows *rows = bl_alloc(out->arena, 1, sizeof *rows, e);

    if (!rows) return BL_E_NOMEM;
    rows->task = task;
    BL_TRY(bl_data_find(how->dirs, names, where, out->arena, &out->path, NULL, e));
    BL_TRY(bl_choice_file(out->path, task, out->arena, &rows->row, &out->n, &out->hash, e));
    BL_TRY(load_examples(how, task, out, rows, e));
    out->rows = rows;
out:
    return st;
}

/* ---- asking ---- */
static const char *const *scored(const bl_choice_task *task, const bl_choice *q)
{
    return task->letters ? bl_choice_letters : q->choice;
}

static void put_choices(bl_prompt *p, const bl_choice *q)
{
    for (int c = 0; c < q->n_choices; c++) {
        bl_say(p, c ? "\n" : "");
        bl_say(p, bl_choice_letters[c]);
        bl_say(p, ". ");
        bl_quote(p, q->choice[c]);
    }
}

/* "Question: {text}" with the text of the row. */
void bl_choice_say(bl_prompt *p, const bl_choice_task *task, const bl_choice *q)
{
    for (const char *template = task->prompt; *template;) {
        size_t n = strcspn(template, "{");
        bl_sayn(p, template, n);
        template += n;
        if (!*template) return;
        if (!strncmp(template, "{text}", 6)) bl_quote(p, q->text);
        else if (!strncmp(template, "{more}", 6)) bl_quote(p, q->more);
        else put_choices(p, q);
        template += strcspn(template, "}") + 1;
    }
}

void bl_choice_example(bl_prompt *p, const bl_choice_task *task, const bl_choice *q)
{
    bl_choice_say(p, task, q);
    bl_answer_follows(p, " ");
    bl_quote(p, scored(task, q)[q->gold]);
    bl_question_follows(p, "\n\n");
}

bl_status bl_choice_pairs(bl_request *out, bl_prompt p, const bl_choice_task *task, const bl_choice *q, bl_err *e)
{
    return bl_ask_pairs(out, p, scored(task, q), q->n_choices, e);
}

bl_status bl_choice_ask(bl_task_data *t, int64_t i, const bl_turn *turn, bl_request *out, bl_err *e)
{
    const bl_choice_rows *rows = t->rows;

    if (turn->step > 0) return bl_done(out);
    bl_prompt p = bl_task_prompt(t, turn->arena);
    for (int k = 0, said = 0; said < rows->n_examples; k++) {
        if (rows->task->examples_are_asked && !strcmp(rows->example[k].text, rows->row[i].text)) continue;
        bl_choice_example(&p, rows->task, &rows->example[k]);
        said++;
    }
    bl_choice_say(&p, rows->task, &rows->row[i]);
    return bl_choice_pairs(out, p, rows->task, &rows->row[i], e);
}

/* ---- marking ---- */
const char *bl_choice_gold(bl_task_data *t, int64_t i)
{
    const bl_choice *q = bl_choice_at(t, i);
    return scored(((const bl_choice_rows *)t->rows)->task, q)[q->gold];
}

bl_status bl_choice_mark(bl_task_data *t, int64_t i, const bl_turn *turn, bl_sample *out, bl_err *e)
{
    const bl_choice *q = bl_choice_at(t, i);
    const bl_reply *r = &turn->reply[0];
    bool by_length = ((const bl_choice_rows *)t->rows)->task->by_length;
    int by_sum = 0, by_norm = 0;
    bl_status st = BL_OK;
    double *norm;

    if (r->n != q->n_choices)
        return bl_fail(e, BL_E_INTERNAL, "item %" PRId64 ": %d scores for %d choices", i, r->n, q->n_choices);
    if (!(norm = bl_alloc(turn->arena, (size_t)r->n, sizeof *norm, e))) return BL_E_NOMEM;
    for (int c = 0; c < r->n; c++) {
        if (!isfinite(r->nll[c]))
            return bl_fail(e, BL_E_NUMERIC, "item %" PRId64 ", choice %d: the log-likelihood is not finite", i, c);
        norm[c] = r->nll[c] / (double)r->chars[c];
        if (r->nll[c] < r->nll[by_sum]) by_sum = c;
        if (norm[c] < norm[by_norm]) by_norm = c;
    }
    for (int c = 0; c < r->n && by_length; c++)
        if (c != by_norm && norm[c] == norm[by_norm]) out->flags |= BL_SAMPLE_TIE;
    out->pick = by_sum;
    out->gold = q->gold;
    out->n_choices = q->n_choices;
    out->group = q->group;
    bool any = r->tokens[q->gold] > 0; /* or it is wrong, also where no choice has anything to score */
    BL_TRY(bl_sample_scores(out, turn->arena, (double[]){any && by_sum == q->gold, any && by_norm == q->gold},
                            by_length ? 2 : 1, e));
    BL_TRY(bl_sample_values(out, turn->arena, r->nll, r->n, e));
out:
    return st;
}
