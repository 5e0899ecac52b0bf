/* method_chain.c - several methods one after another, as text and as JSON: quarot+gptq:w4g64. */
#include "harness/method.h"
#include "harness/program.h"
#include <string.h>

static const bl_method *named(const bl_method *const *methods, const char *name, size_t n)
{
    for (size_t i = 0; methods[i]; i++)
        if (strlen(methods[i]->name) == n && memcmp(methods[i]->name, name, n) == 0) return methods[i];
    return NULL;
}

/* What follows a '+' at `s` begins a stage: "gptq", "gptq:w4"; not "symmetric", "range=clip". */
static bool begins_stage(const bl_method *const *methods, const char *s)
{
    size_t n = strcspn(s, ":=+");
    return s[n] == ':' || (s[n] != '=' && named(methods, s, n));
}

static size_t stage_length(const bl_method *const *methods, const char *s)
{
    size_t n = strcspn(s, "+");
    while (s[n] && !begins_stage(methods, s + n + 1)) n += 1 + strcspn(s + n + 1, "+");
    return n;
}

/* ---- NAME:w4+solver=gptq ----
 * A stage that says which method rounds after it is two. The width goes to the second, and stays too where the first
 * cannot do without one (awq looks at what rounding does, and leaves it to the second). An option is of whoever has it;
 * where both do, of the first before the word solver and of the second after it. */
static bool has(const bl_method *m, const char *name) { return m->opts && bl_opt_find(m->opts, name); }

static bool has_default_width(const bl_method *m)
{
    const bl_opt *w = m->opts ? bl_opt_find(m->opts, "wbits") : NULL;
    return w && w->def.i > 0;
}

/* ":w4a8g64" for a method: where another has taken it too, without what this one has no option for. */
static void add_width(const bl_method *m, bool taken, const char *s, size_t n, bl_text *out)
{
    const char *end = s + n, *next;
    bool any = false;
    if (!taken) {
        bl_text_addn(out, s, n);
        return;
    }
    for (const char *p = s + 1; p < end && !m->word; p = next) {
        next = p + 1 + strcspn(p + 1, "wagp+");
        const char *name = *p == 'w' ? "wbits" : *p == 'a' ? "abits" : "group";
        if (next > end) next = end;
        if (!has(m, name)) continue;
        if (!any) bl_text_add(out, ":");
        any = true;
        bl_text_addn(out, p, (size_t)(next - p));
    }
}

static bl_status two_stages(const bl_method *const *methods, const char *s, size_t n, bl_text *out, bl_err *e)
{
    static const char key[] = "+solver=";
    bl_status st = BL_OK;
    const char *end = s + n, *width = s + BL_MIN(strcspn(s, ":+"), n), *at = NULL;
    const bl_method *m = named(methods, s, (size_t)(width - s)), *second = NULL;
    size_t n_width = *width == ':' ? BL_MIN(strcspn(width, "+"), (size_t)(end - width)) : 0;
    bl_text rest = {0};
    char name[64];

    if (!m || has(m, "solver")) return BL_OK;
    for (const char *o = width + n_width; o < end; o += 1 + strcspn(o + 1, "+")) {
        if (strncmp(o, key, sizeof key - 1)) continue;
        if (at) return bl_fail(e, BL_E_CONFIG, "method %s: solver is given twice", m->name);
        at = o;
        o += sizeof key - 2;
        second = named(methods, o + 1, strcspn(o + 1, "+"));
        if (!second)
            return bl_fail(e, BL_E_CONFIG, "method %s: solver: no method '%.*s'; see: bitladder list methods", m->name,
                           (int)BL_MIN(strcspn(o + 1, "+"), 100), o + 1);
    }
    if (!at) return BL_OK;
    bl_text_add(out, m->name);
    if (has_default_width(m)) bl_text_addn(out, width, n_width);
    if (has(m, "round")) bl_text_add(out, "+round=false");
    bl_text_addf(&rest, "+%s", second->name);
    if (n_width) add_width(second, has_default_width(m), width, n_width, &rest);
    for (const char *o = width + n_width, *next; o < end; o = next) {
        next = o + 1 + strcspn(o + 1, "+");
        if (o == at) continue;
        snprintf(name, sizeof name, "%.*s", (int)BL_MIN(strcspn(o + 1, "+="), sizeof name - 1), o + 1);
        bl_text_addn(has(m, name) && (o < at || !has(second, name)) ? out : &rest, o, (size_t)(next - o));
    }
    BL_TRY(bl_text_check(&rest, e));
    bl_text_addn(out, rest.s, rest.n);
    BL_TRY(bl_text_check(out, e));
out:
    bl_text_free(&rest);
    return st;
}

/* ---- NAME:w4+head ----
 * Of a method that leaves the ends of the model: a stage of the method that rounds them, with those of its options that
 * the first has too. */
static bl_status ends_text(const bl_method *const *methods, const bl_method_choice *c, bl_text *out, bl_err *e)
{
    static const char *const shared[] = {"wbits", "group", "symmetric", "scale"};
    bl_status st = BL_OK;
    const bl_method *m = NULL;
    for (size_t i = 0; methods[i]; i++)
        if (methods[i]->for_ends) m = methods[i];
    if (!m) return bl_fail(e, BL_E_CONFIG, "method %s: no method is there for head and embeddings", c->method->name);
    bl_text_add(out, m->name);
    for (size_t i = 0; i < BL_COUNT(shared); i++) {
        const bl_opt *row = c->method->opts ? bl_opt_find(c->method->opts, shared[i]) : NULL;
        if (!row || !has(m, shared[i])) continue;
        bl_text_addf(out, "+%s=", shared[i]);
        BL_TRY(bl_opt_print(row, c->opts, out));
    }
    bl_text_addf(out, "+head=%s+embeddings=%s", c->ends[0] ? "true" : "false", c->ends[1] ? "true" : "false");
    st = bl_text_check(out, e);
out:
    return st;
}

/* ---- building ---- */
static bl_method_choice *room(bl_method_chain *c, bl_err *e)
{
    if (c->n == BL_MAX_STAGES) {
        bl_fail(e, BL_E_CONFIG, "method: more than %d stages", BL_MAX_STAGES);
        return NULL;
    }
    if (!c->stage && !(c->stage = bl_new(BL_MAX_STAGES, sizeof *c->stage, e))) return NULL;
    return &c->stage[c->n];
}

/* The stage that was put into `room` is there, and what it asks for beside itself. */
static bl_status taken(const bl_method *const *methods, bl_method_chain *c, bl_err *e)
{
    bl_status st = BL_OK;
    bl_method_choice *at = &c->stage[c->n++], *more;
    bl_text text = {0};
    if (!at->ends[0] && !at->ends[1]) return BL_OK;
    if (!(more = room(c, e))) return BL_E_CONFIG;
    BL_TRY(ends_text(methods, at, &text, e));
    BL_TRY(bl_method_parse(methods, text.s, more, e));
    at->ends[0] = at->ends[1] = false;
    c->n++;
out:
    bl_text_free(&text);
    return st;
}

static bl_status join(bl_method_chain *c, bl_err *e)
{
    bl_status st = BL_OK;
    bl_text t = {0};
    for (int i = 0; i < c->n; i++) {
        if (c->n > 1 && c->stage[i].method->as_stored)
            return bl_fail(e, BL_E_CONFIG, "method %s: the checkpoint as stored is no stage of a chain",
                           c->stage[i].method->name);
        const char *on = bl_chain_on(c);
        if (c->stage[i].method->learns && on && (!c->stage[i].on || strcmp(on, c->stage[i].on)))
            return bl_fail(e, BL_E_CONFIG, "method %s: the stages of a chain learn from one set, not from %s and %s",
                           c->stage[i].method->name, on, c->stage[i].on ? c->stage[i].on : "what \"train\" says");
    }
    for (int i = 0; i < c->n; i++) {
        if (i) bl_text_add(&t, "+");
        bl_text_add(&t, c->stage[i].text);
    }
    BL_TRY(bl_text_check(&t, e));
    bl_free(c->text);
    c->text = t.s;
    t = (bl_text){0};
out:
    bl_text_free(&t);
    return st;
}

static bl_status finish(bl_method_chain *c, bl_status st, bl_method_chain *out, bl_err *e)
{
    if (st == BL_OK) st = join(c, e);
    if (st == BL_OK) *out = *c;
    else bl_chain_free(c);
    return st;
}

bl_status bl_chain_parse(const bl_method *const *methods, const char *text, bl_method_chain *out, bl_err *e)
{
    bl_status st = BL_OK;
    bl_method_chain c = {0};
    bl_method_choice *at;
    char *one = NULL;
    bl_text all = {0}; /* solvers as stages of their own */

    for (const char *s = text;; s++) {
        size_t n = stage_length(methods, s);
        bl_text two = {0};
        st = two_stages(methods, s, n, &two, e);
        bl_text_addn(&all, two.n ? two.s : s, two.n ? two.n : n);
        if (s[n]) bl_text_add(&all, "+");
        bl_text_free(&two);
        if (st != BL_OK) goto out;
        s += n;
        if (!*s) break;
    }
    BL_TRY(bl_text_check(&all, e));
    for (const char *s = all.s;; s++) {
        size_t n = stage_length(methods, s);
        if (!(at = room(&c, e))) {
            st = c.stage ? BL_E_CONFIG : BL_E_NOMEM;
            goto out;
        }
        if (!(one = bl_strndup(s, n, e))) {
            st = BL_E_NOMEM;
            goto out;
        }
        BL_TRY(bl_method_parse(methods, one, at, e));
        bl_free(one);
        one = NULL;
        BL_TRY(taken(methods, &c, e));
        s += n;
        if (!*s) break;
    }
out:
    bl_free(one);
    bl_text_free(&all);
    return finish(&c, st, out, e);
}

/* ---- from JSON ---- */
static bl_status add_json(const bl_method *const *methods, const bl_json *v, bl_method_chain *c, bl_err *e)
{
    bl_status st = BL_OK;
    const bl_program program = {.methods = methods};
    const bl_json *options = bl_json_first(v);
    const bl_method *m;
    bl_method_choice *at = room(c, e);

    if (!at) return c->stage ? BL_E_CONFIG : BL_E_NOMEM;
    if (bl_json_kind(v) == BL_JSON_STRING) {
        const char *s;
        BL_TRY(bl_json_str(v, &s, e));
        BL_TRY(bl_method_parse(methods, s, at, e));
    } else {
        if (bl_json_kind(v) != BL_JSON_OBJECT || bl_json_size(v) != 1 || bl_json_kind(options) != BL_JSON_OBJECT)
            return bl_fail(e, BL_E_CONFIG, "a stage of a method is a text or {\"name\": {options}}");
        BL_TRY(bl_program_method(&program, bl_json_key(options), &m, e));
        BL_TRY(bl_method_from_json(m, options, at, e));
    }
    st = taken(methods, c, e);
out:
    return st;
}

bl_status bl_chain_from_json(const bl_method *const *methods, const bl_json *v, bl_method_chain *out, bl_err *e)
{
    bl_status st = BL_OK;
    bl_method_chain c = {0};
    const bl_json *stages = bl_json_get(v, "chain");
    const char *text;

    if (bl_json_kind(v) == BL_JSON_STRING) {
        BL_TRY(bl_json_str(v, &text, e));
        return bl_chain_parse(methods, text, out, e);
    }
    if (!stages) {
        st = add_json(methods, v, &c, e);
        goto out;
    }
    if (bl_json_size(v) != 1 || bl_json_kind(stages) != BL_JSON_ARRAY || bl_json_size(stages) == 0) {
        st = bl_fail(e, BL_E_CONFIG, "a chain of methods is {\"chain\": [stage, stage, …]}");
        goto out;
    }
    for (const bl_json *s = bl_json_first(stages); s; s = bl_json_next(s)) BL_TRY(add_json(methods, s, &c, e));
out:
    return finish(&c, st, out, e);
}

/* ---- setting ---- */
bl_status bl_chain_set(bl_method_chain *c, const char *name, const char *value, bool *used, bl_err *e)
{
    bl_status st = BL_OK;
    char where[128];

    for (int i = 0; i < c->n; i++) {
        const bl_method_choice *s = &c->stage[i];
        if (!s->method->opts || !bl_opt_find(s->method->opts, name)) continue;
        *used = true;
        snprintf(where, sizeof where, "method %s", s->method->name);
        BL_TRY(bl_opt_set(s->method->opts, s->opts, name, value, where, e));
    }
out:
    return st;
}

bl_status bl_chain_renew(bl_method_chain *c, bl_err *e)
{
    bl_status st = BL_OK;
    for (int i = 0; i < c->n; i++) BL_TRY(bl_method_renew(&c->stage[i], e));
    BL_TRY(join(c, e));
out:
    return st;
}

/* ---- asking ---- */
bl_status bl_chain_json(const bl_method_chain *c, bl_text *out, bl_err *e)
{
    bl_status st = BL_OK;
    bl_json_out o = {.t = out};
    bl_text options = {0};
    if (c->n == 1) return bl_method_json(c->stage[0].method, c->stage[0].opts, out, e);
    bl_json_array(&o, NULL);
    for (int i = 0; i < c->n; i++) {
        bl_text_free(&options);
        BL_TRY(bl_method_json(c->stage[i].method, c->stage[i].opts, &options, e));
        bl_json_object(&o, NULL);
        bl_json_add_text(&o, c->stage[i].method->name, options.s);
        bl_json_end(&o);
    }
    bl_json_end(&o);
    st = bl_text_check(out, e);
out:
    bl_text_free(&options);
    return st;
}

bool bl_chain_as_stored(const bl_method_chain *c) { return c->n == 1 && c->stage[0].method->as_stored; }

unsigned bl_choice_needs(const bl_method_choice *c)
{
    return c->method->needs & ~(c->method->spares ? c->method->spares(c->opts) : 0u);
}

unsigned bl_chain_needs(const bl_method_chain *c)
{
    unsigned needs = BL_NEED_NOTHING;
    for (int i = 0; i < c->n; i++) needs |= bl_choice_needs(&c->stage[i]);
    return needs;
}

const char *bl_chain_on(const bl_method_chain *c)
{
    for (int i = 0; i < c->n; i++)
        if (c->stage[i].on) return c->stage[i].on;
    return NULL;
}

void bl_chain_width(const bl_method_chain *c, int64_t *wbits, int64_t *group, char group_text[32])
{
    *wbits = *group = -1;
    group_text[0] = 0;
    for (int i = c->n - 1; i >= 0; i--) {
        const bl_method_choice *s = &c->stage[i];
        const bl_opt *w = s->method->wbits ? bl_opt_find(s->method->opts, "wbits") : NULL;
        const bl_opt *g = s->method->wbits ? bl_opt_find(s->method->opts, "group") : NULL;
        if (!w || !*(const int64_t *)((const char *)s->opts + w->at)) continue;
        *wbits = *(const int64_t *)((const char *)s->opts + w->at);
        if (g) *group = *(const int64_t *)((const char *)s->opts + g->at);
        if (*group > 0) snprintf(group_text, 32, "%lld", (long long)*group);
        else snprintf(group_text, 32, "pc");
        return;
    }
}

void bl_chain_free(bl_method_chain *c)
{
    if (!c) return;
    for (int i = 0; i < c->n; i++) bl_method_choice_free(&c->stage[i]);
    bl_free(c->stage);
    bl_free(c->text);
    *c = (bl_method_chain){0};
}
