/* piqa.c - everyday physical tasks, two ways to do each (Bisk et al. 2020, AFL-3.0); validation split.
 *
 *     Question: How do I ready a guinea pig cage for it's new occupants?
 *     Answer: Provide the guinea pig with a cage full of a few inches of bedding made of ripped paper strips, …
 *
 * Both solutions are scored after "Answer:", each with its leading space.
 *     acc       lowest summed negative log-likelihood
 *     acc_norm  the same divided by the characters of the solution
 */
#include "shared_choice.h"
#include <inttypes.h>
#include <string.h>

static const char *const files[] = {"piqa/valid.jsonl", "physicaliqa-train-dev/dev.jsonl", "piqa/dev.jsonl",
                                    "piqa/validation.jsonl", NULL};
static const char where[] =
    "valid.jsonl and valid-labels.lst from the data page of PIQA (yonatanbisk.com/piqa), or ybisk/piqa as JSON lines";

static bl_status read_row(const bl_json *j, bl_arena *a, bl_choice *out, bl_err *e)
{
    static const char *const keys[] = {"sol1", "sol2"};
    bl_status st = BL_OK;
    int64_t label = 0;

    BL_TRY(bl_choice_text(j, "goal", a, &out->text, e));
    BL_TRY(bl_choice_keys(j, keys, 2, a, out, e));
    out->unlabelled = true; /* the labels are in a file of their own */
    if (bl_json_get(j, "label")) {
        BL_TRY(bl_choice_int(j, "label", &label, e));
        if (label < 0 || label > 1) {
            st = bl_fail(e, BL_E_FORMAT, "label %" PRId64 " is not 0 or 1", label);
            goto out;
        }
        out->unlabelled = false;
    }
    out->gold = (int)label;
out:
    return st;
}

/* "valid-labels.lst" beside "valid.jsonl": a line of 0 or 1 for each row. */
static bl_status read_labels(const char *of, bl_choice *row, int64_t n_rows, bl_hash *data, bl_err *e)
{
    bl_status st = BL_OK;
    char *s = NULL, path[4200];
    size_t n = 0, at = 0, stem = strlen(of);
    int64_t i = 0;
    bl_hash hash;

    if (stem > 3 && !strcmp(of + stem - 3, ".gz")) stem -= 3;
    stem -= strlen(".jsonl"); /* every name in `files` ends so */
    snprintf(path, sizeof path, "%.*s-labels.lst", (int)stem, of);
    if (!bl_exists(path)) {
        snprintf(path, sizeof path, "%.*s-labels.lst.gz", (int)stem, of);
        if (!bl_exists(path)) {
            st = bl_fail(e, BL_E_MISSING, "%s: its rows have no label and there is no %.*s-labels.lst beside it; %s",
                         of, (int)stem, of, where);
            goto out;
        }
    }
    BL_TRY(bl_text_file(path, 0, &s, &n, &hash, e));
    for (; at < n; i++) {
        size_t len = strcspn(s + at, "\r\n");
        if (len != 1 || (s[at] != '0' && s[at] != '1')) {
            st = bl_fail(e, BL_E_FORMAT, "%s:%" PRId64 ": expected 0 or 1", path, i + 1);
            goto out;
        }
        if (i < n_rows) {
            row[i].gold = s[at] - '0';
            row[i].unlabelled = false;
        }
        at += len;
        if (s[at] == '\r') at++;
        if (s[at] == '\n') at++;
    }
    if (i != n_rows) {
        st = bl_fail(e, BL_E_FORMAT, "%s: %" PRId64 " labels for %" PRId64 " rows of %s", path, i, n_rows, of);
        goto out;
    }

    bl_hasher *h = bl_hasher_new(e); /* labels are data too */
    if (!h) {
        st = BL_E_NOMEM;
        goto out;
    }
    bl_hash_of(h, *data);
    bl_hash_of(h, hash);
    *data = bl_hasher_end(h);
out:
    bl_free(s);
    return st;
}

static bl_status labels(const char *path, bl_choice *rows, int64_t n, bl_hash *hash, bl_err *e)
{
    int64_t without = 0;

    for (int64_t i = 0; i < n; i++) without += rows[i].unlabelled;
    if (without > 0 && without < n)
        return bl_fail(e, BL_E_FORMAT, "%s: %" PRId64 " of %" PRId64 " rows have no label", path, without, n);
    return without ? read_labels(path, rows, n, hash, e) : BL_OK;
}

static const char *const train[] = {"piqa/train.jsonl", "physicaliqa-train-dev/train.jsonl", NULL};
static const char where_train[] =
    "train.jsonl and train-labels.lst of yonatanbisk.com/piqa, or ybisk/piqa, train, as JSON lines";
static const bl_choice_task row = {.read = read_row,
                                   .prompt = "Question: {text}\nAnswer:",
                                   .once = true,
                                   .by_length = true,
                                   .beside = labels,
                                   .examples = train,
                                   .where_examples = where_train};

static bl_status load(const bl_task_load *how, bl_task_data *out, bl_err *e)
{
    return bl_choice_load(how, files, where, &row, out, e);
}

static const char *const names[] = {"piqa", NULL};
static const char *const of[] = {"validation"};

const bl_task bl_task_piqa = {
    .names = names,
    .splits = of,
    .few = true,
    .version = 1,
    .title = "PIQA",
    .cite = "Bisk et al. 2020",
    .doc = "Everyday physical tasks, two solutions each; validation split, 1,838 items.",
    .metrics = bl_choice_metrics,
    .n_metrics = 2,
    .load = load,
    .ask = bl_choice_ask,
    .mark = bl_choice_mark,
    .gold = bl_choice_gold,
};
