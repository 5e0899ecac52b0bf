/* Ops on rows and logits, on every backend of a CPU and on the reference: examples small enough for paper, refusals,
 * equal bits. */
#include "ops_fixture.h"

/* ---- rows ---- */
static void norm_divides_by_the_root_mean_square(void **state)
{
    bl_tensor x = with(1, 2, (float[]){3, 4}), w = with(1, 2, (float[]){1, 2}), y = make(BL_F32, 1, 2);
    (void)state;
    EACH(be)
    { /* sqrt((9 + 16) / 2) = 3.5355 */
        assert_ok(be->ops->rmsnorm(be, &(bl_rmsnorm_args){x, flat(w), y, 0}, &e));
        assert_true(fabs(f32(y)[0] - 3 / 3.5355339) < 1e-6 && fabs(f32(y)[1] - 8 / 3.5355339) < 1e-6);
    }
    drop(x);
    drop(w);
    drop(y);
}

static void layernorm_and_gelu_follow_their_formulas(void **state)
{
    bl_tensor x = with(2, 4, (float[]){1, 3, 5, 7, 2, 2, 2, 2}), w = with(1, 4, (float[]){1, 1, 2, 1}),
              b = with(1, 4, (float[]){0, 10, 0, 0}), y = make(BL_F32, 2, 4), g = with(1, 4, (float[]){0, 1, -2, 30});
    (void)state;
    EACH(be)
    { /* mean 4, variance 5 */
        assert_ok(be->ops->layernorm(be, &(bl_layernorm_args){x, flat(w), flat(b), y, 0.0001}, &e));
        const double want[] = {-3 / 2.23609034, 10 - 1 / 2.23609034, 2 / 2.23609034, 3 / 2.23609034, 0, 10, 0, 0};
        for (int i = 0; i < 8; i++) assert_true(fabs(f32(y)[i] - want[i]) < 1e-6);
        bl_tensor to = with(1, 4, (float[]){9, 9, 9, 9});
        assert_ok(be->ops->gelu(be, &(bl_gelu_args){g, to}, &e)); /* x times the normal distribution's share below it */
        const double gelu[] = {0, 0.8413447461, -2 * 0.0227501319, 30};
        for (int i = 0; i < 4; i++) assert_true(fabs(f32(to)[i] - gelu[i]) < 1e-6);
        assert_refused(be->ops->layernorm(be, &(bl_layernorm_args){x, flat(g), flat(to), to, 0}, &e), BL_E_INTERNAL,
                       "layernorm: shapes");
        assert_refused(be->ops->gelu(be, &(bl_gelu_args){x, to}, &e), BL_E_INTERNAL, "gelu: shapes");
        drop(to);
    }
    drop(x);
    drop(w);
    drop(b);
    drop(y);
    drop(g);
}

static void rope_turns_pairs_that_are_half_a_head_apart(void **state)
{
    bl_tensor c = with(2, 2, (float[]){1, 1, 0, 1}), s = with(2, 2, (float[]){0, 0, 1, 0});
    bl_tensor pos = I32(1, 0), wrong = I32(2, 0);
    (void)state;
    EACH(be)
    { /* at position 1 a quarter turn of the first pair */
        bl_tensor x = with(2, 4, (float[]){1, 2, 3, 4, 5, 6, 7, 8});
        assert_ok(be->ops->rope(be, &(bl_rope_args){x, 4, pos, c, s}, &e));
        assert_memory_equal(x.buf->data, ((float[]){-3, 2, 1, 4, 5, 6, 7, 8}), 32);
        assert_refused(be->ops->rope(be, &(bl_rope_args){x, 4, wrong, c, s}, &e), BL_E_INTERNAL,
                       "position 2 is not in 0..1");
        drop(x);
    }
    drop(c);
    drop(s);
}

static void gate_and_add_follow_their_formulas(void **state)
{
    bl_tensor g = with(1, 3, (float[]){0, 1, -200}), u = with(1, 3, (float[]){5, 2, 3}), y = make(BL_F32, 1, 3);
    (void)state;
    EACH(be)
    {
        assert_ok(be->ops->swiglu(be, &(bl_swiglu_args){g, u, y}, &e));
        assert_true(f32(y)[0] == 0 && fabs(f32(y)[1] - 2 * 0.7310585786) < 1e-6 && fabs(f32(y)[2]) < 1e-30);
        assert_ok(be->ops->add(be, &(bl_add_args){u, y}, &e));
        assert_true(f32(y)[0] == 5 && f32(y)[2] == 3);
    }
    drop(g);
    drop(u);
    drop(y);
}

static void rows_are_gathered_and_scattered(void **state)
{
    bl_tensor src = with(3, 2, (float[]){1, 2, 3, 4, 5, 6});
    (void)state;
    EACH(be)
    {
        bl_tensor dst = make(BL_F32, 4, 2);
        bl_tensor from = I64(2, 0), to = I64(0, 3), wrong = I64(0, 4), none = {0};
        assert_ok(be->ops->gather(be, &(bl_gather_args){src, dst, from, to, 2}, &e));
        assert_memory_equal(dst.buf->data, ((float[]){5, 6, 0, 0, 0, 0, 1, 2}), 32);
        assert_ok(be->ops->gather(be, &(bl_gather_args){src, dst, none, none, 1}, &e));
        assert_true(f32(dst)[0] == 1);
        assert_refused(be->ops->gather(be, &(bl_gather_args){src, dst, from, wrong, 2}, &e), BL_E_INTERNAL,
                       "out of range");
        assert_refused(be->ops->gather(be, &(bl_gather_args){src, dst, none, none, 4}, &e), BL_E_INTERNAL, "too short");
        assert_refused(be->ops->gather(be, &(bl_gather_args){src, dst, I32(2, 0), to, 2}, &e), BL_E_INTERNAL,
                       "another type");
        drop(dst);
    }
    drop(src);
}

static void embed_unpacks_the_rows_of_the_ids(void **state)
{
    const bl_format *f = bl_format_find("int8");
    bl_shape g = {.out = 5, .in = 64, .group = 32, .zero = BL_ZERO_PACKED, .scale = BL_F16};
    bl_tensor dense = random_f32(5, 64, 1, 1), y = make(BL_F32, 3, 64), all = make(BL_F32, 5, 64);
    bl_tensor ids = I32(4, 0, 4), wrong = I32(4, 5, 0);
    bl_weight w;
    double d2, x2;
    (void)state;
    EACH(be)
    {
        assert_ok(bl_weight_new(be, f, &g, &w, &e));
        assert_ok(be->ops->pack(be, &(bl_pack_args){.x = dense, .w = &w, .sq_error = &d2, .sq_weight = &x2}, &e));
        assert_true(d2 > 0 && d2 / x2 < 1e-4);
        assert_ok(be->ops->unpack(be, &(bl_unpack_args){&w, 0, 5, all}, &e));
        assert_ok(be->ops->embed(be, &(bl_embed_args){&w, ids, y}, &e));
        for (int r = 0; r < 3; r++) assert_memory_equal(f32(y) + 64 * r, f32(all) + 64 * i32(ids)[r], 256);
        assert_refused(be->ops->embed(be, &(bl_embed_args){&w, wrong, y}, &e), BL_E_INTERNAL,
                       "token id 5 is not in 0..4");
        bl_weight_free(&w);
    }
    drop(dense);
    drop(y);
    drop(all);
}

static void packing_does_not_depend_on_threads_and_says_what_it_lost(void **state)
{
    enum { OUT = 150, IN = 172 };
    const bl_format *f;
    bl_tensor dense = random_f32(OUT, IN, 3, 1);
    (void)state;
    for (size_t i = 0; (f = bl_format_at(i)) != NULL; i++) {
        bl_shape g = {.out = OUT, .in = IN, .scale = BL_F16};
        bl_weight w[2];
        double d2[2], x2[2];
        if (f->kind == BL_FMT_INT || f->kind == BL_FMT_TABLE) g.group = 64;
        if (f->kind == BL_FMT_TABLE) g.double_quant = i % 2;
        if (!f->pack || f->check(f, &g, NULL) != BL_OK) continue;
        for (int b = 0; b < 2; b++) {
            assert_ok(bl_weight_new(backends[b], f, &g, &w[b], &e));
            memset(w[b].owned->data, 0, w[b].owned->bytes);
            assert_ok(backends[b]->ops->pack(
                backends[b], &(bl_pack_args){.x = dense, .w = &w[b], .sq_error = &d2[b], .sq_weight = &x2[b]}, &e));
        }
        assert_memory_equal(w[0].owned->data, w[1].owned->data, w[0].owned->bytes);
        assert_true(d2[0] == d2[1] && x2[0] == x2[1] && x2[0] > 0);
        bl_weight_free(&w[0]);
        bl_weight_free(&w[1]);
    }
    drop(dense);
}

static void a_weight_that_is_not_finite_is_refused_with_its_place(void **state)
{
    const bl_format *f = bl_format_find("int4");
    bl_shape g = {.out = 200, .in = 64, .group = 64, .scale = BL_F16};
    bl_tensor dense = random_f32(200, 64, 3, 1);
    bl_weight w;
    (void)state;
    f32(dense)[130 * 64 + 7] = INFINITY;
    EACH(be)
    {
        assert_ok(bl_weight_new(be, f, &g, &w, &e));
        bl_status st = be->ops->pack(be, &(bl_pack_args){.x = dense, .w = &w}, &e);
        assert_true(st != BL_OK);
        assert_non_null(strstr(e.text, "row 130"));
        bl_weight_free(&w);
    }
    drop(dense);
}

static void fast_rows_have_the_bits_of_the_reference(void **state)
{
    enum { ROWS = 7, DIM = 91 };
    bl_tensor x = random_f32(ROWS, DIM, 1, 100), u = random_f32(ROWS, DIM, 2, 1), w = random_f32(1, DIM, 3, 1),
              y = make(BL_F32, ROWS, DIM), z = make(BL_F32, ROWS, DIM);
    bl_tensor c = random_f32(9, 13, 4, 1), s = random_f32(9, 13, 5, 1), r = random_f32(ROWS, 78, 6, 1),
              t = make(BL_F32, ROWS, 78);
    bl_tensor pos = I32(0, 8, 3, 3, 1, 2, 5);
    (void)state;
    for (int b = 0; b < 2; b++) {
        bl_tensor to = b ? z : y, turned = b ? t : r;
        if (b == 0) memcpy(t.buf->data, r.buf->data, r.buf->bytes);
        assert_ok(backends[b]->ops->swiglu(backends[b], &(bl_swiglu_args){x, u, to}, &e));
        assert_ok(backends[b]->ops->add(backends[b], &(bl_add_args){x, to}, &e));
        assert_ok(backends[b]->ops->rmsnorm(backends[b], &(bl_rmsnorm_args){to, flat(w), to, 1e-5}, &e));
        assert_ok(backends[b]->ops->rope(backends[b], &(bl_rope_args){turned, 26, pos, c, s}, &e));
    }
    assert_equal_bits(y, z);
    assert_equal_bits(r, t);
    drop(x);
    drop(u);
    drop(w);
    drop(y);
    drop(z);
    drop(c);
    drop(s);
    drop(r);
    drop(t);
}

static void the_exponential_is_within_one_unit_in_the_last_place(void **state)
{
    union {
        float f;
        uint32_t u;
    } v;
    (void)state;
    for (int sign = 0; sign < 2; sign++)
        for (v.f = 0; v.f < 88; v.u += 10007) {
            float x = sign ? -v.f : v.f, y = bl_exp(x);
            double want = exp((double)x), unit = (double)nextafterf((float)want, INFINITY) - (double)(float)want;
            if (x >= BL_EXP_LOW && fabs(y - want) > unit)
                fail_msg("e^%.9g = %.9g, wanted %.9g", (double)x, (double)y, want);
        }
    assert_true(bl_exp(0) == 1 && bl_exp(-0.0f) == 1 && bl_exp(-INFINITY) == 0 && bl_exp(-100) == 0 &&
                isnan(bl_exp(NAN)));
    assert_true(bl_exp(INFINITY) == bl_exp(88) && isfinite(bl_exp(88)));
}

/* ---- logits ---- */
static void loss_is_the_negative_log_of_the_softmax(void **state)
{
    bl_tensor l = with(3, 4, (float[]){0, 0, 0, 99, 1, 3, 3, 99, 0, NAN, 0, 99}), nll = make(BL_F64, 1, 3),
              top = make(BL_I32, 1, 3);
    bl_tensor target = I32(1, -1, 0);
    (void)state;
    EACH(be)
    { /* the fourth column is padding */
        assert_ok(be->ops->loss(
            be, &(bl_loss_args){.logits = l, .vocab = 3, .target = target, .nll = nll, .argmax = top}, &e));
        assert_true(fabs(f64(nll)[0] - log(3)) < 1e-7 && f64(nll)[1] == 0 && isnan(f64(nll)[2]));
        assert_true(i32(top)[0] == 0 && i32(top)[1] == 1); /* first of equals */
        assert_refused(be->ops->loss(be, &(bl_loss_args){.logits = l, .vocab = 5, .nll = nll}, &e), BL_E_INTERNAL,
                       "vocab");
        bl_loss_args wrong = {.logits = l, .vocab = 3, .target = I32(1, 3, 0), .nll = nll};
        assert_refused(be->ops->loss(be, &wrong, &e), BL_E_INTERNAL, "a target is out of range");
    }
    drop(l);
    drop(nll);
    drop(top);
}

static void fast_losses_have_the_bits_of_the_reference(void **state)
{
    enum { ROWS = 5, VOCAB = 1003 };
    bl_tensor p = random_f32(ROWS, VOCAB + 5, 1, 20), q = random_f32(ROWS, VOCAB + 5, 2, 20), d[2][3], i[2][2];
    const int32_t target[] = {0, 1002, 500, 7, 9};
    bl_tensor targets = VIEW_OF(target, BL_I32, ROWS);
    (void)state;
    memcpy(f32(q), f32(p), (VOCAB + 5) * 4); /* the first row is the same in both */
    for (int b = 0; b < 2; b++) {
        for (int n = 0; n < 3; n++) d[b][n] = make(BL_F64, 1, ROWS);
        for (int n = 0; n < 2; n++) i[b][n] = make(BL_I32, 1, ROWS);
        assert_ok(backends[b]->ops->loss(backends[b], &(bl_loss_args){p, VOCAB, targets, d[b][0], i[b][0]}, &e));
        assert_ok(backends[b]->ops->kl_div(backends[b],
                                           &(bl_kl_div_args){p, q, VOCAB, targets, d[b][1], d[b][2], i[b][1], 0}, &e));
    }
    for (int n = 0; n < 3; n++) assert_equal_bits(d[0][n], d[1][n]);
    for (int n = 0; n < 2; n++) assert_equal_bits(i[0][n], i[1][n]);
    assert_true(f64(d[0][1])[0] == 0 && f64(d[0][2])[0] == 0 && i32(i[0][1])[0] == 1);
    for (int r = 1; r < ROWS; r++) { /* against libm in double */
        double zp = 0, zq = 0, kl = 0;
        const float *a = f32(p) + r * (VOCAB + 5), *b = f32(q) + r * (VOCAB + 5);
        for (int k = 0; k < VOCAB; k++) {
            zp += exp(a[k]);
            zq += exp(b[k]);
        }
        for (int k = 0; k < VOCAB; k++) kl += exp(a[k]) / zp * (a[k] - log(zp) - b[k] + log(zq));
        assert_true(fabs(f64(d[0][1])[r] - kl) < 1e-6 * kl);
        assert_true(fabs(f64(d[0][0])[r] - (log(zp) - a[target[r]])) < 1e-6);
        assert_true(fabs(f64(d[0][2])[r] - (exp(b[target[r]]) / zq - exp(a[target[r]]) / zp)) < 1e-7);
    }
    for (int b = 0; b < 2; b++) {
        for (int n = 0; n < 3; n++) drop(d[b][n]);
        for (int n = 0; n < 2; n++) drop(i[b][n]);
    }
    drop(p);
    drop(q);
}

static void samples_follow_temperature_and_top_p(void **state)
{
    /* probabilities 1/2, 1/4, 1/8, 1/8 in the order 1, 3, 0, 2 */
    float x[] = {logf(1), logf(4), logf(1), logf(2)};
    bl_tensor l = with(1, 4, x), ids = make(BL_I32, 1, 1);
    static const struct {
        double temperature, top_p, u;
        int32_t want;
    } row[] = {
        {0, 0, 0.99, 1},   {1, 0, 0.01, 0},   {1, 0, 0.2, 1},     {1, 1, 0.7, 2},     {1, 0, 0.99, 3},
        {1, 0.7, 0.66, 1}, {1, 0.7, 0.67, 3}, {1, 0.7, 0.999, 3}, {1, 0.3, 0.999, 1}, {0.01, 0, 0.5, 1},
    };
    (void)state;
    EACH(be)
    for (size_t i = 0; i < BL_COUNT(row); i++) {
        assert_ok(
            be->ops->sample(be, &(bl_sample_args){l, 4, row[i].temperature, row[i].top_p, F64(row[i].u), ids}, &e));
        if (i32(ids)[0] != row[i].want) fail_msg("row %zu: %d, wanted %d", i, (int)i32(ids)[0], (int)row[i].want);
    }
    drop(l);
    drop(ids);
}

/* The share of the most likely ones, the first of equal ones before the others, found here one by one. */
static void samples_of_many_follow_the_order_of_their_probabilities(void **state)
{
    enum { VOCAB = 1000, DRAWS = 40 };
    const double top_p = 0.6;
    double p[VOCAB], sum = 0, share = 0;
    int order[VOCAB], n = 0;
    bool taken[VOCAB] = {false};
    bl_tensor l = make(BL_F32, 1, VOCAB), ids = make(BL_I32, 1, 1);
    (void)state;
    for (int i = 0; i < VOCAB; i++) f32(l)[i] = (float)(i * 7919 % 97) / 16; /* each about ten times */
    for (int i = 0; i < VOCAB; i++) sum += p[i] = exp((double)f32(l)[i] - 96.0 / 16);
    while (share < top_p * sum) {
        int best = -1;
        for (int i = 0; i < VOCAB; i++)
            if (!taken[i] && (best < 0 || p[i] > p[best])) best = i;
        taken[order[n++] = best] = true;
        share += p[best];
    }
    assert_true(n > 50 && n < VOCAB / 2);
    EACH(be)
    for (int d = 0; d < DRAWS; d++) {
        const double u = (d + 0.5) / DRAWS;
        double at = 0;
        int want = 0;
        while ((at += p[order[want]]) <= u * share) want++;
        assert_ok(be->ops->sample(be, &(bl_sample_args){l, VOCAB, 1, top_p, F64(u), ids}, &e));
        assert_int_equal(i32(ids)[0], order[want]);
    }
    drop(l);
    drop(ids);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(norm_divides_by_the_root_mean_square),
        cmocka_unit_test(layernorm_and_gelu_follow_their_formulas),
        cmocka_unit_test(rope_turns_pairs_that_are_half_a_head_apart),
        cmocka_unit_test(gate_and_add_follow_their_formulas),
        cmocka_unit_test(rows_are_gathered_and_scattered),
        cmocka_unit_test(embed_unpacks_the_rows_of_the_ids),
        cmocka_unit_test(packing_does_not_depend_on_threads_and_says_what_it_lost),
        cmocka_unit_test(a_weight_that_is_not_finite_is_refused_with_its_place),
        cmocka_unit_test(loss_is_the_negative_log_of_the_softmax),
        cmocka_unit_test(fast_losses_have_the_bits_of_the_reference),
        cmocka_unit_test(samples_follow_temperature_and_top_p),
        cmocka_unit_test(samples_of_many_follow_the_order_of_their_probabilities),
        cmocka_unit_test(fast_rows_have_the_bits_of_the_reference),
        cmocka_unit_test(the_exponential_is_within_one_unit_in_the_last_place),
    };
    return cmocka_run_group_tests(tests, ops_open, ops_close);
}
