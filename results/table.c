/* table.c - reads directories of shards and failure notes into long rows, each file once. */
#include "cell_impl.h"
#include "table_impl.h"

#include "timing.h"
#include <string.h>

typedef struct reader {
    bl_table *t;
    size_t cap, skipped_cap;
    const char *dir;
    bl_err *e;
} reader;

static bool ends_with(const char *s, const char *end)
{
    size_t n = strlen(s), k = strlen(end);
    return n > k && !strcmp(s + n - k, end);
}

/* Out of memory ends the reading; anything else skips the file and is told. */
static bl_status skip(reader *r, bl_status why, const bl_err *text)
{
    bl_table *t = r->t;
    bl_status st;
    char *copy;

    if (why == BL_E_NOMEM) return bl_fail(r->e, why, "%s", text->text);
    if ((st = bl_grow(&t->skipped_reason, &r->skipped_cap, t->skipped + 1, sizeof *t->skipped_reason, r->e)) != BL_OK)
        return st;
    if (!(copy = bl_strdup(text->text, r->e))) return BL_E_NOMEM;
    t->skipped_reason[t->skipped++] = copy;
    return BL_OK;
}

static bl_status add_row(reader *r, const bl_row *row)
{
    bl_status st = bl_grow(&r->t->row, &r->cap, r->t->n + 1, sizeof *row, r->e);
    if (st == BL_OK) r->t->row[r->t->n++] = *row;
    return st;
}

static bl_status keep_text(reader *r, const char *s, const char **out)
{
    return (*out = bl_arena_str(r->t->arena, s ? s : "", s ? strlen(s) : 0, r->e)) ? BL_OK : BL_E_NOMEM;
}

static bl_status add_metrics(reader *r, const bl_row *cell, const bl_cell_metric *m, int64_t n)
{
    bl_status st = BL_OK;
    for (int64_t i = 0; i < n; i++) {
        bl_row row = *cell;
        row.metric = m[i].name;
        row.unit = m[i].unit;
        row.item_group = m[i].group ? m[i].group : "";
        row.value = m[i].value;
        row.stderr_ = m[i].stderr_;
        row.has_value = true;
        row.has_stderr = m[i].has_stderr;
        row.headline = m[i].headline;
        row.percent = m[i].percent;
        row.direction = m[i].direction;
        row.n = m[i].n;
        row.over = m[i].over;
        BL_TRY(add_row(r, &row));
    }
out:
    return st;
}

static bl_status add_cell(reader *r, const char *path, const bl_cell *c)
{
    char hex[33];
    bl_status st;
    bl_row row = {.cell = c, .has_cost = true, .status = "ok", .reason = "", .dir = r->dir};

    bl_hash_hex(c->hash, hex);
    BL_TRY(keep_text(r, path, &row.path));
    BL_TRY(keep_text(r, hex, &row.hash));
    BL_TRY(add_metrics(r, &row, c->metric, c->n_metrics));
    BL_TRY(add_metrics(r, &row, c->grouped, c->n_grouped));
out:
    return st;
}

/* A shard that is no cell (kernel timings, in the same directory) is passed over. */
static bl_status read_shard(reader *r, const char *path)
{
    bl_err why = {0};
    bl_shard *s = NULL;
    bl_cell *c = bl_alloc(r->t->arena, 1, sizeof *c, r->e);
    bl_status st = bl_shard_open(path, &s, &why);

    if (!c) st = BL_E_NOMEM;
    else if (st != BL_OK) st = skip(r, st, &why);
    else if (bl_shard_has(s, "task")) {
        st = bl_cell_of_shard(s, BL_CELL_FOR_TABLE, r->t->arena, c, &why);
        if (st != BL_OK) bl_within(&why, "%s: not a finished cell", path);
        st = st != BL_OK ? skip(r, st, &why) : add_cell(r, path, c);
    }
    bl_shard_close(s);
    return st;
}

static bl_status read_note(reader *r, const char *path)
{
    bl_err why = {0};
    bl_cell_failure f;
    bl_status st = bl_failure_read(path, r->t->arena, &f, &why);

    if (st != BL_OK) return skip(r, st, &why);
    bl_cell *c = bl_alloc(r->t->arena, 1, sizeof *c, r->e);
    if (!c) return BL_E_NOMEM;
    *c = (bl_cell){.key = f.key,
                   .model = f.model,
                   .stored_as = f.stored_as,
                   .method = f.method,
                   .wbits = f.wbits,
                   .group_text = f.group_text,
                   .task = f.task,
                   .task_version = f.task_version,
                   .limit = f.limit,
                   .drawn = f.sample,
                   .seed = f.seed};
    bl_row row = {.cell = c,
                  .status = f.status,
                  .reason = f.reason,
                  .hash = f.hash,
                  .dir = r->dir,
                  .metric = "",
                  .unit = "1",
                  .item_group = ""};
    BL_TRY(keep_text(r, path, &row.path));
    st = add_row(r, &row);
out:
    return st;
}

/* The names are sorted: is "<stem>.h5" among them? Then the cell was done later, and its note is history. */
static bool has_shard(char **names, size_t n, const char *note)
{
    size_t stem = strlen(note) - strlen(".failed.json"), low = 0, high = n;

    while (low < high) {
        size_t mid = low + (high - low) / 2;
        int order = strncmp(names[mid], note, stem);
        if (order == 0) order = strcmp(names[mid] + stem, ".h5");
        if (order == 0) return true;
        if (order < 0) low = mid + 1;
        else high = mid;
    }
    return false;
}

static bl_status read_dir(reader *r, const char *dir)
{
    char **names = NULL, *path = NULL;
    size_t n = 0;
    bl_status st;

    BL_TRY(keep_text(r, dir, &r->dir));
    BL_TRY(bl_dir_list(dir, &names, &n, r->e));
    for (size_t i = 0; i < n; i++) { /* timings of `bench` are no cells */
        bool is_note = ends_with(names[i], ".failed.json");
        if (names[i][0] == '.' || bl_is_timings(names[i]) || (!is_note && !ends_with(names[i], ".h5")) ||
            (is_note && has_shard(names, n, names[i])))
            continue;
        bl_free(path);
        if (!(path = bl_join(dir, names[i], r->e))) {
            st = BL_E_NOMEM;
            goto out;
        }
        BL_TRY(is_note ? read_note(r, path) : read_shard(r, path));
    }
out:
    bl_free(path);
    bl_list_free(names, n);
    return st;
}

/* ---- results that a newer one stands for ---- */
/* Same names, conditions and directory. */
static bool same_row(const bl_row *a, const bl_row *b, bl_text *x, bl_text *y)
{
    const bl_field *f;
    for (size_t k = 0; (f = bl_field_at(k)); k++)
        if (f->cell && f->apart && !bl_field_same(f, a, b, x, y)) return false;
    return !strcmp(a->cell->key, b->cell->key) && !strcmp(a->dir, b->dir);
}

/* Rows of a cell stand together, and cells of one key: files are read in the order of their names. */
static bl_status leave_out_older(bl_table *t, bl_err *e)
{
    bl_status st = BL_OK;
    bl_text x = {0}, y = {0};
    size_t kept = 0;
    bool *old = bl_new(t->n, sizeof *old, e);

    if (!old) return BL_E_NOMEM;
    for (size_t i = 0; i < t->n; i++) {
        const bl_row *a = &t->row[i];
        if (!a->has_value || (i && t->row[i - 1].cell == a->cell)) continue;
        for (size_t k = i + 1; k < t->n && !strcmp(t->row[k].cell->key, a->cell->key); k++) {
            const bl_row *b = &t->row[k];
            if (!b->has_value || b->cell == a->cell || t->row[k - 1].cell == b->cell || !same_row(a, b, &x, &y))
                continue;
            const bl_cell *out = strcmp(a->cell->created ? a->cell->created : "",
                                        b->cell->created ? b->cell->created : "") < 0
                                     ? a->cell
                                     : b->cell;
            for (size_t m = i; m < t->n && !strcmp(t->row[m].cell->key, a->cell->key); m++)
                old[m] = old[m] || t->row[m].cell == out;
        }
    }
    for (size_t i = 0; i < t->n; i++) {
        t->older += old[i] && (i == 0 || t->row[i - 1].cell != t->row[i].cell);
        if (!old[i]) t->row[kept++] = t->row[i];
    }
    t->n = kept;
    if (x.failed || y.failed) st = bl_text_check(x.failed ? &x : &y, e);
    bl_text_free(&x);
    bl_text_free(&y);
    bl_free(old);
    return st;
}

bl_status bl_table_read(const char *const *dir, size_t n, bl_table **out, bl_err *e)
{
    bl_status st = BL_OK;
    reader r = {.e = e, .dir = ""};

    if (!(r.t = bl_new(1, sizeof *r.t, e))) return BL_E_NOMEM;
    BL_TRY(bl_arena_new(&r.t->arena, e));
    for (size_t i = 0; i < n; i++) {
        if (bl_is_dir(dir[i])) BL_TRY(read_dir(&r, dir[i]));
        else if (bl_exists(dir[i])) BL_TRY(read_shard(&r, dir[i]));
        else {
            st = bl_fail(e, BL_E_MISSING, "%s: there is no such directory", dir[i]);
            goto out;
        }
    }
    BL_TRY(leave_out_older(r.t, e));
    *out = r.t;
    r.t = NULL;
out:
    bl_table_free(r.t);
    return st;
}

void bl_table_free(bl_table *t)
{
    if (!t) return;
    bl_list_free(t->skipped_reason, t->skipped);
    bl_arena_free(t->arena);
    bl_free(t->row);
    bl_free(t);
}

bl_status bl_table_print(const bl_table *t, const bl_table_opts *o, bl_text *out, bl_err *e)
{
    static bl_status (*const print[])(const bl_table *, const bl_table_opts *, bl_text *, bl_err *) = {
        [BL_TABLE_MD] = bl_table_md,
        [BL_TABLE_CSV] = bl_table_csv,
        [BL_TABLE_TEX] = bl_table_tex,
        [BL_TABLE_JSON] = bl_table_json,
    };
    bl_status st = print[o->format](t, o, out, e);
    return st == BL_OK ? bl_text_check(out, e) : st;
}
