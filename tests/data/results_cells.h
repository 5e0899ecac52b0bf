/* results_cells.h - invented cells for the tests of results and plots: smooth curves, the same every time. */
#ifndef BL_TESTS_DATA_RESULTS_CELLS_H
#define BL_TESTS_DATA_RESULTS_CELLS_H
#include "test.h"
#include "kernels/base/fs.h"
#include "results/cell.h"

#include <math.h>

enum { INVENTED_SAMPLES = 12, INVENTED_LAYERS = 3, INVENTED_TOKENS = 40 };
typedef struct invented {
    bl_cell cell;
    char key[256], method[64], group[16];
    bl_sample sample[INVENTED_SAMPLES];
    bl_layer_stat layer[INVENTED_LAYERS];
    bl_cell_metric metric[8];
    double score[INVENTED_SAMPLES][2], value[INVENTED_SAMPLES][2], kl[INVENTED_TOKENS], dp[INVENTED_TOKENS];
} invented;

/* wbits 0: base. The task says which metrics there are. */
static inline const bl_cell *invent(invented *v, const char *model, int wbits, int group, const char *task,
                                    int64_t seed)
{
    bl_cell *c = &v->cell;
    double lost = wbits ? pow(2.0, 4 - wbits) * 0.1 : 0;
    bool ppl = !strncmp(task, "wikitext2", 9) || !strncmp(task, "ptb", 3);

    memset(v, 0, sizeof *v);
    if (wbits) snprintf(v->method, sizeof v->method, "rtn:w%dg%d", wbits, group);
    else snprintf(v->method, sizeof v->method, "base");
    if (wbits) snprintf(v->group, sizeof v->group, "%d", group);
    snprintf(v->key, sizeof v->key, "%s/%s/%s/%lld", model, v->method, task, (long long)seed);
    for (int i = 0; i < INVENTED_SAMPLES; i++) {
        bl_sample *s = &v->sample[i];
        *s = (bl_sample){.id = i,
                         .pick = i % 2,
                         .gold = (i / 2) % 2,
                         .n_choices = 2,
                         .flags = i == 5 ? BL_SAMPLE_TIE | BL_SAMPLE_TRUNCATED : 0,
                         .tokens = 10 + i,
                         .score = v->score[i],
                         .n_scores = 2,
                         .value = v->value[i],
                         .n_values = 2};
        v->score[i][0] = s->pick == s->gold;
        v->score[i][1] = i % 3 != 0;
        v->value[i][0] = 30.1 + i / 7.0 + lost;
        v->value[i][1] = 0.1 + i * 1e-17 + lost;
    }
    for (int i = 0; i < INVENTED_LAYERS; i++)
        v->layer[i] = (bl_layer_stat){.name = i ? i > 1 ? "model.layers.0.mlp.up_proj"
                                                        : "model.layers.0.self_attn.k_proj"
                                                : "model.layers.0.self_attn.q_proj",
                                      .format = "int4 g64",
                                      .mse = 1e-4 * (i + 1),
                                      .nmse = 1e-2 * (i + 1),
                                      .out_nmse = -1,
                                      .damp = -1,
                                      .block_loss_first = -1,
                                      .block_loss = -1,
                                      .bits = wbits + 0.34,
                                      .seconds = 0.01};
    for (int i = 0; i < INVENTED_TOKENS; i++) {
        v->kl[i] = lost * exp(-i / 8.0);
        v->dp[i] = lost * sin(i);
    }
    *c = (bl_cell){
        .key = v->key,
        .hash = bl_hash_bytes(v->key, strlen(v->key)),
        .model = model,
        .model_path = "/models/invented",
        .stored_as = "BF16",
        .model_fingerprint = "0123456789abcdef",
        .method = v->method,
        .method_name = wbits ? "rtn" : "base",
        .method_options = wbits ? "{\"wbits\":4,\"group\":64}" : "{}",
        .method_version = 1,
        .wbits = wbits,
        .group = wbits ? group : 0,
        .group_text = v->group,
        .notes = wbits ? "lm_head and embeddings as stored" : "",
        .task = task,
        .task_options = "{}",
        .task_version = 1,
        .seed = seed,
        .limit = 0,
        .data_hash = "feedc0de",
        .tokenizer_hash = "beef",
        .bos = "none",
        .bits_per_weight = wbits ? wbits + (wbits > 1 ? 16.0 + wbits : 16.0) / group : 16,
        .bits_all = wbits ? wbits + 1 : 16,
        .packed_bytes = wbits ? 60000000 + 13000000LL * wbits : 269000000,
        .peak_bytes = 500000000,
        .device_peak_bytes = 400000000,
        .kv_bytes = 1 << 20,
        .bytes_read = 269000000,
        .seconds = 12.5,
        .quantize_seconds = wbits ? 1.5 : 0,
        .tokens_per_second = 900,
        .scored_tokens = 4096,
        .product_calls_8 = 12,
        .product_calls_64 = 5,
        .product_calls_more = 100,
        .metric = v->metric,
        .sample = v->sample,
        .n_samples = INVENTED_SAMPLES,
        .layer = v->layer,
        .n_layers = wbits ? INVENTED_LAYERS : 0,
        .kl = wbits ? v->kl : NULL,
        .dp = wbits ? v->dp : NULL,
        .n_kl = wbits ? INVENTED_TOKENS : 0,
        .kl_absent = wbits ? NULL : "this is the base",
        .device = "cpu",
        .numerics = "cpu-f32",
        .simd = "avx2 fma f16c",
        .libraries = "hdf5 "
                     "1.10",
        .commit = "unknown",
        .created = "2024-05-01T12:00:00Z",
        .host = "here",
        .threads = 2,
        .batch_tokens = 512,
    };
    bl_cell_metric *m = v->metric;
    if (ppl)
        *m++ = (bl_cell_metric){"perplexity", "1",   -1,   16.8 * exp(lost), 0.12 * exp(lost), true, 161,
                                true,         false, NULL, "windows"};
    else {
        *m++ = (bl_cell_metric){"acc", "1", 1, 0.5 + 0.182 * exp(-lost), 0.0108, true, 1838, true, true, NULL, "items"};
        *m++ = (bl_cell_metric){"acc_norm", "1",  1,      0.5 + 0.191 * exp(-lost), 0.0107, true, 1838, true,
                                true,       NULL, "items"};
    }
    if (wbits) {
        *m++ = (bl_cell_metric){"kl_mean",       "nat", -1,    lost / 3, lost / 30, true,
                                INVENTED_TOKENS, false, false, NULL,     "tokens"};
        *m++ = (bl_cell_metric){"kl_p50", "nat", -1, lost / 9, 0, false, INVENTED_TOKENS, false, false, NULL, "tokens"};
    }
    c->n_metrics = m - v->metric;
    return c;
}

static inline char *invented_path(const char *dir, const bl_cell *c)
{
    static char path[8192];
    char *file = bl_cell_file(c->key, c->hash, NULL);
    snprintf(path, sizeof path, "%s/%s.h5", dir, file);
    bl_free(file);
    return path;
}
#endif
