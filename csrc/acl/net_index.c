/* Reader of network indexes; see net_index.h. */
#include "acl/net_index.h"

#include "base/assert.h"
#include "base/crc32c.h"
#include "seckill.h"

#include <string.h>

static const char MAGIC[8] = {'S', 'K', 'L', 'N', 'E', 'T', 'I', 'X'};

skl_static_assert(sizeof(skl_net_header_t) <= SKL_NET_HEADER, "header");
skl_static_assert(sizeof(skl_net_mark_t) == 24, "format");
skl_static_assert(sizeof(skl_net_inner_t) == 8, "format");

/* ---- Layout -------------------------------------------------------------- */

uint64_t skl_net_plan_tree(skl_net_tree_t *tree, uint64_t count)
{
    uint64_t slots = 0;

    skl_assert(count > 0 && count <= UINT32_MAX);
    tree->levels = 0;
    for (;;) {
        uint32_t level = tree->levels++;
        uint64_t nodes = (count + SKL_NET_NODE - 1) / SKL_NET_NODE;

        skl_assert(level < SKL_NET_LEVELS);
        tree->count[level] = (uint32_t)count;
        tree->at[level] = slots;
        slots += nodes * SKL_NET_NODE;
        if (nodes == 1) {
            return slots;
        }
        count = nodes;
    }
}

/* The offset of a part, after which the next one begins. */
static uint64_t part(uint64_t *end, uint64_t count, uint64_t size)
{
    uint64_t at = *end;

    *end = (at + count * size + 63) & ~(uint64_t)63;
    return at;
}

static int sane(const skl_net_header_t *h)
{
    const uint64_t limit = UINT32_MAX;
    skl_net_tree_t tree;

    if (h->keys6 > limit || h->lows > limit || h->marks > limit / 2 ||
        h->inners > limit / 2 || h->slots4 > limit / 2 ||
        h->reasons_bytes > limit || h->marks < SKL_NET_FIRST_MARK) {
        return 0;
    }
    if (h->chunks != 0 && h->chunks != SKL_NET_CHUNKS) {
        return 0;
    }
    return h->slots6 ==
           (h->keys6 == 0 ? 0 : skl_net_plan_tree(&tree, h->keys6));
}

int skl_net_lay_out(const skl_net_header_t *h, skl_net_layout_t *out)
{
    uint64_t end = SKL_NET_HEADER;

    if (!sane(h)) {
        return 0;
    }
    out->keys6 = part(&end, h->slots6, sizeof(uint64_t));
    out->lows = part(&end, h->lows, sizeof(uint64_t));
    out->marks = part(&end, h->marks, sizeof(skl_net_mark_t));
    out->values6 = part(&end, h->keys6, sizeof(uint32_t));
    out->values = part(&end, h->lows, sizeof(uint32_t));
    out->inners = part(&end, h->inners, sizeof(skl_net_inner_t));
    out->chunks = part(&end, h->chunks, sizeof(uint32_t));
    out->values4 = part(&end, h->slots4, sizeof(uint32_t));
    out->starts4 = part(&end, h->slots4, sizeof(uint16_t));
    out->reasons = part(&end, h->reasons_bytes, 1);
    out->bytes = end;
    return 1;
}

static uint32_t header_crc(const skl_net_header_t *h)
{
    return skl_crc32c(0, h, offsetof(skl_net_header_t, header_crc));
}

static uint32_t body_crc(const skl_net_header_t *h)
{
    const char *base = (const char *)h;

    skl_assert(h->bytes >= SKL_NET_HEADER);
    return skl_crc32c(0, base + SKL_NET_HEADER, h->bytes - SKL_NET_HEADER);
}

void skl_net_seal(skl_net_header_t *h)
{
    skl_assert(h->generation > 0 && h->marks >= SKL_NET_FIRST_MARK);
    memcpy(h->magic, MAGIC, sizeof(MAGIC));
    h->version = SKL_NET_VERSION;
    h->body_crc = body_crc(h);
    h->header_crc = header_crc(h);
}

/* ---- Opening ------------------------------------------------------------- */

static const char *check(const skl_net_header_t *h, uint64_t bytes,
                         skl_net_layout_t *layout)
{
    if (bytes < SKL_NET_HEADER) {
        return "shorter than its header";
    }
    if (memcmp(h->magic, MAGIC, sizeof(MAGIC)) != 0) {
        return "not an index of networks";
    }
    if (h->version != SKL_NET_VERSION) {
        return "another version";
    }
    if (h->header_crc != header_crc(h)) {
        return "wrong checksum of the header";
    }
    if (!skl_net_lay_out(h, layout) || layout->bytes != bytes ||
        h->bytes != bytes) {
        return "wrong size";
    }
    return h->body_crc != body_crc(h) ? "wrong checksum" : NULL;
}

int skl_net_open(skl_net_index_t *index, const void *base, uint64_t bytes,
                 const char **why)
{
    const skl_net_header_t *h = base;
    const char *at = base;
    skl_net_layout_t l;

    skl_assert((uintptr_t)base % 8 == 0);
    *why = check(h, bytes, &l);
    if (*why != NULL) {
        return SECKILL_ECORRUPT;
    }
    index->header = h;
    index->keys6 = (const void *)(at + l.keys6);
    index->lows = (const void *)(at + l.lows);
    index->marks = (const void *)(at + l.marks);
    index->values6 = (const void *)(at + l.values6);
    index->values = (const void *)(at + l.values);
    index->inners = (const void *)(at + l.inners);
    index->chunks = (const void *)(at + l.chunks);
    index->values4 = (const void *)(at + l.values4);
    index->starts4 = (const void *)(at + l.starts4);
    index->reasons = (const void *)(at + l.reasons);
    memset(&index->tree6, 0, sizeof(index->tree6));
    if (h->keys6 > 0) {
        (void)skl_net_plan_tree(&index->tree6, h->keys6);
    }
    return SECKILL_OK;
}

/* ---- Lookup -------------------------------------------------------------- */

/* How many of `count` sorted keys are at most x. No branch on the keys. */
static inline uint64_t count_upto(const uint64_t *keys, uint64_t count,
                                  uint64_t x)
{
    uint64_t n = 0;

    for (uint64_t i = 0; i < count; i++) {
        n += keys[i] <= x;
    }
    return n;
}

/* The number of the last key <= x, 0 if there is none. The bounds hold it
 * inside the tree where the keys are not in order, and where x is as large as
 * what levels are filled up with. */
static inline uint64_t find_in_tree(const uint64_t *keys,
                                    const skl_net_tree_t *tree, uint64_t x)
{
    uint64_t at = 0;

    for (uint32_t level = tree->levels; level-- > 0;) {
        const uint64_t *node = keys + tree->at[level] + at * SKL_NET_NODE;
        uint64_t n = count_upto(node, SKL_NET_NODE, x);

        at = at * SKL_NET_NODE + n - (n > 0);
        at = at < tree->count[level] ? at : tree->count[level] - 1;
    }
    return at;
}

/* Inside of a /64. */
static uint32_t find_low(const skl_net_index_t *index, uint64_t number,
                         uint64_t low)
{
    uint64_t slots = index->header->lows, at, n;
    const skl_net_inner_t *inner = &index->inners[number];
    skl_net_tree_t tree;

    if (number >= index->header->inners || inner->count == 0 ||
        inner->first >= slots || inner->count > slots - inner->first) {
        return SKL_NET_NONE;
    }
    if (inner->count <= SKL_NET_NODE) {
        n = count_upto(index->lows + inner->first, inner->count, low);
        return index->values[inner->first + n - (n > 0)];
    }
    if (skl_net_plan_tree(&tree, inner->count) > slots - inner->first) {
        return SKL_NET_NONE;
    }
    at = find_in_tree(index->lows + inner->first, &tree, low);
    return index->values[inner->first + at];
}

static inline uint32_t find6(const skl_net_index_t *index, uint64_t high,
                             uint64_t low)
{
    uint32_t value;

    if (index->tree6.levels == 0) {
        return SKL_NET_NONE;
    }
    value = index->values6[find_in_tree(index->keys6, &index->tree6, high)];
    if (value & SKL_NET_INNER) {
        value = find_low(index, value & ~SKL_NET_INNER, low);
    }
    return value;
}

/* The last of the ranges of a chunk that begins at `low` or before. */
static inline uint32_t find_range(const skl_net_index_t *index, uint32_t first,
                                  uint32_t low)
{
    uint64_t slots = index->header->slots4;
    const uint16_t *base, *at;
    uint32_t n;

    if (first >= slots || index->starts4[first] >= slots - first) {
        return SKL_NET_NONE;
    }
    n = index->starts4[first];
    base = at = index->starts4 + first + 1;
    while (n > 1) {
        uint32_t half = n / 2;

        at += half * (uint32_t)(at[half - 1] <= low);
        n -= half;
    }
    n = (uint32_t)(at - base) + (n == 1 && *at <= low);
    return index->values4[first + n];
}

static inline uint32_t find4(const skl_net_index_t *index, uint32_t address)
{
    uint32_t word;

    if (index->header->chunks == 0) {
        return SKL_NET_NONE;
    }
    word = index->chunks[address >> 16];
    return word & SKL_NET_DIRECT ? word & ~SKL_NET_DIRECT
                                 : find_range(index, word, address & 0xffff);
}

static inline int read_mark(const skl_net_index_t *index, uint32_t number,
                            skl_index_hit_t *hit)
{
    const skl_net_mark_t *mark = &index->marks[number];

    memset(hit, 0, sizeof(*hit));
    if (number == SKL_NET_NONE || number >= index->header->marks) {
        return 0;
    }
    hit->deny_until = mark->deny_until;
    hit->allow_until = mark->allow_until;
    hit->parent = mark->parent;
    hit->reason = skl_reasons_get(index->reasons, index->header->reasons_bytes,
                                  mark->reason, &hit->reason_len);
    return 1;
}

int skl_net_find(const skl_net_index_t *index, const skl_addr_t *address,
                 skl_index_hit_t *hit)
{
    uint32_t number;

    skl_assert(address->family == SKL_NET_V4 || address->family == SKL_NET_V6);
    number = address->family == SKL_NET_V4
                 ? find4(index, (uint32_t)address->lo)
                 : find6(index, address->hi, address->lo);
    return read_mark(index, number, hit);
}

void skl_net_settle(const skl_net_index_t *index, int64_t now_ns,
                    skl_index_hit_t *hit)
{
#ifdef MUTANT_NET_TTL_HIDES
    return;
#endif
    for (int i = 0; i < SKL_NET_CHAIN; i++) {
        if (hit->deny_until > now_ns || hit->allow_until > now_ns ||
            hit->parent == 0) {
            return;
        }
        (void)read_mark(index, hit->parent, hit);
    }
}
