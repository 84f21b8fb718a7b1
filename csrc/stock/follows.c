/* See follows.h. */
#include "stock/follows.h"

#include "base/assert.h"
#include "stock/follows_row.h"

#include <string.h>

int skl_record_has_keys(const skl_record_t *r)
{
    return r->type == SKL_REC_RESERVE || r->type == SKL_REC_REFUND ||
           r->type == SKL_REC_ADJUST || r->type == SKL_REC_ORDER ||
           r->type == SKL_REC_ORDER_REFUND;
}

void skl_record_keys(const skl_tables_t *t, const skl_record_t *r,
                     skl_rec_keys_t *keys)
{
    memset(keys, 0, sizeof(*keys));
    skl_hash_store(&keys->request,
                   skl_key_of(t, skl_rec_request(r), r->request_len));
    if ((r->flags & SKL_FLAG_USER) || r->type == SKL_REC_ORDER) {
        skl_hash_store(&keys->user,
                       skl_key_of(t, skl_rec_user(r), r->user_len));
    }
}

/* ---- What all have in common --------------------------------------------- */

static int strings_fit(const skl_record_t *r)
{
    return r->user_len <= SECKILL_ID_MAX && r->request_len <= SECKILL_ID_MAX &&
           r->item_len <= SECKILL_ID_MAX;
}

static int counters_fit(const skl_tables_t *t, const skl_record_t *r)
{
    int64_t sum;

    if (!skl_count_ok(r->available) || !skl_count_ok(r->reserved) ||
        !skl_count_ok(r->sold)) {
        return 0;
    }
    sum = r->available + r->reserved + r->sold;
    return r->type == SKL_REC_PUT || r->type == SKL_REC_ADJUST
               ? skl_count_ok(sum)
               : sum == SKL_LD(t->items[r->item].total);
}

/* Units that a record moves in its item; what is available has the rest. */
typedef struct {
    int64_t reserved, sold;
} moved_t;

static int units_follow(const skl_tables_t *t, const skl_record_t *r,
                        moved_t by)
{
    const skl_item_row_t *item = &t->items[r->item];

    return r->reserved == SKL_LD(item->reserved) + by.reserved &&
           r->sold == SKL_LD(item->sold) + by.sold;
}

static int units_stay(const skl_tables_t *t, const skl_record_t *r)
{
    return units_follow(t, r, (moved_t){0});
}

/* The item has `live` ids and `users` rows more than before. */
static int rows_of_item_fit(const skl_tables_t *t, const skl_record_t *r,
                            int live, int users)
{
    const skl_item_row_t *item = &t->items[r->item];

    return r->item_live == SKL_LD(item->live) + (uint32_t)live &&
           r->item_users == SKL_LD(item->users) + (uint32_t)users;
}

static uint32_t state_of(const skl_tables_t *t, const skl_record_t *r)
{
    return SKL_LD(t->items[r->item].state);
}

static int is_alive(uint32_t state)
{
    return state == SECKILL_ITEM_OPEN || state == SECKILL_ITEM_PAUSED;
}

static int has_parts(const skl_record_t *r, uint32_t parts, uint32_t flags)
{
    return r->parts == parts && r->flags == flags;
}

/* ---- Items --------------------------------------------------------------- */

static int config_fits(const skl_record_t *r)
{
    const skl_config_body_t *c = &r->config;

    return skl_count_ok(c->per_user) && skl_count_ok(c->max_qty) &&
           skl_duration_ok(c->hold_ns) && skl_time_ok(c->starts_at) &&
           skl_time_ok(c->ends_at) && c->version >= 1 &&
           c->version <= SECKILL_COUNT_MAX && c->put_total >= -1 &&
           c->put_total <= SECKILL_COUNT_MAX && c->hold_list < SKL_HOLD_LISTS &&
           is_alive(c->state) && r->user_len == 0 && r->request_len == 0;
}

static int new_item_follows(const skl_tables_t *t, const skl_record_t *r)
{
    return r->item == SKL_LD(t->shm->free) && state_of(t, r) == SKL_ITEM_FREE &&
           r->reserved == 0 && r->sold == 0 && r->item_live == 0 &&
           r->item_users == 0 && r->item_len >= 1 &&
           skl_find_item(t, skl_key_of(t, skl_rec_item(r), r->item_len)) ==
               SKL_NONE;
}

/* Deadlines in a list ascend: a list is given to another length only while it
 * is empty. */
static int list_follows(const skl_item_row_t *item, const skl_config_body_t *c)
{
    const skl_hold_list_t *list = &item->lists[c->hold_list];

    return c->hold_ns == 0 || SKL_LD(list->hold_ns) == c->hold_ns ||
           SKL_LD(list->head) == SKL_NONE;
}

static int put_follows(const skl_tables_t *t, const skl_record_t *r)
{
    const skl_item_row_t *item = &t->items[r->item];

    if (!config_fits(r)) {
        return 0;
    }
    if (has_parts(r, SKL_PART_CATALOG | SKL_PART_ITEM, 0)) {
        return new_item_follows(t, r);
    }
    return has_parts(r, SKL_PART_ITEM, 0) && is_alive(state_of(t, r)) &&
           rows_of_item_fit(t, r, 0, 0) && units_stay(t, r) &&
           list_follows(item, &r->config) &&
           skl_item_is(item, skl_rec_item(r), r->item_len);
}

static int has_no_holds(const skl_item_row_t *item)
{
    int holds = 0;

    for (int i = 0; i < SKL_HOLD_LISTS; i++) {
        holds |= SKL_LD(item->lists[i].head) != SKL_NONE;
    }
    return !holds;
}

static int state_follows(const skl_tables_t *t, const skl_record_t *r)
{
    const skl_item_row_t *item = &t->items[r->item];
    const uint32_t both = SKL_PART_CATALOG | SKL_PART_ITEM;
    const uint32_t before = state_of(t, r), after = r->config.state;

    if (!rows_of_item_fit(t, r, 0, 0) || !units_stay(t, r)) {
        return 0;
    }
    switch (r->type) {
    case SKL_REC_PAUSE:
        return has_parts(r, SKL_PART_ITEM, 0) && is_alive(before) &&
               after == SECKILL_ITEM_PAUSED;
    case SKL_REC_RESUME:
        return has_parts(r, SKL_PART_ITEM, 0) && is_alive(before) &&
               after == SECKILL_ITEM_OPEN;
    case SKL_REC_REMOVE:
        return has_parts(r, both, 0) && is_alive(before) &&
               after == SKL_ITEM_REMOVED && r->reserved == 0 &&
               has_no_holds(item);
    default: /* retire_item */
        return has_parts(r, both, 0) && before == SKL_ITEM_REMOVED &&
               after == SKL_ITEM_FREE && r->item_live == 0 &&
               r->item_users == 0 && has_no_holds(item);
    }
}

/* ---- Request ids --------------------------------------------------------- */

int skl_new_id_follows(const skl_tables_t *t, const skl_record_t *r,
                       const skl_rec_keys_t *keys)
{
    const skl_order_body_t *o = &r->order;
    const skl_shard_t *shard;

    if (r->request_len < 1 || o->request_shard >= t->shm->shards ||
        o->request_shard != skl_shard_of(t, keys->request)) {
        return 0;
    }
    shard = &t->shards[o->request_shard];
    return o->request != SKL_NONE &&
           o->request == SKL_LD(shard->request_free) &&
           o->fifo_pos == SKL_LD(shard->fifo_tail);
}

/* The place of an id is the same in the body of an order. */
int skl_end_of_id_follows(const skl_tables_t *t, const skl_record_t *r)
{
    const skl_order_body_t *o = &r->order;
    const skl_shard_t *shard;
    const skl_request_row_t *q;

    if (o->request_shard >= t->shm->shards) {
        return 0;
    }
    shard = &t->shards[o->request_shard];
    if (o->fifo_pos != SKL_LD(shard->fifo_head) ||
        o->fifo_pos == SKL_LD(shard->fifo_tail) ||
        o->request != skl_fifo_at(t, o->request_shard, o->fifo_pos)) {
        return 0;
    }
    q = &t->requests[o->request];
    return q->kind != 0 && q->item == r->item && q->row == o->row &&
           (q->kind == SKL_REQ_ORDER) == (r->type == SKL_REC_ORDER_RETIRE);
}

/* ---- Users --------------------------------------------------------------- */

static int user_count_fits(const skl_record_t *r)
{
    return skl_count_ok(r->order.user_count) &&
           r->order.user_ids <= SKL_IDS_PER_USER;
}

/* The row of a user of this item, with `more` ids and `units` than before. */
static int user_follows(const skl_tables_t *t, const skl_record_t *r, int more,
                        int64_t units)
{
    const skl_order_body_t *o = &r->order;
    const skl_user_row_t *user;

    if (o->user >= t->shm->shards * t->shm->users || !user_count_fits(r)) {
        return 0;
    }
    user = &t->users[o->user];
    return SKL_LD(user->item) == r->item &&
           o->user_ids == SKL_LD(user->ids) + (uint32_t)more &&
           o->user_count == SKL_LD(user->count) + units;
}

/* `slot` is the next free one of its shard. */
static int new_user_follows(const skl_tables_t *t, const skl_record_t *r,
                            const skl_rec_keys_t *keys, uint32_t slot)
{
    const skl_order_body_t *o = &r->order;
    const skl_hash_t key =
        skl_user_key(keys->user, SKL_LD(t->items[r->item].born));

    return o->user_shard < t->shm->shards &&
           o->user_shard == skl_shard_of(t, key) && o->user != SKL_NONE &&
           o->user == slot && o->user_ids == 1 && o->user_count == o->qty;
}

/* ---- Reservations -------------------------------------------------------- */

/* The state of a new reservation and what goes with it. */
static int terms_fit(const skl_record_t *r)
{
    const skl_order_body_t *o = &r->order;

    if (o->qty < 1 || o->qty > SECKILL_COUNT_MAX || !skl_time_ok(o->deadline)) {
        return 0;
    }
    if (r->flags & SKL_FLAG_LISTED) {
        return o->state == SECKILL_STATE_RESERVED && o->deadline != 0 &&
               o->hold_list < SKL_HOLD_LISTS;
    }
    return o->state == SECKILL_STATE_CONFIRMED && o->deadline == 0 &&
           o->hold_list < SKL_HOLD_LISTS;
}

/* Behind the last hold of its list. */
static int deadline_follows(const skl_tables_t *t, const skl_record_t *r)
{
    const skl_hold_list_t *list = &t->items[r->item].lists[r->order.hold_list];
    const uint32_t tail = SKL_LD(list->tail);

    return (r->flags & SKL_FLAG_LISTED) == 0 || tail == SKL_NONE ||
           t->rows[tail].deadline <= r->order.deadline;
}

/* Its units are reserved, or sold at once. */
static moved_t moved_by_new(const skl_record_t *r)
{
    const int listed = (r->flags & SKL_FLAG_LISTED) != 0;

    return (moved_t){.reserved = listed ? r->order.qty : 0,
                     .sold = listed ? 0 : r->order.qty};
}

int skl_new_row_follows(const skl_tables_t *t, const skl_record_t *r,
                        const skl_rec_keys_t *keys, uint32_t row, uint32_t user)
{
    const int fresh = (r->flags & SKL_FLAG_USER) != 0;

    return (r->flags & ~(SKL_FLAG_LISTED | SKL_FLAG_USER)) == 0 &&
           r->user_len >= 1 && is_alive(state_of(t, r)) && terms_fit(r) &&
           r->order.row != SKL_NONE && r->order.row == row &&
           SKL_LD(t->rows[row].lsn) == 0 && deadline_follows(t, r) &&
           (fresh ? new_user_follows(t, r, keys, user)
                  : user_follows(t, r, 1, r->order.qty)) &&
           units_follow(t, r, moved_by_new(r)) &&
           rows_of_item_fit(t, r, 1, fresh);
}

/* Holds are of the item's length, in its list. */
static int hold_follows(const skl_tables_t *t, const skl_record_t *r)
{
    const skl_item_row_t *item = &t->items[r->item];
    const int64_t hold_ns = SKL_LD(item->hold_ns);

    if ((r->flags & SKL_FLAG_LISTED) == 0) {
        return hold_ns == 0;
    }
    return hold_ns != 0 && r->order.hold_list == SKL_LD(item->hold_list) &&
           r->order.deadline <= r->time + hold_ns;
}

static int reserve_follows(const skl_tables_t *t, const skl_record_t *r,
                           const skl_rec_keys_t *keys)
{
    const int fresh = (r->flags & SKL_FLAG_USER) != 0;
    const skl_order_body_t *o = &r->order;

    if (r->parts !=
            (SKL_PART_REQUEST | SKL_PART_ITEM | (fresh ? SKL_PART_USER : 0U)) ||
        !skl_new_id_follows(t, r, keys) || o->user_shard >= t->shm->shards ||
        !hold_follows(t, r) || o->arg != (uint64_t)o->qty) {
        return 0;
    }
    return skl_new_row_follows(t, r, keys,
                               SKL_LD(t->shards[o->request_shard].row_free),
                               SKL_LD(t->shards[o->user_shard].user_free));
}

/* The row that the record names is that reservation. */
static int is_its_row(const skl_tables_t *t, const skl_record_t *r)
{
    const skl_order_body_t *o = &r->order;
    const skl_row_t *row;

    if (o->row >= t->shm->shards * t->shm->rows) {
        return 0;
    }
    row = &t->rows[o->row];
    return o->row_lsn != 0 && SKL_LD(row->lsn) == o->row_lsn &&
           SKL_LD(row->item) == r->item && row->user == o->user;
}

/* Which state a record leads to, and from which one it may come. Only a
 * confirm may take fewer units, and only what is due expires. */
static int step_follows(const skl_record_t *r, const skl_row_t *row)
{
    static const uint8_t to[SKL_REC_TYPES] = {
        [SKL_REC_CONFIRM] = SECKILL_STATE_CONFIRMED,
        [SKL_REC_CANCEL] = SECKILL_STATE_CANCELLED,
        [SKL_REC_EXPIRE] = SECKILL_STATE_EXPIRED,
        [SKL_REC_REFUND] = SECKILL_STATE_REFUNDED};
    uint8_t from = SECKILL_STATE_RESERVED, flags = SKL_FLAG_LISTED;

    skl_assert(r->type < SKL_REC_TYPES);
    if (r->type == SKL_REC_REFUND) {
        from = SECKILL_STATE_CONFIRMED;
        flags = 0;
    } else if (r->type == SKL_REC_CONFIRM && (r->flags & SKL_FLAG_AGAIN)) {
        from = SECKILL_STATE_EXPIRED;
        flags = SKL_FLAG_AGAIN;
    }
    return r->order.state == to[r->type] && row->state == from &&
           r->flags == flags && r->order.qty >= 1 &&
           (r->type != SKL_REC_EXPIRE || row->deadline <= r->time) &&
           (r->type == SKL_REC_CONFIRM ? r->order.qty <= row->qty
                                       : r->order.qty == row->qty);
}

/* What moves in the item when a reservation of `qty` units takes this step. */
static moved_t moved_by_step(const skl_record_t *r, int64_t qty)
{
    moved_t by = {0};

    if (r->flags & SKL_FLAG_LISTED) {
        by.reserved = -qty;
    }
    if (r->type == SKL_REC_CONFIRM) {
        by.sold = r->order.qty;
    } else if (r->type == SKL_REC_REFUND) {
        by.sold = -qty;
    }
    return by;
}

int skl_row_step_follows(const skl_tables_t *t, const skl_record_t *r, int live)
{
    const skl_row_t *row = &t->rows[r->order.row];
    moved_t by;

    if (!is_its_row(t, r) || !step_follows(r, row)) {
        return 0;
    }
    by = moved_by_step(r, row->qty);
    return units_follow(t, r, by) && rows_of_item_fit(t, r, live, 0) &&
           user_follows(t, r, 0, by.reserved + by.sold) &&
           ((r->flags & SKL_FLAG_AGAIN) == 0 || is_alive(state_of(t, r)));
}

static int settle_follows(const skl_tables_t *t, const skl_record_t *r,
                          const skl_rec_keys_t *keys)
{
    const int refund = r->type == SKL_REC_REFUND;
    const skl_row_t *row;

    if (r->parts != (SKL_PART_ITEM | (refund ? SKL_PART_REQUEST : 0U)) ||
        !skl_row_step_follows(t, r, refund)) {
        return 0;
    }
    row = &t->rows[r->order.row];
    /* A line of an order may only expire alone. */
    if (SKL_LD(row->line) != 0 && r->type != SKL_REC_EXPIRE) {
        return 0;
    }
    return refund ? r->order.arg == r->order.row_lsn &&
                        skl_new_id_follows(t, r, keys)
                  : r->order.request == row->request;
}

static int adjust_follows(const skl_tables_t *t, const skl_record_t *r,
                          const skl_rec_keys_t *keys)
{
    return has_parts(r, SKL_PART_REQUEST | SKL_PART_ITEM, 0) &&
           is_alive(state_of(t, r)) && r->order.row == SKL_NONE &&
           r->order.user == SKL_NONE && rows_of_item_fit(t, r, 1, 0) &&
           units_stay(t, r) && skl_new_id_follows(t, r, keys);
}

/* ---- Retiring ------------------------------------------------------------ */

static int is_last_id(const skl_tables_t *t, const skl_record_t *r)
{
    const skl_user_row_t *user = &t->users[r->order.user];

    return r->order.user_shard == r->order.user / t->shm->users &&
           r->order.user_ids == 0 && SKL_LD(user->count) == 0;
}

int skl_row_end_follows(const skl_tables_t *t, const skl_record_t *r)
{
    const int last = (r->flags & SKL_FLAG_USER) != 0;
    const skl_order_body_t *o = &r->order;

    return (r->flags & ~(SKL_FLAG_ROW | SKL_FLAG_USER)) == 0 &&
           is_its_row(t, r) && t->rows[o->row].request == o->request &&
           t->rows[o->row].state != SECKILL_STATE_RESERVED &&
           user_follows(t, r, -1, 0) && (!last || is_last_id(t, r)) &&
           units_stay(t, r) && rows_of_item_fit(t, r, -1, last ? -1 : 0);
}

static int retire_follows(const skl_tables_t *t, const skl_record_t *r)
{
    if (!skl_end_of_id_follows(t, r)) {
        return 0;
    }
    if (r->order.row != SKL_NONE) {
        return (r->flags & SKL_FLAG_ROW) != 0 &&
               r->parts == (SKL_PART_REQUEST | SKL_PART_ITEM |
                            (r->flags & SKL_FLAG_USER ? SKL_PART_USER : 0U)) &&
               skl_row_end_follows(t, r);
    }
    return has_parts(r, SKL_PART_REQUEST | SKL_PART_ITEM, 0) &&
           units_stay(t, r) && rows_of_item_fit(t, r, -1, 0);
}

static int retire_user_follows(const skl_tables_t *t, const skl_record_t *r)
{
    const skl_order_body_t *o = &r->order;

    return has_parts(r, SKL_PART_USER | SKL_PART_ITEM, SKL_FLAG_USER) &&
           state_of(t, r) == SKL_ITEM_REMOVED &&
           o->user < t->shm->shards * t->shm->users &&
           o->user_shard == o->user / t->shm->users &&
           SKL_LD(t->users[o->user].item) == r->item &&
           SKL_LD(t->users[o->user].ids) == 0 && units_stay(t, r) &&
           rows_of_item_fit(t, r, 0, -1);
}

/* ---- By type ------------------------------------------------------------- */

int skl_record_follows(const skl_tables_t *t, const skl_record_t *r,
                       const skl_rec_keys_t *keys)
{
    if (!skl_apply_fits(t, r) || !strings_fit(r) || !skl_time_ok(r->time)) {
        return 0;
    }
    skl_assert(keys != NULL || !skl_record_has_keys(r));
    if (skl_rec_is_order(r)) {
        return skl_order_follows(t, r, keys);
    }
    if (!counters_fit(t, r)) {
        return 0;
    }
    switch (r->type) {
    case SKL_REC_PUT:
        return put_follows(t, r);
    case SKL_REC_REMOVE:
    case SKL_REC_PAUSE:
    case SKL_REC_RESUME:
    case SKL_REC_RETIRE_ITEM:
        return state_follows(t, r);
    case SKL_REC_RESERVE:
        return reserve_follows(t, r, keys);
    case SKL_REC_CONFIRM:
    case SKL_REC_CANCEL:
    case SKL_REC_EXPIRE:
    case SKL_REC_REFUND:
        return settle_follows(t, r, keys);
    case SKL_REC_ADJUST:
        return adjust_follows(t, r, keys);
    case SKL_REC_RETIRE:
        return retire_follows(t, r);
    case SKL_REC_RETIRE_USER:
        return retire_user_follows(t, r);
    default:
        return 0;
    }
}
