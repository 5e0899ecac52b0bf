/* verb_doctor.c - what this machine has: program, libraries, processor, gnuplot, data. */
#include "found.h"
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
    bl_json_out *json; /* NULL: as text */
} report;
static void line(report *r, const char *key, const char *value)
{
    if (r->json) bl_json_add_str(r->json, key, value);
    else bl_text_addf(&r->t, "%-12s %s\n", key, value);
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

static bl_status program(report *r, bl_err *e)
{
    bl_text version = {0};
    bl_help_version(&version);
    bl_status st = bl_text_check(&version, e);
    for (char *s = version.s; st == BL_OK && s && *s;) { /* one entry a line */
        char *end = strchr(s, '\n');
        if (end) *end = 0;
        line(r, s == version.s ? "program" : strncmp(s, "HDF5", 4) == 0 ? "libraries" : "BLAS", s);
        s = end ? end + 1 : NULL;
    }
    bl_text_free(&version);
    return st;
}

static bl_status machine(report *r, int threads, const char *data, bl_err *e)
{
    bl_status st = BL_OK;
    char buf[4096], text[256], name[32];

    for (int i = 0; bl_device_at(i, name); i++) {
        bl_err why = {0};
        line(r, i ? name : "device", bl_device_facts(name, threads, text, &why) == BL_OK ? text : why.text);
    }
    BL_TRY(bl_device_check(NULL, e));
#if BL_HAVE_BENCHMARK
    line(r, "bench", "Google Benchmark is built in");
#else
    line(r, "bench", "built without Google Benchmark (package libbenchmark-dev): kernels cannot be timed");
#endif
    line(r, "gnuplot",
         on_path("gnuplot", buf) ? buf : "not found (package gnuplot-nox): plots leave data and script only");
    snprintf(text, sizeof text, "%.1f GB free in the current directory", (double)bl_disk_free(".") / 1e9);
    line(r, "disk", text);
    if (data) line(r, "data", data);
    else line(r, "data", getenv("BITLADDER_DATA") ? getenv("BITLADDER_DATA") : "BITLADDER_DATA is not set");
out:
    return st;
}

/* Names side by side: what is missing is no more than a few lines. */
static void put_absent(bl_text *t, const char *name)
{
    const char *last = t->n ? strrchr(t->s, '\n') : NULL;
    size_t column = t->n ? strlen(last ? last + 1 : t->s) + (last ? 0 : 13) : 0;
    if (t->n && column + 2 + strlen(name) > 79) bl_text_add(t, ",\n             ");
    else if (t->n) bl_text_add(t, ", ");
    bl_text_add(t, name);
}

static bl_status tasks(const bl_program *p, report *r, const char *data, bl_err *e)
{
    bl_status st = BL_OK;
    bl_arena *a = NULL;
    bl_data_dirs dirs;
    size_t there = 0, all = 0;
    bl_text absent = {0};

    BL_TRY(bl_data_option(data, &dirs, e));
    BL_TRY(bl_arena_new(&a, e));
    for (size_t i = 0; p->tasks[i]; i++)
        for (size_t j = 0; p->tasks[i]->names[j]; j++) {
            const char *name = p->tasks[i]->names[j];
            bl_found f;
            char text[64];
            BL_TRY(bl_task_found(p->tasks[i], name, &dirs, a, &f, e));
            bl_found_text(&f, text);
            all++;
            there += f.path != NULL;
            if (!r->json && f.path) bl_text_addf(&r->t, "  %-24s %-20s %s\n", name, text, f.path);
            else if (!r->json) put_absent(&absent, name);
            if (!r->json) continue;
            bl_json_object(r->json, name);
            bl_json_add_bool(r->json, "here", f.path != NULL);
            if (f.path && f.items >= 0) bl_json_add_int(r->json, "items", f.items);
            if (f.path && f.items < 0) bl_json_add_int(r->json, "bytes", (int64_t)f.bytes);
            bl_json_add_str(r->json, f.path ? "path" : "reason", f.path ? f.path : f.why);
            bl_json_end(r->json);
        }
    if (!r->json) {
        if (absent.n) bl_text_addf(&r->t, "not here     %s\n", absent.s);
        bl_text_addf(&r->t, "%-12s %zu of %zu are here; where the files of one are looked for: bitladder show TASK\n",
                     "tasks", there, all);
        st = bl_text_check(&absent, e);
    }
out:
    bl_text_free(&absent);
    bl_arena_free(a);
    return st;
}

static bl_status run(const bl_program *p, const void *options, const bl_args *args, int *exit_code, bl_err *e)
{
    bl_status st = BL_OK;
    const opts *o = options;
    report r = {0};
    bl_json_out json = {.t = &r.t};
    (void)args;
    (void)exit_code;

    if (o->common.json) {
        r.json = &json;
        bl_json_object(&json, NULL);
    }
    BL_TRY(program(&r, e));
    BL_TRY(machine(&r, (int)o->common.threads, o->data, e));
    if (r.json) bl_json_object(&json, "tasks");
    BL_TRY(tasks(p, &r, o->data, e));
    if (r.json) {
        bl_json_end(&json);
        bl_json_end(&json);
        bl_text_add(&r.t, "\n");
    }
    BL_TRY(bl_output(NULL, &r.t, e));
out:
    bl_text_free(&r.t);
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
