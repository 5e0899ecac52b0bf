/* help.h - words made from the table of verbs: help, version, man page, completion. They cannot go stale. */
#ifndef BL_HARNESS_CLI_HELP_H
#define BL_HARNESS_CLI_HELP_H
#include "cli.h"

void bl_help_all(bl_text *out);
void bl_help_verb(const bl_verb *v, bl_text *out);
void bl_help_version(bl_text *out);                   /* program, build, libraries */
void bl_help_man(const bl_program *p, bl_text *out);  /* bitladder.1, roff */
void bl_help_bash(const bl_program *p, bl_text *out); /* bash completion */
#endif
