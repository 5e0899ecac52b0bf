/* run.h - runs a study: locks, one child a variant, progress, resume, exit code. The parent never touches a device. */
#ifndef BL_HARNESS_STUDY_RUN_H
#define BL_HARNESS_STUDY_RUN_H
#include "plan.h"

typedef struct bl_run_opts {
    bl_plan_opts plan;
    bool quiet;
    bl_log_level log;    /* least that is shown; OUT/log.txt has BL_LOG_INFO in any case */
    const char *program; /* path of this binary */
    uint64_t *n_looks;   /* counts how often the directory was asked about a cell; may be NULL */
} bl_run_opts;
/* Exit code: 0 all done, 1 some cell failed, 4 output not usable, 130 interrupted; BL_E_… only for what is refused
 * before work. */
bl_status bl_run_study(const bl_spec *s, const bl_run_opts *o, int *exit_code, bl_err *e);
/* The child: `internal variant`, job as JSON on standard input, progress as JSON lines on standard output. */
int bl_run_child(const bl_program *p, int argc, char **argv);
/* Log lines of this process go to OUT/log.txt, beside those of other runs and children. */
bl_status bl_run_log(const char *out, bl_log_level level, bl_err *e);
/* Leaves `<file>.failed.json` for a cell: status "failed" or "n/a". A note that cannot be written is logged. */
void bl_run_note_failure(const bl_plan *p, const bl_plan_cell *c, const char *status, const char *reason);
#endif
