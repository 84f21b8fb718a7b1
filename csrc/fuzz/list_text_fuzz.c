/*
 * Fuzzer of the list parser and the index writer (libFuzzer).
 *
 * The first byte chooses the size of the buffers. What the parser says must
 * not depend on it; the index that is built from the entries must fit the plan
 * of the first reading, pass its own checks, and contain every entry.
 */
#include "acl/index.h"
#include "acl/text.h"
#include "base/assert.h"
#include "seckill.h"

#include <stdlib.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static const skl_hash_key_t KEY = {1, 2};

static void parse(skl_text_t *t, skl_text_entry_fn entry, void *ctx,
                  const uint8_t *data, size_t size, size_t step)
{
    skl_text_begin(t, entry, ctx, 1000);
    for (size_t at = 0; at < size; at += step) {
        size_t n = size - at < step ? size - at : step;

        skl_text_feed(t, (const char *)data + at, n);
    }
    skl_text_end(t);
}

static void put(void *ctx, const skl_index_entry_t *e)
{
    skl_assert(e->value_len >= 1 && e->value_len <= 64);
    skl_assert(e->reason_len <= 255 && e->until > 1000);
    skl_assert(memchr(e->value, '\n', e->value_len) == NULL);
    skl_assert(memchr(e->value, '\t', e->value_len) == NULL);
    skl_index_put(ctx, e);
}

static void check(void *ctx, const skl_index_entry_t *e)
{
    skl_index_hit_t hit;

    skl_assert(skl_index_find(ctx, e->value, e->value_len, &hit));
    skl_assert((e->allow ? hit.allow_until : hit.deny_until) > 1000);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static skl_text_t first, second;
    static skl_index_writer_t w;
    size_t step = size == 0 ? 1 : (size_t)data[0] + 1;
    skl_index_t index;
    const char *why;
    uint64_t bytes;
    void *base;

    parse(&first, NULL, NULL, data, size, size + 1);
    bytes = skl_index_bytes(&first.counts);
    base = calloc(1, bytes);
    skl_assert(base != NULL);
    skl_index_begin(&w, base, &first.counts, &KEY);
    parse(&second, put, &w, data, size, step);
    skl_assert(memcmp(&first.counts, &second.counts, sizeof(first.counts)) ==
               0);
    skl_assert(first.bad_lines == second.bad_lines);
    skl_assert(first.line == second.line);
    skl_assert(strcmp(first.errors, second.errors) == 0);
    skl_assert(skl_index_end(&w, SECKILL_LIST_ID, 1, 1) == SECKILL_OK);
    skl_assert(skl_index_open(&index, base, bytes, &why) == SECKILL_OK);
    skl_assert(index.header->entries <= first.counts.entries);
    parse(&second, check, &index, data, size, size + 1);
    free(base);
    return 0;
}
