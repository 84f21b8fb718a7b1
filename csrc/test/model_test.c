/*
 * The ledger against a plain model: random operations, each answer and the
 * whole state compared after every one of them.
 *
 * The model below knows nothing of shared memory, locks, records or slots. It
 * keeps orders by the number of their request id, counts by item and user, and
 * the ids in the order in which they were made. Tiny tables make every `full`
 * happen; the model says when: a table is full unless an id whose window has
 * passed can be retired, which reserve, refund and adjust do when they need
 * room, and the sweeper otherwise. After the answers the number of records is
 * compared, so that nothing is written that the model does not know of.
 *
 * SECKILL_SEED=n repeats a run; SECKILL_FULL=1 makes 10^6 operations. One
 * thread.
 */
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

enum { NOT_LIVE, RESERVE, REFUND, ADJUST };

/* What a request id stands for. */
typedef struct {
    int kind;
    int slot; /* of its item */
    int user;
    uint32_t state;
    int64_t created, qty, hold, deadline;
    uint64_t lsn; /* of the reservation; REFUND: of the one refunded */
    char id[40];
} m_order_t;

typedef struct {
    int items, rows, users, requests; /* capacities */
    int rows_used, users_used;
    int64_t now, last_time, window;
    uint64_t lsn;
    m_item_t item[ITEMS_MAX];
    m_order_t order[IDS_MAX];
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
    m_order_t *first = NULL;

    for (unsigned i = m->head; i != m->tail; i++) {
        m_order_t *o = &m->order[m->queue[i % IDS_MAX]];

        if (m_is_pending(o) && &m->item[o->slot] == item &&
            (first == NULL || o->deadline < first->deadline)) {
            first = o;
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

static void m_expire_if_due(model_t *m, m_order_t *o)
{
    if (m_is_pending(o) && o->deadline <= m_item_now(m, &m->item[o->slot])) {
        m_expire(m, o);
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

static void m_retire_order(model_t *m, m_order_t *o)
{
    m_item_t *item = &m->item[o->slot];

    if (m_is_pending(o)) {
        m_expire(m, o);
    }
    if (o->kind == RESERVE) {
        m->rows_used--;
        item->ids[o->user]--;
        if (item->ids[o->user] == 0 && item->count[o->user] == 0) {
            item->known[o->user] = 0;
            item->users--;
            m->users_used--;
        }
    }
    o->kind = NOT_LIVE;
    item->live--;
    m_record(m, item);
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

static void m_take(model_t *m, m_item_t *item, int user, int64_t qty,
                   int request)
{
    m_order_t *o = m_new_id(m, request, RESERVE, item);

    o->user = user;
    o->qty = qty;
    o->hold = item->c.hold_ns;
    o->state = o->hold == 0 ? SECKILL_STATE_CONFIRMED : SECKILL_STATE_RESERVED;
    o->deadline = o->hold == 0 ? 0 : m_item_now(m, item) + o->hold;
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
    return m->item[o->slot].name == name && o->user == user && o->qty == qty
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

/* o: the live order of the id, or NULL. */
static int m_settle(model_t *m, m_order_t *o, uint32_t target)
{
    m_item_t *item;

    if (o == NULL) {
        return SECKILL_EUNKNOWNRESERVATION;
    }
    m_expire_if_due(m, o);
    if (o->state == target) {
        return SECKILL_OK;
    }
    if (o->state != SECKILL_STATE_RESERVED) {
        return m_refusal(o->state);
    }
    item = &m->item[o->slot];
    item->c.reserved -= o->qty;
    if (target == SECKILL_STATE_CONFIRMED) {
        item->c.sold += o->qty;
    } else {
        item->c.available += o->qty;
        item->count[o->user] -= o->qty;
    }
    o->state = target;
    m_record(m, item);
    return SECKILL_OK;
}

static void m_take_back(model_t *m, m_order_t *o, int request)
{
    m_item_t *item = &m->item[o->slot];
    m_order_t *r = m_new_id(m, request, REFUND, item);

    r->lsn = o->lsn;
    item->c.sold -= o->qty;
    item->c.available += o->qty;
    item->count[o->user] -= o->qty;
    o->state = SECKILL_STATE_REFUNDED;
    m_record(m, item);
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
        if (o == NULL || o->kind != RESERVE || o->lsn != lsn) {
            return SECKILL_EUNKNOWNRESERVATION;
        }
        m_expire_if_due(m, o);
        if (o->state != SECKILL_STATE_CONFIRMED) {
            return o->state == SECKILL_STATE_REFUNDED ? SECKILL_OK
                                                      : m_refusal(o->state);
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

/* Holds of at most eight lengths are pending at once. */
static int m_ninth_length(const model_t *m, const m_item_t *item, int64_t hold)
{
    int64_t seen[LISTS];
    int n = 0;

    for (unsigned i = m->head; i != m->tail; i++) {
        const m_order_t *o = &m->order[m->queue[i % IDS_MAX]];
        int known = 0;

        if (!m_is_pending(o) || &m->item[o->slot] != item) {
            continue;
        }
        for (int k = 0; k < n; k++) {
            known |= seen[k] == o->hold;
        }
        if (!known) {
            seen[n++] = o->hold;
        }
        if (o->hold == hold) {
            return 0;
        }
    }
    return n == LISTS;
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
    if (m_ninth_length(m, item, in->hold_ns)) {
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

static void remember(run_t *run, int id)
{
    m_order_t *o = &run->m.order[id];
    old_id_t *old = &run->old[run->old_count++ % OLD_IDS];

    (void)ledger_id(&run->l, o->id);
    memcpy(old->id, o->id, sizeof(old->id));
    old->lsn = run->l.r.lsn;
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
    return o->kind == RESERVE && o->lsn == old->lsn ? o : NULL;
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
        qty = o->qty;
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
            remember(run, p.id);
        }
        same_answer(run, &run->m.order[p.id], replayed);
    }
}

static void do_settle(run_t *run)
{
    const int confirm = below(run, 3) != 0;
    const char *id;
    uint64_t lsn;
    m_order_t *o = pick_old(run, &id, &lsn);

    snprintf(run->text, sizeof(run->text), "%s %s",
             confirm ? "confirm" : "cancel", id);
    if (confirm) {
        same_code(run, m_settle(&run->m, o, SECKILL_STATE_CONFIRMED),
                  ledger_confirm(&run->l, id));
    } else {
        same_code(run, m_settle(&run->m, o, SECKILL_STATE_CANCELLED),
                  ledger_cancel(&run->l, id));
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
    int rc;

    snprintf(run->text, sizeof(run->text), "find %s", p.id_text);
    rc = ledger_find(&run->l, p.id_text);
    if (o->kind != RESERVE) {
        same_code(run, SECKILL_EUNKNOWNREQUEST, rc);
        return;
    }
    m_expire_if_due(&run->m, o);
    same_code(run, SECKILL_OK, rc);
    same_answer(run, o, 1);
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

static const op_t mix[] = {{do_reserve, 45}, {do_settle, 20}, {do_refund, 5},
                           {do_find, 4},     {do_put, 7},     {do_adjust, 5},
                           {do_pause, 3},    {do_remove, 3},  {do_sweep, 2},
                           {do_clock, 24}};

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
