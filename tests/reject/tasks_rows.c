/* tasks_rows.c - rows of data sets that are refused, with file, row and what was expected (R78, R81). */
#include "layout_fixture.h"

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
     "{\"goal\":\"g\",\"sol1\":\"a\",\"sol2\":\"b\",\"label\":1}\n{\"goal\":\"h\",\"sol1\":\"a\",\"sol2\":\"b\"}",
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
    {"commonsense_qa", "commonsense_qa/validation.jsonl",
     "{\"id\":\"x\",\"question\":\"q\",\"choices\":{\"label\":[\"A\",\" \",\"C\",\"D\",\"E\"],\"text\":[\"1\",\"2\","
     "\"3\",\"4\",\"5\"]},\"answerKey\":\"A\"}",
     BL_E_FORMAT, "validation.jsonl:1: the label of choice 1 is empty, expected a text"},
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
    /* rows that come twice, of sets whose rows have no number */
    {"medqa", "medqa/us_4options_test.jsonl",
     "{\"question\":\"q\",\"options\":{\"A\":\"1\",\"B\":\"2\",\"C\":\"3\",\"D\":\"4\"},\"answer_idx\":\"B\"}\n"
     "{\"question\":\"q\",\"options\":{\"A\":\"1\",\"B\":\"2\",\"C\":\"3\",\"D\":\"4\"},\"answer_idx\":\"C\"}",
     BL_E_FORMAT,
     "us_4options_test.jsonl:2: the same question comes twice, first in line 1; expected another for every "
     "row"},
    {"aqua", "aqua/test.jsonl",
     "{\"question\":\"q\",\"options\":[\"A)1\",\"B)2\",\"C)3\",\"D)4\",\"E)5\"],\"correct\":\"C\"}\n"
     "{\"question\":\"q\",\"options\":[\"A)1\",\"B)2\",\"C)3\",\"D)4\",\"E)5\"],\"correct\":\"C\"}",
     BL_E_FORMAT, "test.jsonl:2: the same question comes twice, first in line 1"},
    {"aqua:cot4", "aqua/test.jsonl",
     "{\"question\":\"q\",\"options\":[\"A)1\",\"B)2\",\"C)3\",\"D)4\",\"E)5\"],\"correct\":\"C\"}\n"
     "{\"question\":\"q\",\"options\":[\"A)1\",\"B)2\",\"C)3\",\"D)4\",\"E)5\"],\"correct\":\"C\"}",
     BL_E_FORMAT, "test.jsonl:2: the same question comes twice, first in line 1; expected another for every row"},
    {"medmcqa", "medmcqa/dev.jsonl",
     "{\"question\":\"q\",\"cop\":1,\"opa\":\"a\",\"opb\":\"b\",\"opc\":\"c\",\"opd\":\"d\"}\n"
     "{\"question\":\"q\",\"cop\":1,\"opa\":\"a\",\"opb\":\"b\",\"opc\":\"c\",\"opd\":\"d\"}",
     BL_E_FORMAT, "dev.jsonl:2: the same question comes twice, first in line 1"},
    {"medmcqa", "medmcqa/dev.jsonl",
     "{\"question\":\"q\",\"cop\":\"2\",\"opa\":\"a\",\"opb\":\"b\",\"opc\":\"c\",\"opd\":\"d\"}", BL_E_FORMAT,
     "dev.jsonl:1: cop: found the string \"2\", expected an integer"},
    {"arc_easy", "arc/arc_easy_test.jsonl",
     "{\"id\":1,\"question\":\"q\",\"choices\":[\"a\",\"b\"],\"gold\":0}\n{\"id\":\"1\",\"question\":\"r\","
     "\"choices\":[\"a\",\"b\"],\"gold\":0}",
     BL_E_FORMAT, "arc_easy_test.jsonl:2: id \"1\" comes twice, first in line 1"},
    {"truthfulqa_mc2", "truthfulqa/mc_task.json", "[{\"question\":\"q\",\"mc2_targets\":{\"a\":1,\"b\":1}}]",
     BL_E_FORMAT, "mc_task.json:1: element 1: all 2 answers are right, expected a wrong one after them"},
    {"wikitext2:word+chat", "wikitext2/wiki.test.raw", "", BL_E_CONFIG,
     "no task 'wikitext2:word+chat', only 'wikitext2:word': a text is scored as it is"},
    {"gsm8k:cot8+chat+chat", "gsm8k/test.jsonl", "", BL_E_CONFIG, "no task 'gsm8k:cot8+chat+chat'"},
    {"svamp:cot8", "math_word/SVAMP.json",
     "[{\"ID\":\"chal-1\",\"Body\":\"b\",\"Question\":\"q\",\"Answer\":1},\n\n{\"ID\":\"chal-1\",\"Body\":\"c\","
     "\"Question\":\"q\","
     "\"Answer\":2}]",
     BL_E_FORMAT, "SVAMP.json:3: element 2: ID \"chal-1\" comes twice, first in element 1"},
    {"addsub:cot8", "math_word/AddSub.json",
     "[{\"iIndex\":7,\"sQuestion\":\"q\",\"lSolutions\":[1]},{\"iIndex\":7,\"sQuestion\":\"r\",\"lSolutions\":[1]}]",
     BL_E_FORMAT, "AddSub.json:1: element 2: iIndex 7 comes twice, first in element 1"},
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
    {"svamp:cot8", "math_word/SVAMP.json", "[{\"Body\":\"b\",\"Question\":\"q\",\"Answer\":\"nan\"}]", BL_E_FORMAT,
     "SVAMP.json:1: element 1: 'Answer' is \"nan\", expected a number"},
    {"svamp:cot8", "math_word/SVAMP.json", "[{\"Body\":\"b\",\"Question\":\"q\",\"Answer\":\"-inf\"}]", BL_E_FORMAT,
     "SVAMP.json:1: element 1: 'Answer' is \"-inf\", expected a number"},
    {"svamp:cot8", "math_word/SVAMP.json", "[{\"Body\":\"b\",\"Question\":\"q\",\"Answer\":\"0x10\"}]", BL_E_FORMAT,
     "SVAMP.json:1: element 1: 'Answer' is \"0x10\", expected a number"},
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

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(rows_that_cannot_be_are_refused),
        cmocka_unit_test(labels_must_be_as_many_as_rows),
        cmocka_unit_test(no_layout_takes_a_missing_column_or_a_line_without_end),
    };
    return cmocka_run_group_tests(tests, layouts_begin, layouts_end);
}
