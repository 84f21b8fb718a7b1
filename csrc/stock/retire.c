/* See retire.h. Any thread. */
#include "stock/retire.h"

#include "base/assert.h"
#include "stock/ids.h"
#include "stock/lines.h"
#include "stock/settle.h"

/* The ledger's clock may be slewed back by less than this. */
#define SLEW_MARGIN_NS 1000000000LL

/* ---- A new id ------------------------------------------------------------ */

int skl_new_request(const skl_stock_t *s, skl_bytes_t id, int64_t now,
                    skl_new_request_t *out)
{
    int rc = skl_request_time(s->request_ids, id.ptr, id.len, &out->made_at);

    if (rc != SECKILL_OK) {
        return rc;
    }
    if (out->made_at != INT64_MAX && out->made_at > now + SKL_ID_AHEAD_NS) {
        return SECKILL_EBADREQUEST;
    }
    out->id = id;
    skl_hash_store(&out->key, skl_key_of(&s->tables, id.ptr, (uint32_t)id.len));
    out->shard = skl_shard_of(&s->tables, out->key);
    return SECKILL_OK;
}

int skl_request_too_old(const skl_stock_t *s, const skl_new_request_t *q,
                        int64_t now)
{
    return q->made_at != INT64_MAX && q->made_at < now - s->window_ns;
}

int skl_new_request_slot(const skl_stock_t *s, const skl_new_request_t *q,
                         skl_record_t *r)
{
    const skl_shard_t *shard = &s->tables.shards[q->shard];
    const uint32_t slot = SKL_LD(shard->request_free);

    skl_assert(q->shard < s->tables.shm->shards);
    if (slot == SKL_NONE) {
        return SECKILL_EFULL;
    }
    r->order.request = slot;
    r->order.request_shard = (uint16_t)q->shard;
    r->order.fifo_pos = SKL_LD(shard->fifo_tail);
    r->item_live += 1;
    return SECKILL_OK;
}

/* ---- The end of an id ---------------------------------------------------- */

/* A timed id that is still young enough to be accepted must find its row, so
 * rows of timed ids stay for the tolerance, too. */
static int64_t retires_at(const skl_stock_t *s, int64_t created)
{
    int64_t at = created + s->window_ns;

    if (s->request_ids != SECKILL_IDS_OPAQUE) {
        at += SKL_ID_AHEAD_NS + SLEW_MARGIN_NS;
    }
    return at;
}

/* The first id of a shard's queue, if its window has passed. */
static uint32_t first_due(const skl_stock_t *s, uint32_t shard, int64_t now)
{
    const skl_shard_t *sh = &s->tables.shards[shard];
    const uint32_t head = SKL_LD(sh->fifo_head);
    uint32_t slot;

    if (head == SKL_LD(sh->fifo_tail)) {
        return SKL_NONE;
    }
    slot = skl_fifo_at(&s->tables, shard, head);
    if (retires_at(s, s->tables.requests[slot].created) >= now) {
        return SKL_NONE;
    }
    return slot;
}

/* The shard of the user row of a reservation; the item's lock is held. */
static uint32_t user_shard_of(const skl_tables_t *t, uint32_t row)
{
    return t->rows[row].user / t->shm->users;
}

/* Which locks retiring this id takes. The item's lock is taken for a moment,
 * because only then the reservation is known to be whole. */
static int plan_locks(skl_held_t *h, uint32_t slot, uint32_t shard,
                      uint32_t *user_shard)
{
    const skl_request_row_t *row = &h->s->tables.requests[slot];
    int rc;

    *user_shard = shard;
    if (row->row == SKL_NONE) {
        return SECKILL_OK;
    }
    rc = skl_hold_item(h, row->item);
    if (rc == SECKILL_OK) {
        *user_shard = user_shard_of(&h->s->tables, row->row);
    }
    return rc;
}

static int commit_retire(skl_held_t *h, uint32_t shard, uint32_t slot,
                         int64_t now)
{
    const skl_tables_t *t = &h->s->tables;
    const skl_request_row_t *q = &t->requests[slot];
    skl_record_t r;

    skl_rec_begin(&r, SKL_REC_RETIRE, SKL_PART_REQUEST | SKL_PART_ITEM, h->s,
                  q->item, now);
    r.order.request = slot;
    r.order.request_shard = (uint16_t)shard;
    r.order.fifo_pos = SKL_LD(t->shards[shard].fifo_head);
    r.order.row = q->row;
    r.order.user = SKL_NONE;
    r.item_live -= 1;
    if (q->row != SKL_NONE) {
        const skl_row_t *row = &t->rows[q->row];
        const skl_user_row_t *user = &t->users[row->user];

        skl_assert(SKL_LD(user->ids) > 0);
        skl_assert(SKL_LD(row->lsn) != 0);

        r.flags = SKL_FLAG_ROW;
        r.order.row_lsn = SKL_LD(row->lsn);
        r.order.user = row->user;
        r.order.user_shard = (uint16_t)user_shard_of(t, q->row);
        r.order.user_count = SKL_LD(user->count);
        r.order.user_ids = (uint16_t)(SKL_LD(user->ids) - 1);
        if (r.order.user_count == 0 && r.order.user_ids == 0) {
            r.flags |= SKL_FLAG_USER;
            r.parts |= SKL_PART_USER;
            r.item_users -= 1;
        }
    }
    return skl_commit(h, &r, NULL);
}

/* All locks are held. A hold is at most half a window, so a reservation that
 * is still pending here is due. */
static int retire_held(skl_held_t *h, uint32_t shard, uint32_t slot,
                       int64_t now)
{
    const skl_tables_t *t = &h->s->tables;
    const skl_request_row_t *q = &t->requests[slot];
    int rc = SECKILL_OK;

    if (q->row != SKL_NONE && t->rows[q->row].state == SECKILL_STATE_RESERVED) {
        skl_assert(t->rows[q->row].deadline <= now);
        rc = skl_expire_row(h, q->item, q->row, now);
    }
    return rc == SECKILL_OK ? commit_retire(h, shard, slot, now) : rc;
}

/* ---- The end of an order of several lines -------------------------------- */

/* The shards of the user rows, after the one of the id. The items are locked
 * for a moment; the locks are released here. */
static int plan_order(skl_held_t *h, uint32_t shard, uint32_t slot,
                      uint32_t *shards, uint32_t *count)
{
    const skl_tables_t *t = &h->s->tables;
    skl_lines_t l;
    int rc;

    if (!skl_lines_walk(t, t->requests[slot].row, &l)) {
        skl_assert(!"the lines of a live order");
    }
    rc = skl_hold_item_list(h, l.item, l.count);
    shards[0] = shard;
    for (uint32_t i = 0; i < l.count && rc == SECKILL_OK; i++) {
        shards[i + 1] = user_shard_of(t, l.row[i]);
    }
    *count = l.count + 1;
    skl_release(h);
    return rc;
}

static int commit_order_end(skl_held_t *h, const skl_lines_t *l, uint32_t shard,
                            int64_t now)
{
    const skl_tables_t *t = &h->s->tables;
    skl_record_t r;

    skl_lines_record(&r, SKL_REC_ORDER_RETIRE, SKL_PART_REQUEST | SKL_PART_ITEM,
                     h->s, l, now);
    skl_assert(r.lines.request_shard == shard);
    r.lines.fifo_pos = SKL_LD(t->shards[shard].fifo_head);
    r.lines.state = t->rows[l->row[0]].state;
    for (uint32_t i = 0; i < l->count; i++) {
        skl_leg_t *leg = &r.legs[i];

        skl_assert(leg->flags == 0 && leg->user_ids > 0);
        leg->flags = SKL_FLAG_ROW;
        leg->item_live -= 1;
        leg->user_ids -= 1;
        if (leg->user_count == 0 && leg->user_ids == 0) {
            leg->flags |= SKL_FLAG_USER;
            leg->item_users -= 1;
            r.parts |= SKL_PART_USER;
        }
    }
    skl_lines_strings(&r, t, l, NULL);
    return skl_commit(h, &r, NULL);
}

/* The shards are held. 1, 0: another one is first now; or EBUSY. */
static int retire_order_held(skl_held_t *h, uint32_t shard, uint32_t slot,
                             const uint32_t *shards, uint32_t count,
                             int64_t now)
{
    const skl_tables_t *t = &h->s->tables;
    skl_lines_t l;
    int rc;

    if (first_due(h->s, shard, now) != slot ||
        !skl_lines_walk(t, t->requests[slot].row, &l)) {
        return 0;
    }
    rc = skl_hold_item_list(h, l.item, l.count);
    for (uint32_t i = 0; i < l.count && rc == SECKILL_OK; i++) {
        uint32_t k = 0;

        while (k < count && shards[k] != user_shard_of(t, l.row[i])) {
            k++;
        }
        if (k == count) {
            return 0; /* another order has come to this row */
        }
    }
    rc = rc == SECKILL_OK ? skl_lines_expire(h, &l, skl_lines_now(t, &l, now))
                          : rc;
    rc = rc == SECKILL_OK ? commit_order_end(h, &l, shard, now) : rc;
    return rc == SECKILL_OK ? 1 : rc;
}

/* h holds the shard, of which the order in `slot` is due. */
static int retire_order(skl_held_t *h, uint32_t shard, uint32_t slot,
                        int64_t now)
{
    uint32_t shards[1 + SKL_LINES_MAX], count = 0;
    int rc = plan_order(h, shard, slot, shards, &count);

    rc = rc == SECKILL_OK ? skl_hold_shard_list(h, shards, count) : rc;
    return rc == SECKILL_OK
               ? retire_order_held(h, shard, slot, shards, count, now)
               : rc;
}

/* 1: retired; 0: nothing is due, or it changed under us; or EBUSY. */
static int retire_one(skl_stock_t *s, uint32_t shard, int64_t now, int try_only)
{
    skl_held_t h = {.s = s, .try_only = try_only};
    uint32_t slot, again, user_shard = 0;
    int rc = skl_hold_shard(&h, shard);

    slot = rc == SECKILL_OK ? first_due(s, shard, now) : SKL_NONE;
    if (slot != SKL_NONE && s->tables.requests[slot].kind == SKL_REQ_ORDER) {
        rc = retire_order(&h, shard, slot, now);
        skl_release(&h);
        return rc;
    }
    if (slot != SKL_NONE) {
        rc = plan_locks(&h, slot, shard, &user_shard);
    }
    skl_release(&h);
    if (rc != SECKILL_OK || slot == SKL_NONE) {
        return rc;
    }
    rc = skl_hold_shards(&h, shard, user_shard);
    again = rc == SECKILL_OK ? first_due(s, shard, now) : SKL_NONE;
    if (again == slot && s->tables.requests[slot].kind != SKL_REQ_ORDER) {
        const skl_request_row_t *q = &s->tables.requests[slot];

        rc = skl_hold_item(&h, q->item);
        if (rc == SECKILL_OK &&
            (q->row == SKL_NONE ||
             user_shard_of(&s->tables, q->row) == user_shard)) {
            rc = retire_held(&h, shard, slot, now);
            rc = rc == SECKILL_OK ? 1 : rc;
        }
    }
    skl_release(&h);
    return rc;
}

int skl_retire_shard(skl_stock_t *s, uint32_t shard, int64_t now, int max,
                     int try_only)
{
    int done = 0;

    while (done < max) {
        int rc = retire_one(s, shard, now, try_only);

        if (rc < 0) {
            return done > 0 ? done : rc;
        }
        if (rc == 0) {
            break;
        }
        done++;
    }
    skl_count(s->counters, SKL_EV_rows_retired, (uint64_t)done);
    return done;
}

int skl_make_room(skl_stock_t *s, uint32_t shard, int64_t now)
{
    int done = skl_retire_shard(s, shard, now, 16, 1) > 0;

    for (uint32_t i = 0; i < s->tables.shm->shards; i++) {
        done |= skl_retire_shard(s, i, now, 2, 1) > 0;
    }
    return done;
}
