/* What mathematics says about ARB-LLM: rounds never raise the error, one term is the best outer product, what is stored
 * is what was rounded and counted, threads change nothing, outputs come nearer than BiLLM's. */
#include "method_model.h"
#include "methods/arb_llm.h"

enum { OUT = 20, GROUP = 32, BLOCKS = 3, IN = 80, ROUNDS = 12 }; /* a short last block */
static bl_err e;

/* Columns of sizes of their own. */
static void uneven(float *w, int64_t n, uint64_t seed)
{
    bl_rng r = bl_rng_at(seed, bl_rng_key("methods_arb_llm", 0), 0);
    for (int64_t i = 0; i < n; i++)
        w[i] = (float)(bl_rng_normal(&r) * exp(0.7 * sin(1.7 * (double)(i % IN))) * (i % IN % 9 == 4 ? 5 : 1));
}

typedef struct rounded {
    float v[OUT * IN], row[OUT * BLOCKS * BL_ARB_ROW], column[IN * BL_ARB_COLUMN];
    uint8_t salient[IN], sets[OUT * IN];
    double error[BLOCKS * BL_ARB_SETS * (ROUNDS + 1)];
} rounded;
static void round_it(rounded *k, uint64_t seed, float beside, const bl_arb *with, int threads)
{
    static float u[IN * IN];
    bl_backend *be;
    bl_arb how = *with;
    memset(k, 0, sizeof *k);
    how.sets = k->sets;
    how.error = k->error;
    uneven(k->v, OUT * IN, seed);
    for (int i = 0; i < IN * IN; i++) u[i] = i % (IN + 1) == 0 ? 1 + (float)(i % 5) / 10 : i / IN < i % IN ? beside : 0;
    assert_ok(bl_backend_open(&(bl_backend_opts){.device = "cpu", .threads = threads}, &be, &e));
    assert_ok(
        bl_arb_round(be, &(bl_rows){.out = OUT, .in = IN, .w = k->v, .u = u}, &how, k->salient, k->row, k->column, &e));
    bl_backend_close(be);
}
static const bl_arb all = {.group = GROUP, .columns = 8, .rounds = ROUNDS, .split = true, .scale = BL_F32};

static void rounds_never_raise_the_error(void **state)
{
    static rounded k;
    double before = 0, after = 0;
    (void)state;
    round_it(&k, 1, 0.02f, &all, 1);
    for (int i = 0; i < BLOCKS * BL_ARB_SETS; i++) {
        const double *error = k.error + i * (ROUNDS + 1);
        for (int r = 1; r <= ROUNDS; r++) assert_true(error[r] <= error[r - 1] * (1 + 1e-6) + 1e-9);
        before += i % BL_ARB_SETS < BL_ARB_SALIENT_SMALL ? 0 : error[0];
        after += i % BL_ARB_SETS < BL_ARB_SALIENT_SMALL ? 0 : error[ROUNDS];
    }
    assert_true(after < 0.5 * before); /* of two terms, as the authors' numbers fall */
}

/* With one set of one term the value is the best of all s r c: the squares of |w| less that of its largest singular
 * value, by the power method. */
static void one_term_is_the_best_outer_product(void **state)
{
    static rounded k;
    static float w[OUT * IN];
    (void)state;
    round_it(&k, 2, 0, &(bl_arb){.group = IN, .columns = 8, .rounds = ROUNDS, .scale = BL_F32}, 1);
    uneven(w, OUT * IN, 2);
    double x[IN], y[OUT], power = 0, error = 0, value = 0;
    for (int j = 0; j < IN; j++) x[j] = 1;
    for (int t = 0; t < 300; t++) { /* of the small set alone: its other entries are 0 */
        double n = 0;
        for (int i = 0; i < OUT; i++) {
            y[i] = 0;
            for (int j = 0; j < IN; j++) y[i] += k.sets[i * IN + j] == BL_ARB_SMALL ? fabs(w[i * IN + j]) * x[j] : 0;
        }
        for (int j = 0; j < IN; j++) {
            x[j] = 0;
            for (int i = 0; i < OUT; i++) x[j] += k.sets[i * IN + j] == BL_ARB_SMALL ? fabs(w[i * IN + j]) * y[i] : 0;
            n += x[j] * x[j];
        }
        for (int j = 0; j < IN; j++) x[j] /= sqrt(n);
    }
    for (int i = 0; i < OUT; i++) {
        double v = 0;
        for (int j = 0; j < IN; j++) v += k.sets[i * IN + j] == BL_ARB_SMALL ? fabs(w[i * IN + j]) * x[j] : 0;
        value += v * v;
    }
    for (int i = 0; i < OUT * IN; i++) {
        double d = (double)w[i] - k.v[i];
        if (k.sets[i] != BL_ARB_SMALL) continue;
        power += (double)w[i] * w[i];
        error += d * d;
    }
    /* a product that need not fit what is not there is at least as near as that of a matrix with zeros there */
    assert_true(error <= (power - value) * (1 + 1e-5));
    assert_true(fabs(error - k.error[ROUNDS]) <= 1e-5 * error);
}

static void threads_change_nothing(void **state)
{
    static rounded one, three;
    bl_arb how = all;
    (void)state;
    how.scale = BL_F16;
    round_it(&one, 3, 0.02f, &how, 1);
    round_it(&three, 3, 0.02f, &how, 3);
    assert_memory_equal(&one, &three, sizeof one);
}

static void what_is_stored_is_what_was_rounded(void **state)
{
    static rounded k;
    static uint8_t codes[OUT * IN / 4], salient[IN / 8], sets[OUT * (BLOCKS * 8 + 7) / 8];
    static float row[OUT * BLOCKS * BL_ARB_ROW];
    const bl_format *f = bl_format_find("sign_outer");
    void *part[BL_MAX_PARTS] = {codes, row, k.column, salient, sets};
    float back[IN];
    (void)state;
    for (int split = 0; split < 2; split++) {
        bl_arb how = all;
        bl_shape g = {.out = OUT, .in = IN, .group = GROUP, .scale = BL_F32, .salient = split ? how.columns : 0};
        int n = 0;
        how.split = split;
        round_it(&k, 4, 0.02f, &how, 1);
        memset(salient, 0, sizeof salient);
        for (int j = 0; j < IN; j++) salient[j / 8] |= (uint8_t)(k.salient[j] << j % 8);
        for (int j = 0; j < IN; j++) n += k.salient[j];
        assert_true(n >= BLOCKS && n <= 8 * BLOCKS);
        assert_ok(f->encode(f, &g, k.v, k.row, NULL, part, &e));
        for (int r = 0; r < OUT; r++) {
            f->unpack(f, &g, (const void *const *)part, r, 0, IN, back);
            for (int j = 0; j < IN; j++) assert_true(fabsf(back[j] - k.v[r * IN + j]) <= 1e-5f);
        }
        /* two bits a weight, one a salient column there may be; six numbers a row and block, four a column, a bit a
         * column */
        assert_int_equal(bl_format_bytes(f, &g), OUT * IN / 4 + OUT * (split ? BLOCKS * 8 / 8 : 1) +
                                                     OUT * BLOCKS * 6 * 4 + IN * 4 * 4 + IN / 8);
        memset(salient, 0xff, sizeof salient);
        if (split) {
            f->unpack(f, &g, (const void *const *)part, 0, 0, IN, back); /* out of a file: nothing is read outside */
            assert_refused(f->encode(f, &g, k.v, k.row, NULL, part, &e), BL_E_NUMERIC, "more than 8 columns");
        }
        g.salient = GROUP + 1;
        assert_refused(f->check(f, &g, &e), BL_E_CONFIG, "too many");
    }
    k.column[5] = NAN;
    bl_shape g = {.out = OUT, .in = IN, .group = GROUP, .scale = BL_F32};
    assert_refused(f->encode(f, &g, k.v, k.row, NULL, part, &e), BL_E_NUMERIC, "column 1 is not finite");
}

static void outputs_are_nearer_than_those_of_billm(void **state)
{
    double other = model_distance(model_shared, "billm:g24");
    static const char *const texts[] = {"arb-llm:g24", "arb-llm:g24+split=false"};
    (void)state;
    for (size_t i = 0; i < BL_COUNT(texts); i++) {
        double got = model_distance(model_shared, texts[i]);
        if (!(got < other)) fail_msg("%s: %g, billm %g", texts[i], got, other);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(rounds_never_raise_the_error),
        cmocka_unit_test(one_term_is_the_best_outer_product),
        cmocka_unit_test(threads_change_nothing),
        cmocka_unit_test(what_is_stored_is_what_was_rounded),
        cmocka_unit_test(outputs_are_nearer_than_those_of_billm),
    };
    return cmocka_run_group_tests(tests, model_begin, model_end);
}
