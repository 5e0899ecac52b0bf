/* spec_print.c - a specification as it was read, and an example of one. */
#include "spec_impl.h"
#include <string.h>

static void texts(bl_json_out *o, const char *key, const char *const *v, size_t n)
{
    bl_json_array(o, key);
    for (size_t i = 0; i < n; i++) bl_json_add_str(o, NULL, v[i]);
    bl_json_end(o);
}

static void print_task(bl_json_out *o, const bl_spec *s, const bl_task_choice *t)
{
    char name[200];
    snprintf(name, sizeof name, "%s", t->name);
    if (t->limit != s->limit || t->sample != s->sample)
        snprintf(name, sizeof name, "%s@%s%lld", t->name, t->sample ? "~" : "",
                 (long long)(t->sample ? t->sample : t->limit));
    if (strcmp(t->options, "{}") == 0) {
        bl_json_add_str(o, NULL, name);
        return;
    }
    bl_json_object(o, NULL);
    bl_json_add_text(o, name, t->options);
    bl_json_end(o);
}

bl_status bl_spec_print(const bl_spec *s, bl_text *t, bl_err *e)
{
    bl_status st = BL_OK;
    bl_json_out o = {.t = t};
    bl_json_object(&o, NULL);
    texts(&o, "models", s->model, s->n_models);
    bl_json_array(&o, "methods");
    for (size_t i = 0; i < s->n_methods; i++) bl_json_add_str(&o, NULL, s->method[i].text);
    bl_json_end(&o);
    bl_json_array(&o, "tasks");
    for (size_t i = 0; i < s->n_tasks; i++) print_task(&o, s, &s->task[i]);
    bl_json_end(&o);
    bl_json_array(&o, "seeds");
    for (size_t i = 0; i < s->n_seeds; i++) bl_json_add_int(&o, NULL, (int64_t)s->seed[i]);
    bl_json_end(&o);
    texts(&o, "data", s->data.dir, s->data.n);
    if (s->calib.data) {
        bl_json_object(&o, "calib");
        bl_json_add_str(&o, "data", s->calib.data);
        bl_json_add_int(&o, "n", s->calib.n);
        bl_json_add_int(&o, "seqlen", s->calib.seqlen);
        bl_json_add_int(&o, "seed", s->calib.seed);
        bl_json_end(&o);
    }
    BL_TRY(bl_spec_train_put(s, &o, e));
    if (s->out) bl_json_add_str(&o, "out", s->out);
    if (s->tokenizer) bl_json_add_str(&o, "tokenizer", s->tokenizer);
    if (s->device) bl_json_add_str(&o, "device", s->device);
    bl_json_add_int(&o, "limit", s->limit);
    bl_json_add_int(&o, "sample", s->sample);
    bl_json_add_int(&o, "threads", s->threads);
    bl_json_add_int(&o, "batch_tokens", s->batch_tokens);
    bl_json_add_int(&o, "batch_size", s->batch_size);
    bl_json_add_int(&o, "mem_limit", s->mem_limit);
    bl_json_add_str(&o, "kv", bl_kv_formats[s->kv]);
    bl_json_add_bool(&o, "stream", s->stream);
    bl_json_add_bool(&o, "no_bos", s->no_bos);
    bl_json_add_bool(&o, "kernel_ref", s->kernel_ref);
    bl_json_add_bool(&o, "deterministic", s->deterministic);
    bl_json_add_bool(&o, "kl", !s->no_kl);
    bl_json_add_bool(&o, "allow_nonfinite", s->allow_nonfinite);
    bl_json_end(&o);
    st = bl_text_check(t, e);
out:
    return st;
}

const char *bl_spec_example(void)
{
    return "// A study: every model x method x task x seed is one cell. Run it with: bitladder run study.json\n"
           "{\n"
           "  // a directory, a .gguf or llama2.c .bin file, org/name in the local Hugging Face cache, or "
           "synth:SHAPE;\n"
           "  // all paths are from where bitladder is started, ~ is your home\n"
           "  \"models\":  [\"SmolLM2-135M-Instruct.Q4_1.gguf\"],\n"
           "\n"
           "  // name:w<bits>[a<bits>][g<group>|pc][+option=value]; see: bitladder show rtn. In the object form lists "
           "multiply.\n"
           "  \"methods\": [\"base\", {\"rtn\": {\"wbits\": [8, 6, 5, 4, 3, 2, 1], \"group\": 64}}],\n"
           "\n"
           "  // see: bitladder list tasks\n"
           "  \"tasks\":   [\"primer:gptq2048\", \"primer_choice\"],\n"
           "\n"
           "  \"seeds\":   [0],\n"
           "  // for methods that look at text; see: bitladder list texts\n"
           "  // \"calib\": {\"data\": \"wikitext2:train\", \"n\": 128, \"seqlen\": 2048, \"seed\": 0},\n"
           "  // for methods that learn, the options of finetune: \"lora+rank=8\", and \"lora+rank=8+merge\" beside "
           "it\n"
           "  // \"train\": {\"data\": \"alpaca.json\", \"data_format\": \"alpaca\", \"batch\": 16, \"steps\": 200},\n"
           "  \"limit\":   0,          // first N items of each task, or {\"piqa\": 200}; 0: all. Limited rows are "
           "marked\n"
           "  \"sample\":  0,          // or so many drawn at random by the seed; 0: all\n"
           "  \"kl\":      true,       // KL divergence, top-1 agreement and flips against the base cell\n"
           "  \"data\":    [],         // where data sets are, before BITLADDER_DATA\n"
           "  \"out\":     \"runs/first\"\n"
           "}\n";
}
