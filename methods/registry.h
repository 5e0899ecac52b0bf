/* registry.h - the table of methods, NULL-terminated; main.c hands it to the command line. */
#ifndef BL_METHODS_REGISTRY_H
#define BL_METHODS_REGISTRY_H
#include "harness/method.h"
extern const bl_method *const bl_methods[];
#endif
