/* PB-LLM against its authors' code: which weights are salient, means and scales, values. */
#include "golden_layer.h"
#include "methods/pb_llm.h"

static bl_err e;
static const struct {
    const char *name, *layer;
    double low; /* share that is binarized */
    int64_t group;
    bool magnitude;
} cases[] = {
    {"outlier.f90_hessian", "outlier", 0.9, 192, false},    {"outlier.f90_magnitude", "outlier", 0.9, 192, true},
    {"outlier.f95_hessian", "outlier", 0.95, 192, false},   {"down.f90_hessian", "down", 0.9, 384, false},
    {"down.f90_magnitude", "down", 0.9, 384, true},         {"down.f95_hessian", "down", 0.95, 384, false},
    {"down.f50_hessian", "down", 0.5, 384, false},          {"down.f90_hessian_g128", "down", 0.9, 128, false},
    {"smol_k.f90_hessian", "smol_k", 0.9, 576, false},      {"smol_k.f95_hessian", "smol_k", 0.95, 576, false},
    {"smol_k.f90_hessian_g192", "smol_k", 0.9, 192, false}, {"q.f0_gptq8", "q", 0, 128, false},
};

static int64_t apart(const float *got, const float *want, int64_t n, float relative, float absolute)
{
    int64_t count = 0;
    for (int64_t i = 0; i < n; i++) count += fabsf(got[i] - want[i]) > relative * fabsf(want[i]) + absolute;
    return count;
}

static void compare(const golden *g, size_t c, golden_layer *l)
{
    const char *name = cases[c].name;
    int64_t out = l->k.out, in = l->k.in, groups = in / cases[c].group, off = 0;
    const uint8_t *low = golden_part(g, name, "mask_low", "U8", out * in);
    const float *want = golden_part(g, name, "dequant", "F32", out * in),
                *low_mean = golden_part(g, name, "low_mean", "F32", groups * out),
                *low_scale = golden_part(g, name, "low_scale", "F32", groups * out),
                *step = golden_part(g, name, "high_scale", "F32", out),
                *zero = golden_part(g, name, "high_zero", "F32", out);
    uint8_t *salient = malloc((size_t)(out * in));
    float *scale = malloc((size_t)(out * (groups + 1)) * sizeof *scale),
          *mean = malloc((size_t)(out * (groups + 1)) * sizeof *mean);
    bl_pb how = {.share = 1 - cases[c].low,
                 .group = cases[c].group,
                 .magnitude = cases[c].magnitude,
                 .diluted = true,
                 .scale = BL_F32};
    assert_ok(bl_pb_round(&l->m.run, &l->k, &how, salient, scale, mean, &e));
    int64_t count = 0;
    for (int64_t i = 0; i < out * in; i++) {
        if (salient[i] == low[i]) fail_msg("%s: weight %lld is not of its part", name, (long long)i);
        count += salient[i];
    }
    assert_true(count <= bl_pb_salient(&how, out, in) && count + out >= bl_pb_salient(&how, out, in));
    for (int64_t r = 0; r < out; r++) {
        const float *s = scale + r * (groups + 1), *m = mean + r * (groups + 1);
        for (int64_t i = 0; i < groups; i++) {
            off += apart(&m[i], &low_mean[i * out + r], 1, 1e-4f, 1e-6f);
            off += apart(&s[i], &low_scale[i * out + r], 1, 1e-4f, 1e-6f);
        }
        off += apart(&s[groups], &step[r], 1, 1e-4f, 1e-6f) + (m[groups] != zero[r]);
    }
    if (off) fail_msg("%s: %lld means and scales differ", name, (long long)off);
    off = apart(l->k.w, want, out * in, 0, 1e-4f * l->largest);
    double got_error = golden_output_error(l, l->k.w), error = golden_output_error(l, want);
    if (off * 1000 > out * in || fabs(got_error - error) > 1e-4 * error)
        fail_msg("%s: %lld of %lld values differ, output error %g, wanted %g", name, (long long)off,
                 (long long)(out * in), got_error, error);
    free(salient);
    free(scale);
    free(mean);
}

static const char *layer_of(size_t c) { return cases[c].layer; }

static void masks_and_values_are_those_of_the_authors(void **state)
{
    (void)state;
    golden_each_layer("ptq/pbllm.safetensors", layer_of, BL_COUNT(cases), compare);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(masks_and_values_are_those_of_the_authors)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
