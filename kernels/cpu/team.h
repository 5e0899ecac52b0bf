/* team.h - threads that stay awake between the products of a token and are not waited for before they come.
 *
 * bl_team_run calls task(ctx, i, lane) for i = 0 .. n-1, each once, in any order; every lane begins with a run of
 * neighbouring tasks, the same in every call of as many, so that a part of a weight is read by the same core each time.
 * The caller is lane 0 and takes tasks like the others, lanes 1 .. threads-1. It returns when all tasks are done: who
 * has not begun by then, because the processor runs something else, is not missed. A lane runs one task at a time, so
 * that what belongs to a lane needs no lock. What the caller wrote before is seen by the tasks, and what they wrote by
 * the caller after.
 *
 * Lanes that wait look for work for some ten to a hundred microseconds, by the length of a pause, and then sleep. More
 * lanes than processors are right and slow: bl_team_most. One caller at a time; a task does not call it.
 */
#ifndef BL_KERNELS_CPU_TEAM_H
#define BL_KERNELS_CPU_TEAM_H
#include "kernels/base/bl.h"

typedef struct bl_team bl_team;
typedef void bl_team_task(void *ctx, int64_t i, int lane);

/* `threads`, or the processors that this process may use where those are fewer. */
int bl_team_most(int threads);
/* Threads begin with the first call that has use for them; where the system has no more, there are fewer. */
bl_status bl_team_new(int threads, bl_team **out, bl_err *e);
void bl_team_free(bl_team *t); /* NULL is fine */
void bl_team_run(bl_team *t, int threads, bl_team_task *task, void *ctx, int64_t n);
/* Where tasks become smaller: the number, in the order of their size, of what is task i of n then, dealt out so that
 * each of `lanes` begins with as much as the others. */
int64_t bl_team_dealt(int64_t i, int64_t n, int lanes);
#endif
