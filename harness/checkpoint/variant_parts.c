/* variant_parts.c - names inside a quantized directory. */
#include "variant_parts.h"

const char *const bl_zero_names[] = {"none", "packed", "int16", NULL};
const char *const bl_scale_names[] = {"F32", "F16", "BF16", NULL};
const char *const bl_unit_names[] = {"token", "tensor", "group", NULL};

void bl_part_name(const bl_stored *t, const bl_part_spec *part, char *out, size_t n)
{
    if (t->format->kind == BL_FMT_DENSE) snprintf(out, n, "%s", t->name);
    else snprintf(out, n, "%s.%s", t->name, part->name);
}
