/*
 * Items: put, get, items, remove, adjust, pause, resume. Any thread.
 */
#include "base/assert.h"
#include "stock/lookup.h"
#include "stock/ranges.h"
#include "stock/retire.h"
#include "stock/settle.h"

#include <string.h>

enum { READ_TRIES = 32, EXPIRE_CHUNK = 64, ROUNDS = 64, AGAIN = 1 };

static int check_name(skl_bytes_t item)
{
    return item.ptr != NULL && item.len >= 1 && item.len <= SECKILL_ID_MAX
               ? SECKILL_OK
               : SECKILL_EBADITEM;
}

static int alive(const skl_item_row_t *item)
{
    const uint32_t state = SKL_LD(item->state);

    skl_assert(item != NULL);
    return state == SECKILL_ITEM_OPEN || state == SECKILL_ITEM_PAUSED;
}

/* Find an item and lock it; AGAIN: it went between the two. */
static int hold_by_name(skl_held_t *h, skl_hash_t key, uint32_t *slot)
{
    const skl_item_row_t *item;
    int rc = skl_lookup_item(h->s, key, slot, &h->wait);

    skl_assert(h->count <= 1);
    rc = rc == SECKILL_OK ? skl_hold_item(h, *slot) : rc;
    if (rc != SECKILL_OK) {
        return rc;
    }
    item = &h->s->tables.items[*slot];
    if (!alive(item) || SKL_LD(item->lo) != key.lo ||
        SKL_LD(item->hi) != key.hi) {
        skl_release_last(h);
        return AGAIN;
    }
    return SECKILL_OK;
}

/* ---- Reading ------------------------------------------------------------- */

static void copy_item(const skl_item_row_t *item, seckill_item_t *out)
{
    skl_assert(item != NULL && out != NULL);
    out->struct_size = sizeof(*out);
    skl_item_name(item, out->item, &out->item_len);
    out->total = SKL_LD(item->total);
    out->per_user = SKL_LD(item->per_user);
    out->max_qty = SKL_LD(item->max_qty);
    out->hold_ns = SKL_LD(item->hold_ns);
    out->starts_at = SKL_LD(item->starts_at);
    out->ends_at = SKL_LD(item->ends_at);
    out->version = SKL_LD(item->version);
    out->available = SKL_LD(item->available);
    out->reserved = SKL_LD(item->reserved);
    out->sold = SKL_LD(item->sold);
    out->lsn = SKL_LD(item->lsn);
    out->state =
        SKL_LD(item->fault) ? SECKILL_ITEM_QUARANTINED : SKL_LD(item->state);
}

/* A whole state of a slot: from between two changes, or with the lock. */
static int read_item(skl_stock_t *s, uint32_t slot, seckill_item_t *out)
{
    skl_item_row_t *item = &s->tables.items[slot];
    skl_held_t h = {.s = s};
    int rc;

    skl_assert(slot < s->tables.shm->items);
    for (int i = 0; i < READ_TRIES; i++) {
        uint64_t before = skl_seq_read(&item->seq);

        copy_item(item, out);
        if (skl_seq_same(&item->seq, before)) {
            return SECKILL_OK;
        }
    }
    rc = skl_hold_item_any(&h, slot);
    if (rc == SECKILL_OK) {
        copy_item(item, out);
    }
    skl_release(&h);
    return rc;
}

static int is_alive(const seckill_item_t *i)
{
    return i->state >= SECKILL_ITEM_OPEN &&
           i->state <= SECKILL_ITEM_QUARANTINED;
}

int skl_stock_get(skl_stock_t *s, skl_bytes_t item, seckill_item_t *out)
{
    skl_wait_t wait = {0};
    skl_hash_t key;
    uint32_t slot;
    int rc = check_name(item);

    if (rc != SECKILL_OK) {
        return rc;
    }
    key = skl_key_of(&s->tables, item.ptr, (uint32_t)item.len);
    rc = skl_lookup_item(s, key, &slot, &wait);
    rc = rc == SECKILL_OK ? read_item(s, slot, out) : rc;
    /* The slot may have been given to another item since the lookup. */
    if (rc == SECKILL_OK && (!is_alive(out) || out->item_len != item.len ||
                             memcmp(out->item, item.ptr, item.len) != 0)) {
        rc = SECKILL_EUNKNOWNITEM;
    }
    return rc;
}

int skl_stock_next(skl_stock_t *s, uint32_t *cursor, seckill_item_t *out)
{
    const uint32_t end = SKL_LD(s->tables.shm->high_water);

    while (*cursor < end) {
        uint32_t slot = (*cursor)++;
        int rc = read_item(s, slot, out);

        if (rc != SECKILL_OK) {
            return rc;
        }
        if (is_alive(out)) {
            return SECKILL_OK;
        }
    }
    return SECKILL_ENOTFOUND;
}

/* ---- Put ----------------------------------------------------------------- */

static int check_put(const skl_stock_t *s, const seckill_item_t *i)
{
    const skl_bytes_t name = {i->item, i->item_len};

    if (check_name(name) != SECKILL_OK) {
        return SECKILL_EBADITEM;
    }
    if (i->total != -1 && !skl_count_ok(i->total)) {
        return SECKILL_EBADTOTAL;
    }
    if (!skl_count_ok(i->per_user) || !skl_count_ok(i->max_qty)) {
        return SECKILL_EBADQTY;
    }
    if (i->hold_ns < 0 || i->hold_ns > s->window_ns / 2) {
        return SECKILL_EBADHOLD;
    }
    if (!skl_time_ok(i->starts_at) || !skl_time_ok(i->ends_at) ||
        (i->ends_at != 0 && i->ends_at <= i->starts_at)) {
        return SECKILL_EBADTIME;
    }
    return i->version >= 1 && i->version <= SECKILL_COUNT_MAX
               ? SECKILL_OK
               : SECKILL_EBADVERSION;
}

static int same_config(const skl_item_row_t *row, const seckill_item_t *i)
{
    return SKL_LD(row->put_total) == i->total &&
           SKL_LD(row->per_user) == i->per_user &&
           SKL_LD(row->max_qty) == i->max_qty &&
           SKL_LD(row->hold_ns) == i->hold_ns &&
           SKL_LD(row->starts_at) == i->starts_at &&
           SKL_LD(row->ends_at) == i->ends_at;
}

static void fill_config(skl_record_t *r, const seckill_item_t *i,
                        uint32_t hold_list, uint32_t state)
{
    r->config.per_user = i->per_user;
    r->config.max_qty = i->max_qty;
    r->config.hold_ns = i->hold_ns;
    r->config.starts_at = i->starts_at;
    r->config.ends_at = i->ends_at;
    r->config.version = i->version;
    r->config.put_total = i->total;
    r->config.hold_list = hold_list;
    r->config.state = state;
    skl_rec_strings(r, "", 0, "", 0, i->item, i->item_len);
}

/* The list for holds of this length: theirs, or an empty one; SKL_NONE when
 * eight other lengths are alive. Deadlines in a list must ascend. */
static uint32_t hold_list_for(const skl_item_row_t *row, int64_t hold_ns)
{
    uint32_t empty = SKL_NONE;

    if (hold_ns == 0) { /* sold at once: none is used */
        return SKL_LD(row->hold_list);
    }
    for (uint32_t i = 0; i < SKL_HOLD_LISTS; i++) {
        if (SKL_LD(row->lists[i].hold_ns) == hold_ns) {
            return i;
        }
        if (empty == SKL_NONE && SKL_LD(row->lists[i].head) == SKL_NONE) {
            empty = i;
        }
    }
    return empty;
}

static int put_new(skl_held_t *h, const seckill_item_t *i, int64_t now)
{
    const uint32_t slot = SKL_LD(h->s->tables.shm->free);
    skl_record_t r;
    int rc;

    skl_assert(h->count == 1);
    if (i->total == -1) {
        return SECKILL_EBADTOTAL;
    }
    if (slot == SKL_NONE) {
        return SECKILL_EFULL;
    }
    rc = skl_hold_item(h, slot);
    if (rc != SECKILL_OK) {
        return rc;
    }
    skl_rec_begin(&r, SKL_REC_PUT, SKL_PART_CATALOG | SKL_PART_ITEM, h->s, slot,
                  now);
    r.available = i->total;
    r.reserved = r.sold = 0;
    r.item_live = r.item_users = 0;
    fill_config(&r, i, 0, SECKILL_ITEM_OPEN);
    return skl_commit(h, &r, NULL);
}

static int put_change(skl_held_t *h, uint32_t slot, const seckill_item_t *i,
                      int64_t now)
{
    const skl_item_row_t *row = &h->s->tables.items[slot];
    const uint32_t list = hold_list_for(row, i->hold_ns);
    skl_record_t r;

    if (list == SKL_NONE) {
        return SECKILL_EBUSY;
    }
    skl_assert(list < SKL_HOLD_LISTS);
    skl_rec_begin(&r, SKL_REC_PUT, SKL_PART_ITEM, h->s, slot, now);
    if (i->total != -1) {
        r.available = i->total - r.reserved - r.sold;
        if (r.available < 0) {
            return SECKILL_EBELOWSOLD;
        }
    }
    fill_config(&r, i, list, SKL_LD(row->state));
    return skl_commit(h, &r, NULL);
}

static int put_existing(skl_held_t *h, uint32_t slot, const seckill_item_t *i,
                        int64_t now)
{
    const skl_item_row_t *row = &h->s->tables.items[slot];
    const int64_t version = SKL_LD(row->version);
    int rc;

    skl_assert(h->count >= 1 && slot < h->s->tables.shm->items);
    if (i->version < version) {
        return SECKILL_ESTALE;
    }
    if (i->version == version) {
        return same_config(row, i) ? SECKILL_OK : SECKILL_ECONFLICT;
    }
    now = skl_item_now(row, now);
    rc = skl_expire_due(h, slot, now, EXPIRE_CHUNK);
    if (rc < 0) {
        return rc;
    }
    /* More of them are due: let others have the lock, then go on. */
    return rc == EXPIRE_CHUNK ? AGAIN : put_change(h, slot, i, now);
}

static int put_once(skl_stock_t *s, const seckill_item_t *i, skl_hash_t key,
                    int64_t now, skl_wait_t *wait)
{
    skl_held_t h = {.s = s, .wait = *wait};
    uint32_t slot;
    int rc = hold_by_name(&h, key, &slot);

    if (rc == SECKILL_OK) {
        rc = put_existing(&h, slot, i, now);
    } else if (rc == SECKILL_EUNKNOWNITEM) {
        rc = skl_hold_catalog(&h);
        if (rc == SECKILL_OK) {
            rc = skl_find_item(&s->tables, key) == SKL_NONE
                     ? put_new(&h, i, now)
                     : AGAIN; /* somebody made it meanwhile */
        }
    }
    skl_release(&h);
    *wait = h.wait;
    return rc;
}

int skl_stock_put(skl_stock_t *s, const seckill_item_t *item, int64_t now)
{
    skl_wait_t wait = {0};
    skl_hash_t key;
    int rc = check_put(s, item);

    if (rc != SECKILL_OK) {
        return rc;
    }
    key = skl_key_of(&s->tables, item->item, item->item_len);
    for (int i = 0; i < ROUNDS; i++) {
        rc = put_once(s, item, key, now, &wait);
        if (rc != AGAIN) {
            return rc;
        }
    }
    return SECKILL_EBUSY;
}

/* ---- Pause, resume, remove ----------------------------------------------- */

static int commit_state(skl_held_t *h, uint32_t slot, int type, uint32_t parts,
                        uint32_t state, int64_t now)
{
    const skl_item_row_t *row = &h->s->tables.items[slot];
    char name[SECKILL_ID_MAX];
    uint32_t len;
    skl_record_t r;

    skl_assert(h->count >= 1 && slot < h->s->tables.shm->items);
    skl_rec_begin(&r, type, parts, h->s, slot, skl_item_now(row, now));
    r.config.state = state;
    skl_item_name(row, name, &len);
    skl_rec_strings(&r, "", 0, "", 0, name, len);
    return skl_commit(h, &r, NULL);
}

int skl_stock_pause(skl_stock_t *s, skl_bytes_t item, int pause, int64_t now)
{
    const uint32_t state = pause ? SECKILL_ITEM_PAUSED : SECKILL_ITEM_OPEN;
    skl_held_t h = {.s = s};
    uint32_t slot;
    int rc = check_name(item);

    if (rc != SECKILL_OK) {
        return rc;
    }
    rc = hold_by_name(&h, skl_key_of(&s->tables, item.ptr, (uint32_t)item.len),
                      &slot);
    if (rc == SECKILL_OK && SKL_LD(s->tables.items[slot].state) != state) {
        rc = commit_state(&h, slot, pause ? SKL_REC_PAUSE : SKL_REC_RESUME,
                          SKL_PART_ITEM, state, now);
    }
    skl_release(&h);
    return rc == AGAIN ? SECKILL_EUNKNOWNITEM : rc;
}

static int remove_held(skl_held_t *h, uint32_t slot, int64_t now)
{
    const skl_item_row_t *row = &h->s->tables.items[slot];
    int rc = skl_expire_due(h, slot, skl_item_now(row, now), EXPIRE_CHUNK);

    skl_assert(h->count == 2);
    if (rc < 0) {
        return rc;
    }
    if (rc == EXPIRE_CHUNK) {
        return AGAIN;
    }
    if (SKL_LD(row->reserved) > 0) {
        return SECKILL_EINUSE;
    }
    return commit_state(h, slot, SKL_REC_REMOVE,
                        SKL_PART_CATALOG | SKL_PART_ITEM, SKL_ITEM_REMOVED,
                        now);
}

static int remove_once(skl_stock_t *s, skl_hash_t key, int64_t now,
                       skl_wait_t *wait)
{
    skl_held_t h = {.s = s, .wait = *wait};
    uint32_t slot = SKL_NONE;
    int rc = skl_hold_catalog(&h);

    if (rc == SECKILL_OK) {
        slot = skl_find_item(&s->tables, key);
        rc = slot == SKL_NONE ? SECKILL_EUNKNOWNITEM : skl_hold_item(&h, slot);
    }
    if (rc == SECKILL_OK) {
        rc = remove_held(&h, slot, now);
    }
    skl_release(&h);
    *wait = h.wait;
    return rc;
}

int skl_stock_remove(skl_stock_t *s, skl_bytes_t item, int64_t now)
{
    skl_wait_t wait = {0};
    skl_hash_t key;
    int rc = check_name(item);

    if (rc != SECKILL_OK) {
        return rc;
    }
    key = skl_key_of(&s->tables, item.ptr, (uint32_t)item.len);
    for (int i = 0; i < ROUNDS; i++) {
        rc = remove_once(s, key, now, &wait);
        if (rc != AGAIN) {
            return rc;
        }
    }
    return SECKILL_EBUSY;
}

/* ---- Adjust -------------------------------------------------------------- */

/* What an adjust did, to tell a retry from another call with the same id. */
static uint64_t adjust_print(const skl_item_row_t *row, int64_t delta)
{
    return skl_mix64(skl_mix64(SKL_LD(row->born)) + (uint64_t)delta);
}

static int commit_adjust(skl_held_t *h, uint32_t slot, int64_t delta,
                         const skl_new_request_t *q, int64_t now)
{
    const skl_item_row_t *row = &h->s->tables.items[slot];
    const skl_rec_keys_t keys = {.request = q->key};
    char name[SECKILL_ID_MAX];
    uint32_t len;
    skl_record_t r;
    int rc;

    skl_assert(delta != 0 && h->count >= 2);
    if (SKL_LD(row->available) + delta < 0) {
        return SECKILL_EBELOWSOLD;
    }
    if (SKL_LD(row->total) + delta > SECKILL_COUNT_MAX) {
        return SECKILL_EBADQTY;
    }
    skl_rec_begin(&r, SKL_REC_ADJUST, SKL_PART_REQUEST | SKL_PART_ITEM, h->s,
                  slot, skl_item_now(row, now));
    r.available += delta;
    r.order.qty = delta;
    r.order.row = r.order.user = SKL_NONE;
    r.order.arg = adjust_print(row, delta);
    rc = skl_new_request_slot(h->s, q, &r);
    if (rc != SECKILL_OK) {
        return rc;
    }
    skl_item_name(row, name, &len);
    skl_rec_strings(&r, "", 0, q->id.ptr, (uint32_t)q->id.len, name, len);
    return skl_commit(h, &r, &keys);
}

static int adjust_held(skl_held_t *h, uint32_t slot, int64_t delta,
                       const skl_new_request_t *q, int64_t now)
{
    const skl_item_row_t *row = &h->s->tables.items[slot];
    int rc = skl_expire_due(h, slot, skl_item_now(row, now), EXPIRE_CHUNK);

    skl_assert(h->count >= 2);
    if (rc < 0 || rc == EXPIRE_CHUNK) {
        return rc < 0 ? rc : AGAIN;
    }
    return commit_adjust(h, slot, delta, q, now);
}

/* The recorded answer of an id that was used already. The slot of its item
 * stays as long as the id lives, even when the item was removed. */
static int adjust_replay(const skl_stock_t *s, uint32_t used, skl_bytes_t item,
                         int64_t delta)
{
    const skl_request_row_t *q = &s->tables.requests[used];
    const skl_item_row_t *row = &s->tables.items[q->item];

    return q->kind == SKL_REQ_ADJUST &&
                   skl_item_is(row, item.ptr, (uint32_t)item.len) &&
                   q->arg == adjust_print(row, delta)
               ? SECKILL_OK
               : SECKILL_ECONFLICT;
}

static int adjust_new(skl_held_t *h, skl_bytes_t item, int64_t delta,
                      const skl_new_request_t *q, int64_t now)
{
    uint32_t slot;
    int rc;

    if (skl_request_too_old(h->s, q, now)) {
        return SECKILL_ETOOOLD;
    }
    rc = hold_by_name(
        h, skl_key_of(&h->s->tables, item.ptr, (uint32_t)item.len), &slot);
    return rc == SECKILL_OK ? adjust_held(h, slot, delta, q, now) : rc;
}

static int adjust_once(skl_stock_t *s, skl_bytes_t item, int64_t delta,
                       const skl_new_request_t *q, int64_t now,
                       skl_wait_t *wait)
{
    skl_held_t h = {.s = s, .wait = *wait};
    uint32_t used;
    int rc = skl_hold_shard(&h, q->shard);

    if (rc == SECKILL_OK) {
        used = skl_find_request(&s->tables, q->shard, q->key);
        rc = used != SKL_NONE ? adjust_replay(s, used, item, delta)
                              : adjust_new(&h, item, delta, q, now);
    }
    skl_release(&h);
    *wait = h.wait;
    return rc;
}

int skl_stock_adjust(skl_stock_t *s, skl_bytes_t item, int64_t delta,
                     skl_bytes_t request, int64_t now)
{
    skl_wait_t wait = {0};
    skl_new_request_t q;
    int room_made = 0;
    int rc = check_name(item);

    if (rc == SECKILL_OK && (delta == 0 || delta < -SECKILL_COUNT_MAX ||
                             delta > SECKILL_COUNT_MAX)) {
        rc = SECKILL_EBADQTY;
    }
    rc = rc == SECKILL_OK ? skl_new_request(s, request, now, &q) : rc;
    if (rc != SECKILL_OK) {
        return rc;
    }
    for (int i = 0; i < ROUNDS; i++) {
        rc = adjust_once(s, item, delta, &q, now, &wait);
        if (rc == SECKILL_EFULL && !room_made) {
            room_made = skl_retire_shard(s, q.shard, now, 16, 1) > 0;
            if (!room_made) {
                return rc;
            }
        } else if (rc != AGAIN) {
            return rc;
        }
    }
    return SECKILL_EBUSY;
}
