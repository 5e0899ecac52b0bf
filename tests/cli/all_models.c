/* all_models.c - models of other architectures and odd files through whole studies. */
#include "study_fixture.h"
#include "checkpoint_build.h"

/* A Hugging Face directory of zeros with the study's tokenizer: 300 tokens, width 32; `head`: lm_head.weight too, whose
 * last value is 2. */
static void write_zeros(const study *s, const char *path, const field *config, size_t n, bool head)
{
    static const struct {
        const char *name;
        int64_t rows, cols;
    } rows[] = {
        {"input_layernorm", 0, 32},   {"self_attn.q_proj", 32, 32}, {"self_attn.k_proj", 16, 32},
        {"self_attn.v_proj", 16, 32}, {"self_attn.o_proj", 32, 32}, {"post_attention_layernorm", 0, 32},
        {"mlp.gate_proj", 48, 32},    {"mlp.up_proj", 48, 32},      {"mlp.down_proj", 32, 48},
    };
    bl_err e = {0};
    st_text t = {0};
    char name[128], from[4300], to[4300], *bytes;
    size_t size;
    assert_ok(bl_make_dirs(path, &e));
    st_add(&t, "model.embed_tokens.weight", 300, 32);
    for (int l = 0; l < 2; l++)
        for (size_t i = 0; i < BL_COUNT(rows); i++) {
            snprintf(name, sizeof name, "model.layers.%d.%s.weight", l, rows[i].name);
            st_add(&t, name, rows[i].rows, rows[i].cols);
        }
    st_add(&t, "model.norm.weight", 0, 32);
    if (head) st_add(&t, "lm_head.weight", 300, 32);
    st_write(&t, path, "model.safetensors");
    write_config(path, config, n);
    snprintf(from, sizeof from, "%s/model/tok.bin", s->dir);
    assert_ok(bl_read_file(from, 1 << 20, &bytes, &size, &e));
    test_write(path, "tokenizer.bin", bytes, size);
    bl_free(bytes);
    if (!head) return;
    snprintf(to, sizeof to, "%s/model.safetensors", path);
    assert_ok(bl_read_file(to, 1 << 24, &bytes, &size, &e));
    bytes[size - 1] = 0x40;
    test_write(path, "model.safetensors", bytes, size);
    bl_free(bytes);
}

static void what_is_odd_about_a_file_is_noted_beside_its_numbers(void **state)
{
    (void)state;
    study s = study_begin(4);
    char odd[4300];
    snprintf(odd, sizeof odd, "%s/odd", s.dir);
    static const field config[] = {
        {"model_type", "\"mistral\""}, {"architectures", NULL}, {"vocab_size", "300"}, {"sliding_window", "60"}};
    write_zeros(&s, odd, config, BL_COUNT(config), true);
    ran r = PROGRAM(&s, "run", "--model", odd, "--method", "base", "--task", "piqa", "--data", s.data, "--out", s.out);
    expect(&r, 0, "both are kept");
    ran_free(&r);
    r = PROGRAM(&s, "table", s.out);
    expect(&r, 0, NULL);
    if (!strstr(r.out, "the file holds another head: both are kept") ||
        !strstr(r.out, "sliding window: sequences longer than 60 tokens are refused"))
        fail_msg("%s", r.out);
    ran_free(&r);
    study_end(&s);
}

/* A context that the model could hold but its attention could not is refused, and not cut to the window. */
static void an_item_longer_than_the_window_fails_its_cell(void **state)
{
    (void)state;
    study s = study_begin(4);
    char odd[4300];
    snprintf(odd, sizeof odd, "%s/odd", s.dir);
    static const field config[] = {
        {"model_type", "\"mistral\""}, {"architectures", NULL}, {"vocab_size", "300"}, {"sliding_window", "16"}};
    write_zeros(&s, odd, config, BL_COUNT(config), false);
    ran r = PROGRAM(&s, "run", "--model", odd, "--method", "base", "--task", "piqa", "--data", s.data, "--out", s.out);
    expect(&r, 1, "is longer than the model's sliding window of 16");
    ran_free(&r);
    study_end(&s);
}

static void inspect_says_how_positions_are_turned(void **state)
{
    (void)state;
    static const struct {
        const char *scaling, *line;
    } rows[] = {
        {"null", "rotary theta 10000 (plain), eps 1e-05"},
        {"{\"type\":\"linear\",\"factor\":2}", "(linear, factor 2)"},
        {"{\"type\":\"dynamic\",\"factor\":2}", "(dynamic, factor 2, from 64 positions)"},
        {"{\"type\":\"yarn\",\"factor\":4,\"original_max_position_embeddings\":16}",
         "(yarn, factor 4, from 16 positions, attention factor 1.13863)"},
        {"{\"type\":\"llama3\",\"factor\":8,\"low_freq_factor\":1,\"high_freq_factor\":4,"
         "\"original_max_position_embeddings\":32}",
         "(llama3, factor 8, from 32 positions)"},
    };
    study s = study_begin(1);
    char odd[4300];
    snprintf(odd, sizeof odd, "%s/odd", s.dir);
    for (size_t i = 0; i < BL_COUNT(rows); i++) {
        const field config[] = {{"vocab_size", "300"}, {"rope_scaling", rows[i].scaling}};
        write_zeros(&s, odd, config, BL_COUNT(config), false);
        ran r = PROGRAM(&s, "inspect", odd);
        expect(&r, 0, NULL);
        if (!strstr(r.out, rows[i].line)) fail_msg("'%s' is not in: %s", rows[i].line, r.out);
        ran_free(&r);
    }
    study_end(&s);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(what_is_odd_about_a_file_is_noted_beside_its_numbers),
        cmocka_unit_test(an_item_longer_than_the_window_fails_its_cell),
        cmocka_unit_test(inspect_says_how_positions_are_turned),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
