/* progress.c - drawing on standard error; nothing here changes a result. */
#include "progress.h"
#include <string.h>
#include <unistd.h>

void bl_progress_begin(bl_progress *p, size_t cells, double estimate_seconds, bool quiet)
{
    *p = (bl_progress){.tty = isatty(STDERR_FILENO) == 1,
                       .quiet = quiet,
                       .cells = cells,
                       .t0 = bl_now(),
                       .estimate = estimate_seconds};
}

static void left(const bl_progress *p, double running, char out[48])
{
    double done = p->estimate_done + running, spent = bl_now() - p->t0;
    if (done <= 0 || spent < 2) {
        out[0] = 0;
        return;
    }
    double s = BL_MAX(p->estimate - done, 0) * spent / done;
    if (s < 90) snprintf(out, 48, ", %.0f s left", s);
    else if (s < 5400) snprintf(out, 48, ", %.0f min left", s / 60);
    else snprintf(out, 48, ", %.1f h left", s / 3600);
}

static void clear(const bl_progress *p)
{
    if (p->tty) fputs("\r\033[K", stderr);
}

void bl_progress_show(bl_progress *p, const char *key, int64_t done, int64_t all, double rate, double cell_estimate)
{
    char time[48];
    if (p->quiet || !p->tty || bl_now() - p->drawn < 0.1) return;
    p->drawn = bl_now();
    left(p, all > 0 ? cell_estimate * (double)done / (double)all : 0, time);
    clear(p);
    fprintf(stderr, "[%zu/%zu] %s  %lld/%lld, %.0f tokens/s%s", p->finished + 1, p->cells, key, (long long)done,
            (long long)all, rate, time);
    fflush(stderr);
}

void bl_progress_line(bl_progress *p, const char *line)
{
    if (p->quiet || !p->tty || bl_now() - p->drawn < 0.1) return;
    p->drawn = bl_now();
    clear(p);
    fprintf(stderr, "[%zu/%zu] %s", p->finished + 1, p->cells, line);
    fflush(stderr);
}

void bl_progress_cell(bl_progress *p, const char *key, const char *what, double seconds, double cell_estimate)
{
    char time[48];
    p->finished++;
    p->estimate_done += cell_estimate;
    if (p->quiet) return;
    left(p, 0, time);
    clear(p);
    fprintf(stderr, "[%zu/%zu] %s  %s, %.1f s%s\n", p->finished, p->cells, key, what, seconds, time);
}

void bl_progress_note(bl_progress *p, const char *fmt, ...)
{
    va_list ap;
    if (p->quiet) return;
    clear(p);
    va_start(ap, fmt);
    vfprintf(stderr, fmt, ap);
    va_end(ap);
    fputc('\n', stderr);
}

void bl_progress_end(bl_progress *p)
{
    if (!p->quiet) clear(p);
}
