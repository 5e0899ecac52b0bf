/* openblas.c - the yardstick: the same product in fp32 by OpenBLAS, on the same number of threads. */
#include "bench_impl.h"
#include <cblas.h>
#include <stdio.h>
#include <string.h>
#include <strings.h>
#include <time.h>

void bl_blas_product(int64_t m, int64_t out, int64_t in, const float *x, const float *w, float *y)
{
    if (m == 1) cblas_sgemv(CblasRowMajor, CblasNoTrans, (int)out, (int)in, 1, w, (int)in, x, 1, 0, y, 1);
    else
        cblas_sgemm(CblasRowMajor, CblasNoTrans, CblasTrans, (int)m, (int)out, (int)in, 1, x, (int)in, w, (int)in, 0, y,
                    (int)out);
}

void bl_blas_threads(int threads, const bl_device_info *facts)
{
    static const char *const modern[] = {"Haswell", "Zen", "Excavator", "SkylakeX", "Cooperlake", "SapphireRapids"};
    bool known = !strstr(facts->simd, "avx2");
    for (size_t i = 0; i < BL_COUNT(modern); i++) known = known || strcasecmp(bl_blas_core(), modern[i]) == 0;
    if (!known)
        bl_log(BL_LOG_WARN,
               "OpenBLAS runs its code for %s, which is slow here; the environment variable OPENBLAS_CORETYPE=Haswell "
               "(or SkylakeX) chooses faster code",
               bl_blas_core());
    openblas_set_num_threads(threads);
}

void bl_blas_settle(double seconds) { nanosleep(&(struct timespec){.tv_nsec = (long)(seconds * 1e9)}, NULL); }

const char *bl_blas_core(void) { return openblas_get_corename(); }

const char *bl_blas_name(void)
{
    static char name[256];
    if (!name[0]) snprintf(name, sizeof name, "%s", openblas_get_config());
    return name;
}

static bool applicable(const bl_backend *be, const bl_kernel_shape *s)
{
    (void)be;
    return s->rows <= INT32_MAX && s->out <= INT32_MAX && s->in <= INT32_MAX;
}

static double flops(const bl_kernel_shape *s) { return 2.0 * (double)s->rows * (double)s->out * (double)s->in; }
static double bytes(const bl_kernel_shape *s)
{
    return 4.0 * ((double)s->out * (double)s->in + (double)s->rows * (double)(s->in + s->out));
}

const bl_kernel bl_kernel_openblas = {
    .name = "openblas",
    .op = "linear",
    .format = "fp32",
    .backend = "openblas",
    .doc = "cblas_sgemm, for one row cblas_sgemv",
    .applicable = applicable,
    .flops = flops,
    .bytes = bytes,
    .nmse_limit = 1e-10,
};
