/* metric.h - how samples become the numbers of a table, with their standard error.
 *
 *     static const bl_metric metrics[] = {
 *         {.name = "acc", .direction = 1, .headline = true, .percent = true, .agg = BL_AGG_MEAN, .by_group = true},
 *         {.name = "acc_macro", .direction = 1, .percent = true, .agg = BL_AGG_MEAN, .macro = true},
 *     };
 */
#ifndef BL_RESULTS_METRIC_H
#define BL_RESULTS_METRIC_H
#include "sample.h"

typedef enum bl_agg {
    BL_AGG_MEAN,       /* mean of score[a]; stderr: sample standard deviation / sqrt(n) */
    BL_AGG_EXP_RATIO,  /* exp(sum value[a] / sum value[b]); b < 0: number of samples; stderr by the delta method over 4
                          samples or more */
    BL_AGG_RATIO,      /* factor * sum value[a] / sum value[b] */
    BL_AGG_EXP_TOKENS, /* as EXP_RATIO; stderr from tokens: sqrt((sum value[c]/N - mean^2) / (N-1)) * ppl (llama.cpp) */
    BL_AGG_FLAG_SHARE  /* share of samples with flag a; stderr as MEAN */
} bl_agg;
typedef struct bl_metric {
    const char *name; /* "acc", "acc_norm", "perplexity", "exact_match_strict" */
    int direction;    /* +1 higher is better, -1 lower, 0 neither */
    const char *unit; /* "nat", "bit"; NULL: "1" */
    bool headline;    /* in a table when nothing else is asked for; a task that marks none shows its first */
    bool percent;     /* a share: stored as 0..1, shown times 100 */
    bl_agg agg;
    int a, b, c;
    double factor;  /* RATIO; 0 means 1 */
    bool no_stderr; /* the protocol gives none */
    int steps;      /* MEAN: of score[a] .. score[a + steps - 1], each step also as a group; 0: score[a] alone */
    bool by_group;  /* also within each group of samples, and within the part of "part/group" */
    bool pooled;    /* MEAN: stderr sqrt(sum of v_g (n_g - 1) / (N - G) / N), v_g the variance within each of G groups
                       (lm-evaluation-harness, pooled_sample_stderr); none where a group is one sample */
    int given;  /* MEAN: only over samples whose score[given - 1] is 1, where the metric means something; 0: over all.
                   Where there are none the metric is left out */
    bool macro; /* mean over the groups, each counting once; else over the samples */
    const char *items; /* what a sample is called: "windows", "documents"; NULL: "items" */
} bl_metric;

typedef struct bl_value {
    double value, stderr_;
    int64_t n;
    bool has_stderr;
} bl_value;
/* Does a sample enter: bl_metric.given. */
bool bl_metric_takes(const bl_metric *m, const bl_sample *s);
/* What MEAN and FLAG_SHARE take the mean of, for one sample. */
bl_status bl_metric_entry(const bl_metric *m, const bl_sample *s, double *out, bl_err *e);
/* BL_E_NUMERIC when a sample that enters is not finite: it is never averaged. n == 0 is BL_E_MISSING. */
bl_status bl_metric_of(const bl_metric *m, const bl_sample *s, int64_t n, bl_value *out, bl_err *e);

/* What stands in a cell: a metric over everything, or (group) over a part. */
typedef struct bl_cell_metric {
    const char *name, *unit;
    int direction;
    double value, stderr_;
    bool has_stderr;
    int64_t n;
    bool headline, percent;
    const char *group; /* NULL: over everything; else the group of the samples, or "step 2" */
    const char *over;  /* what the standard error is over: "items", "windows", "tokens"; NULL: not recorded */
} bl_cell_metric;
/* A growing list in an arena. */
typedef struct bl_metric_list {
    bl_cell_metric *v;
    int64_t n, cap;
} bl_metric_list;
bl_status bl_metric_add(bl_metric_list *l, bl_arena *a, const bl_cell_metric *m, bl_err *e);
/* Over everything. When no row is a headline, the first is. */
bl_status bl_metrics_over_all(const bl_metric *row, int n_rows, const bl_sample *s, int64_t n, bl_arena *a,
                              bl_metric_list *out, bl_err *e);
/* Within each group (sorted by name) and each step, for the rows that ask for it. */
bl_status bl_metrics_by_group(const bl_metric *row, int n_rows, const bl_sample *s, int64_t n, bl_arena *a,
                              bl_metric_list *out, bl_err *e);

/* Mean of v[n] and its standard error, the sample standard deviation over sqrt(n); 0 for n = 1. */
void bl_mean_of(const double *v, int64_t n, double *mean, double *error);
/* Percentile f in [0,1] of sorted x[n], linear between neighbours: p = f (n-1). */
double bl_percentile(const double *sorted, int64_t n, double f);
#endif
