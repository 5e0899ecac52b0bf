/* EfficientQAT: without a step it rounds to the nearest, with steps the loss of every block falls, the model is nearer
 * to the original, and the layers of a block say that loss. */
#include "method_model.h"
#include "results/curve.h"

static void without_a_step_it_rounds_to_the_nearest(void **state)
{
    (void)state;
    assert_true(model_distance(model_shared, "efficientqat:w3g24+epochs=0") ==
                model_distance(model_shared, "rtn:w3g24"));
}

/* Rates that suit the size of these weights; with the authors' own, for weights ten times as small, hardly a code has
 * changed after as few steps. */
static void steps_bring_the_model_nearer(void **state)
{
    (void)state;
    const double before = model_distance(model_shared, "efficientqat:w2g24+epochs=0"),
                 slow = model_distance(model_shared, "efficientqat:w2g24+epochs=4"),
                 after = model_distance(model_shared, "efficientqat:w2g24+epochs=4+lr=0.001+scale-lr=0.001");
    if (!(after < 0.9 * before && after < slow))
        fail_msg("%g without a step, %g by the default rates, %g by larger ones", before, slow, after);
}

static void twice_the_same(void **state)
{
    (void)state;
    const double once = model_distance(model_own, "efficientqat:w3g24+epochs=1"),
                 again = model_distance(model_own, "efficientqat:w3g24+epochs=1");
    assert_true(once == again && once != model_distance(model_own, "efficientqat:w3g24+epochs=2"));
}

/* What `text` makes: the loss that the layers of each block say. */
static void losses(const char *text, double first[2], double last[2])
{
    bl_err e = {0};
    bl_layer_stat *layer;
    bl_arena *a;
    char out[4200];
    int64_t n;
    double seconds;
    snprintf(out, sizeof out, "%s/said", model_dir);
    free(model_after(model_shared, text, out));
    assert_ok(bl_arena_new(&a, &e));
    assert_ok(bl_quantize_layers(out, a, &layer, &n, &seconds, &e));
    assert_int_equal(n, 14);
    for (int64_t i = 0; i < n; i++) {
        const int block = strstr(layer[i].name, "layers.1.") != NULL;
        if (i % 7) assert_true(first[block] == layer[i].block_loss_first && last[block] == layer[i].block_loss);
        first[block] = layer[i].block_loss_first;
        last[block] = layer[i].block_loss;
    }
    bl_arena_free(a);
    assert_ok(bl_remove_tree(out, &e));
}

static void layers_say_what_their_block_lost(void **state)
{
    double first[2], last[2];
    (void)state;
    losses("efficientqat:w2g24+epochs=0", first, last);
    for (int b = 0; b < 2; b++) assert_true(first[b] < 0 && last[b] < 0); /* nothing was learned */
    static const char *const texts[] = {"efficientqat:w2g24+epochs=3+lr=0.001+scale-lr=0.001",
                                        "omniquant:w2g24+epochs=2"};
    for (size_t i = 0; i < BL_COUNT(texts); i++) {
        losses(texts[i], first, last);
        for (int b = 0; b < 2; b++)
            if (!(last[b] > 0 && last[b] < first[b]))
                fail_msg("%s, block %d: %g, then %g", texts[i], b, first[b], last[b]);
    }
}

/* The curve beside the result: every step of every block, the first pass and the last those that layers say. */
static void every_step_of_every_block_is_kept(void **state)
{
    enum { EPOCHS = 3, EACH = 12 }; /* 24 windows, two a step */
    bl_err e = {0};
    bl_layer_stat *layer;
    bl_arena *a;
    bl_curve c;
    char out[4200], path[4300];
    int64_t n;
    double seconds;
    (void)state;
    snprintf(out, sizeof out, "%s/said", model_dir);
    snprintf(path, sizeof path, "%s%s", out, BL_CURVE_ENDING);
    free(model_after(model_shared, "efficientqat:w2g24+epochs=3+lr=0.001+scale-lr=0.001", out));
    assert_ok(bl_arena_new(&a, &e));
    assert_ok(bl_curve_read(path, a, &c, &e));
    assert_int_equal(c.n, 2 * EPOCHS * EACH);
    assert_non_null(c.block);
    assert_non_null(strstr(c.data, "primer:test"));
    assert_ok(bl_quantize_layers(out, a, &layer, &n, &seconds, &e));
    for (int block = 0; block < 2; block++) {
        double mean[2] = {0};
        for (int i = 0; i < EPOCHS * EACH; i++) {
            const int64_t at = block * EPOCHS * EACH + i;
            assert_true(c.block[at] == block && c.loss[at] > 0);
            if (i) assert_true(c.lr[at] < c.lr[at - 1]);
            if (i < EACH) mean[0] += c.loss[at] / EACH;
            if (i >= (EPOCHS - 1) * EACH) mean[1] += c.loss[at] / EACH;
        }
        assert_float_equal(mean[0], layer[7 * block].block_loss_first, 1e-9 * mean[0]);
        assert_float_equal(mean[1], layer[7 * block].block_loss, 1e-9 * mean[1]);
    }
    bl_arena_free(a);
    assert_ok(bl_remove_tree(out, &e));
    assert_ok(bl_remove_tree(path, &e));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(without_a_step_it_rounds_to_the_nearest),
        cmocka_unit_test(steps_bring_the_model_nearer),
        cmocka_unit_test(twice_the_same),
        cmocka_unit_test(layers_say_what_their_block_lost),
        cmocka_unit_test(every_step_of_every_block_is_kept),
    };
    return cmocka_run_group_tests(tests, model_begin, model_end);
}
