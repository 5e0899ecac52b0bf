/* verb_samples.c - the single items behind a number. */
#include "session.h"
#include "rows.h"
#include "kernels/base/fs.h"
#include "results/cell.h"
#include <fnmatch.h>
#include <string.h>

typedef struct opts {
    bl_cli_common common;
    const char *task, *method, *flipped, *out;
    bool wrong;
    int format;
} opts;
static const char *const formats[] = {"jsonl", "json", NULL};
static const bl_opt rows[] = {
    {"task", BL_OPT_TEXT, .at = offsetof(opts, task), .arg = "TASK", .doc = "only this task; globs allowed"},
    {"method", BL_OPT_TEXT, .at = offsetof(opts, method), .arg = "METHOD",
     .doc = "only this method, as it is typed in run; globs allowed"},
    {"wrong", BL_OPT_BOOL, .at = offsetof(opts, wrong), .doc = "only items whose first score is 0"},
    {"flipped", BL_OPT_TEXT, .at = offsetof(opts, flipped), .arg = "BASE",
     .doc = "only items that are right in one of BASE (a method) and this cell, wrong in the other"},
    {"format", BL_OPT_CHOICE, .choices = formats, .at = offsetof(opts, format),
     .doc = "jsonl: a line each; json: one list, as --json"},
    {"output", BL_OPT_TEXT, .at = offsetof(opts, out), .arg = "FILE", .letter = 'o',
     .doc = "write there instead of standard output"},
    BL_COMMON_ROWS(opts, common),
    {0}};

typedef struct found {
    bl_cell cell;
} found;

/* Metrics of the cell's task: those that are means of a score name the scores. */
typedef struct scores {
    const bl_metric *metric;
    int n;
} scores;

static int count_means(const scores *k)
{
    int n = 0;
    for (int i = 0; i < k->n; i++) n += k->metric[i].agg == BL_AGG_MEAN;
    return n;
}

static void print_texts(bl_json_out *j, const char *name, const char *const *text, int n)
{
    if (!n) return;
    bl_json_array(j, name);
    for (int i = 0; i < n; i++) bl_json_add_str(j, NULL, text[i]);
    bl_json_end(j);
}

static void print_sample(const bl_cell *c, const scores *k, const bl_sample *s, bl_json_out *j)
{
    bl_json_object(j, NULL);
    bl_json_add_str(j, "cell", c->key);
    bl_json_add_int(j, "id", s->id);
    if (s->group) bl_json_add_str(j, "group", s->group);
    bl_json_add_int(j, "pick", s->pick);
    bl_json_add_int(j, "gold", s->gold);
    bl_json_add_int(j, "tokens", s->tokens);
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
    bl_json_array(j, "values");
    for (int i = 0; i < s->n_values; i++) bl_json_add_real(j, NULL, s->value[i]);
    bl_json_end(j);
    bl_json_array(j, "flags");
    for (int i = 0; bl_sample_flag_name(i); i++)
        if (s->flags >> i & 1) bl_json_add_str(j, NULL, bl_sample_flag_name(i));
    bl_json_end(j);
    print_texts(j, "answers", s->answer, s->n_answers);
    print_texts(j, "replies", s->reply, s->n_replies);
    bl_json_end(j);
}

static const bl_cell *partner(const found *all, size_t n, const bl_cell *c, const char *method)
{
    for (size_t i = 0; i < n; i++) {
        const bl_cell *b = &all[i].cell;
        if (strcmp(b->method, method) == 0 && strcmp(b->model, c->model) == 0 && strcmp(b->task, c->task) == 0 &&
            b->seed == c->seed && b->limit == c->limit)
            return b;
    }
    return NULL;
}

static bl_status run(const bl_program *p, const void *options, const bl_args *args, int *exit_code, bl_err *e)
{
    bl_status st = BL_OK;
    const opts *o = options;
    char **name = NULL;
    size_t n_names = 0, n = 0, shown = 0;
    bool list = o->common.json || o->format == 1;
    bl_arena *a = NULL;
    found *all;
    bl_text t = {0};
    bl_json_out all_lines = {.t = &t};

    BL_TRY(bl_arena_new(&a, e));
    if (list) bl_json_lines(&all_lines, NULL);
    BL_TRY(bl_dir_list(args->pos[0], &name, &n_names, e));
    if (!(all = bl_alloc(a, n_names, sizeof *all, e))) {
        st = BL_E_NOMEM;
        goto out;
    }
    for (size_t i = 0; i < n_names; i++) {
        size_t len = strlen(name[i]);
        bl_err why = {0};
        if (len < 3 || strcmp(name[i] + len - 3, ".h5") != 0 || strcmp(name[i], "kernels.h5") == 0) continue;
        char *path = bl_join(args->pos[0], name[i], e);
        if (!path) {
            st = BL_E_NOMEM;
            goto out;
        }
        bl_status s = bl_cell_read(path, true, a, &all[n].cell, &why);
        bl_free(path);
        if (s == BL_OK) n++;
        else {
            fprintf(stderr, "bitladder: skipped: %s\n", why.text);
            *exit_code = 1;
        }
    }
    for (size_t i = 0; i < n; i++) {
        const bl_cell *c = &all[i].cell, *b = NULL;
        const bl_task *task;
        const char *task_name;
        scores k = {0};
        if (o->task && fnmatch(o->task, c->task, 0) != 0) continue;
        if (o->method && !bl_method_fits(p, o->method, c->method)) continue;
        if (o->flipped && (strcmp(c->method, o->flipped) == 0 || !(b = partner(all, n, c, o->flipped)))) continue;
        if (bl_program_task(p, c->task, &task, &task_name, NULL) == BL_OK)
            k.metric = bl_task_metrics(task, task_name, &k.n);
        if ((o->wrong || o->flipped) && !count_means(&k)) continue; /* perplexity: no item is right or wrong */
        shown++;
        for (int64_t m = 0; m < c->n_samples; m++) {
            const bl_sample *s = &c->sample[m];
            if ((o->wrong || b) && !s->n_scores) continue;
            if (o->wrong && s->score[0] > 0.5) continue;
            if (b && (m >= b->n_samples || b->sample[m].id != s->id || !b->sample[m].n_scores ||
                      (b->sample[m].score[0] > 0.5) == (s->score[0] > 0.5)))
                continue;
            bl_json_out line = {.t = &t};
            print_sample(c, &k, s, list ? &all_lines : &line);
            if (!list) bl_text_add(&t, "\n");
        }
    }
    if (list) {
        bl_json_end(&all_lines);
        bl_text_add(&t, "\n");
    }
    if (!shown) {
        st = bl_fail(e, BL_E_MISSING, "%s: no cell of %zu fits", args->pos[0], n);
        goto out;
    }
    BL_TRY(bl_output(o->out, &t, e));
out:
    bl_list_free(name, n_names);
    bl_text_free(&t);
    bl_arena_free(a);
    return st;
}

const bl_verb bl_verb_samples = {
    .name = "samples",
    .args = "DIR",
    .line = "the single items behind a number, as JSON lines",
    .doc = "Prints the recorded items of the cells in DIR: picks, scores, log-likelihoods, replies.",
    .example = "bitladder samples runs/a --task piqa --method rtn:w3g64 --flipped base",
    .opts = rows,
    .opts_size = sizeof(opts),
    .min_args = 1,
    .max_args = 1,
    .run = run,
};
