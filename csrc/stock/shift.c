/* See shift.h. Threads: one; the tables are not shared yet. */
#include "stock/shift.h"

#include "base/assert.h"

/* Time of the newest record: what was due by then has ended, or is about to. It
 * stays so; other lines of its order may have ended already. */
static int64_t newest_time(const skl_tables_t *t)
{
    const uint32_t items = SKL_LD(t->shm->high_water);
    int64_t newest = 0;

    for (uint32_t i = 0; i < items; i++) {
        const int64_t time = SKL_LD(t->items[i].last_time);

        newest = time > newest ? time : newest;
    }
    return newest;
}

static void shift_rows(skl_tables_t *t, int64_t ns)
{
    const int64_t newest = newest_time(t);
    const uint32_t end = t->shm->shards * t->shm->rows;

    for (uint32_t i = 0; i < end; i++) {
        skl_row_t *row = &t->rows[i];

        if (SKL_LD(row->lsn) == 0) {
            continue;
        }
        row->created += ns;
        if (row->state == SECKILL_STATE_RESERVED && row->deadline > newest) {
            row->deadline += ns;
        }
    }
}

static uint64_t shift_ids(skl_tables_t *t, int64_t ns)
{
    const uint32_t end = t->shm->shards * t->shm->requests;
    uint64_t n = 0;

    for (uint32_t i = 0; i < end; i++) {
        if (t->requests[i].kind != 0) {
            t->requests[i].created += ns;
            n++;
        }
    }
    return n;
}

uint64_t skl_tables_shift(skl_tables_t *t, int64_t ns)
{
    const uint32_t items = SKL_LD(t->shm->high_water);

    skl_assert(ns >= 0);
    shift_rows(t, ns);
    for (uint32_t i = 0; i < items; i++) {
        SKL_ST(t->items[i].earliest, skl_hold_earliest(t, &t->items[i]));
    }
    return shift_ids(t, ns);
}
