/*
 * An order of several lines: made as a whole or not at all.
 *
 * As reserve (reserve.c), with the locks of all lines: the shard of the id and
 * those of the user's row for each item, then the items. The first line that
 * refuses decides; nothing is looked up without locks.
 *
 * Any thread.
 */
#include "base/assert.h"
#include "stock/lines.h"
#include "stock/lookup.h"
#include "stock/settle.h"

#include <string.h>

enum {
    AGAIN = 1,      /* something changed between two locks: from the start */
    RETRY_FULL = 2, /* full, but ids may be retired */
    RETRY_IDS = 3,  /* the user has too many ids, of which some may be */
    ROUNDS = 64,
    EXPIRE_CHUNK = 64
};

typedef struct {
    skl_stock_t *s;
    skl_bytes_t user;
    const seckill_line_t *lines;
    uint32_t count;
    skl_new_request_t q;
    skl_hash_t user_hash;
    int64_t now;
    seckill_order_t *out;
    uint32_t refused; /* line, from 1; 0: the refusal is of none */
} call_t;

/* What was found of one line. */
typedef struct {
    uint32_t item; /* SKL_NONE: unknown */
    uint32_t user, user_shard;
    uint64_t born;
    skl_hash_t item_key, user_key;
    skl_view_t view;
} place_t;

/* ---- Arguments ----------------------------------------------------------- */

static int same_item(const seckill_line_t *a, const seckill_line_t *b)
{
    return a->item_len == b->item_len &&
           memcmp(a->item, b->item, a->item_len) == 0;
}

static int check_items(call_t *c)
{
    for (uint32_t i = 0; i < c->count; i++) {
        c->refused = i + 1;
        if (c->lines[i].item_len < 1 || c->lines[i].item_len > SECKILL_ID_MAX) {
            return SECKILL_EBADITEM;
        }
        for (uint32_t k = 0; k < i; k++) {
            if (same_item(&c->lines[k], &c->lines[i])) {
                return SECKILL_EBADLINES;
            }
        }
    }
    c->refused = 0;
    return SECKILL_OK;
}

static int check_args(call_t *c, skl_bytes_t request)
{
    int rc = SECKILL_EBADLINES;

    if (c->lines != NULL && c->count >= 1 && c->count <= SKL_LINES_MAX) {
        rc = check_items(c);
    }
    if (rc != SECKILL_OK) {
        return rc;
    }
    if (c->user.ptr == NULL || c->user.len < 1 ||
        c->user.len > SECKILL_ID_MAX) {
        return SECKILL_EBADUSER;
    }
    for (uint32_t i = 0; i < c->count; i++) {
        if (c->lines[i].qty < 1 || c->lines[i].qty > SECKILL_COUNT_MAX) {
            c->refused = i + 1;
            return SECKILL_EBADQTY;
        }
    }
    return request.ptr == NULL || request.len < 1 ||
                   request.len > SECKILL_ID_MAX
               ? SECKILL_EBADREQUEST
               : SECKILL_OK;
}

/* ---- Replay -------------------------------------------------------------- */

/* Quantities as they were asked for: those of the rows may be fewer now. */
static uint64_t fingerprint(const call_t *c)
{
    uint64_t print = c->count;

    for (uint32_t i = 0; i < c->count; i++) {
        print = skl_mix64(print + (uint64_t)c->lines[i].qty);
    }
    return print;
}

static int same_call(const call_t *c, const skl_request_row_t *q,
                     const skl_lines_t *l)
{
    const skl_tables_t *t = &c->s->tables;
    const skl_row_t *first = &t->rows[l->row[0]];

    if (l->count != c->count || q->arg != fingerprint(c) ||
        first->user_len != c->user.len ||
        memcmp(first->user_id, c->user.ptr, c->user.len) != 0) {
        return 0;
    }
    for (uint32_t i = 0; i < c->count; i++) {
        if (!skl_item_is(&t->items[l->item[i]], c->lines[i].item,
                         c->lines[i].item_len)) {
            return 0;
        }
    }
    return 1;
}

static int replay(const call_t *c, skl_held_t *h, uint32_t request)
{
    const skl_request_row_t *q = &c->s->tables.requests[request];
    skl_lines_t l;
    int rc;

    if (q->kind != SKL_REQ_ORDER) {
        return SECKILL_ECONFLICT;
    }
    rc = skl_lines_recorded(h, request, c->now, &l);
    if (rc != SECKILL_OK) {
        return rc;
    }
    if (!same_call(c, q, &l)) {
        return SECKILL_ECONFLICT;
    }
    skl_lines_answer(c->s, &l, c->out);
    c->out->replayed = 1;
    skl_count(c->s->counters, SKL_EV_replays, 1);
    return SECKILL_OK;
}

/* ---- The record ---------------------------------------------------------- */

/* The list for holds of this length in one item: one of them, or one that is
 * empty and not kept for the item's own holds. Deadlines of a list ascend. */
static uint32_t list_for(const skl_item_row_t *row, int64_t hold_ns)
{
    const uint32_t own =
        SKL_LD(row->hold_ns) != 0 ? SKL_LD(row->hold_list) : SKL_NONE;
    uint32_t empty = SKL_NONE;

    skl_assert(hold_ns > 0);
    for (uint32_t i = 0; i < SKL_HOLD_LISTS; i++) {
        if (SKL_LD(row->lists[i].hold_ns) == hold_ns) {
            return i;
        }
#ifdef MUTANT_ORDER_LIST_OF_OTHERS
        if (empty == SKL_NONE) {
#else
        if (empty == SKL_NONE && i != own &&
            SKL_LD(row->lists[i].head) == SKL_NONE) {
#endif
            empty = i;
        }
    }
    return empty;
}

/* The shortest hold of the items that have one. */
static int64_t shortest_hold(const call_t *c, const place_t *p)
{
    int64_t hold = 0;

    for (uint32_t i = 0; i < c->count; i++) {
        int64_t own = SKL_LD(c->s->tables.items[p[i].item].hold_ns);

        if (own != 0 && (hold == 0 || own < hold)) {
            hold = own;
        }
    }
    return hold;
}

/* The user row of line i: the one it has, or the next free one of its shard
 * that no line before takes. */
static uint32_t user_slot(const skl_tables_t *t, const place_t *p, uint32_t i)
{
    uint32_t slot = p[i].user;

    if (slot != SKL_NONE) {
        return slot;
    }
    skl_assert(p[i].user_shard < t->shm->shards);
    slot = SKL_LD(t->shards[p[i].user_shard].user_free);
    for (uint32_t k = 0; k < i && slot != SKL_NONE; k++) {
        if (p[k].user == SKL_NONE && p[k].user_shard == p[i].user_shard) {
            slot = SKL_LD(t->users[slot].next);
        }
    }
    return slot;
}

static void fill_leg(const call_t *c, skl_record_t *r, const place_t *p,
                     uint32_t i)
{
    skl_leg_t *leg = &r->legs[i];
    const int64_t qty = c->lines[i].qty;

    skl_assert(p[i].view.available >= qty && qty >= 1);
    skl_assert(p[i].view.user_ids < SKL_IDS_PER_USER);
    skl_leg_begin(leg, c->s, p[i].item);
    leg->item_live += 1;
    leg->user_shard = (uint16_t)p[i].user_shard;
    leg->user = user_slot(&c->s->tables, p, i);
    if (p[i].user == SKL_NONE) {
        leg->flags |= SKL_FLAG_USER;
        leg->item_users += 1;
        r->parts |= SKL_PART_USER;
    }
    leg->user_count = p[i].view.user_count + qty;
    leg->user_ids = (uint16_t)(p[i].view.user_ids + 1);
    leg->qty = qty;
    leg->available -= qty;
    if (r->lines.hold_ns == 0) {
        leg->sold += qty;
    } else {
        leg->reserved += qty;
        leg->flags |= SKL_FLAG_LISTED;
    }
}

/* Slots for the new rows. SECKILL_OK, EFULL, or EBUSY: no hold list. */
static int fill_legs(const call_t *c, skl_record_t *r, const place_t *p)
{
    const skl_tables_t *t = &c->s->tables;
    uint32_t row = SKL_LD(t->shards[c->q.shard].row_free);

    for (uint32_t i = 0; i < c->count; i++) {
        fill_leg(c, r, p, i);
        r->legs[i].row = row;
        if (row == SKL_NONE || r->legs[i].user == SKL_NONE) {
            return SECKILL_EFULL;
        }
        row = t->rows[row].next_free;
    }
    for (uint32_t i = 0; i < c->count && r->lines.hold_ns != 0; i++) {
        uint32_t list = list_for(&t->items[p[i].item], r->lines.hold_ns);

        if (list == SKL_NONE) {
            return SECKILL_EBUSY;
        }
        r->legs[i].hold_list = (uint8_t)list;
    }
    return SECKILL_OK;
}

static void fill_strings(const call_t *c, skl_record_t *r)
{
    char names[SKL_LINES_MAX][SECKILL_ID_MAX];
    uint32_t lens[SKL_LINES_MAX];

    for (uint32_t i = 0; i < c->count; i++) {
        lens[i] = c->lines[i].item_len;
        memcpy(names[i], c->lines[i].item, lens[i]);
    }
    skl_rec_order_strings(r, c->user.ptr, (uint32_t)c->user.len, c->q.id.ptr,
                          (uint32_t)c->q.id.len,
                          (const char(*)[SECKILL_ID_MAX])names, lens);
}

static int build(const call_t *c, skl_record_t *r, const place_t *p,
                 int64_t now)
{
    int rc;

    memset(r, 0, SKL_UNIT);
    r->type = SKL_REC_ORDER;
    r->parts = SKL_PART_REQUEST | SKL_PART_ITEM;
    r->time = now;
    r->item = p[0].item;
    rc = skl_new_request_slot(c->s, &c->q, r);
    if (rc != SECKILL_OK) {
        return rc;
    }
    r->item_live = 0; /* it stands in the legs */
    r->lines.count = c->count;
    r->lines.arg = fingerprint(c);
    r->lines.hold_ns = shortest_hold(c, p);
    r->lines.state = SECKILL_STATE_CONFIRMED;
    if (r->lines.hold_ns != 0) {
        r->lines.state = SECKILL_STATE_RESERVED;
        r->lines.deadline = now + r->lines.hold_ns;
    }
    rc = fill_legs(c, r, p);
    if (rc == SECKILL_OK) {
        r->lines.row = r->legs[0].row;
        fill_strings(c, r);
    }
    return rc;
}

static int commit_order(const call_t *c, skl_held_t *h, const place_t *p,
                        int64_t now)
{
    const skl_rec_keys_t keys = {c->q.key, c->user_hash};
    skl_lines_t l = {.count = c->count};
    skl_record_t r;
    int rc = skl_check_log(c->s, now);

    skl_assert(h->count >= 2); /* the id's shard and an item at least */
    rc = rc == SECKILL_OK ? build(c, &r, p, now) : rc;
    rc = rc == SECKILL_OK ? skl_commit(h, &r, &keys) : rc;
    if (rc != SECKILL_OK) {
        return rc;
    }
    for (uint32_t i = 0; i < c->count; i++) {
        l.row[i] = r.legs[i].row;
        l.item[i] = r.legs[i].item;
    }
    skl_lines_answer(c->s, &l, c->out);
    return SECKILL_OK;
}

/* ---- With locks ---------------------------------------------------------- */

/* The first refusal of a line, with its number; holds in the way are ended. */
static int decide_line(call_t *c, skl_held_t *h, place_t *p, uint32_t i,
                       int64_t now)
{
    const int64_t qty = c->lines[i].qty;
    int rc;

    c->refused = i + 1;
    if (p->item == SKL_NONE) {
        return SECKILL_EUNKNOWNITEM;
    }
    p->user = skl_find_user(&c->s->tables, p->user_shard, p->user_key);
    skl_view_item(&c->s->tables.items[p->item], &p->view);
    skl_view_user(&c->s->tables, p->user, &p->view);
    rc = skl_decide(&p->view, qty, now);
    if (skl_may_turn(&p->view, rc, now)) {
        int ended = skl_expire_due(h, p->item, now, EXPIRE_CHUNK);

        return ended < 0 ? ended : AGAIN;
    }
    if (rc == SECKILL_EUSERLIMIT && p->view.user_ids >= SKL_IDS_PER_USER) {
        return RETRY_IDS;
    }
    return rc;
}

/* Nothing has changed since the lookup, and no two lines met in one slot. */
static int still_there(const call_t *c, const place_t *p)
{
    for (uint32_t i = 0; i < c->count; i++) {
        const skl_item_row_t *item;
        uint32_t state;

        if (p[i].item == SKL_NONE) {
            continue;
        }
        item = &c->s->tables.items[p[i].item];
        state = SKL_LD(item->state);
        if (SKL_LD(item->born) != p[i].born ||
            SKL_LD(item->lo) != p[i].item_key.lo ||
            SKL_LD(item->hi) != p[i].item_key.hi || state == SKL_ITEM_REMOVED ||
            state == SKL_ITEM_FREE) {
            return 0;
        }
    }
    return 1;
}

static int order_items(call_t *c, skl_held_t *h, place_t *p)
{
    uint32_t items[SKL_LINES_MAX];
    int64_t now = c->now;
    int rc;

    for (uint32_t i = 0; i < c->count; i++) {
        items[i] = p[i].item; /* SKL_NONE is passed over */
    }
    rc = skl_hold_item_list(h, items, c->count);
    if (rc != SECKILL_OK) {
        return rc;
    }
    if (!still_there(c, p)) {
        return AGAIN;
    }
    for (uint32_t i = 0; i < c->count; i++) {
        if (p[i].item != SKL_NONE) {
            now = skl_item_now(&c->s->tables.items[p[i].item], now);
        }
    }
    for (uint32_t i = 0; i < c->count && rc == SECKILL_OK; i++) {
        rc = decide_line(c, h, &p[i], i, now);
    }
    if (rc != SECKILL_OK) {
        return rc;
    }
    c->refused = 0;
    rc = commit_order(c, h, p, now);
    return rc == SECKILL_EFULL ? RETRY_FULL : rc;
}

static int order_shards(call_t *c, skl_held_t *h, place_t *p)
{
    uint32_t shards[1 + SKL_LINES_MAX] = {c->q.shard};
    uint32_t n = 1, request;
    int rc;

    for (uint32_t i = 0; i < c->count; i++) {
        if (p[i].item != SKL_NONE) {
            shards[n++] = p[i].user_shard;
        }
    }
    rc = skl_hold_shard_list(h, shards, n);
    if (rc != SECKILL_OK) {
        return rc;
    }
    request = skl_find_request(&c->s->tables, c->q.shard, c->q.key);
    if (request != SKL_NONE) {
        return replay(c, h, request);
    }
    return skl_request_too_old(c->s, &c->q, c->now) ? SECKILL_ETOOOLD
                                                    : order_items(c, h, p);
}

static int look_up(const call_t *c, skl_held_t *h, place_t *p, uint32_t i)
{
    const skl_tables_t *t = &c->s->tables;
    int rc;

    p->user = SKL_NONE;
    skl_hash_store(&p->item_key,
                   skl_key_of(t, c->lines[i].item, c->lines[i].item_len));
    rc = skl_lookup_item(c->s, p->item_key, &p->item, &h->wait);
    if (rc == SECKILL_OK) {
        p->born = SKL_LD(t->items[p->item].born);
        p->user_key = skl_user_key(c->user_hash, p->born);
        p->user_shard = skl_shard_of(t, p->user_key);
    }
    return rc == SECKILL_EUNKNOWNITEM ? SECKILL_OK : rc;
}

static int attempt(call_t *c, skl_wait_t *wait)
{
    skl_held_t h = {.s = c->s, .wait = *wait};
    place_t p[SKL_LINES_MAX];
    int rc = SECKILL_OK;

    c->refused = 0;
    for (uint32_t i = 0; i < c->count && rc == SECKILL_OK; i++) {
        rc = look_up(c, &h, &p[i], i);
    }
    if (rc == SECKILL_OK) {
        rc = order_shards(c, &h, p);
    }
    skl_release(&h);
    *wait = h.wait;
    return rc;
}

static int with_locks(call_t *c)
{
    skl_wait_t wait = {0};
    int room_made = 0;

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

int skl_stock_order(skl_stock_t *s, skl_bytes_t user, skl_bytes_t request,
                    const seckill_line_t *lines, size_t count, int64_t now,
                    seckill_order_t *out, uint32_t *line)
{
    call_t c = {.s = s, .user = user, .lines = lines, .now = now, .out = out};
    int rc;

    c.count = count > SKL_LINES_MAX ? SKL_LINES_MAX + 1 : (uint32_t)count;
    rc = check_args(&c, request);
    rc = rc == SECKILL_OK ? skl_new_request(s, request, now, &c.q) : rc;
    if (rc == SECKILL_OK) {
        skl_hash_store(&c.user_hash,
                       skl_key_of(&s->tables, user.ptr, (uint32_t)user.len));
        rc = with_locks(&c);
    }
    /* `busy` and `full` are of the whole order. */
    *line = rc == SECKILL_OK || rc == SECKILL_EBUSY ? 0 : c.refused;
    return rc;
}

/* ---- Find ---------------------------------------------------------------- */

int skl_stock_find_order(skl_stock_t *s, skl_bytes_t request, int64_t now,
                         seckill_order_t *out)
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
        skl_lines_answer(s, &l, out);
        out->replayed = 1;
    }
    skl_release(&h);
    return rc == SECKILL_ECONFLICT ? SECKILL_EUNKNOWNREQUEST : rc;
}
