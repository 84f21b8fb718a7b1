/*
 * Hot keys: which keys of all limiters are asked for most, now, over all
 * processes. It only watches; no take is answered otherwise because of it.
 *
 * The algorithm is HeavyKeeper (Gong, Yang, Zhang, Li, Uhlig, Chen, Uden, Li:
 * "HeavyKeeper: An Accurate Algorithm for Finding Top-k Elephant Flows",
 * USENIX ATC 2018), with d = 4 rows, w = 1024 cells, b = 1.08 and k = 64. A
 * cell belongs to one key: a take of it adds to the cell, a take of another
 * key wears it off with a probability of b^-count. So the many small keys wear
 * each other off, and a hot key keeps its cell. The largest of a key's four
 * cells is its estimate, and the 64 keys with the largest estimates are listed
 * by name.
 *
 * Where it lives. Sketch and list are in the segment, one of each for each of
 * the 16 stripes of the counters, so that a process mostly has its own and
 * shares no cache line with another; a report adds the lists up. There is no
 * memory of a process to be lost with it and nothing to hand over: what a
 * dead process saw fades away by itself.
 *
 * Sampling. Only one of about 2^shift takes is looked at, and it counts for
 * 2^shift: shift is 0 while takes are rare and rises until about one is looked
 * at in 10 to 40 us, up to one of 256. The distances are random, so that a
 * pattern of the callers (every request asks three limiters) cannot hide a
 * key from it.
 *
 * Now, not ever. Each count carries the number of the 10-second period in
 * which it was written, and whoever reads it later halves it once for each
 * period that has passed since.
 *
 * No locks, nothing to repair. Every count is one word, written whole. Two
 * writers may lose a count to each other: it is an estimate. An entry of the
 * list has several words; its writer clears the checksum first and writes it
 * last, and a reader takes an entry only if the checksum is that of its words.
 * So a writer that was killed or overtaken in between leaves an entry that
 * nobody sees; the next sample of its key writes it again, and without one its
 * count fades until another key takes the place.
 *
 * Any thread of any process. Time is an argument. No allocation.
 */
#ifndef SKL_LIMIT_HOT_H
#define SKL_LIMIT_HOT_H

#include "seckill.h"
#include "shm/counters.h"

#include <stdatomic.h>
#include <stddef.h>
#include <stdint.h>

enum {
    SKL_HOT_KEYS = SECKILL_HOT_KEYS_MAX, /* of a list: k */
    SKL_HOT_ROWS = 4,                    /* d */
    SKL_HOT_WIDTH = 1024,                /* w; less in a small segment */
    SKL_HOT_FADES = 256                  /* b^-count beyond is nothing */
};

#define SKL_HOT_PERIOD_NS INT64_C(10000000000)

typedef struct skl_hot_shm skl_hot_shm_t;

/* The handle of one process; its threads share it. */
typedef struct skl_hot {
    skl_hot_shm_t *shm;
    const skl_counters_t *counters; /* whose stripe is ours, too */
    _Atomic uint32_t skip;          /* takes up to and with the next sample */
    _Atomic uint32_t shift;         /* log2 of their mean */
    _Atomic uint32_t samples;       /* since paced_at */
    _Atomic int64_t sampled_at;     /* the last one */
    _Atomic int64_t paced_at;       /* when shift was last looked at */
    _Atomic uint64_t random;
    uint32_t fades[SKL_HOT_FADES]; /* 2^32 * b^-count */
} skl_hot_t;

/* One line of a report. */
typedef struct {
    char key[SECKILL_ID_MAX];
    uint32_t key_len;
    uint32_t limiter; /* index, as noted: not checked against anything */
    double rate;      /* takes per second */
    double share;     /* of all takes, 0 .. 1 */
} skl_hot_key_t;

/* Bytes of SKL_SECTION_HOT. */
uint64_t skl_hot_bytes(uint32_t limit_keys);
/* Mix of sizes and offsets of the shared structs. */
uint64_t skl_hot_signature(void);
/* Fill a new section (zeroed memory). */
void skl_hot_init(void *section, uint32_t limit_keys);
void skl_hot_attach(skl_hot_t *h, void *section,
                    const skl_counters_t *counters);

/* Look at one take; see skl_hot_note. */
void skl_hot_sample(skl_hot_t *h, uint64_t fingerprint, uint32_t limiter,
                    const char *key, size_t key_len, int64_t now_ns);

/* For every take: a key of 1 to 64 bytes, and its fingerprint, which is never
 * 0 and another one for an equal key of another limiter. */
static inline void skl_hot_note(skl_hot_t *h, uint64_t fingerprint,
                                uint32_t limiter, const char *key,
                                size_t key_len, int64_t now_ns)
{
    uint32_t left = atomic_load_explicit(&h->skip, memory_order_relaxed);

    /* Not a read-modify-write: a lost step moves a sample by one take. */
    if (__builtin_expect(left > 1, 1)) {
        atomic_store_explicit(&h->skip, left - 1, memory_order_relaxed);
        return;
    }
    skl_hot_sample(h, fingerprint, limiter, key, key_len, now_ns);
}

/* The hottest keys over all processes, hottest first: how many, at most max
 * and at most SKL_HOT_KEYS. Not for a hot path (50 us, 48 KiB of stack). */
int skl_hot_top(const skl_hot_t *h, int64_t now_ns, skl_hot_key_t *out,
                int max);

#endif
