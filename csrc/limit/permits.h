/*
 * Permits: how many requests hold a key at once, over all processes of a
 * segment, tied to the life of the process that holds them.
 *
 * Two tables. The slots count: 16 bytes for a key that somebody holds,
 *
 *     { fingerprint 64 | count 20, last operation: permit 20, seq 23, kind 1 }
 *
 * in groups of four, a key in either of two groups; a slot whose count is 0
 * may be reused. The permits say who holds what: 16 bytes each,
 *
 *     { fingerprint 64 | phase 2, row of the process 8, cost 20, doomed 1,
 *                        seq 33 }
 *
 * seq is raised whenever a free permit is claimed, which writes all of it in
 * one compare-and-swap. No lock is taken but to give a new key its slot: one
 * of 64 robust locks, by the key, so that a key is never in two slots.
 *
 *     acquire:  FREE -> PENDING   slot: count + cost, last = acquire  -> HELD
 *     release:  HELD -> RELEASING slot: count - cost, last = release  -> FREE
 *
 * Each arrow and each change of a slot is one compare-and-swap. A process may
 * be killed between any two: then the permit is PENDING or RELEASING, and
 * whoever cleans up must know whether the slot was changed. The rule that
 * tells: BEFORE anybody changes a slot he completes the last operation of the
 * slot (PENDING -> HELD, RELEASING -> FREE). So for a permit that is PENDING
 * or RELEASING, looked at AFTER its slot:
 *
 *     slot.last is this operation    it was applied, only the arrow is missing
 *     slot.last is another one       it was not: had it been applied and
 *                                    covered up, the permit would have moved
 *                                    on before that, and phases of one seq
 *                                    never go back
 *
 * and a change of the slot that is then made from the value that was looked
 * at applies it exactly once: the owner, and any number of processes that
 * clean up after him, may run the same steps at the same time, and each of
 * them may be killed, too. skl_permits_reap() does that for all permits of a
 * dead process: a PENDING one is carried through and then given back, so that
 * an owner who is not dead after all (see shm/processes.h: the thread that
 * claimed the row has ended) cannot apply it behind our back. It is doomed
 * first, which is an arrow, too: an owner who is refused cannot take it back
 * any more while we apply it.
 *
 * What could wrap. Who completes an operation compares 23 bits of seq, and
 * the fingerprint. While slot.last is an acquire its permit is not given back,
 * so it is that very seq. While it is a release its permit may have been used
 * again, but not for this key, as that would have changed slot.last: the
 * fingerprint differs. So the 23 bits only matter for a thread that stops
 * between looking at a slot and changing it, while ONE permit is used 2^23
 * times (permits are claimed in turn: with the default capacity 2^37
 * operations), and then the slot has the same count and the same seq of the
 * same permit again. The count is right even then; lost is the completion of
 * that last operation, and only if its owner is killed in the few
 * instructions before he completes it himself. For the arrows 33 bits count,
 * with row, cost and fingerprint.
 *
 * Fixed order of what can refuse: the limit (EREJECTED), then no row for the
 * process, no free permit, no slot (EFULL, counted). Nothing is ever admitted
 * beyond the tables. A refused take looks, at most every 100 ms over all
 * processes, for dead ones; a sweep does so anyway.
 *
 * Any thread of any process. Time is an argument. No allocation.
 */
#ifndef SKL_LIMIT_PERMITS_H
#define SKL_LIMIT_PERMITS_H

#include "shm/counters.h"
#include "shm/processes.h"

#include <stdatomic.h>
#include <stdint.h>

#define SKL_PERMITS_MAX (UINT32_C(1) << 20)
/* Of a limit, and of a cost. */
#define SKL_PERMITS_LIMIT_MAX ((UINT32_C(1) << 20) - 1)

typedef struct skl_permits_shm skl_permits_shm_t;
typedef struct skl_permits_group skl_permits_group_t;
typedef union skl_permits_entry skl_permits_entry_t;

/* The handle of one process. */
typedef struct {
    skl_permits_shm_t *shm;
    skl_permits_group_t *groups;
    skl_permits_entry_t *permits;
    skl_processes_t *processes;
    skl_counters_t *counters;
    _Atomic uint32_t cursor; /* where the next free permit may be */
} skl_permits_t;

/* What one acquire got; all zero: nothing. */
typedef struct {
    uint64_t number; /* of the permit, from 1 */
    uint64_t key;
    uint64_t seq;
    uint64_t cost;
} skl_permit_t;

/* Bytes of SKL_SECTION_PERMITS. */
uint64_t skl_permits_bytes(uint32_t permits);
/* Mix of sizes and offsets of the shared structs. */
uint64_t skl_permits_signature(void);
/* Fill a new section (zeroed memory). */
void skl_permits_init(void *section, uint32_t permits);
/* Also has every reap of `processes` give back the permits of the dead. */
void skl_permits_attach(skl_permits_t *p, void *section,
                        skl_processes_t *processes, skl_counters_t *counters);

/* Start to fetch the slots of a key. */
void skl_permits_prefetch(const skl_permits_t *p, uint64_t key);
/*
 * Acquire `cost` (1 or more) of `limit` for a fingerprint that is not 0, or
 * only look when `commit` is 0 (then `out` may be NULL). *in_use: the count,
 * with this acquire when it is SECKILL_OK. EREJECTED, EFULL.
 */
int skl_permits_take(skl_permits_t *p, uint64_t key, uint32_t cost,
                     uint32_t limit, int commit, int64_t now_ns,
                     skl_permit_t *out, uint32_t *in_use);
/* Give back; zeroes the ticket. 1, or 0: it was given back already. */
int skl_permits_release(skl_permits_t *p, skl_permit_t *permit);
/* Give back what the process of this row holds. Harmless when repeated. For the
 * holder of the row's lock, see skl_processes_reap(). 1; 0: not all, because
 * somebody who lives has the lock of a new key. */
int skl_permits_reap(skl_permits_t *p, uint32_t row);

/* What is held of a key, by anybody. */
uint32_t skl_permits_in_use(const skl_permits_t *p, uint64_t key);
/* Permits that are not free, counted one by one. */
uint32_t skl_permits_held(const skl_permits_t *p);
uint32_t skl_permits_capacity(const skl_permits_t *p);

#endif
