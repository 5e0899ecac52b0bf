/* BiLLM against its authors' code: groups of all weights, thresholds, means and scales, values. */
#include "golden_layer.h"
#include "methods/billm.h"

static bl_err e;

static const struct {
    const char *name, *layer;
    int group;
    bool magnitude;
} cases[] = {
    {"down.b128_hessian", "down", 128, false},     {"down.b64_hessian", "down", 64, false},
    {"down.b128_magnitude", "down", 128, true},    {"smol_k.b128_hessian", "smol_k", 128, false},
    {"smol_k.b64_hessian", "smol_k", 64, false},   {"outlier.b128_hessian", "outlier", 128, false},
    {"outlier.b64_hessian", "outlier", 64, false}, {"outlier.b128_magnitude", "outlier", 128, true},
};

/* Every block as the authors' code saw it: what it had been handed by those before, with the factor's diagonal. */
static void blocks_agree(const golden *g, size_t c, golden_layer *l)
{
    const char *name = cases[c].name;
    int64_t out = l->k.out, in = l->k.in, width = cases[c].group, blocks = (in + width - 1) / width, apart = 0, off = 0;
    const float *input = golden_part(g, name, "block_input", "F32", out * in),
                *diag = golden_part(g, cases[c].layer, "u_diag", "F32", in),
                *split = golden_part(g, name, "threshold", "F32", blocks),
                *want = golden_part(g, name, "dequant", "F32", out * in),
                *params = golden_part(g, name, "params", "F32", blocks * 8 * out);
    const uint8_t *group = golden_part(g, name, "group", "U8", out * in);
    float *v = malloc((size_t)(out * width) * sizeof *v), *u = malloc((size_t)(width * width) * sizeof *u),
          *scale = malloc((size_t)out * 4 * sizeof *scale), *mean = malloc((size_t)out * 4 * sizeof *mean), threshold;
    uint8_t *salient = malloc((size_t)width);
    for (int64_t b = 0; b < blocks; b++) {
        int64_t first = b * width, n = BL_MIN(width, in - first);
        bl_billm how = {.group = n, .magnitude = cases[c].magnitude, .scale = BL_F32, .threshold = &threshold};
        for (int64_t i = 0; i < out * n; i++) v[i] = input[i / n * in + first + i % n];
        for (int64_t i = 0; i < n * n; i++) u[i] = i % (n + 1) ? 0 : diag[first + i % n];
        assert_ok(
            bl_billm_round(l->m.be, &(bl_rows){.out = out, .in = n, .w = v, .u = u}, &how, salient, scale, mean, &e));
        if (fabsf(threshold - split[b]) > 1e-5f * split[b])
            fail_msg("%s: block %lld is split at %g, wanted %g", name, (long long)b, (double)threshold,
                     (double)split[b]);
        for (int64_t i = 0; i < out * n; i++) {
            int64_t at = i / n * in + first + i % n;
            if (salient[i % n] != (group[at] == 2))
                fail_msg("%s: column %lld is %ssalient", name, (long long)(first + i % n),
                         salient[i % n] ? "" : "not ");
            off += fabsf(v[i] - want[at]) > 1e-5f;
        }
        for (int64_t i = 0; i < 8 * out; i++) {
            float got = (i / out & 1 ? scale : mean)[i % out * 4 + i / out / 2], as = params[b * 8 * out + i];
            apart += fabsf(got - as) > 1e-4f * fabsf(as) + 1e-6f;
        }
    }
    if (apart) fail_msg("%s: %lld means and scales differ", name, (long long)apart);
    if (off * 1000 > out * in) fail_msg("%s: %lld values differ", name, (long long)off);
    free(v);
    free(u);
    free(scale);
    free(mean);
    free(salient);
}

/* The whole of a layer. The factor is in double here: in the last case, whose second moments are of low rank and whose
 * blocks are many, a sign turns and later ones drift, so that only what it costs is about the same. */
static void whole_agrees(const golden *g, size_t c, golden_layer *l)
{
    const char *name = cases[c].name;
    int64_t out = l->k.out, in = l->k.in, blocks = (in + cases[c].group - 1) / cases[c].group, apart = 0;
    float *scale = malloc((size_t)(out * blocks * 4) * sizeof *scale),
          *means = malloc((size_t)(out * blocks * 4) * sizeof *means);
    uint8_t *salient = malloc((size_t)in);
    const float *want = golden_part(g, name, "dequant", "F32", out * in);
    bl_billm how = {.group = cases[c].group, .magnitude = cases[c].magnitude, .scale = BL_F32};
    assert_ok(bl_billm_round(l->m.be, &l->k, &how, salient, scale, means, &e));
    for (int64_t i = 0; i < out * in; i++) apart += fabsf(l->k.w[i] - want[i]) > 1e-4f * l->largest;
    double got = golden_output_error(l, l->k.w), error = golden_output_error(l, want);
    bool drifts = strcmp(name, "smol_k.b64_hessian") == 0;
    if ((!drifts && apart * 1000 > out * in) || fabs(got - error) > (drifts ? 0.01 : 1e-4) * error)
        fail_msg("%s: %lld of %lld values differ, output error %g, wanted %g", name, (long long)apart,
                 (long long)(out * in), got, error);
    free(scale);
    free(means);
    free(salient);
}

static void both_agree(const golden *g, size_t c, golden_layer *l)
{
    blocks_agree(g, c, l);
    whole_agrees(g, c, l);
}

static const char *layer_of(size_t c) { return cases[c].layer; }

static void groups_and_values_are_those_of_the_authors(void **state)
{
    (void)state;
    golden_each_layer("ptq/billm.safetensors", layer_of, BL_COUNT(cases), both_agree);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(groups_and_values_are_those_of_the_authors)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
