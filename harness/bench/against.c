/* against.c - two builds of this program timed in turn, ABBA, each time in a process of its own; the medians of the
 * rounds are what is compared, so that a slow minute of the machine is both sides'.
 */
#include "bench_impl.h"
#include "kernels/base/fs.h"
#include <errno.h>
#include <fcntl.h>
#include <spawn.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

extern char **environ;
enum { MOST_ARGS = 64, ROUNDS = 9 };

typedef struct against {
    const bl_bench_against *o;
    bl_arena *a;
    char *dir;
    int64_t rounds;
    bl_speed_record *got[2]; /* [rounds] */
} against;

/* PROGRAM bench ARGS --output DIR; what it prints is not shown. Exit 1: a kernel was wrong, which is in the record. */
static bl_status run_one(const against *g, int side, const char *dir, bl_err *e)
{
    bl_status st = BL_OK;
    const char *argv[MOST_ARGS + 6] = {g->o->program[side], "bench"};
    size_t n = 2;
    int code = 0, err;
    pid_t pid;
    posix_spawn_file_actions_t files;
    for (size_t i = 0; g->o->args[i] && i < MOST_ARGS; i++) argv[n++] = g->o->args[i];
    argv[n++] = "--output";
    argv[n++] = dir;
    argv[n++] = "--quiet";
    posix_spawn_file_actions_init(&files);
    posix_spawn_file_actions_addopen(&files, STDOUT_FILENO, "/dev/null", O_WRONLY, 0);
    err = posix_spawn(&pid, argv[0], &files, NULL, (char *const *)(uintptr_t)argv, environ);
    posix_spawn_file_actions_destroy(&files);
    if (err) return bl_fail(e, BL_E_IO, "%s cannot be started: %s", argv[0], strerror(err));
    while (waitpid(pid, &code, 0) < 0)
        if (errno != EINTR) return bl_fail(e, BL_E_IO, "%s: %s", argv[0], strerror(errno));
    if (bl_interrupted()) st = bl_fail(e, BL_E_INTERRUPTED, "interrupted");
    else if (!WIFEXITED(code))
        st = bl_fail(e, BL_E_IO, "%s bench %s was ended by signal %d", argv[0], g->o->args[0], WTERMSIG(code));
    else if (WEXITSTATUS(code) > 1)
        st = bl_fail(e, BL_E_CONFIG, "%s bench %s ended with exit %d", argv[0], g->o->args[0], WEXITSTATUS(code));
    return st;
}

static bl_status one_round(against *g, int64_t round, bl_err *e)
{
    bl_status st = BL_OK;
    char *dir = NULL;
    for (int i = 0; i < 2; i++) {
        int side = (int)((round + i) % 2); /* AB, BA, AB, ... */
        bl_speed_record *r = &g->got[side][round], models;
        bl_free(dir);
        if (!(dir = bl_format_text(e, "%s/%c%lld", g->dir, 'a' + side, (long long)round))) {
            st = BL_E_NOMEM;
            goto out;
        }
        if (!g->o->quiet)
            fprintf(stderr, "round %lld of %lld: %s\n", (long long)round + 1, (long long)g->rounds,
                    g->o->program[side]);
        BL_TRY(run_one(g, side, dir, e));
        BL_TRY(bl_bench_read(dir, g->a, r, e));
        BL_TRY(bl_throughput_read(dir, g->a, &models, e));
        if (models.n_models) *r = models;
        if (!r->n_kernels && !r->n_models && !r->n_wrong) {
            st = bl_fail(e, BL_E_MISSING, "%s bench %s --output writes no timings: it is too old", g->o->program[side],
                         g->o->args[0]);
            goto out;
        }
        r->name = g->o->program[side];
    }
out:
    bl_free(dir);
    return st;
}

/* The rows of the first round; their repetitions are the medians of all rounds. */
static bl_status together(const against *g, int side, bl_speed_record *out, bl_err *e)
{
    const bl_speed_record *first = g->got[side];
    bl_kernel_row *kernel = bl_alloc(g->a, first->n_kernels, sizeof *kernel, e);
    bl_model_row *model = bl_alloc(g->a, first->n_models, sizeof *model, e);
    if (!kernel || !model) return BL_E_NOMEM;
    *out = *first;
    for (size_t i = 0; i < first->n_kernels; i++) {
        kernel[i] = first->kernel[i];
        for (int cold = 0; cold < 2; cold++) {
            double *t = bl_alloc(g->a, (size_t)g->rounds, sizeof *t, e);
            int64_t n = 0;
            if (!t) return BL_E_NOMEM;
            for (int64_t r = 0; r < g->rounds; r++) {
                const bl_kernel_row *x = i < first[r].n_kernels ? &first[r].kernel[i] : NULL;
                if (x && bl_speed_same_case(x, &kernel[i]) && (cold ? x->cold : x->seconds) > 0)
                    t[n++] = cold ? x->cold : x->seconds;
            }
            kernel[i].repeat[cold] = t;
            kernel[i].n_repeat[cold] = n;
            double median = bl_speed_median(t, n, g->a, e);
            if (cold) kernel[i].cold = median;
            else kernel[i].seconds = median;
        }
    }
    for (size_t i = 0; i < first->n_models; i++) {
        double *t = bl_alloc(g->a, (size_t)g->rounds, sizeof *t, e);
        int64_t n = 0;
        if (!t) return BL_E_NOMEM;
        model[i] = first->model[i];
        for (int64_t r = 0; r < g->rounds; r++)
            if (i < first[r].n_models) t[n++] = first[r].model[i].seconds;
        model[i].repeat = t;
        model[i].n_repeat = n;
        model[i].seconds = bl_speed_median(t, n, g->a, e);
    }
    out->kernel = kernel;
    out->model = model;
    return BL_OK;
}

bl_status bl_bench_against_run(const bl_bench_against *o, bl_text *out, size_t *worse, bl_err *e)
{
    bl_status st = BL_OK;
    against g = {.o = o, .rounds = o->rounds ? o->rounds : ROUNDS};
    const char *tmp = getenv("TMPDIR");
    bl_speed_record of[2];
    BL_TRY(bl_arena_new(&g.a, e));
    for (int side = 0; side < 2; side++)
        if (!(g.got[side] = bl_alloc(g.a, (size_t)g.rounds, sizeof *g.got[side], e))) {
            st = BL_E_NOMEM;
            goto out;
        }
    if (!(g.dir = bl_format_text(e, "%s/bitladder-against.XXXXXX", tmp && *tmp ? tmp : "/tmp"))) {
        st = BL_E_NOMEM;
        goto out;
    }
    if (!mkdtemp(g.dir)) {
        st = bl_fail(e, BL_E_DISK, "%s: a temporary directory cannot be made", g.dir);
        bl_free(g.dir);
        g.dir = NULL;
        goto out;
    }
    for (int64_t i = 0; i < g.rounds; i++) BL_TRY(one_round(&g, i, e));
    for (int side = 0; side < 2; side++) BL_TRY(together(&g, side, &of[side], e));
    BL_TRY(bl_speed_gate(&of[0], &of[1], o->percent, o->json, g.a, out, worse, e));
out:
    if (g.dir) bl_remove_tree(g.dir, NULL);
    bl_free(g.dir);
    bl_arena_free(g.a);
    return st;
}
