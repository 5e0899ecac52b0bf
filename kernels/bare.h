/* bare.h - loops that a sanitizer would make five times as long: BL_BARE stands before their function, which is then
 * compiled without it, and before a loop bl_watch(first, bytes) asks for each run of what it will read or write.
 *
 * What is always inlined into such a function is one too: its local arrays would else be watched, and never let go.
 */
#ifndef BL_KERNELS_BARE_H
#define BL_KERNELS_BARE_H
#include <stdint.h>

/* Of gcc's address sanitizer alone: clang is used for races and for fuzzing. */
#if defined(__SANITIZE_ADDRESS__) && !defined(__clang__)
#include <sanitizer/asan_interface.h>
#define BL_BARE __attribute__((no_sanitize("address", "undefined")))
/* An error of the sanitizer when one of these bytes may not be touched; no code at all in other builds. */
__attribute__((noinline, unused)) static void bl_watch(const void *p, int64_t bytes)
{
    const volatile char *bad = __asan_region_is_poisoned((void *)(uintptr_t)p, (size_t)bytes);
    if (bad) (void)*bad;
}
#else
#define BL_BARE
static inline void bl_watch(const void *p, int64_t bytes)
{
    (void)p;
    (void)bytes;
}
#endif
#endif
