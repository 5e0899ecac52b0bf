/* outside.h - a product of yours, timed and checked by `bench kernels` under the rules of its own ones: a shared object
 * with these five functions, and nothing of this program but this header.
 *
 *     cc -O3 -march=native -shared -fPIC -I harness/bench -o mine.so examples/outside/int4.c
 *     bitladder bench kernels --outside ./mine.so --outside-format int4 --group 128
 *
 * The row is called what bl_outside_name says. Before anything is timed, y is filled with NaN, and what comes of a run
 * is compared with sums in double over the same weight: a normalised mean squared error above 1e-4 is wrong, and not
 * timed. Weights come from memory: there are several copies, and every run takes the next.
 */
#ifndef BL_HARNESS_BENCH_OUTSIDE_H
#define BL_HARNESS_BENCH_OUTSIDE_H
#ifdef __cplusplus
extern "C" {
#endif
#include <stdint.h>

#define BL_OUTSIDE_VERSION 1 /* of this header */

/* y = x Wt; x [rows, in], W [out, in], y [rows, out], rows one after another. */
typedef struct bl_outside_case {
    int64_t version;        /* BL_OUTSIDE_VERSION */
    const char *device;     /* "cpu": x and y are f32 in memory; "cuda": x is bf16, y f32, on the device in use */
    int64_t threads;        /* of the processor */
    const char *format;     /* "int4": of the weight */
    int64_t rows;           /* most of a run */
    int64_t out, in, group; /* inputs that share a scale; in: a whole row */
    int64_t bits;           /* of a code */
    const uint8_t *codes;   /* [out, in] one a byte */
    const float *scales;    /* [out, groups], groups = in / group rounded up */
    const float *zeros;     /* [out, groups]; W = (code - zero) scale */
    const float *values;    /* [out, in] W itself */
    int64_t copies;         /* of what is made of the weight: as many as no cache holds, runs take them in turn */
} bl_outside_case;

/* Name of the row: letters, digits, '_'. */
const char *bl_outside_name(void);
/* What a run needs, with `copies` of the weight in a layout of your own; what the case points to is gone afterwards.
 * NULL: this case is not taken, and there is no row for it. */
void *bl_outside_prepare(const bl_outside_case *c);
/* Bytes of one copy: codes, scales, zeros, all that a run reads of the weight. */
double bl_outside_bytes(const void *made);
/* With copy number `copy`. stream: a cudaStream_t that is being captured into a graph: launches only; NULL on the
 * processor, where y is there when it returns. Not 0: it failed. */
int bl_outside_run(void *made, int64_t copy, int64_t rows, const void *x, void *y, void *stream);
void bl_outside_release(void *made);

#ifdef __cplusplus
}
#endif
#endif
