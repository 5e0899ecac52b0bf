/* checkpoint_packed.c - packed directories whose configuration is not read, or whose tensors contradict it (R48). */
#include "test.h"
#include "own_dir.h"
#include "checkpoint_build.h"
#include "harness/checkpoint/checkpoint.h"

/* A recorded directory with the first `from` of one of its files replaced by `to`, which is as long in
 * model.safetensors.
 */
static bl_status open_changed(const char *name, const char *file, const char *from, const char *to, bl_err *e)
{
    static const char *const files[] = {"config.json", "model.safetensors"};
    bl_checkpoint *c = NULL;
    for (size_t i = 0; i < BL_COUNT(files); i++) {
        char path[512], *text = NULL;
        size_t n;
        bl_text t = {0};
        snprintf(path, sizeof path, "%s/tests/data/packed/%s/%s", BL_SOURCE_DIR, name, files[i]);
        if (bl_read_file(path, 1 << 20, &text, &n, e) != BL_OK) fail_msg("%s", e->text);
        if (!strcmp(files[i], file)) {
            char *at = memmem(text, n, from, strlen(from));
            if (!at) fail_msg("%s has no '%s'", path, from);
            bl_text_addn(&t, text, (size_t)(at - text));
            bl_text_add(&t, to);
            bl_text_addn(&t, at + strlen(from), n - (size_t)(at - text) - strlen(from));
        } else {
            bl_text_addn(&t, text, n);
        }
        test_write(dir, files[i], t.s, t.n);
        bl_text_free(&t);
        bl_free(text);
    }
    bl_status st = bl_checkpoint_open(dir, NULL, &c, e);
    bl_checkpoint_close(c);
    return st;
}

static const struct {
    const char *dir, *from, *to, *phrase;
} configs[] = {
    {"gptq-w4g16", "\"bits\": 4", "\"bits\": 5", "'bits' of the quantization_config is 5, expected 2, 3, 4 or 8"},
    {"gptq-w4g16", "\"bits\": 4", "\"bits\": 0", "'bits' of the quantization_config is 0, expected 1 to 8"},
    {"gptq-w4g16", "\"bits\": 4", "\"bits\": 8", "qweight' is I32 [4, 32], expected I32 [8, 32]"},
    {"gptq-w4g16", "\"group_size\": 16", "\"group_size\": 32", "qzeros' is I32 [2, 4], expected I32 [1, 4]"},
    {"gptq-w4g16", "\"group_size\": 16", "\"group_size\": 0", "'group_size' of the quantization_config is 0"},
    {"gptq-w4g16", "\"sym\": false", "\"sym\": true", "expected 8 in a symmetric checkpoint"},
    {"gptq-w4g16", "\"format\": \"gptq\"", "\"format\": \"gptq_v2\"", "checkpoint_format 'gptq' and format 'gptq_v2'"},
    {"gptq-w8pc", "\"pack_dtype\": \"int32\"", "\"pack_dtype\": \"int64\"", "'pack_dtype' of the quantization_config"},
    {"gptq-w8pc", "\"lm_head\": false", "\"rotation\": \"hadamard\"",
     "'rotation' of the quantization_config is \"hadamard\""},
    {"gptq-w8pc", "\"lm_head\": false", "\"planes\": 2", "key 'planes' of the quantization_config is not known"},
    {"awq-w4g16", "\"version\": \"gemm\"", "\"version\": \"gemv\"", "of version 'gemv' is not read; gemm is"},
    {"awq-w4g16", "\"bits\": 4", "\"bits\": 3", "'bits' of the quantization_config is 3, expected 4"},
    {"awq-w4g16", "\"zero_point\": true", "\"zero_point\": false", "expected 8 in a symmetric checkpoint"},
    {"ct-w3g16", "\"format\": \"pack-quantized\",\n  \"global", "\"format\": \"float-quantized\",\n  \"global",
     "is \"float-quantized\", expected pack-quantized"},
    {"ct-w3g16", "\"type\": \"int\"", "\"type\": \"float\"", "'type' of the quantization_config is \"float\""},
    {"ct-w3g16", "\"input_activations\": null", "\"input_activations\": {\"num_bits\": 8}", "'input_activations'"},
    {"ct-w3g16", "\"strategy\": \"group\"", "\"strategy\": \"block\"", "expected group or channel"},
    {"ct-w3g16", "\"symmetric\": false", "\"symmetric\": true", "weight_zero_point' is not part of a llama"},
    {"ct-w4g16-sym", "\"symmetric\": true", "\"symmetric\": false", "weight_zero_point' is missing"},
};

static void a_configuration_that_is_not_read_or_not_true_is_refused(void **state)
{
    (void)state;
    for (size_t i = 0; i < BL_COUNT(configs); i++) {
        bl_err e = {0};
        assert_refused(open_changed(configs[i].dir, "config.json", configs[i].from, configs[i].to, &e), BL_E_FORMAT,
                       configs[i].phrase);
    }
}

static const struct {
    const char *dir, *from, *to, *phrase;
} tensors[] = {
    {"gptq-w4g16", "q_proj.scales", "q_proj.scalez", "q_proj.scales' is missing"},
    {"gptq-w4g16", "q_proj.qzeros", "q_proj.qzeroz", "q_proj.qzeros' is missing"},
    {"gptq-w4g16", "q_proj.qweight", "q_proj.qweighs", "q_proj.weight' is missing"},
    {"gptq-w8pc", "q_proj.g_idx", "q_proj.g_idy", "is not part of a llama"},
    {"awq-w4g16", "q_proj.qzeros", "q_proj.qzeroz", "q_proj.qzeros' is missing"},
    {"ct-w8pc", "q_proj.weight_shape", "q_proj.weight_shaqe", "q_proj.weight_shape' is missing"},
    {"ct-w3g16", "q_proj.weight_scale", "q_proj.weight_scald", "q_proj.weight_scale' is missing"},
    {"ct-w3g16", "\"dtype\":\"F16\"", "\"dtype\":\"I16\"", "weight_scale' is I16"},
};

static void tensors_that_are_missing_or_too_many_are_refused(void **state)
{
    (void)state;
    for (size_t i = 0; i < BL_COUNT(tensors); i++) {
        bl_err e = {0};
        assert_refused(open_changed(tensors[i].dir, "model.safetensors", tensors[i].from, tensors[i].to, &e),
                       BL_E_FORMAT, tensors[i].phrase);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_configuration_that_is_not_read_or_not_true_is_refused),
        cmocka_unit_test(tensors_that_are_missing_or_too_many_are_refused),
    };
    return cmocka_run_group_tests(tests, begin, end);
}
