/* Methods that train plain weights refuse what is none, and say what it has. */
#include "method_run.h"

static void a_linear_that_is_not_plain_is_refused(void **state)
{
    static const char *const methods[] = {"db-llm:w2pc", "efficientqat:w4pc",   "llm-qat:w4a8",    "omniquant:w4pc",
                                          "qllm:w4a8",   "qa-lora:w4pc+rank=1", "lora+rank=1+dora"};
    float w[16] = {1};
    (void)state;
    for (size_t i = 0; i < BL_COUNT(methods); i++)
        for (int kind = 0; kind < 4; kind++) {
            bl_err e = {0};
            method_run m;
            method_open(&m, methods[i], w, 4, 4);
            if (kind == 0) m.lin.n_adapters = 1;
            if (kind == 1) m.lin.n_transforms = 1;
            if (kind == 2) m.lin.n_after = 1;
            if (kind == 3) m.lin.act.bits = 8;
            assert_int_equal(m.run.method->check(&m.run, &e), BL_E_UNSUPPORTED);
            if (!strstr(e.text, kind ? "transformed or quantized inputs or outputs" : "has an adapter"))
                fail_msg("%s: %s", methods[i], e.text);
            m.lin.n_adapters = m.lin.n_transforms = m.lin.n_after = m.lin.act.bits = 0;
            method_close(&m);
        }
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(a_linear_that_is_not_plain_is_refused)};
    return cmocka_run_group_tests_name("methods_plain", tests, NULL, NULL);
}
