/* verb_finetune.c - trains a model with a method that learns, and writes it as a directory that every verb loads.
 *
 * Beside OUT: OUT.state, from which --resume goes on, and OUT.curve.hdf5, which a run that failed leaves too.
 */
#include "curve_out.h"
#include "harness/quant/apply.h"
#include "kernels/base/fs.h"
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

typedef struct opts {
    bl_cli_common common;
    bl_cli_model model;
    const char *method, *out, *data, *betas, *curve;
    int64_t seqlen, batch, accumulate, steps, warmup, seed, save_every;
    double lr, eps, decay, clip;
    int format, schedule;
    bool eight_bits, resume;
} opts;
static const char *const formats[] = {"ids", NULL};
/* clang-format off */
static const bl_opt rows[] = {
    {"method", BL_OPT_TEXT, .at = offsetof(opts, method), .arg = "METHOD",
     .doc = "e.g. lora+rank=8+alpha=16+targets=q_proj:v_proj, qlora, full, lsq:w4"},
    {"data", BL_OPT_TEXT, .at = offsetof(opts, data), .arg = "FILE", .doc = "what is trained on"},
    {"data-format", BL_OPT_CHOICE, .choices = formats, .at = offsetof(opts, format),
     .doc = "ids: JSON lines {\"ids\": [...], \"mask\": [...]}, taken in order"},
    {"output", BL_OPT_TEXT, .at = offsetof(opts, out), .arg = "OUT", .letter = 'o', .doc = "the new directory"},
    {"seqlen", BL_OPT_INT, .min = 0, .max = 1 << 24, .at = offsetof(opts, seqlen), .arg = "N",
     .doc = "tokens of a line that are taken; 0: all"},
    {"batch", BL_OPT_INT, .min = 1, .max = 1 << 20, .def.i = 1, .at = offsetof(opts, batch), .arg = "N",
     .doc = "lines of a step"},
    {"accumulate", BL_OPT_INT, .min = 1, .max = 1 << 20, .def.i = 1, .at = offsetof(opts, accumulate), .arg = "N",
     .doc = "passes that the lines of a step are spread over; less memory, the same step"},
    {"steps", BL_OPT_INT, .min = 1, .max = 1 << 30, .def.i = 100, .at = offsetof(opts, steps), .arg = "N",
     .doc = "of the optimizer"},
    {"lr", BL_OPT_REAL, .min = 0, .max = 1e6, .def.r = 2e-4, .at = offsetof(opts, lr), .arg = "X",
     .doc = "learning rate"},
    {"betas", BL_OPT_TEXT, .def.s = "0.9:0.999", .at = offsetof(opts, betas), .arg = "X:X", .doc = "of AdamW"},
    {"eps", BL_OPT_REAL, .min = 0, .max = 1, .def.r = 1e-8, .at = offsetof(opts, eps), .arg = "X", .doc = "of AdamW"},
    {"decay", BL_OPT_REAL, .min = 0, .max = 1e6, .at = offsetof(opts, decay), .arg = "X", .doc = "weight decay"},
    {"clip", BL_OPT_REAL, .min = 0, .max = 1e6, .def.r = 1, .at = offsetof(opts, clip), .arg = "X",
     .doc = "most that the norm of all gradients may be; 0: anything"},
    {"eight-bits", BL_OPT_BOOL, .at = offsetof(opts, eight_bits), .doc = "moments of AdamW in 8 bits"},
    {"schedule", BL_OPT_CHOICE, .choices = bl_schedule_names, .def.choice = BL_SCHEDULE_CONSTANT,
     .at = offsetof(opts, schedule), .doc = "of the learning rate, as transformers has it"},
    {"warmup", BL_OPT_INT, .min = 0, .max = 1 << 30, .at = offsetof(opts, warmup), .arg = "N",
     .doc = "steps of warm-up"},
    {"seed", BL_OPT_INT, .min = 0, .max = 9007199254740992.0, .at = offsetof(opts, seed), .arg = "N",
     .doc = "of first values and dropout"},
    {"save-every", BL_OPT_INT, .min = 0, .max = 1 << 30, .at = offsetof(opts, save_every), .arg = "N",
     .doc = "steps between two writings of OUT.state; 0: only when interrupted"},
    {"resume", BL_OPT_BOOL, .at = offsetof(opts, resume), .doc = "go on from OUT.state, where it is there"},
    {"curve", BL_OPT_TEXT, .at = offsetof(opts, curve), .arg = "FILE",
     .doc = "JSON lines {\"step\", \"loss\", \"lr\", \"grad_norm\"}"},
    BL_SOURCE_ROWS(opts, model),
    BL_COMMON_ROWS(opts, common),
    {0}};
/* clang-format on */

typedef struct job {
    const opts *o;
    bl_session s;
    bl_method_chain chain;
    const bl_method_choice *m; /* its only stage */
    bl_model *model;
    bl_samples samples;
    bl_variant *v;
    char *state; /* path beside OUT */
    bl_trainer r;
} job;

static bl_status parse_betas(const char *text, bl_adamw *a, bl_err *e)
{
    char *end;
    a->beta1 = strtod(text, &end);
    bool ok = end != text && *end == ':';
    const char *second = end + 1;
    if (ok) a->beta2 = strtod(second, &end);
    ok = ok && end != second && !*end && a->beta1 >= 0 && a->beta1 < 1 && a->beta2 >= 0 && a->beta2 < 1;
    return ok ? BL_OK : bl_fail(e, BL_E_CONFIG, "--betas: found '%s', expected two of 0 to 1 like 0.9:0.999", text);
}

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

/* Everything that could change a number of the run. */
static bl_status identity(job *k, bl_err *e)
{
    const bl_trainer *r = &k->r;
    bl_hash model;
    bl_status st = bl_checkpoint_fingerprint(k->s.ckpt, &model, e);
    if (st != BL_OK) return st;
    bl_hasher *h = bl_hasher_new(e);
    if (!h) return BL_E_NOMEM;
    const double reals[] = {
        r->lr, r->optimizer.beta1, r->optimizer.beta2, r->optimizer.eps, r->optimizer.decay, r->optimizer.clip};
    const int64_t whole[] = {r->batch,         r->passes,          r->steps,
                             r->schedule.kind, r->schedule.warmup, k->m->method->version,
                             k->o->eight_bits, k->o->seed};
    bl_hash_of(h, model);
    bl_hash_text(h, bl_backend_numerics(k->s.be));
    bl_hash_text(h, k->m->text);
    bl_hash_of(h, k->samples.hash);
    bl_hash_add(h, reals, sizeof reals);
    bl_hash_add(h, whole, sizeof whole);
    k->r.identity = bl_hasher_end(h);
    return BL_OK;
}

static bl_status learn_what(job *k, bl_err *e)
{
    bl_status st = BL_OK;
    bl_method_run run = {.method = k->m->method,
                         .opts = k->m->opts,
                         .model = k->model,
                         .ops = k->s.be->ops,
                         .be = k->s.be,
                         .seed = (uint64_t)k->o->seed};
    if (k->m->method->check) BL_TRY(k->m->method->check(&run, e));
    BL_TRY(bl_trainable_new(k->model, &k->r.t, e));
    BL_TRY(k->m->method->learns(&run, k->r.t, e));
out:
    return st;
}

static bl_status settings(job *k, bl_err *e)
{
    const opts *o = k->o;
    bl_status st = BL_OK;
    k->r = (bl_trainer){
        .data = &k->samples,
        .batch = o->batch,
        .passes = o->accumulate,
        .steps = o->steps,
        .lr = o->lr,
        .optimizer = {.eps = o->eps, .decay = o->decay, .clip = o->clip, .eight_bits = o->eight_bits},
        .schedule = {.kind = (bl_schedule_kind)o->schedule, .warmup = o->warmup, .steps = o->steps, .cycles = 1},
        .state = k->state,
        .save_every = o->save_every,
        .told = progress,
        .ctx = (void *)(uintptr_t)o};
    BL_TRY(parse_betas(o->betas, &k->r.optimizer, e));
    BL_TRY(identity(k, e));
out:
    return st;
}

static bl_status go_on(job *k, bl_err *e)
{
    if (!bl_exists(k->state)) return BL_OK;
    if (k->o->resume) return bl_trainer_load(&k->r, e);
    return bl_fail(e, BL_E_CONFIG, "%s is there from an earlier run; --resume goes on with it, or remove it", k->state);
}

/* ---- what is left behind ---- */
/* Of a run that failed too: the sentence of the failure stays. */
static bl_status write_curve(const job *k, bl_err *e)
{
    bl_status st = BL_OK;
    if (!k->r.step) return BL_OK;
    char hash[33];
    bl_hash_hex(k->samples.hash, hash);
    if (k->o->curve) BL_TRY(bl_curve_lines(k->o->curve, k->r.curve, k->r.step, e));
    BL_TRY(bl_curve_record(k->o->out, k->r.identity, &k->s,
                           &(bl_curve){.method = k->m->text, .data = k->o->data, .data_hash = hash}, k->r.curve,
                           k->r.step, e));
out:
    return st;
}

static bl_status write_model(job *k, bl_err *e)
{
    bl_status st = BL_OK;
    bl_text layers = {0};
    BL_TRY(bl_trainable_store(k->r.t, e));
    for (int64_t b = 0; b < k->model->config.n_layers; b++) BL_TRY(bl_variant_block(k->v, k->model, b, e));
    BL_TRY(bl_variant_ends(k->v, k->model, e));
    BL_TRY(bl_quantize_print_layers(NULL, 0, bl_now() - k->r.t0, &layers, e));
    BL_TRY(bl_variant_file(k->v, "layers.json", layers.s, layers.n, e));
    BL_TRY(bl_variant_commit(k->v, e));
    k->v = NULL;
    if (bl_exists(k->state)) BL_TRY(bl_remove_tree(k->state, e));
out:
    bl_text_free(&layers);
    return st;
}

static void say(const job *k, bl_text *t)
{
    double loss = k->r.curve[k->r.step - 1].loss, seconds = bl_now() - k->r.t0;
    uint64_t n = bl_trainable_count(k->r.t);
    if (!k->o->common.json) {
        if (!k->o->common.quiet)
            bl_text_addf(t, "%s: %s, %llu numbers trained, loss %.4g after %lld steps, %.1f s\n", k->o->out, k->m->text,
                         (unsigned long long)n, loss, (long long)k->r.step, seconds);
        return;
    }
    bl_json_out j = {.t = t};
    bl_json_object(&j, NULL);
    bl_json_add_str(&j, "directory", k->o->out);
    bl_json_add_str(&j, "method", k->m->text);
    bl_json_add_int(&j, "trained", (int64_t)n);
    bl_json_add_int(&j, "steps", k->r.step);
    bl_json_add_real(&j, "loss", loss);
    bl_json_add_real(&j, "seconds", seconds);
    bl_json_end(&j);
    bl_text_add(t, "\n");
}

static bl_status begin(job *k, const bl_program *p, const char *model, bl_err *e)
{
    const opts *o = k->o;
    bl_status st = BL_OK;
    bl_text options = {0};
    char hex[33];

    if (!o->method) return bl_fail(e, BL_E_CONFIG, "finetune needs --method METHOD, e.g. --method lora+rank=8");
    if (!o->data) return bl_fail(e, BL_E_CONFIG, "finetune needs --data FILE");
    if (!o->out) return bl_fail(e, BL_E_CONFIG, "finetune needs -o OUT");
    BL_TRY(bl_chain_parse(p->methods, o->method, &k->chain, e));
    k->m = &k->chain.stage[0];
    if (!k->m->method->learns) {
        const char *then = k->chain.n > 1 ? " first; what follows is trained on what it wrote" : "";
        st = bl_fail(e, BL_E_CONFIG, "%s is not trained; bitladder quantize applies it%s", k->m->method->name, then);
        goto out;
    }
    if (k->chain.n > 1) {
        st = bl_fail(e, BL_E_CONFIG, "%s: one method at a time; train %s, then apply the next to what it wrote",
                     k->chain.text, k->m->text);
        goto out;
    }
    if (!(k->state = bl_format_text(e, "%s.state", o->out))) {
        st = BL_E_NOMEM;
        goto out;
    }
    BL_TRY(bl_method_json(k->m->method, k->m->opts, &options, e));
    BL_TRY(bl_text_check(&options, e));
    BL_TRY(bl_session_source(&k->s, model, &o->model, o->common.threads, e));
    BL_TRY(bl_samples_ids(o->data, bl_checkpoint_config(k->s.ckpt)->vocab, o->seqlen, &k->samples, e));
    BL_TRY(settings(k, e));
    bl_hash_hex(k->r.identity, hex);
    BL_TRY(bl_variant_begin(o->out, k->s.ckpt, &(bl_stage){.text = k->m->text, .hash = hex, .options = options.s}, 1,
                            &k->v, e));
    BL_TRY(bl_model_open(k->s.ckpt, k->s.be, &(bl_model_opts){.as_stored = true}, &k->model, e));
    BL_TRY(learn_what(k, e));
    BL_TRY(go_on(k, e));
out:
    bl_text_free(&options);
    return st;
}

static bl_status run(const bl_program *p, const void *options, const bl_args *args, int *exit_code, bl_err *e)
{
    bl_status st = BL_OK;
    job k = {.o = options};
    bl_text t = {0};
    (void)exit_code;

    BL_TRY(begin(&k, p, args->pos[0], e));
    st = bl_trainer_run(&k.r, e);
    if (st != BL_OK) {
        (void)write_curve(&k, NULL);
        goto out;
    }
    BL_TRY(write_curve(&k, e));
    BL_TRY(write_model(&k, e));
    say(&k, &t);
    BL_TRY(bl_output(NULL, &t, e));
out:
    bl_text_free(&t);
    bl_variant_drop(k.v);
    bl_trainer_end(&k.r);
    bl_trainable_free(k.r.t);
    bl_model_close(k.model);
    bl_samples_free(&k.samples);
    bl_session_close(&k.s);
    bl_chain_free(&k.chain);
    bl_free(k.state);
    return st;
}

const bl_verb bl_verb_finetune = {
    .name = "finetune",
    .args = "MODEL",
    .line = "trains a model, or adapters beside it, and writes it as a directory",
    .doc =
        "Trains MODEL with METHOD on FILE and writes a directory that run, score, inspect and generate load, without "
        "the source. A run that was interrupted goes on with --resume, bit for bit on the CPU. Its curve is "
        "OUT.curve.hdf5, which plot draws.",
    .example = "bitladder finetune MODEL --method lora+rank=8 --data train.jsonl --batch 4 --steps 200 -o tuned",
    .opts = rows,
    .opts_size = sizeof(opts),
    .min_args = 1,
    .max_args = 1,
    .computes = true,
    .run = run,
};
