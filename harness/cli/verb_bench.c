/* verb_bench.c - times kernels, whole models, or the index of vectors, next to OpenBLAS. */
#include "session.h"
#include "harness/bench/bench.h"
#include "bl_build.h"
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

typedef struct opts {
    bl_cli_common common;
    const char *shape, *filter, *rows, *out, *model, *method, *device, *against, *outside, *outside_format;
    int64_t rounds, group, act_group, repetitions, request, decode, batch, mem_limit, vectors, dim;
    int isa;
    bool alone, stream, deterministic, narrow, check;
    double min_time;
} opts;
static const char *const instructions[] = {"best", "plain", "avx2", "avxvnni", "avx512", "amx", NULL}; /* bl_isa */
static const bl_opt rows[] = {
    {"shape", BL_OPT_TEXT, .def.s = "synth:smollm2-135m", .at = offsetof(opts, shape), .arg = "MODEL",
     .doc = "kernels: whose layers give the shapes; synth:llama3-8b needs no file; or 28672x4096,4096x14336"},
    {"filter", BL_OPT_TEXT, .at = offsetof(opts, filter), .repeat = true, .arg = "GLOB",
     .doc = "names to time: of kernels, e.g. 'gemm_int*'; scoring: of what is done, e.g. 'greedy*'"},
    {"rows", BL_OPT_TEXT, .def.s = "1,16,128,512", .at = offsetof(opts, rows), .arg = "LIST",
     .doc = "kernels: numbers of rows"},
    {"group", BL_OPT_INT, .min = -1, .max = 65536, .def.i = 64, .at = offsetof(opts, group), .arg = "N",
     .doc = "kernels: weights that share a scale; -1: a whole row"},
    {"act-group", BL_OPT_INT, .min = 0, .max = 65536, .at = offsetof(opts, act_group), .arg = "N",
     .doc = "kernels: inputs that share a scale of activations of 8 bits, as models with +a8 have 32; 0: a whole row"},
    {"min-time", BL_OPT_REAL, .min = 0.0001, .max = 60, .def.r = 0.05, .at = offsetof(opts, min_time), .arg = "S",
     .doc = "kernels: seconds of a repetition"},
    {"output", BL_OPT_TEXT, .at = offsetof(opts, out), .arg = "DIR", .letter = 'o',
     .doc = "kernels, layers: write kernels.h5 and kernels.json (Google Benchmark's) there; decode, score, scoring: "
            "throughput.h5"},
    {"outside", BL_OPT_TEXT, .at = offsetof(opts, outside), .arg = "FILE.so",
     .doc = "kernels: time a kernel of a shared object as well (harness/bench/outside.h)"},
    {"outside-format", BL_OPT_TEXT, .def.s = "int4", .at = offsetof(opts, outside_format), .arg = "FORMAT",
     .doc = "kernels: of its weight"},
    {"against", BL_OPT_TEXT, .at = offsetof(opts, against), .arg = "PROGRAM",
     .doc = "kernels, scoring: time another build of bitladder and this one in turn; exit 3 when this one is slower or "
            "less exact"},
    {"rounds", BL_OPT_INT, .min = 2, .max = 1000, .def.i = 9, .at = offsetof(opts, rounds), .arg = "N",
     .doc = "against: how often each is run; the medians of the rounds are compared"},
    {"model", BL_OPT_TEXT, .at = offsetof(opts, model), .arg = "MODEL", .doc = "scoring: the model"},
    {"method", BL_OPT_TEXT, .def.s = "fp32,base,rtn:w4g64", .at = offsetof(opts, method), .repeat = true, .arg = "LIST",
     .doc = "scoring: methods; fp32: all weights as fp32"},
    {"request", BL_OPT_INT, .min = 5, .max = 1 << 20, .def.i = 24, .at = offsetof(opts, request), .arg = "N",
     .doc = "scoring: tokens of a short request"},
    {"decode", BL_OPT_INT, .min = 1, .max = 1 << 20, .def.i = 64, .at = offsetof(opts, decode), .arg = "N",
     .doc = "scoring: tokens of a greedy text"},
    {"batch", BL_OPT_INT, .min = 1, .max = 4096, .def.i = 8, .at = offsetof(opts, batch), .arg = "N",
     .doc = "scoring: short requests, and with --device windows, that go together"},
    {"repetitions", BL_OPT_INT, .min = 1, .max = 1000, .def.i = 5, .at = offsetof(opts, repetitions), .arg = "N",
     .doc = "measurements of each; the median counts"},
    {"device", BL_OPT_TEXT, .def.s = "cpu", .at = offsetof(opts, device), .arg = "NAME",
     .doc = "where; see: bitladder list devices"},
    {"instructions", BL_OPT_CHOICE, .choices = instructions, .at = offsetof(opts, isa),
     .doc = "kernels, scoring: at most these of the CPU"},
    {"alone", BL_OPT_BOOL, .at = offsetof(opts, alone), .doc = "scoring: without cblas_sgemm"},
    {"stream", BL_OPT_BOOL, .at = offsetof(opts, stream), .doc = "scoring: keep only one block's weights in memory"},
    {"narrow", BL_OPT_BOOL, .at = offsetof(opts, narrow),
     .doc = "kernels: outputs as activations are, bf16 on a GPU, as between the layers of a model; else f32"},
    {"check", BL_OPT_BOOL, .at = offsetof(opts, check),
     .doc = "kernels, layers: each once against double sums; nothing is timed"},
    {"deterministic", BL_OPT_BOOL, .at = offsetof(opts, deterministic), .doc = "scoring: as run --deterministic"},
    {"mem-limit", BL_OPT_INT, .min = 0, .max = 1 << 30, .at = offsetof(opts, mem_limit), .arg = "MIB", .mib = true,
     .doc = "scoring: most memory on the device, also as 24GiB; 0: all there is"},
    {"vectors", BL_OPT_INT, .min = 1, .max = 1 << 26, .def.i = 1000000, .at = offsetof(opts, vectors), .arg = "N",
     .doc = "search: how many vectors"},
    {"dim", BL_OPT_INT, .min = 1, .max = 65536, .def.i = 384, .at = offsetof(opts, dim), .arg = "N",
     .doc = "search: their width"},
    BL_COMMON_ROWS(opts, common),
    {0}};

enum { MOST_ROWS = 64, EXIT_WORSE = 3 };

static bl_status rows_list(const char *text, int64_t *m, size_t *n, bl_err *e)
{
    for (*n = 0; *text;) {
        char *end;
        long long v = strtoll(text, &end, 10);
        if (end == text || v < 1 || v > 1 << 20 || (*end && *end != ',') || *n == MOST_ROWS)
            return bl_fail(e, BL_E_CONFIG, "--rows: '%s' is not a list of at most %d numbers from 1 to 1048576", text,
                           MOST_ROWS);
        m[(*n)++] = v;
        text = *end ? end + 1 : end;
    }
    return *n ? BL_OK : bl_fail(e, BL_E_CONFIG, "--rows is empty");
}

/* Why rows have no time from memory. */
static void not_from_memory(const bl_bench_result *r)
{
    size_t n = 0;
    for (size_t i = 0; i < r->n; i++) n += r->row[i].cold <= 0;
    if (n)
        printf("%zu rows have no time from memory: four times what the caches hold (%.0f MB) are more copies of the "
               "weight than an eighth of the memory has, or than %d.\n",
               n, r->facts.cache_bytes / 1e6, BL_MOST_COPIES);
}

static bl_status none_wrong(const bl_bench_result *r, bl_err *e)
{
    const bl_kernel_wrong *w = r->wrong;
    for (size_t i = 1; i < r->n_wrong; i++)
        fprintf(stderr, "bitladder: %s is wrong at %lld x %lld x %lld\n", w[i].kernel, (long long)w[i].m,
                (long long)w[i].out, (long long)w[i].in);
    if (!r->n_wrong) return BL_OK;
    return bl_fail(
        e, BL_E_NUMERIC,
        "%s is wrong at %lld x %lld x %lld and was not timed: error %.3g of the power, at most %.3g is allowed",
        w->kernel, (long long)w->m, (long long)w->out, (long long)w->in, w->nmse, w->limit);
}

static bl_status kernels_of(const opts *o, bool layers, bl_arena *a, bl_err *e)
{
    bl_status st = BL_OK;
    int64_t m[MOST_ROWS];
    size_t n_m;
    bl_bench_result r = {0};
    bl_text t = {0};

    BL_TRY(rows_list(o->rows, m, &n_m, e));
    bl_bench_opts bo = {.shape = o->shape,
                        .filter = o->filter,
                        .m = m,
                        .n_m = n_m,
                        .group = o->group,
                        .act_group = o->act_group,
                        .threads = o->common.threads,
                        .repetitions = o->repetitions,
                        .min_time = o->min_time,
                        .out = o->out,
                        .device = o->device,
                        .picked = layers,
                        .narrow = o->narrow,
                        .check = o->check,
                        .isa = (bl_isa)o->isa,
                        .outside = o->outside,
                        .outside_format = o->outside_format,
                        .quiet = o->common.quiet};
    bool gpu = strcmp(o->device, "cpu") != 0;
    BL_TRY(bl_bench_kernels(&bo, a, &r, e));
    if (o->check) {
        BL_TRY(bl_bench_errors(r.row, r.n, o->common.json, &t, e));
        BL_TRY(bl_output(NULL, &t, e));
        st = none_wrong(&r, e);
        goto out;
    }
    if (layers) BL_TRY(bl_bench_layers(r.row, r.n, o->common.json, &t, e));
    if (layers && !o->common.json) bl_text_add(&t, "\n");
    if (!layers || !o->common.json) BL_TRY(bl_bench_table(r.row, r.n, o->common.json, &t, e));
    BL_TRY(bl_output(NULL, &t, e));
    if (gpu && !o->common.json) {
        char facts[256], now[32];
        BL_TRY(bl_device_facts(o->device, 0, facts, e));
        bl_utc(now);
        printf("\n%s; commit %s, %s; median of %lld replays of a graph.\n", facts, BL_BUILD_COMMIT, now,
               (long long)o->repetitions);
        bl_text_free(&t);
        bl_bench_clocks(&r.facts, &t);
        BL_TRY(bl_text_check(&t, e));
        fputs(t.n ? t.s : "", stdout);
        printf(
            "max: of %.0f GB/s with which cuBLAS reads a bf16 weight of half a GiB for one row, and of %.0f TFLOP/s "
            "that it does of many rows, both measured in this call.\n"
            "memory: products in turn have another copy of the weight each, all of them %.0f MB or more where the "
            "second-level cache has %.0f; cache: one weight. cuBLAS: its time with bf16 weights in the same run over "
            "the kernel's; it was timed before and after the others, at most %.1f %% apart. spread: slowest over "
            "fastest replay in cache.\n",
            r.facts.read_bytes_per_second / 1e9, r.facts.peak / 1e12, r.facts.copies_bytes / 1e6,
            r.facts.cache_bytes / 1e6, 100 * (r.facts.drift - 1));
        not_from_memory(&r);
    } else if (!o->common.quiet && !o->common.json) {
        char read[64] = "", scales[64] = "one scale a row";
        if (o->act_group) snprintf(scales, sizeof scales, "a scale for %lld inputs", (long long)o->act_group);
        if (r.facts.read_bytes_per_second > 0)
            snprintf(read, sizeof read, "%.1f GB/s with which memory is read, and of ",
                     r.facts.read_bytes_per_second / 1e9);
        printf(
            "\n%s, %s, %d threads; median of %lld repetitions, all kernels in turn.\n"
            "max: of %s%.0f GFLOP/s, with 8-bit activations %.0f Gop/s, that the processor does in registers, all "
            "measured in this call; activations of 8 bits have %s.\n"
            "memory: the weight comes from memory, as in a model; cache: it stays in the cache, as in none. OpenBLAS: "
            "its fp32 time (its code for %s) over the kernel's. spread: slowest over fastest repetition in cache.\n",
            r.device.name, r.device.simd, r.device.threads, (long long)o->repetitions, read, r.facts.peak / 1e9,
            r.facts.peak_integer / 1e9, scales, r.blas_core);
        if (r.facts.drift > 1.15)
            printf("Not a quiet machine: OpenBLAS itself was %.2f times slower in one repetition than in another "
                   "(neighbours, or a processor that slows down; load %.1f before).\n",
                   r.facts.drift, r.facts.load);
        not_from_memory(&r);
        if (r.n_left_out)
            printf("%zu combinations are left out: a kernel is for few rows or for many, and the plain reference only "
                   "runs small products.\n",
                   r.n_left_out);
        bl_text_free(&t);
        bl_bench_unlisted(&t);
        BL_TRY(bl_text_check(&t, e));
        fputs(t.s, stdout);
        if (o->out) printf("%s/%s, %s/%s\n", o->out, BL_BENCH_FILE, o->out, BL_BENCH_JSON);
    }
    fflush(stdout);
    st = none_wrong(&r, e);
out:
    bl_text_free(&t);
    return st;
}

static bl_status kernels(const bl_program *p, const opts *o, bl_arena *a, bl_err *e)
{
    (void)p;
    return kernels_of(o, false, a, e);
}

/* The products of one block, each by the kernel that the model would take. */
static bl_status layers(const bl_program *p, const opts *o, bl_arena *a, bl_err *e)
{
    (void)p;
    return kernels_of(o, true, a, e);
}

/* What numbers of a device belong to. */
static bl_status measured_on(const opts *o, const bl_scoring_result *r, bl_text *t, bl_err *e)
{
    char facts[256], now[32];
    bl_status st = bl_device_facts(o->device, 0, facts, e);
    bl_utc(now);
    bl_text_addf(t, "\n%s, %s; %s%s%s; at most %.2f GiB of it were used; commit %s, %s\n", o->model, o->method, facts,
                 o->stream ? "; a block at a time" : "", o->deterministic ? "; deterministic" : "",
                 (double)r->row[0].peak_bytes / (1 << 30), BL_BUILD_COMMIT, now);
    bl_bench_clocks(&r->facts, t);
    return st;
}

static bl_status scoring(const bl_program *p, const opts *o, bl_arena *a, bl_err *e)
{
    bl_status st = BL_OK;
    bl_scoring_result r;
    bl_text t = {0};

    if (!o->model) return bl_fail(e, BL_E_CONFIG, "bench scoring, decode and score need --model MODEL");
    bl_scoring_opts so = {.model = o->model,
                          .method = o->method,
                          .filter = o->filter,
                          .threads = o->common.threads,
                          .repetitions = o->repetitions,
                          .request = o->request,
                          .decode = o->decode,
                          .batch = o->batch,
                          .device = o->device,
                          .mem_limit = o->mem_limit,
                          .alone = o->alone,
                          .stream = o->stream,
                          .deterministic = o->deterministic,
                          .isa = (bl_isa)o->isa,
                          .out = o->out,
                          .quiet = o->common.quiet};
    BL_TRY(bl_bench_scoring(p, &so, a, &r, e));
    BL_TRY(bl_scoring_table(r.row, r.n, o->common.json, &t, e));
    if (!o->common.json && strcmp(o->device, "cpu") != 0) BL_TRY(measured_on(o, &r, &t, e));
    else if (!o->common.json && !o->common.quiet) {
        bl_text_addf(&t,
                     "\n%s, %s, %lld threads; median of %lld rounds, all in turn; spread: slowest over fastest round.",
                     r.facts.device, r.facts.simd, (long long)r.facts.threads, (long long)o->repetitions);
        if (!o->alone) bl_text_addf(&t, " cblas_sgemm: the products alone, in fp32, %s.", bl_blas_name());
        bl_text_add(&t, "\n");
    }
    BL_TRY(bl_output(NULL, &t, e));
out:
    bl_text_free(&t);
    return st;
}

/* Parts of `scoring`; --filter says otherwise. */
static bl_status part_of_scoring(const bl_program *p, const opts *o, const char *filter, bl_arena *a, bl_err *e)
{
    opts part = *o;
    if (!part.filter) part.filter = filter;
    return scoring(p, &part, a, e);
}

static bl_status decode(const bl_program *p, const opts *o, bl_arena *a, bl_err *e)
{
    return part_of_scoring(p, o, "greedy*", a, e);
}

static bl_status score(const bl_program *p, const opts *o, bl_arena *a, bl_err *e)
{
    return part_of_scoring(p, o, "window*,prompt*,requests*", a, e);
}

static bl_status search(const bl_program *p, const opts *o, bl_arena *a, bl_err *e)
{
    bl_status st = BL_OK;
    bl_search_opts so = {o->vectors, o->dim, o->common.threads, o->repetitions};
    bl_search_result r;
    bl_text t = {0};
    (void)p;
    (void)a;
    if (o->out) return bl_fail(e, BL_E_CONFIG, "--output: bench search writes no files; bench kernels does");
    BL_TRY(bl_bench_search(&so, &r, e));
    bl_search_text(&so, &r, o->common.json, &t);
    BL_TRY(bl_text_check(&t, e));
    BL_TRY(bl_output(NULL, &t, e));
    if (!r.same) st = bl_fail(e, BL_E_NUMERIC, "the index answered otherwise than looking at all vectors does");
out:
    bl_text_free(&t);
    return st;
}

/* What both programs are asked: what was asked of this one, as text. */
static bl_status against(const char *kind, const opts *o, int *exit_code, bl_err *e)
{
    enum { NUMBERS = 9 };
    bl_status st = BL_OK;
    char number[NUMBERS][32], self[4096];
    const char *args[48];
    size_t n = 0, k = 0, worse = 0;
    bl_text t = {0};
    const struct {
        const char *name;
        int64_t v;
    } whole[] = {{"--group", o->group},
                 {"--act-group", o->act_group},
                 {"--repetitions", o->repetitions},
                 {"--threads", o->common.threads},
                 {"--request", o->request},
                 {"--decode", o->decode},
                 {"--batch", o->batch},
                 {"--mem-limit", o->mem_limit}};
    const struct {
        const char *name, *s;
    } text[] = {{"--filter", o->filter},
                {"--rows", o->rows},
                {"--shape", o->shape},
                {"--outside", o->outside},
                {"--outside-format", o->outside ? o->outside_format : NULL},
                {"--model", o->model},
                {"--method", o->method},
                {"--device", o->device},
                {"--instructions", o->isa ? instructions[o->isa] : NULL}};
    const struct {
        const char *name;
        bool on;
    } flag[] = {
        {"--alone", o->alone}, {"--stream", o->stream}, {"--deterministic", o->deterministic}, {"--narrow", o->narrow}};
    ssize_t len = readlink("/proc/self/exe", self, sizeof self - 1);
    if (len <= 0) return bl_fail(e, BL_E_IO, "--against: this program does not know where it is");
    self[len] = 0;
    if (strcmp(kind, "search") == 0 || o->out)
        return bl_fail(e, BL_E_CONFIG,
                       o->out ? "--against compares and writes no timings: without --output"
                              : "--against: bench kernels or scoring, not search");
    if (access(o->against, X_OK) != 0)
        return bl_fail(e, BL_E_CONFIG, "--against: '%s' is no program that can be run", o->against);
    args[n++] = kind;
    for (size_t i = 0; i < BL_COUNT(text); i++)
        if (text[i].s) {
            args[n++] = text[i].name;
            args[n++] = text[i].s;
        }
    for (size_t i = 0; i < BL_COUNT(whole); i++) {
        if (strcmp(whole[i].name, "--threads") == 0 && !whole[i].v) continue;
        snprintf(number[k], sizeof number[k], "%lld", (long long)whole[i].v);
        args[n++] = whole[i].name;
        args[n++] = number[k++];
    }
    snprintf(number[k], sizeof number[k], "%.17g", o->min_time);
    args[n++] = "--min-time";
    args[n++] = number[k];
    for (size_t i = 0; i < BL_COUNT(flag); i++)
        if (flag[i].on) args[n++] = flag[i].name;
    args[n] = NULL;
    BL_TRY(bl_bench_against_run(&(bl_bench_against){.program = {o->against, self},
                                                    .args = args,
                                                    .rounds = o->rounds,
                                                    .json = o->common.json,
                                                    .quiet = o->common.quiet},
                                &t, &worse, e));
    BL_TRY(bl_output(NULL, &t, e));
    if (worse) *exit_code = EXIT_WORSE;
out:
    bl_text_free(&t);
    return st;
}

enum { KERNELS = 1, LAYERS = 2, MODELS = 4 };
static const struct kind {
    const char *name;
    bl_status (*run)(const bl_program *, const opts *, bl_arena *, bl_err *);
    unsigned is;
} kinds[] = {{"kernels", kernels, KERNELS}, {"layers", layers, LAYERS},   {"decode", decode, MODELS},
             {"score", score, MODELS},      {"scoring", scoring, MODELS}, {"search", search, 0}};

/* What was said and this kind has no use for; options with a default are not among these. */
static bl_status of_use(const struct kind *k, const opts *o, bl_err *e)
{
    const struct {
        const char *name;
        bool said;
        unsigned of;
    } all[] = {{"--narrow", o->narrow, KERNELS | LAYERS},
               {"--check", o->check, KERNELS | LAYERS},
               {"--outside", o->outside, KERNELS},
               {"--model", o->model, MODELS},
               {"--alone", o->alone, MODELS},
               {"--stream", o->stream, MODELS},
               {"--deterministic", o->deterministic, MODELS},
               {"--mem-limit", o->mem_limit, MODELS}};
    for (size_t i = 0; i < BL_COUNT(all); i++)
        if (all[i].said && !(all[i].of & k->is))
            return bl_fail(e, BL_E_CONFIG, "%s: bench %s takes none; %s", all[i].name, k->name,
                           all[i].of == MODELS    ? "decode, score and scoring do"
                           : all[i].of == KERNELS ? "kernels does"
                                                  : "kernels and layers do");
    return BL_OK;
}

static bl_status run(const bl_program *p, const void *options, const bl_args *args, int *exit_code, bl_err *e)
{
    bl_status st = BL_OK;
    const opts *o = options;
    const char *names[BL_COUNT(kinds) + 1] = {0};
    bl_arena *a = NULL;

    for (size_t i = 0; i < BL_COUNT(kinds); i++) {
        names[i] = kinds[i].name;
        if (strcmp(args->pos[0], kinds[i].name) != 0) continue;
        if (of_use(&kinds[i], o, e) != BL_OK) return BL_E_CONFIG;
        if (o->isa && (kinds[i].run == search || strcmp(o->device, "cpu") != 0))
            return bl_fail(e, BL_E_CONFIG, "--instructions: kernels and models on the CPU have a choice, %s none",
                           kinds[i].run == search ? "search has" : "other devices have");
        if (o->check && (o->against || o->out))
            return bl_fail(e, BL_E_CONFIG, "--check: without --against and --output, as nothing is timed");
        if (o->against) return against(kinds[i].name, o, exit_code, e);
        BL_TRY(bl_arena_new(&a, e));
        st = kinds[i].run(p, o, a, e);
        goto out;
    }
    const char *near = bl_nearest(args->pos[0], names);
    st = bl_fail(e, BL_E_CONFIG, "'%s' cannot be timed; %s%s?", args->pos[0],
                 near ? "did you mean " : "kernels, layers, decode, score, scoring or search", near ? near : "");
out:
    bl_arena_free(a);
    return st;
}

const bl_verb bl_verb_bench = {
    .name = "bench",
    .args = "kernels|layers|decode|score|scoring|search",
    .line = "time kernels, whole models or the search of vectors next to OpenBLAS",
    .doc = "kernels: every kernel at the layer shapes of a model, checked first, next to OpenBLAS fp32 on the same "
           "threads, with --device next to cuBLAS with bf16 weights. Exit 1 when one is wrong. "
           "layers: the products of one block, q, k and v as one, gate and up as one, each by the kernel that a model "
           "would take, and their sum for each format. "
           "decode: greedy text; score: windows, prompts and short requests; scoring: both, of a model next to "
           "cblas_sgemm on the same products; "
           "with --device without it. "
           "search: the 10 nearest of many vectors, checked against looking at all of them; exit 1 when they differ.",
    .example = "bitladder bench kernels --shape synth:llama3-8b --filter 'gem*_int4*' -o runs/a",
    .opts = rows,
    .opts_size = sizeof(opts),
    .min_args = 1,
    .max_args = 1,
    .computes = true,
    .run = run,
};
