/*
 * What the limiters keep in shared memory. Included by limit/ only.
 *
 * Section: header with the locks, one record for each limiter, the overrides,
 * the groups of the key table. Everything starts at a cache line.
 */
#ifndef SKL_LIMIT_LAYOUT_H
#define SKL_LIMIT_LAYOUT_H

#include "limit/limits.h"
#include "limit/rule.h"
#include "limit/warm.h"
#include "shm/lock.h"

#include <stdatomic.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

enum {
    SKL_LIMIT_STRIPES = 64, /* locks of new keys */
    SKL_LIMIT_CELLS = 64,   /* overflow buckets of a limiter */
    SKL_LIMIT_WAYS = 4      /* slots in a group */
};

/* Tickets name cells by 1 .. SKL_LIMIT_CELL_MAX; fingerprints are greater. */
#define SKL_LIMIT_CELL_MAX (UINT64_C(1024) * SKL_LIMIT_CELLS)

__extension__ typedef unsigned __int128 skl_u128_t;

/* Two words that change together. */
typedef union {
    _Alignas(16) struct {
        _Atomic uint64_t key; /* 0: empty */
        _Atomic uint64_t tat; /* state; as an instant: when it is spent out */
    } half;
    skl_u128_t word; /* of the compare-and-swap */
} skl_limit_slot_t;

struct skl_limit_group {
    _Alignas(64) skl_limit_slot_t slots[SKL_LIMIT_WAYS];
};

/* A rule that changes as a whole: copy version & 1 is in force. */
typedef struct {
    _Alignas(64) _Atomic uint64_t version;
    struct {
        _Alignas(64) _Atomic uint64_t word[SKL_LIMIT_WORDS];
    } copy[2];
} skl_limit_live_rule_t;

/* Counts of one stripe of processes. */
typedef struct {
    _Alignas(64) _Atomic uint64_t count[SKL_LIMIT_COUNTS];
} skl_limit_stripe_t;

struct skl_limit_record {
    /* Written once, before the record is counted. */
    _Alignas(64) char name[SECKILL_NAME_MAX + 1];
    uint8_t pad[3];
    uint32_t algorithm;
    _Atomic uint32_t overrides; /* keys with rules of their own */
    skl_limit_live_rule_t rule;
    /* Nanoseconds given back by undo, counted before and after the fact. */
    _Alignas(64) _Atomic uint64_t undo_begun;
    _Atomic uint64_t undo_done;
    /* When debts were last cut, of all keys or of one; and the latest take
     * since then while there may be old ones: who is behind it cuts none. */
    _Atomic int64_t cut_ns, seen_ns;
    _Alignas(64) skl_limit_slot_t store; /* of a cold start: skl_warm_store_t */
    _Alignas(64) _Atomic uint64_t cells[SKL_LIMIT_CELLS]; /* states */
    skl_limit_stripe_t stripes[SKL_STRIPES];
};

/* The rule of one key: open addressing by fingerprint. */
struct skl_limit_exception {
    _Alignas(64) _Atomic uint64_t key; /* 0: never used, or SKL_LIMIT_GONE */
    skl_limit_live_rule_t rule;
};

struct skl_limits_shm {
    uint32_t limiters;
    uint32_t overrides;
    uint64_t exceptions; /* a power of two, at least twice the overrides */
    _Atomic uint32_t overridden; /* keys with a rule of their own */
    uint32_t pad;
    uint64_t groups;        /* a power of two */
    int64_t rebuilt_ns;     /* monotonic; 0: nothing was lost before */
    _Atomic uint32_t count; /* records in use */
    _Atomic uint64_t swept; /* next group of skl_limits_sweep() */
    skl_lock_t lock;        /* of creation and of changes of numbers */
    skl_lock_t stripes[SKL_LIMIT_STRIPES];
};

_Static_assert(sizeof(skl_limit_slot_t) == 16, "one compare-and-swap");
_Static_assert(sizeof(struct skl_limit_group) == 64, "one cache line");
_Static_assert(sizeof(struct skl_limit_record) % 64 == 0, "whole lines");
_Static_assert(sizeof(struct skl_limits_shm) % 64 == 0, "whole lines");
_Static_assert(sizeof(skl_warm_store_t) == 16, "a store is two words");

#define SKL_LIMIT_GONE UINT64_C(1)

static inline uint64_t skl_limit_units(int64_t now_ns)
{
    return (uint64_t)now_ns << SKL_LIMIT_SHIFT;
}

/* Units of the clock until the deepest debt of a rule is paid. */
static inline uint64_t skl_limit_deepest(const skl_limit_rule_t *rule,
                                         int64_t now_ns)
{
    const uint64_t now = skl_limit_units(now_ns);
    skl_limit_rule_t r = *rule;

    skl_limit_rule_at(&r, now_ns);
    if (r.warm == SKL_WARM_SCHEDULE) {
        return skl_warm_word(&r, r.window, now) - now;
    }
    return r.warm == SKL_WARM_COLD_START
               ? (uint64_t)((double)r.window * r.cold_factor)
               : r.window;
}

/* A TAT that a rule leaves behind is no later than that. */
static inline int64_t skl_limit_debt_until(const skl_limit_rule_t *r,
                                           int64_t now_ns)
{
    const uint64_t ns = (skl_limit_deepest(r, now_ns) >> SKL_LIMIT_SHIFT) + 1;
    int64_t until;

    return __builtin_add_overflow(now_ns, (int64_t)ns, &until) ? INT64_MAX
                                                               : until;
}

static inline void skl_limit_raise(_Atomic int64_t *at, int64_t ns)
{
    int64_t old = atomic_load(at);

    while (old < ns && !atomic_compare_exchange_weak(at, &old, ns)) {
    }
}

static inline int skl_limit_warms_alike(const skl_limit_rule_t *a,
                                        const skl_limit_rule_t *b)
{
    return a->warm == b->warm &&
           (a->warm == SKL_WARM_NONE ||
            (a->warm_span == b->warm_span && a->warm_up_at == b->warm_up_at &&
             !(a->cold_factor < b->cold_factor) &&
             !(a->cold_factor > b->cold_factor)));
}

/* Another rule takes the place of one. Its debts may be cut to the new burst,
 * or a charge be worth something else: tickets from before are worthless. */
static inline void skl_limit_note_cut(skl_limit_record_t *r,
                                      const skl_limit_rule_t *old,
                                      const skl_limit_rule_t *new,
                                      int64_t now_ns)
{
    if (new->window < old->window || !skl_limit_warms_alike(old, new)) {
        skl_limit_raise(&r->seen_ns, now_ns);
        skl_limit_raise(&r->cut_ns, now_ns);
    }
}

/* A whole copy of the first n words of the rule in force; n is a constant.
 * Goes round again only when a writer has published meanwhile; a writer that
 * died has not. */
static inline __attribute__((always_inline)) void skl_limit_copy(
    skl_limit_live_rule_t *r, skl_limit_rule_t *out, const int n)
{
    uint64_t version;

    do {
        version = atomic_load_explicit(&r->version, memory_order_acquire);
#pragma GCC unroll 20
        for (int i = 0; i < n; i++) {
            /* acquire: the check below stays behind these loads */
            const uint64_t word = atomic_load_explicit(
                &r->copy[version & 1].word[i], memory_order_acquire);

            /* one by one: a wider copy would wait for the stores before it */
            memcpy((char *)out + 8 * i, &word, sizeof(word));
        }
    } while (atomic_load_explicit(&r->version, memory_order_relaxed) !=
             version);
}

static inline void skl_limit_publish(skl_limit_live_rule_t *r,
                                     const skl_limit_rule_t *rule)
{
    uint64_t words[SKL_LIMIT_WORDS];
    uint64_t next = atomic_load(&r->version) + 1;

    memcpy(words, rule, sizeof(words));
    for (int i = 0; i < SKL_LIMIT_WORDS; i++) {
        atomic_store(&r->copy[next & 1].word[i], words[i]);
    }
    atomic_store(&r->version, next);
}

static inline void skl_limit_tally(skl_limiter_t *lim, int which)
{
    skl_limit_stripe_t *s =
        &lim->record->stripes[lim->limits->counters->number];

    atomic_fetch_add_explicit(&s->count[which], 1, memory_order_relaxed);
}

#endif
