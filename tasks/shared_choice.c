/* shared_choice.c - what multiple-choice tasks share: rows as data sets spell them, and marking. */
#include "shared_choice.h"
#include <inttypes.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

const bl_metric bl_choice_metrics[2] = {
    {.name = "acc", .direction = 1, .headline = true, .percent = true, .agg = BL_AGG_MEAN, .a = 0},
    {.name = "acc_norm", .direction = 1, .headline = true, .percent = true, .agg = BL_AGG_MEAN, .a = 1},
};

/* ---- fields ---- */
bl_status bl_choice_text(const bl_json *row, const char *key, bl_arena *a, const char **out, bl_err *e)
{
    bl_status st = BL_OK;
    const char *s, *copy;

    BL_TRY(bl_json_get_str(row, key, &s, e));
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

/* ---- ARC and OpenBookQA ---- */
/* Position of the answer key in the labels. */
static bl_status gold_of(const bl_json *labels, const char *key, int *out, bl_err *e)
{
    bl_status st = BL_OK;
    const char *s;
    int i = 0;

    for (const bl_json *l = bl_json_first(labels); l; l = bl_json_next(l), i++) {
        BL_TRY(bl_json_str(l, &s, e));
        if (!strcmp(s, key)) {
            *out = i;
            goto out;
        }
    }
    st = bl_fail(e, BL_E_FORMAT, "answerKey \"%s\" is none of the %d labels", key, i);
out:
    return st;
}

static bl_status read_original(const bl_json *question, const char *key, bl_arena *a, bl_choice *out, bl_err *e)
{
    bl_status st = BL_OK;
    const bl_json *choices;
    const char **text, *label;

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
    out->gold = -1;
    for (const bl_json *c = bl_json_first(choices); c; c = bl_json_next(c)) {
        BL_TRY(bl_choice_text(c, "text", a, &text[out->n_choices], e));
        BL_TRY(bl_json_get_str(c, "label", &label, e));
        if (!strcmp(label, key)) out->gold = out->n_choices;
        out->n_choices++;
    }
    out->choice = text;
    if (out->gold < 0) st = bl_fail(e, BL_E_FORMAT, "answerKey \"%s\" is none of the %d labels", key, out->n_choices);
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

    if (bl_json_get(row, "id")) BL_TRY(bl_choice_text(row, "id", a, &out->id, e));
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
        BL_TRY(gold_of(bl_json_get(choices, "label"), answer, &out->gold, e));
    } else {
        BL_TRY(bl_choice_texts(choices, a, &out->choice, &out->n_choices, e));
        BL_TRY(bl_choice_int(row, "gold", &gold, e));
        out->gold = gold < 0 || gold > INT32_MAX ? -1 : (int)gold;
        if ((labels = bl_json_get(row, "labels")) != NULL && bl_json_get(row, "answerKey")) {
            BL_TRY(bl_json_get_str(row, "answerKey", &answer, e));
            BL_TRY(gold_of(labels, answer, &by_key, e));
            if (by_key != out->gold)
                st = bl_fail(e, BL_E_FORMAT, "gold is %d, but the answer key \"%s\" is choice %d", out->gold, answer,
                             by_key);
        }
    }
out:
    return st;
}

/* ---- files ---- */
static bl_status check_row(const bl_choice *q, bl_err *e)
{
    if (q->n_choices < 2) return bl_fail(e, BL_E_FORMAT, "%d choices, expected at least 2", q->n_choices);
    if (!q->unlabelled && (q->gold < 0 || q->gold >= q->n_choices))
        return bl_fail(e, BL_E_FORMAT, "gold %d is not one of the %d choices", q->gold, q->n_choices);
    if (!*q->text) return bl_fail(e, BL_E_FORMAT, "the question is empty");
    for (int c = 0; c < q->n_choices; c++)
        if (!*q->choice[c]) return bl_fail(e, BL_E_FORMAT, "choice %d is empty", c);
    return BL_OK;
}

static int by_id(const void *a, const void *b) { return strcmp(*(const char *const *)a, *(const char *const *)b); }

/* No rows, or an id twice. */
static bl_status check_all(const bl_choice *row, int64_t n_rows, const char *path, bl_err *e)
{
    bl_status st = BL_OK;
    const char **id = NULL;
    int64_t n = 0;

    if (n_rows == 0) return bl_fail(e, BL_E_FORMAT, "%s: no rows", path);
    if (!(id = bl_new((size_t)n_rows, sizeof *id, e))) return BL_E_NOMEM;
    for (int64_t i = 0; i < n_rows; i++)
        if (row[i].id) id[n++] = row[i].id;
    qsort(id, (size_t)n, sizeof *id, by_id);
    for (int64_t i = 1; i < n && st == BL_OK; i++)
        if (!strcmp(id[i - 1], id[i])) st = bl_fail(e, BL_E_FORMAT, "%s: id \"%s\" comes twice", path, id[i]);
    bl_free(id);
    return st;
}

bl_status bl_choice_load(const bl_task_load *how, const char *const *names, const char *where,
                         const bl_choice_task *task, bl_task_data *out, bl_err *e)
{
    bl_status st = BL_OK;
    bl_rows *r = NULL;
    bl_choice *row = NULL;
    bl_choice_rows *kept;
    size_t n = 0, cap = 0;
    const bl_json *j;

    BL_TRY(bl_data_find(how->dirs, names, where, out->arena, &out->path, NULL, e));
    BL_TRY(bl_rows_open(out->path, &r, e));
    while ((st = bl_rows_json(r, &j, e)) == BL_OK && j) {
        BL_TRY(bl_grow(&row, &cap, n + 1, sizeof *row, e));
        row[n] = (bl_choice){0};
        st = bl_json_kind(j) == BL_JSON_OBJECT ? task->read(j, out->arena, &row[n], e)
                                               : bl_fail(e, BL_E_FORMAT, "expected an object");
        if (st == BL_OK) st = check_row(&row[n], e);
        if (st != BL_OK) {
            if (e && !strstr(e->text, bl_rows_where(r))) bl_within(e, "%s", bl_rows_where(r));
            goto out;
        }
        n++;
    }
    if (st != BL_OK) goto out;
    BL_TRY(check_all(row, (int64_t)n, out->path, e));
    if (!(kept = bl_alloc(out->arena, 1, sizeof *kept, e)) ||
        !(kept->row = bl_alloc(out->arena, n, sizeof *kept->row, e))) {
        st = BL_E_NOMEM;
        goto out;
    }
    memcpy(kept->row, row, n * sizeof *row);
    kept->task = task;
    out->rows = kept;
    out->n = (int64_t)n;
    out->hash = bl_rows_hash(r);
out:
    bl_rows_close(r);
    bl_free(row);
    return st;
}

/* ---- asking ---- */
/* "Question: {text}" with the text of the row. */
static void put_prompt(bl_prompt *p, const char *template, const bl_choice *q)
{
    while (*template) {
        size_t n = strcspn(template, "{");
        bl_sayn(p, template, n);
        template += n;
        if (!strncmp(template, "{text}", 6)) bl_quote(p, q->text);
        else if (!strncmp(template, "{more}", 6)) bl_quote(p, q->more);
        else {
            bl_say(p, template); /* a brace of the template itself, and what follows */
            return;
        }
        template += 6;
    }
}

bl_status bl_choice_ask(bl_task_data *t, int64_t i, const bl_turn *turn, bl_request *out, bl_err *e)
{
    const bl_choice *q = bl_choice_at(t, i);

    if (turn->step > 0) return bl_done(out);
    bl_prompt p = bl_prompt_new(turn->arena);
    put_prompt(&p, ((const bl_choice_rows *)t->rows)->task->prompt, q);
    return bl_ask_pairs(out, p, q->choice, q->n_choices, e);
}

/* ---- marking ---- */
const char *bl_choice_gold(bl_task_data *t, int64_t i) { return bl_choice_at(t, i)->choice[bl_choice_at(t, i)->gold]; }

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
    bool scored = r->tokens[q->gold] > 0; /* or it is wrong, also where no choice has anything to score */
    BL_TRY(bl_sample_scores(out, turn->arena, (double[]){scored && by_sum == q->gold, scored && by_norm == q->gold},
                            by_length ? 2 : 1, e));
    BL_TRY(bl_sample_values(out, turn->arena, r->nll, r->n, e));
out:
    return st;
}
