/* Weights within learned ranges, as the largest says and as two planes, rounded activations and scaled weights: values
 * by hand, gradients against central differences of the same mathematics in double with every rounding held fixed. */
#include "test.h"
#include "kernels/base/rng.h"
#include "kernels/cpu/cpu.h"

static bl_err e;
static bl_backend *backends[2]; /* fast, reference */
#define EACH(be)          for (bl_backend * be, **at_ = backends; at_ < backends + 2 && (be = *at_) != NULL; at_++)
#define F2(p, rows, cols) bl_tensor_2d(&(bl_buffer){.data = (p)}, 0, BL_F32, rows, cols)
#define F1(p, n)          bl_tensor_1d(&(bl_buffer){.data = (p)}, 0, BL_F32, n)

static int set_up(void **state)
{
    (void)state;
    return bl_backend_open(&(bl_backend_opts){.device = "cpu", .threads = 2}, &backends[0], &e) != BL_OK ||
           bl_backend_open(&(bl_backend_opts){.reference = true}, &backends[1], &e) != BL_OK;
}
static int tear_down(void **state)
{
    (void)state;
    for (int i = 0; i < 2; i++) bl_backend_close(backends[i]);
    return 0;
}

static void fill(float *x, int64_t n, float by, uint64_t seed)
{
    bl_rng r = bl_rng_at(11, seed, 0);
    for (int64_t i = 0; i < n; i++) x[i] = by * (float)(bl_rng_uniform(&r) * 2 - 1);
}

enum { ROWS = 2, IN = 11, GROUP = 4, GROUPS = 3, N = ROWS * IN, S = ROWS * GROUPS, ALL = N + 2 * S };
static int64_t group_at(int k) { return k / IN * GROUPS + k % IN / GROUP; }

/* ---- ranges ---- */
static double c_residual[N], c_zero[S]; /* round(w / s) - w / s, the zero */
static int c_clipped[N];
static double c_scale(const double *x, int64_t g)
{
    double lo = 0, hi = 0;
    for (int k = 0; k < N; k++) {
        lo = group_at(k) == g ? fmin(lo, x[k]) : lo;
        hi = group_at(k) == g ? fmax(hi, x[k]) : hi;
    }
    return (hi / (1 + exp(-x[N + g])) - lo / (1 + exp(-x[N + S + g]))) / 7;
}
static double c_lo(const double *x, int64_t g)
{
    double lo = 0;
    for (int k = 0; k < N; k++) lo = group_at(k) == g ? fmin(lo, x[k]) : lo;
    return lo / (1 + exp(-x[N + S + g]));
}
static void clipped(const double *x, double *y)
{
    for (int k = 0; k < N; k++) {
        const int64_t g = group_at(k);
        const double s = c_scale(x, g), v = x[k] / s + c_residual[k];
        y[k] = s * (c_clipped[k] ? (c_clipped[k] < 0 ? 0 : 7) - c_zero[g] : v);
    }
}
static void ranges_have_the_gradient_of_what_opens_them_and_of_their_ends(void **state)
{
    (void)state;
    const bl_grid grid = {.kind = BL_GRID_CLIP, .bits = 3, .group = GROUP};
    float x[ALL], dy[N];
    double at[ALL], made[N];
    int cut = 0;
    fill(x, N, 1.5f, 1);
    fill(x + N, 2 * S, 1.2f, 2); /* sigmoids around a half: much is cut off */
    fill(dy, N, 1, 3);
    for (int i = 0; i < ALL; i++) at[i] = x[i];
    for (int64_t g = 0; g < S; g++) c_zero[g] = rint(-c_lo(at, g) / c_scale(at, g));
    for (int k = 0; k < N; k++) {
        const double v = at[k] / c_scale(at, group_at(k)), code = rint(v) + c_zero[group_at(k)];
        c_residual[k] = rint(v) - v;
        c_clipped[k] = code < 0 ? -1 : code > 7;
        cut += c_clipped[k] != 0;
    }
    clipped(at, made);
    assert_true(cut > 3 && cut < N - 3);
    EACH(be)
    {
        float y[N], g[ALL] = {0};
        const bl_tensor w = F2(x, ROWS, IN), scale = F2(x + N, ROWS, GROUPS), offset = F2(x + N + S, ROWS, GROUPS);
        assert_ok(be->ops->grid(
            be, &(bl_grid_args){.w = w, .scale = scale, .offset = offset, .y = F2(y, ROWS, IN), .grid = grid}, &e));
        for (int k = 0; k < N; k++) assert_true(fabs(y[k] - made[k]) < 2e-6);
        assert_ok(be->ops->grid_grad(be,
                                     &(bl_grid_grad_args){.w = w,
                                                          .scale = scale,
                                                          .offset = offset,
                                                          .dy = F2(dy, ROWS, IN),
                                                          .dw = F2(g, ROWS, IN),
                                                          .dscale = F2(g + N, ROWS, GROUPS),
                                                          .doffset = F2(g + N + S, ROWS, GROUPS),
                                                          .alpha = 1,
                                                          .grid = grid},
                                     &e));
        for (int i = 0; i < ALL; i++) {
            double up[N], down[N], moved[ALL], want = 0;
            memcpy(moved, at, sizeof at);
            moved[i] = at[i] + 1e-5;
            clipped(moved, up);
            moved[i] = at[i] - 1e-5;
            clipped(moved, down);
            for (int k = 0; k < N; k++) want += dy[k] * (up[k] - down[k]) / 2e-5;
            if (!(fabs(g[i] - want) <= 1e-5))
                fail_msg("number %d: %.9g, central differences %.9g", i, (double)g[i], want);
        }
    }
}

static void the_largest_takes_the_last_code_and_weights_of_two_and_more_learn_nothing(void **state)
{
    (void)state;
    float w[6] = {-3, 1, 0.2f, 2, 0.5f, -0.9f}, dy[6] = {1, 2, 3, 4, 5, 6};
    const bl_grid grid = {.kind = BL_GRID_LARGEST, .bits = 3, .group = 3};
    EACH(be)
    {
        float y[6], dw[6] = {0};
        assert_ok(be->ops->grid(be, &(bl_grid_args){.w = F2(w, 1, 6), .y = F2(y, 1, 6), .grid = grid}, &e));
        const float want[6] = {-3, 1, 0, 2, 2 / 3.0f, -2 / 3.0f}; /* steps of 3 / 3 and of 2 / 3 */
        for (int i = 0; i < 6; i++) assert_true(fabsf(y[i] - want[i]) < 1e-6f);
        assert_ok(be->ops->grid_grad(
            be,
            &(bl_grid_grad_args){.w = F2(w, 1, 6), .dy = F2(dy, 1, 6), .dw = F2(dw, 1, 6), .alpha = 1, .grid = grid},
            &e));
        for (int i = 0; i < 6; i++) assert_true(dw[i] == (fabsf(w[i]) < 2 ? dy[i] : 0));
    }
}

/* Any s > -z >= 0: the two steps find the nearest of the four values; gradients are those of the sum. */
static void two_planes_are_the_nearest_of_four_values(void **state)
{
    (void)state;
    const bl_grid grid = {.kind = BL_GRID_PLANES, .bits = 2, .group = GROUP};
    for (uint64_t seed = 0; seed < 50; seed++) EACH(be)
        {
            float w[N], dy[N], a[S], b[S], y[N], dw[N] = {0}, da[S] = {0}, db[S] = {0};
            double want_a[S] = {0}, want_b[S] = {0};
            fill(w, N, 2, 10 + seed);
            fill(dy, N, 1, 100 + seed);
            fill(a, S, 1, 200 + seed);
            fill(b, S, 1, 300 + seed);
            for (int g = 0; g < S; g++) {
                a[g] = 0.05f + fabsf(a[g]);
                b[g] = -fabsf(b[g]) * a[g] * 0.99f;
            }
            const bl_tensor x = F2(w, ROWS, IN), scale = F2(a, ROWS, GROUPS), offset = F2(b, ROWS, GROUPS);
            assert_ok(be->ops->grid(
                be, &(bl_grid_args){.w = x, .scale = scale, .offset = offset, .y = F2(y, ROWS, IN), .grid = grid}, &e));
            assert_ok(be->ops->grid_grad(be,
                                         &(bl_grid_grad_args){.w = x,
                                                              .scale = scale,
                                                              .offset = offset,
                                                              .dy = F2(dy, ROWS, IN),
                                                              .dw = F2(dw, ROWS, IN),
                                                              .dscale = F2(da, ROWS, GROUPS),
                                                              .doffset = F2(db, ROWS, GROUPS),
                                                              .alpha = 1,
                                                              .grid = grid},
                                         &e));
            for (int k = 0; k < N; k++) {
                const int64_t g = group_at(k);
                const float level[4] = {0, b[g], a[g], a[g] + b[g]};
                int best = 0;
                for (int i = 1; i < 4; i++)
                    if (fabsf(w[k] - level[i]) < fabsf(w[k] - level[best])) best = i;
                assert_true(fabsf(fabsf(w[k] - y[k]) - fabsf(w[k] - level[best])) < 1e-6f);
                want_a[g] += y[k] == level[2] || y[k] == level[3] ? dy[k] : 0;
                want_b[g] += y[k] == level[1] || y[k] == level[3] ? dy[k] : 0;
                assert_true(dw[k] == (w[k] >= 1.5f * b[g] && w[k] <= a[g] - b[g] / 2 ? dy[k] : 0));
            }
            for (int g = 0; g < S; g++) assert_true(fabs(da[g] - want_a[g]) < 1e-5 && fabs(db[g] - want_b[g]) < 1e-5);
        }
}

/* ---- activations ---- */
static void activations_are_rounded_as_in_a_product(void **state)
{
    enum { TOKENS = 3, WIDE = 20, AFTER = 64 }; /* a buffer of a backend may be read some bytes beyond its end */
    static const bl_actq acts[] = {
        {.bits = 4}, {.bits = 8, .symmetric = true}, {.bits = 3, .unit = BL_ACT_GROUP, .group = 8}};
    (void)state;
    float x[TOKENS * WIDE + AFTER] = {0}, one[WIDE * WIDE + AFTER] = {0};
    fill(x, TOKENS * WIDE, 3, 20);
    for (int i = 0; i < WIDE; i++) one[i * WIDE + i] = 1;
    const bl_weight w = {.format = bl_format_find("fp32"),
                         .shape = {.out = WIDE, .in = WIDE},
                         .n_parts = 1,
                         .part = {F2(one, WIDE, WIDE)}};
    for (size_t i = 0; i < BL_COUNT(acts); i++) EACH(be)
        {
            float y[TOKENS * WIDE + AFTER], product[TOKENS * WIDE + AFTER];
            assert_ok(be->ops->act_round(
                be, &(bl_act_round_args){.x = F2(x, TOKENS, WIDE), .y = F2(y, TOKENS, WIDE), .act = acts[i]}, &e));
            assert_ok(be->ops->linear(
                be,
                &(bl_linear_args){
                    .x = F2(x, TOKENS, WIDE), .w = {&w}, .y = {F2(product, TOKENS, WIDE)}, .act = acts[i]},
                &e));
            for (int k = 0; k < TOKENS * WIDE; k++) assert_true(y[k] == product[k]);
            assert_true(memcmp(x, y, TOKENS * WIDE * sizeof *x) != 0);
        }
}

static void vectors_round_activations_to_the_bits_of_plain_c(void **state)
{
    enum { TOKENS = 5, MOST = 75 };
    static const bl_actq acts[] = {{.bits = 8, .symmetric = true},
                                   {.bits = 4},
                                   {.bits = 2, .symmetric = true},
                                   {.bits = 8, .unit = BL_ACT_GROUP, .group = 32},
                                   {.bits = 4, .symmetric = true, .unit = BL_ACT_GROUP, .group = 13}};
    static const float odd[] = {NAN, INFINITY, -INFINITY, -0.0f, 1e-42f};
    (void)state;
    for (size_t i = 0; i < BL_COUNT(acts); i++)
        for (int wide = 1; wide <= MOST; wide++) {
            float x[TOKENS * MOST], dy[TOKENS * MOST], y[2][TOKENS * MOST], dx[2][TOKENS * MOST];
            fill(x, TOKENS * wide, 3, (uint64_t)(100 + wide));
            fill(dy, TOKENS * wide, 1, 7);
            for (int k = 0; k < wide; k++)
                x[2 * wide + k] = 0; /* a token of zeros; one after with what is not a number */
            x[3 * wide + wide / 2] = odd[wide % (int)BL_COUNT(odd)];
            for (int b = 0; b < 2; b++) {
                bl_backend *be = backends[b];
                memcpy(y[b], x, sizeof x); /* in place */
                memcpy(dx[b], dy, sizeof dy);
                assert_ok(be->ops->act_round(
                    be, &(bl_act_round_args){.x = F2(y[b], TOKENS, wide), .y = F2(y[b], TOKENS, wide), .act = acts[i]},
                    &e));
                assert_ok(be->ops->act_round_grad(be,
                                                  &(bl_act_round_grad_args){.x = F2(x, TOKENS, wide),
                                                                            .dy = F2(dy, TOKENS, wide),
                                                                            .dx = F2(dx[b], TOKENS, wide),
                                                                            .act = acts[i],
                                                                            .within = wide % 3 ? 2 : 0,
                                                                            .accumulate = wide % 2},
                                                  &e));
            }
            for (int k = 0; k < TOKENS * wide; k++)
                assert_true(memcmp(&y[0][k], &y[1][k], sizeof(float)) == 0 || (isnan(y[0][k]) && isnan(y[1][k])));
            assert_memory_equal(dx[0], dx[1], (size_t)(TOKENS * wide) * sizeof(float));
        }
}

static bl_actq r_act;
static double r_residual[IN]; /* of one row, one group */
static double r_scale(const double *x)
{
    double lo = 0, hi = 0;
    for (int i = 0; i < IN; i++) {
        lo = fmin(lo, x[i]);
        hi = fmax(hi, x[i]);
    }
    return r_act.symmetric ? fmax(hi, -lo) / ((1 << (r_act.bits - 1)) - 1) : (hi - lo) / ((1 << r_act.bits) - 1);
}
static void rounded(const double *x, double *y)
{
    const double s = r_scale(x);
    for (int i = 0; i < IN; i++) y[i] = s * (x[i] / s + r_residual[i]);
}
static void the_scale_of_activations_brings_a_gradient_to_their_ends(void **state)
{
    (void)state;
    for (int kind = 0; kind < 4; kind++) EACH(be)
        {
            float x[IN], dy[IN], dx[IN], in_place[IN];
            double at[IN];
            r_act = (bl_actq){.bits = kind % 2 ? 6 : 3, .symmetric = kind > 1};
            fill(x, IN, 2, (uint64_t)(30 + kind));
            fill(dy, IN, 1, 40);
            for (int i = 0; i < IN; i++) at[i] = x[i];
            for (int i = 0; i < IN; i++) r_residual[i] = rint(at[i] / r_scale(at)) - at[i] / r_scale(at);
            bl_act_round_grad_args a = {
                .x = F2(x, 1, IN), .dy = F2(dy, 1, IN), .dx = F2(dx, 1, IN), .act = r_act, .ends = true};
            assert_ok(be->ops->act_round_grad(be, &a, &e));
            for (int i = 0; i < IN; i++) {
                double up[IN], down[IN], moved[IN], want = 0;
                memcpy(moved, at, sizeof at);
                moved[i] = at[i] + 1e-6;
                rounded(moved, up);
                moved[i] = at[i] - 1e-6;
                rounded(moved, down);
                for (int k = 0; k < IN; k++) want += dy[k] * (up[k] - down[k]) / 2e-6;
                if (!(fabs(dx[i] - want) <= 2e-5))
                    fail_msg("%d: %.9g, central differences %.9g", i, (double)dx[i], want);
            }
            memcpy(in_place, dy, sizeof dy);
            a.dy = a.dx = F2(in_place, 1, IN);
            assert_ok(be->ops->act_round_grad(be, &a, &e));
            assert_memory_equal(in_place, dx, sizeof dx);
            a.dy = F2(dy, 1, IN); /* straight through alone, near 0 alone, onto what is there */
            a.ends = false;
            a.within = 1;
            a.accumulate = true;
            assert_ok(be->ops->act_round_grad(be, &a, &e));
            for (int i = 0; i < IN; i++) assert_true(in_place[i] == dx[i] + (fabsf(x[i]) < 1 ? dy[i] : 0));
        }
}

/* ---- scaled weights ---- */
static void rows_and_columns_have_the_gradients_of_what_they_scale(void **state)
{
    enum { M = 7, WIDE = 700 }; /* more than a piece of columns */
    static float x[M * WIDE], dy[M * WIDE], r[M], c[WIDE];
    (void)state;
    fill(x, M * WIDE, 1, 50);
    fill(dy, M * WIDE, 1, 51);
    fill(r, M, 2, 52);
    fill(c, WIDE, 2, 53);
    EACH(be)
    {
        float dr[M], dc[WIDE], alone[WIDE] = {0};
        for (int i = 0; i < M; i++) dr[i] = 1;
        for (int j = 0; j < WIDE; j++) dc[j] = 2;
        assert_ok(be->ops->scale_grad(be,
                                      &(bl_scale_grad_args){.x = F2(x, M, WIDE),
                                                            .dy = F2(dy, M, WIDE),
                                                            .rows = F1(r, M),
                                                            .cols = F1(c, WIDE),
                                                            .drows = F1(dr, M),
                                                            .dcols = F1(dc, WIDE)},
                                      &e));
        assert_ok(be->ops->scale_grad(
            be, &(bl_scale_grad_args){.x = F2(x, M, WIDE), .dy = F2(dy, M, WIDE), .dcols = F1(alone, WIDE)}, &e));
        for (int i = 0; i < M; i++) {
            double want = 1;
            for (int j = 0; j < WIDE; j++) want += (double)dy[i * WIDE + j] * x[i * WIDE + j] * c[j];
            assert_true(fabs(dr[i] - want) < 1e-5);
        }
        for (int j = 0; j < WIDE; j++) {
            double want = 2, plain = 0;
            for (int i = 0; i < M; i++) {
                want += (double)dy[i * WIDE + j] * x[i * WIDE + j] * r[i];
                plain += (double)dy[i * WIDE + j] * x[i * WIDE + j];
            }
            assert_true(fabs(dc[j] - want) < 1e-6 && fabs(alone[j] - plain) < 1e-6);
        }
    }
}

static void differences_are_taken_and_their_squares_summed(void **state)
{
    static const float first[6] = {1, 2, 3, -1, 0.5f, 4}, want[6] = {0.5f, 0, -1, 1.5f, 0, -2};
    static float y[6] = {0, 2, 5, -4, 0.5f, 8};
    (void)state;
    EACH(be)
    for (int back = 0; back < 2; back++) {
        float x[6];
        double sum = -1;
        const bl_tensor to = bl_tensor_1d(&(bl_buffer){.data = &sum}, 0, BL_F64, 1);
        memcpy(x, first, sizeof x);
        assert_ok(be->ops->differ(
            be, &(bl_differ_args){.x = F2(x, 2, 3), .y = F2(y, 2, 3), .sum = to, .scale = back ? 0.5 : 0}, &e));
        assert_true(sum == 1 + 4 + 9 + 16);
        assert_memory_equal(x, back ? want : first, sizeof x);
    }
}

/* Of 3 bits, codes -4 .. 3: 7 weights of the codes themselves take the scale they were made with; a weight far off the
 * rest is not cut off, which costs the fourth power. Groups of 7, the last of one. */
static void scales_begin_where_the_fourth_power_is_least(void **state)
{
    static const float made[15] = {-2, -1, -0.5f, 0, 0.5f, 1, 1.5f, 3, 3, 3, 3, 3, 3, 12, 0};
    (void)state;
    EACH(be)
    {
        float w[15], scale[3];
        memcpy(w, made, sizeof w);
        assert_ok(be->ops->step_search(
            be,
            &(bl_step_search_args){.w = F2(w, 1, 15), .scale = F2(scale, 1, 3), .bits = 3, .group = 7, .within = true},
            &e));
        assert_true(fabsf(scale[0] - 0.5f) < 0.01f && scale[2] == 1 && w[14] == 0);
        for (int i = 0; i < 7; i++) assert_true(fabsf(w[i] * scale[0] - made[i]) < 0.05f);
        for (int g = 0; g < 2; g++) { /* no other of the hundred is better */
            double least = INFINITY, ours = 0;
            const float *x = made + 7 * g;
            float most = 0;
            for (int i = 0; i < 7; i++) most = fmaxf(most, fabsf(x[i]));
            for (int k = 0; k <= 100; k++) {
                const double s = k ? most * k / 100 / 3 : (double)scale[g];
                double sum = 0;
                for (int i = 0; i < 7; i++) sum += pow(x[i] - s * fmin(fmax(rint(x[i] / s), -4), 3), 4);
                if (k) least = fmin(least, sum);
                else ours = sum;
            }
            assert_true(ours <= least * (1 + 1e-5) + 1e-12);
        }
        assert_true(scale[1] > 2.5f);
    }
}

/* Beside the grid of a weight that the factors were added to, by hand. */
static void a_weight_and_factors_are_rounded_as_their_sum(void **state)
{
    enum { OUT = 3, WIDE = 16, RANK = 2 };
    static float w[OUT * WIDE + 16], a[RANK * WIDE], b[OUT * RANK], sum[OUT * WIDE], dy[OUT * WIDE], want[OUT * WIDE],
        y[OUT * WIDE], s[OUT * 2], o[OUT * 2];
    (void)state;
    fill(w, OUT * WIDE, 1, 60);
    fill(a, RANK * WIDE, 1, 61);
    fill(b, OUT * RANK, 1, 62);
    fill(dy, OUT * WIDE, 1, 63);
    fill(o, OUT * 2, 0.1f, 64);
    for (int i = 0; i < OUT * 2; i++) s[i] = 0.2f + 0.01f * (float)i;
    for (int i = 0; i < OUT * WIDE; i++)
        sum[i] = w[i] + 0.5f * b[i / WIDE * 2] * a[i % WIDE] + 0.5f * b[i / WIDE * 2 + 1] * a[WIDE + i % WIDE];
    const bl_grid grid = {.kind = BL_GRID_OFFSET, .bits = 3, .group = 8};
    const bl_weight dense = {
        .format = bl_format_find("fp32"), .shape = {.out = OUT, .in = WIDE}, .n_parts = 1, .part = {F2(w, OUT, WIDE)}};
    EACH(be)
    {
        float ds[OUT * 2] = {0}, d_o[OUT * 2] = {0}, ds_want[OUT * 2] = {0}, do_want[OUT * 2] = {0};
        bl_merged_grid_args m = {.w = &dense,
                                 .a = F2(a, RANK, WIDE),
                                 .b = F2(b, OUT, RANK),
                                 .by = 0.5,
                                 .scale = F2(s, OUT, 2),
                                 .offset = F2(o, OUT, 2),
                                 .y = F2(y, OUT, WIDE),
                                 .alpha = 2,
                                 .grid = grid};
        bl_grid_grad_args back = {.w = F2(sum, OUT, WIDE),
                                  .scale = m.scale,
                                  .offset = m.offset,
                                  .dy = F2(want, OUT, WIDE),
                                  .dw = F2(want, OUT, WIDE),
                                  .dscale = F2(ds_want, OUT, 2),
                                  .doffset = F2(do_want, OUT, 2),
                                  .alpha = 2,
                                  .grid = grid};
        back.dw = back.dy; /* in its place */
        assert_ok(be->ops->merged_grid(be, &m, &e));
        assert_ok(be->ops->grid(
            be,
            &(bl_grid_args){
                .w = F2(sum, OUT, WIDE), .scale = m.scale, .offset = m.offset, .y = F2(want, OUT, WIDE), .grid = grid},
            &e));
        for (int i = 0; i < OUT * WIDE; i++) assert_float_equal(y[i], want[i], 1e-6);
        memcpy(want, dy, sizeof want);
        m.dy = F2(dy, OUT, WIDE);
        m.dscale = F2(ds, OUT, 2);
        m.doffset = F2(d_o, OUT, 2);
        assert_ok(be->ops->merged_grid(be, &m, &e));
        assert_ok(be->ops->grid_grad(be, &back, &e));
        for (int i = 0; i < OUT * WIDE; i++) assert_float_equal(y[i], want[i], 1e-6);
        for (int i = 0; i < OUT * 2; i++)
            assert_true(fabsf(ds[i] - ds_want[i]) < 1e-5f && fabsf(d_o[i] - do_want[i]) < 1e-5f);
        m.grid.group = 6;
        assert_refused(be->ops->merged_grid(be, &m, &e), BL_E_INTERNAL, "merged_grid");
    }
}

static void what_does_not_fit_is_refused(void **state)
{
    (void)state;
    float x[12] = {0};
    const bl_tensor a = F2(x, 3, 4), b = F2(x, 4, 3);
    EACH(be)
    {
        assert_refused(be->ops->scale_grad(be, &(bl_scale_grad_args){.x = a, .dy = b}, &e), BL_E_INTERNAL,
                       "scale_grad");
        assert_refused(be->ops->scale_grad(be, &(bl_scale_grad_args){.x = a, .dy = a, .drows = F1(x, 2)}, &e),
                       BL_E_INTERNAL, "scale_grad");
        assert_refused(be->ops->differ(be, &(bl_differ_args){.x = a, .y = b}, &e), BL_E_INTERNAL, "differ");
        assert_refused(
            be->ops->step_search(be, &(bl_step_search_args){.w = a, .scale = F2(x, 3, 1), .bits = 3, .group = 3}, &e),
            BL_E_INTERNAL, "step_search");
        assert_refused(be->ops->act_round(be, &(bl_act_round_args){.x = a, .y = b, .act = {.bits = 4}}, &e),
                       BL_E_INTERNAL, "act_round");
        assert_refused(
            be->ops->act_round(be, &(bl_act_round_args){.x = a, .y = a, .act = {.bits = 4, .unit = BL_ACT_TENSOR}}, &e),
            BL_E_INTERNAL, "act_round");
        assert_refused(
            be->ops->act_round_grad(be, &(bl_act_round_grad_args){.x = a, .dy = a, .dx = b, .act = {.bits = 4}}, &e),
            BL_E_INTERNAL, "act_round_grad");
        assert_refused(be->ops->grid(be,
                                     &(bl_grid_args){.w = a,
                                                     .scale = F2(x, 3, 1),
                                                     .y = a,
                                                     .grid = {.kind = BL_GRID_LARGEST, .bits = 4, .group = 4}},
                                     &e),
                       BL_E_INTERNAL, "grid"); /* nothing of it is learned */
        assert_refused(be->ops->grid(be,
                                     &(bl_grid_args){.w = a,
                                                     .scale = F2(x, 3, 1),
                                                     .offset = F2(x, 3, 1),
                                                     .y = a,
                                                     .grid = {.kind = BL_GRID_PLANES, .bits = 3, .group = 4}},
                                     &e),
                       BL_E_INTERNAL, "grid"); /* two planes are two bits */
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(differences_are_taken_and_their_squares_summed),
        cmocka_unit_test(a_weight_and_factors_are_rounded_as_their_sum),
        cmocka_unit_test(scales_begin_where_the_fourth_power_is_least),
        cmocka_unit_test(ranges_have_the_gradient_of_what_opens_them_and_of_their_ends),
        cmocka_unit_test(the_largest_takes_the_last_code_and_weights_of_two_and_more_learn_nothing),
        cmocka_unit_test(two_planes_are_the_nearest_of_four_values),
        cmocka_unit_test(activations_are_rounded_as_in_a_product),
        cmocka_unit_test(vectors_round_activations_to_the_bits_of_plain_c),
        cmocka_unit_test(the_scale_of_activations_brings_a_gradient_to_their_ends),
        cmocka_unit_test(rows_and_columns_have_the_gradients_of_what_they_scale),
        cmocka_unit_test(what_does_not_fit_is_refused),
    };
    return cmocka_run_group_tests(tests, set_up, tear_down);
}
