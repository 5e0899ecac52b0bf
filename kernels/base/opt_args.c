/* opt_args.c - the command line of a verb, and its help, from the same rows. */
#include "base_impl.h"
#include "utf8.h"
#include <ctype.h>
#include <math.h>
#include <string.h>

/* ---- parsing ------------------------------------------------------------------------------------ */
typedef struct parse {
    const bl_opt *rows;
    void *opts;
    bl_args *args;
    int argc, at; /* at: the next argument to look at */
    char **argv;
    uint8_t *given; /* per row: came before */
    bl_err *e;
} parse;

static const bl_opt *by_letter(const bl_opt *rows, char c)
{
    for (const bl_opt *r = rows; r->type != BL_OPT_END; r++)
        if (r->letter == c) return r;
    return NULL;
}

/* Sets the row; a row that repeats keeps what came before, with a comma. */
static bl_status set(parse *p, const bl_opt *row, const char *value, const char *where)
{
    size_t i = (size_t)(row - p->rows);
    if (row->repeat && row->type == BL_OPT_TEXT && p->given[i]) {
        const char **at = (const char **)(void *)((char *)p->opts + row->at);
        size_t a = strlen(*at), b = strlen(value);
        char *both = bl_alloc(p->args->arena, a + b + 2, 1, p->e);
        if (!both) return BL_E_NOMEM;
        memcpy(both, *at, a);
        both[a] = ',';
        memcpy(both + a + 1, value, b);
        value = both;
    }
    bl_status st = bl_opt_set(p->rows, p->opts, row->name, value, where, p->e);
    if (st == BL_OK) p->given[i] = 1;
    return st;
}

static const char *next_value(parse *p) { return p->at < p->argc ? p->argv[p->at++] : NULL; }

static bl_status long_option(parse *p, const char *arg)
{
    char where[128], name[120];
    const char *equals = strchr(arg, '='), *value = equals ? equals + 1 : NULL;
    size_t n = equals ? (size_t)(equals - arg) : strlen(arg);
    snprintf(where, sizeof where, "%.*s", (int)BL_MIN(n, sizeof where - 1), arg);
    if (n - 2 >= sizeof name) return bl_opt_unknown(p->rows, arg + 2, NULL, "--", p->e);
    memcpy(name, arg + 2, n - 2);
    name[n - 2] = 0;
    if (strcmp(name, "help") == 0 && !value) {
        p->args->help = true;
        return BL_OK;
    }

    const bl_opt *row = bl_opt_find(p->rows, name);
    if (!row && (strncmp(name, "no-", 3) == 0 || strncmp(name, "no_", 3) == 0)) {
        const bl_opt *flag = bl_opt_find(p->rows, name + 3);
        if (flag && flag->type == BL_OPT_BOOL)
            return value ? bl_fail(p->e, BL_E_CONFIG, "%s: takes no value", where) : set(p, flag, "false", where);
    }
    if (!row) return bl_opt_unknown(p->rows, name, NULL, "--", p->e);
    if (!value && row->type != BL_OPT_BOOL && !(value = next_value(p)))
        return bl_fail(p->e, BL_E_CONFIG, "%s: needs a value", where);
    return set(p, row, value, where);
}

/* "-o FILE", "-oFILE", "-qv" */
static bl_status letters(parse *p, const char *arg)
{
    bl_status st = BL_OK;
    for (const char *c = arg + 1; *c; c++) {
        const bl_opt *row = by_letter(p->rows, *c);
        char where[3] = {'-', *c, 0};
        if (!row && *c == 'h') {
            p->args->help = true;
            continue;
        }
        if (!row) return bl_fail(p->e, BL_E_CONFIG, "unknown option '%s' in '%.100s'", where, arg);
        if (row->type == BL_OPT_BOOL) {
            BL_TRY(set(p, row, NULL, where));
            continue;
        }
        const char *value = c[1] ? c + 1 : next_value(p);
        if (!value) return bl_fail(p->e, BL_E_CONFIG, "%s: needs a value", where);
        return set(p, row, value, where);
    }
out:
    return st;
}

bl_status bl_opt_parse(const bl_opt *rows, void *opts, int argc, char **argv, bl_args *args, bl_err *e)
{
    bl_status st = BL_OK;
    parse p = {.rows = rows, .opts = opts, .args = args, .argc = argc, .argv = argv, .e = e};
    size_t n_rows = 0;
    bool only_words = false;
    while (rows[n_rows].type != BL_OPT_END) n_rows++;
    *args = (bl_args){0};
    BL_TRY(bl_arena_new(&args->arena, e));
    if (!(p.given = bl_alloc(args->arena, n_rows, 1, e)) ||
        !(args->pos = bl_alloc(args->arena, (size_t)argc + 1, sizeof *args->pos, e))) {
        st = BL_E_NOMEM;
        goto out;
    }

    while (p.at < argc) {
        const char *arg = argv[p.at++];
        bool number = arg[0] == '-' && isdigit((unsigned char)arg[1]) && !by_letter(rows, arg[1]);
        if (only_words || arg[0] != '-' || arg[1] == 0 || number) args->pos[args->n_pos++] = arg;
        else if (strcmp(arg, "--") == 0) only_words = true;
        else if (arg[1] == '-') BL_TRY(long_option(&p, arg));
        else BL_TRY(letters(&p, arg));
    }
out:
    return st;
}

void bl_args_free(bl_args *args)
{
    bl_arena_free(args->arena);
    *args = (bl_args){0};
}

/* ---- help --------------------------------------------------------------------------------------- */
enum { LEFT_MOST = 30, DOC_WIDTH = 48 };

/* Columns on a terminal, near enough: one a code point. */
static size_t width(const char *s, size_t n) { return bl_utf8_count(s, strnlen(s, n)); }

static void pad(bl_text *t, size_t from, size_t to)
{
    for (; from < to; from++) bl_text_addn(t, " ", 1);
}

static const char *arg_word(const bl_opt *r, char choices[32])
{
    if (r->arg) return r->arg;
    if (r->type == BL_OPT_INT) return "N";
    if (r->type == BL_OPT_REAL) return "X";
    if (r->type == BL_OPT_TEXT) return "TEXT";
    if (r->type != BL_OPT_CHOICE) return NULL;
    size_t n = 0;
    for (size_t i = 0; r->choices[i]; i++) {
        size_t k = strlen(r->choices[i]) + (i > 0);
        if (n + k >= 24) return "NAME"; /* listed after the description instead */
        n += (size_t)snprintf(choices + n, 32 - n, "%s%s", i ? "|" : "", r->choices[i]);
    }
    return choices;
}

/* "-o, --out DIR", "--quick"; "--[no-]quick" where it is on without being asked for */
static void add_left(bl_text *t, const bl_opt *r)
{
    char choices[32];
    if (r->letter) bl_text_addf(t, "-%c, ", r->letter);
    bl_text_addf(t, "--%s%s", r->type == BL_OPT_BOOL && r->def.b ? "[no-]" : "", r->name);
    const char *word = arg_word(r, choices);
    if (word) bl_text_addf(t, " %s", word);
}

static void add_doc(bl_text *t, const bl_opt *r)
{
    char choices[32], lo[40], hi[40];
    bl_text_add(t, r->doc ? r->doc : "");
    if (r->type == BL_OPT_CHOICE && !r->arg && strcmp(arg_word(r, choices), "NAME") == 0) {
        bl_text_add(t, t->n ? ": " : "");
        for (size_t i = 0; r->choices[i]; i++) bl_text_addf(t, "%s%s", i ? ", " : "", r->choices[i]);
    }
    if ((r->type == BL_OPT_INT || r->type == BL_OPT_REAL) && (r->min != 0 || r->max != 0) && isfinite(r->min) &&
        isfinite(r->max)) {
        bl_real_short(lo, r->min);
        bl_real_short(hi, r->max);
        bl_text_addf(t, "%s%s..%s", t->n ? ", " : "", lo, hi);
    }
    if (r->repeat) bl_text_add(t, t->n ? "; may come again" : "may come again");
}

static void add_default(bl_text *t, const bl_opt *r)
{
    char number[40];
    switch (r->type) {
    case BL_OPT_INT: bl_text_addf(t, "(default: %lld)", (long long)r->def.i); break;
    case BL_OPT_REAL:
        bl_real_short(number, r->def.r);
        bl_text_addf(t, "(default: %s)", number);
        break;
    case BL_OPT_CHOICE: bl_text_addf(t, "(default: %s)", r->choices[r->def.choice]); break;
    case BL_OPT_BOOL:
        if (r->def.b) bl_text_add(t, "(default: on)");
        break;
    case BL_OPT_TEXT:
        if (r->def.s && *r->def.s) bl_text_addf(t, "(default: %s)", r->def.s);
        break;
    case BL_OPT_END: break;
    }
}

/* Bytes of doc that fit on one line: up to the last space within DOC_WIDTH columns. */
static size_t line_of(const char *doc)
{
    size_t n = 0, space = 0;
    for (size_t w = 0; doc[n]; n++) {
        w += bl_utf8_count(doc + n, 1);
        if (w > DOC_WIDTH && space) return space;
        if (doc[n] == ' ') space = n;
    }
    return n;
}

static void add_row(bl_text *out, const bl_opt *r, size_t left, size_t middle)
{
    bl_text l = {0}, doc = {0}, def = {0};
    add_left(&l, r);
    add_doc(&doc, r);
    add_default(&def, r);
    size_t w = l.n;
    bl_text_addf(out, "  %s", l.s ? l.s : "");
    const char *rest = doc.s ? doc.s : "";
    if (w > left) {
        bl_text_add(out, "\n  ");
        w = 0;
    }
    if (*rest || def.n) pad(out, w, left + 2);
    for (;;) {
        size_t n = line_of(rest);
        bl_text_addn(out, rest, n);
        w = width(rest, n);
        rest += n;
        if (!*rest) break;
        rest++;
        bl_text_add(out, "\n  ");
        pad(out, 0, left + 2);
    }
    if (def.n) {
        pad(out, w, middle + 2);
        bl_text_add(out, def.s);
    }
    bl_text_add(out, "\n");
    out->failed |= l.failed || doc.failed || def.failed;
    bl_text_free(&l);
    bl_text_free(&doc);
    bl_text_free(&def);
}

void bl_opt_help(const bl_opt *rows, bl_text *out)
{
    size_t left = 0, middle = 0;
    for (const bl_opt *r = rows; r->type != BL_OPT_END; r++) {
        bl_text l = {0}, doc = {0};
        add_left(&l, r);
        add_doc(&doc, r);
        if (l.n <= LEFT_MOST) left = BL_MAX(left, l.n);
        for (const char *rest = doc.s ? doc.s : ""; *rest;) {
            size_t n = line_of(rest);
            middle = BL_MAX(middle, width(rest, n));
            rest += n + (rest[n] == ' ');
        }
        bl_text_free(&l);
        bl_text_free(&doc);
    }
    for (const bl_opt *r = rows; r->type != BL_OPT_END; r++) add_row(out, r, left, middle);
}
