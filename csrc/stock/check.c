/* See check.h. */
#include "stock/check.h"

#include "base/assert.h"
#include "stock/lines.h"
#include "stock/ranges.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* What the rows of a user or an item add up to. */
typedef struct {
    int64_t pending, sold; /* units of reservations */
    uint32_t ids, users;
} sum_t;

typedef struct {
    const skl_tables_t *t;
    uint32_t rows, users, requests; /* of all shards */
    uint8_t *seen_items, *seen_rows, *seen_users, *seen_requests;
    uint8_t *queued; /* requests in a queue */
    uint8_t *held;   /* rows in a hold list */
    uint8_t *owned;  /* rows of a live id */
    sum_t *by_item;
    sum_t *by_user;
    char *text;
    size_t size;
    int problems;
} check_t;

__attribute__((format(printf, 2, 3))) static void problem(check_t *c,
                                                          const char *format,
                                                          ...)
{
    va_list args;

    if (c->problems++ == 0 && c->size > 0) {
        va_start(args, format);
        (void)vsnprintf(c->text, c->size, format, args);
        va_end(args);
    }
}

static int is_marked(const uint8_t *marks, uint32_t i)
{
    return (marks[i / 8] >> (i % 8)) & 1;
}

/* Mark a slot: 0 when it was. */
static int mark(uint8_t *marks, uint32_t i)
{
    const int fresh = !is_marked(marks, i);

    marks[i / 8] = (uint8_t)(marks[i / 8] | 1 << (i % 8));
    return fresh;
}

/* A slot of [first, first + n) that no list had before. */
static int step(check_t *c, uint8_t *marks, uint32_t slot, uint32_t first,
                uint32_t n, const char *what)
{
    if (slot < first || slot - first >= n || !mark(marks, slot)) {
        problem(c, "%s: slot %u is out of place or in two lists", what, slot);
        return 0;
    }
    return 1;
}

/* ---- Catalog ------------------------------------------------------------- */

static int is_alive(uint32_t state)
{
    return state == SECKILL_ITEM_OPEN || state == SECKILL_ITEM_PAUSED;
}

/* The lists of an item, as far as its row says; its own holds have one of their
 * length. */
static int item_lists_ok(const skl_item_row_t *i)
{
    const int64_t hold_ns = SKL_LD(i->hold_ns);
    const uint32_t own = SKL_LD(i->hold_list);

    for (int k = 0; k < SKL_HOLD_LISTS; k++) {
        if (!skl_duration_ok(SKL_LD(i->lists[k].hold_ns))) {
            return 0;
        }
    }
    return own < SKL_HOLD_LISTS &&
           (hold_ns == 0 || SKL_LD(i->lists[own].hold_ns) == hold_ns);
}

static int item_config_ok(const skl_item_row_t *i)
{
    return skl_count_ok(SKL_LD(i->per_user)) &&
           skl_count_ok(SKL_LD(i->max_qty)) &&
           skl_duration_ok(SKL_LD(i->hold_ns)) &&
           skl_time_ok(SKL_LD(i->starts_at)) &&
           skl_time_ok(SKL_LD(i->ends_at)) &&
           skl_count_ok(SKL_LD(i->version)) &&
           skl_time_ok(SKL_LD(i->last_time)) && item_lists_ok(i);
}

static int item_counts_ok(const skl_item_row_t *i)
{
    const int64_t a = SKL_LD(i->available), b = SKL_LD(i->reserved);
    const int64_t c = SKL_LD(i->sold);

    return skl_count_ok(a) && skl_count_ok(b) && skl_count_ok(c) &&
           a + b + c == SKL_LD(i->total) && skl_count_ok(SKL_LD(i->total));
}

static int item_name_ok(const skl_tables_t *t, const skl_item_row_t *i)
{
    const uint32_t len = SKL_LD(i->name_len);
    char name[SECKILL_ID_MAX];
    uint32_t same;
    skl_hash_t key;

    if (len < 1 || len > SECKILL_ID_MAX) {
        return 0;
    }
    skl_item_name(i, name, &same);
    key = skl_key_of(t, name, len);
    return key.lo == SKL_LD(i->lo) && key.hi == SKL_LD(i->hi);
}

int skl_item_is_sane(const skl_tables_t *t, const skl_item_row_t *item)
{
    return item_config_ok(item) && item_name_ok(t, item);
}

static void check_item_row(check_t *c, uint32_t slot)
{
    const skl_item_row_t *i = &c->t->items[slot];
    const uint32_t state = SKL_LD(i->state);

    /* Not logged: an image with a quarantine was never written. */
    if (SKL_LD(i->fault) != 0) {
        problem(c, "item %u: in quarantine", slot);
    }
    if (state == SKL_ITEM_FREE) {
        return;
    }
    if (!is_alive(state) && state != SKL_ITEM_REMOVED) {
        problem(c, "item %u: state %u", slot, state);
    } else if (slot >= SKL_LD(c->t->shm->high_water)) {
        problem(c, "item %u: behind the last one used", slot);
    } else if (!skl_item_is_sane(c->t, i)) {
        problem(c, "item %u: configuration or name is broken", slot);
    } else if (!item_counts_ok(i)) {
        problem(c, "item %u: counters do not add up", slot);
    }
}

static void walk_catalog(check_t *c)
{
    const skl_tables_t *t = c->t;
    const uint32_t n = t->shm->items;
    uint32_t slot;

    for (slot = SKL_LD(t->shm->free); slot != SKL_NONE;
         slot = SKL_LD(t->items[slot].next)) {
        if (!step(c, c->seen_items, slot, 0, n, "free items")) {
            return;
        }
        if (SKL_LD(t->items[slot].state) != SKL_ITEM_FREE) {
            problem(c, "item %u: free and in use", slot);
        }
    }
    for (uint32_t i = 0; i < n; i++) {
        for (slot = SKL_LD(t->item_heads[i]); slot != SKL_NONE;
             slot = SKL_LD(t->items[slot].next)) {
            if (!step(c, c->seen_items, slot, 0, n, "catalog")) {
                return;
            }
            if (!is_alive(SKL_LD(t->items[slot].state)) ||
                skl_hash_range(SKL_LD(t->items[slot].lo), n) != i) {
                problem(c, "item %u: in a wrong chain", slot);
            }
        }
    }
}

static void check_catalog(check_t *c)
{
    const skl_tables_t *t = c->t;

    if (SKL_LD(t->shm->high_water) > t->shm->items) {
        problem(c, "more items than there is room for");
        return;
    }
    walk_catalog(c);
    for (uint32_t i = 0; i < t->shm->items; i++) {
        const uint32_t state = SKL_LD(t->items[i].state);

        check_item_row(c, i);
        /* A removed item is in neither list. */
        if (is_marked(c->seen_items, i) == (state == SKL_ITEM_REMOVED)) {
            problem(c, "item %u: lost", i);
        }
    }
}

/* ---- Request ids --------------------------------------------------------- */

static int request_ok(const check_t *c, uint32_t shard, uint32_t slot)
{
    const skl_tables_t *t = c->t;
    const skl_request_row_t *q = &t->requests[slot];
    const skl_hash_t key = {SKL_LD(q->lo), SKL_LD(q->hi)};

    skl_assert(slot < c->requests);
    if (q->kind < SKL_REQ_RESERVE || q->kind > SKL_REQ_ORDER ||
        q->item >= t->shm->items || !skl_time_ok(q->created) ||
        SKL_LD(t->items[q->item].state) == SKL_ITEM_FREE ||
        skl_shard_of(t, key) != shard) {
        return 0;
    }
    if (q->kind == SKL_REQ_REFUND || q->kind == SKL_REQ_ADJUST) {
        return q->row == SKL_NONE;
    }
    return q->row != SKL_NONE && q->row / t->shm->rows == shard &&
           SKL_LD(t->rows[q->row].item) == q->item;
}

/* Take a row for a live id; `number` of its line, 0: none. */
static int own_row(check_t *c, uint32_t id, uint32_t slot, uint32_t number)
{
    const skl_tables_t *t = c->t;
    const skl_row_t *row = &t->rows[slot];

    skl_assert(slot < c->rows && number <= SKL_LINES_MAX);
    return SKL_LD(row->lsn) != 0 && row->request == id &&
           skl_line_number(SKL_LD(row->line)) == number &&
           (number == 0) == (SKL_LD(row->line) == 0) && mark(c->owned, slot);
}

/* All lines have one state and one deadline. Each is ended on its own once that
 * has passed: then another one is due by the time of that item, too. */
static int states_agree(const skl_tables_t *t, const skl_lines_t *l)
{
    const skl_row_t *first = &t->rows[l->row[0]];
    const int64_t now = skl_lines_now(t, l, 0);
    int same = 1, due = first->deadline != 0 && first->deadline <= now;

    for (uint32_t i = 0; i < l->count; i++) {
        const skl_row_t *row = &t->rows[l->row[i]];

        same &= row->state == first->state;
        due &= row->state == SECKILL_STATE_RESERVED ||
               row->state == SECKILL_STATE_EXPIRED;
        if (row->deadline != first->deadline ||
            row->user_len != first->user_len ||
            row->user_len > SECKILL_ID_MAX ||
            memcmp(row->user_id, first->user_id, row->user_len) != 0) {
            return 0;
        }
    }
    return same || due;
}

/* The lines of an order: rows of this shard, of one LSN, each of another
 * item. */
static int own_lines(check_t *c, uint32_t id)
{
    const skl_tables_t *t = c->t;
    const uint32_t first = t->requests[id].row;
    skl_lines_t l;

    if (!skl_lines_walk(t, first, &l) ||
        !skl_lines_alive(t, &l, SKL_LD(t->rows[first].lsn))) {
        return 0;
    }
    for (uint32_t i = 0; i < l.count; i++) {
        for (uint32_t k = 0; k < i; k++) {
            if (l.item[k] == l.item[i]) {
                return 0;
            }
        }
        if (l.row[i] / t->shm->rows != first / t->shm->rows ||
            !own_row(c, id, l.row[i], i + 1)) {
            return 0;
        }
    }
    return states_agree(t, &l);
}

/* The rows of an id. One without hangs on its item itself. */
static void own_rows(check_t *c, uint32_t id)
{
    const skl_request_row_t *q = &c->t->requests[id];
    int good = 1;

    if (q->kind == SKL_REQ_RESERVE) {
        good = own_row(c, id, q->row, 0);
    } else if (q->kind == SKL_REQ_ORDER) {
        good = own_lines(c, id);
    } else {
        c->by_item[q->item].ids++;
    }
    if (!good) {
        problem(c, "request id %u: has no reservation of its own", id);
    }
}

static void walk_requests(check_t *c, uint32_t shard)
{
    const skl_tables_t *t = c->t;
    const uint32_t n = t->shm->requests, first = shard * n;
    uint32_t slot;

    for (slot = SKL_LD(t->shards[shard].request_free); slot != SKL_NONE;
         slot = SKL_LD(t->requests[slot].next)) {
        if (!step(c, c->seen_requests, slot, first, n, "free ids")) {
            return;
        }
        if (t->requests[slot].kind != 0) {
            problem(c, "request id %u: free and in use", slot);
        }
    }
    for (uint32_t i = 0; i < n; i++) {
        for (slot = SKL_LD(t->request_heads[first + i]); slot != SKL_NONE;
             slot = SKL_LD(t->requests[slot].next)) {
            if (!step(c, c->seen_requests, slot, first, n, "index of ids")) {
                return;
            }
            if (!request_ok(c, shard, slot) ||
                skl_hash_range(SKL_LD(t->requests[slot].lo), n) != i) {
                problem(c, "request id %u: broken", slot);
                return;
            }
        }
    }
}

static void walk_queue(check_t *c, uint32_t shard)
{
    const skl_tables_t *t = c->t;
    const uint32_t n = t->shm->requests, first = shard * n, wrap = 2 * n;
    const uint32_t tail = SKL_LD(t->shards[shard].fifo_tail);
    uint32_t at = SKL_LD(t->shards[shard].fifo_head);

    if (at >= wrap || tail >= wrap || (tail + wrap - at) % wrap > n) {
        problem(c, "shard %u: the queue of ids is broken", shard);
        return;
    }
    for (; at != tail; at = (at + 1) % wrap) {
        const uint32_t slot = skl_fifo_at(t, shard, at);

        if (!step(c, c->queued, slot, first, n, "queue of ids")) {
            return;
        }
        if (t->requests[slot].kind == 0) {
            problem(c, "request id %u: queued, but free", slot);
            return;
        }
    }
}

/* Each slot is free, or in the index and in the queue. */
static void check_requests(check_t *c, uint32_t shard)
{
    const skl_tables_t *t = c->t;
    const uint32_t n = t->shm->requests, first = shard * n;

    skl_assert(shard < t->shm->shards && first + n <= c->requests);
    walk_requests(c, shard);
    walk_queue(c, shard);
    for (uint32_t i = first; c->problems == 0 && i < first + n; i++) {
        const skl_request_row_t *q = &t->requests[i];

        if (!is_marked(c->seen_requests, i) ||
            is_marked(c->queued, i) != (q->kind != 0)) {
            problem(c, "request id %u: lost", i);
        } else if (q->kind != 0) {
            own_rows(c, i);
        }
    }
}

/* ---- Users --------------------------------------------------------------- */

static int user_ok(const check_t *c, uint32_t shard, uint32_t slot)
{
    const skl_tables_t *t = c->t;
    const skl_user_row_t *u = &t->users[slot];
    const skl_hash_t key = {SKL_LD(u->lo), SKL_LD(u->hi)};
    const uint32_t item = SKL_LD(u->item);

    skl_assert(slot < c->users);
    return item < t->shm->items &&
           SKL_LD(t->items[item].state) != SKL_ITEM_FREE &&
           skl_count_ok(SKL_LD(u->count)) &&
           SKL_LD(u->ids) <= SKL_IDS_PER_USER && skl_shard_of(t, key) == shard;
}

static void walk_users(check_t *c, uint32_t shard)
{
    const skl_tables_t *t = c->t;
    const uint32_t n = t->shm->users, first = shard * n;
    uint32_t slot;

    for (slot = SKL_LD(t->shards[shard].user_free); slot != SKL_NONE;
         slot = SKL_LD(t->users[slot].next)) {
        if (!step(c, c->seen_users, slot, first, n, "free users")) {
            return;
        }
        if (SKL_LD(t->users[slot].item) != SKL_NONE) {
            problem(c, "user %u: free and in use", slot);
        }
    }
    for (uint32_t i = 0; i < n; i++) {
        for (slot = SKL_LD(t->user_heads[first + i]); slot != SKL_NONE;
             slot = SKL_LD(t->users[slot].next)) {
            if (!step(c, c->seen_users, slot, first, n, "index of users")) {
                return;
            }
            if (!user_ok(c, shard, slot) ||
                skl_hash_range(SKL_LD(t->users[slot].lo), n) != i) {
                problem(c, "user %u: broken", slot);
                return;
            }
            c->by_item[SKL_LD(t->users[slot].item)].users++;
        }
    }
}

static void check_users(check_t *c, uint32_t shard)
{
    const uint32_t n = c->t->shm->users, first = shard * n;

    skl_assert(shard < c->t->shm->shards && first + n <= c->users);
    walk_users(c, shard);
    for (uint32_t i = first; c->problems == 0 && i < first + n; i++) {
        if (!is_marked(c->seen_users, i)) {
            problem(c, "user %u: lost", i);
        }
    }
}

/* ---- Reservations -------------------------------------------------------- */

static void walk_free_rows(check_t *c, uint32_t shard)
{
    const skl_tables_t *t = c->t;
    const uint32_t n = t->shm->rows, first = shard * n;
    uint32_t slot;

    for (slot = SKL_LD(t->shards[shard].row_free); slot != SKL_NONE;
         slot = t->rows[slot].next_free) {
        if (!step(c, c->seen_rows, slot, first, n, "free rows")) {
            return;
        }
        if (SKL_LD(t->rows[slot].lsn) != 0) {
            problem(c, "row %u: free and in use", slot);
        }
    }
}

static int row_fields_ok(const check_t *c, const skl_row_t *row)
{
    const skl_tables_t *t = c->t;

    return SKL_LD(row->item) < t->shm->items && row->user < c->users &&
           row->request < c->requests && row->qty >= 1 &&
           skl_count_ok(row->qty) && skl_time_ok(row->deadline) &&
           skl_time_ok(row->created) && row->state >= SECKILL_STATE_RESERVED &&
           row->state <= SECKILL_STATE_REFUNDED &&
           row->hold_list < SKL_HOLD_LISTS && row->user_len >= 1 &&
           row->user_len <= SECKILL_ID_MAX && row->request_len >= 1 &&
           row->request_len <= SECKILL_ID_MAX &&
           SKL_LD(t->users[row->user].item) == SKL_LD(row->item) &&
           (row->state != SECKILL_STATE_RESERVED || row->deadline != 0);
}

/* The strings of a row are those that the index knows. */
static int row_keys_ok(const check_t *c, const skl_row_t *row)
{
    const skl_tables_t *t = c->t;
    const skl_request_row_t *q = &t->requests[row->request];
    const skl_user_row_t *u = &t->users[row->user];
    const skl_hash_t id = skl_key_of(t, row->request_id, row->request_len);
    const skl_hash_t user =
        skl_user_key(skl_key_of(t, row->user_id, row->user_len),
                     SKL_LD(t->items[SKL_LD(row->item)].born));

    return id.lo == SKL_LD(q->lo) && id.hi == SKL_LD(q->hi) &&
           user.lo == SKL_LD(u->lo) && user.hi == SKL_LD(u->hi);
}

static void add_row(check_t *c, const skl_row_t *row)
{
    sum_t *item = &c->by_item[SKL_LD(row->item)];
    sum_t *user = &c->by_user[row->user];

    skl_assert(row->user < c->users); /* row_fields_ok() */
    skl_assert(SKL_LD(row->item) < c->t->shm->items);
    item->ids++;
    user->ids++;
    if (row->state == SECKILL_STATE_RESERVED) {
        item->pending += row->qty;
        user->pending += row->qty;
    }
    if (row->state == SECKILL_STATE_CONFIRMED) {
        item->sold += row->qty;
        user->sold += row->qty;
    }
    if (!skl_count_ok(item->pending) || !skl_count_ok(item->sold)) {
        problem(c, "item %u: more units than can be", SKL_LD(row->item));
    }
}

static void check_rows(check_t *c)
{
    for (uint32_t i = 0; c->problems == 0 && i < c->rows; i++) {
        const skl_row_t *row = &c->t->rows[i];
        const int used = SKL_LD(row->lsn) != 0;

        if (used == is_marked(c->seen_rows, i) ||
            used != is_marked(c->owned, i)) {
            problem(c, "row %u: lost", i);
        } else if (used && (!row_fields_ok(c, row) || !row_keys_ok(c, row))) {
            problem(c, "row %u: broken", i);
        } else if (used) {
            add_row(c, row);
        }
    }
}

/* ---- Holds --------------------------------------------------------------- */

static void walk_holds(check_t *c, uint32_t item, uint32_t list)
{
    const skl_tables_t *t = c->t;
    const skl_hold_list_t *l = &t->items[item].lists[list];
    uint32_t before = SKL_NONE, slot;

    skl_assert(item < t->shm->items && list < SKL_HOLD_LISTS);
    for (slot = SKL_LD(l->head); slot != SKL_NONE; slot = t->rows[slot].next) {
        const skl_row_t *row;

        if (!step(c, c->held, slot, 0, c->rows, "holds")) {
            return;
        }
        row = &t->rows[slot];
        if (SKL_LD(row->lsn) == 0 || SKL_LD(row->item) != item ||
            row->hold_list != list || row->prev != before ||
            row->state != SECKILL_STATE_RESERVED ||
            row->deadline > row->created + SKL_LD(l->hold_ns) ||
            (before != SKL_NONE && t->rows[before].deadline > row->deadline)) {
            problem(c, "row %u: out of place among the holds", slot);
            return;
        }
        before = slot;
    }
    if (SKL_LD(l->tail) != before) {
        problem(c, "item %u: hold list %u has a wrong end", item, list);
    }
}

static void check_holds(check_t *c)
{
    const skl_tables_t *t = c->t;
    const uint32_t used = SKL_LD(t->shm->high_water);

    for (uint32_t i = 0; c->problems == 0 && i < used; i++) {
        for (uint32_t k = 0; k < SKL_HOLD_LISTS; k++) {
            walk_holds(c, i, k);
        }
        if (c->problems == 0 && SKL_LD(t->items[i].earliest) !=
                                    skl_hold_earliest(t, &t->items[i])) {
            problem(c, "item %u: the first deadline is wrong", i);
        }
    }
    for (uint32_t i = 0; c->problems == 0 && i < c->rows; i++) {
        const skl_row_t *row = &t->rows[i];

        if (SKL_LD(row->lsn) != 0 &&
            (row->state == SECKILL_STATE_RESERVED) != is_marked(c->held, i)) {
            problem(c, "row %u: pending, but not among the holds", i);
        }
    }
}

/* ---- Sums ---------------------------------------------------------------- */

static void check_users_sums(check_t *c)
{
    const skl_tables_t *t = c->t;
    int64_t *units = calloc(t->shm->items, sizeof(*units));

    if (units == NULL) {
        c->problems = SECKILL_ENOMEM;
        return;
    }
    for (uint32_t i = 0; c->problems == 0 && i < c->users; i++) {
        const skl_user_row_t *u = &t->users[i];
        const uint32_t item = SKL_LD(u->item);

        if (item == SKL_NONE) {
            continue;
        }
        units[item] += SKL_LD(u->count);
        if (SKL_LD(u->ids) != c->by_user[i].ids ||
            SKL_LD(u->count) < c->by_user[i].pending + c->by_user[i].sold ||
            !skl_count_ok(units[item])) {
            problem(c, "user %u: counters do not add up", i);
        }
    }
    for (uint32_t i = 0; c->problems == 0 && i < t->shm->items; i++) {
        const skl_item_row_t *item = &t->items[i];

        if (is_alive(SKL_LD(item->state)) &&
            units[i] != SKL_LD(item->reserved) + SKL_LD(item->sold)) {
            problem(c, "item %u: its users have other units", i);
        }
    }
    free(units);
}

static void check_sums(check_t *c)
{
    const skl_tables_t *t = c->t;

    for (uint32_t i = 0; c->problems == 0 && i < t->shm->items; i++) {
        const skl_item_row_t *item = &t->items[i];
        const sum_t *sum = &c->by_item[i];

        if (SKL_LD(item->state) == SKL_ITEM_FREE) {
            continue;
        }
        if (SKL_LD(item->live) != sum->ids ||
            SKL_LD(item->users) != sum->users ||
            SKL_LD(item->reserved) != sum->pending ||
            SKL_LD(item->sold) < sum->sold) {
            problem(c, "item %u: counters and rows differ", i);
        }
    }
    if (c->problems == 0) {
        check_users_sums(c);
    }
}

/* ---- All ----------------------------------------------------------------- */

/* Each step rests on the ones before it. */
static void check_all(check_t *c)
{
    const uint32_t shards = c->t->shm->shards;

    check_catalog(c);
    for (uint32_t i = 0; c->problems == 0 && i < shards; i++) {
        check_requests(c, i);
    }
    for (uint32_t i = 0; c->problems == 0 && i < shards; i++) {
        check_users(c, i);
        walk_free_rows(c, i);
    }
    check_rows(c);
    check_holds(c);
    check_sums(c);
}

static uint8_t *marks_of(uint32_t n)
{
    return calloc(n / 8 + 1, 1);
}

static int allocate(check_t *c)
{
    const uint32_t items = c->t->shm->items;

    c->seen_items = marks_of(items);
    c->seen_rows = marks_of(c->rows);
    c->seen_users = marks_of(c->users);
    c->seen_requests = marks_of(c->requests);
    c->queued = marks_of(c->requests);
    c->held = marks_of(c->rows);
    c->owned = marks_of(c->rows);
    c->by_item = calloc(items, sizeof(sum_t));
    c->by_user = calloc(c->users, sizeof(sum_t));
    return c->seen_items != NULL && c->seen_rows != NULL &&
           c->seen_users != NULL && c->seen_requests != NULL &&
           c->queued != NULL && c->held != NULL && c->owned != NULL &&
           c->by_item != NULL && c->by_user != NULL;
}

static void release(check_t *c)
{
    free(c->seen_items);
    free(c->seen_rows);
    free(c->seen_users);
    free(c->seen_requests);
    free(c->queued);
    free(c->held);
    free(c->owned);
    free(c->by_item);
    free(c->by_user);
}

int skl_tables_check(const skl_tables_t *t, char *text, size_t size)
{
    const skl_tables_shm_t *p = t->shm;
    check_t c = {.t = t,
                 .rows = p->shards * p->rows,
                 .users = p->shards * p->users,
                 .requests = p->shards * p->requests,
                 .text = text,
                 .size = size};

    skl_assert(p->shards >= 1 && p->shards <= SKL_SHARDS_MAX);
    if (size > 0) {
        text[0] = '\0';
    }
    if (allocate(&c)) {
        check_all(&c);
    } else {
        c.problems = SECKILL_ENOMEM;
    }
    release(&c);
    return c.problems;
}
