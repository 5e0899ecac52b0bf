/* AutoRound: without a step it is rounding to the nearest, with some the model is nearer to the original. */
#include "method_model.h"

static void without_a_step_it_rounds_to_the_nearest(void **state)
{
    (void)state;
    assert_true(model_distance(model_shared, "autoround:w3g24+iters=0") == model_distance(model_shared, "rtn:w3g24"));
    assert_true(model_distance(model_shared, "autoround:w4pc+iters=0") == model_distance(model_shared, "rtn:w4pc"));
}

static void steps_bring_the_model_nearer(void **state)
{
    (void)state;
    static const char *const texts[] = {"autoround:w2g24", "autoround:w3g24+symmetric",
                                        "quarot+r1=false+heads=false+autoround:w3g24"};
    for (size_t i = 0; i < BL_COUNT(texts); i++) {
        char text[128];
        snprintf(text, sizeof text, "%s+iters=0", texts[i]);
        double before = model_distance(model_shared, text);
        snprintf(text, sizeof text, "%s+iters=16+batch=2", texts[i]);
        double after = model_distance(model_shared, text);
        if (!(after < 0.95 * before)) fail_msg("%s: %g without a step, %g after", texts[i], before, after);
    }
}

/* The random draw of windows, the sums and the steps are one sequence: resumed and repeated runs are the same model. */
static void twice_the_same(void **state)
{
    (void)state;
    double once = model_distance(model_own, "autoround:w3g24+iters=2+batch=2+lr=0.02"),
           again = model_distance(model_own, "autoround:w3g24+iters=2+batch=2+lr=0.02");
    assert_true(once == again && once != model_distance(model_own, "autoround:w3g24+iters=3+batch=2+lr=0.02"));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(without_a_step_it_rounds_to_the_nearest),
        cmocka_unit_test(steps_bring_the_model_nearer),
        cmocka_unit_test(twice_the_same),
    };
    return cmocka_run_group_tests(tests, model_begin, model_end);
}
