/* results_vectors.c - vectors of texts in a file come back as they were, and nothing else is taken for such a file. */
#include "test.h"
#include "kernels/base/fs.h"
#include "results/record.h"
#include "results/vectors.h"

static bl_err e;

static void vectors_come_back_as_they_were(void **state)
{
    static const float row[] = {0.6f, 0.8f, 0, -1, 1, 0};
    static const char *const entry[] = {"{\"text\":\"a\"}", "{\"text\":\"é\"}", "{}"};
    const bl_vectors v = {3, 2, row, entry, "an encoder", "text", {0x0123456789abcdef, 0xfedcba9876543210}};
    char path[4200], *bytes;
    size_t n;
    bl_arena *a;
    bl_vectors got;
    (void)state;
    const char *dir = test_dir();
    snprintf(path, sizeof path, "%s/v.h5", dir);
    assert_ok(bl_arena_new(&a, &e));
    assert_ok(bl_vectors_write(path, &v, &e));
    assert_ok(bl_vectors_read(path, a, &got, &e));
    assert_int_equal(got.n, 3);
    assert_int_equal(got.dim, 2);
    assert_memory_equal(got.row, row, sizeof row);
    for (int i = 0; i < 3; i++) assert_string_equal(got.entry[i], entry[i]);
    assert_string_equal(got.by, "an encoder");
    assert_string_equal(got.field, "text");
    assert_true(bl_hash_equal(got.hash, v.hash));

    assert_ok(bl_read_file(path, 1 << 20, &bytes, &n, &e));
    bytes[n / 2] ^= 4;
    assert_ok(bl_write_file(path, bytes, n, &e));
    assert_refused(bl_vectors_read(path, a, &got, &e), BL_E_CORRUPT, "v.h5: its bytes do not match its hash");
    bl_free(bytes);

    bl_record *r;
    assert_ok(bl_record_begin(path, "key", (bl_hash){0}, &r, &e));
    assert_ok(bl_record_text(r, "made/by", "x", &e));
    assert_ok(bl_record_commit(r, &e));
    assert_refused(bl_vectors_read(path, a, &got, &e), BL_E_FORMAT, "v.h5: holds no vectors of texts");

    assert_ok(bl_record_begin(path, "key", (bl_hash){0}, &r, &e)); /* fewer entries than vectors */
    assert_ok(bl_record_text(r, "made/by", "x", &e));
    assert_ok(bl_record_text(r, "made/hash", "00000000000000000000000000000000", &e));
    assert_ok(bl_record_text(r, "made/field", "x", &e));
    assert_ok(bl_record_floats(r, "vectors", row, 3, 2, "three", &e));
    assert_ok(bl_record_texts(r, "entries", entry, 2, "two", &e));
    assert_ok(bl_record_commit(r, &e));
    assert_refused(bl_vectors_read(path, a, &got, &e), BL_E_CORRUPT, "3 vectors of 2 entries");
    bl_arena_free(a);
    assert_ok(bl_remove_tree(dir, &e));
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(vectors_come_back_as_they_were)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
