/* conversation.c - a prompt within a chat template: messages of the system and the user, replies, and the reply that
 * begins. */
#include "score_impl.h"
#include "harness/data/pytext.h"
#include <string.h>

/* The text that n spans make loses the white space at its ends. */
static void strip(bl_span *s, size_t n)
{
    size_t bytes;
    for (size_t i = 0; i < n; i++) {
        while ((bytes = bl_space_at(s[i].text, s[i].n)) > 0) s[i].text += bytes, s[i].n -= bytes;
        if (s[i].n) break;
    }
    for (size_t i = n; i-- > 0;) {
        bl_rstrip(s[i].text, &s[i].n);
        if (s[i].n) break;
    }
}

/* What a prompt becomes, span by span. */
typedef struct rendered {
    bl_span *span;
    size_t n, from; /* from: where what is said now begins */
} rendered;

static void put(rendered *r, const char *template_text)
{
    r->span[r->n++] = (bl_span){template_text, strlen(template_text), false};
}

/* The first so many spans of a prompt, as the system's message. */
static void put_system(rendered *r, const bl_prompt *p, const bl_chat *c)
{
    size_t from = r->n;
    memcpy(r->span + r->n, p->span, p->system * sizeof *p->span);
    r->n += p->system;
    if (c->system_how == BL_CHAT_SYSTEM_STRIPPED) strip(r->span + from, p->system);
    put(r, c->system_end);
}

bl_status bl_chat_prompt(const bl_chat *c, const bl_prompt *p, bl_prompt *out, bl_err *e)
{
    size_t turn = p->turn ? p->turn : p->n, k = 0;
    rendered r = {0};

    if (!(r.span = bl_alloc(p->arena, p->n + 6 + 3 * p->n_exchanges, sizeof *r.span, e))) return BL_E_NOMEM;
    *out = *p;
    bool system = p->system && c->system, last = c->system_how == BL_CHAT_SYSTEM_LAST;
    bool begins = c->system_how == BL_CHAT_SYSTEM_BEGINS;
    put(&r, system && !last && !begins ? c->system : c->before);
    r.from = r.n;
    if (system && begins) put(&r, c->system);
    if (system && (!last || !p->n_exchanges)) put_system(&r, p, c);
    if (!begins) r.from = r.n;
    for (size_t i = p->system; i <= p->n; i++) {
        bool said = k < p->n_exchanges && i == p->exchange[k].said, ends = said || i == turn;
        if (ends && c->strip) strip(r.span + r.from, r.n - r.from);
        if (ends) put(&r, c->after);
        if (said) put(&r, c->reply);
        if (ends) r.from = r.n;
        if (k < p->n_exchanges && i == p->exchange[k].again) {
            if (c->strip_reply) strip(r.span + r.from, r.n - r.from);
            put(&r, c->again);
            if (system && last && k + 1 == p->n_exchanges) put_system(&r, p, c);
            r.from = r.n;
            k++;
        }
        if (i == p->n) break;
        if (p->fill == i + 1) out->fill = r.n + 1;
        bl_span *s = &r.span[r.n++];
        *s = p->span[i];
        for (; i == turn && s->n && s->text[0] == ' '; s->n--) s->text++; /* begins a line */
    }
    out->span = r.span;
    out->n = out->cap = r.n;
    out->chat = false;
    out->turn = out->system = out->n_exchanges = 0;
    return BL_OK;
}
