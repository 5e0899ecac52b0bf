/* results_shard.c - our own files, damaged in every way: noticed, named, and never handed to HDF5 (R97-R100, F23, F24).
 */
#include "data/results_cells.h"

static bl_err e;
static char path[8300];
static uint8_t *bytes;
static size_t n_bytes;

static int begin(void **state)
{
    (void)state;
    invented v;
    const char *dir = test_dir();
    bl_cell c = *invent(&v, "m", 4, 64, "piqa", 0);
    c.n_samples = 2;
    c.n_kl = 3;
    if (bl_cell_write(dir, &c, &e) != BL_OK) return 1;
    snprintf(path, sizeof path, "%s", invented_path(dir, &c));
    char *text = NULL;
    if (bl_read_file(path, 1 << 24, &text, &n_bytes, &e) != BL_OK) return 1;
    bytes = (uint8_t *)text;
    return 0;
}

static int end(void **state)
{
    (void)state;
    bl_free(bytes);
    *strrchr(path, '/') = 0;
    return bl_remove_tree(path, &e) != BL_OK;
}

static void rewrite(size_t n)
{
    FILE *f = fopen(path, "wb");
    if (!f || fwrite(bytes, 1, n, f) != n || fclose(f)) fail_msg("cannot write %s", path);
}

static void refused(bl_status want, const char *phrase)
{
    bl_shard *s;
    assert_refused(bl_shard_open(path, &s, &e), want, phrase);
    if (!strstr(e.text, ".h5")) fail_msg("'%s' does not name the file", e.text);
}

/* Parsing from memory takes the same way as opening; a file would be written 200,000 times. */
static void every_flipped_bit_is_noticed(void **state) /* R98 */
{
    (void)state;
    bl_shard *s = NULL;
    for (size_t bit = 0; bit < 8 * n_bytes; bit++) {
        bytes[bit / 8] ^= (uint8_t)(1 << bit % 8);
        bl_status st = bl_shard_parse(bytes, n_bytes, "x.h5", &s, NULL);
        if (st != BL_E_CORRUPT) fail_msg("bit %zu of %zu: %s", bit, 8 * n_bytes, bl_status_name(st));
        bytes[bit / 8] ^= (uint8_t)(1 << bit % 8);
    }
    assert_ok(bl_shard_parse(bytes, n_bytes, "x.h5", &s, &e));
    bl_shard_close(s);
}

static void a_flipped_bit_on_disk_is_told_by_open_and_by_check(void **state)
{
    (void)state;
    bytes[n_bytes / 2] ^= 8;
    rewrite(n_bytes);
    refused(BL_E_CORRUPT, "do not match its hash");
    assert_refused(bl_shard_check(path, "m/rtn:w4g64/piqa/0", bl_hash_bytes("m/rtn:w4g64/piqa/0", 18), &e),
                   BL_E_CORRUPT, "do not match its hash");
    bytes[n_bytes / 2] ^= 8;
}

static void every_length_but_the_right_one_is_refused(void **state) /* R97 */
{
    (void)state;
    bl_shard *s = NULL;
    for (size_t n = 0; n < n_bytes; n += n < 600 ? 1 : 97) {
        bl_status st = bl_shard_parse(bytes, n, "x.h5", &s, &e);
        if (st != BL_E_CORRUPT) fail_msg("%zu bytes: %s", n, bl_status_name(st));
    }
    rewrite(n_bytes / 2);
    refused(BL_E_CORRUPT, "truncated");
    rewrite(0);
    refused(BL_E_CORRUPT, "0 bytes");
}

static void a_newer_schema_is_named_by_its_number(void **state) /* R99 */
{
    (void)state;
    bl_hasher *h = bl_hasher_new(&e);
    uint8_t saved[512];
    memcpy(saved, bytes, sizeof saved);
    bytes[8] = 7; /* the schema, and the hash made anew: a file that a newer program wrote */
    bl_hash_add(h, bytes, 24);
    bl_hash_add(h, bytes + 40, n_bytes - 40);
    bl_hash sum = bl_hasher_end(h);
    for (int i = 0; i < 8; i++) {
        bytes[24 + i] = (uint8_t)(sum.hi >> 8 * i);
        bytes[32 + i] = (uint8_t)(sum.lo >> 8 * i);
    }
    rewrite(n_bytes);
    refused(BL_E_NEWER, "newer schema 7");
    memcpy(bytes, saved, sizeof saved);
}

static void other_files_are_refused_by_what_they_are(void **state)
{
    (void)state;
    FILE *f = fopen(path, "wb");
    fwrite(bytes + 512, 1, n_bytes - 512, f);
    fclose(f);
    refused(BL_E_CORRUPT, "an HDF5 file, but not a shard of bitladder");
    f = fopen(path, "wb");
    for (int i = 0; i < 1000; i++) fputs("not a shard\n", f);
    fclose(f);
    refused(BL_E_CORRUPT, "not a shard of bitladder");
    bl_shard *s;
    char dir[8300];
    snprintf(dir, sizeof dir, "%.*s", (int)(strrchr(path, '/') - path), path);
    assert_true(bl_shard_open(dir, &s, &e) != BL_OK);
    assert_true(bl_shard_open("/nonexistent.h5", &s, &e) != BL_OK);
}

static void a_shard_of_another_cell_does_not_pass_for_this_one(void **state)
{
    (void)state;
    static const char key[] = "m/rtn:w4g64/piqa/0";
    bl_hash hash = bl_hash_bytes(key, strlen(key)), other = {1, 1};
    rewrite(n_bytes);
    assert_ok(bl_shard_check(path, key, hash, &e));
    assert_refused(bl_shard_check(path, "m/rtn:w3g64/piqa/0", hash, &e), BL_E_CORRUPT,
                   "shard of cell 'm/rtn:w4g64/piqa/0'");
    assert_refused(bl_shard_check(path, key, other, &e), BL_E_CORRUPT, "expected");
}

static void what_is_not_there_is_missing_and_what_is_of_another_kind_is_refused(void **state)
{
    (void)state;
    bl_shard *s;
    bl_arena *a;
    const char *text, **texts;
    int64_t i, n, *ints;
    double x, *reals;
    rewrite(n_bytes);
    assert_ok(bl_arena_new(&a, &e));
    assert_ok(bl_shard_open(path, &s, &e));
    assert_refused(bl_shard_text(s, "model/nothing", a, &text, &e), BL_E_MISSING, "model/nothing");
    assert_refused(bl_shard_text(s, "nowhere/name", a, &text, &e), BL_E_MISSING, "nowhere");
    assert_refused(bl_shard_int(s, "model/name", &i, &e), BL_E_FORMAT, "model/name");
    assert_refused(bl_shard_int(s, "model/bits_per_weight", &i, &e), BL_E_FORMAT, "bits_per_weight");
    assert_refused(bl_shard_real(s, "method/version", &x, &e), BL_E_FORMAT, "method/version");
    assert_refused(bl_shard_text(s, "method/version", a, &text, &e), BL_E_FORMAT, "method/version");
    assert_refused(bl_shard_text(s, "task/piqa/metric_names", a, &text, &e), BL_E_FORMAT, "metric_names");
    assert_refused(bl_shard_int(s, "task/piqa/metric_n", &i, &e), BL_E_FORMAT, "metric_n");
    assert_refused(bl_shard_reals(s, "method/layers", a, &reals, &n, &e), BL_E_FORMAT, "method/layers");
    assert_refused(bl_shard_reals(s, "model/name/x", a, &reals, &n, &e), BL_E_MISSING, "model/name");
    assert_refused(bl_shard_column_int(s, "task/piqa/samples", "nothing", a, &ints, &n, &e), BL_E_MISSING,
                   "no column 'nothing'");
    assert_refused(bl_shard_column_int(s, "task/piqa/samples", "score_0", a, &ints, &n, &e), BL_E_FORMAT, "score_0");
    assert_refused(bl_shard_texts(s, "task/piqa/kl", a, &texts, &n, &e), BL_E_FORMAT, "task/piqa/kl");
    assert_refused(bl_shard_list(s, "nothing", a, &texts, &n, &e), BL_E_MISSING, "nothing");
    assert_ok(bl_shard_list(s, "task", a, &texts, &n, &e));
    assert_int_equal(n, 1);
    assert_string_equal(texts[0], "piqa");
    bl_shard_close(s);
    bl_arena_free(a);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_flipped_bit_is_noticed),
        cmocka_unit_test(a_flipped_bit_on_disk_is_told_by_open_and_by_check),
        cmocka_unit_test(every_length_but_the_right_one_is_refused),
        cmocka_unit_test(a_newer_schema_is_named_by_its_number),
        cmocka_unit_test(other_files_are_refused_by_what_they_are),
        cmocka_unit_test(a_shard_of_another_cell_does_not_pass_for_this_one),
        cmocka_unit_test(what_is_not_there_is_missing_and_what_is_of_another_kind_is_refused),
    };
    return cmocka_run_group_tests(tests, begin, end);
}
