/*
 * Deterministic simulation: a whole ledger on a simulated disk against a plain
 * model, through crashes, power losses, faults and full disks.
 *
 * A seed picks every step: an operation of some user (often a retry of an old
 * id), the clock, the flusher, a snapshot, the consumer, a crash. The model
 * below knows nothing of tables, logs or files. Each change that it makes is an
 * event with an LSN; after a crash it is cut to the LSN that came back, and
 * whatever the ledger says from then on must fit.
 *
 *   each answer is the model's, each record its event, each LSN the newest
 *   busy is said only when the log cannot take more
 *   what was durable comes back; what comes back is a state that was
 *   what the consumer got stays, under its key
 *   ids of lost reservations are unknown for ever
 *   in the end all answers that were not lost, in LSN order, are given again
 *   by a fresh model; and everything sells out
 *
 * A failed run prints its seed; SECKILL_SEED=n begins with that one.
 * SECKILL_FULL=1 runs 10,000 seeds of four times as many steps, 10^7 calls in
 * all; under ASan 1,000 of them. One thread.
 */
/* variants: rel asan */
#include "test/support/simledger.h"
#include "test/support/tap.h"

#include <stdarg.h>

enum {
    ITEMS = 3,
    USERS = 8,
    REQUESTS = 192,
    EVENTS = 4096,
    ANSWERS = 4096,
    LOST = 1024,
    HANDED = 4096,
    STEPS = 320,
    FULL_STEPS = 1360,
    IDS_PER_USER = 16,
    ID = 40,
    NONE = -1
};

#define CONSUMER "shop"

/* ---- The model ----------------------------------------------------------- */

/* One item of a reservation; an order has several, each of another item. */
typedef struct {
    int item;
    int64_t qty, asked; /* a confirm in part leaves fewer than were asked for */
    uint32_t state;
} line_t;

typedef struct {
    int kind; /* SKL_REQ_*; 0: unknown */
    int item, user, count;
    int64_t qty; /* ADJUST: the delta */
    int64_t deadline;
    line_t lines[ITEMS];
    uint64_t lsn; /* of the reservation; REFUND: of the one refunded */
} order_t;

typedef struct {
    int known, paused;
    int64_t total, available, reserved, sold, per_user, hold, version, put;
    int64_t count[USERS];
    int ids[USERS];
} item_t;

/* What a record says of one item. */
typedef struct {
    int item;
    int64_t qty;
    int64_t available, reserved, sold; /* after it */
} leg_t;

/* One record. */
typedef struct {
    int type, request, user, count;
    int again;        /* CONFIRM: the units are taken again */
    int64_t deadline; /* PUT: per_user */
    leg_t legs[ITEMS];
    uint64_t of; /* LSN of the reservation */
} event_t;

typedef struct {
    item_t items[ITEMS];
    order_t orders[REQUESTS];
    event_t events[EVENTS];
    uint64_t lsn;
} model_t;

static int is_sale(const order_t *o)
{
    return o->kind == SKL_REQ_RESERVE || o->kind == SKL_REQ_ORDER;
}

/* Reservations and orders by their LSN: the request, or NONE. */
static int request_of(const model_t *m, uint64_t lsn)
{
    for (int i = 0; i < REQUESTS; i++) {
        if (is_sale(&m->orders[i]) && m->orders[i].lsn == lsn) {
            return i;
        }
    }
    return NONE;
}

static void apply_put(item_t *item, const event_t *e)
{
    const int64_t total = e->legs[0].qty;

    item->known = 1;
    item->version++;
    item->put = total;
    item->per_user = e->deadline;
    if (total >= 0) {
        item->total = total;
        item->available = total - item->reserved - item->sold;
    }
}

static void apply_sale(model_t *m, const event_t *e)
{
    order_t *o = &m->orders[e->request];

    *o = (order_t){.kind = e->type == SKL_REC_ORDER ? SKL_REQ_ORDER
                                                    : SKL_REQ_RESERVE,
                   .item = e->legs[0].item,
                   .user = e->user,
                   .count = e->count,
                   .deadline = e->deadline,
                   .lsn = m->lsn};
    for (int i = 0; i < e->count; i++) {
        const leg_t *leg = &e->legs[i];
        item_t *item = &m->items[leg->item];

        o->lines[i] = (line_t){leg->item, leg->qty, leg->qty,
                               e->deadline == 0 ? SECKILL_STATE_CONFIRMED
                                                : SECKILL_STATE_RESERVED};
        item->available -= leg->qty;
        item->count[e->user] += leg->qty;
        item->ids[e->user]++;
        *(e->deadline == 0 ? &item->sold : &item->reserved) += leg->qty;
    }
}

static line_t *line_of(order_t *o, int item)
{
    line_t *found = NULL;

    for (int i = 0; i < o->count; i++) {
        found = o->lines[i].item == item ? &o->lines[i] : found;
    }
    return found;
}

/* What was held or sold of the line comes back; then qty units are sold. */
static void apply_line(model_t *m, const event_t *e, const leg_t *leg,
                       line_t *line, int user)
{
    const int sells =
        e->type == SKL_REC_CONFIRM || e->type == SKL_REC_ORDER_CONFIRM;
    const int refunds =
        e->type == SKL_REC_REFUND || e->type == SKL_REC_ORDER_REFUND;
    const int64_t back = e->again ? 0 : line->qty, out = sells ? leg->qty : 0;
    item_t *item = &m->items[leg->item];

    *(refunds ? &item->sold : &item->reserved) -= back;
    item->sold += out;
    item->available += back - out;
    item->count[user] += out - back;
    line->qty = sells ? out : line->qty;
    line->state = sells                       ? SECKILL_STATE_CONFIRMED
                  : refunds                   ? SECKILL_STATE_REFUNDED
                  : e->type == SKL_REC_EXPIRE ? SECKILL_STATE_EXPIRED
                                              : SECKILL_STATE_CANCELLED;
}

/* A reservation or an order gets its next state. */
static void apply_end(model_t *m, const event_t *e)
{
    order_t *o = &m->orders[request_of(m, e->of)];

    for (int i = 0; i < e->count; i++) {
        apply_line(m, e, &e->legs[i], line_of(o, e->legs[i].item), o->user);
    }
    if (e->type == SKL_REC_REFUND || e->type == SKL_REC_ORDER_REFUND) {
        m->orders[e->request] =
            (order_t){.kind = SKL_REQ_REFUND, .item = o->item, .lsn = e->of};
    }
}

static void apply(model_t *m, event_t *e)
{
    item_t *item = &m->items[e->legs[0].item];

    m->lsn++;
    switch (e->type) {
    case SKL_REC_PUT:
        apply_put(item, e);
        break;
    case SKL_REC_RESERVE:
    case SKL_REC_ORDER:
        apply_sale(m, e);
        break;
    case SKL_REC_ADJUST:
        item->total += e->legs[0].qty;
        item->available += e->legs[0].qty;
        m->orders[e->request] = (order_t){.kind = SKL_REQ_ADJUST,
                                          .item = e->legs[0].item,
                                          .qty = e->legs[0].qty};
        break;
    case SKL_REC_PAUSE:
    case SKL_REC_RESUME:
        item->paused = e->type == SKL_REC_PAUSE;
        break;
    default:
        apply_end(m, e);
    }
    for (int i = 0; i < e->count; i++) {
        item = &m->items[e->legs[i].item];
        e->legs[i].available = item->available;
        e->legs[i].reserved = item->reserved;
        e->legs[i].sold = item->sold;
    }
}

static void emit(model_t *m, event_t e)
{
    m->events[m->lsn % EVENTS] = e;
    apply(m, &m->events[m->lsn % EVENTS]);
}

static void begin_model(model_t *m, const int64_t *holds)
{
    memset(m->items, 0, sizeof(m->items));
    memset(m->orders, 0, sizeof(m->orders));
    m->lsn = 0;
    for (int i = 0; i < ITEMS; i++) {
        m->items[i].hold = holds[i];
    }
}

/* Nothing behind this LSN ever happened. */
static void cut_model(model_t *m, const int64_t *holds, uint64_t lsn)
{
    begin_model(m, holds);
    while (m->lsn < lsn) {
        apply(m, &m->events[m->lsn]);
    }
}

/* ---- The model: what an operation does ----------------------------------- */

static int is_due(const order_t *o, int i, int64_t now)
{
    return is_sale(o) && o->lines[i].state == SECKILL_STATE_RESERVED &&
           o->deadline <= now;
}

static void expire(model_t *m, const order_t *o, int i)
{
    emit(m, (event_t){.type = SKL_REC_EXPIRE,
                      .count = 1,
                      .legs[0] = {.item = o->lines[i].item},
                      .of = o->lsn});
}

/* Each line ends on its own, in the order of the lines. */
static void expire_lines(model_t *m, const order_t *o, int64_t now)
{
    for (int i = 0; i < o->count; i++) {
        if (is_due(o, i, now)) {
            expire(m, o, i);
        }
    }
}

/* End the hold of an item that is due first: 1, or 0. */
static int expire_first(model_t *m, int item, int64_t now)
{
    const order_t *first = NULL;
    int line = 0;

    for (int k = 0; k < REQUESTS * ITEMS; k++) {
        const order_t *o = &m->orders[k / ITEMS];
        const int i = k % ITEMS;

        if (i < o->count && o->lines[i].item == item && is_due(o, i, now) &&
            (first == NULL || o->deadline < first->deadline ||
             (o->deadline == first->deadline && o->lsn < first->lsn))) {
            first = o;
            line = i;
        }
    }
    if (first != NULL) {
        expire(m, first, line);
    }
    return first != NULL;
}

static void expire_all(model_t *m, int item, int64_t now)
{
    while (expire_first(m, item, now)) {
    }
}

static int decide(const item_t *item, int user, int64_t qty)
{
    if (item->paused) {
        return SECKILL_EPAUSED;
    }
    if ((item->per_user != 0 && item->count[user] + qty > item->per_user) ||
        item->ids[user] >= IDS_PER_USER) {
        return SECKILL_EUSERLIMIT;
    }
    return qty > item->available ? SECKILL_ESOLDOUT : SECKILL_OK;
}

/* The operations, as a caller names them. */
enum {
    OP_PUT,
    OP_RESERVE,
    OP_ORDER,
    OP_CONFIRM,
    OP_CANCEL,
    OP_REFUND,
    OP_ADJUST,
    OP_PAUSE,
    OP_FIND,
    OP_SWEEP,
    OP_LOST /* confirm with an id that was lost */
};

typedef struct {
    int op, item, user, request;
    int64_t qty;  /* PUT: total; ADJUST: delta; PAUSE: 1 or 0; CONFIRM: a part,
                   * or 0 */
    int64_t more; /* PUT: per_user; CONFIRM: 1: after the end, too */
    int count;    /* ORDER: of lines; else 1 */
    leg_t legs[ITEMS];
    int64_t version, now;
    uint64_t of; /* CONFIRM, CANCEL, REFUND: LSN of the reservation */
    int lost;
} call_t;

/* Something was refused that may be had once due holds have ended: end them. */
static int turns(model_t *m, int item, int rc, int64_t now)
{
    if ((rc != SECKILL_EUSERLIMIT && rc != SECKILL_ESOLDOUT) ||
        !expire_first(m, item, now)) {
        return 0;
    }
    expire_all(m, item, now);
    return 1;
}

static int is_same_sale(const order_t *o, const call_t *c)
{
    int same = o->user == c->user && o->count == c->count;

    for (int i = 0; i < c->count && same; i++) {
        same = o->lines[i].item == c->legs[i].item &&
               o->lines[i].asked == c->legs[i].qty;
    }
    return same;
}

/* The first line that refuses decides. */
static int decide_lines(model_t *m, const call_t *c)
{
    int rc = SECKILL_OK;

    for (int i = 0; i < c->count && rc == SECKILL_OK; i++) {
        const int number = c->legs[i].item;

        rc = m->items[number].known
                 ? decide(&m->items[number], c->user, c->legs[i].qty)
                 : SECKILL_EUNKNOWNITEM;
        if (turns(m, number, rc, c->now)) {
            rc = SECKILL_OK;
            i = NONE; /* all over again */
        }
    }
    return rc;
}

static int64_t shortest_hold(const model_t *m, const call_t *c)
{
    int64_t hold = 0;

    for (int i = 0; i < c->count; i++) {
        const int64_t own = m->items[c->legs[i].item].hold;

        hold = own != 0 && (hold == 0 || own < hold) ? own : hold;
    }
    return hold;
}

static int m_sale(model_t *m, const call_t *c)
{
    const int kind = c->op == OP_ORDER ? SKL_REQ_ORDER : SKL_REQ_RESERVE;
    const order_t *o = &m->orders[c->request];
    event_t e = {.type = c->op == OP_ORDER ? SKL_REC_ORDER : SKL_REC_RESERVE,
                 .request = c->request,
                 .user = c->user,
                 .count = c->count};
    int64_t hold;
    int rc;

    if (o->kind != 0) {
        if (o->kind == kind) {
            expire_lines(m, o, c->now);
        }
        return o->kind == kind && is_same_sale(o, c) ? SECKILL_OK
                                                     : SECKILL_ECONFLICT;
    }
    rc = decide_lines(m, c);
    if (rc == SECKILL_OK) {
        hold = shortest_hold(m, c);
        e.deadline = hold == 0 ? 0 : c->now + hold;
        memcpy(e.legs, c->legs, sizeof(e.legs));
        emit(m, e);
    }
    return rc;
}

static int refusal(uint32_t state)
{
    static const int codes[] = {[SECKILL_STATE_RESERVED] = SECKILL_ERESERVED,
                                [SECKILL_STATE_CONFIRMED] = SECKILL_ECONFIRMED,
                                [SECKILL_STATE_CANCELLED] = SECKILL_ECANCELLED,
                                [SECKILL_STATE_EXPIRED] = SECKILL_EEXPIRED,
                                [SECKILL_STATE_REFUNDED] = SECKILL_EREFUNDED};

    return codes[state];
}

/* Are the units of an expired one still to be had? */
static int may_take_again(model_t *m, const order_t *o, const call_t *c)
{
    int rc = SECKILL_OK;

    for (int i = 0; i < o->count && rc == SECKILL_OK; i++) {
        const line_t *line = &o->lines[i];
        const item_t *item = &m->items[line->item];
        const int64_t qty = c->qty != 0 ? c->qty : line->qty;

        rc = item->per_user != 0 && item->count[o->user] + qty > item->per_user
                 ? SECKILL_EUSERLIMIT
             : qty > item->available ? SECKILL_ESOLDOUT
                                     : SECKILL_OK;
        if (turns(m, line->item, rc, c->now)) {
            rc = SECKILL_OK;
            i = NONE;
        }
    }
    return rc;
}

static void emit_end(model_t *m, const order_t *o, const call_t *c, int again)
{
    static const int types[][2] = {
        [OP_CONFIRM] = {SKL_REC_CONFIRM, SKL_REC_ORDER_CONFIRM},
        [OP_CANCEL] = {SKL_REC_CANCEL, SKL_REC_ORDER_CANCEL},
        [OP_REFUND] = {SKL_REC_REFUND, SKL_REC_ORDER_REFUND}};
    event_t e = {.type = types[c->op][o->kind == SKL_REQ_ORDER],
                 .request = c->request,
                 .count = o->count,
                 .again = again,
                 .of = o->lsn};

    for (int i = 0; i < o->count; i++) {
        e.legs[i].item = o->lines[i].item;
        e.legs[i].qty =
            c->op == OP_CONFIRM && c->qty != 0 ? c->qty : o->lines[i].qty;
    }
    emit(m, e);
}

/* May it take this step? */
static int decide_end(model_t *m, const order_t *o, const call_t *c)
{
    static const uint32_t targets[] = {[OP_CONFIRM] = SECKILL_STATE_CONFIRMED,
                                       [OP_CANCEL] = SECKILL_STATE_CANCELLED,
                                       [OP_REFUND] = SECKILL_STATE_REFUNDED};
    const uint32_t state = o->lines[0].state;
    const int part = c->op == OP_CONFIRM && c->qty != 0;
    const int again =
        c->op == OP_CONFIRM && c->more && state == SECKILL_STATE_EXPIRED;

    if (part && o->count > 1) {
        return SECKILL_EBADQTY;
    }
    if (state == targets[c->op]) {
        return part && c->qty != o->lines[0].qty ? SECKILL_ECONFLICT
                                                 : SECKILL_OK;
    }
    if (!again && state != (c->op == OP_REFUND ? SECKILL_STATE_CONFIRMED
                                               : SECKILL_STATE_RESERVED)) {
        return refusal(state);
    }
    if (part && c->qty > o->lines[0].qty) {
        return SECKILL_EBADQTY;
    }
    if (again) {
        const int rc = may_take_again(m, o, c);

        return rc == SECKILL_OK ? 2 : rc;
    }
    return 1;
}

static int m_settle(model_t *m, const call_t *c)
{
    const order_t *used = &m->orders[c->request];
    const int of = request_of(m, c->of);
    int rc;

    if (c->op == OP_REFUND && used->kind != 0) {
        return used->kind == SKL_REQ_REFUND && used->lsn == c->of
                   ? SECKILL_OK
                   : SECKILL_ECONFLICT;
    }
    if (of == NONE) {
        return SECKILL_EUNKNOWNRESERVATION;
    }
    expire_lines(m, &m->orders[of], c->now);
    rc = decide_end(m, &m->orders[of], c);
    if (rc > 0) {
        emit_end(m, &m->orders[of], c, rc == 2);
        rc = SECKILL_OK;
    }
    return rc;
}

static int m_put(model_t *m, const call_t *c)
{
    item_t *item = &m->items[c->item];

    if (item->known && c->version <= item->version) {
        return c->version < item->version ? SECKILL_ESTALE
               : item->put == c->qty && item->per_user == c->more
                   ? SECKILL_OK
                   : SECKILL_ECONFLICT;
    }
    expire_all(m, c->item, c->now);
    if (c->qty >= 0 && c->qty < item->reserved + item->sold) {
        return SECKILL_EBELOWSOLD;
    }
    emit(m, (event_t){.type = SKL_REC_PUT,
                      .count = 1,
                      .legs[0] = {.item = c->item, .qty = c->qty},
                      .deadline = c->more});
    return SECKILL_OK;
}

static int m_adjust(model_t *m, const call_t *c)
{
    const order_t *o = &m->orders[c->request];
    item_t *item = &m->items[c->item];

    if (o->kind != 0) {
        return o->kind == SKL_REQ_ADJUST && o->item == c->item &&
                       o->qty == c->qty
                   ? SECKILL_OK
                   : SECKILL_ECONFLICT;
    }
    if (!item->known) {
        return SECKILL_EUNKNOWNITEM;
    }
    expire_all(m, c->item, c->now);
    if (item->available + c->qty < 0) {
        return SECKILL_EBELOWSOLD;
    }
    emit(m, (event_t){.type = SKL_REC_ADJUST,
                      .count = 1,
                      .legs[0] = {.item = c->item, .qty = c->qty},
                      .request = c->request});
    return SECKILL_OK;
}

static int m_find(model_t *m, const call_t *c)
{
    const order_t *o = &m->orders[c->request];

    if (!is_sale(o)) {
        return SECKILL_EUNKNOWNREQUEST;
    }
    expire_lines(m, o, c->now);
    return SECKILL_OK;
}

static int m_pause(model_t *m, const call_t *c)
{
    const item_t *item = &m->items[c->item];

    if (!item->known) {
        return SECKILL_EUNKNOWNITEM;
    }
    if (item->paused != (int)c->qty) {
        emit(m, (event_t){.type = c->qty ? SKL_REC_PAUSE : SKL_REC_RESUME,
                          .count = 1,
                          .legs[0] = {.item = c->item}});
    }
    return SECKILL_OK;
}

static int m_call(model_t *m, const call_t *c)
{
    switch (c->op) {
    case OP_PUT:
        return m_put(m, c);
    case OP_RESERVE:
    case OP_ORDER:
        return m_sale(m, c);
    case OP_ADJUST:
        return m_adjust(m, c);
    case OP_PAUSE:
        return m_pause(m, c);
    case OP_FIND:
        return m_find(m, c);
    case OP_SWEEP:
        return SECKILL_OK; /* its records say what it did */
    case OP_LOST:
        return SECKILL_EUNKNOWNRESERVATION;
    default:
        return m_settle(m, c);
    }
}

/* ---- One run ------------------------------------------------------------- */

typedef struct {
    call_t call; /* op NONE: an event that survived its answer */
    int rc;
    uint64_t lsn;
    event_t event;
} answer_t;

typedef struct {
    uint64_t seed, random;
    simdisk_t *disk;
    simledger_t l;
    simledger_config_t config;
    simledger_memory_t memory;
    int64_t now, holds[ITEMS];
    int up, failed;
    model_t model;
    char ids[EVENTS][ID]; /* of the reservation of that LSN */
    char lost[LOST][ID];
    int lost_count;
    answer_t answers[ANSWERS];
    int answer_count;
    simledger_handed_t handed[HANDED];
    uint64_t handed_count; /* handed[i] is LSN i + 1 */
    uint64_t read, acked, acking, durable, last_lsn;
    int trouble; /* steps until the disk is well again */
} run_t;

static run_t run;
static model_t fresh;

static struct {
    uint64_t seeds, calls, answers, busy, crashes, power, lost, faults, full,
        handed, snapshots, failed_opens, taken_over, of_orders, parts, again;
} sum;

static uint64_t draw(uint64_t n)
{
    run.random += 0x9e3779b97f4a7c15ULL;
    return skl_mix64(run.random) % n;
}

__attribute__((format(printf, 1, 2))) static void broken(const char *format,
                                                         ...)
{
    va_list args;
    char text[300];

    va_start(args, format);
    (void)vsnprintf(text, sizeof(text), format, args);
    va_end(args);
    if (!run.failed) {
        CHECK(!"a promise is broken");
        printf("#   SECKILL_SEED=%" PRIu64 ": %s\n", run.seed, text);
    }
    run.failed = 1;
}

static skl_bytes_t text_of(char *out, const char *prefix, int number)
{
    snprintf(out, ID, "%s-%d", prefix, number);
    return simledger_str(out);
}

/* ---- The real thing ------------------------------------------------------ */

static int real_put(const call_t *c)
{
    seckill_item_t i = {.struct_size = sizeof(i),
                        .total = c->qty,
                        .per_user = c->more,
                        .hold_ns = run.holds[c->item],
                        .version = c->version};

    i.item_len = (uint32_t)snprintf(i.item, sizeof(i.item), "item-%d", c->item);
    return skl_stock_put(&run.l.stock, &i, c->now);
}

static void check_id(const call_t *c, const char *got, uint32_t len,
                     int replayed)
{
    char *id = run.ids[run.model.orders[c->request].lsn % EVENTS];

    if (!replayed) {
        snprintf(id, ID, "%.*s", (int)len, got);
    } else if (strlen(id) != len || memcmp(id, got, len) != 0) {
        broken("request %d: another id than before", c->request);
    }
}

/* What a reservation says of itself; of an order the first line. */
static void check_answer(const call_t *c, const seckill_reservation_t *r)
{
    const order_t *o = &run.model.orders[c->request];
    const line_t *line = &o->lines[0];

    if (r->lsn != o->lsn || r->qty != line->qty || r->state != line->state ||
        r->expires_at !=
            (line->state == SECKILL_STATE_RESERVED ? o->deadline : 0) ||
        r->remaining != run.model.items[line->item].available ||
        r->lines != (o->kind == SKL_REQ_ORDER ? o->count : 0)) {
        broken("request %d: the answer differs", c->request);
    }
    check_id(c, r->id, r->id_len, r->replayed);
}

static void check_order(const call_t *c, const seckill_order_t *r)
{
    const order_t *o = &run.model.orders[c->request];
    int good =
        r->lsn == o->lsn && r->state == o->lines[0].state &&
        r->line_count == (uint32_t)o->count &&
        r->expires_at == (r->state == SECKILL_STATE_RESERVED ? o->deadline : 0);

    for (int i = 0; i < o->count && good; i++) {
        const line_t *line = &o->lines[i];

        good = r->lines[i].qty == line->qty && line->state == r->state &&
               r->lines[i].remaining == run.model.items[line->item].available;
    }
    if (!good) {
        broken("order %d: the answer differs", c->request);
    }
    check_id(c, r->id, r->id_len, r->replayed);
}

/* What the ledger answers with. */
typedef struct {
    seckill_reservation_t r;
    seckill_order_t o;
} real_t;

static int real_order(const call_t *c, skl_bytes_t user, skl_bytes_t request,
                      seckill_order_t *out)
{
    seckill_line_t lines[ITEMS] = {0};
    uint32_t refused;

    for (int i = 0; i < c->count; i++) {
        lines[i].qty = c->legs[i].qty;
        lines[i].item_len = (uint8_t)snprintf(
            lines[i].item, sizeof(lines[i].item), "item-%d", c->legs[i].item);
    }
    return skl_stock_order(&run.l.stock, user, request, lines, (size_t)c->count,
                           c->now, out, &refused);
}

static int real_call(const call_t *c, real_t *out)
{
    char item[ID], user[ID], request[ID];
    const skl_bytes_t i = text_of(item, "item", c->item);
    const skl_bytes_t u = text_of(user, "user", c->user);
    const skl_bytes_t q = text_of(request, "request", c->request);
    const skl_bytes_t id = simledger_str(
        c->op == OP_LOST ? run.lost[c->lost] : run.ids[c->of % EVENTS]);
    skl_stock_t *s = &run.l.stock;

    switch (c->op) {
    case OP_PUT:
        return real_put(c);
    case OP_RESERVE:
        return skl_stock_reserve(s, i, u, c->qty, q, c->now, &out->r);
    case OP_ORDER:
        return real_order(c, u, q, &out->o);
    case OP_ADJUST:
        return skl_stock_adjust(s, i, c->qty, q, c->now);
    case OP_PAUSE:
        return skl_stock_pause(s, i, (int)c->qty, c->now);
    case OP_FIND:
        return skl_stock_find(s, q, c->now, &out->r);
    case OP_SWEEP:
        return skl_stock_sweep(s, 1000, c->now) >= 0 ? SECKILL_OK : NONE;
    case OP_CANCEL:
        return skl_stock_cancel(s, id, c->now);
    case OP_REFUND:
        return skl_stock_refund(s, id, q, c->now);
    default:
        return skl_stock_confirm_with(s, id, c->qty, (int)c->more, c->now);
    }
}

/* ---- Comparing ----------------------------------------------------------- */

/* May the ledger say busy: is the log behind, or the ring full? */
static int may_be_busy(void)
{
    const uint64_t waiting = simledger_lsn(&run.l) - simledger_durable(&run.l);

    return skl_ring_refuses(&run.l.stock.ring, run.now) ||
           2 * waiting + 16 >= run.config.log_units;
}

static int is_leg(const leg_t *leg, int64_t available, int64_t reserved,
                  int64_t sold)
{
    return leg->available == available && leg->reserved == reserved &&
           leg->sold == sold;
}

static void check_record(uint64_t lsn)
{
    const skl_record_t *r = &run.memory.list[lsn - 1];
    const event_t *e = &run.model.events[lsn - 1];
    int good = r->type == e->type;

    sum.of_orders += (uint64_t)skl_rec_is_order(r);
    sum.again += (uint64_t)e->again;
    if (good && !skl_rec_is_order(r)) {
        good = is_leg(&e->legs[0], r->available, r->reserved, r->sold);
    } else if (good) {
        good = r->lines.count == (uint32_t)e->count;
        for (int i = 0; i < e->count && good; i++) {
            good = is_leg(&e->legs[i], r->legs[i].available,
                          r->legs[i].reserved, r->legs[i].sold);
        }
    }
    if (!good) {
        broken("record %" PRIu64 " (%s) is not the model's (%s)", lsn,
               skl_rec_type_name(r->type), skl_rec_type_name(e->type));
    }
}

/* The line of an order that a record of a reservation is about, or NONE. */
static int line_of_record(const order_t *o, const skl_record_t *r)
{
    const int item = skl_rec_item(r)[r->item_len - 1] - '0';

    for (int i = 0; i < o->count; i++) {
        if (o->lines[i].item == item) {
            return i;
        }
    }
    return NONE;
}

/* A sweep ends holds in an order of its own: all that are due. */
static void follow_sweep(uint64_t before)
{
    for (uint64_t lsn = before + 1; lsn <= run.memory.count; lsn++) {
        const skl_record_t *r = &run.memory.list[lsn - 1];
        const int of = request_of(&run.model, r->order.row_lsn);
        const order_t *o = of == NONE ? NULL : &run.model.orders[of];
        const int i = o == NULL ? NONE : line_of_record(o, r);

        if (r->type != SKL_REC_EXPIRE || i == NONE || !is_due(o, i, run.now)) {
            broken("the sweep wrote record %" PRIu64, lsn);
            return;
        }
        expire(&run.model, o, i);
    }
    for (int i = 0; i < REQUESTS * ITEMS && !may_be_busy(); i++) {
        const order_t *o = &run.model.orders[i / ITEMS];

        if (i % ITEMS < o->count && is_due(o, i % ITEMS, run.now)) {
            broken("the sweep left the hold of request %d", i / ITEMS);
        }
    }
}

static void note_answer(const call_t *c, int rc)
{
    answer_t *a = &run.answers[run.answer_count];

    if (run.answer_count == ANSWERS) {
        broken("too many answers");
        return;
    }
    run.answer_count++;
    *a = (answer_t){.call = *c, .rc = rc, .lsn = skl_answer_lsn()};
    if (a->lsn != run.model.lsn) {
        broken("operation %d (%s) has LSN %" PRIu64 ", the newest is %" PRIu64,
               c->op, seckill_errname(rc), a->lsn, run.model.lsn);
    }
    /* Answered before this call began: at most our LSN. */
    if (a->lsn < run.last_lsn) {
        broken("LSNs of answers go back");
    }
    run.last_lsn = a->lsn;
}

static void do_call(const call_t *c)
{
    const uint64_t before = simledger_lsn(&run.l);
    real_t got = {0};
    const int want = m_call(&run.model, c);
    const int rc = real_call(c, &got);

    sum.calls++;
    simledger_note(&run.l);
    if (c->op == OP_SWEEP) {
        follow_sweep(before);
    }
    if (rc == SECKILL_EBUSY && want != rc) {
        sum.busy++;
        if (!may_be_busy() || simledger_lsn(&run.l) > run.model.lsn) {
            broken("operation %d is busy without a reason", c->op);
        }
        cut_model(&run.model, run.holds, simledger_lsn(&run.l));
    } else if (rc != want || simledger_lsn(&run.l) != run.model.lsn) {
        broken("operation %d: %s, LSN %" PRIu64 "; the model says %s, %" PRIu64,
               c->op, seckill_errname(rc), simledger_lsn(&run.l),
               seckill_errname(want), run.model.lsn);
    }
    for (uint64_t lsn = before + 1; lsn <= simledger_lsn(&run.l); lsn++) {
        check_record(lsn);
    }
    if (rc == SECKILL_OK && (c->op == OP_RESERVE || c->op == OP_FIND)) {
        check_answer(c, &got.r);
    }
    if (rc == SECKILL_OK && c->op == OP_ORDER) {
        check_order(c, &got.o);
    }
    sum.parts += rc == SECKILL_OK && c->op == OP_CONFIRM && c->qty != 0;
    if (c->op != OP_SWEEP && rc != SECKILL_EBUSY) {
        note_answer(c, rc);
    } else if (simledger_lsn(&run.l) > before) { /* events of their own */
        for (uint64_t lsn = before; lsn < run.model.lsn; lsn++) {
            run.answers[run.answer_count++ % ANSWERS] =
                (answer_t){.call.op = NONE,
                           .lsn = lsn + 1,
                           .event = run.model.events[lsn]};
        }
    }
    sum.answers++;
}

/* ---- Steps: operations --------------------------------------------------- */

/* LSN of some reservation that was answered. */
static uint64_t some_reservation(void)
{
    for (int i = 0; i < 20; i++) {
        const order_t *o = &run.model.orders[draw(REQUESTS)];

        if (is_sale(o)) {
            return o->lsn;
        }
    }
    return 0;
}

/* Half of the confirms are of all, in time; else of a part, or late. */
static void settle_some(call_t *c)
{
    c->qty = c->op == OP_CONFIRM && draw(4) == 0 ? 1 + (int64_t)draw(3) : 0;
    c->more = c->op == OP_CONFIRM && draw(3) == 0;
    c->of = some_reservation();
    if (c->of != 0) {
        do_call(c);
    }
}

/* The lines of a new order or reservation, or of an old one again. */
static void fill_sale(call_t *c)
{
    const order_t *o = &run.model.orders[c->request];

    c->count = c->op == OP_ORDER ? 1 + (int)draw(ITEMS) : 1;
    for (int i = 0; i < c->count; i++) {
        c->legs[i] =
            (leg_t){.item = (c->item + i) % ITEMS, .qty = 1 + (int64_t)draw(3)};
    }
    if (draw(3) == 0 && is_sale(o)) { /* a retry */
        c->op = o->kind == SKL_REQ_ORDER ? OP_ORDER : OP_RESERVE;
        c->user = o->user;
        c->count = o->count;
        for (int i = 0; i < o->count; i++) {
            c->legs[i] =
                (leg_t){.item = o->lines[i].item, .qty = o->lines[i].asked};
        }
    }
    c->item = c->legs[0].item;
    c->qty = c->legs[0].qty;
}

static void operate(void)
{
    call_t c = {.item = (int)draw(ITEMS),
                .user = (int)draw(USERS),
                .request = (int)draw(REQUESTS),
                .now = run.now};
    const uint64_t kind = draw(100);

    c.op = kind < 30   ? OP_RESERVE
           : kind < 45 ? OP_ORDER
           : kind < 58 ? OP_CONFIRM
           : kind < 66 ? OP_CANCEL
           : kind < 72 ? OP_REFUND
           : kind < 77 ? OP_ADJUST
           : kind < 82 ? OP_PUT
           : kind < 85 ? OP_PAUSE
           : kind < 93 ? OP_FIND
           : kind < 96 ? OP_SWEEP
                       : OP_LOST;
    if (c.op == OP_PUT) {
        c.version = run.model.items[c.item].version + 1 - (int64_t)draw(3) / 2;
        c.version = c.version < 1 ? 1 : c.version;
        c.more = (int64_t)draw(3) * 4;
        c.qty = run.model.items[c.item].known && draw(2)
                    ? -1
                    : 20 + (int64_t)draw(40);
    } else if (c.op == OP_ADJUST) {
        c.qty = (int64_t)draw(9) - 4;
        c.qty = c.qty == 0 ? 5 : c.qty;
    } else if (c.op == OP_PAUSE) {
        c.qty = draw(4) == 0;
    } else if (c.op == OP_LOST) {
        if (run.lost_count > 0) {
            c.lost = (int)draw((uint64_t)run.lost_count);
            do_call(&c);
        }
        return;
    } else if (c.op == OP_CONFIRM || c.op == OP_CANCEL || c.op == OP_REFUND) {
        settle_some(&c);
        return;
    } else if (c.op == OP_RESERVE || c.op == OP_ORDER) {
        fill_sale(&c);
    }
    do_call(&c);
}

/* ---- Steps: the consumer ------------------------------------------------- */

static void take(const simledger_handed_t *h)
{
    if (h->lsn <= run.handed_count) {
        const simledger_handed_t *before = &run.handed[h->lsn - 1];

        if (before->incarnation != h->incarnation || before->crc != h->crc) {
            broken("LSN %" PRIu64 " is handed on again, and differs", h->lsn);
        }
    } else if (h->lsn == run.handed_count + 1 && h->lsn <= HANDED) {
        run.handed[run.handed_count++] = *h;
        sum.handed++;
    } else {
        broken("the feed goes from %" PRIu64 " to %" PRIu64, run.handed_count,
               h->lsn);
    }
    if (h->lsn > simledger_durable(&run.l) || h->lsn > run.memory.count ||
        h->crc != run.memory.list[h->lsn - 1].crc) {
        broken("LSN %" PRIu64 " is handed on, not durable or not what was",
               h->lsn);
    }
}

static void consume(void)
{
    simledger_handed_t got[16];
    int n = simledger_feed(&run.l, run.read, got, 16);
    uint64_t at = run.read;

    if (n == SECKILL_ECORRUPT || n == SECKILL_ECURSORGONE) {
        broken("the consumer reads %s: %s", seckill_errname(n), run.l.text);
    }
    for (int i = 0; i < n && !run.failed; i++) {
        take(&got[i]);
        at = got[i].lsn;
    }
    run.read = at;
    run.acking = run.acking > at ? run.acking : at;
    if (!run.failed && at > run.acked &&
        simledger_ack(&run.l, CONSUMER, at, run.handed[at - 1].incarnation) ==
            SECKILL_OK) {
        run.acked = at;
    }
}

/* ---- Steps: crash and recovery ------------------------------------------- */

/* After a crash: answers behind the LSN were never given; events that survived
 * their answers stand alone. */
static void cut_answers(uint64_t lsn)
{
    uint64_t known = 0;
    int kept = 0;

    for (int i = 0; i < run.answer_count; i++) {
        const answer_t *a = &run.answers[i];

        if (a->lsn <= lsn) {
            known = a->lsn;
            run.answers[kept++] = *a;
        }
    }
    run.answer_count = kept;
    while (known < lsn) {
        run.answers[run.answer_count++ % ANSWERS] =
            (answer_t){.call.op = NONE,
                       .lsn = known + 1,
                       .event = run.model.events[known]};
        known++;
    }
}

static void cut(uint64_t lsn)
{
    for (uint64_t i = lsn + 1; i <= run.model.lsn; i++) {
        const int type = run.model.events[i - 1].type;

        if ((type == SKL_REC_RESERVE || type == SKL_REC_ORDER) &&
            run.lost_count < LOST) {
            memcpy(run.lost[run.lost_count++], run.ids[i], ID);
        }
    }
    sum.lost += run.model.lsn - lsn;
    cut_answers(lsn);
    cut_model(&run.model, run.holds, lsn);
    run.last_lsn = lsn;
}

static void check_cursor(void)
{
    uint64_t lsn = 0;
    uint32_t incarnation;
    int rc = simledger_acked(&run.l, CONSUMER, &lsn, &incarnation);

    if (rc == SECKILL_EIO) {
        run.read = run.acked; /* it begins with what it knows */
        return;
    }
    if (rc == SECKILL_ENOTFOUND
            ? run.acked != 0
            : rc != SECKILL_OK || lsn < run.acked || lsn > run.acking) {
        broken("the cursor is %s, %" PRIu64 ", not %" PRIu64,
               seckill_errname(rc), lsn, run.acked);
    }
    run.read = run.acked = lsn;
}

static void recover(void)
{
    int rc =
        simledger_open(&run.l, run.disk, &run.config, &run.memory, run.now);

    run.up = rc == SECKILL_OK;
    if (!run.up) {
        sum.failed_opens++;
        if (rc == SECKILL_ECORRUPT || rc == SECKILL_ECURSORGONE) {
            broken("it does not open: %s", run.l.text);
        }
        simdisk_process_crash(run.disk);
        simdisk_heal(run.disk);
        return;
    }
    if (run.l.recovered < run.durable || run.l.recovered > run.model.lsn ||
        run.l.recovered < run.handed_count) {
        broken("%" PRIu64 " recovered, %" PRIu64 " durable, %" PRIu64
               " handed on",
               run.l.recovered, run.durable, run.handed_count);
        return;
    }
    cut(run.l.recovered);
    run.durable = run.l.recovered;
    if (!simledger_agrees(&run.l)) {
        broken("recovered: %s", run.l.text);
    }
    check_cursor();
}

static void crash(void)
{
    const uint32_t percents[] = {0, 50, 90, 100};

    sum.crashes++;
    if (draw(4) == 0) { /* the others live on */
        sum.taken_over++;
        simledger_take_over(&run.l);
        simdisk_process_crash(run.disk);
        return;
    }
    simledger_die(&run.l);
    run.up = 0;
    simdisk_process_crash(run.disk);
    if (draw(3) != 0) {
        sum.power++;
        simdisk_power_loss(run.disk, percents[draw(4)]);
    }
}

/* ---- Steps --------------------------------------------------------------- */

static void flush(void)
{
    const uint64_t before = simledger_durable(&run.l);

    (void)simledger_flush(&run.l);
    run.l.mono += SIM_MS;
    if (simledger_durable(&run.l) < before) {
        broken("the durable LSN goes back");
    }
    /* What a frozen disk says, nobody hears. */
    if (!simdisk_is_frozen(run.disk)) {
        run.durable = simledger_durable(&run.l);
    }
}

static void snapshot(void)
{
    int rc;

    if (run.acked == 0 && simledger_durable(&run.l) > 0) {
        return; /* first the consumer makes its cursor */
    }
    rc = simledger_snapshot(&run.l, 1 + (uint32_t)draw(64));
    sum.snapshots += rc == 0;
    if (rc == SECKILL_ECORRUPT || rc == SECKILL_ECURSORGONE) {
        broken("snapshot: %s: %s", seckill_errname(rc), run.l.text);
    }
}

static void make_trouble(void)
{
    switch (draw(4)) {
    case 0:
        simdisk_fault(run.disk, simdisk_calls(run.disk) + draw(60), SIM_FREEZE,
                      1);
        break;
    case 1:
        sum.full++;
        simdisk_capacity(run.disk, simdisk_used(run.disk) + draw(40000));
        break;
    default:
        sum.faults++;
        simdisk_noise(run.disk, 5 + (uint32_t)draw(200));
    }
    run.trouble = 5 + (int)draw(40);
}

static void pass_time(void)
{
    const int64_t ns = (int64_t)draw(4) * SIM_SEC + (int64_t)draw(SIM_SEC);

    run.now += ns;
    run.l.now = run.now;
    run.l.mono += ns;
}

static void step(void)
{
    const uint64_t kind = draw(1000);

    if (run.trouble > 0 && --run.trouble == 0) {
        simdisk_heal(run.disk);
    }
    if (!run.up) {
        recover();
    } else if (simdisk_is_frozen(run.disk) || kind < 12) {
        crash();
    } else if (kind < 24) {
        make_trouble();
    } else if (kind < 70) {
        snapshot();
    } else if (kind < 120) {
        consume();
    } else if (kind < 180) {
        pass_time();
    } else if (kind < 350) {
        flush();
    } else {
        operate();
    }
}

/* ---- The end ------------------------------------------------------------- */

/* All answers that were not lost, in LSN order, of a fresh model. */
static void check_history(void)
{
    begin_model(&fresh, run.holds);
    for (int i = 0; i < run.answer_count && !run.failed; i++) {
        const answer_t *a = &run.answers[i];
        int rc = a->rc;

        if (a->call.op == NONE) {
            emit(&fresh, a->event);
        } else {
            rc = m_call(&fresh, &a->call);
        }
        if (rc != a->rc || fresh.lsn != a->lsn) {
            broken("answer %d (operation %d) was %s, LSN %" PRIu64
                   "; in order it is %s, LSN %" PRIu64,
                   i, a->call.op, seckill_errname(a->rc), a->lsn,
                   seckill_errname(rc), fresh.lsn);
        }
    }
}

/* A well disk, a consumer that reads on and snapshots: the log gets room. */
static void make_room(void)
{
    char why[SKL_WAL_TEXT];

    for (int i = 0; i < 200 && run.up && !run.failed; i++) {
        if (!skl_ring_refuses(&run.l.stock.ring, run.l.now) &&
            simledger_durable(&run.l) == simledger_lsn(&run.l)) {
            return;
        }
        consume();
        snapshot();
        flush();
        run.l.mono += 100 * SIM_MS;
    }
    skl_wal_text_get(&run.l.wal->error, why);
    broken("a log that was full stays full: %s", why);
}

static void finish(void)
{
    simdisk_heal(run.disk);
    while (run.up && simdisk_is_frozen(run.disk)) {
        crash();
    }
    for (int i = 0; i < 3 && !run.up && !run.failed; i++) {
        recover();
    }
    if (!run.failed && run.up) {
        make_room();
    } else {
        broken("it does not open on a healed disk: %s", run.l.text);
    }
    check_history();
    for (int i = 0; i < REQUESTS && !run.failed; i++) {
        const call_t c = {.op = OP_FIND, .request = i, .now = run.now};

        do_call(&c);
        make_room();
    }
    run.durable = simledger_durable(&run.l);
    if (!run.failed) {
        simledger_die(&run.l);
        simdisk_power_loss(run.disk, 0);
        recover();
    }
    if (!run.failed && !simledger_sells_out(&run.l, make_room)) {
        broken("it does not sell out: %s", run.l.text);
    }
}

static int simulate(uint64_t seed)
{
    memset(&run, 0, sizeof(run));
    run.seed = seed;
    run.random = skl_mix64(seed);
    run.now = SIM_T0;
    run.config = simledger_config();
    run.config.seed = seed;
    run.config.reservations = ITEMS * 256;
    run.config.log_units = draw(2) ? 64 : 256;
    run.config.max_bytes = (4 + draw(60)) * run.config.segment_bytes;
    run.config.max_lag_ns = (int64_t)(1 + draw(20)) * SIM_SEC;
    for (int i = 1; i < ITEMS; i++) {
        run.holds[i] = (int64_t)(2 + draw(20)) * SIM_SEC;
    }
    begin_model(&run.model, run.holds);
    run.disk = simdisk_new(seed);
    recover();
    for (int i = 0; i < (tap_full() ? FULL_STEPS : STEPS) && !run.failed; i++) {
        step();
    }
    if (!run.failed) {
        finish();
    }
    sum.seeds++;
    simledger_die(&run.l);
    simdisk_free(run.disk);
    simledger_memory_free(&run.memory);
    return !run.failed;
}

TEST(simulated_lives_keep_the_promises)
{
    const uint64_t first = tap_seed(1);
#ifdef __SANITIZE_ADDRESS__
    const uint64_t usual = 60, all = 1000;
#else
    const uint64_t usual = 400, all = 10000;
#endif
    const uint64_t count = tap_full() ? all : usual;

    for (uint64_t i = 0; i < count && simulate(first + i); i++) {
    }
    printf("# simulation: %" PRIu64 " seeds, %" PRIu64 " calls, %" PRIu64
           " busy, %" PRIu64 " crashes, %" PRIu64 " with power loss, %" PRIu64
           " of the writer only\n",
           sum.seeds, sum.calls, sum.busy, sum.crashes, sum.power,
           sum.taken_over);
    printf("# simulation: %" PRIu64 " records of orders, %" PRIu64
           " confirmed in part, %" PRIu64 " again\n",
           sum.of_orders, sum.parts, sum.again);
    printf("# simulation: %" PRIu64 " records lost, %" PRIu64
           " handed on, %" PRIu64 " snapshots, %" PRIu64
           " times of faults, %" PRIu64 " full disks, %" PRIu64
           " failed opens\n",
           sum.lost, sum.handed, sum.snapshots, sum.faults, sum.full,
           sum.failed_opens);
}

TAP_MAIN()
