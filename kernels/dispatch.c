/* dispatch.c - tables of the fastest kernels; see dispatch.h. */
#include "dispatch.h"
#include "bl_build.h"
#include "kernels/base/fs.h"
#include "kernels/base/json.h"
#include <ctype.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

enum { SCHEMA = 1, MOST_BYTES = 1 << 22, MOST_OPEN = 16 };

struct bl_dispatch {
    bl_arena *a;
    bl_dispatch_row *row;
    size_t n;
};

/* ---- files ---- */
static bl_status read_runs(const bl_json *list, bl_dispatch_row *r, bl_err *e)
{
    static const char *const known[] = {"rows", "kernel", NULL};
    bl_status st = BL_OK;
    for (const bl_json *v = bl_json_first(list); v; v = bl_json_next(v)) {
        const char *name;
        int64_t rows;
        if (r->n_runs == BL_DISPATCH_RUNS) return bl_fail(e, BL_E_FORMAT, "'runs' has more than %d", BL_DISPATCH_RUNS);
        BL_TRY(bl_json_only(v, known, e));
        BL_TRY(bl_json_get_int(v, "rows", &rows, e));
        BL_TRY(bl_json_get_str(v, "kernel", &name, e));
        const bl_kernel *k = bl_kernel_find(name);
        if (!k) return bl_fail(e, BL_E_FORMAT, "there is no kernel '%s'", name);
        if (strcmp(k->format->name, r->format) != 0 && !k->family->any)
            return bl_fail(e, BL_E_FORMAT, "kernel '%s' is of the format %s, not of %s", name, k->format->name,
                           r->format);
        if (rows < 1 || (r->n_runs && rows <= r->run[r->n_runs - 1].rows))
            return bl_fail(e, BL_E_FORMAT, "'rows' %lld does not come after those before it", (long long)rows);
        r->run[r->n_runs].rows = rows;
        r->run[r->n_runs++].kernel = k->name;
    }
    if (!r->n_runs) st = bl_fail(e, BL_E_FORMAT, "'runs' is empty");
out:
    return st;
}

static bl_status read_row(const bl_json *v, bl_dispatch_row *r, bl_err *e)
{
    static const char *const known[] = {"format", "group", "out", "in", "runs", NULL};
    bl_status st = BL_OK;
    const char *name;
    BL_TRY(bl_json_only(v, known, e));
    BL_TRY(bl_json_get_str(v, "format", &name, e));
    const bl_format *f = bl_format_find(name);
    if (!f) return bl_fail(e, BL_E_FORMAT, "there is no format '%s'", name);
    r->format = f->name;
    BL_TRY(bl_json_get_int(v, "group", &r->group, e));
    BL_TRY(bl_json_get_int(v, "out", &r->out, e));
    BL_TRY(bl_json_get_int(v, "in", &r->in, e));
    if (r->group < 0 || r->out < 1 || r->in < 1)
        return bl_fail(e, BL_E_FORMAT, "%lld x %lld in groups of %lld is no shape", (long long)r->out, (long long)r->in,
                       (long long)r->group);
    st = read_runs(bl_json_get(v, "runs"), r, e);
out:
    return st;
}

bl_status bl_dispatch_read(const char *path, bl_dispatch **out, bl_err *e)
{
    static const char *const known[] = {"schema", "device", "made", "rows", NULL};
    bl_status st = BL_OK;
    bl_json *doc = NULL;
    bl_dispatch *d = bl_new(1, sizeof *d, e);
    int64_t schema;
    if (!d) return BL_E_NOMEM;
    BL_TRY(bl_arena_new(&d->a, e));
    BL_TRY(bl_json_read(path, MOST_BYTES, BL_JSON_PLAIN, &doc, e));
    st = bl_json_only(doc, known, e);
    if (st == BL_OK) st = bl_json_get_int(doc, "schema", &schema, e);
    if (st == BL_OK && schema != SCHEMA)
        st = bl_fail(e, BL_E_FORMAT, "'schema' is %lld, expected %d", (long long)schema, SCHEMA);
    const bl_json *list = st == BL_OK ? bl_json_get(doc, "rows") : NULL;
    if (st == BL_OK && bl_json_kind(list) != BL_JSON_ARRAY) st = bl_fail(e, BL_E_FORMAT, "'rows' is no list");
    if (st == BL_OK && !(d->row = bl_alloc(d->a, bl_json_size(list), sizeof *d->row, e))) st = BL_E_NOMEM;
    for (const bl_json *v = list ? bl_json_first(list) : NULL; v && st == BL_OK; v = bl_json_next(v)) {
        d->row[d->n] = (bl_dispatch_row){.n_runs = 0};
        st = read_row(v, &d->row[d->n], e);
        if (st != BL_OK) bl_within(e, "row %zu", d->n);
        d->n++;
    }
    if (st != BL_OK) {
        bl_within(e, "%s", path);
        goto out;
    }
    *out = d;
    d = NULL;
out:
    bl_json_free(doc);
    bl_dispatch_free(d);
    return st;
}

void bl_dispatch_free(bl_dispatch *d)
{
    if (!d) return;
    bl_arena_free(d->a);
    bl_free(d);
}

bl_status bl_dispatch_text(const char *device, const char *made, const bl_dispatch_row *row, size_t n, bl_text *out,
                           bl_err *e)
{
    bl_json_out j = {.t = out};
    bl_json_object(&j, NULL);
    bl_json_add_int(&j, "schema", SCHEMA);
    bl_json_add_str(&j, "device", device);
    bl_json_add_str(&j, "made", made);
    bl_json_lines(&j, "rows");
    for (size_t i = 0; i < n; i++) {
        bl_json_object(&j, NULL);
        bl_json_add_str(&j, "format", row[i].format);
        bl_json_add_int(&j, "group", row[i].group);
        bl_json_add_int(&j, "out", row[i].out);
        bl_json_add_int(&j, "in", row[i].in);
        bl_json_array(&j, "runs");
        for (int k = 0; k < row[i].n_runs; k++) {
            bl_json_object(&j, NULL);
            bl_json_add_int(&j, "rows", row[i].run[k].rows);
            bl_json_add_str(&j, "kernel", row[i].run[k].kernel);
            bl_json_end(&j);
        }
        bl_json_end(&j);
        bl_json_end(&j);
    }
    bl_json_end(&j);
    bl_json_end(&j);
    bl_text_add(out, "\n");
    return bl_text_check(out, e);
}

void bl_dispatch_file(const char *device, char out[160])
{
    size_t n = 0;
    for (; *device && n < 150; device++) {
        char c = (char)tolower((unsigned char)*device);
        out[n++] = isalnum((unsigned char)c) ? c : '-';
    }
    snprintf(out + n, 160 - n, ".json");
}

/* ---- looking ---- */
const char *bl_dispatch_find(const bl_dispatch *d, const char *format, int64_t group, int64_t rows, int64_t out,
                             int64_t in)
{
    const bl_dispatch_row *best = NULL;
    double least = INFINITY;
    for (size_t i = 0; i < d->n; i++) {
        const bl_dispatch_row *r = &d->row[i];
        if (strcmp(r->format, format) != 0) continue;
        const bool whole = r->group >= r->in;
        if (whole != (group >= in) || (!whole && r->group != group)) continue;
        double apart = fabs(log((double)r->out / (double)out)) + fabs(log((double)r->in / (double)in));
        if (apart >= least) continue;
        least = apart;
        best = r;
    }
    for (int k = 0; best && k < best->n_runs; k++)
        if (rows <= best->run[k].rows) return best->run[k].kernel;
    return NULL;
}

/* ---- open backends ---- */
static struct {
    const bl_backend *be;
    bl_dispatch *d;
} tables[MOST_OPEN];

static bl_status shipped(const char *device, bl_dispatch **out, bl_err *e)
{
    static const char *const dirs[] = {BL_SOURCE_DATA_DIR "/../../kernels/dispatch", BL_SHARE_DIR "/dispatch"};
    bl_status st = BL_OK;
    char file[160];
    bl_dispatch_file(device, file);
    for (size_t i = 0; i < BL_COUNT(dirs); i++) {
        char *path = bl_join(dirs[i], file, e);
        if (!path) return BL_E_NOMEM;
        bool there = bl_exists(path);
        if (there) st = bl_dispatch_read(path, out, e);
        bl_free(path);
        if (there) break;
    }
    return st;
}

bl_status bl_dispatch_open(const bl_backend *be, bl_err *e)
{
    bl_status st = BL_OK;
    const char *own = getenv("BITLADDER_DISPATCH");
    bl_dispatch *d = NULL;
    bl_device_info info = {.name = ""};
    if (own && strcmp(own, "none") == 0) return BL_OK;
    be->ops->device_info(be, &info);
    BL_TRY(own && *own ? bl_dispatch_read(own, &d, e) : shipped(info.name, &d, e));
    for (int i = 0; i < MOST_OPEN && d; i++)
        if (!tables[i].be) {
            tables[i].be = be;
            tables[i].d = d;
            d = NULL;
        }
    bl_dispatch_free(d); /* that many are open: the others go by the rule of costs */
out:
    return st;
}

void bl_dispatch_close(const bl_backend *be)
{
    for (int i = 0; i < MOST_OPEN; i++)
        if (tables[i].be == be) {
            bl_dispatch_free(tables[i].d);
            tables[i].be = NULL;
            tables[i].d = NULL;
        }
}

const bl_kernel *bl_dispatch_pick(const bl_backend *be, const bl_linear_args *a, const bl_weight *w)
{
    const bl_dispatch *d = NULL;
    for (int i = 0; i < MOST_OPEN; i++)
        if (tables[i].be == be) d = tables[i].d;
    if (!d || a->transpose || a->act.bits) return NULL;
    const char *name = bl_dispatch_find(d, w->format->name, w->shape.group, a->x.dim[0], w->shape.out, w->shape.in);
    const bl_kernel *k = name ? bl_kernel_find(name) : NULL;
    return k && strcmp(k->family->backend, be->ops->name) == 0 && k->family->applicable(be, a, w) ? k : NULL;
}
