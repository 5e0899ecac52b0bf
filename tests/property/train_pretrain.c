/* A model from nothing. */
#include "test.h"
#include "harness/data/lessons.h"
#include "harness/tokenizer/tokenizer.h"
#include "harness/train/pretrain.h"
#include "kernels/base/fs.h"
#include <math.h>

static bl_tokenizer *tokenizer_of_lessons(void)
{
    bl_err e = {0};
    bl_text t = {0};
    bl_tokenizer *tok;
    bl_lesson_tokenizer(&t);
    assert_ok(bl_text_check(&t, &e));
    assert_ok(bl_tokenizer_parse(BL_TOK_JSON, (const uint8_t *)t.s, t.n, "tokenizer.json", &tok, &e));
    bl_text_free(&t);
    return tok;
}

static void a_token_is_a_character_and_gives_it_back(void **state)
{
    (void)state;
    bl_err e = {0};
    bl_tokenizer *tok = tokenizer_of_lessons();
    bl_text t = {0};
    bl_ids ids = {0};
    char *back;
    size_t n;
    assert_int_equal(bl_tokenizer_vocab(tok), BL_LESSON_TOKENS);
    assert_int_equal(bl_tokenizer_bos(tok), 0);
    for (uint64_t i = 0; i < 200; i++) {
        t.n = ids.n = 0;
        assert_ok(bl_lesson_document(1, i, &t, &e));
        assert_ok(bl_encode(tok, t.s, t.n, BL_ENCODE_BOS, &ids, &e));
        assert_int_equal(ids.n, t.n + 1);
        assert_int_equal(ids.id[0], 0);
        for (size_t k = 0; k < t.n; k++) assert_int_equal(ids.id[k + 1], bl_lesson_token(t.s[k]));
        assert_ok(bl_decode(tok, ids.id, ids.n, false, &back, &n, &e));
        assert_int_equal(n, t.n);
        assert_memory_equal(back, t.s, n);
        bl_free(back);
    }
    bl_ids_free(&ids);
    bl_text_free(&t);
    bl_tokenizer_close(tok);
}

/* Nats a token of the corpus for who knows how often each character comes and nothing else. */
static double unigram_entropy(void)
{
    bl_err e = {0};
    bl_text t = {0};
    double count[128] = {0}, all = 0, h = 0;
    for (uint64_t i = 0; i < 1000; i++) {
        t.n = 0;
        assert_ok(bl_lesson_document(0, i, &t, &e));
        for (size_t k = 0; k < t.n; k++) count[(unsigned char)t.s[k] & 127]++;
        count[0]++;
    }
    for (int c = 0; c < 128; c++) all += count[c];
    for (int c = 0; c < 128; c++)
        if (count[c] > 0) h -= count[c] / all * log(count[c] / all);
    bl_text_free(&t);
    return h;
}

typedef struct made {
    bl_backend *be;
    bl_checkpoint *c;
    bl_model *m;
    bl_trainable *t;
} made;
static made begin(uint64_t seed)
{
    bl_err e = {0};
    made k;
    assert_ok(bl_backend_open(&(bl_backend_opts){.device = "cpu", .threads = 2}, &k.be, &e));
    assert_ok(bl_checkpoint_open("synth:lessons-tiny:f32", NULL, &k.c, &e));
    assert_ok(bl_model_open(k.c, k.be, &(bl_model_opts){.as_stored = true}, &k.m, &e));
    assert_ok(bl_trainable_new(k.m, &k.t, &e));
    assert_ok(bl_train_full(k.t, &e));
    assert_ok(bl_pretrain_begin(k.t, seed, &e));
    return k;
}
static void end(made *k)
{
    bl_trainable_free(k->t);
    bl_model_close(k->m);
    bl_checkpoint_close(k->c);
    bl_backend_close(k->be);
}

static bl_trainer trainer(bl_trainable *t, bl_pretrain_texts *texts, int64_t steps)
{
    return (bl_trainer){.t = t,
                        .make = bl_pretrain_step,
                        .make_ctx = texts,
                        .batch = 5,
                        .passes = 1,
                        .steps = steps,
                        .lr = 1e-2,
                        .optimizer = {.beta1 = 0.9, .beta2 = 0.95, .eps = 1e-8, .clip = 1},
                        .schedule = {.kind = BL_SCHEDULE_COSINE, .warmup = 5, .steps = steps}};
}
static bl_status stop_at_five(void *ctx, const bl_trainer *r, bl_err *e)
{
    (void)ctx;
    return r->step == 5 ? bl_fail(e, BL_E_INTERRUPTED, "enough") : BL_OK;
}

/* Of a residual stream of small numbers the first guess is nearly uniform: ln 128 nats. */
static void learning_gets_below_what_counting_characters_gives(void **state)
{
    (void)state;
    bl_err e = {0};
    made k = begin(3);
    bl_pretrain_texts texts = {.seed = 0, .batch = 5};
    double counted = unigram_entropy();
    bl_trainer r = trainer(k.t, &texts, 120);
    assert_ok(bl_trainer_run(&r, &e));
    print_message("characters alone %.3f; first %.3f, last %.3f nats\n", counted, r.curve[0].loss, r.curve[119].loss);
    assert_int_equal(r.step, 120);
    assert_true(r.curve[0].grad_norm > 0 && r.curve[0].lr == 0); /* warm-up begins at 0 */
    assert_true(fabs(r.curve[0].loss - log(128)) < 0.1);
    assert_true(r.curve[119].loss < counted - 0.5);
    bl_trainer_end(&r);
    bl_pretrain_texts_free(&texts);
    end(&k);
}

/* Texts are numbered by step: a run that goes on reads those that it would have read. */
static void a_run_in_two_parts_is_one_run_bit_for_bit(void **state)
{
    (void)state;
    bl_err e = {0};
    const char *dir = test_dir();
    char path[4200];
    snprintf(path, sizeof path, "%s/state", dir);
    made k[3] = {begin(4), begin(4), begin(4)};
    bl_pretrain_texts texts[3] = {{.seed = 9, .batch = 5}, {.seed = 9, .batch = 5}, {.seed = 9, .batch = 5}};
    bl_trainer whole = trainer(k[0].t, &texts[0], 8), first = trainer(k[1].t, &texts[1], 8),
               rest = trainer(k[2].t, &texts[2], 8);
    assert_ok(bl_trainer_run(&whole, &e));
    first.state = rest.state = path;
    first.save_every = 5;
    first.told = stop_at_five;
    assert_int_equal(bl_trainer_run(&first, &e), BL_E_INTERRUPTED);
    assert_ok(bl_trainer_load(&rest, &e));
    assert_int_equal(rest.step, 5);
    assert_ok(bl_trainer_run(&rest, &e));
    for (int i = 0; i < 8; i++) assert_true(whole.curve[i].loss == rest.curve[i].loss);
    for (size_t p = 0; p < k[0].t->n_params; p++) {
        const bl_tensor *a = &k[0].t->param[p].value, *b = &k[2].t->param[p].value;
        assert_memory_equal((char *)a->buf->data + a->offset, (char *)b->buf->data + b->offset, bl_tensor_bytes(a));
    }
    bl_trainer_end(&whole);
    bl_trainer_end(&first);
    bl_trainer_end(&rest);
    for (int i = 0; i < 3; i++) {
        bl_pretrain_texts_free(&texts[i]);
        end(&k[i]);
    }
    assert_ok(bl_remove_tree(dir, &e));
}

static void first_weights_have_their_deviation_and_follow_from_the_seed(void **state)
{
    (void)state;
    bl_err e = {0};
    made k[3] = {begin(1), begin(1), begin(2)};
    static float x[3][64 * 192];
    const bl_role roles[] = {BL_ROLE_UP, BL_ROLE_DOWN};
    const double want[] = {0.02, 0.01}; /* two layers: divided by sqrt(4) */
    for (int r = 0; r < 2; r++) {
        double sum = 0, square = 0;
        for (int i = 0; i < 3; i++) {
            const bl_linear *l = bl_model_linear(k[i].m, 1, roles[r]);
            assert_ok(k[i].be->ops->download(k[i].be, &l->weight.part[0], x[i], &e));
        }
        assert_memory_equal(x[0], x[1], sizeof x[0]);
        assert_memory_not_equal(x[0], x[2], sizeof x[0]);
        for (int i = 0; i < 64 * 192; i++) {
            sum += x[0][i];
            square += (double)x[0][i] * x[0][i];
        }
        assert_true(fabs(sum / (64 * 192)) < 4 * want[r] / sqrt(64 * 192));
        assert_true(fabs(sqrt(square / (64 * 192)) / want[r] - 1) < 0.03);
    }
    assert_ok(k[0].be->ops->download(k[0].be, &bl_model_norm(k[0].m, 0, BL_ROLE_ATTN_NORM)->weight, x[0], &e));
    for (int i = 0; i < 64; i++) assert_true(x[0][i] == 1);
    for (int i = 0; i < 3; i++) end(&k[i]);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_token_is_a_character_and_gives_it_back),
        cmocka_unit_test(first_weights_have_their_deviation_and_follow_from_the_seed),
        cmocka_unit_test(learning_gets_below_what_counting_characters_gives),
        cmocka_unit_test(a_run_in_two_parts_is_one_run_bit_for_bit),
    };
    return cmocka_run_group_tests_name("pretraining", tests, NULL, NULL);
}
