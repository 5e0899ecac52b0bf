/* plot.c - writes <stem>.csv and <stem>.gp, then lets gnuplot draw.
 *
 * The script is whole in itself: a head with the names that this figure has, the common style, the figure. It reads the
 * csv and writes the picture beside it, so `gnuplot <stem>.gp` in that directory draws the same picture again. Names
 * from results never become commands: they stand in quoted strings in which every byte that could end or change the
 * string is written as a number.
 */
#include "plot.h"
#include "data.h"
#include "kernels/base/fs.h"

#include <errno.h>
#include <fcntl.h>
#include <spawn.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

extern char **environ;

/* The scripts in plots/, as text; the build writes them from the .gp files. */
#define BL_PLOT(id, data, doc) extern const unsigned char bl_plot_script_##id[];
#include "registry.def"
#undef BL_PLOT
extern const unsigned char bl_plot_style[];

static const struct {
    bl_plot plot;
    const unsigned char *script;
} plots[] = {
#define BL_PLOT(id, data, doc) {{#id, doc, data}, bl_plot_script_##id},
#include "registry.def"
#undef BL_PLOT
};

const bl_plot *bl_plot_at(size_t i) { return i < BL_COUNT(plots) ? &plots[i].plot : NULL; }

const bl_plot *bl_plot_find(const char *name)
{
    for (size_t i = 0; i < BL_COUNT(plots); i++)
        if (!strcmp(plots[i].plot.name, name)) return &plots[i].plot;
    return NULL;
}

/* ---- the script --------------------------------------------------------------------------------- */
static const struct {
    const char *ending, *terminal;
} forms[] = {
    [BL_PLOT_PNG] =
        {"png", "set terminal pngcairo noenhanced size 1280,800 font \"Sans,15\" linewidth 1.5 background \"#ffffff\""},
    [BL_PLOT_SVG] = {"svg",
                     "set terminal svg noenhanced size 960,600 font \"Sans,12\" linewidth 1.2 background \"#ffffff\""},
    [BL_PLOT_PDF] = {"pdf", "set terminal pdfcairo noenhanced size 7.2in,4.5in font \"Sans,10\" linewidth 1.2"},
    [BL_PLOT_DUMB] = {"txt", "set terminal dumb noenhanced size 110,34"},
};

/* A gnuplot string: what is not a plain character is an octal escape, so no byte of a name is ever syntax. */
static void put_string(bl_text *out, const char *s)
{
    bl_text_add(out, "\"");
    for (; *s; s++) {
        unsigned char c = (unsigned char)*s;
        if (c >= 0x80 || (c >= ' ' && c != '"' && c != '\\' && c != '`' && c != 0x7f)) bl_text_addn(out, s, 1);
        else bl_text_addf(out, "\\%03o", c);
    }
    bl_text_add(out, "\"");
}

/* Has an earlier line this text in this field? Lines of figures are few. */
static bool seen_before(const bl_text *csv, const char *line, int field, const char *from, size_t n)
{
    for (const char *l = strchr(csv->s, '\n') + 1; l < line; l = strchr(l, '\n') + 1) {
        const char *p = l + 1;
        if (field == 1) p = strchr(p, '"') + 3;
        if (!strncmp(p, from, n) && p[n] == '"') return true;
    }
    return false;
}

/* The different texts of the first or second field, in their order. Both are quoted and hold no quote. */
static bl_status put_names(bl_text *out, const char *array, const bl_text *csv, int field, bl_err *e)
{
    bl_text list = {0};
    size_t n = 0;

    for (const char *line = strchr(csv->s, '\n') + 1; *line; line = strchr(line, '\n') + 1) {
        const char *from = line + 1;
        if (field == 1) from = strchr(from, '"') + 3;
        size_t length = strcspn(from, "\"");
        if (seen_before(csv, line, field, from, length)) continue;
        char *name = bl_strndup(from, length, e);
        if (!name) {
            bl_text_free(&list);
            return BL_E_NOMEM;
        }
        bl_text_add(&list, n++ ? ", " : "");
        put_string(&list, name);
        bl_free(name);
    }
    bl_text_addf(out, "array %s[%zu] = [%s]\n", array, n, list.s ? list.s : "");
    out->failed = out->failed || list.failed;
    bl_text_free(&list);
    return bl_text_check(out, e);
}

static bl_status write_script(const bl_plot *p, bl_plot_format f, const char *stem, const bl_text *csv, bl_text *out,
                              bl_err *e)
{
    size_t at = 0;
    bl_text name = {0};
    bl_status st;

    while (strcmp(plots[at].plot.name, p->name)) at++;
    bl_text_addf(out,
                 "# %s: %s\n# Drawn by bitladder %s. Run gnuplot on this file, in its directory, to draw it again.\n",
                 p->name, p->doc, BL_VERSION);
    bl_text_addf(&name, "%s.csv", stem);
    bl_text_add(out, "data = ");
    put_string(out, name.s ? name.s : "");
    name.n = 0;
    bl_text_addf(&name, "%s.%s", stem, forms[f].ending);
    if (f != BL_PLOT_DUMB) {
        bl_text_add(out, "\nif (!exists(\"picture\")) picture = ");
        put_string(out, name.s ? name.s : "");
        bl_text_addf(out, "\n%s\nset output picture\n", forms[f].terminal);
    } else {
        bl_text_addf(out, "\n%s\n", forms[f].terminal);
    }
    bl_text_addf(out, "is_text = %d\n", f == BL_PLOT_DUMB);
    BL_TRY(put_names(out, "P", csv, 0, e));
    BL_TRY(put_names(out, "S", csv, 1, e));
    bl_text_addf(out, "\n%s\n%s", (const char *)bl_plot_style, (const char *)plots[at].script);
    st = bl_text_check(out, e);
out:
    bl_text_free(&name);
    return st;
}

/* ---- gnuplot ------------------------------------------------------------------------------------ */
/* Reads what the child says until it closes the pipe. */
static bl_status drain(int fd, bl_text *out, bl_err *e)
{
    char buf[4096];
    ssize_t n;

    while ((n = read(fd, buf, sizeof buf)) > 0 || (n < 0 && errno == EINTR))
        if (n > 0) bl_text_addn(out, buf, (size_t)n);
    return bl_text_check(out, e);
}

/* gnuplot in `dir` on `script`; its words, both streams, in `said`. No shell: argv goes to it as it is. */
static bl_status run_gnuplot(const char *dir, const char *script, const char *picture, bl_text *said, bl_err *e)
{
    posix_spawn_file_actions_t act;
    char *argv[] = {(char *)(uintptr_t) "gnuplot", (char *)(uintptr_t) "-e", NULL, NULL, NULL};
    bl_text set = {0}, file = {0};
    int fd[2] = {-1, -1}, status = 0, failed;
    pid_t pid;
    bl_status st;

    bl_text_add(&set, "picture = ");
    put_string(&set, picture);
    bl_text_addf(&file, "./%s", script);
    BL_TRY(bl_text_check(&set, e));
    BL_TRY(bl_text_check(&file, e));
    argv[2] = set.s;
    argv[3] = file.s;
    if (pipe2(fd, O_CLOEXEC) != 0) {
        st = bl_fail(e, BL_E_IO, "no pipe for gnuplot: %s", strerror(errno));
        goto out;
    }
    posix_spawn_file_actions_init(&act);
    posix_spawn_file_actions_addchdir_np(&act, dir);
    posix_spawn_file_actions_addopen(&act, 0, "/dev/null", O_RDONLY, 0);
    posix_spawn_file_actions_adddup2(&act, fd[1], 1);
    posix_spawn_file_actions_adddup2(&act, fd[1], 2);
    failed = posix_spawnp(&pid, "gnuplot", &act, NULL, argv, environ);
    posix_spawn_file_actions_destroy(&act);
    close(fd[1]);
    fd[1] = -1;
    if (failed) {
        st = bl_fail(e, BL_E_MISSING, "gnuplot is not there (%s); package gnuplot-nox", strerror(failed));
        goto out;
    }
    st = drain(fd[0], said, e);
    while (waitpid(pid, &status, 0) < 0 && errno == EINTR) continue;
    if (st != BL_OK) goto out;
    if (WIFSIGNALED(status)) st = bl_fail(e, BL_E_MISSING, "gnuplot was ended by signal %d", WTERMSIG(status));
    else if (WEXITSTATUS(status) == 127) st = bl_fail(e, BL_E_MISSING, "gnuplot is not there; package gnuplot-nox");
    else if (WEXITSTATUS(status))
        st = bl_fail(e, BL_E_MISSING, "gnuplot failed: %.300s", said->s ? said->s : "it says nothing");
out:
    if (fd[0] >= 0) close(fd[0]);
    if (fd[1] >= 0) close(fd[1]);
    bl_text_free(&set);
    bl_text_free(&file);
    return st;
}

/* ---- a figure ----------------------------------------------------------------------------------- */
/* "dir/fig.png" is the directory "dir" and the stem "fig". */
static bl_status split(const char *path, char **dir, char **stem, bl_err *e)
{
    const char *slash = strrchr(path, '/'), *name = slash ? slash + 1 : path, *end = strrchr(name, '.');

    *dir = slash == path ? bl_strdup("/", e) : slash ? bl_strndup(path, (size_t)(slash - path), e) : bl_strdup(".", e);
    *stem = end && end > name ? bl_strndup(name, (size_t)(end - name), e) : bl_strdup(name, e);
    if (!*dir || !*stem) return BL_E_NOMEM;
    return **stem ? BL_OK : bl_fail(e, BL_E_CONFIG, "%s: is not the name of a picture", path);
}

static bl_status write_beside(const char *dir, const char *stem, const char *ending, const bl_text *t, bl_err *e)
{
    char *name = bl_format_text(e, "%s.%s", stem, ending), *path = name ? bl_join(dir, name, e) : NULL;
    bl_status st = path ? bl_write_file(path, t->s, t->n, e) : BL_E_NOMEM;
    bl_free(name);
    bl_free(path);
    return st;
}

bl_status bl_plot_draw(const bl_plot *p, const bl_plot_input *in, bl_plot_format f, const char *path, bl_text *out,
                       bl_err *e)
{
    bl_status st;
    char *dir = NULL, *stem = NULL, *script = NULL, *picture = NULL, *from = NULL;
    bl_text csv = {0}, gp = {0}, said = {0};
    size_t n = 0;

    BL_TRY(split(path, &dir, &stem, e));
    BL_TRY(p->data(in, &csv, &n, e));
    if (n == 0) {
        st = bl_fail(e, BL_E_MISSING, "nothing in the results fits the figure %s (%s)", p->name, p->doc);
        goto out;
    }
    BL_TRY(write_script(p, f, stem, &csv, &gp, e));
    BL_TRY(bl_make_dirs(dir, e));
    BL_TRY(write_beside(dir, stem, "csv", &csv, e));
    BL_TRY(write_beside(dir, stem, "gp", &gp, e));

    /* The picture is drawn under another name and renamed, so that an old one is never half replaced. */
    if (!(script = bl_format_text(e, "%s.gp", stem)) ||
        !(picture = bl_format_text(e, "%s.%s.tmp.%ld", stem, forms[f].ending, (long)getpid())) ||
        !(from = bl_join(dir, picture, e))) {
        st = BL_E_NOMEM;
        goto out;
    }
    if ((st = run_gnuplot(dir, script, picture, &said, e)) != BL_OK) {
        unlink(from); /* what a gnuplot that died may have left */
        if (st == BL_E_MISSING)
            bl_within(e, "figure %s: %s/%s.csv and %s.gp are written, the picture is not", p->name, dir, stem, stem);
        goto out;
    }
    if (f == BL_PLOT_DUMB) {
        bl_text_addn(out, said.s ? said.s : "", said.n);
        st = bl_text_check(out, e);
        goto out;
    }
    if (!bl_exists(from)) {
        st = bl_fail(e, BL_E_MISSING, "gnuplot wrote no picture: %.300s", said.s ? said.s : "it says nothing");
        goto out;
    }
    st = bl_rename(from, path, e);
out:
    bl_free(dir);
    bl_free(stem);
    bl_free(script);
    bl_free(picture);
    bl_free(from);
    bl_text_free(&csv);
    bl_text_free(&gp);
    bl_text_free(&said);
    return st;
}
