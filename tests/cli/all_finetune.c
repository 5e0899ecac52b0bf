/* finetune through the program: the losses that PyTorch recorded, runs that are killed and go on, what is refused. */
#include "finetune_fixture.h"
#include "kill_fixture.h"
#include "results/record.h"

/* Recorded: AdamW, decay 0.01, clipped at 1, ten batches of [4, 48]. */
static void ten_losses_through_the_program_are_those_of_pytorch(void **state)
{
    golden g;
    (void)state;
    BL_NEEDS("BITLADDER_GOLDEN");
    BL_NEEDS("BITLADDER_MODELS");
    golden_open(&g, test_path("BITLADDER_GOLDEN", "tinystories656k/full_finetune.safetensors"));
    write_ids(&g, 10, 4, 48, "golden.jsonl");
    ran r = SAY(NULL, "finetune", test_path("BITLADDER_MODELS", "tinystories656K"), "--method", "full", "--data",
                "@dir/golden.jsonl", "--batch", "4", "--accumulate", "2", "--steps", "10", "--lr", "1e-3", "--decay",
                "0.01", "--curve", "@dir/golden.curve", "-o", "@dir/golden");
    expect(&r, 0, NULL);
    ran_free(&r);
    assert_curve(&g, "@dir/golden.curve", 10);
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
                                          "qlora+code=nf3+rank=2",
                                          "lora+rank=4+dora+dropout=0.1",
                                          "qlora+rank=4+dora+init=pissa",
                                          "lora+rank=4+init=pissa",
                                          "lora+rank=4+init=olora+targets=o_proj:up_proj",
                                          "qlora+rank=4+init=pissa",
                                          "loftq:w2+rank=4+rounds=2",
                                          "loftq:w3+code=int+rank=4",
                                          "lq-lora:2.75+rank=4+plain+solver=hull",
                                          "ir-qlora:w3+rank=4+dropout=0.1",
                                          "rtn:w4g24+lora+rank=2",
                                          "lsq:w3g24",
                                          "lsq:w2",
                                          "l4q:w3g24+rank=2",
                                          "l4q:w4pc+rank=2+scale=fp32+scale-rate=0.02",
                                          "lr-qat:w2g24+rank=4+alpha=16",
                                          "lr-qat:w4+rank=4+alpha=16+phi=int+scale=fp32",
                                          "rtn:w3g24+e2e-qp",
                                          "galore+rank=4+every=3"};
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

static void examples_of_every_format_train_and_wrong_ones_are_refused_by_line(void **state)
{
    static const struct {
        const char *format, *good, *bad, *says;
    } rows[] = {
        {"text", "one cat and two dogs, all of them here", NULL, NULL},
        {"alpaca", "{\"instruction\": \"a\", \"output\": \"b\"}\n", "{\"instruction\": \"a\"}\n",
         "train.jsonl:2: data-format alpaca expects 'instruction' and 'output'; found 'instruction'"},
        {"chat", "{\"text\": \"### Human: a ### Assistant: b\"}\n", "{\"text\": \"a\"}\n", "has no turn"},
        {"cot", "{\"question\": \"a\", \"rationale\": \"b\", \"answer\": \"c\"}\n",
         "{\"question\": \"a\", \"answer\": \"c\"}\n", "neither 'rationale' nor '####'"},
    };
    bl_err e = {0};
    (void)state;
    for (size_t i = 0; i < BL_COUNT(rows); i++) {
        bl_text bad = {0};
        study_write(S.dir, "train.jsonl", rows[i].good);
        ran r = SAY(NULL, "finetune", "@model", "--method", "lora+rank=2", "--data", "@dir/train.jsonl",
                    "--data-format", rows[i].format, "--seqlen", strcmp(rows[i].format, "text") ? "200" : "16",
                    "--pack", "--valid", "@dir/train.jsonl", "--steps", "3", "--lr", "0.01", "--curve", "@dir/f.curve",
                    "-o", "@dir/f");
        if (strcmp(rows[i].format, "alpaca") == 0) expect(&r, 2, "train.jsonl: sample 1 has"); /* 96 positions */
        else {
            expect(&r, 0, NULL);
            char *curve = text_of("@dir/f.curve");
            assert_int_equal(lines_of(curve), 3);
            const char *valid = strstr(curve, "\"valid\"");
            assert_true(valid && valid > strstr(curve, "\"step\": 3")); /* after the last step alone */
            bl_free(curve);
            assert_ok(bl_remove_tree(filled("@dir/f"), &e));
        }
        ran_free(&r);
        if (!rows[i].bad) continue;
        bl_text_addf(&bad, "%s%s", rows[i].good, rows[i].bad);
        study_write(S.dir, "train.jsonl", bad.s);
        bl_text_free(&bad);
        r = SAY(NULL, "finetune", "@model", "--method", "lora+rank=2", "--data", "@dir/train.jsonl", "--data-format",
                rows[i].format, "-o", "@dir/f");
        expect(&r, 2, "train.jsonl:2");
        assert_non_null(strstr(r.err, rows[i].says));
        assert_false(bl_exists(filled("@dir/f")));
        ran_free(&r);
    }
    study_write(S.dir, "train.jsonl", "{\"ids\": [5, 6], \"mask\": [1, 0]}\n");
    ran r = SAY(NULL, "finetune", "@model", "--method", "lora+rank=2", "--data", "@dir/train.jsonl", "-o", "@dir/f");
    expect(&r, 2, "train.jsonl: step 1: none of its tokens counts");
    ran_free(&r);
    study_write(S.dir, "train.jsonl", "{\"ids\": [5, 6]}\n{\"ids\": [5, 6], \"mask\": [1, 0]}\n");
    r = SAY(NULL, "finetune", "@model", "--method", "lora+rank=2", "--data", "@dir/train.jsonl", "-o", "@dir/f",
            "--curve", "@dir/early.curve");
    expect(&r, 2, "train.jsonl: step 2: none of its tokens counts");
    assert_false(bl_exists(filled("@dir/early.curve"))); /* before the first step */
    ran_free(&r);
    r = SAY(NULL, "finetune", "@model", "--method", "lora+rank=2", "--data", "@dir/train.jsonl", "-o", "@dir/f",
            "--curve", "@dir/none/curve");
    expect(&r, 4, "none/curve: cannot create: its directory is not there");
    ran_free(&r);
    study_write(S.dir, "valid.jsonl", "{\"ids\": [5, 6], \"mask\": [1, 0]}\n");
    study_write(S.dir, "train.jsonl", "{\"ids\": [5, 6]}\n");
    r = SAY(NULL, "finetune", "@model", "--method", "lora+rank=2", "--data", "@dir/train.jsonl", "--valid",
            "@dir/valid.jsonl", "-o", "@dir/f");
    expect(&r, 2, "valid.jsonl: no token of the validation text counts");
    ran_free(&r);
}

/* ---- in a study ---- */
static const char study_text[] =
    "{\"models\": [\"%s\"], \"methods\": [\"base\", \"lora+rank=2\", \"lora+rank=2+merge+as=fp32\", \"qlora+rank=2\"], "
    "\"tasks\": [\"piqa\"], \"data\": [\"%s\"], \"seeds\": [3], \"out\": \"%s\", \"threads\": 1, "
    "\"train\": {\"data\": \"%s/three.jsonl\", \"batch\": 3, \"steps\": 5, \"lr\": %s, \"save_every\": 1}}";

static void write_study(const char *rate)
{
    char text[20000];
    snprintf(text, sizeof text, study_text, S.model, S.data, S.out, S.dir, rate);
    study_write(S.dir, "study.json", text);
}

static void methods_that_learn_are_rows_of_a_study_with_their_adapters_and_merged(void **state)
{
    bl_err e = {0};
    char hash[33], other[33];
    char **names;
    size_t n;
    (void)state;
    study_write(S.dir, "three.jsonl", lines);
    write_study("0.01");
    ran r = SAY(NULL, "plan", "@dir/study.json");
    expect(&r, 0, NULL);
    assert_non_null(strstr(r.out, "noise/lora+rank=2  "));
    assert_non_null(strstr(r.out, " 7680 ")); /* five steps of three sequences of 512 tokens at most */
    ran_free(&r);
    r = SAY(NULL, "run", "@dir/study.json", "--quiet");
    expect(&r, 0, NULL);
    ran_free(&r);
    assert_int_equal(count_ending(S.out, ".h5"), 4);
    assert_int_equal(count_ending(filled("@dir/out/variants"), ".curve.hdf5"), 2); /* one training of two rows */
    assert_int_equal(count_ending(filled("@dir/out/variants"), ".state"), 0);

    /* what the study trained is what the verb trains */
    r = SAY(NULL, "finetune", "@model", "--method", "lora+rank=2", "--data", "@dir/three.jsonl", "--batch", "3",
            "--steps", "5", "--lr", "0.01", "--seed", "3", "--threads", "1", "-o", "@dir/same");
    expect(&r, 0, NULL);
    ran_free(&r);
    last_stage_hash(filled("@dir/same"), hash);
    snprintf(other, sizeof other, "%s", hash);
    char *dir = bl_join(filled("@dir/out/variants"), other, &e);
    assert_true(bl_is_dir(dir));
    bl_free(dir);

    /* the same again has nothing to do; another rate is another training */
    r = SAY(NULL, "plan", "@dir/study.json");
    expect(&r, 0, NULL);
    assert_non_null(strstr(r.out, "4 done, 0 open"));
    ran_free(&r);
    r = SAY(NULL, "plan", "@dir/study.json", "--set", "train.lr=0.02");
    expect(&r, 0, NULL);
    assert_non_null(strstr(r.out, "1 done, 3 open"));
    ran_free(&r);
    r = SAY(NULL, "plan", "@dir/study.json", "--set", "train.save_every=2"); /* changes no number */
    expect(&r, 0, NULL);
    assert_non_null(strstr(r.out, "4 done, 0 open"));
    ran_free(&r);

    /* a state that outlived its child goes with the next run */
    char state_file[80];
    snprintf(state_file, sizeof state_file, "out/variants/%s.state", hash);
    study_write(S.dir, state_file, "what was left");
    assert_ok(bl_dir_list(S.out, &names, &n, &e));
    for (size_t i = 0; i < n; i++)
        if (strstr(names[i], "lora+rank=2__piqa") && strstr(names[i], ".h5")) {
            char *shard = bl_join(S.out, names[i], &e);
            assert_ok(bl_remove_tree(shard, &e));
            bl_free(shard);
        }
    bl_list_free(names, n);
    r = SAY(NULL, "run", "@dir/study.json", "--quiet");
    expect(&r, 0, NULL);
    ran_free(&r);
    assert_int_equal(count_ending(filled("@dir/out/variants"), ".state"), 0);

    /* adapters merged in fp32 compute what they did beside the weights; in bf16 not quite */
    static const struct {
        const char *method;
        double limit;
    } merged[] = {{"merge+as=fp32", 1e-5}, {"merge", 0.1}};
    double beside = nll_by("@dir/same"), size = fabs(beside);
    assert_true(fabs(beside - nll_by("@model")) > 1e-3);
    for (size_t i = 0; i < BL_COUNT(merged); i++) {
        r = SAY(NULL, "quantize", "@dir/same", "--method", merged[i].method, "-o", "@dir/merged");
        expect(&r, 0, NULL);
        ran_free(&r);
        double d = fabs(nll_by("@dir/merged") - beside);
        if (!(d <= merged[i].limit * size) || (i && d == 0)) fail_msg("%s: %g apart", merged[i].method, d);
        assert_ok(bl_remove_tree(filled("@dir/merged"), &e));
    }

    /* without "train" these rows are n/a, and it is said why */
    r = SAY(NULL, "plan", "--model", "@model", "--method", "base,lora", "--task", "piqa", "--out", "@dir/none",
            "--data", "@dir/data");
    expect(&r, 0, NULL);
    assert_non_null(strstr(r.out, "lora is trained: bitladder finetune does that, or a study with"));
    ran_free(&r);
    study_write(S.dir, "bad.json",
                "{\"models\": [\"m\"], \"methods\": [\"lora\"], \"tasks\": [\"piqa\"], "
                "\"train\": {\"data\": \"x\", \"step\": 5}}");
    r = SAY(NULL, "run", "@dir/bad.json");
    expect(&r, 2, "did you mean");
    ran_free(&r);
    r = SAY(NULL, "quantize", "@model", "--method", "merge", "-o", "@dir/no");
    expect(&r, 2, "no linear has an adapter");
    ran_free(&r);
}

static void a_file_with_an_empty_answer_fails_the_cells_that_learn_from_it_and_no_others(void **state)
{
    bl_text data = {0};
    (void)state;
    bl_text_addf(&data, "%s{\"ids\": [5, 6], \"mask\": [0, 0]}\n", lines);
    study_write(S.dir, "three.jsonl", data.s);
    bl_text_free(&data);
    write_study("0.01");
    ran r = SAY(NULL, "run", "@dir/study.json", "--quiet", "--out", "@dir/empty");
    expect(&r, 1, "of 4 cells 3 failed");
    ran_free(&r);
    r = SAY(NULL, "table", "@dir/empty", "--failed");
    assert_non_null(
        strstr(r.out, "three.jsonl:4: what 'mask' counts of its ids is empty, expected something to learn"));
    ran_free(&r);
    assert_int_equal(count_ending(filled("@dir/empty"), ".h5"), 1);
    assert_int_equal(count_ending(filled("@dir/empty"), ".failed.json"), 3);
    r = SAY(NULL, "run", "@dir/study.json", "--quiet", "--out", "@dir/empty", "--set", "train.empty_answers=skip");
    expect(&r, 0, NULL);
    ran_free(&r);
    assert_int_equal(count_ending(filled("@dir/empty"), ".h5"), 4);
}

/* ---- killed ---- */
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
        kill_at(point, 0, argv);
        assert_int_equal(bl_exists(filled("@dir/killed.state")), kills > 0 || point[0] == 'a');
    }
    for (int kills = 0; kills < 4 && !bl_exists(filled("@dir/killed")); kills++) /* and at any other moment */
        kill_at("after-rename@killed.state", 1 + (useconds_t)(kills * 700), argv);
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
    assert_ok(bl_dir_list(filled("@dir"), &names, &n, &e));
    for (size_t i = 0; i < n; i++) assert_null(strstr(names[i], "killed.state")); /* nothing is left on the way */
    bl_list_free(names, n);
}

/* Killed after the model was written and before its state was removed. */
static void a_state_that_outlived_its_run_goes_when_the_run_is_resumed(void **state)
{
    (void)state;
    study_write(S.dir, "three.jsonl", lines);
#define SHORT(...)                                                                                                     \
    "finetune", "@model", "--method", "lora+rank=2", "--data", "@dir/three.jsonl", "--steps", "4", "--save-every",     \
        "2", "-o", "@dir/short", __VA_ARGS__
    ran r = SAY(NULL, SHORT("--quiet"));
    expect(&r, 0, NULL);
    ran_free(&r);
    study_write(S.dir, "short.state", "what was left");
    r = SAY(NULL, SHORT("--quiet"));
    expect(&r, 2, "exists and is not empty");
    ran_free(&r);
    assert_true(bl_exists(filled("@dir/short.state")));
    r = SAY(NULL, SHORT("--resume"));
    expect(&r, 0, NULL);
    assert_non_null(strstr(r.out, "the run had ended"));
    ran_free(&r);
    assert_false(bl_exists(filled("@dir/short.state")));
    r = SAY(NULL, SHORT("--resume", "--lr", "0.5")); /* another run */
    expect(&r, 2, "exists and is not empty");
    ran_free(&r);
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
        {{"--method", "lora+rtn:w4", "--data", "@dir/three.jsonl", "-o", "@dir/no"},
         "lora+rtn:w4g128: rtn is not trained; bitladder quantize applies it to what training wrote"},
        {{"--method", "lora+targets=q_proj:x_proj", "--data", "@dir/three.jsonl", "-o", "@dir/no"}, "'x_proj'"},
        {{"--method", "lora", "--data", "@dir/absent", "-o", "@dir/no"}, "absent"},
        {{"--method", "lora", "--data", "@dir/odd.jsonl", "-o", "@dir/no"}, "odd.jsonl:2: id 300"},
        {{"--method", "lora", "--data", "@dir/three.jsonl", "-o", "@dir/no", "--betas", "0.9"},
         "betas: found '0.9', expected two numbers"},
        {{"--method", "lora", "--data", "@dir/three.jsonl", "-o", "@dir/no", "--batch", "3", "--accumulate", "2"},
         "a step of 3 sequences cannot be spread over 2 passes"},
        {{"--method", "lora", "--data", "@dir/three.jsonl", "-o", "@model"}, "output path"},
        {{"--method", "lora", "--data", "@dir/three.jsonl", "-o", "@dir/no", "--warmup", "5"},
         "warmup does nothing with schedule constant"},
        {{"--method", "lora", "--data", "@dir/three.jsonl", "-o", "@dir/no", "--least", "0.5"},
         "least does nothing with schedule constant; it is for schedule cosine_with_min_lr"},
        {{"--method", "lora", "--data", "@dir/three.jsonl", "-o", "@dir/no", "--schedule", "cosine", "--cycles", "3"},
         "cycles does nothing with schedule cosine"},
        {{"--method", "lora", "--data", "@dir/three.jsonl", "-o", "@dir/no", "--valid-every", "1"},
         "valid-every does nothing without a validation text"},
        {{"--method", "lora+alpha=0", "--data", "@dir/three.jsonl", "-o", "@dir/no"}, "alpha is 0, expected above 0"},
        {{"--method", "lora+targets=q_proj:", "--data", "@dir/three.jsonl", "-o", "@dir/no"},
         "expected a linear after the last colon"},
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
    ran r = SAY(NULL, "finetune", "@model", "--method", "lora", "--data", "@dir/three.jsonl", "--steps", "2",
                "--save-every", "1", "--curve", "@dir/absent/curve", "-o", "@dir/no");
    expect(&r, 4, "absent/curve: cannot create"); /* before the first step */
    assert_int_equal(count_ending(S.dir, ".state"), 0);
    ran_free(&r);
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
        cmocka_unit_test(a_state_that_outlived_its_run_goes_when_the_run_is_resumed),
        cmocka_unit_test(methods_that_learn_are_rows_of_a_study_with_their_adapters_and_merged),
        cmocka_unit_test(a_file_with_an_empty_answer_fails_the_cells_that_learn_from_it_and_no_others),
        cmocka_unit_test(examples_of_every_format_train_and_wrong_ones_are_refused_by_line),
        cmocka_unit_test(what_was_trained_is_a_model_for_every_verb),
        cmocka_unit_test(curves_of_runs_are_one_figure),
        cmocka_unit_test(a_run_that_diverges_leaves_its_curve_and_no_model),
        cmocka_unit_test(a_run_killed_twenty_times_ends_with_the_weights_of_one_that_was_not),
    };
    return cmocka_run_group_tests(tests, begin_study, end_study);
}
