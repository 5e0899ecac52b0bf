/* MR-GPTQ: the model is nearer to the original than with the same floats to the nearest, and the turn alone changes
 * nothing but where the errors are. */
#include "method_model.h"

static void errors_handed_on_bring_the_model_nearer(void **state)
{
    (void)state;
    double nearest = model_distance(model_shared, "nvfp4+rule=least"),
           swept = model_distance(model_shared, "mr-gptq+format=nvfp4+rotate=0"),
           turned = model_distance(model_shared, "mr-gptq+format=nvfp4");
    if (!(swept < 0.95 * nearest && turned < 0.8 * nearest))
        fail_msg("to the nearest %g, swept %g, turned %g", nearest, swept, turned);
}

/* Of values that are the grid's already, in its own scales, nothing is lost and nothing handed on. */
static void a_weight_on_the_grid_stays(void **state)
{
    (void)state;
    bl_err e = {0};
    char grid[4200];
    snprintf(grid, sizeof grid, "%s/grid", model_dir);
    free(model_after(model_shared, "nvfp4", grid));
    assert_true(model_distance(grid, "mr-gptq+format=nvfp4+rotate=0+search=false") < 1e-6);
    assert_ok(bl_remove_tree(grid, &e));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(errors_handed_on_bring_the_model_nearer),
        cmocka_unit_test(a_weight_on_the_grid_stays),
    };
    return cmocka_run_group_tests(tests, model_begin, model_end);
}
