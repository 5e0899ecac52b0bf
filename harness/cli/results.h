/* results.h - the results of one directory with all that figures and the report show of them. */
#ifndef BL_HARNESS_CLI_RESULTS_H
#define BL_HARNESS_CLI_RESULTS_H
#include "cli.h"
#include "plots/plot.h"

typedef struct bl_results {
    bl_plot_input in; /* of what follows: the struct stays where it is */
    bl_table *table;  /* compared with the base */
    bl_metric_rules rules;
    bl_kernel_facts facts;
    bl_text skipped;    /* a line for each curve that cannot be read */
    const char *folder; /* what was asked for, or the directory that the file is in: where pictures go */
    bl_arena *arena;
} bl_results;
/* `dir`: a directory of results, one result file, a curve of training, or a trained model with its curve beside it. */
bl_status bl_results_read(const bl_program *p, const char *dir, bl_results *out, bl_err *e);
void bl_results_free(bl_results *r); /* one of zeros is fine */

/* Is there nothing at all in it? */
bool bl_results_empty(const bl_results *r);

/* Names on standard error what could not be read, which is exit code 1. */
void bl_tell_skipped(const bl_table *t, int *exit_code);
void bl_results_tell_skipped(const bl_results *r, int *exit_code);
#endif
