/* finetune through the program: adapters in the files of peft, beside a base that was rounded and within it. */
#include "finetune_fixture.h"
#include "harness/checkpoint/arch.h"
#include "harness/checkpoint/peft.h"
#include "harness/train/settings.h"

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
    ran r = SAY(NULL, "finetune", "@model", "--method", "rtn:w4g24+lora+init=pissa", "--data", "@dir/three.jsonl", "-o",
                "@dir/no");
    expect(&r, 2, "before they are rounded");
    ran_free(&r);
    r = SAY(NULL, "finetune", "@model", "--method", "lora+init=olora+alpha=0", "--data", "@dir/three.jsonl", "-o",
            "@dir/no");
    expect(&r, 2, "an alpha above 0");
    ran_free(&r);
}

/* Over a base that no other program has: the weights beside the adapters are exported, and the adapters that were
 * written compute beside them what was trained. */
static void files_of_adapters_go_with_the_base_that_is_exported(void **state)
{
    static const struct {
        const char *method, *plain;
    } rows[] = {{"loftq:w2+rank=4+alpha=8", "lora+rank=4+alpha=8"},
                {"loftq:w4+code=int+rank=4+alpha=4+rslora+targets=q_proj:v_proj",
                 "lora+rank=4+alpha=4+rslora+targets=q_proj:v_proj"},
                {"lq-lora:2.75+rank=4+plain+rounds=2+grid-rounds=1", "lora+rank=4+alpha=16"},
                {"lq-lora:2.75+rank=4+plain+rounds=2+grid-rounds=1+adapters=nf8", "lora+rank=4+alpha=16"},
                {"loftq:w5+rank=4", "lora+rank=4"},
                {"ir-qlora:w3+rank=4", "lora+rank=4+alpha=16"},
                {"qlora+rank=4+code=nf3+dora", "lora+rank=4+dora"},
                {"qlora+rank=4+init=pissa", "lora+rank=4"}};
    bl_err e = {0};
    (void)state;
    study_write(S.dir, "three.jsonl", lines);
    for (size_t i = 0; i < BL_COUNT(rows); i++) {
        ran r = SAY(NULL, "finetune", "@model", "--method", rows[i].method, "--data", "@dir/three.jsonl", "--steps",
                    "4", "--lr", "0.01", "-o", "@dir/tuned");
        expect(&r, 0, NULL);
        ran_free(&r);
        char *config = text_of("@dir/tuned/adapter_config.json");
        assert_non_null(strstr(config, " rounds it\"")); /* not the model as it was */
        bl_free(config);
        r = SAY(NULL, "export", "@dir/tuned", "--type", "fp32", "-o", "@dir/base");
        expect(&r, 2, "it has an adapter");
        ran_free(&r);
        r = SAY(NULL, "export", "@dir/tuned", "--type", "fp32", "--without-adapters", "-o", "@dir/base");
        expect(&r, 0, NULL);
        ran_free(&r);
        r = SAY(NULL, "finetune", "@dir/base", "--method", rows[i].plain, "--init-adapter", "@dir/tuned", "--data",
                "@dir/three.jsonl", "--steps", "1", "--lr", "0", "-o", "@dir/plain");
        expect(&r, 0, NULL);
        ran_free(&r);
        const double tuned = nll_by("@dir/tuned"), plain = nll_by("@dir/plain"), base = nll_by("@dir/base");
        if (!(fabs(plain - tuned) <= 1e-5 * fabs(tuned)) || !(fabs(base - tuned) > 1e-3 * fabs(tuned)))
            fail_msg("%s: %.9g, beside the base that was exported %.9g, that alone %.9g", rows[i].method, tuned, plain,
                     base);
        assert_ok(bl_remove_tree(filled("@dir/tuned"), &e));
        assert_ok(bl_remove_tree(filled("@dir/base"), &e));
        assert_ok(bl_remove_tree(filled("@dir/plain"), &e));
    }
    ran r = SAY(NULL, "export", "@model", "--format", "gguf", "--without-adapters", "-o", "@dir/no");
    expect(&r, 2, "of --format safetensors");
    ran_free(&r);
}

/* ---- adapters of eight bits ---- */
/* What is stored of A or B: NF8 in groups of 64 numbers in row order, scales in codes of 8 bits (8, 8, fp32, 64, 256),
 * the bytes that packing the f32 numbers of the same run gives. Returns them. */
static uint64_t same_as_packed(bl_checkpoint *c, const bl_stored *t, const float *x, int64_t n)
{
    const bl_format *f = bl_format_find("nf8_lq");
    const int64_t groups = (n + 63) / 64;
    const bl_shape shape = {.out = n % 64 ? 1 : n / 64, .in = n % 64 ? n : 64, .group = BL_MIN(64, n), .scale = BL_F32};
    bl_part_spec spec[BL_MAX_PARTS];
    void *part[BL_MAX_PARTS];
    uint64_t bytes = 0;
    bl_err e = {0};
    assert_ptr_equal(t->format, f);
    assert_int_equal(t->shape.out * t->shape.in, n);
    const int n_parts = f->parts(f, &shape, spec);
    for (int i = 0; i < n_parts; i++)
        part[i] = calloc((size_t)(spec[i].rows * spec[i].cols) + 8, bl_dtype_bytes(spec[i].dtype));
    assert_ok(f->pack(f, &shape, x, part, &e));
    float *want = malloc((size_t)n * sizeof *want), *got = malloc((size_t)n * sizeof *got);
    for (int64_t r = 0; r < shape.out; r++)
        f->unpack(f, &shape, (const void *const *)part, r, 0, shape.in, want + r * shape.in);
    assert_ok(bl_checkpoint_dense(c, t, 0, t->shape.out, got, &e));
    assert_memory_equal(want, got, (size_t)n * sizeof *want);
    for (int i = 0; i < n_parts; i++) {
        bytes += t->part[i].bytes;
        free(part[i]);
    }
    assert_int_equal(bytes, n + groups + 4 * ((groups + 255) / 256) + 4);
    free(want);
    free(got);
    return bytes;
}

static double bits_of(const char *model)
{
    bl_err e = {0};
    double bits;
    bl_json *j;
    ran r = SAY(NULL, "inspect", model, "--json");
    expect(&r, 0, NULL);
    assert_ok(bl_json_parse(r.out, strlen(r.out), "inspect", BL_JSON_PLAIN, &j, &e));
    assert_ok(bl_json_get_real(j, "bits_per_weight", &bits, &e));
    bl_json_free(j);
    ran_free(&r);
    return bits;
}

/* `type`: what adapters are while they are trained. */
static void rounded_to_eight_bits(const char *type)
{
    static const char f32[] = "lq-lora:2.75+rank=5+plain+rounds=2+grid-rounds=1";
    bl_err e = {0};
    char text[100];
    bl_checkpoint *c, *again;
    bl_peft *p;
    uint64_t bytes = 0;
    uint32_t wide = 0; /* bits of the run's numbers that bf16 has not */
    double numbers = 0, weights = 0, bits[3];
    snprintf(text, sizeof text, "%s+adapters=nf8", f32);
    for (int k = 0; k < 3; k++) { /* the last one reads the second and writes it, with something beside */
        static const char *const out[] = {"@dir/f32", "@dir/nf8", "@dir/more"};
        const char *method = k == 2 ? "lora+rank=1+targets=q_proj" : k ? text : f32;
        ran r = SAY(NULL, "finetune", k == 2 ? "@dir/nf8" : "@model", "--method", method, "--data", "@dir/three.jsonl",
                    "--steps", "3", "--lr", k == 2 ? "0" : "0.005", "--threads", "1", "--adapter-type",
                    k == 2 ? "fp32" : type, "-o", out[k]);
        expect(&r, 0, NULL);
        ran_free(&r);
        bits[k] = bits_of(out[k]);
    }
    assert_ok(bl_peft_read(filled("@dir/f32"), &p, &e));
    assert_ok(bl_checkpoint_open(filled("@dir/nf8"), NULL, &c, &e));
    assert_ok(bl_checkpoint_open(filled("@dir/more"), NULL, &again, &e));
    for (size_t i = 0; i < bl_checkpoint_count(c); i++) {
        const bl_stored *t = bl_checkpoint_at(c, i), *u = bl_checkpoint_find(again, t->name);
        char name[160];
        if (bl_roles[t->role].kind == BL_KIND_LINEAR && bl_roles[t->role].block)
            weights += (double)t->shape.out * (double)t->shape.in;
        if (!t->n_adapters) continue;
        assert_non_null(t->adapter[0].packed);
        for (int k = 0; k < 2; k++) {
            snprintf(name, sizeof name, "%.*slora_%c", (int)(strlen(t->name) - strlen("weight")), t->name, "AB"[k]);
            const bl_peft_tensor *x = bl_peft_find(p, name);
            assert_non_null(x);
            for (int64_t v = 0; v < x->rows * x->cols; v++) {
                uint32_t low;
                memcpy(&low, &x->value[v], sizeof low);
                wide |= low & 0xffff;
            }
            bytes += same_as_packed(c, &t->adapter[0].packed[k], x->value, x->rows * x->cols);
            (void)same_as_packed(again, &u->adapter[0].packed[k], x->value, x->rows * x->cols);
            numbers += (double)(x->rows * x->cols);
        }
    }
    assert_true(numbers > 0 && (wide != 0) == (strcmp(type, "fp32") == 0));
    /* what is said of bits is what lies there: 4 bytes a number less */
    assert_float_equal(bits[0] - bits[1], (4 * numbers - (double)bytes) * 8 / weights, 1e-9);
    bl_checkpoint_close(c);
    bl_checkpoint_close(again);
    bl_peft_free(p);
    const double rounded = nll_by("@dir/nf8"), exact = nll_by("@dir/f32");
    if (!(fabs(rounded - exact) < 1e-2 * fabs(exact)) || !(rounded != exact) || !(nll_by("@dir/more") == rounded))
        fail_msg("%.9g with adapters of 8 bits, %.9g of 32", rounded, exact);
    ran r = SAY(NULL, "inspect", "@dir/nf8");
    expect(&r, 0, NULL);
    assert_non_null(strstr(r.out, "adapter of rank 5 in nf8_lq"));
    ran_free(&r);
    assert_ok(bl_remove_tree(filled("@dir/f32"), &e));
    assert_ok(bl_remove_tree(filled("@dir/nf8"), &e));
    assert_ok(bl_remove_tree(filled("@dir/more"), &e));
}

static void adapters_of_eight_bits_are_those_of_the_run_rounded(void **state)
{
    (void)state;
    study_write(S.dir, "three.jsonl", lines);
    for (size_t i = 0; bl_narrow_types[i]; i++) rounded_to_eight_bits(bl_narrow_types[i]);
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
    ends_of_curve("@dir/chain.curve", loss);
    assert_true(loss[1] < loss[0]);
}

/* Two bits break the model; the divergence from what it was, and the next token, lead back. */
static void adapters_correct_what_two_bits_broke(void **state)
{
    bl_err e = {0};
    double loss[2];
    (void)state;
    study_write(S.dir, "three.jsonl", lines);
    static const char *const methods[] = {"int2.1:w2g24+rank=4", "int2.1:w2g24+rank=4+topk=8"};
    for (size_t i = 0; i < BL_COUNT(methods); i++) {
        ran r = SAY(NULL, LOOKS(methods[i], "@dir/corrected", "--curve", "@dir/corrected.curve", "--json"));
        expect(&r, 0, NULL);
        bl_json *j;
        int64_t planned, peak;
        assert_ok(bl_json_parse(r.out, strlen(r.out), "finetune", BL_JSON_PLAIN, &j, &e));
        assert_ok(bl_json_get_int(j, "planned_bytes", &planned, &e));
        assert_ok(bl_json_get_int(j, "peak_bytes", &peak, &e));
        if (!(fabs((double)(planned - peak)) <= 0.05 * (double)peak))
            fail_msg("%lld bytes planned, %lld at most", (long long)planned, (long long)peak);
        bl_json_free(j);
        ran_free(&r);
        ends_of_curve("@dir/corrected.curve", loss);
        assert_true(loss[1] < loss[0]);
        assert_ok(bl_remove_tree(filled("@dir/corrected"), &e));
    }
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

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(an_adapter_that_was_written_begins_another_run_as_it_is),
        cmocka_unit_test(steps_of_adapters_through_the_program_are_those_of_peft),
        cmocka_unit_test(adapters_are_trained_beside_what_gptq_rounds),
        cmocka_unit_test(zero_points_take_an_adapter_in),
        cmocka_unit_test(scales_are_trained_end_to_end_after_blocks),
        cmocka_unit_test(adapters_correct_what_two_bits_broke),
        cmocka_unit_test(files_of_adapters_go_with_the_base_that_is_exported),
        cmocka_unit_test(adapters_of_eight_bits_are_those_of_the_run_rounded),
        cmocka_unit_test(adapters_that_begin_as_a_part_of_the_weight_are_given_as_its_change),
    };
    return cmocka_run_group_tests(tests, begin_study, end_study);
}
