/* ends.c - the tokens that end a generation. A model often has several: the end of a document, and the end of a turn.
 *
 * Hugging Face: every id of eos_token_id in generation_config.json, else in config.json, as transformers 5.24 stops at
 * (generate), and the tokenizer's own eos_token, at which lm-evaluation-harness 0.4.13 stops. GGUF: eos, eot, eom and
 * the ends of fill-in-the-middle by their keys, and every token whose text is a known end, as llama.cpp has it
 * (llama_vocab::is_eog).
 */
#include "tokenizer_impl.h"
#include <string.h>

/* Texts that end a generation in whichever vocabulary they are (llama.cpp, src/llama-vocab.cpp, 2026-11). */
static const char *const texts[] = {
    "<|eot_id|>", /* LLaMA 3 */
    "<|eom_id|>", /* LLaMA 3.1 */
    "<|im_end|>", /* ChatML: Qwen, SmolLM2 and many others */
    "<|endoftext|>",
    "</s>",
    "<eos>",
    "<|end_of_text|>",
    "[EOS]",         /* ends of a document */
    "<|end|>",       /* Phi 3 */
    "<end_of_turn>", /* Gemma */
    "<turn|>",
    "<|tool_response>", /* Gemma 4 */
    "<|return|>",
    "<|call|>", /* harmony */
    "<|flush|>",
    "<|calls|>", /* Solar */
    "<EOT>",
    "_<EOT>",
    "[EOT]",                 /* CodeLlama, Kimi K2 */
    "<end_of_utterance>",    /* SmolDocling */
    "<｜end▁of▁sentence｜>", /* DeepSeek; U+FF5C and U+2581 */
    "[e~[",                  /* MiniMax */
    "<|fim_pad|>",
    "<fim-pad>",
    "<fim_pad>",
    "<PAD>",
    "[PAD]", /* fill in the middle: padding, */
    "<|fim_repo|>",
    "<|repo_name|>",
    "<fim-repo>",
    "<REPO>",
    "<reponame>",   /* the next repository, */
    "<|file_sep|>", /* the next file */
};
/* A text that is no end where both others are tokens too. */
static const struct {
    const char *text, *beside[2];
} exceptions[] = {
    {"<|end|>", {"<|return|>", "<|call|>"}},
    {"<|end|>", {"<|flush|>", "<|calls|>"}},
    {"</s>", {"<|tool_response>", "<|tool_response>"}},
};
static const char *const keys[] = {
    "tokenizer.ggml.eos_token_id",     "tokenizer.ggml.eot_token_id",     "tokenizer.ggml.eom_token_id",
    "tokenizer.ggml.fim_pad_token_id", "tokenizer.ggml.fim_rep_token_id", "tokenizer.ggml.fim_sep_token_id",
};

bl_status tok_add_end(bl_tokenizer *t, int64_t id, bl_err *e)
{
    bl_status st = BL_OK;
    if (!tok_vocab_has(&t->vocab, id)) return BL_OK;
    for (size_t i = 0; i < t->n_ends; i++)
        if (t->end[i] == id) return BL_OK;
    BL_TRY(bl_grow(&t->end, &t->cap_end, t->n_ends + 1, sizeof *t->end, e));
    t->end[t->n_ends++] = (int32_t)id;
out:
    return st;
}

static int32_t find(const bl_tokenizer *t, const char *text) { return tok_vocab_find(&t->vocab, text, strlen(text)); }

static bool is_exception(const bl_tokenizer *t, const char *text)
{
    for (size_t i = 0; i < BL_COUNT(exceptions); i++)
        if (!strcmp(exceptions[i].text, text) && find(t, exceptions[i].beside[0]) >= 0 &&
            find(t, exceptions[i].beside[1]) >= 0)
            return true;
    return false;
}

bl_status tok_ends_of_gguf(const bl_gguf *g, bl_tokenizer *t, bl_err *e)
{
    bl_status st = BL_OK;
    BL_TRY(tok_add_end(t, t->eos, e)); /* also where no key says so */
    for (size_t i = 0; i < BL_COUNT(keys); i++) {
        int64_t id;
        if (!bl_gguf_find(g, keys[i])) continue;
        BL_TRY(bl_gguf_int(g, keys[i], &id, e));
        BL_TRY(tok_add_end(t, id, e));
    }
    for (size_t i = 0; i < BL_COUNT(texts); i++)
        if (!is_exception(t, texts[i])) BL_TRY(tok_add_end(t, find(t, texts[i]), e));
    for (size_t i = 0; i < t->n_ends; i++) BL_TRY(tok_make_control(t, t->end[i], e));
out:
    return st;
}
