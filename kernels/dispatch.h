/* dispatch.h - which kernel a product takes on a device, as it was measured there: a table in a file of JSON.
 *
 *     bl_dispatch *d = NULL;
 *     BL_TRY(bl_dispatch_read("kernels/dispatch/nvidia-h200.json", &d, e));
 *     const char *kernel = bl_dispatch_find(d, "int4", 128, 16, 4096, 14336);   // "stream_int4_cuda"; NULL: no row
 *
 * Rows are of a format and a shape of the weight; of each, runs of numbers of rows of x with the kernel that was
 * fastest for them. A shape that was not measured takes the row of the same format and group whose shape is nearest;
 * more rows than were measured, what has no row, and every device without a table, the rule of costs (bl_kernel_pick).
 * A kernel that cannot do a product never gets it. `bitladder tune` measures and writes the file.
 */
#ifndef BL_KERNELS_DISPATCH_H
#define BL_KERNELS_DISPATCH_H
#include "kernel.h"

enum { BL_DISPATCH_RUNS = 32 };
typedef struct bl_dispatch_row {
    const char *format;
    int64_t group, out, in; /* group: inputs that share a scale; 0: the format has its own rule */
    int n_runs;
    struct {
        int64_t rows; /* up to so many */
        const char *kernel;
    } run[BL_DISPATCH_RUNS]; /* rows go up */
} bl_dispatch_row;
typedef struct bl_dispatch bl_dispatch;

/* BL_E_FORMAT: a key, a kernel or an order that is not known, with its place. */
bl_status bl_dispatch_read(const char *path, bl_dispatch **out, bl_err *e);
void bl_dispatch_free(bl_dispatch *d); /* NULL is fine */
const char *bl_dispatch_find(const bl_dispatch *d, const char *format, int64_t group, int64_t rows, int64_t out,
                             int64_t in);
/* As a file; `made` says how it was measured. */
bl_status bl_dispatch_text(const char *device, const char *made, const bl_dispatch_row *row, size_t n, bl_text *out,
                           bl_err *e);
/* "NVIDIA H200" becomes "nvidia-h200.json". */
void bl_dispatch_file(const char *device, char out[160]);

/* ---- the tables of open backends ---- */
/* The table of a device that was just opened: the file that the environment variable BITLADDER_DISPATCH names ("none":
 * no table), else the one that came with this program. No table is fine. */
bl_status bl_dispatch_open(const bl_backend *be, bl_err *e);
void bl_dispatch_close(const bl_backend *be);
/* The row of the table for the product of weight w; NULL: none that can do it. */
const bl_kernel *bl_dispatch_pick(const bl_backend *be, const bl_linear_args *a, const bl_weight *w);
#endif
