/* learner_text.h - the text of a method with options that make its work on a tiny model short and what it has to
 * follow, and what it learns from. */
#ifndef BL_TESTS_LEARNER_TEXT_H
#define BL_TESTS_LEARNER_TEXT_H
#include "harness/method.h"
#include <stdio.h>
#include <string.h>

enum { LEARNER_TEXT = 200 };
static inline void learner_text(const bl_method *m, char out[LEARNER_TEXT])
{
    static const struct {
        const char *option, *text;
    } set[] = {{"group", ":g24"},
               {"rank", "+rank=4"},
               {"epochs", "+epochs=1"},
               {"iters", "+iters=2"},
               {"grid-rounds", "+grid-rounds=1"},
               {"rounds", "+rounds=4"}};
    static const bl_opt none[] = {{0}};
    int n = snprintf(out, LEARNER_TEXT, "%s%s", strcmp(m->name, "e2e-qp") == 0 ? "rtn:w4g24+" : "", m->name);
    for (size_t i = 0; i < BL_COUNT(set); i++)
        if (bl_opt_find(m->opts ? m->opts : none, set[i].option))
            n += snprintf(out + n, LEARNER_TEXT - (size_t)n, "%s", set[i].text);
}

/* Four rows of 40 ids below 203, as finetune reads them. */
enum { LEARNER_ROWS = 4000 };
static inline void learner_rows(char out[LEARNER_ROWS])
{
    int n = 0;
    for (int row = 0; row < 4; row++)
        for (int i = 0; i < 40; i++)
            n += snprintf(out + n, LEARNER_ROWS - (size_t)n, "%s%d%s", i ? ", " : "{\"ids\": [",
                          3 + (row * 31 + i * 7) % 200, i == 39 ? "]}\n" : "");
}
#endif
