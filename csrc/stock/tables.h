/*
 * The tables of the ledger in the segment, and their lock domains.
 *
 *   catalog  names of items, free item slots           catalog.lock
 *   shard    (of 1..64, by keyed hash) the index of
 *            request ids and of (item, user) pairs, the
 *            free lists of their rows and of reservation
 *            rows, the queue in which ids retire       shard.lock
 *   item     counters, configuration, hold lists; the
 *            content of the item's user rows and of its
 *            reservation rows                          item.lock
 * Lock order: catalog, shards ascending, items ascending, ring. One exception:
 * a lookup of a name may take the catalog's lock, for a moment, while a shard
 * is held; nobody takes a shard while holding the catalog.
 *
 * Rows are in fixed slots. An index is an array of chain heads; a chain goes
 * through `next` of the rows. Slots of a table belong to one shard each, with
 * some spare ones, because a hash does not spread ids quite evenly.
 *
 * Each domain has a sequence number: odd from before the commit of a record
 * until it is applied. A reader without the lock takes values only if the
 * number was even and the same before and after (Lamport 1977; the seqlock of
 * Linux). Words that such readers look at are relaxed atomics.
 */
#ifndef SKL_STOCK_TABLES_H
#define SKL_STOCK_TABLES_H

#include "base/hash.h"
#include "seckill.h"
#include "shm/lock.h"
#include "stock/record.h"

#include <stdatomic.h>
#include <stdint.h>

enum {
    SKL_SHARDS_MAX = 64,
    SKL_HOLD_LISTS = 8,   /* holds of different length alive at once */
    SKL_IDS_PER_USER = 16 /* live request ids per user and item */
};

#define SKL_LD(x) atomic_load_explicit(&(x), memory_order_relaxed)
#define SKL_ST(x, v) atomic_store_explicit(&(x), (v), memory_order_relaxed)

enum {
    SKL_REQ_RESERVE = 1,
    SKL_REQ_REFUND = 2,
    SKL_REQ_ADJUST = 3,
    SKL_REQ_ORDER = 4 /* of several lines */
};

/* A live request id. Written in the REQUEST part only. */
typedef struct {
    _Atomic uint64_t lo, hi; /* keyed hash of the id */
    int64_t created;
    uint64_t arg; /* fingerprint of refund, adjust and order; RESERVE: qty */
    _Atomic uint32_t next;
    uint32_t row; /* reservation slot (of the first line) or SKL_NONE */
    uint32_t item;
    uint32_t kind; /* SKL_REQ_*; 0: free */
} skl_request_row_t;

/* What a user has of an item. lo, hi, next, item: USER part; the rest: ITEM. */
typedef struct {
    _Atomic uint64_t lo, hi;
    _Atomic int64_t count; /* units reserved and sold */
    _Atomic uint32_t next;
    _Atomic uint32_t item; /* SKL_NONE: free */
    _Atomic uint32_t ids;  /* live request ids */
    uint32_t pad;
} skl_user_row_t;

/* A reservation, or one line of an order. next_free: REQUEST part; the rest:
 * ITEM part. `item` and `line` of a line are known to both: each part stores
 * them, so that under the shard's lock alone the lines of a live order can be
 * walked and their items be found. */
typedef struct {
    _Atomic uint64_t lsn; /* of its RESERVE record; 0: free */
    _Atomic uint32_t item;
    uint32_t next_free;
    uint32_t user;
    uint32_t request;
    uint32_t prev, next; /* in the hold list */
    int64_t qty;
    int64_t deadline; /* 0: none */
    int64_t created;
    uint8_t state; /* SECKILL_STATE_* */
    uint8_t hold_list;
    uint8_t user_len;
    uint8_t request_len;
    _Atomic uint32_t line; /* skl_line_word(); 0: no line of an order */
    char user_id[SECKILL_ID_MAX];
    char request_id[SECKILL_ID_MAX];
} skl_row_t;

_Static_assert(sizeof(skl_row_t) == 192, "three cache lines");

/* The number of a line from 1, and the row of the next one. */
enum { SKL_LINE_END = 0xfffffff };

static inline uint32_t skl_line_word(uint32_t number, uint32_t next)
{
    return next << 4 | number;
}

static inline uint32_t skl_line_number(uint32_t word)
{
    return word & 15;
}

static inline uint32_t skl_line_next(uint32_t word)
{
    return word >> 4;
}

typedef struct {
    _Atomic int64_t hold_ns;
    _Atomic uint32_t head, tail; /* by deadline, ascending */
} skl_hold_list_t;

enum { SKL_ITEM_FREE = 0, SKL_ITEM_REMOVED = 100 };

typedef struct {
    skl_lock_t lock;
    /* hot: one line */
    _Alignas(64) _Atomic uint64_t seq;
    _Atomic int64_t available, reserved, sold;
    _Atomic int64_t earliest; /* first deadline; INT64_MAX: no hold pending */
    _Atomic int64_t per_user, max_qty;
    _Atomic uint32_t state; /* SECKILL_ITEM_*, SKL_ITEM_* */
    _Atomic uint32_t name_len;
    /* read mostly */
    _Atomic int64_t total, hold_ns, starts_at, ends_at, version, put_total;
    _Atomic uint64_t born; /* LSN of its first PUT: tells lives of a slot */
    _Atomic uint64_t lsn;  /* of its last change */
    _Atomic int64_t last_time;
    _Atomic uint32_t hold_list; /* the list new holds go to */
    _Atomic uint32_t live;      /* live request ids */
    _Atomic uint32_t users;     /* user rows */
    _Atomic uint32_t next;      /* chain of the catalog, or free list */
    _Atomic uint32_t fault;     /* 1: quarantine (rebuild.h); not logged */
    uint32_t pad;
    _Atomic uint64_t lo, hi; /* keyed hash of the name */
    skl_hold_list_t lists[SKL_HOLD_LISTS];
    _Atomic uint64_t name[SECKILL_ID_MAX / 8];
} skl_item_row_t;

typedef struct {
    skl_lock_t lock;
    _Alignas(64) _Atomic uint64_t seq;
    _Atomic uint32_t request_free, user_free, row_free;
    _Atomic uint32_t fifo_head, fifo_tail; /* positions, modulo capacity */
} skl_shard_t;

typedef struct {
    skl_lock_t lock; /* of the catalog */
    _Alignas(64) _Atomic uint64_t seq;
    _Atomic uint32_t free;       /* item slots */
    _Atomic uint32_t high_water; /* item slots ever used */
    _Alignas(64) uint32_t shards;
    uint32_t items;
    uint32_t requests, users, rows; /* slots of one shard */
    uint32_t pad[3];
    uint64_t off_shards, off_items, off_item_heads;
    uint64_t off_requests, off_request_heads, off_fifo;
    uint64_t off_users, off_user_heads, off_rows;
    uint64_t bytes;
} skl_tables_shm_t;

/* Pointers of one process into the section. */
typedef struct {
    skl_tables_shm_t *shm;
    skl_shard_t *shards;
    skl_item_row_t *items;
    _Atomic uint32_t *item_heads;
    skl_request_row_t *requests;
    _Atomic uint32_t *request_heads;
    _Atomic uint32_t *fifo;
    skl_user_row_t *users;
    _Atomic uint32_t *user_heads;
    skl_row_t *rows;
    skl_hash_key_t key;
} skl_tables_t;

uint64_t skl_tables_bytes(uint32_t items, uint32_t reservations, uint32_t users,
                          uint32_t requests);
void skl_tables_init(void *section, uint32_t items, uint32_t reservations,
                     uint32_t users, uint32_t requests);
void skl_tables_attach(skl_tables_t *t, void *section,
                       const skl_hash_key_t *key);

/* ---- Keys ---------------------------------------------------------------- */

static inline skl_hash_t skl_key_of(const skl_tables_t *t, const char *id,
                                    uint32_t len)
{
    return skl_hash128(&t->key, id, len);
}

/* The key of (item, user) from the hash of the user: `born` is another number
 * for each life of each item, so keys of two items differ. */
static inline skl_hash_t skl_user_key(skl_hash_t user, uint64_t born)
{
    skl_hash_t key = {user.lo ^ skl_mix64(born), user.hi + born};

    return key;
}

static inline uint32_t skl_shard_of(const skl_tables_t *t, skl_hash_t key)
{
    return skl_hash_range(key.hi, t->shm->shards);
}

/* ---- Lookup in an index; the domain's lock is held, or the caller checks the
 * sequence afterwards (then the walk may go astray, but ends) -------------- */

uint32_t skl_find_request(const skl_tables_t *t, uint32_t shard,
                          skl_hash_t key);
uint32_t skl_find_user(const skl_tables_t *t, uint32_t shard, skl_hash_t key);
uint32_t skl_find_item(const skl_tables_t *t, skl_hash_t key);
/* Hints: fetch the chain's head, while something else is computed. */
void skl_fetch_request(const skl_tables_t *t, uint32_t shard, skl_hash_t key);
void skl_fetch_user(const skl_tables_t *t, uint32_t shard, skl_hash_t key);
/* The rows that both chains begin with, so that the two are fetched at once. */
void skl_fetch_chains(const skl_tables_t *t, uint32_t request_shard,
                      skl_hash_t request, uint32_t user_shard, skl_hash_t user);

/* ---- Single steps of apply(): each may be repeated after a death at any of
 * its instructions, as long as nothing else happened in the domain --------- */

void skl_request_insert(skl_tables_t *t, uint32_t shard, uint32_t slot,
                        skl_hash_t key);
void skl_request_remove(skl_tables_t *t, uint32_t shard, uint32_t slot);
void skl_user_insert(skl_tables_t *t, uint32_t shard, uint32_t slot,
                     skl_hash_t key, uint32_t item);
void skl_user_remove(skl_tables_t *t, uint32_t shard, uint32_t slot);
void skl_row_take(skl_tables_t *t, uint32_t shard, uint32_t slot);
void skl_row_give(skl_tables_t *t, uint32_t shard, uint32_t slot);
/* The same where one record takes or gives several rows of one shard: what the
 * step did may no longer stand first in its list when it is repeated. */
void skl_user_insert_leg(skl_tables_t *t, uint32_t shard, uint32_t slot,
                         skl_hash_t key, uint32_t item);
void skl_user_remove_leg(skl_tables_t *t, uint32_t shard, uint32_t slot);
void skl_row_give_leg(skl_tables_t *t, uint32_t shard, uint32_t slot);
void skl_item_insert(skl_tables_t *t, uint32_t slot, skl_hash_t key,
                     const char *name, uint32_t len);
void skl_item_unlink(skl_tables_t *t, uint32_t slot);
void skl_item_free(skl_tables_t *t, uint32_t slot);
void skl_fifo_append(skl_tables_t *t, uint32_t shard, uint32_t pos,
                     uint32_t slot);
uint32_t skl_fifo_at(const skl_tables_t *t, uint32_t shard, uint32_t pos);
void skl_hold_insert(skl_tables_t *t, skl_item_row_t *item, uint32_t slot);
void skl_hold_remove(skl_tables_t *t, skl_item_row_t *item, uint32_t slot);
/* The first deadline of an item's holds. */
int64_t skl_hold_earliest(const skl_tables_t *t, const skl_item_row_t *item);
/* The reservation with the first deadline, or SKL_NONE. */
uint32_t skl_hold_first(const skl_tables_t *t, const skl_item_row_t *item);

/* available + reserved + sold = total, all >= 0. The lock is held, or the
 * sequence is checked afterwards. */
int skl_item_is_sound(const skl_item_row_t *item);

/* ---- Sequences ----------------------------------------------------------- */

static inline void skl_seq_begin(_Atomic uint64_t *seq)
{
    SKL_ST(*seq, SKL_LD(*seq) | 1);
    atomic_thread_fence(memory_order_release);
}

static inline void skl_seq_end(_Atomic uint64_t *seq)
{
    atomic_store_explicit(seq, (SKL_LD(*seq) | 1) + 1, memory_order_release);
}

static inline uint64_t skl_seq_read(_Atomic uint64_t *seq)
{
    return atomic_load_explicit(seq, memory_order_acquire);
}

static inline int skl_seq_same(_Atomic uint64_t *seq, uint64_t before)
{
    atomic_thread_fence(memory_order_acquire);
    return (before & 1) == 0 && SKL_LD(*seq) == before;
}

/* Item names are copied in words, so that readers without the lock may. */
void skl_item_name(const skl_item_row_t *item, char *out, uint32_t *len);
int skl_item_is(const skl_item_row_t *item, const char *name, uint32_t len);

#endif
