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
skl_static_assert(SKL_OVERLAY_V4 + 33 == SKL_OVERLAY_LENGTHS, "numbers");
skl_static_assert(sizeof(skl_prefix_t) == 24, "hashed as it is");

/* What identifies a value: where its chain begins, and two checks. */
typedef struct {
    uint64_t fp, at, check;
    uint32_t length; /* of a network: 1 + its number; or 0 */
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

static uint64_t round_up(uint64_t end)
{
    return (end + 63) & ~(uint64_t)63;
}

static uint64_t lengths_offset(uint32_t lists)
{
    return round_up(sizeof(skl_overlay_shm_t) + (uint64_t)lists * 4);
}

static uint64_t table_offset(uint32_t lists)
{
    return round_up(lengths_offset(lists) +
                    (uint64_t)lists * sizeof(skl_overlay_lengths_t));
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
    shm->lengths_offset = lengths_offset(lists);
    shm->table_offset = table_offset(lists);
}

void skl_overlay_attach(skl_overlay_t *o, void *base, const skl_hash_key_t *key)
{
    o->shm = base;
    skl_assert((o->shm->slots & (o->shm->slots - 1)) == 0);
    skl_assert(o->shm->slots >= SKL_OVERLAY_WINDOW);
    o->table = (void *)((char *)base + o->shm->table_offset);
    o->lengths = (void *)((char *)base + o->shm->lengths_offset);
    o->key = *key;
}

static ident_t identify(const skl_overlay_t *o, uint32_t list,
                        const void *value, size_t len)
{
    skl_hash_key_t key = {o->key.k0 ^ skl_mix64(list + 1), o->key.k1};
    skl_hash_t hash = skl_hash128(&key, value, len);

    return (ident_t){hash.lo != 0 ? hash.lo : 1, hash.hi & (o->shm->slots - 1),
                     hash.hi >> 50, 0};
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

/* ---- Networks ------------------------------------------------------------ */

/* The number of a length. */
static uint32_t number_of(uint32_t family, uint32_t bits)
{
    skl_assert(bits <= skl_net_width(family));
    return family == SKL_NET_V4 ? SKL_OVERLAY_V4 + bits : bits;
}

/* The length in use that is the longest of those below number `below`, of one
 * family; -1 for none. */
static int next_length(const skl_overlay_lengths_t *l, uint32_t family,
                       uint32_t below)
{
    uint32_t first = number_of(family, 0);

    while (below > first) {
        uint32_t word = (below - 1) / 64, end = (below - 1) % 64;
        uint64_t used = atomic_load(&l->used[word]) << (63 - end);
        uint32_t number;

        if (used == 0) {
            below = word * 64;
            continue;
        }
        number = below - 1 - (uint32_t)__builtin_clzll(used);
        return number >= first ? (int)(number - first) : -1;
    }
    return -1;
}

void skl_overlay_find_net(const skl_overlay_t *o, uint32_t list,
                          const skl_addr_t *address, skl_overlay_hit_t *hit)
{
    const skl_overlay_lengths_t *l = &o->lengths[list];
    uint32_t below =
        number_of(address->family, 0) + skl_net_width(address->family) + 1;
    int bits;

    memset(hit, 0, sizeof(*hit));
    while ((bits = next_length(l, address->family, below)) >= 0) {
        skl_prefix_t p = skl_net_prefix(address, (uint32_t)bits);
        int64_t until = 0;
        uint32_t kind = skl_overlay_find(o, list, &p, sizeof(p), &until);

        below = number_of(address->family, p.bits);
        if (kind == SKL_OVERLAY_REMOVED || until == SKL_FOREVER) {
            hit->kind = kind;
            hit->until_ns = until;
            return;
        }
        if (kind == SKL_OVERLAY_DENY && until > hit->closer_until) {
            hit->closer_until = until;
        }
    }
}

int skl_overlay_has_wider(const skl_overlay_t *o, uint32_t list,
                          const skl_prefix_t *net)
{
    return next_length(&o->lengths[list], net->family,
                       number_of(net->family, net->bits)) >= 0;
}

/* ---- Writers, under the lock --------------------------------------------- */

static void set_lengths(skl_overlay_lengths_t *l, const uint32_t *count)
{
    uint64_t used[3] = {0};

    for (uint32_t i = 0; i < SKL_OVERLAY_LENGTHS; i++) {
        atomic_store(&l->count[i], count[i]);
        used[i / 64] |= (uint64_t)(count[i] > 0) << (i % 64);
    }
    for (int i = 0; i < 3; i++) {
        atomic_store(&l->used[i], used[i]);
    }
}

/* Count the lengths of one list again. */
static void recount_lengths(skl_overlay_t *o, uint32_t list)
{
    uint32_t count[SKL_OVERLAY_LENGTHS] = {0};

    if (atomic_load(&o->lengths[list].used[0]) == 0 &&
        atomic_load(&o->lengths[list].used[1]) == 0 &&
        atomic_load(&o->lengths[list].used[2]) == 0) {
        return; /* a list of ids, mostly */
    }
    for (uint64_t i = 0; i < o->shm->slots; i++) {
        skl_overlay_slot_t *s = &o->table[i];
        uint32_t length = atomic_load(&s->length);

        if (kind_of(atomic_load(&s->state)) != SKL_OVERLAY_NONE &&
            atomic_load(&s->list) == list && length > 0) {
            count[(length - 1) % SKL_OVERLAY_LENGTHS]++;
        }
    }
    set_lengths(&o->lengths[list], count);
}

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
        recount_lengths(o, l);
    }
    atomic_store(&o->shm->used, used);
}

/* The counts go up before an entry appears and down after it is gone: a reader
 * that sees 0 misses nothing. */
static void count_up(skl_overlay_t *o, uint32_t list, uint32_t length)
{
    atomic_fetch_add(&o->shm->used, 1);
    atomic_fetch_add(&o->shm->live[list], 1);
    if (length > 0) {
        skl_overlay_lengths_t *l = &o->lengths[list];
        uint32_t i = length - 1;

        atomic_fetch_add(&l->count[i], 1);
        atomic_fetch_or(&l->used[i / 64], (uint64_t)1 << (i % 64));
    }
}

static void count_down(skl_overlay_t *o, uint32_t list, uint32_t length)
{
    if (length > 0) {
        skl_overlay_lengths_t *l = &o->lengths[list];
        uint32_t i = length - 1;

        if (atomic_fetch_sub(&l->count[i], 1) == 1) {
            atomic_fetch_and(&l->used[i / 64], ~((uint64_t)1 << (i % 64)));
        }
    }
    atomic_fetch_sub(&o->shm->live[list], 1);
    atomic_fetch_sub(&o->shm->used, 1);
}

static void vacate(skl_overlay_t *o, skl_overlay_slot_t *s)
{
    uint32_t list = atomic_load(&s->list), length = atomic_load(&s->length);

    skl_assert(list < o->shm->lists && length <= SKL_OVERLAY_LENGTHS);
    skl_assert(kind_of(atomic_load(&s->state)) != SKL_OVERLAY_NONE);
    atomic_store(&s->state, 0);
    count_down(o, list, length);
}

static void occupy(skl_overlay_t *o, skl_overlay_slot_t *s, uint32_t list,
                   const ident_t *id, uint64_t state)
{
    if (kind_of(atomic_load(&s->state)) != SKL_OVERLAY_NONE) {
        vacate(o, s);
    }
    count_up(o, list, id->length);
    atomic_store(&s->list, list);
    atomic_store(&s->length, id->length);
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

static int set(skl_overlay_t *o, uint32_t list, const ident_t *id,
               uint32_t kind, int64_t until_ns, int64_t now_ns)
{
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
        drop(o, id, now_ns);
    } else {
        rc = store(o, list, id, pack(kind, id->check, until_ns), now_ns);
    }
    skl_lock_release(&o->shm->lock);
    return rc;
}

int skl_overlay_set(skl_overlay_t *o, uint32_t list, const void *value,
                    size_t len, uint32_t kind, int64_t until_ns, int64_t now_ns)
{
    ident_t id = identify(o, list, value, len);

    return set(o, list, &id, kind, until_ns, now_ns);
}

int skl_overlay_set_net(skl_overlay_t *o, uint32_t list,
                        const skl_prefix_t *net, uint32_t kind,
                        int64_t until_ns, int64_t now_ns)
{
    ident_t id = identify(o, list, net, sizeof(*net));

    id.length = 1 + number_of(net->family, net->bits);
    return set(o, list, &id, kind, until_ns, now_ns);
}

void skl_overlay_trim(skl_overlay_t *o, uint32_t max, int64_t now_ns)
{
    if (skl_lock_try(&o->shm->lock, recount, o) == SECKILL_OK) {
        trim(o, max, now_ns);
        skl_lock_release(&o->shm->lock);
    }
}
