/* all_registry.c - whatever is registered: every method, task, figure, format and kernel, tested the moment it exists.
 */
#include "method_run.h"
#include "same_shape.h"
#include "study_fixture.h"
#include "task_run.h"
#include "harness/checkpoint/checkpoint.h"
#include "harness/checkpoint/safetensors.h"
#include "data/results_figures.h"
#include "data/task_layouts.h"
#include "kernels/kernel.h"
#include "plots/plot.h"
#include "harness/quant/apply.h"
#include "harness/score/score.h"
#include "harness/study/spec.h"

static study S;
static const char *data; /* BITLADDER_DATA, which the fixture unsets */
static bl_backend *be;
static bl_checkpoint *source, *even; /* of odd widths; of whole blocks, with a Hadamard matrix for every width */

static int begin(void **state)
{
    bl_err e = {0};
    (void)state;
    if (getenv("BITLADDER_DATA")) data = bl_strdup(getenv("BITLADDER_DATA"), &e);
    S = study_begin(2);
    assert_ok(bl_backend_open(&(bl_backend_opts){.device = "cpu", .threads = 1}, &be, &e));
    assert_ok(bl_checkpoint_open(S.model, NULL, &source, &e));
    static const tiny t = {
        .dim = 128, .hidden = 256, .layers = 2, .heads = 8, .kv_heads = 2, .vocab = 300, .max_len = 96};
    static const uint64_t seed[2] = {100, 101};
    char path[4300];
    snprintf(path, sizeof path, "%s/model/even.bin", S.dir);
    tiny_write(path, &t, tiny_random, &seed[0], tiny_random, tiny_random, &seed[1]);
    assert_ok(bl_checkpoint_open(path, NULL, &even, &e));
    return 0;
}
static int end(void **state)
{
    (void)state;
    bl_checkpoint_close(even);
    bl_checkpoint_close(source);
    bl_backend_close(be);
    study_end(&S);
    bl_free((void *)(uintptr_t)data);
    return 0;
}

/* Texts of a method at every width it has, with every option of its own turned once. */
typedef void each_text(const bl_method *m, const char *text);
static each_text comes_back;
static void with_options(const bl_method *m, const char *text, each_text *use)
{
    char longer[160];
    use(m, text);
    for (const bl_opt *o = m->opts; o && o->type != BL_OPT_END; o++) {
        if (o->type == BL_OPT_BOOL) {
            snprintf(longer, sizeof longer, "%s+%s%s", text, o->name, o->def.b ? "=false" : "");
            use(m, longer);
        }
        for (int c = 0; o->type == BL_OPT_CHOICE && o->choices[c]; c++) {
            if (c == o->def.choice) continue;
            snprintf(longer, sizeof longer, "%s+%s=%s", text, o->name, o->choices[c]);
            use(m, longer);
        }
        bool in_name = !strcmp(o->name, "wbits") || !strcmp(o->name, "group") || !strcmp(o->name, "abits");
        if (!strcmp(o->name, "act-group") && bl_opt_find(m->opts, "abits")) { /* of activations that are quantized */
            const char *group = strstr(text, "g24") ? strstr(text, "g24") : text + strlen(text);
            snprintf(longer, sizeof longer, "%.*sa8%s+act-group=4", (int)(group - text), text, group);
            use(m, longer);
        } else if (o->type == BL_OPT_INT && !in_name) {
            long long other = o->min != o->max && o->min != (double)o->def.i ? (long long)o->min
                              : strstr(o->name, "bits") ? (long long)o->max /* after none comes 2 */
                                                        : o->def.i + 1;
            snprintf(longer, sizeof longer, "%s+%s=%lld", text, o->name, other);
            use(m, longer);
        }
        if (o->type == BL_OPT_REAL) {
            double middle = (o->min + o->max) / 2, other = o->def.r != o->min ? o->min : o->max;
            snprintf(longer, sizeof longer, "%s+%s=%g", text, o->name,
                     isfinite(middle) && middle != o->def.r ? middle
                     : isfinite(other)                      ? other
                                                            : o->def.r * 2 + 1);
            use(m, longer);
        }
        if (o->type == BL_OPT_TEXT && use == comes_back) { /* what a text means, only the method knows */
            snprintf(longer, sizeof longer, "%s+%s=some-text", text, o->name);
            use(m, longer);
        }
    }
}
/* OPTIONS_SLOWLY: what computes for long; under a sanitizer options, and rows for groups, are of the first width alone.
 */
enum { PLAIN, OPTIONS, OPTIONS_SLOWLY };
static void every_text(each_text *use, int options)
{
    const bool few = SANITIZED && options == OPTIONS_SLOWLY;
    for (size_t i = 0; bl_methods[i]; i++) {
        const bl_method *m = bl_methods[i];
        const bool grouped = m->opts && bl_opt_find(m->opts, "group");
        bool turned = !options, whole = false; /* options, and whole rows, were asked for */
        char text[64];
        for (int b = 0; b <= 8; b++) { /* 0: without a width */
            if (!(m->wbits >> b & 1) && !(b == 0 && !m->wbits)) continue;
            if (b == 0) snprintf(text, sizeof text, "%s%s", m->name, grouped ? ":g24" : "");
            else snprintf(text, sizeof text, "%s:w%d%s", m->name, b, grouped ? "g24" : "");
            turned ? use(m, text) : with_options(m, text, use);
            turned |= few;
            if (!b || !grouped || whole) continue;
            snprintf(text, sizeof text, "%s:w%dpc", m->name, b);
            use(m, text);
            whole = few;
        }
    }
}

/* ---- methods ---- */

static void every_method_says_what_it_is(void **state)
{
    (void)state;
    for (size_t i = 0; bl_methods[i]; i++) {
        const bl_method *m = bl_methods[i];
        assert_true(m->version > 0 && m->title && *m->title && m->cite && *m->cite && m->doc && *m->doc);
        assert_true(m->as_stored || m->layer || m->block || m->learns);
        for (size_t k = 0; k < i; k++) assert_string_not_equal(m->name, bl_methods[k]->name);
        for (const bl_opt *o = m->opts; o && o->type != BL_OPT_END; o++) assert_true(o->doc && *o->doc);
    }
}

/* "quarot+gptq:w4" has a stage where the name of an option could stand; a spec's {"chain": …} is no method either. */
static void no_option_is_called_like_a_method(void **state)
{
    (void)state;
    for (size_t i = 0; bl_methods[i]; i++) {
        assert_string_not_equal(bl_methods[i]->name, "chain");
        assert_null(strpbrk(bl_methods[i]->name, ":+=,/"));
        for (const bl_opt *o = bl_methods[i]->opts; o && o->type != BL_OPT_END; o++)
            for (size_t k = 0; bl_methods[k]; k++) assert_string_not_equal(o->name, bl_methods[k]->name);
    }
}

static void comes_back(const bl_method *m, const char *text)
{
    bl_err e = {0};
    bl_method_choice a = {0}, b = {0}, c = {0};
    bl_text again = {0}, options = {0};
    bl_json *j;
    assert_ok(bl_method_parse(bl_methods, text, &a, &e));
    assert_ptr_equal(a.method, m);
    assert_ok(bl_method_text(m, a.opts, &again, &e));
    assert_string_equal(again.s, a.text);
    assert_ok(bl_method_parse(bl_methods, again.s, &b, &e));
    assert_string_equal(a.text, b.text);
    assert_ok(bl_method_json(m, a.opts, &options, &e));
    assert_ok(bl_json_parse(options.s, options.n, "options", BL_JSON_PLAIN, &j, &e));
    assert_ok(bl_method_from_json(m, j, &c, &e)); /* all options as recorded give the same method */
    assert_string_equal(a.text, c.text);
    bool texts = false; /* are lent by each choice to itself */
    for (const bl_opt *o = m->opts; o && o->type != BL_OPT_END; o++) texts |= o->type == BL_OPT_TEXT;
    if (m->opts_size && !texts) assert_memory_equal(a.opts, b.opts, m->opts_size);
    bl_json_free(j);
    bl_text_free(&again);
    bl_text_free(&options);
    bl_method_choice_free(&a);
    bl_method_choice_free(&b);
    bl_method_choice_free(&c);
}
static void a_method_is_written_as_it_is_read(void **state)
{
    (void)state;
    every_text(comes_back, OPTIONS);
}

/* What a method needs to follow: something adds the adapters that are merged. */
static const char *what_is_before(const bl_method *m)
{
    return strcmp(m->name, "merge") == 0 ? "qlora+rank=2+" : strcmp(m->name, "e2e-qp") == 0 ? "rtn:w4pc+" : "";
}

static int n_predicted;

static void predicts(const bl_method *m, const char *text)
{
    static const struct {
        int64_t out, in;
    } shapes[] = {{12, 72}, {5, 100}};
    if (!m->layer || !m->predict || m->needs || *what_is_before(m))
        return; /* one linear has no inputs; whole models follow below */
    for (size_t i = 0; i < BL_COUNT(shapes); i++) {
        float w[12 * 72];
        bl_rng r = bl_rng_at(3, 1, i);
        for (int64_t k = 0; k < shapes[i].out * shapes[i].in; k++) w[k] = (float)bl_rng_normal(&r);
        method_run run;
        const bl_format *f;
        bl_shape g;
        n_predicted++;
        method_open(&run, text, w, shapes[i].out, shapes[i].in);
        if (!m->predict(&run.run, &run.lin, &f, &g)) { /* a method of the ends alone */
            run.lin.block = -1;
            run.lin.role = BL_ROLE_EMBED;
            assert_true(m->predict(&run.run, &run.lin, &f, &g));
        }
        method_apply(&run);
        const bl_weight *got = &run.lin.weight;
        if (got->format != f || !same_shape(&got->shape, &g) || bl_format_bytes(f, &g) != bl_weight_bytes(got))
            fail_msg("%s: %s %lld bytes were predicted, %s %lld came", text, f->name, (long long)bl_format_bytes(f, &g),
                     got->format->name, (long long)bl_weight_bytes(got));
        uint64_t parts = 0;
        for (int p = 0; p < got->n_parts; p++) parts += bl_tensor_bytes(&got->part[p]);
        assert_int_equal(parts, bl_weight_bytes(got));
        const float *back = method_dense(&run);
        for (int64_t k = 0; k < shapes[i].out * shapes[i].in; k++) assert_true(isfinite(back[k]));
        method_close(&run);
    }
}
static void a_prediction_is_what_the_layer_becomes(void **state)
{
    (void)state;
    n_predicted = 0;
    every_text(predicts, OPTIONS_SLOWLY);
    assert_true(n_predicted > 0);
}

/* Bytes of all tensors of a model in its directory; files of peft repeat some of them. */
static uint64_t tensor_bytes(const char *dir)
{
    bl_err e = {0};
    char **names;
    size_t n_names;
    uint64_t n = 0;
    assert_ok(bl_dir_list(dir, &names, &n_names, &e));
    for (size_t k = 0; k < n_names; k++) {
        bl_map map = {0};
        bl_safetensors *s;
        char *path = bl_join(dir, names[k], &e);
        if (strncmp(names[k], "model-", 6) == 0) {
            assert_ok(bl_map_open(path, &map, &e));
            assert_ok(bl_safetensors_parse(map.data, map.size, path, &s, &e));
            for (size_t i = 0; i < bl_safetensors_count(s); i++) n += bl_safetensors_at(s, i)->bytes;
            bl_safetensors_close(s);
            bl_map_close(&map);
        }
        bl_free(path);
    }
    bl_list_free(names, n_names);
    return n;
}

/* What takes many steps takes two. */
static void shorten(bl_method_chain *c, const char *text)
{
    bl_err e = {0};
    static const char *const steps[][2] = {{"iters", "2"}, {"epochs", "1"}};
    for (size_t i = 0; i < BL_COUNT(steps); i++) {
        bool used = false;
        if (!strstr(text, steps[i][0])) assert_ok(bl_chain_set(c, steps[i][0], steps[i][1], &used, &e));
        if (used) assert_ok(bl_chain_renew(c, &e));
    }
    bool used = false;
    if (!strstr(text, "lq-lora+rank")) assert_ok(bl_chain_set(c, "grid-rounds", "1", &used, &e));
    if (used && strstr(text, "lq-lora")) assert_ok(bl_chain_set(c, "rank", "2", &used, &e));
    if (used) assert_ok(bl_chain_renew(c, &e));
}

static void is_written_and_read(const bl_method *m, const char *method)
{
    bl_err e = {0};
    bl_arena *a;
    bl_method_chain choice = {0};
    bl_quantize_result r = {0};
    bl_quantize_forecast planned;
    double bytes = 0, weights = 0;
    char dir[4300], curve[4400], text[200], ids[4300];
    bl_checkpoint *c;
    bl_hash state[BL_MAX_STAGES] = {{0}};
    bl_train_settings set;
    const bl_train_how train = {.set = &set};
    snprintf(dir, sizeof dir, "%s/variant", S.dir);
    snprintf(text, sizeof text, "%s%s", what_is_before(m), method);
    snprintf(ids, sizeof ids, "%s/ids.jsonl", S.dir);
    study_write(S.dir, "ids.jsonl", "{\"ids\": [5, 9, 2, 7, 1, 3]}\n");
    bl_opt_defaults(bl_train_rows, &set);
    set.data = ids;
    set.steps = 1;
    assert_ok(bl_arena_new(&a, &e));
    assert_ok(bl_chain_parse(bl_methods, text, &choice, &e));
    shorten(&choice, text);
    bl_checkpoint *from = source;
    const bl_calib_choice calib = {.data = "primer:test", .n = 3, .seqlen = 48};
    bool learns = bl_chain_needs(&choice) & BL_NEED_TRAINING;
    if (learns) { /* where there is nothing to train on */
        assert_int_equal(bl_quantize_check(from, &choice, &calib, NULL, 0, &planned, &e), BL_E_CONFIG);
        assert_non_null(strstr(e.text, "bitladder finetune does that"));
    }
    if (bl_quantize_check(from, &choice, &calib, &set, 0, &planned, &e) != BL_OK) {
        if (e.status != BL_E_CONFIG) fail_msg("%s: %s", text, e.text); /* no such width, and it says so */
        from = even;
        assert_ok(bl_quantize_check(from, &choice, &calib, &set, 0, &planned, &e));
    }
    assert_ok(bl_quantize_dir(from, &choice,
                              &(bl_apply_how){.calib = &calib, .hash = state, .train = learns ? &train : NULL}, be, dir,
                              a, &r, &e));
    uint64_t stored = tensor_bytes(dir);
    const double off = fabs((double)planned.packed_bytes - (double)stored);
    if (off > (m->about ? (double)stored / 20 : 0) || r.packed_bytes != stored)
        fail_msg("%s: %lld bytes planned, %llu reported, %llu in the file", text, (long long)planned.packed_bytes,
                 (unsigned long long)r.packed_bytes, (unsigned long long)stored);
    assert_true(m->about ? fabs(planned.bits - r.bits) < r.bits / 20 : planned.bits == r.bits);
    assert_ok(bl_checkpoint_open(dir, NULL, &c, &e));
    assert_ok(bl_checkpoint_verify(c, &e));
    bytes = (double)stored; /* all that is in the file for the linears of the blocks, transforms included */
    for (size_t i = 0; i < bl_checkpoint_count(c); i++) {
        const bl_stored *t = bl_checkpoint_at(c, i);
        if (t->vector || strncmp(t->name, "model.layers.", 13) != 0)
            bytes -= (double)bl_format_bytes(t->format, &t->shape);
        else weights += (double)(t->shape.out * t->shape.in);
    }
    assert_true(fabs(r.bits - bytes * 8 / weights) < 1e-12);

    bl_tokenizer *tok;
    bl_model *model;
    bl_engine *g;
    bl_reply reply;
    assert_ok(bl_tokenizer_of(c, &tok, &e));
    assert_ok(bl_model_open(c, be, &(bl_model_opts){0}, &model, &e));
    assert_ok(bl_engine_new(model, tok, &(bl_engine_opts){0}, &g, &e));
    assert_ok(bl_engine_replies(g, &(bl_request){.kind = BL_ASK_ROLLING, .text = "make a cut", .n_text = 10}, 1, a,
                                &reply, &e));
    assert_true(isfinite(reply.nll[0]) && reply.nll[0] > 0);
    bl_engine_free(g);
    bl_model_close(model);
    bl_tokenizer_close(tok);
    bl_checkpoint_close(c);
    assert_ok(bl_remove_tree(dir, &e));
    snprintf(curve, sizeof curve, "%s.curve.hdf5", dir);
    assert_ok(bl_remove_tree(curve, &e));
    bl_chain_free(&choice);
    bl_arena_free(a);
}
static void a_written_model_has_the_bytes_that_were_promised_and_scores(void **state)
{
    (void)state;
    every_text(is_written_and_read, OPTIONS_SLOWLY);
}

/* The same of a trained model, at every width, without options; under a sanitizer at the first of each method. */
static const bl_method *last;
static void of_a_real_model(const bl_method *m, const char *text)
{
    if (SANITIZED && m == last) return;
    last = m;
    is_written_and_read(m, text);
}
static void a_trained_model_becomes_what_was_promised_and_scores(void **state)
{
    (void)state;
    bl_err e = {0};
    bl_checkpoint *real, *const made[2] = {source, even};
    BL_NEEDS("BITLADDER_MODELS");
    assert_ok(bl_checkpoint_open(test_path("BITLADDER_MODELS", "tinystories656K"), NULL, &real, &e));
    source = even = real;
    last = NULL;
    every_text(of_a_real_model, PLAIN);
    source = made[0];
    even = made[1];
    bl_checkpoint_close(real);
}

/* What ops a method may have a use for. */
static const struct lacking {
    size_t at;
    const char *name;
} lacking[] = {
#define OP(op)                                                                                                         \
    {                                                                                                                  \
        BL_OP(op), #op                                                                                                 \
    }
    OP(channel_stats), OP(kl_div),      OP(permute),       OP(diagonal),         OP(hessian),
    OP(quad_form),     OP(hadamard),    OP(gptq_sweep),    OP(cholesky_inverse), OP(scale),
    OP(sq_error),      OP(clip_search), OP(hqq),           OP(greedy),           OP(range_search),
    OP(mismatch),      OP(each),        OP(mismatch_fold), OP(sign_round),
#undef OP
};
enum { LACKING = BL_COUNT(lacking) };

/* The op that a method was refused for on a backend without those that `without` says, and nothing is left; -1: it came
 * to be. */
static int refused_for(const bl_method *m, const bool without[LACKING])
{
    const bl_calib_choice calib = {.data = "primer:test", .n = 1, .seqlen = 24};
    const bl_ops *all = be->ops;
    bl_ops less = *all;
    bl_err e = {0};
    bl_arena *a;
    bl_method_chain chain = {0};
    bl_quantize_result r = {0};
    void (*none)(void) = NULL;
    char dir[4300], text[64];
    int op = 0;
    snprintf(dir, sizeof dir, "%s/variant", S.dir);
    snprintf(text, sizeof text, "%s%s", m->name, m->opts && bl_opt_find(m->opts, "group") ? ":pc" : "");
    assert_ok(bl_arena_new(&a, &e));
    assert_ok(bl_chain_parse(bl_methods, text, &chain, &e));
    shorten(&chain, text);
    for (size_t k = 0; k < LACKING; k++)
        if (without[k]) memcpy((char *)&less + lacking[k].at, &none, sizeof none);
    be->ops = &less;
    bl_status st = bl_quantize_dir(even, &chain, &(bl_apply_how){.calib = &calib}, be, dir, a, &r, &e);
    be->ops = all;
    assert_int_equal(bl_exists(dir), st == BL_OK);
    if (st == BL_OK) assert_ok(bl_remove_tree(dir, &e));
    else {
        static const char says[] = "backend cpu has no ";
        const char *name = strstr(e.text, says);
        if (st != BL_E_UNSUPPORTED || !name) fail_msg("%s: %s", text, e.text);
        for (name += strlen(says); op < LACKING && strcmp(name, lacking[op].name) != 0;) op++;
        if (op == LACKING || !without[op]) fail_msg("%s: %s", text, e.text);
    }
    bl_chain_free(&chain);
    bl_arena_free(a);
    return st == BL_OK ? -1 : op;
}

/* An op that is lacking is given back when a method is refused for it, until there is none: what is lacking then, the
 * method has no use for. Each of the others alone is enough to refuse it. */
static void what_a_backend_lacks_is_said_before_anything_is_computed(void **state)
{
    int refused = 0;
    (void)state;
    for (size_t i = 0; bl_methods[i]; i++) {
        const bl_method *m = bl_methods[i];
        bool without[LACKING];
        if (m->as_stored || m->learns || *what_is_before(m)) continue;
        for (size_t k = 0; k < LACKING; k++) without[k] = true;
        for (int op; (op = refused_for(m, without)) >= 0; refused++) without[op] = false;
        for (int k = 0; k < LACKING; k++) {
            if (without[k]) continue;
            bool alone[LACKING] = {false};
            alone[k] = true;
            assert_int_equal(refused_for(m, alone), k);
        }
    }
    assert_true(refused > 30);
}

/* ---- tasks ---- */

static void every_task_has_names_and_metrics(void **state)
{
    const char *seen[256];
    size_t n = 0;
    (void)state;
    for (size_t i = 0; bl_tasks[i]; i++) {
        const bl_task *t = bl_tasks[i];
        assert_true(t->version > 0 && t->title && *t->title && t->doc && *t->doc && t->cite && *t->cite && t->names[0]);
        for (size_t k = 0; t->names[k]; k++) {
            int metrics;
            const bl_metric *m = bl_task_metrics(t, t->names[k], &metrics);
            assert_true(metrics > 0);
            for (int j = 0; j < metrics; j++) assert_true(m[j].name && *m[j].name && (!m[j].unit || *m[j].unit));
            for (size_t j = 0; j < n; j++) assert_string_not_equal(seen[j], t->names[k]);
            assert_true(n < BL_COUNT(seen));
            seen[n++] = t->names[k];
        }
    }
}

/* A reply to a request from one who knows the right answer, or from one who avoids it: the pair that continues as it
 * says gets the least loss of all, or the most; a text ends as the prompt's examples end. */
static bool answer(const bl_request *q, const char *gold, bool right, bl_arena *a, pair_reply *pairs, bl_reply *out)
{
    bl_err e = {0};
    if (q->kind == BL_ASK_PAIRS) {
        double nll[32] = {0};
        assert_true(q->n_pairs > 0 && q->n_pairs <= 32);
        for (int c = 0; c < q->n_pairs; c++) {
            char *context = prompt_text(&q->pair[c].context);
            size_t nc = strlen(context), ng = strlen(gold);
            bool is_gold = strcmp(q->pair[c].continuation + (*q->pair[c].continuation == ' '), gold) == 0 ||
                           (nc >= ng && strcmp(context + nc - ng, gold) == 0);
            nll[c] = is_gold == right ? 1 : 1000;
            bl_free(context);
        }
        reply_to(q, nll, pairs);
        if (q->n_pairs == 1) pairs->greedy[0] = right;
        *out = pairs->r;
        return true;
    }
    if (q->kind == BL_ASK_NEAR) { /* nothing is nearer than anything else */
        assert_ok(bl_near_reply(q, a, out, &e));
        return true;
    }
    if (q->kind != BL_ASK_GENERATE) return false;
    bl_request copy = *q;
    bl_prompt *all;
    int n = bl_request_prompts(&copy, &all);
    const char **texts = bl_alloc(a, (size_t)n, sizeof *texts, &e);
    char *prompt = prompt_text(&all[0]), *example = strstr(prompt, "he answer is ");
    char *text = bl_format_text(&e, "So it is. %s%s%s.",
                                !example && strstr(prompt, "\n#### ") ? "#### " : "The answer is ", gold,
                                right ? "" : "7");
    for (int k = 0; k < n; k++) texts[k] = bl_arena_str(a, text, strlen(text), &e);
    *out = (bl_reply){.kind = q->kind, .n = n, .text = texts[0], .texts = texts};
    bl_free(prompt);
    bl_free(text);
    return true;
}

enum { MOST_STEPS = 64 };

/* The first items of a task: how many were marked; none when its data is not there. */
static int oracle(const bl_task *task, const char *name, const char *dir)
{
    bl_err e = {0};
    bl_data_dirs dirs = {.dir = {dir}, .n = 1};
    bl_task_data d = {0};
    int marked = 0;
    assert_ok(bl_arena_new(&d.arena, &e));
    void *opts = bl_alloc(d.arena, 1, task->opts_size ? task->opts_size : 1, &e);
    if (task->opts) bl_opt_defaults(task->opts, opts);
    bl_status st = task->load(&(bl_task_load){.name = name, .opts = opts, .dirs = &dirs}, &d, &e);
    if (st == BL_E_MISSING) assert_true(strlen(e.text) > 20);
    else if (st != BL_OK) fail_msg("%s: %s", name, e.text);
    if (st == BL_OK && d.n < 0) { /* every window says of what and how long */
        bl_request q = {0};
        assert_ok(task->ask(&d, 3, &(bl_turn){.arena = d.arena}, &q, &e));
        assert_true(q.kind == BL_ASK_WINDOW && q.index == 3 && q.n_text > 0 && q.length > 1);
    }
    for (int64_t item = 0; st == BL_OK && task->gold && item < BL_MIN(d.n, 4); item++)
        for (int right = 1, best = 1; right >= 0; right--) {
            bl_turn turn = {.arena = d.arena};
            bl_reply reply[MOST_STEPS] = {0};
            bl_sample s = {0};
            pair_reply pairs[MOST_STEPS];
            const char *gold = task->gold(&d, item);
            assert_non_null(gold);
            for (bl_request q = {0};; q = (bl_request){0}) { /* every step gets the same answer */
                int step = turn.step;
                assert_ok(task->ask(&d, item, &turn, &q, &e));
                if (q.kind == BL_ASK_DONE) break;
                assert_true(step < MOST_STEPS && answer(&q, gold, right, d.arena, &pairs[step], &reply[step]));
                turn = (bl_turn){.step = step + 1, .reply = reply, .n_replies = step + 1, .arena = d.arena};
            }
            assert_ok(bl_mark_item(task, &d, item, &turn, &s, &e));
            if (right ? s.score[0] <= 0.5 : s.score[0] >= best) /* several answers may be right, one is known here */
                fail_msg("%s, item %lld: a%s answer beside '%s' scores %g", name, (long long)item,
                         right ? " right" : " wrong", gold, s.score[0]);
            marked++;
        }
    bl_arena_free(d.arena);
    return marked;
}

/* Every task that can say what is right is asked about made-up items in its own layouts, and about real ones where they
 * are. */
static void an_oracle_scores_one_and_its_opposite_zero(void **state)
{
    (void)state;
    for (size_t i = 0; bl_tasks[i]; i++) {
        const bl_task *task = bl_tasks[i];
        int marked = 0;
        for (size_t k = 0; task->names[k]; k++) {
            marked += oracle(task, task->names[k], S.data);
            if (data) oracle(task, task->names[k], data);
            for (size_t r = 0; r < BL_COUNT(layouts); r++) {
                char root[4300];
                if (strcmp(layouts[r].task, task->names[k]) != 0) continue;
                layout_write(S.dir, r);
                snprintf(root, sizeof root, "%s/%s", S.dir, layouts[r].root);
                marked += oracle(task, task->names[k], root);
            }
        }
        if (task->gold && marked == 0) fail_msg("%s: no items in tests/data/task_layouts.h", task->names[0]);
    }
}

/* ---- figures, formats, kernels ---- */

static void every_figure_is_drawn(void **state)
{
    static bl_kernel_row timings[512];
    bl_curve curves[INVENTED_CURVES];
    invented_study *study = study_ladder();
    bl_plot_input in = study->in;
    study_probe(study, "base", 0);
    study_probe(study, "rtn:w3g64", 3);
    in.kernel = timings;
    in.n_kernels = invented_timings(timings, BL_COUNT(timings));
    in.facts = &invented_facts;
    in.curve = invented_curves(curves);
    in.n_curves = INVENTED_CURVES;
    (void)state;
    for (size_t i = 0; bl_plot_at(i); i++) {
        bl_err e = {0};
        bl_text text = {0};
        char path[4300], *picture = NULL;
        size_t n;
        assert_true(bl_plot_at(i)->doc && *bl_plot_at(i)->doc && bl_plot_find(bl_plot_at(i)->name) == bl_plot_at(i));
        snprintf(path, sizeof path, "%s/%s.png", S.dir, bl_plot_at(i)->name);
        bl_status st = bl_plot_draw(bl_plot_at(i), &in, BL_PLOT_PNG, path, &text, &e);
        if (st == BL_E_MISSING && system("command -v gnuplot > /dev/null") != 0) {
            print_message("skipped: no gnuplot\n");
            skip();
        }
        assert_int_equal(st, BL_OK);
        assert_ok(bl_read_file(path, 1 << 26, &picture, &n, &e));
        assert_true(n > 2000 && memcmp(picture, "\x89PNG", 4) == 0);
        bl_free(picture);
        snprintf(path, sizeof path, "%s/%s.txt", S.dir, bl_plot_at(i)->name);
        assert_ok(bl_plot_draw(bl_plot_at(i), &in, BL_PLOT_DUMB, path, &text, &e));
        assert_true(text.n > 500);
        bl_text_free(&text);
    }
    study_free(study);
}

static void every_format_and_kernel_is_found_by_its_name(void **state)
{
    (void)state;
    for (size_t i = 0; bl_format_at(i); i++) {
        const bl_format *f = bl_format_at(i);
        assert_ptr_equal(bl_format_find(f->name), f);
        assert_true(f->doc && *f->doc && f->unpack);
    }
    for (size_t i = 0; bl_kernel_at(i); i++) {
        const bl_kernel *k = bl_kernel_at(i);
        assert_ptr_equal(bl_kernel_find(k->name), k);
        const bl_kernel_family *f = k->family;
        assert_true(k->format && f->doc && *f->doc && f->op && f->backend && f->run && f->applicable);
    }
}

/* `show` and `list` know every one of them. */
static void the_program_lists_and_shows_everything(void **state)
{
    static const char *const kinds[] = {"methods", "tasks", "formats", "plots", "kernels"};
    (void)state;
    for (size_t k = 0; k < BL_COUNT(kinds); k++) {
        ran r = PROGRAM(&S, "list", kinds[k]);
        expect(&r, 0, NULL);
        int step = 0;
        for (char *rest = r.out, *line; (line = strsep(&rest, "\n")) && *line; step++) {
            line[strcspn(line, " ")] = 0;
            if (!strcmp(line, "task")) continue; /* the head of the columns */
            if (k == 4 && step % 8) continue;    /* kernels are many and alike */
            ran one = PROGRAM(&S, "show", line);
            expect(&one, 0, NULL);
            assert_memory_equal(one.out, line, strlen(line));
            assert_true(strlen(one.out) > strlen(line) + 30);
            ran_free(&one);
        }
        assert_true(step > 3);
        ran_free(&r);
    }
}

/* The specs of published studies are read, whatever was renamed since. */
static void published_studies_are_read(void **state)
{
    const bl_program program = {.methods = bl_methods, .tasks = bl_tasks};
    bl_err e = {0};
    char **name, path[4200];
    size_t n;
    int read = 0;
    (void)state;
    assert_ok(bl_dir_list(BL_SOURCE_DIR "/results/studies", &name, &n, &e));
    for (size_t i = 0; i < n; i++) {
        bl_spec s;
        bl_spec_from from = bl_spec_nothing;
        size_t len = strlen(name[i]);
        if (len < 5 || strcmp(name[i] + len - 5, ".json") != 0) continue;
        snprintf(path, sizeof path, BL_SOURCE_DIR "/results/studies/%s", name[i]);
        from.file = path;
        assert_ok(bl_spec_read(&program, &from, &s, &e));
        bl_spec_free(&s);
        read++;
    }
    assert_true(read >= 2);
    bl_list_free(name, n);
}

/* One spec has them all, so that each has been written once as a study is: the name, or one of its forms. */
static void every_task_is_in_the_study_of_all_tasks(void **state)
{
    bl_err e = {0};
    char *text;
    size_t n;
    (void)state;
    assert_ok(bl_read_file(BL_SOURCE_DIR "/results/studies/smollm2-135m-all-tasks.json", 1 << 20, &text, &n, &e));
    for (size_t t = 0; bl_tasks[t]; t++)
        for (size_t k = 0; bl_tasks[t]->names[k]; k++) {
            const char *name = bl_tasks[t]->names[k], *at = text;
            bool found = false;
            for (; (at = strstr(at, name)) && !found; at++)
                found = at[-1] == '"' && strchr("\"@+", at[strlen(name)]) != NULL;
            if (!found) fail_msg("%s is not in results/studies/smollm2-135m-all-tasks.json", name);
        }
    bl_free(text);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_method_says_what_it_is),
        cmocka_unit_test(no_option_is_called_like_a_method),
        cmocka_unit_test(a_method_is_written_as_it_is_read),
        cmocka_unit_test(a_prediction_is_what_the_layer_becomes),
        cmocka_unit_test(a_written_model_has_the_bytes_that_were_promised_and_scores),
        cmocka_unit_test(a_trained_model_becomes_what_was_promised_and_scores),
        cmocka_unit_test(what_a_backend_lacks_is_said_before_anything_is_computed),
        cmocka_unit_test(every_task_has_names_and_metrics),
        cmocka_unit_test(an_oracle_scores_one_and_its_opposite_zero),
        cmocka_unit_test(every_figure_is_drawn),
        cmocka_unit_test(every_format_and_kernel_is_found_by_its_name),
        cmocka_unit_test(the_program_lists_and_shows_everything),
        cmocka_unit_test(published_studies_are_read),
        cmocka_unit_test(every_task_is_in_the_study_of_all_tasks),
    };
    return cmocka_run_group_tests_name("everything registered", tests, begin, end);
}
