/* mem.c - the one door to the heap: counted, zeroed, 64-byte aligned, and able to fail on request.
 *
 * A block:   raw ... | head (64 bytes) | user bytes ...        user is 64-byte aligned
 *
 * The head remembers the size and who allocated, so that a block freed by another thread is taken from
 * the account of its owner. Accounts restart with bl_alloc_watch_reset; blocks of an earlier epoch do not count.
 */
#include "base_impl.h"
#include <assert.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

#if defined(__has_feature)
#define HAS_FEATURE(x) __has_feature(x)
#else
#define HAS_FEATURE(x) 0
#endif
#if defined(__SANITIZE_ADDRESS__) || HAS_FEATURE(address_sanitizer)
enum { EXACT = 1 }; /* the block ends where the allocation ends, so overruns are seen */
#else
enum { EXACT = 0 };
#endif

enum { ALIGN = 64, N_SLOTS = 1024, LAZY_ZERO = 1 << 16, HUGE_PAGE = 2 << 20, LEAST_HUGE = 32 << 20 };
#define MAGIC UINT64_C(0x626c2d626c6f636b)

typedef struct owner {
    uint32_t slot, epoch;
} owner;
typedef struct head {
    void *raw;
    uint64_t bytes;
    owner by;
    uint64_t magic;
} head;
typedef struct small {
    uint64_t bytes;
    owner by;
} small;
_Static_assert(sizeof(head) <= ALIGN && sizeof(small) == 16, "the heads fit in front of their blocks");

/* One account a thread; more than N_SLOTS threads share accounts. */
typedef struct account {
    _Alignas(ALIGN) _Atomic int64_t live;
    _Atomic int64_t max;
} account;
static account accounts[N_SLOTS];
static _Atomic uint32_t next_slot, epoch;
static _Thread_local uint32_t my_slot; /* 1-based; 0: none yet */
static _Thread_local bool small_refused;

static _Atomic int64_t total_live, total_peak;
static _Atomic uint64_t n_allocs, fail_at;
static _Atomic bool fail_sticky;

static void raise_to(_Atomic int64_t *max, int64_t v)
{
    int64_t seen = atomic_load_explicit(max, memory_order_relaxed);
    while (v > seen && !atomic_compare_exchange_weak(max, &seen, v)) {}
}

static owner charge(uint64_t bytes)
{
    if (my_slot == 0) my_slot = 1 + atomic_fetch_add(&next_slot, 1) % N_SLOTS;
    account *a = &accounts[my_slot - 1];
    int64_t n = (int64_t)bytes;
    raise_to(&a->max, atomic_fetch_add(&a->live, n) + n);
    raise_to(&total_peak, atomic_fetch_add(&total_live, n) + n);
    return (owner){my_slot - 1, atomic_load(&epoch)};
}

static void discharge(owner by, uint64_t bytes)
{
    if (by.epoch == atomic_load(&epoch)) atomic_fetch_sub(&accounts[by.slot].live, (int64_t)bytes);
    atomic_fetch_sub(&total_live, (int64_t)bytes);
}

static bool refused(void)
{
    uint64_t k = atomic_fetch_add(&n_allocs, 1) + 1, at = atomic_load(&fail_at);
    return at != 0 && (k == at || (k > at && atomic_load(&fail_sticky)));
}

/* Weights and caches are walked whole: with large pages, where the system has them for who asks, a walk does not wait
 * for the page table. */
static void ask_for_large_pages(char *p, uint64_t bytes)
{
    size_t before = (size_t)(-(uintptr_t)p & (HUGE_PAGE - 1));
    if (bytes >= LEAST_HUGE) (void)madvise(p + before, (bytes - before) / HUGE_PAGE * HUGE_PAGE, MADV_HUGEPAGE);
}

/* A block of this many user bytes, or NULL. Large zeroed blocks come from fresh pages, untouched. */
static void *take(uint64_t bytes, bool zero)
{
    if (refused() || bytes > (uint64_t)PTRDIFF_MAX - 2 * ALIGN) return NULL;
    void *raw = NULL;
    char *user;
    if (EXACT || bytes < LAZY_ZERO || !zero) {
        if (posix_memalign(&raw, ALIGN, ALIGN + bytes) != 0) return NULL;
        user = (char *)raw + ALIGN;
        if (zero) memset(user, 0, bytes);
    } else {
        if (!(raw = calloc(1, 2 * ALIGN + bytes))) return NULL;
        user = (char *)raw + 2 * ALIGN - ((uintptr_t)raw % ALIGN);
        ask_for_large_pages(user, bytes);
    }
    *(head *)(void *)(user - ALIGN) = (head){raw, bytes, charge(bytes), MAGIC};
    return user;
}

static head *head_of(void *p)
{
    head *h = (head *)(void *)((char *)p - ALIGN);
    assert(h->magic == MAGIC); /* not ours, or freed before */
    return h;
}

static bool product(size_t n, size_t size, uint64_t *out, bl_err *e)
{
    if (!__builtin_mul_overflow((uint64_t)n, (uint64_t)size, out)) return true;
    bl_fail(e, BL_E_NOMEM, "out of memory: %zu times %zu bytes is more than can be addressed", n, size);
    return false;
}

void *bl_new(size_t n, size_t size, bl_err *e)
{
    uint64_t bytes;
    if (!product(n, size, &bytes, e)) return NULL;
    void *p = take(bytes, true);
    if (!p) bl_fail(e, BL_E_NOMEM, "out of memory: %llu bytes were refused", (unsigned long long)bytes);
    return p;
}

void *bl_resize(void *p, size_t n, size_t size, bl_err *e)
{
    uint64_t bytes;
    if (!product(n, size, &bytes, e)) return NULL;
    void *q = take(bytes, false);
    if (!q) {
        bl_fail(e, BL_E_NOMEM, "out of memory: %llu bytes were refused", (unsigned long long)bytes);
        return NULL;
    }
    if (p) memcpy(q, p, BL_MIN(bytes, head_of(p)->bytes));
    bl_free(p);
    return q;
}

bl_status bl_grow(void *p, size_t *cap, size_t need, size_t size, bl_err *e)
{
    if (need <= *cap) return BL_OK;
    size_t want = BL_MAX(*cap, 8);
    while (want < need) want = want > SIZE_MAX / 2 ? need : want * 2;
    void *old, *grown;
    memcpy(&old, p, sizeof old); /* p is a T **, whatever T is */
    if (!(grown = bl_resize(old, want, size, e))) return BL_E_NOMEM;
    memcpy(p, &grown, sizeof grown);
    *cap = want;
    return BL_OK;
}

void bl_free(void *p)
{
    if (!p) return;
    head *h = head_of(p);
    discharge(h->by, h->bytes);
    h->magic = 0;
    free(h->raw);
}

char *bl_strndup(const char *s, size_t n, bl_err *e)
{
    n = strnlen(s, n);
    char *p = bl_new(n + 1, 1, e);
    if (p) memcpy(p, s, n);
    return p;
}

char *bl_strdup(const char *s, bl_err *e) { return bl_strndup(s, strlen(s), e); }

char *bl_format_text(bl_err *e, const char *fmt, ...)
{
    va_list ap;
    va_start(ap, fmt);
    int n = vsnprintf(NULL, 0, fmt, ap);
    va_end(ap);
    if (n < 0) {
        bl_fail(e, BL_E_INTERNAL, "a text cannot be formatted");
        return NULL;
    }
    char *p = bl_new((size_t)n + 1, 1, e);
    if (!p) return NULL;
    va_start(ap, fmt);
    vsnprintf(p, (size_t)n + 1, fmt, ap);
    va_end(ap);
    return p;
}

/* ---- small blocks ------------------------------------------------------------------------------- */
void *bl_small_new(size_t bytes)
{
    small *s = refused() || bytes > PTRDIFF_MAX - sizeof *s ? NULL : malloc(sizeof *s + bytes);
    if (!s) {
        small_refused = true;
        return NULL;
    }
    *s = (small){bytes, charge(bytes)};
    return s + 1;
}

void bl_small_free(void *p)
{
    if (!p) return;
    small *s = (small *)p - 1;
    discharge(s->by, s->bytes);
    free(s);
}

bool bl_small_failed(bool reset)
{
    bool was = small_refused;
    if (reset) small_refused = false;
    return was;
}

/* ---- for tests ---------------------------------------------------------------------------------- */
void bl_alloc_fail_at(uint64_t n, bool sticky)
{
    atomic_store(&fail_at, 0);
    atomic_store(&n_allocs, 0);
    atomic_store(&fail_sticky, sticky);
    atomic_store(&fail_at, n);
}

uint64_t bl_alloc_count(void) { return atomic_load(&n_allocs); }

void bl_alloc_watch_reset(void)
{
    atomic_fetch_add(&epoch, 1);
    for (size_t i = 0; i < N_SLOTS; i++) {
        atomic_store(&accounts[i].live, 0);
        atomic_store(&accounts[i].max, 0);
    }
    atomic_store(&total_peak, atomic_load(&total_live));
}

uint64_t bl_alloc_watch_thread_max(void)
{
    int64_t most = 0;
    for (size_t i = 0; i < N_SLOTS; i++) most = BL_MAX(most, atomic_load(&accounts[i].max));
    return (uint64_t)most;
}

uint64_t bl_alloc_live(void) { return (uint64_t)atomic_load(&total_live); }
uint64_t bl_alloc_peak(void) { return (uint64_t)atomic_load(&total_peak); }
