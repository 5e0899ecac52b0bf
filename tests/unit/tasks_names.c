/* tasks_names.c - names that say how many worked examples are in front: one measurement has one name. */
#include "task_run.h"

static const bl_program program = {.tasks = bl_tasks};

static void a_number_that_a_task_has_by_itself_is_its_own_name(void **state)
{
    static const struct {
        const char *text, *name;
        int examples;
    } rows[] = {
        {"mmlu", "mmlu", 5},
        {"mmlu:5shot", "mmlu", 5},
        {"mmlu:0shot", "mmlu:0shot", 0},
        {"mmlu:4shot", "mmlu:4shot", 4},
        {"aqua:0shot", "aqua", 0},
        {"aqua:5shot", "aqua:5shot", 5},
        {"aqua:64shot", "aqua:64shot", 64},
        {"commonsense_qa:0shot", "commonsense_qa", 0},
        {"arc_challenge:val:0shot", "arc_challenge:val", 0},
        {"hellaswag:olmes1000:3shot", "hellaswag:olmes1000:3shot", 3},
        {"truthfulqa_mc1", "truthfulqa_mc1", 6}, /* six fixed pairs, six others of the questions */
        {"truthfulqa_mc1:6shot", "truthfulqa_mc1:6shot", 6},
        {"gsm8k:cot8+chat", "gsm8k:cot8+chat", 8},
        {"piqa+chat", "piqa+chat", 0},
        {"mmlu+chat", "mmlu+chat", 5},
        {"mmlu+chat+turns", "mmlu+chat+turns", 5},
        {"aqua:3shot+chat", "aqua:3shot+chat", 3},
        {"aqua:3shot+chat+turns", "aqua:3shot+chat+turns", 3},
        {"lambada_openai+chat", "lambada_openai+chat", 0},
    };
    (void)state;
    for (size_t i = 0; i < BL_COUNT(rows); i++) {
        const bl_task *t;
        const char *name;
        bl_err e = {0};
        assert_ok(bl_program_task(&program, rows[i].text, &t, &name, &e));
        assert_string_equal(name, rows[i].name);
        assert_int_equal(bl_task_examples(t, rows[i].text), rows[i].examples);
        assert_int_equal(bl_task_examples(t, name), rows[i].examples);
    }
}

/* Every name of every task: NAME:0shot is a name where NAME:1shot is, or refused with a reason. */
static void no_worked_examples_can_be_asked_for_where_some_can(void **state)
{
    (void)state;
    for (size_t i = 0; bl_tasks[i]; i++)
        for (size_t j = 0; bl_tasks[i]->names[j]; j++) {
            char text[100];
            const bl_task *t;
            const char *name;
            bl_err e = {0};
            snprintf(text, sizeof text, "%s:0shot", bl_tasks[i]->names[j]);
            bl_status st = bl_program_task(&program, text, &t, &name, &e);
            if (bl_task_few(bl_tasks[i], bl_tasks[i]->names[j]) && !bl_tasks[i]->fixed) {
                assert_ok(st);
                assert_int_equal(bl_task_examples(t, name), 0);
            } else assert_refused(st, BL_E_CONFIG, "worked examples");
        }
}

static void a_number_that_no_task_has_is_refused_with_what_is_wrong(void **state)
{
    static const char *const rows[][2] = {
        {"aqua:65shot", "no task 'aqua:65shot': '65shot' is no number of worked examples, expected 1shot to 64shot"},
        {"aqua:05shot", "'05shot' is no number of worked examples"},
        {"aqua:-1shot", "'-1shot' is no number of worked examples"},
        {"aqua:99999999999999999999shot", "'99999999999999999999shot' is no number of worked examples"},
        {"truthfulqa_mc2:0shot", "no task 'truthfulqa_mc2:0shot': its six pairs are part of every prompt"},
        {"gsm8k:cot8:5shot", "no task 'gsm8k:cot8:5shot': 'gsm8k:cot8' takes no other worked examples than it has"},
        {"mmlu:0shot:5shot", "'mmlu:0shot' takes no other worked examples than it has"},
        {"primer_choice:2shot", "'primer_choice' takes no other worked examples"},
        {"aquo:5shot", "no task 'aquo:5shot'; see"},
        {"mmlu:5shot+chat", "no task 'mmlu:5shot+chat': that is mmlu+chat"},
        {"aqua:0shot+chat", "no task 'aqua:0shot+chat': that is aqua+chat"},
        {"aqua:65shot+chat", "'65shot' is no number of worked examples"},
        {"wikitext2:gptq2048+chat",
         "no task 'wikitext2:gptq2048+chat', only 'wikitext2:gptq2048': a text is scored as it is"},
        {"piqa+chat+turns",
         "no task 'piqa+chat+turns', only 'piqa+chat': it has no worked examples that could be turns"},
        {"truthfulqa_mc1+chat+turns", "only 'truthfulqa_mc1+chat': it has no worked examples"},
        {"mmlu+turns", "no task 'mmlu+turns': expected mmlu+chat, or mmlu+chat+turns for worked examples as turns"},
        {"mmlu+Chat", "no task 'mmlu+Chat': expected mmlu+chat, or mmlu+chat+turns"},
        {"aqua:5shot+chat+turns+turns", "expected aqua:5shot+chat, or aqua:5shot+chat+turns"},
        {"gsm8k:5shot", "no task 'gsm8k:5shot'; did you mean gsm8k:first5?"},
        {"gsm8k:8shot", "no task 'gsm8k:8shot'; did you mean gsm8k:cot8?"},
        {"sciq", "no task 'sciq'; there are sciq:own, sciq:closed, sciq:bm25, sciq:dense, sciq:encoder"},
    };
    (void)state;
    for (size_t i = 0; i < BL_COUNT(rows); i++) {
        const bl_task *t;
        const char *name;
        bl_err e = {0};
        assert_refused(bl_program_task(&program, rows[i][0], &t, &name, &e), BL_E_CONFIG, rows[i][1]);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_number_that_a_task_has_by_itself_is_its_own_name),
        cmocka_unit_test(no_worked_examples_can_be_asked_for_where_some_can),
        cmocka_unit_test(a_number_that_no_task_has_is_refused_with_what_is_wrong),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
