/* registry.h - the table of tasks, NULL-terminated; main.c hands it to the command line. */
#ifndef BL_TASKS_REGISTRY_H
#define BL_TASKS_REGISTRY_H
#include "harness/task.h"
extern const bl_task *const bl_tasks[];
#endif
