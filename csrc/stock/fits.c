/*
 * Would apply() of a record of several lines stay within the tables, and find
 * what it takes for granted? Such a record may come from a file: a right
 * checksum says that it was written so, not that it makes sense. Any thread.
 */
#include "base/assert.h"
#include "stock/apply.h"
#include "stock/ranges.h"

static int known_flags(const skl_record_t *r, const skl_leg_t *leg)
{
    uint8_t may = SKL_FLAG_LISTED;

    if (r->type == SKL_REC_ORDER) {
        may = SKL_FLAG_LISTED | SKL_FLAG_USER;
    } else if (r->type == SKL_REC_ORDER_RETIRE) {
        /* without ROW the reservation would stay */
        return (leg->flags & ~SKL_FLAG_USER) == SKL_FLAG_ROW;
    } else if (r->type == SKL_REC_ORDER_CONFIRM) {
        may = SKL_FLAG_LISTED | SKL_FLAG_AGAIN;
    }
    return (leg->flags & ~may) == 0;
}

static int counts_fit(const skl_tables_t *t, const skl_leg_t *leg)
{
    return skl_count_ok(leg->available) && skl_count_ok(leg->reserved) &&
           skl_count_ok(leg->sold) && skl_count_ok(leg->user_count) &&
           leg->available + leg->reserved + leg->sold ==
               SKL_LD(t->items[leg->item].total);
}

/* Rows that the leg names, each in the shard that it must be of. */
static int rows_fit(const skl_tables_t *t, const skl_record_t *r,
                    const skl_leg_t *leg)
{
    const skl_tables_shm_t *p = t->shm;
    uint32_t of_item;

    if (leg->item >= p->items || leg->row / p->rows >= p->shards ||
        leg->user_shard >= p->shards ||
        leg->user / p->users != leg->user_shard ||
        leg->hold_list >= SKL_HOLD_LISTS) {
        return 0;
    }
    /* The rows of an order are of the shard of its own id. */
    if (r->type != SKL_REC_ORDER_REFUND && (r->parts & SKL_PART_REQUEST) &&
        leg->row / p->rows != r->lines.request_shard) {
        return 0;
    }
    of_item = SKL_LD(t->users[leg->user].item);
    return of_item == leg->item || of_item == SKL_NONE;
}

/* Two legs never share anything. */
static int is_distinct(const skl_record_t *r, uint32_t i)
{
    for (uint32_t k = 0; k < i; k++) {
        if (r->legs[k].item == r->legs[i].item ||
            r->legs[k].row == r->legs[i].row ||
            r->legs[k].user == r->legs[i].user) {
            return 0;
        }
    }
    return 1;
}

static int leg_fits(const skl_tables_t *t, const skl_record_t *r, uint32_t i)
{
    const skl_leg_t *leg = &r->legs[i];

    return rows_fit(t, r, leg) && known_flags(r, leg) && counts_fit(t, leg) &&
           leg->qty >= (r->type == SKL_REC_ORDER_RETIRE ? 0 : 1) &&
           leg->qty <= SECKILL_COUNT_MAX && is_distinct(r, i);
}

/* The parts that a record of its type and flags has. */
static uint32_t parts_of(const skl_record_t *r)
{
    uint32_t parts = SKL_PART_ITEM;

    if (r->type != SKL_REC_ORDER_CONFIRM && r->type != SKL_REC_ORDER_CANCEL) {
        parts |= SKL_PART_REQUEST;
    }
    for (uint32_t i = 0; i < r->lines.count; i++) {
        parts |= r->legs[i].flags & SKL_FLAG_USER ? SKL_PART_USER : 0;
    }
    return parts;
}

static int body_fits(const skl_tables_t *t, const skl_record_t *r)
{
    const skl_lines_body_t *b = &r->lines;
    const skl_tables_shm_t *p = t->shm;

    if (b->count < 1 || b->count > SKL_LINES_MAX || r->user_len < 1 ||
        r->user_len > SECKILL_ID_MAX || r->request_len > SECKILL_ID_MAX ||
        b->request_shard >= p->shards || b->fifo_pos >= 2 * p->requests ||
        b->hold_ns < 0 || b->deadline < 0 || r->parts != parts_of(r)) {
        return 0;
    }
    if (b->row != r->legs[0].row || r->item != r->legs[0].item) {
        return 0;
    }
    return (r->parts & SKL_PART_REQUEST) == 0 ||
           b->request / p->requests == b->request_shard;
}

int skl_order_fits(const skl_tables_t *t, const skl_record_t *r)
{
    skl_assert(skl_rec_is_order(r));
    if (!body_fits(t, r)) {
        return 0;
    }
    for (uint32_t i = 0; i < r->lines.count; i++) {
        if (!leg_fits(t, r, i)) {
            return 0;
        }
    }
    return 1;
}
