/* backend.c - which devices there are, opening and closing one, what it is, and what its errors mean. */
#include "cuda.h"
#include "kernels/dispatch.h"
#include <stdlib.h>
#include <string.h>

/* Number of a device's name: cuda, cuda:0, cuda:1, …; -1: another backend's. */
static int number_of(const char *device)
{
    char *end;
    if (strcmp(device, "cuda") == 0) return 0;
    if (strncmp(device, "cuda:", 5) != 0 || device[5] < '0' || device[5] > '9') return -1;
    long n = strtol(device + 5, &end, 10);
    return *end || n > 1000 ? -1 : (int)n;
}

static int count(void)
{
    int n = 0;
    return cudaGetDeviceCount(&n) == cudaSuccess ? n : 0;
}

static bool is_cuda(const char *device)
{
    int n = number_of(device);
    return n >= 0 && n < count();
}

/* Errors after which nothing works in this process. */
static bool spoils(cudaError_t err)
{
    switch (err) {
    case cudaErrorIllegalAddress:
    case cudaErrorMisalignedAddress:
    case cudaErrorInvalidAddressSpace:
    case cudaErrorInvalidPc:
    case cudaErrorIllegalInstruction:
    case cudaErrorHardwareStackError:
    case cudaErrorLaunchFailure:
    case cudaErrorLaunchTimeout:
    case cudaErrorAssert:
    case cudaErrorECCUncorrectable:
    case cudaErrorNvlinkUncorrectable:
    case cudaErrorDeviceUninitialized:
    case cudaErrorDevicesUnavailable: return true;
    default: return false;
    }
}

bl_status bl_cuda_status(bl_backend *be, cudaError_t err, const char *what, bl_err *e)
{
    bl_cuda *c = be->own;
    if (c->broken[0]) return bl_fail(e, BL_E_DEVICE, "%s", c->broken);
    if (err == cudaSuccess) return BL_OK;
    cudaGetLastError();
    if (spoils(err)) {
        snprintf(c->broken, sizeof c->broken, "%s: %s: %s; nothing more can be computed in this process", c->about.name,
                 what, cudaGetErrorString(err));
        return bl_fail(e, BL_E_DEVICE, "%s", c->broken);
    }
    return bl_fail(e, err == cudaErrorMemoryAllocation ? BL_E_DEVMEM : BL_E_INTERNAL, "%s: %s", what,
                   cudaGetErrorString(err));
}

bl_status bl_cuda_launched(bl_backend *be, const char *what, bl_err *e)
{
    return bl_cuda_status(be, cudaGetLastError(), what, e);
}

static void cuda_close(bl_backend *be)
{
    bl_cuda *c = be->own;
    bl_dispatch_close(be);
    if (c->first) cudaStreamSynchronize(c->first);
    bl_backend_close(c->processor);
    bl_cuda_close_libraries(c);
    for (int i = 0; i < BL_SCRATCHES; i++)
        if (c->scratch[i].p) cudaFreeAsync(c->scratch[i].p, c->first);
    for (size_t i = 0; i < c->n_retired; i++) cudaFreeAsync(c->retired[i], c->first);
    if (c->tables) cudaFreeAsync(c->tables, c->first);
    if (c->stream.arrived) cudaFreeAsync(c->stream.arrived, c->first);
    for (size_t i = 0; i < BL_COUNT(c->factors); i++)
        if (c->factors[i]) cudaFreeAsync(c->factors[i], c->first);
    if (c->first) cudaStreamSynchronize(c->first);
    for (int i = 0; i < BL_RING; i++)
        if (c->ring_free[i]) cudaEventDestroy(c->ring_free[i]);
    if (c->ring) cudaFreeHost(c->ring);
    if (c->first) cudaStreamDestroy(c->first);
    if (c->pool) cudaMemPoolTrimTo(c->pool, 0);
    bl_free(c->retired);
    bl_free(c);
}

/* What products of few rows work with: the device, and counters that are zero. */
static bl_status open_stream(bl_backend *be, bl_err *e)
{
    bl_status st = BL_OK;
    bl_cuda *c = be->own;
    const size_t bytes = BL_CU_STREAM_BLOCKS * sizeof *c->stream.arrived;
    void *p;
    c->stream.sms = c->about.multiProcessorCount;
    c->stream.shared = (int)c->about.sharedMemPerBlockOptin;
    BL_TRY(bl_cuda_status(be, cudaMallocAsync(&p, bytes, c->first), "allocating counters", e));
    c->stream.arrived = p;
    BL_TRY(bl_cuda_status(be, cudaMemsetAsync(p, 0, bytes, c->first), "counters", e));
out:
    return st;
}

static bl_status cuda_open(bl_backend *be, bl_err *e)
{
    bl_status st = BL_OK;
    bl_cuda *c = bl_new(1, sizeof *c, e);
    uint64_t keep = UINT64_MAX; /* freed memory stays in the pool */
    if (!c) return BL_E_NOMEM;
    be->own = c;
    be->act = BL_BF16;
    be->ops = &bl_ops_cuda;
    c->device = number_of(be->opts.device);
    BL_TRY(bl_cuda_status(be, cudaGetDeviceProperties(&c->about, c->device), "asking for the device", e));
    if (c->about.major < 8) {
        st = bl_fail(e, BL_E_UNSUPPORTED, "%s is of compute capability %d.%d; 8.0 or later is needed", c->about.name,
                     c->about.major, c->about.minor);
        goto out;
    }
    BL_TRY(bl_cuda_status(be, cudaSetDevice(c->device), "opening the device", e));
    BL_TRY(bl_cuda_status(be, cudaDeviceGetDefaultMemPool(&c->pool, c->device), "opening its memory", e));
    BL_TRY(bl_cuda_status(be, cudaMemPoolSetAttribute(c->pool, cudaMemPoolAttrReleaseThreshold, &keep),
                          "opening its memory", e));
    BL_TRY(bl_cuda_status(be, cudaStreamCreateWithFlags(&c->first, cudaStreamNonBlocking), "making a stream", e));
    c->now = c->first;
    BL_TRY(bl_cuda_status(be, cudaMallocHost(&c->ring, BL_RING * (size_t)BL_RING_BYTES), "pinning host memory", e));
    for (int i = 0; i < BL_RING; i++)
        BL_TRY(bl_cuda_status(be, cudaEventCreateWithFlags(&c->ring_free[i], cudaEventDisableTiming), "making an event",
                              e));
    BL_TRY(open_stream(be, e));
    BL_TRY(bl_cuda_tables(be, e));
    BL_TRY(bl_dispatch_open(be, e));
out:
    if (st != BL_OK) cuda_close(be);
    return st;
}

void bl_cuda_device_info(const bl_backend *be, bl_device_info *out)
{
    const bl_cuda *c = be->own;
    int driver = 0, runtime = 0;
    cudaDriverGetVersion(&driver);
    cudaRuntimeGetVersion(&runtime);
    *out = (bl_device_info){.threads = c->about.multiProcessorCount,
                            .memory_bytes = c->about.totalGlobalMem,
                            .cache_bytes = (uint64_t)BL_MAX(c->about.l2CacheSize, 0),
                            .deterministic = be->opts.deterministic};
    snprintf(out->name, sizeof out->name, "%.120s", c->about.name);
    snprintf(out->bus, sizeof out->bus, "%04x:%02x:%02x.0", (unsigned)c->about.pciDomainID, (unsigned)c->about.pciBusID,
             (unsigned)c->about.pciDeviceID);
    snprintf(out->simd, sizeof out->simd, "sm_%d%d, CUDA %d.%d, driver for %d.%d", c->about.major, c->about.minor,
             runtime / 1000, runtime % 1000 / 10, driver / 1000, driver % 1000 / 10);
}

void *bl_cuda_native_stream(const bl_backend *be) { return ((const bl_cuda *)be->own)->now; }

/* Writes twice what the second-level cache holds. */
bl_status bl_cuda_flush(bl_backend *be, bl_err *e)
{
    bl_status st = BL_OK;
    bl_cuda *c = be->own;
    uint64_t n = 2 * (uint64_t)BL_MAX(c->about.l2CacheSize, 1 << 20);
    void *p = NULL;
    BL_TRY(bl_cuda_alloc(be, n, &p, e));
    st = bl_cuda_status(be, cudaMemsetAsync(p, 0, n, c->now), "flush", e);
    bl_cuda_release(be, p, n);
out:
    return st;
}

const bl_backend_kind bl_backend_cuda = {
    .name = "cuda",
    .numerics = "cuda-bf16",
    .fixed = "cuda-bf16-deterministic",
    .flops = 5e13, /* small models wait for launches, large ones come to ten times that */
    .wide = 8,
    .block_seconds = 1.1e-4,
    .count = count,
    .is = is_cuda,
    .open = cuda_open,
    .close = cuda_close,
};
