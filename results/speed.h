/* speed.h - is one record of timings slower, or less exact, than another.
 *
 *     bl_speed_row *row; double shift;
 *     BL_TRY(bl_speed_same_conditions(&base, &now, e));            // BL_E_CONFIG: what differs, in one sentence
 *     BL_TRY(bl_speed_compare(&base, &now, 2, arena, &row, &n, &shift, e));
 *     if (bl_speed_loss(row, n)) exit_code = 3;
 *
 * A time is slower when three things hold: the ranks of its repetitions are no chance (Mann and Whitney 1947, with
 * Holm's correction over all that is compared, at 0.01), the median differs by more than what matters in practice, and
 * by more than the noise: what halves of the repetitions of one record, every other one, differ by, and the most that a
 * yardstick, which is the same code in both, differs by, and a probe of the device, which is a yardstick too, between
 * the records and within one. What all yardsticks differ by is taken off first: a clock that is a little slower is
 * nobody's doing. Two processes differ by more than repetitions in one: of two records small losses stay undetected
 * where the yardsticks say so; builds that take turns (bl_bench_against_run) tell more. The
 * error of a kernel is a number of its own: the data of a case are always the same, so that an error that grows comes
 * of the code.
 */
#ifndef BL_RESULTS_SPEED_H
#define BL_RESULTS_SPEED_H
#include "kernels/base/bl.h"
#include "timing.h"

typedef enum bl_speed_verdict {
    BL_SPEED_SAME,      /* no further apart than the noise, or than what matters */
    BL_SPEED_UNDECIDED, /* further, but the repetitions do not tell */
    BL_SPEED_FASTER,
    BL_SPEED_SLOWER,
} bl_speed_verdict;
const char *bl_speed_verdict_name(bl_speed_verdict v); /* "same", "undecided", "faster", "slower" */
typedef enum bl_error_verdict { BL_ERROR_NONE, BL_ERROR_SAME, BL_ERROR_LESS, BL_ERROR_MORE } bl_error_verdict;
const char *bl_error_verdict_name(bl_error_verdict v); /* "", "same", "less", "more" */

typedef struct bl_speed_record {
    const char *name; /* as the user called it */
    bl_kernel_facts facts;
    const bl_kernel_row *kernel;
    size_t n_kernels;
    const bl_kernel_wrong *wrong;
    size_t n_wrong;
    const bl_model_row *model;
    size_t n_models;
} bl_speed_record;

typedef struct bl_speed_row {
    const char *what, *from; /* "gemm_int4_avx2 16 x 576 x 1536 g64"; "memory", "cache", of models "" */
    double a, b;             /* medians, seconds; 0: not timed there, since it is wrong */
    int64_t n;               /* repetitions, of the record with fewer */
    double change;           /* b / a - 1, b divided by what the yardsticks have changed by */
    double noise;            /* the part of a median that differences up to here are */
    double p, p_holm;
    double error[2]; /* normalised mean squared error; negative: none */
    bool yardstick;  /* the same code in both: its verdict is not counted */
    bool probe;      /* and nothing else: the device itself, `from` what it took its time for; these rows come last */
    bl_speed_verdict verdict;
    bl_error_verdict exact;
} bl_speed_row;

/* One device, instructions, driver, threads, baseline, convention, and clocks no more than 3% apart. */
bl_status bl_speed_same_conditions(const bl_speed_record *a, const bl_speed_record *b, bl_err *e);
/* What both have, in the order of `a`; percent: what matters in practice; shift: the quotient of the yardsticks.
 * BL_E_MISSING: they have nothing in common, BL_E_CONFIG: the yardsticks, or one probe, differ by more than 10%, which
 * is another machine or a busy one. */
bl_status bl_speed_compare(const bl_speed_record *a, const bl_speed_record *b, double percent, bl_arena *arena,
                           bl_speed_row **out, size_t *n, double *shift, bl_err *e);
/* One kernel at one shape. */
bool bl_speed_same_case(const bl_kernel_row *x, const bl_kernel_row *y);
/* 0: of nothing, or memory ran out. */
double bl_speed_median(const double *t, int64_t n, bl_arena *a, bl_err *e);
/* How many are slower or less exact, the yardstick not counted. */
size_t bl_speed_loss(const bl_speed_row *row, size_t n);
/* Fewest repetitions of each record with which one of so many rows can be told from chance. */
int64_t bl_speed_repetitions(size_t rows);
#endif
