/* results_journal.c - any bytes as a journal. */
#include "results/journal.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n)
{
    if (bl_journal_parse((const char *)data, n) < 0) __builtin_trap();
    return 0;
}
