/* verb_list.c - names of everything that is registered, one line each. */
#include "found.h"
#include "session.h"
#include "kernels/kernel.h"
#include "harness/data/sources.h"
#include "plots/plot.h"
#include <string.h>

typedef struct opts {
    bl_cli_common common;
    const char *data;
} opts;
static const bl_opt rows[] = {{"data", BL_OPT_TEXT, .at = offsetof(opts, data), .arg = "DIR",
                               .doc = "where data sets are, before BITLADDER_DATA; for tasks"},
                              BL_COMMON_ROWS(opts, common),
                              {0}};

typedef struct list {
    bl_text t;
    bl_json_out *json; /* NULL: as text */
    const char *data;
    bl_err *e;
    bl_status st;
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
/* One name of a task: which split, how many examples in front, what is measured, what is here of its data. */
static bl_status one_task(list *l, const bl_task *t, size_t which, bl_arena *a, bl_err *e)
{
    bl_status st = BL_OK;
    bl_data_dirs dirs;
    bl_text metrics = {0};
    bl_found f;
    char here[64];
    const char *split = bl_task_split(t, t->names[which]);
    int shots = bl_task_examples(t, t->names[which]);
    int n;
    const bl_metric *m = bl_task_metrics(t, t->names[which], &n);

    BL_TRY(bl_data_option(l->data, &dirs, e));
    BL_TRY(bl_task_found(t, t->names[which], &dirs, a, &f, e));
    bl_found_text(&f, here);
    for (int i = 0; i < n; i++) bl_text_addf(&metrics, "%s%s", i ? "," : "", m[i].name);
    BL_TRY(bl_text_check(&metrics, e));
    if (!l->json) {
        bl_text_addf(&l->t, "%-24s %-20s %5d%s %-20s %s\n", t->names[which], split, shots,
                     bl_task_few(t, t->names[which]) ? "+" : " ", here, metrics.s);
        goto out;
    }
    bl_json_object(l->json, NULL);
    bl_json_add_str(l->json, "name", t->names[which]);
    bl_json_add_str(l->json, "doc", t->title);
    bl_json_add_str(l->json, "split", split);
    bl_json_add_int(l->json, "shots", shots);
    bl_json_add_bool(l->json, "here", f.path != NULL);
    bl_json_add_bool(l->json, "few", bl_task_few(t, t->names[which]));
    if (f.path && f.items >= 0) bl_json_add_int(l->json, "items", f.items);
    if (f.path) bl_json_add_str(l->json, "path", f.path);
    bl_json_array(l->json, "metrics");
    for (int i = 0; i < n; i++) bl_json_add_str(l->json, NULL, m[i].name);
    bl_json_end(l->json);
    bl_json_end(l->json);
out:
    bl_text_free(&metrics);
    return st;
}

static void tasks(const bl_program *p, list *l)
{
    bl_arena *a = NULL;
    l->st = bl_arena_new(&a, l->e);
    if (!l->json)
        bl_text_addf(&l->t, "%-24s %-20s %5s  %-20s %s\n", "task", "split", "shots", "data",
                     "metrics (+: also NAME:Nshot)");
    for (size_t i = 0; p->tasks[i] && l->st == BL_OK; i++)
        for (size_t j = 0; p->tasks[i]->names[j] && l->st == BL_OK; j++) {
            bl_mark mark = bl_arena_mark(a);
            l->st = one_task(l, p->tasks[i], j, a, l->e);
            bl_arena_release(a, mark);
        }
    bl_arena_free(a);
}
static void shapes(const bl_program *p, list *l)
{
    const char *arch;
    (void)p;
    for (size_t i = 0;; i++) {
        bl_config c;
        char name[96], text[160];
        const char *shape = bl_synth_at(i, &arch, &c);
        if (!shape) break;
        snprintf(name, sizeof name, "synth:%s", shape);
        snprintf(text, sizeof text, "%s, %lld blocks, %lld wide, %.4g weights in them", arch, (long long)c.n_layers,
                 (long long)c.dim, (double)bl_config_linear_params(&c));
        add(l, name, text);
    }
}
/* Why a kernel is not run on this machine; "": it is. */
static const char *not_here(const bl_kernel *k, const char *simd)
{
    const char *isa = strrchr(k->name, '_') ? strrchr(k->name, '_') + 1 : "";
    bl_err why = {0};
    if (bl_device_check(k->family->backend, &why) != BL_OK) return " (not here: there is no such device)";
    return !strncmp(isa, "avx", 3) && !strstr(simd, isa) ? " (not here: the processor has no such instructions)" : "";
}

static void kernels(const bl_program *p, list *l)
{
    bl_backend *be = NULL;
    bl_device_info info = {.simd = ""};
    (void)p;
    l->st = bl_backend_open(&(bl_backend_opts){.device = "cpu", .threads = 1}, &be, l->e);
    if (l->st != BL_OK) return;
    be->ops->device_info(be, &info);
    bl_backend_close(be);
    for (size_t i = 0; bl_kernel_at(i); i++) {
        char doc[256];
        snprintf(doc, sizeof doc, "%s%s", bl_kernel_at(i)->family->doc, not_here(bl_kernel_at(i), info.simd));
        add(l, bl_kernel_at(i)->name, doc);
    }
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
} kinds[] = {{"methods", methods}, {"tasks", tasks}, {"texts", texts},     {"kernels", kernels},
             {"formats", formats}, {"plots", plots}, {"devices", devices}, {"shapes", shapes}};

static bl_status run(const bl_program *p, const void *options, const bl_args *args, int *exit_code, bl_err *e)
{
    const opts *o = options;
    list l = {.data = o->data, .e = e};
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
        bl_status st = l.st == BL_OK ? bl_output(NULL, &l.t, e) : l.st;
        bl_text_free(&l.t);
        return st;
    }
    const char *near = bl_nearest(args->pos[0], names);
    return bl_fail(e, BL_E_CONFIG, "'%s' cannot be listed; %s%s?", args->pos[0],
                   near ? "did you mean " : "methods, tasks, texts, kernels, formats, plots, devices or shapes",
                   near ? near : "");
}

const bl_verb bl_verb_list = {
    .name = "list",
    .args = "methods|tasks|texts|kernels|formats|plots|devices|shapes",
    .line = "methods, tasks, texts for calibration, kernels, formats, plots, devices, shapes: one line each",
    .example = "bitladder list tasks",
    .opts = rows,
    .opts_size = sizeof(opts),
    .min_args = 1,
    .max_args = 1,
    .run = run,
};
