/* read_spm.c - sentencepiece tokenizer.model: the part of its protobuf that decides ids.
 *
 *     ModelProto      1 pieces*        2 trainer_spec      3 normalizer_spec      5 denormalizer_spec
 *     SentencePiece   1 piece          2 score (float)     3 type
 *     TrainerSpec     3 model_type     24 treat_whitespace_as_suffix   35 byte_fallback
 *                     44 unk_surface   45 unk_piece   46 bos_piece   47 eos_piece
 *     NormalizerSpec  1 name           2 precompiled_charsmap          3 add_dummy_prefix
 *                     4 remove_extra_whitespaces      5 escape_whitespaces
 *
 * BPE models are read; unigram, word and character models are refused by name, and so is a normalization map.
 */
#include "tokenizer_impl.h"
#include <inttypes.h>
#include <string.h>

typedef struct wire {
    const uint8_t *p, *end;
    const char *file;
} wire;
typedef struct field {
    uint32_t number, type;
    uint64_t value;
    const uint8_t *p;
} field; /* value: a varint, the bits of a fixed, or n bytes at p */
enum { VARINT, FIXED64, BYTES, FIXED32 = 5 };

static bl_status varint(wire *w, uint64_t *out, bl_err *e)
{
    uint64_t v = 0;
    for (int shift = 0;; shift += 7) {
        if (w->p == w->end) return bl_fail(e, BL_E_FORMAT, "%s: ends inside a number", w->file);
        uint8_t b = *w->p++;
        if (shift == 63 && b > 1) return bl_fail(e, BL_E_FORMAT, "%s: a number of more than 64 bits", w->file);
        v |= (uint64_t)(b & 0x7F) << shift;
        if (!(b & 0x80)) break;
    }
    *out = v;
    return BL_OK;
}

static bl_status next_field(wire *w, field *f, bl_err *e)
{
    bl_status st = BL_OK;
    uint64_t key;
    BL_TRY(varint(w, &key, e));
    *f = (field){.number = (uint32_t)(key >> 3), .type = key & 7};
    if (key >> 3 == 0 || key >> 3 > 0x1FFFFFFF)
        return bl_fail(e, BL_E_FORMAT, "%s: field number %" PRIu64, w->file, key >> 3);
    size_t left;
    switch (f->type) {
    case VARINT: return varint(w, &f->value, e);
    case FIXED64:
    case FIXED32:
        left = f->type == FIXED32 ? 4 : 8;
        if ((size_t)(w->end - w->p) < left)
            return bl_fail(e, BL_E_FORMAT, "%s: ends inside field %" PRIu32, w->file, f->number);
        memcpy(&f->value, w->p, left);
        w->p += left;
        return BL_OK;
    case BYTES:
        BL_TRY(varint(w, &f->value, e));
        left = (size_t)(w->end - w->p);
        if (f->value > left)
            return bl_fail(e, BL_E_FORMAT, "%s: field %" PRIu32 " of %" PRIu64 " bytes, and %zu are left", w->file,
                           f->number, f->value, left);
        f->p = w->p;
        w->p += f->value;
        return BL_OK;
    }
    return bl_fail(e, BL_E_FORMAT, "%s: field %" PRIu32 " has wire type %" PRIu32, w->file, f->number, f->type);
out:
    return st;
}

static bl_status expect(const wire *w, const field *f, uint32_t type, const char *what, bl_err *e)
{
    return f->type == type ? BL_OK
                           : bl_fail(e, BL_E_FORMAT, "%s: %s has wire type %" PRIu32 ", expected %" PRIu32, w->file,
                                     what, f->type, type);
}

typedef struct spec {
    uint64_t model_type;
    bool byte_fallback, suffix, dummy, extra, escape, denormalizer;
    const char *unk_surface;
    const uint8_t *unk, *bos, *eos, *name;
    size_t n_unk, n_bos, n_eos, n_name, n_charsmap;
} spec;

static bl_status piece(wire w, bl_tokenizer *t, size_t n_pieces, bl_err *e)
{
    bl_status st = BL_OK;
    const char *s = "";
    size_t n = 0;
    uint32_t bits = 0;
    uint64_t type = TOK_NORMAL;
    float score;
    int64_t id = (int64_t)t->vocab.n;
    for (field f; w.p < w.end;) {
        BL_TRY(next_field(&w, &f, e));
        if (f.number == 1) {
            BL_TRY(expect(&w, &f, BYTES, "piece.piece", e));
            s = (const char *)f.p;
            n = f.value;
        }
        if (f.number == 2) {
            BL_TRY(expect(&w, &f, FIXED32, "piece.score", e));
            bits = (uint32_t)f.value;
        }
        if (f.number == 3) {
            BL_TRY(expect(&w, &f, VARINT, "piece.type", e));
            type = f.value;
        }
    }
    if (!n) return bl_fail(e, BL_E_FORMAT, "%s: piece %" PRId64 " is empty", w.file, id);
    if (type < TOK_NORMAL || type > TOK_BYTE)
        return bl_fail(e, BL_E_FORMAT, "%s: piece %" PRId64 " has type %" PRIu64 ", expected 1 to 6", w.file, id, type);
    memcpy(&score, &bits, sizeof score);
    if (type == TOK_BYTE && tok_byte_piece(s, n) < 0)
        return bl_fail(e, BL_E_FORMAT, "%s: byte piece %" PRId64 " is '%.*s'", w.file, id, (int)BL_MIN(n, 60u), s);
    if (type == TOK_UNKNOWN) {
        if (t->unk >= 0)
            return bl_fail(e, BL_E_FORMAT, "%s: two unknown pieces, %" PRId32 " and %" PRId64, w.file, t->unk, id);
        t->unk = (int32_t)id;
    }
    BL_TRY(tok_vocab_add(&t->vocab, id, s, n, score, (tok_type)type, n_pieces, w.file, e));
    for (size_t k = 0; k < n && type == TOK_USER;) {
        int length = tok_utf8(s + k, n - k);
        if (length < 0)
            return bl_fail(e, BL_E_FORMAT, "%s: piece %" PRId64 " is recognised inside text and is not UTF-8", w.file,
                           id);
        k += (size_t)length;
    }
    if (type == TOK_USER) BL_TRY(tok_trie_add(&t->user, s, n, (int32_t)id, e));
    if (type == TOK_CONTROL || type == TOK_UNKNOWN)
        BL_TRY(tok_add_added(t, &(tok_added){.id = (int32_t)id, .text = s, .n = n, .special = true}, e));
out:
    return st;
}

static bl_status trainer(wire w, spec *s, bl_tokenizer *t, bl_err *e)
{
    bl_status st = BL_OK;
    for (field f; w.p < w.end;) {
        BL_TRY(next_field(&w, &f, e));
        switch (f.number) {
        case 3:
            BL_TRY(expect(&w, &f, VARINT, "model_type", e));
            s->model_type = f.value;
            break;
        case 24:
            BL_TRY(expect(&w, &f, VARINT, "treat_whitespace_as_suffix", e));
            s->suffix = f.value != 0;
            break;
        case 35:
            BL_TRY(expect(&w, &f, VARINT, "byte_fallback", e));
            s->byte_fallback = f.value != 0;
            break;
        case 44:
            BL_TRY(expect(&w, &f, BYTES, "unk_surface", e));
            if (!(s->unk_surface = bl_arena_str(t->arena, (const char *)f.p, f.value, e))) {
                st = BL_E_NOMEM;
                goto out;
            }
            break;
        case 45:
            BL_TRY(expect(&w, &f, BYTES, "unk_piece", e));
            s->unk = f.p;
            s->n_unk = f.value;
            break;
        case 46:
            BL_TRY(expect(&w, &f, BYTES, "bos_piece", e));
            s->bos = f.p;
            s->n_bos = f.value;
            break;
        case 47:
            BL_TRY(expect(&w, &f, BYTES, "eos_piece", e));
            s->eos = f.p;
            s->n_eos = f.value;
            break;
        }
    }
out:
    return st;
}

static bl_status normalizer(wire w, spec *s, bool denormalizer, bl_err *e)
{
    bl_status st = BL_OK;
    for (field f; w.p < w.end;) {
        BL_TRY(next_field(&w, &f, e));
        if (denormalizer && f.number != 2) continue;
        switch (f.number) {
        case 1:
            BL_TRY(expect(&w, &f, BYTES, "normalizer name", e));
            s->name = f.p;
            s->n_name = f.value;
            break;
        case 2:
            BL_TRY(expect(&w, &f, BYTES, "precompiled_charsmap", e));
            if (denormalizer) s->denormalizer = f.value != 0;
            else s->n_charsmap = f.value;
            break;
        case 3:
            BL_TRY(expect(&w, &f, VARINT, "add_dummy_prefix", e));
            s->dummy = f.value != 0;
            break;
        case 4:
            BL_TRY(expect(&w, &f, VARINT, "remove_extra_whitespaces", e));
            s->extra = f.value != 0;
            break;
        case 5:
            BL_TRY(expect(&w, &f, VARINT, "escape_whitespaces", e));
            s->escape = f.value != 0;
            break;
        }
    }
out:
    return st;
}

static bl_status check(const spec *s, const bl_tokenizer *t, const char *file, bl_err *e)
{
    static const char *const models[] = {"0", "unigram", "BPE", "word", "character"};
    if (s->model_type != 2)
        return bl_fail(e, BL_E_UNSUPPORTED, "%s: sentencepiece model type %s is not supported", file,
                       s->model_type < BL_COUNT(models) ? models[s->model_type] : "?");
    if (s->n_charsmap)
        return bl_fail(e, BL_E_UNSUPPORTED, "%s: normalizer '%.*s' with a map of %zu bytes is not supported", file,
                       (int)BL_MIN(s->n_name, 60u), s->name ? (const char *)s->name : "", s->n_charsmap);
    if (s->denormalizer) return bl_fail(e, BL_E_UNSUPPORTED, "%s: a denormalization map is not supported", file);
    if (s->suffix) return bl_fail(e, BL_E_UNSUPPORTED, "%s: treat_whitespace_as_suffix is not supported", file);
    if (t->unk < 0) return bl_fail(e, BL_E_FORMAT, "%s: no unknown piece", file);
    for (int b = 0; b < 256 && s->byte_fallback; b++) {
        char text[8];
        int32_t id = tok_vocab_find(&t->vocab, text, (size_t)snprintf(text, sizeof text, "<0x%02X>", b));
        if (id < 0 || t->vocab.entry[id].type != TOK_BYTE)
            return bl_fail(e, BL_E_FORMAT, "%s: byte_fallback without a byte piece '%s'", file, text);
    }
    return BL_OK;
}

/* The control piece of that text; -1. */
static int32_t control(const bl_tokenizer *t, const uint8_t *given, size_t n, const char *otherwise)
{
    int32_t id = tok_vocab_find(&t->vocab, given ? (const char *)given : otherwise, given ? n : strlen(otherwise));
    return id >= 0 && t->vocab.entry[id].type == TOK_CONTROL ? id : -1;
}

bl_status tok_read_spm(const uint8_t *p, size_t n, const char *file, bl_tokenizer *t, bl_err *e)
{
    bl_status st = BL_OK;
    wire w = {p, p + n, file};
    spec s = {.model_type = 1, .dummy = true, .extra = true, .escape = true};
    size_t n_pieces = 0;

    t->model = TOK_SCORES;
    t->each_byte = true;
    for (field f; w.p < w.end;) { /* the frame of all of it first */
        BL_TRY(next_field(&w, &f, e));
        if (f.number == 1) n_pieces++;
    }
    if (!n_pieces) return bl_fail(e, BL_E_FORMAT, "%s: no pieces; not a sentencepiece model", file);
    w.p = p;
    for (field f; w.p < w.end;) {
        BL_TRY(next_field(&w, &f, e));
        if (f.number != 1 && f.number != 2 && f.number != 3 && f.number != 5) continue;
        BL_TRY(expect(&w, &f, BYTES, f.number == 1 ? "a piece" : "a specification", e));
        wire inner = {f.p, f.p + f.value, file};
        switch (f.number) {
        case 1: BL_TRY(piece(inner, t, n_pieces, e)); break;
        case 2: BL_TRY(trainer(inner, &s, t, e)); break;
        case 3: BL_TRY(normalizer(inner, &s, false, e)); break;
        case 5: BL_TRY(normalizer(inner, &s, true, e)); break;
        }
    }
    BL_TRY(check(&s, t, file, e));
    t->byte_fallback = s.byte_fallback;
    t->fuse_unk = true; /* unknown neighbours are one */
    t->unk_surface = s.unk_surface ? s.unk_surface : " \xE2\x81\x87 ";
    t->bos = control(t, s.bos, s.n_bos, "<s>");
    t->eos = control(t, s.eos, s.n_eos, "</s>");
    if (t->bos >= 0) t->prefix[t->n_prefix++] = t->bos; /* as LLaMA's tokenizer does with such a file */
    BL_TRY(tok_add_norm(
        t, &(tok_norm){.op = NORM_SPM, .dummy_prefix = s.dummy, .remove_extra = s.extra, .escape = s.escape}, file, e));
    BL_TRY(tok_add_dec(t, &(tok_dec){.op = DEC_SPM, .prefix = s.dummy || s.extra, .all_leading = s.extra}, file, e));
    snprintf(t->kind, sizeof t->kind, "sentencepiece BPE");
out:
    return st;
}
