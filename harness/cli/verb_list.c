/* verb_list.c - names of everything that is registered, one line each. */
#include "session.h"
#include "kernels/kernel.h"
#include "harness/data/sources.h"
#include "plots/plot.h"
#include <string.h>

typedef struct opts {
    bl_cli_common common;
} opts;
static const bl_opt rows[] = {BL_COMMON_ROWS(opts, common), {0}};

typedef struct list {
    bl_text t;
    bl_json_out *json; /* NULL: as text */
} list;

static void add(list *l, const char *name, const char *doc)
{
    doc = doc ? doc : "";
    if (l->json) {
        bl_json_object(l->json, NULL);
        bl_json_add_str(l->json, "name", name);
        bl_json_add_str(l->json, "doc", doc);
        bl_json_end(l->json);
    } else bl_text_addf(&l->t, "%-24s %s\n", name, doc);
}

static void methods(const bl_program *p, list *l)
{
    for (size_t i = 0; p->methods[i]; i++) add(l, p->methods[i]->name, p->methods[i]->doc);
}
static void tasks(const bl_program *p, list *l)
{
    for (size_t i = 0; p->tasks[i]; i++)
        for (size_t j = 0; p->tasks[i]->names[j]; j++) add(l, p->tasks[i]->names[j], p->tasks[i]->title);
}
static void kernels(const bl_program *p, list *l)
{
    (void)p;
    for (size_t i = 0; bl_kernel_at(i); i++) add(l, bl_kernel_at(i)->name, bl_kernel_at(i)->family->doc);
}
static void formats(const bl_program *p, list *l)
{
    (void)p;
    for (size_t i = 0; bl_format_at(i); i++) add(l, bl_format_at(i)->name, bl_format_at(i)->doc);
}
static void texts(const bl_program *p, list *l)
{
    (void)p;
    for (size_t i = 0; bl_source_at(i); i++) add(l, bl_source_at(i)->id, bl_source_at(i)->doc);
}
static void plots(const bl_program *p, list *l)
{
    (void)p;
    for (size_t i = 0; bl_plot_at(i); i++) add(l, bl_plot_at(i)->name, bl_plot_at(i)->doc);
}
static void devices(const bl_program *p, list *l)
{
    char name[32], text[256];
    (void)p;
    for (int i = 0; bl_device_at(i, name); i++) {
        bl_err e = {0};
        add(l, name, bl_device_facts(name, 0, text, &e) == BL_OK ? text : e.text);
    }
}

static const struct {
    const char *name;
    void (*fill)(const bl_program *, list *);
} kinds[] = {{"methods", methods}, {"tasks", tasks}, {"texts", texts},    {"kernels", kernels},
             {"formats", formats}, {"plots", plots}, {"devices", devices}};

static bl_status run(const bl_program *p, const void *options, const bl_args *args, int *exit_code, bl_err *e)
{
    const opts *o = options;
    list l = {0};
    bl_json_out json = {.t = &l.t};
    const char *names[BL_COUNT(kinds) + 1] = {0};
    (void)exit_code;
    for (size_t i = 0; i < BL_COUNT(kinds); i++) {
        names[i] = kinds[i].name;
        if (strcmp(args->pos[0], kinds[i].name) != 0) continue;
        if (o->common.json) {
            l.json = &json;
            bl_json_lines(&json, NULL);
        }
        kinds[i].fill(p, &l);
        if (o->common.json) {
            bl_json_end(&json);
            bl_text_add(&l.t, "\n");
        }
        bl_status st = bl_output(NULL, &l.t, e);
        bl_text_free(&l.t);
        return st;
    }
    const char *near = bl_nearest(args->pos[0], names);
    return bl_fail(e, BL_E_CONFIG, "'%s' cannot be listed; %s%s?", args->pos[0],
                   near ? "did you mean " : "methods, tasks, texts, kernels, formats, plots or devices",
                   near ? near : "");
}

const bl_verb bl_verb_list = {
    .name = "list",
    .args = "methods|tasks|texts|kernels|formats|plots|devices",
    .line = "methods, tasks, texts for calibration, kernels, formats, plots, devices: one line each",
    .example = "bitladder list tasks",
    .opts = rows,
    .opts_size = sizeof(opts),
    .min_args = 1,
    .max_args = 1,
    .run = run,
};
