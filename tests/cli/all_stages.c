/* finetune with chains: stages that learn one after another are killed and go on, what is left beside the result, and
 * what the files of adapters say of their base. */
#include "kill_fixture.h"

static const char lines[] = "{\"ids\": [5, 9, 2, 7, 1, 3], \"mask\": [0, 0, 1, 1, 1, 1]}\n"
                            "{\"ids\": [11, 4, 8, 6]}\n"
                            "{\"ids\": [3, 3, 12, 10, 9, 8, 7], \"mask\": [0, 1, 1, 0, 0, 1, 1]}\n";

#define TRAIN(out, method, ...)                                                                                        \
    "finetune", "@model", "--method", method, "--data", "@dir/three.jsonl", "--batch", "2", "--steps", "6", "--lr",    \
        "0.01", "--threads", "1", "--save-every", "1", "-o", out, __VA_ARGS__
#define TWO "lora+rank=2+dropout=0.2+lora+rank=3+dropout=0.1"

static void same_file(const char *one, const char *other)
{
    bl_err e = {0};
    char *p, *q;
    size_t np, nq;
    assert_ok(bl_read_file(one, 1 << 28, &p, &np, &e));
    assert_ok(bl_read_file(other, 1 << 28, &q, &nq, &e));
    if (np != nq || memcmp(p, q, np) != 0) fail_msg("%s and %s differ", one, other);
    bl_free(p);
    bl_free(q);
}

/* All files but layers.json, which has seconds. */
static void same_files(const char *one, const char *other)
{
    bl_err e = {0};
    char **names, **others;
    size_t n, m;
    assert_ok(bl_dir_list(filled(one), &names, &n, &e));
    assert_ok(bl_dir_list(filled(other), &others, &m, &e));
    assert_int_equal(n, m);
    for (size_t i = 0; i < n; i++) {
        char *a = bl_join(filled(one), names[i], &e), *b = bl_join(filled(other), names[i], &e);
        assert_string_equal(names[i], others[i]);
        if (strcmp(names[i], "layers.json") != 0) same_file(a, b);
        bl_free(a);
        bl_free(b);
    }
    bl_list_free(names, n);
    bl_list_free(others, m);
}

/* What begins so in the directory of the study: how many, but for what ends so. */
static size_t left(const char *head, const char *tail)
{
    bl_err e = {0};
    char **names;
    size_t n, found = 0;
    assert_ok(bl_dir_list(S.dir, &names, &n, &e));
    for (size_t i = 0; i < n; i++) {
        const size_t len = strlen(names[i]), k = strlen(tail);
        found += !strncmp(names[i], head, strlen(head)) && !(len >= k && !strcmp(names[i] + len - k, tail));
    }
    bl_list_free(names, n);
    return found;
}

static void stages_that_learn_go_on_where_they_were_killed(void **state)
{
    static const struct {
        const char *point;
        bool first, stage; /* its state, itself */
    } kills[] = {
        {"after-rename:2@killed.stage1.state", true, false}, {"after-rename:3@killed.stage1.state", true, false},
        {"before-rename@killed.stage1", true, false},        {"before-rename@killed.state", false, true},
        {"after-rename:2@killed.state", false, true},        {"before-rename:2@killed.state", false, true}};
    static const char *const resume[] = {TRAIN("@dir/killed", TWO, "--resume", "--curve", "@dir/killed.lines")};
    const char *argv[40] = {"bitladder"};
    (void)state;
    study_write(S.dir, "three.jsonl", lines);
    ran r = SAY(NULL, TRAIN("@dir/whole/", TWO, "--curve", "@dir/whole.lines"));
    expect(&r, 0, NULL);
    ran_free(&r);
    assert_int_equal(left("whole.stage", ".stage1.curve.hdf5"), 0);
    assert_true(bl_exists(filled("@dir/whole.stage1.curve.hdf5")));
    for (size_t i = 0; i < BL_COUNT(resume); i++) argv[i + 1] = filled(resume[i]);
    for (size_t i = 0; i < BL_COUNT(kills); i++) {
        kill_at(kills[i].point, 0, argv);
        assert_int_equal(bl_exists(filled("@dir/killed.stage1.state")), kills[i].first);
        assert_int_equal(bl_is_dir(filled("@dir/killed.stage1")), kills[i].stage);
    }
    /* without --resume nothing is taken, nor with other settings */
    r = SAY(NULL, TRAIN("@dir/killed", TWO, "--quiet"));
    expect(&r, 2, "--resume goes on with it, or remove it");
    ran_free(&r);
    r = SAY(NULL, TRAIN("@dir/killed", TWO, "--resume", "--decay", "0.5"));
    expect(&r, 2, "killed.stage1 is of another run");
    ran_free(&r);
    r = program_with(&S, NULL, argv);
    expect(&r, 0, NULL);
    ran_free(&r);
    same_files("@dir/whole", "@dir/killed");
    same_file(filled("@dir/whole.lines"), filled("@dir/killed.lines"));
    same_file(filled("@dir/whole.lines.stage1"), filled("@dir/killed.lines.stage1"));
    assert_int_equal(left("killed.st", ".stage1.curve.hdf5"), 0);
    /* killed when the result was there, before the stage was removed */
    r = SAY(NULL, TRAIN("@dir/killed.stage1", "lora+rank=2+dropout=0.2", "--quiet"));
    expect(&r, 0, NULL);
    ran_free(&r);
    r = program_with(&S, NULL, argv);
    expect(&r, 0, NULL);
    assert_non_null(strstr(r.out, "the run had ended"));
    ran_free(&r);
    assert_int_equal(left("killed.st", ".stage1.curve.hdf5"), 0);
}

/* A result that cannot be written is refused before a stage is trained for it. */
static void a_place_that_is_taken_is_refused_before_the_first_stage(void **state)
{
    bl_err e = {0};
    (void)state;
    study_write(S.dir, "three.jsonl", lines);
    assert_ok(bl_make_dirs(filled("@dir/taken"), &e));
    study_write(S.dir, "taken/file", "something");
    ran r = SAY(NULL, TRAIN("@dir/taken", TWO, "--quiet"));
    expect(&r, 2, "exists and is not empty");
    ran_free(&r);
    assert_int_equal(left("taken.", "no such end"), 0);
}

static void adapters_of_a_chain_name_the_model_that_it_began_with(void **state)
{
    static const struct {
        const char *method, *says; /* NULL: nothing, the base is the model as it is */
    } rows[] = {{"lora+rank=2", NULL},
                {"rtn:w4g16+lora+rank=2", "as `rtn:w4g16` left them"},
                {TWO, "as `lora+rank=2+dropout=0.2` left them"},
                {"qlora+rank=2", "rounds them"}};
    bl_err e = {0};
    (void)state;
    study_write(S.dir, "three.jsonl", lines);
    for (size_t i = 0; i < BL_COUNT(rows); i++) {
        const char *const dirs[] = {"@dir/one", "@dir/other"};
        char *text, *about;
        size_t n;
        for (int k = 0; k < 2; k++) {
            ran r = SAY(NULL, TRAIN(dirs[k], rows[i].method, "--quiet"));
            expect(&r, 0, NULL);
            ran_free(&r);
        }
        same_files("@dir/one", "@dir/other");
        assert_ok(bl_read_file(filled("@dir/one/adapter_config.json"), 1 << 20, &text, &n, &e));
        const char *slash = strrchr(S.model, '/');
        char *name = bl_format_text(&e, "\"base_model_name_or_path\": \"%.*s\"", (int)strcspn(slash + 1, "."),
                                    slash + 1);
        if (!strstr(text, name)) fail_msg("%s: no %s in %s", rows[i].method, name, text);
        bl_free(name);
        bl_free(text);
        assert_int_equal(bl_exists(filled("@dir/one/README.md")), rows[i].says != NULL);
        if (rows[i].says) {
            assert_ok(bl_read_file(filled("@dir/one/README.md"), 1 << 20, &about, &n, &e));
            if (!strstr(about, rows[i].says)) fail_msg("%s: %s", rows[i].method, about);
            bl_free(about);
        }
        for (int k = 0; k < 2; k++) assert_ok(bl_remove_tree(filled(dirs[k]), &e));
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(stages_that_learn_go_on_where_they_were_killed),
        cmocka_unit_test(a_place_that_is_taken_is_refused_before_the_first_stage),
        cmocka_unit_test(adapters_of_a_chain_name_the_model_that_it_began_with),
    };
    return cmocka_run_group_tests_name("all_stages", tests, begin_study, end_study);
}
