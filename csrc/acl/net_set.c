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
    return (networks + 1) * 2 * sizeof(skl_net_item_t) + reasons_bytes;
}

void skl_net_set_begin(skl_net_set_t *set, void *memory, uint64_t networks,
                       uint64_t reasons_bytes)
{
    skl_assert((uintptr_t)memory % 8 == 0);
    memset(set, 0, sizeof(*set));
    set->items = memory;
    set->spare = set->items + networks + 1;
    set->limit = networks;
    skl_reasons_begin(&set->reasons, (void *)(set->spare + networks + 1),
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

/* The ranges of one block: where they begin, and their marks. */
typedef struct {
    uint64_t *keys;
    uint32_t *values;
    uint64_t count, limit;
    uint32_t head, pad; /* mark at the begin of the block */
} block_t;

/* One walk; without `marks` it only counts, in `h`. */
typedef struct {
    skl_net_header_t *h;
    uint64_t *keys6, *inners;
    skl_net_mark_t *marks;
    uint32_t *values6, *chunks, *ranges4;

    frame_t stack[SKL_NET_CHAIN + 1];
    uint32_t depth, family;
    known_t recent[256]; /* marks made lately, by hash */

    /* The last boundary is held back: the next may be at the same address. */
    uint64_t held_hi, held_lo;
    uint32_t held_mark, last_mark;
    int held;

    block_t block;  /* that is being filled */
    uint32_t now;   /* the mark that decides at the last boundary */
    uint32_t chunk; /* IPv4: the /16 of the block */
    uint64_t last_key, inner_at; /* IPv6: the last key, the /64 of the block */
    uint32_t last_value;
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

/* ---- Blocks -------------------------------------------------------------- */

/* What is not needed after sorting is room for the largest block: a network
 * makes two boundaries at most. */
static void begin_blocks(walk_t *w, const skl_net_set_t *set)
{
    w->block.limit = 2 * set->count + 1;
    w->block.keys = (void *)set->spare;
    w->block.values = (void *)(w->block.keys + w->block.limit);
    skl_assert(w->block.limit * 12 <= (set->limit + 1) * sizeof(*set->spare));
}

static void open_block(walk_t *w)
{
    w->block.count = 0;
    w->block.head = w->now;
}

static void add_range(walk_t *w, uint64_t key, uint32_t mark)
{
    block_t *b = &w->block;

    skl_assert(b->count < b->limit);
    b->keys[b->count] = key;
    b->values[b->count] = mark;
    b->count++;
}

/* Take `size` words of an array of cache lines of `line` words: not across the
 * end of a line where one holds them. */
static uint64_t take(uint64_t *used, uint64_t size, uint64_t line)
{
    uint64_t at = *used;

    if (size <= line && at % line + size > line) {
        at += line - at % line;
    }
    *used = at + size;
    return at;
}

/* ---- IPv4 ---------------------------------------------------------------- */

static void write_block4(uint32_t *out, const block_t *b)
{
    uint16_t *starts = (uint16_t *)(out + 2);
    uint64_t filled = skl_net_filled4(b->count) * 2;

    out[0] = b->head;
    out[1] = (uint32_t)b->count;
    for (uint64_t i = 0; i < filled; i++) {
        starts[i] = i < b->count ? (uint16_t)b->keys[i] : UINT16_MAX;
    }
    memcpy(out + 2 + filled / 2, b->values, b->count * sizeof(*out));
}

/* The /16 is complete; the next one begins. */
static void end_chunk(walk_t *w)
{
    const block_t *b = &w->block;
    uint32_t word = SKL_NET_DIRECT | b->head;

    skl_assert(b->count <= UINT16_MAX);
    if (b->count > 0) {
        word = (uint32_t)take(&w->h->ranges4,
                              2 + skl_net_filled4(b->count) + b->count, 16);
        if (w->marks != NULL) {
            write_block4(w->ranges4 + word, b);
        }
    }
    if (w->marks != NULL) {
        w->chunks[w->chunk] = word;
    }
    w->chunk++;
    open_block(w);
}

static void begin_range4(walk_t *w, uint32_t start, uint32_t mark)
{
    skl_assert(start >> 16 >= w->chunk);
    while (w->chunk < start >> 16) {
        end_chunk(w);
    }
    w->now = mark;
    if ((start & 0xffff) == 0) {
        open_block(w);
    } else {
        add_range(w, start & 0xffff, mark);
    }
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

static void write_inner(uint64_t *out, const block_t *b,
                        const skl_net_tree_t *tree, uint64_t slots)
{
    out[0] = b->count | (uint64_t)b->head << 32;
    memcpy(out + 1, b->keys, b->count * sizeof(*out));
    memcpy(out + 1 + slots, b->values, b->count * sizeof(*b->values));
    if (b->count > SKL_NET_NODE) {
        grow_tree(out + 1, tree);
    }
}

/* The /64 is complete: behind it, what decides at its end. */
static void close_inner(walk_t *w)
{
    const block_t *b = &w->block;
    skl_net_tree_t tree;
    uint64_t slots = b->count, at;

    skl_assert(w->inner_open && b->count > 0);
    if (b->count > SKL_NET_NODE) {
        slots = skl_net_plan_tree(&tree, b->count);
    }
    at = take(&w->h->inners, 1 + slots + (b->count + 1) / 2, SKL_NET_NODE);
    skl_assert(at < SKL_NET_INNER);
    if (w->marks != NULL) {
        write_inner(w->inners + at, b, &tree, slots);
    }
    add_key(w, w->inner_at, SKL_NET_INNER | (uint32_t)at);
    w->inner_open = 0;
    if (w->inner_at != UINT64_MAX) {
        add_key(w, w->inner_at + 1, w->now);
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
            w->inner_open = 1;
            w->inner_at = high;
            open_block(w);
        }
        add_range(w, low, mark);
    }
    w->now = mark;
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
    w->last_mark = w->now = SKL_NET_NONE;
    open_block(w);
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
    begin_blocks(w, set);
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
    w->values6 = (void *)(base + l->values6);
    w->inners = (void *)(base + l->inners);
    w->marks = (void *)(base + l->marks);
    w->chunks = (void *)(base + l->chunks);
    w->ranges4 = (void *)(base + l->ranges4);
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
