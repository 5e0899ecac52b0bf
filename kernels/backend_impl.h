/* backend_impl.h - one row of the table of backends. */
#ifndef BL_KERNELS_BACKEND_IMPL_H
#define BL_KERNELS_BACKEND_IMPL_H
#include "ops.h"

typedef struct bl_backend_kind {
    const char *name;     /* "cpu", as ops->name */
    const char *numerics; /* class of its arithmetic, "cpu-f32" */
    const char *fixed;    /* the same with `deterministic`; NULL: it always is */
    int (*count)(void);   /* devices there are, which are called <name>:0, <name>:1, …; NULL: one, <name> */
    double flops;         /* of its products, roughly, for an order of time; 0: to be measured */
    int64_t wide;         /* how many times the rows of a CPU it takes to be busy: 1 on the CPU */
    double block_seconds; /* that a block takes in a pass of few rows, roughly; 0: nothing beside its products */
    /* Whether `device` is one of its own, and whether it is there. Opens nothing. */
    bool (*is)(const char *device);
    bl_status (*open)(bl_backend *be, bl_err *e); /* fills ops, act and own from opts */
    void (*close)(bl_backend *be);
} bl_backend_kind;
#endif
