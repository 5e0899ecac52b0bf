/* spec_train.c - what the methods of a study learn from: "train", and its sets by name. */
#include "spec_impl.h"
#include <string.h>

enum { MOST_SETS = 64 };

static uint64_t bit_of(const char *name) { return (uint64_t)1 << (bl_opt_find(bl_train_rows, name) - bl_train_rows); }

/* What the rows say is text of the document is kept, paths as a shell reads them. */
static bl_status keep_texts(bl_spec *s, bl_train_settings *t, bl_err *e)
{
    const char **paths[] = {&t->data, &t->valid, &t->init_adapter};
    for (size_t i = 0; i < BL_COUNT(paths); i++)
        if (*paths[i] && !(*paths[i] = bl_spec_path(s, *paths[i], strlen(*paths[i]), e))) return BL_E_NOMEM;
    t->betas = bl_arena_str(s->arena, t->betas, strlen(t->betas), e);
    return t->betas ? BL_OK : BL_E_NOMEM;
}

static bl_status read_set(bl_spec *s, const char *where, const bl_json *v, bl_train_set *out, bl_err *e)
{
    bl_status st = BL_OK;
    const char *name = bl_json_key(v);
    char within[240];
    snprintf(within, sizeof within, "%s: sets: %.64s", where, name);
    if (!bl_is_set_name(name))
        return bl_fail(e, BL_E_CONFIG, "%s: a set's name is of small letters, digits, - and _", within);
    if (bl_json_kind(v) != BL_JSON_OBJECT)
        return bl_fail(e, BL_E_CONFIG, "%s: a set is an object, like {\"data\": \"alpaca.json\"}", within);
    *out = (bl_train_set){.settings = s->train};
    if (!(out->name = bl_arena_str(s->arena, name, strlen(name), e))) return BL_E_NOMEM;
    for (const bl_json *o = bl_json_first(v); o; o = bl_json_next(o)) {
        BL_TRY(bl_opt_set_json(bl_train_rows, &out->settings, bl_json_key(o), o, within, e));
        out->said |= bit_of(bl_json_key(o));
    }
    BL_TRY(keep_texts(s, &out->settings, e));
out:
    return st;
}

bl_status bl_spec_train_read(bl_spec *s, const char *where, const bl_json *v, bl_err *e)
{
    bl_status st = BL_OK;
    const bl_json *sets = bl_json_get(v, "sets");
    for (const bl_json *o = bl_json_first(v); o; o = bl_json_next(o))
        if (o != sets) BL_TRY(bl_opt_set_json(bl_train_rows, &s->train, bl_json_key(o), o, where, e));
    BL_TRY(keep_texts(s, &s->train, e));
    s->trains = true;
    if (!sets) goto out;
    if (bl_json_kind(sets) != BL_JSON_OBJECT || !bl_json_size(sets) || bl_json_size(sets) > MOST_SETS) {
        st = bl_fail(e, BL_E_CONFIG, "%s: 'sets' is an object of 1 to %d sets, each {\"data\": …}", where, MOST_SETS);
        goto out;
    }
    if (!(s->set = bl_alloc(s->arena, bl_json_size(sets), sizeof *s->set, e))) {
        st = BL_E_NOMEM;
        goto out;
    }
    for (const bl_json *o = bl_json_first(sets); o; o = bl_json_next(o))
        BL_TRY(read_set(s, where, o, &s->set[s->n_sets++], e));
out:
    return st;
}

bl_status bl_spec_train_set(bl_spec *s, const char *name, const char *value, bl_err *e)
{
    bl_status st = BL_OK;
    BL_TRY(bl_opt_set(bl_train_rows, &s->train, name, value, "--set train", e));
    for (size_t i = 0; i < s->n_sets; i++)
        if (!(s->set[i].said & bit_of(name)))
            BL_TRY(bl_opt_set(bl_train_rows, &s->set[i].settings, name, value, "--set train", e));
out:
    return st;
}

size_t bl_spec_set(const bl_spec *s, const bl_method_chain *m)
{
    const char *on = bl_chain_on(m);
    size_t i = s->n_sets;
    while (on && i > 0 && strcmp(s->set[i - 1].name, on)) i--;
    return on ? i : 0;
}

const bl_train_settings *bl_spec_training(const bl_spec *s, const bl_method_chain *m)
{
    size_t set = bl_spec_set(s, m);
    return !s->trains ? NULL : set ? &s->set[set - 1].settings : &s->train;
}

bl_status bl_spec_train_check(const bl_spec *s, const char *where, bl_err *e)
{
    bl_status st = BL_OK;
    bool plain = s->n_sets == 0; /* what "train" says itself is learned from */
    for (size_t i = 0; i < s->n_methods; i++) {
        const char *on = bl_chain_on(&s->method[i]);
        if (on && !bl_spec_set(s, &s->method[i]))
            return bl_fail(e, BL_E_CONFIG, "%s: method %s: \"train\" has no set '%s'%s%s", where, s->method[i].text, on,
                           s->n_sets ? "; one of its sets is " : "; \"sets\" in it names them",
                           s->n_sets ? s->set[0].name : "");
        plain |= !on && bl_chain_needs(&s->method[i]) & BL_NEED_TRAINING;
    }
    if (!s->trains) return BL_OK;
    if (plain && (st = bl_train_settings_check(&s->train, e)) != BL_OK) bl_within(e, "%s: train", where);
    for (size_t i = 0; i < s->n_sets && st == BL_OK; i++)
        if ((st = bl_train_settings_check(&s->set[i].settings, e)) != BL_OK)
            bl_within(e, "%s: train: sets: %s", where, s->set[i].name);
    return st;
}

bl_status bl_spec_train_put(const bl_spec *s, bl_json_out *o, bl_err *e)
{
    bl_status st = BL_OK;
    bl_text all = {0}, set = {0};
    if (!s->trains) goto out;
    BL_TRY(bl_train_settings_put(&s->train, &all, e));
    if (s->n_sets) { /* a set is said whole: what it takes over is in it */
        bl_json_out sets = {.t = &set, .compact = true};
        bl_text one = {0};
        bl_json_object(&sets, NULL);
        for (size_t i = 0; i < s->n_sets && st == BL_OK; i++) {
            one.n = 0;
            st = bl_train_settings_put_said(&s->set[i].settings, s->set[i].said, &one, e);
            if (st == BL_OK) bl_json_add_text(&sets, s->set[i].name, one.s);
        }
        bl_json_end(&sets);
        bl_text_free(&one);
        if (st != BL_OK) goto out;
        BL_TRY(bl_text_check(&set, e));
        all.n--; /* before the last bracket */
        bl_text_addf(&all, "%s\"sets\": %s}", all.n > 1 ? ", " : "", set.s);
        BL_TRY(bl_text_check(&all, e));
    }
    bl_json_add_text(o, "train", all.s);
out:
    bl_text_free(&all);
    bl_text_free(&set);
    return st;
}
