/* cell.c - the list of what is in a shard, written and read through one table of fields.
 *
 * results/schema.md says the same in words; a test compares both with a real file.
 */
#include "cell_impl.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

/* What a table needs comes first in each group: HDF5 looks through the attributes of an object in the order in which
 * they were written.
 * '@' stands for the name of the task. Absent integers read as `least` - 1, absent reals as 0, absent texts as NULL. */
enum { TABLE = 1, NULLABLE = 2 };
typedef enum kind { TEXT, INT, REAL } kind;
typedef struct field {
    const char *where;
    kind kind;
    size_t at;
    const char *unit;
    int64_t least;
    const char *absent;
    int flags;
} field;
#define AT(m) .at = offsetof(bl_cell, m)
static const char no_option[] = "the method has no such option", not_measured[] = "not measured";
static const field fields[] = {
    {"created", TEXT, AT(created), .flags = NULLABLE},
    {"model/name", TEXT, AT(model), .flags = TABLE},
    {"model/stored_as", TEXT, AT(stored_as), .flags = TABLE},
    {"model/bits_per_weight", REAL, AT(bits_per_weight), "1", 0, not_measured, TABLE},
    {"model/packed_bytes", INT, AT(packed_bytes), "byte", 1, not_measured, TABLE},
    {"model/fingerprint", TEXT, AT(model_fingerprint)},
    {"model/tokenizer_hash", TEXT, AT(tokenizer_hash)},
    {"method/text", TEXT, AT(method), .flags = TABLE},
    {"method/wbits", INT, AT(wbits), "bit", 0, no_option, TABLE},
    {"method/group_text", TEXT, AT(group_text), .flags = TABLE},
    {"method/simulated", TEXT, AT(simulated), .flags = TABLE | NULLABLE},
    {"method/notes", TEXT, AT(notes), .flags = TABLE},
    {"method/name", TEXT, AT(method_name)},
    {"method/version", INT, AT(method_version)},
    {"method/options", TEXT, AT(method_options)},
    {"task/@/name", TEXT, AT(task), .flags = TABLE},
    {"task/@/version", INT, AT(task_version), .flags = TABLE},
    {"task/@/seed", INT, AT(seed), .flags = TABLE},
    {"task/@/limit", INT, AT(limit), .flags = TABLE},
    {"task/@/truncated", INT, AT(truncated), .flags = TABLE},
    {"task/@/options", TEXT, AT(task_options)},
    {"task/@/data_hash", TEXT, AT(data_hash)},
    {"task/@/bos", TEXT, AT(bos)},
    {"task/@/scored_tokens", INT, AT(scored_tokens)},
    {"task/@/boundary", INT, AT(boundary)},
    {"task/@/ties", INT, AT(ties)},
    {"task/@/hit_limit", INT, AT(hit_limit)},
    {"task/@/no_answer", INT, AT(no_answer)},
    {"run/seconds", REAL, AT(seconds), "s", 0, not_measured, TABLE},
    {"run/quantize_seconds", REAL, AT(quantize_seconds), "s", 0, not_measured, TABLE},
    {"run/tokens_per_second", REAL, AT(tokens_per_second), "s-1", 0, not_measured, TABLE},
    {"run/peak_bytes", INT, AT(peak_bytes), "byte", 1, not_measured, TABLE},
    {"run/kv_bytes", INT, AT(kv_bytes), "byte", .flags = TABLE},
    {"run/bytes_read", INT, AT(bytes_read), "byte", .flags = TABLE},
    {"run/batch_tokens", INT, AT(batch_tokens)},
    {"run/product_calls_1", INT, AT(product_rows[0])},
    {"run/product_calls_2_to_8", INT, AT(product_rows[1])},
    {"run/product_calls_9_to_64", INT, AT(product_rows[2])},
    {"run/product_calls_above_64", INT, AT(product_rows[3])},
    {"run/model_path", TEXT, AT(model_path)},
    {"env/device", TEXT, AT(device)},
    {"env/simd", TEXT, AT(simd)},
    {"env/libraries", TEXT, AT(libraries)},
    {"env/commit", TEXT, AT(commit)},
    {"env/host", TEXT, AT(host)},
    {"env/threads", INT, AT(threads)},
};

/* "task/@<tail>" with the task's group name in place of the sign. HDF5 names cannot hold '/', and "." means something
 * else. */
static bl_status place(const char *where, const char *task, bl_text *out, bl_err *e)
{
    const char *star = strchr(where, '@');

    out->n = 0;
    bl_text_addn(out, where, star ? (size_t)(star - where) : strlen(where));
    for (const char *c = task; star && *c; c++) {
        if (*c == '/' || *c == '%' || !strcmp(task, ".")) bl_text_addf(out, "%%%02X", (unsigned)(unsigned char)*c);
        else bl_text_addn(out, c, 1);
    }
    if (star) bl_text_add(out, star + 1);
    return bl_text_check(out, e);
}

/* ---- writing ------------------------------------------------------------------------------------ */
static bl_status put_field(bl_record *r, const field *f, const bl_cell *c, const char *where, bl_err *e)
{
    const void *p = (const char *)c + f->at;
    const char *s;
    int64_t n;
    double v;

    switch (f->kind) {
    case TEXT: s = *(const char *const *)p; return !s && (f->flags & NULLABLE) ? BL_OK : bl_record_text(r, where, s, e);
    case INT:
        n = *(const int64_t *)p;
        return f->absent && n < f->least ? bl_record_absent(r, where, f->absent, e)
                                         : bl_record_int(r, where, n, f->unit, e);
    case REAL:
        v = *(const double *)p;
        return f->absent && v <= 0 ? bl_record_absent(r, where, f->absent, e) : bl_record_real(r, where, v, f->unit, e);
    }
    return BL_OK;
}

/* Values and standard errors are attributes of the group `metric`; what every metric has stands in lists beside it. */
static bl_status put_metrics(bl_record *r, const bl_cell *c, bl_text *at, bl_err *e)
{
    bl_status st = BL_OK;
    size_t n = (size_t)c->n_metrics;
    const char **name = bl_new(n, sizeof *name, e), **unit = bl_new(n, sizeof *unit, e);
    int64_t *items = bl_new(n, sizeof *items, e), *direction = bl_new(n, sizeof *direction, e);

    if (!name || !unit || !items || !direction) {
        st = BL_E_NOMEM;
        goto out;
    }
    for (size_t i = 0; i < n; i++) {
        name[i] = c->metric[i].name;
        unit[i] = c->metric[i].unit ? c->metric[i].unit : "1";
        items[i] = c->metric[i].n;
        direction[i] = c->metric[i].direction;
    }
    BL_TRY(place("task/@/metric_names", c->task, at, e));
    BL_TRY(bl_record_names(r, at->s, name, c->n_metrics, e));
    BL_TRY(place("task/@/metric_units", c->task, at, e));
    BL_TRY(bl_record_names(r, at->s, unit, c->n_metrics, e));
    BL_TRY(place("task/@/metric_n", c->task, at, e));
    BL_TRY(bl_record_counts(r, at->s, items, c->n_metrics, e));
    BL_TRY(place("task/@/metric_directions", c->task, at, e));
    BL_TRY(bl_record_counts(r, at->s, direction, c->n_metrics, e));
    for (size_t i = 0; i < n; i++) {
        const bl_cell_metric *m = &c->metric[i];
        BL_TRY(place("task/@/metric/", c->task, at, e));
        bl_text_add(at, m->name);
        BL_TRY(bl_text_check(at, e));
        BL_TRY(bl_record_real(r, at->s, m->value, NULL, e));
        if (!m->has_stderr) continue;
        bl_text_add(at, "_stderr");
        BL_TRY(bl_text_check(at, e));
        BL_TRY(bl_record_real(r, at->s, m->stderr_, NULL, e));
    }
out:
    bl_free(name);
    bl_free(unit);
    bl_free(items);
    bl_free(direction);
    return st;
}

/* How many columns of score (or value) hold anything: up to the last that is not zero in some sample, at least `least`.
 */
static int used(const bl_cell *c, bool values, int least)
{
    int most = values ? BL_MAX_VALUES : BL_MAX_SCORES;
    for (int k = most; k > least; k--)
        for (int64_t i = 0; i < c->n_samples; i++)
            if ((values ? c->sample[i].value : c->sample[i].score)[k - 1] != 0) return k;
    return least;
}

static bl_status put_samples(bl_record *r, const bl_cell *c, const char *where, bl_err *e)
{
    static const char *const score[] = {"score_0", "score_1", "score_2", "score_3",
                                        "score_4", "score_5", "score_6", "score_7"};
    static const char *const value[] = {"value_0", "value_1", "value_2", "value_3",
                                        "value_4", "value_5", "value_6", "value_7"};
    size_t n = (size_t)c->n_samples;
    int n_scores = used(c, false, 1), n_values = used(c, true, 0), n_columns = 0;
    bool has_reply = false, has_answer = false;
    bl_arena *a = NULL;
    bl_column column[8 + BL_MAX_SCORES + BL_MAX_VALUES];
    int64_t *ints[6];
    double *reals[BL_MAX_SCORES + BL_MAX_VALUES];
    const char **reply, **answer;
    bl_status st;

    BL_TRY(bl_arena_new(&a, e));
    for (size_t k = 0; k < BL_COUNT(ints); k++)
        if (!(ints[k] = bl_alloc(a, n, sizeof **ints, e))) {
            st = BL_E_NOMEM;
            goto out;
        }
    for (int k = 0; k < n_scores + n_values; k++)
        if (!(reals[k] = bl_alloc(a, n, sizeof **reals, e))) {
            st = BL_E_NOMEM;
            goto out;
        }
    if (!(reply = bl_alloc(a, n, sizeof *reply, e)) || !(answer = bl_alloc(a, n, sizeof *answer, e))) {
        st = BL_E_NOMEM;
        goto out;
    }
    for (size_t i = 0; i < n; i++) {
        const bl_sample *s = &c->sample[i];
        int64_t row[] = {s->id, s->pick, s->gold, s->n_choices, s->flags, s->tokens};
        for (size_t k = 0; k < BL_COUNT(ints); k++) ints[k][i] = row[k];
        for (int k = 0; k < n_scores; k++) reals[k][i] = s->score[k];
        for (int k = 0; k < n_values; k++) reals[n_scores + k][i] = s->value[k];
        reply[i] = s->reply;
        answer[i] = s->answer;
        has_reply = has_reply || s->reply;
        has_answer = has_answer || s->answer;
    }
    column[n_columns++] = (bl_column){"id", "1", "row of the dataset, from 0", BL_COL_INT, ints[0]};
    column[n_columns++] = (bl_column){"pick", "1", "choice that was taken, -1: none", BL_COL_INT, ints[1]};
    column[n_columns++] = (bl_column){"gold", "1", "right choice, -1: none", BL_COL_INT, ints[2]};
    column[n_columns++] = (bl_column){"n_choices", "1", "number of choices", BL_COL_INT, ints[3]};
    column[n_columns++] = (bl_column){"flags", "1", "1 tie, 2 truncated, 4 boundary, 8 hit limit, 16 no answer",
                                      BL_COL_INT, ints[4]};
    column[n_columns++] = (bl_column){"tokens", "1", "scored or generated tokens", BL_COL_INT, ints[5]};
    for (int k = 0; k < n_scores; k++)
        column[n_columns++] = (bl_column){score[k], "1", "score of the task, in the order of its metrics", BL_COL_REAL,
                                          reals[k]};
    for (int k = 0; k < n_values; k++)
        column[n_columns++] = (bl_column){value[k], "1", "nll of a choice in nat, or the task's own sums", BL_COL_REAL,
                                          reals[n_scores + k]};
    if (has_reply) column[n_columns++] = (bl_column){"reply", NULL, "text that was generated", BL_COL_TEXT, reply};
    if (has_answer) column[n_columns++] = (bl_column){"answer", NULL, "what was taken out of it", BL_COL_TEXT, answer};
    st = bl_record_table(r, where, &(bl_table_data){(int64_t)n, n_columns, column}, e);
out:
    bl_arena_free(a);
    return st;
}

/* The lines of layer.def as columns; one that no layer has is left out. */
static bl_status put_layers(bl_record *r, const bl_cell *c, bl_err *e)
{
    size_t n = (size_t)c->n_layers;
    bl_arena *a = NULL;
    bl_column *column;
    const bl_layer_field *f;
    int n_columns = 0;
    size_t n_fields = 0;
    int64_t *index;
    bl_status st;

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

static int by_value(const void *a, const void *b)
{
    double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

static bl_status put_kl(bl_record *r, const bl_cell *c, bl_text *at, bl_err *e)
{
    static const double p[] = {0, 0.01, 0.05, 0.1, 0.25, 0.5, 0.75, 0.9, 0.95, 0.99, 0.999, 1};
    double q[BL_COUNT(p)], *sorted = NULL;
    bl_status st = BL_OK;

    BL_TRY(place("task/@/kl", c->task, at, e));
    if (!c->kl || c->n_kl == 0) {
        st = bl_record_absent(r, at->s, c->kl_absent ? c->kl_absent : not_measured, e);
        goto out;
    }
    BL_TRY(
        bl_record_reals(r, at->s, c->kl, c->n_kl, "nat", "KL divergence from the base model at each scored token", e));
    if (!(sorted = bl_new((size_t)c->n_kl, sizeof *sorted, e))) {
        st = BL_E_NOMEM;
        goto out;
    }
    memcpy(sorted, c->kl, sizeof *sorted * (size_t)c->n_kl);
    qsort(sorted, (size_t)c->n_kl, sizeof *sorted, by_value);
    for (size_t i = 0; i < BL_COUNT(p); i++) q[i] = bl_percentile(sorted, c->n_kl, p[i]);
    BL_TRY(place("task/@/kl_quantiles", c->task, at, e));
    BL_TRY(bl_record_grid(r, at->s, q, &(bl_axis){"quantile", "1", p, (int64_t)BL_COUNT(p)}, NULL, "nat",
                          "quantiles of the KL divergence over tokens", e));
out:
    bl_free(sorted);
    return st;
}

bl_status bl_cell_write(const char *dir, const bl_cell *c, bl_err *e)
{
    bl_status st;
    bl_record *r = NULL;
    char *file = NULL, *name = NULL, *path = NULL;
    bl_text at = {0};
    bool has_group = c->group_text && c->group_text[0];

    if (!(file = bl_cell_file(c->key, c->hash, e)) || !(name = bl_format_text(e, "%s.h5", file)) ||
        !(path = bl_join(dir, name, e))) {
        st = BL_E_NOMEM;
        goto out;
    }
    BL_TRY(bl_record_begin(path, c->key, c->hash, &r, e));
    for (size_t i = 0; i < BL_COUNT(fields); i++) {
        BL_TRY(place(fields[i].where, c->task, &at, e));
        BL_TRY(put_field(r, &fields[i], c, at.s, e));
    }
    BL_TRY(has_group ? bl_record_int(r, "method/group", c->group, NULL, e)
                     : bl_record_absent(r, "method/group", no_option, e));
    BL_TRY(put_metrics(r, c, &at, e));
    BL_TRY(place("task/@/samples", c->task, &at, e));
    BL_TRY(put_samples(r, c, at.s, e));
    BL_TRY(put_kl(r, c, &at, e));
    BL_TRY(c->n_layers ? put_layers(r, c, e) : bl_record_absent(r, "method/layers", "no layer was changed", e));
    BL_TRY(bl_record_commit(r, e));
    r = NULL;
out:
    bl_record_drop(r);
    bl_text_free(&at);
    bl_free(path);
    bl_free(name);
    bl_free(file);
    return st;
}

/* ---- reading ------------------------------------------------------------------------------------ */
static bl_status get_field(const bl_shard *s, const field *f, const char *where, bl_arena *a, bl_cell *c, bl_err *e)
{
    void *p = (char *)c + f->at;
    bl_status st = BL_OK;
    bool optional = f->absent || (f->flags & NULLABLE);

    switch (f->kind) {
    case TEXT: st = bl_shard_text(s, where, a, p, e); break;
    case INT:
        st = bl_shard_int(s, where, p, e);
        if (st == BL_E_MISSING && optional) *(int64_t *)p = f->least - 1;
        break;
    case REAL: st = bl_shard_real(s, where, p, e); break;
    }
    return st == BL_E_MISSING && optional ? BL_OK : st;
}

static bl_status same_length(const char *where, int64_t n, int64_t expected, bl_err *e)
{
    return n == expected ? BL_OK
                         : bl_fail(e, BL_E_FORMAT, "'%s' has %lld entries, expected %lld", where, (long long)n,
                                   (long long)expected);
}

static bl_status get_metrics(const bl_shard *s, bl_arena *a, bl_text *at, bl_cell *c, bl_err *e)
{
    bl_status st;
    const char **name, **unit;
    int64_t n, n_units, n_items, n_directions, *items, *direction;
    bl_cell_metric *m;

    BL_TRY(place("task/@/metric_names", c->task, at, e));
    BL_TRY(bl_shard_names(s, at->s, a, &name, &n, e));
    BL_TRY(place("task/@/metric_units", c->task, at, e));
    BL_TRY(bl_shard_names(s, at->s, a, &unit, &n_units, e));
    BL_TRY(same_length(at->s, n_units, n, e));
    BL_TRY(place("task/@/metric_n", c->task, at, e));
    BL_TRY(bl_shard_counts(s, at->s, a, &items, &n_items, e));
    BL_TRY(same_length(at->s, n_items, n, e));
    BL_TRY(place("task/@/metric_directions", c->task, at, e));
    BL_TRY(bl_shard_counts(s, at->s, a, &direction, &n_directions, e));
    BL_TRY(same_length(at->s, n_directions, n, e));
    if (!(m = bl_alloc(a, (size_t)n, sizeof *m, e))) {
        st = BL_E_NOMEM;
        goto out;
    }
    for (int64_t i = 0; i < n; i++) {
        m[i] = (bl_cell_metric){.name = name[i], .unit = unit[i], .n = items[i], .direction = (int)direction[i]};
        BL_TRY(place("task/@/metric/", c->task, at, e));
        bl_text_add(at, name[i]);
        BL_TRY(bl_text_check(at, e));
        BL_TRY(bl_shard_real(s, at->s, &m[i].value, e));
        bl_text_add(at, "_stderr");
        BL_TRY(bl_text_check(at, e));
        st = bl_shard_real(s, at->s, &m[i].stderr_, e);
        m[i].has_stderr = st == BL_OK;
        if (st != BL_OK && st != BL_E_MISSING) goto out;
    }
    st = BL_OK;
    c->metric = m;
    c->n_metrics = (int)n;
out:
    return st;
}

static bl_status get_samples(const bl_shard *s, const char *where, bl_arena *a, bl_cell *c, bl_err *e)
{
    static const char *const ints[] = {"id", "pick", "gold", "n_choices", "flags", "tokens"};
    bl_status st = BL_OK;
    int64_t *v, n = 0;
    double *x;
    const char **text;
    char name[32];
    char *at = NULL;
    bl_sample *sample = NULL;

    for (size_t k = 0; k < BL_COUNT(ints); k++) {
        BL_TRY(bl_shard_column_int(s, where, ints[k], a, &v, &n, e));
        if (k == 0 && !(sample = bl_alloc(a, (size_t)n, sizeof *sample, e))) {
            st = BL_E_NOMEM;
            goto out;
        }
        for (int64_t i = 0; i < n; i++) {
            bl_sample *o = &sample[i];
            switch (k) {
            case 0: o->id = v[i]; break;
            case 1: o->pick = (int32_t)v[i]; break;
            case 2: o->gold = (int32_t)v[i]; break;
            case 3: o->n_choices = (int32_t)v[i]; break;
            case 4: o->flags = (uint32_t)v[i]; break;
            case 5: o->tokens = v[i]; break;
            }
        }
    }
    for (int k = 0; k < BL_MAX_SCORES + BL_MAX_VALUES; k++) {
        int at_k = k < BL_MAX_SCORES ? k : k - BL_MAX_SCORES;
        snprintf(name, sizeof name, "%s_%d", k < BL_MAX_SCORES ? "score" : "value", at_k);
        if ((st = bl_shard_column_real(s, where, name, a, &x, &n, e)) == BL_E_MISSING) {
            st = BL_OK;
            continue;
        }
        if (st != BL_OK) goto out;
        for (int64_t i = 0; i < n; i++) (k < BL_MAX_SCORES ? sample[i].score : sample[i].value)[at_k] = x[i];
    }
    c->n_samples = n;
    for (int k = 0; k < 2; k++) {
        if (!(at = bl_format_text(e, "%s_%s", where, k ? "answer" : "reply"))) {
            st = BL_E_NOMEM;
            goto out;
        }
        if (bl_shard_has(s, at)) {
            BL_TRY(bl_shard_texts(s, at, a, &text, &n, e));
            BL_TRY(same_length(at, n, c->n_samples, e));
            for (int64_t i = 0; i < n; i++) {
                if (!k) sample[i].reply = text[i];
                else if (!(sample[i].flags & BL_SAMPLE_NO_ANSWER) || text[i][0]) sample[i].answer = text[i];
            }
        }
        bl_free(at);
        at = NULL;
    }
    c->sample = sample;
out:
    bl_free(at);
    return st;
}

static bl_status get_layers(const bl_shard *s, bl_arena *a, bl_cell *c, bl_err *e)
{
    bl_status st = BL_OK;
    const bl_layer_field *f;
    bl_layer_stat *layer = NULL;
    int64_t n = 0, n_values;

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
        BL_TRY(same_length(f->unit ? "method/layers" : at, n_values, n, e));
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

bl_status bl_cell_of_shard(const bl_shard *s, bl_cell_part part, bl_arena *a, bl_cell *out, bl_err *e)
{
    bl_cell c = {0};
    bl_text at = {0};
    const char **tasks, *hex;
    int64_t n;
    bl_status st;

    BL_TRY(bl_shard_text(s, "run_key", a, &c.key, e));
    BL_TRY(bl_shard_text(s, "cell_hash", a, &hex, e));
    if (strlen(hex) != 32 || sscanf(hex, "%16" SCNx64 "%16" SCNx64, &c.hash.hi, &c.hash.lo) != 2) {
        st = bl_fail(e, BL_E_FORMAT, "cell_hash '%s'", hex);
        goto out;
    }
    BL_TRY(bl_shard_list(s, "task", a, &tasks, &n, e));
    if (n != 1) {
        st = bl_fail(e, BL_E_FORMAT, "%lld tasks in one cell", (long long)n);
        goto out;
    }
    c.task = tasks[0]; /* as a group name; replaced by its attribute below */
    for (size_t i = 0; i < BL_COUNT(fields); i++) {
        const char *star = strchr(fields[i].where, '@');
        if (part == BL_CELL_FOR_TABLE && !(fields[i].flags & TABLE)) continue;
        at.n = 0;
        bl_text_addf(&at, "%.*s%s%s", star ? (int)(star - fields[i].where) : (int)strlen(fields[i].where),
                     fields[i].where, star ? tasks[0] : "", star ? star + 1 : "");
        BL_TRY(bl_text_check(&at, e));
        BL_TRY(get_field(s, &fields[i], at.s, a, &c, e));
    }
    c.group = -1;
    if (c.group_text[0] && part != BL_CELL_FOR_TABLE) BL_TRY(bl_shard_int(s, "method/group", &c.group, e));
    BL_TRY(get_metrics(s, a, &at, &c, e));
    if (part == BL_CELL_FOR_TABLE) goto good;
    if (part == BL_CELL_WHOLE) {
        BL_TRY(place("task/@/samples", c.task, &at, e));
        BL_TRY(get_samples(s, at.s, a, &c, e));
        BL_TRY(place("task/@/kl", c.task, &at, e));
        if (bl_shard_has(s, at.s)) {
            double *kl;
            BL_TRY(bl_shard_reals(s, at.s, a, &kl, &c.n_kl, e));
            c.kl = kl;
        }
    }
    BL_TRY(place("task/@/kl_absent_reason", c.task, &at, e));
    if (bl_shard_has(s, at.s)) BL_TRY(bl_shard_text(s, at.s, a, &c.kl_absent, e));
    if (bl_shard_has(s, "method/layers")) BL_TRY(get_layers(s, a, &c, e));
good:
    *out = c;
out:
    bl_text_free(&at);
    return st;
}

bl_status bl_cell_read(const char *path, bool with_samples, bl_arena *a, bl_cell *out, bl_err *e)
{
    bl_shard *s = NULL;
    bl_status st = bl_shard_open(path, &s, e);

    if (st != BL_OK) return st;
    st = bl_cell_of_shard(s, with_samples ? BL_CELL_WHOLE : BL_CELL_NO_SAMPLES, a, out, e);
    if (st == BL_E_FORMAT || st == BL_E_MISSING) bl_within(e, "%s: not a finished cell", path);
    bl_shard_close(s);
    return st;
}
