/* verb_finetune.c - trains a model with a method that learns, and writes it as a directory that every verb loads. */
#include "session.h"
#include "harness/quant/between.h"
#include "kernels/base/fs.h"
#include <string.h>
#include <unistd.h>

typedef struct opts {
    bl_cli_common common;
    bl_cli_model model;
    bl_train_settings train;
    bl_cli_calib calib;
    const char *method, *out, *curve;
    int64_t seed;
    bool resume;
} opts;
static const bl_opt rows[] = {
    {"method", BL_OPT_TEXT, .at = offsetof(opts, method), .arg = "METHOD",
     .doc = "e.g. lora+rank=8+alpha=16+targets=q_proj:v_proj, qlora, full, lsq:w4; rtn:w4+lora, gptq:w4g128+lora"},
    {"output", BL_OPT_TEXT, .at = offsetof(opts, out), .arg = "OUT", .letter = 'o', .doc = "the new directory"},
    BL_TRAIN_ROWS(opts, train),
    {"seed", BL_OPT_INT, .min = 0, .max = 9007199254740992.0, .at = offsetof(opts, seed), .arg = "N",
     .doc = "of first values and dropout"},
    {"resume", BL_OPT_BOOL, .at = offsetof(opts, resume), .doc = "go on from OUT.state, where it is there"},
    {"curve", BL_OPT_TEXT, .at = offsetof(opts, curve), .arg = "FILE",
     .doc = "JSON lines {\"step\", \"loss\", \"lr\", \"grad_norm\"}, and \"valid\" where it was computed"},
    BL_CALIB_ROWS(opts, calib),
    BL_SOURCE_ROWS(opts, model),
    BL_COMMON_ROWS(opts, common),
    {0}};

static bool shown(const opts *o) { return !o->common.quiet && isatty(STDERR_FILENO) == 1; }

static void planned(void *ctx, const bl_train_memory *m)
{
    const opts *o = ctx;
    char line[320];
    bl_train_memory_line(m, line);
    if (!o->common.quiet) fprintf(stderr, "%s\n", line);
}

static bl_status steps(void *ctx, const bl_trainer *r, bl_err *e)
{
    char line[160];
    (void)e;
    if (!shown(ctx)) return BL_OK;
    bl_trainer_line(r, line);
    fprintf(stderr, "\r\033[K%s%s", line, r->step == r->steps ? "\n" : "");
    return BL_OK;
}

/* A run that was killed when its model was written and its state not yet removed has nothing left to do. */
static bl_status is_done(const char *dir, const bl_apply_how *how, int stages, bool *done, bl_err *e)
{
    bl_status st = BL_OK;
    bl_checkpoint *c = NULL;
    char hex[33];
    int n;
    *done = false;
    if (!bl_is_dir(dir) || bl_checkpoint_open(dir, NULL, &c, NULL) != BL_OK) return BL_OK;
    const bl_stage *stage = bl_checkpoint_stages(c, &n);
    bl_hash_hex(how->hash[stages - 1], hex);
    if (n && stage[n - 1].hash && !strcmp(stage[n - 1].hash, hex)) {
        *done = true;
        st = bl_between_forget(how, dir, stages, e);
    }
    bl_checkpoint_close(c);
    return st;
}

static void say(const opts *o, const char *method, const bl_train_done *d, bl_text *t)
{
    if (!o->common.json) {
        if (!o->common.quiet)
            bl_text_addf(t, "%s: %s, %llu numbers trained, loss %.4g after %lld steps, %.1f s\n", o->out, method,
                         (unsigned long long)d->trained, d->loss, (long long)d->steps, d->seconds);
        return;
    }
    bl_json_out j = {.t = t};
    bl_json_object(&j, NULL);
    bl_json_add_str(&j, "directory", o->out);
    bl_json_add_str(&j, "method", method);
    bl_json_add_int(&j, "trained", (int64_t)d->trained);
    bl_json_add_int(&j, "steps", d->steps);
    bl_json_add_real(&j, "loss", d->loss);
    bl_json_add_real(&j, "seconds", d->seconds);
    bl_json_add_int(&j, "planned_bytes", (int64_t)d->planned_bytes);
    bl_json_add_int(&j, "peak_bytes", (int64_t)d->peak_bytes);
    bl_json_end(&j);
    bl_text_add(t, "\n");
}

/* The last stage learns; the state of a run is beside what that stage writes. */
static bl_status parse(const bl_program *p, const opts *o, bl_method_chain *m, bl_err *e)
{
    bl_status st = BL_OK;
    if (!o->method) return bl_fail(e, BL_E_CONFIG, "finetune needs --method METHOD, e.g. --method lora+rank=8");
    if (!o->train.data) return bl_fail(e, BL_E_CONFIG, "finetune needs --data FILE");
    if (!o->out) return bl_fail(e, BL_E_CONFIG, "finetune needs -o OUT");
    BL_TRY(bl_train_settings_check(&o->train, e));
    BL_TRY(bl_chain_parse(p->methods, o->method, m, e));
    BL_TRY(bl_session_no_set(m, "finetune learns from --data", e));
    if (!m->stage[m->n - 1].method->learns && bl_chain_needs(m) & BL_NEED_TRAINING)
        st = bl_fail(e, BL_E_CONFIG, "%s: %s is not trained; bitladder quantize applies it to what training wrote",
                     m->text, m->stage[m->n - 1].method->name);
    else if (!m->stage[m->n - 1].method->learns)
        st = bl_fail(e, BL_E_CONFIG, "%s is not trained; bitladder quantize applies it",
                     m->stage[m->n - 1].method->name);
out:
    return st;
}

/* A run of hours does not end at a file that could not be written from the beginning. */
static bl_status can_write(const char *path, bl_err *e)
{
    bl_writer *w = NULL;
    if (strcmp(path, "-") == 0 || bl_is_stream(path)) return BL_OK; /* who reads it would see its end */
    bl_status st = bl_writer_open(path, &w, e);
    bl_writer_drop(w);
    return st;
}

static bl_status run(const bl_program *p, const void *options, const bl_args *args, int *exit_code, bl_err *e)
{
    bl_status st = BL_OK;
    const opts *o = options;
    bl_session s = {0};
    bl_method_chain m = {0};
    bl_arena *a = NULL;
    bl_text t = {0};
    bl_quantize_result r = {0};
    bl_hash state[BL_MAX_STAGES];
    bool done = false;
    const bl_train_how train = {.set = &o->train,
                                .state = o->resume ? BL_STATE_TAKEN : BL_STATE_REFUSED,
                                .lines = o->curve,
                                .planned = planned,
                                .told = steps,
                                .ctx = (void *)(uintptr_t)o};
    const bl_calib_choice calib = bl_cli_calib_choice(&o->calib);
    const bl_apply_how how = {
        .seed = (uint64_t)o->seed, .calib = &calib, .dirs = &(bl_data_dirs){.n = 0}, .hash = state, .train = &train};
    bl_hash training;
    (void)exit_code;

    BL_TRY(parse(p, o, &m, e));
    if (o->curve) BL_TRY(can_write(o->curve, e));
    BL_TRY(bl_arena_new(&a, e));
    BL_TRY(bl_session_source(&s, args->pos[0], &o->model, o->common.threads, e));
    BL_TRY(bl_train_settings_hash(&o->train, &training, e));
    BL_TRY(bl_session_states(&s, &m, &how, training, state, e));
    if (o->resume) BL_TRY(is_done(o->out, &how, m.n, &done, e));
    if (!done) {
        BL_TRY(bl_quantize_dir(s.ckpt, &m, &how, s.be, o->out, a, &r, e));
        say(o, m.text, &r.train, &t);
    } else if (o->common.json) bl_text_addf(&t, "{\"ended_before\": true}\n");
    else if (!o->common.quiet) bl_text_addf(&t, "%s is there: the run had ended\n", o->out);
    BL_TRY(bl_output(NULL, &t, e));
out:
    bl_text_free(&t);
    bl_chain_free(&m);
    bl_session_close(&s);
    bl_arena_free(a);
    return st;
}

const bl_verb bl_verb_finetune = {
    .name = "finetune",
    .args = "MODEL",
    .line = "trains a model, or adapters beside it, and writes it as a directory",
    .doc =
        "Trains MODEL with METHOD on FILE and writes a directory that run, score, inspect and generate load, without "
        "the source; adapters are in it as files of peft too. A run that was interrupted goes on with --resume, bit "
        "for bit on the CPU. Its curve is OUT.curve.hdf5, which plot draws. Of a chain in which several stages learn "
        "the "
        "state, the curve and the lines of stage i before the last are OUT.stage<i>.state, OUT.stage<i>.curve.hdf5 and "
        "FILE.stage<i>. What memory it will take is said before the first step.",
    .example =
        "bitladder finetune MODEL --method lora+rank=8 --data alpaca.json --data-format alpaca --batch 4 --steps 200 "
        "-o tuned",
    .opts = rows,
    .opts_size = sizeof(opts),
    .min_args = 1,
    .max_args = 1,
    .computes = true,
    .run = run,
};
