/* verb_report.c - one HTML page about a directory of results; asks the tasks for the text of the items it shows. */
#include "session.h"
#include "harness/bench/bench.h"
#include "plots/report.h"
#include <string.h>

typedef struct opts {
    bl_cli_common common;
    const char *out, *data;
} opts;
static const bl_opt rows[] = {{"output", BL_OPT_TEXT, .at = offsetof(opts, out), .arg = "FILE", .letter = 'o',
                               .doc = "the page (DIR/report.html otherwise); -: standard output"},
                              {"data", BL_OPT_TEXT, .at = offsetof(opts, data), .arg = "DIR",
                               .doc = "where data sets are, before BITLADDER_DATA: texts of the items that are shown"},
                              BL_COMMON_ROWS(opts, common),
                              {0}};

/* ---- what an item asks ---- */
/* The data of a task, read once. */
typedef struct loaded {
    const char *name;
    const bl_task *task;
    bl_task_data data;
    const char *why; /* not there */
    bl_hash hash;
} loaded;
typedef struct texts {
    const bl_program *p;
    const char *dir;
    bl_arena *a;
    loaded *task;
    size_t n, cap;
} texts;

static bl_status load(texts *t, const char *name, loaded *out, bl_err *e)
{
    bl_err why = {0};
    bl_data_dirs dirs = {.dir = {t->dir}, .n = t->dir != NULL};
    const char *full;
    *out = (loaded){.name = name, .data = {.arena = t->a}};
    bl_status st = bl_program_task(t->p, name, &out->task, &full, &why);
    if (st == BL_OK) {
        void *topts = bl_alloc(t->a, 1, out->task->opts_size ? out->task->opts_size : 1, e);
        if (!topts) return BL_E_NOMEM;
        if (out->task->opts) bl_opt_defaults(out->task->opts, topts);
        st = out->task->load(&(bl_task_load){.name = full, .opts = topts, .dirs = &dirs}, &out->data, &why);
    }
    if (st == BL_E_NOMEM) return bl_fail(e, st, "%s", why.text);
    if (st != BL_OK && !(out->why = bl_arena_str(t->a, "its text is shown where the data are: --data DIR", 48, e)))
        return BL_E_NOMEM;
    return BL_OK;
}

static bl_status find(texts *t, const char *name, loaded **out, bl_err *e)
{
    bl_status st = BL_OK;
    for (size_t i = 0; i < t->n; i++)
        if (!strcmp(t->task[i].name, name)) {
            *out = &t->task[i];
            return BL_OK;
        }
    BL_TRY(bl_grow(&t->task, &t->cap, t->n + 1, sizeof *t->task, e));
    BL_TRY(load(t, name, &t->task[t->n], e));
    *out = &t->task[t->n++];
out:
    return st;
}

static bl_status joined(const bl_prompt *p, const char *more, bl_arena *a, const char **out, bl_err *e)
{
    bl_text t = {0};
    for (size_t i = 0; i < p->n; i++) bl_text_addn(&t, p->span[i].text, p->span[i].n);
    bl_text_add(&t, more);
    bl_status st = bl_text_check(&t, e);
    if (st == BL_OK && !(*out = bl_arena_str(a, t.s ? t.s : "", t.n, e))) st = BL_E_NOMEM;
    bl_text_free(&t);
    return st;
}

/* Choices after one context, or one continuation after several contexts. */
static bl_status of_pairs(const bl_request *r, bl_arena *a, bl_report_item *out, bl_err *e)
{
    bl_status st = BL_OK;
    const char **choice = bl_alloc(a, (size_t)r->n_pairs, sizeof *choice, e), *first, *other;
    bool one_context = true;

    if (!choice) return BL_E_NOMEM;
    BL_TRY(joined(&r->pair[0].context, "", a, &first, e));
    for (int i = 1; i < r->n_pairs; i++) {
        BL_TRY(joined(&r->pair[i].context, "", a, &other, e));
        one_context = one_context && !strcmp(first, other);
    }
    for (int i = 0; i < r->n_pairs; i++) {
        const char *text = r->pair[i].continuation;
        if (one_context) choice[i] = bl_arena_str(a, text + (*text == ' '), strlen(text + (*text == ' ')), e);
        else BL_TRY(joined(&r->pair[i].context, text, a, &choice[i], e));
        if (!choice[i]) {
            st = BL_E_NOMEM;
            goto out;
        }
    }
    *out = (bl_report_item){
        .question = one_context ? first : "Which is likelier?", .choice = choice, .n_choices = r->n_pairs};
out:
    return st;
}

static bl_status item(void *ctx, const bl_cell *c, int64_t id, bl_arena *a, bl_report_item *out, bl_err *e)
{
    bl_status st = BL_OK;
    texts *t = ctx;
    loaded *l;
    bl_request r = {0};
    bl_turn turn = {.arena = a};
    char hash[33];

    BL_TRY(find(t, c->task, &l, e));
    *out = (bl_report_item){.why = l->why};
    if (l->why) goto out;
    bl_hash_hex(l->data.hash, hash);
    if (strcmp(hash, c->data_hash) != 0 || id < 0 || id >= l->data.n) {
        out->why = "the data here are others than those of the results: its text is not shown";
        goto out;
    }
    BL_TRY(l->task->ask(&l->data, id, &turn, &r, e));
    if (r.kind == BL_ASK_PAIRS) BL_TRY(of_pairs(&r, a, out, e));
    else if (r.kind == BL_ASK_GENERATE) BL_TRY(joined(&r.prompt, "", a, &out->question, e));
    else out->why = "it is a piece of running text";
    if (out->question && !out->n_choices && l->task->gold) out->gold = l->task->gold(&l->data, id);
out:
    return st;
}

/* ---- the verb ---- */
static bl_status run(const bl_program *p, const void *options, const bl_args *args, int *exit_code, bl_err *e)
{
    bl_status st = BL_OK;
    const opts *o = options;
    const char *dir = args->pos[0];
    bl_table *table = NULL;
    bl_arena *a = NULL;
    bl_metric_rules rules = bl_program_metrics(p);
    bl_plot_input in = {.rules = &rules};
    bl_kernel_row *kernel = NULL;
    bl_kernel_facts facts;
    bl_text html = {0}, said = {0};
    texts t = {.p = p, .dir = o->data};
    char *path = NULL;

    BL_TRY(bl_arena_new(&a, e));
    t.a = a;
    BL_TRY(bl_table_read(&dir, 1, &table, e));
    BL_TRY(bl_table_against(table, &(bl_table_opts){0}, &(bl_against){"base", rules}, e));
    in.table = table;
    BL_TRY(bl_plot_read(&in, a, e));
    BL_TRY(bl_bench_read(dir, a, &kernel, &in.n_kernels, &facts, e));
    in.kernel = kernel;
    in.facts = kernel ? &facts : NULL;
    if (!table->n && !in.n_kernels) {
        st = bl_fail(e, BL_E_MISSING, "%s: there are no results in it", dir);
        goto out;
    }
    BL_TRY(bl_report_write(&(bl_report){.in = &in, .dir = dir, .item = item, .ctx = &t}, &html, e));
    if (!(path = o->out ? bl_strdup(o->out, e) : bl_join(dir, "report.html", e))) {
        st = BL_E_NOMEM;
        goto out;
    }
    BL_TRY(bl_output(path, &html, e));
    if (strcmp(path, "-") != 0 && !o->common.quiet) {
        if (o->common.json) {
            bl_json_out j = {.t = &said};
            bl_json_object(&j, NULL);
            bl_json_add_str(&j, "path", path);
            bl_json_end(&j);
        } else bl_text_add(&said, path);
        bl_text_add(&said, "\n");
        BL_TRY(bl_output(NULL, &said, e));
    }
    for (size_t i = 0; i < table->skipped; i++) fprintf(stderr, "bitladder: skipped: %s\n", table->skipped_reason[i]);
    if (table->skipped) *exit_code = 1;
out:
    bl_free(path);
    bl_free(t.task);
    bl_text_free(&html);
    bl_text_free(&said);
    bl_table_free(table);
    bl_arena_free(a);
    return st;
}

const bl_verb bl_verb_report = {
    .name = "report",
    .args = "DIR",
    .line = "one HTML page: which rows are worse, by how much, how sure; figures, lost items",
    .doc =
        "Writes a page that is whole in itself (no script, font or picture from elsewhere): differences from base with "
        "their verdicts, tables, figures, the items that most rows lost with their text, conventions, environment, and "
        "the commands that make it again. Figures need gnuplot. Exit 1 when a file was skipped.",
    .example = "bitladder report runs/a -o report.html",
    .opts = rows,
    .opts_size = sizeof(opts),
    .min_args = 1,
    .max_args = 1,
    .run = run,
};
