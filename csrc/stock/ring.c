/* See ring.h. */
#include "stock/ring.h"

#include "base/assert.h"
#include "seckill.h"

#include <stddef.h>

#define RELAXED memory_order_relaxed

static uint64_t start_offset(void)
{
    return sizeof(skl_ring_shm_t);
}

static uint64_t pending_offset(uint32_t units)
{
    return start_offset() + 8ULL * units;
}

static uint64_t units_offset(uint32_t units)
{
    uint64_t end = pending_offset(units) + 4ULL * units;

    return (end + 127) / 128 * 128;
}

uint64_t skl_ring_bytes(uint32_t units)
{
    return units_offset(units) + (uint64_t)units * SKL_UNIT;
}

void skl_ring_init(void *section, uint32_t units)
{
    skl_ring_shm_t *shm = section;

    skl_assert(units >= 64 && (units & (units - 1)) == 0);
    shm->units = units;
    skl_lock_init(&shm->lock);
    atomic_init(&shm->head, 1); /* LSNs begin at 1; start[1] is 0 */
}

void skl_ring_attach(skl_ring_t *ring, void *section)
{
    unsigned char *base = section;

    ring->shm = section;
    ring->mask = ring->shm->units - 1;
    ring->start = (void *)(base + start_offset());
    ring->pending = (void *)(base + pending_offset(ring->shm->units));
    ring->units = base + units_offset(ring->shm->units);
}

static uint64_t start_of(const skl_ring_t *ring, uint64_t lsn)
{
    return atomic_load_explicit(&ring->start[lsn & ring->mask], RELAXED);
}

/* Word by word, relaxed: a reader may race with the writer that overwrites
 * the record, notices it afterwards and drops the copy. */
static void copy_words(void *to, const void *from, uint32_t bytes)
{
    _Atomic uint64_t *dst = to;
    const _Atomic uint64_t *src = from;

    for (uint32_t i = 0; i < (bytes + 7) / 8; i++) {
        uint64_t word = atomic_load_explicit(
            (_Atomic uint64_t *)(uintptr_t)&src[i], RELAXED);

        atomic_store_explicit(&dst[i], word, RELAXED);
    }
}

/* May this record be overwritten? */
static int is_spent(const skl_ring_t *ring, uint64_t lsn)
{
    const skl_ring_shm_t *shm = ring->shm;

    if (atomic_load_explicit(&ring->pending[lsn & ring->mask],
                             memory_order_acquire) != 0) {
        return 0;
    }
    return !atomic_load_explicit(&shm->sink_attached, RELAXED) ||
           lsn <= atomic_load_explicit(&shm->flushed, RELAXED);
}

/* Drop the oldest records until units up to `end` are free: 1, else 0. */
static int make_room(skl_ring_t *ring, uint64_t tail, uint64_t end)
{
    uint64_t head = atomic_load_explicit(&ring->shm->head, RELAXED);

    while (head <= tail && start_of(ring, head) + ring->mask < end) {
        if (!is_spent(ring, head)) {
            return 0;
        }
        head++;
        atomic_store_explicit(&ring->shm->head, head, RELAXED);
    }
    /* Readers check head after copying, behind an acquire fence: who sees one
     * of the bytes that now come sees that head moved. */
    atomic_thread_fence(memory_order_release);
    return 1;
}

/* A record does not wrap around the end of the ring. */
static uint64_t place(const skl_ring_t *ring, uint64_t at, uint32_t units)
{
    uint64_t left = ring->shm->units - (at & ring->mask);

    return left < units ? at + left : at;
}

static void stamp(skl_ring_t *ring, skl_record_t *r, uint64_t lsn,
                  uint32_t body_crc)
{
    int64_t last = atomic_load_explicit(&ring->shm->last_time, RELAXED);

    r->lsn = lsn;
    r->time = r->time > last ? r->time : last;
    r->crc = skl_rec_crc(r, body_crc);
    atomic_store_explicit(&ring->shm->last_time, r->time, RELAXED);
}

static int publish_locked(skl_ring_t *ring, skl_record_t *r, uint32_t body_crc,
                          skl_lock_t **locks, int count)
{
    const uint32_t units = skl_rec_units(r);
    const uint64_t tail = atomic_load_explicit(&ring->shm->tail, RELAXED);
    const uint64_t lsn = tail + 1;
    const uint64_t at = place(ring, start_of(ring, lsn), units);

    skl_assert(units >= 1 && units <= ring->shm->units / 2);
    if (!make_room(ring, tail, at + units)) {
        return SECKILL_EBUSY;
    }
#ifdef MUTANT_COMMIT_BEFORE_COPY
    atomic_store_explicit(&ring->shm->tail, lsn, memory_order_release);
#endif
    stamp(ring, r, lsn, body_crc);
    copy_words(ring->units + (at & ring->mask) * SKL_UNIT, r, r->bytes);
#ifdef MUTANT_NO_INTENT
    count = 0;
#endif
    for (int i = 0; i < count; i++) {
        atomic_store_explicit(&locks[i]->intent, lsn, RELAXED);
    }
    atomic_store_explicit(&ring->pending[lsn & ring->mask], skl_rec_pending(r),
                          RELAXED);
    atomic_store_explicit(&ring->start[lsn & ring->mask], at, RELAXED);
    atomic_store_explicit(&ring->start[(lsn + 1) & ring->mask], at + units,
                          RELAXED);
    atomic_store_explicit(&ring->shm->tail, lsn, memory_order_release);
    return SECKILL_OK;
}

int skl_ring_publish(skl_ring_t *ring, skl_record_t *r, skl_lock_t **locks,
                     int count, skl_wait_t *wait)
{
    const uint32_t body_crc = skl_rec_crc_body(r);
    int rc;

    skl_assert(r->bytes >= SKL_UNIT && r->bytes <= SKL_RECORD_MAX);
    skl_assert(count >= 1 && r->parts != 0);
    rc = skl_lock_acquire(&ring->shm->lock, wait, NULL, NULL);
    if (rc != SECKILL_OK) {
        return rc;
    }
    rc = publish_locked(ring, r, body_crc, locks, count);
    skl_lock_release(&ring->shm->lock);
    return rc;
}

uint32_t skl_ring_incarnation(const skl_ring_t *ring, uint64_t lsn)
{
    const skl_ring_shm_t *shm = ring->shm;

    for (uint32_t i = shm->life_count; i > 0; i--) {
        if (shm->lives[i - 1].first_lsn <= lsn) {
            return shm->lives[i - 1].incarnation;
        }
    }
    return 0;
}

void skl_ring_begin_life(skl_ring_t *ring, uint64_t first_lsn,
                         uint32_t incarnation)
{
    skl_ring_shm_t *shm = ring->shm;

    skl_assert(incarnation != 0);
    if (shm->life_count == SKL_LIVES_MAX) {
        for (uint32_t i = 1; i < SKL_LIVES_MAX; i++) {
            shm->lives[i - 1] = shm->lives[i];
        }
        shm->life_count--;
    }
    shm->lives[shm->life_count].first_lsn = first_lsn;
    shm->lives[shm->life_count].incarnation = incarnation;
    shm->life_count++;
}

/* Ledger time of a record, or INT64_MAX; it may have left the ring. */
static int64_t time_of(const skl_ring_t *ring, uint64_t lsn)
{
    const unsigned char *r =
        ring->units + (start_of(ring, lsn) & ring->mask) * SKL_UNIT;
    const _Atomic int64_t *time =
        (const void *)(r + offsetof(skl_record_t, time));

    return lsn <= skl_ring_tail(ring)
               ? atomic_load_explicit((_Atomic int64_t *)(uintptr_t)time,
                                      RELAXED)
               : INT64_MAX;
}

int skl_ring_refuses(const skl_ring_t *ring, int64_t now)
{
    const skl_ring_shm_t *shm = ring->shm;
    int64_t since;

    if (shm->max_lag_ns == 0) {
        return 0;
    }
    if (atomic_load_explicit(&shm->refuse, RELAXED)) {
        return 1;
    }
#ifdef MUTANT_LOG_LAG_IGNORED
    return 0;
#endif
    since = time_of(ring, atomic_load_explicit(&shm->flushed, RELAXED) + 1);
    return since < now && now - since > shm->max_lag_ns;
}

void skl_ring_restart(skl_ring_t *ring, uint64_t last_lsn, int64_t last_time)
{
    skl_ring_shm_t *shm = ring->shm;

    atomic_store(&shm->head, last_lsn + 1);
    atomic_store(&shm->tail, last_lsn);
    atomic_store(&shm->flushed, last_lsn);
    atomic_store(&shm->last_time, last_time);
    atomic_store(&ring->start[(last_lsn + 1) & ring->mask], 0);
    atomic_store(&shm->sink_attached, 1);
}

void skl_ring_fetch_next(const skl_ring_t *ring)
{
    const uint64_t next = skl_ring_tail(ring) + 1;
    const uint64_t at = start_of(ring, next);

    for (uint64_t i = 0; i < 3; i++) { /* most records: 129 to 192 bytes */
        __builtin_prefetch(ring->units + (at & ring->mask) * SKL_UNIT + i * 64,
                           1);
    }
}

void skl_ring_applied(skl_ring_t *ring, uint64_t lsn)
{
    skl_assert(lsn >= 1 && lsn <= skl_ring_tail(ring));
    atomic_store_explicit(&ring->pending[lsn & ring->mask], 0,
                          memory_order_release);
}

void skl_ring_part_applied(skl_ring_t *ring, uint64_t lsn, uint32_t part)
{
    atomic_fetch_and_explicit(&ring->pending[lsn & ring->mask], ~part,
                              memory_order_acq_rel);
}

uint32_t skl_ring_pending(skl_ring_t *ring, uint64_t lsn)
{
    uint32_t parts;

    if (lsn < skl_ring_head(ring) || lsn > skl_ring_tail(ring)) {
        return 0;
    }
    parts = atomic_load_explicit(&ring->pending[lsn & ring->mask],
                                 memory_order_acquire);
    /* A record with parts to apply stays; this one may have left since. */
    return lsn < skl_ring_head(ring) ? 0 : parts;
}

int skl_ring_read(skl_ring_t *ring, uint64_t lsn, skl_record_t *out)
{
    const unsigned char *r;
    uint64_t first;
    uint32_t at, bytes;

    if (lsn < skl_ring_head(ring) || lsn > skl_ring_tail(ring)) {
        return 0;
    }
    at = (uint32_t)(start_of(ring, lsn) & ring->mask);
    r = ring->units + (uint64_t)at * SKL_UNIT;
    copy_words(&first, r, sizeof(first));
    bytes = (uint32_t)(first >> 32) & 0xffffU; /* record.h: offset 4 */
    if (bytes < SKL_UNIT || bytes > SKL_RECORD_MAX ||
        at + (bytes + SKL_UNIT - 1U) / SKL_UNIT > ring->shm->units) {
        return 0; /* overwritten while we looked */
    }
    copy_words(out, r, bytes);
    atomic_thread_fence(memory_order_acquire);
    return lsn >= skl_ring_head(ring) && out->lsn == lsn;
}
