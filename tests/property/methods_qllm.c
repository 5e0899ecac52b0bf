/* QLLM: channels taken apart alone change nothing, equal channels put together neither, as many come out as went in and
 * none above the threshold; a place is never worse off, and low-rank terms bring the model nearer. */
#include "method_model.h"
#include "methods/qllm.h"
#include "kernels/base/rng.h"

enum { N = 24, ROWS = 40, OUT = 6, MOST = N + N / 4 };

typedef struct made {
    float x[N * ROWS], most[N], sum[N], w[OUT * N], want[OUT * ROWS]; /* x [N, ROWS] */
    int judged;
    bl_reassembly seen[80];
    int32_t copies[80][N];
    double loss[80];
} made;

/* The sums that a product of what is reassembled has, less those without, squared: nothing is rounded. */
static double change(const made *k, const bl_reassembly *by)
{
    float w[OUT * N];
    int32_t rows[3 * MOST];
    double sum = 0;
    const int64_t n = bl_qllm_rows(by, rows);
    bl_qllm_columns(by, k->w, OUT, w);
    for (int r = 0; r < ROWS; r++) {
        double x[N];
        for (int j = 0; j < N; j++) x[j] = k->x[j * ROWS + r];
        for (int64_t i = 0; i < n; i++) x[rows[3 * i]] = 0;
        for (int64_t i = 0; i < n; i++) x[rows[3 * i]] += (double)k->x[rows[3 * i + 1] * ROWS + r] / rows[3 * i + 2];
        for (int o = 0; o < OUT; o++) {
            double y = -k->want[o * ROWS + r];
            for (int j = 0; j < N; j++) y += x[j] * w[o * N + j];
            sum += y * y;
        }
    }
    return sum;
}

static bl_status judge(void *ctx, const bl_reassembly *by, double *loss, bl_err *e)
{
    made *k = ctx;
    (void)e;
    assert_true(k->judged < 80);
    int64_t ends[N] = {0};
    for (int64_t p = 0; p < by->wide; p++) ends[by->to[p]]++;
    for (int j = 0; j < N; j++) assert_true(ends[j] > 0); /* as many channels as there were, each of something */
    memcpy(k->copies[k->judged], by->copies, sizeof k->copies[0]);
    *loss = change(k, by);
    k->loss[k->judged++] = *loss;
    return BL_OK;
}

/* Two outliers; `equal`: channels 4 and 5, 10 and 11, 16 and 7 are the same. */
static made *make(bool equal)
{
    made *k = calloc(1, sizeof *k);
    bl_rng r = bl_rng_at(7, 1, 0);
    assert_non_null(k);
    for (int j = 0; j < N; j++)
        for (int i = 0; i < ROWS; i++) k->x[j * ROWS + i] = (float)bl_rng_normal(&r) * (j == 2 ? 9 : j == 13 ? 5 : 1);
    static const int same[][2] = {{4, 5}, {10, 11}, {16, 7}};
    for (size_t s = 0; equal && s < BL_COUNT(same); s++)
        memcpy(k->x + same[s][0] * ROWS, k->x + same[s][1] * ROWS, ROWS * sizeof(float));
    for (int i = 0; i < OUT * N; i++) k->w[i] = (float)bl_rng_normal(&r);
    for (int j = 0; j < N; j++) {
        for (int i = 0; i < ROWS; i++) k->most[j] = fmaxf(k->most[j], fabsf(k->x[j * ROWS + i]));
        for (int o = 0; o < OUT; o++) k->sum[j] += k->w[o * N + j];
        for (int o = 0; o < OUT; o++)
            for (int i = 0; i < ROWS; i++) k->want[o * ROWS + i] += k->x[j * ROWS + i] * k->w[o * N + j];
    }
    return k;
}

static void equal_channels_pay_for_outliers_without_loss(void **state)
{
    bl_err e = {0};
    bl_backend *be;
    bl_arena *a;
    (void)state;
    assert_ok(bl_arena_new(&a, &e));
    assert_ok(bl_backend_open(&(bl_backend_opts){.device = "cpu", .threads = 1}, &be, &e));
    for (int equal = 0; equal < 2; equal++) {
        made *k = make(equal);
        const bl_qllm_seen s = {N, ROWS, k->x, k->most, k->sum};
        bl_reassembly by;
        bl_qllm_found found;
        assert_ok(bl_qllm_search(be, a, &s, 3.0 / N, true, judge, k, &by, &found, &e));
        assert_true(found.none < 1e-9 && found.added > 0 && found.added <= 3 && by.wide == N + found.added);
        assert_true(k->judged > 3 && k->copies[0][2] == 1); /* without first */
        for (int i = 1; i < k->judged; i++) {
            int added = 0;
            for (int j = 0; j < N; j++) added += k->copies[i][j] - 1;
            assert_true(added > 0 && added <= 3);
            if (i + 1 == k->judged)
                continue; /* as it is used: other pairs, one of them of parts of an outlier's side */
            if (equal ? k->loss[i] > 1e-6 : !(k->loss[i] > 1e-3))
                fail_msg("%s channels: %g with %d added", equal ? "equal" : "other", k->loss[i], added);
        }
        for (int j = 0; j < N; j++) /* T = ceil(m / theta), so that no part is above the threshold */
            assert_true(k->most[j] / (float)by.copies[j] <= (float)found.theta * (1 + 1e-6f));
        bl_reassembly better; /* nothing is rounded, so what is not exact is not taken */
        k->judged = 0;
        assert_ok(bl_qllm_search(be, a, &s, 3.0 / N, false, judge, k, &better, &found, &e));
        assert_true(found.used <= found.none && (equal || better.wide == N));
        free(k);
    }
    bl_backend_close(be);
    bl_arena_free(a);
}

/* Copies alone: the sum over them is x w, whatever the order. */
static void channels_taken_apart_alone_change_nothing(void **state)
{
    made *k = make(false);
    int32_t copies[N], from[MOST], into[MOST], to[MOST], rows[3 * MOST];
    bl_reassembly by = {.n = N, .wide = N, .copies = copies, .from = from, .into = into, .to = to};
    (void)state;
    for (int j = 0; j < N; j++) {
        copies[j] = 1;
        from[j] = into[j] = to[j] = j;
    }
    assert_int_equal(bl_qllm_rows(&by, rows), 0);
    assert_true(change(k, &by) < 1e-9);
    /* channel 3 is empty and gives its place to a second half of channel 2 */
    for (int i = 0; i < ROWS; i++) k->x[3 * ROWS + i] = 0;
    memset(k->want, 0, sizeof k->want);
    for (int j = 0; j < N; j++)
        for (int o = 0; o < OUT; o++)
            for (int i = 0; i < ROWS; i++) k->want[o * ROWS + i] += k->x[j * ROWS + i] * k->w[o * N + j];
    copies[2] = 2;
    from[3] = 2;
    assert_int_equal(bl_qllm_rows(&by, rows), 2);
    assert_memory_equal(rows, ((const int32_t[]){2, 2, 2, 3, 2, 2}), 6 * sizeof *rows);
    assert_true(change(k, &by) < 1e-9);
    free(k);
}

static void without_steps_and_reassembly_it_is_rounding(void **state)
{
    (void)state;
    assert_true(model_distance(model_shared, "qllm:w3g24+epochs=0") == model_distance(model_shared, "rtn:w3g24"));
    assert_true(model_distance(model_own, "qllm:w4a4pc+epochs=0+reassemble=false") ==
                model_distance(model_own, "rtn:w4a4pc"));
}

/* Measured on other text than they are learned on. */
static void low_rank_terms_bring_the_model_nearer(void **state)
{
    (void)state;
    static const char *const texts[] = {"qllm:w2pc", "qllm:w4a4pc+reassemble=false"};
    for (size_t i = 0; i < BL_COUNT(texts); i++) {
        char text[128];
        snprintf(text, sizeof text, "%s+epochs=0", texts[i]);
        const double before = model_distance(model_shared, text);
        snprintf(text, sizeof text, "%s+epochs=6+lr=0.003+together=1", texts[i]);
        const double after = model_distance(model_shared, text);
        if (!(after < 0.95 * before)) fail_msg("%s: %g without a step, %g after", texts[i], before, after);
    }
}

/* Two blocks that do together what the second did are nearer than each of them as what it did alone. */
static void blocks_that_learn_together_are_nearer(void **state)
{
    (void)state;
    static const char *const texts[] = {"qllm:w2pc+epochs=12+lr=0.003", "qllm:w3pc+epochs=12+lr=0.001"};
    for (size_t i = 0; i < BL_COUNT(texts); i++) {
        char text[128];
        snprintf(text, sizeof text, "%s+together=1", texts[i]);
        const double alone = model_distance(model_shared, text);
        snprintf(text, sizeof text, "%s+together=2", texts[i]);
        const double both = model_distance(model_shared, text);
        if (!(both < 0.99 * alone)) fail_msg("%s: %g block by block, %g together", texts[i], alone, both);
    }
}

static void twice_the_same(void **state)
{
    (void)state;
    const double once = model_distance(model_own, "qllm:w3a4pc+always+epochs=1");
    assert_true(once == model_distance(model_own, "qllm:w3a4pc+always+epochs=1"));
    assert_true(once != model_distance(model_own, "qllm:w3a4pc+always+epochs=0"));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(equal_channels_pay_for_outliers_without_loss),
        cmocka_unit_test(channels_taken_apart_alone_change_nothing),
        cmocka_unit_test(without_steps_and_reassembly_it_is_rounding),
        cmocka_unit_test(low_rank_terms_bring_the_model_nearer),
        cmocka_unit_test(blocks_that_learn_together_are_nearer),
        cmocka_unit_test(twice_the_same),
    };
    return cmocka_run_group_tests(tests, model_begin, model_end);
}
