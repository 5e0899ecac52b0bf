/* results_curve.c - curves of training come back as they were written; what is damaged or older is told apart. */
#include "test.h"
#include "kernels/base/fs.h"
#include "results/curve.h"
#include "results/record.h"
#include <unistd.h>

static bl_err e;
static const double loss[] = {3, 2.5, 1.25}, lr[] = {1e-3, 5e-4, 0}, norm[] = {7, 0.5, 2};
static const bl_curve one = {.method = "lora+rank=8",
                             .model = "a model",
                             .stored_as = "BF16",
                             .data = "train.jsonl",
                             .data_hash = "0123456789abcdef0123456789abcdef",
                             .device = "a processor",
                             .commit = "c0ffee",
                             .numerics = "cuda-bf16",
                             .threads = 3,
                             .n = 3,
                             .loss = loss,
                             .lr = lr,
                             .grad_norm = norm};

static void write_in(const char *dir, const char *name, const bl_curve *c)
{
    char path[4300];
    snprintf(path, sizeof path, "%s/%s", dir, name);
    assert_ok(bl_curve_write(path, bl_hash_bytes("x", 1), c, &e));
}

static void curves_of_a_directory_come_back_as_they_were_written(void **state)
{
    const char *dir = test_dir();
    bl_arena *a = NULL;
    bl_curve *got, second = one;
    bl_text skipped = {0};
    size_t n;
    (void)state;
    assert_ok(bl_arena_new(&a, &e));
    second.method = "full";
    second.n = 2;
    write_in(dir, "z.curve.hdf5", &second);
    write_in(dir, "a.curve.hdf5", &one);
    write_in(dir, ".hidden.curve.hdf5", &one);
    assert_ok(bl_curves_read(dir, a, &got, &n, &skipped, &e));
    assert_int_equal(n, 2);
    assert_int_equal(skipped.n, 0);
    assert_string_equal(got[0].name, "a");
    assert_string_equal(got[0].method, one.method);
    assert_string_equal(got[0].model, one.model);
    assert_string_equal(got[0].stored_as, one.stored_as);
    assert_string_equal(got[0].data, one.data);
    assert_string_equal(got[0].data_hash, one.data_hash);
    assert_string_equal(got[0].device, one.device);
    assert_string_equal(got[0].commit, one.commit);
    assert_string_equal(got[0].numerics, one.numerics);
    assert_int_equal(strlen(got[0].created), strlen("2024-05-01T12:00:00Z"));
    assert_int_equal(got[0].threads, 3);
    assert_int_equal(got[0].n, 3);
    assert_memory_equal(got[0].loss, loss, sizeof loss);
    assert_memory_equal(got[0].lr, lr, sizeof lr);
    assert_memory_equal(got[0].grad_norm, norm, sizeof norm);
    assert_string_equal(got[1].name, "z");
    assert_int_equal(got[1].n, 2);
    bl_arena_free(a);
    bl_text_free(&skipped);
    assert_ok(bl_remove_tree(dir, &e));
}

/* What `finetune` wrote before machine and data were noted. */
static void a_curve_without_machine_and_data_is_read(void **state)
{
    const char *dir = test_dir();
    char path[4300];
    bl_arena *a = NULL;
    bl_record *r = NULL;
    bl_curve got;
    (void)state;
    snprintf(path, sizeof path, "%s/old.curve.hdf5", dir);
    assert_ok(bl_arena_new(&a, &e));
    assert_ok(bl_record_begin(path, "full", bl_hash_bytes("x", 1), &r, &e));
    assert_ok(bl_record_text(r, "train/method", "full", &e));
    assert_ok(bl_record_text(r, "train/model", "m", &e));
    assert_ok(bl_record_reals(r, "train/loss", loss, 3, "nat", "l", &e));
    assert_ok(bl_record_reals(r, "train/lr", lr, 3, "1", "l", &e));
    assert_ok(bl_record_reals(r, "train/grad_norm", norm, 3, "1", "l", &e));
    assert_ok(bl_record_commit(r, &e));
    assert_ok(bl_curve_read(path, a, &got, &e));
    assert_int_equal(got.n, 3);
    assert_string_equal(got.data, "");
    assert_string_equal(got.device, "");
    assert_string_equal(got.numerics, "");
    assert_int_equal(got.threads, 0);
    bl_arena_free(a);
    assert_ok(bl_remove_tree(dir, &e));
}

static void what_is_no_curve_is_passed_over_with_a_sentence(void **state)
{
    const char *dir = test_dir();
    char path[4300];
    bl_arena *a = NULL;
    bl_record *r = NULL;
    bl_curve *got;
    bl_text skipped = {0};
    size_t n;
    (void)state;
    assert_ok(bl_arena_new(&a, &e));
    write_in(dir, "a.curve.hdf5", &one);
    write_in(dir, "cut.curve.hdf5", &one);
    snprintf(path, sizeof path, "%s/cut.curve.hdf5", dir);
    assert_int_equal(truncate(path, 900), 0);
    snprintf(path, sizeof path, "%s/other.curve.hdf5", dir);
    assert_ok(bl_record_begin(path, "x", bl_hash_bytes("x", 1), &r, &e));
    assert_ok(bl_record_text(r, "train/method", "full", &e));
    assert_ok(bl_record_commit(r, &e));
    snprintf(path, sizeof path, "%s/uneven.curve.hdf5", dir);
    assert_ok(bl_record_begin(path, "x", bl_hash_bytes("x", 1), &r, &e));
    assert_ok(bl_record_text(r, "train/method", "full", &e));
    assert_ok(bl_record_text(r, "train/model", "m", &e));
    assert_ok(bl_record_reals(r, "train/loss", loss, 3, "nat", "l", &e));
    assert_ok(bl_record_reals(r, "train/lr", lr, 2, "1", "l", &e));
    assert_ok(bl_record_commit(r, &e));
    assert_ok(bl_curves_read(dir, a, &got, &n, &skipped, &e));
    assert_int_equal(n, 1);
    assert_string_equal(got[0].name, "a");
    assert_non_null(strstr(skipped.s, "cut.curve.hdf5"));
    assert_non_null(strstr(skipped.s, "other.curve.hdf5: not a curve of training"));
    assert_non_null(strstr(skipped.s, "2 numbers in train/lr, 3 in train/loss"));
    bl_arena_free(a);
    bl_text_free(&skipped);
    assert_ok(bl_remove_tree(dir, &e));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(curves_of_a_directory_come_back_as_they_were_written),
        cmocka_unit_test(a_curve_without_machine_and_data_is_read),
        cmocka_unit_test(what_is_no_curve_is_passed_over_with_a_sentence),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
