/* verb_internal.c - what the program and its packages call, not people: man page, completion, the child of a run. */
#include "help.h"
#include "session.h"
#include "harness/study/run.h"
#include <string.h>

static const bl_opt rows[] = {{0}};

static bl_status run(const bl_program *p, const void *options, const bl_args *args, int *exit_code, bl_err *e)
{
    bl_text t = {0};
    bl_status st = BL_OK;
    (void)options;
    if (strcmp(args->pos[0], "man") == 0) bl_help_man(p, &t);
    else if (strcmp(args->pos[0], "completion") == 0) bl_help_bash(p, &t);
    else if (strcmp(args->pos[0], "variant") == 0)
        *exit_code = bl_run_child(p, (int)args->n_pos - 1, (char **)(uintptr_t)(args->pos + 1));
    else st = bl_fail(e, BL_E_CONFIG, "internal knows man, completion and variant, not '%s'", args->pos[0]);
    if (st == BL_OK) st = bl_output(NULL, &t, e);
    bl_text_free(&t);
    return st;
}

const bl_verb bl_verb_internal = {
    .name = "internal",
    .args = "man|completion",
    .line = "man page and bash completion",
    .opts = rows,
    .opts_size = 1,
    .min_args = 1,
    .max_args = -1,
    .hidden = true,
    .run = run,
};
