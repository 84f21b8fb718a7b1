/*
 * Does a record of an order of several lines follow? See follows.h. The order
 * fits (fits.c): its slots are in the tables, no two legs share any. Threads:
 * one.
 */
#include "base/assert.h"
#include "stock/follows_row.h"

/* ---- A new order --------------------------------------------------------- */

/* The free user row that leg i would get, after those before it. */
static uint32_t next_user(const skl_tables_t *t, const skl_record_t *r,
                          uint32_t i)
{
    const uint32_t shard = r->legs[i].user_shard;
    uint32_t slot;

    skl_assert(shard < t->shm->shards);
    slot = SKL_LD(t->shards[shard].user_free);
    for (uint32_t k = 0; k < i && slot != SKL_NONE; k++) {
        if ((r->legs[k].flags & SKL_FLAG_USER) &&
            r->legs[k].user_shard == shard) {
            slot = SKL_LD(t->users[slot].next);
        }
    }
    return slot;
}

/* A user row that is there is the user's. */
static int is_its_user(const skl_tables_t *t, const skl_leg_t *leg,
                       const skl_rec_keys_t *keys)
{
    const skl_user_row_t *user = &t->users[leg->user];
    const skl_hash_t key =
        skl_user_key(keys->user, SKL_LD(t->items[leg->item].born));

    return (leg->flags & SKL_FLAG_USER) != 0 ||
           (SKL_LD(user->lo) == key.lo && SKL_LD(user->hi) == key.hi);
}

/* The shortest hold of the items that have one. */
static int64_t shortest_hold(const skl_tables_t *t, const skl_record_t *r)
{
    int64_t hold = 0;

    for (uint32_t i = 0; i < r->lines.count; i++) {
        const int64_t own = SKL_LD(t->items[r->legs[i].item].hold_ns);

        if (own != 0 && (hold == 0 || own < hold)) {
            hold = own;
        }
    }
    return hold;
}

/* The list is one of holds of this length, or empty; that of the item's own
 * holds stays theirs. */
static int list_follows(const skl_tables_t *t, const skl_record_t *r,
                        const skl_leg_t *leg)
{
    const skl_item_row_t *item = &t->items[leg->item];
    const skl_hold_list_t *list = &item->lists[leg->hold_list];

    skl_assert(leg->hold_list < SKL_HOLD_LISTS);
    if ((leg->flags & SKL_FLAG_LISTED) == 0) {
        return r->lines.hold_ns == 0;
    }
    if (SKL_LD(list->hold_ns) == r->lines.hold_ns) {
        return r->lines.hold_ns != 0;
    }
    return SKL_LD(list->head) == SKL_NONE && r->lines.hold_ns != 0 &&
           (SKL_LD(item->hold_ns) == 0 ||
            SKL_LD(item->hold_list) != leg->hold_list);
}

static int make_follows(const skl_tables_t *t, const skl_record_t *r,
                        const skl_rec_keys_t *keys)
{
    uint32_t row;

    if (!skl_new_id_follows(t, r, keys) || r->lines.row_lsn != 0 ||
        r->lines.hold_ns != shortest_hold(t, r) ||
        !skl_duration_ok(r->lines.hold_ns) ||
        r->lines.deadline > r->time + r->lines.hold_ns) {
        return 0;
    }
    row = SKL_LD(t->shards[r->lines.request_shard].row_free);
    for (uint32_t i = 0; i < r->lines.count; i++) {
        skl_record_t one;

        skl_leg_record(r, i, &one);
        if (!list_follows(t, r, &r->legs[i]) ||
            !is_its_user(t, &r->legs[i], keys) ||
            !skl_new_row_follows(t, &one, keys, row, next_user(t, r, i))) {
            return 0;
        }
        row = t->rows[row].next_free;
    }
    return 1;
}

/* ---- What becomes of it -------------------------------------------------- */

/* The legs are the lines of the order, all of them, in their order. */
static int are_its_lines(const skl_tables_t *t, const skl_record_t *r)
{
    const uint32_t count = r->lines.count;

    skl_assert(count >= 1 && count <= SKL_LINES_MAX);
    for (uint32_t i = 0; i < count; i++) {
        const skl_row_t *row = &t->rows[r->legs[i].row];
        const uint32_t next =
            i + 1 < count ? r->legs[i + 1].row : (uint32_t)SKL_LINE_END;

        if (SKL_LD(row->line) != skl_line_word(i + 1, next) ||
            SKL_LD(row->lsn) != r->lines.row_lsn) {
            return 0;
        }
    }
    return 1;
}

/* In part: orders of one line. */
static int is_whole(const skl_tables_t *t, const skl_record_t *r, uint32_t i)
{
    return r->lines.count == 1 || r->legs[i].qty == t->rows[r->legs[i].row].qty;
}

static int settle_follows(const skl_tables_t *t, const skl_record_t *r,
                          const skl_rec_keys_t *keys)
{
    const int refund = r->type == SKL_REC_ORDER_REFUND;
    const uint8_t flags = r->legs[0].flags;

    if (!are_its_lines(t, r)) {
        return 0;
    }
    for (uint32_t i = 0; i < r->lines.count; i++) {
        skl_record_t one;

        skl_leg_record(r, i, &one);
        /* The refund's id hangs on the first item. */
        if (one.flags != flags || !is_whole(t, r, i) ||
            !skl_row_step_follows(t, &one, refund && i == 0)) {
            return 0;
        }
    }
    if (refund) {
        return r->lines.arg == r->lines.row_lsn &&
               skl_new_id_follows(t, r, keys);
    }
    return r->lines.request == t->rows[r->lines.row].request;
}

static int retire_follows(const skl_tables_t *t, const skl_record_t *r)
{
    if (!are_its_lines(t, r) || !skl_end_of_id_follows(t, r)) {
        return 0;
    }
    for (uint32_t i = 0; i < r->lines.count; i++) {
        skl_record_t one;

        skl_leg_record(r, i, &one);
        if (!skl_row_end_follows(t, &one)) {
            return 0;
        }
    }
    return 1;
}

int skl_order_follows(const skl_tables_t *t, const skl_record_t *r,
                      const skl_rec_keys_t *keys)
{
    skl_assert(skl_rec_is_order(r));
    if (r->flags != 0) {
        return 0; /* those of the legs count */
    }
    switch (r->type) {
    case SKL_REC_ORDER:
        return make_follows(t, r, keys);
    case SKL_REC_ORDER_RETIRE:
        return retire_follows(t, r);
    default:
        return settle_follows(t, r, keys);
    }
}
