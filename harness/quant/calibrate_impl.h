/* calibrate_impl.h - what the files of calibration share with each other and with nobody else. */
#ifndef BL_HARNESS_QUANT_CALIBRATE_IMPL_H
#define BL_HARNESS_QUANT_CALIBRATE_IMPL_H
#include "calibrate.h"
#include "kernels/base/hash.h"

/* Rows of the residual stream of all windows. `take` copies rows row0 .. into x, act [n, dim]; `give` copies them back.
 * `beside`: where a file is made when the rows are more than the backend may hold (BL_CALIB_RESIDENT, or its memory
 * limit without what is in use and `others` bytes); NULL: they stay on the backend. */
typedef struct bl_calib_store bl_calib_store;
bl_status bl_calib_store_new(bl_backend *be, int64_t rows, int64_t dim, const char *beside, uint64_t others,
                             bl_calib_store **out, bl_err *e);
bl_status bl_calib_store_take(bl_calib_store *s, int64_t row0, bl_tensor x, bl_err *e);
bl_status bl_calib_store_give(bl_calib_store *s, int64_t row0, bl_tensor x, bl_err *e);
/* For a host that has time, as the device computes: writes what was given, and reads the rows that are taken next (0:
 * that is not known), where they are in a file. */
bl_status bl_calib_store_ahead(bl_calib_store *s, int64_t row0, int64_t rows, bl_err *e);
void bl_calib_store_free(bl_calib_store *s); /* NULL is fine */

/* The statistics of a block that a file has of what the hash says: *data NULL where there are none or the file is
 * damaged; bl_free. */
bl_status bl_calib_kept_read(const char *path, bl_hash of, uint8_t **data, size_t *n, bl_err *e);
bl_status bl_calib_kept_write(const char *path, bl_hash of, const uint8_t *data, size_t n, bl_err *e);
enum { BL_CALIB_KEPT_MOST = 1 << 29 }; /* bytes; those of a block that are more are not kept */

/* Windows that go through a block together. */
int64_t bl_calib_pass_windows(int64_t n, int64_t seqlen);
#endif
