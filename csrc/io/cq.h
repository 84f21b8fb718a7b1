/*
 * The completion queue of a process: events from its threads to the program.
 *
 * A bounded ring under a plain mutex that is held for a copy only. A call that
 * waits takes a ticket; a ticket has its place in the ring from the start, so
 * its completion is never dropped. Notices (ticket 0) are dropped, and counted,
 * when only as many places are left as there can be tickets.
 *
 * Wake-ups are coalesced: after a rearm, the first event writes one byte to the
 * connected reader, and no more are written until the next rearm.
 *
 * Threads: any of the process.
 */
#ifndef SKL_IO_CQ_H
#define SKL_IO_CQ_H

#include "seckill.h"
#include "shm/counters.h"

#include <pthread.h>
#include <stdatomic.h>
#include <stdint.h>

enum { SKL_CQ_EVENTS = 1024, SKL_CQ_TICKETS = 256 };

typedef struct {
    pthread_mutex_t lock;
    pthread_cond_t ready;
    skl_counters_t *counters;
    int reader; /* connection, non-blocking; -1 */
    int armed;  /* the next event wakes */
    int poked;  /* somebody wanted to wake while it was not armed */
    int closed; /* no new tickets */
    uint32_t head;
    _Atomic uint32_t count;
    uint32_t waiting; /* tickets without an event */
    uint64_t last_ticket;
    uint64_t tickets[SKL_CQ_TICKETS];
    seckill_event_t ring[SKL_CQ_EVENTS];
} skl_cq_t;

void skl_cq_init(skl_cq_t *cq, skl_counters_t *counters);
/* Accept tickets (again). */
void skl_cq_open(skl_cq_t *cq);
/* Every ticket gets ECLOSED; no new ones. Queues an EVENT_STOP. */
void skl_cq_close(skl_cq_t *cq);
void skl_cq_free(skl_cq_t *cq);

/* EFULL, ENOTSTARTEDTHREADS. */
int skl_cq_ticket(skl_cq_t *cq, uint64_t *ticket);
/* Once for each ticket; a ticket that is not known is ignored. */
void skl_cq_done(skl_cq_t *cq, uint64_t ticket, int rc, const char *text);
void skl_cq_notice(skl_cq_t *cq, int type, int rc, const char *text);

/* Wake the reader without an event: at once, or at its next rearm. */
void skl_cq_poke(skl_cq_t *cq);

int skl_cq_pop(skl_cq_t *cq, seckill_event_t *events, int max);
void skl_cq_rearm(skl_cq_t *cq);
/* 1 when there are events, 0 after timeout_ms (< 0: none). */
int skl_cq_wait(skl_cq_t *cq, int timeout_ms);
/* Set the reader's connection, -1 for none; returns the one before. A new one
 * is woken at once when there are events. */
int skl_cq_set_reader(skl_cq_t *cq, int fd);

#endif
