/* backend.c - opening and closing the CPU backend, and what the machine is. */
#include "cpu.h"
#include "kernels/backend_impl.h"
#include <omp.h>
#include <unistd.h>
#if defined(BL_HAVE_X86)
#include <cpuid.h>
#endif
#if defined(BL_HAVE_X86) && defined(__linux__)
#include <sys/syscall.h>
#endif

#if defined(BL_HAVE_X86)
/* The CPU has matrices of bytes, and the system gives this process the room for them, which it does when asked. */
static bool has_matrices(void)
{
#if defined(__linux__) && defined(SYS_arch_prctl)
    enum { TILE = 1 << 24, INT8 = 1 << 25, ASK = 0x1023, ROOM = 18 }; /* of leaf 7; ARCH_REQ_XCOMP_PERM, XTILEDATA */
    unsigned a, b, c, d;
    return __get_cpuid_count(7, 0, &a, &b, &c, &d) && (d & TILE) && (d & INT8) &&
           syscall(SYS_arch_prctl, ASK, ROOM) == 0;
#else
    return false;
#endif
}
#endif

/* The CPU has dot products of bytes of 256 bits that need no AVX-512. */
static bool has_dot_products(void)
{
#if defined(BL_HAVE_X86)
    enum { AVX_VNNI = 1 << 4 }; /* of leaf 7, 1 */
    unsigned a, b, c, d;
    return __get_cpuid_count(7, 1, &a, &b, &c, &d) && (a & AVX_VNNI);
#else
    return false;
#endif
}

static bl_isa best_isa(void)
{
#if defined(BL_HAVE_X86)
    unsigned a, b, c, d;
    __builtin_cpu_init();
    if (!__get_cpuid(1, &a, &b, &c, &d) || !(c & bit_F16C))
        return BL_ISA_PLAIN; /* clang's __builtin_cpu_supports does not know it */
    if (!__builtin_cpu_supports("avx2") || !__builtin_cpu_supports("fma")) return BL_ISA_PLAIN;
    if (!__builtin_cpu_supports("avx512f") || !__builtin_cpu_supports("avx512bw") ||
        !__builtin_cpu_supports("avx512dq") || !__builtin_cpu_supports("avx512vl") ||
        !__builtin_cpu_supports("avx512vnni"))
        return has_dot_products() ? BL_ISA_AVXVNNI : BL_ISA_AVX2;
    return has_matrices() ? BL_ISA_AMX : BL_ISA_AVX512;
#else
    return BL_ISA_PLAIN;
#endif
}

static void cpu_close(bl_backend *be)
{
    bl_cpu *c = be->own;
    for (int i = 0; c->scratch && i < c->threads; i++) bl_free(c->scratch[i]);
    bl_free(c->scratch);
    bl_team_free(c->team);
    bl_free(c->stage);
    bl_free(c);
}

static bool is_cpu(const char *device) { return strcmp(device, "cpu") == 0; }

static bl_status cpu_open(bl_backend *be, bl_err *e)
{
    bl_status st = BL_OK;
    bl_cpu *c = NULL;
    if (!(c = bl_new(1, sizeof *c, e))) return BL_E_NOMEM;
    be->own = c;
    be->act = BL_F32;
    c->nodes = access("/sys/devices/system/node/node1", F_OK) == 0 ? 2 : 1;
    c->threads = be->opts.threads ? be->opts.threads : omp_get_num_procs();
    c->isa = be->opts.reference ? BL_ISA_PLAIN : best_isa();
    if (be->opts.isa != BL_ISA_BEST) c->isa = BL_MIN(c->isa, be->opts.isa);
    c->vnni = c->isa >= BL_ISA_AVXVNNI && has_dot_products();
    be->ops = &bl_ops_ref;
#if defined(BL_HAVE_X86)
    if (c->isa >= BL_ISA_AVX2) be->ops = &bl_ops_cpu;
#endif
    if (be->opts.reference) c->threads = 1;
    if (c->isa < BL_ISA_AVX2) return BL_OK;

    BL_TRY(bl_team_new(bl_team_most(c->threads), &c->team, e));
    if (!(c->stage = bl_new((size_t)bl_cpu_stage(c), 1, e)) ||
        !(c->scratch = bl_new((size_t)c->threads, sizeof *c->scratch, e))) {
        st = BL_E_NOMEM;
        goto out;
    }
#pragma omp parallel num_threads(c->threads)
    c->scratch[omp_get_thread_num()] = bl_new(BL_CPU_SCRATCH, 1, NULL);
    for (int i = 0; i < c->threads; i++) /* fewer threads than asked for, or no memory */
        if (!c->scratch[i]) {
            st = bl_fail(e, BL_E_NOMEM, "no memory for the scratch of %d threads", c->threads);
            goto out;
        }
    return BL_OK;
out:
    cpu_close(be);
    return st;
}

void bl_cpu_device_info(const bl_backend *be, bl_device_info *out)
{
    const bl_cpu *c = be->own;
    *out = (bl_device_info){.name = "unknown CPU", .threads = c->threads, .deterministic = true};
    snprintf(out->simd, sizeof out->simd, "%s",
             c->isa == BL_ISA_AMX      ? "avx2+fma+f16c+avx512+vnni+amx"
             : c->isa == BL_ISA_AVX512 ? "avx2+fma+f16c+avx512+vnni"
             : c->vnni                 ? "avx2+fma+f16c+vnni"
             : c->isa >= BL_ISA_AVX2   ? "avx2+fma+f16c"
                                       : "plain");
    long pages = sysconf(_SC_PHYS_PAGES), size = sysconf(_SC_PAGESIZE);
    if (pages > 0 && size > 0) out->memory_bytes = (uint64_t)pages * (uint64_t)size;
    FILE *f = fopen("/proc/cpuinfo", "re");
    if (!f) return;
    char line[512], *name;
    while (fgets(line, sizeof line, f)) {
        if (strncmp(line, "model name", 10) != 0 || !(name = strchr(line, ':'))) continue;
        name += 1 + strspn(name + 1, " \t");
        name[strcspn(name, "\n")] = 0;
        snprintf(out->name, sizeof out->name, "%.120s", name);
        break;
    }
    fclose(f);
}

/* Writes and reads more than the last level cache holds. */
bl_status bl_cpu_flush(bl_backend *be, bl_err *e)
{
    enum { LEAST = 64 << 20, MOST = 1 << 30 };
    long l3 = sysconf(_SC_LEVEL3_CACHE_SIZE);
    size_t n = (size_t)BL_MIN(BL_MAX(2 * BL_MAX(l3, 0L), (long)LEAST), (long)MOST);
    volatile unsigned char *p = bl_new(n, 1, e);
    (void)be;
    if (!p) return BL_E_NOMEM;
    for (size_t i = 0; i < n; i += 64) p[i] = (unsigned char)(p[i] + i);
    bl_free((void *)p);
    return BL_OK;
}

const bl_backend_kind bl_backend_cpu = {
    .name = "cpu", .numerics = "cpu-f32", .wide = 1, .is = is_cpu, .open = cpu_open, .close = cpu_close};
