/*
 * Limiters over all processes of a segment.
 *
 * All algorithms but concurrency (permits.h) keep one word for each key, which,
 * read as an instant, says when the key is as good as new. Windows: window.h.
 * A sliding log is `limit` buckets for each key, of one token in the window
 * (log.c). Token and leaky bucket are GCRA (the generic cell rate algorithm):
 *
 * A bucket is one number, the theoretical arrival time (TAT): the instant at
 * which the bucket is full again. In time units of 1/256 ns, with T units for
 * one token and a burst of B tokens, a take of n tokens at `now` does
 *
 *     x = max(TAT, now) + n * T
 *     admit iff x - now <= B * T, and then TAT = x
 *
 * max(), never abs(): a clock that steps back must not look like time that
 * has passed. Differences of instants are taken modulo 2^64, as signed
 * numbers, so that an uptime of more than 2.28 years (2^64 units) is nothing
 * special; see skl_limits_sweep() for what this asks of slots that rest.
 *
 * Keys live in one table for all limiters: slots of 16 bytes, {64-bit
 * fingerprint of limiter and key, TAT}, in groups of four (one cache line); a
 * key may be in either of two groups. A take of a known key is ONE 16-byte
 * compare-and-swap. A slot is reused only when it is empty or TAT <= now: a
 * bucket that is full again equals one that was never used, so nothing is
 * lost. The reuse, too, is one compare-and-swap, which fails when the old key
 * was charged in between. New keys enter under one of 64 locks, chosen by the
 * key, so that a key is never in two slots.
 *
 * When both groups are full of live slots, or the lock was not to be had in
 * time, the take is charged to a cell: 64 buckets for each limiter, shared by
 * all keys that fall into them, with the limiter's own numbers. That is at
 * most what the key may have, never more. A key that enters the table later
 * starts with the debt of its cell, so that being there twice buys nothing.
 *
 * Killed at any instruction: every change of a bucket is one atomic write of
 * a whole new state, so there is never a half state, and the locks protect no
 * data that could be left half written: their repair function is empty. A
 * limiter's numbers exist twice; the writer fills the idle copy and publishes
 * it by one store.
 *
 * Time is an argument (CLOCK_MONOTONIC, ns). Any thread of any process. No
 * allocation but in skl_limits_open().
 */
#ifndef SKL_LIMIT_LIMITS_H
#define SKL_LIMIT_LIMITS_H

#include "base/hash.h"
#include "limit/hot.h"
#include "limit/permits.h"
#include "seckill.h"
#include "shm/counters.h"

#include <stddef.h>
#include <stdint.h>

typedef struct skl_limits_shm skl_limits_shm_t;
typedef struct skl_limit_record skl_limit_record_t;
typedef struct skl_limit_group skl_limit_group_t;
typedef struct skl_limit_exception skl_limit_exception_t;
typedef struct skl_limiter skl_limiter_t;

/* What is counted of each limiter, in the order of seckill_limiter_counts_t. */
enum {
    SKL_LIMIT_ALLOWED,
    SKL_LIMIT_REJECTED,
    SKL_LIMIT_DELAYED,
    SKL_LIMIT_SHADOWED,
    SKL_LIMIT_OVERFLOW,
    SKL_LIMIT_REFUNDED,
    SKL_LIMIT_COUNTS
};

/* Capacities of the section. */
typedef struct {
    uint32_t keys, limiters, overrides;
} skl_limits_size_t;

/* The handle of one process. */
typedef struct {
    skl_limits_shm_t *shm;
    skl_limit_record_t *records;
    skl_limit_exception_t *exceptions;
    skl_limit_group_t *groups;
    skl_counters_t *counters;
    skl_hot_t *hot; /* for the callers of takes; NULL until they set it */
    skl_hash_key_t key;
    skl_limiter_t *_Atomic handles; /* one per record, made by the first open */
    skl_permits_t *permits;         /* of concurrency; NULL: there are none */
    _Atomic int64_t
        offset_ns; /* ledger time less limiter time, when numbers are set */
} skl_limits_t;

/* The handle of one process to one limiter. */
struct skl_limiter {
    skl_limits_t *limits;
    skl_limit_record_t *record;
    skl_hash_key_t key; /* of this limiter's keys */
    uint32_t index;
};

/* Where a key may be. */
typedef struct {
    uint64_t key;
    skl_limit_group_t *group[2];
} skl_limit_place_t;

/* What one admission took of one limiter; all zero: nothing. */
typedef struct {
    skl_limiter_t *limiter;
    uint64_t at;  /* buckets: when, in ns; log: in units; windows: the window */
    uint64_t key; /* fingerprint, or 1 + number of the cell */
    uint64_t depth;  /* buckets: ns to the new TAT, plus the ns given back
                        before; log: units of the window; cells: the key */
    uint64_t charge; /* buckets: units; windows: n; log: stamps, as bits */
} skl_limit_ticket_t;

enum { SKL_LIMIT_KEY_MAX = 65535 };

/* A question and its answer. */
typedef struct {
    int64_t now_ns;
    uint32_t cost;              /* >= 1 */
    int commit;                 /* 0: only look */
    skl_limit_ticket_t *ticket; /* filled by an admission, or NULL */
    const void *rule;   /* skl_limit_rule_t instead of the limiter's, or NULL */
    uint64_t remaining; /* out, of OK: what is left of the quota */
    uint64_t quota;     /* out */
    int64_t delay_ns;   /* out, of OK */
    int64_t retry_ns;   /* out, of EREJECTED; -1: never */
    int64_t reset_ns;   /* out */
    uint32_t in_use;    /* out, of concurrency */
    int shadowed;       /* out, of OK: 1: shadow mode did not refuse */
    uint32_t mode;      /* out: SECKILL_LIMIT_* */
} skl_limit_ask_t;

/* Bytes of SKL_SECTION_LIMITS. */
uint64_t skl_limits_bytes(const skl_limits_size_t *size);
/* Mix of sizes and offsets of the shared structs. */
uint64_t skl_limits_signature(void);
/* Fill a new section (zeroed memory). */
void skl_limits_init(void *section, const skl_limits_size_t *size);
/* The segment before this one was lost: until what it had admitted is surely
 * paid off, keys begin spent out. Before any limiter is made. */
void skl_limits_rebuilt(void *section, int64_t now_ns);
void skl_limits_attach(skl_limits_t *l, void *section,
                       const skl_hash_key_t *key, skl_counters_t *counters);
/* Free what this process allocated; its limiters are gone then. */
void skl_limits_detach(skl_limits_t *l);

/* Limiters that exist; they are never removed. */
uint32_t skl_limits_count(const skl_limits_t *l);
/* The i-th; NULL: there is none, or no memory. */
skl_limiter_t *skl_limits_at(skl_limits_t *l, uint32_t i);
/* Name of the limiter with this index; NULL: there is none. */
const char *skl_limits_name(const skl_limits_t *l, uint32_t index);
/* Create or attach; see seckill_limiter_open(). ENOMEM. */
int skl_limits_open(skl_limits_t *l, const char *name,
                    const seckill_limit_t *limit, int64_t now_ns,
                    skl_limiter_t **out);
/* See seckill_limiter_set(). EBADOPTION, ECONFLICT, EBUSY. */
int skl_limiter_set(skl_limiter_t *lim, const seckill_limit_t *limit,
                    int64_t now_ns);
void skl_limiter_get(skl_limiter_t *lim, seckill_limit_t *out);
const char *skl_limiter_name(const skl_limiter_t *lim);
/* 1: what it admits is held, and has to be released. */
int skl_limiter_holds(const skl_limiter_t *lim);
/* See seckill_limiter_override(). */
int skl_limiter_override(skl_limiter_t *lim, const skl_limit_place_t *place,
                         const seckill_limit_t *limit, int64_t now_ns);
/* A count of one limiter, and of all together. */
uint64_t skl_limiter_counted(const skl_limiter_t *lim, int which);
uint64_t skl_limits_counted(const skl_limits_t *l, int which);

/* Hash a key of 1 to SKL_LIMIT_KEY_MAX bytes and start to fetch its groups: the
 * memory comes while the caller reads the clock. */
void skl_limiter_locate(const skl_limiter_t *lim, const char *key,
                        size_t key_len, skl_limit_place_t *place);
/* SECKILL_OK or EREJECTED. In shadow mode always OK. ECONFLICT: ask->rule is
 * one of another algorithm or window. Concurrency: EFULL; EBADOPTION: nothing
 * to release a permit by, without a ticket. */
int skl_limiter_take(skl_limiter_t *lim, const skl_limit_place_t *place,
                     skl_limit_ask_t *ask);
/*
 * Ask n limiters at one instant; asks[] have the same now, cost and commit.
 * All look first, so that a refusal changes nothing; then each is charged.
 * When one that had passed is refused by then, as somebody else was faster,
 * what was charged before it is given back. OK or EREJECTED; *mask: which
 * refuse.
 */
int skl_limiter_combine(uint32_t n, skl_limiter_t *const *lims,
                        const skl_limit_place_t *places, skl_limit_ask_t *asks,
                        uint32_t *mask);
/* Give back what a ticket took; zeroes it. 1: something was given back. */
int skl_limiter_undo(skl_limiter_t *lim, skl_limit_ticket_t *ticket,
                     int64_t now_ns);
/* The request is over: permits come back, a charge stays. 1: they did. */
int skl_limiter_leave(skl_limiter_t *lim, skl_limit_ticket_t *ticket);
/* Give `cost` back to a key without a ticket. 1, 0, or ECONFLICT as take. */
int skl_limiter_refund(skl_limiter_t *lim, const skl_limit_place_t *place,
                       const void *rule, uint32_t cost, int64_t now_ns);

/*
 * Empty slots that are as good as new, in the next `max` groups (of
 * skl_limits_groups()); returns how many. A slot that rests for more than 416
 * days (2^63 units) would look charged: one round of the table in a year is
 * enough, and keeps that from happening. All processes go round together.
 */
uint32_t skl_limits_sweep(skl_limits_t *l, int64_t now_ns, uint32_t max);
uint64_t skl_limits_groups(const skl_limits_t *l);

#endif
