/*
 * What the limiters keep in shared memory. Included by limit/ only.
 *
 * Section: header with the locks, one record for each limiter, the groups of
 * the key table. Everything starts at a cache line.
 */
#ifndef SKL_LIMIT_LAYOUT_H
#define SKL_LIMIT_LAYOUT_H

#include "limit/limits.h"
#include "shm/lock.h"

#include <stdatomic.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

enum {
    SKL_LIMIT_SHIFT = 8,    /* a unit is 2^-8 ns */
    SKL_LIMIT_STRIPES = 64, /* locks of new keys */
    SKL_LIMIT_CELLS = 64,   /* overflow buckets of a limiter */
    SKL_LIMIT_WAYS = 4,     /* slots in a group */
    SKL_LIMIT_WORDS = 7
};

#define SKL_LIMIT_WINDOW_MAX (UINT64_C(1) << 62)

__extension__ typedef unsigned __int128 skl_u128_t;

typedef union {
    _Alignas(16) struct {
        _Atomic uint64_t key; /* 0: empty */
        _Atomic uint64_t tat;
    } half;
    skl_u128_t word; /* of the compare-and-swap */
} skl_limit_slot_t;

struct skl_limit_group {
    _Alignas(64) skl_limit_slot_t slots[SKL_LIMIT_WAYS];
};

/* The numbers of a limiter, as its readers copy them. */
typedef struct {
    uint64_t interval;   /* units for one token */
    uint64_t window;     /* units of the burst */
    uint64_t debt_until; /* a TAT up to here may stem from older numbers */
    uint64_t mode;       /* SECKILL_LIMIT_* */
    double inverse;      /* 1 / interval */
    double rate, burst;  /* as given */
} skl_limit_numbers_t;

_Static_assert(sizeof(skl_limit_numbers_t) == 8 * SKL_LIMIT_WORDS,
               "numbers are copied word by word");

struct skl_limit_record {
    /* Written once, before the record is counted. */
    _Alignas(64) char name[SECKILL_NAME_MAX + 1];
    uint8_t pad[7];
    uint32_t algorithm;
    uint32_t reserved;
    _Atomic uint64_t version; /* copy version & 1 is in force */
    struct {
        _Alignas(64) _Atomic uint64_t word[SKL_LIMIT_WORDS];
    } numbers[2];
    /* Nanoseconds given back by undo, counted before and after the fact. */
    _Alignas(64) _Atomic uint64_t undo_begun;
    _Atomic uint64_t undo_done;
    _Alignas(64) _Atomic uint64_t cells[SKL_LIMIT_CELLS]; /* TATs */
};

struct skl_limits_shm {
    uint32_t limiters;
    uint32_t reserved;
    uint64_t groups;        /* a power of two */
    _Atomic uint32_t count; /* records in use */
    skl_lock_t lock;        /* of creation and of changes of numbers */
    skl_lock_t stripes[SKL_LIMIT_STRIPES];
};

_Static_assert(sizeof(skl_limit_slot_t) == 16, "one compare-and-swap");
_Static_assert(sizeof(struct skl_limit_group) == 64, "one cache line");
_Static_assert(sizeof(struct skl_limit_record) % 64 == 0, "whole lines");
_Static_assert(sizeof(struct skl_limits_shm) % 64 == 0, "whole lines");

static inline uint64_t skl_limit_units(int64_t now_ns)
{
    return (uint64_t)now_ns << SKL_LIMIT_SHIFT;
}

/* A whole copy of the numbers in force. Goes round again only when a writer
 * has published meanwhile; a writer that died has not. */
static inline void skl_limit_numbers(skl_limit_record_t *r,
                                     skl_limit_numbers_t *out)
{
    uint64_t words[SKL_LIMIT_WORDS];
    uint64_t version;

    do {
        version = atomic_load_explicit(&r->version, memory_order_acquire);
        for (int i = 0; i < SKL_LIMIT_WORDS; i++) {
            /* acquire: the check below stays behind these loads */
            words[i] = atomic_load_explicit(&r->numbers[version & 1].word[i],
                                            memory_order_acquire);
        }
    } while (atomic_load_explicit(&r->version, memory_order_relaxed) !=
             version);
    memcpy(out, words, sizeof(words));
}

#endif
