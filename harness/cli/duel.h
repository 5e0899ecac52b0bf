/* duel.h - what a judge is asked about two answers to one question, and what it said.
 *
 *     bl_judge_prompts p;
 *     BL_TRY(bl_judge_prompts_read("judge_prompts.jsonl", arena, &p, e));
 *     bl_prompt ask = bl_judge_ask(&p.general, &(bl_duel){.question = "Why?", .answer = {"So.", "Ask."}}, arena);
 *     bl_judged said = bl_judged_text("The second is polite. [[B]]");
 *
 * The prompts are FastChat's (llm_judge/data/judge_prompts.jsonl, Zheng et al. 2023): the first of type pairwise that
 * has {question}, {answer_a} and {answer_b}, and the first that has {ref_answer_1} as well. Where a judge is asked
 * through its chat template the instructions open the message of the user, as templates here have no place for a
 * system message.
 */
#ifndef BL_HARNESS_CLI_DUEL_H
#define BL_HARNESS_CLI_DUEL_H
#include "harness/task.h"

typedef struct bl_judge_prompt {
    const char *name, *system, *text; /* name NULL: there is none */
} bl_judge_prompt;
typedef struct bl_judge_prompts {
    bl_judge_prompt general, with_reference;
} bl_judge_prompts;
/* Texts are in the arena. BL_E_FORMAT with file and line, or when there is no general one. */
bl_status bl_judge_prompts_read(const char *path, bl_arena *a, bl_judge_prompts *out, bl_err *e);

typedef struct bl_duel {
    const char *question, *answer[2], *reference; /* reference: NULL, there is none */
} bl_duel;
/* Instructions, an empty line, and the template with what is in braces filled in; nothing in it is a special token. */
bl_prompt bl_judge_ask(const bl_judge_prompt *p, const bl_duel *d, bl_arena *a);

typedef enum bl_judged { BL_JUDGED_A, BL_JUDGED_B, BL_JUDGED_TIE, BL_JUDGED_NOTHING } bl_judged;
/* "[[A]]" anywhere, else "[[B]]", else "[[C]]", which is a tie; as FastChat reads it (llm_judge/common.py). */
bl_judged bl_judged_text(const char *reply);
/* The likeliest of A, B and C; NOTHING where one of them has no token of its own. */
bl_judged bl_judged_letters(const bl_reply *r);
#endif
