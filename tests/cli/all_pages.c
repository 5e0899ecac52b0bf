/* all_pages.c - what the program says of itself: manual page, completion, methods and tasks by name. */
#include "verbs_fixture.h"
#include "harness/cli/cli.h"

/* Every verb with every option of its, every method and task name: nothing that the program knows is left out. */
static void the_manual_page_has_every_verb_and_every_option(void **state)
{
    (void)state;
    static const char *const sections[] = {"NAME",  "SYNOPSIS",    "DESCRIPTION", "VERBS",      "METHODS",
                                           "TASKS", "ENVIRONMENT", "FILES",       "EXIT STATUS"};
    ran man = SAY(NULL, "internal", "man");
    char want[256];
    size_t verbs = 0;
    for (size_t i = 0; i < BL_COUNT(sections); i++) {
        snprintf(want, sizeof want, "\n.SH %s\n", sections[i]);
        assert_non_null(strstr(man.out, want));
    }
    for (size_t v = 0; bl_verbs[v]; v++) {
        if (bl_verbs[v]->hidden) continue;
        verbs++;
        snprintf(want, sizeof want, "\n.SS \"%s ", bl_verbs[v]->name);
        char *part = strstr(man.out, want);
        if (!part) fail_msg("the page lacks the verb %s", bl_verbs[v]->name);
        char *next = strstr(part + 4, "\n.S");
        for (const bl_opt *o = bl_verbs[v]->opts; o->type != BL_OPT_END; o++) {
            bl_text name = {0};
            bl_text_add(&name, "\\-\\-");
            for (const char *s = o->name; *s; s++) bl_text_addf(&name, *s == '-' ? "\\-" : "%c", *s);
            char *at = strstr(part, name.s);
            if (!at || (next && at > next)) fail_msg("%s: the page lacks --%s", bl_verbs[v]->name, o->name);
            bl_text_free(&name);
        }
        snprintf(want, sizeof want, "  %-9s ", bl_verbs[v]->name);
        ran help = SAY(NULL, "--help");
        assert_non_null(strstr(help.out, want));
        ran_free(&help);
    }
    assert_true(verbs > 12);
    ran_free(&man);
}

/* What is typed after a method's name is what is shown of its options, and the list of tasks has what one chooses by.
 */
static void names_are_shown_with_what_one_chooses_by(void **state)
{
    (void)state;
    static const struct {
        const char *args[4], *out;
    } rows[] = {
        {{"show", "rtn"}, "\n  w1 .. w8 "},
        {{"show", "rtn"}, "\n  a0, a2 .. a8 "},
        {{"show", "awq"}, "\n  w2 .. w8 "},
        {{"show", "quip"}, "\n  w2 .. w4 "},
        {{"show", "rtn"}, "\n  gN, pc "},
        {{"show", "rtn"}, "\n  +range=zero|minmax|clip "},
        {{"show", "rtn"}, "\n  +symmetric "},
        {{"show", "quarot"}, "\n  options, after quarot\n  +r1=false "},
        {{"show", "gptq"}, "\n  +head, +embeddings "},
        {{"show", "gsm8k:cot8"}, "\n  shots      8\n"},
        {{"show", "arc_challenge:val"}, "\n  split      validation\n"},
        {{"show", "winogrande"}, "not found: winogrande/dev.jsonl"},
        {{"list", "tasks"},
         "\nprimer_choice            test                     0  96 items             acc,acc_norm\n"},
        {{"list", "tasks"}, "\nwinogrande:sample        sample of validation     0+ not here             acc\n"},
        {{"list", "tasks"}, "\narc_challenge:val        validation               0+ not here "},
        {{"list", "tasks"}, "\nmmlu:0shot               test                     0  not here "},
        {{"show", "hellaswag:olmes1000"}, "\n  more shots NAME:Nshot"},
        {{"list", "tasks"}, "\nptb-new:gptq2048         test "},
        {{"list", "tasks"}, "\naqua                     test                     0+ not here             acc\n"},
        {{"list", "shapes"}, "synth:smollm2-135m       llama, 30 blocks, 576 wide, 1.062e+08 weights in them\n"},
        {{"list", "tasks", "--json"},
         "\"name\": \"arc_easy\", \"doc\": \"ARC\", \"split\": \"test\", \"shots\": 0, \"here\": false"},
        {{"doctor"}, "not here     wikitext2:gptq2048, "},
    };
    for (size_t i = 0; i < BL_COUNT(rows); i++) {
        ran r = said(NULL, rows[i].args);
        if (r.code || !strstr(r.out, rows[i].out)) fail_msg("%s %s: %s", rows[i].args[0], rows[i].args[1], r.out);
        if (i + 1 == BL_COUNT(rows)) assert_true(lines_of(r.out) < 45);
        for (const char *line = r.out; i + 1 == BL_COUNT(rows) && *line;) { /* it fits a screen */
            size_t n = strcspn(line, "\n");
            assert_true(n < 160);
            line += n + (line[n] == '\n');
        }
        ran_free(&r);
    }
}

static void kernels_that_this_machine_cannot_run_are_marked(void **state)
{
    (void)state;
    bl_err e = {0};
    static const char row[] = "few_int8_cuda            decoded in registers, tensor cores, 16 outputs a block";
    ran r = SAY(NULL, "list", "kernels");
    expect(&r, 0, NULL);
    const char *line = strstr(r.out, row);
    if (line) { /* built with CUDA */
        line += strlen(row);
        if (bl_device_check("cuda", &e) == BL_OK) assert_true(*line == '\n');
        else assert_memory_equal(line, " (not here: there is no such device)\n", 37);
    }
    assert_non_null(strstr(r.out, "linear_int8_ref          plain C\n"));
    ran_free(&r);
}

static void pages_are_understood_by_the_programs_that_read_them(void **state)
{
    (void)state;
    ran man = SAY(NULL, "internal", "man"), bash = SAY(NULL, "internal", "completion");
    char command[9000];
    study_write(S.dir, "b.1", man.out);
    study_write(S.dir, "b.bash", bash.out);
    ran_free(&man);
    ran_free(&bash);
    if (system("command -v groff > /dev/null") == 0) {
        snprintf(command, sizeof command, "groff -man -Tutf8 -ww '%s' 2>&1 >/dev/null | grep . && exit 1 || exit 0",
                 filled("@dir/b.1"));
        assert_int_equal(system(command), 0);
    }
    if (system("command -v bash > /dev/null") == 0) {
        snprintf(command, sizeof command,
                 "bash -c 'source \"%s\" && COMP_WORDS=(bitladder table --format \"\") COMP_CWORD=3 && _bitladder && "
                 "test \"${COMPREPLY[*]}\" = \"md csv tex json\" && "
                 "COMP_WORDS=(bitladder qua) COMP_CWORD=1 && _bitladder && test \"${COMPREPLY[*]}\" = quantize && "
                 "COMP_WORDS=(bitladder run --task piqa,openb) COMP_CWORD=3 && _bitladder && "
                 "test \"${COMPREPLY[*]}\" = piqa,openbookqa && "
                 "COMP_WORDS=(bitladder run --method base,rt) COMP_CWORD=3 && _bitladder && "
                 "test \"${COMPREPLY[*]}\" = base,rtn && "
                 "COMP_WORDS=(bitladder plot runs/a par) COMP_CWORD=3 && _bitladder && "
                 "test \"${COMPREPLY[*]}\" = pareto && "
                 "COMP_WORDS=(bitladder show nf4_s) COMP_CWORD=2 && _bitladder && "
                 "test \"${COMPREPLY[*]}\" = nf4_shift'",
                 filled("@dir/b.bash"));
        assert_int_equal(system(command), 0);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_manual_page_has_every_verb_and_every_option),
        cmocka_unit_test(names_are_shown_with_what_one_chooses_by),
        cmocka_unit_test(kernels_that_this_machine_cannot_run_are_marked),
        cmocka_unit_test(pages_are_understood_by_the_programs_that_read_them),
    };
    return cmocka_run_group_tests_name("pages", tests, begin_study, end_study);
}
