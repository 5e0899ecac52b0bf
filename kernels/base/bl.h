/* bl.h - the ground everyone stands on: status codes, error sentences, memory, log lines.
 *
 * A function that can fail returns a bl_status and takes a bl_err last. The place that fails writes
 * the whole sentence once; callers add where they were:
 *
 *     bl_status st = BL_OK;
 *     int64_t  *ids = NULL;
 *     if (!(ids = bl_new(n, sizeof *ids, e))) { st = BL_E_NOMEM; goto out; }
 *     BL_TRY(read_ids(path, ids, n, e));
 * out:
 *     bl_free(ids);
 *     return st;
 *
 * Out-parameters are written on success only. `e` may be NULL where the sentence is not wanted.
 */
#ifndef BL_KERNELS_BASE_BL_H
#define BL_KERNELS_BASE_BL_H
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

#define BL_VERSION "0.1.0"

/* Chosen by what a caller would do next. */
typedef enum bl_status {
    BL_OK = 0,
    BL_E_NOMEM,       /* host memory: the cell fails, the next may work          */
    BL_E_DEVMEM,      /* device memory: halve the batch                          */
    BL_E_IO,          /* the operating system said no (errno is in the sentence) */
    BL_E_DISK,        /* disk full or output not writable                        */
    BL_E_FORMAT,      /* an input file is not what it should be                  */
    BL_E_CONFIG,      /* an option, spec or combination the user must change     */
    BL_E_UNSUPPORTED, /* understood, but not available here: the cell is n/a      */
    BL_E_NUMERIC,     /* not a number, diverged: the cell failed                 */
    BL_E_CORRUPT,     /* one of our own files does not check                     */
    BL_E_NEWER,       /* one of our own files has a newer schema                 */
    BL_E_MISSING,     /* a file, dataset or name that is not there               */
    BL_E_BUSY,        /* somebody else holds the lock                            */
    BL_E_INTERRUPTED, /* SIGINT or SIGTERM was seen                              */
    BL_E_DEVICE,      /* the device is unusable                                  */
    BL_E_INTERNAL     /* our own mistake                                         */
} bl_status;

const char *bl_status_name(bl_status st); /* "BL_E_FORMAT" */
/* Exit code of the program for a failure before work began: 2 for usage, spec and input; 4 for disk and
 * device; 130 for BL_E_INTERRUPTED; 1 for the rest; 0 for BL_OK. */
int bl_exit_code(bl_status st);

typedef struct bl_err {
    bl_status status;
    char text[2048]; /* one sentence, no newline, valid UTF-8; control characters are escaped */
} bl_err;

#if defined(__GNUC__)
#define BL_PRINTF(f, a) __attribute__((format(printf, f, a)))
#else
#define BL_PRINTF(f, a)
#endif

/* Writes the sentence and returns `st`, so that `return bl_fail(...)` reads well. */
bl_status bl_fail(bl_err *e, bl_status st, const char *fmt, ...) BL_PRINTF(3, 4);
/* Puts "<where>: " in front of the sentence that is there. */
void bl_within(bl_err *e, const char *fmt, ...) BL_PRINTF(2, 3);

#define BL_TRY(x)                                                                                                      \
    do {                                                                                                               \
        if ((st = (x)) != BL_OK) goto out;                                                                             \
    } while (0)
#define BL_COUNT(a)  (sizeof(a) / sizeof *(a))
#define BL_MIN(a, b) ((a) < (b) ? (a) : (b))
#define BL_MAX(a, b) ((a) > (b) ? (a) : (b))

/* ---- memory -------------------------------------------------------------------------------------
 * Every heap allocation of the program goes through these, so tests can fail the Nth. Sizes are
 * checked products. All return NULL and fill `e` with BL_E_NOMEM when memory is out. n == 0 gives a
 * valid pointer. New memory is zeroed. Alignment is 64 bytes. */
void *bl_new(size_t n, size_t size, bl_err *e);
/* Grows (or moves) to n elements; the old block stays valid when this fails. New bytes are not zeroed. */
void *bl_resize(void *p, size_t n, size_t size, bl_err *e);
/* Makes room for at least `need` elements by doubling; *cap is updated. `p` points to the array pointer. */
bl_status bl_grow(void *p, size_t *cap, size_t need, size_t size, bl_err *e);
char *bl_strdup(const char *s, bl_err *e);
char *bl_strndup(const char *s, size_t n, bl_err *e);
char *bl_format_text(bl_err *e, const char *fmt, ...) BL_PRINTF(2, 3); /* malloc'ed text, freed with bl_free */
void bl_free(void *p);                                                 /* NULL is fine */

/* For tests: allocation number `n` (1-based, counted from this call) fails, and with `sticky` all after it.
 * n = 0 switches it off. `bl_alloc_count` is the number of allocations since. Largest single request and
 * current bytes are kept per thread and in total, for the memory assertions. */
void bl_alloc_fail_at(uint64_t n, bool sticky);
uint64_t bl_alloc_count(void);
void bl_alloc_watch_reset(void); /* starts the watch below on every thread */
uint64_t bl_alloc_watch_thread_max(
    void);                    /* most bytes that any one thread had allocated itself since the reset and not freed */
uint64_t bl_alloc_live(void); /* bytes now allocated and not freed, all threads */
uint64_t bl_alloc_peak(void); /* most of that since the last bl_alloc_watch_reset */

/* An arena: many small things with one lifetime. */
typedef struct bl_arena bl_arena;
typedef struct bl_mark {
    void *block;
    size_t used;
} bl_mark;
bl_status bl_arena_new(bl_arena **out, bl_err *e);
void bl_arena_free(bl_arena *a);                                     /* NULL is fine */
void *bl_alloc(bl_arena *a, size_t n, size_t size, bl_err *e);       /* zeroed, size checked, 64-byte aligned */
char *bl_arena_str(bl_arena *a, const char *s, size_t n, bl_err *e); /* a copy with a NUL after it */
bl_mark bl_arena_mark(const bl_arena *a);
void bl_arena_release(bl_arena *a, bl_mark m); /* everything since the mark is gone */

/* ---- growing text ------------------------------------------------------------------------------- */
typedef struct bl_text {
    char *s;
    size_t n, cap;
    bool failed;
} bl_text; /* s is NUL-terminated (or NULL when empty); `failed` is sticky */
void bl_text_add(bl_text *t, const char *s);
void bl_text_addn(bl_text *t, const char *s, size_t n);
void bl_text_addf(bl_text *t, const char *fmt, ...) BL_PRINTF(2, 3);
void bl_text_free(bl_text *t);
bl_status bl_text_check(const bl_text *t, bl_err *e); /* BL_E_NOMEM when an addition failed */

/* ---- log ----------------------------------------------------------------------------------------
 * Lines can be grepped: `cell=… task=… n=…`. They go to standard error and, when one is set, to a file that several
 * processes may append to: "2024-05-01T12:00:00Z pid=12 info batch=8 reason=memory". */
typedef enum bl_log_level { BL_LOG_ERROR, BL_LOG_WARN, BL_LOG_INFO, BL_LOG_DEBUG } bl_log_level;
void bl_log_set(bl_log_level least);                /* what standard error shows; BL_LOG_WARN at first */
bl_status bl_log_file(const char *path, bl_err *e); /* BL_LOG_INFO, and whatever standard error shows; NULL: none */
void bl_log(bl_log_level level, const char *fmt, ...) BL_PRINTF(2, 3);

/* ---- time, signals, process --------------------------------------------------------------------- */
double bl_now(void);       /* seconds, monotonic */
void bl_utc(char out[32]); /* "2024-05-01T12:00:00Z" */
bool bl_interrupted(void); /* SIGINT or SIGTERM was seen (bl_signals_catch) */
/* First SIGINT/SIGTERM sets the flag, the second ends at once (exit 130). SIGPIPE is left to end quietly.
 * SIGXFSZ is ignored, so that a file size limit is an error of write. LC_NUMERIC is forced to "C". */
void bl_process_init(void);
bool bl_pid_alive(long pid); /* a process of this host that still runs; one that only waits to be reaped does not */
uint64_t bl_rss_peak(void);  /* bytes, VmHWM of this process; 0 when unknown */
void bl_bytes_text(uint64_t bytes, char out[32]); /* for a person: "600 bytes", "7.1 MB", "21 MB", "1.4 GB" */
/* Nearest of `names` (NULL-terminated) by edit distance, for "did you mean"; NULL when none is near. */
const char *bl_nearest(const char *word, const char *const *names);
#endif
