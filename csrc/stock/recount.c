/* See recount.h. */
#include "stock/recount.h"

#include "base/assert.h"

#include <string.h>

/* n is at most SECKILL_COUNT_MAX; a sum above it says no more. */
static void add_units(int64_t *sum, int64_t n)
{
    skl_assert(n >= 0 && n <= SECKILL_COUNT_MAX);
    if (*sum <= SECKILL_COUNT_MAX) {
        *sum += n;
    }
}

static int is_count(int64_t n)
{
    return n >= 0 && n <= SECKILL_COUNT_MAX;
}

/* ---- Reservations -------------------------------------------------------- */

static int row_is_sane(const skl_tables_t *t, const skl_row_t *row)
{
    const skl_tables_shm_t *p = t->shm;

    return row->user < p->shards * p->users &&
           row->request < p->shards * p->requests && row->qty >= 1 &&
           is_count(row->qty) && row->state >= SECKILL_STATE_RESERVED &&
           row->state <= SECKILL_STATE_REFUNDED &&
           row->hold_list < SKL_HOLD_LISTS && row->user_len >= 1 &&
           row->user_len <= SECKILL_ID_MAX && row->request_len >= 1 &&
           row->request_len <= SECKILL_ID_MAX &&
           (row->state != SECKILL_STATE_RESERVED || row->deadline != 0);
}

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

/* The units of a row are among those of its user. */
static int has_its_user(const skl_tables_t *t, const skl_row_t *row)
{
    const skl_user_row_t *u = &t->users[row->user];
    const uint32_t item = SKL_LD(row->item);
    const skl_hash_t key =
        skl_user_key(skl_key_of(t, row->user_id, row->user_len),
                     SKL_LD(t->items[item].born));
    const int counts = row->state == SECKILL_STATE_RESERVED ||
                       row->state == SECKILL_STATE_CONFIRMED;

    return SKL_LD(u->item) == item && SKL_LD(u->lo) == key.lo &&
           SKL_LD(u->hi) == key.hi && SKL_LD(u->ids) >= 1 &&
           SKL_LD(u->count) >= (counts ? row->qty : 0);
}

static void recount_row(const skl_tables_t *t, const skl_row_t *row,
                        skl_recount_t *c)
{
    c->rows++;
    if (!row_is_sane(t, row)) {
        c->wrong_rows++;
        return;
    }
    c->wrong_users += !has_its_user(t, row);
    c->wrong_ids += !has_its_id(t, row);
    c->wrong_lines += !has_its_kind(t, row);
    if (row->state == SECKILL_STATE_RESERVED) {
        add_units(&c->pending_qty, row->qty);
    } else if (row->state == SECKILL_STATE_CONFIRMED) {
        add_units(&c->sold_qty, row->qty);
    }
}

/* The item of a reservation row; SKL_NONE: the row is free. */
static uint32_t item_of(const skl_row_t *row)
{
    return atomic_load_explicit(&row->lsn, memory_order_acquire) != 0
               ? SKL_LD(row->item)
               : SKL_NONE;
}

/* ---- Users --------------------------------------------------------------- */

static void recount_user(const skl_user_row_t *user, skl_recount_t *c)
{
    const int64_t count = SKL_LD(user->count);

    c->users++;
    c->ids += SKL_LD(user->ids);
    if (is_count(count) && SKL_LD(user->ids) <= SKL_IDS_PER_USER) {
        add_units(&c->user_units, count);
    } else {
        c->wrong_users++;
    }
}

/* ---- Holds --------------------------------------------------------------- */

static int in_place(const skl_tables_t *t, uint32_t item, uint32_t list,
                    uint32_t slot, uint32_t before)
{
    const skl_row_t *row = &t->rows[slot];

    if (slot >= t->shm->shards * t->shm->rows || item_of(row) != item) {
        return 0;
    }
    return row->prev == before && row->hold_list == list && row->qty >= 1 &&
           is_count(row->qty) && row->state == SECKILL_STATE_RESERVED &&
           (before == SKL_NONE || t->rows[before].deadline <= row->deadline);
}

static void broken(skl_recount_t *c, uint32_t list, uint32_t slot)
{
    if (!c->is_list_broken) {
        c->is_list_broken = 1;
        c->broken_list = list;
        c->broken_slot = slot;
    }
}

/* Each row names the one before it, so a list that leads back into itself is
 * broken, too, and the walk ends. */
static void recount_list(const skl_tables_t *t, uint32_t item, uint32_t list,
                         skl_recount_t *c)
{
    const skl_hold_list_t *l = &t->items[item].lists[list];
    uint32_t before = SKL_NONE, slot = SKL_LD(l->head);

    skl_assert(item < t->shm->items && list < SKL_HOLD_LISTS);
    while (slot != SKL_NONE && c->listed <= c->rows) {
        if (!in_place(t, item, list, slot, before)) {
            broken(c, list, slot);
            return;
        }
        c->listed++;
        add_units(&c->listed_qty, t->rows[slot].qty);
        before = slot;
        slot = t->rows[slot].next;
    }
    if (slot != SKL_NONE || SKL_LD(l->tail) != before) {
        broken(c, list, slot);
    }
}

static void recount_holds(const skl_tables_t *t, uint32_t item,
                          skl_recount_t *c)
{
    for (uint32_t i = 0; i < SKL_HOLD_LISTS; i++) {
        recount_list(t, item, i, c);
    }
}

/* ---- All ----------------------------------------------------------------- */

void skl_recount_item(const skl_tables_t *t, uint32_t item, skl_recount_t *c)
{
    const uint32_t rows = t->shm->shards * t->shm->rows;
    const uint32_t users = t->shm->shards * t->shm->users;

    skl_assert(item < t->shm->items);
    memset(c, 0, sizeof(*c));
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
    recount_holds(t, item, c);
}

void skl_recount_all(const skl_tables_t *t, skl_recount_t *by_item)
{
    const uint32_t rows = t->shm->shards * t->shm->rows;
    const uint32_t users = t->shm->shards * t->shm->users;
    const uint32_t used = SKL_LD(t->shm->high_water);

    skl_assert(used <= t->shm->items);
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
    for (uint32_t i = 0; i < used; i++) {
        recount_holds(t, i, &by_item[i]);
    }
}
