/* peak.c - operations a second of all threads together, by the instructions that products use. */
#include "avx2.h"
#include "kernels/kernel.h"
#include <omp.h>

#if defined(__x86_64__)
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

double bl_kernel_peak(const bl_backend *be, bool integer)
{
    if (strcmp(be->ops->name, "cpu") != 0) return 0;
#if defined(__x86_64__)
    const bl_cpu *c = be->own;
    if (c->isa >= BL_ISA_AMX && integer) return measured(c, bl_amx_peak, integer);
    if (c->isa >= BL_ISA_AVX512) return measured(c, bl_avx512_peak, integer);
    if (c->isa >= BL_ISA_AVX2) return measured(c, bl_avx2_peak, integer);
#endif
    return 0;
}
