/* base_fs.c - names that are not regular files are refused by name, at once. */
#include "test.h"
#include "kernels/base/fs.h"
#include "kernels/base/json.h"
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

static void only_regular_files_are_read(void **state)
{
    (void)state;
    bl_err e = {0};
    char dir[4096], pipe_name[4200], loop[4200], sock[4200];
    snprintf(dir, sizeof dir, "%s", test_dir());
    snprintf(pipe_name, sizeof pipe_name, "%s/pipe", dir);
    snprintf(loop, sizeof loop, "%s/loop", dir);
    snprintf(sock, sizeof sock, "%s/sock", dir);
    assert_int_equal(mkfifo(pipe_name, 0666), 0);
    assert_int_equal(symlink(loop, loop), 0);
    struct sockaddr_un at = {.sun_family = AF_UNIX};
    snprintf(at.sun_path, sizeof at.sun_path, "%.100s", sock);
    int s = socket(AF_UNIX, SOCK_STREAM, 0);
    assert_int_equal(bind(s, (struct sockaddr *)&at, sizeof at), 0);
    const struct {
        const char *path;
        bl_status st;
        const char *phrase;
    } rows[] = {
        {dir, BL_E_FORMAT, "is a directory, expected a regular file"},
        {pipe_name, BL_E_FORMAT, "is a named pipe, expected a regular file"},
        {"/dev/null", BL_E_FORMAT, "/dev/null: is a device, expected a regular file"},
        {sock, BL_E_FORMAT, "expected a regular file"},
        {loop, BL_E_IO, "cannot open"},
        {"", BL_E_MISSING, "cannot open"},
        {"/dev/null/x", BL_E_MISSING, "cannot open"},
    };
    for (size_t i = 0; i < BL_COUNT(rows); i++) {
        bl_map m;
        char *text;
        size_t n;
        bl_json *j;
        int fd;
        assert_refused(bl_map_open(rows[i].path, &m, &e), rows[i].st, rows[i].phrase);
        assert_non_null(strstr(e.text, rows[i].path));
        assert_refused(bl_read_file(rows[i].path, 100, &text, &n, &e), rows[i].st, rows[i].phrase);
        assert_refused(bl_json_read(rows[i].path, 100, BL_JSON_PLAIN, &j, &e), rows[i].st, rows[i].phrase);
        assert_int_not_equal(bl_append_open(rows[i].path, 0, &fd, &e), BL_OK);
    }
    close(s);
    assert_ok(bl_remove_tree(dir, &e));
}

static void standard_input_is_bounded(void **state)
{
    (void)state;
    bl_err e = {0};
    char *text;
    size_t n;
    int p[2], kept = dup(STDIN_FILENO);
    for (int round = 0; round < 2; round++) {
        assert_int_equal(pipe(p), 0);
        assert_int_equal(write(p[1], "0123456789", 10), 10);
        close(p[1]);
        assert_true(dup2(p[0], STDIN_FILENO) >= 0);
        close(p[0]);
        if (round == 0) {
            assert_ok(bl_read_file("-", 10, &text, &n, &e));
            assert_string_equal(text, "0123456789");
            bl_free(text);
        } else assert_refused(bl_read_file("-", 9, &text, &n, &e), BL_E_FORMAT, "standard input: more than 9 bytes");
    }
    dup2(kept, STDIN_FILENO);
    close(kept);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(only_regular_files_are_read),
        cmocka_unit_test(standard_input_is_bounded),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
