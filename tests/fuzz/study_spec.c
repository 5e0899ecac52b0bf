/* study_spec.c - any bytes as a study: a document, then after 0x1f what the command line adds; refused with a sentence,
 * or printed and read again. */
#include "harness/study/spec.h"
#include <stdlib.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n);

static void must(bool ok)
{
    if (!ok) abort();
}

/* ---- a program with options of every type ---- */
typedef struct opts {
    bl_quant q;
    double clip;
    int range;
    const char *note;
    bool flag;
} opts;
static const char *const ranges[] = {"zero", "minmax", NULL};
static const bl_opt rows[] = {BL_QUANT_ROWS(opts, q),
                              {"clip", BL_OPT_REAL, .min = 0, .max = 1, .def.r = 1, .at = offsetof(opts, clip)},
                              {"range", BL_OPT_CHOICE, .choices = ranges, .at = offsetof(opts, range)},
                              {0}};
static const bl_opt turn_rows[] = {
    {"note", BL_OPT_TEXT, .at = offsetof(opts, note)}, {"flag", BL_OPT_BOOL, .at = offsetof(opts, flag)}, {0}};
static const bl_method base = {.name = "base", .version = 1, .as_stored = true},
                       rtn = {.name = "rtn", .version = 1, .wbits = 0x1fe, .opts = rows, .opts_size = sizeof(opts)};
static const bl_method turn = {.name = "turn", .version = 1, .opts = turn_rows, .opts_size = sizeof(opts)};
static const bl_method *const methods[] = {&base, &rtn, &turn, NULL};

typedef struct task_opts {
    int64_t max_new;
    const char *style;
} task_opts;
static const bl_opt task_rows[] = {
    {"max-new", BL_OPT_INT, .min = 1, .max = 4096, .def.i = 256, .at = offsetof(task_opts, max_new)},
    {"style", BL_OPT_TEXT, .def.s = "plain", .at = offsetof(task_opts, style)},
    {0}};
static const char *const plain_names[] = {"piqa", "arc_easy", NULL}, *const long_names[] = {"gsm8k:cot8", NULL};
static const bl_task plain = {.names = plain_names, .version = 1},
                     generated = {.names = long_names, .version = 1, .opts = task_rows, .opts_size = sizeof(task_opts)};
static const bl_task *const tasks[] = {&plain, &generated, NULL};
static const bl_program program = {.methods = methods, .tasks = tasks};

static void again(const bl_spec *s)
{
    bl_err e = {0};
    bl_text a = {0}, b = {0};
    bl_spec other = {0};
    must(bl_spec_print(s, &a, &e) == BL_OK);
    if (bl_spec_parse(&program, a.s, a.n, &bl_spec_nothing, &other, &e) != BL_OK) abort();
    must(bl_spec_print(&other, &b, &e) == BL_OK && strcmp(a.s, b.s) == 0);
    bl_spec_free(&other);
    bl_text_free(&a);
    bl_text_free(&b);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n)
{
    bl_err e = {0};
    bl_spec s = {0};
    const uint8_t *end = n ? memchr(data, 0x1f, n) : NULL;
    size_t n_doc = end ? (size_t)(end - data) : n;
    char *words = malloc(n - n_doc + 1), *rest = words;
    bl_spec_from from = bl_spec_nothing;
    const char **field[] = {&from.model, &from.method, &from.task, &from.seed,
                            &from.data,  &from.set,    &from.out,  &from.tokenizer};

    must(words != NULL);
    memcpy(words, data + n_doc, n - n_doc);
    words[n - n_doc] = 0;
    if (end) {
        rest++;
        for (size_t i = 0; i < BL_COUNT(field) && rest; i++) {
            char *word = strsep(&rest, "\x1f");
            if (*word) *field[i] = word;
        }
        from.limit = from.threads = (int64_t)(n % 5) - 1;
        from.stream = n % 2;
    }
    bl_status st = n_doc == 0 ? bl_spec_read(&program, &from, &s, &e)
                              : bl_spec_parse(&program, (const char *)data, n_doc, &from, &s, &e);
    if (st == BL_OK) {
        must(s.n_models && s.n_methods && s.n_tasks && s.n_seeds);
        again(&s);
    } else must((st == BL_E_CONFIG || st == BL_E_FORMAT) && e.text[0]);
    bl_spec_free(&s);
    free(words);
    return 0;
}
