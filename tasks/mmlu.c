/* mmlu.c - exam questions of 57 subjects with four choices (Hendrycks et al. 2021, MIT); test split.
 *
 *     The following are multiple choice questions (with answers) about abstract algebra.
 *
 *     Find all c in Z_3 such that Z_3[x]/(x^2 + c) is a field.
 *     A. 0
 *     B. 1
 *     C. 2
 *     D. 3
 *     Answer: B
 *     (the first five questions of the subject's dev file in their order, an empty line between them)
 *
 *     Find the degree for the given field extension Q(sqrt(2), sqrt(3), sqrt(18)) over Q.
 *     A. 0
 *     …
 *     Answer:
 *
 * " A" to " D" are scored after "Answer:". One space stands before the subject and the outer white space of questions
 * goes, as in lm-evaluation-harness; the original scripts have two spaces and keep it.
 *     acc        lowest summed negative log-likelihood; every question counts once (micro). Also for each subject and
 *                for STEM, humanities, social sciences and other, with anatomy under STEM, as in
 *                lm-evaluation-harness (the original has it under other). Its standard error is pooled over subjects;
 *                none where a subject has one item.
 *     acc_macro  mean of the subjects
 * `mmlu` has five worked examples, mmlu:0shot none, mmlu:3shot the first three. Items go round the subjects, the first
 * question of each and then the second of each, so that `--limit` takes of all of them.
 */
#include "shared_choice.h"
#include <inttypes.h>
#include <string.h>

static const char *const subjects[] = {
    "STEM/abstract_algebra",
    "STEM/anatomy",
    "STEM/astronomy",
    "other/business_ethics",
    "other/clinical_knowledge",
    "STEM/college_biology",
    "STEM/college_chemistry",
    "STEM/college_computer_science",
    "STEM/college_mathematics",
    "other/college_medicine",
    "STEM/college_physics",
    "STEM/computer_security",
    "STEM/conceptual_physics",
    "social sciences/econometrics",
    "STEM/electrical_engineering",
    "STEM/elementary_mathematics",
    "humanities/formal_logic",
    "other/global_facts",
    "STEM/high_school_biology",
    "STEM/high_school_chemistry",
    "STEM/high_school_computer_science",
    "humanities/high_school_european_history",
    "social sciences/high_school_geography",
    "social sciences/high_school_government_and_politics",
    "social sciences/high_school_macroeconomics",
    "STEM/high_school_mathematics",
    "social sciences/high_school_microeconomics",
    "STEM/high_school_physics",
    "social sciences/high_school_psychology",
    "STEM/high_school_statistics",
    "humanities/high_school_us_history",
    "humanities/high_school_world_history",
    "other/human_aging",
    "social sciences/human_sexuality",
    "humanities/international_law",
    "humanities/jurisprudence",
    "humanities/logical_fallacies",
    "STEM/machine_learning",
    "other/management",
    "other/marketing",
    "other/medical_genetics",
    "other/miscellaneous",
    "humanities/moral_disputes",
    "humanities/moral_scenarios",
    "other/nutrition",
    "humanities/philosophy",
    "humanities/prehistory",
    "other/professional_accounting",
    "humanities/professional_law",
    "other/professional_medicine",
    "social sciences/professional_psychology",
    "social sciences/public_relations",
    "social sciences/security_studies",
    "social sciences/sociology",
    "social sciences/us_foreign_policy",
    "other/virology",
    "humanities/world_religions",
};
enum { SUBJECTS = BL_COUNT(subjects), EXAMPLES = 5 };
static const char where[] =
    "data.tar of hendrycks/test (data/dev, data/test); of cais/mmlu, all, write CSV: python3 -c \"import os, pandas; "
    "[(os.makedirs(f'mmlu/{d}', exist_ok=True), [pandas.DataFrame([[q, *c, 'ABCD'[a]] for q, c, a in zip(g.question, "
    "g.choices, g.answer)]).to_csv(f'mmlu/{d}/{s}_{d}.csv', header=False, index=False) for s, g in "
    "pandas.read_parquet(f'all/{d}-00000-of-00001.parquet').groupby('subject')]) for d in ['dev', 'test']]\"";

typedef struct data {
    bl_choice_rows rows; /* first: what tasks with choices share looks there */
    int *subject;        /* of each row */
    bl_choice *dev[SUBJECTS];
    int shots;
} data;

static bl_status read_row(const bl_json *j, bl_arena *a, bl_choice *out, bl_err *e)
{
    static const char *const keys[] = {"A", "B", "C", "D"};
    bl_status st = BL_OK;
    const char *answer;

    BL_TRY(bl_choice_text(j, "question", a, &out->text, e));
    BL_TRY(bl_choice_strip(&out->text, a, e));
    BL_TRY(bl_choice_keys(j, keys, 4, a, out, e));
    BL_TRY(bl_json_get_str(j, "answer", &answer, e));
    BL_TRY(bl_choice_letter(answer, "the answer", 4, &out->gold, e));
out:
    return st;
}

static const char *const columns[] = {"question", "A", "B", "C", "D", "answer", NULL};
static const bl_choice_task row = {.read = read_row,
                                   .prompt = "{text}\n{choices}\nAnswer:",
                                   .letters = true,
                                   .n_choices = 4,
                                   .rows = {.columns = columns}};

static const char *short_name(int s) { return strchr(subjects[s], '/') + 1; }

static bl_status read_subject(const bl_task_load *how, int s, const char *split, bl_arena *a, const char **path,
                              bl_choice **list, int64_t *n, bl_hasher *h, bl_err *e)
{
    static const char *const folders[] = {"mmlu", "mmlu/data", "data"};
    bl_status st = BL_OK;
    char text[BL_COUNT(folders)][128];
    const char *names[BL_COUNT(folders) + 1] = {0};
    bl_hash hash;

    for (size_t i = 0; i < BL_COUNT(folders); i++) {
        snprintf(text[i], sizeof text[i], "%s/%s/%s_%s.csv", folders[i], split, short_name(s), split);
        names[i] = text[i];
    }
    BL_TRY(bl_data_find(how->dirs, names, where, a, path, NULL, e));
    BL_TRY(bl_choice_file(*path, &row, a, list, n, &hash, e));
    bl_hash_text(h, short_name(s));
    bl_hash_of(h, hash);
out:
    return st;
}

/* The first of each subject, the second of each, … */
static bl_status take_turns(data *d, bl_choice *const *list, const int64_t *n, bl_task_data *out, bl_err *e)
{
    int64_t at = 0, total = 0, most = 0;

    for (int s = 0; s < SUBJECTS; s++) {
        total += n[s];
        most = BL_MAX(most, n[s]);
    }
    if (!(d->rows.row = bl_alloc(out->arena, (size_t)total, sizeof *d->rows.row, e)) ||
        !(d->subject = bl_alloc(out->arena, (size_t)total, sizeof *d->subject, e)))
        return BL_E_NOMEM;
    for (int64_t k = 0; k < most; k++)
        for (int s = 0; s < SUBJECTS; s++) {
            if (k >= n[s]) continue;
            d->rows.row[at] = list[s][k];
            d->rows.row[at].group = subjects[s];
            d->subject[at++] = s;
        }
    out->n = total;
    return BL_OK;
}

static bool is_subject(const char *name, size_t n)
{
    int s = 0;
    while (s < SUBJECTS && (strlen(short_name(s)) != n || strncmp(short_name(s), name, n) != 0)) s++;
    return s < SUBJECTS;
}

/* Files in the directory of the first subject's that are called as a subject's would be, and are none. */
static bl_status note_others(bl_task_data *t, bl_err *e)
{
    static const char ending[] = "_test.csv";
    bl_status st = BL_OK;
    char **names = NULL, *dir = bl_format_text(e, "%.*s", (int)(strrchr(t->path, '/') - t->path), t->path);
    size_t n = 0;
    bl_text note = {0};

    if (!dir) return BL_E_NOMEM;
    BL_TRY(bl_dir_list(dir, &names, &n, e));
    for (size_t i = 0; i < n; i++) {
        char *end = strstr(names[i], ending);
        if (!end || is_subject(names[i], (size_t)(end - names[i]))) continue;
        bl_text_addf(&note, "%s%s", note.n ? ", " : "left out, as none of the 57 subjects: ", names[i]);
    }
    BL_TRY(bl_text_check(&note, e));
    if (note.n && !(t->note = bl_arena_str(t->arena, note.s, note.n, e))) st = BL_E_NOMEM;
out:
    bl_text_free(&note);
    bl_list_free(names, n);
    bl_free(dir);
    return st;
}

static bl_status load(const bl_task_load *how, bl_task_data *out, bl_err *e)
{
    bl_status st = BL_OK;
    data *d = bl_alloc(out->arena, 1, sizeof *d, e);
    bl_hasher *h = bl_hasher_new(e);
    bl_choice *list[SUBJECTS];
    int64_t n[SUBJECTS], n_dev;
    const char *path;

    if (!d || !h) {
        st = BL_E_NOMEM;
        goto out;
    }
    d->rows.task = &row;
    d->shots = !strcmp(how->name, "mmlu") ? EXAMPLES : bl_task_shots(how->name, NULL);
    for (int s = 0; s < SUBJECTS; s++) {
        BL_TRY(read_subject(how, s, "test", out->arena, s ? &path : &out->path, &list[s], &n[s], h, e));
        if (!d->shots) continue;
        BL_TRY(read_subject(how, s, "dev", out->arena, &path, &d->dev[s], &n_dev, h, e));
        if (n_dev < d->shots) {
            st = bl_fail(e, BL_E_CONFIG, "%s: %" PRId64 " rows, expected at least %d for the worked examples", path,
                         n_dev, d->shots);
            goto out;
        }
    }
    BL_TRY(take_turns(d, list, n, out, e));
    BL_TRY(note_others(out, e));
    out->family = d->subject;
    out->rows = d;
out:
    if (h) out->hash = bl_hasher_end(h);
    return st;
}

/* "abstract_algebra" as words. */
static void say_subject(bl_prompt *p, const char *name)
{
    for (size_t n; *name; name += n + (name[n] == '_')) {
        n = strcspn(name, "_");
        bl_sayn(p, name, n);
        if (name[n]) bl_say(p, " ");
    }
}

static bl_status ask(bl_task_data *t, int64_t i, const bl_turn *turn, bl_request *out, bl_err *e)
{
    const data *d = t->rows;
    int s = d->subject[i];

    if (turn->step > 0) return bl_done(out);
    bl_prompt p = bl_task_prompt(t, turn->arena);
    bl_say(&p, "The following are multiple choice questions (with answers) about ");
    say_subject(&p, short_name(s));
    bl_say(&p, ".\n\n");
    bl_system_was(&p);
    for (int k = 0; k < d->shots; k++) bl_choice_example(&p, &row, &d->dev[s][k]);
    bl_choice_say(&p, &row, &d->rows.row[i]);
    return bl_choice_pairs(out, p, &row, &d->rows.row[i], e);
}

static const bl_metric metrics[] = {
    {.name = "acc",
     .direction = 1,
     .headline = true,
     .percent = true,
     .agg = BL_AGG_MEAN,
     .by_group = true,
     .pooled = true},
    {.name = "acc_macro", .direction = 1, .headline = true, .percent = true, .agg = BL_AGG_MEAN, .macro = true},
};

static const char *const names[] = {"mmlu", "mmlu:0shot", NULL};
static const char *const of[] = {"test", "test"};
static const int examples[] = {EXAMPLES, 0};

const bl_task bl_task_mmlu = {
    .names = names,
    .splits = of,
    .shots = examples,
    .few = true,
    .version = 1,
    .title = "MMLU",
    .cite = "Hendrycks et al. 2021",
    .doc = "Exam questions of 57 subjects, four choices by their letters, after five worked examples of the dev split; "
           "test split, 14,042 items.",
    .metrics = metrics,
    .n_metrics = BL_COUNT(metrics),
    .load = load,
    .ask = ask,
    .mark = bl_choice_mark,
    .gold = bl_choice_gold,
};
