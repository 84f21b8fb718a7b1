/*
 * Sweep: what is as good as new is made new (slots, cells, stores of a cold
 * start), so that it does not rest until the clock has gone half round and it
 * looks charged; see limits.h.
 *
 * All processes go round the table together: each call takes the next groups,
 * and the cells and the store of one limiter. What somebody charges meanwhile
 * stays as it is: every step is one compare-and-swap. Any thread.
 */
#include "limit/take.h"

static uint32_t sweep_group(skl_limit_group_t *group, uint64_t now)
{
    uint32_t emptied = 0;

    for (int i = 0; i < SKL_LIMIT_WAYS; i++) {
        skl_limit_slot_t *slot = &group->slots[i];
        uint64_t key = atomic_load(&slot->half.key);
        uint64_t tat = atomic_load(&slot->half.tat);

        if (key != 0 && skl_slot_is_reusable(key, tat, now) &&
            skl_slot_swap(slot, key, tat, 0, tat)) {
            emptied++;
        }
    }
    return emptied;
}

static void sweep_cells(skl_limit_record_t *r, uint64_t now)
{
    for (int i = 0; i < SKL_LIMIT_CELLS; i++) {
        uint64_t tat = atomic_load(&r->cells[i]);

        if (skl_limit_depth(tat, now) == 0) {
            (void)atomic_compare_exchange_strong(&r->cells[i], &tat, now);
        }
    }
}

uint32_t skl_limits_sweep(skl_limits_t *l, int64_t now_ns, uint32_t max)
{
    uint64_t now = skl_limit_units(now_ns);
    uint64_t mask = l->shm->groups - 1;
    uint64_t from = atomic_fetch_add(&l->shm->swept, max);
    uint32_t count = skl_limits_count(l);
    uint32_t emptied = 0;

    for (uint32_t i = 0; i < max; i++) {
        emptied += sweep_group(&l->groups[(from + i) & mask], now);
    }
    /* One limiter's cells each time: their number is small. */
    if (count > 0 && max > 0) {
        sweep_cells(&l->records[from / max % count], now);
        skl_cold_rest(&l->records[from / max % count], now);
    }
    return emptied;
}
