/* results.c - a directory's table, cells, layers and timings, read once. */
#include "results.h"
#include "harness/bench/bench.h"
#include "kernels/base/fs.h"
#include <string.h>

/* A model that was trained has its curve beside it, under its own name. */
static bl_status curve_beside(const char *dir, const char **out, bl_arena *a, bl_err *e)
{
    size_t n = strlen(dir);
    bl_text path = {0};

    while (n > 1 && dir[n - 1] == '/') n--;
    bl_text_addn(&path, dir, n);
    bl_text_add(&path, BL_CURVE_ENDING);
    bl_status st = bl_text_check(&path, e);
    if (st == BL_OK && bl_is_dir(dir) && bl_exists(path.s) && !(*out = bl_arena_str(a, path.s, path.n, e)))
        st = BL_E_NOMEM;
    bl_text_free(&path);
    return st;
}

/* Those that the rows of a study left beside their variants, each named by its method alone; more than a figure can
 * tell apart are passed over. */
enum { MOST_CURVES = 12 };
static bl_status curves_of_study(const char *dir, bl_results *out, bl_curve **curve, bl_err *e)
{
    char *variants = bl_join(dir, "variants", e);
    if (!variants) return BL_E_NOMEM;
    bl_status st = bl_is_dir(variants)
                       ? bl_curves_read(variants, out->arena, curve, &out->in.n_curves, &out->skipped, e)
                       : BL_OK;
    bl_free(variants);
    if (out->in.n_curves > MOST_CURVES) out->in.n_curves = 0;
    for (size_t i = 0; i < out->in.n_curves; i++) (*curve)[i].name = "";
    return st;
}

static const char *folder_of(const char *path, bl_arena *a, bl_err *e)
{
    const char *slash = strrchr(path, '/');
    if (bl_is_dir(path)) return bl_arena_str(a, path, strlen(path), e);
    if (!slash) return bl_arena_str(a, ".", 1, e);
    return bl_arena_str(a, path, BL_MAX((size_t)(slash - path), 1), e);
}

bl_status bl_results_read(const bl_program *p, const char *dir, bl_results *out, bl_err *e)
{
    bl_status st;
    bl_speed_record timed;
    bl_curve *curve = NULL;

    *out = (bl_results){.rules = bl_program_metrics(p)};
    BL_TRY(bl_arena_new(&out->arena, e));
    BL_TRY(bl_table_read(&dir, 1, &out->table, e));
    BL_TRY(bl_table_against(out->table, &(bl_table_opts){0}, &(bl_against){"base", out->rules}, e));
    out->in = (bl_plot_input){.table = out->table, .rules = &out->rules};
    BL_TRY(bl_plot_read(&out->in, out->arena, e));
    BL_TRY(bl_curves_read(dir, out->arena, &curve, &out->in.n_curves, &out->skipped, e));
    if (!out->in.n_curves && out->table->n) BL_TRY(curves_of_study(dir, out, &curve, e));
    if (!out->in.n_curves && !out->table->n) {
        const char *beside = NULL;
        BL_TRY(curve_beside(dir, &beside, out->arena, e));
        if (beside) {
            dir = beside;
            BL_TRY(bl_curves_read(dir, out->arena, &curve, &out->in.n_curves, &out->skipped, e));
        }
    }
    out->in.curve = curve;
    if (!(out->folder = folder_of(dir, out->arena, e))) {
        st = BL_E_NOMEM;
        goto out;
    }
    BL_TRY(bl_bench_read(dir, out->arena, &timed, e));
    out->facts = timed.facts;
    out->in.kernel = timed.kernel;
    out->in.n_kernels = timed.n_kernels;
    out->in.facts = timed.n_kernels ? &out->facts : NULL;
out:
    return st;
}

void bl_results_free(bl_results *r)
{
    bl_table_free(r->table);
    bl_text_free(&r->skipped);
    bl_arena_free(r->arena);
}

bool bl_results_empty(const bl_results *r) { return !r->table->n && !r->in.n_kernels && !r->in.n_curves; }

void bl_tell_skipped(const bl_table *t, int *exit_code)
{
    for (size_t i = 0; i < t->skipped; i++) fprintf(stderr, "bitladder: skipped: %s\n", t->skipped_reason[i]);
    if (t->skipped) *exit_code = 1;
}

void bl_results_tell_skipped(const bl_results *r, int *exit_code)
{
    bl_tell_skipped(r->table, exit_code);
    for (const char *line = r->skipped.n ? r->skipped.s : ""; *line; line = strchr(line, '\n') + 1) {
        fprintf(stderr, "bitladder: skipped: %.*s\n", (int)strcspn(line, "\n"), line);
        *exit_code = 1;
    }
}
