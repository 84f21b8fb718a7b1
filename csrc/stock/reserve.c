/*
 * reserve and find.
 *
 * reserve first tries to refuse without a lock: the crowd that comes too late
 * gets its `sold_out` that way. All that the refusal rests on (the id is not
 * recorded, the item's counters, the user's count) is read under sequences
 * which are checked together at the end, so it was true at one instant. A
 * known id, a hold that is due, or a change in progress: with locks.
 *
 * Any thread.
 */
#include "base/assert.h"
#include "stock/lines.h"
#include "stock/lookup.h"
#include "stock/retire.h"
#include "stock/settle.h"

#include <string.h>

enum {
    AGAIN = 1,      /* something changed between two locks: from the start */
    RETRY_FULL = 2, /* full, but ids may be retired */
    RETRY_IDS = 3,  /* the user has too many ids, of which some may be */
    ROUNDS = 64,
    EXPIRE_CHUNK = 64 /* holds ended under one lock, then others get a turn */
};

/* One call of reserve. */
typedef struct {
    skl_stock_t *s;
    skl_bytes_t item, user;
    skl_new_request_t q;
    skl_hash_t item_key, user_hash;
    int64_t qty, now;
    seckill_reservation_t *out;
} call_t;

/* What the locked part found. */
typedef struct {
    uint32_t item, user, user_shard;
    uint64_t born;
    skl_hash_t user_key;
} place_t;

static int check_args(const call_t *c, skl_bytes_t request)
{
    if (c->item.ptr == NULL || c->item.len < 1 ||
        c->item.len > SECKILL_ID_MAX) {
        return SECKILL_EBADITEM;
    }
    if (c->user.ptr == NULL || c->user.len < 1 ||
        c->user.len > SECKILL_ID_MAX) {
        return SECKILL_EBADUSER;
    }
    if (c->qty < 1 || c->qty > SECKILL_COUNT_MAX) {
        return SECKILL_EBADQTY;
    }
    if (request.ptr == NULL || request.len < 1 ||
        request.len > SECKILL_ID_MAX) {
        return SECKILL_EBADREQUEST;
    }
    return SECKILL_OK;
}

/* ---- Without a lock ------------------------------------------------------ */

/* Read the view of one item and user; 0 when it may be torn or is damaged. */
static int peek_view(const call_t *c, uint32_t slot, skl_view_t *v)
{
    const skl_tables_t *t = &c->s->tables;
    skl_item_row_t *item = &t->items[slot];
    const uint64_t item_seq = skl_seq_read(&item->seq);
    skl_hash_t key = skl_user_key(c->user_hash, SKL_LD(item->born));
    const uint32_t shard = skl_shard_of(t, key);
    const uint64_t user_seq = skl_seq_read(&t->shards[shard].seq);

    skl_assert(slot < t->shm->items);
    skl_view_item(item, v);
    skl_view_user(t, skl_find_user(t, shard, key), v);
    return v->sound && skl_seq_same(&t->shards[shard].seq, user_seq) &&
           skl_seq_same(&item->seq, item_seq);
}

/* The refusal of an id that is not recorded, or AGAIN. */
static int peek_item(const call_t *c, uint32_t slot)
{
    skl_view_t v;
    int64_t now;
    int rc;

    if (skl_request_too_old(c->s, &c->q, c->now)) {
        return SECKILL_ETOOOLD;
    }
    if (slot == SKL_NONE) {
        return SECKILL_EUNKNOWNITEM;
    }
    if (!peek_view(c, slot, &v)) {
        return AGAIN;
    }
    now = c->now > v.last_time ? c->now : v.last_time;
    rc = skl_decide(&v, c->qty, now);
    if (rc == SECKILL_OK || skl_may_turn(&v, rc, now) ||
        v.user_ids >= SKL_IDS_PER_USER) {
        return AGAIN;
    }
    return rc;
}

static void fetch_chains(const call_t *c, uint32_t item)
{
    const skl_tables_t *t = &c->s->tables;
    const skl_hash_t key =
        skl_user_key(c->user_hash, SKL_LD(t->items[item].born));

    skl_fetch_chains(t, c->q.shard, c->q.key, skl_shard_of(t, key), key);
}

/* A refusal that is certain without a lock, or AGAIN: look with locks. */
static int peek(const call_t *c)
{
    const skl_tables_t *t = &c->s->tables;
    skl_shard_t *shard = &t->shards[c->q.shard];
    const uint64_t request_seq = skl_seq_read(&shard->seq);
    const uint64_t catalog_seq = skl_seq_read(&t->shm->seq);
    const uint64_t tail = skl_ring_tail(&c->s->ring);
    const uint32_t item = skl_find_item(t, c->item_key);
    int rc;

    if (item != SKL_NONE) {
        fetch_chains(c, item);
    }
#ifndef MUTANT_SOLD_OUT_BEFORE_LOOKUP
    if (skl_find_request(t, c->q.shard, c->q.key) != SKL_NONE) {
        return AGAIN;
    }
#endif
    rc = peek_item(c, item);
    if (rc == AGAIN || !skl_seq_same(&t->shm->seq, catalog_seq) ||
        !skl_seq_same(&shard->seq, request_seq)) {
        return AGAIN;
    }
    skl_set_answer_lsn(tail);
    return rc;
}

/* ---- Replay -------------------------------------------------------------- */

/* The quantity that was asked for is with the id: the row has what is left
 * after a confirm in part. */
static int same_call(const call_t *c, const skl_request_row_t *q,
                     const skl_row_t *row)
{
    return q->arg == (uint64_t)c->qty && row->user_len == c->user.len &&
           memcmp(row->user_id, c->user.ptr, c->user.len) == 0 &&
           skl_item_is(&c->s->tables.items[SKL_LD(row->item)], c->item.ptr,
                       (uint32_t)c->item.len);
}

/* The recorded reservation of a live id; its shard is held. The item is
 * locked, a hold that is due ended. */
static int recorded(skl_held_t *h, uint32_t request, int64_t now,
                    uint32_t *slot)
{
    const skl_tables_t *t = &h->s->tables;
    const skl_request_row_t *q = &t->requests[request];
    const skl_row_t *row;
    int rc;

    skl_assert(h->count == 1 || h->count == 2);
    if (q->kind != SKL_REQ_RESERVE) {
        return SECKILL_ECONFLICT;
    }
    rc = skl_hold_item(h, q->item);
    if (rc != SECKILL_OK) {
        return rc;
    }
    skl_assert(q->row != SKL_NONE);
    *slot = q->row;
    row = &t->rows[q->row];
    skl_assert(SKL_LD(row->lsn) != 0 && SKL_LD(row->item) == q->item);
    now = skl_item_now(&t->items[q->item], now);
    if (row->state == SECKILL_STATE_RESERVED && row->deadline != 0 &&
        row->deadline <= now) {
        return skl_expire_row(h, q->item, q->row, now);
    }
    return SECKILL_OK;
}

static int replay(const call_t *c, skl_held_t *h, uint32_t request)
{
    uint32_t slot = SKL_NONE;
    int rc = recorded(h, request, c->now, &slot);

    if (rc != SECKILL_OK) {
        return rc;
    }
    if (!same_call(c, &c->s->tables.requests[request],
                   &c->s->tables.rows[slot])) {
        return SECKILL_ECONFLICT;
    }
    skl_fill_answer(c->s, slot, c->out);
    c->out->replayed = 1;
    skl_count(c->s->counters, SKL_EV_replays, 1);
    return SECKILL_OK;
}

/* ---- With locks ---------------------------------------------------------- */

/* Rows that will be written are cold: these hints fetch those that stand first
 * in the free lists of a shard. Another call may take these slots first. */
static void fetch_rows(const skl_tables_t *t, uint32_t request_shard)
{
    const skl_shard_t *shard = &t->shards[request_shard];
    const uint32_t row = SKL_LD(shard->row_free);
    const uint32_t request = SKL_LD(shard->request_free);

    if (row != SKL_NONE) {
        for (size_t i = 0; i < sizeof(skl_row_t); i += 64) {
            __builtin_prefetch((const char *)&t->rows[row] + i, 1);
        }
    }
    if (request != SKL_NONE) {
        const char *q = (const char *)&t->requests[request];

        __builtin_prefetch(q, 1);
        __builtin_prefetch(q + sizeof(skl_request_row_t) - 1, 1);
    }
}

static void fetch_user_row(const skl_tables_t *t, uint32_t user_shard)
{
    const uint32_t user = SKL_LD(t->shards[user_shard].user_free);

    if (user != SKL_NONE) {
        const char *u = (const char *)&t->users[user];

        __builtin_prefetch(u, 1);
        __builtin_prefetch(u + sizeof(skl_user_row_t) - 1, 1);
    }
}

/* Slots for the new rows, into the record. */
static int take_slots(const call_t *c, const place_t *p, skl_record_t *r)
{
    const skl_tables_t *t = &c->s->tables;
    int rc = skl_new_request_slot(c->s, &c->q, r);

    skl_assert(p->item < t->shm->items);
    if (rc != SECKILL_OK) {
        return rc;
    }
    r->order.row = SKL_LD(t->shards[c->q.shard].row_free);
    r->order.user = p->user;
    r->order.user_shard = (uint16_t)p->user_shard;
    if (p->user == SKL_NONE) {
        r->order.user = SKL_LD(t->shards[p->user_shard].user_free);
        r->flags |= SKL_FLAG_USER;
        r->parts |= SKL_PART_USER;
        r->item_users += 1;
    }
    return r->order.row == SKL_NONE || r->order.user == SKL_NONE ? SECKILL_EFULL
                                                                 : SECKILL_OK;
}

/* hold = 0: sold at once; else pending until the deadline. */
static void set_terms(const call_t *c, const skl_item_row_t *item,
                      skl_record_t *r, int64_t now)
{
    const int64_t hold = SKL_LD(item->hold_ns);

    skl_assert(r->type == SKL_REC_RESERVE && c->qty >= 1);
    r->order.qty = c->qty;
    r->available -= c->qty;
    if (hold == 0) {
        r->order.state = SECKILL_STATE_CONFIRMED;
        r->sold += c->qty;
        return;
    }
    r->order.state = SECKILL_STATE_RESERVED;
    r->order.deadline = now + hold;
    r->order.hold_list = (uint8_t)SKL_LD(item->hold_list);
    r->flags |= SKL_FLAG_LISTED;
    r->reserved += c->qty;
}

static int commit_reserve(const call_t *c, skl_held_t *h, const place_t *p,
                          const skl_view_t *v, int64_t now)
{
    const skl_rec_keys_t keys = {c->q.key, c->user_hash};
    skl_record_t r;
    int rc;

    skl_assert(v->available >= c->qty && c->qty >= 1);
    skl_assert(v->user_ids < SKL_IDS_PER_USER);
    rc = skl_check_log(c->s, now);
    if (rc != SECKILL_OK) {
        return rc;
    }
    skl_rec_begin(&r, SKL_REC_RESERVE, SKL_PART_REQUEST | SKL_PART_ITEM, c->s,
                  p->item, now);
    rc = take_slots(c, p, &r);
    if (rc != SECKILL_OK) {
        return rc;
    }
    set_terms(c, &c->s->tables.items[p->item], &r, now);
    r.order.arg = (uint64_t)c->qty;
    r.order.user_count = v->user_count + c->qty;
    r.order.user_ids = (uint16_t)(v->user_ids + 1);
    skl_rec_strings(&r, c->user.ptr, (uint32_t)c->user.len, c->q.id.ptr,
                    (uint32_t)c->q.id.len, c->item.ptr, (uint32_t)c->item.len);
    rc = skl_commit(h, &r, &keys);
    if (rc == SECKILL_OK) {
        skl_fill_answer(c->s, r.order.row, c->out);
        /* For the next call of these shards: then they are there in time. */
        fetch_rows(&c->s->tables, c->q.shard);
        fetch_user_row(&c->s->tables, p->user_shard);
    }
    return rc;
}

/* Decide under the locks, ending holds that stand in the way. */
static int decide_locked(const call_t *c, skl_held_t *h, const place_t *p,
                         skl_view_t *v, int64_t *now)
{
    const skl_tables_t *t = &c->s->tables;
    const skl_item_row_t *item = &t->items[p->item];
    int rc;

    skl_assert(h->count >= 2);
    skl_view_item(item, v);
    skl_view_user(t, p->user, v);
    *now = skl_item_now(item, c->now);
    rc = skl_decide(v, c->qty, *now);
    if (skl_may_turn(v, rc, *now)) {
        int ended = skl_expire_due(h, p->item, *now, EXPIRE_CHUNK);

        return ended < 0 ? ended : AGAIN;
    }
    return rc;
}

static int reserve_item(const call_t *c, skl_held_t *h, place_t *p)
{
    const skl_item_row_t *item = &c->s->tables.items[p->item];
    skl_view_t v;
    int64_t now;
    int rc = skl_hold_item(h, p->item);

    skl_assert(p->item < c->s->tables.shm->items);
    if (rc != SECKILL_OK) {
        return rc;
    }
    if (SKL_LD(item->born) != p->born ||
        SKL_LD(item->state) == SKL_ITEM_REMOVED ||
        SKL_LD(item->state) == SKL_ITEM_FREE) {
        return AGAIN; /* removed since the lookup */
    }
    p->user = skl_find_user(&c->s->tables, p->user_shard, p->user_key);
    rc = decide_locked(c, h, p, &v, &now);
    if (rc == SECKILL_OK) {
        rc = commit_reserve(c, h, p, &v, now);
    }
    if (rc == SECKILL_EUSERLIMIT && v.user_ids >= SKL_IDS_PER_USER) {
        return RETRY_IDS;
    }
    return rc == SECKILL_EFULL ? RETRY_FULL : rc;
}

static int reserve_shards(const call_t *c, skl_held_t *h, place_t *p)
{
    uint32_t request;
    int rc = skl_hold_shards(h, c->q.shard, p->user_shard);

    if (rc != SECKILL_OK) {
        return rc;
    }
#ifdef MUTANT_SKIP_REPLAY_LOOKUP
    request = SKL_NONE;
#else
    request = skl_find_request(&c->s->tables, c->q.shard, c->q.key);
#endif
    if (request != SKL_NONE) {
        return replay(c, h, request);
    }
    if (skl_request_too_old(c->s, &c->q, c->now)) {
        return SECKILL_ETOOOLD;
    }
    return p->item == SKL_NONE ? SECKILL_EUNKNOWNITEM : reserve_item(c, h, p);
}

/* One attempt with locks. */
static int attempt(const call_t *c, skl_wait_t *wait)
{
    skl_held_t h;
    place_t p = {.item = SKL_NONE, .user_shard = c->q.shard};
    int rc;

    skl_held_init(&h, c->s);
    h.wait = *wait;
    rc = skl_lookup_item(c->s, c->item_key, &p.item, &h.wait);
    if (rc == SECKILL_EBUSY) {
        return rc;
    }
    if (p.item != SKL_NONE) {
        p.born = SKL_LD(c->s->tables.items[p.item].born);
        p.user_key = skl_user_key(c->user_hash, p.born);
        p.user_shard = skl_shard_of(&c->s->tables, p.user_key);
    }
    rc = reserve_shards(c, &h, &p);
    skl_release(&h);
    *wait = h.wait;
    return rc;
}

static int with_locks(const call_t *c)
{
    skl_wait_t wait = {0};
    int room_made = 0;

    fetch_rows(&c->s->tables, c->q.shard);
    skl_ring_fetch_next(&c->s->ring);
    for (int i = 0; i < ROUNDS; i++) {
        int rc = attempt(c, &wait);

        if (rc == RETRY_FULL || rc == RETRY_IDS) {
            if (room_made || !skl_make_room(c->s, c->q.shard, c->now)) {
                return rc == RETRY_FULL ? SECKILL_EFULL : SECKILL_EUSERLIMIT;
            }
            room_made = 1;
        } else if (rc != AGAIN) {
            return rc;
        }
    }
    return SECKILL_EBUSY;
}

int skl_stock_reserve(skl_stock_t *s, skl_bytes_t item, skl_bytes_t user,
                      int64_t qty, skl_bytes_t request, int64_t now,
                      seckill_reservation_t *out)
{
    call_t c = {
        .s = s, .item = item, .user = user, .qty = qty, .now = now, .out = out};
    int rc = check_args(&c, request);

    rc = rc == SECKILL_OK ? skl_new_request(s, request, now, &c.q) : rc;
    if (rc != SECKILL_OK) {
        return rc;
    }
    skl_fetch_request(&s->tables, c.q.shard, c.q.key);
    skl_hash_store(&c.item_key,
                   skl_key_of(&s->tables, item.ptr, (uint32_t)item.len));
    skl_hash_store(&c.user_hash,
                   skl_key_of(&s->tables, user.ptr, (uint32_t)user.len));
    rc = peek(&c);
    return rc == AGAIN ? with_locks(&c) : rc;
}

/* ---- Find ---------------------------------------------------------------- */

int skl_stock_find(skl_stock_t *s, skl_bytes_t request, int64_t now,
                   seckill_reservation_t *out)
{
    skl_held_t h = {.s = s};
    skl_new_request_t q;
    skl_lines_t l;
    uint32_t found;
    int rc = skl_new_request(s, request, now, &q);

    rc = rc == SECKILL_OK ? skl_hold_shard(&h, q.shard) : rc;
    if (rc != SECKILL_OK) {
        return rc;
    }
    found = skl_find_request(&s->tables, q.shard, q.key);
    rc = found == SKL_NONE ? SECKILL_EUNKNOWNREQUEST
                           : skl_lines_recorded(&h, found, now, &l);
    if (rc == SECKILL_OK) {
        skl_fill_answer(s, l.row[0], out);
        out->replayed = 1;
        if (s->tables.requests[found].kind == SKL_REQ_ORDER) {
            out->lines = (uint8_t)l.count;
        }
    }
    skl_release(&h);
    return rc == SECKILL_ECONFLICT ? SECKILL_EUNKNOWNREQUEST : rc;
}
