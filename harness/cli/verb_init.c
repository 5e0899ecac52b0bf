/* verb_init.c - writes a commented study to start from. */
#include "session.h"
#include "kernels/base/fs.h"
#include "harness/study/spec.h"
#include <string.h>

typedef struct opts {
    bl_cli_common common;
    bool force;
} opts;
static const bl_opt rows[] = {
    {"force", BL_OPT_BOOL, .at = offsetof(opts, force), .doc = "write over a file that is there"},
    BL_COMMON_ROWS(opts, common),
    {0}};

static bl_status run(const bl_program *p, const void *options, const bl_args *args, int *exit_code, bl_err *e)
{
    const opts *o = options;
    const char *path = args->n_pos ? args->pos[0] : "-";
    bl_status st = BL_OK;
    bl_text t = {0};
    bl_json *plain = NULL;
    (void)p;
    (void)exit_code;
    if (strcmp(path, "-") != 0 && bl_exists(path) && !o->force)
        return bl_fail(e, BL_E_CONFIG, "%s is there already; pass --force to write over it", path);
    if (o->common.json) { /* without the comments */
        BL_TRY(bl_json_parse(bl_spec_example(), strlen(bl_spec_example()), "example", BL_JSON_COMMENTS, &plain, e));
        bl_json_put_node(&t, plain);
        bl_text_add(&t, "\n");
    } else bl_text_add(&t, bl_spec_example());
    BL_TRY(bl_output(path, &t, e));
    if (strcmp(path, "-") != 0 && !o->common.quiet)
        fprintf(stderr, "%s is written: name your model in it, then: bitladder plan %s\n", path, path);
out:
    bl_json_free(plain);
    bl_text_free(&t);
    return st;
}

const bl_verb bl_verb_init = {
    .name = "init",
    .args = "[FILE]",
    .line = "a commented study to start from",
    .doc = "Writes a commented study file to FILE, or to standard output; --json leaves the comments out.",
    .example = "bitladder init study.json",
    .opts = rows,
    .opts_size = sizeof(opts),
    .max_args = 1,
    .run = run,
};
