/* read_json.c - tokenizer.json: a BPE or WordPiece model with its normalizers, pre-tokenizer, added tokens, template
 * and decoder.
 *
 * Every type, and every option that would change an id, is either carried out or refused by name.
 */
#include "tokenizer_impl.h"
#include "kernels/base/json.h"
#include <inttypes.h>
#include <string.h>
#include <utf8proc.h>

typedef struct reader {
    const char *file;
    bl_tokenizer *t;
    bool byte_level;
    const char *pattern;
} reader;

static bool absent(const bl_json *v) { return !v || bl_json_kind(v) == BL_JSON_NULL; }

static bl_status flag(const bl_json *obj, const char *key, bool otherwise, bool *out, bl_err *e)
{
    const bl_json *v = bl_json_get(obj, key);
    *out = otherwise;
    return absent(v) ? BL_OK : bl_json_bool(v, out, e);
}

static bl_status text_or(const bl_json *obj, const char *key, const char *otherwise, const char **out, bl_err *e)
{
    const bl_json *v = bl_json_get(obj, key);
    *out = otherwise;
    return absent(v) ? BL_OK : bl_json_str(v, out, e);
}

static bl_status refuse(const reader *r, const char *what, const char *type, bl_err *e)
{
    return bl_fail(e, BL_E_UNSUPPORTED, "%s: %s '%s' is not supported", r->file, what, type);
}

/* { "String": "x" } or { "Regex": "x" }. */
static bl_status pattern(const reader *r, const bl_json *obj, const char **text, bool *literal, bl_err *e)
{
    const bl_json *p, *s;
    bl_status st = bl_json_need(obj, "pattern", &p, e);
    if (st != BL_OK) return st;
    *literal = (s = bl_json_get(p, "String")) != NULL;
    if (!s && !(s = bl_json_get(p, "Regex")))
        return bl_fail(e, BL_E_FORMAT, "%s: a pattern is neither String nor Regex", r->file);
    if ((st = bl_json_str(s, text, e)) != BL_OK) return st;
    return **text ? BL_OK : bl_fail(e, BL_E_FORMAT, "%s: a pattern is empty", r->file);
}

/* ---- normalizer ---------------------------------------------------------------------------------- */

static bl_status normalizer(reader *r, const bl_json *v, bl_err *e)
{
    static const struct {
        const char *name;
        int options;
    } forms[] = {
        {"NFC", UTF8PROC_STABLE | UTF8PROC_COMPOSE},
        {"NFD", UTF8PROC_STABLE | UTF8PROC_DECOMPOSE},
        {"NFKC", UTF8PROC_STABLE | UTF8PROC_COMPOSE | UTF8PROC_COMPAT},
        {"NFKD", UTF8PROC_STABLE | UTF8PROC_DECOMPOSE | UTF8PROC_COMPAT},
    };
    bl_status st = BL_OK;
    const char *type;
    if (absent(v)) return BL_OK;
    BL_TRY(bl_json_get_str(v, "type", &type, e));
    if (!strcmp(type, "Sequence")) {
        const bl_json *all;
        BL_TRY(bl_json_need(v, "normalizers", &all, e));
        for (const bl_json *c = bl_json_first(all); c; c = bl_json_next(c)) BL_TRY(normalizer(r, c, e));
    } else if (!strcmp(type, "Prepend")) {
        tok_norm s = {.op = NORM_PREPEND};
        BL_TRY(bl_json_get_str(v, "prepend", &s.with, e));
        s.n_with = strlen(s.with);
        BL_TRY(tok_add_norm(r->t, &s, r->file, e));
    } else if (!strcmp(type, "Replace")) {
        tok_norm s = {.op = NORM_REPLACE};
        bool literal;
        BL_TRY(pattern(r, v, &s.find, &literal, e));
        BL_TRY(bl_json_get_str(v, "content", &s.with, e));
        s.n_find = strlen(s.find);
        s.n_with = strlen(s.with);
        if (!literal) BL_TRY(tok_regex_new(s.find, s.n_find, false, r->file, &s.regex, e));
        BL_TRY(tok_add_norm(r->t, &s, r->file, e));
    } else if (!strcmp(type, "Lowercase")) {
        BL_TRY(tok_add_norm(r->t, &(tok_norm){.op = NORM_LOWER}, r->file, e));
    } else if (!strcmp(type, "BertNormalizer")) {
        bool clean, cjk, unmark, lower;
        BL_TRY(flag(v, "clean_text", true, &clean, e));
        BL_TRY(flag(v, "handle_chinese_chars", true, &cjk, e));
        BL_TRY(flag(v, "lowercase", true, &lower, e));
        BL_TRY(flag(v, "strip_accents", lower, &unmark, e));
        BL_TRY(tok_add_bert_norm(r->t, clean, cjk, unmark, lower, r->file, e));
    } else {
        for (size_t i = 0; i < BL_COUNT(forms); i++)
            if (!strcmp(type, forms[i].name))
                return tok_add_norm(r->t, &(tok_norm){.op = NORM_UNICODE, .unicode = forms[i].options}, r->file, e);
        st = refuse(r, "normalizer", type, e);
    }
out:
    return st;
}

/* ---- pre-tokenizer ------------------------------------------------------------------------------- */

static bl_status split(reader *r, const bl_json *v, bl_err *e)
{
    static const char *const names[] = {"Removed", "Isolated", "MergedWithPrevious", "MergedWithNext", "Contiguous"};
    bl_status st = BL_OK;
    tok_pre p = {.op = PRE_SPLIT};
    const char *text, *behavior;
    bool literal;
    size_t k = 0;
    BL_TRY(pattern(r, v, &text, &literal, e));
    BL_TRY(bl_json_get_str(v, "behavior", &behavior, e));
    BL_TRY(flag(v, "invert", false, &p.invert, e));
    while (k < BL_COUNT(names) && strcmp(behavior, names[k])) k++;
    if (k == BL_COUNT(names)) return refuse(r, "split behavior", behavior, e);
    p.behavior = (tok_behavior)k;
    p.known = literal ? NULL : tok_known_pattern(text);
    BL_TRY(tok_regex_new(text, strlen(text), literal, r->file, &p.regex, e));
    BL_TRY(tok_add_pre(r->t, &p, r->file, e));
    r->pattern = !strcmp(text, tok_llama3_pattern)  ? "llama-3"
                 : !strcmp(text, tok_qwen2_pattern) ? "qwen2"
                 : !strcmp(text, tok_gpt2_pattern)  ? "gpt-2"
                                                    : "own pattern";
out:
    return st;
}

static bl_status metaspace(reader *r, const bl_json *v, bl_err *e)
{
    static const char *const schemes[] = {"always", "first", "never"};
    bl_status st = BL_OK;
    tok_pre p = {.op = PRE_META};
    const char *scheme;
    bool add, cut;
    size_t k = 0;
    BL_TRY(text_or(v, "replacement", TOK_SPACE, &p.space, e));
    BL_TRY(flag(v, "add_prefix_space", true, &add, e));
    BL_TRY(text_or(v, "prepend_scheme", add ? "always" : "never", &scheme, e));
    BL_TRY(flag(v, "split", true, &cut, e));
    while (k < BL_COUNT(schemes) && strcmp(scheme, schemes[k])) k++;
    if (k == BL_COUNT(schemes)) return refuse(r, "prepend_scheme", scheme, e);
    if (!*p.space) return bl_fail(e, BL_E_FORMAT, "%s: the replacement of Metaspace is empty", r->file);
    p.scheme = (tok_scheme)k;
    BL_TRY(tok_add_pre(r->t, &p, r->file, e));
    if (cut) {
        tok_pre s = {.op = PRE_SPLIT, .behavior = SPLIT_WITH_NEXT};
        BL_TRY(tok_regex_new(p.space, strlen(p.space), true, r->file, &s.regex, e));
        BL_TRY(tok_add_pre(r->t, &s, r->file, e));
    }
out:
    return st;
}

static bl_status pre_tokenizer(reader *r, const bl_json *v, bl_err *e)
{
    bl_status st = BL_OK;
    const char *type;
    bool a, b;
    if (absent(v)) return BL_OK;
    BL_TRY(bl_json_get_str(v, "type", &type, e));
    if (!strcmp(type, "Sequence")) {
        const bl_json *all;
        BL_TRY(bl_json_need(v, "pretokenizers", &all, e));
        for (const bl_json *c = bl_json_first(all); c; c = bl_json_next(c)) BL_TRY(pre_tokenizer(r, c, e));
        return BL_OK;
    }
    if (r->byte_level)
        return bl_fail(e, BL_E_UNSUPPORTED, "%s: pre-tokenizer '%s' after ByteLevel is not supported", r->file, type);
    if (!strcmp(type, "ByteLevel")) {
        BL_TRY(flag(v, "add_prefix_space", true, &a, e));
        BL_TRY(flag(v, "use_regex", true, &b, e));
        if (a) BL_TRY(tok_add_pre(r->t, &(tok_pre){.op = PRE_SPACE}, r->file, e));
        if (b) BL_TRY(tok_add_split(r->t, tok_gpt2_pattern, SPLIT_ISOLATED, r->file, e));
        if (b) r->pattern = r->pattern && !strcmp(r->pattern, "digits") ? "smollm" : "gpt-2";
        r->byte_level = true;
    } else if (!strcmp(type, "Digits")) {
        BL_TRY(flag(v, "individual_digits", false, &a, e));
        BL_TRY(tok_add_split(r->t, tok_digit_pattern, a ? SPLIT_ISOLATED : SPLIT_CONTIGUOUS, r->file, e));
        r->pattern = "digits";
    } else if (!strcmp(type, "Split")) {
        BL_TRY(split(r, v, e));
    } else if (!strcmp(type, "Metaspace")) {
        BL_TRY(metaspace(r, v, e));
    } else if (!strcmp(type, "BertPreTokenizer")) {
        BL_TRY(tok_add_bert_split(r->t, r->file, e));
        r->pattern = "bert";
    } else {
        st = refuse(r, "pre-tokenizer", type, e);
    }
out:
    return st;
}

/* ---- model --------------------------------------------------------------------------------------- */

static bl_status merge(reader *r, const bl_json *m, bl_err *e)
{
    bl_status st = BL_OK;
    const char *left, *right;
    size_t n_left;
    if (bl_json_kind(m) == BL_JSON_ARRAY) {
        if (bl_json_size(m) != 2)
            return bl_fail(e, BL_E_FORMAT, "%s: a merge of %zu tokens, expected 2", r->file, bl_json_size(m));
        BL_TRY(bl_json_str(bl_json_first(m), &left, e));
        BL_TRY(bl_json_str(bl_json_next(bl_json_first(m)), &right, e));
        n_left = strlen(left);
    } else {
        BL_TRY(bl_json_str(m, &left, e));
        const char *gap = strchr(left, ' ');
        if (!gap || strchr(gap + 1, ' '))
            return bl_fail(e, BL_E_FORMAT, "%s: merge '%s' is not two tokens with a space between", r->file, left);
        n_left = (size_t)(gap - left);
        right = gap + 1;
    }
    BL_TRY(tok_merges_add_text(&r->t->merges, &r->t->vocab, left, n_left, right, strlen(right), true, r->file, e));
out:
    return st;
}

static bl_status vocabulary(reader *r, const bl_json *m, size_t n_added, bl_err *e)
{
    bl_status st = BL_OK;
    const bl_json *vocab;
    BL_TRY(bl_json_need(m, "vocab", &vocab, e));
    if (bl_json_kind(vocab) != BL_JSON_OBJECT)
        return bl_fail(e, BL_E_FORMAT, "%s: model.vocab is not an object", r->file);
    size_t n = bl_json_size(vocab) + n_added;
    for (const bl_json *c = bl_json_first(vocab); c; c = bl_json_next(c)) {
        int64_t id;
        BL_TRY(bl_json_int(c, &id, e));
        BL_TRY(tok_vocab_add(&r->t->vocab, id, bl_json_key(c), strlen(bl_json_key(c)), 0, TOK_NORMAL, n, r->file, e));
    }
out:
    return st;
}

static bl_status unknown_token(reader *r, const char *s, bl_err *e)
{
    if (s && (r->t->unk = tok_vocab_find(&r->t->vocab, s, strlen(s))) < 0)
        return bl_fail(e, BL_E_FORMAT, "%s: the unknown token '%s' is not in the vocabulary", r->file, s);
    return BL_OK;
}

static bl_status wordpiece(reader *r, const bl_json *m, size_t n_added, bl_err *e)
{
    bl_status st = BL_OK;
    bl_tokenizer *t = r->t;
    const char *s;
    t->model = TOK_WORDPIECE;
    t->longest = 100;
    if (!absent(bl_json_get(m, "max_input_chars_per_word")))
        BL_TRY(bl_json_get_int(m, "max_input_chars_per_word", &t->longest, e));
    if (t->longest < 1 || t->longest > 10000)
        return bl_fail(e, BL_E_FORMAT, "%s: max_input_chars_per_word is %" PRId64 ", expected 1 to 10000", r->file,
                       t->longest);
    BL_TRY(text_or(m, "continuing_subword_prefix", "##", &s, e));
    if (!(t->inside = bl_arena_str(t->arena, s, strlen(s), e))) return BL_E_NOMEM;
    BL_TRY(vocabulary(r, m, n_added, e));
    BL_TRY(text_or(m, "unk_token", "[UNK]", &s, e));
    BL_TRY(unknown_token(r, s, e));
out:
    return st;
}

static bl_status model(reader *r, const bl_json *m, size_t n_added, bl_err *e)
{
    bl_status st = BL_OK;
    bl_tokenizer *t = r->t;
    const bl_json *merges;
    const char *type, *s;

    BL_TRY(text_or(m, "type", "BPE", &type, e));
    if (!strcmp(type, "WordPiece")) return wordpiece(r, m, n_added, e);
    if (strcmp(type, "BPE")) return refuse(r, "model", type, e);
    if (!absent(bl_json_get(m, "dropout"))) {
        double p;
        BL_TRY(bl_json_get_real(m, "dropout", &p, e));
        if (p != 0) return bl_fail(e, BL_E_UNSUPPORTED, "%s: dropout %g is not supported", r->file, p);
    }
    static const char *const affixes[] = {"continuing_subword_prefix", "end_of_word_suffix"};
    for (size_t i = 0; i < BL_COUNT(affixes); i++) {
        BL_TRY(text_or(m, affixes[i], "", &s, e));
        if (*s) return bl_fail(e, BL_E_UNSUPPORTED, "%s: %s '%s' is not supported", r->file, affixes[i], s);
    }
    BL_TRY(flag(m, "fuse_unk", false, &t->fuse_unk, e));
    BL_TRY(flag(m, "byte_fallback", false, &t->byte_fallback, e));
    BL_TRY(flag(m, "ignore_merges", false, &t->ignore_merges, e));

    BL_TRY(vocabulary(r, m, n_added, e));
    BL_TRY(bl_json_need(m, "merges", &merges, e));
    if (bl_json_kind(merges) != BL_JSON_ARRAY)
        return bl_fail(e, BL_E_FORMAT, "%s: model.merges is not an array", r->file);
    for (const bl_json *c = bl_json_first(merges); c; c = bl_json_next(c)) BL_TRY(merge(r, c, e));
    BL_TRY(text_or(m, "unk_token", NULL, &s, e));
    BL_TRY(unknown_token(r, s, e));
out:
    return st;
}

static bl_status added_token(reader *r, const bl_json *v, size_t n, bl_err *e)
{
    bl_status st = BL_OK;
    bl_tokenizer *t = r->t;
    tok_added a = {0};
    int64_t id;
    BL_TRY(bl_json_get_int(v, "id", &id, e));
    BL_TRY(tok_added_read(v, &a, e));
    if (!a.n) return bl_fail(e, BL_E_FORMAT, "%s: added token %" PRId64 " is empty", r->file, id);
    int32_t known = tok_vocab_find(&t->vocab, a.text, a.n);
    if (known < 0 || known != id) BL_TRY(tok_vocab_add(&t->vocab, id, a.text, a.n, 0, TOK_NORMAL, n, r->file, e));
    a.id = (int32_t)id;
    if (t->vocab.entry[id].type != TOK_NORMAL)
        return bl_fail(e, BL_E_FORMAT, "%s: added token '%s' is listed twice", r->file, a.text);
    t->vocab.entry[id].type = a.special ? TOK_CONTROL : TOK_USER;
    BL_TRY(tok_add_added(t, &a, e));
out:
    return st;
}

/* ---- template and decoder ------------------------------------------------------------------------ */

/* TemplateProcessing: what stands in front of the text. Tokens after it are a text encoder's alone (WordPiece): nothing
 * else here adds them. */
static bl_status template(reader *r, const bl_json *v, bl_err *e)
{
    bl_status st = BL_OK;
    bl_tokenizer *t = r->t;
    const bl_json *single, *tokens, *token, *ids;
    bool after = false;
    BL_TRY(bl_json_need(v, "single", &single, e));
    for (const bl_json *c = bl_json_first(single); c; c = bl_json_next(c)) {
        const bl_json *s = bl_json_get(c, "SpecialToken");
        const char *name;
        if (bl_json_get(c, "Sequence")) {
            if (after || t->model != TOK_WORDPIECE) break;
            after = true;
            continue;
        }
        if (!s)
            return refuse(r, "template piece",
                          bl_json_first(c) && bl_json_key(bl_json_first(c)) ? bl_json_key(bl_json_first(c)) : "?", e);
        BL_TRY(bl_json_get_str(s, "id", &name, e));
        BL_TRY(bl_json_need(v, "special_tokens", &tokens, e));
        BL_TRY(bl_json_need(tokens, name, &token, e));
        BL_TRY(bl_json_need(token, "ids", &ids, e));
        for (const bl_json *i = bl_json_first(ids); i; i = bl_json_next(i)) {
            int64_t id;
            BL_TRY(bl_json_int(i, &id, e));
            if (!tok_vocab_has(&t->vocab, id))
                return bl_fail(e, BL_E_FORMAT, "%s: template token '%s' has id %" PRId64 ", which is no token", r->file,
                               name, id);
            if ((after ? t->n_suffix : t->n_prefix) == TOK_MAX_PREFIX)
                return bl_fail(e, BL_E_UNSUPPORTED, "%s: a template with more than %d tokens %s", r->file,
                               TOK_MAX_PREFIX, after ? "after the text" : "in front");
            if (after) t->suffix[t->n_suffix++] = (int32_t)id;
            else t->prefix[t->n_prefix++] = (int32_t)id;
        }
    }
out:
    return st;
}

/* BertProcessing: [ "[CLS]", 101 ] in front, [ "[SEP]", 102 ] after. */
static bl_status bert_template(reader *r, const bl_json *v, bl_err *e)
{
    static const char *const keys[] = {"cls", "sep"};
    bl_status st = BL_OK;
    bl_tokenizer *t = r->t;
    int32_t *const to[] = {t->prefix, t->suffix};
    for (size_t k = 0; k < BL_COUNT(keys); k++) {
        const bl_json *pair;
        int64_t id;
        BL_TRY(bl_json_need(v, keys[k], &pair, e));
        if (bl_json_kind(pair) != BL_JSON_ARRAY || bl_json_size(pair) != 2)
            return bl_fail(e, BL_E_FORMAT, "%s: '%s' of BertProcessing is no pair of text and id", r->file, keys[k]);
        BL_TRY(bl_json_int(bl_json_next(bl_json_first(pair)), &id, e));
        if (!tok_vocab_has(&t->vocab, id))
            return bl_fail(e, BL_E_FORMAT, "%s: '%s' of BertProcessing has id %" PRId64 ", which is no token", r->file,
                           keys[k], id);
        to[k][0] = (int32_t)id;
    }
    t->n_prefix = t->n_suffix = 1;
out:
    return st;
}

static bl_status post_processor(reader *r, const bl_json *v, bl_err *e)
{
    bl_status st = BL_OK;
    const char *type;
    if (absent(v)) return BL_OK;
    BL_TRY(bl_json_get_str(v, "type", &type, e));
    if (!strcmp(type, "ByteLevel")) return BL_OK; /* it only moves offsets */
    if (!strcmp(type, "TemplateProcessing")) return template(r, v, e);
    if (!strcmp(type, "BertProcessing")) return bert_template(r, v, e);
    if (strcmp(type, "Sequence")) return refuse(r, "post-processor", type, e);
    const bl_json *all;
    BL_TRY(bl_json_need(v, "processors", &all, e));
    for (const bl_json *c = bl_json_first(all); c; c = bl_json_next(c)) BL_TRY(post_processor(r, c, e));
out:
    return st;
}

static bl_status decoder(reader *r, const bl_json *v, bl_err *e)
{
    bl_status st = BL_OK;
    const char *type;
    tok_dec d = {.with = " ", .n_with = 1};
    if (absent(v)) return BL_OK;
    BL_TRY(bl_json_get_str(v, "type", &type, e));
    if (!strcmp(type, "Sequence")) {
        const bl_json *all;
        BL_TRY(bl_json_need(v, "decoders", &all, e));
        for (const bl_json *c = bl_json_first(all); c; c = bl_json_next(c)) BL_TRY(decoder(r, c, e));
        return BL_OK;
    }
    if (!strcmp(type, "ByteLevel")) {
        d.op = DEC_BYTELEVEL;
    } else if (!strcmp(type, "ByteFallback")) {
        d.op = DEC_BYTEFALLBACK;
    } else if (!strcmp(type, "Fuse")) {
        d.op = DEC_FUSE;
    } else if (!strcmp(type, "Replace")) {
        bool literal;
        d.op = DEC_REPLACE;
        BL_TRY(pattern(r, v, &d.find, &literal, e));
        if (!literal) return refuse(r, "decoder with a pattern", d.find, e);
        BL_TRY(bl_json_get_str(v, "content", &d.with, e));
    } else if (!strcmp(type, "Strip")) {
        d.op = DEC_STRIP;
        BL_TRY(bl_json_get_str(v, "content", &d.find, e));
        BL_TRY(bl_json_get_int(v, "start", &d.start, e));
        BL_TRY(bl_json_get_int(v, "stop", &d.stop, e));
        if (!*d.find) return bl_fail(e, BL_E_FORMAT, "%s: the Strip decoder has an empty content", r->file);
    } else if (!strcmp(type, "WordPiece")) {
        d.op = DEC_WORDPIECE;
        BL_TRY(text_or(v, "prefix", "##", &d.find, e));
        BL_TRY(flag(v, "cleanup", true, &d.cleanup, e));
    } else if (!strcmp(type, "Metaspace")) {
        const char *scheme;
        bool add;
        d.op = DEC_META;
        BL_TRY(text_or(v, "replacement", TOK_SPACE, &d.find, e));
        BL_TRY(flag(v, "add_prefix_space", true, &add, e));
        BL_TRY(text_or(v, "prepend_scheme", add ? "always" : "never", &scheme, e));
        if (!*d.find) return bl_fail(e, BL_E_FORMAT, "%s: the replacement of Metaspace is empty", r->file);
        d.prefix = strcmp(scheme, "never");
    } else {
        return refuse(r, "decoder", type, e);
    }
    d.n_find = d.find ? strlen(d.find) : 0;
    d.n_with = strlen(d.with);
    BL_TRY(tok_add_dec(r->t, &d, r->file, e));
out:
    return st;
}

bl_status tok_read_json(const char *p, size_t n, const char *name, bl_tokenizer *t, bl_err *e)
{
    bl_status st = BL_OK;
    bl_json *j = NULL;
    const bl_json *m, *added;
    reader r = {.file = name, .t = t};

    BL_TRY(bl_json_parse(p, n, name, BL_JSON_PLAIN, &j, e));
    BL_TRY(bl_json_need(j, "model", &m, e));
    added = bl_json_get(j, "added_tokens");
    size_t n_added = added ? bl_json_size(added) : 0;
    BL_TRY(normalizer(&r, bl_json_get(j, "normalizer"), e));
    BL_TRY(pre_tokenizer(&r, bl_json_get(j, "pre_tokenizer"), e));
    t->model = r.byte_level ? TOK_RANK_BYTES : TOK_RANK_CHARS;
    BL_TRY(model(&r, m, n_added, e));
    size_t n_tokens = bl_json_size(bl_json_get(m, "vocab")) + n_added;
    for (const bl_json *c = added ? bl_json_first(added) : NULL; c; c = bl_json_next(c))
        BL_TRY(added_token(&r, c, n_tokens, e));
    BL_TRY(post_processor(&r, bl_json_get(j, "post_processor"), e));
    BL_TRY(decoder(&r, bl_json_get(j, "decoder"), e));
    if (t->n_prefix) t->bos = t->prefix[0];
    snprintf(t->kind, sizeof t->kind, "%s (%s)",
             t->model == TOK_WORDPIECE ? "WordPiece"
             : r.byte_level            ? "byte-level BPE"
             : t->byte_fallback        ? "byte-fallback BPE"
                                       : "character BPE",
             r.pattern ? r.pattern : "no pre-tokenizer");
out:
    bl_json_free(j);
    return st;
}
