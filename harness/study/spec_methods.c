/* spec_methods.c - the methods of a study: texts, and objects whose lists of options multiply. */
#include "spec_impl.h"

enum { MOST_METHODS = 100000 }; /* a few lists of options multiply to any number */

static bl_status room_for_method(bl_spec *s, bl_method_chain **out, bl_err *e)
{
    bl_status st = bl_spec_room(s->arena, &s->method, s->n_methods, sizeof *s->method, e);
    if (st == BL_OK) *out = &s->method[s->n_methods];
    return st;
}

bl_status bl_spec_method_text(bl_spec *s, const bl_method *const *methods, const char *text, bl_err *e)
{
    bl_status st = BL_OK;
    bl_method_chain *c;
    BL_TRY(room_for_method(s, &c, e));
    BL_TRY(bl_chain_parse(methods, text, c, e));
    s->n_methods++;
out:
    return st;
}

/* The lists among the options of a method object, each with the place that is taken next. */
typedef struct combination {
    struct {
        const bl_json *option;
        size_t at, size;
    } list[64];
    size_t n, all;
} combination;

static bl_status lists_of(const bl_spec *s, const char *where, const bl_json *stage, combination *c, bl_err *e)
{
    const bl_json *options = bl_json_first(stage);
    if (bl_json_kind(stage) != BL_JSON_OBJECT) return BL_OK; /* a text, or what bl_chain_from_json refuses */
    for (const bl_json *o = bl_json_first(options); o; o = bl_json_next(o)) {
        if (bl_json_kind(o) != BL_JSON_ARRAY) continue;
        size_t size = bl_json_size(o);
        if (size == 0)
            return bl_fail(e, BL_E_CONFIG, "%s: method %s: the list of '%s' is empty", where, bl_json_key(options),
                           bl_json_key(o));
        if (c->n == BL_COUNT(c->list))
            return bl_fail(e, BL_E_CONFIG, "%s: method %s has too many lists", where, bl_json_key(options));
        if ((c->all *= size) + s->n_methods > MOST_METHODS)
            return bl_fail(e, BL_E_CONFIG, "%s: method %s: the lists of its options make more than %d methods", where,
                           bl_json_key(options), MOST_METHODS);
        c->list[c->n].option = o;
        c->list[c->n++].size = size;
    }
    return BL_OK;
}

/* The stage with one value of each list; `l` walks over the lists in order. */
static void put_stage(const bl_json *stage, const combination *c, size_t *l, bl_json_out *j)
{
    const bl_json *options = bl_json_first(stage);
    if (bl_json_kind(stage) != BL_JSON_OBJECT || bl_json_kind(options) != BL_JSON_OBJECT) {
        bl_json_add_node(j, NULL, stage);
        return;
    }
    bl_json_object(j, NULL);
    bl_json_object(j, bl_json_key(options));
    for (const bl_json *o = bl_json_first(options); o; o = bl_json_next(o)) {
        const bl_json *v = o;
        if (*l < c->n && c->list[*l].option == o) {
            v = bl_json_first(o);
            for (size_t k = 0; k < c->list[*l].at; k++) v = bl_json_next(v);
            (*l)++;
        }
        bl_json_add_node(j, bl_json_key(o), v);
    }
    bl_json_end(j);
    bl_json_end(j);
}

/* The next combination, the last list running fastest; false: that was the last. */
static bool next(combination *c)
{
    for (size_t i = c->n; i > 0; i--) {
        if (++c->list[i - 1].at < c->list[i - 1].size) return true;
        c->list[i - 1].at = 0;
    }
    return false;
}

/* {"rtn": {"wbits": [4, 3], "group": 64}} or {"chain": ["quarot", {"gptq": {…}}]}: one choice for every combination. */
bl_status bl_spec_method_object(bl_spec *s, const bl_method *const *methods, const char *where, const bl_json *object,
                                bl_err *e)
{
    bl_status st = BL_OK;
    combination c = {.all = 1};
    bl_text text = {0};
    bl_json *one = NULL;
    const bl_json *chain = bl_json_get(object, "chain"), *first = chain ? bl_json_first(chain) : object;

    if (bl_json_size(object) != 1 || bl_json_kind(bl_json_first(object)) != (chain ? BL_JSON_ARRAY : BL_JSON_OBJECT))
        return bl_fail(e, BL_E_CONFIG, "%s: a method is a text, {\"name\": {options}} or {\"chain\": [stage, stage]}",
                       where);
    for (const bl_json *p = first; p; p = chain ? bl_json_next(p) : NULL) BL_TRY(lists_of(s, where, p, &c, e));
    do {
        bl_method_chain *out;
        size_t l = 0;
        bl_text_free(&text);
        bl_json_free(one);
        one = NULL;
        bl_json_out j = {.t = &text, .compact = true};
        if (chain) {
            bl_json_object(&j, NULL);
            bl_json_array(&j, "chain");
        }
        for (const bl_json *p = first; p; p = chain ? bl_json_next(p) : NULL) put_stage(p, &c, &l, &j);
        if (chain) {
            bl_json_end(&j);
            bl_json_end(&j);
        }
        BL_TRY(bl_text_check(&text, e));
        BL_TRY(bl_json_parse(text.s, text.n, where, BL_JSON_PLAIN, &one, e));
        BL_TRY(room_for_method(s, &out, e));
        st = bl_chain_from_json(methods, one, out, e);
        if (st != BL_OK) {
            bl_within(e, "%s", where);
            goto out;
        }
        s->n_methods++;
    } while (next(&c));
out:
    bl_text_free(&text);
    bl_json_free(one);
    return st;
}
