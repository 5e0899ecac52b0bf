/* read_llama2c.c - llama2.c's tokenizer.bin.
 *
 *     int32 longest piece, then per token: float32 score, int32 length, bytes
 *
 * Ids 0, 1, 2 are unknown, begin and end (spelled "\n<s>\n" by the exporter). Ids 3 to 258 are the pieces of bytes,
 * "<0x00>" on, and then a space is put in front of a text; a file without them is a list of characters, has no space in
 * front and an unknown token.
 */
#include "tokenizer_impl.h"
#include <inttypes.h>
#include <string.h>

typedef struct cursor {
    const uint8_t *p;
    size_t n, at;
} cursor;

static bool take(cursor *c, void *out, size_t n)
{
    if (c->n - c->at < n) return false;
    memcpy(out, c->p + c->at, n);
    c->at += n;
    return true;
}

static bl_status check_opening(const bl_tokenizer *t, const char *file, bl_err *e)
{
    static const char *const want[] = {"<unk>", "<s>", "</s>"};
    for (int32_t id = 0; id < 3; id++) {
        if (!tok_vocab_has(&t->vocab, id))
            return bl_fail(e, BL_E_FORMAT, "%s: %zu tokens, expected at least 3", file, t->vocab.n);
        if (!strstr(tok_vocab_text(&t->vocab, id), want[id]))
            return bl_fail(e, BL_E_UNSUPPORTED, "%s: token %" PRId32 " is '%s', expected '%s' as llama2.c has it", file,
                           id, tok_vocab_text(&t->vocab, id), want[id]);
    }
    return BL_OK;
}

bl_status tok_read_llama2c(const uint8_t *p, size_t n, const char *file, bl_tokenizer *t, bl_err *e)
{
    bl_status st = BL_OK;
    cursor c = {p, n, 0};
    int32_t longest, length;
    float score;
    int n_bytes = 0;

    if (!take(&c, &longest, 4)) return bl_fail(e, BL_E_FORMAT, "%s: %zu bytes are no tokenizer", file, n);
    if (longest < 1) return bl_fail(e, BL_E_FORMAT, "%s: longest token %" PRId32, file, longest);
    t->model = TOK_SCORES;
    t->each_byte = true;
    for (int64_t id = 0; c.at < c.n; id++) {
        if (!take(&c, &score, 4) || !take(&c, &length, 4))
            return bl_fail(e, BL_E_FORMAT, "%s: ends inside token %" PRId64, file, id);
        if (length < 0 || (size_t)length > c.n - c.at)
            return bl_fail(e, BL_E_FORMAT, "%s: token %" PRId64 " has length %" PRId32 ", and %zu bytes are left", file,
                           id, length, c.n - c.at);
        const char *s = (const char *)c.p + c.at;
        int byte = tok_byte_piece(s, (size_t)length);
        bool is_byte = byte >= 0 && id == 3 + byte;
        tok_type type = id == 0 ? TOK_UNKNOWN : id < 3 ? TOK_CONTROL : is_byte ? TOK_BYTE : TOK_NORMAL;
        if (is_byte) n_bytes++;
        BL_TRY(tok_vocab_add(&t->vocab, id, s, (size_t)length, score, type, n / 8, file, e));
        c.at += (size_t)length;
    }
    BL_TRY(check_opening(t, file, e));
    if (n_bytes && n_bytes != 256) return bl_fail(e, BL_E_FORMAT, "%s: pieces for %d of 256 bytes", file, n_bytes);
    t->byte_fallback = n_bytes == 256;
    t->unk = 0;
    t->bos = t->prefix[t->n_prefix++] = 1;
    t->eos = 2;
    t->unk_surface = " \xE2\x81\x87 "; /* as sentencepiece, from which these files come */
    for (int32_t id = 1; id < 3; id++) {
        const char *text = id == 1 ? "<s>" : "</s>";
        BL_TRY(tok_add_added(t, &(tok_added){.id = id, .text = text, .n = strlen(text), .special = true}, e));
    }
    bool dummy = t->byte_fallback && tok_vocab_find(&t->vocab, " ", 1) >= 0;
    if (dummy) BL_TRY(tok_add_norm(t, &(tok_norm){.op = NORM_PREPEND, .with = " ", .n_with = 1}, file, e));
    BL_TRY(tok_add_dec(t, &(tok_dec){.op = DEC_SPM, .prefix = dummy}, file, e));
    snprintf(t->kind, sizeof t->kind, t->byte_fallback ? "llama2.c BPE" : "llama2.c characters");
out:
    return st;
}
