/* The rebuild of an item without a log; see rebuild.h. */
#include "stock/rebuild.h"

#include "base/assert.h"
#include "stock/check.h"
#include "stock/commit.h"

/* ---- Is it still itself? ------------------------------------------------- */

static int is_free(const skl_tables_t *t, uint32_t slot)
{
    uint32_t at = SKL_LD(t->shm->free);

    for (uint32_t i = 0; at < t->shm->items && i < t->shm->items; i++) {
        if (at == slot) {
            return 1;
        }
        at = SKL_LD(t->items[at].next);
    }
    return 0;
}

static int is_alive(uint32_t state)
{
    return state == SECKILL_ITEM_OPEN || state == SECKILL_ITEM_PAUSED;
}

/* Name and state are what the catalog knows. */
static int in_catalog(const skl_tables_t *t, uint32_t slot)
{
    const skl_item_row_t *item = &t->items[slot];
    const skl_hash_t key = {SKL_LD(item->lo), SKL_LD(item->hi)};
    const uint32_t state = SKL_LD(item->state);

    skl_assert(slot < t->shm->items);
    if (!skl_item_is_sane(t, item) ||
        is_alive(state) != (skl_find_item(t, key) == slot)) {
        return 0;
    }
    return is_free(t, slot) == (state == SKL_ITEM_FREE) &&
           (is_alive(state) || state == SKL_ITEM_REMOVED ||
            state == SKL_ITEM_FREE);
}

/* The catalog's lock comes before that of an item and is not held longer than
 * this takes: who is under quarantine is neither put nor removed. */
static int is_itself(skl_stock_t *s, uint32_t slot)
{
    skl_held_t h = {.s = s, .try_only = 1};
    int rc = skl_hold_catalog(&h);

    rc = rc == SECKILL_OK ? skl_hold_item_any(&h, slot) : rc;
    if (rc == SECKILL_OK && !in_catalog(&s->tables, slot)) {
        rc = SECKILL_ECORRUPT;
    }
    skl_release(&h);
    return rc;
}

/* ---- The item's last record ---------------------------------------------- */

static int image_of_leg(const skl_record_t *r, uint32_t slot, skl_units_t *u)
{
    skl_assert(r->lines.count <= SKL_LINES_MAX); /* skl_rec_valid() */
    for (uint32_t i = 0; i < r->lines.count; i++) {
        const skl_leg_t *leg = &r->legs[i];

        if (leg->item == slot) {
            u->available = leg->available;
            u->reserved = leg->reserved;
            u->sold = leg->sold;
            return 1;
        }
    }
    return 0;
}

/* 0: it has left the ring, or the row no longer knows which one it is. */
static int last_image(skl_stock_t *s, uint32_t slot, skl_units_t *u)
{
    const skl_item_row_t *item = &s->tables.items[slot];
    skl_record_t r;

#ifdef MUTANT_REBUILD_NO_RECORD
    return 0;
#endif
    if (!skl_ring_read(&s->ring, SKL_LD(item->lsn), &r) ||
        !skl_rec_valid(&r, SKL_RECORD_MAX) ||
        r.time != SKL_LD(item->last_time)) {
        return 0;
    }
    if (skl_rec_is_order(&r)) {
        return image_of_leg(&r, slot, u);
    }
    u->available = r.available;
    u->reserved = r.reserved;
    u->sold = r.sold;
    return r.item == slot;
}

/* ---- Counters from rows -------------------------------------------------- */

/* The rows of an item agree with each other. */
static int rows_agree(const skl_item_row_t *item, const skl_recount_t *n)
{
    return n->wrong_rows == 0 && n->wrong_users == 0 && n->wrong_ids == 0 &&
           n->wrong_lines == 0 && !n->is_list_broken &&
           n->listed_qty == n->pending_qty && n->ids == n->rows &&
           n->users == SKL_LD(item->users) && n->rows <= SKL_LD(item->live) &&
           n->user_units <= SECKILL_COUNT_MAX &&
           n->pending_qty + n->sold_qty <= n->user_units;
}

/* May this be the total of an item whose users have `units` of it? */
static int is_total(int64_t total, int64_t units)
{
    return total >= units && total <= SECKILL_COUNT_MAX;
}

/* What is available was damaged, or the total: which one is to be believed.
 * -1: neither. Nothing that set_units() stores first may change the choice. */
static int64_t total_of(const skl_item_row_t *item, const skl_units_t *u)
{
    const int64_t units = u->reserved + u->sold;
    const int64_t available = SKL_LD(item->available);
    const int64_t total = SKL_LD(item->total);
    const int64_t put = SKL_LD(item->put_total);
    const int has_total = is_total(total, units);
    /* The sum, without one that overflows. */
    const int64_t sum = available >= 0 && available <= SECKILL_COUNT_MAX
                            ? available + units
                            : -1;
    const int has_sum = is_total(sum, units);
    /* All three stand side by side. */
    const int is_near_damage =
        SKL_LD(item->reserved) != u->reserved || SKL_LD(item->sold) != u->sold;

    skl_assert(units >= 0 && units <= SECKILL_COUNT_MAX); /* rows_agree() */
    if (!has_total || !has_sum) {
        return has_total ? total : has_sum ? sum : -1;
    }
    if (total == put || sum == put) {
        return put;
    }
    return total < sum || is_near_damage ? total : sum;
}

/* Its users' rows go one by one, and nobody buys of it again: any sum will do
 * that has what may still be refunded. */
static void units_of_removed(const skl_item_row_t *item, skl_units_t *u)
{
    const int64_t total = SKL_LD(item->total);

    u->total = is_total(total, u->sold) ? total : u->sold;
    u->available = u->total - u->sold;
}

int skl_units_of_rows(skl_stock_t *s, uint32_t slot, const skl_recount_t *n,
                      skl_units_t *out)
{
    const skl_item_row_t *item = &s->tables.items[slot];
    skl_units_t last;

    skl_assert(slot < s->tables.shm->items);
    if (!rows_agree(item, n)) {
        return SECKILL_ECORRUPT;
    }
    out->reserved = n->pending_qty;
    out->sold = n->user_units - n->pending_qty;
    if (!is_alive(SKL_LD(item->state))) {
        units_of_removed(item, out);
        return out->reserved == 0 ? SECKILL_OK : SECKILL_ECORRUPT;
    }
    if (last_image(s, slot, &last)) {
        if (last.reserved != out->reserved || last.sold != out->sold) {
            return SECKILL_ECORRUPT;
        }
        out->total = last.available + n->user_units;
    } else {
        out->total = total_of(item, out);
    }
    out->available = out->total - n->user_units;
    return is_total(out->total, n->user_units) ? SECKILL_OK : SECKILL_ECORRUPT;
}

/* ---- The rebuild --------------------------------------------------------- */

/* In this order: after a death in here total_of() chooses the same, because the
 * evidence is there until total and available agree. */
static void set_units(const skl_tables_t *t, skl_item_row_t *item,
                      const skl_units_t *u)
{
    skl_assert(u->available >= 0 && u->reserved >= 0 && u->sold >= 0);
    skl_assert(u->available + u->reserved + u->sold == u->total);
    skl_seq_begin(&item->seq);
#ifdef MUTANT_REBUILD_EVIDENCE_FIRST
    SKL_ST(item->reserved, u->reserved);
    SKL_ST(item->sold, u->sold);
#endif
    SKL_ST(item->available, u->available);
    SKL_ST(item->total, u->total);
    SKL_ST(item->reserved, u->reserved);
    SKL_ST(item->sold, u->sold);
    SKL_ST(item->earliest, skl_hold_earliest(t, item));
    atomic_store_explicit(&item->fault, 0, memory_order_release);
    skl_seq_end(&item->seq);
}

int skl_rebuild_from_rows(skl_stock_t *s, uint32_t slot)
{
    skl_item_row_t *item = &s->tables.items[slot];
    skl_held_t h = {.s = s, .try_only = 1};
    skl_recount_t n;
    skl_units_t units;
    int rc = is_itself(s, slot);

    skl_assert(!skl_stock_has_log(s)); /* which would know better */
    rc = rc == SECKILL_OK ? skl_hold_item_any(&h, slot) : rc;
    if (rc == SECKILL_OK && SKL_LD(item->fault)) {
        skl_recount_item(&s->tables, slot, &n);
        rc = skl_units_of_rows(s, slot, &n, &units);
        if (rc == SECKILL_OK) {
            set_units(&s->tables, item, &units);
            skl_count(s->counters, SKL_EV_items_rebuilt, 1);
        }
    }
    skl_release(&h);
    return rc;
}
