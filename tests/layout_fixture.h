/* layout_fixture.h - data sets of a few made-up items in a directory, and the items that a task reads there. */
#ifndef BL_TESTS_LAYOUT_FIXTURE_H
#define BL_TESTS_LAYOUT_FIXTURE_H
#include "task_run.h"
#include "data/task_layouts.h"

static const char *dir;
static inline int layouts_begin(void **state)
{
    (void)state;
    dir = strdup(test_dir());
    unsetenv("BITLADDER_DATA");
    return 0;
}
static inline int layouts_end(void **state)
{
    (void)state;
    bl_remove_tree(dir, NULL);
    free((void *)(uintptr_t)dir);
    return 0;
}

static inline void put(const char *root, const char *name, const char *text) { layout_file(dir, root, name, text); }

static inline const char *root_of(const char *root)
{
    static char path[4400];
    snprintf(path, sizeof path, "%s/%s", dir, root);
    return path;
}

/* Items of a task in a directory as one text: contexts, continuations, gold. */
static inline char *items_of(const char *task, const char *root)
{
    bl_err e = {0};
    bl_data_dirs d = {{root_of(root)}, 1};
    task_run t = task_open(task, &d);
    bl_text out = {0};
    for (int64_t i = 0; i < t.data.n; i++) {
        bl_request q = {0};
        bl_turn turn = {.arena = t.data.arena};
        assert_ok(t.task->ask(&t.data, i, &turn, &q, &e));
        if (q.kind == BL_ASK_GENERATE) {
            char *p = prompt_text(&q.prompt), *own = p; /* after the worked examples, which an empty line ends */
            for (char *end; (end = strstr(own, "\n\n")); own = end + 2)
                ;
            bl_text_addf(&out, "[%s]", own);
            bl_free(p);
        }
        for (int c = 0; c < q.n_pairs; c++) {
            char *p = prompt_text(&q.pair[c].context);
            bl_text_addf(&out, "[%s|%s]", p, q.pair[c].continuation);
            bl_free(p);
        }
        bl_text_addf(&out, "=%s\n", t.task->gold ? t.task->gold(&t.data, i) : "?");
    }
    task_close(&t);
    return out.s;
}
#endif
