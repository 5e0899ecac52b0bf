/* Runs of training: a step in one pass or several, a run that goes on from its state, samples of ids. */
#include "harness/train/trainer.h"
#include "kernels/base/fs.h"
#include "model_fixture.h"
#include <math.h>
#include <signal.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

static char dir[4096];

static int begin(void **state)
{
    (void)state;
    snprintf(dir, sizeof dir, "%s", test_dir());
    return 0;
}
static int end(void **state)
{
    (void)state;
    bl_remove_tree(dir, NULL);
    return 0;
}

static const char *path_of(const char *name)
{
    static char ring[4][4300];
    static unsigned at;
    char *p = ring[at++ % 4];
    snprintf(p, sizeof ring[0], "%s/%s", dir, name);
    return p;
}

static const char *written(const char *name, const char *text)
{
    bl_err e = {0};
    const char *path = path_of(name);
    assert_ok(bl_write_file(path, text, strlen(text), &e));
    return path;
}

static const char lines[] = "{\"ids\": [5, 9, 2, 7, 1, 3], \"mask\": [0, 0, 1, 1, 1, 1]}\n"
                            "{\"ids\": [11, 4, 8, 6]}\n\n"
                            "{\"ids\": [3, 3, 12, 10, 9, 8, 7], \"mask\": [0, 1, 1, 0, 0, 1, 1]}\n";

/* ---- a run on a small synthetic model ---- */
typedef struct run {
    fixture f;
    bl_samples s;
    bl_trainer r;
} run;
/* What is trained where there are no adapters. */
typedef bl_status learns(bl_trainable *t, bl_err *e);
static learns *learned = bl_train_full;
static bl_status in_subspaces(bl_trainable *t, bl_err *e)
{
    return bl_train_galore(t, &(bl_low){.rank = 24, .every = 2, .scale = 0.25}, e);
}
static bl_status packed(bl_trainable *t, bl_err *e)
{
    return bl_train_packed(t, &(bl_low){.rank = 24, .every = 2, .scale = 0.25, .bits = 4, .same = 0.1}, 64, 9, e);
}
static bl_status steps(bl_trainable *t, bl_err *e)
{
    return bl_train_grid(t, &(bl_grid_learned){.grid = {.kind = BL_GRID_STEP, .bits = 4}}, e);
}
static bl_status merged(bl_trainable *t, bl_err *e)
{
    return bl_train_grid(
        t,
        &(bl_grid_learned){
            .grid = {.kind = BL_GRID_OFFSET, .bits = 3, .group = 32, .half = true}, .rank = 4, .alpha = 8, .rate = 0.1},
        e);
}
static bl_status inside(bl_trainable *t, bl_err *e)
{
    return bl_train_grid(
        t,
        &(bl_grid_learned){
            .grid = {.kind = BL_GRID_INSIDE, .bits = 4, .half = true}, .rank = 4, .alpha = 8, .rate = 0.01},
        e);
}

static void open_run(run *x, const bl_lora *lora, bool eight_bits, int64_t passes)
{
    bl_err e = {0};
    *x = (run){.f = fixture_open("synth:tiny", "", 1, false)};
    assert_ok(bl_samples_read(written("three.jsonl", lines), BL_SAMPLES_IDS,
                              &(bl_samples_opts){.vocab = x->f.m->config.vocab}, &x->s, &e));
    x->r = (bl_trainer){.data = &x->s,
                        .batch = 2,
                        .passes = passes,
                        .steps = 6,
                        .lr = 0.01,
                        .optimizer = {.beta1 = 0.9, .beta2 = 0.99, .eps = 1e-8, .clip = 1, .eight_bits = eight_bits},
                        .schedule = {.kind = BL_SCHEDULE_COSINE, .warmup = 2, .steps = 6},
                        .identity = x->s.hash};
    assert_ok(bl_trainable_new(x->f.m, &x->r.t, &e));
    if (lora) assert_ok(bl_train_lora(x->r.t, lora, &e));
    else assert_ok(learned(x->r.t, &e));
}
static void close_run(run *x)
{
    bl_trainer_end(&x->r);
    bl_trainable_free(x->r.t);
    bl_samples_free(&x->s);
    fixture_close(&x->f);
}

static void assert_same_numbers(const run *a, const run *b)
{
    bl_err e = {0};
    assert_int_equal(a->r.t->n_params, b->r.t->n_params);
    for (size_t i = 0; i < a->r.t->n_params; i++) {
        const bl_trained *v = &a->r.t->param[i], *w = &b->r.t->param[i];
        const bl_tensor *x = v->packed ? &v->packed->weight.part[0] : &v->value,
                        *y = w->packed ? &w->packed->weight.part[0] : &w->value;
        size_t n = bl_tensor_bytes(x);
        char *p = malloc(n), *q = malloc(n);
        assert_ok(a->f.be->ops->download(a->f.be, x, p, &e));
        assert_ok(b->f.be->ops->download(b->f.be, y, q, &e));
        if (memcmp(p, q, n) != 0) fail_msg("%s differs", a->r.t->param[i].name);
        free(p);
        free(q);
    }
    assert_int_equal(a->r.step, b->r.step);
    assert_memory_equal(a->r.curve, b->r.curve, (size_t)a->r.step * sizeof *a->r.curve);
}

/* Stops after each step in turn, in a process that then has nothing but the state. */
static void goes_on(const bl_lora *lora, bool eight_bits)
{
    bl_err e = {0};
    run whole, part;
    open_run(&whole, lora, eight_bits, 1);
    assert_ok(bl_trainer_run(&whole.r, &e));
    assert_int_equal(whole.r.step, 6);
    for (int64_t stop = 1; stop < 6; stop++) {
        open_run(&part, lora, eight_bits, 1);
        part.r.state = path_of("state");
        part.r.save_every = 1;
        part.r.steps = stop;
        assert_ok(bl_trainer_run(&part.r, &e));
        close_run(&part);
        open_run(&part, lora, eight_bits, 1);
        part.r.state = path_of("state");
        assert_ok(bl_trainer_load(&part.r, &e));
        assert_int_equal(part.r.step, stop);
        assert_ok(bl_trainer_run(&part.r, &e));
        assert_same_numbers(&whole, &part);
        close_run(&part);
    }
    close_run(&whole);
}
static void a_run_that_goes_on_from_its_state_is_the_same_bit_for_bit(void **state)
{
    (void)state;
    goes_on(NULL, false);
    goes_on(NULL, true);
    goes_on(&(bl_lora){.rank = 4, .alpha = 8, .dropout = 0.25, .seed = 7}, false); /* masks go on too */
    learns *const others[] = {in_subspaces, steps, merged, inside, packed};
    for (size_t i = 0; i < BL_COUNT(others); i++) {
        learned = others[i];
        goes_on(NULL, i == 0); /* subspaces stay between two that are found anew */
    }
    learned = bl_train_full;
}

/* No room for moments, and room for a few; the state of the one goes on in the other. */
static void moments_in_the_memory_of_the_host_are_the_same_bit_for_bit(void **state)
{
    (void)state;
    for (int eight = 0; eight < 2; eight++) {
        bl_err e = {0};
        run whole;
        open_run(&whole, NULL, eight, 1);
        assert_ok(bl_trainer_run(&whole.r, &e));
        for (uint64_t resident = 0; resident <= 200000; resident += 200000) {
            run part;
            uint64_t host = 0;
            open_run(&part, NULL, eight, 1);
            part.r.optimizer.paged = true;
            part.r.optimizer.resident = resident;
            part.r.state = path_of("paged");
            part.r.save_every = 3;
            part.r.steps = 3;
            assert_true(bl_adamw_resident(&part.r.optimizer, part.r.t, &host) >= resident && host > 0);
            assert_ok(bl_trainer_run(&part.r, &e));
            size_t here = 0, there = 0;
            for (size_t i = 0; i < part.r.t->n_params; i++) {
                here += part.r.t->param[i].moments != NULL;
                there += part.r.t->param[i].host != NULL;
            }
            assert_true(there > 0 && (here > 0) == (resident > 0));
            assert_int_equal(here + there, part.r.t->n_params);
            close_run(&part);
            open_run(&part, NULL, eight, 1);
            part.r.optimizer.paged = resident == 0; /* it may go on elsewhere */
            part.r.state = path_of("paged");
            assert_ok(bl_trainer_load(&part.r, &e));
            assert_ok(bl_trainer_run(&part.r, &e));
            assert_same_numbers(&whole, &part);
            close_run(&part);
        }
        close_run(&whole);
    }
}

static void a_step_in_two_passes_is_the_step_in_one(void **state)
{
    bl_err e = {0};
    run one, two;
    (void)state;
    open_run(&one, NULL, false, 1);
    open_run(&two, NULL, false, 2);
    assert_ok(bl_trainer_run(&one.r, &e));
    assert_ok(bl_trainer_run(&two.r, &e));
    for (int64_t i = 0; i < 6; i++) {
        assert_true(fabs(one.r.curve[i].loss - two.r.curve[i].loss) < 1e-4);
        assert_true(fabs(one.r.curve[i].grad_norm - two.r.curve[i].grad_norm) < 1e-3 * one.r.curve[i].grad_norm);
    }
    assert_true(one.r.curve[5].loss < one.r.curve[0].loss);
    assert_true(one.r.curve[0].lr == 0 && one.r.curve[2].lr == 0.01); /* warm-up of two steps, from 0 */
    close_run(&one);
    close_run(&two);
}

/* The loss of a text after a step is what the next step finds, when it is the same text. */
static void the_loss_of_a_validation_text_changes_nothing_and_is_that_of_its_tokens(void **state)
{
    bl_err e = {0};
    run one, two;
    const bl_lora lora = {.rank = 4, .alpha = 8, .seed = 7};
    (void)state;
    open_run(&one, &lora, false, 1);
    open_run(&two, &lora, false, 1);
    one.r.batch = two.r.batch = 3; /* all lines */
    two.r.valid = &two.s;
    two.r.valid_every = 2;
    assert_ok(bl_trainer_run(&one.r, &e));
    assert_ok(bl_trainer_run(&two.r, &e));
    for (int64_t i = 0; i < 6; i++) {
        assert_true(one.r.curve[i].loss == two.r.curve[i].loss && isnan(one.r.curve[i].valid));
        assert_true(isnan(two.r.curve[i].valid) == !(i % 2));
        if (i % 2 && i < 5) assert_true(two.r.curve[i].valid == two.r.curve[i + 1].loss);
    }
    assert_true(two.r.curve[5].valid < two.r.curve[3].valid);
    close_run(&one);
    close_run(&two);

    open_run(&two, &(bl_lora){.rank = 4, .alpha = 8, .dropout = 0.5, .seed = 7}, false, 1);
    two.r.batch = 3;
    two.r.lr = 0; /* what is dropped changes the loss of a step, and not that of the text */
    two.r.valid = &two.s;
    two.r.valid_every = 1;
    float b[4096];
    for (size_t i = 0; i < two.r.t->n_params; i++) {
        const bl_tensor *p = &two.r.t->param[i].value;
        for (int64_t k = 0; k < bl_tensor_count(p); k++) b[k] = 0.05F * (float)(k % 7 - 3);
        assert_ok(two.f.be->ops->upload(two.f.be, p, b, &e));
        assert_ok(two.f.be->ops->sync(two.f.be, &e));
    }
    assert_ok(bl_trainer_run(&two.r, &e));
    assert_true(two.r.curve[0].valid == two.r.curve[5].valid && two.r.curve[0].loss != two.r.curve[5].loss);
    close_run(&two);
}

/* What buffers take at most, beside what was planned before the first step. */
static void memory_is_what_was_planned(void **state)
{
    static const struct {
        const char *name;
        int64_t rank;
        double dropout;
        bool eight;
        learns *learn; /* without adapters; NULL: everything */
        bool keep;
        int64_t rows, length;
        int64_t batch;  /* 0: all rows, of one length; else so many of rows of every length, shuffled */
        uint64_t limit; /* of buffers */
    } rows[] = {{"full", 0, 0, false, NULL, false, 4, 60, 0, 0},
                {"full, few tokens", 0, 0, false, NULL, false, 1, 4, 0, 0},
                {"all kept", 0, 0, false, NULL, true, 4, 60, 0, 0},
                {"eight bits", 0, 0, true, NULL, false, 4, 60, 0, 0},
                {"lora", 8, 0, false, NULL, true, 6, 60, 0, 0},
                {"dropout", 8, 0.1, false, NULL, false, 6, 60, 0, 0},
                {"lsq", 0, 0, false, steps, false, 4, 60, 0, 0},
                {"subspaces", 0, 0, false, in_subspaces, false, 4, 60, 0, 0},
                {"subspaces of eight bits", 0, 0, true, in_subspaces, false, 1, 4, 0, 0},
                {"packed", 0, 0, false, packed, false, 4, 60, 0, 0},
                {"packed, few tokens", 0, 0, false, packed, false, 1, 4, 0, 0},
                {"merged before rounding", 0, 0, false, merged, false, 4, 60, 0, 0},
                {"inside the rounding", 0, 0, false, inside, false, 1, 4, 0, 0},
                {"dora", 8, 0, false, NULL, false, 6, 60, 0, 0},
                {"dora, dropout", 4, 0.1, false, NULL, true, 6, 60, 0, 0},
                {"lengths", 4, 0, false, NULL, true, 24, 90, 3, 0},
                {"some in the host's memory", 0, 0, false, NULL, false, 1, 4, 0, 1900000},
                {"all in the host's memory", 0, 0, true, NULL, false, 1, 4, 0, 1400000}};
    (void)state;
    for (size_t i = 0; i < BL_COUNT(rows); i++) {
        bl_err e = {0};
        run x = {.f = fixture_open("synth:tiny", "", 1, false)};
        bl_text t = {0};
        bl_train_memory planned;
        uint64_t peak;
        for (int64_t r = 0; r < rows[i].rows; r++)
            for (int64_t k = 0, n = rows[i].batch ? rows[i].length * (r + 1) / rows[i].rows : rows[i].length; k < n;
                 k++)
                bl_text_addf(&t, "%s%d%s", k ? "," : "{\"ids\": [", (int)((r + k) % 12), k + 1 == n ? "]}\n" : "");
        assert_ok(
            bl_samples_read(written("long.jsonl", t.s), BL_SAMPLES_IDS, &(bl_samples_opts){.vocab = 13}, &x.s, &e));
        x.r = (bl_trainer){.data = &x.s,
                           .batch = rows[i].batch ? rows[i].batch : rows[i].rows,
                           .passes = 1,
                           .steps = 2,
                           .lr = 0.001,
                           .optimizer = {.beta1 = 0.9, .beta2 = 0.99, .eps = 1e-8, .eight_bits = rows[i].eight},
                           .schedule = {.kind = BL_SCHEDULE_CONSTANT}};
        assert_ok(bl_trainable_new(x.f.m, &x.r.t, &e));
        if (rows[i].rank)
            assert_ok(
                bl_train_lora(x.r.t, &(bl_lora){.rank = rows[i].rank, .alpha = 8, .dropout = rows[i].dropout}, &e));
        else assert_ok((rows[i].learn ? rows[i].learn : bl_train_full)(x.r.t, &e));
        if (!strncmp(rows[i].name, "dora", 4)) assert_ok(bl_train_dora(x.r.t, &e));
        x.r.t->keep = rows[i].keep;
        x.s.shuffled = rows[i].batch > 0;
        x.f.be->opts.memory_limit = rows[i].limit;
        assert_ok(bl_trainer_page(&x.r, &e));
        assert_ok(bl_trainer_memory(&x.r, &planned, &e));
        assert_int_equal(planned.paged > 0, rows[i].limit > 0);
        assert_ok(bl_trainer_run(&x.r, &e));
        x.f.be->ops->memory(x.f.be, NULL, &peak);
        double said = (double)bl_train_memory_sum(&planned), was = (double)peak;
        if (!(fabs(said - was) <= 0.05 * was)) {
            char line[320];
            bl_train_memory_line(&planned, line);
            fail_msg("%s: %s; %.0f bytes at most", rows[i].name, line, was);
        }
        bl_text_free(&t);
        close_run(&x);
    }
}

/* An interrupt before the first step, or within one: the state is that before it, and what follows is the same. */
static const bl_ops *whole_ops;
static int losses;
static bl_status interrupts(bl_backend *be, const bl_loss_grad_args *a, bl_err *e)
{
    if (++losses == 3) raise(SIGINT);
    return whole_ops->loss_grad(be, a, e);
}
/* After so many steps, of 0 before the first. 0: as it should be */
static int interrupted_run(int64_t after, const bl_lora *lora)
{
    bl_err e = {0};
    run x;
    bl_ops ops;
    char phrase[80];
    bl_process_init();
    open_run(&x, lora, false, 1);
    x.r.state = path_of("interrupted");
    whole_ops = x.f.be->ops;
    ops = *whole_ops;
    ops.loss_grad = interrupts;
    if (after) x.f.be->ops = &ops;
    else raise(SIGINT);
    if (bl_trainer_run(&x.r, &e) != BL_E_INTERRUPTED) return 1;
    snprintf(phrase, sizeof phrase, "interrupted after step %d of 6; --resume goes on from ", (int)after);
    return strstr(e.text, phrase) && strstr(e.text, x.r.state) ? 0 : 2;
}
static void a_run_that_was_interrupted_goes_on_as_if_it_was_not(void **state)
{
    const bl_lora lora = {.rank = 4, .alpha = 8, .dropout = 0.25, .seed = 7};
    const struct {
        int64_t after; /* within the step after it, or before the first */
        const bl_lora *lora;
        learns *learn; /* without adapters */
    } rows[] = {
        {2, &lora, bl_train_full}, {0, &lora, bl_train_full}, {0, NULL, bl_train_full}, {0, NULL, in_subspaces}};
    (void)state;
    for (size_t i = 0; i < BL_COUNT(rows); i++) {
        bl_err e = {0};
        run whole, part;
        int how;
        learned = rows[i].learn;
        pid_t pid = fork();
        if (pid == 0) _exit(interrupted_run(rows[i].after, rows[i].lora));
        assert_int_equal(waitpid(pid, &how, 0), pid);
        assert_true(WIFEXITED(how) && WEXITSTATUS(how) == 0);
        open_run(&whole, rows[i].lora, false, 1);
        assert_ok(bl_trainer_run(&whole.r, &e));
        open_run(&part, rows[i].lora, false, 1);
        part.r.state = path_of("interrupted");
        assert_ok(bl_trainer_load(&part.r, &e));
        assert_int_equal(part.r.step, rows[i].after);
        assert_ok(bl_trainer_run(&part.r, &e));
        assert_same_numbers(&whole, &part);
        close_run(&part);
        close_run(&whole);
    }
    learned = bl_train_full;
}

/* Rows of an epoch come once each, in an order of their own; it goes on after a stop. */
static void a_shuffled_epoch_has_every_row_once(void **state)
{
    bl_err e = {0};
    run x;
    (void)state;
    open_run(&x, NULL, false, 1);
    bl_samples all = x.s;
    double loss[12], sum[4] = {0};
    x.s.shuffled = true;
    x.r.batch = 1;
    x.r.lr = 0;
    x.r.steps = 12;
    x.r.seed = 5;
    assert_ok(bl_trainer_run(&x.r, &e));
    bool other = false;
    for (int k = 0; k < 12; k++) {
        loss[k] = x.r.curve[k].loss;
        sum[k / 3] += loss[k];
        other |= loss[k] != loss[k % 3];
    }
    assert_true(other);
    for (int k = 1; k < 4; k++) assert_true(fabs(sum[k] - sum[0]) < 1e-9);
    assert_true(loss[0] != loss[1] && loss[1] != loss[2] && loss[0] != loss[2]);
    x.r.step = 7; /* as a state leaves it */
    x.r.order.epoch = -1;
    assert_ok(bl_trainer_run(&x.r, &e));
    for (int k = 7; k < 12; k++) assert_true(x.r.curve[k].loss == loss[k]);
    x.s = all;
    close_run(&x);
}

static void a_run_that_keeps_all_activations_is_the_same_bit_for_bit(void **state)
{
    bl_err e = {0};
    const bl_lora lora = {.rank = 4, .alpha = 8, .dropout = 0.25, .seed = 7, .targets = BL_ROLE_BIT(BL_ROLE_DOWN)};
    (void)state;
    for (int i = 0; i < 2; i++) {
        run one, two;
        open_run(&one, i ? &lora : NULL, false, 1);
        open_run(&two, i ? &lora : NULL, false, 1);
        two.r.t->keep = true;
        assert_ok(bl_trainer_run(&one.r, &e));
        assert_ok(bl_trainer_run(&two.r, &e));
        assert_same_numbers(&one, &two);
        close_run(&one);
        close_run(&two);
    }
}

static void a_run_that_diverges_stops_and_keeps_its_curve(void **state)
{
    bl_err e = {0};
    run x;
    (void)state;
    open_run(&x, NULL, false, 1);
    x.r.schedule.kind = BL_SCHEDULE_CONSTANT;
    x.r.lr = 1e30;
    assert_int_equal(bl_trainer_run(&x.r, &e), BL_E_NUMERIC);
    assert_non_null(strstr(e.text, "step 2"));
    assert_int_equal(x.r.step, 1);
    assert_true(isfinite(x.r.curve[0].loss));
    close_run(&x);
}

static void a_state_that_is_not_of_this_run_is_refused(void **state)
{
    bl_err e = {0};
    run x;
    char *bytes;
    size_t n;
    (void)state;
    open_run(&x, NULL, false, 1);
    x.r.state = path_of("whole");
    x.r.save_every = 1;
    x.r.steps = 1;
    assert_ok(bl_trainer_run(&x.r, &e));
    x.r.identity.lo ^= 1;
    assert_int_equal(bl_trainer_load(&x.r, &e), BL_E_CONFIG);
    assert_non_null(strstr(e.text, "another run"));
    assert_ok(bl_read_file(path_of("whole"), 1 << 28, &bytes, &n, &e));
    x.r.identity.lo ^= 1;
    x.r.state = path_of("broken");
    bytes[n / 2] ^= 4;
    assert_ok(bl_write_file(x.r.state, bytes, n, &e));
    assert_int_equal(bl_trainer_load(&x.r, &e), BL_E_CORRUPT);
    bytes[n / 2] ^= 4;
    assert_ok(bl_write_file(x.r.state, bytes, n - 1, &e));
    assert_int_equal(bl_trainer_load(&x.r, &e), BL_E_CORRUPT);
    assert_ok(bl_write_file(x.r.state, bytes, 20, &e));
    assert_int_equal(bl_trainer_load(&x.r, &e), BL_E_CORRUPT);
    bl_free(bytes);
    close_run(&x);
}

/* ---- samples ---- */
static void lines_of_ids_are_read_in_order_and_cut(void **state)
{
    bl_err e = {0};
    bl_samples s;
    (void)state;
    assert_ok(bl_samples_read(written("three.jsonl", lines), BL_SAMPLES_IDS,
                              &(bl_samples_opts){.vocab = 13, .seqlen = 5}, &s, &e));
    assert_int_equal(s.n, 3);
    assert_memory_equal(s.start, ((int64_t[]){0, 5, 9, 14}), 4 * sizeof *s.start);
    assert_memory_equal(s.ids, ((int32_t[]){5, 9, 2, 7, 1, 11, 4, 8, 6, 3, 3, 12, 10, 9}), 14 * sizeof *s.ids);
    assert_memory_equal(s.mask, ((uint8_t[]){0, 0, 1, 1, 1, 1, 1, 1, 1, 0, 1, 1, 0, 0}), 14);
    bl_samples_free(&s);
}

static void a_line_that_is_something_else_is_refused_by_its_number(void **state)
{
    static const struct {
        const char *text, *says;
    } rows[] = {
        {"{\"ids\": [1]}\n{\"ids\": [1, 13]}\n", ".jsonl:2: id 13, expected 0 to 12"},
        {"{\"ids\": [1, -1]}\n", ".jsonl:1: id -1"},
        {"\n{\"ids\": [1, 2], \"mask\": [1]}\n", ".jsonl:2: the mask has 1 marks, expected 2"},
        {"{\"ids\": [1, 2], \"mask\": [1, 2]}\n", ".jsonl:1: mask 2, expected 0 or 1"},
        {"{\"ids\": 3}\n", ".jsonl:1: 'ids' is no list"},
        {"{\"ids\": []}\n", ".jsonl:1: no ids"},
        {"{\"mask\": []}\n", ".jsonl:1: data-format ids expects 'ids'; found 'mask'"},
        {"{\"ids\": [1], \"weights\": [1]}\n", "weights"},
        {"{\"ids\": [1.5]}\n", ".jsonl:1"},
        {"{\"ids\": [1]}\n{\"ids\": [1\n", ".jsonl:2"},
        {"\n\n", "no lines"},
        {"", "no lines"},
    };
    (void)state;
    for (size_t i = 0; i < BL_COUNT(rows); i++) {
        bl_err e = {0};
        bl_samples s;
        bl_status st = bl_samples_read(written("bad.jsonl", rows[i].text), BL_SAMPLES_IDS,
                                       &(bl_samples_opts){.vocab = 13}, &s, &e);
        assert_true(st == BL_E_FORMAT || st == BL_E_CONFIG);
        if (!strstr(e.text, rows[i].says) || !strstr(e.text, "bad.jsonl")) fail_msg("%s", e.text);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(lines_of_ids_are_read_in_order_and_cut),
        cmocka_unit_test(a_line_that_is_something_else_is_refused_by_its_number),
        cmocka_unit_test(moments_in_the_memory_of_the_host_are_the_same_bit_for_bit),
        cmocka_unit_test(a_step_in_two_passes_is_the_step_in_one),
        cmocka_unit_test(a_run_that_goes_on_from_its_state_is_the_same_bit_for_bit),
        cmocka_unit_test(the_loss_of_a_validation_text_changes_nothing_and_is_that_of_its_tokens),
        cmocka_unit_test(a_run_that_keeps_all_activations_is_the_same_bit_for_bit),
        cmocka_unit_test(memory_is_what_was_planned),
        cmocka_unit_test(a_run_that_was_interrupted_goes_on_as_if_it_was_not),
        cmocka_unit_test(a_shuffled_epoch_has_every_row_once),
        cmocka_unit_test(a_run_that_diverges_stops_and_keeps_its_curve),
        cmocka_unit_test(a_state_that_is_not_of_this_run_is_refused),
    };
    return cmocka_run_group_tests(tests, begin, end);
}
