/*
 * Housekeeping, in bounded steps: holds that are due, ids whose window has
 * passed, rows of removed items, and locks whose holder died while nobody
 * else came by. The request path does the first two itself where it needs
 * them, so a sweeper that is late or dead strands nothing. Without a log it
 * also rebuilds what is under quarantine.
 *
 * Threads: one at a time in each process (its cursors); any number of
 * processes.
 */
#include "base/assert.h"
#include "base/clock.h"
#include "stock/rebuild.h"
#include "stock/retire.h"
#include "stock/settle.h"

enum { ITEMS_PER_STEP = 4096, USERS_PER_STEP = 4096, IDS_PER_SHARD = 64 };

/* Each try walks the tables. */
#define REBUILD_RETRY_NS (5 * SKL_NS_PER_SEC)

/* ---- Holds --------------------------------------------------------------- */

static int is_dirty(_Atomic uint64_t *seq)
{
    return (SKL_LD(*seq) & 1) != 0;
}

static int sweep_item(skl_stock_t *s, uint32_t slot, int64_t now, int max)
{
    skl_item_row_t *item = &s->tables.items[slot];
    skl_held_t h = {.s = s, .try_only = 1};
    int rc;

    skl_assert(max > 0);
    if (SKL_LD(item->earliest) > now && !is_dirty(&item->seq)) {
        return 0;
    }
    rc = skl_hold_item(&h, slot); /* repairs, if its holder died */
    if (rc == SECKILL_OK) {
        rc = skl_expire_due(&h, slot, skl_item_now(item, now), max);
    }
    skl_release(&h);
    return rc < 0 ? 0 : rc; /* busy: at the next step */
}

static int sweep_items(skl_stock_t *s, int64_t now, int max)
{
    const uint32_t end = SKL_LD(s->tables.shm->high_water);
    int done = 0;

    for (uint32_t i = 0; i < ITEMS_PER_STEP && i < end && done < max; i++) {
        if (s->sweep_item >= end) {
            s->sweep_item = 0;
        }
        done += sweep_item(s, s->sweep_item++, now, max - done);
    }
    return done;
}

/* ---- Ids ----------------------------------------------------------------- */

static int sweep_shards(skl_stock_t *s, int64_t now, int max)
{
    const uint32_t shards = s->tables.shm->shards;
    int done = 0;

    for (uint32_t i = 0; i < shards && done < max; i++) {
        uint32_t shard = s->sweep_shard++ % shards;
        int rc = skl_retire_shard(
            s, shard, now,
            max - done < IDS_PER_SHARD ? max - done : IDS_PER_SHARD, 0);

        done += rc > 0 ? rc : 0;
    }
    return done;
}

/* ---- Removed items ------------------------------------------------------- */

static int commit_retire_user(skl_held_t *h, uint32_t slot, uint32_t item,
                              int64_t now)
{
    skl_record_t r;

    skl_assert(h->count == 2);
    skl_rec_begin(&r, SKL_REC_RETIRE_USER, SKL_PART_USER | SKL_PART_ITEM, h->s,
                  item, now);
    r.flags = SKL_FLAG_USER;
    r.order.user = slot;
    r.order.row = r.order.request = SKL_NONE;
    r.order.user_shard = (uint16_t)(slot / h->s->tables.shm->users);
    r.item_users -= 1;
    return skl_commit(h, &r, NULL);
}

/* A user row of a removed item goes when none of its ids is live. */
static int retire_user(skl_stock_t *s, uint32_t slot, uint32_t item,
                       int64_t now)
{
    const skl_user_row_t *user = &s->tables.users[slot];
    skl_held_t h = {.s = s, .try_only = 1};
    int rc = skl_hold_shard(&h, slot / s->tables.shm->users);

    skl_assert(item < s->tables.shm->items);
    rc = rc == SECKILL_OK ? skl_hold_item(&h, item) : rc;
    if (rc == SECKILL_OK && SKL_LD(user->item) == item &&
        SKL_LD(user->ids) == 0 &&
        SKL_LD(s->tables.items[item].state) == SKL_ITEM_REMOVED) {
        rc = commit_retire_user(&h, slot, item, now);
        rc = rc == SECKILL_OK ? 1 : rc;
    }
    skl_release(&h);
    return rc > 0 ? 1 : 0;
}

static int retire_users(skl_stock_t *s, int64_t now, int max)
{
    const skl_tables_t *t = &s->tables;
    const uint32_t end = t->shm->shards * t->shm->users;
    int done = 0;

    for (uint32_t i = 0; i < USERS_PER_STEP && i < end && done < max; i++) {
        uint32_t slot = s->sweep_user++ % end;
        uint32_t item = SKL_LD(t->users[slot].item);

        if (item < t->shm->items &&
            SKL_LD(t->items[item].state) == SKL_ITEM_REMOVED) {
            done += retire_user(s, slot, item, now);
        }
    }
    return done;
}

static int retire_item(skl_stock_t *s, uint32_t slot, int64_t now)
{
    const skl_item_row_t *item = &s->tables.items[slot];
    skl_held_t h = {.s = s, .try_only = 1};
    skl_record_t r;
    int rc = skl_hold_catalog(&h);

    skl_assert(slot < s->tables.shm->items);
    rc = rc == SECKILL_OK ? skl_hold_item(&h, slot) : rc;
    if (rc == SECKILL_OK && SKL_LD(item->state) == SKL_ITEM_REMOVED &&
        SKL_LD(item->live) == 0 && SKL_LD(item->users) == 0) {
        skl_rec_begin(&r, SKL_REC_RETIRE_ITEM, SKL_PART_CATALOG | SKL_PART_ITEM,
                      s, slot, now);
        r.config.state = SKL_ITEM_FREE;
        rc = skl_commit(&h, &r, NULL);
        rc = rc == SECKILL_OK ? 1 : rc;
    }
    skl_release(&h);
    return rc > 0 ? 1 : 0;
}

static int sweep_removed(skl_stock_t *s, int64_t now, int max)
{
    const uint32_t end = SKL_LD(s->tables.shm->high_water);
    int users_left = 0, done = 0;

    for (uint32_t i = 0; i < end && done < max; i++) {
        const skl_item_row_t *item = &s->tables.items[i];

        if (SKL_LD(item->state) != SKL_ITEM_REMOVED) {
            continue;
        }
        users_left |= SKL_LD(item->users) != 0;
        if (SKL_LD(item->users) == 0 && SKL_LD(item->live) == 0) {
            done += retire_item(s, i, now);
        }
    }
    return users_left ? done + retire_users(s, now, max - done) : done;
}

/* ---- Locks of the dead --------------------------------------------------- */

static void repair_dirty(skl_stock_t *s)
{
    skl_tables_t *t = &s->tables;
    skl_held_t h = {.s = s, .try_only = 1};

    if (is_dirty(&t->shm->seq)) {
        (void)skl_hold_catalog(&h);
        skl_release(&h);
    }
    for (uint32_t i = 0; i < t->shm->shards; i++) {
        if (is_dirty(&t->shards[i].seq)) {
            (void)skl_hold_shard(&h, i);
            skl_release(&h);
        }
    }
}

/* ---- Items under quarantine ---------------------------------------------- */

/* One in a step, the next one in the next: who cannot be rebuilt is no obstacle
 * to the others. */
static void rebuild_next(skl_stock_t *s, int64_t now)
{
    const uint32_t end = SKL_LD(s->tables.shm->high_water);

    if (skl_stock_has_log(s) || now < s->rebuild_at) {
        return;
    }
    for (uint32_t i = 0; i < ITEMS_PER_STEP && i < end; i++) {
        const uint32_t slot = s->sweep_fault++ % end;

        if (SKL_LD(s->tables.items[slot].fault)) {
            if (skl_rebuild_from_rows(s, slot) == SECKILL_ECORRUPT) {
                s->rebuild_at = now + REBUILD_RETRY_NS;
            }
            return;
        }
    }
}

int skl_stock_sweep(skl_stock_t *s, int max, int64_t now)
{
    int done = 0;

    skl_assert(max > 0);
    repair_dirty(s);
    rebuild_next(s, now);
    done += sweep_items(s, now, max);
    done += done < max ? sweep_shards(s, now, max - done) : 0;
    done += done < max ? sweep_removed(s, now, max - done) : 0;
    return done;
}
