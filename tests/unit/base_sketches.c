/* base_sketches.c - every public header compiles alone, and so does every usage sketch in its comments and every
 * example of CONTRIBUTING.md.
 *
 * A sketch is a run of comment lines indented by five or more spaces (and lines that hold a label) with a call of ours
 * in it. It becomes the body of a function that has the variables of `context`; what else a sketch takes as given is
 * declared in `given`. BL_TRY finds `out:` in the sketch or at its end.
 */
#include "source_tree.h"

static const char context[] =
    "#include \"kernels/base/bl.h\"\n#include <stdio.h>\n#include <string.h>\n"
    "typedef struct bl_backend bl_backend;\ntypedef struct bl_checkpoint bl_checkpoint;\n"
    "typedef struct bl_model bl_model;\ntypedef struct bl_tokenizer bl_tokenizer;\n"
    "#define SKETCH(id) static bl_status sketch_##id(const char *path, const char *dir, const char *name, const char "
    "*text, "
    "const uint8_t *data, size_t n, bl_backend *be, bl_checkpoint *checkpoint, bl_model *model, "
    "bl_tokenizer *tokenizer, bl_arena *arena, bl_err *e)\n";

static const struct {
    const char *header, *includes, *declarations;
} given[] = {
    {"kernels/base/bl.h", "", "bl_status read_ids(const char *path, int64_t *ids, size_t n, bl_err *e);"},
    {"kernels/base/fs.h", "kernels/base/hash.h", ""},
    {"kernels/base/rng.h", "", "uint64_t seed = 0, layer = 0, counter = 0;"},
    {"kernels/base/utf8.h", "", "const char *s = text;"},
    {"kernels/format.h", "", "bl_weight w;"},
    {"kernels/ops.h", "", "bl_tensor x, y; bl_weight w; memset(&x, 0, sizeof x); y = x; memset(&w, 0, sizeof w);"},
    {"kernels/index.h", "", "float *rows = NULL, *queries = NULL; int64_t dim = 1; bl_near found[10];"},
    {"kernels/ops_fit.h", "kernels/ops.h", ""}, /* parts of it */
    {"kernels/ops_solve.h", "kernels/ops.h", ""},
    {"results/cell.h", "", "bl_hash hash = {0};"},
    {"results/compare.h", "", "const bl_metric *metric = NULL; bl_cell a = {0}, b = {0};"},
    {"results/journal.h", "", "const char *key = name; bl_hash hash = {0}; int64_t id = 0; bl_sample sample = {0};"},
    {"results/layer.h", "", "bl_json_out out = {0};"},
    {"results/record.h", "",
     "const char *cell_key = name; bl_hash cell_hash = {0}; double kl[2] = {0}; size_t n = 2; bl_table_data table "
     "= {0};"},
    {"results/speed.h", "", "bl_speed_record base = {.name = dir}, now = base; int exit_code = 0; (void)exit_code;"},
    {"results/stats.h", "",
     "int64_t lost = 1, gained = 2; double mean = 1, error = 1, *list = NULL, *adjusted = NULL; n = 2;"},
    {"results/table.h", "",
     "const char *dirs[] = {dir}; size_t n_dirs = 1; bl_text text = {0}; bl_metric_rules rules = {0};"},
    {"results/versus.h", "", "bl_table *t = NULL; bl_metric_rules rules = {0};"},
    {"plots/page.h", "", ""},
    {"plots/plot.h", "", "bl_table *table = NULL; bl_metric_rules rules = {0}; bl_text picture = {0};"},
    {"plots/report.h", "", "bl_plot_input in = {0}; bl_text html = {0};"},
    {"plots/ruler.h", "", "bl_text out = {0};"},
    {"harness/checkpoint/arch.h", "harness/checkpoint/config.h", "bl_config config = {0};"},
    {"harness/checkpoint/safetensors.h", "kernels/base/fs.h", "bl_map map = {0};"},
    {"harness/tokenizer/tokenizer.h", "", "size_t n_bytes = n; char *out = NULL;"},
    {"harness/encoder/encoder.h", "", "const char *texts[] = {text}; float *vectors = NULL;"},
    {"harness/data/windows.h", "", "int64_t seqlen = 2048;"},
    {"harness/model/block.h", "",
     "bl_model *m = model; int64_t block = 0; bl_batch batch = {0}; bl_kv *kv = NULL; bl_tensor x = {0}; int c = 0; "
     "bl_block_input *count = NULL;"},
    {"harness/model/backward.h", "",
     "bl_model *m = model; int64_t block = 0; bl_batch batch = {0}; bl_kv *kv = NULL; bl_tensor x = {0}, dx = {0}; "
     "bl_tape tape = {0}; bl_block_grads grads = {0};"},
    {"harness/train/effective.h", "", "bl_model *m = model;"},
    {"harness/train/pretrain.h", "", "bl_trainable *t = NULL; uint64_t seed = 0;"},
    {"harness/train/trainer.h", "", "bl_trainable *t = NULL; bl_samples samples = {0};"},
    {"harness/train/optimizer.h", "harness/train/gradients.h",
     "bl_trainable *t = NULL; bl_train_batch batch = {0}; bl_schedule schedule = {0}; double nll, norm;"},
    {"harness/model/model.h", "",
     "bl_kv *kv = NULL; int64_t rows = 1, cap = 1; int32_t n_slots = 1, *ids = NULL; bool one_layer = false; "
     "bl_tensor hidden = {0}, logits = {0};"},
    {"harness/model/variant.h", "", "bl_checkpoint *source = checkpoint; const char *json = text; int64_t block = 0;"},
    {"harness/score/divergence.h", "",
     "const char *base_path = path; bl_hash hash = {0}, base_hash = hash; size_t row_bytes = 4; int64_t id = 0; "
     "const bl_states *states = NULL; int n_steps = 0; bl_engine *engine = NULL; bl_request *requests = NULL; "
     "bl_reply *replies = NULL; bl_comparison *comparisons = NULL;"},
    {"harness/score/score.h", "", "bl_request *requests = NULL; bl_reply *replies = NULL;"},
    {"harness/quant/calibrate.h", "harness/method.h", "bl_method_run *r = NULL; bl_linear *lin = NULL;"},
    {"harness/items.h", "", "bl_program *program = NULL; bl_cell cell = {0}; bl_data_dirs dirs = {0}; bl_item item;"},
    {"harness/study/identity.h", "",
     "bl_checkpoint *ckpt = checkpoint; bl_hash stage[1] = {0}, hash, fingerprint = {0}, calib_bytes = {0}, data_bytes "
     "= {0}; bl_method_chain *method = NULL; bl_calib_choice *calib = NULL; uint64_t seed = 0; bl_task_choice *task = "
     "NULL; bl_scoring *scoring = NULL;"},
    {"harness/bench/bench.h", "", "bl_text out = {0};"},
    {"methods/shared_block.h", "",
     "bl_method_run *r = NULL; int64_t b = 0, w = 0; bl_block_grads grads = {0}; double sum = 0;"},
    {"tasks/shared_choice.h", "",
     "const bl_task_load *how = NULL; const char *const names[] = {NULL}; const char *where = NULL; "
     "bl_choice_read *read_row = NULL; bl_task_data *out = NULL;"},
};

/* The text of a line of a sketch; NULL when it is none. */
static const char *sketch_line(const char *line)
{
    if (!strncmp(line, " *      ", 7)) return line + 2;
    if (!strncmp(line, " * out:", 7)) return line + 3;
    return !strcmp(line, " *") ? "" : NULL;
}

static int n_sketches;

static void close_sketch(bl_text *sketch, const char *declarations, bl_text *code)
{
    if (sketch->s && strchr(sketch->s, ';') && (strstr(sketch->s, "bl_") || strstr(sketch->s, "BL_"))) {
        bool label = strstr(sketch->s, "out:") != NULL;
        bl_text_addf(
            code, "SKETCH(%d)\n{\n    bl_status st = BL_OK;\n    {\n%s\n    {\n%s    ;\n    }}\n%s    return st;\n}\n",
            n_sketches++, declarations, sketch->s, label ? "" : "    goto out;\nout:\n");
    }
    bl_text_free(sketch);
}

static void take_sketches(char *source, const char *declarations, bl_text *code)
{
    bl_text sketch = {0};
    bool comment = false;
    for (char *line; (line = strsep(&source, "\n"));) {
        if (!strncmp(line, "/*", 2)) comment = true;
        const char *text = comment ? sketch_line(line) : NULL;
        if (text && (*text || sketch.n)) bl_text_addf(&sketch, "%s\n", text);
        else if (!text) close_sketch(&sketch, declarations, code);
        if (strstr(line, "*/")) comment = false;
    }
    close_sketch(&sketch, declarations, code);
}

/* Without a warning; `what` opens the message when not. */
static void compile(const char *dir, const char *what, const bl_text *code)
{
    bl_err e = {0};
    bl_text command = {0};
    char *errors = NULL, file[4200], log[4200];
    size_t n;
    snprintf(file, sizeof file, "%s/sketch.c", dir);
    snprintf(log, sizeof log, "%s/sketch.log", dir);
    assert_ok(bl_write_file(file, code->s, code->n, &e));
    bl_text_addf(
        &command,
        "%s -std=c17 -D_GNU_SOURCE -fsyntax-only -fopenmp -Wall -Wextra -Werror -Wno-unused -Wno-unused-parameter %s "
        "-I%s/tasks %s >%s 2>&1",
        BL_COMPILER, BL_INCLUDES, BL_SOURCE_DIR, file, log);
    if (system(command.s) != 0) {
        bl_read_file(log, 1 << 20, &errors, &n, NULL);
        print_message("%s\n%.800s\n", what, errors ? errors : "the compiler cannot be started");
        failures++;
        bl_free(errors);
    }
    bl_text_free(&command);
}

static void check(const char *path, void *ctx)
{
    bl_err e = {0};
    char *source = NULL;
    size_t n;
    bl_text code = {0};
    const char *dot = strrchr(path, '.'), *dir = ctx;
    if (!dot || strcmp(dot, ".h") != 0 || strstr(path, "_impl.h")) return;
    if (strstr(path, "/avx")) return; /* need the options of their own files */
#if !__has_include(<cublas_v2.h>)
    if (strstr(path, "kernels/cuda/")) return; /* need NVIDIA's */
#endif
    const char *declarations = "";
    assert_ok(bl_read_file(source_path(path), 1 << 24, &source, &n, &e));
    for (size_t i = 0; i < BL_COUNT(given); i++) {
        if (strcmp(given[i].header, path) != 0) continue;
        declarations = given[i].declarations;
        if (*given[i].includes) bl_text_addf(&code, "#include \"%s\"\n", given[i].includes);
    }
    bl_text_addf(&code, "#include \"%s\"\n%s", path, context);
    take_sketches(source, declarations, &code);
    compile(dir, path, &code);
    bl_text_free(&code);
    bl_free(source);
}

static void every_header_and_every_sketch_in_it_compiles(void **state)
{
    (void)state;
    bl_err e = {0};
    char dir[4096];
    snprintf(dir, sizeof dir, "%s", test_dir());
    for (size_t i = 0; i < BL_COUNT(rooms); i++) each_source(rooms[i].dir, check, dir);
    assert_ok(bl_remove_tree(dir, &e));
    print_message("%d sketches\n", n_sketches);
    assert_true(n_sketches > 15);
    assert_int_equal(failures, 0);
}

/* A block with #include is a whole file; one with BL_TRY is what stands in a hook of a method; others are rows. */
static void every_example_of_the_guide_compiles(void **state)
{
    (void)state;
    bl_err e = {0};
    char dir[4096], what[64], *guide;
    size_t n;
    int whole = 0, parts = 0;
    snprintf(dir, sizeof dir, "%s", test_dir());
    failures = 0;
    assert_ok(bl_read_file(source_path("CONTRIBUTING.md"), 1 << 20, &guide, &n, &e));
    for (char *at = guide, *block; (block = strstr(at, "```c\n"));) {
        char *end = strstr(block += 5, "\n```");
        bl_text code = {0};
        assert_non_null(end);
        *end = 0;
        at = end + 1;
        if (strstr(block, "#include")) {
            bl_text_addf(&code, "%s\n", block);
            whole++;
        } else if (strstr(block, "BL_TRY")) {
            bl_text_addf(&code,
                         "#include \"harness/quant/calibrate.h\"\n#include \"harness/method.h\"\n"
                         "bl_status hook(const bl_method_run *r, bl_linear *lin, bl_err *e);\n"
                         "bl_status hook(const bl_method_run *r, bl_linear *lin, bl_err *e)\n"
                         "{\n    bl_status st = BL_OK;\n%s\nout:\n    return st;\n}\n",
                         block);
            parts++;
        }
        snprintf(what, sizeof what, "CONTRIBUTING.md: %.40s", block);
        if (code.n) compile(dir, what, &code);
        bl_text_free(&code);
    }
    bl_free(guide);
    assert_ok(bl_remove_tree(dir, &e));
    assert_true(whole >= 4 && parts >= 1);
    assert_int_equal(failures, 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(every_header_and_every_sketch_in_it_compiles),
                                       cmocka_unit_test(every_example_of_the_guide_compiles)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
