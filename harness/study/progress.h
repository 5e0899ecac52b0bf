/* progress.h - what a person sees while a study runs: on a terminal one updating line, as wide as the terminal; else
 * one line at the start and one a finished cell.
 */
#ifndef BL_HARNESS_STUDY_PROGRESS_H
#define BL_HARNESS_STUDY_PROGRESS_H
#include "kernels/base/bl.h"

typedef struct bl_progress {
    bool tty, quiet;
    size_t cells, finished;
    double work, done; /* estimated seconds: of what is left at the start, and of what is done of it */
    double t0, drawn;
    char what[400]; /* that runs: "noise/rtn:w4/piqa/0" */
    char how[96];   /* "scoring 12/200, 310 tokens/s" */
    double part;    /* estimated seconds of it that are done */
} bl_progress;
/* cells: of the study; finished: those that are done already; work: estimated seconds of the others. */
void bl_progress_begin(bl_progress *p, size_t cells, size_t finished, double work, bool quiet);
/* What runs, in words; `part`: how many of its estimated seconds are done. Drawn at once when the words begin anew. */
void bl_progress_now(bl_progress *p, const char *what, const char *how, double part);
void bl_progress_draw(bl_progress *p); /* again, for the time that is left; a few times a second at most */
/* Estimated seconds that were worked for, and others that need not be; nothing runs now. */
void bl_progress_did(bl_progress *p, double worked, double saved);
/* The line of a cell that is over: "acc 64.0 ±3.4 %", "failed: reason"; seconds below 0: it was not worked at. */
void bl_progress_cell(bl_progress *p, const char *key, const char *what, double seconds);
void bl_progress_note(bl_progress *p, const char *fmt, ...) BL_PRINTF(2, 3);
void bl_progress_end(bl_progress *p);

/* Seconds until `work` estimated ones are done, of which `done` took `spent`: the estimate is believed at first, then
 * what was measured. */
double bl_progress_left(double work, double done, double spent);
/* Rounded for a person: "45 s", "12 min", "3.4 h". */
void bl_progress_time(double seconds, char out[32]);
/* The updating line in `width` columns: what runs is shortened in its middle, then the end is cut. */
void bl_progress_line(const bl_progress *p, double now, size_t width, bl_text *out);
#endif
