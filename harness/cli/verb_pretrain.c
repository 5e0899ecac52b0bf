/* verb_pretrain.c - trains a model from nothing on the made-up corpus, and writes it with its tokenizer. */
#include "session.h"
#include "harness/data/lessons.h"
#include "harness/model/variant.h"
#include "harness/quant/apply.h"
#include "harness/train/curve_out.h"
#include "harness/train/pretrain.h"
#include "kernels/base/fs.h"
#include <string.h>
#include <unistd.h>

typedef struct opts {
    bl_cli_common common;
    const char *shape, *method, *out, *curve, *device;
    int64_t steps, batch, warmup, seed, save_every, mem_limit;
    double lr, decay, clip;
    int schedule;
    bool resume, eight_bits, keep_activations;
} opts;
static const bl_opt rows[] = {
    {"shape", BL_OPT_TEXT, .def.s = "lessons-5m", .at = offsetof(opts, shape), .arg = "NAME",
     .doc = "lessons-5m, lessons-tiny, or another of the shapes of synth:"},
    {"method", BL_OPT_TEXT, .def.s = "full", .at = offsetof(opts, method), .arg = "METHOD",
     .doc = "full; galore+rank=32+every=50: moments of gradients within subspaces; q-galore: weights of 8 bits too"},
    {"eight-bits", BL_OPT_BOOL, .at = offsetof(opts, eight_bits), .doc = "moments of AdamW in 8 bits"},
    {"keep-activations", BL_OPT_BOOL, .at = offsetof(opts, keep_activations),
     .doc = "of all blocks in a step: no block is computed again; more memory, the same numbers"},
    {"output", BL_OPT_TEXT, .at = offsetof(opts, out), .arg = "DIR", .letter = 'o', .doc = "the new directory"},
    {"steps", BL_OPT_INT, .min = 1, .max = 1 << 30, .def.i = 12000, .at = offsetof(opts, steps), .arg = "N",
     .doc = "steps of the optimizer"},
    {"batch", BL_OPT_INT, .min = 1, .max = 1 << 20, .def.i = 160, .at = offsetof(opts, batch), .arg = "N",
     .doc = "texts of a step; one has about 200 characters"},
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
    {"save-every", BL_OPT_INT, .min = 0, .max = 1 << 30, .def.i = 1000, .at = offsetof(opts, save_every), .arg = "N",
     .doc = "steps between two writings of DIR.state; 0: only when interrupted"},
    {"resume", BL_OPT_BOOL, .at = offsetof(opts, resume), .doc = "go on from DIR.state, where it is there"},
    {"curve", BL_OPT_TEXT, .at = offsetof(opts, curve), .arg = "FILE",
     .doc = "JSON lines of step, loss (nats a token), lr, grad_norm"},
    {"device", BL_OPT_TEXT, .at = offsetof(opts, device), .arg = "NAME",
     .doc = "cpu, cuda, cuda:1; without it BITLADDER_DEVICE, else the best there is"},
    {"mem-limit", BL_OPT_INT, .min = 0, .max = 1 << 30, .at = offsetof(opts, mem_limit), .arg = "MIB", .mib = true,
     .doc = "most memory on the device, also as 24GiB; moments that it has no room for are in the host's; 0: all"},
    BL_COMMON_ROWS(opts, common),
    {0}};

typedef struct job {
    const opts *o;
    bl_session s;
    bl_method_chain method;
    bl_text tokenizer;
    char *state; /* path beside DIR */
    bl_pretrain_texts texts;
    bl_trainer r;
    bl_train_memory memory;
    double t0, trained; /* begun; the last step made */
} job;

static bl_status progress(void *ctx, const bl_trainer *r, bl_err *e)
{
    const opts *o = ctx;
    char line[160];
    (void)e;
    if (o->common.quiet || isatty(STDERR_FILENO) != 1) return BL_OK;
    bl_trainer_line(r, line);
    fprintf(stderr, "\r\033[K%s%s", line, r->step == r->steps ? "\n" : "");
    return BL_OK;
}

static bl_status write_model(const job *k, bl_err *e)
{
    const opts *o = k->o;
    bl_status st = BL_OK;
    bl_variant *v = NULL;
    bl_model *m = k->s.model;
    char hex[33];
    bl_text options = {0}, layers = {0};
    bl_json_out j = {.t = &options};
    bl_json_object(&j, NULL);
    bl_json_add_int(&j, "texts", BL_LESSON_VERSION);
    if (strcmp(k->method.text, "full")) bl_json_add_str(&j, "method", k->method.text);
    if (o->eight_bits) bl_json_add_bool(&j, "eight_bits", true);
    bl_json_add_int(&j, "steps", o->steps);
    bl_json_add_int(&j, "batch", o->batch);
    bl_json_add_real(&j, "lr", o->lr);
    bl_json_add_str(&j, "schedule", bl_schedule_names[o->schedule]);
    bl_json_add_int(&j, "warmup", o->warmup);
    bl_json_add_real(&j, "decay", o->decay);
    bl_json_add_real(&j, "clip", o->clip);
    bl_json_add_int(&j, "seed", o->seed);
    bl_json_end(&j);
    BL_TRY(bl_text_check(&options, e));
    bl_hash_hex(k->r.identity, hex);
    BL_TRY(bl_variant_begin(o->out, k->s.ckpt, &(bl_stage){.text = "pretrain", .hash = hex, .options = options.s}, 1,
                            &v, e));
    for (int64_t b = 0; b < m->config.n_layers; b++) BL_TRY(bl_variant_block(v, m, b, e));
    BL_TRY(bl_variant_ends(v, m, e));
    BL_TRY(bl_variant_file(v, "tokenizer.json", k->tokenizer.s, k->tokenizer.n, e));
    BL_TRY(bl_quantize_print_layers(NULL, 0, bl_now() - k->t0, &layers, e));
    BL_TRY(bl_variant_file(v, "layers.json", layers.s, layers.n, e));
    BL_TRY(bl_variant_commit(v, e));
    v = NULL;
    if (bl_exists(k->state)) BL_TRY(bl_remove_tree(k->state, e));
out:
    bl_variant_drop(v);
    bl_text_free(&options);
    bl_text_free(&layers);
    return st;
}

/* Of a run that failed too: the sentence of the failure stays. */
static bl_status write_curve(const job *k, bl_err *e)
{
    const bl_trainer *r = &k->r;
    bl_status st = BL_OK;
    char hash[33], method[240];
    const uint64_t texts[] = {BL_LESSON_VERSION, k->texts.seed};

    if (!r->step) return BL_OK;
    bl_hash_hex(bl_hash_bytes(texts, sizeof texts), hash);
    if (strcmp(k->method.text, "full") || k->o->eight_bits)
        snprintf(method, sizeof method, "pretrain %.80s %.80s%s", k->o->shape, k->method.text,
                 k->o->eight_bits ? " eight-bits" : "");
    else snprintf(method, sizeof method, "pretrain %.120s", k->o->shape);
    if (k->o->curve) BL_TRY(bl_curve_lines(k->o->curve, r->curve, r->step, e));
    BL_TRY(bl_curve_record(k->o->out, r->identity, k->s.be, k->s.ckpt,
                           &(bl_curve){.method = method, .data = "the made-up corpus", .data_hash = hash}, r->curve,
                           r->step, e));
out:
    return st;
}

/* What would fail at the end is refused at the beginning. */
static bl_status check(job *k, bl_err *e)
{
    const opts *o = k->o;
    int64_t vocab = bl_checkpoint_config(k->s.ckpt)->vocab, tokens;
    bl_status st = BL_OK;
    if (bl_exists(o->out)) return bl_fail(e, BL_E_CONFIG, "output path %s exists", o->out);
    BL_TRY(bl_curve_place(o->out, e));
    BL_TRY(bl_curve_place(o->curve, e));
    bl_lesson_tokenizer(&k->tokenizer);
    BL_TRY(bl_text_check(&k->tokenizer, e));
    BL_TRY(bl_tokenizer_parse(BL_TOK_JSON, (const uint8_t *)k->tokenizer.s, k->tokenizer.n, "tokenizer.json",
                              &k->s.tokenizer, e));
    tokens = bl_tokenizer_vocab(k->s.tokenizer);
    if (vocab < tokens)
        st = bl_fail(e, BL_E_CONFIG, "shape %s has %lld tokens, the corpus has %lld", o->shape, (long long)vocab,
                     (long long)tokens);
out:
    return st;
}

/* Everything that could change a number of the run. */
static bl_status identity(job *k, bl_err *e)
{
    const bl_trainer *r = &k->r;
    const double reals[] = {r->lr, r->optimizer.decay, r->optimizer.clip};
    const int64_t whole[] = {BL_LESSON_VERSION, r->steps,           r->batch,
                             r->schedule.kind,  r->schedule.warmup, (int64_t)k->texts.seed};
    bl_hasher *h = bl_hasher_new(e);
    if (!h) return BL_E_NOMEM;
    bl_hash_text(h, k->o->shape);
    bl_hash_text(h, bl_backend_numerics(k->s.be));
    if (strcmp(k->method.text, "full")) bl_hash_text(h, k->method.text); /* identities of runs of before stay */
    if (k->o->eight_bits) bl_hash_text(h, "eight-bits");
    bl_hash_add(h, reals, sizeof reals);
    bl_hash_add(h, whole, sizeof whole);
    k->r.identity = bl_hasher_end(h);
    return BL_OK;
}

/* What is trained: everything, by one of the methods that do so. */
static bl_status learn(job *k, bl_err *e)
{
    const bl_method_choice *c = &k->method.stage[0];
    const bl_method_run run = {.method = c->method,
                               .opts = c->opts,
                               .model = k->s.model,
                               .ops = k->s.be->ops,
                               .be = k->s.be,
                               .seed = (uint64_t)k->o->seed};
    return c->method->learns(&run, k->r.t, e);
}

static bl_status parse(job *k, const bl_program *p, bl_err *e)
{
    bl_status st = bl_chain_parse(p->methods, k->o->method, &k->method, e);
    if (st == BL_OK) st = bl_session_no_set(&k->method, "pretrain learns from its own corpus", e);
    if (st != BL_OK) return st;
    const char *name = k->method.stage[0].method->name;
    if (k->method.n > 1 || (strcmp(name, "full") && strcmp(name, "galore") && strcmp(name, "q-galore")))
        return bl_fail(e, BL_E_CONFIG, "%s: a model is trained from nothing by full, galore or q-galore",
                       k->method.text);
    return BL_OK;
}

/* What takes `needed` bytes is refused where that is more than there is, or may be taken. */
static bl_status fits(const job *k, uint64_t needed, const char *what, const char *hint, bl_err *e)
{
    const uint64_t limit = (uint64_t)k->o->mem_limit << 20;
    bl_device_info info;
    char text[3][32];
    k->s.be->ops->device_info(k->s.be, &info);
    bl_bytes_text(needed, text[0]);
    bl_bytes_text(info.memory_bytes, text[1]);
    bl_bytes_text(limit, text[2]);
    if (info.memory_bytes && needed > info.memory_bytes)
        return bl_fail(e, BL_E_CONFIG, "%s %s; %s has %s%s", what, text[0], info.name, text[1], hint);
    if (limit && needed > limit)
        return bl_fail(e, BL_E_CONFIG, "%s %s; --mem-limit is %s%s", what, text[0], text[2], hint);
    return BL_OK;
}

/* Weights and gradients at least, and moments where they are never elsewhere. */
static bl_status room(const job *k, bl_err *e)
{
    const bool galore = strcmp(k->method.stage[0].method->name, "full") != 0,
               paged = k->s.be->ops->host_new || k->o->mem_limit;
    const uint64_t weights = bl_checkpoint_bytes(k->s.ckpt); /* f32 */
    uint64_t needed = galore ? weights : 2 * weights;
    char what[160];
    if (!galore && !paged) needed += k->o->eight_bits ? weights / 2 : 2 * weights;
    snprintf(what, sizeof what, "shape %.80s: %s take", k->o->shape,
             galore  ? "its weights"
             : paged ? "weights and gradients"
                     : "weights, gradients and moments");
    return fits(k, needed, what, "", e);
}

static bl_status begin(job *k, bl_err *e)
{
    const opts *o = k->o;
    bl_status st = BL_OK;
    char *source = bl_format_text(e, "synth:%s:f32", o->shape);

    if (!source) return BL_E_NOMEM;
    if (!o->out) {
        st = bl_fail(e, BL_E_CONFIG, "pretrain needs -o DIR");
        goto out;
    }
    if (!(k->state = bl_format_text(e, "%s.state", o->out))) {
        st = BL_E_NOMEM;
        goto out;
    }
    BL_TRY(bl_checkpoint_open(source, NULL, &k->s.ckpt, e));
    BL_TRY(check(k, e));
    BL_TRY(bl_backend_open(&(bl_backend_opts){.device = o->device,
                                              .threads = (int)o->common.threads,
                                              .memory_limit = (uint64_t)o->mem_limit << 20},
                           &k->s.be, e));
    BL_TRY(room(k, e));
    BL_TRY(bl_model_open(k->s.ckpt, k->s.be, &(bl_model_opts){.as_stored = true}, &k->s.model, e));
    k->r = (bl_trainer){
        .make = bl_pretrain_step,
        .make_ctx = &k->texts,
        .batch = o->batch,
        .passes = 1,
        .steps = o->steps,
        .lr = o->lr,
        .optimizer =
            {.beta1 = 0.9, .beta2 = 0.95, .eps = 1e-8, .decay = o->decay, .clip = o->clip, .eight_bits = o->eight_bits},
        .schedule = {.kind = (bl_schedule_kind)o->schedule, .warmup = o->warmup, .steps = o->steps},
        .state = k->state,
        .save_every = o->save_every,
        .told = progress,
        .ctx = (void *)(uintptr_t)o};
    BL_TRY(bl_trainable_new(k->s.model, &k->r.t, e));
    k->r.t->keep = o->keep_activations;
    BL_TRY(learn(k, e));
    BL_TRY(bl_pretrain_begin(k->r.t, k->texts.seed, e));
    BL_TRY(identity(k, e));
    if (bl_exists(k->state) && !o->resume)
        st = bl_fail(e, BL_E_CONFIG, "%s is there from an earlier run; --resume goes on with it, or remove it",
                     k->state);
out:
    bl_free(source);
    return st;
}

/* What it will take, by the texts of the first steps; others are about as long. It says where moments are. */
static bl_status plan(job *k, bl_err *e)
{
    enum { STEPS = 32, TEXTS = 1 << 15 };
    const int64_t batch = k->r.batch, steps = BL_MIN(BL_MIN(STEPS, k->r.steps), BL_MAX(TEXTS / batch, 1));
    bl_pretrain_texts some = {.seed = k->texts.seed, .batch = steps * batch};
    bl_status st = BL_OK;
    char line[320], what[64];
    BL_TRY(bl_pretrain_step(&some, 0, &k->r.data, e));
    BL_TRY(bl_trainer_page(&k->r, e));
    BL_TRY(bl_trainer_memory(&k->r, &k->memory, e));
    bl_train_memory_line(&k->memory, line);
    if (!k->o->common.quiet) fprintf(stderr, "%s\n", line);
    snprintf(what, sizeof what, "a step of %lld texts takes", (long long)batch);
    BL_TRY(fits(k, bl_train_memory_most(&k->memory), what, ": a smaller --batch takes less", e));
out:
    k->r.data = NULL;
    bl_pretrain_texts_free(&some);
    return st;
}

static void say(const job *k, bl_text *t)
{
    const opts *o = k->o;
    long long texts = (long long)(k->r.step * k->r.batch);
    double loss = k->r.curve[k->r.step - 1].loss, seconds = bl_now() - k->t0, stepping = k->trained - k->r.t0;
    uint64_t peak;
    k->s.be->ops->memory(k->s.be, NULL, &peak);
    if (!o->common.json) {
        if (!o->common.quiet)
            bl_text_addf(t, "%s: %lld steps, %lld texts, loss of the last step %.4f nats a character, %.1f s\n", o->out,
                         (long long)o->steps, texts, loss, seconds);
        return;
    }
    bl_json_out j = {.t = t};
    bl_json_object(&j, NULL);
    bl_json_add_str(&j, "directory", o->out);
    bl_json_add_int(&j, "steps", o->steps);
    bl_json_add_int(&j, "texts", texts);
    bl_json_add_real(&j, "loss", loss);
    bl_json_add_real(&j, "seconds", seconds);
    bl_json_add_real(&j, "seconds_of_steps", stepping);
    bl_json_add_int(&j, "tokens", k->r.tokens);
    bl_json_add_int(&j, "optimizer_bytes", (int64_t)bl_adamw_resident(&k->r.optimizer, k->r.t, NULL));
    bl_json_add_int(&j, "planned_bytes", (int64_t)bl_train_memory_most(&k->memory));
    bl_json_add_int(&j, "peak_bytes", (int64_t)peak);
    bl_json_end(&j);
    bl_text_add(t, "\n");
}

static bl_status run(const bl_program *p, const void *options, const bl_args *args, int *exit_code, bl_err *e)
{
    bl_status st = BL_OK;
    const opts *o = options;
    job k = {.o = o, .texts = {.seed = (uint64_t)o->seed, .batch = o->batch}, .t0 = bl_now()};
    bl_text line = {0};
    (void)args;
    (void)exit_code;

    BL_TRY(parse(&k, p, e));
    BL_TRY(begin(&k, e));
    BL_TRY(plan(&k, e));
    if (bl_exists(k.state)) BL_TRY(bl_trainer_load(&k.r, e));
    st = bl_trainer_run(&k.r, e);
    k.trained = bl_now();
    if (st != BL_OK) {
        (void)write_curve(&k, NULL);
        goto out;
    }
    BL_TRY(write_curve(&k, e));
    BL_TRY(write_model(&k, e));
    say(&k, &line);
    BL_TRY(bl_output(NULL, &line, e));
out:
    bl_trainer_end(&k.r);
    bl_pretrain_texts_free(&k.texts);
    bl_trainable_free(k.r.t);
    bl_session_close(&k.s);
    bl_chain_free(&k.method);
    bl_text_free(&k.tokenizer);
    bl_text_free(&line);
    bl_free(k.state);
    return st;
}

const bl_verb bl_verb_pretrain = {
    .name = "pretrain",
    .args = "",
    .line = "trains a small model from nothing",
    .doc =
        "Random weights of a shape, then AdamW steps on the corpus that `corpus` prints: characters as tokens, every "
        "text once. Writes fp32 weights with tokenizer.json as a directory that every verb takes; quantize --method "
        "bf16 halves it. What memory it will take is said before the first step. Its curve is DIR.curve.hdf5, which "
        "plot draws. What was interrupted goes on with --resume, bit for bit on the CPU.",
    .example = "bitladder pretrain --shape lessons-tiny --steps 300 --batch 16 -o lessons",
    .opts = rows,
    .opts_size = sizeof(opts),
    .computes = true,
    .run = run,
};
