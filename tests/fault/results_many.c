/* results_many.c - thousands of cells in one directory make a table (F30); how long it took is printed, not judged.
 *
 * Two thousand are made here; BL_MANY=10000 in the environment makes ten.
 */
#include "data/results_cells.h"
#include "results/table.h"

#include <time.h>

enum { KINDS = 36 }; /* nine methods, four tasks */

static bl_err e;

static double processor_seconds(void)
{
    struct timespec t;
    clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &t);
    return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}

static void thousands_of_cells_make_a_table(void **state)
{
    (void)state;
    const char *dir = test_dir(), *dirs[] = {dir};
    static const char *const tasks[] = {"piqa", "wikitext2:gptq2048", "arc_easy", "hellaswag"};
    invented v;
    bl_table *t;
    bl_text csv = {0}, md = {0};
    int64_t rows = 0;
    int cells = getenv("BL_MANY") ? atoi(getenv("BL_MANY")) : 2000;

    for (int i = 0; i < cells; i++) {
        char model[16];
        snprintf(model, sizeof model, "model-%d", i / KINDS);
        const bl_cell *c = invent(&v, model, i % 9, 64, tasks[i % 4], i % KINDS);
        assert_ok(bl_cell_write(dir, c, &e));
        rows += c->n_metrics;
    }
    double start = processor_seconds(), wall = bl_now();
    assert_ok(bl_table_read(dirs, 1, &t, &e));
    assert_ok(bl_table_print(t, &(bl_table_opts){.format = BL_TABLE_CSV}, &csv, &e));
    assert_ok(bl_table_print(t, &(bl_table_opts){.format = BL_TABLE_MD, .terminal = true}, &md, &e));
    double took = processor_seconds() - start;
    print_message("%d shards read and printed: %.2f s of processor, %.2f s by the clock\n", cells, took,
                  bl_now() - wall);
    if (t->skipped) fail_msg("%s", t->skipped_reason[0]);
    assert_int_equal(t->n, rows);
    bl_table_free(t);
    bl_text_free(&csv);
    bl_text_free(&md);
    assert_ok(bl_remove_tree(dir, &e));
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(thousands_of_cells_make_a_table)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
