/* found.h - what is here of the data of a task. */
#ifndef BL_HARNESS_CLI_FOUND_H
#define BL_HARNESS_CLI_FOUND_H
#include "cli.h"

typedef struct bl_found {
    int64_t items;    /* -1: a text whose windows are counted in tokens */
    size_t bytes;     /* of such a text */
    const char *path; /* what was read; NULL: nothing */
    const char *why;  /* path NULL: the sentence that says what was looked for */
    const char *note; /* what a reader of the numbers should know about the file; NULL */
} bl_found;
/* Texts are in the arena. */
bl_status bl_task_found(const bl_task *t, const char *name, const bl_data_dirs *dirs, bl_arena *a, bl_found *out,
                        bl_err *e);
/* "1838 items", "1290590 bytes of text", "not here" */
void bl_found_text(const bl_found *f, char out[64]);
#endif
