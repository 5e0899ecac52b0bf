/* A run of the program that stops at a fault point, where it is killed, or a little later. */
#ifndef BL_TESTS_KILL_FIXTURE_H
#define BL_TESTS_KILL_FIXTURE_H
#include "verbs_fixture.h"
#include <sys/wait.h>
#include <unistd.h>

/* later: microseconds for which it goes on behind the point */
static inline void kill_at(const char *point, useconds_t later, const char *const *argv)
{
    siginfo_t is = {0};
    setenv("BL_FAULT_POINT", point, 1);
    started p = program_begin(&S, NULL, NULL, argv);
    assert_int_equal(waitid(P_PID, (id_t)p.pid, &is, WSTOPPED | WEXITED | WNOWAIT), 0);
    if (is.si_code != CLD_STOPPED) {
        ran r = program_end(&p);
        fail_msg("ended before it came to %s: %s", point, r.err);
    }
    if (later) kill(p.pid, SIGCONT);
    usleep(later);
    program_kill(p.pid);
}
#endif
