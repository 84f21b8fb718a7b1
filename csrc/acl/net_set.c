/* Writer of network indexes; see net_set.h. */
#include "acl/net_set.h"

#include "base/assert.h"
#include "base/crc32c.h"
#include "seckill.h"

#include <string.h>

skl_static_assert(sizeof(skl_net_item_t) == 32, "as net_set.h says");

/* ---- Collecting ---------------------------------------------------------- */

uint64_t skl_net_set_bytes(uint64_t networks, uint64_t reasons_bytes)
{
    skl_assert(networks <= SKL_NET_SET_MAX);
    return networks * 2 * sizeof(skl_net_item_t) + reasons_bytes;
}

void skl_net_set_begin(skl_net_set_t *set, void *memory, uint64_t networks,
                       uint64_t reasons_bytes)
{
    skl_assert((uintptr_t)memory % 8 == 0);
    memset(set, 0, sizeof(*set));
    set->items = memory;
    set->spare = set->items + networks;
    set->limit = networks;
    skl_reasons_begin(&set->reasons, (void *)(set->spare + networks),
                      reasons_bytes);
}

void skl_net_set_put(skl_net_set_t *set, const skl_net_t *net,
                     const skl_index_entry_t *entry)
{
    skl_net_t rest = *net;
    skl_prefix_t p;
    uint32_t reason = 0;

    skl_assert(entry->until > 0);
    if (entry->reason_len > 0 && !entry->allow) {
        reason =
            skl_reasons_put(&set->reasons, entry->reason, entry->reason_len);
    }
    while (skl_net_cut(&rest, &p)) {
        if (set->count == set->limit) {
            set->full = 1;
            return;
        }
        set->items[set->count++] = (skl_net_item_t){p.hi,
                                                    p.lo,
                                                    entry->until,
                                                    reason,
                                                    (uint8_t)p.family,
                                                    (uint8_t)p.bits,
                                                    entry->allow != 0,
                                                    0};
    }
}

/* ---- Sorting ------------------------------------------------------------- */

/* < 0: a begins before b, or at the same address and is wider. */
static int compare(const skl_net_item_t *a, const skl_net_item_t *b)
{
    if (a->family != b->family) {
        return a->family < b->family ? -1 : 1;
    }
    if (a->hi != b->hi) {
        return a->hi < b->hi ? -1 : 1;
    }
    if (a->lo != b->lo) {
        return a->lo < b->lo ? -1 : 1;
    }
    return (int)a->bits - (int)b->bits;
}

/* Merge two sorted neighbours; of equals, those of the left one come first. */
static void merge(const skl_net_item_t *left, uint64_t lefts,
                  const skl_net_item_t *right, uint64_t rights,
                  skl_net_item_t *out)
{
    while (lefts > 0 && rights > 0) {
        if (compare(left, right) <= 0) {
            *out++ = *left++;
            lefts--;
        } else {
            *out++ = *right++;
            rights--;
        }
    }
    memcpy(out, left, lefts * sizeof(*out));
    memcpy(out + lefts, right, rights * sizeof(*out));
}

static void sort(skl_net_set_t *set)
{
    uint64_t n = set->count;

    for (uint64_t run = 1; run < n; run *= 2) {
        skl_net_item_t *from = set->items;

        for (uint64_t at = 0; at < n; at += 2 * run) {
            uint64_t lefts = n - at < run ? n - at : run;
            uint64_t rights = n - at - lefts < run ? n - at - lefts : run;

            merge(from + at, lefts, from + at + lefts, rights, set->spare + at);
        }
        set->items = set->spare;
        set->spare = from;
    }
}

/* ---- Going through ------------------------------------------------------- */

typedef struct {
    uint64_t hi, lo; /* the last address of a network around this place */
    uint32_t mark, pad;
} frame_t;

typedef struct {
    skl_net_mark_t mark;
    uint32_t number, pad;
} known_t;

/* One walk; without `marks` it only counts, in `h`. */
typedef struct {
    skl_net_header_t *h;
    uint64_t *keys6, *lows;
    skl_net_mark_t *marks;
    uint32_t *values6, *values, *chunks, *values4;
    skl_net_inner_t *inners;
    uint16_t *starts4;

    frame_t stack[SKL_NET_CHAIN + 1];
    uint32_t depth, family;
    known_t recent[256]; /* marks made lately, by hash */

    /* The last boundary is held back: the next may be at the same address. */
    uint64_t held_hi, held_lo;
    uint32_t held_mark, last_mark;
    int held;

    /* IPv4: the chunk at which the walk is. */
    uint32_t chunk, first, more, head, now4;
    /* IPv6: the last key, and the /64 that is being filled. */
    uint64_t last_key, inner_at, inner_first, inner_count;
    uint32_t last_value, now6;
    int inner_open;
} walk_t;

/* ---- Marks --------------------------------------------------------------- */

static uint32_t add_mark(walk_t *w, const skl_net_mark_t *mark)
{
    uint64_t number = w->h->marks++;

    skl_assert(number < SKL_NET_DIRECT);
    if (w->marks != NULL) {
        w->marks[number] = *mark;
    }
    return (uint32_t)number;
}

static void begin_marks(walk_t *w)
{
    const skl_net_mark_t fixed[] = {
        {0}, {SKL_FOREVER, 0, 0, 0}, {0, SKL_FOREVER, 0, 0}};

    for (uint32_t i = 0; i < SKL_NET_FIRST_MARK; i++) {
        uint32_t number = add_mark(w, &fixed[i]);

        skl_assert(number == i);
    }
}

/* The number of a mark; the same one is mostly there once. */
static uint32_t mark_of(walk_t *w, const skl_net_mark_t *m)
{
    known_t *known = &w->recent[skl_crc32c(0, m, sizeof(*m)) & 255];

    skl_assert(m->deny_until > 0 || m->allow_until > 0);
    if (m->reason == 0 && m->allow_until == 0 && m->deny_until == SKL_FOREVER) {
        return SKL_NET_DENY;
    }
    if (m->deny_until == 0 && m->allow_until == SKL_FOREVER) {
        return SKL_NET_ALLOW;
    }
    if (known->number == 0 || memcmp(&known->mark, m, sizeof(*m)) != 0) {
        known->mark = *m;
        known->number = add_mark(w, m);
    }
    return known->number;
}

/* ---- IPv4 ---------------------------------------------------------------- */

static void add4(walk_t *w, uint32_t low, uint32_t mark)
{
    uint64_t slot = w->h->slots4++;

    if (w->marks != NULL) {
        w->starts4[slot] = (uint16_t)low;
        w->values4[slot] = mark;
    }
}

static void end_chunk(walk_t *w)
{
    if (w->marks != NULL) {
        w->chunks[w->chunk] =
            w->more == 0 ? SKL_NET_DIRECT | w->head : w->first;
        if (w->more > 0) {
            w->starts4[w->first] = (uint16_t)w->more;
        }
    }
    skl_assert(w->more <= UINT16_MAX);
    w->chunk++;
    w->more = 0;
    w->head = w->now4;
}

static void begin_range4(walk_t *w, uint32_t start, uint32_t mark)
{
    skl_assert(start >> 16 >= w->chunk);
    while (w->chunk < start >> 16) {
        end_chunk(w);
    }
    w->now4 = mark;
    if ((start & 0xffff) == 0) {
        skl_assert(w->more == 0);
        w->head = mark;
        return;
    }
    if (w->more == 0) {
        w->first = (uint32_t)w->h->slots4;
        add4(w, 0, w->head);
    }
    w->more++;
    add4(w, start & 0xffff, mark);
}

static void end_family4(walk_t *w)
{
    while (w->chunk < SKL_NET_CHUNKS) {
        end_chunk(w);
    }
    w->h->chunks = SKL_NET_CHUNKS;
}

/* ---- IPv6 ---------------------------------------------------------------- */

/* A range of high halves; of two that begin at the same the later counts. */
static void add_key(walk_t *w, uint64_t key, uint32_t value)
{
    uint64_t at = w->h->keys6;

    if (at > 0 && w->last_key == key) {
        at--;
    } else if (at > 0 && w->last_value == value) {
        return;
    } else {
        skl_assert(at == 0 || key > w->last_key);
        w->h->keys6++;
    }
    w->last_key = key;
    w->last_value = value;
    if (w->marks != NULL) {
        w->keys6[at] = key;
        w->values6[at] = value;
    }
}

static void add_low(walk_t *w, uint64_t low, uint32_t mark)
{
    uint64_t slot = w->h->lows++;

    w->inner_count++;
    if (w->marks != NULL) {
        w->lows[slot] = low;
        w->values[slot] = mark;
    }
}

/* Fill up the keys and build the levels above them. */
static void grow_tree(uint64_t *keys, const skl_net_tree_t *tree)
{
    for (uint32_t level = 0; level < tree->levels; level++) {
        uint64_t *at = keys + tree->at[level];
        uint64_t n = tree->count[level];

        for (uint64_t i = 0; level > 0 && i < n; i++) {
            at[i] = keys[tree->at[level - 1] + i * SKL_NET_NODE];
        }
        for (; n % SKL_NET_NODE != 0; n++) {
            at[n] = UINT64_MAX;
        }
    }
}

static void open_inner(walk_t *w, uint64_t high)
{
    skl_assert(!w->inner_open);
    add_key(w, high, SKL_NET_INNER | (uint32_t)w->h->inners);
    w->inner_open = 1;
    w->inner_at = high;
    w->inner_first = w->h->lows;
    w->inner_count = 0;
    add_low(w, 0, w->now6);
}

static void close_inner(walk_t *w)
{
    uint64_t number = w->h->inners++;
    skl_net_tree_t tree;

    skl_assert(w->inner_open && w->inner_count >= 2);
    if (w->inner_count > SKL_NET_NODE) {
        w->h->lows = w->inner_first + skl_net_plan_tree(&tree, w->inner_count);
        if (w->marks != NULL) {
            grow_tree(w->lows + w->inner_first, &tree);
        }
    }
    if (w->marks != NULL) {
        w->inners[number] = (skl_net_inner_t){(uint32_t)w->inner_first,
                                              (uint32_t)w->inner_count};
    }
    w->inner_open = 0;
    if (w->inner_at != UINT64_MAX) {
        add_key(w, w->inner_at + 1, w->now6);
    }
}

static void begin_range6(walk_t *w, uint64_t high, uint64_t low, uint32_t mark)
{
    if (w->inner_open && w->inner_at != high) {
        close_inner(w);
    }
    if (low == 0) {
        add_key(w, high, mark);
    } else {
        if (!w->inner_open) {
            open_inner(w, high);
        }
        add_low(w, low, mark);
    }
    w->now6 = mark;
}

static void end_family6(walk_t *w)
{
    skl_net_tree_t tree;

    if (w->inner_open) {
        close_inner(w);
    }
    w->h->slots6 = skl_net_plan_tree(&tree, w->h->keys6);
    if (w->marks != NULL) {
        grow_tree(w->keys6, &tree);
    }
}

/* ---- Boundaries ---------------------------------------------------------- */

static void release(walk_t *w)
{
    if (w->held && w->held_mark != w->last_mark) {
        if (w->family == SKL_NET_V4) {
            begin_range4(w, (uint32_t)w->held_lo, w->held_mark);
        } else {
            begin_range6(w, w->held_hi, w->held_lo, w->held_mark);
        }
        w->last_mark = w->held_mark;
    }
    w->held = 0;
}

/* From here on `mark` decides. */
static void boundary(walk_t *w, uint64_t hi, uint64_t lo, uint32_t mark)
{
    if (w->held && (w->held_hi != hi || w->held_lo != lo)) {
        skl_assert(hi > w->held_hi || (hi == w->held_hi && lo > w->held_lo));
        release(w);
    }
    w->held = 1;
    w->held_hi = hi;
    w->held_lo = lo;
    w->held_mark = mark;
}

static uint32_t top_mark(const walk_t *w)
{
    return w->depth == 0 ? SKL_NET_NONE : w->stack[w->depth - 1].mark;
}

/* The innermost network ends: behind it the next one decides. */
static void leave(walk_t *w)
{
    const frame_t *f = &w->stack[--w->depth];
    uint64_t end = w->family == SKL_NET_V4 ? UINT32_MAX : UINT64_MAX;

    if (f->lo != end) {
        boundary(w, f->hi, f->lo + 1, top_mark(w));
    } else if (w->family == SKL_NET_V6 && f->hi != UINT64_MAX) {
        boundary(w, f->hi + 1, 0, top_mark(w));
    }
}

static int is_over(const frame_t *f, const skl_net_item_t *item)
{
    return f->hi < item->hi || (f->hi == item->hi && f->lo < item->lo);
}

static void enter(walk_t *w, const skl_net_item_t *item, skl_net_mark_t *m)
{
    const skl_prefix_t p = {item->hi, item->lo, item->family, item->bits};
    skl_addr_t last = skl_net_last(&p);
    frame_t *f = &w->stack[w->depth];

    skl_assert(w->depth < SKL_NET_CHAIN);
    if (m->deny_until != SKL_FOREVER && m->allow_until != SKL_FOREVER) {
        m->parent = top_mark(w); /* it ends */
    }
    *f = (frame_t){last.hi, last.lo, mark_of(w, m), 0};
#ifdef MUTANT_NET_FIRST_MATCH
    f->mark = w->depth > 0 ? w->stack[0].mark : f->mark;
#endif
    w->depth++;
    boundary(w, item->hi, item->lo, f->mark);
}

/* The mark of a network: all its items; the later ones count. */
static uint64_t gather(const skl_net_item_t *items, uint64_t count,
                       skl_net_mark_t *m)
{
    uint64_t n = 0;

    memset(m, 0, sizeof(*m));
    while (n < count && compare(&items[0], &items[n]) == 0) {
        const skl_net_item_t *item = &items[n++];

        if (item->allow) {
            m->allow_until = item->until;
        } else {
            m->deny_until = item->until;
            m->reason = item->reason;
        }
    }
    return n;
}

static uint64_t walk_family(walk_t *w, const skl_net_item_t *items,
                            uint64_t count)
{
    uint64_t at = 0;

    w->family = items[0].family;
    w->last_mark = SKL_NET_NONE;
    if (w->family == SKL_NET_V6) {
        add_key(w, 0, SKL_NET_NONE);
    }
    while (at < count && items[at].family == w->family) {
        const skl_net_item_t *item = &items[at];
        skl_net_mark_t m;

        at += gather(item, count - at, &m);
        while (w->depth > 0 && is_over(&w->stack[w->depth - 1], item)) {
            leave(w);
        }
        enter(w, item, &m);
        w->h->entries++;
    }
    while (w->depth > 0) {
        leave(w);
    }
    release(w);
    if (w->family == SKL_NET_V4) {
        end_family4(w);
    } else {
        end_family6(w);
    }
    return at;
}

static void walk(walk_t *w, const skl_net_set_t *set)
{
    uint64_t at = 0;

    begin_marks(w);
    while (at < set->count) {
        at += walk_family(w, set->items + at, set->count - at);
    }
    skl_assert(at == set->count && w->depth == 0);
}

/* ---- The index ----------------------------------------------------------- */

int skl_net_set_end(skl_net_set_t *set, uint64_t *bytes)
{
    walk_t w = {.h = &set->header};
    skl_net_layout_t layout;

    if (set->full || set->reasons.full) {
        return SECKILL_EFULL;
    }
    sort(set);
    walk(&w, set);
    set->header.reasons_bytes = set->reasons.used;
    if (!skl_net_lay_out(&set->header, &layout)) {
        return SECKILL_EFULL;
    }
    set->header.bytes = *bytes = layout.bytes;
    return SECKILL_OK;
}

static void point(walk_t *w, char *base, const skl_net_layout_t *l)
{
    w->keys6 = (void *)(base + l->keys6);
    w->lows = (void *)(base + l->lows);
    w->marks = (void *)(base + l->marks);
    w->values6 = (void *)(base + l->values6);
    w->values = (void *)(base + l->values);
    w->inners = (void *)(base + l->inners);
    w->chunks = (void *)(base + l->chunks);
    w->values4 = (void *)(base + l->values4);
    w->starts4 = (void *)(base + l->starts4);
}

void skl_net_set_write(skl_net_set_t *set, void *base, uint32_t kind,
                       uint64_t owner, uint64_t generation)
{
    skl_net_header_t *h = base, filled = {0};
    walk_t w = {.h = &filled};
    skl_net_layout_t layout;
    int fits = skl_net_lay_out(&set->header, &layout);

    skl_assert(fits && set->header.bytes == layout.bytes);
    point(&w, base, &layout);
    walk(&w, set);
    filled.reasons_bytes = set->reasons.used;
    filled.bytes = layout.bytes;
    skl_assert(memcmp(&filled, &set->header, sizeof(filled)) == 0);
    memcpy((char *)base + layout.reasons, set->reasons.pool, set->reasons.used);
    filled.kind = kind;
    filled.owner = owner;
    filled.generation = generation;
    *h = filled;
    skl_net_seal(h);
}
