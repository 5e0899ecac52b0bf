/* results_journal.c - what a journal gives back after it was closed, torn, changed or met a full disk. */
#include "test.h"
#include "kernels/base/fs.h"
#include "results/journal.h"

#include <errno.h>
#include <math.h>
#include <unistd.h>

static bl_err e;
static char path[4200];
static const bl_hash hash = {1, 2};
static const char key[] = "m/rtn:w4/piqa/0";

static void fresh(void) { snprintf(path, sizeof path, "%s/cell.part.jsonl", test_dir()); }

static void cleanup(void)
{
    *strrchr(path, '/') = 0;
    assert_ok(bl_remove_tree(path, &e));
}

/* Lists that differ from item to item, and some that are longer than a page. */
static bl_sample sample(int64_t id)
{
    enum { MOST = 700 };
    static const char *const reply[] = {"tab\there \"quoted\" \xf0\x9f\x98\x80", "", "third"}, *const answer[] = {
                                                                                                   "12", NULL, ""};
    static double value[8][MOST];
    double *v = value[id % 8];
    bl_sample s = {.id = id, .pick = 1, .gold = -1, .n_choices = 2, .flags = 16, .tokens = 3};
    static const double score[] = {0, 1.0 / 3};
    for (int i = 0; i < MOST; i++) v[i] = i % 3 == 2 ? -0.0 : 1e-300 * (double)(id + i);
    s.group = id % 2 ? "anatomy \"1\"" : NULL;
    s.score = score;
    s.n_scores = 2;
    s.value = v;
    s.n_values = id == 3 ? MOST : (int)(id % 5);
    s.reply = reply;
    s.n_replies = (int)(id % 4);
    s.answer = answer;
    s.n_answers = (int)(id % 3);
    return s;
}

static void fill(int n)
{
    bl_journal *j;
    assert_ok(bl_journal_open(path, key, hash, &j, &e));
    for (int i = 0; i < n; i++) {
        bl_sample s = sample(i);
        assert_ok(bl_journal_add(j, &s, &e));
    }
    assert_ok(bl_journal_sync(j, &e));
    bl_journal_close(j);
}

static int64_t count(void)
{
    bl_journal *j;
    assert_ok(bl_journal_open(path, key, hash, &j, &e));
    int64_t n = bl_journal_count(j);
    bl_journal_close(j);
    return n;
}

static char *slurp(size_t *n)
{
    char *text = NULL;
    if (bl_read_file(path, 1 << 24, &text, n, &e) != BL_OK) fail_msg("%s", e.text);
    return text;
}

static void samples_read_back_sorted_and_bit_for_bit(void **state)
{
    (void)state;
    static const int64_t order[] = {5, 0, 3, 400000, 1, INT64_C(1) << 53},
                         sorted[] = {0, 1, 3, 5, 400000, INT64_C(1) << 53};
    bl_journal *j;
    int64_t n;

    fresh();
    assert_ok(bl_journal_open(path, key, hash, &j, &e));
    for (size_t i = 0; i < BL_COUNT(order); i++) {
        bl_sample s = sample(order[i]);
        assert_false(bl_journal_has(j, s.id));
        assert_ok(bl_journal_add(j, &s, &e));
        assert_true(bl_journal_has(j, s.id));
    }
    bl_journal_close(j);
    assert_ok(bl_journal_open(path, key, hash, &j, &e));
    const bl_sample *got = bl_journal_samples(j, &n);
    assert_int_equal(n, BL_COUNT(order));
    for (int64_t i = 0; i < n; i++) {
        bl_sample want = sample(sorted[i]);
        assert_true(got[i].id == want.id && got[i].pick == want.pick && got[i].gold == want.gold &&
                    got[i].flags == want.flags && got[i].tokens == want.tokens);
        assert_int_equal(got[i].n_scores, want.n_scores);
        assert_memory_equal(got[i].score, want.score, sizeof *want.score * (size_t)want.n_scores);
        assert_int_equal(got[i].n_values, want.n_values);
        if (want.n_values) assert_memory_equal(got[i].value, want.value, sizeof *want.value * (size_t)want.n_values);
        if (want.group) assert_string_equal(got[i].group, want.group);
        else assert_null(got[i].group);
        assert_int_equal(got[i].n_replies, want.n_replies);
        for (int k = 0; k < want.n_replies; k++) assert_string_equal(got[i].reply[k], want.reply[k]);
        assert_int_equal(got[i].n_answers, want.n_answers);
        for (int k = 0; k < want.n_answers; k++) {
            if (want.answer[k]) assert_string_equal(got[i].answer[k], want.answer[k]);
            else assert_null(got[i].answer[k]);
        }
        assert_true(bl_journal_has(j, sorted[i]));
    }
    assert_false(bl_journal_has(j, 2));
    assert_false(bl_journal_has(j, -1));
    bl_journal_close(j);
    cleanup();
}

static void a_sample_comes_once(void **state)
{
    (void)state;
    bl_journal *j;
    bl_sample s = sample(4);
    fresh();
    assert_ok(bl_journal_open(path, key, hash, &j, &e));
    assert_ok(bl_journal_add(j, &s, &e));
    assert_refused(bl_journal_add(j, &s, &e), BL_E_INTERNAL, "sample 4 is there already");
    const double bad[] = {1, 2, 3, NAN};
    s.id = 5;
    s.value = bad;
    s.n_values = 4;
    assert_refused(bl_journal_add(j, &s, &e), BL_E_NUMERIC, "sample 5: value 3");
    assert_int_equal(bl_journal_count(j), 1);
    bl_journal_close(j);
    cleanup();
}

static void a_cut_anywhere_costs_the_samples_after_it_only(void **state)
{
    (void)state;
    enum { N = 6 };
    size_t n, lines = 0;
    fresh();
    fill(N);
    char *text = slurp(&n);
    for (size_t cut = 0; cut <= n; cut++) {
        assert_int_equal(truncate(path, 0), 0);
        FILE *f = fopen(path, "wb");
        assert_int_equal(fwrite(text, 1, cut, f), cut);
        fclose(f);
        lines = 0;
        for (size_t i = 0; i < cut; i++) lines += text[i] == '\n';
        if (count() != (int64_t)(lines ? lines - 1 : 0))
            fail_msg("cut at %zu: %lld samples, %zu lines", cut, (long long)count(), lines);
        size_t left;
        char *again = slurp(&left); /* the torn part is gone from the file too */
        assert_true(left == 0 || again[left - 1] == '\n');
        bl_free(again);
    }
    bl_free(text);
    cleanup();
}

static void a_flipped_bit_ends_the_journal_there(void **state)
{
    (void)state;
    size_t n;
    fresh();
    fill(3);
    char *text = slurp(&n);
    size_t header = strcspn(text, "\n") + 1;
    for (size_t bit = 8 * header; bit < 8 * n; bit++) {
        size_t whole = 0;
        for (size_t i = header; i < bit / 8; i++) whole += text[i] == '\n';
        text[bit / 8] = (char)(text[bit / 8] ^ 1 << bit % 8);
        int64_t got = bl_journal_parse(text, n);
        if (got != (int64_t)whole) fail_msg("bit %zu: %lld samples, wanted %zu", bit, (long long)got, whole);
        text[bit / 8] = (char)(text[bit / 8] ^ 1 << bit % 8);
    }
    bl_free(text);
    cleanup();
}

static void work_goes_on_after_a_torn_line(void **state)
{
    (void)state;
    bl_journal *j;
    fresh();
    fill(3);
    FILE *f = fopen(path, "ab");
    fputs("0123abcd {\"id\":3,\"pi", f);
    fclose(f);
    assert_ok(bl_journal_open(path, key, hash, &j, &e));
    assert_int_equal(bl_journal_count(j), 3);
    bl_sample s = sample(3);
    assert_ok(bl_journal_add(j, &s, &e));
    bl_journal_close(j);
    assert_int_equal(count(), 4);
    cleanup();
}

static void a_journal_of_another_cell_is_kept_as_stale(void **state)
{
    (void)state;
    bl_journal *j;
    char stale[4300];
    fresh();
    for (int i = 0; i < 3; i++) {
        fill(2 + i);
        assert_ok(bl_journal_open(path, key, (bl_hash){9, (uint64_t)i}, &j, &e));
        assert_int_equal(bl_journal_count(j), 0);
        bl_journal_close(j);
        assert_ok(bl_journal_open(path, "another/key", (bl_hash){9, (uint64_t)i}, &j, &e));
        bl_journal_close(j);
        unlink(path);
    }
    static const char *const endings[] = {".stale", ".stale.1", ".stale.2", ".stale.3", ".stale.4", ".stale.5"};
    for (size_t i = 0; i < BL_COUNT(endings); i++) {
        snprintf(stale, sizeof stale, "%s%s", path, endings[i]);
        if (!bl_exists(stale)) fail_msg("%s is missing", stale);
    }
    cleanup();
}

static void a_full_disk_costs_nothing_when_there_is_room_again(void **state)
{
    (void)state;
    for (uint64_t at = 1; at <= 6; at++) {
        bl_journal *j;
        fresh();
        assert_ok(bl_journal_open(path, key, hash, &j, &e));
        bl_fs_fail_at(at, ENOSPC, true);
        for (int i = 0; i < 5; i++) {
            bl_sample s = sample(i);
            assert_ok(bl_journal_add(j, &s, &e));
        }
        assert_ok(bl_journal_sync(j, &e));
        assert_int_equal(bl_journal_count(j), 5);
        bl_fs_fail_at(0, 0, false);
        assert_ok(bl_journal_sync(j, &e));
        bl_journal_close(j);
        assert_int_equal(count(), 5);
        cleanup();
    }
}

static void what_waits_for_the_disk_is_bounded(void **state)
{
    (void)state;
    bl_journal *j;
    enum { LONG = 4 << 20 };
    char *reply = malloc(LONG + 1);
    bl_status st = BL_OK;
    int n = 0;
    memset(reply, 'x', LONG);
    reply[LONG] = 0;
    fresh();
    assert_ok(bl_journal_open(path, key, hash, &j, &e));
    bl_fs_fail_at(1, ENOSPC, true);
    for (; n < 64 && st == BL_OK; n++) {
        bl_sample s = {.id = n, .reply = (const char *[]){reply}, .n_replies = 1};
        st = bl_journal_add(j, &s, &e);
    }
    bl_fs_fail_at(0, 0, false);
    assert_int_equal(st, BL_E_DISK);
    assert_in_range(n, 10, 20);
    bl_journal_close(j);
    assert_int_equal(count(), n);
    free(reply);
    cleanup();
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(samples_read_back_sorted_and_bit_for_bit),
        cmocka_unit_test(a_sample_comes_once),
        cmocka_unit_test(a_cut_anywhere_costs_the_samples_after_it_only),
        cmocka_unit_test(a_flipped_bit_ends_the_journal_there),
        cmocka_unit_test(work_goes_on_after_a_torn_line),
        cmocka_unit_test(a_journal_of_another_cell_is_kept_as_stale),
        cmocka_unit_test(a_full_disk_costs_nothing_when_there_is_room_again),
        cmocka_unit_test(what_waits_for_the_disk_is_bounded),
    };
    bl_log_set(BL_LOG_ERROR);
    return cmocka_run_group_tests(tests, NULL, NULL);
}
