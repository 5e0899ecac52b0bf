/* checkpoint_llama2c.c - any bytes: refused with a sentence, or a shape within bounds whose weights fill the file. */
#include "harness/checkpoint/checkpoint_impl.h"
#include <stdlib.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n);

static void must(bool ok)
{
    if (!ok) abort();
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n)
{
    bl_err e = {0};
    bl_config c;
    bool v1;
    uint64_t from;
    if (bl_llama2c_parse(data, n, "fuzz", &c, &v1, &from, &e) != BL_OK) {
        must(e.text[0] != 0);
        return 0;
    }
    must(bl_config_check(&c, "fuzz", &e) == BL_OK && from <= n);
    uint64_t weights = 4 * (uint64_t)bl_config_params(&c);
    bl_map m = {.data = data, .size = n, .fd = -1, .path = "fuzz"};
    bl_checkpoint k = {.map = &m, .n_maps = 1, .path = "fuzz", .name = "fuzz"};
    must(bl_arena_new(&k.arena, &e) == BL_OK && bl_read_llama2c(&k, &e) == BL_OK);
    for (size_t i = 0; i < k.n; i++)
        must(k.stored[i].part[0].offset >= from && k.stored[i].part[0].bytes <= n - k.stored[i].part[0].offset);
    bl_free(k.stored);
    bl_arena_free(k.arena);
    must(v1 ? n - from == weights : n - from == weights + 4 * (uint64_t)(c.max_len * c.head_dim));
    return 0;
}
