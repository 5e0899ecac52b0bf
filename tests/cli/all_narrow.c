/* Adapters and their gradients in bf16, through the program: losses near those in f32, the memory that was planned, a
 * run that is killed and goes on, peft's files in that type, and what is refused. */
#include "kill_fixture.h"
#include "harness/checkpoint/peft.h"
#include "tiny_model.h"

static const char *const both[] = {"--adapter-type", "bf16", "--gradient-type", "bf16"};

/* argv of a run of ten steps of two passes. */
static void arguments(const char *method, const char *out, const char *const *more, size_t n_more, const char *argv[48])
{
    const char *const head[] = {"bitladder", "finetune", "@dir/model/even.bin",
                                "--method",  method,     "-o",
                                out,         "--data",   "@dir/four.jsonl",
                                "--batch",   "4",        "--accumulate",
                                "2",         "--steps",  "10",
                                "--lr",      "0.01",     "--threads",
                                "1",         "--json",   "--save-every",
                                "4"};
    size_t n = 0;
    for (size_t i = 0; i < BL_COUNT(head); i++) argv[n++] = filled(head[i]);
    for (size_t i = 0; i < n_more; i++) argv[n++] = filled(more[i]);
    argv[n] = NULL;
}

static double number_of(const char *text, const char *key)
{
    bl_err e = {0};
    bl_json *j;
    double x;
    assert_ok(bl_json_parse(text, strlen(text), "output", BL_JSON_PLAIN, &j, &e));
    assert_ok(bl_json_get_real(j, key, &x, &e));
    bl_json_free(j);
    return x;
}

static char *bytes_of(const char *path, size_t *n)
{
    bl_err e = {0};
    char *p;
    assert_ok(bl_read_file(filled(path), 1 << 28, &p, n, &e));
    return p;
}

static void same(const char *one, const char *other)
{
    size_t n, m;
    char *p = bytes_of(one, &n), *q = bytes_of(other, &m);
    if (n != m || memcmp(p, q, n) != 0) fail_msg("%s and %s differ", one, other);
    bl_free(p);
    bl_free(q);
}

/* Every number of the file is one of bf16. */
static void assert_bf16(const char *dir)
{
    bl_err e = {0};
    bl_peft *p;
    assert_ok(bl_peft_read(filled(dir), &p, &e));
    assert_true(p->n > 0);
    for (size_t i = 0; i < p->n; i++)
        for (int64_t k = 0; k < p->tensor[i].rows * p->tensor[i].cols; k++) {
            uint32_t bits;
            memcpy(&bits, &p->tensor[i].value[k], 4);
            assert_int_equal(bits & 0xffff, 0);
        }
    bl_peft_free(p);
}

static void prepare(int layers)
{
    const tiny t = {.dim = 72, .hidden = 160, .layers = layers, .heads = 9, .kv_heads = 3, .vocab = 300, .max_len = 96};
    static const uint64_t seed[2] = {100, 101};
    char data[4000] = "", path[4400];
    for (int row = 0; row < 4; row++) {
        sprintf(data + strlen(data), "{\"ids\": [");
        for (int i = 0; i < 40; i++) sprintf(data + strlen(data), "%s%d", i ? ", " : "", 3 + (row * 31 + i * 7) % 200);
        sprintf(data + strlen(data), "]}\n");
    }
    study_write(S.dir, "four.jsonl", data);
    snprintf(path, sizeof path, "%s/model/even.bin", S.dir);
    tiny_write(path, &t, tiny_random, &seed[0], tiny_random, tiny_random, &seed[1]);
}

static void a_run_in_bf16_is_near_one_in_f32_takes_what_was_planned_and_goes_on_bit_for_bit(void **state)
{
    static const struct {
        const char *method, *more[6];
        size_t n;
        int layers; /* of one, no other takes its place between two steps */
    } rows[] = {
        {"lora+rank=16", {"--adapter-type", "bf16", "--gradient-type", "bf16"}, 4, 3},
        {"lora+rank=16+dropout=0.1+targets=q_proj:down_proj", {"--gradient-type", "bf16", "--keep-activations"}, 3, 3},
        {"qlora+rank=64", {"--adapter-type", "bf16", "--gradient-type", "bf16", "--eight-bits"}, 5, 1}};
    bl_err e = {0};
    (void)state;
    for (size_t i = 0; i < BL_COUNT(rows); i++) {
        prepare(rows[i].layers);
        const bool eight = rows[i].n == 5, values = strcmp(rows[i].more[0], both[0]) == 0;
        const char *argv[48], *go_on[7] = {0};
        arguments(rows[i].method, "@dir/f32", rows[i].more + rows[i].n - eight, eight, argv);
        ran f32 = program_with(&S, NULL, argv);
        expect(&f32, 0, NULL);
        arguments(rows[i].method, "@dir/whole", rows[i].more, rows[i].n, argv);
        ran r = program_with(&S, NULL, argv);
        expect(&r, 0, NULL);
        const double loss = number_of(r.out, "loss"), was = number_of(f32.out, "loss"),
                     planned = number_of(r.out, "planned_bytes"), peak = number_of(r.out, "peak_bytes");
        if (!(fabs(loss - was) <= 0.01 * was) || loss == was)
            fail_msg("%s: loss %.9g, in f32 %.9g", rows[i].method, loss, was);
        if (!(fabs(planned - peak) <= 0.05 * peak))
            fail_msg("%s: %.0f bytes planned, %.0f at most", rows[i].method, planned, peak);
        if (values) assert_bf16("@dir/whole");
        ran_free(&r);
        ran_free(&f32);
        for (size_t k = 0; k < rows[i].n; k++) go_on[k] = rows[i].more[k];
        go_on[rows[i].n] = "--resume";
        arguments(rows[i].method, "@dir/killed", go_on, rows[i].n + 1, argv);
        kill_at("after-rename:1@killed.state", 0, argv);
        r = program_with(&S, NULL, argv);
        expect(&r, 0, NULL);
        ran_free(&r);
        same("@dir/whole/adapter_model.safetensors", "@dir/killed/adapter_model.safetensors");
        same("@dir/whole/bitladder.json", "@dir/killed/bitladder.json"); /* sums of all tensors are in it */
        const char *const made[] = {"@dir/f32", "@dir/whole", "@dir/killed"};
        for (size_t k = 0; k < BL_COUNT(made); k++) assert_ok(bl_remove_tree(filled(made[k]), &e));
    }
}

/* What is kept takes half: of many blocks nearly half of the whole. */
static void plans_count_half_of_adapters_and_gradients(void **state)
{
    const char *argv[48], *more[6] = {both[0], both[1], both[2], both[3]};
    double adapters[2];
    bl_err e = {0};
    (void)state;
    prepare(3);
    for (int k = 0; k < 2; k++) {
        arguments("lora+rank=64", "@dir/sized", more, k ? 4 : 0, argv);
        ran r = program_with(&S, NULL, argv);
        expect(&r, 0, NULL);
        const char *at = strstr(r.err, "adapters ");
        assert_non_null(at);
        adapters[k] = atof(at + 9) * (strncmp(at + strcspn(at + 9, "kM") + 9, "MB", 2) ? 1e3 : 1e6);
        ran_free(&r);
        assert_ok(bl_remove_tree(filled("@dir/sized"), &e));
    }
    /* three blocks: half of them, and one whole for the room */
    if (!(fabs(adapters[1] / adapters[0] - (0.5 + 1 / 3.0)) < 0.03)) fail_msg("%g of %g", adapters[1], adapters[0]);
}

static void what_is_no_new_adapter_is_refused(void **state)
{
    static const char *const methods[] = {"full", "lora+rank=4+dora", "lora+rank=4+init=pissa", "lsq:w4"};
    (void)state;
    prepare(3);
    for (size_t i = 0; i < BL_COUNT(methods); i++) {
        const char *argv[48];
        arguments(methods[i], "@dir/no", both, 2, argv);
        ran r = program_with(&S, NULL, argv);
        expect(&r, 2, "adapters and gradients in bf16 are for methods that train new adapters");
        assert_false(bl_exists(filled("@dir/no")));
        ran_free(&r);
    }
}

static void what_is_not_finite_is_said_as_it_is_in_f32(void **state)
{
    const char *argv[48], *more[6] = {both[0], both[1], both[2], both[3], "--clip", "0"};
    (void)state;
    prepare(3);
    arguments("lora+rank=4", "@dir/wild", more, 6, argv);
    for (int i = 0; argv[i]; i++)
        if (!strcmp(argv[i], "0.01")) argv[i] = "1e6";
    ran r = program_with(&S, NULL, argv);
    assert_int_not_equal(r.code, 0);
    if (!strstr(r.err, "is not finite")) fail_msg("%s", r.err);
    ran_free(&r);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_run_in_bf16_is_near_one_in_f32_takes_what_was_planned_and_goes_on_bit_for_bit),
        cmocka_unit_test(plans_count_half_of_adapters_and_gradients),
        cmocka_unit_test(what_is_no_new_adapter_is_refused),
        cmocka_unit_test(what_is_not_finite_is_said_as_it_is_in_f32),
    };
    return cmocka_run_group_tests_name("all_narrow", tests, begin_study, end_study);
}
