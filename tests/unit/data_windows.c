/* data_windows.c - the draws of CPython 3.11: random.seed(s), then randint(0, 99999) five times, randint(3, 3 + 2**33)
 * twice and randint(0, 255), as that program printed them. */
#include "test.h"
#include "harness/data/windows.h"

static const struct {
    uint64_t seed;
    int64_t small[5], large[2], byte;
} known[] = {
    {0, {50494, 99346, 55125, 5306, 33936}, {6382010856, 7859158371}, 244},
    {1, {17611, 74606, 8271, 33432, 15455}, {6225516710, 7093537822}, 107},
    {42, {83810, 14592, 3278, 97196, 36048}, {1051802515, 2342331447}, 216},
    {1099511627783, {80439, 97953, 83823, 74762, 92483}, {6339045741, 7386341070}, 201},
};

static void draws_are_those_of_python(void **state)
{
    (void)state;
    for (size_t i = 0; i < BL_COUNT(known); i++) {
        bl_py_random r;
        bl_py_seed(&r, known[i].seed);
        for (int k = 0; k < 5; k++) assert_int_equal(bl_py_randint(&r, 0, 99999), known[i].small[k]);
        for (int k = 0; k < 2; k++) assert_int_equal(bl_py_randint(&r, 3, 3 + (1ll << 33)), known[i].large[k]);
        assert_int_equal(bl_py_randint(&r, 0, 255), known[i].byte);
    }
}

static void one_choice_is_that_choice(void **state)
{
    (void)state;
    bl_py_random r;
    bl_py_seed(&r, 7);
    for (int i = 0; i < 100; i++) assert_int_equal(bl_py_randint(&r, 5, 5), 5);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(draws_are_those_of_python),
                                       cmocka_unit_test(one_choice_is_that_choice)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
