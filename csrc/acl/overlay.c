/* The overlay of the access lists; see overlay.h. */
#include "acl/overlay.h"

#include "acl/index.h"
#include "base/assert.h"
#include "seckill.h"

#include <string.h>

/* A full table looks at this many slots for entries that are over. */
enum { RECLAIM_MAX = 4096 };

/* A slot that a change needs and has not filled yet; readers see no entry. */
enum { CLAIMED = 3 };
enum { CHANGE_WORDS = 4 };

static const uint64_t MS_FOREVER = ((uint64_t)1 << 48) - 1;

skl_static_assert(sizeof(skl_overlay_slot_t) == 32, "two in a cache line");
skl_static_assert(SKL_OVERLAY_V4 + 33 == SKL_OVERLAY_LENGTHS, "numbers");
skl_static_assert(sizeof(skl_prefix_t) == 24, "hashed as it is");

skl_static_assert(sizeof(skl_overlay_change_t) == CHANGE_WORDS * 8, "in words");

/* What identifies a value. `hi` also says where its chain begins. */
typedef struct {
    uint64_t fp, hi;
    uint32_t length; /* of a network: 1 + its number; or 0 */
    uint32_t pad;
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

static uint64_t align64(uint64_t n)
{
    return (n + 63) & ~(uint64_t)63;
}

static uint64_t lists_offset(uint32_t lists)
{
    return align64(sizeof(skl_overlay_shm_t) + (uint64_t)lists * 4);
}

static uint64_t lengths_offset(uint32_t lists)
{
    return align64(lists_offset(lists) +
                   (uint64_t)lists * sizeof(skl_overlay_list_t));
}

static uint64_t ring_offset(uint32_t lists)
{
    return align64(lengths_offset(lists) +
                   (uint64_t)lists * sizeof(skl_overlay_lengths_t));
}

static uint64_t table_offset(uint32_t lists)
{
    return ring_offset(lists) + SKL_OVERLAY_RING * sizeof(skl_overlay_change_t);
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
    shm->lists_offset = lists_offset(lists);
    shm->ring_offset = ring_offset(lists);
}

void skl_overlay_attach(skl_overlay_t *o, void *base, const skl_hash_key_t *key)
{
    o->shm = base;
    skl_assert((o->shm->slots & (o->shm->slots - 1)) == 0);
    skl_assert(o->shm->slots >= SKL_OVERLAY_WINDOW);
    o->table = (void *)((char *)base + o->shm->table_offset);
    o->lists = (void *)((char *)base + o->shm->lists_offset);
    o->ring = (void *)((char *)base + o->shm->ring_offset);
    o->lengths = (void *)((char *)base + o->shm->lengths_offset);
    o->key = *key;
}

void skl_overlay_name(skl_overlay_t *o, uint32_t list, uint64_t name)
{
    skl_assert(list < o->shm->lists);
    atomic_store(&o->lists[list].name, name != 0 ? name : 1);
}

static ident_t identify(const skl_overlay_t *o, uint32_t list,
                        const void *value, size_t len)
{
    const uint64_t name =
        atomic_load_explicit(&o->lists[list].name, memory_order_relaxed);
    skl_hash_key_t key = {o->key.k0 ^ (name != 0 ? name : skl_mix64(list + 1)),
                          o->key.k1};
    skl_hash_t hash = skl_hash128(&key, value, len);

    return (ident_t){.fp = hash.lo != 0 ? hash.lo : 1, .hi = hash.hi};
}

static ident_t ident_of(const skl_overlay_change_t *c)
{
    return (ident_t){.fp = c->fp, .hi = c->hi, .length = c->length};
}

void skl_overlay_ident(const skl_overlay_t *o, uint32_t list, const void *value,
                       size_t len, skl_overlay_change_t *out)
{
    const ident_t id = identify(o, list, value, len);

    skl_assert(list < o->shm->lists);
    memset(out, 0, sizeof(*out));
    out->fp = id.fp;
    out->hi = id.hi;
    out->list = (uint16_t)list;
    out->type = SKL_CHANGE_ENTRY;
}

static uint64_t check_of(uint64_t hi)
{
    return hi >> 50;
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

static uint64_t claim_of(uint64_t hi)
{
    return MS_FOREVER << 16 | check_of(hi) << 2 | CLAIMED;
}

/* There is an entry. */
static int is_live(uint64_t state)
{
    return kind_of(state) == SKL_OVERLAY_DENY ||
           kind_of(state) == SKL_OVERLAY_REMOVED;
}

uint32_t skl_overlay_kind(uint64_t state)
{
    return kind_of(state);
}

int64_t skl_overlay_until(uint64_t state)
{
    return until_of(state);
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
        skl_overlay_slot_t *s = slot_at(o, id.hi + i);
        uint64_t fp = atomic_load(&s->fp);
        uint64_t state;

        if (fp == 0) {
            break;
        }
        if (fp != id.fp) {
            continue;
        }
        state = atomic_load(&s->state);
        if (!is_live(state)) {
            break;
        }
        /* Else it became somebody else's between the two loads. */
        if (((state >> 2) & 0x3fff) == check_of(id.hi) &&
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
static void recount(skl_overlay_t *o)
{
    uint32_t live[SKL_OVERLAY_LISTS] = {0};
    uint32_t used = 0;

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
    atomic_store(&s->hi, id->hi);
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
        skl_overlay_slot_t *s = slot_at(o, id->hi + i);
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

/* ---- The ring ------------------------------------------------------------ */

static void ring_put(skl_overlay_t *o, uint64_t number,
                     const skl_overlay_change_t *c)
{
    _Atomic uint64_t *to = &o->ring[number % SKL_OVERLAY_RING * CHANGE_WORDS];
    uint64_t words[CHANGE_WORDS];

    memcpy(words, c, sizeof(words));
    for (int i = 0; i < CHANGE_WORDS; i++) {
        atomic_store_explicit(&to[i], words[i], memory_order_release);
    }
}

static void ring_get(const skl_overlay_t *o, uint64_t number,
                     skl_overlay_change_t *out)
{
    _Atomic uint64_t *from = &o->ring[number % SKL_OVERLAY_RING * CHANGE_WORDS];
    uint64_t words[CHANGE_WORDS];

    for (int i = 0; i < CHANGE_WORDS; i++) {
        words[i] = atomic_load_explicit(&from[i], memory_order_acquire);
    }
    memcpy(out, words, sizeof(*out));
}

static int copy_changes(const skl_overlay_t *o, uint64_t *pos, uint64_t end,
                        skl_overlay_change_t *out, int max)
{
    int n = 0;

    skl_assert(*pos <= end);
    for (; n < max && *pos + (uint64_t)n < end; n++) {
        ring_get(o, *pos + (uint64_t)n, &out[n]);
    }
    /* A writer may be at changes that are not certain yet: a batch at most. */
    if (atomic_load(&o->shm->head) + SKL_OVERLAY_BATCH + 1 >
        *pos + SKL_OVERLAY_RING) {
        return -1;
    }
    *pos += (uint64_t)n;
    return n;
}

int skl_overlay_changes(const skl_overlay_t *o, uint64_t *pos,
                        skl_overlay_change_t *out, int max)
{
    return copy_changes(o, pos, atomic_load(&o->shm->applied), out, max);
}

int skl_overlay_certain(const skl_overlay_t *o, uint64_t *pos,
                        skl_overlay_change_t *out, int max)
{
    return copy_changes(o, pos, atomic_load(&o->shm->head), out, max);
}

/* ---- Changes, under the lock --------------------------------------------- */

/* Into the table. 1; 0: there is no room, which cannot be where it was claimed.
 */
static int put(skl_overlay_t *o, const skl_overlay_change_t *c, int64_t now_ns)
{
    const ident_t id = ident_of(c);
    skl_overlay_slot_t *s;

    if (c->type == SKL_CHANGE_BATCH) {
        if (c->fp != 0) {
            atomic_store(&o->lists[c->list].revision, c->fp);
        }
        return 1;
    }
    s = choose(o, &id, now_ns);
    if (s == NULL) {
        return !is_live(c->state);
    }
    if (atomic_load(&s->fp) != c->fp ||
        kind_of(atomic_load(&s->state)) == SKL_OVERLAY_NONE) {
        if (is_live(c->state)) {
            occupy(o, s, c->list, &id, c->state);
        }
    } else if (is_live(c->state)) {
        atomic_store(&s->state, c->state);
    } else {
        vacate(o, s);
    }
    return 1;
}

/* What is certain goes into the table. */
static void apply_ring(skl_overlay_t *o, int64_t now_ns)
{
    const uint64_t head = atomic_load(&o->shm->head);
    skl_overlay_change_t c, batch = {0};

    skl_assert(head - atomic_load(&o->shm->applied) <= SKL_OVERLAY_BATCH + 1);
    for (uint64_t n = atomic_load(&o->shm->applied); n < head; n++) {
        ring_get(o, n, &c);
        skl_assert(c.list < o->shm->lists);
        if (c.type == SKL_CHANGE_BATCH) {
            batch = c;
        } else {
            (void)put(o, &c, now_ns);
        }
    }
    if (batch.type == SKL_CHANGE_BATCH) {
        (void)put(o, &batch, now_ns); /* who sees a revision sees its entries */
    }
    atomic_store(&o->shm->applied, head);
}

/* Take back the claims of the n changes behind the head. */
static void unclaim(skl_overlay_t *o, uint32_t n, int64_t now_ns)
{
    skl_overlay_change_t c;

    for (uint32_t i = 0; i < n; i++) {
        skl_overlay_slot_t *s;
        ident_t id;

        ring_get(o, atomic_load(&o->shm->head) + i, &c);
        id = ident_of(&c);
        s = choose(o, &id, now_ns);
        if (c.type == SKL_CHANGE_MEMBER && s != NULL &&
            atomic_load(&s->fp) == c.fp &&
            kind_of(atomic_load(&s->state)) == CLAIMED) {
            vacate(o, s);
        }
    }
}

/* After a writer that died. Its clock is not known here: no entry of the table
 * is over at 0, and the claims of what is certain are there. */
static void repair(void *ctx, skl_lock_t *lock)
{
    skl_overlay_t *o = ctx;

    skl_assert(lock == &o->shm->lock);
    apply_ring(o, 0);
    for (uint64_t i = 0; i < o->shm->slots; i++) {
        if (kind_of(atomic_load(&o->table[i].state)) == CLAIMED) {
            atomic_store(&o->table[i].state, 0);
        }
    }
    recount(o);
}

static int has_room(const skl_overlay_t *o)
{
    return atomic_load(&o->shm->used) < o->shm->capacity;
}

/* A slot for the value, of its own from now on. */
static int claim(skl_overlay_t *o, uint32_t list, const ident_t *id,
                 int64_t now_ns)
{
    skl_overlay_slot_t *s = choose(o, id, now_ns);

    if (s != NULL && atomic_load(&s->fp) == id->fp &&
        !is_over(atomic_load(&s->state), now_ns)) {
        return SECKILL_OK;
    }
    if (!has_room(o)) {
        trim(o, RECLAIM_MAX, now_ns);
        s = choose(o, id, now_ns);
    }
    /* An entry that is over gives its place, wherever that is. */
    if (s == NULL ||
        (!has_room(o) && kind_of(atomic_load(&s->state)) == SKL_OVERLAY_NONE)) {
        return SECKILL_EFULL;
    }
    occupy(o, s, list, id, claim_of(id->hi));
    return SECKILL_OK;
}

/* Write a change behind the head, where it is not certain yet. */
static int stage(skl_overlay_t *o, uint32_t list, const skl_overlay_item_t *it,
                 uint16_t type, uint32_t at, uint32_t left, int64_t now_ns)
{
    ident_t id = identify(o, list, it->value, it->len);
    skl_overlay_change_t c = {.fp = id.fp,
                              .hi = id.hi,
                              .list = (uint16_t)list,
                              .type = type,
                              .left = (uint16_t)left,
                              .length = (uint16_t)it->length};
    int rc = SECKILL_OK;

    id.length = it->length;
    skl_assert(it->length <= SKL_OVERLAY_LENGTHS && left < SKL_OVERLAY_BATCH);

    skl_assert(it->kind == SKL_OVERLAY_DENY || it->kind == SKL_OVERLAY_REMOVED);
    skl_assert(it->until_ns > 0);
    if (it->until_ns > now_ns) {
        c.state = pack(it->kind, check_of(id.hi), it->until_ns);
        rc = claim(o, list, &id, now_ns);
    }
    ring_put(o, atomic_load(&o->shm->head) + at, &c);
    return rc;
}

static void commit(skl_overlay_t *o, uint32_t changes, int64_t now_ns)
{
    skl_assert(changes > 0 && changes <= SKL_OVERLAY_BATCH + 1);
    skl_assert(atomic_load(&o->shm->applied) == atomic_load(&o->shm->head));
    atomic_store(&o->shm->head, atomic_load(&o->shm->head) + changes);
    apply_ring(o, now_ns);
}

static int apply(skl_overlay_t *o, uint32_t list, skl_overlay_item_fn item,
                 void *ctx, uint32_t n, uint64_t revision, int64_t now_ns)
{
    const skl_overlay_change_t head = {.fp = revision,
                                       .list = (uint16_t)list,
                                       .type = SKL_CHANGE_BATCH,
                                       .left = (uint16_t)n};
    uint32_t i = 0;
    int rc = SECKILL_OK;

#ifndef MUTANT_APPLY_ANY_REVISION
    if (revision != 0 && revision <= atomic_load(&o->lists[list].revision)) {
        return SECKILL_ESTALE;
    }
#endif
    ring_put(o, atomic_load(&o->shm->head), &head);
    for (; i < n && rc == SECKILL_OK; i++) {
        skl_overlay_item_t it = {0};

        item(ctx, i, &it);
        rc = stage(o, list, &it, SKL_CHANGE_MEMBER, i + 1, n - i - 1, now_ns);
    }
    if (rc == SECKILL_OK) {
        commit(o, n + 1, now_ns);
    } else {
        unclaim(o, i + 1, now_ns);
    }
    return rc;
}

int skl_overlay_apply(skl_overlay_t *o, uint32_t list, skl_overlay_item_fn item,
                      void *ctx, uint32_t n, uint64_t revision, int64_t now_ns)
{
    skl_wait_t wait = {0};
    int rc;

    skl_assert(list < o->shm->lists);
    skl_assert(n <= SKL_OVERLAY_BATCH);
    rc = skl_lock_acquire(&o->shm->lock, &wait, repair, o);
    if (rc != SECKILL_OK) {
        return rc;
    }
    rc = apply(o, list, item, ctx, n, revision, now_ns);
    skl_lock_release(&o->shm->lock);
    return rc;
}

int skl_overlay_set_item(skl_overlay_t *o, uint32_t list,
                         const skl_overlay_item_t *item, int64_t now_ns)
{
    skl_wait_t wait = {0};
    int rc;

    skl_assert(list < o->shm->lists);
    rc = skl_lock_acquire(&o->shm->lock, &wait, repair, o);
    if (rc != SECKILL_OK) {
        return rc;
    }
    rc = stage(o, list, item, SKL_CHANGE_ENTRY, 0, 0, now_ns);
    if (rc == SECKILL_OK) {
        commit(o, 1, now_ns);
    }
    skl_lock_release(&o->shm->lock);
    return rc;
}

int skl_overlay_set(skl_overlay_t *o, uint32_t list, const void *value,
                    size_t len, uint32_t kind, int64_t until_ns, int64_t now_ns)
{
    const skl_overlay_item_t item = {
        .value = value, .len = len, .kind = kind, .until_ns = until_ns};

    return skl_overlay_set_item(o, list, &item, now_ns);
}

void skl_overlay_item_net(skl_overlay_item_t *item, const skl_prefix_t *net)
{
    item->value = net;
    item->len = sizeof(*net);
    item->length = 1 + number_of(net->family, net->bits);
}

int skl_overlay_set_net(skl_overlay_t *o, uint32_t list,
                        const skl_prefix_t *net, uint32_t kind,
                        int64_t until_ns, int64_t now_ns)
{
    skl_overlay_item_t item = {.kind = kind, .until_ns = until_ns};

    skl_overlay_item_net(&item, net);
    return skl_overlay_set_item(o, list, &item, now_ns);
}

void skl_overlay_trim(skl_overlay_t *o, uint32_t max, int64_t now_ns)
{
    if (skl_lock_try(&o->shm->lock, repair, o) == SECKILL_OK) {
        trim(o, max, now_ns);
        skl_lock_release(&o->shm->lock);
    }
}

/* ---- For the log, and for merging ---------------------------------------- */

/* 1 when the slot holds an entry of the list. */
static int copy_slot(const skl_overlay_slot_t *s, uint32_t list,
                     skl_overlay_change_t *out)
{
    const uint64_t state = atomic_load(&s->state);

    memset(out, 0, sizeof(*out));
    out->state = state;
    out->fp = atomic_load(&s->fp);
    out->hi = atomic_load(&s->hi);
#ifndef MUTANT_OVERLAY_LOST_LENGTH
    out->length = (uint16_t)atomic_load(&s->length);
#endif
    out->list = (uint16_t)list;
    out->type = SKL_CHANGE_ENTRY;
    return is_live(state) && atomic_load(&s->list) == list &&
           check_of(out->hi) == ((state >> 2) & 0x3fff) &&
           atomic_load(&s->state) == state;
}

int skl_overlay_scan(const skl_overlay_t *o, uint32_t list, uint64_t *at,
                     skl_overlay_change_t *out, int max)
{
    int n = 0;

    skl_assert(list < o->shm->lists && max > 0);
    for (; *at < o->shm->slots && n < max; ++*at) {
        n += copy_slot(&o->table[*at], list, &out[n]);
    }
    return n;
}

static int restore(skl_overlay_t *o, uint32_t list,
                   const skl_overlay_change_t *from, int64_t now_ns)
{
    skl_overlay_change_t c = *from;
    const ident_t id = ident_of(from);

    c.list = (uint16_t)list;
    if (c.type != SKL_CHANGE_BATCH && is_live(c.state)) {
        if (until_of(c.state) <= now_ns) {
            c.state = 0;
        } else if (claim(o, list, &id, now_ns) != SECKILL_OK) {
            return 0;
        }
    }
    return put(o, &c, now_ns);
}

int skl_overlay_restore(skl_overlay_t *o, uint32_t list,
                        const skl_overlay_change_t *changes, int n,
                        int64_t now_ns)
{
    skl_wait_t wait = {0};
    int lost = 0;
    int rc;

    skl_assert(list < o->shm->lists);
    rc = skl_lock_acquire(&o->shm->lock, &wait, repair, o);
    if (rc != SECKILL_OK) {
        return rc;
    }
    for (int i = 0; i < n; i++) {
        lost += !restore(o, list, &changes[i], now_ns);
    }
    skl_lock_release(&o->shm->lock);
    return lost;
}

/* Its slot, when the entry is what it was. */
static int is_same(skl_overlay_t *o, const skl_overlay_change_t *e,
                   int64_t now_ns)
{
    const ident_t id = ident_of(e);
    const skl_overlay_slot_t *s = choose(o, &id, now_ns);

    return s != NULL && atomic_load(&s->fp) == e->fp &&
           atomic_load(&s->state) == e->state;
}

int skl_overlay_forget(skl_overlay_t *o, uint32_t list,
                       const skl_overlay_change_t *entries, int n,
                       int64_t now_ns)
{
    skl_wait_t wait = {0};
    int gone = 0;
    int rc;

    skl_assert(list < o->shm->lists && n <= SKL_OVERLAY_BATCH);
    rc = skl_lock_acquire(&o->shm->lock, &wait, repair, o);
    if (rc != SECKILL_OK) {
        return rc;
    }
    for (int i = 0; i < n; i++) {
        if (is_same(o, &entries[i], now_ns)) {
            skl_overlay_change_t c = entries[i];

            c.state = 0;
            c.left = 0;
            ring_put(o, atomic_load(&o->shm->head), &c);
            commit(o, 1, now_ns);
            gone++;
        }
    }
    skl_lock_release(&o->shm->lock);
    return gone;
}
