/* tasks_mark.c - what a choice of which nothing can be scored does to an item: lm_eval 0.4.13 stops with an error, here
 * it counts as wrong, whichever choice it is, and spoils no average. */
#include "test.h"
#include "results/metric.h"
#include "tasks/registry.h"
#include "tasks/shared_choice.h"
#include <math.h>

static bl_reply reply(double *nll, int64_t *tokens, int n)
{
    static double squares[4];
    static bool greedy[4];
    static int64_t chars[4] = {1, 2, 3, 4}, bytes[4] = {1, 2, 3, 4};
    return (bl_reply){.kind = BL_ASK_PAIRS,
                      .n = n,
                      .nll = nll,
                      .nll_sq = squares,
                      .tokens = tokens,
                      .greedy = greedy,
                      .chars = chars,
                      .bytes = bytes};
}

static void a_choice_without_tokens_never_wins(void **state)
{
    (void)state;
    enum { X = -1 }; /* nothing to score */
    static const struct {
        double nll[3];
        int gold, pick, right;
    } rows[] = {
        {{X, 5, 9}, 0, 1, 0}, {{X, 5, 9}, 1, 1, 1}, {{2, X, 9}, 0, 0, 1},
        {{2, X, X}, 2, 0, 0}, {{X, X, X}, 0, 0, 0}, {{X, X, X}, 1, 0, 0},
    };
    bl_err e = {0};
    bl_arena *a;
    assert_ok(bl_arena_new(&a, &e));
    for (size_t i = 0; i < BL_COUNT(rows); i++) {
        double nll[3];
        int64_t tokens[3];
        for (int c = 0; c < 3; c++) {
            tokens[c] = rows[i].nll[c] < 0 ? 0 : 2;
            nll[c] = tokens[c] ? rows[i].nll[c] : BL_NLL_UNSCORED;
        }
        bl_reply r = reply(nll, tokens, 3);
        static const bl_choice_task kind = {.by_length = true};
        bl_choice q = {.n_choices = 3, .gold = rows[i].gold};
        bl_task_data d = {.n = 1, .rows = &(bl_choice_rows){.task = &kind, .row = &q}};
        bl_sample s = {0};
        assert_ok(bl_choice_mark(&d, 0, &(bl_turn){.step = 1, .reply = &r, .n_replies = 1, .arena = a}, &s, &e));
        if (s.pick != rows[i].pick || s.score[0] != rows[i].right || s.score[1] != rows[i].right)
            fail_msg("row %zu: pick %d, scores %g %g", i, s.pick, s.score[0], s.score[1]);
        for (int c = 0; c < 3; c++) assert_true(isfinite(s.value[c]));
    }
    bl_arena_free(a);
}

static const bl_task *task(const char *name)
{
    for (size_t i = 0; bl_tasks[i]; i++)
        for (const char *const *n = bl_tasks[i]->names; *n; n++)
            if (!strcmp(*n, name)) return bl_tasks[i];
    fail_msg("no task '%s'", name);
    return NULL;
}

static void a_word_without_tokens_is_wrong_and_has_no_perplexity(void **state)
{
    (void)state;
    const bl_task *t = task("lambada_openai");
    bl_err e = {0};
    bl_arena *a;
    bl_sample s[2] = {0};
    bl_value v;
    assert_ok(bl_arena_new(&a, &e));
    for (int i = 0; i < 2; i++) {
        double nll[] = {i ? BL_NLL_UNSCORED : 3};
        int64_t tokens[] = {i ? 0 : 1};
        bl_reply r = reply(nll, tokens, 1);
        r.greedy[0] = !i;
        r.unscored = i;
        assert_ok(bl_mark_item(t, NULL, i, &(bl_turn){.reply = &r, .n_replies = 1, .arena = a}, &s[i], &e));
        assert_int_equal(s[i].flags & BL_SAMPLE_UNSCORED, i ? BL_SAMPLE_UNSCORED : 0);
    }
    assert_ok(bl_metric_of(&t->metrics[0], s, 2, &v, &e));
    assert_true(v.value == 0.5);
    assert_ok(bl_metric_of(&t->metrics[1], s, 2, &v, &e));
    assert_true(fabs(v.value - exp(3)) < 1e-12);
    bl_arena_free(a);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_choice_without_tokens_never_wins),
        cmocka_unit_test(a_word_without_tokens_is_wrong_and_has_no_perplexity),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
