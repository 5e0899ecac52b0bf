/* wordpiece.c - the tokenizer of BERT (Devlin et al. 2019; Wu et al. 2016): a word becomes the longest token that it
 * begins with, then the longest that goes on, marked with "##", and so on. A word that comes to a place where no token
 * fits, or that has too many characters, is unknown as a whole. As tokenizers 0.23 does it, apart from the version of
 * Unicode that accents, letters and punctuation marks are of.
 */
#include "tokenizer_impl.h"
#include <string.h>

bl_status tok_wordpiece(const bl_tokenizer *t, const char *s, size_t n, bl_text *work, bl_ids *out, bl_err *e)
{
    bl_status st = BL_OK;
    size_t begin = out->n, mark = strlen(t->inside);

    if (bl_utf8_count(s, n) > (size_t)t->longest) return bl_ids_push(out, t->unk, e);
    for (size_t at = 0, used; at < n; at += used) {
        size_t extra = at ? mark : 0;
        int32_t id = -1;
        work->n = 0;
        bl_text_addn(work, t->inside, extra);
        bl_text_addn(work, s + at, n - at);
        BL_TRY(bl_text_check(work, e));
        for (used = BL_MIN(n - at, (size_t)t->vocab.longest); used > 0; used--) {
            if (at + used < n && ((uint8_t)s[at + used] & 0xC0) == 0x80) continue; /* inside a character */
            if ((id = tok_vocab_find(&t->vocab, work->s, extra + used)) >= 0) break;
        }
        if (id < 0) {
            out->n = begin;
            return bl_ids_push(out, t->unk, e);
        }
        BL_TRY(bl_ids_push(out, id, e));
    }
out:
    return st;
}

bl_status tok_add_bert_norm(bl_tokenizer *t, bool clean, bool cjk, bool unmark, bool lower, const char *file, bl_err *e)
{
    bl_status st = BL_OK;
    if (clean) BL_TRY(tok_add_norm(t, &(tok_norm){.op = NORM_CLEAN}, file, e));
    if (cjk) BL_TRY(tok_add_norm(t, &(tok_norm){.op = NORM_CJK}, file, e));
    if (unmark) {
        BL_TRY(tok_add_norm(t, &tok_nfd, file, e));
        BL_TRY(tok_add_norm(t, &(tok_norm){.op = NORM_UNMARK}, file, e));
    }
    if (lower) BL_TRY(tok_add_norm(t, &(tok_norm){.op = NORM_LOWER}, file, e));
out:
    return st;
}

/* White space goes; each mark, ASCII or of a category P, is a word. */
bl_status tok_add_bert_split(bl_tokenizer *t, const char *file, bl_err *e)
{
    bl_status st = BL_OK;
    BL_TRY(tok_add_split(t, "\\s+", SPLIT_REMOVED, file, e));
    BL_TRY(tok_add_split(t, "[!-/:-@\\[-`{-~\\p{P}]", SPLIT_ISOLATED, file, e));
out:
    return st;
}

/* vocab.txt: a token a line, in order of their ids. What is around it is that of BERT, as tokenizer_config.json says.
 */
bl_status tok_read_vocab(const char *p, size_t n, const char *name, const tok_beside *b, bl_tokenizer *t, bl_err *e)
{
    static const char *const around[] = {"[CLS]", "[SEP]", "[PAD]", "[MASK]", "[UNK]"};
    enum { CLS, SEP, UNK = 4 };
    bl_status st = BL_OK;
    int32_t id[BL_COUNT(around)];
    size_t lines = 0;
    bool lower = !b || b->lower != 0;

    for (size_t i = 0; i < n; i++) lines += p[i] == '\n';
    for (size_t i = 0, line = 0, k; i < n; i += k + 1, line++) {
        const char *end = memchr(p + i, '\n', n - i);
        size_t length = k = end ? (size_t)(end - (p + i)) : n - i;
        if (length && p[i + length - 1] == '\r') length--;
        BL_TRY(tok_vocab_add(&t->vocab, (int64_t)line, p + i, length, 0, TOK_NORMAL, lines + 1, name, e));
    }
    t->model = TOK_WORDPIECE;
    t->longest = 100;
    t->inside = "##";
    for (size_t i = 0; i < BL_COUNT(around); i++) {
        id[i] = tok_vocab_find(&t->vocab, around[i], strlen(around[i]));
        if (id[i] < 0 && (i == CLS || i == SEP || i == UNK))
            return bl_fail(e, BL_E_FORMAT, "%s: no line is '%s'", name, around[i]);
        if (id[i] >= 0) BL_TRY(tok_make_control(t, id[i], e));
    }
    t->unk = id[UNK];
    t->prefix[0] = t->bos = id[CLS];
    t->suffix[0] = id[SEP];
    t->n_prefix = t->n_suffix = 1;
    BL_TRY(tok_add_bert_norm(t, true, !b || b->cjk != 0, b && b->unmark >= 0 ? b->unmark : lower, lower, name, e));
    BL_TRY(tok_add_bert_split(t, name, e));
    BL_TRY(tok_add_dec(t, &(tok_dec){.op = DEC_WORDPIECE, .find = "##", .n_find = 2, .with = "", .cleanup = true}, name,
                       e));
    snprintf(t->kind, sizeof t->kind, "WordPiece (bert)");
out:
    return st;
}
