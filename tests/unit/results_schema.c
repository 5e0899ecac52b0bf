/* results_schema.c - results/schema.md is what cell.def says, and real files say the same: every path of a file is in
 * the page, every path of the page is in a file.
 *
 * BITLADDER_UPDATE=1 in the environment writes the part of the page that is made from cell.def.
 */
#include "data/results_cells.h"

enum { MOST = 256 };
static bl_err e;
typedef struct entry {
    char path[128];
    bool optional, has_unit, seen, seen_absent, seen_unit;
} entry;
static entry entries[MOST];
static size_t n_entries;

/* Rows "| `path` | kind | unit | meaning |" before the part on kernels. */
static void read_page(void)
{
    char *text = NULL;
    size_t n = 0;
    if (bl_read_file(BL_SOURCE_DIR "/results/schema.md", 1 << 20, &text, &n, &e) != BL_OK) fail_msg("%s", e.text);
    char *end = strstr(text, "\n## Kernel timings");
    assert_non_null(end);
    *end = 0;
    n_entries = 0;
    for (char *line = text; line; line = strchr(line, '\n')) {
        char kind[64], unit[32];
        line += *line == '\n';
        entry *x = &entries[n_entries];
        *x = (entry){0};
        if (sscanf(line, "| `%127[^`]` | %63[^|]| %31[^|]|", x->path, kind, unit) != 3) continue;
        x->optional = strstr(kind, "or reason") != NULL;
        x->has_unit = strncmp(unit, "- ", 2) != 0;
        n_entries++;
    }
    bl_free(text);
}

static entry *find(const char *path, size_t n)
{
    for (size_t i = 0; i < n_entries; i++)
        if (strlen(entries[i].path) == n && !memcmp(entries[i].path, path, n)) return &entries[i];
    return NULL;
}

/* "task/piqa/metric/acc_stderr" is "task/<task>/metric/<metric>_stderr" in the page. */
static void general(const char *path, const bl_cell *c, char out[256])
{
    char task[64];
    snprintf(task, sizeof task, "task/%s/", c->task);
    if (strncmp(path, task, strlen(task))) {
        snprintf(out, 256, "%s", path);
        return;
    }
    const char *rest = path + strlen(task);
    snprintf(out, 256, "task/<task>/%s", rest);
    for (int64_t i = 0; i < c->n_metrics; i++) {
        char plain[64], with[64];
        snprintf(plain, sizeof plain, "metric/%s", c->metric[i].name);
        snprintf(with, sizeof with, "metric/%s_stderr", c->metric[i].name);
        if (!strcmp(rest, plain)) snprintf(out, 256, "task/<task>/metric/<metric>");
        if (!strcmp(rest, with)) snprintf(out, 256, "task/<task>/metric/<metric>_stderr");
    }
}

static bool ends(const char *s, const char *end, size_t *n)
{
    size_t k = strlen(end);
    *n = strlen(s) - k;
    return strlen(s) > k && !strcmp(s + *n, end);
}

static void mark_file(const bl_cell *c)
{
    const char *dir = test_dir(), **path;
    int64_t n;
    bl_shard *s;
    bl_arena *a;

    assert_ok(bl_arena_new(&a, &e));
    assert_ok(bl_cell_write(dir, c, &e));
    assert_ok(bl_shard_open(invented_path(dir, c), &s, &e));
    assert_ok(bl_shard_paths(s, a, &path, &n, &e));
    for (int64_t i = 0; i < n; i++) {
        char p[256];
        size_t k;
        entry *x;
        general(path[i], c, p);
        if ((x = find(p, strlen(p)))) x->seen = true;
        else if (ends(p, "_absent_reason", &k) && (x = find(p, k))) x->seen_absent = true;
        else if ((ends(p, "@units", &k) || ends(p, "_units", &k)) && (x = find(p, k))) x->seen_unit = true;
        else if (!(ends(p, "@long_name", &k) && find(p, k)))
            fail_msg("'%s' is in a file, but not in schema.md", path[i]);
    }
    bl_shard_close(s);
    bl_arena_free(a);
    assert_ok(bl_remove_tree(dir, &e));
}

static void the_page_is_made_from_the_table_of_fields(void **state)
{
    (void)state;
    static const char page[] = BL_SOURCE_DIR "/results/schema.md", mark[] = "writes this part -->\n",
                      last[] = "<!-- end -->";
    char *text = NULL;
    size_t n = 0;
    bl_text want = {0}, all = {0};

    if (bl_read_file(page, 1 << 20, &text, &n, &e) != BL_OK) fail_msg("%s", e.text);
    char *from = strstr(text, mark), *to = strstr(text, last);
    assert_true(from && to);
    from += strlen(mark);
    bl_cell_page(&want);
    assert_ok(bl_text_check(&want, &e));
    if (getenv("BITLADDER_UPDATE")) {
        bl_text_addn(&all, text, (size_t)(from - text));
        bl_text_addn(&all, want.s, want.n);
        bl_text_add(&all, to);
        assert_ok(bl_write_file(page, all.s, all.n, &e));
        bl_text_free(&all);
    } else if ((size_t)(to - from) != want.n || memcmp(from, want.s, want.n)) {
        fail_msg("%s is not what results/cell.def says; write it with BITLADDER_UPDATE=1 %s", page,
                 "build/release/tests/t_unit_results_schema");
    }
    bl_text_free(&want);
    bl_free(text);
}

/* What a line of cell.def makes, by name: every member has its own path, and every column its own name. */
static void no_two_lines_say_the_same(void **state)
{
    (void)state;
    const bl_cell_field *f, *g;
    for (size_t i = 0; (f = bl_cell_field_at(i)); i++) {
        assert_int_equal(f->column != NULL, f->use != BL_USE_SHARD);
        assert_true(*f->meaning && *f->where);
        for (size_t k = 0; k < i; k++) {
            g = bl_cell_field_at(k);
            if (f->at == g->at || !strcmp(f->where, g->where) ||
                (f->column && g->column && !strcmp(f->column, g->column)))
                fail_msg("%s and %s", f->where, g->where);
        }
    }
}

/* Whatever may be absent of the lines of cell.def: all there, or all left out. */
static void fill(bl_cell *c, bool there)
{
    const bl_cell_field *f;
    for (size_t i = 0; (f = bl_cell_field_at(i)); i++) {
        void *p = (char *)c + f->at;
        if (!f->absent) continue;
        if (f->type == BL_CELL_IS_TEXT) *(const char **)p = there ? "text" : NULL;
        else if (f->type == BL_CELL_IS_INT) *(int64_t *)p = there;
        else if (f->type == BL_CELL_IS_COUNT) *(int64_t *)p = there ? 0 : -1;
        else *(double *)p = there;
    }
}

static void every_path_of_a_file_is_in_the_page_and_the_other_way_round(void **state)
{
    (void)state;
    invented v;
    read_page();
    assert_in_range(n_entries, 50, MOST - 1);
    bl_cell c = *invent(&v, "m", 4, 64, "piqa", 0); /* everything there */
    static const char *const text[] = {"x"};
    bl_cell_metric grouped = v.metric[0];
    fill(&c, true);
    grouped.group = "law";
    c.grouped = &grouped;
    c.n_grouped = 1;
    v.layer[0].out_nmse = v.layer[1].damp = v.layer[0].block_loss_first = v.layer[0].block_loss = 0.1;
    for (int i = 0; i < INVENTED_SAMPLES; i++) {
        v.sample[i].group = "law";
        v.sample[i].reply = v.sample[i].answer = text;
        v.sample[i].n_replies = v.sample[i].n_answers = 1;
    }
    mark_file(&c);
    c = *invent(&v, "m", 0, 0, "piqa", 0); /* and as little as possible */
    fill(&c, false);
    mark_file(&c);
    for (size_t i = 0; i < n_entries; i++) {
        const entry *x = &entries[i];
        if (!x->seen) fail_msg("'%s' is in schema.md, but in no file", x->path);
        if (x->optional != x->seen_absent)
            fail_msg("'%s': schema.md says '%s', a reason was %s", x->path, x->optional ? "or reason" : "always there",
                     x->seen_absent ? "found" : "not found");
        if (x->has_unit != x->seen_unit)
            fail_msg("'%s': schema.md says it has %s unit, a file has %s", x->path, x->has_unit ? "a" : "no",
                     x->seen_unit ? "one" : "none");
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_page_is_made_from_the_table_of_fields),
        cmocka_unit_test(no_two_lines_say_the_same),
        cmocka_unit_test(every_path_of_a_file_is_in_the_page_and_the_other_way_round),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
