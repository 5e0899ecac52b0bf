/* team.c - tasks for threads that look for them.
 *
 * Every lane has a run of neighbouring tasks and takes them in order, so that what it reads is one stream, and the same
 * part of a weight comes to the same lane each time; who has done its own takes the last ones of others.
 *
 * A job is open while its number and its lanes are in `open`. Who takes tasks says so in its `inside` first and looks
 * at `open` then; the caller closes the job first and looks at `inside` of the job's lanes then: so one of the two sees
 * the other, and the fields of a job, which come in the line of `open`, are only read by those the caller waits for.
 * Who only looks whether others have tasks left, a line of another core for each lane, is not inside.
 * Lanes that a job does not ask for write nothing. What a lane writes is in a line of its own: with one counter for
 * all, sixteen lanes wait for each other longer than a product of a token takes.
 */
#include "team.h"
#include <pthread.h>
#include <sched.h>
#include <stdatomic.h>
#include <unistd.h>
#if defined(__x86_64__)
#include <immintrin.h>
#define PAUSE() _mm_pause()
#else
#define PAUSE() atomic_signal_fence(memory_order_seq_cst)
#endif

enum { LOOKS = 2000, LOOKS_BEFORE_YIELD = 200 }; /* a pause is some ten nanoseconds */
enum { LANES = 1 << 16 };                        /* more than there are */

typedef struct worker {
    bl_team *team;
    int lane;
    pthread_t thread;
} worker;
/* Tasks first .. last-1 of a lane, in one word: first in its upper half; and whether it is in a job. */
typedef struct share {
    _Alignas(64) _Atomic uint64_t tasks;
    _Alignas(64) _Atomic bool inside;
} share;

struct bl_team {
    int threads, begun; /* lanes that may be used, workers that run */
    worker *worker;     /* [threads - 1] */
    share *share;       /* [threads] */
    uint64_t number;    /* of the last job */
    /* the job */
    _Alignas(64) _Atomic uint64_t open; /* its number and its lanes; 0: none */
    bl_team_task *task;
    void *ctx;
    int64_t base; /* shares count from there */
    _Atomic bool over;
    _Alignas(64) _Atomic int asleep;
    pthread_mutex_t lock;
    pthread_cond_t wake;
};

/* The next task of a share, or its last one; false: there is none. */
static bool take(share *s, bool last, int64_t *task)
{
    uint64_t old = atomic_load_explicit(&s->tasks, memory_order_relaxed);
    for (;;) {
        const uint32_t from = (uint32_t)(old >> 32), to = (uint32_t)old;
        if (from >= to) return false;
        const uint64_t left = last ? old - 1 : old + (UINT64_C(1) << 32);
        if (!atomic_compare_exchange_weak_explicit(&s->tasks, &old, left, memory_order_relaxed, memory_order_relaxed))
            continue;
        *task = last ? to - 1 : from;
        return true;
    }
}

static bool has_tasks(share *s)
{
    const uint64_t tasks = atomic_load_explicit(&s->tasks, memory_order_relaxed);
    return (uint32_t)(tasks >> 32) < (uint32_t)tasks;
}

/* The tasks that lane `of` has left. */
static void take_tasks(bl_team *t, int lane, int of)
{
    int64_t i;
    while (take(&t->share[of], of != lane, &i)) t->task(t->ctx, t->base + i, lane);
}

/* The same of a lane that the caller does not know of yet, while the job is open. */
static void take_part(bl_team *t, int lane, int of, uint64_t job)
{
    _Atomic bool *inside = &t->share[lane].inside;
    atomic_store(inside, true);
    if (atomic_load(&t->open) == job) take_tasks(t, lane, of);
    atomic_store_explicit(inside, false, memory_order_release);
}

/* What is open asks for this lane, which has done `last`. */
static bool asked(uint64_t open, int lane, uint64_t last) { return lane < (int)(open % LANES) && open / LANES != last; }
static bool called(bl_team *t, int lane, uint64_t last, uint64_t *open)
{
    *open = atomic_load(&t->open);
    return asked(*open, lane, last) || atomic_load(&t->over);
}

/* Looks, then sleeps; each job that is for others begins that anew. Letting others have the processor in between is
 * slow: they keep it beyond the next call. Returns the job. */
static uint64_t wait_for_call(bl_team *t, int lane, uint64_t last)
{
    uint64_t open, seen = 0;
    for (int i = 0; i < LOOKS; i++) {
        if (called(t, lane, last, &open)) return open;
        if (open && open != seen) {
            seen = open;
            i = 0;
        }
        PAUSE();
    }
    pthread_mutex_lock(&t->lock);
    atomic_fetch_add(&t->asleep, 1);
    while (!called(t, lane, last, &open)) pthread_cond_wait(&t->wake, &t->lock);
    atomic_fetch_sub(&t->asleep, 1);
    pthread_mutex_unlock(&t->lock);
    return open;
}

static void *work(void *arg)
{
    const worker *w = arg;
    bl_team *t = w->team;
    uint64_t last = 0;
    for (;;) {
        const uint64_t job = wait_for_call(t, w->lane, last);
        if (atomic_load(&t->over)) return NULL;
        const int lanes = (int)(job % LANES);
        last = job / LANES;
        take_part(t, w->lane, w->lane, job);
        for (int k = 1; k < lanes && atomic_load(&t->open) == job; k++) {
            const int other = (w->lane + k) % lanes;
            if (has_tasks(&t->share[other])) take_part(t, w->lane, other, job);
        }
    }
}

int bl_team_most(int threads)
{
#if defined(__linux__)
    cpu_set_t set;
    if (sched_getaffinity(0, sizeof set, &set) == 0) return BL_MIN(threads, CPU_COUNT(&set));
#endif
    const int processors = (int)sysconf(_SC_NPROCESSORS_ONLN);
    return processors > 0 ? BL_MIN(threads, processors) : threads;
}

bl_status bl_team_new(int threads, bl_team **out, bl_err *e)
{
    bl_team *t = bl_new(1, sizeof *t, e);
    if (!t) return BL_E_NOMEM;
    t->threads = threads;
    if (!(t->worker = bl_new((size_t)t->threads, sizeof *t->worker, e)) ||
        !(t->share = bl_new((size_t)t->threads, sizeof *t->share, e))) {
        bl_free(t->worker);
        bl_free(t);
        return BL_E_NOMEM;
    }
    pthread_mutex_init(&t->lock, NULL);
    pthread_cond_init(&t->wake, NULL);
    *out = t;
    return BL_OK;
}

static void wake_all(bl_team *t)
{
    pthread_mutex_lock(&t->lock);
    pthread_cond_broadcast(&t->wake);
    pthread_mutex_unlock(&t->lock);
}

void bl_team_free(bl_team *t)
{
    if (!t) return;
    atomic_store(&t->over, true);
    wake_all(t);
    for (int i = 0; i < t->begun; i++) pthread_join(t->worker[i].thread, NULL);
    pthread_cond_destroy(&t->wake);
    pthread_mutex_destroy(&t->lock);
    bl_free(t->share);
    bl_free(t->worker);
    bl_free(t);
}

static void begin(bl_team *t)
{
    for (; t->begun < t->threads - 1; t->begun++) {
        worker *w = &t->worker[t->begun];
        *w = (worker){.team = t, .lane = t->begun + 1};
        if (pthread_create(&w->thread, NULL, work, w) != 0) {
            t->threads = t->begun + 1;
            return;
        }
    }
}

static void run_job(bl_team *t, int lanes, bl_team_task *task, void *ctx, int64_t base, int64_t n)
{
    t->task = task;
    t->ctx = ctx;
    t->base = base;
    for (int i = 0; i < lanes; i++)
        atomic_store_explicit(&t->share[i].tasks, (uint64_t)(n * i / lanes) << 32 | (uint64_t)(n * (i + 1) / lanes),
                              memory_order_relaxed);
    atomic_store(&t->open, ++t->number * LANES + (uint64_t)lanes);
    if (atomic_load(&t->asleep)) wake_all(t);
    for (int lane = 0; lane < lanes; lane++) take_tasks(t, 0, lane);
    atomic_store(&t->open, 0);
    for (int lane = 1; lane < lanes; lane++)
        for (int i = 1; atomic_load(&t->share[lane].inside); i++) {
            if (i % LOOKS_BEFORE_YIELD == 0) sched_yield();
            else PAUSE();
        }
}

void bl_team_run(bl_team *t, int threads, bl_team_task *task, void *ctx, int64_t n)
{
    const int64_t most = INT32_MAX; /* of a job */
    threads = (int)BL_MIN(BL_MIN(threads, t->threads), n);
    if (threads > 1) begin(t);
    threads = BL_MIN(threads, t->threads);
    if (threads <= 1) {
        for (int64_t i = 0; i < n; i++) task(ctx, i, 0);
        return;
    }
    for (int64_t base = 0; base < n; base += most) run_job(t, threads, task, ctx, base, BL_MIN(n - base, most));
}

int64_t bl_team_dealt(int64_t i, int64_t n, int lanes)
{
    const int64_t each = n / lanes, lane = ((i + 1) * lanes - 1) / n, first = n * lane / lanes, k = i - first;
    if (k == each) return each * lanes + first - each * lane; /* a lane that has one more: so many before it do */
    return k * lanes + (k % 2 ? lanes - 1 - lane : lane);
}
