/* finetune through the program: the losses that PyTorch recorded, runs that are killed and go on, what is refused. */
#include "golden_file.h"
#include "verbs_fixture.h"
#include "results/record.h"
#include <sys/stat.h>

static const char lines[] = "{\"ids\": [5, 9, 2, 7, 1, 3], \"mask\": [0, 0, 1, 1, 1, 1]}\n"
                            "{\"ids\": [11, 4, 8, 6]}\n"
                            "{\"ids\": [3, 3, 12, 10, 9, 8, 7], \"mask\": [0, 1, 1, 0, 0, 1, 1]}\n";

static char *text_of(const char *name)
{
    bl_err e = {0};
    char *text = NULL;
    size_t n;
    assert_ok(bl_read_file(filled(name), 1 << 28, &text, &n, &e));
    return text;
}

/* Recorded: AdamW, decay 0.01, clipped at 1, ten batches of [4, 48]. */
static void ten_losses_through_the_program_are_those_of_pytorch(void **state)
{
    enum { STEPS = 10, ROWS = 4, LENGTH = 48 };
    bl_err e = {0};
    bl_text data = {0};
    golden g;
    (void)state;
    BL_NEEDS("BITLADDER_GOLDEN");
    BL_NEEDS("BITLADDER_MODELS");
    golden_open(&g, test_path("BITLADDER_GOLDEN", "tinystories656k/full_finetune.safetensors"));
    const int64_t *ids = golden_need(&g, "ids", "I64", STEPS * ROWS * LENGTH);
    const float *loss = golden_need(&g, "loss", "F32", STEPS), *norm = golden_need(&g, "grad_norm", "F32", STEPS);
    for (int i = 0; i < STEPS * ROWS * LENGTH; i++)
        bl_text_addf(&data, "%s%lld%s", i % LENGTH ? "," : "{\"ids\": [", (long long)ids[i],
                     i % LENGTH == LENGTH - 1 ? "]}\n" : "");
    study_write(S.dir, "golden.jsonl", data.s);
    ran r = SAY(NULL, "finetune", test_path("BITLADDER_MODELS", "tinystories656K"), "--method", "full", "--data",
                "@dir/golden.jsonl", "--batch", "4", "--accumulate", "2", "--steps", "10", "--lr", "1e-3", "--decay",
                "0.01", "--curve", "@dir/golden.curve", "-o", "@dir/golden");
    expect(&r, 0, NULL);
    ran_free(&r);
    char *curve = text_of("@dir/golden.curve"), *rest = curve, *line;
    int k = 0;
    for (; (line = strsep(&rest, "\n")) && *line; k++) {
        bl_json *j;
        double got, length, limit = k < 5 ? 1e-4 : 1e-3;
        int64_t step;
        assert_ok(bl_json_parse(line, strlen(line), "curve", BL_JSON_PLAIN, &j, &e));
        assert_ok(bl_json_get_int(j, "step", &step, &e));
        assert_ok(bl_json_get_real(j, "loss", &got, &e));
        assert_ok(bl_json_get_real(j, "grad_norm", &length, &e));
        assert_int_equal(step, k + 1);
        if (!(fabs(got - loss[k]) <= limit) || !(fabs(length - norm[k]) <= 10 * limit * norm[k]))
            fail_msg("step %d: loss %.7g, recorded %.7g; norm %.7g, recorded %.7g", k + 1, got, loss[k], length,
                     norm[k]);
        bl_json_free(j);
    }
    assert_int_equal(k, STEPS);
    bl_free(curve);
    bl_text_free(&data);
    golden_close(&g);
}

/* ---- every method: trained, written, read ---- */
static void what_was_trained_is_a_model_for_every_verb(void **state)
{
    static const char *const methods[] = {"full",
                                          "lora+rank=4+dropout=0.1+targets=q_proj:v_proj",
                                          "lora+rslora",
                                          "qlora+rank=2",
                                          "qlora+code=fp4+single",
                                          "lsq:w3g24",
                                          "lsq:w2"};
    bl_err e = {0};
    char hash[33], before[33] = "";
    (void)state;
    study_write(S.dir, "three.jsonl", lines);
    for (size_t i = 0; i < BL_COUNT(methods); i++) {
        bl_arena *a;
        bl_shard *curve;
        double *loss;
        int64_t n;
        ran r = SAY(NULL, "finetune", "@model", "--method", methods[i], "--data", "@dir/three.jsonl", "--batch", "3",
                    "--steps", "8", "--lr", "0.005", "--json", "-o", "@dir/tuned");
        expect(&r, 0, NULL);
        read_json(r.out, strlen(r.out), methods[i]);
        ran_free(&r);
        assert_ok(bl_arena_new(&a, &e));
        assert_ok(bl_shard_open(filled("@dir/tuned.curve.hdf5"), &curve, &e));
        assert_ok(bl_shard_reals(curve, "train/loss", a, &loss, &n, &e));
        assert_int_equal(n, 8);
        if (!(loss[7] < loss[0])) fail_msg("%s: loss %g, then %g", methods[i], loss[0], loss[7]);
        bl_shard_close(curve);
        bl_arena_free(a);
        r = SAY(NULL, "inspect", "@dir/tuned");
        expect(&r, 0, NULL);
        assert_non_null(strstr(r.out, "made by "));
        ran_free(&r);
        r = SAY(LINE, "score", "--model", "@dir/tuned", "-");
        expect(&r, 0, NULL);
        ran_free(&r);
        last_stage_hash(filled("@dir/tuned"), hash);
        assert_string_not_equal(hash, before);
        memcpy(before, hash, sizeof before);
        assert_false(bl_exists(filled("@dir/tuned.state")));
        assert_ok(bl_remove_tree(filled("@dir/tuned"), &e));
        assert_ok(bl_remove_tree(filled("@dir/tuned.curve.hdf5"), &e));
    }
}

/* ---- killed ---- */
/* Starts a training that stops at a fault point; it is killed there, or a little later. */
static void begin_and_kill(const char *point, useconds_t later, const char *const *argv)
{
    siginfo_t is = {0};
    setenv("BL_FAULT_POINT", point, 1);
    started p = program_begin(&S, NULL, NULL, argv);
    assert_int_equal(waitid(P_PID, (id_t)p.pid, &is, WSTOPPED | WEXITED | WNOWAIT), 0);
    if (is.si_code != CLD_STOPPED) {
        ran r = program_end(&p);
        fail_msg("ended before it came to %s: %s", point, r.err);
    }
    if (later) kill(p.pid, SIGCONT);
    usleep(later);
    program_kill(p.pid);
}

static void a_run_killed_twenty_times_ends_with_the_weights_of_one_that_was_not(void **state)
{
#define TRAIN(out, ...)                                                                                                \
    "finetune", "@model", "--method", "lora+rank=4+dropout=0.2", "--data", "@dir/three.jsonl", "--batch", "2",         \
        "--steps", "100", "--lr", "0.002", "--threads", "1", "--save-every", "1", "-o", out, __VA_ARGS__
    static const char *const resume[] = {TRAIN("@dir/killed", "--resume", "--curve", "@dir/killed.curve")};
    const char *argv[32] = {"bitladder"};
    bl_err e = {0};
    char **names;
    size_t n, compared = 0;
    (void)state;
    study_write(S.dir, "three.jsonl", lines);
    ran r = SAY(NULL, TRAIN("@dir/whole", "--curve", "@dir/whole.curve"));
    expect(&r, 0, NULL);
    ran_free(&r);
    for (size_t i = 0; i < BL_COUNT(resume); i++) argv[i + 1] = filled(resume[i]);
    for (int kills = 0; kills < 16; kills++) { /* as a state is written, and when it is there: 32 steps at most */
        char point[80];
        snprintf(point, sizeof point, "%s-rename:%d@killed.state", kills % 2 ? "after" : "before", 1 + kills % 3);
        begin_and_kill(point, 0, argv);
        assert_int_equal(bl_exists(filled("@dir/killed.state")), kills > 0 || point[0] == 'a');
    }
    for (int kills = 0; kills < 4 && !bl_exists(filled("@dir/killed")); kills++) /* and at any other moment */
        begin_and_kill("after-rename@killed.state", 1 + (useconds_t)(kills * 700), argv);
    if (!bl_exists(filled("@dir/killed"))) {
        r = program_with(&S, NULL, argv);
        expect(&r, 0, NULL);
        ran_free(&r);
    }
    char *x = text_of("@dir/whole.curve"), *y = text_of("@dir/killed.curve");
    assert_string_equal(x, y);
    bl_free(x);
    bl_free(y);
    assert_ok(bl_dir_list(filled("@dir/whole"), &names, &n, &e));
    for (size_t i = 0; i < n; i++) {
        if (!strstr(names[i], ".safetensors")) continue;
        char *a = bl_join(filled("@dir/whole"), names[i], &e), *b = bl_join(filled("@dir/killed"), names[i], &e);
        char *p, *q;
        size_t np, nq;
        assert_ok(bl_read_file(a, 1 << 28, &p, &np, &e));
        assert_ok(bl_read_file(b, 1 << 28, &q, &nq, &e));
        assert_int_equal(np, nq);
        assert_memory_equal(p, q, np);
        compared++;
        bl_free(a);
        bl_free(b);
        bl_free(p);
        bl_free(q);
    }
    assert_true(compared >= 2);
    bl_list_free(names, n);
}

/* ---- refused ---- */
static void what_cannot_be_trained_is_refused_in_a_sentence(void **state)
{
    static const struct {
        const char *args[12], *says;
    } rows[] = {
        {{"--data", "@dir/three.jsonl", "-o", "@dir/no"}, "finetune needs --method METHOD"},
        {{"--method", "lora", "-o", "@dir/no"}, "finetune needs --data FILE"},
        {{"--method", "lora", "--data", "@dir/three.jsonl"}, "finetune needs -o OUT"},
        {{"--method", "rtn:w4", "--data", "@dir/three.jsonl", "-o", "@dir/no"}, "rtn is not trained"},
        {{"--method", "rtn:w4+lora", "--data", "@dir/three.jsonl", "-o", "@dir/no"},
         "bitladder quantize applies it first; what follows is trained on what it wrote"},
        {{"--method", "lora+rtn:w4", "--data", "@dir/three.jsonl", "-o", "@dir/no"},
         "lora+rtn:w4g128: one method at a time; train lora, then apply the next to what it wrote"},
        {{"--method", "lora+targets=q_proj:x_proj", "--data", "@dir/three.jsonl", "-o", "@dir/no"}, "'x_proj'"},
        {{"--method", "lora", "--data", "@dir/absent", "-o", "@dir/no"}, "absent"},
        {{"--method", "lora", "--data", "@dir/odd.jsonl", "-o", "@dir/no"}, "odd.jsonl: line 2: id 300"},
        {{"--method", "lora", "--data", "@dir/three.jsonl", "-o", "@dir/no", "--betas", "0.9"}, "--betas: found '0.9'"},
        {{"--method", "lora", "--data", "@dir/three.jsonl", "-o", "@dir/no", "--batch", "3", "--accumulate", "2"},
         "a step of 3 samples cannot be spread over 2 passes"},
        {{"--method", "lora", "--data", "@dir/three.jsonl", "-o", "@model"}, "output path"},
    };
    (void)state;
    study_write(S.dir, "three.jsonl", lines);
    study_write(S.dir, "odd.jsonl", "{\"ids\": [1, 2]}\n{\"ids\": [1, 300]}\n");
    for (size_t i = 0; i < BL_COUNT(rows); i++) {
        const char *args[24] = {"finetune", "@model"};
        for (int k = 0; rows[i].args[k]; k++) args[2 + k] = rows[i].args[k];
        ran r = said(NULL, args);
        expect(&r, 2, rows[i].says);
        assert_false(bl_exists(filled("@dir/no")));
        assert_int_equal(count_ending(S.dir, ".state"), 0);
        ran_free(&r);
    }
}

static void a_run_that_diverges_leaves_its_curve_and_no_model(void **state)
{
    (void)state;
    study_write(S.dir, "three.jsonl", lines);
    ran r = SAY(NULL, "finetune", "@model", "--method", "full", "--data", "@dir/three.jsonl", "--steps", "9", "--lr",
                "1e6", "--clip", "0", "--decay", "1e6", "--curve", "@dir/wild.curve", "-o", "@dir/wild");
    assert_int_not_equal(r.code, 0);
    assert_non_null(strstr(r.err, "is not finite"));
    char *curve = text_of("@dir/wild.curve");
    assert_true(lines_of(curve) >= 1 && lines_of(curve) < 9);
    assert_true(bl_exists(filled("@dir/wild.curve.hdf5")));
    assert_false(bl_exists(filled("@dir/wild")));
    bl_free(curve);
    ran_free(&r);
}

static void curves_of_runs_are_one_figure(void **state)
{
    static const char *const methods[] = {"full", "lora+rank=2"};
    bl_err e = {0};
    char *csv;
    (void)state;
    assert_ok(bl_make_dirs(filled("@dir/runs"), &e));
    study_write(S.dir, "runs/three.jsonl", lines);
    for (int i = 0; i < 2; i++) {
        ran r = SAY(NULL, "finetune", "@model", "--method", methods[i], "--data", "@dir/runs/three.jsonl", "--steps",
                    "4", "-o", i ? "@dir/runs/lora" : "@dir/runs/full");
        expect(&r, 0, NULL);
        ran_free(&r);
    }
    ran r = SAY(NULL, "plot", "@dir/runs");
    if (strstr(r.err, "gnuplot-nox")) assert_int_equal(r.code, 1);
    else {
        expect(&r, 0, NULL);
        assert_non_null(strstr(r.out, "runs/plots/loss.png"));
        assert_int_equal(lines_of(r.out), 1); /* nothing else fits */
    }
    ran_free(&r);
    csv = text_of("@dir/runs/plots/loss.csv"); /* three panels of two runs of four steps */
    assert_int_equal(lines_of(csv), 1 + 3 * 2 * 4);
    assert_non_null(strstr(csv, "\"full\",1,4,"));
    assert_non_null(strstr(csv, "\"lora\",2,4,"));
    bl_free(csv);

    r = SAY(NULL, "plot", "@dir/runs/lora/"); /* a trained model: the curve beside it */
    assert_true(r.code == 0 || strstr(r.err, "gnuplot-nox"));
    ran_free(&r);
    csv = text_of("@dir/runs/plots/loss.csv");
    assert_int_equal(lines_of(csv), 1 + 3 * 4);
    bl_free(csv);
    assert_false(bl_exists(filled("@dir/runs/lora/plots")));

    study_write(S.dir, "runs/odd.curve.hdf5", "no curve");
    r = SAY(NULL, "plot", "@dir/runs", "loss");
    assert_int_equal(r.code, 1);
    assert_non_null(strstr(r.err, "skipped: "));
    assert_non_null(strstr(r.err, "odd.curve.hdf5"));
    ran_free(&r);
    r = SAY(NULL, "table", "@dir/runs");
    expect(&r, 2, "no results");
    ran_free(&r);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(what_cannot_be_trained_is_refused_in_a_sentence),
        cmocka_unit_test(ten_losses_through_the_program_are_those_of_pytorch),
        cmocka_unit_test(what_was_trained_is_a_model_for_every_verb),
        cmocka_unit_test(curves_of_runs_are_one_figure),
        cmocka_unit_test(a_run_that_diverges_leaves_its_curve_and_no_model),
        cmocka_unit_test(a_run_killed_twenty_times_ends_with_the_weights_of_one_that_was_not),
    };
    return cmocka_run_group_tests(tests, begin_study, end_study);
}
