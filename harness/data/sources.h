/* sources.h - named texts, for perplexity and for calibration alike; sources.def has a row each.
 *
 * A source is text as its published protocol joins it: one stream, and for `word` a list of documents.
 * A name has several splits: one of them is scored, others are for calibration.
 */
#ifndef BL_HARNESS_DATA_SOURCES_H
#define BL_HARNESS_DATA_SOURCES_H
#include "reader.h"

typedef struct bl_source_doc {
    const char *text;
    size_t n;
    int64_t words, bytes;
} bl_source_doc; /* words, bytes: of the document before detokenization */
typedef struct bl_source_text {
    const char *stream;
    size_t n_stream; /* GPTQ-style joined text; NULL when the source has none */
    const char *raw;
    size_t n_raw; /* the file as it is (llama.cpp) */
    const bl_source_doc *doc;
    size_t n_docs;       /* detokenized documents (harness `word`), made by bl_source_documents; 0: none */
    int64_t max_windows; /* the protocol scores the first so many windows of the stream; 0: all */
    const char *note;    /* what the file holds that is read as text and hardly meant; NULL */
    bl_hash hash;        /* of the file's bytes */
    const char *path;
} bl_source_text;

typedef struct bl_source {
    const char *name, *split;       /* "wikitext2", "test": a name has one line a split */
    const char *id;                 /* "wikitext2:test" */
    const char *doc, *where;        /* what it is; where to get it */
    const char *const *conventions; /* "gptq2048", "word", "llamacpp512"; NULL-terminated; none: not to be scored */
    bl_status (*load)(const bl_data_dirs *d, bl_arena *a, bl_source_text *out, bl_err *e);
} bl_source;
/* Cuts the raw text at its titles and detokenizes the documents, for the convention `word`. */
bl_status bl_source_documents(bl_arena *a, bl_source_text *t, bl_err *e);
const bl_source *bl_source_at(size_t i);
/* "wikitext2:train", or "wikitext2": the split that is scored. NULL: no such text. */
const bl_source *bl_source_find(const char *text);
/* The same for calibration: without a split, `train`, or the only one there is. BL_E_CONFIG says which splits there
 * are, or the nearest name. */
bl_status bl_source_for_calibration(const char *text, const bl_source **out, bl_err *e);

/* ---- a file of the user's own, for calibration: "file:PATH" ----
 * JSON lines when its name ends in .jsonl or .json (and .gz): field "text" of every row, joined with two newlines. Any
 * other is one text as it is. */
const char *bl_source_own_path(const char *text); /* PATH; NULL: it does not begin so, or is none */
bl_status bl_source_own(const char *path, bl_arena *a, bl_source_text *out, bl_err *e);
#endif
