/*
 * The index of one generation of an access list of networks: an immutable file,
 * written into a memory range (acl/net_set.h) and read from one. No I/O, no
 * allocation here; readers: any thread.
 *
 * Networks overlap; the index has disjoint ranges of addresses in order, each
 * with the number of the mark that decides there: that of the most specific
 * network, found by the writer. A lookup finds the last range that begins at
 * the address or before it.
 *
 * Format, native byte order (it never leaves the host and can be rebuilt from
 * the list file). Parts begin at multiples of 64 bytes, in this order; their
 * sizes follow from the counts in the header:
 *
 *   header   skl_net_header_t, 4 KiB
 *   keys6    uint64_t: tree of the high halves at which an IPv6 range begins
 *   values6  uint32_t for each of the keys: mark, or SKL_NET_INNER | where in
 *            `inners` the ranges of this /64 are
 *   inners   uint64_t: for each /64 with longer prefixes, count | mark at its
 *            begin << 32; the low halves at which other ranges begin, a tree
 *            if they are over 8; their marks, 32 bits each
 *   marks    skl_net_mark_t; number 0 is "not listed"
 *   chunks   uint32_t for each IPv4 /16, or none at all: SKL_NET_DIRECT | mark,
 *            or where in `ranges4` it is
 *   ranges4  uint32_t: for each such /16, mark at its begin; count; the low
 *            halves at which other ranges begin, 16 bits each, filled up to a
 *            multiple of 8; their marks
 *   reasons  acl/reasons.h
 *
 * A tree is an array of sorted keys; above it every 8th key, and so on up to 8
 * keys at most. Each level is filled up to a multiple of 8: one node is one
 * cache line. Blocks of `inners` and `ranges4` that fit into one cache line are
 * in one.
 *
 * So IPv4 needs two cache lines, more where a /16 has over 8 ranges; IPv6 one
 * for each level of the tree, 6 for 200,000 ranges, whatever the networks are.
 *
 * A mark with an end names the mark of the next less specific network: that
 * counts once it is over (skl_net_settle). Networks without an end share their
 * marks.
 *
 * Checked when it is opened: magic, version, sizes, CRC-32C of header and body.
 * Reading stays inside the range whatever the bytes are.
 */
#ifndef SKL_ACL_NET_INDEX_H
#define SKL_ACL_NET_INDEX_H

#include "acl/index.h"
#include "acl/net.h"

#include <stddef.h>
#include <stdint.h>

enum {
    SKL_NET_VERSION = 1,
    SKL_NET_HEADER = 4096,
    SKL_NET_NODE = 8,
    SKL_NET_LEVELS = 12, /* of 2^32 keys: 11 */
    SKL_NET_CHUNKS = 65536,
    SKL_NET_CHAIN = 129 /* networks around an address, at most */
};
#define SKL_NET_DIRECT 0x80000000u
#define SKL_NET_INNER 0x80000000u

/* Marks with fixed numbers: deny and allow, for ever, without a reason. */
enum { SKL_NET_NONE, SKL_NET_DENY, SKL_NET_ALLOW, SKL_NET_FIRST_MARK };

typedef struct {
    char magic[8]; /* "SKLNETIX" */
    uint32_t version;
    uint32_t kind;  /* SECKILL_LIST_IP */
    uint64_t bytes; /* of the whole file */
    uint64_t owner; /* of the segment and list it was made for */
    uint64_t generation;
    uint64_t entries;       /* distinct networks */
    uint64_t keys6, slots6; /* without and with what fills up */
    uint64_t inners, marks, chunks, ranges4;
    uint64_t reasons_bytes;
    uint32_t body_crc;
    uint32_t header_crc; /* of the bytes before it */
} skl_net_header_t;

typedef struct {
    int64_t deny_until, allow_until; /* 0: no, SKL_FOREVER, or ns */
    uint32_t reason;
    uint32_t parent; /* mark of the next less specific network; 0: none */
} skl_net_mark_t;

/* Where the levels of a tree are, the keys themselves first. */
typedef struct {
    uint32_t levels;
    uint32_t count[SKL_NET_LEVELS];
    uint64_t at[SKL_NET_LEVELS];
} skl_net_tree_t;

/* Offsets of the parts. */
typedef struct {
    uint64_t keys6, values6, inners, marks, chunks, ranges4, reasons, bytes;
} skl_net_layout_t;

/* A reader: plain pointers into the range. */
typedef struct {
    const skl_net_header_t *header;
    const uint64_t *keys6, *inners;
    const uint32_t *values6, *chunks, *ranges4;
    const skl_net_mark_t *marks;
    const unsigned char *reasons;
    skl_net_tree_t tree6;
} skl_net_index_t;

/* Check a range and make a reader. SECKILL_ECORRUPT; *why names the check. */
int skl_net_open(skl_net_index_t *index, const void *base, uint64_t bytes,
                 const char **why);
/* 1 and the mark of the most specific network that contains the address. */
int skl_net_find(const skl_net_index_t *index, const skl_addr_t *address,
                 skl_index_hit_t *hit);
/* Go on to less specific networks while deny and allow are over. */
void skl_net_settle(const skl_net_index_t *index, int64_t now_ns,
                    skl_index_hit_t *hit);

/* For the writer: 32-bit words that the starts of a block of `ranges4` take. */
static inline uint64_t skl_net_filled4(uint64_t count)
{
    return (count + SKL_NET_NODE - 1) / SKL_NET_NODE * SKL_NET_NODE / 2;
}

/* Levels of a tree of `count` keys; how many slots it has. */
uint64_t skl_net_plan_tree(skl_net_tree_t *tree, uint64_t count);
/* 0 when the counts of the header are absurd. */
int skl_net_lay_out(const skl_net_header_t *header, skl_net_layout_t *out);
/* Set magic and checksums. */
void skl_net_seal(skl_net_header_t *header);

#endif
