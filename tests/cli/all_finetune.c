/* finetune through the program: the losses that PyTorch recorded, runs that are killed and go on, what is refused. */
#include "golden_file.h"
#include "verbs_fixture.h"
#include "harness/checkpoint/arch.h"
#include "harness/checkpoint/peft.h"
#include "results/record.h"
#include <sys/stat.h>

static const char lines[] = "{\"ids\": [5, 9, 2, 7, 1, 3], \"mask\": [0, 0, 1, 1, 1, 1]}\n"
                            "{\"ids\": [11, 4, 8, 6]}\n"
                            "{\"ids\": [3, 3, 12, 10, 9, 8, 7], \"mask\": [0, 1, 1, 0, 0, 1, 1]}\n";

static char *text_of(const char *name)
{
    bl_err e = {0};
    char *text = NULL;
    size_t n;
    assert_ok(bl_read_file(filled(name), 1 << 28, &text, &n, &e));
    return text;
}

/* Batches [steps, rows, length] of a recording as a file of ids. */
static void write_ids(const golden *g, int steps, int rows, int length, const char *name)
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
static void assert_curve(const golden *g, const char *name, int steps)
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

/* Recorded: AdamW, decay 0.01, clipped at 1, ten batches of [4, 48]. */
static void ten_losses_through_the_program_are_those_of_pytorch(void **state)
{
    golden g;
    (void)state;
    BL_NEEDS("BITLADDER_GOLDEN");
    BL_NEEDS("BITLADDER_MODELS");
    golden_open(&g, test_path("BITLADDER_GOLDEN", "tinystories656k/full_finetune.safetensors"));
    write_ids(&g, 10, 4, 48, "golden.jsonl");
    ran r = SAY(NULL, "finetune", test_path("BITLADDER_MODELS", "tinystories656K"), "--method", "full", "--data",
                "@dir/golden.jsonl", "--batch", "4", "--accumulate", "2", "--steps", "10", "--lr", "1e-3", "--decay",
                "0.01", "--curve", "@dir/golden.curve", "-o", "@dir/golden");
    expect(&r, 0, NULL);
    ran_free(&r);
    assert_curve(&g, "@dir/golden.curve", 10);
    golden_close(&g);
}

/* ---- adapters in the files of peft ---- */
/* Those that the recordings begin with, of SmolLM2-135M: B is 0, and A of block b and linear k
 * (((131 i + 17 j + 29 b + 53 k) mod 97) - 48) / (48 sqrt(in)). */
enum { BLOCKS = 30, RANK = 8, LINEARS = 7, LARGEST = RANK * 1536 };
static void write_first_adapter(const char *dir)
{
    static const struct {
        const char *part;
        int64_t in, out;
    } linears[LINEARS] = {{"self_attn.q_proj", 576, 576}, {"self_attn.k_proj", 576, 192},
                          {"self_attn.v_proj", 576, 192}, {"self_attn.o_proj", 576, 576},
                          {"mlp.gate_proj", 576, 1536},   {"mlp.up_proj", 576, 1536},
                          {"mlp.down_proj", 1536, 576}};
    bl_err e = {0};
    bl_backend *be;
    bl_buffer *buf;
    bl_text config = {0}, weights = {0};
    static char name[2 * BLOCKS * LINEARS][128];
    static bl_tensor t[2 * BLOCKS * LINEARS];
    static bl_peft_source s[2 * BLOCKS * LINEARS];
    static float x[LARGEST];
    uint32_t targets = 0;
    size_t n = 0;
    assert_ok(bl_backend_open(&(bl_backend_opts){.device = "cpu", .threads = 1}, &be, &e));
    assert_ok(be->ops->buffer_new(be, sizeof x * BL_COUNT(t), &buf, &e));
    bl_tensor all = bl_tensor_1d(buf, 0, BL_F32, LARGEST * BL_COUNT(t));
    assert_ok(be->ops->fill(be, &all, 0, &e));
    for (int b = 0; b < BLOCKS; b++)
        for (int k = 0; k < LINEARS; k++) {
            const int64_t in = linears[k].in;
            const char *part = strchr(linears[k].part, '.') + 1;
            targets |= bl_linear_named(part, strlen(part));
            for (int64_t i = 0; i < RANK; i++)
                for (int64_t j = 0; j < in; j++)
                    x[i * in + j] = (float)((i * 131 + j * 17 + b * 29 + k * 53) % 97 - 48) / (48 * sqrtf((float)in));
            for (int ab = 0; ab < 2; ab++, n++) {
                snprintf(name[n], sizeof name[n], "model.layers.%d.%s.lora_%c", b, linears[k].part, "AB"[ab]);
                t[n] = ab ? bl_tensor_2d(buf, n * sizeof x, BL_F32, linears[k].out, RANK)
                          : bl_tensor_2d(buf, n * sizeof x, BL_F32, RANK, in);
                if (!ab) assert_ok(be->ops->upload(be, &t[n], x, &e));
                s[n] = (bl_peft_source){.name = name[n], .value = &t[n]};
            }
        }
    assert_ok(bl_peft_config_text(&(bl_peft_config){.rank = RANK, .alpha = 16, .targets = targets, .base = "smollm2"},
                                  &config, &e));
    assert_ok(bl_peft_weights(s, n, &weights, &e));
    assert_ok(bl_make_dirs(dir, &e));
    char *to = bl_join(dir, "adapter_config.json", &e);
    assert_ok(bl_write_file(to, config.s, config.n, &e));
    bl_free(to);
    to = bl_join(dir, "adapter_model.safetensors", &e);
    assert_ok(bl_write_file(to, weights.s, weights.n, &e));
    bl_free(to);
    bl_text_free(&config);
    bl_text_free(&weights);
    be->ops->buffer_free(buf);
    bl_backend_close(be);
}

/* Recorded by peft on the float32 model and on bitsandbytes' NF4: rank 8, alpha 16, all seven linears, AdamW, clipped
 * at 0.3, rate 1e-3 min(1, step / 3), batches of [2, 64]; all ten steps and the final values are compared in
 * golden/train_runs. */
static void steps_of_adapters_through_the_program_are_those_of_peft(void **state)
{
    static const struct {
        const char *method, *recorded;
    } rows[] = {{"lora+rank=8+alpha=16", "smollm2-135m/lora.safetensors"},
                {"qlora+rank=8+alpha=16", "smollm2-135m/qlora_nf4.safetensors"}};
    bl_err e = {0};
    (void)state;
    BL_NEEDS("BITLADDER_GOLDEN");
    BL_NEEDS("BITLADDER_MODELS");
    write_first_adapter(filled("@dir/first"));
    for (size_t i = 0; i < BL_COUNT(rows); i++) {
        golden g;
        golden_open(&g, test_path("BITLADDER_GOLDEN", rows[i].recorded));
        write_ids(&g, 10, 2, 64, "golden.jsonl"); /* of which two are taken */
        ran r = SAY(NULL, "finetune", test_path("BITLADDER_MODELS", "smollm2-135m/SmolLM2-135M-Instruct.Q4_1.gguf"),
                    "--method", rows[i].method, "--init-adapter", "@dir/first", "--data", "@dir/golden.jsonl",
                    "--batch", "2", "--steps", "2", "--lr", "1e-3", "--clip", "0.3", "--schedule", "ramp", "--warmup",
                    "3", "--curve", "@dir/golden.curve", "-o", "@dir/tuned");
        expect(&r, 0, NULL);
        ran_free(&r);
        assert_curve(&g, "@dir/golden.curve", 2);
        assert_ok(bl_remove_tree(filled("@dir/tuned"), &e));
        golden_close(&g);
    }
}

static void an_adapter_that_was_written_begins_another_run_as_it_is(void **state)
{
    bl_err e = {0};
    (void)state;
    study_write(S.dir, "three.jsonl", lines);
#define ADAPTERS(out, ...)                                                                                             \
    "finetune", "@model", "--method", "lora+rank=3+alpha=4+rslora+dropout=0.1+targets=k_proj:down_proj", "--data",     \
        "@dir/three.jsonl", "--batch", "3", "-o", out, __VA_ARGS__
    ran r = SAY(NULL, ADAPTERS("@dir/first", "--steps", "5", "--lr", "0.01"));
    expect(&r, 0, NULL);
    ran_free(&r);
    r = SAY(NULL, ADAPTERS("@dir/again", "--steps", "1", "--lr", "0", "--seed", "9", "--init-adapter", "@dir/first"));
    expect(&r, 0, NULL);
    ran_free(&r);
    for (int i = 0; i < 2; i++) {
        const char *file = i ? "adapter_model.safetensors" : "adapter_config.json";
        char *a = bl_join(filled("@dir/first"), file, &e), *b = bl_join(filled("@dir/again"), file, &e), *p, *q;
        size_t np, nq;
        assert_ok(bl_read_file(a, 1 << 28, &p, &np, &e));
        assert_ok(bl_read_file(b, 1 << 28, &q, &nq, &e));
        assert_int_equal(np, nq);
        assert_memory_equal(p, q, np);
        bl_free(p);
        bl_free(q);
        bl_free(a);
        bl_free(b);
    }
    /* the same numbers are beside the weights of the model */
    bl_peft *p;
    golden g;
    assert_ok(bl_peft_read(filled("@dir/first"), &p, &e));
    const bl_peft_tensor *t = bl_peft_find(p, "model.layers.0.mlp.down_proj.lora_B");
    assert_non_null(t);
    char **names, *path = NULL;
    size_t n;
    assert_ok(bl_dir_list(filled("@dir/first"), &names, &n, &e));
    for (size_t i = 0; i < n && !path; i++)
        if (!strncmp(names[i], "model-00001", 11)) path = bl_join(filled("@dir/first"), names[i], &e);
    golden_open(&g, path);
    assert_memory_equal(golden_need(&g, "model.layers.0.mlp.down_proj.adapter.0.b", "F32", t->rows * t->cols), t->value,
                        (size_t)(t->rows * t->cols) * sizeof(float));
    golden_close(&g);
    bl_list_free(names, n);
    bl_free(path);
    bl_peft_free(p);
    r = SAY(NULL, "finetune", "@model", "--method", "lora+rank=2", "--data", "@dir/three.jsonl", "--init-adapter",
            "@dir/first", "-o", "@dir/no");
    expect(&r, 2, "has rank 3"); /* R95 */
    ran_free(&r);
    r = SAY(NULL, "finetune", "@model", "--method", "lora+rank=3+alpha=4+rslora", "--data", "@dir/three.jsonl",
            "--init-adapter", "@dir/first", "-o", "@dir/no");
    expect(&r, 2, "which is trained");
    ran_free(&r);
    r = SAY(NULL, "finetune", "@model", "--method", "lora+rank=3+alpha=4+rslora+targets=k_proj", "--data",
            "@dir/three.jsonl", "--init-adapter", "@dir/first", "-o", "@dir/no");
    expect(&r, 2, "tensors, the method trains"); /* R96 */
    ran_free(&r);
    r = SAY(NULL, "finetune", "@model", "--method", "full", "--data", "@dir/three.jsonl", "--init-adapter",
            "@dir/first", "-o", "@dir/no");
    expect(&r, 2, "trains no adapters");
    ran_free(&r);
    assert_false(bl_exists(filled("@dir/no")));
}

/* ---- every method: trained, written, read ---- */
static void what_was_trained_is_a_model_for_every_verb(void **state)
{
    static const char *const methods[] = {"full",
                                          "lora+rank=4+dropout=0.1+targets=q_proj:v_proj",
                                          "lora+rslora",
                                          "qlora+rank=2",
                                          "qlora+code=fp4+single",
                                          "qlora+code=nf3+rank=2",
                                          "lora+rank=4+dora+dropout=0.1",
                                          "qlora+rank=4+dora+init=pissa",
                                          "lora+rank=4+init=pissa",
                                          "lora+rank=4+init=olora+targets=o_proj:up_proj",
                                          "qlora+rank=4+init=pissa",
                                          "loftq:w2+rank=4+rounds=2",
                                          "loftq:w3+code=int+rank=4",
                                          "lq-lora:2.75+rank=4+plain+solver=hull",
                                          "ir-qlora:w3+rank=4+dropout=0.1",
                                          "rtn:w4g24+lora+rank=2",
                                          "lsq:w3g24",
                                          "lsq:w2",
                                          "l4q:w3g24+rank=2",
                                          "l4q:w4pc+rank=2+scale=fp32+scale-rate=0.02",
                                          "lr-qat:w2g24+rank=4+alpha=16",
                                          "lr-qat:w4+rank=4+alpha=16+phi=int+scale=fp32",
                                          "rtn:w3g24+e2e-qp",
                                          "galore+rank=4+every=3"};
    bl_err e = {0};
    char hash[33], before[33] = "";
    (void)state;
    study_write(S.dir, "three.jsonl", lines);
    for (size_t i = 0; i < BL_COUNT(methods); i++) {
        bl_arena *a;
        bl_shard *curve;
        double *loss;
        int64_t n;
        ran r = SAY(NULL, "finetune", "@model", "--method", methods[i], "--data", "@dir/three.jsonl", "--batch", "3",
                    "--steps", "8", "--lr", "0.005", "--json", "-o", "@dir/tuned");
        expect(&r, 0, NULL);
        read_json(r.out, strlen(r.out), methods[i]);
        ran_free(&r);
        assert_ok(bl_arena_new(&a, &e));
        assert_ok(bl_shard_open(filled("@dir/tuned.curve.hdf5"), &curve, &e));
        assert_ok(bl_shard_reals(curve, "train/loss", a, &loss, &n, &e));
        assert_int_equal(n, 8);
        if (!(loss[7] < loss[0])) fail_msg("%s: loss %g, then %g", methods[i], loss[0], loss[7]);
        bl_shard_close(curve);
        bl_arena_free(a);
        r = SAY(NULL, "inspect", "@dir/tuned");
        expect(&r, 0, NULL);
        assert_non_null(strstr(r.out, "made by "));
        ran_free(&r);
        r = SAY(LINE, "score", "--model", "@dir/tuned", "-");
        expect(&r, 0, NULL);
        ran_free(&r);
        last_stage_hash(filled("@dir/tuned"), hash);
        assert_string_not_equal(hash, before);
        memcpy(before, hash, sizeof before);
        assert_false(bl_exists(filled("@dir/tuned.state")));
        assert_ok(bl_remove_tree(filled("@dir/tuned"), &e));
        assert_ok(bl_remove_tree(filled("@dir/tuned.curve.hdf5"), &e));
    }
}

static void examples_of_every_format_train_and_wrong_ones_are_refused_by_line(void **state)
{
    static const struct {
        const char *format, *good, *bad, *says;
    } rows[] = {
        {"text", "one cat and two dogs, all of them here", NULL, NULL},
        {"alpaca", "{\"instruction\": \"a\", \"output\": \"b\"}\n", "{\"instruction\": \"a\"}\n",
         "'output' is missing"},
        {"chat", "{\"text\": \"### Human: a ### Assistant: b\"}\n", "{\"text\": \"a\"}\n", "has no turn"},
        {"cot", "{\"question\": \"a\", \"rationale\": \"b\", \"answer\": \"c\"}\n",
         "{\"question\": \"a\", \"answer\": \"c\"}\n", "neither 'rationale' nor '####'"},
    };
    bl_err e = {0};
    (void)state;
    for (size_t i = 0; i < BL_COUNT(rows); i++) {
        bl_text bad = {0};
        study_write(S.dir, "train.jsonl", rows[i].good);
        ran r = SAY(NULL, "finetune", "@model", "--method", "lora+rank=2", "--data", "@dir/train.jsonl",
                    "--data-format", rows[i].format, "--seqlen", strcmp(rows[i].format, "text") ? "200" : "16",
                    "--pack", "--valid", "@dir/train.jsonl", "--steps", "3", "--lr", "0.01", "--curve", "@dir/f.curve",
                    "-o", "@dir/f");
        if (strcmp(rows[i].format, "alpaca") == 0) expect(&r, 2, "train.jsonl: sample 1 has"); /* 96 positions */
        else {
            expect(&r, 0, NULL);
            char *curve = text_of("@dir/f.curve");
            assert_int_equal(lines_of(curve), 3);
            assert_ptr_equal(strstr(curve, "\"valid\""), strstr(strstr(curve, "\"step\": 3"), "\"valid\""));
            bl_free(curve);
            assert_ok(bl_remove_tree(filled("@dir/f"), &e));
        }
        ran_free(&r);
        if (!rows[i].bad) continue;
        bl_text_addf(&bad, "%s%s", rows[i].good, rows[i].bad);
        study_write(S.dir, "train.jsonl", bad.s);
        bl_text_free(&bad);
        r = SAY(NULL, "finetune", "@model", "--method", "lora+rank=2", "--data", "@dir/train.jsonl", "--data-format",
                rows[i].format, "-o", "@dir/f");
        expect(&r, 2, "train.jsonl:2");
        assert_non_null(strstr(r.err, rows[i].says));
        assert_false(bl_exists(filled("@dir/f")));
        ran_free(&r);
    }
    study_write(S.dir, "train.jsonl", "{\"ids\": [5, 6], \"mask\": [0, 0]}\n");
    ran r = SAY(NULL, "finetune", "@model", "--method", "lora+rank=2", "--data", "@dir/train.jsonl", "-o", "@dir/f");
    expect(&r, 2, "train.jsonl: step 1: none of its tokens counts");
    ran_free(&r);
    study_write(S.dir, "train.jsonl", "{\"ids\": [5, 6]}\n{\"ids\": [5, 6], \"mask\": [0, 0]}\n");
    r = SAY(NULL, "finetune", "@model", "--method", "lora+rank=2", "--data", "@dir/train.jsonl", "-o", "@dir/f",
            "--curve", "@dir/early.curve");
    expect(&r, 2, "train.jsonl: step 2: none of its tokens counts");
    assert_false(bl_exists(filled("@dir/early.curve"))); /* before the first step */
    ran_free(&r);
    r = SAY(NULL, "finetune", "@model", "--method", "lora+rank=2", "--data", "@dir/train.jsonl", "-o", "@dir/f",
            "--curve", "@dir/none/curve");
    expect(&r, 4, "none/curve: cannot create: its directory is not there");
    ran_free(&r);
    study_write(S.dir, "valid.jsonl", "{\"ids\": [5, 6], \"mask\": [0, 0]}\n");
    study_write(S.dir, "train.jsonl", "{\"ids\": [5, 6]}\n");
    r = SAY(NULL, "finetune", "@model", "--method", "lora+rank=2", "--data", "@dir/train.jsonl", "--valid",
            "@dir/valid.jsonl", "-o", "@dir/f");
    expect(&r, 2, "valid.jsonl: no token of the validation text counts");
    ran_free(&r);
}

/* ---- in a study ---- */
static const char study_text[] =
    "{\"models\": [\"%s\"], \"methods\": [\"base\", \"lora+rank=2\", \"lora+rank=2+merge+as=fp32\", \"qlora+rank=2\"], "
    "\"tasks\": [\"piqa\"], \"data\": [\"%s\"], \"seeds\": [3], \"out\": \"%s\", \"threads\": 1, "
    "\"train\": {\"data\": \"%s/three.jsonl\", \"batch\": 3, \"steps\": 5, \"lr\": %s, \"save_every\": 1}}";

static void write_study(const char *rate)
{
    char text[20000];
    snprintf(text, sizeof text, study_text, S.model, S.data, S.out, S.dir, rate);
    study_write(S.dir, "study.json", text);
}

/* nll of one text by a model. */
static double nll_by(const char *model)
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

static void methods_that_learn_are_rows_of_a_study_with_their_adapters_and_merged(void **state)
{
    bl_err e = {0};
    char hash[33], other[33];
    char **names;
    size_t n;
    (void)state;
    study_write(S.dir, "three.jsonl", lines);
    write_study("0.01");
    ran r = SAY(NULL, "plan", "@dir/study.json");
    expect(&r, 0, NULL);
    assert_non_null(strstr(r.out, "noise/lora+rank=2  "));
    assert_non_null(strstr(r.out, " 7680 ")); /* five steps of three sequences of 512 tokens at most */
    ran_free(&r);
    r = SAY(NULL, "run", "@dir/study.json", "--quiet");
    expect(&r, 0, NULL);
    ran_free(&r);
    assert_int_equal(count_ending(S.out, ".h5"), 4);
    assert_int_equal(count_ending(filled("@dir/out/variants"), ".curve.hdf5"), 2); /* one training of two rows */
    assert_int_equal(count_ending(filled("@dir/out/variants"), ".state"), 0);

    /* what the study trained is what the verb trains */
    r = SAY(NULL, "finetune", "@model", "--method", "lora+rank=2", "--data", "@dir/three.jsonl", "--batch", "3",
            "--steps", "5", "--lr", "0.01", "--seed", "3", "--threads", "1", "-o", "@dir/same");
    expect(&r, 0, NULL);
    ran_free(&r);
    last_stage_hash(filled("@dir/same"), hash);
    snprintf(other, sizeof other, "%s", hash);
    char *dir = bl_join(filled("@dir/out/variants"), other, &e);
    assert_true(bl_is_dir(dir));
    bl_free(dir);

    /* the same again has nothing to do; another rate is another training */
    r = SAY(NULL, "plan", "@dir/study.json");
    expect(&r, 0, NULL);
    assert_non_null(strstr(r.out, "4 done, 0 open"));
    ran_free(&r);
    r = SAY(NULL, "plan", "@dir/study.json", "--set", "train.lr=0.02");
    expect(&r, 0, NULL);
    assert_non_null(strstr(r.out, "1 done, 3 open"));
    ran_free(&r);
    r = SAY(NULL, "plan", "@dir/study.json", "--set", "train.save_every=2"); /* changes no number */
    expect(&r, 0, NULL);
    assert_non_null(strstr(r.out, "4 done, 0 open"));
    ran_free(&r);

    /* a state that outlived its child goes with the next run */
    char state_file[80];
    snprintf(state_file, sizeof state_file, "out/variants/%s.state", hash);
    study_write(S.dir, state_file, "what was left");
    assert_ok(bl_dir_list(S.out, &names, &n, &e));
    for (size_t i = 0; i < n; i++)
        if (strstr(names[i], "lora+rank=2__piqa") && strstr(names[i], ".h5")) {
            char *shard = bl_join(S.out, names[i], &e);
            assert_ok(bl_remove_tree(shard, &e));
            bl_free(shard);
        }
    bl_list_free(names, n);
    r = SAY(NULL, "run", "@dir/study.json", "--quiet");
    expect(&r, 0, NULL);
    ran_free(&r);
    assert_int_equal(count_ending(filled("@dir/out/variants"), ".state"), 0);

    /* adapters merged in fp32 compute what they did beside the weights; in bf16 not quite */
    static const struct {
        const char *method;
        double limit;
    } merged[] = {{"merge+as=fp32", 1e-5}, {"merge", 0.1}};
    double beside = nll_by("@dir/same"), size = fabs(beside);
    assert_true(fabs(beside - nll_by("@model")) > 1e-3);
    for (size_t i = 0; i < BL_COUNT(merged); i++) {
        r = SAY(NULL, "quantize", "@dir/same", "--method", merged[i].method, "-o", "@dir/merged");
        expect(&r, 0, NULL);
        ran_free(&r);
        double d = fabs(nll_by("@dir/merged") - beside);
        if (!(d <= merged[i].limit * size) || (i && d == 0)) fail_msg("%s: %g apart", merged[i].method, d);
        assert_ok(bl_remove_tree(filled("@dir/merged"), &e));
    }

    /* without "train" these rows are n/a, and it is said why */
    r = SAY(NULL, "plan", "--model", "@model", "--method", "base,lora", "--task", "piqa", "--out", "@dir/none",
            "--data", "@dir/data");
    expect(&r, 0, NULL);
    assert_non_null(strstr(r.out, "lora is trained: bitladder finetune does that, or a study with"));
    ran_free(&r);
    study_write(S.dir, "bad.json",
                "{\"models\": [\"m\"], \"methods\": [\"lora\"], \"tasks\": [\"piqa\"], "
                "\"train\": {\"data\": \"x\", \"step\": 5}}");
    r = SAY(NULL, "run", "@dir/bad.json");
    expect(&r, 2, "did you mean");
    ran_free(&r);
    r = SAY(NULL, "quantize", "@model", "--method", "merge", "-o", "@dir/no");
    expect(&r, 2, "no linear has an adapter");
    ran_free(&r);
}

/* ---- adapters that begin as a part of the weight ---- */
/* Nothing is trained yet: the model computes what it did. After training, an adapter of twice the rank beside the
 * weights as they were computes what the adapter and the rest compute. */
static void adapters_that_begin_as_a_part_of_the_weight_are_given_as_its_change(void **state)
{
    static const struct {
        const char *method, *plain;
    } rows[] = {
        {"lora+rank=3+alpha=5+init=pissa", "lora+rank=6+alpha=10"},
        {"lora+rank=2+alpha=4+init=olora+targets=q_proj:down_proj", "lora+rank=4+alpha=8+targets=q_proj:down_proj"},
        {"lora+rank=2+alpha=4+dora+init=pissa", "lora+rank=4+alpha=8+dora"}};
    bl_err e = {0};
    const double was = nll_by("@model");
    (void)state;
    study_write(S.dir, "three.jsonl", lines);
    for (size_t i = 0; i < BL_COUNT(rows); i++) {
        ran r = SAY(NULL, "finetune", "@model", "--method", rows[i].method, "--data", "@dir/three.jsonl", "--steps",
                    "1", "--lr", "0", "-o", "@dir/begun");
        expect(&r, 0, NULL);
        ran_free(&r);
        double d = fabs(nll_by("@dir/begun") - was);
        if (!(d <= 1e-5 * fabs(was))) fail_msg("%s: %g apart before training", rows[i].method, d);
        r = SAY(NULL, "finetune", "@model", "--method", rows[i].method, "--data", "@dir/three.jsonl", "--steps", "5",
                "--lr", "0.01", "-o", "@dir/tuned");
        expect(&r, 0, NULL);
        ran_free(&r);
        const double tuned = nll_by("@dir/tuned");
        if (!(fabs(tuned - was) > 1e-3 * fabs(was))) fail_msg("%s: %g, then %g", rows[i].method, was, tuned);
        r = SAY(NULL, "finetune", "@model", "--method", rows[i].plain, "--init-adapter", "@dir/tuned", "--data",
                "@dir/three.jsonl", "--steps", "1", "--lr", "0", "-o", "@dir/plain");
        expect(&r, 0, NULL);
        ran_free(&r);
        d = fabs(nll_by("@dir/plain") - tuned);
        if (!(d <= 1e-5 * fabs(tuned))) fail_msg("%s: %g apart beside the weights as they were", rows[i].method, d);
        assert_ok(bl_remove_tree(filled("@dir/begun"), &e));
        assert_ok(bl_remove_tree(filled("@dir/tuned"), &e));
        assert_ok(bl_remove_tree(filled("@dir/plain"), &e));
    }
    static const char *const own[] = {"qlora+rank=4+init=pissa", "qlora+rank=4+code=nf3"};
    ran r;
    for (size_t i = 0; i < BL_COUNT(own); i++) {
        r = SAY(NULL, "finetune", "@model", "--method", own[i], "--data", "@dir/three.jsonl", "--steps", "1", "-o",
                "@dir/rest");
        expect(&r, 0, NULL);
        assert_false(bl_exists(filled("@dir/rest/adapter_model.safetensors"))); /* beside that base alone */
        ran_free(&r);
        assert_ok(bl_remove_tree(filled("@dir/rest"), &e));
    }
    r = SAY(NULL, "finetune", "@model", "--method", "rtn:w4g24+lora+init=pissa", "--data", "@dir/three.jsonl", "-o",
            "@dir/no");
    expect(&r, 2, "before they are rounded");
    ran_free(&r);
    r = SAY(NULL, "finetune", "@model", "--method", "lora+init=olora+alpha=0", "--data", "@dir/three.jsonl", "-o",
            "@dir/no");
    expect(&r, 2, "an alpha above 0");
    ran_free(&r);
}

/* ---- a base that looks at text ---- */
#define LOOKS(method, out, ...)                                                                                        \
    "finetune", "@model", "--method", method, "--data", "@dir/three.jsonl", "--calib", "primer:test", "--calib-n",     \
        "3", "--calib-seqlen", "48", "--batch", "3", "--steps", "8", "--lr", "0.005", "-o", out, __VA_ARGS__

/* GPTQ as a stage before, or as the beginning of the same stage, is one base: the bytes of both runs are the same. */
static void adapters_are_trained_beside_what_gptq_rounds(void **state)
{
    static const char *const methods[] = {"gptq:w4g24+lora+rank=2", "gptq-lora:w4g24+rank=2+alpha=16"};
    bl_err e = {0};
    char *file[2] = {NULL}, *bytes[2];
    size_t n[2];
    (void)state;
    study_write(S.dir, "three.jsonl", lines);
    for (int i = 0; i < 2; i++) {
        ran r = SAY(NULL, LOOKS(methods[i], i ? "@dir/one" : "@dir/two", "--json"));
        expect(&r, 0, NULL);
        ran_free(&r);
        file[i] = bl_join(filled(i ? "@dir/one" : "@dir/two"), "adapter_model.safetensors", &e);
        assert_ok(bl_read_file(file[i], 1 << 28, &bytes[i], &n[i], &e));
    }
    assert_int_equal(n[0], n[1]);
    assert_memory_equal(bytes[0], bytes[1], n[0]);
    assert_true(nll_by("@dir/one") == nll_by("@dir/two"));
    for (int i = 0; i < 2; i++) {
        bl_free(file[i]);
        bl_free(bytes[i]);
    }
}

/* EfficientQAT's two phases, one after the other in a chain or by two commands, are the same; the second learns. */
static void scales_are_trained_end_to_end_after_blocks(void **state)
{
    bl_err e = {0};
    double loss[2];
    (void)state;
    study_write(S.dir, "three.jsonl", lines);
    ran r = SAY(NULL, LOOKS("efficientqat:w2g24+e2e-qp", "@dir/chain", "--curve", "@dir/chain.curve"));
    expect(&r, 0, NULL);
    ran_free(&r);
    r = SAY(NULL, "quantize", "@model", "--method", "efficientqat:w2g24", "--calib", "primer:test", "--calib-n", "3",
            "--calib-seqlen", "48", "-o", "@dir/blocks");
    expect(&r, 0, NULL);
    ran_free(&r);
    r = SAY(NULL, "finetune", "@dir/blocks", "--method", "e2e-qp", "--data", "@dir/three.jsonl", "--batch", "3",
            "--steps", "8", "--lr", "0.005", "-o", "@dir/scales");
    expect(&r, 0, NULL);
    ran_free(&r);
    assert_true(nll_by("@dir/chain") == nll_by("@dir/scales"));
    assert_true(nll_by("@dir/chain") != nll_by("@dir/blocks"));
    char *curve = text_of("@dir/chain.curve"), *rest = curve, *line;
    for (int k = 0; (line = strsep(&rest, "\n")) && *line; k++) {
        bl_json *j;
        assert_ok(bl_json_parse(line, strlen(line), "curve", BL_JSON_PLAIN, &j, &e));
        assert_ok(bl_json_get_real(j, "loss", &loss[k > 0], &e));
        bl_json_free(j);
    }
    assert_true(loss[1] < loss[0]);
    bl_free(curve);
}

/* Two bits break the model; the divergence from what it was, and the next token, lead back. */
static void adapters_correct_what_two_bits_broke(void **state)
{
    bl_err e = {0};
    double loss[2];
    (void)state;
    study_write(S.dir, "three.jsonl", lines);
    ran r = SAY(NULL, LOOKS("int2.1:w2g24+rank=4", "@dir/corrected", "--curve", "@dir/corrected.curve", "--json"));
    expect(&r, 0, NULL);
    bl_json *j;
    int64_t planned, peak;
    assert_ok(bl_json_parse(r.out, strlen(r.out), "finetune", BL_JSON_PLAIN, &j, &e));
    assert_ok(bl_json_get_int(j, "planned_bytes", &planned, &e));
    assert_ok(bl_json_get_int(j, "peak_bytes", &peak, &e));
    if (!(fabs((double)(planned - peak)) <= 0.1 * (double)peak)) /* of rows of different lengths: not of 5% */
        fail_msg("%lld bytes planned, %lld at most", (long long)planned, (long long)peak);
    bl_json_free(j);
    ran_free(&r);
    char *curve = text_of("@dir/corrected.curve"), *rest = curve, *line;
    for (int k = 0; (line = strsep(&rest, "\n")) && *line; k++) {
        assert_ok(bl_json_parse(line, strlen(line), "curve", BL_JSON_PLAIN, &j, &e));
        assert_ok(bl_json_get_real(j, "loss", &loss[k > 0], &e));
        bl_json_free(j);
    }
    assert_true(loss[1] < loss[0]);
    bl_free(curve);
    assert_ok(bl_remove_tree(filled("@dir/corrected"), &e));
}

/* The adapter of QA-LoRA beside the integers, and within their zero points, computes the same; with sums too. */
static void zero_points_take_an_adapter_in(void **state)
{
    static const char *const methods[] = {"qa-lora:w4g24+rank=2+scale=fp32", "qa-lora:w3g24+rank=2+pool=sum+scale=fp32",
                                          "qa-lora:w4g24+rank=2+targets=q_proj:down_proj"};
    bl_err e = {0};
    char text[128];
    (void)state;
    study_write(S.dir, "three.jsonl", lines);
    for (size_t i = 0; i < BL_COUNT(methods); i++) {
        ran r = SAY(NULL, LOOKS(methods[i], "@dir/within", "--json"));
        expect(&r, 0, NULL);
        ran_free(&r);
        snprintf(text, sizeof text, "%s+beside", methods[i]);
        r = SAY(NULL, LOOKS(text, "@dir/beside", "--json"));
        expect(&r, 0, NULL);
        ran_free(&r);
        const double within = nll_by("@dir/within"), beside = nll_by("@dir/beside");
        const double limit = strstr(methods[i], "fp32") ? 1e-5 : 2e-3; /* zero points in fp16 are rounded */
        if (!(fabs(within - beside) <= limit * fabs(beside)) || !(fabs(beside - nll_by("@model")) > 1e-2))
            fail_msg("%s: %.9g within, %.9g beside", methods[i], within, beside);
        r = SAY(NULL, "inspect", "@dir/within");
        expect(&r, 0, NULL);
        assert_true(!strstr(r.out, "adapter") || strstr(methods[i], "targets"));
        ran_free(&r);
        assert_ok(bl_remove_tree(filled("@dir/within"), &e));
        assert_ok(bl_remove_tree(filled("@dir/beside"), &e));
    }
}

/* ---- killed ---- */
/* Starts a training that stops at a fault point; it is killed there, or a little later. */
static void begin_and_kill(const char *point, useconds_t later, const char *const *argv)
{
    siginfo_t is = {0};
    setenv("BL_FAULT_POINT", point, 1);
    started p = program_begin(&S, NULL, NULL, argv);
    assert_int_equal(waitid(P_PID, (id_t)p.pid, &is, WSTOPPED | WEXITED | WNOWAIT), 0);
    if (is.si_code != CLD_STOPPED) {
        ran r = program_end(&p);
        fail_msg("ended before it came to %s: %s", point, r.err);
    }
    if (later) kill(p.pid, SIGCONT);
    usleep(later);
    program_kill(p.pid);
}

static void a_run_killed_twenty_times_ends_with_the_weights_of_one_that_was_not(void **state)
{
#define TRAIN(out, ...)                                                                                                \
    "finetune", "@model", "--method", "lora+rank=4+dropout=0.2", "--data", "@dir/three.jsonl", "--batch", "2",         \
        "--steps", "100", "--lr", "0.002", "--threads", "1", "--save-every", "1", "-o", out, __VA_ARGS__
    static const char *const resume[] = {TRAIN("@dir/killed", "--resume", "--curve", "@dir/killed.curve")};
    const char *argv[32] = {"bitladder"};
    bl_err e = {0};
    char **names;
    size_t n, compared = 0;
    (void)state;
    study_write(S.dir, "three.jsonl", lines);
    ran r = SAY(NULL, TRAIN("@dir/whole", "--curve", "@dir/whole.curve"));
    expect(&r, 0, NULL);
    ran_free(&r);
    for (size_t i = 0; i < BL_COUNT(resume); i++) argv[i + 1] = filled(resume[i]);
    for (int kills = 0; kills < 16; kills++) { /* as a state is written, and when it is there: 32 steps at most */
        char point[80];
        snprintf(point, sizeof point, "%s-rename:%d@killed.state", kills % 2 ? "after" : "before", 1 + kills % 3);
        begin_and_kill(point, 0, argv);
        assert_int_equal(bl_exists(filled("@dir/killed.state")), kills > 0 || point[0] == 'a');
    }
    for (int kills = 0; kills < 4 && !bl_exists(filled("@dir/killed")); kills++) /* and at any other moment */
        begin_and_kill("after-rename@killed.state", 1 + (useconds_t)(kills * 700), argv);
    if (!bl_exists(filled("@dir/killed"))) {
        r = program_with(&S, NULL, argv);
        expect(&r, 0, NULL);
        ran_free(&r);
    }
    char *x = text_of("@dir/whole.curve"), *y = text_of("@dir/killed.curve");
    assert_string_equal(x, y);
    bl_free(x);
    bl_free(y);
    assert_ok(bl_dir_list(filled("@dir/whole"), &names, &n, &e));
    for (size_t i = 0; i < n; i++) {
        if (!strstr(names[i], ".safetensors")) continue;
        char *a = bl_join(filled("@dir/whole"), names[i], &e), *b = bl_join(filled("@dir/killed"), names[i], &e);
        char *p, *q;
        size_t np, nq;
        assert_ok(bl_read_file(a, 1 << 28, &p, &np, &e));
        assert_ok(bl_read_file(b, 1 << 28, &q, &nq, &e));
        assert_int_equal(np, nq);
        assert_memory_equal(p, q, np);
        compared++;
        bl_free(a);
        bl_free(b);
        bl_free(p);
        bl_free(q);
    }
    assert_true(compared >= 2);
    bl_list_free(names, n);
    assert_ok(bl_dir_list(filled("@dir"), &names, &n, &e));
    for (size_t i = 0; i < n; i++) assert_null(strstr(names[i], "killed.state")); /* nothing is left on the way */
    bl_list_free(names, n);
}

/* Killed after the model was written and before its state was removed. */
static void a_state_that_outlived_its_run_goes_when_the_run_is_resumed(void **state)
{
    (void)state;
    study_write(S.dir, "three.jsonl", lines);
#define SHORT(...)                                                                                                     \
    "finetune", "@model", "--method", "lora+rank=2", "--data", "@dir/three.jsonl", "--steps", "4", "--save-every",     \
        "2", "-o", "@dir/short", __VA_ARGS__
    ran r = SAY(NULL, SHORT("--quiet"));
    expect(&r, 0, NULL);
    ran_free(&r);
    study_write(S.dir, "short.state", "what was left");
    r = SAY(NULL, SHORT("--quiet"));
    expect(&r, 2, "exists and is not empty");
    ran_free(&r);
    assert_true(bl_exists(filled("@dir/short.state")));
    r = SAY(NULL, SHORT("--resume"));
    expect(&r, 0, NULL);
    assert_non_null(strstr(r.out, "the run had ended"));
    ran_free(&r);
    assert_false(bl_exists(filled("@dir/short.state")));
    r = SAY(NULL, SHORT("--resume", "--lr", "0.5")); /* another run */
    expect(&r, 2, "exists and is not empty");
    ran_free(&r);
}

/* ---- refused ---- */
static void what_cannot_be_trained_is_refused_in_a_sentence(void **state)
{
    static const struct {
        const char *args[12], *says;
    } rows[] = {
        {{"--data", "@dir/three.jsonl", "-o", "@dir/no"}, "finetune needs --method METHOD"},
        {{"--method", "lora", "-o", "@dir/no"}, "finetune needs --data FILE"},
        {{"--method", "lora", "--data", "@dir/three.jsonl"}, "finetune needs -o OUT"},
        {{"--method", "rtn:w4", "--data", "@dir/three.jsonl", "-o", "@dir/no"}, "rtn is not trained"},
        {{"--method", "lora+rtn:w4", "--data", "@dir/three.jsonl", "-o", "@dir/no"},
         "lora+rtn:w4g128: rtn is not trained; bitladder quantize applies it to what training wrote"},
        {{"--method", "lora+targets=q_proj:x_proj", "--data", "@dir/three.jsonl", "-o", "@dir/no"}, "'x_proj'"},
        {{"--method", "lora", "--data", "@dir/absent", "-o", "@dir/no"}, "absent"},
        {{"--method", "lora", "--data", "@dir/odd.jsonl", "-o", "@dir/no"}, "odd.jsonl: line 2: id 300"},
        {{"--method", "lora", "--data", "@dir/three.jsonl", "-o", "@dir/no", "--betas", "0.9"}, "--betas: found '0.9'"},
        {{"--method", "lora", "--data", "@dir/three.jsonl", "-o", "@dir/no", "--batch", "3", "--accumulate", "2"},
         "a step of 3 sequences cannot be spread over 2 passes"},
        {{"--method", "lora", "--data", "@dir/three.jsonl", "-o", "@model"}, "output path"},
    };
    (void)state;
    study_write(S.dir, "three.jsonl", lines);
    study_write(S.dir, "odd.jsonl", "{\"ids\": [1, 2]}\n{\"ids\": [1, 300]}\n");
    for (size_t i = 0; i < BL_COUNT(rows); i++) {
        const char *args[24] = {"finetune", "@model"};
        for (int k = 0; rows[i].args[k]; k++) args[2 + k] = rows[i].args[k];
        ran r = said(NULL, args);
        expect(&r, 2, rows[i].says);
        assert_false(bl_exists(filled("@dir/no")));
        assert_int_equal(count_ending(S.dir, ".state"), 0);
        ran_free(&r);
    }
    ran r = SAY(NULL, "finetune", "@model", "--method", "lora", "--data", "@dir/three.jsonl", "--steps", "2",
                "--save-every", "1", "--curve", "@dir/absent/curve", "-o", "@dir/no");
    expect(&r, 4, "absent/curve: cannot create"); /* before the first step */
    assert_int_equal(count_ending(S.dir, ".state"), 0);
    ran_free(&r);
}

static void a_run_that_diverges_leaves_its_curve_and_no_model(void **state)
{
    (void)state;
    study_write(S.dir, "three.jsonl", lines);
    ran r = SAY(NULL, "finetune", "@model", "--method", "full", "--data", "@dir/three.jsonl", "--steps", "9", "--lr",
                "1e6", "--clip", "0", "--decay", "1e6", "--curve", "@dir/wild.curve", "-o", "@dir/wild");
    assert_int_not_equal(r.code, 0);
    assert_non_null(strstr(r.err, "is not finite"));
    char *curve = text_of("@dir/wild.curve");
    assert_true(lines_of(curve) >= 1 && lines_of(curve) < 9);
    assert_true(bl_exists(filled("@dir/wild.curve.hdf5")));
    assert_false(bl_exists(filled("@dir/wild")));
    bl_free(curve);
    ran_free(&r);
}

static void curves_of_runs_are_one_figure(void **state)
{
    static const char *const methods[] = {"full", "lora+rank=2"};
    bl_err e = {0};
    char *csv;
    (void)state;
    assert_ok(bl_make_dirs(filled("@dir/runs"), &e));
    study_write(S.dir, "runs/three.jsonl", lines);
    for (int i = 0; i < 2; i++) {
        ran r = SAY(NULL, "finetune", "@model", "--method", methods[i], "--data", "@dir/runs/three.jsonl", "--steps",
                    "4", "-o", i ? "@dir/runs/lora" : "@dir/runs/full");
        expect(&r, 0, NULL);
        ran_free(&r);
    }
    ran r = SAY(NULL, "plot", "@dir/runs");
    if (strstr(r.err, "gnuplot-nox")) assert_int_equal(r.code, 1);
    else {
        expect(&r, 0, NULL);
        assert_non_null(strstr(r.out, "runs/plots/loss.png"));
        assert_int_equal(lines_of(r.out), 1); /* nothing else fits */
    }
    ran_free(&r);
    csv = text_of("@dir/runs/plots/loss.csv"); /* three panels of two runs of four steps */
    assert_int_equal(lines_of(csv), 1 + 3 * 2 * 4);
    assert_non_null(strstr(csv, "\"full\",1,4,"));
    assert_non_null(strstr(csv, "\"lora\",2,4,"));
    bl_free(csv);

    r = SAY(NULL, "plot", "@dir/runs/lora/"); /* a trained model: the curve beside it */
    assert_true(r.code == 0 || strstr(r.err, "gnuplot-nox"));
    ran_free(&r);
    csv = text_of("@dir/runs/plots/loss.csv");
    assert_int_equal(lines_of(csv), 1 + 3 * 4);
    bl_free(csv);
    assert_false(bl_exists(filled("@dir/runs/lora/plots")));

    study_write(S.dir, "runs/odd.curve.hdf5", "no curve");
    r = SAY(NULL, "plot", "@dir/runs", "loss");
    assert_int_equal(r.code, 1);
    assert_non_null(strstr(r.err, "skipped: "));
    assert_non_null(strstr(r.err, "odd.curve.hdf5"));
    ran_free(&r);
    r = SAY(NULL, "table", "@dir/runs");
    expect(&r, 2, "no results");
    ran_free(&r);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(what_cannot_be_trained_is_refused_in_a_sentence),
        cmocka_unit_test(ten_losses_through_the_program_are_those_of_pytorch),
        cmocka_unit_test(an_adapter_that_was_written_begins_another_run_as_it_is),
        cmocka_unit_test(steps_of_adapters_through_the_program_are_those_of_peft),
        cmocka_unit_test(adapters_are_trained_beside_what_gptq_rounds),
        cmocka_unit_test(zero_points_take_an_adapter_in),
        cmocka_unit_test(scales_are_trained_end_to_end_after_blocks),
        cmocka_unit_test(adapters_correct_what_two_bits_broke),
        cmocka_unit_test(a_state_that_outlived_its_run_goes_when_the_run_is_resumed),
        cmocka_unit_test(methods_that_learn_are_rows_of_a_study_with_their_adapters_and_merged),
        cmocka_unit_test(examples_of_every_format_train_and_wrong_ones_are_refused_by_line),
        cmocka_unit_test(what_was_trained_is_a_model_for_every_verb),
        cmocka_unit_test(adapters_that_begin_as_a_part_of_the_weight_are_given_as_its_change),
        cmocka_unit_test(curves_of_runs_are_one_figure),
        cmocka_unit_test(a_run_that_diverges_leaves_its_curve_and_no_model),
        cmocka_unit_test(a_run_killed_twenty_times_ends_with_the_weights_of_one_that_was_not),
    };
    return cmocka_run_group_tests(tests, begin_study, end_study);
}
