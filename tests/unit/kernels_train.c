/* What training computes beside gradients of the forward pass, on every backend of a CPU: dropout, AdamW, rounding that
 * is learned, adapters. Gradients are those of the formulas in double, by differences. */
#include "gradient_fixture.h"

/* ---- dropout, AdamW, learned step sizes ---- */
static void dropout_keeps_the_share_it_should_whatever_the_chunks(void **state)
{
    (void)state;
    enum { ROWS = 200, WIDTH = 51 };
    static float x[ROWS * WIDTH], y[ROWS * WIDTH], z[ROWS * WIDTH];
    for (int i = 0; i < ROWS * WIDTH; i++) x[i] = 3;
    EACH(be)
    {
        bl_dropout_args a = {.x = F2(x, ROWS, WIDTH), .y = F2(y, ROWS, WIDTH), .p = 0.25, .key = {1, 2}, .stream = {3}};
        int kept = 0;
        assert_ok(be->ops->dropout(be, &a, &e));
        for (int i = 0; i < ROWS * WIDTH; i++) {
            assert_true(y[i] == 0 || y[i] == 4); /* 3 / (1 - 1/4) */
            kept += y[i] > 0;
        }
        double n = ROWS * WIDTH, deviation = sqrt(n * 0.25 * 0.75);
        assert_true(fabs(kept - 0.75 * n) < 4 * deviation);
        for (int r = 0; r < ROWS; r += 7) { /* in pieces, onto 1 */
            int rows = BL_MIN(7, ROWS - r);
            for (int i = 0; i < rows * WIDTH; i++) z[r * WIDTH + i] = 1;
            bl_dropout_args part = a;
            part.x = F2(x + r * WIDTH, rows, WIDTH);
            part.y = F2(z + r * WIDTH, rows, WIDTH);
            part.row0 = r;
            part.accumulate = true;
            assert_ok(be->ops->dropout(be, &part, &e));
        }
        for (int i = 0; i < ROWS * WIDTH; i++) assert_true(z[i] == 1 + y[i]);
        a.stream[0] = 4;
        a.y = F2(z, ROWS, WIDTH);
        assert_ok(be->ops->dropout(be, &a, &e));
        assert_true(memcmp(y, z, sizeof y) != 0);
        a.p = 0;
        assert_ok(be->ops->dropout(be, &a, &e));
        assert_memory_equal(z, x, sizeof x);
    }
}

static void adamw_steps_as_its_formula(void **state)
{
    (void)state;
    enum { N = 13 };
    float start[N], grad[N];
    fill(start, N, 1);
    fill(grad, N, 1);
    EACH(be)
    {
        float p[N], m[N] = {0}, v[N] = {0};
        double want[N], wm[N] = {0}, wv[N] = {0};
        memcpy(p, start, sizeof p);
        in_double(start, N, want);
        for (int t = 1; t <= 4; t++) {
            assert_ok(be->ops->adamw(be,
                                     &(bl_adamw_args){.p = F1(p, N),
                                                      .grad = F1(grad, N),
                                                      .m = F1(m, N),
                                                      .v = F1(v, N),
                                                      .lr = 0.1 / t,
                                                      .beta1 = 0.9,
                                                      .beta2 = 0.99,
                                                      .eps = 1e-6,
                                                      .decay = 0.2,
                                                      .grad_scale = 0.5,
                                                      .step = t},
                                     &e));
            for (int i = 0; i < N; i++) {
                double g = 0.5 * grad[i], lr = 0.1 / t;
                want[i] *= 1 - lr * 0.2;
                wm[i] = 0.9 * wm[i] + 0.1 * g;
                wv[i] = 0.99 * wv[i] + 0.01 * g * g;
                want[i] -= lr * (wm[i] / (1 - pow(0.9, t))) / (sqrt(wv[i] / (1 - pow(0.99, t))) + 1e-6);
                assert_true(fabs(p[i] - want[i]) < 1e-6);
            }
        }
        assert_refused(
            be->ops->adamw(
                be,
                &(bl_adamw_args){
                    .p = F1(p, N), .grad = F1(grad, N - 1), .m = F1(m, N), .v = F1(v, N), .eps = 1, .step = 1},
                &e),
            BL_E_INTERNAL, "different sizes");
    }
}

static void parameters_step_together_as_each_alone(void **state)
{
    (void)state;
    enum { LISTS = 3, N = 40 };
    static const int64_t n[LISTS] = {1, 13, 26};
    float start[N], slope[N];
    fill(start, N, 1);
    fill(slope, N, 2);
    EACH(be)
    {
        float p[2][N], grad[2][N], m[2][N] = {{0}}, v[2][N] = {{0}};
        bl_buffer at_p[2], at_grad[2], at_m[2], at_v[2];
        double sums[LISTS];
        bl_adamw_args all[2][LISTS];
        bl_tensor x[LISTS];
        for (int k = 0; k < 2; k++) {
            at_p[k] = (bl_buffer){.data = p[k]};
            at_grad[k] = (bl_buffer){.data = grad[k]};
            at_m[k] = (bl_buffer){.data = m[k]};
            at_v[k] = (bl_buffer){.data = v[k]};
            memcpy(p[k], start, sizeof start);
            memcpy(grad[k], slope, sizeof slope);
            for (int64_t i = 0, at = 0; i < LISTS; at += 4 * n[i++])
                all[k][i] = (bl_adamw_args){.p = bl_tensor_1d(&at_p[k], (uint64_t)at, BL_F32, n[i]),
                                            .grad = bl_tensor_1d(&at_grad[k], (uint64_t)at, BL_F32, n[i]),
                                            .m = bl_tensor_1d(&at_m[k], (uint64_t)at, BL_F32, n[i]),
                                            .v = bl_tensor_1d(&at_v[k], (uint64_t)at, BL_F32, n[i]),
                                            .lr = 0.1 * (double)(i + 1),
                                            .beta1 = 0.9,
                                            .beta2 = 0.99,
                                            .eps = 1e-6,
                                            .decay = 0.2,
                                            .grad_scale = 0.5,
                                            .step = 2};
        }
        for (int i = 0; i < LISTS; i++) x[i] = all[0][i].grad;
        assert_ok(be->ops->sq_sums(
            be,
            &(bl_sq_sums_args){.x = x, .n = LISTS, .to = bl_tensor_1d(&(bl_buffer){.data = sums}, 0, BL_F64, LISTS)},
            &e));
        for (int64_t i = 0, at = 0; i < LISTS; at += n[i++]) {
            double want = 0;
            for (int64_t j = 0; j < n[i]; j++) want += (double)slope[at + j] * slope[at + j];
            assert_true(fabs(sums[i] - want) <= 1e-12 * want);
        }
        assert_ok(be->ops->adamw_all(be, &(bl_adamw_all_args){.of = all[0], .n = LISTS, .clear = true}, &e));
        for (int i = 0; i < LISTS; i++) assert_ok(be->ops->adamw(be, &all[1][i], &e));
        assert_memory_equal(p[0], p[1], sizeof start);
        assert_memory_equal(m[0], m[1], sizeof start);
        assert_memory_equal(v[0], v[1], sizeof start);
        for (int i = 0; i < N; i++) assert_true(grad[0][i] == 0 && grad[1][i] == slope[i]);
        all[0][1].decay = 0;
        assert_refused(be->ops->adamw_all(be, &(bl_adamw_all_args){.of = all[0], .n = LISTS}, &e), BL_E_INTERNAL,
                       "more than their rate");
    }
}

/* The nearest code, but never one of the other sign: a moment that is all but 0 keeps its direction. */
static void moments_of_eight_bits_keep_their_sign(void **state)
{
    (void)state;
    enum { N = 5, ZERO = 128 };
    float m_table[256], v_table[256];
    static const uint8_t want[N] = {255, ZERO - 1, ZERO, ZERO, 1};
    for (int i = 0; i < 256; i++) {
        m_table[i] = (float)(i - ZERO) / 127;
        v_table[i] = (float)i / 255;
    }
    EACH(be)
    {
        float grad[N] = {1, -1e-6f, 1e-6f, 0, -1}, p[N] = {0}, m_max[1] = {0}, v_max[1] = {0};
        uint8_t m[N] = {0}, v[N] = {0};
        bl_adamw8_one two[2] = {{.how = {.p = F1(p, N),
                                         .grad = F1(grad, N),
                                         .m = bl_tensor_1d(&(bl_buffer){.data = m}, 0, BL_U8, N),
                                         .v = bl_tensor_1d(&(bl_buffer){.data = v}, 0, BL_U8, N),
                                         .lr = 0.1,
                                         .beta1 = 0.9,
                                         .beta2 = 0.99,
                                         .eps = 1e-8,
                                         .grad_scale = 1,
                                         .step = 1},
                                 .m_max = F1(m_max, 1),
                                 .v_max = F1(v_max, 1)}};
        bl_adamw8_args a = {.of = two, .n = 1, .m_table = F1(m_table, 256), .v_table = F1(v_table, 256)};
        assert_ok(be->ops->adamw8(be, &a, &e));
        assert_memory_equal(m, want, N);
        assert_true(fabsf(m_max[0] - 0.1f) < 1e-6f && fabsf(v_max[0] - 0.01f) < 1e-6f);
        two[1] = two[0];
        two[1].how.step = 2;
        a.n = 2;
        assert_refused(be->ops->adamw8(be, &a, &e), BL_E_INTERNAL, "more than their rate");
        a.n = 1;
        a.clear = true;
        assert_ok(be->ops->adamw8(be, &a, &e));
        for (int i = 0; i < N; i++) assert_true(grad[i] == 0);
    }
}

/* The function that the straight-through gradient is exact for: round(v) replaced by v + a residual that is held fixed,
 * a clipped v by its end, rounded and kept offsets by themselves + what rounding and keeping did. Equal to the
 * quantizer at the point, and smooth. */
enum { S_ROWS = 2, S_IN = 11, S_GROUP = 4, S_GROUPS = 3, S_N = S_ROWS * S_IN, S_S = S_ROWS * S_GROUPS, S_BITS = 3 };
static bl_grid_kind s_kind;
static double s_residual[S_N], s_offset[S_S]; /* round(v) - v; used offset - offset */
static int s_clipped[S_N];
static const double s_low = -(1 << (S_BITS - 1)), s_high = (1 << (S_BITS - 1)) - 1, s_top = (1 << S_BITS) - 1;

/* What is rounded of weight k, at x: weights, scales, offsets. */
static double s_before(const double *x, int k)
{
    const int g = k / S_IN * S_GROUPS + k % S_IN / S_GROUP;
    const double s = x[S_N + g];
    if (s_kind == BL_GRID_INSIDE) return x[k];
    return s_kind == BL_GRID_OFFSET ? (x[k] - x[S_N + S_S + g]) / s : x[k] / s;
}

static void quantizer(const double *x, double *y)
{
    for (int k = 0; k < S_N; k++) {
        const int g = k / S_IN * S_GROUPS + k % S_IN / S_GROUP;
        const double s = x[S_N + g], o = x[S_N + S_S + g];
        const double v = s_before(x, k) + s_residual[k], z = o + s_offset[g];
        const bool affine = s_kind == BL_GRID_AFFINE;
        const double end = s_clipped[k] < 0 ? (affine ? 0 : s_low) : affine ? s_top : s_high;
        y[k] = s * (s_clipped[k] ? end - (affine ? z : 0) : v) + (s_kind == BL_GRID_OFFSET ? o : 0);
    }
}

static void hold(const double *at)
{
    for (int g = 0; g < S_S; g++) {
        const double o = at[S_N + S_S + g], z = fmin(fmax(rint(o), 0), s_top);
        s_offset[g] = s_kind == BL_GRID_AFFINE ? z - o : 0;
    }
    for (int k = 0; k < S_N; k++) {
        const int g = k / S_IN * S_GROUPS + k % S_IN / S_GROUP;
        const double v = s_before(at, k), whole = rint(v), z = at[S_N + S_S + g] + s_offset[g];
        s_residual[k] = whole - v;
        if (s_kind == BL_GRID_STEP) s_clipped[k] = v <= s_low ? -1 : v >= s_high;
        if (s_kind == BL_GRID_AFFINE) s_clipped[k] = whole + z < 0 ? -1 : whole + z > s_top;
        if (s_kind == BL_GRID_OFFSET) s_clipped[k] = v < s_low ? -1 : v > s_high;
        if (s_kind == BL_GRID_INSIDE) s_clipped[k] = whole < s_low ? -1 : whole > s_high;
    }
}

static void grids_have_the_straight_through_gradient(void **state)
{
    (void)state;
    for (s_kind = BL_GRID_STEP; s_kind <= BL_GRID_INSIDE; s_kind++) {
        const bool offsets = s_kind == BL_GRID_AFFINE || s_kind == BL_GRID_OFFSET,
                   damped = s_kind == BL_GRID_STEP || s_kind == BL_GRID_OFFSET;
        const bl_grid grid = {.kind = s_kind, .bits = S_BITS, .group = S_GROUP};
        float x[S_N + 2 * S_S], dy[S_N];
        double at[S_N + 2 * S_S], made[S_N];
        int clipped = 0;
        fill(x, S_N, s_kind == BL_GRID_INSIDE ? 6 : 1.5f);
        fill(dy, S_N, 1);
        for (int i = 0; i < S_S; i++) {
            x[S_N + i] = 0.2f + 0.05f * (float)i;
            x[S_N + S_S + i] = s_kind == BL_GRID_OFFSET ? 0.03f * (float)i - 0.05f : 1.6f * (float)i - 1.1f;
        }
        x[3] = 8; /* far above, far below */
        x[5] = -8;
        in_double(x, S_N + 2 * S_S, at);
        hold(at);
        quantizer(at, made);
        for (int k = 0; k < S_N; k++) clipped += s_clipped[k] != 0;
        assert_true(clipped >= 2 && clipped < S_N);
        EACH(be)
        {
            float y[S_N], g[S_N + 2 * S_S] = {0}, in_place[S_N], again[2 * S_S] = {0};
            bl_tensor w = F2(x, S_ROWS, S_IN), scale = F2(x + S_N, S_ROWS, S_GROUPS), none = {0};
            bl_tensor offset = offsets ? F2(x + S_N + S_S, S_ROWS, S_GROUPS) : none;
            assert_ok(be->ops->grid(
                be, &(bl_grid_args){.w = w, .scale = scale, .offset = offset, .y = F2(y, S_ROWS, S_IN), .grid = grid},
                &e));
            for (int i = 0; i < S_N; i++) assert_true(fabs(y[i] - made[i]) < 2e-6);
            bl_grid_grad_args a = {.w = w,
                                   .scale = scale,
                                   .offset = offset,
                                   .dy = F2(dy, S_ROWS, S_IN),
                                   .dw = F2(g, S_ROWS, S_IN),
                                   .dscale = F2(g + S_N, S_ROWS, S_GROUPS),
                                   .doffset = offsets ? F2(g + S_N + S_S, S_ROWS, S_GROUPS) : none,
                                   .alpha = 1,
                                   .grid = grid};
            assert_ok(be->ops->grid_grad(be, &a, &e));
            memcpy(in_place, dy, sizeof dy);
            a.dy = a.dw = F2(in_place, S_ROWS, S_IN);
            a.dscale = F2(again, S_ROWS, S_GROUPS);
            a.doffset = offsets ? F2(again + S_S, S_ROWS, S_GROUPS) : none;
            a.alpha = 0.5;
            assert_ok(be->ops->grid_grad(be, &a, &e));
            for (int k = 0; k < S_N; k++) assert_true(in_place[k] == 0.5f * g[k]);
            assert_memory_equal(again, g + S_N, (offsets ? 2 : 1) * S_S * sizeof *again);
            for (int i = 0; damped && i < S_S; i++) { /* 1 / sqrt(n high), of the short group too */
                const float damp = sqrtf(i % S_GROUPS == 2 ? 3 * 3 : 4 * 3);
                g[S_N + i] *= damp;
                if (offsets) g[S_N + S_S + i] *= damp;
            }
            assert_gradient("a grid", quantizer, at, S_N + 2 * S_S, S_N, dy, g, 1e-5);
        }
    }
}

/* Codes -4 .. 3, a step of 1/4 and weights on both ends: clipped for learned steps, inside for the others, as PyTorch's
 * clamp had it when their authors ran theirs. */
static void a_weight_at_an_end_of_the_range_is_inside_but_for_learned_steps(void **state)
{
    (void)state;
    float ends[3] = {-1, 0.75f, 0.25f}, whole[3] = {-4, 3, 1}, scale[1] = {0.25f}, zero[1] = {4}, none[1] = {0},
          dy[3] = {1, 1, 1};
    for (bl_grid_kind kind = BL_GRID_STEP; kind <= BL_GRID_INSIDE; kind++) EACH(be)
        {
            float dw[3] = {0}, ds[1] = {0}, d_o[1] = {0};
            const bool step = kind == BL_GRID_STEP, inside = kind == BL_GRID_INSIDE, offsets = !step && !inside;
            bl_tensor nothing = {0};
            assert_ok(be->ops->grid_grad(
                be,
                &(bl_grid_grad_args){.w = F2(inside ? whole : ends, 1, 3),
                                     .scale = F2(scale, 1, 1),
                                     .offset = offsets ? F2(kind == BL_GRID_AFFINE ? zero : none, 1, 1) : nothing,
                                     .dy = F2(dy, 1, 3),
                                     .dw = F2(dw, 1, 3),
                                     .dscale = F2(ds, 1, 1),
                                     .doffset = offsets ? F2(d_o, 1, 1) : nothing,
                                     .alpha = 1,
                                     .grid = {.kind = kind, .bits = 3, .group = 3}},
                &e));
            const float one = inside ? 0.25f : 1;
            assert_true(dw[0] == (step ? 0 : one) && dw[1] == (step ? 0 : one) && dw[2] == one);
            assert_true(d_o[0] == 0);
            if (step) assert_true(fabs(ds[0] - (-4 + 3 + 0) / 3.0) < 1e-6); /* 1 / sqrt(3 elements x 3) */
            else assert_true(ds[0] == (inside ? -4 + 3 + 1 : 0));
        }
}

/* ---- what adapters are made of ---- */
enum { DORA_OUT = 18, DORA_RANK = 3, DORA_IN = 11, DORA_ROWS = 5 };
static float a_z[DORA_ROWS * DORA_OUT], a_norm[DORA_OUT];

/* Rows of y = (m / norm) (z + x At Bt) with what x At is kept, and the lengths too: B, then m. */
static float a_h[DORA_ROWS * DORA_RANK];
static void scaled_rows(const double *x, double *y)
{
    for (int r = 0; r < DORA_ROWS; r++)
        for (int o = 0; o < DORA_OUT; o++) {
            double sum = a_z[r * DORA_OUT + o];
            for (int k = 0; k < DORA_RANK; k++) sum += x[o * DORA_RANK + k] * a_h[r * DORA_RANK + k];
            y[r * DORA_OUT + o] = x[DORA_OUT * DORA_RANK + o] / a_norm[o] * sum;
        }
}

static void lengths_of_rows_and_their_gradient_are_those_of_the_formula(void **state)
{
    enum { N = DORA_OUT * DORA_RANK };
    const double scale = 0.75;
    float w[DORA_OUT * DORA_IN], a[DORA_RANK * DORA_IN], x[N + DORA_OUT], sq[DORA_OUT], cross[DORA_RANK * DORA_OUT],
        gram[DORA_RANK * DORA_RANK];
    float dz[DORA_ROWS * DORA_OUT], put[DORA_ROWS * DORA_OUT], bias[DORA_OUT];
    double at[N + DORA_OUT];
    (void)state;
    fill(w, DORA_OUT * DORA_IN, 1);
    fill(a, DORA_RANK * DORA_IN, 1);
    fill(x, N + DORA_OUT, 1);
    fill(a_z, DORA_ROWS * DORA_OUT, 1);
    fill(a_h, DORA_ROWS * DORA_RANK, 1);
    fill(dz, DORA_ROWS * DORA_OUT, 1);
    memset(w + 2 * DORA_IN, 0, DORA_IN * sizeof *w); /* a row of V that is 0 */
    memset(x + 2 * DORA_RANK, 0, DORA_RANK * sizeof *x);
    x[N + 5] = 0; /* a length of 0 */
    fill(bias, DORA_OUT, 1);
    for (int o = 0; o < DORA_OUT; o++) {
        double sum = 0;
        for (int i = 0; i < DORA_IN; i++) sum += (double)w[o * DORA_IN + i] * w[o * DORA_IN + i];
        sq[o] = (float)sum;
        for (int k = 0; k < DORA_RANK; k++) {
            sum = 0;
            for (int i = 0; i < DORA_IN; i++) sum += (double)w[o * DORA_IN + i] * a[k * DORA_IN + i];
            cross[k * DORA_OUT + o] = (float)sum;
        }
    }
    for (int k = 0; k < DORA_RANK * DORA_RANK; k++) {
        double sum = 0;
        for (int i = 0; i < DORA_IN; i++)
            sum += (double)a[k / DORA_RANK * DORA_IN + i] * a[k % DORA_RANK * DORA_IN + i];
        gram[k] = (float)sum;
    }
    EACH(be)
    {
        float by[DORA_OUT], y[N], g[N + DORA_OUT] = {0}, dy[N];
        assert_ok(be->ops->dora(be,
                                &(bl_dora_args){.sq = F1(sq, DORA_OUT),
                                                .m = F1(x + N, DORA_OUT),
                                                .cross = F2(cross, DORA_RANK, DORA_OUT),
                                                .gram = F2(gram, DORA_RANK, DORA_RANK),
                                                .b = F2(x, DORA_OUT, DORA_RANK),
                                                .norm = F1(a_norm, DORA_OUT),
                                                .by = F1(by, DORA_OUT),
                                                .y = F2(y, DORA_OUT, DORA_RANK),
                                                .scale = scale},
                                &e));
        for (int o = 0; o < DORA_OUT; o++) {
            double sum = 0;
            for (int i = 0; i < DORA_IN; i++) {
                double v = w[o * DORA_IN + i];
                for (int k = 0; k < DORA_RANK; k++) v += scale * x[o * DORA_RANK + k] * a[k * DORA_IN + i];
                sum += v * v;
            }
            assert_true(fabs(a_norm[o] - sqrt(sum)) < 1e-5);
            assert_true(o == 2 ? by[o] == 0 : fabs(by[o] - x[N + o] / sqrt(sum)) < 1e-5);
            for (int k = 0; k < DORA_RANK; k++)
                assert_true(fabs(y[o * DORA_RANK + k] - by[o] * x[o * DORA_RANK + k]) < 1e-6);
            for (int k = 0; k < DORA_RANK; k++) { /* of by B, as a product's gradient gives it */
                dy[o * DORA_RANK + k] = 0;
                for (int r = 0; r < DORA_ROWS; r++)
                    dy[o * DORA_RANK + k] += dz[r * DORA_OUT + o] * a_h[r * DORA_RANK + k];
            }
        }
        for (int i = 0; i < DORA_ROWS * DORA_OUT; i++) {
            const int r = i / DORA_OUT, o = i % DORA_OUT;
            double sum = a_z[i];
            for (int k = 0; k < DORA_RANK; k++) sum += (double)x[o * DORA_RANK + k] * a_h[r * DORA_RANK + k];
            put[i] = (float)(by[o] * sum);
            if (o % 2 == 0) put[i] += bias[o];
        }
        for (int o = 1; o < DORA_OUT; o += 2) bias[o] = 0;
        assert_ok(be->ops->dora_grad(be,
                                     &(bl_dora_grad_args){.y = F2(put, DORA_ROWS, DORA_OUT),
                                                          .dy = F2(dz, DORA_ROWS, DORA_OUT),
                                                          .bias = F1(bias, DORA_OUT),
                                                          .m = F1(x + N, DORA_OUT),
                                                          .by = F1(by, DORA_OUT),
                                                          .of_b = F2(dy, DORA_OUT, DORA_RANK),
                                                          .db = F2(g, DORA_OUT, DORA_RANK),
                                                          .dm = F1(g + N, DORA_OUT)},
                                     &e));
        in_double(x, N + DORA_OUT, at);
        assert_true(g[N + 2] == 0 && g[2 * DORA_RANK] == 0); /* the row of length 0 learns nothing */
        a_norm[2] = INFINITY;
        assert_gradient("lengths", scaled_rows, at, N + DORA_OUT, DORA_ROWS * DORA_OUT, dz, g, 1e-5);
    }
}

enum { BAND_GROUP = 4, BAND_GROUPS = 3, BAND_IN = 11, BAND_RANK = 3 };
static bool b_tall;
static void pooled(const double *x, double *y)
{
    for (int i = 0; i < BAND_RANK * BAND_IN; i++) y[i] = 0.25 * x[i / BAND_IN * BAND_GROUPS + i % BAND_IN / BAND_GROUP];
}
static void banded(const double *x, double *y) /* x, then beta */
{
    const int n = b_tall ? BAND_RANK : BAND_IN;
    for (int k = 0; k < BAND_RANK * BAND_IN; k++) {
        const int i = k / n, j = k % n;
        y[k] = x[k] + ((b_tall ? i / BAND_GROUP == j : j / BAND_GROUP == i) ? 0.25 * x[BAND_RANK * BAND_IN] : 0);
    }
}

static void pooled_columns_and_short_cuts_have_their_gradients(void **state)
{
    enum { N = BAND_RANK * BAND_IN };
    float x[N + 1], dy[N], made[N];
    double at[N + 1], want[N];
    (void)state;
    fill(x, N + 1, 1);
    fill(dy, N, 1);
    in_double(x, N + 1, at);
    EACH(be)
    {
        float g[N + 1] = {0};
        assert_ok(be->ops->pool(
            be,
            &(bl_pool_args){
                .x = F2(x, BAND_RANK, BAND_GROUPS), .y = F2(made, BAND_RANK, BAND_IN), .group = BAND_GROUP, .by = 0.25},
            &e));
        pooled(at, want);
        for (int i = 0; i < N; i++) assert_true(fabs(made[i] - want[i]) < 1e-6);
        assert_ok(be->ops->pool_grad(
            be,
            &(bl_pool_grad_args){
                .dy = F2(dy, BAND_RANK, BAND_IN), .dx = F2(g, BAND_RANK, BAND_GROUPS), .group = BAND_GROUP, .by = 0.25},
            &e));
        assert_gradient("pool", pooled, at, BAND_RANK * BAND_GROUPS, N, dy, g, 1e-5);
        for (int tall = 0; tall < 2; tall++) {
            const int m = tall ? BAND_IN : BAND_RANK, n = tall ? BAND_RANK : BAND_IN;
            b_tall = tall;
            memset(g, 0, sizeof g);
            assert_ok(be->ops->band(be,
                                    &(bl_band_args){.x = F2(x, m, n),
                                                    .y = F2(made, m, n),
                                                    .beta = F1(x + N, 1),
                                                    .group = BAND_GROUP,
                                                    .by = 0.25,
                                                    .tall = tall},
                                    &e));
            banded(at, want);
            for (int i = 0; i < N; i++) assert_true(fabs(made[i] - want[i]) < 1e-6);
            assert_ok(be->ops->band_grad(be,
                                         &(bl_band_grad_args){.dy = F2(dy, m, n),
                                                              .dx = F2(g, m, n),
                                                              .dbeta = F1(g + N, 1),
                                                              .group = BAND_GROUP,
                                                              .by = 0.25,
                                                              .tall = tall},
                                         &e));
            assert_gradient("band", banded, at, N + 1, N, dy, g, 1e-5);
        }
    }
}

/* ---- adapters that read one input: x, then A and B of each ---- */
enum { AD_ROWS = 3, AD_IN = 6, AD_N = 2, AD_A = 5 * AD_IN, AD_B = 7 * 2 + 4 * 3, AD_OUT = AD_ROWS * (7 + 4) };
static void adapted(const double *p, double *y)
{
    static const int rank[] = {2, 3}, out[] = {7, 4};
    const double *x = p, *a = p + AD_ROWS * AD_IN, *b = a + AD_A;
    for (int i = 0; i < AD_N; a += rank[i] * AD_IN, b += out[i] * rank[i], y += AD_ROWS * out[i], i++)
        for (int r = 0; r < AD_ROWS; r++)
            for (int o = 0; o < out[i]; o++) {
                y[r * out[i] + o] = 0;
                for (int k = 0; k < rank[i]; k++)
                    for (int j = 0; j < AD_IN; j++)
                        y[r * out[i] + o] += 0.5 * (i + 1) * b[o * rank[i] + k] * a[k * AD_IN + j] * x[r * AD_IN + j];
            }
}

static void adapters_of_one_input_have_their_gradients(void **state)
{
    enum { N = AD_ROWS * AD_IN + AD_A + AD_B };
    float p[N + 16], dy[AD_OUT], work[AD_ROWS * 16]; /* 64 bytes after a weight are read */
    double at[N];
    (void)state;
    fill(p, N, 1);
    fill(dy, AD_OUT, 1);
    in_double(p, N, at);
    EACH(be)
    {
        float g[N] = {0}, twice[N], *a = p + AD_ROWS * AD_IN, *b = a + AD_A, *da = g + AD_ROWS * AD_IN, *db = da + AD_A;
        bl_lowrank_grad_args l = {
            .x = F2(p, AD_ROWS, AD_IN), .dx = F2(g, AD_ROWS, AD_IN), .n = AD_N, .accumulate = true};
        l.work = F2(work, AD_ROWS, 16);
        l.of[0].a = F2(a, 2, AD_IN), l.of[0].da = F2(da, 2, AD_IN), l.of[0].scale = 0.5;
        l.of[0].b = F2(b, 7, 2), l.of[0].db = F2(db, 7, 2), l.of[0].dy = F2(dy, AD_ROWS, 7);
        l.of[1].a = F2(a + 2 * AD_IN, 3, AD_IN), l.of[1].da = F2(da + 2 * AD_IN, 3, AD_IN), l.of[1].scale = 1;
        l.of[1].b = F2(b + 14, 4, 3), l.of[1].db = F2(db + 14, 4, 3), l.of[1].dy = F2(dy + AD_ROWS * 7, AD_ROWS, 4);
        assert_ok(be->ops->lowrank_grad(be, &l, &e));
        assert_gradient("adapters", adapted, at, N, AD_OUT, dy, g, 1e-5);
        memcpy(twice, g, sizeof g);
        l.accumulate = false; /* dx alone is written anew */
        assert_ok(be->ops->lowrank_grad(be, &l, &e));
        for (int i = 0; i < N; i++) assert_true(fabsf(g[i] - (i < AD_ROWS * AD_IN ? 1 : 2) * twice[i]) <= 1e-5f);
        l.dx = (bl_tensor){0}; /* not wanted */
        assert_ok(be->ops->lowrank_grad(be, &l, &e));
        for (int i = 0; i < N; i++) assert_true(fabsf(g[i] - (i < AD_ROWS * AD_IN ? 1 : 3) * twice[i]) <= 2e-5f);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(dropout_keeps_the_share_it_should_whatever_the_chunks),
        cmocka_unit_test(adamw_steps_as_its_formula),
        cmocka_unit_test(parameters_step_together_as_each_alone),
        cmocka_unit_test(moments_of_eight_bits_keep_their_sign),
        cmocka_unit_test(grids_have_the_straight_through_gradient),
        cmocka_unit_test(a_weight_at_an_end_of_the_range_is_inside_but_for_learned_steps),
        cmocka_unit_test(lengths_of_rows_and_their_gradient_are_those_of_the_formula),
        cmocka_unit_test(pooled_columns_and_short_cuts_have_their_gradients),
        cmocka_unit_test(adapters_of_one_input_have_their_gradients),
    };
    return cmocka_run_group_tests(tests, gradient_begin, gradient_end);
}
