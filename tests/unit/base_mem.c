/* base_mem.c - the heap and the arena: zeroed, aligned, counted, able to fail. */
#include "test.h"
#include <pthread.h>

static void new_memory_is_zeroed_and_aligned(void **state)
{
    (void)state;
    static const size_t sizes[] = {0, 1, 63, 64, 65, 4096, 65535, 65536, 1 << 20};
    for (size_t i = 0; i < BL_COUNT(sizes); i++) {
        unsigned char *p = bl_new(sizes[i], 1, NULL);
        assert_non_null(p);
        assert_int_equal((uintptr_t)p % 64, 0);
        for (size_t k = 0; k < sizes[i]; k++) assert_int_equal(p[k], 0);
        memset(p, 0xff, sizes[i]);
        bl_free(p);
    }
}

static void a_product_that_wraps_is_out_of_memory(void **state)
{
    (void)state;
    bl_err e;
    volatile size_t half = (size_t)1 << 63;
    assert_null(bl_new(half, 2, &e));
    assert_int_equal(e.status, BL_E_NOMEM);
    assert_null(bl_new(half, 1, &e));
    assert_null(bl_resize(NULL, half, 4, &e));
    bl_arena *a;
    assert_ok(bl_arena_new(&a, &e));
    assert_null(bl_alloc(a, half, 2, &e));
    assert_null(bl_alloc(a, SIZE_MAX, 1, &e));
    assert_null(bl_arena_str(a, "", SIZE_MAX, &e));
    bl_arena_free(a);
}

static void growing_keeps_what_was_there(void **state)
{
    (void)state;
    bl_err e;
    int64_t *list = NULL;
    size_t cap = 0;
    for (int64_t i = 0; i < 20000; i++) {
        assert_ok(bl_grow(&list, &cap, (size_t)i + 1, sizeof *list, &e));
        list[i] = i * i;
    }
    assert_true(cap >= 20000 && cap < 40000);
    for (int64_t i = 0; i < 20000; i++) assert_int_equal(list[i], i * i);
    bl_alloc_fail_at(1, true);
    assert_int_equal(bl_grow(&list, &cap, cap + 1, sizeof *list, &e), BL_E_NOMEM);
    bl_alloc_fail_at(0, false);
    assert_int_equal(list[19999], 19999LL * 19999);
    bl_free(list);
}

static void the_nth_allocation_fails(void **state)
{
    (void)state;
    bl_err e;
    bl_alloc_fail_at(3, false);
    void *p[5];
    for (int i = 0; i < 5; i++) p[i] = bl_new(1, 1, &e);
    assert_true(p[0] && p[1] && !p[2] && p[3] && p[4]);
    assert_int_equal(bl_alloc_count(), 5);
    for (int i = 0; i < 5; i++) bl_free(p[i]);

    bl_alloc_fail_at(2, true);
    for (int i = 0; i < 4; i++) p[i] = bl_new(1, 1, &e);
    assert_true(p[0] && !p[1] && !p[2] && !p[3]);
    bl_free(p[0]);
    bl_alloc_fail_at(0, false);
}

static void *spend(void *arg)
{
    void *p = bl_new(3 << 20, 1, NULL);
    void *q = bl_new(2 << 20, 1, NULL);
    bl_free(p);
    *(void **)arg = q; /* freed by another thread */
    return NULL;
}

static void the_watch_counts_each_thread_by_itself(void **state)
{
    (void)state;
    void *old = bl_new(8 << 20, 1, NULL), *left[4];
    uint64_t before = bl_alloc_live();
    bl_alloc_watch_reset();
    bl_free(old); /* of an earlier epoch: nobody's account */
    assert_int_equal(bl_alloc_watch_thread_max(), 0);
    bl_free(bl_new(4 << 20, 1, NULL));
    assert_int_equal(bl_alloc_watch_thread_max(), 4 << 20); /* nothing was taken off for the old block */
    for (int i = 0; i < 4; i++) {
        pthread_t t;
        assert_int_equal(pthread_create(&t, NULL, spend, &left[i]), 0);
        pthread_join(t, NULL);
    }
    assert_int_equal(bl_alloc_watch_thread_max(), 5 << 20); /* not 4 times as much */
    assert_int_equal(bl_alloc_live(), before - (8 << 20) + 4 * (2 << 20));
    for (int i = 0; i < 4; i++) bl_free(left[i]);
    assert_int_equal(bl_alloc_live(), before - (8 << 20));
    assert_true(bl_alloc_peak() >= before);
}

static void *churn(void *arg)
{
    (void)arg;
    for (int i = 0; i < 20000; i++) bl_free(bl_new((size_t)(i % 700), 3, NULL));
    return NULL;
}

static void threads_leave_the_count_right(void **state)
{
    (void)state;
    uint64_t before = bl_alloc_live();
    bl_alloc_fail_at(0, false);
    pthread_t t[4];
    for (int i = 0; i < 4; i++) assert_int_equal(pthread_create(&t[i], NULL, churn, NULL), 0);
    for (int i = 0; i < 4; i++) pthread_join(t[i], NULL);
    assert_int_equal(bl_alloc_live(), before);
    assert_int_equal(bl_alloc_count(), 4 * 20000);
}

static void copies_of_text(void **state)
{
    (void)state;
    char *a = bl_strdup("bits", NULL), *b = bl_strndup("ladder", 3, NULL), *c = bl_strndup("ab\0cd", 5, NULL);
    char *d = bl_format_text(NULL, "%s-%d", "w", 4);
    assert_string_equal(a, "bits");
    assert_string_equal(b, "lad");
    assert_string_equal(c, "ab");
    assert_string_equal(d, "w-4");
    bl_free(a);
    bl_free(b);
    bl_free(c);
    bl_free(d);
    bl_free(NULL);
}

static void arena_memory_is_zeroed_again_after_release(void **state)
{
    (void)state;
    bl_err e;
    bl_arena *a;
    assert_ok(bl_arena_new(&a, &e));
    bl_mark empty = bl_arena_mark(a);
    for (int round = 0; round < 3; round++) {
        for (size_t n = 1; n < 100000; n = n * 3 + 1) {
            unsigned char *p = bl_alloc(a, n, 1, &e);
            assert_non_null(p);
            assert_int_equal((uintptr_t)p % 64, 0);
            for (size_t i = 0; i < n; i++) assert_int_equal(p[i], 0);
            memset(p, 0xee, n);
        }
        bl_arena_release(a, empty);
    }
    bl_arena_free(a);
    bl_arena_free(NULL);
}

static void a_mark_keeps_what_came_before(void **state)
{
    (void)state;
    bl_err e;
    bl_arena *a;
    assert_ok(bl_arena_new(&a, &e));
    char *kept = bl_arena_str(a, "kept", 4, &e);
    bl_mark m = bl_arena_mark(a);
    char *first = bl_alloc(a, 10, 1, &e);
    memset(first, 'x', 10);
    for (int i = 0; i < 100; i++) memset(bl_alloc(a, 9000, 1, &e), 'y', 9000);
    bl_arena_release(a, m);
    assert_string_equal(kept, "kept");
    char *again = bl_alloc(a, 10, 1, &e);
    assert_ptr_equal(again, first);
    assert_int_equal(again[9], 0);
    void *x = bl_alloc(a, 0, 8, &e), *y = bl_alloc(a, 0, 8, &e);
    assert_true(x && y && x != y);
    bl_arena_free(a);
}

static void growing_text_grows(void **state)
{
    (void)state;
    bl_err e;
    bl_text t = {0};
    bl_text_add(&t, "");
    for (int i = 0; i < 1000; i++) bl_text_addf(&t, "%d,", i);
    char big[2000];
    memset(big, 'z', sizeof big);
    bl_text_addf(&t, "%.*s", (int)sizeof big, big);
    assert_int_equal(t.n, 3890 + 2000);
    assert_int_equal(strlen(t.s), t.n);
    assert_ok(bl_text_check(&t, &e));
    bl_alloc_fail_at(1, false);
    while (!t.failed) bl_text_addn(&t, big, sizeof big);
    size_t n = t.n;
    bl_text_add(&t, "more"); /* sticky: nothing is added after a hole */
    assert_int_equal(t.n, n);
    bl_alloc_fail_at(0, false);
    assert_int_equal(bl_text_check(&t, &e), BL_E_NOMEM);
    bl_text_free(&t);
    assert_null(t.s);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(new_memory_is_zeroed_and_aligned),
        cmocka_unit_test(a_product_that_wraps_is_out_of_memory),
        cmocka_unit_test(growing_keeps_what_was_there),
        cmocka_unit_test(the_nth_allocation_fails),
        cmocka_unit_test(the_watch_counts_each_thread_by_itself),
        cmocka_unit_test(threads_leave_the_count_right),
        cmocka_unit_test(copies_of_text),
        cmocka_unit_test(arena_memory_is_zeroed_again_after_release),
        cmocka_unit_test(a_mark_keeps_what_came_before),
        cmocka_unit_test(growing_text_grows),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
