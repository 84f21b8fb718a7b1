/* See settle.h. Any thread. */
#include "stock/settle.h"

#include "base/assert.h"
#include "stock/ids.h"
#include "stock/lookup.h"
#include "stock/retire.h"

#include <string.h>

enum { EXPIRE_CHUNK = 64, ROUNDS = 64 };

/* ---- The answer ---------------------------------------------------------- */

void skl_fill_answer(const skl_stock_t *s, uint32_t slot,
                     seckill_reservation_t *out)
{
    const skl_row_t *row = &s->tables.rows[slot];
    const skl_item_row_t *item = &s->tables.items[SKL_LD(row->item)];
    uint32_t name_len;

    skl_assert(SKL_LD(row->lsn) != 0 && row->qty > 0);
    skl_assert(row->user_len <= SECKILL_ID_MAX);
    skl_assert(row->request_len <= SECKILL_ID_MAX);
    out->qty = row->qty;
    out->remaining = SKL_LD(item->available);
    out->expires_at = row->state == SECKILL_STATE_RESERVED ? row->deadline : 0;
    out->lsn = SKL_LD(row->lsn);
    out->state = row->state;
    out->replayed = 0;
    out->lines = 0;
    out->id_len = skl_row_id_format(
        out->id, skl_ring_incarnation(&s->ring, out->lsn), slot, out->lsn);
    skl_item_name(item, out->item, &name_len);
    out->item_len = (uint8_t)name_len;
    out->user_len = row->user_len;
    memcpy(out->user, row->user_id, row->user_len);
    out->request_len = row->request_len;
    memcpy(out->request, row->request_id, row->request_len);
}

/* ---- Records of a reservation -------------------------------------------- */

/* A record about an existing reservation: identity, user and strings. */
static void begin_row_record(skl_record_t *r, int type, uint32_t parts,
                             const skl_stock_t *s, uint32_t slot, int64_t now)
{
    const skl_row_t *row = &s->tables.rows[slot];
    const skl_user_row_t *user = &s->tables.users[row->user];
    char name[SECKILL_ID_MAX];
    uint32_t name_len;

    skl_rec_begin(r, type, parts, s, SKL_LD(row->item), now);
    r->order.row = slot;
    r->order.row_lsn = SKL_LD(row->lsn);
    r->order.request = row->request;
    r->order.user = row->user;
    r->order.qty = row->qty;
    r->order.hold_list = row->hold_list;
    r->order.deadline = row->deadline;
    r->order.user_count = SKL_LD(user->count);
    r->order.user_ids = (uint16_t)SKL_LD(user->ids);
    skl_item_name(&s->tables.items[r->item], name, &name_len);
    skl_rec_strings(r, row->user_id, row->user_len, row->request_id,
                    row->request_len, name, name_len);
}

/* Pending reservations with a deadline are in a hold list. */
static uint8_t listed(const skl_row_t *row)
{
    return row->state == SECKILL_STATE_RESERVED && row->deadline != 0
               ? SKL_FLAG_LISTED
               : 0;
}

/* What an EXPIRE says of a line: its number, and the row by which the order is
 * named. The order lives as long as one of its lines is pending. */
static uint64_t line_name(const skl_tables_t *t, const skl_row_t *row)
{
    const uint32_t number = skl_line_number(SKL_LD(row->line));

    skl_assert(row->state == SECKILL_STATE_RESERVED);
    return number == 0 ? 0
                       : (uint64_t)number << 32 | t->requests[row->request].row;
}

/* A pending reservation ends without a sale: the units come back. */
static int end_unsold(skl_held_t *h, int type, uint8_t state, uint32_t slot,
                      int64_t now)
{
    const skl_row_t *row = &h->s->tables.rows[slot];
    skl_record_t r;

    skl_assert(row->state == SECKILL_STATE_RESERVED);
    begin_row_record(&r, type, SKL_PART_ITEM, h->s, slot, now);
    r.flags = listed(row);
    r.order.state = state;
    r.order.arg = line_name(&h->s->tables, row);
    r.reserved -= row->qty;
    r.available += row->qty;
    r.order.user_count -= row->qty;
#ifdef MUTANT_EXPIRY_NOT_LOGGED
    if (type == SKL_REC_EXPIRE) {
        r.lsn = SKL_LD(h->s->tables.items[r.item].lsn);
        skl_apply(&h->s->tables, &r, r.parts, NULL);
        return SECKILL_OK;
    }
#endif
    return skl_commit(h, &r, NULL);
}

/* qty units are sold, the rest comes back. */
static int sell(skl_held_t *h, uint32_t slot, int64_t qty, int64_t now)
{
    const skl_row_t *row = &h->s->tables.rows[slot];
    const int64_t rest = row->qty - qty;
    skl_record_t r;

    skl_assert(row->state == SECKILL_STATE_RESERVED);
    skl_assert(qty >= 1 && rest >= 0);
    begin_row_record(&r, SKL_REC_CONFIRM, SKL_PART_ITEM, h->s, slot, now);
    r.flags = listed(row);
    r.order.state = SECKILL_STATE_CONFIRMED;
    r.order.qty = qty;
    r.reserved -= row->qty;
    r.sold += qty;
#ifndef MUTANT_PARTIAL_LOSES_REST
    r.available += rest;
#endif
    r.order.user_count -= rest;
    return skl_commit(h, &r, NULL);
}

/* The hold had ended: qty units are taken again and sold. */
static int sell_again(skl_held_t *h, uint32_t slot, int64_t qty, int64_t now)
{
    skl_record_t r;

    skl_assert(h->s->tables.rows[slot].state == SECKILL_STATE_EXPIRED);
    begin_row_record(&r, SKL_REC_CONFIRM, SKL_PART_ITEM, h->s, slot, now);
    r.flags = SKL_FLAG_AGAIN;
    r.order.state = SECKILL_STATE_CONFIRMED;
    r.order.qty = qty;
    r.available -= qty;
    r.sold += qty;
    r.order.user_count += qty;
    return skl_commit(h, &r, NULL);
}

/* ---- Expiry -------------------------------------------------------------- */

int skl_expire_row(skl_held_t *h, uint32_t item, uint32_t slot, int64_t now)
{
    int rc;

    skl_assert(SKL_LD(h->s->tables.rows[slot].item) == item);
    skl_assert(h->s->tables.rows[slot].deadline <= now);
    rc = end_unsold(h, SKL_REC_EXPIRE, SECKILL_STATE_EXPIRED, slot, now);
    if (rc == SECKILL_OK) {
        skl_count(h->s->counters, SKL_EV_holds_expired, 1);
    }
    return rc;
}

int skl_expire_due(skl_held_t *h, uint32_t item, int64_t now, int max)
{
    const skl_item_row_t *row = &h->s->tables.items[item];
    int done = 0;

    while (done < max && SKL_LD(row->earliest) <= now) {
        int rc =
            skl_expire_row(h, item, skl_hold_first(&h->s->tables, row), now);

        if (rc != SECKILL_OK) {
            return rc;
        }
        done++;
    }
    return done;
}

/* ---- Finding a reservation by its id ------------------------------------- */

/* Lock the item of the reservation and see that it is still there; the set may
 * hold shards before. */
static int hold_by_id(skl_held_t *h, skl_bytes_t id, uint32_t *slot)
{
    const skl_tables_t *t = &h->s->tables;
    uint32_t incarnation, item;
    uint64_t lsn;
    int rc;

    if (!skl_row_id_parse(id.ptr, id.len, &incarnation, slot, &lsn) ||
        lsn == 0 || incarnation != skl_ring_incarnation(&h->s->ring, lsn) ||
        *slot >= t->shm->shards * t->shm->rows) {
        return SECKILL_EUNKNOWNRESERVATION;
    }
    item = SKL_LD(t->rows[*slot].item);
    if (item >= t->shm->items) {
        return SECKILL_EUNKNOWNRESERVATION;
    }
    rc = skl_hold_item(h, item);
    if (rc != SECKILL_OK) {
        return rc;
    }
    if (SKL_LD(t->rows[*slot].lsn) != lsn) {
        skl_release_last(h);
        return SECKILL_EUNKNOWNRESERVATION;
    }
    return SECKILL_OK;
}

/* A hold that is due is expired for everyone, whether swept or not. */
static int expire_if_due(skl_held_t *h, uint32_t slot, int64_t now)
{
    const skl_row_t *row = &h->s->tables.rows[slot];

    if (row->state == SECKILL_STATE_RESERVED && row->deadline != 0 &&
        row->deadline <= now) {
        return skl_expire_row(h, SKL_LD(row->item), slot, now);
    }
    return SECKILL_OK;
}

int skl_refusal_of(uint8_t state)
{
    switch (state) {
    case SECKILL_STATE_CONFIRMED:
        return SECKILL_ECONFIRMED;
    case SECKILL_STATE_CANCELLED:
        return SECKILL_ECANCELLED;
    case SECKILL_STATE_EXPIRED:
        return SECKILL_EEXPIRED;
    case SECKILL_STATE_REFUNDED:
        return SECKILL_EREFUNDED;
    default:
        return SECKILL_ERESERVED;
    }
}

/* ---- Confirm and cancel -------------------------------------------------- */

/* The window of the sale and `paused` are of new orders: this is the late end
 * of one that was made in time. An item that was removed has nothing left. */
int skl_may_reacquire(skl_held_t *h, uint32_t slot, int64_t n, int64_t now)
{
    const skl_row_t *row = &h->s->tables.rows[slot];
    const uint32_t number = SKL_LD(row->item);
    skl_view_t v;
    int rc = SECKILL_OK, ended;

    skl_view_item(&h->s->tables.items[number], &v);
    skl_view_user(&h->s->tables, row->user, &v);
    if (v.state != SECKILL_ITEM_OPEN && v.state != SECKILL_ITEM_PAUSED) {
        return SECKILL_ESOLDOUT;
    }
#ifndef MUTANT_REACQUIRE_NO_LIMIT
    if (v.per_user > 0 && v.user_count + n > v.per_user) {
        rc = SECKILL_EUSERLIMIT;
    } else
#endif
        if (v.available < n) {
        rc = SECKILL_ESOLDOUT;
    }
    if (!skl_may_turn(&v, rc, now)) {
        return rc;
    }
    ended = skl_expire_due(h, number, now, EXPIRE_CHUNK);
    return ended < 0 ? ended : SKL_AGAIN;
}

/* A confirm that comes after the hold has ended. */
static int reacquire(skl_held_t *h, uint32_t slot, int64_t qty, int64_t now)
{
    int rc;

    if (qty > h->s->tables.rows[slot].qty) {
        return SECKILL_EBADQTY;
    }
    rc = skl_may_reacquire(h, slot, qty, now);
    return rc == SECKILL_OK ? sell_again(h, slot, qty, now) : rc;
}

static int settle_held(skl_held_t *h, uint32_t slot, const skl_settle_t *how,
                       int64_t now)
{
    const skl_row_t *row = &h->s->tables.rows[slot];
    const int64_t qty = how->qty != 0 ? how->qty : row->qty;
    int rc;

    skl_assert(h->count > 0);
    now = skl_item_now(&h->s->tables.items[SKL_LD(row->item)], now);
    rc = expire_if_due(h, slot, now);
    if (rc != SECKILL_OK) {
        return rc;
    }
    if (row->state == how->target) { /* the same end again? */
        return qty == row->qty ? SECKILL_OK : SECKILL_ECONFLICT;
    }
    if (row->state == SECKILL_STATE_EXPIRED && how->reacquire) {
        return reacquire(h, slot, qty, now);
    }
    if (row->state != SECKILL_STATE_RESERVED) {
        return skl_refusal_of(row->state);
    }
    if (qty > row->qty) {
        return SECKILL_EBADQTY;
    }
    return how->target == SECKILL_STATE_CONFIRMED
               ? sell(h, slot, qty, now)
               : end_unsold(h, SKL_REC_CANCEL, how->target, slot, now);
}

static int settle_once(skl_stock_t *s, skl_bytes_t id, const skl_settle_t *how,
                       int64_t now)
{
    skl_held_t h;
    uint32_t slot, line = 0;
    int rc;

    skl_held_init(&h, s);
    rc = hold_by_id(&h, id, &slot);
    if (rc == SECKILL_OK) {
        line = SKL_LD(s->tables.rows[slot].line);
        rc = line == 0 ? settle_held(&h, slot, how, now) : rc;
    }
    skl_release(&h);
    return line == 0 ? rc : skl_order_settle(s, id, how, now);
}

static int settle(skl_stock_t *s, skl_bytes_t id, const skl_settle_t *how,
                  int64_t now)
{
    for (int i = 0; i < ROUNDS; i++) {
        int rc = settle_once(s, id, how, now);

        if (rc != SKL_AGAIN) {
            return rc;
        }
    }
    return SECKILL_EBUSY;
}

int skl_stock_confirm(skl_stock_t *s, skl_bytes_t id, int64_t now)
{
    return skl_stock_confirm_with(s, id, 0, 0, now);
}

int skl_stock_confirm_with(skl_stock_t *s, skl_bytes_t id, int64_t qty,
                           int reacquire_it, int64_t now)
{
    const skl_settle_t how = {.target = SECKILL_STATE_CONFIRMED,
                              .reacquire = reacquire_it != 0,
                              .qty = qty};

    if (qty < 0 || qty > SECKILL_COUNT_MAX) {
        return SECKILL_EBADQTY;
    }
    return settle(s, id, &how, now);
}

int skl_stock_cancel(skl_stock_t *s, skl_bytes_t id, int64_t now)
{
    const skl_settle_t how = {.target = SECKILL_STATE_CANCELLED};

    return settle(s, id, &how, now);
}

/* ---- Refund -------------------------------------------------------------- */

static int commit_refund(skl_held_t *h, uint32_t slot,
                         const skl_new_request_t *q, int64_t now)
{
    const skl_row_t *row = &h->s->tables.rows[slot];
    skl_rec_keys_t keys = {.request = q->key};
    char user[SECKILL_ID_MAX], name[SECKILL_ID_MAX];
    uint32_t user_len = row->user_len, name_len;
    skl_record_t r;
    int rc;

    begin_row_record(&r, SKL_REC_REFUND, SKL_PART_REQUEST | SKL_PART_ITEM, h->s,
                     slot, now);
    r.order.state = SECKILL_STATE_REFUNDED;
    r.order.user_count -= row->qty;
    r.sold -= row->qty;
    r.available += row->qty;
    r.order.arg = r.order.row_lsn;
    rc = skl_new_request_slot(h->s, q, &r);
    if (rc != SECKILL_OK) {
        return rc;
    }
    memcpy(user, row->user_id, user_len);
    skl_item_name(&h->s->tables.items[r.item], name, &name_len);
    skl_rec_strings(&r, user, user_len, q->id.ptr, (uint32_t)q->id.len, name,
                    name_len);
    return skl_commit(h, &r, &keys);
}

/* SKL_AGAIN: it is an order, *shard that of its rows. */
static int refund_held(skl_held_t *h, skl_bytes_t id,
                       const skl_new_request_t *q, int64_t now, uint32_t *shard)
{
    uint32_t slot;
    int rc = hold_by_id(h, id, &slot);
    const skl_row_t *row;

    if (rc != SECKILL_OK) {
        return rc;
    }
    row = &h->s->tables.rows[slot];
    if (SKL_LD(row->line) != 0) {
        *shard = slot / h->s->tables.shm->rows;
        return SKL_AGAIN;
    }
    now = skl_item_now(&h->s->tables.items[SKL_LD(row->item)], now);
    rc = expire_if_due(h, slot, now);
    if (rc != SECKILL_OK) {
        return rc;
    }
    if (row->state == SECKILL_STATE_REFUNDED) {
        return SECKILL_OK;
    }
    if (row->state != SECKILL_STATE_CONFIRMED) {
        return skl_refusal_of(row->state);
    }
    return commit_refund(h, slot, q, now);
}

/* The recorded answer of an id that was used already. */
static int refund_replay(const skl_stock_t *s, uint32_t request, skl_bytes_t id)
{
    const skl_request_row_t *row = &s->tables.requests[request];
    uint32_t incarnation, slot;
    uint64_t lsn;

    if (row->kind == SKL_REQ_REFUND &&
        skl_row_id_parse(id.ptr, id.len, &incarnation, &slot, &lsn) &&
        incarnation == skl_ring_incarnation(&s->ring, lsn) && row->arg == lsn) {
        return SECKILL_OK;
    }
    return SECKILL_ECONFLICT;
}

/* *shard: SKL_NONE, or that of the rows of an order. */
static int refund_as(skl_stock_t *s, skl_bytes_t id, const skl_new_request_t *q,
                     int64_t now, uint32_t *shard)
{
    skl_held_t h = {.s = s};
    const int is_order = *shard != SKL_NONE;
    uint32_t used;
    int rc = skl_hold_shards(&h, q->shard, is_order ? *shard : q->shard);

    if (rc == SECKILL_OK) {
        used = skl_find_request(&s->tables, q->shard, q->key);
        if (used != SKL_NONE) {
            rc = refund_replay(s, used, id);
        } else if (skl_request_too_old(s, q, now)) {
            rc = SECKILL_ETOOOLD;
        } else {
            rc = is_order ? skl_order_refund(&h, id, q, now)
                          : refund_held(&h, id, q, now, shard);
        }
    }
    skl_release(&h);
    return rc;
}

static int refund_once(skl_stock_t *s, skl_bytes_t id,
                       const skl_new_request_t *q, int64_t now)
{
    uint32_t shard = SKL_NONE;
    int rc = refund_as(s, id, q, now, &shard);

    return rc == SKL_AGAIN ? refund_as(s, id, q, now, &shard) : rc;
}

int skl_stock_refund(skl_stock_t *s, skl_bytes_t id, skl_bytes_t request,
                     int64_t now)
{
    skl_new_request_t q;
    int rc = skl_new_request(s, request, now, &q);

    if (rc != SECKILL_OK) {
        return rc;
    }
    rc = refund_once(s, id, &q, now);
    if (rc == SECKILL_EFULL && skl_retire_shard(s, q.shard, now, 16, 1) > 0) {
        rc = refund_once(s, id, &q, now);
    }
    return rc;
}
