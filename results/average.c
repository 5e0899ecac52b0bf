/* average.c - the mean over several tasks as rows of their own, which say in the name of the task what is in them.
 *
 * Each task counts once, with its first headline metric, a share. Errors of tasks are independent and add in squares,
 * those of paired differences too.
 */
#include "table_impl.h"

#include <math.h>
#include <string.h>

typedef struct work {
    bl_table *t;
    const char **task; /* members, in the order of the table */
    size_t n_tasks, cap_tasks;
    const bl_row **member; /* [n_tasks] of the row at hand */
    size_t cap_rows;
    const char *name;
    bl_err *e;
} work;

/* The row that stands for a task: its first headline, when that is a share. */
static bool stands_for_task(const bl_table *t, size_t i)
{
    const bl_row *r = &t->row[i];
    if (!r->has_value || !r->headline || !r->percent || *r->item_group) return false;
    for (size_t k = i; k > 0 && t->row[k - 1].cell == r->cell; k--)
        if (t->row[k - 1].headline && !*t->row[k - 1].item_group) return false;
    return true;
}

static bl_status find_tasks(work *w, const char *list)
{
    bl_status st = BL_OK;
    bl_text name = {0};

    for (size_t i = 0; i < w->t->n; i++) {
        const bl_row *r = &w->t->row[i];
        size_t k = 0;
        if (!stands_for_task(w->t, i) || !bl_is_listed(list, r->cell->task)) continue;
        while (k < w->n_tasks && strcmp(w->task[k], r->cell->task)) k++;
        if (k < w->n_tasks) continue;
        BL_TRY(bl_grow(&w->task, &w->cap_tasks, w->n_tasks + 1, sizeof *w->task, w->e));
        w->task[w->n_tasks++] = r->cell->task;
    }
    if (w->n_tasks < 2) {
        st = bl_fail(w->e, BL_E_CONFIG, "--average %s: %zu task%s with a share as headline; an average needs two", list,
                     w->n_tasks, w->n_tasks == 1 ? "" : "s");
        goto out;
    }
    bl_text_add(&name, "average of ");
    for (size_t k = 0; k < w->n_tasks; k++)
        bl_text_addf(&name, "%s%s", k == 0 ? "" : k + 1 == w->n_tasks ? " and " : ", ", w->task[k]);
    BL_TRY(bl_text_check(&name, w->e));
    if (!(w->name = bl_arena_str(w->t->arena, name.s, name.n, w->e))) st = BL_E_NOMEM;
out:
    bl_text_free(&name);
    return st;
}

static bool same_text(const char *a, const char *b) { return !strcmp(a ? a : "", b ? b : ""); }

/* Cells of one model, method and seed, under the same conditions: they differ in the task alone. */
static bool belong(const bl_row *a, const bl_row *b)
{
    const bl_cell *x = a->cell, *y = b->cell;
    return same_text(x->model, y->model) && same_text(x->stored_as, y->stored_as) && same_text(x->method, y->method) &&
           same_text(x->calibration, y->calibration) && same_text(x->numerics, y->numerics) &&
           same_text(x->bos, y->bos) && x->seed == y->seed && same_text(a->dir, b->dir);
}

/* Fills member[]; *why: a task that is missing, or there twice. */
static void find_members(work *w, size_t n, const bl_row *like, const char **missing, const char **twice)
{
    *missing = *twice = NULL;
    memset(w->member, 0, w->n_tasks * sizeof *w->member);
    for (size_t i = 0; i < n; i++) {
        const bl_row *r = &w->t->row[i];
        if (!stands_for_task(w->t, i) || !belong(like, r)) continue;
        for (size_t k = 0; k < w->n_tasks; k++) {
            if (strcmp(w->task[k], r->cell->task)) continue;
            if (w->member[k]) *twice = w->task[k];
            w->member[k] = r;
        }
    }
    for (size_t k = 0; k < w->n_tasks && !*missing; k++)
        if (!w->member[k]) *missing = w->task[k];
}

static bl_status mean_difference(work *w, bl_row *row)
{
    bl_paired *d = bl_alloc(w->t->arena, 1, sizeof *d, w->e);
    double squares = 0, df = 0, k = (double)w->n_tasks;

    if (!d) return BL_E_NOMEM;
    *d = (bl_paired){
        .test = BL_TEST_T, .over = "items", .direction = 1, .percent = true, .lost = -1, .gained = -1, .p = 1};
    for (size_t i = 0; i < w->n_tasks; i++) {
        const bl_paired *m = w->member[i]->paired;
        if (!m || !m->judged || m->n < 2) return BL_OK; /* one task that is not compared: no difference */
        d->n += m->n;
        d->a += m->a / k;
        d->b += m->b / k;
        d->delta += m->delta / k;
        squares += m->se * m->se;
        df += (double)m->n - 1;
    }
    d->se = sqrt(squares) / k;
    bl_paired_by_t(d, df);
    row->paired = d;
    row->against = w->member[0]->against;
    return BL_OK;
}

static bl_status add_row(work *w, const bl_row *like, const char *missing, const char *twice)
{
    bl_status st;
    bl_cell *c = bl_alloc(w->t->arena, 1, sizeof *c, w->e);
    bl_row row = *like;
    double squares = 0, k = (double)w->n_tasks;

    if (!c) return BL_E_NOMEM;
    *c = *like->cell;
    c->task = w->name;
    c->task_version = 0;
    c->truncated = c->boundary = c->unscored = c->ties = c->hit_limit = c->no_answer = 0;
    c->seconds = c->tokens_per_second = 0; /* those of one task: of all together nothing was measured */
    c->peak_bytes = c->device_peak_bytes = c->kv_bytes = 0;
    c->bytes_read = -1;
    row.cell = c;
    row.paired = NULL;
    row.unpaired = NULL;
    if (missing || twice) {
        char *why = bl_format_text(w->e, twice ? "%s has two results" : "%s has no result", twice ? twice : missing);
        row.reason = why ? bl_arena_str(w->t->arena, why, strlen(why), w->e) : NULL;
        bl_free(why);
        if (!row.reason) return BL_E_NOMEM;
        row.status = "n/a";
        row.has_value = row.headline = row.reference = false;
        row.metric = row.item_group = "";
        c->limit = c->drawn = 0;
    } else {
        row.value = 0;
        row.n = 0;
        row.has_stderr = true;
        for (size_t i = 0; i < w->n_tasks; i++) {
            const bl_row *m = w->member[i];
            row.value += m->value / k;
            squares += m->stderr_ * m->stderr_;
            row.has_stderr = row.has_stderr && m->has_stderr;
            row.n += m->n;
            c->truncated += m->cell->truncated;
            c->boundary += m->cell->boundary;
            c->unscored += m->cell->unscored;
            c->ties += m->cell->ties;
            c->hit_limit += m->cell->hit_limit;
            c->no_answer += m->cell->no_answer;
            if (!same_text(m->metric, row.metric)) row.metric = "mean";
            if (m->cell->limit != c->limit || m->cell->drawn != c->drawn) {
                c->limit = BL_MAX(c->limit, m->cell->limit);
                c->drawn = BL_MAX(c->drawn, m->cell->drawn);
            }
        }
        row.stderr_ = row.has_stderr ? sqrt(squares) / k : 0;
        if (!row.reference) BL_TRY(mean_difference(w, &row));
    }
    BL_TRY(bl_grow(&w->t->row, &w->cap_rows, w->t->n + 1, sizeof row, w->e));
    w->t->row[w->t->n++] = row;
out:
    return st;
}

/* Holm's correction anew, with the averages. */
static bl_status judge(work *w, size_t first)
{
    bl_status st;
    size_t n = 0;
    bl_paired **d = bl_new(w->t->n, sizeof *d, w->e);

    if (!d) return BL_E_NOMEM;
    for (size_t i = 0; i < w->t->n; i++) {
        const bl_paired *p = w->t->row[i].paired;
        if (p && (p->judged || i >= first)) d[n++] = (bl_paired *)(uintptr_t)p;
    }
    st = bl_compare_judge(d, n, w->e);
    bl_free(d);
    return st;
}

bl_status bl_table_average(bl_table *t, const char *list, bl_err *e)
{
    bl_status st;
    work w = {.t = t, .cap_rows = t->n, .e = e};
    size_t n = t->n;

    BL_TRY(find_tasks(&w, list));
    if (!(w.member = bl_new(w.n_tasks, sizeof *w.member, e))) {
        st = BL_E_NOMEM;
        goto out;
    }
    for (size_t i = 0; i < n; i++) {
        const char *missing, *twice;
        bool seen = false;
        if (!stands_for_task(t, i) || !bl_is_listed(list, t->row[i].cell->task)) continue;
        for (size_t k = 0; k < i && !seen; k++)
            seen = stands_for_task(t, k) && bl_is_listed(list, t->row[k].cell->task) && belong(&t->row[k], &t->row[i]);
        if (seen) continue;
        bl_row like = t->row[i]; /* the list of rows moves as it grows */
        find_members(&w, n, &like, &missing, &twice);
        BL_TRY(add_row(&w, &like, missing, twice));
    }
    BL_TRY(judge(&w, n));
out:
    bl_free(w.task);
    bl_free(w.member);
    return st;
}
