/* Gradients on the fast backend against the plain reference over shapes that do not divide anything, with equal bits
 * where the sums are the same ones, and the same bits on any number of threads. */
#include "test.h"
#include "kernels/base/rng.h"
#include "kernels/cpu/cpu.h"

static bl_err e;
static bl_backend *plain, *fast[4]; /* one thread, two, three, AVX2 */

static int set_up(void **state)
{
    (void)state;
    for (int i = 0; i < 4; i++)
        if (bl_backend_open(&(bl_backend_opts){.threads = i % 3 + 1, .isa = i == 3 ? BL_ISA_AVX2 : BL_ISA_BEST},
                            &fast[i], &e) != BL_OK)
            return 1;
    return bl_backend_open(&(bl_backend_opts){.reference = true}, &plain, &e) != BL_OK;
}
static int tear_down(void **state)
{
    (void)state;
    for (int i = 0; i < 4; i++) bl_backend_close(fast[i]);
    bl_backend_close(plain);
    return 0;
}

/* Random numbers, in rows that are 3 longer than the tensor is wide. */
static bl_tensor random_rows(int64_t rows, int64_t cols, float by, uint64_t seed)
{
    bl_rng r = bl_rng_at(seed, bl_rng_key("kernels_backward", 1), 0);
    bl_buffer *b;
    bl_tensor t;
    int64_t n = rows * (cols + 3);
    assert_ok(plain->ops->buffer_new(plain, (uint64_t)n * sizeof(float), &b, &e));
    for (int64_t i = 0; i < n; i++) ((float *)b->data)[i] = by * (float)(bl_rng_uniform(&r) * 2 - 1);
    t = bl_tensor_2d(b, 0, BL_F32, rows, cols + 3);
    t.dim[1] = cols;
    return t;
}
static bl_tensor flat(bl_tensor t) { return bl_tensor_1d(t.buf, 0, t.dtype, t.dim[1]); }
static void drop(bl_tensor t) { plain->ops->buffer_free(t.buf); }

typedef bl_status run(bl_backend *be, bl_tensor *out, void *ctx); /* out[0 .. n) hold what the op writes */

/* Every output of the fast backends has the bits of the first of them; normalised mean squared error against plain C
 * at most `limit` (0: its bits). */
static void compare(const char *what, run *f, void *ctx, const bl_tensor *out, int n, double limit)
{
    bl_tensor mine[5][3];
    for (int k = 0; k < 5; k++) {
        for (int i = 0; i < n; i++) {
            mine[k][i] = out[i];
            assert_ok(plain->ops->buffer_new(plain, out[i].buf->bytes, &mine[k][i].buf, &e));
            memcpy(mine[k][i].buf->data, out[i].buf->data, out[i].buf->bytes);
        }
        assert_ok(f(k < 4 ? fast[k] : plain, mine[k], ctx));
    }
    for (int i = 0; i < n; i++) {
        size_t bytes = out[i].buf->bytes;
        for (int k = 1; k < 4; k++)
            if (memcmp(mine[k][i].buf->data, mine[0][i].buf->data, bytes))
                fail_msg("%s: output %d depends on threads or instructions", what, i);
        const float *x = mine[0][i].buf->data, *y = mine[4][i].buf->data;
        double error = 0, power = 0;
        for (size_t j = 0; j < bytes / sizeof *x; j++) {
            error += ((double)x[j] - y[j]) * ((double)x[j] - y[j]);
            power += (double)y[j] * y[j];
        }
        if (limit > 0 ? !(error <= limit * power) : memcmp(x, y, bytes) != 0)
            fail_msg("%s: output %d differs from plain C: %g of %g", what, i, error, power);
    }
    for (int k = 0; k < 5; k++)
        for (int i = 0; i < n; i++) drop(mine[k][i]);
}

static bl_status weight(bl_backend *be, bl_tensor *out, void *ctx)
{
    bl_weight_grad_args a = *(bl_weight_grad_args *)ctx;
    a.dw = out[0];
    a.db = flat(out[1]);
    return be->ops->weight_grad(be, &a, &e);
}
static void gradients_of_weights_have_the_bits_of_plain_c(void **state)
{
    (void)state;
    const int64_t shape[][3] = {{1, 1, 1},    {3, 7, 5},    {257, 33, 50}, {64, 16, 48},
                                {300, 8, 70}, {40, 13, 21}, {270, 96, 8},  {600, 100, 97}};
    for (size_t i = 0; i < BL_COUNT(shape); i++) {
        int64_t rows = shape[i][0], in = shape[i][1], n = shape[i][2];
        bl_tensor x = random_rows(rows, in, 1, 1), dy = random_rows(rows, n, 1, 2);
        bl_tensor out[] = {random_rows(n, in, 1, 3), random_rows(1, n, 1, 4)};
        compare("weight_grad", weight, &(bl_weight_grad_args){.x = x, .dy = dy, .alpha = 0.3}, out, 2, 0);
        drop(x), drop(dy), drop(out[0]), drop(out[1]);
    }
}

static bl_status norm(bl_backend *be, bl_tensor *out, void *ctx)
{
    bl_rmsnorm_grad_args a = *(bl_rmsnorm_grad_args *)ctx;
    a.dx = out[0];
    a.dweight = flat(out[1]);
    return be->ops->rmsnorm_grad(be, &a, &e);
}
static void gradients_of_norms_have_the_bits_of_plain_c(void **state)
{
    (void)state;
    const int64_t shape[][2] = {{1, 1}, {5, 8}, {70, 131}, {400, 64}};
    for (size_t i = 0; i < 2 * BL_COUNT(shape); i++) {
        int64_t rows = shape[i / 2][0], n = shape[i / 2][1];
        bl_tensor x = random_rows(rows, n, 1, 1), dy = random_rows(rows, n, 1, 2), w = random_rows(1, n, 1, 5);
        bl_tensor out[] = {random_rows(rows, n, 1, 3), random_rows(1, n, 1, 4)};
        compare("rmsnorm_grad", norm,
                &(bl_rmsnorm_grad_args){.x = x, .dy = dy, .weight = flat(w), .eps = 1e-5, .accumulate = i % 2}, out, 2,
                0);
        drop(x), drop(dy), drop(w), drop(out[0]), drop(out[1]);
    }
}

static bl_status turn(bl_backend *be, bl_tensor *out, void *ctx)
{
    bl_rope_args a = *(bl_rope_args *)ctx;
    a.x = out[0];
    return be->ops->rope_grad(be, &a, &e);
}
static bl_status gate(bl_backend *be, bl_tensor *out, void *ctx)
{
    bl_swiglu_grad_args a = *(bl_swiglu_grad_args *)ctx;
    a.dgate = out[0];
    a.dup = out[1];
    return be->ops->swiglu_grad(be, &a, &e);
}
static bl_status embedding(bl_backend *be, bl_tensor *out, void *ctx)
{
    bl_embed_grad_args a = *(bl_embed_grad_args *)ctx;
    a.dw = out[0];
    return be->ops->embed_grad(be, &a, &e);
}
static bl_status entropy(bl_backend *be, bl_tensor *out, void *ctx)
{
    bl_loss_grad_args a = *(bl_loss_grad_args *)ctx;
    a.grad = out[0];
    return be->ops->loss_grad(be, &a, &e);
}
static bl_status followed(bl_backend *be, bl_tensor *out, void *ctx)
{
    bl_loss_grad_args a = *(bl_loss_grad_args *)ctx;
    double kl[60];
    bl_buffer b = {.data = kl};
    a.kl = bl_tensor_1d(&b, 0, BL_F64, a.logits.dim[0]);
    a.grad = out[0];
    a.theirs = out[1];
    return be->ops->loss_grad(be, &a, &e);
}
static void gradients_of_rows_have_the_bits_of_plain_c(void **state)
{
    (void)state;
    enum { ROWS = 60, HEAD = 26, WIDTH = 3 * HEAD, VOCAB = 37 };
    int32_t pos[ROWS], ids[ROWS];
    bl_tensor a = random_rows(ROWS, WIDTH, 5, 1), b = random_rows(ROWS, WIDTH, 5, 2),
              c = random_rows(ROWS, WIDTH, 1, 3), d = random_rows(VOCAB, WIDTH, 1, 4),
              cs = random_rows(ROWS, HEAD / 2, 1, 5), sn = random_rows(ROWS, HEAD / 2, 1, 6);
    bl_buffer list[] = {{.data = pos}, {.data = ids}};
    bl_tensor t_pos = bl_tensor_1d(&list[0], 0, BL_I32, ROWS), t_ids = bl_tensor_1d(&list[1], 0, BL_I32, ROWS);
    for (int i = 0; i < ROWS; i++) {
        pos[i] = (i * 7) % ROWS;
        ids[i] = (i * i) % VOCAB;
    }
    compare("rope_grad", turn, &(bl_rope_args){.head_dim = HEAD, .pos = t_pos, .cos = cs, .sin = sn}, &c, 1, 0);
    compare("swiglu_grad", gate, &(bl_swiglu_grad_args){.gate = a, .up = b, .dy = c}, (bl_tensor[]){a, b}, 2, 0);
    compare("embed_grad", embedding, &(bl_embed_grad_args){.ids = t_ids, .dy = a}, &d, 1, 0);
    for (int i = 0; i < ROWS; i++) ids[i] = i % 3 ? ids[i] : -1;
    compare("loss_grad", entropy, &(bl_loss_grad_args){.logits = a, .vocab = VOCAB, .target = t_ids, .scale = 0.1}, &a,
            1, 0);
    compare("loss_grad beside another model", followed,
            &(bl_loss_grad_args){.logits = a, .vocab = VOCAB, .target = t_ids, .scale = 0.1, .toward = 0.3},
            (bl_tensor[]){a, b}, 2, 0);
    drop(a), drop(b), drop(c), drop(d), drop(cs), drop(sn);
}

static bl_status attention(bl_backend *be, bl_tensor *out, void *ctx)
{
    bl_attention_grad_args a = *(bl_attention_grad_args *)ctx;
    a.dq = out[0];
    a.dk = out[1];
    a.dv = out[2];
    return be->ops->attention_grad(be, &a, &e);
}
static void gradients_of_attention_are_those_of_plain_c(void **state)
{
    (void)state;
    const struct {
        int64_t heads, kv, dim;
        int32_t start[4];
    } shape[] = {{1, 1, 1, {0, 1, 2, 3}},
                 {4, 2, 16, {0, 64, 65, 200}},
                 {6, 2, 13, {0, 0, 63, 130}},
                 {3, 3, 64, {5, 70, 70, 140}},
                 {2, 1, 100, {0, 10, 150, 151}}};
    for (size_t i = 0; i < BL_COUNT(shape); i++) {
        int64_t rows = shape[i].start[3] + 2, heads = shape[i].heads, kv = shape[i].kv, dim = shape[i].dim;
        bl_tensor q = random_rows(rows, heads * dim, 1, 1), k = random_rows(rows, kv * dim, 1, 2),
                  v = random_rows(rows, kv * dim, 1, 3), y = random_rows(rows, heads * dim, 1, 4),
                  dy = random_rows(rows, heads * dim, 1, 5);
        bl_tensor out[] = {random_rows(rows, heads * dim, 1, 6), random_rows(rows, kv * dim, 1, 7),
                           random_rows(rows, kv * dim, 1, 8)};
        bl_buffer list = {.data = (void *)(uintptr_t)shape[i].start};
        compare("attention_grad", attention,
                &(bl_attention_grad_args){.q = q,
                                          .k = k,
                                          .v = v,
                                          .y = y,
                                          .dy = dy,
                                          .heads = heads,
                                          .kv_heads = kv,
                                          .head_dim = dim,
                                          .scale = 0.8,
                                          .n_seq = 3,
                                          .start = bl_tensor_1d(&list, 0, BL_I32, 4)},
                out, 3, 1e-11);
        drop(q), drop(k), drop(v), drop(y), drop(dy), drop(out[0]), drop(out[1]), drop(out[2]);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(gradients_of_weights_have_the_bits_of_plain_c),
        cmocka_unit_test(gradients_of_norms_have_the_bits_of_plain_c),
        cmocka_unit_test(gradients_of_rows_have_the_bits_of_plain_c),
        cmocka_unit_test(gradients_of_attention_are_those_of_plain_c),
    };
    return cmocka_run_group_tests_name("kernels_backward", tests, set_up, tear_down);
}
