/* source_tree.h - the rooms of the house, from the ground up, and a walk over their files. */
#ifndef BL_TESTS_SOURCE_TREE_H
#define BL_TESTS_SOURCE_TREE_H
#include "test.h"
#include "kernels/base/fs.h"

/* A room may include itself and rooms of a lower floor. A folder belongs to the longest entry that it begins with. */
static const struct room {
    const char *dir;
    int floor;
} rooms[] = {
    {"kernels/base", 0},       {"kernels", 1},           {"results", 2},        {"plots", 3},
    {"harness/checkpoint", 4}, {"harness/tokenizer", 5}, {"harness/data", 5},   {"harness/model", 6},
    {"harness/encoder", 6},    {"harness", 7}, /* the contracts: task.h, method.h, program */
    {"harness/score", 8},      {"harness/train", 9},     {"harness/quant", 10}, {"harness/study", 11},
    {"harness/bench", 12},     {"harness/cli", 13},      {"methods", 14},       {"tasks", 14},
};

static int failures;

static inline const char *source_path(const char *path)
{
    static char whole[8400];
    snprintf(whole, sizeof whole, "%s/%s", BL_SOURCE_DIR, path);
    return whole;
}

static inline const struct room *room_of(const char *path)
{
    const struct room *found = NULL;
    for (size_t i = 0; i < BL_COUNT(rooms); i++) {
        size_t n = strlen(rooms[i].dir);
        if (strncmp(path, rooms[i].dir, n) == 0 && path[n] == '/' && (!found || n > strlen(found->dir)))
            found = &rooms[i];
    }
    return found;
}

/* Every file of one room, by its path from the root. */
static inline void each_source(const char *dir, void (*use)(const char *path, void *ctx), void *ctx)
{
    bl_err e = {0};
    char **name, path[4096];
    size_t n;
    assert_ok(bl_dir_list(source_path(dir), &name, &n, &e));
    for (size_t i = 0; i < n; i++) {
        snprintf(path, sizeof path, "%s/%s", dir, name[i]);
        if (!bl_is_dir(source_path(path))) use(path, ctx);
        else {
            char inside[4300];
            snprintf(inside, sizeof inside, "%s/x", path);
            bool own = strcmp(room_of(inside)->dir, path) == 0; /* a room inside a room is walked on its own */
            if (!own) each_source(path, use, ctx);
        }
    }
    bl_list_free(name, n);
}
#endif
