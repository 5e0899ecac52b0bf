/* The loss beside a teacher of which k logits are kept: numbers that can be followed on paper, and with all of them
 * kept the loss beside the whole teacher. */
#include "ops_fixture.h"
#include "harness/train/topk.h"
#include <math.h>

enum { ROWS = 5, VOCAB = 37, COLUMNS = 40 };

typedef struct kept {
    bl_topk t;
    int64_t row[ROWS];
} kept;

static kept take(bl_tensor teacher, int64_t vocab, int64_t k)
{
    const int64_t n = teacher.dim[0];
    kept x = {.t = {.k = k,
                    .id = calloc((size_t)(n * k), sizeof(int32_t)),
                    .value = calloc((size_t)(n * k), sizeof(float)),
                    .other = calloc((size_t)n, sizeof(int32_t))}};
    for (int64_t r = 0; r < n; r++) {
        x.row[r] = n - 1 - r; /* kept in another order than it is asked for */
        bl_topk_take(&x.t, x.row[r], f32(teacher) + r * teacher.dim[1], vocab);
    }
    return x;
}

static void forget(kept *x)
{
    free(x->t.id);
    free(x->t.value);
    free(x->t.other);
}

/* Gradient and divergence of each row. */
static void beside(bl_backend *be, bl_tensor student, int64_t vocab, bl_tensor theirs, bl_tensor grad, bl_tensor kl)
{
    bl_tensor target = make(BL_I32, 1, student.dim[0]);
    assert_ok(be->ops->loss_grad(be,
                                 &(bl_loss_grad_args){.logits = student,
                                                      .vocab = vocab,
                                                      .target = target,
                                                      .scale = 0,
                                                      .grad = grad,
                                                      .theirs = theirs,
                                                      .toward = 1,
                                                      .kl = kl},
                                 &e));
    drop(target);
}

static void beside_kept(bl_backend *be, const kept *x, bl_tensor student, int64_t vocab, bl_tensor grad, bl_tensor kl)
{
    const int64_t n = student.dim[0];
    bl_tensor theirs = make(BL_F32, n, student.dim[1]);
    bl_buffer *room;
    assert_ok(be->ops->buffer_new(be, bl_topk_room(n, x->t.k), &room, &e));
    assert_ok(bl_topk_logits(be, &x->t, x->row, student, vocab, room, theirs, &e));
    beside(be, student, vocab, theirs, grad, kl);
    be->ops->buffer_free(room);
    drop(theirs);
}

/* P = 1/2, 1/4, 1/8, 1/8, of which two are kept. Beside Q = 1/10, 2/10, 3/10, 4/10 the other two are shared out as 3 to
 * 4: P' = 1/2, 1/4, 3/28, 4/28. */
static void two_of_four_tokens_are_those_on_paper(void **state)
{
    static const float p[] = {-1, -2, -3, -3}, at_random[] = {0.1f, 0.2f, 0.3f, 0.4f},
                       want[] = {0.1f - 0.5f, 0.2f - 0.25f, 0.3f - 3.f / 28, 0.4f - 4.f / 28};
    (void)state;
    EACH(be)
    {
        bl_tensor teacher = make(BL_F32, 1, 4), student = make(BL_F32, 1, 4), grad = make(BL_F32, 1, 4),
                  kl = make(BL_F64, 1, 1);
        for (int i = 0; i < 4; i++) {
            f32(teacher)[i] = p[i] * 0.69314718f + 3;
            f32(student)[i] = logf(at_random[i]) - 1;
        }
        kept x = take(teacher, 4, 2);
        assert_int_equal(x.t.id[0], 0);
        assert_int_equal(x.t.id[1], 1);
        beside_kept(be, &x, student, 4, grad, kl);
        for (int i = 0; i < 4; i++) assert_float_equal(f32(grad)[i], want[i], 1e-6);
        assert_float_equal(f64(kl)[0], 0.5 * log(5) + 0.25 * log(1.25) + 0.25 * log(0.25 / 0.7), 1e-6);
        forget(&x);
        drop(teacher);
        drop(student);
        drop(grad);
        drop(kl);
    }
}

/* The definition in double: sums over those that are kept, and the rest as one. */
static void as_defined(const float *p, const float *q, const kept *x, int64_t row, double *kl, double *grad)
{
    double zp = 0, zq = 0, restp = 1, restq = 1;
    bool in[VOCAB] = {false};
    for (int i = 0; i < VOCAB; i++) {
        zp += exp((double)p[i]);
        zq += exp((double)q[i]);
    }
    *kl = 0;
    for (int64_t j = 0; j < x->t.k; j++) {
        const int id = x->t.id[row * x->t.k + j];
        const double u = exp((double)p[id]) / zp, v = exp((double)q[id]) / zq;
        in[id] = true;
        *kl += u * log(u / v);
        grad[id] = v - u;
        restp -= u;
        restq -= v;
    }
    if (x->t.k < VOCAB) *kl += restp * log(restp / restq);
    for (int i = 0; i < VOCAB; i++)
        if (!in[i]) grad[i] = exp((double)q[i]) / zq * (1 - restp / restq);
}

static void losses_are_those_of_the_definition_and_with_all_tokens_the_whole_teachers(void **state)
{
    static const int64_t most[] = {1, 5, VOCAB - 1, VOCAB};
    (void)state;
    EACH(be)
    for (size_t c = 0; c < BL_COUNT(most); c++) {
        bl_tensor teacher = random_f32(ROWS, COLUMNS, 3, 4), student = random_f32(ROWS, COLUMNS, 4, 4),
                  grad = make(BL_F32, ROWS, COLUMNS), kl = make(BL_F64, 1, ROWS), whole = make(BL_F32, ROWS, COLUMNS),
                  of_whole = make(BL_F64, 1, ROWS);
        for (int r = 0; r < ROWS; r++)
            for (int i = VOCAB; i < COLUMNS; i++) f32(teacher)[r * COLUMNS + i] = 50; /* padding: no tokens */
        f32(teacher)[2 * COLUMNS + 7] = f32(teacher)[2 * COLUMNS + 20] = 4.5f;        /* the most likely ones, alike */
        kept x = take(teacher, VOCAB, most[c]);
        assert_true(x.t.id[x.row[2] * most[c]] <= 7);
        beside_kept(be, &x, student, VOCAB, grad, kl);
        for (int r = 0; r < ROWS; r++) {
            double want, each[VOCAB];
            as_defined(f32(teacher) + r * COLUMNS, f32(student) + r * COLUMNS, &x, x.row[r], &want, each);
            assert_float_equal(f64(kl)[r], want, 2e-6 * fmax(1, want));
            for (int i = 0; i < VOCAB; i++) assert_float_equal(f32(grad)[r * COLUMNS + i], each[i], 2e-6);
            for (int i = VOCAB; i < COLUMNS; i++) assert_true(f32(grad)[r * COLUMNS + i] == 0);
        }
        if (most[c] == VOCAB) {
            beside(be, student, VOCAB, teacher, whole, of_whole);
            for (int r = 0; r < ROWS; r++) {
                assert_float_equal(f64(kl)[r], f64(of_whole)[r], 2e-6);
                for (int i = 0; i < VOCAB; i++)
                    assert_float_equal(f32(grad)[r * COLUMNS + i], f32(whole)[r * COLUMNS + i], 1e-6);
            }
        }
        forget(&x);
        drop(teacher);
        drop(student);
        drop(grad);
        drop(kl);
        drop(whole);
        drop(of_whole);
    }
}

/* A logit that is not finite makes a loss that is not, on either side. */
static void what_is_not_finite_stays_so(void **state)
{
    (void)state;
    for (int side = 0; side < 2; side++) {
        bl_tensor teacher = random_f32(2, VOCAB, 5, 1), student = random_f32(2, VOCAB, 6, 1),
                  grad = make(BL_F32, 2, VOCAB), kl = make(BL_F64, 1, 2);
        f32(side ? student : teacher)[VOCAB + 3] = side ? INFINITY : NAN;
        kept x = take(teacher, VOCAB, 4);
        beside_kept(backends[0], &x, student, VOCAB, grad, kl);
        assert_true(isfinite(f64(kl)[0]) && isnan(f64(kl)[1]) && isnan(f32(grad)[VOCAB]));
        forget(&x);
        drop(teacher);
        drop(student);
        drop(grad);
        drop(kl);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(two_of_four_tokens_are_those_on_paper),
        cmocka_unit_test(losses_are_those_of_the_definition_and_with_all_tokens_the_whole_teachers),
        cmocka_unit_test(what_is_not_finite_stays_so),
    };
    return cmocka_run_group_tests_name("train_topk", tests, ops_open, ops_close);
}
