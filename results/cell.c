/* cell.c - a cell as a shard and back: the lines of cell.def, and around them the larger parts. */
#include "cell_impl.h"

#include <inttypes.h>
#include <string.h>

const bl_cell_field bl_cell_fields[] = {
#define BL_CELL(type, member, where, unit, absent, column, use, meaning)                                               \
    {BL_CELL_IS_##type, #member, offsetof(bl_cell, member), where, unit, absent, column, BL_USE_##use, meaning},
#define BL_CELL_PART(where, kind, unit, meaning)
#include "cell.def"
#undef BL_CELL
#undef BL_CELL_PART
};

const bl_cell_field *bl_cell_field_at(size_t i) { return i < (size_t)BL_CELL_FIELDS ? &bl_cell_fields[i] : NULL; }

/* HDF5 names cannot hold '/', and "." means something else. */
bl_status bl_cell_place(const char *where, const char *task, bl_text *out, bl_err *e)
{
    const char *at = strchr(where, '@');

    out->n = 0;
    bl_text_addn(out, where, at ? (size_t)(at - where) : strlen(where));
    for (const char *c = task; at && *c; c++) {
        if (*c == '/' || *c == '%' || !strcmp(task, ".")) bl_text_addf(out, "%%%02X", (unsigned)(unsigned char)*c);
        else bl_text_addn(out, c, 1);
    }
    if (at) bl_text_add(out, at + 1);
    return bl_text_check(out, e);
}

bl_status bl_same_length(const char *where, int64_t n, int64_t expected, bl_err *e)
{
    return n == expected ? BL_OK
                         : bl_fail(e, BL_E_FORMAT, "'%s' has %lld entries, expected %lld", where, (long long)n,
                                   (long long)expected);
}

/* ---- the page ----------------------------------------------------------------------------------- */
/* "task/@/name" as "task/<task>/name". */
static void put_path(bl_text *out, const char *where)
{
    const char *at = strchr(where, '@');
    if (at) bl_text_addf(out, "| `%.*s<task>%s` | ", (int)(at - where), where, at + 1);
    else bl_text_addf(out, "| `%s` | ", where);
}

static void put_line(bl_text *out, const bl_cell_field *f)
{
    static const char *const kinds[] = {"text", "integer", "integer", "real"};
    put_path(out, f->where);
    bl_text_addf(out, "%s%s | %s | %s |\n", kinds[f->type], f->absent && *f->absent ? ", or reason" : "",
                 f->unit ? f->unit : "-", f->meaning);
}

/* "@layers" is the list of layer.def. */
static void put_part(bl_text *out, const char *where, const char *kind, const char *unit, const char *meaning)
{
    const bl_layer_field *f;

    put_path(out, where);
    bl_text_addf(out, "%s | %s | ", kind, unit);
    if (strcmp(meaning, "@layers")) bl_text_add(out, meaning);
    else {
        bl_text_add(out, "a row for each linear layer");
        for (size_t i = 0, n = 0; (f = bl_layer_field_at(i)); i++)
            if (f->unit)
                bl_text_addf(out, "%s `%s` (%s%s) %s", n++ ? ";" : ":", f->name, f->unit,
                             f->maybe ? ", only there when some layer has it, below 0 for the others" : "", f->meaning);
    }
    bl_text_add(out, " |\n");
}

void bl_cell_page(bl_text *out)
{
    size_t i = 0;
    bl_text_add(out, "| path | kind | unit | meaning |\n| --- | --- | --- | --- |\n");
#define BL_CELL(type, member, where, unit, absent, column, use, meaning) put_line(out, &bl_cell_fields[i++]);
#define BL_CELL_PART(where, kind, unit, meaning)                         put_part(out, where, kind, unit, meaning);
#include "cell.def"
#undef BL_CELL
#undef BL_CELL_PART
}

/* ---- writing ------------------------------------------------------------------------------------ */
static bl_status put_field(bl_record *r, const bl_cell_field *f, const bl_cell *c, const char *where, bl_err *e)
{
    const void *p = (const char *)c + f->at;
    bool there = true;

    switch (f->type) { /* a number that is not one is there, and refused */
    case BL_CELL_IS_TEXT: there = *(const char *const *)p && **(const char *const *)p; break;
    case BL_CELL_IS_INT: there = *(const int64_t *)p > 0; break;
    case BL_CELL_IS_COUNT: there = *(const int64_t *)p >= 0; break;
    case BL_CELL_IS_REAL: there = !(*(const double *)p <= 0); break;
    }
    if (f->absent && !there) return *f->absent ? bl_record_absent(r, where, f->absent, e) : BL_OK;
    switch (f->type) {
    case BL_CELL_IS_TEXT: return bl_record_text(r, where, *(const char *const *)p, e);
    case BL_CELL_IS_INT:
    case BL_CELL_IS_COUNT: return bl_record_int(r, where, *(const int64_t *)p, f->unit, e);
    case BL_CELL_IS_REAL: return bl_record_real(r, where, *(const double *)p, f->unit, e);
    }
    return BL_OK;
}

bl_status bl_cell_write(const char *dir, const bl_cell *c, bl_err *e)
{
    bl_status st;
    bl_record *r = NULL;
    char *file = NULL, *name = NULL, *path = NULL;
    bl_text at = {0};

    if (!(file = bl_cell_file(c->key, c->hash, e)) || !(name = bl_format_text(e, "%s.h5", file)) ||
        !(path = bl_join(dir, name, e))) {
        st = BL_E_NOMEM;
        goto out;
    }
    BL_TRY(bl_record_begin(path, c->key, c->hash, &r, e));
    for (int i = 0; i < BL_CELL_FIELDS; i++) {
        BL_TRY(bl_cell_place(bl_cell_fields[i].where, c->task, &at, e));
        BL_TRY(put_field(r, &bl_cell_fields[i], c, at.s, e));
    }
    BL_TRY(bl_put_metrics(r, c, &at, e));
    BL_TRY(bl_put_samples(r, c, &at, e));
    BL_TRY(bl_put_divergence(r, c, &at, e));
    BL_TRY(bl_put_layers(r, c, e));
    BL_TRY(bl_record_commit(r, e));
    r = NULL;
out:
    bl_record_drop(r);
    bl_text_free(&at);
    bl_free(path);
    bl_free(name);
    bl_free(file);
    return st;
}

/* ---- reading ------------------------------------------------------------------------------------ */
/* What is absent stays NULL or 0, of a count it is -1. */
static bl_status get_field(const bl_shard *s, const bl_cell_field *f, const char *where, bl_arena *a, bl_cell *c,
                           bl_err *e)
{
    void *p = (char *)c + f->at;
    bl_status st = BL_OK;

    switch (f->type) {
    case BL_CELL_IS_TEXT: st = bl_shard_text(s, where, a, p, e); break;
    case BL_CELL_IS_INT: st = bl_shard_int(s, where, p, e); break;
    case BL_CELL_IS_COUNT:
        if ((st = bl_shard_int(s, where, p, e)) == BL_E_MISSING) *(int64_t *)p = -1;
        break;
    case BL_CELL_IS_REAL: st = bl_shard_real(s, where, p, e); break;
    }
    return st == BL_E_MISSING && f->absent ? BL_OK : st;
}

bl_status bl_cell_of_shard(const bl_shard *s, bl_cell_part part, bl_arena *a, bl_cell *out, bl_err *e)
{
    bl_cell c = {0};
    bl_text at = {0};
    const char **tasks, *hex, *task;
    int64_t n;
    bl_status st;

    BL_TRY(bl_shard_text(s, "run_key", a, &c.key, e));
    BL_TRY(bl_shard_text(s, "cell_hash", a, &hex, e));
    if (strlen(hex) != 32 || sscanf(hex, "%16" SCNx64 "%16" SCNx64, &c.hash.hi, &c.hash.lo) != 2) {
        st = bl_fail(e, BL_E_FORMAT, "cell_hash '%s'", hex);
        goto out;
    }
    BL_TRY(bl_shard_list(s, "task", a, &tasks, &n, e));
    if (n != 1) {
        st = bl_fail(e, BL_E_FORMAT, "%lld tasks in one cell", (long long)n);
        goto out;
    }
    task = tasks[0]; /* the group's name: escaped already */
    for (int i = 0; i < BL_CELL_FIELDS; i++) {
        const bl_cell_field *f = &bl_cell_fields[i];
        const char *star = strchr(f->where, '@');
        if (part == BL_CELL_FOR_TABLE && f->use == BL_USE_SHARD && i != BL_FIELD_created) continue;
        at.n = 0;
        if (star) bl_text_addf(&at, "%.*s%s%s", (int)(star - f->where), f->where, task, star + 1);
        else bl_text_add(&at, f->where);
        BL_TRY(bl_text_check(&at, e));
        BL_TRY(get_field(s, f, at.s, a, &c, e));
    }
    BL_TRY(bl_get_metrics(s, c.task, a, &at, &c, e));
    if (part == BL_CELL_WHOLE) BL_TRY(bl_get_samples(s, c.task, a, &at, &c, e));
    BL_TRY(bl_get_divergence(s, c.task, part == BL_CELL_WHOLE, a, &at, &c, e));
    if (part != BL_CELL_FOR_TABLE) BL_TRY(bl_get_layers(s, a, &c, e));
    *out = c;
out:
    bl_text_free(&at);
    return st;
}

bl_status bl_cell_read(const char *path, bool with_samples, bl_arena *a, bl_cell *out, bl_err *e)
{
    bl_shard *s = NULL;
    bl_status st = bl_shard_open(path, &s, e);

    if (st != BL_OK) return st;
    st = bl_cell_of_shard(s, with_samples ? BL_CELL_WHOLE : BL_CELL_NO_SAMPLES, a, out, e);
    if (st == BL_E_FORMAT || st == BL_E_MISSING) bl_within(e, "%s: not a finished cell", path);
    bl_shard_close(s);
    return st;
}

bool bl_cell_compared(const char *path, bl_hash base)
{
    bl_shard *s = NULL;
    bl_arena *a = NULL;
    bl_text at = {0};
    const char **task, *hex;
    char wanted[33];
    int64_t n;
    bool is = false;

    bl_hash_hex(base, wanted);
    if (bl_arena_new(&a, NULL) == BL_OK && bl_shard_open(path, &s, NULL) == BL_OK &&
        bl_shard_list(s, "task", a, &task, &n, NULL) == BL_OK && n == 1) {
        bl_text_addf(&at, "task/%s/base_hash", task[0]); /* the group's name: escaped already */
        if (at.failed) is = false;
        else if (bl_shard_text(s, at.s, a, &hex, NULL) == BL_OK) is = !strcmp(hex, wanted);
        else {
            at.n -= strlen("base_hash");
            bl_text_add(&at, "kl");
            is = !at.failed && bl_shard_has(s, at.s);
        }
    }
    bl_text_free(&at);
    bl_shard_close(s);
    bl_arena_free(a);
    return is;
}
