/* results_figures.h - an invented study and invented timings, for figures. */
#ifndef BL_TESTS_DATA_RESULTS_FIGURES_H
#define BL_TESTS_DATA_RESULTS_FIGURES_H
#include "results_cells.h"
#include "plots/plot.h"

/* One table row a metric, made without touching a disk. */
static inline size_t invented_rows(bl_row *out, size_t most)
{
    static const struct {
        const char *task, *metric;
        double base, floor, se;
        int64_t n;
    } tasks[] = {
        {"wikitext2:gptq2048", "perplexity", 16.8, 0, 0.12, 161},
        {"ptb:gptq2048", "perplexity", 31.4, 0, 0.25, 54},
        {"piqa", "acc", 0.684, 0.50, 0.0108, 1838},
        {"arc_easy", "acc", 0.585, 0.25, 0.0101, 2376},
        {"hellaswag", "acc", 0.344, 0.25, 0.0047, 10042},
        {"winogrande", "acc", 0.522, 0.5, 0.0140, 1267},
    };
    static const char *const methods[] = {"base",      "rtn:w8g64", "rtn:w6g64", "rtn:w5g64",
                                          "rtn:w4g64", "rtn:w3g64", "rtn:w2g64", "rtn:w1g64"};
    static bl_cell cells[128];
    static const int bits[] = {0, 8, 6, 5, 4, 3, 2, 1};
    size_t n = 0;

    for (size_t k = 0; k < BL_COUNT(tasks); k++)
        for (size_t i = 0; i < BL_COUNT(bits) && n < BL_MIN(most, BL_COUNT(cells)); i++) {
            double lost = bits[i] ? pow(2.6, 4 - bits[i]) * 0.09 : 0, keep = exp(-lost * 0.9),
                   wobble = 0.004 * sin(7.0 * (double)(i + 3 * k));
            bool ppl = tasks[k].floor == 0;
            cells[n] = (bl_cell){
                .key = "",
                .model = "smollm2-135m",
                .stored_as = "BF16",
                .method = methods[i],
                .wbits = bits[i],
                .group_text = bits[i] ? "64" : "",
                .notes = "",
                .task = tasks[k].task,
                .task_version = 1,
                .bits_per_weight = bits[i] ? bits[i] + (bits[i] > 1 ? (16.0 + bits[i]) / 64 : 0.25) : 16,
                .packed_bytes = 1,
            };
            out[n] = (bl_row){
                .cell = &cells[n],
                .has_cost = true,
                .status = "ok",
                .reason = "",
                .hash = "",
                .dir = "",
                .path = methods[i],
                .metric = tasks[k].metric,
                .unit = "1",
                .item_group = "",
                .value = ppl ? tasks[k].base * exp(BL_MIN(lost * 3, 8.5))
                             : tasks[k].floor + (tasks[k].base - tasks[k].floor) * keep + wobble,
                .stderr_ = ppl ? tasks[k].se * exp(BL_MIN(lost * 3, 8.5)) : tasks[k].se,
                .has_value = true,
                .has_stderr = true,
                .headline = true,
                .percent = !ppl,
                .direction = ppl ? -1 : 1,
                .n = tasks[k].n,
            };
            n++;
        }
    return n;
}

static inline size_t invented_timings(bl_kernel_row *out, size_t most)
{
    static const int64_t m[] = {1, 16, 128, 512}, shape[][2] = {{576, 576}, {192, 576}, {1536, 576}, {576, 1536}};
    static char name[16][32], format[16][16];
    size_t n = 0;

    for (size_t a = 0; a < BL_COUNT(m); a++)
        for (size_t s = 0; s < BL_COUNT(shape); s++)
            for (int b = 1; b <= 8; b++)
                for (int fast = 0; fast < 2 && n < most; fast++) {
                    snprintf(name[b - 1 + 8 * fast], 32, "linear_int%d_%s", b, fast ? "avx2" : "plain");
                    snprintf(format[b - 1], 16, "int%d", b);
                    double ratio = (fast ? m[a] == 1 ? 9.0 / b + 0.6 : 0.93 : 0.05) *
                                   (1 + 0.12 * sin((double)(s * 5 + b))) * (m[a] > 16 ? 0.97 : 1);
                    out[n++] = (bl_kernel_row){.kernel = name[b - 1 + 8 * fast],
                                               .op = "linear",
                                               .format = format[b - 1],
                                               .backend = "cpu",
                                               .m = m[a],
                                               .out = shape[s][0],
                                               .in = shape[s][1],
                                               .group = 64,
                                               .bits = b + 0.25,
                                               .seconds = 1e-5,
                                               .gbs = 5,
                                               .gflops = 60 * ratio,
                                               .ratio = ratio,
                                               .nmse = 1e-12};
                }
    return n;
}
#endif
