/* progress.c - drawing on standard error; nothing here changes a result. */
#include "progress.h"
#include "kernels/base/utf8.h"
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <unistd.h>

void bl_progress_begin(bl_progress *p, size_t cells, size_t finished, double work, bool quiet)
{
    *p = (bl_progress){.tty = isatty(STDERR_FILENO) == 1,
                       .quiet = quiet,
                       .cells = cells,
                       .finished = finished,
                       .t0 = bl_now(),
                       .work = work};
}

double bl_progress_left(double work, double done, double spent)
{
    double trust = BL_MAX(0.05 * work, 2); /* seconds of which the estimate is taken as measured */
    return BL_MAX(work - done, 0) * (spent + trust) / (done + trust);
}

void bl_progress_time(double s, char out[32])
{
    if (s < 90) snprintf(out, 32, "%.0f s", s);
    else if (s < 5400) snprintf(out, 32, "%.0f min", s / 60);
    else snprintf(out, 32, "%.1f h", s / 3600);
}

/* ", 4 min left" */
static void left(const bl_progress *p, double now, char out[48])
{
    char time[32];
    bl_progress_time(bl_progress_left(p->work, p->done + p->part, now - p->t0), time);
    snprintf(out, 48, ", %s left", time);
}

/* ---- one line ---- */

/* Bytes of the first n code points of s. */
static size_t bytes_of(const char *s, size_t n)
{
    size_t at = 0, len = strlen(s);
    uint32_t c;
    for (; n > 0 && at < len; n--) {
        size_t k = bl_utf8_get(s + at, len - at, &c);
        at += k ? k : 1;
    }
    return at;
}

void bl_progress_line(const bl_progress *p, double now, size_t width, bl_text *out)
{
    bl_text tail = {0}, line = {0};
    char head[48], time[48];
    snprintf(head, sizeof head, "[%zu/%zu] ", BL_MIN(p->finished + 1, p->cells), p->cells);
    left(p, now, time);
    bl_text_addf(&tail, "  %s%s", p->how, time);
    size_t n = bl_utf8_count(p->what, strlen(p->what)),
           ends = strlen(head) + bl_utf8_count(tail.s ? tail.s : "", tail.n);
    size_t room = width > ends ? width - ends : 0;
    bl_text_add(&line, head);
    if (n <= room) bl_text_add(&line, p->what);
    else if (room > 2) { /* both ends say most: the model's name, the task */
        size_t first = (room - 1) / 2, last = room - 1 - first;
        bl_text_addn(&line, p->what, bytes_of(p->what, first));
        bl_text_add(&line, "\xe2\x80\xa6");
        bl_text_add(&line, p->what + bytes_of(p->what, n - last));
    }
    bl_text_add(&line, tail.s ? tail.s : "");
    if (line.s) bl_text_addn(out, line.s, bytes_of(line.s, width));
    bl_text_free(&tail);
    bl_text_free(&line);
}

static size_t columns(void)
{
    struct winsize w;
    const char *said = getenv("COLUMNS");
    long n = ioctl(STDERR_FILENO, TIOCGWINSZ, &w) == 0 ? w.ws_col : 0;
    if (n <= 0 && said) n = strtol(said, NULL, 10);
    return n > 0 ? (size_t)n : 80;
}

static void clear(const bl_progress *p)
{
    if (p->tty && !p->quiet) fputs("\r\033[K", stderr);
}

static void draw(bl_progress *p)
{
    bl_text line = {0};
    if (p->quiet || !p->tty || !p->what[0]) return;
    p->drawn = bl_now();
    bl_progress_line(p, p->drawn, columns() - 1, &line); /* the last column would wrap on some terminals */
    clear(p);
    fputs(line.s ? line.s : "", stderr);
    fflush(stderr);
    bl_text_free(&line);
}

void bl_progress_draw(bl_progress *p)
{
    if (bl_now() - p->drawn >= 0.5) draw(p);
}

void bl_progress_now(bl_progress *p, const char *what, const char *how, double part)
{
    size_t word = strcspn(how, "0123456789");
    bool other = strcmp(what, p->what) != 0 || strncmp(how, p->how, word) != 0;
    snprintf(p->what, sizeof p->what, "%s", what);
    snprintf(p->how, sizeof p->how, "%s", how);
    p->part = part;
    if (other || bl_now() - p->drawn >= 0.1) draw(p);
}

void bl_progress_did(bl_progress *p, double worked, double saved)
{
    p->done += worked;
    p->work = BL_MAX(p->work - saved, p->done);
    p->part = 0;
    p->what[0] = 0;
}

void bl_progress_cell(bl_progress *p, const char *key, const char *what, double seconds)
{
    char time[48];
    p->finished++;
    if (p->quiet) return;
    left(p, bl_now(), time);
    clear(p);
    fprintf(stderr, "[%zu/%zu] %s  %s", p->finished, p->cells, key, what);
    if (seconds >= 0) fprintf(stderr, ", %.1f s%s", seconds, p->finished < p->cells ? time : "");
    fputc('\n', stderr);
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

void bl_progress_end(bl_progress *p) { clear(p); }
