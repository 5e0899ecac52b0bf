/* Adapters in peft's files: what is read, what is written, and what is refused by name. The directory that is read
 * first is made by hand as peft 0.21 saves one. */
#include "golden_file.h"
#include "test.h"
#include "harness/checkpoint/arch.h"
#include "harness/checkpoint/peft.h"
#include "kernels/base/fs.h"
#include <math.h>

#define Q "base_model.model.model.layers.0.self_attn.q_proj."
#define CONFIG(more)                                                                                                   \
    "{\"alora_invocation_tokens\": null, \"alpha_pattern\": {}, \"auto_mapping\": null, "                              \
    "\"base_model_name_or_path\": \"tiny\", \"bias\": \"none\", \"exclude_modules\": null, "                           \
    "\"fan_in_fan_out\": false, \"inference_mode\": true, \"init_lora_weights\": true, "                               \
    "\"layer_replication\": null, \"loftq_config\": {}, \"lora_alpha\": 6, \"lora_bias\": false, "                     \
    "\"lora_dropout\": 0.05, \"megatron_core\": \"megatron.core\", \"modules_to_save\": null, "                        \
    "\"peft_type\": \"LORA\", \"peft_version\": \"0.21.2\", \"qalora_group_size\": 16, \"r\": 2, "                     \
    "\"rank_pattern\": {}, \"revision\": null, \"target_modules\": [\"v_proj\", \"q_proj\"], "                         \
    "\"task_type\": \"CAUSAL_LM\", \"use_dora\": false, \"use_rslora\": false" more "}"

static char dir[4096];

static void file(const char *name, const void *p, size_t n)
{
    bl_err e = {0};
    char *path = bl_join(dir, name, &e);
    assert_ok(bl_write_file(path, p, n, &e));
    bl_free(path);
}

static void tensors(const char *header, const void *bytes, size_t n)
{
    char all[4096];
    uint64_t h = strlen(header);
    memcpy(all, &h, 8);
    memcpy(all + 8, header, h);
    memcpy(all + 8 + h, bytes, n);
    file("adapter_model.safetensors", all, 8 + h + n);
}

static void config(const char *text) { file("adapter_config.json", text, strlen(text)); }

/* A [2, 3] in bf16: 1, -2, 0.5, 3, 0, -1; B [1, 2] in f32: 0.25, 8. */
static void good(void)
{
    uint8_t bytes[20];
    const uint16_t a[6] = {0x3f80, 0xc000, 0x3f00, 0x4040, 0, 0xbf80};
    const float b[2] = {0.25F, 8};
    memcpy(bytes, a, 12);
    memcpy(bytes + 12, b, 8);
    tensors("{\"" Q "lora_A.weight\":{\"dtype\":\"BF16\",\"shape\":[2,3],\"data_offsets\":[0,12]},"
            "\"" Q "lora_B.weight\":{\"dtype\":\"F32\",\"shape\":[1,2],\"data_offsets\":[12,20]}}",
            bytes, sizeof bytes);
    config(CONFIG(""));
}

static int begin(void **state)
{
    (void)state;
    snprintf(dir, sizeof dir, "%s", test_dir());
    return 0;
}

static int end(void **state)
{
    (void)state;
    return bl_remove_tree(dir, NULL) == BL_OK ? 0 : -1;
}

static void an_adapter_that_peft_saved_is_read(void **state)
{
    (void)state;
    bl_err e = {0};
    bl_peft *p;
    static const float a[6] = {1, -2, 0.5F, 3, 0, -1};
    good();
    assert_ok(bl_peft_read(dir, &p, &e));
    assert_int_equal(p->config.rank, 2);
    assert_true(p->config.alpha == 6 && p->config.dropout == 0.05);
    assert_false(p->config.rank_stabilized);
    assert_int_equal(p->config.targets, BL_ROLE_BIT(BL_ROLE_Q) | BL_ROLE_BIT(BL_ROLE_V));
    assert_int_equal(p->n, 2);
    const bl_peft_tensor *t = bl_peft_find(p, "model.layers.0.self_attn.q_proj.lora_A");
    assert_non_null(t);
    assert_int_equal(t->rows, 2);
    assert_int_equal(t->cols, 3);
    assert_memory_equal(t->value, a, sizeof a);
    t = bl_peft_find(p, "model.layers.0.self_attn.q_proj.lora_B");
    assert_true(t && t->rows == 1 && t->cols == 2 && t->value[0] == 0.25F && t->value[1] == 8);
    assert_null(bl_peft_find(p, "model.layers.0.self_attn.v_proj.lora_B"));
    bl_peft_free(p);
}

/* As peft 0.21 saves DoRA: the vector of lengths has no suffix. */
static void lengths_of_rows_are_read_beside_an_adapter(void **state)
{
    (void)state;
    bl_err e = {0};
    bl_peft *p;
    const float bytes[6] = {1, 2, 3, 4, 0.5F, 7};
    tensors("{\"" Q "lora_A.weight\":{\"dtype\":\"F32\",\"shape\":[2,1],\"data_offsets\":[0,8]},"
            "\"" Q "lora_B.weight\":{\"dtype\":\"F32\",\"shape\":[1,2],\"data_offsets\":[8,16]},"
            "\"" Q "lora_magnitude_vector\":{\"dtype\":\"F32\",\"shape\":[2],\"data_offsets\":[16,24]}}",
            bytes, sizeof bytes);
    config(
        "{\"peft_type\": \"LORA\", \"r\": 2, \"lora_alpha\": 6, \"target_modules\": [\"q_proj\"], \"use_dora\": true}");
    assert_ok(bl_peft_read(dir, &p, &e));
    assert_true(p->config.dora);
    const bl_peft_tensor *t = bl_peft_find(p, "model.layers.0.self_attn.q_proj.lora_magnitude_vector");
    assert_true(t && t->rows == 1 && t->cols == 2 && t->value[0] == 0.5F && t->value[1] == 7);
    bl_peft_free(p);
}

static void what_is_not_plain_lora_is_refused_by_name(void **state)
{
    (void)state;
    static const struct {
        const char *config, *names;
    } rows[] = {
        {CONFIG(", \"new_thing\": 3"), "'new_thing'"},
        {CONFIG(", \"layers_to_transform\": [1]"), "'layers_to_transform'"},
        {"{\"peft_type\": \"LORA\", \"r\": 2, \"lora_alpha\": 6, \"target_modules\": [\"q_proj\"], "
         "\"rank_pattern\": {\"q_proj\": 4}}",
         "'rank_pattern'"},
        {"{\"peft_type\": \"LORA\", \"r\": 2, \"lora_alpha\": 6, \"target_modules\": [\"q_proj\"], \"bias\": \"all\"}",
         "bias is 'all'"},
        {"{\"peft_type\": \"LORA\", \"r\": 2, \"lora_alpha\": 6, \"target_modules\": [\"q_proj\"], "
         "\"init_lora_weights\": \"pissa\"}",
         "init_lora_weights is 'pissa'"},
        {"{\"peft_type\": \"VERA\", \"r\": 2, \"lora_alpha\": 6, \"target_modules\": [\"q_proj\"]}", "'VERA'"},
        {"{\"peft_type\": \"LORA\", \"r\": 2, \"lora_alpha\": 6, \"target_modules\": [\"c_attn\"]}", "'c_attn'"},
        {"{\"peft_type\": \"LORA\", \"r\": 2, \"lora_alpha\": 6, \"target_modules\": \"all-linear\"}",
         "target_modules"},
        {"{\"peft_type\": \"LORA\", \"r\": 0, \"lora_alpha\": 6, \"target_modules\": [\"q_proj\"]}", "r is 0"},
        {"{\"peft_type\": \"LORA\", \"lora_alpha\": 6, \"target_modules\": [\"q_proj\"]}", "'r' is missing"},
    };
    good();
    for (size_t i = 0; i < BL_COUNT(rows); i++) {
        bl_err e = {0};
        bl_peft *p;
        config(rows[i].config);
        assert_int_not_equal(bl_peft_read(dir, &p, &e), BL_OK);
        if (!strstr(e.text, rows[i].names) || !strstr(e.text, "adapter_config.json"))
            fail_msg("expected %s in: %s", rows[i].names, e.text);
    }
}

static void tensors_of_something_else_are_refused_by_name(void **state) /* R94 */
{
    (void)state;
    static const struct {
        const char *header, *says;
    } rows[] = {
        {"{\"lm_head.weight\":{\"dtype\":\"F32\",\"shape\":[1,2],\"data_offsets\":[0,8]}}", "'lm_head.weight'"},
        {"{\"" Q "lora_A.weight\":{\"dtype\":\"I64\",\"shape\":[1,1],\"data_offsets\":[0,8]}}", "is I64"},
        {"{\"" Q "lora_A.weight\":{\"dtype\":\"F32\",\"shape\":[2],\"data_offsets\":[0,8]}}", "1 dimensions"},
        {"{\"" Q "lora_A.weight\":{\"dtype\":\"F32\",\"shape\":[1,2],\"data_offsets\":[0,8]}}", "not finite"},
    };
    const float bytes[2] = {1, NAN};
    config(CONFIG(""));
    for (size_t i = 0; i < BL_COUNT(rows); i++) {
        bl_err e = {0};
        bl_peft *p;
        tensors(rows[i].header, bytes, sizeof bytes);
        assert_int_not_equal(bl_peft_read(dir, &p, &e), BL_OK);
        if (!strstr(e.text, rows[i].says)) fail_msg("expected %s in: %s", rows[i].says, e.text);
    }
}

static void what_is_written_has_the_names_of_peft_and_is_read_again(void **state)
{
    (void)state;
    enum { ROWS = 3, COLS = 700000 }; /* more than one piece of a download */
    bl_err e = {0};
    bl_backend *be;
    bl_buffer *buf;
    bl_peft *p;
    golden g;
    bl_text c = {0}, w = {0};
    float *x = malloc(ROWS * COLS * sizeof *x);
    assert_ok(bl_backend_open(&(bl_backend_opts){.device = "cpu", .threads = 1}, &be, &e));
    assert_ok(be->ops->buffer_new(be, ROWS * COLS * sizeof *x, &buf, &e));
    bl_tensor t = bl_tensor_2d(buf, 0, BL_F32, ROWS, COLS);
    for (int i = 0; i < ROWS * COLS; i++) x[i] = (float)i / 3;
    assert_ok(be->ops->upload(be, &t, x, &e));
    assert_ok(bl_peft_config_text(&(bl_peft_config){.rank = 3,
                                                    .alpha = 0.1,
                                                    .dropout = 0.25,
                                                    .rank_stabilized = true,
                                                    .targets = BL_ROLE_BIT(BL_ROLE_DOWN),
                                                    .base = "tiny"},
                                  &c, &e));
    assert_ok(
        bl_peft_weights(&(bl_peft_source){.name = "model.layers.11.mlp.down_proj.lora_A", .value = &t}, 1, &w, &e));
    config(c.s);
    file("adapter_model.safetensors", w.s, w.n);
    char *path = bl_join(dir, "adapter_model.safetensors", &e);
    golden_open(&g, path);
    assert_memory_equal(
        golden_need(&g, "base_model.model.model.layers.11.mlp.down_proj.lora_A.weight", "F32", ROWS * COLS), x,
        ROWS * COLS * sizeof *x);
    golden_close(&g);
    assert_ok(bl_peft_read(dir, &p, &e));
    assert_true(p->config.rank == 3 && p->config.alpha == 0.1 && p->config.dropout == 0.25 &&
                p->config.rank_stabilized);
    assert_int_equal(p->config.targets, BL_ROLE_BIT(BL_ROLE_DOWN));
    assert_int_equal(p->n, 1);
    assert_string_equal(p->tensor[0].name, "model.layers.11.mlp.down_proj.lora_A");
    assert_memory_equal(p->tensor[0].value, x, ROWS * COLS * sizeof *x);
    bl_peft_free(p);
    bl_free(path);
    bl_text_free(&c);
    bl_text_free(&w);
    be->ops->buffer_free(buf);
    bl_backend_close(be);
    free(x);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(an_adapter_that_peft_saved_is_read, begin, end),
        cmocka_unit_test_setup_teardown(lengths_of_rows_are_read_beside_an_adapter, begin, end),
        cmocka_unit_test_setup_teardown(what_is_not_plain_lora_is_refused_by_name, begin, end),
        cmocka_unit_test_setup_teardown(tensors_of_something_else_are_refused_by_name, begin, end),
        cmocka_unit_test_setup_teardown(what_is_written_has_the_names_of_peft_and_is_read_again, begin, end),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
