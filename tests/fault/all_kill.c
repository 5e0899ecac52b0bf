/* all_kill.c - runs killed at any time, disks that are full, allocations that fail: what is there afterwards is whole,
 * and the same command goes on.
 *
 * BL_KILLS sets how often the run is killed (default 10), BL_KILL_ITEMS how many items its cells have (default 400).
 */
#include "study_fixture.h"
#include <sys/resource.h>
#include <sys/stat.h>

#define METHODS "base,rtn:w4g24"
#define STUDY(s, out)                                                                                                  \
    "--model", (s)->model, "--method", METHODS, "--task", "piqa", "--data", (s)->data, "--out", out, "--threads", "1"

static int number(const char *variable, int otherwise) { return getenv(variable) ? atoi(getenv(variable)) : otherwise; }

/* Every shard that is there checks. */
static void assert_whole(const char *dir)
{
    bl_err e = {0};
    char **name = NULL;
    size_t n = 0;
    if (!bl_is_dir(dir)) return;
    assert_ok(bl_dir_list(dir, &name, &n, &e));
    for (size_t i = 0; i < n; i++) {
        size_t len = strlen(name[i]);
        bl_shard *s;
        if (len < 3 || strcmp(name[i] + len - 3, ".h5") != 0) continue;
        char *path = bl_join(dir, name[i], &e);
        assert_ok(bl_shard_open(path, &s, &e));
        bl_shard_close(s);
        bl_free(path);
    }
    bl_list_free(name, n);
}

static bool has_part(const char *dir) { return count_ending(dir, ".part.jsonl") > 0; }

/* A temporary file of `dir`: the moment between writing and renaming. */
static bool has_temp(const char *dir)
{
    char **name = NULL;
    size_t n = 0;
    bool found = false;
    if (!bl_is_dir(dir) || bl_dir_list(dir, &name, &n, NULL) != BL_OK) return false;
    for (size_t i = 0; i < n; i++) found |= strstr(name[i], ".h5.tmp.") != NULL;
    bl_list_free(name, n);
    return found;
}

/* Moments at which a run is stopped for certain, and what is in its directory then. */
static const struct {
    const char *point;
    bool part, temp, shard;
} moments[] = {
    {"before-rename@.h5", true, true, false},
    {"after-rename@.h5", true, false, true},
    {"after-batch", true, false, false},
    {"after-batch:3", true, false, false},
};

static void a_run_killed_at_any_time_ends_with_the_results_of_one_that_was_not(void **state)
{
    (void)state;
    study s = study_begin(number("BL_KILL_ITEMS", 400));
    char again[4300];
    int n = number("BL_KILLS", 10);
    snprintf(again, sizeof again, "%s/again", s.dir);
    double t = bl_now();
    ran r = PROGRAM(&s, "run", STUDY(&s, s.out));
    double whole = bl_now() - t;
    expect(&r, 0, NULL);
    ran_free(&r);
    for (size_t i = 0; i < BL_COUNT(moments); i++) {
        started p = BEGIN(&s, moments[i].point, "run", STUDY(&s, again));
        assert_int_equal(has_part(again), moments[i].part);
        assert_int_equal(has_temp(again), moments[i].temp);
        assert_int_equal(count_ending(again, ".h5") > 0, moments[i].shard);
        program_kill(p.pid);
        assert_whole(again);
        if (!moments[i].shard) continue;
        r = PROGRAM(&s, "run", STUDY(&s, again)); /* the cell is done; what it needs no more goes */
        expect(&r, 0, NULL);
        ran_free(&r);
        assert_int_equal(assert_same_results(s.out, again), 2);
        bl_remove_tree(again, NULL);
    }
    bl_rng rng = bl_rng_at(1, 2, 3);
    for (int i = 0; i < n; i++) { /* and at any other */
        started p = BEGIN(&s, NULL, "run", STUDY(&s, again));
        usleep((useconds_t)(bl_rng_uniform(&rng) * whole * 1e6));
        program_kill(p.pid);
        assert_whole(again);
        if (i % 4 == 3) bl_remove_tree(again, NULL); /* begins anew now and then, so that early moments are met too */
    }
    r = PROGRAM(&s, "run", STUDY(&s, again));
    expect(&r, 0, NULL);
    ran_free(&r);
    assert_int_equal(assert_same_results(s.out, again), 2);
    assert_false(has_temp(again));
    study_end(&s);
}

/* A device that breaks ends the process between two cells: so does this. */
static void cells_that_a_lost_process_left_are_run_by_another(void **state)
{
    (void)state;
    study s = study_begin(20);
    started p = BEGIN(&s, "after-cell@piqa/0", "run", "--model", s.model, "--method", "base", "--task",
                      "piqa,primer_choice", "--data", s.data, "--out", s.out, "--threads", "1", "--limit", "10");
    kill(p.child, SIGKILL);
    ran r = program_end(&p);
    expect(&r, 0, NULL);
    ran_free(&r);
    assert_int_equal(count_ending(s.out, ".h5"), 2);
    assert_int_equal(count_ending(s.out, ".failed.json"), 0);
    study_end(&s);
}

static void a_full_disk_stops_the_run_says_so_and_leaves_whole_shards(void **state)
{
    (void)state;
    study s = study_begin(400);
    struct rlimit old, few;
    ran r = PROGRAM(&s, "plan", STUDY(&s, s.out)); /* the fingerprint is cached before space is short */
    ran_free(&r);
    getrlimit(RLIMIT_FSIZE, &old);
    few = (struct rlimit){24 << 10, old.rlim_max};
    setrlimit(RLIMIT_FSIZE, &few);
    signal(SIGXFSZ, SIG_IGN);
    r = PROGRAM(&s, "run", STUDY(&s, s.out));
    setrlimit(RLIMIT_FSIZE, &old);
    expect(&r, 4, "disk full");
    assert_non_null(strstr(r.err, "run the same command again to continue"));
    assert_null(strstr(r.err, "failed:"));
    ran_free(&r);
    assert_int_equal(count_ending(s.out, ".failed.json"), 0);
    assert_whole(s.out);
    assert_false(has_temp(s.out));
    r = PROGRAM(&s, "run", STUDY(&s, s.out)); /* and with room again it goes on */
    expect(&r, 0, NULL);
    ran_free(&r);
    assert_int_equal(count_ending(s.out, ".h5"), 2);
    assert_int_equal(count_ending(s.out, ".failed.json"), 0);
    study_end(&s);
}

/* What is done to the model while its first cell runs, between two of its many batches. */
typedef enum deed { TOUCHED, MOVED_AWAY, REPLACED, CHANGED } deed;

static void do_it(const study *s, deed d)
{
    char away[4300];
    snprintf(away, sizeof away, "%s/away.bin", s->dir);
    FILE *f = d == TOUCHED || d == CHANGED ? fopen(s->model, "r+b") : NULL;
    if (f) {
        fseek(f, 4000, SEEK_SET);
        int byte = fgetc(f);
        fseek(f, 4000, SEEK_SET);
        fputc(d == CHANGED ? byte ^ 1 : byte, f);
        fclose(f);
    } else assert_int_equal(rename(s->model, away), 0);
    if (d == REPLACED) { /* another model has the name now */
        tiny_noise(s->model);
        f = fopen(s->model, "r+b");
        fseek(f, 4000, SEEK_SET);
        fputc(7, f);
        fclose(f);
    }
}

/* The content decides, not the name or the time; and another content is noticed at the next batch, not at the end. */
static void a_checkpoint_that_changes_during_the_run_is_judged_by_its_content(void **state)
{
    (void)state;
    static const struct {
        deed deed;
        int code;
        size_t shards;
        const char *says;
    } rows[] = {{TOUCHED, 0, 1, "acc"},
                {MOVED_AWAY, 0, 1, "acc"},
                {REPLACED, 0, 1, "acc"},
                {CHANGED, 1, 0, "was written again while it was used, with other weights"}};
    for (size_t i = 0; i < BL_COUNT(rows); i++) {
        study s = study_begin(600);
        char want[4300];
        snprintf(want, sizeof want, "%s/want", s.dir);
        ran r = PROGRAM(&s, "run", "--model", s.model, "--method", "base", "--task", "piqa", "--data", s.data, "--out",
                        want);
        expect(&r, 0, NULL);
        ran_free(&r);
        started p = BEGIN(&s, "after-batch:2", "run", "--model", s.model, "--method", "base", "--task", "piqa",
                          "--data", s.data, "--out", s.out);
        do_it(&s, rows[i].deed);
        kill(p.child, SIGCONT);
        r = program_end(&p);
        expect(&r, rows[i].code, rows[i].says);
        ran_free(&r);
        assert_int_equal(count_ending(s.out, ".h5"), rows[i].shards);
        if (rows[i].shards) assert_int_equal(assert_same_results(want, s.out), 1);
        else assert_in_range(journal_lines(s.out), 128, 200); /* two batches of 64 and a header */
        study_end(&s);
    }
}

static void a_model_with_a_value_that_is_not_finite_is_refused_by_name(void **state)
{
    (void)state;
    study s = study_begin(3);
    float nan = NAN;
    FILE *f = fopen(s.model, "r+b");
    fseek(f, 28 + 4 * (1 * 72 + 7), SEEK_SET); /* token 1, which begins every text; input 7 of the embedding */
    tiny_put(f, &nan, sizeof nan);
    fclose(f);
    ran r = PROGRAM(&s, "inspect", s.model);
    expect(&r, 2, "model.embed_tokens.weight");
    assert_non_null(strstr(r.err, "[1, 7]"));
    ran_free(&r);
    r = PROGRAM(&s, "run", STUDY(&s, s.out));
    expect(&r, 1, "model.embed_tokens.weight");
    ran_free(&r);
    r = PROGRAM(&s, "run", STUDY(&s, s.out),
                "--allow-nonfinite"); /* then the first logit that is not finite fails the cell */
    expect(&r, 1, NULL);
    ran_free(&r);
    assert_int_equal(count_ending(s.out, ".h5"), 0);
    study_end(&s);
}

static void a_closed_standard_output_ends_quietly(void **state)
{
    (void)state;
    study s = study_begin(1);
    int p[2];
    char err[4300];
    assert_int_equal(pipe(p), 0);
    snprintf(err, sizeof err, "%s/pipe.err", s.dir);
    pid_t pid;
    posix_spawn_file_actions_t f;
    posix_spawn_file_actions_init(&f);
    posix_spawn_file_actions_adddup2(&f, p[1], 1);
    posix_spawn_file_actions_addclose(&f, p[0]);
    posix_spawn_file_actions_addopen(&f, 2, err, O_WRONLY | O_CREAT | O_TRUNC, 0600);
    const char *const argv[] = {"bitladder", "internal", "man", NULL};
    close(p[0]);
    assert_int_equal(posix_spawn(&pid, BL_PROGRAM, &f, NULL, (char **)(uintptr_t)argv, environ), 0);
    close(p[1]);
    posix_spawn_file_actions_destroy(&f);
    ran r = program_wait(pid, err, err);
    assert_true(r.signal == SIGPIPE || r.code != 0);
    assert_string_equal(r.err, "");
    ran_free(&r);
    study_end(&s);
}

static void a_child_that_crashes_costs_its_cell_only(void **state)
{
    (void)state;
    study s = study_begin(600);
    started p = BEGIN(&s, "after-batch@base/piqa/0", "run", STUDY(&s, s.out));
    kill(p.child, SIGKILL);
    ran r = program_end(&p);
    expect(&r, 1, "signal 9");
    assert_int_equal(count_ending(s.out, ".h5"), 1);
    ran_free(&r);
    r = PROGRAM(&s, "run", STUDY(&s, s.out));
    expect(&r, 0, NULL);
    ran_free(&r);
    assert_int_equal(count_ending(s.out, ".h5"), 2);
    study_end(&s);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_run_killed_at_any_time_ends_with_the_results_of_one_that_was_not),
        cmocka_unit_test(cells_that_a_lost_process_left_are_run_by_another),
        cmocka_unit_test(a_full_disk_stops_the_run_says_so_and_leaves_whole_shards),
        cmocka_unit_test(a_checkpoint_that_changes_during_the_run_is_judged_by_its_content),
        cmocka_unit_test(a_model_with_a_value_that_is_not_finite_is_refused_by_name),
        cmocka_unit_test(a_closed_standard_output_ends_quietly),
        cmocka_unit_test(a_child_that_crashes_costs_its_cell_only),
    };
    return cmocka_run_group_tests_name("faults of whole runs", tests, NULL, NULL);
}
