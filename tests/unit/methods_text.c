/* Method names, their canonical text and JSON, and what is refused. */
#include "test.h"
#include "methods/registry.h"

static const struct {
    const char *text, *want;
} canonical[] = {
    {"base", "base"},
    {"fp16", "fp16"},
    {"rtn", "rtn:w4g128"},
    {"rtn:w4", "rtn:w4g128"},
    {"rtn:w4g128", "rtn:w4g128"},
    {"rtn:w4g64", "rtn:w4g64"},
    {"rtn:g64w4", "rtn:w4g64"},
    {"rtn:w3pc", "rtn:w3pc"},
    {"rtn:w3g-1", "rtn:w3pc"},
    {"rtn:w8a8pc+symmetric", "rtn:w8a8pc+symmetric"},
    {"rtn+wbits=3+group=64", "rtn:w3g64"},
    {"rtn:w2+range=minmax+scale=fp32", "rtn:w2g128+range=minmax+scale=fp32"},
    {"rtn:w2+scale=fp32+range=minmax", "rtn:w2g128+range=minmax+scale=fp32"}, /* order of the rows */
    {"rtn:w2+range=zero+scale=fp16", "rtn:w2g128"},
    {"rtn+symmetric=false", "rtn:w4g128"},
    {"rtn:w4+head+embeddings", "rtn:w4g128+head+embeddings"},
    {"rtn:w1+symmetric+range=clip", "rtn:w1g128"},           /* neither applies to one bit */
    {"rtn:w4+symmetric+range=clip", "rtn:w4g128+symmetric"}, /* no zero point to clip */
    {"llm-qat", "llm-qat:w4a8pc"},                           /* bits of activations are never hidden */
    {"llm-qat:w4a0", "llm-qat:w4a0pc"},
    {"gguf", "gguf:q4_k"},
    {"gguf:q2_k+mix+head", "gguf:q2_k+mix"}, /* a mixture has a type for the head */
    {"gguf+type=q4_k_m+mix", "gguf:q4_k_m"}, /* which this is */
    {"gguf:iq2_xs+importance=false+embeddings", "gguf:iq2_xs+importance=false+embeddings"},
};

static void text_has_one_form(void **state)
{
    (void)state;
    for (size_t i = 0; i < BL_COUNT(canonical); i++) {
        bl_err e = {0};
        bl_method_choice c, d;
        assert_ok(bl_method_parse(bl_methods, canonical[i].text, &c, &e));
        assert_string_equal(c.text, canonical[i].want);
        assert_ok(bl_method_parse(bl_methods, c.text, &d, &e)); /* and reads back as itself */
        assert_string_equal(d.text, c.text);
        bl_text a = {0}, b = {0};
        assert_ok(bl_method_json(c.method, c.opts, &a, &e));
        assert_ok(bl_method_json(d.method, d.opts, &b, &e));
        assert_string_equal(a.s, b.s);
        bl_text_free(&a);
        bl_text_free(&b);
        bl_method_choice_free(&d);
        bl_method_choice_free(&c);
    }
}

static void json_goes_both_ways(void **state)
{
    (void)state;
    for (size_t i = 0; i < BL_COUNT(canonical); i++) {
        bl_err e = {0};
        bl_method_choice c, d;
        bl_json *j;
        bl_text t = {0};
        assert_ok(bl_method_parse(bl_methods, canonical[i].text, &c, &e));
        assert_ok(bl_method_json(c.method, c.opts, &t, &e));
        assert_ok(bl_json_parse(t.s, t.n, "options", BL_JSON_PLAIN, &j, &e));
        assert_ok(bl_method_from_json(c.method, j, &d, &e));
        bl_json_free(j);
        assert_string_equal(d.text, c.text);
        bl_text_free(&t);
        bl_method_choice_free(&d);
        bl_method_choice_free(&c);
    }
}

static void options_as_json_show_every_row(void **state)
{
    (void)state;
    bl_err e = {0};
    bl_method_choice c;
    bl_text t = {0};
    assert_ok(bl_method_parse(bl_methods, "rtn:w3g64", &c, &e));
    assert_ok(bl_method_json(c.method, c.opts, &t, &e));
    assert_string_equal(
        t.s, "{\"wbits\":3,\"group\":64,\"abits\":0,\"act-group\":0,\"symmetric\":false,\"range\":\"zero\",\"scale\":"
             "\"fp16\",\"mse\":false,\"head\":false,\"embeddings\":false}");
    bl_text_free(&t);
    bl_method_choice_free(&c);
}

static void what_cannot_be_is_refused_with_a_sentence(void **state)
{
    (void)state;
    static const struct {
        const char *text, *says;
    } rows[] = {
        {"rnt:w4", "no method 'rnt'; did you mean rtn?"},
        {"", "no method ''"},
        {"rtn:w0", "wbits: 0 is not in 1..8"},
        {"rtn:w9", "wbits: 9 is not in 1..8"},
        {"rtn:w2.5", "wbits: "},
        {"rtn:wfour", "four"},
        {"rtn:w4g0", "group: 0"},
        {"rtn:w4g-2", "group: -2"},
        {"rtn:w4a9", "abits: 9"},
        {"rtn:w4a1", "abits"},
        {"rtn:w4w3", "wbits is given twice"},
        {"rtn:w4+wbits=3", "wbits is given twice"},
        {"rtn:", "nothing after ':'"},
        {"rtn:w4+", "nothing after '+'"},
        {"rtn:w4x", "'x' is not like w4"},
        {"rtn:w4+rnage=clip", "did you mean range"},
        {"rtn:w4+range", "range needs a value"},
        {"rtn:w4+range=wide", "zero, minmax, clip"},
        {"rtn:w4+group=99999999999999999999", "group"},
        {"base:w4", "method base: 'w4': it has no wbits; see: bitladder show base"},
        {"quarot:pc", "method quarot: 'pc': it has no group"},
        {"fp16+group=64", "method fp16: unknown option 'group'"},
        {"loftq:w4+dora", "method loftq: it has no option 'dora'; lora, qlora have it; see: bitladder show loftq"},
        {"rtn:w4+plain", "method rtn: it has no option 'plain'; lq-lora has it"},
    };
    for (size_t i = 0; i < BL_COUNT(rows); i++) {
        bl_err e = {0};
        bl_method_choice c = {0};
        assert_refused(bl_method_parse(bl_methods, rows[i].text, &c, &e), BL_E_CONFIG, rows[i].says);
        assert_null(c.opts);
    }
}

static void json_that_cannot_be_is_refused(void **state)
{
    (void)state;
    static const struct {
        const char *json, *says;
    } rows[] = {
        {"{\"wbits\":0}", "wbits"},         {"{\"wbits\":2.5}", "wbits"}, {"{\"wbits\":\"four\"}", "four"},
        {"{\"group\":0}", "group"},         {"{\"gruop\":64}", "group"},  {"[4]", "options are an object"},
        {"{\"range\":\"wide\"}", "minmax"},
    };
    for (size_t i = 0; i < BL_COUNT(rows); i++) {
        bl_err e = {0};
        bl_json *j;
        bl_method_choice c;
        assert_ok(bl_json_parse(rows[i].json, strlen(rows[i].json), "spec", BL_JSON_PLAIN, &j, &e));
        assert_refused(bl_method_from_json(bl_methods[3], j, &c, &e), BL_E_CONFIG, rows[i].says);
        bl_json_free(j);
    }
}

static void every_method_says_what_it_is(void **state)
{
    (void)state;
    for (size_t i = 0; bl_methods[i]; i++) {
        const bl_method *m = bl_methods[i];
        bl_err e = {0};
        bl_method_choice c;
        assert_true(m->version >= 1);
        assert_true(m->title && m->cite && m->doc);
        assert_true(m->as_stored || m->model || m->block || m->layer || m->learns);
        assert_ok(bl_method_parse(bl_methods, m->name, &c, &e)); /* defaults are valid */
        bl_method_choice_free(&c);
    }
}

static void survives_failure_of_every_allocation(void **state)
{
    (void)state;
    bl_err e = {0};
    uint64_t live = bl_alloc_live();
    for (uint64_t k = 1;; k++) {
        bl_method_choice c = {0};
        bl_alloc_fail_at(k, false);
        bl_status st = bl_method_parse(bl_methods, "rtn:w3g64+range=clip", &c, &e);
        bool reached = bl_alloc_count() >= k;
        bl_alloc_fail_at(0, false);
        if (st == BL_OK) bl_method_choice_free(&c);
        assert_true(bl_alloc_live() == live);
        if (!reached) {
            assert_ok(st);
            break;
        }
        assert_true(st == BL_E_NOMEM);
    }
}

/* ---- chains, with methods of this test ---- */

typedef struct toy_opts {
    bl_quant q;
    bool flag;
    double alpha;
    const char *note;
} toy_opts;
static const bl_opt turn_rows[] = {
    {"flag", BL_OPT_BOOL, .at = offsetof(toy_opts, flag), .doc = "x"},
    {"alpha", BL_OPT_REAL, .min = 0, .max = 1, .def.r = 0.5, .at = offsetof(toy_opts, alpha), .doc = "x"},
    {"note", BL_OPT_TEXT, .at = offsetof(toy_opts, note), .doc = "x"},
    {0}};
static const bl_opt pack_rows[] = {
    BL_QUANT_ROWS(toy_opts, q), {"flag", BL_OPT_BOOL, .at = offsetof(toy_opts, flag), .doc = "x"}, {0}};
/* The flag does not apply at one bit. */
static void pack_settle(void *o)
{
    if (((toy_opts *)o)->q.wbits == 1) ((toy_opts *)o)->flag = false;
}
static const bl_method toy_base = {.name = "base", .version = 1, .as_stored = true},
                       toy_turn = {.name = "turn", .version = 1, .opts = turn_rows, .opts_size = sizeof(toy_opts)},
                       toy_pack = {.name = "pack",
                                   .version = 1,
                                   .wbits = 0x17e, /* not 7 */
                                   .needs = BL_NEED_HESSIAN,
                                   .settle = pack_settle,
                                   .opts = pack_rows,
                                   .opts_size = sizeof(toy_opts)};
static const bl_method *const toys[] = {&toy_base, &toy_turn, &toy_pack, NULL};

static const struct {
    const char *text, *want;
    int n;
    int64_t wbits, group;
    const char *group_text;
} chains[] = {
    {"base", "base", 1, -1, -1, ""},
    {"turn", "turn", 1, -1, -1, ""},
    {"pack:w4g128", "pack:w4g128", 1, 4, 128, "128"},
    {"turn+pack", "turn+pack:w4g128", 2, 4, 128, "128"},
    {"turn+pack:w3pc", "turn+pack:w3pc", 2, 3, -1, "pc"},
    {"turn+flag+pack:w4g64+flag", "turn+flag+pack:w4g64+flag", 2, 4, 64, "64"},
    {"turn+alpha=0.25+flag+pack+group=32", "turn+flag+alpha=0.25+pack:w4g32", 2, 4, 32, "32"},
    {"turn+note=pack+pack:w2", "turn+note=pack+pack:w2g128", 2, 2, 128, "128"}, /* a value is no stage */
    {"pack:w8+turn", "pack:w8g128+turn", 2, 8, 128, "128"},                     /* the last that has a width */
    {"turn+turn+pack:w5+pack:w1+flag", "turn+turn+pack:w5g128+pack:w1g128", 4, 1, 128, "128"},
    /* one stage that names its solver is the two */
    {"turn:w3g32+solver=pack", "turn+pack:w3g32", 2, 3, 32, "32"},
    {"turn+solver=pack", "turn+pack:w4g128", 2, 4, 128, "128"},
    {"turn:w3+flag+alpha=0.25+solver=pack+flag", "turn+flag+alpha=0.25+pack:w3g128+flag", 2, 3, 128, "128"},
    {"turn:w2pc+solver=pack+alpha=0.25", "turn+alpha=0.25+pack:w2pc", 2, 2, -1, "pc"}, /* of whoever has it */
    {"turn+turn:w5+group=64+solver=pack", "turn+turn+pack:w5g64", 3, 5, 64, "64"},
    {"pack:w3+solver=pack+flag", "pack:w3g128+pack:w3g128+flag", 2, 3, 128, "128"}, /* a width by default stays too */
};

static void a_chain_has_one_text_and_the_width_of_its_last_quantizer(void **state)
{
    (void)state;
    for (size_t i = 0; i < BL_COUNT(chains); i++) {
        bl_err e = {0};
        bl_method_chain c, d;
        int64_t wbits, group;
        char group_text[32];
        assert_ok(bl_chain_parse(toys, chains[i].text, &c, &e));
        assert_string_equal(c.text, chains[i].want);
        assert_int_equal(c.n, chains[i].n);
        bl_chain_width(&c, &wbits, &group, group_text);
        assert_int_equal(wbits, chains[i].wbits);
        assert_int_equal(group, chains[i].group);
        assert_string_equal(group_text, chains[i].group_text);
        assert_int_equal(bl_chain_as_stored(&c), i == 0);
        assert_int_equal(bl_chain_needs(&c), strstr(c.text, "pack:") ? BL_NEED_HESSIAN : BL_NEED_NOTHING);
        assert_ok(bl_chain_parse(toys, c.text, &d, &e));
        assert_string_equal(d.text, c.text);
        bl_chain_free(&d);
        bl_chain_free(&c);
    }
}

/* Of a method that leaves the ends of the model, they are a stage of their own, with the bits of the blocks. */
static void head_and_embeddings_are_a_stage_of_any_method_that_rounds(void **state)
{
    static const char *const rows[][2] = {
        {"rtn:w4+head", "rtn:w4g128+head"}, /* has the option */
        {"gptq:w3g64+head+embeddings", "gptq:w3g64+ends:w3g64"},
        {"gptq:w4g64+symmetric+head=true", "gptq:w4g64+symmetric+ends:w4g64+symmetric+embeddings=false"},
        {"gptq:w4+embeddings+scale=fp32", "gptq:w4g128+scale=fp32+ends:w4g128+scale=fp32+head=false"},
        {"gptq:w4+head=false", "gptq:w4g128"},
        {"hqq:w2pc+head+lora+rank=4", "hqq:w2pc+ends:w2pc+embeddings=false+lora+rank=4"},
        {"billm+head", "billm+ends:w8g128+embeddings=false"}, /* has no bits of its own */
        {"quarot:w4+solver=gptq+head", "quarot+gptq:w4g128+ends:w4g128+embeddings=false"},
        {"awq:w3g64+solver=quip", "awq:w3g64+round=false+quip:w3"}, /* has no group */
        {"awq:w3pc+solver=quip", "awq:w3pc+round=false+quip:w3"},
        {"awq:w4g32+solver=gguf+type=q4_0", "awq:w4g32+round=false+gguf:q4_0"}, /* no bits */
        {"awq:w4g32+solver=mxfp4", "awq:w4g32+round=false+mxfp4"},
        {"awq:w4a8g64+solver=gptq+head+embeddings", "awq:w4g64+round=false+gptq:w4a8g64+ends:w4g64"},
        {"{\"gptq\": {\"wbits\": 3, \"head\": true}}", "gptq:w3g128+ends:w3g128+embeddings=false"},
        {"{\"chain\": [\"quarot\", {\"gptq\": {\"head\": true, \"embeddings\": true}}]}",
         "quarot+gptq:w4g128+ends:w4g128"},
    };
    static const char *const wrong[][2] = {
        {"quarot+head+gptq:w4",
         "method quarot: no option 'head'; a stage after it rounds head and embeddings: +ends:w8"},
        {"lora+embeddings", "method lora: no option 'embeddings'; a stage after it"},
        {"quarot:w3g64+solver=quip", "method quip: 'g64': it has no group"},
        {"gptq:w1+head", "method ends: wbits: 1 is not in 2..8"},
        {"gptq:w4+head=maybe", "method gptq: head: 'maybe'"},
        {"base+head", "method base: no option 'head'"},
    };
    (void)state;
    for (size_t i = 0; i < BL_COUNT(rows); i++) {
        bl_err e = {0};
        bl_method_chain c = {0}, d = {0};
        bl_json *j = NULL;
        const char *text = rows[i][0];
        if (*text == '{') {
            assert_ok(bl_json_parse(text, strlen(text), "spec", BL_JSON_PLAIN, &j, &e));
            assert_ok(bl_chain_from_json(bl_methods, j, &c, &e));
        } else assert_ok(bl_chain_parse(bl_methods, text, &c, &e));
        assert_string_equal(c.text, rows[i][1]);
        assert_ok(bl_chain_parse(bl_methods, c.text, &d, &e)); /* and reads back as itself */
        assert_string_equal(d.text, c.text);
        bl_chain_free(&c);
        bl_chain_free(&d);
        bl_json_free(j);
    }
    for (size_t i = 0; i < BL_COUNT(wrong); i++) {
        bl_err e = {0};
        bl_method_chain c = {0};
        assert_refused(bl_chain_parse(bl_methods, wrong[i][0], &c, &e), BL_E_CONFIG, wrong[i][1]);
        assert_null(c.stage);
    }
}

/* Options that make a method look at no text. */
static void what_a_method_needs_depends_on_its_options(void **state)
{
    static const struct {
        const char *text;
        unsigned needs;
    } rows[] = {{"gguf:q4_k", BL_NEED_CHANNELS},
                {"gguf:q4_k+importance=false", BL_NEED_NOTHING},
                {"quarot+gguf:q4_k_m+importance=false", BL_NEED_NOTHING},
                {"gguf:q4_k+importance=false+ends", BL_NEED_NOTHING}};
    (void)state;
    for (size_t i = 0; i < BL_COUNT(rows); i++) {
        bl_err e = {0};
        bl_method_chain c;
        assert_ok(bl_chain_parse(bl_methods, rows[i].text, &c, &e));
        assert_int_equal(bl_chain_needs(&c), rows[i].needs);
        bl_chain_free(&c);
    }
}

static void a_chain_that_cannot_be_is_refused(void **state)
{
    (void)state;
    static const struct {
        const char *text, *says;
    } rows[] = {
        {"turn+pakc:w4", "no method 'pakc'; did you mean pack?"},
        {"turn+falg", "method turn: no option and no method 'falg'; did you mean flag?"},
        {"turn+pakc", "method turn: no option and no method 'pakc'; did you mean pack?"},
        {"turn+xylophone", "method turn: no option and no method 'xylophone'; see: bitladder list methods"},
        {"turn+xylophone=3", "method turn: unknown option 'xylophone'"},
        {"base+pack:w4", "base: the checkpoint as stored is no stage"},
        {"pack:w4+base", "base: the checkpoint as stored is no stage"},
        {"turn+pack:w9", "method pack: wbits: 9"},
        {"turn+pack:w7", "method pack: wbits: 7 is not one of 1, 2, 3, 4, 5, 6, 8"},
        {"turn+", "method turn: nothing after '+'"},
        {"+pack", "no method ''"},
        {"turn+turn+turn+turn+turn+turn+turn+turn+turn", "more than 8 stages"},
        {"turn:w4+solver=pakc", "method turn: solver: no method 'pakc'"},
        {"turn:w4+solver=pack+solver=pack", "method turn: solver is given twice"},
        {"turn:w9+solver=pack", "method pack: wbits: 9"},
        {"turn:w4", "method turn: 'w4': it has no wbits"},
    };
    for (size_t i = 0; i < BL_COUNT(rows); i++) {
        bl_err e = {0};
        bl_method_chain c = {0};
        assert_refused(bl_chain_parse(toys, rows[i].text, &c, &e), BL_E_CONFIG, rows[i].says);
        assert_null(c.stage);
    }
}

static void a_chain_is_read_from_json_as_from_text(void **state)
{
    (void)state;
    static const struct {
        const char *json, *want;
    } rows[] = {
        {"\"turn+pack:w3\"", "turn+pack:w3g128"},
        {"{\"pack\": {\"wbits\": 3}}", "pack:w3g128"},
        {"{\"chain\": [\"turn+flag\", {\"pack\": {\"group\": -1, \"flag\": true}}]}", "turn+flag+pack:w4pc+flag"},
        {"{\"chain\": [\"pack:w2\"]}", "pack:w2g128"},
    };
    static const struct {
        const char *json, *says;
    } wrong[] = {
        {"{\"chain\": []}", "a chain of methods is"},
        {"{\"chain\": \"turn\"}", "a chain of methods is"},
        {"{\"chain\": [[\"turn\"]]}", "a stage of a method"},
        {"{\"chain\": [\"turn\", \"base\"]}", "no stage of a chain"},
        {"{\"turn\": {\"note\": \"a+b\"}}", "holds a '+'"},
        {"[\"turn\"]", "a stage of a method"},
    };
    for (size_t i = 0; i < BL_COUNT(rows); i++) {
        bl_err e = {0};
        bl_json *j;
        bl_method_chain c;
        assert_ok(bl_json_parse(rows[i].json, strlen(rows[i].json), "spec", BL_JSON_PLAIN, &j, &e));
        assert_ok(bl_chain_from_json(toys, j, &c, &e));
        assert_string_equal(c.text, rows[i].want);
        bl_chain_free(&c);
        bl_json_free(j);
    }
    for (size_t i = 0; i < BL_COUNT(wrong); i++) {
        bl_err e = {0};
        bl_json *j;
        bl_method_chain c;
        assert_ok(bl_json_parse(wrong[i].json, strlen(wrong[i].json), "spec", BL_JSON_PLAIN, &j, &e));
        assert_refused(bl_chain_from_json(toys, j, &c, &e), BL_E_CONFIG, wrong[i].says);
        bl_json_free(j);
    }
}

static void options_of_a_chain_are_recorded_by_stage(void **state)
{
    (void)state;
    bl_err e = {0};
    bl_method_chain c;
    bl_text t = {0};
    assert_ok(bl_chain_parse(toys, "turn+flag+pack:w3pc", &c, &e));
    assert_ok(bl_chain_json(&c, &t, &e));
    assert_string_equal(
        t.s, "[{\"turn\": {\"flag\":true,\"alpha\":0.5,\"note\":null}}, {\"pack\": {\"wbits\":3,\"group\":-1,"
             "\"abits\":0,\"act-group\":0,\"symmetric\":false,\"flag\":false}}]");
    bl_text_free(&t);
    bl_chain_free(&c);
}

/* What an option means can depend on another: they are looked at together, in whatever order they are set. */
static void options_that_are_set_are_looked_at_together(void **state)
{
    (void)state;
    bl_err e = {0};
    bl_method_chain c;
    bool used = false;
    assert_ok(bl_chain_parse(toys, "turn+pack:w1", &c, &e));
    assert_ok(bl_chain_set(&c, "flag", "true", &used, &e)); /* both have it */
    assert_ok(bl_chain_set(&c, "wbits", "4", &used, &e));
    assert_true(used);
    assert_ok(bl_chain_renew(&c, &e));
    assert_string_equal(c.text, "turn+flag+pack:w4g128+flag");
    assert_ok(bl_chain_set(&c, "wbits", "1", &used, &e));
    assert_ok(bl_chain_renew(&c, &e));
    assert_string_equal(c.text, "turn+flag+pack:w1g128");
    assert_ok(bl_chain_set(&c, "abits", "1", &used, &e));
    assert_refused(bl_chain_renew(&c, &e), BL_E_CONFIG, "at least 2 bits");
    bl_chain_free(&c);

    bl_text t = {0}; /* as earlier versions called it */
    assert_ok(bl_chain_parse(toys, "turn+pack:w4+flag", &c, &e));
    assert_string_equal(c.text, "turn+pack:w4g128+flag");
    assert_ok(bl_chain_short_text(&c, &t, &e));
    assert_string_equal(t.s, "turn+pack:w4+flag");
    bl_text_free(&t);
    bl_chain_free(&c);
}

static void chains_survive_failure_of_every_allocation(void **state)
{
    (void)state;
    bl_err e = {0};
    uint64_t live = bl_alloc_live();
    for (uint64_t k = 1;; k++) {
        bl_method_chain c = {0};
        bl_alloc_fail_at(k, false);
        bl_status st = bl_chain_parse(toys, "turn+flag+pack:w3pc+flag", &c, &e);
        bool reached = bl_alloc_count() >= k;
        bl_alloc_fail_at(0, false);
        if (st == BL_OK) bl_chain_free(&c);
        assert_true(bl_alloc_live() == live);
        if (!reached) {
            assert_ok(st);
            break;
        }
        assert_true(st == BL_E_NOMEM);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(text_has_one_form),
        cmocka_unit_test(json_goes_both_ways),
        cmocka_unit_test(options_as_json_show_every_row),
        cmocka_unit_test(what_cannot_be_is_refused_with_a_sentence),
        cmocka_unit_test(json_that_cannot_be_is_refused),
        cmocka_unit_test(every_method_says_what_it_is),
        cmocka_unit_test(survives_failure_of_every_allocation),
        cmocka_unit_test(a_chain_has_one_text_and_the_width_of_its_last_quantizer),
        cmocka_unit_test(head_and_embeddings_are_a_stage_of_any_method_that_rounds),
        cmocka_unit_test(what_a_method_needs_depends_on_its_options),
        cmocka_unit_test(a_chain_that_cannot_be_is_refused),
        cmocka_unit_test(a_chain_is_read_from_json_as_from_text),
        cmocka_unit_test(options_of_a_chain_are_recorded_by_stage),
        cmocka_unit_test(options_that_are_set_are_looked_at_together),
        cmocka_unit_test(chains_survive_failure_of_every_allocation),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
