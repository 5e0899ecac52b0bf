/* calibrate_kept.c - statistics that rows of a study share, a file a block: of inputs of the original model, which are
 * the same for every method that asks for the same.
 *
 *     32 bytes    hash of what they are of
 *     the tensors of its inputs, in the order in which calibrate.c lists them
 *     32 bytes    hash of all that
 */
#include "calibrate_impl.h"
#include "kernels/base/fs.h"
#include <string.h>

enum { HEX = 32 };

bl_status bl_calib_kept_read(const char *path, bl_hash of, uint8_t **data, size_t *n, bl_err *e)
{
    bl_status st = BL_OK;
    char *all = NULL, hex[HEX + 1];
    size_t size = 0;
    *data = NULL;
    if (!bl_exists(path)) return BL_OK;
    BL_TRY(bl_read_file(path, BL_CALIB_KEPT_MOST + 2 * HEX, &all, &size, e));
    bl_hash_hex(of, hex);
    if (size < 2 * HEX || memcmp(all, hex, HEX) != 0) goto out; /* of something else */
    bl_hash_hex(bl_hash_bytes(all, size - HEX), hex);
    if (memcmp(all + size - HEX, hex, HEX) != 0) {
        bl_log(BL_LOG_WARN, "%s is damaged and made again", path);
        goto out;
    }
    *n = size - 2 * HEX;
    memmove(all, all + HEX, *n);
    *data = (uint8_t *)all;
    all = NULL;
out:
    bl_free(all);
    return st;
}

bl_status bl_calib_kept_write(const char *path, bl_hash of, const uint8_t *data, size_t n, bl_err *e)
{
    bl_status st = BL_OK;
    char hex[HEX + 1], *all = bl_new(n + 2 * HEX, 1, e);
    if (!all) return BL_E_NOMEM;
    bl_hash_hex(of, hex);
    memcpy(all, hex, HEX);
    memcpy(all + HEX, data, n);
    bl_hash_hex(bl_hash_bytes(all, n + HEX), hex);
    memcpy(all + HEX + n, hex, HEX);
    st = bl_write_file(path, all, n + 2 * HEX, e);
    bl_free(all);
    return st;
}
