/* metric.h - how samples become the numbers of a table, with their standard error. */
#ifndef BL_METRIC_H
#define BL_METRIC_H
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
    const char *unit; /* "1", "nat", "bit" */
    bl_agg agg;
    int a, b, c;
    double factor;  /* RATIO; 0 means 1 */
    bool no_stderr; /* the protocol gives none */
} bl_metric;

typedef struct bl_value {
    double value, stderr_;
    int64_t n;
    bool has_stderr;
} bl_value;
/* BL_E_NUMERIC when a sample that enters is not finite: it is never averaged. n == 0 is BL_E_MISSING. */
bl_status bl_metric_of(const bl_metric *m, const bl_sample *s, int64_t n, bl_value *out, bl_err *e);

/* Percentile f in [0,1] of sorted x[n], linear between neighbours: p = f (n-1). */
double bl_percentile(const double *sorted, int64_t n, double f);
#endif
