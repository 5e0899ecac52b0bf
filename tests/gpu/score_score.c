/* Models on the CUDA device: logits, losses and text are those of the CPU within the rounding of bf16, memory is kept
 * to, and with `deterministic` a score does not depend on the batch. */
#include "gpu.h"
#include "harness/model/generate.h"
#include "harness/score/score.h"
#include "kernels/base/fs.h"

#define SMOLLM "smollm2-135m/SmolLM2-135M-Instruct.Q4_1.gguf"

typedef struct model {
    bl_checkpoint *ckpt;
    bl_backend *be;
    bl_model *m;
    bl_tokenizer *t;
} model;

static model open_model(const char *path, const bl_backend_opts *o, const bl_model_opts *mo)
{
    model f = {0};
    assert_ok(bl_checkpoint_open(path, NULL, &f.ckpt, &e));
    assert_ok(bl_backend_open(o, &f.be, &e));
    assert_ok(bl_model_open(f.ckpt, f.be, mo, &f.m, &e));
    if (bl_tokenizer_of(f.ckpt, &f.t, NULL) != BL_OK) f.t = NULL;
    return f;
}
static void close_model(model *f)
{
    bl_tokenizer_close(f->t);
    bl_model_close(f->m);
    bl_backend_close(f->be);
    bl_checkpoint_close(f->ckpt);
}
static const bl_backend_opts on_cpu = {.device = "cpu"}, on_gpu = {.device = "cuda"},
                             fixed = {.device = "cuda", .deterministic = true};

static void some_ids(const model *f, int32_t *ids, int64_t n, uint64_t seed)
{
    bl_rng r = bl_rng_at(seed, bl_rng_key("gpu_ids", 0), 0);
    for (int64_t i = 0; i < n; i++) ids[i] = (int32_t)bl_rng_below(&r, (uint64_t)f->m->config.vocab);
}

/* f32 [rows, vocab] of the last `rows` rows of a sequence of n. */
static float *logits_of(const model *f, const int32_t *ids, int32_t n, int64_t rows)
{
    int64_t vocab = f->m->config.vocab, want[64];
    bl_kv *kv;
    bl_buffer *hb, *lb;
    int32_t slot, past = 0, start[] = {0, n};
    float *out = malloc((size_t)(rows * vocab) * sizeof *out);
    assert_ok(f->be->ops->buffer_new(f->be, (uint64_t)(rows * f->m->config.dim) * 4, &hb, &e));
    assert_ok(f->be->ops->buffer_new(f->be, (uint64_t)(rows * vocab) * 4, &lb, &e));
    bl_tensor hidden = bl_tensor_2d(hb, 0, f->be->act, rows, f->m->config.dim),
              logits = bl_tensor_2d(lb, 0, BL_F32, rows, vocab);
    for (int64_t i = 0; i < rows; i++) want[i] = n - rows + i;
    assert_ok(bl_kv_new(f->m, n, 1, true, f->m->kv, &kv, &e));
    assert_ok(bl_kv_slot(kv, n, -1, 0, &slot, &e));
    assert_ok(bl_forward(
        f->m,
        &(bl_batch){.ids = ids, .n_seq = 1, .start = start, .past = &past, .slot = &slot, .want = want, .n_want = rows},
        kv, hidden, &e));
    assert_ok(bl_logits(f->m, hidden, 0, rows, logits, &e));
    assert_ok(f->be->ops->download(f->be, &logits, out, &e));
    bl_kv_free(kv);
    f->be->ops->buffer_free(hb);
    f->be->ops->buffer_free(lb);
    return out;
}

static void compare_logits(const char *path, bl_kv_format kv, double limit)
{
    enum { N = 150, ROWS = 16 };
    int32_t ids[N];
    model c = open_model(path, &on_cpu, &(bl_model_opts){.kv = kv}),
          g = open_model(path, &on_gpu, &(bl_model_opts){.kv = kv});
    some_ids(&c, ids, N, 1);
    float *a = logits_of(&c, ids, N, ROWS), *b = logits_of(&g, ids, N, ROWS);
    double d = distance(a, b, ROWS * c.m->config.vocab);
    if (!(d <= limit)) fail_msg("%s, cache %s: logits differ by %g in the mean square", path, bl_kv_formats[kv], d);
    print_message("%s, cache %s: logits differ by %.2g in the mean square\n", path, bl_kv_formats[kv], d);
    free(a);
    free(b);
    close_model(&c);
    close_model(&g);
}

static void logits_of_made_up_models_are_near_those_of_the_cpu(void **state)
{
    static const char *const shapes[] = {"synth:tiny",      "synth:tiny-biases", "synth:tiny-qwen3",
                                         "synth:tiny:int4", "synth:tiny:nf4",    "synth:tiny:f32"};
    (void)state;
    BL_NEEDS_GPU;
    for (size_t i = 0; i < BL_COUNT(shapes); i++) compare_logits(shapes[i], BL_KV_ACT, 1e-3);
    compare_logits("synth:tiny", BL_KV_INT8, 2e-3);
}

static void logits_of_real_models_are_near_those_of_the_cpu(void **state)
{
    (void)state;
    BL_NEEDS_GPU;
    BL_NEEDS("BITLADDER_MODELS");
    compare_logits(test_path("BITLADDER_MODELS", "tinystories656K"), BL_KV_ACT, 1e-3);
    compare_logits(test_path("BITLADDER_MODELS", SMOLLM), BL_KV_ACT, 2e-3);
}

/* Sum of losses over windows of a text. */
static double windows(const model *f, const bl_engine_opts *o, const char *text, int64_t length, int64_t n,
                      double *each)
{
    bl_engine *g;
    bl_arena *a;
    bl_request req[64];
    bl_reply got[64];
    double sum = 0, tokens = 0;
    assert_ok(bl_engine_new(f->m, f->t, o, &g, &e));
    assert_ok(bl_arena_new(&a, &e));
    for (int64_t i = 0; i < n; i++)
        req[i] = (bl_request){.kind = BL_ASK_WINDOW,
                              .text = text,
                              .n_text = strlen(text),
                              .length = length,
                              .index = i,
                              .rule = BL_WINDOW_GPTQ};
    assert_ok(bl_engine_replies(g, req, n, a, got, &e));
    for (int64_t i = 0; i < n; i++) {
        if (each) each[i] = got[i].nll[0];
        sum += got[i].nll[0];
        tokens += (double)got[i].tokens[0];
    }
    bl_engine_free(g);
    bl_arena_free(a);
    return sum / tokens;
}

static char *primer(void)
{
    char *text;
    size_t n;
    assert_ok(bl_read_file(BL_SOURCE_DIR "/tasks/data/primer/primer.txt", 1 << 20, &text, &n, &e));
    return text;
}

static void perplexity_is_within_a_fifth_of_a_percent(void **state)
{
    static const struct {
        const char *model;
        int64_t length, n;
    } rows[] = {{"tinystories656K", 256, 12}, {SMOLLM, 512, 4}};
    (void)state;
    BL_NEEDS_GPU;
    BL_NEEDS("BITLADDER_MODELS");
    char *text = primer();
    for (size_t i = 0; i < BL_COUNT(rows); i++) {
        const char *path = test_path("BITLADDER_MODELS", rows[i].model);
        model c = open_model(path, &on_cpu, NULL), g = open_model(path, &on_gpu, NULL),
              d = open_model(path, &fixed, NULL);
        double want = windows(&c, NULL, text, rows[i].length, rows[i].n, NULL),
               got = windows(&g, NULL, text, rows[i].length, rows[i].n, NULL),
               same = windows(&d, NULL, text, rows[i].length, rows[i].n, NULL);
        print_message("%s: perplexity %.5f, on the CPU %.5f (%+.4f%%), deterministic %+.4f%%\n", rows[i].model,
                      exp(got), exp(want), 100 * (exp(got - want) - 1), 100 * (exp(same - want) - 1));
        assert_true(fabs(exp(got - want) - 1) <= 0.002 && fabs(exp(same - want) - 1) <= 0.002);
        close_model(&c);
        close_model(&g);
        close_model(&d);
    }
    bl_free(text);
}

/* Choices of different lengths that begin alike, in passes of every size. */
static void choices(const model *f, const bl_engine_opts *o, double nll[24])
{
    static const char *const context[] = {"Once upon a time there was a little", "The dog",
                                          "One day, a girl named Lily went"};
    static const char *const end[] = {" girl who liked to play.", " cat.",
                                      " boy. He was very sad because he lost his ball"};
    bl_engine *g;
    bl_arena *a;
    bl_request req[8];
    bl_reply got[8];
    assert_ok(bl_engine_new(f->m, f->t, o, &g, &e));
    assert_ok(bl_arena_new(&a, &e));
    for (int i = 0; i < 8; i++) {
        bl_pair *p = bl_alloc(a, 3, sizeof *p, &e);
        bl_prompt c = bl_prompt_new(a);
        for (int k = 0; k <= i; k++) bl_quote(&c, context[(i + k) % 3]);
        for (int k = 0; k < 3; k++) p[k] = (bl_pair){.context = c, .continuation = end[k]};
        req[i] = (bl_request){.kind = BL_ASK_PAIRS, .pair = p, .n_pairs = 3};
    }
    assert_ok(bl_engine_replies(g, req, 8, a, got, &e));
    for (int i = 0; i < 24; i++) nll[i] = got[i / 3].nll[i % 3];
    bl_engine_free(g);
    bl_arena_free(a);
}

static void scores_hardly_depend_on_the_batch_and_deterministic_ones_not_at_all(void **state)
{
    static const bl_engine_opts how[] = {
        {.batch_size = 1}, {.batch_tokens = 70}, {.batch_tokens = 200, .batch_size = 5}};
    (void)state;
    BL_NEEDS_GPU;
    BL_NEEDS("BITLADDER_MODELS");
    for (int k = 0; k < 2; k++) {
        const char *path = test_path("BITLADDER_MODELS", "tinystories656K");
        model f = open_model(path, k ? &fixed : &on_gpu, NULL),
              s = open_model(path, &fixed, &(bl_model_opts){.stream = true});
        double all[24], some[24];
        choices(&f, NULL, all);
        for (size_t i = 0; i < BL_COUNT(how); i++) {
            choices(&f, &how[i], some);
            for (int j = 0; j < 24; j++) {
                if (k) assert_true(some[j] == all[j]);
                else assert_true(fabs(some[j] - all[j]) <= 0.02 * all[j]);
            }
        }
        if (k) {
            choices(&s, NULL, some);
            for (int j = 0; j < 24; j++) assert_true(some[j] == all[j]); /* a block at a time */
        }
        close_model(&f);
        close_model(&s);
    }
}

/* Memory for a few sequences of a batch: it is halved until it fits, and the scores are the same. */
static void a_batch_that_does_not_fit_is_halved(void **state)
{
    (void)state;
    BL_NEEDS_GPU;
    enum { N = 48 };
    double want[N], got[N];
    bl_text text = {0};
    for (int i = 0; i < 30000; i++) bl_text_addf(&text, "%c", "abcdefghij klmnop. "[(i * 7 + i / 11) % 19]);
    BL_NEEDS("BITLADDER_MODELS");
    const char *path = test_path("BITLADDER_MODELS", "tinystories656K");
    model f = open_model(path, &fixed, NULL);
    uint64_t whole, peak, limit;
    windows(&f, NULL, text.s, 256, N, want);
    f.be->ops->memory(f.be, NULL, &whole);
    close_model(&f);
    limit = whole - (whole - (2 << 20)) / 3;
    bl_backend_opts o = fixed;
    o.memory_limit = limit;
    f = open_model(path, &o, NULL);
    windows(&f, NULL, text.s, 256, N, got);
    f.be->ops->memory(f.be, NULL, &peak);
    print_message("%.1f MiB at once, with a limit of %.1f MiB %.1f\n", (double)whole / (1 << 20),
                  (double)limit / (1 << 20), (double)peak / (1 << 20));
    assert_true(peak <= limit && peak < whole);
    for (int i = 0; i < N; i++) assert_true(want[i] == got[i]);
    close_model(&f);
    bl_text_free(&text);
}

/* Mean loss of a window of ids, a block and an end at a time within `limit`, or (0) all resident. */
static double window_loss(const char *path, uint64_t limit, int64_t n, uint64_t *peak, double *seconds)
{
    bl_backend_opts o = fixed;
    int32_t *ids = malloc((size_t)(n + 1) * sizeof *ids), slot, past = 0, start[] = {0, (int32_t)n};
    int64_t *want = malloc((size_t)n * sizeof *want);
    double *nll = malloc((size_t)n * sizeof *nll), sum = 0;
    bl_kv *kv;
    bl_buffer *hb, *lb, *tb, *nb;
    o.memory_limit = limit;
    model f = open_model(path, &o, &(bl_model_opts){.stream = limit > 0});
    some_ids(&f, ids, n + 1, 3);
    for (int64_t i = 0; i < n; i++) want[i] = i;
    double begun = bl_now();
    int64_t vocab = f.m->config.vocab, most = BL_MIN(bl_logits_rows(f.m), n);
    assert_ok(f.be->ops->buffer_new(f.be, (uint64_t)(n * f.m->config.dim) * 2, &hb, &e));
    assert_ok(f.be->ops->buffer_new(f.be, (uint64_t)(most * vocab) * 4, &lb, &e));
    assert_ok(f.be->ops->buffer_new(f.be, (uint64_t)n * 4, &tb, &e));
    assert_ok(f.be->ops->buffer_new(f.be, (uint64_t)n * 8, &nb, &e));
    bl_tensor hidden = bl_tensor_2d(hb, 0, f.be->act, n, f.m->config.dim), target = bl_tensor_1d(tb, 0, BL_I32, n),
              losses = bl_tensor_1d(nb, 0, BL_F64, n);
    assert_ok(f.be->ops->upload(f.be, &target, ids + 1, &e));
    assert_ok(bl_kv_new(f.m, n, 1, true, BL_KV_ACT, &kv, &e));
    assert_ok(bl_kv_slot(kv, n, -1, 0, &slot, &e));
    assert_ok(bl_forward(
        f.m,
        &(bl_batch){.ids = ids, .n_seq = 1, .start = start, .past = &past, .slot = &slot, .want = want, .n_want = n},
        kv, hidden, &e));
    for (int64_t r = 0; r < n; r += most) {
        int64_t rows = BL_MIN(most, n - r);
        bl_tensor logits = bl_tensor_2d(lb, 0, BL_F32, rows, vocab);
        assert_ok(bl_logits(f.m, hidden, r, rows, logits, &e));
        assert_ok(f.be->ops->loss(f.be,
                                  &(bl_loss_args){.logits = logits,
                                                  .vocab = vocab,
                                                  .target = bl_tensor_part(target, r, rows),
                                                  .nll = bl_tensor_part(losses, r, rows)},
                                  &e));
    }
    assert_ok(f.be->ops->download(f.be, &losses, nll, &e));
    *seconds = bl_now() - begun;
    for (int64_t i = 0; i < n; i++) sum += nll[i];
    f.be->ops->memory(f.be, NULL, peak);
    bl_kv_free(kv);
    f.be->ops->buffer_free(hb);
    f.be->ops->buffer_free(lb);
    f.be->ops->buffer_free(tb);
    f.be->ops->buffer_free(nb);
    close_model(&f);
    free(ids);
    free(want);
    free(nll);
    return sum / (double)n;
}

/* BITLADDER_LARGE: the same for the shape of an 8B model, whose 16 GB are made up as they are read. */
static void a_streamed_model_keeps_to_a_limit_far_below_its_weights(void **state)
{
    uint64_t peak, whole;
    double seconds, all;
    (void)state;
    BL_NEEDS_GPU;
    double want = window_loss("synth:smollm2-135m", 0, 512, &whole, &all),
           got = window_loss("synth:smollm2-135m", 192 << 20, 512, &peak, &seconds);
    assert_true(want == got && peak <= 192 << 20 && peak < whole);
    print_message("synth:smollm2-135m: %.0f MiB in %.2f s, streamed %.0f MiB in %.2f s\n", (double)whole / (1 << 20),
                  all, (double)peak / (1 << 20), seconds);
    if (!getenv("BITLADDER_LARGE")) return;
    got = window_loss("synth:llama3-8b", 2ull << 30, 2048, &peak, &seconds);
    print_message("synth:llama3-8b: a window of 2048 with %.2f GiB in %.1f s, loss %.3f\n", (double)peak / (1 << 30),
                  seconds, got);
    assert_true(isfinite(got) && peak <= 2ull << 30);
}

/* Greedy text: the first token at which device and CPU part is one where the CPU was undecided. */
static void greedy_text_parts_only_where_two_tokens_are_near(void **state)
{
    enum { N = 3, NEW = 48 };
    int32_t ids[N][20];
    bl_gen_request req[N];
    bl_gen_reply want[N], got[N], again[N];
    bl_arena *a;
    (void)state;
    BL_NEEDS_GPU;
    BL_NEEDS("BITLADDER_MODELS");
    static const char *const models[] = {"tinystories656K", SMOLLM};
    for (size_t k = 0; k < BL_COUNT(models); k++) {
        const char *path = test_path("BITLADDER_MODELS", models[k]);
        model c = open_model(path, &on_cpu, NULL), g = open_model(path, &on_gpu, NULL);
        assert_ok(bl_arena_new(&a, &e));
        for (int i = 0; i < N; i++) {
            some_ids(&c, ids[i], 20, (uint64_t)i + 5);
            req[i] = (bl_gen_request){.ids = ids[i], .n = 5 + 7 * i, .max_new = NEW, .ignore_end = true};
        }
        assert_ok(bl_generate(c.m, NULL, req, N, 4096, true, a, want, &e));
        assert_ok(bl_generate(g.m, NULL, req, N, 4096, false, a, got, &e));
        assert_ok(bl_generate(g.m, NULL, req, N, 4096, false, a, again, &e));
        for (int i = 0; i < N; i++) {
            int64_t n = 0;
            assert_true(got[i].n == NEW && want[i].n == NEW);
            assert_memory_equal(got[i].ids, again[i].ids, NEW * sizeof(int32_t));
            while (n < NEW && got[i].ids[n] == want[i].ids[n]) n++;
            if (n < NEW && want[i].margin[n] > 0.5)
                fail_msg("%s: prompt %d: token %d is %d, on the CPU %d with a margin of %g", models[k], i, (int)n,
                         (int)got[i].ids[n], (int)want[i].ids[n], want[i].margin[n]);
            print_message("%s: prompt %d: %d of %d tokens are the same\n", models[k], i, (int)n, NEW);
        }
        bl_arena_free(a);
        close_model(&c);
        close_model(&g);
    }
}

/* All products of the blocks in a format, groups of 128. */
static void pack_blocks(model *f, const char *format)
{
    const bl_format *to = bl_format_find(format);
    for (int64_t b = 0; b < f->m->config.n_layers; b++) {
        assert_ok(bl_block_acquire(f->m, b, &e));
        for (int i = 0; i < f->m->blocks[b].n_linears; i++) {
            bl_linear *l = &f->m->blocks[b].linear[i];
            const bl_shape s = both_shape(to, l->out, l->in, 128);
            bl_tensor dense;
            bl_weight w;
            assert_ok(bl_linear_dense(f->be, l, &dense, &e));
            assert_ok(bl_weight_new(f->be, to, &s, &w, &e));
            assert_ok(f->be->ops->pack(f->be, &(bl_pack_args){.x = dense, .w = &w}, &e));
            f->be->ops->buffer_free(dense.buf);
            bl_linear_set_weight(l, &w);
        }
        bl_block_release(f->m, b);
    }
}

/* Steps of decoding, computed, recorded and replayed, against the same tokens as one prompt. */
static void steps_with_packed_weights_are_those_of_a_prompt(void **state)
{
    enum { N = 90, STEPS = 6 };
    int32_t ids[N], slot;
    (void)state;
    BL_NEEDS_GPU;
    model g = open_model("synth:tinyllama-1.1b", &on_gpu, NULL);
    const int64_t vocab = g.m->config.vocab;
    pack_blocks(&g, "int4");
    some_ids(&g, ids, N, 1);
    float *want = logits_of(&g, ids, N, STEPS), *got = malloc((size_t)vocab * sizeof *got);
    bl_kv *kv;
    bl_buffer *hb, *lb;
    assert_ok(g.be->ops->buffer_new(g.be, (uint64_t)g.m->config.dim * 4, &hb, &e));
    assert_ok(g.be->ops->buffer_new(g.be, (uint64_t)vocab * 4, &lb, &e));
    bl_tensor hidden = bl_tensor_2d(hb, 0, g.be->act, 1, g.m->config.dim),
              logits = bl_tensor_2d(lb, 0, BL_F32, 1, vocab);
    assert_ok(bl_kv_new(g.m, N, 1, false, g.m->kv, &kv, &e));
    assert_ok(bl_kv_slot(kv, N, -1, 0, &slot, &e));
    for (int32_t past = 0, n = N - STEPS; past < N; past += n, n = 1) {
        const int32_t start[] = {0, n};
        const int64_t last = n - 1;
        assert_ok(bl_forward(g.m,
                             &(bl_batch){.ids = ids + past,
                                         .n_seq = 1,
                                         .start = start,
                                         .past = &past,
                                         .slot = &slot,
                                         .want = &last,
                                         .n_want = 1},
                             kv, hidden, &e));
        if (n > 1) continue;
        assert_ok(bl_logits(g.m, hidden, 0, 1, logits, &e));
        assert_ok(g.be->ops->download(g.be, &logits, got, &e));
        const double d = distance(want + (past - N + STEPS) * vocab, got, vocab);
        if (!(d <= 5e-3)) fail_msg("token %d: logits differ by %g in the mean square", (int)past, d);
        print_message("token %d: logits differ by %.2g in the mean square\n", (int)past, d);
    }
    bl_kv_free(kv);
    g.be->ops->buffer_free(hb);
    g.be->ops->buffer_free(lb);
    free(want);
    free(got);
    close_model(&g);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(logits_of_made_up_models_are_near_those_of_the_cpu),
        cmocka_unit_test(logits_of_real_models_are_near_those_of_the_cpu),
        cmocka_unit_test(perplexity_is_within_a_fifth_of_a_percent),
        cmocka_unit_test(scores_hardly_depend_on_the_batch_and_deterministic_ones_not_at_all),
        cmocka_unit_test(a_batch_that_does_not_fit_is_halved),
        cmocka_unit_test(a_streamed_model_keeps_to_a_limit_far_below_its_weights),
        cmocka_unit_test(steps_with_packed_weights_are_those_of_a_prompt),
        cmocka_unit_test(greedy_text_parts_only_where_two_tokens_are_near),
    };
    return gpu_run_tests("gpu_score", tests);
}
