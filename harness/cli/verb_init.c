/* verb_init.c - writes a commented study to start from. */
#include "cli/session.h"
#include "kernels/base/fs.h"
#include "study/spec.h"
#include <string.h>

typedef struct opts { bool force; } opts;
static const bl_opt rows[] = {
    { "force", BL_OPT_BOOL, .at = offsetof(opts, force), .doc = "write over a file that is there" },
    { 0 }
};

static bl_status run(const bl_program *p, const void *options, const bl_args *args, int *exit_code, bl_err *e)
{
    const opts *o = options;
    const char *path = args->n_pos ? args->pos[0] : "-";
    bl_text t = { 0 };
    (void)p;
    (void)exit_code;
    if (strcmp(path, "-") != 0 && bl_exists(path) && !o->force) return bl_fail(e, BL_E_CONFIG, "%s is there already; pass --force to write over it", path);
    bl_text_add(&t, bl_spec_example());
    bl_status st = bl_output(path, &t, e);
    bl_text_free(&t);
    return st;
}

const bl_verb bl_verb_init = {
    .name = "init", .args = "[FILE]", .line = "a commented study to start from",
    .doc = "Writes a commented study file to FILE, or to standard output.", .example = "bitladder init study.json",
    .opts = rows, .opts_size = sizeof(opts), .max_args = 1, .run = run,
};
