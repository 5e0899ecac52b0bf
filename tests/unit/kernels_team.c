/* The threads of the CPU backend: every task runs once, a lane runs one at a time, and the caller sees all of it. */
#include "test.h"
#include "kernels/cpu/team.h"
#include <sched.h>
#include <stdatomic.h>

enum { TASKS = 1000, LANES = 8 };

typedef struct work {
    int64_t from[TASKS], to[TASKS]; /* plain memory: what the tasks read was written by the caller before */
    int times[TASKS];
    _Atomic int busy[LANES];
    _Atomic bool met, out_of_range;
    int lanes;
    bool rest; /* now and then others get the processor */
} work;

static void square(void *ctx, int64_t i, int lane)
{
    work *w = ctx;
    if (lane < 0 || lane >= w->lanes) atomic_store(&w->out_of_range, true);
    else if (atomic_exchange(&w->busy[lane], 1)) atomic_store(&w->met, true);
    if (w->rest && i % 64 == 0) sched_yield();
    w->to[i] = w->from[i] * w->from[i];
    w->times[i]++;
    if (lane >= 0 && lane < w->lanes) atomic_store(&w->busy[lane], 0);
}

static void jobs(int threads, int used, int64_t n, int rounds, bool rest)
{
    bl_err e = {0};
    bl_team *t;
    static work w;
    assert_ok(bl_team_new(threads, &t, &e));
    for (int round = 1; round <= rounds; round++) {
        w = (work){.lanes = BL_MIN(threads, used), .rest = rest};
        for (int64_t i = 0; i < n; i++) w.from[i] = i + round;
        bl_team_run(t, used, square, &w, n);
        for (int64_t i = 0; i < n; i++) {
            assert_int_equal(w.times[i], 1);
            assert_int_equal(w.to[i], (i + round) * (i + round));
        }
        assert_false(atomic_load(&w.met));
        assert_false(atomic_load(&w.out_of_range));
    }
    bl_team_free(t);
}

static void every_task_runs_once_and_is_done_when_the_call_returns(void **state)
{
    (void)state;
    for (int threads = 1; threads <= LANES; threads *= 2) jobs(threads, threads, TASKS, 20, false);
}

static void many_short_jobs_follow_each_other_without_a_pause(void **state)
{
    (void)state;
    jobs(2, 2, 3, 20000, false);
    jobs(LANES, LANES, 5, 5000, false);
}

static void lanes_that_sleep_are_called_and_late_ones_touch_nothing(void **state)
{
    (void)state;
    jobs(LANES, LANES, TASKS, 50, true);
}

static void a_job_uses_no_more_lanes_than_it_says(void **state)
{
    (void)state;
    jobs(LANES, 1, TASKS, 3, false);
    jobs(LANES, 2, TASKS, 100, true);
    jobs(2, LANES, TASKS, 100, true);
    jobs(2, 2, 0, 3, false);
}

/* 2 lanes have 4 each of 8: the first takes the largest, the second the two after it, the first the fourth, ... */
static void what_becomes_smaller_is_dealt_out_like_cards(void **state)
{
    static const int64_t of_8[] = {0, 3, 4, 7, 1, 2, 5, 6}, of_7[] = {0, 3, 4, 1, 2, 5, 6}, of_3[] = {0, 1, 2};
    (void)state;
    for (int64_t i = 0; i < 8; i++) assert_int_equal(bl_team_dealt(i, 8, 2), of_8[i]);
    for (int64_t i = 0; i < 7; i++) assert_int_equal(bl_team_dealt(i, 7, 2), of_7[i]);
    for (int64_t i = 0; i < 3; i++) assert_int_equal(bl_team_dealt(i, 3, 8), of_3[i]);
    for (int lanes = 1; lanes <= 17; lanes++)
        for (int64_t n = 1; n <= 200; n++) {
            bool seen[200] = {false};
            for (int64_t i = 0; i < n; i++) {
                const int64_t at = bl_team_dealt(i, n, lanes);
                assert_in_range(at, 0, n - 1);
                assert_false(seen[at]);
                seen[at] = true;
            }
        }
}

static void teams_come_and_go_with_and_without_work(void **state)
{
    bl_err e = {0};
    (void)state;
    for (int i = 0; i < 100; i++) {
        bl_team *t;
        assert_ok(bl_team_new(LANES, &t, &e));
        bl_team_free(t);
        jobs(2, 2, 2, 1, false);
    }
    bl_team_free(NULL);
}

static void a_process_that_may_use_one_processor_has_no_more_lanes(void **state)
{
#if defined(__linux__)
    cpu_set_t before, one;
    int first = 0;
    assert_int_equal(sched_getaffinity(0, sizeof before, &before), 0);
    while (!CPU_ISSET(first, &before)) first++;
    CPU_ZERO(&one);
    CPU_SET(first, &one);
    assert_int_equal(bl_team_most(1), 1);
    assert_int_equal(bl_team_most(1 << 20), CPU_COUNT(&before));
    assert_int_equal(sched_setaffinity(0, sizeof one, &one), 0);
    const int most = bl_team_most(LANES);
    jobs(LANES, LANES, 5, 50, true); /* all of them on one */
    assert_int_equal(sched_setaffinity(0, sizeof before, &before), 0);
    assert_int_equal(most, 1);
#else
    skip();
#endif
    (void)state;
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_task_runs_once_and_is_done_when_the_call_returns),
        cmocka_unit_test(many_short_jobs_follow_each_other_without_a_pause),
        cmocka_unit_test(lanes_that_sleep_are_called_and_late_ones_touch_nothing),
        cmocka_unit_test(a_job_uses_no_more_lanes_than_it_says),
        cmocka_unit_test(what_becomes_smaller_is_dealt_out_like_cards),
        cmocka_unit_test(teams_come_and_go_with_and_without_work),
        cmocka_unit_test(a_process_that_may_use_one_processor_has_no_more_lanes),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
