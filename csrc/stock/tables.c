/* See tables.h. Threads: as the lock domains say. */
#include "stock/tables.h"

#include "base/assert.h"

#include <string.h>

/* A lookup that goes astray (its chain changed under it) ends here. */
enum { WALK_MAX = 4096, IDS_PER_SHARD = 4096 };

/* ---- Layout -------------------------------------------------------------- */

static uint32_t shard_count(uint32_t requests)
{
    uint32_t n = 1;

    while (n < SKL_SHARDS_MAX && requests / n > IDS_PER_SHARD) {
        n *= 2;
    }
    return n;
}

static uint32_t square_root(uint32_t n)
{
    uint32_t root = 0;

    while ((uint64_t)(root + 1) * (root + 1) <= n) {
        root++;
    }
    return root;
}

/* Slots of one shard: its share and 3.5 standard deviations, so that tables
 * hold their capacity before any one shard is full. One shard: exactly. */
static uint32_t share(uint32_t capacity, uint32_t shards)
{
    uint32_t mean = (capacity + shards - 1) / shards;

    return shards == 1 ? capacity : mean + square_root(mean) * 7 / 2;
}

static uint64_t aligned(uint64_t n)
{
    return (n + 63) / 64 * 64;
}

static void plan(skl_tables_shm_t *p, uint32_t items, uint32_t reservations,
                 uint32_t users, uint32_t requests)
{
    uint64_t at = aligned(sizeof(*p));
    uint64_t n;

    p->items = items;
    p->shards = shard_count(requests);
    n = p->shards;
    p->requests = share(requests, p->shards);
    p->users = share(users, p->shards);
    p->rows = share(reservations, p->shards);
#define PLACE(offset, count, size)                                             \
    p->offset = at;                                                            \
    at = aligned(at + (uint64_t)(count) * (size));
    PLACE(off_shards, n, sizeof(skl_shard_t))
    PLACE(off_items, items, sizeof(skl_item_row_t))
    PLACE(off_item_heads, items, sizeof(uint32_t))
    PLACE(off_requests, n * p->requests, sizeof(skl_request_row_t))
    PLACE(off_request_heads, n * p->requests, sizeof(uint32_t))
    PLACE(off_fifo, n * p->requests, sizeof(uint32_t))
    PLACE(off_users, n * p->users, sizeof(skl_user_row_t))
    PLACE(off_user_heads, n * p->users, sizeof(uint32_t))
    PLACE(off_rows, n * p->rows, sizeof(skl_row_t))
#undef PLACE
    p->bytes = at;
}

uint64_t skl_tables_bytes(uint32_t items, uint32_t reservations, uint32_t users,
                          uint32_t requests)
{
    skl_tables_shm_t p;

    plan(&p, items, reservations, users, requests);
    return p.bytes;
}

void skl_tables_attach(skl_tables_t *t, void *section,
                       const skl_hash_key_t *key)
{
    char *base = section;
    skl_tables_shm_t *p = section;

    t->shm = p;
    t->shards = (void *)(base + p->off_shards);
    t->items = (void *)(base + p->off_items);
    t->item_heads = (void *)(base + p->off_item_heads);
    t->requests = (void *)(base + p->off_requests);
    t->request_heads = (void *)(base + p->off_request_heads);
    t->fifo = (void *)(base + p->off_fifo);
    t->users = (void *)(base + p->off_users);
    t->user_heads = (void *)(base + p->off_user_heads);
    t->rows = (void *)(base + p->off_rows);
    t->key = *key;
}

static void fill_none(_Atomic uint32_t *heads, uint64_t n)
{
    for (uint64_t i = 0; i < n; i++) {
        SKL_ST(heads[i], SKL_NONE);
    }
}

/* Slot `to - 1` ends the list. */
static uint32_t next_free(uint32_t slot, uint32_t to)
{
    return slot + 1 < to ? slot + 1 : SKL_NONE;
}

static void init_shard(skl_tables_t *t, uint32_t s)
{
    skl_shard_t *shard = &t->shards[s];
    const uint32_t r0 = s * t->shm->requests, u0 = s * t->shm->users;
    const uint32_t w0 = s * t->shm->rows;

    skl_lock_init(&shard->lock);
    for (uint32_t i = r0; i < r0 + t->shm->requests; i++) {
        SKL_ST(t->requests[i].next, next_free(i, r0 + t->shm->requests));
    }
    for (uint32_t i = u0; i < u0 + t->shm->users; i++) {
        SKL_ST(t->users[i].next, next_free(i, u0 + t->shm->users));
        SKL_ST(t->users[i].item, SKL_NONE);
    }
    for (uint32_t i = w0; i < w0 + t->shm->rows; i++) {
        t->rows[i].next_free = next_free(i, w0 + t->shm->rows);
    }
    SKL_ST(shard->request_free, r0);
    SKL_ST(shard->user_free, u0);
    SKL_ST(shard->row_free, w0);
}

void skl_tables_init(void *section, uint32_t items, uint32_t reservations,
                     uint32_t users, uint32_t requests)
{
    const skl_hash_key_t no_key = {0, 0};
    skl_tables_shm_t *p = section;
    skl_tables_t t;

    skl_assert(items > 0 && reservations > 0 && users > 0 && requests > 0);
    plan(p, items, reservations, users, requests);
    skl_assert((uint64_t)p->shards * p->rows < SKL_LINE_END);
    skl_tables_attach(&t, section, &no_key);
    skl_lock_init(&p->lock);
    for (uint32_t i = 0; i < items; i++) {
        skl_lock_init(&t.items[i].lock);
        SKL_ST(t.items[i].next, next_free(i, items));
    }
    SKL_ST(p->free, 0);
    for (uint32_t s = 0; s < p->shards; s++) {
        init_shard(&t, s);
    }
    fill_none(t.item_heads, items);
    fill_none(t.request_heads, (uint64_t)p->shards * p->requests);
    fill_none(t.user_heads, (uint64_t)p->shards * p->users);
}

/* ---- Chains -------------------------------------------------------------- */

static _Atomic uint32_t *request_head(const skl_tables_t *t, uint32_t shard,
                                      uint64_t lo)
{
    return &t->request_heads[shard * t->shm->requests +
                             skl_hash_range(lo, t->shm->requests)];
}

static _Atomic uint32_t *user_head(const skl_tables_t *t, uint32_t shard,
                                   uint64_t lo)
{
    return &t->user_heads[shard * t->shm->users +
                          skl_hash_range(lo, t->shm->users)];
}

void skl_fetch_request(const skl_tables_t *t, uint32_t shard, skl_hash_t key)
{
    __builtin_prefetch(request_head(t, shard, key.lo));
}

void skl_fetch_user(const skl_tables_t *t, uint32_t shard, skl_hash_t key)
{
    __builtin_prefetch(user_head(t, shard, key.lo));
}

void skl_fetch_chains(const skl_tables_t *t, uint32_t request_shard,
                      skl_hash_t request, uint32_t user_shard, skl_hash_t user)
{
    const uint32_t shards = t->shm->shards;
    const uint32_t q = SKL_LD(*request_head(t, request_shard, request.lo));
    const uint32_t u = SKL_LD(*user_head(t, user_shard, user.lo));

    /* No branch: it would wait for the head, which is what this is against. */
    __builtin_prefetch(&t->requests[q < shards * t->shm->requests ? q : 0]);
    __builtin_prefetch(&t->users[u < shards * t->shm->users ? u : 0]);
}

uint32_t skl_find_request(const skl_tables_t *t, uint32_t shard, skl_hash_t key)
{
    const uint32_t end = t->shm->shards * t->shm->requests;
    uint32_t slot = SKL_LD(*request_head(t, shard, key.lo));

    skl_assert(shard < t->shm->shards);
    for (int i = 0; slot < end && i < WALK_MAX; i++) {
        const skl_request_row_t *row = &t->requests[slot];

        if (SKL_LD(row->lo) == key.lo && SKL_LD(row->hi) == key.hi) {
            return slot;
        }
        slot = SKL_LD(row->next);
    }
    return SKL_NONE;
}

uint32_t skl_find_user(const skl_tables_t *t, uint32_t shard, skl_hash_t key)
{
    const uint32_t end = t->shm->shards * t->shm->users;
    uint32_t slot = SKL_LD(*user_head(t, shard, key.lo));

    skl_assert(shard < t->shm->shards);
    for (int i = 0; slot < end && i < WALK_MAX; i++) {
        const skl_user_row_t *row = &t->users[slot];

        if (SKL_LD(row->lo) == key.lo && SKL_LD(row->hi) == key.hi) {
            return slot;
        }
        slot = SKL_LD(row->next);
    }
    return SKL_NONE;
}

uint32_t skl_find_item(const skl_tables_t *t, skl_hash_t key)
{
    uint32_t slot =
        SKL_LD(t->item_heads[skl_hash_range(key.lo, t->shm->items)]);

    for (int i = 0; slot < t->shm->items && i < WALK_MAX; i++) {
        const skl_item_row_t *row = &t->items[slot];

        if (SKL_LD(row->lo) == key.lo && SKL_LD(row->hi) == key.hi) {
            return slot;
        }
        slot = SKL_LD(row->next);
    }
    return SKL_NONE;
}

/* Unlink `slot` from the chain at `head`; NEXT is the `next` of a slot. */
#define UNLINK(head, slot, NEXT)                                               \
    do {                                                                       \
        _Atomic uint32_t *link = (head);                                       \
        while (SKL_LD(*link) != SKL_NONE && SKL_LD(*link) != (slot)) {         \
            link = &NEXT(SKL_LD(*link));                                       \
        }                                                                      \
        if (SKL_LD(*link) == (slot)) {                                         \
            SKL_ST(*link, SKL_LD(NEXT(slot)));                                 \
        }                                                                      \
    } while (0)

/* Take `slot` off the free list, of which it is the first. */
#define TAKE(free, slot, next)                                                 \
    do {                                                                       \
        if (SKL_LD(free) == (slot)) {                                          \
            SKL_ST(free, next);                                                \
        }                                                                      \
    } while (0)

/* ---- Request ids --------------------------------------------------------- */

#define REQUEST_NEXT(slot) t->requests[slot].next

void skl_request_insert(skl_tables_t *t, uint32_t shard, uint32_t slot,
                        skl_hash_t key)
{
    skl_request_row_t *row = &t->requests[slot];
    _Atomic uint32_t *head = request_head(t, shard, key.lo);

    skl_assert(slot / t->shm->requests == shard);
    TAKE(t->shards[shard].request_free, slot, SKL_LD(row->next));
    SKL_ST(row->lo, key.lo);
    SKL_ST(row->hi, key.hi);
    if (SKL_LD(*head) != slot) {
        SKL_ST(row->next, SKL_LD(*head));
        SKL_ST(*head, slot);
    }
}

void skl_request_remove(skl_tables_t *t, uint32_t shard, uint32_t slot)
{
    skl_request_row_t *row = &t->requests[slot];
    skl_shard_t *s = &t->shards[shard];

    skl_assert(slot / t->shm->requests == shard);
    UNLINK(request_head(t, shard, SKL_LD(row->lo)), slot, REQUEST_NEXT);
    row->kind = 0;
    if (SKL_LD(s->request_free) != slot) {
        SKL_ST(row->next, SKL_LD(s->request_free));
        SKL_ST(s->request_free, slot);
    }
}

void skl_fifo_append(skl_tables_t *t, uint32_t shard, uint32_t pos,
                     uint32_t slot)
{
    const uint32_t n = t->shm->requests;

    skl_assert(pos < 2 * n);
    SKL_ST(t->fifo[shard * n + pos % n], slot);
    SKL_ST(t->shards[shard].fifo_tail, (pos + 1) % (2 * n));
}

uint32_t skl_fifo_at(const skl_tables_t *t, uint32_t shard, uint32_t pos)
{
    const uint32_t n = t->shm->requests;

    return SKL_LD(t->fifo[shard * n + pos % n]);
}

/* ---- Users --------------------------------------------------------------- */

#define USER_NEXT(slot) t->users[slot].next

void skl_user_insert(skl_tables_t *t, uint32_t shard, uint32_t slot,
                     skl_hash_t key, uint32_t item)
{
    skl_user_row_t *row = &t->users[slot];
    _Atomic uint32_t *head = user_head(t, shard, key.lo);

    skl_assert(slot / t->shm->users == shard);
    TAKE(t->shards[shard].user_free, slot, SKL_LD(row->next));
    SKL_ST(row->lo, key.lo);
    SKL_ST(row->hi, key.hi);
    SKL_ST(row->item, item);
    if (SKL_LD(*head) != slot) {
        SKL_ST(row->next, SKL_LD(*head));
        SKL_ST(*head, slot);
    }
}

void skl_user_remove(skl_tables_t *t, uint32_t shard, uint32_t slot)
{
    skl_user_row_t *row = &t->users[slot];
    skl_shard_t *s = &t->shards[shard];

    skl_assert(slot / t->shm->users == shard);
    UNLINK(user_head(t, shard, SKL_LD(row->lo)), slot, USER_NEXT);
    SKL_ST(row->item, SKL_NONE);
    if (SKL_LD(s->user_free) != slot) {
        SKL_ST(row->next, SKL_LD(s->user_free));
        SKL_ST(s->user_free, slot);
    }
}

/* Is the slot in its chain? */
static int in_user_chain(const skl_tables_t *t, uint32_t head, uint32_t slot)
{
    uint32_t at = head;

    for (uint32_t i = 0; at != SKL_NONE && i < t->shm->users; i++) {
        if (at == slot) {
            return 1;
        }
        at = SKL_LD(t->users[at].next);
    }
    return 0;
}

void skl_user_insert_leg(skl_tables_t *t, uint32_t shard, uint32_t slot,
                         skl_hash_t key, uint32_t item)
{
    skl_user_row_t *row = &t->users[slot];
    _Atomic uint32_t *head = user_head(t, shard, key.lo);

    skl_assert(slot / t->shm->users == shard);
    TAKE(t->shards[shard].user_free, slot, SKL_LD(row->next));
    SKL_ST(row->lo, key.lo);
    SKL_ST(row->hi, key.hi);
    SKL_ST(row->item, item);
#ifdef MUTANT_ORDER_CHAIN_HEAD_ONLY
    if (SKL_LD(*head) != slot) {
#else
    if (!in_user_chain(t, SKL_LD(*head), slot)) {
#endif
        SKL_ST(row->next, SKL_LD(*head));
        SKL_ST(*head, slot);
    }
}

void skl_user_remove_leg(skl_tables_t *t, uint32_t shard, uint32_t slot)
{
    skl_user_row_t *row = &t->users[slot];
    skl_shard_t *s = &t->shards[shard];
    uint32_t at = SKL_LD(s->user_free);

    skl_assert(slot / t->shm->users == shard);
    UNLINK(user_head(t, shard, SKL_LD(row->lo)), slot, USER_NEXT);
    SKL_ST(row->item, SKL_NONE);
    for (int i = 0; at != SKL_NONE && i < SKL_LINES_MAX; i++) {
        if (at == slot) {
            return; /* given back already, others after it */
        }
        at = SKL_LD(t->users[at].next);
    }
    SKL_ST(row->next, SKL_LD(s->user_free));
    SKL_ST(s->user_free, slot);
}

/* ---- Reservation rows ---------------------------------------------------- */

void skl_row_take(skl_tables_t *t, uint32_t shard, uint32_t slot)
{
    skl_assert(slot / t->shm->rows == shard);
    TAKE(t->shards[shard].row_free, slot, t->rows[slot].next_free);
}

void skl_row_give(skl_tables_t *t, uint32_t shard, uint32_t slot)
{
    skl_shard_t *s = &t->shards[shard];

    skl_assert(slot / t->shm->rows == shard);
    if (SKL_LD(s->row_free) != slot) {
        t->rows[slot].next_free = SKL_LD(s->row_free);
        SKL_ST(s->row_free, slot);
    }
}

void skl_row_give_leg(skl_tables_t *t, uint32_t shard, uint32_t slot)
{
    skl_shard_t *s = &t->shards[shard];
    uint32_t at = SKL_LD(s->row_free);

    skl_assert(slot / t->shm->rows == shard);
    for (int i = 0; at != SKL_NONE && i < SKL_LINES_MAX; i++) {
        if (at == slot) {
            return; /* given back already, others after it */
        }
        at = t->rows[at].next_free;
    }
    t->rows[slot].next_free = SKL_LD(s->row_free);
    SKL_ST(s->row_free, slot);
}

/* ---- Items --------------------------------------------------------------- */

#define ITEM_NEXT(slot) t->items[slot].next

void skl_item_insert(skl_tables_t *t, uint32_t slot, skl_hash_t key,
                     const char *name, uint32_t len)
{
    skl_item_row_t *row = &t->items[slot];
    _Atomic uint32_t *head =
        &t->item_heads[skl_hash_range(key.lo, t->shm->items)];
    uint64_t words[SECKILL_ID_MAX / 8] = {0};

    skl_assert(slot < t->shm->items);
    skl_assert(len >= 1 && len <= SECKILL_ID_MAX);
    TAKE(t->shm->free, slot, SKL_LD(row->next));
    if (SKL_LD(t->shm->high_water) <= slot) {
        SKL_ST(t->shm->high_water, slot + 1);
    }
    SKL_ST(row->lo, key.lo);
    SKL_ST(row->hi, key.hi);
    memcpy(words, name, len);
    for (int i = 0; i < SECKILL_ID_MAX / 8; i++) {
        SKL_ST(row->name[i], words[i]);
    }
    SKL_ST(row->name_len, len);
    if (SKL_LD(*head) != slot) {
        SKL_ST(row->next, SKL_LD(*head));
        SKL_ST(*head, slot);
    }
}

void skl_item_unlink(skl_tables_t *t, uint32_t slot)
{
    const uint64_t lo = SKL_LD(t->items[slot].lo);

    skl_assert(slot < t->shm->items);
    UNLINK(&t->item_heads[skl_hash_range(lo, t->shm->items)], slot, ITEM_NEXT);
}

void skl_item_free(skl_tables_t *t, uint32_t slot)
{
    skl_assert(slot < t->shm->items);
    if (SKL_LD(t->shm->free) != slot) {
        SKL_ST(t->items[slot].next, SKL_LD(t->shm->free));
        SKL_ST(t->shm->free, slot);
    }
}

void skl_item_name(const skl_item_row_t *item, char *out, uint32_t *len)
{
    uint64_t words[SECKILL_ID_MAX / 8];

    for (int i = 0; i < SECKILL_ID_MAX / 8; i++) {
        words[i] = SKL_LD(item->name[i]);
    }
    *len = SKL_LD(item->name_len) & 127;
    if (*len > SECKILL_ID_MAX) {
        *len = SECKILL_ID_MAX; /* read while it changed: the caller retries */
    }
    memcpy(out, words, sizeof(words));
}

int skl_item_is(const skl_item_row_t *item, const char *name, uint32_t len)
{
    char have[SECKILL_ID_MAX];
    uint32_t have_len;

    skl_item_name(item, have, &have_len);
    return have_len == len && memcmp(have, name, len) == 0;
}

/* ---- Hold lists: deadlines ascend, because new holds of a list all have the
 * same length and the ledger's time does not go back --------------------- */

void skl_hold_insert(skl_tables_t *t, skl_item_row_t *item, uint32_t slot)
{
    skl_row_t *row = &t->rows[slot];
    skl_hold_list_t *list = &item->lists[row->hold_list];
    uint32_t last = SKL_LD(list->tail);

    skl_assert(row->hold_list < SKL_HOLD_LISTS);
    if (last == slot) { /* repeated after a death right at the end */
        last = row->prev;
    }
    row->prev = last;
    row->next = SKL_NONE;
    if (last == SKL_NONE) {
        SKL_ST(list->head, slot);
    } else {
        t->rows[last].next = slot;
    }
    SKL_ST(list->tail, slot);
}

void skl_hold_remove(skl_tables_t *t, skl_item_row_t *item, uint32_t slot)
{
    const skl_row_t *row = &t->rows[slot];
    skl_hold_list_t *list = &item->lists[row->hold_list];

    skl_assert(row->hold_list < SKL_HOLD_LISTS);
    if (row->prev == SKL_NONE) {
        SKL_ST(list->head, row->next);
    } else {
        t->rows[row->prev].next = row->next;
    }
    if (row->next == SKL_NONE) {
        SKL_ST(list->tail, row->prev);
    } else {
        t->rows[row->next].prev = row->prev;
    }
}

uint32_t skl_hold_first(const skl_tables_t *t, const skl_item_row_t *item)
{
    uint32_t first = SKL_NONE;

    for (int i = 0; i < SKL_HOLD_LISTS; i++) {
        uint32_t head = SKL_LD(item->lists[i].head);

        if (head != SKL_NONE &&
            (first == SKL_NONE ||
             t->rows[head].deadline < t->rows[first].deadline)) {
            first = head;
        }
    }
    return first;
}

int skl_item_is_sound(const skl_item_row_t *item)
{
    const int64_t a = SKL_LD(item->available), b = SKL_LD(item->reserved);
    const int64_t c = SKL_LD(item->sold);

    /* Damaged numbers may be any: no sum that overflows. */
    return a >= 0 && b >= 0 && c >= 0 && a <= SECKILL_COUNT_MAX &&
           b <= SECKILL_COUNT_MAX && c <= SECKILL_COUNT_MAX &&
           a + b + c == SKL_LD(item->total);
}

int64_t skl_hold_earliest(const skl_tables_t *t, const skl_item_row_t *item)
{
    uint32_t first = skl_hold_first(t, item);

    return first == SKL_NONE ? INT64_MAX : t->rows[first].deadline;
}
