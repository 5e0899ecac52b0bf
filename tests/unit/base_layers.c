/* base_layers.c - every #include points down or stays in its room; private headers and registries stay at home; a
 * library is known to the rooms that own it. The rooms and their floors: source_tree.h.
 */
#include "source_tree.h"

/* Headers of libraries, and who may include them: directories, separated by spaces. */
static const struct {
    const char *header, *where;
} libraries[] = {
    {"cjson/", "kernels/base"},
    {"xxhash.h", "kernels/base"},
    {"hdf5", "results"},
    {"pcre2.h", "harness/tokenizer harness/data"},
    {"cuda", "kernels"},
    {"cublas", "kernels"},
    {"cblas.h", "kernels harness/bench"},
    {"lapacke.h", "kernels"},
    {"benchmark/", "harness/bench"},
};

static void say(const char *path, int line, const char *what, const char *target)
{
    print_message("%s:%d: includes %s, %s\n", path, line, target, what);
    failures++;
}

static void ours(const char *path, int line, const char *target)
{
    char beside[4200];
    const struct room *from = room_of(path), *to;
    snprintf(beside, sizeof beside, "%.*s/%s", (int)(strrchr(path, '/') - path), path, target);
    if (!strchr(target, '/') && bl_exists(source_path(beside))) target = beside; /* same folder: the bare name */
    else if (strcmp(target, "bl_build.h") == 0) return;                          /* generated */
    else if (!bl_exists(source_path(target))) {
        say(path, line, "which is neither beside it nor a path from the root", target);
        return;
    } else if (strncmp(path, target, (size_t)(strrchr(target, '/') - target) + 1) == 0 &&
               !strchr(path + (strrchr(target, '/') - target) + 1, '/'))
        say(path, line, "which is beside it: the bare name is enough", target);
    to = room_of(target);
    if (!to) say(path, line, "which is in no room", target);
    else if (to != from && to->floor >= from->floor) say(path, line, "which is not below", target);
    else if (to != from && (strstr(target, "_impl.h") || strstr(target, "registry.")))
        say(path, line, "which is private to another room", target);
}

static void theirs(const char *path, int line, const char *target)
{
    const char *room = room_of(path)->dir;
    for (size_t i = 0; i < BL_COUNT(libraries); i++) {
        if (strncmp(target, libraries[i].header, strlen(libraries[i].header)) != 0) continue;
        const char *at = strstr(libraries[i].where, room);
        char after = at ? at[strlen(room)] : 'x';
        if (after != 0 && after != ' ') say(path, line, "a library of other rooms", target);
    }
}

static void check(const char *path, void *ctx)
{
    bl_err e = {0};
    char *source = NULL;
    size_t n;
    int line = 0;
    const char *dot = strrchr(path, '.');
    int *files = ctx;
    if (!dot || (strcmp(dot, ".h") && strcmp(dot, ".c") && strcmp(dot, ".cc") && strncmp(dot, ".cu", 3))) return;
    ++*files;
    assert_ok(bl_read_file(source_path(path), 1 << 24, &source, &n, &e));
    for (char *rest = source, *text; (text = strsep(&rest, "\n"));) {
        char target[256], open;
        line++;
        if (sscanf(text, " # include %c%255[^\">]", &open, target) != 2) continue;
        if (open == '"') ours(path, line, target);
        else theirs(path, line, target);
    }
    bl_free(source);
}

static void includes_point_down(void **state)
{
    (void)state;
    int files = 0;
    for (size_t i = 0; i < BL_COUNT(rooms); i++) each_source(rooms[i].dir, check, &files);
    assert_true(files > 200);
    assert_int_equal(failures, 0);
}

/* The walk itself: what it would say of includes that are wrong. */
static void wrong_includes_are_seen(void **state)
{
    (void)state;
    static const struct {
        const char *path, *target;
        bool wrong, library;
    } rows[] = {
        {"kernels/base/fs.c", "kernels/ops.h", true, false},
        {"kernels/ops.c", "kernels/base/fs.h", false, false},
        {"kernels/ops.c", "kernels/ops.h", true, false},
        {"kernels/ops.c", "ops.h", false, false},
        {"kernels/cpu/ref.c", "kernels/ops.h", false, false},
        {"results/cell.c", "harness/task.h", true, false},
        {"harness/data/find.c", "harness/tokenizer/tokenizer.h", true, false},
        {"harness/score/score.c", "harness/model/model_impl.h", true, false},
        {"harness/cli/cli.c", "methods/registry.h", true, false},
        {"tasks/piqa.c", "methods/rtn.c", true, false},
        {"tasks/piqa.c", "harness/nothing.h", true, false},
        {"results/h5.c", "hdf5.h", false, true},
        {"plots/plot.c", "hdf5.h", true, true},
        {"harness/model/kv.c", "cblas.h", true, true},
    };
    for (size_t i = 0; i < BL_COUNT(rows); i++) {
        failures = 0;
        if (rows[i].library) theirs(rows[i].path, 1, rows[i].target);
        else ours(rows[i].path, 1, rows[i].target);
        assert_int_equal(failures > 0, rows[i].wrong);
    }
    failures = 0;
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(wrong_includes_are_seen),
        cmocka_unit_test(includes_point_down),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
