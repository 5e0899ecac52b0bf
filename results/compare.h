/* compare.h - two cells of one task, item by item: how large the difference is, how sure, and what it would take.
 *
 *     bl_paired d;
 *     BL_TRY(bl_comparable(&a, &b, e));                          // both with samples; else one sentence says why not
 *     BL_TRY(bl_compare_metric(metric, NULL, &a, &b, &d, e));    // d.delta: b minus a
 *     BL_TRY(bl_compare_judge((bl_paired *[]){&d}, 1, e));       // d.p_holm, d.verdict: over what is shown together
 *
 * Both cells answered the same items, so what is compared is the difference of each item, not two means: the spread
 * between items, which is most of the standard error of a mean, drops out.
 *
 *     0 or 1 an item (accuracy)      exact test of McNemar; standard error of the mean of differences
 *     sums over windows (perplexity) t test of the windows' differences, n - 1 degrees of freedom; the quotient of
 *                                    sums by the delta method
 *     other scores, means of groups  bootstrap of the items, within groups for a mean of groups
 */
#ifndef BL_RESULTS_COMPARE_H
#define BL_RESULTS_COMPARE_H
#include "cell.h"

typedef enum bl_paired_test { BL_TEST_NONE, BL_TEST_MCNEMAR, BL_TEST_T, BL_TEST_BOOTSTRAP } bl_paired_test;
const char *bl_paired_test_name(bl_paired_test t); /* "exact McNemar", "paired t", "paired bootstrap", "" */
/* Of b, as judged at the level 0.05 after Holm's correction. UNDECIDED: too few items to tell, or no difference. */
typedef enum bl_verdict { BL_UNDECIDED, BL_BETTER, BL_WORSE } bl_verdict;
const char *bl_verdict_name(bl_verdict v); /* "undecided", "better", "worse" */
const char *bl_verdict_mark(bl_verdict v); /* "·", "▲", "▼" */
#define BL_LEVEL 0.05

typedef struct bl_paired {
    bl_paired_test test;  /* NONE: fewer than two items, or a group of one in a mean of groups; p is 1 */
    int64_t n;            /* items, windows or documents of both */
    const char *over;     /* what n counts: "items", "windows" */
    int direction;        /* of the metric: +1 higher is better, -1 lower */
    bool percent;         /* a share, shown times 100 */
    bool log;             /* perplexity: delta, se, low and high are of its logarithm, nat per unit; exp(delta) is the
                             quotient b / a */
    double a, b;          /* the metric of each over these items */
    double delta, se;     /* b - a, and its standard error */
    double low, high;     /* 95% interval of delta */
    double p;             /* of no difference */
    bool judged;          /* by bl_compare_judge; else p_holm and verdict say nothing */
    double p_holm;        /* p, adjusted for all that were judged together */
    int64_t lost, gained; /* 0/1 metrics: items right in a and wrong in b, and the other way; else -1 */
    double needed;        /* items at which a difference of this size would be found in four studies of five; 0: none */
    bl_verdict verdict;
} bl_paired;

/* The same task, version, options, data, items, place of BOS; BL_E_CONFIG with the first that differs by name. What
 * may differ: model, method, arithmetic. Both cells have their samples. */
bl_status bl_comparable(const bl_cell *a, const bl_cell *b, bl_err *e);
/* The same data, items, place of BOS, of whatever tasks: what one task says about an item has a partner in the other.
 */
bl_status bl_same_items(const bl_cell *a, const bl_cell *b, bl_err *e);
/* One metric of comparable cells; `group`: only these items, or "step 2" (NULL or "": all). BL_E_CONFIG for a metric by
 * tokens of two tokenizers, BL_E_MISSING without items of that group. */
bl_status bl_compare_metric(const bl_metric *m, const char *group, const bl_cell *a, const bl_cell *b, bl_paired *out,
                            bl_err *e);
/* Of a difference whose delta and se are there: the interval by Student's distribution with `df` degrees of freedom,
 * and, except where McNemar's test is the one, test and p by it too. df 0: nothing. */
void bl_paired_by_t(bl_paired *d, double df);
/* Holm's correction over all of d[n], and the verdicts. */
bl_status bl_compare_judge(bl_paired *const *d, size_t n, bl_err *e);

/* How the metrics of a task are made of its samples; NULL when that task or that version is not known. The program's
 * registry answers (bl_program_metrics). */
typedef struct bl_metric_rules {
    const bl_metric *(*of)(const void *ctx, const char *task, int64_t version, int *n);
    const void *ctx;
} bl_metric_rules;
/* The rule of one metric; BL_E_MISSING with a sentence. */
bl_status bl_metric_rule(const bl_metric_rules *r, const bl_cell *c, const char *metric, const bl_metric **out,
                         bl_err *e);

/* "+1.0 ±2.4" (points of a share), "×1.255 ±0.010", "+0.31 ±0.02": the difference as tables print it. */
void bl_paired_text(const bl_paired *d, char out[96]);
/* "0.84", "0.0021", "2e-05", "<1e-99"; "1" from 0.995 on. */
void bl_p_text(double p, char out[24]);
#endif
