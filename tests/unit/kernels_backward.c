/* Gradients of the ops, on the fast backend and on the reference, against central differences of the same mathematics
 * in double. */
#include "gradient_fixture.h"

/* ---- products ---- */
enum { P_ROWS = 5, P_IN = 21, P_OUT = 10 };
static float p_x[P_ROWS * P_IN];
static void product(const double *w, double *y) /* w [out, in], then the bias */
{
    for (int r = 0; r < P_ROWS; r++)
        for (int o = 0; o < P_OUT; o++) {
            double s = w[P_OUT * P_IN + o];
            for (int i = 0; i < P_IN; i++) s += w[o * P_IN + i] * p_x[r * P_IN + i];
            y[r * P_OUT + o] = s;
        }
}

static void a_weight_has_the_gradient_of_its_product(void **state)
{
    (void)state;
    double at[P_OUT * (P_IN + 1)] = {0};
    float dy[P_ROWS * P_OUT];
    fill(p_x, P_ROWS * P_IN, 1);
    fill(dy, P_ROWS * P_OUT, 1);
    EACH(be)
    {
        float g[P_OUT * (P_IN + 1)] = {0}, twice[P_OUT * (P_IN + 1)];
        bl_weight_grad_args a = {.x = F2(p_x, P_ROWS, P_IN),
                                 .dy = F2(dy, P_ROWS, P_OUT),
                                 .dw = F2(g, P_OUT, P_IN),
                                 .db = F1(g + P_OUT * P_IN, P_OUT),
                                 .alpha = 1};
        assert_ok(be->ops->weight_grad(be, &a, &e));
        assert_gradient("weight", product, at, P_OUT * (P_IN + 1), P_ROWS * P_OUT, dy, g, 1e-6);
        memcpy(twice, g, sizeof g);
        a.alpha = 2; /* onto what is there */
        assert_ok(be->ops->weight_grad(be, &a, &e));
        for (size_t i = 0; i < BL_COUNT(g); i++) assert_true(fabsf(g[i] - 3 * twice[i]) <= 1e-5f);
        a.alpha = 1;
        a.anew = true; /* in its place */
        assert_ok(be->ops->weight_grad(be, &a, &e));
        assert_memory_equal(g, twice, P_OUT * P_IN * sizeof *g);
        a.dw = (bl_tensor){0}; /* the bias alone */
        memset(g, 0, sizeof g);
        assert_ok(be->ops->weight_grad(be, &a, &e));
        assert_memory_equal(g + P_OUT * P_IN, twice + P_OUT * P_IN, P_OUT * sizeof *g);
        assert_true(g[0] == 0);
    }
}

static const float *t_w; /* [out, in] */
static void input_of_product(const double *x, double *y)
{
    for (int o = 0; o < P_OUT; o++) {
        y[o] = 0;
        for (int i = 0; i < P_IN; i++) y[o] += t_w[o * P_IN + i] * x[i];
    }
}
static void an_input_has_the_gradient_of_its_product_with_a_packed_weight(void **state)
{
    (void)state;
    float w[P_OUT * P_IN], x[P_IN], dy[P_OUT], dx[P_IN], back[P_OUT * P_IN];
    double at[P_IN];
    fill(w, P_OUT * P_IN, 1);
    fill(x, P_IN, 1);
    fill(dy, P_OUT, 1);
    in_double(x, P_IN, at);
    EACH(be)
    {
        bl_weight p;
        bl_shape shape = {.out = P_OUT, .in = P_IN, .group = 7, .zero = BL_ZERO_PACKED, .scale = BL_F16};
        assert_ok(bl_weight_new(be, bl_format_find("int4"), &shape, &p, &e));
        assert_ok(be->ops->pack(be, &(bl_pack_args){.x = F2(w, P_OUT, P_IN), .w = &p}, &e));
        assert_ok(be->ops->unpack(be, &(bl_unpack_args){.w = &p, .rows = P_OUT, .y = F2(back, P_OUT, P_IN)}, &e));
        t_w = back;
        assert_ok(be->ops->linear(
            be, &(bl_linear_args){.x = F2(dy, 1, P_OUT), .w = {&p}, .y = {F2(dx, 1, P_IN)}, .transpose = true}, &e));
        assert_gradient("input", input_of_product, at, P_IN, P_OUT, dy, dx, 1e-6);
        bl_weight_free(&p);
    }
}

/* ---- norm, rotary positions, gate ---- */
enum { N_ROWS = 3, N_DIM = 21 };
static const double n_eps = 1e-2; /* large enough to matter */
static void norm(const double *x, double *y)
{
    const double *w = x + N_ROWS * N_DIM;
    for (int r = 0; r < N_ROWS; r++) {
        double s = 0;
        for (int i = 0; i < N_DIM; i++) s += x[r * N_DIM + i] * x[r * N_DIM + i];
        s = 1 / sqrt(s / N_DIM + n_eps);
        for (int i = 0; i < N_DIM; i++) y[r * N_DIM + i] = x[r * N_DIM + i] * s * w[i];
    }
}
static void norm_has_the_gradient_of_its_formula(void **state)
{
    (void)state;
    enum { N = N_ROWS * N_DIM };
    float x[N + N_DIM], dy[N];
    double at[N + N_DIM];
    fill(x, N + N_DIM, 1);
    fill(dy, N, 1);
    in_double(x, N + N_DIM, at);
    EACH(be)
    {
        float g[N + N_DIM] = {0}, in_place[N], more[N];
        bl_rmsnorm_grad_args a = {.x = F2(x, N_ROWS, N_DIM),
                                  .weight = F1(x + N, N_DIM),
                                  .dy = F2(dy, N_ROWS, N_DIM),
                                  .dx = F2(g, N_ROWS, N_DIM),
                                  .dweight = F1(g + N, N_DIM),
                                  .eps = n_eps};
        assert_ok(be->ops->rmsnorm_grad(be, &a, &e));
        assert_gradient("norm", norm, at, N + N_DIM, N, dy, g, 1e-6);
        memcpy(in_place, dy, sizeof dy);
        a.dy = a.dx = F2(in_place, N_ROWS, N_DIM);
        assert_ok(be->ops->rmsnorm_grad(be, &a, &e));
        assert_memory_equal(in_place, g, sizeof in_place);
        for (int i = 0; i < N_DIM; i++) at[i] = g[N + i]; /* the weight's gradient has now come twice */
        a.dy = F2(dy, N_ROWS, N_DIM);
        a.dx = F2(more, N_ROWS, N_DIM);
        a.dweight = (bl_tensor){0};
        a.accumulate = true;
        for (int i = 0; i < N; i++) more[i] = 1;
        assert_ok(be->ops->rmsnorm_grad(be, &a, &e));
        for (int i = 0; i < N; i++) assert_true(fabsf(more[i] - 1 - g[i]) <= 1e-5f);
        for (int i = 0; i < N_DIM; i++) assert_true(at[i] == g[N + i]); /* no tensor: not wanted */
        in_double(x, N + N_DIM, at);
    }
}

static void the_gradient_of_rotation_turns_back(void **state)
{
    (void)state;
    enum { ROWS = 4, HEADS = 2, HALF = 9, WIDTH = HEADS * 2 * HALF };
    float x[ROWS * WIDTH], y[ROWS * WIDTH], c[ROWS * HALF], s[ROWS * HALF];
    fill(x, ROWS * WIDTH, 1);
    for (int i = 0; i < ROWS * HALF; i++) {
        c[i] = cosf(0.1f * (float)i);
        s[i] = sinf(0.1f * (float)i);
    }
    EACH(be)
    {
        bl_rope_args a = {.x = F2(y, ROWS, WIDTH),
                          .head_dim = 2 * HALF,
                          .pos = I32(3, 0, 2, 1),
                          .cos = F2(c, ROWS, HALF),
                          .sin = F2(s, ROWS, HALF)};
        memcpy(y, x, sizeof x);
        assert_ok(be->ops->rope(be, &a, &e));
        assert_ok(be->ops->rope_grad(be, &a, &e)); /* a rotation's transpose is its inverse */
        for (int i = 0; i < ROWS * WIDTH; i++) assert_true(fabsf(y[i] - x[i]) < 1e-6f);
        float twice[ROWS * HALF], z[ROWS * WIDTH]; /* and of a scaled one it is not: Rt R = 4 */
        for (int i = 0; i < ROWS * HALF; i++) {
            twice[i] = 2 * s[i];
            c[i] *= 2;
        }
        memcpy(z, x, sizeof x);
        a.x = F2(z, ROWS, WIDTH);
        a.sin = F2(twice, ROWS, HALF);
        assert_ok(be->ops->rope(be, &a, &e));
        assert_ok(be->ops->rope_grad(be, &a, &e));
        for (int i = 0; i < ROWS * WIDTH; i++) assert_true(fabsf(z[i] - 4 * x[i]) < 1e-5f);
        for (int i = 0; i < ROWS * HALF; i++) c[i] /= 2;
    }
}

/* <T x, dy> = <x, Tt dy>, for transforms of every kind, one after another. */
static void the_gradient_of_transforms_is_their_transpose(void **state)
{
    (void)state;
    enum { ROWS = 3, IN = 24, MID = 36, OUT = 36 };
    float scale[IN], signs[MID], turn[MID / 4 * 16], x[ROWS * MID], dy[ROWS * OUT];
    int32_t from[MID], sums[15] = {2, 2, 2, 2, 9, 2, 9, 30, 3, 17, 30, 3, 20, 30, 3}; /* 9 joins 2, 30 is of three */
    fill(scale, IN, 2);
    fill(signs, MID, 1);
    fill(turn, MID / 4 * 16, 1);
    fill(x, ROWS * MID, 1);
    fill(dy, ROWS * OUT, 1);
    for (int i = 0; i < MID; i++) from[i] = (i * 7) % 20; /* some twice, some never */
    const bl_transform t[] = {
        {.kind = BL_T_SCALE, .in = IN, .out = IN, .data = F1(scale, IN)},
        {.kind = BL_T_PERMUTE, .in = IN, .out = MID, .data = VIEW_OF(from, BL_I32, MID)},
        {.kind = BL_T_HADAMARD, .in = MID, .out = MID, .data = F1(signs, MID)}, /* of order 36, not symmetric */
        {.kind = BL_T_HADAMARD, .in = MID, .out = MID, .data = F1(signs, 12)},  /* each 12 apart */
        {.kind = BL_T_ROTATE,
         .in = MID,
         .out = OUT,
         .data = {.buf = &(bl_buffer){.data = turn},
                  .dtype = BL_F32,
                  .ndim = 3,
                  .dim = {MID / 4, 4, 4},
                  .stride = {16, 4, 1}}},
        {.kind = BL_T_PERMUTE,
         .in = OUT,
         .out = OUT,
         .data = {.buf = &(bl_buffer){.data = sums}, .dtype = BL_I32, .ndim = 2, .dim = {5, 3}, .stride = {3, 1}}}};
    EACH(be) for (int from_t = 0; from_t < 6; from_t++) for (int to_t = from_t + 1; to_t <= 6; to_t++)
    {
        float y[ROWS * OUT], dx[ROWS * MID];
        int64_t in = t[from_t].in, out = t[to_t - 1].out;
        double left = 0, right = 0;
        for (int i = 0; i < ROWS * MID; i++) dx[i] = 1;
        assert_ok(be->ops->transform(
            be,
            &(bl_transform_args){.x = F2(x, ROWS, in), .y = F2(y, ROWS, out), .t = t + from_t, .n_t = to_t - from_t},
            &e));
        assert_ok(be->ops->transform_grad(be,
                                          &(bl_transform_grad_args){.dy = F2(dy, ROWS, out),
                                                                    .dx = F2(dx, ROWS, in),
                                                                    .t = t + from_t,
                                                                    .n_t = to_t - from_t,
                                                                    .accumulate = true},
                                          &e));
        for (int i = 0; i < ROWS * out; i++) left += (double)y[i] * dy[i];
        for (int i = 0; i < ROWS * in; i++) right += (double)x[i] * (dx[i] - 1);
        if (!(fabs(left - right) < 1e-5)) fail_msg("transforms %d to %d: %g, %g", from_t, to_t, left, right);
        assert_refused(be->ops->transform_grad(be,
                                               &(bl_transform_grad_args){.dy = F2(dy, ROWS, out),
                                                                         .dx = F2(dx, ROWS, in + 1),
                                                                         .t = t + from_t,
                                                                         .n_t = to_t - from_t},
                                               &e),
                       BL_E_INTERNAL, "transform_grad");
    }
}

enum { G_N = 27 };
static void gated(const double *x, double *y) /* gate, then up */
{
    for (int i = 0; i < G_N; i++) y[i] = x[i] / (1 + exp(-x[i])) * x[G_N + i];
}
static void a_gate_has_the_gradient_of_its_formula(void **state)
{
    (void)state;
    float x[2 * G_N], dy[G_N];
    double at[2 * G_N];
    fill(x, 2 * G_N, 4);
    fill(dy, G_N, 1);
    in_double(x, 2 * G_N, at);
    EACH(be)
    {
        float g[2 * G_N], own[2 * G_N];
        bl_swiglu_grad_args a = {.gate = F2(x, 1, G_N),
                                 .up = F2(x + G_N, 1, G_N),
                                 .dy = F2(dy, 1, G_N),
                                 .dgate = F2(g, 1, G_N),
                                 .dup = F2(g + G_N, 1, G_N)};
        assert_ok(be->ops->swiglu_grad(be, &a, &e));
        assert_gradient("gate and up", gated, at, 2 * G_N, G_N, dy, g, 1e-6);
        memcpy(own, x, sizeof x);
        a.gate = a.dgate = F2(own, 1, G_N); /* in place */
        a.up = a.dup = F2(own + G_N, 1, G_N);
        assert_ok(be->ops->swiglu_grad(be, &a, &e));
        assert_memory_equal(own, g, sizeof own);
    }
}

/* ---- attention ---- */
enum { A_ROWS = 11, A_HEADS = 4, A_KV = 2, A_DIM = 5, A_Q = A_ROWS * A_HEADS * A_DIM, A_K = A_ROWS * A_KV * A_DIM };
static const int32_t a_start[] = {0, 4, 4, 11}; /* one of them is empty */
static const double a_scale = 0.7;
static void attend(const double *x, double *y) /* q, k, v */
{
    const double *q = x, *k = q + A_Q, *v = k + A_K;
    for (size_t s = 0; s + 1 < BL_COUNT(a_start); s++)
        for (int r = a_start[s]; r < a_start[s + 1]; r++)
            for (int h = 0; h < A_HEADS; h++) {
                double p[A_ROWS], sum = 0, *to = y + (r * A_HEADS + h) * A_DIM;
                int kv = h / (A_HEADS / A_KV);
                for (int d = 0; d < A_DIM; d++) to[d] = 0;
                for (int j = a_start[s]; j <= r; j++) {
                    double dot = 0;
                    for (int d = 0; d < A_DIM; d++)
                        dot += q[(r * A_HEADS + h) * A_DIM + d] * k[(j * A_KV + kv) * A_DIM + d];
                    sum += p[j] = exp(dot * a_scale);
                }
                for (int j = a_start[s]; j <= r; j++)
                    for (int d = 0; d < A_DIM; d++) to[d] += p[j] / sum * v[(j * A_KV + kv) * A_DIM + d];
            }
}
static void attention_has_the_gradient_of_its_formula(void **state)
{
    (void)state;
    float x[A_Q + 2 * A_K], dy[A_Q], y[A_Q], g[A_Q + 2 * A_K];
    double at[A_Q + 2 * A_K], out[A_Q];
    fill(x, A_Q + 2 * A_K, 1);
    fill(dy, A_Q, 1);
    in_double(x, A_Q + 2 * A_K, at);
    attend(at, out);
    for (int i = 0; i < A_Q; i++) y[i] = (float)out[i];
    EACH(be)
    {
        for (size_t i = 0; i < BL_COUNT(g); i++) g[i] = NAN;
        assert_ok(be->ops->attention_grad(be,
                                          &(bl_attention_grad_args){.q = F2(x, A_ROWS, A_HEADS * A_DIM),
                                                                    .k = F2(x + A_Q, A_ROWS, A_KV * A_DIM),
                                                                    .v = F2(x + A_Q + A_K, A_ROWS, A_KV * A_DIM),
                                                                    .y = F2(y, A_ROWS, A_HEADS * A_DIM),
                                                                    .dy = F2(dy, A_ROWS, A_HEADS * A_DIM),
                                                                    .dq = F2(g, A_ROWS, A_HEADS * A_DIM),
                                                                    .dk = F2(g + A_Q, A_ROWS, A_KV * A_DIM),
                                                                    .dv = F2(g + A_Q + A_K, A_ROWS, A_KV * A_DIM),
                                                                    .heads = A_HEADS,
                                                                    .kv_heads = A_KV,
                                                                    .head_dim = A_DIM,
                                                                    .scale = a_scale,
                                                                    .n_seq = 3,
                                                                    .start = VIEW_OF(a_start, BL_I32, 4)},
                                          &e));
        assert_gradient("attention", attend, at, A_Q + 2 * A_K, A_Q, dy, g, 3e-6);
    }
}

/* ---- embedding, loss ---- */
static void rows_of_the_embedding_sum_what_came_of_them(void **state)
{
    (void)state;
    float dy[] = {1, 2, 3, 4, 5, 6};
    EACH(be)
    {
        float w[] = {10, 10, 10, 10, 10, 10, 10, 10};
        const float want[] = {10, 10, 16, 18, 10, 10, 13, 14};
        assert_ok(be->ops->embed_grad(
            be, &(bl_embed_grad_args){.ids = I32(1, 3, 1), .dy = F2(dy, 3, 2), .dw = F2(w, 4, 2)}, &e));
        assert_memory_equal(w, want, sizeof w);
        assert_refused(be->ops->embed_grad(
                           be, &(bl_embed_grad_args){.ids = I32(1, 4, 1), .dy = F2(dy, 3, 2), .dw = F2(w, 4, 2)}, &e),
                       BL_E_INTERNAL, "token id");
    }
}

enum { L_ROWS = 3, L_VOCAB = 19, L_COLS = 21 };
static const int32_t l_target[] = {4, -1, 18};
static void entropy(const double *x, double *y) /* the mean nll over the two rows that count */
{
    y[0] = 0;
    for (int r = 0; r < L_ROWS; r++) {
        double sum = 0;
        for (int i = 0; i < L_VOCAB; i++) sum += exp(x[r * L_COLS + i]);
        if (l_target[r] >= 0) y[0] += (log(sum) - x[r * L_COLS + l_target[r]]) / 2;
    }
}
static void cross_entropy_has_the_gradient_of_its_formula_and_skips_what_is_masked(void **state)
{
    (void)state;
    float x[L_ROWS * L_COLS];
    double at[L_ROWS * L_COLS], loss;
    fill(x, L_ROWS * L_COLS, 4);
    in_double(x, L_ROWS * L_COLS, at);
    entropy(at, &loss);
    EACH(be)
    {
        float g[L_ROWS * L_COLS];
        double nll[L_ROWS];
        bl_loss_grad_args a = {.logits = F2(x, L_ROWS, L_COLS),
                               .vocab = L_VOCAB,
                               .target = VIEW_OF(l_target, BL_I32, L_ROWS),
                               .scale = 0.5,
                               .grad = F2(g, L_ROWS, L_COLS),
                               .nll = VIEW_OF(nll, BL_F64, L_ROWS)};
        assert_ok(be->ops->loss_grad(be, &a, &e));
        assert_gradient("loss", entropy, at, L_ROWS * L_COLS, 1, (const float[]){1}, g, 1e-6);
        assert_true(fabs((nll[0] + nll[2]) / 2 - loss) < 1e-6 && nll[1] == 0);
        for (int i = 0; i < L_COLS; i++) assert_true(g[L_COLS + i] == 0); /* exactly */
        float own[L_ROWS * L_COLS];
        memcpy(own, x, sizeof x);
        a.logits = a.grad = F2(own, L_ROWS, L_COLS);
        assert_ok(be->ops->loss_grad(be, &a, &e));
        assert_memory_equal(own, g, sizeof own);
        memcpy(own, x, sizeof x);
        own[3] = INFINITY;
        assert_ok(be->ops->loss_grad(be, &a, &e));
        assert_true(isnan(nll[0]) && isnan(own[0]) && own[2 * L_COLS] == g[2 * L_COLS]);
    }
}

static float l_theirs[L_ROWS * L_COLS];
static void followed(const double *x, double *y) /* 2 nll + 3 kl, of the rows that count */
{
    y[0] = 0;
    for (int r = 0; r < L_ROWS; r++) {
        double q = 0, p = 0, kl = 0;
        const double *a = x + r * L_COLS;
        const float *t = l_theirs + r * L_COLS;
        for (int i = 0; i < L_VOCAB; i++) q += exp(a[i]), p += exp((double)t[i]);
        for (int i = 0; i < L_VOCAB; i++) kl += exp((double)t[i]) / p * (t[i] - log(p) - a[i] + log(q));
        if (l_target[r] >= 0) y[0] += 2 * (log(q) - a[l_target[r]]) + 3 * kl;
    }
}
static void a_model_that_is_followed_adds_the_gradient_of_its_divergence(void **state)
{
    (void)state;
    float x[L_ROWS * L_COLS];
    double at[L_ROWS * L_COLS], loss;
    fill(x, L_ROWS * L_COLS, 4);
    fill(l_theirs, L_ROWS * L_COLS, 3);
    in_double(x, L_ROWS * L_COLS, at);
    followed(at, &loss);
    EACH(be)
    {
        float g[L_ROWS * L_COLS], t[L_ROWS * L_COLS], own[L_ROWS * L_COLS];
        double nll[L_ROWS], kl[L_ROWS];
        bl_loss_grad_args a = {.logits = F2(x, L_ROWS, L_COLS),
                               .vocab = L_VOCAB,
                               .target = VIEW_OF(l_target, BL_I32, L_ROWS),
                               .scale = 2,
                               .grad = F2(g, L_ROWS, L_COLS),
                               .nll = VIEW_OF(nll, BL_F64, L_ROWS),
                               .theirs = F2(t, L_ROWS, L_COLS),
                               .toward = 3,
                               .kl = VIEW_OF(kl, BL_F64, L_ROWS)};
        memcpy(t, l_theirs, sizeof t);
        assert_ok(be->ops->loss_grad(be, &a, &e));
        assert_gradient("loss", followed, at, L_ROWS * L_COLS, 1, (const float[]){1}, g, 1e-6);
        assert_true(fabs(2 * (nll[0] + nll[2]) + 3 * (kl[0] + kl[2]) - loss) < 1e-5 && nll[1] == 0 && kl[1] == 0);
        for (int i = 0; i < L_COLS; i++) assert_true(g[L_COLS + i] == 0);
        memcpy(t, l_theirs, sizeof t);
        memcpy(own, x, sizeof x);
        a.logits = a.grad = F2(own, L_ROWS, L_COLS);
        assert_ok(be->ops->loss_grad(be, &a, &e));
        assert_memory_equal(own, g, sizeof own);
        memcpy(t, x, sizeof t); /* the same distribution */
        memcpy(own, x, sizeof x);
        assert_ok(be->ops->loss_grad(be, &a, &e));
        assert_true(fabs(kl[0]) < 1e-6 && fabs(kl[2]) < 1e-6);
        memcpy(t, l_theirs, sizeof t);
        memcpy(own, x, sizeof x);
        t[2] = -INFINITY;
        assert_ok(be->ops->loss_grad(be, &a, &e));
        assert_true(isnan(kl[0]) && isnan(nll[0]) && isnan(own[0]) && own[2 * L_COLS] == g[2 * L_COLS]);
        a.kl = (bl_tensor){0};
        assert_refused(be->ops->loss_grad(be, &a, &e), BL_E_INTERNAL, "followed");
    }
}

static void a_broken_shape_is_refused_by_every_op(void **state)
{
    (void)state;
    float x[64] = {0};
    bl_tensor a = F2(x, 2, 4), b = F2(x, 2, 5), none = {0};
    EACH(be)
    {
        assert_refused(be->ops->weight_grad(be, &(bl_weight_grad_args){.x = a, .dy = a, .dw = b}, &e), BL_E_INTERNAL,
                       "weight_grad");
        assert_refused(be->ops->rmsnorm_grad(be, &(bl_rmsnorm_grad_args){.x = a, .dy = b}, &e), BL_E_INTERNAL,
                       "rmsnorm_grad");
        assert_refused(be->ops->attention_grad(
                           be, &(bl_attention_grad_args){.q = a, .heads = 3, .kv_heads = 2, .head_dim = 1}, &e),
                       BL_E_INTERNAL, "attention_grad");
        assert_refused(
            be->ops->swiglu_grad(be, &(bl_swiglu_grad_args){.gate = a, .up = a, .dy = a, .dgate = b, .dup = a}, &e),
            BL_E_INTERNAL, "swiglu_grad");
        assert_refused(be->ops->loss_grad(be, &(bl_loss_grad_args){.logits = a, .vocab = 5, .grad = a}, &e),
                       BL_E_INTERNAL, "loss_grad");
        assert_refused(
            be->ops->loss_grad(be, &(bl_loss_grad_args){.logits = a, .vocab = 3, .grad = a, .target = I32(0, 3)}, &e),
            BL_E_INTERNAL, "target");
        assert_refused(be->ops->dropout(be, &(bl_dropout_args){.x = a, .y = a, .p = 1}, &e), BL_E_INTERNAL, "dropout");
        assert_refused(
            be->ops->grid(be, &(bl_grid_args){.w = a, .scale = none, .y = a, .grid = {.bits = 3, .group = 2}}, &e),
            BL_E_INTERNAL, "grid");
        assert_refused(
            be->ops->grid(
                be,
                &(bl_grid_args){
                    .w = a, .scale = F2(x, 2, 2), .offset = F2(x, 2, 2), .y = a, .grid = {.bits = 3, .group = 2}},
                &e),
            BL_E_INTERNAL, "grid"); /* steps have no offsets */
        assert_refused(be->ops->grid_grad(
                           be, &(bl_grid_grad_args){.w = a, .scale = b, .dy = a, .grid = {.bits = 3, .group = 1}}, &e),
                       BL_E_INTERNAL, "grid_grad");
        assert_refused(be->ops->dora(be, &(bl_dora_args){.b = a, .y = b}, &e), BL_E_INTERNAL, "dora");
        assert_refused(be->ops->dora_grad(be, &(bl_dora_grad_args){.of_b = a, .y = a, .dy = b}, &e), BL_E_INTERNAL,
                       "dora_grad");
        assert_refused(be->ops->pool(be, &(bl_pool_args){.x = a, .y = b, .group = 2}, &e), BL_E_INTERNAL, "pool");
        assert_refused(be->ops->pool_grad(be, &(bl_pool_grad_args){.dx = a, .dy = b, .group = 2}, &e), BL_E_INTERNAL,
                       "pool_grad");
        assert_refused(be->ops->band(be, &(bl_band_args){.x = a, .y = a, .group = 2}, &e), BL_E_INTERNAL, "band");
        assert_refused(be->ops->band_grad(be, &(bl_band_grad_args){.dx = a, .dy = b, .group = 2}, &e), BL_E_INTERNAL,
                       "band_grad");
        assert_refused(be->ops->lowrank_grad(be, &(bl_lowrank_grad_args){.x = a, .n = 1}, &e), BL_E_INTERNAL,
                       "lowrank_grad");
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_weight_has_the_gradient_of_its_product),
        cmocka_unit_test(an_input_has_the_gradient_of_its_product_with_a_packed_weight),
        cmocka_unit_test(norm_has_the_gradient_of_its_formula),
        cmocka_unit_test(the_gradient_of_rotation_turns_back),
        cmocka_unit_test(the_gradient_of_transforms_is_their_transpose),
        cmocka_unit_test(a_gate_has_the_gradient_of_its_formula),
        cmocka_unit_test(attention_has_the_gradient_of_its_formula),
        cmocka_unit_test(rows_of_the_embedding_sum_what_came_of_them),
        cmocka_unit_test(cross_entropy_has_the_gradient_of_its_formula_and_skips_what_is_masked),
        cmocka_unit_test(a_model_that_is_followed_adds_the_gradient_of_its_divergence),
        cmocka_unit_test(a_broken_shape_is_refused_by_every_op),
    };
    return cmocka_run_group_tests(tests, gradient_begin, gradient_end);
}
