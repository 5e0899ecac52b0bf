/* scoring.c - whole models next to the products they are made of: windows, short requests and greedy text, with
 * cblas_sgemm on the same list of products in the same process, all in turn, for some rounds.
 *
 * The list of a pass over `rows` tokens of which `scored` meet the head: every linear of every block with `rows` rows,
 * then the head in the chunks in which the engine computes logits. cblas_sgemm reads a weight of its own for each
 * product, as the model does, up to WEIGHT_BYTES.
 */
#include "bench_impl.h"
#include "kernels/base/fs.h"
#include "results/metric.h"
#include "kernels/base/json.h"
#include "kernels/base/rng.h"
#include "harness/model/generate.h"
#include "harness/quant/apply.h"
#include "harness/score/score.h"
#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum { TOGETHER = 8, SCORED = 4, PROMPT = 8, MAX_WORKS = 8, MAX_VARIANTS = 16 };
#define SGEMM        "cblas_sgemm" /* what the method of its rows is called */
#define WEIGHT_BYTES (2ull << 30)
#define SHORT_FLOPS  1e11 /* under a second */
#define LOOKS        8    /* at the clock of a GPU in a repetition, */
#define LOOK_SECONDS 1e-3 /* this far apart at least */
#define REST_SECONDS 0.3  /* of a GPU before its probes, which are not to be slower for what was scored */

/* Sequences of `length` tokens in passes of `batch`; decode: one prompt of `length`, then so many tokens. */
typedef struct work {
    const char *what;
    int64_t n_seq, length, scored, batch, decode;
} work;
typedef struct variant {
    const char *method;
    bl_checkpoint *ckpt;
    bl_model *m;
    bl_engine *g;
} variant;

typedef struct scoring {
    const bl_scoring_opts *o;
    bl_arena *a;
    bl_backend *be;
    char *dir; /* of the quantized models */
    variant v[MAX_VARIANTS];
    size_t n_v;
    work w[MAX_WORKS];
    size_t n_w;
    int32_t *ids; /* enough for any work */
    float *weight, *x, *y;
    size_t n_weight;
    bool cpu, blas;                                               /* blas: OpenBLAS is timed too */
    double *times[MAX_WORKS][MAX_VARIANTS + 1], flops[MAX_WORKS]; /* [0]: OpenBLAS; a time for each round */
    double *mhz[MAX_WORKS][MAX_VARIANTS + 1];                     /* of a GPU then */
    uint64_t held[MAX_WORKS][MAX_VARIANTS + 1];
    size_t rounds;
    bl_watch watch;
    bl_kernel_facts facts;
} scoring;

/* ---- what is run ---- */
static bl_status one_choice(const bl_program *p, const char *text, bl_method_chain *out, bl_err *e)
{
    static const bl_method *const fp32[] = {&bl_bench_fp32, NULL};
    return bl_chain_parse(strcmp(text, bl_bench_fp32.name) == 0 ? fp32 : p->methods, text, out, e);
}

static bl_status open_variant(scoring *s, const bl_program *p, bl_checkpoint *source, const char *text, bl_err *e)
{
    bl_status st = BL_OK;
    bl_method_chain choice = {0};
    bl_quantize_result made;
    char *dir = NULL, name[32];
    variant *v = &s->v[s->n_v];

    BL_TRY(one_choice(p, text, &choice, e));
    snprintf(name, sizeof name, "%zu", s->n_v);
    if (!(v->method = bl_arena_str(s->a, choice.text, strlen(choice.text), e)) || !(dir = bl_join(s->dir, name, e))) {
        st = BL_E_NOMEM;
        goto out;
    }
    s->n_v++;
    if (!bl_chain_as_stored(&choice)) {
        if (!s->o->quiet) fprintf(stderr, "making %s\n", choice.text);
        BL_TRY(bl_quantize_dir(source, &choice, &(bl_apply_how){0}, s->be, dir, s->a, &made, e));
    }
    BL_TRY(bl_checkpoint_open(bl_chain_as_stored(&choice) ? s->o->model : dir, NULL, &v->ckpt, e));
    BL_TRY(bl_model_open(v->ckpt, s->be, &(bl_model_opts){.stream = s->o->stream}, &v->m, e));
    BL_TRY(bl_engine_new(v->m, NULL, NULL, &v->g, e));
out:
    bl_free(dir);
    bl_chain_free(&choice);
    return st;
}

static bl_status open_variants(scoring *s, const bl_program *p, bl_err *e)
{
    bl_status st = BL_OK;
    const char *list = s->o->method ? s->o->method : "fp32,base,rtn:w4g64", *tmp = getenv("TMPDIR");
    char *copy = bl_arena_str(s->a, list, strlen(list), e), *rest = NULL;
    bl_checkpoint *source = NULL;

    if (!copy || !(s->dir = bl_format_text(e, "%s/bitladder-bench.XXXXXX", tmp && *tmp ? tmp : "/tmp")))
        return BL_E_NOMEM;
    if (!mkdtemp(s->dir)) {
        st = bl_fail(e, BL_E_DISK, "%s: a temporary directory cannot be made", s->dir);
        bl_free(s->dir);
        s->dir = NULL;
        return st;
    }
    BL_TRY(bl_checkpoint_open(s->o->model, NULL, &source, e));
    for (char *one = strtok_r(copy, ",", &rest); one; one = strtok_r(NULL, ",", &rest)) {
        if (s->n_v == MAX_VARIANTS) {
            st = bl_fail(e, BL_E_CONFIG, "bench scoring: more than %d methods", MAX_VARIANTS);
            goto out;
        }
        BL_TRY(open_variant(s, p, source, one, e));
    }
    if (!s->n_v) st = bl_fail(e, BL_E_CONFIG, "bench scoring: --method names no method");
out:
    bl_checkpoint_close(source);
    return st;
}

static bl_status add_work(scoring *s, work w, const char *fmt, int64_t a, int64_t b, bl_err *e)
{
    char text[96];
    int n = snprintf(text, sizeof text, fmt, (long long)a, (long long)b);
    if (!(w.what = bl_arena_str(s->a, text, (size_t)n, e))) return BL_E_NOMEM;
    s->w[s->n_w++] = w;
    return BL_OK;
}

static bl_status plan_works(scoring *s, bl_err *e)
{
    static const int64_t windows[] = {512, 2048};
    bl_status st = BL_OK;
    int64_t longest = bl_model_max_len(s->v[0].m), most = 0, last = 0;
    int64_t request = BL_MIN(s->o->request ? s->o->request : 24, longest - 1),
            decode = BL_MIN(s->o->decode ? s->o->decode : 64, longest - PROMPT);

    if (request <= SCORED || decode < 1)
        return bl_fail(e, BL_E_CONFIG, "bench scoring: %lld positions are too few to measure anything",
                       (long long)longest);
    for (size_t i = 0; i < BL_COUNT(windows); i++) {
        int64_t n = BL_MIN(windows[i], longest - 1);
        if (n != last)
            BL_TRY(add_work(s, (work){.n_seq = 1, .length = n, .scored = n, .batch = 1}, "window of %lld", n, 0, e));
        last = n;
    }
    int64_t prompt = BL_MIN(windows[0], longest - 1), together = s->o->batch ? s->o->batch : TOGETHER;
    BL_TRY(add_work(s, (work){.n_seq = 1, .length = prompt, .scored = 1, .batch = 1}, "prompt of %lld", prompt, 0, e));
    if (!s->cpu && together > 1)
        BL_TRY(add_work(s, (work){.n_seq = together, .length = last, .scored = last, .batch = together},
                        "windows of %lld, batch %lld", last, together, e));
    for (int64_t batch = 1; batch <= together; batch += BL_MAX(together - 1, 1))
        BL_TRY(add_work(s, (work){.n_seq = together, .length = request, .scored = SCORED, .batch = batch},
                        "requests of %lld, batch %lld", request, batch, e));
    BL_TRY(add_work(s, (work){.n_seq = 1, .length = PROMPT, .scored = 1, .batch = 1, .decode = decode},
                    "greedy text of %lld", decode, 0, e));
    size_t all = s->n_w;
    s->n_w = 0;
    for (size_t i = 0; i < all; i++)
        if (bl_bench_chosen(s->o->filter, s->w[i].what, s->a, e)) s->w[s->n_w++] = s->w[i];
    if (!s->n_w)
        return bl_fail(e, BL_E_CONFIG,
                       "bench scoring: nothing that is timed is called '%s'; 'greedy*' is, or 'window*'", s->o->filter);
    for (size_t i = 0; i < s->n_w; i++) most = BL_MAX(most, s->w[i].n_seq * (s->w[i].length + 1));
    if (!(s->ids = bl_alloc(s->a, (size_t)most, sizeof *s->ids, e))) return BL_E_NOMEM;
    for (int64_t i = 0; i < most; i++) {
        uint32_t four[4];
        bl_philox((uint32_t[4]){(uint32_t)i, 0, 0, 0}, (uint32_t[2]){0x62656e63, 0x68}, four);
        s->ids[i] = (int32_t)(four[0] % (uint64_t)s->v[0].m->config.vocab);
    }
out:
    return st;
}

/* ---- OpenBLAS on the list of products ---- */
typedef struct blas {
    scoring *s;
    size_t at;
    double flops;
    bool dry;
} blas;

static void product(blas *b, int64_t rows, int64_t out, int64_t in)
{
    size_t n = (size_t)(out * in);
    b->flops += 2.0 * (double)rows * (double)out * (double)in;
    if (b->dry) return;
    if (b->at + n > b->s->n_weight) b->at = 0;
    bl_blas_product(rows, out, in, b->s->x, b->s->weight + b->at, b->s->y);
    b->at += n;
}

static void pass(blas *b, int64_t rows, int64_t scored)
{
    const bl_model *m = b->s->v[0].m;
    for (size_t i = 0; i < m->n_linears; i++) product(b, rows, m->linears[i].out, m->linears[i].in);
    for (int64_t r = 0, chunk = bl_logits_rows(m); r < scored; r += chunk) {
        size_t head = b->at;
        product(b, BL_MIN(chunk, scored - r), m->config.vocab, m->config.dim);
        if (r + chunk < scored) b->at = head; /* one head */
    }
}

static double products(scoring *s, const work *w, bool dry)
{
    blas b = {.s = s, .dry = dry};
    for (int64_t i = 0; i < w->n_seq; i += w->batch) {
        b.at = 0;
        pass(&b, w->batch * w->length, w->batch * w->scored);
    }
    for (int64_t i = 1; i < w->decode; i++) {
        b.at = 0;
        pass(&b, 1, 1);
    }
    return b.flops;
}

static bl_status blas_room(scoring *s, bl_err *e)
{
    const bl_model *m = s->v[0].m;
    int64_t wide = m->config.dim, tall = 0, rows = 0;
    size_t all = (size_t)(m->config.vocab * m->config.dim), largest = all;

    for (size_t i = 0; i < m->n_linears; i++) {
        size_t n = (size_t)(m->linears[i].out * m->linears[i].in);
        all += n;
        largest = BL_MAX(largest, n);
        wide = BL_MAX(wide, m->linears[i].in);
        tall = BL_MAX(tall, m->linears[i].out);
    }
    for (size_t i = 0; i < s->n_w; i++) rows = BL_MAX(rows, s->w[i].batch * s->w[i].length);
    s->n_weight = BL_MAX(BL_MIN(all, (size_t)(WEIGHT_BYTES / sizeof(float))), largest);
    size_t n_x = (size_t)(rows * wide),
           n_y = (size_t)BL_MAX(rows * tall, BL_MIN(rows, bl_logits_rows(m)) * m->config.vocab);
    if (!(s->weight = bl_new(s->n_weight, sizeof(float), e)) || !(s->x = bl_new(n_x, sizeof(float), e)) ||
        !(s->y = bl_new(n_y, sizeof(float), e)))
        return BL_E_NOMEM;
    for (size_t i = 0; i < s->n_weight; i++) s->weight[i] = (float)(i % 251) * 1e-3f - 0.125f;
    for (size_t i = 0; i < n_x; i++) s->x[i] = (float)(i % 241) * 1e-2f - 1.2f;
    return BL_OK;
}

/* ---- a model ---- */
static bl_status run_model(scoring *s, const variant *v, const work *w, bl_err *e)
{
    bl_status st = BL_OK;
    bl_mark mark = bl_arena_mark(s->a);

    if (w->decode) {
        bl_gen_reply reply;
        BL_TRY(bl_generate(v->m, NULL,
                           &(bl_gen_request){.ids = s->ids, .n = w->length, .max_new = w->decode, .ignore_end = true},
                           1, w->length + w->decode, false, s->a, &reply, e));
        if (reply.n != w->decode)
            st = bl_fail(e, BL_E_INTERNAL, "%lld tokens were generated, not %lld", (long long)reply.n,
                         (long long)w->decode);
        goto out;
    }
    for (int64_t i = 0; i < w->n_seq; i += w->batch)
        BL_TRY(bl_engine_score_ids(v->g, s->ids + i * (w->length + 1), w->batch, w->length, w->scored, e));
out:
    bl_arena_release(s->a, mark);
    return st;
}

static bl_status run_once(scoring *s, size_t w, size_t who, bl_err *e)
{
    if (who) return run_model(s, &s->v[who - 1], &s->w[w], e);
    products(s, &s->w[w], false);
    return BL_OK;
}

static bl_status measure(scoring *s, size_t w, size_t who, size_t round, bl_err *e)
{
    bl_status st = BL_OK;
    double start = bl_now(), last = round ? s->times[w][who][round - 1] : 0;

    /* Before OpenBLAS and after it the threads of the other must come to rest; short works are run once untimed as
     * well. */
    if (who <= 1 && s->blas) bl_blas_pause(0.05);
    if ((s->blas && who <= 1 && s->flops[w] < SHORT_FLOPS) || (!s->blas && round == 0)) BL_TRY(run_once(s, w, who, e));
    if (!round) last = bl_now() - start;
    bl_clocks_beside(s->watch.clocks, fmax(last / LOOKS, LOOK_SECONDS));
    start = bl_now();
    st = run_once(s, w, who, e);
    s->times[w][who][round] = bl_now() - start;
    const bl_look look = bl_clocks_enough(s->watch.clocks);
    s->mhz[w][who][round] = look.mhz;
    s->held[w][who] |= look.held;
out:
    return st;
}

static void close_all(scoring *s)
{
    for (size_t i = 0; i < s->n_v; i++) {
        bl_engine_free(s->v[i].g);
        bl_model_close(s->v[i].m);
        bl_checkpoint_close(s->v[i].ckpt);
    }
    bl_free(s->weight);
    bl_free(s->x);
    bl_free(s->y);
    bl_watch_close(&s->watch);
    bl_backend_close(s->be);
    if (s->dir) bl_remove_tree(s->dir, NULL);
    bl_free(s->dir);
}

static int by_value(const void *x, const void *y)
{
    double a = *(const double *)x, b = *(const double *)y;
    return (a > b) - (a < b);
}

/* The median of the rounds in which somebody looked. */
static double seen(double *mhz, size_t rounds, bl_arena *a, bl_err *e)
{
    int64_t n = 0;
    for (size_t i = 0; i < rounds; i++)
        if (mhz[i] > 0) mhz[n++] = mhz[i];
    return bl_speed_median(mhz, n, a, e);
}

static bl_status rows_of(const scoring *s, bl_scoring_result *out, bl_err *e)
{
    bl_scoring_row *row = bl_alloc(s->a, s->n_w * (s->n_v + 1), sizeof *row, e);
    uint64_t peak;
    size_t k = 0;
    if (!row) return BL_E_NOMEM;
    s->be->ops->memory(s->be, NULL, &peak);
    for (size_t w = 0; w < s->n_w; w++)
        for (size_t i = !s->blas; i <= s->n_v; i++) {
            double *t = bl_alloc(s->a, s->rounds, sizeof *t, e);
            if (!t) return BL_E_NOMEM;
            memcpy(t, s->times[w][i], s->rounds * sizeof *t);
            qsort(t, s->rounds, sizeof *t, by_value);
            double median = bl_percentile(t, (int64_t)s->rounds, 0.5);
            row[k] = (bl_scoring_row){
                .what = s->w[w].what,
                .method = i ? s->v[i - 1].method : SGEMM,
                .tokens = s->w[w].decode ? s->w[w].decode : s->w[w].n_seq * s->w[w].length,
                .seconds = median,
                .seconds_min = t[0],
                .seconds_max = t[s->rounds - 1],
                .gflops = s->flops[w] / median / 1e9,
                .ratio = !s->blas ? 0
                         : i      ? row[k - i].seconds / median
                                  : 1,
                .peak_bytes = peak,
                .repeat = s->times[w][i],
                .n_repeat = (int64_t)s->rounds,
                .clock = seen(s->mhz[w][i], s->rounds, s->a, e),
                .held = bl_clocks_held(s->held[w][i], s->a, e),
            };
            if (!row[k].held) return BL_E_NOMEM;
            k++;
        }
    out->row = row;
    out->n = k;
    return BL_OK;
}

/* How quiet the machine was: slowest over fastest repetition of OpenBLAS, median over what is timed; 0: without. */
static double drift_of(const bl_scoring_result *r, bl_arena *a, bl_err *e)
{
    double *apart = bl_alloc(a, r->n, sizeof *apart, e);
    int64_t n = 0;
    for (size_t i = 0; i < r->n && apart; i++)
        if (strcmp(r->row[i].method, SGEMM) == 0) apart[n++] = r->row[i].seconds_max / r->row[i].seconds_min;
    return bl_speed_median(apart, n, a, e);
}

/* All that changes what a row takes and is not in its name, but the machine. */
static bl_status say_how(scoring *s, bl_err *e)
{
    bl_status st = BL_OK;
    const bl_scoring_opts *o = s->o;
    const char *table = getenv("BITLADDER_DISPATCH");
    bl_text t = {0};
    bl_text_addf(&t, "%s, wall time%s%s", o->model, o->stream ? ", a block at a time" : "",
                 o->deterministic ? ", deterministic" : "");
    if (o->mem_limit) bl_text_addf(&t, ", %lld MiB of memory", (long long)o->mem_limit);
    if (!s->cpu && table && *table) bl_text_addf(&t, ", BITLADDER_DISPATCH=%s", table);
    BL_TRY(bl_text_check(&t, e));
    if (!(s->facts.convention = bl_arena_str(s->a, t.s, t.n, e))) st = BL_E_NOMEM;
out:
    bl_text_free(&t);
    return st;
}

static bl_status write_rows(const scoring *s, const bl_scoring_result *r, bl_err *e)
{
    bl_model_row *of = bl_alloc(s->a, r->n, sizeof *of, e);
    if (!of) return BL_E_NOMEM;
    for (size_t i = 0; i < r->n; i++) {
        const bl_scoring_row *x = &r->row[i];
        of[i] = (bl_model_row){x->what, x->method, x->tokens, x->seconds, x->repeat, x->n_repeat, x->clock, x->held};
    }
    return bl_throughput_write(s->o->out, &(bl_speed_record){.facts = r->facts, .model = of, .n_models = r->n}, e);
}

/* With the threads of the backend set, and those of OpenBLAS. */
static bl_status open_watch(scoring *s, bl_err *e)
{
    bl_status st = BL_OK;
    bl_device_info device;
    s->be->ops->device_info(s->be, &device);
    if (s->blas) bl_blas_threads(device.threads, &device);
    s->watch = (bl_watch){.be = s->be, .a = s->a, .rest = REST_SECONDS, .to = &s->facts};
    if (s->cpu && s->o->out)
        s->watch.cold_bytes = bl_copies_bytes(bl_last_caches("/sys/devices/system/cpu"), device.memory_bytes);
    BL_TRY(bl_watch_open(&s->watch, e));
    if (s->cpu && !s->blas) s->facts.blas = "";
    s->facts.shape = s->o->model;
    s->facts.repetitions = (int64_t)s->rounds;
    st = say_how(s, e);
out:
    return st;
}

bl_status bl_bench_scoring(const bl_program *p, const bl_scoring_opts *o, bl_arena *a, bl_scoring_result *out,
                           bl_err *e)
{
    bl_status st = BL_OK;
    scoring *s = bl_alloc(a, 1, sizeof *s, e);

    if (!s) return BL_E_NOMEM;
    s->o = o;
    s->a = a;
    s->rounds = o->repetitions ? (size_t)o->repetitions : 5;
    if (o->out) BL_TRY(bl_dir_usable(o->out, e));
    BL_TRY(bl_backend_open(&(bl_backend_opts){.device = o->device ? o->device : "cpu",
                                              .threads = (int)o->threads,
                                              .isa = o->isa,
                                              .deterministic = o->deterministic,
                                              .memory_limit = (uint64_t)o->mem_limit << 20},
                           &s->be, e));
    s->cpu = strcmp(s->be->ops->name, "cpu") == 0;
    s->blas = s->cpu && !o->alone;
    BL_TRY(open_variants(s, p, e));
    BL_TRY(plan_works(s, e));
    if (s->blas) BL_TRY(blas_room(s, e));
    for (size_t w = 0; w < s->n_w; w++) s->flops[w] = products(s, &s->w[w], true);
    for (size_t w = 0; w < s->n_w; w++)
        for (size_t who = 0; who <= s->n_v; who++)
            if (!(s->times[w][who] = bl_alloc(a, s->rounds, sizeof(double), e)) ||
                !(s->mhz[w][who] = bl_alloc(a, s->rounds, sizeof(double), e))) {
                st = BL_E_NOMEM;
                goto out;
            }
    BL_TRY(open_watch(s, e));
    for (size_t round = 0; round < s->rounds; round++)
        for (size_t w = 0; w < s->n_w; w++) {
            BL_TRY(bl_watch_look(&s->watch, false, e));
            for (size_t who = !s->blas; who <= s->n_v; who++) {
                if (bl_interrupted()) {
                    st = bl_fail(e, BL_E_INTERRUPTED, "interrupted");
                    goto out;
                }
                BL_TRY(measure(s, w, who, round, e));
            }
        }
    BL_TRY(bl_watch_end(&s->watch, e));
    BL_TRY(rows_of(s, out, e));
    s->facts.drift = drift_of(out, a, e);
    out->facts = s->facts;
    if (o->out) BL_TRY(write_rows(s, out, e));
out:
    close_all(s);
    return st;
}

/* ---- print ---- */
bl_status bl_scoring_table(const bl_scoring_row *row, size_t n, bool json, bl_text *out, bl_err *e)
{
    int what = 4, method = 6;
    bool gpu = false;
    for (size_t i = 0; i < n; i++) {
        gpu |= row[i].clock > 0;
        what = BL_MAX(what, (int)strlen(row[i].what));
        method = BL_MAX(method, (int)strlen(row[i].method));
    }
    bl_json_out j = {.t = out};
    if (json) bl_json_lines(&j, NULL);
    else
        bl_text_addf(out,
                     "| %-*s | %-*s | tokens |  seconds | tokens/s | GFLOP/s | of sgemm | spread |%s\n"
                     "|:%.*s-|:%.*s-|-------:|---------:|---------:|--------:|---------:|-------:|%s\n",
                     what, "what", method, "method", gpu ? " MHz, held by |" : "", what,
                     "----------------------------------------------------------------", method,
                     "----------------------------------------------------------------", gpu ? ":-------------|" : "");
    for (size_t i = 0; i < n; i++) {
        const bl_scoring_row *r = &row[i];
        double rate = (double)r->tokens / r->seconds;
        if (!json) {
            char of[16] = "-", spread[24] = "-"; /* of one round there is none */
            if (r->ratio > 0) snprintf(of, sizeof of, "%.0f%%", 100 * r->ratio);
            if (r->seconds_max > r->seconds_min)
                snprintf(spread, sizeof spread, "%.0f %%", 100 * (r->seconds_max / r->seconds_min - 1));
            bl_text_addf(out, "| %-*s | %-*s | %6lld | %8.4f | %8.1f | %7.1f | %8s | %6s |", what, r->what, method,
                         r->method, (long long)r->tokens, r->seconds, rate, r->gflops, of, spread);
            bl_bench_clock(gpu, r->clock, r->held, out);
            continue;
        }
        bl_json_object(&j, NULL);
        bl_json_add_str(&j, "what", r->what);
        bl_json_add_str(&j, "method", r->method);
        bl_json_add_int(&j, "tokens", r->tokens);
        bl_json_add_real(&j, "seconds", r->seconds);
        bl_json_add_real(&j, "seconds_min", r->seconds_min);
        bl_json_add_real(&j, "seconds_max", r->seconds_max);
        bl_json_add_real(&j, "tokens_per_second", rate);
        bl_json_add_real(&j, "flop_per_second", r->gflops * 1e9);
        if (r->ratio > 0) bl_json_add_real(&j, "sgemm_ratio", r->ratio);
        bl_json_add_int(&j, "device_peak_bytes", (int64_t)r->peak_bytes);
        if (gpu) {
            bl_json_add_real(&j, "clock_mhz", r->clock);
            bl_json_add_str(&j, "held_by", r->held);
        }
        bl_json_end(&j);
    }
    if (json) {
        bl_json_end(&j);
        bl_text_add(out, "\n");
    }
    return bl_text_check(out, e);
}
