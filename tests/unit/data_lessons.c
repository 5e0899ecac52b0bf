/* The made-up corpus: is what it says right, and are its parts apart? */
#include "test.h"
#include "harness/data/lessons.h"

enum { MANY = 3000 };

/* The chain of a reasoning is worked out again, from the numbers of the question's sentences. */
static void every_step_of_a_sum_is_right_and_leads_to_the_answer(void **state)
{
    (void)state;
    bl_err e = {0};
    bl_lesson l = {0};
    int most = 0;
    for (uint64_t i = 0; i < MANY; i++) {
        assert_ok(bl_lesson_make(BL_LESSON_SUMS, (bl_lesson_part)(i % 2), 1, i, &l, &e));
        int now = 0, a, b, c, used, steps = 0, sentences = 0;
        char sign;
        assert_int_equal(sscanf(l.question.s, "%*s has %d", &now), 1);
        const char *says = strstr(l.question.s, ". ") + 2;
        for (const char *p = l.reasoning.s; *p; p += used + (p[used] == ' ')) {
            if (sscanf(p, "%d %c %d = %d.%n", &a, &sign, &b, &c, &used) != 4) fail_msg("'%s'", p);
            const char *word = strpbrk(says, "0123456789");
            assert_non_null(word);
            assert_int_equal(atoi(word), b);
            const char *end = strstr(says, ". ");
            bool less = strstr(says, "sells") == says + strcspn(says, " ") + 1 ||
                        strstr(says, "loses") == says + strcspn(says, " ") + 1 ||
                        strstr(says, "gives") == says + strcspn(says, " ") + 1;
            bool heaps = strstr(says, "heaps") && strstr(says, "heaps") < end;
            bool as_many = strstr(says, "times as many") && strstr(says, "times as many") < end;
            assert_int_equal(sign, heaps ? '/' : as_many ? '*' : less ? '-' : '+');
            assert_int_equal(a, now);
            assert_true(sign != '/' || a % b == 0);
            assert_int_equal(c, sign == '+' ? a + b : sign == '-' ? a - b : sign == '*' ? a * b : a / b);
            assert_in_range(c, 1, 999);
            now = c;
            says = end + 2;
            steps++;
        }
        assert_memory_equal(says, "How many", 8);
        assert_int_equal(atoi(l.answer.s), now);
        for (const char *p = l.question.s; (p = strstr(p, ". ")); p++) sentences++;
        assert_int_equal(sentences, steps + 1);
        if (steps > most) most = steps;
    }
    assert_int_equal(most, 8);
    bl_lesson_free(&l);
}

/* Who is before whom is taken from the question, and each pair is in the order that the reasoning gives. */
static void an_order_holds_all_its_pairs_and_gives_who_was_asked_for(void **state)
{
    (void)state;
    bl_err e = {0};
    bl_lesson l = {0};
    for (uint64_t i = 0; i < MANY; i++) {
        char who[5][16], a[16], b[16];
        int n = 0, pairs = 0, used;
        assert_ok(bl_lesson_make(BL_LESSON_ORDER, BL_LESSON_TRAIN, 2, i, &l, &e));
        for (const char *p = strchr(l.reasoning.s, ':') + 1; sscanf(p, " %15[A-Za-z]%n", who[n], &used) == 1;)
            p += used + 1, n++;
        const char *p = l.question.s;
        for (; sscanf(p, "%15[A-Za-z] is %*s than %15[A-Za-z].%n", a, b, &used) == 2; p += used + 1) {
            int at = 0;
            while (at < n && strcmp(who[at], a)) at++;
            assert_true(at + 1 < n);
            assert_string_equal(who[at + 1], b);
            pairs++;
        }
        assert_int_equal(pairs, n - 1);
        bool last = strstr(p, "shortest") || strstr(p, "youngest") || strstr(p, "slowest") || strstr(p, "poorest");
        assert_string_equal(l.answer.s, who[strstr(p, "after") ? 1 : last ? n - 1 : 0]);
    }
    bl_lesson_free(&l);
}

/* In one sentence of the story the one who was asked for and the answer are together. */
static void the_answer_of_a_story_is_told_in_it(void **state)
{
    (void)state;
    bl_err e = {0};
    bl_lesson l = {0};
    static const struct {
        const char *ask, *say;
    } rows[] = {{"Where does %15[A-Za-z] live?", "%s lives in %s."},
                {"Which animal does %15[A-Za-z] have?", "%s has a small %s."},
                {"What is the work of %15[A-Za-z]?", "%s works as a %s."},
                {"Which colour is the coat of %15[A-Za-z]?", "%s wears a %s coat."}};
    for (uint64_t i = 0; i < MANY; i++) {
        assert_ok(bl_lesson_make(BL_LESSON_STORY, BL_LESSON_TEST, 3, i, &l, &e));
        const char *asked = strrchr(l.question.s, '.') + 2;
        char who[16], told[64];
        size_t k = 0;
        while (k < BL_COUNT(rows) && sscanf(asked, rows[k].ask, who) != 1) k++;
        assert_true(k < BL_COUNT(rows));
        snprintf(told, sizeof told, rows[k].say, who, l.answer.s);
        if (!strstr(l.question.s, told)) fail_msg("'%s': %s", l.question.s, told);
    }
    bl_lesson_free(&l);
}

static int by_text(const void *a, const void *b) { return strcmp(*(char *const *)a, *(char *const *)b); }

/* The same of everybody whatever the seed, and told and asked in the same words. */
static void lives_never_change_and_answer_the_questions_about_them(void **state)
{
    (void)state;
    bl_err e = {0};
    bl_lesson l = {0}, f = {0};
    static char *told[4 * MANY];
    static const struct {
        const char *ask, *say;
    } rows[] = {{"Where did %31[A-Za-z ] live?", "%s lived in %s."},
                {"Which animal did %31[A-Za-z ] own?", "%s owned a %s."},
                {"What was the work of %31[A-Za-z ]?", "%s was a %s."},
                {"When was %31[A-Za-z ] born?", "%s was born in %s."}};
    int n = 0, again = 0;
    for (uint64_t i = 0; i < MANY; i++) {
        assert_ok(bl_lesson_make(BL_LESSON_LIFE, BL_LESSON_TRAIN, 1, i, &l, &e));
        assert_int_equal(l.answer.n + l.reasoning.n, 0);
        for (char *p = l.question.s, *end; p; p = end ? end + 2 : NULL) {
            end = strstr(p, ". ");
            told[n++] = end ? strndup(p, (size_t)(end - p) + 1) : strdup(p);
        }
    }
    assert_int_equal(n, 4 * MANY);
    qsort(told, (size_t)n, sizeof *told, by_text);
    for (uint64_t i = 0; i < MANY; i++) {
        char who[64], say[96], *key = say;
        size_t k = 0;
        assert_ok(bl_lesson_make(BL_LESSON_FACT, (bl_lesson_part)(i % 2), 2, i, &f, &e));
        while (k < BL_COUNT(rows) && sscanf(f.question.s, rows[k].ask, who) != 1) k++;
        assert_true(k < BL_COUNT(rows));
        if (k == 0) *strstr(who, " live") = 0;
        if (k == 1) *strstr(who, " own") = 0;
        if (k == 3) *strstr(who, " born") = 0;
        snprintf(say, sizeof say, rows[k].say, who, f.answer.s);
        bool found = bsearch(&key, told, (size_t)n, sizeof *told, by_text) != NULL;
        /* else it is somebody of whom nothing was told */
        snprintf(say, sizeof say, rows[k].say, who, "");
        size_t len = strlen(say) - 1;
        bool other = false;
        for (int t = 0; t < n && !found; t++) other = other || strncmp(told[t], say, len) == 0;
        assert_false(other && !found);
        again += found;
        const char *const *words = bl_lesson_choices(&f);
        assert_true((words == NULL) == (k == 3));
        bool there = false;
        for (; words && *words; words++) there = there || strcmp(*words, f.answer.s) == 0;
        assert_true(there || k == 3);
    }
    assert_in_range(again, MANY * 4 / 10, MANY * 7 / 10); /* 3,000 draws of 3,600 people: 57 in 100 */
    for (int i = 0; i < n; i++) free(told[i]);
    bl_lesson_free(&l);
    bl_lesson_free(&f);
}

/* Small orders come again and again, so a split by number or seed would share some. */
static void no_question_of_the_test_is_in_a_training_text_of_any_seed(void **state)
{
    (void)state;
    bl_err e = {0};
    bl_lesson l = {0};
    static char *test[MANY];
    int again = 0;
    for (uint64_t i = 0; i < MANY; i++) {
        assert_ok(bl_lesson_make(BL_LESSON_ORDER, BL_LESSON_TEST, 4, i, &l, &e));
        test[i] = strdup(l.question.s);
    }
    qsort(test, MANY, sizeof *test, by_text);
    for (uint64_t i = 0; i < 20 * MANY; i++) {
        assert_ok(bl_lesson_make(BL_LESSON_ORDER, (bl_lesson_part)(i % 2), 5 + i % 7, i, &l, &e));
        bool found = bsearch(&l.question.s, test, MANY, sizeof *test, by_text) != NULL;
        if (i % 2 == BL_LESSON_TRAIN) assert_false(found);
        else again += found;
    }
    assert_true(again > 0); /* among those of the test there are the same ones */
    for (int i = 0; i < MANY; i++) free(test[i]);
    bl_lesson_free(&l);
}

static void texts_are_printable_and_short_and_others_for_another_seed(void **state)
{
    (void)state;
    bl_err e = {0};
    bl_text one = {0}, again = {0};
    int direct = 0, reasoned = 0;
    for (uint64_t i = 0; i < MANY; i++) {
        one.n = again.n = 0;
        assert_ok(bl_lesson_document(6, i, &one, &e));
        assert_true(one.n < 1000);
        for (size_t k = 0; k < one.n; k++) assert_true(one.s[k] == '\n' || (one.s[k] >= ' ' && one.s[k] <= '~'));
        reasoned += strstr(one.s, "\nA: ") != NULL;
        direct += strstr(one.s, " now?\nThe answer is ") != NULL;
        assert_ok(bl_lesson_document(7, i, &again, &e));
        assert_true(one.n != again.n || memcmp(one.s, again.s, one.n));
    }
    assert_in_range(reasoned, MANY * 31 / 100, MANY * 41 / 100); /* 0.55 x 0.65 */
    assert_in_range(direct, MANY * 14 / 100, MANY * 21 / 100);   /* 0.5 x 0.35 */
    bl_text_free(&one);
    bl_text_free(&again);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_step_of_a_sum_is_right_and_leads_to_the_answer),
        cmocka_unit_test(an_order_holds_all_its_pairs_and_gives_who_was_asked_for),
        cmocka_unit_test(the_answer_of_a_story_is_told_in_it),
        cmocka_unit_test(lives_never_change_and_answer_the_questions_about_them),
        cmocka_unit_test(no_question_of_the_test_is_in_a_training_text_of_any_seed),
        cmocka_unit_test(texts_are_printable_and_short_and_others_for_another_seed),
    };
    return cmocka_run_group_tests_name("lessons", tests, NULL, NULL);
}
