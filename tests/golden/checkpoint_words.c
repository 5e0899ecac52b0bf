/* checkpoint_words.c - words of 32 bits as GPTQModel 7.7.0, AutoAWQ and compressed-tensors 0.20.0 were seen to write
 * them, where the recorded directories (checkpoint_packed.c) have none of the kind: zero points of 0, rows that do not
 * end with a word, an order of groups, scales in bf16. */
#include "test.h"
#include "checkpoint_build.h"
#include "harness/checkpoint/export.h"

enum { DIM = 40 };
static char dir[4096];

static int begin(void **state)
{
    (void)state;
    strcpy(dir, test_dir());
    setenv("XDG_CACHE_HOME", dir, 1);
    return 0;
}

static int end(void **state)
{
    bl_err e = {0};
    (void)state;
    return bl_remove_tree(dir, &e);
}

static const char *at(const char *name)
{
    static char ring[4][4400];
    static unsigned i;
    char *p = ring[i++ % 4];
    snprintf(p, sizeof ring[0], "%s/%s", dir, name);
    return p;
}

/* What is in a tensor of `model`/model.safetensors; freed by the caller. */
static uint8_t *tensor_of(const char *model, const char *name, const char *dtype, size_t *bytes)
{
    bl_err e = {0};
    bl_map m;
    bl_safetensors *s;
    char path[4500];
    snprintf(path, sizeof path, "%s/model.safetensors", model);
    assert_ok(bl_map_open(path, &m, &e));
    assert_ok(bl_safetensors_parse(m.data, m.size, path, &s, &e));
    const bl_st_tensor *t = bl_safetensors_find(s, name);
    if (!t) fail_msg("%s: no tensor '%s'", path, name);
    assert_string_equal(t->dtype_name, dtype);
    uint8_t *copy = malloc(t->bytes);
    memcpy(copy, m.data + t->offset, t->bytes);
    *bytes = t->bytes;
    bl_safetensors_close(s);
    bl_map_close(&m);
    return copy;
}

static void write_again(const char *from, const bl_export_how *how, const char *to)
{
    bl_err e = {0};
    bl_checkpoint *c = NULL;
    assert_ok(bl_checkpoint_open(from, NULL, &c, &e));
    assert_ok(bl_export(c, how, to, &e));
    bl_checkpoint_close(c);
}

/* ---- zero points of GPTQ ---- */
#define Q "model.layers.0.self_attn.q_proj."

/* A recorded directory whose first zero points of q_proj are those words. */
static void with_zeros(const char *recorded, const uint32_t *word, size_t n, const char *name)
{
    bl_err e = {0};
    char from[512], *text;
    size_t size;
    bl_safetensors *s;
    snprintf(from, sizeof from, "%s/tests/data/packed/%s/config.json", BL_SOURCE_DIR, recorded);
    assert_ok(bl_read_file(from, 1 << 20, &text, &size, &e));
    assert_ok(bl_make_dirs(at(name), &e));
    test_write(at(name), "config.json", text, size);
    bl_free(text);
    snprintf(from, sizeof from, "%s/tests/data/packed/%s/model.safetensors", BL_SOURCE_DIR, recorded);
    assert_ok(bl_read_file(from, 1 << 20, &text, &size, &e));
    assert_ok(bl_safetensors_parse((uint8_t *)text, size, from, &s, &e));
    memcpy(text + bl_safetensors_find(s, Q "qzeros")->offset, word, 4 * n);
    bl_safetensors_close(s);
    test_write(at(name), "model.safetensors", text, size);
    bl_free(text);
}

static void a_zero_of_0_borrows_from_the_next_field_of_its_word(void **state)
{
    /* 4 bits: as seen in a file of either format. 2 and 8 bits: 1 is taken from the word, not from its fields. 3 bits:
     * from each field (7 0 7 0 ... is 0 1 0 1 ...). */
    static const struct {
        const char *recorded;
        bl_packing_kind is, other;
        int n;
        uint32_t first[3], second[3];
    } rows[] = {
        {"gptq-w4g16", BL_PACKED_GPTQ, BL_PACKED_GPTQ_V2, 1, {0x7766f669}, {0x8878077a}},
        {"gptq-w8pc", BL_PACKED_GPTQ, BL_PACKED_GPTQ_V2, 1, {0x7ffdffff}, {0x80ff0100}},
        {"gptq_v2-w2g16-ordered", BL_PACKED_GPTQ_V2, BL_PACKED_GPTQ, 1, {0xe4e4e4e4}, {0x8f8f8f8f}},
        {"gptq-w3g32",
         BL_PACKED_GPTQ,
         BL_PACKED_GPTQ_V2,
         3,
         {0xc71c71c7, 0x71c71c71, 0x1c71c71c},
         {0x08208208, 0x82082082, 0x20820820}},
    };
    (void)state;
    for (size_t i = 0; i < BL_COUNT(rows); i++) {
        char name[3][32];
        for (int k = 0; k < 3; k++) snprintf(name[k], sizeof name[k], "zeros-%zu-%d", i, k);
        with_zeros(rows[i].recorded, rows[i].first, (size_t)rows[i].n, name[0]);
        write_again(at(name[0]), &(bl_export_how){.kind = rows[i].other}, at(name[1]));
        write_again(at(name[1]), &(bl_export_how){.kind = rows[i].is}, at(name[2]));
        for (int k = 1; k < 3; k++) {
            size_t n;
            uint8_t *got = tensor_of(at(name[k]), Q "qzeros", "I32", &n);
            const uint32_t *want = k == 1 ? rows[i].second : rows[i].first;
            for (int j = 0; j < rows[i].n; j++) {
                uint32_t word;
                memcpy(&word, got + 4 * j, 4);
                if (word != want[j]) fail_msg("%s, word %d: %08x, wanted %08x", rows[i].recorded, j, word, want[j]);
            }
            free(got);
        }
    }
}

/* ---- a LLaMA of one block, all its linears [DIM, DIM] and alike ---- */
typedef struct part {
    const char *name, *dtype;
    int64_t d0, d1;
    const void *data;
} part;

static size_t part_bytes(const part *p)
{
    size_t one = strchr(p->dtype, '6') && strcmp(p->dtype, "I64") ? 2 : strcmp(p->dtype, "I64") ? 4 : 8;
    return one * (size_t)p->d0 * (size_t)(p->d1 ? p->d1 : 1);
}

static void add(bl_text *header, bl_text *data, const char *module, const part *p)
{
    bl_text_addf(header, "%s\"%s%s\":{\"dtype\":\"%s\",\"shape\":[%d", header->n > 1 ? "," : "", module, p->name,
                 p->dtype, (int)p->d0);
    if (p->d1) bl_text_addf(header, ",%d", (int)p->d1);
    bl_text_addf(header, "],\"data_offsets\":[%zu,%zu]}", data->n, data->n + part_bytes(p));
    bl_text_addn(data, p->data, part_bytes(p));
}

static void model(const char *name, const char *quantization, const part *linear)
{
    const field change[] = {{"hidden_size", "40"},      {"intermediate_size", "40"},
                            {"num_hidden_layers", "1"}, {"num_key_value_heads", "4"},
                            {"vocab_size", "8"},        {"quantization_config", quantization}};
    static const char *const modules[] = {"self_attn.q_proj", "self_attn.k_proj", "self_attn.v_proj",
                                          "self_attn.o_proj", "mlp.gate_proj",    "mlp.up_proj",
                                          "mlp.down_proj"},
                             *const norms[] = {"model.layers.0.input_layernorm.",
                                               "model.layers.0.post_attention_layernorm.", "model.norm."};
    bl_err e = {0};
    bl_text header = {0}, data = {0}, all = {0};
    float ones[8 * DIM];
    for (int i = 0; i < 8 * DIM; i++) ones[i] = 1;
    bl_text_add(&header, "{");
    for (size_t i = 0; i < BL_COUNT(modules); i++) {
        char module[64];
        snprintf(module, sizeof module, "model.layers.0.%s.", modules[i]);
        for (const part *p = linear; p->name; p++) add(&header, &data, module, p);
    }
    add(&header, &data, "model.embed_tokens.", &(part){"weight", "F32", 8, DIM, ones});
    for (size_t i = 0; i < BL_COUNT(norms); i++) add(&header, &data, norms[i], &(part){"weight", "F32", DIM, 0, ones});
    bl_text_add(&header, "}");
    put64(&all, header.n);
    bl_text_addn(&all, header.s, header.n);
    bl_text_addn(&all, data.s, data.n);
    assert_ok(bl_make_dirs(at(name), &e));
    write_config(at(name), change, BL_COUNT(change));
    test_write(at(name), "model.safetensors", all.s, all.n);
    bl_text_free(&header);
    bl_text_free(&data);
    bl_text_free(&all);
}

/* Its weight of the down projection, and that its parts are the same bytes when it is written again. */
static float *weight_and_back(const char *name, bl_packing_kind kind, const part *linear)
{
    char from[4400], dense[64], back[64], path[96];
    size_t n;
    snprintf(from, sizeof from, "%s", at(name));
    snprintf(dense, sizeof dense, "%s-dense", name);
    snprintf(back, sizeof back, "%s-back", name);
    if (kind != BL_PACKED_NOT) {
        write_again(from, &(bl_export_how){.kind = kind}, at(back));
        for (const part *p = linear; p->name; p++) {
            snprintf(path, sizeof path, "model.layers.0.mlp.down_proj.%s", p->name);
            uint8_t *got = tensor_of(at(back), path, p->dtype, &n);
            assert_int_equal(n, part_bytes(p));
            if (memcmp(got, p->data, n)) fail_msg("%s: '%s' differs", name, p->name);
            free(got);
        }
    }
    write_again(from, &(bl_export_how){.type = BL_F32}, at(dense));
    uint8_t *w = tensor_of(at(dense), "model.layers.0.mlp.down_proj.weight", "F32", &n);
    assert_int_equal(n, DIM * DIM * 4);
    return (float *)(void *)w;
}

/* n values i mod 2^b, b bits each, one after the other from the lowest bit of the first word, whose words are `step`
 * apart. */
static void stream(uint32_t *words, int step, int n, int b)
{
    for (int bit = 0; bit < n * b; bit++)
        words[bit / 32 * step] |= (uint32_t)(bit / b % (1 << b) >> bit % b & 1) << bit % 32;
}

static void compressed_tensors_are_one_stream_at_every_width(void **state)
{
    (void)state;
    for (int b = 2; b <= 8; b++) {
        enum { MOST = DIM * 8 / 32 };
        const int words = (DIM * b + 31) / 32;
        uint32_t packed[DIM * MOST] = {0}, zeros[MOST] = {0};
        const int64_t shape[2] = {DIM, DIM};
        float scale[DIM];
        char name[32], config[512];
        for (int r = 0; r < DIM; r++) {
            stream(packed + r * words, 1, DIM, b);
            scale[r] = 0.5f;
        }
        stream(zeros, 1, DIM, b);
        if (b == 3) { /* -4 .. 3 five times, as its pack_to_int32 writes them */
            static const uint32_t seen[4] = {0x88fac688, 0xc688fac6, 0xfac688fa, 0x00fac688};
            assert_memory_equal(packed, seen, sizeof seen);
        }
        const part linear[] = {{"weight_packed", "I32", DIM, words, packed},
                               {"weight_scale", "F32", DIM, 1, scale},
                               {"weight_zero_point", "I32", words, 1, zeros},
                               {"weight_shape", "I64", 2, 0, shape},
                               {0}};
        snprintf(name, sizeof name, "stream%d", b);
        snprintf(
            config, sizeof config,
            "{\"quant_method\":\"compressed-tensors\",\"format\":\"pack-quantized\",\"config_groups\":{\"group_0\":"
            "{\"targets\":[\"Linear\"],\"weights\":{\"num_bits\":%d,\"type\":\"int\",\"symmetric\":false,"
            "\"strategy\":\"channel\",\"dynamic\":false}}},\"ignore\":[\"lm_head\"]}",
            b);
        model(name, config, linear);
        float *w = weight_and_back(name, BL_PACKED_CT, linear);
        for (int r = 0; r < DIM; r++)
            for (int k = 0; k < DIM; k++)
                if (w[r * DIM + k] != 0.5f * (float)(k % (1 << b) - r % (1 << b)))
                    fail_msg("%d bits, row %d, column %d: %g", b, r, k, (double)w[r * DIM + k]);
        free(w);
    }
}

/* An order of groups of its own: column k is of group k mod 2. */
static void compressed_tensors_may_have_an_order_of_groups(void **state)
{
    enum { WORDS = DIM * 4 / 32 };
    uint32_t packed[DIM * WORDS] = {0};
    int32_t order[DIM];
    float scale[DIM * 2];
    const int64_t shape[2] = {DIM, DIM};
    (void)state;
    for (int r = 0; r < DIM; r++) {
        stream(packed + r * WORDS, 1, DIM, 4);
        scale[2 * r] = 1;
        scale[2 * r + 1] = 0.25f;
        order[r] = r % 2;
    }
    const part linear[] = {{"weight_packed", "I32", DIM, WORDS, packed},
                           {"weight_scale", "F32", DIM, 2, scale},
                           {"weight_g_idx", "I32", DIM, 0, order},
                           {"weight_shape", "I64", 2, 0, shape},
                           {0}};
    model("order",
          "{\"quant_method\":\"compressed-tensors\",\"format\":\"pack-quantized\",\"config_groups\":{\"group_0\":"
          "{\"targets\":[\"Linear\"],\"weights\":{\"num_bits\":4,\"type\":\"int\",\"symmetric\":true,\"actorder\":"
          "\"group\",\"strategy\":\"group\",\"group_size\":20,\"dynamic\":false}}},\"ignore\":[\"lm_head\"]}",
          linear);
    float *w = weight_and_back("order", BL_PACKED_NOT, linear);
    for (int r = 0; r < DIM; r++)
        for (int k = 0; k < DIM; k++)
            if (w[r * DIM + k] != (k % 2 ? 0.25f : 1) * (float)(k % 16 - 8))
                fail_msg("row %d, column %d: %g", r, k, (double)w[r * DIM + k]);
    free(w);
}

/* Output k of eight is in nibble 0 4 1 5 2 6 3 7 of its word, in codes and in zero points, which are as they are. */
static void awq_may_have_scales_in_bf16(void **state)
{
    uint32_t codes[DIM * DIM / 8], zeros[DIM / 8];
    uint16_t scale[DIM];
    (void)state;
    for (int i = 0; i < DIM * DIM / 8; i++) codes[i] = 0x75316420;     /* code of output k: k mod 8 */
    for (int i = 0; i < DIM / 8; i++) zeros[i] = 0x00100000;           /* 1 of output 3, else 0 */
    for (int r = 0; r < DIM; r++) scale[r] = r == 5 ? 0x3f81 : 0x3f80; /* 1 + 2^-7 and 1 */
    const part linear[] = {{"qweight", "I32", DIM, DIM / 8, codes},
                           {"qzeros", "I32", 1, DIM / 8, zeros},
                           {"scales", "BF16", 1, DIM, scale},
                           {0}};
    model("awq", "{\"quant_method\":\"awq\",\"version\":\"gemm\",\"bits\":4,\"group_size\":-1,\"zero_point\":true}",
          linear);
    float *w = weight_and_back("awq", BL_PACKED_AWQ, linear);
    for (int r = 0; r < DIM; r++)
        for (int k = 0; k < DIM; k++)
            if (w[r * DIM + k] != (r == 5 ? 1 + 0x1p-7f : 1) * (float)(r % 8 - (r % 8 == 3)))
                fail_msg("row %d, column %d: %g", r, k, (double)w[r * DIM + k]);
    free(w);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_zero_of_0_borrows_from_the_next_field_of_its_word),
        cmocka_unit_test(compressed_tensors_are_one_stream_at_every_width),
        cmocka_unit_test(compressed_tensors_may_have_an_order_of_groups),
        cmocka_unit_test(awq_may_have_scales_in_bf16),
    };
    return cmocka_run_group_tests(tests, begin, end);
}
