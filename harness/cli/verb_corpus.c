/* verb_corpus.c - prints the made-up corpus: training texts, or single lessons of a kind and a part. */
#include "session.h"
#include "harness/data/lessons.h"

typedef struct opts {
    bl_cli_common common;
    int kind, part;
    int64_t n, seed;
    bool direct;
    const char *out;
} opts;
enum { MIXED }; /* then the kinds of lessons */
static const char *const kinds[] = {"mixed", "sums", "order", "story", "tale", "life", "fact", NULL};
static const bl_opt rows[] = {
    {"kind", BL_OPT_CHOICE, .choices = kinds, .at = offsetof(opts, kind),
     .doc = "sums, order, story, tale, life or fact alone; mixed: what pretrain reads"},
    {"part", BL_OPT_CHOICE, .choices = bl_lesson_parts, .at = offsetof(opts, part),
     .doc = "of one kind: no question of the test part is ever in a training text"},
    {"n", BL_OPT_INT, .min = 1, .max = 1 << 30, .def.i = 10, .at = offsetof(opts, n), .arg = "N", .doc = "how many"},
    {"seed", BL_OPT_INT, .min = 0, .max = 9007199254740992.0, .at = offsetof(opts, seed), .arg = "N",
     .doc = "which ones"},
    {"direct", BL_OPT_BOOL, .at = offsetof(opts, direct), .doc = "of one kind: answers without reasoning"},
    {"output", BL_OPT_TEXT, .at = offsetof(opts, out), .arg = "FILE", .letter = 'o', .doc = "instead of the screen"},
    BL_COMMON_ROWS(opts, common),
    {0}};

static void as_json(const bl_lesson *l, bool direct, const char *text, bl_text *t)
{
    bl_json_out j = {.t = t};
    bl_json_object(&j, NULL);
    if (l) {
        bl_json_add_str(&j, "kind", bl_lesson_kinds[l->kind]);
        bl_json_add_str(&j, "question", l->question.s);
        bl_json_add_str(&j, "rationale", l->reasoning.n && !direct ? l->reasoning.s : "");
        bl_json_add_str(&j, "answer", l->answer.n ? l->answer.s : "");
    }
    bl_json_add_str(&j, "text", text);
    bl_json_end(&j);
    bl_text_add(t, "\n");
}

static bl_status run(const bl_program *p, const void *options, const bl_args *args, int *exit_code, bl_err *e)
{
    bl_status st = BL_OK;
    const opts *o = options;
    bl_lesson l = {0};
    bl_text one = {0}, all = {0};
    (void)p;
    (void)args;
    (void)exit_code;

    if (o->kind == MIXED && o->part == BL_LESSON_TEST)
        return bl_fail(e, BL_E_CONFIG, "corpus: --part test needs one --kind; mixed texts are for training");
    for (int64_t i = 0; i < o->n; i++) {
        one.n = 0;
        if (o->kind == MIXED) BL_TRY(bl_lesson_document((uint64_t)o->seed, (uint64_t)i, &one, e));
        else {
            BL_TRY(bl_lesson_make((bl_lesson_kind)(o->kind - 1), (bl_lesson_part)o->part, (uint64_t)o->seed,
                                  (uint64_t)i, &l, e));
            bl_lesson_text(&l, !o->direct, &one);
        }
        BL_TRY(bl_text_check(&one, e));
        if (o->common.json) as_json(o->kind == MIXED ? NULL : &l, o->direct, one.s, &all);
        else bl_text_addf(&all, "%s\n", one.s);
    }
    BL_TRY(bl_output(o->out, &all, e));
out:
    bl_text_free(&all);
    bl_text_free(&one);
    bl_lesson_free(&l);
    return st;
}

const bl_verb bl_verb_corpus = {
    .name = "corpus",
    .args = "",
    .line = "prints the made-up corpus that pretrain reads",
    .doc =
        "Texts that a small model can learn: sums of one to eight steps with their reasoning, orders, stories with a "
        "question, narrative, lives of people that never change and questions about them. With --json a line each: "
        "kind, question, rationale, answer, text.",
    .example = "bitladder corpus --kind sums --part test --n 100 --json -o sums-test.jsonl",
    .opts = rows,
    .opts_size = sizeof(opts),
    .run = run,
};
