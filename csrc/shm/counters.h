/*
 * Striped counters in the segment. Each process counts on a stripe of its own
 * (as long as there are at most 16), so that counting never bounces a cache
 * line between workers; readers add the stripes up. Any thread.
 *
 * Two kinds: results of public operations (operation x code), and the events
 * of SKL_EVENTS.
 */
#ifndef SKL_SHM_COUNTERS_H
#define SKL_SHM_COUNTERS_H

#include "base/assert.h"

#include <stdatomic.h>
#include <stdint.h>

enum { SKL_STRIPES = 16, SKL_CODES = 112 };

/* X(name) of operations whose results are counted. */
#define SKL_OPS(X)                                                             \
    X(put)                                                                     \
    X(get)                                                                     \
    X(remove)                                                                  \
    X(adjust)                                                                  \
    X(pause)                                                                   \
    X(resume)                                                                  \
    X(reserve)                                                                 \
    X(order)                                                                   \
    X(confirm)                                                                 \
    X(cancel)                                                                  \
    X(refund)                                                                  \
    X(find)                                                                    \
    X(limiter)                                                                 \
    X(list_update)                                                             \
    X(list_reload)

/* X(name, help) of things that happen. */
#define SKL_EVENTS(X)                                                          \
    X(replays, "reserve calls answered from the record")                       \
    X(holds_expired, "holds that ended unconfirmed")                           \
    X(rows_retired, "request ids whose window passed")                         \
    X(lock_repairs, "locks taken over from a dead process")                    \
    X(log_checked, "log records whose checksum was verified")                  \
    X(log_corrupt, "log records with a wrong checksum")                        \
    X(log_skipped, "log records overwritten before they were verified")        \
    X(items_quarantined, "items that failed their sum")                        \
    X(items_rebuilt, "items rebuilt from the log or from their rows")          \
    X(log_refused, "reserve calls refused because the log lags or is full")    \
    X(limiter_overflow, "takes that fell to the overflow bucket")              \
    X(limiter_shadow, "takes that shadow mode did not refuse")                 \
    X(limiter_undone, "takes that were given back")                            \
    X(permits_full, "takes refused because a table of permits was full")       \
    X(permits_returned, "permits of dead processes that came back")            \
    X(list_denied, "lookups that were denied")                                 \
    X(list_allowed, "lookups that an allow entry won")                         \
    X(wakeups, "wake-ups of the event loop by the io thread")                  \
    X(events_dropped, "notices dropped at a full completion queue")

enum {
#define X(name) SKL_OP_##name,
    SKL_OPS(X)
#undef X
        SKL_OP_COUNT
};

enum {
#define X(name, help) SKL_EV_##name,
    SKL_EVENTS(X)
#undef X
        SKL_EV_COUNT
};

typedef struct {
    _Alignas(64) _Atomic uint64_t results[SKL_OP_COUNT][SKL_CODES];
    _Alignas(64) _Atomic uint64_t events[SKL_EV_COUNT];
} skl_stripe_t;

/* The section in the segment. */
typedef struct {
    _Alignas(64) _Atomic uint32_t next_stripe;
    skl_stripe_t stripes[SKL_STRIPES];
} skl_counters_shm_t;

/* The handle of one process. */
typedef struct {
    skl_counters_shm_t *shm;
    skl_stripe_t *mine;
    uint32_t number; /* of that stripe */
} skl_counters_t;

void skl_counters_init(skl_counters_shm_t *shm);
/* Claim a stripe for this process. Again after fork. */
void skl_counters_attach(skl_counters_t *c, skl_counters_shm_t *shm);

/* Number of this process' stripe, for those that keep more by stripe. */
static inline uint32_t skl_counters_stripe(const skl_counters_t *c)
{
    return (uint32_t)(c->mine - c->shm->stripes);
}

/* Position of a code in the result table: 0 is OK. */
static inline uint32_t skl_code_index(int rc)
{
    return rc == 0 ? 0 : (uint32_t)(-2000 - rc);
}

static inline void skl_count_result(skl_counters_t *c, int op, int rc)
{
    const uint32_t code = skl_code_index(rc);

    skl_assert(op >= 0 && op < SKL_OP_COUNT && code < SKL_CODES);
    atomic_fetch_add_explicit(&c->mine->results[op][code], 1,
                              memory_order_relaxed);
}

static inline void skl_count(skl_counters_t *c, int event, uint64_t n)
{
    skl_assert(event >= 0 && event < SKL_EV_COUNT);
    atomic_fetch_add_explicit(&c->mine->events[event], n, memory_order_relaxed);
}

uint64_t skl_counters_result(const skl_counters_t *c, int op, int rc);
uint64_t skl_counters_event(const skl_counters_t *c, int event);
const char *skl_op_name(int op);
const char *skl_event_name(int event);
const char *skl_event_help(int event);

#endif
