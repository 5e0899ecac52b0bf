/* score_fixture.h - models whose probabilities are known and a random one, an engine on them, requests. */
#ifndef BL_TESTS_SCORE_FIXTURE_H
#define BL_TESTS_SCORE_FIXTURE_H
#include "model_fixture.h"
#include "tiny_model.h"
#include "kernels/base/fs.h"
#include "harness/score/score_impl.h"
#include <math.h>

static char dir[4096], uniform[4200], oracle[4200], noise[4200], bytes[4200], words[4200];
static const char *const pieces[] = {"a", "b", "c", "d", "e",  "h",  "i",   "n",  "o",  "r", "s",
                                     "t", "u", "w", "x", "he", "in", "the", "er", "re", NULL};

static inline int score_begin(void **state)
{
    int32_t next[TINY_VOCAB];
    (void)state;
    snprintf(dir, sizeof dir, "%s", test_dir());
    snprintf(uniform, sizeof uniform, "%s/uniform.bin", dir);
    snprintf(oracle, sizeof oracle, "%s/oracle.bin", dir);
    snprintf(noise, sizeof noise, "%s/noise.bin", dir);
    snprintf(bytes, sizeof bytes, "%s/bytes.bin", dir);
    snprintf(words, sizeof words, "%s/words.bin", dir);
    tiny_alphabet(next);
    tiny_tokenizer(bytes, NULL);
    tiny_tokenizer(words, pieces);
    tiny_uniform(uniform);
    tiny_oracle(oracle, next, 0.5);
    tiny_noise(noise);
    return 0;
}
static inline int score_end(void **state)
{
    (void)state;
    return bl_remove_tree(dir, NULL) != BL_OK;
}

typedef struct bench {
    fixture f;
    bl_engine *g;
    bl_arena *a;
} bench;
static inline bench open_bench(const char *model, const char *tokenizer, const bl_engine_opts *o)
{
    bl_err e = {0};
    bench b = {.f = fixture_open(model, tokenizer, 1, false)};
    assert_ok(bl_engine_new(b.f.m, b.f.t, o, &b.g, &e));
    assert_ok(bl_arena_new(&b.a, &e));
    return b;
}
static inline void close_bench(bench *b)
{
    bl_engine_free(b->g);
    bl_arena_free(b->a);
    fixture_close(&b->f);
}

static inline bl_request pairs(bl_arena *a, const char *context, const char *const *continuation, int n)
{
    bl_pair *p = bl_alloc(a, (size_t)n, sizeof *p, NULL);
    bl_prompt c = bl_prompt_new(a);
    bl_quote(&c, context);
    for (int i = 0; i < n; i++) p[i] = (bl_pair){.context = c, .continuation = continuation[i]};
    return (bl_request){.kind = BL_ASK_PAIRS, .pair = p, .n_pairs = n};
}
static inline bl_request pair(bl_arena *a, const char *context, const char *continuation)
{
    return pairs(a, context, &continuation, 1);
}
static inline bl_request window(const char *text, int64_t length, int64_t index, bl_window_rule rule)
{
    return (bl_request){
        .kind = BL_ASK_WINDOW, .text = text, .n_text = strlen(text), .length = length, .index = index, .rule = rule};
}
static inline bl_request rolling(const char *text, int64_t length)
{
    return (bl_request){.kind = BL_ASK_ROLLING, .text = text, .n_text = strlen(text), .length = length};
}
static inline bl_reply reply(bench *b, bl_request r)
{
    bl_err e = {0};
    bl_reply out;
    assert_ok(bl_engine_replies(b->g, &r, 1, b->a, &out, &e));
    return out;
}

/* Requests of every kind. */
enum { MIXED = 9 };
static inline void mixed_requests(bl_arena *a, bl_request out[MIXED])
{
    static const char *const four[] = {" the inner wood", " there", " is", " nothing in here"}, *const letters[] = {
                                                                                                    " a", " b", " c"};
    static const char *const same[] = {" the end", " the end", " the end of it"};
    static const char *const stem = "the other one heard of it and went there in the end";
    bl_prompt two[2] = {bl_prompt_new(a), bl_prompt_new(a)};
    bl_quote(&two[0], "one thing or another, because he");
    bl_quote(&two[1], "one thing or another, because the house");
    out[0] = pairs(a, "Question: where is he?\nAnswer:", four, 4);
    out[1] = pairs(a, "Pick one: x, y or z.\nAnswer:", letters, 3);
    out[2] = pair(a, "", "there");
    out[3] = rolling(stem, 20);
    out[4] = window(stem, 16, 1, BL_WINDOW_GPTQ);
    out[5] = window(stem, 16, 0, BL_WINDOW_LLAMACPP);
    out[6] = pairs(a, "twice", same, 3);
    assert_int_equal(bl_ask_contexts(&out[7], two, 2, "was near.", NULL), BL_OK);
    out[8] = pair(a, "t", "he"); /* nothing is scored */
}

#define ALPHABET "abcdefghijklmnopqrstuvwxyz"
#endif
