/* arena.c - many small things with one lifetime: a chain of blocks that only grows at its end.
 *
 * Released bytes are used again and zeroed again; `high` says how far a block was ever used, so
 * memory that is still as calloc gave it is not touched. Under AddressSanitizer what is not handed
 * out is poisoned, so overruns inside a block are seen as well.
 */
#include "bl.h"
#include <string.h>

#if defined(__has_feature)
#define HAS_FEATURE(x) __has_feature(x)
#else
#define HAS_FEATURE(x) 0
#endif
#if defined(__SANITIZE_ADDRESS__) || HAS_FEATURE(address_sanitizer)
#include <sanitizer/asan_interface.h>
#define HIDE(p, n) ASAN_POISON_MEMORY_REGION(p, n)
#define SHOW(p, n) ASAN_UNPOISON_MEMORY_REGION(p, n)
#else
#define HIDE(p, n) ((void)(p), (void)(n))
#define SHOW(p, n) ((void)(p), (void)(n))
#endif

enum { ALIGN = 64, FIRST = 1 << 14, LARGEST = 1 << 20 };

typedef struct block {
    struct block *before;
    size_t used, high, size; /* bytes of data; used is a multiple of ALIGN */
    _Alignas(ALIGN) char data[];
} block;
struct bl_arena {
    block *last;
    size_t next_size;
};

bl_status bl_arena_new(bl_arena **out, bl_err *e)
{
    bl_arena *a = bl_new(1, sizeof *a, e);
    if (!a) return BL_E_NOMEM;
    a->next_size = FIRST;
    *out = a;
    return BL_OK;
}

static void pop(bl_arena *a)
{
    block *b = a->last;
    a->last = b->before;
    SHOW(b->data, b->size);
    bl_free(b);
}

void bl_arena_free(bl_arena *a)
{
    if (!a) return;
    while (a->last) pop(a);
    bl_free(a);
}

void *bl_alloc(bl_arena *a, size_t n, size_t size, bl_err *e)
{
    size_t bytes, whole;
    if (__builtin_mul_overflow(n, size, &bytes) || bytes > (size_t)PTRDIFF_MAX - sizeof(block) - ALIGN) {
        bl_fail(e, BL_E_NOMEM, "out of memory: %zu times %zu bytes is more than can be addressed", n, size);
        return NULL;
    }
    whole = BL_MAX((bytes + ALIGN - 1) / ALIGN * ALIGN, ALIGN); /* no two things share an address */
    block *b = a->last;
    if (!b || b->size - b->used < whole) {
        size_t room = BL_MAX(whole, a->next_size);
        if (!(b = bl_new(sizeof *b + room, 1, e))) return NULL;
        b->size = room;
        b->before = a->last;
        a->last = b;
        if (a->next_size < LARGEST) a->next_size *= 2;
        HIDE(b->data, room);
    }
    char *p = b->data + b->used;
    SHOW(p, bytes);
    if (b->high > b->used) memset(p, 0, BL_MIN(bytes, b->high - b->used));
    b->used += whole;
    b->high = BL_MAX(b->high, b->used);
    return p;
}

char *bl_arena_str(bl_arena *a, const char *s, size_t n, bl_err *e)
{
    char *p = n < SIZE_MAX ? bl_alloc(a, n + 1, 1, e) : NULL;
    if (p && n) memcpy(p, s, n);
    return p;
}

bl_mark bl_arena_mark(const bl_arena *a) { return (bl_mark){a->last, a->last ? a->last->used : 0}; }

void bl_arena_release(bl_arena *a, bl_mark m)
{
    while (a->last && a->last != m.block && (m.block || a->last->before))
        pop(a); /* a mark of the empty arena keeps one block for what comes next */
    if (!a->last) return;
    HIDE(a->last->data + m.used, a->last->size - m.used);
    a->last->used = m.used;
}
