/* split.h - a matrix as a packed one and a product of two narrow ones, on the host (LQ-LoRA, Guo et al. 2023, arXiv
 * 2311.12023, algorithm 2).
 *
 *     static float w[96 * 128], a[8 * 128], b[96 * 8];
 *     bl_split_of of = {.w = w, .out = 96, .in = 128, .rank = 8, .seed = 1};
 *     bl_split_job job = {.of = &of, .format = bl_format_find("nf3_lq"), .rounds = 100, .a = a, .b = b,
 *                         .shape = {.out = 96, .in = 128, .group = 64, .scale = BL_BF16}};
 *     BL_TRY(bl_split_begin(&of, e));
 *     BL_TRY(bl_split_all(&job, 1, e));
 *     bl_split_end(&of);
 *
 * From Q = 0, for t = 1, 2, ...: L1 L2 becomes the part of W - Q of the largest singular triples, Q what the format
 * keeps of W - L1 L2, e_t = |W - Q - L1 L2|; it ends at the first e_t that is above the one before, or after `rounds`.
 * The iterate of least error is the result. With an importance F of each weight e_t = |sqrt(F) (W - Q - L1 L2)|, and
 * the triples are those of Dr (W - Q) Dc, Dr the roots of the means of F's rows, Dc of its columns (section 4.2), both
 * at least 1e-4 of their largest, so that nothing is divided by 0.
 */
#ifndef BL_KERNELS_SPLIT_H
#define BL_KERNELS_SPLIT_H
#include "format.h"

typedef struct bl_split_of {
    const float *w;          /* [out, in] */
    const float *importance; /* [out, in], not negative; NULL: all alike */
    int64_t out, in, rank;   /* rank 0: no product, it is packed once */
    bool exact;              /* triples of the whole matrix (bl_factor_svd), else near ones */
    uint64_t seed;           /* of the subspace that near ones begin with */
    /* of bl_split_begin: the triples of W itself, and where a search near them begins */
    float *a, *b, *basis, *d_row, *d_col;
} bl_split_of;
bl_status bl_split_begin(bl_split_of *x, bl_err *e);
void bl_split_end(bl_split_of *x);
/* What it begins with itself: room, d_row and d_col, a random basis; and how often W is multiplied then: two passes
 * after the first, as torch's svd_lowrank does it. */
bl_status bl_split_draw(bl_split_of *x, bl_err *e);
/* Triples of Dr W Dc, in place, become those of W. */
void bl_split_unweighted(const bl_split_of *x, float *a, float *b);
enum { BL_SPLIT_PASSES = 3 };

typedef struct bl_split_job {
    const bl_split_of *of; /* begun */
    const bl_format *format;
    bl_shape shape;
    int rounds;          /* at most */
    float *a, *b, *left; /* [rank, in], [out, rank], [out, in] W - b a, of the result; each may be NULL */
    double cost;         /* out: e^2 of the result */
    double *error;       /* out, [rounds]: e_t of the rounds that were made; NULL: not told */
    int made;            /* out: how many */
} bl_split_job;
/* Jobs on all threads; each one's numbers do not depend on the others. */
bl_status bl_split_all(bl_split_job *job, size_t n, bl_err *e);

/* The same with matrices on a device, which all that is as large as they are is computed on; what is narrow is
 * decomposed on the threads of the host. Numbers are near those of above, not the same. Whether it can: the device has
 * split_pass, which takes the formats, and triples are near ones. */
bool bl_split_there_can(const bl_backend *be, const bl_split_job *job, size_t n);
bl_status bl_split_there_begin(bl_backend *be, bl_split_of *x, bl_err *e);
bl_status bl_split_there(bl_backend *be, bl_split_job *job, size_t n, bl_err *e); /* `left` wants a and b */
#endif
