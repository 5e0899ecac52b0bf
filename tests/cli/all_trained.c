/* Every method that learns, through the program: a run that is killed and goes on ends in the bytes of one that was
 * not, and takes the memory that its plan said. */
#include "kill_fixture.h"
#include "learner_text.h"
#include "tiny_model.h"
#include "methods/registry.h"

static const char *tail[] = {"--data",         "@dir/three.jsonl",
                             "--calib",        "primer:test",
                             "--calib-n",      "3",
                             "--calib-seqlen", "48",
                             "--batch",        "2",
                             "--lr",           "0.002",
                             "--threads",      "1",
                             "--steps",        "3",
                             "--save-every",   "1"};

/* argv of a run of `text` into `out`; `more`: one further option or NULL. */
static void arguments(const char *text, const char *out, const char *more, const char *argv[40])
{
    const char *const head[] = {"finetune", "@dir/model/even.bin", "--method", text, "-o", out};
    size_t n = 0;
    argv[n++] = "bitladder";
    for (size_t i = 0; i < BL_COUNT(head); i++) argv[n++] = i == 3 ? head[i] : filled(head[i]);
    for (size_t i = 0; i < BL_COUNT(tail); i++) argv[n++] = filled(tail[i]);
    if (more) argv[n++] = more;
    argv[n] = NULL;
}

static void same_tensors(const char *text)
{
    bl_err e = {0};
    char **names;
    size_t n, compared = 0;
    assert_ok(bl_dir_list(filled("@dir/whole"), &names, &n, &e));
    for (size_t i = 0; i < n; i++) {
        if (!strstr(names[i], ".safetensors")) continue;
        char *a = bl_join(filled("@dir/whole"), names[i], &e), *b = bl_join(filled("@dir/killed"), names[i], &e), *p,
             *q;
        size_t np, nq;
        assert_ok(bl_read_file(a, 1 << 28, &p, &np, &e));
        assert_ok(bl_read_file(b, 1 << 28, &q, &nq, &e));
        if (np != nq || memcmp(p, q, np) != 0) fail_msg("%s: %s is another after the run was killed", text, names[i]);
        compared++;
        bl_free(a);
        bl_free(b);
        bl_free(p);
        bl_free(q);
    }
    assert_true(compared > 0);
    bl_list_free(names, n);
}

static void planned_as_it_was(const char *text, const char *out)
{
    bl_err e = {0};
    bl_json *j;
    int64_t planned, peak;
    assert_ok(bl_json_parse(out, strlen(out), text, BL_JSON_PLAIN, &j, &e));
    assert_ok(bl_json_get_int(j, "planned_bytes", &planned, &e));
    assert_ok(bl_json_get_int(j, "peak_bytes", &peak, &e));
    bl_json_free(j);
    if (!(fabs((double)(planned - peak)) <= 0.05 * (double)peak))
        fail_msg("%s: %lld bytes planned, %lld at most", text, (long long)planned, (long long)peak);
}

static void every_method_goes_on_bit_for_bit_in_the_memory_that_was_planned(void **state)
{
    static const tiny t = {
        .dim = 72, .hidden = 160, .layers = 3, .heads = 9, .kv_heads = 3, .vocab = 300, .max_len = 96};
    static const uint64_t seed[2] = {100, 101};
    char data[LEARNER_ROWS], text[LEARNER_TEXT];
    bl_err e = {0};
    int seen = 0;
    (void)state;
    learner_rows(data);
    study_write(S.dir, "three.jsonl", data);
    char path[4400];
    snprintf(path, sizeof path, "%s/model/even.bin", S.dir);
    tiny_write(path, &t, tiny_random, &seed[0], tiny_random, tiny_random, &seed[1]);
    for (size_t i = 0; bl_methods[i]; i++) {
        const char *argv[40];
        if (!bl_methods[i]->learns) continue;
        learner_text(bl_methods[i], text);
        arguments(text, "@dir/whole", "--json", argv);
        ran r = program_with(&S, NULL, argv);
        if (r.code) fail_msg("%s: %s", text, r.err);
        planned_as_it_was(text, r.out);
        ran_free(&r);
        arguments(text, "@dir/killed", "--resume", argv);
        kill_at("after-rename:2@killed.state", 0, argv);
        r = program_with(&S, NULL, argv);
        if (r.code) fail_msg("%s: %s", text, r.err);
        ran_free(&r);
        same_tensors(text);
        const char *const made[] = {"@dir/whole", "@dir/killed", "@dir/whole.curve.hdf5", "@dir/killed.curve.hdf5"};
        for (size_t k = 0; k < BL_COUNT(made); k++) assert_ok(bl_remove_tree(filled(made[k]), &e));
        seen++;
    }
    assert_true(seen > 5);
}

/* Without Fisher information no more than a block of the weights as they were is there: a shape is trained within a
 * limit that all of its weights are above. */
static void a_matrix_and_its_adapters_are_found_with_one_block_in_memory(void **state)
{
    (void)state;
    study_write(S.dir, "few.jsonl", "{\"ids\": [5, 9, 2, 7, 1, 3]}\n");
    for (int i = 0; i < 2; i++) {
        ran r = SAY(NULL, "finetune", "synth:lessons-5m", "--method",
                    i ? "lq-lora:2.75+plain+rank=2+rounds=1+grid-rounds=1" : "lora+rank=2", "--data", "@dir/few.jsonl",
                    "--steps", "1", "--device", "cpu", "--mem-limit", "8", "-o", "@dir/within");
        if (i) expect(&r, 0, NULL);
        else assert_non_null(strstr(r.err, "bytes do not fit"));
        ran_free(&r);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_method_goes_on_bit_for_bit_in_the_memory_that_was_planned),
        cmocka_unit_test(a_matrix_and_its_adapters_are_found_with_one_block_in_memory),
    };
    return cmocka_run_group_tests_name("all_trained", tests, begin_study, end_study);
}
