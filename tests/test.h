/* test.h - what every test program includes: cmocka, and where real data is.
 *
 * Real data, models and golden numbers are found through BITLADDER_DATA, BITLADDER_MODELS, BITLADDER_GOLDEN and
 * BITLADDER_QWEN (a file) and BITLADDER_MINILM (a directory). A test that needs one of them begins with BL_NEEDS and is
 * skipped, saying so, when it is unset. A program whose tests were all skipped exits with 77, which ctest shows as
 * skipped.
 */
#ifndef BL_TESTS_TEST_H
#define BL_TESTS_TEST_H
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>
#include "kernels/base/bl.h"

/* Whether a sanitizer looks at every access, which takes three to seven times as long: what is then asked of fewer or
 * smaller cases of one kind, every kind of it is still asked. */
#if defined(__SANITIZE_ADDRESS__)
enum { SANITIZED = 1 };
#else
enum { SANITIZED = 0 };
#endif

static int test_skipped;
static inline int test_exit(int failed, size_t n) { return failed || n == 0 || (size_t)test_skipped < n ? failed : 77; }
#undef skip
#define skip()                                                                                                         \
    do {                                                                                                               \
        test_skipped++;                                                                                                \
        _skip(__FILE__, __LINE__);                                                                                     \
    } while (0)
#undef cmocka_run_group_tests
#define cmocka_run_group_tests(tests, setup, teardown)                                                                 \
    test_exit(_cmocka_run_group_tests(#tests, tests, sizeof(tests) / sizeof *(tests), setup, teardown),                \
              sizeof(tests) / sizeof *(tests))

#undef cmocka_run_group_tests_name
#define cmocka_run_group_tests_name(name, tests, setup, teardown)                                                      \
    test_exit(_cmocka_run_group_tests(name, tests, sizeof(tests) / sizeof *(tests), setup, teardown),                  \
              sizeof(tests) / sizeof *(tests))

#define BL_NEEDS(var)                                                                                                  \
    do {                                                                                                               \
        if (!getenv(var)) {                                                                                            \
            print_message("skipped: %s is not set\n", var);                                                            \
            skip();                                                                                                    \
        }                                                                                                              \
    } while (0)

/* "$VAR/tail" in a static ring of buffers. */
static inline const char *test_path(const char *var, const char *tail)
{
    static char ring[8][4096];
    static unsigned at;
    char *p = ring[at++ % 8];
    snprintf(p, sizeof ring[0], "%s/%s", getenv(var) ? getenv(var) : "", tail);
    return p;
}
#define assert_ok(call)                                                                                                \
    do {                                                                                                               \
        if ((call) != BL_OK) fail_msg("%s: %s", #call, e.text);                                                        \
    } while (0)
/* `call` uses an error named e; its sentence holds `phrase`. */
#define assert_refused(call, want, phrase)                                                                             \
    do {                                                                                                               \
        bl_status s_ = (call);                                                                                         \
        if (s_ != (want))                                                                                              \
            fail_msg("%s: status %s, wanted %s: %s", #call, bl_status_name(s_), bl_status_name(want), e.text);         \
        if (!strstr(e.text, phrase)) fail_msg("'%s' does not say '%s'", e.text, phrase);                               \
    } while (0)

/* A fresh directory under $TMPDIR; the caller removes it. */
static inline const char *test_dir(void)
{
    static char dir[4096];
    snprintf(dir, sizeof dir, "%s/bltest.XXXXXX", getenv("TMPDIR") ? getenv("TMPDIR") : "/tmp");
    if (!mkdtemp(dir)) fail_msg("mkdtemp failed");
    return dir;
}
#endif
