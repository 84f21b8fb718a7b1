/* See rebuild.h. */
#include "stock/rebuild.h"

#include "base/assert.h"
#include "stock/commit.h"

#include <string.h>

int skl_next_quarantined(const skl_stock_t *s, uint32_t *slot)
{
    const uint32_t end = SKL_LD(s->tables.shm->high_water);

    for (; *slot < end; (*slot)++) {
        if (SKL_LD(s->tables.items[*slot].fault)) {
            return 1;
        }
    }
    return 0;
}

#define COPY(field) SKL_ST(to->field, SKL_LD(from->field))

/* What the item's lock covers; names and chains are the catalog's. */
static void copy_item(skl_item_row_t *to, const skl_item_row_t *from)
{
    COPY(available);
    COPY(reserved);
    COPY(sold);
    COPY(earliest);
    COPY(per_user);
    COPY(max_qty);
    COPY(state);
    COPY(total);
    COPY(hold_ns);
    COPY(starts_at);
    COPY(ends_at);
    COPY(version);
    COPY(put_total);
    COPY(born);
    COPY(lsn);
    COPY(last_time);
    COPY(hold_list);
    COPY(live);
    COPY(users);
    for (int i = 0; i < SKL_HOLD_LISTS; i++) {
        COPY(lists[i].hold_ns);
        COPY(lists[i].head);
        COPY(lists[i].tail);
    }
}

static int copy_users(skl_tables_t *t, uint32_t item, const skl_tables_t *truth)
{
    const uint32_t end = t->shm->shards * t->shm->users;
    int rc = SECKILL_OK;

    for (uint32_t i = 0; i < end; i++) {
        const skl_user_row_t *from = &truth->users[i];
        skl_user_row_t *to = &t->users[i];

        if (SKL_LD(from->item) != item) {
            continue;
        }
        if (SKL_LD(to->item) != item || SKL_LD(to->lo) != SKL_LD(from->lo)) {
            rc = SECKILL_ECORRUPT;
            continue;
        }
        COPY(count);
        COPY(ids);
    }
    return rc;
}

/* next_free is the shard's. */
static void copy_row(skl_row_t *to, const skl_row_t *from)
{
    const uint32_t next_free = to->next_free;

    memcpy(to, from, sizeof(*to));
    to->next_free = next_free;
}

static void copy_rows(skl_tables_t *t, uint32_t item, const skl_tables_t *truth)
{
    const uint32_t end = t->shm->shards * t->shm->rows;

    for (uint32_t i = 0; i < end; i++) {
        const skl_row_t *from = &truth->rows[i];
        skl_row_t *to = &t->rows[i];
        const int is_ours =
            SKL_LD(from->lsn) != 0 && SKL_LD(from->item) == item;

        if (is_ours) {
            copy_row(to, from);
        } else if (SKL_LD(to->lsn) != 0 && SKL_LD(to->item) == item) {
            SKL_ST(to->lsn, 0);
        }
    }
}

int skl_rebuild_item(skl_stock_t *s, uint32_t slot, const skl_tables_t *truth)
{
    skl_item_row_t *item = &s->tables.items[slot];
    skl_held_t h = {.s = s};
    int rc = skl_hold_item_any(&h, slot);

    skl_assert(slot < s->tables.shm->items);
    if (rc == SECKILL_OK && SKL_LD(item->fault)) {
        skl_seq_begin(&item->seq);
        copy_item(item, &truth->items[slot]);
        copy_rows(&s->tables, slot, truth);
        rc = copy_users(&s->tables, slot, truth);
        if (rc == SECKILL_OK) {
            SKL_ST(item->fault, 0);
            skl_count(s->counters, SKL_EV_items_rebuilt, 1);
        }
        skl_seq_end(&item->seq);
    }
    skl_release(&h);
    return rc;
}
