/* job.h - what a run hands to the child that makes one variant and runs its cells: canonical texts and hashes.
 *
 * Nothing is planned again on the other side: the child opens the model and the data of these tasks, and each cell is
 * compared with what was planned, ingredient by ingredient.
 */
#ifndef BL_HARNESS_STUDY_JOB_H
#define BL_HARNESS_STUDY_JOB_H
#include "plan.h"

typedef struct bl_job_cell {
    bl_plan_cell cell; /* key, file, hash; indices into the job's spec */
    bl_plan_cell base; /* the cell it is compared with; key NULL: none */
    bl_identity id;
} bl_job_cell;
typedef struct bl_job {
    bl_spec spec;     /* one model, one method, one seed, the tasks of the cells */
    const char *name; /* of the model, as the keys have it */
    bl_log_level log;
    bl_job_cell *cell;
    size_t n_cells;
    bl_arena *arena;
} bl_job;

/* The job of some cells of one variant, as JSON. */
bl_status bl_job_print(const bl_plan *p, bl_plan_cell *const *cell, size_t n, bl_log_level log, bl_text *out,
                       bl_err *e);
bl_status bl_job_parse(const bl_program *p, const char *text, size_t n, bl_job *out, bl_err *e);
void bl_job_free(bl_job *j);
#endif
