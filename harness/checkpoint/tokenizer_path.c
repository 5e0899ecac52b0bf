/* tokenizer_path.c - where a checkpoint's tokenizer is. */
#include "checkpoint_impl.h"
#include <stdlib.h>

static const struct {
    const char *name;
    bl_tok_kind kind;
} in_directory[] = {
    {"tokenizer.json", BL_TOK_JSON},
    {"tokenizer.model", BL_TOK_SPM},
    {"tokenizer.gguf", BL_TOK_GGUF},
    {"tokenizer.bin", BL_TOK_LLAMA2C},
};
static const struct {
    const char *suffix;
    bl_tok_kind kind;
} by_suffix[] = {
    /* in the order of preference */
    {".model", BL_TOK_SPM},
    {".json", BL_TOK_JSON},
    {".bin", BL_TOK_LLAMA2C},
    {".gguf", BL_TOK_GGUF},
};

static bool ends(const char *s, const char *tail)
{
    size_t n = strlen(s), k = strlen(tail);
    return n >= k && !strcmp(s + n - k, tail);
}

static bl_status keep(bl_checkpoint *c, bl_tok_kind kind, const char *path, bl_err *e)
{
    c->tok_path = bl_arena_str(c->arena, path, strlen(path), e);
    c->tok = kind;
    return c->tok_path ? BL_OK : BL_E_NOMEM;
}

static bl_status why(bl_checkpoint *c, const char *dir, const char *what, bl_err *e)
{
    char *s = bl_format_text(e, "%s%s%s; give --tokenizer FILE", dir ? dir : "", dir ? " has " : "", what);
    if (!s) return BL_E_NOMEM;
    c->tok_why = bl_arena_str(c->arena, s, strlen(s), e);
    bl_free(s);
    return c->tok_why ? BL_OK : BL_E_NOMEM;
}

static bl_status look_in(bl_checkpoint *c, const char *dir, bl_err *e)
{
    for (size_t i = 0; i < BL_COUNT(in_directory); i++) {
        char *path = bl_join(dir, in_directory[i].name, e);
        if (!path) return BL_E_NOMEM;
        bool there = bl_exists(path);
        bl_status st = there ? keep(c, in_directory[i].kind, path, e) : BL_OK;
        bl_free(path);
        if (there) return st;
    }
    return why(c, dir, "no tokenizer.json, tokenizer.model, tokenizer.gguf or tokenizer.bin", e);
}

/* The only tokenizer.* or tok*.model / tok*.bin beside a file; .model first. */
static bl_status look_beside(bl_checkpoint *c, const char *file, bl_err *e)
{
    bl_status st = BL_OK;
    char **names = NULL, *path = NULL, *dir = NULL;
    size_t n = 0;
    const char *slash = strrchr(file, '/'), *own = slash ? slash + 1 : file;
    if (!(dir = slash ? bl_strndup(file, slash == file ? 1 : (size_t)(slash - file), e) : bl_strdup(".", e)))
        return BL_E_NOMEM;
    BL_TRY(bl_dir_list(dir, &names, &n, e));
    for (size_t s = 0; s < BL_COUNT(by_suffix); s++) {
        const char *found = NULL;
        size_t many = 0;
        for (size_t i = 0; i < n; i++) {
            bool tok = !strncmp(names[i], "tok", 3) && (s == 0 || s == 2);
            if (!ends(names[i], by_suffix[s].suffix) || !(tok || !strncmp(names[i], "tokenizer.", 10)) ||
                !strcmp(names[i], own))
                continue;
            found = names[i];
            many++;
        }
        if (many == 0) continue;
        if (many > 1) {
            st = why(c, dir, "more than one file that could be it", e);
            goto out;
        }
        if (!(path = bl_join(dir, found, e))) {
            st = BL_E_NOMEM;
            goto out;
        }
        st = keep(c, by_suffix[s].kind, path, e);
        goto out;
    }
    st = why(c, dir, "no tokenizer.* and no tok*.model or tok*.bin beside the checkpoint", e);
out:
    bl_list_free(names, n);
    bl_free(path);
    bl_free(dir);
    return st;
}

static bl_status given(bl_checkpoint *c, const char *path, bl_err *e)
{
    if (bl_is_dir(path)) return look_in(c, path, e);
    if (!bl_exists(path)) return bl_fail(e, BL_E_MISSING, "no tokenizer file '%s'", path);
    for (size_t i = 0; i < BL_COUNT(by_suffix); i++)
        if (ends(path, by_suffix[i].suffix)) return keep(c, by_suffix[i].kind, path, e);
    return bl_fail(e, BL_E_CONFIG, "tokenizer '%s' is none of .json, .model, .bin, .gguf", path);
}

bl_status bl_find_tokenizer(bl_checkpoint *c, bl_err *e)
{
    if (c->opts.tokenizer) return given(c, c->opts.tokenizer, e);
    if (c->synth) return why(c, NULL, "the weights are synthetic", e);
    if (bl_is_dir(c->path)) return look_in(c, c->path, e);
    if (c->gguf && bl_gguf_find(c->gguf, "tokenizer.ggml.tokens")) return keep(c, BL_TOK_GGUF, c->path, e);
    return look_beside(c, c->path, e);
}

bl_tok_kind bl_checkpoint_tokenizer(const bl_checkpoint *c, const char **path, const char **why_not)
{
    if (path) *path = c->tok_path;
    if (why_not) *why_not = c->tok_why;
    return c->tok;
}
