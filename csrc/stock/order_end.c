/*
 * Confirm, cancel and refund of an order of several lines: all lines in one
 * record. See lines.h. Any thread.
 */
#include "base/assert.h"
#include "stock/ids.h"
#include "stock/lines.h"
#include "stock/settle.h"

/* ---- Finding an order by its id ------------------------------------------ */

/* The row and LSN that an id names, as far as they can be of this ledger. */
static int parse(const skl_stock_t *s, skl_bytes_t id, uint32_t *slot,
                 uint64_t *lsn)
{
    uint32_t incarnation;

    return skl_row_id_parse(id.ptr, id.len, &incarnation, slot, lsn) &&
           *lsn != 0 && incarnation == skl_ring_incarnation(&s->ring, *lsn) &&
           *slot < s->tables.shm->shards * s->tables.shm->rows;
}

/* Lock the items of an order, whose shard is held, and end what is due; *now
 * becomes the time of the operation. An id that names a line other than the
 * first one is unknown. */
static int hold_order(skl_held_t *h, uint32_t slot, uint64_t lsn,
                      skl_lines_t *l, int64_t *now)
{
    const skl_tables_t *t = &h->s->tables;
    int rc;

    if (!skl_lines_walk(t, slot, l)) {
        return SECKILL_EUNKNOWNRESERVATION;
    }
    rc = skl_hold_item_list(h, l->item, l->count);
    if (rc != SECKILL_OK) {
        return rc;
    }
    if (!skl_lines_alive(t, l, lsn)) {
        return SECKILL_EUNKNOWNRESERVATION;
    }
    *now = skl_lines_now(t, l, *now);
    return skl_lines_expire(h, l, *now);
}

/* The state of all lines. */
static uint8_t state_of(const skl_held_t *h, const skl_lines_t *l)
{
    const uint8_t state = h->s->tables.rows[l->row[0]].state;

    skl_assert(l->count >= 1 && l->count <= SKL_LINES_MAX);
    for (uint32_t i = 1; i < l->count; i++) {
        skl_assert(h->s->tables.rows[l->row[i]].state == state);
    }
    return state;
}

/* ---- Confirm and cancel -------------------------------------------------- */

static void sell_leg(skl_leg_t *leg, int64_t qty)
{
    const int64_t rest = leg->qty - qty;

    skl_assert(qty >= 1 && rest >= 0 && leg->reserved >= leg->qty);
    leg->qty = qty;
    leg->reserved -= qty + rest;
    leg->sold += qty;
    leg->available += rest;
    leg->user_count -= rest;
}

static void sell_leg_again(skl_leg_t *leg, int64_t qty)
{
    skl_assert(qty <= leg->qty && leg->available >= qty);
    leg->flags = SKL_FLAG_AGAIN;
    leg->qty = qty;
    leg->available -= qty;
    leg->sold += qty;
    leg->user_count += qty;
}

static void give_leg_back(skl_leg_t *leg)
{
    skl_assert(leg->reserved >= leg->qty && leg->user_count >= leg->qty);
    leg->reserved -= leg->qty;
    leg->available += leg->qty;
    leg->user_count -= leg->qty;
}

/* qty: of an order of one line, 0: all of it. */
static int confirm_lines(skl_held_t *h, const skl_lines_t *l, int64_t qty,
                         int64_t now)
{
    const int again = state_of(h, l) == SECKILL_STATE_EXPIRED;
    skl_record_t r;

    skl_lines_record(&r, SKL_REC_ORDER_CONFIRM, SKL_PART_ITEM, h->s, l, now);
    r.lines.state = SECKILL_STATE_CONFIRMED;
    for (uint32_t i = 0; i < l->count; i++) {
        int64_t n = qty != 0 ? qty : r.legs[i].qty;

        (again ? sell_leg_again : sell_leg)(&r.legs[i], n);
    }
    skl_lines_strings(&r, &h->s->tables, l, NULL);
    return skl_commit(h, &r, NULL);
}

static int cancel_lines(skl_held_t *h, const skl_lines_t *l, int64_t now)
{
    skl_record_t r;

    skl_lines_record(&r, SKL_REC_ORDER_CANCEL, SKL_PART_ITEM, h->s, l, now);
    r.lines.state = SECKILL_STATE_CANCELLED;
    for (uint32_t i = 0; i < l->count; i++) {
        give_leg_back(&r.legs[i]);
    }
    skl_lines_strings(&r, &h->s->tables, l, NULL);
    return skl_commit(h, &r, NULL);
}

/* All lines, or the refusal of the first one that has too few. */
static int reacquire_lines(skl_held_t *h, const skl_lines_t *l, int64_t qty,
                           int64_t now)
{
    for (uint32_t i = 0; i < l->count; i++) {
        int64_t n = qty != 0 ? qty : h->s->tables.rows[l->row[i]].qty;
        int rc = skl_may_reacquire(h, l->row[i], n, now);

        if (rc != SECKILL_OK) {
            return rc;
        }
    }
    return confirm_lines(h, l, qty, now);
}

static int settle_lines(skl_held_t *h, const skl_lines_t *l,
                        const skl_settle_t *how, int64_t now)
{
    const uint8_t state = state_of(h, l);
    const int64_t have = h->s->tables.rows[l->row[0]].qty;
    const int takes_again = state == SECKILL_STATE_EXPIRED && how->reacquire;

    if (how->qty != 0 && l->count > 1) {
        return SECKILL_EBADQTY; /* in part: for orders of one line */
    }
    if (state == how->target) { /* the same end again? */
        return how->qty == 0 || how->qty == have ? SECKILL_OK
                                                 : SECKILL_ECONFLICT;
    }
    if (state != SECKILL_STATE_RESERVED && !takes_again) {
        return skl_refusal_of(state);
    }
    if (how->qty > have) {
        return SECKILL_EBADQTY;
    }
    if (takes_again) {
        return reacquire_lines(h, l, how->qty, now);
    }
    return how->target == SECKILL_STATE_CONFIRMED
               ? confirm_lines(h, l, how->qty, now)
               : cancel_lines(h, l, now);
}

int skl_order_settle(skl_stock_t *s, skl_bytes_t id, const skl_settle_t *how,
                     int64_t now)
{
    skl_held_t h = {.s = s};
    skl_lines_t l;
    uint32_t slot;
    uint64_t lsn;
    int rc;

    if (!parse(s, id, &slot, &lsn)) {
        return SECKILL_EUNKNOWNRESERVATION;
    }
    rc = skl_hold_shard(&h, slot / s->tables.shm->rows);
    rc = rc == SECKILL_OK ? hold_order(&h, slot, lsn, &l, &now) : rc;
    rc = rc == SECKILL_OK ? settle_lines(&h, &l, how, now) : rc;
    skl_release(&h);
    return rc;
}

/* ---- Refund -------------------------------------------------------------- */

static int commit_refund(skl_held_t *h, const skl_lines_t *l,
                         const skl_new_request_t *q, int64_t now)
{
    const skl_rec_keys_t keys = {.request = q->key};
    skl_record_t r;
    int rc;

    skl_lines_record(&r, SKL_REC_ORDER_REFUND, SKL_PART_REQUEST | SKL_PART_ITEM,
                     h->s, l, now);
    rc = skl_new_request_slot(h->s, q, &r);
    if (rc != SECKILL_OK) {
        return rc;
    }
    r.item_live = 0;
    r.legs[0].item_live += 1; /* the refund's id hangs on the first item */
    r.lines.state = SECKILL_STATE_REFUNDED;
    r.lines.arg = r.lines.row_lsn;
    for (uint32_t i = 0; i < l->count; i++) {
        skl_leg_t *leg = &r.legs[i];

        skl_assert(leg->sold >= leg->qty && leg->user_count >= leg->qty);
        leg->sold -= leg->qty;
        leg->available += leg->qty;
        leg->user_count -= leg->qty;
    }
    skl_lines_strings(&r, &h->s->tables, l, &q->id);
    return skl_commit(h, &r, &keys);
}

int skl_order_refund(skl_held_t *h, skl_bytes_t id, const skl_new_request_t *q,
                     int64_t now)
{
    skl_lines_t l;
    uint32_t slot;
    uint64_t lsn;
    uint8_t state;
    int rc = SECKILL_EUNKNOWNRESERVATION;

    if (parse(h->s, id, &slot, &lsn)) {
        rc = hold_order(h, slot, lsn, &l, &now);
    }
    if (rc != SECKILL_OK) {
        return rc;
    }
    state = state_of(h, &l);
    if (state == SECKILL_STATE_REFUNDED) {
        return SECKILL_OK;
    }
    return state == SECKILL_STATE_CONFIRMED ? commit_refund(h, &l, q, now)
                                            : skl_refusal_of(state);
}
