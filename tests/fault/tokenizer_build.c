/* tokenizer_build.c - a tokenizer that cannot be put together leaves no memory, wherever it fails. */
#include "data/text_tok.h"
#include "harness/tokenizer/tokenizer_impl.h"
#include "kernels/base/fs.h"

/* A token that is not UTF-8, after one whose normalized text is already made. */
static void a_wrong_token_after_a_normalized_one_leaves_no_memory(void **state)
{
    (void)state;
    bl_err e;
    bl_tokenizer *t = NULL;
    uint64_t live = bl_alloc_live();
    assert_ok(tok_new(&t, &e));
    assert_ok(tok_vocab_add(&t->vocab, 0, "a", 1, 0, TOK_NORMAL, 3, "made", &e));
    assert_ok(tok_vocab_add(&t->vocab, 1, "<x>", 3, 0, TOK_USER, 3, "made", &e));
    assert_ok(tok_vocab_add(&t->vocab, 2, "\xFF", 1, 0, TOK_CONTROL, 3, "made", &e));
    assert_ok(tok_add_norm(t, &(tok_norm){.op = NORM_PREPEND, .with = "_", .n_with = 1}, "made", &e));
    assert_ok(tok_add_added(t, &(tok_added){.id = 1, .text = "<x>", .n = 3, .normalized = true}, &e));
    assert_ok(tok_add_added(t, &(tok_added){.id = 2, .text = "\xFF", .n = 1, .special = true}, &e));
    assert_refused(tok_finish(t, "made", &e), BL_E_FORMAT, "token 2 is recognised inside text and is not UTF-8");
    bl_tokenizer_close(t);
    assert_int_equal(bl_alloc_live(), live);
}

static bl_status use(const char *path, bl_err *e)
{
    bl_status st = BL_OK;
    bl_tokenizer *t = NULL;
    bl_ids ids = {0};
    BL_TRY(bl_tokenizer_open(BL_TOK_SPM, path, &t, e));
    BL_TRY(bl_encode(t, "a<x>b<e>", 8, BL_ENCODE_BOS | BL_ENCODE_SPECIAL, &ids, e));
out:
    bl_ids_free(&ids);
    bl_tokenizer_close(t);
    return st;
}

/* Every file that may stand beside a tokenizer is there, so that each of their readers meets every failure. */
static void survives_failure_of_every_allocation(void **state)
{
    (void)state;
    static const char *const files[][2] = {
        {"tokenizer_config.json",
         "{\"tokenizer_class\":\"LlamaTokenizer\",\"bos_token\":\"<s>\",\"eos_token\":\"<e>\",\"legacy\":false}"},
        {"special_tokens_map.json", "{\"eos_token\":{\"content\":\"<e>\"},\"additional_special_tokens\":[\"<y>\"]}"},
        {"added_tokens.json", "{\"<x>\":6,\"<e>\":5}"},
        {"generation_config.json", "{\"eos_token_id\":[2,5]}"},
        {"config.json", "{\"bos_token_id\":1,\"eos_token_id\":2}"},
    };
    static const spm_row pieces[] = {{"<unk>", 0, 2}, {"<s>", 0, 3}, {"</s>", 0, 3}, {"a", -1, 1}, {"b", -2, 1}};
    bl_err e;
    bl_text s = {0};
    const char *dir = test_dir();
    char *path = bl_join(dir, "tokenizer.model", &e);
    spm_made(&s, pieces, BL_COUNT(pieces), false, false, false);
    assert_ok(bl_write_file(path, s.s, s.n, &e));
    for (size_t i = 0; i < BL_COUNT(files); i++) {
        char *other = bl_join(dir, files[i][0], &e);
        assert_ok(bl_write_file(other, files[i][1], strlen(files[i][1]), &e));
        bl_free(other);
    }
    assert_ok(use(path, &e));
    for (int sticky = 0; sticky < 2; sticky++)
        for (uint64_t n = 1;; n++) {
            uint64_t live = bl_alloc_live();
            bl_alloc_fail_at(n, sticky);
            bl_status st = use(path, &e);
            bool reached = bl_alloc_count() >= n;
            bl_alloc_fail_at(0, false);
            if (bl_alloc_live() != live) fail_msg("allocation %d: memory is left", (int)n);
            if (!reached) {
                assert_int_equal(st, BL_OK);
                assert_true(n > 30);
                break;
            }
            if (st != BL_OK && st != BL_E_NOMEM) fail_msg("allocation %d: %s", (int)n, e.text);
            assert_true(n < 100000);
        }
    assert_ok(bl_remove_tree(dir, &e));
    bl_free(path);
    bl_text_free(&s);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_wrong_token_after_a_normalized_one_leaves_no_memory),
        cmocka_unit_test(survives_failure_of_every_allocation),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
