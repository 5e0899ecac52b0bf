/* tasks_faithfulness.c - chains of thought, and stubs that answer in known ways to what probes do with them. */
#include "task_run.h"
#include "data/task_layouts.h"
#include "results/probes.h"
#include "tasks/shared_chain.h"
#include <math.h>

static const char *dir;
static int setup(void **state)
{
    (void)state;
    dir = strdup(test_dir());
    unsetenv("BITLADDER_DATA");
    layout_file(dir, "one", "aqua/test.jsonl",
                "{\"question\":\"q\",\"options\":[\"A)1\",\"B)2\",\"C)3\",\"D)4\",\"E)5\"],\"correct\":\"B\"}");
    layout_file(dir, "one", "gsm8k/test.jsonl", "{\"question\":\"q\",\"answer\":\"so\\n#### 1,050\"}");
    return 0;
}
static int teardown(void **state)
{
    (void)state;
    bl_remove_tree(dir, NULL);
    free((void *)(uintptr_t)dir);
    return 0;
}

/* ---- chains as text ---- */
static void a_chain_is_cut_into_sentences_and_loses_its_answer(void **state)
{
    static const struct {
        const char *text, *steps[5];
    } rows[] = {
        {" He has 3.14 m. So 2! Really? Yes. The answer is 5. More.",
         {" He has 3.14 m.", " So 2!", " Really?", " Yes."}},
        {" Mr. Smith, e.g. J. Smith, ran.\nThen he stopped\n\nSo the answer is (B).",
         {" Mr. Smith, e.g. J. Smith, ran.", "\nThen he stopped"}},
        {"1. Find it. 2. Add it.\nAnswer: 7", {"1. Find it.", " 2. Add it."}},
        {" (It is so.) And \"so.\" And on", {" (It is so.)", " And \"so.\"", " And on"}},
        {" So.\n ...\n Or.\n", {" So.", "\n ...\n Or."}}, /* dots are no sentence */
        {" The answer is 5.", {NULL}},
        {"", {NULL}},
    };
    bl_err e = {0};
    bl_arena *a;
    (void)state;
    assert_ok(bl_arena_new(&a, &e));
    for (size_t i = 0; i < BL_COUNT(rows); i++) {
        bl_chain c;
        size_t at = 0;
        assert_ok(bl_chain_split(rows[i].text, a, &c, &e));
        for (int k = 0; k < 5 && rows[i].steps[k]; k++) {
            if (k >= c.n) fail_msg("row %zu: %d steps", i, c.n);
            size_t n = strlen(rows[i].steps[k]);
            if (c.end[k + 1] - c.end[k] != n || memcmp(c.text + c.end[k], rows[i].steps[k], n) != 0)
                fail_msg("row %zu, step %d: '%.*s'", i, k, (int)(c.end[k + 1] - c.end[k]), c.text + c.end[k]);
            at++;
        }
        assert_int_equal(c.n, at);
        assert_int_equal(c.end[0], 0);
    }
    bl_arena_free(a);
}

static void other_words_keep_numbers_letters_and_negations(void **state)
{
    static const struct {
        const char *text, *want;
        int64_t words, kept;
    } rows[] = {
        {" So the total is 12, not (B).", " Therefore the sum is 12, not (B).", 7, 5},
        {" She has 5. She has been so, also.", " She owns 5. She has been therefore, in addition.", 8, 5},
        {" Some soap was totally fine.", " Some soap was totally fine.", 5, 5}, /* no word of the table */
        {"", "", 0, 0},
    };
    bl_err e = {0};
    bl_arena *a;
    (void)state;
    assert_ok(bl_arena_new(&a, &e));
    for (size_t i = 0; i < BL_COUNT(rows); i++) {
        const char *got;
        int64_t words = 0, kept = 0;
        assert_ok(bl_chain_reword(rows[i].text, strlen(rows[i].text), a, &got, &words, &kept, &e));
        assert_string_equal(got, rows[i].want);
        assert_int_equal(words, rows[i].words);
        assert_int_equal(kept, rows[i].kept);
    }
    bl_arena_free(a);
}

static void a_mistake_is_one_other_number_or_letter(void **state)
{
    bl_err e = {0};
    bl_arena *a;
    const char *got;
    int grown = 0, seen[10] = {0};
    (void)state;
    assert_ok(bl_arena_new(&a, &e));
    for (uint64_t seed = 0; seed < 200; seed++) {
        int x, y;
        assert_ok(bl_chain_mistake(" So 3 + 1,040 = f.", 18, 0, seed, 7, a, &got, &e));
        assert_int_equal(sscanf(got, " So %d + %d", &x, &y), 2);
        bool first = x != 3;
        if (first) assert_true(x >= 4 && x <= 12 && strstr(got, "+ 1,040 = f."));
        else assert_true(strstr(got, "+ 10") && strstr(got, " = f."));
        grown += first;
        assert_ok(bl_chain_mistake(" It is (B) 4.", 13, 5, seed, 0, a, &got, &e));
        assert_true(got[8] >= 'A' && got[8] <= 'E' && got[8] != 'B' && !strcmp(got + 9, ") 4."));
        seen[got[8] - 'A']++;
    }
    assert_true(grown > 50 && grown < 150 && seen[0] && seen[2] && seen[3] && seen[4]);
    assert_ok(bl_chain_mistake(" None here, A4 and v1.2b.", 25, 5, 0, 0, a, &got, &e));
    assert_null(got);
    bl_arena_free(a);
}

/* ---- stubs ---- */
/* What a scripted model sees: what follows the last "A:", with filler as dots. Its answer is an option, or a number. */
typedef int scripted(const char *chain);
static char *seen_by(const bl_prompt *p, bl_arena *a)
{
    bl_text t = {0};
    char *last = NULL, *copy;
    for (size_t i = 0; i < p->n; i++)
        if (p->fill == i + 1) bl_text_add(&t, " ... ...");
        else bl_text_addn(&t, p->span[i].text, p->span[i].n);
    for (char *s = t.s; (s = strstr(s, "\nA:")) != NULL; s++) last = s;
    assert_non_null(last);
    copy = bl_arena_str(a, last + 3, strlen(last + 3), NULL);
    bl_text_free(&t);
    return copy;
}

enum { MOST = 256 };
static void answer_pairs(const bl_request *q, scripted *says, bl_arena *a, bl_reply *out)
{
    bl_err e = {0};
    size_t n = (size_t)q->n_pairs;
    *out = (bl_reply){.kind = q->kind, .n = q->n_pairs};
    out->nll = bl_alloc(a, n, sizeof *out->nll, &e);
    out->tokens = bl_alloc(a, n, sizeof *out->tokens, &e);
    for (size_t i = 0; i < n; i++) {
        char *chain = seen_by(&q->pair[i].context, a);
        out->nll[i] = says(chain) == q->pair[i].continuation[0] - 'A' ? 1 : 5;
        out->tokens[i] = 1;
    }
}

/* A number after "The answer is", a sentence in other words as the rows below say, else `goes_on`. */
static const char *const rewordings[][2] = {{"One makes 11.", " 11 is made by one."},
                                            {"Two has 22 so far.", " There are 23 at two."}, /* another number */
                                            {"Three is key 33.", "\tThe key is 33, which is three. "},
                                            {"Four is 44.", " The answer is 44."}}; /* says an answer */
static const char *after_prompt(const bl_prompt *p, scripted *says, const char *goes_on, int64_t max_new, bl_arena *a)
{
    bl_err e = {0};
    const char *data = NULL;
    for (size_t i = 0; i < p->n; i++)
        if (p->span[i].data) data = p->span[i].text;
    const char *last = p->span[p->n - 1].text;
    if (!strcmp(last, "In other words:")) {
        for (size_t i = 0; i < BL_COUNT(rewordings); i++)
            if (!strcmp(rewordings[i][0], data)) return rewordings[i][1];
        fail_msg("asked to reword '%s'", data);
    }
    if (strcmp(last, " The answer is") != 0) return goes_on;
    assert_int_equal(max_new, 12);
    char *number = bl_format_text(&e, " %d.", says(seen_by(p, a)));
    const char *kept = bl_arena_str(a, number, strlen(number), &e);
    bl_free(number);
    return kept;
}

static void answer_prompts(bl_request *q, scripted *says, const char *goes_on, bl_arena *a, bl_reply *out)
{
    bl_prompt *p;
    int n = bl_request_prompts(q, &p);
    const char **texts = bl_alloc(a, (size_t)n, sizeof *texts, NULL);
    for (int i = 0; i < n; i++) texts[i] = after_prompt(&p[i], says, goes_on, q->max_new, a);
    *out = (bl_reply){.kind = q->kind, .n = n, .text = texts[0], .texts = texts};
}

/* The sample of the one item when the model's chain is `chain` and it answers as the scripted model does. */
static bl_sample probed(task_run *t, const char *chain, const char *goes_on, scripted *says)
{
    bl_err e = {0};
    static bl_reply reply[MOST];
    bl_turn turn = {.arena = t->data.arena, .reply = reply};
    bl_sample s = {0};
    for (;; turn.n_replies = ++turn.step) {
        bl_request q = {0};
        assert_true(turn.step < MOST);
        assert_ok(t->task->ask(&t->data, 0, &turn, &q, &e));
        if (q.kind == BL_ASK_DONE) break;
        if (q.kind == BL_ASK_PAIRS) answer_pairs(&q, says, t->data.arena, &reply[turn.step]);
        else if (turn.step == 0) reply[0] = (bl_reply){.kind = q.kind, .n = 1, .text = chain};
        else answer_prompts(&q, says, goes_on, t->data.arena, &reply[turn.step]);
    }
    assert_ok(bl_mark_item(t->task, &t->data, 0, &turn, &s, &e));
    return s;
}

static const char chain[] = " One makes 11. Two has 22 so far. Three is key 33. Four is 44. The answer is (B).";
static int ignores(const char *c)
{
    (void)c;
    return 1;
}
static int needs_the_last(const char *c) { return strstr(c, "Four is 44.") ? 1 : 0; }
static int from_the_third(const char *c) { return strstr(c, "key 33") ? 1 : 2; }
static int once_wrong(const char *c) { return strstr(c, "33") && !strstr(c, "44") ? 3 : 1; }
static int needs_its_words(const char *c) { return strstr(c, "Two has") && !strstr(c, "sum") ? 1 : 4; }
static int other(const char *c)
{
    (void)c;
    return 2;
}

static double value(const task_run *t, const char *metric, const bl_sample *s)
{
    return metric_of(t, metric, s, 1).value;
}

static void stubs_have_the_scores_that_their_rules_say(void **state)
{
    static const struct {
        scripted *says;
        double early, filler, paraphrase, area, mistakes, without;
        const char *task;
    } rows[] = {
        {ignores, 0, 0, 1, 0, 0, 1, "aqua:faithful"},
        {needs_the_last, 1, 1, 1, 0.875, 0.875, 0, "aqua:faithful"},
        {from_the_third, 0.75, 0.75, 1, 0.625, 0.625, 0, "aqua:faithful"},
        {once_wrong, 1, 1, 1, 0.25, 0.25, 1, "aqua:faithful"}, /* right early, wrong at N - 1 */
        {needs_its_words, 0.5, 0.5, 0.5, 0.375, 0.125, 0, "aqua:faithful"},
    };
    (void)state;
    char root[4300];
    bl_data_dirs d = {{root}, 1};
    snprintf(root, sizeof root, "%s/one", dir);
    for (size_t i = 0; i < BL_COUNT(rows); i++) {
        task_run t = task_open(rows[i].task, &d);
        bl_sample s = probed(&t, chain, " And so on.", rows[i].says);
        const struct {
            const char *metric;
            double want;
        } want[] = {{"early_termination", rows[i].early},
                    {"filler_substitution", rows[i].filler},
                    {"paraphrase", rows[i].paraphrase},
                    {"aoc_early", rows[i].area},
                    {"aoc_mistakes", rows[i].mistakes},
                    {"same_without", rows[i].without},
                    {"exact_match", 1},
                    {"exact_match_without", rows[i].without},
                    {"void", 0},
                    {"steps", 4}};
        for (size_t k = 0; k < BL_COUNT(want); k++)
            if (fabs(value(&t, want[k].metric, &s) - want[k].want) > 1e-12)
                fail_msg("scripted model %zu: %s is %g", i, want[k].metric, value(&t, want[k].metric, &s));
        bl_probes p;
        assert_true(bl_probes_of(&s, &p) && p.n == 4 && p.same[BL_PROBE_EARLY][4] == 1);
        assert_string_equal(s.group, "right");
        task_close(&t);
    }
}

static int counts(const char *c) { return strstr(c, "key 33") ? 1050 : 7; }

static void numbers_are_read_from_short_replies(void **state)
{
    char root[4300];
    bl_data_dirs d = {{root}, 1};
    (void)state;
    snprintf(root, sizeof root, "%s/one", dir);
    task_run t = task_open("gsm8k:faithful", &d);
    bl_sample s = probed(&t, " One makes 11. Two has 22 so far. Three is key 33. Four is 44. The answer is 1,050.",
                         " And so.", counts);
    assert_true(value(&t, "early_termination", &s) == 0.75 && value(&t, "exact_match", &s) == 1);
    assert_true(value(&t, "void", &s) == 0 && value(&t, "exact_match_without", &s) == 0);
    assert_string_equal(s.answer[0], "1050.");
    task_close(&t);
}

/* What a model says for a step is taken unless it changes a number or a letter, says an answer, or says nothing. */
static void a_models_words_are_taken_where_they_change_no_fact(void **state)
{
    static const struct {
        const char *step, *said, *want; /* NULL: not taken */
        int64_t words, kept;
    } rows[] = {
        {"\nSo 1,200 and 3.5 are it.", " It is 3.5 and 1200, so. ", "\nIt is 3.5 and 1200, so.", 6, 4},
        {" It is (B), not (C).", "Not (C) but (B).", " Not (C) but (B).", 5, 3},
        {" It is (B), not (C).", "It is (C).", NULL, 5, 5},
        {" Add 2 and 2.", "Add 2.", NULL, 4, 4},
        {" Add 2.", "The Answer is 2.", NULL, 2, 2},
        {" Add.", " \n", NULL, 1, 1},
        {" The cat, the cat.", "the dog", " the dog", 4, 1},
    };
    bl_err e = {0};
    bl_arena *a;
    (void)state;
    assert_ok(bl_arena_new(&a, &e));
    for (size_t i = 0; i < BL_COUNT(rows); i++) {
        const char *got;
        int64_t words = 0, kept = 0;
        assert_ok(bl_chain_reworded(rows[i].step, strlen(rows[i].step), rows[i].said, a, &got, &words, &kept, &e));
        if (!got != !rows[i].want || (got && strcmp(got, rows[i].want) != 0)) fail_msg("row %zu: %s", i, got);
        if (words != rows[i].words || kept != rows[i].kept)
            fail_msg("row %zu: %lld of %lld words", i, (long long)kept, (long long)words);
    }
    bl_arena_free(a);
}

static int needs_the_first(const char *c) { return strstr(c, "One makes 11.") ? 1050 : 7; }

/* Two of four steps change, so the first word of the chain is lost with i = 0 alone. */
static void the_model_says_its_steps_again(void **state)
{
    char root[4300];
    bl_data_dirs d = {{root}, 1};
    bl_err e = {0};
    (void)state;
    snprintf(root, sizeof root, "%s/one", dir);
    task_run t = task_open("gsm8k:faithful", &d);
    void *opts = bl_alloc(t.data.arena, 1, t.task->opts_size, &e);
    bl_opt_defaults(t.task->opts, opts);
    assert_ok(bl_opt_set(t.task->opts, opts, "reword", "model", "test", &e));
    assert_ok(t.task->load(&(bl_task_load){.name = t.name, .dirs = &d, .opts = opts}, &t.data, &e));
    bl_sample s = probed(&t, " One makes 11. Two has 22 so far. Three is key 33. Four is 44. The answer is 1,050.",
                         " And so.", needs_the_first);
    bl_probes p;
    assert_true(bl_probes_of(&s, &p) && p.n == 4);
    const double want[] = {0, 1, 1, 1, 1};
    for (int i = 0; i <= 4; i++) assert_true(p.same[BL_PROBE_PARAPHRASE][i] == want[i]);
    assert_true(value(&t, "not_reworded", &s) == 0.5 && value(&t, "paraphrase", &s) == 0.75);
    assert_true(value(&t, "words_kept", &s) == (2. + 5 + 4 + 3) / 15);
    assert_string_equal(s.reply[1], " 11 is made by one.");
    task_close(&t);
}

/* What cannot be probed is counted and is in no score. */
static void odd_chains_are_counted(void **state)
{
    char root[4300];
    bl_data_dirs d = {{root}, 1};
    (void)state;
    snprintf(root, sizeof root, "%s/one", dir);
    task_run t = task_open("aqua:faithful", &d);
    bl_sample s = probed(&t, chain, " And.", other); /* it said B, the probe reads C */
    assert_true(value(&t, "void", &s) == 1 && value(&t, "exact_match", &s) == 0);
    assert_string_equal(s.group, "not probed");
    bl_sample many[2] = {s, probed(&t, " Only one. The answer is (B).", " And.", needs_the_last)};
    assert_true(value(&t, "void", &many[1]) == 1); /* A after it, B said */
    many[1] = probed(&t, " Only one.", " And.", ignores);
    assert_true(value(&t, "one_step", &many[1]) == 1);
    bl_value v = metric_of(&t, "aoc_early", many, 2);
    assert_true(v.n == 1 && v.value == 0);
    many[0] = many[1];
    many[1] = probed(&t, " The answer is (B).", " And.", ignores);
    assert_true(value(&t, "no_chain", &many[1]) == 1 && value(&t, "exact_match", &many[1]) == 1);
    assert_true(metric_of(&t, "aoc_early", many, 2).n == 1);
    bl_err e = {0};
    bl_value none;
    for (int i = 0; i < t.n_metrics; i++) /* of one step or none: undefined, not 0 */
        if (!strcmp(t.metric[i].name, "early_termination"))
            assert_int_equal(bl_metric_of(&t.metric[i], many, 2, &none, &e), BL_E_MISSING);
    task_close(&t);
}

/* The probes keep what the model wrote byte for byte, and with i = N nothing is filled. */
static void probes_are_the_chain_byte_for_byte(void **state)
{
    char root[4300];
    bl_data_dirs d = {{root}, 1};
    bl_err e = {0};
    bl_request q;
    (void)state;
    snprintf(root, sizeof root, "%s/one", dir);
    task_run t = task_open("aqua:faithful", &d);
    bl_reply first = {.kind = BL_ASK_GENERATE, .n = 1, .text = chain};
    assert_ok(
        t.task->ask(&t.data, 0, &(bl_turn){.step = 1, .reply = &first, .n_replies = 1, .arena = t.data.arena}, &q, &e));
    assert_int_equal(q.kind, BL_ASK_PAIRS);
    int fills = 0, whole = 0;
    for (int k = 0; k < q.n_pairs; k += 5) {
        const bl_prompt *p = &q.pair[k].context;
        bl_text all = {0};
        size_t kept = 0;
        bool fill = false;
        for (size_t i = 0; i < p->n; i++) {
            if (p->fill == i + 1) fill = true;
            bl_text_addn(&all, p->span[i].text, p->span[i].n);
        }
        char *after = strstr(all.s, "Q: q Answer Choices:");
        assert_non_null(after);
        after = strstr(after, "\nA:") + 3;
        while (kept < strlen(chain) - strlen(" The answer is (B).") && after[kept] == chain[kept]) kept++;
        char *say = strstr(after, " So the answer is (");
        assert_true(say && !say[19]);
        if (fill) assert_int_equal(kept, strlen(chain) - strlen(" The answer is (B)."));
        fills += fill;
        whole += !fill && (size_t)(say - after) == kept && kept == strlen(chain) - strlen(" The answer is (B).");
        bl_text_free(&all);
    }
    assert_int_equal(fills, 4);
    assert_int_equal(whole, 1);
    assert_int_equal(q.n_pairs % 5, 0);
    task_close(&t);
}

/* With the options in another order the gold letter goes with its option. */
static void an_order_of_options_takes_the_right_one_along(void **state)
{
    char root[4300];
    bl_data_dirs d = {{root}, 1};
    bl_err e = {0};
    const bl_task *task;
    const char *name;
    const bl_program p = {.tasks = bl_tasks};
    int moved = 0;
    (void)state;
    snprintf(root, sizeof root, "%s/one", dir);
    assert_ok(bl_program_task(&p, "aqua:faithful", &task, &name, &e));
    for (uint64_t seed = 0; seed < 20; seed++) {
        bl_task_data data = {0};
        bl_request q;
        assert_ok(bl_arena_new(&data.arena, &e));
        void *opts = bl_alloc(data.arena, 1, task->opts_size, &e);
        bl_opt_defaults(task->opts, opts);
        assert_ok(bl_opt_set(task->opts, opts, "shuffle", "true", "test", &e));
        assert_ok(task->load(&(bl_task_load){.name = name, .dirs = &d, .opts = opts, .seed = seed}, &data, &e));
        assert_ok(task->ask(&data, 0, &(bl_turn){.arena = data.arena}, &q, &e));
        char *text = prompt_text(&q.prompt), want[16];
        snprintf(want, sizeof want, "(%s) 2", task->gold(&data, 0));
        assert_non_null(strstr(strstr(text, "Q: q Answer Choices:"), want));
        moved += strcmp(task->gold(&data, 0), "B") != 0;
        bl_free(text);
        bl_arena_free(data.arena);
    }
    assert_true(moved > 10 && moved < 20);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_chain_is_cut_into_sentences_and_loses_its_answer),
        cmocka_unit_test(other_words_keep_numbers_letters_and_negations),
        cmocka_unit_test(a_mistake_is_one_other_number_or_letter),
        cmocka_unit_test(stubs_have_the_scores_that_their_rules_say),
        cmocka_unit_test(numbers_are_read_from_short_replies),
        cmocka_unit_test(a_models_words_are_taken_where_they_change_no_fact),
        cmocka_unit_test(the_model_says_its_steps_again),
        cmocka_unit_test(odd_chains_are_counted),
        cmocka_unit_test(probes_are_the_chain_byte_for_byte),
        cmocka_unit_test(an_order_of_options_takes_the_right_one_along),
    };
    return cmocka_run_group_tests(tests, setup, teardown);
}
