/* model_generate.c - decoding: stops, ends and limits on a model that knows the alphabet; batches and seeds on a random
 * one. */
#include "model_fixture.h"
#include "tiny_model.h"
#include "kernels/base/fs.h"

static char dir[4096], alphabet[4200], ending[4200], noise[4200], bytes[4200];

static int write_models(void **state)
{
    int32_t next[TINY_VOCAB];
    (void)state;
    snprintf(dir, sizeof dir, "%s", test_dir());
    snprintf(alphabet, sizeof alphabet, "%s/alphabet.bin", dir);
    snprintf(ending, sizeof ending, "%s/ending.bin", dir);
    snprintf(noise, sizeof noise, "%s/noise.bin", dir);
    snprintf(bytes, sizeof bytes, "%s/bytes.bin", dir);
    tiny_tokenizer(bytes, NULL);
    tiny_alphabet(next);
    tiny_oracle(alphabet, next, 0.9);
    next[3 + 'z'] = 2; /* the end follows z; c1 ff 00 follow 1 2 3 */
    next[3 + '0'] = 3 + 0xc3;
    next[3 + 0xc3] = 3 + 0xa9;
    next[3 + 0xa9] = 3 + 0xff;
    next[3 + 0xff] = 3;
    next[3] = 3 + 'x';
    next[3 + 'm'] = 1; /* and the begin, a special token, stands between m and a */
    tiny_oracle(ending, next, 0.9);
    tiny_noise(noise);
    return 0;
}
static int remove_models(void **state)
{
    (void)state;
    return bl_remove_tree(dir, NULL) != BL_OK;
}

/* ---- a backend that seems to work by itself: passes are begun before the tokens of those before are known ---- */
static int fetched_beside;
static bl_status stream_new(bl_backend *be, bl_device_stream **out, bl_err *e)
{
    (void)be;
    return (*out = bl_new(1, 1, e)) ? BL_OK : BL_E_NOMEM;
}
static void stream_free(bl_device_stream *s) { bl_free(s); }
static bl_status stream_use(bl_backend *be, bl_device_stream *s, bl_err *e)
{
    (void)be;
    (void)e;
    fetched_beside += s != NULL;
    return BL_OK;
}
static bl_status event_wait(bl_backend *be, const bl_event *v, bl_err *e)
{
    (void)be;
    (void)v;
    (void)e;
    return BL_OK;
}
static void works_by_itself(bl_backend *be)
{
    static bl_ops ops;
    ops = *be->ops;
    ops.stream_new = stream_new;
    ops.stream_free = stream_free;
    ops.stream_use = stream_use;
    ops.event_wait = event_wait;
    be->ops = &ops;
}

typedef struct made {
    char text[128];
    int64_t n;
    bool hit_limit;
} made;

static made run(const char *model, bool by_itself, const char *prompt, int64_t max_new, const char *const *stop,
                int n_stops)
{
    bl_err e = {0};
    bl_ids ids = {0};
    bl_arena *a;
    bl_gen_reply r;
    made out = {0};
    fixture f = fixture_open(model, bytes, 1, false);
    if (by_itself) works_by_itself(f.m->be);
    assert_ok(bl_arena_new(&a, &e));
    assert_ok(bl_encode(f.t, prompt, strlen(prompt), BL_ENCODE_BOS, &ids, &e));
    assert_ok(bl_generate(
        f.m, f.t,
        &(bl_gen_request){.ids = ids.id, .n = (int64_t)ids.n, .max_new = max_new, .stop = stop, .n_stops = n_stops}, 1,
        100, false, a, &r, &e));
    assert_int_equal(strlen(r.text), r.n_text);
    snprintf(out.text, sizeof out.text, "%s", r.text);
    out.n = r.n;
    out.hit_limit = r.hit_limit;
    bl_ids_free(&ids);
    bl_arena_free(a);
    fixture_close(&f);
    return out;
}

static void text_ends_at_stops_ends_and_limits(void **state)
{
    static const struct {
        bool ends;
        const char *prompt;
        int64_t max_new;
        const char *stop[3];
        const char *text;
        int64_t n;
        bool hit_limit;
    } rows[] = {
        {false, "ab", 5, {NULL}, "cdefg", 5, true},
        {false, "ab", 20, {"fg"}, "cde", 5, false},                /* a stop over two tokens */
        {false, "ab", 20, {"xyz", "hij", "gh"}, "cdef", 6, false}, /* the first to be complete */
        {false, "ab", 20, {""}, "cdefghijklmnopqrstuv", 20, true},
        {false, "ab", 3, {"def"}, "cde", 3, true}, /* not complete */
        {false, "ab", 4, {"def"}, "c", 4, false},  /* complete with the last token */
        {false, "y", 9, {"zabc"}, "", 4, false},
        {false, "ab", 0, {NULL}, "", 0, true},
        {true, "v", 20, {NULL}, "wxyz", 4, false}, /* the end token is none of them */
        {true, "wx", 2, {NULL}, "yz", 2, true},
        {true, "0", 4, {NULL}, "\xc3\xa9\xef\xbf\xbd\xef\xbf\xbd", 4, true}, /* é, a broken byte, a zero */
        {true, "k", 4, {NULL}, "lma", 4, true},                              /* the special token is not in the text */
        {true, "k", 9, {"<s>"}, "lm", 3, false},                             /* but stops like text */
        {true, "k", 9, {"ab"}, "lm", 5, false},
    };
    (void)state;
    for (size_t k = 0; k < 2 * BL_COUNT(rows); k++) {
        const size_t i = k / 2;
        int n = 0;
        while (n < 3 && rows[i].stop[n]) n++;
        made m = run(rows[i].ends ? ending : alphabet, k % 2, rows[i].prompt, rows[i].max_new, rows[i].stop, n);
        if (strcmp(m.text, rows[i].text) || m.n != rows[i].n || m.hit_limit != rows[i].hit_limit)
            fail_msg("row %zu: '%s', %lld tokens, hit_limit %d; wanted '%s', %lld, %d", i, m.text, (long long)m.n,
                     m.hit_limit, rows[i].text, (long long)rows[i].n, rows[i].hit_limit);
    }
}

static void text_ends_where_the_model_ends(void **state)
{
    char prompt[61];
    (void)state;
    for (int i = 0; i < 60; i++) prompt[i] = (char)('a' + i % 26);
    prompt[60] = 0;
    made m = run(alphabet, true, prompt, 100, NULL, 0); /* 64 positions: 61 of the prompt, 3 more are fed */
    assert_int_equal(m.n, 4);
    assert_string_equal(m.text, "ijkl");
    assert_true(m.hit_limit);
}

/* Twelve prompts that begin alike, and replies of different lengths. */
enum { MANY = 12, PROMPT = 40 };
enum { AS_IT_IS, STREAMED, BY_ITSELF }; /* the model's backend */
static void replies(int64_t max_rows, int64_t from, int64_t n, int threads, int backend, double temperature,
                    int32_t out[MANY][64], int64_t len[MANY])
{
    static int32_t ids[MANY][PROMPT];
    bl_err e = {0};
    bl_gen_request req[MANY];
    bl_gen_reply r[MANY];
    bl_arena *a;
    fixture f = fixture_open(noise, "", threads, backend == STREAMED);
    bl_rng rng = bl_rng_at(3, 0, 0);
    if (backend == BY_ITSELF) works_by_itself(f.m->be);
    for (int i = 0; i < MANY; i++) {
        for (int k = 0; k < PROMPT; k++) ids[i][k] = i && k < 25 ? ids[0][k] : (int32_t)bl_rng_below(&rng, 300);
        req[i] = (bl_gen_request){.ids = ids[i],
                                  .n = PROMPT - i % 5,
                                  .max_new = 10 + 4 * (i % 7),
                                  .temperature = temperature,
                                  .top_p = i % 2 ? 0.9 : 0,
                                  .seed = (uint64_t)(i % 11),
                                  .ignore_end = true};
    }
    assert_ok(bl_arena_new(&a, &e));
    assert_ok(bl_generate(f.m, NULL, req + from, n, max_rows, false, a, r, &e));
    for (int64_t i = 0; i < n; i++) {
        memcpy(out[from + i], r[i].ids, (size_t)r[i].n * sizeof(int32_t));
        len[from + i] = r[i].n;
    }
    bl_arena_free(a);
    fixture_close(&f);
}

static void assert_same(int32_t x[MANY][64], const int64_t *nx, int32_t y[MANY][64], const int64_t *ny,
                        const char *what)
{
    for (int i = 0; i < MANY; i++) {
        if (nx[i] != ny[i] || memcmp(x[i], y[i], (size_t)nx[i] * sizeof(int32_t)))
            fail_msg("%s: reply %d differs", what, i);
    }
}

/* transformers 5.24 generate() stops at each id of generation_config.json; config.json's first alone is not enough. */
static void text_ends_at_every_end_token(void **state)
{
    static const char json[] =
        "{\"added_tokens\":[{\"id\":2,\"content\":\"</s>\",\"special\":true}],\"pre_tokenizer\":{\"type\":"
        "\"ByteLevel\",\"add_prefix_space\":false},\"decoder\":{\"type\":\"ByteLevel\"},\"model\":{\"type\":"
        "\"BPE\",\"vocab\":{\"c\":102,\"d\":103,\"e\":104,\"f\":105},\"merges\":[]}}";
    static const struct {
        const char *generation, *text;
    } rows[] = {{"{\"eos_token_id\":[2,105]}", "de"}, {"{\"eos_token_id\":104}", "d"}, {"{\"eos_token_id\":2}", "def"}};
    char path[4300], beside[4300];
    bl_err e = {0};
    (void)state;
    snprintf(path, sizeof path, "%s/ends", dir);
    assert_ok(bl_make_dirs(path, &e));
    snprintf(path, sizeof path, "%s/ends/tokenizer.json", dir);
    snprintf(beside, sizeof beside, "%s/ends/generation_config.json", dir);
    assert_ok(bl_write_file(path, json, sizeof json - 1, &e));
    for (size_t i = 0; i < BL_COUNT(rows); i++) {
        bl_arena *a;
        bl_gen_reply r;
        assert_ok(bl_write_file(beside, rows[i].generation, strlen(rows[i].generation), &e));
        fixture f = fixture_open(alphabet, path, 1, false);
        assert_ok(bl_arena_new(&a, &e));
        assert_ok(bl_generate(f.m, f.t, &(bl_gen_request){.ids = (const int32_t[]){102}, .n = 1, .max_new = 3}, 1, 100,
                              false, a, &r, &e));
        assert_string_equal(r.text, rows[i].text);
        assert_int_equal(r.hit_limit, i == 2);
        if (i < 2) { /* one ends before the other, on a backend that has begun the next pass by then */
            static const int32_t first[2] = {102, 101};
            bl_gen_request two[2];
            bl_gen_reply both[2];
            for (int k = 0; k < 2; k++) two[k] = (bl_gen_request){.ids = &first[k], .n = 1, .max_new = 9};
            works_by_itself(f.m->be);
            assert_ok(bl_generate(f.m, f.t, two, 2, 100, false, a, both, &e));
            assert_string_equal(both[0].text, rows[i].text);
            assert_string_equal(both[1].text, i ? "cd" : "cde");
            assert_false(both[0].hit_limit || both[1].hit_limit);
        }
        bl_arena_free(a);
        fixture_close(&f);
    }
}

static void a_reply_does_not_depend_on_what_is_decoded_with_it(void **state)
{
    static int32_t want[MANY][64], got[MANY][64];
    int64_t n_want[MANY], n_got[MANY];
    (void)state;
    for (int warm = 0; warm < 2; warm++) {
        double temperature = warm ? 1.3 : 0;
        for (int i = 0; i < MANY; i++) replies(1, i, 1, 1, AS_IT_IS, temperature, want, n_want);
        for (int i = 0; i < MANY; i++) assert_int_equal(n_want[i], 10 + 4 * (i % 7));
        replies(100000, 0, MANY, 1, AS_IT_IS, temperature, got, n_got);
        assert_same(want, n_want, got, n_got, "all at once");
        replies(200, 0, MANY, 2, AS_IT_IS, temperature, got, n_got);
        assert_same(want, n_want, got, n_got, "a few at once, two threads");
        replies(500, 0, MANY, 1, STREAMED, temperature, got, n_got);
        assert_same(want, n_want, got, n_got, "streaming");
        replies(100000, 0, MANY, 1, BY_ITSELF, temperature, got, n_got);
        assert_same(want, n_want, got, n_got, "a backend that works by itself");
    }
}

/* ---- many at once ---- */
typedef struct crowd {
    int32_t ids[MANY][PROMPT];
    bl_gen_request req[MANY];
} crowd;

/* Prompts of 36 to 40 tokens, the first 25 of them the same. */
static void crowd_make(crowd *c, double temperature)
{
    bl_rng rng = bl_rng_at(3, 0, 0);
    for (int i = 0; i < MANY; i++) {
        for (int k = 0; k < PROMPT; k++) c->ids[i][k] = i && k < 25 ? c->ids[0][k] : (int32_t)bl_rng_below(&rng, 300);
        c->req[i] = (bl_gen_request){.ids = c->ids[i],
                                     .n = PROMPT - i % 5,
                                     .max_new = 10 + 4 * (i % 4),
                                     .temperature = temperature,
                                     .top_p = i % 2 ? 0.9 : 0,
                                     .seed = (uint64_t)i,
                                     .ignore_end = true};
    }
}

/* Puts `from` .. MANY - 1 from the last to the first, `late` of them only after others have ended. */
static void decode(bl_decoder *d, const crowd *c, int from, int late, bl_arena *a, bl_gen_reply *out)
{
    bl_err e = {0};
    int64_t tag;
    int next = MANY - 1, took = 0;
    for (; next >= from + late; next--) assert_ok(bl_decoder_put(d, &c->req[next], next, a, &out[next], &e));
    while (bl_decoder_open(d)) {
        assert_ok(bl_decoder_step(d, &e));
        for (; bl_decoder_take(d, &tag); took++) {
            assert_true(out[tag].ended);
            if (next >= from) {
                assert_ok(bl_decoder_put(d, &c->req[next], next, a, &out[next], &e));
                next--;
            }
        }
    }
    assert_int_equal(took, MANY - from);
}

static void assert_crowd(const bl_gen_reply *want, const bl_gen_reply *got, const char *what)
{
    for (int i = 0; i < MANY; i++)
        if (want[i].n != got[i].n || memcmp(want[i].ids, got[i].ids, (size_t)got[i].n * sizeof(int32_t)))
            fail_msg("%s: reply %d differs", what, i);
}

static void sequences_that_come_and_go_say_what_each_says_alone(void **state)
{
    static const struct {
        const char *what;
        bl_decoder_opts o;
        int late;
    } ways[] = {{"one at once", {.rows = 2000, .sequences = 1}, 0},
                {"eight at once", {.rows = 2000, .sequences = 8}, 4},
                {"all at once", {.rows = 2000}, 0},
                {"passes of 7 rows", {.rows = 2000, .pass_rows = 7}, 3},
                {"passes of one row", {.rows = 2000, .pass_rows = 1}, 0},
                {"a cache of 160 rows", {.rows = 160}, 3}};
    static crowd c;
    bl_err e = {0};
    (void)state;
    for (int round = 0; round < 5; round++) { /* the last two: a backend that works by itself */
        bl_gen_reply want[MANY], got[MANY];
        bl_arena *a;
        bool warm = round == 1;
        fixture f = fixture_open(noise, "", 1, false);
        if (round == 2 || round == 4) f.m->kv = BL_KV_INT2;
        assert_ok(bl_arena_new(&a, &e));
        crowd_make(&c, warm ? 1.3 : 0);
        for (int i = 0; i < MANY; i++) assert_ok(bl_generate(f.m, NULL, &c.req[i], 1, 1, false, a, &want[i], &e));
        fetched_beside = 0;
        if (round > 2) works_by_itself(f.m->be);
        for (size_t w = 0; w < BL_COUNT(ways); w++) {
            bl_decoder *d;
            assert_ok(bl_decoder_new(f.m, NULL, &ways[w].o, &d, &e));
            for (int again = 0; again < 2; again++) {
                decode(d, &c, 0, ways[w].late, a, got);
                assert_crowd(want, got, ways[w].what);
            }
            bl_decoder_free(d);
        }
        assert_true(round < 3 ? fetched_beside == 0 : fetched_beside > 100);
        bl_arena_free(a);
        fixture_close(&f);
    }
}

/* There is room in the cache: it is decoded with what is there already, and ends long before. */
static void a_request_that_comes_later_does_not_wait_for_others_to_end(void **state)
{
    enum { LONG = 60, SHORT = 4 };
    static crowd c;
    bl_err e = {0};
    (void)state;
    crowd_make(&c, 0);
    for (int by_itself = 0; by_itself < 2; by_itself++) {
        bl_gen_reply got[2], want;
        bl_arena *a;
        bl_decoder *d;
        int64_t tag = -1;
        int steps = 0;
        fixture f = fixture_open(noise, "", 1, false);
        for (int i = 0; i < 2; i++)
            c.req[i] = (bl_gen_request){.ids = c.ids[i], .n = 8, .max_new = i ? SHORT : LONG, .ignore_end = true};
        assert_ok(bl_arena_new(&a, &e));
        assert_ok(bl_generate(f.m, NULL, &c.req[1], 1, 1, false, a, &want, &e));
        if (by_itself) works_by_itself(f.m->be);
        assert_ok(bl_decoder_new(f.m, NULL, &(bl_decoder_opts){.rows = 2000}, &d, &e));
        for (int i = 0; i < 3; i++) { /* a cache for two, then the first alone */
            assert_ok(bl_decoder_put(d, &c.req[i == 1], i, a, &got[i == 1], &e));
            while (i == 1 && bl_decoder_open(d)) assert_ok(bl_decoder_step(d, &e));
        }
        while (bl_decoder_take(d, &tag)) continue;
        for (int i = 0; i < 5; i++) assert_ok(bl_decoder_step(d, &e));
        assert_ok(bl_decoder_put(d, &c.req[1], 3, a, &got[1], &e));
        for (; !bl_decoder_take(d, &tag); steps++) assert_ok(bl_decoder_step(d, &e));
        assert_int_equal(tag, 3);
        assert_int_equal(steps, SHORT + 2 * by_itself); /* a pass was under way, and a token is known a step later */
        assert_memory_equal(got[1].ids, want.ids, SHORT * sizeof(int32_t));
        bl_decoder_free(d);
        bl_arena_free(a);
        fixture_close(&f);
    }
}

/* Pages of 16: the first is in all prompts, the second is each one's own, the third is never full at the first token. A
 * new token is fed unless it is the last. */
static void what_prompts_have_in_common_is_computed_once(void **state)
{
    static crowd c;
    bl_err e = {0};
    bl_gen_reply got[MANY];
    bl_arena *a;
    bl_decoder *d;
    int64_t rows = 16, before;
    (void)state;
    fixture f = fixture_open(noise, "", 1, false);
    assert_ok(bl_arena_new(&a, &e));
    crowd_make(&c, 0);
    for (int i = 0; i < MANY; i++) rows += c.req[i].n - 16 + c.req[i].max_new - 1;
    assert_ok(bl_decoder_new(f.m, NULL, &(bl_decoder_opts){.rows = 2000}, &d, &e));
    decode(d, &c, 0, 0, a, got);
    assert_int_equal(bl_decoder_rows(d), rows);
    before = rows;
    rows = 0;
    for (int i = 0; i < MANY; i++) rows += c.req[i].n - 32 + c.req[i].max_new - 1;
    decode(d, &c, 0, 0, a, got); /* they have left, their pages are there */
    assert_int_equal(bl_decoder_rows(d) - before, rows);
    before += rows;
    decode(d, &c, MANY - 1, 0, a, got); /* what was said before counts as well: 32 of 39 tokens and 4 of 22 */
    assert_int_equal(bl_decoder_rows(d) - before, c.req[MANY - 1].n - 32 + c.req[MANY - 1].max_new - 1);
    bl_decoder_free(d);
    bl_arena_free(a);
    fixture_close(&f);
}

/* Six pages, and each of the sequences comes to four: the second must leave the cache and is fed again later. */
static void a_cache_that_is_too_small_for_two_is_used_in_turn(void **state)
{
    enum { N = 5, NEW = 56 };
    static crowd c;
    bl_err e = {0};
    bl_gen_reply want[N], got[N];
    bl_arena *a;
    bl_decoder *d;
    uint64_t bytes;
    int64_t tag;
    (void)state;
    fixture f = fixture_open(noise, "", 1, false);
    assert_ok(bl_arena_new(&a, &e));
    crowd_make(&c, 0);
    for (int i = 0; i < N; i++)
        c.req[i] = (bl_gen_request){.ids = c.ids[i] + 25, .n = 8, .max_new = NEW, .ignore_end = true};
    for (int i = 0; i < N; i++) assert_ok(bl_generate(f.m, NULL, &c.req[i], 1, 1, false, a, &want[i], &e));
    const bl_kv_shape shape = {f.m->kv, 96, 0, f.m->config.n_kv_heads, f.m->config.head_dim};
    bytes = bl_kv_view_bytes(f.be, &shape) * (uint64_t)f.m->config.n_layers;
    f.m->kv_peak = 0;
    assert_ok(bl_decoder_new(f.m, NULL, &(bl_decoder_opts){.rows = 96}, &d, &e));
    for (int round = 0; round < 2; round++) {
        int64_t before = bl_decoder_rows(d);
        for (int i = 0; i < N; i++) assert_ok(bl_decoder_put(d, &c.req[i], i, a, &got[i], &e));
        while (bl_decoder_open(d)) assert_ok(bl_decoder_step(d, &e));
        for (int i = 0; i < N; i++) assert_true(bl_decoder_take(d, &tag));
        assert_false(bl_decoder_take(d, &tag));
        assert_true(bl_decoder_rows(d) - before > N * (8 + NEW - 1));
        for (int i = 0; i < N; i++) assert_memory_equal(got[i].ids, want[i].ids, NEW * sizeof(int32_t));
    }
    assert_int_equal(f.m->kv_peak, bytes);
    bl_decoder_free(d);
    bl_arena_free(a);
    fixture_close(&f);
}

/* A slot of a cache of codes has keys of 32 positions beside them: of as many slots as there are replies. */
static void a_cache_of_codes_for_one_reply_is_the_smaller_one(void **state)
{
    static const bl_kv_format formats[] = {BL_KV_ACT, BL_KV_INT8, BL_KV_INT4, BL_KV_INT2};
    static crowd c;
    uint64_t bytes[BL_COUNT(formats)];
    bl_err e = {0};
    (void)state;
    crowd_make(&c, 0);
    for (size_t k = 0; k < BL_COUNT(formats); k++) {
        bl_gen_reply got[2];
        bl_arena *a;
        bl_decoder *d;
        int64_t tag;
        fixture f = fixture_open(noise, "", 1, false);
        f.m->kv = formats[k];
        assert_ok(bl_arena_new(&a, &e));
        assert_ok(bl_decoder_new(f.m, NULL, &(bl_decoder_opts){.rows = 2000}, &d, &e));
        for (int n = 1; n <= 2; n++) { /* one, then two at once */
            f.m->kv_peak = 0;
            for (int i = 0; i < n; i++) {
                c.req[i] = (bl_gen_request){.ids = c.ids[i], .n = 8, .max_new = 64, .ignore_end = true};
                assert_ok(bl_decoder_put(d, &c.req[i], i, a, &got[i], &e));
            }
            while (bl_decoder_open(d)) assert_ok(bl_decoder_step(d, &e));
            while (bl_decoder_take(d, &tag)) assert_int_equal(got[tag].n, 64);
            const bl_kv_shape shape = {formats[k], n * (formats[k] == BL_KV_ACT ? 80 : 96),
                                       formats[k] == BL_KV_ACT ? 0 : n, f.m->config.n_kv_heads, f.m->config.head_dim};
            assert_int_equal(f.m->kv_peak, bl_kv_view_bytes(f.be, &shape) * (uint64_t)f.m->config.n_layers);
            if (n == 1) bytes[k] = f.m->kv_peak;
        }
        bl_decoder_free(d);
        bl_arena_free(a);
        fixture_close(&f);
        assert_true(!k || bytes[k] < bytes[k - 1]);
    }
}

static void draws_follow_the_seed(void **state)
{
    static int32_t cold[MANY][64], warm[MANY][64];
    int64_t n[MANY];
    (void)state;
    replies(100000, 0, MANY, 1, AS_IT_IS, 0, cold, n);
    replies(100000, 0, MANY, 1, AS_IT_IS, 1, warm, n);
    int same = 0;
    for (int i = 0; i < MANY; i++) same += !memcmp(cold[i], warm[i], (size_t)n[i] * sizeof(int32_t));
    assert_int_equal(same, 0);
    replies(100000, 0, MANY, 1, AS_IT_IS, 1e-6, warm, n); /* almost no temperature is none */
    assert_same(cold, n, warm, n, "cold");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(text_ends_at_stops_ends_and_limits),
        cmocka_unit_test(text_ends_where_the_model_ends),
        cmocka_unit_test(text_ends_at_every_end_token),
        cmocka_unit_test(a_reply_does_not_depend_on_what_is_decoded_with_it),
        cmocka_unit_test(sequences_that_come_and_go_say_what_each_says_alone),
        cmocka_unit_test(a_request_that_comes_later_does_not_wait_for_others_to_end),
        cmocka_unit_test(what_prompts_have_in_common_is_computed_once),
        cmocka_unit_test(a_cache_that_is_too_small_for_two_is_used_in_turn),
        cmocka_unit_test(a_cache_of_codes_for_one_reply_is_the_smaller_one),
        cmocka_unit_test(draws_follow_the_seed),
    };
    return cmocka_run_group_tests(tests, write_models, remove_models);
}
