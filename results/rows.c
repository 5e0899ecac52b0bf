/* rows.c - the columns of a row by name, which rows are chosen, and the two long forms: csv and json. */
#include "rows.h"
#include "kernels/base/json.h"

#include <fnmatch.h>
#include <inttypes.h>
#include <string.h>

/* ---- columns ------------------------------------------------------------------------------------ */
static void put_real(bl_text *out, double v)
{
    char text[40];
    bl_real_text(v, text);
    bl_text_add(out, text);
}

static void put_count(bl_text *out, int64_t v) { bl_text_addf(out, "%" PRId64, v); }

#define TEXT(member)                                                                                                   \
    static void print_##member(const bl_row *r, bl_text *out) { bl_text_add(out, r->member); }
TEXT(model)
TEXT(stored_as) TEXT(method) TEXT(bits) TEXT(group) TEXT(task) TEXT(metric) TEXT(status) TEXT(reason) TEXT(key)
    TEXT(path) TEXT(notes) TEXT(simulated) TEXT(hash) TEXT(dir) TEXT(unit)
#undef TEXT
        static void print_version(const bl_row *r, bl_text *out)
{
    put_count(out, r->version);
}
static void print_seed(const bl_row *r, bl_text *out) { put_count(out, r->seed); }
static void print_limit(const bl_row *r, bl_text *out)
{
    if (r->limit) put_count(out, r->limit);
}
static void print_n(const bl_row *r, bl_text *out)
{
    if (r->has_value) put_count(out, r->n);
}
static void print_value(const bl_row *r, bl_text *out)
{
    if (r->has_value) put_real(out, r->value);
}
static void print_stderr(const bl_row *r, bl_text *out)
{
    if (r->has_stderr) put_real(out, r->stderr_);
}
static void print_bits_per_weight(const bl_row *r, bl_text *out)
{
    if (r->has_cost && r->bits_per_weight > 0) put_real(out, r->bits_per_weight);
}
static void print_packed_bytes(const bl_row *r, bl_text *out)
{
    if (r->has_cost && r->packed_bytes > 0) put_count(out, r->packed_bytes);
}
static void print_peak_bytes(const bl_row *r, bl_text *out)
{
    if (r->has_cost && r->peak_bytes > 0) put_count(out, r->peak_bytes);
}
static void print_seconds(const bl_row *r, bl_text *out)
{
    if (r->has_cost && r->seconds > 0) put_real(out, r->seconds);
}

static const bl_field fields[] = {
    {"model", print_model, false},
    {"stored_as", print_stored_as, false},
    {"method", print_method, false},
    {"bits", print_bits, false},
    {"group", print_group, false},
    {"task", print_task, false},
    {"version", print_version, false},
    {"metric", print_metric, false},
    {"value", print_value, false},
    {"stderr", print_stderr, false},
    {"n", print_n, false},
    {"limit", print_limit, false},
    {"bits_per_weight", print_bits_per_weight, true},
    {"packed_bytes", print_packed_bytes, true},
    {"peak_bytes", print_peak_bytes, true},
    {"seconds", print_seconds, true},
    {"status", print_status, false},
    {"reason", print_reason, false},
    /* not in the csv form */
    {"seed", print_seed, false},
    {"notes", print_notes, false},
    {"simulated", print_simulated, false},
    {"hash", print_hash, false},
    {"dir", print_dir, false},
    {"key", print_key, false},
    {"path", print_path, false},
    {"unit", print_unit, false},
};

const bl_field *bl_field_at(size_t i) { return i < BL_COUNT(fields) ? &fields[i] : NULL; }

const bl_field *bl_field_find(const char *name, bl_err *e)
{
    const char *names[BL_COUNT(fields) + 1] = {0}, *near;

    for (size_t i = 0; i < BL_COUNT(fields); i++) {
        if (!strcmp(fields[i].name, name)) return &fields[i];
        names[i] = fields[i].name;
    }
    near = bl_nearest(name, names);
    bl_fail(e, BL_E_CONFIG, "a table has no column '%s'%s%s%s", name, near ? "; did you mean " : "", near ? near : "",
            near ? "?" : "");
    return NULL;
}

/* ---- choosing ----------------------------------------------------------------------------------- */
/* Metrics that stand for their task; a task that has none of them is shown by its first metric. */
static const char *const headline[] = {"perplexity",         "word_perplexity",      "acc",       "acc_norm",
                                       "exact_match_strict", "exact_match_flexible", "no_answer", "hit_limit"};
enum { PERPLEXITY, WORD_PERPLEXITY };

static int headline_index(const char *metric)
{
    for (size_t i = 0; i < BL_COUNT(headline); i++)
        if (!strcmp(metric, headline[i])) return (int)i;
    return -1;
}

typedef struct task_metrics {
    const char *task, *first;
    unsigned seen;
} task_metrics;

/* What metrics each task of the table has. */
static bl_status survey(const bl_table *t, task_metrics **out, size_t *n, bl_err *e)
{
    task_metrics *m = NULL;
    size_t count = 0, cap = 0, k = 0;
    bl_status st;

    for (size_t i = 0; i < t->n; i++) {
        const bl_row *r = &t->row[i];
        int at = r->has_value ? headline_index(r->metric) : -1;
        if (!r->has_value) continue;
        if (k >= count || strcmp(m[k].task, r->task))
            for (k = 0; k < count && strcmp(m[k].task, r->task);) k++;
        if (k == count) {
            if ((st = bl_grow(&m, &cap, count + 1, sizeof *m, e)) != BL_OK) {
                bl_free(m);
                return st;
            }
            m[count++] = (task_metrics){r->task, r->metric, 0};
        }
        if (at >= 0) m[k].seen |= 1u << at;
    }
    *out = m;
    *n = count;
    return BL_OK;
}

static bool is_headline(const task_metrics *m, size_t n, const bl_row *r)
{
    size_t k = 0;
    int at = headline_index(r->metric);

    while (k < n && strcmp(m[k].task, r->task)) k++;
    if (k == n) return true;
    if (m[k].seen == 0) return !strcmp(r->metric, m[k].first);
    return at >= 0 && !(at == WORD_PERPLEXITY && m[k].seen & 1u << PERPLEXITY);
}

/* Is `name` in the comma list of names or globs? */
static bool is_listed(const char *list, const char *name)
{
    char one[256];
    while (*list) {
        size_t n = strcspn(list, ",");
        snprintf(one, sizeof one, "%.*s", (int)BL_MIN(n, sizeof one - 1), list);
        if (!fnmatch(one, name, 0)) return true;
        list += n + (list[n] == ',');
    }
    return false;
}

bl_status bl_rows_choose(const bl_table *t, const bl_table_opts *o, size_t **out, size_t *n, bl_err *e)
{
    bool everything = o->all_metrics || o->format == BL_TABLE_CSV || o->format == BL_TABLE_JSON;
    task_metrics *m = NULL;
    size_t n_tasks = 0, count = 0, *chosen = bl_new(t->n, sizeof *chosen, e);
    bl_status st = chosen ? BL_OK : BL_E_NOMEM;

    if (st != BL_OK) goto out;
    BL_TRY(survey(t, &m, &n_tasks, e));
    for (size_t i = 0; i < t->n; i++) {
        const bl_row *r = &t->row[i];
        bool wanted = !r->has_value ||
                      (o->metric ? is_listed(o->metric, r->metric) : everything || is_headline(m, n_tasks, r));
        if (wanted && !(o->failed_only && r->has_value)) chosen[count++] = i;
    }
    *out = chosen;
    *n = count;
    chosen = NULL;
out:
    bl_free(chosen);
    bl_free(m);
    return st;
}

/* ---- csv ---------------------------------------------------------------------------------------- */
static void put_quoted(bl_text *out, const char *s)
{
    bl_text_add(out, "\"");
    for (; *s; s++) {
        if (*s == '"') bl_text_add(out, "\"");
        bl_text_addn(out, s, 1);
    }
    bl_text_add(out, "\"");
}

bl_status bl_table_csv(const bl_table *t, const bl_table_opts *o, bl_text *out, bl_err *e)
{
    size_t *chosen = NULL, n = 0;
    bl_text field = {0};
    bl_status st;

    BL_TRY(bl_rows_choose(t, o, &chosen, &n, e));
    for (size_t k = 0; k < BL_CSV_COLUMNS; k++) bl_text_addf(out, "%s%s", k ? "," : "", fields[k].name);
    bl_text_add(out, "\n");
    for (size_t i = 0; i < n; i++) {
        for (size_t k = 0; k < BL_CSV_COLUMNS; k++) {
            field.n = 0;
            bl_text_add(&field, "");
            fields[k].print(&t->row[chosen[i]], &field);
            BL_TRY(bl_text_check(&field, e));
            if (k) bl_text_add(out, ",");
            if (field.n == 0) continue;
            if (strpbrk(field.s, ",\"\r\n")) put_quoted(out, field.s);
            else bl_text_add(out, field.s);
        }
        bl_text_add(out, "\n");
    }
out:
    bl_text_free(&field);
    bl_free(chosen);
    return st;
}

/* ---- json --------------------------------------------------------------------------------------- */
static void put_member(bl_text *out, const char *name, const char *text)
{
    bl_text_addf(out, ",\"%s\":", name);
    bl_json_put_str(out, text, strlen(text));
}

static void put_number(bl_text *out, const char *name, double v)
{
    bl_text_addf(out, ",\"%s\":", name);
    put_real(out, v);
}

static void put_integer(bl_text *out, const char *name, int64_t v) { bl_text_addf(out, ",\"%s\":%" PRId64, name, v); }

/* What was not measured is left out. */
static void put_row(bl_text *out, const bl_row *r)
{
    bl_text_add(out, "{\"model\":");
    bl_json_put_str(out, r->model, strlen(r->model));
    put_member(out, "stored_as", r->stored_as);
    put_member(out, "method", r->method);
    if (r->bits[0]) bl_text_addf(out, ",\"bits\":%s", r->bits);
    if (r->group[0]) put_member(out, "group", r->group);
    put_member(out, "task", r->task);
    put_integer(out, "version", r->version);
    put_integer(out, "seed", r->seed);
    if (r->limit) put_integer(out, "limit", r->limit);
    put_member(out, "status", r->status);
    if (r->reason[0]) put_member(out, "reason", r->reason);
    if (r->has_value) {
        put_member(out, "metric", r->metric);
        put_member(out, "unit", r->unit);
        put_integer(out, "direction", r->direction);
        put_number(out, "value", r->value);
        if (r->has_stderr) put_number(out, "stderr", r->stderr_);
        put_integer(out, "n", r->n);
        if (r->truncated) put_integer(out, "truncated", r->truncated);
    }
    if (r->has_cost) {
        if (r->bits_per_weight > 0) put_number(out, "bits_per_weight", r->bits_per_weight);
        if (r->packed_bytes > 0) put_integer(out, "packed_bytes", r->packed_bytes);
        if (r->peak_bytes > 0) put_integer(out, "peak_bytes", r->peak_bytes);
        if (r->seconds > 0) put_number(out, "seconds", r->seconds);
        if (r->quantize_seconds > 0) put_number(out, "quantize_seconds", r->quantize_seconds);
        if (r->tokens_per_second > 0) put_number(out, "tokens_per_second", r->tokens_per_second);
        put_integer(out, "kv_bytes", r->kv_bytes);
        put_integer(out, "bytes_read", r->bytes_read);
    }
    if (r->simulated[0]) put_member(out, "simulated", r->simulated);
    if (r->notes[0]) put_member(out, "notes", r->notes);
    put_member(out, "key", r->key);
    put_member(out, "hash", r->hash);
    put_member(out, "path", r->path);
    bl_text_add(out, "}");
}

bl_status bl_table_json(const bl_table *t, const bl_table_opts *o, bl_text *out, bl_err *e)
{
    size_t *chosen = NULL, n = 0;
    bl_status st = bl_rows_choose(t, o, &chosen, &n, e);

    if (st != BL_OK) return st;
    bl_text_add(out, "{\"rows\":[");
    for (size_t i = 0; i < n; i++) {
        bl_text_add(out, i ? ",\n" : "\n");
        put_row(out, &t->row[chosen[i]]);
    }
    bl_text_add(out, "],\n\"skipped\":[");
    for (size_t i = 0; i < t->skipped; i++) {
        bl_text_add(out, i ? ",\n" : "\n");
        bl_json_put_str(out, t->skipped_reason[i], strlen(t->skipped_reason[i]));
    }
    bl_text_add(out, "]}\n");
    bl_free(chosen);
    return BL_OK;
}
