/* all_compare.c - whole studies through the program: no comparison is lost in silence, items are chosen as asked, and
 * `compare` judges. */
#include "study_fixture.h"
#include "harness/study/plan.h"
#include "kernels/base/json.h"
#include "methods/registry.h"
#include "tasks/registry.h"

#define STUDY(s, methods, ...)                                                                                         \
    "run", "--model", (s)->model, "--data", (s)->data, "--out", (s)->out, "--threads", "1", "--method", methods,       \
        "--task", __VA_ARGS__
#define RUN(s, ...) PROGRAM(s, STUDY(s, __VA_ARGS__))

/* The only shard whose name has both parts; in a static ring. */
static const char *shard(const study *s, const char *part, const char *tail)
{
    static char ring[4][5000];
    static int at;
    char **name = NULL, *out = ring[at++ % 4];
    size_t n = 0, found = 0;
    bl_dir_list(s->out, &name, &n, NULL);
    for (size_t i = 0; i < n; i++) {
        if (!strstr(name[i], part) || !strstr(name[i], tail)) continue;
        snprintf(out, sizeof ring[0], "%s/%s", s->out, name[i]);
        found++;
    }
    bl_list_free(name, n);
    if (found != 1) fail_msg("%zu files have '%s' and '%s' in their name", found, part, tail);
    return out;
}

static bl_arena *arena;
static int begin(void **state)
{
    (void)state;
    return bl_arena_new(&arena, NULL) != BL_OK;
}
static int end(void **state)
{
    (void)state;
    bl_arena_free(arena);
    return 0;
}

static bl_cell cell(const study *s, const char *part)
{
    bl_err e = {0};
    bl_cell c;
    assert_ok(bl_cell_read(shard(s, part, ".h5"), true, arena, &c, &e));
    return c;
}

static void done(ran r)
{
    expect(&r, 0, NULL);
    ran_free(&r);
}

static int count_in(const char *text, const char *part)
{
    int n = 0;
    for (; (text = strstr(text, part)); text++) n++;
    return n;
}

/* ---- bases ---- */

static void a_base_that_comes_later_is_compared_with_and_leaves_one_row_a_method(void **state)
{
    (void)state;
    study s = study_begin(12);
    ran r = RUN(&s, "rtn:w3g24", "piqa");
    expect(&r, 0, "1 cell is compared with nothing, since neither the study nor");
    ran_free(&r);
    assert_true(cell(&s, "rtn").n_kl == 0);
    r = PROGRAM(&s, "table", s.out);
    expect(&r, 0, NULL);
    assert_non_null(strstr(r.out, "there is no base here to compare with"));
    ran_free(&r);
    done(RUN(&s, "base,rtn:w3g24", "piqa"));
    assert_int_equal(count_ending(s.out, ".h5"), 2);
    assert_true(cell(&s, "rtn").n_kl > 0);
    r = PROGRAM(&s, "table", s.out);
    expect(&r, 0, NULL);
    assert_int_equal(count_in(r.out, "| rtn:w3g24"), 1);
    assert_non_null(strstr(r.out, "against base"));
    ran_free(&r);
    r = PROGRAM(&s, "plan", "--model", s.model, "--data", s.data, "--out", s.out, "--method", "base,rtn:w3g24",
                "--task", "piqa");
    assert_non_null(strstr(r.out, "2 cells: 2 done, 0 open"));
    ran_free(&r);
    study_end(&s);
}

static void a_method_that_comes_later_uses_the_base_of_the_directory(void **state)
{
    (void)state;
    study s = study_begin(12), t = s;
    snprintf(t.out, sizeof t.out, "%s/together", s.dir);
    done(RUN(&s, "base", "piqa"));
    ran r = RUN(&s, "rtn:w3g24", "piqa");
    expect(&r, 0, NULL);
    assert_null(strstr(r.err, "nothing"));
    ran_free(&r);
    done(RUN(&t, "base,rtn:w3g24", "piqa"));
    assert_int_equal(assert_same_results(t.out, s.out), 2);
    study_end(&s);
}

/* The base's states are the big folder: who removes it loses nothing but time. */
static void states_that_are_gone_or_damaged_are_made_again(void **state)
{
    (void)state;
    study s = study_begin(12), t = s;
    char cache[4300];
    bl_err e = {0};
    snprintf(t.out, sizeof t.out, "%s/together", s.dir);
    snprintf(cache, sizeof cache, "%s/cache", s.out);
    done(RUN(&t, "base,rtn:w3g24,rtn:w2g24", "piqa"));
    done(RUN(&s, "base", "piqa"));
    assert_ok(bl_remove_tree(cache, &e));
    done(RUN(&s, "rtn:w3g24", "piqa"));
    assert_true(cell(&s, "rtn:w3").n_kl > 0);

    char **name = NULL, *text = NULL;
    size_t n = 0, size = 0;
    assert_ok(bl_dir_list(cache, &name, &n, &e));
    assert_int_equal(n, 1);
    char *path = bl_join(cache, name[0], &e);
    assert_ok(bl_read_file(path, 1 << 26, &text, &size, &e));
    text[size - 9] ^= 1; /* in the states of the last item */
    assert_ok(bl_write_file(path, text, size, &e));
    ran r = RUN(&s, "base,rtn:w2g24", "piqa"); /* it fails, or says that it could not compare; then all is there */
    ran_free(&r);
    done(RUN(&s, "base,rtn:w2g24", "piqa"));
    assert_int_equal(assert_same_results(t.out, s.out), 3);
    bl_free(path);
    bl_free(text);
    bl_list_free(name, n);
    study_end(&s);
}

/* A base that fails once: the others say so, and are done again when it is there. */
static void cells_that_ran_while_the_base_failed_are_done_again(void **state)
{
    (void)state;
    study s = study_begin(12), t = s;
    snprintf(t.out, sizeof t.out, "%s/together", s.dir);
    started p = BEGIN(&s, "after-batch:1", STUDY(&s, "base,rtn:w3g24", "piqa"));
    kill(p.child, SIGKILL);                /* the base */
    kill(program_stopped(p.pid), SIGCONT); /* the other */
    ran r = program_end(&p);
    expect(&r, 1, "1 failed");
    ran_free(&r);
    assert_true(cell(&s, "rtn").n_kl == 0);
    done(RUN(&s, "base,rtn:w3g24", "piqa"));
    done(RUN(&t, "base,rtn:w3g24", "piqa"));
    assert_int_equal(assert_same_results(t.out, s.out), 2);
    study_end(&s);
}

/* A file as earlier versions called it in a study without a base. */
static void results_of_earlier_names_leave_no_second_row(void **state)
{
    (void)state;
    study s = study_begin(12);
    bl_err e = {0};
    bl_spec spec;
    bl_plan *plan;
    bl_spec_from from = bl_spec_nothing;
    char name[1200];
    const bl_program program = {.methods = bl_methods, .tasks = bl_tasks};
    done(RUN(&s, "base,rtn:w3g24", "piqa"));
    from.model = s.model;
    from.method = "base,rtn:w3g24";
    from.task = "piqa";
    from.data = s.data;
    from.out = s.out;
    assert_ok(bl_spec_read(&program, &from, &spec, &e));
    assert_ok(bl_plan_make(&spec, &(bl_plan_opts){.no_estimate = true}, &plan, &e));
    snprintf(name, sizeof name, "%s.h5", plan->cell[1].superseded[0]);
    bl_plan_free(plan);
    bl_spec_free(&spec);
    study_write(s.out, name, "old");
    assert_int_equal(count_ending(s.out, ".h5"), 3);
    done(RUN(&s, "base,rtn:w3g24", "piqa"));
    assert_int_equal(count_ending(s.out, ".h5"), 2);
    study_end(&s);
}

/* ---- variants ---- */

/* Bytes of a cached variant that changed: it is made again, and the numbers are those of an untouched one. */
static void a_variant_that_changed_on_disk_is_made_again(void **state)
{
    (void)state;
    study s = study_begin(12), t = s;
    char dir[4300], **name = NULL, *bytes;
    size_t n = 0, size;
    bl_err e = {0};
    snprintf(t.out, sizeof t.out, "%s/together", s.dir);
    snprintf(dir, sizeof dir, "%s/variants", s.out);
    done(RUN(&t, "base,rtn:w3g24", "piqa,primer_choice@4"));
    done(RUN(&s, "base,rtn:w3g24", "piqa"));
    assert_ok(bl_dir_list(dir, &name, &n, &e));
    assert_int_equal(n, 1);
    snprintf(dir, sizeof dir, "%s/variants/%s", s.out, name[0]);
    bl_list_free(name, n);
    assert_ok(bl_dir_list(dir, &name, &n, &e));
    size_t first = 0;
    while (first < n && !strstr(name[first], ".safetensors")) first++;
    assert_true(first < n);
    char *file = bl_join(dir, name[first], &e);
    assert_ok(bl_read_file(file, 1 << 26, &bytes, &size, &e));
    for (int i = 0; i < 8; i++) bytes[size - 40 + (size_t)i] ^= 0x55;
    assert_ok(bl_write_file(file, bytes, size, &e));
    ran r = RUN(&s, "base,rtn:w3g24", "piqa,primer_choice@4");
    expect(&r, 0, "is not what was written");
    ran_free(&r);
    assert_int_equal(assert_same_results(t.out, s.out), 4);
    bl_free(file);
    bl_free(bytes);
    bl_list_free(name, n);
    study_end(&s);
}

/* ---- items ---- */

static void a_task_says_itself_how_many_items_are_used(void **state)
{
    (void)state;
    study s = study_begin(40);
    done(RUN(&s, "base", "piqa@7,primer_choice@3"));
    assert_int_equal(cell(&s, "__piqa").n_samples, 7);
    assert_int_equal(cell(&s, "__piqa").limit, 7);
    assert_int_equal(cell(&s, "primer_choice").n_samples, 3);
    study_write(s.dir, "study.json",
                "{\"models\": \"x\", \"methods\": \"rtn:w2g24\", \"tasks\": [\"piqa\", \"primer_choice\"], "
                "\"limit\": {\"piqa\": 5}}");
    char file[4300];
    snprintf(file, sizeof file, "%s/study.json", s.dir);
    ran r = PROGRAM(&s, "plan", file, "--model", s.model, "--data", s.data, "--json");
    expect(&r, 0, NULL);
    assert_non_null(strstr(r.out, "\"tasks\": [\"piqa@5\", \"primer_choice\"]"));
    ran_free(&r);
    study_end(&s);
}

/* No shell sees what a study says: "~" is the home directory there too. */
static void a_study_may_begin_a_path_with_the_home_directory(void **state)
{
    (void)state;
    study s = study_begin(4);
    char *home = getenv("HOME") ? strdup(getenv("HOME")) : NULL, file[4300];
    setenv("HOME", s.dir, 1);
    study_write(s.dir, "study.json",
                "{\"models\": \"~/none\", \"methods\": \"base\", \"tasks\": \"piqa\", \"data\": \"~/data\", \"out\": "
                "\"~/out\"}");
    snprintf(file, sizeof file, "%s/study.json", s.dir);
    ran r = PROGRAM(&s, "plan", file);
    expect(&r, 2, s.dir);
    assert_null(strchr(r.err, '~'));
    ran_free(&r);
    r = PROGRAM(&s, "plan", file, "--model", s.model, "--json");
    expect(&r, 0, NULL);
    assert_null(strchr(r.out, '~'));
    assert_non_null(strstr(r.out, s.dir));
    ran_free(&r);
    if (home) setenv("HOME", home, 1);
    free(home);
    study_end(&s);
}

static void a_glob_names_several_tasks(void **state)
{
    (void)state;
    study s = study_begin(4);
    ran r = PROGRAM(&s, "plan", "--model", s.model, "--data", s.data, "--method", "base", "--task", "arc_*@5,piqa",
                    "--json");
    expect(&r, 0, NULL);
    assert_non_null(strstr(r.out, "\"arc_easy@5\""));
    assert_non_null(strstr(r.out, "\"arc_challenge@5\""));
    ran_free(&r);
    study_end(&s);
}

static void items_are_drawn_by_the_seed_and_are_the_same_for_every_method(void **state)
{
    (void)state;
    study s = study_begin(40);
    done(RUN(&s, "base,rtn:w2g24", "piqa@~9"));
    bl_cell a = cell(&s, "__base"), b = cell(&s, "__rtn");
    assert_int_equal(a.n_samples, 9);
    assert_int_equal(a.drawn, 9);
    assert_int_equal(a.limit, 0);
    bool beyond = false;
    for (int64_t i = 0; i < 9; i++) {
        assert_int_equal(a.sample[i].id, b.sample[i].id);
        if (i) assert_true(a.sample[i].id > a.sample[i - 1].id);
        beyond |= a.sample[i].id >= 9;
    }
    assert_true(beyond && a.sample[8].id < 40);
    assert_true(b.n_kl > 0);
    ran r = PROGRAM(&s, "table", s.out);
    assert_non_null(strstr(r.out, "n=9~"));
    assert_non_null(strstr(r.out, "drawn at random by the seed"));
    assert_non_null(strstr(r.out, "against base"));
    ran_free(&r);
    study t = s;
    snprintf(t.out, sizeof t.out, "%s/seed", s.dir);
    done(RUN(&t, "base", "piqa", "--sample", "9", "--seed", "1"));
    bl_cell other = cell(&t, "__base");
    bool same = true;
    for (int64_t i = 0; i < 9; i++) same &= other.sample[i].id == a.sample[i].id;
    assert_false(same);
    study_end(&s);
}

static void numbers_of_items_that_are_none_are_refused(void **state)
{
    (void)state;
    study s = study_begin(4);
    static const struct {
        const char *task, *more, *value, *says;
    } rows[] = {
        {"piqa@", "--threads", "1", "after @ comes a number of items"},
        {"piqa@x", "--threads", "1", "after @ comes a number of items"},
        {"piqa@~", "--threads", "1", "after @ comes a number of items"},
        {"piqa@-3", "--threads", "1", "after @ comes a number of items"},
        {"zz*", "--threads", "1", "no task is called like 'zz*'"},
        {"pika@3", "--threads", "1", "no task 'pika'; did you mean piqa?"},
        {"piqa", "--set", "limit=3,sample=3", "items are the first ones or drawn, not both"},
    };
    for (size_t i = 0; i < BL_COUNT(rows); i++) {
        ran r = PROGRAM(&s, "plan", "--model", s.model, "--data", s.data, "--method", "base", "--task", rows[i].task,
                        rows[i].more, rows[i].value);
        expect(&r, 2, rows[i].says);
        ran_free(&r);
    }
    study_end(&s);
}

/* ---- what is recorded ---- */

static bool has(bl_shard *x, const char *where) { return bl_shard_has(x, where); }

/* Times and counts of a cell that was resumed are those of its last piece: nothing is better than that. */
static void a_resumed_cell_says_nothing_about_its_time(void **state)
{
    (void)state;
    study s = study_begin(200);
    bl_err e = {0};
    bl_shard *x;
    static const char *const resumed[] = {"run/seconds",  "run/tokens_per_second", "run/peak_bytes",
                                          "run/kv_bytes", "run/bytes_read",        "run/product_calls_1"};
    started p = BEGIN(&s, "after-batch:2", STUDY(&s, "base", "piqa"));
    ran r = program_interrupt(&p);
    expect(&r, 130, NULL);
    ran_free(&r);
    done(RUN(&s, "base", "piqa"));
    assert_ok(bl_shard_open(shard(&s, "piqa", ".h5"), &x, &e));
    for (size_t i = 0; i < BL_COUNT(resumed); i++) {
        char why[100];
        snprintf(why, sizeof why, "%s_absent_reason", resumed[i]);
        if (has(x, resumed[i]) || !has(x, why)) fail_msg("%s is there, or no reason why not", resumed[i]);
    }
    assert_true(has(x, "run/batch_tokens"));
    bl_shard_close(x);
    r = PROGRAM(&s, "table", s.out, "--json");
    assert_null(strstr(r.out, "\"seconds\""));
    ran_free(&r);
    done(RUN(&s, "base", "primer_choice@4"));
    assert_ok(bl_shard_open(shard(&s, "primer", ".h5"), &x, &e));
    for (size_t i = 0; i < BL_COUNT(resumed); i++)
        if (!has(x, resumed[i])) fail_msg("%s is not there", resumed[i]);
    bl_shard_close(x);
    study_end(&s);
}

static void a_data_directory_that_is_not_there_is_refused(void **state)
{
    (void)state;
    study s = study_begin(4);
    setenv("BITLADDER_DATA", s.data, 1);
    ran r = PROGRAM(&s, "run", "--model", s.model, "--data", "/none", "--out", s.out, "--method", "base", "--task",
                    "piqa");
    expect(&r, 2, "data: there is no directory '/none'");
    ran_free(&r);
    r = PROGRAM(&s, "doctor", "--data", "/none");
    expect(&r, 2, "--data: there is no directory '/none'");
    ran_free(&r);
    r = PROGRAM(&s, "ask", "piqa", "0", "--data", "/none");
    expect(&r, 2, "--data: there is no directory '/none'");
    ran_free(&r);
    unsetenv("BITLADDER_DATA");
    study_end(&s);
}

/* ---- items in words, and what is removed ---- */

static void flipped_items_have_question_both_picks_gold_and_direction(void **state)
{
    (void)state;
    study s = study_begin(40);
    bl_err e = {0};
    bl_json *doc;
    int lost = 0, gained = 0;
    study_even_piqa(s.data, 40);
    done(RUN(&s, "base,rtn:w1pc", "piqa"));
    ran r = PROGRAM(&s, "samples", s.out, "--flipped", "base", "--data", s.data, "--json");
    expect(&r, 0, NULL);
    assert_ok(bl_json_parse(r.out, strlen(r.out), "samples", BL_JSON_PLAIN, &doc, &e));
    for (const bl_json *x = bl_json_first(doc); x; x = bl_json_next(x)) {
        int64_t id, pick, gold, other;
        const char *question, *direction, *picked;
        char want[64];
        assert_ok(bl_json_get_int(x, "id", &id, &e));
        assert_ok(bl_json_get_int(x, "pick", &pick, &e));
        assert_ok(bl_json_get_int(x, "gold", &gold, &e));
        assert_ok(bl_json_get_int(bl_json_get(x, "against"), "pick", &other, &e));
        assert_ok(bl_json_get_str(x, "question", &question, &e));
        assert_ok(bl_json_get_str(x, "pick_text", &picked, &e));
        assert_ok(bl_json_get_str(x, "direction", &direction, &e));
        snprintf(want, sizeof want, "make %d of %c", (int)id, (char)('a' + id % 26));
        assert_non_null(strstr(question, want));
        snprintf(want, sizeof want, pick ? "fit %c" : "cut %c", (char)((pick ? 'c' : 'b') + id % (pick ? 7 : 20)));
        assert_non_null(strstr(picked, want));
        assert_true((pick == gold) != (other == gold));
        assert_string_equal(direction, pick == gold ? "gained" : "lost");
        *(pick == gold ? &gained : &lost) += 1;
    }
    assert_true(lost + gained > 0);
    bl_json_free(doc);
    ran_free(&r);
    r = PROGRAM(&s, "compare", s.out, "base", "rtn:w1pc", "--metric", "acc", "--json");
    char counts[80];
    snprintf(counts, sizeof counts, "\"lost\":%d,\"gained\":%d", lost, gained);
    assert_non_null(strstr(r.out, counts));
    ran_free(&r);
    study_piqa(s.data, 40); /* other data than it was made from: nothing is shown for it */
    r = PROGRAM(&s, "samples", s.out, "--flipped", "base", "--data", s.data, "--format", "text");
    expect(&r, 0, "is not what noise/rtn:w1pc/piqa/0 was made from");
    ran_free(&r);
    study_end(&s);
}

static void removed_results_and_caches_are_made_again(void **state)
{
    (void)state;
    study s = study_begin(12), t = s;
    snprintf(t.out, sizeof t.out, "%s/together", s.dir);
    done(RUN(&t, "base,rtn:w3g24,rtn:w2g24", "piqa"));
    done(RUN(&s, "base,rtn:w3g24,rtn:w2g24", "piqa"));
    done(PROGRAM(&s, "rm", s.out, "*/rtn:w2*/*", "--dry-run"));
    assert_int_equal(count_ending(s.out, ".h5"), 3);
    ran r = PROGRAM(&s, "rm", s.out, "*/rtn:w2*/*");
    expect(&r, 0, NULL);
    assert_non_null(strstr(r.out, "1 cell removed"));
    ran_free(&r);
    assert_int_equal(count_ending(s.out, ".h5"), 2);
    r = PROGRAM(&s, "clean", s.out);
    expect(&r, 0, NULL);
    assert_non_null(strstr(r.out, "/variants"));
    ran_free(&r);
    char path[4400];
    snprintf(path, sizeof path, "%s/variants", s.out);
    assert_false(bl_exists(path));
    done(RUN(&s, "rtn:w2g24", "piqa"));
    assert_int_equal(assert_same_results(t.out, s.out), 3);
    study_end(&s);
}

static void nothing_is_removed_while_a_run_is_at_work(void **state)
{
    (void)state;
    study s = study_begin(200);
    started p = BEGIN(&s, "after-batch:1", STUDY(&s, "base", "piqa"));
    ran r = PROGRAM(&s, "clean", s.out);
    expect(&r, 1, "a run is at work");
    ran_free(&r);
    r = PROGRAM(&s, "rm", s.out, "*");
    expect(&r, 1, "a run is at work");
    ran_free(&r);
    program_kill(p.pid);
    study_end(&s);
}

/* ---- directories of earlier versions ---- */

static void copy(const char *name, const char *dir)
{
    bl_err e = {0};
    char *from = bl_format_text(&e, "%s/tests/data/%s", BL_SOURCE_DIR, name), *to = bl_join(dir, name, &e), *text;
    size_t n;
    assert_ok(bl_read_file(from, 1 << 20, &text, &n, &e));
    assert_ok(bl_write_file(to, text, n, &e));
    bl_free(from);
    bl_free(to);
    bl_free(text);
}

/* Two cells as commit 21ee343 wrote them (tinystories656K on the first 12 of primer_choice): no list of what errors are
 * over, no hash of the base, no bits of the whole model. */
static void results_of_an_earlier_version_are_compared_like_any_other(void **state)
{
    (void)state;
    study s = study_begin(1);
    bl_err e = {0};
    assert_ok(bl_make_dirs(s.out, &e));
    copy("results_earlier_base.h5", s.out);
    copy("results_earlier_w1.h5", s.out);
    ran r = PROGRAM(&s, "table", s.out, "--against", "base");
    expect(&r, 0, NULL);
    assert_non_null(strstr(r.out, "33.33 0 \xc2\xb1"
                                  "17 \xc2\xb7 n=12*"));
    assert_non_null(strstr(r.out, "exact McNemar), Holm over 2 comparisons"));
    ran_free(&r);
    r = PROGRAM(&s, "compare", s.out, "base", "rtn:w1pc", "--metric", "acc");
    expect(&r, 0, NULL);
    assert_non_null(strstr(r.out, "2:2"));
    ran_free(&r);
    r = PROGRAM(&s, "samples", s.out, "--flipped", "base", "--format", "text");
    expect(&r, 0, NULL);
    assert_non_null(strstr(r.out, "gained against base"));
    ran_free(&r);
    copy("results_schema1.h5", s.out); /* older still: one sentence, and the others stay */
    r = PROGRAM(&s, "table", s.out);
    expect(&r, 1, "results_schema1.h5: ");
    assert_non_null(strstr(r.out, "rtn:w1pc"));
    ran_free(&r);
    study_end(&s);
}

/* ---- the verb ---- */

static void two_rows_of_a_directory_are_judged(void **state)
{
    (void)state;
    study s = study_begin(30);
    done(RUN(&s, "base,rtn:w8g24,rtn:w1g24", "piqa"));
    ran r = PROGRAM(&s, "compare", s.out, "base", "rtn:w8g24", "--metric", "acc");
    expect(&r, 0, NULL);
    assert_non_null(
        strstr(r.out, "rtn:w8g24 against base, over all: \xc2\xb7 undecided (0 better, 0 worse, 1 undecided)"));
    ran_free(&r);
    r = PROGRAM(&s, "compare", s.out, "base", "rtn:w8g24", "--json");
    expect(&r, 0, NULL);
    assert_non_null(strstr(r.out, "\"verdict\":\"undecided\""));
    assert_non_null(strstr(r.out, "\"test\":\"exact McNemar\""));
    ran_free(&r);
    r = PROGRAM(&s, "compare", s.out, "base", "rtn:w7");
    expect(&r, 2, "no result has the method 'rtn:w7'; there are: base, rtn:w1g24, rtn:w8g24");
    ran_free(&r);
    r = PROGRAM(&s, "compare", s.out, "base", "base");
    expect(&r, 2, "are the same rows");
    ran_free(&r);
    bl_err e = {0};
    bl_text rows = {0};
    char folder[4300];
    for (int i = 0; i < 8; i++)
        bl_text_addf(&rows, "{\"idx\":%d,\"question\":\"is it %c\",\"passage\":\"it is %c\",\"label\":%d}\n", i,
                     'a' + i, 'b' + i, i % 2);
    snprintf(folder, sizeof folder, "%s/boolq", s.data);
    assert_ok(bl_make_dirs(folder, &e));
    study_write(folder, "val.jsonl", rows.s);
    bl_text_free(&rows);
    done(RUN(&s, "base,rtn:w8g24", "boolq:closed,boolq:own")); /* with a passage minus without */
    r = PROGRAM(&s, "compare", s.out, "boolq:closed", "boolq:own", "--json", "--threshold", "100");
    expect(&r, 0, NULL);
    assert_non_null(strstr(r.out, "{\"a\":\"boolq:closed\",\"b\":\"boolq:own\","));
    assert_non_null(strstr(r.out, "{\"a\":\"noise/base/boolq:closed/0\",\"b\":\"noise/base/boolq:own/0\","));
    assert_non_null(strstr(r.out, "{\"a\":\"noise/rtn:w8g24/boolq:closed/0\",\"b\":\"noise/rtn:w8g24/boolq:own/0\","));
    ran_free(&r);
    r = PROGRAM(&s, "compare", s.out, "boolq:closed", "boolq:own", "--threshold", "100");
    expect(&r, 0, NULL);
    assert_true(strstr(r.out, "| method ") && strstr(r.out, " | metric ") && !strstr(r.out, " | task "));
    ran_free(&r);
    r = PROGRAM(&s, "compare", s.out, "boolq:own", "boolq:own");
    expect(&r, 2, "'boolq:own' is both tasks; expected two");
    ran_free(&r);
    r = PROGRAM(&s, "compare", s.out, "boolq:own", "boolq:bm25");
    expect(&r, 2, "has results of the task 'boolq:own', none of a task 'boolq:bm25'");
    ran_free(&r);
    study_end(&s);
}

/* All items of B are wrong: the choices' labels of the shard are turned over before it is written. */
static void worse_beyond_the_threshold_is_exit_code_3(void **state)
{
    (void)state;
    study s = study_begin(60);
    bl_err e = {0};
    char other[4300];
    snprintf(other, sizeof other, "%s/other", s.dir);
    done(RUN(&s, "base", "piqa"));
    bl_cell c = cell(&s, "base");
    bl_cell_metric metric[2];
    assert_true(c.n_metrics == 2);
    assert_ok(bl_make_dirs(other, &e));
    int64_t right = 0;
    for (int64_t i = 0; i < c.n_samples; i++) {
        double *score = (double *)(uintptr_t)c.sample[i].score;
        right += score[0] == 1;
        score[0] = score[1] = 0;
    }
    assert_true(right > 8);
    memcpy(metric, c.metric, sizeof metric);
    metric[0].value = metric[1].value = 0;
    c.metric = metric;
    assert_ok(bl_cell_write(other, &c, &e));
    ran r = PROGRAM(&s, "compare", s.out, other);
    expect(&r, 3, NULL);
    assert_non_null(strstr(r.out, "over all: \xe2\x96\xbc worse"));
    ran_free(&r);
    done(PROGRAM(&s, "compare", s.out, other, "--threshold", "99"));
    r = PROGRAM(&s, "compare", other, s.out);
    expect(&r, 0, NULL);
    assert_non_null(strstr(r.out, "over all: \xe2\x96\xb2 better"));
    ran_free(&r);
    study_end(&s);
}

static void what_does_not_compare_is_refused_by_name(void **state)
{
    (void)state;
    study s = study_begin(20), t = s;
    snprintf(t.out, sizeof t.out, "%s/other", s.dir);
    done(RUN(&s, "base", "piqa"));
    done(RUN(&t, "base", "piqa@9"));
    ran r = PROGRAM(&s, "compare", s.out, t.out);
    expect(&r, 2, "items: all and the first 9 do not compare");
    ran_free(&r);
    assert_int_equal(unlink(shard(&t, "base", ".h5")), 0);
    done(RUN(&t, "base", "piqa", "--no-bos"));
    r = PROGRAM(&s, "compare", s.out, t.out);
    expect(&r, 2, "piqa: BOS: ");
    ran_free(&r);
    r = PROGRAM(&s, "table", s.out, t.out);
    expect(&r, 0, NULL);
    assert_non_null(strstr(r.out, "left out"));
    ran_free(&r);
    r = PROGRAM(&s, "compare", s.out, "nowhere");
    expect(&r, 2, "nowhere: there is no such directory; two rows of one are compared with");
    ran_free(&r);
    study_end(&s);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(a_base_that_comes_later_is_compared_with_and_leaves_one_row_a_method, begin,
                                        end),
        cmocka_unit_test_setup_teardown(a_method_that_comes_later_uses_the_base_of_the_directory, begin, end),
        cmocka_unit_test_setup_teardown(states_that_are_gone_or_damaged_are_made_again, begin, end),
        cmocka_unit_test_setup_teardown(cells_that_ran_while_the_base_failed_are_done_again, begin, end),
        cmocka_unit_test_setup_teardown(results_of_earlier_names_leave_no_second_row, begin, end),
        cmocka_unit_test_setup_teardown(a_variant_that_changed_on_disk_is_made_again, begin, end),
        cmocka_unit_test_setup_teardown(a_task_says_itself_how_many_items_are_used, begin, end),
        cmocka_unit_test_setup_teardown(a_study_may_begin_a_path_with_the_home_directory, begin, end),
        cmocka_unit_test_setup_teardown(a_glob_names_several_tasks, begin, end),
        cmocka_unit_test_setup_teardown(items_are_drawn_by_the_seed_and_are_the_same_for_every_method, begin, end),
        cmocka_unit_test_setup_teardown(numbers_of_items_that_are_none_are_refused, begin, end),
        cmocka_unit_test_setup_teardown(a_resumed_cell_says_nothing_about_its_time, begin, end),
        cmocka_unit_test_setup_teardown(a_data_directory_that_is_not_there_is_refused, begin, end),
        cmocka_unit_test_setup_teardown(flipped_items_have_question_both_picks_gold_and_direction, begin, end),
        cmocka_unit_test_setup_teardown(removed_results_and_caches_are_made_again, begin, end),
        cmocka_unit_test_setup_teardown(nothing_is_removed_while_a_run_is_at_work, begin, end),
        cmocka_unit_test_setup_teardown(results_of_an_earlier_version_are_compared_like_any_other, begin, end),
        cmocka_unit_test_setup_teardown(two_rows_of_a_directory_are_judged, begin, end),
        cmocka_unit_test_setup_teardown(worse_beyond_the_threshold_is_exit_code_3, begin, end),
        cmocka_unit_test_setup_teardown(what_does_not_compare_is_refused_by_name, begin, end),
    };
    return cmocka_run_group_tests_name("comparison", tests, NULL, NULL);
}
