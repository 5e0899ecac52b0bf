/* ARB-LLM with row and column scales against its authors' code: sets of all weights, errors round by round, products of
 * the numbers of rows and columns, values. */
#include "golden_layer.h"
#include "methods/arb_llm.h"

enum { ROUNDS = 15 };
static bl_err e;
static const struct {
    const char *name, *layer;
    int group;
    bool split;
} cases[] = {
    {"outlier.rc_cgb", "outlier", 128, true},
    {"down.rc", "down", 128, false},
    {"down.rc_cgb", "down", 128, true},
    {"smol_k.rc_cgb_b64", "smol_k", 64, true},
};

/* What the file calls one of our sets: salient ones first, larger ones first. */
static int theirs(size_t c, int set)
{
    return cases[c].split ? BL_ARB_SALIENT_LARGE - set : BL_ARB_SALIENT_SMALL - BL_MIN(set, BL_ARB_SALIENT_SMALL);
}

typedef struct block {
    int64_t index, blocks, first, n, in; /* of the layer's columns */
    bl_rows k;
    uint8_t *sets, *salient;
    float *row, *column, *before;
    double error[BL_ARB_SETS * (ROUNDS + 1)];
} block;

static void sets_agree(const golden *g, size_t c, const block *b)
{
    const uint8_t *group = golden_part(g, cases[c].name, "group", "U8", b->k.out * b->in);
    for (int64_t i = 0; i < b->k.out * b->n; i++) {
        int want = group[i / b->n * b->in + b->first + i % b->n];
        if (theirs(c, b->sets[i]) != want)
            fail_msg("%s: block %lld, row %lld, column %lld is of set %d, wanted %d", cases[c].name,
                     (long long)b->index, (long long)(i / b->n), (long long)(i % b->n), theirs(c, b->sets[i]), want);
    }
}

static void errors_agree(const golden *g, size_t c, const block *b)
{
    int sets = cases[c].split ? 4 : 3;
    const double *want = (const double *)golden_part(g, cases[c].name, "round_error", "F64",
                                                     b->blocks * sets * (ROUNDS + 1)) +
                         b->index * sets * (ROUNDS + 1);
    for (int set = 0; set < sets; set++) {
        double power = 0;
        for (int64_t i = 0; i < b->k.out * b->n; i++)
            if (theirs(c, b->sets[i]) == theirs(c, set)) power += (double)b->before[i] * b->before[i];
        for (int r = 0; r <= ROUNDS; r++) {
            double w = want[theirs(c, set) * (ROUNDS + 1) + r], v = b->error[set * (ROUNDS + 1) + r];
            if (fabs(v - w) > 1e-3 * w + 1e-6 * power)
                fail_msg("%s: block %lld, set %d, round %d: error %g, wanted %g", cases[c].name, (long long)b->index,
                         set, r, v, w);
        }
    }
}

static void products_agree(const golden *g, size_t c, const block *b, float largest)
{
    int64_t apart = 0, all = 0;
    for (int set = 0; set < (cases[c].split ? 4 : 3); set++)
        for (int t = 0; t < (set < BL_ARB_SALIENT_SMALL ? 1 : 2); t++) {
            char part[32];
            snprintf(part, sizeof part, "group%d.row%d", theirs(c, set), t);
            const float *r = (const float *)golden_part(g, cases[c].name, part, "F32", b->blocks * b->k.out) +
                             b->index * b->k.out;
            snprintf(part, sizeof part, "group%d.col%d", theirs(c, set), t);
            const float *col = (const float *)golden_part(g, cases[c].name, part, "F32", b->in) + b->first;
            int at = set < BL_ARB_SALIENT_SMALL ? set : 2 + 2 * (set & 1) + t,
                of = set < BL_ARB_SALIENT_SMALL ? set : 2 * (set & 1) + t;
            for (int64_t i = 0; i < b->k.out * b->n; i++) {
                if (b->sets[i] != set) continue;
                float got = b->row[i / b->n * BL_ARB_ROW + at] * b->column[i % b->n * BL_ARB_COLUMN + of],
                      want = r[i / b->n] * col[i % b->n];
                apart += fabsf(got - want) > 1e-3f * fabsf(want) + 1e-4f * largest;
                all++;
            }
        }
    if (apart * 1000 > all)
        fail_msg("%s: block %lld: %lld of %lld products differ", cases[c].name, (long long)b->index, (long long)apart,
                 (long long)all);
}

/* A block as the authors' code saw it. */
static void block_agrees(const golden *g, size_t c, const golden_layer *l, int64_t index)
{
    int64_t out = l->k.out, in = l->k.in, width = cases[c].group, apart = 0;
    block b = {.index = index, .blocks = (in + width - 1) / width, .first = index * width, .in = in};
    const float *want = golden_part(g, cases[c].name, "dequant", "F32", out * in),
                *later = golden_part(g, cases[c].name, "block_input_after_first", "F32", out * (in - width));
    b.n = BL_MIN(width, in - b.first);
    b.k = (bl_rows){.out = out,
                    .in = b.n,
                    .w = malloc((size_t)(out * b.n) * sizeof(float)),
                    .u = calloc((size_t)(b.n * b.n), sizeof(float))};
    b.before = malloc((size_t)(out * b.n) * sizeof(float));
    b.sets = malloc((size_t)(out * b.n));
    b.salient = malloc((size_t)b.n);
    b.row = malloc((size_t)(out * BL_ARB_ROW) * sizeof(float));
    b.column = malloc((size_t)(b.n * BL_ARB_COLUMN) * sizeof(float));
    for (int64_t i = 0; i < out * b.n; i++) {
        int64_t j = b.first + i % b.n;
        b.k.w[i] = b.before[i] = index ? later[i / b.n * (in - width) + j - width] : l->k.w[i / b.n * in + j];
    }
    for (int64_t j = 0; j < b.n; j++) b.k.u[j * (b.n + 1)] = l->k.u[(b.first + j) * (in + 1)];
    bl_arb how = {.group = b.n,
                  .columns = 49,
                  .rounds = ROUNDS,
                  .split = cases[c].split,
                  .scale = BL_F32,
                  .sets = b.sets,
                  .error = b.error};
    assert_ok(bl_arb_round(l->m.be, &b.k, &how, b.salient, b.row, b.column, &e));
    sets_agree(g, c, &b);
    errors_agree(g, c, &b);
    products_agree(g, c, &b, l->largest);
    for (int64_t i = 0; i < out * b.n; i++)
        apart += fabsf(b.k.w[i] - want[i / b.n * in + b.first + i % b.n]) > 1e-4f * l->largest;
    if (apart * 1000 > out * b.n)
        fail_msg("%s: block %lld: %lld of %lld values differ", cases[c].name, (long long)index, (long long)apart,
                 (long long)(out * b.n));
    free(b.k.w);
    free(b.k.u);
    free(b.before);
    free(b.sets);
    free(b.salient);
    free(b.row);
    free(b.column);
}

static void whole_agrees(const golden *g, size_t c, golden_layer *l)
{
    int64_t out = l->k.out, in = l->k.in, blocks = (in + cases[c].group - 1) / cases[c].group;
    const float *want = golden_part(g, cases[c].name, "dequant", "F32", out * in);
    float *row = malloc((size_t)(out * blocks * BL_ARB_ROW) * sizeof *row),
          *column = malloc((size_t)(in * BL_ARB_COLUMN) * sizeof *column);
    uint8_t *salient = malloc((size_t)in);
    bl_arb how = {.group = cases[c].group, .columns = 49, .rounds = ROUNDS, .split = cases[c].split, .scale = BL_F32};
    assert_ok(bl_arb_round(l->m.be, &l->k, &how, salient, row, column, &e));
    double got = golden_output_error(l, l->k.w), error = golden_output_error(l, want);
    if (fabs(got - error) > 0.01 * error) fail_msg("%s: output error %g, wanted %g", cases[c].name, got, error);
    free(row);
    free(column);
    free(salient);
}

static void sets_errors_and_values_are_those_of_the_authors(void **state)
{
    golden g, layers;
    bool all = getenv("BITLADDER_GOLDEN") != NULL;
    size_t compared = 0;
    (void)state;
    golden_open(&g, golden_path("ptq/arbllm.safetensors"));
    if (all) golden_open(&layers, golden_path("ptq/gptq.safetensors"));
    for (size_t c = 0; c < BL_COUNT(cases); c++) {
        golden_layer l;
        if (!golden_layer_open(&l, strcmp(cases[c].layer, "outlier") == 0 || !all ? &g : &layers, cases[c].layer))
            continue;
        for (int64_t b = 0; b * cases[c].group < l.k.in; b++) block_agrees(&g, c, &l, b);
        whole_agrees(&g, c, &l);
        golden_layer_close(&l);
        compared++;
    }
    assert_true(compared >= (all ? BL_COUNT(cases) : 1));
    golden_close(&g);
    if (all) golden_close(&layers);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(sets_errors_and_values_are_those_of_the_authors)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
