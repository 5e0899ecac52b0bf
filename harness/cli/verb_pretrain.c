/* verb_pretrain.c - trains a model from nothing on the made-up corpus, and writes it with its tokenizer. */
#include "session.h"
#include "harness/data/lessons.h"
#include "harness/model/variant.h"
#include "harness/quant/apply.h"
#include "harness/train/curve_out.h"
#include "harness/train/pretrain.h"
#include <math.h>
#include <string.h>
#include <unistd.h>

typedef struct opts {
    bl_cli_common common;
    const char *shape, *out, *curve, *device;
    int64_t steps, tokens, warmup, seed;
    double lr, decay, clip;
    int schedule;
} opts;
static const bl_opt rows[] = {
    {"shape", BL_OPT_TEXT, .def.s = "lessons-5m", .at = offsetof(opts, shape), .arg = "NAME",
     .doc = "lessons-5m, lessons-tiny, or another of the shapes of synth:"},
    {"output", BL_OPT_TEXT, .at = offsetof(opts, out), .arg = "DIR", .letter = 'o', .doc = "the new directory"},
    {"steps", BL_OPT_INT, .min = 1, .max = 1 << 30, .def.i = 6000, .at = offsetof(opts, steps), .arg = "N",
     .doc = "steps of the optimizer"},
    {"tokens", BL_OPT_INT, .min = 1, .max = 1 << 24, .def.i = 65536, .at = offsetof(opts, tokens), .arg = "N",
     .doc = "characters of a step, at most: whole texts"},
    {"lr", BL_OPT_REAL, .min = 0, .max = 1, .def.r = 2e-3, .at = offsetof(opts, lr), .arg = "X",
     .doc = "largest learning rate"},
    {"schedule", BL_OPT_CHOICE, .choices = bl_schedule_names, .def.choice = BL_SCHEDULE_COSINE,
     .at = offsetof(opts, schedule), .doc = "of the learning rate, as in transformers"},
    {"warmup", BL_OPT_INT, .min = 0, .max = 1 << 30, .def.i = 100, .at = offsetof(opts, warmup), .arg = "N",
     .doc = "steps of rising learning rate"},
    {"decay", BL_OPT_REAL, .min = 0, .max = 1, .def.r = 0.01, .at = offsetof(opts, decay), .arg = "X",
     .doc = "weight decay of AdamW"},
    {"clip", BL_OPT_REAL, .min = 0, .max = 1e9, .def.r = 1, .at = offsetof(opts, clip), .arg = "X",
     .doc = "most that the norm of a gradient may be; 0: any"},
    {"seed", BL_OPT_INT, .min = 0, .max = 9007199254740992.0, .at = offsetof(opts, seed), .arg = "N",
     .doc = "of the first weights and of the texts"},
    {"curve", BL_OPT_TEXT, .at = offsetof(opts, curve), .arg = "FILE",
     .doc = "JSON lines of step, loss (nats a token), lr, grad_norm"},
    {"device", BL_OPT_TEXT, .at = offsetof(opts, device), .arg = "NAME",
     .doc = "cpu, cuda, cuda:1; without it BITLADDER_DEVICE, else the best there is"},
    BL_COMMON_ROWS(opts, common),
    {0}};

typedef struct progress {
    const opts *o;
    bl_train_point *curve; /* [n] */
    size_t n, cap;
    double t0;
} progress;

static bl_status told(void *ctx, int64_t step, double loss, double lr, double norm, bl_err *e)
{
    progress *g = ctx;
    double each = (bl_now() - g->t0) / (double)step;
    bl_status st = bl_grow(&g->curve, &g->cap, g->n + 1, sizeof *g->curve, e);
    if (st != BL_OK) return st;
    g->curve[g->n++] = (bl_train_point){loss, lr, norm, NAN};
    if (!g->o->common.quiet && isatty(STDERR_FILENO) == 1)
        fprintf(stderr, "\r\033[Kstep %lld of %lld  loss %.4f  lr %.2g  %.0f s left%s", (long long)step,
                (long long)g->o->steps, loss, lr, each * (double)(g->o->steps - step), step == g->o->steps ? "\n" : "");
    return BL_OK;
}

/* The hash of everything that could change a number of the run. */
static bl_status identity(const opts *o, const bl_session *s, const bl_pretrain *r, bl_hash *out, bl_err *e)
{
    const double reals[] = {r->lr, r->optimizer.decay, r->optimizer.clip};
    const int64_t whole[] = {r->steps, r->tokens, r->schedule.kind, r->schedule.warmup, (int64_t)r->seed};
    bl_hasher *h = bl_hasher_new(e);
    if (!h) return BL_E_NOMEM;
    bl_hash_text(h, o->shape);
    bl_hash_text(h, bl_backend_numerics(s->be));
    bl_hash_add(h, reals, sizeof reals);
    bl_hash_add(h, whole, sizeof whole);
    *out = bl_hasher_end(h);
    return BL_OK;
}

static bl_status write_model(const opts *o, bl_hash hash, bl_checkpoint *c, bl_model *m, const bl_text *tokenizer,
                             double seconds, bl_err *e)
{
    bl_status st = BL_OK;
    bl_variant *v = NULL;
    bl_text options = {0}, layers = {0};
    char hex[33];
    bl_json_out j = {.t = &options};
    bl_json_object(&j, NULL);
    bl_json_add_int(&j, "steps", o->steps);
    bl_json_add_int(&j, "tokens", o->tokens);
    bl_json_add_real(&j, "lr", o->lr);
    bl_json_add_str(&j, "schedule", bl_schedule_names[o->schedule]);
    bl_json_add_int(&j, "warmup", o->warmup);
    bl_json_add_real(&j, "decay", o->decay);
    bl_json_add_real(&j, "clip", o->clip);
    bl_json_add_int(&j, "seed", o->seed);
    bl_json_end(&j);
    BL_TRY(bl_text_check(&options, e));
    bl_hash_hex(hash, hex);
    BL_TRY(bl_variant_begin(o->out, c, &(bl_stage){.text = "pretrain", .hash = hex, .options = options.s}, 1, &v, e));
    for (int64_t b = 0; b < m->config.n_layers; b++) BL_TRY(bl_variant_block(v, m, b, e));
    BL_TRY(bl_variant_ends(v, m, e));
    BL_TRY(bl_variant_file(v, "tokenizer.json", tokenizer->s, tokenizer->n, e));
    BL_TRY(bl_quantize_print_layers(NULL, 0, seconds, &layers, e));
    BL_TRY(bl_variant_file(v, "layers.json", layers.s, layers.n, e));
    BL_TRY(bl_variant_commit(v, e));
    v = NULL;
out:
    bl_variant_drop(v);
    bl_text_free(&options);
    bl_text_free(&layers);
    return st;
}

/* Of a run that failed too: the sentence of the failure stays. */
static bl_status write_curve(const opts *o, bl_hash identity, const bl_session *s, const progress *g, bl_err *e)
{
    bl_status st = BL_OK;
    char hash[33], method[160];
    const uint64_t seed = (uint64_t)o->seed;

    bl_hash_hex(bl_hash_bytes(&seed, sizeof seed), hash);
    snprintf(method, sizeof method, "pretrain %.120s", o->shape);
    if (o->curve) BL_TRY(bl_curve_lines(o->curve, g->curve, (int64_t)g->n, e));
    BL_TRY(bl_curve_record(o->out, identity, s->be, s->ckpt,
                           &(bl_curve){.method = method, .data = "the made-up corpus", .data_hash = hash}, g->curve,
                           (int64_t)g->n, e));
out:
    return st;
}

/* What would fail at the end is refused at the beginning. */
static bl_status check(const opts *o, const bl_config *c, bl_err *e)
{
    if (!o->out) return bl_fail(e, BL_E_CONFIG, "pretrain needs -o DIR");
    if (bl_exists(o->out)) return bl_fail(e, BL_E_CONFIG, "output path %s exists", o->out);
    if (c->vocab < BL_LESSON_TOKENS)
        return bl_fail(e, BL_E_CONFIG, "shape %s has %lld tokens, the corpus has %d", o->shape, (long long)c->vocab,
                       (int)BL_LESSON_TOKENS);
    return BL_OK;
}

static bl_status run(const bl_program *p, const void *options, const bl_args *args, int *exit_code, bl_err *e)
{
    bl_status st = BL_OK;
    const opts *o = options;
    bl_session s = {0};
    bl_hash hash;
    bl_trainable *t = NULL;
    bl_text tokenizer = {0}, line = {0};
    progress g = {.o = o, .t0 = bl_now()};
    char *source = bl_format_text(e, "synth:%s:f32", o->shape);
    bl_pretrain r = {.steps = o->steps,
                     .tokens = o->tokens,
                     .lr = o->lr,
                     .optimizer = {.beta1 = 0.9, .beta2 = 0.95, .eps = 1e-8, .decay = o->decay, .clip = o->clip},
                     .schedule = {.kind = (bl_schedule_kind)o->schedule, .warmup = o->warmup, .steps = o->steps},
                     .seed = (uint64_t)o->seed,
                     .told = told,
                     .ctx = &g};
    (void)p;
    (void)args;
    (void)exit_code;

    if (!source) return BL_E_NOMEM;
    BL_TRY(bl_checkpoint_open(source, NULL, &s.ckpt, e));
    BL_TRY(check(o, bl_checkpoint_config(s.ckpt), e));
    bl_lesson_tokenizer(&tokenizer);
    BL_TRY(bl_text_check(&tokenizer, e));
    BL_TRY(
        bl_tokenizer_parse(BL_TOK_JSON, (const uint8_t *)tokenizer.s, tokenizer.n, "tokenizer.json", &s.tokenizer, e));
    BL_TRY(bl_backend_open(&(bl_backend_opts){.device = o->device, .threads = (int)o->common.threads}, &s.be, e));
    BL_TRY(bl_model_open(s.ckpt, s.be, &(bl_model_opts){.as_stored = true}, &s.model, e));
    BL_TRY(bl_trainable_new(s.model, &t, e));
    BL_TRY(bl_train_full(t, e));
    BL_TRY(identity(o, &s, &r, &hash, e));
    BL_TRY(bl_pretrain_begin(t, r.seed, e));
    st = bl_pretrain_run(&r, t, s.tokenizer, e);
    if (g.n && (st == BL_OK || st == BL_E_NUMERIC || st == BL_E_INTERRUPTED)) {
        bl_status kept = write_curve(o, hash, &s, &g, st == BL_OK ? e : NULL);
        if (st == BL_OK) st = kept;
    }
    if (st != BL_OK) goto out;
    BL_TRY(write_model(o, hash, s.ckpt, s.model, &tokenizer, bl_now() - g.t0, e));
    if (o->common.json) {
        bl_json_out j = {.t = &line};
        bl_json_object(&j, NULL);
        bl_json_add_str(&j, "directory", o->out);
        bl_json_add_int(&j, "steps", o->steps);
        bl_json_add_int(&j, "texts", (int64_t)r.document);
        bl_json_add_real(&j, "loss", g.curve[g.n - 1].loss);
        bl_json_add_real(&j, "seconds", bl_now() - g.t0);
        bl_json_end(&j);
        bl_text_add(&line, "\n");
    } else if (!o->common.quiet)
        bl_text_addf(&line, "%s: %lld steps, %llu texts, loss of the last step %.4f nats a character, %.1f s\n", o->out,
                     (long long)o->steps, (unsigned long long)r.document, g.curve[g.n - 1].loss, bl_now() - g.t0);
    BL_TRY(bl_output(NULL, &line, e));
out:
    bl_trainable_free(t);
    bl_session_close(&s);
    bl_free(g.curve);
    bl_text_free(&tokenizer);
    bl_text_free(&line);
    bl_free(source);
    return st;
}

const bl_verb bl_verb_pretrain = {
    .name = "pretrain",
    .args = "",
    .line = "trains a small model from nothing",
    .doc =
        "Random weights of a shape, then AdamW steps on the corpus that `corpus` prints: characters as tokens, every "
        "text once. Writes fp32 weights with tokenizer.json as a directory that every verb takes; quantize --method "
        "bf16 halves it. Its curve is DIR.curve.hdf5, which plot draws.",
    .example = "bitladder pretrain --shape lessons-tiny --steps 300 --tokens 4096 -o lessons",
    .opts = rows,
    .opts_size = sizeof(opts),
    .computes = true,
    .run = run,
};
