/* all_sources.c - models that are no file of a study: saved ones without their source, those of the Hugging Face cache.
 */
#include "verbs_fixture.h"

static void a_quantized_model_needs_its_source_no_more(void **state)
{
    (void)state;
    bl_err e = {0};
    char *text;
    size_t n;
    assert_ok(bl_make_dirs(filled("@dir/src"), &e));
    for (int i = 0; i < 2; i++) {
        static const char *const file[][2] = {{"@model", "@dir/src/m.bin"}, {"@dir/model/tok.bin", "@dir/src/tok.bin"}};
        assert_ok(bl_read_file(filled(file[i][0]), 1 << 28, &text, &n, &e));
        assert_ok(bl_write_file(filled(file[i][1]), text, n, &e));
        bl_free(text);
    }
    ran r = SAY(NULL, "quantize", "@dir/src/m.bin", "--method", "rtn:w4g24", "-o", "@dir/moved");
    expect(&r, 0, NULL);
    ran_free(&r);
    assert_ok(bl_remove_tree(filled("@dir/src"), &e));
    ran a = SAY(LINE, "score", "--model", "@dir/moved", "-"), b = SAY(LINE, "score", "--model", "@quant", "-");
    expect(&a, 0, NULL);
    assert_string_equal(a.out, b.out);
    ran_free(&a);
    ran_free(&b);
    a = SAY("make", "generate", "--model", "@dir/moved", "--max-new", "4", "-");
    expect(&a, 0, NULL);
    ran_free(&a);
    a = SAY(NULL, "inspect", "@dir/moved");
    expect(&a, 0, NULL);
    ran_free(&a);
    a = SAY(NULL, "run", "--model", "@dir/moved", "--method", "base", "--task", "piqa", "--data", "@data", "--out",
            "@dir/moved-runs");
    expect(&a, 0, NULL);
    ran_free(&a);
    a = SAY(NULL, "samples", "@dir/moved-runs"); /* equal scores to those of the cell that quantized for itself */
    b = SAY(NULL, "samples", "@out", "--method", "rtn:w4g24");
    assert_int_equal(lines_of(a.out), 30);
    for (const char *p = a.out, *q = b.out; *p; p = strchr(p, '\n') + 1, q = strchr(q, '\n') + 1) {
        const char *x = strstr(p, "\"id\""), *y = strstr(q, "\"id\"");
        assert_memory_equal(x, y, (size_t)(strchr(x, '\n') - x));
    }
    ran_free(&a);
    ran_free(&b);
}

static void a_name_is_looked_up_in_the_hugging_face_cache(void **state)
{
    (void)state;
    bl_err e = {0};
    char hub[4200], path[4400], link[9000];
    char **name;
    size_t n;
    snprintf(hub, sizeof hub, "%s/hub", S.dir);
    snprintf(path, sizeof path, "%s/models--some--model/snapshots/0a1b", hub);
    assert_ok(bl_make_dirs(path, &e));
    assert_ok(bl_dir_list(quant, &name, &n, &e));
    for (size_t i = 0; i < n; i++) {
        char target[9000];
        snprintf(link, sizeof link, "%s/%s", path, name[i]);
        snprintf(target, sizeof target, "%s/%s", quant, name[i]);
        assert_int_equal(symlink(target, link), 0);
    }
    bl_list_free(name, n);
    snprintf(path, sizeof path, "%s/models--some--model/refs", hub);
    assert_ok(bl_make_dirs(path, &e));
    study_write(path, "main", "0a1b");
    setenv("HF_HUB_CACHE", hub, 1);
    ran a = SAY(LINE, "score", "--model", "some/model", "-"), b = SAY(LINE, "score", "--model", "@quant", "-"),
        none = SAY(LINE, "score", "--model", "some/other", "-");
    unsetenv("HF_HUB_CACHE");
    expect(&a, 0, NULL);
    expect(&none, 2, "models--some--other");
    assert_string_equal(a.out, b.out);
    ran_free(&a);
    ran_free(&b);
    ran_free(&none);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_quantized_model_needs_its_source_no_more),
        cmocka_unit_test(a_name_is_looked_up_in_the_hugging_face_cache),
    };
    return cmocka_run_group_tests_name("models from elsewhere", tests, begin_results, end_study);
}
