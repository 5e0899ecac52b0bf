/* disk.h - what verbs that remove results share: sizes, and whether somebody is at work. */
#ifndef BL_HARNESS_CLI_DISK_H
#define BL_HARNESS_CLI_DISK_H
#include "cli.h"

/* Bytes of a file, or of all files in a directory; 0 when it is not there. Links are not followed. */
uint64_t bl_disk_bytes(const char *path);
/* BL_E_BUSY when a run works on results in `dir`: what it needs is not removed. */
bl_status bl_nobody_runs(const char *dir, bl_err *e);
#endif
