/* plan_impl.h - what the parts of a plan share: plan.c makes the cells, plan_bases.c finds what they are compared with.
 */
#ifndef BL_HARNESS_STUDY_PLAN_IMPL_H
#define BL_HARNESS_STUDY_PLAN_IMPL_H
#include "plan.h"

/* Key, identity and file names of a cell whose indices are there. */
bl_status bl_plan_name_cell(const bl_plan *p, bl_plan_cell *c, bl_err *e);
bl_status bl_plan_make_variant(const bl_plan *p, size_t model, size_t method, uint64_t seed, bl_plan_variant *v,
                               bl_err *e);
/* Its state, and the reason where it is n/a or failed. */
bl_status bl_plan_state(const bl_plan *p, bl_plan_cell *c, bl_err *e);
/* A whole shard of this cell, compared or not. */
bool bl_plan_has_shard(const bl_plan *p, const bl_plan_cell *c);
/* Was the cell with a shard compared with its base? */
bool bl_plan_is_compared(const bl_plan *p, const bl_plan_cell *c);

/* The base cell of every cell that is compared with one: one of the study, or one that only the directory has. Cells
 * that were run without it are open again; a base whose states are gone and needed is made again. */
bl_status bl_plan_find_bases(bl_plan *p, bl_err *e);
#endif
