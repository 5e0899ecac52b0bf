/* registry.c - the methods that are compiled in, in the order of registry.def. */
#include "registry.h"

#define BL_METHOD(id) extern const bl_method bl_method_##id;
#include "registry.def"
#undef BL_METHOD

const bl_method *const bl_methods[] = {
#define BL_METHOD(id) &bl_method_##id,
#include "registry.def"
#undef BL_METHOD
    NULL};
