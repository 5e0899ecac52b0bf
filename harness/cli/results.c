/* results.c - a directory's table, cells, layers and timings, read once. */
#include "results.h"
#include "harness/bench/bench.h"

bl_status bl_results_read(const bl_program *p, const char *dir, bl_results *out, bl_err *e)
{
    bl_status st;
    bl_kernel_row *kernel = NULL;

    *out = (bl_results){.rules = bl_program_metrics(p)};
    BL_TRY(bl_arena_new(&out->arena, e));
    BL_TRY(bl_table_read(&dir, 1, &out->table, e));
    BL_TRY(bl_table_against(out->table, &(bl_table_opts){0}, &(bl_against){"base", out->rules}, e));
    out->in = (bl_plot_input){.table = out->table, .rules = &out->rules};
    BL_TRY(bl_plot_read(&out->in, out->arena, e));
    BL_TRY(bl_bench_read(dir, out->arena, &kernel, &out->in.n_kernels, &out->facts, e));
    out->in.kernel = kernel;
    out->in.facts = kernel ? &out->facts : NULL;
out:
    return st;
}

void bl_results_free(bl_results *r)
{
    bl_table_free(r->table);
    bl_arena_free(r->arena);
}

void bl_tell_skipped(const bl_table *t, int *exit_code)
{
    for (size_t i = 0; i < t->skipped; i++) fprintf(stderr, "bitladder: skipped: %s\n", t->skipped_reason[i]);
    if (t->skipped) *exit_code = 1;
}
