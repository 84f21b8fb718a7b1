/* See image.h. */
#include "stock/image.h"

#include "base/assert.h"
#include "base/crc32c.h"

#include <stddef.h>
#include <stdlib.h>
#include <string.h>

/* A lock, and the sequence right behind it. */
enum { BLANK = sizeof(skl_lock_t) + sizeof(uint64_t), CHUNK = 1 << 16 };

_Static_assert(offsetof(skl_shard_t, seq) == sizeof(skl_lock_t), "image");
_Static_assert(offsetof(skl_item_row_t, seq) == sizeof(skl_lock_t), "image");
_Static_assert(offsetof(skl_tables_shm_t, seq) == sizeof(skl_lock_t), "image");

/* Zero what lies of [from, from + BLANK) in the copy of [at, at + n). */
static void blank(uint64_t from, uint64_t at, size_t n, char *out)
{
    const uint64_t begin = from > at ? from : at;
    const uint64_t end = from + BLANK < at + n ? from + BLANK : at + n;

    if (begin < end) {
        memset(out + (begin - at), 0, (size_t)(end - begin));
    }
}

/* The same for `count` rows of `size` bytes from `base` on. */
static void blank_rows(uint64_t base, uint64_t size, uint32_t count,
                       uint64_t at, size_t n, char *out)
{
    uint64_t i = at > base + BLANK ? (at - base - BLANK) / size : 0;

    for (; i < count && base + i * size < at + n; i++) {
        blank(base + i * size, at, n, out);
    }
}

void skl_image_copy(const skl_tables_t *t, uint64_t at, size_t n, void *out)
{
    const skl_tables_shm_t *p = t->shm;

    skl_assert(at + n <= p->bytes);
    memcpy(out, (const char *)p + at, n);
    blank(0, at, n, out);
    blank_rows(p->off_shards, sizeof(skl_shard_t), p->shards, at, n, out);
    blank_rows(p->off_items, sizeof(skl_item_row_t), p->items, at, n, out);
}

uint64_t skl_image_digest(const skl_tables_t *t)
{
    const uint64_t bytes = skl_image_bytes(t);
    char chunk[CHUNK];
    uint32_t crc = 0;

    skl_assert(bytes > sizeof(skl_tables_shm_t));
    for (uint64_t at = 0; at < bytes; at += CHUNK) {
        const size_t n = bytes - at < CHUNK ? (size_t)(bytes - at) : CHUNK;

        skl_image_copy(t, at, n, chunk);
        crc = skl_crc32c(crc, chunk, n);
    }
    return 1ULL << 32 | crc;
}

uint64_t skl_image_differing(const skl_tables_t *a, const skl_tables_t *b,
                             uint64_t *first)
{
    enum { PART = 4096 };
    const uint64_t bytes = skl_image_bytes(a);
    char x[PART], y[PART];
    uint64_t found = 0;

    skl_assert(bytes == skl_image_bytes(b));
    for (uint64_t at = 0; at < bytes; at += PART) {
        const size_t n = bytes - at < PART ? (size_t)(bytes - at) : PART;

        skl_image_copy(a, at, n, x);
        skl_image_copy(b, at, n, y);
        if (memcmp(x, y, n) == 0) {
            continue;
        }
        for (size_t i = 0; i < n; i++) {
            if (x[i] != y[i] && found++ == 0) {
                *first = at + i;
            }
        }
    }
    return found;
}

void skl_image_put(skl_tables_t *t, uint64_t at, size_t n, const void *from)
{
    memcpy((char *)t->shm + at, from, n);
}

int skl_image_finish(skl_tables_t *t, const skl_tables_shm_t *numbers)
{
    const size_t from = offsetof(skl_tables_shm_t, shards);
    char *have = (char *)t->shm + from;
    const char *want = (const char *)numbers + from;
    const int same = memcmp(have, want, sizeof(*numbers) - from) == 0;

    skl_assert(numbers != t->shm && numbers->items > 0);
    memcpy(have, want, sizeof(*numbers) - from);
    skl_lock_init(&t->shm->lock);
    for (uint32_t i = 0; i < t->shm->items; i++) {
        skl_lock_init(&t->items[i].lock);
    }
    for (uint32_t i = 0; i < t->shm->shards; i++) {
        skl_lock_init(&t->shards[i].lock);
    }
    return same;
}
