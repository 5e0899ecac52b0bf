/* page.c - where things stand in a picture, and the head of its script. */
#include "page.h"
#include <math.h>
#include <string.h>

enum { HEADING = 10 }; /* size of letters */

void bl_page_free(bl_page *p)
{
    for (size_t i = 0; i < p->n_panels && p->panel; i++) bl_text_free(&p->panel[i]);
    for (size_t i = 0; i < p->n_entries; i++) bl_free(p->entry[i].name);
    bl_free(p->panel);
    bl_free(p->box);
    bl_free(p->entry);
    bl_free(p->taken);
    bl_free(p->named);
    bl_text_free(&p->csv);
    bl_text_free(&p->script);
    bl_text_free(&p->texts);
    bl_text_free(&p->frame);
    bl_text_free(&p->heading);
    bl_text_free(&p->about);
    bl_text_free(&p->notes);
    *p = (bl_page){0};
}

double bl_page_size(const bl_page *p) { return p->text ? 10 : 8; }
double bl_page_small(const bl_page *p) { return p->text ? 10 : 7; }
double bl_page_letter(const bl_page *p) { return p->text ? 5 : 0.64 * bl_page_small(p); }
static double line_of(const bl_page *p, double size) { return p->text ? 10 : size * 1.4; }

/* Widths of DejaVu Sans, the widest of the usual fonts, in classes. */
double bl_page_width(const bl_page *p, const char *s, double size)
{
    double w = 0;
    for (; *s; s++) {
        unsigned char c = (unsigned char)*s;
        if ((c & 0xc0) == 0x80) continue;
        w += p->text                            ? 0.5
             : c >= 0x80                        ? 0.7
             : strchr("iljI.,:;'|!()[]ft /", c) ? 0.37
             : strchr("mwMW%@", c)              ? 0.95
             : c >= 'A' && c <= 'Z'             ? 0.68
                                                : 0.62;
    }
    return w * size;
}

void bl_page_fit(const bl_page *p, const char *s, double size, double most, char out[160])
{
    size_t n = strlen(s);

    snprintf(out, 160, "%s", n < 160 ? s : "");
    for (size_t keep = BL_MIN(n, 150); (n >= 160 && !*out) || bl_page_width(p, out, size) > most; keep--) {
        size_t head = (keep + 1) / 2, tail = keep / 2;
        while (head && ((unsigned char)s[head] & 0xc0) == 0x80) head--;
        while (tail && ((unsigned char)s[n - tail] & 0xc0) == 0x80) tail--;
        snprintf(out, 160, "%.*s…%s", (int)head, s, s + n - tail);
        if (keep <= 4) return;
    }
}

/* ---- text of the script ------------------------------------------------------------------------- */
void bl_put_string(bl_text *out, const char *s)
{
    bl_text_add(out, "\"");
    for (; *s; s++) {
        unsigned char c = (unsigned char)*s;
        if (c >= 0x80 || (c >= ' ' && c != '"' && c != '\\' && c != '`' && c != 0x7f)) bl_text_addn(out, s, 1);
        else bl_text_addf(out, "\\%03o", c);
    }
    bl_text_add(out, "\"");
}

/* Quotes and control characters would end a field, and gnuplot cuts a quoted field at a comma. */
void bl_put_field(bl_text *out, const char *s)
{
    bl_text_add(out, "\"");
    for (; *s; s++)
        bl_text_addn(out, *s == '"' ? "'" : *s == ',' ? ";" : (unsigned char)*s < 0x20 || *s == 0x7f ? " " : s, 1);
    bl_text_add(out, "\"");
}

int bl_page_text(bl_page *p, const char *s)
{
    char *shown = bl_strdup(s, NULL);

    if (p->n_texts++) bl_text_add(&p->texts, ", \\\n  ");
    for (char *c = shown; c && *c; c++)
        if ((unsigned char)*c < ' ' || *c == 0x7f) *c = ' '; /* an svg may hold none */
    if (shown) bl_put_string(&p->texts, shown);
    else p->texts.failed = true;
    bl_free(shown);
    return (int)p->n_texts;
}

bl_text *bl_page_script(bl_page *p, size_t panel) { return &p->panel[panel]; }

/* A terminal's first and last characters are at 0 and 1. */
static double across(const bl_page *p, double x) { return p->text ? floor(x / 5) / (p->width / 5 - 1) : x / p->width; }
static double up(const bl_page *p, double y) { return p->text ? floor(y / 10) / (p->height / 10 - 1) : y / p->height; }

static void put_screen(const bl_page *p, bl_text *out, const char *before, double x, double y)
{
    bl_text_addf(out, "%s screen ", before);
    bl_put_number(out, across(p, x));
    bl_text_add(out, ", screen ");
    bl_put_number(out, up(p, y));
}

static void put_label(bl_page *p, bl_text *out, const char *s, double x, double y, const bl_mark_at *how, int style)
{
    bl_text_addf(out, "set label %d T[%d]", ++p->n_marks, bl_page_text(p, s));
    put_screen(p, out, " at", x, y);
    bl_text_add(out, how->align == 'c' ? " center" : how->align == 'r' ? " right" : " left");
    if (how->angle != 0) {
        bl_text_add(out, " rotate by ");
        bl_put_number(out, how->angle);
    }
    if (!p->text) {
        bl_text_add(out, " font ',");
        bl_put_number(out, how->size > 0 ? how->size : bl_page_small(p));
        bl_text_addf(out, "' textcolor rgb '%s'", how->color ? how->color : "#333333");
    }
    if (style) bl_text_addf(out, " point linestyle %d offset character 1, 0", style);
    bl_text_add(out, "; ");
}

void bl_page_label(bl_page *p, size_t panel, const char *s, double x, double y, bl_mark_at how)
{
    put_label(p, &p->panel[panel], s, x, y, &how, 0);
}

void bl_page_line(bl_page *p, size_t panel, bl_box b, const char *style)
{
    bl_text *out = &p->panel[panel];
    bl_text_addf(out, "set arrow %d", ++p->n_marks);
    put_screen(p, out, " from", b.left, b.bottom);
    put_screen(p, out, " to", b.right, b.top);
    bl_text_addf(out, " %s%s; ", strstr(style, "head ") ? "" : "nohead ", style);
}

/* ---- head and foot ------------------------------------------------------------------------------ */
void bl_page_heading(bl_page *p, const char *s) { bl_text_add(&p->heading, s); }

void bl_page_about(bl_page *p, const char *s)
{
    bl_text_add(&p->about, s);
    bl_text_add(&p->about, "\n");
}

void bl_page_note(bl_page *p, const char *s)
{
    if (p->notes.n) bl_text_add(&p->notes, " ");
    bl_text_add(&p->notes, s);
}

bl_status bl_page_legend(bl_page *p, int style, const char *name, bl_err *e)
{
    bl_status st = bl_grow(&p->entry, &p->cap_entries, p->n_entries + 1, sizeof *p->entry, e);
    if (st != BL_OK) return st;
    char *copy = bl_strdup(name, e);
    if (!copy) return BL_E_NOMEM;
    p->entry[p->n_entries++] = (struct bl_entry){copy, style};
    return BL_OK;
}

/* Breaks `s` into lines no wider than the page; with `out`, labels from `top` down. Number of lines. */
static int put_lines(bl_page *p, bl_text *out, const char *s, double size, double top, const char *color)
{
    double most = p->width - 12, line = line_of(p, size);
    int n = 0;

    while (*s) {
        size_t end = strcspn(s, "\n"), take = 0;
        char buf[512];
        for (size_t k = 1; k <= end; k++) { /* the longest part that ends at a space and fits */
            if (k < end && s[k] != ' ') continue;
            snprintf(buf, sizeof buf, "%.*s", (int)BL_MIN(k, sizeof buf - 1), s);
            if (take && bl_page_width(p, buf, size) > most) break;
            take = k;
        }
        snprintf(buf, sizeof buf, "%.*s", (int)BL_MIN(take, sizeof buf - 1), s);
        if (out && take)
            put_label(p, out, buf, 6, top - (n + 0.5) * line, &(bl_mark_at){.size = size, .color = color}, 0);
        n++;
        s += take;
        while (*s == ' ') s++;
        if (*s == '\n') s++;
    }
    return n;
}

/* Entries side by side, as many as fit in a line; only what is longer than a line is cut. Number of lines. */
static int put_legend(bl_page *p, bl_text *out, double top)
{
    double size = bl_page_size(p), line = line_of(p, size), x = 6;
    int n = p->n_entries ? 1 : 0;

    for (size_t i = 0; i < p->n_entries; i++) {
        char name[160];
        double mark = p->entry[i].style ? 12 : 0;
        bl_page_fit(p, p->entry[i].name, size, p->width - mark - 18, name);
        double wide = mark + bl_page_width(p, name, size) + 12;
        if (x > 6 && x + wide > p->width) {
            x = 6;
            n++;
        }
        if (out)
            put_label(p, out, name, x + mark / 2, top - (n - 0.5) * line, &(bl_mark_at){.size = size},
                      p->entry[i].style);
        x += wide;
    }
    return n;
}

bl_status bl_page_grid(bl_page *p, size_t n, double height, bl_err *e)
{
    static const int columns[] = {1, 1, 2, 3, 2, 3, 3, 4, 4, 3, 4, 4, 4};
    double small = bl_page_small(p), line = line_of(p, bl_page_size(p)), foot, head;
    int wide = p->columns ? p->columns : n < BL_COUNT(columns) ? columns[n] : 4;

    if (p->text) wide = 1;
    p->width = p->text ? 550 : 518.4 + p->wider;
    int down = (int)((n + (size_t)wide - 1) / (size_t)wide);
    head = (p->text ? 0 : 4) + line_of(p, HEADING) +
           line_of(p, small) * put_lines(p, NULL, p->about.s ? p->about.s : "", small, 0, "");
    head += line * put_legend(p, NULL, 0) + (p->n_entries && !p->text ? 3 : 0);
    foot = (p->text ? 10 : 4) + line_of(p, small) * put_lines(p, NULL, p->notes.s ? p->notes.s : "", small, 0, "");

    double title = p->text ? 20 : line + 4,
           left = p->left > 0 ? p->left
                  : p->text   ? 45
                              : 44,
           right = 8 + p->right,
           bottom = p->bottom > 0 ? p->bottom
                    : p->text     ? 30
                                  : 28,
           cell = title + p->above + height + bottom, each = p->width / wide;
    p->height = head + down * cell + foot;
    if (!(p->box = bl_new(n, sizeof *p->box, e)) || !(p->panel = bl_new(n, sizeof *p->panel, e))) return BL_E_NOMEM;
    p->n_panels = n;
    for (size_t i = 0; i < n; i++) {
        double x = each * (double)(i % (size_t)wide), y = p->height - head - cell * (double)(i / (size_t)wide);
        p->box[i] = (bl_box){x + left, x + each - right, y - cell + bottom, y - title - p->above};
    }
    p->frame_top = p->text ? p->height : p->height - 2;
    p->frame_bottom = p->text ? foot - 10 : foot - 2;
    return BL_OK;
}

void bl_page_panel(bl_page *p, size_t i, const char *title, const char *xlabel, const char *ylabel)
{
    const bl_box *b = &p->box[i];
    const double edge[] = {across(p, b->left), across(p, b->right), up(p, b->bottom), up(p, b->top)};
    static const char *const name[] = {"lmargin", "rmargin", "bmargin", "tmargin"};
    bl_text *out = &p->panel[i];
    double from = p->text ? b->left - 20 : b->left - BL_MIN(b->left - 6, p->left > 0 ? p->left - 6 : 30);
    char fitting[160];

    bl_page_fit(p, title, bl_page_size(p), b->right + p->right - from - (p->text ? 120 : 0), fitting);
    for (int k = 0; k < 4; k++) {
        bl_text_addf(out, "set %s at screen ", name[k]);
        bl_put_number(out, edge[k]);
        bl_text_add(out, "; ");
    }
    bl_text_addf(out, "set xlabel T[%d]; ", bl_page_text(p, xlabel));
    if (p->text && *ylabel) { /* a letter is as high as two are wide: no text stands on its side */
        bl_text both = {0};
        bl_text_addf(&both, "%s; up: %s", fitting, ylabel);
        put_label(p, out, both.s ? both.s : "", from, b->top + p->above + 12, &(bl_mark_at){0}, 0);
        bl_text_free(&both);
        bl_text_add(out, "unset ylabel; ");
        return;
    }
    put_label(p, out, fitting, from, b->top + p->above + 9, &(bl_mark_at){.size = bl_page_size(p)}, 0);
    bl_text_add(out, "unset ylabel; ");
    if (*ylabel)
        put_label(p, out, ylabel, b->left - 36, (b->bottom + b->top) / 2,
                  &(bl_mark_at){.size = bl_page_small(p), .align = 'c', .angle = 90}, 0);
}

void bl_page_axis(bl_page *p, size_t panel, const char *axis, const bl_ruler *s)
{
    bl_ruler_put(s, axis, &p->panel[panel]);
}

bl_status bl_page_finish(bl_page *p, bl_err *e)
{
    double small = bl_page_small(p), y = p->frame_top;
    bl_text *out = &p->script;
    bl_status st = BL_OK;

    put_label(p, &p->frame, p->heading.s ? p->heading.s : "", 6, y - line_of(p, HEADING) / 2,
              &(bl_mark_at){.size = HEADING, .color = "#000000"}, 0);
    y -= line_of(p, HEADING);
    y -= line_of(p, small) * put_lines(p, &p->frame, p->about.s ? p->about.s : "", small, y, "#555555");
    put_legend(p, &p->frame, y - (p->text ? 0 : 3));
    put_lines(p, &p->frame, p->notes.s ? p->notes.s : "", small, p->frame_bottom, "#555555");

    bl_text_addf(out, "array T[%zu] = [%s]\n", p->n_texts, p->texts.s ? p->texts.s : "");
    bl_text_addf(out, "FRAME = \"%s\"\narray PANEL[%zu]\n", p->frame.s ? p->frame.s : "", p->n_panels);
    for (size_t i = 0; i < p->n_panels; i++)
        bl_text_addf(out, "PANEL[%zu] = \"%s\"\n", i + 1, p->panel[i].s ? p->panel[i].s : "");
    for (size_t i = 0; i < p->n_panels && st == BL_OK; i++) st = bl_text_check(&p->panel[i], e);
    if (st == BL_OK) st = bl_text_check(&p->texts, e);
    if (st == BL_OK) st = bl_text_check(&p->frame, e);
    if (st == BL_OK) st = bl_text_check(&p->csv, e);
    if (st == BL_OK) st = bl_text_check(&p->heading, e);
    if (st == BL_OK) st = bl_text_check(&p->about, e);
    if (st == BL_OK) st = bl_text_check(&p->notes, e);
    return st == BL_OK ? bl_text_check(out, e) : st;
}

/* ---- names beside points ------------------------------------------------------------------------ */
bl_status bl_page_take(bl_page *p, bl_box what, bl_err *e)
{
    bl_status st = bl_grow(&p->taken, &p->cap_taken, p->n_taken + 1, sizeof *p->taken, e);
    if (st == BL_OK) p->taken[p->n_taken++] = what;
    return st;
}

static bool covers(const bl_page *p, const bl_box *b)
{
    for (size_t i = 0; i < p->n_taken; i++) {
        const bl_box *t = &p->taken[i];
        if (b->left < t->right && b->right > t->left && b->bottom < t->top && b->top > t->bottom) return true;
    }
    return false;
}

static bool is_free(const bl_page *p, const bl_box *panel, const bl_box *b)
{
    if (b->left < panel->left + 1 || b->right > panel->right + 4 || b->bottom < panel->bottom + 1 ||
        b->top > panel->top + 1)
        return false;
    return !covers(p, b);
}

bl_status bl_page_level(bl_page *p, size_t panel, double y, const char *word, const char *style, const char *color,
                        bl_err *e)
{
    enum { STEPS = 60 };
    const bl_box *b = &p->box[panel];
    double size = bl_page_small(p), wide = bl_page_width(p, word, size);
    bl_box best = {0};
    bl_status st = BL_OK;

    bl_page_line(p, panel, (bl_box){b->left, b->right, y, y}, style);
    for (int k = 0; k < 2 * STEPS; k++) { /* above the line from left to right, then below it */
        double left = b->left + 3 + (b->right - b->left - wide - 5) * (k % STEPS) / (STEPS - 1),
               middle = k < STEPS ? y + size * 0.65 : y - size * 0.65;
        bl_box box = {left, left + wide, middle - size * 0.5, middle + size * 0.5};
        if (k == 0) best = box;
        if (covers(p, &box) || box.top > b->top + 2 || box.bottom < b->bottom) continue;
        best = box;
        break;
    }
    bl_page_label(p, panel, word, best.left, (best.bottom + best.top) / 2, (bl_mark_at){.color = color});
    BL_TRY(bl_page_take(p, best, e));
    BL_TRY(bl_page_take(p, (bl_box){b->left, b->right, y - 0.7, y + 0.7}, e));
out:
    return st;
}

static bool crosses(const bl_box *line, const bl_box *name)
{
    enum { STEPS = 64 };
    for (int k = 0; k <= STEPS; k++) {
        double x = line->left + (line->right - line->left) * k / STEPS,
               y = line->bottom + (line->top - line->bottom) * k / STEPS;
        if (x > name->left && x < name->right && y > name->bottom && y < name->top) return true;
    }
    return false;
}

/* A name over somebody's line, or a line through somebody's name. */
static bool tangled(const bl_page *p, const struct bl_named *one)
{
    for (size_t i = 0; i < p->n_named; i++)
        if (crosses(&one->line, &p->named[i].name) || crosses(&p->named[i].line, &one->name)) return true;
    return false;
}

bool bl_page_place(bl_page *p, size_t panel, const char *s, double x, double y, const char *color, bl_err *e)
{
    static const struct {
        double x, y;
    } side[] = {{1, 0},  {-1, 0},  {0, 1},   {0, -1},   {1, 1},    {1, -1},    {-1, 1},    {-1, -1},
                {.5, 1}, {.5, -1}, {-.5, 1}, {-.5, -1}, {1.5, .7}, {1.5, -.7}, {-1.5, .7}, {-1.5, -.7}};
    static const double far_[] = {5, 11, 19, 29, 41, 56, 75, 100};
    char name[160];
    bl_page_fit(p, s, bl_page_small(p), fmin(130, (p->box[panel].right - p->box[panel].left) * 0.6), name);
    double size = bl_page_small(p), wide = bl_page_width(p, name, size), high = size * 1.05,
           least = p->text ? 11 : 0; /* a letter from the error bar */

    for (size_t k = 0; k < BL_COUNT(far_); k++)
        for (size_t i = 0; i < BL_COUNT(side); i++) {
            double d = fmax(least, side[i].x != 0 && side[i].y != 0 ? far_[k] * 0.75 : far_[k]),
                   cx = x + side[i].x * (d + wide / 2), cy = y + side[i].y * (d + high / 2);
            bl_box b = {cx - wide / 2, cx + wide / 2, cy - high / 2, cy + high / 2};
            struct bl_named one = {b, {x, x, y, y}};
            if (k > 0)
                one.line = (bl_box){x + side[i].x * 3, cx - fmax(-1, fmin(1, side[i].x)) * wide / 2, y + side[i].y * 3,
                                    cy - side[i].y * high / 2};
            if (!is_free(p, &p->box[panel], &b) || (!p->text && tangled(p, &one))) continue;
            if (bl_page_take(p, b, e) != BL_OK ||
                bl_grow(&p->named, &p->cap_named, p->n_named + 1, sizeof *p->named, e) != BL_OK)
                return false;
            p->named[p->n_named++] = one;
            bl_page_label(p, panel, name, b.left, cy, (bl_mark_at){.color = color});
            if (k > 0 && !p->text) bl_page_line(p, panel, one.line, "back linewidth 0.5 linecolor rgb '#999999'");
            return true;
        }
    return false;
}
