/* Rows of one study that learn from different sets; one whose set makes it diverge fails alone, its curve kept. */
#include "verbs_fixture.h"

static const char data[] = "{\"ids\": [5, 9, 2, 7, 1, 3]}\n{\"ids\": [11, 4, 8, 6]}\n{\"ids\": [3, 3, 12, 10, 9]}\n";

static void write_study(const char *methods, const char *sets)
{
    char text[40000];
    snprintf(text, sizeof text,
             "{\"models\": [\"%s\"], \"methods\": [%s], \"tasks\": [\"piqa\"], \"data\": [\"%s\"], \"out\": \"%s\", "
             "\"threads\": 1, \"train\": {\"batch\": 3, \"steps\": 4, \"lr\": 0.01, \"data\": \"%s/a.jsonl\", "
             "\"sets\": {%s}}}",
             S.model, methods, S.data, S.out, S.dir, sets);
    study_write(S.dir, "study.json", text);
}

static void each_row_learns_from_its_set(void **state)
{
    (void)state;
    char sets[5000];
    study_write(S.dir, "a.jsonl", data);
    study_write(S.dir, "b.jsonl", "{\"ids\": [1, 2, 3, 4]}\n");
    snprintf(sets, sizeof sets, "\"same\": {}, \"other\": {\"data\": \"%s/b.jsonl\"}, \"slow\": {\"lr\": 0.0002}",
             S.dir);
    write_study("\"base\", {\"lora\": {\"rank\": 2, \"on\": [\"same\", \"other\", \"slow\"]}}, \"lora+rank=2\"", sets);
    ran r = SAY(NULL, "run", "@dir/study.json", "--quiet");
    expect(&r, 0, NULL);
    ran_free(&r);
    assert_int_equal(count_ending(S.out, ".h5"), 5);
    /* what learns the same is trained once */
    assert_int_equal(count_ending(filled("@dir/out/variants"), ".curve.hdf5"), 3);
    r = SAY(NULL, "table", "@dir/out", "--rows", "method");
    expect(&r, 0, NULL);
    assert_non_null(strstr(r.out, "lora+rank=2+on=other"));
    ran_free(&r);
    r = SAY(NULL, "plot", "@dir/out", "loss"); /* the curves of the rows, three panels of three runs of four steps */
    assert_true(r.code == 0 || strstr(r.err, "gnuplot-nox"));
    ran_free(&r);

    /* what a set does not say is what "train" says, on the command line too */
    r = SAY(NULL, "plan", "@dir/study.json", "--set", "train.lr=0.001");
    expect(&r, 0, NULL);
    assert_non_null(strstr(r.out, "2 done, 3 open")); /* base and slow, which is what nobody says */
    ran_free(&r);
}

static void a_row_that_diverges_fails_alone_with_its_curve(void **state)
{
    (void)state;
    bl_err e = {0};
    study_write(S.dir, "a.jsonl", data);
    assert_ok(bl_remove_tree(S.out, &e));
    write_study("\"base\", \"full+on=wild\", \"full+on=calm\"",
                "\"wild\": {\"lr\": 1e6, \"decay\": 1e6, \"clip\": 0, \"steps\": 9}, \"calm\": {}");
    ran r = SAY(NULL, "run", "@dir/study.json", "--quiet");
    assert_int_equal(r.code, 1);
    ran_free(&r);
    assert_int_equal(count_ending(S.out, ".h5"), 2);
    assert_int_equal(count_ending(S.out, ".failed.json"), 1);
    assert_int_equal(count_ending(filled("@dir/out/variants"), ".curve.hdf5"), 2);
    r = SAY(NULL, "table", "@dir/out", "--failed");
    assert_non_null(strstr(r.out, "full+on=wild"));
    assert_non_null(strstr(r.out, "is not finite"));
    ran_free(&r);
}

/* What does not fit and a text that is not what its format says cost their rows, the others go on; an example with an
 * empty answer costs its row too. */
static void rows_that_cannot_be_trained_cost_themselves_alone(void **state)
{
    char sets[13000], text[40000];
    bl_err e = {0};
    (void)state;
    assert_ok(bl_remove_tree(S.out, &e));
    study_write(S.dir, "a.jsonl", data);
    study_write(S.dir, "blank.jsonl",
                "{\"question\": \"a\", \"rationale\": \"b\", \"answer\": \"c\"}\n"
                "{\"question\": \"a\", \"rationale\": \"\", \"answer\": \"\"}\n");
    study_write(S.dir, "none.jsonl", "{\"ids\": [5, 9]}\n{\"ids\": []}\n");
    text[0] = 0;
    for (int row = 0; row < 48; row++) {
        strcat(text, "{\"ids\": [");
        for (int i = 0; i < 90; i++) sprintf(text + strlen(text), "%s%d", i ? ", " : "", 3 + i % 60);
        strcat(text, "]}\n");
    }
    study_write(S.dir, "wide.jsonl", text);
    snprintf(sets, sizeof sets,
             "\"calm\": {}, \"blank\": {\"data\": \"%s/blank.jsonl\", \"data_format\": \"cot\"}, "
             "\"none\": {\"data\": \"%s/none.jsonl\"}, \"wide\": {\"data\": \"%s/wide.jsonl\", \"batch\": 48}",
             S.dir, S.dir, S.dir);
    write_study("\"base\", {\"lora\": {\"rank\": 2, \"on\": [\"calm\", \"blank\", \"none\"]}}, \"full+on=wide\"", sets);
    ran r = SAY(NULL, "run", "@dir/study.json", "--quiet", "--mem-limit", "3");
    assert_int_equal(r.code, 1);
    ran_free(&r);
    r = SAY(NULL, "table", "@dir/out", "--failed");
    assert_non_null(strstr(r.out, "blank.jsonl:2: "));
    assert_non_null(strstr(r.out, "none.jsonl:2: "));
    assert_non_null(strstr(r.out, "training was planned to need "));
    assert_non_null(strstr(r.out, "do not fit"));
    ran_free(&r);
    assert_int_equal(count_ending(S.out, ".h5"), 2);
    assert_int_equal(count_ending(S.out, ".failed.json"), 3);
    r = SAY(NULL, "table", "@dir/out", "--rows", "method");
    expect(&r, 0, NULL);
    assert_non_null(strstr(r.out, "lora+rank=2+on=calm"));
    ran_free(&r);
}

static void what_no_set_can_be_is_refused(void **state)
{
    static const struct {
        const char *methods, *sets, *says;
    } rows[] = {
        {"\"lora+on=there\"", "\"here\": {}", "\"train\" has no set 'there'; one of its sets is here"},
        {"\"rtn:w4+on=here\"", "\"here\": {}", "method rtn: on: it learns from nothing"},
        {"\"lora+on=A b\"", "\"here\": {}", "'A b' is no name of small letters"},
        {"\"lora+on=a+on=b\"", "\"here\": {}", "on is given twice"},
        {"\"lora+on=here+full\"", "\"here\": {}", "learn from one set, not from here and what \"train\" says"},
        {"\"lora\"", "\"here\": {\"dat\": \"x\"}", "sets: here: unknown option 'dat'"},
        {"\"lora\"", "\"Here\": {}", "sets: Here: a set's name is of small letters"},
        {"\"lora\"", "\"here\": 3", "sets: here: a set is an object"},
        {"\"lora\"", "\"here\": {\"steps\": 0}", "steps: 0 is not in"},
        {"\"lora\"", "\"here\": {\"betas\": \"0.9,0.95\"}",
         "sets: here: betas: found '0.9,0.95', expected two numbers from 0 on and below 1 as one string, like "
         "0.9:0.999"},
        {"\"lora\"", "\"here\": {\"betas\": [0.9, 0.95]}",
         "sets: here: betas: found an array of 2, expected a string, like \"0.9:0.999\""},
        {"\"lora\"", "", "'sets' is an object of 1 to"},
    };
    (void)state;
    study_write(S.dir, "a.jsonl", data);
    for (size_t i = 0; i < BL_COUNT(rows); i++) {
        write_study(rows[i].methods, rows[i].sets);
        ran r = SAY(NULL, "run", "@dir/study.json");
        expect(&r, 2, rows[i].says);
        ran_free(&r);
    }
    ran r = SAY(NULL, "finetune", "@model", "--method", "lora+on=here", "--data", "@dir/a.jsonl", "-o", "@dir/no");
    expect(&r, 2, "lora+on=here: sets are a study's; finetune learns from --data");
    ran_free(&r);
    r = SAY(NULL, "pretrain", "--shape", "lessons-tiny", "--method", "full+on=here", "-o", "@dir/no");
    expect(&r, 2, "sets are a study's");
    ran_free(&r);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(each_row_learns_from_its_set),
        cmocka_unit_test(a_row_that_diverges_fails_alone_with_its_curve),
        cmocka_unit_test(rows_that_cannot_be_trained_cost_themselves_alone),
        cmocka_unit_test(what_no_set_can_be_is_refused),
    };
    return cmocka_run_group_tests_name("all_sets", tests, begin_study, end_study);
}
