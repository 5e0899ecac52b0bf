/* Hadamard matrices and transforms against torchao's (QuaRot's tables). */
#include "golden_file.h"
#include "kernels/hadamard.h"
#include "kernels/ops.h"
#include <math.h>

static void hadamard_factors_are_quarots(void **state)
{
    static const int orders[] = {12, 20, 28, 36, 40, 52, 60, 108, 140, 156, 172};
    (void)state;
    BL_NEEDS("BITLADDER_GOLDEN");
    golden g;
    golden_open(&g, test_path("BITLADDER_GOLDEN", "ptq/hadamard.safetensors"));
    for (size_t i = 0; i < BL_COUNT(orders); i++) {
        char key[16];
        snprintf(key, sizeof key, "had%d", orders[i]);
        const int8_t *want = golden_need(&g, key, "I8", orders[i] * orders[i]);
        assert_memory_equal(want, bl_hadamard_factor(orders[i]), (size_t)(orders[i] * orders[i]));
    }
    golden_close(&g);
}

static void transforms_are_torchaos(void **state)
{
    static const int sizes[] = {64, 128, 384, 576, 768, 1536, 2304, 11008, 14336};
    bl_err e = {0};
    bl_backend *be;
    (void)state;
    BL_NEEDS("BITLADDER_GOLDEN");
    golden g;
    golden_open(&g, test_path("BITLADDER_GOLDEN", "ptq/hadamard.safetensors"));
    assert_ok(bl_backend_open(&(bl_backend_opts){.threads = 1}, &be, &e));
    for (size_t i = 0; i < BL_COUNT(sizes); i++) {
        int64_t n = sizes[i];
        char key[48];
        bl_buffer *b;
        assert_ok(be->ops->buffer_new(be, (uint64_t)n * 4, &b, &e));
        bl_tensor x = bl_tensor_2d(b, 0, BL_F32, 1, n);
        snprintf(key, sizeof key, "transform.%d.k", sizes[i]);
        assert_int_equal(*(const int32_t *)golden_need(&g, key, "I32", 1), bl_hadamard_order(n));
        snprintf(key, sizeof key, "transform.%d.x", sizes[i]);
        assert_ok(be->ops->upload(be, &x, golden_need(&g, key, "F32", n), &e));
        snprintf(key, sizeof key, "transform.%d.y", sizes[i]);
        const float *want = golden_need(&g, key, "F32", n);
        assert_ok(be->ops->hadamard(be, &(bl_hadamard_args){.x = x, .y = x}, &e));
        for (int64_t k = 0; k < n; k++) assert_true(fabsf(((float *)b->data)[k] - want[k]) < 1e-6f);
        be->ops->buffer_free(b);
    }
    bl_backend_close(be);
    golden_close(&g);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(hadamard_factors_are_quarots),
        cmocka_unit_test(transforms_are_torchaos),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
