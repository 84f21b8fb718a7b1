/*
 * Fuzzer of the index reader (libFuzzer).
 *
 * A small good index is changed by the input, a list of (offset, byte) pairs,
 * and cut to a length that the input chooses. Once it is opened as it is: it
 * must be refused, or be unchanged. Once the checksums are set right again, as
 * an attacker could: then every lookup must stay inside the memory.
 */
#include "acl/index.h"
#include "acl/text.h"
#include "base/assert.h"
#include "base/crc32c.h"
#include "seckill.h"

#include <stddef.h>
#include <stdlib.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static const skl_hash_key_t KEY = {1, 2};
static const char LIST[] = "a\nb\t5\nc\t\twhy\n!d\ne\n!e\nf\t9\tlong reason\n";

static void put(void *ctx, const skl_index_entry_t *e)
{
    skl_index_put(ctx, e);
}

static char *build(uint64_t *bytes)
{
    static skl_index_writer_t w;
    skl_text_t t;
    char *base;

    skl_text_begin(&t, NULL, NULL, 1);
    skl_text_feed(&t, LIST, sizeof(LIST) - 1);
    skl_text_end(&t);
    *bytes = skl_index_bytes(&t.counts);
    base = calloc(1, *bytes);
    skl_assert(base != NULL);
    skl_index_begin(&w, base, &t.counts, &KEY);
    skl_text_begin(&t, put, &w, 1);
    skl_text_feed(&t, LIST, sizeof(LIST) - 1);
    skl_text_end(&t);
    skl_assert(skl_index_end(&w, SECKILL_LIST_ID, 1, 1) == SECKILL_OK);
    return base;
}

/* The header block is mostly padding: offsets count without it. */
static uint64_t to_offset(uint32_t n, uint64_t bytes)
{
    uint64_t at = n % (sizeof(skl_index_header_t) + bytes - SKL_INDEX_HEADER);

    return at < sizeof(skl_index_header_t)
               ? at
               : at - sizeof(skl_index_header_t) + SKL_INDEX_HEADER;
}

static void set_checksums(char *base, uint64_t bytes)
{
    skl_index_header_t *h = (void *)base;

    if (bytes < SKL_INDEX_HEADER) {
        return;
    }
    h->body_crc =
        skl_crc32c(0, base + SKL_INDEX_HEADER, bytes - SKL_INDEX_HEADER);
    h->header_crc =
        skl_crc32c(0, base, offsetof(skl_index_header_t, header_crc));
}

static void look_up(const char *base, uint64_t bytes)
{
    const char values[] = "abcdefghij";
    skl_index_hit_t hit;
    skl_index_t index;
    const char *why;

    if (skl_index_open(&index, base, bytes, &why) != SECKILL_OK) {
        return;
    }
    for (size_t i = 0; i < sizeof(values) - 1; i++) {
        if (skl_index_find(&index, values + i, 1, &hit) && hit.reason_len > 0) {
            volatile char last = hit.reason[hit.reason_len - 1];

            (void)last;
        }
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    uint64_t bytes, cut;
    char *whole = build(&bytes), *copy;
    skl_index_t index;
    const char *why;

    cut = size > 0 && data[0] != 0 ? bytes - data[0] % bytes : bytes;
    copy = malloc(cut); /* exact: a read beyond it is seen */
    skl_assert(copy != NULL);
    memcpy(copy, whole, cut);
    for (size_t i = 1; i + 3 <= size; i += 3) {
        uint64_t at = to_offset((uint32_t)data[i] << 8 | data[i + 1], bytes);

        if (at < cut) {
            copy[at] = (char)data[i + 2];
        }
    }
    if (skl_index_open(&index, copy, cut, &why) == SECKILL_OK) {
        skl_assert(cut == bytes);
        look_up(copy, cut);
    }
    set_checksums(copy, cut);
    look_up(copy, cut);
    free(copy);
    free(whole);
    return 0;
}
