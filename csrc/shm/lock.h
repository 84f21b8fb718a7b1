/*
 * Robust process-shared lock and the one recovery path.
 *
 * A pthread mutex with PTHREAD_PROCESS_SHARED and PTHREAD_MUTEX_ROBUST: when
 * its holder dies the kernel hands it to the next process with EOWNERDEAD.
 * That process calls the repair function of the lock's owner before it goes
 * on; if it dies in there, the one after it does the same again, so a repair
 * must be harmless when repeated.
 *
 * Waiting is bounded: a short spin, then one futex wait that ends at the
 * deadline of the operation (5 ms after its first contended lock), then
 * SECKILL_EBUSY. Uncontended: no system call. Any thread.
 */
#ifndef SKL_SHM_LOCK_H
#define SKL_SHM_LOCK_H

#include <pthread.h>
#include <stdatomic.h>
#include <stdint.h>

#define SKL_LOCK_WAIT_NS 5000000LL

typedef struct {
    _Alignas(64) pthread_mutex_t mutex;
    _Atomic uint64_t intent; /* LSN its last holder was about to publish */
    _Atomic uint64_t repairs;
} skl_lock_t;

_Static_assert(sizeof(skl_lock_t) == 64, "a lock fills one cache line");

/* The waiting budget of one operation; zero-initialised. */
typedef struct {
    int64_t deadline_ns; /* CLOCK_MONOTONIC; 0: nothing was contended yet */
} skl_wait_t;

/* Bring back to a whole state what the dead holder left. */
typedef void (*skl_repair_fn)(void *ctx, skl_lock_t *lock);

void skl_lock_init(skl_lock_t *lock);
/* SECKILL_OK or SECKILL_EBUSY. repair may be NULL: nothing to bring back. */
int skl_lock_acquire(skl_lock_t *lock, skl_wait_t *wait, skl_repair_fn repair,
                     void *ctx);
/* As above, without any waiting: EBUSY at once. */
int skl_lock_try(skl_lock_t *lock, skl_repair_fn repair, void *ctx);
void skl_lock_release(skl_lock_t *lock);

#endif
