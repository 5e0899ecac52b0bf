/* verb_rm.c - removes results of a directory by the keys of their cells. */
#include "session.h"
#include "disk.h"
#include "harness/study/cell_run.h"
#include "kernels/base/fs.h"
#include "results/table.h"
#include <errno.h>
#include <fnmatch.h>
#include <string.h>
#include <unistd.h>

typedef struct opts {
    bl_cli_common common;
    bool dry;
} opts;
static const bl_opt rows[] = {
    {"dry-run", BL_OPT_BOOL, .at = offsetof(opts, dry), .letter = 'n', .doc = "say what would go, and its size"},
    BL_COMMON_ROWS(opts, common),
    {0}};

/* Everything that a cell left: "<stem>.h5", notes, what a stopped run goes on with, states of a base. */
static bl_status remove_cell(const bl_row *r, const char *dir, bool dry, uint64_t *bytes, bl_err *e)
{
    static const char *const endings[] = {".h5", ".failed.json", BL_CELL_JOURNAL, BL_CELL_DISTANCES};
    bl_status st = BL_OK;
    const char *tail = r->has_value ? ".h5" : ".failed.json";
    int stem = (int)(strlen(r->path) - strlen(tail));

    *bytes = 0;
    for (size_t i = 0; i <= BL_COUNT(endings); i++) {
        char *path = i < BL_COUNT(endings) ? bl_format_text(e, "%.*s%s", stem, r->path, endings[i])
                                           : bl_format_text(e, "%s/cache/%s.states", dir, r->hash);
        if (!path) return BL_E_NOMEM;
        *bytes += bl_disk_bytes(path);
        if (!dry && unlink(path) != 0 && errno != ENOENT)
            st = bl_fail(e, BL_E_IO, "%s cannot be removed: %s", path, strerror(errno));
        bl_free(path);
        if (st != BL_OK) return st;
    }
    return st;
}

static bool wanted(const bl_args *args, const char *key)
{
    for (size_t i = 1; i < (size_t)args->n_pos; i++)
        if (fnmatch(args->pos[i], key, 0) == 0) return true;
    return false;
}

static bl_status run(const bl_program *p, const void *options, const bl_args *args, int *exit_code, bl_err *e)
{
    bl_status st = BL_OK;
    const opts *o = options;
    const char *dir = args->pos[0];
    bl_table *table = NULL;
    bl_text t = {0};
    bl_json_out j = {.t = &t};
    uint64_t sum = 0, bytes;
    size_t n = 0;
    char size[32];
    (void)p;
    (void)exit_code;

    if (!bl_is_dir(dir)) return bl_fail(e, BL_E_MISSING, "%s: there is no such directory", dir);
    BL_TRY(bl_nobody_runs(dir, e));
    BL_TRY(bl_table_read(&dir, 1, &table, e));
    if (o->common.json) {
        bl_json_object(&j, NULL);
        bl_json_lines(&j, "cells");
    }
    for (size_t i = 0; i < table->n; i++) {
        const bl_row *r = &table->row[i];
        if ((i && table->row[i - 1].cell == r->cell) || !wanted(args, r->cell->key)) continue;
        BL_TRY(remove_cell(r, dir, o->dry, &bytes, e));
        bl_bytes_text(bytes, size);
        sum += bytes;
        n++;
        if (o->common.json) {
            bl_json_object(&j, NULL);
            bl_json_add_str(&j, "key", r->cell->key);
            bl_json_add_str(&j, "hash", r->hash);
            bl_json_add_int(&j, "bytes", (int64_t)bytes);
            bl_json_end(&j);
        } else bl_text_addf(&t, "%10s  %s  %.12s\n", size, r->cell->key, r->hash);
    }
    if (n == 0) {
        st = bl_fail(e, BL_E_MISSING, "%s: no cell has a key like '%s'; keys are model/method/task/seed, globs allowed",
                     dir, args->pos[1]);
        goto out;
    }
    if (o->common.json) {
        bl_json_end(&j);
        bl_json_add_bool(&j, "removed", !o->dry);
        bl_json_end(&j);
        bl_text_add(&t, "\n");
    } else {
        bl_bytes_text(sum, size);
        bl_text_addf(&t, "%10s  %zu cell%s %s\n", size, n, n == 1 ? "" : "s", o->dry ? "would be removed" : "removed");
    }
    BL_TRY(bl_output(NULL, &t, e));
out:
    bl_table_free(table);
    bl_text_free(&t);
    return st;
}

const bl_verb bl_verb_rm = {
    .name = "rm",
    .args = "DIR GLOB...",
    .line = "removes results by the keys of their cells",
    .doc = "Removes the results of DIR whose key (model/method/task/seed) is like one of GLOB, notes of failures and "
           "unfinished pieces too.",
    .example = "bitladder rm runs/a '*/rtn:w2*/*' --dry-run",
    .opts = rows,
    .opts_size = sizeof(opts),
    .min_args = 2,
    .max_args = -1,
    .run = run,
};
