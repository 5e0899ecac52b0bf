/* The solving ops of the CUDA backend against plain C and against what mathematics says. */
#include "gpu.h"
#include "kernels/hadamard.h"

static double *f64(bl_tensor t) { return t.buf->data; }

/* h = 2 / rows xt x of activations with channels of very different size, on both. */
static both moments(int64_t rows, int64_t n, uint64_t seed, both *x)
{
    both h = both_new(BL_F64, false, n, n);
    bl_rng r = bl_rng_at(seed, bl_rng_key("gpu_solve", 0), 0);
    *x = both_new(BL_F32, true, rows, n);
    for (int64_t i = 0; i < rows; i++) {
        float common = (float)bl_rng_normal(&r);
        for (int64_t j = 0; j < n; j++)
            both_f32(*x)[i * n + j] = ((float)bl_rng_normal(&r) + common) * (j % 17 == 3 ? 8.0f : 0.5f);
    }
    both_send(*x);
    assert_ok(cpu->ops->hessian(cpu, &(bl_hessian_args){x->c, h.c, 2.0 / (double)rows}, &e));
    assert_ok(gpu->ops->hessian(gpu, &(bl_hessian_args){x->g, h.g, 2.0 / (double)rows}, &e));
    return h;
}

static void second_moments_are_symmetric_and_close(void **state)
{
    static const int64_t sizes[][2] = {{5, 3}, {700, 65}, {1500, 128}};
    (void)state;
    BL_NEEDS_GPU;
    for (size_t k = 0; k < BL_COUNT(sizes); k++) {
        int64_t n = sizes[k][1];
        both x, h = moments(sizes[k][0], n, 1, &x);
        double *got = (double *)both_got(h), *want = f64(h.c);
        for (int64_t i = 0; i < n; i++)
            for (int64_t j = 0; j < n; j++) {
                assert_true(got[i * n + j] == got[j * n + i]);
                assert_true(fabs(got[i * n + j] - want[i * n + j]) <= 1e-6 * sqrt(want[i * n + i] * want[j * n + j]));
            }
        free(got);
        both_drop(x);
        both_drop(h);
    }
}

/* u is upper triangular and ut u h = I, which needs no other program to be true. */
static void the_factor_of_the_inverse_is_one(void **state)
{
    (void)state;
    BL_NEEDS_GPU;
    for (int64_t n = 1; n <= 200; n = 5 * n + 1)
        for (int type = BL_F32; type <= BL_F64; type += BL_F64 - BL_F32) {
            both x, h = moments(3 * n, n, 2, &x), u = both_new((bl_dtype)type, false, n, n);
            double shift = 0.01 * f64(h.c)[0], worst = 0;
            both_send(h); /* the same bits */
            assert_ok(gpu->ops->cholesky_inverse(gpu, &(bl_cholesky_inverse_args){h.g, u.g, shift}, &e));
            void *p = both_got(u);
            double *v = calloc((size_t)(n * n), sizeof *v), *a = calloc((size_t)(n * n), sizeof *a);
            for (int64_t i = 0; i < n * n; i++) v[i] = type == BL_F64 ? ((double *)p)[i] : ((float *)p)[i];
            for (int64_t i = 0; i < n; i++)
                for (int64_t j = 0; j < n; j++) {
                    if (j < i) assert_true(v[i * n + j] == 0);
                    for (int64_t k = 0; k < n; k++) a[i * n + j] += v[k * n + i] * v[k * n + j];
                }
            for (int64_t i = 0; i < n; i++)
                for (int64_t j = 0; j < n; j++) {
                    double sum = 0;
                    for (int64_t k = 0; k < n; k++) sum += a[i * n + k] * (f64(h.c)[k * n + j] + (k == j ? shift : 0));
                    worst = fmax(worst, fabs(sum - (i == j)));
                }
            if (!(worst <= (type == BL_F64 ? 1e-9 : 1e-3)))
                fail_msg("order %d: %g from the unit matrix", (int)n, worst);
            free(p);
            free(v);
            free(a);
            both_drop(x);
            both_drop(h);
            both_drop(u);
        }
    both h = both_new(BL_F64, false, 3, 3), u = both_new(BL_F32, false, 3, 3);
    for (int i = 0; i < 9; i++) f64(h.c)[i] = i % 4 == 0 ? 1 : 2;
    both_send(h);
    assert_refused(gpu->ops->cholesky_inverse(gpu, &(bl_cholesky_inverse_args){h.g, u.g, 0}, &e), BL_E_NUMERIC,
                   "not positive definite");
    f64(h.c)[4] = NAN;
    both_send(h);
    assert_refused(gpu->ops->cholesky_inverse(gpu, &(bl_cholesky_inverse_args){h.g, u.g, 0}, &e), BL_E_NUMERIC,
                   "not positive definite");
    both_drop(h);
    both_drop(u);
}

static void permutations_diagonals_forms_and_rotations(void **state)
{
    static const int64_t sizes[] = {1, 12, 64, 576, 172, 1536};
    (void)state;
    BL_NEEDS_GPU;
    for (size_t k = 0; k < BL_COUNT(sizes); k++) {
        int64_t n = sizes[k];
        both x = both_random(false, 19, n, 1, 1), y = both_new(BL_F64, false, 19, n),
             z = both_new(BL_F32, false, 19, n), s = both_flat(both_random(false, 1, n, 2, 1));
        assert_ok(cpu->ops->hadamard(cpu, &(bl_hadamard_args){.x = x.c, .y = y.c, .before = s.c}, &e));
        assert_ok(gpu->ops->hadamard(gpu, &(bl_hadamard_args){.x = x.g, .y = y.g, .before = s.g}, &e));
        double *got = (double *)both_got(y);
        for (int64_t i = 0; i < 19 * n; i++) assert_true(fabs(got[i] - f64(y.c)[i]) <= 1e-11);
        free(got);
        assert_ok(cpu->ops->hadamard(cpu, &(bl_hadamard_args){.x = x.c, .y = z.c, .transposed = true}, &e));
        assert_ok(gpu->ops->hadamard(gpu, &(bl_hadamard_args){.x = x.g, .y = z.g, .transposed = true}, &e));
        ASSERT_NEAR(z, 1e-13);
        bl_tensor ct = x.c, gt = x.g; /* along the columns, in place */
        ct.dim[0] = gt.dim[0] = n;
        ct.dim[1] = gt.dim[1] = 16;
        ct.stride[0] = gt.stride[0] = 1;
        ct.stride[1] = gt.stride[1] = n;
        assert_ok(cpu->ops->hadamard(cpu, &(bl_hadamard_args){.x = ct, .y = ct}, &e));
        assert_ok(gpu->ops->hadamard(gpu, &(bl_hadamard_args){.x = gt, .y = gt}, &e));
        ASSERT_NEAR(x, 1e-13);
        int32_t *order = malloc((size_t)n * sizeof *order), rows[] = {18, 0, 4};
        for (int64_t i = 0; i < n; i++) order[i] = (int32_t)(n - 1 - i);
        both o = both_list(BL_I32, order, n), r = both_list(BL_I32, rows, 3), p = both_new(BL_F32, false, 3, n);
        assert_ok(cpu->ops->permute(cpu, &(bl_permute_args){x.c, p.c, r.c, o.c}, &e));
        assert_ok(gpu->ops->permute(gpu, &(bl_permute_args){x.g, p.g, r.g, o.g}, &e));
        ASSERT_NEAR(p, 1e-13);
        both a, h = moments(30, n, 3, &a), d = both_flat(both_new(BL_F64, false, 1, n));
        double sums[2];
        both_send(h);
        both_send(x);
        both_send(z);
        assert_ok(cpu->ops->diagonal(cpu, &(bl_diagonal_args){h.c, d.c}, &e));
        assert_ok(gpu->ops->diagonal(gpu, &(bl_diagonal_args){h.g, d.g}, &e));
        both_equal(d);
        assert_ok(cpu->ops->quad_form(cpu, &(bl_quad_form_args){.x = x.c, .h = h.c, .sum = &sums[0]}, &e));
        assert_ok(gpu->ops->quad_form(gpu, &(bl_quad_form_args){.x = x.g, .h = h.g, .sum = &sums[1]}, &e));
        assert_true(fabs(sums[0] - sums[1]) <= 1e-11 * fabs(sums[0]));
        assert_ok(cpu->ops->quad_form(cpu, &(bl_quad_form_args){x.c, z.c, h.c, &sums[0]}, &e));
        assert_ok(gpu->ops->quad_form(gpu, &(bl_quad_form_args){x.g, z.g, h.g, &sums[1]}, &e));
        assert_true(fabs(sums[0] - sums[1]) <= 1e-11 * fabs(sums[0]));
        free(order);
        both_drop(x);
        both_drop(y);
        both_drop(z);
        both_drop(s);
        both_drop(o);
        both_drop(r);
        both_drop(p);
        both_drop(a);
        both_drop(h);
        both_drop(d);
    }
}

/* Codes, scales and loss are those of plain C but for sums in another order: few codes differ, the loss hardly. */
static void the_column_sweep_does_what_plain_c_does(void **state)
{
    enum { OUT = 37, IN = 300 };
    static const struct {
        bl_range_rule rule;
        int bits;
        bool mse, first, shuffled;
        int64_t group, block;
    } rows[] = {
        {BL_RANGE_ZERO, 4, false, false, false, 64, 128},  {BL_RANGE_SYMMETRIC, 3, true, false, false, 300, 128},
        {BL_RANGE_FULL, 2, false, true, true, 100, 64},    {BL_RANGE_CLIP, 8, true, true, false, 32, 128},
        {BL_RANGE_MINMAX, 4, false, false, false, 16, 50}, {BL_RANGE_ZERO, 4, true, false, false, 128, 256}};
    (void)state;
    BL_NEEDS_GPU;
    both x, h = moments(900, IN, 4, &x), u = both_new(BL_F32, false, IN, IN);
    assert_ok(cpu->ops->cholesky_inverse(cpu, &(bl_cholesky_inverse_args){h.c, u.c, 0.01 * f64(h.c)[0]}, &e));
    both_send(u);
    int32_t of[IN];
    for (int i = 0; i < IN; i++) of[i] = i * 7 % IN / 100;
    both groups = both_list(BL_I32, of, IN);
    for (size_t k = 0; k < BL_COUNT(rows); k++) {
        int64_t n = (IN + rows[k].group - 1) / rows[k].group;
        both w = both_random(false, OUT, IN, 5, 0.05f), s = both_new(BL_F32, false, OUT, n),
             z = both_new(BL_F32, false, OUT, n);
        double loss[2];
        bl_gptq_sweep_args a = {.w = w.c,
                                .u = u.c,
                                .group = rows[k].group,
                                .fit_first = rows[k].first,
                                .bits = rows[k].bits,
                                .rule = rows[k].rule,
                                .mse = rows[k].mse,
                                .scale_type = BL_F16,
                                .block = rows[k].block,
                                .scale = s.c,
                                .zero = z.c,
                                .loss = &loss[0]},
                           b = a;
        if (rows[k].shuffled) {
            a.group_of = groups.c;
            b.group_of = groups.g;
        }
        b.w = w.g;
        b.u = u.g;
        b.scale = s.g;
        b.zero = z.g;
        b.loss = &loss[1];
        assert_ok(cpu->ops->gptq_sweep(cpu, &a, &e));
        assert_ok(gpu->ops->gptq_sweep(gpu, &b, &e));
        float *got = both_got(w), *gs = both_got(s);
        int differ = 0, scales = 0;
        for (int i = 0; i < OUT * IN; i++) differ += fabsf(got[i] - both_f32(w)[i]) > 1e-6f;
        for (int64_t i = 0; i < OUT * n; i++) scales += gs[i] != both_f32(s)[i];
        if (fabs(loss[0] - loss[1]) > 1e-3 * loss[0] || differ > OUT * IN / 100 || scales > OUT * n / 20)
            fail_msg("row %d: loss %g and %g, %d of %d weights and %d of %d scales differ", (int)k, loss[0], loss[1],
                     differ, OUT * IN, scales, (int)(OUT * n));
        free(got);
        free(gs);
        both_drop(w);
        both_drop(s);
        both_drop(z);
    }
    both_drop(x);
    both_drop(h);
    both_drop(u);
    both_drop(groups);
}

static void scales_errors_and_clipping(void **state)
{
    enum { OUT = 19, IN = 200 };
    (void)state;
    BL_NEEDS_GPU;
    both x, h = moments(500, IN, 6, &x), w = both_random(false, OUT, IN, 7, 0.05f),
            y = both_new(BL_F32, false, OUT, IN), rows = both_flat(both_random(false, 1, OUT, 8, 1)),
            cols = both_flat(both_random(false, 1, IN, 9, 1)), act = both_random(true, OUT, IN, 10, 0.05f);
    double sums[2];
    both_send(h);
    assert_ok(cpu->ops->scale(cpu, &(bl_scale_args){w.c, y.c, rows.c, cols.c}, &e));
    assert_ok(gpu->ops->scale(gpu, &(bl_scale_args){w.g, y.g, rows.g, cols.g}, &e));
    both_equal(y);
    both narrow = both_new(BL_F32, true, OUT, IN); /* the same, rounded to the type of activations */
    assert_ok(gpu->ops->scale(gpu, &(bl_scale_args){w.g, narrow.g, rows.g, cols.g}, &e));
    float *rounded = both_got(narrow);
    for (int64_t i = 0; i < OUT * IN; i++) assert_true(rounded[i] == bl_bf16_to_f32(bl_f32_to_bf16(both_f32(y)[i])));
    free(rounded);
    both_drop(narrow);
    assert_ok(cpu->ops->scale(cpu, &(bl_scale_args){h.c, h.c, {0}, cols.c}, &e));
    assert_ok(gpu->ops->scale(gpu, &(bl_scale_args){h.g, h.g, {0}, cols.g}, &e));
    both_equal(h);
    for (int k = 0; k < 3; k++) {
        both u = k == 2 ? act : w;
        bl_tensor none = {0};
        assert_ok(cpu->ops->sq_error(cpu, &(bl_sq_error_args){.x = u.c, .y = k ? act.c : none, .sum = &sums[0]}, &e));
        assert_ok(gpu->ops->sq_error(gpu, &(bl_sq_error_args){.x = u.g, .y = k ? act.g : none, .sum = &sums[1]}, &e));
        assert_true(fabs(sums[0] - sums[1]) <= 1e-12 * sums[0] && (k == 2) == (sums[1] == 0));
    }
    both_drop(x);
    both_drop(h);
    h = moments(500, IN, 6, &x);
    both_send(h);
    for (int64_t group = 64; group <= 256; group *= 2) {
        int64_t n = (IN + group - 1) / group;
        both v = both_random(false, OUT, IN, 11, 0.05f), limit = both_new(BL_F32, false, OUT, n);
        bl_clip_search_args a = {.w = v.c,
                                 .h = h.c,
                                 .group = group,
                                 .bits = 3,
                                 .rule = BL_RANGE_CLIP,
                                 .scale_type = BL_F16,
                                 .steps = 20,
                                 .tries = 10,
                                 .limit = limit.c},
                            b = a;
        b.w = v.g;
        b.h = h.g;
        b.limit = limit.g;
        assert_ok(cpu->ops->clip_search(cpu, &a, &e));
        assert_ok(gpu->ops->clip_search(gpu, &b, &e));
        float *got = both_got(limit), *clipped = both_got(v);
        int other = 0; /* sums are in another order: two limits may change places where they are equally good */
        for (int64_t i = 0; i < OUT * n; i++) other += got[i] != both_f32(limit)[i];
        assert_true(other <= OUT * n / 20);
        for (int64_t i = 0; i < OUT * IN; i++) assert_true(fabsf(clipped[i]) <= got[i / IN * n + i % IN / group]);
        free(got);
        free(clipped);
        both_drop(v);
        both_drop(limit);
    }
    both_drop(x);
    both_drop(h);
    both_drop(w);
    both_drop(y);
    both_drop(rows);
    both_drop(cols);
    both_drop(act);
}

/* Given scales with zeros between codes, and some of the columns only, as SliM-LLM and QuIP ask for them. */
static void a_sweep_takes_given_scales_and_some_of_the_columns(void **state)
{
    enum { OUT = 21, IN = 300, GROUP = 100 };
    (void)state;
    BL_NEEDS_GPU;
    both x, h = moments(900, IN, 4, &x), u = both_new(BL_F32, false, IN, IN);
    assert_ok(cpu->ops->cholesky_inverse(cpu, &(bl_cholesky_inverse_args){h.c, u.c, 0.01 * f64(h.c)[0]}, &e));
    both_send(u);
    for (int bits = 1; bits <= 3; bits++) {
        both w = both_random(false, OUT, IN, 5, 0.05f), s = both_new(BL_F32, false, OUT, 3),
             z = both_new(BL_F32, false, OUT, 3);
        for (int i = 0; i < OUT * 3; i++) {
            both_f32(s)[i] = 0.1f / (float)bits;
            both_f32(z)[i] = 0.5f * (float)(1 << bits) - 0.3f;
        }
        both_send(s);
        both_send(z);
        double loss[2];
        bl_gptq_sweep_args a = {.w = w.c,
                                .u = u.c,
                                .group = GROUP,
                                .bits = bits,
                                .rule = BL_RANGE_GIVEN,
                                .scale_type = BL_F16,
                                .block = 64,
                                .first = GROUP,
                                .count = GROUP,
                                .scale = s.c,
                                .zero = z.c,
                                .loss = &loss[0]},
                           b = a;
        b.w = w.g;
        b.u = u.g;
        b.scale = s.g;
        b.zero = z.g;
        b.loss = &loss[1];
        assert_ok(cpu->ops->gptq_sweep(cpu, &a, &e));
        assert_ok(gpu->ops->gptq_sweep(gpu, &b, &e));
        float *got = both_got(w);
        int differ = 0;
        for (int i = 0; i < OUT * IN; i++) {
            if (i % IN < GROUP) assert_true(got[i] == both_f32(w)[i]); /* not reached */
            differ += fabsf(got[i] - both_f32(w)[i]) > 1e-5f;
        }
        if (fabs(loss[0] - loss[1]) > 1e-3 * loss[0] || differ > OUT * IN / 50)
            fail_msg("%d bits: loss %g and %g, %d of %d weights differ", bits, loss[0], loss[1], differ, OUT * IN);
        free(got);
        both_drop(w);
        both_drop(s);
        both_drop(z);
    }
    both_drop(x);
    both_drop(h);
    both_drop(u);
}

static void what_inputs_lost_is_gathered_and_folded(void **state)
{
    enum { ROWS = 700, N = 65, OUT = 70 };
    (void)state;
    BL_NEEDS_GPU;
    both x, h = moments(ROWS, N, 1, &x), x0 = both_random(true, ROWS, N, 2, 1), c = both_new(BL_F64, false, N, N),
            u = both_new(BL_F32, false, N, N), w = both_random(false, OUT, N, 3, 0.05f);
    for (int i = 0; i < ROWS * N; i++) both_f32(x0)[i] = both_f32(x)[i] + 0.1f * both_f32(x0)[i];
    both_send(x0);
    assert_ok(cpu->ops->mismatch(cpu, &(bl_mismatch_args){x0.c, x.c, c.c, 2.0 / ROWS}, &e));
    assert_ok(gpu->ops->mismatch(gpu, &(bl_mismatch_args){x0.g, x.g, c.g, 2.0 / ROWS}, &e));
    double *got = (double *)both_got(c);
    for (int i = 0; i < N; i++)
        for (int j = 0; j < N; j++)
            assert_true(fabs(got[i * N + j] - f64(c.c)[i * N + j]) <=
                        1e-5 * sqrt(f64(h.c)[i * N + i] * f64(h.c)[j * N + j]));
    free(got);
    both_send(c);
    assert_ok(cpu->ops->cholesky_inverse(cpu, &(bl_cholesky_inverse_args){h.c, u.c, 0.01 * f64(h.c)[0]}, &e));
    both_send(u);
    assert_ok(cpu->ops->mismatch_fold(cpu, &(bl_mismatch_fold_args){c.c, u.c, w.c, 0.25}, &e));
    assert_ok(gpu->ops->mismatch_fold(gpu, &(bl_mismatch_fold_args){c.g, u.g, w.g, 0.25}, &e));
    ASSERT_NEAR(u, 1e-12);
    ASSERT_NEAR(w, 1e-12);
    both_drop(x);
    both_drop(x0);
    both_drop(h);
    both_drop(c);
    both_drop(u);
    both_drop(w);
}

/* How many of the rows of two results differ by more than a part of the larger. */
static int rows_apart(both b, float part)
{
    float *got = both_got(b);
    int apart = 0;
    int64_t n = b.c.dim[1];
    for (int64_t r = 0; r < b.c.dim[0]; r++) {
        bool same = true;
        for (int64_t i = r * n; i < (r + 1) * n; i++)
            same = same && fabsf(got[i] - both_f32(b)[i]) <= part * fmaxf(fabsf(got[i]), fabsf(both_f32(b)[i]));
        apart += !same;
    }
    free(got);
    return apart;
}

/* powf of the device is not that of the processor: zeros differ in their last places. */
static void zeros_are_split_to_what_plain_c_finds(void **state)
{
    static const int64_t groups[] = {32, 40, 96};
    enum { OUT = 50, IN = 96 };
    (void)state;
    BL_NEEDS_GPU;
    for (size_t k = 0; k < BL_COUNT(groups); k++)
        for (int kind = 0; kind < 8; kind++) {
            const bool down = kind & 1, last = kind & 2, whole = kind & 4;
            int64_t n = down ? OUT * IN : IN, all = (n + groups[k] - 1) / groups[k];
            both w = both_random(false, OUT, IN, 5 + k, 0.05f), s = both_new(BL_F32, false, down ? 1 : OUT, all),
                 z = both_new(BL_F32, false, down ? 1 : OUT, all);
            int taken[2];
            bl_hqq_args a = {.w = w.c,
                             .bits = 1 + kind,
                             .group = groups[k],
                             .down = down,
                             .steps = 20,
                             .p = 0.7,
                             .beta = 10,
                             .kappa = 1.01,
                             .round_zero = whole,
                             .last = last,
                             .scale = s.c,
                             .zero = z.c,
                             .taken = &taken[0]},
                        b = a;
            b.w = w.g;
            b.scale = s.g;
            b.zero = z.g;
            b.taken = &taken[1];
            RUN(hqq, &a, &b);
            assert_int_equal(taken[0], taken[1]);
            assert_true(taken[0] > 1);
            both_equal(s);
            ASSERT_NEAR(z, 1e-8);
            b.steps = a.steps = 0;
            RUN(hqq, &a, &b);
            assert_int_equal(taken[1], 0);
            both_equal(s);
            both_equal(z);
            both_drop(w);
            both_drop(s);
            both_drop(z);
        }
}

static void ranges_are_those_that_plain_c_finds(void **state)
{
    static const int64_t sizes[][2] = {{16, 96}, {133, 128}, {70, 33}, {5, 1}};
    static const double lambda[] = {1, 3, 0.5};
    (void)state;
    BL_NEEDS_GPU;
    for (size_t k = 0; k < BL_COUNT(sizes); k++)
        for (size_t l = 0; l < BL_COUNT(lambda); l++)
            for (int bits = 2; bits <= 8; bits += 3) {
                int64_t out = sizes[k][0], n = sizes[k][1];
                both w = both_random(false, out, n, 5 + k, 0.05f), s = both_new(BL_F32, false, out, 1),
                     z = both_new(BL_F32, false, out, 1), u = both_flat(both_random(false, 1, n, 6, 1));
                if (n > 1)
                    for (int64_t i = 0; i < n; i++) both_f32(w)[i] = 0; /* a row of nothing */
                both_send(w);
                bl_range_search_args a = {.w = w.c,
                                          .u = u.c,
                                          .bits = bits,
                                          .lambda = lambda[l],
                                          .scale_type = bits == 5 ? BL_F32 : BL_F16,
                                          .scale = s.c,
                                          .zero = z.c},
                                     b = a;
                b.w = w.g;
                b.u = u.g;
                b.scale = s.g;
                b.zero = z.g;
                RUN(range_search, &a, &b);
                if (lambda[l] == 1) { /* else by powf: two ranges of nearly the same error may change places */
                    both_equal(s);
                    both_equal(z);
                }
                int apart = rows_apart(s, 0);
                if (apart > out / 50) fail_msg("%d of %d ranges differ", apart, (int)out);
                both_drop(w);
                both_drop(s);
                both_drop(z);
                both_drop(u);
            }
}

/* Only where two codes are equally near may a sum in another order change one. */
static void greedy_rounding_takes_the_codes_of_plain_c(void **state)
{
    static const int64_t sizes[][2] = {{16, 96}, {50, 300}, {3, 1}, {300, 64}};
    (void)state;
    BL_NEEDS_GPU;
    for (size_t k = 0; k < BL_COUNT(sizes); k++)
        for (int bits = 1; bits <= 4; bits++) {
            int64_t out = sizes[k][0], in = sizes[k][1];
            both x, h = moments(3 * in + 9, in, 2, &x), w = both_random(false, out, in, 5, 0.05f),
                    target = both_random(false, out, in, 7, 0.05f), s = both_new(BL_F32, false, out, 1),
                    z = both_new(BL_F32, false, out, 1);
            int32_t turn[300];
            both_send(h);
            for (int64_t i = 0; i < in; i++) turn[i] = (int32_t)(in - 1 - i);
            for (int64_t i = 0; i < out; i++) {
                both_f32(s)[i] = 0.2f / (float)(1 << bits);
                both_f32(z)[i] = 0.5f * (float)(1 << bits) - 0.3f;
            }
            both_send(s);
            both_send(z);
            both order = both_list(BL_I32, turn, in);
            bl_greedy_args a = {.w = w.c,
                                .target = target.c,
                                .h = h.c,
                                .order = order.c,
                                .scale = s.c,
                                .zero = z.c,
                                .bits = bits,
                                .passes = 3},
                           b = {.w = w.g,
                                .target = target.g,
                                .h = h.g,
                                .order = order.g,
                                .scale = s.g,
                                .zero = z.g,
                                .bits = bits,
                                .passes = 3};
            RUN(greedy, &a, &b);
            int apart = rows_apart(w, 0);
            if (apart) fail_msg("%d bits: %d of %d rows differ", bits, apart, (int)out);
            turn[0] = (int32_t)in;
            assert_ok(gpu->ops->upload(gpu, &order.g, turn, &e));
            assert_refused(gpu->ops->greedy(gpu, &b, &e), BL_E_INTERNAL, "a column is out of range");
            both_send(order);
            f64(h.c)[0] = 0;
            both_send(h);
            assert_refused(gpu->ops->greedy(gpu, &b, &e), BL_E_NUMERIC, "second moment of input 0 is 0");
            both_drop(x);
            both_drop(h);
            both_drop(w);
            both_drop(s);
            both_drop(z);
            both_drop(target);
            both_drop(order);
        }
}

static void twice(void *ctx, int64_t i) { ((int64_t *)ctx)[i] = 2 * i; }
static void pieces_of_the_host_are_done_there(void **state)
{
    int64_t done[5] = {0};
    (void)state;
    BL_NEEDS_GPU;
    assert_ok(gpu->ops->each(gpu, &(bl_each_args){.n = 5, .piece = twice, .ctx = done}, &e));
    for (int i = 0; i < 5; i++) assert_int_equal(done[i], 2 * i);
}

static void blocks_that_are_too_wide_are_refused(void **state)
{
    enum { OUT = 2, IN = 300 };
    (void)state;
    BL_NEEDS_GPU;
    both w = both_random(false, OUT, IN, 2, 1), u = both_random(false, IN, IN, 3, 1),
         s = both_new(BL_F32, false, OUT, 1);
    bl_gptq_sweep_args a = {.w = w.g,
                            .u = u.g,
                            .group = IN,
                            .bits = 4,
                            .rule = BL_RANGE_ZERO,
                            .scale_type = BL_F16,
                            .block = IN,
                            .scale = s.g,
                            .zero = s.g};
    assert_refused(gpu->ops->gptq_sweep(gpu, &a, &e), BL_E_UNSUPPORTED, "blocks of 300 columns; at most 256");
    both_drop(w);
    both_drop(u);
    both_drop(s);
}

/* Formats of every width, groups that end short, scales of every type, ranks, with and without weights of rows and
 * columns; one weight on the other side of a rounding is some 1e-4 of these few. */
static void a_pass_of_a_decomposition_is_plain_cs(void **state)
{
    static const char *const formats[] = {"nf2_lq", "nf3_lq", "nf4_lq"};
    static const bl_dtype scales[] = {BL_F32, BL_F16, BL_BF16};
    static const int64_t sides[][2] = {{7, 30}, {130, 96}, {64, 520}};
    (void)state;
    BL_NEEDS_GPU;
    for (size_t f = 0; f < BL_COUNT(formats) + 1; f++)
        for (size_t k = 0; k < BL_COUNT(sides); k++) {
            const int64_t out = sides[k][0], in = sides[k][1], rank = k == 0 ? 0 : 5, wide = 6;
            const bool weighted = (f + k) % 2;
            const bl_tensor none = {0};
            both w = both_random(false, out, in, 1, 1), a = both_random(false, BL_MAX(rank, 1), in, 2, 0.1f),
                 b = both_random(false, out, BL_MAX(rank, 1), 3, 1), i = both_random(false, out, in, 4, 1),
                 rows = both_flat(both_random(false, 1, out, 5, 1)), cols = both_flat(both_random(false, 1, in, 6, 1)),
                 x = both_random(false, wide, in, 7, 1), y = both_new(BL_F32, false, wide, out),
                 back = both_new(BL_F32, false, wide, in), left = both_new(BL_F32, false, out, in);
            double lost[2];
            for (int64_t j = 0; j < out * in; j++) both_f32(i)[j] = fabsf(both_f32(i)[j]);
            both_send(i);
            for (int there = 0; there < 2; there++) {
                bl_backend *be = there ? gpu : cpu;
#define AT(v) (there ? (v).g : (v).c)
                bl_split_pass_args p = {.w = AT(w),
                                        .a = rank ? AT(a) : none,
                                        .b = rank ? AT(b) : none,
                                        .format = f < BL_COUNT(formats) ? bl_format_find(formats[f]) : NULL,
                                        .shape = {.out = out,
                                                  .in = in,
                                                  .group = k == 1 ? 64 : 16,
                                                  .scale = scales[(f + k) % 3],
                                                  .scale_bits = 2 + (int)(f + k) % 3 * 3,
                                                  .scale_group = k == 2 ? 64 : 16},
                                        .importance = weighted ? AT(i) : none,
                                        .rows = weighted ? AT(rows) : none,
                                        .cols = weighted ? AT(cols) : none,
                                        .x = AT(x),
                                        .y = AT(y),
                                        .left = AT(left),
                                        .cost = &lost[there]};
                assert_ok(be->ops->split_pass(be, &p, &e));
                p.x = AT(y), p.y = AT(back), p.back = true, p.cost = NULL, p.left = none;
                assert_ok(be->ops->split_pass(be, &p, &e));
#undef AT
            }
            ASSERT_NEAR(left, 1e-12);
            ASSERT_NEAR(y, 1e-4);
            ASSERT_NEAR(back, 1e-4);
            assert_true(fabs(lost[1] - lost[0]) <= 1e-3 * lost[0]);
            both all[] = {w, a, b, i, rows, cols, x, y, back, left};
            for (size_t j = 0; j < BL_COUNT(all); j++) both_drop(all[j]);
        }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(second_moments_are_symmetric_and_close),
        cmocka_unit_test(the_factor_of_the_inverse_is_one),
        cmocka_unit_test(permutations_diagonals_forms_and_rotations),
        cmocka_unit_test(the_column_sweep_does_what_plain_c_does),
        cmocka_unit_test(scales_errors_and_clipping),
        cmocka_unit_test(a_sweep_takes_given_scales_and_some_of_the_columns),
        cmocka_unit_test(what_inputs_lost_is_gathered_and_folded),
        cmocka_unit_test(zeros_are_split_to_what_plain_c_finds),
        cmocka_unit_test(ranges_are_those_that_plain_c_finds),
        cmocka_unit_test(greedy_rounding_takes_the_codes_of_plain_c),
        cmocka_unit_test(pieces_of_the_host_are_done_there),
        cmocka_unit_test(blocks_that_are_too_wide_are_refused),
        cmocka_unit_test(a_pass_of_a_decomposition_is_plain_cs),
    };
    return gpu_run_tests("gpu_solve", tests);
}
