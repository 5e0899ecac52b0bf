/* tokenizer_tokjson.c - any bytes as tokenizer.json: accepted or refused, and an accepted one encodes and decodes. */
#include "harness/tokenizer/tokenizer.h"
#include <stdlib.h>

static const char sample[] = "Hello  <s> a\xCC\x81 12'S \xFF\xE6\x97 \xE2\x96\x81\n\n<unk> \xF0\x9F\x98\x80";

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n)
{
    bl_tokenizer *t;
    bl_ids ids = {0};
    char *text = NULL;
    const bl_span span[] = {{sample, 10, true}, {sample + 10, sizeof sample - 11, false}};
    if (bl_tokenizer_parse(BL_TOK_JSON, data, n, "fuzz", &t, NULL) != BL_OK) return 0;
    bl_encode(t, sample, sizeof sample - 1, BL_ENCODE_BOS | BL_ENCODE_SPECIAL, &ids, NULL);
    bl_encode_spans(t, span, 2, BL_ENCODE_PLAIN, &ids, NULL);
    for (size_t i = 0; i < ids.n; i++) {
        size_t length;
        if (ids.id[i] < 0 || ids.id[i] >= bl_tokenizer_vocab(t)) abort();
        bl_token_bytes(t, ids.id[i], &length);
    }
    if (bl_decode(t, ids.id, ids.n, true, &text, NULL, NULL) != BL_OK) abort();
    bl_free(text);
    bl_ids_free(&ids);
    bl_tokenizer_close(t);
    return 0;
}
