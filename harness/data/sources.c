/* sources.c - the named texts, in the order of sources.def. */
#include "sources.h"
#include <string.h>

#define BL_SOURCE(id, ...)                                                                                             \
    bl_status bl_source_load_##id(const bl_data_dirs *d, bl_arena *a, bl_source_text *out, bl_err *e);
#include "sources.def"
#undef BL_SOURCE

#define BL_SOURCE(id, name, doc, where, ...) static const char *const id##_conventions[] = {__VA_ARGS__, NULL};
#include "sources.def"
#undef BL_SOURCE

static const bl_source sources[] = {
#define BL_SOURCE(id, name, doc, where, ...) {name, doc, where, id##_conventions, bl_source_load_##id},
#include "sources.def"
#undef BL_SOURCE
};

const bl_source *bl_source_at(size_t i) { return i < BL_COUNT(sources) ? &sources[i] : NULL; }

const bl_source *bl_source_find(const char *name)
{
    for (size_t i = 0; i < BL_COUNT(sources); i++)
        if (!strcmp(sources[i].name, name)) return &sources[i];
    return NULL;
}
