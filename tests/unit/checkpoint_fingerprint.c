/* checkpoint_fingerprint.c - fingerprints see every byte and come from the cache; values that are not finite are found
 * and named. */
#include "test.h"
#include "checkpoint_build.h"
#include "harness/checkpoint/checkpoint.h"
#include <math.h>
#include <fcntl.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

static char dir[4096], cache[4200], model[4200];

static int begin(void **state)
{
    (void)state;
    strcpy(dir, test_dir());
    snprintf(cache, sizeof cache, "%s/cache", dir);
    snprintf(model, sizeof model, "%s/m.gguf", dir);
    setenv("XDG_CACHE_HOME", cache, 1);
    return 0;
}

static int end(void **state)
{
    bl_err e = {0};
    (void)state;
    return bl_remove_tree(dir, &e);
}

/* A new time for every file, so that two written in the same tick differ. */
static void write_model(const bl_text *t)
{
    static time_t tick;
    test_write(dir, "m.gguf", t->s, t->n);
    struct timespec at[2] = {{1000 + tick, 0}, {1000 + tick, 0}};
    tick++;
    utimensat(AT_FDCWD, model, at, 0);
}

static bl_checkpoint *open_model(const bl_checkpoint_opts *o)
{
    bl_err e = {0};
    bl_checkpoint *c = NULL;
    assert_ok(bl_checkpoint_open(model, o, &c, &e));
    return c;
}

static bl_hash fingerprint(void)
{
    bl_err e = {0};
    bl_hash h;
    bl_checkpoint *c = open_model(NULL);
    assert_ok(bl_checkpoint_fingerprint(c, &h, &e));
    bl_checkpoint_close(c);
    return h;
}

static void a_fingerprint_sees_every_weight_and_the_config(void **state)
{
    (void)state;
    bl_text t = {0};
    gguf_llama(&t, &(gguf_extra){0});
    write_model(&t);
    bl_hash a = fingerprint(), b;
    for (size_t back = 4; back < 42000; back += 5000) {
        t.s[t.n - back] ^= 1;
        write_model(&t);
        b = fingerprint();
        assert_false(bl_hash_equal(a, b));
        t.s[t.n - back] ^= 1;
    }
    write_model(&t);
    assert_true(bl_hash_equal(a, fingerprint())); /* another time, the same bytes */
    char *eps = memmem(t.s, t.n, "rms_epsilon", 11);
    float other = 1e-6f;
    memcpy(eps + 15, &other, 4);
    write_model(&t);
    assert_false(bl_hash_equal(a, fingerprint()));
    bl_text_free(&t);
}

static char *cache_file(void)
{
    static char path[8192];
    char sub[4300];
    char **names;
    size_t n;
    bl_err e = {0};
    snprintf(sub, sizeof sub, "%s/bitladder", cache);
    assert_ok(bl_dir_list(sub, &names, &n, &e));
    assert_int_equal(n, 1);
    snprintf(path, sizeof path, "%s/%s", sub, names[0]);
    bl_list_free(names, n);
    return path;
}

static void a_cached_fingerprint_reads_no_weights_and_a_broken_one_is_ignored(void **state)
{
    (void)state;
    bl_err e = {0};
    bl_text t = {0};
    char *s, *path;
    size_t n;
    gguf_llama(&t, &(gguf_extra){0});
    write_model(&t);
    bl_hash a = fingerprint(), b;
    path = cache_file();
    assert_ok(bl_read_file(path, 4096, &s, &n, &e));
    /* a weight changed behind the cache's back, same size and time: the cached value is taken, so nothing was read */
    struct stat sb;
    assert_int_equal(stat(model, &sb), 0);
    FILE *f = fopen(model, "r+b");
    fseek(f, -4, SEEK_END);
    fputc(0x55, f);
    fclose(f);
    struct timespec at[2] = {sb.st_atim, sb.st_mtim};
    utimensat(AT_FDCWD, model, at, 0);
    b = fingerprint();
    assert_true(bl_hash_equal(a, b));
    for (size_t i = 0; i < n; i += 3) { /* any damaged byte: computed again */
        s[i] ^= 1;
        assert_ok(bl_write_file(path, s, n, &e));
        s[i] ^= 1;
        b = fingerprint();
        assert_false(bl_hash_equal(a, b));
    }
    assert_ok(bl_write_file(path, s, 0, &e));
    b = fingerprint();
    assert_false(bl_hash_equal(a, b));
    bl_free(s);
    bl_text_free(&t);
}

static void without_a_place_for_the_cache_all_still_works(void **state)
{
    (void)state;
    bl_text t = {0};
    gguf_llama(&t, &(gguf_extra){0});
    write_model(&t);
    bl_hash a = fingerprint();
    test_write(dir, "file", "", 0);
    snprintf(cache, sizeof cache, "%s/file", dir);
    setenv("XDG_CACHE_HOME", cache, 1);
    assert_true(bl_hash_equal(a, fingerprint()));
    bl_text_free(&t);
}

static void values_that_are_not_finite_are_named(void **state)
{
    (void)state;
    bl_err e = {0};
    bl_text t = {0};
    static const float bad[] = {NAN, INFINITY, -INFINITY};
    static const char *const what[] = {"is not a number", "is infinity", "is -infinity"};
    for (int i = 0; i < 3; i++) {
        gguf_llama(&t, &(gguf_extra){0});
        /* blk.0.attn_k: stored row 2 of head 0 is HF row 1; from the end: norm 32, down 2048, up, gate 2048, norm 32,
         * out 1024, v 512, k 512 */
        size_t k = t.n - 4 * (32 + 3 * 2048 + 32 + 1024 + 512 + 512);
        memcpy(t.s + k + 4 * (2 * 32 + 7), &bad[i], 4);
        write_model(&t);
        bl_checkpoint *c = open_model(NULL);
        char want[128];
        snprintf(want, sizeof want, "'model.layers.0.self_attn.k_proj.weight': element [1, 7] %s", what[i]);
        assert_refused(bl_checkpoint_verify(c, &e), BL_E_FORMAT, want);
        assert_refused(bl_checkpoint_verify(c, &e), BL_E_FORMAT, want);
        bl_checkpoint_close(c);
        c = open_model(&(bl_checkpoint_opts){.allow_nonfinite = true});
        assert_ok(bl_checkpoint_verify(c, &e));
        bl_checkpoint_close(c);
        bl_text_free(&t);
    }
    gguf_llama(&t, &(gguf_extra){0});
    memcpy(t.s + t.n - 4 * 3, &bad[0], 4);
    write_model(&t);
    bl_checkpoint *c = open_model(NULL);
    assert_refused(bl_checkpoint_verify(c, &e), BL_E_FORMAT, "'model.norm.weight': element [29] is not a number");
    bl_checkpoint_close(c);
    bl_text_free(&t);
    gguf_llama(&t, &(gguf_extra){0});
    write_model(&t);
    c = open_model(NULL);
    assert_ok(bl_checkpoint_verify(c, &e));
    assert_ok(bl_checkpoint_verify(c, &e)); /* from the cache */
    bl_checkpoint_close(c);
    bl_text_free(&t);
}

/* Largest finite values are not mistaken for infinities, in any format of block scales. */
static void finite_extremes_pass(void **state)
{
    (void)state;
    bl_err e = {0};
    bl_text t = {0};
    float big = 3e38f;
    gguf_llama(&t, &(gguf_extra){0});
    memcpy(t.s + t.n - 4, &big, 4);
    write_model(&t);
    bl_checkpoint *c = open_model(NULL);
    assert_ok(bl_checkpoint_verify(c, &e));
    bl_checkpoint_close(c);
    bl_text_free(&t);
}

/* A LLaMA whose blk.0.ffn_down is one block type: dim 32 rows of `in` weights. The damaged block is row 3, block 0. */
static void write_blocks(const bl_format *f, const uint8_t *block, const uint8_t *damaged)
{
    static const struct {
        const char *name;
        int ndim;
        uint64_t d0, d1;
    } rows[] = {
        {"token_embd.weight", 2, 32, 40},    {"blk.0.attn_norm.weight", 1, 32, 1},
        {"blk.0.attn_q.weight", 2, 32, 32},  {"blk.0.attn_k.weight", 2, 32, 16},
        {"blk.0.attn_v.weight", 2, 32, 16},  {"blk.0.attn_output.weight", 2, 32, 32},
        {"blk.0.ffn_norm.weight", 1, 32, 1}, {"blk.0.ffn_gate.weight", 2, 32, 256},
        {"blk.0.ffn_up.weight", 2, 32, 256}, {"output_norm.weight", 1, 32, 1},
    };
    bl_text t = {0};
    uint64_t offset = 0, n = 256 / (uint64_t)f->block;
    head(&t, 3, BL_COUNT(rows) + 1, 8);
    key_text(&t, "general.architecture", "llama");
    key_u32(&t, "llama.block_count", 1);
    key_u32(&t, "llama.context_length", 64);
    key_u32(&t, "llama.embedding_length", 32);
    key_u32(&t, "llama.feed_forward_length", 256);
    key_u32(&t, "llama.attention.head_count", 4);
    key_u32(&t, "llama.attention.head_count_kv", 2);
    key_f32(&t, "llama.attention.layer_norm_rms_epsilon", 1e-5f);
    for (size_t i = 0; i < BL_COUNT(rows); i++) {
        tensor(&t, rows[i].name, rows[i].ndim, rows[i].d0, rows[i].d1, 0, offset);
        offset += rows[i].d0 * rows[i].d1 * 4;
    }
    tensor(&t, "blk.0.ffn_down.weight", 2, 256, 32, (uint32_t)f->ggml_type, offset);
    pad(&t, 32);
    for (uint64_t i = 0; i < offset; i += 4) putf(&t, 1);
    for (uint64_t i = 0; i < 32 * n; i++)
        bl_text_addn(&t, (const char *)(damaged && i == 3 * n ? damaged : block), (size_t)f->block_bytes);
    pad(&t, 32);
    write_model(&t);
    bl_text_free(&t);
}

/* Sets every 16-bit place of a zero block to infinity in turn: whatever decodes to something not finite must be
 * refused, and nothing else. */
static void bad_scales_of_every_block_format_are_found(void **state)
{
    (void)state;
    bl_err e = {0};
    const bl_format *f;
    int formats = 0, found = 0;
    for (size_t i = 0; (f = bl_format_at(i)); i++) {
        if (f->kind != BL_FMT_BLOCK) continue;
        uint8_t zero[512] = {0}, bad[512];
        float w[256];
        const void *part[1] = {bad};
        bool any = false;
        formats++;
        for (int at = 0; at + 1 < f->block_bytes; at++) {
            memcpy(bad, zero, sizeof bad);
            bad[at] = 0;
            bad[at + 1] = 0x7c; /* fp16 infinity, or the top half of one */
            if (!strcmp(f->name, "mxfp4")) bad[0] = 0xff;
            f->unpack(f, &(bl_shape){.out = 1, .in = f->block}, part, 0, 0, f->block, w);
            int first = -1;
            for (int k = f->block - 1; k >= 0; k--)
                if (!isfinite(w[k])) first = k;
            if (first < 0 && at % 16) continue; /* harmless places are many: every 16th is tried */
            write_blocks(f, zero, bad);
            bl_checkpoint *c = open_model(NULL);
            if (first < 0) {
                if (bl_checkpoint_verify(c, &e) != BL_OK) fail_msg("%s: byte %d is harmless: %s", f->name, at, e.text);
            } else {
                char want[96];
                snprintf(want, sizeof want, "down_proj.weight': element [3, %d] is", first);
                if (bl_checkpoint_verify(c, &e) != BL_E_FORMAT || !strstr(e.text, want))
                    fail_msg("%s: byte %d: %s", f->name, at, e.text);
                any = true;
            }
            bl_checkpoint_close(c);
        }
        found += any;
        /* the scale of iq1_m is spread over four places; those of nvfp4 are all finite */
        if (!any && strcmp(f->name, "iq1_m") && strcmp(f->name, "nvfp4")) fail_msg("%s: no scale was found", f->name);
    }
    assert_true(formats >= 10);
    assert_true(found >= formats - 2);
}

/* Writes one byte of the file that is open: with `other`, another one. */
static void write_into(size_t at, const bl_text *t, bool other)
{
    int fd = open(model, O_WRONLY);
    char byte = (char)(t->s[at] ^ (other ? 1 : 0));
    assert_true(fd >= 0 && pwrite(fd, &byte, 1, (off_t)at) == 1);
    close(fd);
}

static void a_checkpoint_that_was_written_to_is_judged_by_its_weights(void **state)
{
    (void)state;
    bl_err e = {0};
    bl_text t = {0};
    bl_hash h;
    gguf_llama(&t, &(gguf_extra){0});
    for (int cached = 0; cached < 2; cached++) { /* the second time the fingerprint comes from the cache */
        write_model(&t);
        if (cached) fingerprint();
        bl_checkpoint *c = open_model(NULL);
        assert_ok(bl_checkpoint_fingerprint(c, &h, &e));
        assert_ok(bl_checkpoint_unchanged(c, &e));
        write_into(t.n - 9, &t, false);
        assert_ok(bl_checkpoint_unchanged(c, &e));
        write_into(t.n - 9, &t, true);
        for (int again = 0; again < 2; again++)
            assert_refused(bl_checkpoint_unchanged(c, &e), BL_E_FORMAT, "checkpoint changed");
        bl_checkpoint_close(c);
    }
    write_model(&t); /* nothing is known of its weights yet */
    bl_checkpoint *c = open_model(NULL);
    assert_ok(bl_checkpoint_unchanged(c, &e));
    write_into(t.n - 9, &t, false);
    assert_refused(bl_checkpoint_unchanged(c, &e), BL_E_FORMAT, "checkpoint changed");
    bl_checkpoint_close(c);
    c = open_model(NULL);
    assert_int_equal(unlink(model), 0); /* the file that is open is the one that counts */
    assert_ok(bl_checkpoint_unchanged(c, &e));
    bl_checkpoint_close(c);
    bl_text_free(&t);
}

int main(void)
{
#define WITH(f) cmocka_unit_test_setup_teardown(f, begin, end)
    const struct CMUnitTest tests[] = {
        WITH(a_fingerprint_sees_every_weight_and_the_config),
        WITH(a_cached_fingerprint_reads_no_weights_and_a_broken_one_is_ignored),
        WITH(without_a_place_for_the_cache_all_still_works),
        WITH(values_that_are_not_finite_are_named),
        WITH(finite_extremes_pass),
        WITH(bad_scales_of_every_block_format_are_found),
        WITH(a_checkpoint_that_was_written_to_is_judged_by_its_weights),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
