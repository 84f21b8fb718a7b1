/*
 * Cold start: the store of a limiter, where all processes see it. A take asks
 * for the price of now, is judged by it, and draws from the store when it was
 * charged; warm.c has the formulas.
 *
 * The store is one pair of words. Who finds that another one has drawn first
 * draws from what is left: the price it was judged by stays. Any thread; see
 * limits.h.
 */
#include "limit/take.h"

#include <string.h>

#define STORE_RESTS (INT64_C(1) << 60) /* 52 days: longer than any warm-up */

static void read_store(skl_limit_record_t *r, uint64_t *words)
{
    uint64_t again;

    do {
        words[0] = atomic_load(&r->store.half.key);
        words[1] = atomic_load(&r->store.half.tat);
        again = atomic_load(&r->store.half.key);
    } while (again != words[0]);
}

/* The burst costs as much more as a token does. */
void skl_cold_price(skl_limit_take_t *t)
{
    uint64_t words[2];
    double more;

    read_store(t->lim->record, words);
    memcpy(&t->store, words, sizeof(words));
    more = skl_warm_cost(&t->rule, &t->store, t->ask->cost, t->now,
                         &t->store_after);
    t->charge = (uint64_t)((double)t->charge * more);
    t->window = (uint64_t)((double)t->window * more);
}

void skl_cold_draw(skl_limit_take_t *t)
{
    skl_limit_slot_t *s = &t->lim->record->store;
    uint64_t old[2];
    uint64_t new[2];

    do {
        memcpy(old, &t->store, sizeof(old));
        memcpy(new, &t->store_after, sizeof(new));
        if (skl_slot_swap(s, old[0], old[1], new[0], new[1])) {
            return;
        }
        read_store(t->lim->record, old);
        memcpy(&t->store, old, sizeof(old));
        (void)skl_warm_cost(&t->rule, &t->store, t->ask->cost, t->now,
                            &t->store_after);
    } while (1);
}

/* A cold start's store that has been idle for so long is full: as new, and so
 * it stays, however long it will rest. */
void skl_cold_rest(skl_limit_record_t *r, uint64_t now)
{
    uint64_t free_at = atomic_load(&r->store.half.key);
    uint64_t missing = atomic_load(&r->store.half.tat);

    if (free_at != 0 && (int64_t)(now - free_at) > STORE_RESTS) {
        (void)skl_slot_swap(&r->store, free_at, missing, 0, 0);
    }
}
