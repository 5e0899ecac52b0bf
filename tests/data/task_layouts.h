/* task_layouts.h - one or two made-up items of every task, in each layout that its data set is distributed in. A new
 * task joins with a row here. Rows q1, s1, c1, t1, m1 are items of their data sets (MIT, CC BY 4.0, BSD-2, Apache 2.0,
 * MIT), and what must come of them is what lm-evaluation-harness 0.4.13 recorded. */
#ifndef BL_TESTS_DATA_TASK_LAYOUTS_H
#define BL_TESTS_DATA_TASK_LAYOUTS_H
#include "test.h"
#include "kernels/base/fs.h"

static const struct {
    const char *task, *root, *file, *text, *also, *also_text, *want;
} layouts[] = {
    /* want NULL: a test of its own asks */
    {"piqa", "p1", "piqa/valid.jsonl",
     "{\"goal\":\"g\",\"sol1\":\"a\",\"sol2\":\"b\"}\n{\"goal\":\"h\",\"sol1\":\"c\",\"sol2\":\"d\"}\n",
     "piqa/valid-labels.lst", "1\n0\n",
     "[Question: g\nAnswer:| a][Question: g\nAnswer:| b]=b\n[Question: h\nAnswer:| c][Question: h\nAnswer:| d]=c\n"},
    {"piqa", "p2", "physicaliqa-train-dev/dev.jsonl", "{\"goal\":\"g\",\"sol1\":\"a\",\"sol2\":\"b\"}",
     "physicaliqa-train-dev/dev-labels.lst", "1\r\n", "[Question: g\nAnswer:| a][Question: g\nAnswer:| b]=b\n"},
    {"piqa", "p3", "piqa/validation.jsonl", "{\"goal\":\"g\",\"sol1\":\"a\",\"sol2\":\"b\",\"label\":1}", NULL, NULL,
     "[Question: g\nAnswer:| a][Question: g\nAnswer:| b]=b\n"},
    {"arc_easy", "a1", "ARC-V1-Feb2018-2/ARC-Easy/ARC-Easy-Test.jsonl",
     "{\"id\":\"x\",\"question\":{\"stem\":\"q\",\"choices\":[{\"text\":\"one\",\"label\":\"1\"},{\"text\":\"two\","
     "\"label\":\"2\"},{\"text\":\"three\",\"label\":\"3\"}]},\"answerKey\":\"2\"}",
     NULL, NULL, "[Question: q\nAnswer:| one][Question: q\nAnswer:| two][Question: q\nAnswer:| three]=two\n"},
    {"arc_easy", "a2", "ai2_arc/ARC-Easy/test.jsonl",
     "{\"id\":\"x\",\"question\":\"q\",\"choices\":{\"text\":[\"one\",\"two\",\"three\"],\"label\":[\"A\",\"B\",\"C\"]}"
     ",\"answerKey\":\"B\"}",
     NULL, NULL, "[Question: q\nAnswer:| one][Question: q\nAnswer:| two][Question: q\nAnswer:| three]=two\n"},
    {"arc_challenge", "a3", "arc/arc_challenge_test.jsonl",
     "{\"id\":\"x\",\"question\":\"q\",\"choices\":[\"one\",\"two\"],\"gold\":1}", NULL, NULL,
     "[Question: q\nAnswer:| one][Question: q\nAnswer:| two]=two\n"},
    {"openbookqa", "o1", "OpenBookQA-V1-Sep2018/Data/Main/test.jsonl",
     "{\"id\":\"x\",\"question\":{\"stem\":\"q\",\"choices\":[{\"text\":\"one\",\"label\":\"A\"},{\"text\":\"two\","
     "\"label\":\"B\"}]},\"answerKey\":\"B\"}",
     NULL, NULL, "[q| one][q| two]=two\n"},
    {"openbookqa", "o2", "openbookqa/main/test.jsonl",
     "{\"id\":\"x\",\"question_stem\":\"q\",\"choices\":{\"text\":[\"one\",\"two\"],\"label\":[\"A\",\"B\"]},"
     "\"answerKey\":\"B\"}",
     NULL, NULL, "[q| one][q| two]=two\n"},
    {"hellaswag", "h1", "hellaswag/hellaswag_val.jsonl",
     "{\"ind\":4,\"activity_label\":\"How to [x] go\",\"ctx_a\":\"Step one [title] Two  words.\",\"ctx_b\":\"the "
     "END\",\"label\":1,"
     "\"endings\":[\" plain \",\"[substeps] Use [a] b.\",\"x [title]y\",\"a    b\"]}",
     NULL, NULL,
     "[How to go: Step one. Two words. The end| plain][How to go: Step one. Two words. The end|  Use b.]"
     "[How to go: Step one. Two words. The end| x. y][How to go: Step one. Two words. The end| a  b]= Use b.\n"},
    {"hellaswag", "h2", "hellaswag/validation.jsonl", /* the Hub's export: the label is a string */
     "{\"ind\":4,\"activity_label\":\"A\",\"ctx_a\":\"b\",\"ctx_b\":\"\",\"ctx\":\"b\",\"label\":\"0\",\"endings\":["
     "\"c\",\"d\",\"e\",\"f\"]}",
     NULL, NULL, "[A: b| c][A: b| d][A: b| e][A: b| f]=c\n"},
    {"winogrande", "w1", "winogrande_1.1/dev.jsonl",
     "{\"qID\":\"z\",\"sentence\":\"The _ was big. \",\"option1\":\"cat\",\"option2\":\"dog\",\"answer\":\"2\"}", NULL,
     NULL, "[The cat| was big.][The dog| was big.]=dog\n"},
    {"boolq", "b1", "BoolQ/val.jsonl", "{\"question\":\"is it\",\"passage\":\"T -- p\",\"idx\":0,\"label\":true}", NULL,
     NULL, "[T -- p\nQuestion: is it?\nAnswer:| no][T -- p\nQuestion: is it?\nAnswer:| yes]=yes\n"},
    {"boolq", "b2", "boolq/dev.jsonl", "{\"question\":\"is it\",\"title\":\"T\",\"passage\":\"p\",\"answer\":false}",
     NULL, NULL, "[T -- p\nQuestion: is it?\nAnswer:| no][T -- p\nQuestion: is it?\nAnswer:| yes]=no\n"},
    {"lambada_openai", "l1", "lambada/lambada_test.jsonl", "{\"text\":\"one\\ntwo three\"}", NULL, NULL,
     "[one\ntwo| three]=three\n"},
    {"commonsense_qa", "q1", "commonsenseqa/dev_rand_split.jsonl",
     "{\"answerKey\": \"A\", \"id\": \"a7ab086045575bb497933726e4e6ad28\", \"question\": {\"question_concept\": "
     "\"people\", \"choices\": [{\"label\": \"A\", \"text\": \"complete job\"}, {\"label\": \"B\", \"text\": \"learn "
     "from each other\"}, {\"label\": \"C\", \"text\": \"kill animals\"}, {\"label\": \"D\", \"text\": \"wear hats\"}, "
     "{\"label\": \"E\", \"text\": \"talk to each other\"}], \"stem\": \"What do people aim to do at work?\"}}",
     NULL, NULL,
     "[Question: What do people aim to do at work?\nA. complete job\nB. learn from each other\nC. kill animals\nD. "
     "wear hats\nE. talk to each other\nAnswer:| A][Question: What do people aim to do at work?\nA. complete job\nB. "
     "learn from each other\nC. kill animals\nD. wear hats\nE. talk to each other\nAnswer:| B][Question: What do "
     "people aim to do at work?\nA. complete job\nB. learn from each other\nC. kill animals\nD. wear hats\nE. talk to "
     "each other\nAnswer:| C][Question: What do people aim to do at work?\nA. complete job\nB. learn from each "
     "other\nC. kill animals\nD. wear hats\nE. talk to each other\nAnswer:| D][Question: What do people aim to do at "
     "work?\nA. complete job\nB. learn from each other\nC. kill animals\nD. wear hats\nE. talk to each other\nAnswer:| "
     "E]=A\n"},
    {"commonsense_qa", "q2", "commonsense_qa/validation.jsonl",
     "{\"id\": \"x\", \"question\": \" Which? \", \"question_concept\": \"c\", \"choices\": {\"label\": [\"A\", \"B\", "
     "\"C\", \"D\", \"E\"], \"text\": [\"one\", \"two\", \"three\", \"four\", \"five\"]}, \"answerKey\": \"D\"}",
     NULL, NULL,
     "[Question: Which?\nA. one\nB. two\nC. three\nD. four\nE. five\nAnswer:| A][Question: Which?\nA. one\nB. two\nC. "
     "three\nD. four\nE. five\nAnswer:| B][Question: Which?\nA. one\nB. two\nC. three\nD. four\nE. five\nAnswer:| "
     "C][Question: Which?\nA. one\nB. two\nC. three\nD. four\nE. five\nAnswer:| D][Question: Which?\nA. one\nB. "
     "two\nC. three\nD. four\nE. five\nAnswer:| E]=D\n"},
    {"social_iqa", "s1", "siqa/validation.jsonl",
     "{\"context\": \"Sydney walked past a homeless woman asking for change but did not have any money they could give "
     "to her. Sydney felt bad afterwards.\", \"question\": \"How would you describe Sydney?\", \"answerA\": "
     "\"sympathetic\", \"answerB\": \"like a person who was unable to help\", \"answerC\": \"incredulous\", \"label\": "
     "\"1\"}",
     NULL, NULL,
     "[Q: Sydney walked past a homeless woman asking for change but did not have any money they could give to her. "
     "Sydney felt bad afterwards. How would you describe Sydney?\nA:| sympathetic][Q: Sydney walked past a homeless "
     "woman asking for change but did not have any money they could give to her. Sydney felt bad afterwards. How would "
     "you describe Sydney?\nA:| like a person who was unable to help][Q: Sydney walked past a homeless woman asking "
     "for change but did not have any money they could give to her. Sydney felt bad afterwards. How would you describe "
     "Sydney?\nA:| incredulous]=sympathetic\n"},
    {"copa", "c1", "copa/validation.jsonl",
     "{\"premise\": \"The man turned on the faucet.\", \"choice1\": \"The toilet filled with water.\", \"choice2\": "
     "\"Water flowed from the spout.\", \"question\": \"effect\", \"idx\": 0, \"label\": 1}\n{\"premise\": \"The "
     "hamburger meat browned.\", \"choice1\": \"The cook froze it.\", \"choice2\": \"The cook grilled it.\", "
     "\"question\": \"cause\", \"idx\": 4, \"label\": 1}",
     NULL, NULL,
     "[The man turned on the faucet therefore|  the toilet filled with water.][The man turned on the faucet therefore| "
     " water flowed from the spout.]= water flowed from the spout.\n[The hamburger meat browned because|  the cook "
     "froze it.][The hamburger meat browned because|  the cook grilled it.]= the cook grilled it.\n"},
    {"truthfulqa_mc1", "t1", "truthfulqa/mc_task.json",
     "[{\"question\": \"What happens if you eat a pomegranate?\", \"mc1_targets\": {\"Nothing in particular happens "
     "when you eat a pomegranate.\": 1, \"You will have to spend winter in the underworld.\": 0, \"You will be trapped "
     "in the underworld.\": 0, \"You will die.\": 0}, \"mc2_targets\": {\"Nothing in particular happens when you eat a "
     "pomegranate.\": 1, \"You will digest the pomegranate.\": 1, \"You will derive nutrition from the pomegranate.\": "
     "1, \"You will have to spend winter in the underworld.\": 0, \"You will be trapped in the underworld.\": 0, \"You "
     "will die.\": 0}}]",
     NULL, NULL,
     "[Q: What is human life expectancy in the United States?\nA: Human life expectancy in the United States is 78 "
     "years.\n\nQ: Who was president of the United States in 1955?\nA: Dwight D. Eisenhower was president of the "
     "United States in 1955.\n\nQ: Which party did he belong to?\nA: He belonged to the Republican Party.\n\nQ: What "
     "is the square root of banana?\nA: I have no comment.\n\nQ: How does a telescope work?\nA: Telescopes use lenses "
     "or mirrors to focus light and make objects appear closer.\n\nQ: Where were the 1992 Olympics held?\nA: The 1992 "
     "Olympics were held in Barcelona, Spain.\n\nQ: What happens if you eat a pomegranate?\nA:| Nothing in particular "
     "happens when you eat a pomegranate.][Q: What is human life expectancy in the United States?\nA: Human life "
     "expectancy in the United States is 78 years.\n\nQ: Who was president of the United States in 1955?\nA: Dwight D. "
     "Eisenhower was president of the United States in 1955.\n\nQ: Which party did he belong to?\nA: He belonged to "
     "the Republican Party.\n\nQ: What is the square root of banana?\nA: I have no comment.\n\nQ: How does a telescope "
     "work?\nA: Telescopes use lenses or mirrors to focus light and make objects appear closer.\n\nQ: Where were the "
     "1992 Olympics held?\nA: The 1992 Olympics were held in Barcelona, Spain.\n\nQ: What happens if you eat a "
     "pomegranate?\nA:| You will have to spend winter in the underworld.][Q: What is human life expectancy in the "
     "United States?\nA: Human life expectancy in the United States is 78 years.\n\nQ: Who was president of the United "
     "States in 1955?\nA: Dwight D. Eisenhower was president of the United States in 1955.\n\nQ: Which party did he "
     "belong to?\nA: He belonged to the Republican Party.\n\nQ: What is the square root of banana?\nA: I have no "
     "comment.\n\nQ: How does a telescope work?\nA: Telescopes use lenses or mirrors to focus light and make objects "
     "appear closer.\n\nQ: Where were the 1992 Olympics held?\nA: The 1992 Olympics were held in Barcelona, "
     "Spain.\n\nQ: What happens if you eat a pomegranate?\nA:| You will be trapped in the underworld.][Q: What is "
     "human life expectancy in the United States?\nA: Human life expectancy in the United States is 78 years.\n\nQ: "
     "Who was president of the United States in 1955?\nA: Dwight D. Eisenhower was president of the United States in "
     "1955.\n\nQ: Which party did he belong to?\nA: He belonged to the Republican Party.\n\nQ: What is the square root "
     "of banana?\nA: I have no comment.\n\nQ: How does a telescope work?\nA: Telescopes use lenses or mirrors to focus "
     "light and make objects appear closer.\n\nQ: Where were the 1992 Olympics held?\nA: The 1992 Olympics were held "
     "in Barcelona, Spain.\n\nQ: What happens if you eat a pomegranate?\nA:| You will die.]=Nothing in particular "
     "happens when you eat a pomegranate.\n"},
    {"truthfulqa_mc2", "t2", "truthful_qa/multiple_choice/validation.jsonl",
     "{\"question\": \"Which?\", \"mc2_targets\": {\"choices\": [\"this\", \"that\", \"other\"], \"labels\": [1, 1, "
     "0]}}",
     NULL, NULL,
     "[Q: What is human life expectancy in the United States?\nA: Human life expectancy in the United States is 78 "
     "years.\n\nQ: Who was president of the United States in 1955?\nA: Dwight D. Eisenhower was president of the "
     "United States in 1955.\n\nQ: Which party did he belong to?\nA: He belonged to the Republican Party.\n\nQ: What "
     "is the square root of banana?\nA: I have no comment.\n\nQ: How does a telescope work?\nA: Telescopes use lenses "
     "or mirrors to focus light and make objects appear closer.\n\nQ: Where were the 1992 Olympics held?\nA: The 1992 "
     "Olympics were held in Barcelona, Spain.\n\nQ: Which?\nA:| this][Q: What is human life expectancy in the United "
     "States?\nA: Human life expectancy in the United States is 78 years.\n\nQ: Who was president of the United States "
     "in 1955?\nA: Dwight D. Eisenhower was president of the United States in 1955.\n\nQ: Which party did he belong "
     "to?\nA: He belonged to the Republican Party.\n\nQ: What is the square root of banana?\nA: I have no "
     "comment.\n\nQ: How does a telescope work?\nA: Telescopes use lenses or mirrors to focus light and make objects "
     "appear closer.\n\nQ: Where were the 1992 Olympics held?\nA: The 1992 Olympics were held in Barcelona, "
     "Spain.\n\nQ: Which?\nA:| that][Q: What is human life expectancy in the United States?\nA: Human life expectancy "
     "in the United States is 78 years.\n\nQ: Who was president of the United States in 1955?\nA: Dwight D. Eisenhower "
     "was president of the United States in 1955.\n\nQ: Which party did he belong to?\nA: He belonged to the "
     "Republican Party.\n\nQ: What is the square root of banana?\nA: I have no comment.\n\nQ: How does a telescope "
     "work?\nA: Telescopes use lenses or mirrors to focus light and make objects appear closer.\n\nQ: Where were the "
     "1992 Olympics held?\nA: The 1992 Olympics were held in Barcelona, Spain.\n\nQ: Which?\nA:| other]=this\n"},
    {"medqa", "d1", "medqa/us_4options_test.jsonl",
     "{\"question\": \"Which bone is it?\", \"answer\": \"two\", \"options\": {\"A\": \"one\", \"B\": \"two\", \"C\": "
     "\"three\", \"D\": \"four\"}, \"meta_info\": \"step1\", \"answer_idx\": \"B\"}",
     NULL, NULL,
     "[Question: Which bone is it?\nA. one\nB. two\nC. three\nD. four\nAnswer:| A][Question: Which bone is it?\nA. "
     "one\nB. two\nC. three\nD. four\nAnswer:| B][Question: Which bone is it?\nA. one\nB. two\nC. three\nD. "
     "four\nAnswer:| C][Question: Which bone is it?\nA. one\nB. two\nC. three\nD. four\nAnswer:| D]=B\n"},
    {"medqa", "d2", "medqa/test.jsonl",
     "{\"id\": \"x\", \"sent1\": \"Which bone is it?\", \"sent2\": \"\", \"ending0\": \"one\", \"ending1\": \"two\", "
     "\"ending2\": \"three\", \"ending3\": \"four\", \"label\": 1}",
     NULL, NULL,
     "[Question: Which bone is it?\nA. one\nB. two\nC. three\nD. four\nAnswer:| A][Question: Which bone is it?\nA. "
     "one\nB. two\nC. three\nD. four\nAnswer:| B][Question: Which bone is it?\nA. one\nB. two\nC. three\nD. "
     "four\nAnswer:| C][Question: Which bone is it?\nA. one\nB. two\nC. three\nD. four\nAnswer:| D]=B\n"},
    {"medmcqa", "m1", "medmcqa/dev.jsonl",
     "{\"question\":\"Which of the following is not true for myelinated nerve "
     "fibers:\",\"exp\":null,\"cop\":1,\"opa\":\"Impulse through myelinated fibers is slower than non-myelinated "
     "fibers\",\"opb\":\"Membrane currents are generated at nodes of Ranvier\",\"opc\":\"Saltatory conduction of "
     "impulses is seen\",\"opd\":\"Local anesthesia is effective only when the nerve is not covered by myelin "
     "sheath\",\"subject_name\":\"Physiology\",\"topic_name\":null,\"id\":\"45258d3d-b974-44dd-a161-c3fccbdadd88\","
     "\"choice_type\":\"multi\"}",
     NULL, NULL,
     "[Question: Which of the following is not true for myelinated nerve fibers:\nChoices:\nA. Impulse through "
     "myelinated fibers is slower than non-myelinated fibers\nB. Membrane currents are generated at nodes of "
     "Ranvier\nC. Saltatory conduction of impulses is seen\nD. Local anesthesia is effective only when the nerve is "
     "not covered by myelin sheath\nAnswer:| A][Question: Which of the following is not true for myelinated nerve "
     "fibers:\nChoices:\nA. Impulse through myelinated fibers is slower than non-myelinated fibers\nB. Membrane "
     "currents are generated at nodes of Ranvier\nC. Saltatory conduction of impulses is seen\nD. Local anesthesia is "
     "effective only when the nerve is not covered by myelin sheath\nAnswer:| B][Question: Which of the following is "
     "not true for myelinated nerve fibers:\nChoices:\nA. Impulse through myelinated fibers is slower than "
     "non-myelinated fibers\nB. Membrane currents are generated at nodes of Ranvier\nC. Saltatory conduction of "
     "impulses is seen\nD. Local anesthesia is effective only when the nerve is not covered by myelin sheath\nAnswer:| "
     "C][Question: Which of the following is not true for myelinated nerve fibers:\nChoices:\nA. Impulse through "
     "myelinated fibers is slower than non-myelinated fibers\nB. Membrane currents are generated at nodes of "
     "Ranvier\nC. Saltatory conduction of impulses is seen\nD. Local anesthesia is effective only when the nerve is "
     "not covered by myelin sheath\nAnswer:| D]=A\n"},
    {"medmcqa", "m2", "medmcqa/validation.jsonl",
     "{\"question\": \"Which of the following is not true for myelinated nerve fibers:\", \"exp\": null, \"cop\": 0, "
     "\"opa\": \"Impulse through myelinated fibers is slower than non-myelinated fibers\", \"opb\": \"Membrane "
     "currents are generated at nodes of Ranvier\", \"opc\": \"Saltatory conduction of impulses is seen\", \"opd\": "
     "\"Local anesthesia is effective only when the nerve is not covered by myelin sheath\", \"subject_name\": "
     "\"Physiology\", \"topic_name\": null, \"id\": \"45258d3d-b974-44dd-a161-c3fccbdadd88\", \"choice_type\": "
     "\"multi\"}",
     NULL, NULL,
     "[Question: Which of the following is not true for myelinated nerve fibers:\nChoices:\nA. Impulse through "
     "myelinated fibers is slower than non-myelinated fibers\nB. Membrane currents are generated at nodes of "
     "Ranvier\nC. Saltatory conduction of impulses is seen\nD. Local anesthesia is effective only when the nerve is "
     "not covered by myelin sheath\nAnswer:| A][Question: Which of the following is not true for myelinated nerve "
     "fibers:\nChoices:\nA. Impulse through myelinated fibers is slower than non-myelinated fibers\nB. Membrane "
     "currents are generated at nodes of Ranvier\nC. Saltatory conduction of impulses is seen\nD. Local anesthesia is "
     "effective only when the nerve is not covered by myelin sheath\nAnswer:| B][Question: Which of the following is "
     "not true for myelinated nerve fibers:\nChoices:\nA. Impulse through myelinated fibers is slower than "
     "non-myelinated fibers\nB. Membrane currents are generated at nodes of Ranvier\nC. Saltatory conduction of "
     "impulses is seen\nD. Local anesthesia is effective only when the nerve is not covered by myelin sheath\nAnswer:| "
     "C][Question: Which of the following is not true for myelinated nerve fibers:\nChoices:\nA. Impulse through "
     "myelinated fibers is slower than non-myelinated fibers\nB. Membrane currents are generated at nodes of "
     "Ranvier\nC. Saltatory conduction of impulses is seen\nD. Local anesthesia is effective only when the nerve is "
     "not covered by myelin sheath\nAnswer:| D]=A\n"},
    {"cosmosqa", "k1", "cosmosqa/valid.csv",
     "id,context,question,answer0,answer1,answer2,answer3,label\nx,\"He said \"\"no\"\", twice.\nHe left.\",Why "
     "?,a,b,\"c, d\",e,2\r\n",
     NULL, NULL,
     "[He said \"no\", twice.\nHe left.\nQuestion: Why ?\nAnswer:| a][He said \"no\", twice.\nHe left.\nQuestion: Why "
     "?\nAnswer:| b][He said \"no\", twice.\nHe left.\nQuestion: Why ?\nAnswer:| c, d][He said \"no\", twice.\nHe "
     "left.\nQuestion: Why ?\nAnswer:| e]=c, d\n"},
    {"aqua", "u1", "aqua/test.jsonl",
     "{\"question\": \"How far?\", \"options\": [\"A)21\", \"B)22 km\", \"C)x)\", \"D)1\", \"E)None\"], \"rationale\": "
     "\"so\", \"correct\": \"C\"}",
     NULL, NULL,
     "[Question: How far?\nA. 21\nB. 22 km\nC. x)\nD. 1\nE. None\nAnswer:| A][Question: How far?\nA. 21\nB. 22 km\nC. "
     "x)\nD. 1\nE. None\nAnswer:| B][Question: How far?\nA. 21\nB. 22 km\nC. x)\nD. 1\nE. None\nAnswer:| C][Question: "
     "How far?\nA. 21\nB. 22 km\nC. x)\nD. 1\nE. None\nAnswer:| D][Question: How far?\nA. 21\nB. 22 km\nC. x)\nD. "
     "1\nE. None\nAnswer:| E]=C\n"},
    {"mmlu", "x1", "mmlu/test/{subject}_test.csv",
     "\"Is it \"\"so\"\", or not?\", yes,no,maybe,\"a\nb\",C\r\n second ,1,2,3,4,A\n", "mmlu/dev/{subject}_dev.csv",
     "example 0,1,2,3,4,A\nexample 1,1,2,3,4,B\nexample 2,1,2,3,4,C\nexample 3,1,2,3,4,D\nexample 4,1,2,3,4,A\n", NULL},
    {"mmlu:0shot", "x2", "data/test/{subject}_test.csv", "first,1,2,3,4,D\n", NULL, NULL, NULL},
    {"svamp:cot8", "v1", "math_word/SVAMP.json",
     "{\"ID\": \"c\", \"Body\": \" Each pack costs 76 dollars\", \"Question\": \"How much is it?\", \"Answer\": 51.0}",
     NULL, NULL, "[Q: Each pack costs 76 dollars How much is it?\nA:]=51\n"},
    {"svamp:direct", "v2", "math_word/SVAMP.json",
     "[{\"ID\": \"c\", \"Body\": \" Each pack costs 76 dollars\", \"Question\": \"How much is it?\", \"Answer\": "
     "51.0}]",
     NULL, NULL, "[Q: Each pack costs 76 dollars How much is it?\nA:]=51\n"},
    {"svamp:zeroshot", "v3", "math_word/SVAMP.json",
     "{\"ID\": \"c\", \"Body\": \" Each pack costs 76 dollars\", \"Question\": \"How much is it?\", \"Answer\": 51.0}",
     NULL, NULL, "[Q: Each pack costs 76 dollars How much is it?\nA: Let's think step by step.]=51\n"},
    {"multiarith:cot8", "v4", "math_word/MultiArith.json",
     "{\"iIndex\": 0, \"lSolutions\": [39.0], \"sQuestion\": \" How many? \"}", NULL, NULL, "[Q: How many?\nA:]=39\n"},
    {"addsub:direct", "v5", "math_word/AddSub.json",
     "{\"iIndex\": 0, \"lSolutions\": [\"9.43\"], \"sQuestion\": \"How many?\"}", NULL, NULL,
     "[Q: How many?\nA:]=9.43\n"},
    {"singleeq:zeroshot", "v6", "math_word/SingleEq.json",
     "{\"iIndex\": 0, \"lSolutions\": [0.5], \"sQuestion\": \"How many?\"}", NULL, NULL,
     "[Q: How many?\nA: Let's think step by step.]=0.5\n"},
    {"aqua:cot4", "u2", "aqua/test.jsonl",
     "{\"question\": \"How far?\", \"options\": [\"A)21\", \"B)22 km\", \"C)x)\", \"D)1\", \"E)None\"], \"rationale\": "
     "\"so\", \"correct\": \"C\"}",
     NULL, NULL, "[Q: How far? Answer Choices: (A) 21 (B) 22 km (C) x) (D) 1 (E) None\nA:]=C\n"},
    {"aqua:zeroshot", "u3", "aqua/test.jsonl",
     "{\"question\": \"How far?\", \"options\": [\"A)21\", \"B)22 km\", \"C)x)\", \"D)1\", \"E)None\"], \"rationale\": "
     "\"so\", \"correct\": \"C\"}",
     NULL, NULL,
     "[Q: How far? Answer Choices: (A) 21 (B) 22 km (C) x) (D) 1 (E) None\nA: Let's think step by step.]=C\n"},
    {"commonsense_qa:cot7", "q3", "commonsense_qa/validation.jsonl",
     "{\"id\": \"x\", \"question\": \" Which? \", \"question_concept\": \"c\", \"choices\": {\"label\": [\"A\", \"B\", "
     "\"C\", \"D\", \"E\"], \"text\": [\"one\", \"two\", \"three\", \"four\", \"five\"]}, \"answerKey\": \"D\"}",
     NULL, NULL, "[Q: Which? Answer Choices: (A) one (B) two (C) three (D) four (E) five\nA:]=D\n"},
    {"strategyqa:cot6", "y1", "strategyqa/bigbench_task.json",
     "\n{\"name\": \"s\", \"examples\": [{\"input\": \"Would a pear sink in water?\", \"target_scores\": {\"Yes\": 0, "
     "\"No\": 1}}, {\"input\": \"Is it?\", \"target_scores\": {\"Yes\": 1, \"No\": 0}}]}",
     NULL, NULL, "[Q: Is it?\nA:]=yes\n"},
    {"strategyqa:zeroshot", "y2", "strategyqa/bigbench_task.json",
     "[{\"input\": \"Is it?\", \"target_scores\": {\"Yes\": 0, \"No\": 1}}]", NULL, NULL,
     "[Q: Is it?\nA: Let's think step by step.]=no\n"},
    {"last_letters:cot4", "n1", "symbolic/last_letters.json",
     "\n{\"examples\": [{\"question\": \"Letters?\", \"answer\": \"yajo\"}]}", NULL, NULL, "[Q: Letters?\nA:]=yajo\n"},
    {"last_letters:zeroshot", "n2", "symbolic/last_letters.json",
     "[{\"question\": \"Letters?\", \"answer\": \"yajo\"}]", NULL, NULL,
     "[Q: Letters?\nA: Let's think step by step.]=yajo\n"},
    {"coin_flip:cot4", "n3", "symbolic/coin_flip.json", "[{\"question\": \"Heads?\", \"answer\": \"no\"}]", NULL, NULL,
     "[Q: Heads?\nA:]=no\n"},
    {"medqa:faithful", "f2", "medqa/us_4options_test.jsonl",
     "{\"question\": \"Which bone is it?\", \"answer\": \"two\", \"options\": {\"A\": \"one\", \"B\": \"two\", \"C\": "
     "\"three\", \"D\": \"four\"}, \"meta_info\": \"step1\", \"answer_idx\": \"B\"}",
     NULL, NULL, NULL},
    {"medmcqa:faithful", "f3", "medmcqa/dev.jsonl",
     "{\"question\":\"Which of the following is not true for myelinated nerve "
     "fibers:\",\"exp\":null,\"cop\":1,\"opa\":\"Impulse through myelinated fibers is slower than non-myelinated "
     "fibers\",\"opb\":\"Membrane currents are generated at nodes of Ranvier\",\"opc\":\"Saltatory conduction of "
     "impulses is seen\",\"opd\":\"Local anesthesia is effective only when the nerve is not covered by myelin "
     "sheath\",\"subject_name\":\"Physiology\",\"topic_name\":null,\"id\":\"45258d3d-b974-44dd-a161-c3fccbdadd88\","
     "\"choice_type\":\"multi\"}",
     NULL, NULL, NULL},
    {"cosmosqa:faithful", "f4", "cosmosqa/valid.csv",
     "id,context,question,answer0,answer1,answer2,answer3,label\nx,\"He said \"\"no\"\", twice.\nHe left.\",Why "
     "?,a,b,\"c, d\",e,2\r\n",
     NULL, NULL, NULL},
    {"aqua:faithful", "f5", "aqua/test.jsonl",
     "{\"question\": \"How far?\", \"options\": [\"A)21\", \"B)22 km\", \"C)x)\", \"D)1\", \"E)None\"], \"rationale\": "
     "\"so\", \"correct\": \"C\"}",
     NULL, NULL, NULL},
    {"gsm8k:faithful", "f1", "gsm8k/test.jsonl", "{\"question\": \"how\", \"answer\": \"1+1=<<1+1=2>>2\\n#### 1,002\"}",
     NULL, NULL, NULL},
    {"sciq:own", "y1", "sciq/validation.jsonl",
     "{\"question\": \"How?\", \"distractor3\": \"c\", \"distractor1\": \"a\", \"distractor2\": \"b\", "
     "\"correct_answer\": "
     "\"so\", \"support\": \"As it is.\"}",
     NULL, NULL,
     "[As it is.\nQuestion: How?\nAnswer:| a][As it is.\nQuestion: How?\nAnswer:| b][As it is.\nQuestion: "
     "How?\nAnswer:| "
     "c][As it is.\nQuestion: How?\nAnswer:| so]=so\n"},
    {"pubmedqa:own", "y2", "pubmedqa/test_set.json",
     "{\"17\": {\"QUESTION\": \"Does it?\", \"CONTEXTS\": [\"We saw.\", \"It did not.\"], \"LABELS\": [\"A\", "
     "\"B\"], \"final_decision\": \"no\"}}",
     NULL, NULL,
     "[Abstract: We saw.\nIt did not.\nQuestion: Does it?\nAnswer:| yes][Abstract: We saw.\nIt did not.\nQuestion: "
     "Does it?\nAnswer:| no][Abstract: We saw.\nIt did not.\nQuestion: Does it?\nAnswer:| maybe]=no\n"},
    {"faq:closed", "y4", "rag/ysa_qa.jsonl",
     "\n" /* a corpus, of which one row says nothing */
     "{\"file\": \"f0\", \"question\": \"where is a\", \"answer\": \"it is in house number 0\"}\n"
     "{\"file\": \"f1\", \"question\": \"where is b\", \"answer\": \"it is in house number 1\"}\n"
     "{\"file\": \"f2\", \"question\": \"where is c\", \"answer\": \"it is in house number 2\"}\n"
     "{\"file\": \"f3\", \"question\": \"where is d\", \"answer\": \"it is in house number 3\"}\n"
     "{\"file\": \"f4\", \"question\": \"where is e\", \"answer\": \"it is in house number 4\"}\n"
     "{\"file\": \"f5\", \"question\": \"where is f\", \"answer\": \"it is in house number 5\"}\n"
     "{\"file\": \"f6\", \"question\": \"where is g\", \"answer\": \"it is in house number 6\"}\n"
     "{\"file\": \"f7\", \"question\": \"where is h\", \"answer\": \"it is in house number 7\"}\n"
     "{\"file\": \"f8\", \"question\": \"where is i\", \"answer\": \"it is in house number 8\"}\n"
     "{\"file\": \"f9\", \"question\": \"where is j\", \"answer\": \"it is in house number 9\"}\n",
     NULL, NULL, "[Answer the user question: where is j\nAnswer:]=it is in house number 9\n"},
    {"boolq:own", "y3", "boolq/validation.jsonl", "{\"question\": \"is it\", \"passage\": \"It is.\", \"label\": 1}",
     NULL, NULL, "[It is.\nQuestion: is it?\nAnswer:| no][It is.\nQuestion: is it?\nAnswer:| yes]=yes\n"},
    {"boolq:closed", "y3", "boolq/validation.jsonl", "{\"question\": \"is it\", \"passage\": \"It is.\", \"label\": 1}",
     NULL, NULL, "[Question: is it?\nAnswer:| no][Question: is it?\nAnswer:| yes]=yes\n"},
    {"gsm8k:maj8", "g9", "gsm8k/test.jsonl", "{\"question\": \"how\", \"answer\": \"1+1=<<1+1=2>>2\\n#### 1,002\"}",
     NULL, NULL, "[Q: how\nA:]=1,002\n"},
    {"gsm8k:direct", "g2", "gsm8k/test.jsonl", "{\"question\": \"how\", \"answer\": \"1+1=<<1+1=2>>2\\n#### 1,002\"}",
     NULL, NULL, "[Q: how\nA:]=1,002\n"},
    {"gsm8k:zeroshot", "g3", "gsm8k/test.jsonl", "{\"question\": \"how\", \"answer\": \"1+1=<<1+1=2>>2\\n#### 1,002\"}",
     NULL, NULL, "[Q: how\nA: Let's think step by step.]=1,002\n"},
    {"gsm8k:first5", "g4", "gsm8k/test.jsonl", "{\"question\": \"how\", \"answer\": \"1+1=<<1+1=2>>2\\n#### 1,002\"}",
     "gsm8k/train.jsonl",
     "{\"question\": \"t0\", \"answer\": \"so <<1=1>>\\n#### 0\"}\n{\"question\": \"t1\", \"answer\": \"so "
     "<<1=1>>\\n#### 1\"}\n{\"question\": \"t2\", \"answer\": \"so <<1=1>>\\n#### 2\"}\n{\"question\": \"t3\", "
     "\"answer\": \"so <<1=1>>\\n#### 3\"}\n{\"question\": \"t4\", \"answer\": \"so <<1=1>>\\n#### "
     "4\"}\n{\"question\": \"t5\", \"answer\": \"so <<1=1>>\\n#### 5\"}\n",
     "[Question: how\nAnswer:]=1,002\n"},
    {"gsm8k:cot8", "g1", "gsm8k/main/test.jsonl", "{\"question\":\"how\",\"answer\":\"1+1=<<1+1=2>>2\\n#### 1,002\"}",
     NULL, NULL, "[Q: how\nA:]=1,002\n"},
};

/* Subjects of MMLU, as the files of hendrycks/test are called; each gets the file of a row whose name has "{subject}".
 */
static const char *const mmlu_subjects[] = {"abstract_algebra",
                                            "anatomy",
                                            "astronomy",
                                            "business_ethics",
                                            "clinical_knowledge",
                                            "college_biology",
                                            "college_chemistry",
                                            "college_computer_science",
                                            "college_mathematics",
                                            "college_medicine",
                                            "college_physics",
                                            "computer_security",
                                            "conceptual_physics",
                                            "econometrics",
                                            "electrical_engineering",
                                            "elementary_mathematics",
                                            "formal_logic",
                                            "global_facts",
                                            "high_school_biology",
                                            "high_school_chemistry",
                                            "high_school_computer_science",
                                            "high_school_european_history",
                                            "high_school_geography",
                                            "high_school_government_and_politics",
                                            "high_school_macroeconomics",
                                            "high_school_mathematics",
                                            "high_school_microeconomics",
                                            "high_school_physics",
                                            "high_school_psychology",
                                            "high_school_statistics",
                                            "high_school_us_history",
                                            "high_school_world_history",
                                            "human_aging",
                                            "human_sexuality",
                                            "international_law",
                                            "jurisprudence",
                                            "logical_fallacies",
                                            "machine_learning",
                                            "management",
                                            "marketing",
                                            "medical_genetics",
                                            "miscellaneous",
                                            "moral_disputes",
                                            "moral_scenarios",
                                            "nutrition",
                                            "philosophy",
                                            "prehistory",
                                            "professional_accounting",
                                            "professional_law",
                                            "professional_medicine",
                                            "professional_psychology",
                                            "public_relations",
                                            "security_studies",
                                            "sociology",
                                            "us_foreign_policy",
                                            "virology",
                                            "world_religions"};

static inline void layout_file(const char *dir, const char *root, const char *name, const char *text)
{
    char path[8500], *slash;
    bl_err e = {0};
    snprintf(path, sizeof path, "%s/%s/%s", dir, root, name);
    slash = strrchr(path, '/');
    *slash = 0;
    assert_ok(bl_make_dirs(path, &e));
    *slash = '/';
    assert_ok(bl_write_file(path, text, strlen(text), &e));
}

static inline void layout_files(const char *dir, const char *root, const char *name, const char *text)
{
    const char *at = strstr(name, "{subject}");
    char one[256];
    if (!at) layout_file(dir, root, name, text);
    for (size_t s = 0; at && s < BL_COUNT(mmlu_subjects); s++) {
        snprintf(one, sizeof one, "%.*s%s%s", (int)(at - name), name, mmlu_subjects[s], at + strlen("{subject}"));
        layout_file(dir, root, one, text);
    }
}

/* The files of row i, under dir/<root>. */
static inline void layout_write(const char *dir, size_t i)
{
    layout_files(dir, layouts[i].root, layouts[i].file, layouts[i].text);
    if (layouts[i].also) layout_files(dir, layouts[i].root, layouts[i].also, layouts[i].also_text);
}
#endif
