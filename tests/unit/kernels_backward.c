/* Gradients of the ops, on the fast backend and on the reference, against central differences of the same mathematics
 * in double; dropout, AdamW and learned step sizes against their formulas. */
#include "test.h"
#include "kernels/base/rng.h"
#include "kernels/cpu/cpu.h"
#include "lists.h"

static bl_err e;
static bl_backend *backends[3]; /* fast, AVX2, reference */
#define EACH(be) for (bl_backend * be, **at_ = backends; at_ < backends + 3 && (be = *at_) != NULL; at_++)

static int set_up(void **state)
{
    (void)state;
    return bl_backend_open(&(bl_backend_opts){.device = "cpu", .threads = 2}, &backends[0], &e) != BL_OK ||
           bl_backend_open(&(bl_backend_opts){.threads = 2, .isa = BL_ISA_AVX2}, &backends[1], &e) != BL_OK ||
           bl_backend_open(&(bl_backend_opts){.reference = true}, &backends[2], &e) != BL_OK;
}
static int tear_down(void **state)
{
    (void)state;
    for (int i = 0; i < 3; i++) bl_backend_close(backends[i]);
    return 0;
}

static bl_rng random_numbers;
static float number(float by) { return by * (float)(bl_rng_uniform(&random_numbers) * 2 - 1); }
static void fill(float *x, int64_t n, float by)
{
    for (int64_t i = 0; i < n; i++) x[i] = number(by);
}
#define F2(p, rows, cols) bl_tensor_2d(&(bl_buffer){.data = (p)}, 0, BL_F32, rows, cols)
#define F1(p, n)          bl_tensor_1d(&(bl_buffer){.data = (p)}, 0, BL_F32, n)

/* A function of doubles: its outputs y[n] from the inputs x, whose places it knows. */
typedef void function(const double *x, double *y);
enum { MOST = 2048 };

/* got[i] is the gradient of sum c y to x[i], i = 0 .. n-1, of n_in inputs and n_out outputs. */
static void assert_gradient(const char *what, function *f, const double *at, int64_t n_in, int64_t n_out,
                            const float *c, const float *got, double tolerance)
{
    double x[MOST], hi[MOST], lo[MOST], scale = 0;
    assert_true(n_in <= MOST && n_out <= MOST);
    memcpy(x, at, (size_t)n_in * sizeof *x);
    for (int64_t i = 0; i < n_in; i++) scale = fmax(scale, fabs((double)got[i]));
    assert_true(scale > 0);
    for (int64_t i = 0; i < n_in; i++) {
        const double h = 1e-5;
        double want = 0;
        x[i] = at[i] + h;
        f(x, hi);
        x[i] = at[i] - h;
        f(x, lo);
        x[i] = at[i];
        for (int64_t k = 0; k < n_out; k++) want += c[k] * (hi[k] - lo[k]) / (2 * h);
        if (!(fabs(got[i] - want) <= tolerance * scale))
            fail_msg("%s: element %d is %.9g, central differences give %.9g", what, (int)i, (double)got[i], want);
    }
}

static void in_double(const float *x, int64_t n, double *to)
{
    for (int64_t i = 0; i < n; i++) to[i] = x[i];
}

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
        a.dw = (bl_tensor){0}; /* the bias alone */
        a.alpha = 1;
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
    int32_t from[MID];
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
                  .stride = {16, 4, 1}}}};
    EACH(be) for (int from_t = 0; from_t < 5; from_t++) for (int to_t = from_t + 1; to_t <= 5; to_t++)
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

/* The nearest code, but never one of the other sign: a moment that is all but 0 keeps its direction. */
static void moments_of_eight_bits_keep_their_sign(void **state)
{
    (void)state;
    enum { N = 5, ZERO = 128 };
    float m_table[256], v_table[256], grad[N] = {1, -1e-6f, 1e-6f, 0, -1};
    static const uint8_t want[N] = {255, ZERO - 1, ZERO, ZERO, 1};
    for (int i = 0; i < 256; i++) {
        m_table[i] = (float)(i - ZERO) / 127;
        v_table[i] = (float)i / 255;
    }
    EACH(be)
    {
        float p[N] = {0}, m_max[1] = {0}, v_max[1] = {0};
        uint8_t m[N] = {0}, v[N] = {0};
        assert_ok(be->ops->adamw8(be,
                                  &(bl_adamw8_args){.p = F1(p, N),
                                                    .grad = F1(grad, N),
                                                    .m = bl_tensor_1d(&(bl_buffer){.data = m}, 0, BL_U8, N),
                                                    .v = bl_tensor_1d(&(bl_buffer){.data = v}, 0, BL_U8, N),
                                                    .m_max = F1(m_max, 1),
                                                    .v_max = F1(v_max, 1),
                                                    .m_table = F1(m_table, 256),
                                                    .v_table = F1(v_table, 256),
                                                    .lr = 0.1,
                                                    .beta1 = 0.9,
                                                    .beta2 = 0.99,
                                                    .eps = 1e-8,
                                                    .grad_scale = 1,
                                                    .step = 1},
                                  &e));
        assert_memory_equal(m, want, N);
        assert_true(fabsf(m_max[0] - 0.1f) < 1e-6f && fabsf(v_max[0] - 0.01f) < 1e-6f);
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
    float dz[DORA_ROWS * DORA_OUT];
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
        assert_ok(be->ops->dora_grad(be,
                                     &(bl_dora_grad_args){.z = F2(a_z, DORA_ROWS, DORA_OUT),
                                                          .dz = F2(dz, DORA_ROWS, DORA_OUT),
                                                          .b = F2(x, DORA_OUT, DORA_RANK),
                                                          .dy = F2(dy, DORA_OUT, DORA_RANK),
                                                          .norm = F1(a_norm, DORA_OUT),
                                                          .by = F1(by, DORA_OUT),
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
        assert_refused(be->ops->dora_grad(be, &(bl_dora_grad_args){.b = a, .z = a, .dz = b}, &e), BL_E_INTERNAL,
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
        cmocka_unit_test(dropout_keeps_the_share_it_should_whatever_the_chunks),
        cmocka_unit_test(adamw_steps_as_its_formula),
        cmocka_unit_test(moments_of_eight_bits_keep_their_sign),
        cmocka_unit_test(grids_have_the_straight_through_gradient),
        cmocka_unit_test(a_weight_at_an_end_of_the_range_is_inside_but_for_learned_steps),
        cmocka_unit_test(lengths_of_rows_and_their_gradient_are_those_of_the_formula),
        cmocka_unit_test(pooled_columns_and_short_cuts_have_their_gradients),
        cmocka_unit_test(adapters_of_one_input_have_their_gradients),
        cmocka_unit_test(a_broken_shape_is_refused_by_every_op),
    };
    random_numbers = bl_rng_at(9, bl_rng_key("kernels_backward", 0), 0);
    return cmocka_run_group_tests_name("kernels_backward", tests, set_up, tear_down);
}
