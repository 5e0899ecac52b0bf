/* curve_out.h - what a run of training leaves: its curve, as a record and as lines. */
#ifndef BL_HARNESS_TRAIN_CURVE_OUT_H
#define BL_HARNESS_TRAIN_CURVE_OUT_H
#include "trainer.h"
#include "results/curve.h"

/* OUT.curve.hdf5. Of `what` method, data, data_hash are read; model and machine are those of the others. */
bl_status bl_curve_record(const char *out, bl_hash identity, bl_backend *be, const bl_checkpoint *ckpt,
                          const bl_curve *what, const bl_train_point *point, int64_t n, bl_err *e);
/* BL_OK where a file can be written there, or is not asked for (NULL, "-"): what would fail after the last step does so
 * before the first. */
bl_status bl_curve_place(const char *path, bl_err *e);
/* JSON lines {"step", "loss", "lr", "grad_norm"}, "valid" where it was computed; "-": standard output. */
bl_status bl_curve_lines(const char *path, const bl_train_point *point, int64_t n, bl_err *e);
#endif
