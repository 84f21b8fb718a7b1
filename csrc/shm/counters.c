/* See counters.h. */
#include "shm/counters.h"

#include "base/assert.h"

#include <stddef.h>
#include <string.h>

skl_static_assert(sizeof(skl_stripe_t) % 64 == 0, "stripes share no line");
skl_static_assert(ATOMIC_LLONG_LOCK_FREE == 2, "counters need no lock");

static const char *const op_names[] = {
#define X(name) #name,
    SKL_OPS(X)
#undef X
};

static const char *const event_names[] = {
#define X(name, help) #name,
    SKL_EVENTS(X)
#undef X
};

static const char *const event_helps[] = {
#define X(name, help) help,
    SKL_EVENTS(X)
#undef X
};

void skl_counters_init(skl_counters_shm_t *shm)
{
    skl_assert((uintptr_t)shm % _Alignof(skl_counters_shm_t) == 0);
    memset(shm, 0, sizeof(*shm));
}

void skl_counters_attach(skl_counters_t *c, skl_counters_shm_t *shm)
{
    uint32_t n = atomic_fetch_add(&shm->next_stripe, 1);

    skl_assert((uintptr_t)shm % _Alignof(skl_counters_shm_t) == 0);
    c->shm = shm;
    c->number = n % SKL_STRIPES;
    c->mine = &shm->stripes[c->number];
}

uint64_t skl_counters_result(const skl_counters_t *c, int op, int rc)
{
    uint64_t sum = 0;

    skl_assert(op >= 0 && op < SKL_OP_COUNT);
    skl_assert(skl_code_index(rc) < SKL_CODES);
    for (int i = 0; i < SKL_STRIPES; i++) {
        sum += atomic_load_explicit(
            &c->shm->stripes[i].results[op][skl_code_index(rc)],
            memory_order_relaxed);
    }
    return sum;
}

uint64_t skl_counters_event(const skl_counters_t *c, int event)
{
    uint64_t sum = 0;

    skl_assert(event >= 0 && event < SKL_EV_COUNT);
    for (int i = 0; i < SKL_STRIPES; i++) {
        sum += atomic_load_explicit(&c->shm->stripes[i].events[event],
                                    memory_order_relaxed);
    }
    return sum;
}

const char *skl_op_name(int op)
{
    skl_assert(op >= 0 && op < SKL_OP_COUNT);
    return op_names[op];
}

const char *skl_event_name(int event)
{
    skl_assert(event >= 0 && event < SKL_EV_COUNT);
    return event_names[event];
}

const char *skl_event_help(int event)
{
    skl_assert(event >= 0 && event < SKL_EV_COUNT);
    return event_helps[event];
}
