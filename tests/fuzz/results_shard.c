/* results_shard.c - any bytes as a shard. HDF5 sees only what has the right hash, so what gets through is read to the
 * end. */
#include "results/cell_impl.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n)
{
    bl_shard *s = NULL;
    bl_arena *a = NULL;
    bl_cell c;
    const char **path;
    int64_t count;

    if (bl_shard_parse(data, n, "fuzz", &s, NULL) != BL_OK || bl_arena_new(&a, NULL) != BL_OK) {
        bl_shard_close(s);
        return 0;
    }
    for (int part = BL_CELL_WHOLE; part <= BL_CELL_FOR_TABLE; part++)
        bl_cell_of_shard(s, (bl_cell_part)part, a, &c, NULL);
    bl_shard_paths(s, a, &path, &count, NULL);
    bool same;
    bl_text why = {0};
    bl_shard_same(s, s, &same, &why, NULL);
    bl_text_free(&why);
    bl_arena_free(a);
    bl_shard_close(s);
    return 0;
}
