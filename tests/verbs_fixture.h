/* verbs_fixture.h - one study for all tests of a program that ask what single verbs say: begin_study leaves model,
 * tokenizer and data; begin_results also three cells that are done and a quantized model.
 */
#ifndef BL_TESTS_VERBS_FIXTURE_H
#define BL_TESTS_VERBS_FIXTURE_H
#include "study_fixture.h"
#include "variant_write.h"
#include "kernels/base/json.h"

static study S;          /* thirty items of PIQA */
static char quant[4200]; /* with begin_results a copy of four bits */

/* "@name" of an argument: @model @data @out @quant @dir. */
static inline const char *filled(const char *arg)
{
    static char ring[64][8500];
    static unsigned at;
    const struct {
        const char *name, *value;
    } names[] = {{"@model", S.model}, {"@data", S.data}, {"@out", S.out}, {"@quant", quant}, {"@dir", S.dir}};
    for (size_t i = 0; i < BL_COUNT(names); i++) {
        size_t n = strlen(names[i].name);
        if (strncmp(arg, names[i].name, n) != 0) continue;
        char *p = ring[at++ % 64];
        snprintf(p, sizeof ring[0], "%s%s", names[i].value, arg + n);
        return p;
    }
    return arg;
}

static inline ran said(const char *input, const char *const *args)
{
    const char *argv[64] = {"bitladder"};
    size_t n = 1;
    for (; args[n - 1]; n++) {
        assert_true(n < BL_COUNT(argv) - 1);
        argv[n] = filled(args[n - 1]);
    }
    return program_with(&S, input, argv);
}
#define SAY(input, ...) said(input, (const char *const[]){__VA_ARGS__, NULL})

/* A request of score. */
#define LINE "{\"context\": \"make\", \"continuation\": \" cut\"}\n"

static inline size_t lines_of(const char *s)
{
    size_t n = 0;
    for (; *s; s++) n += *s == '\n';
    return n;
}

static inline int begin_study(void **state)
{
    (void)state;
    S = study_begin(30);
    study_even_piqa(S.data, 30);
    snprintf(quant, sizeof quant, "%s/quant", S.dir);
    return 0;
}

static inline int begin_results(void **state)
{
    begin_study(state);
    ran r = SAY(NULL, "run", "--model", "@model", "--method", "base,rtn:w4g24,rtn:w1pc", "--task", "piqa", "--data",
                "@data", "--out", "@out");
    expect(&r, 0, NULL);
    ran_free(&r);
    r = SAY(NULL, "quantize", "@model", "--method", "rtn:w4g24", "-o", "@quant");
    expect(&r, 0, NULL);
    ran_free(&r);
    return 0;
}

static inline int end_study(void **state)
{
    (void)state;
    study_end(&S);
    return 0;
}

/* @dir/adapted: a saved model with something of everything that a linear may have. */
static inline void write_adapted(void)
{
    bl_err e = {0};
    char dir[4300];
    fixture f = fixture_stored("synth:tiny:int4", "", 1, false);
    snprintf(dir, sizeof dir, "%s/adapted", S.dir);
    variant_everything(&f);
    assert_ok(variant_of_model(f.m, dir, (const bl_stage[]){{.text = "smooth", .hash = "12ab"}, {.text = "lora"}}, 2,
                               NULL, &e));
    fixture_close(&f);
}

/* ---- JSON ---- */

static inline void read_json(const char *text, size_t n, const char *what)
{
    bl_err e = {0};
    bl_json *j;
    if (bl_json_parse(text, n, "output", BL_JSON_PLAIN, &j, &e) != BL_OK)
        fail_msg("%s: %s\n%.*s", what, e.text, (int)BL_MIN(n, 800), text);
    bl_json_free(j);
}
#endif
