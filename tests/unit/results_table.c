/* results_table.c - tables: what is in them, what is said about it, and that nothing is mixed in silence. */
#include "data/results_cells.h"
#include "results/table.h"

static bl_err e;
static const char *dir;

static int begin(void **state)
{
    (void)state;
    dir = test_dir();
    return 0;
}
static int end(void **state)
{
    (void)state;
    return bl_remove_tree(dir, &e) != BL_OK;
}

static void write_cell(const bl_cell *c)
{
    if (bl_cell_write(dir, c, &e) != BL_OK) fail_msg("%s", e.text);
}

static void study(void)
{
    static const int bits[] = {0, 8, 4, 3, 2};
    invented v;
    for (size_t i = 0; i < BL_COUNT(bits); i++) {
        write_cell(invent(&v, "smollm2-135m", bits[i], 64, "piqa", 0));
        write_cell(invent(&v, "smollm2-135m", bits[i], 64, "wikitext2:gptq2048", 0));
    }
}

/* The table in a static text. */
static const char *print(const bl_table_opts *o)
{
    static bl_text t;
    bl_table *table = NULL;
    const char *dirs[] = {dir};
    bl_text_free(&t);
    t = (bl_text){0};
    if (bl_table_read(dirs, 1, &table, &e) != BL_OK || bl_table_print(table, o, &t, &e) != BL_OK)
        fail_msg("%s", e.text);
    bl_table_free(table);
    return t.s ? t.s : "";
}

static void assert_has(const char *text, const char *part)
{
    if (!strstr(text, part)) fail_msg("'%s' is missing in:\n%s", part, text);
}

static void assert_has_not(const char *text, const char *part)
{
    if (strstr(text, part)) fail_msg("'%s' is in:\n%s", part, text);
}

static void the_pivot_reads_as_it_should(void **state)
{
    (void)state;
    study();
    assert_string_equal(print(&(bl_table_opts){.terminal = true}),
                        "model         method       bits_per_weight  piqa acc % \xe2\x86\x91  piqa acc_norm % "
                        "\xe2\x86\x91  wikitext2:gptq2048 perplexity \xe2\x86\x93\n"
                        "smollm2-135m  base                   16.00     68.2 \xc2\xb1"
                        "1.1          69.1 \xc2\xb1"
                        "1.1                      16.80 \xc2\xb1"
                        "0.12\n"
                        "smollm2-135m  rtn:w8g64 a             8.38     68.1 \xc2\xb1"
                        "1.1          69.0 \xc2\xb1"
                        "1.1                      16.91 \xc2\xb1"
                        "0.12\n"
                        "smollm2-135m  rtn:w4g64 a             4.31     66.5 \xc2\xb1"
                        "1.1          67.3 \xc2\xb1"
                        "1.1                      18.57 \xc2\xb1"
                        "0.13\n"
                        "smollm2-135m  rtn:w3g64 a             3.30     64.9 \xc2\xb1"
                        "1.1          65.6 \xc2\xb1"
                        "1.1                      20.52 \xc2\xb1"
                        "0.15\n"
                        "smollm2-135m  rtn:w2g64 a             2.28     62.2 \xc2\xb1"
                        "1.1          62.8 \xc2\xb1"
                        "1.1                      25.06 \xc2\xb1"
                        "0.18\n"
                        "\n\xc2\xb1 one standard error over items, of perplexity over windows\n"
                        "n: piqa 1838 items, wikitext2:gptq2048 161 windows\na  lm_head and embeddings as stored\n");
    const char *md = print(&(bl_table_opts){0});
    assert_has(md, "| smollm2-135m | rtn:w4g64 a |            4.31 |");
    assert_has(md, "|--------------|-------------|----------------:|");
}

/* Which column of the first line has this name. */
static int csv_column(const char *csv, const char *name)
{
    size_t n = strlen(name);
    int column = 0;
    for (const char *p = csv;; column++) {
        size_t k = strcspn(p, ",\n");
        if (k == n && !memcmp(p, name, n)) return column;
        if (p[k] != ',') fail_msg("there is no column '%s'", name);
        p += k + 1;
    }
}

/* Field `column` of a line, as it is written. */
static void csv_cell(const char *line, int column, char out[256])
{
    for (bool quoted = false; column > 0; line++) {
        if (*line == '"') quoted = !quoted;
        else if (*line == ',' && !quoted) column--;
    }
    size_t n = 0;
    for (bool quoted = false; line[n] && (quoted || (line[n] != ',' && line[n] != '\n')); n++)
        if (line[n] == '"') quoted = !quoted;
    snprintf(out, 256, "%.*s", (int)n, line);
}

static void csv_is_the_long_form_that_was_agreed(void **state)
{
    (void)state;
    invented v;
    write_cell(invent(&v, "m, \"quoted\"", 0, 0, "piqa", 0));
    write_cell(invent(&v, "m, \"quoted\"", 4, 64, "piqa", 0));
    bl_failure_write(dir, "x--1",
                     &(bl_cell_failure){.key = "m/rtn:w1/piqa/0",
                                        .hash = "ab",
                                        .status = "n/a",
                                        .reason = "no, sorry",
                                        .time = "t",
                                        .model = "m",
                                        .stored_as = "BF16",
                                        .method = "rtn:w1",
                                        .task = "piqa",
                                        .wbits = 1,
                                        .limit = 20,
                                        .task_version = 3,
                                        .group_text = "pc"},
                     &e);
    const char *csv = print(&(bl_table_opts){.format = BL_TABLE_CSV});
    static const char first[] = "model,stored_as,method,bits,group,task,version,metric,item_group,value,stderr,n,";
    assert_memory_equal(csv, first, sizeof first - 1);
    const bl_cell_field *f;
    for (size_t i = 0; (f = bl_cell_field_at(i)); i++) /* every line of cell.def that has a column */
        if (f->column) csv_column(csv, f->column);
    assert_has(csv, "\n\"m, \"\"quoted\"\"\",BF16,base,,,piqa,1,acc,,0.6819999999999999,0.0108,1838,");
    assert_has(csv, "\n\"m, \"\"quoted\"\"\",BF16,rtn:w4g64,4,64,piqa,1,kl_p50,,0.011111111111111112,,40,");
    assert_has(csv, "\nm,BF16,rtn:w1,1,pc,piqa,3,,,,,,");
    static const struct {
        const char *line, *column, *want;
    } cells[] = {
        {"\nm,BF16,rtn:w1,", "limit", "20"},
        {"\nm,BF16,rtn:w1,", "seconds", ""},
        {"\nm,BF16,rtn:w1,", "truncated", ""},
        {"\nm,BF16,rtn:w1,", "status", "n/a"},
        {"\nm,BF16,rtn:w1,", "reason", "\"no, sorry\""},
        {"rtn:w4g64,4,64,piqa,1,kl_p50,", "bits_per_weight", "4.3125"},
        {"rtn:w4g64,4,64,piqa,1,kl_p50,", "packed_bytes", "112000000"},
        {"rtn:w4g64,4,64,piqa,1,kl_p50,", "quantize_seconds", "1.5"},
        {"rtn:w4g64,4,64,piqa,1,kl_p50,", "limit", ""},
        {"rtn:w4g64,4,64,piqa,1,kl_p50,", "truncated", "0"},
        {"rtn:w4g64,4,64,piqa,1,kl_p50,", "kv_bytes", "1048576"},
        {"rtn:w4g64,4,64,piqa,1,kl_p50,", "notes", "lm_head and embeddings as stored"},
        {"base,,,piqa,1,acc,", "quantize_seconds", ""},
        {"base,,,piqa,1,acc,", "status", "ok"},
    };
    for (size_t i = 0; i < BL_COUNT(cells); i++) {
        const char *line = strstr(csv, cells[i].line);
        assert_non_null(line);
        while (*line == '\n') line++;
        while (line > csv && line[-1] != '\n') line--;
        char got[256];
        csv_cell(line, csv_column(csv, cells[i].column), got);
        if (strcmp(got, cells[i].want))
            fail_msg("%s of %s: '%s', wanted '%s'", cells[i].column, cells[i].line, got, cells[i].want);
    }
}

static void json_has_times_and_memory(void **state)
{
    (void)state;
    study();
    const char *json = print(&(bl_table_opts){.format = BL_TABLE_JSON});
    assert_has(json, "\"seconds\":12.5");
    assert_has(json, "\"tokens_per_second\":900");
    assert_has(json, "\"peak_bytes\":500000000");
    assert_has(json, "\"kv_bytes\":1048576");
    assert_has(json,
               "\"created\":\"2024-05-01T12:00:00Z\",\"device\":\"cpu\",\"commit\":\"unknown\",\"status\":\"ok\"");
    assert_has(json, "\"skipped\":[]");
}

static void tex_marks_the_best_and_says_what_md_says(void **state)
{
    (void)state;
    study();
    const char *tex = print(&(bl_table_opts){.format = BL_TABLE_TEX});
    assert_has(tex, "\\begin{tabular}{llrrrr}\n\\toprule\n");
    assert_has(tex, "bits\\_per\\_weight & piqa acc \\% $\\uparrow$");
    assert_has(tex, "smollm2-135m & base & 16.00 & 68.2 $\\pm$ 1.1 & 69.1 $\\pm$ 1.1 & 16.80 $\\pm$ 0.12 \\\\\n");
    assert_has(tex, "rtn:w8g64 & 8.38 & \\textbf{68.1 $\\pm$ 1.1} &");
    assert_has(tex, "% $\\pm$ one standard error\n% piqa acc: 1838 items in each row\n");
    assert_has(tex, "% wikitext2:gptq2048 perplexity: 161 windows in each row\n");
    assert_has(tex, "% rtn:w8g64: lm\\_head and embeddings as stored\n");
}

static void limited_and_shortened_rows_are_marked(void **state)
{
    (void)state;
    invented v;
    bl_cell c = *invent(&v, "m", 4, 64, "piqa", 0);
    c.limit = 200;
    c.truncated = 3;
    c.boundary = 5;
    c.ties = 1;
    for (int64_t i = 0; i < c.n_metrics; i++) v.metric[i].n = 200;
    write_cell(&c);
    const char *md = print(&(bl_table_opts){.terminal = true});
    assert_has(md, "66.5 \xc2\xb1"
                   "1.1 n=200* cut=3 joined=5 tied=1");
    assert_has(md, "the first n items only");
    assert_has(md, "cut=\xe2\x80\xa6 items shortened from the left");
    assert_has(md, "joined=\xe2\x80\xa6 items whose choice shares a token");
    assert_has(md, "tied=\xe2\x80\xa6 items whose best choices score the same");
    assert_has(print(&(bl_table_opts){.format = BL_TABLE_TEX}), "66.5 $\\pm$ 1.1$^{*}$");
}

/* A new task: what is shown, and how, is what its metrics say, whatever they are called. */
static void a_table_knows_no_task_and_no_metric_by_name(void **state)
{
    (void)state;
    invented v;
    bl_cell c = *invent(&v, "m", 4, 64, "a task of tomorrow", 0);
    v.metric[0] = (bl_cell_metric){"detail", "1", 0, 0.5, 0, false, 9, false, false, NULL, NULL};
    v.metric[1] = (bl_cell_metric){"understood", "1", 1, 0.625, 0, false, 9, true, true, NULL, NULL};
    write_cell(&c);
    const char *md = print(&(bl_table_opts){.terminal = true});
    assert_has(md, "a task of tomorrow understood % \xe2\x86\x91");
    assert_has(md, "62.5");
    assert_has_not(md, "detail");
    v.metric[0].headline = true;
    v.metric[1].percent = false;
    write_cell(&c);
    md = print(&(bl_table_opts){.terminal = true});
    assert_has(md, "a task of tomorrow detail");
    assert_has(md, "0.625");
    assert_has_not(md, "%");
}

/* Another version of program, model or data has another hash and the same names: the newer one is the row. */
static void of_two_results_that_differ_in_their_hash_alone_the_newer_counts(void **state)
{
    (void)state;
    invented v;
    bl_cell c = *invent(&v, "m", 4, 64, "piqa", 0);
    c.created = "2024-05-02T12:00:00Z";
    v.metric[0].value = 0.25;
    write_cell(&c);
    c.hash.hi ^= 1ull << 60;
    c.created = "2024-05-01T12:00:00Z";
    v.metric[0].value = 0.75;
    write_cell(&c);
    const char *md = print(&(bl_table_opts){.terminal = true});
    assert_has(md, "25.0");
    assert_has_not(md, "75.0");
    assert_has_not(md, "hash");
    assert_has(md, "1 older result of the same cells is left out");
    c.limit = 7; /* that is another row */
    c.hash.hi ^= 1ull << 61;
    write_cell(&c);
    md = print(&(bl_table_opts){.terminal = true});
    assert_has(md, "75.0");
    assert_has(md, "25.0");
}

/* What changes a number is in every form: in md and tex as a note, in csv and json as a column. */
static void conventions_that_are_not_the_usual_ones_are_said(void **state)
{
    (void)state;
    invented v;
    bl_cell c = *invent(&v, "m", 4, 64, "piqa", 3);
    c.bos = "left out";
    write_cell(&c);
    assert_has(print(&(bl_table_opts){.terminal = true}), "a  BOS left out\nb  seed 3\n");
    assert_has(print(&(bl_table_opts){.format = BL_TABLE_TEX}), "% rtn:w4g64: BOS left out\n% rtn:w4g64: seed 3\n");
    const char *csv = print(&(bl_table_opts){.format = BL_TABLE_CSV});
    static const struct {
        const char *column, *want;
    } cells[] = {{"bos", "left out"}, {"seed", "3"}, {"unit", "1"}, {"direction", "1"}, {"bits_all", "5"}};
    for (size_t i = 0; i < BL_COUNT(cells); i++) {
        char got[256];
        csv_cell(strchr(csv, '\n') + 1, csv_column(csv, cells[i].column), got);
        assert_string_equal(got, cells[i].want);
    }
    assert_has(print(&(bl_table_opts){.format = BL_TABLE_JSON}), "\"bos\":\"left out\"");
    c.bos = "in front, by the tokenizer's rule";
    c.seed = 0;
    write_cell(&c);
    assert_has_not(print(&(bl_table_opts){.terminal = true}), "BOS");
}

static void size_speed_and_memory_are_columns_when_asked_for(void **state)
{
    (void)state;
    study();
    const char *md = print(&(bl_table_opts){.terminal = true, .costs = true});
    assert_has(md, "bits_per_weight  bits_all  packed_bytes MB  tokens_per_second  peak_bytes MB");
    assert_has(md, "4.31      5.00            112.0                900          500.0");
    invented v;
    for (int i = 0; i < 3; i++) { /* a time that was kept with fewer digits is no other time */
        static const char *const tasks[] = {"piqa", "arc_easy", "boolq"};
        bl_cell c = *invent(&v, "kept", 4, 64, tasks[i], 0);
        c.quantize_seconds = i ? 1.500000001 : 1.5;
        c.tokens_per_second = 900 + 100 * i;
        write_cell(&c);
    }
    md = print(&(bl_table_opts){.terminal = true, .rows = "model,quantize_seconds,tokens_per_second"});
    assert_has(md, "1.500           900-1100");
    assert_has(md, "900-1100");
    assert_has_not(md, "1.500-1.500");
}

static void groups_are_shown_when_they_are_asked_for(void **state)
{
    (void)state;
    invented v;
    bl_cell c = *invent(&v, "m", 4, 64, "mmlu", 0);
    bl_cell_metric g[2] = {v.metric[0], v.metric[0]};
    g[0].group = "anatomy";
    g[0].value = 0.125;
    g[1].group = "law";
    g[1].value = 0.875;
    c.grouped = g;
    c.n_grouped = 2;
    c.truncated = 3;
    write_cell(&c);
    const char *md = print(&(bl_table_opts){.terminal = true});
    assert_has(md, "66.5");
    assert_has(md, "cut=3");
    assert_has_not(md, "anatomy");
    assert_has(print(&(bl_table_opts){.terminal = true, .by_group = true, .metric = "kl_mean"}),
               "no result is given by");
    md = print(&(bl_table_opts){.terminal = true, .by_group = true});
    assert_has(md, "m      anatomy     rtn:w4g64 a             4.31     12.5");
    assert_has(md, "m      law         rtn:w4g64 a             4.31     87.5");
    assert_has_not(md, "cut="); /* counted over all items, so of no group */
    assert_has_not(md, "66.5");
    assert_has_not(md, "without numbers by groups");
    static const char *const others[] = {"piqa", "arc_easy", "piqa"}; /* beside results without groups */
    for (int i = 0; i < 3; i++) write_cell(invent(&v, "m", 4 - i, 64, others[i], 0));
    md = print(&(bl_table_opts){.terminal = true, .by_group = true});
    assert_has(md, "anatomy");
    assert_has(md, "\nwithout numbers by groups, so not here: ");
    assert_has(md, "arc_easy");
    assert_true(strstr(strstr(md, "piqa") + 1, "piqa") == NULL); /* named once */
    md = print(&(bl_table_opts){.format = BL_TABLE_TEX, .by_group = true});
    assert_has(md, "% without numbers by groups, so not here: ");
    const char *csv = print(&(bl_table_opts){.format = BL_TABLE_CSV});
    assert_has(csv, "mmlu,1,acc,,0.66");
    assert_has(csv, "mmlu,1,acc,law,0.875,");
    assert_has(print(&(bl_table_opts){.format = BL_TABLE_JSON}), "\"item_group\":\"anatomy\",\"value\":0.125");
}

static void a_file_of_an_earlier_schema_is_named_and_skipped(void **state)
{
    (void)state;
    char *text = NULL, path[4300];
    size_t n = 0;
    bl_table *t;
    const char *dirs[] = {dir};
    bl_shard *s;

    if (bl_read_file(BL_SOURCE_DIR "/tests/data/results_schema1.h5", 1 << 20, &text, &n, &e) != BL_OK)
        fail_msg("%s", e.text);
    snprintf(path, sizeof path, "%s/story__base__piqa__0--1572f6ae1b61.h5", dir);
    assert_ok(bl_write_file(path, text, n, &e));
    bl_free(text);
    assert_refused(bl_shard_open(path, &s, &e), BL_E_UNSUPPORTED, "schema 1, written by an earlier bitladder");
    assert_refused(bl_shard_check(path, "story/base/piqa/0", (bl_hash){1, 1}, &e), BL_E_UNSUPPORTED,
                   "run the study again");
    assert_ok(bl_table_read(dirs, 1, &t, &e));
    assert_int_equal(t->n, 0);
    assert_int_equal(t->skipped, 1);
    assert_has(t->skipped_reason[0], "schema 1");
    bl_table_free(t);
}

static void failed_cells_show_as_failed_with_their_reason(void **state)
{
    (void)state;
    study();
    char *file = bl_cell_file("smollm2-135m/rtn:w1g64/piqa/0", (bl_hash){7, 7}, &e);
    assert_ok(bl_failure_write(dir, file,
                               &(bl_cell_failure){.key = "smollm2-135m/rtn:w1g64/piqa/0",
                                                  .hash = "0707",
                                                  .status = "failed",
                                                  .reason = "layer 9: not a number",
                                                  .time = "t",
                                                  .model = "smollm2-135m",
                                                  .stored_as = "BF16",
                                                  .method = "rtn:w1g64",
                                                  .task = "piqa",
                                                  .wbits = 1,
                                                  .task_version = 1,
                                                  .group_text = "64"},
                               &e));
    bl_free(file);
    const char *md = print(&(bl_table_opts){.terminal = true});
    assert_has(md, "rtn:w1g64                       failed [1]         failed [1]                                -\n");
    assert_has(md, "[1] failed: layer 9: not a number\n");
    assert_has(md, "- no result\n");
    assert_string_equal(print(&(bl_table_opts){.terminal = true, .failed_only = true}),
                        "smollm2-135m/rtn:w1g64/piqa/0  failed  layer 9: not a number\n");
    assert_has(print(&(bl_table_opts){.format = BL_TABLE_TEX}),
               "% smollm2-135m/rtn:w1g64/piqa/0: failed: layer 9: not a number");
}

static void what_is_special_about_a_method_is_said_below(void **state)
{
    (void)state;
    invented v;
    bl_cell c = *invent(&v, "m", 4, 64, "piqa", 0);
    c.simulated = "activations";
    c.calibration = "wikitext2:train 128x2048 seed 0";
    write_cell(&c);
    const char *md = print(&(bl_table_opts){.terminal = true});
    assert_has(md, "rtn:w4g64 a,b,c ");
    assert_has(md, "a  simulated: activations\nb  calibrated on wikitext2:train 128x2048 seed 0\n"
                   "c  lm_head and embeddings as stored\n");
}

static void a_note_beside_its_finished_cell_is_history(void **state)
{
    (void)state;
    invented v;
    const bl_cell *c = invent(&v, "m", 4, 64, "piqa", 0);
    char *file = bl_cell_file(c->key, c->hash, &e);
    write_cell(c);
    assert_ok(bl_failure_write(dir, file, &(bl_cell_failure){.status = "failed", .reason = "earlier"}, &e));
    bl_free(file);
    assert_has_not(print(&(bl_table_opts){.format = BL_TABLE_CSV}), "earlier");
}

/* A row of several tasks: what is to be known of the data of each is said, once. */
static void notes_of_every_task_of_a_row_are_said(void **state)
{
    static const char *const task[] = {"arc_easy", "boolq", "piqa"}, *const notes[] = {"one", "two", "one"};
    (void)state;

    for (size_t i = 0; i < BL_COUNT(task); i++) {
        invented v;
        bl_cell c = *invent(&v, "m", 4, 64, task[i], 0);
        c.notes = notes[i];
        write_cell(&c);
    }
    const char *text = print(&(bl_table_opts){0});
    assert_has(text, "rtn:w4g64 a,b ");
    assert_has(text, "\na  one");
    assert_has(text, "\nb  two");
    assert_has_not(text, "\nc  ");
}

/* Two cells that differ in one thing: it becomes a column, and no number is lost. */
static void cells_that_differ_in_anything_get_rows_of_their_own(void **state)
{
    (void)state;
    static const char *const column[] = {"limit", "seed", "stored_as", "notes", "calibration", "numerics"};
    for (size_t i = 0; i < BL_COUNT(column); i++) {
        invented v, w;
        bl_cell c = *invent(&v, "m", 4, 64, "piqa", 0), d = *invent(&w, "m", 4, 64, "piqa", 0);
        dir = test_dir();
        d.hash.hi ^= UINT64_C(1) << 60;
        w.metric[0].value = 0.1;
        if (i == 0) d.limit = 20;
        if (i == 1) d.seed = 1;
        if (i == 2) d.stored_as = "Q4_1";
        if (i == 3) d.notes = "ragged";
        if (i == 4) d.calibration = "ptb:train 128x2048 seed 0";
        if (i == 5) d.numerics = "cuda-bf16";
        d.metric = w.metric;
        write_cell(&c);
        write_cell(&d);
        const char *md = print(&(bl_table_opts){.terminal = true});
        assert_has(md, column[i]);
        assert_has(md, "66.5 ");
        assert_has(md, "10.0 ");
        if (i == 2) assert_has(md, "m (Q4_1)");
        assert_ok(bl_remove_tree(dir, &e));
    }
    dir = test_dir();
}

static void versions_of_a_task_are_never_in_one_column(void **state)
{
    (void)state;
    invented v, w;
    bl_cell c = *invent(&v, "m", 4, 64, "piqa", 0), d = *invent(&w, "m", 3, 64, "piqa", 0);
    d.task_version = 2;
    write_cell(&c);
    write_cell(&d);
    const char *md = print(&(bl_table_opts){.terminal = true});
    assert_has(md, "piqa acc v1 %");
    assert_has(md, "piqa acc v2 %");
}

static void one_cell_in_two_directories_is_two_rows(void **state)
{
    (void)state;
    invented v;
    const char *first = dir, *dirs[2];
    char second[4200];
    bl_table *t;
    bl_text text = {0};
    snprintf(second, sizeof second, "%s/more", dir);
    assert_ok(bl_make_dirs(second, &e));
    write_cell(invent(&v, "m", 4, 64, "piqa", 0));
    dir = second;
    write_cell(invent(&v, "m", 4, 64, "piqa", 0));
    dirs[0] = dir = first;
    dirs[1] = second;
    assert_ok(bl_table_read(dirs, 2, &t, &e));
    assert_ok(bl_table_print(t, &(bl_table_opts){.terminal = true}, &text, &e));
    assert_has(text.s, "/more");
    int lines = 0;
    for (char *p = text.s; (p = strstr(p, "66.5")); p++) lines++;
    assert_int_equal(lines, 2);
    bl_text_free(&text);
    bl_table_free(t);
}

static void rows_columns_and_metrics_can_be_chosen(void **state)
{
    (void)state;
    study();
    const char *md = print(&(bl_table_opts){.terminal = true, .rows = "bits", .cols = "metric", .metric = "kl_*,acc"});
    assert_has(md, "kl_mean");
    assert_has(md, "kl_p50");
    assert_has_not(md, "acc_norm");
    assert_has_not(md, "perplexity");
    assert_has(md, "task");
    bl_table *t;
    bl_text text = {0};
    const char *dirs[] = {dir};
    assert_ok(bl_table_read(dirs, 1, &t, &e));
    md = print(&(bl_table_opts){.rows = "task,metric", .cols = "method"}); /* a column of shares and perplexities */
    assert_has(md, "| task ");
    assert_has(md, " base |");
    assert_has_not(md, " base %");
    assert_has(md, "| acc % \xe2\x86\x91");
    assert_has(md, "| perplexity \xe2\x86\x93");
    md = print(&(bl_table_opts){.format = BL_TABLE_TEX, .rows = "task,metric", .cols = "method"});
    assert_has(md, "acc \\% $\\uparrow$ &");
    assert_has_not(md, "base \\%");
    assert_refused(bl_table_print(t, &(bl_table_opts){.rows = "methods"}, &text, &e), BL_E_CONFIG,
                   "did you mean method?");
    bl_table_free(t);
    bl_text_free(&text);
}

/* Does the line that `begins` is in have `part`? */
static bool line_has(const char *text, const char *begins, const char *part)
{
    const char *line = strstr(text, begins), *at = line ? strstr(line, part) : NULL;
    assert_non_null(line);
    return at && at < line + strcspn(line, "\n");
}

/* A distance that the base cannot have from itself, and a metric that means something for no item of a cell. */
static void a_gap_is_the_base_itself_only_of_a_distance(void **state)
{
    (void)state;
    invented v;
    bl_cell_metric some[8];
    int64_t n = 0;
    write_cell(invent(&v, "m", 0, 0, "piqa", 0));
    bl_cell c = *invent(&v, "m", 4, 64, "piqa", 0);
    for (int64_t k = 0; k < c.n_metrics; k++)
        if (strcmp(c.metric[k].name, "acc_norm")) some[n++] = c.metric[k];
    c.metric = some;
    c.n_metrics = n;
    write_cell(&c);
    for (int down = 0; down < 2; down++) {
        const char *md = print(&(bl_table_opts){.rows = down ? "task,metric" : NULL,
                                                .cols = down ? "method" : NULL,
                                                .metric = "acc_norm,kl_mean"}),
                   *lacks = down ? "acc_norm" : "| rtn:w4g64", *base = down ? "kl_mean" : "| base";
        assert_true(line_has(md, lacks, " - |") && !line_has(md, lacks, " = |"));
        assert_true(line_has(md, base, " = |") && !line_has(md, base, " - |"));
        assert_has(md, "= the base itself");
        assert_has(md, "- no result");
    }
}

static void files_that_do_not_check_are_named_and_skipped(void **state)
{
    (void)state;
    invented v;
    char path[4300];
    bl_table *t;
    const char *dirs[] = {dir};
    study();
    const bl_cell *c = invent(&v, "smollm2-135m", 4, 64, "piqa", 0);
    FILE *f = fopen(invented_path(dir, c), "r+b");
    fseek(f, 3000, SEEK_SET);
    int was = fgetc(f);
    fseek(f, 3000, SEEK_SET);
    fputc(was ^ 4, f);
    fclose(f);
    snprintf(path, sizeof path, "%s/junk.h5", dir);
    assert_ok(bl_write_file(path, "junk", 4, &e));
    snprintf(path, sizeof path, "%s/odd.failed.json", dir);
    assert_ok(bl_write_file(path, "{", 1, &e));
    snprintf(path, sizeof path, "%s/x.h5.tmp.1", dir);
    assert_ok(bl_write_file(path, "half", 4, &e));
    assert_ok(bl_table_read(dirs, 1, &t, &e));
    assert_int_equal(t->skipped, 3);
    assert_has(t->skipped_reason[0], "junk.h5");
    assert_has(t->skipped_reason[1], "odd.failed.json");
    assert_has(t->skipped_reason[2], "rtn:w4g64__piqa__0");
    assert_has(t->skipped_reason[2], "do not match its hash");
    assert_true(t->n > 20);
    bl_table_free(t);
    assert_refused(bl_table_read((const char *[]){"/nonexistent/x"}, 1, &t, &e), BL_E_MISSING, "/nonexistent/x");
}

static const struct {
    double v, se;
    bool has;
    const char *want;
} numbers[] = {
    {64.23, 1.1, true,
     "64.2 \xc2\xb1"
     "1.1"},
    {77.71, 0.87, true,
     "77.7 \xc2\xb1"
     "0.9"},
    {68, 3.3, true,
     "68.0 \xc2\xb1"
     "3.3"},
    {68, 3.6, true,
     "68 \xc2\xb1"
     "4"},
    {21.634, 0.096, true,
     "21.63 \xc2\xb1"
     "0.10"},
    {21.634, 0, false, "21.63"},
    {12345, 678, true,
     "12300 \xc2\xb1"
     "700"},
    {0.0316, 0.0021, true,
     "0.0316 \xc2\xb1"
     "0.0021"},
    {0, 0, false, "0"},
    {1.5e7, 2e5, true,
     "(1.500\xc2\xb1"
     "0.020)e7"},
    {-0.004, 0.1, true,
     "0.00 \xc2\xb1"
     "0.10"},
    {100, 0, true, "100.0"},
    {1234567, 0, false, "1.235e+06"},
    {9.9996, 0, false, "10.00"},
};
static void numbers_show_no_more_digits_than_they_know(void **state)
{
    (void)state;
    char got[64];
    for (size_t i = 0; i < BL_COUNT(numbers); i++) {
        bl_number_text(numbers[i].v, numbers[i].se, numbers[i].has, got);
        if (strcmp(got, numbers[i].want))
            fail_msg("%g ± %g: '%s', wanted '%s'", numbers[i].v, numbers[i].se, got, numbers[i].want);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(the_pivot_reads_as_it_should, begin, end),
        cmocka_unit_test_setup_teardown(csv_is_the_long_form_that_was_agreed, begin, end),
        cmocka_unit_test_setup_teardown(json_has_times_and_memory, begin, end),
        cmocka_unit_test_setup_teardown(tex_marks_the_best_and_says_what_md_says, begin, end),
        cmocka_unit_test_setup_teardown(limited_and_shortened_rows_are_marked, begin, end),
        cmocka_unit_test_setup_teardown(a_table_knows_no_task_and_no_metric_by_name, begin, end),
        cmocka_unit_test_setup_teardown(of_two_results_that_differ_in_their_hash_alone_the_newer_counts, begin, end),
        cmocka_unit_test_setup_teardown(conventions_that_are_not_the_usual_ones_are_said, begin, end),
        cmocka_unit_test_setup_teardown(size_speed_and_memory_are_columns_when_asked_for, begin, end),
        cmocka_unit_test_setup_teardown(groups_are_shown_when_they_are_asked_for, begin, end),
        cmocka_unit_test_setup_teardown(a_file_of_an_earlier_schema_is_named_and_skipped, begin, end),
        cmocka_unit_test_setup_teardown(failed_cells_show_as_failed_with_their_reason, begin, end),
        cmocka_unit_test_setup_teardown(what_is_special_about_a_method_is_said_below, begin, end),
        cmocka_unit_test_setup_teardown(a_note_beside_its_finished_cell_is_history, begin, end),
        cmocka_unit_test_setup_teardown(notes_of_every_task_of_a_row_are_said, begin, end),
        cmocka_unit_test_setup_teardown(cells_that_differ_in_anything_get_rows_of_their_own, begin, end),
        cmocka_unit_test_setup_teardown(versions_of_a_task_are_never_in_one_column, begin, end),
        cmocka_unit_test_setup_teardown(one_cell_in_two_directories_is_two_rows, begin, end),
        cmocka_unit_test_setup_teardown(rows_columns_and_metrics_can_be_chosen, begin, end),
        cmocka_unit_test_setup_teardown(a_gap_is_the_base_itself_only_of_a_distance, begin, end),
        cmocka_unit_test_setup_teardown(files_that_do_not_check_are_named_and_skipped, begin, end),
        cmocka_unit_test(numbers_show_no_more_digits_than_they_know),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
