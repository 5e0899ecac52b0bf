/* read_gguf.c - the tokenizer inside a GGUF file: model gpt2 (byte-level BPE, cut as `pre` says) and llama
 * (sentencepiece by scores). */
#include "tokenizer_impl.h"
#include <inttypes.h>
#include <string.h>

/* What a name of tokenizer.ggml.pre stands for. A name that is not here is refused: another cut gives other tokens
 * without a warning. */
static const struct {
    const char *name, *pattern;
    bool digits, ignore_merges, adds_bos;
} pres[] = {
    {"llama-bpe", tok_llama3_pattern, false, true, true}, {"llama3", tok_llama3_pattern, false, true, true},
    {"llama-v3", tok_llama3_pattern, false, true, true},  {"smaug-bpe", tok_llama3_pattern, false, false, false},
    {"dbrx", tok_llama3_pattern, false, false, false},    {"gpt-2", tok_gpt2_pattern, false, false, false},
    {"phi-2", tok_gpt2_pattern, false, false, false},     {"mpt", tok_gpt2_pattern, false, false, false},
    {"olmo", tok_gpt2_pattern, false, false, false},      {"smollm", tok_gpt2_pattern, true, false, false},
    {"starcoder", tok_gpt2_pattern, true, false, false},  {"refact", tok_gpt2_pattern, true, false, false},
    {"command-r", tok_gpt2_pattern, true, false, false},  {"qwen2", tok_qwen2_pattern, false, false, false},
    {"falcon3", tok_llama3_pattern, false, true, true},   {"deepseek-r1-qwen", tok_qwen2_pattern, false, false, false},
    {"pixtral", tok_llama3_pattern, false, true, true},   {"megrez", tok_qwen2_pattern, false, false, false},
};

static bl_status flag(const bl_gguf *g, const char *key, bool otherwise, bool *out, const char *file, bl_err *e)
{
    const bl_gguf_value *v = bl_gguf_find(g, key);
    *out = otherwise;
    if (!v) return BL_OK;
    if (v->type != BL_GGUF_BOOL) return bl_fail(e, BL_E_FORMAT, "%s: '%s' is not a truth value", file, key);
    *out = *v->at != 0;
    return BL_OK;
}

static bl_status token_id(const bl_gguf *g, const char *key, const tok_vocab *v, int32_t *out, const char *file,
                          bl_err *e)
{
    int64_t id;
    if (!bl_gguf_find(g, key)) return BL_OK;
    bl_status st = bl_gguf_int(g, key, &id, e);
    if (st != BL_OK) return st;
    if (id == UINT32_MAX || id == -1) return BL_OK; /* how writers say none */
    if (!tok_vocab_has(v, id))
        return bl_fail(e, BL_E_FORMAT, "%s: '%s' is %" PRId64 ", which is no token of %zu", file, key, id, v->n);
    *out = (int32_t)id;
    return BL_OK;
}

static bl_status array(const bl_gguf *g, const char *key, bl_gguf_type item, uint64_t n, bool need,
                       const bl_gguf_value **out, const char *file, bl_err *e)
{
    const bl_gguf_value *v = bl_gguf_find(g, key);
    *out = v;
    if (!v) return need ? bl_fail(e, BL_E_FORMAT, "%s: '%s' is missing", file, key) : BL_OK;
    if (v->type != BL_GGUF_ARRAY || (v->item != item && !(item == BL_GGUF_I32 && v->item == BL_GGUF_U32)))
        return bl_fail(e, BL_E_FORMAT, "%s: '%s' is not an array of the expected type", file, key);
    if (n != UINT64_MAX && v->n != n)
        return bl_fail(e, BL_E_FORMAT, "%s: '%s' has %" PRIu64 " items, expected %" PRIu64 " as there are tokens", file,
                       key, v->n, n);
    return BL_OK;
}

/* The type of a token as llama.cpp takes it: what the file does not say, or says to be undefined, is an ordinary token;
 * a byte piece is known by its text. */
static bl_status type_of(const bl_gguf_value *types, uint64_t i, bool scored, const char *s, uint64_t n, uint32_t *out,
                         const char *file, bl_err *e)
{
    uint32_t type = TOK_NORMAL;
    if (types) memcpy(&type, types->at + 4 * i, 4);
    if (type > TOK_BYTE)
        return bl_fail(e, BL_E_FORMAT, "%s: token %" PRIu64 " has type %" PRIu32 ", expected 0 to 6", file, i, type);
    if (type == TOK_HOLE) type = TOK_NORMAL;
    if (type == TOK_NORMAL && scored && tok_byte_piece(s, n) >= 0) type = TOK_BYTE;
    *out = type;
    return BL_OK;
}

static bl_status vocabulary(const bl_gguf *g, const char *file, bool scored, bl_tokenizer *t, bl_err *e)
{
    bl_status st = BL_OK;
    const bl_gguf_value *tokens, *types, *scores = bl_gguf_find(g, "tokenizer.ggml.scores");
    bool whole = scores && scores->type == BL_GGUF_ARRAY && scores->item == BL_GGUF_I32;
    BL_TRY(array(g, "tokenizer.ggml.tokens", BL_GGUF_STRING, UINT64_MAX, true, &tokens, file, e));
    BL_TRY(array(g, "tokenizer.ggml.token_type", BL_GGUF_I32, tokens->n, false, &types, file, e));
    BL_TRY(array(g, "tokenizer.ggml.scores", whole ? BL_GGUF_I32 : BL_GGUF_F32, tokens->n, false, &scores, file, e));
    if (tokens->n > INT32_MAX) return bl_fail(e, BL_E_FORMAT, "%s: %" PRIu64 " tokens", file, tokens->n);
    const uint8_t *cursor = tokens->at;
    for (uint64_t i = 0; i < tokens->n; i++) {
        uint64_t n;
        const char *s = bl_gguf_next_string(&cursor, &n);
        uint32_t type = TOK_NORMAL;
        float score = 0; /* all alike where the file has none: the leftmost pair goes first */
        int32_t number;
        char name[32];
        if (!n) { /* as llama.cpp calls it: no text is it, and two of them are two tokens */
            n = (uint64_t)snprintf(name, sizeof name, "[EMPTY_%" PRIu64 "]", i);
            s = name;
        }
        BL_TRY(type_of(types, i, scored, s, n, &type, file, e));
        if (scored && scores && whole) {
            memcpy(&number, scores->at + 4 * i, 4);
            score = (float)number;
        } else if (scored && scores) {
            memcpy(&score, scores->at + 4 * i, 4);
        }
        BL_TRY(tok_vocab_add(&t->vocab, (int64_t)i, s, n, score, (tok_type)type, tokens->n, file, e));
        if (type == TOK_CONTROL || type == TOK_UNKNOWN || type == TOK_USER)
            BL_TRY(tok_add_added(t, &(tok_added){.id = (int32_t)i, .text = s, .n = n, .special = type != TOK_USER}, e));
    }
out:
    return st;
}

static bl_status byte_level(const bl_gguf *g, const char *file, bl_tokenizer *t, bool *adds_bos, bl_err *e)
{
    bl_status st = BL_OK;
    const bl_gguf_value *merges;
    const char *pre;
    size_t k = 0;

    st = bl_gguf_text(g, "tokenizer.ggml.pre", t->arena, &pre, e);
    if (st == BL_E_MISSING)
        return bl_fail(e, BL_E_UNSUPPORTED, "%s: 'tokenizer.ggml.pre' is missing, so how text is cut is not known",
                       file);
    if (st != BL_OK) return st;
    while (k < BL_COUNT(pres) && strcmp(pre, pres[k].name)) k++;
    if (k == BL_COUNT(pres)) return bl_fail(e, BL_E_UNSUPPORTED, "%s: pre-tokenizer '%s' is not supported", file, pre);
    t->model = TOK_RANK_BYTES;
    t->ignore_merges = pres[k].ignore_merges;
    *adds_bos = pres[k].adds_bos;
    if (pres[k].digits) BL_TRY(tok_add_split(t, tok_digit_pattern, SPLIT_ISOLATED, file, e));
    BL_TRY(tok_add_split(t, pres[k].pattern, SPLIT_ISOLATED, file, e));
    BL_TRY(tok_add_dec(t, &(tok_dec){.op = DEC_BYTELEVEL}, file, e));

    BL_TRY(vocabulary(g, file, false, t, e));
    BL_TRY(array(g, "tokenizer.ggml.merges", BL_GGUF_STRING, UINT64_MAX, true, &merges, file, e));
    const uint8_t *cursor = merges->at;
    for (uint64_t i = 0; i < merges->n; i++) {
        uint64_t n;
        const char *s = bl_gguf_next_string(&cursor, &n), *gap = n ? memchr(s + 1, ' ', n - 1) : NULL;
        if (!gap)
            return bl_fail(e, BL_E_FORMAT, "%s: merge %" PRIu64 " '%.*s' is not two tokens with a space between", file,
                           i, (int)BL_MIN(n, 60u), n ? s : "");
        BL_TRY(tok_merges_add_text(&t->merges, &t->vocab, s, (size_t)(gap - s), gap + 1, (size_t)(s + n - gap - 1),
                                   false, file, e));
    }
    snprintf(t->kind, sizeof t->kind, "byte-level BPE (%s)", pres[k].name);
out:
    return st;
}

static bl_status by_score(const bl_gguf *g, const char *file, bl_tokenizer *t, bl_err *e)
{
    bl_status st = BL_OK;
    const bl_gguf_value *map = bl_gguf_find(g, "tokenizer.ggml.precompiled_charsmap");
    bool dummy, extra;
    if (map && map->n)
        return bl_fail(e, BL_E_UNSUPPORTED, "%s: a precompiled normalization map is not supported", file);
    BL_TRY(flag(g, "tokenizer.ggml.add_space_prefix", true, &dummy, file, e));
    BL_TRY(flag(g, "tokenizer.ggml.remove_extra_whitespaces", false, &extra, file, e));
    t->model = TOK_SCORES;
    t->each_byte = true;
    BL_TRY(vocabulary(g, file, true, t, e));
    for (size_t id = 0; id < t->vocab.n; id++)
        if (t->vocab.entry[id].type == TOK_BYTE) t->byte_fallback = true;
    BL_TRY(tok_add_norm(t, &(tok_norm){.op = NORM_SPM, .dummy_prefix = dummy, .remove_extra = extra, .escape = true},
                        file, e));
    BL_TRY(tok_add_dec(t, &(tok_dec){.op = DEC_SPM, .prefix = dummy || extra, .all_leading = extra}, file, e));
    snprintf(t->kind, sizeof t->kind, "sentencepiece BPE (GGUF)");
out:
    return st;
}

bl_status tok_read_gguf(const bl_gguf *g, const char *file, bl_tokenizer *t, bl_err *e)
{
    bl_status st = BL_OK;
    const char *model;
    bool adds_bos = true;

    st = bl_gguf_text(g, "tokenizer.ggml.model", t->arena, &model, e);
    if (st == BL_E_MISSING)
        return bl_fail(e, BL_E_MISSING, "%s: no tokenizer inside: 'tokenizer.ggml.model' is missing", file);
    if (st != BL_OK) return st;
    if (!strcmp(model, "gpt2")) BL_TRY(byte_level(g, file, t, &adds_bos, e));
    else if (!strcmp(model, "llama")) BL_TRY(by_score(g, file, t, e));
    else return bl_fail(e, BL_E_UNSUPPORTED, "%s: tokenizer model '%s' is not supported", file, model);

    if (t->model == TOK_SCORES) { /* what llama.cpp takes when the file does not say */
        if (tok_vocab_has(&t->vocab, 0)) t->unk = 0;
        if (tok_vocab_has(&t->vocab, 1)) t->bos = 1;
        if (tok_vocab_has(&t->vocab, 2)) t->eos = 2;
        BL_TRY(token_id(g, "tokenizer.ggml.unknown_token_id", &t->vocab, &t->unk, file, e));
    }
    BL_TRY(token_id(g, "tokenizer.ggml.bos_token_id", &t->vocab, &t->bos, file, e));
    BL_TRY(token_id(g, "tokenizer.ggml.eos_token_id", &t->vocab, &t->eos, file, e));
    BL_TRY(flag(g, "tokenizer.ggml.add_bos_token", adds_bos, &adds_bos, file, e));
    if (adds_bos && t->bos >= 0) t->prefix[t->n_prefix++] = t->bos;
    BL_TRY(tok_ends_of_gguf(g, t, e));
    if (bl_gguf_find(g, "tokenizer.chat_template"))
        BL_TRY(bl_gguf_text(g, "tokenizer.chat_template", t->arena, &t->chat_template, e));
out:
    return st;
}
