/* checkpoint_config.c - a configuration as JSON and back, and the list of parameters that it has. */
#include "test.h"
#include "harness/checkpoint/config.h"

static bl_config filled(const bl_arch *a, uint32_t optional)
{
    return (bl_config){.dim = 64,
                       .ffn_dim = 96,
                       .n_layers = 3,
                       .n_heads = 4,
                       .n_kv_heads = 2,
                       .head_dim = 32,
                       .vocab = 100,
                       .max_len = 512,
                       .eps = 1e-6,
                       .rope_theta = 123456.5,
                       .rope_factor = 4.25,
                       .rope_low = 0.1,
                       .rope_high = 31,
                       .rope_original = 128,
                       .rope_attention = 1.1386294361119891,
                       .rope_exact = true,
                       .tied = true,
                       .turned_keys = true,
                       .bos = -1,
                       .eos = 7,
                       .window = 300,
                       .arch = a,
                       .roles = a->has | (a->may & optional)};
}

static bl_status back(const char *json, size_t n, bl_config *c, bl_err *e)
{
    bl_json *j;
    assert_int_equal(bl_json_parse(json, n, "bitladder.json", BL_JSON_PLAIN, &j, e), BL_OK);
    bl_status st = bl_config_get(j, c, e);
    bl_json_free(j);
    return st;
}

/* The text names every field, so equal texts are equal configurations. */
static void every_field_of_every_architecture_comes_back(void **state)
{
    (void)state;
    bl_err e = {0};
    const bl_arch *a;
    static const uint32_t optional[] = {0, BL_ROLES_ATTENTION_BIAS, BL_ROLES_MLP_BIAS, UINT32_MAX};
    for (size_t i = 0; (a = bl_arch_at(i)); i++)
        for (size_t k = 0; k < BL_COUNT(optional); k++)
            for (int rope = 0; rope < BL_N_ROPES; rope++) {
                bl_config c = filled(a, optional[k]), d = {0};
                bl_text t = {0}, again = {0};
                c.rope = (bl_rope_scaling)rope;
                bl_config_put(&t, &c);
                assert_ok(back(t.s, t.n, &d, &e));
                assert_ptr_equal(d.arch, a);
                assert_int_equal(d.roles, c.roles);
                assert_int_equal(d.rope, rope);
                assert_int_equal(d.window, 300);
                assert_true(d.rope_exact && d.tied && d.turned_keys && d.rope_attention == c.rope_attention &&
                            d.rope_theta == 123456.5);
                bl_config_put(&again, &d);
                assert_string_equal(again.s, t.s);
                bl_text_free(&t);
                bl_text_free(&again);
            }
}

static void what_is_not_a_configuration_is_refused(void **state)
{
    (void)state;
    static const struct {
        const char *from, *to, *phrase;
    } rows[] = {{"\"arch\":\"qwen3\"", "\"arch\":\"qwen9\"", "architecture 'qwen9' is not known"},
                {"\"self_attn.q_proj.bias\"", "\"self_attn.q_norm.weight\"",
                 "a model of kind qwen3 has no 'self_attn.q_norm.weight'"},
                {"\"rope\":0", "\"rope\":9", "config.rope is 9"},
                {"\"dim\":64", "\"wide\":64", "'dim' is missing"}};
    for (size_t i = 0; i < BL_COUNT(rows); i++) {
        bl_err e = {0};
        bl_config c = filled(bl_arch_find("qwen3"), UINT32_MAX);
        bl_text t = {0}, bad = {0};
        bl_config_put(&t, &c);
        const char *at = strstr(t.s, rows[i].from);
        assert_non_null(at);
        bl_text_addf(&bad, "%.*s%s%s", (int)(at - t.s), t.s, rows[i].to, at + strlen(rows[i].from));
        assert_refused(back(bad.s, bad.n, &c, &e), BL_E_FORMAT, rows[i].phrase);
        bl_text_free(&t);
        bl_text_free(&bad);
    }
}

/* By index, by role and block, and counted: the same parameters; roles of a block in the order of the forward pass. */
static void the_list_of_parameters_is_one_whichever_way_it_is_walked(void **state)
{
    (void)state;
    const bl_arch *a;
    for (size_t k = 0; (a = bl_arch_at(k)); k++) {
        bl_config c = filled(a, UINT32_MAX);
        int64_t weights = 0, linears = 0;
        size_t i = 0;
        bl_param p, q;
        int last = -1;
        for (; bl_param_at(&c, i, &p); i++) {
            assert_true(bl_param_of(&c, p.role, p.block, &q));
            assert_string_equal(p.name, q.name);
            assert_true(p.block < 0 || (int)p.role > last || p.role == BL_ROLE_ATTN_NORM);
            last = (int)p.role;
            weights += p.out * p.in;
            if (bl_roles[p.role].kind == BL_KIND_LINEAR) linears += p.out * p.in;
        }
        assert_int_equal(p.role, BL_ROLE_NORM); /* tied: nothing after the norm */
        assert_int_equal(weights, bl_config_params(&c));
        assert_int_equal(linears, bl_config_linear_params(&c));
        c.tied = false;
        assert_true(bl_param_at(&c, i, &p));
        assert_string_equal(p.name, "lm_head.weight");
        assert_false(bl_param_at(&c, i + 1, &p));
        assert_false(bl_param_of(&c, BL_ROLE_Q, 3, &p));
        assert_false(bl_param_of(&c, BL_ROLE_Q, -1, &p));
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_field_of_every_architecture_comes_back),
        cmocka_unit_test(what_is_not_a_configuration_is_refused),
        cmocka_unit_test(the_list_of_parameters_is_one_whichever_way_it_is_walked),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
