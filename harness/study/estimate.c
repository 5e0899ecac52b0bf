/* estimate.c - arithmetic on shapes, one short measurement of this machine's product. */
#include "estimate.h"
#include "harness/encoder/encoder.h"
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

/* ---- one task ---- */
static double prompt_bytes(const bl_prompt *p)
{
    double n = 0;
    for (size_t i = 0; i < p->n; i++) n += (double)p->span[i].n;
    return n;
}

/* Bytes that two prompts begin with alike. */
static double alike(const bl_prompt *a, const bl_prompt *b)
{
    double n = 0;
    size_t i = 0, j = 0, x = 0, y = 0;
    while (i < a->n && j < b->n) {
        const bl_span *s = &a->span[i], *t = &b->span[j];
        while (x < s->n && y < t->n && s->text[x] == t->text[y]) x++, y++, n++;
        if (x < s->n && y < t->n) break;
        if (x == s->n) i++, x = 0;
        if (y == t->n) j++, y = 0;
    }
    return n;
}

/* What a model may have said: sentences with numbers, half as long as it was allowed to. */
static bl_status made_up_reply(bl_request *r, bl_arena *a, bl_reply *out, bl_err *e)
{
    static const char sentence[] = " So 12 of the 30 are left, and that makes 18.";
    enum { BYTES = 2 }; /* half a token */
    bl_prompt *prompt;
    size_t n = r->kind == BL_ASK_PAIRS ? (size_t)r->n_pairs : 1, most = (size_t)BL_MAX(r->max_new, 0) * BYTES;
    const char **texts;
    char *text;

    if (r->kind == BL_ASK_NEAR) return bl_near_reply(r, a, out, e);
    if (r->kind == BL_ASK_GENERATE) n = (size_t)bl_request_prompts(r, &prompt);
    *out = (bl_reply){.kind = r->kind, .n = (int)n, .new_tokens = (int64_t)n * r->max_new / 2};
    if (!(out->nll = bl_alloc(a, n, sizeof *out->nll, e)) || !(out->nll_sq = bl_alloc(a, n, sizeof *out->nll_sq, e)) ||
        !(out->tokens = bl_alloc(a, n, sizeof *out->tokens, e)) ||
        !(out->greedy = bl_alloc(a, n, sizeof *out->greedy, e)) ||
        !(out->chars = bl_alloc(a, n, sizeof *out->chars, e)) ||
        !(out->bytes = bl_alloc(a, n, sizeof *out->bytes, e)) || !(texts = bl_alloc(a, n, sizeof *texts, e)) ||
        !(text = bl_alloc(a, most + 1, 1, e)))
        return BL_E_NOMEM;
    for (size_t i = 0; i < most; i++) text[i] = sentence[i % (sizeof sentence - 1)];
    for (size_t i = 0; i < n; i++) {
        out->tokens[i] = 1;
        texts[i] = text;
    }
    out->texts = texts;
    out->text = text;
    return BL_OK;
}

/* A query and the texts it is compared with. */
static bl_status add_near(const bl_near_texts *t, const char *query, const bl_near_texts **kept, bl_task_shape *s,
                          bl_err *e)
{
    bl_status st = BL_OK;
    double texts = 0;
    bool once = t->kept && *kept != t;

    for (int64_t k = 0; (once || !t->kept) && k < t->n; k++) texts += (double)strlen(t->text[k]);
    if (t->encoder) BL_TRY(bl_encoder_work(t->encoder, &s->encoder_work, e));
    s->compared += (double)t->n;
    *(t->encoder ? &s->encoded_bytes : &s->bytes) += (double)strlen(query) + (t->kept ? 0 : texts);
    s->own_passes += !t->encoder && !t->kept;
    if (!once) goto out;
    *kept = t;
    *(t->encoder ? &s->kept_encoded_bytes : &s->kept_bytes) += texts;
out:
    return st;
}

/* What one request costs; `before`: the first prompt of the same step of another item, whose beginning is computed once
 * for the cell, or of choices for many items together. */
enum { EXAMPLES = 64 }; /* bytes that begin more than one question: worked examples */

static void add_request(bl_request *r, const bl_prompt *before, bl_task_shape *s)
{
    double bytes = 0;
    if (r->kind == BL_ASK_ROLLING || r->kind == BL_ASK_WINDOW) { /* a window: of the whole text */
        bytes = (double)r->n_text;
        s->scored_bytes += bytes;
        s->stream = r->kind == BL_ASK_WINDOW;
        s->sequence_bytes = BL_MAX(s->sequence_bytes, s->stream ? (double)r->length : bytes);
    } else if (r->kind == BL_ASK_GENERATE) {
        bl_prompt *p;
        int n = bl_request_prompts(r, &p);
        s->in_turn += 0.5 * (double)r->max_new;
        for (int k = 0; k < n; k++) {
            const bl_prompt *last = k ? &p[k - 1] : before;
            double all = prompt_bytes(&p[k]), again = last ? alike(last, &p[k]) : 0;
            bytes += all - again;
            s->new_tokens += 0.5 * (double)r->max_new;
            s->sequence_bytes = BL_MAX(s->sequence_bytes, all);
        }
    } else if (r->kind != BL_ASK_NEAR)
        for (int k = 0; k < r->n_pairs; k++) {
            const bl_prompt *last = k ? &r->pair[k - 1].context : before;
            double all = prompt_bytes(&r->pair[k].context), n = (double)strlen(r->pair[k].continuation);
            double again = last ? alike(last, &r->pair[k].context) : 0;
            bytes += all - (k || again >= EXAMPLES ? again : 0) + n;
            s->scored_bytes += n;
            s->sequence_bytes = BL_MAX(s->sequence_bytes, all + n);
        }
    s->bytes += bytes;
}

static bl_status first_prompt(bl_request *r, bl_arena *a, bl_prompt *out, bl_err *e)
{
    bl_prompt *p;
    *out = (bl_prompt){.arena = a};
    if (r->kind == BL_ASK_PAIRS && r->n_pairs) p = &r->pair[0].context;
    else if (r->kind != BL_ASK_GENERATE) return BL_OK;
    else bl_request_prompts(r, &p);
    for (size_t i = 0; i < p->n; i++) bl_sayn(out, p->span[i].text, p->span[i].n);
    return out->failed ? bl_fail(e, BL_E_NOMEM, "no memory for a prompt") : BL_OK;
}

enum { MOST_STEPS = 64 }; /* that are looked at */

/* All steps of one item, after replies that are made up. before[MOST_STEPS]: the first prompts of the item before. */
static bl_status look_at(const bl_task *t, bl_task_data *d, int64_t item, bl_prompt *before, const bl_near_texts **near,
                         bl_arena *kept, bl_arena *a, bl_task_shape *s, bl_err *e)
{
    bl_status st = BL_OK;
    bl_reply reply[MOST_STEPS];
    bl_turn turn = {.arena = a, .reply = reply};

    for (;;) {
        bl_request r = {0};
        BL_TRY(t->ask(d, item, &turn, &r, e));
        if (r.kind == BL_ASK_DONE || turn.step == MOST_STEPS) break;
        if (r.kind == BL_ASK_NEAR) BL_TRY(add_near(r.near, r.query, near, s, e));
        add_request(&r, before[turn.step].n ? &before[turn.step] : NULL, s);
        BL_TRY(first_prompt(&r, kept, &before[turn.step], e));
        if (r.kind == BL_ASK_WINDOW) break;
        BL_TRY(made_up_reply(&r, a, &reply[turn.step], e));
        turn.n_replies = ++turn.step;
    }
out:
    return st;
}

/* The first prompt of another item with the worked examples of `item`, into *before. */
static bl_status look_beside(const bl_task *t, bl_task_data *d, int64_t item, bl_prompt *before, bl_arena *kept,
                             bl_arena *a, bl_err *e)
{
    bl_request r = {0};
    bl_status st = BL_OK;
    int64_t k = 0;

    while (k < d->n && (k == item || d->family[k] != d->family[item])) k++;
    if (k == d->n) return BL_OK;
    BL_TRY(t->ask(d, k, &(bl_turn){.arena = a}, &r, e));
    BL_TRY(first_prompt(&r, kept, before, e));
out:
    return st;
}

bl_status bl_estimate_task(const bl_task *t, bl_task_data *d, int64_t limit, bl_task_shape *out, bl_err *e)
{
    bl_status st = BL_OK;
    bl_arena *a = NULL, *kept = NULL;
    bl_prompt before[MOST_STEPS] = {{0}};
    bl_task_shape s = {.items = d->n, .max_windows = d->max_windows};
    const bl_near_texts *near = NULL;

    BL_TRY(bl_arena_new(&a, e));
    BL_TRY(bl_arena_new(&kept, e));
    if (limit > 0 && limit < s.items) s.items = limit;
    int64_t looked = s.items < 0 ? 1 : BL_MIN(s.items, BL_ESTIMATE_ITEMS);
    for (int64_t i = 0; i < looked; i++) {
        bl_mark mark = bl_arena_mark(a);
        if (d->family) BL_TRY(look_beside(t, d, i * s.items / looked, &before[0], kept, a, e));
        BL_TRY(look_at(t, d, i * s.items / looked, before, &near, kept, a, &s, e));
        bl_arena_release(a, mark);
    }
    if (looked > 0) {
        s.bytes /= (double)looked;
        s.scored_bytes /= (double)looked;
        s.new_tokens /= (double)looked;
        s.in_turn /= (double)looked;
        s.compared /= (double)looked;
        s.encoded_bytes /= (double)looked;
        s.own_passes /= (double)looked;
    }
    *out = s;
out:
    bl_arena_free(a);
    bl_arena_free(kept);
    return st;
}

/* ---- this machine ---- */
static bl_status measure(const char *device, int64_t threads, bool reference, double *out, bl_err *e)
{
    enum { ROWS = 192, IN = 576, OUT = 768 };
    bl_status st = BL_OK;
    bl_backend *be = NULL;
    bl_weight w = {0};
    bl_buffer *buf = NULL;
    bl_event *from = NULL, *to = NULL;
    int64_t rows = reference ? 4 : ROWS;

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
    *out = 2.0 * (double)rows * IN * OUT / BL_MAX(best, 1e-9) * (double)threads;
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

bl_status bl_estimate_speed(const char *device, int64_t threads, bool reference, bl_speed *out, bl_err *e)
{
    bl_status st = BL_OK;
    double known = reference ? 0 : bl_device_flops(device);
    *out = (bl_speed){.flops = known, .block_seconds = bl_device_block_seconds(device)};
    if (known <= 0) BL_TRY(measure(device, threads, reference, &out->flops, e));
out:
    return st;
}

/* Rough, as seen with small models on CPUs. */
static const double overhead = 1.15;      /* of a pass, beside its products */
static const double decode_cost = 4;      /* a product of one row to the same work among many rows */
static const double quantize_s = 12e-9;   /* rounding one weight to nearest */
static const double program_bytes = 32e6; /* code, libraries, tokenizer */
static const double compare_s = 5e-9;     /* two vectors by cosine and all measures, of each coordinate */
enum { DECODED_AT_ONCE = 256 };           /* where passes wait for launches */

void bl_estimate_variant(const bl_spec *s, bl_plan_variant *v, int there, double flops)
{
    v->seconds = 0;
    v->peak_bytes = 0;
    for (int i = there; i < s->method[v->method].n; i++) {
        double memory = program_bytes + (double)v->forecast->stage[i].memory;
        if (v->forecast->stage[i].memory == 0) continue; /* base */
        v->seconds += v->forecast->stage[i].work / flops + quantize_s * v->forecast->stage[i].weights;
        v->peak_bytes = BL_MAX(v->peak_bytes, (int64_t)memory);
    }
}

void bl_estimate_cell(const bl_config *c, const bl_task_shape *s, const bl_speed *v, bool kl, int64_t limit,
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
        tokens = items * (s->bytes / per + 1) + s->kept_bytes / per;
        scored = items * s->scored_bytes / per;
        length = BL_MIN(s->sequence_bytes / per + 2, (double)bl_config_reach(c));
    }
    double linear = 2.0 * (double)bl_config_linear_params(c), head = 2.0 * (double)c->dim * (double)c->vocab;
    double attention = 2.0 * (double)c->n_layers * (double)(c->n_heads * c->head_dim) * length;
    double flops = tokens * (linear + attention) + scored * head * (kl ? 2 : 1);
    double generated = items * s->new_tokens, passes = BL_MAX(generated / DECODED_AT_ONCE, s->in_turn);
    out->items = (int64_t)items;
    out->tokens = (int64_t)tokens;
    out->new_tokens = (int64_t)generated;
    passes += items * s->own_passes;
    out->seconds = (overhead * flops + decode_cost * generated * (linear + head)) / v->flops +
                   passes * (double)c->n_layers * v->block_seconds + items * s->compared * (double)c->dim * compare_s;
    if (s->encoder_work > 0)
        out->seconds += overhead * s->encoder_work * (items * s->encoded_bytes + s->kept_encoded_bytes) / per /
                        v->flops;
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
    const uint64_t limit = (uint64_t)s->mem_limit << 20;
    const int64_t wide = bl_device_wide(s->device);
    double pass = (double)(s->batch_tokens > 0
                               ? s->batch_tokens
                               : bl_pass_rows(c, &(bl_pass_where){s->stream, (uint64_t)weights, wide, limit, v->kv}));
    pass = BL_MIN(pass, tokens);
    double chunk = BL_MIN(pass, (double)(wide * bl_chunk_rows(c))) * (double)bl_chunk_row_bytes(c);
    int64_t together = bl_scored_rows(c, wide, kl, limit);
    double logits = BL_MIN((double)together, scored) * (double)c->vocab * sizeof(float) * (kl ? 2 : 1);
    double text = shape->stream ? shape->bytes * 2 : shape->bytes * (double)shape->items * 2;
    double cache = 0;
    if (cell->new_tokens > 0) { /* of the prompts that are continued together */
        double items = (double)BL_MAX(cell->items, 1);
        double rows = (double)(cell->tokens + 2 * cell->new_tokens) / items;
        cache = BL_MIN(BL_MIN(items, (double)BL_BATCH_GENERATIONS) * rows * (double)bl_kv_row_bytes(c, v->kv),
                       (double)BL_GENERATE_KV_BYTES);
    }
    return (int64_t)(program_bytes + weights + pass * (double)bl_pass_row_bytes(c, v->kv) + chunk + logits + cache +
                     text);
}
