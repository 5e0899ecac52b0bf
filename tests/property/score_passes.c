/* score_passes.c - a reply does not depend on how requests meet in passes, what is common is computed once, and what
 * stops the work stops it cleanly. */
#include "score_fixture.h"
#include <signal.h>

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

int main(void)
{
    const struct CMUnitTest tests[] = {
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
        cmocka_unit_test(an_interrupt_ends_the_work_after_the_pass_that_runs),
    };
    return cmocka_run_group_tests(tests, score_begin, score_end);
}
