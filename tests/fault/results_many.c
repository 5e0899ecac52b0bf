/* results_many.c - thousands of cells in one directory make a table (F30); how long it took is printed, not judged.
 *
 * Two thousand are made here; BL_MANY=10000 in the environment makes ten.
 */
#include "data/results_cells.h"
#include "results/table.h"

#include <time.h>

enum { KINDS = 40 };

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
    char to[8300], from[8300];
    int64_t rows = 0;
    int cells = getenv("BL_MANY") ? atoi(getenv("BL_MANY")) : 2000;

    /* A few shards are built; the rest are the same bytes under other names, which costs a table exactly as much. */
    for (int i = 0; i < KINDS; i++) {
        const bl_cell *c = invent(&v, "smollm2-135m", i % 9, 64, tasks[i % 4], i);
        assert_ok(bl_cell_write(dir, c, &e));
        snprintf(from, sizeof from, "%s", invented_path(dir, c));
        char *text = NULL;
        size_t n = 0;
        if (bl_read_file(from, 1 << 24, &text, &n, &e) != BL_OK) fail_msg("%s", e.text);
        for (int k = 1; k < cells / KINDS; k++) {
            snprintf(to, sizeof to, "%.*s-%03d.h5", (int)strlen(from) - 3, from, k);
            FILE *f = fopen(to, "wb");
            if (!f || fwrite(text, 1, n, f) != n || fclose(f)) fail_msg("cannot write %s", to);
        }
        bl_free(text);
        rows += (cells / KINDS) * c->n_metrics;
    }
    double start = processor_seconds(), wall = bl_now();
    assert_ok(bl_table_read(dirs, 1, &t, &e));
    assert_ok(bl_table_print(t, &(bl_table_opts){.format = BL_TABLE_CSV}, &csv, &e));
    assert_ok(bl_table_print(t, &(bl_table_opts){.format = BL_TABLE_MD, .terminal = true}, &md, &e));
    double took = processor_seconds() - start;
    print_message("%d shards read and printed: %.2f s of processor, %.2f s by the clock\n", cells, took,
                  bl_now() - wall);
    assert_int_equal(t->n, rows);
    assert_int_equal(t->skipped, 0);
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
