/*
 * The filter in front of a table of fingerprints: most values that are asked
 * for are in no list, and to say so takes one line of a memory that is a
 * fourteenth of the table's and mostly in the cache.
 *
 * A blocked Bloom filter (Putze, Sanders, Singler: "Cache-, Hash- and
 * Space-Efficient Bloom Filters", 2007): one half of a value's hash chooses a
 * block of 64 bytes, the other 5 of its 512 bits. With 8 bits for each entry 3
 * of 100 absent values pass, and are then looked for in the table. A value that
 * was added always passes.
 *
 * Any thread; adding: one at a time.
 */
#ifndef SKL_ACL_FILTER_H
#define SKL_ACL_FILTER_H

#include "base/hash.h"

#include <stdint.h>

enum {
    SKL_FILTER_WORDS = 8, /* of 64 bits in a block */
    SKL_FILTER_PROBES = 5,
    SKL_FILTER_ENTRIES = 64 /* that a block is meant for */
};

/* Blocks for so many entries. */
static inline uint64_t skl_filter_blocks(uint64_t entries)
{
    return entries / SKL_FILTER_ENTRIES + 1;
}

static inline uint64_t skl_filter_block(const skl_hash_t *hash, uint64_t blocks)
{
    return (uint64_t)skl_hash_range(hash->lo, (uint32_t)blocks) *
           SKL_FILTER_WORDS;
}

static inline void skl_filter_add(uint64_t *words, uint64_t blocks,
                                  const skl_hash_t *hash)
{
    uint64_t *block = words + skl_filter_block(hash, blocks);
    uint64_t bits = hash->hi;

    for (int i = 0; i < SKL_FILTER_PROBES; i++, bits >>= 9) {
        block[bits >> 6 & 7] |= UINT64_C(1) << (bits & 63);
    }
}

/* 0: it was not added. Without a branch: how far a search gets is chance. */
static inline int skl_filter_has(const uint64_t *words, uint64_t blocks,
                                 const skl_hash_t *hash)
{
    const uint64_t *block = words + skl_filter_block(hash, blocks);
    uint64_t bits = hash->hi, all = 1;

    for (int i = 0; i < SKL_FILTER_PROBES; i++, bits >>= 9) {
        all &= block[bits >> 6 & 7] >> (bits & 63);
    }
    return (int)all;
}

#endif
