/* results_journal.c - any bytes as a journal: counted in memory, then opened as a file, worked with and opened again.
 * Fuzz it with TMPDIR in memory. */
#include "kernels/base/fs.h"
#include "results/journal.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n)
{
    static const bl_hash hash = {1, 2};
    static const double numbers[] = {1, 0.1};
    static const char *const text[] = {"text", NULL};
    static const bl_sample more = {.id = 77,
                                   .pick = 1,
                                   .score = numbers,
                                   .n_scores = 1,
                                   .value = numbers,
                                   .n_values = 2,
                                   .reply = text,
                                   .n_replies = 1,
                                   .answer = text,
                                   .n_answers = 2};
    static char path[4200], stale[4300];
    int64_t count = bl_journal_parse((const char *)data, n), samples;
    bl_journal *j = NULL;
    FILE *f;

    if (count < 0) __builtin_trap();
    if (!path[0]) {
        const char *tmp = getenv("TMPDIR");
        snprintf(path, sizeof path, "%s/blfuzz.%ld", tmp ? tmp : "/tmp", (long)getpid());
        snprintf(stale, sizeof stale, "%s.stale", path);
        bl_log_set(BL_LOG_ERROR);
    }
    if (!(f = fopen(path, "wb"))) return 0;
    fwrite(data, 1, n, f);
    fclose(f);
    if (bl_journal_open(path, "m/base/piqa/0", hash, &j, NULL) == BL_OK) {
        bool had = bl_journal_has(j, more.id);
        samples = bl_journal_count(j);
        if (samples > count) __builtin_trap();
        if ((bl_journal_add(j, &more, NULL) == BL_OK) == had) __builtin_trap();
        bl_journal_samples(j, &samples);
        bl_journal_sync(j, NULL);
        bl_journal_close(j);
        if (bl_journal_open(path, "m/base/piqa/0", hash, &j, NULL) != BL_OK || bl_journal_count(j) != samples)
            __builtin_trap();
        bl_journal_close(j);
    }
    unlink(path);
    unlink(stale);
    return 0;
}
