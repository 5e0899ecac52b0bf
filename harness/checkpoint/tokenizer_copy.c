/* tokenizer_copy.c - the files of a model's tokenizer into the directory of another one. */
#include "checkpoint_impl.h"

enum { MAX_COMPANION = 256 << 20 };

static bl_status copy_file(const char *dir, const char *from, const char *name, bl_err *e)
{
    char *bytes = NULL, *to = bl_join(dir, name, e);
    size_t n;
    if (!to) return BL_E_NOMEM;
    bl_status st = bl_read_file(from, MAX_COMPANION, &bytes, &n, e);
    if (st == BL_OK) st = bl_write_file(to, bytes, n, e);
    bl_free(bytes);
    bl_free(to);
    return st;
}

/* A GGUF file of metadata alone. */
static bl_status copy_gguf(const char *dir, const char *from, bl_err *e)
{
    bl_status st = BL_OK;
    bl_gguf *g = NULL;
    bl_writer *w = NULL;
    const uint8_t *p;
    uint64_t n, counts[2] = {0};
    char *to = bl_join(dir, "tokenizer.gguf", e);
    if (!to) return BL_E_NOMEM;
    BL_TRY(bl_gguf_open(from, &g, e));
    bl_gguf_metadata(g, &p, &n);
    counts[1] = bl_gguf_count(g);
    BL_TRY(bl_writer_open(to, &w, e));
    BL_TRY(bl_writer_add(w, "GGUF\3\0\0\0", 8, e));
    BL_TRY(bl_writer_add(w, counts, sizeof counts, e));
    BL_TRY(bl_writer_add(w, p, n, e));
    BL_TRY(bl_writer_commit(w, e));
    w = NULL;
out:
    bl_writer_drop(w);
    bl_gguf_close(g);
    bl_free(to);
    return st;
}

bl_status bl_checkpoint_copy_tokenizer(const bl_checkpoint *c, const char *dir, bl_err *e)
{
    static const char *const beside[] = {"tokenizer_config.json", "special_tokens_map.json", "added_tokens.json",
                                         "generation_config.json", "chat_template.jinja"};
    bl_status st = BL_OK;
    const char *path;
    bl_tok_kind kind = bl_checkpoint_tokenizer(c, &path, NULL);
    if (kind == BL_TOK_NONE) return BL_OK;
    if (kind == BL_TOK_GGUF) return copy_gguf(dir, path, e);
    BL_TRY(copy_file(dir, path,
                     kind == BL_TOK_JSON  ? "tokenizer.json"
                     : kind == BL_TOK_SPM ? "tokenizer.model"
                                          : "tokenizer.bin",
                     e));
    const char *slash = strrchr(path, '/');
    for (size_t i = 0; i < BL_COUNT(beside); i++) {
        char *from = bl_format_text(e, "%.*s/%s", slash ? (int)(slash - path) : 1, slash ? path : ".", beside[i]);
        if (!from) return BL_E_NOMEM;
        if (bl_exists(from)) st = copy_file(dir, from, beside[i], e);
        bl_free(from);
        if (st != BL_OK) return st;
    }
out:
    return st;
}
