/* build.c - the parts of a tokenizer put together, as the readers find them; then what all kinds have in common. */
#include "tokenizer_impl.h"
#include "kernels/base/utf8.h"
#include <string.h>

bl_status tok_new(bl_tokenizer **out, bl_err *e)
{
    bl_status st = BL_OK;
    bl_tokenizer *t = bl_new(1, sizeof *t, e);
    if (!t) return BL_E_NOMEM;
    t->unk = t->bos = t->eos = -1;
    memset(t->byte_id, -1, sizeof t->byte_id);
    BL_TRY(bl_arena_new(&t->arena, e));
    *out = t;
    t = NULL;
out:
    bl_tokenizer_close(t);
    return st;
}

void bl_tokenizer_close(bl_tokenizer *t)
{
    if (!t) return;
    for (size_t i = 0; i < t->n_norm; i++) tok_regex_free(t->norm[i].regex);
    for (size_t i = 0; i < t->n_pre; i++) tok_regex_free(t->pre[i].regex);
    bl_free(t->vocab.text);
    bl_free(t->vocab.entry);
    bl_free(t->vocab.slot);
    bl_free(t->merges.slot);
    bl_free(t->order);
    bl_free(t->added);
    bl_free(t->raw.node);
    bl_free(t->normalized.node);
    bl_free(t->user.node);
    bl_free(t->bytes);
    bl_free(t->bytes_at);
    bl_free(t->special);
    bl_free(t->end);
    bl_arena_free(t->arena);
    bl_free(t);
}

/* ---- steps ---------------------------------------------------------------------------------------- */

static bl_status room(size_t n, const char *what, const char *file, bl_err *e)
{
    return n < TOK_MAX_STEPS ? BL_OK : bl_fail(e, BL_E_UNSUPPORTED, "%s: more than %d %s", file, TOK_MAX_STEPS, what);
}

static bl_status keep(bl_tokenizer *t, const char **s, size_t n, bl_err *e)
{
    return !*s || (*s = bl_arena_str(t->arena, *s, n, e)) ? BL_OK : BL_E_NOMEM;
}

bl_status tok_add_norm(bl_tokenizer *t, const tok_norm *s, const char *file, bl_err *e)
{
    bl_status st = BL_OK;
    tok_norm step = *s;
    if ((st = room(t->n_norm, "normalizers", file, e)) != BL_OK) goto out;
    BL_TRY(keep(t, &step.find, step.n_find, e));
    BL_TRY(keep(t, &step.with, step.n_with, e));
    t->norm[t->n_norm++] = step;
    return BL_OK;
out:
    tok_regex_free(step.regex);
    return st;
}

bl_status tok_add_pre(bl_tokenizer *t, const tok_pre *s, const char *file, bl_err *e)
{
    bl_status st = BL_OK;
    tok_pre step = *s;
    BL_TRY(room(t->n_pre, "pre-tokenizer steps", file, e));
    BL_TRY(keep(t, &step.space, step.space ? strlen(step.space) : 0, e));
    t->pre[t->n_pre++] = step;
    return BL_OK;
out:
    tok_regex_free(step.regex);
    return st;
}

bl_status tok_add_split(bl_tokenizer *t, const char *pattern, tok_behavior b, const char *file, bl_err *e)
{
    tok_pre step = {.op = PRE_SPLIT, .behavior = b, .known = tok_known_pattern(pattern)};
    bl_status st = tok_regex_new(pattern, strlen(pattern), false, file, &step.regex, e);
    return st == BL_OK ? tok_add_pre(t, &step, file, e) : st;
}

bl_status tok_add_dec(bl_tokenizer *t, const tok_dec *s, const char *file, bl_err *e)
{
    bl_status st = BL_OK;
    tok_dec step = *s;
    BL_TRY(room(t->n_dec, "decoders", file, e));
    BL_TRY(keep(t, &step.find, step.n_find, e));
    BL_TRY(keep(t, &step.with, step.n_with, e));
    t->dec[t->n_dec++] = step;
out:
    return st;
}

bl_status tok_add_added(bl_tokenizer *t, const tok_added *a, bl_err *e)
{
    bl_status st = BL_OK;
    tok_added copy = *a;
    BL_TRY(keep(t, &copy.text, copy.n, e));
    BL_TRY(bl_grow(&t->added, &t->cap_added, t->n_added + 1, sizeof *t->added, e));
    t->added[t->n_added++] = copy;
out:
    return st;
}

bl_status tok_make_control(bl_tokenizer *t, int32_t id, bl_err *e)
{
    tok_entry *v = &t->vocab.entry[id];
    if (v->type == TOK_CONTROL || v->type == TOK_UNKNOWN) return BL_OK;
    v->type = TOK_CONTROL;
    for (size_t i = 0; i < t->n_added; i++)
        if (t->added[i].id == id) {
            t->added[i].special = true;
            return BL_OK;
        }
    return tok_add_added(t, &(tok_added){.id = id, .text = tok_vocab_text(&t->vocab, id), .n = v->n, .special = true},
                         e);
}

/* ---- the last touches ----------------------------------------------------------------------------- */

static void find_bytes(bl_tokenizer *t)
{
    for (int b = 0; b < 256; b++) {
        if (t->byte_id[b] >= 0) continue;
        char utf8[8];
        int n = t->model == TOK_RANK_BYTES ? (int)bl_utf8_put(tok_byte_letter((uint8_t)b), utf8)
                                           : snprintf(utf8, sizeof utf8, "<0x%02X>", b);
        t->byte_id[b] = tok_vocab_find(&t->vocab, utf8, (size_t)n);
    }
}

/* What one id adds inside a text: letters and byte pieces as bytes, U+2581 as a space, added tokens as they are. */
static bl_status token_bytes(bl_tokenizer *t, int32_t id, bool added, bl_text *out, bl_err *e)
{
    const tok_entry *v = &t->vocab.entry[id];
    const char *s = tok_vocab_text(&t->vocab, id);
    int byte;
    if (added || v->type == TOK_CONTROL || v->type == TOK_HOLE) {
        bl_text_addn(out, s, v->n);
    } else if (t->model == TOK_RANK_BYTES) {
        if (!tok_letters(s, v->n, out)) bl_text_addn(out, s, v->n);
    } else if (t->model == TOK_WORDPIECE) {
        size_t mark = strlen(t->inside);
        bool inside = v->n > mark && !memcmp(s, t->inside, mark);
        if (!inside) bl_text_add(out, " ");
        bl_text_addn(out, inside ? s + mark : s, inside ? v->n - mark : v->n);
    } else if (id == t->unk && t->unk_surface) {
        bl_text_add(out, t->unk_surface);
    } else if ((byte = tok_byte_piece(s, v->n)) >= 0 && t->byte_fallback) {
        bl_text_addn(out, (char[]){(char)byte}, 1);
    } else {
        const char *end = s + v->n;
        for (const char *p; (p = memmem(s, (size_t)(end - s), TOK_SPACE, 3)) != NULL; s = p + 3) {
            bl_text_addn(out, s, (size_t)(p - s));
            bl_text_add(out, " ");
        }
        bl_text_addn(out, s, (size_t)(end - s));
    }
    return bl_text_check(out, e);
}

static bl_status make_bytes(bl_tokenizer *t, const char *file, bl_err *e)
{
    bl_status st = BL_OK;
    bl_text all = {0};
    uint8_t *added = bl_new(t->vocab.n + 1, 1, e);
    if (!added || !(t->bytes_at = bl_new(t->vocab.n + 1, sizeof *t->bytes_at, e)) ||
        !(t->special = bl_new(t->vocab.n + 1, 1, e))) {
        st = BL_E_NOMEM;
        goto out;
    }
    for (size_t i = 0; i < t->n_added; i++) {
        added[t->added[i].id] = 1;
        if (t->added[i].special) t->special[t->added[i].id] = 1;
    }
    for (size_t id = 0; id < t->vocab.n; id++) {
        if (t->vocab.entry[id].type == TOK_CONTROL) t->special[id] = 1;
        BL_TRY(token_bytes(t, (int32_t)id, added[id], &all, e));
        if (all.n > UINT32_MAX) {
            st = bl_fail(e, BL_E_FORMAT, "%s: the texts of its tokens are larger than 4 GiB", file);
            goto out;
        }
        t->bytes_at[id + 1] = (uint32_t)all.n;
    }
    t->bytes = all.s;
    t->n_bytes = all.n;
    if (!t->bytes && !(t->bytes = bl_strdup("", e))) {
        st = BL_E_NOMEM;
        goto out;
    }
    all = (bl_text){0};
out:
    bl_text_free(&all);
    bl_free(added);
    return st;
}

/* The normalized text of an added token is what is looked for, and what it reads as, in the reference. */
static bl_status make_tries(bl_tokenizer *t, const char *file, bl_err *e)
{
    bl_status st = BL_OK;
    tok_text norm = {0}, spare = {0};
    for (size_t i = 0; i < t->n_added; i++) {
        tok_added *a = &t->added[i];
        if (bl_utf8_bad(a->text, a->n) < a->n) {
            st = bl_fail(e, BL_E_FORMAT, "%s: token %d is recognised inside text and is not UTF-8", file, a->id);
            goto out;
        }
        if (a->normalized && t->n_norm) {
            BL_TRY(tok_normalize(t->norm, t->n_norm, true, a->text, NULL, a->n, &norm, &spare, e));
            a->text = norm.s;
            a->n = norm.n;
            BL_TRY(keep(t, &a->text, a->n, e));
        }
        BL_TRY(tok_trie_add(a->normalized ? &t->normalized : &t->raw, a->text, a->n, (int32_t)i, e));
    }
out:
    tok_text_free(&norm);
    tok_text_free(&spare);
    return st;
}

bl_status tok_finish(bl_tokenizer *t, const char *file, bl_err *e)
{
    bl_status st = BL_OK;
    if (!t->vocab.n_used) return bl_fail(e, BL_E_FORMAT, "%s: no tokens", file);
    find_bytes(t);
    if (t->model == TOK_SCORES) BL_TRY(tok_vocab_order(&t->vocab, &t->order, file, e));
    BL_TRY(make_tries(t, file, e));
    BL_TRY(make_bytes(t, file, e));
out:
    return st;
}
