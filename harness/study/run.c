/* run.c - the parent: plans, locks a variant, starts its child, shows progress, handles signals. It never touches a
 * device. */
#include "run.h"
#include "plan_impl.h"
#include "kernels/base/fs.h"
#include "results/cell.h"
#include "cell_run.h"
#include "job.h"
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
    bool *closed;     /* [cells] done, n/a, or tried in this run */
    uint64_t *looked; /* [cells] the round in which the directory was asked about it last */
    uint64_t round;   /* over the variants; a cell is looked up once a round at most */
    size_t n_failed, n_na;
    struct timespec began;
    bl_plan_cell *const *cell; /* those of the child that runs */
    size_t n_cells;
    bl_plan_cell *now; /* the one it works on */
    double now_since;
    double had;      /* share of it that an earlier run did; below 0: not known yet */
    bool quantizing; /* the child makes its variant */
    bool *settled;   /* [variants] there is one, or it was made in this run */
    bl_text stop;    /* why nothing more can be done here: no room on the disk, no device */
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
                         .limit = s->task[c->task].limit,
                         .sample = s->task[c->task].sample,
                         .task_version = s->task[c->task].task->version,
                         .group_text = group_text};
    if (bl_failure_write(s->out, c->file, &f, &e) != BL_OK)
        bl_log(BL_LOG_WARN, "%s: the failure could not be noted: %s", c->key, e.text);
}

/* ---- one child ---- */

/* Writes the job. A child that is gone already is no reason to end: its exit code tells. */
static void give(int fd, const bl_text *job)
{
    void (*before)(int) = signal(SIGPIPE, SIG_IGN);
    for (size_t at = 0; at < job->n;) {
        ssize_t k = write(fd, job->s + at, job->n - at);
        if (k < 0 && errno == EINTR) continue;
        if (k <= 0) break;
        at += (size_t)k;
    }
    signal(SIGPIPE, before);
}

static bl_status spawn(const run *r, pid_t *pid, int *events, bl_err *e)
{
    bl_status st = BL_OK;
    int in[2] = {-1, -1}, out[2] = {-1, -1}, err;
    bl_text job = {0};
    char parent[32];
    char *const argv[] = {(char *)(uintptr_t)r->opts->program, (char *)(uintptr_t) "internal",
                          (char *)(uintptr_t) "variant", parent, NULL};
    posix_spawn_file_actions_t files;
    posix_spawnattr_t attr;

    posix_spawn_file_actions_init(&files);
    posix_spawnattr_init(&attr);
    BL_TRY(bl_job_print(r->plan, r->cell, r->n_cells, r->opts->log, &job, e));
    if (pipe2(in, O_CLOEXEC) != 0 || pipe2(out, O_CLOEXEC) != 0) {
        st = bl_fail(e, BL_E_IO, "pipe: %s", strerror(errno));
        goto out;
    }
    snprintf(parent, sizeof parent, "%ld", (long)getpid());
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
    give(in[1], &job);
    *events = out[0];
    out[0] = -1;
out:
    for (int i = 0; i < 2; i++) {
        if (in[i] >= 0) close(in[i]);
        if (out[i] >= 0) close(out[i]);
    }
    posix_spawn_file_actions_destroy(&files);
    posix_spawnattr_destroy(&attr);
    bl_text_free(&job);
    return st;
}

static size_t index_of(const run *r, const bl_plan_cell *c) { return (size_t)(c - r->plan->cell); }

/* Nothing more is done about this cell. */
static void close_cell(run *r, const bl_plan_cell *c, const char *what, bl_cell_state state)
{
    size_t i = index_of(r, c);
    double s = bl_now() - r->now_since, had = r->now == c && r->had > 0 ? r->had : 0;
    if (r->closed[i]) return;
    r->closed[i] = true;
    if (c->state == BL_CELL_OPEN || c->state == BL_CELL_FAILED) {
        bool worked = state == BL_CELL_DONE && r->now == c;
        bl_progress_did(&r->progress, worked ? (1 - had) * c->seconds : 0, worked ? had * c->seconds : c->seconds);
    }
    r->n_failed += state == BL_CELL_FAILED;
    r->n_na += state == BL_CELL_NA;
    bl_log(BL_LOG_INFO, "cell=%s status=%s s=%.2f said=\"%s\"", c->key, bl_cell_states[state], s, what);
    bl_progress_cell(&r->progress, c->key, what, state == BL_CELL_NA ? -1 : s);
    r->now_since = bl_now();
}

/* The variant is there: what it was estimated to take is done, or saved. */
static void settle(run *r, const bl_plan_variant *v)
{
    bool *settled = &r->settled[v - r->plan->variant];
    if (*settled) return;
    *settled = true;
    bl_progress_did(&r->progress, r->quantizing ? v->seconds : 0, r->quantizing ? 0 : v->seconds);
    r->quantizing = false;
}

/* What the child does before its first cell. */
static void show_variant(run *r, const char *how, double part)
{
    const bl_plan_variant *v = &r->plan->variant[r->cell[0]->variant];
    char what[400];
    snprintf(what, sizeof what, "%s/%s", r->plan->model[v->model].name, r->spec->method[v->method].text);
    bl_progress_now(&r->progress, what, how, part * v->seconds);
}

static void show_cell(run *r, const bl_plan_cell *c, double done, int64_t all, double rate)
{
    char how[96];
    bool generates = r->plan->task[c->task].first.kind == BL_ASK_GENERATE;
    double share = all > 0 ? done / (double)all : 0;
    int n;

    if (r->had < 0) r->had = share;
    n = snprintf(how, sizeof how, "%s %lld/%lld", generates ? "generating" : "scoring", (long long)done,
                 (long long)all);
    if (rate > 0) snprintf(how + n, sizeof how - (size_t)n, ", %.0f tokens/s", rate);
    bl_progress_now(&r->progress, c->key, how, (share - r->had) * c->seconds);
}

/* One line of the child. */
static void heard(run *r, char *line, bl_text *error)
{
    bl_json *doc = NULL;
    const char *what = "", *text = NULL;
    int64_t all = 0, i = -1;
    double done = 0, rate = 0;
    char said[400];

    if (bl_json_parse(line, strlen(line), "child", BL_JSON_PLAIN, &doc, NULL) != BL_OK) return;
    bl_json_get_str(doc, "event", &what, NULL);
    if (bl_json_get(doc, "cell")) bl_json_get_int(doc, "cell", &i, NULL);
    if (bl_json_get(doc, "all")) {
        bl_json_get_real(doc, "done", &done, NULL);
        bl_json_get_int(doc, "all", &all, NULL);
        bl_json_get_real(doc, "rate", &rate, NULL);
    }
    bl_plan_cell *c = i >= 0 && (size_t)i < r->n_cells ? r->cell[i] : NULL;
    if (strcmp(what, "start") == 0 && c) {
        settle(r, &r->plan->variant[c->variant]);
        r->now = c;
        r->now_since = bl_now();
        r->had = -1;
    }
    if (strcmp(what, "doing") == 0 && bl_json_get_str(doc, "what", &text, NULL) == BL_OK) show_variant(r, text, 0);
    if (strcmp(what, "progress") == 0 && c) show_cell(r, c, done, all, rate);
    if (strcmp(what, "quantize") == 0 && bl_json_get_str(doc, "line", &text, NULL) == BL_OK) {
        r->quantizing = true;
        show_variant(r, text, all > 0 ? done / (double)all : 0);
    }
    if (strcmp(what, "done") == 0 && c) {
        bl_json_get_str(doc, "headline", &text, NULL);
        snprintf(said, sizeof said, "%s", text ? text : "done");
        close_cell(r, c, said, BL_CELL_DONE);
        r->now = NULL;
    }
    if (strcmp(what, "failed") == 0 && c) {
        bl_json_get_str(doc, "reason", &text, NULL);
        snprintf(said, sizeof said, "failed: %s", text ? text : "");
        close_cell(r, c, said, BL_CELL_FAILED);
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
        const bool asked = bl_interrupted() && !r->interrupted;
        int n = poll(&p, 1, asked ? 0 : 200);
        if (asked && n == 0) { /* all that was said before is heard */
            r->interrupted = true;
            kill(pid, SIGINT);
            bl_progress_note(&r->progress, "interrupted: %s (again: at once)",
                             r->now          ? "finishing the pass that is running and keeping its samples"
                             : r->quantizing ? "the model that is being made is given up"
                                             : "ending");
        }
        if (n <= 0) {
            bl_progress_draw(&r->progress);
            continue;
        }
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
    size_t closed = 0;

    r->cell = cell;
    r->n_cells = n;
    r->now = NULL;
    r->now_since = bl_now();
    r->quantizing = false;
    show_variant(r, "opening", 0);
    BL_TRY(spawn(r, &pid, &fd, e));
    listen_to(r, pid, fd, &error);
    close(fd);
    while (waitpid(pid, &status, 0) < 0 && errno == EINTR) {}
    settle(r, &r->plan->variant[cell[0]->variant]);
    if (r->interrupted || (WIFEXITED(status) && WEXITSTATUS(status) == 130)) {
        r->interrupted = true;
        goto out;
    }
    if (WIFEXITED(status) && WEXITSTATUS(status) == 4) {
        bl_text_add(&r->stop, error.s ? error.s : "the disk or the device is unusable");
        goto out;
    }
    if (WIFSIGNALED(status))
        snprintf(reason, sizeof reason, "its process was ended by signal %d (%s)", WTERMSIG(status),
                 strsignal(WTERMSIG(status)));
    else if (error.n) snprintf(reason, sizeof reason, "%s", error.s);
    else snprintf(reason, sizeof reason, "its process ended with exit code %d", WEXITSTATUS(status));
    /* The running cell. Where none was, the others are for another process, if this one closed any: else they are lost
     * too, so that nothing is tried for ever. */
    for (size_t i = 0; i < n; i++) closed += r->closed[index_of(r, cell[i])];
    for (size_t i = 0; i < n; i++) {
        if (r->now ? cell[i] != r->now : closed > 0) continue;
        if (r->closed[index_of(r, cell[i])]) continue;
        char said[600];
        if (bl_plan_look(r->plan, cell[i], NULL) == BL_CELL_DONE) {
            close_cell(r, cell[i], "done", BL_CELL_DONE);
            continue;
        }
        bl_run_note_failure(r->plan, cell[i], "failed", reason);
        snprintf(said, sizeof said, "failed: %s", reason);
        close_cell(r, cell[i], said, BL_CELL_FAILED);
    }
out:
    bl_text_free(&error);
    return st;
}

/* ---- the matrix ---- */

enum { SHORT_PAUSE = 50000000, LONG_PAUSE = 800000000 }; /* nanoseconds, between looks at what others do */

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

/* Whether this cell is closed; the directory is asked, once a round, what somebody else has done since this run began.
 */
static bool look(run *r, const bl_plan_cell *c)
{
    size_t i = index_of(r, c);
    if (r->closed[i] || r->looked[i] == r->round) return r->closed[i];
    r->looked[i] = r->round;
    if (r->opts->n_looks) ++*r->opts->n_looks;
    bl_cell_state state = bl_plan_look(r->plan, c, NULL);
    if (state == BL_CELL_FAILED) {
        struct stat sb;
        char *path = bl_format_text(NULL, "%s/%s.failed.json", r->spec->out, c->file);
        if (path && stat(path, &sb) == 0 && later(&sb.st_mtim, &r->began)) {
            r->closed[i] = true;
            r->n_failed++;
            bl_progress_did(&r->progress, 0, c->seconds);
            bl_progress_cell(&r->progress, c->key, "failed in another run", -1);
        }
        bl_free(path);
    } else if (state == BL_CELL_DONE) {
        r->closed[i] = true;
        bl_progress_did(&r->progress, 0, c->seconds);
        bl_progress_cell(&r->progress, c->key, "done", -1);
    }
    return r->closed[i];
}

static bool waits(run *r, const bl_plan_cell *c) { return c->base && c->base->planned && !look(r, c->base); }

/* As far as this run knows, without asking for the variant's own cells: some are open, some of those could start. */
static void known(run *r, const bl_plan_variant *v, bool *open, bool *could)
{
    *open = *could = false;
    for (size_t i = v->first; i < v->first + v->n_cells && !*could; i++) {
        if (r->closed[i]) continue;
        *open = true;
        *could = !waits(r, &r->plan->cell[i]);
    }
}

/* Runs what can run of one variant. *open: there is more to do; *moved: something was done. */
static bl_status one_variant(run *r, const bl_plan_variant *v, bl_plan_cell **cell, bool *open, bool *moved, bl_err *e)
{
    bl_status st = BL_OK;
    bl_lock *lock = NULL;
    char hex[33];
    bool could;
    size_t n = 0;

    known(r, v, open, &could);
    if (!could) return BL_OK;
    bl_hash_hex(v->hash, hex);
    char *path = bl_format_text(e, "%s/.lock-%s", r->spec->out, hex);
    if (!path) return BL_E_NOMEM;
    st = bl_lock_take(path, &lock, e);
    bl_free(path);
    if (st != BL_OK) return st == BL_E_BUSY ? BL_OK : st;
    r->round++; /* nobody else can change it now */
    for (size_t i = v->first; i < v->first + v->n_cells; i++) {
        bl_plan_cell *c = &r->plan->cell[i];
        if (!look(r, c) && !waits(r, c)) cell[n++] = c;
    }
    for (size_t i = 0; i < n; i++) set_corrupt_aside(r, cell[i]);
    if (n > 0) {
        st = run_child(r, cell, n, e);
        *moved = true;
    }
    known(r, v, open, &could);
    bl_lock_free(lock);
    return st;
}

/* Base variants first, since the others wait for them. */
static void in_turn(const bl_plan *p, size_t *variant)
{
    size_t n = 0;
    for (int base = 1; base >= 0; base--)
        for (size_t v = 0; v < p->n_variants; v++)
            if (p->variant[v].base == base) variant[n++] = v;
}

static bl_status all_variants(run *r, bl_err *e)
{
    bl_status st = BL_OK;
    size_t n = r->plan->n_variants, *left = bl_new(n, sizeof *left, e);
    bl_plan_cell **cell = bl_new(r->plan->spec->n_tasks, sizeof *cell, e);

    if (!cell || !left) {
        st = BL_E_NOMEM;
        goto out;
    }
    in_turn(r->plan, left);
    for (long pause = SHORT_PAUSE; n > 0 && !r->interrupted && !r->stop.n;) {
        bool moved = false;
        size_t kept = 0;
        r->round++;
        for (size_t i = 0; i < n; i++) {
            bool open = false;
            if (!r->interrupted && !r->stop.n)
                BL_TRY(one_variant(r, &r->plan->variant[left[i]], cell, &open, &moved, e));
            if (open) left[kept++] = left[i];
        }
        n = kept;
        if (moved) pause = SHORT_PAUSE;
        else if (n > 0 && !r->interrupted && !r->stop.n) { /* others work on them */
            if (bl_interrupted()) r->interrupted = true;
            nanosleep(&(struct timespec){.tv_nsec = pause}, NULL);
            pause = BL_MIN(2 * pause, LONG_PAUSE);
        }
    }
out:
    bl_free(cell);
    bl_free(left);
    return st;
}

static void n_a_cells(run *r)
{
    for (size_t i = 0; i < r->plan->n_cells; i++) {
        bl_plan_cell *c = &r->plan->cell[i];
        if (c->state == BL_CELL_DONE) r->closed[i] = true;
        if (c->state != BL_CELL_NA) continue;
        char said[400];
        bl_run_note_failure(r->plan, c, "n/a", c->reason);
        snprintf(said, sizeof said, "n/a: %s", c->reason);
        close_cell(r, c, said, BL_CELL_NA);
    }
}

static void drop(const bl_plan *p, const char *file, const char *ending, const char *of)
{
    char *path = file ? bl_format_text(NULL, "%s/%s%s", p->spec->out, file, ending) : NULL;
    if (path && unlink(path) == 0) bl_log(BL_LOG_INFO, "removed=%s superseded_by=%s", path, of);
    bl_free(path);
}

static bool is_there(const bl_plan *p, const char *file, const char *ending)
{
    char *path = bl_format_text(NULL, "%s/%s%s", p->spec->out, file, ending);
    bool there = path && bl_exists(path);
    bl_free(path);
    return there;
}

/* What nobody needs any more: what earlier versions called the same cells, since two rows of one method are never left;
 * and, of a cell that is done, what a run left that was killed between its shard and its end. */
static void drop_superseded(const bl_plan *p)
{
    static const char *const row[] = {".h5", ".failed.json"}, *const beside[] = {BL_CELL_JOURNAL, BL_CELL_DISTANCES,
                                                                                 ".failed.json"};
    for (size_t i = 0; i < p->n_cells; i++) {
        const bl_plan_cell *c = &p->cell[i];
        if (!bl_plan_has_shard(p, c)) continue;
        for (size_t k = 0; k < BL_COUNT(c->superseded) * BL_COUNT(row); k++)
            drop(p, c->superseded[k / BL_COUNT(row)], row[k % BL_COUNT(row)], c->file);
        for (size_t k = 0; k < BL_COUNT(beside); k++)
            if (is_there(p, c->file, beside[k]) && bl_plan_look(p, c, NULL) == BL_CELL_DONE)
                drop(p, c->file, beside[k], c->file);
    }
}

/* Cells that nothing is there to be compared with. */
static void warn_of_no_base(const bl_plan *p)
{
    size_t n = 0;
    for (size_t i = 0; i < p->n_cells && p->spec->base_after && !p->spec->no_kl; i++)
        n += !p->cell[i].base && !p->variant[p->cell[i].variant].base && p->cell[i].state != BL_CELL_NA;
    if (n)
        bl_log(BL_LOG_WARN,
               "%zu cell%s compared with nothing, since neither the study nor %s has a base; add base to the methods",
               n, n == 1 ? " is" : "s are", p->spec->out);
}

/* Cells whose number is better than that of a text nobody looked at. */
static void warn_of_seen_text(const bl_plan *p)
{
    size_t n = 0, first = 0;
    for (size_t i = p->n_cells; i-- > 0;) {
        const bl_plan_task *t = &p->task[p->cell[i].task];
        if (!t->there || p->cell[i].state == BL_CELL_NA || !bl_plan_saw(p, &p->cell[i], t->data.hash)) continue;
        first = i;
        n++;
    }
    if (n)
        bl_log(BL_LOG_WARN, "%zu cell%s calibrated on the text that is scored; the rows say so: %s", n,
               n == 1 ? " is" : "s are", p->cell[first].key);
}

bl_status bl_run_log(const char *out, bl_log_level level, bl_err *e)
{
    char *path = bl_join(out, "log.txt", e);
    bl_log_set(level);
    bl_status st = path ? bl_log_file(path, e) : BL_E_NOMEM;
    bl_free(path);
    return st;
}

bl_status bl_run_study(const bl_spec *s, const bl_run_opts *o, int *exit_code, bl_err *e)
{
    bl_status st = BL_OK;
    run r = {
        .spec = s,
        .opts = o,
    };
    bl_plan *plan = NULL;
    bl_text json = {0}, head = {0};
    bl_plan_todo todo;
    char *path = NULL;

    if (!s->out || !*s->out) return bl_fail(e, BL_E_CONFIG, "no output directory; give --out DIR or \"out\"");
    clock_gettime(CLOCK_REALTIME_COARSE, &r.began); /* the clock of file times */
    bl_progress_begin(&r.progress, 0, 0, 0, o->quiet);
    if (r.progress.tty && !o->quiet) fputs("planning: models, data, what is done already", stderr);
    BL_TRY(bl_plan_make(s, &o->plan, &plan, e));
    BL_TRY(bl_plan_any(plan, e));
    BL_TRY(bl_plan_room(plan, e));
    BL_TRY(bl_dir_usable(s->out, e));
    bl_clean_temps(s->out);
    r.plan = plan;
    BL_TRY(bl_run_log(s->out, o->log, e));
    if (!(r.closed = bl_new(plan->n_cells, sizeof *r.closed, e)) ||
        !(r.looked = bl_new(plan->n_cells, sizeof *r.looked, e)) ||
        !(r.settled = bl_new(plan->n_variants, sizeof *r.settled, e))) {
        st = BL_E_NOMEM;
        goto out;
    }
    BL_TRY(bl_plan_json(plan, &json, e));
    if (!(path = bl_join(s->out, "plan.json", e))) {
        st = BL_E_NOMEM;
        goto out;
    }
    BL_TRY(bl_write_file(path, json.s, json.n, e));
    todo = bl_plan_sum(plan);
    bl_log(BL_LOG_INFO, "run=%s cells=%zu variants=%zu device=%s numerics=%s", s->out, plan->n_cells, plan->n_variants,
           s->device ? s->device : "auto", plan->numerics);
    bl_progress_end(&r.progress);
    bl_progress_begin(&r.progress, plan->n_cells, todo.count[BL_CELL_DONE], todo.seconds, o->quiet);
    if (o->log >= BL_LOG_INFO) r.progress.tty = false; /* log lines, of children too, would be drawn over */
    bl_plan_head(plan, &head);
    bl_progress_note(&r.progress, "%s; results: %s", head.s ? head.s : "", s->out);
    r.now_since = bl_now();
    for (size_t v = 0; v < plan->n_variants; v++) r.settled[v] = plan->variant[v].peak_bytes == 0;
    n_a_cells(&r);
    warn_of_no_base(plan);
    warn_of_seen_text(plan);
    st = all_variants(&r, e);
    drop_superseded(plan);
    if (st == BL_OK && r.stop.n)
        st = bl_fail(e, BL_E_DISK, "stopped: %s; run the same command again to continue", r.stop.s);
    bl_progress_end(&r.progress);
    if (st != BL_OK) goto out;
    *exit_code = r.interrupted ? 130 : r.n_failed || r.n_na ? 1 : 0;
    if (r.interrupted) fprintf(stderr, "bitladder: interrupted; run the same command again to continue\n");
    else if (r.n_failed || r.n_na)
        fprintf(stderr, "bitladder: of %zu cells %zu failed, %zu n/a; see them with: bitladder table %s --failed\n",
                plan->n_cells, r.n_failed, r.n_na, s->out);
    else if (!o->quiet) {
        if (plan->n_cells == 1) fprintf(stderr, "the cell is");
        else fprintf(stderr, "all %zu cells are", plan->n_cells);
        fprintf(stderr, " done; next: bitladder table %s\n", s->out);
    }
out:
    bl_progress_end(&r.progress); /* of what was shown while planning, too */
    bl_text_free(&r.stop);
    bl_text_free(&head);
    bl_free(path);
    bl_free(r.closed);
    bl_free(r.looked);
    bl_free(r.settled);
    bl_text_free(&json);
    bl_plan_free(plan);
    bl_log_file(NULL, NULL);
    return st;
}
