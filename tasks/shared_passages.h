/* shared_passages.h - questions with choices about a passage, answered with their own passage, without one, and with
 * the one that retrieval finds: a task of such questions is a row (tasks/sciq.c).
 *
 *     NAME:own       the question's own passage in front
 *     NAME:closed    no passage, and no line for one
 *     NAME:bm25      the passage that BM25 ranks first for the question (shared_bm25.h)
 *     NAME:dense     the passage whose vector has the largest cosine with the question's, the vectors being the means
 * of the final states of the model that is asked (bl_engine_embed) NAME:encoder   the same with the vectors of a text
 * encoder (harness/encoder), which is data like the questions: the directory all-MiniLM-L6-v2, or encoder, beside them
 *
 * Retrieval is among the passages of all questions, each once. Of the questions that have a passage of their own, where
 * that is ranked:
 *     recall@1, @5   among the first, the first five
 *     mrr            mean of 1 / place
 *     ndcg@10        mean of 1 / log2(1 + place), 0 after the tenth
 * and for dense and encoder the first and the third of them by the Quantized Influence Measure of question and passage
 * with 2, 3 and 16 levels (recall@1_qim16). Of equal passages the first is in front.
 * What was marked in a round of feedback (samples --format feedback, kept beside the data as rag/NAME_feedback.jsonl)
 * joins the passages, question and answer as one; questions that were marked are then no longer asked, by any of the
 * names, so that nothing is measured on what it was told.
 * Values of a sample after those of the choices: the place (0: it has none of its own), the row that the passage is
 * from (-1: it was marked), and the places by the three measures.
 */
#ifndef BL_TASKS_SHARED_PASSAGES_H
#define BL_TASKS_SHARED_PASSAGES_H
#include "shared_choice.h"

typedef struct bl_passage_task {
    bl_choice_task with, without; /* of the same rows, whose passage is `more` and question `text`, or the other way */
    bool passage_is_text;
    const char *const *files, *where;
    const char *field;         /* of the passage in the files, for sentences */
    const char *const *marked; /* questions and answers of a round of feedback, where there is one */
} bl_passage_task;

extern const bl_passage_task bl_choice_boolq; /* boolq.c */

/* How a name ends, in this order; the names of a task have these endings. */
enum { BL_PASSAGE_OWN, BL_PASSAGE_CLOSED, BL_PASSAGE_BM25, BL_PASSAGE_DENSE, BL_PASSAGE_ENCODER };
#define BL_PASSAGE_NAMES(name) name ":own", name ":closed", name ":bm25", name ":dense", name ":encoder"
bl_status bl_passage_load(const bl_task_load *how, const bl_passage_task *task, bl_task_data *out, bl_err *e);
bl_status bl_passage_ask(bl_task_data *t, int64_t i, const bl_turn *turn, bl_request *out, bl_err *e);
bl_status bl_passage_mark(bl_task_data *t, int64_t i, const bl_turn *turn, bl_sample *out, bl_err *e);
const bl_metric *bl_passage_metrics(const char *name, bool by_length, int *n);
const char *bl_passage_question(bl_task_data *t, int64_t i);

/* Questions that were answered before, {"question", "answer"}, and the file that each says where `files`. */
typedef struct bl_answered {
    const char *question, *answer, *file;
} bl_answered;
bl_status bl_answered_read(const char *path, bool files, bl_arena *a, bl_answered **out, int64_t *n_out, bl_hash *hash,
                           bl_err *e);
bool bl_answered_has(const bl_answered *list, int64_t n, const char *question);
/* The encoder beside the data: its directory in the arena; its fingerprint is added to *hash. */
bl_status bl_passage_encoder(const bl_data_dirs *dirs, bl_arena *a, const char **dir, bl_hash *hash, bl_err *e);
#endif
