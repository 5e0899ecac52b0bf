/* Gradients and training runs against PyTorch: autograd in double, AdamW with clipping, peft's LoRA on a float32 base
 * and on bitsandbytes' NF4. Recorded as README of the golden files says. */
#include "golden_file.h"
#include "harness/train/gradients.h"
#include "harness/train/optimizer.h"
#include "harness/train/schedule.h"
#include "model_fixture.h"
#include <math.h>

static const char tiny[] = "tinystories656K", smol[] = "smollm2-135m/SmolLM2-135M-Instruct.Q4_1.gguf";

typedef struct setting {
    golden g;
    fixture f;
    bl_trainable *t;
} setting;
static void begin(setting *s, const char *recorded, const char *model)
{
    bl_err e = {0};
    golden_open(&s->g, test_path("BITLADDER_GOLDEN", recorded));
    s->f = fixture_open(test_path("BITLADDER_MODELS", model), "", 2, false);
    assert_ok(bl_trainable_new(s->f.m, &s->t, &e));
}
static void end(setting *s)
{
    bl_trainable_free(s->t);
    fixture_close(&s->f);
    golden_close(&s->g);
}

static void ids_of(const golden *g, const char *name, int32_t *to, int64_t n)
{
    const int64_t *from = golden_need(g, name, "I64", n);
    for (int64_t i = 0; i < n; i++) to[i] = (int32_t)from[i];
}

static float *host(const setting *s, const bl_tensor *t)
{
    bl_err e = {0};
    float *x = malloc(bl_tensor_bytes(t));
    assert_ok(s->f.be->ops->download(s->f.be, t, x, &e));
    return x;
}

/* |x - y| / |y| */
static double apart(const float *x, const float *y, int64_t n)
{
    double d = 0, p = 0;
    for (int64_t i = 0; i < n; i++) {
        d += ((double)x[i] - y[i]) * ((double)x[i] - y[i]);
        p += (double)y[i] * y[i];
    }
    return sqrt(d / p);
}

static void assert_close(const setting *s, const char *name, const bl_tensor *got, const float *want, double limit)
{
    float *x = host(s, got);
    double d = apart(x, want, bl_tensor_count(got));
    if (!(d <= limit)) fail_msg("%s: %g apart, limit %g", name, d, limit);
    free(x);
}

static void gradients_of_a_small_model_are_those_of_autograd(void **state)
{
    (void)state;
    BL_NEEDS("BITLADDER_GOLDEN");
    BL_NEEDS("BITLADDER_MODELS");
    enum { A = 33, B = 20 };
    bl_err e = {0};
    int32_t ids[A + B], mask32[A + B];
    uint8_t mask[A + B];
    double nll;
    char name[192];
    setting s;
    begin(&s, "tinystories656k/gradients.safetensors", tiny);
    ids_of(&s.g, "a.ids", ids, A);
    ids_of(&s.g, "b.ids", ids + A, B);
    ids_of(&s.g, "a.mask", mask32, A);
    ids_of(&s.g, "b.mask", mask32 + A, B);
    for (int i = 0; i < A + B; i++) mask[i] = mask32[i] == 1;
    bl_train_batch b = {.ids = ids, .n_seq = 2, .start = (const int32_t[]){0, A, A + B}, .mask = mask};
    int64_t n = bl_train_batch_tokens(&b);
    assert_int_equal(n, 32 + 12);
    assert_ok(bl_train_full(s.t, &e));
    assert_ok(bl_gradients(s.t, &b, 1.0 / (double)n, &nll, &e));
    assert_true(fabs(nll / (double)n - *(const double *)golden_need(&s.g, "loss", "F64", 1)) < 1e-5);
    for (size_t i = 0; i < s.t->n_params; i++) {
        const bl_trained *p = &s.t->param[i];
        snprintf(name, sizeof name, "grad.%s", p->name);
        assert_close(&s, name, &p->grad, golden_need(&s.g, name, "F32", bl_tensor_count(&p->grad)), 1e-5);
    }
    end(&s);
}

static void gradients_of_smollm2_are_those_of_autograd(void **state)
{
    (void)state;
    BL_NEEDS("BITLADDER_GOLDEN");
    BL_NEEDS("BITLADDER_MODELS");
    enum { N = 64 };
    bl_err e = {0};
    int32_t ids[N];
    double nll, want;
    size_t whole = 0;
    char name[192];
    setting s;
    bl_json *norms;
    begin(&s, "smollm2-135m/gradients.safetensors", smol);
    int64_t dim = s.f.m->config.dim;
    ids_of(&s.g, "ids", ids, N);
    const char *text = golden_note(&s.g, "norms");
    assert_ok(bl_json_parse(text, strlen(text), "norms", BL_JSON_PLAIN, &norms, &e));
    assert_ok(bl_train_full(s.t, &e));
    bl_train_batch b = {.ids = ids, .n_seq = 1, .start = (const int32_t[]){0, N}};
    assert_ok(bl_gradients(s.t, &b, 1.0 / (N - 1), &nll, &e));
    assert_true(fabs(nll / (N - 1) - *(const double *)golden_need(&s.g, "loss", "F64", 1)) < 1e-4);
    for (size_t i = 0; i < s.t->n_params; i++) {
        const bl_trained *p = &s.t->param[i];
        float *x = host(&s, &p->grad);
        double sum = 0;
        for (int64_t k = 0; k < bl_tensor_count(&p->grad); k++) sum += (double)x[k] * x[k];
        assert_ok(bl_json_real(bl_json_get(norms, p->name), &want, &e));
        if (!(fabs(sqrt(sum) - want) <= 1e-3 * want))
            fail_msg("%s: norm %.9g, recorded %.9g", p->name, sqrt(sum), want);
        snprintf(name, sizeof name, "grad.%s", p->name);
        const float *recorded = golden_get(&s.g, name, "F32", NULL, NULL);
        if (recorded && !(apart(x, recorded, bl_tensor_count(&p->grad)) <= 1e-3))
            fail_msg("%s: %g apart", name, apart(x, recorded, bl_tensor_count(&p->grad)));
        whole += recorded != NULL;
        if (strcmp(p->name, "model.embed_tokens.weight") == 0) { /* rows of both its uses */
            const float *rows = golden_need(&s.g, "grad.embed.rows", "F32", N * dim);
            for (int i = 0; i < N; i++) assert_true(apart(x + ids[i] * dim, rows + i * dim, dim) <= 1e-3);
        }
        free(x);
    }
    assert_int_equal(whole, 9);
    bl_json_free(norms);
    end(&s);
}

/* The first of the steps on ids [steps, rows, length]; losses and norms against the recorded ones. */
static void train(setting *s, bl_adamw *o, double lr, int64_t warm, int taken, int steps, int rows, int length)
{
    bl_err e = {0};
    int64_t each = (int64_t)rows * length;
    int32_t *ids = malloc((size_t)(steps * each) * sizeof *ids), start[16];
    const float *loss = golden_need(&s->g, "loss", "F32", steps),
                *norms = golden_need(&s->g, "grad_norm", "F32", steps);
    ids_of(&s->g, "ids", ids, steps * each);
    for (int r = 0; r <= rows; r++) start[r] = r * length;
    for (int k = 0; k < taken; k++) {
        bl_train_batch b = {.ids = ids + k * each, .n_seq = rows, .start = start};
        double nll, norm, n = (double)bl_train_batch_tokens(&b), limit = k < 5 ? 1e-4 : 1e-3;
        assert_ok(bl_gradients(s->t, &b, 1 / n, &nll, &e));
        assert_ok(bl_adamw_step(o, s->t, warm ? lr * fmin(1, (k + 1.0) / (double)warm) : lr, &norm, &e));
        if (!(fabs(nll / n - loss[k]) <= limit)) fail_msg("step %d: loss %.7g, recorded %.7g", k, nll / n, loss[k]);
        if (!(fabs(norm - norms[k]) <= 10 * limit * norms[k]))
            fail_msg("step %d: norm %.7g, recorded %.7g", k, norm, norms[k]);
    }
    assert_int_equal(o->step, taken);
    free(ids);
}

static void ten_steps_of_full_finetuning_are_those_of_pytorch(void **state)
{
    (void)state;
    BL_NEEDS("BITLADDER_GOLDEN");
    BL_NEEDS("BITLADDER_MODELS");
    bl_err e = {0};
    char name[192];
    setting s;
    bl_adamw o = {.beta1 = 0.9, .beta2 = 0.999, .eps = 1e-8, .decay = 0.01, .clip = 1};
    begin(&s, "tinystories656k/full_finetune.safetensors", tiny);
    assert_ok(bl_train_full(s.t, &e));
    train(&s, &o, 1e-3, 0, 10, 10, 4, 48);
    for (size_t i = 0; i < s.t->n_params; i++) {
        const bl_trained *p = &s.t->param[i];
        snprintf(name, sizeof name, "final.%s", p->name);
        assert_close(&s, name, &p->value, golden_need(&s.g, name, "F32", bl_tensor_count(&p->value)), 1e-3);
    }
    end(&s);
}

/* A of the recording: (((131 i + 17 j + 29 layer + 53 module) mod 97) - 48) / (48 sqrt(in)). */
static void set_a(setting *s)
{
    static const bl_role order[] = {BL_ROLE_Q, BL_ROLE_K, BL_ROLE_V, BL_ROLE_O, BL_ROLE_GATE, BL_ROLE_UP, BL_ROLE_DOWN};
    bl_err e = {0};
    for (int64_t b = 0; b < s->f.m->config.n_layers; b++)
        for (int k = 0; k < 7; k++) {
            const bl_linear *l = bl_model_linear(s->f.m, b, order[k]);
            float *x = malloc((size_t)(8 * l->in) * sizeof *x);
            for (int64_t i = 0; i < 8; i++)
                for (int64_t j = 0; j < l->in; j++)
                    x[i * l->in + j] = (float)((i * 131 + j * 17 + b * 29 + k * 53) % 97 - 48) /
                                       (48 * sqrtf((float)l->in));
            assert_ok(s->f.be->ops->upload(s->f.be, &l->adapter[0].a, x, &e));
            free(x);
        }
}

static void assert_final(const setting *s, double limit)
{
    char name[256], part[192];
    for (int block = 0; block < 30; block += 29)
        for (size_t i = 0; i < s->t->n_params; i++) {
            const bl_trained *p = &s->t->param[i];
            snprintf(part, sizeof part, "model.layers.%d.", block);
            if (strncmp(p->name, part, strlen(part)) != 0) continue;
            snprintf(name, sizeof name, "final.base_model.model.%s.default.weight", p->name);
            assert_close(s, name, &p->value, golden_need(&s->g, name, "F32", bl_tensor_count(&p->value)), limit);
        }
}

enum { SMOL_STEPS = SANITIZED ? 3 : 10 };

static void ten_steps_of_lora_are_those_of_peft(void **state)
{
    (void)state;
    BL_NEEDS("BITLADDER_GOLDEN");
    BL_NEEDS("BITLADDER_MODELS");
    bl_err e = {0};
    setting s;
    bl_adamw o = {.beta1 = 0.9, .beta2 = 0.999, .eps = 1e-8, .clip = 0.3};
    begin(&s, "smollm2-135m/lora.safetensors", smol);
    assert_ok(bl_train_lora(s.t, &(bl_lora){.rank = 8, .alpha = 16}, &e));
    assert_int_equal(bl_trainable_count(s.t), 2442240);
    set_a(&s);
    train(&s, &o, 1e-3, 3, SMOL_STEPS, 10, 2, 64);
    if (SMOL_STEPS == 10) assert_final(&s, 0.02);
    end(&s);
}

static void ten_steps_of_qlora_are_those_of_peft_on_bitsandbytes(void **state)
{
    (void)state;
    BL_NEEDS("BITLADDER_GOLDEN");
    BL_NEEDS("BITLADDER_MODELS");
    bl_err e = {0};
    setting s;
    bl_adamw o = {.beta1 = 0.9, .beta2 = 0.999, .eps = 1e-8, .clip = 0.3};
    begin(&s, "smollm2-135m/qlora_nf4.safetensors", smol);
    for (size_t i = 0; i < s.f.m->n_linears; i++) {
        bl_linear *l = &s.f.m->linears[i];
        bl_shape shape = {.out = l->out, .in = l->in, .group = 64, .scale = BL_F32, .double_quant = true};
        bl_weight w;
        bl_tensor dense;
        assert_ok(bl_linear_dense(s.f.be, l, &dense, &e));
        assert_ok(bl_weight_new(s.f.be, bl_format_find("nf4"), &shape, &w, &e));
        assert_ok(s.f.be->ops->pack(s.f.be, &(bl_pack_args){.x = dense, .w = &w}, &e));
        bl_linear_set_weight(l, &w);
        s.f.be->ops->buffer_free(dense.buf);
    }
    assert_ok(bl_train_lora(s.t, &(bl_lora){.rank = 8, .alpha = 16}, &e));
    set_a(&s);
    train(&s, &o, 1e-3, 3, SMOL_STEPS, 10, 2, 64);
    if (SMOL_STEPS == 10) assert_final(&s, 0.02);
    end(&s);
}

static void schedules_are_those_of_transformers(void **state)
{
    (void)state;
    BL_NEEDS("BITLADDER_GOLDEN");
    bl_err e = {0};
    char *text;
    size_t n, kinds = 0;
    bl_json *all;
    assert_ok(bl_read_file(test_path("BITLADDER_GOLDEN", "finetune/schedules.json"), 1 << 20, &text, &n, &e));
    assert_ok(bl_json_parse(text, n, "schedules.json", BL_JSON_PLAIN, &all, &e));
    for (; kinds < BL_SCHEDULE_RAMP; kinds++) { /* which is not of transformers */
        const bl_json *list = bl_json_get(bl_json_get(all, "schedules"), bl_schedule_names[kinds]);
        bl_schedule s = {.kind = (bl_schedule_kind)kinds, .warmup = 4, .steps = 20, .cycles = 2, .least = 0.1};
        int64_t step = 0;
        for (const bl_json *j = bl_json_first(list); j; j = bl_json_next(j)) {
            double want;
            assert_ok(bl_json_real(j, &want, &e));
            if (!(fabs(bl_schedule_factor(&s, ++step) - want) < 1e-12))
                fail_msg("%s, step %d: %.15g, recorded %.15g", bl_schedule_names[kinds], (int)step,
                         bl_schedule_factor(&s, step), want);
        }
        assert_int_equal(step, 20);
    }
    assert_int_equal(kinds, 7);
    bl_json_free(all);
    bl_free(text);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(schedules_are_those_of_transformers),
        cmocka_unit_test(gradients_of_a_small_model_are_those_of_autograd),
        cmocka_unit_test(ten_steps_of_full_finetuning_are_those_of_pytorch),
        cmocka_unit_test(gradients_of_smollm2_are_those_of_autograd),
        cmocka_unit_test(ten_steps_of_lora_are_those_of_peft),
        cmocka_unit_test(ten_steps_of_qlora_are_those_of_peft_on_bitsandbytes),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
