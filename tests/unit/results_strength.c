/* results_strength.c - strengths of players that met in pairs, where mathematics says what they are. */
#include "test.h"
#include "results/strength.h"
#include <math.h>

static bl_err e;

/* Two players, w wins of n: with the tie against a player of 1 each, p and 1/p by symmetry; at the maximum
 * w + 1/2 = n p / (p + 1/p) + p / (p + 1). */
static void two_players_satisfy_their_equation(void **state)
{
    (void)state;
    for (int wins = 0; wins <= 10; wins++) {
        bl_match m[10];
        bl_strength s[2];
        for (int i = 0; i < 10; i++) m[i] = (bl_match){0, 1, i < wins, i};
        assert_ok(bl_strengths(m, 10, 2, 0, 0, s, &e));
        double p = pow(10, (s[0].rating - 1000) / 400);
        if (fabs(wins + 0.5 - 10 * p / (p + 1 / p) - p / (p + 1)) > 1e-6) fail_msg("%d wins: %g", wins, p);
        assert_true(fabs(s[0].rating + s[1].rating - 2000) < 1e-6);
        assert_int_equal(s[0].won, wins);
        assert_int_equal(s[1].lost, wins);
    }
}

/* Ten to one is 400 points; many matches leave the one tie behind. */
static void odds_of_ten_to_one_are_400_points(void **state)
{
    enum { N = 11000 };
    bl_match *m = calloc(N, sizeof *m);
    bl_strength s[2];
    (void)state;
    for (int i = 0; i < N; i++) m[i] = (bl_match){1, 0, i % 11 != 0, i};
    assert_ok(bl_strengths(m, N, 2, 0, 0, s, &e));
    assert_true(fabs(s[1].rating - s[0].rating - 400) < 1);
    free(m);
}

/* Swapping the sides of a match, or calling a tie half a win of each, changes nothing. */
static void sides_and_ties_are_symmetric(void **state)
{
    const bl_match m[] = {{0, 1, 1, 1}, {1, 2, 0.5, 1}, {2, 0, 0, 2}, {0, 1, 0.5, 3}};
    bl_match turned[BL_COUNT(m)];
    bl_strength s[3], t[3];
    (void)state;
    for (size_t i = 0; i < BL_COUNT(m); i++) turned[i] = (bl_match){m[i].b, m[i].a, 1 - m[i].score, m[i].item};
    assert_ok(bl_strengths(m, BL_COUNT(m), 3, 200, 5, s, &e));
    assert_ok(bl_strengths(turned, BL_COUNT(m), 3, 200, 5, t, &e));
    for (int i = 0; i < 3; i++) {
        assert_true(fabs(s[i].rating - t[i].rating) < 1e-6 && fabs(s[i].low - t[i].low) < 1e-6);
        assert_true(s[i].low <= s[i].rating && s[i].rating <= s[i].high);
    }
    assert_true(s[0].rating > s[1].rating && s[0].tied == 1 && s[2].tied == 1);
    assert_ok(bl_strengths((bl_match[]){{0, 1, 0.5, 1}}, 1, 2, 50, 0, s, &e));
    assert_true(fabs(s[0].rating - 1000) < 1e-9 && s[0].low == s[0].high);
}

static void who_never_lost_is_not_infinitely_strong(void **state)
{
    bl_match m[20];
    bl_strength s[2];
    (void)state;
    for (int i = 0; i < 20; i++) m[i] = (bl_match){0, 1, 1, i};
    assert_ok(bl_strengths(m, 20, 2, 100, 0, s, &e));
    assert_true(isfinite(s[0].rating) && s[0].rating > s[1].rating + 300);
    assert_refused(bl_strengths((bl_match[]){{1, 1, 1, 0}}, 1, 2, 0, 0, s, &e), BL_E_CONFIG, "players 1 and 1 of 2");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(two_players_satisfy_their_equation),
        cmocka_unit_test(odds_of_ten_to_one_are_400_points),
        cmocka_unit_test(sides_and_ties_are_symmetric),
        cmocka_unit_test(who_never_lost_is_not_infinitely_strong),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
