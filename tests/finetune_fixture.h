/* What is trained by the verb finetune: a text of three sequences, recorded batches and the curve that came of them. */
#ifndef BL_TESTS_FINETUNE_FIXTURE_H
#define BL_TESTS_FINETUNE_FIXTURE_H
#include "golden_file.h"
#include "verbs_fixture.h"

static const char lines[] = "{\"ids\": [5, 9, 2, 7, 1, 3], \"mask\": [0, 0, 1, 1, 1, 1]}\n"
                            "{\"ids\": [11, 4, 8, 6]}\n"
                            "{\"ids\": [3, 3, 12, 10, 9, 8, 7], \"mask\": [0, 1, 1, 0, 0, 1, 1]}\n";

static inline char *text_of(const char *name)
{
    bl_err e = {0};
    bl_text t = {0};
    assert_ok(bl_read_file(filled(name), 1 << 28, &t.s, &t.n, &e));
    return t.s;
}

/* Batches [steps, rows, length] of a recording as a file of ids. */
static inline void write_ids(const golden *g, int steps, int rows, int length, const char *name)
{
    bl_text data = {0};
    const int64_t *ids = golden_need(g, "ids", "I64", (int64_t)steps * rows * length);
    for (int i = 0; i < steps * rows * length; i++)
        bl_text_addf(&data, "%s%lld%s", i % length ? "," : "{\"ids\": [", (long long)ids[i],
                     i % length == length - 1 ? "]}\n" : "");
    study_write(S.dir, name, data.s);
    bl_text_free(&data);
}

/* Losses and norms of a curve are the first of the ten recorded ones. */
static inline void assert_curve(const golden *g, const char *name, int steps)
{
    bl_err e = {0};
    const float *loss = golden_need(g, "loss", "F32", 10), *norm = golden_need(g, "grad_norm", "F32", 10);
    char *curve = text_of(name), *rest = curve, *line;
    int k = 0;
    for (; (line = strsep(&rest, "\n")) && *line; k++) {
        bl_json *j;
        double got, length, limit = k < 5 ? 1e-4 : 1e-3;
        int64_t step;
        assert_ok(bl_json_parse(line, strlen(line), "curve", BL_JSON_PLAIN, &j, &e));
        assert_ok(bl_json_get_int(j, "step", &step, &e));
        assert_ok(bl_json_get_real(j, "loss", &got, &e));
        assert_ok(bl_json_get_real(j, "grad_norm", &length, &e));
        assert_int_equal(step, k + 1);
        if (!(fabs(got - loss[k]) <= limit) || !(fabs(length - norm[k]) <= 10 * limit * norm[k]))
            fail_msg("step %d: loss %.7g, recorded %.7g; norm %.7g, recorded %.7g", k + 1, got, loss[k], length,
                     norm[k]);
        bl_json_free(j);
    }
    assert_int_equal(k, steps);
    bl_free(curve);
}

/* The first loss of a curve and the last. */
static inline void ends_of_curve(const char *name, double loss[2])
{
    bl_err e = {0};
    char *curve = text_of(name), *rest = curve, *line;
    for (int k = 0; (line = strsep(&rest, "\n")) && *line; k++) {
        bl_json *j;
        assert_ok(bl_json_parse(line, strlen(line), "curve", BL_JSON_PLAIN, &j, &e));
        assert_ok(bl_json_get_real(j, "loss", &loss[k > 0], &e));
        bl_json_free(j);
    }
    bl_free(curve);
}

/* nll of one text by a model. */
static inline double nll_by(const char *model)
{
    bl_err e = {0};
    double nll;
    bl_json *j;
    ran r = SAY(LINE, "score", "--model", model, "-");
    expect(&r, 0, NULL);
    assert_ok(bl_json_parse(r.out, strcspn(r.out, "\n"), "score", BL_JSON_PLAIN, &j, &e));
    assert_ok(bl_json_get_real(j, "loglikelihood", &nll, &e));
    bl_json_free(j);
    ran_free(&r);
    return nll;
}

#endif
