/* copa.c - which of two sentences is the cause or the effect (Roemmele et al. 2011, BSD-2; SuperGLUE form); validation
 * split.
 *
 *     The man turned on the faucet therefore  water flowed from the spout.
 *
 * The last character of the premise gives way to " because" or " therefore"; each choice is scored after it with its
 * first letter in lower case. Two spaces stand before it, as in lm-evaluation-harness.
 *     acc       lowest summed negative log-likelihood
 */
#include "shared_choice.h"
#include <string.h>

static const char *const files[] = {"COPA/val.jsonl", "super_glue/copa/validation.jsonl", "copa/val.jsonl",
                                    "copa/validation.jsonl", NULL};
static const char where[] =
    "COPA.zip of SuperGLUE (val.jsonl), or the copa validation split of aps/super_glue as JSON lines";
static const char *const train[] = {"COPA/train.jsonl", "super_glue/copa/train.jsonl", "copa/train.jsonl", NULL};
static const char where_train[] =
    "COPA.zip of SuperGLUE (train.jsonl), or the copa train split of aps/super_glue as JSON lines";

/* "The man turned on the faucet." and "effect": "The man turned on the faucet therefore". */
static bl_status connect(const char *premise, const char *connector, bl_arena *a, const char **out, bl_err *e)
{
    bl_status st = BL_OK;
    bl_text t = {0};
    size_t n = strlen(premise);

    do n--; /* of a character of several bytes all */
    while (n && ((unsigned char)premise[n] & 0xc0) == 0x80);
    bl_text_addn(&t, premise, n);
    bl_text_add(&t, connector);
    BL_TRY(bl_text_check(&t, e));
    if (!(*out = bl_arena_str(a, t.s, t.n, e))) st = BL_E_NOMEM;
out:
    bl_text_free(&t);
    return st;
}

/* " the toilet filled with water." */
static bl_status lower(const char *choice, bl_arena *a, const char **out, bl_err *e)
{
    size_t n = strlen(choice);
    char *s = bl_alloc(a, n + 2, 1, e);

    if (!s) return BL_E_NOMEM;
    s[0] = ' ';
    memcpy(s + 1, choice, n);
    if (s[1] >= 'A' && s[1] <= 'Z') s[1] = (char)(s[1] + 32);
    *out = s;
    return BL_OK;
}

static bl_status read_row(const bl_json *j, bl_arena *a, bl_choice *out, bl_err *e)
{
    static const char *const keys[] = {"choice1", "choice2"};
    bl_status st = BL_OK;
    const char *premise, *question, **choice;

    BL_TRY(bl_choice_text(j, "premise", a, &premise, e));
    BL_TRY(bl_choice_strip(&premise, a, e));
    BL_TRY(bl_json_get_str(j, "question", &question, e));
    if (strcmp(question, "cause") && strcmp(question, "effect")) {
        st = bl_fail(e, BL_E_FORMAT, "'question' is \"%s\", expected cause or effect", question);
        goto out;
    }
    BL_TRY(connect(premise, *question == 'c' ? " because" : " therefore", a, &out->text, e));
    if (!(choice = bl_alloc(a, 2, sizeof *choice, e))) {
        st = BL_E_NOMEM;
        goto out;
    }
    BL_TRY(bl_choice_keys(j, keys, 2, a, out, e));
    for (int c = 0; c < 2; c++) BL_TRY(lower(out->choice[c], a, &choice[c], e));
    out->choice = choice;
    BL_TRY(bl_choice_number(j, "label", 0, 2, out, e));
out:
    return st;
}

static const bl_choice_task row = {
    .read = read_row, .prompt = "{text}", .right_once = true, .examples = train, .where_examples = where_train};

static bl_status load(const bl_task_load *how, bl_task_data *out, bl_err *e)
{
    return bl_choice_load(how, files, where, &row, out, e);
}

static const char *const names[] = {"copa", NULL};
static const char *const of[] = {"validation"};

const bl_task bl_task_copa = {
    .names = names,
    .splits = of,
    .few = true,
    .version = 1,
    .title = "COPA",
    .cite = "Roemmele et al. 2011; Wang et al. 2019",
    .doc = "Cause or effect, two sentences; SuperGLUE validation split, 100 items.",
    .metrics = bl_choice_metrics,
    .n_metrics = 1,
    .load = load,
    .ask = bl_choice_ask,
    .mark = bl_choice_mark,
    .gold = bl_choice_gold,
};
