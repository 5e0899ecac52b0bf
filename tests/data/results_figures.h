/* results_figures.h - invented studies and timings, for figures: cells with items and layers, never on a disk. */
#ifndef BL_TESTS_DATA_RESULTS_FIGURES_H
#define BL_TESTS_DATA_RESULTS_FIGURES_H
#include "results_cells.h"
#include "plots/plot.h"

enum { STUDY_CELLS = 512 };
typedef struct invented_study {
    bl_table table;
    bl_row row[STUDY_CELLS];
    bl_cell cell[STUDY_CELLS];
    const bl_cell *whole[STUDY_CELLS];
    bl_plot_input in;
    bl_arena *arena;
} invented_study;

static const bl_metric invented_share[] = {
    {.name = "acc", .direction = 1, .headline = true, .percent = true, .agg = BL_AGG_MEAN}};
static const bl_metric invented_perplexity[] = {{.name = "perplexity",
                                                 .direction = -1,
                                                 .headline = true,
                                                 .agg = BL_AGG_EXP_RATIO,
                                                 .a = 0,
                                                 .b = 1,
                                                 .items = "windows"}};
static inline bool is_text_task(const char *task) { return strstr(task, "gptq") != NULL; }
static inline const bl_metric *invented_metrics(const void *ctx, const char *task, int64_t version, int *n)
{
    (void)ctx;
    (void)version;
    *n = 1;
    return is_text_task(task) ? invented_perplexity : invented_share;
}
static const bl_metric_rules invented_rules = {invented_metrics, NULL};

/* A number in 0..1 that only depends on i and j. */
static inline double invented_draw(int64_t i, int64_t j)
{
    bl_hash h = bl_hash_bytes((int64_t[]){i, j}, 16);
    return (double)(h.lo >> 11) / 9007199254740992.0;
}

/* A cell of n items. A share: item i is right when it is easier than `level` (0..1); a perplexity: `level`, with n
 * windows. bits 0: 16 as stored. */
static inline bl_row *study_add(invented_study *s, const char *method, int wbits, double bits, const char *task,
                                double level, int64_t n)
{
    bl_err e = {0};
    size_t at = s->table.n++;
    bl_cell *c = &s->cell[at];
    bool text = is_text_task(task);
    bl_sample *sample = bl_alloc(s->arena, (size_t)n, sizeof *sample, &e);
    bl_layer_stat *layer = bl_alloc(s->arena, 6, sizeof *layer, &e);
    bl_value v;
    int64_t task_seed = (int64_t)strlen(task), method_seed = (int64_t)bl_hash_bytes(method, strlen(method)).lo;

    assert_true(at < STUDY_CELLS && sample && layer);
    for (int64_t i = 0; i < n; i++) {
        double hard = invented_draw(i, task_seed), jitter = invented_draw(i, method_seed);
        sample[i] = (bl_sample){.id = i, .pick = 0, .gold = 0, .n_choices = text ? 0 : 4, .tokens = 100};
        if (text) {
            double nll = (log(level) + 0.4 * (hard - 0.5) + 0.02 * (jitter - 0.5)) * 2047;
            assert_ok(bl_sample_values(&sample[i], s->arena, (double[]){nll, 2047}, 2, &e));
        } else {
            if (jitter < 0.04) hard = 1 - hard; /* some items change sides for no reason */
            assert_ok(bl_sample_scores(&sample[i], s->arena, (double[]){hard < level}, 1, &e));
        }
    }
    for (int i = 0; i < 6; i++) {
        char name[64];
        snprintf(name, sizeof name, "model.layers.%d.%s", i / 2, i % 2 ? "mlp.up_proj" : "self_attn.q_proj");
        layer[i] = bl_layer_none;
        layer[i].name = bl_arena_str(s->arena, name, strlen(name), &e);
        layer[i].format = "int4 g64";
        layer[i].nmse = pow(4, -BL_MAX(wbits, 1)) * (1 + i / 3.0);
    }
    *c = (bl_cell){
        .key = "",
        .model = "smollm2-135m",
        .stored_as = "BF16",
        .method = bl_arena_str(s->arena, method, strlen(method), &e),
        .wbits = wbits,
        .group_text = wbits ? "64" : "",
        .notes = "",
        .task = bl_arena_str(s->arena, task, strlen(task), &e),
        .task_version = 1,
        .bits_per_weight = bits,
        .packed_bytes = 1,
        .data_hash = "d",
        .bos = "none",
        .tokenizer_hash = "t",
        .device = "an invented processor",
        .threads = 2,
        .commit = "0123456789ab",
        .created = "2024-05-01T12:00:00Z",
        .sample = sample,
        .n_samples = n,
        .layer = layer,
        .n_layers = wbits ? 6 : 0,
    };
    assert_ok(bl_metric_of(text ? invented_perplexity : invented_share, sample, n, &v, &e));
    s->row[at] = (bl_row){
        .cell = c,
        .has_cost = true,
        .status = "ok",
        .reason = "",
        .hash = "",
        .dir = "",
        .path = method,
        .metric = text ? "perplexity" : "acc",
        .unit = "1",
        .item_group = "",
        .value = v.value,
        .stderr_ = v.stderr_,
        .has_value = true,
        .has_stderr = v.has_stderr,
        .headline = true,
        .percent = !text,
        .direction = text ? -1 : 1,
        .n = n,
    };
    s->whole[at] = c;
    return &s->row[at];
}

static inline invented_study *study_new(void)
{
    bl_err e = {0};
    bl_arena *a = NULL;
    assert_ok(bl_arena_new(&a, &e));
    invented_study *s = bl_alloc(a, 1, sizeof *s, &e);
    assert_non_null(s);
    s->arena = a;
    s->table.row = s->row;
    s->in = (bl_plot_input){.table = &s->table, .whole = s->whole, .rules = &invented_rules};
    return s;
}

/* Compares every cell with the base of its task, as bl_table_against does with shards. */
static inline void study_judge(invented_study *s)
{
    bl_err e = {0};
    bl_paired *d = bl_alloc(s->arena, s->table.n, sizeof *d, &e), *list[STUDY_CELLS];
    size_t n = 0;
    for (size_t i = 0; i < s->table.n; i++)
        for (size_t k = 0; k < s->table.n; k++) {
            if (i == k || strcmp(s->cell[k].method, "base") || strcmp(s->cell[k].task, s->cell[i].task)) continue;
            int one;
            const bl_metric *m = invented_metrics(NULL, s->cell[i].task, 1, &one);
            if (bl_comparable(&s->cell[k], &s->cell[i], &e) != BL_OK) continue;
            assert_ok(bl_compare_metric(m, NULL, &s->cell[k], &s->cell[i], &d[i], &e));
            s->row[i].paired = list[n++] = &d[i];
        }
    if (n) assert_ok(bl_compare_judge(list, n, &e));
}

static inline void study_free(invented_study *s) { bl_arena_free(s->arena); }

/* Probed chains of thought of one to six steps, whose answers settle the earlier the fewer bits. */
static inline void study_probe(invented_study *s, const char *method, int wbits)
{
    bl_err e = {0};
    study_add(s, method, wbits, wbits ? wbits + 0.3 : 16, "gsm8k:faithful", 0.4, 60);
    bl_sample *sample = (bl_sample *)(uintptr_t)s->cell[s->table.n - 1].sample;
    for (int64_t i = 0; i < 60; i++) {
        int n = 1 + (int)(i % 6), at = 1;
        double v[1 + 4 * 7] = {n};
        for (int k = 0; k < 4; k++)
            for (int j = 0; j <= n; j++)
                v[at++] = j == n || invented_draw(i, k) * (wbits ? wbits : 16) < 4.0 * (j + k) / n;
        assert_ok(bl_sample_values(&sample[i], s->arena, v, at, &e));
    }
}

/* rtn at 8 to 1 bits and the base, on two texts and four tasks of choices. */
static inline invented_study *study_ladder(void)
{
    static const struct {
        const char *task;
        double base;
        int64_t n;
    } tasks[] = {{"wikitext2:gptq2048", 16.8, 161}, {"ptb:gptq2048", 31.4, 54}, {"piqa", 0.684, 1838},
                 {"arc_easy", 0.585, 2376},         {"hellaswag", 0.344, 1000}, {"winogrande", 0.522, 1267}};
    invented_study *s = study_new();

    for (size_t k = 0; k < BL_COUNT(tasks); k++)
        for (int bits = 0; bits <= 8; bits++) {
            char method[32] = "base";
            double lost = bits ? pow(2.6, 4 - bits) * 0.09 : 0;
            if (bits == 7) continue;
            if (bits) snprintf(method, sizeof method, "rtn:w%dg64", bits);
            study_add(s, method, bits, bits ? bits + (bits > 1 ? (16.0 + bits) / 64 : 0.25) : 16, tasks[k].task,
                      tasks[k].base > 1 ? tasks[k].base * exp(BL_MIN(lost * 3, 8.5))
                                        : 0.25 + (tasks[k].base - 0.25) * exp(-lost),
                      tasks[k].n);
        }
    study_judge(s);
    return s;
}

static inline size_t invented_timings(bl_kernel_row *out, size_t most)
{
    static const int64_t m[] = {1, 16, 128, 512}, shape[][2] = {{576, 576}, {192, 576}, {1536, 576}, {576, 1536}};
    static char name[16][32], format[16][16];
    size_t n = 0;

    for (size_t a = 0; a < BL_COUNT(m); a++)
        for (size_t s = 0; s < BL_COUNT(shape); s++) {
            double weights = (double)(shape[s][0] * shape[s][1]);
            for (int b = 0; b <= 8; b++)
                for (int fast = 0; fast < 2 && n < most; fast++) {
                    if (!b && fast) continue;
                    snprintf(name[BL_MAX(b - 1, 0) + 8 * fast], 32, "linear_int%d_%s", b, fast ? "avx2" : "ref");
                    snprintf(format[BL_MAX(b - 1, 0)], 16, "int%d", b);
                    double ratio = !b     ? 1
                                   : fast ? (m[a] == 1 ? 9.0 / b + 0.6 : 0.93) * (1 + 0.12 * sin((double)(s * 5) + b))
                                          : 0.05,
                           bytes = weights * (b ? b + 0.25 : 32) / 8, blas = weights * (4e-10 + 1e-11 * (double)m[a]);
                    out[n++] = (bl_kernel_row){.kernel = b ? name[b - 1 + 8 * fast] : "openblas",
                                               .op = "linear",
                                               .format = b ? format[b - 1] : "fp32",
                                               .backend = b ? "cpu" : "openblas",
                                               .m = m[a],
                                               .out = shape[s][0],
                                               .in = shape[s][1],
                                               .group = b ? 64 : 0,
                                               .bits = b ? b + 0.25 : 32,
                                               .seconds = blas / ratio,
                                               .seconds_min = blas / ratio,
                                               .seconds_max = 1.1 * blas / ratio,
                                               .gbs = 5,
                                               .gflops = 60 * ratio,
                                               .ratio = ratio,
                                               .cold = blas / ratio * 1.5,
                                               .cold_min = blas / ratio * 1.5,
                                               .cold_max = blas / ratio * 1.6,
                                               .cold_ratio = ratio,
                                               .bytes = bytes,
                                               .nmse = 1e-12};
                }
        }
    return n;
}

static const bl_kernel_facts invented_facts = {.device = "an invented processor",
                                               .simd = "avx2",
                                               .blas = "OpenBLAS",
                                               .commit = "0123456789ab",
                                               .created = "2024-05-01T12:00:00Z",
                                               .shape = "synth:smollm2-135m",
                                               .threads = 2,
                                               .repetitions = 5,
                                               .read_bytes_per_second = 12e9,
                                               .drift = 1.02};
/* Three runs of training on two sets of texts: one long and rough, one short, one whose gradient was infinite once. */
enum { INVENTED_CURVES = 3, INVENTED_STEPS = 3000 };
static inline const bl_curve *invented_curves(bl_curve out[INVENTED_CURVES])
{
    static double loss[INVENTED_CURVES][INVENTED_STEPS], lr[INVENTED_STEPS], norm[INVENTED_CURVES][INVENTED_STEPS];
    static const int64_t steps[INVENTED_CURVES] = {INVENTED_STEPS, 2, 700};
    static const char *const name[INVENTED_CURVES] = {"full", "lora", "lsq"}, *const data[2] = {"alpaca", "sums"};
    for (int c = 0; c < INVENTED_CURVES; c++)
        for (int i = 0; i < INVENTED_STEPS; i++) {
            loss[c][i] = 1 + 3 * exp(-i / 300.0) + 0.4 * (invented_draw(i, c) - 0.5);
            norm[c][i] = 0.2 + 8 * exp(-i / 100.0) * invented_draw(c, i);
            lr[i] = 1e-4 * (1 - (double)i / INVENTED_STEPS);
        }
    norm[2][5] = INFINITY;
    static const double valid_step[] = {1000, 2000, 3000}, valid[] = {1.5, 1.25, 7.125};
    for (int c = 0; c < INVENTED_CURVES; c++)
        out[c] = (bl_curve){.name = name[c],
                            .method = name[c],
                            .model = "smollm2-135m",
                            .stored_as = "BF16",
                            .data = data[c / 2],
                            .data_hash = data[c / 2],
                            .device = "an invented processor",
                            .commit = "0123456789ab",
                            .created = "2024-05-01T12:00:00Z",
                            .numerics = "cpu-f32",
                            .threads = 2,
                            .n = steps[c],
                            .loss = loss[c],
                            .lr = lr,
                            .grad_norm = norm[c],
                            .n_valid = c ? 0 : 3,
                            .valid_step = valid_step,
                            .valid = valid};
    return out;
}
#endif
