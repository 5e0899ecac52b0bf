/* methods_spilled.c - a method that is fitted block by block makes the same bytes where its windows are in files. */
#include "learner_text.h"
#include "method_model.h"

enum { WINDOWS = 160, LENGTH = 64 };

/* The bytes of its tensors; free. `wrote`: by how many calls; `peak`: of bytes on the backend. */
static bl_text made(const char *text, uint64_t limit, uint64_t *wrote, uint64_t *peak)
{
    const bl_calib_choice calib = {.data = "primer:test", .n = WINDOWS, .seqlen = LENGTH};
    bl_checkpoint *c;
    bl_backend *be;
    bl_method_chain chain;
    bl_quantize_result r;
    bl_arena *a;
    bl_err e = {0};
    bl_text out = {0};
    char dir[4300], **names;
    size_t n;
    snprintf(dir, sizeof dir, "%s/made", model_dir);
    assert_ok(bl_arena_new(&a, &e));
    assert_ok(bl_checkpoint_open(model_own, NULL, &c, &e));
    assert_ok(bl_backend_open(&(bl_backend_opts){.device = "cpu", .threads = 2, .memory_limit = limit}, &be, &e));
    assert_ok(bl_chain_parse(bl_methods, text, &chain, &e));
    const uint64_t before = bl_fs_count();
    assert_ok(bl_quantize_dir(c, &chain, &(bl_apply_how){.calib = &calib, .seed = 3}, be, dir, a, &r, &e));
    *wrote = bl_fs_count() - before;
    be->ops->memory(be, NULL, peak);
    assert_ok(bl_dir_list(dir, &names, &n, &e));
    for (size_t i = 0; i < n; i++) {
        if (!strstr(names[i], ".safetensors")) continue;
        char *path = bl_join(dir, names[i], &e), *bytes;
        size_t size;
        assert_ok(bl_read_file(path, 1 << 28, &bytes, &size, &e));
        bl_text_addn(&out, bytes, size);
        bl_free(bytes);
        bl_free(path);
    }
    bl_list_free(names, n);
    assert_ok(bl_text_check(&out, &e));
    assert_ok(bl_remove_tree(dir, &e));
    bl_chain_free(&chain);
    bl_backend_close(be);
    bl_checkpoint_close(c);
    bl_arena_free(a);
    return out;
}

static void files_of_windows_change_no_byte(void **state)
{
    const uint64_t stream = (uint64_t)WINDOWS * LENGTH * MODEL_DIM * sizeof(float);
    char text[LEARNER_TEXT];
    int methods = 0;
    (void)state;
    for (size_t i = 0; bl_methods[i]; i++) {
        uint64_t kept, spilled, most, less;
        if (!(bl_methods[i]->needs & BL_NEED_ORIGINAL)) continue;
        learner_text(bl_methods[i], text);
        bl_text a = made(text, 0, &kept, &most), b = made(text, most - stream, &spilled, &less);
        if (!(spilled > kept)) fail_msg("%s: windows were in no file", text);
        assert_true(less <= most - stream);
        assert_int_equal(a.n, b.n);
        if (memcmp(a.s, b.s, a.n) != 0) fail_msg("%s: other bytes where windows were in files", text);
        bl_text_free(&a);
        bl_text_free(&b);
        methods++;
    }
    assert_true(methods >= 4);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(files_of_windows_change_no_byte)};
    return cmocka_run_group_tests_name("methods_spilled", tests, model_begin, model_end);
}
