/* The completion queue; see cq.h. */
#include "io/cq.h"

#include "base/assert.h"
#include "base/clock.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <time.h>

static void lock(skl_cq_t *cq)
{
    int rc = pthread_mutex_lock(&cq->lock);

    skl_assert(rc == 0);
}

static void unlock(skl_cq_t *cq)
{
    int rc = pthread_mutex_unlock(&cq->lock);

    skl_assert(rc == 0);
}

void skl_cq_init(skl_cq_t *cq, skl_counters_t *counters)
{
    pthread_condattr_t attr;
    int rc = pthread_condattr_init(&attr);

    memset(cq, 0, sizeof(*cq));
    rc |= pthread_condattr_setclock(&attr, CLOCK_MONOTONIC);
    rc |= pthread_cond_init(&cq->ready, &attr);
    rc |= pthread_mutex_init(&cq->lock, NULL);
    skl_assert(rc == 0);
    (void)pthread_condattr_destroy(&attr);
    cq->counters = counters;
    cq->reader = -1;
    cq->closed = 1;
}

void skl_cq_free(skl_cq_t *cq)
{
    (void)pthread_cond_destroy(&cq->ready);
    (void)pthread_mutex_destroy(&cq->lock);
}

void skl_cq_open(skl_cq_t *cq)
{
    lock(cq);
    cq->closed = 0;
    unlock(cq);
}

/* ---- Under the lock ------------------------------------------------------ */

/* One byte. A reader whose buffer is full has a byte to read anyway, and one
 * that is gone will be noticed by the io thread. */
static void wake_reader(skl_cq_t *cq)
{
    if (cq->reader >= 0) {
        (void)send(cq->reader, "e", 1, MSG_DONTWAIT | MSG_NOSIGNAL);
        skl_count(cq->counters, SKL_EV_wakeups, 1);
        cq->armed = 0;
    }
}

static void push(skl_cq_t *cq, uint64_t ticket, int type, int rc,
                 const char *text)
{
    seckill_event_t *e = &cq->ring[(cq->head + cq->count) % SKL_CQ_EVENTS];

    skl_assert(cq->count < SKL_CQ_EVENTS);
    memset(e, 0, sizeof(*e));
    e->ticket = ticket;
    e->type = type;
    e->rc = rc;
    (void)snprintf(e->text, sizeof(e->text), "%s", text);
    atomic_fetch_add(&cq->count, 1);
    if (cq->armed) {
        wake_reader(cq);
    }
    (void)pthread_cond_broadcast(&cq->ready);
}

static uint32_t places(const skl_cq_t *cq)
{
    skl_assert(cq->count <= SKL_CQ_EVENTS);
    skl_assert(cq->waiting <= SKL_CQ_EVENTS - cq->count);
    return SKL_CQ_EVENTS - cq->count - cq->waiting;
}

/* ---- Producers ----------------------------------------------------------- */

int skl_cq_ticket(skl_cq_t *cq, uint64_t *ticket)
{
    int rc = SECKILL_OK;

    lock(cq);
    if (cq->closed) {
        rc = SECKILL_ENOTSTARTEDTHREADS;
    } else if (cq->waiting == SKL_CQ_TICKETS || places(cq) == 0) {
        rc = SECKILL_EFULL;
    } else {
        *ticket = ++cq->last_ticket;
        cq->tickets[cq->waiting++] = *ticket;
    }
    unlock(cq);
    return rc;
}

void skl_cq_done(skl_cq_t *cq, uint64_t ticket, int rc, const char *text)
{
    lock(cq);
    for (uint32_t i = 0; i < cq->waiting; i++) {
        if (cq->tickets[i] == ticket) {
            cq->tickets[i] = cq->tickets[--cq->waiting];
            push(cq, ticket, SECKILL_EVENT_DONE, rc, text);
            break;
        }
    }
    unlock(cq);
}

void skl_cq_notice(skl_cq_t *cq, int type, int rc, const char *text)
{
    lock(cq);
    if (cq->count < SKL_CQ_EVENTS - SKL_CQ_TICKETS) {
        push(cq, 0, type, rc, text);
    } else {
        skl_count(cq->counters, SKL_EV_events_dropped, 1);
    }
    unlock(cq);
}

void skl_cq_poke(skl_cq_t *cq)
{
    lock(cq);
#ifdef MUTANT_SYNC_LOST_WAKE
    if (cq->armed) {
        wake_reader(cq);
    }
#else
    if (cq->armed && cq->reader >= 0) {
        wake_reader(cq);
    } else {
        cq->poked = 1;
    }
#endif
    unlock(cq);
}

void skl_cq_close(skl_cq_t *cq)
{
    lock(cq);
    cq->closed = 1;
    while (cq->waiting > 0) {
        uint64_t ticket = cq->tickets[--cq->waiting];

        push(cq, ticket, SECKILL_EVENT_DONE, SECKILL_ECLOSED, "stopped");
    }
    if (cq->count < SKL_CQ_EVENTS) {
        push(cq, 0, SECKILL_EVENT_STOP, SECKILL_OK, "");
    }
    unlock(cq);
}

/* ---- The program --------------------------------------------------------- */

int skl_cq_pop(skl_cq_t *cq, seckill_event_t *events, int max)
{
    int n = 0;

    skl_assert(max >= 0);
    if (atomic_load(&cq->count) == 0) {
        return 0;
    }
    lock(cq);
    while (n < max && cq->count > 0) {
        events[n++] = cq->ring[cq->head];
        cq->head = (cq->head + 1) % SKL_CQ_EVENTS;
        atomic_fetch_sub(&cq->count, 1);
    }
    unlock(cq);
    return n;
}

void skl_cq_rearm(skl_cq_t *cq)
{
    lock(cq);
    cq->armed = 1;
#ifndef MUTANT_CQ_LOST_WAKE
    if (cq->reader >= 0 && (cq->count > 0 || cq->poked)) {
        cq->poked = 0;
        wake_reader(cq);
    }
#endif
    unlock(cq);
}

int skl_cq_wait(skl_cq_t *cq, int timeout_ms)
{
    int64_t until = skl_clock_mono_ns() + timeout_ms * SKL_NS_PER_MS;
    struct timespec ts = {until / SKL_NS_PER_SEC, until % SKL_NS_PER_SEC};
    int rc = 0, some;

    lock(cq);
    while (cq->count == 0 && rc == 0) {
        rc = timeout_ms < 0
                 ? pthread_cond_wait(&cq->ready, &cq->lock)
                 : pthread_cond_timedwait(&cq->ready, &cq->lock, &ts);
    }
    some = cq->count > 0;
    unlock(cq);
    skl_assert(rc == 0 || rc == ETIMEDOUT);
    return some;
}

int skl_cq_set_reader(skl_cq_t *cq, int fd)
{
    int old;

    lock(cq);
    old = cq->reader;
    cq->reader = fd;
    if (fd >= 0 && (cq->count > 0 || cq->poked)) {
        cq->poked = 0;
        wake_reader(cq);
    }
    unlock(cq);
    return old;
}
