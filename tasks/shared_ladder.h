/* shared_ladder.h - which lessons (harness/data/lessons.h) the tasks of the ladder ask. */
#ifndef BL_TASKS_SHARED_LADDER_H
#define BL_TASKS_SHARED_LADDER_H

enum { BL_LADDER_SEED = 2026, BL_LADDER_SUMS = 200 }; /* sums: the lessons numbered 0 to 199 of the test part */
#endif
