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
    if (q->gold < 0 || q->gold >= q->n_choices)
        return bl_fail(e, BL_E_FORMAT, "gold %d is not one of the %d choices", q->gold, q->n_choices);
    if (!*q->text) return bl_fail(e, BL_E_FORMAT, "the question is empty");
    for (int c = 0; c < q->n_choices; c++)
        if (!*q->choice[c]) return bl_fail(e, BL_E_FORMAT, "choice %d is empty", c);
    return BL_OK;
}

static int by_id(const void *a, const void *b) { return strcmp(*(const char *const *)a, *(const char *const *)b); }

bl_status bl_choice_check(const bl_task_data *t, bl_err *e)
{
    bl_status st = BL_OK;
    const char **id = NULL;
    int64_t n = 0;

    if (t->n == 0) {
        st = bl_fail(e, BL_E_FORMAT, "%s: no rows", t->path);
        goto out;
    }
    if (!(id = bl_new((size_t)t->n, sizeof *id, e))) {
        st = BL_E_NOMEM;
        goto out;
    }
    for (int64_t i = 0; i < t->n; i++) {
        const bl_choice *q = bl_choice_at(t, i);
        if ((st = check_row(q, e)) != BL_OK) {
            bl_within(e, "%s: row %" PRId64, t->path, i);
            goto out;
        }
        if (q->id) id[n++] = q->id;
    }
    qsort(id, (size_t)n, sizeof *id, by_id);
    for (int64_t i = 1; i < n; i++)
        if (!strcmp(id[i - 1], id[i])) {
            st = bl_fail(e, BL_E_FORMAT, "%s: id \"%s\" comes twice", t->path, id[i]);
            goto out;
        }
out:
    bl_free(id);
    return st;
}

bl_status bl_choice_load_file(const char *path, bl_choice_read *read, bl_task_data *out, bl_err *e)
{
    bl_status st = BL_OK;
    bl_rows *r = NULL;
    bl_choice *row = NULL, *kept;
    size_t n = 0, cap = 0;
    const bl_json *j;

    BL_TRY(bl_rows_open(path, BL_ROWS_JSONL, &r, e));
    while ((st = bl_rows_json(r, &j, e)) == BL_OK && j) {
        BL_TRY(bl_grow(&row, &cap, n + 1, sizeof *row, e));
        row[n] = (bl_choice){0};
        st = bl_json_kind(j) == BL_JSON_OBJECT ? read(j, out->arena, &row[n], e)
                                               : bl_fail(e, BL_E_FORMAT, "expected an object");
        if (st == BL_OK) st = check_row(&row[n], e);
        if (st != BL_OK) {
            if (e && !strstr(e->text, bl_rows_where(r))) bl_within(e, "%s", bl_rows_where(r));
            goto out;
        }
        n++;
    }
    if (st != BL_OK) goto out;
    if (!(kept = bl_alloc(out->arena, n, sizeof *kept, e))) {
        st = BL_E_NOMEM;
        goto out;
    }
    if (n) memcpy(kept, row, n * sizeof *kept);
    out->rows = kept;
    out->n = (int64_t)n;
    out->hash = bl_rows_hash(r);
    if (!(out->path = bl_arena_str(out->arena, path, strlen(path), e))) {
        st = BL_E_NOMEM;
        goto out;
    }
    BL_TRY(bl_choice_check(out, e));
out:
    bl_rows_close(r);
    bl_free(row);
    return st;
}

bl_status bl_choice_load(const bl_task_load *how, const char *const *names, const char *where, bl_choice_read *read,
                         bl_task_data *out, bl_err *e)
{
    bl_status st = BL_OK;
    const char *path;

    BL_TRY(bl_data_find(how->dirs, names, where, out->arena, &path, NULL, e));
    BL_TRY(bl_choice_load_file(path, read, out, e));
out:
    return st;
}

/* ---- marking ---- */
const char *bl_choice_gold(bl_task_data *t, int64_t i) { return bl_choice_at(t, i)->choice[bl_choice_at(t, i)->gold]; }

bl_status bl_choice_mark(const bl_choice *q, const bl_reply *r, int64_t id, bool by_length, bl_arena *a, bl_sample *out,
                         bl_err *e)
{
    int by_sum = 0, by_norm = 0;
    bl_status st = BL_OK;
    double *norm;

    if (r->n != q->n_choices)
        return bl_fail(e, BL_E_INTERNAL, "item %" PRId64 ": %d scores for %d choices", id, r->n, q->n_choices);
    if (!(norm = bl_alloc(a, (size_t)r->n, sizeof *norm, e))) return BL_E_NOMEM;
    for (int c = 0; c < r->n; c++) {
        if (!isfinite(r->nll[c]))
            return bl_fail(e, BL_E_NUMERIC, "item %" PRId64 ", choice %d: the log-likelihood is not finite", id, c);
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
    BL_TRY(bl_sample_scores(out, a, (double[]){scored && by_sum == q->gold, scored && by_norm == q->gold},
                            by_length ? 2 : 1, e));
    BL_TRY(bl_sample_values(out, a, r->nll, r->n, e));
out:
    return st;
}
