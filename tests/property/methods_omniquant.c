/* OmniQuant: open ranges round to the nearest, scales between linears change nothing but what is rounded, and with
 * steps the model is nearer to the original. */
#include "method_model.h"

static void open_ranges_round_to_the_nearest(void **state)
{
    (void)state;
    assert_true(model_distance(model_shared, "omniquant:w3g24+epochs=0+open=100") ==
                model_distance(model_shared, "rtn:w3g24"));
    assert_true(model_distance(model_shared, "omniquant:w2g24+epochs=2+clip-lr=0+open=100") ==
                model_distance(model_shared, "rtn:w2g24"));
}

/* With 8 bits hardly anything is rounded: what the scales multiply they divide elsewhere, also when heads of keys are
 * shared, and when steps so large that rounding cannot explain them have moved all of them. */
static void scales_between_linears_are_taken_back(void **state)
{
    (void)state;
    const char *const files[] = {model_shared, model_own};
    for (int i = 0; i < 2; i++) {
        const double plain = model_distance(files[i], "rtn:w8a8pc");
        const double first = model_distance(files[i], "omniquant:w8a8pc+epochs=0+open=100"),
                     moved = model_distance(files[i], "omniquant:w8a8pc+epochs=1+open=100+lr=0.002");
        if (!(first < 4 * plain && moved < 4 * plain && moved != first))
            fail_msg("%g to the nearest, %g with scales, %g with learned ones", plain, first, moved);
    }
}

static void steps_bring_the_model_nearer(void **state)
{
    (void)state;
    static const char *const texts[] = {"omniquant:w2g24", "omniquant:w4a4pc"};
    for (size_t i = 0; i < BL_COUNT(texts); i++) {
        char text[128];
        snprintf(text, sizeof text, "%s+epochs=0", texts[i]);
        double before = model_distance(model_shared, text);
        snprintf(text, sizeof text, "%s+epochs=6", texts[i]);
        double after = model_distance(model_shared, text);
        if (!(after < 0.95 * before)) fail_msg("%s: %g without a step, %g after", texts[i], before, after);
    }
}

static void twice_the_same(void **state)
{
    (void)state;
    double once = model_distance(model_own, "omniquant:w3a6g24+epochs=1"),
           again = model_distance(model_own, "omniquant:w3a6g24+epochs=1");
    assert_true(once == again && once != model_distance(model_own, "omniquant:w3a6g24+epochs=2"));
}

/* Steps that only do harm are not taken, so that a block is never worse than it began. */
static void what_does_harm_is_not_taken(void **state)
{
    (void)state;
    assert_true(model_distance(model_shared, "omniquant:w4g24+epochs=1+clip-lr=1") <=
                1.05 * model_distance(model_shared, "omniquant:w4g24+epochs=0"));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(open_ranges_round_to_the_nearest), cmocka_unit_test(scales_between_linears_are_taken_back),
        cmocka_unit_test(steps_bring_the_model_nearer),     cmocka_unit_test(twice_the_same),
        cmocka_unit_test(what_does_harm_is_not_taken),
    };
    return cmocka_run_group_tests(tests, model_begin, model_end);
}
