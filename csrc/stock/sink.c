/* See sink.h. */
#include "stock/sink.h"

#include "base/assert.h"
#include "stock/apply.h"
#include "stock/image.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

void skl_sink_enable(skl_stock_t *s)
{
    atomic_store(&s->ring.shm->flushed, skl_ring_tail(&s->ring));
    atomic_store(&s->ring.shm->sink_attached, 1);
}

void skl_sink_disable(skl_stock_t *s)
{
    atomic_store(&s->ring.shm->sink_attached, 0);
}

int skl_sink_read(skl_stock_t *s, skl_sink_write_fn take, void *ctx, int max)
{
    skl_ring_t *ring = &s->ring;
    uint64_t lsn = SKL_LD(ring->shm->flushed);
    const uint64_t tail = skl_ring_tail(ring);
    int done = 0;

    skl_assert(max >= 0);
    for (; lsn < tail && done < max; done++) {
        skl_record_t r;
        int rc;

        if (!skl_ring_read(ring, lsn + 1, &r) ||
            !skl_rec_valid(&r, SKL_RECORD_MAX)) {
            return SECKILL_ECORRUPT;
        }
        rc = take(ctx, &r);
        if (rc != SECKILL_OK) {
            return rc;
        }
        lsn++;
        atomic_store_explicit(&ring->shm->flushed, lsn, memory_order_release);
    }
    return done;
}

/* ---- Memory sink --------------------------------------------------------- */

struct skl_sink {
    char *bytes; /* records without padding, one after the other */
    size_t used, size;
    uint64_t last_lsn;
};

skl_sink_t *skl_memory_sink_new(void)
{
    return calloc(1, sizeof(skl_sink_t));
}

void skl_memory_sink_free(skl_sink_t *sink)
{
    if (sink != NULL) {
        free(sink->bytes);
        free(sink);
    }
}

static int grow(skl_sink_t *sink, size_t need)
{
    size_t size = sink->size == 0 ? 1U << 16 : sink->size;
    char *bytes;

    while (size < sink->used + need) {
        size *= 2;
    }
    if (size == sink->size) {
        return SECKILL_OK;
    }
    bytes = realloc(sink->bytes, size);
    if (bytes == NULL) {
        return SECKILL_ENOMEM;
    }
    sink->bytes = bytes;
    sink->size = size;
    return SECKILL_OK;
}

int skl_memory_sink_write(void *ctx, const skl_record_t *r)
{
    skl_sink_t *sink = ctx;
    int rc;

    if (r->lsn != sink->last_lsn + 1) {
        return SECKILL_ECORRUPT; /* a hole */
    }
    rc = grow(sink, r->bytes);
    if (rc == SECKILL_OK) {
        memcpy(sink->bytes + sink->used, r, r->bytes);
        sink->used += r->bytes;
        sink->last_lsn = r->lsn;
    }
    return rc;
}

static int replay(const skl_sink_t *sink, skl_tables_t *t)
{
    size_t at = 0;

    while (at < sink->used) {
        skl_record_t r;
        uint16_t bytes;

        memcpy(&bytes, sink->bytes + at + 4, sizeof(bytes));
        memcpy(&r, sink->bytes + at, bytes);
        if (!skl_apply_fits(t, &r)) {
            return SECKILL_ECORRUPT;
        }
        skl_apply(t, &r, r.parts, NULL);
        at += bytes;
    }
    return SECKILL_OK;
}

/* Bytes of both images that differ. */
static int compare(const skl_sink_t *sink, skl_stock_t *s, void *rebuilt,
                   const uint32_t capacity[4], char *text, size_t size)
{
    skl_tables_t b;
    uint64_t differing, first = 0;
    int rc;

    skl_tables_init(rebuilt, capacity[0], capacity[1], capacity[2],
                    capacity[3]);
    skl_tables_attach(&b, rebuilt, &s->tables.key);
    rc = replay(sink, &b);
    if (rc != SECKILL_OK) {
        return rc;
    }
    differing = skl_image_differing(&s->tables, &b, &first);
    if (differing > 0) {
        (void)snprintf(text, size, "first difference at byte %llu",
                       (unsigned long long)first);
    }
    return differing < INT32_MAX ? (int)differing : INT32_MAX;
}

int skl_memory_sink_compare(skl_sink_t *sink, skl_stock_t *s,
                            const uint32_t capacity[4], char *text, size_t size)
{
    const uint64_t bytes = (s->tables.shm->bytes + 63) / 64 * 64;
    void *rebuilt = aligned_alloc(64, bytes);
    int rc;

    if (rebuilt == NULL) {
        return SECKILL_ENOMEM;
    }
    memset(rebuilt, 0, bytes);
    rc = compare(sink, s, rebuilt, capacity, text, size);
    free(rebuilt);
    return rc;
}
