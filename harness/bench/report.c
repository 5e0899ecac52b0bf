/* report.c - timings of kernels as files and as text. Layout of kernels.h5: results/schema.md. */
#include "bench_impl.h"
#include "bl_build.h"
#include "kernels/base/fs.h"
#include "kernels/base/json.h"
#include <math.h>
#include <stddef.h>
#include <string.h>

/* The columns of /kernel/timings: the one list that writing, reading and printing JSON follow. */
#define AT(member) offsetof(bl_kernel_row, member)
static const struct field {
    const char *name, *unit;
    bl_col_type type;
    double scale;
    size_t at;
    const char *long_name;
    bool later; /* files from before it have none */
} fields[] = {
    {"kernel", NULL, BL_COL_TEXT, 0, AT(kernel), "name of the kernel; openblas is fp32 by OpenBLAS", false},
    {"op", NULL, BL_COL_TEXT, 0, AT(op), "what is computed", false},
    {"format", NULL, BL_COL_TEXT, 0, AT(format), "format of the weight", false},
    {"backend", NULL, BL_COL_TEXT, 0, AT(backend), "who computes", false},
    {"m", "1", BL_COL_INT, 0, AT(m), "rows of x", false},
    {"out", "1", BL_COL_INT, 0, AT(out), "rows of the weight", false},
    {"in", "1", BL_COL_INT, 0, AT(in), "columns of the weight", false},
    {"group", "1", BL_COL_INT, 0, AT(group), "weights that share a scale; 0: the format has its own rule", false},
    {"bits_per_weight", "1", BL_COL_REAL, 1, AT(bits), "scales and zero points included", false},
    {"seconds", "s", BL_COL_REAL, 1, AT(seconds), "wall time of one call, weight in cache, median over the repetitions",
     false},
    {"seconds_min", "s", BL_COL_REAL, 1, AT(seconds_min), "the same, least over the repetitions", false},
    {"seconds_max", "s", BL_COL_REAL, 1, AT(seconds_max), "the same, most over the repetitions", true},
    {"cold_seconds", "s", BL_COL_REAL, 1, AT(cold),
     "wall time of one call, weight from memory, median; 0: its copies would be too many", true},
    {"cold_seconds_min", "s", BL_COL_REAL, 1, AT(cold_min), "the same, least over the repetitions", true},
    {"cold_seconds_max", "s", BL_COL_REAL, 1, AT(cold_max), "the same, most over the repetitions", true},
    {"clock_mhz", "MHz", BL_COL_REAL, 1, AT(clock), "of a GPU in the middle of the repetitions in cache; 0: not known",
     true},
    {"cold_clock_mhz", "MHz", BL_COL_REAL, 1, AT(cold_clock), "the same of those from memory", true},
    {"held_by", NULL, BL_COL_TEXT, 0, AT(held), "all that held that clock down, in cache; empty: nothing, or not known",
     true},
    {"cold_held_by", NULL, BL_COL_TEXT, 0, AT(cold_held), "the same from memory", true},
    {"bytes", "byte", BL_COL_REAL, 1, AT(bytes), "packed weight, x and y: least that must move", true},
    {"cold_openblas_ratio", "1", BL_COL_REAL, 1, AT(cold_ratio),
     "median time of OpenBLAS fp32 from memory at this shape over that of the kernel from memory", true},
    {"bytes_per_second", "byte s-1", BL_COL_REAL, 1e9, AT(gbs), "packed weight, x and y over the median time", false},
    {"flop_per_second", "s-1", BL_COL_REAL, 1e9, AT(gflops), "2 m out in over the median time", false},
    {"openblas_ratio", "1", BL_COL_REAL, 1, AT(ratio),
     "median time of OpenBLAS fp32 at this shape over the median time", false},
    {"memory_share", "1", BL_COL_REAL, 1, AT(of_memory),
     "bytes over the time from memory, as a part of run/read_bytes_per_second", true},
    {"peak_share", "1", BL_COL_REAL, 1, AT(of_peak),
     "flop_per_second as a part of run/peak_flop_per_second, of kernels in integers of run/peak_integer_per_second",
     true},
    {"nmse", "1", BL_COL_REAL, 1, AT(nmse),
     "squared error against sums in double over the power of those, same packed weight", false},
};
static const char where[] = "kernel/timings", repeats_where[] = "kernel/repetitions", wrong_where[] = "kernel/wrong",
                  probes_where[] = "run/probes";

/* ---- write ---- */
static const char *text_of(const char *member)
{
    const char *text = *(const char *const *)member;
    return text ? text : "";
}

static bl_status column_of(const struct field *f, const bl_bench_result *r, bl_arena *a, bl_column *out, bl_err *e)
{
    size_t size = f->type == BL_COL_TEXT ? sizeof(const char *) : sizeof(double);
    void *data = bl_alloc(a, r->n, size, e);
    if (!data) return BL_E_NOMEM;
    for (size_t i = 0; i < r->n; i++) {
        const char *at = (const char *)&r->row[i] + f->at;
        if (f->type == BL_COL_TEXT) ((const char **)data)[i] = text_of(at);
        else if (f->type == BL_COL_INT) ((int64_t *)data)[i] = *(const int64_t *)at;
        else ((double *)data)[i] = *(const double *)at * f->scale;
    }
    *out = (bl_column){.name = f->name, .unit = f->unit, .long_name = f->long_name, .type = f->type, .data = data};
    return BL_OK;
}

/* Every repetition of every row. */
static bl_status write_repeats(bl_record *rec, const bl_bench_result *r, bl_arena *a, bl_err *e)
{
    size_t n = 0, k = 0;
    for (size_t i = 0; i < r->n; i++) n += (size_t)(r->row[i].n_repeat[0] + r->row[i].n_repeat[1]);
    int64_t *row = bl_alloc(a, n, sizeof *row, e), *memory = bl_alloc(a, n, sizeof *memory, e);
    double *t = bl_alloc(a, n, sizeof *t, e);
    if (!row || !memory || !t) return BL_E_NOMEM;
    for (size_t i = 0; i < r->n; i++)
        for (int cold = 0; cold < 2; cold++)
            for (int64_t j = 0; j < r->row[i].n_repeat[cold]; j++, k++) {
                row[k] = (int64_t)i;
                memory[k] = cold;
                t[k] = r->row[i].repeat[cold][j];
            }
    const bl_column column[] = {
        {"row", "1", "of /kernel/timings, from 0", BL_COL_INT, row},
        {"from_memory", "1", "1: the weight came from memory; 0: from the cache", BL_COL_INT, memory},
        {"seconds", "s", "of one call, in the order of measuring", BL_COL_REAL, t}};
    return bl_record_table(rec, repeats_where,
                           &(bl_table_data){.n = (int64_t)n, .n_columns = (int)BL_COUNT(column), .column = column}, e);
}

static bl_status write_wrong(bl_record *rec, const bl_bench_result *r, bl_arena *a, bl_err *e)
{
    size_t n = r->n_wrong;
    const char **name = bl_alloc(a, n, sizeof *name, e);
    int64_t *whole = bl_alloc(a, 4 * n, sizeof *whole, e);
    double *real = bl_alloc(a, 2 * n, sizeof *real, e);
    if (!name || !whole || !real) return BL_E_NOMEM;
    for (size_t i = 0; i < n; i++) {
        const bl_kernel_wrong *w = &r->wrong[i];
        const int64_t of[] = {w->m, w->out, w->in, w->group};
        name[i] = w->kernel;
        for (size_t j = 0; j < 4; j++) whole[j * n + i] = of[j];
        real[i] = isfinite(w->nmse) ? w->nmse : BL_BENCH_NO_NUMBER;
        real[n + i] = w->limit;
    }
    const bl_column column[] = {
        {"kernel", NULL, "a kernel that was not timed, its result being wrong", BL_COL_TEXT, name},
        {"m", "1", "rows of x", BL_COL_INT, whole},
        {"out", "1", "rows of the weight", BL_COL_INT, whole + n},
        {"in", "1", "columns of the weight", BL_COL_INT, whole + 2 * n},
        {"group", "1", "weights that share a scale", BL_COL_INT, whole + 3 * n},
        {"nmse", "1", "its error; 1e99: no number", BL_COL_REAL, real},
        {"limit", "1", "what is allowed", BL_COL_REAL, real + n}};
    return bl_record_table(rec, wrong_where,
                           &(bl_table_data){.n = (int64_t)n, .n_columns = (int)BL_COUNT(column), .column = column}, e);
}

/* A row for each round of each probe. */
static bl_status write_probes(bl_record *rec, const bl_kernel_facts *f, bl_err *e)
{
    bl_status st = BL_OK;
    size_t n = 0, k = 0;
    for (size_t i = 0; i < f->n_probes; i++) n += (size_t)f->probe[i].n;
    const char **what = bl_new(n, sizeof *what, e);
    double *seconds = bl_new(n, sizeof *seconds, e);
    if (!what || !seconds) {
        st = BL_E_NOMEM;
        goto out;
    }
    for (size_t i = 0; i < f->n_probes; i++)
        for (int64_t j = 0; j < f->probe[i].n; j++, k++) {
            what[k] = f->probe[i].what;
            seconds[k] = f->probe[i].seconds[j];
        }
    const bl_column column[] = {
        {"what", NULL, "what a product of the library took its time for", BL_COL_TEXT, what},
        {"seconds", "s", "of one product, median of a round, in the order of measuring", BL_COL_REAL, seconds}};
    st = bl_record_table(rec, probes_where,
                         &(bl_table_data){.n = (int64_t)n, .n_columns = (int)BL_COUNT(column), .column = column}, e);
out:
    bl_free(what);
    bl_free(seconds);
    return st;
}

bl_status bl_bench_write_facts(bl_record *rec, const bl_kernel_facts *f, bl_err *e)
{
    const struct {
        const char *where, *text;
    } text[] = {{"env/device", f->device},    {"env/simd", f->simd},     {"env/blas", f->blas},
                {"env/driver", f->driver},    {"env/commit", f->commit}, {"run/shape", f->shape},
                {"run/slowed_by", f->slowed}, {"run/held_by", f->held},  {"run/convention", f->convention},
                {"created", f->created}};
    bl_status st = BL_OK;
    for (size_t i = 0; i < BL_COUNT(text); i++)
        BL_TRY(bl_record_text(rec, text[i].where, text[i].text ? text[i].text : "", e));
    BL_TRY(bl_record_int(rec, "env/threads", f->threads, "1", e));
    BL_TRY(bl_record_int(rec, "run/repetitions", f->repetitions, "1", e));
    BL_TRY(bl_record_real(rec, "run/read_bytes_per_second", f->read_bytes_per_second, "byte s-1", e));
    BL_TRY(bl_record_real(rec, "run/peak_flop_per_second", f->peak, "s-1", e));
    BL_TRY(bl_record_real(rec, "run/peak_integer_per_second", f->peak_integer, "s-1", e));
    BL_TRY(bl_record_real(rec, "run/clock_mhz", f->clock, "MHz", e));
    BL_TRY(bl_record_real(rec, "run/memory_clock_mhz", f->memory_clock, "MHz", e));
    BL_TRY(bl_record_real(rec, "run/power_watts", f->watts, "W", e));
    BL_TRY(bl_record_real(rec, "run/heat_celsius", f->degrees, "degC", e));
    BL_TRY(bl_record_real(rec, "run/drift", f->drift, "1", e));
    BL_TRY(bl_record_real(rec, "run/load", f->load, "1", e));
    BL_TRY(bl_record_real(rec, "run/cache_bytes", f->cache_bytes, "byte", e));
    BL_TRY(bl_record_real(rec, "run/copies_bytes", f->copies_bytes, "byte", e));
    BL_TRY(write_probes(rec, f, e));
out:
    return st;
}

static bl_status write_shard(const char *path, const bl_bench_opts *o, const bl_bench_result *r, bl_err *e)
{
    bl_status st = BL_OK;
    bl_record *rec = NULL;
    bl_arena *a = NULL;
    bl_column column[BL_COUNT(fields)];
    const char *shape = o->shape ? o->shape : "synth:smollm2-135m";
    char now[32], calls[64] = "calls";

    bl_utc(now);
    if (o->act_group)
        snprintf(calls, sizeof calls, "calls, a scale for %lld activations of 8 bits", (long long)o->act_group);
    BL_TRY(bl_arena_new(&a, e));
    for (size_t i = 0; i < BL_COUNT(fields); i++) BL_TRY(column_of(&fields[i], r, a, &column[i], e));
    BL_TRY(bl_record_begin(path, "kernels", bl_hash_bytes(shape, strlen(shape)), &rec, e));
    const bool gpu = o->device && strcmp(o->device, "cpu") != 0;
    bl_kernel_facts facts = r->facts;
    facts.created = now;
    facts.shape = shape;
    facts.repetitions = o->repetitions;
    facts.convention = gpu && o->narrow ? "replays of short graphs in a row, outputs as activations"
                       : gpu            ? "replays of short graphs in a row"
                                        : calls;
    BL_TRY(bl_bench_write_facts(rec, &facts, e));
    BL_TRY(bl_record_real(rec, "run/min_seconds", o->min_time, "s", e));
    BL_TRY(write_repeats(rec, r, a, e));
    BL_TRY(write_wrong(rec, r, a, e));
    BL_TRY(bl_record_table(
        rec, where, &(bl_table_data){.n = (int64_t)r->n, .n_columns = (int)BL_COUNT(column), .column = column}, e));
    BL_TRY(bl_record_commit(rec, e));
    rec = NULL;
out:
    bl_record_drop(rec);
    bl_arena_free(a);
    return st;
}

bl_status bl_bench_write(const bl_bench_opts *o, const bl_bench_result *r, const bl_text *json, bl_err *e)
{
    bl_status st = BL_OK;
    char *h5 = bl_join(o->out, BL_BENCH_FILE, e), *report = bl_join(o->out, BL_BENCH_JSON, e);
    if (!h5 || !report) {
        st = BL_E_NOMEM;
        goto out;
    }
    BL_TRY(bl_write_file(report, json->s ? json->s : "", json->n, e));
    BL_TRY(write_shard(h5, o, r, e));
out:
    bl_free(h5);
    bl_free(report);
    return st;
}

/* ---- read ---- */
static bl_status read_column(const bl_shard *s, const struct field *f, bl_arena *a, bl_kernel_row **row, int64_t *n,
                             bl_err *e)
{
    bl_status st = BL_OK;
    const char **text = NULL;
    int64_t *whole = NULL, count;
    double *real = NULL;
    char at[96];

    snprintf(at, sizeof at, "%s_%s", where, f->name);
    if (f->type == BL_COL_TEXT && f->later && !bl_shard_has(s, at)) return BL_OK; /* stays NULL: not known */
    if (f->type == BL_COL_TEXT) BL_TRY(bl_shard_texts(s, at, a, &text, &count, e));
    else if (f->type == BL_COL_INT) BL_TRY(bl_shard_column_int(s, where, f->name, a, &whole, &count, e));
    else {
        st = bl_shard_column_real(s, where, f->name, a, &real, &count, e);
        if (st == BL_E_MISSING && f->later) return BL_OK; /* stays 0: not measured */
        if (st != BL_OK) goto out;
    }
    if (!*row) {
        if (!(*row = bl_alloc(a, (size_t)count, sizeof **row, e))) {
            st = BL_E_NOMEM;
            goto out;
        }
        *n = count;
    }
    if (count != *n) {
        st = bl_fail(e, BL_E_CORRUPT, "%s: %lld rows of %s, expected %lld", where, (long long)count, f->name,
                     (long long)*n);
        goto out;
    }
    for (int64_t i = 0; i < count; i++) {
        char *to = (char *)&(*row)[i] + f->at;
        if (f->type == BL_COL_TEXT) *(const char **)to = text[i];
        else if (f->type == BL_COL_INT) *(int64_t *)to = whole[i];
        else *(double *)to = real[i] / f->scale;
    }
out:
    return st;
}

/* Rounds of a probe stand together. */
static bl_status read_probes(const bl_shard *s, bl_arena *a, bl_kernel_facts *f, bl_err *e)
{
    bl_status st = BL_OK;
    const char **what;
    double *t;
    int64_t n, count;
    bl_probe *probe = NULL;
    if (!bl_shard_has(s, probes_where)) return BL_OK; /* an earlier file */
    BL_TRY(bl_shard_texts(s, "run/probes_what", a, &what, &n, e));
    BL_TRY(bl_shard_column_real(s, probes_where, "seconds", a, &t, &count, e));
    if (n != count) {
        st = bl_fail(e, BL_E_CORRUPT, "%s: %lld seconds of %lld", probes_where, (long long)count, (long long)n);
        goto out;
    }
    if (!(probe = bl_alloc(a, (size_t)n, sizeof *probe, e))) return BL_E_NOMEM;
    for (int64_t i = 0; i < n; i++) {
        if (!i || strcmp(what[i], what[i - 1]) != 0) probe[f->n_probes++] = (bl_probe){what[i], t + i, 0};
        probe[f->n_probes - 1].n++;
    }
    f->probe = probe;
out:
    return st;
}

/* What was noted of the machine; timings made before it was are timings all the same. */
bl_status bl_bench_read_facts(const bl_shard *s, bl_arena *a, bl_kernel_facts *f, bl_err *e)
{
    const struct {
        const char *where, **to;
    } text[] = {{"env/device", &f->device},    {"env/simd", &f->simd},    {"env/blas", &f->blas},
                {"env/commit", &f->commit},    {"created", &f->created},  {"run/shape", &f->shape},
                {"run/slowed_by", &f->slowed}, {"run/held_by", &f->held}, {"run/convention", &f->convention},
                {"env/driver", &f->driver}};
    const struct {
        const char *where;
        double *to;
    } real[] = {{"run/read_bytes_per_second", &f->read_bytes_per_second},
                {"run/drift", &f->drift},
                {"run/load", &f->load},
                {"run/cache_bytes", &f->cache_bytes},
                {"run/copies_bytes", &f->copies_bytes},
                {"run/peak_flop_per_second", &f->peak},
                {"run/peak_integer_per_second", &f->peak_integer},
                {"run/clock_mhz", &f->clock},
                {"run/memory_clock_mhz", &f->memory_clock},
                {"run/power_watts", &f->watts},
                {"run/heat_celsius", &f->degrees}};
    bl_status st = BL_OK;

    for (size_t i = 0; i < BL_COUNT(text); i++) {
        *text[i].to = "";
        if (bl_shard_has(s, text[i].where)) BL_TRY(bl_shard_text(s, text[i].where, a, text[i].to, e));
    }
    for (size_t i = 0; i < BL_COUNT(real); i++)
        if (bl_shard_has(s, real[i].where)) BL_TRY(bl_shard_real(s, real[i].where, real[i].to, e));
    BL_TRY(bl_shard_int(s, "env/threads", &f->threads, e));
    BL_TRY(bl_shard_int(s, "run/repetitions", &f->repetitions, e));
    BL_TRY(read_probes(s, a, f, e));
out:
    return st;
}

/* Repetitions of a row and a place stand together, in the order of the rows. */
static bl_status read_repeats(const bl_shard *s, bl_arena *a, bl_kernel_row *row, int64_t n, bl_err *e)
{
    bl_status st = BL_OK;
    int64_t *of, *memory, count;
    double *t;
    if (!bl_shard_has(s, repeats_where)) return BL_OK; /* an earlier file */
    BL_TRY(bl_shard_column_int(s, repeats_where, "row", a, &of, &count, e));
    BL_TRY(bl_shard_column_int(s, repeats_where, "from_memory", a, &memory, &count, e));
    BL_TRY(bl_shard_column_real(s, repeats_where, "seconds", a, &t, &count, e));
    for (int64_t i = 0, to; i < count; i = to) {
        for (to = i + 1; to < count && of[to] == of[i] && memory[to] == memory[i];) to++;
        if (of[i] < 0 || of[i] >= n || memory[i] < 0 || memory[i] > 1) {
            st = bl_fail(e, BL_E_CORRUPT, "%s: repetitions of row %lld, of %lld", repeats_where, (long long)of[i],
                         (long long)n);
            goto out;
        }
        row[of[i]].repeat[memory[i]] = t + i;
        row[of[i]].n_repeat[memory[i]] = to - i;
    }
out:
    return st;
}

static bl_status read_wrong(const bl_shard *s, bl_arena *a, bl_speed_record *out, bl_err *e)
{
    static const char *const whole[] = {"m", "out", "in", "group"}, *const real[] = {"nmse", "limit"};
    bl_status st = BL_OK;
    int64_t n, *i64[4];
    const char **name;
    double *f64[2];
    bl_kernel_wrong *w;
    if (!bl_shard_has(s, wrong_where)) return BL_OK;
    BL_TRY(bl_shard_texts(s, "kernel/wrong_kernel", a, &name, &n, e));
    for (size_t i = 0; i < BL_COUNT(whole); i++)
        BL_TRY(bl_shard_column_int(s, wrong_where, whole[i], a, &i64[i], &n, e));
    for (size_t i = 0; i < BL_COUNT(real); i++)
        BL_TRY(bl_shard_column_real(s, wrong_where, real[i], a, &f64[i], &n, e));
    if (!(w = bl_alloc(a, (size_t)n, sizeof *w, e))) {
        st = BL_E_NOMEM;
        goto out;
    }
    for (int64_t i = 0; i < n; i++)
        w[i] = (bl_kernel_wrong){name[i], i64[0][i], i64[1][i], i64[2][i], i64[3][i], f64[0][i], f64[1][i]};
    out->wrong = w;
    out->n_wrong = (size_t)n;
out:
    return st;
}

bl_status bl_bench_read(const char *dir, bl_arena *a, bl_speed_record *out, bl_err *e)
{
    bl_status st = BL_OK;
    bl_shard *s = NULL;
    bl_kernel_row *row = NULL;
    int64_t count = 0;
    char *path = bl_join(dir, BL_BENCH_FILE, e);

    if (!path) return BL_E_NOMEM;
    bl_speed_record r = {.name = dir, .facts = {.device = ""}};
    if (bl_exists(path)) {
        BL_TRY(bl_shard_open(path, &s, e));
        st = bl_bench_read_facts(s, a, &r.facts, e);
        for (size_t i = 0; i < BL_COUNT(fields) && st == BL_OK; i++)
            st = read_column(s, &fields[i], a, &row, &count, e);
        if (st == BL_OK) st = read_repeats(s, a, row, count, e);
        if (st == BL_OK) st = read_wrong(s, a, &r, e);
        if (st != BL_OK) {
            bl_within(e, "%s", path);
            goto out;
        }
    }
    r.kernel = row;
    r.n_kernels = (size_t)count;
    *out = r;
out:
    bl_shard_close(s);
    bl_free(path);
    return st;
}

/* ---- print ---- */
static bool has_row(const char *op)
{
    const bl_kernel *k;
    for (size_t i = 0; (k = bl_kernel_at(i)); i++)
        if (!strcmp(k->family->op, op)) return true;
    return false;
}

void bl_bench_unlisted(bl_text *out)
{
    const char *op, *before = "";
    for (size_t i = 0; (op = bl_op_at(i)); i++) {
        if (has_row(op)) continue;
        bl_text_addf(out, "%s%s", before, op);
        before = ", ";
    }
    bl_text_add(out,
                " have no rows and no timing of their own: a backend has one form of each for a processor, so none "
                "is chosen by cost. Their time is part of `bench scoring` and of the seconds of quantize.\n");
}

static void print_json(const bl_kernel_row *row, size_t n, bl_text *t)
{
    bl_json_out o = {.t = t};
    bl_json_lines(&o, NULL);
    for (size_t i = 0; i < n; i++) {
        bl_json_object(&o, NULL);
        for (size_t k = 0; k < BL_COUNT(fields); k++) {
            const struct field *f = &fields[k];
            const char *at = (const char *)&row[i] + f->at;
            if (f->type == BL_COL_TEXT) bl_json_add_str(&o, f->name, text_of(at));
            else if (f->type == BL_COL_INT) bl_json_add_int(&o, f->name, *(const int64_t *)at);
            else bl_json_add_real(&o, f->name, *(const double *)at * f->scale);
        }
        bl_json_end(&o);
    }
    bl_json_end(&o);
    bl_text_add(t, "\n");
}

void bl_bench_clock(bool column, double mhz, const char *held, bl_text *out)
{
    char text[160] = "";
    if (column && mhz > 0) snprintf(text, sizeof text, "%.0f%s%s", mhz, *held ? ", " : "", held);
    if (column) bl_text_addf(out, " %-12s |", text);
    bl_text_add(out, "\n");
}

void bl_bench_clocks(const bl_kernel_facts *f, bl_text *out)
{
    if (f->clock > 0)
        bl_text_addf(
            out,
            "Driver %s; clock %.0f MHz, of its memory %.0f MHz, medians of kernels and probes; held down by: %s; "
            "%.0f W and %.0f degrees at most.\n",
            f->driver, f->clock, f->memory_clock, *f->held ? f->held : "nothing", f->watts, f->degrees);
}

static const char *share(double part, char text[16])
{
    if (part > 0) snprintf(text, 16, "%3.0f%%", BL_MIN(100 * part, 999));
    return part > 0 ? text : "    ";
}

bl_status bl_bench_table(const bl_kernel_row *row, size_t n, bool json, bl_text *out, bl_err *e)
{
    int wide = 6;
    if (json) {
        print_json(row, n, out);
        return bl_text_check(out, e);
    }
    bool clocks = false;
    for (size_t i = 0; i < n; i++) {
        wide = BL_MAX(wide, (int)strlen(row[i].kernel));
        clocks |= row[i].cold_clock > 0;
    }
    bool blas = !n || strcmp(row[0].backend, "cpu") == 0 || strcmp(row[0].backend, "openblas") == 0;
    const char *base = blas ? "OpenBLAS" : "cuBLAS";
    bl_text_addf(
        out,
        "| %-*s |    M |   out |    in | group |  bits | memory us |  GB/s |  max | %8s | cache us | GFLOP/s |  max | "
        "%8s | spread |%s\n",
        wide, "kernel", base, base, clocks ? " MHz, held by |" : "");
    bl_text_addf(out,
                 "|:%.*s-|-----:|------:|------:|------:|------:|----------:|------:|-----:|---------:|---------:|-----"
                 "---:|-----:|"
                 "---------:|-------:|%s\n",
                 wide, "----------------------------------------------------------------",
                 clocks ? ":-------------|" : "");
    for (size_t i = 0; i < n; i++) {
        const bl_kernel_row *r = &row[i];
        char group[24] = "", part[2][16];
        if (r->group) snprintf(group, sizeof group, "%lld", (long long)r->group);
        bl_text_addf(out, "| %-*s | %4lld | %5lld | %5lld | %5s | %5.2f | ", wide, r->kernel, (long long)r->m,
                     (long long)r->out, (long long)r->in, group, r->bits);
        if (r->cold > 0)
            bl_text_addf(out, "%9.1f | %5.1f | %s | %7.2fx | ", r->cold * 1e6, r->bytes / r->cold / 1e9,
                         share(r->of_memory, part[0]), r->cold_ratio);
        else bl_text_add(out, "          |       |      |          | ");
        bl_text_addf(out, "%8.1f | %7.1f | %s | %7.2fx | ", r->seconds * 1e6, r->gflops, share(r->of_peak, part[1]),
                     r->ratio);
        if (r->seconds_max > r->seconds_min)
            bl_text_addf(out, "%4.0f %% |", 100 * (r->seconds_max / r->seconds_min - 1));
        else bl_text_add(out, r->seconds_max > 0 ? "     - |" : "       |"); /* one repetition, or an older file */
        bl_bench_clock(clocks, r->cold_clock, r->cold_held, out);
    }
    return bl_text_check(out, e);
}

bl_status bl_bench_errors(const bl_kernel_row *row, size_t n, bool json, bl_text *out, bl_err *e)
{
    bl_json_out j = {.t = out};
    int wide = 6;
    for (size_t i = 0; i < n; i++) wide = BL_MAX(wide, (int)strlen(row[i].kernel));
    if (json) bl_json_lines(&j, NULL);
    else
        bl_text_addf(out,
                     "| %-*s |    M |   out |    in | group |   error |\n|:%.*s-|-----:|------:|------:|------:|---"
                     "-----:|\n",
                     wide, "kernel", wide, "----------------------------------------------------------------");
    for (size_t i = 0; i < n; i++) {
        const bl_kernel_row *r = &row[i];
        char group[24] = "";
        if (json) {
            bl_json_object(&j, NULL);
            bl_json_add_str(&j, "kernel", r->kernel);
            bl_json_add_int(&j, "m", r->m);
            bl_json_add_int(&j, "out", r->out);
            bl_json_add_int(&j, "in", r->in);
            bl_json_add_int(&j, "group", r->group);
            bl_json_add_real(&j, "nmse", r->nmse);
            bl_json_end(&j);
            continue;
        }
        if (r->group) snprintf(group, sizeof group, "%lld", (long long)r->group);
        bl_text_addf(out, "| %-*s | %4lld | %5lld | %5lld | %5s | %7.1e |\n", wide, r->kernel, (long long)r->m,
                     (long long)r->out, (long long)r->in, group, r->nmse);
    }
    if (json) {
        bl_json_end(&j);
        bl_text_add(out, "\n");
    }
    return bl_text_check(out, e);
}

/* ---- a block ---- */
static bool added_up(const bl_kernel_row *a, const bl_kernel_row *b)
{
    const bl_kernel *x = bl_kernel_find(a->kernel), *y = bl_kernel_find(b->kernel);
    return x && y && x->abits == y->abits && a->m == b->m && a->group == b->group && !strcmp(a->format, b->format) &&
           !strcmp(a->backend, b->backend);
}

bl_status bl_bench_layers(const bl_kernel_row *row, size_t n, bool json, bl_text *out, bl_err *e)
{
    bl_json_out j = {.t = out};
    if (json) bl_json_lines(&j, NULL);
    else
        bl_text_add(out, "| format   | group | abits |    M | products | memory us |  ratio | cache us |  ratio |\n"
                         "|:---------|------:|------:|-----:|---------:|----------:|-------:|---------:|-------:|\n");
    for (size_t i = 0; i < n; i++) {
        double cold = 0, warm = 0, base_cold = 0, base_warm = 0;
        int64_t products = 0;
        bool whole = true;
        size_t first = i;
        for (size_t k = n; k-- > 0;) {
            const bl_kernel_row *x = &row[k];
            if (!added_up(x, &row[i])) continue;
            first = k;
            products++;
            cold += x->cold;
            warm += x->seconds;
            base_cold += x->cold * x->cold_ratio;
            base_warm += x->seconds * x->ratio;
            whole = whole && x->cold > 0;
        }
        if (!whole) cold = 0;                  /* a sum without one of them is none */
        if (first != i || !products) continue; /* this one is in the sum of a row before it */
        int abits = bl_kernel_find(row[i].kernel)->abits;
        if (!json) {
            bl_text_addf(out, "| %-8s | %5lld | %5d | %4lld | %8lld | %9.1f | %5.2fx | %8.1f | %5.2fx |\n",
                         row[i].format, (long long)row[i].group, abits, (long long)row[i].m, (long long)products,
                         cold * 1e6, cold > 0 ? base_cold / cold : 0, warm * 1e6, base_warm / warm);
            continue;
        }
        bl_json_object(&j, NULL);
        bl_json_add_str(&j, "format", row[i].format);
        bl_json_add_int(&j, "group", row[i].group);
        bl_json_add_int(&j, "activation_bits", abits);
        bl_json_add_int(&j, "m", row[i].m);
        bl_json_add_int(&j, "products", products);
        bl_json_add_real(&j, "cold_seconds", cold);
        bl_json_add_real(&j, "cold_ratio", cold > 0 ? base_cold / cold : 0);
        bl_json_add_real(&j, "seconds", warm);
        bl_json_add_real(&j, "ratio", base_warm / warm);
        bl_json_end(&j);
    }
    if (json) {
        bl_json_end(&j);
        bl_text_add(out, "\n");
    }
    return bl_text_check(out, e);
}
