/* fast.h - the linear op of the fast table, and how many threads a piece of work is worth. */
#ifndef BL_CPU_FAST_H
#define BL_CPU_FAST_H
#include "cpu.h"

bl_status bl_fast_linear(bl_backend *, const bl_linear_args *, bl_err *);

/* Waking a thread costs some microseconds: below that much work one does it all. */
static inline int bl_fast_threads(const bl_backend *be, double operations)
{
    const bl_cpu *c = be->own;
    return operations < 2e5 ? 1 : c->threads;
}
#endif
