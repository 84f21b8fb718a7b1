/* See apply.h. Threads: the caller holds the locks of the parts. */
#include "stock/apply.h"

#include "base/assert.h"

#include <string.h>

static skl_hash_t request_key(const skl_tables_t *t, const skl_record_t *r,
                              const skl_rec_keys_t *keys)
{
    return keys != NULL ? keys->request
                        : skl_key_of(t, skl_rec_request(r), r->request_len);
}

static skl_hash_t user_key(const skl_tables_t *t, const skl_record_t *r,
                           const skl_rec_keys_t *keys)
{
    skl_hash_t user =
        keys != NULL ? keys->user : skl_key_of(t, skl_rec_user(r), r->user_len);

    return skl_user_key(user, SKL_LD(t->items[r->item].born));
}

/* ---- REQUEST part: the shard of the request id --------------------------- */

static void add_request(skl_tables_t *t, const skl_record_t *r, uint32_t kind,
                        const skl_rec_keys_t *keys)
{
    const skl_order_body_t *o = &r->order;
    skl_request_row_t *row = &t->requests[o->request];

    skl_request_insert(t, o->request_shard, o->request,
                       request_key(t, r, keys));
    row->created = r->time;
    row->arg = o->arg;
    /* A refund names a reservation, but does not own its row. */
    row->row =
        kind == SKL_REQ_RESERVE || kind == SKL_REQ_ORDER ? o->row : SKL_NONE;
    row->item = r->item;
    row->kind = kind;
    skl_fifo_append(t, o->request_shard, o->fifo_pos, o->request);
}

static void apply_request(skl_tables_t *t, const skl_record_t *r,
                          const skl_rec_keys_t *keys)
{
    const skl_order_body_t *o = &r->order;
    const uint32_t wrap = 2 * t->shm->requests;

    skl_assert(o->request_shard < t->shm->shards && o->fifo_pos < wrap);
    switch (r->type) {
    case SKL_REC_RESERVE:
        skl_row_take(t, o->request_shard, o->row);
        add_request(t, r, SKL_REQ_RESERVE, keys);
        break;
    case SKL_REC_REFUND:
        add_request(t, r, SKL_REQ_REFUND, keys);
        break;
    case SKL_REC_ADJUST:
        add_request(t, r, SKL_REQ_ADJUST, keys);
        break;
    case SKL_REC_RETIRE:
        skl_request_remove(t, o->request_shard, o->request);
        if (r->flags & SKL_FLAG_ROW) {
            skl_row_give(t, o->request_shard, o->row);
        }
        SKL_ST(t->shards[o->request_shard].fifo_head, (o->fifo_pos + 1) % wrap);
        break;
    default:
        skl_assert(!"a record with a request part");
    }
}

/* ---- USER part: the shard of (item, user) -------------------------------- */

static void apply_user(skl_tables_t *t, const skl_record_t *r,
                       const skl_rec_keys_t *keys)
{
    const skl_order_body_t *o = &r->order;

    skl_assert(r->flags & SKL_FLAG_USER);
    if (r->type == SKL_REC_RESERVE) {
        skl_user_insert(t, o->user_shard, o->user, user_key(t, r, keys),
                        r->item);
    } else {
        skl_user_remove(t, o->user_shard, o->user);
    }
}

/* ---- CATALOG part -------------------------------------------------------- */

static void apply_catalog(skl_tables_t *t, const skl_record_t *r)
{
    switch (r->type) {
    case SKL_REC_PUT:
        skl_item_insert(t, r->item, skl_key_of(t, skl_rec_item(r), r->item_len),
                        skl_rec_item(r), r->item_len);
        break;
    case SKL_REC_REMOVE:
        skl_item_unlink(t, r->item);
        break;
    case SKL_REC_RETIRE_ITEM:
        skl_item_free(t, r->item);
        break;
    default:
        skl_assert(!"a record with a catalog part");
    }
}

/* ---- ITEM part ----------------------------------------------------------- */

static void set_user(skl_tables_t *t, const skl_record_t *r)
{
    skl_user_row_t *user = &t->users[r->order.user];

    skl_assert(r->order.user_count >= 0);
    skl_assert(SKL_LD(user->item) == r->item || SKL_LD(user->item) == SKL_NONE);
    SKL_ST(user->count, r->order.user_count);
    SKL_ST(user->ids, r->order.user_ids);
}

/* line: skl_line_word(), 0 for a plain reservation. */
static void fill_row(skl_tables_t *t, const skl_record_t *r, uint32_t line)
{
    const skl_order_body_t *o = &r->order;
    skl_row_t *row = &t->rows[o->row];

    SKL_ST(row->item, r->item);
    SKL_ST(row->line, line);
    row->user = o->user;
    row->request = o->request;
    row->qty = o->qty;
    row->deadline = o->deadline;
    row->created = r->time;
    row->state = o->state;
    row->hold_list = o->hold_list;
    row->user_len = r->user_len;
    row->request_len = r->request_len;
    memcpy(row->user_id, skl_rec_user(r), r->user_len);
    memcpy(row->request_id, skl_rec_request(r), r->request_len);
    /* The identity of the reservation, last: who sees it sees the item. */
    atomic_store_explicit(&row->lsn, r->lsn, memory_order_release);
}

static void item_reserve(skl_tables_t *t, skl_item_row_t *item,
                         const skl_record_t *r, uint32_t line)
{
    set_user(t, r);
    fill_row(t, r, line);
    if (r->flags & SKL_FLAG_LISTED) {
        skl_hold_insert(t, item, r->order.row);
    }
}

/* confirm, cancel, expire, refund: the reservation gets its next state. */
static void item_settle(skl_tables_t *t, skl_item_row_t *item,
                        const skl_record_t *r)
{
#ifdef MUTANT_CANCEL_KEEPS_USER_COUNT
    if (r->type != SKL_REC_CANCEL)
#endif
        set_user(t, r);
    t->rows[r->order.row].state = r->order.state;
    t->rows[r->order.row].qty = r->order.qty; /* fewer: confirmed in part */
    if (r->flags & SKL_FLAG_LISTED) {
        skl_hold_remove(t, item, r->order.row);
    }
}

/* The shard parts of this record may have been applied long before (by a
 * repair), and the slots given to others since: touch only what is ours. */
static void item_retire(skl_tables_t *t, const skl_record_t *r)
{
    uint64_t ours = r->order.row_lsn;

    if ((r->flags & SKL_FLAG_ROW) == 0) {
        return;
    }
    if ((r->flags & SKL_FLAG_USER) == 0) {
        set_user(t, r);
    }
    (void)atomic_compare_exchange_strong(&t->rows[r->order.row].lsn, &ours, 0);
}

static void new_item(skl_item_row_t *item, const skl_record_t *r)
{
    SKL_ST(item->born, r->lsn);
    for (int i = 0; i < SKL_HOLD_LISTS; i++) {
        SKL_ST(item->lists[i].head, SKL_NONE);
        SKL_ST(item->lists[i].tail, SKL_NONE);
        SKL_ST(item->lists[i].hold_ns, 0);
    }
}

static void item_put(skl_item_row_t *item, const skl_record_t *r)
{
    const skl_config_body_t *c = &r->config;

    if (r->parts & SKL_PART_CATALOG) {
        new_item(item, r);
    }
    SKL_ST(item->total, r->available + r->reserved + r->sold);
    SKL_ST(item->per_user, c->per_user);
    SKL_ST(item->max_qty, c->max_qty);
    SKL_ST(item->hold_ns, c->hold_ns);
    SKL_ST(item->starts_at, c->starts_at);
    SKL_ST(item->ends_at, c->ends_at);
    SKL_ST(item->version, c->version);
    SKL_ST(item->put_total, c->put_total);
    SKL_ST(item->hold_list, c->hold_list);
    if (c->hold_ns != 0) { /* else it may still have holds of its length */
        SKL_ST(item->lists[c->hold_list].hold_ns, c->hold_ns);
    }
    SKL_ST(item->state, c->state);
}

static void item_by_type(skl_tables_t *t, skl_item_row_t *item,
                         const skl_record_t *r, uint32_t line)
{
    switch (r->type) {
    case SKL_REC_RESERVE:
        item_reserve(t, item, r, line);
        break;
    case SKL_REC_CONFIRM:
    case SKL_REC_CANCEL:
    case SKL_REC_EXPIRE:
    case SKL_REC_REFUND:
        item_settle(t, item, r);
        break;
    case SKL_REC_RETIRE:
        item_retire(t, r);
        break;
    case SKL_REC_PUT:
        item_put(item, r);
        break;
    case SKL_REC_ADJUST:
        SKL_ST(item->total, r->available + r->reserved + r->sold);
        break;
    case SKL_REC_RETIRE_USER:
        break; /* only item->users changes */
    default:   /* remove, pause, resume, retire_item */
        SKL_ST(item->state, r->config.state);
    }
}

static void apply_item(skl_tables_t *t, const skl_record_t *r, uint32_t line)
{
    skl_item_row_t *item = &t->items[r->item];

    skl_assert(r->item < t->shm->items);
    item_by_type(t, item, r, line);
#ifdef MUTANT_DELTA_APPLY
    if (r->type == SKL_REC_RESERVE) {
        SKL_ST(item->available, SKL_LD(item->available) - r->order.qty);
    } else
#endif
        SKL_ST(item->available, r->available);
    SKL_ST(item->reserved, r->reserved);
    SKL_ST(item->sold, r->sold);
    SKL_ST(item->live, r->item_live);
    SKL_ST(item->users, r->item_users);
    SKL_ST(item->earliest, skl_hold_earliest(t, item));
    SKL_ST(item->last_time, r->time);
    SKL_ST(item->lsn, r->lsn);
    /* The promise, checked at every change (P1). */
    skl_assert(r->available >= 0 && r->reserved >= 0 && r->sold >= 0);
    skl_assert(r->available + r->reserved + r->sold == SKL_LD(item->total));
}

/* ---- Orders of several lines --------------------------------------------- */

static uint32_t line_word(const skl_record_t *r, uint32_t i)
{
    return skl_line_word(i + 1, i + 1 < r->lines.count ? r->legs[i + 1].row
                                                       : SKL_LINE_END);
}

/* What the shard must know of the lines stands before the id is live. */
static void add_order(skl_tables_t *t, const skl_record_t *r,
                      const skl_rec_keys_t *keys)
{
    for (uint32_t i = 0; i < r->lines.count; i++) {
        skl_row_t *row = &t->rows[r->legs[i].row];

        skl_assert(r->legs[i].item < t->shm->items);
        skl_row_take(t, r->lines.request_shard, r->legs[i].row);
        SKL_ST(row->item, r->legs[i].item);
        SKL_ST(row->line, line_word(r, i));
    }
    add_request(t, r, SKL_REQ_ORDER, keys);
}

static void retire_order(skl_tables_t *t, const skl_record_t *r)
{
    const uint32_t shard = r->lines.request_shard;

    skl_request_remove(t, shard, r->lines.request);
    for (uint32_t i = 0; i < r->lines.count; i++) {
#ifdef MUTANT_ORDER_GIVE_HEAD_ONLY
        skl_row_give(t, shard, r->legs[i].row);
#else
        skl_row_give_leg(t, shard, r->legs[i].row);
#endif
    }
    SKL_ST(t->shards[shard].fifo_head,
           (r->lines.fifo_pos + 1) % (2 * t->shm->requests));
}

static void order_request(skl_tables_t *t, const skl_record_t *r,
                          const skl_rec_keys_t *keys)
{
    skl_assert(r->lines.request_shard < t->shm->shards);
    skl_assert(r->lines.fifo_pos < 2 * t->shm->requests);
    switch (r->type) {
    case SKL_REC_ORDER:
        add_order(t, r, keys);
        break;
    case SKL_REC_ORDER_REFUND:
        add_request(t, r, SKL_REQ_REFUND, keys);
        break;
    case SKL_REC_ORDER_RETIRE:
        retire_order(t, r);
        break;
    default:
        skl_assert(!"an order's record with a request part");
    }
}

void skl_leg_record(const skl_record_t *r, uint32_t i, skl_record_t *one)
{
    static const uint8_t types[] = {SKL_REC_RESERVE, SKL_REC_CONFIRM,
                                    SKL_REC_CANCEL, SKL_REC_REFUND,
                                    SKL_REC_RETIRE};
    const skl_leg_t *leg = &r->legs[i];

    skl_assert(i < r->lines.count && r->lines.count <= SKL_LINES_MAX);
    skl_assert(r->user_len <= 64 && r->request_len <= 64);
    memcpy(one, r, SKL_UNIT);
    one->type = types[r->type - SKL_REC_ORDER];
    one->flags = leg->flags;
    one->item = leg->item;
    one->item_live = leg->item_live;
    one->item_users = leg->item_users;
    one->item_len = 0;
    one->available = leg->available;
    one->reserved = leg->reserved;
    one->sold = leg->sold;
    one->order.row = leg->row;
    one->order.user = leg->user;
    one->order.user_shard = leg->user_shard;
    one->order.user_ids = leg->user_ids;
    one->order.hold_list = leg->hold_list;
    one->order.qty = leg->qty;
    one->order.user_count = leg->user_count;
    memcpy(one->strings, skl_rec_user(r), (size_t)r->user_len + r->request_len);
}

static void leg_user(skl_tables_t *t, const skl_record_t *one,
                     const skl_rec_keys_t *keys)
{
    const skl_order_body_t *o = &one->order;

    if (one->type == SKL_REC_RESERVE) {
        skl_user_insert_leg(t, o->user_shard, o->user, user_key(t, one, keys),
                            one->item);
    } else {
        skl_user_remove_leg(t, o->user_shard, o->user);
    }
}

static void apply_leg(skl_tables_t *t, const skl_record_t *r, uint32_t i,
                      uint32_t parts, const skl_rec_keys_t *keys)
{
    skl_record_t one;

    skl_leg_record(r, i, &one);
    if (parts & SKL_PART_USER_LEG(i)) {
        leg_user(t, &one, keys);
    }
    if (parts & SKL_PART_ITEM_LEG(i)) {
        if (r->type == SKL_REC_ORDER && (one.flags & SKL_FLAG_LISTED)) {
            skl_item_row_t *item = &t->items[one.item];

            SKL_ST(item->lists[one.order.hold_list].hold_ns, r->lines.hold_ns);
        }
        apply_item(t, &one, line_word(r, i));
    }
}

static void apply_order(skl_tables_t *t, const skl_record_t *r, uint32_t parts,
                        const skl_rec_keys_t *keys)
{
    if (parts & SKL_PART_REQUEST) {
        order_request(t, r, keys);
    }
    for (uint32_t i = 0; i < r->lines.count; i++) {
        if (parts & (SKL_PART_USER_LEG(i) | SKL_PART_ITEM_LEG(i))) {
            apply_leg(t, r, i, parts, keys);
        }
    }
}

void skl_apply(skl_tables_t *t, const skl_record_t *r, uint32_t parts,
               const skl_rec_keys_t *keys)
{
    if (skl_rec_is_order(r)) {
        apply_order(t, r, skl_rec_leg_parts(r, parts), keys);
        return;
    }
    parts &= r->parts;
    if (parts & SKL_PART_CATALOG) {
        apply_catalog(t, r);
    }
    if (parts & SKL_PART_REQUEST) {
        apply_request(t, r, keys);
    }
    if (parts & SKL_PART_USER) {
        apply_user(t, r, keys);
    }
    if (parts & SKL_PART_ITEM) {
        apply_item(t, r, 0);
    }
}

int skl_apply_fits(const skl_tables_t *t, const skl_record_t *r)
{
    const skl_order_body_t *o = &r->order;
    const skl_tables_shm_t *p = t->shm;
    const int has_config =
        r->type <= SKL_REC_RESUME || r->type == SKL_REC_RETIRE_ITEM;

    if (r->item >= p->items || r->type == 0 || r->type >= SKL_REC_TYPES) {
        return 0;
    }
    if (skl_rec_is_order(r)) {
        return skl_order_fits(t, r);
    }
    if (has_config) {
        return r->config.hold_list < SKL_HOLD_LISTS;
    }
    return o->request_shard < p->shards && o->user_shard < p->shards &&
           (o->row == SKL_NONE || o->row < p->shards * p->rows) &&
           (o->user == SKL_NONE || o->user < p->shards * p->users) &&
           (o->request == SKL_NONE || o->request < p->shards * p->requests);
}
