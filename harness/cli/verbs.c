/* verbs.c - the verbs, in the order in which help shows them; each has its own file. */
#include "cli.h"

extern const bl_verb bl_verb_init, bl_verb_plan, bl_verb_run, bl_verb_table, bl_verb_compare, bl_verb_rm, bl_verb_clean,
    bl_verb_plot, bl_verb_report, bl_verb_samples, bl_verb_verdicts, bl_verb_duel, bl_verb_judge, bl_verb_index,
    bl_verb_search, bl_verb_list, bl_verb_show, bl_verb_ask, bl_verb_score, bl_verb_generate, bl_verb_tokenize,
    bl_verb_quantize, bl_verb_export, bl_verb_inspect, bl_verb_bench, bl_verb_tune, bl_verb_doctor, bl_verb_corpus,
    bl_verb_pretrain, bl_verb_finetune, bl_verb_internal;

const bl_verb *const bl_verbs[] = {&bl_verb_init,     &bl_verb_list,     &bl_verb_show,     &bl_verb_plan,
                                   &bl_verb_run,      &bl_verb_table,    &bl_verb_compare,  &bl_verb_plot,
                                   &bl_verb_report,   &bl_verb_samples,  &bl_verb_duel,     &bl_verb_verdicts,
                                   &bl_verb_judge,    &bl_verb_index,    &bl_verb_search,   &bl_verb_rm,
                                   &bl_verb_clean,    &bl_verb_ask,      &bl_verb_score,    &bl_verb_generate,
                                   &bl_verb_tokenize, &bl_verb_quantize, &bl_verb_export,   &bl_verb_inspect,
                                   &bl_verb_corpus,   &bl_verb_pretrain, &bl_verb_finetune, &bl_verb_bench,
                                   &bl_verb_tune,     &bl_verb_doctor,   &bl_verb_internal, NULL};
