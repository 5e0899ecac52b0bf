/* variant_parts.c - names inside a saved model. */
#include "variant_parts.h"
#include "kernels/base/hash.h"
#include <inttypes.h>
#include <string.h>

const char *const bl_zero_names[] = {"none", "packed", "int16", "float", "middle", NULL};
const char *const bl_scale_names[] = {"F32", "F16", "BF16", NULL};
const char *const bl_unit_names[] = {"token", "tensor", "group", "mxfp4", "nvfp4", "fp8", NULL};
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

/* ---- the seal: ,"hash":"<32 digits>"} and a newline at the end ---- */
static const char seal_key[] = ",\"hash\":\"", seal_end[] = "\"}\n";
enum { KEY = sizeof seal_key - 1, END = sizeof seal_end - 1, SEAL = KEY + 32 + END };

/* Bytes before the seal; n: there is none. */
static size_t before_seal(const char *text, size_t n)
{
    if (n <= SEAL) return n;
    const char *at = text + n - SEAL;
    bool there = !memcmp(at, seal_key, KEY) && !memcmp(at + KEY + 32, seal_end, END);
    return there ? n - SEAL : n;
}

void bl_variant_seal(bl_text *t)
{
    char hex[33];
    size_t n = before_seal(t->s, t->n);
    if (n == t->n) {
        if (n > 0 && t->s[n - 1] == '\n') n--;
        if (n > 0 && t->s[n - 1] == '}') n--;
    }
    bl_hash_hex(bl_hash_bytes(t->s, n), hex);
    t->n = n;
    bl_text_addf(t, "%s%s%s", seal_key, hex, seal_end);
}

bl_status bl_variant_seal_check(const char *text, size_t n, const char *file, bl_err *e)
{
    char hex[33];
    size_t k = before_seal(text, n);
    if (k == n)
        return bl_fail(e, BL_E_FORMAT, "%s: does not end with its hash; write the model again with quantize", file);
    bl_hash_hex(bl_hash_bytes(text, k), hex);
    if (memcmp(text + k + KEY, hex, 32))
        return bl_fail(e, BL_E_CORRUPT, "%s: is not what was written (hash %.32s, its bytes have %s)", file,
                       text + k + KEY, hex);
    return BL_OK;
}
