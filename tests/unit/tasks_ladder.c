/* The items of the ladder tasks: held out, with their right answers, and what is read out of replies. */
#include "harness/data/lessons.h"
#include "tasks/registry.h"
#include "test.h"
#include <math.h>

static const bl_task *ladder(void)
{
    for (size_t i = 0; bl_tasks[i]; i++)
        if (!strcmp(bl_tasks[i]->names[0], "ladder:ppl")) return bl_tasks[i];
    fail();
    return NULL;
}

typedef struct loaded {
    bl_arena *a;
    bl_task_data d;
} loaded;
static loaded load(const char *name)
{
    bl_err e = {0};
    loaded l = {0};
    assert_ok(bl_arena_new(&l.a, &e));
    l.d.arena = l.a;
    assert_ok(ladder()->load(&(bl_task_load){.name = name}, &l.d, &e));
    return l;
}

/* The text of a prompt. */
static char *text_of(const bl_prompt *p, char *to, size_t size)
{
    size_t n = 0;
    for (size_t i = 0; i < p->n; i++) {
        assert_true(n + p->span[i].n < size);
        memcpy(to + n, p->span[i].text, p->span[i].n);
        n += p->span[i].n;
    }
    to[n] = 0;
    return to;
}

static void questions_are_those_of_the_test_part_and_differ(void **state)
{
    (void)state;
    bl_err e = {0};
    static const char *const names[] = {"ladder:ppl", "ladder:choice", "ladder:cot", "ladder:direct"};
    static const int64_t n[] = {400, 200, 200, 200};
    static char text[400][1200];
    for (size_t k = 0; k < BL_COUNT(names); k++) {
        loaded l = load(names[k]);
        int same = 0;
        assert_int_equal(l.d.n, n[k]);
        for (int64_t i = 0; i < l.d.n; i++) {
            bl_request r = {0};
            assert_ok(ladder()->ask(&l.d, i, &(bl_turn){.arena = l.a}, &r, &e));
            bool pairs = r.kind == BL_ASK_PAIRS;
            text_of(pairs ? &r.pair[0].context : &r.prompt, text[i], sizeof text[i]);
            assert_memory_equal(text[i], "Q: ", 3);
            const char *end = k == 2 ? "\nA:" : "\nThe answer is";
            size_t len = strlen(text[i]), tail = strlen(end);
            assert_string_equal(text[i] + len - tail, end);
            /* the part that a text belongs to follows from its question alone */
            assert_int_equal(bl_hash_bytes(text[i] + 3, len - tail - 3).lo % 8, 0);
            const char *gold = ladder()->gold(&l.d, i);
            assert_int_equal(r.n_pairs, k == 0 ? 1 : k == 1 ? 4 : 0);
            if (k == 0) assert_string_equal(r.pair[0].continuation + 1, gold);
            int right = 0;
            for (int c = 0; c < r.n_pairs; c++) {
                right += !strcmp(r.pair[c].continuation + 1, gold);
                for (int o = 0; o < c; o++) assert_string_not_equal(r.pair[c].continuation, r.pair[o].continuation);
            }
            assert_int_equal(right, pairs);
            for (int64_t o = 0; o < i; o++) same += !strcmp(text[o], text[i]);
        }
        assert_in_range(same, 0, k < 2 ? l.d.n / 5 : 0); /* there are 1,800 questions about people */
        bl_arena_free(l.a);
    }
}

static void replies_are_read_as_they_are_asked_for(void **state)
{
    (void)state;
    bl_err e = {0};
    for (int direct = 0; direct < 2; direct++) {
        loaded l = load(direct ? "ladder:direct" : "ladder:cot");
        const char *gold = ladder()->gold(&l.d, 7);
        char says[3][64];
        snprintf(says[0], sizeof says[0], direct ? " %s." : " 1 + 1 = 2. The answer is %s.", gold);
        snprintf(says[1], sizeof says[1], direct ? " %s1." : " 1 + 1 = 2. The answer is %s1.", gold);
        snprintf(says[2], sizeof says[2], " nothing");
        for (int k = 0; k < 3; k++) {
            bl_sample s = {0};
            bl_reply r = {.kind = BL_ASK_GENERATE, .n = 1, .text = says[k]};
            assert_ok(
                ladder()->mark(&l.d, 7, &(bl_turn){.step = 1, .reply = &r, .n_replies = 1, .arena = l.a}, &s, &e));
            assert_true(s.score[0] == (k == 0) && s.score[1] == (k == 0)); /* strict, flexible */
            assert_true(s.score[2] == (k == 2));                           /* no answer */
        }
        bl_arena_free(l.a);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(questions_are_those_of_the_test_part_and_differ),
        cmocka_unit_test(replies_are_read_as_they_are_asked_for),
    };
    return cmocka_run_group_tests_name("ladder tasks", tests, NULL, NULL);
}
