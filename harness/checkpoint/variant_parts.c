/* variant_parts.c - names inside a saved model. */
#include "variant_parts.h"
#include <inttypes.h>
#include <string.h>

const char *const bl_zero_names[] = {"none", "packed", "int16", "float", "middle", NULL};
const char *const bl_scale_names[] = {"F32", "F16", "BF16", NULL};
const char *const bl_unit_names[] = {"token", "tensor", "group", NULL};
const char *const bl_transform_names[] = {"scale", "permute", "hadamard", "rotate", NULL};

void bl_part_name(const char *name, const bl_format *f, const bl_part_spec *part, char *out, size_t n)
{
    if (f->kind == BL_FMT_DENSE) snprintf(out, n, "%s", name);
    else snprintf(out, n, "%s.%s", name, part->name);
}

void bl_extra_name(const char *name, const char *what, int i, const char *end, char *out, size_t n)
{
    snprintf(out, n, "%.*s.%s.%d%s", (int)(strlen(name) - strlen(".weight")), name, what, i, end);
}

void bl_variant_file_name(int64_t i, int64_t n_layers, char out[64])
{
    snprintf(out, 64, "model-%05" PRId64 "-of-%05" PRId64 ".safetensors", i + 1, n_layers + 1);
}
