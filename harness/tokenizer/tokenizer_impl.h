/* tokenizer_impl.h - the parts a tokenizer is made of, between the files that read one and those that run it.
 *
 * text -> valid UTF-8 -> sections between added tokens -> normalizers -> sections between normalized added tokens ->
 * pre-tokenizer steps -> pieces -> merges (by rank of a pair, or by score of the result), or the longest tokens from
 * the left (WordPiece) -> ids.
 */
#ifndef BL_HARNESS_TOKENIZER_TOKENIZER_IMPL_H
#define BL_HARNESS_TOKENIZER_TOKENIZER_IMPL_H
#include "tokenizer.h"
#include "harness/checkpoint/gguf.h"
#include "kernels/base/json.h"
#include "kernels/base/utf8.h"

/* Encoding n bytes of a text stops when the process is to end. A short one does not: what is kept then may need it. */
static inline bool tok_stopped(size_t n, bl_err *e)
{
    enum { LONG = 1 << 20 };
    return n >= LONG && bl_interrupted() && bl_fail(e, BL_E_INTERRUPTED, "interrupted") != BL_OK;
}

#define TOK_MAX_STEPS  16             /* normalizers, pre-tokenizer steps, decoders: each */
#define TOK_MAX_PREFIX 8              /* ids that a rule puts in front, and after */
#define TOK_MAX_FILE   (1ull << 30)   /* bytes of a tokenizer file */
#define TOK_SPACE      "\xE2\x96\x81" /* U+2581, how sentencepiece writes a space */
#define TOK_BAD        "\xEF\xBF\xBD" /* U+FFFD */

/* ---- characters (letters.c) ---------------------------------------------------------------------- */
/* Length of the valid character at p, else minus the bytes that one U+FFFD stands for (maximal subpart, as Unicode
 * recommends). */
int tok_utf8(const char *p, size_t n);
uint32_t tok_get_utf8(const char *p, int n); /* of a valid character of n bytes */
/* Bytes of a piece written "<0x41>"; -1: it is not. */
int tok_byte_piece(const char *s, size_t n);
/* Byte-level BPE writes each byte as a printable character: U+0021.., U+0100... */
uint32_t tok_byte_letter(uint8_t byte);
int tok_letter_byte(uint32_t letter); /* -1 */
/* The letters of s back to bytes, appended; false when one is no letter (then nothing is appended). */
bool tok_letters(const char *s, size_t n, bl_text *out);

/* ---- vocabulary (vocab.c) -------------------------------------------------------------------- */
typedef enum tok_type {
    TOK_HOLE,
    TOK_NORMAL,
    TOK_UNKNOWN,
    TOK_CONTROL,
    TOK_USER,
    TOK_UNUSED,
    TOK_BYTE
} tok_type; /* as sentencepiece and GGUF count */
typedef struct tok_entry {
    uint32_t at, n;
    float score;
    uint8_t type;
} tok_entry;
typedef struct tok_vocab {
    char *text;
    size_t n_text, cap_text; /* of all pieces, one after the other, each with a NUL */
    tok_entry *entry;
    size_t n, cap; /* by id; n: highest id + 1 */
    size_t n_used;
    int32_t *slot;
    size_t n_slots;   /* text to id: open addressing, id + 1, 0 is empty */
    uint32_t longest; /* bytes */
} tok_vocab;
/* Refuses ids that are negative, 2^31 or more, far above the number of tokens (`expect`), or given twice, and text
 * given twice. */
bl_status tok_vocab_add(tok_vocab *v, int64_t id, const char *s, size_t n, float score, tok_type type, size_t expect,
                        const char *file, bl_err *e);
int32_t tok_vocab_find(const tok_vocab *v, const char *s, size_t n); /* -1: not there */
static inline bool tok_vocab_has(const tok_vocab *v, int64_t id)
{
    return id >= 0 && (size_t)id < v->n && v->entry[id].type != TOK_HOLE;
}
static inline const char *tok_vocab_text(const tok_vocab *v, int32_t id) { return v->text + v->entry[id].at; }

typedef struct tok_merge {
    uint64_t pair;
    uint32_t rank1;
    int32_t id;
} tok_merge; /* rank + 1; 0 is an empty slot */
typedef struct tok_merges {
    tok_merge *slot;
    size_t n_slots, n, n_rules;
} tok_merges; /* n_rules: listed, repeated ones too */
bl_status tok_merges_add(tok_merges *m, int32_t left, int32_t right, uint32_t rank, int32_t id, bool replace,
                         bl_err *e);
const tok_merge *tok_merges_find(const tok_merges *m, int32_t left, int32_t right); /* NULL */
/* One rule by its texts: both sides and the result must be tokens. */
bl_status tok_merges_add_text(tok_merges *m, const tok_vocab *v, const char *left, size_t n_left, const char *right,
                              size_t n_right, bool replace, const char *file, bl_err *e);

/* Score models: the place of each token in the order of merging, best first is lowest, [n]; tokens of types that never
 * merge get UINT32_MAX. */
bl_status tok_vocab_order(const tok_vocab *v, uint32_t **out, const char *file, bl_err *e);

/* ---- text with a mark on each byte that came from data (normalize.c) ------------------------------ */
typedef struct tok_text {
    char *s;
    uint8_t *data;
    size_t n, cap, cap_data;
    bool marked;
} tok_text; /* data: [n], only when marked */
bl_status tok_text_add(tok_text *t, const char *s, const uint8_t *data, size_t n,
                       bl_err *e); /* data NULL: nothing is marked */
bl_status tok_text_put(tok_text *t, const char *s, size_t n, uint8_t data, bl_err *e); /* one mark for all n bytes */
void tok_text_free(tok_text *t);
/* Appends text with U+FFFD for what is not UTF-8: one a byte (sentencepiece), or one a maximal subpart. */
bl_status tok_repair(const char *s, const uint8_t *data, size_t n, bool each_byte, tok_text *out, bl_err *e);
typedef enum tok_norm_op {
    NORM_UNICODE,
    NORM_PREPEND,
    NORM_REPLACE,
    NORM_SPM,
    NORM_CLEAN,  /* characters of categories Cc, Cf, Co and U+FFFD go, tab, line breaks and other spaces are a space */
    NORM_CJK,    /* a space on both sides of a CJK ideograph */
    NORM_UNMARK, /* characters of category Mn go */
    NORM_LOWER   /* each character by itself */
} tok_norm_op;
typedef struct tok_regex tok_regex;
typedef struct tok_norm {
    tok_norm_op op;
    int unicode;             /* utf8proc options */
    const char *find, *with; /* replace; prepend uses `with` */
    size_t n_find, n_with;
    tok_regex *regex;                        /* replace by pattern */
    bool dummy_prefix, remove_extra, escape; /* sentencepiece */
} tok_norm;
extern const tok_norm tok_nfd;
/* `dummy`: a dummy prefix is put in front where a step has one. */
bl_status tok_normalize(const tok_norm *step, size_t n_steps, bool dummy, const char *s, const uint8_t *data, size_t n,
                        tok_text *out, tok_text *spare, bl_err *e);

/* ---- patterns and pre-tokenizer steps (pretok.c) ------------------------------------------------- */
extern const char tok_gpt2_pattern[], tok_llama3_pattern[], tok_qwen2_pattern[], tok_digit_pattern[];
const char *tok_known_pattern(const char *pattern); /* that of these with the same text; NULL */
/* Patterns as Oniguruma reads them, where PCRE2 can read the same; what it would read differently is refused by name.
 */
bl_status tok_regex_new(const char *pattern, size_t n, bool literal, const char *file, tok_regex **out, bl_err *e);
void tok_regex_free(tok_regex *r);
typedef struct tok_matcher tok_matcher; /* scratch of one call */
bl_status tok_matcher_new(tok_matcher **out, bl_err *e);
void tok_matcher_free(tok_matcher *m);
/* Next match that is not empty at or after `from`; *start == n when there is none. */
bl_status tok_regex_next(const tok_regex *r, tok_matcher *m, const char *s, size_t n, size_t from, size_t *start,
                         size_t *end, bl_err *e);

typedef enum tok_behavior {
    SPLIT_REMOVED,
    SPLIT_ISOLATED,
    SPLIT_WITH_PREVIOUS,
    SPLIT_WITH_NEXT,
    SPLIT_CONTIGUOUS
} tok_behavior;
typedef enum tok_scheme { PREPEND_ALWAYS, PREPEND_FIRST, PREPEND_NEVER } tok_scheme;
typedef enum tok_pre_op {
    PRE_SPLIT,
    PRE_SPACE,
    PRE_META
} tok_pre_op; /* PRE_SPACE: a space in front unless there is one */
typedef struct tok_pre {
    tok_pre_op op;
    tok_regex *regex;
    const char *known; /* the one of the patterns above that it is; NULL: of none */
    tok_behavior behavior;
    bool invert;
    const char *space; /* meta: what stands for a space */
    tok_scheme scheme;
} tok_pre;

/* ---- added tokens (added.c) ------------------------------------------------------------------ */
typedef struct tok_added {
    int32_t id;
    const char *text; /* as it is looked for: normalized when `normalized` */
    size_t n;
    bool special, normalized, lstrip, rstrip, single_word;
} tok_added;
/* { "content": ..., flags }; the id is -1, the text is the document's. */
bl_status tok_added_read(const bl_json *v, tok_added *out, bl_err *e);
typedef struct tok_node {
    int32_t child, sibling, value;
    uint8_t byte;
} tok_node; /* -1: none */
typedef struct tok_trie {
    tok_node *node;
    size_t n, cap;
    int32_t root[256];
} tok_trie; /* n == 0: empty, and root means nothing */
bl_status tok_trie_add(tok_trie *t, const char *s, size_t n, int32_t value, bl_err *e);
int32_t tok_trie_find(const tok_trie *t, const char *s, size_t n,
                      size_t *length);              /* value of the longest word at s; -1 */
size_t tok_space_at_start(const char *s, size_t n); /* bytes of white space */
size_t tok_space_at_end(const char *s, size_t n);
bool tok_word_at_start(const char *s, size_t n); /* a letter, digit, mark or connector */
bool tok_word_at_end(const char *s, size_t n);

/* ---- decoders (decode.c) --------------------------------------------------------------------- */
typedef enum tok_dec_op {
    DEC_BYTELEVEL,
    DEC_REPLACE,
    DEC_BYTEFALLBACK,
    DEC_FUSE,
    DEC_STRIP,
    DEC_META,
    DEC_SPM,
    DEC_WORDPIECE
} tok_dec_op;
typedef struct tok_dec {
    tok_dec_op op;
    const char *find, *with; /* replace; strip and meta use `find` (one character) */
    size_t n_find, n_with;
    int64_t start, stop; /* strip: at most so many */
    bool prefix;         /* meta, spm: a space in front of the text is the tokenizer's own */
    bool all_leading;    /* spm: all of them are */
    bool cleanup;        /* wordpiece, whose mark inside words is `find`: no space before punctuation */
} tok_dec;

/* ---- the tokenizer ------------------------------------------------------------------------------- */
typedef enum tok_model { TOK_RANK_BYTES, TOK_RANK_CHARS, TOK_SCORES, TOK_WORDPIECE } tok_model;
struct bl_tokenizer {
    bl_arena *arena; /* texts of steps and added tokens */
    tok_vocab vocab;
    tok_model model;
    tok_merges merges; /* by rank */
    uint32_t *order;   /* by score: tok_vocab_order */
    bool ignore_merges, byte_fallback, fuse_unk;
    int32_t unk;          /* -1: what cannot be spelled is left out */
    int32_t byte_id[256]; /* letter or piece of each byte; -1 */
    bool each_byte;       /* U+FFFD for each wrong byte */
    tok_norm norm[TOK_MAX_STEPS];
    size_t n_norm;
    tok_pre pre[TOK_MAX_STEPS];
    size_t n_pre;
    tok_dec dec[TOK_MAX_STEPS];
    size_t n_dec;
    tok_added *added;
    size_t n_added, cap_added;
    tok_trie raw, normalized; /* of `added` */
    tok_trie user;            /* sentencepiece: symbols that never merge; value is the id */
    const char *unk_surface;  /* what the unknown token reads as; NULL: nothing, it is special */
    int32_t prefix[TOK_MAX_PREFIX], suffix[TOK_MAX_PREFIX];
    size_t n_prefix, n_suffix;
    const char *inside; /* wordpiece: the mark of a token inside a word, "##" */
    int64_t longest;    /* wordpiece: characters; a longer word is unknown */
    int32_t bos, eos;
    bool bos_unnamed; /* the files beside say that no token is the BOS, whatever the template puts in front */
    bool prefix_once; /* a dummy prefix in front of the text only, not after each added token */
    int32_t *end;     /* end a generation */
    size_t n_ends, cap_end;
    char *bytes;
    size_t n_bytes, cap_bytes; /* of all ids inside a text */
    uint32_t *bytes_at;        /* [vocab.n + 1] */
    uint8_t *special;          /* [vocab.n] */
    const char *chat_template; /* of the checkpoint; NULL: none */
    char kind[64];
};
bl_status tok_new(bl_tokenizer **out, bl_err *e); /* everything -1 or empty */
/* Call last: byte ids, tries, bytes of ids, hash. */
bl_status tok_finish(bl_tokenizer *t, const char *file, bl_err *e);
bl_status tok_add_added(bl_tokenizer *t, const tok_added *a, bl_err *e); /* text is copied */
bl_status tok_make_control(bl_tokenizer *t, int32_t id, bl_err *e);      /* whatever type the file gave it */
bl_status tok_add_end(bl_tokenizer *t, int64_t id, bl_err *e);           /* an id that is no token is passed over */
bl_status tok_ends_of_gguf(const bl_gguf *g, bl_tokenizer *t, bl_err *e);
bl_status tok_add_norm(bl_tokenizer *t, const tok_norm *s, const char *file, bl_err *e);
bl_status tok_add_pre(bl_tokenizer *t, const tok_pre *s, const char *file, bl_err *e);
bl_status tok_add_dec(bl_tokenizer *t, const tok_dec *s, const char *file, bl_err *e);
bl_status tok_add_split(bl_tokenizer *t, const char *pattern, tok_behavior b, const char *file, bl_err *e);
/* ---- merging (bpe.c) ----------------------------------------------------------------------------- */
typedef struct bpe_work bpe_work;
bl_status bpe_work_new(bpe_work **out, bl_err *e);
void bpe_work_free(bpe_work *w);
bl_status bpe_encode(const bl_tokenizer *t, const char *s, size_t n, bpe_work *w, bl_ids *out, bl_err *e);
/* By rank: the two symbols that merging s comes to, merged further or not; -1 twice: it never comes to two. */
bl_status bpe_last_two(const bl_tokenizer *t, const char *s, size_t n, bpe_work *w, int32_t two[2], bl_err *e);

/* ---- the longest tokens from the left (wordpiece.c) ------------------------------------------------ */
bl_status tok_wordpiece(const bl_tokenizer *t, const char *s, size_t n, bl_text *work, bl_ids *out, bl_err *e);
/* What BERT has before it: words and punctuation marks; by flags, texts are cleaned, ideographs are words, accents go,
 * letters are in lower case. */
bl_status tok_add_bert_norm(bl_tokenizer *t, bool clean, bool cjk, bool unmark, bool lower, const char *file,
                            bl_err *e);
bl_status tok_add_bert_split(bl_tokenizer *t, const char *file, bl_err *e);

/* ---- what stands beside a tokenizer file (beside.c) ------------------------------------------------ */
typedef struct tok_list {
    tok_added *token;
    size_t n, cap;
} tok_list;
typedef struct tok_beside {
    bl_arena *arena; /* texts */
    bool there;      /* a tokenizer_config.json or special_tokens_map.json */
    bool llama, prefix_once, bos_said;
    int add_bos;            /* -1: not said */
    int lower, unmark, cjk; /* do_lower_case, strip_accents, tokenize_chinese_chars; -1: not said */
    tok_list listed;        /* by id */
    tok_added named[7];     /* bos, eos, unk, sep, pad, cls, mask; n 0: none */
    tok_list extra;         /* special tokens without such a name */
    int64_t *end;           /* eos_token_id, all of them */
    size_t n_ends, cap_end;
    int64_t bos_id, eos_id;    /* of config.json; -1: not said */
    const char *chat_template; /* NULL: none */
} tok_beside;
/* Of the directory of `path`; the ids out of model_dir (NULL: the same). */
bl_status tok_beside_read(const char *path, const char *model_dir, tok_beside *out, bl_err *e);
void tok_beside_free(tok_beside *b);
bl_status tok_beside_apply(bl_tokenizer *t, const tok_beside *b, const char *file, bl_err *e);

/* ---- readers ------------------------------------------------------------------------------------- */
bl_status tok_read_json(const char *p, size_t n, const char *name, bl_tokenizer *t, bl_err *e);
bl_status tok_read_spm(const uint8_t *p, size_t n, const char *name, bl_tokenizer *t, bl_err *e);
bl_status tok_read_vocab(const char *p, size_t n, const char *name, const tok_beside *b, bl_tokenizer *t, bl_err *e);
bl_status tok_read_llama2c(const uint8_t *p, size_t n, const char *name, bl_tokenizer *t, bl_err *e);
bl_status tok_read_gguf(const bl_gguf *g, const char *name, bl_tokenizer *t, bl_err *e);
#endif
