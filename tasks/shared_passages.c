/* shared_passages.c - see shared_passages.h. */
#include "shared_passages.h"
#include "shared_bm25.h"
#include "harness/encoder/encoder.h"
#include "kernels/base/hash.h"
#include <inttypes.h>
#include <math.h>
#include <string.h>

/* ---- questions that were answered ---- */
static bl_status copy(const bl_json *row, const char *key, bl_arena *a, const char **out, bl_err *e)
{
    bl_status st = bl_choice_text(row, key, a, out, e);
    return st == BL_OK ? bl_choice_strip(out, a, e) : st;
}

bl_status bl_answered_read(const char *path, bool files, bl_arena *a, bl_answered **out, int64_t *n_out, bl_hash *hash,
                           bl_err *e)
{
    bl_status st = BL_OK;
    bl_rows *r = NULL;
    const bl_json *j;
    bl_answered *list = NULL, *kept;
    size_t n = 0, cap = 0;

    BL_TRY(bl_rows_open_as(path, &(bl_rows_layout){.max_row = BL_ROW_MAX}, &r, e));
    while ((st = bl_rows_json(r, &j, e)) == BL_OK && j) {
        BL_TRY(bl_grow(&list, &cap, n + 1, sizeof *list, e));
        list[n] = (bl_answered){0};
        st = copy(j, "question", a, &list[n].question, e);
        if (st == BL_OK) st = copy(j, "answer", a, &list[n].answer, e);
        if (st == BL_OK && files) st = copy(j, "file", a, &list[n].file, e);
        if (bl_rows_within(r, st, e) != BL_OK) goto out;
        n++;
    }
    if (st == BL_OK && !n) st = bl_fail(e, BL_E_FORMAT, "%s: no rows, expected at least one", path);
    if (st != BL_OK) goto out;
    if (!(kept = bl_alloc(a, n, sizeof *kept, e))) {
        st = BL_E_NOMEM;
        goto out;
    }
    memcpy(kept, list, n * sizeof *kept);
    *out = kept;
    *n_out = (int64_t)n;
    *hash = bl_rows_hash(r);
out:
    bl_rows_close(r);
    bl_free(list);
    return st;
}

bool bl_answered_has(const bl_answered *list, int64_t n, const char *question)
{
    for (int64_t i = 0; i < n; i++)
        if (!strcmp(list[i].question, question)) return true;
    return false;
}

/* ---- passages ---- */
/* Passages that differ, and the row that each is first of. */
typedef struct passages {
    const char **text;
    int64_t *row, *of; /* row -1: a marked answer; of[i]: the passage of row i, -1: none */
    int64_t n;
} passages;
typedef struct found {
    int64_t place; /* of the own passage, from 1; 0: it has none */
    int64_t from;  /* passage that is first */
} found;
typedef struct data {
    bl_choice_rows rows; /* first: bl_choice_at */
    const bl_passage_task *task;
    int kind;
    passages p;
    found *found;       /* BM25 */
    bl_near_texts near; /* DENSE, ENCODER */
} data;

static int kind_of(const char *name)
{
    static const char *const endings[] = {"own", "closed", "bm25", "dense", "encoder"};
    const char *colon = strchr(name, ':');
    for (size_t k = 0; colon && k < BL_COUNT(endings); k++)
        if (!strcmp(colon + 1, endings[k])) return (int)k;
    return BL_PASSAGE_OWN;
}

static const char *passage_of(const data *d, int64_t i)
{
    return d->task->passage_is_text ? d->rows.row[i].text : d->rows.row[i].more;
}
static const char *question_of(const data *d, int64_t i)
{
    return d->task->passage_is_text ? d->rows.row[i].more : d->rows.row[i].text;
}

static bl_status distinct(const data *d, int64_t n, int64_t more, bl_arena *a, passages *out, bl_err *e)
{
    passages p = {.text = bl_alloc(a, (size_t)(n + more), sizeof *p.text, e),
                  .row = bl_alloc(a, (size_t)(n + more), sizeof *p.row, e),
                  .of = bl_alloc(a, (size_t)n, sizeof *p.of, e)};
    bl_hash *hash = bl_alloc(a, (size_t)n, sizeof *hash, e);

    if (!p.text || !p.row || !p.of || !hash) return BL_E_NOMEM;
    for (int64_t i = 0; i < n; i++) {
        const char *text = passage_of(d, i);
        bl_hash h = bl_hash_bytes(text, strlen(text));
        int64_t k = 0;
        p.of[i] = -1;
        if (!*text) continue;
        while (k < p.n && !bl_hash_equal(hash[k], h)) k++;
        p.of[i] = k;
        if (k < p.n) continue;
        hash[k] = h;
        p.text[k] = text;
        p.row[k] = i;
        p.n++;
    }
    *out = p;
    return BL_OK;
}

static bl_status by_words(data *d, const bl_task_data *t, bl_err *e)
{
    bl_status st = BL_OK;
    const passages *p = &d->p;
    bl_bm25 *index;
    double *score;

    BL_TRY(bl_bm25_new(p->text, p->n, t->arena, &index, e));
    if (!(score = bl_alloc(t->arena, (size_t)p->n, sizeof *score, e)) ||
        !(d->found = bl_alloc(t->arena, (size_t)t->n, sizeof *d->found, e))) {
        st = BL_E_NOMEM;
        goto out;
    }
    for (int64_t i = 0; i < t->n; i++) {
        bl_bm25_scores(index, question_of(d, i), score);
        d->found[i] = (found){.place = p->of[i] < 0 ? 0 : bl_rank_of(score, p->n, p->of[i]),
                              .from = bl_rank_first(score, p->n)};
    }
out:
    return st;
}

bl_status bl_passage_encoder(const bl_data_dirs *dirs, bl_arena *a, const char **dir, bl_hash *hash, bl_err *e)
{
    static const char *const files[] = {"all-MiniLM-L6-v2/model.safetensors", "encoder/model.safetensors", NULL};
    bl_status st = BL_OK;
    const char *path;
    static const char version[] = "on the device of the model"; /* another one: vectors may be others */
    bl_hash all[3] = {*hash, [2] = bl_hash_bytes(version, sizeof version)};
    BL_TRY(bl_data_find(dirs, files, "sentence-transformers/all-MiniLM-L6-v2, or another encoder as encoder/", a, &path,
                        NULL, e));
    if (!(*dir = bl_arena_str(a, path, (size_t)(strrchr(path, '/') - path), e))) {
        st = BL_E_NOMEM;
        goto out;
    }
    BL_TRY(bl_encoder_fingerprint(*dir, &all[1], e));
    *hash = bl_hash_bytes(all, sizeof all);
out:
    return st;
}

/* Rows without a passage are no mistake of the file, but not to be passed over in silence. */
static bl_status note_empty(const data *d, bl_task_data *t, bl_err *e)
{
    char text[160];
    int64_t empty = 0;
    for (int64_t i = 0; i < t->n; i++) empty += !*passage_of(d, i);
    if (!empty) return BL_OK;
    snprintf(text, sizeof text, "%" PRId64 " of %" PRId64 " questions have an empty '%s': %s", empty, t->n,
             d->task->field,
             d->kind == BL_PASSAGE_OWN ? "they are asked without a passage"
                                       : "they are not counted in recall, mrr and ndcg");
    return (t->note = bl_arena_str(t->arena, text, strlen(text), e)) ? BL_OK : BL_E_NOMEM;
}

/* A round of feedback: question and answer of every row are one more passage. */
static bl_status add_marked(passages *p, const bl_answered *marked, int64_t n, bl_arena *a, bl_err *e)
{
    bl_status st = BL_OK;
    bl_text t = {0};
    for (int64_t k = 0; k < n; k++) {
        t.n = 0;
        bl_text_addf(&t, "%s %s", marked[k].question, marked[k].answer);
        BL_TRY(bl_text_check(&t, e));
        if (!(p->text[p->n] = bl_arena_str(a, t.s, t.n, e))) {
            st = BL_E_NOMEM;
            goto out;
        }
        p->row[p->n++] = -1;
    }
out:
    bl_text_free(&t);
    return st;
}

/* What was marked is not asked: its answer is in the store. */
static bl_status leave_out(data *d, bl_task_data *t, const bl_answered *marked, int64_t n, const char *path, bl_err *e)
{
    bl_status st = BL_OK;
    int64_t kept = 0;
    bl_text note = {0};

    for (int64_t i = 0; i < t->n; i++) {
        if (bl_answered_has(marked, n, question_of(d, i))) continue;
        if (d->p.of) d->p.of[kept] = d->p.of[i];
        d->rows.row[kept++] = d->rows.row[i];
    }
    if (!kept)
        return bl_fail(e, BL_E_FORMAT, "%s: every question was marked in %s, expected some that are left to ask",
                       t->path, path);
    bl_text_addf(&note,
                 "%s%s%" PRId64 " of %" PRId64 " questions were marked in %s: their answers are passages, and "
                 "they are not asked",
                 t->note ? t->note : "", t->note ? "; " : "", t->n - kept, t->n, strrchr(path, '/') + 1);
    BL_TRY(bl_text_check(&note, e));
    if (!(t->note = bl_arena_str(t->arena, note.s, note.n, e))) st = BL_E_NOMEM;
    t->n = kept;
out:
    bl_text_free(&note);
    return st;
}

const char *bl_passage_question(bl_task_data *t, int64_t i) { return question_of(t->rows, i); }

bl_status bl_passage_load(const bl_task_load *how, const bl_passage_task *task, bl_task_data *out, bl_err *e)
{
    bl_status st = BL_OK;
    data *d = bl_alloc(out->arena, 1, sizeof *d, e);
    bl_answered *marked = NULL;
    int64_t n = 0;
    const char *path = NULL;
    bl_hash both[2];
    bl_err none = {0};

    if (!d) return BL_E_NOMEM;
    d->task = task;
    d->kind = kind_of(how->name);
    BL_TRY(bl_choice_load(how, task->files, task->where, d->kind == BL_PASSAGE_CLOSED ? &task->without : &task->with,
                          out, e));
    d->rows = *(bl_choice_rows *)out->rows;
    out->rows = d;
    if (d->kind != BL_PASSAGE_CLOSED) BL_TRY(note_empty(d, out, e));
    if (bl_data_find(how->dirs, task->marked, "", out->arena, &path, NULL, &none) == BL_OK) {
        both[0] = out->hash;
        BL_TRY(bl_answered_read(path, false, out->arena, &marked, &n, &both[1], e));
        out->hash = bl_hash_bytes(both, sizeof both);
    }
    if (d->kind >= BL_PASSAGE_BM25) {
        BL_TRY(distinct(d, out->n, n, out->arena, &d->p, e));
        if (!d->p.n) {
            st = bl_fail(e, BL_E_FORMAT, "%s: every '%s' is empty, expected passages to retrieve", out->path,
                         task->field);
            goto out;
        }
        BL_TRY(add_marked(&d->p, marked, n, out->arena, e));
    }
    if (n) BL_TRY(leave_out(d, out, marked, n, path, e));
    if (d->kind < BL_PASSAGE_BM25) goto out;
    if (d->kind == BL_PASSAGE_BM25) BL_TRY(by_words(d, out, e));
    d->near = (bl_near_texts){.text = d->p.text, .n = d->p.n, .kept = true};
    if (d->kind == BL_PASSAGE_ENCODER)
        BL_TRY(bl_passage_encoder(how->dirs, out->arena, &d->near.encoder, &out->hash, e));
out:
    return st;
}

bl_status bl_passage_ask(bl_task_data *t, int64_t i, const bl_turn *turn, bl_request *out, bl_err *e)
{
    const data *d = t->rows;
    bl_choice q = d->rows.row[i];
    bool near = d->kind >= BL_PASSAGE_DENSE;

    if (turn->step > near) return bl_done(out);
    if (near && turn->step == 0) {
        *out = (bl_request){.kind = BL_ASK_NEAR, .query = question_of(d, i), .near = &d->near};
        return BL_OK;
    }
    if (d->kind >= BL_PASSAGE_BM25) {
        int64_t first = near ? bl_rank_first(turn->reply[0].cosine, d->p.n) : d->found[i].from;
        *(d->task->passage_is_text ? &q.text : &q.more) = d->p.text[first];
    }
    bl_prompt p = bl_task_prompt(t, turn->arena);
    bl_choice_say(&p, d->rows.task, &q);
    return bl_choice_pairs(out, p, d->rows.task, &q, e);
}

enum {
    ACC,
    ACC_NORM,
    AT_1,
    AT_5,
    MRR,
    NDCG,
    HAS_PASSAGE,
    QIM, /* recall@1 and mrr of each number of levels */
    N_SCORES = QIM + 2 * BL_NEAR_RULES
};
bl_status bl_passage_mark(bl_task_data *t, int64_t i, const bl_turn *turn, bl_sample *out, bl_err *e)
{
    enum { MORE = 2 + BL_NEAR_RULES };
    const data *d = t->rows;
    const passages *p = &d->p;
    bl_status st = BL_OK;
    bool near = d->kind >= BL_PASSAGE_DENSE;
    int n, more = near ? MORE : 2;
    double *value, score[N_SCORES] = {0};
    found f;

    BL_TRY(bl_choice_mark(
        t, i, &(bl_turn){.reply = turn->reply + near, .n_replies = turn->n_replies - near, .arena = turn->arena}, out,
        e));
    if (d->kind < BL_PASSAGE_BM25) goto out;
    n = out->n_values;
    if (!(value = bl_alloc(turn->arena, (size_t)(n + more), sizeof *value, e))) {
        st = BL_E_NOMEM;
        goto out;
    }
    const double *cosine = near ? turn->reply[0].cosine : NULL;
    f = near ? (found){p->of[i] < 0 ? 0 : bl_rank_of(cosine, p->n, p->of[i]), bl_rank_first(cosine, p->n)}
             : d->found[i];
    double place = (double)f.place;
    score[ACC] = out->score[0];
    score[ACC_NORM] = out->score[d->rows.task->by_length];
    score[AT_1] = place == 1;
    score[AT_5] = place >= 1 && place <= 5;
    score[MRR] = place > 0 ? 1 / place : 0;
    score[NDCG] = place >= 1 && place <= 10 ? 1 / log2(1 + place) : 0;
    score[HAS_PASSAGE] = place > 0;
    memcpy(value, out->value, (size_t)n * sizeof *value);
    value[n] = place;
    value[n + 1] = (double)p->row[f.from];
    for (int k = 0; near && k < BL_NEAR_RULES; k++) {
        double by = p->of[i] < 0 ? 0 : (double)bl_rank_of(turn->reply[0].qim[k], p->n, p->of[i]);
        value[n + 2 + k] = by;
        score[QIM + 2 * k] = by == 1;
        score[QIM + 2 * k + 1] = by > 0 ? 1 / by : 0;
    }
    BL_TRY(bl_sample_values(out, turn->arena, value, n + more, e));
    BL_TRY(bl_sample_scores(out, turn->arena, score, near ? N_SCORES : QIM, e));
out:
    return st;
}

/* clang-format off */
#define RANKED \
    {.name = "recall@1", .direction = 1, .percent = true, .agg = BL_AGG_MEAN, .a = AT_1, .given = HAS_PASSAGE + 1}, \
    {.name = "recall@5", .direction = 1, .percent = true, .agg = BL_AGG_MEAN, .a = AT_5, .given = HAS_PASSAGE + 1}, \
    {.name = "mrr", .direction = 1, .agg = BL_AGG_MEAN, .a = MRR, .given = HAS_PASSAGE + 1}, \
    {.name = "ndcg@10", .direction = 1, .agg = BL_AGG_MEAN, .a = NDCG, .given = HAS_PASSAGE + 1}
#define BY_QIM(k, levels) \
    {.name = "recall@1_qim" levels, .direction = 1, .percent = true, .agg = BL_AGG_MEAN, .a = QIM + 2 * (k), \
     .given = HAS_PASSAGE + 1}, \
    {.name = "mrr_qim" levels, .direction = 1, .agg = BL_AGG_MEAN, .a = QIM + 2 * (k) + 1, .given = HAS_PASSAGE + 1}
/* clang-format on */
static const bl_metric plain[] = {
    {.name = "acc", .direction = 1, .headline = true, .percent = true, .agg = BL_AGG_MEAN, .a = ACC},
    RANKED,
    BY_QIM(0, "2"),
    BY_QIM(1, "3"),
    BY_QIM(2, "16"),
};
static const bl_metric with_length[] = {
    {.name = "acc", .direction = 1, .headline = true, .percent = true, .agg = BL_AGG_MEAN, .a = ACC},
    {.name = "acc_norm", .direction = 1, .headline = true, .percent = true, .agg = BL_AGG_MEAN, .a = ACC_NORM},
    RANKED,
    BY_QIM(0, "2"),
    BY_QIM(1, "3"),
    BY_QIM(2, "16"),
};

const bl_metric *bl_passage_metrics(const char *name, bool by_length, int *n)
{
    int kind = kind_of(name), head = by_length ? 2 : 1;
    *n = kind < BL_PASSAGE_BM25 ? head : head + (kind == BL_PASSAGE_BM25 ? 4 : 4 + 2 * BL_NEAR_RULES);
    return by_length ? with_length : plain;
}
