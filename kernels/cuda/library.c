/* library.c - cuBLAS and cuSOLVER, opened when they are first needed, from where the loader finds them or from the
 * toolkit that this program was built with. */
#include "cuda.h"
#include <dlfcn.h>
#include <string.h>

static bl_status open_library(const char *name, int version, void **out, bl_err *e)
{
    char path[4096];
    snprintf(path, sizeof path, "lib%s.so.%d", name, version);
    if (!(*out = dlopen(path, RTLD_NOW | RTLD_LOCAL))) {
        snprintf(path, sizeof path, "%s/lib%s.so.%d", BL_CUDA_LIBRARIES, name, version);
        *out = dlopen(path, RTLD_NOW | RTLD_LOCAL);
    }
    return *out ? BL_OK : bl_fail(e, BL_E_MISSING, "%s of the CUDA toolkit cannot be opened: %s", name, dlerror());
}

/* The entry, and whether it is there; POSIX promises that the two kinds of pointers look alike. */
static bool entry(void *lib, const char *name, void *to)
{
    void *p = dlsym(lib, name);
    memcpy(to, &p, sizeof p);
    return p != NULL;
}

bl_status bl_cuda_blas_status(cublasStatus_t s, const char *what, bl_err *e)
{
    if (s == CUBLAS_STATUS_SUCCESS) return BL_OK;
    return bl_fail(e, s == CUBLAS_STATUS_ALLOC_FAILED ? BL_E_DEVMEM : BL_E_DEVICE, "%s: cuBLAS status %d", what,
                   (int)s);
}

bl_status bl_cuda_blas(bl_backend *be, bl_err *e)
{
    bl_status st = BL_OK;
    bl_cuda *c = be->own;
    bl_cublas *b = &c->blas;
    void *work;
    if (!b->lib) {
        bool all = true;
        BL_TRY(open_library("cublas", CUBLAS_VER_MAJOR, &b->lib, e));
#define X(f) all = entry(b->lib, #f, &b->f) && all;
        BL_CUBLAS(X)
#undef X
        if (!all) {
            dlclose(b->lib);
            b->lib = NULL;
            return bl_fail(e, BL_E_MISSING, "cuBLAS lacks a function: it is another version");
        }
    }
    if (!b->handle) {
        BL_TRY(bl_cuda_need(be, BL_SCRATCH_BLAS, BL_CUDA_BLAS_BYTES, &work, e));
        BL_TRY(bl_cuda_blas_status(b->cublasCreate_v2(&b->handle), "opening cuBLAS", e));
        BL_TRY(bl_cuda_blas_status(b->cublasSetMathMode(b->handle, CUBLAS_DEFAULT_MATH), "opening cuBLAS", e));
    }
    BL_TRY(bl_cuda_blas_status(b->cublasSetStream_v2(b->handle, c->now), "cuBLAS", e));
    BL_TRY(bl_cuda_blas_status(b->cublasSetWorkspace_v2(b->handle, c->scratch[BL_SCRATCH_BLAS].p, BL_CUDA_BLAS_BYTES),
                               "cuBLAS", e)); /* a new stream forgets it */
out:
    return st;
}

bl_status bl_cuda_solver(bl_backend *be, bl_err *e)
{
    bl_status st = BL_OK;
    bl_cuda *c = be->own;
    bl_cusolver *b = &c->solver;
    if (!b->lib) {
        bool all = true;
        BL_TRY(open_library("cusolver", CUSOLVER_VER_MAJOR, &b->lib, e));
#define X(f) all = entry(b->lib, #f, &b->f) && all;
        BL_CUSOLVER(X)
#undef X
        if (!all) {
            dlclose(b->lib);
            b->lib = NULL;
            return bl_fail(e, BL_E_MISSING, "cuSOLVER lacks a function: it is another version");
        }
    }
    if (!b->handle && b->cusolverDnCreate(&b->handle) != CUSOLVER_STATUS_SUCCESS)
        return bl_fail(e, BL_E_DEVICE, "cuSOLVER cannot be opened");
    if (b->cusolverDnSetStream(b->handle, c->now) != CUSOLVER_STATUS_SUCCESS)
        return bl_fail(e, BL_E_DEVICE, "cuSOLVER does not take the stream");
out:
    return st;
}

/* The libraries stay in the process: their own state is not made to be loaded twice. */
void bl_cuda_close_libraries(bl_cuda *c)
{
    if (c->solver.handle) c->solver.cusolverDnDestroy(c->solver.handle);
    if (c->blas.handle) c->blas.cublasDestroy_v2(c->blas.handle);
}
