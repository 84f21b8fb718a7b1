/*
 * The index of one generation of an access list: an immutable file, written
 * into a memory range and read from one. No I/O here.
 *
 * Format, native byte order (it never leaves the host and can be rebuilt from
 * the list file), all offsets in bytes from the start:
 *
 *   0      header (skl_index_header_t), 4 KiB
 *   4096   filter (acl/filter.h), blocks of 64 bytes
 *   ...    buckets of 64 bytes: 8 words of 64 bits
 *   ...    marks (skl_index_mark_t) of entries with a ttl, a reason or `!`
 *   ...    reasons: one byte of length, then that many bytes
 *
 * A value is hashed to 128 bits with a key made anew for each index. One half
 * chooses the bucket, the other, without its lowest bit, is the fingerprint.
 * A word is 0 (free), the fingerprint (plain deny), or the fingerprint + 1:
 * then the marks say more. A full bucket goes on in the next one; so a value is
 * absent when a bucket on its way has a free word, mostly the first: one cache
 * line. Two values have the same fingerprint in the same place with
 * probability below 2^-60 for a lookup: that is a false denial; a false
 * admission cannot be.
 *
 * Buckets have 4.5 of 8 words in use on average: 15.2 bytes for an entry, with
 * its byte of the filter. Marks are a table of the same hash with linear
 * probing, at most 3/4 full.
 *
 * Checked when it is opened: magic, version, layout, sizes, CRC-32C of header
 * and body. Reading stays inside the range whatever the bytes are.
 */
#ifndef SKL_ACL_INDEX_H
#define SKL_ACL_INDEX_H

#include "acl/filter.h"
#include "acl/reasons.h"
#include "base/hash.h"

#include <stddef.h>
#include <stdint.h>

enum { SKL_INDEX_VERSION = 2, SKL_INDEX_HEADER = 4096, SKL_BUCKET_WORDS = 8 };

#define SKL_FOREVER INT64_MAX

typedef struct {
    char magic[8]; /* "SKLINDEX" */
    uint32_t version;
    uint32_t kind;  /* SECKILL_LIST_* */
    uint64_t bytes; /* of the whole file */
    uint64_t owner; /* of the segment and list it was made for */
    uint64_t generation;
    skl_hash_key_t key;
    uint64_t entries; /* distinct values */
    uint64_t blocks;  /* of the filter */
    uint64_t buckets;
    uint64_t marks; /* table size; 0: none */
    uint64_t words_offset;
    uint64_t marks_offset;
    uint64_t reasons_offset;
    uint64_t reasons_bytes;
    uint32_t body_crc;
    uint32_t header_crc; /* of the bytes before it */
} skl_index_header_t;

typedef struct {
    uint64_t word; /* fingerprint; 0: free */
    int64_t deny_until;
    int64_t allow_until; /* 0: no, SKL_FOREVER, or ns since the epoch */
    uint32_t reason;     /* offset in the reasons + 1; 0: none */
    uint32_t pad;
} skl_index_mark_t;

/* A reader: plain pointers into the range. */
typedef struct {
    const skl_index_header_t *header;
    const uint64_t *filter;
    const uint64_t *words;
    const skl_index_mark_t *marks;
    const unsigned char *reasons;
    uint64_t blocks, buckets;
    skl_hash_key_t key;
} skl_index_t;

/* What an index says about a value. */
typedef struct {
    int64_t deny_until, allow_until;
    const char *reason;
    uint32_t reason_len;
    uint32_t parent; /* of a network: what counts when both are over; or 0 */
} skl_index_hit_t;

/* Check a range and make a reader. SECKILL_ECORRUPT; *why names the check. */
int skl_index_open(skl_index_t *index, const void *base, uint64_t bytes,
                   const char **why);
/* 1 when the value is in it. */
int skl_index_find(const skl_index_t *index, const void *value, size_t len,
                   skl_index_hit_t *hit);

/* Upper bounds of what will be put. */
typedef struct {
    uint64_t entries, marks, reasons_bytes;
} skl_index_plan_t;

enum { SKL_INDEX_AHEAD = 32 };

typedef struct {
    skl_hash_t hash;
    int64_t until; /* of a deny or an allow */
    uint32_t reason;
    uint8_t plain, allow;
    uint8_t pad[2];
} skl_index_put_t;

/* A writer. Values are put into place SKL_INDEX_AHEAD calls later, when their
 * cache line has arrived. */
typedef struct {
    skl_index_header_t *header;
    uint64_t *filter;
    uint64_t *words;
    skl_index_mark_t *marks;
    skl_reasons_t reasons;
    skl_index_plan_t plan;
    skl_index_plan_t used;
    skl_index_put_t ahead[SKL_INDEX_AHEAD];
    uint32_t ahead_head, ahead_count;
    int full; /* 1: more was put than planned */
    int pad;
} skl_index_writer_t;

uint64_t skl_index_bytes(const skl_index_plan_t *plan);
/* Begin in `base`: zeroed memory of skl_index_bytes(plan). */
void skl_index_begin(skl_index_writer_t *w, void *base,
                     const skl_index_plan_t *plan, const skl_hash_key_t *key);
typedef struct {
    const char *value;
    const char *reason;
    size_t value_len, reason_len;
    int64_t until; /* SKL_FOREVER, or ns since the epoch */
    int allow;
} skl_index_entry_t;
/* Of the same value, an allow and a deny are kept side by side; of two of the
 * same sort the later counts. */
void skl_index_put(skl_index_writer_t *w, const skl_index_entry_t *entry);
/* Finish: SECKILL_OK, or SECKILL_EFULL when more was put than planned. */
int skl_index_end(skl_index_writer_t *w, uint32_t kind, uint64_t owner,
                  uint64_t generation);

#endif
