/* tokenizer.h - text to ids and back, exactly as the model's own tokenizer does it.
 *
 *     bl_tokenizer *t;
 *     BL_TRY(bl_tokenizer_open(BL_TOK_JSON, "tokenizer.json", &t, e));       // or bl_tokenizer_of(checkpoint, &t, e)
 *     bl_ids ids = { 0 };
 *     BL_TRY(bl_encode(t, text, n_bytes, BL_ENCODE_BOS, &ids, e));           // appends
 *     BL_TRY(bl_decode(t, ids.id, ids.n, false, &out, NULL, e));
 *     bl_ids_free(&ids); bl_tokenizer_close(t);
 *
 * Read: tokenizer.json (byte-level BPE with the LLaMA-3, GPT-2, Qwen2, SmolLM2 and other patterns, byte-fallback BPE,
 * Metaspace, Prepend, Replace and Unicode normalizers, added tokens, TemplateProcessing, and WordPiece with what BERT
 * has around it), vocab.txt (WordPiece), sentencepiece tokenizer.model (BPE), GGUF (gpt2 and llama models) and
 * llama2.c. Anything else is refused by name. Invalid UTF-8 becomes U+FFFD as the reference does: one for each maximal
 * subpart, or for each byte (sentencepiece, llama2.c). What a vocabulary can neither spell nor call unknown is left
 * out, as the references do. Letters and digits are those of the Unicode version of PCRE2 and utf8proc. Cost is n log n
 * in the longest piece.
 */
#ifndef BL_HARNESS_TOKENIZER_TOKENIZER_H
#define BL_HARNESS_TOKENIZER_TOKENIZER_H
#include "harness/checkpoint/checkpoint.h"
#include "kernels/base/span.h"

typedef struct bl_tokenizer bl_tokenizer;
typedef struct bl_ids {
    int32_t *id;
    size_t n, cap;
} bl_ids;
bl_status bl_ids_push(bl_ids *ids, int32_t id, bl_err *e);
void bl_ids_free(bl_ids *ids);

struct bl_gguf_vocab; /* harness/checkpoint/export.h */
/* As keys of a GGUF file, for a model whose embedding has `rows`. Texts are lent by t and the arena. BL_E_UNSUPPORTED
 * says what llama.cpp would do in another way; BL_E_CONFIG: more tokens than rows. */
bl_status bl_tokenizer_gguf(const bl_tokenizer *t, int64_t rows, bl_arena *a, struct bl_gguf_vocab *out, bl_err *e);
bl_status bl_tokenizer_open(bl_tok_kind kind, const char *path, bl_tokenizer **out, bl_err *e);
/* The tokenizer of a checkpoint; BL_E_MISSING says what was looked for. Tokens that open and close a text are taken
 * from the model's config where the tokenizer's files name neither. Its vocabulary may be larger than the model's: an
 * id that the model lacks is refused where a text has it (score.h). */
bl_status bl_tokenizer_of(const bl_checkpoint *c, bl_tokenizer **out, bl_err *e);
/* Is there one? BL_E_MISSING with the same sentence; nothing is opened. */
bl_status bl_tokenizer_there(const bl_checkpoint *c, bl_err *e);
/* From bytes that are in memory; `name` opens every sentence. Nothing beside the file is looked at. */
bl_status bl_tokenizer_parse(bl_tok_kind kind, const uint8_t *p, size_t n, const char *name, bl_tokenizer **out,
                             bl_err *e);
void bl_tokenizer_close(bl_tokenizer *t); /* NULL is fine */

enum {
    BL_ENCODE_PLAIN = 0,
    BL_ENCODE_BOS = 1,    /* the model's own rule for special tokens in front: nothing where the rule has none;
                             tokens that a rule puts after the text are never added */
    BL_ENCODE_SPECIAL = 2 /* special-token text becomes its id; otherwise it stays text */
};
bl_status bl_encode(const bl_tokenizer *t, const char *text, size_t n, int flags, bl_ids *out, bl_err *e);

/* A prompt as spans: special tokens are recognised in template spans, and only there; with BL_ENCODE_SPECIAL in all.
 * Spans are encoded as one string otherwise. (Added tokens that are not special are ordinary vocabulary and are
 * recognised everywhere.) */
bl_status bl_encode_spans(const bl_tokenizer *t, const bl_span *span, size_t n_spans, int flags, bl_ids *out,
                          bl_err *e);

/* Text of ids, NUL-terminated, bl_free; valid UTF-8, with U+FFFD for what is not. Special tokens are left out unless
 * keep_special. An id that is no token is refused (BL_E_CONFIG). n_out may be NULL. */
bl_status bl_decode(const bl_tokenizer *t, const int32_t *id, size_t n, bool keep_special, char **out, size_t *n_out,
                    bl_err *e);
/* Bytes of one id as they appear inside a text (no leading-space rule), for incremental decoding; lent. A special token
 * is its own text; an id that is no token has no bytes. */
const char *bl_token_bytes(const bl_tokenizer *t, int32_t id, size_t *n);

int32_t bl_tokenizer_bos(const bl_tokenizer *t); /* -1: none */
int32_t bl_tokenizer_eos(const bl_tokenizer *t);
/* The token in front of an empty context and of a rolling text: the BOS that the tokenizer's files name, else its EOS,
 * as lm-evaluation-harness 0.4.13 has it; -1: none. */
int32_t bl_tokenizer_prefix(const bl_tokenizer *t);
/* The token ends a generation: the EOS, the end of a turn and whatever else the model's files say (ends.c). */
bool bl_tokenizer_ends(const bl_tokenizer *t, int32_t id);
bool bl_tokenizer_adds_bos(const bl_tokenizer *t); /* the rule puts BOS in front */
/* The tokens that a text encoder has after a text; the rule of BL_ENCODE_BOS has those in front. Lent. */
const int32_t *bl_tokenizer_after(const bl_tokenizer *t, size_t *n);
bool bl_tokenizer_is_special(const bl_tokenizer *t, int32_t id);
int64_t bl_tokenizer_vocab(const bl_tokenizer *t);    /* highest id + 1 */
const char *bl_tokenizer_kind(const bl_tokenizer *t); /* "byte-level BPE (smollm)", for doctor and inspect */
const char *bl_tokenizer_version(void);               /* "PCRE2 10.42 2022-12-11": patterns and letters */
#endif
