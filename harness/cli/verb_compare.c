/* verb_compare.c - is one set of results better or worse than another, item by item. */
#include "session.h"
#include "results.h"
#include "rows.h"
#include "kernels/base/fs.h"
#include "harness/bench/bench.h"
#include "results/versus.h"
#include <string.h>
#include <unistd.h>

typedef struct opts {
    bl_cli_common common;
    const char *metric, *out;
    double threshold;
    bool all;
    int format;
} opts;
static const char *const formats[] = {"md", "json", NULL};
static const bl_opt rows[] = {
    {"threshold", BL_OPT_REAL, .min = 0, .max = 1e9, .at = offsetof(opts, threshold), .arg = "PERCENT",
     .doc =
         "exit 3 only when something is worse by more: points of a share, percent of another value; of a time 2 where "
         "nothing is said"},
    {"metric", BL_OPT_TEXT, .at = offsetof(opts, metric), .repeat = true, .arg = "NAME",
     .doc = "metrics to compare, globs allowed; each task's headline otherwise"},
    {"all", BL_OPT_BOOL, .at = offsetof(opts, all), .doc = "all metrics"},
    {"format", BL_OPT_CHOICE, .choices = formats, .at = offsetof(opts, format), .doc = "md (aligned), json, as --json"},
    {"output", BL_OPT_TEXT, .at = offsetof(opts, out), .arg = "FILE", .letter = 'o',
     .doc = "write there instead of standard output"},
    BL_COMMON_ROWS(opts, common),
    {0}};

enum { EXIT_WORSE = 3 };

static const char *task_of_rows(const bl_table *t, const char *name)
{
    for (size_t i = 0; i < t->n; i++)
        if (!strcmp(t->row[i].cell->task, name)) return t->row[i].cell->task;
    return NULL;
}

/* What is compared has results, or both have timings. */
static bl_status has_results(const char *dir, const bl_table *t, const char *other, bl_err *e)
{
    if (t->n) return BL_OK;
    if (bl_speed_there(dir))
        return bl_fail(e, BL_E_MISSING, "%s: found timings of bench and no results; expected results, or timings in %s",
                       dir, other);
    return bl_fail(e, BL_E_MISSING, "%s: found no results%s; expected what run or bench --output has written", dir,
                   t->skipped ? " that can be read" : "");
}

/* Two directories of timings, of `bench`. */
static bl_status timings(const opts *o, const bl_args *args, int *exit_code, bl_err *e)
{
    bl_status st = BL_OK;
    bl_text t = {0};
    size_t worse = 0;
    BL_TRY(bl_speed_of_dirs((const char *const[]){args->pos[0], args->pos[1]}, o->threshold,
                            o->common.json || o->format == 1, &t, &worse, e));
    BL_TRY(bl_output(o->out, &t, e));
    if (worse) *exit_code = EXIT_WORSE;
out:
    bl_text_free(&t);
    return st;
}

static bl_status run(const bl_program *p, const void *options, const bl_args *args, int *exit_code, bl_err *e)
{
    bl_status st = BL_OK;
    const opts *o = options;
    bl_table *a = NULL, *b = NULL;
    bl_versus *v = NULL;
    bl_text t = {0};
    bl_side side[2] = {{0}};
    char method[2][512];
    const char *name[2] = {args->pos[0], args->pos[1]};
    bool json = o->common.json || o->format == 1;

    BL_TRY(bl_table_read(&args->pos[0], 1, &a, e));
    if (args->n_pos == 2 && !a->n && bl_speed_there(args->pos[0]) && bl_speed_there(args->pos[1])) {
        st = timings(o, args, exit_code, e);
        goto out;
    }
    side[0].table = side[1].table = a;
    if (args->n_pos == 3) { /* two tasks of one directory, or two rows */
        for (int i = 0; i < 2; i++) side[i].task = task_of_rows(a, args->pos[i + 1]);
        if (!side[0].task != !side[1].task) {
            st = bl_fail(e, BL_E_CONFIG, "%s has results of the task '%s', none of a task '%s'", args->pos[0],
                         args->pos[side[0].task ? 1 : 2], args->pos[side[0].task ? 2 : 1]);
            goto out;
        }
        if (side[0].task && !strcmp(side[0].task, side[1].task)) {
            st = bl_fail(e, BL_E_CONFIG, "'%s' is both tasks; expected two", args->pos[1]);
            goto out;
        }
        for (int i = 0; i < 2 && side[0].task; i++) name[i] = side[i].task;
    }
    if (args->n_pos == 3 && !side[0].task) {
        for (int i = 0; i < 2; i++) {
            BL_TRY(bl_method_of_rows(p, a, args->pos[i + 1], method[i], sizeof method[i], e));
            name[i] = side[i].method = method[i];
        }
        if (strcmp(method[0], method[1]) == 0) {
            st = bl_fail(e, BL_E_CONFIG, "'%s' and '%s' are the same rows", args->pos[1], args->pos[2]);
            goto out;
        }
    } else if (args->n_pos == 2) {
        if (!bl_exists(args->pos[1])) {
            st = bl_fail(
                e, BL_E_MISSING,
                "%s: there is no such directory; two rows of one are compared with: compare DIR METHOD METHOD, two "
                "tasks with: compare DIR TASK TASK",
                args->pos[1]);
            goto out;
        }
        BL_TRY(bl_table_read(&args->pos[1], 1, &b, e));
        side[1].table = b;
        BL_TRY(has_results(args->pos[0], a, args->pos[1], e));
        BL_TRY(has_results(args->pos[1], b, args->pos[0], e));
    }
    st = bl_versus_of(&side[0], &side[1], &(bl_table_opts){.metric = o->metric, .all_metrics = o->all},
                      bl_program_metrics(p), &v, e);
    if (st != BL_OK) {
        if (st == BL_E_MISSING) bl_within(e, "%s and %s", name[0], name[1]);
        goto out;
    }
    if (json) BL_TRY(bl_versus_json(v, name, &t, e));
    else BL_TRY(bl_versus_md(v, name, !o->out && isatty(STDOUT_FILENO) == 1, &t, e));
    BL_TRY(bl_output(o->out, &t, e));
    bl_tell_skipped(a, exit_code);
    if (b) bl_tell_skipped(b, exit_code);
    if (bl_versus_loss(v) > o->threshold) *exit_code = EXIT_WORSE;
out:
    bl_text_free(&t);
    bl_versus_free(v);
    bl_table_free(a);
    bl_table_free(b);
    return st;
}

const bl_verb bl_verb_compare = {
    .name = "compare",
    .args = "DIR DIR | DIR METHOD METHOD | DIR TASK TASK",
    .line = "is one set of results better or worse than another",
    .doc =
        "Compares the second of two directories with the first, the second of two methods of one directory, or of two "
        "tasks that ask the same items (gsm8k:direct gsm8k:cot8: what the reasoning is worth, with each method), item "
        "by "
        "item: differences with their own errors, exact tests, a verdict for each task and one over all. Exit 3 when "
        "something is worse. Refuses what does not compare: other data, items or conventions. Two directories of "
        "timings "
        "(bench --output): what is slower, by ranks of the repetitions, and what is less exact, each a verdict of its "
        "own; refuses other devices, clocks or conventions.",
    .example = "bitladder compare runs/a rtn:w4g64 rtn:w4g32",
    .opts = rows,
    .opts_size = sizeof(opts),
    .min_args = 2,
    .max_args = 3,
    .run = run,
};
