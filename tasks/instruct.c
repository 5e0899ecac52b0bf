/* instruct.c - instructions that are answered freely: the questions of Vicuna's benchmark and of MT-bench, Koala's,
 * Self-Instruct's and WizardLM's test sets (Zheng et al. 2023, Geng et al. 2023, Wang et al. 2023, Xu et al. 2023).
 *
 *     Below is an instruction that describes a task. Write a response that appropriately completes the request.
 *
 *     ### Instruction:
 *     How can I improve my time management skills?
 *
 *     ### Response:
 *
 * That is the template of Stanford Alpaca, with its other first sentence and "### Input:" where an instruction has an
 * input (self_instruct). NAME+chat asks through the model's own chat template instead: the instruction alone, an input
 * after an empty line. mt_bench is a conversation of two questions: the reply and the second instruction follow the
 * first ("\n\n### Instruction:\n"), or stand in the chat template; mt_bench:first is its first question. Replies end at
 * "### Instruction", "### Human", "</s>" or "<|im_end|>". They are greedy but for MT-bench, whose categories have
 * temperatures of their own (FastChat: writing and roleplay 0.7, stem and humanities 0.1, the others 0), with a seed of
 * its own for each item.
 *
 * There is no judge in here: `duel` has a model judge the recorded answers, `samples --format fastchat` writes them for
 * an outside one. What is counted:
 *     token_f1          of the words of the reply and of a reference answer, where there is one (self_instruct: its
 *                       output; else the answers of GPT-4 in reference_gpt4.jsonl beside the questions): lower case,
 *                       without punctuation and articles
 *     repeated_4grams   share of the reply's runs of four words that were there before
 *     empty, words, hit_limit
 * The value of a sample is the number of its question, its group the category.
 */
#include "harness/task.h"
#include "shared_words.h"
#include "harness/data/pytext.h"
#include "kernels/base/hash.h"
#include "kernels/base/json.h"
#include "kernels/base/rng.h"
#include <stdlib.h>
#include <string.h>

enum { TOKEN_F1, REPEATED, EMPTY, WORDS, HAS_REFERENCE, N_SCORES };
static const bl_metric metrics[] = {
    {.name = "token_f1",
     .direction = 1,
     .headline = true,
     .percent = true,
     .agg = BL_AGG_MEAN,
     .a = TOKEN_F1,
     .given = HAS_REFERENCE + 1,
     .by_group = true},
    {.name = "repeated_4grams",
     .direction = -1,
     .headline = true,
     .percent = true,
     .agg = BL_AGG_MEAN,
     .a = REPEATED,
     .by_group = true},
    {.name = "empty", .direction = -1, .headline = true, .percent = true, .agg = BL_AGG_MEAN, .a = EMPTY},
    {.name = "words", .agg = BL_AGG_MEAN, .a = WORDS, .by_group = true},
    {.name = "hit_limit", .direction = -1, .percent = true, .agg = BL_AGG_FLAG_SHARE, .a = BL_SAMPLE_HIT_LIMIT},
};

typedef struct opts {
    int64_t max_new;
} opts;
static const bl_opt rows[] = {{"max-new", BL_OPT_INT, .min = 1, .max = 4096, .def.i = 512,
                               .at = offsetof(opts, max_new), .arg = "N", .doc = "most new tokens of a reply"},
                              {0}};

typedef struct item {
    int64_t id;
    const char *text, *input, *category; /* NULL: none */
    const char *second;                  /* question of a conversation of two; NULL: none */
    const char *reference[2];            /* of each question; NULL: none */
    double temperature;
} item;
typedef struct data {
    item *item;
    int turns; /* questions that are asked, one after another */
    int64_t max_new;
    uint64_t seed;
} data;

/* ---- rows ---- */
static bl_status copy(const bl_json *row, const char *key, bl_arena *a, const char **out, bl_err *e)
{
    bl_status st = BL_OK;
    const char *s;
    size_t n;

    BL_TRY(bl_json_get_str(row, key, &s, e));
    n = strlen(s);
    bl_strip(&s, &n);
    if (!n) st = bl_fail(e, BL_E_FORMAT, "'%s' is empty, expected a text", key);
    else if (!(*out = bl_arena_str(a, s, n, e))) st = BL_E_NOMEM;
out:
    return st;
}

static double temperature_of(const char *category)
{
    static const struct {
        const char *category;
        double temperature;
    } of[] = {{"writing", 0.7}, {"roleplay", 0.7}, {"stem", 0.1}, {"humanities", 0.1}};
    for (size_t i = 0; i < BL_COUNT(of); i++)
        if (!strcmp(of[i].category, category)) return of[i].temperature;
    return 0;
}

static bl_status turn_of(const bl_json *j, const char **out, bl_err *e)
{
    bl_status st = bl_json_str(j, out, e);
    if (st != BL_OK) return st;
    const char *s = *out;
    size_t n = strlen(s);
    bl_strip(&s, &n);
    return n ? BL_OK : bl_fail(e, BL_E_FORMAT, "a question of 'turns' is empty, expected a text");
}

/* {"question_id", "category", "turns": [first, …]} */
static bl_status read_bench(const bl_json *j, bl_arena *a, item *out, bl_err *e)
{
    bl_status st = BL_OK;
    const bl_json *turns;
    const char *s;

    BL_TRY(bl_json_get_int(j, "question_id", &out->id, e));
    BL_TRY(copy(j, "category", a, &out->category, e));
    BL_TRY(bl_json_need(j, "turns", &turns, e));
    if (bl_json_kind(turns) != BL_JSON_ARRAY || !bl_json_first(turns)) {
        st = bl_fail(e, BL_E_FORMAT, "'turns' is no list of questions");
        goto out;
    }
    BL_TRY(turn_of(bl_json_first(turns), &s, e));
    if (!(out->text = bl_arena_str(a, s, strlen(s), e))) {
        st = BL_E_NOMEM;
        goto out;
    }
    if (!bl_json_next(bl_json_first(turns))) goto out;
    BL_TRY(turn_of(bl_json_next(bl_json_first(turns)), &s, e));
    if (!(out->second = bl_arena_str(a, s, strlen(s), e))) st = BL_E_NOMEM;
out:
    return st;
}

static bl_status read_mt_bench(const bl_json *j, bl_arena *a, item *out, bl_err *e)
{
    bl_status st = read_bench(j, a, out, e);
    if (st == BL_OK) out->temperature = temperature_of(out->category);
    return st;
}

static bl_status read_two_turns(const bl_json *j, bl_arena *a, item *out, bl_err *e)
{
    bl_status st = read_mt_bench(j, a, out, e);
    if (st == BL_OK && !out->second) st = bl_fail(e, BL_E_FORMAT, "'turns' has one question, expected two");
    return st;
}

static bl_status read_koala(const bl_json *j, bl_arena *a, item *out, bl_err *e)
{
    return copy(j, "prompt", a, &out->text, e);
}

static bl_status read_wizardlm(const bl_json *j, bl_arena *a, item *out, bl_err *e)
{
    bl_status st = copy(j, "Instruction", a, &out->text, e);
    if (st == BL_OK) st = copy(j, "Skill", a, &out->category, e);
    return st;
}

/* {"instruction", "instances": [{"input", "output"}]} */
static bl_status read_self_instruct(const bl_json *j, bl_arena *a, item *out, bl_err *e)
{
    bl_status st = BL_OK;
    const bl_json *list, *first;
    const char *input;

    BL_TRY(copy(j, "instruction", a, &out->text, e));
    BL_TRY(bl_json_need(j, "instances", &list, e));
    if (bl_json_kind(list) != BL_JSON_ARRAY || !(first = bl_json_first(list))) {
        st = bl_fail(e, BL_E_FORMAT, "'instances' is no list of inputs and outputs");
        goto out;
    }
    BL_TRY(bl_json_get_str(first, "input", &input, e));
    if (*input) BL_TRY(copy(first, "input", a, &out->input, e));
    BL_TRY(copy(first, "output", a, &out->reference[0], e));
out:
    return st;
}

typedef bl_status read_item(const bl_json *j, bl_arena *a, item *out, bl_err *e);
static const char *const vicuna[] = {"instruct_eval/vicuna_bench_questions.jsonl", "vicuna_bench/question.jsonl", NULL};
static const char *const mt_bench[] = {"instruct_eval/mt_bench_questions.jsonl", "mt_bench/question.jsonl", NULL};
static const char *const koala[] = {"instruct_eval/koala_test.jsonl", "koala/koala_test_set.jsonl", NULL};
static const char *const self_instruct[] = {"instruct_eval/self_instruct_test.jsonl",
                                            "self-instruct/human_eval/user_oriented_instructions.jsonl", NULL};
static const char *const wizardlm[] = {"instruct_eval/wizardlm_test.jsonl", "wizardlm/WizardLM_testset.jsonl", NULL};
static const char *const vicuna_answers[] = {"instruct_eval/vicuna_bench_reference_gpt4.jsonl",
                                             "vicuna_bench/reference_answer/gpt-4.jsonl", NULL};
static const char *const mt_bench_answers[] = {"instruct_eval/mt_bench_reference_gpt4.jsonl",
                                               "mt_bench/reference_answer/gpt-4.jsonl", NULL};
typedef struct set {
    const char *name;
    read_item *read;
    const char *const *files, *const *answers; /* answers: NULL: none of their own */
    const char *where;
} set;
static const set sets[] = {
    {"mt_bench", read_two_turns, mt_bench, mt_bench_answers, "question.jsonl of lm-sys/FastChat, llm_judge, mt_bench"},
    {"vicuna_bench", read_bench, vicuna, vicuna_answers, "question.jsonl of lm-sys/FastChat, llm_judge, vicuna_bench"},
    {"mt_bench:first", read_mt_bench, mt_bench, mt_bench_answers,
     "question.jsonl of lm-sys/FastChat, llm_judge, mt_bench"},
    {"koala", read_koala, koala, NULL, "koala_test_set.jsonl of arnav-gudibande/koala-test-set"},
    {"self_instruct", read_self_instruct, self_instruct, NULL,
     "human_eval/user_oriented_instructions.jsonl of yizhongw/self-instruct"},
    {"wizardlm", read_wizardlm, wizardlm, NULL, "WizardLM_testset.jsonl of nlpxucan/WizardLM"},
};

static bl_status read_row(const void *ctx, int64_t i, const bl_json *row, bl_arena *a, void *out, bl_err *e)
{
    const set *how = ctx;
    ((item *)out)->id = i;
    return how->read(row, a, out, e);
}

static bl_status read_all(const char *path, const set *how, bl_arena *a, item **out, int64_t *n, bl_hash *hash,
                          bl_err *e)
{
    void *list;
    const bl_status st = bl_rows_items(path, &(bl_rows_layout){0}, read_row, how, sizeof **out, a, &list, n, hash, e);
    if (st == BL_OK) *out = list;
    return st;
}

/* {"question_id", "choices": [{"turns": [answer, …]}]} */
static bl_status read_answer(const bl_json *j, bl_arena *a, item *out, bl_err *e)
{
    bl_status st = BL_OK;
    const bl_json *choices, *turns;
    const char *s;

    BL_TRY(bl_json_get_int(j, "question_id", &out->id, e));
    BL_TRY(bl_json_need(j, "choices", &choices, e));
    if (bl_json_kind(choices) != BL_JSON_ARRAY || bl_json_kind(bl_json_first(choices)) != BL_JSON_OBJECT) {
        st = bl_fail(e, BL_E_FORMAT, "'choices' is no list of answers");
        goto out;
    }
    BL_TRY(bl_json_need(bl_json_first(choices), "turns", &turns, e));
    if (bl_json_kind(turns) != BL_JSON_ARRAY || !bl_json_first(turns)) {
        st = bl_fail(e, BL_E_FORMAT, "'turns' is no list of answers");
        goto out;
    }
    turns = bl_json_first(turns);
    for (int k = 0; k < 2 && turns; k++, turns = bl_json_next(turns)) {
        BL_TRY(bl_json_str(turns, &s, e));
        if (!(out->reference[k] = bl_arena_str(a, s, strlen(s), e))) st = BL_E_NOMEM;
        if (st != BL_OK) goto out;
    }
out:
    return st;
}

static bl_status add_answers(const bl_task_load *how, const char *const *files, data *d, bl_task_data *out, bl_err *e)
{
    bl_status st;
    bl_err none = {0};
    const char *path;
    item *answer;
    int64_t n;
    bl_hash hash[2];

    if (bl_data_find(how->dirs, files, "", out->arena, &path, NULL, &none) == BL_E_MISSING) return BL_OK;
    if (none.status != BL_OK) return bl_fail(e, none.status, "%s", none.text);
    BL_TRY(read_all(path, &(set){.read = read_answer}, out->arena, &answer, &n, &hash[1], e));
    for (int64_t i = 0; i < out->n; i++)
        for (int64_t k = 0; k < n; k++)
            if (answer[k].id == d->item[i].id)
                memcpy(d->item[i].reference, answer[k].reference, sizeof answer[k].reference);
    hash[0] = out->hash;
    out->hash = bl_hash_bytes(hash, sizeof hash);
out:
    return st;
}

static bl_status load(const bl_task_load *how, bl_task_data *out, bl_err *e)
{
    bl_status st = BL_OK;
    data *d = bl_alloc(out->arena, 1, sizeof *d, e);
    size_t k = 0;

    if (!d) return BL_E_NOMEM;
    while (k + 1 < BL_COUNT(sets) && strcmp(sets[k].name, how->name) != 0) k++;
    d->max_new = how->opts ? ((const opts *)how->opts)->max_new : rows[0].def.i;
    d->seed = how->seed;
    d->turns = sets[k].read == read_two_turns ? 2 : 1;
    BL_TRY(bl_data_find(how->dirs, sets[k].files, sets[k].where, out->arena, &out->path, NULL, e));
    BL_TRY(read_all(out->path, &sets[k], out->arena, &d->item, &out->n, &out->hash, e));
    if (sets[k].answers) BL_TRY(add_answers(how, sets[k].answers, d, out, e));
    out->rows = d;
out:
    return st;
}

/* ---- asking ---- */
static bl_status ask(bl_task_data *t, int64_t i, const bl_turn *turn, bl_request *out, bl_err *e)
{
    static const char *const stops[] = {"### Instruction", "### Human", "</s>", "<|im_end|>"};
    const data *d = t->rows;
    const item *q = &d->item[i];
    bl_prompt p = bl_task_prompt(t, turn->arena);
    (void)e;

    if (turn->step >= d->turns) return bl_done(out);
    if (!t->chat)
        bl_say(&p, q->input
                       ? "Below is an instruction that describes a task, paired with an input that provides further "
                         "context. Write a response that appropriately completes the request.\n\n### Instruction:\n"
                       : "Below is an instruction that describes a task. Write a response that appropriately "
                         "completes the request.\n\n### Instruction:\n");
    bl_quote(&p, q->text);
    if (q->input) {
        bl_say(&p, t->chat ? "\n\n" : "\n\n### Input:\n");
        bl_quote(&p, q->input);
    }
    if (!t->chat) bl_say(&p, "\n\n### Response:");
    if (turn->step) {
        if (t->chat) bl_reply_was(&p);
        bl_quote(&p, turn->reply[0].text ? turn->reply[0].text : "");
        if (t->chat) bl_message_again(&p);
        else bl_say(&p, "\n\n### Instruction:\n");
        bl_quote(&p, q->second);
        if (!t->chat) bl_say(&p, "\n\n### Response:");
    }
    *out = (bl_request){.kind = BL_ASK_GENERATE,
                        .prompt = p,
                        .stop = stops,
                        .n_stops = BL_COUNT(stops),
                        .max_new = d->max_new,
                        .temperature = q->temperature,
                        .top_p = 1,
                        .seed = d->seed + bl_rng_key(turn->step ? "second" : "instruction", (uint64_t)i)};
    return BL_OK;
}

/* ---- marking ---- */
static double repeated(const bl_words *w)
{
    enum { RUN = 4 };
    size_t runs = w->n >= RUN ? w->n - RUN + 1 : 0, again = 0;
    for (size_t i = 0; i < runs; i++)
        for (size_t k = 0; k < i; k++)
            if (!memcmp(&w->at[i], &w->at[k], RUN * sizeof *w->at)) {
                again++;
                break;
            }
    return runs ? (double)again / (double)runs : 0;
}

/* What is counted of one reply, added up. */
static bl_status count(const char *text, const char *reference, bl_arena *a, double *score, bl_err *e)
{
    bl_words said, plain, right;
    bl_status st = BL_OK;
    bool *used;

    BL_TRY(bl_words_of(text, false, a, &said, e));
    score[WORDS] += (double)said.n;
    score[EMPTY] += said.n == 0;
    score[REPEATED] += repeated(&said);
    score[HAS_REFERENCE] += reference != NULL;
    if (!reference) goto out;
    BL_TRY(bl_words_of(text, true, a, &plain, e));
    BL_TRY(bl_words_of(reference, true, a, &right, e));
    if (!(used = bl_alloc(a, right.n + 1, sizeof *used, e))) {
        st = BL_E_NOMEM;
        goto out;
    }
    score[TOKEN_F1] += bl_words_f1(&plain, &right, used);
out:
    return st;
}

/* The mean over the replies. */
static bl_status mark(bl_task_data *t, int64_t i, const bl_turn *turn, bl_sample *out, bl_err *e)
{
    const data *d = t->rows;
    const item *q = &d->item[i];
    double score[N_SCORES] = {0};
    bl_status st = BL_OK;

    for (int k = 0; k < d->turns; k++) {
        const char *text = turn->reply[k].text ? turn->reply[k].text : "";
        BL_TRY(count(text, q->reference[k], turn->arena, score, e));
    }
    if (score[HAS_REFERENCE] > 0) score[TOKEN_F1] /= score[HAS_REFERENCE];
    score[HAS_REFERENCE] = score[HAS_REFERENCE] > 0;
    score[REPEATED] /= d->turns;
    score[EMPTY] /= d->turns;
    score[WORDS] /= d->turns;
    out->group = q->category;
    BL_TRY(bl_sample_scores(out, turn->arena, score, N_SCORES, e));
    BL_TRY(bl_sample_values(out, turn->arena, (double[]){(double)q->id}, 1, e));
out:
    return st;
}

static const char *const names[] = {"vicuna_bench", "mt_bench", "mt_bench:first", "koala", "self_instruct",
                                    "wizardlm",     NULL};
static const char *const of[] = {"test", "test", "test", "test", "test", "test"};

const bl_task bl_task_instruct = {
    .names = names,
    .splits = of,
    .version = 1,
    .title = "Answers to instructions",
    .cite = "Zheng et al. 2023; Geng et al. 2023; Wang et al. 2023; Xu et al. 2023",
    .doc =
        "Instructions answered freely: length, repetition, empty answers, words shared with a reference; the answers "
        "for an outside judge with samples --format fastchat.",
    .metrics = metrics,
    .n_metrics = BL_COUNT(metrics),
    .opts = rows,
    .opts_size = sizeof(opts),
    .load = load,
    .ask = ask,
    .mark = mark,
};
