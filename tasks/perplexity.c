/* perplexity.c - how well a model predicts a text, under the conventions that published numbers use.
 *
 *     SOURCE:gptq2048      windows of 2,048 tokens of the joined text, no overlap, no BOS in front of a window; the
 *                          2,047 predictions inside each are scored (IST-DASLab/gptq and nearly all papers)
 *     SOURCE:word          rolling log-likelihood of each detokenized document, divided by its words or bytes before
 *                          detokenization (lm-evaluation-harness "wikitext"); windows of 2,048 tokens or the model's
 *                          length
 *     SOURCE:llamacpp512   chunks of 512 tokens of the raw file, the second half of each is scored (llama.cpp)
 *
 * A window (or a document) is an item. Perplexity is exp of the summed nll over the scored tokens.
 */
#include "harness/task.h"
#include "harness/data/sources.h"
#include <math.h>
#include <string.h>

enum { VALUE_NLL, VALUE_TOKENS, VALUE_NLL_SQ, VALUE_WORDS, VALUE_BYTES }; /* a window has the first three */

static const bl_metric gptq2048[] = {
    {.name = "perplexity",
     .direction = -1,
     .headline = true,
     .agg = BL_AGG_EXP_RATIO,
     .a = VALUE_NLL,
     .b = VALUE_TOKENS,
     .items = "windows"},
};
static const bl_metric llamacpp512[] = {
    {.name = "perplexity",
     .direction = -1,
     .agg = BL_AGG_EXP_TOKENS,
     .a = VALUE_NLL,
     .b = VALUE_TOKENS,
     .c = VALUE_NLL_SQ,
     .items = "windows"},
};
static const bl_metric word[] = {
    {.name = "word_perplexity",
     .direction = -1,
     .agg = BL_AGG_EXP_RATIO,
     .a = VALUE_NLL,
     .b = VALUE_WORDS,
     .no_stderr = true,
     .items = "documents"},
    {.name = "byte_perplexity",
     .direction = -1,
     .agg = BL_AGG_EXP_RATIO,
     .a = VALUE_NLL,
     .b = VALUE_BYTES,
     .no_stderr = true,
     .items = "documents"},
    {.name = "bits_per_byte",
     .direction = -1,
     .unit = "bit",
     .agg = BL_AGG_RATIO,
     .a = VALUE_NLL,
     .b = VALUE_BYTES,
     .factor = 1 / M_LN2,
     .no_stderr = true,
     .items = "documents"},
};

static const struct convention {
    const char *name;
    const bl_metric *metrics;
    int n_metrics;
    bl_window_rule rule;
    int64_t length;
} conventions[] = {
    {"gptq2048", gptq2048, BL_COUNT(gptq2048), BL_WINDOW_GPTQ, 2048},
    {"word", word, BL_COUNT(word), BL_WINDOW_GPTQ, 2048},
    {"llamacpp512", llamacpp512, BL_COUNT(llamacpp512), BL_WINDOW_LLAMACPP, 512},
};

static const struct convention *convention_of(const char *name)
{
    const char *colon = strchr(name, ':');
    for (size_t i = 0; colon && i < BL_COUNT(conventions); i++)
        if (!strcmp(conventions[i].name, colon + 1)) return &conventions[i];
    return NULL;
}

static const bl_metric *metrics_of(const char *name, int *n)
{
    const struct convention *c = convention_of(name);
    if (!c) c = &conventions[0];
    *n = c->n_metrics;
    return c->metrics;
}

typedef struct data {
    const bl_source_text *text;
    const struct convention *convention;
} data;

static bl_status load(const bl_task_load *how, bl_task_data *out, bl_err *e)
{
    bl_status st = BL_OK;
    const struct convention *c = convention_of(how->name);
    const char *colon = strchr(how->name, ':');
    char source[64];
    bl_source_text *t;
    data *d;

    snprintf(source, sizeof source, "%.*s", colon ? (int)(colon - how->name) : 0, how->name);
    const bl_source *s = bl_source_find(source);
    if (!s || !c) {
        st = bl_fail(e, BL_E_INTERNAL, "no text '%s'", how->name);
        goto out;
    }
    if (!(t = bl_alloc(out->arena, 1, sizeof *t, e)) || !(d = bl_alloc(out->arena, 1, sizeof *d, e))) {
        st = BL_E_NOMEM;
        goto out;
    }
    BL_TRY(s->load(how->dirs, out->arena, t, e));

    d->text = t;
    d->convention = c;
    out->rows = d;
    out->path = t->path;
    out->note = t->note;
    out->hash = t->hash;
    if (c->metrics == word) {
        BL_TRY(bl_source_documents(out->arena, t, e));
        out->n = (int64_t)t->n_docs;
    } else {
        out->n = -1; /* windows of tokens: the harness counts them */
        out->max_windows = c->rule == BL_WINDOW_LLAMACPP ? 0 : t->max_windows;
    }
out:
    return st;
}

static bl_status ask(bl_task_data *t, int64_t i, const bl_turn *turn, bl_request *out, bl_err *e)
{
    const data *d = t->rows;
    const bl_source_text *s = d->text;
    bool raw = d->convention->rule == BL_WINDOW_LLAMACPP;

    (void)e;
    if (turn->step > 0) return bl_done(out);
    if (t->n >= 0)
        *out = (bl_request){
            .kind = BL_ASK_ROLLING, .text = s->doc[i].text, .n_text = s->doc[i].n, .length = d->convention->length};
    else
        *out = (bl_request){.kind = BL_ASK_WINDOW,
                            .text = raw ? s->raw : s->stream,
                            .n_text = raw ? s->n_raw : s->n_stream,
                            .length = d->convention->length,
                            .index = i,
                            .rule = d->convention->rule};
    return BL_OK;
}

static bl_status mark(bl_task_data *t, int64_t i, const bl_turn *turn, bl_sample *out, bl_err *e)
{
    const bl_source_text *s = ((const data *)t->rows)->text;
    const bl_reply *r = &turn->reply[0];

    if (!isfinite(r->nll[0]))
        return bl_fail(e, BL_E_NUMERIC, "item %lld: the log-likelihood is not finite", (long long)i);
    double value[] = {[VALUE_NLL] = r->nll[0],
                      [VALUE_TOKENS] = (double)r->tokens[0],
                      [VALUE_NLL_SQ] = r->nll_sq[0],
                      [VALUE_WORDS] = t->n >= 0 ? (double)s->doc[i].words : 0,
                      [VALUE_BYTES] = t->n >= 0 ? (double)s->doc[i].bytes : 0};
    return bl_sample_values(out, turn->arena, value, t->n >= 0 ? BL_COUNT(value) : VALUE_WORDS, e);
}

/* SOURCE:CONVENTION of every line of sources.def that is scored, one to three conventions a line. */
#define NAMES1(source, a)                             source ":" a,
#define NAMES2(source, a, b)                          NAMES1(source, a) NAMES1(source, b)
#define NAMES3(source, a, b, c)                       NAMES2(source, a, b) NAMES1(source, c)
#define PICK(a, b, c, names, ...)                     names
#define BL_SOURCE(id, source, split, doc, where, ...) PICK(__VA_ARGS__, NAMES3, NAMES2, NAMES1, )(source, __VA_ARGS__)
#define BL_TEXT(...)
static const char *const names[] = {
#include "harness/data/sources.def"
    NULL};
#undef BL_SOURCE

/* The split of each of these names. */
#define SPLIT1(split, a)                              split,
#define SPLIT2(split, a, b)                           SPLIT1(split, a) SPLIT1(split, b)
#define SPLIT3(split, a, b, c)                        SPLIT2(split, a, b) SPLIT1(split, c)
#define BL_SOURCE(id, source, split, doc, where, ...) PICK(__VA_ARGS__, SPLIT3, SPLIT2, SPLIT1, )(split, __VA_ARGS__)
static const char *const of[] = {
#include "harness/data/sources.def"
};
#undef BL_TEXT
#undef BL_SOURCE

const bl_task bl_task_perplexity = {
    .names = names,
    .no_chat = "a text is scored as it is, and asks nothing that could stand in a conversation",
    .splits = of,
    .version = 1,
    .title = "Perplexity",
    .cite = "Merity et al. 2016 (WikiText-2); Marcus et al. 1993 (Penn Treebank); Raffel et al. 2020 (C4); windows: "
            "Frantar et al. 2022",
    .doc = "Perplexity of a named text. The name says the convention; numbers of different conventions, tokenizers or "
           "windows do not compare.",
    .metrics = gptq2048,
    .n_metrics = BL_COUNT(gptq2048),
    .metrics_of = metrics_of,
    .load = load,
    .ask = ask,
    .mark = mark,
};
