/* open.c - opening a tokenizer: the reader of its kind, what stands beside it, what the model's config adds; and what a
 * tokenizer says about itself. */
#include "tokenizer_impl.h"
#include "kernels/base/fs.h"
#include <inttypes.h>
#include <string.h>

/* What the model's config says goes where the tokenizer's own files say nothing. */
static bl_status apply_config(bl_tokenizer *t, const bl_config *c, bl_err *e)
{
    if (t->bos < 0 && t->eos < 0 && tok_vocab_has(&t->vocab, c->bos)) t->bos = (int32_t)c->bos;
    if (t->eos < 0 && tok_vocab_has(&t->vocab, c->eos)) t->eos = (int32_t)c->eos;
    return t->n_ends ? BL_OK : tok_add_end(t, c->eos, e);
}

static bl_status parse(bl_tok_kind kind, const uint8_t *p, size_t n, const char *name, const tok_beside *beside,
                       const bl_config *config, bl_tokenizer **out, bl_err *e)
{
    bl_status st = BL_OK;
    bl_tokenizer *t = NULL;
    bl_gguf *g = NULL;

    BL_TRY(tok_new(&t, e));
    switch (kind) {
    case BL_TOK_JSON: BL_TRY(tok_read_json((const char *)p, n, name, t, e)); break;
    case BL_TOK_SPM: BL_TRY(tok_read_spm(p, n, name, t, e)); break;
    case BL_TOK_VOCAB: BL_TRY(tok_read_vocab((const char *)p, n, name, beside, t, e)); break;
    case BL_TOK_LLAMA2C: BL_TRY(tok_read_llama2c(p, n, name, t, e)); break;
    case BL_TOK_GGUF:
        BL_TRY(bl_gguf_parse(p, n, name, &g, e));
        BL_TRY(tok_read_gguf(g, name, t, e));
        break;
    case BL_TOK_NONE: st = bl_fail(e, BL_E_MISSING, "%s: no tokenizer", name); goto out;
    }
    if (beside) BL_TRY(tok_beside_apply(t, beside, name, e));
    if (!t->n_ends) BL_TRY(tok_add_end(t, t->eos, e));
    if (config) BL_TRY(apply_config(t, config, e));
    BL_TRY(tok_finish(t, name, e));
    *out = t;
    t = NULL;
out:
    bl_gguf_close(g);
    bl_tokenizer_close(t);
    return st;
}

bl_status bl_tokenizer_parse(bl_tok_kind kind, const uint8_t *p, size_t n, const char *name, bl_tokenizer **out,
                             bl_err *e)
{
    return parse(kind, p, n, name, NULL, NULL, out, e);
}

static bl_status open_file(bl_tok_kind kind, const char *path, const char *model_dir, const bl_config *config,
                           bl_tokenizer **out, bl_err *e)
{
    bl_status st = BL_OK;
    bl_map m = {0};
    bool mapped = false;
    tok_beside beside = {0};
    bl_tokenizer *t = NULL;

    BL_TRY(bl_map_open(path, &m, e));
    mapped = true;
    if (kind != BL_TOK_GGUF && m.size > TOK_MAX_FILE) {
        st = bl_fail(e, BL_E_FORMAT, "%s: %" PRIu64 " bytes are too many for a tokenizer", path, m.size);
        goto out;
    }
    bool files = kind == BL_TOK_JSON || kind == BL_TOK_SPM || kind == BL_TOK_VOCAB;
    if (files) BL_TRY(tok_beside_read(path, model_dir, &beside, e));
    BL_TRY(parse(kind, m.data, m.size, path, files ? &beside : NULL, config, &t, e));
    BL_TRY(bl_map_check(&m, NULL, e));
    *out = t;
    t = NULL;
out:
    bl_tokenizer_close(t);
    tok_beside_free(&beside);
    if (mapped) bl_map_close(&m);
    return st;
}

bl_status bl_tokenizer_open(bl_tok_kind kind, const char *path, bl_tokenizer **out, bl_err *e)
{
    return open_file(kind, path, NULL, NULL, out, e);
}

bl_status bl_tokenizer_there(const bl_checkpoint *c, bl_err *e)
{
    const char *why = NULL;
    if (bl_checkpoint_tokenizer(c, NULL, &why) != BL_TOK_NONE) return BL_OK;
    return bl_fail(e, BL_E_MISSING, "%s: no tokenizer: %s", bl_checkpoint_name(c), why ? why : "none is known");
}

bl_status bl_tokenizer_of(const bl_checkpoint *c, bl_tokenizer **out, bl_err *e)
{
    const char *path = NULL, *model = bl_checkpoint_path(c);
    const bl_config *config = bl_checkpoint_config(c);
    bl_tok_kind kind = bl_checkpoint_tokenizer(c, &path, NULL);
    bl_status st = bl_tokenizer_there(c, e);

    if (st != BL_OK) return st;
    st = open_file(kind, path, bl_is_dir(model) ? model : NULL, config, out, e);
    if (st == BL_OK && bl_tokenizer_vocab(*out) > config->vocab)
        bl_log(BL_LOG_WARN,
               "tokenizer=%s tokens=%" PRId64 " model_vocabulary=%" PRId64 " note=\"an id that the model "
               "lacks is refused when a text has it\"",
               path, bl_tokenizer_vocab(*out), config->vocab);
    return st;
}

/* ---- what a tokenizer says about itself ---------------------------------------------------------- */

int32_t bl_tokenizer_bos(const bl_tokenizer *t) { return t->bos; }
int32_t bl_tokenizer_eos(const bl_tokenizer *t) { return t->eos; }
int32_t bl_tokenizer_prefix(const bl_tokenizer *t)
{
    return t->bos >= 0 && !(t->bos_unnamed && t->eos >= 0) ? t->bos : t->eos;
}
bool bl_tokenizer_ends(const bl_tokenizer *t, int32_t id)
{
    for (size_t i = 0; i < t->n_ends; i++)
        if (t->end[i] == id) return true;
    return false;
}
bool bl_tokenizer_adds_bos(const bl_tokenizer *t) { return t->n_prefix > 0; }
const int32_t *bl_tokenizer_after(const bl_tokenizer *t, size_t *n)
{
    *n = t->n_suffix;
    return t->suffix;
}
bool bl_tokenizer_is_special(const bl_tokenizer *t, int32_t id)
{
    return tok_vocab_has(&t->vocab, id) && t->special[id];
}
int64_t bl_tokenizer_vocab(const bl_tokenizer *t) { return (int64_t)t->vocab.n; }
const char *bl_tokenizer_kind(const bl_tokenizer *t) { return t->kind; }

const char *bl_token_bytes(const bl_tokenizer *t, int32_t id, size_t *n)
{
    if (id < 0 || (size_t)id >= t->vocab.n) {
        *n = 0;
        return "";
    }
    *n = t->bytes_at[id + 1] - t->bytes_at[id];
    return t->bytes + t->bytes_at[id];
}
