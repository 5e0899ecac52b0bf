/* task_layouts.h - one or two made-up items of every task, in each layout that its data set is distributed in. A new
 * task joins with a row here. */
#ifndef BL_TESTS_DATA_TASK_LAYOUTS_H
#define BL_TESTS_DATA_TASK_LAYOUTS_H
#include "test.h"
#include "kernels/base/fs.h"

static const struct {
    const char *task, *root, *file, *text, *also, *also_text, *want;
} layouts[] = {
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
    {"gsm8k:cot8", "g1", "gsm8k/main/test.jsonl", "{\"question\":\"how\",\"answer\":\"1+1=<<1+1=2>>2\\n#### 1,002\"}",
     NULL, NULL, "[Q: how\nA:]=1,002\n"},
};

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

/* The files of row i, under dir/<root>. */
static inline void layout_write(const char *dir, size_t i)
{
    layout_file(dir, layouts[i].root, layouts[i].file, layouts[i].text);
    if (layouts[i].also) layout_file(dir, layouts[i].root, layouts[i].also, layouts[i].also_text);
}
#endif
