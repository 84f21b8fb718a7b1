/*
 * The ledger against a plain model: random operations, each answer and the
 * whole state compared after every one of them.
 *
 * The model below knows nothing of shared memory, locks, records or slots. It
 * keeps orders by the number of their request id (an order of several lines as
 * one part for each, which ends as a reservation would), counts by item and
 * user, and the ids in the order in which they were made. Tiny tables make
 * every `full` happen; the model says when: a table is full unless an id whose
 * window has passed can be retired, which reserve, order, refund and adjust do
 * when they need room, and the sweeper otherwise. After the answers the number
 * of records is compared, so that nothing is written that the model does not
 * know of.
 *
 * SECKILL_SEED=n repeats a run; SECKILL_FULL=1 makes 10^6 operations. One
 * thread.
 */
/* runs: long */
#include "test/support/ledger.h"

#include <inttypes.h>

enum {
    ITEMS_MAX = 64,
    USERS_MAX = 512,
    IDS_MAX = 8192,
    OLD_IDS = 64, /* reservation ids that are remembered */
    RETIRE_STEP = 16,
    EXPIRE_STEP = 64,
    IDS_PER_USER = 16,
    LISTS = 8,
    LINES = 3, /* of an order */
    SWEEPS = 8 /* that find nothing to do: then there is nothing */
};

/* ---- The model ----------------------------------------------------------- */

typedef struct {
    int used, alive; /* alive: not removed */
    int name;
    seckill_item_t c;  /* configuration and counters */
    int64_t put_total; /* as given in put */
    int64_t last_time;
    int live, users; /* ids and user rows that hang on it */
    int64_t count[USERS_MAX];
    int ids[USERS_MAX];
    int known[USERS_MAX]; /* the user has a row */
} m_item_t;

enum { NOT_LIVE, RESERVE, REFUND, ADJUST, ORDER };

/* What a request id stands for. */
typedef struct {
    int kind;
    int slot; /* of its item; ORDER: of the first one */
    int user;
    int lines; /* ORDER: parts */
    uint32_t state;
    int64_t created, qty, hold, deadline;
    int64_t asked; /* the quantity of the call */
    uint64_t lsn;  /* of the reservation; REFUND: of the one refunded */
    char id[40];
} m_order_t;

typedef struct {
    int items, rows, users, requests; /* capacities */
    int rows_used, users_used;
    int64_t now, last_time, window;
    uint64_t lsn;
    m_item_t item[ITEMS_MAX];
    m_order_t order[IDS_MAX];
    m_order_t part[IDS_MAX][LINES];
    int queue[IDS_MAX]; /* live ids, oldest first; a ring */
    unsigned head, tail;
} model_t;

static int64_t later(int64_t a, int64_t b)
{
    return a > b ? a : b;
}

static int m_live(const model_t *m)
{
    return (int)(m->tail - m->head);
}

/* Everything that changes an item is one record. */
static void m_record(model_t *m, m_item_t *item)
{
    m->last_time = later(m->last_time, m->now);
    item->last_time = m->last_time;
    item->c.lsn = ++m->lsn;
}

/* What has units: the reservation itself, or the lines of an order. */
static int m_parts(model_t *m, m_order_t *o, m_order_t **parts)
{
    if (o->kind == RESERVE) {
        parts[0] = o;
        return 1;
    }
    for (int i = 0; o->kind == ORDER && i < o->lines; i++) {
        parts[i] = &m->part[o - m->order][i];
    }
    return o->kind == ORDER ? o->lines : 0;
}

/* One record for all parts. */
static void m_record_parts(model_t *m, m_order_t **parts, int n)
{
    m->last_time = later(m->last_time, m->now);
    for (int i = 0; i < n; i++) { /* the order's time is that of its items */
        m->last_time = later(m->last_time, m->item[parts[i]->slot].last_time);
    }
    m->lsn++;
    for (int i = 0; i < n; i++) {
        m->item[parts[i]->slot].last_time = m->last_time;
        m->item[parts[i]->slot].c.lsn = m->lsn;
    }
}

static m_item_t *m_find(model_t *m, int name)
{
    for (int i = 0; i < m->items; i++) {
        m_item_t *item = &m->item[i];

        if (item->used && item->alive && item->name == name) {
            return item;
        }
    }
    return NULL;
}

static int64_t m_item_now(const model_t *m, const m_item_t *item)
{
    return later(m->now, item->last_time);
}

static void m_expire(model_t *m, m_order_t *o)
{
    m_item_t *item = &m->item[o->slot];

    o->state = SECKILL_STATE_EXPIRED;
    item->c.reserved -= o->qty;
    item->c.available += o->qty;
    item->count[o->user] -= o->qty;
    m_record(m, item);
}

static int m_is_pending(const m_order_t *o)
{
    return o->kind == RESERVE && o->state == SECKILL_STATE_RESERVED;
}

/* The pending order of an item with the first deadline, or NULL. */
static m_order_t *m_first_hold(model_t *m, const m_item_t *item)
{
    m_order_t *first = NULL, *parts[LINES];

    for (unsigned i = m->head; i != m->tail; i++) {
        int n = m_parts(m, &m->order[m->queue[i % IDS_MAX]], parts);

        for (int k = 0; k < n; k++) {
            if (m_is_pending(parts[k]) && &m->item[parts[k]->slot] == item &&
                (first == NULL || parts[k]->deadline < first->deadline)) {
                first = parts[k];
            }
        }
    }
    return first;
}

static int m_expire_due(model_t *m, m_item_t *item, int64_t now, int most)
{
    int done = 0;

    while (done < most) {
        m_order_t *o = item->c.reserved > 0 ? m_first_hold(m, item) : NULL;

        if (o == NULL || o->deadline > now) {
            break;
        }
        m_expire(m, o);
        done++;
    }
    return done;
}

/* In steps; the time is read anew before each. */
static void m_expire_all(model_t *m, m_item_t *item)
{
    int done;

    do {
        done = m_expire_due(m, item, m_item_now(m, item), EXPIRE_STEP);
    } while (done == EXPIRE_STEP);
}

/* Parts end by the latest time of all their items. */
static void m_expire_if_due(model_t *m, m_order_t *o)
{
    m_order_t *parts[LINES] = {NULL};
    const int n = m_parts(m, o, parts);
    int64_t now = m->now;

    for (int i = 0; i < n; i++) {
        now = later(now, m->item[parts[i]->slot].last_time);
    }
    for (int i = 0; i < n; i++) {
        if (m_is_pending(parts[i]) && parts[i]->deadline <= now) {
            m_expire(m, parts[i]);
        }
    }
}

/* ---- The model: ids come and go ------------------------------------------ */

static m_order_t *m_new_id(model_t *m, int request, int kind, m_item_t *item)
{
    m_order_t *o = &m->order[request];

    memset(o, 0, sizeof(*o));
    o->kind = kind;
    o->slot = (int)(item - m->item);
    item->live++;
    m->queue[m->tail++ % IDS_MAX] = request;
    return o;
}

static void m_retire_part(model_t *m, m_order_t *o)
{
    m_item_t *item = &m->item[o->slot];

    m->rows_used--;
    item->live--;
    item->ids[o->user]--;
    if (item->ids[o->user] == 0 && item->count[o->user] == 0) {
        item->known[o->user] = 0;
        item->users--;
        m->users_used--;
    }
}

static void m_retire_order(model_t *m, m_order_t *o)
{
    m_order_t *parts[LINES] = {NULL};
    const int n = m_parts(m, o, parts);

    for (int i = 0; i < n; i++) {
        if (m_is_pending(parts[i])) {
            m_expire(m, parts[i]);
        }
    }
    for (int i = 0; i < n; i++) {
        m_retire_part(m, parts[i]);
    }
    if (n == 0) {
        m->item[o->slot].live--;
        m_record(m, &m->item[o->slot]);
    } else {
        m_record_parts(m, parts, n);
    }
    o->kind = NOT_LIVE;
}

static int m_retire(model_t *m, int most)
{
    int done = 0;

    while (done < most && m->head != m->tail) {
        m_order_t *o = &m->order[m->queue[m->head % IDS_MAX]];

        if (o->created + m->window >= m->now) {
            break;
        }
        m->head++;
        m_retire_order(m, o);
        done++;
    }
    return done;
}

/* ---- The model: lengths of holds ----------------------------------------- */

typedef struct {
    int64_t length[LISTS];
    int count, known; /* known: the one asked for is among them */
} m_lengths_t;

static void m_see(m_lengths_t *s, int64_t length, int64_t wanted)
{
    int i = 0;

    while (i < s->count && s->length[i] != length) {
        i++;
    }
    if (i == s->count) {
        s->length[s->count++] = length;
    }
    s->known |= length == wanted;
}

/* Holds of at most eight lengths are pending at once. For orders the item's
 * own length counts, too (own), whether one is pending or not. */
static int m_ninth_length(model_t *m, const m_item_t *item, int64_t hold,
                          int own)
{
    m_lengths_t seen = {.count = 0};
    m_order_t *parts[LINES] = {NULL};

    for (unsigned i = m->head; i != m->tail; i++) {
        int n = m_parts(m, &m->order[m->queue[i % IDS_MAX]], parts);

        for (int k = 0; k < n; k++) {
            if (m_is_pending(parts[k]) && &m->item[parts[k]->slot] == item) {
                m_see(&seen, parts[k]->hold, hold);
            }
        }
    }
    if (own && item->c.hold_ns != 0 && seen.count < LISTS) {
        m_see(&seen, item->c.hold_ns, hold);
    }
    return seen.count == LISTS && !seen.known;
}

/* ---- The model: reserve and what follows --------------------------------- */

static int m_decide(const m_item_t *item, int user, int64_t qty, int64_t now)
{
    const seckill_item_t *c = &item->c;

    if (c->starts_at != 0 && now < c->starts_at) {
        return SECKILL_ENOTSTARTED;
    }
    if (c->ends_at != 0 && now >= c->ends_at) {
        return SECKILL_EENDED;
    }
    if (c->state == SECKILL_ITEM_PAUSED) {
        return SECKILL_EPAUSED;
    }
    if (c->max_qty != 0 && qty > c->max_qty) {
        return SECKILL_EQTYLIMIT;
    }
    if (c->per_user != 0 && item->count[user] + qty > c->per_user) {
        return SECKILL_EUSERLIMIT;
    }
    if (item->ids[user] >= IDS_PER_USER) {
        return SECKILL_EUSERLIMIT;
    }
    return qty > c->available ? SECKILL_ESOLDOUT : SECKILL_OK;
}

/* Holds that are due give way before `user_limit` or `sold_out` is said. */
static int m_decide_now(model_t *m, m_item_t *item, int user, int64_t qty)
{
    for (;;) {
        int64_t now = m_item_now(m, item);
        int rc = m_decide(item, user, qty, now);

        if (rc != SECKILL_ESOLDOUT && rc != SECKILL_EUSERLIMIT) {
            return rc;
        }
        if (m_expire_due(m, item, now, EXPIRE_STEP) == 0) {
            return rc;
        }
    }
}

static int m_has_room(const model_t *m, const m_item_t *item, int user)
{
    return m_live(m) < m->requests && m->rows_used < m->rows &&
           (item->known[user] || m->users_used < m->users);
}

/* Units of an item to a user, in o. */
static void m_take_part(model_t *m, m_order_t *o, m_item_t *item, int user,
                        int64_t qty, int64_t hold, int64_t now)
{
    o->user = user;
    o->qty = o->asked = qty;
    o->hold = hold;
    o->state = o->hold == 0 ? SECKILL_STATE_CONFIRMED : SECKILL_STATE_RESERVED;
    o->deadline = o->hold == 0 ? 0 : now + o->hold;
    *(o->hold == 0 ? &item->c.sold : &item->c.reserved) += qty;
    item->c.available -= qty;
    m->rows_used++;
    if (!item->known[user]) {
        item->known[user] = 1;
        item->count[user] = 0;
        item->ids[user] = 0;
        item->users++;
        m->users_used++;
    }
    item->count[user] += qty;
    item->ids[user]++;
}

static void m_take(model_t *m, m_item_t *item, int user, int64_t qty,
                   int request)
{
    m_order_t *o = m_new_id(m, request, RESERVE, item);

    m_take_part(m, o, item, user, qty, item->c.hold_ns, m_item_now(m, item));
    m_record(m, item);
    o->created = m->last_time;
    o->lsn = m->lsn;
}

static int m_replay(model_t *m, m_order_t *o, int name, int user, int64_t qty)
{
    if (o->kind != RESERVE) {
        return SECKILL_ECONFLICT;
    }
    m_expire_if_due(m, o);
    return m->item[o->slot].name == name && o->user == user && o->asked == qty
               ? SECKILL_OK
               : SECKILL_ECONFLICT;
}

static int m_reserve(model_t *m, int name, int user, int64_t qty, int request,
                     int *replayed)
{
    m_item_t *item = m_find(m, name);

    *replayed = m->order[request].kind != NOT_LIVE;
    if (*replayed) {
        return m_replay(m, &m->order[request], name, user, qty);
    }
    if (item == NULL) {
        return SECKILL_EUNKNOWNITEM;
    }
    for (int i = 0;; i++) {
        int rc = m_decide_now(m, item, user, qty);
        int crowded =
            rc == SECKILL_EUSERLIMIT && item->ids[user] >= IDS_PER_USER;

        if (rc != SECKILL_OK && !crowded) {
            return rc;
        }
        if (rc == SECKILL_OK && m_has_room(m, item, user)) {
            break;
        }
        if (i == 1 || m_retire(m, RETIRE_STEP + 2) == 0) {
            return crowded ? rc : SECKILL_EFULL;
        }
    }
    m_take(m, item, user, qty, request);
    return SECKILL_OK;
}

static int m_refusal(uint32_t state)
{
    static const int codes[] = {[SECKILL_STATE_RESERVED] = SECKILL_ERESERVED,
                                [SECKILL_STATE_CONFIRMED] = SECKILL_ECONFIRMED,
                                [SECKILL_STATE_CANCELLED] = SECKILL_ECANCELLED,
                                [SECKILL_STATE_EXPIRED] = SECKILL_EEXPIRED,
                                [SECKILL_STATE_REFUNDED] = SECKILL_EREFUNDED};

    return codes[state];
}

/* Leave the old state and enter the new one with qty units. */
static void m_move(model_t *m, m_order_t *o, uint32_t target, int64_t qty)
{
    m_item_t *item = &m->item[o->slot];

    if (o->state != SECKILL_STATE_EXPIRED) {
        *(o->state == SECKILL_STATE_RESERVED ? &item->c.reserved
                                             : &item->c.sold) -= o->qty;
        item->c.available += o->qty;
        item->count[o->user] -= o->qty;
    }
    if (target == SECKILL_STATE_CONFIRMED) {
        item->c.available -= qty;
        item->c.sold += qty;
        item->count[o->user] += qty;
    }
    o->state = target;
    o->qty = qty;
}

/* 1: holds that were due have been ended, look again. */
static int m_may_reacquire(model_t *m, m_order_t *o, int64_t qty, int64_t now)
{
    m_item_t *item = &m->item[o->slot];
    int rc = SECKILL_OK;

    if (!item->alive) {
        return SECKILL_ESOLDOUT;
    }
    if (item->c.per_user != 0 &&
        item->count[o->user] + qty > item->c.per_user) {
        rc = SECKILL_EUSERLIMIT;
    } else if (item->c.available < qty) {
        rc = SECKILL_ESOLDOUT;
    }
    return rc != SECKILL_OK && m_expire_due(m, item, now, EXPIRE_STEP) > 0 ? 1
                                                                           : rc;
}

/* All parts, or the first refusal. */
static int m_may_reacquire_all(model_t *m, m_order_t **parts, int n,
                               int64_t qty)
{
    int i = 0;

    while (i < n) {
        int64_t now = m->now;
        int rc;

        for (int k = 0; k < n; k++) {
            now = later(now, m->item[parts[k]->slot].last_time);
        }
        rc = m_may_reacquire(m, parts[i], qty != 0 ? qty : parts[i]->qty, now);
        if (rc < 0) {
            return rc;
        }
        i = rc == 1 ? 0 : i + 1;
    }
    return SECKILL_OK;
}

/* What a confirm of qty units (0: all) of a first part in this state says
 * before anything happens; 1: it may go on. */
static int m_check_confirm(const m_order_t *o, int parts, int64_t qty,
                           int reacquire)
{
    if (qty != 0 && parts > 1) {
        return SECKILL_EBADQTY;
    }
    if (o->state == SECKILL_STATE_CONFIRMED) {
        return qty == 0 || qty == o->qty ? SECKILL_OK : SECKILL_ECONFLICT;
    }
    if (o->state != SECKILL_STATE_RESERVED &&
        o->state != SECKILL_STATE_EXPIRED) {
        return m_refusal(o->state);
    }
    if (o->state == SECKILL_STATE_EXPIRED && !reacquire) {
        return SECKILL_EEXPIRED;
    }
    return qty > o->qty ? SECKILL_EBADQTY : 1;
}

/* o: the live order of the id, or NULL. */
static int m_confirm(model_t *m, m_order_t *o, int64_t qty, int reacquire)
{
    m_order_t *parts[LINES] = {NULL};
    int n, rc;

    if (o == NULL) {
        return SECKILL_EUNKNOWNRESERVATION;
    }
    m_expire_if_due(m, o);
    n = m_parts(m, o, parts);
    rc = m_check_confirm(parts[0], n, qty, reacquire);
    if (rc != 1) {
        return rc;
    }
    if (parts[0]->state == SECKILL_STATE_EXPIRED) {
        rc = m_may_reacquire_all(m, parts, n, qty);
        if (rc != SECKILL_OK) {
            return rc;
        }
    }
    for (int i = 0; i < n; i++) {
        m_move(m, parts[i], SECKILL_STATE_CONFIRMED,
               qty != 0 ? qty : parts[i]->qty);
    }
    m_record_parts(m, parts, n);
    return SECKILL_OK;
}

static int m_cancel(model_t *m, m_order_t *o)
{
    m_order_t *parts[LINES] = {NULL};
    int n;

    if (o == NULL) {
        return SECKILL_EUNKNOWNRESERVATION;
    }
    m_expire_if_due(m, o);
    n = m_parts(m, o, parts);
    if (parts[0]->state != SECKILL_STATE_RESERVED) {
        return parts[0]->state == SECKILL_STATE_CANCELLED
                   ? SECKILL_OK
                   : m_refusal(parts[0]->state);
    }
    for (int i = 0; i < n; i++) {
        m_move(m, parts[i], SECKILL_STATE_CANCELLED, parts[i]->qty);
    }
    m_record_parts(m, parts, n);
    return SECKILL_OK;
}

static void m_take_back(model_t *m, m_order_t *o, int request)
{
    m_order_t *parts[LINES] = {NULL};
    const int n = m_parts(m, o, parts);
    m_order_t *r = m_new_id(m, request, REFUND, &m->item[o->slot]);

    r->lsn = o->lsn;
    for (int i = 0; i < n; i++) {
        m_move(m, parts[i], SECKILL_STATE_REFUNDED, parts[i]->qty);
    }
    m_record_parts(m, parts, n);
    r->created = m->last_time;
}

static int m_refund(model_t *m, m_order_t *o, uint64_t lsn, int request)
{
    const m_order_t *used = &m->order[request];

    if (used->kind != NOT_LIVE) {
        return used->kind == REFUND && used->lsn == lsn ? SECKILL_OK
                                                        : SECKILL_ECONFLICT;
    }
    for (int i = 0;; i++) {
        m_order_t *parts[LINES] = {NULL};

        if (o == NULL || m_parts(m, o, parts) == 0 || o->lsn != lsn) {
            return SECKILL_EUNKNOWNRESERVATION;
        }
        m_expire_if_due(m, o);
        if (parts[0]->state != SECKILL_STATE_CONFIRMED) {
            return parts[0]->state == SECKILL_STATE_REFUNDED
                       ? SECKILL_OK
                       : m_refusal(parts[0]->state);
        }
        if (m_live(m) < m->requests) {
            break;
        }
        if (i == 1 || m_retire(m, RETIRE_STEP) == 0) {
            return SECKILL_EFULL;
        }
    }
    m_take_back(m, o, request);
    return SECKILL_OK;
}

/* ---- The model: orders of several lines ---------------------------------- */

typedef struct {
    int n, user, request;
    int name[LINES];
    int64_t qty[LINES];
} m_call_t;

static int64_t m_call_now(model_t *m, const m_call_t *c)
{
    int64_t now = m->now;

    for (int i = 0; i < c->n; i++) {
        const m_item_t *item = m_find(m, c->name[i]);

        now = item == NULL ? now : later(now, item->last_time);
    }
    return now;
}

/* The first refusal of a line; *crowded: it has too many ids. */
static int m_decide_lines(model_t *m, const m_call_t *c, int *line,
                          int *crowded)
{
    int i = 0;

    *crowded = 0;
    while (i < c->n) {
        const int64_t now = m_call_now(m, c);
        m_item_t *item = m_find(m, c->name[i]);
        int rc;

        *line = i + 1;
        if (item == NULL) {
            return SECKILL_EUNKNOWNITEM;
        }
        rc = m_decide(item, c->user, c->qty[i], now);
        if ((rc == SECKILL_ESOLDOUT || rc == SECKILL_EUSERLIMIT) &&
            m_expire_due(m, item, now, EXPIRE_STEP) > 0) {
            i = 0; /* once more, from the start */
            continue;
        }
        if (rc != SECKILL_OK) {
            *crowded =
                rc == SECKILL_EUSERLIMIT && item->ids[c->user] >= IDS_PER_USER;
            return rc;
        }
        i++;
    }
    *line = 0;
    return SECKILL_OK;
}

static int m_has_room_for(model_t *m, const m_call_t *c)
{
    int users = m->users_used;

    for (int i = 0; i < c->n; i++) {
        users += !m_find(m, c->name[i])->known[c->user];
    }
    return m_live(m) < m->requests && m->rows_used + c->n <= m->rows &&
           users <= m->users;
}

static int64_t m_shortest(model_t *m, const m_call_t *c)
{
    int64_t hold = 0;

    for (int i = 0; i < c->n; i++) {
        int64_t own = m_find(m, c->name[i])->c.hold_ns;

        hold = own != 0 && (hold == 0 || own < hold) ? own : hold;
    }
    return hold;
}

static void m_take_all(model_t *m, const m_call_t *c, int64_t hold)
{
    const int64_t now = m_call_now(m, c);
    m_order_t *parts[LINES] = {NULL};
    m_order_t *o = m_new_id(m, c->request, ORDER, m_find(m, c->name[0]));

    o->user = c->user;
    o->lines = c->n;
    (void)m_parts(m, o, parts);
    for (int i = 0; i < c->n; i++) {
        m_item_t *item = m_find(m, c->name[i]);

        memset(parts[i], 0, sizeof(*parts[i]));
        parts[i]->kind = RESERVE;
        parts[i]->slot = (int)(item - m->item);
        item->live += i > 0; /* the first one has the id */
        m_take_part(m, parts[i], item, c->user, c->qty[i], hold, now);
    }
    m_record_parts(m, parts, c->n);
    o->created = m->last_time;
    o->lsn = m->lsn;
}

static int m_replay_order(model_t *m, m_order_t *o, const m_call_t *c)
{
    m_order_t *parts[LINES] = {NULL};
    int same = o->kind == ORDER && o->lines == c->n && o->user == c->user;

    if (o->kind != ORDER) {
        return SECKILL_ECONFLICT;
    }
    m_expire_if_due(m, o);
    (void)m_parts(m, o, parts);
    for (int i = 0; same && i < c->n; i++) {
        same = m->item[parts[i]->slot].name == c->name[i] &&
               parts[i]->asked == c->qty[i];
    }
    return same ? SECKILL_OK : SECKILL_ECONFLICT;
}

static int m_order(model_t *m, const m_call_t *c, int *line, int *replayed)
{
    int64_t hold;

    *line = 0;
    *replayed = m->order[c->request].kind != NOT_LIVE;
    if (*replayed) {
        return m_replay_order(m, &m->order[c->request], c);
    }
    for (int i = 0;; i++) {
        int crowded, rc = m_decide_lines(m, c, line, &crowded);

        if (rc != SECKILL_OK && !crowded) {
            return rc;
        }
        if (rc == SECKILL_OK && m_has_room_for(m, c)) {
            break;
        }
        if (i == 1 || m_retire(m, RETIRE_STEP + 2) == 0) {
            return crowded ? rc : SECKILL_EFULL;
        }
    }
    hold = m_shortest(m, c);
    for (int i = 0; i < c->n && hold != 0; i++) {
        if (m_ninth_length(m, m_find(m, c->name[i]), hold, 1)) {
            return SECKILL_EBUSY;
        }
    }
    m_take_all(m, c, hold);
    return SECKILL_OK;
}

/* ---- The model: items ---------------------------------------------------- */

static void m_configure(m_item_t *item, const seckill_item_t *in)
{
    item->c.per_user = in->per_user;
    item->c.max_qty = in->max_qty;
    item->c.hold_ns = in->hold_ns;
    item->c.starts_at = in->starts_at;
    item->c.ends_at = in->ends_at;
    item->c.version = in->version;
    item->put_total = in->total;
}

static int m_put_new(model_t *m, int name, const seckill_item_t *in)
{
    m_item_t *item = m->item;

    if (in->total == -1) {
        return SECKILL_EBADTOTAL;
    }
    while (item < m->item + m->items && item->used) {
        item++;
    }
    if (item == m->item + m->items) {
        return SECKILL_EFULL;
    }
    memset(item, 0, sizeof(*item));
    item->used = item->alive = 1;
    item->name = name;
    item->c.state = SECKILL_ITEM_OPEN;
    item->c.total = item->c.available = in->total;
    m_configure(item, in);
    m_record(m, item);
    return SECKILL_OK;
}

static int m_same(const m_item_t *item, const seckill_item_t *in)
{
    const seckill_item_t *c = &item->c;

    return item->put_total == in->total && c->per_user == in->per_user &&
           c->max_qty == in->max_qty && c->hold_ns == in->hold_ns &&
           c->starts_at == in->starts_at && c->ends_at == in->ends_at;
}

static int m_put(model_t *m, int name, const seckill_item_t *in)
{
    m_item_t *item = m_find(m, name);
    int64_t free;

    if (item == NULL) {
        return m_put_new(m, name, in);
    }
    if (in->version <= item->c.version) {
        return in->version < item->c.version ? SECKILL_ESTALE
               : m_same(item, in)            ? SECKILL_OK
                                             : SECKILL_ECONFLICT;
    }
    m_expire_all(m, item);
    if (in->hold_ns != 0 && m_ninth_length(m, item, in->hold_ns, 0)) {
        return SECKILL_EBUSY;
    }
    if (in->total != -1) {
        free = in->total - item->c.reserved - item->c.sold;
        if (free < 0) {
            return SECKILL_EBELOWSOLD;
        }
        item->c.total = in->total;
        item->c.available = free;
    }
    m_configure(item, in);
    m_record(m, item);
    return SECKILL_OK;
}

static int m_pause(model_t *m, int name, uint32_t state)
{
    m_item_t *item = m_find(m, name);

    if (item == NULL) {
        return SECKILL_EUNKNOWNITEM;
    }
    if (item->c.state != state) {
        item->c.state = state;
        m_record(m, item);
    }
    return SECKILL_OK;
}

static int m_remove(model_t *m, int name)
{
    m_item_t *item = m_find(m, name);

    if (item == NULL) {
        return SECKILL_EUNKNOWNITEM;
    }
    m_expire_all(m, item);
    if (item->c.reserved > 0) {
        return SECKILL_EINUSE;
    }
    item->alive = 0;
    m_record(m, item);
    return SECKILL_OK;
}

static int m_adjust_refusal(model_t *m, m_item_t *item, int64_t delta)
{
    m_expire_all(m, item);
    if (item->c.available + delta < 0) {
        return SECKILL_EBELOWSOLD;
    }
    return item->c.total + delta > SECKILL_COUNT_MAX ? SECKILL_EBADQTY
                                                     : SECKILL_OK;
}

static int m_adjust(model_t *m, int name, int64_t delta, int request)
{
    m_item_t *item = m_find(m, name);
    m_order_t *o = &m->order[request];

    if (o->kind != NOT_LIVE) {
        return o->kind == ADJUST && m->item[o->slot].name == name &&
                       o->qty == delta
                   ? SECKILL_OK
                   : SECKILL_ECONFLICT;
    }
    if (item == NULL) {
        return SECKILL_EUNKNOWNITEM;
    }
    for (int i = 0;; i++) {
        int rc = m_adjust_refusal(m, item, delta);

        if (rc != SECKILL_OK) {
            return rc;
        }
        if (m_live(m) < m->requests) {
            break;
        }
        if (i == 1 || m_retire(m, RETIRE_STEP) == 0) {
            return SECKILL_EFULL;
        }
    }
    o = m_new_id(m, request, ADJUST, item);
    o->qty = delta;
    item->c.total += delta;
    item->c.available += delta;
    m_record(m, item);
    o->created = m->last_time;
    return SECKILL_OK;
}

/* ---- The model: housekeeping, to its end --------------------------------- */

static int m_retire_users(model_t *m, m_item_t *item)
{
    int done = 0;

    for (int u = 0; u < USERS_MAX; u++) {
        if (item->known[u] && item->ids[u] == 0) {
            item->known[u] = 0;
            item->users--;
            m->users_used--;
            m_record(m, item);
            done++;
        }
    }
    return done;
}

static int m_sweep(model_t *m)
{
    int done = 0;

    for (int i = 0; i < m->items; i++) {
        m_item_t *item = &m->item[i];
        const m_order_t *o = item->used ? m_first_hold(m, item) : NULL;

        if (o != NULL && o->deadline <= m->now) {
            done += m_expire_due(m, item, m_item_now(m, item), INT32_MAX);
        }
    }
    done += m_retire(m, INT32_MAX);
    for (int i = 0; i < m->items; i++) {
        m_item_t *item = &m->item[i];

        if (item->used && !item->alive) {
            done += m_retire_users(m, item);
            if (item->live == 0) {
                item->used = 0;
                m_record(m, item);
                done++;
            }
        }
    }
    return done;
}

/* ---- A run: the ledger and its model, step by step ----------------------- */

typedef struct {
    int order;
    uint64_t lsn;
    char id[40];
} old_id_t;

typedef struct {
    ledger_t l;
    model_t m;
    old_id_t old[OLD_IDS];
    unsigned old_count;
    uint64_t random;
    int names, user_names, id_names; /* how many of each there are */
    long step;
    int good;
    uint64_t hits[64]; /* how often each code was answered */
    char text[200];    /* the operation */
} run_t;

static uint64_t next_random(run_t *run)
{
    uint64_t z = run->random += 0x9e3779b97f4a7c15ULL;

    z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9ULL;
    z = (z ^ (z >> 27)) * 0x94d049bb133111ebULL;
    return z ^ (z >> 31);
}

static int below(run_t *run, int n)
{
    return (int)(next_random(run) % (uint64_t)n);
}

static void wrong(run_t *run, const char *what, int64_t want, int64_t got)
{
    run->good = 0;
    CHECK(!"the ledger does what the model says");
    printf("#   step %ld: %s\n#   %s: expected %" PRId64 ", got %" PRId64 "\n",
           run->step, run->text, what, want, got);
}

static void same(run_t *run, const char *what, int64_t want, int64_t got)
{
    if (run->good && want != got) {
        wrong(run, what, want, got);
    }
}

static void same_code(run_t *run, int want, int got)
{
    run->hits[want < 0 ? (-want - 2000) % 64 : 0]++;
    if (run->good && want != got) {
        wrong(run, "code", want, got);
        printf("#   expected %s, got %s\n", seckill_errname(want),
               seckill_errname(got));
    }
}

static void same_item(run_t *run, int name)
{
    m_item_t *want = m_find(&run->m, name);
    seckill_item_t got;
    char text[16];
    int rc;

    snprintf(text, sizeof(text), "i%d", name);
    rc = seckill_get(run->l.sk, text, strlen(text), &got);
    same(run, "get", want == NULL ? SECKILL_EUNKNOWNITEM : SECKILL_OK, rc);
    if (want == NULL || rc != SECKILL_OK) {
        return;
    }
    same(run, "total", want->c.total, got.total);
    same(run, "available", want->c.available, got.available);
    same(run, "reserved", want->c.reserved, got.reserved);
    same(run, "sold", want->c.sold, got.sold);
    same(run, "state", want->c.state, got.state);
    same(run, "version", want->c.version, got.version);
    same(run, "hold", want->c.hold_ns, got.hold_ns);
    same(run, "per_user", want->c.per_user, got.per_user);
    same(run, "max_qty", want->c.max_qty, got.max_qty);
    same(run, "starts_at", want->c.starts_at, got.starts_at);
    same(run, "ends_at", want->c.ends_at, got.ends_at);
}

static void same_usage(run_t *run)
{
    model_t *m = &run->m;
    skl_usage_t got;
    int items = 0;

    skl_stock_usage(&run->l.sk->stock, &got);
    for (int i = 0; i < m->items; i++) {
        items += m->item[i].used;
    }
    same(run, "items in use", items, (int64_t)got.items);
    same(run, "ids in use", m_live(m), (int64_t)got.requests);
    same(run, "user rows in use", m->users_used, (int64_t)got.users);
    same(run, "reservation rows in use", m->rows_used, (int64_t)got.rows);
    same(run, "records", (int64_t)m->lsn, (int64_t)seckill_lsn(run->l.sk));
}

static void same_answer(run_t *run, const m_order_t *o, int replayed)
{
    const seckill_reservation_t *r = &run->l.r;

    same(run, "qty", o->qty, r->qty);
    same(run, "order state", o->state, r->state);
    same(run, "remaining", run->m.item[o->slot].c.available, r->remaining);
    same(run, "expires_at", m_is_pending(o) ? o->deadline : 0, r->expires_at);
    same(run, "replayed", replayed, r->replayed);
    same(run, "order lsn", (int64_t)o->lsn, (int64_t)r->lsn);
    same(run, "id", 0, strncmp(o->id, r->id, r->id_len));
}

/* ---- Steps --------------------------------------------------------------- */

typedef struct {
    int item, user, id;
    char item_text[16], user_text[16], id_text[16];
} pick_t;

static pick_t pick(run_t *run)
{
    pick_t p = {.item = below(run, run->names),
                .user = below(run, run->user_names),
                .id = below(run, run->id_names)};

    snprintf(p.item_text, sizeof(p.item_text), "i%d", p.item);
    snprintf(p.user_text, sizeof(p.user_text), "u%d", p.user);
    snprintf(p.id_text, sizeof(p.id_text), "r%d", p.id);
    return p;
}

static void remember(run_t *run, int id, const char *text, size_t len)
{
    m_order_t *o = &run->m.order[id];
    old_id_t *old = &run->old[run->old_count++ % OLD_IDS];

    memset(o->id, 0, sizeof(o->id));
    memcpy(o->id, text, len);
    memcpy(old->id, o->id, sizeof(old->id));
    old->lsn = o->lsn;
    old->order = id;
}

/* A reservation id that was given out, and its order while it lives. */
static m_order_t *pick_old(run_t *run, const char **id, uint64_t *lsn)
{
    const unsigned n = run->old_count < OLD_IDS ? run->old_count : OLD_IDS;
    const old_id_t *old;
    m_order_t *o;

    if (n == 0 || below(run, 50) == 0) {
        *id = "1-0-ffffff";
        *lsn = 0xffffff;
        return NULL;
    }
    old = &run->old[below(run, (int)n)];
    *id = old->id;
    *lsn = old->lsn;
    o = &run->m.order[old->order];
    return (o->kind == RESERVE || o->kind == ORDER) && o->lsn == old->lsn
               ? o
               : NULL;
}

static void do_reserve(run_t *run)
{
    pick_t p = pick(run);
    int64_t qty = 1 + below(run, 4);
    int replayed, want;

    if (run->m.order[p.id].kind == RESERVE && below(run, 4) != 0) {
        const m_order_t *o = &run->m.order[p.id];

        p.user = o->user; /* a true retry, more often than not */
        p.item = run->m.item[o->slot].name;
        qty = o->asked;
        snprintf(p.item_text, sizeof(p.item_text), "i%d", p.item);
        snprintf(p.user_text, sizeof(p.user_text), "u%d", p.user);
    }
    snprintf(run->text, sizeof(run->text), "reserve %s %s %d %s", p.item_text,
             p.user_text, (int)qty, p.id_text);
    want = m_reserve(&run->m, p.item, p.user, qty, p.id, &replayed);
    same_code(
        run, want,
        ledger_reserve(&run->l, p.item_text, p.user_text, qty, p.id_text));
    if (want == SECKILL_OK && run->good) {
        if (!replayed) {
            remember(run, p.id, run->l.r.id, run->l.r.id_len);
        }
        same_answer(run, &run->m.order[p.id], replayed);
    }
}

static void same_order(run_t *run, m_order_t *o, const seckill_order_t *got,
                       int replayed)
{
    m_order_t *parts[LINES] = {NULL};
    const int n = m_parts(&run->m, o, parts);

    same(run, "lines", n, got->line_count);
    same(run, "order state", parts[0]->state, got->state);
    same(run, "expires_at", m_is_pending(parts[0]) ? parts[0]->deadline : 0,
         got->expires_at);
    same(run, "replayed", replayed, got->replayed);
    same(run, "order lsn", (int64_t)o->lsn, (int64_t)got->lsn);
    same(run, "id", 0, strncmp(o->id, got->id, got->id_len));
    for (int i = 0; i < n && run->good; i++) {
        same(run, "qty of a line", parts[i]->qty, got->lines[i].qty);
        same(run, "remaining of a line",
             run->m.item[parts[i]->slot].c.available, got->lines[i].remaining);
        same(run, "state of a line", parts[0]->state, parts[i]->state);
    }
}

/* Different items; mostly a true retry where the id is known. */
static m_call_t pick_call(run_t *run)
{
    m_call_t c = {.user = below(run, run->user_names),
                  .request = below(run, run->id_names)};
    m_order_t *parts[LINES], *o = &run->m.order[c.request];

    c.n = 1 + below(run, run->names < LINES ? run->names : LINES);
    for (int i = 0; i < c.n; i++) {
        c.name[i] =
            (i == 0 ? below(run, run->names) : c.name[i - 1] + 1) % run->names;
        c.qty[i] = 1 + below(run, 3);
    }
    if (o->kind == ORDER && below(run, 4) != 0) {
        c.n = m_parts(&run->m, o, parts);
        c.user = o->user;
        for (int i = 0; i < c.n; i++) {
            c.name[i] = run->m.item[parts[i]->slot].name;
            c.qty[i] = parts[i]->asked;
        }
    }
    return c;
}

static void do_order(run_t *run)
{
    const m_call_t c = pick_call(run);
    seckill_line_t lines[LINES];
    seckill_order_t got;
    uint32_t line = 99;
    char user[16], id[16];
    int want, rc, want_line, replayed;

    memset(lines, 0, sizeof(lines));
    snprintf(user, sizeof(user), "u%d", c.user);
    snprintf(id, sizeof(id), "r%d", c.request);
    snprintf(run->text, sizeof(run->text), "order %s %s of %d from i%d", user,
             id, c.n, c.name[0]);
    for (int i = 0; i < c.n; i++) {
        lines[i].item_len = (uint32_t)snprintf(
            lines[i].item, sizeof(lines[i].item), "i%d", c.name[i]);
        lines[i].qty = c.qty[i];
    }
    want = m_order(&run->m, &c, &want_line, &replayed);
    rc = seckill_order(run->l.sk, user, strlen(user), id, strlen(id), lines,
                       (size_t)c.n, &got, &line);
    same_code(run, want, rc);
    same(run, "line", want_line, line);
    if (want == SECKILL_OK && run->good) {
        if (!replayed) {
            remember(run, c.request, got.id, got.id_len);
        }
        same_order(run, &run->m.order[c.request], &got, replayed);
    }
}

static void do_settle(run_t *run)
{
    const int confirm = below(run, 3) != 0;
    const int reacquire = below(run, 3) == 0;
    const int64_t qty = below(run, 4) == 0 ? 1 + below(run, 4) : 0;
    const char *id;
    uint64_t lsn;
    m_order_t *o = pick_old(run, &id, &lsn);

    snprintf(run->text, sizeof(run->text), "%s %s (%d, %d)",
             confirm ? "confirm" : "cancel", id, (int)qty, reacquire);
    if (confirm) {
        same_code(
            run, m_confirm(&run->m, o, qty, reacquire),
            seckill_confirm_with(run->l.sk, id, strlen(id), qty,
                                 reacquire ? SECKILL_CONFIRM_REACQUIRE : 0));
    } else {
        same_code(run, m_cancel(&run->m, o), ledger_cancel(&run->l, id));
    }
}

static void do_refund(run_t *run)
{
    const char *id;
    uint64_t lsn;
    m_order_t *o = pick_old(run, &id, &lsn);
    pick_t p = pick(run);

    snprintf(run->text, sizeof(run->text), "refund %s %s", id, p.id_text);
    same_code(run, m_refund(&run->m, o, lsn, p.id),
              ledger_refund(&run->l, id, p.id_text));
}

static void do_find(run_t *run)
{
    pick_t p = pick(run);
    m_order_t *o = &run->m.order[p.id];
    seckill_order_t got;
    int rc;

    snprintf(run->text, sizeof(run->text), "find %s", p.id_text);
    rc = ledger_find(&run->l, p.id_text);
    if (o->kind != RESERVE && o->kind != ORDER) {
        same_code(run, SECKILL_EUNKNOWNREQUEST, rc);
        return;
    }
    m_expire_if_due(&run->m, o);
    same_code(run, SECKILL_OK, rc);
    same(run, "lines of find", o->lines, run->l.r.lines);
    if (o->kind == RESERVE) {
        same_answer(run, o, 1);
    }
    rc = seckill_find_order(run->l.sk, p.id_text, strlen(p.id_text), &got);
    same_code(run, SECKILL_OK, rc);
    same_order(run, o, &got, 1);
}

static seckill_item_t random_item(run_t *run, const pick_t *p)
{
    const m_item_t *item = m_find(&run->m, p->item);
    seckill_item_t in = ledger_item(p->item_text, below(run, 13));

    in.hold_ns = below(run, 11) * SEC;
    in.version = item == NULL ? 1 : item->c.version + below(run, 5) - 1;
    in.version = in.version < 1 ? 1 : in.version;
    in.total = below(run, 3) == 0 ? -1 : in.total;
    in.per_user = below(run, 3) == 0 ? 1 + below(run, 6) : 0;
    in.max_qty = below(run, 4) == 0 ? 1 + below(run, 4) : 0;
    in.starts_at = below(run, 8) == 0 ? run->m.now + below(run, 9) * SEC : 0;
    in.ends_at = below(run, 8) == 0 ? run->m.now + 10 * SEC : 0;
    return in;
}

static void do_put(run_t *run)
{
    pick_t p = pick(run);
    const m_item_t *item = m_find(&run->m, p.item);
    seckill_item_t in = random_item(run, &p);

    if (item != NULL && below(run, 4) == 0) {
        in = item->c; /* exactly what is there */
        in.struct_size = sizeof(in);
        in.item_len = (uint32_t)strlen(p.item_text);
        memcpy(in.item, p.item_text, sizeof(p.item_text));
        in.total = item->put_total;
    }
    snprintf(run->text, sizeof(run->text),
             "put %s total %d version %d hold %d s", p.item_text, (int)in.total,
             (int)in.version, (int)(in.hold_ns / SEC));
    same_code(run, m_put(&run->m, p.item, &in), seckill_put(run->l.sk, &in));
}

static void do_adjust(run_t *run)
{
    pick_t p = pick(run);
    int64_t delta = 1 + below(run, 4);

    delta = below(run, 2) == 0 ? -delta : delta;
    if (below(run, 40) == 0) {
        delta = SECKILL_COUNT_MAX;
    }
    if (run->m.order[p.id].kind == ADJUST && below(run, 4) != 0) {
        delta = run->m.order[p.id].qty;
        p.item = run->m.item[run->m.order[p.id].slot].name;
        snprintf(p.item_text, sizeof(p.item_text), "i%d", p.item);
    }
    snprintf(run->text, sizeof(run->text), "adjust %s by %" PRId64 " %s",
             p.item_text, delta, p.id_text);
    same_code(run, m_adjust(&run->m, p.item, delta, p.id),
              ledger_adjust(&run->l, p.item_text, delta, p.id_text));
}

static void do_pause(run_t *run)
{
    pick_t p = pick(run);
    const int pause = below(run, 3) == 0;

    snprintf(run->text, sizeof(run->text), "%s %s", pause ? "pause" : "resume",
             p.item_text);
    same_code(run,
              m_pause(&run->m, p.item,
                      pause ? SECKILL_ITEM_PAUSED : SECKILL_ITEM_OPEN),
              (pause ? seckill_pause : seckill_resume)(run->l.sk, p.item_text,
                                                       strlen(p.item_text)));
}

static void do_remove(run_t *run)
{
    pick_t p = pick(run);

    snprintf(run->text, sizeof(run->text), "remove %s", p.item_text);
    same_code(run, m_remove(&run->m, p.item),
              ledger_remove(&run->l, p.item_text));
}

/* One sweep looks at a part of large tables only. */
static void do_sweep(run_t *run)
{
    int done = 0, idle = 0;

    snprintf(run->text, sizeof(run->text), "sweep");
    while (idle < SWEEPS) {
        int rc = ledger_sweep(&run->l);

        idle = rc > 0 ? 0 : idle + 1;
        done += rc;
        (void)seckill_sink_drain(run->l.sk);
    }
    same(run, "swept", m_sweep(&run->m), done);
}

/* An instant at which something ends, or the one before or after it. */
static int64_t turning_point(run_t *run)
{
    const model_t *m = &run->m;
    const m_order_t *o = &m->order[below(run, run->id_names)];
    const m_item_t *item = &m->item[below(run, m->items)];
    int64_t at = m->now;

    switch (below(run, 4)) {
    case 0:
        at = item->c.starts_at;
        break;
    case 1:
        at = item->c.ends_at;
        break;
    case 2:
        at = o->kind == NOT_LIVE ? 0 : o->created + m->window;
        break;
    default:
        at = m_is_pending(o) ? o->deadline : 0;
        at = o->kind == ORDER ? m->part[o - m->order][0].deadline : at;
    }
    at += below(run, 3) - 1;
    return at > m->now - 5 * SEC && at < m->now + 20 * SEC ? at : m->now;
}

/* Mostly forward, by seconds that are no whole ones; now and then back. */
static void do_clock(run_t *run)
{
    int64_t by = (int64_t)(next_random(run) % (uint64_t)(4 * SEC));

    by = below(run, 8) == 0 ? -by / 2 : by;
    by = below(run, 40) == 0 ? 20 * SEC : by;
    by = below(run, 2) == 0 ? turning_point(run) - run->m.now : by;
    snprintf(run->text, sizeof(run->text), "clock by %" PRId64, by);
    run->m.now += by;
    ledger_at(&run->l, run->m.now);
}

typedef struct {
    void (*run)(run_t *);
    int weight;
} op_t;

static void do_one(run_t *run, const op_t *ops, size_t count)
{
    int sum = 0, at;
    size_t i = 0;

    for (size_t k = 0; k < count; k++) {
        sum += ops[k].weight;
    }
    at = below(run, sum);
    while (at >= ops[i].weight) {
        at -= ops[i++].weight;
    }
    ops[i].run(run);
}

static const op_t mix[] = {{do_reserve, 35}, {do_order, 15}, {do_settle, 20},
                           {do_refund, 5},   {do_find, 4},   {do_put, 7},
                           {do_adjust, 5},   {do_pause, 3},  {do_remove, 3},
                           {do_sweep, 2},    {do_clock, 24}};

static void compare_all(run_t *run, int deep)
{
    for (int i = 0; i < run->names; i++) {
        same_item(run, i);
    }
    same_usage(run);
    if (deep && run->good) {
        run->good = ledger_sound(&run->l);
    }
}

static void drive(run_t *run, long steps, int every)
{
    for (run->step = 1; run->step <= steps && run->good; run->step++) {
        do_one(run, mix, sizeof(mix) / sizeof(mix[0]));
        (void)seckill_sink_drain(run->l.sk);
        if (run->step % every == 0 || steps == run->step) {
            compare_all(run, run->step % (500L * every) == 0);
        }
    }
}

static int begin(run_t *run, const seckill_options_t *o, uint64_t seed)
{
    memset(run, 0, sizeof(*run));
    run->random = seed;
    run->good = 1;
    run->m.items = (int)o->items;
    run->m.rows = (int)o->reservations;
    run->m.users = (int)o->users;
    run->m.requests = (int)o->requests;
    run->m.window = o->window_ns;
    run->m.now = LEDGER_T0;
    return ledger_open_with(&run->l, *o);
}

/* Did every answer that this run is about occur? */
static void all_seen(const uint64_t *hits, const int *codes, size_t count)
{
    for (size_t i = 0; i < count; i++) {
        if (!CHECK(hits[(-codes[i] - 2000) % 64] > 0)) {
            printf("#   never answered: %s\n", seckill_errname(codes[i]));
        }
    }
}

static run_t *new_run(void)
{
    run_t *run = calloc(1, sizeof(*run));

    if (run == NULL) {
        abort();
    }
    return run;
}

static void finish(run_t *run, uint64_t *hits, uint64_t seed)
{
    for (int i = 0; i < 64; i++) {
        hits[i] += run->hits[i];
    }
    if (run->good) {
        ledger_close(&run->l);
    } else {
        printf("#   seed %" PRIu64 "\n", seed);
        ledger_drop(&run->l);
    }
}

/* One run with each of some seeds. */
typedef struct {
    seckill_options_t options;
    int names, user_names, id_names;
    int rounds, every;
    int shards; /* at least */
} plan_t;

static void follow(const plan_t *plan, uint64_t seed, uint64_t *hits)
{
    run_t *run = new_run();
    uint64_t records = 0;

    for (int i = 0; i < plan->rounds && (i == 0 || run->good); i++) {
        if (!begin(run, &plan->options, seed + (uint64_t)i)) {
            break;
        }
        run->names = plan->names;
        run->user_names = plan->user_names;
        run->id_names = plan->id_names;
        drive(run, 20000, plan->every);
        CHECK((int)run->l.sk->stock.tables.shm->shards >= plan->shards);
        records += run->m.lsn;
        finish(run, hits, seed + (uint64_t)i);
    }
    printf("# %d rounds, %" PRIu64 " records\n", plan->rounds, records);
    free(run);
}

TEST(tiny_tables_do_what_the_model_says)
{
    static const int codes[] = {SECKILL_ECONFLICT,
                                SECKILL_EUNKNOWNITEM,
                                SECKILL_ENOTSTARTED,
                                SECKILL_EENDED,
                                SECKILL_EPAUSED,
                                SECKILL_EQTYLIMIT,
                                SECKILL_EUSERLIMIT,
                                SECKILL_ESOLDOUT,
                                SECKILL_EEXPIRED,
                                SECKILL_ECANCELLED,
                                SECKILL_ECONFIRMED,
                                SECKILL_EREFUNDED,
                                SECKILL_ERESERVED,
                                SECKILL_ESTALE,
                                SECKILL_EBELOWSOLD,
                                SECKILL_EINUSE,
                                SECKILL_EUNKNOWNREQUEST,
                                SECKILL_EFULL,
                                SECKILL_EBADTOTAL,
                                SECKILL_EBADQTY,
                                SECKILL_EUNKNOWNRESERVATION};
    plan_t plan = {.options = ledger_options(),
                   .names = 4,
                   .user_names = 5,
                   .id_names = 24,
                   .rounds = tap_full() ? 40 : 8,
                   .every = 1};
    uint64_t hits[64] = {0};

    plan.options.items = 3;
    plan.options.reservations = 8;
    plan.options.users = 6;
    plan.options.requests = 10;
    plan.options.window_ns = 20 * SEC;
    follow(&plan, tap_seed(20260101), hits);
    all_seen(hits, codes, sizeof(codes) / sizeof(codes[0]));
}

/* So few users that each reaches the 16 ids of a window. */
TEST(busy_users_do_what_the_model_says)
{
    plan_t plan = {.options = ledger_options(),
                   .names = 2,
                   .user_names = 3,
                   .id_names = 300,
                   .rounds = tap_full() ? 10 : 2,
                   .every = 1};
    uint64_t hits[64] = {0};

    plan.options.items = 6;
    plan.options.reservations = 120;
    plan.options.users = 20;
    plan.options.requests = 150;
    plan.options.window_ns = 40 * SEC;
    follow(&plan, tap_seed(77), hits);
}

TEST(large_tables_do_what_the_model_says)
{
    plan_t plan = {.options = ledger_options(),
                   .names = 24,
                   .user_names = 400,
                   .id_names = 2000,
                   .rounds = tap_full() ? 10 : 2,
                   .every = 20,
                   .shards = 8};
    uint64_t hits[64] = {0};

    plan.options.items = 40;
    plan.options.reservations = 1 << 14;
    plan.options.users = 1 << 14;
    plan.options.requests = 1 << 15;
    plan.options.window_ns = 120 * SEC;
    follow(&plan, tap_seed(7), hits);
}

TAP_MAIN()
