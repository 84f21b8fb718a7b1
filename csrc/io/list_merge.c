/* Entries of the overlay that a file says, too; see list_merge.h. */
#include "io/list_merge.h"

#include "base/assert.h"
#include "base/os.h"

#include <string.h>

enum { CHUNK = 256 };
enum { LISTED = 1, FOR_EVER = 2 };

typedef struct {
    skl_overlay_change_t entry; /* fp 0: free */
    uint64_t seen;              /* LISTED, FOR_EVER: what the file denies */
} note_t;

struct skl_list_merge {
    struct seckill_list *list;
    uint64_t bytes;
    uint64_t size; /* power of two, over twice the entries */
    note_t notes[];
};

static note_t *find(skl_list_merge_t *m, uint64_t fp, uint64_t hi)
{
    skl_assert((m->size & (m->size - 1)) == 0);
    for (uint64_t i = fp;; i++) {
        note_t *n = &m->notes[i & (m->size - 1)];

        if (n->entry.fp == 0 || (n->entry.fp == fp && n->entry.hi == hi)) {
            return n;
        }
    }
}

static void note_entries(skl_list_merge_t *m)
{
    const skl_overlay_t *o = &m->list->lists->overlay;
    skl_overlay_change_t found[CHUNK];
    uint64_t at = 0, noted = 0;
    int n;

    while ((n = skl_overlay_scan(o, m->list->number, &at, found, CHUNK)) > 0) {
        for (int i = 0; i < n && noted < m->size / 2; i++, noted++) {
            find(m, found[i].fp, found[i].hi)->entry = found[i];
        }
    }
}

skl_list_merge_t *skl_list_merge_new(struct seckill_list *list)
{
    const uint64_t live = skl_overlay_live(&list->lists->overlay, list->number);
    skl_list_merge_t *m;
    uint64_t size = 64, bytes;
    void *base;

    if (live == 0 || list->slot->kind != SECKILL_LIST_ID) {
        return NULL;
    }
    while (size < live * 2) {
        size *= 2;
    }
    bytes = sizeof(*m) + size * sizeof(note_t);
    if (skl_os_map_shared(bytes, &base) != 0) {
        return NULL;
    }
    m = base;
    m->list = list;
    m->bytes = bytes;
    m->size = size;
    note_entries(m);
    return m;
}

void skl_list_merge_free(skl_list_merge_t *m)
{
    if (m != NULL) {
        int rc = skl_os_unmap(m, m->bytes);

        skl_assert(rc == 0);
    }
}

void skl_list_merge_see(skl_list_merge_t *m, const skl_index_entry_t *e)
{
    skl_overlay_change_t id;
    note_t *n;

    if (e->allow) {
        return;
    }
    skl_overlay_ident(&m->list->lists->overlay, m->list->number, e->value,
                      e->value_len, &id);
    n = find(m, id.fp, id.hi);
    if (n->entry.fp != 0) {
        /* Of two lines for a value the later counts. */
        n->seen = e->until == SKL_FOREVER ? LISTED | FOR_EVER : LISTED;
    }
}

static int says_the_same(const note_t *n)
{
    if (n->entry.fp == 0) {
        return 0;
    }
    if (skl_overlay_kind(n->entry.state) == SKL_OVERLAY_REMOVED) {
        return (n->seen & LISTED) == 0;
    }
#ifdef MUTANT_MERGE_TIMED
    return (n->seen & LISTED) != 0;
#endif
    return skl_overlay_until(n->entry.state) == SKL_FOREVER &&
           (n->seen & FOR_EVER) != 0;
}

int skl_list_merge_apply(skl_list_merge_t *m, uint64_t word, int64_t now_ns)
{
    struct seckill_list *list = m->list;
    skl_overlay_change_t gone[CHUNK];
    int n = 0, total = 0, rc = 0;

    if (atomic_load(&list->slot->current) != word) {
        return 0;
    }
    for (uint64_t i = 0; i < m->size && rc >= 0; i++) {
        if (says_the_same(&m->notes[i])) {
            gone[n++] = m->notes[i].entry;
        }
        if (n == CHUNK || (n > 0 && i + 1 == m->size)) {
            atomic_store(&list->slot->merged, skl_list_generation(word));
            rc = skl_overlay_forget(&list->lists->overlay, list->number, gone,
                                    n, now_ns);
            total += rc > 0 ? rc : 0;
            n = 0;
        }
    }
    return rc < 0 ? rc : total;
}
