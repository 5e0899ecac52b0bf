/* verb_run.c - `plan` and `run`: the same study, looked at or carried out. */
#include "session.h"
#include "harness/study/run.h"
#include "results/cell.h"
#include <string.h>

typedef struct opts {
    bl_cli_common common;
    bl_cli_model model_opts;
    const char *model, *method, *task, *seed, *out, *data, *set, *only;
    bl_cli_calib calib;
    int64_t limit, sample;
    bool no_kl, many;
} opts;
static const bl_opt rows[] = {
    {"model", BL_OPT_TEXT, .at = offsetof(opts, model), .repeat = true, .arg = "MODEL",
     .doc = "directory, .gguf, llama2.c .bin, org/name, synth:SHAPE; a comma list"},
    {"method", BL_OPT_TEXT, .at = offsetof(opts, method), .repeat = true, .arg = "METHOD",
     .doc = "e.g. base,rtn:w4g64; a comma list"},
    {"task", BL_OPT_TEXT, .at = offsetof(opts, task), .repeat = true, .arg = "TASK",
     .doc = "e.g. piqa,wikitext2:gptq2048; a comma list; piqa@200: the first 200 items, piqa@~200: 200 at random; "
            "'arc_*': all of such names"},
    {"seed", BL_OPT_TEXT, .at = offsetof(opts, seed), .repeat = true, .arg = "N", .doc = "a comma list"},
    {"out", BL_OPT_TEXT, .at = offsetof(opts, out), .arg = "DIR", .letter = 'o',
     .doc = "where results go; the spec's \"out\" otherwise"},
    {"data", BL_OPT_TEXT, .at = offsetof(opts, data), .repeat = true, .arg = "DIR",
     .doc = "where data sets are, before BITLADDER_DATA"},
    {"limit", BL_OPT_INT, .min = -1, .max = 1e9, .def.i = -1, .at = offsetof(opts, limit), .arg = "N",
     .doc = "first N items of each task that does not say its own as TASK@N; rows are marked; 0: all; -1: as the spec "
            "says"},
    {"sample", BL_OPT_INT, .min = -1, .max = 1e9, .def.i = -1, .at = offsetof(opts, sample), .arg = "N",
     .doc = "N items of each task drawn at random by the seed, or TASK@~N; 0: all; -1: as the spec says"},
    {"only", BL_OPT_TEXT, .at = offsetof(opts, only), .repeat = true, .arg = "GLOB",
     .doc = "cells to run, e.g. '*/rtn:*/piqa/*'"},
    {"set", BL_OPT_TEXT, .at = offsetof(opts, set), .repeat = true, .arg = "K=V",
     .doc = "an option in every method that has it, or a number of the spec"},
    BL_CALIB_ROWS(opts, calib),
    {"no-kl", BL_OPT_BOOL, .at = offsetof(opts, no_kl), .doc = "no divergence from the base"},
    {"many", BL_OPT_BOOL, .at = offsetof(opts, many), .doc = "more than 100,000 cells are meant"},
    BL_MODEL_ROWS(opts, model_opts),
    BL_COMMON_ROWS(opts, common),
    {0}};

static bl_status read_spec(const bl_program *p, const opts *o, const bl_args *args, bl_spec *s, bl_err *e)
{
    const bl_cli_model *m = &o->model_opts;
    bl_spec_from from = {.file = args->n_pos ? args->pos[0] : NULL,
                         .model = o->model,
                         .method = o->method,
                         .task = o->task,
                         .seed = o->seed,
                         .out = o->out,
                         .data = o->data,
                         .set = o->set,
                         .device = m->device,
                         .tokenizer = m->tokenizer,
                         .limit = o->limit,
                         .sample = o->sample,
                         .calib = o->calib.text,
                         .calib_n = o->calib.n,
                         .calib_seqlen = o->calib.seqlen,
                         .calib_seed = o->calib.seed,
                         .threads = o->common.threads ? o->common.threads : -1,
                         .batch_tokens = m->batch_tokens ? m->batch_tokens : -1,
                         .batch_size = m->batch_size ? m->batch_size : -1,
                         .mem_limit = m->mem_limit ? m->mem_limit : -1,
                         .kv = (bl_kv_format)m->kv,
                         .stream = m->stream,
                         .no_bos = m->no_bos,
                         .kernel_ref = m->kernel_ref,
                         .deterministic = m->deterministic,
                         .no_kl = o->no_kl,
                         .allow_nonfinite = m->allow_nonfinite};
    return bl_spec_read(p, &from, s, e);
}

/* What is named in a study and not there: the sentence says which study. */
static void of_study(const bl_args *args, bl_err *e)
{
    const char *file = args->n_pos ? args->pos[0] : NULL;
    if (file && e->status == BL_E_MISSING && strncmp(e->text, file, strlen(file)) != 0) bl_within(e, "%s", file);
}

static bl_status plan(const bl_program *p, const void *options, const bl_args *args, int *exit_code, bl_err *e)
{
    bl_status st = BL_OK;
    const opts *o = options;
    bl_spec s = {0};
    bl_plan *plan = NULL;
    bl_text t = {0};
    (void)exit_code;
    BL_TRY(read_spec(p, o, args, &s, e));
    st = bl_plan_make(&s, &(bl_plan_opts){.only = o->only, .many = o->many}, &plan, e);
    if (st != BL_OK) {
        of_study(args, e);
        goto out;
    }
    if (o->common.json) BL_TRY(bl_plan_json(plan, &t, e));
    else bl_plan_text(plan, &t);
    BL_TRY(bl_output(NULL, &t, e));
    BL_TRY(bl_plan_any(plan, e));
    BL_TRY(bl_plan_room(plan, e));
out:
    bl_text_free(&t);
    bl_plan_free(plan);
    bl_spec_free(&s);
    return st;
}

/* One cell: its state, and its metrics or why it has none. */
static bl_status one_result(const bl_spec *s, const bl_plan_cell *c, bl_json_out *j, bl_err *e)
{
    bl_status st = BL_OK;
    bl_arena *a = NULL;
    bl_cell cell;
    char *path = bl_format_text(e, "%s/%s.h5", s->out, c->file);

    if (!path) return BL_E_NOMEM;
    BL_TRY(bl_arena_new(&a, e));
    bl_json_object(j, NULL);
    bl_json_add_str(j, "key", c->key);
    bl_json_add_str(j, "state", bl_cell_states[c->state]);
    if (c->state != BL_CELL_DONE && c->reason) bl_json_add_str(j, "reason", c->reason);
    if (c->state == BL_CELL_DONE) {
        BL_TRY(bl_cell_read(path, false, a, &cell, e));
        bl_json_add_str(j, "file", path);
        bl_json_add_maybe(j, "bits_per_weight", cell.bits_per_weight);
        bl_json_array(j, "metrics");
        for (int64_t i = 0; i < cell.n_metrics; i++) {
            const bl_cell_metric *m = &cell.metric[i];
            bl_json_object(j, NULL);
            bl_json_add_str(j, "name", m->name);
            bl_json_add_maybe(j, "value", m->value);
            if (m->has_stderr) bl_json_add_maybe(j, "stderr", m->stderr_);
            bl_json_end(j);
        }
        bl_json_end(j);
    }
    bl_json_end(j);
out:
    bl_free(path);
    bl_arena_free(a);
    return st;
}

/* Every cell as the directory has it now. */
static bl_status results(const bl_spec *s, const bl_plan_opts *how, bl_json_out *j, bl_err *e)
{
    bl_status st = BL_OK;
    bl_plan *plan = NULL;
    bl_plan_opts o = *how;
    o.no_estimate = true;
    BL_TRY(bl_plan_make(s, &o, &plan, e));
    bl_json_lines(j, "cells");
    for (size_t i = 0; i < plan->n_cells; i++) BL_TRY(one_result(s, &plan->cell[i], j, e));
    bl_json_end(j);
out:
    bl_plan_free(plan);
    return st;
}

static bl_status run(const bl_program *p, const void *options, const bl_args *args, int *exit_code, bl_err *e)
{
    bl_status st = BL_OK;
    const opts *o = options;
    bl_spec s = {0};
    bl_text t = {0};
    BL_TRY(read_spec(p, o, args, &s, e));
    bl_run_opts ro = {.plan = {.only = o->only, .many = o->many},
                      .quiet = o->common.quiet,
                      .log = bl_cli_log_level(&o->common),
                      .program = "/proc/self/exe"};
    st = bl_run_study(&s, &ro, exit_code, e);
    if (st != BL_OK) {
        of_study(args, e);
        goto out;
    }
    if (o->common.json) {
        bl_json_out j = {.t = &t};
        bl_json_object(&j, NULL);
        bl_json_add_str(&j, "out", s.out);
        bl_json_add_int(&j, "exit_code", *exit_code);
        BL_TRY(results(&s, &ro.plan, &j, e));
        bl_json_end(&j);
        bl_text_add(&t, "\n");
        BL_TRY(bl_output(NULL, &t, e));
    }
out:
    bl_text_free(&t);
    bl_spec_free(&s);
    return st;
}

const bl_verb bl_verb_plan = {
    .name = "plan",
    .args = "[SPEC]",
    .line = "the cells of a study, what is done, memory and time of the rest",
    .doc = "Shows the cells of SPEC (or of --model, --method, --task) and refuses what cannot run, without reading "
           "weights. On a CPU memory is meant to be within 25 % of what run then takes, and time within a factor of 2 "
           "on a machine that does nothing else; of a GPU time is a guess.",
    .example = "bitladder plan study.json",
    .opts = rows,
    .opts_size = sizeof(opts),
    .max_args = 1,
    .run = plan,
};
const bl_verb bl_verb_run = {
    .name = "run",
    .args = "[SPEC]",
    .line = "runs every cell of a study that has no result yet",
    .doc = "Runs every cell of SPEC that has no result yet; run it again to continue. Without SPEC: --model, --method, "
           "--task, --out.",
    .example = "bitladder run --model SmolLM2-135M-Instruct.Q4_1.gguf --method base,rtn:w4g64 --task "
               "primer_choice,primer:gptq2048 --out runs/a",
    .opts = rows,
    .opts_size = sizeof(opts),
    .max_args = 1,
    .run = run,
};
