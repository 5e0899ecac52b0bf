/* model_rope.c - rotary frequencies on shapes small enough to check on paper. */
#include "test.h"
#include "harness/model/model_impl.h"
#include <math.h>

static void assert_close(float x, double want)
{
    if (!(fabs(x / want - 1) < 1e-6)) fail_msg("%.9g, wanted %.9g", x, want);
}

static void plain_frequencies_are_powers_of_theta(void **state)
{
    bl_config c = {.head_dim = 8, .rope_theta = 10000};
    float f[4];
    (void)state;
    bl_rope_frequencies(&c, 0, f);
    for (int i = 0; i < 4; i++) assert_close(f[i], pow(10, -i)); /* 10000^(2i/8) = 10^i */
}

static void linear_scaling_divides_every_frequency(void **state)
{
    bl_config c = {.head_dim = 8, .rope_theta = 10000, .rope = BL_ROPE_LINEAR, .rope_factor = 4};
    float f[4];
    (void)state;
    bl_rope_frequencies(&c, 0, f);
    for (int i = 0; i < 4; i++) assert_close(f[i], pow(10, -i) / 4);
}

/* Original length 628.3185 = 200 pi, low 1, high 4: waves (2 pi 10^i = 6.28, 62.8, 628, 6283) shorter than 50 pi stay,
 * longer than 200 pi are divided by the factor. 628.3 is a hair inside (the length is a whole number, 629): (629 /
 * 628.32 - 1) / 3 of it stays. */
static void llama3_scaling_keeps_short_waves_and_stretches_long_ones(void **state)
{
    bl_config c = {.head_dim = 8,
                   .rope_theta = 10000,
                   .rope = BL_ROPE_LLAMA3,
                   .rope_factor = 8,
                   .rope_low = 1,
                   .rope_high = 4,
                   .rope_original = 629};
    float f[4];
    (void)state;
    bl_rope_frequencies(&c, 0, f);
    assert_close(f[0], 1);
    assert_close(f[1], 0.1);
    double smooth = (629 / (200 * 3.14159265358979) - 1) / 3;
    assert_close(f[2], ((1 - smooth) / 8 + smooth) * 0.01);
    assert_close(f[3], 0.001 / 8);
    c.rope_original = 1300; /* now the third wave is well between 325 and 1300 */
    bl_rope_frequencies(&c, 0, f);
    smooth = (1300 / (200 * 3.14159265358979) - 1) / 3;
    assert_close(f[2], ((1 - smooth) / 8 + smooth) * 0.01);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(plain_frequencies_are_powers_of_theta),
        cmocka_unit_test(linear_scaling_divides_every_frequency),
        cmocka_unit_test(llama3_scaling_keeps_short_waves_and_stretches_long_ones),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
