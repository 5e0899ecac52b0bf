/* verb_clean.c - removes what a run makes again: states of the base and quantized models. */
#include "session.h"
#include "disk.h"
#include "kernels/base/fs.h"
#include <string.h>

typedef struct opts {
    bl_cli_common common;
    bool cache, variants, dry;
} opts;
static const bl_opt rows[] = {
    {"cache", BL_OPT_BOOL, .at = offsetof(opts, cache),
     .doc = "only DIR/cache: hidden states of the base, statistics that methods share"},
    {"variants", BL_OPT_BOOL, .at = offsetof(opts, variants), .doc = "only DIR/variants: quantized models"},
    {"dry-run", BL_OPT_BOOL, .at = offsetof(opts, dry), .letter = 'n', .doc = "say what would go, and its size"},
    BL_COMMON_ROWS(opts, common),
    {0}};

static bl_status run(const bl_program *p, const void *options, const bl_args *args, int *exit_code, bl_err *e)
{
    bl_status st = BL_OK;
    const opts *o = options;
    const char *dir = args->pos[0];
    const struct {
        const char *name, *what;
        bool wanted;
    } parts[] = {{"cache", "states of the base, shared statistics; made again when they are asked for", o->cache},
                 {"variants", "quantized models; made again when a cell of theirs is run", o->variants}};
    bool all = !o->cache && !o->variants;
    uint64_t sum = 0;
    char size[32], *path = NULL;
    bl_text t = {0};
    bl_json_out j = {.t = &t};
    (void)p;
    (void)exit_code;

    if (!bl_is_dir(dir)) return bl_fail(e, BL_E_MISSING, "%s: there is no such directory", dir);
    BL_TRY(bl_nobody_runs(dir, e));
    if (o->common.json) bl_json_object(&j, NULL);
    for (size_t i = 0; i < BL_COUNT(parts); i++) {
        uint64_t bytes;
        if (!all && !parts[i].wanted) continue;
        bl_free(path);
        if (!(path = bl_join(dir, parts[i].name, e))) {
            st = BL_E_NOMEM;
            goto out;
        }
        bytes = bl_disk_bytes(path);
        sum += bytes;
        bl_bytes_text(bytes, size);
        if (o->common.json) bl_json_add_int(&j, parts[i].name, (int64_t)bytes);
        else bl_text_addf(&t, "%10s  %s  (%s)\n", size, path, parts[i].what);
        if (!o->dry) BL_TRY(bl_remove_tree(path, e));
    }
    if (o->common.json) {
        bl_json_add_int(&j, "bytes", (int64_t)sum);
        bl_json_add_bool(&j, "removed", !o->dry);
        bl_json_end(&j);
        bl_text_add(&t, "\n");
    } else {
        bl_bytes_text(sum, size);
        bl_text_addf(&t, "%10s  %s\n", size, o->dry ? "would be removed; results stay" : "removed; results stay");
    }
    BL_TRY(bl_output(NULL, &t, e));
out:
    bl_free(path);
    bl_text_free(&t);
    return st;
}

const bl_verb bl_verb_clean = {
    .name = "clean",
    .args = "DIR",
    .line = "removes what a run makes again: states of the base, quantized models",
    .doc = "Removes DIR/cache and DIR/variants and shows their sizes. Results stay; a later run makes again what it "
           "needs.",
    .example = "bitladder clean runs/a --dry-run",
    .opts = rows,
    .opts_size = sizeof(opts),
    .min_args = 1,
    .max_args = 1,
    .run = run,
};
