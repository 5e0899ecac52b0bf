/* symbolic.c - last letters of four names, and a coin that some people flip (after Wei et al. 2022; 500 items each, of
 * zero_shot_cot).
 *
 *     Q: Take the last letters of each words in "Ada Boris Chloe Dmitri" and concatenate them.
 *     A: The last letters are "a", "s", "e" and "i". One after another they are "asei". The answer is asei.
 *     (four worked examples, our own, in the words of the questions)
 *
 *     Q: Take the last letters of each words in "Whitney Erika Tj Benito" and concatenate them.
 *     A:
 *
 * last_letters:cot4, coin_flip:cot4, …:direct and …:zeroshot are what shared_cot.h says; the second request of zeroshot
 * ends in "Therefore, the answer is" and "Therefore, the answer (Yes or No) is".
 */
#include "shared_cot.h"
#include <string.h>

static const char where[] = "dataset folder of kojima-takeshi188/zero_shot_cot";
static const char *const letters[] = {"symbolic/last_letters.json", "last_letters/last_letters.json",
                                      "dataset/last_letters/last_letters.json", NULL};
static const char *const coin[] = {"symbolic/coin_flip.json", "coin_flip/coin_flip.json",
                                   "dataset/coin_flip/coin_flip.json", NULL};

static const bl_cot_example letter_examples[] = {
    {"Take the last letters of each words in \"Ada Boris Chloe Dmitri\" and concatenate them.",
     "The last letters are \"a\", \"s\", \"e\" and \"i\". One after another they are \"asei\".", "asei"},
    {"Take the last letters of each words in \"Ruth Oleg Nina Karl\" and concatenate them.",
     "The last letters are \"h\", \"g\", \"a\" and \"l\". One after another they are \"hgal\".", "hgal"},
    {"Take the last letters of each words in \"Simon Yusuf Greta Pavel\" and concatenate them.",
     "The last letters are \"n\", \"f\", \"a\" and \"l\". One after another they are \"nfal\".", "nfal"},
    {"Take the last letters of each words in \"Emily Hugo Lars Wendy\" and concatenate them.",
     "The last letters are \"y\", \"o\", \"s\" and \"y\". One after another they are \"yosy\".", "yosy"},
};
static const bl_cot_example coin_examples[] = {
    {"A coin is heads up. Ada flips the coin. Boris flips the coin. Chloe does not flip the coin. Dmitri does not flip "
     "the "
     "coin. Is the coin still heads up? Note that \"flip\" here means \"reverse\".",
     "Ada and Boris flip the coin, which is 2 times. After an even number of flips a coin is as it was, heads up.",
     "yes"},
    {"A coin is heads up. Ruth does not flip the coin. Oleg flips the coin. Nina does not flip the coin. Karl does not "
     "flip "
     "the coin. Is the coin still heads up? Note that \"flip\" here means \"reverse\".",
     "Oleg flips the coin, which is 1 time. After an odd number of flips a coin is the other way, tails up.", "no"},
    {"A coin is heads up. Simon does not flip the coin. Yusuf does not flip the coin. Greta does not flip the coin. "
     "Pavel "
     "does not flip the coin. Is the coin still heads up? Note that \"flip\" here means \"reverse\".",
     "Nobody flips the coin, which is 0 times. After an even number of flips a coin is as it was, heads up.", "yes"},
    {"A coin is heads up. Emily flips the coin. Hugo flips the coin. Lars does not flip the coin. Wendy flips the "
     "coin. Is "
     "the coin still heads up? Note that \"flip\" here means \"reverse\".",
     "Emily, Hugo and Wendy flip the coin, which is 3 times. After an odd number of flips a coin is the other way, "
     "tails "
     "up.",
     "no"},
};

/* {"question", "answer"} */
static bl_status read_item(const bl_json *j, bl_arena *a, bl_cot_item *out, bl_err *e)
{
    bl_status st = BL_OK;
    BL_TRY(bl_cot_text(j, "question", a, &out->question, e));
    BL_TRY(bl_cot_text(j, "answer", a, &out->gold, e));
out:
    return st;
}

static bl_status read_coin(const bl_json *j, bl_arena *a, bl_cot_item *out, bl_err *e)
{
    bl_status st = BL_OK;
    BL_TRY(read_item(j, a, out, e));
    if (strcmp(out->gold, "yes") && strcmp(out->gold, "no"))
        st = bl_fail(e, BL_E_FORMAT, "'answer' is \"%s\", expected yes or no", out->gold);
out:
    return st;
}

static const bl_cot_set sets[] = {
    {.name = "last_letters",
     .read = read_item,
     .files = letters,
     .list = "examples",
     .where = where,
     .once = true,
     .answer = BL_COT_WORD,
     .example = letter_examples,
     .n_examples = BL_COUNT(letter_examples),
     .so = "The answer is ",
     .therefore = "Therefore, the answer is"},
    {.name = "coin_flip",
     .read = read_coin,
     .files = coin,
     .list = "examples",
     .where = where,
     .once = true,
     .answer = BL_COT_YES_NO,
     .example = coin_examples,
     .n_examples = BL_COUNT(coin_examples),
     .so = "So the answer is ",
     .therefore = "Therefore, the answer (Yes or No) is"},
};

static bl_status load(const bl_task_load *how, bl_task_data *out, bl_err *e)
{
    return bl_cot_load(how, sets, BL_COUNT(sets), out, e);
}

static const char *const names[] = {"last_letters:cot4",
                                    "last_letters:direct",
                                    "last_letters:zeroshot",
                                    "coin_flip:cot4",
                                    "coin_flip:direct",
                                    "coin_flip:zeroshot",
                                    NULL};
static const char *const of[] = {"all", "all", "all", "all", "all", "all"};
static const int examples[] = {4, 4, 0, 4, 4, 0};

const bl_task bl_task_symbolic = {
    .names = names,
    .splits = of,
    .shots = examples,
    .version = 1,
    .title = "Symbolic reasoning",
    .cite = "Wei et al. 2022; Kojima et al. 2022",
    .doc = "Last letters of four names, and the state of a coin, with four worked examples of our own, without their "
           "reasoning, and step by step without examples; 500 items each.",
    .metrics = bl_cot_metrics,
    .n_metrics = BL_COUNT(bl_cot_metrics),
    .opts = bl_cot_rows,
    .opts_size = sizeof(bl_cot_opts),
    .load = load,
    .ask = bl_cot_ask,
    .mark = bl_cot_mark,
    .gold = bl_cot_gold,
};
