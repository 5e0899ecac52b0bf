/* session.c - opens what a verb needs to run a model by hand. */
#include "session.h"
#include "harness/study/identity.h"
#include "kernels/base/fs.h"
#include <errno.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>

static bool ends_with(const char *s, const char *tail)
{
    size_t n = strlen(s), k = strlen(tail);
    return n >= k && strcmp(s + n - k, tail) == 0;
}

bl_calib_choice bl_cli_calib_choice(const bl_cli_calib *o)
{
    return (bl_calib_choice){.data = o->text,
                             .n = o->n >= 0 ? o->n : BL_CALIB_WINDOWS,
                             .seqlen = BL_MAX(o->seqlen, 0),
                             .seed = BL_MAX(o->seed, 0)};
}

bl_status bl_session_no_set(const bl_method_chain *m, const char *instead, bl_err *e)
{
    return bl_chain_on(m) ? bl_fail(e, BL_E_CONFIG, "%s: sets are a study's; %s", m->text, instead) : BL_OK;
}

bl_status bl_session_states(const bl_session *s, const bl_method_chain *m, const bl_apply_how *how, bl_hash training,
                            bl_hash *out, bl_err *e)
{
    bl_status st = BL_OK;
    bl_identity id = {0};
    bl_hash fingerprint, text = {0};
    bl_calib_choice calib = *how->calib;
    uint64_t bytes;

    if (bl_chain_needs(m) & BL_NEED_CALIBRATION) {
        BL_TRY(bl_calib_for(how->calib, m->text, s->ckpt, &calib, e));
        BL_TRY(bl_calib_hash(&calib, how->dirs, &text, &bytes, e));
        BL_TRY(bl_calib_fits(&calib, bytes, e));
    }
    BL_TRY(bl_checkpoint_fingerprint(s->ckpt, &fingerprint, e));
    BL_TRY(bl_identity_model(s->ckpt, fingerprint, bl_backend_numerics(s->be), &id, e));
    BL_TRY(bl_identity_variant(m, &calib, text, training, how->seed, out, &id, e));
out:
    return st;
}

bl_status bl_session_tokenizer(const char *model, const bl_cli_model *o, bl_tokenizer **out, bl_err *e)
{
    static const struct {
        const char *tail;
        bl_tok_kind kind;
    } kinds[] = {{".gguf", BL_TOK_GGUF}, {".json", BL_TOK_JSON}, {".model", BL_TOK_SPM}};
    const char *file = o->tokenizer ? o->tokenizer : model;
    bl_status st = BL_OK;
    bl_checkpoint *c = NULL;

    if (!bl_is_dir(file)) {
        for (size_t i = 0; i < BL_COUNT(kinds); i++)
            if (ends_with(file, kinds[i].tail)) return bl_tokenizer_open(kinds[i].kind, file, out, e);
        if (o->tokenizer) return bl_tokenizer_open(BL_TOK_LLAMA2C, file, out, e);
    }
    BL_TRY(bl_checkpoint_open(model, &(bl_checkpoint_opts){.tokenizer = o->tokenizer}, &c, e));
    BL_TRY(bl_tokenizer_of(c, out, e));
out:
    bl_checkpoint_close(c);
    return st;
}

bl_status bl_session_source(bl_session *s, const char *model, const bl_cli_model *o, int64_t threads, bl_err *e)
{
    bl_status st = BL_OK;
    *s = (bl_session){0};
    BL_TRY(bl_checkpoint_open(
        model, &(bl_checkpoint_opts){.tokenizer = o->tokenizer, .allow_nonfinite = o->allow_nonfinite}, &s->ckpt, e));
    if (!o->allow_nonfinite) BL_TRY(bl_checkpoint_verify(s->ckpt, e));
    BL_TRY(bl_backend_open(&(bl_backend_opts){.device = o->device,
                                              .threads = (int)threads,
                                              .reference = o->kernel_ref,
                                              .deterministic = o->deterministic,
                                              .memory_limit = (uint64_t)o->mem_limit << 20},
                           &s->be, e));
out:
    if (st != BL_OK) bl_session_close(s);
    return st;
}

/* Model and engine of the checkpoint and the tokenizer that are open. */
static bl_status run_model(bl_session *s, const bl_cli_model *o, bl_err *e)
{
    bl_status st = BL_OK;
    BL_TRY(
        bl_model_open(s->ckpt, s->be, &(bl_model_opts){.stream = o->stream, .kv = (bl_kv_format)o->kv}, &s->model, e));
    bl_engine_opts eo = {
        .batch_tokens = o->batch_tokens, .batch_size = o->batch_size, .no_bos = o->no_bos, .special = o->special};
    BL_TRY(bl_engine_new(s->model, s->tokenizer, &eo, &s->engine, e));
out:
    return st;
}

bl_status bl_session_open(bl_session *s, const char *model, const bl_cli_model *o, int64_t threads, bl_err *e)
{
    bl_status st = BL_OK;
    BL_TRY(bl_session_source(s, model, o, threads, e));
    BL_TRY(bl_tokenizer_of(s->ckpt, &s->tokenizer, e));
    BL_TRY(run_model(s, o, e));
out:
    if (st != BL_OK) bl_session_close(s);
    return st;
}

/* The method's model, as `quantize` would write it. */
static bl_status make_model(bl_session *s, const bl_method_chain *m, const bl_cli_make *make, bl_err *e)
{
    bl_status st = BL_OK;
    bl_arena *a = NULL;
    bl_quantize_result r = {0};
    const char *tmp = getenv("TMPDIR");
    char *dir = NULL;
    bl_data_dirs dirs;
    const bl_calib_choice calib = bl_cli_calib_choice(&make->calib);
    const bl_apply_how how = {.calib = &calib, .dirs = &dirs};

    BL_TRY(bl_data_option(make->data, &dirs, e));
    BL_TRY(bl_arena_new(&a, e));
    if (!(s->made = bl_format_text(e, "%s/bitladder.XXXXXX", tmp && *tmp ? tmp : "/tmp"))) {
        st = BL_E_NOMEM;
        goto out;
    }
    if (!mkdtemp(s->made)) {
        st = bl_fail(e, BL_E_DISK, "%s: cannot make a directory: %s", s->made, strerror(errno));
        bl_free(s->made);
        s->made = NULL;
        goto out;
    }
    if (!(dir = bl_join(s->made, bl_checkpoint_name(s->ckpt), e))) {
        st = BL_E_NOMEM;
        goto out;
    }
    BL_TRY(bl_quantize_dir(s->ckpt, m, &how, s->be, dir, a, &r, e));
    bl_checkpoint_close(s->ckpt);
    s->ckpt = NULL;
    BL_TRY(bl_checkpoint_open(dir, NULL, &s->ckpt, e));
out:
    bl_free(dir);
    bl_arena_free(a);
    return st;
}

bl_status bl_session_make(bl_session *s, const bl_program *p, const char *model, const bl_cli_model *o,
                          const bl_cli_make *make, int64_t threads, bl_err *e)
{
    bl_status st = BL_OK;
    bl_method_chain m = {0};

    if (make->method) BL_TRY(bl_chain_parse(p->methods, make->method, &m, e));
    BL_TRY(bl_session_source(s, model, o, threads, e));
    BL_TRY(bl_tokenizer_of(s->ckpt, &s->tokenizer, e));
    if (make->method && !bl_chain_as_stored(&m)) BL_TRY(make_model(s, &m, make, e));
    BL_TRY(run_model(s, o, e));
out:
    bl_chain_free(&m);
    if (st != BL_OK) bl_session_close(s);
    return st;
}

void bl_session_close(bl_session *s)
{
    bl_engine_free(s->engine);
    bl_model_close(s->model);
    bl_tokenizer_close(s->tokenizer);
    bl_checkpoint_close(s->ckpt);
    bl_backend_close(s->be);
    if (s->made) bl_remove_tree(s->made, NULL);
    bl_free(s->made);
    *s = (bl_session){0};
}

bl_status bl_device_facts(const char *device, int threads, char out[256], bl_err *e)
{
    bl_backend *be;
    bl_device_info f = {0};
    bl_status st = bl_backend_open(&(bl_backend_opts){.device = device, .threads = threads}, &be, e);
    if (st != BL_OK) return st;
    be->ops->device_info(be, &f);
    snprintf(out, 256, "%s, %s, %d %s, %.1f GiB of memory", f.name, f.simd, f.threads,
             strcmp(be->ops->name, "cpu") == 0 ? "threads" : "multiprocessors", (double)f.memory_bytes / (1 << 30));
    bl_backend_close(be);
    return BL_OK;
}

bl_status bl_data_option(const char *dir, bl_data_dirs *out, bl_err *e)
{
    *out = (bl_data_dirs){0};
    if (!dir) return BL_OK;
    if (!bl_is_dir(dir)) return bl_fail(e, BL_E_CONFIG, "--data: there is no directory '%s'", dir);
    out->dir[out->n++] = dir;
    return BL_OK;
}

bl_status bl_output_failed(bl_err *e)
{
    if (errno == EPIPE) {
        signal(SIGPIPE, SIG_DFL);
        raise(SIGPIPE);
    }
    return bl_fail(e, BL_E_DISK, "standard output could not be written: %s", strerror(errno));
}

bl_status bl_output(const char *path, const bl_text *t, bl_err *e)
{
    bl_status st = bl_text_check(t, e);
    if (st != BL_OK) return st;
    if (path && strcmp(path, "-") != 0) return bl_write_file(path, t->s ? t->s : "", t->n, e);
    if (t->n && fwrite(t->s, 1, t->n, stdout) != t->n) return bl_output_failed(e);
    return BL_OK;
}
