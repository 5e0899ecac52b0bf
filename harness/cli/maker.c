/* maker.c - see maker.h. */
#include "maker.h"
#include "harness/study/identity.h"
#include <math.h>
#include <string.h>

static bl_status open_model(bl_maker *m, const bl_cli_maker *o, int64_t threads, bl_err *e)
{
    bl_status st = BL_OK;
    bl_hash weights, tokenizer;
    bl_hasher *h;
    BL_TRY(bl_session_open(&m->s, o->model, &o->m, threads, e));
    BL_TRY(bl_checkpoint_fingerprint(m->s.ckpt, &weights, e));
    BL_TRY(bl_identity_tokenizer(m->s.ckpt, &tokenizer, e));
    if (!(h = bl_hasher_new(e))) {
        st = BL_E_NOMEM;
        goto out;
    }
    bl_hash_text(h, "mean of the final states");
    bl_hash_of(h, weights);
    bl_hash_of(h, tokenizer);
    bl_hash_text(h, bl_backend_numerics(m->s.be));
    bl_hash_u64(h, (uint64_t)o->m.kv << 1 | o->m.no_bos);
    m->hash = bl_hasher_end(h);
    m->dim = m->s.model->config.dim;
    m->by = bl_checkpoint_name(m->s.ckpt);
out:
    return st;
}

static bl_status open_encoder(bl_maker *m, const bl_cli_maker *o, int64_t threads, bl_err *e)
{
    bl_status st = BL_OK;
    const char *slash = strrchr(o->encoder, '/');
    BL_TRY(bl_backend_open(&(bl_backend_opts){.device = "cpu", .threads = (int)threads}, &m->be, e));
    BL_TRY(bl_encoder_open(o->encoder, m->be, &m->x, e));
    m->hash = bl_encoder_hash(m->x);
    m->dim = bl_encoder_dim(m->x);
    m->by = slash && slash[1] ? slash + 1 : o->encoder;
out:
    return st;
}

bl_status bl_maker_open(bl_maker *m, const char *verb, const bl_cli_maker *o, int64_t threads, bl_err *e)
{
    *m = (bl_maker){0};
    if (!o->model == !o->encoder)
        return bl_fail(e, BL_E_CONFIG, "%s needs one of --model MODEL and --encoder DIR", verb);
    return o->model ? open_model(m, o, threads, e) : open_encoder(m, o, threads, e);
}

void bl_maker_close(bl_maker *m)
{
    bl_encoder_close(m->x);
    bl_backend_close(m->be);
    bl_session_close(&m->s);
}

bl_status bl_maker_vectors(bl_maker *m, const char *const *text, int64_t n, float *out, bl_err *e)
{
    bl_status st = BL_OK;
    double *v = NULL;
    if (m->x) return bl_encoder_embed(m->x, text, n, out, e);
    if (!(v = bl_new((size_t)(n * m->dim), sizeof *v, e))) return BL_E_NOMEM;
    BL_TRY(bl_engine_embed(m->s.engine, text, n, v, e));
    for (int64_t i = 0; i < n; i++) {
        const double *own = v + i * m->dim;
        double square = 0;
        for (int64_t d = 0; d < m->dim; d++) square += own[d] * own[d];
        if (!isfinite(square)) {
            st = bl_fail(e, BL_E_NUMERIC, "the states of a text are not finite");
            goto out;
        }
        for (int64_t d = 0; d < m->dim; d++) out[i * m->dim + d] = square > 0 ? (float)(own[d] / sqrt(square)) : 0;
    }
out:
    bl_free(v);
    return st;
}

bl_status bl_maker_text(const bl_json *j, const char *key, const char **text, bl_err *e)
{
    bl_status st = bl_json_get_str(j, key, text, e);
    if (st == BL_OK && !(*text)[strspn(*text, " \t\r\n")])
        return bl_fail(e, BL_E_FORMAT, "'%s' is empty, expected a text", key);
    return st;
}
