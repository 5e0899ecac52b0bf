/* between.h - the states between the stages of a chain whose result is at DIR, where nobody keeps them: they are made
 * beside it and removed once the result is there.
 *
 * Of a chain that is trained stage i, counted from 1, is DIR.stage<i>, its state while it learns DIR.stage<i>.state and
 * its curve, which stays, DIR.stage<i>.curve.hdf5: the same command goes on from what a process left. Of others it is
 * DIR.stage<i>.<pid>.
 */
#ifndef BL_HARNESS_QUANT_BETWEEN_H
#define BL_HARNESS_QUANT_BETWEEN_H
#include "apply.h"

/* Where the state after stage i of n is kept, i from 0; bl_free. */
char *bl_between_dir(const bl_apply_how *how, const char *dir, int i, int n, bl_err *e);
/* Whether what a process left is of use to the next. */
bool bl_between_stays(const bl_apply_how *how);
/* Before the first stage: *first is the stage to begin with, those before it are there. Refuses what is there from an
 * earlier run, unless `how` takes it, and what is of another run. */
bl_status bl_between_begin(const bl_apply_how *how, const char *dir, int n, int *first, bl_err *e);
/* A chain is trained and DIR is there: removes what a process that was killed since left of its states, and no more. */
bl_status bl_between_forget(const bl_apply_how *how, const char *dir, int n, bl_err *e);
#endif
