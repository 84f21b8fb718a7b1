/* Reader of network indexes; see net_index.h. */
#include "acl/net_index.h"

#include "base/assert.h"
#include "base/crc32c.h"
#include "seckill.h"

#include <string.h>

static const char MAGIC[8] = {'S', 'K', 'L', 'N', 'E', 'T', 'I', 'X'};

skl_static_assert(sizeof(skl_net_header_t) <= SKL_NET_HEADER, "header");
skl_static_assert(sizeof(skl_net_mark_t) == 24, "format");
skl_static_assert(SKL_NET_NODE == 8, "unrolled");

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

    if (h->keys6 > limit || h->inners > limit / 2 || h->marks > limit / 2 ||
        h->ranges4 > limit / 2 || h->reasons_bytes > limit ||
        h->marks < SKL_NET_FIRST_MARK) {
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
    out->values6 = part(&end, h->keys6, sizeof(uint32_t));
    out->inners = part(&end, h->inners, sizeof(uint64_t));
    out->marks = part(&end, h->marks, sizeof(skl_net_mark_t));
    out->chunks = part(&end, h->chunks, sizeof(uint32_t));
    out->ranges4 = part(&end, h->ranges4, sizeof(uint32_t));
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
    index->values6 = (const void *)(at + l.values6);
    index->inners = (const void *)(at + l.inners);
    index->marks = (const void *)(at + l.marks);
    index->chunks = (const void *)(at + l.chunks);
    index->ranges4 = (const void *)(at + l.ranges4);
    index->reasons = (const void *)(at + l.reasons);
    memset(&index->tree6, 0, sizeof(index->tree6));
    if (h->keys6 > 0) {
        (void)skl_net_plan_tree(&index->tree6, h->keys6);
    }
    return SECKILL_OK;
}

/* ---- Lookup -------------------------------------------------------------- */

/* How many of 8 sorted keys are at most x. No branch on the keys. */
static inline uint64_t rank(const uint64_t *k, uint64_t x)
{
    uint64_t a = (uint64_t)(k[0] <= x) + (k[1] <= x) + (k[2] <= x);
    uint64_t b = (uint64_t)(k[3] <= x) + (k[4] <= x) + (k[5] <= x);

    return a + b + (k[6] <= x) + (k[7] <= x);
}

/* The number of the last key <= x, 0 if there is none. The bounds hold it
 * inside the tree where the keys are not in order, and where x is as large as
 * what levels are filled up with. `values`: of the keys, will be needed. */
static inline uint64_t find_in_tree(const uint64_t *keys,
                                    const skl_net_tree_t *tree, uint64_t x,
                                    const uint32_t *values)
{
    uint64_t at = 0;

    for (uint32_t level = tree->levels; level-- > 0;) {
        const uint64_t *node = keys + tree->at[level] + at * SKL_NET_NODE;
        uint64_t n;

        if (level == 0) {
            __builtin_prefetch(values + at * SKL_NET_NODE);
        }
        n = rank(node, x);
        at = at * SKL_NET_NODE + n - (n > 0);
        at = at < tree->count[level] ? at : tree->count[level] - 1;
    }
    return at;
}

/* Inside of a /64. */
static uint32_t find_inner(const skl_net_index_t *index, uint64_t first,
                           uint64_t low)
{
    uint64_t words = index->header->inners, slots, count, n = 0;
    const uint64_t *block, *keys;
    const uint32_t *values;
    skl_net_tree_t tree;

    if (first >= words) {
        return SKL_NET_NONE;
    }
    block = index->inners + first;
    count = block[0] & UINT32_MAX;
    keys = block + 1;
    if (count == 0) {
        return SKL_NET_NONE;
    }
    slots = count <= SKL_NET_NODE ? count : skl_net_plan_tree(&tree, count);
    if (slots + (count + 1) / 2 >= words - first) {
        return SKL_NET_NONE;
    }
    values = (const uint32_t *)(keys + slots);
    if (count <= SKL_NET_NODE) {
        for (uint64_t i = 0; i < count; i++) {
            n += keys[i] <= low;
        }
    } else if (keys[0] <= low) {
        n = 1 + find_in_tree(keys, &tree, low, values);
    }
    return n == 0 ? (uint32_t)(block[0] >> 32) : values[n - 1];
}

static inline uint32_t find6(const skl_net_index_t *index, uint64_t high,
                             uint64_t low)
{
    uint32_t value;

    if (index->tree6.levels == 0) {
        return SKL_NET_NONE;
    }
    value = index->values6[find_in_tree(index->keys6, &index->tree6, high,
                                        index->values6)];
    if (value & SKL_NET_INNER) {
        value = find_inner(index, value & ~SKL_NET_INNER, low);
    }
    return value;
}

/* How many of 8 sorted numbers are at most x. */
static inline uint32_t rank8(const uint16_t *numbers, uint32_t x)
{
    typedef uint16_t eight_t __attribute__((vector_size(16)));
    typedef uint64_t two_t __attribute__((vector_size(16)));
    const uint64_t ones = 0x0001000100010001ULL;
    uint16_t y = (uint16_t)x;
    eight_t v, all = {y, y, y, y, y, y, y, y};
    two_t upto;

    memcpy(&v, numbers, sizeof(v));
    upto = (two_t)(v <= all);
    return (uint32_t)(((upto[0] & ones) + (upto[1] & ones)) * ones >> 48);
}

/* How many of the sorted starts are at most `low`. */
static inline uint32_t rank4(const uint16_t *starts, uint32_t count,
                             uint32_t low)
{
    const uint16_t *at = starts;
    uint32_t n = count;

    if (count <= SKL_NET_NODE) {
        n = rank8(starts, low); /* of what fills up, at most */
        return n < count ? n : count;
    }
    while (n > 1) {
        uint32_t half = n / 2;

        at += half * (uint32_t)(at[half - 1] <= low);
        n -= half;
    }
    return (uint32_t)(at - starts) + (*at <= low);
}

/* Inside of a /16. */
static inline uint32_t find_range(const skl_net_index_t *index, uint32_t first,
                                  uint32_t low)
{
    uint64_t words = index->header->ranges4, count, n;
    const uint32_t *block = index->ranges4 + first;

    if (first >= words || words - first < 2) {
        return SKL_NET_NONE;
    }
    count = block[1];
    if (count == 0 || count > UINT16_MAX ||
        2 + skl_net_filled4(count) + count > words - first) {
        return SKL_NET_NONE;
    }
    n = rank4((const uint16_t *)(block + 2), (uint32_t)count, low);
    return n == 0 ? block[0] : block[2 + skl_net_filled4(count) + n - 1];
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
    const skl_net_mark_t *mark;

    memset(hit, 0, sizeof(*hit));
    if (number == SKL_NET_NONE || number >= index->header->marks) {
        return 0;
    }
    mark = &index->marks[number];
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
