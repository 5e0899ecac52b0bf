/* item_file.h - a side file of a running cell: one checked block of bytes per item, appended; a torn end is cut when it
 * is opened again.
 *
 * Used for the hidden states that the base keeps (OUT/cache/) and for the divergences of a cell that runs.
 */
#ifndef BL_RESULTS_ITEM_FILE_H
#define BL_RESULTS_ITEM_FILE_H
#include "kernels/base/hash.h"

typedef struct bl_item_file bl_item_file;
/* `writable`: made when absent, begun anew when it belongs to another hash. Else BL_E_MISSING when absent, BL_E_CORRUPT
 * when it is not whole. */
bl_status bl_item_file_open(const char *path, bl_hash owner, bool writable, bl_item_file **out, bl_err *e);
bool bl_item_file_has(const bl_item_file *c, int64_t id);
bl_status bl_item_file_add(bl_item_file *c, int64_t id, const void *p, size_t n, bl_err *e);
/* Bytes of one item, bl_free; BL_E_MISSING, BL_E_CORRUPT. */
bl_status bl_item_file_get(bl_item_file *c, int64_t id, void **out, size_t *n, bl_err *e);
bl_status bl_item_file_sync(bl_item_file *c, bl_err *e);
void bl_item_file_close(bl_item_file *c); /* NULL is fine; the file stays */
#endif
