/* progress.h - what a person sees while a study runs: one updating line on a terminal, else one line a finished cell.
 */
#ifndef BL_HARNESS_STUDY_PROGRESS_H
#define BL_HARNESS_STUDY_PROGRESS_H
#include "kernels/base/bl.h"

typedef struct bl_progress {
    bool tty, quiet;
    size_t cells, finished;
    double t0, estimate, estimate_done;
    double drawn;
} bl_progress;
void bl_progress_begin(bl_progress *p, size_t cells, double estimate_seconds, bool quiet);
/* `share` 0..1 of the cell that runs; its estimate in seconds. */
void bl_progress_show(bl_progress *p, const char *key, int64_t done, int64_t all, double rate, double cell_estimate);
void bl_progress_line(bl_progress *p, const char *line); /* what is done before the next cell */
void bl_progress_cell(bl_progress *p, const char *key, const char *what, double seconds,
                      double cell_estimate); /* a finished cell: "acc 64.0 ±3.4 %", "failed: reason" */
void bl_progress_note(bl_progress *p, const char *fmt, ...) BL_PRINTF(2, 3);
void bl_progress_end(bl_progress *p);
#endif
