/* score_score.c - what must hold of every score, on models whose probabilities are known and on random ones. */
#include "model_fixture.h"
#include "tiny_model.h"
#include "kernels/base/fs.h"
#include "harness/score/score_impl.h"
#include <math.h>
#include <signal.h>

static char dir[4096], uniform[4200], oracle[4200], noise[4200], bytes[4200], words[4200];
static const char *const pieces[] = {"a", "b", "c", "d", "e",  "h",  "i",   "n",  "o",  "r", "s",
                                     "t", "u", "w", "x", "he", "in", "the", "er", "re", NULL};

static int write_models(void **state)
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
static int remove_models(void **state)
{
    (void)state;
    return bl_remove_tree(dir, NULL) != BL_OK;
}

typedef struct bench {
    fixture f;
    bl_engine *g;
    bl_arena *a;
} bench;
static bench open_bench(const char *model, const char *tokenizer, const bl_engine_opts *o)
{
    bl_err e = {0};
    bench b = {.f = fixture_open(model, tokenizer, 1, false)};
    assert_ok(bl_engine_new(b.f.m, b.f.t, o, &b.g, &e));
    assert_ok(bl_arena_new(&b.a, &e));
    return b;
}
static void close_bench(bench *b)
{
    bl_engine_free(b->g);
    bl_arena_free(b->a);
    fixture_close(&b->f);
}

static bl_request pairs(bl_arena *a, const char *context, const char *const *continuation, int n)
{
    bl_pair *p = bl_alloc(a, (size_t)n, sizeof *p, NULL);
    bl_prompt c = bl_prompt_new(a);
    bl_quote(&c, context);
    for (int i = 0; i < n; i++) p[i] = (bl_pair){.context = c, .continuation = continuation[i]};
    return (bl_request){.kind = BL_ASK_PAIRS, .pair = p, .n_pairs = n};
}
static bl_request pair(bl_arena *a, const char *context, const char *continuation)
{
    return pairs(a, context, &continuation, 1);
}
static bl_request window(const char *text, int64_t length, int64_t index, bl_window_rule rule)
{
    return (bl_request){
        .kind = BL_ASK_WINDOW, .text = text, .n_text = strlen(text), .length = length, .index = index, .rule = rule};
}
static bl_request rolling(const char *text, int64_t length)
{
    return (bl_request){.kind = BL_ASK_ROLLING, .text = text, .n_text = strlen(text), .length = length};
}
static bl_reply reply(bench *b, bl_request r)
{
    bl_err e = {0};
    bl_reply out;
    assert_ok(bl_engine_replies(b->g, &r, 1, b->a, &out, &e));
    return out;
}

#define ALPHABET "abcdefghijklmnopqrstuvwxyz"

/* ---- known probabilities ---- */
static void equal_logits_make_the_vocabulary_the_perplexity_in_every_convention(void **state)
{
    bench b = open_bench(uniform, bytes, NULL);
    const bl_request all[] = {
        window(ALPHABET "0123456789", 8, 3, BL_WINDOW_GPTQ), window(ALPHABET "0123456789", 8, 1, BL_WINDOW_LLAMACPP),
        rolling(ALPHABET "0123456789", 8), rolling(ALPHABET, 0), pair(b.a, "any", " thing at all")};
    const int64_t tokens[] = {7, 3, 37, 27, 13};
    (void)state;
    for (size_t i = 0; i < BL_COUNT(all); i++) {
        bl_reply r = reply(&b, all[i]);
        assert_int_equal(r.tokens[0], tokens[i]);
        assert_true(fabs(r.nll[0] / (double)r.tokens[0] - log(TINY_VOCAB)) < 1e-6);
        assert_true(fabs(r.nll_sq[0] / (double)r.tokens[0] - log(TINY_VOCAB) * log(TINY_VOCAB)) < 1e-5);
    }
    close_bench(&b);
}

static void a_token_is_predicted_from_the_one_before_it(void **state)
{
    bench b = open_bench(oracle, bytes, NULL);
    bl_reply r;
    (void)state;
    const bl_request right[] = {window(ALPHABET ALPHABET, 16, 0, BL_WINDOW_GPTQ),
                                window(ALPHABET ALPHABET, 16, 2, BL_WINDOW_GPTQ),
                                window(ALPHABET ALPHABET, 20, 0, BL_WINDOW_LLAMACPP),
                                window(ALPHABET ALPHABET, 20, 1, BL_WINDOW_LLAMACPP),
                                pair(b.a, "abc", "def"),
                                pair(b.a, "", ALPHABET)};
    for (size_t i = 0; i < BL_COUNT(right); i++) {
        r = reply(&b, right[i]);
        assert_true(r.tokens[0] > 0);
        if (!(fabs(r.nll[0] / (double)r.tokens[0] - log(2)) < 1e-5))
            fail_msg("row %zu: %g nats a token", i, r.nll[0] / (double)r.tokens[0]);
        assert_true(r.greedy[0]);
    }
    double wrong = log(2) + log(TINY_VOCAB - 1);
    r = reply(&b, pair(b.a, "abc", "dx")); /* right, then wrong */
    assert_true(fabs(r.nll[0] - log(2) - wrong) < 1e-5);
    assert_false(r.greedy[0]);
    r = reply(&b, rolling(ALPHABET, 8)); /* the text's own BOS after the prefix is the one surprise */
    assert_int_equal(r.tokens[0], 27);
    assert_true(fabs(r.nll[0] - 26 * log(2) - wrong) < 1e-4);
    close_bench(&b);
}

/* ---- windows ---- */
static void rolling_windows_are_those_of_the_protocol(void **state)
{
    /* prefix | predicted; T = begin, a, b, … */
    static const struct {
        const char *text;
        int n;
        struct {
            const char *fed;
            int scored;
        } w[3];
    } rows[] = {
        {"abcdefghi", 3, {{"^^abc", 4}, {"cdefg", 4}, {"efghi", 2}}}, /* T = 0..9 */
        {"abcdefgh", 3, {{"^^abc", 4}, {"cdefg", 4}, {"defgh", 1}}},  /* T = 0..8 */
        {"abc", 1, {{"^^abc", 4}}},
        {"a", 1, {{"^^a", 2}}},
        {"", 1, {{"^^", 1}}},
    };
    bench b = open_bench(oracle, bytes, NULL);
    (void)state;
    for (size_t i = 0; i < BL_COUNT(rows); i++) {
        bl_err e = {0};
        bl_scored_list u = {0};
        bool truncated, boundary;
        bl_request r = rolling(rows[i].text, 4);
        assert_ok(bl_engine_sequences(b.g, &r, 0, b.a, &u, &truncated, &boundary, &e));
        assert_int_equal(u.n, rows[i].n);
        int64_t at = 0;
        for (size_t k = 0; k < u.n; k++) {
            const char *fed = rows[i].w[k].fed;
            assert_int_equal(u.u[k].n, strlen(fed) - 1);
            assert_int_equal(u.u[k].scored, rows[i].w[k].scored);
            assert_int_equal(u.u[k].position, at);
            for (int64_t j = 0; j <= u.u[k].n; j++) assert_int_equal(u.u[k].ids[j], fed[j] == '^' ? 1 : 3 + fed[j]);
            at += u.u[k].scored;
        }
        assert_int_equal(at, strlen(rows[i].text) + 1); /* every token of T once */
        bl_free(u.u);
    }
    close_bench(&b);
}

static void windows_are_counted_without_the_tail_and_short_texts_refused(void **state)
{
    bench b = open_bench(uniform, bytes, NULL);
    bl_err e = {0};
    int64_t n;
    (void)state;
    /* one BOS in front: 23 = 3 * 8 - 1 tokens from 22 letters */
    assert_ok(bl_engine_windows(b.g, "abcdefghijklmnopqrstuv", 22, 8, BL_WINDOW_GPTQ, &n, &e));
    assert_int_equal(n, 2);
    assert_ok(bl_engine_windows(b.g, "abcdefghijklmnopqrstuv", 22, 8, BL_WINDOW_LLAMACPP, &n, &e));
    assert_int_equal(n, 2);
    assert_refused(bl_engine_windows(b.g, "abcdef", 6, 8, BL_WINDOW_GPTQ, &n, &e), BL_E_CONFIG, "has 7 tokens");
    assert_refused(bl_engine_windows(b.g, "abcdefghijklmn", 14, 8, BL_WINDOW_LLAMACPP, &n, &e), BL_E_CONFIG,
                   "at least 16");
    assert_refused(bl_engine_windows(b.g, "abcdefghijklmn", 14, 65, BL_WINDOW_GPTQ, &n, &e), BL_E_UNSUPPORTED,
                   "64 positions");
    close_bench(&b);
}

/* A stream's bytes are looked at when its windows are counted, not for each window. */
static void a_stream_is_read_when_its_windows_are_counted(void **state)
{
    char text[] = "abcdefghabcdefgh";
    bl_err e = {0};
    int64_t n;
    (void)state;
    bench b = open_bench(oracle, bytes, NULL);
    assert_ok(bl_engine_windows(b.g, text, 16, 8, BL_WINDOW_GPTQ, &n, &e));
    assert_int_equal(n, 2);
    double first = reply(&b, window(text, 8, 1, BL_WINDOW_GPTQ)).nll[0];
    memset(text, 'x', 16);
    assert_ok(bl_engine_windows(b.g, text, 16, 8, BL_WINDOW_GPTQ, &n, &e)); /* the same pointer, other bytes */
    double other = reply(&b, window(text, 8, 1, BL_WINDOW_GPTQ)).nll[0];
    assert_true(other > first);
    assert_true(reply(&b, window("abcdefghabcdefgh", 8, 1, BL_WINDOW_GPTQ)).nll[0] == first); /* another pointer */
    close_bench(&b);
}

static void windows_know_nothing_of_each_other(void **state)
{
    bench b = open_bench(noise, bytes, NULL);
    const char *one = "abcdefghijklmnopqrstuvwxyzabcdef",
               *two = "abcdefghijklmnXpqrstuvwxyzabcdef"; /* token 15, the last of window 0 */
    (void)state;
    bl_reply a0 = reply(&b, window(one, 16, 0, BL_WINDOW_GPTQ)), a1 = reply(&b, window(one, 16, 1, BL_WINDOW_GPTQ));
    bl_reply b0 = reply(&b, window(two, 16, 0, BL_WINDOW_GPTQ)), b1 = reply(&b, window(two, 16, 1, BL_WINDOW_GPTQ));
    assert_true(a0.nll[0] != b0.nll[0]);
    assert_true(a1.nll[0] == b1.nll[0]);
    /* every llama.cpp window begins with BOS: token 16, the first of window 1, is never seen */
    const char *three = "abcdefghijklmnoXqrstuvwxyzabcdef";
    bl_reply c1 = reply(&b, window(one, 16, 1, BL_WINDOW_LLAMACPP)),
             d1 = reply(&b, window(three, 16, 1, BL_WINDOW_LLAMACPP));
    assert_true(c1.nll[0] == d1.nll[0]);
    close_bench(&b);
}

/* ---- pairs ---- */
static void ids_of_a_pair_follow_the_rules(void **state)
{
    bench b = open_bench(noise, words, NULL);
    bl_err e = {0};
    bl_scored_ids s;
    bl_ids t = {0};
    (void)state;
    struct {
        const char *context, *continuation;
        int64_t n, scored;
        bool boundary;
    } rows[] = {
        {"a", " b", 4, 2, false},                                      /* begin a | space b */
        {"a ", "b", 4, 2, false},                                      /* the space is moved */
        {"a \n\t", "b", 6, 4, false}, {"a\xc2\xa0", "b", 5, 3, false}, /* a no-break space is white too */
        {"", "ab", 3, 2, false},                                       /* begin stands in */
        {"  ", "ab", 5, 4, false},    {"t", "he", 2, 0, true},         /* merged across: the count rules */
        {"ot", "hex", 4, 1, true},                                     /* begin o the x; tok("ot") = begin o t */
        {"a", "<s>", 5, 3, false},                                     /* text of a special token stays text (R83) */
    };
    for (size_t i = 0; i < BL_COUNT(rows); i++) {
        bl_request r = pair(b.a, rows[i].context, rows[i].continuation);
        assert_ok(bl_engine_pair_ids(b.g, &r.pair[0], b.a, &s, &e));
        if (s.n != rows[i].n || s.scored != rows[i].scored || s.boundary != rows[i].boundary)
            fail_msg("row %zu: %lld ids, %lld scored, boundary %d", i, (long long)s.n, (long long)s.scored, s.boundary);
        assert_int_equal(s.ids[0], 1);
        for (int64_t k = 1; k < s.n; k++) assert_int_not_equal(s.ids[k], 1);
        assert_false(s.truncated);
    }
    bl_prompt p = bl_prompt_new(b.a); /* a template that spells the begin out gets no second one */
    bl_say(&p, "<s>");
    bl_quote(&p, "ab");
    assert_ok(bl_engine_prompt_ids(b.g, &p, 4, b.a, &t, NULL, &e));
    assert_int_equal(t.n, 3);
    assert_int_equal(t.id[0], 1);
    assert_int_not_equal(t.id[1], 1);
    close_bench(&b);

    b = open_bench(noise, words, &(bl_engine_opts){.no_bos = true});
    bl_request r = pair(b.a, "a", " b");
    assert_ok(bl_engine_pair_ids(b.g, &r.pair[0], b.a, &s, &e));
    assert_int_equal(s.n, 3);
    assert_int_not_equal(s.ids[0], 1);
    r = rolling("abc", 8);
    assert_int_equal(reply(&b, r).tokens[0], 4); /* perplexity keeps its own: begin, a, b, c after the prefix */
    r.no_bos = true;
    assert_int_equal(reply(&b, r).tokens[0], 3);
    close_bench(&b);
}

/* lm_eval 0.4.13 feeds tok(context) + tok(context + continuation)[len(tok(context)):], so that two continuations which
 * differ only in what joins the context have one score; where that leaves nothing it stops with an error. */
static void a_token_across_the_join_leaves_the_context_as_it_is(void **state)
{
    static const char *const continuation[] = {"hex", "he", "x"};
    bl_err e = {0};
    bl_scored_ids s, alone;
    (void)state;
    bench b = open_bench(noise, words, NULL);
    bl_request joined = pairs(b.a, "ot", continuation, 3), plain = pair(b.a, "ot", "x");
    assert_ok(bl_engine_pair_ids(b.g, &joined.pair[0], b.a, &s, &e)); /* tok("othex"): begin o the x */
    assert_ok(bl_engine_pair_ids(b.g, &plain.pair[0], b.a, &alone, &e));
    assert_int_equal(s.n, alone.n);
    assert_memory_equal(s.ids, alone.ids, (size_t)s.n * sizeof *s.ids);
    bl_reply got = reply(&b, joined);
    assert_true(got.nll[0] == got.nll[2]);
    assert_true(got.boundary);
    assert_int_equal(got.tokens[1], 0); /* begin o the: as many as the context has alone */
    assert_true(got.nll[1] == BL_NLL_UNSCORED && isfinite(got.nll[1]));
    assert_false(got.greedy[1]);
    assert_true(got.unscored);
    got = reply(&b, plain);
    assert_false(got.unscored || got.boundary);
    got = reply(&b, pair(b.a, "ot", ""));
    assert_true(got.unscored && got.nll[0] == BL_NLL_UNSCORED);
    close_bench(&b);
}

/* One added token after the model's last, as Code Llama has them; transformers 5.24 loads and scores it. */
static void a_tokenizer_may_know_more_than_the_model(void **state)
{
    static const char json[] =
        "{\"added_tokens\":[{\"id\":264,\"content\":\"[PAD]\",\"special\":true}],\"pre_tokenizer\":"
        "{\"type\":\"ByteLevel\",\"add_prefix_space\":false},\"model\":{\"type\":\"BPE\",\"vocab\":{"
        "\"a\":100,\"b\":101,\"<s>\":1},\"merges\":[]}}";
    char path[4200];
    bl_err e = {0};
    bl_reply got;
    (void)state;
    snprintf(path, sizeof path, "%s/larger.json", dir);
    assert_ok(bl_write_file(path, json, sizeof json - 1, &e));
    bench b = open_bench(oracle, path, NULL);
    assert_int_equal(bl_tokenizer_vocab(b.f.t), 265);
    got = reply(&b, pair(b.a, "a", "b"));
    assert_true(got.greedy[0]);                /* b follows a */
    got = reply(&b, pair(b.a, "a", "[PAD]b")); /* the text of a special token is text */
    assert_int_equal(got.tokens[0], 1);
    bl_request r = pair(b.a, "a", "b");
    bl_say(&r.pair[0].context, "[PAD]");
    assert_refused(bl_engine_replies(b.g, &r, 1, b.a, &got, &e), BL_E_UNSUPPORTED,
                   "token 264 '[PAD]', which is not in the model, whose vocabulary is 264");
    close_bench(&b);
    b = open_bench(oracle, path, &(bl_engine_opts){.special = true});
    r = pair(b.a, "a", "[PAD]b");
    assert_refused(bl_engine_replies(b.g, &r, 1, b.a, &got, &e), BL_E_UNSUPPORTED, "token 264");
    close_bench(&b);
}

static void special_tokens_in_data_are_read_where_it_is_asked_for(void **state)
{
    bl_err e = {0};
    bl_ids ids = {0};
    bl_scored_ids s;
    (void)state;
    for (int special = 0; special < 2; special++) {
        bench b = open_bench(noise, words, &(bl_engine_opts){.special = special, .no_bos = true});
        bl_prompt p = bl_prompt_new(b.a);
        bl_quote(&p, "ab</s>ab");
        assert_ok(bl_engine_prompt_ids(b.g, &p, 4, b.a, &ids, NULL, &e));
        int64_t ends = 0;
        for (size_t i = 0; i < ids.n; i++) ends += ids.id[i] == 2;
        assert_int_equal(ends, special);
        bl_request r = pair(b.a, "a", "b</s>");
        assert_ok(bl_engine_pair_ids(b.g, &r.pair[0], b.a, &s, &e));
        assert_int_equal(s.ids[s.n - 1] == 2, special);
        r = rolling("a</s>", 8);
        assert_ok(bl_engine_text_ids(b.g, &r, b.a, &s, &e));
        assert_int_equal(s.ids[s.n - 1] == 2, special);
        close_bench(&b);
    }
}

static void a_space_at_the_end_of_the_context_changes_nothing(void **state)
{
    bench b = open_bench(noise, words, NULL);
    (void)state;
    bl_reply x = reply(&b, pair(b.a, "Question: the inner her?\nAnswer:", " there")),
             y = reply(&b, pair(b.a, "Question: the inner her?\nAnswer: ", "there"));
    assert_int_equal(x.tokens[0], y.tokens[0]);
    assert_true(x.nll[0] == y.nll[0]);
    close_bench(&b);
}

static void input_that_is_too_long_loses_its_beginning(void **state)
{
    bench b = open_bench(noise, bytes, &(bl_engine_opts){.max_len = 16});
    bl_err e = {0};
    bl_scored_ids s;
    bl_ids t = {0};
    bool cut;
    (void)state;
    bl_request r = pair(b.a, ALPHABET, "0123"), all = pair(b.a, "ab", ALPHABET);
    assert_ok(bl_engine_pair_ids(b.g, &r.pair[0], b.a, &s, &e));
    assert_true(s.truncated);
    assert_int_equal(s.n, 17); /* 16 fed and the last one */
    assert_int_equal(s.scored, 4);
    assert_int_equal(s.ids[0], 3 + 'n');
    assert_int_equal(s.ids[16], 3 + '3');
    bl_reply x = reply(&b, r);
    assert_true(x.truncated);
    assert_int_equal(x.tokens[0], 4);
    x = reply(&b, all); /* more is scored than fits */
    assert_int_equal(x.tokens[0], 16);

    bl_prompt p = bl_prompt_new(b.a);
    bl_quote(&p, ALPHABET);
    assert_ok(bl_engine_prompt_ids(b.g, &p, 6, b.a, &t, &cut, &e));
    assert_true(cut);
    assert_int_equal(t.n, 10);
    assert_int_equal(t.id[9], 3 + 'z');
    assert_refused(bl_engine_prompt_ids(b.g, &p, 16, b.a, &t, &cut, &e), BL_E_UNSUPPORTED, "no room");
    close_bench(&b);
}

/* ---- bits ---- */
enum { MIXED = 9 };
static void mixed_requests(bl_arena *a, bl_request out[MIXED])
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

static void assert_same_replies(const bl_reply *x, const bl_reply *y, int n, const char *what)
{
    for (int i = 0; i < n; i++) {
        assert_int_equal(x[i].n, y[i].n);
        for (int c = 0; c < x[i].n; c++)
            if (x[i].nll[c] != y[i].nll[c] || x[i].nll_sq[c] != y[i].nll_sq[c] || x[i].tokens[c] != y[i].tokens[c] ||
                x[i].greedy[c] != y[i].greedy[c])
                fail_msg("%s: request %d, choice %d: nll %.17g and %.17g", what, i, c, x[i].nll[c], y[i].nll[c]);
    }
}

static void scores_do_not_depend_on_batch_order_threads_or_streaming(void **state)
{
    static const struct {
        const char *what;
        int64_t seqs, rows;
        int threads;
        bool backwards, stream;
    } ways[] = {
        {"batch 1", 1, 0, 1, false, false},    {"batch 3", 3, 0, 1, false, false},
        {"batch 8", 8, 0, 1, true, false},     {"passes of 40 rows", 0, 40, 1, false, false},
        {"two threads", 0, 0, 2, true, false}, {"streaming", 3, 0, 2, false, true},
    };
    bl_err e = {0};
    (void)state;
    for (int m = 0; m < 2; m++) {
        const char *model = m ? "synth:tiny:int4" : noise;
        fixture f = fixture_open(model, words, 1, false);
        bl_engine *g;
        bl_arena *a;
        bl_request req[MIXED], turned[MIXED];
        bl_reply want[MIXED], got[MIXED], back[MIXED];
        assert_ok(bl_arena_new(&a, &e));
        mixed_requests(a, req);
        assert_ok(bl_engine_new(f.m, f.t, NULL, &g, &e));
        assert_ok(bl_engine_replies(g, req, MIXED, a, want, &e));
        bl_engine_free(g);
        fixture_close(&f);
        for (size_t w = 0; w < BL_COUNT(ways); w++) {
            f = fixture_open(model, words, ways[w].threads, ways[w].stream);
            for (int i = 0; i < MIXED; i++) turned[i] = req[ways[w].backwards ? MIXED - 1 - i : i];
            assert_ok(bl_engine_new(
                f.m, f.t, &(bl_engine_opts){.batch_size = ways[w].seqs, .batch_tokens = ways[w].rows}, &g, &e));
            assert_ok(bl_engine_replies(g, turned, MIXED, a, got, &e));
            for (int i = 0; i < MIXED; i++) back[i] = got[ways[w].backwards ? MIXED - 1 - i : i];
            assert_same_replies(want, back, MIXED, ways[w].what);
            assert_ok(bl_engine_replies(g, turned, 1, a, got, &e)); /* and what ran before leaves nothing behind */
            assert_same_replies(&want[ways[w].backwards ? MIXED - 1 : 0], got, 1, "again");
            bl_engine_free(g);
            fixture_close(&f);
        }
        assert_int_equal(want[8].tokens[0], 0);
        assert_true(want[6].nll[0] == want[6].nll[1]);
        bl_arena_free(a);
    }
}

static void a_context_is_computed_once_for_all_its_choices(void **state)
{
    static const char *const choices[] = {" a", " b", " c"}, *const long_choices[] = {" xx", " yyyy"};
    (void)state;
    bench b = open_bench(noise, bytes, NULL);
    reply(&b, pairs(b.a, "Question: which?\nAnswer:", choices, 3));
    assert_int_equal(bl_engine_tokens(b.g), 1 + 24 + 1); /* begin, context, and the space that all share */
    reply(&b, pairs(b.a, "Question: which?\nAnswer:", long_choices, 2));
    assert_int_equal(bl_engine_tokens(b.g), 26 + 1 + 24 + 1 + 1 + 3); /* x, and yyy: the last token is not fed */
    close_bench(&b);
}

/* Questions of two subjects, of mixed lengths: the 33 tokens (begin and 32 bytes) that those of a subject begin with
 * are computed once each. A question has 4 to 12 bytes after them, the last of which " x" predicts; its own rows go
 * with none of the others. */
static void worked_examples_of_two_subjects_are_computed_once_each(void **state)
{
    static const char *const subject[] = {"abcdefghijklmnopqrstuvwxyz012345", "543210zyxwvutsrqponmlkjihgfedcba"},
                             question[] = "?!#%&*+,-/;:";
    enum { N = 8 };
    bl_err e = {0};
    bl_request r[N];
    bl_reply got[N], alone;
    int64_t rows = 2 * 33;
    (void)state;
    bench b = open_bench(noise, bytes, NULL);
    for (int i = 0; i < N; i++) {
        char *text = bl_alloc(b.a, 64, 1, &e);
        int own = (int)strlen(question) - i;
        snprintf(text, 64, "%s%s", subject[i % 2], question + i);
        r[i] = pair(b.a, text, " x");
        rows += own + 1; /* the space is fed, x is not */
    }
    assert_ok(bl_engine_replies(b.g, r, N, b.a, got, &e));
    assert_int_equal(bl_engine_tokens(b.g), rows);
    for (int i = 0; i < N; i++) {
        alone = reply(&b, r[i]);
        assert_same_replies(&alone, &got[i], 1, "of two subjects");
    }
    close_bench(&b);
}

/* Subjects whose examples begin with the same 34 tokens, and go on differently for 12 (MMLU: "The following are …
 * about"): the common beginning is computed once, and each subject's own, whatever the lengths and the order of the
 * questions. */
static void examples_that_begin_alike_and_part_are_computed_once_each(void **state)
{
    static const char common[] = "abcdefghijklmnopqrstuvwxyz0123456",
                      *const subject[] = {"ABCDEFGHIJKL", "MNOPQRSTUVWX"}, question[] = "?!#%&*+,-/;:";
    enum { N = 8 };
    bl_err e = {0};
    bl_request r[N];
    bl_reply got[N], alone;
    int64_t rows = 1 + 33 + 2 * 12;
    (void)state;
    bench b = open_bench(noise, bytes, NULL);
    for (int i = 0; i < N; i++) {
        char *text = bl_alloc(b.a, 80, 1, &e);
        snprintf(text, 80, "%s%s%s", common, subject[i % 2], question + i);
        r[i] = pair(b.a, text, " x");
        rows += (int64_t)strlen(question) - i + 1;
    }
    assert_ok(bl_engine_replies(b.g, r, N, b.a, got, &e));
    assert_int_equal(bl_engine_tokens(b.g), rows);
    for (int i = 0; i < N; i++) {
        alone = reply(&b, r[i]);
        assert_same_replies(&alone, &got[i], 1, "of two subjects that begin alike");
    }
    close_bench(&b);
}

static bl_request told_after(bench *b, const char *prompt, int64_t max_new)
{
    bl_prompt p = bl_prompt_new(b->a);
    bl_quote(&p, prompt);
    return (bl_request){.kind = BL_ASK_GENERATE, .prompt = p, .max_new = max_new};
}

/* A call that comes later finds what an earlier one computed: of begin and 39 bytes two pages of 16 tokens. (The cache
 * is as large as the first call wants it.) */
static void a_beginning_is_computed_once_for_all_calls(void **state)
{
    static const char *const prompts[] = {ALPHABET " and so on, a", ALPHABET " and so on, b", ALPHABET " and so on, c"};
    bl_err e = {0};
    (void)state;
    bench b = open_bench(oracle, bytes, NULL);
    bl_request one[] = {told_after(&b, prompts[0], 4), told_after(&b, "x", 60)},
               two[] = {told_after(&b, prompts[1], 4), told_after(&b, prompts[2], 1)};
    bl_reply got[2];
    int64_t rows = 1 + 39 + 3 + 2 + 59;
    assert_ok(bl_engine_replies(b.g, one, 2, b.a, got, &e));
    assert_int_equal(bl_engine_tokens(b.g), rows);
    reply(&b, pair(b.a, "ab", "cd"));
    assert_int_equal(bl_engine_tokens(b.g), rows += 4);
    assert_ok(bl_engine_replies(b.g, two, 2, b.a, got, &e));
    assert_int_equal(bl_engine_tokens(b.g), rows + (8 + 3) + 8);
    close_bench(&b);
}

/* Put in any order and while others run, with scores in between: the replies are those of one call. */
static void generations_come_and_go(void **state)
{
    enum { N = 9 };
    bl_err e = {0};
    bl_request r[N];
    bl_reply want[N], got;
    int64_t tag;
    bool seen[N] = {false};
    (void)state;
    bench b = open_bench(noise, words, &(bl_engine_opts){.batch_size = 4});
    assert_int_equal(bl_engine_most_open(b.g), 4);
    for (int i = 0; i < N; i++) {
        r[i] = told_after(&b, &"the other thing is here"[2 * i], 3 + i % 4);
        r[i].temperature = i % 2;
        r[i].seed = (uint64_t)i;
    }
    assert_ok(bl_engine_replies(b.g, r, N, b.a, want, &e));
    bl_reply score = reply(&b, pair(b.a, "the", " other"));
    int next = N - 1;
    for (; next >= 4; next--) assert_ok(bl_engine_put(b.g, &r[next], 100 + next, b.a, &e));
    while (bl_engine_open(b.g)) {
        assert_ok(bl_engine_take(b.g, &tag, &got, &e));
        assert_true(tag >= 100 && tag < 100 + N && !seen[tag - 100]);
        seen[tag - 100] = true;
        assert_same_replies(&want[tag - 100], &got, 1, "one by one");
        if (next >= 0) {
            bl_reply again = reply(&b, pair(b.a, "the", " other"));
            assert_same_replies(&score, &again, 1, "in between");
            assert_ok(bl_engine_put(b.g, &r[next], 100 + next, b.a, &e));
            next--;
        }
    }
    for (int i = 0; i < N; i++) assert_true(seen[i]);
    assert_ok(bl_engine_put(b.g, &r[0], 0, b.a, &e));
    bl_engine_drop(b.g);
    assert_int_equal(bl_engine_open(b.g), 0);
    close_bench(&b);
}

static void streaming_reads_each_block_once_a_pass(void **state)
{
    bl_err e = {0};
    bl_reply got[12];
    bl_request req[12];
    static char text[12 * 64 + 1];
    (void)state;
    bl_rng letters = bl_rng_at(1, 0, 0); /* windows that begin alike would share rows */
    for (size_t i = 0; i + 1 < sizeof text; i++) text[i] = (char)('a' + bl_rng_below(&letters, 26));
    for (int i = 0; i < 12; i++) req[i] = window(text, 64, i, BL_WINDOW_GPTQ);
    fixture f = fixture_open(noise, bytes, 1, true);
    bl_arena *a;
    assert_ok(bl_arena_new(&a, &e));
    uint64_t blocks = 0;
    for (size_t i = 0; i < f.m->n_linears; i++)
        blocks += (uint64_t)(f.m->linears[i].in * f.m->linears[i].out) * sizeof(float);
    blocks += f.m->n_norms * (uint64_t)f.m->config.dim * sizeof(float);
    static const struct {
        int64_t rows, passes;
    } ways[] = {{12 * 63, 1}, {6 * 63, 2}, {5 * 63 + 62, 3}, {1, 12}, {0, 1}};
    for (size_t i = 0; i < BL_COUNT(ways); i++) {
        bl_engine *g;
        assert_ok(bl_engine_new(f.m, f.t, &(bl_engine_opts){.batch_tokens = ways[i].rows}, &g, &e));
        uint64_t read = bl_checkpoint_bytes_read(f.ckpt);
        assert_ok(bl_engine_replies(g, req, 12, a, got, &e));
        assert_int_equal(bl_checkpoint_bytes_read(f.ckpt) - read, blocks * (uint64_t)ways[i].passes);
        bl_engine_free(g);
    }
    bl_arena_free(a);
    fixture_close(&f);
}

/* Several prompts of one request are answered as each would be by itself, the k-th with the k-th seed after the first.
 */
static void several_prompts_of_a_request_are_answered_each_for_itself(void **state)
{
    static const char *const text[] = {"one two three", "one two", "then", "one two three"};
    static const char *const stop[] = {"zq"};
    enum { N = 4 };
    bl_err e = {0};
    (void)state;
    bench b = open_bench(noise, words, NULL);
    bl_prompt p[N];
    bl_request req[2] = {pair(b.a, "Question: where?\nAnswer:", " there")}, one[N];
    bl_reply got[2], alone[N];
    int64_t tokens = 0;
    for (int k = 0; k < N; k++) {
        p[k] = bl_prompt_new(b.a);
        bl_quote(&p[k], text[k]);
        one[k] = (bl_request){.kind = BL_ASK_GENERATE,
                              .prompt = p[k],
                              .max_new = 6,
                              .stop = stop,
                              .n_stops = 1,
                              .temperature = 2,
                              .top_p = 1,
                              .seed = 7 + (uint64_t)k};
    }
    req[1] = one[0];
    req[1].prompts = p;
    req[1].n_prompts = N;
    assert_ok(bl_engine_replies(b.g, req, 2, b.a, got, &e));
    for (int k = 0; k < N; k++) {
        assert_ok(bl_engine_replies(b.g, &one[k], 1, b.a, &alone[k], &e));
        assert_null(alone[k].texts);
        assert_string_equal(got[1].texts[k], alone[k].text);
        tokens += alone[k].new_tokens;
    }
    assert_true(got[1].n == N && got[1].new_tokens == tokens && got[1].hit_limit == alone[0].hit_limit);
    assert_string_equal(got[1].text, alone[0].text);
    assert_true(strcmp(alone[0].text, alone[3].text) != 0); /* the seed */
    close_bench(&b);
}

/* LLaMA's templates strip the message, whatever spans it is made of; what begins the reply is no part of it. */
static void a_message_is_stripped_where_its_template_does_it(void **state)
{
    static const char tokenizer[] =
        "{\"added_tokens\":[{\"id\":2,\"content\":\"<|start_header_id|>\",\"special\":true,\"normalized\":false}],"
        "\"model\":{\"type\":\"BPE\",\"vocab\":{\"a\":0,\"b\":1},\"merges\":[]},\"pre_tokenizer\":null,\"decoder\":"
        "null}";
    static const struct {
        const char *config, *want, *again;
    } rows[] = {
        {"{}", /* LLaMA 3's, by its token */
         "<|start_header_id|>user<|end_header_id|>\n\nwhy?<|eot_id|><|start_header_id|>assistant<|end_header_id|>"
         "\n\nSo \n",
         "<|start_header_id|>user<|end_header_id|>\n\nwhy?<|eot_id|><|start_header_id|>assistant<|end_header_id|>\n\nSo"
         "<|eot_id|><|start_header_id|>user<|end_header_id|>\n\nand?<|eot_id|><|start_header_id|>assistant<|end_header_"
         "id|>"
         "\n\nThen"},
        {"{\"chat_template\":\"{{ bos_token }}{% for message in messages %}{% if (message['role'] == 'user') != "
         "(loop.index0 % "
         "2 == 0) %}{{ raise_exception('Conversation roles must alternate user/assistant/user/assistant/...') }}{% "
         "endif "
         "%}{% if message['role'] == 'user' %}{{ '[INST] ' + message['content'] + ' [/INST]' }}{% elif message['role'] "
         "== "
         "'assistant' %}{{ message['content'] + eos_token}}{% else %}{{ raise_exception('Only user and assistant roles "
         "are supported!') }}{% endif %}{% endfor %}\"}",
         "[INST]  \n why? \n \t [/INST]So \n", "[INST]  \n why? \n \t [/INST] So \n</s>[INST] and? \n [/INST]Then"},
    };
    bl_err e = {0};
    char folder[4200], path[4300];
    (void)state;
    bench b = open_bench(noise, words, NULL);
    snprintf(folder, sizeof folder, "%s/chat", dir);
    assert_ok(bl_make_dirs(folder, &e));
    for (size_t i = 0; i < BL_COUNT(rows); i++) {
        bl_tokenizer *t;
        bl_engine *g;
        bl_prompt p = bl_prompt_new(b.a), around;
        bl_text all = {0};
        snprintf(path, sizeof path, "%s/tokenizer_config.json", folder);
        assert_ok(bl_write_file(path, rows[i].config, strlen(rows[i].config), &e));
        snprintf(path, sizeof path, "%s/tokenizer.json", folder);
        assert_ok(bl_write_file(path, tokenizer, sizeof tokenizer - 1, &e));
        assert_ok(bl_tokenizer_open(BL_TOK_JSON, path, &t, &e));
        assert_ok(bl_engine_new(b.f.m, t, NULL, &g, &e));
        bl_say(&p, " ");
        bl_quote(&p, "\n why? \n");
        bl_say(&p, " \t");
        bl_reply_begins(&p);
        bl_say(&p, " So \n");
        p.chat = true;
        assert_ok(bl_engine_chat(g, &p, &around, &e));
        for (size_t k = 0; k < around.n; k++) bl_text_addn(&all, around.span[k].text, around.span[k].n);
        assert_string_equal(all.s, rows[i].want);
        bl_text_free(&all);
        p = bl_prompt_new(b.a); /* after an exchange */
        bl_say(&p, " ");
        bl_quote(&p, "\n why? \n");
        bl_say(&p, " \t");
        bl_reply_was(&p);
        bl_quote(&p, " So \n");
        bl_message_again(&p);
        bl_quote(&p, "and? \n");
        bl_reply_begins(&p);
        bl_say(&p, " Then");
        p.chat = true;
        assert_ok(bl_engine_chat(g, &p, &around, &e));
        for (size_t k = 0; k < around.n; k++) bl_text_addn(&all, around.span[k].text, around.span[k].n);
        assert_string_equal(all.s, rows[i].again);
        bl_text_free(&all);
        bl_engine_free(g);
        bl_tokenizer_close(t);
    }
    close_bench(&b);
}

/* Every allocation of a run fails once: the run ends with a sentence, nothing stays behind, and the engine works again.
 */
static void replies_survive_the_failure_of_every_allocation(void **state)
{
    bl_err e = {0};
    (void)state;
    for (int kind = 0; kind < 2; kind++) {
        bench b = open_bench(noise, words, NULL);
        bl_request req[2] = {pair(b.a, "Question: where?\nAnswer:", " there"), rolling("the other one", 8)};
        bl_reply want[2], got[2];
        bl_prompt p[2] = {bl_prompt_new(b.a), bl_prompt_new(b.a)};
        if (kind) {
            for (int k = 0; k < 2; k++) bl_quote(&p[k], k ? "the other two" : "the other one");
            static const char *const stop[] = {"zq"};
            req[1] = (bl_request){
                .kind = BL_ASK_GENERATE, .prompts = p, .n_prompts = 2, .max_new = 3, .stop = stop, .n_stops = 1};
        }
        assert_ok(bl_engine_replies(b.g, req, 2, b.a, want, &e));
        uint64_t failures = 0;
        for (bool done = false; !done; failures++) {
            uint64_t live = bl_alloc_live();
            fixture f = fixture_open(noise, words, 1, false);
            bl_arena *a;
            bl_engine *g = NULL;
            assert_ok(bl_arena_new(&a, &e));
            bl_alloc_fail_at(failures + 1, false);
            bl_status st = bl_engine_new(f.m, f.t, NULL, &g, &e);
            if (st == BL_OK) st = bl_engine_replies(g, req, 2, a, got, &e);
            done = bl_alloc_count() <= failures;
            bl_alloc_fail_at(0, false);
            if (done) assert_int_equal(st, BL_OK);
            else if (st != BL_E_NOMEM)
                fail_msg("allocation %llu failed and the status is %s", (unsigned long long)failures + 1,
                         bl_status_name(st));
            if (!done && g && failures % 7 == 0) {
                assert_ok(bl_engine_replies(g, req, 2, a, got, &e));
                assert_true(got[0].nll[0] == want[0].nll[0]);
            }
            bl_engine_free(g);
            bl_arena_free(a);
            fixture_close(&f);
            assert_int_equal(bl_alloc_live(), live);
        }
        assert_true(failures > 40);
        close_bench(&b);
    }
}

static void scores_survive_a_device_that_is_too_small(void **state)
{
    bl_err e = {0};
    (void)state;
    bench b = open_bench(noise, words, NULL);
    bl_request req[MIXED];
    bl_reply want[MIXED], got[MIXED];
    uint64_t now, before, peak, most = 0;
    mixed_requests(b.a, req);
    b.f.be->ops->memory(b.f.be, &before, NULL);
    assert_ok(bl_engine_replies(b.g, req, MIXED, b.a, want, &e));
    b.f.be->ops->memory(b.f.be, &now, &peak);
    for (uint64_t limit = peak; limit > before; limit -= (peak - before) / 12) {
        fixture f = fixture_open(noise, words, 1, false);
        bl_engine *g;
        f.be->opts.memory_limit = limit;
        assert_ok(bl_engine_new(f.m, f.t, NULL, &g, &e));
        bl_status st = bl_engine_replies(g, req, MIXED, b.a, got, &e);
        if (st == BL_OK) {
            assert_same_replies(want, got, MIXED, "small device");
            most++;
        } else assert_int_equal(st, BL_E_DEVMEM);
        bl_engine_free(g);
        fixture_close(&f);
    }
    assert_true(most >= 3);
    close_bench(&b);
}

/* ---- what goes wrong ---- */
static float huge(const void *ctx, int64_t i)
{
    (void)ctx;
    return i % 2 ? 3e38f : -3e38f;
}

static void logits_that_are_not_finite_stop_the_work_and_name_the_place(void **state)
{
    char path[4200];
    bl_err e = {0};
    bl_reply got;
    (void)state;
    snprintf(path, sizeof path, "%s/huge.bin", dir);
    tiny_write(path, &tiny_bytes, tiny_identity, &tiny_bytes.dim, NULL, huge, NULL);
    bench b = open_bench(path, bytes, NULL);
    bl_request r = pair(b.a, "ab", "cd");
    assert_refused(bl_engine_replies(b.g, &r, 1, b.a, &got, &e), BL_E_NUMERIC, "out of the head");
    close_bench(&b);
    tiny_write(path, &tiny_bytes, tiny_identity, &tiny_bytes.dim, huge, NULL, NULL);
    b = open_bench(path, bytes, NULL);
    r = pair(b.a, "ab", "cd");
    assert_refused(bl_engine_replies(b.g, &r, 1, b.a, &got, &e), BL_E_NUMERIC, "out of block 0");
    close_bench(&b);
}

/* ---- states, and the distance from a base ---- */
/* Its own states through its own head: no distance at any token, whatever is in a pass. A row at another place would
 * have other logits. */
static void a_model_has_no_distance_from_itself(void **state)
{
    bl_err e = {0};
    bl_request req[MIXED], turned[MIXED];
    bl_reply got[MIXED];
    bl_comparison kept[MIXED] = {0}, cmp[MIXED] = {0};
    (void)state;
    bench b = open_bench(noise, words, &(bl_engine_opts){.batch_size = 3});
    bl_tensor factor = fixture_tensor(&b.f, BL_F32, 1, b.f.m->config.dim); /* the head is more than its weight */
    assert_ok(b.f.be->ops->fill(b.f.be, &factor, 0.75, &e));
    assert_ok(bl_linear_add_transform(&b.f.m->head,
                                      &(bl_transform){BL_T_SCALE, b.f.m->config.dim, b.f.m->config.dim, factor}, &e));
    mixed_requests(b.a, req);
    for (int i = 0; i < MIXED; i++) kept[i].keep = true;
    assert_ok(bl_engine_compare(b.g, req, MIXED, b.a, got, kept, &e));
    bl_engine_set_base(b.g, bl_model_head(b.f.m));
    for (int i = 0; i < MIXED; i++) {
        int64_t scored = 0;
        for (int c = 0; c < got[i].n && req[i].kind != BL_ASK_GENERATE; c++) scored += got[i].tokens[c];
        assert_int_equal(kept[i].own.rows, scored);
        assert_false(kept[i].compared);
        turned[MIXED - 1 - i] = req[i];
        cmp[MIXED - 1 - i].base = &kept[i].own;
    }
    assert_ok(bl_engine_compare(b.g, turned, MIXED, b.a, got, cmp, &e));
    for (int i = 0; i < MIXED; i++) {
        assert_true(cmp[i].compared || turned[i].kind == BL_ASK_GENERATE);
        assert_null(cmp[i].own.hidden);
        for (int64_t k = 0; k < cmp[i].own.rows; k++)
            assert_true(fabs(cmp[i].kl[k]) < 1e-12 && cmp[i].dp[k] == 0 && cmp[i].same[k]);
    }
    /* Another text, or fewer states than tokens. */
    bl_comparison other = {.base = &kept[0].own};
    bl_request r = pair(b.a, "ab", "ba");
    assert_ok(bl_engine_compare(b.g, &r, 1, b.a, got, &other, &e));
    assert_false(other.compared);
    bl_states fewer = kept[0].own;
    fewer.rows--;
    cmp[0] = (bl_comparison){.base = &fewer};
    assert_refused(bl_engine_compare(b.g, req, 1, b.a, got, cmp, &e), BL_E_CORRUPT, "the base kept");
    close_bench(&b);
}

/* Two tokens of a vocabulary: the base gives them 3/4 and 1/4, the model 1/2 each. KL(base || model) is
 * 3/4 ln 3/2 + 1/4 ln 1/2 = 0.1308, the other way round it would be 0.1438; the first token lost a quarter. */
static void the_base_comes_first_in_the_divergence(void **state)
{
    bl_err e = {0};
    (void)state;
    bench b = open_bench(noise, words, NULL);
    bl_backend *be = b.f.m->be;
    int64_t dim = b.f.m->config.dim, vocab = b.f.m->config.vocab;
    float *head = bl_alloc(b.a, (size_t)(vocab * dim), sizeof *head, &e),
          *logit = bl_alloc(b.a, (size_t)vocab, sizeof *logit, &e),
          *unit = bl_alloc(b.a, (size_t)dim, sizeof *unit, &e);
    bl_weight w;
    bl_buffer *buf;
    double kl, dp;
    bool same;
    const int32_t first = 0;
    for (int64_t v = 0; v < vocab; v++) {
        head[v * dim] = v == 0 ? logf(3) : v == 1 ? 0 : -1e4f;
        logit[v] = v < 2 ? 0 : -1e4f;
    }
    unit[0] = 1;
    assert_ok(bl_weight_new(be, bl_format_find("fp32"), &(bl_shape){.out = vocab, .in = dim}, &w, &e));
    assert_ok(be->ops->upload(be, &w.part[0], head, &e));
    assert_ok(be->ops->buffer_new(be, (uint64_t)vocab * sizeof *logit + 64, &buf, &e));
    bl_tensor logits = bl_tensor_2d(buf, 0, BL_F32, 1, vocab),
              target = bl_tensor_1d(buf, (uint64_t)vocab * sizeof *logit, BL_I32, 1);
    assert_ok(be->ops->upload(be, &logits, logit, &e));
    assert_ok(be->ops->upload(be, &target, &first, &e));
    bl_states base = {.rows = 1, .hidden = unit};
    bl_comparison c = {.base = &base, .own = {.rows = 1}, .compared = true, .kl = &kl, .dp = &dp, .same = &same};
    bl_engine_set_base(b.g, &(bl_linear){.weight = w, .in = dim, .out = vocab});
    assert_ok(bl_comparison_rows(b.g, logits, logits, target, 1, (bl_comparison *[]){&c}, (const int64_t[]){0}, &e));
    assert_true(fabs(kl - (0.75 * log(1.5) + 0.25 * log(0.5))) < 1e-6);
    assert_true(fabs(dp + 0.25) < 1e-6);
    assert_true(same);
    be->ops->buffer_free(buf);
    bl_weight_free(&w);
    close_bench(&b);
}

typedef struct told {
    int n, stop_at; /* words of the engine; 0: never */
    double last;
} told;

static void listen(void *ctx, double share)
{
    told *t = ctx;
    assert_true(share >= t->last && share <= 1);
    t->last = share;
    if (++t->n == t->stop_at) raise(SIGINT);
}

/* Eight pairs, one a pass, in a model of three blocks. An interrupt in the third pass lets that one end: three have
 * their replies, bit for bit those of an undisturbed call. */
static void an_interrupt_ends_the_work_after_the_pass_that_runs(void **state)
{
    enum { N = 8 };
    static const char *const words_of[N] = {"a", "ab", "abc", "abcd", "abcde", "abcdef", "abcdefg", "abcdefgh"};
    bl_err e = {0};
    bl_request r[N];
    bl_reply want[N], got[N];
    told all = {0}, some = {.stop_at = 8};
    int answered = 0;
    (void)state;
    bench b = open_bench(noise, words, &(bl_engine_opts){.batch_size = 1});
    for (int i = 0; i < N; i++) r[i] = pair(b.a, words_of[i], "xy");
    bl_engine_set_watch(b.g, listen, &all);
    assert_ok(bl_engine_replies(b.g, r, N, b.a, want, &e));
    assert_int_equal(all.n, 3 * N);
    assert_true(all.last > 0.9);
    bl_process_init();
    bl_engine_set_watch(b.g, listen, &some);
    assert_refused(bl_engine_replies(b.g, r, N, b.a, got, &e), BL_E_INTERRUPTED, "interrupted");
    assert_int_equal(some.n, 9);
    for (int i = 0; i < N; i++) {
        if (got[i].kind == BL_ASK_DONE) continue;
        answered++;
        assert_same_replies(&want[i], &got[i], 1, "before the interrupt");
    }
    assert_int_equal(answered, 3);
    bl_engine_set_watch(b.g, NULL, NULL); /* the flag stays: this test is the last one */
    assert_refused(bl_engine_replies(b.g, r, 1, b.a, got, &e), BL_E_INTERRUPTED, "interrupted");
    assert_int_equal(got[0].kind, BL_ASK_DONE);
    close_bench(&b);
}

/* A filled span has the tokens that its text had, whether " ..." is one token, several, or one a byte. */
static void filler_has_as_many_tokens_as_what_it_replaces(void **state)
{
    static const char *const replaced[] = {"",   " the",    " the other thing is here", " a. b. c. d. e.", "x",
                                           "  ", " ... ..."};
    const char *const tokenizer[] = {bytes, words};
    bl_err e = {0};
    (void)state;
    for (size_t k = 0; k < BL_COUNT(tokenizer); k++) {
        bench b = open_bench(noise, tokenizer[k], NULL);
        for (size_t i = 0; i < BL_COUNT(replaced); i++) {
            bl_prompt p[2] = {bl_prompt_new(b.a), bl_prompt_new(b.a)};
            bl_ids ids[2];
            for (int f = 0; f < 2; f++) {
                bl_quote(&p[f], "his hat is");
                if (f) bl_filln(&p[f], replaced[i], strlen(replaced[i]));
                else bl_quote(&p[f], replaced[i]);
                bl_say(&p[f], " so");
                assert_ok(bl_engine_prompt_ids(b.g, &p[f], 1, b.a, &ids[f], NULL, &e));
            }
            assert_int_equal(ids[0].n, ids[1].n);
            bool differs = memcmp(ids[0].id, ids[1].id, ids[0].n * sizeof *ids[0].id) != 0;
            assert_int_equal(differs, i > 0 && i < 6);
        }
        close_bench(&b);
    }
}

/* The state of the only token of a text is the one that predicts what comes after it: through the head it gives the
 * likelihood that a score of that pair has. */
static void the_vector_of_a_token_predicts_what_follows_it(void **state)
{
    bl_err e = {0};
    (void)state;
    bench b = open_bench(noise, words, NULL);
    int64_t dim = b.f.m->config.dim, vocab = b.f.m->config.vocab;
    double *v = bl_alloc(b.a, (size_t)dim, sizeof *v, &e);
    float *row = bl_alloc(b.a, (size_t)dim, sizeof *row, &e),
          *logits = bl_alloc(b.a, (size_t)vocab, sizeof *logits, &e);
    bl_backend *be = b.f.m->be;
    bl_buffer *buf;
    bl_prompt p = bl_prompt_new(b.a);
    bl_ids ids;
    bl_scored_ids pair_ids;
    bl_quote(&p, "a");
    assert_ok(bl_engine_prompt_ids(b.g, &p, 0, b.a, &ids, NULL, &e));
    size_t own = ids.n - (ids.id[0] == bl_tokenizer_bos(b.f.t));
    assert_ok(bl_engine_embed(b.g, (const char *const[]){"a"}, 1, v, &e));
    assert_int_equal(own, 1);
    {
        bl_pair two = {.context = p, .continuation = "b"};
        assert_ok(bl_engine_pair_ids(b.g, &two, b.a, &pair_ids, &e));
        assert_int_equal(pair_ids.scored, 1);
        assert_ok(be->ops->buffer_new(be, (uint64_t)(dim + vocab) * sizeof(float), &buf, &e));
        bl_tensor x = bl_tensor_2d(buf, 0, BL_F32, 1, dim),
                  y = bl_tensor_2d(buf, (uint64_t)dim * sizeof(float), BL_F32, 1, vocab);
        for (int64_t d = 0; d < dim; d++) row[d] = (float)v[d];
        assert_ok(be->ops->upload(be, &x, row, &e));
        assert_ok(bl_logits(b.f.m, x, 0, 1, y, &e));
        assert_ok(be->ops->download(be, &y, logits, &e));
        double sum = 0;
        for (int64_t i = 0; i < vocab; i++) sum += exp(logits[i]);
        double nll = log(sum) - logits[pair_ids.ids[pair_ids.n - 1]];
        assert_true(fabs(nll - reply(&b, pair(b.a, "a", "b")).nll[0]) < 1e-5);
        be->ops->buffer_free(buf);
    }
    double *again = bl_alloc(b.a, (size_t)dim, sizeof *again, &e),
           *empty = bl_alloc(b.a, (size_t)dim, sizeof *empty, &e);
    assert_ok(bl_engine_embed(b.g, (const char *const[]){"a"}, 1, again, &e));
    assert_memory_equal(v, again, (size_t)dim * sizeof *v);
    assert_ok(bl_engine_embed(b.g, (const char *const[]){""}, 1, empty, &e));
    assert_true(memcmp(v, empty, (size_t)dim * sizeof *v) != 0);
    close_bench(&b);
}

/* Vectors do not depend on what is made beside them, and a pass takes as many texts as it has rows: the tokens of all
 * go through once. */
static void vectors_of_many_texts_are_those_of_each(void **state)
{
    enum { N = 5 };
    static const char *const text[N] = {"where the other one is", "", "a", "one two three four", "the"};
    bl_err e = {0};
    (void)state;
    for (int64_t rows = 3; rows < 60; rows *= 4) {
        bench b = open_bench(noise, words, &(bl_engine_opts){.batch_tokens = rows});
        size_t dim = (size_t)b.f.m->config.dim;
        double *all = bl_alloc(b.a, N * dim, sizeof *all, &e), *one = bl_alloc(b.a, dim, sizeof *one, &e);
        int64_t before = bl_engine_tokens(b.g), each = 0;
        assert_ok(bl_engine_embed(b.g, text, N, all, &e));
        int64_t together = bl_engine_tokens(b.g) - before;
        for (int i = 0; i < N; i++) {
            before = bl_engine_tokens(b.g);
            assert_ok(bl_engine_embed(b.g, &text[i], 1, one, &e));
            each += bl_engine_tokens(b.g) - before;
            assert_memory_equal(one, all + (size_t)i * dim, dim * sizeof *one);
        }
        assert_int_equal(together, each);
        close_bench(&b);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_vector_of_a_token_predicts_what_follows_it),
        cmocka_unit_test(vectors_of_many_texts_are_those_of_each),
        cmocka_unit_test(equal_logits_make_the_vocabulary_the_perplexity_in_every_convention),
        cmocka_unit_test(a_token_is_predicted_from_the_one_before_it),
        cmocka_unit_test(rolling_windows_are_those_of_the_protocol),
        cmocka_unit_test(windows_are_counted_without_the_tail_and_short_texts_refused),
        cmocka_unit_test(a_stream_is_read_when_its_windows_are_counted),
        cmocka_unit_test(windows_know_nothing_of_each_other),
        cmocka_unit_test(ids_of_a_pair_follow_the_rules),
        cmocka_unit_test(a_token_across_the_join_leaves_the_context_as_it_is),
        cmocka_unit_test(a_tokenizer_may_know_more_than_the_model),
        cmocka_unit_test(special_tokens_in_data_are_read_where_it_is_asked_for),
        cmocka_unit_test(a_space_at_the_end_of_the_context_changes_nothing),
        cmocka_unit_test(input_that_is_too_long_loses_its_beginning),
        cmocka_unit_test(scores_do_not_depend_on_batch_order_threads_or_streaming),
        cmocka_unit_test(a_context_is_computed_once_for_all_its_choices),
        cmocka_unit_test(worked_examples_of_two_subjects_are_computed_once_each),
        cmocka_unit_test(examples_that_begin_alike_and_part_are_computed_once_each),
        cmocka_unit_test(a_beginning_is_computed_once_for_all_calls),
        cmocka_unit_test(generations_come_and_go),
        cmocka_unit_test(streaming_reads_each_block_once_a_pass),
        cmocka_unit_test(several_prompts_of_a_request_are_answered_each_for_itself),
        cmocka_unit_test(a_message_is_stripped_where_its_template_does_it),
        cmocka_unit_test(replies_survive_the_failure_of_every_allocation),
        cmocka_unit_test(scores_survive_a_device_that_is_too_small),
        cmocka_unit_test(logits_that_are_not_finite_stop_the_work_and_name_the_place),
        cmocka_unit_test(a_model_has_no_distance_from_itself),
        cmocka_unit_test(the_base_comes_first_in_the_divergence),
        cmocka_unit_test(an_interrupt_ends_the_work_after_the_pass_that_runs),
        cmocka_unit_test(filler_has_as_many_tokens_as_what_it_replaces),
    };
    return cmocka_run_group_tests(tests, write_models, remove_models);
}
