/* openblas.c - the yardstick: the same product in fp32 by OpenBLAS, on the same number of threads. */
#include "bench_impl.h"
#include <cblas.h>
#include <stdio.h>
#include <string.h>
#include <math.h>
#include <strings.h>
#include <time.h>

extern const bl_format bl_format_fp32;

void bl_blas_product(int64_t m, int64_t out, int64_t in, const float *x, const float *w, float *y)
{
    if (m == 1) cblas_sgemv(CblasRowMajor, CblasNoTrans, (int)out, (int)in, 1, w, (int)in, x, 1, 0, y, 1);
    else
        cblas_sgemm(CblasRowMajor, CblasNoTrans, CblasTrans, (int)m, (int)out, (int)in, 1, x, (int)in, w, (int)in, 0, y,
                    (int)out);
}

void bl_blas_threads(int threads, const bl_device_info *info)
{
    static const char *const modern[] = {"Haswell", "Zen", "Excavator", "SkylakeX", "Cooperlake", "SapphireRapids"};
    bool known = !strstr(info->simd, "avx2");
    for (size_t i = 0; i < BL_COUNT(modern); i++) known = known || strcasecmp(bl_blas_core(), modern[i]) == 0;
    if (!known)
        bl_log(BL_LOG_WARN,
               "OpenBLAS runs its code for %s, which is slow here; the environment variable OPENBLAS_CORETYPE=Haswell "
               "(or SkylakeX) chooses faster code",
               bl_blas_core());
    openblas_set_num_threads(threads);
}

void bl_blas_pause(double seconds) { nanosleep(&(struct timespec){.tv_nsec = (long)(seconds * 1e9)}, NULL); }

const char *bl_blas_core(void) { return openblas_get_corename(); }

const char *bl_blas_name(void)
{
    static char name[256];
    if (!name[0]) snprintf(name, sizeof name, "%s", openblas_get_config());
    return name;
}

static bool applicable(const bl_backend *be, const bl_linear_args *a, const bl_weight *w)
{
    (void)be;
    return a->x.dim[0] <= INT32_MAX && w->shape.out <= INT32_MAX && w->shape.in <= INT32_MAX;
}

static bl_status run(const bl_kernel_family *f, bl_backend *be, const bl_linear_args *a, bl_err *e)
{
    (void)f;
    (void)be;
    (void)a;
    return bl_fail(e, BL_E_INTERNAL, "openblas works on host copies");
}

static const bl_kernel_family family = {
    .op = "linear",
    .backend = "openblas",
    .doc = "cblas_sgemm, for one row cblas_sgemv",
    .nmse_limit = 1e-10,
    .applicable = applicable,
    .run = run,
};
const bl_kernel bl_kernel_openblas = {.name = "openblas", .family = &family, .format = &bl_format_fp32};
