/* log.c - log lines: one line a call, whole lines even from several threads. */
#include "base_impl.h"
#include <pthread.h>

static const char *const words[] = {"error: ", "warning: ", "", "debug: "};
static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static bl_log_level least_level = BL_LOG_WARN;
static FILE *file;

void bl_log_set(bl_log_level least, FILE *also)
{
    pthread_mutex_lock(&lock);
    least_level = least;
    file = also;
    pthread_mutex_unlock(&lock);
}

void bl_log(bl_log_level level, const char *fmt, ...)
{
    char raw[8192], line[8192], when[32];
    if (level > least_level && !file) return;
    va_list ap;
    va_start(ap, fmt);
    int n = vsnprintf(raw, sizeof raw, fmt, ap);
    va_end(ap);
    bl_clean_text(line, sizeof line, raw, n < 0 ? 0 : BL_MIN((size_t)n, sizeof raw - 1));

    pthread_mutex_lock(&lock);
    if (level <= least_level) fprintf(stderr, "bitladder: %s%s\n", words[level], line);
    if (file) {
        bl_utc(when);
        fprintf(file, "%s %s%s\n", when, words[level], line);
        fflush(file);
    }
    pthread_mutex_unlock(&lock);
}
