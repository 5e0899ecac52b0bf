/* stage.c - a run of training as a stage of a chain, and its curve. */
#include "stage.h"
#include "adapter.h"
#include "curve_out.h"
#include "narrow.h"
#include "kernels/base/fs.h"
#include <string.h>

typedef struct job {
    const bl_method_run *run;
    const bl_train_how *how;
    const char *text;
    char *dir, *state; /* without a slash after it; beside it */
    bl_samples samples, valid;
    bl_trainer r;
} job;

bl_status bl_train_forget(const char *dir, bl_err *e)
{
    bl_status st = BL_E_NOMEM;
    char *at = bl_bare_dir(dir, e), *state = at ? bl_format_text(e, "%s.state", at) : NULL;
    if (state) st = bl_remove_tree(state, e);
    bl_free(at);
    bl_free(state);
    return st;
}

/* ---- before the first step ---- */
static bl_status begin_as(job *k, bl_err *e)
{
    const char *dir = k->how->set->init_adapter;
    bl_peft *p = NULL;
    bl_status st = BL_OK;
    if (!dir) return BL_OK;
    BL_TRY(bl_peft_read(dir, &p, e));
    BL_TRY(bl_adapter_take(k->r.t, p, dir, e));
out:
    bl_peft_free(p);
    return st;
}

static bl_status go_on(job *k, bl_err *e)
{
    bl_err why = {0};
    if (!bl_exists(k->state)) return BL_OK;
    if (k->how->state == BL_STATE_REFUSED)
        return bl_fail(e, BL_E_CONFIG, "%s is there from an earlier run; --resume goes on with it, or remove it",
                       k->state);
    if (k->how->state == BL_STATE_TAKEN) return bl_trainer_load(&k->r, e);
    bl_status st = bl_trainer_load(&k->r, &why);
    if (st != BL_E_CONFIG && st != BL_E_CORRUPT) return st == BL_OK ? BL_OK : bl_fail(e, st, "%s", why.text);
    bl_log(BL_LOG_WARN, "%s; training begins anew", why.text);
    return bl_remove_tree(k->state, e);
}

static bl_status read_samples(job *k, bl_err *e)
{
    const bl_train_settings *s = k->how->set;
    bl_samples_opts o = {
        .vocab = k->run->model->config.vocab, .seqlen = s->seqlen, .pack = s->pack, .empty = (bl_empty_answer)s->empty};
    bl_tokenizer *t = NULL;
    bl_status st = BL_OK;
    if (s->format != BL_SAMPLES_IDS) BL_TRY(bl_tokenizer_of(k->run->model->ckpt, &t, e));
    o.tokenizer = t;
    BL_TRY(bl_samples_read(s->data, (bl_sample_format)s->format, &o, &k->samples, e));
    if (s->valid) BL_TRY(bl_samples_read(s->valid, (bl_sample_format)s->format, &o, &k->valid, e));
    if (k->samples.skipped)
        bl_log(BL_LOG_WARN, "%s: %lld examples are left out, no token of theirs counts within the length of a sequence",
               s->data, (long long)k->samples.skipped);
    if (k->samples.empty)
        bl_log(BL_LOG_WARN, "%s: %lld examples with an empty answer are left out", s->data,
               (long long)k->samples.empty);
out:
    bl_tokenizer_close(t);
    return st;
}

static bl_status prepare(job *k, bl_hash identity, bl_err *e)
{
    const bl_train_settings *s = k->how->set;
    const bl_method_run *run = k->run;
    bl_trainable *t = NULL;
    bl_status st = BL_OK;

    BL_TRY(bl_curve_place(k->how->lines, e));
    BL_TRY(read_samples(k, e));
    BL_TRY(bl_trainable_new(run->model, &t, e));
    t->keep = s->keep_activations;
    k->r = (bl_trainer){.t = t,
                        .data = &k->samples,
                        .valid = s->valid ? &k->valid : NULL,
                        .valid_every = s->valid_every,
                        .seed = run->seed,
                        .batch = s->batch,
                        .passes = s->accumulate,
                        .steps = s->steps,
                        .lr = s->lr,
                        .schedule = bl_train_settings_schedule(s),
                        .state = k->state,
                        .save_every = s->save_every,
                        .identity = identity,
                        .told = k->how->told,
                        .ctx = k->how->ctx};
    bl_train_settings_adamw(s, &k->r.optimizer);
    BL_TRY(run->method->learns(run, t, e));
    if (s->accumulate > 1) BL_TRY(bl_train_packed_hold(t, e));
    BL_TRY(begin_as(k, e));
    st = bl_train_narrow(t, s->adapter_type, s->gradient_type, e);
    if (st != BL_OK) {
        bl_within(e, "%s", k->text);
        goto out;
    }
    BL_TRY(bl_trainer_page(&k->r, e));
    BL_TRY(go_on(k, e));
out:
    return st;
}

/* Of a run that failed too: the sentence of the failure stays. */
static bl_status write_curve(const job *k, bl_err *e)
{
    bl_status st = BL_OK;
    const bl_model *m = k->run->model;
    char hash[33];
    if (!k->r.step) return BL_OK;
    bl_hash_hex(k->samples.hash, hash);
    if (k->how->lines) BL_TRY(bl_curve_lines(k->how->lines, k->r.curve, k->r.step, e));
    BL_TRY(bl_curve_record(k->dir, k->r.identity, m->be, m->ckpt,
                           &(bl_curve){.method = k->text, .data = k->how->set->data, .data_hash = hash}, k->r.curve,
                           k->r.step, e));
out:
    return st;
}

/* ---- after the last step ---- */
static bl_status put_files(const job *k, bl_variant *v, bl_err *e)
{
    bl_status st = BL_OK;
    bl_text config = {0}, weights = {0}, about = {0}, settings = {0}, own = {0};
    const char *base = bl_checkpoint_began(k->run->model->ckpt);
    if (k->r.t->base_is_own) bl_text_addf(&own, "%s as %s rounds it", base, k->text);
    BL_TRY(bl_text_check(&own, e));
    BL_TRY(bl_adapter_give(k->r.t, own.n ? own.s : base, &config, &weights, e));
    if (config.n) BL_TRY(bl_variant_file(v, "adapter_config.json", config.s, config.n, e));
    if (weights.n) BL_TRY(bl_variant_file(v, "adapter_model.safetensors", weights.s, weights.n, e));
    BL_TRY(bl_adapter_base(k->r.t, k->text, &about, e));
    if (about.n) BL_TRY(bl_variant_file(v, "README.md", about.s, about.n, e));
    BL_TRY(bl_train_settings_put(k->how->set, &settings, e));
    bl_text_add(&settings, "\n");
    BL_TRY(bl_text_check(&settings, e));
    BL_TRY(bl_variant_file(v, "training.json", settings.s, settings.n, e));
out:
    bl_text_free(&own);
    bl_text_free(&config);
    bl_text_free(&weights);
    bl_text_free(&about);
    bl_text_free(&settings);
    return st;
}

bl_status bl_train_stage(const bl_method_run *run, const char *text, const char *dir, bl_hash identity,
                         const bl_train_how *how, bl_variant *v, bl_train_done *out, bl_err *e)
{
    bl_status st = BL_OK;
    job k = {.run = run, .how = how, .text = text};
    bl_train_memory memory;
    uint64_t peak;
    char line[320];

    if (!(k.dir = bl_bare_dir(dir, e)) || !(k.state = bl_format_text(e, "%s.state", k.dir))) {
        st = BL_E_NOMEM;
        goto out;
    }
    st = prepare(&k, identity, e);
    if (st == BL_E_DEVMEM)
        bl_within(e, "what is trained does not fit beside the model; fewer numbers of it (--method), or --adapter-type "
                     "and --gradient-type bf16 need less");
    if (st != BL_OK) goto out;
    BL_TRY(bl_trainer_memory(&k.r, &memory, e));
    bl_train_memory_line(&memory, line);
    bl_log(BL_LOG_INFO, "%s: %s", text, line);
    if (how->planned) how->planned(how->ctx, &memory);
    st = bl_trainer_run(&k.r, e);
    if (st != BL_OK) {
        (void)write_curve(&k, NULL);
        goto out;
    }
    BL_TRY(write_curve(&k, e));
    BL_TRY(bl_adapter_round(k.r.t, e));
    BL_TRY(put_files(&k, v, e));
    run->be->ops->memory(run->be, NULL, &peak);
    *out = (bl_train_done){.planned_bytes = bl_train_memory_most(&memory),
                           .peak_bytes = peak,
                           .trained = bl_trainable_count(k.r.t),
                           .steps = k.r.step,
                           .loss = k.r.curve[k.r.step - 1].loss,
                           .valid = k.r.curve[k.r.step - 1].valid,
                           .seconds = bl_now() - k.r.t0};
    BL_TRY(bl_trainable_store(k.r.t, e));
out:
    bl_trainer_end(&k.r);
    bl_trainable_free(k.r.t);
    bl_samples_free(&k.samples);
    bl_samples_free(&k.valid);
    bl_free(k.state);
    bl_free(k.dir);
    return st;
}
