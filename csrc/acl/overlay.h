/*
 * The overlay of the access lists: values added or removed while the engine
 * runs, for all lists of a segment, in one bounded table in shared memory.
 *
 * A slot is a 128-bit keyed hash of (list, value) and one word of state: kind,
 * 14 bits of the hash again, and the deadline in ms. All are single atomic
 * words: whatever instruction a writer is killed at, a slot says the old thing,
 * the new one, or nothing. Readers take no lock and never wait. Probing is
 * linear in a window of SKL_OVERLAY_WINDOW slots and ends at a free one. Slots
 * of entries that are over are used again, and freed where no chain passes
 * them.
 *
 * Writers hold a robust lock. A change, of one value or of a whole batch, first
 * claims the slots it needs, then is written into a ring of changes, is made
 * certain by one store to `head`, and only then goes into the table, entry by
 * entry. Who takes the lock over from a dead writer finishes what is certain
 * and forgets what is not: a batch is there as a whole or not at all.
 *
 * The same ring feeds the log on disk (io/overlay_log.h): a reader of it that
 * falls behind by more than a ring reads the table instead. Values are not
 * kept: with the same key, and lists known by name, a hash is good for ever.
 *
 * In a list of networks a value is a CIDR in its canonical form, and the slot
 * has its length. The lengths that a list has are counted, and are bits in
 * words of their own: an address is looked up once for each of them, the
 * longest first. A list with addresses only costs one lookup, as with ids.
 */
#ifndef SKL_ACL_OVERLAY_H
#define SKL_ACL_OVERLAY_H

#include "acl/net.h"
#include "base/hash.h"
#include "shm/lock.h"

#include <stdatomic.h>
#include <stddef.h>
#include <stdint.h>

enum { SKL_OVERLAY_NONE, SKL_OVERLAY_DENY, SKL_OVERLAY_REMOVED };
enum { SKL_OVERLAY_WINDOW = 64, SKL_OVERLAY_LISTS = 256 };
/* Changes in the ring, a power of two; a batch takes at most half of it. */
enum { SKL_OVERLAY_RING = 8192, SKL_OVERLAY_BATCH = 4000 };

typedef struct {
    _Atomic uint64_t fp;    /* 0: free */
    _Atomic uint64_t state; /* deadline_ms << 16 | check << 2 | kind */
    _Atomic uint32_t list;
    _Atomic uint32_t length; /* of a network: 1 + its number; or 0 */
    _Atomic uint64_t hi;     /* the other half of the hash */
} skl_overlay_slot_t;

/* What a change is. A batch is a head, then its members. */
enum { SKL_CHANGE_ENTRY = 1, SKL_CHANGE_BATCH, SKL_CHANGE_MEMBER };

typedef struct {
    uint64_t fp; /* of a batch: its revision, 0 for none */
    uint64_t hi;
    uint64_t state; /* 0: no entry any more */
    uint16_t list;
    uint16_t type;   /* SKL_CHANGE_* */
    uint16_t left;   /* members of the same batch that follow */
    uint16_t length; /* as in a slot */
} skl_overlay_change_t;

/* One list. */
typedef struct {
    _Atomic uint64_t name;     /* hash of its name; 0: known by its number */
    _Atomic uint64_t revision; /* of the last batch that had one */
    _Atomic uint64_t unusable; /* records of the log that were not restored */
    _Atomic uint32_t restored; /* the log was read, or there is none */
    uint32_t pad;
} skl_overlay_list_t;

/* Lengths of networks have numbers: those of IPv6 0..128, then IPv4 0..32. */
enum { SKL_OVERLAY_V4 = 129, SKL_OVERLAY_LENGTHS = 162 };

/* The lengths that the networks of one list have. */
typedef struct {
    _Atomic uint64_t used[3]; /* bits */
    _Atomic uint32_t count[SKL_OVERLAY_LENGTHS];
} skl_overlay_lengths_t;

typedef struct {
    skl_lock_t lock;
    _Alignas(64) uint64_t slots; /* power of two, more than twice capacity */
    uint32_t capacity;
    uint32_t lists;
    uint64_t table_offset; /* from here */
    uint64_t lengths_offset, lists_offset, ring_offset;
    _Atomic uint32_t used; /* live entries of all lists, or more */
    uint32_t cursor;       /* of skl_overlay_trim */
    /* Changes are numbered from 0. Those below `head` are certain, those below
     * `applied` are in the table, those below `saved` are in the log. */
    _Alignas(64) _Atomic uint64_t head;
    _Atomic uint64_t applied, saved;
    _Alignas(64) _Atomic uint32_t live[]; /* of each list, or more */
} skl_overlay_shm_t;

typedef struct {
    skl_overlay_shm_t *shm;
    skl_overlay_slot_t *table;
    skl_overlay_list_t *lists;
    skl_overlay_lengths_t *lengths; /* of each list */
    _Atomic uint64_t *ring;         /* words of changes */
    skl_hash_key_t key;
} skl_overlay_t;

/* What the networks around an address say, from the most specific one on:
 * denied until closer_until, from then on as `kind` says. */
typedef struct {
    int64_t closer_until, until_ns;
    uint32_t kind, pad;
} skl_overlay_hit_t;

uint64_t skl_overlay_bytes(uint32_t lists, uint32_t capacity);
void skl_overlay_init(void *base, uint32_t lists, uint32_t capacity);
void skl_overlay_attach(skl_overlay_t *o, void *base,
                        const skl_hash_key_t *key);
/* Know a list by the hash of its name; before its first use. */
void skl_overlay_name(skl_overlay_t *o, uint32_t list, uint64_t name);

/* SKL_OVERLAY_*, not judging the time. */
uint32_t skl_overlay_find(const skl_overlay_t *o, uint32_t list,
                          const void *value, size_t len, int64_t *until_ns);
/* Set a value's entry. EFULL, EBUSY. until_ns: SKL_FOREVER or an instant. */
int skl_overlay_set(skl_overlay_t *o, uint32_t list, const void *value,
                    size_t len, uint32_t kind, int64_t until_ns,
                    int64_t now_ns);
/* The same for networks. */
void skl_overlay_find_net(const skl_overlay_t *o, uint32_t list,
                          const skl_addr_t *address, skl_overlay_hit_t *hit);
int skl_overlay_set_net(skl_overlay_t *o, uint32_t list,
                        const skl_prefix_t *net, uint32_t kind,
                        int64_t until_ns, int64_t now_ns);
/* 1 when a less specific network of the list may be in it. */
int skl_overlay_has_wider(const skl_overlay_t *o, uint32_t list,
                          const skl_prefix_t *net);
/* A change, as in skl_overlay_set. */
typedef struct {
    const void *value;
    size_t len;
    int64_t until_ns;
    uint32_t kind;
    uint32_t length; /* as in a slot */
} skl_overlay_item_t;

typedef void (*skl_overlay_item_fn)(void *ctx, uint32_t i,
                                    skl_overlay_item_t *out);

/* Of a network: its value, which must stay where it is, and its length. */
void skl_overlay_item_net(skl_overlay_item_t *item, const skl_prefix_t *net);
/* One change alone. */
int skl_overlay_set_item(skl_overlay_t *o, uint32_t list,
                         const skl_overlay_item_t *item, int64_t now_ns);
/* n changes, given by `item`: all of them, or none. revision 0: it has none.
 * ESTALE (not over the last revision of the list), EFULL, EBUSY; n is at most
 * SKL_OVERLAY_BATCH. */
int skl_overlay_apply(skl_overlay_t *o, uint32_t list, skl_overlay_item_fn item,
                      void *ctx, uint32_t n, uint64_t revision, int64_t now_ns);

/* ---- For the log, and for merging ---------------------------------------- */

/* The next changes from *pos on that are in the table, at most `max`: how many;
 * *pos moves. -1: some were overwritten. */
int skl_overlay_changes(const skl_overlay_t *o, uint64_t *pos,
                        skl_overlay_change_t *out, int max);
/* The same up to those that are certain, though not in the table yet. */
int skl_overlay_certain(const skl_overlay_t *o, uint64_t *pos,
                        skl_overlay_change_t *out, int max);
/* Entries of a list, from slot *at on, at most `max`: how many; *at moves. 0:
 * that was all. Each is one that was there at some time of the call. */
int skl_overlay_scan(const skl_overlay_t *o, uint32_t list, uint64_t *at,
                     skl_overlay_change_t *out, int max);
/* Changes of one list, from its log: how many did not fit, or EBUSY. Those of
 * a revision set it. They are not written to the ring. */
int skl_overlay_restore(skl_overlay_t *o, uint32_t list,
                        const skl_overlay_change_t *changes, int n,
                        int64_t now_ns);
/* Hash of a value, as in a change. */
void skl_overlay_ident(const skl_overlay_t *o, uint32_t list, const void *value,
                       size_t len, skl_overlay_change_t *out);
/* Forget the entries that are still as they were: how many, or EBUSY. */
int skl_overlay_forget(skl_overlay_t *o, uint32_t list,
                       const skl_overlay_change_t *entries, int n,
                       int64_t now_ns);
uint32_t skl_overlay_kind(uint64_t state);
int64_t skl_overlay_until(uint64_t state);

/* Free slots of entries that are over, at most `max` looked at; skipped when
 * the lock is taken. */
void skl_overlay_trim(skl_overlay_t *o, uint32_t max, int64_t now_ns);

/* Entries of one list. */
static inline uint32_t skl_overlay_live(const skl_overlay_t *o, uint32_t list)
{
    return atomic_load_explicit(&o->shm->live[list], memory_order_acquire);
}

#endif
