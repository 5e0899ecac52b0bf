/* all_verbs_golden.c - score and tokenize through the program, against what lm-evaluation-harness and tokenizers
 * recorded. */
#include "study_fixture.h"
#include "kernels/base/json.h"

#define SMOLLM "smollm2-135m/SmolLM2-135M-Instruct.Q4_1.gguf"

static char *golden(const char *name)
{
    bl_err e = {0};
    char *text = NULL;
    size_t n;
    assert_ok(bl_read_file(test_path("BITLADDER_GOLDEN", name), 64 << 20, &text, &n, &e));
    return text;
}

static void choices_score_as_in_the_harness(void **state)
{
    static const struct {
        const char *task;
        int first, items;
    } tasks[] = {
        {"openbookqa", 2, 1},        {"arc_easy", 1, 1}, {"arc_challenge_val", 3, 1},
        {"winogrande_sample", 5, 1}, {"piqa", 2, 1},
    };
    bl_err e = {0};
    bl_text in = {0};
    double want[64];
    bool greedy[64];
    int n = 0;
    (void)state;
    BL_NEEDS("BITLADDER_GOLDEN");
    BL_NEEDS("BITLADDER_MODELS");
    study s = {0};
    snprintf(s.dir, sizeof s.dir, "%s", test_dir());
    for (size_t t = 0; t < BL_COUNT(tasks); t++) {
        char name[96], *line;
        snprintf(name, sizeof name, "smollm2-135m/harness/%s.jsonl", tasks[t].task);
        char *text = golden(name), *rest = text;
        for (int i = 0; i < tasks[t].first + tasks[t].items && (line = strsep(&rest, "\n")); i++) {
            bl_json *j;
            if (i < tasks[t].first) continue;
            assert_ok(bl_json_parse(line, strlen(line), name, BL_JSON_PLAIN, &j, &e));
            const bl_json *reply = bl_json_first(bl_json_get(j, "replies"));
            for (const bl_json *q = bl_json_first(bl_json_get(j, "requests")); q;
                 q = bl_json_next(q), reply = bl_json_next(reply), n++) {
                bl_text_add(&in, "{\"context\":");
                bl_json_put_node(&in, bl_json_first(q));
                bl_text_add(&in, ",\"continuation\":");
                bl_json_put_node(&in, bl_json_next(bl_json_first(q)));
                bl_text_add(&in, "}\n");
                assert_ok(bl_json_real(bl_json_first(reply), &want[n], &e));
                assert_ok(bl_json_bool(bl_json_next(bl_json_first(reply)), &greedy[n], &e));
            }
            bl_json_free(j);
        }
        bl_free(text);
    }
    assert_true(n >= 10);
    ran r = program_with(
        &s, in.s,
        (const char *const[]){"bitladder", "score", "--model", test_path("BITLADDER_MODELS", SMOLLM), "-", NULL});
    expect(&r, 0, NULL);
    char *rest = r.out, *line;
    for (int i = 0; i < n; i++) {
        bl_json *j;
        double ll;
        bool g;
        assert_non_null(line = strsep(&rest, "\n"));
        assert_ok(bl_json_parse(line, strlen(line), "reply", BL_JSON_PLAIN, &j, &e));
        assert_ok(bl_json_get_real(j, "loglikelihood", &ll, &e));
        assert_ok(bl_json_bool(bl_json_get(j, "is_greedy"), &g, &e));
        if (!(fabs(ll - want[i]) <= 0.01)) fail_msg("request %d: log-likelihood %.5f, recorded %.5f", i, ll, want[i]);
        assert_int_equal(g, greedy[i]);
        bl_json_free(j);
    }
    assert_string_equal(rest, ""); /* and nothing else */
    ran_free(&r);
    bl_text_free(&in);
    bl_remove_tree(s.dir, NULL);
}

static const struct {
    const char *file, *model, *flag;
} recorded[] = {
    {"smollm2-135m/tokens.jsonl", SMOLLM, "--special"},
    {"tinystories656k/tokens.jsonl", "tinystories656K", "--special"},
    {"stories260k/tokens.jsonl", "stories260K/tok512.model", "--no-bos"},
};

/* The members of each recorded line, one line each: {"text": …} and {"ids": …}. */
static void split(char *text, bl_text *texts, bl_text *ids)
{
    for (char *rest = text, *line; (line = strsep(&rest, "\n")) && *line;) {
        char *i = strstr(line, ", \"ids\": "), *d = strstr(line, ", \"decoded\": ");
        assert_true(i && d && i < d);
        bl_text_addn(texts, line, (size_t)(i - line));
        bl_text_add(texts, "}\n");
        bl_text_add(ids, "{\"ids\":");
        for (const char *p = i + 9; p < d; p++)
            if (*p != ' ') bl_text_addn(ids, p, 1);
        bl_text_add(ids, "}\n");
    }
}

static void texts_get_the_recorded_ids(void **state)
{
    (void)state;
    BL_NEEDS("BITLADDER_GOLDEN");
    BL_NEEDS("BITLADDER_MODELS");
    study s = {0};
    snprintf(s.dir, sizeof s.dir, "%s", test_dir());
    for (size_t i = 0; i < BL_COUNT(recorded); i++) {
        bl_text texts = {0}, ids = {0};
        char *text = golden(recorded[i].file);
        split(text, &texts, &ids);
        ran r = program_with(&s, texts.s,
                             (const char *const[]){"bitladder", "tokenize", "--model",
                                                   test_path("BITLADDER_MODELS", recorded[i].model), recorded[i].flag,
                                                   "-", NULL});
        expect(&r, 0, NULL);
        assert_string_equal(r.out, ids.s);
        ran_free(&r);
        bl_free(text);
        bl_text_free(&texts);
        bl_text_free(&ids);
    }
    bl_remove_tree(s.dir, NULL);
}

/* Decoded texts as recorded, with special tokens kept. */
static void ids_get_the_recorded_texts(void **state)
{
    (void)state;
    BL_NEEDS("BITLADDER_GOLDEN");
    BL_NEEDS("BITLADDER_MODELS");
    bl_err e = {0};
    study s = {0};
    snprintf(s.dir, sizeof s.dir, "%s", test_dir());
    for (size_t i = 0; i < BL_COUNT(recorded); i++) {
        bl_text texts = {0}, ids = {0};
        char *text = golden(recorded[i].file), *lines = golden(recorded[i].file), *want_rest = lines;
        split(text, &texts, &ids);
        ran r = program_with(&s, ids.s,
                             (const char *const[]){"bitladder", "tokenize", "--model",
                                                   test_path("BITLADDER_MODELS", recorded[i].model), "--decode",
                                                   "--special", "-", NULL});
        expect(&r, 0, NULL);
        char *got_rest = r.out, *got;
        int n = 0;
        for (char *want; (want = strsep(&want_rest, "\n")) && *want; n++) {
            bl_json *a, *b;
            const char *x, *y;
            got = strsep(&got_rest, "\n");
            if (strstr(want, "\\u0000")) continue; /* no text for our reader of JSON */
            assert_ok(bl_json_parse(want, strlen(want), "recorded", BL_JSON_PLAIN, &a, &e));
            assert_ok(bl_json_parse(got, strlen(got), "output", BL_JSON_PLAIN, &b, &e));
            assert_ok(bl_json_get_str(a, "decoded", &x, &e));
            assert_ok(bl_json_get_str(b, "text", &y, &e));
            if (strcmp(x, y) != 0) fail_msg("%s, line %d: '%s' and '%s'", recorded[i].file, n + 1, x, y);
            bl_json_free(a);
            bl_json_free(b);
        }
        assert_int_equal(n, 309);
        ran_free(&r);
        bl_free(text);
        bl_free(lines);
        bl_text_free(&texts);
        bl_text_free(&ids);
    }
    bl_remove_tree(s.dir, NULL);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(choices_score_as_in_the_harness),
        cmocka_unit_test(texts_get_the_recorded_ids),
        cmocka_unit_test(ids_get_the_recorded_texts),
    };
    return cmocka_run_group_tests_name("the program against recorded numbers", tests, NULL, NULL);
}
