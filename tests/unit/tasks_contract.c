/* tasks_contract.c - what a task can see when it includes the contract, and nothing else. */
#include "harness/task.h"

#if defined(BL_HARNESS_TOKENIZER_TOKENIZER_H) || defined(BL_HARNESS_CHECKPOINT_CHECKPOINT_H) ||                        \
    defined(BL_HARNESS_MODEL_MODEL_H) || defined(BL_KERNELS_OPS_H) || defined(BL_KERNELS_TENSOR_H)
enum { SEES_TOKENS = 1 };
#else
enum { SEES_TOKENS = 0 };
#endif

#include "harness/model/model.h"
#include "harness/tokenizer/tokenizer.h"
#if !defined(BL_HARNESS_TOKENIZER_TOKENIZER_H) || !defined(BL_HARNESS_CHECKPOINT_CHECKPOINT_H) ||                      \
    !defined(BL_HARNESS_MODEL_MODEL_H) || !defined(BL_KERNELS_OPS_H) || !defined(BL_KERNELS_TENSOR_H)
#error "a guard has another name than this test looks for"
#endif
#include "test.h"

static void a_task_sees_neither_tokens_nor_tensors(void **state)
{
    (void)state;
    assert_int_equal(SEES_TOKENS, 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(a_task_sees_neither_tokens_nor_tensors)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
