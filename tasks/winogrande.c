/* winogrande.c - which of two nouns a gap stands for (Sakaguchi et al. 2019, Apache 2.0 code, CC BY data); xl
 * validation split.
 *
 *     Ian volunteered to eat Dennis's menudo after already having a bowl because Ian despised eating intestine.
 *     Ian volunteered to eat Dennis's menudo after already having a bowl because Dennis despised eating intestine.
 *
 * Partial scoring: the context is the text before "_" with an option in its place, and both contexts are followed by
 * the same continuation, the text after "_". The option itself is never scored.
 *
 *     acc       lowest negative log-likelihood of the continuation
 *
 * winogrande:sample is a sample of the xl training split and never stands in for the validation split.
 */
#include "shared_choice.h"
#include "harness/data/pytext.h"
#include <inttypes.h>
#include <string.h>

static const char *const dev[] = {"winogrande/dev.jsonl",
                                  "winogrande_1.1/dev.jsonl",
                                  "winogrande/winogrande_1.1/dev.jsonl",
                                  "winogrande/winogrande_dev.jsonl",
                                  "winogrande/winogrande_xl/validation.jsonl",
                                  "winogrande/validation.jsonl",
                                  NULL};
static const char *const sample[] = {"winogrande/train_sample.jsonl", NULL};
static const char where[] =
    "winogrande_1.1.zip of the Allen Institute (dev.jsonl), or allenai/winogrande, winogrande_xl, as JSON lines";
static const char where_sample[] = "2,000 rows of train_xl.jsonl of winogrande_1.1.zip, saved under that name";

/* text: the whole sentence; choice: the options; more: what is after "_", stripped. */
static bl_status read_row(const bl_json *j, bl_arena *a, bl_choice *out, bl_err *e)
{
    static const char *const keys[] = {"option1", "option2"};
    bl_status st = BL_OK;
    const char *gap, *rest;
    size_t n;
    int64_t answer;

    BL_TRY(bl_choice_text(j, "sentence", a, &out->text, e));
    BL_TRY(bl_choice_keys(j, keys, 2, a, out, e));
    BL_TRY(bl_choice_int(j, "answer", &answer, e));
    if (answer != 1 && answer != 2) {
        st = bl_fail(e, BL_E_FORMAT, "answer %" PRId64 " is not 1 or 2", answer);
        goto out;
    }
    if (!(gap = strchr(out->text, '_'))) {
        st = bl_fail(e, BL_E_FORMAT, "the sentence has no '_'");
        goto out;
    }

    rest = gap + 1;
    n = strlen(rest);
    bl_strip(&rest, &n);
    if (n == 0) {
        st = bl_fail(e, BL_E_FORMAT, "nothing follows '_': there is nothing to score");
        goto out;
    }
    if (!(out->more = bl_arena_str(a, rest, n, e))) {
        st = BL_E_NOMEM;
        goto out;
    }
    out->gold = (int)answer - 1;
out:
    return st;
}

static const char *const train[] = {"winogrande/train_xl.jsonl", "winogrande_1.1/train_xl.jsonl",
                                    "winogrande_xl/train.jsonl", "winogrande/train.jsonl", NULL};
static const char where_train[] = "winogrande_1.1.zip of the Allen Institute (train_xl.jsonl), or allenai/winogrande, "
                                  "winogrande_xl, train, as JSON lines";
static const bl_choice_task row = {.read = read_row, .examples = train, .where_examples = where_train};

static bl_status load(const bl_task_load *how, bl_task_data *out, bl_err *e)
{
    if (!strncmp(how->name, "winogrande:sample", strlen("winogrande:sample")))
        return bl_choice_load(how, sample, where_sample, &row, out, e);
    return bl_choice_load(how, dev, where, &row, out, e);
}

/* Up to and with option c. */
static void say(bl_prompt *p, const bl_choice *q, int c)
{
    bl_quoten(p, q->text, strcspn(q->text, "_"));
    bl_quote(p, q->choice[c]);
}

static bl_status ask(bl_task_data *t, int64_t i, const bl_turn *turn, bl_request *out, bl_err *e)
{
    const bl_choice_rows *rows = t->rows;
    const bl_choice *q = bl_choice_at(t, i);
    bl_prompt p[2];

    if (turn->step > 0) return bl_done(out);
    for (int c = 0; c < 2; c++) {
        p[c] = bl_task_prompt(t, turn->arena);
        for (int k = 0; k < rows->n_examples; k++) {
            say(&p[c], &rows->example[k], rows->example[k].gold);
            bl_answer_follows(&p[c], " ");
            bl_quote(&p[c], rows->example[k].more);
            bl_question_follows(&p[c], "\n\n");
        }
        say(&p[c], q, c);
    }
    return bl_ask_contexts(out, p, 2, q->more, e);
}

static const char *const names[] = {"winogrande", "winogrande:sample", NULL};
static const char *const of[] = {"validation", "sample of validation"};

const bl_task bl_task_winogrande = {
    .names = names,
    .splits = of,
    .few = true,
    .version = 1,
    .title = "WinoGrande",
    .cite = "Sakaguchi et al. 2019",
    .doc = "Which of two nouns a gap stands for, by partial scoring; xl validation split, 1,267 items.",
    .metrics = bl_choice_metrics,
    .n_metrics = 1,
    .load = load,
    .ask = ask,
    .mark = bl_choice_mark,
    .gold = bl_choice_gold,
};
