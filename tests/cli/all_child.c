/* all_child.c - what passes between a run and the children that make its variants: the job, and what changed meanwhile.
 */
#include "study_fixture.h"
#include "harness/study/job.h"
#include "harness/study/run.h"
#include "methods/registry.h"
#include "tasks/registry.h"
#include <sys/stat.h>

static const bl_program program = {.methods = bl_methods, .tasks = bl_tasks};

/* A program that does something to the files and then becomes the child. */
static void meddler(const study *s, const char *name, const char *what, char path[4300])
{
    bl_text t = {0};
    snprintf(path, 4300, "%s/%s.sh", s->dir, name);
    bl_text_addf(&t, "#!/bin/sh\n%s\nexec %s \"$@\"\n", what, BL_PROGRAM);
    study_write(s->dir, strrchr(path, '/') + 1, t.s);
    assert_int_equal(chmod(path, 0700), 0);
    bl_text_free(&t);
}

static void spec_of(const study *s, const char *model, const char *method, const char *out, bl_spec *spec)
{
    bl_err e = {0};
    bl_spec_from from = bl_spec_nothing;
    from.model = model;
    from.method = method;
    from.task = "piqa";
    from.data = s->data;
    from.out = out;
    from.threads = 1;
    assert_ok(bl_spec_read(&program, &from, spec, &e));
}

/* The reasons that the failure notes in `dir` give, one a line. */
static char *reasons(const char *dir)
{
    bl_err e = {0};
    bl_text t = {0};
    bl_arena *a;
    char **name;
    size_t n;
    assert_ok(bl_arena_new(&a, &e));
    assert_ok(bl_dir_list(dir, &name, &n, &e));
    for (size_t i = 0; i < n; i++) {
        bl_cell_failure f;
        if (!strstr(name[i], ".failed.json")) continue;
        char *path = bl_join(dir, name[i], &e);
        assert_ok(bl_failure_read(path, a, &f, &e));
        bl_text_addf(&t, "%s\n", f.reason);
        bl_free(path);
    }
    bl_list_free(name, n);
    bl_arena_free(a);
    return t.s ? t.s : bl_strdup("", &e);
}

static void what_changed_after_planning_is_named_with_both_hashes(void **state)
{
    (void)state;
    static const struct {
        const char *name, *what, *says[3];
    } rows[] = {
        {"data",
         "echo 0 >> %s/data/piqa/valid-labels.lst; echo '{\"goal\":\"a\",\"sol1\":\"b\",\"sol2\":\"c\"}' >> "
         "%s/data/piqa/valid.jsonl",
         {"data: ", "piqa/valid.jsonl changed after it was planned: its hash was ", ", now it is "}},
        {"weights",
         "printf 'x' | dd of=%s/model/noise.bin bs=1 seek=2000 conv=notrunc 2>/dev/null",
         {"weights: ", "model/noise.bin changed after it was planned: its hash was ", ", now it is "}},
        {"tokenizer",
         "printf 'x' | dd of=%s/model/tok.bin bs=1 seek=5 conv=notrunc 2>/dev/null",
         {"tokenizer: ", "model/tok.bin changed after it was planned: its hash was ", ", now it is "}},
    };
    for (size_t i = 0; i < BL_COUNT(rows); i++) {
        study s = study_begin(4);
        char path[4300], what[9000];
        bl_err e = {0};
        bl_spec spec;
        int code = -1;
        snprintf(what, sizeof what, rows[i].what, s.dir, s.dir);
        meddler(&s, rows[i].name, what, path);
        spec_of(&s, s.model, "rtn:w4g24", s.out, &spec);
        assert_ok(bl_run_study(&spec, &(bl_run_opts){.quiet = true, .log = BL_LOG_ERROR, .program = path}, &code, &e));
        assert_int_equal(code, 1);
        assert_int_equal(count_ending(s.out, ".h5"), 0);
        char *why = reasons(s.out);
        for (size_t k = 0; k < BL_COUNT(rows[i].says); k++)
            if (!strstr(why, rows[i].says[k]))
                fail_msg("%s: '%s' does not say '%s'", rows[i].name, why, rows[i].says[k]);
        bl_free(why);
        bl_spec_free(&spec);
        study_end(&s);
    }
}

static void a_child_needs_its_own_model_only(void **state)
{
    (void)state;
    study s = study_begin(4);
    char path[4300], both[8600], what[9000];
    bl_err e = {0};
    bl_spec spec;
    int code = -1;
    snprintf(what, sizeof what, "cp %s %s/model/other.bin", s.model, s.dir);
    assert_int_equal(system(what), 0);
    snprintf(what, sizeof what, "rm -f %s/model/other.bin", s.dir);
    meddler(&s, "gone", what, path);
    snprintf(both, sizeof both, "%s,%s/model/other.bin", s.model, s.dir);
    spec_of(&s, both, "base,rtn:w4g24", s.out, &spec);
    assert_ok(bl_run_study(&spec, &(bl_run_opts){.quiet = true, .log = BL_LOG_ERROR, .program = path}, &code, &e));
    assert_int_equal(code, 1); /* the other model's cells */
    assert_int_equal(count_ending(s.out, ".h5"), 2);
    assert_int_equal(count_ending(s.out, ".failed.json"), 2);
    bl_spec_free(&spec);
    study_end(&s);
}

static void a_job_is_read_as_it_was_written(void **state)
{
    (void)state;
    study s = study_begin(4);
    bl_err e = {0};
    bl_spec spec;
    bl_plan *plan, *own;
    bl_job job;
    bl_text t = {0}, a = {0}, b = {0};
    spec_of(&s, s.model, "base,rtn:w4g24+range=minmax", s.out, &spec);
    assert_ok(bl_plan_make(&spec, &(bl_plan_opts){.no_estimate = true}, &plan, &e));
    assert_int_equal(plan->n_cells, 2);
    bl_plan_cell *cell = &plan->cell[1];
    assert_ok(bl_job_print(plan, &cell, 1, BL_LOG_DEBUG, &t, &e));
    assert_ok(bl_job_parse(&program, t.s, t.n, &job, &e));
    assert_string_equal(job.name, "noise");
    assert_int_equal(job.log, BL_LOG_DEBUG);
    assert_int_equal(job.n_cells, 1);
    assert_string_equal(job.cell[0].cell.key, cell->key);
    assert_string_equal(job.cell[0].cell.file, cell->file);
    assert_true(bl_hash_equal(job.cell[0].cell.hash, cell->hash));
    assert_string_equal(job.cell[0].base.key, plan->cell[0].key);
    assert_true(bl_hash_equal(job.cell[0].base.hash, plan->cell[0].hash));
    assert_string_equal(job.spec.method[0].text, "rtn:w4g24+range=minmax");

    bl_identity id, other;
    bl_hash whole;
    assert_ok(bl_plan_open(&job.spec, job.name, &own, &e)); /* what the child makes of it */
    assert_ok(bl_plan_identity(plan, cell, &id, &whole, &e));
    assert_memory_equal(&job.cell[0].id, &id, sizeof id);
    assert_ok(bl_plan_identity(own, &job.cell[0].cell, &other, &whole, &e));
    assert_memory_equal(&other, &id, sizeof id);
    assert_true(bl_hash_equal(whole, cell->hash));
    bl_plan_free(own);
    bl_job_free(&job);

    static const struct {
        const char *from, *to, *says;
    } wrong[] = {
        {"\"ingredients\": [\"", "\"ingredients\": [\"x", "is no hash"},
        {"{\"task\": 0", "{\"task\": 7", "no task 7"},
        {"\"cells\": [", "\"cells\": [], \"x\": [", "no cells"},
    };
    for (size_t i = 0; i < BL_COUNT(wrong); i++) {
        const char *at = strstr(t.s, wrong[i].from);
        assert_non_null(at);
        bl_text_free(&a);
        bl_text_addn(&a, t.s, (size_t)(at - t.s));
        bl_text_add(&a, wrong[i].to);
        bl_text_add(&a, at + strlen(wrong[i].from));
        assert_refused(bl_job_parse(&program, a.s, a.n, &job, &e), BL_E_FORMAT, wrong[i].says);
    }
    bl_text_free(&t);
    bl_text_free(&a);
    bl_text_free(&b);
    bl_plan_free(plan);
    bl_spec_free(&spec);
    study_end(&s);
}

/* How often a run asks the directory about its cells, when its children do nothing at all. */
static uint64_t looks(int methods, size_t *cells)
{
    study s = study_begin(2);
    bl_err e = {0};
    bl_spec spec;
    bl_text list = {0};
    uint64_t n = 0;
    int code = -1;
    for (int i = 0; i < methods; i++) bl_text_addf(&list, "rtn:w%dg%d,", 2 + i % 7, 8 + i / 7);
    bl_text_add(&list, "base"); /* last: all others wait for it */
    spec_of(&s, s.model, list.s, s.out, &spec);
    bl_run_opts o = {.quiet = true, .log = BL_LOG_ERROR, .program = "/bin/true", .n_looks = &n};
    assert_ok(bl_run_study(&spec, &o, &code, &e));
    assert_int_equal(code, 1);
    *cells = count_ending(s.out, ".failed.json");
    bl_text_free(&list);
    bl_spec_free(&spec);
    study_end(&s);
    return n;
}

static void a_cell_is_looked_up_a_few_times_however_many_there_are(void **state)
{
    (void)state;
    size_t few, many;
    uint64_t at_few = looks(6, &few), at_many = looks(60, &many);
    assert_int_equal(few, 7);
    assert_int_equal(many, 61);
    assert_true(at_few >= few && at_few <= 3 * few);
    assert_true(at_many >= many && at_many <= 3 * many);
}

/* ---- chains ---- */

static void stage_at(const study *s, const char *method, int i, const char *out, char hex[33])
{
    bl_err e = {0};
    bl_spec spec;
    bl_plan *plan;
    spec_of(s, s->model, method, out, &spec);
    assert_ok(bl_plan_make(&spec, &(bl_plan_opts){.no_estimate = true}, &plan, &e));
    bl_hash_hex(plan->variant[0].stage[i], hex);
    bl_plan_free(plan);
    bl_spec_free(&spec);
}
static void stage_of(const study *s, const char *method, const char *out, char hex[33])
{
    stage_at(s, method, 0, out, hex);
}

#define CHAINS "fp16+rtn:w4g24,fp16+rtn:w2pc"

/* The model in `dir` says that it is the state `hex`, and which state it was made from; parent NULL: from the source.
 */
static void is_state(const char *dir, const char *hex, const char *parent)
{
    bl_err e = {0};
    bl_checkpoint *c;
    int n;
    assert_ok(bl_checkpoint_open(dir, NULL, &c, &e));
    const bl_stage *stage = bl_checkpoint_stages(c, &n);
    assert_int_equal(n, parent ? 2 : 1);
    assert_string_equal(stage[n - 1].hash, hex);
    if (parent) assert_string_equal(stage[0].hash, parent);
    bl_checkpoint_close(c);
}

static void chains_share_the_stages_they_begin_with_on_disk(void **state)
{
    (void)state;
    study s = study_begin(4);
    char hex[33], stage[4400], *log;
    size_t n;
    bl_err e = {0};
    stage_of(&s, "fp16+rtn:w4g24", s.out, hex);
    snprintf(stage, sizeof stage, "%s/variants/%s", s.out, hex);
    assert_ok(bl_make_dirs(stage, &e)); /* what a disk that ran full may have left: not readable, made again */
    study_write(stage, "bitladder.json", "{");
    ran r = PROGRAM(&s, "run", "--model", s.model, "--method", CHAINS, "--task", "piqa", "--data", s.data, "--out",
                    s.out);
    expect(&r, 0, "made again");
    ran_free(&r);
    char *dirs = bl_join(s.out, "variants", &e), *path = bl_join(s.out, "log.txt", &e);
    assert_int_equal(count_ending(dirs, ""), 3); /* fp16, and each of the two on top of it */
    assert_int_equal(count_ending(s.out, ".h5"), 2);
    assert_ok(bl_read_file(path, 1 << 20, &log, &n, &e));
    assert_null(strstr(log, "waits_for"));
    r = PROGRAM(&s, "inspect", stage); /* a model by itself */
    expect(&r, 0, NULL);
    ran_free(&r);
    char **names, *alone = bl_join(s.dir, "alone", &e);
    assert_ok(bl_dir_list(dirs, &names, &n, &e));
    for (size_t i = 0; i < n; i++) {
        char *dir = bl_join(dirs, names[i], &e);
        is_state(dir, names[i], strcmp(names[i], hex) ? hex : NULL);
        bl_free(dir);
    }
    r = PROGRAM(&s, "quantize", s.model, "--method", "fp16", "-o", alone); /* the same state, made outside a study */
    expect(&r, 0, NULL);
    ran_free(&r);
    is_state(alone, hex, NULL);
    bl_list_free(names, n);
    bl_free(alone);
    bl_free(log);
    bl_free(path);
    bl_free(dirs);
    study_end(&s);
}

static void a_state_under_the_name_of_another_is_made_again(void **state)
{
    (void)state;
    study s = study_begin(4);
    bl_err e = {0};
    char hex[2][33], from[4400], to[2][4400], first[4300];
    const char *const methods[] = {"rtn:w2pc", "rtn:w8pc"};
    snprintf(first, sizeof first, "%s/first", s.dir);
    ran r = PROGRAM(&s, "run", "--model", s.model, "--method", "rtn:w2pc,rtn:w8pc", "--task", "piqa", "--data", s.data,
                    "--out", first);
    expect(&r, 0, NULL);
    ran_free(&r);
    snprintf(from, sizeof from, "%s/variants", s.out);
    assert_ok(bl_make_dirs(from, &e));
    for (int i = 0; i < 2; i++) stage_of(&s, methods[i], s.out, hex[i]);
    for (int i = 0; i < 2; i++) {
        snprintf(from, sizeof from, "%s/variants/%s", first, hex[i]);
        snprintf(to[i], sizeof to[i], "%s/variants/%s", s.out, hex[1 - i]);
        assert_int_equal(rename(from, to[i]), 0);
    }
    r = PROGRAM(&s, "run", "--model", s.model, "--method", "rtn:w2pc,rtn:w8pc", "--task", "piqa", "--data", s.data,
                "--out", s.out);
    expect(&r, 0, "made again");
    ran_free(&r);
    for (int i = 0; i < 2; i++) is_state(to[i], hex[1 - i], NULL);
    assert_int_equal(assert_same_results(first, s.out), 2);
    study_end(&s);
}

static void a_stage_that_somebody_else_makes_is_waited_for(void **state)
{
    (void)state;
    study s = study_begin(4);
    char hex[33], path[4400], stage[4400], *log = NULL;
    size_t n;
    bl_err e = {0};
    bl_lock *lock;
    stage_of(&s, "fp16+rtn:w4g24", s.out, hex);
    snprintf(path, sizeof path, "%s/.making-%s", s.out, hex);
    snprintf(stage, sizeof stage, "%s/variants/%s", s.out, hex);
    assert_ok(bl_make_dirs(s.out, &e));
    assert_ok(bl_lock_take(path, &lock, &e));
    started p = BEGIN(&s, NULL, "run", "--model", s.model, "--method", "fp16+rtn:w4g24", "--task", "piqa", "--data",
                      s.data, "--out", s.out);
    snprintf(path, sizeof path, "%s/log.txt", s.out);
    while (!log || !strstr(log, "waits_for")) {
        bl_free(log);
        log = NULL;
        usleep(5000);
        bl_read_file(path, 1 << 20, &log, &n, NULL);
        siginfo_t end = {0};
        assert_int_equal(waitid(P_PID, (id_t)p.pid, &end, WEXITED | WNOHANG | WNOWAIT), 0);
        if (end.si_pid == p.pid) fail_msg("the run ended without waiting");
    }
    assert_false(bl_is_dir(stage));
    bl_lock_free(lock);
    ran r = program_end(&p);
    expect(&r, 0, NULL);
    ran_free(&r);
    assert_true(bl_is_dir(stage));
    assert_int_equal(count_ending(s.out, ".h5"), 1);
    bl_free(log);
    study_end(&s);
}

/* A chain that waits at its second stage has let go of the first, which is there: others may begin with it. */
static void a_stage_that_is_there_is_nobodys(void **state)
{
    (void)state;
    study s = study_begin(4);
    char hex[2][33], path[2][4400], *log = NULL;
    size_t n;
    bl_err e = {0};
    bl_lock *lock, *first;
    ran r = PROGRAM(&s, "run", "--model", s.model, "--method", "fp16+rtn:w2pc", "--task", "piqa", "--data", s.data,
                    "--out", s.out);
    expect(&r, 0, NULL);
    ran_free(&r);
    for (int i = 0; i < 2; i++) stage_at(&s, "fp16+rtn:w4g24", i, s.out, hex[i]);
    for (int i = 0; i < 2; i++) snprintf(path[i], sizeof path[i], "%s/.making-%s", s.out, hex[i]);
    assert_ok(bl_lock_take(path[1], &lock, &e));
    started p = BEGIN(&s, NULL, "run", "--model", s.model, "--method", "fp16+rtn:w4g24", "--task", "piqa", "--data",
                      s.data, "--out", s.out);
    snprintf(path[1], sizeof path[1], "%s/log.txt", s.out);
    while (!log || !strstr(log, "waits_for")) {
        bl_free(log);
        log = NULL;
        usleep(5000);
        bl_read_file(path[1], 1 << 20, &log, &n, NULL);
        siginfo_t end = {0};
        assert_int_equal(waitid(P_PID, (id_t)p.pid, &end, WEXITED | WNOHANG | WNOWAIT), 0);
        if (end.si_pid == p.pid) fail_msg("the run ended without waiting");
    }
    assert_ok(bl_lock_take(path[0], &first, &e));
    bl_lock_free(lock); /* the run needs no lock of the first */
    r = program_end(&p);
    expect(&r, 0, NULL);
    ran_free(&r);
    bl_lock_free(first);
    assert_int_equal(count_ending(s.out, ".h5"), 2);
    bl_free(log);
    study_end(&s);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(what_changed_after_planning_is_named_with_both_hashes),
        cmocka_unit_test(a_child_needs_its_own_model_only),
        cmocka_unit_test(a_job_is_read_as_it_was_written),
        cmocka_unit_test(chains_share_the_stages_they_begin_with_on_disk),
        cmocka_unit_test(a_state_under_the_name_of_another_is_made_again),
        cmocka_unit_test(a_stage_that_somebody_else_makes_is_waited_for),
        cmocka_unit_test(a_stage_that_is_there_is_nobodys),
        cmocka_unit_test(a_cell_is_looked_up_a_few_times_however_many_there_are),
    };
    return cmocka_run_group_tests_name("runs and their children", tests, NULL, NULL);
}
