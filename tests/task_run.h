/* task_run.h - tasks driven by hand: load, the prompt of an item as one text, made-up replies. */
#ifndef BL_TESTS_TASK_RUN_H
#define BL_TESTS_TASK_RUN_H
#include "test.h"
#include "harness/program.h"
#include "tasks/registry.h"

typedef struct task_run {
    const bl_task *task;
    bl_task_data data;
    const char *name;
    const bl_metric *metric;
    int n_metrics;
} task_run;

static inline task_run task_open(const char *name, const bl_data_dirs *dirs)
{
    bl_err e = {0};
    task_run t = {0};
    const bl_program p = {.tasks = bl_tasks};
    assert_ok(bl_program_task(&p, name, &t.task, &t.name, &e));
    assert_ok(bl_arena_new(&t.data.arena, &e));
    assert_ok(bl_task_read(t.task, &(bl_task_load){.name = t.name, .dirs = dirs}, &t.data, &e));
    t.metric = bl_task_metrics(t.task, t.name, &t.n_metrics);
    return t;
}

static inline void task_close(task_run *t) { bl_arena_free(t->data.arena); }

/* The sentence that refuses to load `name` from one directory. */
static inline bl_status task_refusal(const char *name, const char *dir, bl_err *e)
{
    const bl_task *task;
    const char *found;
    const bl_program p = {.tasks = bl_tasks};
    bl_task_data d = {0};
    bl_data_dirs dirs = {{dir}, 1};
    bl_status st = bl_program_task(&p, name, &task, &found, e);
    if (st == BL_OK) st = bl_arena_new(&d.arena, e);
    if (st == BL_OK) st = bl_task_read(task, &(bl_task_load){.name = found, .dirs = &dirs}, &d, e);
    bl_arena_free(d.arena);
    return st;
}

/* Spans of a prompt as one text; the caller frees. */
static inline char *prompt_text(const bl_prompt *p)
{
    bl_text t = {0};
    for (size_t i = 0; i < p->n; i++) bl_text_addn(&t, p->span[i].text, p->span[i].n);
    return t.s ? t.s : bl_strdup("", NULL);
}

/* A reply to a request of pairs with the given scores. */
typedef struct pair_reply {
    bl_reply r;
    double nll[32], nll_sq[32];
    int64_t tokens[32], chars[32], bytes[32];
    bool greedy[32];
} pair_reply;
static inline void reply_to(const bl_request *q, const double *nll, pair_reply *p)
{
    memset(p, 0, sizeof *p);
    for (int c = 0; c < q->n_pairs; c++) {
        p->nll[c] = nll[c];
        p->tokens[c] = 1;
        p->chars[c] = q->pair[c].chars;
        p->bytes[c] = q->pair[c].bytes;
    }
    p->r = (bl_reply){.kind = BL_ASK_PAIRS,
                      .n = q->n_pairs,
                      .nll = p->nll,
                      .nll_sq = p->nll_sq,
                      .tokens = p->tokens,
                      .greedy = p->greedy,
                      .chars = p->chars,
                      .bytes = p->bytes};
}

/* Value of a metric over samples. */
static inline bl_value metric_of(const task_run *t, const char *metric, const bl_sample *s, int64_t n)
{
    bl_err e = {0};
    bl_value v = {0};
    for (int i = 0; i < t->n_metrics; i++)
        if (!strcmp(t->metric[i].name, metric)) {
            assert_ok(bl_metric_of(&t->metric[i], s, n, &v, &e));
            return v;
        }
    fail_msg("no metric %s", metric);
    return v;
}
#endif
