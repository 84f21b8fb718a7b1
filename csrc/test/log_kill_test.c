/*
 * SIGKILL from outside while processes sell with a log on disk.
 *
 * Sellers with threads reserve, confirm and cancel at full speed, some waiting
 * for the disk after each answer, some not. Any of them is killed, the one
 * that flushes too, and the child that builds a snapshot; others take their
 * places; in the end all are. What a seller was told, it has written down in
 * memory that outlives it. Then the segment is kept or removed, the engine is
 * opened again, and:
 *   - all that was waited for is there;
 *   - all that was answered is there, if the segment was kept;
 *   - if it was removed, what is gone is a suffix of the log: an answer is
 *     there exactly if its LSN is at most the last one recovered;
 *   - audit finds nothing, and the log alone rebuilds the same tables.
 *
 * SECKILL_FULL=1: 400 rounds. TSan does not follow what is shared by
 * processes; runs: alone; variants: rel asan
 */
#include "test/support/logged.h"

enum {
    SELLERS = 4,
    PART = 90, /* orders of one seller until the next death */
    ITEMS = 4,
    ROUNDS = 6,                           /* on one ledger */
    KILLS = 6,                            /* of one round, before the last */
    ORDERS = PART * ROUNDS * (KILLS + 1), /* of one seller on one ledger */
    DISTANCE = 120,
    DISK_NS = 500000
};

enum { IDLE, RESERVING, RESERVED, SETTLING, SETTLED };

/* An answer: told with this LSN; waited for. */
typedef struct {
    int rc;
    int durable;
    uint64_t lsn;
} answer_t;

typedef struct {
    _Atomic int stage;
    uint8_t target; /* SECKILL_STATE_*; 0: leave it */
    uint8_t item, user;
    uint8_t gone; /* not there when it was looked for */
    uint32_t id_len;
    int64_t qty;
    char id[SECKILL_ID_MAX];
    answer_t reserve, settle;
} order_t;

typedef struct {
    _Atomic uint32_t answers; /* of all sellers; those who wait are woken */
    _Atomic int quota;        /* orders of each seller by now */
    _Atomic uint64_t waited, confirmed;
    order_t orders[SELLERS][ORDERS];
} market_page_t;

typedef struct {
    place_t place;
    market_page_t *page;
    pid_t pids[SELLERS];
    uint64_t random;
    int market, round;
    int which; /* the seller that a child is */
    long kills, snapshot_kills, removed, kept, lost, checked, suffixes;
} market_t;

static uint64_t next_random(market_t *m)
{
    m->random += 0x9e3779b97f4a7c15ULL;
    return skl_mix64(m->random);
}

/* ---- Sellers ------------------------------------------------------------- */

static void request_of(int seller, int n, char *out, size_t size)
{
    (void)snprintf(out, size, "r%d-%d", seller, n);
}

/* Busy while the log is behind or full, or a lock's holder has just died. */
static int reserve(seckill_t *sk, const order_t *o, int seller, int n,
                   seckill_reservation_t *r)
{
    char item[16], user[16], request[32];
    int rc;

    (void)snprintf(item, sizeof(item), "item%u", o->item);
    (void)snprintf(user, sizeof(user), "u%d-%d", seller, n / 8);
    request_of(seller, n, request, sizeof(request));
    do {
        rc = seckill_reserve(sk, item, strlen(item), user, strlen(user), o->qty,
                             request, strlen(request), r);
    } while (rc == SECKILL_EBUSY);
    return rc;
}

static int settle(seckill_t *sk, const order_t *o)
{
    int rc;

    do {
        rc = o->target == SECKILL_STATE_CANCELLED
                 ? seckill_cancel(sk, o->id, o->id_len)
                 : seckill_confirm(sk, o->id, o->id_len);
    } while (rc == SECKILL_EBUSY);
    return rc;
}

/* The LSN is of the call just made in this thread. */
static void told(market_t *m, seckill_t *sk, answer_t *a, int rc, int sync)
{
    a->lsn = seckill_answer_lsn();
    a->rc = rc;
    if (sync && seckill_sync_wait(sk, a->lsn, FOREVER) == SECKILL_OK) {
        a->durable = 1;
        atomic_fetch_add(&m->page->waited, 1);
    }
}

static void plan_order(order_t *o, uint64_t r)
{
    static const uint8_t targets[] = {0, SECKILL_STATE_CONFIRMED,
                                      SECKILL_STATE_CONFIRMED,
                                      SECKILL_STATE_CANCELLED};

    o->item = (uint8_t)(r % ITEMS);
    o->qty = 1 + (int64_t)((r >> 24) % 3);
    o->target = targets[(r >> 32) % 4];
}

static void sell_one(market_t *m, seckill_t *sk, int n, uint64_t r)
{
    order_t *o = &m->page->orders[m->which][n];
    const uint64_t seldom = m->which % 2 == 0 ? 2 : 32; /* waits for the disk */
    seckill_reservation_t got;
    int rc;

    plan_order(o, r);
    atomic_store(&o->stage, RESERVING);
    rc = reserve(sk, o, m->which, n, &got);
    if (rc == SECKILL_OK) {
        memcpy(o->id, got.id, got.id_len);
        o->id_len = got.id_len;
    }
    told(m, sk, &o->reserve, rc, (r >> 40) % seldom == 0);
    atomic_store(&o->stage, RESERVED);
    if (rc == SECKILL_OK && o->target != 0) {
        atomic_store(&o->stage, SETTLING);
        rc = settle(sk, o);
        told(m, sk, &o->settle, rc, (r >> 48) % seldom == 0);
        atomic_store(&o->stage, SETTLED);
    }
    atomic_fetch_add(&m->page->answers, 1);
    skl_os_futex_wake(&m->page->answers);
}

/* A retry gets the recorded answer. */
static int ask_again(market_t *m, seckill_t *sk, int n)
{
    const order_t *o = &m->page->orders[m->which][n];
    seckill_reservation_t r;

    if (o->reserve.rc == SECKILL_OK && o->id_len > 0 && !o->gone) {
        NEED_RC(SECKILL_OK, reserve(sk, o, m->which, n, &r));
        NEED(r.id_len == o->id_len && memcmp(r.id, o->id, r.id_len) == 0);
    }
    atomic_fetch_add(&m->page->answers, 1);
    skl_os_futex_wake(&m->page->answers);
    return 0;
}

/* A disk that takes its time: most die while it does. */
static int slow_disk(const char *call)
{
    if (strcmp(call, "fdatasync") == 0) {
        skl_os_pause(DISK_NS);
    }
    return 0;
}

static int seller(void *arg)
{
    market_t *m = arg;
    seckill_t *sk = place_open(&m->place);
    int n = 0;

    NEED(sk != NULL);
    skl_os_fault = slow_disk;
    NEED_RC(SECKILL_OK, place_start(sk));
    while (n < ORDERS && atomic_load(&m->page->orders[m->which][n].stage)) {
        n++;
    }
    for (;;) { /* until death */
        if (n < atomic_load(&m->page->quota)) {
            sell_one(m, sk, n++, next_random(m));
        } else {
            NEED(ask_again(m, sk, (int)(next_random(m) % (uint64_t)n)) == 0);
        }
    }
}

/* ---- Deaths -------------------------------------------------------------- */

static void spawn(market_t *m, int which)
{
    m->which = which;
    (void)next_random(m); /* the child goes on from here, and so do we */
    m->pids[which] = scratch_fork(seller, m);
}

/* A child of a thread of the process: it builds a snapshot. 0: none. */
static pid_t snapshot_child_of(pid_t pid)
{
    char path[300], text[64] = "";
    const struct dirent *e;
    pid_t child = 0;
    DIR *d;

    (void)snprintf(path, sizeof(path), "/proc/%d/task", (int)pid);
    d = opendir(path);
    while (d != NULL && child == 0 && (e = readdir(d)) != NULL) {
        (void)snprintf(path, sizeof(path), "/proc/%d/task/%.16s/children",
                       (int)pid, e->d_name);
        if (e->d_name[0] != '.' &&
            skl_os_read_small(path, text, sizeof(text)) > 0) {
            child = (pid_t)strtol(text, NULL, 10);
        }
    }
    if (d != NULL) {
        (void)closedir(d);
    }
    return child;
}

static void kill_seller(market_t *m, int which)
{
    CHECK_INT(0, kill(m->pids[which], SIGKILL));
    CHECK_INT(KILLED, scratch_wait(m->pids[which]));
    m->pids[which] = 0;
    m->kills++;
}

static void kill_somebody(market_t *m)
{
    const uint64_t r = next_random(m);
    pid_t child;

    for (int i = 0; i < SELLERS && r % 3 == 0; i++) {
        child = snapshot_child_of(m->pids[i]);
        if (child > 0) {
            m->snapshot_kills += kill(child, SIGKILL) == 0;
        }
    }
    kill_seller(m, (int)((r >> 8) % SELLERS));
}

/* 1 when they have given so many answers more; 0: they are stuck. */
static int await_answers(market_t *m, uint32_t more)
{
    const uint32_t until = atomic_load(&m->page->answers) + more;
    const int64_t end = seckill_mono_now() + 3 * FOREVER;
    uint32_t seen;

    while ((seen = atomic_load(&m->page->answers)) < until) {
        if (seckill_mono_now() > end) {
            return 0;
        }
        skl_os_futex_wait(&m->page->answers, seen, SEC);
    }
    return 1;
}

static int round_of_deaths(market_t *m)
{
    int good = 1;

    atomic_fetch_add(&m->page->quota, PART);
    for (int i = 0; i < SELLERS; i++) {
        spawn(m, i);
    }
    for (int i = 0; i < KILLS && good; i++) {
        const uint32_t more = (uint32_t)(next_random(m) % DISTANCE);

        good = CHECK(await_answers(m, more));
        kill_somebody(m);
        atomic_fetch_add(&m->page->quota, PART);
        for (int k = 0; k < SELLERS; k++) {
            if (m->pids[k] == 0) {
                spawn(m, k);
            }
        }
    }
    good = good && CHECK(await_answers(m, DISTANCE));
    /* All at once, so that nobody writes what the others left. */
    for (int i = 0; i < SELLERS; i++) {
        CHECK_INT(0, kill(m->pids[i], SIGKILL));
    }
    for (int i = 0; i < SELLERS; i++) {
        CHECK_INT(KILLED, scratch_wait(m->pids[i]));
        m->kills++;
    }
    return good;
}

/* ---- The next life ------------------------------------------------------- */

/* Was it made? `last`: the last LSN that the life began with. */
static int is_due(const answer_t *a, uint64_t last)
{
    return a->rc == SECKILL_OK && a->lsn <= last;
}

static int check_one(market_t *m, seckill_t *sk, int which, int n,
                     uint64_t last)
{
    order_t *o = &m->page->orders[which][n];
    const int stage = atomic_load(&o->stage);
    seckill_reservation_t r;
    char request[32];
    int rc;

    request_of(which, n, request, sizeof(request));
    rc = seckill_find(sk, request, strlen(request), &r);
    if (stage == RESERVING || o->gone) { /* nobody was told; or it is over */
        o->gone = 1;
        return 0;
    }
    NEED(o->reserve.rc == SECKILL_OK || o->reserve.rc == SECKILL_ESOLDOUT);
    if (!is_due(&o->reserve, last)) {
        NEED(!o->reserve.durable || o->reserve.rc != SECKILL_OK);
        NEED_RC(SECKILL_EUNKNOWNREQUEST, rc);
        m->lost += o->reserve.rc == SECKILL_OK;
        o->gone = 1;
        return 0;
    }
    NEED_RC(SECKILL_OK, rc);
    NEED(r.id_len == o->id_len && memcmp(r.id, o->id, r.id_len) == 0);
    NEED(r.qty == o->qty && r.lsn == o->reserve.lsn);
    if (stage == SETTLED) {
        NEED_RC(SECKILL_OK, o->settle.rc);
        NEED(is_due(&o->settle, last) || !o->settle.durable);
        NEED(r.state == (is_due(&o->settle, last)
                             ? o->target
                             : (uint32_t)SECKILL_STATE_RESERVED));
        m->lost += !is_due(&o->settle, last);
    }
    if (stage == SETTLING || (stage == SETTLED && !is_due(&o->settle, last))) {
        /* Once more; from here on it stays. */
        NEED_RC(SECKILL_OK, settle(sk, o));
        o->settle = (answer_t){.lsn = 0};
        atomic_store(&o->stage, SETTLED);
    }
    return 0;
}

static int check_all(market_t *m, seckill_t *sk, uint64_t last)
{
    for (int i = 0; i < SELLERS; i++) {
        for (int n = 0; n < ORDERS; n++) {
            if (atomic_load(&m->page->orders[i][n].stage) == IDLE) {
                break;
            }
            if (check_one(m, sk, i, n, last) != 0) {
                printf("# market %d, round %d, order r%d-%d: LSN %llu %s, "
                       "then %llu %s; recovered %llu\n",
                       m->market, m->round, i, n,
                       (unsigned long long)m->page->orders[i][n].reserve.lsn,
                       m->page->orders[i][n].reserve.durable ? "durable" : "",
                       (unsigned long long)m->page->orders[i][n].settle.lsn,
                       m->page->orders[i][n].settle.durable ? "durable" : "",
                       (unsigned long long)last);
                (void)fflush(stdout);
                return 1;
            }
            m->checked++;
        }
    }
    return 0;
}

/* Make room where the log is full, and write all. */
static int write_all(seckill_t *sk)
{
    NEED_RC(SECKILL_OK, place_start(sk));
    NEED_RC(SECKILL_OK, seckill_sync_wait(sk, seckill_lsn(sk), FOREVER));
    seckill_stop(sk);
    return 0;
}

/* What it counts goes back through the page of the place. */
static int next_life(void *arg)
{
    market_t *m = arg;
    const int removed = access(place_segment(&m->place), F_OK) != 0;
    seckill_t *sk = place_open(&m->place);
    uint64_t last;

    NEED(sk != NULL);
    last = seckill_lsn(sk);
    NEED(write_all(sk) == 0);
    NEED(log_problems(&m->place, sk) == 0);
    m->lost = m->checked = 0;
    NEED(check_all(m, sk, last) == 0);
    NEED(m->lost == 0 || removed);
    m->place.page->number = m->lost;
    m->place.page->count = (int)m->checked;
    NEED(write_all(sk) == 0);
    return log_problems(&m->place, sk);
}

static int check_round(market_t *m)
{
    const int removed = next_random(m) % 2 == 0;

    if (removed) {
        CHECK_INT(SECKILL_OK, seckill_destroy(m->place.name, m->place.shm));
    }
    m->removed += removed;
    m->kept += !removed;
    if (!CHECK_INT(0, scratch_run(next_life, m))) {
        return 0;
    }
    m->lost += m->place.page->number;
    m->checked += m->place.page->count;
    return 1;
}

/* ---- Markets ------------------------------------------------------------- */

static int make_items(void *arg)
{
    market_t *m = arg;
    seckill_t *sk = place_open(&m->place);
    char name[16];

    NEED(sk != NULL);
    for (int i = 0; i < ITEMS; i++) {
        (void)snprintf(name, sizeof(name), "item%d", i);
        NEED_RC(SECKILL_OK, log_put(sk, name, i == 0 ? 400 : 1000000));
    }
    NEED_RC(SECKILL_OK, seckill_sync_wait(sk, seckill_lsn(sk), FOREVER));
    return die();
}

static void open_market(market_t *m)
{
    place_new(&m->place);
    m->place.o.reservations = m->place.o.requests = 1U << 15;
    m->place.o.users = 1U << 14;
    m->place.o.max_log_bytes = 24 << 20;
    m->place.o.max_lag_ns = 60 * SEC;
    memset(m->page, 0, sizeof(*m->page));
}

TEST(killed_while_selling_with_a_log)
{
    static market_t m;
    const int markets = tap_full() ? 40 : 2;
    int good = 1;

    m.random = tap_seed(1);
    m.page = scratch_shared(sizeof(*m.page));
    for (m.market = 0; m.market < markets && good; m.market++) {
        open_market(&m);
        REQUIRE(scratch_run(make_items, &m) == KILLED);
        for (m.round = 0; m.round < ROUNDS && good; m.round++) {
            good = round_of_deaths(&m) && check_round(&m);
        }
    }
    printf("# %d rounds: %ld processes killed, and %ld that built a snapshot; "
           "segment kept %ld times, removed %ld times\n",
           m.market * ROUNDS, m.kills, m.snapshot_kills, m.kept, m.removed);
    printf(
        "# %llu answers waited for the disk in the last market, %ld orders "
        "looked up, %ld answers that nobody waited for lost with a segment\n",
        (unsigned long long)atomic_load(&m.page->waited), m.checked, m.lost);
    CHECK(m.lost > 0);
}

TAP_MAIN()
