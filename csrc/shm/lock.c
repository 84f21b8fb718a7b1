/* See lock.h. */
#include "shm/lock.h"

#include "base/assert.h"
#include "base/clock.h"
#include "seckill.h"

#include <errno.h>
#include <time.h>

enum { SPINS = 200 };

static inline void cpu_relax(void)
{
#if defined(__x86_64__)
    __builtin_ia32_pause();
#elif defined(__aarch64__)
    __asm__ __volatile__("yield");
#endif
}

void skl_lock_init(skl_lock_t *lock)
{
    pthread_mutexattr_t attr;
    int rc = pthread_mutexattr_init(&attr);

    skl_assert((uintptr_t)lock % _Alignof(skl_lock_t) == 0);
    rc |= pthread_mutexattr_setpshared(&attr, PTHREAD_PROCESS_SHARED);
    rc |= pthread_mutexattr_setrobust(&attr, PTHREAD_MUTEX_ROBUST);
    rc |= pthread_mutex_init(&lock->mutex, &attr);
    skl_assert(rc == 0);
    (void)pthread_mutexattr_destroy(&attr);
    atomic_init(&lock->intent, 0);
    atomic_init(&lock->repairs, 0);
}

static int spin(skl_lock_t *lock)
{
    int rc = pthread_mutex_trylock(&lock->mutex);

    for (int i = 0; rc == EBUSY && i < SPINS; i++) {
        cpu_relax();
        rc = pthread_mutex_trylock(&lock->mutex);
    }
    return rc;
}

#if defined(__SANITIZE_THREAD__)
/* TSan knows neither pthread_mutex_clocklock nor the death of an owner while
 * others wait; it follows trylock. */
static int lock_until(pthread_mutex_t *mutex, int64_t deadline_ns)
{
    int rc = EBUSY;

    while (rc == EBUSY && skl_clock_mono_ns() < deadline_ns) {
        cpu_relax();
        rc = pthread_mutex_trylock(mutex);
    }
    return rc;
}
#else
static int lock_until(pthread_mutex_t *mutex, int64_t deadline_ns)
{
    const struct timespec until = {deadline_ns / SKL_NS_PER_SEC,
                                   deadline_ns % SKL_NS_PER_SEC};

    return pthread_mutex_clocklock(mutex, CLOCK_MONOTONIC, &until);
}
#endif

static int wait_bounded(skl_lock_t *lock, skl_wait_t *wait)
{
    if (wait->deadline_ns == 0) {
        wait->deadline_ns = skl_clock_mono_ns() + SKL_LOCK_WAIT_NS;
    }
    skl_assert(wait->deadline_ns > 0);
    return lock_until(&lock->mutex, wait->deadline_ns);
}

/* The one recovery function: every lock of a dead holder passes here. */
static int recover(skl_lock_t *lock, skl_repair_fn repair, void *ctx)
{
    int rc;

#ifndef MUTANT_SKIP_REPAIR
    if (repair != NULL) {
        repair(ctx, lock);
    }
#else
    (void)repair;
    (void)ctx;
#endif
    atomic_fetch_add_explicit(&lock->repairs, 1, memory_order_relaxed);
    rc = pthread_mutex_consistent(&lock->mutex);
    skl_assert(rc == 0);
    return SECKILL_OK;
}

static int finish(skl_lock_t *lock, int rc, skl_repair_fn repair, void *ctx)
{
    if (rc == 0) {
        return SECKILL_OK;
    }
    if (rc == EOWNERDEAD) {
        return recover(lock, repair, ctx);
    }
    /* ENOTRECOVERABLE cannot be: nobody unlocks before `consistent`. */
    skl_assert(rc == ETIMEDOUT || rc == EBUSY);
    return SECKILL_EBUSY;
}

int skl_lock_acquire(skl_lock_t *lock, skl_wait_t *wait, skl_repair_fn repair,
                     void *ctx)
{
    int rc = spin(lock);

    if (rc == EBUSY) {
        rc = wait_bounded(lock, wait);
    }
    return finish(lock, rc, repair, ctx);
}

int skl_lock_try(skl_lock_t *lock, skl_repair_fn repair, void *ctx)
{
    return finish(lock, pthread_mutex_trylock(&lock->mutex), repair, ctx);
}

void skl_lock_release(skl_lock_t *lock)
{
    int rc = pthread_mutex_unlock(&lock->mutex);

    skl_assert(rc == 0);
}
