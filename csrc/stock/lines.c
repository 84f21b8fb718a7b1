/* See lines.h. Any thread. */
#include "stock/lines.h"

#include "base/assert.h"
#include "stock/ids.h"
#include "stock/settle.h"

#include <string.h>

/* ---- Rows and items ------------------------------------------------------ */

int skl_lines_walk(const skl_tables_t *t, uint32_t first, skl_lines_t *l)
{
    const uint32_t rows = t->shm->shards * t->shm->rows;
    uint32_t slot = first;

    for (l->count = 0; l->count < SKL_LINES_MAX && slot < rows;) {
        const uint32_t word = SKL_LD(t->rows[slot].line);
        const uint32_t item = SKL_LD(t->rows[slot].item);

        if (skl_line_number(word) != l->count + 1 || item >= t->shm->items) {
            return 0;
        }
        l->row[l->count] = slot;
        l->item[l->count++] = item;
        slot = skl_line_next(word);
    }
    return slot == SKL_LINE_END;
}

int skl_hold_item_list(skl_held_t *h, const uint32_t *items, uint32_t count)
{
    uint32_t least = 0; /* the next item is not below it */
    int rc = SECKILL_OK;

    skl_assert(count <= SKL_LINES_MAX);
    while (rc == SECKILL_OK) {
        uint32_t next = SKL_NONE;

        for (uint32_t i = 0; i < count; i++) {
            if (items[i] >= least && items[i] < next) {
                next = items[i];
            }
        }
        if (next == SKL_NONE) {
            break;
        }
        rc = skl_hold_item(h, next);
        least = next + 1;
    }
    return rc;
}

int skl_lines_alive(const skl_tables_t *t, const skl_lines_t *l, uint64_t lsn)
{
    for (uint32_t i = 0; i < l->count; i++) {
        const skl_row_t *row = &t->rows[l->row[i]];

        if (SKL_LD(row->lsn) != lsn || SKL_LD(row->item) != l->item[i] ||
            skl_line_number(SKL_LD(row->line)) != i + 1) {
            return 0;
        }
    }
    return l->count > 0;
}

int64_t skl_lines_now(const skl_tables_t *t, const skl_lines_t *l, int64_t now)
{
    for (uint32_t i = 0; i < l->count; i++) {
        now = skl_item_now(&t->items[l->item[i]], now);
    }
    return now;
}

int skl_lines_expire(skl_held_t *h, const skl_lines_t *l, int64_t now)
{
    for (uint32_t i = 0; i < l->count; i++) {
        const skl_row_t *row = &h->s->tables.rows[l->row[i]];

        if (row->state == SECKILL_STATE_RESERVED && row->deadline != 0 &&
            row->deadline <= now) {
            int rc = skl_expire_row(h, l->item[i], l->row[i], now);

            if (rc != SECKILL_OK) {
                return rc;
            }
        }
    }
    return SECKILL_OK;
}

/* ---- Records ------------------------------------------------------------- */

void skl_leg_begin(skl_leg_t *leg, const skl_stock_t *s, uint32_t item)
{
    const skl_item_row_t *row = &s->tables.items[item];

    skl_assert(item < s->tables.shm->items);
    memset(leg, 0, sizeof(*leg));
    leg->item = item;
    leg->item_live = SKL_LD(row->live);
    leg->item_users = SKL_LD(row->users);
    leg->available = SKL_LD(row->available);
    leg->reserved = SKL_LD(row->reserved);
    leg->sold = SKL_LD(row->sold);
}

static void leg_of_row(skl_leg_t *leg, const skl_stock_t *s, uint32_t slot)
{
    const skl_tables_t *t = &s->tables;
    const skl_row_t *row = &t->rows[slot];
    const skl_user_row_t *user = &t->users[row->user];

    skl_assert(SKL_LD(row->lsn) != 0 && row->qty > 0);
    skl_assert(row->user < t->shm->shards * t->shm->users);
    skl_leg_begin(leg, s, SKL_LD(row->item));
    leg->row = slot;
    leg->user = row->user;
    leg->user_shard = (uint16_t)(row->user / t->shm->users);
    leg->user_ids = (uint16_t)SKL_LD(user->ids);
    leg->user_count = SKL_LD(user->count);
    leg->hold_list = row->hold_list;
    leg->qty = row->qty;
    if (row->state == SECKILL_STATE_RESERVED && row->deadline != 0) {
        leg->flags = SKL_FLAG_LISTED;
    }
}

void skl_lines_record(skl_record_t *r, int type, uint32_t parts,
                      const skl_stock_t *s, const skl_lines_t *l, int64_t now)
{
    const skl_row_t *first = &s->tables.rows[l->row[0]];

    skl_assert(l->count >= 1 && l->count <= SKL_LINES_MAX);
    memset(r, 0, SKL_UNIT);
    r->type = (uint8_t)type;
    r->parts = (uint8_t)parts;
    r->time = now;
    r->item = l->item[0];
    r->lines.row = l->row[0];
    r->lines.count = l->count;
    r->lines.request = first->request;
    r->lines.request_shard = (uint16_t)(l->row[0] / s->tables.shm->rows);
    r->lines.row_lsn = SKL_LD(first->lsn);
    r->lines.deadline = first->deadline;
    for (uint32_t i = 0; i < l->count; i++) {
        leg_of_row(&r->legs[i], s, l->row[i]);
    }
}

void skl_lines_strings(skl_record_t *r, const skl_tables_t *t,
                       const skl_lines_t *l, const skl_bytes_t *request)
{
    const skl_row_t *first = &t->rows[l->row[0]];
    char names[SKL_LINES_MAX][SECKILL_ID_MAX];
    uint32_t lens[SKL_LINES_MAX];

    skl_assert(first->user_len <= SECKILL_ID_MAX);
    skl_assert(first->request_len <= SECKILL_ID_MAX);
    for (uint32_t i = 0; i < l->count; i++) {
        skl_item_name(&t->items[l->item[i]], names[i], &lens[i]);
    }
    skl_rec_order_strings(r, first->user_id, first->user_len,
                          request != NULL ? request->ptr : first->request_id,
                          request != NULL ? (uint32_t)request->len
                                          : first->request_len,
                          (const char(*)[SECKILL_ID_MAX])names, lens);
}

/* ---- The answer ---------------------------------------------------------- */

void skl_lines_answer(const skl_stock_t *s, const skl_lines_t *l,
                      seckill_order_t *out)
{
    const skl_tables_t *t = &s->tables;
    const skl_row_t *first = &t->rows[l->row[0]];

    skl_assert(l->count >= 1 && SKL_LD(first->lsn) != 0);
    out->lsn = SKL_LD(first->lsn);
    out->state = first->state;
    out->expires_at =
        first->state == SECKILL_STATE_RESERVED ? first->deadline : 0;
    out->line_count = l->count;
    out->replayed = 0;
    out->id_len = skl_row_id_format(
        out->id, skl_ring_incarnation(&s->ring, out->lsn), l->row[0], out->lsn);
    out->user_len = first->user_len;
    memcpy(out->user, first->user_id, first->user_len);
    out->request_len = first->request_len;
    memcpy(out->request, first->request_id, first->request_len);
    for (uint32_t i = 0; i < l->count; i++) {
        const skl_item_row_t *item = &t->items[l->item[i]];
        seckill_line_t *line = &out->lines[i];

        line->qty = t->rows[l->row[i]].qty;
        line->remaining = SKL_LD(item->available);
        skl_item_name(item, line->item, &line->item_len);
    }
}

int skl_lines_recorded(skl_held_t *h, uint32_t request, int64_t now,
                       skl_lines_t *l)
{
    const skl_tables_t *t = &h->s->tables;
    const skl_request_row_t *q = &t->requests[request];
    int rc, walked = 1;

    if (q->kind == SKL_REQ_ORDER) {
        walked = skl_lines_walk(t, q->row, l);
    } else if (q->kind == SKL_REQ_RESERVE) {
        l->count = 1;
        l->row[0] = q->row;
        l->item[0] = q->item;
    } else {
        return SECKILL_ECONFLICT;
    }
    skl_assert(walked);
    rc = skl_hold_item_list(h, l->item, l->count);
    if (rc != SECKILL_OK) {
        return rc;
    }
    return skl_lines_expire(h, l, skl_lines_now(t, l, now));
}
