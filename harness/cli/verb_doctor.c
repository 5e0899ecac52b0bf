/* verb_doctor.c - what this machine has: program, libraries, processor, gnuplot, data. */
#include "help.h"
#include "session.h"
#include "kernels/base/fs.h"
#include "harness/data/sources.h"
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

typedef struct opts {
    bl_cli_common common;
    const char *data;
} opts;
static const bl_opt rows[] = {{"data", BL_OPT_TEXT, .at = offsetof(opts, data), .arg = "DIR",
                               .doc = "where data sets are, before BITLADDER_DATA"},
                              BL_COMMON_ROWS(opts, common),
                              {0}};

typedef struct report {
    bl_text t;
    bool json;
    int n;
} report;
static void line(report *r, const char *key, const char *value)
{
    if (r->json) {
        bl_text_addf(&r->t, "%s\"%s\": ", r->n++ ? ", " : "", key);
        bl_json_put_str(&r->t, value, strlen(value));
    } else bl_text_addf(&r->t, "%-12s %s\n", key, value);
}

/* First directory of PATH that has the program. */
static bool on_path(const char *name, char out[4096])
{
    const char *path = getenv("PATH");
    for (const char *p = path; p && *p; p += strcspn(p, ":"), p += *p == ':') {
        snprintf(out, 4096, "%.*s/%s", (int)strcspn(p, ":"), p, name);
        if (access(out, X_OK) == 0) return true;
    }
    return false;
}

static bl_status run(const bl_program *p, const void *options, const bl_args *args, int *exit_code, bl_err *e)
{
    bl_status st = BL_OK;
    const opts *o = options;
    report r = {.json = o->common.json};
    bl_text version = {0};
    bl_backend *be = NULL;
    bl_device_info f = {0};
    bl_data_dirs dirs = {0};
    bl_arena *a = NULL;
    char buf[4096], text[4600];
    (void)args;
    (void)exit_code;

    BL_TRY(bl_arena_new(&a, e));
    if (r.json) bl_text_add(&r.t, "{");
    bl_help_version(&version);
    BL_TRY(bl_text_check(&version, e));
    for (char *s = version.s; s && *s;) { /* one entry a line */
        char *end = strchr(s, '\n');
        if (end) *end = 0;
        line(&r, s == version.s ? "program" : strncmp(s, "HDF5", 4) == 0 ? "libraries" : "BLAS", s);
        s = end ? end + 1 : NULL;
        if (!s) break;
    }
    BL_TRY(bl_backend_open(&(bl_backend_opts){.device = "cpu", .threads = (int)o->common.threads}, &be, e));
    be->ops->device_info(be, &f);
    snprintf(text, sizeof text, "%s, %s, %d threads, %.1f GiB of memory", f.name, f.simd, f.threads,
             (double)f.memory_bytes / (1 << 30));
    line(&r, "device", text);
#if BL_HAVE_BENCHMARK
    line(&r, "bench", "Google Benchmark is built in");
#else
    line(&r, "bench", "built without Google Benchmark (package libbenchmark-dev): kernels cannot be timed");
#endif
    line(&r, "gnuplot",
         on_path("gnuplot", buf) ? buf : "not found (package gnuplot-nox): plots leave data and script only");
    snprintf(text, sizeof text, "%.1f GB free in the current directory", (double)bl_disk_free(".") / 1e9);
    line(&r, "disk", text);
    line(&r, "data", getenv("BITLADDER_DATA") ? getenv("BITLADDER_DATA") : "BITLADDER_DATA is not set");
    if (o->data) dirs.dir[dirs.n++] = o->data;
    if (r.json) {
        bl_text_add(&r.t, ", \"tasks\": {");
        r.n = 0;
    }
    for (size_t i = 0; p->tasks[i]; i++)
        for (size_t j = 0; p->tasks[i]->names[j]; j++) {
            bl_task_data d = {.arena = a};
            bl_err why = {0};
            void *topts = bl_alloc(a, 1, p->tasks[i]->opts_size ? p->tasks[i]->opts_size : 1, e);
            if (!topts) {
                st = BL_E_NOMEM;
                goto out;
            }
            if (p->tasks[i]->opts) bl_opt_defaults(p->tasks[i]->opts, topts);
            bl_status s = p->tasks[i]->load(
                &(bl_task_load){.name = p->tasks[i]->names[j], .opts = topts, .dirs = &dirs}, &d, &why);
            if (s != BL_OK) snprintf(text, sizeof text, "%s", why.text);
            else if (d.n >= 0) snprintf(text, sizeof text, "%lld items, %s", (long long)d.n, d.path ? d.path : "");
            else snprintf(text, sizeof text, "%zu bytes of text, %s", d.n_stream, d.path ? d.path : "");
            if (r.json) line(&r, p->tasks[i]->names[j], text);
            else bl_text_addf(&r.t, "  %-20s %s\n", p->tasks[i]->names[j], text);
        }
    if (r.json) bl_text_add(&r.t, "}}\n");
    BL_TRY(bl_output(NULL, &r.t, e));
out:
    bl_backend_close(be);
    bl_text_free(&version);
    bl_text_free(&r.t);
    bl_arena_free(a);
    return st;
}

const bl_verb bl_verb_doctor = {
    .name = "doctor",
    .args = "",
    .line = "what this machine has: libraries, processor, gnuplot, data sets",
    .example = "bitladder doctor",
    .opts = rows,
    .opts_size = sizeof(opts),
    .max_args = 0,
    .run = run,
};
