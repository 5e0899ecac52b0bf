/* main.c - joins the registries into one bl_program and hands it to the command line. */
#include "harness/cli/cli.h"
#include "methods/registry.h"
#include "tasks/registry.h"

int main(int argc, char **argv)
{
    const bl_program program = {.methods = bl_methods, .tasks = bl_tasks};
    return bl_cli_main(&program, argc, argv);
}
