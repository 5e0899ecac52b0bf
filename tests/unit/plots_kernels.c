/* The figure of kernel timings: widths of one kind of format make one curve, a kernel makes one median a curve. */
#include "test.h"
#include "plots/plot.h"

#define ROW(name, fmt, m_, out_, bits_, ratio_)                                                                        \
    {                                                                                                                  \
        .kernel = name, .op = "linear", .format = fmt, .backend = "cpu", .m = m_, .out = out_, .in = 576,              \
        .bits = bits_, .seconds = 1e-3, .gbs = 1, .gflops = 1, .ratio = ratio_                                         \
    }

static size_t count(const char *text, const char *phrase)
{
    size_t n = 0;
    for (const char *p = text; (p = strstr(p, phrase)) != NULL; p += strlen(phrase)) n++;
    return n;
}

static void widths_of_a_format_make_one_curve(void **state)
{
    static const bl_kernel_row row[] = {
        ROW("openblas", "fp32", 16, 576, 32, 1),          ROW("gemm_int4_avx2", "int4", 16, 576, 4.3125, 1),
        ROW("gemm_int4_avx2", "int4", 16, 192, 4.325, 3), ROW("gemm_int4_avx2", "int4", 16, 1536, 4.3125, 2),
        ROW("gemm_int8_avx2", "int8", 16, 576, 8.375, 1), ROW("gemm_bf16_avx2", "bf16", 16, 576, 16, 1),
        ROW("gemm_fp32_avx2", "fp32", 16, 576, 32, 1),    ROW("gemm_q4_1_avx2", "q4_1", 16, 576, 5, 1),
        ROW("gemm_w4a8_avx2", "int4", 16, 576, 4.25, 1),  ROW("linear_int4_ref", "int4", 16, 576, 4.3125, 0.1),
    };
    static const struct {
        const char *phrase;
        size_t n;
    } want[] = {
        {"\"16 rows\",\"int\",point", 4},
        {"\"16 rows\",\"int\",median", 2},
        {"\"16 rows\",\"dense\",median", 2},
        {"\"16 rows\",\"GGUF blocks\",median", 1},
        {"\"16 rows\",\"int with int x\",median", 1},
        {"\"16 rows\",\"plain C\",median", 1},
        {"openblas", 0},
    };
    bl_err e = {0};
    bl_text csv = {0};
    size_t points = 0;
    (void)state;

    assert_ok(
        bl_plot_find("kernels")->data(&(bl_plot_input){.kernel = row, .n_kernels = BL_COUNT(row)}, &csv, &points, &e));
    assert_int_equal(points, BL_COUNT(row) - 1);
    for (size_t i = 0; i < BL_COUNT(want); i++)
        if (count(csv.s, want[i].phrase) != want[i].n)
            fail_msg("'%s' comes %zu times, not %zu:\n%s", want[i].phrase, count(csv.s, want[i].phrase), want[i].n,
                     csv.s);
    char *median = strstr(csv.s, "\"16 rows\",\"int\",median");
    double bits, value;
    assert_int_equal(sscanf(median, "\"16 rows\",\"int\",median,%*[^,],%lf,%lf", &bits, &value), 2);
    assert_true(value == 2); /* of 1, 2, 3 */
    bl_text_free(&csv);
}

static void only_the_newest_form_of_a_kernel_is_drawn(void **state)
{
    static const bl_kernel_row row[] = {
        ROW("gemm_int4_avx2", "int4", 16, 576, 4.3125, 1),
        ROW("gemm_int4_avx512", "int4", 16, 576, 4.3125, 2),
        ROW("gemm_int8_avx2", "int8", 16, 576, 8.375, 1),
    };
    bl_err e = {0};
    bl_text csv = {0};
    size_t points = 0;
    (void)state;

    assert_ok(
        bl_plot_find("kernels")->data(&(bl_plot_input){.kernel = row, .n_kernels = BL_COUNT(row)}, &csv, &points, &e));
    assert_int_equal(points, 2);
    assert_int_equal(count(csv.s, "\"int\",median"), 2);
    bl_text_free(&csv);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(widths_of_a_format_make_one_curve),
                                       cmocka_unit_test(only_the_newest_form_of_a_kernel_is_drawn)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
