/* method_text.c - a method and its options as text and as JSON: name[:w4[a8][g64|pc]][+flag|+option=value…], or
 * name:word[+…] of a method whose main option is no width.
 *
 * The canonical text has only what differs from the defaults, in the order of the rows, and always the bits or the word
 * of a method that has them, of rounded activations too; last +on=NAME, which every method that learns takes. Options
 * that do not apply beside the others (the method's `settle` knows) are back at their defaults in it, so that one thing
 * has one name. +head and +embeddings of a method that rounds and has no such options are for the chain.
 */
#include "harness/method.h"
#include "harness/program.h"
#include <inttypes.h>
#include <string.h>

static const bl_opt no_rows[] = {{0}};
static const bl_opt *rows_of(const bl_method *m) { return m->opts ? m->opts : no_rows; }
static size_t row_count(const bl_opt *rows)
{
    size_t n = 0;
    while (rows[n].type != BL_OPT_END) n++;
    return n;
}
static int64_t int_at(const bl_opt *row, const void *opts) { return *(const int64_t *)((const char *)opts + row->at); }

/* "2, 3, 4" of the bits in a mask. */
static void width_list(uint32_t mask, char out[64])
{
    size_t n = 0;
    out[0] = 0;
    for (int b = 1; b <= 16; b++)
        if (mask >> b & 1) n += (size_t)snprintf(out + n, 64 - n, "%s%d", n ? ", " : "", b);
}

/* What the rows alone cannot say. */
static bl_status check(const bl_method *m, const void *opts, const char *where, bl_err *e)
{
    const bl_opt *wbits = bl_opt_find(rows_of(m), "wbits"), *group = bl_opt_find(rows_of(m), "group"),
                 *abits = bl_opt_find(rows_of(m), "abits"), *act_group = bl_opt_find(rows_of(m), "act-group");
    char list[64];

    if (wbits && m->wbits && !(m->wbits >> int_at(wbits, opts) & 1)) {
        width_list(m->wbits, list);
        return bl_fail(e, BL_E_CONFIG, "%s: wbits: %" PRId64 " is not one of %s", where, int_at(wbits, opts), list);
    }
    if (group && int_at(group, opts) == 0)
        return bl_fail(e, BL_E_CONFIG,
                       "%s: group: 0 weights cannot share a scale; use -1 (in a name: pc) for one scale a row", where);
    if (abits && int_at(abits, opts) == 1)
        return bl_fail(e, BL_E_CONFIG, "%s: abits: activations need at least 2 bits; 0 leaves them as they are", where);
    if (act_group && abits && int_at(act_group, opts) && !int_at(abits, opts))
        return bl_fail(e, BL_E_CONFIG, "%s: act-group: activations that are not quantized have no scale; set abits too",
                       where);
    return BL_OK;
}

/* Options and the texts they lend, in one block: the struct, then `extra` bytes. */
static void *new_opts(const bl_method *m, size_t extra, char **tail, bl_err *e)
{
    char *p = bl_new(m->opts_size + extra, 1, e);
    if (!p) return NULL;
    bl_opt_defaults(rows_of(m), p);
    *tail = p + m->opts_size;
    return p;
}

/* The canonical text has '+' between its options, so no value may hold one. */
static bl_status texts_fit(const bl_method *m, const void *opts, const char *where, bl_err *e)
{
    for (const bl_opt *r = rows_of(m); r->type != BL_OPT_END; r++) {
        const char *s = r->type == BL_OPT_TEXT ? *(const char *const *)((const char *)opts + r->at) : NULL;
        if (s && strchr(s, '+'))
            return bl_fail(e, BL_E_CONFIG, "%s: %s: '%s' holds a '+', which separates options", where, r->name, s);
    }
    return BL_OK;
}

bool bl_is_set_name(const char *s) { return *s && !s[strspn(s, "abcdefghijklmnopqrstuvwxyz0123456789_-")]; }

/* The name of a set is part of the text. */
static bl_status take_on(const bl_method *m, char **on, const char *name, const char *where, bl_err *e)
{
    if (!m->learns) return bl_fail(e, BL_E_CONFIG, "%s: on: it learns from nothing", where);
    if (*on) return bl_fail(e, BL_E_CONFIG, "%s: on is given twice", where);
    if (!bl_is_set_name(name))
        return bl_fail(e, BL_E_CONFIG, "%s: on: '%.100s' is no name of small letters, digits, - and _", where, name);
    return (*on = bl_strndup(name, strlen(name), e)) ? BL_OK : BL_E_NOMEM;
}

static void put_on(const char *on, bl_text *out)
{
    if (on) bl_text_addf(out, "+on=%s", on);
}

bl_status bl_method_renew(bl_method_choice *c, bl_err *e)
{
    bl_status st = BL_OK;
    bl_text text = {0};
    char where[96];

    snprintf(where, sizeof where, "method %s", c->method->name);
    BL_TRY(check(c->method, c->opts, where, e));
    BL_TRY(texts_fit(c->method, c->opts, where, e));
    if (c->method->settle) c->method->settle(c->opts);
    BL_TRY(bl_method_text(c->method, c->opts, &text, e));
    put_on(c->on, &text);
    BL_TRY(bl_text_check(&text, e));
    bl_free(c->text);
    c->text = text.s;
    text = (bl_text){0};
out:
    bl_text_free(&text);
    return st;
}

/* ---- the ends of the model, of a method that leaves them ---- */
static const bl_opt end_rows[] = {{"head", BL_OPT_BOOL, .at = 0}, {"embeddings", BL_OPT_BOOL, .at = sizeof(bool)}, {0}};

bool bl_method_leaves_ends(const bl_method *m)
{
    if (m->learns || m->as_stored || (!m->wbits && !(m->needs & BL_NEED_CALIBRATION))) return false;
    return !bl_opt_find(rows_of(m), end_rows[0].name);
}

static bool is_end(const bl_method *m, const char *name)
{
    return bl_method_leaves_ends(m) && bl_opt_find(end_rows, name);
}

static bl_status finish(const bl_method *m, void *opts, char *on, const bool ends[2], bl_method_choice *out, bl_err *e)
{
    bl_method_choice c = {.method = m, .opts = opts, .on = on, .ends = {ends[0], ends[1]}};
    bl_status st = bl_method_renew(&c, e);
    if (st == BL_OK) *out = c;
    return st;
}

/* ---- from text ---- */
typedef struct parser {
    const bl_method *const *methods;
    const bl_method *m;
    void *opts;
    char *on;
    bool seen[64]; /* by row */
    bool ends[2];
    const char *where; /* "method rtn" */
} parser;

static bl_status set(parser *p, const char *name, const char *value, bl_err *e)
{
    bl_status st = bl_opt_set(rows_of(p->m), p->opts, name, value, p->where, e);
    if (st != BL_OK) return st;
    size_t i = (size_t)(bl_opt_find(rows_of(p->m), name) - rows_of(p->m));
    if (i < BL_COUNT(p->seen)) {
        if (p->seen[i]) return bl_fail(e, BL_E_CONFIG, "%s: %s is given twice", p->where, rows_of(p->m)[i].name);
        p->seen[i] = true;
    }
    return BL_OK;
}

/* "q4_k" of a method that has a word there, or "w4a8g64": letters in any order, `pc` for group -1. Cuts the text into
 * pieces in place. */
static bl_status shorthand(parser *p, char *s, bl_err *e)
{
    static const struct {
        char letter;
        const char *name;
    } letters[] = {{'w', "wbits"}, {'a', "abits"}, {'g', "group"}};
    bl_status st = BL_OK;
    char saved;

    if (p->m->word) return set(p, p->m->word, s, e);
    for (char *end; *s; s = end) {
        bool pc = !strncmp(s, "pc", 2);
        size_t k = 0;
        while (k < BL_COUNT(letters) && letters[k].letter != (pc ? 'g' : *s)) k++;
        if (k == BL_COUNT(letters)) {
            st = bl_fail(e, BL_E_CONFIG,
                         "%s: '%s' is not like w4, a8, g64 or pc; other options are written +name=value", p->where, s);
            goto out;
        }
        if (!bl_opt_find(rows_of(p->m), letters[k].name)) {
            st = bl_fail(e, BL_E_CONFIG, "%s: '%s': it has no %s; see: bitladder show %s", p->where, s, letters[k].name,
                         p->m->name);
            goto out;
        }
        if (pc) {
            BL_TRY(set(p, "group", "-1", e));
            end = s + 2;
            continue;
        }
        end = s + 1 + strspn(s + 1, "0123456789.-");
        if (end == s + 1) end += strlen(end); /* no digits: the sentence shows all of it */
        saved = *end;
        *end = 0;
        st = set(p, letters[k].name, s + 1, e);
        *end = saved;
        if (st != BL_OK) goto out;
    }
out:
    return st;
}

/* BL_E_CONFIG, naming some of them, where other methods have an option that this one lacks. */
static bl_status of_others(const parser *p, const char *option, bl_err *e)
{
    enum { MOST = 4 };
    char names[MOST * 64] = "";
    size_t n = 0, len = 0;
    for (size_t i = 0; p->methods[i]; i++) {
        if (!bl_opt_find(rows_of(p->methods[i]), option)) continue;
        if (n++ < MOST)
            len += (size_t)snprintf(names + len, sizeof names - len, "%s%s", len ? ", " : "", p->methods[i]->name);
    }
    if (!n) return BL_OK;
    return bl_fail(e, BL_E_CONFIG, "%s: it has no option '%s'; %s%s ha%s it; see: bitladder show %s", p->where, option,
                   names, n > MOST ? " and others" : "", n > 1 ? "ve" : "s", p->m->name);
}

/* What follows a '+' without a value may be meant as a flag or as the next stage. */
static bl_status no_such_word(const parser *p, const char *word, bl_err *e)
{
    const char *names[256];
    size_t n = 0;
    for (const bl_opt *r = rows_of(p->m); r->type != BL_OPT_END && n + 1 < BL_COUNT(names); r++) names[n++] = r->name;
    for (size_t i = 0; p->methods[i] && n + 1 < BL_COUNT(names); i++) names[n++] = p->methods[i]->name;
    names[n] = NULL;
    if (bl_opt_find(end_rows, word))
        for (size_t i = 0; p->methods[i]; i++)
            if (p->methods[i]->for_ends)
                return bl_fail(e, BL_E_CONFIG,
                               "%s: no option '%s'; a stage after it rounds head and embeddings: +%s:w8", p->where,
                               word, p->methods[i]->name);
    if (of_others(p, word, e) != BL_OK) return BL_E_CONFIG;
    const char *near = bl_nearest(word, names);
    return bl_fail(e, BL_E_CONFIG, "%s: no option and no method '%.200s'%s%s%s", p->where, word,
                   near ? "; did you mean " : "; see: bitladder list methods", near ? near : "", near ? "?" : "");
}

static bl_status flag_or_value(parser *p, char *s, bl_err *e)
{
    char *eq = strchr(s, '=');
    const bl_opt *row;

    if (eq) *eq = 0;
    if (!*s) return bl_fail(e, BL_E_CONFIG, "%s: nothing after '+'", p->where);
    row = bl_opt_find(rows_of(p->m), s);
    if (eq && !row && !strcmp(s, "on")) return take_on(p->m, &p->on, eq + 1, p->where, e);
    if (is_end(p->m, s)) return bl_opt_set(end_rows, p->ends, s, eq ? eq + 1 : "true", p->where, e);
    if (!eq && !row) return no_such_word(p, s, e);
    if (!eq && row && row->type != BL_OPT_BOOL)
        return bl_fail(e, BL_E_CONFIG, "%s: %s needs a value: +%s=…", p->where, row->name, row->name);
    return set(p, s, eq ? eq + 1 : "true", e);
}

bl_status bl_method_parse(const bl_method *const *methods, const char *text, bl_method_choice *out, bl_err *e)
{
    bl_status st = BL_OK;
    const bl_program program = {.methods = methods};
    const bl_method *m;
    char name[64], where[96], *s, *next;
    parser p = {0};
    size_t n = strcspn(text, ":+");

    snprintf(name, sizeof name, "%.*s", (int)BL_MIN(n, sizeof name - 1), text);
    BL_TRY(bl_program_method(&program, name, &m, e));
    snprintf(where, sizeof where, "method %s", m->name);
    p = (parser){.methods = methods, .m = m, .where = where};
    if (!(p.opts = new_opts(m, strlen(text) + 1, &s, e))) {
        st = BL_E_NOMEM;
        goto out;
    }
    memcpy(s, text + n, strlen(text + n) + 1);

    if (*s == ':') {
        n = strcspn(s, "+");
        next = s[n] ? s + n + 1 : NULL;
        s[n] = 0;
        if (!s[1]) {
            st = bl_fail(e, BL_E_CONFIG, "%s: nothing after ':'", where);
            goto out;
        }
        BL_TRY(shorthand(&p, s + 1, e));
    } else {
        next = *s ? s + 1 : NULL;
    }
    while ((s = next) != NULL) {
        n = strcspn(s, "+");
        next = s[n] ? s + n + 1 : NULL;
        s[n] = 0;
        BL_TRY(flag_or_value(&p, s, e));
    }
    BL_TRY(finish(m, p.opts, p.on, p.ends, out, e));
    p.opts = NULL;
    p.on = NULL;
out:
    bl_free(p.opts);
    bl_free(p.on);
    return st;
}

/* ---- from JSON ---- */
bl_status bl_method_from_json(const bl_method *m, const bl_json *options, bl_method_choice *out, bl_err *e)
{
    bl_status st = BL_OK;
    const bl_opt *rows = rows_of(m);
    char where[96], *tail, *on = NULL;
    void *opts = NULL;
    bool ends[2] = {0};
    size_t extra = 0;
    const char *s;

    snprintf(where, sizeof where, "method %s", m->name);
    if (options && bl_json_kind(options) != BL_JSON_OBJECT) {
        st = bl_fail(e, BL_E_CONFIG, "%s: options are an object, like {\"wbits\": 4}", where);
        goto out;
    }
    for (const bl_json *v = bl_json_first(options); v; v = bl_json_next(v))
        if (bl_json_kind(v) == BL_JSON_STRING && bl_json_str(v, &s, e) == BL_OK) extra += strlen(s) + 1;
    if (!(opts = new_opts(m, extra, &tail, e))) {
        st = BL_E_NOMEM;
        goto out;
    }
    for (const bl_json *v = bl_json_first(options); v; v = bl_json_next(v)) {
        if (!strcmp(bl_json_key(v), "on") && !bl_opt_find(rows, "on")) {
            BL_TRY(bl_json_str(v, &s, e));
            BL_TRY(take_on(m, &on, s, where, e));
            continue;
        }
        if (is_end(m, bl_json_key(v))) {
            BL_TRY(bl_opt_set_json(end_rows, ends, bl_json_key(v), v, where, e));
            continue;
        }
        BL_TRY(bl_opt_set_json(rows, opts, bl_json_key(v), v, where, e));
        const bl_opt *row = bl_opt_find(rows, bl_json_key(v));
        if (row->type != BL_OPT_TEXT) continue;
        const char **at = (const char **)((char *)opts + row->at); /* lent by the document: keep it with the options */
        if (!*at) continue;
        size_t len = strlen(*at) + 1;
        memcpy(tail, *at, len);
        *at = tail;
        tail += len;
    }
    BL_TRY(finish(m, opts, on, ends, out, e));
    opts = NULL;
    on = NULL;
out:
    bl_free(opts);
    bl_free(on);
    return st;
}

/* ---- to text and JSON ---- */
/* `short_form`: without a group and bits of activations that are the default's, as earlier versions wrote it. */
static bl_status put_text(const bl_method *m, const void *opts, bool short_form, bl_text *out, bl_err *e)
{
    const bl_opt *rows = rows_of(m), *wbits = bl_opt_find(rows, "wbits"), *abits = bl_opt_find(rows, "abits"),
                 *group = bl_opt_find(rows, "group"), *word = m->word ? bl_opt_find(rows, m->word) : NULL;
    bl_status st = BL_OK;
    bool width = wbits && int_at(wbits, opts) > 0, colon = false; /* 0 bits: a stage that leaves the width to others */

    bl_text_add(out, m->name);
    if (word) {
        bl_text_add(out, ":");
        BL_TRY(bl_opt_print(word, opts, out));
    }
    if (width) {
        bl_text_addf(out, ":w%" PRId64, int_at(wbits, opts));
        colon = true;
    }
    if (abits && (!bl_opt_is_default(abits, opts) || (int_at(abits, opts) > 0 && !short_form))) {
        bl_text_addf(out, "%sa%" PRId64, colon ? "" : ":", int_at(abits, opts));
        colon = true;
    }
    if (group && ((width && !short_form) || !bl_opt_is_default(group, opts))) {
        bl_text_add(out, colon ? "" : ":");
        if (int_at(group, opts) < 0) bl_text_add(out, "pc");
        else bl_text_addf(out, "g%" PRId64, int_at(group, opts));
    }
    for (size_t i = 0; i < row_count(rows); i++) {
        const bl_opt *r = &rows[i];
        if (r == wbits || r == abits || r == group || r == word || bl_opt_is_default(r, opts)) continue;
        bl_text_addf(out, "+%s", r->name);
        if (r->type == BL_OPT_BOOL && *(const bool *)((const char *)opts + r->at)) continue;
        bl_text_add(out, "=");
        BL_TRY(bl_opt_print(r, opts, out));
    }
    st = bl_text_check(out, e);
out:
    return st;
}

bl_status bl_method_text(const bl_method *m, const void *opts, bl_text *out, bl_err *e)
{
    return put_text(m, opts, false, out, e);
}

bl_status bl_chain_short_text(const bl_method_chain *c, bl_text *out, bl_err *e)
{
    bl_status st = BL_OK;
    for (int i = 0; i < c->n; i++) {
        if (i) bl_text_add(out, "+");
        BL_TRY(put_text(c->stage[i].method, c->stage[i].opts, true, out, e));
        put_on(c->stage[i].on, out);
    }
    st = bl_text_check(out, e);
out:
    return st;
}

bl_status bl_method_json(const bl_method *m, const void *opts, bl_text *out, bl_err *e)
{
    bl_json_out j = {.t = out, .compact = true};

    bl_json_object(&j, NULL);
    for (const bl_opt *r = rows_of(m); r->type != BL_OPT_END; r++) {
        const void *at = (const char *)opts + r->at;
        switch (r->type) {
        case BL_OPT_INT: bl_json_add_int(&j, r->name, *(const int64_t *)at); break;
        case BL_OPT_REAL: bl_json_add_real(&j, r->name, *(const double *)at); break;
        case BL_OPT_BOOL: bl_json_add_bool(&j, r->name, *(const bool *)at); break;
        case BL_OPT_CHOICE: bl_json_add_str(&j, r->name, r->choices[*(const int *)at]); break;
        case BL_OPT_TEXT: bl_json_add_str(&j, r->name, *(const char *const *)at); break;
        case BL_OPT_END: break;
        }
    }
    bl_json_end(&j);
    return bl_text_check(out, e);
}

void bl_method_choice_free(bl_method_choice *c)
{
    if (!c) return;
    bl_free(c->opts);
    bl_free(c->on);
    bl_free(c->text);
    *c = (bl_method_choice){0};
}
