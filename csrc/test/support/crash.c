/* See crash.h. */
#include "test/support/crash.h"

#include "base/assert.h"
#include "stock/commit.h"

#include <linux/futex.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

/* ---- The segment --------------------------------------------------------- */

static void find_locks(crash_world_t *w)
{
    const skl_tables_t *t = &w->sk->stock.tables;

    w->locks[w->lock_count++] = &t->shm->lock;
    for (uint32_t i = 0; i < t->shm->shards; i++) {
        w->locks[w->lock_count++] = &t->shards[i].lock;
    }
    for (uint32_t i = 0; i < t->shm->items; i++) {
        w->locks[w->lock_count++] = &t->items[i].lock;
    }
    w->locks[w->lock_count++] = &w->sk->stock.ring.shm->lock;
    skl_assert(w->lock_count <= CRASH_LOCKS);
}

static void find_bytes(crash_world_t *w)
{
    const skl_header_t *h = w->sk->segment.header;
    const uint64_t begin = h->offset[SKL_SECTION_STOCK];

    skl_assert(begin < h->offset[SKL_SECTION_RING]);
    w->base = skl_section(h, SKL_SECTION_STOCK);
    w->bytes = h->offset[SKL_SECTION_RING] + h->size[SKL_SECTION_RING] - begin;
}

static unsigned char *copy_space(const crash_world_t *w)
{
    unsigned char *bytes = aligned_alloc(4096, (w->bytes + 4095) / 4096 * 4096);

    skl_assert(bytes != NULL);
    return bytes;
}

int crash_open(crash_world_t *w, uint32_t requests, uint64_t key, char *why,
               size_t size)
{
    seckill_options_t o = {.struct_size = sizeof(o),
                           .name = "crash",
                           .window_ns = CRASH_WINDOW,
                           .items = 3,
                           .reservations = 10,
                           .users = 12,
                           .requests = requests,
                           .limit_keys = 1,
                           .limiters = 1,
                           .lists = 1,
                           .list_overlay = 1,
                           .log_units = 128};

    memset(w, 0, sizeof(*w));
    (void)snprintf(w->dir, sizeof(w->dir), "/dev/shm/seckill-crash.XXXXXX");
    if (mkdtemp(w->dir) == NULL) {
        (void)snprintf(why, size, "mkdtemp %s failed", w->dir);
        return 0;
    }
    o.shm_dir = w->dir;
    if (seckill_open(&o, &w->sk, why, size) != SECKILL_OK) {
        return 0;
    }
    w->sk->segment.header->key.k0 = key;
    w->sk->segment.header->key.k1 = ~key;
    w->sk->stock.tables.key = w->sk->segment.header->key;
    find_locks(w);
    find_bytes(w);
    w->records = calloc(CRASH_RECORDS, sizeof(*w->records));
    w->scratch[0] = copy_space(w);
    w->scratch[1] = copy_space(w);
    crash_at(w, CRASH_T0);
    return w->records != NULL;
}

int crash_close(crash_world_t *w)
{
    int rc;

    seckill_close(w->sk);
    rc = seckill_destroy("crash", w->dir);
    free(w->records);
    free(w->scratch[0]);
    free(w->scratch[1]);
    return rc == SECKILL_OK && rmdir(w->dir) == 0;
}

void crash_at(crash_world_t *w, int64_t now)
{
    w->now = now;
    seckill_set_test_clock(w->sk, now);
}

/* ---- Images -------------------------------------------------------------- */

void crash_image_new(const crash_world_t *w, crash_image_t *image)
{
    image->bytes = copy_space(w);
}

void crash_image_free(crash_image_t *image)
{
    free(image->bytes);
    image->bytes = NULL;
}

void crash_save(const crash_world_t *w, crash_image_t *image)
{
    memcpy(image->bytes, w->base, w->bytes);
    image->stock = w->sk->stock;
    image->known = w->known;
    image->now = w->now;
}

void crash_restore(crash_world_t *w, const crash_image_t *image)
{
    memcpy(w->base, image->bytes, w->bytes);
    w->sk->stock = image->stock;
    w->known = image->known;
    crash_at(w, image->now);
}

int crash_note(crash_world_t *w)
{
    skl_ring_t *ring = &w->sk->stock.ring;
    const uint64_t tail = skl_ring_tail(ring);

    skl_assert(tail <= CRASH_RECORDS);
    for (; w->known < tail; w->known++) {
        if (!skl_ring_read(ring, w->known + 1, &w->records[w->known])) {
            return 0;
        }
    }
    return 1;
}

/* ---- Locks --------------------------------------------------------------- */

static uint32_t word_of(const skl_lock_t *lock)
{
    return (uint32_t)lock->mutex.__data.__lock;
}

int crash_held(const crash_world_t *w, pid_t pid)
{
    int n = 0;

    for (int i = 0; i < w->lock_count; i++) {
        const uint32_t word = word_of(w->locks[i]);

        n += pid != 0 ? (word & FUTEX_TID_MASK) == (uint32_t)pid
                      : (word & FUTEX_OWNER_DIED) != 0;
    }
    return n;
}

void crash_owner_died(crash_world_t *w, pid_t pid)
{
    for (int i = 0; i < w->lock_count; i++) {
        const uint32_t word = word_of(w->locks[i]);

        if ((word & FUTEX_TID_MASK) == (uint32_t)pid) {
            w->locks[i]->mutex.__data.__lock =
                (int)((word & FUTEX_WAITERS) | FUTEX_OWNER_DIED);
        }
    }
}

static int hold_and_release(skl_stock_t *s, int which, uint32_t n)
{
    skl_held_t h = {.s = s};
    int rc = which == 0   ? skl_hold_catalog(&h)
             : which == 1 ? skl_hold_shard(&h, n)
                          : skl_hold_item(&h, n);

    skl_release(&h);
    return rc == SECKILL_OK;
}

/* Items first: the parts of a record may be repaired in any order. */
int crash_touch(crash_world_t *w)
{
    skl_stock_t *s = &w->sk->stock;
    const skl_tables_shm_t *shm = s->tables.shm;
    skl_wait_t wait = {0};
    int good = 1;

    for (uint32_t i = 0; i < shm->items; i++) {
        good &= hold_and_release(s, 2, i);
    }
    for (uint32_t i = shm->shards; i > 0; i--) {
        good &= hold_and_release(s, 1, i - 1);
    }
    good &= hold_and_release(s, 0, 0);
    if (skl_lock_acquire(&s->ring.shm->lock, &wait, NULL, NULL) != 0) {
        return 0;
    }
    skl_lock_release(&s->ring.shm->lock);
    return good;
}

int crash_unfinished(const crash_world_t *w)
{
    const skl_tables_t *t = &w->sk->stock.tables;
    skl_ring_t *ring = &w->sk->stock.ring;
    uint64_t odd = SKL_LD(t->shm->seq);
    uint32_t pending = 0;

    for (uint32_t i = 0; i < t->shm->shards; i++) {
        odd |= SKL_LD(t->shards[i].seq);
    }
    for (uint32_t i = 0; i < t->shm->items; i++) {
        odd |= SKL_LD(t->items[i].seq);
    }
    for (uint64_t i = skl_ring_head(ring); i <= skl_ring_tail(ring); i++) {
        pending |= skl_ring_pending(ring, i);
    }
    return (odd & 1) != 0 || pending != 0;
}

/* ---- Comparing ----------------------------------------------------------- */

static void view_of(const crash_world_t *w, unsigned char *bytes,
                    skl_tables_t *t, skl_ring_t *ring)
{
    const skl_header_t *h = w->sk->segment.header;

    skl_tables_attach(t, bytes, &h->key);
    skl_ring_attach(ring, bytes + (h->offset[SKL_SECTION_RING] -
                                   h->offset[SKL_SECTION_STOCK]));
}

static void blank(skl_lock_t *lock, _Atomic uint64_t *seq, int exact)
{
    const uint32_t word = word_of(lock);
    const uint64_t intent = SKL_LD(lock->intent);

    memset(lock, 0, sizeof(*lock));
    if (exact) { /* keep what has a meaning, without owner and list links */
        lock->mutex.__data.__lock = (int)word;
        SKL_ST(lock->intent, intent);
    } else if (seq != NULL) {
        SKL_ST(*seq, 0);
    }
}

static void blank_all(skl_tables_t *t, skl_ring_t *ring, int exact)
{
    blank(&t->shm->lock, &t->shm->seq, exact);
    for (uint32_t i = 0; i < t->shm->shards; i++) {
        blank(&t->shards[i].lock, &t->shards[i].seq, exact);
    }
    for (uint32_t i = 0; i < t->shm->items; i++) {
        blank(&t->items[i].lock, &t->items[i].seq, exact);
    }
    blank(&ring->shm->lock, NULL, exact);
}

/* The bytes behind the end of a record in its last word are of no meaning. */
static const char *records_differ(skl_ring_t *a, skl_ring_t *b)
{
    skl_record_t x, y;

    for (uint64_t i = skl_ring_head(a); i <= skl_ring_tail(a); i++) {
        if (!skl_ring_read(a, i, &x) || !skl_ring_read(b, i, &y) ||
            x.bytes != y.bytes || memcmp(&x, &y, x.bytes) != 0) {
            return "the records differ";
        }
    }
    return NULL;
}

const char *crash_differs(crash_world_t *w, const crash_image_t *image,
                          int exact)
{
    skl_tables_t t[2];
    skl_ring_t ring[2];

    memcpy(w->scratch[0], w->base, w->bytes);
    memcpy(w->scratch[1], image->bytes, w->bytes);
    for (int i = 0; i < 2; i++) {
        view_of(w, w->scratch[i], &t[i], &ring[i]);
        blank_all(&t[i], &ring[i], exact);
    }
    if (memcmp(t[0].shm, t[1].shm, t[0].shm->bytes) != 0) {
        return "the tables differ";
    }
    if (memcmp(ring[0].shm, ring[1].shm, sizeof(*ring[0].shm)) != 0) {
        return "the ends of the log differ";
    }
    return records_differ(&ring[0], &ring[1]);
}

static int rebuild(crash_world_t *w, skl_sink_t *sink, char *why, size_t size)
{
    const skl_config_t *c = &w->sk->segment.header->config;
    const uint32_t capacity[4] = {c->items, c->reservations, c->users,
                                  c->requests};

    for (uint64_t i = 0; i < w->known; i++) {
        if (!skl_rec_valid(&w->records[i], SKL_RECORD_MAX) ||
            skl_memory_sink_write(sink, &w->records[i]) != SECKILL_OK) {
            (void)snprintf(why, size, "record %llu is not whole",
                           (unsigned long long)i + 1);
            return 0;
        }
    }
    return skl_memory_sink_compare(sink, &w->sk->stock, capacity, why, size) ==
           0;
}

int crash_sound(crash_world_t *w, char *why, size_t size)
{
    skl_sink_t *sink;
    int good;

    why[0] = '\0';
    if (seckill_audit(w->sk, why, size) != 0) {
        return 0;
    }
    sink = skl_memory_sink_new();
    good = sink != NULL && crash_note(w) && rebuild(w, sink, why, size);
    skl_memory_sink_free(sink);
    return good;
}
