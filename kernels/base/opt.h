/* opt.h - option rows: one table drives the parser, --help, `show`, spec validation, completion and records.
 *
 *     typedef struct opts { int64_t wbits; const char *out; } opts;
 *     static const bl_opt rows[] = {
 *         {"wbits", BL_OPT_INT, .min = 1, .max = 8, .def.i = 4, .at = offsetof(opts, wbits), .doc = "bits"},
 *         {"out", BL_OPT_TEXT, .at = offsetof(opts, out), .arg = "DIR", .doc = "where results go"},
 *         {0},
 *     };
 *     opts o;
 *     bl_opt_defaults(rows, &o);
 *     BL_TRY(bl_opt_set(rows, &o, "wbits", "3", "--wbits", e));
 *
 * Member types: INT int64_t, REAL double, BOOL bool, CHOICE int (index), TEXT const char * (lent by the caller of set).
 */
#ifndef BL_KERNELS_BASE_OPT_H
#define BL_KERNELS_BASE_OPT_H
#include "bl.h"
#include "json.h"

typedef enum bl_opt_type { BL_OPT_END, BL_OPT_INT, BL_OPT_REAL, BL_OPT_BOOL, BL_OPT_CHOICE, BL_OPT_TEXT } bl_opt_type;
typedef struct bl_opt {
    const char *name; /* long name, dashes; underscores are accepted for dashes */
    bl_opt_type type;
    const char *const *choices; /* CHOICE: NULL-terminated */
    double min, max;            /* INT, REAL: inclusive; both 0 means no bound, INFINITY: open at that end */
    union {
        int64_t i;
        double r;
        bool b;
        int choice;
        const char *s;
    } def;
    size_t at; /* offsetof in the options struct */
    const char *doc;
    const char *arg; /* help: "DIR", "N"; NULL: from the type */
    char letter;     /* short name, 0: none */
    bool mib;        /* INT only: counts MiB; "512MiB" and "24GiB" are taken as well */
    bool repeat;     /* TEXT only: may come again; values are joined by commas (parser: bl_opt_args owns them) */
} bl_opt;

void bl_opt_defaults(const bl_opt *rows, void *opts);
const bl_opt *bl_opt_find(const bl_opt *rows, const char *name); /* '-' equals '_'; NULL */
/* `where` opens the sentence: "method rtn: wbits: 9 is not in 1..8". Unknown names get the nearest. BL_E_CONFIG. */
bl_status bl_opt_set(const bl_opt *rows, void *opts, const char *name, const char *value, const char *where, bl_err *e);
bl_status bl_opt_set_json(const bl_opt *rows, void *opts, const char *name, const bl_json *value, const char *where,
                          bl_err *e);
/* "value" of one row as text, as set would read it back. */
bl_status bl_opt_print(const bl_opt *row, const void *opts, bl_text *out);
bool bl_opt_is_default(const bl_opt *row, const void *opts);

/* Command line of a verb: long options (--name value, --name=value, --flag, --no-flag for BOOL), short letters, "--"
 * and positionals. argv[0] is the first argument, not the program. `args` owns joined repeat values; it is set, and to
 * be freed, whatever is returned. -h/--help sets args->help. */
typedef struct bl_args {
    const char **pos;
    size_t n_pos;
    bool help;
    bl_arena *arena;
} bl_args;
bl_status bl_opt_parse(const bl_opt *rows, void *opts, int argc, char **argv, bl_args *args, bl_err *e);
void bl_args_free(bl_args *args);
/* Help lines: "  --out DIR      where results go   (default: …)", aligned. */
void bl_opt_help(const bl_opt *rows, bl_text *out);
#endif
