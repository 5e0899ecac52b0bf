/* checkpoint_safetensors.c - any bytes: refused with a sentence, or every byte after the header belongs to exactly one
 * tensor. */
#include "harness/checkpoint/safetensors.h"
#include <stdlib.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n);

static volatile unsigned sum; /* so that reading is not optimized away */

static void must(bool ok)
{
    if (!ok) abort();
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n)
{
    bl_err e = {0};
    bl_safetensors *s = NULL;
    if (bl_safetensors_parse(data, n, "fuzz", &s, &e) != BL_OK) {
        must(e.text[0] != 0 && s == NULL);
        return 0;
    }
    uint64_t at = bl_safetensors_data(s);
    for (size_t i = 0; i < bl_safetensors_count(s); i++) {
        bl_st_tensor *t = bl_safetensors_at(s, i);
        must(t->offset == at && t->ndim <= BL_ST_MAX_DIMS && bl_safetensors_find(s, t->name) == t);
        for (uint64_t k = 0; k < t->bytes; k++) sum += data[t->offset + k];
        at += t->bytes;
    }
    must(at == n);
    bl_safetensors_find(s, "model.norm.weight");
    bl_safetensors_close(s);
    return 0;
}
