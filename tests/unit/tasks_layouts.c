/* Every layout that a data set is distributed in gives the same items; small made-up files. */
#include "task_run.h"
#include "data/task_layouts.h"

static const char *dir;
static int setup(void **state)
{
    (void)state;
    dir = strdup(test_dir());
    unsetenv("BITLADDER_DATA");
    return 0;
}
static int teardown(void **state)
{
    (void)state;
    bl_remove_tree(dir, NULL);
    free((void *)(uintptr_t)dir);
    return 0;
}

static void put(const char *root, const char *name, const char *text) { layout_file(dir, root, name, text); }

static const char *root_of(const char *root)
{
    static char path[4400];
    snprintf(path, sizeof path, "%s/%s", dir, root);
    return path;
}

/* Items of a task in a directory as one text: contexts, continuations, gold. */
static char *items_of(const char *task, const char *root)
{
    bl_err e = {0};
    bl_data_dirs d = {{root_of(root)}, 1};
    task_run t = task_open(task, &d);
    bl_text out = {0};
    for (int64_t i = 0; i < t.data.n; i++) {
        bl_request q = {0};
        bl_turn turn = {.arena = t.data.arena};
        assert_ok(t.task->ask(&t.data, i, &turn, &q, &e));
        if (q.kind == BL_ASK_GENERATE) {
            char *p = prompt_text(&q.prompt), *own = p; /* after the worked examples, which an empty line ends */
            for (char *end; (end = strstr(own, "\n\n")); own = end + 2)
                ;
            bl_text_addf(&out, "[%s]", own);
            bl_free(p);
        }
        for (int c = 0; c < q.n_pairs; c++) {
            char *p = prompt_text(&q.pair[c].context);
            bl_text_addf(&out, "[%s|%s]", p, q.pair[c].continuation);
            bl_free(p);
        }
        bl_text_addf(&out, "=%s\n", t.task->gold ? t.task->gold(&t.data, i) : "?");
    }
    task_close(&t);
    return out.s;
}

static void layouts_give_the_items_they_should(void **state)
{
    (void)state;
    for (size_t i = 0; i < BL_COUNT(layouts); i++) {
        layout_write(dir, i);
        if (!layouts[i].want) continue;
        char *got = items_of(layouts[i].task, layouts[i].root);
        if (strcmp(got, layouts[i].want)) fail_msg("%s:\n%s\nwanted\n%s", layouts[i].root, got, layouts[i].want);
        bl_free(got);
    }
}

static const struct {
    const char *task, *file, *text;
    bl_status st;
    const char *says;
} refused[] = {
    {"arc_easy", "arc/arc_easy_test.jsonl",
     "{\"id\":\"x\",\"question\":\"q\",\"choices\":[\"one\",\"two\"],\"gold\":2}", BL_E_FORMAT,
     "gold 2 is not one of the 2 choices"},
    {"arc_easy", "arc/arc_easy_test.jsonl",
     "{\"id\":\"x\",\"question\":\"q\",\"choices\":[\"one\",\"two\"],\"gold\":-1}", BL_E_FORMAT, "gold -1"},
    {"arc_easy", "arc/arc_easy_test.jsonl", "{\"id\":\"x\",\"question\":\"q\",\"choices\":[\"one\"],\"gold\":0}",
     BL_E_FORMAT, "1 choices"},
    {"arc_easy", "arc/arc_easy_test.jsonl", "{\"id\":\"x\",\"question\":\"q\",\"choices\":[\"one\",\"\"],\"gold\":0}",
     BL_E_FORMAT, "choice 1 is empty"},
    {"arc_easy", "arc/arc_easy_test.jsonl",
     "{\"id\":\"x\",\"question\":\" \",\"choices\":[\"one\",\"two\"],\"gold\":0}", BL_E_FORMAT, "'question' is empty"},
    {"arc_easy", "arc/arc_easy_test.jsonl", "{\"id\":\"x\",\"choices\":[\"one\",\"two\"],\"gold\":0}", BL_E_FORMAT,
     "question"},
    {"arc_easy", "arc/arc_easy_test.jsonl", "{\"id\":\"x\",\"question\":\"q\",\"gold\":0}", BL_E_FORMAT,
     "'choices' is missing"},
    {"arc_easy", "arc/arc_easy_test.jsonl", "[1]", BL_E_FORMAT, "arc_easy_test.jsonl:1: element 1: expected an object"},
    {"arc_easy", "arc/arc_easy_test.jsonl", "\n\n", BL_E_FORMAT, "no rows"},
    {"arc_easy", "arc/arc_easy_test.jsonl",
     "{\"id\":\"x\",\"question\":\"q\",\"choices\":[\"a\",\"b\"],\"gold\":0}\n{\"id\":\"x\",\"question\":\"r\","
     "\"choices\":[\"a\",\"b\"],\"gold\":0}",
     BL_E_FORMAT,
     "arc_easy_test.jsonl:2: id \"x\" comes twice, first in line 1; expected another for every row"}, /* R82 */
    {"arc_easy", "arc/arc_easy_test.jsonl",
     "{\"id\":\"x\",\"question\":\"q\",\"choices\":[\"a\",\"b\"],\"labels\":[\"A\",\"B\"],\"answerKey\":\"B\",\"gold\":"
     "0}",
     BL_E_FORMAT, "is choice 1"}, /* R81 */
    {"arc_easy", "arc/arc_easy_test.jsonl",
     "{\"id\":\"x\",\"question\":\"q\",\"choices\":{\"text\":[\"a\",\"b\"],\"label\":[\"A\",\"B\"]},\"answerKey\":"
     "\"E\"}",
     BL_E_FORMAT, "answerKey \"E\""},
    {"piqa", "piqa/valid.jsonl", "{\"goal\":\"g\",\"sol1\":\"a\",\"sol2\":\"b\"}", BL_E_MISSING, "valid-labels.lst"},
    {"piqa", "piqa/valid.jsonl", "{\"goal\":\"g\",\"sol1\":\"a\",\"sol2\":\"b\",\"label\":2}", BL_E_FORMAT,
     "label 2 is not 0 or 1"},
    {"piqa", "piqa/valid.jsonl",
     "{\"goal\":\"g\",\"sol1\":\"a\",\"sol2\":\"b\",\"label\":1}\n{\"goal\":\"g\",\"sol1\":\"a\",\"sol2\":\"b\"}",
     BL_E_FORMAT, "1 of 2 rows have no label"},
    {"winogrande", "winogrande/dev.jsonl",
     "{\"sentence\":\"no blank\",\"option1\":\"a\",\"option2\":\"b\",\"answer\":\"1\"}", BL_E_FORMAT, "no '_'"},
    {"winogrande", "winogrande/dev.jsonl",
     "{\"sentence\":\"at the _\",\"option1\":\"a\",\"option2\":\"b\",\"answer\":\"1\"}", BL_E_FORMAT,
     "nothing follows"},
    {"winogrande", "winogrande/dev.jsonl",
     "{\"sentence\":\"a _ b\",\"option1\":\"a\",\"option2\":\"b\",\"answer\":\"\"}", BL_E_FORMAT,
     "expected a whole number"},
    {"winogrande", "winogrande/dev.jsonl",
     "{\"sentence\":\"a _ b\",\"option1\":\"a\",\"option2\":\"b\",\"answer\":\"3\"}", BL_E_FORMAT, "answer 3"},
    {"boolq", "boolq/val.jsonl", "{\"question\":\"q\",\"passage\":\"p\",\"label\":7}", BL_E_FORMAT, "label 7"},
    {"lambada_openai", "lambada/lambada_test.jsonl", "{\"text\":\"word\"}", BL_E_FORMAT, "no space before a last word"},
    {"gsm8k:cot8", "gsm8k/test.jsonl", "{\"question\":\"q\",\"answer\":\"2\"}", BL_E_FORMAT, "####"},
    {"medqa", "medqa/us_4options_test.jsonl",
     "{\"question\": \"Which bone is it?\", \"answer\": \"two\", \"options\": {\"A\": \"one\", \"B\": \"two\", \"C\": "
     "\"three\", \"D\": \"four\"}, \"meta_info\": \"step1\", \"answer_idx\": \"B\"}\n{\"question\": \"Which bone is "
     "it?\", \"answer\": \"two\", \"options\": {\"A\": \"one\", \"B\": \"two\", \"C\": \"three\", \"D\": \"four\", "
     "\"E\": \"five\"}, \"meta_info\": \"step1\", \"answer_idx\": \"B\"}",
     BL_E_FORMAT, "us_4options_test.jsonl:2: 5 choices, expected 4"},
    {"medqa", "medqa/us_4options_test.jsonl",
     "{\"question\": \"Which bone is it?\", \"answer\": \"two\", \"options\": {\"A\": \"one\", \"B\": \"two\", \"C\": "
     "\"three\", \"D\": \"four\"}, \"meta_info\": \"step1\", \"answer_idx\": \"E\"}",
     BL_E_FORMAT, "'answer_idx' is \"E\", expected a letter from A to D"},
    {"medqa", "medqa/us_4options_test.jsonl",
     "{\"question\": \"Which bone is it?\", \"answer\": \"two\", \"options\": {\"A\": \"1\", \"C\": \"2\"}, "
     "\"meta_info\": \"step1\", \"answer_idx\": \"B\"}",
     BL_E_FORMAT, "option 2 is called \"C\", expected B"},
    {"medmcqa", "medmcqa/dev.jsonl",
     "{\"question\": \"Which of the following is not true for myelinated nerve fibers:\", \"exp\": null, \"cop\": 0, "
     "\"opa\": \"Impulse through myelinated fibers is slower than non-myelinated fibers\", \"opb\": \"Membrane "
     "currents are generated at nodes of Ranvier\", \"opc\": \"Saltatory conduction of impulses is seen\", \"opd\": "
     "\"Local anesthesia is effective only when the nerve is not covered by myelin sheath\", \"subject_name\": "
     "\"Physiology\", \"topic_name\": null, \"id\": \"45258d3d-b974-44dd-a161-c3fccbdadd88\", \"choice_type\": "
     "\"multi\"}",
     BL_E_FORMAT, "dev.jsonl:1: 'cop' is 0, expected 1 to 4"},
    {"medmcqa", "medmcqa/validation.jsonl",
     "{\"question\": \"Which of the following is not true for myelinated nerve fibers:\", \"exp\": null, \"cop\": 4, "
     "\"opa\": \"Impulse through myelinated fibers is slower than non-myelinated fibers\", \"opb\": \"Membrane "
     "currents are generated at nodes of Ranvier\", \"opc\": \"Saltatory conduction of impulses is seen\", \"opd\": "
     "\"Local anesthesia is effective only when the nerve is not covered by myelin sheath\", \"subject_name\": "
     "\"Physiology\", \"topic_name\": null, \"id\": \"45258d3d-b974-44dd-a161-c3fccbdadd88\", \"choice_type\": "
     "\"multi\"}",
     BL_E_FORMAT, "'cop' is 4, expected 0 to 3"},
    {"medmcqa", "medmcqa/dev.jsonl",
     "{\"question\": \"Which of the following is not true for myelinated nerve fibers:\", \"exp\": null, \"cop\": 1, "
     "\"opa\": \"Impulse through myelinated fibers is slower than non-myelinated fibers\", \"opb\": \"Membrane "
     "currents are generated at nodes of Ranvier\", \"opc\": \"Saltatory conduction of impulses is seen\", \"opd\": "
     "\"Local anesthesia is effective only when the nerve is not covered by myelin sheath\", \"subject_name\": "
     "\"Physiology\", \"topic_name\": null, \"id\": \"45258d3d-b974-44dd-a161-c3fccbdadd88\", \"choice_type\": "
     "\"multi\"}\n{\"question\": \"Which of the following is not true for myelinated nerve fibers:\", \"exp\": null, "
     "\"cop\": 2, \"opa\": \"Impulse through myelinated fibers is slower than non-myelinated fibers\", \"opb\": "
     "\"Membrane currents are generated at nodes of Ranvier\", \"opc\": \"Saltatory conduction of impulses is seen\", "
     "\"opd\": \"Local anesthesia is effective only when the nerve is not covered by myelin sheath\", "
     "\"subject_name\": \"Physiology\", \"topic_name\": null, \"id\": \"45258d3d-b974-44dd-a161-c3fccbdadd88\", "
     "\"choice_type\": \"multi\"}",
     BL_E_FORMAT, "comes twice"},
    {"social_iqa", "siqa/validation.jsonl",
     "{\"context\": \"Tracy didn't go home that evening and resisted Riley's attacks.\", \"question\": \"What does "
     "Tracy need to do before this?\", \"answerA\": \"make a new plan\", \"answerB\": \"Go home and see Riley\", "
     "\"answerC\": \"Find somewhere to go\", \"label\": \"4\"}",
     BL_E_FORMAT, "'label' is 4, expected 1 to 3"},
    {"social_iqa", "siqa/validation.jsonl",
     "{\"context\": \"  \", \"question\": \"What does Tracy need to do before this?\", \"answerA\": \"make a new "
     "plan\", \"answerB\": \"Go home and see Riley\", \"answerC\": \"Find somewhere to go\", \"label\": \"3\"}",
     BL_E_FORMAT, "validation.jsonl:1: 'context' is empty, expected a text"},
    {"copa", "copa/validation.jsonl",
     "{\"premise\": \"The man turned on the faucet.\", \"choice1\": \"The toilet filled with water.\", \"choice2\": "
     "\"Water flowed from the spout.\", \"question\": \"why\", \"idx\": 0, \"label\": 1}",
     BL_E_FORMAT, "'question' is \"why\", expected cause or effect"},
    {"copa", "copa/validation.jsonl",
     "{\"premise\": \"The man turned on the faucet.\", \"choice1\": \"The toilet filled with water.\", \"choice2\": "
     "\"Water flowed from the spout.\", \"question\": \"effect\", \"idx\": 0, \"label\": 2}",
     BL_E_FORMAT, "'label' is 2, expected 0 to 1"},
    {"copa", "copa/validation.jsonl",
     "{\"premise\": \"The man turned on the faucet.\", \"choice1\": \"The toilet filled with water.\", \"choice2\": "
     "\"Water flowed from the spout.\", \"question\": \"effect\", \"idx\": 0, \"label\": 1}\n{\"premise\": \"The man "
     "turned on the faucet.\", \"choice1\": \"The toilet filled with water.\", \"choice2\": \"Water flowed from the "
     "spout.\", \"question\": \"effect\", \"idx\": 0, \"label\": 1}\n",
     BL_E_FORMAT, "validation.jsonl:2: idx 0 comes twice, first in line 1; expected another for every row"},
    {"boolq", "boolq/val.jsonl",
     "{\"question\":\"q\",\"passage\":\"p\",\"idx\":3,\"label\":0}\n\n{\"question\":\"r\",\"passage\":\"p\","
     "\"idx\":3,\"label\":1}",
     BL_E_FORMAT, "val.jsonl:3: idx 3 comes twice, first in line 1; expected another for every row"},
    {"koala", "instruct_eval/koala_test.jsonl", "{\"id\":\"k\",\"prompt\":\"p\"}\n{\"id\":\"k\",\"prompt\":\"q\"}",
     BL_E_FORMAT, "koala_test.jsonl:2: id \"k\" comes twice, first in line 1; expected another for every row"},
    {"self_instruct", "instruct_eval/self_instruct_test.jsonl",
     "{\"id\":\"u\",\"instruction\":\"p\",\"instances\":[{\"input\":\"\",\"output\":\"o\"}]}\n"
     "{\"id\":\"u\",\"instruction\":\"q\",\"instances\":[{\"input\":\"\",\"output\":\"o\"}]}",
     BL_E_FORMAT, "self_instruct_test.jsonl:2: id \"u\" comes twice, first in line 1; expected another for every row"},
    {"vicuna_bench", "vicuna_bench/question.jsonl",
     "{\"question_id\":1,\"category\":\"c\",\"turns\":[\"a\"]}\n{\"question_id\":1,\"category\":\"c\",\"turns\":[\"b\"]"
     "}",
     BL_E_FORMAT, "question.jsonl:2: question_id 1 comes twice, first in line 1; expected another for every row"},
    {"vicuna_bench", "vicuna_bench/question.jsonl", "{\"question_id\":1,\"category\":\"c\",\"turns\":[\"a\"",
     BL_E_FORMAT, "question.jsonl:1, column 45: "},
    {"pubmedqa:own", "pubmedqa/test_set.json",
     "{\"17\": {\"QUESTION\": \"q\", \"CONTEXTS\": [\"c\"], \"final_decision\": \"no\"},\n\"17\": {}}", BL_E_FORMAT,
     "test_set.json:2: key \"17\" comes twice, first in line 1; expected another for every row"},
    /* a row that says two things */
    {"commonsense_qa", "commonsense_qa/validation.jsonl",
     "{\"id\":\"x\",\"question\":\"q\",\"choices\":{\"label\":[\"A\",\"A\",\"C\",\"D\",\"E\"],\"text\":[\"1\",\"2\","
     "\"3\","
     "\"4\",\"5\"]},\"answerKey\":\"A\"}",
     BL_E_FORMAT, "validation.jsonl:1: label \"A\" comes twice, expected another for every choice"},
    {"commonsense_qa", "commonsenseqa/dev_rand_split.jsonl",
     "{\"answerKey\":\"C\",\"id\":\"x\",\"question\":{\"stem\":\"q\",\"choices\":[{\"label\":\"A\",\"text\":\"1\"},{"
     "\"label\":\"B\",\"text\":\"2\"},{\"label\":\"C\",\"text\":\"3\"},{\"label\":\"D\",\"text\":\"4\"},{\"label\":"
     "\"D\",\"text\":\"5\"}]}}",
     BL_E_FORMAT, "dev_rand_split.jsonl:1: label \"D\" comes twice"},
    {"medqa", "medqa/us_4options_test.jsonl",
     "{\"question\":\"q\",\"options\":{\"A\":\"1\",\"B\":\"2\",\"C\":\"3\",\"D\":\"4\"},\"answer\":\"3\",\"answer_"
     "idx\":"
     "\"B\"}",
     BL_E_FORMAT, "us_4options_test.jsonl:1: 'answer' is \"3\", but option B is \"2\""},
    {"medqa", "medqa/us_4options_test.jsonl",
     "{\"question\":\"q\",\"options\":[\"1\",\"2\",\"3\",\"4\"],\"answer\":\"2\",\"answer_idx\":\"B\"}", BL_E_FORMAT,
     "us_4options_test.jsonl:1: 'options' is no object, expected one of four texts: A, B, C, D"},
    {"sciq:own", "sciq/validation.jsonl",
     "{\"question\":\"q\",\"distractor1\":\"a\",\"distractor2\":\"d\",\"distractor3\":\"c\",\"correct_answer\":\"d\","
     "\"support\":\"s\"}",
     BL_E_FORMAT, "validation.jsonl:1: choice 1 is \"d\", as the right one is; expected another"},
    {"copa", "copa/validation.jsonl",
     "{\"premise\":\"p.\",\"choice1\":\"A.\",\"choice2\":\"A.\",\"question\":\"cause\",\"label\":1}", BL_E_FORMAT,
     "validation.jsonl:1: choice 0 is \" a.\", as the right one is"},
    {"strategyqa:cot6", "strategyqa/bigbench_task.json",
     "{\"examples\":[{\"input\":\"q\",\"target_scores\":{\"Yes\":1,\"No\":0,\"Maybe\":0}}]}", BL_E_FORMAT,
     "bigbench_task.json:1: element 1: 'target_scores' has 3 answers, expected Yes and No"},
    {"strategyqa:cot6", "strategyqa/bigbench_task.json",
     "{\"examples\":[{\"input\":\"Would a pear sink in "
     "water?\",\"target_scores\":{\"Yes\":0,\"No\":1}},{\"input\":\"Yes "
     "or no: Would a pear sink in water?\",\"target_scores\":{\"Yes\":0,\"No\":1}}]}",
     BL_E_FORMAT, "bigbench_task.json: each of its questions is one of the worked examples, expected others"},
    {"multiarith:cot8", "math_word/MultiArith.json", "[{\"sQuestion\":\"q\",\"lSolutions\":{\"x\":1}}]", BL_E_FORMAT,
     "MultiArith.json:1: element 1: 'lSolutions' is no list, expected one of 1 number"},
    {"boolq", "boolq/val.jsonl", "{\"question\":\"q\",\"passage\":\"p\",\"idx\":[3],\"label\":0}", BL_E_FORMAT,
     "val.jsonl:1: 'idx' is neither a number nor a text"},
    /* one option more than there are */
    {"medmcqa", "medmcqa/dev.jsonl",
     "{\"question\":\"q\",\"cop\":1,\"opa\":\"a\",\"opb\":\"b\",\"opc\":\"c\",\"opd\":\"d\",\"ope\":\"e\"}",
     BL_E_FORMAT, "dev.jsonl:1: an option 'ope', expected 4: opa to opd"},
    {"social_iqa", "siqa/validation.jsonl",
     "{\"context\":\"c\",\"question\":\"q\",\"answerA\":\"a\",\"answerB\":\"b\",\"answerC\":\"c\",\"answerD\":\"d\","
     "\"label\":\"1\"}",
     BL_E_FORMAT, "validation.jsonl:1: an option 'answerD', expected 3: answerA to answerC"},
    {"copa", "copa/validation.jsonl",
     "{\"premise\":\"p.\",\"choice1\":\"a\",\"choice2\":\"b\",\"choice3\":\"c\",\"question\":\"cause\",\"label\":1}",
     BL_E_FORMAT, "validation.jsonl:1: an option 'choice3', expected 2"},
    {"cosmosqa", "cosmosqa/valid.csv",
     "id,context,question,answer0,answer1,answer2,answer3,answer4,label\nx,c,q,a,b,c,d,e,1\n", BL_E_FORMAT,
     "valid.csv:2: an option 'answer4', expected 4"},
    {"piqa", "piqa/valid.jsonl", "{\"goal\":\"g\",\"sol1\":\"a\",\"sol2\":\"b\",\"sol3\":\"c\",\"label\":1}",
     BL_E_FORMAT, "valid.jsonl:1: an option 'sol3', expected 2"},
    {"winogrande", "winogrande/dev.jsonl",
     "{\"sentence\":\"a _ b\",\"option1\":\"a\",\"option2\":\"b\",\"option3\":\"c\",\"answer\":\"1\"}", BL_E_FORMAT,
     "dev.jsonl:1: an option 'option3', expected 2"},
    {"sciq:closed", "sciq/validation.jsonl",
     "{\"question\":\"q\",\"distractor1\":\"a\",\"distractor2\":\"b\",\"distractor3\":\"c\",\"distractor4\":\"e\","
     "\"correct_answer\":\"d\",\"support\":\"s\"}",
     BL_E_FORMAT, "validation.jsonl:1: an option 'distractor4', expected 4"},
    {"gsm8k:cot8", "gsm8k/test.jsonl", "{\"question\":\"q\",\"answer\":\"so\\n#### apples\"}", BL_E_FORMAT,
     "test.jsonl:1: \"apples\" follows \"####\" in the answer, expected a number"},
    {"mmlu:0shot:5shot", "mmlu/test/abstract_algebra_test.csv", "q,1,2,3,4,A\n", BL_E_CONFIG,
     "no task 'mmlu:0shot:5shot'"},
    {"mmlu:3shot:5shot", "mmlu/test/abstract_algebra_test.csv", "q,1,2,3,4,A\n", BL_E_CONFIG,
     "no task 'mmlu:3shot:5shot'"},
    {"commonsense_qa", "commonsense_qa/validation.jsonl",
     "{\"id\": \"x\", \"question\": \"q\", \"choices\": {\"label\": [\"A\", \"B\", \"C\", \"D\"], \"text\": [\"1\", "
     "\"2\", \"3\", \"4\"]}, \"answerKey\": \"A\"}",
     BL_E_FORMAT, "4 choices, expected 5"},
    {"aqua", "aqua/test.jsonl",
     "{\"question\": \"How far?\", \"options\": [\"A)21\", \"B)22 km\", \"C)x)\", \"D)1\", \"21\"], \"rationale\": "
     "\"so\", \"correct\": \"C\"}",
     BL_E_FORMAT, "option 5 is \"21\", expected \"E)\" in front of it"},
    {"aqua", "aqua/test.jsonl",
     "{\"question\": \"How far?\", \"options\": [\"A)21\", \"B)22 km\", \"C)x)\", \"D)1\", \"E)None\"], \"rationale\": "
     "\"so\", \"correct\": \"F\"}",
     BL_E_FORMAT, "'correct' is \"F\", expected a letter from A to E"},
    {"truthfulqa_mc1", "truthfulqa/mc_task.json", "[{\"question\":\"q\",\"mc1_targets\":{\"a\":1,\"b\":1,\"c\":0}}]",
     BL_E_FORMAT, "element 1: 2 answers are right, expected 1"},
    {"truthfulqa_mc2", "truthfulqa/mc_task.json", "[{\"question\":\"q\",\"mc2_targets\":{\"a\":0,\"b\":1}}]",
     BL_E_FORMAT, "the first answer is not right"},
    {"truthfulqa_mc2", "truthfulqa/mc_task.json", "[{\"question\":\"q\",\"mc2_targets\":{\"a\":1,\"b\":2}}]",
     BL_E_FORMAT, "the label of \"b\" is 2, expected 0 or 1"},
    {"cosmosqa", "cosmosqa/valid.csv",
     "id,context,question,answer0,answer1,answer2,answer3,label\nx,c,q,a,b,c,d,1\ny,\"two\nlines\",q,a,b,c,d\n",
     BL_E_FORMAT, "valid.csv:3: 7 fields, expected 8: id, context"},
    {"cosmosqa", "cosmosqa/valid.csv", "id,context,question,answer0,answer1,answer2,answer3,label\nx,c,q,a,b,c,d,5\n",
     BL_E_FORMAT, "valid.csv:2: 'label' is 5, expected 0 to 3"},
    {"cosmosqa", "cosmosqa/valid.csv", "id,context,question,answer0,answer1,answer2,answer3,label\nx,,q,a,b,c,d,1\n",
     BL_E_FORMAT, "valid.csv:2: 'context' is empty"},
    {"cosmosqa", "cosmosqa/valid.csv", "id,context,question,answer0,answer1,answer2,label\nx,c,q,a,b,c,1\n",
     BL_E_FORMAT, "valid.csv:2: 'answer3' is missing"},
    {"mmlu:0shot", "mmlu/test/abstract_algebra_test.csv", "q,1,2,3,4,5,E\n", BL_E_FORMAT,
     "abstract_algebra_test.csv:1: 7 fields, expected 6: question, A, B, C, D, answer"},
    {"mmlu:0shot", "mmlu/test/abstract_algebra_test.csv", "q,1,2,3,4,A\nq,1,2,3,4,E\n", BL_E_FORMAT,
     "abstract_algebra_test.csv:2: the answer is \"E\", expected a letter from A to D"},
    {"mmlu:0shot", "mmlu/test/abstract_algebra_test.csv", "q,1,2,3,4,A\n", BL_E_MISSING, "anatomy_test.csv"},
    {"commonsense_qa:3shot", "commonsense_qa/validation.jsonl",
     "{\"id\": \"x\", \"question\": \" Which? \", \"question_concept\": \"c\", \"choices\": {\"label\": [\"A\", \"B\", "
     "\"C\", \"D\", \"E\"], \"text\": [\"one\", \"two\", \"three\", \"four\", \"five\"]}, \"answerKey\": \"D\"}",
     BL_E_MISSING, "train_rand_split.jsonl"},
    {"truthfulqa_mc1:1shot", "truthfulqa/mc_task.json", "[{\"question\":\"q\",\"mc1_targets\":{\"a\":1,\"b\":0}}]",
     BL_E_CONFIG, "mc_task.json: 1 rows, expected at least 2 for the worked examples"},
    {"aqua:65shot", "aqua/test.jsonl", "", BL_E_CONFIG, "no task 'aqua:65shot'"},
    {"piqa+chat", "piqa/valid.jsonl", "", BL_E_CONFIG,
     "task 'piqa' is not asked through a chat template; without +chat"},
    {"gsm8k:cot8+chat+chat", "gsm8k/test.jsonl", "", BL_E_CONFIG, "no task 'gsm8k:cot8+chat+chat'"},
    {"svamp:cot8", "math_word/SVAMP.json",
     "[{\"ID\":\"chal-1\",\"Body\":\"b\",\"Question\":\"q\",\"Answer\":1},\n\n{\"ID\":\"chal-1\",\"Body\":\"c\","
     "\"Question\":\"q\","
     "\"Answer\":2}]",
     BL_E_FORMAT, "SVAMP.json:3: element 2: ID \"chal-1\" comes twice, first in line 1"},
    {"addsub:cot8", "math_word/AddSub.json",
     "[{\"iIndex\":7,\"sQuestion\":\"q\",\"lSolutions\":[1]},{\"iIndex\":7,\"sQuestion\":\"r\",\"lSolutions\":[1]}]",
     BL_E_FORMAT, "AddSub.json:1: element 2: iIndex 7 comes twice, first in line 1"},
    {"gsm8k:cot8", "gsm8k/test.jsonl", "PAR1 and bytes PAR1", BL_E_FORMAT,
     "test.jsonl: a parquet file, expected text; convert it: python3 -c"},
    {"truthfulqa_mc1", "truthfulqa/multiple_choice/validation-00000-of-00001.parquet", "PAR1", BL_E_MISSING,
     "multiple_choice/validation-00000-of-00001.parquet, a parquet file; convert it: python3 -c"},
    {"truthfulqa_mc2", "truthful_qa/multiple_choice/validation-00000-of-00001.parquet", "PAR1", BL_E_MISSING,
     "multiple_choice/validation-00000-of-00001.parquet, a parquet file; convert it: python3 -c"},
    {"gsm8k:faithful", "gsm8k/test.jsonl", "{\"question\":\"q\",\"answer\":\"5\"}", BL_E_FORMAT,
     "test.jsonl:1: the answer has no \"####\" line"},
    {"medqa:faithful", "medqa/us_4options_test.jsonl",
     "{\"question\":\"q\",\"options\":{\"A\":\"1\",\"B\":\"2\",\"C\":\"3\",\"D\":\"4\",\"E\":\"5\"},\"answer_idx\":"
     "\"B\"}",
     BL_E_FORMAT, "us_4options_test.jsonl:1: 5 choices, expected 4"},
    {"sciq:own", "sciq/validation.jsonl",
     "{\"question\":\"q\",\"distractor1\":\"a\",\"distractor2\":\"b\",\"distractor3\":\"c\",\"correct_answer\":\"d\"}",
     BL_E_FORMAT, "validation.jsonl:1: 'support' is missing"},
    {"pubmedqa:own", "pubmedqa/test_set.json", "{\"17\": {\"CONTEXTS\": [\"c\"], \"final_decision\": \"no\"}}",
     BL_E_FORMAT, "test_set.json:1: element 1: 'QUESTION' is missing"},
    {"pubmedqa:own", "pubmedqa/test_set.json",
     "{\"17\": {\"QUESTION\": \"q\", \"CONTEXTS\": [\"c\"], \"final_decision\": \"no\"},\n\"18\": {\"QUESTION\": "
     "\"q\", \"CONTEXTS\": [\"c\", \" \"], \"final_decision\": \"no\"}}",
     BL_E_FORMAT, "test_set.json:2: element 2: a text of 'CONTEXTS' is empty, expected a passage"},
    {"pubmedqa:bm25", "pubmedqa/test_set.json",
     "{\"17\": {\"QUESTION\": \"q\", \"CONTEXTS\": [], \"final_decision\": \"no\"}}", BL_E_FORMAT,
     "element 1: 'CONTEXTS' is no list of texts, or an empty one"},
    {"pubmedqa:own", "pubmedqa/test_set.json",
     "{\"17\": {\"QUESTION\": \"q\", \"CONTEXTS\": [\"c\"], \"final_decision\": \"so\"}}", BL_E_FORMAT,
     "'final_decision' is \"so\", expected yes, no or maybe"},
    {"pubmedqa:own", "pubmedqa/test_set.json",
     "{\"17\": {\"QUESTION\": \"q\", \"CONTEXTS\": [\"c\"], \"final_decision\": \"no\"}, \"17\": {\"QUESTION\": "
     "\"q\", \"CONTEXTS\": [\"c\"], \"final_decision\": \"no\"}}",
     BL_E_FORMAT, "17"},
    {"boolq:bm25", "boolq/val.jsonl", "{\"question\":\"q\",\"passage\":\" \",\"label\":1}", BL_E_FORMAT,
     "val.jsonl:1: 'passage' is empty"},
    {"boolq:dense", "boolq/val.jsonl", "{\"question\":\"q\",\"label\":1}", BL_E_FORMAT,
     "val.jsonl:1: 'passage' is missing"},
    {"sciq:encoder", "sciq/validation.jsonl",
     "{\"question\":\"q\",\"distractor1\":\"a\",\"distractor2\":\"b\",\"distractor3\":\"c\",\"correct_answer\":\"d\","
     "\"support\":\"s\"}",
     BL_E_MISSING, "all-MiniLM-L6-v2/model.safetensors"},
    {"sciq:bm25", "sciq/validation.jsonl",
     "{\"question\":\"q\",\"distractor1\":\"a\",\"distractor2\":\"\",\"distractor3\":\"c\",\"correct_answer\":\"d\","
     "\"support\":\"s\"}",
     BL_E_FORMAT, "validation.jsonl:1: 'distractor2' is empty"},
    {"arc_challenge:val:2shot", "arc/arc_challenge_validation.jsonl",
     "{\"id\":\"x\",\"question\":\"q\",\"choices\":[\"one\",\"two\"],\"gold\":1}", BL_E_MISSING,
     "ARC-Challenge-Train.jsonl"},
    {"piqa:1shot", "piqa/valid.jsonl", "{\"goal\":\"g\",\"sol1\":\"a\",\"sol2\":\"b\",\"label\":1}", BL_E_MISSING,
     "train-labels.lst"},
    {"svamp:cot8", "math_word/SVAMP.json", "[{\"Body\":\"b\",\"Question\":\"q\",\"Answer\":\"many\"}]", BL_E_FORMAT,
     "element 1: 'Answer' is \"many\", expected a number"},
    {"svamp:cot8", "math_word/SVAMP.json", "[{\"Body\":\" \",\"Question\":\"q\",\"Answer\":1}]", BL_E_FORMAT,
     "element 1: 'Body' is empty, expected a text"},
    {"addsub:cot8", "math_word/AddSub.json", "[{\"sQuestion\":\"q\",\"lSolutions\":[\"1\",\"2\"]}]", BL_E_FORMAT,
     "'lSolutions' has 2 numbers, expected 1"},
    {"strategyqa:cot6", "strategyqa/bigbench_task.json",
     "{\"examples\":[{\"input\":\"q\",\"target_scores\":{\"Yes\":1,\"No\":1}}]}", BL_E_FORMAT,
     "element 1: Yes is 1 and No is 1, expected 1 and 0 or 0 and 1"},
    {"strategyqa:cot6", "strategyqa/bigbench_task.json", "{\"items\":[]}", BL_E_FORMAT, "'examples' is missing"},
    {"coin_flip:cot4", "symbolic/coin_flip.json", "{\"examples\":[{\"question\":\"q\",\"answer\":\"maybe\"}]}",
     BL_E_FORMAT, "'answer' is \"maybe\", expected yes or no"},
    {"commonsense_qa:cot7", "commonsense_qa/validation.jsonl",
     "{\"id\": \"x\", \"question\": \"q\", \"choices\": {\"label\": [\"A\", \"B\", \"C\", \"D\"], \"text\": [\"1\", "
     "\"2\", \"3\", \"4\"]}, \"answerKey\": \"A\"}",
     BL_E_FORMAT, "validation.jsonl:1: 4 choices, expected 5"},
    {"arc_challenge", "arc/arc_challenge_validation.jsonl", "{}", BL_E_MISSING,
     "arc/arc_challenge_test.jsonl"}, /* never stands in */
    {"winogrande", "winogrande/train_sample.jsonl", "{}", BL_E_MISSING, "winogrande_1.1"},
    {"c4:gptq2048", "c4/c4_demo.jsonl", "{\"text\":\"x\"}", BL_E_MISSING, "c4-validation.00000-of-00008.json"},
};

static void rows_that_cannot_be_are_refused(void **state)
{
    (void)state;
    for (size_t i = 0; i < BL_COUNT(refused); i++) {
        char root[16];
        bl_err e = {0};
        snprintf(root, sizeof root, "r%zu", i);
        put(root, refused[i].file, refused[i].text);
        bl_status st = task_refusal(refused[i].task, root_of(root), &e);
        if (st != refused[i].st || !strstr(e.text, refused[i].says))
            fail_msg("row %zu: %s: '%s', wanted '%s'", i, bl_status_name(st), e.text, refused[i].says);
    }
}

/* In every layout of every task: a column that is missing is named with file and line, or the task does without it; a
 * line of 1 MB is refused with both. */
static void no_layout_takes_a_missing_column_or_a_line_without_end(void **state)
{
    (void)state;
    enum { LONG = 1 << 20 };
    char *line = bl_new(LONG + 64, 1, NULL);
    for (size_t i = 0; i < BL_COUNT(layouts); i++) {
        bl_err e = {0};
        bl_json *row;
        char root[16], place[64];
        const char *file = strrchr(layouts[i].file, '/') + 1, *text = layouts[i].text;
        size_t n = strcspn(text, "\n");
        if (*text != '{' || !strncmp(text, "{\"17\"", 5))
            continue; /* JSON lines; one document is in rows of `refused` */
        layout_write(dir, i);
        assert_ok(bl_json_parse(text, n, "row", BL_JSON_PLAIN, &row, &e));
        int refused_keys = 0;
        for (const bl_json *gone = bl_json_first(row); gone; gone = bl_json_next(gone)) {
            bl_text less = {0};
            bl_json_out o = {.t = &less};
            bl_json_object(&o, NULL);
            for (const bl_json *k = bl_json_first(row); k; k = bl_json_next(k))
                if (k != gone) bl_json_add_node(&o, bl_json_key(k), k);
            bl_json_end(&o);
            put(layouts[i].root, layouts[i].file, less.s);
            snprintf(place, sizeof place, "%s:1: ", file);
            bl_status st = task_refusal(layouts[i].task, root_of(layouts[i].root), &e);
            if (st == BL_E_FORMAT && !strstr(e.text, place))
                fail_msg("%s without '%s': %s", layouts[i].task, bl_json_key(gone), e.text);
            refused_keys += st == BL_E_FORMAT;
            bl_text_free(&less);
        }
        if (!refused_keys) fail_msg("%s: no column is needed", layouts[i].root);
        bl_json_free(row);
        snprintf(line, 16, "{\"text\": \"");
        memset(line + strlen(line), 'x', LONG);
        snprintf(line + LONG, 8, "\"}");
        snprintf(root, sizeof root, "z%zu", i);
        put(root, layouts[i].file, line);
        if (layouts[i].also) put(root, layouts[i].also, layouts[i].also_text);
        snprintf(place, sizeof place, "%s:1: a row of 1048578 bytes, expected at most 1000000", file); /* R78 */
        assert_refused(task_refusal(layouts[i].task, root_of(root), &e), BL_E_FORMAT, place);
        memset(line, 0, LONG + 64);
    }
    bl_free(line);
}

/* ---- rows that are changed a little ---- */
/* The first row of a layout that is JSON, parsed; before and after it, what makes a file of it; NULL: it is none. */
static bl_json *first_row(const char *text, const char **before, const char **after)
{
    bl_err e = {0};
    bl_json *whole;
    size_t n = *text == '{' && strcspn(text, "\n") < strlen(text) ? strcspn(text, "\n") : strlen(text);
    *before = *after = "";
    if (*text != '{' && *text != '[') return NULL;
    assert_ok(bl_json_parse(text, n, "row", BL_JSON_PLAIN, &whole, &e));
    const bl_json *row = whole, *first = bl_json_first(whole);
    if (*text == '[') {
        *before = "[";
        *after = "]";
        row = first;
    } else if (bl_json_kind(first) == BL_JSON_ARRAY && !strcmp(bl_json_key(first), "examples")) {
        *before = "{\"examples\":[";
        *after = "]}";
        row = bl_json_first(first);
    } else return whole;
    bl_text t = {0};
    bl_json *copy;
    bl_json_out o = {.t = &t, .compact = true};
    bl_json_add_node(&o, NULL, row);
    assert_ok(bl_json_parse(t.s, t.n, "row", BL_JSON_PLAIN, &copy, &e));
    bl_text_free(&t);
    bl_json_free(whole);
    return copy;
}

/* The row with the value of one key replaced (value NULL: without that key), `times` times. */
static void put_row(size_t i, const bl_json *row, const char *before, const char *after, const bl_json *changed,
                    const char *value, int times)
{
    bl_text t = {0};
    bl_text_add(&t, before);
    for (int k = 0; k < times; k++) {
        bool first = true;
        bl_text_add(&t, !k ? "{" : *before ? ",{" : "\n{");
        for (const bl_json *j = bl_json_first(row); j; j = bl_json_next(j)) {
            bl_json_out o = {.t = &t, .compact = true};
            if (j == changed && !value) continue;
            if (!first) bl_text_add(&t, ",");
            first = false;
            bl_json_put_str(&t, bl_json_key(j), strlen(bl_json_key(j)));
            bl_text_add(&t, ":");
            if (j == changed) bl_text_add(&t, value);
            else bl_json_add_node(&o, NULL, j);
        }
        bl_text_add(&t, "}");
    }
    bl_text_add(&t, after);
    put(layouts[i].root, layouts[i].file, t.s);
    bl_text_free(&t);
}

/* The items, or NULL and the sentence that refuses them, which must name the file and the row, once. */
static char *items_or_refusal(size_t i, const char *what, const char *before, bl_err *e)
{
    char place[200];
    bl_status st = task_refusal(layouts[i].task, root_of(layouts[i].root), e);
    if (st == BL_OK) return items_of(layouts[i].task, layouts[i].root);
    snprintf(place, sizeof place, *before ? "%s:1: element " : "%s:", strrchr(layouts[i].file, '/') + 1);
    if (st == BL_E_MISSING && strstr(e->text, "no label")) return NULL; /* they may be in a file beside it */
    if (st != BL_E_FORMAT || !strstr(e->text, place) || strstr(strstr(e->text, place) + 1, place))
        fail_msg("%s (%s), %s: %s: %s", layouts[i].task, layouts[i].root, what, bl_status_name(st), e->text);
    return NULL;
}

/* One more of the last element of an array, or of both arrays of {"text": [...], "label": [...]}; false: it has none.
 */
static bool one_more(const bl_json *value, bl_text *out)
{
    static const char *const parts[] = {"text", "label"};
    bl_json_out o = {.t = out, .compact = true};
    bool choices = bl_json_kind(value) == BL_JSON_OBJECT && bl_json_kind(bl_json_get(value, "text")) == BL_JSON_ARRAY;
    if (bl_json_kind(value) != BL_JSON_ARRAY && !choices) return false;
    if (choices) bl_text_add(out, "{");
    for (int k = 0; k < (choices ? 2 : 1); k++) {
        const bl_json *list = choices ? bl_json_get(value, parts[k]) : value, *last = NULL;
        if (choices) bl_text_addf(out, "%s\"%s\":", k ? "," : "", parts[k]);
        bl_text_add(out, "[");
        for (const bl_json *j = bl_json_first(list); j; j = bl_json_next(j)) {
            bl_json_add_node(&o, NULL, j);
            o = (bl_json_out){.t = out, .compact = true};
            bl_text_add(out, ",");
            last = j;
        }
        if (choices && k) bl_text_add(out, "\"Z\"");
        else bl_json_add_node(&o, NULL, last);
        o = (bl_json_out){.t = out, .compact = true};
        bl_text_add(out, "]");
    }
    if (choices) bl_text_add(out, "}");
    return true;
}

static size_t pairs_in(const char *items)
{
    size_t n = 0;
    for (; *items; items++) n += *items == '|';
    return n;
}

/* The second half of HellaSwag's contexts; a ninth of SciQ's questions have no passage. */
static bool may_be_empty(const char *key) { return !strcmp(key, "ctx_b") || !strcmp(key, "support"); }

/* BoolQ's title is in the passage or beside it; an instruction has an input or none. */
static bool may_be_missing(const char *key) { return !strcmp(key, "title") || !strcmp(key, "input"); }

/* In every layout of every task, a value that means something is seen or refused, with file and row: a text or a number
 * of no sense either shows in the items or is refused, and so is one option more; a text that is shown may not be
 * empty; a column that is missing is refused or was not needed; a row that has a number of its own may not come twice.
 */
static void no_layout_takes_a_row_that_makes_no_sense(void **state)
{
    static const char *const ids[] = {"id", "ID", "qid", "qID", "iIndex", "idx", "ind", "question_id"};
    (void)state;
    for (size_t i = 0; i < BL_COUNT(layouts); i++) {
        const char *before, *after;
        bl_json *row = first_row(layouts[i].text, &before, &after);
        bl_err e = {0};
        bool numbered = false, labels = layouts[i].also && strstr(layouts[i].also, "labels");
        char what[200];
        if (!row) continue;
        layout_write(dir, i);
        put_row(i, row, before, after, NULL, NULL, 1);
        if (labels) put(layouts[i].root, layouts[i].also, "1\n");
        char *plain = items_or_refusal(i, "as it is", before, &e);
        assert_non_null(plain);
        for (const bl_json *j = bl_json_first(row); j; j = bl_json_next(j)) {
            const char *key = bl_json_key(j);
            bool text = bl_json_kind(j) == BL_JSON_STRING, shown = false;
            bl_text more = {0};
            for (size_t k = 0; k < BL_COUNT(ids); k++) numbered = numbered || !strcmp(key, ids[k]);
            put_row(i, row, before, after, j, NULL, 1);
            snprintf(what, sizeof what, "'%s' is missing", key);
            char *less = items_or_refusal(i, what, before, &e);
            if (less && strcmp(less, plain) != 0 && !may_be_missing(key))
                fail_msg("%s (%s), %s:\n%s", layouts[i].task, layouts[i].root, what, less);
            bl_free(less);
            if (text || bl_json_kind(j) == BL_JSON_NUMBER) {
                const char *odd = text ? "\"Zq9 it\"" : "979";
                put_row(i, row, before, after, j, odd, 1);
                snprintf(what, sizeof what, "'%s' is %s", key, odd);
                char *got = items_or_refusal(i, what, before, &e);
                shown = got && strcmp(got, plain) != 0;
                if (shown && !strstr(got, text ? "q9" : "979")) fail_msg("%s, %s:\n%s", layouts[i].task, what, got);
                bl_free(got);
            }
            if (text && shown && !may_be_empty(key)) {
                put_row(i, row, before, after, j, "\" \"", 1);
                snprintf(what, sizeof what, "'%s' is empty", key);
                char *got = items_or_refusal(i, what, before, &e);
                if (got) fail_msg("%s (%s), %s:\n%s", layouts[i].task, layouts[i].root, what, got);
            }
            if (one_more(j, &more)) {
                put_row(i, row, before, after, j, more.s, 1);
                snprintf(what, sizeof what, "'%s' has one more", key);
                char *got = items_or_refusal(i, what, before, &e);
                if (got && strcmp(got, plain) != 0 && pairs_in(got) != pairs_in(plain) + 1)
                    fail_msg("%s, %s:\n%s", layouts[i].task, what, got);
                bl_free(got);
            }
            bl_text_free(&more);
        }
        put_row(i, row, before, after, NULL, NULL, 2);
        if (labels) put(layouts[i].root, layouts[i].also, "1\n1\n");
        char *twice = items_or_refusal(i, "twice", before, &e);
        if (numbered && twice) fail_msg("%s (%s): a row that comes twice is taken", layouts[i].task, layouts[i].root);
        bl_free(twice);
        bl_free(plain);
        bl_json_free(row);
    }
}

/* One training row, one example: the prompt as lm-evaluation-harness joins it. */
static void examples_come_from_the_training_split(void **state)
{
    static const struct {
        const char *task, *file, *text, *train, *train_text, *prompt;
    } rows[] = {
        {"arc_easy:1shot", "arc/arc_easy_test.jsonl",
         "{\"id\":\"x\",\"question\":\"q\",\"choices\":[\"one\",\"two\"],\"gold\":1}", "arc/arc_easy_train.jsonl",
         "{\"id\":\"y\",\"question\":\"t\",\"choices\":[\"three\",\"four\"],\"gold\":1}",
         "Question: t\nAnswer: four\n\nQuestion: q\nAnswer:"},
        {"arc_challenge:1shot", "arc/arc_challenge_test.jsonl",
         "{\"id\":\"x\",\"question\":\"q\",\"choices\":[\"one\",\"two\"],\"gold\":1}", "arc/arc_challenge_train.jsonl",
         "{\"id\":\"y\",\"question\":\"t\",\"choices\":[\"three\",\"four\"],\"gold\":0}",
         "Question: t\nAnswer: three\n\nQuestion: q\nAnswer:"},
        {"openbookqa:1shot", "openbookqa/main/test.jsonl",
         "{\"id\":\"x\",\"question_stem\":\"q\",\"choices\":[\"one\",\"two\"],\"gold\":1}",
         "openbookqa/main/train.jsonl",
         "{\"id\":\"y\",\"question_stem\":\"t\",\"choices\":[\"three\",\"four\"],\"gold\":1}", "t four\n\nq"},
        {"boolq:1shot", "boolq/val.jsonl", "{\"question\":\"is it\",\"passage\":\"p\",\"label\":1}",
         "boolq/train.jsonl", "{\"question\":\"was it\",\"passage\":\"t\",\"label\":0}",
         "t\nQuestion: was it?\nAnswer: no\n\np\nQuestion: is it?\nAnswer:"},
        {"piqa:1shot", "piqa/valid.jsonl", "{\"goal\":\"g\",\"sol1\":\"a\",\"sol2\":\"b\",\"label\":1}",
         "piqa/train.jsonl", "{\"goal\":\"t\",\"sol1\":\"c\",\"sol2\":\"d\",\"label\":0}",
         "Question: t\nAnswer: c\n\nQuestion: g\nAnswer:"},
        {"winogrande:1shot", "winogrande/dev.jsonl",
         "{\"qID\":\"z\",\"sentence\":\"The _ was big. \",\"option1\":\"cat\",\"option2\":\"dog\",\"answer\":\"2\"}",
         "winogrande/train_xl.jsonl",
         "{\"qID\":\"y\",\"sentence\":\"A _ is red.\",\"option1\":\"rose\",\"option2\":\"leaf\",\"answer\":\"1\"}",
         "A rose is red.\n\nThe cat"},
        {"hellaswag:1shot", "hellaswag/hellaswag_val.jsonl",
         "{\"ind\":4,\"activity_label\":\"A\",\"ctx_a\":\"b\",\"ctx_b\":\"\",\"label\":0,\"endings\":[\"c\",\"d\","
         "\"e\",\"f\"]}",
         "hellaswag/hellaswag_train.jsonl",
         "{\"ind\":5,\"activity_label\":\"T\",\"ctx_a\":\"u\",\"ctx_b\":\"\",\"label\":2,\"endings\":[\"g\",\"h\","
         "\"i\",\"j\"]}",
         "T: u i\n\nA: b"},
    };
    bl_err e = {0};
    (void)state;
    for (size_t i = 0; i < BL_COUNT(rows); i++) {
        char root[16];
        bl_request q;
        snprintf(root, sizeof root, "shots%zu", i);
        put(root, rows[i].file, rows[i].text);
        put(root, rows[i].train, rows[i].train_text);
        bl_data_dirs d = {{root_of(root)}, 1};
        task_run t = task_open(rows[i].task, &d);
        assert_int_equal(bl_task_examples(t.task, t.name), 1);
        assert_ok(t.task->ask(&t.data, 0, &(bl_turn){.arena = t.data.arena}, &q, &e));
        char *text = prompt_text(&q.pair[0].context);
        assert_string_equal(text, rows[i].prompt);
        bl_free(text);
        task_close(&t);
    }
}

/* As many as asked for, the same for every item, other ones with another seed, never one twice; the bytes of their file
 * count. */
static void worked_examples_are_drawn_by_the_seed(void **state)
{
    (void)state;
    bl_err e = {0};
    bl_text train = {0};
    char *prompt[3];
    bl_hash hash[3];
    put("few", "aqua/test.jsonl",
        "{\"question\":\"first\",\"options\":[\"A)1\",\"B)2\",\"C)3\",\"D)4\",\"E)5\"],\"correct\":\"A\"}\n"
        "{\"question\":\"second\",\"options\":[\"A)1\",\"B)2\",\"C)3\",\"D)4\",\"E)5\"],\"correct\":\"A\"}");
    for (int k = 10; k < 30; k++)
        bl_text_addf(
            &train, "{\"question\":\"n%d\",\"options\":[\"A)1\",\"B)2\",\"C)3\",\"D)4\",\"E)5\"],\"correct\":\"%c\"}\n",
            k, 'A' + k % 5);
    put("few", "aqua/train.jsonl", train.s);
    bl_data_dirs d = {{root_of("few")}, 1};
    for (int s = 0; s < 3; s++) { /* seeds 1, 1, 2 */
        bl_task_data t = {0};
        const bl_task *task;
        const char *name;
        bl_request q[2];
        const bl_program p = {.tasks = bl_tasks};
        assert_ok(bl_arena_new(&t.arena, &e));
        assert_ok(bl_program_task(&p, "aqua:4shot", &task, &name, &e));
        assert_string_equal(name, "aqua:4shot");
        assert_int_equal(bl_task_examples(task, name), 4);
        assert_ok(task->load(&(bl_task_load){.name = name, .dirs = &d, .seed = (uint64_t)(s == 2 ? 2 : 1)}, &t, &e));
        for (int64_t i = 0; i < 2; i++) assert_ok(task->ask(&t, i, &(bl_turn){.arena = t.arena}, &q[i], &e));
        prompt[s] = prompt_text(&q[0].pair[0].context);
        char *other = prompt_text(&q[1].pair[0].context), *own = strstr(prompt[s], "Question: first");
        assert_non_null(own);
        assert_memory_equal(prompt[s], other, (size_t)(own - prompt[s]));
        int seen = 0;
        for (int k = 10; k < 30; k++) {
            char text[16], answer[8];
            snprintf(text, sizeof text, "Question: n%d\n", k);
            char *at = strstr(prompt[s], text);
            if (!at) continue;
            snprintf(answer, sizeof answer, " %c\n\n", 'A' + k % 5);
            assert_true(strstr(at + 1, text) == NULL && strstr(at, "Answer:") + 7 == strstr(at, answer));
            seen++;
        }
        assert_int_equal(seen, 4);
        hash[s] = t.hash;
        bl_free(other);
        bl_arena_free(t.arena);
    }
    assert_string_equal(prompt[0], prompt[1]);
    assert_string_not_equal(prompt[0], prompt[2]);
    assert_true(bl_hash_equal(hash[0], hash[1]));
    put("few", "aqua/train.jsonl", train.s + 1 + strcspn(train.s, "\n"));
    task_run less = {0};
    less.data.n = 0;
    bl_task_data t = {0};
    const bl_program p = {.tasks = bl_tasks};
    assert_ok(bl_arena_new(&t.arena, &e));
    assert_ok(bl_program_task(&p, "aqua:4shot", &less.task, &less.name, &e));
    assert_ok(less.task->load(&(bl_task_load){.name = less.name, .dirs = &d, .seed = 1}, &t, &e));
    assert_false(bl_hash_equal(hash[0], t.hash));
    bl_arena_free(t.arena);
    assert_refused(task_refusal("aqua:20shot", root_of("few"), &e), BL_E_CONFIG, "19 rows, expected at least 20");
    for (int s = 0; s < 3; s++) bl_free(prompt[s]);
    bl_text_free(&train);
}

static void mmlu_goes_round_the_subjects_after_five_examples(void **state)
{
    (void)state;
    bl_err e = {0};
    size_t row = 0;
    while (strcmp(layouts[row].root, "x1")) row++;
    layout_write(dir, row);
    bl_data_dirs d = {{root_of("x1")}, 1};
    static const struct {
        const char *name;
        int examples;
    } names[] = {{"mmlu", 5}, {"mmlu:0shot", 0}, {"mmlu:2shot", 2}};
    for (size_t k = 0; k < BL_COUNT(names); k++) {
        task_run t = task_open(names[k].name, &d);
        assert_int_equal(t.data.n, 114);
        for (int64_t i = 0; i < 57; i++) assert_int_equal(t.data.family[i], t.data.family[57 + i]);
        for (int64_t i = 1; i < 57; i++) assert_int_not_equal(t.data.family[i], t.data.family[0]);
        assert_int_equal(bl_task_examples(t.task, t.name), names[k].examples);
        for (int64_t i = 0; i < 114; i += 57) { /* abstract algebra */
            bl_request q;
            bl_text want = {0};
            assert_ok(t.task->ask(&t.data, i, &(bl_turn){.arena = t.data.arena}, &q, &e));
            bl_text_add(&want,
                        "The following are multiple choice questions (with answers) about abstract algebra.\n\n");
            for (int x = 0; x < names[k].examples; x++)
                bl_text_addf(&want, "example %d\nA. 1\nB. 2\nC. 3\nD. 4\nAnswer: %c\n\n", x, "ABCDA"[x]);
            bl_text_add(&want, i ? "second\nA. 1\nB. 2\nC. 3\nD. 4\nAnswer:"
                                 : "Is it \"so\", or not?\nA.  yes\nB. no\nC. maybe\nD. a\nb\nAnswer:");
            char *got = prompt_text(&q.pair[0].context);
            assert_string_equal(got, want.s);
            assert_string_equal(q.pair[3].continuation, " D");
            assert_string_equal(t.task->gold(&t.data, i), i ? "A" : "C");
            bl_free(got);
            bl_text_free(&want);
        }
        task_close(&t);
    }
    assert_refused(task_refusal("mmlu:6shot", root_of("x1"), &e), BL_E_CONFIG, "5 rows, expected at least 6");
    put("x1", "mmlu/test/astrology_test.csv", "q,1,2,3,4,A\n"); /* a subject that MMLU has not */
    task_run t = task_open("mmlu:0shot", &d);
    assert_int_equal(t.data.n, 114);
    assert_string_equal(t.data.note, "left out, as none of the 57 subjects: astrology_test.csv");
    task_close(&t);
}

/* TruthfulQA has one split: its worked examples are other questions of it, in place of the fixed pairs. */
static void a_question_is_never_its_own_worked_example(void **state)
{
    (void)state;
    bl_err e = {0};
    bl_text rows = {0};
    for (int k = 0; k < 4; k++)
        bl_text_addf(
            &rows,
            "%s{\"question\":\"q%d\",\"mc1_targets\":{\"r%d\":1,\"w%d\":0},\"mc2_targets\":{\"r%d\":1,\"s%d\":1,"
            "\"w%d\":0}}",
            k ? "," : "[", k, k, k, k, k, k);
    bl_text_add(&rows, "]");
    put("tqa", "truthfulqa/mc_task.json", rows.s);
    bl_text_free(&rows);
    bl_data_dirs d = {{root_of("tqa")}, 1};
    static const char *const names[] = {"truthfulqa_mc1:3shot", "truthfulqa_mc2:3shot"};
    for (size_t n = 0; n < BL_COUNT(names); n++) {
        task_run t = task_open(names[n], &d);
        assert_int_equal(bl_task_examples(t.task, t.name), 3);
        for (int i = 0; i < 4; i++) { /* three of four: all but itself */
            bl_request q;
            assert_ok(t.task->ask(&t.data, i, &(bl_turn){.arena = t.data.arena}, &q, &e));
            assert_int_equal(q.n_pairs, n ? 3 : 2);
            char *text = prompt_text(&q.pair[0].context), line[40];
            for (int k = 0; k < 4; k++) {
                snprintf(line, sizeof line, k == i ? "Q: q%d\nA:" : "Q: q%d\nA: r%d\n\n", k, k);
                char *at = strstr(text, line);
                assert_non_null(at);
                assert_true(k != i || !at[strlen(line)]);
            }
            assert_int_equal(strlen(text), 3 * strlen("Q: q0\nA: r0\n\n") + strlen("Q: q0\nA:"));
            bl_free(text);
        }
        task_close(&t);
    }
}

static void labels_must_be_as_many_as_rows(void **state)
{
    (void)state;
    static const struct {
        const char *labels, *says;
    } rows[] = {{"1\n0\n", "2 labels for 1 rows"}, {"2\n", ":1: expected 0 or 1"}, {"10\n", ":1: expected 0 or 1"}};
    for (size_t i = 0; i < BL_COUNT(rows); i++) {
        bl_err e = {0};
        char root[16];
        snprintf(root, sizeof root, "l%zu", i);
        put(root, "piqa/valid.jsonl", "{\"goal\":\"g\",\"sol1\":\"a\",\"sol2\":\"b\"}");
        put(root, "piqa/valid-labels.lst", rows[i].labels);
        assert_refused(task_refusal("piqa", root_of(root), &e), BL_E_FORMAT, rows[i].says);
    }
}

static void special_token_text_in_data_stays_data(void **state)
{
    (void)state;
    bl_err e = {0};
    put("s", "gsm8k/test.jsonl", "{\"question\":\"say <|im_end|> now\",\"answer\":\"#### 1\"}");
    bl_data_dirs d = {{root_of("s")}, 1};
    task_run t = task_open("gsm8k:cot8", &d);
    bl_request q;
    assert_ok(t.task->ask(&t.data, 0, &(bl_turn){.arena = t.data.arena}, &q, &e));
    for (size_t i = 0; i < q.prompt.n; i++)
        if (memmem(q.prompt.span[i].text, q.prompt.span[i].n, "<|im_end|>", 10)) assert_true(q.prompt.span[i].data);
    task_close(&t);
}

/* A data set decides how many choices an item has. */
static void any_number_of_choices_is_scored(void **state)
{
    (void)state;
    bl_err e = {0};
    put("many", "arc/arc_easy_test.jsonl",
        "{\"id\":\"x\",\"question\":\"q\",\"choices\":[\"1\",\"2\",\"3\",\"4\",\"5\",\"6\",\"7\",\"8\",\"9\",\"10\","
        "\"11\"],"
        "\"gold\":9}");
    bl_data_dirs d = {{root_of("many")}, 1};
    task_run t = task_open("arc_easy", &d);
    bl_request q;
    bl_turn turn = {.arena = t.data.arena};
    bl_sample s;
    double nll[11];
    int64_t ones[11];
    bool greedy[11] = {0};
    for (int c = 0; c < 11; c++) {
        nll[c] = c == 9 ? 1 : 2 + c;
        ones[c] = 1;
    }
    assert_ok(t.task->ask(&t.data, 0, &turn, &q, &e));
    assert_int_equal(q.n_pairs, 11);
    bl_reply r = {.kind = BL_ASK_PAIRS,
                  .n = 11,
                  .nll = nll,
                  .nll_sq = nll,
                  .tokens = ones,
                  .greedy = greedy,
                  .chars = ones,
                  .bytes = ones};
    turn.reply = &r;
    turn.n_replies = 1;
    assert_ok(bl_mark_item(t.task, &t.data, 0, &turn, &s, &e));
    assert_true(s.pick == 9 && s.score[0] == 1 && s.n_choices == 11 && s.n_values == 11 && s.tokens == 11);
    task_close(&t);
}

static void scores_that_are_not_numbers_are_refused(void **state)
{
    (void)state;
    bl_err e = {0};
    put("n", "boolq/val.jsonl", "{\"question\":\"q\",\"passage\":\"p\",\"label\":1}");
    bl_data_dirs d = {{root_of("n")}, 1};
    task_run t = task_open("boolq", &d);
    bl_request q;
    pair_reply r;
    bl_turn turn = {.arena = t.data.arena};
    bl_sample s;
    assert_ok(t.task->ask(&t.data, 0, &turn, &q, &e));
    reply_to(&q, (double[]){1, 0.0 / 0.0}, &r);
    turn.reply = &r.r;
    turn.n_replies = 1;
    assert_refused(bl_mark_item(t.task, &t.data, 0, &turn, &s, &e), BL_E_NUMERIC, "item 0, choice 1");
    task_close(&t);
}

/* acc_norm divides by code points, not bytes. */
static void length_is_counted_in_code_points(void **state)
{
    (void)state;
    bl_err e = {0};
    put("u", "arc/arc_easy_test.jsonl",
        "{\"id\":\"x\",\"question\":\"q\",\"choices\":[\"\\u00e9\\u00e9\\u00e9\\u00e9\",\"abcde\"],\"gold\":1}");
    bl_data_dirs d = {{root_of("u")}, 1};
    task_run t = task_open("arc_easy", &d);
    bl_request q;
    pair_reply r;
    bl_turn turn = {.arena = t.data.arena};
    bl_sample s;
    assert_ok(t.task->ask(&t.data, 0, &turn, &q, &e));
    reply_to(&q, (double[]){6, 7}, &r); /* 6/4 against 7/5; by bytes 6/8 against 7/5 */
    turn.reply = &r.r;
    turn.n_replies = 1;
    assert_ok(bl_mark_item(t.task, &t.data, 0, &turn, &s, &e));
    assert_true(s.score[0] == 0 && s.score[1] == 1 && s.pick == 0 && s.flags == 0);
    task_close(&t);
}

static void lambada_counts_words_not_tokens(void **state)
{
    (void)state;
    bl_err e = {0};
    put("la", "lambada/lambada_test.jsonl", "{\"text\":\"a b\"}\n{\"text\":\"c d\"}");
    bl_data_dirs d = {{root_of("la")}, 1};
    task_run t = task_open("lambada_openai", &d);
    bl_sample s[2];
    for (int64_t i = 0; i < 2; i++) {
        bl_request q;
        pair_reply r;
        bl_turn turn = {.arena = t.data.arena};
        assert_ok(t.task->ask(&t.data, i, &turn, &q, &e));
        reply_to(&q, (double[]){2.0 + 2.0 * (double)i}, &r);
        r.greedy[0] = i == 1;
        r.tokens[0] = 5;
        turn.reply = &r.r;
        turn.n_replies = 1;
        assert_ok(bl_mark_item(t.task, &t.data, i, &turn, &s[i], &e));
    }
    assert_true(metric_of(&t, "acc", s, 2).value == 0.5);
    double ppl = metric_of(&t, "perplexity", s, 2).value;
    assert_true(ppl > 20.0855 && ppl < 20.0856); /* exp(3) */
    task_close(&t);
}

static void every_task_says_what_it_is(void **state)
{
    (void)state;
    for (size_t i = 0; bl_tasks[i]; i++) {
        const bl_task *t = bl_tasks[i];
        assert_true(t->version >= 1 && t->title && t->cite && t->doc && t->load && t->ask && t->mark && t->names[0]);
        for (size_t j = 0; t->names[j]; j++) {
            int n = 0;
            const bl_metric *m = bl_task_metrics(t, t->names[j], &n);
            assert_true(n > 0 && m[0].name && *m[0].name);
            for (size_t k = 0; bl_tasks[k]; k++) /* a name belongs to one task */
                for (size_t l = 0; bl_tasks[k]->names[l]; l++)
                    assert_true((k == i && l == j) || strcmp(bl_tasks[k]->names[l], t->names[j]) != 0);
        }
    }
}

static void the_primer_ships_and_is_balanced(void **state)
{
    (void)state;
    task_run t = task_open("primer_choice", NULL);
    int64_t at[4] = {0};
    bl_err e = {0};
    assert_true(t.data.n >= 64 && t.data.n % 4 == 0);
    for (int64_t i = 0; i < t.data.n; i++) {
        bl_request q;
        assert_ok(t.task->ask(&t.data, i, &(bl_turn){.arena = t.data.arena}, &q, &e));
        assert_int_equal(q.n_pairs, 4);
        for (int c = 0; c < 4; c++) at[c] += !strcmp(q.pair[c].continuation + 1, t.task->gold(&t.data, i));
    }
    for (int c = 0; c < 4; c++) assert_int_equal(at[c], t.data.n / 4);
    task_close(&t);
    t = task_open("primer:gptq2048", NULL);
    assert_int_equal(t.data.n, -1);
    bl_request q = {0};
    assert_ok(t.task->ask(&t.data, 0, &(bl_turn){.arena = t.data.arena}, &q, &e));
    assert_true(q.n_text > 20000);
    task_close(&t);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(layouts_give_the_items_they_should),
        cmocka_unit_test(rows_that_cannot_be_are_refused),
        cmocka_unit_test(labels_must_be_as_many_as_rows),
        cmocka_unit_test(special_token_text_in_data_stays_data),
        cmocka_unit_test(any_number_of_choices_is_scored),
        cmocka_unit_test(scores_that_are_not_numbers_are_refused),
        cmocka_unit_test(length_is_counted_in_code_points),
        cmocka_unit_test(lambada_counts_words_not_tokens),
        cmocka_unit_test(every_task_says_what_it_is),
        cmocka_unit_test(no_layout_takes_a_missing_column_or_a_line_without_end),
        cmocka_unit_test(no_layout_takes_a_row_that_makes_no_sense),
        cmocka_unit_test(worked_examples_are_drawn_by_the_seed),
        cmocka_unit_test(examples_come_from_the_training_split),
        cmocka_unit_test(a_question_is_never_its_own_worked_example),
        cmocka_unit_test(mmlu_goes_round_the_subjects_after_five_examples),
        cmocka_unit_test(the_primer_ships_and_is_balanced),
    };
    return cmocka_run_group_tests(tests, setup, teardown);
}
