/* throughput.c - timings of whole models as a file. Layout of throughput.h5: results/schema.md. */
#include "bench_impl.h"
#include "kernels/base/fs.h"
#include <string.h>

static const char where[] = "model/timings", repeats_where[] = "model/repetitions";

static bl_status write_rows(bl_record *rec, const bl_model_row *row, size_t n, bl_arena *a, bl_err *e)
{
    bl_status st = BL_OK;
    size_t all = 0, k = 0;
    for (size_t i = 0; i < n; i++) all += (size_t)row[i].n_repeat;
    const char **what = bl_alloc(a, n, sizeof *what, e), **method = bl_alloc(a, n, sizeof *method, e);
    const char **held = bl_alloc(a, n, sizeof *held, e);
    int64_t *tokens = bl_alloc(a, n, sizeof *tokens, e), *of = bl_alloc(a, all, sizeof *of, e);
    double *seconds = bl_alloc(a, n, sizeof *seconds, e), *t = bl_alloc(a, all, sizeof *t, e),
           *clock = bl_alloc(a, n, sizeof *clock, e);
    if (!what || !method || !held || !tokens || !of || !seconds || !t || !clock) return BL_E_NOMEM;
    for (size_t i = 0; i < n; i++) {
        what[i] = row[i].what;
        method[i] = row[i].method;
        tokens[i] = row[i].tokens;
        seconds[i] = row[i].seconds;
        clock[i] = row[i].clock;
        held[i] = row[i].held ? row[i].held : "";
        for (int64_t j = 0; j < row[i].n_repeat; j++, k++) {
            of[k] = (int64_t)i;
            t[k] = row[i].repeat[j];
        }
    }
    const bl_column column[] = {
        {"what", NULL, "what was timed", BL_COL_TEXT, what},
        {"method", NULL, "method; cblas_sgemm: the products alone", BL_COL_TEXT, method},
        {"tokens", "1", "rows through the model", BL_COL_INT, tokens},
        {"seconds", "s", "wall time, median over the repetitions", BL_COL_REAL, seconds},
        {"clock_mhz", "MHz", "of a GPU meanwhile, median; 0: not known", BL_COL_REAL, clock},
        {"held_by", NULL, "all that held that clock down; empty: nothing, or not known", BL_COL_TEXT, held}};
    const bl_column each[] = {{"row", "1", "of /model/timings, from 0", BL_COL_INT, of},
                              {"seconds", "s", "wall time, in the order of measuring", BL_COL_REAL, t}};
    BL_TRY(bl_record_table(rec, where,
                           &(bl_table_data){.n = (int64_t)n, .n_columns = (int)BL_COUNT(column), .column = column}, e));
    BL_TRY(bl_record_table(rec, repeats_where,
                           &(bl_table_data){.n = (int64_t)all, .n_columns = (int)BL_COUNT(each), .column = each}, e));
out:
    return st;
}

bl_status bl_throughput_write(const char *dir, const bl_speed_record *r, bl_err *e)
{
    bl_status st = BL_OK;
    bl_record *rec = NULL;
    bl_arena *a = NULL;
    char now[32], *path = bl_join(dir, BL_THROUGHPUT_FILE, e);
    bl_kernel_facts facts = r->facts;

    if (!path) return BL_E_NOMEM;
    bl_utc(now);
    facts.created = now;
    BL_TRY(bl_arena_new(&a, e));
    BL_TRY(bl_record_begin(path, "throughput", bl_hash_bytes(facts.shape, strlen(facts.shape)), &rec, e));
    BL_TRY(bl_bench_write_facts(rec, &facts, e));
    BL_TRY(write_rows(rec, r->model, r->n_models, a, e));
    BL_TRY(bl_record_commit(rec, e));
    rec = NULL;
out:
    bl_record_drop(rec);
    bl_arena_free(a);
    bl_free(path);
    return st;
}

static bl_status read_rows(const bl_shard *s, bl_arena *a, bl_speed_record *out, bl_err *e)
{
    bl_status st = BL_OK;
    const char **what, **method, **held = NULL;
    int64_t *tokens, *of, n, all;
    double *seconds, *t, *clock = NULL;
    bl_model_row *row;
    BL_TRY(bl_shard_texts(s, "model/timings_method", a, &method, &n, e));
    BL_TRY(bl_shard_texts(s, "model/timings_what", a, &what, &n, e));
    BL_TRY(bl_shard_column_int(s, where, "tokens", a, &tokens, &n, e));
    BL_TRY(bl_shard_column_real(s, where, "seconds", a, &seconds, &n, e));
    if (bl_shard_has(s, "model/timings_held_by")) { /* not in earlier files */
        BL_TRY(bl_shard_texts(s, "model/timings_held_by", a, &held, &n, e));
        BL_TRY(bl_shard_column_real(s, where, "clock_mhz", a, &clock, &n, e));
    }
    BL_TRY(bl_shard_column_int(s, repeats_where, "row", a, &of, &all, e));
    BL_TRY(bl_shard_column_real(s, repeats_where, "seconds", a, &t, &all, e));
    if (!(row = bl_alloc(a, (size_t)n, sizeof *row, e))) {
        st = BL_E_NOMEM;
        goto out;
    }
    for (int64_t i = 0; i < n; i++)
        row[i] = (bl_model_row){.what = what[i],
                                .method = method[i],
                                .tokens = tokens[i],
                                .seconds = seconds[i],
                                .clock = clock ? clock[i] : 0,
                                .held = held ? held[i] : ""};
    for (int64_t i = 0; i < all; i++) {
        if (of[i] < 0 || of[i] >= n || (i && of[i] < of[i - 1])) {
            st = bl_fail(e, BL_E_CORRUPT, "%s: repetitions of row %lld, of %lld", repeats_where, (long long)of[i],
                         (long long)n);
            goto out;
        }
        if (!row[of[i]].n_repeat++) row[of[i]].repeat = t + i;
    }
    out->model = row;
    out->n_models = (size_t)n;
out:
    return st;
}

bl_status bl_throughput_read(const char *dir, bl_arena *a, bl_speed_record *out, bl_err *e)
{
    bl_status st = BL_OK;
    bl_shard *s = NULL;
    char *path = bl_join(dir, BL_THROUGHPUT_FILE, e);
    bl_speed_record r = {.name = dir, .facts = {.device = ""}};

    if (!path) return BL_E_NOMEM;
    if (bl_exists(path)) {
        BL_TRY(bl_shard_open(path, &s, e));
        st = bl_bench_read_facts(s, a, &r.facts, e);
        if (st == BL_OK) st = read_rows(s, a, &r, e);
        if (st != BL_OK) {
            bl_within(e, "%s", path);
            goto out;
        }
    }
    *out = r;
out:
    bl_shard_close(s);
    bl_free(path);
    return st;
}
