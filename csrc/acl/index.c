/* Reader and writer of list indexes; see index.h. */
#include "acl/index.h"

#include "base/assert.h"
#include "base/crc32c.h"
#include "seckill.h"

#include <string.h>

static const char MAGIC[8] = {'S', 'K', 'L', 'I', 'N', 'D', 'E', 'X'};

skl_static_assert(sizeof(skl_index_header_t) <= SKL_INDEX_HEADER, "header");
skl_static_assert(sizeof(skl_index_mark_t) == 32, "format");

enum {
    BUCKET_BYTES = SKL_BUCKET_WORDS * 8,
    BLOCK_BYTES = SKL_FILTER_WORDS * 8
};

/* ---- Layout -------------------------------------------------------------- */

static uint64_t buckets_for(uint64_t entries)
{
    return entries * 2 / 9 + 1;
}

static uint64_t marks_for(uint64_t marks)
{
    return marks == 0 ? 0 : marks * 4 / 3 + 1;
}

/* Offsets and size follow from the counts; 0 when they are absurd. */
static uint64_t lay_out(skl_index_header_t *h)
{
    const uint64_t limit = UINT32_MAX;

    if (h->blocks == 0 || h->blocks > limit || h->buckets == 0 ||
        h->buckets > limit || h->marks > limit || h->reasons_bytes > limit) {
        return 0;
    }
    h->words_offset = SKL_INDEX_HEADER + h->blocks * BLOCK_BYTES;
    h->marks_offset = h->words_offset + h->buckets * BUCKET_BYTES;
    h->reasons_offset = h->marks_offset + h->marks * sizeof(skl_index_mark_t);
    return h->reasons_offset + h->reasons_bytes;
}

static void plan_header(skl_index_header_t *h, const skl_index_plan_t *plan)
{
    memset(h, 0, sizeof(*h));
    h->blocks = skl_filter_blocks(plan->entries);
    h->buckets = buckets_for(plan->entries);
    h->marks = marks_for(plan->marks);
    h->reasons_bytes = plan->reasons_bytes;
    h->bytes = lay_out(h);
}

static uint32_t header_crc(const skl_index_header_t *h)
{
    return skl_crc32c(0, h, offsetof(skl_index_header_t, header_crc));
}

static uint32_t body_crc(const skl_index_header_t *h)
{
    const char *base = (const char *)h;

    skl_assert(h->bytes >= SKL_INDEX_HEADER);
    return skl_crc32c(0, base + SKL_INDEX_HEADER, h->bytes - SKL_INDEX_HEADER);
}

static inline uint64_t fingerprint(const skl_hash_t *hash)
{
    uint64_t fp = hash->hi & ~(uint64_t)1;

    return fp != 0 ? fp : 2;
}

static inline uint32_t home(const skl_hash_t *hash, uint64_t buckets)
{
    return skl_hash_range(hash->lo, (uint32_t)buckets);
}

/* ---- Reader -------------------------------------------------------------- */

static const char *check_header(const skl_index_header_t *h, uint64_t bytes)
{
    skl_index_header_t again;

    if (bytes < SKL_INDEX_HEADER) {
        return "shorter than its header";
    }
    if (memcmp(h->magic, MAGIC, sizeof(MAGIC)) != 0) {
        return "not an index";
    }
    if (h->version != SKL_INDEX_VERSION) {
        return "another version";
    }
    if (h->header_crc != header_crc(h)) {
        return "wrong checksum of the header";
    }
    again = *h;
    if (lay_out(&again) != bytes || h->bytes != bytes ||
        h->words_offset != again.words_offset ||
        h->marks_offset != again.marks_offset ||
        h->reasons_offset != again.reasons_offset) {
        return "wrong size";
    }
    return NULL;
}

int skl_index_open(skl_index_t *index, const void *base, uint64_t bytes,
                   const char **why)
{
    const skl_index_header_t *h = base;

    skl_assert((uintptr_t)base % 8 == 0);
    *why = check_header(h, bytes);
    if (*why == NULL && h->body_crc != body_crc(h)) {
        *why = "wrong checksum";
    }
    if (*why != NULL) {
        return SECKILL_ECORRUPT;
    }
    index->header = h;
    index->filter = (const void *)((const char *)base + SKL_INDEX_HEADER);
    index->words = (const void *)((const char *)base + h->words_offset);
    index->marks = (const void *)((const char *)base + h->marks_offset);
    index->reasons = (const unsigned char *)base + h->reasons_offset;
    index->blocks = h->blocks;
    index->buckets = h->buckets;
    index->key = h->key;
    return SECKILL_OK;
}

static void read_mark(const skl_index_t *index, const skl_hash_t *hash,
                      skl_index_hit_t *hit)
{
    uint64_t fp = fingerprint(hash), size = index->header->marks;
    uint64_t at = size == 0 ? 0 : skl_hash_range(hash->hi, (uint32_t)size);

    for (uint64_t i = 0; i < size; i++) {
        const skl_index_mark_t *mark = &index->marks[at];

        if (mark->word == fp) {
            hit->deny_until = mark->deny_until;
            hit->allow_until = mark->allow_until;
            hit->reason =
                skl_reasons_get(index->reasons, index->header->reasons_bytes,
                                mark->reason, &hit->reason_len);
            return;
        }
        if (mark->word == 0) {
            return;
        }
        at = at + 1 == size ? 0 : at + 1;
    }
}

/* The word with this fingerprint, 0 for none. One cache line, no branch. */
static inline uint64_t scan(const uint64_t *words, uint64_t fp)
{
    uint64_t found = 0;

    for (int i = 0; i < SKL_BUCKET_WORDS; i++) {
        found |= (words[i] ^ fp) <= 1 ? words[i] : 0;
    }
    return found;
}

int skl_index_find(const skl_index_t *index, const void *value, size_t len,
                   skl_index_hit_t *hit)
{
    skl_hash_t hash = skl_hash128(&index->key, value, len);
    uint64_t fp = fingerprint(&hash), at = home(&hash, index->buckets);
    uint64_t word = 0;

    skl_assert(len > 0 && at < index->buckets);
    if (!skl_filter_has(index->filter, index->blocks, &hash)) {
        return 0;
    }
    for (uint64_t i = 0; i < index->buckets; i++) {
        const uint64_t *words = index->words + at * SKL_BUCKET_WORDS;

        word = scan(words, fp);
        if (word != 0 || words[SKL_BUCKET_WORDS - 1] == 0) {
            break;
        }
        at = at + 1 == index->buckets ? 0 : at + 1;
    }
    if (word == 0) {
        return 0;
    }
    memset(hit, 0, sizeof(*hit));
    if (word & 1) {
        read_mark(index, &hash, hit);
    } else {
        hit->deny_until = SKL_FOREVER;
    }
    return 1;
}

/* ---- Writer -------------------------------------------------------------- */

uint64_t skl_index_bytes(const skl_index_plan_t *plan)
{
    skl_index_header_t h;

    plan_header(&h, plan);
    return h.bytes;
}

void skl_index_begin(skl_index_writer_t *w, void *base,
                     const skl_index_plan_t *plan, const skl_hash_key_t *key)
{
    skl_assert((uintptr_t)base % 8 == 0);
    memset(w, 0, sizeof(*w));
    w->header = base;
    plan_header(w->header, plan);
    skl_assert(w->header->bytes != 0);
    w->header->key = *key;
    w->filter = (void *)((char *)base + SKL_INDEX_HEADER);
    w->words = (void *)((char *)base + w->header->words_offset);
    w->marks = (void *)((char *)base + w->header->marks_offset);
    skl_reasons_begin(&w->reasons,
                      (unsigned char *)base + w->header->reasons_offset,
                      plan->reasons_bytes);
    w->plan = *plan;
}

/* The value's word, or the free one it goes to; NULL when all are taken. */
static uint64_t *find_word(skl_index_writer_t *w, const skl_hash_t *hash)
{
    uint64_t buckets = w->header->buckets, at = home(hash, buckets);
    uint64_t fp = fingerprint(hash);

    for (uint64_t i = 0; i < buckets; i++) {
        uint64_t *words = w->words + at * SKL_BUCKET_WORDS;

        for (int j = 0; j < SKL_BUCKET_WORDS; j++) {
            if (words[j] == 0 || (words[j] ^ fp) <= 1) {
                return &words[j];
            }
        }
        at = at + 1 == buckets ? 0 : at + 1;
    }
    return NULL;
}

static skl_index_mark_t *find_mark(skl_index_writer_t *w,
                                   const skl_hash_t *hash)
{
    uint64_t size = w->header->marks, fp = fingerprint(hash);
    uint64_t at = skl_hash_range(hash->hi, (uint32_t)size);

    skl_assert(w->used.marks < size); /* so that the search ends */
    while (w->marks[at].word != 0 && w->marks[at].word != fp) {
        at = at + 1 == size ? 0 : at + 1;
    }
    return &w->marks[at];
}

static void set_mark(skl_index_mark_t *mark, const skl_index_put_t *put)
{
    if (put->allow) {
        mark->allow_until = put->until;
    } else {
        mark->deny_until = put->until;
        mark->reason = put->reason;
    }
}

static void put_mark(skl_index_writer_t *w, const skl_index_put_t *put,
                     int64_t deny_until)
{
    skl_index_mark_t *mark;

    if (w->used.marks >= w->plan.marks) {
        w->full = 1;
        return;
    }
    mark = find_mark(w, &put->hash);
    skl_assert(mark->word == 0);
    mark->word = fingerprint(&put->hash);
    mark->deny_until = deny_until;
    w->used.marks++;
    set_mark(mark, put);
}

/* Put one value into its place. */
static void place(skl_index_writer_t *w, const skl_index_put_t *put)
{
    uint64_t *word = find_word(w, &put->hash);

    if (word == NULL) {
        w->full = 1;
        return;
    }
    if (*word == 0) {
        w->header->entries++;
#ifdef MUTANT_LIST_FILTER_PLAIN
        if (put->plain)
#endif
            skl_filter_add(w->filter, w->header->blocks, &put->hash);
        *word = fingerprint(&put->hash) | !put->plain;
        if (!put->plain) {
            put_mark(w, put, 0);
        }
        return;
    }
    if (*word & 1) {
        set_mark(find_mark(w, &put->hash), put);
    } else if (!put->plain) {
        *word |= 1;
        put_mark(w, put, SKL_FOREVER);
    }
}

static void place_oldest(skl_index_writer_t *w)
{
    skl_assert(w->ahead_count > 0);
    place(w, &w->ahead[w->ahead_head]);
    w->ahead_head = (w->ahead_head + 1) % SKL_INDEX_AHEAD;
    w->ahead_count--;
}

void skl_index_put(skl_index_writer_t *w, const skl_index_entry_t *entry)
{
    skl_index_put_t *put;
    uint32_t tail;

    skl_assert(entry->value_len >= 1 && entry->value_len <= 64);
    skl_assert(entry->until > 0);
    if (w->used.entries >= w->plan.entries) {
        w->full = 1;
        return;
    }
    w->used.entries++;
    if (w->ahead_count == SKL_INDEX_AHEAD) {
        place_oldest(w);
    }
    tail = (w->ahead_head + w->ahead_count++) % SKL_INDEX_AHEAD;
    put = &w->ahead[tail];
    put->hash = skl_hash128(&w->header->key, entry->value, entry->value_len);
    put->until = entry->until;
    put->allow = entry->allow != 0;
    put->reason =
        entry->reason_len > 0 && !entry->allow
            ? skl_reasons_put(&w->reasons, entry->reason, entry->reason_len)
            : 0;
    put->plain = !entry->allow && put->reason == 0 && put->until == SKL_FOREVER;
    __builtin_prefetch(
        w->filter + skl_filter_block(&put->hash, w->header->blocks), 1);
    __builtin_prefetch(w->words +
                           (uint64_t)home(&put->hash, w->header->buckets) *
                               SKL_BUCKET_WORDS,
                       1);
}

int skl_index_end(skl_index_writer_t *w, uint32_t kind, uint64_t owner,
                  uint64_t generation)
{
    skl_index_header_t *h = w->header;

    while (w->ahead_count > 0) {
        place_oldest(w);
    }
    if (w->full || w->reasons.full) {
        return SECKILL_EFULL;
    }
    skl_assert(h->entries <= w->plan.entries);
    skl_assert(w->used.marks <= w->plan.marks);
    skl_assert(w->reasons.used <= w->plan.reasons_bytes);
    skl_assert(generation > 0);
    memcpy(h->magic, MAGIC, sizeof(MAGIC));
    h->version = SKL_INDEX_VERSION;
    h->kind = kind;
    h->owner = owner;
    h->generation = generation;
    h->body_crc = body_crc(h);
    h->header_crc = header_crc(h);
    return SECKILL_OK;
}
