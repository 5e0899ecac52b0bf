/* The figure of kernel timings: widths of one kind of format make one curve, a kernel makes one median a curve. */
#include "test.h"
#include "plots/page.h"
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

static bl_page made(const bl_kernel_row *row, size_t n, const bl_kernel_facts *facts)
{
    bl_err e = {0};
    bl_page page = {0};
    assert_ok(
        bl_plot_find("kernels")->make(&(bl_plot_input){.kernel = row, .n_kernels = n, .facts = facts}, &page, &e));
    return page;
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
        {"1,16,cache,1,\"int\",shape", 4},
        {"\"int\",kernel", 2},
        {"\"dense\",kernel", 2},
        {"\"GGUF blocks\",kernel", 1},
        {"\"int x int8\",kernel", 1},
        {"_ref", 0}, /* is there to be right, not to be fast */
        {"openblas", 0},
        {"memory", 0},
    };
    (void)state;

    bl_page page = made(row, BL_COUNT(row), NULL);
    assert_int_equal(page.n_points, BL_COUNT(row) - 2);
    for (size_t i = 0; i < BL_COUNT(want); i++)
        if (count(page.csv.s, want[i].phrase) != want[i].n)
            fail_msg("'%s' comes %zu times, not %zu:\n%s", want[i].phrase, count(page.csv.s, want[i].phrase), want[i].n,
                     page.csv.s);
    char *kernel = strstr(page.csv.s, "\"int\",kernel");
    double bits, value, low, high;
    assert_int_equal(sscanf(kernel, "\"int\",kernel,%*[^,],%lf,%*[^,],%lf,%lf,%lf", &bits, &value, &low, &high), 4);
    assert_true(bits == 4.3125 && value == 2 && low == 1 && high == 3); /* median, slowest and fastest of 1, 2, 3 */
    bl_page_free(&page);
}

static void only_the_newest_form_of_a_kernel_is_drawn(void **state)
{
    static const bl_kernel_row row[] = {
        ROW("gemm_int4_avx2", "int4", 16, 576, 4.3125, 1),
        ROW("gemm_int4_avx512", "int4", 16, 576, 4.3125, 2),
        ROW("gemm_int8_avx2", "int8", 16, 576, 8.375, 1),
    };
    (void)state;

    bl_page page = made(row, BL_COUNT(row), NULL);
    assert_int_equal(page.n_points, 2);
    assert_int_equal(count(page.csv.s, "\"int\",kernel"), 2);
    bl_page_free(&page);
}

/* A weight of 576 x 576 at 32 bits is 1.33 MB: at 10 GB/s it is read in 0.13 ms. OpenBLAS takes twice as long, so it
 * reaches half of the bandwidth, and 8 bits could be 8 times as fast as it; a kernel that is 4 times as fast reaches
 * half of that. */
static void weights_from_memory_have_panels_and_a_limit_of_their_own(void **state)
{
    enum { WEIGHTS = 576 * 576 };
    const double read = WEIGHTS * 4 / 10e9;
    const bl_kernel_row row[] = {
        {.kernel = "openblas",
         .format = "fp32",
         .backend = "openblas",
         .m = 1,
         .out = 576,
         .in = 576,
         .bits = 32,
         .seconds = read,
         .ratio = 1,
         .cold = 2 * read,
         .cold_ratio = 1,
         .bytes = WEIGHTS * 4},
        {.kernel = "gemv_int8_avx2",
         .format = "int8",
         .backend = "cpu",
         .m = 1,
         .out = 576,
         .in = 576,
         .bits = 8,
         .seconds = read / 2,
         .ratio = 2,
         .cold = read / 2,
         .cold_ratio = 4,
         .bytes = WEIGHTS},
    };
    const bl_kernel_facts facts = {.device = "d",
                                   .simd = "",
                                   .commit = "c",
                                   .shape = "s",
                                   .threads = 2,
                                   .repetitions = 3,
                                   .read_bytes_per_second = 10e9,
                                   .drift = 1.5};
    (void)state;

    bl_page page = made(row, BL_COUNT(row), &facts);
    assert_int_equal(page.n_panels, 2);
    assert_non_null(strstr(page.script.s, "limit = 64; ")); /* 8 x 8 bits */
    assert_non_null(strstr(page.script.s, "limit = 0; "));  /* in cache memory is no limit */
    assert_non_null(strstr(page.csv.s, "1,1,memory,1,\"int\",kernel,\"gemv_int8_avx2\",8,8,4,4,4,0.5,"));
    assert_non_null(strstr(page.csv.s, "2,1,cache,1,\"int\",kernel,\"gemv_int8_avx2\",8,8,2,2,2,NA,"));
    assert_non_null(strstr(page.script.s, "from memory: decoding"));
    assert_non_null(strstr(page.script.s, "in cache: as in no model"));
    assert_non_null(strstr(page.script.s, "Not a quiet machine"));
    bl_page_free(&page);
}

/* On a GPU kernels stand over cuBLAS with bf16 weights, from memory alone: at 16 bits it reaches half of the bandwidth,
 * and 4 bits could be 8 times as fast. */
static void on_a_gpu_kernels_stand_over_bf16_weights(void **state)
{
    enum { WEIGHTS = 576 * 576 };
    const double read = WEIGHTS * 2 / 10e9;
    bl_kernel_row row[] = {ROW("linear_bf16_cuda", "bf16", 1, 576, 16, 1),
                           ROW("stream_int4_cuda", "int4", 1, 576, 4, 3)};
    const bl_kernel_facts facts = {.device = "d",
                                   .simd = "",
                                   .commit = "c",
                                   .shape = "s",
                                   .threads = 132,
                                   .repetitions = 3,
                                   .read_bytes_per_second = 10e9};
    (void)state;
    for (size_t i = 0; i < BL_COUNT(row); i++) {
        row[i].backend = "cuda";
        row[i].cold = i ? read / 2 : 2 * read;
        row[i].cold_ratio = i ? 4 : 1;
        row[i].bytes = WEIGHTS * row[i].bits / 8;
    }
    bl_page page = made(row, BL_COUNT(row), &facts);
    assert_int_equal(page.n_panels, 1);
    assert_int_equal(page.n_points, 1);
    assert_non_null(strstr(page.script.s, "cuBLAS bf16"));
    assert_null(strstr(page.script.s, "OpenBLAS"));
    assert_non_null(strstr(page.script.s, "132 multiprocessors"));
    assert_non_null(strstr(page.script.s, "limit = 32; ")); /* 8 x 4 bits */
    bl_page_free(&page);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(widths_of_a_format_make_one_curve),
                                       cmocka_unit_test(only_the_newest_form_of_a_kernel_is_drawn),
                                       cmocka_unit_test(weights_from_memory_have_panels_and_a_limit_of_their_own),
                                       cmocka_unit_test(on_a_gpu_kernels_stand_over_bf16_weights)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
