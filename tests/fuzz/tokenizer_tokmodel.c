/* tokenizer_tokmodel.c - any bytes as a binary tokenizer: GGUF when they begin so, else sentencepiece and llama2.c. */
#include "harness/tokenizer/tokenizer.h"
#include <stdlib.h>
#include <string.h>

static const char sample[] = "Hello  <s> a\xCC\x81 12'S \xFF\xE6\x97 \xE2\x96\x81\n\n<unk> \xF0\x9F\x98\x80 abcab";

static void use(bl_tok_kind kind, const uint8_t *data, size_t n)
{
    bl_tokenizer *t;
    bl_ids ids = {0};
    char *text = NULL;
    if (bl_tokenizer_parse(kind, data, n, "fuzz", &t, NULL) != BL_OK) return;
    bl_encode(t, sample, sizeof sample - 1, BL_ENCODE_PLAIN, &ids, NULL);
    bl_encode(t, sample, sizeof sample - 1, BL_ENCODE_BOS | BL_ENCODE_SPECIAL, &ids, NULL);
    for (size_t i = 0; i < ids.n; i++)
        if (ids.id[i] < 0 || ids.id[i] >= bl_tokenizer_vocab(t)) abort();
    if (bl_decode(t, ids.id, ids.n, true, &text, NULL, NULL) != BL_OK) abort();
    bl_free(text);
    bl_ids_free(&ids);
    bl_tokenizer_close(t);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n)
{
    if (n >= 4 && !memcmp(data, "GGUF", 4)) {
        use(BL_TOK_GGUF, data, n);
        return 0;
    }
    use(BL_TOK_SPM, data, n);
    use(BL_TOK_LLAMA2C, data, n);
    return 0;
}
