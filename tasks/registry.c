/* registry.c - the tasks that are compiled in, in the order of registry.def. */
#include "registry.h"

#define BL_TASK(id) extern const bl_task bl_task_##id;
#include "registry.def"
#undef BL_TASK

const bl_task *const bl_tasks[] = {
#define BL_TASK(id) &bl_task_##id,
#include "registry.def"
#undef BL_TASK
    NULL};
