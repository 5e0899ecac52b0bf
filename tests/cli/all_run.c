/* all_run.c - whole studies through the program: results, resume, sharing, failures, exit codes. */
#include "study_fixture.h"
#include "results/curve.h"

#define METHODS "base,rtn:w4g24,rtn:w2pc"
#define STUDY(s, out)                                                                                                  \
    "--model", (s)->model, "--method", METHODS, "--task", "piqa", "--data", (s)->data, "--out", out, "--threads", "1"

static void a_study_leaves_one_shard_a_cell_and_a_second_run_does_nothing(void **state)
{
    (void)state;
    study s = study_begin(12);
    ran r = PROGRAM(&s, "run", STUDY(&s, s.out));
    expect(&r, 0, "all 3 cells are done");
    ran_free(&r);
    assert_int_equal(count_ending(s.out, ".h5"), 3);
    assert_int_equal(count_ending(s.out, ".part.jsonl"), 0);
    r = PROGRAM(&s, "plan", STUDY(&s, s.out));
    expect(&r, 0, NULL);
    assert_non_null(strstr(r.out, "3 cells: 3 done, 0 open"));
    ran_free(&r);
    r = PROGRAM(&s, "run", STUDY(&s, s.out));
    expect(&r, 0, "all 3 cells are done");
    assert_null(strstr(r.err, "[1/3]"));
    ran_free(&r);
    r = PROGRAM(&s, "table", s.out, "--format", "csv", "--all");
    expect(&r, 0, NULL);
    static const char first[] = "model,stored_as,method,bits,group,task,version,metric,";
    assert_memory_equal(r.out, first, sizeof first - 1);
    assert_non_null(strstr(r.out, "noise,F32,base,,,piqa,"));
    assert_non_null(strstr(r.out, "noise,F32,rtn:w4g24,4,24,piqa,"));
    assert_non_null(strstr(r.out, "noise,F32,rtn:w2pc,2,pc,piqa,"));
    assert_non_null(strstr(r.out, ",kl_mean,"));
    assert_non_null(strstr(r.out, ",flips,"));
    ran_free(&r);
    study_end(&s);
}

static void numbers_do_not_depend_on_batch_threads_streaming_or_kernels(void **state)
{
    (void)state;
    study s = study_begin(9);
    static const char *const ways[][2] = {{"--batch-size", "1"},   {"--batch-size", "3"}, {"--batch-size", "8"},
                                          {"--threads", "2"},      {"--stream", NULL},    {"--kernel-ref", NULL},
                                          {"--batch-tokens", "40"}};
    ran r = PROGRAM(&s, "run", STUDY(&s, s.out));
    expect(&r, 0, NULL);
    ran_free(&r);
    for (size_t i = 0; i < BL_COUNT(ways); i++) {
        char out[4300];
        snprintf(out, sizeof out, "%s/way%zu", s.dir, i);
        r = PROGRAM(&s, "run", "--model", s.model, "--method", METHODS, "--task", "piqa", "--data", s.data, "--out",
                    out, ways[i][0], ways[i][1]);
        expect(&r, 0, NULL);
        ran_free(&r);
        assert_int_equal(assert_same_results(s.out, out), 3);
    }
    study_end(&s);
}

static void a_distance_is_of_every_scored_token_and_small_at_eight_bits(void **state)
{
    (void)state;
    study s = study_begin(6);
    bl_err e = {0};
    bl_arena *a;
    ran r = PROGRAM(&s, "run", "--model", s.model, "--method", "base,rtn:w8g24", "--task", "piqa", "--data", s.data,
                    "--out", s.out);
    expect(&r, 0, NULL);
    ran_free(&r);
    char **name;
    size_t n;
    assert_ok(bl_arena_new(&a, &e));
    assert_ok(bl_dir_list(s.out, &name, &n, &e));
    bool seen = false;
    for (size_t i = 0; i < n; i++) {
        if (!strstr(name[i], "rtn") || !strstr(name[i], ".h5")) continue;
        bl_cell c;
        char *path = bl_join(s.out, name[i], &e);
        assert_ok(bl_cell_read(path, true, a, &c, &e));
        assert_true(c.n_kl > 0);
        assert_int_equal(c.n_kl, c.scored_tokens);
        for (int64_t k = 0; k < c.n_kl; k++)
            assert_true(c.kl[k] > -1e-9 && c.kl[k] < 0.05); /* 8 bits: close to the base */
        seen = true;
        bl_free(path);
    }
    assert_true(seen);
    bl_list_free(name, n);
    bl_arena_free(a);
    study_end(&s);
}

static void an_interrupted_run_says_130_and_goes_on_where_it_was(void **state)
{
    (void)state;
    study s = study_begin(200);
    char again[4300];
    ran r = PROGRAM(&s, "run", STUDY(&s, s.out));
    expect(&r, 0, NULL);
    ran_free(&r);
    snprintf(again, sizeof again, "%s/again", s.dir);
    started p = BEGIN(&s, "after-batch:2", "run", STUDY(&s, again));
    r = program_interrupt(&p);
    expect(&r, 130, "run the same command again");
    ran_free(&r);
    r = PROGRAM(&s, "run", STUDY(&s, again));
    expect(&r, 0, NULL);
    ran_free(&r);
    assert_int_equal(assert_same_results(s.out, again), 3);
    study_end(&s);
}

static void two_runs_on_one_directory_share_the_work(void **state)
{
    (void)state;
    study s = study_begin(60);
    char shared[4300];
    ran r = PROGRAM(&s, "run", STUDY(&s, s.out));
    expect(&r, 0, NULL);
    ran_free(&r);
    snprintf(shared, sizeof shared, "%s/shared", s.dir);
    started p[2];
    for (int i = 0; i < 2; i++) p[i] = BEGIN(&s, NULL, "run", STUDY(&s, shared));
    for (int i = 0; i < 2; i++) {
        r = program_end(&p[i]);
        expect(&r, 0, "all 3 cells are done");
        ran_free(&r);
    }
    assert_int_equal(assert_same_results(s.out, shared), 3);
    study_end(&s);
}

static void a_missing_data_set_is_n_a_and_the_rest_goes_on(void **state)
{
    (void)state;
    study s = study_begin(5);
    ran r = PROGRAM(&s, "run", "--model", s.model, "--method", "base", "--task", "piqa,boolq", "--data", s.data,
                    "--out", s.out);
    expect(&r, 1, "of 2 cells 0 failed, 1 n/a");
    ran_free(&r);
    assert_int_equal(count_ending(s.out, ".h5"), 1);
    r = PROGRAM(&s, "table", s.out, "--format", "csv");
    expect(&r, 0, NULL);
    assert_non_null(strstr(r.out, ",n/a,"));
    ran_free(&r);
    r = PROGRAM(&s, "run", "--model", s.model, "--method", "base", "--task", "boolq", "--data", s.data, "--out", s.out);
    expect(&r, 2, "boolq");
    ran_free(&r);
    study_end(&s);
}

/* A model of 96 positions, 72 wide in heads of 18: what does not go with it is known from shapes and names alone. */
static void what_does_not_go_together_is_n_a_in_plan_run_and_table(void **state)
{
    (void)state;
    static const struct {
        const char *key, *reason;
    } rows[] = {
        {"noise/base/primer:gptq2048/0", "windows of 2048 tokens do not fit the model's 96 positions"},
        {"noise/rtn:w4pc/primer:gptq2048/0", "windows of 2048 tokens do not fit the model's 96 positions"},
        {"noise/rtn:w4g80/piqa/0", "group 80 is larger than the 72 inputs of model.layers.0.self_attn.q_proj"},
        {"noise/quarot/piqa/0", "a head is 18 wide, for which there is no Hadamard matrix here; +r2=false"},
        {"noise/quarot+r2=false+r4=false+quarot+r2=false+r4=false/piqa/0",
         "model.layers.0.self_attn.o_proj has transforms or adapters; quarot comes before what adds them"},
        {"noise/quarot+r1=false+r2=false+heads=false+r4=false/piqa/0",
         "quarot with every rotation switched off leaves the model as it is"},
        {"noise/gptq:w4pc/piqa/0", "calibration windows of 97 tokens are longer than the model's 96 positions"},
    };
    study s = study_begin(4);
    char *const variants = bl_join(s.out, "variants", &(bl_err){0});
    static const char *const verbs[] = {"plan", "run", "plan"};
    for (size_t v = 0; v < BL_COUNT(verbs); v++) {
        ran r = PROGRAM(&s, verbs[v], "--model", s.model, "--method",
                        "base,rtn:w4pc,rtn:w4g80,quarot,quarot+r2=false+r4=false+quarot+r2=false+r4=false,"
                        "quarot+r1=false+r2=false+heads=false+r4=false,gptq:w4pc",
                        "--task", "piqa,primer:gptq2048", "--data", s.data, "--out", s.out, "--calib", "primer:test",
                        "--calib-seqlen", "97");
        expect(&r, v == 1 ? 1 : 0, v == 0 ? NULL : v == 1 ? "of 14 cells 0 failed, 12 n/a" : NULL);
        if (v != 1)
            assert_non_null(strstr(r.out, v ? "14 cells: 2 done, 0 open, 0 failed before, 12 n/a"
                                            : "14 cells: 0 done, 2 open, 0 failed before, 12 n/a"));
        for (size_t i = 0; i < BL_COUNT(rows); i++) {
            const char *line = strstr(v == 1 ? r.err : r.out, rows[i].key), *end = line ? strchr(line, '\n') : NULL;
            const char *word = line ? strstr(line, " n/a") : NULL, *why = line ? strstr(line, rows[i].reason) : NULL;
            if (!word || word > end || !why || why > end) fail_msg("%s of %s: %.300s", verbs[v], rows[i].key, line);
        }
        ran_free(&r);
    }
    assert_int_equal(count_ending(variants, ""), 1); /* nothing was made for the others */
    ran r = PROGRAM(&s, "table", s.out, "--failed");
    expect(&r, 0, NULL);
    for (size_t i = 0; i < BL_COUNT(rows); i++) {
        char line[512];
        snprintf(line, sizeof line, "| %s | n/a | ", rows[i].key);
        const char *at = strstr(r.out, line);
        if (!at || strstr(at, rows[i].reason) > strchr(at, '\n')) fail_msg("'%s' is not in\n%s", line, r.out);
    }
    ran_free(&r);
    r = PROGRAM(&s, "plan", "--model", s.model, "--method", "quarot", "--task", "piqa", "--data", s.data);
    expect(&r, 2, "no cell of this study can be run; noise/quarot/piqa/0: a head is 18 wide");
    assert_non_null(strstr(r.out, " n/a "));
    ran_free(&r);
    r = PROGRAM(&s, "quantize", s.model, "--method", "fp16+rtn:w4g80", "-o", variants);
    expect(&r, 2, "group 80 is larger than the 72 inputs");
    ran_free(&r);
    bl_free(variants);
    study_end(&s);
}

/* What is found only while a cell runs has failed, in the run, in the plan after it, in the table; and is tried again.
 */
static void what_fails_has_failed_everywhere(void **state)
{
    (void)state;
    study s = study_begin(4);
    static const char *const verbs[] = {"run", "plan", "run", "table"};
    char tok[4300];
    snprintf(tok, sizeof tok, "%s/model/tok.bin", s.dir);
    study_write(s.dir, "model/tok.bin", "x");
    for (size_t v = 0; v < BL_COUNT(verbs); v++) {
        bool table = v == 3;
        ran r = table ? PROGRAM(&s, "table", s.out, "--failed")
                      : PROGRAM(&s, verbs[v], "--model", s.model, "--method", "base", "--task", "piqa", "--data",
                                s.data, "--out", s.out);
        expect(&r, strcmp(verbs[v], "run") ? 0 : 1, strcmp(verbs[v], "run") ? NULL : "of 1 cells 1 failed, 0 n/a");
        const char *text = strcmp(verbs[v], "run") ? r.out : r.err, *line = strstr(text, "noise/base/piqa/0");
        if (!line || !strstr(line, "failed") || !strstr(line, "1 bytes are no tokenizer"))
            fail_msg("%s: %s", verbs[v], text);
        assert_null(strstr(line, "n/a:"));
        ran_free(&r);
    }
    study_end(&s);
}

/* A weight that is 1e38: the model still answers, as its norms divide by it, but a block that learns to do what it did
 * finds gradients beyond f32. The steps before it are kept, and the rest of the study goes on. */
static float one_beyond(const void *ctx, int64_t i)
{
    return *(const uint64_t *)ctx == 6 && i == 72 * 100 ? 1e38f : tiny_random(ctx, i); /* down_proj of block 1 */
}

static void a_block_that_diverges_fails_alone_with_its_curve(void **state)
{
    static const tiny t = {
        .dim = 72, .hidden = 100, .layers = 3, .heads = 4, .kv_heads = 2, .vocab = 300, .max_len = 96};
    static const uint64_t seed[2] = {100, 101};
    (void)state;
    study s = study_begin(4);
    bl_err e = {0};
    bl_arena *a;
    bl_curve c;
    char spec[14000], **names;
    size_t n, curves = 0;
    tiny_write(s.model, &t, tiny_random, &seed[0], one_beyond, tiny_random, &seed[1]);
    snprintf(spec, sizeof spec,
             "{\"models\": [\"%s\"], \"methods\": [\"base\", \"efficientqat:w4g24+epochs=2\", "
             "\"efficientqat:w4g24+epochs=0\"], \"tasks\": [\"piqa\"], \"data\": [\"%s\"], \"out\": \"%s\", "
             "\"calib\": {\"data\": \"primer:test\", \"n\": 6, \"seqlen\": 48}, \"threads\": 1}",
             s.model, s.data, s.out);
    study_write(s.dir, "study.json", spec);
    char *path = bl_join(s.dir, "study.json", &e), *variants = bl_join(s.out, "variants", &e);
    ran r = PROGRAM(&s, "run", path);
    expect(&r, 1, "of 3 cells 1 failed");
    ran_free(&r);
    assert_int_equal(count_ending(s.out, ".h5"), 2);
    r = PROGRAM(&s, "table", s.out, "--failed");
    expect(&r, 0, NULL);
    assert_non_null(strstr(r.out, "noise/efficientqat:w4g24/piqa/0 | failed | "));
    assert_non_null(strstr(r.out, " is not finite"));
    ran_free(&r);
    assert_ok(bl_arena_new(&a, &e));
    assert_ok(bl_dir_list(variants, &names, &n, &e));
    for (size_t i = 0; i < n; i++) {
        if (!strstr(names[i], BL_CURVE_ENDING)) continue;
        char *curve = bl_join(variants, names[i], &e);
        assert_ok(bl_curve_read(curve, a, &c, &e));
        assert_int_equal(c.n, 2 * 3); /* epochs by steps of two windows, of block 0 */
        for (int64_t k = 0; k < c.n; k++) assert_true(c.block[k] == 0 && isfinite(c.loss[k]));
        curves++;
        bl_free(curve);
    }
    assert_int_equal(curves, 1);
    bl_list_free(names, n);
    bl_arena_free(a);
    bl_free(path);
    bl_free(variants);
    study_end(&s);
}

static void a_shard_that_does_not_check_is_set_aside_and_made_again(void **state)
{
    (void)state;
    study s = study_begin(5);
    bl_err e = {0};
    ran r = PROGRAM(&s, "run", STUDY(&s, s.out));
    expect(&r, 0, NULL);
    ran_free(&r);
    char **name;
    size_t n;
    assert_ok(bl_dir_list(s.out, &name, &n, &e));
    for (size_t i = 0; i < n; i++)
        if (strstr(name[i], "rtn_w2") || strstr(name[i], "rtn:w2")) {
            char *path = bl_join(s.out, name[i], &e), byte = 0;
            int fd = open(path, O_RDWR);
            assert_true(fd >= 0 && pread(fd, &byte, 1, 5000) == 1);
            byte ^= 4;
            assert_true(pwrite(fd, &byte, 1, 5000) == 1);
            close(fd);
            bl_free(path);
        }
    bl_list_free(name, n);
    r = PROGRAM(&s, "table", s.out);
    expect(&r, 1, "skipped");
    ran_free(&r);
    r = PROGRAM(&s, "run", STUDY(&s, s.out));
    expect(&r, 0, NULL);
    ran_free(&r);
    assert_int_equal(count_ending(s.out, ".corrupt"), 1);
    assert_int_equal(count_ending(s.out, ".h5"), 3);
    study_end(&s);
}

static void a_stopped_journal_line_costs_one_item(void **state)
{
    (void)state;
    study s = study_begin(200);
    char again[4300];
    bl_err e = {0};
    ran r = PROGRAM(&s, "run", STUDY(&s, s.out));
    expect(&r, 0, NULL);
    ran_free(&r);
    snprintf(again, sizeof again, "%s/again", s.dir);
    started p = BEGIN(&s, "after-batch:2", "run", STUDY(&s, again));
    r = program_interrupt(&p); /* an interrupted cell keeps the samples that it has */
    expect(&r, 130, NULL);
    ran_free(&r);
    char **name;
    size_t n;
    assert_ok(bl_dir_list(again, &name, &n, &e));
    for (size_t i = 0; i < n; i++)
        if (strstr(name[i], ".part.jsonl")) { /* tear the last line */
            char *path = bl_join(again, name[i], &e);
            int fd = open(path, O_RDWR);
            off_t size = lseek(fd, 0, SEEK_END);
            assert_true(size > 1000);
            assert_int_equal(ftruncate(fd, size - 7), 0);
            close(fd);
            bl_free(path);
        }
    bl_list_free(name, n);
    r = PROGRAM(&s, "run", STUDY(&s, again));
    expect(&r, 0, NULL);
    ran_free(&r);
    assert_int_equal(assert_same_results(s.out, again), 3);
    study_end(&s);
}

static const struct {
    const char *args[16];
    int code;
    const char *phrase;
} refused[] = {
    {{"run", "--model", "MODEL", "--method", "base", "--task", "piqaa", "--out", "OUT"}, 2, "did you mean piqa?"},
    {{"run", "--model", "MODEL", "--method", "rtm:w4", "--task", "piqa", "--out", "OUT"}, 2, "did you mean rtn?"},
    {{"run", "--model", "MODEL", "--method", "rtn:w9", "--task", "piqa", "--out", "OUT"}, 2, "9"},       /* R86 */
    {{"run", "--model", "MODEL", "--method", "rtn:w4g0", "--task", "piqa", "--out", "OUT"}, 2, "group"}, /* R87 */
    {{"run", "--model", "MODEL", "--method", "rtn:w4g4096", "--task", "piqa", "--out", "OUT"}, 2, "larger than"},
    {{"run", "--model", "MODEL", "--model", "MODEL", "--method", "base", "--task", "piqa", "--out", "OUT"},
     2,
     "is named twice"},
    {{"run", "--model", "MODEL", "--method", "base,base", "--task", "piqa", "--out", "OUT"},
     2,
     "comes twice"}, /* R91 */
    {{"run", "--model", "MODEL", "--method", "base", "--task", "piqa", "--seed", "18446744073709551616", "--out",
      "OUT"},
     2,
     "seed"}, /* R90 */
    {{"run", "--model", "NOWHERE", "--method", "base", "--task", "piqa", "--out", "OUT"}, 2, "NOWHERE"},
    {{"run", "--model", "MODEL", "--method", "base", "--task", "piqa"}, 2, "--out"},
    {{"run", "--model", "MODEL", "--method", "base", "--task", "piqa", "--out", ""}, 2, "no output directory"},
    {{"run", "--model", "MODEL", "--method", "base", "--task", "piqa", "--out", "OUT", "--only", "nothing"},
     2,
     "matches none"},
    {{"run", "--model", "MODEL", "--method", "base", "--task", "piqa", "--out", "OUT", "--set", "gruop=3"},
     2,
     "no method"},
    {{"run", "--model", "MODEL", "--method", "rtn:w4", "--task", "piqa", "--out", "OUT", "--set", "abits=1"},
     2,
     "--set abits=1: method rtn: abits: activations need at least 2 bits"},
    {{"run", "--model", "MODEL", "--method", "rtn:w4+act-group=32", "--task", "piqa", "--out", "OUT"},
     2,
     "act-group: activations that are not quantized have no scale"},
    {{"run", "--model", "MODEL", "--method", "base", "--task", "piqa", "--out", "OUT", "--limt", "3"}, 2, "limit"},
    {{"run", "--model", "MODEL", "--method", "base", "--task", "piqa", "--out", "OUT", "--device", "gpu:9"},
     2,
     "no device 'gpu:9'; there are: cpu"},
    {{"plan", "--model", "MODEL", "--method", "base", "--task", "primer_choice", "--device", "gpu:9"},
     2,
     "no device 'gpu:9'; there are: cpu"},
    {{"tabel", "OUT"}, 2, "did you mean table?"},
    {{"table", "NOWHERE"}, 2, "NOWHERE"},
    {{"score", "--model", "MODEL", "NOWHERE"}, 2, "NOWHERE"},
    {{"list", "method"}, 2, "did you mean methods?"},
    {{"show", "rtnn"}, 2, "did you mean rtn?"},
};

static void wrong_words_are_refused_with_a_sentence_before_work(void **state)
{
    (void)state;
    study s = study_begin(3);
    for (size_t i = 0; i < BL_COUNT(refused); i++) {
        const char *argv[20] = {"bitladder"};
        int n = 1;
        for (int k = 0; refused[i].args[k]; k++) {
            const char *a = refused[i].args[k];
            argv[n++] = strcmp(a, "MODEL") == 0 ? s.model : strcmp(a, "OUT") == 0 ? s.out : a;
        }
        if (strcmp(argv[1], "run") == 0) {
            argv[n++] = "--data";
            argv[n++] = s.data;
        }
        ran r = program_with(&s, NULL, argv);
        expect(&r, refused[i].code, refused[i].phrase);
        assert_memory_equal(r.err, "bitladder: ", 11);
        assert_true(strchr(r.err, '\n') == r.err + strlen(r.err) - 1); /* one line */
        assert_int_equal(count_ending(s.out, ".h5"), 0);
        ran_free(&r);
    }
    study_end(&s);
}

static const struct {
    const char *text;
    const char *phrase;
} specs[] = {
    {"{\"models\": [\"m\"], \"method\": [\"base\"]}", "did you mean methods?"}, /* R85 */
    {"{\"models\": [\"m\"], \"methods\": [{\"rtn\": {\"wbits\": 2.5}}], \"tasks\": [\"piqa\"]}", "wbits"},
    {"{\"models\": [\"m\"], \"methods\": [{\"rtn\": {\"wbits\": \"four\"}}], \"tasks\": [\"piqa\"]}", "wbits"},
    {"{\"models\": [\"m\"], \"methods\": [{\"rtn\": {\"wbit\": 4}}], \"tasks\": [\"piqa\"]}", "did you mean wbits?"},
    {"{\"models\": [\"m\"], \"methods\": [{\"rtn\": {\"wbits\": []}}], \"tasks\": [\"piqa\"]}", "empty"},
    {"{\"models\": [], \"methods\": [\"base\"], \"tasks\": [\"piqa\"]}", "empty"},
    {"{\"models\": [\"m\"], \"models\": [\"n\"]}", "models"},
    {"{\"models\": [\"m\"], \"methods\": [\"base\"], \"tasks\": [\"piqa\"], \"limit\": -1}", "limit"},
    {"[1, 2]", "object"},
    {"{\"models\": [\"m\"", "the text ends here"},
    {"", "the text ends here"},
};

static void wrong_specs_are_refused(void **state)
{
    (void)state;
    study s = study_begin(1);
    for (size_t i = 0; i < BL_COUNT(specs); i++) {
        ran r = program_with(&s, specs[i].text, (const char *const[]){"bitladder", "plan", "-", NULL});
        expect(&r, 2, specs[i].phrase);
        ran_free(&r);
    }
    study_end(&s);
}

static void a_study_that_is_too_large_or_on_its_model_is_refused(void **state)
{
    (void)state;
    study s = study_begin(1);
    char dir[4300];
    bl_text t = {0};
    snprintf(dir, sizeof dir, "%s/q", s.dir);
    ran r = PROGRAM(&s, "quantize", s.model, "--method", "rtn:w4g24", "-o", dir);
    expect(&r, 0, NULL);
    ran_free(&r);
    r = PROGRAM(&s, "run", "--model", dir, "--method", "base", "--task", "piqa", "--data", s.data, "--out", dir);
    expect(&r, 2, "is the model's own directory"); /* R89 */
    ran_free(&r);
    assert_int_equal(count_ending(dir, ".h5") + count_ending(dir, "log.txt"), 0);

    bl_text_addf(&t, "{\"models\": [\"%s\"], \"methods\": [\"base\", \"fp16\"], \"tasks\": [\"piqa\"], \"seeds\": [0",
                 s.model);
    for (int i = 1; i <= 50000; i++) bl_text_addf(&t, ", %d", i);
    bl_text_add(&t, "]}");
    r = program_with(&s, t.s, (const char *const[]){"bitladder", "plan", "-", NULL});
    expect(&r, 2, "are more than 100000 cells; pass --many"); /* R88 */
    ran_free(&r);
    bl_text_free(&t);
    study_end(&s);
}

static void lists_of_a_spec_multiply(void **state) /* R92 */
{
    (void)state;
    study s = study_begin(3);
    bl_text t = {0};
    bl_text_addf(&t,
                 "{ // a comment\n \"models\": [\"%s\"], \"methods\": [\"base\", {\"rtn\": {\"wbits\": [4, 3], "
                 "\"group\": [24, -1]}}],\n \"tasks\": [\"piqa\"], \"seeds\": [0, 1], \"data\": [\"%s\"],}\n",
                 s.model, s.data);
    ran r = program_with(&s, t.s, (const char *const[]){"bitladder", "plan", "-", NULL});
    expect(&r, 0, NULL);
    assert_non_null(strstr(r.out, "10 cells"));
    assert_non_null(strstr(r.out, "noise/rtn:w3pc/piqa/1"));
    ran_free(&r);
    r = program_with(
        &s, t.s, (const char *const[]){"bitladder", "plan", "-", "--only", "*/rtn:w3*/*/0", "--set", "wbits=2", NULL});
    expect(&r, 2, NULL); /* nothing has 3 bits any more */
    ran_free(&r);
    bl_text_free(&t);
    study_end(&s);
}

static void what_set_makes_of_a_method_is_what_runs(void **state)
{
    (void)state;
    study s = study_begin(3); /* the range does not apply at one bit: it is no part of the name */
    ran r = PROGRAM(&s, "run", "--model", s.model, "--method", "rtn:w4g24+range=minmax", "--set", "wbits=1", "--task",
                    "piqa", "--data", s.data, "--out", s.out);
    expect(&r, 0, "the cell is done");
    ran_free(&r);
    r = PROGRAM(&s, "table", s.out, "--format", "csv");
    expect(&r, 0, NULL);
    assert_non_null(strstr(r.out, ",rtn:w1g24,1,24,piqa,"));
    ran_free(&r);
    study_end(&s);
}

/* What the engine does about memory is said, where somebody asks and in the run's own log, and changes no number. */
static void what_the_log_says_is_shown_when_asked_for_and_kept(void **state)
{
    (void)state;
    static const char *const lines[] = {"numerics=cpu-f32", " reason=memory", "cell=noise/base/piqa/0 status=done"};
    study s = study_begin(40);
    bl_err e = {0};
    char out[4300], *log;
    size_t n;
    snprintf(out, sizeof out, "%s/little", s.dir);
    ran r = PROGRAM(&s, "run", "--model", s.model, "--method", "base", "--task", "piqa", "--data", s.data, "--out",
                    s.out, "--threads", "1");
    expect(&r, 0, NULL);
    for (size_t i = 0; i < BL_COUNT(lines); i++) assert_null(strstr(r.err, lines[i]));
    ran_free(&r);
    r = PROGRAM(&s, "run", "--model", s.model, "--method", "base", "--task", "piqa", "--data", s.data, "--out", out,
                "--threads", "1", "--mem-limit", "1", "--verbose");
    expect(&r, 0, NULL);
    char *path = bl_join(out, "log.txt", &e);
    assert_ok(bl_read_file(path, 1 << 20, &log, &n, &e));
    for (size_t i = 0; i < BL_COUNT(lines); i++) {
        if (!strstr(r.err, lines[i])) fail_msg("'%s' is not shown:\n%s", lines[i], r.err);
        if (!strstr(log, lines[i])) fail_msg("'%s' is not in the log:\n%s", lines[i], log);
    }
    bl_free(path);
    bl_free(log);
    ran_free(&r);
    assert_int_equal(assert_same_results(s.out, out), 1);

    bl_text requests = {0}; /* the same of a verb that computes by itself */
    for (int i = 0; i < 60; i++) bl_text_add(&requests, "{\"text\": \"make 3 of b and cut c and fold the a\"}\n");
    for (int i = 0; i < 2; i++) {
        const char *const argv[] = {
            "bitladder", "score", "--model", s.model, "--mem-limit", "1", "-", i ? "--log-level=info" : NULL, NULL};
        r = program_with(&s, requests.s, argv);
        expect(&r, 0, NULL);
        assert_int_equal(strstr(r.err, " reason=memory") != NULL, i);
        ran_free(&r);
    }
    bl_text_free(&requests);
    study_end(&s);
}

static void another_limit_or_other_data_is_another_cell(void **state)
{
    (void)state;
    study s = study_begin(8);
    static const char *const limit[] = {"3", "5", "0"}, *const all[] = {"--limit", "8",        "--limit",
                                                                        "1000",    "--sample", "9"};
    for (size_t i = 0; i < BL_COUNT(limit); i++) {
        ran r = PROGRAM(&s, "run", "--model", s.model, "--method", "base", "--task", "piqa", "--data", s.data, "--out",
                        s.out, "--limit", limit[i]);
        expect(&r, 0, NULL);
        ran_free(&r);
        assert_int_equal(count_ending(s.out, ".h5"), i + 1);
    }
    for (size_t i = 0; i < BL_COUNT(all); i += 2) { /* as many as there are, or more: the cell of all items */
        ran r = PROGRAM(&s, "run", "--model", s.model, "--method", "base", "--task", "piqa", "--data", s.data, "--out",
                        s.out, all[i], all[i + 1]);
        expect(&r, 0, NULL);
        ran_free(&r);
        assert_int_equal(count_ending(s.out, ".h5"), BL_COUNT(limit));
    }
    study_piqa(s.data, 9); /* the same names, one row more */
    ran r = PROGRAM(&s, "run", "--model", s.model, "--method", "base", "--task", "piqa", "--data", s.data, "--out",
                    s.out);
    expect(&r, 0, NULL);
    ran_free(&r);
    assert_int_equal(count_ending(s.out, ".h5"), 4);
    study_end(&s);
}

/* Their numbers are near, and stand in rows of their own. */
static void another_format_of_keys_and_values_is_another_cell(void **state)
{
    (void)state;
    study s = study_begin(8);
    static const char *const kv[] = {"act", "int8"};
    for (size_t i = 0; i < BL_COUNT(kv); i++) {
        ran r = PROGRAM(&s, "run", "--model", s.model, "--method", "base", "--task", "piqa", "--data", s.data, "--out",
                        s.out, "--kv", kv[i]);
        expect(&r, 0, NULL);
        ran_free(&r);
        assert_int_equal(count_ending(s.out, ".h5"), i + 1);
    }
    ran r = PROGRAM(&s, "table", s.out, "--format", "csv");
    expect(&r, 0, NULL);
    assert_non_null(strstr(r.out, ",cpu-f32,"));
    assert_non_null(strstr(r.out, ",cpu-f32-kv:int8,"));
    ran_free(&r);
    study_end(&s);
}

/* In a study that keeps keys and values as codes everything, the base too, is compared with the base that does not. */
static void few_bits_of_keys_and_values_are_measured_against_none(void **state)
{
    (void)state;
    study s = study_begin(8);
    bl_err e = {0};
    ran r;
    for (int again = 0; again < 2; again++) { /* the second finds all of it done */
        r = PROGRAM(&s, "run", "--model", s.model, "--method", "base,rtn:w4g24", "--task", "piqa", "--data", s.data,
                    "--out", s.out, "--kv", "int8");
        expect(&r, 0, "all 3 cells are done");
        assert_true((strstr(r.err, "[3/3]") != NULL) == !again);
        ran_free(&r);
    }
    r = PROGRAM(&s, "plan", "--model", s.model, "--method", "base", "--task", "piqa", "--data", s.data, "--out", s.out);
    expect(&r, 0, NULL);
    assert_non_null(strstr(r.out, "1 cell: 1 done")); /* the same cell as in a study without codes */
    ran_free(&r);
    char **names;
    size_t n;
    int bases = 0, others = 0;
    assert_ok(bl_dir_list(s.out, &names, &n, &e));
    for (size_t i = 0; i < n; i++) {
        bl_arena *a;
        bl_cell c;
        if (!strstr(names[i], ".h5")) continue;
        char *path = bl_join(s.out, names[i], &e);
        assert_ok(bl_arena_new(&a, &e));
        assert_ok(bl_cell_read(path, true, a, &c, &e));
        if (strcmp(c.numerics, "cpu-f32") == 0) {
            assert_string_equal(c.method, "base");
            assert_int_equal(c.n_kl, 0);
            assert_null(strstr(c.notes, "against"));
            bases++;
        } else {
            double most = 0;
            for (int64_t k = 0; k < c.n_kl; k++) most = fmax(most, c.kl[k]);
            assert_true(c.n_kl > 0 && most > 1e-9); /* 8-bit keys and values are not the same */
            assert_non_null(strstr(c.notes, "KL and flips against the base with keys and values as activations"));
            others++;
        }
        bl_arena_free(a);
        bl_free(path);
    }
    assert_true(bases == 1 && others == 2);
    bl_list_free(names, n);
    study_end(&s);
}

static void odd_paths_work(void **state)
{
    (void)state;
    study s = study_begin(3);
    char out[4300];
    snprintf(out, sizeof out, "%s/a 'b' \"c\"\n$(d) ü", s.dir);
    ran r = PROGRAM(&s, "run", STUDY(&s, out));
    expect(&r, 0, NULL);
    ran_free(&r);
    assert_int_equal(count_ending(out, ".h5"), 3);
    r = PROGRAM(&s, "table", out);
    expect(&r, 0, NULL);
    ran_free(&r);
    study_end(&s);
}

static void a_place_that_cannot_be_written_is_said_before_work(void **state)
{
    (void)state;
    study s = study_begin(3);
    char out[4300];
    study_write(s.dir, "file", "x");
    snprintf(out, sizeof out, "%s/file/out", s.dir);
    ran r = PROGRAM(&s, "run", STUDY(&s, out));
    expect(&r, 4, "file");
    ran_free(&r);
    study_end(&s);
}

static void a_quantized_directory_scores_as_the_run_did(void **state)
{
    (void)state;
    study s = study_begin(4);
    char dir[4300], tok[4300];
    static const char request[] =
        "{\"context\": \"make 3 of b\", \"continuation\": \" cut c\"}\n{\"text\": \"fold the a\"}\n";
    snprintf(tok, sizeof tok, "%s/model/tok.bin", s.dir);
    for (int i = 0; i < 2; i++) {
        static const char *const method[] = {"base", "rtn:w3g24"};
        snprintf(dir, sizeof dir, "%s/q%d", s.dir, i);
        ran r = PROGRAM(&s, "quantize", s.model, "--method", method[i], "-o", dir);
        expect(&r, 0, NULL);
        ran_free(&r);
        r = PROGRAM(&s, "inspect", dir);
        expect(&r, 0, NULL);
        ran_free(&r);
        ran a = program_with(&s, request, (const char *const[]){"bitladder", "score", "--model", dir, "-", NULL});
        ran b = program_with(&s, request, (const char *const[]){"bitladder", "score", "--model", s.model, "-", NULL});
        expect(&a, 0, NULL);
        expect(&b, 0, NULL);
        if (i == 0) assert_string_equal(a.out, b.out);
        else assert_string_not_equal(a.out, b.out);
        int lines = 0;
        for (const char *p = a.out; *p; p++) lines += *p == '\n';
        assert_int_equal(lines, 2);
        ran_free(&a);
        ran_free(&b);
        r = PROGRAM(&s, "quantize", s.model, "--method", method[i], "-o", dir); /* never over something that is there */
        expect(&r, 2, "not empty");
        ran_free(&r);
    }
    study_end(&s);
}

/* What is beside bitladder.json is part of a saved model: a directory without all of it is none. */
static void a_saved_model_with_a_file_missing_is_refused(void **state)
{
    (void)state;
    study s = study_begin(2);
    char dir[4300], list[4400], layers[4400], kept[4400];
    bl_err e = {0};
    snprintf(dir, sizeof dir, "%s/saved", s.dir);
    snprintf(list, sizeof list, "%s/bitladder.json", dir);
    snprintf(layers, sizeof layers, "%s/layers.json", dir);
    snprintf(kept, sizeof kept, "%s/kept", s.dir);
    ran r = PROGRAM(&s, "quantize", s.model, "--method", "rtn:w4g24", "-o", dir);
    expect(&r, 0, NULL);
    ran_free(&r);
    r = PROGRAM(&s, "inspect", dir);
    expect(&r, 0, NULL);
    ran_free(&r);

    char *text;
    size_t n;
    assert_ok(bl_read_file(layers, 1 << 20, &text, &n, &e));
    assert_ok(bl_write_file(layers, text, n / 2, &e));
    r = PROGRAM(&s, "inspect", dir);
    expect(&r, 2, "saved/layers.json");
    assert_non_null(strstr(r.err, ": line "));
    ran_free(&r);
    assert_ok(bl_rename(layers, kept, &e));
    r = PROGRAM(&s, "inspect", dir);
    expect(&r, 2, "saved/layers.json is missing");
    ran_free(&r);
    assert_ok(bl_write_file(layers, text, n, &e));
    assert_ok(bl_rename(list, kept, &e));
    static const char *const verbs[] = {"inspect", "quantize"};
    for (size_t i = 0; i < BL_COUNT(verbs); i++) {
        r = i ? PROGRAM(&s, verbs[i], dir, "--method", "rtn:w4", "-o", s.out) : PROGRAM(&s, verbs[i], dir);
        expect(&r, 2, "saved: bitladder.json is missing, which says what the files of a saved model are");
        ran_free(&r);
    }
    bl_free(text);
    study_end(&s);
}

static void every_verb_has_help_and_the_pages_name_them(void **state)
{
    (void)state;
    study s = study_begin(1);
    ran man = PROGRAM(&s, "internal", "man"), bash = PROGRAM(&s, "internal", "completion"), all = PROGRAM(&s, "--help");
    char verb[32];
    int n = 0;
    expect(&man, 0, NULL);
    expect(&bash, 0, NULL);
    assert_null(strstr(man.out, "(null)"));
    for (const char *at = all.out; (at = strstr(at, "\n  ")) != NULL; at += 3) { /* "  init      a commented study" */
        if (sscanf(at, "\n  %31[a-z] ", verb) != 1 || at[3 + strlen(verb)] != ' ' || at[4 + strlen(verb)] != ' ')
            continue;
        ran r = PROGRAM(&s, verb, "--help");
        expect(&r, 0, NULL);
        if (!strstr(r.out, "usage: bitladder ") || !strstr(r.out, verb)) fail_msg("%s --help: %s", verb, r.out);
        ran_free(&r);
        assert_non_null(strstr(man.out, verb));
        assert_non_null(strstr(bash.out, verb));
        n++;
    }
    if (n < 25) fail_msg("%d verbs in: %s", n, all.out);
    ran_free(&man);
    ran_free(&bash);
    ran_free(&all);
    study_end(&s);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_study_leaves_one_shard_a_cell_and_a_second_run_does_nothing),
        cmocka_unit_test(numbers_do_not_depend_on_batch_threads_streaming_or_kernels),
        cmocka_unit_test(a_distance_is_of_every_scored_token_and_small_at_eight_bits),
        cmocka_unit_test(an_interrupted_run_says_130_and_goes_on_where_it_was),
        cmocka_unit_test(two_runs_on_one_directory_share_the_work),
        cmocka_unit_test(a_missing_data_set_is_n_a_and_the_rest_goes_on),
        cmocka_unit_test(what_does_not_go_together_is_n_a_in_plan_run_and_table),
        cmocka_unit_test(what_fails_has_failed_everywhere),
        cmocka_unit_test(a_block_that_diverges_fails_alone_with_its_curve),
        cmocka_unit_test(a_shard_that_does_not_check_is_set_aside_and_made_again),
        cmocka_unit_test(a_stopped_journal_line_costs_one_item),
        cmocka_unit_test(wrong_words_are_refused_with_a_sentence_before_work),
        cmocka_unit_test(wrong_specs_are_refused),
        cmocka_unit_test(a_study_that_is_too_large_or_on_its_model_is_refused),
        cmocka_unit_test(lists_of_a_spec_multiply),
        cmocka_unit_test(what_set_makes_of_a_method_is_what_runs),
        cmocka_unit_test(what_the_log_says_is_shown_when_asked_for_and_kept),
        cmocka_unit_test(another_limit_or_other_data_is_another_cell),
        cmocka_unit_test(another_format_of_keys_and_values_is_another_cell),
        cmocka_unit_test(few_bits_of_keys_and_values_are_measured_against_none),
        cmocka_unit_test(odd_paths_work),
        cmocka_unit_test(a_place_that_cannot_be_written_is_said_before_work),
        cmocka_unit_test(a_quantized_directory_scores_as_the_run_did),
        cmocka_unit_test(a_saved_model_with_a_file_missing_is_refused),
        cmocka_unit_test(every_verb_has_help_and_the_pages_name_them),
    };
    return cmocka_run_group_tests_name("whole studies", tests, NULL, NULL);
}
