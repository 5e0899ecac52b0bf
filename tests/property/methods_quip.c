/* What mathematics says about QuIP's rounding, and that what is turned on both sides is turned back when it runs. */
#include "method_model.h"
#include "method_run.h"
#include "methods/quip.h"

enum { OUT = 24, IN = 96, ROWS = 300 };
static bl_err e;

static float *normals(int64_t n, uint64_t seed)
{
    float *w = malloc((size_t)n * sizeof *w);
    bl_rng r = bl_rng_at(seed, bl_rng_key("methods_quip", 0), 0);
    for (int64_t i = 0; i < n; i++) w[i] = (float)bl_rng_normal(&r);
    return w;
}

static bl_tensor matrix(bl_backend *be, bl_dtype type, int64_t rows, int64_t cols)
{
    bl_buffer *b;
    assert_ok(be->ops->buffer_new(be, (uint64_t)(rows * cols) * bl_dtype_bytes(type), &b, &e));
    memset(b->data, 0, b->bytes);
    return bl_tensor_2d(b, 0, type, rows, cols);
}

/* Second moments of inputs that have much in common. */
static void moments(double *h)
{
    float *x = normals(ROWS * IN, 1);
    for (int i = 0; i < ROWS; i++)
        for (int j = 1; j < IN; j++)
            x[i * IN + j] = (0.3f + 0.02f * (float)(j * 29 % IN)) * (x[i * IN + j] + x[i * IN]);
    for (int i = 0; i < IN; i++)
        for (int j = 0; j < IN; j++) {
            h[i * IN + j] = i == j ? 0.5 : 0;
            for (int r = 0; r < ROWS; r++) h[i * IN + j] += (double)x[r * IN + i] * x[r * IN + j] / ROWS;
        }
    free(x);
}

typedef struct rounded {
    method_run m;
    bl_tensor w, h, scale, zero;
} rounded;

/* Of w on a grid of `bits` with the given step; h NULL: the identity. */
static const float *round_with(rounded *k, const float *w, const double *h, float step, int bits, bl_quip_rounding how)
{
    double damped;
    method_open(&k->m, "quip:w2", w, OUT, IN);
    k->w = matrix(k->m.be, BL_F32, OUT, IN);
    k->h = matrix(k->m.be, BL_F64, IN, IN);
    k->scale = matrix(k->m.be, BL_F32, OUT, 1);
    k->zero = matrix(k->m.be, BL_F32, OUT, 1);
    memcpy(k->w.buf->data, w, OUT * IN * sizeof *w);
    for (int i = 0; i < IN * IN; i++) ((double *)k->h.buf->data)[i] = h ? h[i] : i % (IN + 1) == 0;
    assert_ok(k->m.be->ops->fill(k->m.be, &k->scale, step, &e));
    assert_ok(k->m.be->ops->fill(k->m.be, &k->zero, ((1 << bits) - 1) / 2.0, &e));
    assert_ok(bl_quip_round(&k->m.run, k->w, k->h, k->scale, k->zero, bits, how, 6, 0, &damped, &e));
    return k->w.buf->data;
}
static void round_done(rounded *k)
{
    bl_tensor *all[] = {&k->w, &k->h, &k->scale, &k->zero};
    for (size_t i = 0; i < BL_COUNT(all); i++) k->m.be->ops->buffer_free(all[i]->buf);
    method_close(&k->m);
}

static double proxy(const double *h, const float *w, const float *v)
{
    double sum = 0;
    for (int r = 0; r < OUT; r++)
        for (int i = 0; i < IN; i++)
            for (int j = 0; j < IN; j++)
                sum += h[i * IN + j] * ((double)w[r * IN + i] - v[r * IN + i]) *
                       ((double)w[r * IN + j] - v[r * IN + j]);
    return sum;
}

/* H = (I + L) D (I + L)t, L strictly lower; then as the paper has it, in double: no inverse, no sweep. */
static void ldlq(const double *h, const float *w, double step, int bits, double *v)
{
    static double l[IN][IN];
    double q = (1 << bits) - 1, d[IN];
    for (int j = 0; j < IN; j++) {
        d[j] = h[j * IN + j];
        for (int k = 0; k < j; k++) d[j] -= l[j][k] * l[j][k] * d[k];
        for (int i = j + 1; i < IN; i++) {
            l[i][j] = h[i * IN + j];
            for (int k = 0; k < j; k++) l[i][j] -= l[i][k] * l[j][k] * d[k];
            l[i][j] /= d[j];
        }
    }
    for (int r = 0; r < OUT; r++)
        for (int i = IN - 1; i >= 0; i--) {
            double t = w[r * IN + i];
            for (int k = i + 1; k < IN; k++) t += (w[r * IN + k] - v[r * IN + k]) * l[k][i];
            double code = floor(t / step + q / 2 + 0.5);
            code = code < 0 ? 0 : code > q ? q : code;
            v[r * IN + i] = (code - q / 2) * step;
        }
}

static void linear_feedback_is_gptqs_sweep(void **state)
{
    static double h[IN * IN], want[OUT * IN];
    float *w = normals(OUT * IN, 2);
    (void)state;
    moments(h);
    for (int bits = 2; bits <= 8; bits += 3) {
        rounded k;
        float step = 8.0f / (float)(1 << bits), most = step * (float)((1 << bits) - 1) / 2;
        int differ = 0;
        for (int i = 0; i < OUT * IN; i++) w[i] = fminf(fmaxf(w[i], -most), most);
        const float *v = round_with(&k, w, h, step, bits, BL_QUIP_LDLQ);
        ldlq(h, w, step, bits, want);
        for (int i = 0; i < OUT * IN; i++) differ += fabs(v[i] - want[i]) > 1e-3 * step;
        if (differ * 500 > OUT * IN) fail_msg("%d bits: %d of %d differ", bits, differ, OUT * IN);
        round_done(&k);
    }
    free(w);
}

static void with_nothing_in_common_it_is_to_nearest(void **state)
{
    float *w = normals(OUT * IN, 3);
    rounded a, b;
    (void)state;
    const float *near = round_with(&a, w, NULL, 0.8f, 2, BL_QUIP_NEAR);
    for (int how = BL_QUIP_LDLQ; how <= BL_QUIP_ALLBAL; how++) {
        const float *v = round_with(&b, w, NULL, 0.8f, 2, (bl_quip_rounding)how);
        for (int i = 0; i < OUT * IN; i++) assert_true(fabsf(v[i] - near[i]) < 1e-5f);
        round_done(&b);
    }
    round_done(&a);
    free(w);
}

static void each_step_is_nearer_at_the_output(void **state)
{
    static double h[IN * IN];
    float *w = normals(OUT * IN, 4);
    (void)state;
    moments(h);
    for (int bits = 2; bits <= 4; bits++) {
        double loss[5];
        for (int how = BL_QUIP_NEAR; how <= BL_QUIP_ALLBAL; how++) {
            rounded k;
            loss[how] = proxy(h, w, round_with(&k, w, h, 6.0f / (float)(1 << bits), bits, (bl_quip_rounding)how));
            round_done(&k);
        }
        if (getenv("BL_SHOW")) print_message("%g %g %g %g %g\n", loss[0], loss[1], loss[2], loss[3], loss[4]);
        assert_true(loss[BL_QUIP_LDLQ] < 0.8 * loss[BL_QUIP_NEAR]);
        assert_true(loss[BL_QUIP_GREEDY] <= loss[BL_QUIP_LDLQ]);
        assert_true(loss[BL_QUIP_RG] < 0.8 * loss[BL_QUIP_NEAR] && loss[BL_QUIP_ALLBAL] < 0.8 * loss[BL_QUIP_NEAR]);
    }
    free(w);
}

/* Read back from a file: inputs and outputs are turned back, biases and residuals added where they belong. */
static void a_turned_model_runs_as_it_should(void **state)
{
    static const char *const texts[][2] = {
        {"quip:w3", "rtn:w3pc"},
        {"quip:w2", "rtn:w2pc"},
        {"quip:w3+rounding=near", "rtn:w3pc"},
        {"quip:w3+rounding=rg", "quip:w3+rounding=near"},
        {"quip:w2+rounding=greedy", "quip:w2+rounding=near"},
        {"quip:w3+incoherent=false", "quip:w3+incoherent=false+rounding=near"},
        {"quarot+quip:w3", "quarot+rtn:w3pc"},
        {"quip:w3+outputs", "rtn:w3pc"},
        {"quip:w3+incoherent=false+outputs", "quip:w3+incoherent=false+outputs+rounding=near"},
    };
    (void)state;
    for (size_t i = 0; i < BL_COUNT(texts); i++) {
        double got = model_distance(model_shared, texts[i][0]), rtn = model_distance(model_shared, texts[i][1]);
        if (!(got < rtn)) fail_msg("%s: %g; %s: %g", texts[i][0], got, texts[i][1], rtn);
    }
    fixture f;
    char out[4200];
    snprintf(out, sizeof out, "%s/out", model_dir);
    free(model_after(model_shared, "quip:w2", out));
    f = fixture_open(out, NULL, 1, false);
    for (size_t k = 0; k < f.m->n_linears; k++)
        assert_true(f.m->linears[k].n_transforms == 1 && f.m->linears[k].n_after == 2);
    bl_text notes = {0};
    bl_model_notes(f.m, &notes);
    assert_non_null(strstr(notes.s, "outputs transformed"));
    bl_text_free(&notes);
    fixture_close(&f);
    assert_ok(bl_remove_tree(out, &e));
}

/* AWQ scales inputs up and the outputs before them down. Of the inputs QuIP takes its own scales, s = (H / |W|^2)^(1/4)
 * of what comes, so that those cancel; of the outputs it does with rows of one norm, which is the rule after awq. Then
 * nothing is left of them. */
static void scales_of_a_stage_before_cancel(void **state)
{
    (void)state;
    double alone = model_distance(model_shared, "quip:w3+outputs"),
           both = model_distance(model_shared, "awq:w3g24+round=false+clip=false+quip:w3");
    if (!(fabs(both - alone) < 0.06 * alone))
        fail_msg("%g after awq, %g alone", both, alone); /* 0.102, 0.088 without it */
}

static float with_much_in_common(const void *ctx, int64_t i) { return tiny_random(ctx, i) + 0.2f; }

/* All rows have a component in common, as those of gates that are mostly shut. Hadamard matrices turn what is alike
 * everywhere into one number: unless signs come before them it stands out and is cut off. */
static void what_all_rows_share_does_not_stand_out(void **state)
{
    static const uint64_t seed[2] = {100, 101};
    const tiny t = {
        .dim = MODEL_DIM, .hidden = 160, .layers = 1, .heads = 9, .kv_heads = 3, .vocab = MODEL_VOCAB, .max_len = 128};
    char path[4200];
    (void)state;
    snprintf(path, sizeof path, "%s/common.bin", model_dir);
    tiny_write(path, &t, tiny_random, &seed[0], with_much_in_common, tiny_random, &seed[1]);
    double off = model_distance(path, "quip:w4"); /* 1.7 where it is cut off */
    if (!(off < 0.5)) fail_msg("4 bits: %g of the squares of the logits", off);
}

/* 2 bits a weight, 16 a row, 32 an input and an output. */
static void bits_are_counted_by_hand(void **state)
{
    method_run m;
    const bl_format *f;
    bl_shape g;
    (void)state;
    method_open(&m, "quip:w2", NULL, OUT, IN);
    assert_true(m.run.method->predict(&m.run, &m.lin, &f, &g));
    m.lin.weight.format = f;
    m.lin.weight.shape = g;
    assert_int_equal(bl_linear_bytes(&m.lin), OUT * IN * 2 / 8 + OUT * 2 + 4 * IN + 4 * OUT);
    m.lin.weight = (bl_weight){0};
    method_close(&m);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(linear_feedback_is_gptqs_sweep),
        cmocka_unit_test(with_nothing_in_common_it_is_to_nearest),
        cmocka_unit_test(each_step_is_nearer_at_the_output),
        cmocka_unit_test(bits_are_counted_by_hand),
        cmocka_unit_test(what_all_rows_share_does_not_stand_out),
        cmocka_unit_test(a_turned_model_runs_as_it_should),
        cmocka_unit_test(scales_of_a_stage_before_cancel),
    };
    return cmocka_run_group_tests(tests, model_begin, model_end);
}
