/* page.h - a picture before gnuplot sees it: what stands where, in points (1/72 inch) from the lower left corner.
 *
 * A page is a heading, lines that say what was measured where, a legend, panels in a grid, and notes below. It is 7.2
 * inches wide, as wide as the text of a paper, and as high as its panels need. In a terminal a character is 5 x 10
 * points.
 *
 *     bl_page p = {.text = false};
 *     bl_page_heading(&p, "Accuracy against bits per weight");
 *     BL_TRY(bl_page_legend(&p, 1, "rtn g64", e));
 *     BL_TRY(bl_page_grid(&p, 3, 150, e));                    // p.box[0..2]
 *     bl_page_panel(&p, 0, "piqa acc, n = 1838", "bits per weight", "accuracy, %");
 *     bl_text_add(bl_page_script(&p, 0), "set arrow …; ");    // more of that panel, in gnuplot's words
 *     BL_TRY(bl_page_finish(&p, e));                          // p.script: the head of a figure's script
 *
 * Names are data: they are in an array T of quoted strings, and scripts use T[i].
 */
#ifndef BL_PLOTS_PAGE_H
#define BL_PLOTS_PAGE_H
#include "ruler.h"

typedef struct bl_box {
    double left, right, bottom, top;
} bl_box;
typedef struct bl_page {
    bool text;            /* for a terminal */
    double width, height; /* set by bl_page_grid */
    size_t n_panels;
    bl_box *box;     /* [n_panels] inside the axes */
    double left;     /* room that a figure wants on the left of every panel; 0: for numbers and a label */
    double right;    /* … on the right of every panel */
    double bottom;   /* … below every panel; 0: for numbers and a label */
    double above;    /* … between the title and the top of every panel */
    double wider;    /* than a page of text is */
    int columns;     /* of the grid; 0: chosen */
    bl_text csv;     /* data */
    size_t n_points; /* 0: nothing fits */
    bl_text script;  /* made by bl_page_finish */

    /* inside */
    bl_text texts, frame, *panel, heading, about, notes;
    size_t n_texts;
    int n_marks; /* labels and arrows, numbered over all panels */
    struct bl_entry {
        char *name;
        int style;
    } * entry;
    size_t n_entries, cap_entries;
    bl_box *taken; /* what labels must not cover */
    size_t n_taken, cap_taken;
    struct bl_named {
        bl_box name, line; /* line: from its point (left, bottom) to it (right, top); a point where it is near */
    } * named;             /* by bl_page_place */
    size_t n_named, cap_named;
    double frame_top, frame_bottom;
} bl_page;
void bl_page_free(bl_page *p);

/* Sizes of letters in points. */
double bl_page_size(const bl_page *p);   /* of most text */
double bl_page_small(const bl_page *p);  /* of ticks and notes */
double bl_page_letter(const bl_page *p); /* width of a digit of small text */
/* About how wide: a little more than what fonts make of it. */
double bl_page_width(const bl_page *p, const char *s, double size);

/* `s`, its middle left out where it is wider than `most`. */
void bl_page_fit(const bl_page *p, const char *s, double size, double most, char out[160]);

/* Before the grid. */
void bl_page_heading(bl_page *p, const char *s);
void bl_page_about(bl_page *p, const char *s); /* a line below the heading; long ones are broken */
void bl_page_note(bl_page *p, const char *s);  /* below the panels, sentence after sentence */
bl_status bl_page_legend(bl_page *p, int style, const char *name, bl_err *e); /* style: of style.gp; 0: no mark */
bl_status bl_page_grid(bl_page *p, size_t n_panels, double height, bl_err *e);

/* After it. */
bl_text *bl_page_script(bl_page *p, size_t panel);
void bl_page_panel(bl_page *p, size_t panel, const char *title, const char *xlabel, const char *ylabel);
void bl_page_axis(bl_page *p, size_t panel, const char *axis, const bl_ruler *s);
int bl_page_text(bl_page *p, const char *s); /* its index in T */
typedef struct bl_mark_at {
    const char *color; /* NULL: as all text */
    double size;       /* 0: small */
    double angle;
    char align; /* l, c, r */
} bl_mark_at;
void bl_page_label(bl_page *p, size_t panel, const char *s, double x, double y, bl_mark_at how);
void bl_page_line(bl_page *p, size_t panel, bl_box from_to,
                  const char *style); /* left,bottom to right,top; style in gnuplot's words, with "head " an arrow */
/* A line across the panel at y, with a word at its end where it covers nothing. */
bl_status bl_page_level(bl_page *p, size_t panel, double y, const char *word, const char *style, const char *color,
                        bl_err *e);
/* Nothing is put over this by bl_page_place. */
bl_status bl_page_take(bl_page *p, bl_box what, bl_err *e);
/* Puts a name near the point (x, y) where it covers nothing, with a line to it where it is far, which crosses no other
 * name; false: there is no such place in the panel, and nothing is drawn. */
bool bl_page_place(bl_page *p, size_t panel, const char *s, double x, double y, const char *color, bl_err *e);
bl_status bl_page_finish(bl_page *p, bl_err *e);

/* A quoted field of the csv: no byte of a name is syntax there. */
void bl_put_field(bl_text *out, const char *s);
/* A gnuplot string. */
void bl_put_string(bl_text *out, const char *s);
#endif
