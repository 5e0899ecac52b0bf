/* run.c - the parent: plans, locks a variant, starts its child, shows progress, handles signals. It never touches a
 * device. */
#include "run.h"
#include "kernels/base/fs.h"
#include "results/cell.h"
#include "progress.h"
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <spawn.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

extern char **environ;

typedef struct run {
    const bl_spec *spec;
    const bl_plan *plan;
    const bl_run_opts *opts;
    bl_progress progress;
    bool *settled; /* [cells] done, n/a, or tried in this run */
    size_t n_failed;
    struct timespec began;
    bl_plan_cell *now; /* the cell the child works on */
    double now_since;
    bool interrupted;
} run;

/* ---- failures ---- */

void bl_run_note_failure(const bl_plan *p, const bl_plan_cell *c, const char *status, const char *reason)
{
    const bl_spec *s = p->spec;
    char hex[33], time[32], group_text[32];
    bl_err e = {0};
    int64_t wbits, group;

    bl_hash_hex(c->hash, hex);
    bl_utc(time);
    bl_chain_width(&s->method[c->method], &wbits, &group, group_text);
    bl_cell_failure f = {.key = c->key,
                         .hash = hex,
                         .status = status,
                         .reason = reason,
                         .time = time,
                         .model = p->model[c->model].name,
                         .stored_as = bl_checkpoint_stored_as(p->model[c->model].ckpt),
                         .method = s->method[c->method].text,
                         .task = s->task[c->task].name,
                         .wbits = wbits,
                         .seed = (int64_t)c->seed,
                         .limit = s->limit,
                         .task_version = s->task[c->task].task->version,
                         .group_text = group_text};
    if (bl_failure_write(s->out, c->file, &f, &e) != BL_OK)
        bl_log(BL_LOG_WARN, "%s: the failure could not be noted: %s", c->key, e.text);
}

/* ---- one child ---- */

/* The study that the child needs: all models (their names must come out the same), the base and this method, the tasks
 * of these cells. */
static bl_status child_spec(const run *r, bl_plan_cell *const *cell, size_t n, bl_text *out, bl_err *e)
{
    bl_status st = BL_OK;
    const bl_spec *s = r->spec;
    bl_spec part = *s;
    bl_method_chain *method = bl_new(s->n_methods, sizeof *method, e);
    bl_task_choice *task = bl_new(s->n_tasks, sizeof *task, e);

    if (!method || !task) {
        st = BL_E_NOMEM;
        goto out;
    }
    part.method = method;
    part.task = task;
    part.seed = &cell[0]->seed;
    part.n_seeds = 1;
    part.n_methods = part.n_tasks = 0;
    for (size_t i = 0; i < s->n_methods; i++)
        if (i == cell[0]->method || bl_chain_as_stored(&s->method[i])) method[part.n_methods++] = s->method[i];
    for (size_t t = 0; t < s->n_tasks; t++)
        for (size_t i = 0; i < n; i++)
            if (cell[i]->task == t) {
                task[part.n_tasks++] = s->task[t];
                break;
            }
    st = bl_spec_print(&part, out, e);
out:
    bl_free(method);
    bl_free(task);
    return st;
}

static bl_status spawn(const run *r, bl_plan_cell *const *cell, size_t n, pid_t *pid, int *events, bl_err *e)
{
    bl_status st = BL_OK;
    int in[2] = {-1, -1}, out[2] = {-1, -1}, err;
    bl_text spec = {0};
    bl_arena *a = NULL;
    char **argv, parent[32];
    posix_spawn_file_actions_t files;
    posix_spawnattr_t attr;

    posix_spawn_file_actions_init(&files);
    posix_spawnattr_init(&attr);
    BL_TRY(bl_arena_new(&a, e));
    BL_TRY(child_spec(r, cell, n, &spec, e));
    if (pipe2(in, O_CLOEXEC) != 0 || pipe2(out, O_CLOEXEC) != 0) {
        st = bl_fail(e, BL_E_IO, "pipe: %s", strerror(errno));
        goto out;
    }
    snprintf(parent, sizeof parent, "%ld", (long)getpid());
    if (!(argv = bl_alloc(a, n + 5, sizeof *argv, e))) {
        st = BL_E_NOMEM;
        goto out;
    }
    argv[0] = (char *)(uintptr_t)r->opts->program;
    argv[1] = (char *)(uintptr_t) "internal";
    argv[2] = (char *)(uintptr_t) "variant";
    argv[3] = parent;
    for (size_t i = 0; i < n; i++) {
        if (!(argv[4 + i] = bl_alloc(a, 33, 1, e))) {
            st = BL_E_NOMEM;
            goto out;
        }
        bl_hash_hex(cell[i]->hash, argv[4 + i]);
    }
    posix_spawn_file_actions_adddup2(&files, in[0], STDIN_FILENO);
    posix_spawn_file_actions_adddup2(&files, out[1], STDOUT_FILENO);
    posix_spawnattr_setflags(&attr,
                             POSIX_SPAWN_SETPGROUP); /* Ctrl-C reaches the parent alone, which passes it on once */
    posix_spawnattr_setpgroup(&attr, 0);
    err = posix_spawn(pid, r->opts->program, &files, &attr, argv, environ);
    if (err != 0) {
        st = bl_fail(e, BL_E_IO, "%s cannot be started: %s", r->opts->program, strerror(err));
        goto out;
    }
    close(in[0]);
    in[0] = -1;
    for (size_t at = 0; at < spec.n;) {
        ssize_t k = write(in[1], spec.s + at, spec.n - at);
        if (k < 0 && errno == EINTR) continue;
        if (k <= 0) break; /* the child is gone: its exit tells */
        at += (size_t)k;
    }
    *events = out[0];
    out[0] = -1;
out:
    for (int i = 0; i < 2; i++) {
        if (in[i] >= 0) close(in[i]);
        if (out[i] >= 0) close(out[i]);
    }
    posix_spawn_file_actions_destroy(&files);
    posix_spawnattr_destroy(&attr);
    bl_text_free(&spec);
    bl_arena_free(a);
    return st;
}

static bl_plan_cell *cell_of(const run *r, const char *key)
{
    for (size_t i = 0; i < r->plan->n_cells; i++)
        if (strcmp(r->plan->cell[i].key, key) == 0) return &r->plan->cell[i];
    return NULL;
}

static void settle(run *r, bl_plan_cell *c, const char *what, bool failed)
{
    size_t i = (size_t)(c - r->plan->cell);
    if (r->settled[i]) return;
    r->settled[i] = true;
    r->n_failed += failed;
    bl_progress_cell(&r->progress, c->key, what, bl_now() - r->now_since, c->seconds);
    r->now_since = bl_now();
}

/* One line of the child. */
static void heard(run *r, char *line, bl_text *error)
{
    bl_json *doc = NULL;
    const char *what = "", *key = NULL, *text = NULL;
    int64_t done = 0, all = 0;
    double rate = 0;
    char said[400];

    if (bl_json_parse(line, strlen(line), "child", BL_JSON_PLAIN, &doc, NULL) != BL_OK) return;
    bl_json_get_str(doc, "event", &what, NULL);
    if (bl_json_get(doc, "cell")) bl_json_get_str(doc, "cell", &key, NULL);
    if (bl_json_get(doc, "all")) {
        bl_json_get_int(doc, "done", &done, NULL);
        bl_json_get_int(doc, "all", &all, NULL);
        bl_json_get_real(doc, "rate", &rate, NULL);
    }
    bl_plan_cell *c = key ? cell_of(r, key) : NULL;
    if (strcmp(what, "start") == 0 && c) {
        r->now = c;
        r->now_since = bl_now();
    }
    if (strcmp(what, "progress") == 0 && c) bl_progress_show(&r->progress, c->key, done, all, rate, c->seconds);
    if (strcmp(what, "quantize") == 0) bl_progress_show(&r->progress, "quantizing", done, all, 0, 0);
    if (strcmp(what, "done") == 0 && c) {
        bl_json_get_str(doc, "headline", &text, NULL);
        snprintf(said, sizeof said, "%s", text ? text : "done");
        settle(r, c, said, false);
        r->now = NULL;
    }
    if (strcmp(what, "failed") == 0 && c) {
        bl_json_get_str(doc, "reason", &text, NULL);
        snprintf(said, sizeof said, "failed: %s", text ? text : "");
        settle(r, c, said, true);
        r->now = NULL;
    }
    if (strcmp(what, "error") == 0) {
        bl_json_get_str(doc, "reason", &text, NULL);
        if (text) bl_text_add(error, text);
    }
    bl_json_free(doc);
}

/* Reads events until the child closes its end; passes an interrupt on, once. */
static void listen_to(run *r, pid_t pid, int fd, bl_text *error)
{
    bl_text line = {0};
    char buf[4096];
    for (;;) {
        struct pollfd p = {.fd = fd, .events = POLLIN};
        int n = poll(&p, 1, 200);
        if (bl_interrupted() && !r->interrupted) {
            r->interrupted = true;
            kill(pid, SIGINT);
            bl_progress_note(&r->progress,
                             "interrupted: finishing what is running and keeping its samples (again: at once)");
        }
        if (n <= 0) continue;
        ssize_t got = read(fd, buf, sizeof buf);
        if (got < 0 && errno == EINTR) continue;
        if (got <= 0) break;
        for (ssize_t i = 0; i < got; i++) {
            if (buf[i] != '\n') {
                bl_text_addn(&line, &buf[i], 1);
                continue;
            }
            if (line.s) heard(r, line.s, error);
            bl_text_free(&line);
        }
    }
    bl_text_free(&line);
}

static bl_status run_child(run *r, bl_plan_cell **cell, size_t n, bl_err *e)
{
    bl_status st = BL_OK;
    pid_t pid;
    int fd = -1, status = 0;
    bl_text error = {0};
    char reason[512];

    r->now = NULL;
    r->now_since = bl_now();
    BL_TRY(spawn(r, cell, n, &pid, &fd, e));
    listen_to(r, pid, fd, &error);
    close(fd);
    while (waitpid(pid, &status, 0) < 0 && errno == EINTR) {}
    if (r->interrupted || (WIFEXITED(status) && WEXITSTATUS(status) == 130)) {
        r->interrupted = true;
        goto out;
    }
    if (WIFSIGNALED(status))
        snprintf(reason, sizeof reason, "its process was ended by signal %d (%s)", WTERMSIG(status),
                 strsignal(WTERMSIG(status)));
    else if (error.n) snprintf(reason, sizeof reason, "%s", error.s);
    else snprintf(reason, sizeof reason, "its process ended with exit code %d", WEXITSTATUS(status));
    for (size_t i = 0; i < n;
         i++) { /* the running cell; all that are left when none was, so that nothing is tried for ever */
        if (r->now && cell[i] != r->now) continue;
        if (r->settled[cell[i] - r->plan->cell]) continue;
        char said[600];
        if (bl_plan_look(r->plan, cell[i]) == BL_CELL_DONE) {
            settle(r, cell[i], "done", false);
            continue;
        }
        bl_run_note_failure(r->plan, cell[i], "failed", reason);
        snprintf(said, sizeof said, "failed: %s", reason);
        settle(r, cell[i], said, true);
    }
out:
    bl_text_free(&error);
    return st;
}

/* ---- the matrix ---- */

/* A shard that does not check is set aside and computed again (F24). */
static void set_corrupt_aside(const run *r, const bl_plan_cell *c)
{
    bl_err e = {0};
    char *path = bl_format_text(NULL, "%s/%s.h5", r->spec->out, c->file),
         *aside = bl_format_text(NULL, "%s/%s.h5.corrupt", r->spec->out, c->file);
    if (path && aside && bl_exists(path) && bl_shard_check(path, c->key, c->hash, &e) == BL_E_CORRUPT) {
        bl_log(BL_LOG_WARN, "%s; set aside as .corrupt", e.text);
        bl_rename(path, aside, NULL);
    }
    bl_free(path);
    bl_free(aside);
}

static bool later(const struct timespec *a, const struct timespec *b)
{
    return a->tv_sec != b->tv_sec ? a->tv_sec > b->tv_sec : a->tv_nsec > b->tv_nsec;
}

/* Settled by somebody else since this run began: done, or failed there. */
static bool look(run *r, size_t i)
{
    bl_plan_cell *c = &r->plan->cell[i];
    if (r->settled[i]) return true;
    bl_cell_state state = bl_plan_look(r->plan, c);
    if (state == BL_CELL_FAILED) {
        struct stat sb;
        char *path = bl_format_text(NULL, "%s/%s.failed.json", r->spec->out, c->file);
        if (path && stat(path, &sb) == 0 && later(&sb.st_mtim, &r->began)) {
            r->settled[i] = true;
            r->n_failed++;
            bl_progress_cell(&r->progress, c->key, "failed in another run", 0, c->seconds);
        }
        bl_free(path);
    } else if (state == BL_CELL_DONE) {
        r->settled[i] = true;
        bl_progress_cell(&r->progress, c->key, "done", 0, c->seconds);
    }
    return r->settled[i];
}

static bool base_is_settled(run *r, const bl_plan_cell *c)
{
    if (r->spec->no_kl || r->plan->variant[c->variant].base) return true;
    for (size_t i = 0; i < r->plan->n_cells; i++) {
        const bl_plan_cell *b = &r->plan->cell[i];
        if (r->plan->variant[b->variant].base && b->model == c->model && b->task == c->task && b->seed == c->seed &&
            !look(r, i))
            return false;
    }
    return true;
}

/* Cells of variant v that can run now. */
static size_t ready_cells(run *r, size_t v, bl_plan_cell **out, bool *open)
{
    size_t n = 0;
    for (size_t i = 0; i < r->plan->n_cells; i++) {
        bl_plan_cell *c = &r->plan->cell[i];
        if (c->variant != v || look(r, i)) continue;
        *open = true;
        if (base_is_settled(r, c)) out[n++] = c;
    }
    return n;
}

static bl_status all_variants(run *r, bl_err *e)
{
    bl_status st = BL_OK;
    bl_plan_cell **cell = bl_new(r->plan->n_cells, sizeof *cell, e);
    bool open = true, *finished = bl_new(r->plan->n_variants, sizeof *finished, e);

    if (!cell || !finished) {
        st = BL_E_NOMEM;
        goto out;
    }
    while (open && !r->interrupted) {
        bool moved = false;
        open = false;
        for (size_t v = 0; v < r->plan->n_variants && !r->interrupted; v++) {
            bl_lock *lock = NULL;
            char hex[33];
            bool mine = false;
            if (finished[v]) continue;
            size_t n = ready_cells(r, v, cell, &mine);
            finished[v] = !mine;
            open |= mine;
            if (n == 0) continue;
            bl_hash_hex(r->plan->variant[v].hash, hex);
            char *path = bl_format_text(e, "%s/.lock-%s", r->spec->out, hex);
            if (!path) {
                st = BL_E_NOMEM;
                goto out;
            }
            st = bl_lock_take(path, &lock, e);
            bl_free(path);
            if (st == BL_E_BUSY) {
                st = BL_OK;
                continue;
            }
            if (st != BL_OK) goto out;
            mine = false;
            n = ready_cells(r, v, cell, &mine); /* again, now that nobody else can change it */
            for (size_t i = 0; i < n; i++) set_corrupt_aside(r, cell[i]);
            if (n > 0) {
                st = run_child(r, cell, n, e);
                moved = true;
            }
            bl_lock_free(lock);
            if (st != BL_OK) goto out;
        }
        if (open && !moved && !r->interrupted) {
            if (bl_interrupted()) r->interrupted = true;
            nanosleep(&(struct timespec){.tv_nsec = 100000000}, NULL);
        }
    }
out:
    bl_free(cell);
    bl_free(finished);
    return st;
}

static void n_a_cells(run *r)
{
    for (size_t i = 0; i < r->plan->n_cells; i++) {
        bl_plan_cell *c = &r->plan->cell[i];
        if (c->state == BL_CELL_DONE) {
            r->settled[i] = true;
            r->progress.finished++;
        }
        if (c->state != BL_CELL_NA) continue;
        char said[400];
        bl_run_note_failure(r->plan, c, "n/a", c->reason);
        snprintf(said, sizeof said, "n/a: %s", c->reason);
        settle(r, c, said, true);
    }
}

bl_status bl_run_study(const bl_program *p, const bl_spec *s, const bl_run_opts *o, int *exit_code, bl_err *e)
{
    bl_status st = BL_OK;
    run r = {
        .spec = s,
        .opts = o,
    };
    bl_plan *plan = NULL;
    bl_text json = {0};
    double estimate = 0;
    char *path = NULL;

    if (!s->out) return bl_fail(e, BL_E_CONFIG, "no output directory; give --out DIR or \"out\"");
    clock_gettime(CLOCK_REALTIME_COARSE, &r.began); /* the clock of file times */
    BL_TRY(bl_plan_make(p, s, &o->plan, &plan, e));
    BL_TRY(bl_dir_usable(s->out, e));
    bl_clean_temps(s->out);
    r.plan = plan;
    if (!(r.settled = bl_new(plan->n_cells, sizeof *r.settled, e))) {
        st = BL_E_NOMEM;
        goto out;
    }
    BL_TRY(bl_plan_json(plan, &json, e));
    if (!(path = bl_join(s->out, "plan.json", e))) {
        st = BL_E_NOMEM;
        goto out;
    }
    BL_TRY(bl_write_file(path, json.s, json.n, e));
    for (size_t i = 0; i < plan->n_cells; i++)
        if (plan->cell[i].state == BL_CELL_OPEN || plan->cell[i].state == BL_CELL_FAILED)
            estimate += plan->cell[i].seconds;
    bl_progress_begin(&r.progress, plan->n_cells, estimate, o->quiet);
    r.now_since = bl_now();
    n_a_cells(&r);
    st = all_variants(&r, e);
    bl_progress_end(&r.progress);
    if (st != BL_OK) goto out;
    *exit_code = r.interrupted ? 130 : r.n_failed ? 1 : 0;
    if (r.interrupted) fprintf(stderr, "bitladder: interrupted; run the same command again to continue\n");
    else if (r.n_failed)
        fprintf(stderr, "bitladder: %zu of %zu cells failed; see them with: bitladder table %s --failed\n", r.n_failed,
                plan->n_cells, s->out);
    else if (!o->quiet) fprintf(stderr, "all %zu cells are done; next: bitladder table %s\n", plan->n_cells, s->out);
out:
    bl_free(path);
    bl_free(r.settled);
    bl_text_free(&json);
    bl_plan_free(plan);
    return st;
}
