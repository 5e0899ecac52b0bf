/* AdamW in 32 bits against torch, with moments of 8 bits against bitsandbytes, on recorded gradients. */
#include "golden_file.h"
#include "kernels/ops.h"
#include <math.h>

static bl_err e;

static bl_tensor tensor(bl_backend *be, bl_dtype type, int64_t n, const void *from)
{
    bl_buffer *b;
    assert_ok(be->ops->buffer_new(be, (uint64_t)n * bl_dtype_bytes(type), &b, &e));
    bl_tensor t = bl_tensor_1d(b, 0, type, n);
    if (from) assert_ok(be->ops->upload(be, &t, from, &e));
    else assert_ok(be->ops->fill(be, &t, 0, &e));
    return t;
}

/* How many of x are further from y than the limit. */
static int64_t apart(const float *x, const float *y, int64_t n, double limit)
{
    int64_t far = 0;
    for (int64_t i = 0; i < n; i++) far += !(fabs((double)x[i] - y[i]) <= limit);
    return far;
}

/* A code at the middle of two values may fall to either side, and then its moment is another one in later steps: the
 * share that is equal after five of them, and one more or less in 99 of 100. */
static void same_codes(bl_backend *be, const golden *g, const char *name, bl_tensor t, double share)
{
    int64_t n = bl_tensor_count(&t), same = 0, near = 0;
    const uint8_t *want = golden_need(g, name, "U8", n);
    uint8_t *got = malloc((size_t)n);
    assert_ok(be->ops->download(be, &t, got, &e));
    for (int64_t i = 0; i < n; i++) {
        same += got[i] == want[i];
        near += abs(got[i] - want[i]) <= 1;
    }
    if (!((double)same >= share * (double)n && (double)near >= 0.99 * (double)n))
        fail_msg("%s: %d of %d codes are equal, %d near", name, (int)same, (int)n, (int)near);
    free(got);
}

static void steps_are_those_of_torch_and_bitsandbytes(void **state)
{
    (void)state;
    BL_NEEDS("BITLADDER_GOLDEN");
    golden g;
    bl_backend *be;
    float table[2][256];
    golden_open(&g, test_path("BITLADDER_GOLDEN", "finetune/adamw8bit.safetensors"));
    assert_ok(bl_backend_open(&(bl_backend_opts){.device = "cpu", .threads = 2}, &be, &e));
    for (int k = 0; k < 2; k++) {
        bl_moment_table(!k, table[k]);
        assert_int_equal(apart(table[k], golden_need(&g, k ? "qmap2" : "qmap1", "F32", 256), 256, 1e-7), 0);
    }
    for (int c = 0; c < 2; c++) {
        const char *name = c ? "ragged" : "a";
        char key[64];
        int64_t n = c ? 71 * 59 : 64 * 96, blocks = (n + 255) / 256;
        const float *w, *grads, *path, *path32;
        snprintf(key, sizeof key, "%s.w", name);
        w = golden_need(&g, key, "F32", n);
        snprintf(key, sizeof key, "%s.grads", name);
        grads = golden_need(&g, key, "F32", 5 * n);
        snprintf(key, sizeof key, "%s.bnb.path", name);
        path = golden_need(&g, key, "F32", 5 * n);
        snprintf(key, sizeof key, "%s.torch32.path", name);
        path32 = golden_need(&g, key, "F32", 5 * n);
        bl_tensor p = tensor(be, BL_F32, n, w), p32 = tensor(be, BL_F32, n, w), m32 = tensor(be, BL_F32, n, NULL),
                  v32 = tensor(be, BL_F32, n, NULL), m = tensor(be, BL_U8, n, NULL), v = tensor(be, BL_U8, n, NULL),
                  m_max = tensor(be, BL_F32, blocks, NULL), v_max = tensor(be, BL_F32, blocks, NULL),
                  t1 = tensor(be, BL_F32, 256, table[0]), t2 = tensor(be, BL_F32, 256, table[1]);
        float *got = malloc((size_t)n * sizeof *got);
        for (int k = 0; k < 5; k++) {
            bl_tensor grad = tensor(be, BL_F32, n, grads + k * n);
            bl_adamw_args how = {.p = p,
                                 .grad = grad,
                                 .m = m,
                                 .v = v,
                                 .lr = 1e-2,
                                 .beta1 = 0.9,
                                 .beta2 = 0.999,
                                 .eps = 1e-8,
                                 .decay = 0.01,
                                 .grad_scale = 1,
                                 .step = k + 1};
            const bl_adamw8_one one = {.how = how, .m_max = m_max, .v_max = v_max};
            assert_ok(be->ops->adamw8(be, &(bl_adamw8_args){.of = &one, .n = 1, .m_table = t1, .v_table = t2}, &e));
            how.p = p32;
            how.m = m32;
            how.v = v32;
            assert_ok(be->ops->adamw(be, &how, &e));
            assert_ok(be->ops->download(be, &p, got, &e));
            int64_t far = apart(got, path + k * n, n, k ? 1e-3 : 1e-5);
            if (!((double)far <= (k ? 0.01 * (double)n : 0)))
                fail_msg("%s, step %d: %d of %d weights differ", name, k + 1, (int)far, (int)n);
            assert_ok(be->ops->download(be, &p32, got, &e));
            assert_int_equal(apart(got, path32 + k * n, n, 1e-6), 0);
            be->ops->buffer_free(grad.buf);
        }
        snprintf(key, sizeof key, "%s.bnb.state1", name);
        same_codes(be, &g, key, m, 0.99);
        snprintf(key, sizeof key, "%s.bnb.state2", name);
        same_codes(be, &g, key, v, 0.96);
        bl_tensor all[] = {p, p32, m32, v32, m, v, m_max, v_max, t1, t2};
        for (size_t i = 0; i < BL_COUNT(all); i++) be->ops->buffer_free(all[i].buf);
        free(got);
    }
    bl_backend_close(be);
    golden_close(&g);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(steps_are_those_of_torch_and_bitsandbytes)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
