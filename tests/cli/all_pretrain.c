/* A model from nothing through the whole program. */
#include "study_fixture.h"
#include "variant_write.h"
#include "kernels/base/json.h"
#include "results/curve.h"
#include <unistd.h>

static void what_pretrain_writes_is_a_model_for_the_other_verbs(void **state)
{
    (void)state;
    bl_err e = {0};
    study s = study_begin(1);
    char out[4300], curve[4300], *text = NULL;
    size_t n;
    snprintf(out, sizeof out, "%s/new", s.dir);
    snprintf(curve, sizeof curve, "%s/curve", s.dir);
    ran r = PROGRAM(&s, "pretrain", "--device", "cpu", "--shape", "lessons-tiny", "--steps", "3", "--batch", "3",
                    "--warmup", "1", "--seed", "5", "-o", out, "--curve", curve);
    expect(&r, 0, NULL);
    assert_non_null(strstr(r.out, "3 steps"));
    ran_free(&r);

    assert_ok(bl_read_file(curve, 1 << 20, &text, &n, &e));
    int lines = 0;
    for (char *rest = text, *line; (line = strsep(&rest, "\n")) && *line; lines++) {
        bl_json *j = NULL;
        int64_t step;
        double loss, norm;
        assert_ok(bl_json_parse(line, strlen(line), "curve", BL_JSON_PLAIN, &j, &e));
        assert_ok(bl_json_get_int(j, "step", &step, &e));
        assert_ok(bl_json_get_real(j, "loss", &loss, &e));
        assert_ok(bl_json_get_real(j, "grad_norm", &norm, &e));
        assert_int_equal(step, lines + 1);
        assert_true(loss > 4 && loss < 5.5 && norm > 0);
        bl_json_free(j);
    }
    assert_int_equal(lines, 3);
    bl_free(text);
    bl_arena *a = NULL;
    bl_curve recorded;
    char record[4400];
    snprintf(record, sizeof record, "%s.curve.hdf5", out);
    assert_ok(bl_arena_new(&a, &e));
    assert_ok(bl_curve_read(record, a, &recorded, &e));
    assert_int_equal(recorded.n, 3);
    assert_true(recorded.loss[0] > 4 && recorded.loss[0] < 5.5);
    assert_string_equal(recorded.method, "pretrain lessons-tiny");
    bl_arena_free(a);

    char hash[33];
    last_stage_hash(out, hash);
    r = PROGRAM(&s, "inspect", out);
    expect(&r, 0, NULL);
    ran_free(&r);
    r = PROGRAM(&s, "generate", "--model", out, "--max-new", "4", "--prompt", "Q: Mia has 12 pens.");
    expect(&r, 0, NULL);
    ran_free(&r);
    char state_of[4500], other[4400];
    snprintf(other, sizeof other, "%s/other", s.dir);
    snprintf(state_of, sizeof state_of, "%s.state", other);
    assert_ok(bl_write_file(state_of, "?", 1, &e)); /* of an earlier run, it says */
    r = PROGRAM(&s, "pretrain", "--device", "cpu", "--shape", "lessons-tiny", "-o", other);
    expect(&r, 2, "--resume goes on with it");
    ran_free(&r);
    r = PROGRAM(&s, "pretrain", "--device", "cpu", "--shape", "lessons-tiny", "--resume", "-o", other);
    expect(&r, 2, "not a whole state");
    ran_free(&r);
    r = PROGRAM(&s, "pretrain", "--shape", "lessons-tiny", "-o", out);
    expect(&r, 2, "exists");
    ran_free(&r);
    r = PROGRAM(&s, "pretrain", "--shape", "lessons-tinny", "-o", curve);
    expect(&r, 2, "lessons-tinny");
    ran_free(&r);
    r = PROGRAM(&s, "pretrain");
    expect(&r, 2, "needs -o DIR");
    ran_free(&r);
    char nowhere[4500]; /* what could not be written at the end is said at the beginning, with defaults of hours */
    snprintf(nowhere, sizeof nowhere, "%s/none/model", s.dir);
    r = PROGRAM(&s, "pretrain", "--device", "cpu", "--shape", "lessons-tiny", "-o", nowhere);
    expect(&r, 4, "none/model: cannot create: its directory is not there");
    ran_free(&r);
    snprintf(other, sizeof other, "%s/third", s.dir);
    r = PROGRAM(&s, "pretrain", "--device", "cpu", "--shape", "lessons-tiny", "-o", other, "--curve", nowhere);
    expect(&r, 4, "none/model: cannot create: its directory is not there");
    ran_free(&r);
    r = PROGRAM(&s, "pretrain", "--device", "cpu", "--shape", "lessons-tiny", "-o", other, "--curve", s.dir);
    expect(&r, 2, "is a directory, expected a file");
    ran_free(&r);
    if ((double)sysconf(_SC_PHYS_PAGES) * (double)sysconf(_SC_PAGESIZE) < 2e11) {
        r = PROGRAM(&s, "pretrain", "--device", "cpu", "--batch", "100000", "-o", other);
        expect(&r, 2, "a step of 100000 texts takes");
        ran_free(&r);
        r = PROGRAM(&s, "pretrain", "--device", "cpu", "--shape", "llama-65b", "-o", other);
        expect(&r, 2, "shape llama-65b: weights, gradients and moments take 1");
        ran_free(&r);
    }
    r = PROGRAM(&s, "pretrain", "--method", "lora", "-o", curve);
    expect(&r, 2, "by full, galore or q-galore");
    ran_free(&r);
    study_end(&s);
}

/* Moments within subspaces take less room than moments of everything, of 8 bits less again; the first losses are those
 * of the same weights on the same texts. */
static void galore_trains_from_nothing_with_less_room(void **state)
{
    static const char *const how[][3] = {{"full", NULL},
                                         {"full", "--eight-bits", NULL},
                                         {"galore+rank=8+every=2", NULL},
                                         {"galore+rank=8+every=2", "--eight-bits", NULL},
                                         {"q-galore+rank=8+every=2", NULL}};
    enum { RUNS = 5 };
    (void)state;
    bl_err e = {0};
    study s = study_begin(1);
    int64_t bytes[RUNS];
    double loss[RUNS];
    for (int i = 0; i < RUNS; i++) {
        char out[4300], record[4400];
        bl_json *j = NULL;
        bl_arena *a = NULL;
        bl_curve curve;
        snprintf(out, sizeof out, "%s/new%d", s.dir, i);
        ran r = PROGRAM(&s, "pretrain", "--device", "cpu", "--shape", "lessons-tiny", "--steps", "6", "--batch", "2",
                        "--warmup", "1", "--seed", "5", "--json", "-o", out, "--method", how[i][0], how[i][1]);
        expect(&r, 0, NULL);
        assert_ok(bl_json_parse(r.out, strlen(r.out), "said", BL_JSON_PLAIN, &j, &e));
        assert_ok(bl_json_get_int(j, "optimizer_bytes", &bytes[i], &e));
        int64_t tokens, planned, peak;
        assert_ok(bl_json_get_int(j, "planned_bytes", &planned, &e));
        assert_ok(bl_json_get_int(j, "peak_bytes", &peak, &e));
        if (llabs(planned - peak) > peak / 20)
            fail_msg("%s: planned %lld, peak %lld", how[i][0], (long long)planned, (long long)peak);
        assert_ok(bl_json_get_int(j, "tokens", &tokens, &e));
        assert_true(tokens > 12 * 20); /* of 12 texts */
        bl_json_free(j);
        ran_free(&r);
        snprintf(record, sizeof record, "%s.curve.hdf5", out);
        assert_ok(bl_arena_new(&a, &e));
        assert_ok(bl_curve_read(record, a, &curve, &e));
        loss[i] = curve.loss[0];
        assert_true(curve.n == 6 && curve.loss[5] < curve.loss[0]);
        bl_arena_free(a);
    }
    for (int i = 1; i < 4; i++) assert_true(loss[i] == loss[0]);
    assert_true(fabs(loss[4] - loss[0]) < 1e-3); /* of weights rounded to 8 bits */
    assert_true(bytes[1] < bytes[0] && bytes[2] < bytes[0] && bytes[3] < bytes[2] && bytes[4] < bytes[3]);
    study_end(&s);
}

/* What a limit has no room for is elsewhere, and the numbers are the same; what cannot be is refused before a step. */
static void pretraining_stays_within_a_limit(void **state)
{
    static const char *const limits[] = {"0", "3"};
    (void)state;
    bl_err e = {0};
    study s = study_begin(1);
    int64_t moments[2], peak[2];
    double loss[2];
    char out[4300];
    for (int i = 0; i < 2; i++) {
        bl_json *j = NULL;
        snprintf(out, sizeof out, "%s/within%d", s.dir, i);
        ran r = PROGRAM(&s, "pretrain", "--device", "cpu", "--shape", "lessons-tiny", "--steps", "2", "--batch", "1",
                        "--mem-limit", limits[i], "--json", "-o", out);
        expect(&r, 0, NULL);
        assert_non_null(strstr(r.err, "memory: weights "));
        assert_true((strstr(r.err, "of the optimizer in the host's memory") != NULL) == (i == 1));
        assert_ok(bl_json_parse(r.out, strlen(r.out), "said", BL_JSON_PLAIN, &j, &e));
        assert_ok(bl_json_get_int(j, "optimizer_bytes", &moments[i], &e));
        assert_ok(bl_json_get_int(j, "peak_bytes", &peak[i], &e));
        assert_ok(bl_json_get_real(j, "loss", &loss[i], &e));
        bl_json_free(j);
        ran_free(&r);
    }
    assert_true(peak[0] > 3 << 20 && peak[1] <= 3 << 20 && moments[1] < moments[0] / 2);
    assert_true(loss[0] == loss[1]);
    snprintf(out, sizeof out, "%s/beyond", s.dir);
    ran r = PROGRAM(&s, "pretrain", "--device", "cpu", "--shape", "lessons-tiny", "--mem-limit", "2", "-o", out);
    expect(&r, 2, "--mem-limit is 2.1 MB: a smaller --batch takes less");
    ran_free(&r);
    r = PROGRAM(&s, "pretrain", "--device", "cpu", "--mem-limit", "8", "-o", out);
    expect(&r, 2, "shape lessons-5m: weights and gradients take 38 MB; --mem-limit is 8.4 MB");
    ran_free(&r);
    study_end(&s);
}

static void corpus_prints_a_part_of_one_kind(void **state)
{
    (void)state;
    bl_err e = {0};
    study s = study_begin(1);
    ran r = PROGRAM(&s, "corpus", "--kind", "order", "--part", "test", "--n", "2", "--json");
    expect(&r, 0, NULL);
    bl_json *j = NULL;
    const char *kind, *answer, *text;
    char tail[64];
    assert_ok(bl_json_parse(r.out, strcspn(r.out, "\n"), "line", BL_JSON_PLAIN, &j, &e));
    assert_ok(bl_json_get_str(j, "kind", &kind, &e));
    assert_ok(bl_json_get_str(j, "answer", &answer, &e));
    assert_ok(bl_json_get_str(j, "text", &text, &e));
    assert_string_equal(kind, "order");
    snprintf(tail, sizeof tail, " The answer is %s.\n", answer);
    assert_string_equal(text + strlen(text) - strlen(tail), tail);
    bl_json_free(j);
    ran_free(&r);
    r = PROGRAM(&s, "corpus", "--part", "test");
    expect(&r, 2, "needs one --kind");
    ran_free(&r);
    study_end(&s);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(what_pretrain_writes_is_a_model_for_the_other_verbs),
        cmocka_unit_test(galore_trains_from_nothing_with_less_room),
        cmocka_unit_test(pretraining_stays_within_a_limit),
        cmocka_unit_test(corpus_prints_a_part_of_one_kind),
    };
    return cmocka_run_group_tests_name("pretraining by the program", tests, NULL, NULL);
}
