/* table.c - reads directories of shards and failure notes into long rows, each file once. */
#include "cell_impl.h"
#include "rows.h"

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

static bl_status number_text(reader *r, int64_t v, const char **out)
{
    char text[24];
    snprintf(text, sizeof text, "%lld", (long long)v);
    return keep_text(r, text, out);
}

/* Times, rates and memory are no metric rows. */
static bool is_cost(const char *unit) { return !strcmp(unit, "s") || !strcmp(unit, "s-1") || !strcmp(unit, "byte"); }

static bl_status add_cell(reader *r, const char *path, const bl_cell *c)
{
    char hex[33];
    bl_status st;
    bl_row row = {
        .model = c->model,
        .stored_as = c->stored_as,
        .method = c->method,
        .bits = "",
        .group = c->group_text,
        .task = c->task,
        .version = c->task_version,
        .limit = c->limit,
        .bits_per_weight = c->bits_per_weight,
        .packed_bytes = c->packed_bytes,
        .peak_bytes = c->peak_bytes,
        .seconds = c->seconds,
        .has_cost = true,
        .status = "ok",
        .reason = "",
        .key = c->key,
        .seed = c->seed,
        .notes = c->notes,
        .simulated = c->simulated ? c->simulated : "",
        .unit = "1",
        .dir = r->dir,
        .tokens_per_second = c->tokens_per_second,
        .quantize_seconds = c->quantize_seconds,
        .kv_bytes = c->kv_bytes,
        .bytes_read = c->bytes_read,
        .truncated = c->truncated,
    };

    bl_hash_hex(c->hash, hex);
    BL_TRY(keep_text(r, path, &row.path));
    BL_TRY(keep_text(r, hex, &row.hash));
    if (c->wbits >= 0) BL_TRY(number_text(r, c->wbits, &row.bits));
    for (int i = 0; i < c->n_metrics; i++) {
        const bl_cell_metric *m = &c->metric[i];
        if (is_cost(m->unit)) continue;
        row.metric = m->name;
        row.unit = m->unit;
        row.value = m->value;
        row.stderr_ = m->stderr_;
        row.has_value = true;
        row.has_stderr = m->has_stderr;
        row.n = m->n;
        row.direction = m->direction;
        BL_TRY(add_row(r, &row));
    }
out:
    return st;
}

/* A shard that is no cell (kernel timings lie in the same directory) is passed over. */
static bl_status read_shard(reader *r, const char *path)
{
    bl_err why = {0};
    bl_shard *s = NULL;
    bl_cell c;
    bl_status st = bl_shard_open(path, &s, &why);

    if (st != BL_OK) return skip(r, st, &why);
    if (bl_shard_has(s, "task")) {
        st = bl_cell_of_shard(s, BL_CELL_FOR_TABLE, r->t->arena, &c, &why);
        if (st != BL_OK) bl_within(&why, "%s: not a finished cell", path);
        st = st != BL_OK ? skip(r, st, &why) : add_cell(r, path, &c);
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
    bl_row row = {
        .model = f.model,
        .stored_as = f.stored_as,
        .method = f.method,
        .bits = "",
        .group = f.group_text,
        .task = f.task,
        .version = f.task_version,
        .metric = "",
        .limit = f.limit,
        .status = f.status,
        .reason = f.reason,
        .key = f.key,
        .seed = f.seed,
        .notes = "",
        .simulated = "",
        .unit = "1",
        .hash = f.hash,
        .dir = r->dir,
    };
    BL_TRY(keep_text(r, path, &row.path));
    if (f.wbits >= 0) BL_TRY(number_text(r, f.wbits, &row.bits));
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
    for (size_t i = 0; i < n; i++) { /* kernels.h5: timings of `bench kernels`, no cell */
        bool is_note = ends_with(names[i], ".failed.json");
        if (names[i][0] == '.' || strcmp(names[i], "kernels.h5") == 0 || (!is_note && !ends_with(names[i], ".h5")) ||
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
