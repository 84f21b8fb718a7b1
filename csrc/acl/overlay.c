/* The overlay of the access lists; see overlay.h. */
#include "acl/overlay.h"

#include "acl/index.h"
#include "base/assert.h"
#include "seckill.h"

#include <string.h>

/* A full table looks at this many slots for entries that are over. */
enum { RECLAIM_MAX = 4096 };

static const uint64_t MS_FOREVER = ((uint64_t)1 << 48) - 1;

skl_static_assert(sizeof(skl_overlay_slot_t) == 32, "two in a cache line");

/* What identifies a value: where its chain begins, and two checks. */
typedef struct {
    uint64_t fp, at, check;
} ident_t;

/* ---- Layout -------------------------------------------------------------- */

static uint64_t slots_for(uint32_t capacity)
{
    uint64_t n = SKL_OVERLAY_WINDOW;

    while (n < (uint64_t)capacity * 2) {
        n *= 2;
    }
    return n;
}

static uint64_t table_offset(uint32_t lists)
{
    uint64_t end = sizeof(skl_overlay_shm_t) + (uint64_t)lists * 4;

    return (end + 63) & ~(uint64_t)63;
}

uint64_t skl_overlay_bytes(uint32_t lists, uint32_t capacity)
{
    return table_offset(lists) +
           slots_for(capacity) * sizeof(skl_overlay_slot_t);
}

void skl_overlay_init(void *base, uint32_t lists, uint32_t capacity)
{
    skl_overlay_shm_t *shm = base;

    skl_assert(lists > 0 && lists <= SKL_OVERLAY_LISTS);
    skl_assert(capacity > 0);
    skl_lock_init(&shm->lock);
    shm->slots = slots_for(capacity);
    shm->capacity = capacity;
    shm->lists = lists;
    shm->table_offset = table_offset(lists);
}

void skl_overlay_attach(skl_overlay_t *o, void *base, const skl_hash_key_t *key)
{
    o->shm = base;
    skl_assert((o->shm->slots & (o->shm->slots - 1)) == 0);
    skl_assert(o->shm->slots >= SKL_OVERLAY_WINDOW);
    o->table = (void *)((char *)base + o->shm->table_offset);
    o->key = *key;
}

static ident_t identify(const skl_overlay_t *o, uint32_t list,
                        const void *value, size_t len)
{
    skl_hash_key_t key = {o->key.k0 ^ skl_mix64(list + 1), o->key.k1};
    skl_hash_t hash = skl_hash128(&key, value, len);

    return (ident_t){hash.lo != 0 ? hash.lo : 1, hash.hi & (o->shm->slots - 1),
                     hash.hi >> 50};
}

static inline skl_overlay_slot_t *slot_at(const skl_overlay_t *o, uint64_t i)
{
    return &o->table[i & (o->shm->slots - 1)];
}

/* ---- State word ---------------------------------------------------------- */

static uint64_t pack(uint32_t kind, uint64_t check, int64_t until_ns)
{
    uint64_t ms = MS_FOREVER;

    if (until_ns != SKL_FOREVER) {
        ms = ((uint64_t)until_ns + 999999) / 1000000;
    }
    return ms << 16 | check << 2 | kind;
}

static uint32_t kind_of(uint64_t state)
{
    return state & 3;
}

static int64_t until_of(uint64_t state)
{
    uint64_t ms = state >> 16;

    return ms == MS_FOREVER ? SKL_FOREVER : (int64_t)(ms * 1000000);
}

static int is_over(uint64_t state, int64_t now_ns)
{
    return kind_of(state) == SKL_OVERLAY_NONE || until_of(state) <= now_ns;
}

/* ---- Readers ------------------------------------------------------------- */

uint32_t skl_overlay_find(const skl_overlay_t *o, uint32_t list,
                          const void *value, size_t len, int64_t *until_ns)
{
    ident_t id = identify(o, list, value, len);

    for (uint64_t i = 0; i < SKL_OVERLAY_WINDOW; i++) {
        skl_overlay_slot_t *s = slot_at(o, id.at + i);
        uint64_t fp = atomic_load(&s->fp);
        uint64_t state;

        if (fp == 0) {
            break;
        }
        if (fp != id.fp) {
            continue;
        }
        state = atomic_load(&s->state);
        if (kind_of(state) == SKL_OVERLAY_NONE) {
            break;
        }
        /* Else it became somebody else's between the two loads. */
        if (((state >> 2) & 0x3fff) == id.check &&
            atomic_load(&s->fp) == id.fp) {
            *until_ns = until_of(state);
            return kind_of(state);
        }
    }
    return SKL_OVERLAY_NONE;
}

/* ---- Writers, under the lock --------------------------------------------- */

/* A dead writer may have left the counts too high, never too low. */
static void recount(void *ctx, skl_lock_t *lock)
{
    skl_overlay_t *o = ctx;
    uint32_t live[SKL_OVERLAY_LISTS] = {0};
    uint32_t used = 0;

    skl_assert(lock == &o->shm->lock);
    for (uint64_t i = 0; i < o->shm->slots; i++) {
        if (kind_of(atomic_load(&o->table[i].state)) != SKL_OVERLAY_NONE) {
            live[atomic_load(&o->table[i].list) % SKL_OVERLAY_LISTS]++;
            used++;
        }
    }
    for (uint32_t l = 0; l < o->shm->lists; l++) {
        atomic_store(&o->shm->live[l], live[l]);
    }
    atomic_store(&o->shm->used, used);
}

/* The counts go up before an entry appears and down after it is gone: a reader
 * that sees 0 misses nothing. */
static void count_up(skl_overlay_t *o, uint32_t list)
{
    atomic_fetch_add(&o->shm->used, 1);
    atomic_fetch_add(&o->shm->live[list], 1);
}

static void vacate(skl_overlay_t *o, skl_overlay_slot_t *s)
{
    uint32_t list = atomic_load(&s->list);

    skl_assert(list < o->shm->lists);
    skl_assert(kind_of(atomic_load(&s->state)) != SKL_OVERLAY_NONE);
    atomic_store(&s->state, 0);
    atomic_fetch_sub(&o->shm->live[list], 1);
    atomic_fetch_sub(&o->shm->used, 1);
}

static void occupy(skl_overlay_t *o, skl_overlay_slot_t *s, uint32_t list,
                   const ident_t *id, uint64_t state)
{
    if (kind_of(atomic_load(&s->state)) != SKL_OVERLAY_NONE) {
        vacate(o, s);
    }
    count_up(o, list);
    atomic_store(&s->list, list);
    atomic_store(&s->fp, id->fp);
    atomic_store(&s->state, state);
}

/* The value's slot, else the first that can be used, else NULL. */
static skl_overlay_slot_t *choose(skl_overlay_t *o, const ident_t *id,
                                  int64_t now_ns)
{
    skl_overlay_slot_t *spare = NULL;

    for (uint64_t i = 0; i < SKL_OVERLAY_WINDOW; i++) {
        skl_overlay_slot_t *s = slot_at(o, id->at + i);
        uint64_t fp = atomic_load(&s->fp);

        if (fp == id->fp) {
            return s;
        }
        if (spare == NULL && (fp == 0 || is_over(s->state, now_ns))) {
            spare = s;
        }
        if (fp == 0) {
            break;
        }
    }
    return spare;
}

static void trim(skl_overlay_t *o, uint64_t max, int64_t now_ns)
{
    uint64_t cursor = o->shm->cursor;

    skl_assert(now_ns >= 0);
    for (uint64_t i = 0; i < max && i < o->shm->slots; i++) {
        skl_overlay_slot_t *s = slot_at(o, --cursor);
        uint64_t state = atomic_load(&s->state);

        if (kind_of(state) != SKL_OVERLAY_NONE && is_over(state, now_ns)) {
            vacate(o, s);
        }
        /* Downwards: a run of them is freed from its end. */
        if (kind_of(atomic_load(&s->state)) == SKL_OVERLAY_NONE &&
            atomic_load(&slot_at(o, cursor + 1)->fp) == 0) {
            atomic_store(&s->fp, 0);
        }
    }
    o->shm->cursor = (uint32_t)cursor;
}

static int store(skl_overlay_t *o, uint32_t list, const ident_t *id,
                 uint64_t state, int64_t now_ns)
{
    skl_overlay_slot_t *s = choose(o, id, now_ns);

    skl_assert(kind_of(state) != SKL_OVERLAY_NONE);
    if (s != NULL && atomic_load(&s->fp) == id->fp &&
        kind_of(atomic_load(&s->state)) != SKL_OVERLAY_NONE) {
        atomic_store(&s->state, state);
        return SECKILL_OK;
    }
    if (atomic_load(&o->shm->used) >= o->shm->capacity) {
        trim(o, RECLAIM_MAX, now_ns);
        s = choose(o, id, now_ns);
    }
    if (s == NULL || atomic_load(&o->shm->used) >= o->shm->capacity) {
        return SECKILL_EFULL;
    }
    occupy(o, s, list, id, state);
    return SECKILL_OK;
}

/* An entry that is over as soon as it is made: free the value's slot. */
static void drop(skl_overlay_t *o, const ident_t *id, int64_t now_ns)
{
    skl_overlay_slot_t *s = choose(o, id, now_ns);

    if (s != NULL && atomic_load(&s->fp) == id->fp &&
        kind_of(atomic_load(&s->state)) != SKL_OVERLAY_NONE) {
        vacate(o, s);
    }
}

int skl_overlay_set(skl_overlay_t *o, uint32_t list, const void *value,
                    size_t len, uint32_t kind, int64_t until_ns, int64_t now_ns)
{
    ident_t id = identify(o, list, value, len);
    skl_wait_t wait = {0};
    int rc;

    skl_assert(list < o->shm->lists);
    skl_assert(kind == SKL_OVERLAY_DENY || kind == SKL_OVERLAY_REMOVED);
    skl_assert(until_ns > 0);
    rc = skl_lock_acquire(&o->shm->lock, &wait, recount, o);
    if (rc != SECKILL_OK) {
        return rc;
    }
    if (until_ns <= now_ns) {
        drop(o, &id, now_ns);
    } else {
        rc = store(o, list, &id, pack(kind, id.check, until_ns), now_ns);
    }
    skl_lock_release(&o->shm->lock);
    return rc;
}

void skl_overlay_trim(skl_overlay_t *o, uint32_t max, int64_t now_ns)
{
    if (skl_lock_try(&o->shm->lock, recount, o) == SECKILL_OK) {
        trim(o, max, now_ns);
        skl_lock_release(&o->shm->lock);
    }
}
