/* What adapters begin as, beside what peft recorded: PiSSA (with and without rank-stabilized scale), OLoRA and LoftQ.
 */
#include "golden_file.h"
#include "harness/train/effective.h"
#include "method_run.h"
#include "kernels/factor.h"
#include <math.h>
#include <omp.h>
#include <stdlib.h>

enum { OUT = 96, IN = 128, RANK = 8 };

/* Factors are the recorded ones, triple by triple up to their sign; with them the rest is the recorded one. */
static void same_factors(const golden *g, const char *name, const float *a, const float *b, double by, int64_t rank)
{
    char key[64];
    snprintf(key, sizeof key, "%s.lora_A", name);
    const float *want_a = golden_need(g, key, "F32", rank * IN);
    snprintf(key, sizeof key, "%s.lora_B", name);
    const float *want_b = golden_need(g, key, "F32", OUT * rank);
    snprintf(key, sizeof key, "%s.residual", name);
    const float *want = golden_need(g, key, "F32", OUT * IN);
    snprintf(key, sizeof key, "%s.scaling", name);
    const double scale = *(const float *)golden_need(g, key, "F32", 1);
    static float left[OUT * IN], mine_a[16 * IN], mine_b[OUT * 16];

    for (int64_t i = 0; i < rank * IN; i++) mine_a[i] = (float)(by * a[i]);
    for (int64_t i = 0; i < OUT * rank; i++) mine_b[i] = (float)(by * b[i]);
    for (int64_t k = 0; k < rank; k++) {
        double dot = 0;
        for (int64_t i = 0; i < IN; i++) dot += (double)mine_a[k * IN + i] * want_a[k * IN + i];
        const float sign = dot < 0 ? -1 : 1;
        for (int64_t i = 0; i < IN; i++) assert_float_equal(sign * mine_a[k * IN + i], want_a[k * IN + i], 2e-5);
        for (int64_t i = 0; i < OUT; i++) assert_float_equal(sign * mine_b[i * rank + k], want_b[i * rank + k], 2e-5);
    }
    bl_factor_rest(golden_need(g, "weight", "F32", OUT * IN), OUT, IN, rank, mine_a, mine_b, scale, left);
    for (int64_t i = 0; i < OUT * IN; i++) assert_float_equal(left[i], want[i], 2e-5);
}

static void adapters_begin_as_those_of_peft(void **state)
{
    static float a[16 * IN], b[OUT * 16];
    bl_err e = {0};
    golden g;
    (void)state;
    BL_NEEDS("BITLADDER_GOLDEN");
    golden_open(&g, test_path("BITLADDER_GOLDEN", "finetune/peft_variants.safetensors"));
    const float *w = golden_need(&g, "weight", "F32", OUT * IN);
    assert_ok(bl_factor_svd(w, OUT, IN, RANK, a, b, &e));
    same_factors(&g, "pissa", a, b, 1 / sqrt(*(const float *)golden_need(&g, "pissa.scaling", "F32", 1)), RANK);
    assert_ok(bl_factor_svd(w, OUT, IN, 16, a, b, &e));
    same_factors(&g, "pissa_rslora", a, b, 1 / sqrt(*(const float *)golden_need(&g, "pissa_rslora.scaling", "F32", 1)),
                 16);
    assert_ok(bl_factor_qr(w, OUT, IN, RANK, a, b, &e));
    same_factors(&g, "olora", a, b, 1, RANK);
    golden_close(&g);
}

/* ---- what an adapter computes, and its gradients ---- */
static void assert_near(const char *what, const float *got, const float *want, int64_t n)
{
    double top = 0;
    for (int64_t i = 0; i < n; i++) top = fmax(top, fabs((double)want[i]));
    for (int64_t i = 0; i < n; i++)
        if (!(fabs((double)got[i] - want[i]) <= 1e-5 * top))
            fail_msg("%s[%d] is %.9g, recorded %.9g", what, (int)i, (double)got[i], (double)want[i]);
}

static const float *recorded(const golden *g, const char *name, const char *what, int64_t n)
{
    char key[128];
    snprintf(key, sizeof key, "%s.%s", name, what);
    return golden_need(g, key, "F32", n);
}

static bl_tensor on_backend(bl_backend *be, const float *from, int64_t rows, int64_t cols)
{
    bl_err e = {0};
    bl_buffer *b;
    assert_ok(be->ops->buffer_new(be, (uint64_t)(rows * cols) * sizeof(float) + 64, &b, &e));
    bl_tensor t = bl_tensor_2d(b, 0, BL_F32, rows, cols);
    if (from) assert_ok(be->ops->upload(be, &t, from, &e));
    else assert_ok(be->ops->fill(be, &t, 0, &e));
    return t;
}

/* Forward pass, gradients, and the weight with the adapter merged, of one linear with the recorded A and B and, where
 * rows have lengths, the recorded ones; before them they are those of the weight. */
static void adapters_and_their_gradients_are_those_of_peft(void **state)
{
    enum { ROWS = 10 };
    static const struct {
        const char *name, *method;
        bool dora;
    } rows[] = {{"lora", "lora+rank=8", false},
                {"rslora", "lora+rank=8+rslora", false},
                {"dora", "lora+rank=8+dora", true},
                {"dora_rslora", "lora+rank=8+dora+rslora", true}};
    golden g;
    (void)state;
    BL_NEEDS("BITLADDER_GOLDEN");
    golden_open(&g, test_path("BITLADDER_GOLDEN", "finetune/peft_variants.safetensors"));
    const float *w = golden_need(&g, "weight", "F32", OUT * IN);
    for (size_t i = 0; i < BL_COUNT(rows); i++) {
        const char *name = rows[i].name;
        bl_err e = {0};
        method_run m;
        bl_trainable *t;
        bl_method_choice merge;
        method_open(&m, rows[i].method, w, OUT, IN);
        m.lin.weight.shape = (bl_shape){.out = OUT, .in = IN};
        assert_ok(m.run.method->check(&m.run, &e));
        assert_ok(bl_trainable_new(&m.model, &t, &e));
        assert_ok(m.run.method->learns(&m.run, t, &e));
        bl_lowrank *l = &m.lin.adapter[0];
        l->scale = *recorded(&g, name, "scaling", 1);
        assert_ok(m.be->ops->upload(m.be, &t->param[t->w[0].a].value, golden_need(&g, "lora_A", "F32", RANK * IN), &e));
        assert_ok(
            m.be->ops->upload(m.be, &t->param[t->w[0].b].value, golden_need(&g, "lora_B", "F32", OUT * RANK), &e));
        if (rows[i].dora) {
            const bl_tensor *length = &t->param[t->w[0].param[0]].value;
            for (int64_t o = 0; o < OUT; o++) {
                double sum = 0;
                for (int64_t k = 0; k < IN; k++) sum += (double)w[o * IN + k] * w[o * IN + k];
                assert_float_equal(((const float *)length->buf->data)[o], sqrt(sum), 1e-5);
            }
            assert_ok(m.be->ops->upload(m.be, length, recorded(&g, name, "magnitude", OUT), &e));
        }
        assert_ok(bl_trainable_make(t, &e));
        bl_tensor x = on_backend(m.be, golden_need(&g, "x", "F32", ROWS * IN), ROWS, IN),
                  dy = on_backend(m.be, golden_need(&g, "grad_y", "F32", ROWS * OUT), ROWS, OUT),
                  y = on_backend(m.be, NULL, ROWS, OUT), dx = on_backend(m.be, NULL, ROWS, IN);
        assert_ok(bl_effective_forward(t, &t->w[0], 0, x, y, false, &e));
        assert_near("y", y.buf->data, recorded(&g, name, "y", ROWS * OUT), ROWS * OUT);
        assert_ok(bl_effective_backward(t, &t->w[0], x, dy, dx, false, &e));
        assert_near("grad_x", dx.buf->data, recorded(&g, name, "grad_x", ROWS * IN), ROWS * IN);
        assert_near("grad_A", t->param[t->w[0].a].grad.buf->data, recorded(&g, name, "grad_A", RANK * IN), RANK * IN);
        assert_near("grad_B", t->param[t->w[0].b].grad.buf->data, recorded(&g, name, "grad_B", OUT * RANK), OUT * RANK);
        if (rows[i].dora)
            assert_near("grad_magnitude", t->param[t->w[0].param[0]].grad.buf->data,
                        recorded(&g, name, "grad_magnitude", OUT), OUT);
        bl_trainable_free(t);
        assert_ok(bl_method_parse(bl_methods, "merge+as=fp32", &merge, &e));
        m.run.opts = merge.opts;
        assert_ok(merge.method->layer(&m.run, &m.lin, &m.stat, &e));
        assert_true(m.lin.n_adapters == 0 && m.lin.n_after == 0);
        assert_near("merged", method_dense(&m), recorded(&g, name, "merged", OUT * IN), OUT * IN);
        bl_method_choice_free(&merge);
        for (int k = 0; k < 4; k++) m.be->ops->buffer_free((k == 0 ? x : k == 1 ? dy : k == 2 ? y : dx).buf);
        method_close(&m);
    }
    golden_close(&g);
}

/* ---- QA-LoRA ---- */
/* A linear of integers with the recorded codes, scales and zero points. */
static void recorded_integers(method_run *m, const golden *g, const char *name, int64_t out, int64_t in, int bits,
                              int64_t group)
{
    const int64_t groups = in / group;
    const float *scales = recorded(g, name, "scales", groups * out), *zeros = recorded(g, name, "zeros", groups * out);
    bl_shape shape = {.out = out, .in = in, .group = group, .zero = BL_ZERO_FLOAT, .scale = BL_F32};
    char key[128], format[8];
    bl_err e = {0};
    bl_weight w;
    float *x = malloc((size_t)(out * in) * sizeof *x), *s = malloc((size_t)(out * groups) * sizeof *s),
          *z = malloc((size_t)(out * groups) * sizeof *z);
    snprintf(key, sizeof key, "%s.codes", name);
    const uint8_t *codes = golden_need(g, key, "U8", out * in);
    for (int64_t o = 0; o < out; o++) {
        for (int64_t j = 0; j < groups; j++) { /* recorded group after group */
            s[o * groups + j] = scales[j * out + o];
            z[o * groups + j] = zeros[j * out + o];
        }
        for (int64_t i = 0; i < in; i++)
            x[o * in + i] = (codes[o * in + i] - z[o * groups + i / group]) * s[o * groups + i / group];
    }
    snprintf(format, sizeof format, "int%d", bits);
    assert_ok(bl_weight_new(m->be, bl_format_find(format), &shape, &w, &e));
    bl_tensor tx = on_backend(m->be, x, out, in), ts = on_backend(m->be, s, out, groups),
              tz = on_backend(m->be, z, out, groups);
    assert_ok(m->be->ops->pack(m->be,
                               &(bl_pack_args){.x = tx, .w = &w, .rule = BL_RANGE_GIVEN, .scale = ts, .zero = tz}, &e));
    bl_linear_set_weight(&m->lin, &w);
    m->be->ops->buffer_free(tx.buf);
    m->be->ops->buffer_free(ts.buf);
    m->be->ops->buffer_free(tz.buf);
    free(x);
    free(s);
    free(z);
}

/* Forward pass and gradients of the published code; in the end its zero points, and the same outputs without an
 * adapter. */
static void adapters_of_qa_lora_end_in_the_zero_points_of_the_published_code(void **state)
{
    enum { ROWS = 16 };
    static const struct {
        const char *weight;
        int64_t out, in;
        int bits;
        int64_t group, rank;
    } rows[] = {{"tiny_gate", 128, 128, 4, 32, 16}, {"tiny_gate", 128, 128, 2, 32, 64},
                {"tiny_gate", 128, 128, 4, 64, 16}, {"smol_k", 32, 576, 4, 32, 16},
                {"smol_k", 32, 576, 2, 32, 64},     {"smol_k", 32, 576, 4, 64, 16}};
    golden g;
    (void)state;
    BL_NEEDS("BITLADDER_GOLDEN");
    golden_open(&g, test_path("BITLADDER_GOLDEN", "finetune/qalora.safetensors"));
    for (size_t i = 0; i < BL_COUNT(rows); i++) {
        const int64_t out = rows[i].out, in = rows[i].in, groups = in / rows[i].group, rank = rows[i].rank;
        bl_err e = {0};
        method_run m;
        bl_trainable *t;
        char name[64], text[64];
        float *none = calloc((size_t)(out * in), sizeof *none);
        snprintf(name, sizeof name, "%s.w%dg%dr%d", rows[i].weight, rows[i].bits, (int)rows[i].group, (int)rank);
        snprintf(text, sizeof text, "qa-lora:w%dg%d+rank=%d", rows[i].bits, (int)rows[i].group, (int)rank);
        method_open(&m, text, none, out, in);
        recorded_integers(&m, &g, name, out, in, rows[i].bits, rows[i].group);
        assert_ok(m.run.method->check(&m.run, &e));
        assert_ok(bl_trainable_new(&m.model, &t, &e));
        assert_ok(m.run.method->learns(&m.run, t, &e));
        m.lin.adapter[0].scale = *recorded(&g, name, "scaling", 1);
        const bl_trained *a = &t->param[t->w[0].a], *b = &t->param[t->w[0].b];
        const float *start = a->value.buf->data, bound = sqrtf(6 / (float)(rank + groups));
        float top = 0;
        for (int64_t k = 0; k < rank * groups; k++) top = fmaxf(top, fabsf(start[k]));
        assert_true(top <= bound && top > 0.9f * bound);
        assert_ok(m.be->ops->upload(m.be, &a->value, recorded(&g, name, "A", rank * groups), &e));
        assert_ok(m.be->ops->upload(m.be, &b->value, recorded(&g, name, "B", out * rank), &e));
        assert_ok(bl_trainable_make(t, &e));
        bl_tensor x = on_backend(m.be, recorded(&g, rows[i].weight, "x", ROWS * in), ROWS, in),
                  dy = on_backend(m.be, recorded(&g, rows[i].weight, "grad_y", ROWS * out), ROWS, out),
                  y = on_backend(m.be, NULL, ROWS, out), dx = on_backend(m.be, NULL, ROWS, in);
        assert_ok(bl_effective_forward(t, &t->w[0], 0, x, y, false, &e));
        assert_near("y", y.buf->data, recorded(&g, name, "y", ROWS * out), ROWS * out);
        assert_ok(bl_effective_backward(t, &t->w[0], x, dy, dx, false, &e));
        assert_near("grad_x", dx.buf->data, recorded(&g, name, "grad_x", ROWS * in), ROWS * in);
        assert_near("grad_A", a->grad.buf->data, recorded(&g, name, "grad_A", rank * groups), rank * groups);
        assert_near("grad_B", b->grad.buf->data, recorded(&g, name, "grad_B", out * rank), out * rank);
        const size_t bytes = bl_tensor_bytes(&m.lin.weight.part[0]);
        void *codes = malloc(bytes);
        memcpy(codes, m.lin.weight.part[0].buf->data, bytes);
        assert_ok(bl_trainable_store(t, &e));
        assert_int_equal(m.lin.n_adapters, 0);
        const void *part[BL_MAX_PARTS];
        method_parts(&m, part);
        assert_memory_equal(part[0], codes, bytes); /* integers stay */
        const float *zero = part[2], *want = recorded(&g, name, "merged_zeros", groups * out);
        for (int64_t o = 0; o < out; o++)
            for (int64_t j = 0; j < groups; j++)
                assert_float_equal(zero[o * groups + j], want[j * out + o],
                                   1e-5 * (1 + fabs((double)want[j * out + o])));
        assert_ok(bl_linear_apply(m.be, &m.lin, x, y, false, &e));
        assert_near("merged", y.buf->data, recorded(&g, name, "y", ROWS * out), ROWS * out);
        bl_trainable_free(t);
        for (int k = 0; k < 4; k++) m.be->ops->buffer_free((k == 0 ? x : k == 1 ? dy : k == 2 ? y : dx).buf);
        free(codes);
        free(none);
        method_close(&m);
    }
    golden_close(&g);
}

/* ---- IR-QLoRA ---- */
enum { BLOCK = 64 };
static double entropy(const uint8_t *codes, int64_t n)
{
    int count[16] = {0};
    double h = 0;
    for (int64_t i = 0; i < n; i++) count[codes[i]]++;
    for (int c = 0; c < 16; c++)
        if (count[c]) h -= count[c] / (double)n * log2(count[c] / (double)n);
    return h;
}

/* Each block's codes tell as much as those of the published search, never less than about the median; where they are
 * the same codes, the weights are the recorded ones. */
static void shifted_codes_tell_as_much_as_those_of_the_published_search(void **state)
{
    enum { SIDE = 128, BLOCKS = SIDE * SIDE / BLOCK };
    golden g;
    bl_err e = {0};
    const bl_format *f = bl_format_find("nf4_shift");
    const bl_shape shape = {.out = SIDE, .in = SIDE, .group = BLOCK, .scale = BL_F32};
    bl_part_spec spec[BL_MAX_PARTS];
    void *part[BL_MAX_PARTS];
    static float dense[SIDE * SIDE];
    double most = 0;
    int same = 0, near = 0;
    (void)state;
    BL_NEEDS("BITLADDER_GOLDEN");
    golden_open(&g, test_path("BITLADDER_GOLDEN", "finetune/irqlora.safetensors"));
    const float *w = recorded(&g, "tiny_gate", "weight", SIDE * SIDE),
                *of_median = recorded(&g, "tiny_gate", "entropy_at_tau0", BLOCKS),
                *want = recorded(&g, "tiny_gate.lambda0.1.n100", "entropy", BLOCKS),
                *values = recorded(&g, "tiny_gate.lambda0.1.n100", "dequant", SIDE * SIDE);
    const uint8_t *packed = golden_need(&g, "tiny_gate.lambda0.1.n100.packed", "U8", SIDE * SIDE / 2);
    assert_int_equal(f->parts(f, &shape, spec), 6);
    for (int i = 0; i < 6; i++)
        part[i] = calloc((size_t)(spec[i].rows * spec[i].cols) * bl_dtype_bytes(spec[i].dtype) + 64, 1);
    assert_true(fabs(bl_format_bits(f, &shape) - 4.254) < 3e-3); /* one number of the tensor counts here */
    assert_ok(f->pack(f, &shape, w, part, &e));
    for (int64_t r = 0; r < SIDE; r++) f->unpack(f, &shape, (const void *const *)part, r, 0, SIDE, dense + r * SIDE);
    for (int b = 0; b < BLOCKS; b++) {
        uint8_t mine[BLOCK], theirs[BLOCK];
        for (int i = 0; i < BLOCK; i++) {
            const int at = b * BLOCK + i;
            mine[i] = ((const uint8_t *)part[0])[at / 2] >> 4 * (at % 2) & 15;
            theirs[i] = packed[at / 2] >> 4 * (1 - at % 2) & 15; /* the first in the high half */
        }
        const double h = entropy(mine, BLOCK);
        if (!(fabs(h - want[b]) <= 1e-5) || h < of_median[b] - 1e-5)
            fail_msg("block %d: entropy %.7g, recorded %.7g", b, h, (double)want[b]);
        if (memcmp(mine, theirs, BLOCK)) continue;
        same++;
        double apart = 0;
        for (int i = 0; i < BLOCK; i++) apart = fmax(apart, fabs((double)dense[b * BLOCK + i] - values[b * BLOCK + i]));
        near += apart <= 1e-3; /* the mean of the scales moves a little with the few blocks that differ */
        most = fmax(most, apart);
    }
    if (same < BLOCKS * 95 / 100 || near < same * 8 / 10 || most > 8e-3) /* else a scale has the next code */
        fail_msg("%d of %d blocks have the recorded codes, %d of them the weights; the others are %g apart", same,
                 (int)BLOCKS, near, most);
    for (int i = 0; i < 6; i++) free(part[i]);
    golden_close(&g);
}

/* Of the gradients those that do not depend on B, which the recording holds no more; at the start, where B and the
 * factors are 0, all of them. */
static void short_cuts_have_the_gradients_of_the_published_code(void **state)
{
    enum { SIDE = 128, ROWS = 16 };
    golden g;
    (void)state;
    BL_NEEDS("BITLADDER_GOLDEN");
    golden_open(&g, test_path("BITLADDER_GOLDEN", "finetune/irqlora.safetensors"));
    for (int rank = 8; rank <= 32; rank += 24)
        for (int start = 0; start < 2; start++) {
            bl_err e = {0};
            method_run m;
            bl_trainable *t;
            char name[32], first[40], text[64];
            const float *base = golden_need(&g, "iec.base", "F32", SIDE * SIDE), none[2] = {0};
            snprintf(name, sizeof name, "iec.r%d", rank);
            snprintf(first, sizeof first, "%s%s", name, start ? ".start" : "");
            snprintf(text, sizeof text, "ir-qlora+rank=%d", rank);
            method_open(&m, text, base, SIDE, SIDE);
            assert_ok(m.run.method->check(&m.run, &e));
            assert_ok(bl_trainable_new(&m.model, &t, &e));
            assert_ok(m.run.method->learns(&m.run, t, &e));
            assert_string_equal(m.lin.weight.format->name, "nf4_shift");
            m.lin.adapter[0].scale = *recorded(&g, name, "scaling", 1);
            const bl_trained *b = &t->param[t->w[0].b], *beta[2];
            const float *factors = start ? none : recorded(&g, name, "beta", 2);
            assert_ok(m.be->ops->upload(m.be, &t->param[t->w[0].a].value, recorded(&g, name, "A", rank * SIDE), &e));
            for (int k = 0; k < 2; k++) {
                beta[k] = &t->param[t->w[0].param[k]];
                assert_true(*(const float *)beta[k]->value.buf->data == 0);
                assert_ok(m.be->ops->upload(m.be, &beta[k]->value, &factors[k], &e));
            }
            assert_ok(bl_trainable_make(t, &e));
            bl_tensor x = on_backend(m.be, recorded(&g, name, "x", ROWS * SIDE), ROWS, SIDE),
                      dy = on_backend(m.be, recorded(&g, name, "grad_y", ROWS * SIDE), ROWS, SIDE);
            assert_ok(bl_effective_backward(t, &t->w[0], x, dy, (bl_tensor){0}, false, &e));
            assert_near("grad_B", b->grad.buf->data, recorded(&g, first, "grad_B", SIDE * rank), SIDE * rank);
            const float *got[2] = {beta[0]->grad.buf->data, beta[1]->grad.buf->data};
            if (start) {
                const float *want = recorded(&g, first, "grad_beta", 2);
                assert_true(*got[0] == 0 && want[0] == 0);
                assert_near("grad_beta2", got[1], &want[1], 1);
            } else assert_near("grad_beta2", got[1], recorded(&g, name, "grad_beta2", 1), 1);
            bl_trainable_free(t);
            m.be->ops->buffer_free(x.buf);
            m.be->ops->buffer_free(dy.buf);
            method_close(&m);
        }
    golden_close(&g);
}

/* With factors that are not 0, the adapter that is kept is A + beta1 P beside B + beta2 E. */
static void short_cuts_end_in_the_adapter(void **state)
{
    enum { OUT8 = 8, IN8 = 12, RANK8 = 4 };
    static const float w[OUT8 * IN8] = {0};
    bl_err e = {0};
    method_run m;
    bl_trainable *t;
    const float beta[2] = {0.5f, -2};
    (void)state;
    method_open(&m, "ir-qlora+rank=4", w, OUT8, IN8);
    m.lin.weight.shape.group = 0;
    assert_ok(bl_trainable_new(&m.model, &t, &e));
    assert_ok(bl_train_lora(t, &(bl_lora){.rank = RANK8, .alpha = 4, .seed = 1}, &e));
    assert_ok(bl_train_shortcuts(t, &e));
    for (int k = 0; k < 2; k++) assert_ok(m.be->ops->upload(m.be, &t->param[t->w[0].param[k]].value, &beta[k], &e));
    assert_ok(bl_trainable_make(t, &e));
    const float *a = t->param[t->w[0].a].value.buf->data, *kept_a = m.lin.adapter[0].a.buf->data,
                *kept_b = m.lin.adapter[0].b.buf->data;
    for (int k = 0; k < RANK8; k++)
        for (int i = 0; i < IN8; i++)
            assert_float_equal(kept_a[k * IN8 + i], a[k * IN8 + i] + (i / 3 == k ? 0.5 / 3 : 0), 1e-6);
    for (int o = 0; o < OUT8; o++)
        for (int k = 0; k < RANK8; k++) assert_float_equal(kept_b[o * RANK8 + k], (o / 2 == k ? -2 : 0), 1e-6);
    bl_trainable_free(t);
    method_close(&m);
}

/* ---- LoftQ ---- */
/* The weight less what a linear computes with, its adapter included or not: Frobenius norm. */
static double apart(const method_run *m, const float *w, bool adapter)
{
    const float *q = method_dense(m);
    const bl_lowrank *l = &m->lin.adapter[0];
    const int64_t out = m->lin.out, in = m->lin.in, rank = l->a.dim[0];
    const float *a = l->a.buf->data, *b = l->b.buf->data;
    double sum = 0;
    for (int64_t o = 0; o < out; o++)
        for (int64_t i = 0; i < in; i++) {
            double d = (double)w[o * in + i] - q[o * in + i];
            for (int64_t k = 0; adapter && k < rank; k++) d -= (double)l->scale * b[o * rank + k] * a[k * in + i];
            sum += d * d;
        }
    return sqrt(sum);
}

/* Both errors are the recorded ones, whatever the scale; the first round is the recorded one code for code. */
static void weights_and_adapters_of_loftq_are_those_of_peft(void **state)
{
    static const struct {
        const char *name;
        int64_t out, in, rank;
        int rounds;
    } rows[] = {{"smol_k", 32, 576, 8, 1},      {"smol_k", 32, 576, 8, 5},      {"tiny_gate", 128, 128, 8, 1},
                {"tiny_gate", 128, 128, 8, 2},  {"tiny_gate", 128, 128, 8, 3},  {"tiny_gate", 128, 128, 8, 5},
                {"tiny_gate", 128, 128, 32, 1}, {"tiny_gate", 128, 128, 32, 5}, {"smol_k", 32, 576, 32, 1}};
    golden g;
    (void)state;
    BL_NEEDS("BITLADDER_GOLDEN");
    golden_open(&g, test_path("BITLADDER_GOLDEN", "finetune/loftq.safetensors"));
    for (size_t i = 0; i < BL_COUNT(rows); i++)
        for (int scaled = 0; scaled < 2; scaled++) {
            bl_err e = {0};
            method_run m;
            bl_trainable *t;
            char key[96], text[96];
            snprintf(key, sizeof key, "%s.weight", rows[i].name);
            const float *w = golden_need(&g, key, "F32", rows[i].out * rows[i].in);
            snprintf(text, sizeof text, "loftq:w4+rank=%d+alpha=%d+rounds=%d", (int)rows[i].rank,
                     (int)rows[i].rank / (scaled ? 4 : 1), rows[i].rounds);
            method_open(&m, text, w, rows[i].out, rows[i].in);
            assert_ok(m.run.method->check(&m.run, &e));
            assert_ok(bl_trainable_new(&m.model, &t, &e));
            assert_ok(m.run.method->learns(&m.run, t, &e));
            snprintf(key, sizeof key, "%s.b4r%dt%d.errors", rows[i].name, (int)rows[i].rank, rows[i].rounds);
            const double *want = golden_need(&g, key, "F64", 2);
            double of_base = apart(&m, w, false), of_all = apart(&m, w, true);
            if (!(fabs(of_base - want[0]) <= 2e-4 * want[0]) || !(fabs(of_all - want[1]) <= 2e-4 * want[1] + 1e-5))
                fail_msg("%s: errors %.9g and %.9g, recorded %.9g and %.9g", key, of_base, of_all, want[0], want[1]);
            snprintf(key, sizeof key, "%s.b4r%dt%d.base", rows[i].name, (int)rows[i].rank, rows[i].rounds);
            if (rows[i].rounds == 1 && rows[i].rank == 8) {
                const float *base = golden_need(&g, key, "F32", rows[i].out * rows[i].in), *q = method_dense(&m);
                for (int64_t k = 0; k < rows[i].out * rows[i].in; k++) assert_float_equal(q[k], base[k], 1e-6);
            }
            bl_trainable_free(t);
            method_close(&m);
        }
    golden_close(&g);
}

/* w = diag(4, 3, 0) and its transposed neighbours, on paper. */
static void factors_of_a_small_matrix_are_those_on_paper(void **state)
{
    const float tall[] = {4, 0, 0, 0, -3, 0, 0, 0, 0, 0, 0, 0}, flat[] = {0, 0, 2, 0, 0, 0, 0, 1};
    float a[16], b[16], left[16];
    bl_err e = {0};
    (void)state;
    assert_ok(bl_factor_svd(tall, 4, 3, 3, a, b, &e)); /* of rank 2: the third triple is 0 */
    const float want_a[] = {2, 0, 0, 0, sqrtf(3), 0, 0, 0, 0}, want_b[] = {2, 0, 0, 0, -sqrtf(3), 0, 0, 0, 0, 0, 0, 0};
    for (int i = 0; i < 9; i++) assert_float_equal(a[i], want_a[i], 1e-6);
    for (int i = 0; i < 12; i++) assert_float_equal(b[i], want_b[i], 1e-6);
    bl_factor_rest(tall, 4, 3, 3, a, b, 1, left);
    for (int i = 0; i < 12; i++) assert_float_equal(left[i], 0, 1e-6);
    assert_ok(bl_factor_svd(flat, 2, 4, 1, a, b, &e));
    for (int i = 0; i < 4; i++) assert_float_equal(a[i], i == 2 ? sqrtf(2) : 0, 1e-6);
    for (int i = 0; i < 2; i++) assert_float_equal(b[i], i == 0 ? sqrtf(2) : 0, 1e-6);
    assert_ok(bl_factor_qr(tall, 4, 3, 2, a, b, &e));
    bl_factor_rest(tall, 4, 3, 2, a, b, 1, left);
    for (int i = 0; i < 12; i++) assert_float_equal(left[i], 0, 1e-6);
    assert_int_equal(bl_factor_svd(tall, 4, 3, 4, a, b, &e), BL_E_CONFIG);
    assert_int_equal(bl_factor_qr(tall, 4, 3, 0, a, b, &e), BL_E_CONFIG);
}

/* Of a matrix in several pieces, most of which is noise: near triples leave hardly more than those that leave least,
 * and are the same bits on any number of threads. */
static void near_factors_of_a_wide_matrix_leave_hardly_more_and_do_not_depend_on_threads(void **state)
{
    enum { ROWS = 600, COLS = 1100, OF = 8 };
    float *w = malloc(ROWS * COLS * sizeof *w), *left = malloc(ROWS * COLS * sizeof *left);
    float *a = malloc(3 * OF * COLS * sizeof *a), *b = malloc(3 * OF * ROWS * sizeof *b);
    const int threads = omp_get_max_threads();
    double lost[2] = {0};
    bl_err e = {0};
    (void)state;
    for (int64_t i = 0; i < ROWS; i++)
        for (int64_t k = 0; k < COLS; k++)
            w[i * COLS + k] = (float)(sin(0.013 * (double)(i * k % 977)) +
                                      cos(0.37 * (double)i) * sin(0.11 * (double)k) +
                                      (double)((i * 7919 + k * 104729) % 1013) / 1013);
    assert_ok(bl_factor_svd(w, ROWS, COLS, OF, a, b, &e));
    for (int way = 0; way < 3; way++) {
        float *x = a + way * OF * COLS, *y = b + way * OF * ROWS;
        if (way) {
            omp_set_num_threads(way == 1 ? 1 : 3);
            assert_ok(bl_factor_svd_drawn(w, ROWS, COLS, OF, 5, bl_rng_at(1, 2, 0), x, y, &e));
        }
        if (way == 2) break;
        bl_factor_rest(w, ROWS, COLS, OF, x, y, 1, left);
        for (int64_t k = 0; k < ROWS * COLS; k++) lost[way] += (double)left[k] * left[k];
    }
    omp_set_num_threads(threads);
    if (!(lost[1] >= lost[0] * (1 - 1e-6) && lost[1] <= 1.002 * lost[0]))
        fail_msg("%g are left, %g at least", lost[1], lost[0]);
    assert_memory_equal(a + OF * COLS, a + 2 * OF * COLS, OF * COLS * sizeof *a);
    assert_memory_equal(b + OF * ROWS, b + 2 * OF * ROWS, OF * ROWS * sizeof *b);
    free(w);
    free(left);
    free(a);
    free(b);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(near_factors_of_a_wide_matrix_leave_hardly_more_and_do_not_depend_on_threads),
        cmocka_unit_test(factors_of_a_small_matrix_are_those_on_paper),
        cmocka_unit_test(adapters_begin_as_those_of_peft),
        cmocka_unit_test(adapters_and_their_gradients_are_those_of_peft),
        cmocka_unit_test(adapters_of_qa_lora_end_in_the_zero_points_of_the_published_code),
        cmocka_unit_test(shifted_codes_tell_as_much_as_those_of_the_published_search),
        cmocka_unit_test(short_cuts_have_the_gradients_of_the_published_code),
        cmocka_unit_test(short_cuts_end_in_the_adapter),
        cmocka_unit_test(weights_and_adapters_of_loftq_are_those_of_peft),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
