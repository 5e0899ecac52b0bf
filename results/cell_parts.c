/* cell_parts.c - the lists and tables of a shard: metrics, samples, divergences from the base, layers. */
#include "cell_impl.h"

#include <stdlib.h>
#include <string.h>

static bl_status no_memory(const void *p) { return p ? BL_OK : BL_E_NOMEM; }

/* ---- metrics ------------------------------------------------------------------------------------ */
/* Values and standard errors are attributes of the group `metric`; what every metric has stands in lists beside it. */
enum { ITEMS, DIRECTION, HEADLINE, PERCENT, N_LISTS };
static const char *const lists[N_LISTS] = {"task/@/metric_n", "task/@/metric_directions", "task/@/metric_headline",
                                           "task/@/metric_percent"};

/* Parts of a task: what is made of groups of items. */
static bl_status put_groups(bl_record *r, const bl_cell *c, bl_arena *a, bl_text *at, bl_err *e)
{
    bl_status st = BL_OK;
    size_t n = (size_t)c->n_grouped;
    double *value, *error;
    int64_t *items;
    const char **metric, **group;

    BL_TRY(no_memory(value = bl_alloc(a, n, sizeof *value, e)));
    BL_TRY(no_memory(error = bl_alloc(a, n, sizeof *error, e)));
    BL_TRY(no_memory(items = bl_alloc(a, n, sizeof *items, e)));
    BL_TRY(no_memory(metric = bl_alloc(a, n, sizeof *metric, e)));
    BL_TRY(no_memory(group = bl_alloc(a, n, sizeof *group, e)));
    for (size_t i = 0; i < n; i++) {
        const bl_cell_metric *m = &c->grouped[i];
        value[i] = m->value;
        error[i] = m->has_stderr ? m->stderr_ : -1;
        items[i] = m->n;
        metric[i] = m->name;
        group[i] = m->group;
    }
    const bl_column column[] = {
        {"value", "1", "the metric within this group", BL_COL_REAL, value},
        {"stderr", "1", "one standard error, -1: none", BL_COL_REAL, error},
        {"n", "1", "items of the group", BL_COL_INT, items},
        {"metric", NULL, "name of the metric, one of metric_names", BL_COL_TEXT, metric},
        {"group", NULL, "group of items, or step", BL_COL_TEXT, group},
    };
    BL_TRY(bl_cell_place("task/@/groups", c->task, at, e));
    BL_TRY(bl_record_table(r, at->s, &(bl_table_data){(int64_t)n, (int)BL_COUNT(column), column}, e));
out:
    return st;
}

bl_status bl_put_metrics(bl_record *r, const bl_cell *c, bl_text *at, bl_err *e)
{
    bl_status st = BL_OK;
    size_t n = (size_t)c->n_metrics;
    bl_arena *a = NULL;
    const char **name, **unit, **over;
    int64_t *list[N_LISTS];

    BL_TRY(bl_arena_new(&a, e));
    BL_TRY(no_memory(over = bl_alloc(a, n, sizeof *over, e)));
    BL_TRY(no_memory(name = bl_alloc(a, n, sizeof *name, e)));
    BL_TRY(no_memory(unit = bl_alloc(a, n, sizeof *unit, e)));
    for (int k = 0; k < N_LISTS; k++) BL_TRY(no_memory(list[k] = bl_alloc(a, n, sizeof **list, e)));
    for (size_t i = 0; i < n; i++) {
        const bl_cell_metric *m = &c->metric[i];
        name[i] = m->name;
        unit[i] = m->unit ? m->unit : "1";
        over[i] = m->over ? m->over : "";
        list[ITEMS][i] = m->n;
        list[DIRECTION][i] = m->direction;
        list[HEADLINE][i] = m->headline;
        list[PERCENT][i] = m->percent;
    }
    BL_TRY(bl_cell_place("task/@/metric_names", c->task, at, e));
    BL_TRY(bl_record_names(r, at->s, name, c->n_metrics, e));
    BL_TRY(bl_cell_place("task/@/metric_units", c->task, at, e));
    BL_TRY(bl_record_names(r, at->s, unit, c->n_metrics, e));
    BL_TRY(bl_cell_place("task/@/metric_over", c->task, at, e));
    BL_TRY(bl_record_names(r, at->s, over, c->n_metrics, e));
    for (int k = 0; k < N_LISTS; k++) {
        BL_TRY(bl_cell_place(lists[k], c->task, at, e));
        BL_TRY(bl_record_counts(r, at->s, list[k], c->n_metrics, e));
    }
    for (size_t i = 0; i < n; i++) {
        const bl_cell_metric *m = &c->metric[i];
        BL_TRY(bl_cell_place("task/@/metric/", c->task, at, e));
        bl_text_add(at, m->name);
        BL_TRY(bl_text_check(at, e));
        BL_TRY(bl_record_real(r, at->s, m->value, NULL, e));
        if (!m->has_stderr) continue;
        bl_text_add(at, "_stderr");
        BL_TRY(bl_text_check(at, e));
        BL_TRY(bl_record_real(r, at->s, m->stderr_, NULL, e));
    }
    if (c->n_grouped) BL_TRY(put_groups(r, c, a, at, e));
out:
    bl_arena_free(a);
    return st;
}

/* A group says nothing about its metric that the metric does not say itself. */
static bl_status get_groups(const bl_shard *s, const char *task, bl_arena *a, bl_text *at, bl_cell *c, bl_err *e)
{
    bl_status st = BL_OK;
    double *value, *error;
    int64_t n, n_others, *items;
    const char **metric, **group;
    bl_cell_metric *m;

    BL_TRY(bl_cell_place("task/@/groups", task, at, e));
    if (!bl_shard_has(s, at->s)) goto out;
    BL_TRY(bl_shard_column_real(s, at->s, "value", a, &value, &n, e));
    BL_TRY(bl_shard_column_real(s, at->s, "stderr", a, &error, &n, e));
    BL_TRY(bl_shard_column_int(s, at->s, "n", a, &items, &n, e));
    BL_TRY(bl_cell_place("task/@/groups_metric", task, at, e));
    BL_TRY(bl_shard_texts(s, at->s, a, &metric, &n_others, e));
    BL_TRY(bl_same_length(at->s, n_others, n, e));
    BL_TRY(bl_cell_place("task/@/groups_group", task, at, e));
    BL_TRY(bl_shard_texts(s, at->s, a, &group, &n_others, e));
    BL_TRY(bl_same_length(at->s, n_others, n, e));
    BL_TRY(no_memory(m = bl_alloc(a, (size_t)n, sizeof *m, e)));
    for (int64_t i = 0; i < n; i++) {
        int64_t k = 0;
        while (k < c->n_metrics && strcmp(c->metric[k].name, metric[i])) k++;
        if (k == c->n_metrics) {
            st = bl_fail(e, BL_E_FORMAT, "'%s': there is no metric '%s'", at->s, metric[i]);
            goto out;
        }
        m[i] = c->metric[k];
        m[i].group = group[i];
        m[i].value = value[i];
        m[i].has_stderr = error[i] >= 0;
        m[i].stderr_ = m[i].has_stderr ? error[i] : 0;
        m[i].n = items[i];
    }
    c->grouped = m;
    c->n_grouped = n;
out:
    return st;
}

bl_status bl_get_metrics(const bl_shard *s, const char *task, bl_arena *a, bl_text *at, bl_cell *c, bl_err *e)
{
    bl_status st;
    const char **name, **unit, **over = NULL;
    int64_t n, n_others, *list[N_LISTS];
    bl_cell_metric *m;

    BL_TRY(bl_cell_place("task/@/metric_names", task, at, e));
    BL_TRY(bl_shard_names(s, at->s, a, &name, &n, e));
    BL_TRY(bl_cell_place("task/@/metric_units", task, at, e));
    BL_TRY(bl_shard_names(s, at->s, a, &unit, &n_others, e));
    BL_TRY(bl_same_length(at->s, n_others, n, e));
    BL_TRY(bl_cell_place("task/@/metric_over", task, at, e));
    if (bl_shard_has(s, at->s)) {
        BL_TRY(bl_shard_names(s, at->s, a, &over, &n_others, e));
        BL_TRY(bl_same_length(at->s, n_others, n, e));
    }
    for (int k = 0; k < N_LISTS; k++) {
        BL_TRY(bl_cell_place(lists[k], task, at, e));
        BL_TRY(bl_shard_counts(s, at->s, a, &list[k], &n_others, e));
        BL_TRY(bl_same_length(at->s, n_others, n, e));
    }
    BL_TRY(no_memory(m = bl_alloc(a, (size_t)n, sizeof *m, e)));
    for (int64_t i = 0; i < n; i++) {
        m[i] = (bl_cell_metric){.name = name[i],
                                .unit = unit[i],
                                .over = over && over[i][0] ? over[i] : NULL,
                                .n = list[ITEMS][i],
                                .direction = (int)list[DIRECTION][i],
                                .headline = list[HEADLINE][i] != 0,
                                .percent = list[PERCENT][i] != 0};
        BL_TRY(bl_cell_place("task/@/metric/", task, at, e));
        bl_text_add(at, name[i]);
        BL_TRY(bl_text_check(at, e));
        BL_TRY(bl_shard_real(s, at->s, &m[i].value, e));
        bl_text_add(at, "_stderr");
        BL_TRY(bl_text_check(at, e));
        st = bl_shard_real(s, at->s, &m[i].stderr_, e);
        m[i].has_stderr = st == BL_OK;
        if (st != BL_OK && st != BL_E_MISSING) goto out;
    }
    c->metric = m;
    c->n_metrics = n;
    BL_TRY(get_groups(s, task, a, at, c, e));
out:
    return st;
}

/* ---- samples ------------------------------------------------------------------------------------ */
/* The integers of a sample, in the order of their columns. */
static const struct {
    const char *name, *meaning;
} ints[] = {
    {"id", "row of the dataset, from 0"},
    {"pick", "choice that was taken, -1: none"},
    {"gold", "right choice, -1: none"},
    {"n_choices", "number of choices"},
    {"flags", "1 tie, 2 truncated, 4 boundary, 8 hit limit, 16 no answer, 32 unscored"},
    {"tokens", "scored and generated tokens"},
    {"n_values", "how many of samples_value"},
    {"n_replies", "how many of samples_reply"},
    {"n_answers", "how many of samples_answer"},
};
enum { N_INTS = BL_COUNT(ints), VALUES = 6, REPLIES, ANSWERS };

static void ints_of(const bl_sample *s, int64_t out[N_INTS])
{
    const int64_t v[N_INTS] = {s->id,     s->pick,     s->gold,      s->n_choices, s->flags,
                               s->tokens, s->n_values, s->n_replies, s->n_answers};
    memcpy(out, v, sizeof v);
}

static bl_status put_rows(bl_record *r, const bl_cell *c, const char *where, bl_arena *a, bl_err *e)
{
    bl_status st = BL_OK;
    size_t n = (size_t)c->n_samples;
    int n_scores = n ? c->sample[0].n_scores : 0;
    bl_column *column = bl_alloc(a, (size_t)N_INTS + (size_t)n_scores, sizeof *column, e);
    int64_t *v[N_INTS], row[N_INTS];

    if (!column) return BL_E_NOMEM;
    for (size_t k = 0; k < N_INTS; k++) {
        BL_TRY(no_memory(v[k] = bl_alloc(a, n, sizeof **v, e)));
        column[k] = (bl_column){ints[k].name, "1", ints[k].meaning, BL_COL_INT, v[k]};
    }
    for (size_t i = 0; i < n; i++) {
        ints_of(&c->sample[i], row);
        for (size_t k = 0; k < N_INTS; k++) v[k][i] = row[k];
        if (c->sample[i].n_scores != n_scores) {
            st = bl_fail(e, BL_E_INTERNAL, "sample %lld has %d scores, the first has %d", (long long)c->sample[i].id,
                         c->sample[i].n_scores, n_scores);
            goto out;
        }
    }
    for (int k = 0; k < n_scores; k++) {
        char name[32];
        const char *kept;
        double *score;
        snprintf(name, sizeof name, "score_%d", k);
        BL_TRY(no_memory(kept = bl_arena_str(a, name, strlen(name), e)));
        BL_TRY(no_memory(score = bl_alloc(a, n, sizeof *score, e)));
        for (size_t i = 0; i < n; i++) score[i] = c->sample[i].score[k];
        column[N_INTS + k] = (bl_column){kept, "1", "score of the task: what its metrics average", BL_COL_REAL, score};
    }
    BL_TRY(bl_record_table(r, where, &(bl_table_data){(int64_t)n, (int)N_INTS + n_scores, column}, e));
out:
    return st;
}

/* The lists of all samples, one after the other: values, then texts. */
static bl_status put_values(bl_record *r, const bl_cell *c, const char *where, bl_arena *a, bl_err *e)
{
    size_t n = 0, at = 0;
    double *v;

    for (int64_t i = 0; i < c->n_samples; i++) n += (size_t)c->sample[i].n_values;
    if (!n) return BL_OK;
    if (!(v = bl_alloc(a, n, sizeof *v, e))) return BL_E_NOMEM;
    for (int64_t i = 0; i < c->n_samples; i++)
        for (int k = 0; k < c->sample[i].n_values; k++) v[at++] = c->sample[i].value[k];
    return bl_record_reals(r, where, v, (int64_t)n, "1", "nll of a choice in nat, or the task's own sums", e);
}

static bl_status put_texts(bl_record *r, const bl_cell *c, bool answers, const char *where, bl_arena *a, bl_err *e)
{
    size_t n = 0, at = 0;
    const char **v;

    for (int64_t i = 0; i < c->n_samples; i++) n += (size_t)(answers ? c->sample[i].n_answers : c->sample[i].n_replies);
    if (!n) return BL_OK;
    if (!(v = bl_alloc(a, n, sizeof *v, e))) return BL_E_NOMEM;
    for (int64_t i = 0; i < c->n_samples; i++) {
        const bl_sample *s = &c->sample[i];
        for (int k = 0; k < (answers ? s->n_answers : s->n_replies); k++) v[at++] = (answers ? s->answer : s->reply)[k];
    }
    return bl_record_texts(r, where, v, (int64_t)n,
                           answers ? "what was taken out of a reply" : "text that was generated", e);
}

static bl_status put_sample_groups(bl_record *r, const bl_cell *c, const char *where, bl_arena *a, bl_err *e)
{
    size_t n = (size_t)c->n_samples;
    bool any = false;
    const char **v = bl_alloc(a, n, sizeof *v, e);

    if (!v) return BL_E_NOMEM;
    for (size_t i = 0; i < n; i++) {
        v[i] = c->sample[i].group;
        any = any || v[i];
    }
    return any ? bl_record_texts(r, where, v, (int64_t)n, "what the item belongs to", e) : BL_OK;
}

bl_status bl_put_samples(bl_record *r, const bl_cell *c, bl_text *at, bl_err *e)
{
    bl_status st;
    bl_arena *a = NULL;

    BL_TRY(bl_arena_new(&a, e));
    BL_TRY(bl_cell_place("task/@/samples", c->task, at, e));
    BL_TRY(put_rows(r, c, at->s, a, e));
    BL_TRY(bl_cell_place("task/@/samples_group", c->task, at, e));
    BL_TRY(put_sample_groups(r, c, at->s, a, e));
    BL_TRY(bl_cell_place("task/@/samples_value", c->task, at, e));
    BL_TRY(put_values(r, c, at->s, a, e));
    BL_TRY(bl_cell_place("task/@/samples_reply", c->task, at, e));
    BL_TRY(put_texts(r, c, false, at->s, a, e));
    BL_TRY(bl_cell_place("task/@/samples_answer", c->task, at, e));
    BL_TRY(put_texts(r, c, true, at->s, a, e));
out:
    bl_arena_free(a);
    return st;
}

/* Where the list of each sample begins: counts of one column that are not negative and add up to `all`. */
static bl_status check_counts(const int64_t *count, int64_t n, int64_t all, const char *where, bl_err *e)
{
    int64_t sum = 0;
    for (int64_t i = 0; i < n; i++) {
        if (count[i] < 0 || count[i] > all - sum)
            return bl_fail(e, BL_E_FORMAT, "'%s' has %lld entries, sample %lld needs more", where, (long long)all,
                           (long long)i);
        sum += count[i];
    }
    return bl_same_length(where, all, sum, e);
}

/* One text list, of replies or of answers; an answer that is empty is none. */
static bl_status get_texts(const bl_shard *s, const char *where, const int64_t *count, bool answers, bl_arena *a,
                           bl_sample *sample, int64_t n, bl_err *e)
{
    bl_status st = BL_OK;
    const char **text = NULL;
    int64_t all = 0, at = 0;

    if (bl_shard_has(s, where)) BL_TRY(bl_shard_texts(s, where, a, &text, &all, e));
    BL_TRY(check_counts(count, n, all, where, e));
    for (int64_t i = 0; answers && i < all; i++)
        if (!text[i][0]) text[i] = NULL;
    for (int64_t i = 0; i < n; at += count[i++]) {
        if (!count[i]) continue;
        *(answers ? &sample[i].answer : &sample[i].reply) = text + at;
        *(answers ? &sample[i].n_answers : &sample[i].n_replies) = (int)count[i];
    }
out:
    return st;
}

static bl_status get_scores(const bl_shard *s, const char *where, bl_arena *a, bl_sample *sample, int64_t n, bl_err *e)
{
    bl_status st = BL_OK;
    double **column = NULL, *rows;
    int n_scores = 0;
    size_t cap = 0;
    int64_t got;

    for (;; n_scores++) {
        char name[32];
        snprintf(name, sizeof name, "score_%d", n_scores);
        BL_TRY(bl_grow(&column, &cap, (size_t)n_scores + 1, sizeof *column, e));
        if ((st = bl_shard_column_real(s, where, name, a, &column[n_scores], &got, e)) == BL_E_MISSING) break;
        if (st != BL_OK) goto out;
    }
    if (!(rows = bl_alloc(a, (size_t)n * (size_t)n_scores, sizeof *rows, e))) {
        st = BL_E_NOMEM;
        goto out;
    }
    st = BL_OK;
    for (int64_t i = 0; i < n; i++) {
        sample[i].score = rows + i * n_scores;
        sample[i].n_scores = n_scores;
        for (int k = 0; k < n_scores; k++) rows[i * n_scores + k] = column[k][i];
    }
out:
    bl_free(column);
    return st;
}

bl_status bl_get_samples(const bl_shard *s, const char *task, bl_arena *a, bl_text *at, bl_cell *c, bl_err *e)
{
    bl_status st = BL_OK;
    int64_t *v[N_INTS], n = 0, all = 0, k = 0;
    double *value = NULL;
    const char **group;
    bl_sample *sample;

    BL_TRY(bl_cell_place("task/@/samples", task, at, e));
    for (size_t i = 0; i < N_INTS; i++) BL_TRY(bl_shard_column_int(s, at->s, ints[i].name, a, &v[i], &n, e));
    BL_TRY(no_memory(sample = bl_alloc(a, (size_t)n, sizeof *sample, e)));
    BL_TRY(get_scores(s, at->s, a, sample, n, e));
    BL_TRY(bl_cell_place("task/@/samples_value", task, at, e));
    if (bl_shard_has(s, at->s)) BL_TRY(bl_shard_reals(s, at->s, a, &value, &all, e));
    BL_TRY(check_counts(v[VALUES], n, all, at->s, e));
    for (int64_t i = 0; i < n; k += v[VALUES][i++]) {
        bl_sample *o = &sample[i];
        o->id = v[0][i];
        o->pick = (int32_t)v[1][i];
        o->gold = (int32_t)v[2][i];
        o->n_choices = (int32_t)v[3][i];
        o->flags = (uint32_t)v[4][i];
        o->tokens = v[5][i];
        o->value = v[VALUES][i] ? value + k : NULL;
        o->n_values = (int)v[VALUES][i];
    }
    BL_TRY(bl_cell_place("task/@/samples_reply", task, at, e));
    BL_TRY(get_texts(s, at->s, v[REPLIES], false, a, sample, n, e));
    BL_TRY(bl_cell_place("task/@/samples_answer", task, at, e));
    BL_TRY(get_texts(s, at->s, v[ANSWERS], true, a, sample, n, e));
    BL_TRY(bl_cell_place("task/@/samples_group", task, at, e));
    if (bl_shard_has(s, at->s)) {
        BL_TRY(bl_shard_texts(s, at->s, a, &group, &all, e));
        BL_TRY(bl_same_length(at->s, all, n, e));
        for (int64_t i = 0; i < n; i++) sample[i].group = group[i][0] ? group[i] : NULL;
    }
    c->sample = sample;
    c->n_samples = n;
out:
    return st;
}

/* ---- divergences from the base ------------------------------------------------------------------ */
static int by_value(const void *a, const void *b)
{
    double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

static const struct {
    const char *where, *quantiles, *unit, *meaning, *about;
    size_t at;
} divergences[] = {
    {"task/@/kl", "task/@/kl_quantiles", "nat", "KL divergence from the base model at each scored token",
     "quantiles of the KL divergence over tokens", offsetof(bl_cell, kl)},
    {"task/@/dp", "task/@/dp_quantiles", "1", "probability of each scored token minus what the base model gives it",
     "quantiles of the difference in probability over tokens", offsetof(bl_cell, dp)},
};

bl_status bl_put_divergence(bl_record *r, const bl_cell *c, bl_text *at, bl_err *e)
{
    static const double p[] = {0, 0.01, 0.05, 0.1, 0.25, 0.5, 0.75, 0.9, 0.95, 0.99, 0.999, 1};
    double q[BL_COUNT(p)], *sorted = bl_new((size_t)c->n_kl, sizeof *sorted, e);
    bl_status st = BL_OK;

    if (!sorted) return BL_E_NOMEM;
    for (size_t k = 0; k < BL_COUNT(divergences); k++) {
        const double *v = *(const double *const *)((const char *)c + divergences[k].at);
        BL_TRY(bl_cell_place(divergences[k].where, c->task, at, e));
        if (!v || c->n_kl == 0) {
            BL_TRY(bl_record_absent(r, at->s, c->kl_absent ? c->kl_absent : "not measured", e));
            continue;
        }
        BL_TRY(bl_record_reals(r, at->s, v, c->n_kl, divergences[k].unit, divergences[k].meaning, e));
        memcpy(sorted, v, sizeof *sorted * (size_t)c->n_kl);
        qsort(sorted, (size_t)c->n_kl, sizeof *sorted, by_value);
        for (size_t i = 0; i < BL_COUNT(p); i++) q[i] = bl_percentile(sorted, c->n_kl, p[i]);
        BL_TRY(bl_cell_place(divergences[k].quantiles, c->task, at, e));
        BL_TRY(bl_record_grid(r, at->s, q, &(bl_axis){"quantile", "1", p, (int64_t)BL_COUNT(p)}, NULL,
                              divergences[k].unit, divergences[k].about, e));
    }
out:
    bl_free(sorted);
    return st;
}

bl_status bl_get_divergence(const bl_shard *s, const char *task, bool values, bl_arena *a, bl_text *at, bl_cell *c,
                            bl_err *e)
{
    bl_status st = BL_OK;

    for (size_t k = 0; k < BL_COUNT(divergences) && values; k++) {
        double *v;
        int64_t n;
        BL_TRY(bl_cell_place(divergences[k].where, task, at, e));
        if (!bl_shard_has(s, at->s)) continue;
        BL_TRY(bl_shard_reals(s, at->s, a, &v, &n, e));
        if (c->n_kl) BL_TRY(bl_same_length(at->s, n, c->n_kl, e));
        *(const double **)((char *)c + divergences[k].at) = v;
        c->n_kl = n;
    }
    BL_TRY(bl_cell_place("task/@/kl_absent_reason", task, at, e));
    if (bl_shard_has(s, at->s)) BL_TRY(bl_shard_text(s, at->s, a, &c->kl_absent, e));
out:
    return st;
}

/* ---- layers ------------------------------------------------------------------------------------- */
/* The lines of layer.def as columns; one that no layer has is left out. */
bl_status bl_put_layers(bl_record *r, const bl_cell *c, bl_err *e)
{
    size_t n = (size_t)c->n_layers;
    bl_arena *a = NULL;
    bl_column *column;
    const bl_layer_field *f;
    int n_columns = 0;
    size_t n_fields = 0;
    int64_t *index;
    bl_status st;

    if (!n) return bl_record_absent(r, "method/layers", "no layer was changed", e);
    while (bl_layer_field_at(n_fields)) n_fields++;
    BL_TRY(bl_arena_new(&a, e));
    if (!(index = bl_alloc(a, n, sizeof *index, e)) || !(column = bl_alloc(a, n_fields, sizeof *column, e))) {
        st = BL_E_NOMEM;
        goto out;
    }
    for (size_t i = 0; i < n; i++) index[i] = (int64_t)i;
    for (size_t k = 0; (f = bl_layer_field_at(k)); k++) {
        bool measured = !f->maybe;
        void *v = bl_alloc(a, n, f->unit ? sizeof(double) : sizeof(const char *), e);
        if (!v) {
            st = BL_E_NOMEM;
            goto out;
        }
        for (size_t i = 0; i < n; i++) {
            const void *at = (const char *)&c->layer[i] + f->at;
            if (f->unit) ((double *)v)[i] = *(const double *)at;
            else ((const char **)v)[i] = *(const char *const *)at;
            measured = measured || (f->unit && ((double *)v)[i] >= 0);
        }
        if (measured)
            column[n_columns++] = (bl_column){f->name, f->unit, f->meaning, f->unit ? BL_COL_REAL : BL_COL_TEXT, v};
    }
    BL_TRY(bl_record_table(r, "method/layers", &(bl_table_data){(int64_t)n, n_columns, column}, e));
    BL_TRY(bl_record_ints(r, "method/layers_index", index, (int64_t)n, "1",
                          "order of the linear layers in the model, from 0", e));
    BL_TRY(bl_record_scale(r, "method/layers", "method/layers_index", "layer", e));
    for (int k = 0; k < n_columns; k++) {
        char at[128];
        if (column[k].type != BL_COL_TEXT) continue;
        snprintf(at, sizeof at, "method/layers_%s", column[k].name);
        BL_TRY(bl_record_scale(r, at, "method/layers_index", "layer", e));
    }
out:
    bl_arena_free(a);
    return st;
}

bl_status bl_get_layers(const bl_shard *s, bl_arena *a, bl_cell *c, bl_err *e)
{
    bl_status st = BL_OK;
    const bl_layer_field *f;
    bl_layer_stat *layer = NULL;
    int64_t n = 0, n_values;

    if (!bl_shard_has(s, "method/layers")) return BL_OK;
    for (size_t k = 0; (f = bl_layer_field_at(k)); k++) {
        const char **text = NULL;
        double *v = NULL;
        char at[128];
        snprintf(at, sizeof at, "method/layers_%s", f->name);
        st = f->unit ? bl_shard_column_real(s, "method/layers", f->name, a, &v, &n_values, e)
                     : bl_shard_texts(s, at, a, &text, &n_values, e);
        if (st == BL_E_MISSING && f->maybe) continue;
        if (st != BL_OK) goto out;
        if (!layer) {
            n = n_values;
            if (!(layer = bl_alloc(a, (size_t)n, sizeof *layer, e))) {
                st = BL_E_NOMEM;
                goto out;
            }
            for (int64_t i = 0; i < n; i++) layer[i] = bl_layer_none;
        }
        BL_TRY(bl_same_length(f->unit ? "method/layers" : at, n_values, n, e));
        for (int64_t i = 0; i < n; i++) {
            void *to = (char *)&layer[i] + f->at;
            if (f->unit) *(double *)to = v[i];
            else *(const char **)to = text[i];
        }
    }
    st = BL_OK;
    c->layer = layer;
    c->n_layers = n;
out:
    return st;
}
