/* model_loops.c - every allocation of every reader fails once, and every write-side call of the writer: a
 * sentence, no leak, nothing left. */
#include "test.h"
#include "checkpoint_build.h"
#include "variant_write.h"
#include <errno.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <signal.h>
#include <unistd.h>

static char dir[4096];
static bl_backend *be;

static int begin(void **state)
{
    (void)state;
    strcpy(dir, test_dir());
    setenv("XDG_CACHE_HOME", dir, 1);
    return bl_backend_open(&(bl_backend_opts){.device = "cpu", .threads = 1}, &be, NULL) != BL_OK;
}

static int end(void **state)
{
    bl_err e = {0};
    (void)state;
    bl_backend_close(be);
    return bl_remove_tree(dir, &e);
}

/* Opens, reads a row, asks for the fingerprint, opens a saved model, closes. */
static bl_status use(const char *model, bl_err *e)
{
    bl_status st = BL_OK;
    bl_checkpoint *c = NULL;
    float row[4096];
    bl_hash h;
    bl_model *m = NULL;
    BL_TRY(bl_checkpoint_open(model, NULL, &c, e));
    BL_TRY(bl_checkpoint_dense(c, bl_checkpoint_at(c, 2), 0, 1, row, e));
    BL_TRY(bl_checkpoint_fingerprint(c, &h, e));
    BL_TRY(bl_checkpoint_verify(c, e));
    if (bl_checkpoint_method(c)) BL_TRY(bl_model_open(c, be, NULL, &m, e));
out:
    bl_model_close(m);
    bl_checkpoint_close(c);
    return st;
}

static void survives_every_allocation(const char *model)
{
    bl_err e = {0};
    assert_ok(use(model, &e)); /* lazily made things exist now */
    uint64_t live = bl_alloc_live();
    for (int sticky = 0; sticky < 2; sticky++)
        for (uint64_t n = 1;; n++) {
            bl_alloc_fail_at(n, sticky);
            bl_status st = use(model, &e);
            bool reached = bl_alloc_count() >= n;
            bl_alloc_fail_at(0, false);
            if (!reached) {
                assert_int_equal(st, BL_OK);
                break;
            }
            /* a failure while the cache is looked up or written only costs the cache */
            if (st != BL_E_NOMEM && st != BL_OK)
                fail_msg("%s: allocation %llu: %s %s", model, (unsigned long long)n, bl_status_name(st), e.text);
            if (bl_alloc_live() != live)
                fail_msg("%s: allocation %llu: %lld bytes are lost", model, (unsigned long long)n,
                         (long long)(bl_alloc_live() - live));
        }
}

static void readers_survive_the_failure_of_every_allocation(void **state)
{
    (void)state;
    bl_err e = {0};
    char path[4200];
    bl_text t = {0};
    st_text s = {0};
    bl_checkpoint *c;
    gguf_llama(&t, &(gguf_extra){0});
    test_write(dir, "m.gguf", t.s, t.n);
    bl_text_free(&t);
    snprintf(path, sizeof path, "%s/m.gguf", dir);
    survives_every_allocation(path);

    for (int i = 0; i < 7; i++) put32(&t, (uint32_t[]){16, 24, 1, 4, 2, 20, 8}[i]);
    for (int i = 0; i < 20 * 16 + 2 * 16 + 2 * 256 + 2 * 128 + 3 * 384 + 16 + 32; i++) putf(&t, 1);
    test_write(dir, "m.bin", t.s, t.n);
    bl_text_free(&t);
    snprintf(path, sizeof path, "%s/m.bin", dir);
    survives_every_allocation(path);

    snprintf(path, sizeof path, "%s/hf", dir);
    assert_int_equal(mkdir(path, 0777), 0);
    st_layers(&s, 0, 2, true, true, NULL);
    st_write(&s, path, "a.safetensors");
    write_config(path, NULL, 0);
    bl_text_add(&t, "{\"weight_map\":{");
    snprintf(path, sizeof path, "%s/hf/a.safetensors", dir);
    assert_ok(bl_checkpoint_open("synth:tiny", NULL, &c, &e));
    snprintf(path, sizeof path, "%s/hf", dir);
    for (size_t i = 0; i < bl_checkpoint_count(c) - 1; i++)
        bl_text_addf(&t, "%s\"%s\":\"a.safetensors\"", i ? "," : "", bl_checkpoint_at(c, i)->name);
    bl_text_add(&t, "}}");
    test_write(path, "model.safetensors.index.json", t.s, t.n);
    bl_text_free(&t);
    survives_every_allocation(path);

    snprintf(path, sizeof path, "%s/v", dir);
    bl_checkpoint_close(c);
    fixture f = fixture_stored("synth:tiny:int4", "", 1, false);
    variant_everything(&f);
    assert_ok(variant_of_model(f.m, path, &(bl_stage){.text = "all", .hash = "12"}, 1, NULL, &e));
    fixture_close(&f);
    survives_every_allocation(path);
    survives_every_allocation("synth:tiny:int3");
}

static void assert_nothing_in(const char *d, uint64_t n)
{
    bl_err e = {0};
    char **names;
    size_t k;
    assert_ok(bl_dir_list(d, &names, &k, &e));
    if (k) fail_msg("failure %llu leaves %s", (unsigned long long)n, names[0]);
    bl_list_free(names, k);
}

static void the_writer_leaves_all_or_nothing_whatever_fails(void **state)
{
    (void)state;
    bl_err e = {0};
    char sub[4200], out[4300];
    bl_checkpoint *c, *back;
    snprintf(sub, sizeof sub, "%s/out", dir);
    snprintf(out, sizeof out, "%s/model", sub);
    assert_int_equal(mkdir(sub, 0777), 0);
    assert_ok(bl_checkpoint_open("synth:tiny:int4", NULL, &c, &e));
    assert_ok(variant_of(c, be, out, "base", NULL, &e));
    assert_ok(bl_remove_tree(out, &e));
    uint64_t live = bl_alloc_live();
    for (uint64_t n = 1;; n++) {
        bl_fs_fail_at(n, ENOSPC, false);
        bl_status st = variant_of(c, be, out, "base", NULL, &e);
        bool reached = bl_fs_count() >= n;
        bl_fs_fail_at(0, 0, false);
        if (!reached) {
            assert_int_equal(st, BL_OK);
            break;
        }
        if (bl_exists(out)) { /* renamed, but the parent could not be synced: whole all the same */
            assert_int_equal(st, BL_E_DISK);
            assert_ok(bl_checkpoint_open(out, NULL, &back, &e));
            bl_checkpoint_close(back);
            assert_ok(bl_remove_tree(out, &e));
            continue;
        }
        if (st != BL_E_DISK) fail_msg("call %llu: %s %s", (unsigned long long)n, bl_status_name(st), e.text);
        assert_nothing_in(sub, n);
        assert_int_equal(bl_alloc_live(), live);
    }
    assert_ok(bl_remove_tree(out, &e));
    for (uint64_t n = 1;; n++) {
        bl_alloc_fail_at(n, true);
        bl_status st = variant_of(c, be, out, "base", NULL, &e);
        bool reached = bl_alloc_count() >= n;
        bl_alloc_fail_at(0, false);
        if (!reached) {
            assert_int_equal(st, BL_OK);
            break;
        }
        if (st != BL_E_NOMEM) fail_msg("allocation %llu: %s %s", (unsigned long long)n, bl_status_name(st), e.text);
        assert_int_equal(bl_alloc_live(), live);
        assert_ok(bl_remove_tree(out, &e));
        assert_ok(bl_remove_tree(sub, &e)); /* memory for removing may have been out too */
        assert_int_equal(mkdir(sub, 0777), 0);
    }
    bl_checkpoint_close(c);
}

/* Killed at the last moment, the directory is not there; the next writer removes what was left. */
static void a_writer_killed_before_its_rename_leaves_no_model(void **state)
{
    (void)state;
    bl_err e = {0};
    char sub[4200], out[4300], **names;
    size_t n;
    int status;
    bl_checkpoint *c;
    snprintf(sub, sizeof sub, "%s/out", dir);
    snprintf(out, sizeof out, "%s/model", sub);
    assert_int_equal(mkdir(sub, 0777), 0);
    assert_ok(bl_checkpoint_open("synth:tiny", NULL, &c, &e));
    pid_t pid = fork();
    if (pid == 0) {
        setenv("BL_FAULT_POINT", "before-rename", 1);
        _exit(variant_of(c, be, out, "base", NULL, &e) == BL_OK ? 0 : 1);
    }
    assert_int_equal(waitpid(pid, &status, WUNTRACED), pid);
    assert_true(WIFSTOPPED(status));
    assert_false(bl_exists(out));
    kill(pid, SIGKILL);
    waitpid(pid, &status, 0);
    assert_ok(bl_dir_list(sub, &names, &n, &e));
    assert_int_equal(n, 1); /* model.tmp.<pid> */
    bl_list_free(names, n);
    assert_ok(variant_of(c, be, out, "base", NULL, &e));
    assert_ok(bl_dir_list(sub, &names, &n, &e));
    assert_int_equal(n, 1);
    assert_string_equal(names[0], "model");
    bl_list_free(names, n);
    bl_checkpoint_close(c);
}

int main(void)
{
#define WITH(f) cmocka_unit_test_setup_teardown(f, begin, end)
    const struct CMUnitTest tests[] = {
        WITH(readers_survive_the_failure_of_every_allocation),
        WITH(the_writer_leaves_all_or_nothing_whatever_fails),
        WITH(a_writer_killed_before_its_rename_leaves_no_model),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
