/*
 * Recount everything and compare it with the counters.
 *
 * Shards first, then items, one lock at a time: what a lock covers is counted
 * while it is held, so the sale goes on meanwhile. Tables that nobody else has
 * are counted without locks, in one pass. Threads: any; not for the request
 * path (an item is locked while its rows are counted).
 */
#include "base/assert.h"
#include "stock/commit.h"
#include "stock/lines.h"
#include "stock/stock.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

typedef struct {
    skl_stock_t *s;
    char *text;
    size_t size, used;
    int problems;
    skl_audit_mark_t *marks; /* NULL: none are wanted */
    uint32_t mark_count;
} report_t;

__attribute__((format(printf, 2, 3))) static void problem(report_t *r,
                                                          const char *format,
                                                          ...)
{
    va_list args;
    int n;

    r->problems++;
    if (r->used + 1 >= r->size) {
        return;
    }
    va_start(args, format);
    n = vsnprintf(r->text + r->used, r->size - r->used, format, args);
    va_end(args);
    if (n > 0) {
        r->used += (size_t)n;
    }
    if (r->used >= r->size) {
        r->used = r->size - 1;
    }
}

/* ---- Shards: each slot is in exactly one of index and free list ---------- */

static uint32_t count_chain(const skl_tables_t *t, uint32_t shard)
{
    const uint32_t n = t->shm->requests;
    uint32_t found = 0;

    for (uint32_t i = 0; i < n; i++) {
        uint32_t slot = SKL_LD(t->request_heads[shard * n + i]);

        while (slot != SKL_NONE && found <= n) {
            found++;
            slot = SKL_LD(t->requests[slot].next);
        }
    }
    return found;
}

static uint32_t count_users(const skl_tables_t *t, uint32_t shard)
{
    const uint32_t n = t->shm->users;
    uint32_t found = 0;

    for (uint32_t i = 0; i < n; i++) {
        uint32_t slot = SKL_LD(t->user_heads[shard * n + i]);

        while (slot != SKL_NONE && found <= n) {
            found++;
            slot = SKL_LD(t->users[slot].next);
        }
    }
    return found;
}

static uint32_t count_free_requests(const skl_tables_t *t, uint32_t shard)
{
    uint32_t found = 0;
    uint32_t slot = SKL_LD(t->shards[shard].request_free);

    for (; slot != SKL_NONE && found <= t->shm->requests; found++) {
        slot = SKL_LD(t->requests[slot].next);
    }
    return found;
}

static uint32_t count_free_users(const skl_tables_t *t, uint32_t shard)
{
    uint32_t found = 0;
    uint32_t slot = SKL_LD(t->shards[shard].user_free);

    for (; slot != SKL_NONE && found <= t->shm->users; found++) {
        slot = SKL_LD(t->users[slot].next);
    }
    return found;
}

static uint32_t count_free_rows(const skl_tables_t *t, uint32_t shard)
{
    uint32_t found = 0;
    uint32_t slot = SKL_LD(t->shards[shard].row_free);

    for (; slot != SKL_NONE && found <= t->shm->rows; found++) {
        slot = t->rows[slot].next_free;
    }
    return found;
}

/* Reservation rows that a live id owns; an order of several lines must be a
 * chain of rows of this shard. */
static uint32_t rows_of_id(report_t *r, uint32_t shard,
                           const skl_request_row_t *q)
{
    const skl_tables_t *t = &r->s->tables;
    skl_lines_t l;

    if (q->kind != SKL_REQ_ORDER) {
        return q->kind == SKL_REQ_RESERVE;
    }
    if (!skl_lines_walk(t, q->row, &l)) {
        problem(r, "shard %u: the lines of an order are broken\n", shard);
        return 0;
    }
    for (uint32_t i = 0; i < l.count; i++) {
        if (l.row[i] / t->shm->rows != shard) {
            problem(r, "shard %u: a line of an order is elsewhere\n", shard);
        }
    }
    return l.count;
}

/* Walk the queue of live ids: how many, and how many rows they own. */
static uint32_t count_fifo(report_t *r, uint32_t shard, uint32_t *with_row)
{
    const skl_tables_t *t = &r->s->tables;
    const uint32_t wrap = 2 * t->shm->requests;
    const uint32_t end = SKL_LD(t->shards[shard].fifo_tail);
    uint32_t n = 0;

    *with_row = 0;
    for (uint32_t at = SKL_LD(t->shards[shard].fifo_head); at != end;
         at = (at + 1) % wrap) {
        const skl_request_row_t *q = &t->requests[skl_fifo_at(t, shard, at)];
        const skl_hash_t key = {SKL_LD(q->lo), SKL_LD(q->hi)};

        n++;
        *with_row += rows_of_id(r, shard, q);
        if (q->kind == 0 ||
            skl_find_request(t, shard, key) != skl_fifo_at(t, shard, at)) {
            problem(r, "shard %u: a live id is not in the index\n", shard);
        }
    }
    return n;
}

static void audit_shard_held(report_t *r, uint32_t shard)
{
    const skl_tables_t *t = &r->s->tables;
    uint32_t with_row;
    const uint32_t live = count_fifo(r, shard, &with_row);

    if (count_chain(t, shard) != live) {
        problem(r, "shard %u: index and queue of ids differ\n", shard);
    }
    if (live + count_free_requests(t, shard) != t->shm->requests) {
        problem(r, "shard %u: request rows are lost\n", shard);
    }
    if (count_users(t, shard) + count_free_users(t, shard) != t->shm->users) {
        problem(r, "shard %u: user rows are lost\n", shard);
    }
    if (with_row + count_free_rows(t, shard) != t->shm->rows) {
        problem(r, "shard %u: reservation rows are lost\n", shard);
    }
}

/* ---- Items: counters against rows ---------------------------------------- */

typedef struct {
    int64_t pending_qty, user_units, listed_qty;
    uint64_t rows, ids, users, wrong_ids, wrong_lines;
} recount_t;

/* An id under a wrong hash would be executed again by a retry. */
static int has_its_id(const skl_tables_t *t, const skl_row_t *row)
{
    const skl_request_row_t *q = &t->requests[row->request];
    const skl_hash_t key = skl_key_of(t, row->request_id, row->request_len);

    return SKL_LD(q->lo) == key.lo && SKL_LD(q->hi) == key.hi;
}

/* The id of a row stands for an order exactly if the row is a line of one. */
static int has_its_kind(const skl_tables_t *t, const skl_row_t *row)
{
    return t->requests[row->request].kind == (SKL_LD(row->line) != 0
                                                  ? (uint32_t)SKL_REQ_ORDER
                                                  : (uint32_t)SKL_REQ_RESERVE);
}

static void recount_row(const skl_tables_t *t, const skl_row_t *row,
                        recount_t *c)
{
    c->rows++;
    c->wrong_ids += !has_its_id(t, row);
    c->wrong_lines += !has_its_kind(t, row);
    if (row->state == SECKILL_STATE_RESERVED) {
        c->pending_qty += row->qty;
    }
}

static void recount_user(const skl_user_row_t *user, recount_t *c)
{
    c->users++;
    c->ids += SKL_LD(user->ids);
    c->user_units += SKL_LD(user->count);
}

/* The item of a reservation row; SKL_NONE: the row is free. */
static uint32_t item_of(const skl_row_t *row)
{
    return atomic_load_explicit(&row->lsn, memory_order_acquire) != 0
               ? SKL_LD(row->item)
               : SKL_NONE;
}

static void recount(const skl_tables_t *t, uint32_t item, recount_t *c)
{
    const uint32_t rows = t->shm->shards * t->shm->rows;
    const uint32_t users = t->shm->shards * t->shm->users;

    for (uint32_t i = 0; i < rows; i++) {
        if (item_of(&t->rows[i]) == item) {
            recount_row(t, &t->rows[i], c);
        }
    }
    for (uint32_t i = 0; i < users; i++) {
        if (SKL_LD(t->users[i].item) == item) {
            recount_user(&t->users[i], c);
        }
    }
}

/* The same for all items at once. */
static void recount_all(const skl_tables_t *t, recount_t *by_item)
{
    const uint32_t rows = t->shm->shards * t->shm->rows;
    const uint32_t users = t->shm->shards * t->shm->users;

    for (uint32_t i = 0; i < rows; i++) {
        const uint32_t item = item_of(&t->rows[i]);

        if (item < t->shm->items) {
            recount_row(t, &t->rows[i], &by_item[item]);
        }
    }
    for (uint32_t i = 0; i < users; i++) {
        const uint32_t item = SKL_LD(t->users[i].item);

        if (item < t->shm->items) {
            recount_user(&t->users[i], &by_item[item]);
        }
    }
}

static void recount_holds(report_t *r, const skl_item_row_t *item, recount_t *c)
{
    const skl_tables_t *t = &r->s->tables;

    for (int i = 0; i < SKL_HOLD_LISTS; i++) {
        uint32_t slot = SKL_LD(item->lists[i].head);
        uint32_t before = SKL_NONE;
        uint64_t steps = 0;

        while (slot != SKL_NONE && steps++ <= c->rows) {
            const skl_row_t *row = &t->rows[slot];

            c->listed_qty += row->qty;
            if (row->prev != before || row->state != SECKILL_STATE_RESERVED ||
                (before != SKL_NONE &&
                 t->rows[before].deadline > row->deadline)) {
                problem(r, "hold list %d: broken at slot %u\n", i, slot);
            }
            before = slot;
            slot = row->next;
        }
    }
}

/* `n` has the rows and users of the item. */
static void audit_item(report_t *r, uint32_t slot, recount_t n)
{
    const skl_tables_t *t = &r->s->tables;
    const skl_item_row_t *item = &t->items[slot];
    const int64_t a = SKL_LD(item->available), b = SKL_LD(item->reserved);
    const int64_t c = SKL_LD(item->sold);

    skl_assert(slot < t->shm->items);
    recount_holds(r, item, &n);
    if (a < 0 || b < 0 || c < 0 || a + b + c != SKL_LD(item->total)) {
        problem(r,
                "item %u: available %lld + reserved %lld + sold %lld is not "
                "total %lld\n",
                slot, (long long)a, (long long)b, (long long)c,
                (long long)SKL_LD(item->total));
    }
    if (n.pending_qty != b || n.listed_qty != b) {
        problem(r, "item %u: reserved %lld, pending rows %lld, listed %lld\n",
                slot, (long long)b, (long long)n.pending_qty,
                (long long)n.listed_qty);
    }
    if (n.user_units != b + c) {
        problem(r, "item %u: users have %lld, reserved + sold is %lld\n", slot,
                (long long)n.user_units, (long long)(b + c));
    }
    if (n.ids != n.rows || n.users != SKL_LD(item->users)) {
        problem(r, "item %u: rows and ids of users differ\n", slot);
    }
    if (n.wrong_ids > 0) {
        problem(r, "item %u: %llu request ids have a wrong hash\n", slot,
                (unsigned long long)n.wrong_ids);
    }
    if (n.wrong_lines > 0) {
        problem(r, "item %u: %llu rows are no lines of their orders\n", slot,
                (unsigned long long)n.wrong_lines);
    }
    if (SKL_LD(item->earliest) != skl_hold_earliest(t, item)) {
        problem(r, "item %u: the first deadline is wrong\n", slot);
    }
}

/* An item that is removed loses its user rows one after the other. */
static int auditable(const skl_item_row_t *item)
{
    const uint32_t state = SKL_LD(item->state);

    return state == SECKILL_ITEM_OPEN || state == SECKILL_ITEM_PAUSED;
}

static void mark_item(report_t *r, const skl_item_row_t *item, uint32_t slot)
{
    skl_audit_mark_t *m;

    skl_assert(r->marks == NULL || r->mark_count < r->s->tables.shm->items);
    if (r->marks == NULL) {
        return;
    }
    m = &r->marks[r->mark_count++];
    m->lsn = SKL_LD(item->lsn);
    m->available = SKL_LD(item->available);
    m->reserved = SKL_LD(item->reserved);
    m->sold = SKL_LD(item->sold);
    m->slot = slot;
    m->live = SKL_LD(item->live);
    m->users = SKL_LD(item->users);
}

/* With a log an item that is wrong is put under quarantine: it will be rebuilt.
 * Without one it sells on, as wrong as it is: nothing could bring it back. */
static void set_fault(skl_stock_t *s, skl_item_row_t *item)
{
    if (s->ring.shm->max_lag_ns != 0 && SKL_LD(item->fault) == 0) {
        SKL_ST(item->fault, 1);
        skl_count(s->counters, SKL_EV_items_quarantined, 1);
    }
}

void skl_quarantine(skl_stock_t *s, uint32_t slot, uint64_t lsn)
{
    skl_item_row_t *item = &s->tables.items[slot];
    skl_held_t h = {.s = s};

    skl_assert(slot < s->tables.shm->items);
    if (skl_hold_item_any(&h, slot) == SECKILL_OK && SKL_LD(item->lsn) == lsn) {
        set_fault(s, item);
    }
    skl_release(&h);
}

static int audit_item_locked(report_t *r, uint32_t slot)
{
    skl_item_row_t *item = &r->s->tables.items[slot];
    const int before = r->problems;
    skl_held_t h = {.s = r->s};
    int rc = skl_hold_item_any(&h, slot);

    skl_assert(slot < r->s->tables.shm->items);
    if (rc == SECKILL_OK && auditable(item)) {
        recount_t n = {0};

        recount(&r->s->tables, slot, &n);
        audit_item(r, slot, n);
        if (r->problems > before) {
            set_fault(r->s, item);
        } else if (SKL_LD(item->fault) == 0) {
            mark_item(r, item, slot);
        }
    }
    skl_release(&h);
    return rc;
}

int skl_stock_audit(skl_stock_t *s, char *text, size_t size,
                    skl_audit_mark_t *marks, uint32_t *count)
{
    report_t r = {.s = s, .text = text, .size = size, .marks = marks};
    const uint32_t items = SKL_LD(s->tables.shm->high_water);

    if (size > 0) {
        text[0] = '\0';
    }
    for (uint32_t i = 0; i < s->tables.shm->shards; i++) {
        skl_held_t h = {.s = s};
        int rc = skl_hold_shard(&h, i);

        if (rc != SECKILL_OK) {
            return rc;
        }
        audit_shard_held(&r, i);
        skl_release(&h);
    }
    for (uint32_t i = 0; i < items; i++) {
        int rc = audit_item_locked(&r, i);

        if (rc != SECKILL_OK) {
            return rc;
        }
    }
    if (count != NULL) {
        *count = r.mark_count;
    }
    return r.problems;
}

int skl_tables_audit(const skl_tables_t *t, char *text, size_t size)
{
    skl_stock_t s = {.tables = *t};
    report_t r = {.s = &s, .text = text, .size = size};
    recount_t *by_item = calloc(t->shm->items, sizeof(*by_item));

    if (by_item == NULL) {
        return SECKILL_ENOMEM;
    }
    if (size > 0) {
        text[0] = '\0';
    }
    for (uint32_t i = 0; i < t->shm->shards; i++) {
        audit_shard_held(&r, i);
    }
    recount_all(t, by_item);
    for (uint32_t i = 0; i < SKL_LD(t->shm->high_water); i++) {
        if (auditable(&t->items[i])) {
            audit_item(&r, i, by_item[i]);
        }
    }
    free(by_item);
    return r.problems;
}
