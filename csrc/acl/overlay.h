/*
 * The overlay of the access lists: values added or removed while the engine
 * runs, for all lists of a segment, in one bounded table in shared memory.
 *
 * A slot is a 64-bit keyed fingerprint of (list, value) and one word of state:
 * kind, 14 more bits of the hash, and the deadline in ms. Both are single
 * atomic words: whatever instruction a writer is killed at, a slot says the
 * old thing, the new one, or nothing. Writers hold a robust lock; readers take
 * none and never wait. Probing is linear in a window of SKL_OVERLAY_WINDOW
 * slots and ends at a free one. Slots of entries that are over are used again,
 * and freed where no chain passes them.
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

typedef struct {
    _Atomic uint64_t fp;    /* 0: free */
    _Atomic uint64_t state; /* deadline_ms << 16 | check << 2 | kind */
    _Atomic uint32_t list;
    _Atomic uint32_t length; /* of a network: 1 + its number; or 0 */
    uint32_t pad[2];
} skl_overlay_slot_t;

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
    uint64_t lengths_offset; /* from here */
    uint64_t table_offset;
    _Atomic uint32_t used; /* live entries of all lists, or more */
    uint32_t cursor;       /* of skl_overlay_trim */
    _Alignas(64) _Atomic uint32_t live[]; /* of each list, or more */
} skl_overlay_shm_t;

typedef struct {
    skl_overlay_shm_t *shm;
    skl_overlay_slot_t *table;
    skl_overlay_lengths_t *lengths; /* of each list */
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
/* Free slots of entries that are over, at most `max` looked at; skipped when
 * the lock is taken. */
void skl_overlay_trim(skl_overlay_t *o, uint32_t max, int64_t now_ns);

/* Entries of one list. */
static inline uint32_t skl_overlay_live(const skl_overlay_t *o, uint32_t list)
{
    return atomic_load_explicit(&o->shm->live[list], memory_order_acquire);
}

#endif
