/* kv_pages.c - a cache whose rows are handed out in pages, when they are needed, to slots that come and go.
 *
 *     slot 0   pages 0 1 2 3 | 4 5       a prompt of 70 tokens and what followed it
 *     slot 1   pages 0 1 2 3 | 6         the same beginning: four pages are both's
 *
 * A full page is known by its tokens and the page before it, so its keys and values are those of one beginning and no
 * other. A slot that joins takes the known pages its tokens begin with. When a slot leaves, known pages stay until
 * their room is needed, the one that was let go first goes first: of one slot the last page, so that no page is known
 * whose beginning is gone.
 */
#include "model_impl.h"
#include "kernels/base/hash.h"
#include <string.h>

enum { LEAST_LEN = 16, MOST_LEN = BL_KV_GROUP };

struct bl_kv_page {
    int32_t refs, before, next; /* slots that have it; the page before it, -1: none; the next of its bucket */
    bool known;
    uint64_t left; /* when the last slot let it go */
    int32_t ids[MOST_LEN];
};

int64_t bl_kv_page_len(bl_kv_format f) { return BL_MAX(bl_kv_granule(f), LEAST_LEN); }

static uint32_t bucket_of(const bl_kv *kv, int32_t before, const int32_t *ids)
{
    int32_t key[MOST_LEN + 1];
    key[0] = before;
    memcpy(key + 1, ids, sizeof *ids * (size_t)kv->page_len);
    return (uint32_t)(bl_hash_bytes(key, sizeof *key * (size_t)(kv->page_len + 1)).lo % (uint64_t)kv->n_pages);
}

static int32_t find(const bl_kv *kv, int32_t before, const int32_t *ids)
{
    int32_t p = kv->bucket[bucket_of(kv, before, ids)];
    while (p >= 0 && (kv->page[p].before != before || memcmp(kv->page[p].ids, ids, sizeof *ids * (size_t)kv->page_len)))
        p = kv->page[p].next;
    return p;
}

static void forget(bl_kv *kv, int32_t p)
{
    int32_t *at = &kv->bucket[bucket_of(kv, kv->page[p].before, kv->page[p].ids)];
    while (*at != p) at = &kv->page[*at].next;
    *at = kv->page[p].next;
    kv->page[p].known = false;
    kv->n_empty += kv->page[p].refs == 0;
}

void bl_kv_reset_pages(bl_kv *kv)
{
    for (int32_t s = 0; s < kv->slots; s++) kv->slot[s] = (bl_kv_part){.parent = -1, .page = kv->slot[s].page};
    memset(kv->page, 0, (size_t)kv->n_pages * sizeof *kv->page);
    for (int32_t p = 0; p < kv->n_pages; p++) kv->bucket[p] = -1;
    kv->n_slots = kv->slots;
    kv->n_free = kv->n_empty = kv->n_pages;
}

bl_status bl_kv_new_paged(bl_model *m, int64_t rows, int32_t slots, bl_kv_format f, bl_kv **out, bl_err *e)
{
    bl_status st = BL_OK;
    bl_kv *kv = NULL;

    const int64_t len = bl_kv_page_len(f);
    rows = (rows + len - 1) / len * len;
    BL_TRY(bl_kv_of(m, rows, slots, false, f, &kv, e));
    kv->page_len = len;
    kv->n_pages = (int32_t)(rows / len);
    if (!(kv->page = bl_new((size_t)kv->n_pages, sizeof *kv->page, e)) ||
        !(kv->bucket = bl_new((size_t)kv->n_pages, sizeof *kv->bucket, e))) {
        st = BL_E_NOMEM;
        goto out;
    }
    for (int32_t s = 0; s < slots; s++)
        if (!(kv->slot[s].page = bl_new((size_t)kv->n_pages, sizeof *kv->slot[s].page, e))) {
            st = BL_E_NOMEM;
            goto out;
        }
    bl_kv_reset_pages(kv);
    *out = kv;
    kv = NULL;
out:
    bl_kv_free(kv);
    return st;
}

int64_t bl_kv_free_pages(const bl_kv *kv) { return kv->n_free; }

/* ---- slots ---- */
static void hold(bl_kv *kv, bl_kv_part *s, int32_t p)
{
    kv->n_free -= kv->page[p].refs++ == 0;
    s->page[s->n_pages++] = p;
    s->cap = (int64_t)s->n_pages * kv->page_len;
}

bl_status bl_kv_join(bl_kv *kv, const int32_t *ids, int64_t n, int32_t *slot, bl_err *e)
{
    int32_t at = 0, p;

    while (at < kv->slots && kv->slot[at].open) at++;
    if (at == kv->slots) return bl_fail(e, BL_E_DEVMEM, "the cache has %d slots; one more is needed", (int)kv->slots);
    bl_kv_part *s = &kv->slot[at];
    *s = (bl_kv_part){.parent = -1, .page = s->page, .open = true};
    while (s->cap + kv->page_len <= n && (p = find(kv, s->n_pages ? s->page[s->n_pages - 1] : -1, ids + s->cap)) >= 0)
        hold(kv, s, p);
    s->len = s->cap;
    s->n_known = s->n_pages;
    *slot = at;
    return BL_OK;
}

/* A page that nobody has, the one after `last` if that is empty, so that runs of rows are long; -1: none. */
static int32_t take(bl_kv *kv, int32_t last)
{
    int32_t oldest = -1, p = last + 1;

    if (!kv->n_free) return -1;
    if (kv->n_empty) {
        while (p == kv->n_pages || kv->page[p].refs || kv->page[p].known) p = p >= kv->n_pages ? 0 : p + 1;
        kv->n_empty--;
        return p;
    }
    for (p = 0; p < kv->n_pages; p++)
        if (!kv->page[p].refs && (oldest < 0 || kv->page[p].left < kv->page[oldest].left)) oldest = p;
    forget(kv, oldest);
    kv->n_empty--;
    return oldest;
}

bool bl_kv_extend(bl_kv *kv, int32_t slot, int64_t len)
{
    bl_kv_part *s = &kv->slot[slot];
    while (s->cap < len) {
        int32_t p = take(kv, s->n_pages ? s->page[s->n_pages - 1] : -1);
        if (p < 0) return false;
        hold(kv, s, p);
    }
    return true;
}

void bl_kv_know(bl_kv *kv, int32_t slot, const int32_t *ids, int64_t len)
{
    bl_kv_part *s = &kv->slot[slot];
    while (s->n_known >= 0 && (int64_t)(s->n_known + 1) * kv->page_len <= len) {
        const int32_t *own = ids + (int64_t)s->n_known * kv->page_len;
        int32_t p = s->page[s->n_known], before = s->n_known ? s->page[s->n_known - 1] : -1;
        if (find(kv, before, own) >= 0) { /* another has the same; what follows ours is not found through it */
            s->n_known = -1;
            return;
        }
        bl_kv_page *page = &kv->page[p];
        int32_t *bucket = &kv->bucket[bucket_of(kv, before, own)];
        page->before = before;
        memcpy(page->ids, own, sizeof *own * (size_t)kv->page_len);
        page->next = *bucket;
        page->known = true;
        *bucket = p;
        s->n_known++;
    }
}

void bl_kv_leave(bl_kv *kv, int32_t slot)
{
    bl_kv_part *s = &kv->slot[slot];
    for (int32_t i = s->n_pages - 1; i >= 0; i--) {
        bl_kv_page *page = &kv->page[s->page[i]];
        if (--page->refs) continue;
        page->left = ++kv->clock;
        kv->n_free++;
        kv->n_empty += !page->known;
    }
    *s = (bl_kv_part){.parent = -1, .page = s->page};
}
