/* gz.h - gzip files through zlib, bounded. */
#ifndef BL_HARNESS_DATA_GZ_H
#define BL_HARNESS_DATA_GZ_H
#include "kernels/base/bl.h"

bool bl_gz_named(const char *path); /* ends in .gz */
/* All members of a gzip image, unpacked, NUL after. BL_E_FORMAT: not gzip, damaged, truncated, something after it, or
 * more than `max` bytes. */
bl_status bl_gz_unpack(const char *name, const void *p, size_t n, uint64_t max, char **out, size_t *n_out, bl_err *e);
const char *bl_gz_version(void); /* "zlib 1.2.13" */
#endif
