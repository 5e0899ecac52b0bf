/* log.c - log lines: one line a call, whole lines even from several threads and processes. */
#include "base_impl.h"
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <string.h>
#include <unistd.h>

static const char *const shown[] = {"error: ", "warning: ", "", "debug: "};
static const char *const kept[] = {"error", "warning", "info", "debug"};
static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static bl_log_level least_level = BL_LOG_WARN;
static int file = -1;

void bl_log_set(bl_log_level least)
{
    pthread_mutex_lock(&lock);
    least_level = least;
    pthread_mutex_unlock(&lock);
}

bl_status bl_log_file(const char *path, bl_err *e)
{
    int fd = path ? open(path, O_WRONLY | O_APPEND | O_CREAT | O_CLOEXEC, 0666) : -1;
    if (path && fd < 0) return bl_fail(e, BL_E_DISK, "%s: cannot be written: %s", path, strerror(errno));
    pthread_mutex_lock(&lock);
    if (file >= 0) close(file);
    file = fd;
    pthread_mutex_unlock(&lock);
    return BL_OK;
}

void bl_log(bl_log_level level, const char *fmt, ...)
{
    char raw[8192], line[8192], whole[8300], when[32];
    if (level > BL_MAX(least_level, file >= 0 ? BL_LOG_INFO : BL_LOG_ERROR)) return;
    va_list ap;
    va_start(ap, fmt);
    int n = vsnprintf(raw, sizeof raw, fmt, ap);
    va_end(ap);
    bl_clean_text(line, sizeof line, raw, n < 0 ? 0 : BL_MIN((size_t)n, sizeof raw - 1));

    pthread_mutex_lock(&lock);
    if (level <= least_level) fprintf(stderr, "bitladder: %s%s\n", shown[level], line);
    if (file >= 0) { /* in one write, so that lines of several processes do not mix */
        bl_utc(when);
        n = snprintf(whole, sizeof whole, "%s pid=%ld %s %s\n", when, (long)getpid(), kept[level], line);
        if (write(file, whole, (size_t)n) < 0) file = -1; /* a log that cannot be written stops nothing */
    }
    pthread_mutex_unlock(&lock);
}
