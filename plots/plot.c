/* plot.c - writes <stem>.csv and <stem>.gp, then lets gnuplot draw.
 *
 * The script is whole in itself: a head with the names that this figure has, the common style, the figure. It reads the
 * csv and writes the picture beside it, so `gnuplot <stem>.gp` in that directory draws the same picture again. Names
 * from results never become commands: they stand in quoted strings in which every byte that could end or change the
 * string is written as a number.
 */
#include "figures.h"
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
#define BL_PLOT(id, script, make, doc) extern const unsigned char bl_plot_script_##script[];
#include "registry.def"
#undef BL_PLOT
extern const unsigned char bl_plot_style[];

static const struct {
    bl_plot plot;
    const unsigned char *script;
} plots[] = {
#define BL_PLOT(id, script, make, doc) {{#id, doc, make}, bl_plot_script_##script},
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
static const char *const endings[] = {
    [BL_PLOT_PNG] = "png", [BL_PLOT_SVG] = "svg", [BL_PLOT_PDF] = "pdf", [BL_PLOT_DUMB] = "txt"};

const char *bl_plot_ending(bl_plot_format f) { return endings[f]; }

/* The printed size is the page's, whatever the form: letters have the same size in a paper. */
static void put_terminal(bl_text *out, bl_plot_format f, const bl_page *p)
{
    double dots = 200.0 / 72, pixels = 96.0 / 72;
    switch (f) {
    case BL_PLOT_PNG:
        bl_text_addf(out, "set terminal pngcairo noenhanced size %.0f,%.0f font \"Sans,8\" background \"#ffffff\"",
                     p->width * dots, p->height * dots);
        bl_text_add(out, " fontscale 2.0833 linewidth 2.2 pointscale 2.2");
        break;
    case BL_PLOT_SVG:
        bl_text_addf(out, "set terminal svg noenhanced size %.0f,%.0f font \"Sans,8\" background \"#ffffff\"",
                     p->width * pixels, p->height * pixels);
        bl_text_add(out, " fontscale 1.3333 linewidth 1.2");
        break;
    case BL_PLOT_PDF:
        bl_text_add(out, "set terminal pdfcairo noenhanced size ");
        bl_put_number(out, p->width / 72);
        bl_text_add(out, "in,");
        bl_put_number(out, p->height / 72);
        bl_text_add(out, "in font \"Sans,8\" fontscale 0.75 linewidth 1");
        break;
    case BL_PLOT_DUMB:
        bl_text_addf(out, "set terminal dumb noenhanced size %.0f,%.0f", p->width / 5, p->height / 10);
        break;
    }
    bl_text_add(out, "\n");
}

static bl_status write_script(const bl_plot *p, bl_plot_format f, const char *stem, const bl_page *page, bl_text *out,
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
    bl_put_string(out, name.s ? name.s : "");
    bl_text_add(out, "\n");
    name.n = 0;
    bl_text_addf(&name, "%s.%s", stem, endings[f]);
    bl_text_add(out, "if (!exists(\"picture\")) picture = ");
    bl_put_string(out, name.s ? name.s : "");
    bl_text_add(out, "\n");
    put_terminal(out, f, page);
    bl_text_add(out, "set output picture\n");
    bl_text_addf(out, "is_text = %d\nsmall = \",7\"\nps = %s\n", f == BL_PLOT_DUMB,
                 f == BL_PLOT_PDF   ? "0.7"
                 : f == BL_PLOT_SVG ? "1.0"
                                    : "1");
    bl_text_addn(out, page->script.s, page->script.n);
    bl_text_addf(out, "\n%s\n%s", (const char *)bl_plot_style, (const char *)plots[at].script);
    st = bl_text_check(&name, e);
    if (st == BL_OK) st = bl_text_check(out, e);
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
    bl_put_string(&set, picture);
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

bl_status bl_plot_fits(const bl_plot *p, const bl_plot_input *in, bool *fits, bl_err *e)
{
    bl_page page = {0};
    bl_status st = p->make(in, &page, e);
    *fits = st == BL_OK && page.n_points > 0;
    bl_page_free(&page);
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
    bl_page page = {.text = f == BL_PLOT_DUMB};
    bl_text gp = {0}, said = {0};

    BL_TRY(split(path, &dir, &stem, e));
    BL_TRY(p->make(in, &page, e));
    if (!page.n_points) {
        st = bl_fail(e, BL_E_MISSING, "nothing in the results fits the figure %s (%s)", p->name, p->doc);
        goto out;
    }
    BL_TRY(write_script(p, f, stem, &page, &gp, e));
    BL_TRY(bl_make_dirs(dir, e));
    BL_TRY(write_beside(dir, stem, "csv", &page.csv, e));
    BL_TRY(write_beside(dir, stem, "gp", &gp, e));

    /* The picture is drawn under another name and renamed, so that an old one is never half replaced. */
    if (!(script = bl_format_text(e, "%s.gp", stem)) ||
        !(picture = bl_format_text(e, "%s.%s.tmp.%ld", stem, endings[f], (long)getpid())) ||
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
    if (!bl_exists(from)) {
        st = bl_fail(e, BL_E_MISSING, "gnuplot wrote no picture: %.300s", said.s ? said.s : "it says nothing");
        goto out;
    }
    if (f != BL_PLOT_DUMB) {
        st = bl_rename(from, path, e);
        goto out;
    }
    char *picture_text = NULL;
    size_t n = 0;
    st = bl_read_file(from, 1 << 24, &picture_text, &n, e);
    unlink(from);
    if (st == BL_OK) bl_text_addn(out, picture_text, n);
    bl_free(picture_text);
    if (st == BL_OK) st = bl_text_check(out, e);
out:
    bl_free(dir);
    bl_free(stem);
    bl_free(script);
    bl_free(picture);
    bl_free(from);
    bl_page_free(&page);
    bl_text_free(&gp);
    bl_text_free(&said);
    return st;
}

bl_status bl_plot_bytes(const bl_plot *p, const bl_plot_input *in, bl_plot_format f, bl_text *out, bl_err *e)
{
    bl_status st = BL_OK;
    const char *tmp = getenv("TMPDIR");
    char *dir = bl_format_text(e, "%s/bitladder.XXXXXX", tmp && *tmp ? tmp : "/tmp"), *path = NULL, *bytes = NULL;
    size_t n = 0;

    if (!dir) return BL_E_NOMEM;
    if (!mkdtemp(dir)) {
        st = bl_fail(e, BL_E_DISK, "%s: cannot create: %s", dir, strerror(errno));
        bl_free(dir);
        return st;
    }
    if (!(path = bl_join(dir, "picture", e))) {
        st = BL_E_NOMEM;
        goto out;
    }
    BL_TRY(bl_plot_draw(p, in, f, path, out, e));
    if (f == BL_PLOT_DUMB) goto out;
    BL_TRY(bl_read_file(path, 1ull << 30, &bytes, &n, e));
    bl_text_addn(out, bytes, n);
    st = bl_text_check(out, e);
out:
    bl_remove_tree(dir, NULL);
    bl_free(bytes);
    bl_free(path);
    bl_free(dir);
    return st;
}
