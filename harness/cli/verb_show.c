/* verb_show.c - everything about one method, task, format, kernel or figure. */
#include "found.h"
#include "session.h"
#include "kernels/kernel.h"
#include "plots/plot.h"
#include <math.h>
#include <string.h>

typedef struct opts {
    bl_cli_common common;
} opts;
static const bl_opt rows[] = {BL_COMMON_ROWS(opts, common), {0}};

/* One line, or one member of the object; what is empty is left out. */
static void field(bl_json_out *j, bool json, const char *key, const char *value)
{
    if (!value || !*value) return;
    if (json) {
        bl_json_add_str(j, key, value);
        return;
    }
    for (const char *end; *value;
         value = *end ? end + 1 : end, key = "") { /* lines of a value stand below each other */
        end = strchrnul(value, '\n');
        bl_text_addf(j->t, "  %-10s %.*s\n", key, (int)(end - value), value);
    }
}

static void option_json(bl_json_out *j, const bl_opt *o)
{
    static const char *const types[] = {"", "integer", "number", "boolean", "choice", "text"};
    bool number = o->type == BL_OPT_INT || o->type == BL_OPT_REAL, bounded = o->min != 0 || o->max != 0;
    bl_json_object(j, NULL);
    bl_json_add_str(j, "name", o->name);
    bl_json_add_str(j, "type", types[o->type]);
    if (o->choices) {
        bl_json_array(j, "choices");
        for (size_t i = 0; o->choices[i]; i++) bl_json_add_str(j, NULL, o->choices[i]);
        bl_json_end(j);
    }
    if (number && bounded && isfinite(o->min)) bl_json_add_real(j, "min", o->min);
    if (number && bounded && isfinite(o->max)) bl_json_add_real(j, "max", o->max);
    switch (o->type) {
    case BL_OPT_INT: bl_json_add_int(j, "default", o->def.i); break;
    case BL_OPT_REAL: bl_json_add_real(j, "default", o->def.r); break;
    case BL_OPT_BOOL: bl_json_add_bool(j, "default", o->def.b); break;
    case BL_OPT_CHOICE: bl_json_add_str(j, "default", o->choices[o->def.choice]); break;
    case BL_OPT_TEXT:
        if (o->def.s) bl_json_add_str(j, "default", o->def.s);
        break;
    case BL_OPT_END: break;
    }
    bl_json_add_str(j, "doc", o->doc ? o->doc : "");
    bl_json_end(j);
}

/* An option of a method as it is typed: ":w4", "a8", "g64 or pc", ":q4_0|q4_1", "+flag", "+range=zero|minmax". */
static void spelling(const bl_method *m, const bl_opt *o, bl_text *t)
{
    bool word = m->word && strcmp(o->name, m->word) == 0;
    static const char *const short_name[][2] = {{"wbits", "w"}, {"abits", "a"}, {"group", "g"}};
    for (size_t i = 0; i < BL_COUNT(short_name); i++)
        if (strcmp(o->name, short_name[i][0]) == 0) {
            const char *letter = short_name[i][1];
            int low = i == 1 ? 2 : BL_MAX((int)o->min, 1), high = (int)o->max; /* no activation has one bit */
            while (i == 0 && m->wbits && low < high && !(m->wbits >> low & 1)) low++;
            while (i == 0 && m->wbits && low < high && !(m->wbits >> high & 1)) high--;
            if (i == 2) bl_text_add(t, "gN, pc");
            else
                bl_text_addf(t, "%s%s%s%d .. %s%d", o->min == 0 ? letter : "", o->min == 0 ? "0, " : "", letter, low,
                             letter, high);
            return;
        }
    if (!word) bl_text_addf(t, "+%s", o->name);
    if (o->type == BL_OPT_BOOL && o->def.b) bl_text_add(t, "=false");
    if (o->type == BL_OPT_INT) bl_text_add(t, "=N");
    if (o->type == BL_OPT_REAL) bl_text_add(t, "=X");
    if (o->type == BL_OPT_TEXT) bl_text_addf(t, "=%s", o->arg ? o->arg : "TEXT");
    for (size_t i = 0; o->type == BL_OPT_CHOICE && o->choices[i]; i++)
        bl_text_addf(t, "%s%s", i ? "|" : word ? ":" : "=", o->choices[i]);
}

/* They follow the method's name: rtn:w4a8g64+range=clip. */
static bl_status method_options(const bl_method *m, bl_text *t, bl_err *e)
{
    bl_status st = BL_OK;
    bl_text name = {0}, value = {0};
    void *opts = bl_new(1, m->opts_size ? m->opts_size : 1, e);

    if (!opts) return BL_E_NOMEM;
    bl_opt_defaults(m->opts, opts);
    bool widths = bl_opt_find(m->opts, "wbits") || bl_opt_find(m->opts, "abits") || bl_opt_find(m->opts, "group");
    if (m->opts->type != BL_OPT_END && (m->word || widths))
        bl_text_addf(t, "\n  options, after %s: first %s, then those with +\n", m->name,
                     m->word ? m->word : "those of widths");
    else if (m->opts->type != BL_OPT_END) bl_text_addf(t, "\n  options, after %s\n", m->name);
    for (const bl_opt *o = m->opts; o->type != BL_OPT_END; o++) {
        name.n = value.n = 0;
        spelling(m, o, &name);
        BL_TRY(bl_opt_print(o, opts, &value));
        bl_text_addf(t, "  %-28s %s", name.s ? name.s : "", o->doc ? o->doc : "");
        if (value.n && o->type != BL_OPT_BOOL) bl_text_addf(t, "  (default: %s)", value.s);
        bl_text_add(t, "\n");
    }
    if (bl_method_leaves_ends(m))
        bl_text_addf(t, "  %-28s %s\n", "+head, +embeddings",
                     "to nearest in as many bits, 8 where it names none: a stage after it (bitladder show ends)");
out:
    bl_text_free(&name);
    bl_text_free(&value);
    bl_free(opts);
    return st;
}

static void options(bl_json_out *j, bool json, const bl_opt *opts)
{
    if (!opts || opts->type == BL_OPT_END) return;
    if (!json) {
        bl_text_add(j->t, "\n");
        bl_opt_help(opts, j->t);
        return;
    }
    bl_json_array(j, "options");
    for (const bl_opt *o = opts; o->type != BL_OPT_END; o++) option_json(j, o);
    bl_json_end(j);
}

static void method(const bl_method *m, bool json, bl_json_out *j)
{
    char text[64] = "";
    for (int b = 1; b <= 16; b++)
        if (m->wbits >> b & 1) snprintf(text + strlen(text), sizeof text - strlen(text), "%s%d", text[0] ? " " : "", b);
    field(j, json, "title", m->title);
    field(j, json, "about", m->doc);
    field(j, json, "citation", m->cite);
    field(j, json, "bits", text);
    field(j, json, "needs",
          m->needs ? (m->needs & BL_NEED_TRAINING  ? "training"
                      : m->needs & BL_NEED_HESSIAN ? "calibration data, Hessian"
                                                   : "calibration data")
                   : "nothing");
    field(j, json, "deviates", m->deviates);
    snprintf(text, sizeof text, "%d", m->version);
    field(j, json, "version", text);
    if (json || !m->opts) options(j, json, m->opts);
    else method_options(m, j->t, NULL);
}

/* Where its data is, or where it was looked for. */
static void task_data(const bl_task *k, const char *name, bool json, bl_json_out *j)
{
    bl_arena *a = NULL;
    bl_found f;
    char text[64];
    if (bl_arena_new(&a, NULL) == BL_OK && bl_task_found(k, name, NULL, a, &f, NULL) == BL_OK) {
        bl_found_text(&f, text);
        field(j, json, "data", text);
        field(j, json, f.path ? "file" : "why", f.path ? f.path : f.why);
        field(j, json, "note", f.note);
    }
    bl_arena_free(a);
}

static void task(const bl_task *k, const char *name, bool json, bl_json_out *j)
{
    int n;
    char text[256] = "", version[16];
    const bl_metric *m = bl_task_metrics(k, name, &n);
    for (int i = 0; i < n; i++)
        snprintf(text + strlen(text), sizeof text - strlen(text), "%s%s%s", i ? ", " : "", m[i].name,
                 m[i].direction > 0   ? " (higher is better)"
                 : m[i].direction < 0 ? " (lower is better)"
                                      : "");
    field(j, json, "title", k->title);
    field(j, json, "about", k->doc);
    field(j, json, "citation", k->cite);
    field(j, json, "metrics", text);
    if (*bl_task_split(k, name)) field(j, json, "split", bl_task_split(k, name));
    snprintf(version, sizeof version, "%d", bl_task_examples(k, name));
    field(j, json, "shots", version);
    if (bl_task_few(k, name)) field(j, json, "more shots", "NAME:Nshot, for as many worked examples");
    if (!k->no_chat)
        field(j, json, "as a chat",
              bl_task_examples(k, name) && !k->fixed
                  ? "NAME+chat, through the model's chat template; NAME+chat+turns, with worked examples as turns of it"
                  : "NAME+chat, through the model's chat template");
    task_data(k, name, json, j);
    snprintf(version, sizeof version, "%d", k->version);
    field(j, json, "version", version);
    options(j, json, k->opts);
}

static void format(const bl_format *f, bool json, bl_json_out *j)
{
    char text[64];
    field(j, json, "about", f->doc);
    if (f->kind == BL_FMT_BLOCK)
        snprintf(text, sizeof text, "%.4g, blocks of %d weights in %d bytes", 8.0 * f->block_bytes / f->block, f->block,
                 f->block_bytes);
    else snprintf(text, sizeof text, "%d%s", f->bits, f->kind == BL_FMT_DENSE ? "" : " and scales");
    field(j, json, "bits", text);
    field(j, json, "packs", f->pack ? "yes" : f->pack_least ? "yes, by search" : "no, it is only read");
}

static void kernel(const bl_kernel *k, bool json, bl_json_out *j)
{
    char text[32];
    field(j, json, "about", k->family->doc);
    field(j, json, "op", k->family->op);
    field(j, json, "format", k->format->name);
    field(j, json, "backend", k->family->backend);
    snprintf(text, sizeof text, "%g", k->family->nmse_limit);
    field(j, json, "nmse limit", text);
}

/* Opens the entry of one kind; a name may stand for several: fp16 is a method and a format. */
static void entry(bl_json_out *j, bool json, const char *name, const char *kind, int *n)
{
    if (json) {
        bl_json_object(j, NULL);
        bl_json_add_str(j, "kind", kind);
    } else bl_text_addf(j->t, "%s%s, a %s\n", *n ? "\n" : "", name, kind);
    ++*n;
}

/* The nearest of all names that `show` knows. */
static bl_status unknown(const bl_program *p, const char *name, bl_err *e)
{
    bl_status st = BL_OK;
    bl_arena *a = NULL;
    const char *const *task_names, **names, *near;
    size_t n = 0;
    BL_TRY(bl_program_shots(p, name, e));
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
    bl_json_out j = {.t = &t};
    bool json = o->common.json;
    int n = 0;
    (void)exit_code;

    if (json) {
        bl_json_object(&j, NULL);
        bl_json_add_str(&j, "name", name);
        bl_json_lines(&j, "entries");
    }
    if (bl_program_method(p, name, &m, NULL) == BL_OK) {
        entry(&j, json, name, "method", &n);
        method(m, json, &j);
        if (json) bl_json_end(&j);
    }
    if (bl_program_task(p, name, &k, &task_name, NULL) == BL_OK) {
        entry(&j, json, name, "task", &n);
        task(k, task_name, json, &j);
        if (json) bl_json_end(&j);
    }
    if (bl_format_find(name)) {
        entry(&j, json, name, "format", &n);
        format(bl_format_find(name), json, &j);
        if (json) bl_json_end(&j);
    }
    if (bl_kernel_find(name)) {
        entry(&j, json, name, "kernel", &n);
        kernel(bl_kernel_find(name), json, &j);
        if (json) bl_json_end(&j);
    }
    if (bl_plot_find(name)) {
        entry(&j, json, name, "figure", &n);
        field(&j, json, "about", bl_plot_find(name)->doc);
        if (json) bl_json_end(&j);
    }
    if (json) {
        bl_json_end(&j);
        bl_json_end(&j);
        bl_text_add(&t, "\n");
    }
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
