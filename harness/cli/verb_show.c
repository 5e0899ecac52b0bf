/* verb_show.c - everything about one method, task, format, kernel or figure. */
#include "cli/session.h"
#include "kernels/kernel.h"
#include "plots/plot.h"
#include <string.h>

typedef struct opts { bl_cli_common common; } opts;
static const bl_opt rows[] = { BL_COMMON_ROWS(opts, common), { 0 } };

static void field(bl_text *t, bool json, const char *key, const char *value)
{
    if (!value || !*value) return;
    if (json) {
        bl_text_addf(t, ", \"%s\": ", key);
        bl_json_put_str(t, value, strlen(value));
    } else bl_text_addf(t, "  %-10s %s\n", key, value);
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
    for (const bl_opt *o = opts; o->type != BL_OPT_END; o++) {
        bl_text_add(t, o == opts ? "{\"name\": " : ", {\"name\": ");
        bl_json_put_str(t, o->name, strlen(o->name));
        bl_text_add(t, ", \"doc\": ");
        bl_json_put_str(t, o->doc ? o->doc : "", o->doc ? strlen(o->doc) : 0);
        bl_text_add(t, "}");
    }
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
    field(t, json, "needs", m->needs ? (m->needs & BL_NEED_TRAINING ? "training" : m->needs & BL_NEED_HESSIAN ? "calibration data, Hessian" : "calibration data") : "nothing");
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
        snprintf(text + strlen(text), sizeof text - strlen(text), "%s%s%s", i ? ", " : "", m[i].name, m[i].direction > 0 ? " (higher is better)" : m[i].direction < 0 ? " (lower is better)" : "");
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
    if (f->kind == BL_FMT_BLOCK) snprintf(text, sizeof text, "%.4g, blocks of %d weights in %d bytes", 8.0 * f->block_bytes / f->block, f->block, f->block_bytes);
    else snprintf(text, sizeof text, "%d%s", f->bits, f->kind == BL_FMT_DENSE ? "" : " and scales");
    field(t, json, "bits", text);
    field(t, json, "packs", f->pack ? "yes" : "no, it is only read");
}

static void kernel(const bl_kernel *k, bool json, bl_text *t)
{
    char text[32];
    field(t, json, "about", k->doc);
    field(t, json, "op", k->op);
    field(t, json, "format", k->format);
    field(t, json, "backend", k->backend);
    snprintf(text, sizeof text, "%g", k->nmse_limit);
    field(t, json, "nmse limit", text);
}

static bl_status run(const bl_program *p, const void *o_, const bl_args *args, int *exit_code, bl_err *e)
{
    const opts *o = o_;
    const char *name = args->pos[0], *task_name, *kind = NULL;
    const bl_method *m;
    const bl_task *k;
    bl_text t = { 0 };
    bool json = o->common.json;
    (void)exit_code;

    if (json) { bl_text_add(&t, "{\"name\": "); bl_json_put_str(&t, name, strlen(name)); }
    else bl_text_addf(&t, "%s\n", name);
    if (bl_program_method(p, name, &m, NULL) == BL_OK) { kind = "method"; method(m, json, &t); }
    else if (bl_program_task(p, name, &k, &task_name, NULL) == BL_OK) { kind = "task"; task(k, task_name, json, &t); }
    else if (bl_format_find(name)) { kind = "format"; format(bl_format_find(name), json, &t); }
    else if (bl_kernel_find(name)) { kind = "kernel"; kernel(bl_kernel_find(name), json, &t); }
    else if (bl_plot_find(name)) { kind = "plot"; field(&t, json, "about", bl_plot_find(name)->doc); }
    field(&t, json, "kind", kind);
    if (json) bl_text_add(&t, "}\n");
    bl_status st = kind ? bl_output(NULL, &t, e) : BL_E_CONFIG;
    bl_text_free(&t);
    if (!kind) {
        bl_err other = { 0 };
        if (bl_program_method(p, name, &m, e) == BL_E_CONFIG && !strstr(e->text, "did you mean") && bl_program_task(p, name, &k, &task_name, &other) == BL_E_CONFIG &&
            strstr(other.text, "did you mean")) *e = other;
    }
    return st;
}

const bl_verb bl_verb_show = {
    .name = "show", .args = "NAME", .line = "one method, task, format, kernel or figure: options, source, notes",
    .example = "bitladder show rtn", .opts = rows, .opts_size = sizeof(opts), .min_args = 1, .max_args = 1, .run = run,
};
