/* verb_show.c - everything about one method, task, format, kernel or figure. */
#include "session.h"
#include "kernels/kernel.h"
#include "plots/plot.h"
#include <math.h>
#include <string.h>

typedef struct opts {
    bl_cli_common common;
} opts;
static const bl_opt rows[] = {BL_COMMON_ROWS(opts, common), {0}};

static void pair(bl_text *t, const char *key, const char *value)
{
    bl_text_addf(t, ", \"%s\": ", key);
    bl_json_put_str(t, value, strlen(value));
}

static void field(bl_text *t, bool json, const char *key, const char *value)
{
    if (!value || !*value) return;
    if (json) {
        pair(t, key, value);
        return;
    }
    for (const char *end; *value;
         value = *end ? end + 1 : end, key = "") { /* lines of a value stand below each other */
        end = strchrnul(value, '\n');
        bl_text_addf(t, "  %-10s %.*s\n", key, (int)(end - value), value);
    }
}

static void option_json(bl_text *t, const bl_opt *o, bool first)
{
    static const char *const types[] = {"", "integer", "number", "boolean", "choice", "text"};
    bl_text_add(t, first ? "{\"name\": " : ", {\"name\": ");
    bl_json_put_str(t, o->name, strlen(o->name));
    pair(t, "type", types[o->type]);
    if (o->choices) {
        bl_text_add(t, ", \"choices\": [");
        for (size_t i = 0; o->choices[i]; i++) {
            if (i) bl_text_add(t, ", ");
            bl_json_put_str(t, o->choices[i], strlen(o->choices[i]));
        }
        bl_text_add(t, "]");
    }
    if ((o->type == BL_OPT_INT || o->type == BL_OPT_REAL) && (o->min != 0 || o->max != 0)) {
        if (isfinite(o->min)) {
            bl_text_add(t, ", \"min\": ");
            bl_json_put_real(t, o->min);
        }
        if (isfinite(o->max)) {
            bl_text_add(t, ", \"max\": ");
            bl_json_put_real(t, o->max);
        }
    }
    switch (o->type) {
    case BL_OPT_INT: bl_text_addf(t, ", \"default\": %lld", (long long)o->def.i); break;
    case BL_OPT_REAL:
        bl_text_add(t, ", \"default\": ");
        bl_json_put_real(t, o->def.r);
        break;
    case BL_OPT_BOOL: bl_text_addf(t, ", \"default\": %s", o->def.b ? "true" : "false"); break;
    case BL_OPT_CHOICE: pair(t, "default", o->choices[o->def.choice]); break;
    case BL_OPT_TEXT:
        if (o->def.s) pair(t, "default", o->def.s);
        break;
    case BL_OPT_END: break;
    }
    pair(t, "doc", o->doc ? o->doc : "");
    bl_text_add(t, "}");
}

static void options(bl_text *t, bool json, const bl_opt *opts)
{
    if (!opts || opts->type == BL_OPT_END) return;
    if (!json) {
        bl_text_add(t, "\n");
        bl_opt_help(opts, t);
        return;
    }
    bl_text_add(t, ", \"options\": [");
    for (const bl_opt *o = opts; o->type != BL_OPT_END; o++) option_json(t, o, o == opts);
    bl_text_add(t, "]");
}

static void method(const bl_method *m, bool json, bl_text *t)
{
    char text[64] = "";
    for (int b = 1; b <= 16; b++)
        if (m->wbits >> b & 1) snprintf(text + strlen(text), sizeof text - strlen(text), "%s%d", text[0] ? " " : "", b);
    field(t, json, "title", m->title);
    field(t, json, "about", m->doc);
    field(t, json, "citation", m->cite);
    field(t, json, "bits", text);
    field(t, json, "needs",
          m->needs ? (m->needs & BL_NEED_TRAINING  ? "training"
                      : m->needs & BL_NEED_HESSIAN ? "calibration data, Hessian"
                                                   : "calibration data")
                   : "nothing");
    field(t, json, "deviates", m->deviates);
    snprintf(text, sizeof text, "%d", m->version);
    field(t, json, "version", text);
    options(t, json, m->opts);
}

static void task(const bl_task *k, const char *name, bool json, bl_text *t)
{
    int n;
    char text[256] = "", version[16];
    const bl_metric *m = bl_task_metrics(k, name, &n);
    for (int i = 0; i < n; i++)
        snprintf(text + strlen(text), sizeof text - strlen(text), "%s%s%s", i ? ", " : "", m[i].name,
                 m[i].direction > 0   ? " (higher is better)"
                 : m[i].direction < 0 ? " (lower is better)"
                                      : "");
    field(t, json, "title", k->title);
    field(t, json, "about", k->doc);
    field(t, json, "citation", k->cite);
    field(t, json, "metrics", text);
    snprintf(version, sizeof version, "%d", k->version);
    field(t, json, "version", version);
    options(t, json, k->opts);
}

static void format(const bl_format *f, bool json, bl_text *t)
{
    char text[64];
    field(t, json, "about", f->doc);
    if (f->kind == BL_FMT_BLOCK)
        snprintf(text, sizeof text, "%.4g, blocks of %d weights in %d bytes", 8.0 * f->block_bytes / f->block, f->block,
                 f->block_bytes);
    else snprintf(text, sizeof text, "%d%s", f->bits, f->kind == BL_FMT_DENSE ? "" : " and scales");
    field(t, json, "bits", text);
    field(t, json, "packs", f->pack ? "yes" : "no, it is only read");
}

static void kernel(const bl_kernel *k, bool json, bl_text *t)
{
    char text[32];
    field(t, json, "about", k->family->doc);
    field(t, json, "op", k->family->op);
    field(t, json, "format", k->format->name);
    field(t, json, "backend", k->family->backend);
    snprintf(text, sizeof text, "%g", k->family->nmse_limit);
    field(t, json, "nmse limit", text);
}

/* Opens the entry of one kind; a name may stand for several: fp16 is a method and a format. */
static void entry(bl_text *t, bool json, const char *name, const char *kind, int *n)
{
    if (json) {
        bl_text_add(t, *n ? ",\n {\"kind\": " : " {\"kind\": ");
        bl_json_put_str(t, kind, strlen(kind));
    } else bl_text_addf(t, "%s%s, a %s\n", *n ? "\n" : "", name, kind);
    ++*n;
}

/* The nearest of all names that `show` knows. */
static bl_status unknown(const bl_program *p, const char *name, bl_err *e)
{
    bl_status st = BL_OK;
    bl_arena *a = NULL;
    const char *const *task_names, **names, *near;
    size_t n = 0;
    BL_TRY(bl_arena_new(&a, e));
    if (!(task_names = bl_program_task_names(p, a, e))) {
        st = BL_E_NOMEM;
        goto out;
    }
    for (size_t i = 0; task_names[i]; i++) n++;
    for (size_t i = 0; p->methods[i]; i++) n++;
    for (size_t i = 0; bl_format_at(i); i++) n++;
    for (size_t i = 0; bl_kernel_at(i); i++) n++;
    for (size_t i = 0; bl_plot_at(i); i++) n++;
    if (!(names = bl_alloc(a, n + 1, sizeof *names, e))) {
        st = BL_E_NOMEM;
        goto out;
    }
    n = 0;
    for (size_t i = 0; p->methods[i]; i++) names[n++] = p->methods[i]->name;
    for (size_t i = 0; task_names[i]; i++) names[n++] = task_names[i];
    for (size_t i = 0; bl_format_at(i); i++) names[n++] = bl_format_at(i)->name;
    for (size_t i = 0; bl_kernel_at(i); i++) names[n++] = bl_kernel_at(i)->name;
    for (size_t i = 0; bl_plot_at(i); i++) names[n++] = bl_plot_at(i)->name;
    near = bl_nearest(name, names);
    st = near ? bl_fail(e, BL_E_CONFIG, "nothing is named '%s'; did you mean %s?", name, near)
              : bl_fail(e, BL_E_CONFIG,
                        "nothing is named '%s'; see: bitladder list methods (or tasks, kernels, formats, plots)", name);
out:
    bl_arena_free(a);
    return st;
}

static bl_status run(const bl_program *p, const void *o_, const bl_args *args, int *exit_code, bl_err *e)
{
    const opts *o = o_;
    const char *name = args->pos[0], *task_name;
    const bl_method *m;
    const bl_task *k;
    bl_text t = {0};
    bool json = o->common.json;
    const char *end = json ? "}" : "";
    int n = 0;
    (void)exit_code;

    if (json) {
        bl_text_add(&t, "{\"name\": ");
        bl_json_put_str(&t, name, strlen(name));
        bl_text_add(&t, ", \"entries\": [\n");
    }
    if (bl_program_method(p, name, &m, NULL) == BL_OK) {
        entry(&t, json, name, "method", &n);
        method(m, json, &t);
        bl_text_add(&t, end);
    }
    if (bl_program_task(p, name, &k, &task_name, NULL) == BL_OK) {
        entry(&t, json, name, "task", &n);
        task(k, task_name, json, &t);
        bl_text_add(&t, end);
    }
    if (bl_format_find(name)) {
        entry(&t, json, name, "format", &n);
        format(bl_format_find(name), json, &t);
        bl_text_add(&t, end);
    }
    if (bl_kernel_find(name)) {
        entry(&t, json, name, "kernel", &n);
        kernel(bl_kernel_find(name), json, &t);
        bl_text_add(&t, end);
    }
    if (bl_plot_find(name)) {
        entry(&t, json, name, "figure", &n);
        field(&t, json, "about", bl_plot_find(name)->doc);
        bl_text_add(&t, end);
    }
    if (json) bl_text_add(&t, "]}\n");
    bl_status st = n ? bl_output(NULL, &t, e) : unknown(p, name, e);
    bl_text_free(&t);
    return st;
}

const bl_verb bl_verb_show = {
    .name = "show",
    .args = "NAME",
    .line = "one method, task, format, kernel or figure: options, source, notes",
    .example = "bitladder show rtn",
    .opts = rows,
    .opts_size = sizeof(opts),
    .min_args = 1,
    .max_args = 1,
    .run = run,
};
