/* program.h - what main.c joins: the registries, and finding things in them by name. */
#ifndef BL_HARNESS_PROGRAM_H
#define BL_HARNESS_PROGRAM_H
#include "method.h"
#include "task.h"
#include "results/compare.h"

typedef struct bl_program {
    const bl_method *const *methods; /* NULL-terminated */
    const bl_task *const *tasks;     /* NULL-terminated */
} bl_program;

/* BL_E_CONFIG with the nearest name: "no task 'arcc'; did you mean arc_challenge?". `name` receives the registry's own
 * spelling, or `text` where it says how many worked examples ("foo:5shot") and these are not what "foo" has by itself:
 * one measurement has one name. */
bl_status bl_program_method(const bl_program *p, const char *name, const bl_method **out, bl_err *e);
bl_status bl_program_task(const bl_program *p, const char *text, const bl_task **out, const char **name, bl_err *e);
/* Refuses "NAME:5shot" where NAME is a task that has no such examples or not so many; anything else is BL_OK. */
bl_status bl_program_shots(const bl_program *p, const char *text, bl_err *e);
/* Every name of every task, NULL-terminated, in the arena. */
const char *const *bl_program_task_names(const bl_program *p, bl_arena *a, bl_err *e);
/* Worked examples in front of a question of that name, and its split; "" when that is not said. */
int bl_task_examples(const bl_task *t, const char *name);
const char *bl_task_split(const bl_task *t, const char *name);
const bl_metric *bl_task_metrics(const bl_task *t, const char *name, int *n);
/* For comparisons of recorded cells: the metrics of each task in the version that the program has. */
bl_metric_rules bl_program_metrics(const bl_program *p);
#endif
