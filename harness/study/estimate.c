/* estimate.c - arithmetic on shapes, one short measurement of this machine's product. */
#include "estimate.h"
#include "harness/model/size.h"
#include "cell_run.h"
#include "kernels/format.h"
#include <math.h>
#include <string.h>
#include <unistd.h>

double bl_estimate_bytes_per_token(int64_t vocab)
{
    /* English text, measured on byte-pair vocabularies of these sizes. */
    static const struct {
        double log2_vocab, bytes;
    } known[] = {{8, 1.0}, {9, 1.9}, {11, 2.6}, {15, 3.7}, {15.6, 4.25}, {17, 4.5}, {18, 4.6}};
    double v = log2((double)BL_MAX(vocab, 256));
    for (size_t i = 1; i < BL_COUNT(known); i++)
        if (v <= known[i].log2_vocab) {
            double f = (v - known[i - 1].log2_vocab) / (known[i].log2_vocab - known[i - 1].log2_vocab);
            return known[i - 1].bytes + f * (known[i].bytes - known[i - 1].bytes);
        }
    return known[BL_COUNT(known) - 1].bytes;
}

static double span_bytes(const bl_prompt *p)
{
    double n = 0;
    for (size_t i = 0; i < p->n; i++) n += (double)p->span[i].n;
    return n;
}
static bool same_prompt(const bl_prompt *a, const bl_prompt *b) { return a->span == b->span && a->n == b->n; }

bl_status bl_estimate_task(const bl_task *t, bl_task_data *d, int64_t limit, bl_task_shape *out, bl_err *e)
{
    bl_status st = BL_OK;
    bl_arena *a = NULL;
    bl_task_shape s = {.items = d->n, .max_windows = d->max_windows};

    BL_TRY(bl_arena_new(&a, e));
    if (limit > 0 && limit < s.items) s.items = limit;
    int64_t looked = s.items < 0 ? 1 : BL_MIN(s.items, BL_ESTIMATE_ITEMS);
    for (int64_t i = 0; i < looked; i++) {
        bl_turn turn = {.arena = a};
        bl_request r = {0};
        BL_TRY(t->ask(d, i * s.items / looked, &turn, &r, e));
        double bytes = 0;
        if (r.kind == BL_ASK_ROLLING || r.kind == BL_ASK_WINDOW) { /* a window: of the whole text */
            bytes = (double)r.n_text;
            s.scored_bytes += bytes;
            s.stream = r.kind == BL_ASK_WINDOW;
        } else if (r.kind == BL_ASK_GENERATE) {
            bytes = span_bytes(&r.prompt);
            s.new_tokens += 0.5 * (double)r.max_new;
        } else
            for (int p = 0; p < r.n_pairs; p++) {
                double n = (double)strlen(r.pair[p].continuation);
                if (p == 0 || !same_prompt(&r.pair[p].context, &r.pair[p - 1].context))
                    bytes += span_bytes(&r.pair[p].context);
                bytes += n;
                s.scored_bytes += n;
            }
        s.bytes += bytes;
        s.sequence_bytes = BL_MAX(s.sequence_bytes, s.stream ? (double)r.length : bytes);
    }
    if (looked > 0) {
        s.bytes /= (double)looked;
        s.scored_bytes /= (double)looked;
        s.new_tokens /= (double)looked;
    }
    *out = s;
out:
    bl_arena_free(a);
    return st;
}

bl_status bl_estimate_rate(const char *device, int64_t threads, bool reference, double *flops, bl_err *e)
{
    enum { ROWS = 192, IN = 576, OUT = 768 };
    bl_status st = BL_OK;
    bl_backend *be = NULL;
    bl_weight w = {0};
    bl_buffer *buf = NULL;
    bl_event *from = NULL, *to = NULL;
    int64_t rows = reference ? 4 : ROWS;

    if (!reference && (*flops = bl_device_flops(device)) > 0) return BL_OK;
    if (threads == 0) threads = BL_MAX(sysconf(_SC_NPROCESSORS_ONLN), 1);
    if (reference) threads = 1;
    BL_TRY(bl_backend_open(&(bl_backend_opts){.device = device, .threads = 1, .reference = reference}, &be, e));
    const bl_format *f = bl_format_find("fp32");
    BL_TRY(bl_weight_new(be, f, &(bl_shape){.out = OUT, .in = IN}, &w, e));
    BL_TRY(be->ops->buffer_new(be, (uint64_t)rows * (IN + OUT) * sizeof(float), &buf, e));
    bl_tensor x = bl_tensor_2d(buf, 0, be->act, rows, IN),
              y = bl_tensor_2d(buf, (uint64_t)rows * IN * sizeof(float), be->act, rows, OUT);
    BL_TRY(be->ops->fill(be, &w.part[0], 0.5, e));
    BL_TRY(be->ops->fill(be, &x, 0.25, e));
    BL_TRY(be->ops->event_new(be, &from, e));
    BL_TRY(be->ops->event_new(be, &to, e));
    double best = 1e9, t;
    for (int i = 0; i < 3; i++) {
        BL_TRY(be->ops->event_record(be, from, e));
        BL_TRY(be->ops->linear(be, &(bl_linear_args){.x = x, .w = {&w}, .y = {y}}, e));
        BL_TRY(be->ops->event_record(be, to, e));
        BL_TRY(be->ops->event_seconds(from, to, &t, e));
        best = BL_MIN(best, t);
    }
    *flops = 2.0 * (double)rows * IN * OUT / BL_MAX(best, 1e-9) * (double)threads;
out:
    bl_weight_free(&w);
    if (be) {
        be->ops->event_free(from);
        be->ops->event_free(to);
        be->ops->buffer_free(buf);
    }
    bl_backend_close(be);
    return st;
}

/* Rough, as seen with small models on CPUs. */
static const double overhead = 1.15;      /* of a pass, beside its products */
static const double decode_cost = 4;      /* a product of one row to the same work among many rows */
static const double quantize_s = 12e-9;   /* rounding one weight to nearest */
static const double program_bytes = 32e6; /* code, libraries, tokenizer */

void bl_estimate_variant(const bl_spec *s, bl_plan_variant *v, int there, double rate)
{
    v->seconds = 0;
    v->peak_bytes = 0;
    for (int i = there; i < s->method[v->method].n; i++) {
        double memory = program_bytes + (double)v->forecast->stage[i].memory;
        if (v->forecast->stage[i].memory == 0) continue; /* base */
        v->seconds += v->forecast->stage[i].work / rate + quantize_s * v->forecast->stage[i].weights;
        v->peak_bytes = BL_MAX(v->peak_bytes, (int64_t)memory);
    }
}

void bl_estimate_cell(const bl_config *c, const bl_task_shape *s, double rate, bool kl, int64_t limit,
                      bl_plan_cell *out)
{
    double per = bl_estimate_bytes_per_token(c->vocab), items = (double)s->items, tokens, scored, length;
    if (s->stream) {
        length = BL_MIN(s->sequence_bytes,
                        (double)bl_config_reach(c)); /* sequence_bytes holds the window's tokens here */
        items = floor(s->bytes / per / BL_MAX(length, 1));
        if (limit > 0) items = BL_MIN(items, (double)limit);
        if (s->max_windows > 0) items = BL_MIN(items, (double)s->max_windows);
        tokens = items * length;
        scored = tokens;
    } else {
        tokens = items * (s->bytes / per + 1);
        scored = items * s->scored_bytes / per;
        length = BL_MIN(s->sequence_bytes / per + 2, (double)bl_config_reach(c));
    }
    double linear = 2.0 * (double)bl_config_linear_params(c), head = 2.0 * (double)c->dim * (double)c->vocab;
    double attention = 2.0 * (double)c->n_layers * (double)(c->n_heads * c->head_dim) * length;
    double flops = tokens * (linear + attention) + scored * head * (kl ? 2 : 1);
    double generated = items * s->new_tokens;
    out->items = (int64_t)items;
    out->tokens = (int64_t)tokens;
    out->new_tokens = (int64_t)generated;
    out->seconds = (overhead * flops + decode_cost * generated * (linear + head)) / rate;
}

int64_t bl_estimate_peak(const bl_config *c, const bl_spec *s, const bl_plan_variant *v, const bl_plan_cell *cell,
                         const bl_task_shape *shape, bool kl)
{
    double tokens = (double)BL_MAX(cell->tokens, 1), per = bl_estimate_bytes_per_token(c->vocab);
    double scored = shape->stream ? tokens : shape->scored_bytes / per * BL_BATCH_ITEMS;
    double weights = (double)v->packed_bytes;
    if (s->stream) { /* the ends and one block */
        double linears = v->bits / 8 * (double)bl_config_linear_params(c);
        weights -= linears - linears / (double)c->n_layers;
    }
    double pass = (double)(s->batch_tokens > 0 ? s->batch_tokens : bl_pass_rows(c, s->stream, (uint64_t)weights));
    pass = BL_MIN(pass, tokens);
    double chunk = BL_MIN(pass, (double)bl_chunk_rows(c)) * (double)bl_chunk_row_bytes(c);
    double logits = BL_MIN((double)bl_head_rows(c), scored) * (double)c->vocab * sizeof(float) * (kl ? 2 : 1);
    double text = shape->stream ? shape->bytes * 2 : shape->bytes * (double)shape->items * 2;
    double cache = 0;
    if (cell->new_tokens > 0) { /* of the prompts that are continued together */
        double rows = (double)(cell->tokens + 2 * cell->new_tokens) / (double)BL_MAX(cell->items, 1);
        cache = BL_MIN(BL_BATCH_GENERATIONS * rows * (double)bl_kv_row_bytes(c, v->kv), (double)BL_GENERATE_KV_BYTES);
    }
    return (int64_t)(program_bytes + weights + pass * (double)bl_pass_row_bytes(c, v->kv) + chunk + logits + cache +
                     text);
}
