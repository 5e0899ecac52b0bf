/* base_alloc.c - every allocation of the base library fails once, and then all after it: an error, no leak, no harm. */
#include "test.h"
#include "kernels/base/fs.h"
#include "kernels/base/hash.h"
#include "kernels/base/json.h"
#include "kernels/base/opt.h"
#include <unistd.h>

static char dir[4096];
static const char *in_dir(const char *name)
{
    static char ring[4][4200];
    static unsigned at;
    char *p = ring[at++ % 4];
    snprintf(p, sizeof ring[0], "%s/%s", dir, name);
    return p;
}

static bl_status read_json(bl_err *e)
{
    static const char text[] = "{\"a\":[1,2,{\"b\":\"text\"}],\"c\":{\"1\":1,\"2\":2,\"3\":3,\"4\":4,\"5\":5,\"6\":6,"
                               "\"7\":7,\"8\":8,\"9\":9},\"d\":\"\\u00e9\"}";
    bl_json *j;
    bl_status st = bl_json_parse(text, sizeof text - 1, "doc", BL_JSON_PLAIN, &j, e);
    if (st != BL_OK) return st;
    bl_text t = {0};
    bl_json_put_node(&t, j);
    st = bl_text_check(&t, e);
    bl_text_free(&t);
    bl_json_free(j);
    return st;
}

static bl_status read_json_file(bl_err *e)
{
    bl_json *j;
    bl_status st = bl_json_read(in_dir("doc.json"), 1000, BL_JSON_COMMENTS, &j, e);
    if (st == BL_OK) bl_json_free(j);
    return st;
}

static bl_status write_file(bl_err *e) { return bl_write_file(in_dir("out"), "0123456789", 10, e); }

static bl_status list(bl_err *e)
{
    char **names;
    size_t n;
    bl_status st = bl_dir_list(dir, &names, &n, e);
    if (st == BL_OK) bl_list_free(names, n);
    return st;
}

static bl_status map(bl_err *e)
{
    bl_map m;
    bl_status st = bl_map_open(in_dir("doc.json"), &m, e);
    if (st == BL_OK) bl_map_close(&m);
    return st;
}

static bl_status lock(bl_err *e)
{
    bl_lock *l;
    bl_status st = bl_lock_take(in_dir("lock"), &l, e);
    if (st == BL_OK) bl_lock_free(l);
    return st;
}

static bl_status directories(bl_err *e)
{
    bl_status st = BL_OK;
    BL_TRY(bl_make_dirs(in_dir("x/y"), e));
    BL_TRY(bl_dir_usable(in_dir("x/y/z"), e));
    BL_TRY(bl_rename(in_dir("x/y"), in_dir("x/w"), e));
out:
    bl_clean_temps(dir);
    bl_remove_tree(in_dir("x"), NULL);
    return st;
}

static bl_status parse(bl_err *e)
{
    typedef struct opts {
        int64_t n;
        const char *s;
    } opts;
    static const bl_opt rows[] = {{"n", BL_OPT_INT, .at = offsetof(opts, n), .doc = "a number"},
                                  {"s", BL_OPT_TEXT, .at = offsetof(opts, s), .repeat = true},
                                  {0}};
    char *argv[] = {"--n", "3", "--s=a", "--s=b", "--s=c", "pos"};
    opts o;
    bl_args a;
    bl_opt_defaults(rows, &o);
    bl_status st = bl_opt_parse(rows, &o, (int)BL_COUNT(argv), argv, &a, e);
    bl_args_free(&a);
    if (st != BL_OK) return st;
    bl_text t = {0};
    bl_opt_help(rows, &t);
    st = bl_text_check(&t, e);
    bl_text_free(&t);
    return st;
}

static bl_status small_things(bl_err *e)
{
    bl_status st = BL_E_NOMEM;
    bl_arena *a = NULL;
    bl_hasher *h = NULL;
    char *p = NULL, *q = NULL;
    if (bl_arena_new(&a, e) != BL_OK || !bl_alloc(a, 100, 8, e) || !bl_arena_str(a, "abc", 3, e) ||
        !bl_alloc(a, 1 << 20, 1, e))
        goto out;
    if (!(h = bl_hasher_new(e)) || !(p = bl_strdup("abc", e)) || !(q = bl_join("a", "b", e))) goto out;
    st = BL_OK;
out:
    if (h) bl_hasher_end(h);
    bl_free(p);
    bl_free(q);
    bl_arena_free(a);
    return st;
}

static const struct {
    const char *name;
    bl_status (*run)(bl_err *);
} jobs[] = {
    {"json", read_json},
    {"json file", read_json_file},
    {"write", write_file},
    {"list", list},
    {"map", map},
    {"lock", lock},
    {"directories", directories},
    {"options", parse},
    {"small things", small_things},
};

static size_t entries(void)
{
    char **names;
    size_t n;
    if (bl_dir_list(dir, &names, &n, NULL) != BL_OK) return 9999;
    bl_list_free(names, n);
    return n;
}

static void survives_failure_of_every_allocation(void **state)
{
    (void)state;
    bl_err e;
    snprintf(dir, sizeof dir, "%s", test_dir());
    assert_ok(bl_write_file(in_dir("doc.json"), "{\"k\":[1,2]} // end", 18, &e));
    for (size_t i = 0; i < BL_COUNT(jobs); i++) {
        assert_ok(jobs[i].run(&e)); /* what is allocated once for all is there now */
        unlink(in_dir("out"));
        uint64_t live = bl_alloc_live();
        for (int sticky = 0; sticky < 2; sticky++) {
            uint64_t n = 0;
            bl_status st;
            do {
                bl_alloc_fail_at(++n, sticky);
                e = (bl_err){0};
                st = jobs[i].run(&e);
                bool reached = bl_alloc_count() >= n;
                bl_alloc_fail_at(0, false);
                if (st != BL_OK && st != BL_E_NOMEM) fail_msg("%s, allocation %d: %s", jobs[i].name, (int)n, e.text);
                if (st != BL_OK && !e.text[0]) fail_msg("%s, allocation %d: no sentence", jobs[i].name, (int)n);
                if (bl_alloc_live() != live)
                    fail_msg("%s, allocation %d: %lld bytes are left", jobs[i].name, (int)n,
                             (long long)(bl_alloc_live() - live));
                if (st != BL_OK) assert_int_equal(entries(), 1);
                unlink(in_dir("out"));
                if (!reached) break;
            } while (n < 1000);
            assert_int_equal(st, BL_OK);
            assert_true(n > 1 && n < 1000);
        }
    }
    assert_ok(bl_remove_tree(dir, &e));
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(survives_failure_of_every_allocation)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
