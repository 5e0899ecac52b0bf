/* arc.c - grade-school science questions with 3 to 5 choices (Clark et al. 2018, CC BY-SA 4.0).
 *
 *     Question: Which of these objects conducts electricity best?
 *     Answer: a copper wire
 *
 * Each choice is scored as the continuation after "Answer:", with its leading space.
 *     acc       lowest summed negative log-likelihood
 *     acc_norm  the same divided by the characters of the choice
 * arc_easy and arc_challenge are the test splits; arc_challenge:val is the validation split and never stands in for the
 * test split.
 */
#include "shared_choice.h"
#include <string.h>

static const char *const easy[] = {"arc/ARC-Easy-Test.jsonl",
                                   "ARC-V1-Feb2018-2/ARC-Easy/ARC-Easy-Test.jsonl",
                                   "ARC-V1-Feb2018/ARC-Easy/ARC-Easy-Test.jsonl",
                                   "arc/ARC-Easy/ARC-Easy-Test.jsonl",
                                   "arc/arc_easy_test.jsonl",
                                   "arc/ARC-Easy/test.jsonl",
                                   "ai2_arc/ARC-Easy/test.jsonl",
                                   NULL};
static const char *const challenge[] = {"arc/ARC-Challenge-Test.jsonl",
                                        "ARC-V1-Feb2018-2/ARC-Challenge/ARC-Challenge-Test.jsonl",
                                        "ARC-V1-Feb2018/ARC-Challenge/ARC-Challenge-Test.jsonl",
                                        "arc/ARC-Challenge/ARC-Challenge-Test.jsonl",
                                        "arc/arc_challenge_test.jsonl",
                                        "arc/ARC-Challenge/test.jsonl",
                                        "ai2_arc/ARC-Challenge/test.jsonl",
                                        NULL};
static const char *const challenge_val[] = {"arc/ARC-Challenge-Dev.jsonl",
                                            "ARC-V1-Feb2018-2/ARC-Challenge/ARC-Challenge-Dev.jsonl",
                                            "ARC-V1-Feb2018/ARC-Challenge/ARC-Challenge-Dev.jsonl",
                                            "arc/ARC-Challenge/ARC-Challenge-Dev.jsonl",
                                            "arc/arc_challenge_validation.jsonl",
                                            "arc/ARC-Challenge/validation.jsonl",
                                            "ai2_arc/ARC-Challenge/validation.jsonl",
                                            NULL};
static const char *const easy_train[] = {"arc/ARC-Easy-Train.jsonl",
                                         "ARC-V1-Feb2018-2/ARC-Easy/ARC-Easy-Train.jsonl",
                                         "ARC-V1-Feb2018/ARC-Easy/ARC-Easy-Train.jsonl",
                                         "arc/ARC-Easy/ARC-Easy-Train.jsonl",
                                         "arc/arc_easy_train.jsonl",
                                         "arc/ARC-Easy/train.jsonl",
                                         "ai2_arc/ARC-Easy/train.jsonl",
                                         NULL};
static const char *const challenge_train[] = {"arc/ARC-Challenge-Train.jsonl",
                                              "ARC-V1-Feb2018-2/ARC-Challenge/ARC-Challenge-Train.jsonl",
                                              "ARC-V1-Feb2018/ARC-Challenge/ARC-Challenge-Train.jsonl",
                                              "arc/ARC-Challenge/ARC-Challenge-Train.jsonl",
                                              "arc/arc_challenge_train.jsonl",
                                              "arc/ARC-Challenge/train.jsonl",
                                              "ai2_arc/ARC-Challenge/train.jsonl",
                                              NULL};
static const struct {
    const char *name;
    const char *const *files;
} splits[] = {
    {"arc_easy", easy},
    {"arc_challenge", challenge},
    {"arc_challenge:val", challenge_val},
};
static const char where[] = "ARC-V1-Feb2018-2.zip of the Allen Institute, or allenai/ai2_arc as JSON lines";

static bl_status read_row(const bl_json *j, bl_arena *a, bl_choice *out, bl_err *e)
{
    return bl_choice_read_science(j, "question", a, out, e);
}

#define PROMPT "Question: {text}\nAnswer:"
static const bl_choice_task of_easy = {
    .read = read_row, .prompt = PROMPT, .by_length = true, .examples = easy_train, .where_examples = where};
static const bl_choice_task of_challenge = {
    .read = read_row, .prompt = PROMPT, .by_length = true, .examples = challenge_train, .where_examples = where};

static bl_status load(const bl_task_load *how, bl_task_data *out, bl_err *e)
{
    size_t base;
    bl_task_shots(how->name, &base);
    for (size_t i = 0; i < BL_COUNT(splits); i++)
        if (strlen(splits[i].name) == base && !strncmp(splits[i].name, how->name, base))
            return bl_choice_load(how, splits[i].files, where, splits[i].files == easy ? &of_easy : &of_challenge, out,
                                  e);
    return bl_fail(e, BL_E_INTERNAL, "no split '%s'", how->name);
}

static const char *const names[] = {"arc_easy", "arc_challenge", "arc_challenge:val", NULL};
static const char *const of[] = {"test", "test", "validation"};

const bl_task bl_task_arc = {
    .names = names,
    .splits = of,
    .few = true,
    .version = 1,
    .title = "ARC",
    .cite = "Clark et al. 2018",
    .doc = "Grade-school science questions with 3 to 5 choices; test splits (2,376 and 1,172 items), arc_challenge:val "
           "299 items.",
    .metrics = bl_choice_metrics,
    .n_metrics = 2,
    .load = load,
    .ask = bl_choice_ask,
    .mark = bl_choice_mark,
    .gold = bl_choice_gold,
};
