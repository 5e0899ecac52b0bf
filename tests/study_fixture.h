/* study_fixture.h - a small study on disk (model, tokenizer, data) and the program run on it, for tests of whole runs.
 */
#ifndef BL_TESTS_STUDY_FIXTURE_H
#define BL_TESTS_STUDY_FIXTURE_H
#include "tiny_model.h"
#include "kernels/base/fs.h"
#include "results/cell.h"
#include <errno.h>
#include <fcntl.h>
#include <math.h>
#include <poll.h>
#include <signal.h>
#include <spawn.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

extern char **environ;

typedef struct study {
    char dir[4096], model[4200], data[4200], out[4200];
} study;

static inline void study_write(const char *dir, const char *name, const char *text)
{
    bl_err e = {0};
    char *path = bl_join(dir, name, &e);
    assert_ok(bl_write_file(path, text, strlen(text), &e));
    bl_free(path);
}

/* `items` rows of PIQA made of small words, in the layout of its release. */
static inline void study_piqa(const char *dir, int items)
{
    bl_err e = {0};
    bl_text rows = {0}, labels = {0};
    for (int i = 0; i < items; i++) {
        bl_text_addf(&rows,
                     "{\"goal\": \"make %d of %c\", \"sol1\": \"cut %c\", \"sol2\": \"fold the %c and %d more\"}\n", i,
                     'a' + i % 26, 'b' + i % 20, 'c' + i % 7, i * 7 % 13);
        bl_text_addf(&labels, "%d\n", i * 5 % 3 % 2);
    }
    char *piqa = bl_join(dir, "piqa", &e);
    assert_ok(bl_make_dirs(piqa, &e));
    study_write(piqa, "valid.jsonl", rows.s);
    study_write(piqa, "valid-labels.lst", labels.s);
    bl_free(piqa);
    bl_text_free(&rows);
    bl_text_free(&labels);
}

/* The same with choices of one length, so that a few bits less may turn an answer. */
static inline void study_even_piqa(const char *dir, int items)
{
    bl_err e = {0};
    bl_text rows = {0};
    for (int i = 0; i < items; i++)
        bl_text_addf(&rows, "{\"goal\": \"make %d of %c\", \"sol1\": \"cut %c\", \"sol2\": \"fit %c\"}\n", i,
                     'a' + i % 26, 'b' + i % 20, 'c' + i % 7);
    char *piqa = bl_join(dir, "piqa", &e);
    study_write(piqa, "valid.jsonl", rows.s);
    bl_free(piqa);
    bl_text_free(&rows);
}

static inline study study_begin(int items)
{
    bl_err e = {0};
    study s;
    snprintf(s.dir, sizeof s.dir, "%s", test_dir());
    snprintf(s.model, sizeof s.model, "%s/model/noise.bin", s.dir);
    snprintf(s.data, sizeof s.data, "%s/data", s.dir);
    snprintf(s.out, sizeof s.out, "%s/out", s.dir);
    char folder[4200], tok[4300];
    snprintf(folder, sizeof folder, "%s/model", s.dir);
    snprintf(tok, sizeof tok, "%s/tok.bin", folder);
    assert_ok(bl_make_dirs(folder, &e));
    tiny_noise(s.model);
    static const char *pieces[42];
    static char one[41][2];
    for (int i = 0; i < 41; i++) {
        snprintf(one[i], 2, "%c", i < 26 ? 'a' + i : "0123456789 :?.QAn"[i - 26 < 16 ? i - 26 : 15]);
        pieces[i] = one[i];
    }
    int n = 0;
    for (int i = 0; i < 41; i++) { /* each character once */
        bool seen = false;
        for (int k = 0; k < n; k++) seen |= strcmp(pieces[k], one[i]) == 0;
        if (!seen) pieces[n++] = one[i];
    }
    while (n < 300 - TINY_BYTES && n < 41) pieces[n++] = "zz";
    pieces[n] = NULL;
    tiny_tokenizer(tok, pieces);
    study_piqa(s.data, items);
    setenv("XDG_CACHE_HOME", s.dir, 1);
    unsetenv("BITLADDER_DATA");
    return s;
}
static inline void study_end(study *s) { bl_remove_tree(s->dir, NULL); }

/* ---- the program ---- */

typedef struct ran {
    int code, signal;
    char *out, *err;
} ran; /* code -1 when a signal ended it */
static inline void ran_free(ran *r)
{
    bl_free(r->out);
    bl_free(r->err);
}

/* What is started: bitladder, or what a test puts there (itself, with tasks and methods of its own). */
static const char *program_path = BL_PROGRAM;

static inline pid_t program_start(const char *const *argv, const char *in_path, const char *out_path,
                                  const char *err_path)
{
    pid_t pid;
    posix_spawn_file_actions_t f;
    posix_spawn_file_actions_init(&f);
    posix_spawn_file_actions_addopen(&f, 0, in_path ? in_path : "/dev/null", O_RDONLY, 0);
    posix_spawn_file_actions_addopen(&f, 1, out_path, O_WRONLY | O_CREAT | O_TRUNC, 0600);
    posix_spawn_file_actions_addopen(&f, 2, err_path, O_WRONLY | O_CREAT | O_TRUNC, 0600);
    if (posix_spawn(&pid, program_path, &f, NULL, (char **)(uintptr_t)argv, environ) != 0)
        fail_msg("%s cannot be started", program_path);
    posix_spawn_file_actions_destroy(&f);
    return pid;
}

static inline ran program_wait(pid_t pid, const char *out_path, const char *err_path)
{
    ran r = {0};
    int status;
    size_t n;
    while (waitpid(pid, &status, 0) < 0 && errno == EINTR) {}
    r.code = WIFEXITED(status) ? WEXITSTATUS(status) : -1;
    r.signal = WIFSIGNALED(status) ? WTERMSIG(status) : 0;
    bl_read_file(out_path, 1 << 28, &r.out, &n, NULL);
    bl_read_file(err_path, 1 << 28, &r.err, &n, NULL);
    return r;
}

/* Waits until a child of a started program has stopped at BL_FAULT_POINT; its id. A program that ends first fails the
 * test. */
static inline pid_t program_stopped(pid_t parent)
{
    char path[64], line[512];
    for (;;) {
        siginfo_t over = {0};
        pid_t child = 0;
        snprintf(path, sizeof path, "/proc/%d/task/%d/children", (int)parent, (int)parent);
        FILE *f = fopen(path, "r");
        if (f && fgets(line, sizeof line, f)) child = (pid_t)atol(line);
        if (f) fclose(f);
        snprintf(path, sizeof path, "/proc/%d/stat", (int)child);
        f = child ? fopen(path, "r") : NULL;
        char *state = f && fgets(line, sizeof line, f) ? strrchr(line, ')') : NULL;
        if (f) fclose(f);
        if (state && state[2] == 'T') return child;
        if (waitid(P_PID, (id_t)parent, &over, WEXITED | WNOHANG | WNOWAIT) != 0 || over.si_pid == parent)
            fail_msg("the program ended before it came to the point");
        usleep(1000);
    }
}

/* Waits until a stopped process has been sent a signal. */
static inline void program_signalled(pid_t pid, int sig)
{
    char path[64], line[256];
    snprintf(path, sizeof path, "/proc/%d/status", (int)pid);
    for (unsigned long long pending = 0; !(pending >> (sig - 1) & 1);) {
        FILE *f = fopen(path, "r");
        if (!f) fail_msg("process %d is gone", (int)pid);
        while (fgets(line, sizeof line, f)) sscanf(line, "ShdPnd: %llx", &pending);
        fclose(f);
        usleep(1000);
    }
}

/* Kills a program and waits until it and its children, which die with it, are gone. */
static inline void program_kill(pid_t pid)
{
    prctl(PR_SET_CHILD_SUBREAPER, 1); /* they become ours to wait for */
    kill(pid, SIGKILL);
    while (waitpid(-1, NULL, 0) > 0 || errno == EINTR) {}
}

/* A program that was started on a study, with its standard output and error in files there. */
typedef struct started {
    pid_t pid, child; /* child: the one that stands still, when a point was asked for */
    char out[4300], err[4300];
} started;

/* Starts `bitladder argv[1] …` with `input` (text, or NULL) on standard input. With a `point` (BL_FAULT_POINT, or NULL)
 * its child has stopped there. */
static inline started program_begin(const study *s, const char *input, const char *point, const char *const *argv)
{
    started p = {0};
    char in[4300];
    static int count;
    snprintf(in, sizeof in, "%s/in.%d", s->dir, ++count);
    snprintf(p.out, sizeof p.out, "%s/stdout.%d", s->dir, count);
    snprintf(p.err, sizeof p.err, "%s/stderr.%d", s->dir, count);
    if (input) study_write(s->dir, strrchr(in, '/') + 1, input);
    if (point) setenv("BL_FAULT_POINT", point, 1);
    p.pid = program_start(argv, input ? in : NULL, p.out, p.err);
    if (point) p.child = program_stopped(p.pid);
    unsetenv("BL_FAULT_POINT");
    return p;
}
#define BEGIN(s, point, ...) program_begin(s, NULL, point, (const char *const[]){"bitladder", __VA_ARGS__, NULL})

static inline ran program_end(const started *p) { return program_wait(p->pid, p->out, p->err); }

/* Interrupts the program while its child stands still, lets that go on, and waits for the end. */
static inline ran program_interrupt(const started *p)
{
    kill(p->pid, SIGINT);
    program_signalled(p->child, SIGINT);
    kill(p->child, SIGCONT);
    return program_end(p);
}

static inline ran program_with(const study *s, const char *input, const char *const *argv)
{
    started p = program_begin(s, input, NULL, argv);
    return program_end(&p);
}
#define PROGRAM(s, ...) program_with(s, NULL, (const char *const[]){"bitladder", __VA_ARGS__, NULL})

static inline void expect(const ran *r, int code, const char *phrase_err)
{
    if (r->code != code || (phrase_err && !strstr(r->err, phrase_err)))
        fail_msg("exit %d (signal %d), wanted %d and '%s':\n%s\n%s", r->code, r->signal, code,
                 phrase_err ? phrase_err : "", r->out, r->err);
}

/* ---- equal results: everything but /run, /env, seconds and peak ---- */

static inline void assert_same_cell(const char *pa, const char *pb)
{
    bl_err e = {0};
    bl_shard *x, *y;
    bl_text why = {0};
    bool same = false;
    assert_ok(bl_shard_open(pa, &x, &e));
    assert_ok(bl_shard_open(pb, &y, &e));
    assert_ok(bl_shard_same(x, y, &same, &why, &e));
    if (!same) fail_msg("%s and %s differ: %s", pa, pb, why.s ? why.s : "");
    bl_text_free(&why);
    bl_shard_close(x);
    bl_shard_close(y);
}

static inline size_t count_ending(const char *dir, const char *tail)
{
    char **name = NULL;
    size_t n = 0, found = 0;
    bl_dir_list(dir, &name, &n, NULL);
    for (size_t i = 0; i < n; i++) {
        size_t len = strlen(name[i]), k = strlen(tail);
        found += len >= k && strcmp(name[i] + len - k, tail) == 0;
    }
    bl_list_free(name, n);
    return found;
}

/* Lines of the journals of `dir`, a header each. */
static inline size_t journal_lines(const char *dir)
{
    bl_err e = {0};
    char **name, *text;
    size_t n, size, lines = 0;
    assert_ok(bl_dir_list(dir, &name, &n, &e));
    for (size_t i = 0; i < n; i++) {
        if (!strstr(name[i], ".part.jsonl")) continue;
        char *path = bl_join(dir, name[i], &e);
        assert_ok(bl_read_file(path, 1 << 24, &text, &size, &e));
        for (size_t k = 0; k < size; k++) lines += text[k] == '\n';
        bl_free(text);
        bl_free(path);
    }
    bl_list_free(name, n);
    return lines;
}

/* The cell of `method` in a directory, texts and lists in the arena. */
static inline bl_cell cell_of(const char *out, const char *method, bl_arena *a)
{
    bl_err e = {0};
    char **name, text[64];
    size_t n;
    bl_cell c = {0};
    snprintf(text, sizeof text, "__%s__", method);
    assert_ok(bl_dir_list(out, &name, &n, &e));
    for (size_t i = 0; i < n && !c.key; i++) {
        if (!strstr(name[i], text) || !strstr(name[i], ".h5")) continue;
        char *path = bl_join(out, name[i], &e);
        assert_ok(bl_cell_read(path, true, a, &c, &e));
        bl_free(path);
    }
    bl_list_free(name, n);
    if (!c.key) fail_msg("no cell of %s in %s", method, out);
    return c;
}

/* The same shards in both directories, and nothing left over in `b`. Returns how many. */
static inline size_t assert_same_results(const char *a, const char *b)
{
    bl_err e = {0};
    char **name = NULL;
    size_t n = 0, found = 0;
    assert_ok(bl_dir_list(a, &name, &n, &e));
    for (size_t i = 0; i < n; i++) {
        size_t len = strlen(name[i]);
        if (len < 3 || strcmp(name[i] + len - 3, ".h5") != 0) continue;
        char *x = bl_join(a, name[i], &e), *y = bl_join(b, name[i], &e);
        if (!bl_exists(y)) fail_msg("%s is missing", y);
        assert_same_cell(x, y);
        bl_free(x);
        bl_free(y);
        found++;
    }
    bl_list_free(name, n);
    assert_int_equal(count_ending(b, ".h5"), found);
    assert_int_equal(count_ending(b, ".part.jsonl"), 0);
    assert_int_equal(count_ending(b, ".part.distances"), 0);
    assert_int_equal(count_ending(b, ".failed.json"), 0);
    return found;
}
#endif
