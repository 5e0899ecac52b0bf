/* all_verdicts.c - verdicts of a judge, as FastChat writes them, and a judge of our own, through the whole program. */
#include "study_fixture.h"
#include "kernels/base/json.h"

static bl_err e;

static char *verdict_file(const study *s, const char *name, const char *text)
{
    char *path = bl_join(s->dir, name, &e);
    assert_non_null(path);
    assert_ok(bl_write_file(path, text, strlen(text), &e));
    return path;
}
#define VERDICT_OF(q, one, two, g1, g2, judge, turn)                                                                   \
    "{\"question_id\": " q ", \"model_1\": \"" one "\", \"model_2\": \"" two "\", \"g1_winner\": \"" g1                \
    "\", \"g2_winner\": \"" g2 "\", \"judge\": [\"" judge "\", \"pair-v2\"], \"turn\": " turn "}\n"
#define VERDICT(q, one, two, g1, g2) VERDICT_OF(q, one, two, g1, g2, "gpt-4", "1")

/* Orders that agree count, orders that differ are a tie, what the judge failed at is left out and said. */
static void verdicts_of_both_orders_become_strengths(void **state)
{
    (void)state;
    study s = study_begin(1);
    char *one = verdict_file(&s, "one.jsonl",
                             VERDICT("81", "m/base", "m/rtn:w3", "model_1", "model_1")
                                 VERDICT("82", "m/base", "m/rtn:w3", "model_1", "model_2"));
    char *two = verdict_file(&s, "two.jsonl",
                             VERDICT("83", "m/rtn:w3", "m/base", "tie", "tie")
                                 VERDICT("84", "m/other", "m/base", "error", "model_1"));
    bl_json *doc;
    const char *name;
    double rating[2];
    int64_t n;
    ran r = PROGRAM(&s, "verdicts", one, two, "--json");
    expect(&r, 0, NULL);
    assert_ok(bl_json_parse(r.out, strlen(r.out), "verdicts", BL_JSON_PLAIN, &doc, &e));
    const bl_json *list = bl_json_get(doc, "models"), *m = bl_json_first(list);
    assert_int_equal(bl_json_size(list), 2);
    for (int i = 0; i < 2; i++, m = bl_json_next(m)) {
        assert_ok(bl_json_get_str(m, "model", &name, &e));
        assert_string_equal(name, i ? "m/rtn:w3" : "m/base");
        assert_ok(bl_json_get_int(m, i ? "lost" : "won", &n, &e));
        assert_int_equal(n, 1);
        assert_ok(bl_json_get_int(m, "tied", &n, &e));
        assert_int_equal(n, 2);
        assert_ok(bl_json_real(bl_json_get(m, "rating"), &rating[i], &e));
    }
    assert_true(rating[0] > 1000 && rating[0] + rating[1] > 1999.999 && rating[0] + rating[1] < 2000.001);
    assert_ok(bl_json_get_int(doc, "left_out", &n, &e));
    assert_int_equal(n, 1);
    bl_json_free(doc);
    ran_free(&r);
    char *three = verdict_file(&s, "three.jsonl",
                               VERDICT("84", "x", "y", "tie", "tie")
                                   VERDICT("82", "m/base", "m/rtn:w3", "model_1", "model_1"));
    r = PROGRAM(&s, "verdicts", one, two, three); /* of several files, too */
    assert_true(r.code != 0 && strstr(r.err, "three.jsonl:2: question_id 82, turn 1 of \"m/base\" and ") &&
                strstr(r.err, " comes twice, first in ") && strstr(r.err, "one.jsonl:2; expected one verdict"));
    bl_free(three);
    ran_free(&r);
    r = PROGRAM(&s, "verdicts", one, two);
    expect(&r, 0, NULL);
    assert_non_null(strstr(r.out, "left out, the judge failed: 1"));
    assert_true(strstr(r.out, "m/base") < strstr(r.out, "m/rtn:w3"));
    ran_free(&r);
    bl_free(one);
    bl_free(two);
    study_end(&s);
}

/* Another turn, another judge: another verdict. */
static void a_question_counts_once_a_turn_and_a_judge(void **state)
{
    (void)state;
    study s = study_begin(1);
    char *path = verdict_file(&s, "v.jsonl",
                              VERDICT_OF("81", "a", "b", "model_1", "model_1", "gpt-4", "1")
                                  VERDICT_OF("81", "a", "b", "model_1", "model_1", "gpt-4", "2")
                                      VERDICT_OF("81", "a", "b", "model_1", "model_1", "gpt-3.5-turbo", "2"));
    bl_json *doc;
    int64_t n;
    ran r = PROGRAM(&s, "verdicts", path, "--json");
    expect(&r, 0, NULL);
    assert_ok(bl_json_parse(r.out, strlen(r.out), "verdicts", BL_JSON_PLAIN, &doc, &e));
    assert_ok(bl_json_get_int(bl_json_first(bl_json_get(doc, "models")), "won", &n, &e));
    assert_int_equal(n, 3);
    bl_json_free(doc);
    ran_free(&r);
    bl_free(path);
    study_end(&s);
}

static void verdicts_that_say_nothing_are_refused_with_their_place(void **state)
{
    static const struct {
        const char *text, *says;
    } rows[] = {
        {VERDICT("81", "a", "b", "model_1", "A"),
         "v.jsonl:1: 'g2_winner' is \"A\", expected model_1, model_2, tie or error"},
        {VERDICT("81", "a", "b", "tie", "tie") VERDICT("82", "a", "a", "tie", "tie"),
         "v.jsonl:2: model_1 and model_2 are both \"a\""},
        {"{\"question_id\": 1}\n", "v.jsonl:1: 'model_1' is missing"},
        {VERDICT("81", "a", "b", "error", "error"), "v.jsonl: no verdict that counts"},
        {VERDICT("81", "a", "b", "tie", "tie") VERDICT("82", "a", "b", "tie", "tie")
             VERDICT("81", "a", "b", "model_1", "model_1"),
         "v.jsonl:3: question_id 81, turn 1 of \"a\" and \"b\" comes twice, first in "},
        {VERDICT("81", "a", "b", "tie", "tie") VERDICT("81", "b", "a", "tie", "tie"),
         "v.jsonl:2: question_id 81, turn 1 of \"b\" and \"a\""},
    };
    (void)state;
    study s = study_begin(1);
    for (size_t i = 0; i < BL_COUNT(rows); i++) {
        char *path = verdict_file(&s, "v.jsonl", rows[i].text);
        ran r = PROGRAM(&s, "verdicts", path);
        if (r.code == 0 || !strstr(r.err, rows[i].says)) fail_msg("row %zu: %d %s", i, r.code, r.err);
        ran_free(&r);
        bl_free(path);
    }
    study_end(&s);
}

/* ---- a judge of our own ---- */
enum { QUESTIONS = 3 };
static const char *const question[QUESTIONS] = {"make a of b", "cut 7", "fold c and d"};

/* Two rows with answers to Koala's questions, the last of them with as many words more. */
static void answered(const study *s, int more)
{
    bl_text rows = {0};
    char spec[4300], *dir = bl_join(s->data, "koala", &e);
    for (int i = 0; i < QUESTIONS; i++) {
        bl_text_addf(&rows, "{\"prompt\": \"%s", question[i]);
        for (int k = 0; i == QUESTIONS - 1 && k < more; k++) bl_text_add(&rows, " so");
        bl_text_add(&rows, "\"}\n");
    }
    assert_ok(bl_make_dirs(dir, &e));
    study_write(dir, "koala_test_set.jsonl", rows.s);
    bl_text_free(&rows);
    bl_free(dir);
    snprintf(spec, sizeof spec, "%s/spec.json", s->dir);
    study_write(s->dir, "spec.json",
                "{\"tasks\": [{\"koala\": {\"max_new\": 3}}], \"methods\": [\"base\", \"rtn:w1g32\"]}");
    ran r = PROGRAM(s, "run", spec, "--model", s->model, "--data", s->data, "--out", s->out);
    expect(&r, 0, NULL);
    ran_free(&r);
}

static char *string_of(const bl_json *j, const char *key)
{
    const char *s;
    assert_ok(bl_json_get_str(j, key, &s, &e));
    return bl_strdup(s, &e);
}

/* The replies of one row, by `samples`. */
static void replies_of(const study *s, const char *method, char *out[QUESTIONS])
{
    ran r = PROGRAM(s, "samples", s->out, "--method", method, "--format", "json");
    bl_json *doc;
    int n = 0;
    expect(&r, 0, NULL);
    assert_ok(bl_json_parse(r.out, strlen(r.out), "samples", BL_JSON_PLAIN, &doc, &e));
    for (const bl_json *j = bl_json_first(doc); j; j = bl_json_next(j)) {
        const char *text;
        assert_true(n < QUESTIONS);
        assert_ok(bl_json_str(bl_json_first(bl_json_get(j, "replies")), &text, &e));
        out[n++] = bl_strdup(text, &e);
    }
    assert_int_equal(n, QUESTIONS);
    bl_json_free(doc);
    ran_free(&r);
}

/* Which of A, B and C `score` finds likeliest after the prompt that the judge should have been asked. */
static int likeliest(const study *s, const char *q, const char *first, const char *second)
{
    bl_text in = {0};
    for (int k = 0; k < 3; k++) {
        bl_text context = {0};
        bl_text_addf(&context, "is a or b?\n\n%s\nA: %s\nB: %s\n\n[[", q, first, second);
        bl_text_add(&in, "{\"context\": ");
        bl_json_put_str(&in, context.s, context.n);
        bl_text_addf(&in, ", \"continuation\": \"%c\"}\n", 'A' + k);
        bl_text_free(&context);
    }
    ran r = program_with(s, in.s, (const char *const[]){"bitladder", "score", "--model", s->model, "-", NULL});
    expect(&r, 0, NULL);
    const char *at = r.out;
    double best = -1e9;
    int which = 0;
    for (int k = 0; k < 3; k++) {
        double ll = strtod(strstr(at, "loglikelihood\":") + 15, NULL);
        if (ll > best) best = ll, which = k;
        at = strchr(at, '\n') + 1;
    }
    ran_free(&r);
    bl_text_free(&in);
    return which;
}

/* Each verdict is the letter that `score` says is likeliest, in both orders, and `verdicts` reads the lines. */
static void a_model_judges_both_orders(void **state)
{
    static const char *const wins[2][3] = {{"model_1", "model_2", "tie"}, {"model_2", "model_1", "tie"}};
    (void)state;
    study s = study_begin(1);
    char *reply[2][QUESTIONS],
        *prompts = verdict_file(
            &s, "prompts.jsonl",
            "{\"name\": \"p\", \"type\": \"pairwise\", \"system_prompt\": \"is a or b?\", \"prompt_template\": "
            "\"{question}\\nA: {answer_a}\\nB: {answer_b}\"}\n");
    answered(&s, 0);
    replies_of(&s, "base", reply[0]);
    replies_of(&s, "rtn:w1g32", reply[1]);
    ran r = PROGRAM(&s, "duel", s.out, "--model", s.model, "--data", s.data, "--prompts", prompts, "--read", "letters");
    expect(&r, 0, NULL);
    char *line = r.out;
    for (int i = 0; i < QUESTIONS; i++) {
        bl_json *j;
        char *end = strchr(line, '\n');
        int64_t id;
        assert_non_null(end);
        assert_ok(bl_json_parse(line, (size_t)(end - line), "line", BL_JSON_PLAIN, &j, &e));
        assert_ok(bl_json_get_int(j, "question_id", &id, &e));
        assert_int_equal(id, i);
        char *one = string_of(j, "model_1"), *two = string_of(j, "model_2");
        int first = strcmp(one, "noise/base") != 0; /* rows come in the order of their files */
        assert_string_equal(first ? two : one, "noise/base");
        assert_string_equal(first ? one : two, "noise/rtn:w1g32");
        for (int order = 0; order < 2; order++) {
            char *won = string_of(j, order ? "g2_winner" : "g1_winner");
            int said = likeliest(&s, question[i], reply[first ^ order][i], reply[!first ^ order][i]);
            assert_string_equal(won, wins[order][said]);
            bl_free(won);
        }
        bl_free(one);
        bl_free(two);
        bl_json_free(j);
        line = end + 1;
    }
    assert_int_equal(*line, 0);
    char *path = verdict_file(&s, "own.jsonl", r.out);
    ran_free(&r);
    r = PROGRAM(&s, "verdicts", path);
    expect(&r, 0, NULL);
    assert_non_null(strstr(r.out, "noise/base"));
    ran_free(&r);
    bl_free(path);
    r = PROGRAM(&s, "duel", s.out, "--model", s.model, "--data", s.data, "--prompts", prompts, "--max-new", "2");
    expect(&r, 0, NULL); /* a judge that never says [[A]] */
    assert_non_null(strstr(r.out, "\"g1_winner\":\"error\",\"g2_winner\":\"error\""));
    assert_non_null(strstr(r.out, "\"g2_judgment\":"));
    ran_free(&r);
    r = PROGRAM(&s, "duel", s.out, "--model", s.model, "--data", s.data, "--prompts", prompts, "--against", "rtn:w4");
    assert_true(r.code != 0 && strstr(r.err, "no two rows, one of them rtn:w4 with answers to the same instructions"));
    ran_free(&r);
    bl_free(prompts);
    bl_text rule = {0}; /* longer than all that the judge reads */
    bl_text_add(&rule,
                "{\"name\": \"p\", \"type\": \"pairwise\", \"prompt_template\": \"{question} {answer_a} {answer_b}\", "
                "\"system_prompt\": \"");
    for (int i = 0; i < 5000; i++) bl_text_add(&rule, "so ");
    bl_text_add(&rule, "\"}\n");
    prompts = verdict_file(&s, "long.jsonl", rule.s);
    bl_text_free(&rule);
    for (int by = 0; by < 2; by++) {
        r = PROGRAM(&s, "duel", s.out, "--model", s.model, "--data", s.data, "--prompts", prompts, "--max-new", "2",
                    "--read", by ? "letters" : "text");
        assert_int_not_equal(r.code, 0);
        if (!strstr(r.err, " tokens, and each of the ") || !strstr(r.err, "it judged nothing")) fail_msg("%s", r.err);
        assert_non_null(strstr(r.out, "\"g1_winner\":\"error\",\"g2_winner\":\"error\""));
        ran_free(&r);
    }
    for (int k = 0; k < 2 * QUESTIONS; k++) bl_free(reply[k / QUESTIONS][k % QUESTIONS]);
    bl_free(prompts);
    study_end(&s);
}

/* What did not fit is an error, marked and listed; the rest is judged. */
static void a_prompt_that_is_too_long_is_listed(void **state)
{
    (void)state;
    study s = study_begin(1);
    char *prompts = verdict_file(&s, "prompts.jsonl",
                                 "{\"name\": \"p\", \"type\": \"pairwise\", \"system_prompt\": \"a or b?\", "
                                 "\"prompt_template\": \"{question}\\nA: {answer_a}\\nB: {answer_b}\"}\n");
    answered(&s, 5000);
    ran r = PROGRAM(&s, "duel", s.out, "--model", s.model, "--data", s.data, "--prompts", prompts, "--read", "letters");
    expect(&r, 0, NULL);
    if (!strstr(r.err, "2 of 6 prompts are longer than the ") ||
        !strstr(r.err, " count for nobody (question_id 2 of noise/") || !strstr(r.err, "noise/rtn:w1g32"))
        fail_msg("%s", r.err);
    const char *last = strstr(r.out, "\"question_id\":2");
    assert_non_null(last);
    assert_non_null(strstr(last, "\"g1_winner\":\"error\",\"g2_winner\":\"error\""));
    assert_non_null(strstr(last, "\"g1_too_long\":true,\"g2_too_long\":true"));
    const char *mark = strstr(r.out, "too_long");
    assert_true(mark > last);
    ran_free(&r);
    /* numbers of questions are of a task: answers to two are no file of FastChat's */
    r = PROGRAM(&s, "run", "--model", s.model, "--method", "base", "--task", "ladder:direct@2", "--out", s.out);
    expect(&r, 0, NULL);
    ran_free(&r);
    r = PROGRAM(&s, "samples", s.out, "--format", "fastchat");
    assert_true(r.code != 0 && strstr(r.err, " has replies of ") && strstr(r.err, "of one task: say --task"));
    ran_free(&r);
    r = PROGRAM(&s, "samples", s.out, "--format", "fastchat", "--task", "koala");
    expect(&r, 0, NULL);
    ran_free(&r);
    bl_free(prompts);
    study_end(&s);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(verdicts_of_both_orders_become_strengths),
        cmocka_unit_test(a_question_counts_once_a_turn_and_a_judge),
        cmocka_unit_test(verdicts_that_say_nothing_are_refused_with_their_place),
        cmocka_unit_test(a_model_judges_both_orders),
        cmocka_unit_test(a_prompt_that_is_too_long_is_listed),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
