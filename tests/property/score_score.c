/* score_score.c - what must hold of every score, on models whose probabilities are known and on random ones. */
#include "score_fixture.h"

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
        cmocka_unit_test(logits_that_are_not_finite_stop_the_work_and_name_the_place),
        cmocka_unit_test(a_model_has_no_distance_from_itself),
        cmocka_unit_test(the_base_comes_first_in_the_divergence),
        cmocka_unit_test(filler_has_as_many_tokens_as_what_it_replaces),
    };
    return cmocka_run_group_tests(tests, score_begin, score_end);
}
