/* cli.c - finds the verb, reads its options, runs it, turns a failure into one sentence and an exit code. */
#include "cli.h"
#include "help.h"
#include "session.h"
#include "kernels/base/fs.h"
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static const bl_verb *find(const char *name)
{
    for (size_t i = 0; bl_verbs[i]; i++)
        if (strcmp(bl_verbs[i]->name, name) == 0) return bl_verbs[i];
    return NULL;
}

static int unknown_verb(const char *name)
{
    const char *names[64];
    size_t n = 0;
    for (size_t i = 0; bl_verbs[i] && n < BL_COUNT(names) - 1; i++)
        if (!bl_verbs[i]->hidden) names[n++] = bl_verbs[i]->name;
    names[n] = NULL;
    const char *near = bl_nearest(name, names);
    if (near) fprintf(stderr, "bitladder: no verb '%s'; did you mean %s?\n", name, near);
    else fprintf(stderr, "bitladder: no verb '%s'; see: bitladder --help\n", name);
    return 2;
}

/* Prints and frees; returns an exit code. */
static int print(bl_text *t, int code)
{
    bl_err e = {0};
    bl_status st = bl_output(NULL, t, &e);
    if (st == BL_OK && fflush(stdout) != 0) st = bl_output_failed(&e);
    bl_text_free(t);
    if (st == BL_OK) return code;
    fprintf(stderr, "bitladder: %s\n", e.text);
    return bl_exit_code(st);
}

const char *const bl_cli_log_levels[] = {"error", "warning", "info", "debug", NULL}; /* in the order of bl_log_level */

bl_log_level bl_cli_log_level(const bl_cli_common *c)
{
    return c->verbose ? (bl_log_level)BL_MAX(c->log, BL_LOG_INFO) : (bl_log_level)c->log;
}

/* The rows that all verbs share, wherever a verb keeps them. */
static void set_log_level(const bl_verb *v, const void *opts)
{
    const bl_opt *json = bl_opt_find(v->opts, "json");
    if (!json || !bl_opt_find(v->opts, "log-level")) return;
    const void *common = (const char *)opts + json->at - offsetof(bl_cli_common, json);
    bl_log_set(bl_cli_log_level(common));
}

static int run_verb(const bl_program *p, const bl_verb *v, int argc, char **argv)
{
    bl_status st = BL_OK;
    bl_err e = {0};
    bl_args args = {0};
    int code = 0;
    void *opts = bl_new(1, v->opts_size ? v->opts_size : 1, &e);

    if (!opts) {
        st = BL_E_NOMEM;
        goto out;
    }
    bl_opt_defaults(v->opts, opts);
    BL_TRY(bl_opt_parse(v->opts, opts, argc, argv, &args, &e));
    if (args.help) {
        bl_text t = {0};
        bl_help_verb(v, &t);
        code = print(&t, 0);
        goto out;
    }
    if ((int)args.n_pos < v->min_args) {
        st = bl_fail(&e, BL_E_CONFIG, "%s needs %s; see: bitladder %s --help", v->name, v->args, v->name);
        goto out;
    }
    if (v->max_args >= 0 && (int)args.n_pos > v->max_args) {
        st = bl_fail(&e, BL_E_CONFIG, "%s: '%s' is one argument too many; see: bitladder %s --help", v->name,
                     args.pos[v->max_args], v->name);
        goto out;
    }
    set_log_level(v, opts);
    st = v->run(p, opts, &args, &code, &e);
out:
    if (fflush(stdout) != 0 && st == BL_OK) st = bl_output_failed(&e);
    if (st != BL_OK) {
        fprintf(stderr, "bitladder: %s\n", e.text[0] ? e.text : bl_status_name(st));
        code = bl_exit_code(st);
    }
    bl_args_free(&args);
    bl_free(opts);
    return code;
}

/* OpenMP reads how its threads wait before main runs, and malloc which pages it asks for, so a verb that computes
 * starts the program once more with the answers; children find them in their environment. Spinning for milliseconds,
 * the default, is several times slower as soon as anything else runs on the machine; a few microseconds keep decoding
 * quick. A weight in large pages is read half as fast again: those of up to 32 MiB come from the heap, which grows in
 * large pages, larger ones have their own. */
static void start_prepared(const bl_verb *v, char **argv)
{
    if (getenv("OMP_WAIT_POLICY") || getenv("GOMP_SPINCOUNT")) return;
    if (setenv("GLIBC_TUNABLES",
               "glibc.malloc.hugetlb=1:glibc.malloc.mmap_threshold=33554432:glibc.malloc.top_pad=16777216", 0) == 0 &&
        setenv("OMP_WAIT_POLICY", "passive", 1) == 0 && setenv("GOMP_SPINCOUNT", "3000", 1) == 0 && v->computes)
        execv("/proc/self/exe", argv);
}

int bl_cli_main(const bl_program *p, int argc, char **argv)
{
    bl_text t = {0};
    bl_process_init();
    const char *name = argc > 1 ? argv[1] : "";
    if (argc < 2) {
        bl_help_all(&t);
        fputs(t.s ? t.s : "", stderr);
        bl_text_free(&t);
        return 2;
    }
    if (strcmp(name, "--help") == 0 || strcmp(name, "-h") == 0 || (strcmp(name, "help") == 0 && argc == 2)) {
        bl_help_all(&t);
        return print(&t, 0);
    }
    if (strcmp(name, "--version") == 0 || strcmp(name, "-V") == 0) {
        bl_help_version(&t);
        return print(&t, 0);
    }
    if (strcmp(name, "help") == 0) {
        const bl_verb *v = find(argv[2]);
        if (!v) return unknown_verb(argv[2]);
        bl_help_verb(v, &t);
        return print(&t, 0);
    }
    const bl_verb *v = find(name);
    if (!v) return unknown_verb(name);
    start_prepared(v, argv);
    return run_verb(p, v, argc - 2, argv + 2);
}
