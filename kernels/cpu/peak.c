/* peak.c - operations a second of all threads together, by the instructions that products use. */
#include "avx2.h"
#include "kernels/kernel.h"
#include <omp.h>

#if defined(BL_HAVE_X86)
static double measured(const bl_cpu *c, double (*run)(bool integer, int64_t n), bool integer)
{
    enum { ROUNDS = 5, STEPS = 200000 };
    double best = 0;
    for (int round = 0; round < ROUNDS; round++) {
        double operations = 0, start = 0, stop = 0;
#pragma omp parallel num_threads(c->threads) reduction(+ : operations)
        {
#pragma omp barrier
#pragma omp single
            start = bl_now();
            operations = run(integer, STEPS);
        }
        stop = bl_now();
        best = BL_MAX(best, operations / (stop - start));
    }
    return best;
}
#endif

static uint64_t read_plain(const void *p, int64_t n)
{
    const uint64_t *x = p;
    uint64_t sum[4] = {0};
    for (int64_t i = 0; i + 4 <= n / 8; i += 4)
        for (int j = 0; j < 4; j++) sum[j] ^= x[i + j];
    return sum[0] ^ sum[1] ^ sum[2] ^ sum[3];
}

bl_status bl_kernel_bandwidth(const bl_backend *be, uint64_t bytes, double *per_second, bl_err *e)
{
    enum { ROUNDS = 9, PAGE = 4096 };
    const bl_cpu *c = be->own;
    const int threads = c->threads;
    const int64_t part = (int64_t)bytes / threads / PAGE * PAGE;
    uint64_t (*read)(const void *, int64_t) = read_plain;
    char *p = bl_new((size_t)(part * threads), 1, e);
    double best = INFINITY;
    uint64_t all = 0;
    if (!p) return BL_E_NOMEM;
#if defined(BL_HAVE_X86)
    if (c->isa >= BL_ISA_AVX2) read = bl_avx2_read;
#endif
    for (int round = 0; round <= ROUNDS; round++) { /* the first one writes: pages of zeros may be one page */
        double start = 0;
#pragma omp parallel num_threads(threads) reduction(^ : all)
        {
            char *mine = p + part * omp_get_thread_num();
            if (round == 0) memset(mine, omp_get_thread_num() + 1, (size_t)part);
#pragma omp barrier
#pragma omp single
            start = bl_now();
            all = round ? read(mine, part) : 0;
        }
        if (round) best = fmin(best, bl_now() - start);
    }
    ((volatile char *)p)[0] = (char)all; /* it was of use */
    bl_free(p);
    *per_second = (double)(part * threads) / best;
    return BL_OK;
}

double bl_kernel_peak(const bl_backend *be, bool integer)
{
    if (strcmp(be->ops->name, "cpu") != 0) return 0;
#if defined(BL_HAVE_X86)
    const bl_cpu *c = be->own;
    if (c->isa >= BL_ISA_AMX && integer) return measured(c, bl_amx_peak, integer);
    if (c->isa >= BL_ISA_AVX512) return measured(c, bl_avx512_peak, integer);
    if (c->vnni) return measured(c, bl_avxvnni_peak, integer);
    if (c->isa >= BL_ISA_AVX2) return measured(c, bl_avx2_peak, integer);
#else
    (void)integer;
#endif
    return 0;
}
