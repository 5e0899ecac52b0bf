/* help.c - help, version, man page and completion out of the table of verbs. */
#include "help.h"
#include "results/record.h"
#include "kernels/format.h"
#include "kernels/kernel.h"
#include "plots/plot.h"
#include "bl_build.h"
#include "kernels/base/hash.h"
#include "kernels/base/json.h"
#include "kernels/base/utf8.h"
#include "harness/bench/bench.h"
#include "harness/data/gz.h"
#include "harness/tokenizer/tokenizer.h"
#include <string.h>

static const char about[] = "quantization methods at 8 to 1 bits on LLaMA-family checkpoints: quality, size and speed";

/* Indented lines of at most 90 columns. */
static void paragraph(bl_text *t, const char *s)
{
    while (*s) {
        size_t n = strlen(s), at = 0;
        if (n > 88)
            for (n = 0; n <= 88; n++)
                if (s[n] == ' ') at = n;
        if (!at) at = n;
        bl_text_addf(t, "  %.*s\n", (int)at, s);
        s += at + (s[at] == ' ');
    }
}

void bl_help_all(bl_text *t)
{
    bl_text_addf(t, "usage: bitladder VERB [arguments] [options]\n\n  %s\n\n", about);
    for (size_t i = 0; bl_verbs[i]; i++)
        if (!bl_verbs[i]->hidden) bl_text_addf(t, "  %-9s %s\n", bl_verbs[i]->name, bl_verbs[i]->line);
    bl_text_add(t, "\nbitladder VERB --help says more, bitladder --version what it was built with; a first study: "
                   "bitladder init study.json, then bitladder run study.json\n");
}

void bl_help_verb(const bl_verb *v, bl_text *t)
{
    bl_text_addf(t, "usage: bitladder %s%s%s [options]\n\n", v->name, *v->args ? " " : "", v->args);
    paragraph(t, v->doc ? v->doc : v->line);
    if (v->opts->type != BL_OPT_END) bl_text_add(t, "\n");
    bl_opt_help(v->opts, t);
    if (v->example) bl_text_addf(t, "\nexample: %s\n", v->example);
}

void bl_help_version(bl_text *t)
{
    bl_text_addf(t, "bitladder %s (commit %s, %s, %s)\n", BL_VERSION, BL_BUILD_COMMIT, BL_BUILD_TYPE,
                 BL_BUILD_COMPILER);
    bl_text_addf(t, "HDF5 %s, %s, %s, %s, %s, %s\n%s\n", bl_hdf5_version(), bl_json_version(), bl_tokenizer_version(),
                 bl_utf8_version(), bl_hash_version(), bl_gz_version(), bl_blas_name());
}

/* ---- man page ---- */

static void roff(bl_text *t, const char *s)
{
    for (bool start = true; *s; s++) {
        if (start && (*s == '.' || *s == '\'')) bl_text_add(t, "\\&");
        if (*s == '\\') bl_text_add(t, "\\e");
        else if (*s == '-') bl_text_add(t, "\\-");
        else bl_text_addn(t, s, 1);
        start = *s == '\n';
    }
}

/* Help of one option, as bl_opt_help aligned it: the option up to two spaces, then words. */
static void man_option(const bl_text *help, bl_text *t)
{
    const char *s = help->s ? help->s : "";
    s += strspn(s, " ");
    const char *gap = strstr(s, "  "), *newline = strchr(s, '\n');
    const char *end = gap && newline && gap < newline ? gap : newline ? newline : s + strlen(s);
    char head[256];
    snprintf(head, sizeof head, "%.*s", (int)(end - s), s);
    bl_text_add(t, ".TP\n.B ");
    roff(t, head);
    bl_text_add(t, "\n");
    for (s = end; *s;) { /* runs of spaces and newlines become one space */
        s += strspn(s, " \n");
        size_t n = strcspn(s, " \n");
        char word[256];
        snprintf(word, sizeof word, "%.*s", (int)n, s);
        roff(t, word);
        s += n;
        if (s[strspn(s, " \n")]) bl_text_add(t, " ");
    }
    bl_text_add(t, "\n");
}

static void man_verb(const bl_verb *v, bl_text *t)
{
    bl_text_addf(t, ".SS \"%s %s\"\n", v->name, v->args);
    roff(t, v->doc ? v->doc : v->line);
    bl_text_add(t, "\n");
    for (const bl_opt *o = v->opts; o->type != BL_OPT_END; o++) {
        bl_opt one[2] = {*o, {0}};
        bl_text help = {0};
        bl_opt_help(one, &help); /* one line: "  --name ARG  what it is  (default: x)", or more, each indented */
        man_option(&help, t);
        bl_text_free(&help);
    }
    if (v->example) {
        bl_text_add(t, ".PP\nExample: ");
        roff(t, v->example);
        bl_text_add(t, "\n");
    }
}

void bl_help_man(const bl_program *p, bl_text *t)
{
    bl_text_addf(t, ".TH BITLADDER 1 \"\" \"bitladder %s\"\n.SH NAME\nbitladder \\- ", BL_VERSION);
    roff(t, about);
    bl_text_add(
        t, "\n.SH SYNOPSIS\n.B bitladder\n.I verb\n[arguments] [options]\n.SH DESCRIPTION\nTakes one checkpoint, "
           "applies methods of quantization to it, scores what comes out on tasks, and "
           "records each cell (model, method, task, seed) as an HDF5 file of its own, from which tables, figures and "
           "comparisons are made.\n.SH VERBS\n");
    for (size_t i = 0; bl_verbs[i]; i++)
        if (!bl_verbs[i]->hidden) man_verb(bl_verbs[i], t);
    bl_text_add(t, ".SH METHODS\n");
    for (size_t i = 0; p->methods[i]; i++) {
        bl_text_addf(t, ".TP\n.B %s\n", p->methods[i]->name);
        roff(t, p->methods[i]->doc);
        bl_text_add(t, "\n");
    }
    bl_text_add(t, ".SH TASKS\n");
    for (size_t i = 0; p->tasks[i]; i++)
        for (size_t j = 0; p->tasks[i]->names[j]; j++) {
            bl_text_addf(t, ".TP\n.B %s\n", p->tasks[i]->names[j]);
            roff(t, p->tasks[i]->title);
            bl_text_add(t, "\n");
        }
    bl_text_add(t,
                ".SH ENVIRONMENT\n.TP\n.B BITLADDER_DATA\nwhere data sets are looked for, after \\-\\-data; several "
                "with colons between\n"
                ".TP\n.B HF_HOME, HF_HUB_CACHE\nwhere models named org/name are looked for\n.TP\n.B "
                "XDG_CACHE_HOME\nfingerprints of "
                "weights are kept in its folder bitladder; ~/.cache without it\n.TP\n.B COLUMNS\nwidth of progress "
                "lines where the terminal "
                "does not say\n.SH FILES\n.TP\n.I study.json\na study, commented: bitladder init\n.TP\n.I OUT/*.h5\na "
                "cell each; h5py opens "
                "them\n.TP\n.I OUT/*.failed.json\nwhy a cell has no result\n.TP\n.I OUT/*.part*\nsamples of a cell "
                "that is not finished; run goes "
                "on there\n.TP\n.I OUT/variants, OUT/cache\nquantized models and states of the base, made again when "
                "needed\n.TP\n.I "
                "OUT/plan.json, OUT/log.txt\nthe last plan, and the log\n"
                ".SH EXIT STATUS\n0 done; 1 some cell failed or is n/a, or a file was skipped; 2 usage, study or input "
                "refused before work; 3 something is worse (compare); "
                "4 device or disk unusable; 130 interrupted\n");
}

/* ---- completion ---- */

/* Words of the choices that follow an option, per verb: "--format" means something else after `plot` than after
 * `table`. */
static void choices(const bl_verb *v, bl_text *t)
{
    for (const bl_opt *o = v->opts; o->type != BL_OPT_END; o++) {
        if (o->type != BL_OPT_CHOICE) continue;
        bl_text_addf(t, "    %s,--%s) words='", v->name, o->name);
        for (size_t i = 0; o->choices[i]; i++) bl_text_addf(t, "%s ", o->choices[i]);
        bl_text_add(t, "' ;;\n");
    }
}

static void method_words(const bl_program *p, bl_text *t)
{
    for (size_t i = 0; p->methods[i]; i++) bl_text_addf(t, "%s ", p->methods[i]->name);
}
static void task_words(const bl_program *p, bl_text *t)
{
    for (size_t i = 0; p->tasks[i]; i++)
        for (size_t j = 0; p->tasks[i]->names[j]; j++) bl_text_addf(t, "%s ", p->tasks[i]->names[j]);
}

static void figure_words(bl_text *t)
{
    for (size_t i = 0; bl_plot_at(i); i++) bl_text_addf(t, "%s ", bl_plot_at(i)->name);
}

void bl_help_bash(const bl_program *p, bl_text *t)
{
    bl_text_add(t, "# bash completion of bitladder\n_bitladder()\n{\n    local cur=${COMP_WORDS[COMP_CWORD]} "
                   "prev=${COMP_WORDS[COMP_CWORD-1]} verb=${COMP_WORDS[1]} words= list= before=\n"
                   "    COMPREPLY=()\n    case $COMP_CWORD,$verb,$prev in\n    1,*) words='");
    for (size_t i = 0; bl_verbs[i]; i++)
        if (!bl_verbs[i]->hidden) bl_text_addf(t, "%s ", bl_verbs[i]->name);
    bl_text_add(t, "--help --version' ;;\n    2,list,*) words='methods tasks texts kernels formats plots devices "
                   "shapes' ;;\n    2,bench,*) "
                   "words='kernels scoring' ;;\n    2,ask,*) words='");
    task_words(p, t);
    bl_text_add(t, "' ;;\n    2,show,*) words='");
    method_words(p, t);
    task_words(p, t);
    for (size_t i = 0; bl_format_at(i); i++) bl_text_addf(t, "%s ", bl_format_at(i)->name);
    for (size_t i = 0; bl_kernel_at(i); i++) bl_text_addf(t, "%s ", bl_kernel_at(i)->name);
    figure_words(t);
    bl_text_add(t, "' ;;\n    3,plot,[^-]*) words='");
    figure_words(t);
    bl_text_add(t, "' ;;\n    *) case $verb,$prev in\n    *,--method) list=1 words='");
    method_words(p, t);
    bl_text_add(t, "' ;;\n    *,--task|*,--average) list=1 words='");
    task_words(p, t);
    bl_text_add(t, "' ;;\n");
    for (size_t i = 0; bl_verbs[i]; i++) choices(bl_verbs[i], t);
    bl_text_add(t, "    esac ;;\n    esac\n    if [[ $cur == -* ]]; then case $verb in\n");
    for (size_t i = 0; bl_verbs[i]; i++) {
        if (bl_verbs[i]->hidden) continue;
        bl_text_addf(t, "    %s) words='", bl_verbs[i]->name);
        for (const bl_opt *o = bl_verbs[i]->opts; o->type != BL_OPT_END; o++) bl_text_addf(t, "--%s ", o->name);
        bl_text_add(t, "--help' ;;\n");
    }
    bl_text_add(
        t,
        "    esac; fi\n    [[ $list && $cur == *,* ]] && before=${cur%,*},\n"
        "    COMPREPLY=($(compgen -P \"$before\" -W \"$words\" -- \"${cur#\"$before\"}\"))\n    [ -n \"$words\" ] || "
        "COMPREPLY=($(compgen -f -- \"$cur\"))\n"
        "    type __ltrim_colon_completions >/dev/null 2>&1 && __ltrim_colon_completions \"$cur\"\n    "
        "return 0\n}\ncomplete -o filenames -F _bitladder bitladder\n");
}
