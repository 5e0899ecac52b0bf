/* html.c - text, markdown tables and svg pictures as parts of an HTML page. */
#include "report.h"
#include <string.h>

static void put_char(bl_text *out, unsigned char c)
{
    switch (c) {
    case '&': bl_text_add(out, "&amp;"); break;
    case '<': bl_text_add(out, "&lt;"); break;
    case '>': bl_text_add(out, "&gt;"); break;
    case '"': bl_text_add(out, "&quot;"); break;
    case '\'': bl_text_add(out, "&#39;"); break;
    default: bl_text_addn(out, (c < 0x20 || c == 0x7f) && c != '\n' && c != '\t' ? " " : (const char *)&c, 1); break;
    }
}

void bl_html_text(bl_text *out, const char *s)
{
    for (; *s; s++) put_char(out, (unsigned char)*s);
}

/* ---- markdown ----------------------------------------------------------------------------------- */
static const char *end_of(const char *line) { return line + strcspn(line, "\n"); }

/* A cell up to its bar; where the next one begins. */
static const char *put_cell(bl_text *out, const char *from, const char *end, const char *tag, bool right)
{
    const char *to = from, *next;
    while (to < end && !(*to == '|' && to[-1] != '\\')) to++;
    next = to < end ? to + 1 : end;
    while (from < to && *from == ' ') from++;
    while (to > from && to[-1] == ' ') to--;
    bl_text_addf(out, "<%s%s>", tag, right ? " class=\"r\"" : "");
    for (; from < to; from++)
        if (!(*from == '\\' && from[1] == '|')) put_char(out, (unsigned char)*from);
    bl_text_addf(out, "</%s>", tag);
    return next;
}

/* Header, line of alignment, rows; where the table ends. */
static const char *put_table(bl_text *out, const char *head)
{
    const char *rule = *end_of(head) ? end_of(head) + 1 : head;

    bl_text_add(out, "<div class=\"wide\"><table>\n");
    for (const char *line = head; *line == '|'; line = *end_of(line) ? end_of(line) + 1 : end_of(line)) {
        const char *end = end_of(line), *p = line + 1, *align = rule + 1;
        if (line == rule) continue;
        while (end > p && (end[-1] == ' ' || end[-1] == '|')) end--;
        bl_text_add(out, line == head ? "<thead><tr>" : "<tr>");
        while (p < end) {
            const char *bar = align + strcspn(align, "|\n");
            p = put_cell(out, p, end, line == head ? "th" : "td", bar > align && bar[-1] == ':');
            align = *bar == '|' ? bar + 1 : bar;
        }
        bl_text_add(out, line == head ? "</tr></thead>\n<tbody>\n" : "</tr>\n");
    }
    bl_text_add(out, "</tbody></table></div>\n");
    while (*head == '|') head = *end_of(head) ? end_of(head) + 1 : end_of(head);
    return head;
}

void bl_html_of_markdown(bl_text *out, const char *markdown)
{
    while (*markdown) {
        const char *end = end_of(markdown);
        if (*markdown == '|') {
            markdown = put_table(out, markdown);
            continue;
        }
        while (end > markdown && end[-1] == ' ') end--;
        if (end > markdown) {
            bl_text_add(out, "<p class=\"note\">");
            for (; markdown < end; markdown++) put_char(out, (unsigned char)*markdown);
            bl_text_add(out, "</p>\n");
        }
        markdown = end_of(markdown);
        markdown += *markdown == '\n';
    }
}

/* ---- svg ---------------------------------------------------------------------------------------- */
static bool begins(const char *s, const char *with) { return !strncmp(s, with, strlen(with)); }

bool bl_html_of_svg(bl_text *out, const char *svg, const char *prefix, const char *label)
{
    static const char *const names[] = {"id='", "id=\"", "href='#", "href=\"#", "url(#"};
    const char *p = strstr(svg, "<svg"), *last = strstr(svg, "</svg>");

    if (!p || !last) return false;
    bl_text_add(out, "<svg role=\"img\" aria-label=\"");
    bl_html_text(out, label);
    bl_text_add(out, "\"");
    for (p += strlen("<svg"); p < last; p++) {
        if (begins(p, "<title>") || begins(p, "<desc>")) { /* "Gnuplot" would show beside the mouse */
            p = strstr(p, p[1] == 't' ? "</title>" : "</desc>");
            if (!p) return false;
            p = strchr(p, '>');
            continue;
        }
        bl_text_addn(out, p, 1);
        for (size_t i = 0; i < BL_COUNT(names); i++)
            if (begins(p, names[i]) && (p[-1] == ' ' || p[-1] == ':' || *names[i] == 'u')) {
                bl_text_add(out, names[i] + 1);
                bl_text_add(out, prefix);
                p += strlen(names[i]) - 1;
                break;
            }
    }
    bl_text_add(out, "</svg>\n");
    return true;
}
