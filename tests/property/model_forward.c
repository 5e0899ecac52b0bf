/* model_forward.c - a row's numbers depend on its own sequence alone, bit for bit, however the rows come to the model.
 */
#include "model_fixture.h"
#include "tiny_model.h"
#include "kernels/base/fs.h"

static char dir[4096], noise[4200];
static int write_model(void **state)
{
    (void)state;
    snprintf(dir, sizeof dir, "%s", test_dir());
    snprintf(noise, sizeof noise, "%s/noise.bin", dir);
    tiny_noise(noise);
    return 0;
}
static int remove_model(void **state)
{
    (void)state;
    return bl_remove_tree(dir, NULL) != BL_OK;
}

static void random_ids(int32_t *ids, int32_t n, uint64_t seed, int64_t vocab)
{
    bl_rng r = bl_rng_at(seed, 3, 0);
    for (int32_t i = 0; i < n; i++) ids[i] = (int32_t)bl_rng_below(&r, (uint64_t)vocab);
}

static float *host(const fixture *f, const bl_tensor *t)
{
    bl_err e = {0};
    float *x = malloc(bl_tensor_bytes(t));
    assert_ok(f->be->ops->download(f->be, t, x, &e));
    return x;
}

/* Hidden states of a whole sequence by itself. */
static float *alone(const fixture *f, const int32_t *ids, int32_t n)
{
    bl_tensor h = fixture_hidden(f, ids, n);
    float *x = host(f, &h);
    fixture_drop(f, &h);
    return x;
}

static void assert_rows(const float *x, const float *want, int64_t rows, int64_t dim, const char *what)
{
    for (int64_t i = 0; i < rows * dim; i++)
        if (memcmp(&x[i], &want[i], sizeof *x))
            fail_msg("%s: row %lld, column %lld: %.9g and %.9g", what, (long long)(i / dim), (long long)(i % dim), x[i],
                     want[i]);
}

enum { LEN = 90 };

static void tokens_one_by_one_give_what_a_whole_prompt_gives(void **state)
{
    static const char *const models[] = {"", "synth:tiny:int4", "synth:tiny:nf3"};
    bl_err e = {0};
    int32_t ids[LEN], slot;
    (void)state;
    for (size_t m = 0; m < 3 * BL_COUNT(models); m++) {
        static const bl_kv_format formats[] = {BL_KV_ACT, BL_KV_INT8, BL_KV_INT3};
        const char *model = models[m / 3];
        fixture f = fixture_open(*model ? model : noise, "", 1, false);
        f.m->kv = formats[m % 3];
        int64_t dim = f.m->config.dim;
        random_ids(ids, LEN, 1, f.m->config.vocab);
        float *want = alone(&f, ids, LEN), *got = malloc(LEN * (size_t)dim * sizeof *got);
        bl_tensor h = fixture_tensor(&f, BL_F32, LEN, dim);
        bl_kv *kv;
        assert_ok(bl_kv_new(f.m, LEN, 1, false, f.m->kv, &kv, &e));
        assert_ok(bl_kv_slot(kv, LEN, -1, 0, &slot, &e));
        for (int32_t at = 0, n; at < LEN; at += n) {
            n = at < 40 ? 1 : BL_MIN(LEN - at, 17);
            int64_t want_rows[17];
            for (int i = 0; i < n; i++) want_rows[i] = i;
            assert_ok(bl_forward(f.m,
                                 &(bl_batch){.ids = ids + at,
                                             .n_seq = 1,
                                             .start = (int32_t[]){0, n},
                                             .past = &at,
                                             .slot = &slot,
                                             .want = want_rows,
                                             .n_want = n},
                                 kv, bl_tensor_rows(h, at, n), &e));
        }
        /* Back, as if the last ones had never been: to any position, of a cache of codes to the beginning of a group or
         * into the last one. */
        static const int32_t back[2][3] = {{50, 70, 33}, {32, 70, 64}};
        const bool coded = bl_kv_granule(f.m->kv) > 1;
        int64_t rows[LEN];
        for (int i = 0; i < LEN; i++) rows[i] = i;
        for (int i = 0; i < 3; i++) {
            int32_t at = back[coded][i], n = LEN - at;
            bl_batch b = {.ids = ids + at,
                          .n_seq = 1,
                          .start = (int32_t[]){0, n},
                          .past = &at,
                          .slot = &slot,
                          .want = rows,
                          .n_want = n};
            assert_ok(bl_forward(f.m, &b, kv, bl_tensor_rows(h, at, n), &e));
            if (!coded) continue;
            at = 50;
            b.start = (int32_t[]){0, LEN - 50};
            b.n_want = LEN - 50;
            assert_refused(bl_forward(f.m, &b, kv, bl_tensor_rows(h, 50, LEN - 50), &e), BL_E_INTERNAL,
                           "position 50 of the 90 in slot 0, inside a group of 32 keys that are codes by now");
        }
        assert_int_equal(bl_kv_len(kv, slot), LEN);
        bl_kv_free(kv);
        assert_ok(f.be->ops->download(f.be, &h, got, &e));
        assert_rows(got, want, LEN, dim, model);
        fixture_drop(&f, &h);
        free(want);
        free(got);
        fixture_close(&f);
    }
}

/* Sequences of many lengths, together long enough for several chunks, some of them cut by a chunk's end; forks of
 * forks; few rows wanted. */
static void a_ragged_batch_gives_what_its_sequences_give_alone(void **state)
{
    enum { SEQS = 60 };
    bl_err e = {0};
    static int32_t ids[SEQS][LEN], packed[SEQS * LEN], start[SEQS + 1], past[SEQS], slot[SEQS], length[SEQS];
    static int64_t want[SEQS * LEN];
    (void)state;
    for (int way = 0; way < 4; way++) {
        const bl_kv_format format = way < 2 ? BL_KV_ACT : way == 2 ? BL_KV_INT2 : BL_KV_INT8;
        const int64_t granule = bl_kv_granule(format);
        fixture f = fixture_open(noise, "", 1 + way % 2, way % 2);
        int64_t dim = f.m->config.dim, n_want = 0;
        bl_kv *kv;
        bl_rng r = bl_rng_at(5, 0, 0);
        f.m->kv = format;
        assert_ok(bl_kv_new(f.m, SEQS * LEN, SEQS, true, format, &kv, &e));
        for (int s = 0; s < SEQS; s++) {
            int32_t parent = s % 3 ? slot[s - 1] : -1; /* s % 3: a root, its fork, a fork of the fork */
            int64_t shared = 0;
            length[s] = 20 + (int32_t)bl_rng_below(&r, LEN - 20);
            random_ids(ids[s], LEN, (uint64_t)s, f.m->config.vocab);
            if (s % 3) {
                shared = 1 + (int64_t)bl_rng_below(&r, (uint64_t)BL_MIN(length[s - 1], length[s]) - 1);
                if (granule > 1)
                    assert_refused(bl_kv_slot(kv, 1, parent, granule - 1, &slot[s], &e), BL_E_INTERNAL,
                                   "cannot be continued");
                shared = shared / granule * granule;
                memcpy(ids[s], ids[s - 1], (size_t)shared * sizeof **ids);
            }
            assert_ok(bl_kv_slot(kv, length[s] - shared, parent, shared, &slot[s], &e));
            past[s] = (int32_t)shared;
            memcpy(packed + start[s], ids[s] + shared, (size_t)(length[s] - shared) * sizeof *packed);
            start[s + 1] = start[s] + length[s] - (int32_t)shared;
        }
        for (int32_t i = 0; i < start[SEQS]; i++)
            if (i % 7 < 4 || i % 100 > 80) want[n_want++] = i;
        assert_true(start[SEQS] > 2000); /* several chunks */
        bl_tensor h = fixture_tensor(&f, BL_F32, n_want, dim);
        assert_ok(bl_forward(f.m,
                             &(bl_batch){.ids = packed,
                                         .n_seq = SEQS,
                                         .start = start,
                                         .past = past,
                                         .slot = slot,
                                         .want = want,
                                         .n_want = n_want},
                             kv, h, &e));
        float *got = host(&f, &h);
        int64_t w = 0;
        for (int s = 0; s < SEQS; s++) {
            float *one = alone(&f, ids[s], length[s]);
            for (; w < n_want && want[w] < start[s + 1]; w++)
                assert_rows(got + w * dim, one + (past[s] + want[w] - start[s]) * dim, 1, dim, "ragged");
            free(one);
        }
        assert_int_equal(w, n_want);
        free(got);
        fixture_drop(&f, &h);
        bl_kv_free(kv);
        fixture_close(&f);
    }
}

static void fast_and_plain_backends_agree(void **state)
{
    bl_err e = {0};
    int32_t ids[LEN];
    (void)state;
    fixture f = fixture_open(noise, "", 2, false), p = {.ckpt = f.ckpt};
    random_ids(ids, LEN, 9, f.m->config.vocab);
    assert_ok(bl_backend_open(&(bl_backend_opts){.device = "cpu", .reference = true}, &p.be, &e));
    assert_ok(bl_model_open(p.ckpt, p.be, NULL, &p.m, &e));
    float *x = alone(&f, ids, LEN), *y = alone(&p, ids, LEN);
    for (int64_t i = 0; i < LEN * f.m->config.dim; i++) assert_true(x[i] - y[i] < 1e-4f && y[i] - x[i] < 1e-4f);
    free(x);
    free(y);
    bl_model_close(p.m);
    bl_backend_close(p.be);
    fixture_close(&f);
}

static int64_t whole(int64_t bytes) { return (bytes + 63) / 64 * 64; }

/* Keys and values of 8 bits: close to those of 32, the same bits on every backend, a quarter of the memory and a scale
 * for every head. */
static void an_int8_cache_gives_nearly_the_same_states(void **state)
{
    bl_err e = {0};
    int32_t ids[LEN];
    double far = 0, power = 0;
    bl_kv *wide, *narrow;
    (void)state;
    fixture f = fixture_open(noise, "", 2, false), p = {.ckpt = f.ckpt};
    int64_t heads = f.m->config.n_kv_heads, dim = f.m->config.head_dim, layers = f.m->config.n_layers;
    random_ids(ids, LEN, 9, f.m->config.vocab);
    float *want = alone(&f, ids, LEN);
    f.m->kv = BL_KV_INT8;
    assert_ok(bl_backend_open(&(bl_backend_opts){.device = "cpu", .threads = 2, .isa = BL_ISA_PLAIN}, &p.be, &e));
    assert_ok(bl_model_open(p.ckpt, p.be, &(bl_model_opts){.kv = BL_KV_INT8}, &p.m, &e));
    float *got = alone(&f, ids, LEN), *plain = alone(&p, ids, LEN);
    assert_rows(got, plain, LEN, f.m->config.dim, "int8 cache");
    for (int64_t i = 0; i < LEN * f.m->config.dim; i++) {
        far += ((double)got[i] - want[i]) * ((double)got[i] - want[i]);
        power += (double)want[i] * want[i];
    }
    assert_true(far > 0 && far / power < 1e-3);
    assert_ok(bl_kv_new(f.m, 64, 1, false, BL_KV_ACT, &wide, &e));
    assert_ok(bl_kv_new(f.m, 64, 1, false, BL_KV_INT8, &narrow, &e));
    assert_int_equal(bl_kv_bytes(wide), layers * 2 * 64 * heads * dim * 4);
    /* codes of both, a scale of each value, two of each channel for 32 keys; 32 keys as they came */
    assert_int_equal(bl_kv_bytes(narrow), layers * (2 * whole(64 * heads * dim) + whole(64 * heads * 4) +
                                                    whole(2 * heads * dim * 4) + whole(32 * heads * dim * 4)));
    bl_kv_free(wide);
    bl_kv_free(narrow);
    free(want);
    free(got);
    free(plain);
    bl_model_close(p.m);
    bl_backend_close(p.be);
    fixture_close(&f);
}

/* Fewer bits are further away, with the same bits on every backend and the bytes that they say. */
static void a_cache_of_fewer_bits_is_smaller_and_further_away(void **state)
{
    bl_err e = {0};
    int32_t ids[LEN];
    double before = 0;
    (void)state;
    fixture f = fixture_open(noise, "", 2, false), p = {.ckpt = f.ckpt};
    int64_t heads = f.m->config.n_kv_heads, dim = f.m->config.head_dim, layers = f.m->config.n_layers;
    random_ids(ids, LEN, 9, f.m->config.vocab);
    float *want = alone(&f, ids, LEN);
    assert_ok(bl_backend_open(&(bl_backend_opts){.device = "cpu", .threads = 2, .isa = BL_ISA_PLAIN}, &p.be, &e));
    for (int kv = BL_KV_INT8; kv <= BL_KV_INT2; kv++) {
        bl_kv *cache;
        double far = 0;
        int64_t bits = bl_kv_bits((bl_kv_format)kv);
        f.m->kv = (bl_kv_format)kv;
        assert_ok(bl_model_open(p.ckpt, p.be, &(bl_model_opts){.kv = (bl_kv_format)kv}, &p.m, &e));
        float *got = alone(&f, ids, LEN), *plain = alone(&p, ids, LEN);
        assert_rows(got, plain, LEN, f.m->config.dim, bl_kv_formats[kv]);
        for (int64_t i = 0; i < LEN * f.m->config.dim; i++)
            far += ((double)got[i] - want[i]) * ((double)got[i] - want[i]);
        assert_true(far > 2 * before);
        before = far;
        assert_ok(bl_kv_new(f.m, 64, 1, false, (bl_kv_format)kv, &cache, &e));
        if (bits < 8)
            assert_int_equal(bl_kv_bytes(cache), layers * (2 * whole(64 * heads * ((dim * bits + 7) / 8)) +
                                                           whole(64 * heads * ((dim + 31) / 32) * 4) +
                                                           whole(2 * heads * dim * 4) + whole(32 * heads * dim * 4)));
        bl_kv_free(cache);
        free(got);
        free(plain);
        bl_model_close(p.m);
    }
    bl_ops less = *p.be->ops;
    less.kv_low = false;
    p.be->ops = &less;
    assert_refused(bl_model_open(p.ckpt, p.be, &(bl_model_opts){.kv = BL_KV_INT4}, &p.m, &e), BL_E_UNSUPPORTED,
                   "4 bits are not there on cpu; expected act or int8");
    free(want);
    bl_backend_close(p.be);
    fixture_close(&f);
}

/* Linears of one input give together what each gives alone, whether they make the same of it or not. */
static void linears_of_one_input_give_together_what_they_give_alone(void **state)
{
    static const bl_role roles[] = {BL_ROLE_Q, BL_ROLE_K, BL_ROLE_V};
    enum { ROWS = 5 };
    bl_err e = {0};
    (void)state;
    fixture f = fixture_open("synth:tiny:int8", "", 2, false);
    const bl_linear *l[3];
    bl_tensor x = fixture_tensor(&f, BL_F32, ROWS, f.m->config.dim), y[3], z[3];
    for (int64_t i = 0; i < ROWS * f.m->config.dim; i++) ((float *)x.buf->data)[i] = (float)(i * 37 % 101) / 50 - 1;
    for (int i = 0; i < 3; i++) {
        l[i] = bl_model_linear(f.m, 0, roles[i]);
        y[i] = fixture_tensor(&f, BL_F32, ROWS, l[i]->out);
        z[i] = fixture_tensor(&f, BL_F32, ROWS, l[i]->out);
    }
    for (int mode = 0; mode < 3; mode++) { /* alike, one of them with quantized activations, all of them */
        for (int i = 0; i < 3; i++)
            bl_model_linear(f.m, 0, roles[i])->act = (bl_actq){.bits = mode == 2 || (mode == 1 && i == 1) ? 8 : 0};
        assert_ok(bl_linears_apply(f.be, l, 3, x, y, &e));
        for (int i = 0; i < 3; i++) {
            assert_ok(bl_linear_apply(f.be, l[i], x, z[i], false, &e));
            float *a = host(&f, &y[i]), *b = host(&f, &z[i]);
            assert_rows(a, b, ROWS, l[i]->out, l[i]->name);
            free(a);
            free(b);
        }
    }
    for (int i = 0; i < 3; i++) {
        fixture_drop(&f, &y[i]);
        fixture_drop(&f, &z[i]);
    }
    fixture_drop(&f, &x);
    fixture_close(&f);
}

static int prepared;
static bl_status count_prepare(bl_backend *be, bl_weight *w, bl_err *e)
{
    (void)be;
    (void)e;
    w->layout = 7;
    prepared++;
    return BL_OK;
}

/* Every weight that is loaded is prepared once, except where the model is opened to be written; a weight in a layout of
 * the backend is not written as if it were in its format's. */
static void weights_are_prepared_when_they_are_loaded(void **state)
{
    bl_err e = {0};
    bl_ops counting;
    (void)state;
    fixture f = fixture_open(noise, "", 1, false);
    bl_model *m;
    counting = *f.be->ops;
    counting.prepare = count_prepare;
    f.be->ops = &counting;
    prepared = 0;
    assert_ok(bl_model_open(f.ckpt, f.be, &(bl_model_opts){.as_stored = true}, &m, &e));
    assert_int_equal(prepared, 0);
    bl_model_close(m);
    assert_ok(bl_model_open(f.ckpt, f.be, NULL, &m, &e));
    assert_int_equal(prepared, (int)m->n_linears + 1 + (m->head.weight.format != NULL));
    assert_int_equal(m->linears[0].weight.layout, 7);
    bl_model_close(m);
    fixture_close(&f);
}

/* Six pages of 16. */
static void pages_are_shared_while_they_are_known_and_the_oldest_go_first(void **state)
{
    bl_err e = {0};
    int32_t ids[LEN], other[LEN], a, b, c;
    bl_kv *kv;
    (void)state;
    fixture f = fixture_open(noise, "", 1, false);
    random_ids(ids, LEN, 2, f.m->config.vocab);
    random_ids(other, LEN, 3, f.m->config.vocab);
    memcpy(other, ids, 20 * sizeof *ids); /* alike in one page and a part of the next */
    assert_ok(bl_kv_new_paged(f.m, 90, 2, BL_KV_ACT, &kv, &e));
    assert_int_equal(bl_kv_free_pages(kv), 6);
    assert_ok(bl_kv_join(kv, ids, 50, &a, &e));
    assert_int_equal(bl_kv_len(kv, a), 0); /* nothing is known yet */
    assert_true(bl_kv_extend(kv, a, 50));
    assert_int_equal(bl_kv_free_pages(kv), 2);
    bl_kv_know(kv, a, ids, 40); /* two full pages */
    assert_ok(bl_kv_join(kv, other, 50, &b, &e));
    assert_int_equal(bl_kv_len(kv, b), 16);
    assert_int_equal(bl_kv_free_pages(kv), 2); /* the shared one is taken already */
    assert_refused(bl_kv_join(kv, ids, 1, &c, &e), BL_E_DEVMEM, "2 slots");
    assert_false(bl_kv_extend(kv, b, 49)); /* 16 + 33 positions are four pages, one is there, two are free */
    assert_true(bl_kv_extend(kv, b, 48));
    assert_int_equal(bl_kv_free_pages(kv), 0);
    bl_kv_leave(kv, b); /* not known: its own two are empty, the shared one stays with a */
    assert_int_equal(bl_kv_free_pages(kv), 2);
    bl_kv_leave(kv, a);
    assert_int_equal(bl_kv_free_pages(kv), 6);
    assert_ok(bl_kv_join(kv, ids, 31, &a, &e)); /* one less than two pages */
    assert_int_equal(bl_kv_len(kv, a), 16);
    bl_kv_leave(kv, a);
    assert_ok(bl_kv_join(kv, ids, LEN, &a, &e)); /* nobody has them, they are known still */
    assert_int_equal(bl_kv_len(kv, a), 32);
    bl_kv_leave(kv, a);
    assert_ok(bl_kv_join(kv, other + 20, 64, &b, &e));
    assert_true(bl_kv_extend(kv, b, 5 * 16)); /* four empty pages, then one of those that are known: the later */
    assert_ok(bl_kv_join(kv, ids, LEN, &a, &e));
    assert_int_equal(bl_kv_len(kv, a), 16);
    bl_kv_reset(kv);
    assert_int_equal(bl_kv_free_pages(kv), 6);
    assert_ok(bl_kv_join(kv, ids, LEN, &a, &e));
    assert_int_equal(bl_kv_len(kv, a), 0);
    bl_kv_free(kv);
    fixture_close(&f);
}

static void what_is_not_a_batch_is_refused(void **state)
{
    bl_err e = {0};
    int32_t ids[LEN], a, b;
    int64_t want[] = {0, 0};
    bl_kv *kv;
    (void)state;
    fixture f = fixture_open(noise, "", 1, false);
    bl_tensor h = fixture_tensor(&f, BL_F32, 4, f.m->config.dim);
    random_ids(ids, LEN, 2, f.m->config.vocab);
    assert_ok(bl_kv_new(f.m, 200, 3, false, BL_KV_ACT, &kv, &e));
    assert_ok(bl_kv_slot(kv, 10, -1, 0, &a, &e));
    assert_refused(bl_kv_slot(kv, 191, -1, 0, &b, &e), BL_E_DEVMEM, "holds 200 positions");
    assert_refused(bl_kv_slot(kv, 1, a, 11, &b, &e), BL_E_INTERNAL, "cannot be continued");
    assert_ok(bl_kv_slot(kv, 10, a, 5, &b, &e));
    assert_int_equal(bl_kv_len(kv, b), 5);
    const struct {
        int32_t n, past, slot;
        int64_t n_want;
        bl_status st;
        const char *phrase;
    } rows[] = {
        {11, 0, a, 1, BL_E_INTERNAL, "do not continue"}, {3, 2, a, 1, BL_E_INTERNAL, "do not continue"},
        {3, 0, 7, 1, BL_E_INTERNAL, "no slot 7"},        {3, 0, a, 2, BL_E_INTERNAL, "ascend"},
        {3, 5, b, 1, BL_E_INTERNAL, "not there yet"},
    };
    for (size_t i = 0; i < BL_COUNT(rows); i++)
        assert_refused(bl_forward(f.m,
                                  &(bl_batch){.ids = ids,
                                              .n_seq = 1,
                                              .start = (int32_t[]){0, rows[i].n},
                                              .past = &rows[i].past,
                                              .slot = &rows[i].slot,
                                              .want = want,
                                              .n_want = rows[i].n_want},
                                  kv, h, &e),
                       rows[i].st, rows[i].phrase);
    bl_kv_reset(kv);
    int32_t zero = 0;
    assert_ok(bl_kv_slot(kv, 150, -1, 0, &a, &e));
    int32_t many[97] = {0};
    assert_refused(bl_forward(f.m,
                              &(bl_batch){.ids = many,
                                          .n_seq = 1,
                                          .start = (int32_t[]){0, 97},
                                          .past = &zero,
                                          .slot = &a,
                                          .want = want,
                                          .n_want = 1},
                              kv, h, &e),
                   BL_E_UNSUPPORTED, "96 positions");
    ids[1] = 300;
    assert_refused(bl_forward(f.m,
                              &(bl_batch){.ids = ids,
                                          .n_seq = 1,
                                          .start = (int32_t[]){0, 2},
                                          .past = &zero,
                                          .slot = &a,
                                          .want = want,
                                          .n_want = 1},
                              kv, h, &e),
                   BL_E_FORMAT, "token id 300");
    bl_kv_free(kv);
    fixture_drop(&f, &h);
    fixture_close(&f);
}

/* A block is read once a call, only one is there at a time, and other weights stay as they are stored. */
static void streaming_reads_each_block_once_a_call_and_keeps_one(void **state)
{
    bl_err e = {0};
    int32_t ids[LEN];
    uint64_t empty, now, read;
    (void)state;
    fixture f = fixture_open("synth:smollm2-135m:int4", "", 2, true);
    uint64_t blocks = 0, most = 0;
    for (int64_t b = 0; b < f.m->config.n_layers; b++) {
        uint64_t block = 0;
        for (size_t i = 0; i < bl_checkpoint_count(f.ckpt); i++) {
            const bl_stored *s = bl_checkpoint_at(f.ckpt, i);
            if (s->block == b) block += bl_format_bytes(s->format, &s->shape);
        }
        blocks += block;
        most = BL_MAX(most, block);
    }
    f.be->ops->memory(f.be, &empty, NULL);
    random_ids(ids, 8, 4, f.m->config.vocab);
    read = bl_checkpoint_bytes_read(f.ckpt);
    free(alone(&f, ids, 8));
    assert_int_equal(bl_checkpoint_bytes_read(f.ckpt) - read, blocks);
    for (size_t i = 0; i < f.m->n_linears; i++) assert_false(bl_linear_resident(&f.m->linears[i]));
    f.be->ops->memory(f.be, &now, NULL);

    f.be->opts.memory_limit =
        now + most + (1 << 20); /* the buffers of a pass stay; one more block fits and a few rows of activations */
    free(alone(&f, ids, 8));
    const bl_linear *q = bl_model_linear(f.m, 3, BL_ROLE_Q);
    assert_ok(bl_block_acquire(f.m, 3, &e));
    assert_true(bl_linear_resident(q));
    assert_ok(bl_block_acquire(f.m, 3, &e));
    bl_block_release(f.m, 3);
    assert_true(bl_linear_resident(q));
    bl_block_release(f.m, 3);
    assert_false(bl_linear_resident(q));
    fixture_close(&f);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(tokens_one_by_one_give_what_a_whole_prompt_gives),
        cmocka_unit_test(a_ragged_batch_gives_what_its_sequences_give_alone),
        cmocka_unit_test(fast_and_plain_backends_agree),
        cmocka_unit_test(an_int8_cache_gives_nearly_the_same_states),
        cmocka_unit_test(a_cache_of_fewer_bits_is_smaller_and_further_away),
        cmocka_unit_test(linears_of_one_input_give_together_what_they_give_alone),
        cmocka_unit_test(weights_are_prepared_when_they_are_loaded),
        cmocka_unit_test(pages_are_shared_while_they_are_known_and_the_oldest_go_first),
        cmocka_unit_test(what_is_not_a_batch_is_refused),
        cmocka_unit_test(streaming_reads_each_block_once_a_call_and_keeps_one),
    };
    return cmocka_run_group_tests(tests, write_model, remove_model);
}
