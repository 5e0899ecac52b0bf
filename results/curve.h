/* curve.h - the curve of a run of training: numbers of every step, and what was trained where (layout:
 * results/schema.md). Written by the verbs that train, read by figures.
 */
#ifndef BL_RESULTS_CURVE_H
#define BL_RESULTS_CURVE_H
#include "kernels/base/hash.h"

#define BL_CURVE_ENDING ".curve.hdf5"

typedef struct bl_curve {
    const char *name;                      /* read: of the file, without its ending; "": method alone */
    const char *method, *model;            /* model: what training began with */
    const char *stored_as, *data;          /* data: what was trained on; "" when a file is older than these */
    const char *data_hash;                 /* 32 hex digits; of the texts that were trained on */
    const char *device, *commit, *created; /* created: ISO 8601, set when it is written */
    const char *numerics;                  /* class of the device's arithmetic, as of a cell; "" as data */
    int64_t threads;                       /* 0: not known; of a GPU its multiprocessors */
    int64_t n;                             /* steps */
    const double *loss;                    /* [n] nat, mean over the tokens of a step that count */
    const double *lr, *grad_norm;          /* [n]; of all gradients, before they are clipped */
    const double *block;                   /* [n] NULL: a loss is of the whole model; else of which block it is, and
                                              mean squared difference of its output to the original */
    int64_t n_valid;                       /* steps after which the loss of a validation text was computed */
    const double *valid_step;              /* [n_valid] 1, 2, … */
    const double *valid;                   /* [n_valid] nat, mean over its tokens that count */
} bl_curve;

/* By rename; `identity` is of everything that could change the run. */
bl_status bl_curve_write(const char *path, bl_hash identity, const bl_curve *c, bl_err *e);
/* Texts and numbers in the arena. BL_E_CORRUPT when the file does not check or is no curve. */
bl_status bl_curve_read(const char *path, bl_arena *a, bl_curve *out, bl_err *e);
/* Is this the name of such a file? */
bool bl_is_curve(const char *path);
/* Those of a directory, in the order of their names; a file: that one. What cannot be read is passed over, with a line
 * for each in `skipped`. */
bl_status bl_curves_read(const char *path, bl_arena *a, bl_curve **out, size_t *n, bl_text *skipped, bl_err *e);
#endif
