/* Every method that learns and every one that is fitted block by block, with each of its switches, on the CPU and on
 * the device: the device takes what the CPU takes, in the memory that was planned, its losses are near, and what was
 * made scores the same on both. Without a GPU BITLADDER_BESIDE=cpu puts the CPU in its place. */
#include "gpu.h"
#include "learner_text.h"
#include "method_model.h"

enum { STEPS = 3, TEXTS = 400 };
static const char *beside; /* the device */
static char made[2][4200], rows_file[4200];
static float *base; /* logits of the model as it was */

/* [MODEL_LOGITS], of a model or of what was made of it; free. */
static float *logits_on(const char *device, const char *model)
{
    fixture f = fixture_on(device, model, NULL, 2, NULL);
    float *v = model_logits(&f);
    fixture_close(&f);
    return v;
}

static int set_up(void **state)
{
    char data[LEARNER_ROWS];
    const char *named = getenv("BITLADDER_BESIDE");
    beside = named ? named : "cuda";
    model_begin(state);
    for (int i = 0; i < 2; i++) snprintf(made[i], sizeof made[i], "%s/made%d", model_dir, i);
    snprintf(rows_file, sizeof rows_file, "%s/rows.jsonl", model_dir);
    learner_rows(data);
    assert_ok(bl_write_file(rows_file, data, strlen(data), &e));
    base = logits_on("cpu", model_own);
    return 0;
}

/* ---- texts: each method as it is, and with each of its switches and choices turned ---- */
typedef struct texts {
    size_t n;
    char text[TEXTS][LEARNER_TEXT];
} texts;

static void add_text(texts *t, const char *base, const char *name, const char *value)
{
    assert_true(t->n < TEXTS);
    snprintf(t->text[t->n++], LEARNER_TEXT, "%s%s%s%s%s", base, name ? "+" : "", name ? name : "", value ? "=" : "",
             value ? value : "");
}
static void texts_of(const bl_method *m, texts *t)
{
    char base[LEARNER_TEXT];
    learner_text(m, base);
    add_text(t, base, NULL, NULL);
    for (const bl_opt *o = m->opts; o && o->type != BL_OPT_END; o++) {
        if (o->type == BL_OPT_BOOL) add_text(t, base, o->name, o->def.b ? "false" : NULL);
        for (int c = 0; o->type == BL_OPT_CHOICE && o->choices[c]; c++)
            if (c != o->def.choice) add_text(t, base, o->name, o->choices[c]);
        if (strcmp(o->name, "abits") == 0) add_text(t, base, o->name, "8");
        if (strcmp(o->name, "topk") == 0) add_text(t, base, o->name, "8");
    }
}

/* ---- one run ---- */
typedef struct outcome {
    double first, last; /* losses of what learns */
    uint64_t planned, peak;
    bl_status st;
    int stop; /* in: after so many steps; 0: not */
} outcome;

static bl_status keep_losses(void *ctx, const bl_trainer *r, bl_err *why)
{
    outcome *o = ctx;
    o->last = r->curve[r->step - 1].loss;
    if (r->step == 1) o->first = o->last;
    return r->step == o->stop ? bl_fail(why, BL_E_INTERRUPTED, "after step %d", o->stop) : BL_OK;
}

/* Into `dir`; a state that is there is gone on from. */
static void make(const char *device, const char *text, const char *dir, outcome *o)
{
    const bl_calib_choice calib = {.data = "primer:test", .n = 4, .seqlen = 48};
    bl_train_settings set;
    bl_checkpoint *c;
    bl_backend *be;
    bl_method_chain chain;
    bl_quantize_forecast f;
    bl_quantize_result r = {0};
    bl_hash hash[BL_MAX_STAGES] = {{0}};
    bl_arena *a;

    bl_opt_defaults(bl_train_rows, &set);
    set.data = rows_file;
    set.batch = 2;
    set.steps = STEPS;
    set.save_every = o->stop;
    set.lr = 2e-3;
    const bl_train_how train = {.set = &set, .state = BL_STATE_TAKEN, .told = keep_losses, .ctx = o};
    const bl_apply_how how = {.seed = 3, .calib = &calib, .hash = hash, .train = &train};
    assert_ok(bl_arena_new(&a, &e));
    assert_ok(bl_checkpoint_open(model_own, NULL, &c, &e));
    assert_ok(bl_backend_open(&(bl_backend_opts){.device = device, .threads = 2}, &be, &e));
    o->st = bl_chain_parse(bl_methods, text, &chain, &e);
    if (o->st == BL_OK) {
        o->st = bl_quantize_check(c, &chain, &calib, &set, 0, &f, &e);
        if (o->st == BL_OK) o->st = bl_quantize_dir(c, &chain, &how, be, dir, a, &r, &e);
        bl_chain_free(&chain);
    }
    o->planned = r.train.planned_bytes;
    o->peak = r.train.peak_bytes;
    bl_backend_close(be);
    bl_checkpoint_close(c);
    bl_arena_free(a);
}

/* ---- */
static int wrong; /* all are tried, and told */
static void near(const char *text, const char *what, double a, double b, double limit)
{
    if (fabs(a - b) <= limit * fabs(a)) return;
    print_error("%s: %s %.6g and %.6g, more than %g apart\n", text, what, a, b, limit);
    wrong++;
}
static void remove_made(int i)
{
    char curve[4300];
    snprintf(curve, sizeof curve, "%s.curve.hdf5", made[i]);
    assert_ok(bl_remove_tree(made[i], &e));
    assert_ok(bl_remove_tree(curve, &e));
}

/* Mean squares, of logits: one result on both devices; how far from the model as it was each device's result is, which
 * is fitted to statistics of its own. */
#define NEAR 1e-3
#define FAR  0.3
static void try_both(const char *text)
{
    outcome o[2] = {{0}};
    double change[2], apart[2];
    make("cpu", text, made[0], &o[0]);
    if (o[0].st == BL_E_CONFIG) return; /* switches that do not go together */
    if (o[0].st != BL_OK) fail_msg("%s: on the CPU: %s", text, e.text);
    make(beside, text, made[1], &o[1]);
    if (o[1].st != BL_OK) {
        print_error("%s: on the device: %s\n", text, e.text);
        wrong++;
        remove_made(0);
        return;
    }
    if (o[0].planned) {
        near(text, "bytes at most, bytes planned", (double)o[1].peak, (double)o[1].planned, 0.05);
        near(text, "first loss on the CPU, on the device", o[0].first, o[1].first, 0.03);
        near(text, "last loss on the CPU, on the device", o[0].last, o[1].last, 0.03);
    }
    for (int i = 0; i < 2; i++) {
        float *c = logits_on("cpu", made[i]), *d = logits_on(beside, made[i]);
        change[i] = distance(base, c, MODEL_LOGITS);
        apart[i] = distance(c, d, MODEL_LOGITS);
        if (!(apart[i] <= NEAR)) {
            print_error("%s: logits of one result are %g apart in the mean square\n", text, apart[i]);
            wrong++;
        }
        free(c);
        free(d);
        remove_made(i);
    }
    near(text, "distance from the model as it was, made on the CPU and on the device", change[0], change[1], FAR);
    print_message("%s: first loss %.5g, %.5g; last %.5g, %.5g; %llu bytes planned, %llu at most; "
                  "%.3g, %.3g from the model as it was; %.2g, %.2g from the other device's\n",
                  text, o[0].first, o[1].first, o[0].last, o[1].last, (unsigned long long)o[1].planned,
                  (unsigned long long)o[1].peak, change[0], change[1], apart[0], apart[1]);
}

static bool is_meant(const bl_method *m) { return m->learns || m->needs & BL_NEED_ORIGINAL; }

static void the_device_makes_what_the_cpu_makes(void **state)
{
    static texts t;
    size_t methods = 0;
    (void)state;
    if (strcmp(beside, "cuda") == 0) BL_NEEDS_GPU;
    for (size_t i = 0; bl_methods[i]; i++) {
        if (!is_meant(bl_methods[i])) continue;
        t.n = 0;
        texts_of(bl_methods[i], &t);
        for (size_t k = 0; k < t.n; k++) try_both(t.text[k]);
        methods++;
    }
    assert_true(methods > 20);
    assert_int_equal(wrong, 0);
}

static void what_was_stopped_goes_on_on_the_device(void **state)
{
    char text[LEARNER_TEXT];
    (void)state;
    if (strcmp(beside, "cuda") == 0) BL_NEEDS_GPU;
    wrong = 0;
    for (size_t i = 0; bl_methods[i]; i++) {
        outcome whole = {0}, parts = {.stop = 2};
        if (!bl_methods[i]->learns) continue;
        learner_text(bl_methods[i], text);
        make(beside, text, made[0], &whole);
        if (whole.st != BL_OK) fail_msg("%s: %s", text, e.text);
        make(beside, text, made[1], &parts);
        assert_int_equal(parts.st, BL_E_INTERRUPTED);
        parts.stop = 0;
        make(beside, text, made[1], &parts);
        if (parts.st != BL_OK) fail_msg("%s: %s", text, e.text);
        near(text, "last loss of a whole run, of one that was stopped", whole.last, parts.last, 1e-3);
        for (int k = 0; k < 2; k++) remove_made(k);
    }
    assert_int_equal(wrong, 0);
}

static int tear_down(void **state)
{
    free(base);
    return model_end(state) != BL_OK;
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_device_makes_what_the_cpu_makes),
        cmocka_unit_test(what_was_stopped_goes_on_on_the_device),
    };
    setvbuf(stdout, NULL, _IOLBF, 0);
    cmocka_set_test_filter(getenv("BITLADDER_TESTS"));
    return cmocka_run_group_tests_name("methods_learned", tests, set_up, tear_down);
}
