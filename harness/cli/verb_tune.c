/* verb_tune.c - measures which kernel is fastest for which product on a GPU, and writes the table that products go by.
 */
#include "session.h"
#include "bl_build.h"
#include "harness/bench/bench.h"
#include "kernels/dispatch.h"
#include <stdlib.h>
#include <string.h>

enum { MOST_LIST = 32 };
typedef struct opts {
    bl_cli_common common;
    const char *shape, *filter, *rows, *groups, *device, *out, *from, *as;
    int64_t repetitions;
} opts;
static const bl_opt rows[] = {
    {"shape", BL_OPT_TEXT, .def.s = "6144x4096,4096x4096,28672x4096,4096x14336", .at = offsetof(opts, shape),
     .arg = "MODEL", .doc = "whose layers give the shapes, or OUTxIN,OUTxIN; those of LLaMA-3-8B otherwise"},
    {"filter", BL_OPT_TEXT, .at = offsetof(opts, filter), .repeat = true, .arg = "GLOB",
     .doc = "kernels to choose from; all otherwise"},
    {"rows", BL_OPT_TEXT, .def.s = "1,2,4,8,12,16,24,32,64,96,128,192,256,512", .at = offsetof(opts, rows),
     .arg = "LIST", .doc = "numbers of rows; between two of them the greater one counts"},
    {"group", BL_OPT_TEXT, .def.s = "128", .at = offsetof(opts, groups), .arg = "LIST",
     .doc = "weights that share a scale; -1: a whole row"},
    {"repetitions", BL_OPT_INT, .min = 1, .max = 1000, .def.i = 5, .at = offsetof(opts, repetitions), .arg = "N",
     .doc = "measurements of each; the median counts"},
    {"device", BL_OPT_TEXT, .def.s = "cuda", .at = offsetof(opts, device), .arg = "NAME",
     .doc = "which; see: bitladder list devices"},
    {"from", BL_OPT_TEXT, .at = offsetof(opts, from), .arg = "DIR",
     .doc = "measure nothing: choose from the timings in DIR/kernels.h5, of bench kernels"},
    {"as", BL_OPT_TEXT, .at = offsetof(opts, as), .arg = "DEVICE",
     .doc = "from: the table is for this device, on which nothing was measured"},
    {"output", BL_OPT_TEXT, .at = offsetof(opts, out), .arg = "FILE", .letter = 'o',
     .doc = "write there instead of standard output"},
    BL_COMMON_ROWS(opts, common),
    {0}};

static bl_status numbers(const char *name, const char *text, int64_t least, int64_t *v, size_t *n, bl_err *e)
{
    for (*n = 0; *text;) {
        char *end;
        long long x = strtoll(text, &end, 10);
        if (end == text || x < least || x == 0 || x > 1 << 20 || (*end && *end != ',') || *n == MOST_LIST)
            return bl_fail(e, BL_E_CONFIG, "--%s: '%s' is not a list of at most %d numbers", name, text, MOST_LIST);
        v[(*n)++] = x;
        text = *end ? end + 1 : end;
    }
    return *n ? BL_OK : bl_fail(e, BL_E_CONFIG, "--%s is empty", name);
}

/* The table of timings that were made before. */
static bl_status from_timings(const opts *o, bl_arena *a, bl_text *t, bl_err *e)
{
    bl_status st = BL_OK;
    bl_speed_record r;
    bl_dispatch_row *row;
    size_t n;
    char made[512];
    BL_TRY(bl_bench_read(o->from, a, &r, e));
    BL_TRY(bl_tune_rows(r.kernel, r.n_kernels, a, &row, &n, e));
    if (!n) {
        st = bl_fail(e, BL_E_MISSING, "%s: no timings of kernels that could be chosen from", o->from);
        goto out;
    }
    snprintf(made, sizeof made, "bitladder tune --from timings of %s, commit %s, %s%s", r.facts.device, r.facts.commit,
             r.facts.created, o->as ? "; nothing was measured on this device" : "");
    BL_TRY(bl_dispatch_text(o->as ? o->as : r.facts.device, made, row, n, t, e));
out:
    return st;
}

static bl_status run(const bl_program *p, const void *options, const bl_args *args, int *exit_code, bl_err *e)
{
    bl_status st = BL_OK;
    const opts *o = options;
    bl_arena *a = NULL;
    int64_t m[MOST_LIST], group[MOST_LIST];
    size_t n_m, n_groups, n = 0, cap = 0;
    bl_dispatch_row *all = NULL;
    bl_text t = {0};
    char made[512], now[32], device[128] = "";
    (void)p;
    (void)args;
    (void)exit_code;

    if (o->as && !o->from) return bl_fail(e, BL_E_CONFIG, "--as: a table for another device is made --from timings");
    if (o->from) {
        BL_TRY(bl_arena_new(&a, e));
        BL_TRY(from_timings(o, a, &t, e));
        BL_TRY(bl_output(o->out, &t, e));
        goto out;
    }
    if (strcmp(o->device, "cpu") == 0)
        return bl_fail(e, BL_E_CONFIG, "the kernels of the processor are chosen by what they cost; tune is for a GPU");
    BL_TRY(numbers("rows", o->rows, 1, m, &n_m, e));
    BL_TRY(numbers("group", o->groups, -1, group, &n_groups, e));
    BL_TRY(bl_arena_new(&a, e));
    for (size_t g = 0; g < n_groups; g++) {
        bl_bench_result r;
        bl_dispatch_row *row;
        size_t n_rows;
        BL_TRY(bl_bench_kernels(&(bl_bench_opts){.shape = o->shape,
                                                 .filter = o->filter,
                                                 .m = m,
                                                 .n_m = n_m,
                                                 .group = group[g],
                                                 .repetitions = o->repetitions,
                                                 .device = o->device,
                                                 .quiet = o->common.quiet},
                                a, &r, e));
        if (r.n_wrong) {
            st = bl_fail(e, BL_E_NUMERIC, "%s is wrong at %lld x %lld x %lld: nothing is chosen", r.wrong[0].kernel,
                         (long long)r.wrong[0].m, (long long)r.wrong[0].out, (long long)r.wrong[0].in);
            goto out;
        }
        BL_TRY(bl_tune_rows(r.row, r.n, a, &row, &n_rows, e));
        BL_TRY(bl_grow(&all, &cap, n + n_rows, sizeof *all, e));
        memcpy(all + n, row, n_rows * sizeof *row);
        n += n_rows;
        snprintf(device, sizeof device, "%s", r.device.name);
        snprintf(made, sizeof made, "bitladder tune, commit %s, %s, driver %s, %.0f MHz", BL_BUILD_COMMIT,
                 (bl_utc(now), now), *r.facts.driver ? r.facts.driver : "unknown", r.facts.clock);
    }
    BL_TRY(bl_dispatch_text(device, made, all, n, &t, e));
    BL_TRY(bl_output(o->out, &t, e));
out:
    bl_free(all);
    bl_text_free(&t);
    bl_arena_free(a);
    return st;
}

const bl_verb bl_verb_tune = {
    .name = "tune",
    .args = "",
    .line = "which kernel is fastest for which product on a GPU, as the table that products go by",
    .doc = "Times all kernels that take a product, weights from memory, each checked first, and writes the fastest for "
           "each format, shape and number of rows. A file of the device's name in kernels/dispatch (share/bitladder/"
           "dispatch once installed) is read whenever that device is opened; BITLADDER_DISPATCH=FILE reads another, "
           "BITLADDER_DISPATCH=none none. Devices without a table go by what kernels are expected to cost.",
    .example = "bitladder tune -o nvidia-h200.json",
    .opts = rows,
    .opts_size = sizeof(opts),
    .computes = true,
    .run = run,
};
