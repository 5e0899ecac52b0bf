/* all_steps.c - a task of three steps and methods made for it, through the real machinery: this program is bitladder
 * with a registry of its own when it has arguments.
 *
 *     step 0    generate after  "say abc"
 *     step 1    generate after  "you said: " + what came in step 0 + ";"
 *     step 2    score " a", " b", " c" after  "because " + what came in step 1
 */
#include "study_fixture.h"
#include "harness/cli/cli.h"
#include "methods/registry.h"

enum { ITEMS = 40, NEW_TOKENS = 5, CHOICES = 3 };
static const char *const choice[CHOICES] = {"a", "b", "c"};
static const char *const subjects[] = {"law", "anatomy"};

/* ---- the task ---- */

static bl_status load(const bl_task_load *how, bl_task_data *out, bl_err *e)
{
    (void)e;
    out->n = ITEMS;
    out->hash = bl_hash_bytes(how->name, strlen(how->name));
    out->path = "made up";
    return BL_OK;
}

static bl_status ask(bl_task_data *t, int64_t i, const bl_turn *turn, bl_request *out, bl_err *e)
{
    const char letters[] = {(char)('a' + i % 26), (char)('b' + i * 7 % 25), (char)('c' + i * 3 % 23), 0};
    bl_prompt p = bl_prompt_new(turn->arena);
    (void)t;
    switch (turn->step) {
    case 0:
        bl_say(&p, "say ");
        bl_quote(&p, letters);
        break;
    case 1:
        bl_say(&p, "you said: ");
        bl_quote(&p, turn->reply[0].text);
        bl_say(&p, ";");
        break;
    case 2:
        bl_say(&p, "because ");
        bl_quote(&p, turn->reply[1].text);
        return bl_ask_pairs(out, p, choice, CHOICES, e);
    default: return bl_done(out);
    }
    *out = (bl_request){.kind = BL_ASK_GENERATE, .prompt = p, .max_new = NEW_TOKENS};
    return BL_OK;
}

/* acc: the likeliest letter is the one the item wants; the curve: how often each letter beats the mean. */
static bl_status mark(bl_task_data *t, int64_t i, const bl_turn *turn, bl_sample *out, bl_err *e)
{
    const bl_reply *r = &turn->reply[2];
    double score[1 + CHOICES] = {0}, mean = 0;
    bl_status st;
    (void)t;
    if (turn->n_replies != 3) return bl_fail(e, BL_E_INTERNAL, "%d replies", turn->n_replies);
    out->pick = 0;
    for (int c = 0; c < CHOICES; c++) {
        if (r->nll[c] < r->nll[out->pick]) out->pick = c;
        mean += r->nll[c] / CHOICES;
    }
    out->gold = (int32_t)(i % CHOICES);
    out->n_choices = CHOICES;
    out->group = subjects[i % 2];
    score[0] = out->pick == out->gold;
    for (int c = 0; c < CHOICES; c++) score[1 + c] = r->nll[c] < mean;
    BL_TRY(bl_sample_scores(out, turn->arena, score, 1 + CHOICES, e));
    BL_TRY(bl_sample_values(out, turn->arena, r->nll, CHOICES, e));
    BL_TRY(bl_sample_answer(out, turn->arena, turn->reply[0].text, strlen(turn->reply[0].text), e));
    BL_TRY(bl_sample_answer(out, turn->arena, i == 7 ? NULL : "x", 1, e));
out:
    return st;
}

static const bl_metric metrics[] = {
    {.name = "acc", .direction = 1, .headline = true, .percent = true, .agg = BL_AGG_MEAN, .by_group = true},
    {.name = "acc_macro", .direction = 1, .percent = true, .agg = BL_AGG_MEAN, .macro = true},
    {.name = "beats_mean", .direction = 1, .percent = true, .agg = BL_AGG_MEAN, .a = 1, .steps = CHOICES},
};
static const char *const names[] = {"steps", NULL};
static const bl_task steps = {
    .names = names,
    .title = "Steps",
    .cite = "this test",
    .doc = "Three steps.",
    .version = 1,
    .metrics = metrics,
    .n_metrics = BL_COUNT(metrics),
    .load = load,
    .ask = ask,
    .mark = mark,
};

/* ---- methods: one changes nothing, one doubles every logit by the values of the head alone ---- */

static const bl_method same = {.name = "same", .version = 1, .title = "Same", .cite = "this test", .doc = "Nothing."};

static bl_status double_head(const bl_method_run *r, bl_err *e)
{
    bl_status st = BL_OK;
    bl_linear *head = &r->model->head;
    size_t n = (size_t)(head->in * head->out);
    float *v = bl_alloc(r->scratch, n, sizeof *v, e);
    bl_weight w = {0};

    if (!v) return BL_E_NOMEM;
    BL_TRY(r->ops->download(r->be, &head->weight.part[0], v, e));
    for (size_t i = 0; i < n; i++) v[i] *= 2;
    BL_TRY(bl_weight_new(r->be, head->weight.format, &head->weight.shape, &w, e));
    BL_TRY(r->ops->upload(r->be, &w.part[0], v, e));
    bl_linear_set_weight(head, &w);
out:
    bl_weight_free(&w);
    return st;
}
static const bl_method louder = {.name = "louder",
                                 .version = 1,
                                 .title = "Louder",
                                 .cite = "this test",
                                 .doc = "Twice the head.",
                                 .model = double_head};

/* ---- the tests ---- */

static bl_err e;

#define STEPS(s, methods, out)                                                                                         \
    "run", "--model", (s)->model, "--method", methods, "--task", "steps", "--out", out, "--threads", "1"

/* A member of step k that `ask` printed. */
static const bl_json *of_step(const bl_json *doc, int k, const char *key)
{
    const bl_json *step = bl_json_first(bl_json_get(doc, "steps"));
    while (k--) step = bl_json_next(step);
    return bl_json_get(step, key);
}

static void assert_text(const bl_json *v, const char *before, const char *said, const char *after)
{
    const char *text;
    char want[512];
    snprintf(want, sizeof want, "%s%s%s", before, said, after);
    assert_ok(bl_json_str(v, &text, &e));
    assert_string_equal(text, want);
}

/* A line an item, as FastChat's llm_judge reads answers: question_id, answer_id, model_id, choices with their turns. */
static void replies_leave_as_answers_for_another_judge(void **state)
{
    (void)state;
    study s = study_begin(1);
    bl_arena *a;
    ran r = PROGRAM(&s, STEPS(&s, "base", s.out));
    expect(&r, 0, NULL);
    ran_free(&r);
    assert_ok(bl_arena_new(&a, &e));
    bl_cell c = cell_of(s.out, "base", a);
    r = PROGRAM(&s, "samples", s.out, "--format", "fastchat");
    expect(&r, 0, NULL);
    char *line = r.out;
    for (int64_t i = 0; i < ITEMS; i++, line = strchr(line, '\n') + 1) {
        bl_json *doc;
        const char *text, *id;
        int64_t question;
        assert_non_null(strchr(line, '\n'));
        assert_ok(bl_json_parse(line, (size_t)(strchr(line, '\n') - line), "answer", BL_JSON_PLAIN, &doc, &e));
        assert_ok(bl_json_get_int(doc, "question_id", &question, &e));
        assert_int_equal(question, c.sample[i].id);
        assert_ok(bl_json_get_str(doc, "answer_id", &id, &e));
        assert_ok(bl_json_get_str(doc, "model_id", &text, &e));
        assert_true(strlen(id) > 8 && strstr(text, "/base"));
        const bl_json *choice = bl_json_first(bl_json_get(doc, "choices")), *turns = bl_json_get(choice, "turns");
        assert_int_equal(bl_json_size(turns), 2);
        assert_ok(bl_json_str(bl_json_first(turns), &text, &e));
        assert_string_equal(text, c.sample[i].reply[0]);
        bl_json_free(doc);
    }
    assert_int_equal(*line, 0);
    ran_free(&r);
    bl_arena_free(a);
    study_end(&s);
}

/* What `run` recorded is what `ask` shows, step after step: each prompt holds the text of the reply before it. */
static void each_step_is_asked_with_the_replies_before_it(void **state)
{
    (void)state;
    study s = study_begin(1);
    bl_arena *a;
    ran r = PROGRAM(&s, STEPS(&s, "base", s.out));
    expect(&r, 0, NULL);
    ran_free(&r);
    assert_ok(bl_arena_new(&a, &e));
    bl_cell c = cell_of(s.out, "base", a);
    assert_int_equal(c.n_samples, ITEMS);
    assert_int_equal(c.no_answer, 1);
    assert_true(c.hit_limit > 0);
    for (int64_t i = 0; i < ITEMS; i++) {
        const bl_sample *x = &c.sample[i];
        assert_int_equal(x->n_replies, 2);
        assert_int_equal(x->n_answers, 2);
        assert_int_equal((x->flags & BL_SAMPLE_NO_ANSWER) != 0, i == 7 || !x->reply[0][0]);
        assert_string_equal(x->group, subjects[i % 2]);
        assert_int_equal(x->n_scores, 1 + CHOICES);
        assert_int_equal(x->n_values, CHOICES);
        if (i % 13) continue;
        char item[8];
        bl_json *doc;
        snprintf(item, sizeof item, "%d", (int)i);
        r = PROGRAM(&s, "ask", "steps", item, "--model", s.model, "--json");
        expect(&r, 0, NULL);
        assert_ok(bl_json_parse(r.out, strlen(r.out), "ask", BL_JSON_PLAIN, &doc, &e));
        assert_int_equal(bl_json_size(bl_json_get(doc, "steps")), 3);
        assert_text(of_step(doc, 0, "reply"), x->reply[0], "", "");
        assert_text(of_step(doc, 1, "prompt"), "you said: ", x->reply[0], ";");
        assert_text(of_step(doc, 1, "reply"), x->reply[1], "", "");
        const bl_json *pair = bl_json_first(of_step(doc, 2, "pairs")), *nll = bl_json_first(of_step(doc, 2, "nll"));
        for (int k = 0; k < CHOICES; k++, pair = bl_json_next(pair), nll = bl_json_next(nll)) {
            double v;
            assert_text(bl_json_get(pair, "context"), "because ", x->reply[1], "");
            assert_ok(bl_json_real(nll, &v, &e));
            assert_true(v == x->value[k]);
        }
        bl_json_free(doc);
        ran_free(&r);
    }
    /* Without a model, later steps follow an empty reply and say so. */
    r = PROGRAM(&s, "ask", "steps", "3");
    expect(&r, 0, NULL);
    assert_non_null(strstr(r.out, "== step 1, after empty replies; give --model MODEL"));
    assert_non_null(strstr(r.out, "prompt: \"you said: ;\""));
    assert_non_null(strstr(r.out, "== step 2, after empty replies"));
    assert_non_null(strstr(r.out, "context: \"because \""));
    ran_free(&r);
    bl_arena_free(a);
    study_end(&s);
}

static void steps_do_not_depend_on_batches_and_go_on_after_a_kill(void **state)
{
    (void)state;
    study s = study_begin(1);
    char other[4300];
    ran r = PROGRAM(&s, STEPS(&s, "base,rtn:w2pc", s.out));
    expect(&r, 0, NULL);
    ran_free(&r);
    static const char *const ways[][2] = {{"--batch-size", "1"}, {"--batch-tokens", "30"}, {"--stream", NULL}};
    for (size_t i = 0; i < BL_COUNT(ways); i++) {
        snprintf(other, sizeof other, "%s/way%zu", s.dir, i);
        r = PROGRAM(&s, STEPS(&s, "base,rtn:w2pc", other), ways[i][0], ways[i][1]);
        expect(&r, 0, NULL);
        ran_free(&r);
        assert_int_equal(assert_same_results(s.out, other), 2);
    }
    static const char *const points[] = {"after-batch:2@base/steps/0", "after-batch@rtn:w2pc/steps/0"};
    snprintf(other, sizeof other, "%s/killed", s.dir);
    for (size_t i = 0; i < BL_COUNT(points); i++) {
        started p = BEGIN(&s, points[i], STEPS(&s, "base,rtn:w2pc", other));
        assert_int_equal(count_ending(other, ".part.jsonl"), 1); /* some items are done, some are not */
        program_kill(p.pid);
    }
    r = PROGRAM(&s, STEPS(&s, "base,rtn:w2pc", other));
    expect(&r, 0, NULL);
    ran_free(&r);
    assert_int_equal(assert_same_results(s.out, other), 2);
    study_end(&s);
}

/* The base's states through the base's own head: a model that changes nothing has no distance, one with twice the head
 * (and so the same text, twice the logits) has one at every token, one that writes other text is compared only where it
 * wrote the same. */
static void distances_are_from_the_base_itself_and_only_after_the_same_text(void **state)
{
    (void)state;
    study s = study_begin(1);
    bl_arena *a;
    int64_t alike = 0;
    ran r = PROGRAM(&s, STEPS(&s, "base,same,louder,rtn:w2pc", s.out));
    expect(&r, 0, NULL);
    ran_free(&r);
    assert_ok(bl_arena_new(&a, &e));
    bl_cell base = cell_of(s.out, "base", a), quiet = cell_of(s.out, "same", a), loud = cell_of(s.out, "louder", a),
            two = cell_of(s.out, "rtn:w2pc", a);
    assert_true(quiet.n_kl >= ITEMS * CHOICES);
    assert_int_equal(quiet.n_kl % ITEMS, 0);
    for (int64_t k = 0; k < quiet.n_kl; k++) assert_true(fabs(quiet.kl[k]) < 1e-12 && quiet.dp[k] == 0);
    assert_int_equal(loud.n_kl, quiet.n_kl);
    double least = INFINITY, most = 0;
    for (int64_t k = 0; k < loud.n_kl; k++) {
        least = fmin(least, loud.kl[k]);
        most = fmax(most, loud.kl[k]);
    }
    assert_true(least > 1e-6 && most > 1e-3);
    assert_string_equal(base.notes, ""); /* everything is F32 */
    assert_string_equal(two.notes, "lm_head and embeddings F32");
    for (int64_t i = 0; i < ITEMS; i++) {
        assert_string_equal(loud.sample[i].reply[1], base.sample[i].reply[1]);
        alike += strcmp(two.sample[i].reply[1], base.sample[i].reply[1]) == 0;
    }
    assert_true(alike < ITEMS); /* else nothing is tested */
    assert_int_equal(two.n_kl, alike * (quiet.n_kl / ITEMS));
    bl_arena_free(a);
    study_end(&s);
}

static const bl_cell_metric *part_of(const bl_cell *c, const char *name, const char *group)
{
    for (int64_t i = 0; i < c->n_grouped; i++)
        if (!strcmp(c->grouped[i].name, name) && !strcmp(c->grouped[i].group, group)) return &c->grouped[i];
    fail_msg("no %s of %s", name, group);
    return NULL;
}

/* Shares that can be counted in the samples. */
static void groups_and_steps_are_in_the_shard_and_in_tables(void **state)
{
    (void)state;
    study s = study_begin(1);
    bl_arena *a;
    double right[2] = {0}, beats[CHOICES] = {0};
    ran r = PROGRAM(&s, STEPS(&s, "base", s.out));
    expect(&r, 0, NULL);
    ran_free(&r);
    assert_ok(bl_arena_new(&a, &e));
    bl_cell c = cell_of(s.out, "base", a);
    for (int64_t i = 0; i < ITEMS; i++) {
        right[i % 2] += c.sample[i].score[0];
        for (int k = 0; k < CHOICES; k++) beats[k] += c.sample[i].score[1 + k];
    }
    assert_int_equal(c.n_grouped, 2 + CHOICES);
    for (int g = 0; g < 2; g++) {
        assert_true(part_of(&c, "acc", subjects[g])->value == right[g] / (ITEMS / 2));
        assert_int_equal(part_of(&c, "acc", subjects[g])->n, ITEMS / 2);
    }
    for (int k = 0; k < CHOICES; k++) {
        char name[16];
        snprintf(name, sizeof name, "step %d", k);
        assert_true(part_of(&c, "beats_mean", name)->value == beats[k] / ITEMS);
    }
    r = PROGRAM(&s, "table", s.out);
    assert_non_null(strstr(r.out, "steps acc %"));
    assert_null(strstr(r.out, "law"));
    ran_free(&r);
    r = PROGRAM(&s, "table", s.out, "--by", "group");
    assert_non_null(strstr(r.out, "| anatomy"));
    assert_non_null(strstr(r.out, "| law"));
    ran_free(&r);
    r = PROGRAM(&s, "table", s.out, "--by", "group", "--metric", "beats_mean");
    assert_non_null(strstr(r.out, "| step 2"));
    ran_free(&r);
    r = PROGRAM(&s, "samples", s.out, "--task", "steps");
    assert_non_null(strstr(r.out, "\"group\": \"law\""));
    assert_non_null(strstr(r.out, "\"beats_mean\": ["));
    assert_non_null(strstr(r.out, "\"replies\": ["));
    ran_free(&r);
    bl_arena_free(a);
    study_end(&s);
}

int main(int argc, char **argv)
{
    static const bl_task *const tasks[] = {&steps, NULL};
    size_t n = 0;
    while (bl_methods[n]) n++;
    const bl_method *methods[n + 3]; /* two more and the end */
    memcpy(methods, bl_methods, n * sizeof methods[0]);
    methods[n] = &same;
    methods[n + 1] = &louder;
    methods[n + 2] = NULL;
    if (argc > 1) return bl_cli_main(&(bl_program){.methods = methods, .tasks = tasks}, argc, argv);
    program_path = "/proc/self/exe";
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(each_step_is_asked_with_the_replies_before_it),
        cmocka_unit_test(steps_do_not_depend_on_batches_and_go_on_after_a_kill),
        cmocka_unit_test(distances_are_from_the_base_itself_and_only_after_the_same_text),
        cmocka_unit_test(groups_and_steps_are_in_the_shard_and_in_tables),
        cmocka_unit_test(replies_leave_as_answers_for_another_judge),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
